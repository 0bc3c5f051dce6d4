/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated disk for tests: sparse memory behind a volatile cache, with latencies drawn
 * from a seed, so that requests complete out of order; and with every way to fail that a disk
 * has.  On a simulated loop, the same seed gives the same run.  It works on a real loop too.
 *
 * What it promises is what dev.h says and no more:
 * - a write is in the volatile cache when it completes; with dsync it is on the medium then,
 *   and so are no others;
 * - a flush puts on the medium what had completed when the flush was submitted;
 * - at a power cut, everything else is lost, kept, or torn at 512 bytes, each block for
 *   itself; of several versions of a block any may remain.
 *
 * Its memory comes from mmap and not from malloc, so tests that fail allocations don't hit it.
 */
#ifndef DEV_DEV_SIM_H
#define DEV_DEV_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "dev/dev.h"

/* What lies on a medium: immutable, shared copy-on-write, cheap to make and to keep. */
struct dev_sim_image;

struct dev_sim_opts {
	uint64_t nblocks;		/* at most 2^36; 0 with an image: the image's */
	uint64_t seed;
	uint64_t latency_min_ns, latency_max_ns;	/* both 0: completes at the next turn */
	/* After a power cut requests hang for ever; otherwise they fail with -EIO. */
	bool hang_after_cut;
	/* Abort with a message when the memory of a write changes while it is under way. */
	bool check_stable;
	/* Abort when a request overlaps another one under way, and either is not a read. */
	bool check_overlap;
};

int dev_sim_new(const struct dev_sim_opts *opts, struct dev **ret_dev);
/* A new disk that holds IMAGE, which stays the caller's. */
int dev_sim_new_from(const struct dev_sim_opts *opts, struct dev_sim_image *image,
		     struct dev **ret_dev);
/* dev_close() may be called while requests hang: they are forgotten, never completed. */

struct dev_sim_stats {
	uint64_t requests[4], blocks[4];	/* by enum dev_op, counted at submission */
	uint64_t total;				/* requests of any kind */
	uint64_t in_flight;
	uint64_t unflushed;			/* block versions that a power cut could lose */
	bool cut;				/* the power is gone */
};
void dev_sim_stats(const struct dev *d, struct dev_sim_stats *ret_stats);

/* FN is called at each submission, before the request counts or takes effect; it must not
 * wait.  It may take images, inject faults, cut the power.  NULL: none. */
void dev_sim_on_submit(struct dev *d, void (*fn)(void *arg, struct dev *d, const struct dev_io *io),
		       void *arg);

/* ---- faults ---- */

enum dev_sim_fault_kind {
	DEV_SIM_FAIL,		/* -EIO; a failed write may have left a torn block, a failed
				 * flush has lost about half of what it should have kept */
	DEV_SIM_LOSE_WRITE,	/* reported as done, never happened */
	DEV_SIM_MISDIRECT,	/* a write that lands on `target` instead */
	DEV_SIM_FLIP_READ,	/* one bit of what is read is wrong, this time */
	DEV_SIM_DELAY,		/* it takes delay_ns longer */
};
#define DEV_SIM_OP(op) (1u << (op))
#define DEV_SIM_ALL_OPS 0xfu

struct dev_sim_fault {
	enum dev_sim_fault_kind kind;
	unsigned ops;		/* DEV_SIM_OP(...) | ...; 0: all that the kind applies to */
	uint64_t nth;		/* the n-th such request from now on; 0 and 1: the next */
	bool for_good;		/* and all after it */
	uint64_t first_block, nblocks;	/* only requests that touch these; nblocks 0: any */
	uint64_t target;	/* DEV_SIM_MISDIRECT: the block that it hits first, or the
				 * disk's last ones where it would go past them */
	uint64_t delay_ns;
};
#define DEV_SIM_MAX_FAULTS 16
/* -ENOSPC when DEV_SIM_MAX_FAULTS are waiting. */
int dev_sim_inject(struct dev *d, const struct dev_sim_fault *fault);
void dev_sim_clear_faults(struct dev *d);

/* The n-th request of any kind from now on fails with -EIO; once, or it and all after it. */
void dev_sim_fail_nth(struct dev *d, uint64_t nth, bool for_good);

/* Damage that is on the medium at once (and in the cache, so that reads see it). */
void dev_sim_corrupt(struct dev *d, uint64_t block, uint64_t seed);
void dev_sim_flip_bit(struct dev *d, uint64_t block, unsigned bit);
/* Past the cache and without waiting: what a read would return now; sets what it would. */
void dev_sim_peek(struct dev *d, uint64_t block, void *ret_data);
void dev_sim_poke(struct dev *d, uint64_t block, const void *data);

/* ---- power cuts ---- */

/* The power goes just before the n-th request from now on (1: the next): it and all later
 * ones have no effect, those under way stay undecided, and none completes well any more.
 * FN, if not NULL, is told at that moment; it must not wait. */
void dev_sim_cut_at(struct dev *d, uint64_t nth, void (*fn)(void *arg, struct dev *d), void *arg);
void dev_sim_cut_now(struct dev *d);

enum dev_sim_cut_mode {
	DEV_SIM_CUT_RANDOM,	/* each unflushed block lost, kept or torn, by the seed */
	DEV_SIM_CUT_DROP,	/* nothing that was not flushed is there */
	DEV_SIM_CUT_KEEP,	/* all of it is, requests under way included */
	DEV_SIM_CUT_SUBSET,	/* bit i of the bitmap keeps the i-th unflushed version */
};

/*
 * What could lie on the medium if the power went now (or when it did go).  The disk itself
 * is not changed: many outcomes of one moment can be taken.  `seed` serves RANDOM; `bitmap` of
 * dev_sim_stats.unflushed bits serves SUBSET, oldest version first.  Release with
 * dev_sim_image_put().
 */
struct dev_sim_image *dev_sim_crash_image(struct dev *d, enum dev_sim_cut_mode mode, uint64_t seed,
					  const uint8_t *bitmap);
/* Cuts the power and resolves in place: d holds the outcome, all under way is forgotten (or
 * fails), and the power is back: d may be opened again. */
void dev_sim_power_cut(struct dev *d, enum dev_sim_cut_mode mode, uint64_t seed);

/* ---- images ---- */

struct dev_sim_image *dev_sim_image_get(struct dev_sim_image *image);
void dev_sim_image_put(struct dev_sim_image *image);
uint64_t dev_sim_image_nblocks(const struct dev_sim_image *image);
void dev_sim_image_read(const struct dev_sim_image *image, uint64_t block, void *ret_data);
bool dev_sim_image_equal(const struct dev_sim_image *a, const struct dev_sim_image *b);
/* A sparse file that holds the same, to look at with other tools. */
int dev_sim_image_save(const struct dev_sim_image *image, const char *path);

/* Pages that any disk or image of this process holds: 0 when all are freed. */
uint64_t dev_sim_live_pages(void);

#endif
