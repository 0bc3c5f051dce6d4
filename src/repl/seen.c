/* SPDX-License-Identifier: Apache-2.0 */
/* See seen.h. */
#include "repl/seen.h"

#include <stdlib.h>

#define CAP_MIN 1024

void seen_init(struct seen_blocks *s, size_t max_bytes)
{
	*s = (struct seen_blocks){ .max = CAP_MIN };
	while (2 * s->max * sizeof(*s->a) <= max_bytes)
		s->max *= 2;
}

void seen_release(struct seen_blocks *s)
{
	free(s->a);
	s->a = NULL;
	s->n = s->cap = 0;
}

static struct seen_place *place_of(struct seen_place *a, uint64_t cap, uint64_t key)
{
	uint64_t i = (key * 0x9e3779b97f4a7c15ULL) >> 20 & (cap - 1);

	while (a[i].key && a[i].key != key)
		i = (i + 1) & (cap - 1);
	return &a[i];
}

static void grow(struct seen_blocks *s)
{
	uint64_t cap = s->cap ? 2 * s->cap : CAP_MIN;
	struct seen_place *a = cap <= s->max ? calloc(cap, sizeof(*a)) : NULL;

	if (!a)
		return;			/* then there is no more room */
	for (uint64_t i = 0; i < s->cap; i++)
		if (s->a[i].key)
			*place_of(a, cap, s->a[i].key) = s->a[i];
	free(s->a);
	s->a = a;
	s->cap = cap;
}

void seen_put(struct seen_blocks *s, uint64_t key, uint64_t ino, uint64_t index, uint8_t level)
{
	struct seen_place *p;

	if (s->n * 2 >= s->cap)
		grow(s);
	if (s->n * 8 >= s->cap * (level ? 7 : 5))
		return;
	p = place_of(s->a, s->cap, key);
	if (p->key)
		return;
	*p = (struct seen_place){ key, ino, index };
	s->n++;
}

const struct seen_place *seen_find(const struct seen_blocks *s, uint64_t key)
{
	const struct seen_place *p = s->cap ? place_of(s->a, s->cap, key) : NULL;

	return p && p->key ? p : NULL;
}
