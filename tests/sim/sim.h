/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the simulator's tests share: running a function as the first fiber of a simulated loop,
 * executing operations on a store, comparing the store with the model, generating operations.
 *
 * Everything is decided by seeds and by virtual time, so a seed gives the same run again.
 * A test that finds something calls sim_fail(), which prints the line and how to replay it,
 * and ends the process with status 1.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "base/rng.h"
#include "model.h"

struct dev;

/* ---- running ---------------------------------------------------------------------------- */

/* Printed with every failure: the command line that replays it. */
extern char sim_replay[256];
extern bool sim_trace;
void sim_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
#define sim_check(cond, ...) do { if (!(cond)) sim_fail(__VA_ARGS__); } while (0)
#define sim_ok(expr) do { int rc_ = (expr); \
	if (rc_) sim_fail("%s:%d: %s: %s", __FILE__, __LINE__, #expr, sim_err(rc_)); } while (0)
const char *sim_err(int rc);

/* Makes a simulated loop, runs FN in a fiber until it returns, and takes the loop away. */
void sim_run(void (*fn)(void *arg), void *arg);
/* Runs FN once for each of N arguments, each in a fiber of its own; returns when all are done. */
void sim_parallel(void (*fn)(void *arg), void *args, size_t arg_size, unsigned n);

/* ---- the store -------------------------------------------------------------------------- */

/* For allocations that must not fail: the tests' own. */
void *test_alloc(size_t n);
void sim_req(struct fs_req *req, struct fs *fs, unsigned user);
struct fs *sim_open(struct dev *d, const struct fs_config *cfg);
/* Free blocks, when all is reaped, checkpointed and discarded. */
uint64_t sim_free_blocks(struct fs *fs);
/* fs_check() must find nothing; _cut: but what a power cut may leave. */
void sim_fsck(struct dev *d, const char *when);
void sim_fsck_cut(struct dev *d, const char *when);

/* All that an operation answered besides what is kept in struct op. */
struct answer {
	struct fs_wcc wcc, wcc2;
	struct fs_attr attr, dir_attr;
	uint64_t stable_seq;
};
/* Executes OP and fills in its second half.  A may be NULL. */
void sim_exec(struct fs *fs, struct op *op, struct answer *a);
/* M takes over what OP has made: a volume, a snapshot, a clone of a volume. */
void sim_learn(struct fs *fs, struct model *m, const struct op *op);
/* What the quota that a write's file counts for leaves, just before OP is executed beside nobody. */
void sim_quota_left(struct fs *fs, struct op *op);
/* Is there so little left that -ENOSPC is the right answer to OP? */
bool sim_space_short(struct fs *fs, const struct op *op);
/* The pool that is open has counts limited to a few: copying one block may then mean to copy more than
 * the cache holds, and -E2BIG is right. */
extern bool sim_few_refs;
/* Deduplication is at work beside others: where a block holds zeros, nobody knows whether it is a hole by
 * now.  Neither counts as mapped then. */
extern bool sim_zeros_vanish;
/* Blocks of zeros of N, mapped as far as the model knows, may have become holes: N learns which. */
void sim_learn_zeros(struct fs *fs, struct mnode *n);
/* Runs the job over VOLUME to its end, and has M know which zeros have become holes. */
void sim_dedup(struct fs *fs, struct model *m, const char *volume);

/* ---- comparing -------------------------------------------------------------------------- */

struct dump_dirent { struct fs_id dir; char *name; uint32_t len; uint64_t ino; };
struct dump {
	struct noderec *recs;
	uint32_t nrecs, recs_cap;
	struct dump_dirent *ents;
	uint32_t nents, ents_cap;
	bool quotas;			/* there are some where it is looked */
	uint64_t hash;			/* comparable with model_hash() */
	uint64_t orphans_hash;		/* with model_orphans_hash() */
	uint32_t norphans;
};
/* Reads the whole pool, through names, as the management side. */
void dump_take(struct fs *fs, struct dump *d);
void dump_done(struct dump *d);
/* Prints where D and M differ; returns how many lines. */
unsigned dump_diff(const struct dump *d, struct model *m);
/* Of all extended attributes of a file, comparable with noderec.xattrs. */
uint64_t sim_xattrs(struct fs_req *req, struct fs_id id, int *ret_rc);
/* Both at once; fails the test if they differ. */
void sim_compare(struct fs *fs, struct model *m, const char *when);

/*
 * Where faults are about: each answer may be an error that ALLOWED allows, but none may be
 * wrong.  Returns how many errors there were.
 */
unsigned sim_compare_tolerant(struct fs *fs, struct model *m, bool (*allowed)(void *arg, int rc),
			      void *arg);

/*
 * Compares what the store says that differs with the model's bytes: of two files, anywhere; of a snapshot and
 * another or now.  RNG chooses.
 */
void sim_ask_diff(struct fs *fs, struct model *m, struct rng *rng);
void sim_ask_vdiff(struct fs *fs, struct model *m, struct rng *rng);

/* ---- generating ------------------------------------------------------------------------- */

struct gen {
	struct rng rng;
	unsigned weights[OP_KINDS];
	unsigned names;			/* how many different ones */
	unsigned users;			/* 1: the management side only; MUSERS: all */
	uint32_t max_write;
	uint32_t max_clones;		/* in one call */
	bool far;			/* sparse offsets to the end of the range */
	bool equal;			/* much of what is written has been written before */
	bool odd;			/* stale handles, bad names, wrong types */
	uint32_t serial;		/* makes clone names unique */
};
void gen_init(struct gen *g, uint64_t seed);	/* everything on */
void gen_op(struct gen *g, struct model *m, struct op *ret);
/* A random live inode of TYPE (FS_FREE: any), never NULL for FS_DIR. */
struct mnode *gen_node(struct gen *g, struct model *m, enum fs_type type);
struct fs_id gen_stale(struct gen *g, struct model *m);
uint64_t gen_offset(struct gen *g, const struct mnode *n);
void gen_name(struct gen *g, char *buf, uint32_t *ret_len);

#endif
