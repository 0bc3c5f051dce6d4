/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states that the model went through, one after each operation, and the question which of
 * them a pool holds that was opened after something went wrong.
 */
#ifndef SIM_HISTORY_H
#define SIM_HISTORY_H

#include "sim.h"

/* States that a kill lost can't be found by cuts from number DEAD_AT on. */
struct state { uint64_t seq, hash; struct model *m; uint32_t dead_at; };
/* keep: the pool is opened with fs_config.keep_orphans. */
struct history { struct state *states; uint32_t n, cap; bool keep; };

void history_push(struct history *h, const struct model *m, uint64_t seq);
void history_done(struct history *h);
/* A kill at cut number CUT: the states after number K were lost.  Returns how many. */
unsigned history_lose(struct history *h, uint32_t k, uint32_t cut);
/*
 * Which state does FS hold?  It must be one from what was acknowledged (event number ACKED) to
 * the last executed (LAST); else the test fails and says where the two differ.
 */
uint32_t history_identify(struct history *h, struct fs *fs, uint32_t cut, uint64_t acked,
			  uint64_t last, const char *what);

#endif
