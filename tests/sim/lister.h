/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A slow reader of a directory, who goes on from his last cookie while names come and go:
 * every name that was there all the time must be seen exactly once, names that never were
 * there never.
 */
#ifndef SIM_LISTER_H
#define SIM_LISTER_H

#include "sim.h"

struct lister_name { uint64_t hash; bool start, touched; unsigned seen; };
struct lister {
	bool active;
	struct fs_id dir;
	uint64_t cookie;
	struct lister_name *names;
	uint32_t n, cap;
};
void lister_start(struct lister *l, const struct mnode *dir);
/* To be called for each change of a name in the model. */
void lister_touch(struct lister *l, const struct mnode *dir, const char *name, uint32_t len);
/* Reads on with a buffer of CAP bytes; at the end checks all, and stops. */
void lister_step(struct lister *l, struct fs *fs, struct model *m, size_t cap, unsigned max,
		 bool plus);
void lister_stop(struct lister *l);

#endif
