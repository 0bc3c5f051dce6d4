/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which blocks are free.  A block may be given out when its count is 0 and it was neither
 * freed by a generation that is not durable yet (pend), nor is named by a live log record
 * (claims, at recovery; later such blocks are in pend), nor is being read.
 *
 * The free map in memory covers only windows: table pages, pinned, from which blocks are being
 * given out.  Pages are prepared in load passes by a cursor over the summaries' free counts; so
 * allocating never waits, and memory does not grow with the pool.
 *
 * Zones are for metadata or for data (small pools: mixed), by preference only: the last free
 * blocks of a pool serve anybody.  A file that is written in sequence gets runs: whole windows,
 * 2 MiB of file each, in which a block's place follows its index.
 */
#include "pool/pool_int.h"

#include <stdlib.h>
#include "base/err.h"

#define SMALL_POOL_ZONES 8

/* ---- what a generation freed ------------------------------------------------------------- */

static struct pend_page *pend_find(const struct pend *d, uint64_t page)
{
	struct pend_page *e = d->bucket[page % PEND_BUCKETS];

	while (e && e->page != page)
		e = e->next;
	return e;
}

bool pend_test(const struct pend *d, uint64_t block)
{
	const struct pend_page *e = d ? pend_find(d, block / PAGE_ENTRIES) : NULL;
	unsigned i = block % PAGE_ENTRIES;

	return e && (e->bits[i / 64] >> (i % 64) & 1);
}

bool alloc_pend_reserve(struct pool *p, uint32_t n)
{
	while (p->npend_free < n) {
		struct pend_page *e = malloc(sizeof(*e));

		if (!e)
			return false;
		e->next = p->pend_free;
		p->pend_free = e;
		p->npend_free++;
	}
	return true;
}

void pend_set(struct pool *p, struct pend *d, uint64_t block)
{
	uint64_t page = block / PAGE_ENTRIES;
	struct pend_page *e = pend_find(d, page);
	unsigned i = block % PAGE_ENTRIES;

	if (!e) {
		e = p->pend_free;
		insist(p, e, "freed, and nothing led to it", block);	/* alloc_pend_reserve() */
		p->pend_free = e->next;
		p->npend_free--;
		memset(e, 0, sizeof(*e));
		e->page = page;
		e->next = d->bucket[page % PEND_BUCKETS];
		d->bucket[page % PEND_BUCKETS] = e;
	}
	insist(p, !(e->bits[i / 64] >> (i % 64) & 1), "freed twice", block);
	e->bits[i / 64] |= 1ULL << (i % 64);
	d->count++;
}

bool pend_clear(struct pend *d, uint64_t block)
{
	struct pend_page *e = pend_find(d, block / PAGE_ENTRIES);
	unsigned i = block % PAGE_ENTRIES;

	if (!e || !(e->bits[i / 64] >> (i % 64) & 1))
		return false;
	e->bits[i / 64] &= ~(1ULL << (i % 64));
	d->count--;
	return true;
}

void pend_reset(struct pool *p, struct pend *d)
{
	for (unsigned i = 0; i < PEND_BUCKETS; i++)
		while (d->bucket[i]) {
			struct pend_page *e = d->bucket[i];

			d->bucket[i] = e->next;
			if (p->npend_free < 4096) {
				e->next = p->pend_free;
				p->pend_free = e;
				p->npend_free++;
			} else {
				free(e);
			}
		}
	d->count = 0;
}

/* ---- windows ----------------------------------------------------------------------------- */

static struct window *window_of(struct pool *p, uint64_t page)
{
	struct list *e;

	for (int c = 0; c < CLASSES; c++)
		list_each(e, &p->windows[c]) {
			struct window *w = container_of(e, struct window, entry);

			if (w->page == page)
				return w;
		}
	list_each(e, &p->runs) {
		struct window *w = container_of(e, struct window, entry);

		if (w->page == page)
			return w;
	}
	return NULL;
}

static void window_free(struct pool *p, struct window *w)
{
	if (w->is_run) {
		p->avail_runs -= w->nfree;
		p->nruns--;
	} else {
		p->avail[w->class] -= w->nfree;
	}
	list_del(&w->entry);
	w->table->flags &= ~B_WINDOW;
	block_unpin(p, w->table);
	free(w);
}

static uint64_t window_take(struct pool *p, struct window *w, unsigned i)
{
	uint64_t block = w->page * PAGE_ENTRIES + i;

	assert(w->bits[i / 64] >> (i % 64) & 1);
	w->bits[i / 64] &= ~(1ULL << (i % 64));
	w->nfree--;
	if (w->is_run)
		p->avail_runs--;
	else
		p->avail[w->class]--;
	p->free_now--;
	if (!w->nfree)
		window_free(p, w);
	return block;
}

static uint64_t take_first(struct pool *p, struct list *l)
{
	struct window *w = container_of(l->next, struct window, entry);

	for (unsigned i = 0; i < PAGE_ENTRIES / 64; i++)
		if (w->bits[i])
			return window_take(p, w, i * 64 + __builtin_ctzll(w->bits[i]));
	assert(!"an empty window");
	return 0;
}

uint64_t alloc_meta(struct pool *p)
{
	if (!list_empty(&p->windows[CLASS_META]))
		return take_first(p, &p->windows[CLASS_META]);
	if (!list_empty(&p->windows[CLASS_DATA]))
		return take_first(p, &p->windows[CLASS_DATA]);
	insist(p, !list_empty(&p->runs), "nothing is free for a copy of what led to it", 0);
	return take_first(p, &p->runs);
}

static void run_retire(struct pool *p, struct window *w)
{
	p->avail_runs -= w->nfree;
	p->nruns--;
	w->is_run = false;
	list_del(&w->entry);
	list_add_head(&p->windows[CLASS_DATA], &w->entry);
	p->avail[CLASS_DATA] += w->nfree;
	w->class = CLASS_DATA;
}

static struct window *run_find(struct pool *p, uint64_t hint, uint64_t run)
{
	struct list *e;

	list_each(e, &p->runs) {
		struct window *w = container_of(e, struct window, entry);

		if (w->hint == hint && w->run == run) {
			list_del(&w->entry);	/* most recently used last */
			list_add_tail(&p->runs, &w->entry);
			return w;
		}
	}
	return NULL;
}

static struct window *run_start(struct pool *p, uint64_t hint, uint64_t run)
{
	struct list *e = p->windows[CLASS_DATA].prev;
	struct window *w = container_of(e, struct window, entry);

	if (e == &p->windows[CLASS_DATA] || w->nfree != PAGE_ENTRIES)
		return NULL;
	if (p->nruns >= RUNS_MAX)
		run_retire(p, container_of(p->runs.next, struct window, entry));
	p->avail[w->class] -= w->nfree;
	p->avail_runs += w->nfree;
	p->nruns++;
	w->is_run = true;
	w->hint = hint;
	w->run = run;
	list_del(&w->entry);
	list_add_tail(&p->runs, &w->entry);
	return w;
}

uint64_t alloc_data(struct pool *p, uint64_t hint, uint64_t index, bool sequential)
{
	struct window *w = run_find(p, hint, index / PAGE_ENTRIES);
	unsigned i = index % PAGE_ENTRIES;

	if (!w && sequential)
		w = run_start(p, hint, index / PAGE_ENTRIES);
	if (w && (w->bits[i / 64] >> (i % 64) & 1))
		return window_take(p, w, i);
	if (!list_empty(&p->windows[CLASS_DATA]))
		return take_first(p, &p->windows[CLASS_DATA]);
	if (!list_empty(&p->runs))
		return take_first(p, &p->runs);
	insist(p, !list_empty(&p->windows[CLASS_META]), "nothing is free for a copy of what led to it", 0);
	return take_first(p, &p->windows[CLASS_META]);
}

/* ---- preparing windows (load passes) ------------------------------------------------------- */

static bool may_use(struct pool *p, uint64_t block)
{
	return !block_is_fixed(&p->sb, block) && !pend_test(p->pend, block) &&
	       !pend_test(p->ck.pend, block) && !pend_test(p->claims, block) &&
	       !discard_holds(p, block);
}

static int window_make(struct pool *p, struct block *table, uint64_t page, int class)
{
	const struct table_entry *e = (const struct table_entry *)table->data;
	struct window *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	for (unsigned i = 0; i < PAGE_ENTRIES; i++) {
		uint64_t block = page * PAGE_ENTRIES + i;

		if (e[i].refs || block >= p->sb.nblocks || !may_use(p, block))
			continue;
		w->bits[i / 64] |= 1ULL << (i % 64);
		w->nfree++;
	}
	if (!w->nfree) {
		free(w);
		return 0;
	}
	w->table = table;
	w->page = page;
	w->class = class;
	block_pin(table);
	table->flags |= B_WINDOW;
	/* Wholly free pages at the end: runs are taken from there, single blocks from the front. */
	if (w->nfree == PAGE_ENTRIES && class == CLASS_DATA)
		list_add_tail(&p->windows[class], &w->entry);
	else if (class == CLASS_META)
		list_add_tail(&p->windows[class], &w->entry);
	else
		list_add_head(&p->windows[class], &w->entry);
	p->avail[class] += w->nfree;
	return 1;
}

static bool is_damaged(const struct pool *p, uint64_t key)
{
	for (unsigned i = 0; i < p->ndamaged; i++)
		if (p->damaged[i] == key)
			return true;
	return false;
}

static bool zone_fits(const struct pool *p, uint64_t zone, int class, bool any)
{
	int type = p->dir[zone].type;

	if (!p->dir[zone].free || is_damaged(p, KEY_SUMMARY | zone))
		return false;
	return any || type == ZONE_UNUSED || type == ZONE_MIXED ||
	       type == (class == CLASS_META ? ZONE_META : ZONE_DATA);
}

static void zone_take(struct pool *p, uint64_t zone, int class)
{
	if (p->dir[zone].type != ZONE_UNUSED)
		return;
	p->dir[zone].type = p->nzones <= SMALL_POOL_ZONES ? ZONE_MIXED :
			    class == CLASS_META ? ZONE_META : ZONE_DATA;
}

/*
 * The next page in the zone of the cursor that has something free: adds it as a window.
 * 1: added one; 0: nothing (left) in this zone, the cursor is at the next; or a negative code.
 */
static int prepare_in_zone(struct txn *t, uint64_t *cursor, int class)
{
	struct pool *p = t->pool;
	uint64_t zone = *cursor / ZONE_PAGES, end = (zone + 1) * ZONE_PAGES;
	const struct summary_entry *s;
	struct block *b;
	int err = summary_page(t, zone, &b);

	if (err)
		return err;
	s = (const struct summary_entry *)b->data;
	for (; *cursor < end && *cursor * PAGE_ENTRIES < p->sb.nblocks; ++*cursor) {
		const struct summary_entry *e = s + *cursor % ZONE_PAGES;
		struct block *table;

		if ((e->slot != SLOT_NONE && !e->free) || is_damaged(p, KEY_TABLE | *cursor))
			continue;
		err = table_page(t, *cursor, &table);
		if (err)
			return err;
		if (table->flags & B_WINDOW)
			continue;
		err = window_make(p, table, *cursor, class);
		if (err < 0)
			return err;
		if (err) {
			zone_take(p, zone, class);
			++*cursor;
			return 1;
		}
	}
	*cursor = end;
	return 0;
}

/* One more window of CLASS: 1, 0 if the whole pool has none, or a negative code. */
static int prepare_one(struct txn *t, int class)
{
	struct pool *p = t->pool;

	for (int any = 0; any < 2; any++)
		for (uint64_t n = 0; n <= p->nzones; n++) {
			uint64_t zone;
			int r;

			if (p->cursor[class] >= p->nzones * ZONE_PAGES)
				p->cursor[class] = 0;
			zone = p->cursor[class] / ZONE_PAGES;
			if (!zone_fits(p, zone, class, any)) {
				p->cursor[class] = (zone + 1) * ZONE_PAGES;
				continue;
			}
			r = prepare_in_zone(t, &p->cursor[class], class);
			if (r)
				return r;
		}
	return 0;
}

/*
 * The summary, or the table page, where the cursor of CLASS stands can't be read.  That is for who has
 * blocks there; others are given blocks elsewhere.  False: there is too much of it.
 */
static bool note_damaged(struct pool *p, int class)
{
	uint64_t zone = p->cursor[class] / ZONE_PAGES;
	const struct block *summary = cache_find(p, KEY_SUMMARY | zone);
	bool page = summary && (summary->flags & B_VALID) && summary->sound_as;

	if (p->ndamaged == DAMAGED_MAX)
		return false;
	p->damaged[p->ndamaged++] = page ? KEY_TABLE | p->cursor[class] : KEY_SUMMARY | zone;
	return true;
}

int alloc_prepare(struct txn *t, uint32_t meta, uint32_t data)
{
	struct pool *p = t->pool;
	uint64_t want[CLASSES] = { [CLASS_META] = meta, [CLASS_DATA] = data };
	bool waited = false;

	for (int c = 0; c < CLASSES; c++)
		while (p->avail[c] < want[c]) {
			int r = prepare_one(t, c);

			if (r == -ERESTART_PASS) {
				r = txn_wait_missing(t);
				t->missing = false;
				waited = true;
				if (!r)
					continue;
			}
			if ((r == -EDAMAGED || r == -EIO) && note_damaged(p, c))
				continue;
			if (r < 0)
				return r;
			if (!r)
				break;
		}
	if (p->avail[CLASS_META] + p->avail[CLASS_DATA] + p->avail_runs < (uint64_t)meta + data)
		return -ENOSPC;
	return waited;
}

void alloc_take(struct pool *p, uint64_t block)
{
	struct block *table = cache_find(p, KEY_TABLE | block / PAGE_ENTRIES);
	struct window *w = table && (table->flags & B_WINDOW) ? window_of(p, block / PAGE_ENTRIES) : NULL;
	unsigned i = block % PAGE_ENTRIES;

	if (w && (w->bits[i / 64] >> (i % 64) & 1))
		window_take(p, w, i);
	else if (p->free_now)		/* the zone directory may have been wrong about it */
		p->free_now--;
}

/* ---- freeing ------------------------------------------------------------------------------- */

void alloc_free(struct pool *p, uint64_t block)
{
	pend_set(p, p->pend, block);
}

void alloc_freeze(struct pool *p)
{
	assert(!p->ck.pend->count);
	struct pend *d = p->ck.pend;

	p->ck.pend = p->pend;
	p->pend = d;
}

/* Blocks that a read under way still looks at stay behind, for the next generation's list. */
static void release_block(struct pool *p, struct window *w, uint64_t block)
{
	/* What was freed is out of the cache by now, unless somebody is still reading it. */
	struct block *b = p->reads_inflight || p->nreadq ? cache_find(p, block) : NULL;
	unsigned i = block % PAGE_ENTRIES;

	if (b && (b->flags & (B_READING | B_UNWRITTEN | B_WRITING))) {
		if (alloc_pend_reserve(p, 1)) {
			pend_set(p, p->pend, block);
			return;
		}
		/* No memory to remember it: the block is lost until the pool is opened again. */
		return;
	}
	if (pend_test(p->claims, block)) {
		/* A record still to be replayed names it. */
		return;
	}
	p->free_now++;
	if (!w)
		return;
	w->bits[i / 64] |= 1ULL << (i % 64);
	w->nfree++;
	if (w->is_run)
		p->avail_runs++;
	else
		p->avail[w->class]++;
}

void alloc_release_page(struct pool *p, const struct pend_page *e)
{
	struct block *table = cache_find(p, KEY_TABLE | e->page);
	struct window *w = table && (table->flags & B_WINDOW) ? window_of(p, e->page) : NULL;

	for (unsigned i = 0; i < PAGE_ENTRIES; i++)
		if (e->bits[i / 64] >> (i % 64) & 1)
			release_block(p, w, e->page * PAGE_ENTRIES + i);
}

void alloc_release(struct pool *p, struct pend *d)
{
	for (unsigned k = 0; k < PEND_BUCKETS; k++)
		for (struct pend_page *e = d->bucket[k]; e; e = e->next)
			alloc_release_page(p, e);
	pend_reset(p, d);
}

/* ---- opening and closing ------------------------------------------------------------------- */

int alloc_init(struct pool *p)
{
	for (int c = 0; c < CLASSES; c++)
		list_init(&p->windows[c]);
	list_init(&p->runs);
	p->pend = calloc(1, sizeof(*p->pend));
	p->ck.pend = calloc(1, sizeof(*p->ck.pend));
	p->claims = calloc(1, sizeof(*p->claims));
	p->discard = calloc(1, sizeof(*p->discard));
	if (!p->pend || !p->ck.pend || !p->claims || !p->discard)
		return -ENOMEM;
	p->free_now = 0;
	for (uint64_t z = 0; z < p->nzones; z++)
		p->free_now += p->dir[z].free;
	/* Small pools: data behind the metadata, so that each stays dense. */
	p->cursor[CLASS_DATA] = p->nzones <= SMALL_POOL_ZONES ?
				p->sb.nblocks / PAGE_ENTRIES / 8 : 0;
	p->reserve[1] = p->sb.nblocks / 64 < 64 ? 64 : p->sb.nblocks / 64;
	if (p->reserve[1] > 8192)
		p->reserve[1] = 8192;
	p->reserve[0] = 2 * p->reserve[1];
	return 0;
}

void alloc_done(struct pool *p)
{
	struct pend_page *e;

	for (int c = 0; c < CLASSES; c++)
		if (p->windows[c].next)
			while (!list_empty(&p->windows[c]))
				window_free(p, container_of(p->windows[c].next, struct window, entry));
	if (p->runs.next)
		while (!list_empty(&p->runs))
			window_free(p, container_of(p->runs.next, struct window, entry));
	for (int i = 0; i < 4; i++) {
		struct pend *d = i == 0 ? p->pend : i == 1 ? p->ck.pend : i == 2 ? p->claims : p->discard;

		if (d)
			pend_reset(p, d);
		free(d);
	}
	while ((e = p->pend_free)) {
		p->pend_free = e->next;
		free(e);
	}
}
