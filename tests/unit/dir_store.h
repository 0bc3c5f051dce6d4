/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories without a pool: a page store that keeps the rules of transactions (pool/pool.h) strictly:
 *
 *  - pages lie in a memory file that is mapped twice.  What is handed out in a load pass, or for
 *    reading, points into the read-only mapping: a write through it ends the test by SIGSEGV.
 *    Only file_page_own() in an apply pass gives a writable pointer.  The inode goes the same way.
 *  - the apply pass may touch only what the load pass right before it touched, may own only what
 *    that owned, and may take no more blocks than that asked for.  Owning copies the page to
 *    another frame, and old frames are overwritten afterwards, so that stale pointers show.
 *  - pages go missing at random, so that load passes restart anywhere.
 *  - in the fuzzer, an unmapped page follows each page.
 */
#ifndef TESTS_UNIT_DIR_STORE_H
#define TESTS_UNIT_DIR_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/rng.h"
#include "fs/dir_int.h"

struct page {
	uint32_t frame;			/* 0: a hole */
	uint32_t read, owned, made;	/* number of the pass that last did so */
	uint32_t birth;			/* generation */
	bool missing;			/* the next load pass that wants it has to restart */
};

extern struct store {
	uint8_t *ro, *rw;
	size_t stride;
	uint32_t nframes, nfree, nold;
	uint32_t *free, *old;
	struct block *ro_blocks, *rw_blocks;
	struct page *pages;
	uint64_t npages;		/* room for */
	uint32_t *span_owned, *span_made;
	uint32_t *span_birth;
	uint32_t pass, truncated, generation;
	uint32_t used, max_need, max_used;
	bool bench;			/* no copies: measures the directory, not this */
	struct rng rng;
	struct txn t;
	struct dir d;
} S;
static inline uint8_t *frame_rw(uint32_t f) { return S.rw + f * S.stride; }
static inline uint8_t *frame_ro(uint32_t f) { return S.ro + f * S.stride; }
static inline struct inode *inode_rw(void) { return (struct inode *)frame_rw(0); }
static inline const struct inode *inode(void) { return (const struct inode *)frame_ro(0); }
/* Page N itself, past all rules. */
static inline struct dir_page *raw(uint64_t n)
{
	return (struct dir_page *)frame_rw(S.pages[n].frame);
}

void *need(void *p);			/* aborts if it isn't there */
void store_new(uint32_t nframes, bool guard, uint64_t seed);
void store_free(void);
uint32_t frame_take(void);
/* Passes as txn_run() does; checks what was used against what was asked for. */
typedef int (*op_fn)(struct dir *d, void *arg);
int run(bool modify, op_fn fn, void *arg);
/* One in so many pages has to be read from the device again. */
void evict(unsigned one_in);

#endif
