/* SPDX-License-Identifier: Apache-2.0 */
/* See history.h. */
#include <stdio.h>
#include <stdlib.h>

#include "history.h"

void history_push(struct history *h, const struct model *m, uint64_t seq)
{
	if (h->n == h->cap) {
		h->cap = h->cap ? 2 * h->cap : 64;
		h->states = realloc(h->states, h->cap * sizeof(*h->states));
		if (!h->states)
			abort();
	}
	h->states[h->n++] = (struct state){ seq, model_hash(m), model_clone(m), UINT32_MAX };
}

void history_done(struct history *h)
{
	while (h->n)
		model_free(h->states[--h->n].m);
	free(h->states);
	*h = (struct history){ .keep = h->keep };
}

unsigned history_lose(struct history *h, uint32_t k, uint32_t cut)
{
	unsigned lost = 0;

	for (uint32_t i = k + 1; i < h->n; i++) {
		if (h->states[i].dead_at == UINT32_MAX) {
			h->states[i].dead_at = cut;
			lost++;
		}
	}
	return lost;
}

/* The last state that was acknowledged. */
static uint32_t history_low(const struct history *h, uint32_t cut, uint64_t acked)
{
	uint32_t low = 0;

	for (uint32_t i = 0; i < h->n; i++)
		if (h->states[i].seq <= acked && h->states[i].dead_at > cut)
			low = i;
	return low;
}

static void identify_fail(struct history *h, struct dump *d, uint32_t low, const char *what)
{
	for (uint32_t i = 0; i < h->n; i++)
		if (h->states[i].hash == d->hash)
			fprintf(stderr, "it is state %u (seq %#llx)\n", i,
				(unsigned long long)h->states[i].seq);
	fprintf(stderr, "compared with state %u of %u (seq %#llx), which was acknowledged:\n", low, h->n,
		(unsigned long long)h->states[low].seq);
	dump_diff(d, h->states[low].m);
	sim_fail("%s: not a prefix of the history that holds all that was acknowledged", what);
}

uint32_t history_identify(struct history *h, struct fs *fs, uint32_t cut, uint64_t acked,
			  uint64_t last, const char *what)
{
	uint32_t low = history_low(h, cut, acked), found = UINT32_MAX;
	struct dump d;

	dump_take(fs, &d);
	for (uint32_t i = low; i < h->n; i++)
		if (h->states[i].hash == d.hash && h->states[i].dead_at > cut &&
		    d.orphans_hash == (h->keep ? model_orphans_hash(h->states[i].m) : 0) &&
		    (i == low || h->states[i].seq <= last))
			found = i;
	if (found == UINT32_MAX)
		identify_fail(h, &d, low, what);
	dump_done(&d);
	return found;
}
