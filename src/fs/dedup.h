/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deduplication, inside.
 *
 *     dedup.c        the operation: leaves of a file become pointers to equal leaves of another
 *     dedup_index.c  fingerprints of blocks that were written, and where
 *     dedup_write.c  duplicates in what is being written
 *     dedup_walk.c   blocks of a volume that may be duplicates
 *     dedup_job.c    the background job: passes, pace, progress that survives restarts
 */
#ifndef FS_DEDUP_H
#define FS_DEDUP_H

#include "fs/fs_int.h"
#include "fs/pace.h"
#include "fs/seen.h"

/* ---- dedup.c ----------------------------------------------------------------------------- */

#define DEDUP_RUN 128			/* blocks in one operation */

enum dedup_why {
	DEDUP_DONE,
	DEDUP_NOTHING,			/* no longer two blocks; gone, or a hole */
	DEDUP_SHARED,			/* clones or snapshots lead to it: not to be moved */
	DEDUP_FULL,			/* no further pointer to the source */
	DEDUP_DIFFERS,
};

struct dedup_op {
	struct fs_req *req;
	struct fs_id dst, src;		/* generation 0: any, then the one that was found.  src.ino 0: zeros,
					 * and holes come of it */
	uint64_t dst_at, src_at;	/* blocks */
	uint32_t max;			/* blocks at most, this one and its neighbours */
	uint64_t now;
	/* what the load pass has found: */
	uint32_t n;			/* so many, from dst_first and src_first on */
	uint64_t dst_first, src_first;
	enum dedup_why why;
	uint64_t ptrs[DEDUP_RUN];	/* of the source */
	/* out, of the apply pass: blocks that are not in use any more */
	uint32_t freed;
	uint32_t compared;		/* blocks that were looked at; in a load pass */
};
int do_dedup(struct txn *t, void *arg);
void record_dedup(struct txn *t, const struct dedup_op *o);

/* ---- dedup_index.c ------------------------------------------------------------------------ */

struct place { uint32_t volume; uint32_t index; uint64_t ino; };	/* index: of the block */
struct dedup_index;
struct dedup_index *dedup_index_new(size_t bytes);	/* NULL: no memory */
void dedup_index_free(struct dedup_index *x);
/* The last place that was put there under FP. */
bool dedup_index_get(struct dedup_index *x, uint64_t fp, struct place *ret);
void dedup_index_put(struct dedup_index *x, uint64_t fp, struct place at);
void dedup_index_drop(struct dedup_index *x, uint64_t fp);

/* ---- dedup_write.c ------------------------------------------------------------------------ */

#define DUP_RUNS 64			/* of one write; what comes after them is written */
struct dup_run { struct fs_id src; uint64_t from; uint16_t at, n; };	/* at: block of the write */
struct write_dups {
	uint32_t nblocks;
	bool looked;			/* the fingerprints are there */
	unsigned nruns;
	struct dup_run runs[DUP_RUNS];
	uint64_t *ptrs;			/* by block of the write; 0: no duplicate */
	uint64_t *fps;			/* 0: none */
};
struct write_dups *dups_new(uint32_t nblocks);
void dups_free(struct write_dups *d);
/* What is written that is known already becomes pointers: both passes.  VOL->dedup is on, or it is replay. */
int dups_take(struct txn *t, struct write_op *o);
/* The pointer that block K of the write becomes; 0: it is written. */
uint64_t dups_ptr(const struct write_op *o, uint32_t k);
/* The write is tried once more, without. */
void dups_give_up(struct write_op *o);
/* Apply pass: what was written is known from now on. */
void dups_learn(struct write_op *o);

/* ---- dedup_walk.c ------------------------------------------------------------------------- */

struct dedup_leader {			/* the block of its CRC that others become pointers to */
	uint32_t crc, next;
	uint64_t ino, index;
	uint64_t block;			/* with LEADER_FIXED: it can't be moved itself */
};
#define LEADER_FIXED (1ULL << 63)
#define LEADER_NONE UINT32_MAX		/* the end of a list; of a candidate: it may be zeros */
struct dedup_candidate { uint64_t ino, index; uint32_t leader; };

#define LEADERS_MAX (3u << 20)
#define CANDIDATES_MAX (2u << 20)

struct dedup_job {
	struct fs *fs;
	struct fs_dedup_status st;
	bool stop, running;
	struct waitq ended;
	struct pace pace;
	uint64_t lo, hi, width;		/* CRCs of this pass: from lo to before hi */
	uint32_t zero_crc;
	struct dedup_leader *leaders;
	uint32_t nleaders, leaders_max;
	uint32_t *heads, heads_mask;	/* lists of leaders, by CRC */
	struct dedup_candidate *cands;
	uint32_t ncands, cands_max, flushed;	/* flushed: of them, those that are compared by now */
	struct seen seen;		/* index blocks that were walked */
	struct { uint64_t block, base; } path[TREE_DEPTH_MAX + 1];	/* of the last step, by level */
	uint64_t walked;		/* leaves */
};

/* One pass over the volume: finds candidates among the blocks whose CRCs are in the pass, lowering j->hi
 * where these are too many.  Calls dedup_flush() when there are enough candidates.  -EINTR; -ESTALE: the
 * volume is no more. */
int dedup_walk(struct dedup_job *j);
int dedup_walk_init(struct dedup_job *j);
void dedup_walk_done(struct dedup_job *j);
/* What leader K isn't equal to, or is full for, leads too. */
void dedup_lead_too(struct dedup_job *j, const struct dedup_candidate *c);
/* The next leader of the same CRC, or LEADER_NONE. */
uint32_t dedup_next_leader(const struct dedup_job *j, uint32_t k);

/* ---- dedup_job.c -------------------------------------------------------------------------- */

bool dedup_interrupted(const void *job);
int dedup_wait(struct dedup_job *j);	/* while a scrub holds everything; -EINTR */
/* Compares and moves all candidates; there are none then. */
int dedup_flush(struct dedup_job *j);

#endif
