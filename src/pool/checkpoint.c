/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints: making one generation durable in one step (WAFL: consistency point).
 *
 *     freeze ── write blocks ── write table pages ── summaries ── directory ── flush
 *            ── superblock, both copies ── flush ── release what it freed, and its log
 *
 * The freeze is a plain call; all the rest goes on beside the next generation.  Frozen blocks
 * never change: a later operation copies them, by the one idea.  Every page goes to the slot
 * that the durable generation doesn't use, so nothing that the old superblock vouches for is
 * overwritten before the new one is durable.
 */
#include "pool/pool_int.h"

#include <stdlib.h>
#include "base/crc.h"
#include "base/err.h"

#define WRITES_INFLIGHT 64
#define MEMORY_PAUSE_NS 1000000

/* ---- opening and closing ----------------------------------------------------------------- */

int ck_init(struct pool *p)
{
	struct checkpoint *ck = &p->ck;

	list_init(&ck->dirty);
	list_init(&ck->tables);
	ck->order = malloc(p->nblocks * sizeof(*ck->order));
	ck->zones = malloc(p->nzones * sizeof(*ck->zones));
	ck->summaries = malloc(p->nzones * sizeof(*ck->summaries));
	if (!ck->order || !ck->zones || !ck->summaries ||
	    posix_memalign((void **)&ck->sb, BLOCK_SIZE, sizeof(*ck->sb)))
		return -ENOMEM;
	return 0;
}

void ck_done(struct pool *p)
{
	free(p->ck.order);
	free(p->ck.zones);
	free(p->ck.summaries);
	free(p->ck.sb);
}

/* ---- freeze ---------------------------------------------------------------------------- */

static void freeze(struct pool *p)
{
	struct checkpoint *ck = &p->ck;
	struct list *e;

	assert(!ck->running);
	ck->running = true;
	ck->error = 0;
	ck->nzones = 0;
	ck->generation = p->gen;
	ck->ndirty = p->ndirty;
	ck->ntables = p->ntdirty;
	list_each(e, &p->dirty) {
		struct block *b = container_of(e, struct block, dirty);

		b->flags = (b->flags & ~B_DIRTY) | B_FROZEN;
	}
	list_splice_tail(&ck->dirty, &p->dirty);
	while ((e = list_pop(&p->tdirty))) {
		struct block *b = container_of(e, struct block, dirty);

		assert(!(b->flags & (B_FROZEN | B_LRU)) && !b->frozen);
		b->flags = (b->flags & ~B_DIRTY) | B_FROZEN;
		list_add_tail(&ck->tables, &b->lru);
	}
	p->ndirty = p->ntdirty = 0;
	alloc_freeze(p);
	ck->volumes = p->volumes;
	ck->reap = p->reap;
	ck->held = p->held;
	ck->reap_entries = p->reap_entries;
	ck->last_event = p->recovering ? p->replay_seq : p->seq;
	log_position(p, ck);
	p->gen++;
}

/* ---- writing --------------------------------------------------------------------------- */

static void write_done(struct run_io *r)
{
	struct pool *p = r->pool;

	p->writes_inflight--;
	if (r->io.result) {
		p->stat.io_errors++;
		if (++r->tries < WRITE_TRIES && !p->dead) {
			p->writes_inflight++;
			run_submit(r, DEV_WRITE, r->io.block);
			return;
		}
		p->ck.error = r->io.result;
	}
	p->stat.written += r->n;
	for (unsigned i = 0; i < r->n; i++) {
		struct block *b = r->blocks[i];

		if (!b || r->io.result)
			continue;
		b->flags &= ~(B_FROZEN | B_WRITING);
		p->ck.ndirty--;
		cache_clean(p, b);
	}
	run_put(p, r);
	p->ck.inflight--;
	if (p->ck_fiber)
		fiber_wake(p->ck_fiber);
	if (p->dead)
		waitq_wake_all(&p->background_wait);
}

static unsigned writes_most(const struct pool *p)
{
	return p->o.checkpoint_writes ? p->o.checkpoint_writes : WRITES_INFLIGHT;
}

static struct run_io *ck_run(struct pool *p)
{
	struct run_io *r;

	while (p->ck.inflight >= writes_most(p))
		fiber_park();
	while (!(r = run_get(p)) && !p->dead)
		loop_sleep_ns(MEMORY_PAUSE_NS);
	if (r)
		r->done = write_done;
	return r;
}

static void ck_send(struct pool *p, struct run_io *r, uint64_t place)
{
	p->ck.inflight++;
	p->writes_inflight++;
	run_submit(r, DEV_WRITE, place);
}

/* A single page; nobody's flags change when it is done. */
static int ck_write_page(struct pool *p, const void *data, unsigned nblocks, uint64_t place)
{
	struct run_io *r = ck_run(p);

	if (!r)
		return -EIO;
	r->n = nblocks;
	for (unsigned i = 0; i < nblocks; i++) {
		r->blocks[i] = NULL;
		r->iov[i] = (struct iovec){ (uint8_t *)data + i * BLOCK_SIZE, BLOCK_SIZE };
	}
	ck_send(p, r, place);
	return 0;
}

static int ck_drain(struct pool *p)
{
	while (p->ck.inflight)
		fiber_park();
	return p->ck.error;
}

static int cmp_key(const void *x, const void *y)
{
	const struct block *a = *(struct block *const *)x, *b = *(struct block *const *)y;

	return a->key < b->key ? -1 : a->key > b->key;
}

static int write_blocks(struct pool *p)
{
	struct checkpoint *ck = &p->ck;
	uint64_t n = 0, max = ck->ndirty;
	struct block **all = ck->order + ck->ntables;
	struct run_io *r = NULL;

	assert(ck->ntables + max <= p->nblocks);
	while (!list_empty(&ck->dirty)) {
		assert(n < max);
		all[n++] = container_of(list_pop(&ck->dirty), struct block, dirty);
	}
	qsort(all, n, sizeof(*all), cmp_key);
	for (uint64_t i = 0; i < n && !p->dead && !ck->error; i++) {
		struct block *b = all[i];

		assert(b->flags & B_FROZEN);
		b->crc = crc32c(0, b->data, BLOCK_SIZE);
		table_fill_crc(p, b->key, b->crc);
		b->flags |= B_WRITING;
		if (r && (r->n == RUN_BLOCKS || r->blocks[r->n - 1]->key + 1 != b->key)) {
			ck_send(p, r, r->blocks[0]->key);
			r = NULL;
		}
		if (!r && !(r = ck_run(p)))
			break;
		r->blocks[r->n] = b;
		r->iov[r->n++] = (struct iovec){ b->data, BLOCK_SIZE };
		if (i % 256 == 255)
			fiber_yield();	/* CRCs of a big generation must not hold up others */
	}
	if (r)
		ck_send(p, r, r->blocks[0]->key);
	return ck_drain(p);
}

static int summary_load(struct pool *p, uint64_t zone, struct block **ret)
{
	struct txn t;
	int err;

	txn_begin(&t, p);
	for (;;) {
		t.missing = false;
		err = summary_page(&t, zone, ret);
		if (err != -ERESTART_PASS)
			break;
		/* Waiting for memory must not mean waiting for this very checkpoint. */
		err = t.nwait ? txn_wait_missing(&t) : -ENOMEM;
		if (err == -ENOMEM)
			loop_sleep_ns(MEMORY_PAUSE_NS);
		else if (err)
			break;
		if (p->dead) {
			err = -EIO;
			break;
		}
	}
	if (!err)
		block_pin(*ret);
	txn_end(&t);
	return err;
}

static uint16_t count_free(struct pool *p, const struct table_entry *e, uint64_t page)
{
	uint16_t n = 0;

	for (unsigned i = 0; i < PAGE_ENTRIES; i++)
		n += !e[i].refs && pool_block_ok(p, page * PAGE_ENTRIES + i);
	return n;
}

static struct block *zone_summary(struct pool *p, uint64_t zone, int *err)
{
	struct checkpoint *ck = &p->ck;
	struct block *s;

	for (uint64_t i = ck->nzones; i-- > 0; )
		if (ck->zones[i] == zone)
			return ck->summaries[i];
	*err = summary_load(p, zone, &s);
	if (*err)
		return NULL;
	ck->zones[ck->nzones] = zone;
	ck->summaries[ck->nzones++] = s;
	return s;
}

static int write_tables(struct pool *p)
{
	struct block **all = p->ck.order;
	uint64_t n = p->ck.ntables;

	qsort(all, n, sizeof(*all), cmp_key);
	for (uint64_t i = 0; i < n && !p->dead; i++) {
		struct block *b = all[i], *s;
		uint64_t page = b->key & ~KEY_TABLE;
		struct summary_entry *e;
		const uint8_t *data;
		int err = 0;

		s = zone_summary(p, page / ZONE_PAGES, &err);
		if (!s)
			return err;
		e = (struct summary_entry *)s->data + page % ZONE_PAGES;
		/* From here to the submission nothing may wait: the memory may be swapped. */
		while (p->ck.inflight >= writes_most(p))
			fiber_park();
		data = b->frozen ? b->frozen->data : b->data;
		e->crc = crc32c(0, data, BLOCK_SIZE);
		e->free = count_free(p, (const struct table_entry *)data, page);
		e->slot = e->slot == 0 ? 1 : 0;
		err = ck_write_page(p, data, 1, table_place(p, page, e->slot));
		if (err)
			return err;
	}
	return 0;
}

static int write_summaries(struct pool *p)
{
	for (uint64_t i = 0; i < p->ck.nzones; i++) {
		struct dir_entry *d = &p->dir[p->ck.zones[i]];
		const struct summary_entry *e = (const struct summary_entry *)p->ck.summaries[i]->data;
		uint64_t first = p->ck.zones[i] * ZONE_PAGES;
		uint32_t nfree = 0;
		int err;

		/* The last zone may end before its last page. */
		for (unsigned k = 0; k < ZONE_PAGES && (first + k) * PAGE_ENTRIES < p->sb.nblocks; k++) {
			nfree += e[k].slot != SLOT_NONE ? e[k].free :
				 page_usable(&p->sb, first + k);
		}
		d->free = nfree;
		d->crc = crc32c(0, e, BLOCK_SIZE);
		d->slot = d->slot == 0 ? 1 : 0;
		err = ck_write_page(p, e, 1, p->ck.zones[i] * ZONE_BLOCKS + ZONE_SUMMARY + d->slot);
		if (err)
			return err;
	}
	return 0;
}

static int write_dirs(struct pool *p, struct superblock *sb)
{
	bool changed[DIRS_MAX] = { false };

	for (uint64_t i = 0; i < p->ck.nzones; i++)
		changed[p->ck.zones[i] / DIR_ZONES] = true;
	for (unsigned k = 0; k < sb->ndirs; k++) {
		struct dir_entry *d = p->dir_out + k * DIR_ZONES;
		int err;

		if (!changed[k])
			continue;
		/* A copy: while it is being written, the allocator may give a zone its type. */
		memcpy(d, p->dir + k * DIR_ZONES, DIR_PAGE_BLOCKS * BLOCK_SIZE);
		sb->dirs[k].crc = crc32c(0, d, DIR_PAGE_BLOCKS * BLOCK_SIZE);
		sb->dirs[k].slot = sb->dirs[k].slot == 0 ? 1 : 0;
		err = ck_write_page(p, d, DIR_PAGE_BLOCKS, (uint64_t)k * DIR_ZONES * ZONE_BLOCKS +
				    ZONE_DIR + sb->dirs[k].slot * DIR_PAGE_BLOCKS);
		if (err)
			return err;
	}
	return 0;
}

static void fill_super(struct pool *p, struct superblock *sb)
{
	const struct checkpoint *ck = &p->ck;

	sb->life = p->life;
	sb->generation = ck->generation;
	sb->log_seq = ck->log_seq;
	sb->log_offset = ck->log_offset;
	sb->log_chain = ck->log_chain;
	sb->log_life = ck->log_life;
	sb->volumes = (struct disk_root){ .ptr = ck->volumes.ptr, .depth = ck->volumes.depth };
	sb->reap = (struct disk_root){ .ptr = ck->reap.ptr, .depth = ck->reap.depth };
	sb->reap_entries = ck->reap_entries;
	sb->held = (struct disk_root){ .ptr = ck->held.ptr, .depth = ck->held.depth };
	sb->last_event = ck->last_event;
}

/* ---- the end --------------------------------------------------------------------------- */

/* The frozen table pages, in order[0] to order[ntables - 1]. */
static void collect_tables(struct pool *p)
{
	uint64_t n = 0;

	while (!list_empty(&p->ck.tables)) {
		assert(n < p->ck.ntables);
		p->ck.order[n++] = container_of(list_pop(&p->ck.tables), struct block, lru);
	}
	assert(n == p->ck.ntables);
}

/* Durable: what the generation froze is ordinary again. */
static void thaw(struct pool *p)
{
	for (uint64_t i = 0, n = p->ck.ntables; i < n; i++) {
		struct block *b = p->ck.order[i];

		b->flags &= ~B_FROZEN;
		if (b->frozen) {
			cache_release(p, b->frozen);
			b->frozen = NULL;
		}
		p->ck.ntables--;
		cache_clean(p, b);
	}
	for (uint64_t i = 0; i < p->ck.nzones; i++)
		block_unpin(p, p->ck.summaries[i]);
}

static int write_all(struct pool *p, struct superblock *sb)
{
	int err = write_blocks(p);

	if (!err)
		err = named_wait_gen(p, p->ck.generation & 1);
	if (!err)
		err = write_tables(p);
	if (ck_drain(p) && !err)
		err = p->ck.error;
	if (!err)
		err = write_summaries(p);
	if (!err)
		err = write_dirs(p, sb);
	if (ck_drain(p) && !err)
		err = p->ck.error;
	if (p->dead && !err)
		err = -EIO;
	if (!err)
		err = pool_flush(p);
	if (!err) {
		fill_super(p, sb);
		err = super_write(p, sb);
	}
	return err;
}

static void finish(struct pool *p, const struct superblock *sb)
{
	uint64_t seq = p->ck.log_seq - 1;

	p->sb = *sb;
	discard_queue(p, p->ck.pend);
	log_trim(p, sb->log_offset, seq);
	if (!p->recovering) {
		if (seq > p->stable)
			p->stable = seq;
		if (p->stable > p->flushed_to)
			p->flushed_to = p->stable;
	}
	p->stat.checkpoints++;
}

static bool nothing_to_do(const struct pool *p)
{
	return !p->ndirty && !p->ntdirty && !p->pend->count && !p->recovering &&
	       p->sb.life == p->life && p->sb.log_seq == p->seq + 1;
}

static int checkpoint(struct pool *p)
{
	uint64_t start = loop_now_ns();
	int err;

	*p->ck.sb = p->sb;
	freeze(p);
	collect_tables(p);
	err = write_all(p, p->ck.sb);
	if (!err) {
		thaw(p);
		finish(p, p->ck.sb);
	}
	p->stat.checkpoint_ns = loop_now_ns() - start;
	p->ck.running = false;
	return err;
}

void ck_kick(struct pool *p)
{
	p->ck_kicked = true;
	if (p->ck_fiber && !p->ck.running)
		fiber_wake(p->ck_fiber);
}

void ck_fiber_main(void *arg)
{
	struct pool *p = arg;

	p->ck_fiber = fiber_self();
	while (!p->dead && !p->readonly) {
		int err;

		if (!p->ck_kicked) {
			if (p->stopping)
				break;
			fiber_park();
			continue;
		}
		p->ck_kicked = false;
		p->ck_begun++;
		if (nothing_to_do(p)) {
			p->ck_done = p->ck_begun;
			waitq_wake_all(&p->ck_wait);
			continue;
		}
		err = checkpoint(p);
		if (err) {
			if (!p->dead)
				pool_fail(p, "checkpoint of %s: %s; %s", p->dev->name, err_text(err),
					  way_out(err));
			break;
		}
		p->ck_done = p->ck_begun;
		waitq_wake_all(&p->ck_wait);
		waitq_wake_all(&p->stable_wait);
	}
	while (p->ck.inflight)
		fiber_park();
	p->ck_fiber = NULL;
	waitq_wake_all(&p->ck_wait);
	pool_background(p, -1);
}

/* Waits until the checkpoint number N is durable. */
static int wait_done(struct pool *p, uint64_t n)
{
	while (p->ck_done < n) {
		if (p->readonly || p->dead || !p->ck_fiber)
			return -EROFS;
		if (p->ck_begun < n)
			ck_kick(p);
		waitq_wait(&p->ck_wait);
	}
	return 0;
}

int ck_wait_next(struct pool *p)
{
	return wait_done(p, p->ck_begun + 1);
}

int ck_wait_any(struct pool *p)
{
	return wait_done(p, p->ck.running ? p->ck_begun : p->ck_begun + 1);
}
