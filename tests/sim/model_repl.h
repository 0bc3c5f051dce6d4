/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Send and receive beside the model: a snapshot of one of its volumes, whole or what has changed since an older one,
 * becomes a volume of the same pool, or the new state of one.  What may be answered is predicted; what has arrived
 * must be the model of that snapshot, in all but what only the store can know; then it is a volume as any other.
 */
#ifndef SIM_MODEL_REPL_H
#define SIM_MODEL_REPL_H

#include "sim.h"

/* What the test does for it. */
struct mrepl_host {
	struct fs **fs;
	struct model *m;
	uint32_t max_nodes, max_volumes;
	bool dedup;
	void (*run)(void *arg, struct op *op);	/* on both; whatever comes of it */
	void (*reopen)(void *arg);
	void (*full)(void *arg);		/* -ENOSPC */
	void (*received)(void *arg, const char *volume, bool taken_over);
	void *arg;
};

struct mrepl_counts { unsigned whole, changes, refused, cut, resumed, forced, full; };

struct mrepl *mrepl_new(uint64_t seed, const struct mrepl_host *host);
void mrepl_free(struct mrepl *r);
const struct mrepl_counts *mrepl_counts(const struct mrepl *r);
/* Tables and directories as large as all steps will make them, so that a leak can be seen; VOLUME: any. */
void mrepl_grow(struct fs *fs, const char *volume);
void mrepl_step(struct mrepl *r);
/* Whatever is kept for snapshots goes with them; at the end, when there are no volumes any more. */
void mrepl_sweep(struct fs *fs);
void mrepl_finish(struct fs *fs);

/* Something in VOLUME may have changed; in all. */
void mrepl_touch(struct mrepl *r, uint32_t volume);
void mrepl_touch_all(struct mrepl *r);
/* VOLUME is what its snapshot F was. */
void mrepl_restored(struct mrepl *r, uint32_t volume, const struct mfrozen *f);

#endif
