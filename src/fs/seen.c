/* SPDX-License-Identifier: Apache-2.0 */
/* A hash table of the table pages that have any block in the set, open addressing, at most half full. */
#include "fs/seen.h"

#include <errno.h>
#include <stdlib.h>

static struct seen_page *seen_find(const struct seen *s, uint64_t page)
{
	uint64_t i = ((page + 1) * 0x9e3779b97f4a7c15ULL) >> 20;

	if (!s->cap)
		return NULL;
	for (i &= s->cap - 1; s->pages[i].page && s->pages[i].page != page + 1; i = (i + 1) & (s->cap - 1))
		;
	return &s->pages[i];
}

static bool seen_grow(struct seen *s)
{
	struct seen more = { .cap = s->cap ? 2 * s->cap : 64 };

	more.pages = calloc(more.cap, sizeof(*more.pages));
	if (!more.pages)
		return false;
	for (uint64_t i = 0; i < s->cap; i++)
		if (s->pages[i].page)
			*seen_find(&more, s->pages[i].page - 1) = s->pages[i];
	more.n = s->n;
	free(s->pages);
	*s = more;
	return true;
}

int seen_set(struct seen *s, uint64_t block)
{
	uint64_t bit = 1ULL << block % 64;
	struct seen_page *p;
	int was;

	if (2 * (s->n + 1) > s->cap && !seen_grow(s))
		return -ENOMEM;
	p = seen_find(s, block / PAGE_ENTRIES);
	if (!p->page) {
		p->page = block / PAGE_ENTRIES + 1;
		s->n++;
	}
	was = !!(p->bits[block % PAGE_ENTRIES / 64] & bit);
	p->bits[block % PAGE_ENTRIES / 64] |= bit;
	return was;
}

bool seen_has(const struct seen *s, uint64_t block)
{
	const struct seen_page *p = seen_find(s, block / PAGE_ENTRIES);

	return p && p->page && p->bits[block % PAGE_ENTRIES / 64] >> block % 64 & 1;
}

void seen_done(struct seen *s)
{
	free(s->pages);
	*s = (struct seen){ 0 };
}
