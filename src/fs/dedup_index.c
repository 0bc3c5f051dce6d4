/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fingerprints of blocks, and where each was written last: buckets of eight, the most recently used
 * first; what falls out at the end is forgotten.  It only proposes: who asks compares the bytes, and a
 * place may hold something else by now.
 */
#include "fs/dedup.h"

#include <stdlib.h>

#define WAYS 8

struct entry { uint64_t fp, ino; uint32_t volume, index; };	/* fp 0: none */
struct bucket { struct entry way[WAYS]; };
struct dedup_index { uint64_t mask; struct bucket buckets[]; };

struct dedup_index *dedup_index_new(size_t bytes)
{
	uint64_t n = 1;
	struct dedup_index *x;

	while (2 * n * sizeof(struct bucket) <= bytes)
		n *= 2;
	x = calloc(1, sizeof(*x) + n * sizeof(struct bucket));
	if (x)
		x->mask = n - 1;
	return x;
}

void dedup_index_free(struct dedup_index *x)
{
	free(x);
}

static struct bucket *bucket_of(struct dedup_index *x, uint64_t fp)
{
	return &x->buckets[(fp >> 20) & x->mask];
}

static unsigned way_of(const struct bucket *b, uint64_t fp)
{
	unsigned w = 0;

	while (w < WAYS && b->way[w].fp != fp)
		w++;
	return w;
}

/* E comes first; what was before W moves one on. */
static void to_front(struct bucket *b, unsigned w, struct entry e)
{
	memmove(b->way + 1, b->way, w * sizeof(e));
	b->way[0] = e;
}

bool dedup_index_get(struct dedup_index *x, uint64_t fp, struct place *ret)
{
	struct bucket *b = bucket_of(x, fp);
	unsigned w = way_of(b, fp);
	struct entry e;

	if (w == WAYS)
		return false;
	e = b->way[w];
	if (w)
		to_front(b, w, e);
	*ret = (struct place){ e.volume, e.index, e.ino };
	return true;
}

void dedup_index_put(struct dedup_index *x, uint64_t fp, struct place at)
{
	struct bucket *b = bucket_of(x, fp);
	unsigned w = way_of(b, fp);

	to_front(b, w == WAYS ? WAYS - 1 : w, (struct entry){ fp, at.ino, at.volume, at.index });
}

void dedup_index_drop(struct dedup_index *x, uint64_t fp)
{
	struct bucket *b = bucket_of(x, fp);
	unsigned w = way_of(b, fp);

	if (w == WAYS)
		return;
	memmove(b->way + w, b->way + w + 1, (WAYS - 1 - w) * sizeof(*b->way));
	b->way[WAYS - 1].fp = 0;
}
