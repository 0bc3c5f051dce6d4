/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Telling the device what a durable checkpoint freed: a hole in a file, TRIM on a device.
 *
 *     checkpoint ── freed blocks ── queue ── discard, some pages at a time ── free
 *
 * In the background, and before the blocks can be used again.  Short runs aren't worth a
 * request: they are free at once; so is everything when the pool is getting full, for space in
 * the pool matters more than space under it.
 */
#include "pool/pool_int.h"

#include <stdlib.h>
#include "base/err.h"
#include "base/log.h"

#define RUN_MIN 64			/* blocks: 256 KiB */

static void unlink_page(struct pend *d, struct pend_page *e)
{
	struct pend_page **pos = &d->bucket[e->page % PEND_BUCKETS];

	while (*pos != e)
		pos = &(*pos)->next;
	*pos = e->next;
	for (unsigned i = 0; i < PAGE_ENTRIES / 64; i++)
		d->count -= __builtin_popcountll(e->bits[i]);
}

static bool worth_it(const struct pend_page *e)
{
	for (unsigned i = 0; i < PAGE_ENTRIES / 64; i++)
		if (e->bits[i] == ~0ULL)
			return true;
	return false;
}

/* A read that began before its block was freed must find what was there. */
static bool being_read(struct pool *p, const struct pend_page *e)
{
	for (unsigned i = 0; (p->reads_inflight || p->nreadq) && i < PAGE_ENTRIES; i++) {
		const struct block *b = e->bits[i / 64] >> (i % 64) & 1 ?
					cache_find(p, e->page * PAGE_ENTRIES + i) : NULL;

		if (b && b->flags & B_READING)
			return true;
	}
	return false;
}

/* A generation is durable: D is what it freed. */
void discard_queue(struct pool *p, struct pend *d)
{
	bool wanted = p->dev->can_discard && p->discard_fiber && !p->stopping &&
		      p->free_now > p->sb.nblocks / 8;

	for (unsigned k = 0; wanted && k < PEND_BUCKETS; k++)
		for (struct pend_page *e = d->bucket[k], *next; e; e = next) {
			next = e->next;
			if (!worth_it(e) || being_read(p, e))
				continue;
			unlink_page(d, e);
			e->next = p->discard->bucket[k];
			p->discard->bucket[k] = e;
			for (unsigned i = 0; i < PAGE_ENTRIES / 64; i++)
				p->discard->count += __builtin_popcountll(e->bits[i]);
		}
	alloc_release(p, d);
	if (p->discard->count && p->discard_fiber)
		fiber_wake(p->discard_fiber);
}

/* Neighbouring pages from the queue, lowest bucket first; they stay out of the free map. */
static void take_pages(struct pool *p)
{
	struct pend_page *e = NULL;

	for (unsigned k = 0; k < PEND_BUCKETS && !e; k++)
		e = p->discard->bucket[k];
	while (e && p->ndiscarding < DISCARD_PAGES) {
		uint64_t next = e->page + 1;

		unlink_page(p->discard, e);
		p->discarding[p->ndiscarding++] = e;
		e = p->discard->bucket[next % PEND_BUCKETS];
		while (e && e->page != next)
			e = e->next;
	}
}

static bool freed(const struct pool *p, unsigned i)
{
	const struct pend_page *e = p->discarding[i / PAGE_ENTRIES];

	return e->bits[i % PAGE_ENTRIES / 64] >> (i % 64) & 1;
}

static void discard_runs(struct pool *p)
{
	unsigned n = p->ndiscarding * PAGE_ENTRIES, from = 0;

	for (unsigned i = 0; i <= n && !p->dead; i++) {
		if (i < n && freed(p, i))
			continue;
		if (i - from >= RUN_MIN) {
			int err = dev_discard(p->dev, p->discarding[0]->page * PAGE_ENTRIES + from,
					      i - from);

			if (err) {
				log_warn("discarding blocks of %s: %s; not tried again", p->dev->name,
					 err_text(err));
				p->dev->can_discard = false;
				return;
			}
			p->stat.discarded += i - from;
		}
		from = i + 1;
	}
}

bool discard_holds(const struct pool *p, uint64_t block)
{
	unsigned i = block % PAGE_ENTRIES;

	if (pend_test(p->discard, block))
		return true;
	for (unsigned k = 0; k < p->ndiscarding; k++)
		if (p->discarding[k]->page == block / PAGE_ENTRIES)
			return p->discarding[k]->bits[i / 64] >> (i % 64) & 1;
	return false;
}

uint64_t discard_under_way(const struct pool *p)
{
	uint64_t n = 0;

	for (unsigned k = 0; k < p->ndiscarding; k++)
		for (unsigned i = 0; i < PAGE_ENTRIES / 64; i++)
			n += __builtin_popcountll(p->discarding[k]->bits[i]);
	return n;
}

static void give_back(struct pool *p)
{
	unsigned n = p->ndiscarding;

	p->ndiscarding = 0;
	for (unsigned k = 0; k < n; k++) {
		alloc_release_page(p, p->discarding[k]);
		free(p->discarding[k]);
	}
}

/* All of it is free now, discarded or not: somebody needs the space. */
void discard_skip(struct pool *p)
{
	if (p->discard->count)
		alloc_release(p, p->discard);
}

void discard_fiber_main(void *arg)
{
	struct pool *p = arg;

	p->discard_fiber = fiber_self();
	while (!p->dead && !p->readonly) {
		if (!p->discard->count) {
			if (p->stopping)
				break;
			fiber_park();
			continue;
		}
		take_pages(p);
		if (p->dev->can_discard && !p->stopping)
			discard_runs(p);
		give_back(p);
	}
	p->discard_fiber = NULL;
	pool_background(p, -1);
}
