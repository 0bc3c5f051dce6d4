/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the account: what is asked of each pointer that a walk comes to (tree/scan.h). */
#ifndef FS_ACCOUNT_INT_H
#define FS_ACCOUNT_INT_H

#include "fs/account.h"
#include "fs/fs_int.h"
#include "fs/seen.h"
#include "tree/scan.h"

struct pace;
/* The blocks that VOLUME and its snapshots lead to, and nobody else: part of fs_account(). */
int account_exclusive(struct fs_req *req, uint32_t volume, const bool *stop, struct pace *pace, uint64_t *ret);

/*
 * What dropping pointers frees.  Of a block with one pointer, that is known at once.  Of others it is
 * remembered how many pointers have been dropped, and with the last the walk goes into it: as the reaper
 * does (tree/reap.c).  Blocks of data among them are looked at in PARTS passes over the whole, each of
 * those with another remainder: so memory is bounded, but for index blocks that are shared, of which there
 * is one for 512 blocks.
 */
struct freed_slot { uint64_t block; uint32_t dropped; };
struct freed {
	struct freed_slot *slots;	/* open addressing; block 0: empty */
	uint64_t cap, n, cap_max;
	uint64_t nindex;		/* of them, no data */
	uint32_t part, parts;
	struct fs_account_blocks sum;
};
void freed_init(struct freed *f, uint64_t memory);
void freed_done(struct freed *f);
void freed_pass(struct freed *f);	/* begins pass f->part */
/* As scan_visit_fn.  -ENOBUFS: not within the memory in so many parts; -E2BIG: in none. */
int freed_visit(struct freed *f, const struct child *c, uint32_t refs);

/*
 * Every block once: data by a window of addresses in each pass, all else by what was seen.  Pointers that
 * deduplication made (PTR_DUP) save a block each, but for the first one where all that lead to a block are such.
 */
struct stored {
	uint64_t first, window, end;	/* blocks */
	uint64_t *bits, *plain;		/* come to; and by a pointer that deduplication didn't make */
	struct seen seen;
	struct fs_account_blocks sum;
	uint64_t dedup;			/* blocks that it saved */
};
int stored_init(struct stored *s, uint64_t nblocks, uint64_t memory);
void stored_done(struct stored *s);
void stored_pass(struct stored *s);
int stored_visit(struct stored *s, const struct child *c);

#endif
