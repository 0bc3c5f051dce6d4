/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The family of a file: what it was cloned from, and so on up, and all clones of that, in all volumes.  An
 * inode remembers what it was cloned from; nobody knows his clones, so all inodes of the pool are looked
 * through.  Part of the door into storage, as fs.h.
 *
 * In a clone of a volume each file descends from the same file in the volume that was cloned, unless what
 * it was cloned from is in the volume with it.
 */
#ifndef FS_FAMILY_H
#define FS_FAMILY_H

#include "fs/fs.h"

#define FS_FAMILY_MAX (1u << 20)	/* files that have an origin, in the pool */
#define FS_FAMILY_NONE UINT32_MAX

struct fs_relative {
	struct fs_id id;
	char volume[FS_VOLUME_NAME_MAX + 1];
	char *path;			/* one of its names; NULL: it has none any more */
	uint32_t parent;		/* in the list; FS_FAMILY_NONE: the first */
	uint32_t depth;
	uint32_t snapshots;		/* of its volume, which have it too; FS_FAMILY_NONE: too many to look at all */
	bool asked;			/* it is the one that was asked about */
	bool by_volume;			/* it has come with a clone of its parent's volume */
	uint64_t size, mapped_blocks;
};

struct fs_family {
	struct fs_relative *r;		/* each before its clones, these by age */
	uint32_t n;
	bool origin_gone;		/* the first was cloned from something that is not there any more */
};
/* ID: a regular file that is no snapshot's.  -EISDIR, -EINVAL, -E2BIG.  The family is the caller's, to give back.
 * Only for the management side: -EPERM. */
int fs_family(struct fs_req *req, struct fs_id id, struct fs_family *ret);
void fs_family_done(struct fs_family *f);

#endif
