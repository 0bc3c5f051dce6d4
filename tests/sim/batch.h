/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several operations at once, each in a fiber of its own.  Afterwards the model takes them in
 * the order in which the store says it executed them (their event numbers), and every answer
 * must be right at some point of that order: changes at exactly theirs, errors and reads
 * at one of them; a read where its file's change number was the one that it came with.
 */
#ifndef SIM_BATCH_H
#define SIM_BATCH_H

#include "sim.h"

#define BATCH_MAX 32

struct batch {
	struct fs *fs;
	struct model *m;
	struct op ops[BATCH_MAX];
	unsigned n;
	bool wait;			/* each waits until what it did is stable, where NFS would */
	/* Both may be NULL.  applied: the model has just taken OP. */
	void (*acked)(void *arg, uint64_t seq);
	void (*applied)(void *arg, struct op *op);
	void *arg;
	unsigned nospace;		/* out: how many met -ENOSPC */
};

/* Fills ops[] with N operations that may run side by side. */
void batch_gen(struct batch *b, struct gen *g, unsigned n);
/* Executes and settles; releases the ops. */
void batch_run(struct batch *b);

#endif
