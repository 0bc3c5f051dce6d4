/* SPDX-License-Identifier: Apache-2.0 */
/* A pool with one volume, and short words for what directed tests do with it. */
#ifndef SIM_RIG_H
#define SIM_RIG_H

#include "sim_disk.h"

struct rig {
	struct dev *dev;
	struct fs *fs;
	struct fs_config cfg;
	struct fs_req req;		/* the management side's */
	struct fs_id root;
};
struct rig_test {
	const char *name;
	void (*fn)(struct rig *r);
	uint64_t nblocks;
	uint32_t max_refs;
	bool background;
};
/* Runs the test that argv names, or all.  Each ends with a clean close and a check. */
int rig_main(const struct rig_test *tests, unsigned n, int argc, char **argv);

void rig_open(struct rig *r);
void rig_reopen(struct rig *r);
/* The power goes and comes back; the pool is opened again. */
void rig_power_cut(struct rig *r, enum dev_sim_cut_mode mode, uint64_t seed);
void rig_stable(struct rig *r);		/* waits for all that was done */
void rig_parallel(struct rig *r, void (*const fns[])(void *arg), unsigned n);

/* Bytes of a file that was written with SEED: 0 are zeros, all others noise. */
void rig_pattern(uint64_t seed, uint64_t offset, void *buf, uint32_t len);

/* All of these must succeed. */
struct fs_id rig_create(struct rig *r, const char *name);
struct fs_id rig_find(struct rig *r, const char *name);
struct fs_id rig_clone(struct rig *r, struct fs_id src, const char *name);
void rig_write(struct rig *r, struct fs_id id, uint64_t offset, uint32_t len, uint64_t seed);
void rig_write_quiet(struct rig *r, struct fs_id id, uint64_t offset, uint32_t len, uint64_t seed);
void rig_write_big_unstable(struct rig *r, struct fs_id id);
void rig_write_number(struct rig *r, struct fs_id id, uint64_t offset, uint64_t n);
uint64_t rig_read_number(struct rig *r, struct fs_id id, uint64_t offset);
void rig_expect(struct rig *r, struct fs_id id, uint64_t offset, uint32_t len, uint64_t seed);
void rig_truncate(struct rig *r, struct fs_id id, uint64_t size);
void rig_remove(struct rig *r, const char *name);
int rig_try_clone(struct rig *r, struct fs_id src, const char *name, struct fs_id *ret_id);
void rig_fill(struct rig *r, unsigned nfiles);	/* of 40 KiB, with names of their own */
uint32_t rig_count(struct rig *r);		/* names in the root, without dots */
uint64_t rig_free(struct rig *r);		/* blocks, when all is reaped and checkpointed */

#endif
