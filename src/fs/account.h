/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the space went: of the pool, a volume, a snapshot, a directory, a file.  docs/account.md says what
 * the numbers mean, and why they can be believed.  Part of the door into storage, as fs.h.
 *
 * Logical numbers (files, size, mapped) are what users see: du, df and quotas count so.  `stored` is every
 * block that is reached from the object, once.  `exclusive` is what would be free if the object was
 * deleted: every block all of whose pointers are in what is deleted, found by doing to counts, on paper,
 * what deleting does.
 *
 * An exact account takes many bounded steps, between which others are served: `moved` says that the pool
 * was changed meanwhile, so that the numbers are of no one instant.  Each is still of blocks that were
 * found.
 */
#ifndef FS_ACCOUNT_H
#define FS_ACCOUNT_H

#include "fs/fs.h"

#define FS_ACCOUNT_MEMORY (64u << 20)	/* that an exact account works in, when nobody says */

enum fs_account_of {
	FS_ACCOUNT_POOL,
	FS_ACCOUNT_VOLUME,		/* its files as they are now */
	FS_ACCOUNT_VOLUME_ALL,		/* with all its snapshots */
	FS_ACCOUNT_SNAPSHOT,
	FS_ACCOUNT_TREE,		/* a directory with all that is below it */
	FS_ACCOUNT_FILE,		/* what no other name leads to: all names of it are deleted */
};

struct fs_account_blocks { uint64_t data, meta; };	/* leaves of files; what leads to them */

struct fs_account {
	enum fs_account_of of;
	struct fs_id id;		/* any file of the volume or snapshot; the directory; the file */
	bool exact;
	uint64_t memory;		/* bytes; 0: FS_ACCOUNT_MEMORY */
	const bool *stop;		/* ends it with -EINTR; may be NULL */
	/* out, always: */
	uint64_t files;			/* inodes, but for hidden ones */
	uint64_t mapped_blocks;		/* of all of them, before sharing */
	uint64_t snapshots;		/* VOLUME_ALL: how many of them */
	/* out, with exact, or of a file or directory: */
	uint64_t size_bytes;		/* sum over regular files */
	uint64_t size_blocks;		/* the same in whole blocks: what they would map without holes */
	uint64_t file_blocks;		/* that they do map: mapped_blocks without directories and attributes */
	/* out, with exact: */
	struct fs_account_blocks stored, exclusive;	/* the pool's: all that is stored is its own */
	uint64_t record_blocks;		/* snapshots: of the volume table, which go with them; in exclusive, too */
	uint64_t dedup_blocks;		/* of the difference of mapped and stored: what deduplication saved */
	uint64_t when_ns;
	uint64_t reaping;		/* removed trees that are still being taken apart: what they share counts
					 * as shared until then */
	bool moved;
	unsigned passes;		/* over what is in it, for want of memory */
};
/*
 * -EBUSY: a scrub holds the pool, and nobody can tell whose a block is meanwhile (the rest of the pool,
 * and all that is not exact, can be had).  -E2BIG: not within the memory.  -EINTR.  Only for the
 * management side: -EPERM.
 */
int fs_account(struct fs_req *req, struct fs_account *a);

#endif
