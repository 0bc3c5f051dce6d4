/* SPDX-License-Identifier: Apache-2.0 */
/* Between what is known of streams (model_repl.c) and the steps (model_repl_step.c). */
#ifndef SIM_MODEL_REPL_INT_H
#define SIM_MODEL_REPL_INT_H

#include "model_repl.h"

#define VOLUMES 32

/* A snapshot that was received. */
struct known {
	uint32_t snapshot;
	uint32_t first;			/* the snapshot that it is a copy of, or a copy of a copy */
	uint32_t source;		/* the volume that it was sent from */
	struct fs_id *to;		/* what each node of the sent one has become, by index; ino 0: nothing */
};

struct mrepl {
	struct mrepl_host host;
	struct rng rng;
	struct mrepl_counts counts;
	struct known *known;
	unsigned nknown;
	/* Volumes that are exactly what a snapshot of theirs is. */
	struct { uint32_t volume, snapshot; } clean[VOLUMES];
};

struct transfer {
	uint32_t source;
	char volume[FS_VOLUME_NAME_MAX + 1], target[FS_VOLUME_NAME_MAX + 1];
	const struct mfrozen *now, *from;	/* from NULL: all is sent */
	bool force, cut;
	uint64_t mark_bytes;
	uint8_t uuid[16];
	struct fs_snapshot_info info;		/* what came of it */
};

/* NULL: that snapshot was not received. */
struct known *mrepl_known(const struct mrepl *r, uint32_t snapshot);
/* The snapshot that it is a copy of, or itself. */
uint32_t mrepl_first(const struct mrepl *r, uint32_t snapshot);
void mrepl_forget_old(struct mrepl *r);
const struct mfrozen *mrepl_snapshot(const struct model *m, uint32_t id);
struct mvolume *mrepl_volume(struct model *m, uint32_t id);
/* VOLUME's snapshot that is a copy of F, or F. */
const struct mfrozen *mrepl_same_snapshot(const struct mrepl *r, uint32_t volume, const struct mfrozen *f);

/* What may be answered, EARLY: at the beginning of the stream; LATE: at its end. */
void mrepl_predict(const struct mrepl *r, const struct transfer *x, struct expect *early, struct expect *late);
/* The model gets what has arrived, as far as only the store can know it; all else is compared later. */
void mrepl_learn(struct mrepl *r, const struct transfer *x);

#endif
