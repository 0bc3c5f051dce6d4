/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions: passes, admission, and what a pass may do to blocks.
 *
 *     load pass ──restart── read what is missing, wait ──┐
 *        │  ^────────────────────────────────────────────┘
 *        v
 *     admit: log, memory, space ──waited── load pass
 *        │
 *        v  (no wait since the load pass began)
 *     apply
 */
#include "pool/pool_int.h"

#include <setjmp.h>
#include <stdlib.h>
#include "base/crc.h"
#include "base/err.h"

#define MAX_PASSES 100000

void txn_begin(struct txn *t, struct pool *p)
{
	memset(t, 0, offsetof(struct txn, pins_inline));
	t->pool = p;
	t->pins = t->pins_inline;
	t->pins_cap = TXN_PINS_INLINE;
	t->npins = t->nwait = t->passes = t->starved = 0;
	t->unpinned = false;
}

static void drop_pins(struct txn *t)
{
	for (uint32_t i = 0; i < t->npins; i++)
		block_unpin(t->pool, t->pins[i]);
	t->npins = 0;
}

void txn_end(struct txn *t)
{
	drop_pins(t);
	if (t->pins != t->pins_inline)
		free(t->pins);
	t->pins = t->pins_inline;
	free(t->tally);
	t->tally = NULL;
	t->ntally = t->tally_cap = 0;
}

void txn_pin(struct txn *t, struct block *b)
{
	if (t->npins && t->pins[t->npins - 1] == b)
		return;
	if (t->npins == t->pins_cap) {
		size_t bytes = t->pins_cap * sizeof(*t->pins);
		struct block **more = malloc(2 * bytes);

		if (!more) {
			t->unpinned = true;
			return;
		}
		memcpy(more, t->pins, bytes);
		if (t->pins != t->pins_inline)
			free(t->pins);
		t->pins = more;
		t->pins_cap *= 2;
	}
	block_pin(b);
	t->pins[t->npins++] = b;
}

/* B is being read: the pass will be repeated when it is there. */
void txn_wait_for(struct txn *t, struct block *b)
{
	t->missing = true;
	if (t->nwait == sizeof(t->wait_for) / sizeof(t->wait_for[0]))
		return;
	block_pin(b);
	t->wait_for[t->nwait++] = b;
}

#define STARVED_MAX 10000
#define STARVED_BY_ITSELF 20

/*
 * The cache has no memory for the next block: others hold it for a while, or T alone needs more than
 * there is.  What T holds is let go of, lest two wait for each other.  0: load again.
 */
static int starve(struct txn *t)
{
	struct pool *p = t->pool;
	bool large = t->npins > p->nblocks / 4;
	int err;

	drop_pins(t);
	if (++t->starved > (large ? STARVED_BY_ITSELF : STARVED_MAX))
		return large ? -E2BIG : -ENOMEM;
	if (!p->readonly) {
		err = ck_wait_any(p);
		if (err && t->modify)
			return err;
	}
	loop_sleep_ns(1000000);
	return 0;
}

int txn_wait_missing(struct txn *t)
{
	struct pool *p = t->pool;
	int err = 0;

	cache_send_reads(p);
	if (!t->nwait)			/* no memory for the read */
		return starve(t);
	for (uint32_t i = 0; i < t->nwait; i++) {
		struct block *b = t->wait_for[i];
		int r = block_wait_read(p, b);

		if (r && !err)
			err = r;
		if (r)
			block_unpin(p, b);
		else {
			txn_pin(t, b);
			block_unpin(p, b);
		}
	}
	t->nwait = 0;
	return err;
}

/* ---- what a load pass foresees --------------------------------------------------------------- */

/*
 * A count means something only after every block above is owned: copying a shared block adds a
 * pointer to each of its children, before the walk gets to them.  So a load pass remembers how many
 * pointers the apply pass will have added to each block (n, by block number), and which table pages
 * it will have changed (TALLY_PAGE | page).  Pointers that are taken away don't count: the needs
 * are upper bounds.
 */
struct tally { uint64_t key; uint32_t n; };
#define TALLY_PAGE (1ULL << 63)

/* The place of KEY, or the empty one (key 0) where it belongs; NULL in an empty table. */
static struct tally *tally_find(const struct txn *t, uint64_t key)
{
	uint32_t mask = t->tally_cap - 1, i = (key * 0x9e3779b97f4a7c15ULL) >> 32;

	if (!t->tally_cap)
		return NULL;
	for (i &= mask; t->tally[i].key && t->tally[i].key != key; i = (i + 1) & mask)
		;
	return &t->tally[i];
}

static bool tally_grow(struct txn *t)
{
	struct tally *old = t->tally;
	uint32_t n = t->tally_cap;

	t->tally = calloc(n ? 2 * n : 64, sizeof(*t->tally));
	if (!t->tally) {
		t->tally = old;
		return false;
	}
	t->tally_cap = n ? 2 * n : 64;
	for (uint32_t i = 0; i < n; i++)
		if (old[i].key)
			*tally_find(t, old[i].key) = old[i];
	free(old);
	return true;
}

static struct tally *tally_get(struct txn *t, uint64_t key)
{
	struct tally *y;

	if (2 * (t->ntally + 1) > t->tally_cap && !tally_grow(t))
		return NULL;
	y = tally_find(t, key);
	if (!y->key) {
		y->key = key;
		t->ntally++;
	}
	return y;
}

/* Load pass: BLOCK's entry will be changed. */
static int foresee_table(struct txn *t, uint64_t block)
{
	struct tally *y = tally_get(t, TALLY_PAGE | block / PAGE_ENTRIES);

	if (!y)
		return -ENOMEM;
	if (!y->n++)
		t->need_tables++;
	return 0;
}

/* The count that a walk will find at BLOCK, whose entry is E. */
static uint32_t foreseen_refs(const struct txn *t, uint64_t block, const struct table_entry *e)
{
	const struct tally *y = t->apply || !t->ntally ? NULL : tally_find(t, block);

	return e->refs + (y ? y->n : 0);
}

/* ---- admission --------------------------------------------------------------------------- */

static uint32_t dirty_blocks(const struct pool *p)
{
	return p->ndirty + p->ntdirty + p->nnamed + p->named_inflight + p->ck.ndirty + p->ck.ntables;
}

static int wait_space(struct txn *t)
{
	struct pool *p = t->pool;
	/* A step of the reaper doesn't wait for what it would free itself. */
	bool reapable = p->reap_entries > p->reap_stuck && !p->reaping;
	uint64_t before;
	int err;

	discard_skip(p);
	before = p->free_now;
	if (t->space != SPACE_PRIVILEGED && pool_ask_holder(p))
		return 1;

	if ((p->o.no_background || !p->started) && reapable) {
		p->reaping = true;
		for (int i = 0; i < 64 && p->reap_entries; i++) {
			err = p->o.reap_step(p->o.arg);
			if (err < 0)
				break;
		}
		p->reaping = false;
	} else if (reapable) {
		reap_kick(p);
	}
	if (!p->pend->count && !(p->ck.running && p->ck.pend->count) && !reapable &&
	    !p->ndiscarding)
		return -ENOSPC;
	if (p->ndiscarding)
		loop_sleep_ns(1000000);
	err = ck_wait_next(p);
	if (err)
		return err;
	/* Something must come of it: freed blocks, or a shorter reap list, within some rounds. */
	if (p->free_now <= before && ++t->passes > 200)
		return -ENOSPC;
	return 1;
}

/* Slows writers down before they would have to stop. */
static void throttle(struct pool *p, uint32_t dirty, uint32_t soft, uint32_t hard)
{
	if (dirty > soft)
		loop_sleep_ns((uint64_t)(dirty - soft) * 2000000 / (hard - soft + 1));
}

/* 0: go ahead, nothing was waited for; 1: waited, load again; or a negative code. */
static int admit(struct txn *t)
{
	struct pool *p = t->pool;
	uint32_t need_blocks, buffers, dirty, hard = p->nblocks / 10 * 6, soft = p->nblocks / 10 * 4;
	uint64_t reserve;
	int err;

	if (p->readonly && !t->replay)
		return -EROFS;
	if (t->need_reap)
		t->need_meta += 4 + t->need_reap / (BLOCK_SIZE / sizeof(struct reap_entry)) * 2;
	need_blocks = t->need_meta + t->need_data;
	t->need_tables += need_blocks + 4;
	/* Table pages are there already; only frozen ones are copied when they change. */
	buffers = need_blocks + 16 +
		  (t->need_tables < p->ck.ntables ? t->need_tables : p->ck.ntables);

	if (buffers > hard)
		return -E2BIG;
	if (t->need_log && !t->replay && !log_has_room(p, t->need_log)) {
		if (t->need_log > pool_record_max(p) + BLOCK_SIZE)
			return -E2BIG;
		log_kick(p);
		if (log_used_blocks(p) * 4 > p->ring_blocks) {
			err = ck_wait_next(p);
			return err ? err : 1;
		}
		/* Not for stability: a checkpoint may have seen to that, with the log still behind. */
		waitq_wait_timeout(&p->log_space_wait, 10000000);
		return 1;
	}
	if (p->nnamed + p->named_inflight > p->nblocks / 4) {
		named_start(p, 0);
		waitq_wait_timeout(&p->named_wait, 10000000);	/* none may have been sent */
		return 1;
	}
	dirty = dirty_blocks(p);
	if (p->ndirty + p->ntdirty > p->nblocks / 4)
		ck_kick(p);
	if (dirty + buffers > hard && dirty) {
		named_start(p, 0);
		err = ck_wait_any(p);
		return err ? err : 1;
	}
	if (dirty > soft && !t->passes++) {
		throttle(p, dirty, soft, hard);
		return 1;
	}
	if (!alloc_pend_reserve(p, t->need_tables))
		return -ENOMEM;
	reserve = t->space == SPACE_ORDINARY ? p->reserve[0] :
		  t->space == SPACE_DELETE ? p->reserve[1] : 0;
	if (t->space == SPACE_ORDINARY)
		reserve += t->hold + pool_held_from(p, t->owner);
	else if (t->space == SPACE_DELETE)
		reserve += t->hold + pool_left_from(p, t->owner);
	if (p->free_now < need_blocks + reserve) {
		if (p->recovering && need_blocks <= p->free_now)
			reserve = 0;
		else
			return wait_space(t);
	}
	err = alloc_prepare(t, t->need_meta, t->need_data);
	if (err == -ENOSPC)
		return wait_space(t);
	if (err)
		return err;
	if (!cache_ensure(p, buffers)) {
		err = starve(t);
		return err ? err : 1;
	}
	return 0;
}

/* ---- the apply pass ------------------------------------------------------------------------ */

struct apply { jmp_buf out; };

void apply_abandon(struct pool *p, const char *what, uint64_t block)
{
	assert(p->apply);		/* else it isn't the pool that contradicts itself */
	pool_fail(p, "%s is damaged: block %llu: %s; run 'pando pool check'", p->dev->name,
		  (unsigned long long)block, what);
	longjmp(p->apply->out, 1);
}

void txn_abandon(struct txn *t, const char *what)
{
	struct pool *p = t->pool;

	assert(p->apply);
	pool_fail(p, "%s is damaged: %s; run 'pando pool check'", p->dev->name, what);
	longjmp(p->apply->out, 1);
}

/* What the pass takes is paid for at its end. */
static int run_pass(struct txn *t, int (*fn)(struct txn *t, void *arg), void *arg)
{
	struct pool *p = t->pool;
	int err = fn(t, arg);

	return err || !t->modify || !t->owner ? err : p->o.charge(p->o.arg, t);
}

static int apply_run(struct txn *t, int (*fn)(struct txn *t, void *arg), void *arg)
{
	struct pool *p = t->pool;
	struct apply a;
	int err;

	p->apply = &a;
	t->apply = true;
	if (!setjmp(a.out)) {
		err = run_pass(t, fn, arg);
		if (err)		/* an apply pass has no errors: it met what the load pass didn't */
			txn_abandon(t, "what is read differs from what is changed");
		p->apply = NULL;
		t->apply = false;
		return 0;
	}
	p->apply = NULL;
	t->apply = false;
	return -EDAMAGED;
}

static void pass_reset(struct txn *t)
{
	t->apply = t->missing = false;
	t->need_meta = t->need_data = t->need_tables = t->need_reap = 0;
	t->need_log = t->hold = t->more = t->copied = 0;
	t->owner = 0;
	t->uncounted = t->limited = t->unlimited = false;
	t->regrouped = t->recount = false;
	t->net = 0;
	if (t->ntally)
		memset(t->tally, 0, t->tally_cap * sizeof(*t->tally));
	t->ntally = 0;
	t->pass = ++t->pool->passes;
}

int txn_run(struct txn *t, bool modify, int (*fn)(struct txn *t, void *arg), void *arg)
{
	uint64_t switches;
	int err;

	t->modify = modify;
	for (unsigned n = 0; ; n++) {
		switches = fiber_switches();
		pass_reset(t);
		err = run_pass(t, fn, arg);
		if (t->missing) {
			err = txn_wait_missing(t);
			if (err)
				return err;
			assert(n < MAX_PASSES);
			continue;
		}
		if (t->unpinned && !err)
			return -ENOMEM;
		assert(err != -ERESTART_PASS);
		if (err || !modify)
			return err;
		err = admit(t);
		if (err < 0)
			return err;
		if (err == 0)
			break;
		t->nwait = 0;
	}
	assert(fiber_switches() == switches);
	err = apply_run(t, fn, arg);
	assert(fiber_switches() == switches);
	return err;
}

/* ---- blocks in passes ---------------------------------------------------------------------- */

int txn_block(struct txn *t, uint64_t ptr, struct block **ret)
{
	struct pool *p = t->pool;
	uint64_t addr = ptr_block(ptr);
	const struct table_entry *e;
	struct block *b = cache_find(p, addr);
	int err;

	if (b) {
		if (!(b->flags & B_VALID)) {
			insist(p, !t->apply, "it is freed where it is used", addr);
			txn_wait_for(t, b);
			return -ERESTART_PASS;
		}
		b->flags |= B_REF;
		if (!t->apply)
			txn_pin(t, b);
		p->stat.hits++;
		*ret = b;
		return 0;
	}
	insist(p, !t->apply, "it is freed where it is used", addr);
	if (!pool_block_ok(p, addr))
		return -EDAMAGED;
	err = table_entry(t, addr, &e);
	if (err)
		return err;
	if (!e->refs)
		return -EDAMAGED;
	p->stat.misses++;
	b = cache_take(p);
	if (!b) {
		t->missing = true;
		return -ERESTART_PASS;
	}
	cache_insert(p, b, addr);
	b->birth = 0;
	b->crc = e->crc;
	cache_queue_read(p, b);
	txn_wait_for(t, b);
	return -ERESTART_PASS;
}

struct block *txn_peek(struct txn *t, uint64_t ptr, uint8_t level, uint8_t kind)
{
	struct block *b = cache_find(t->pool, ptr_block(ptr));

	if (!b || !(b->flags & B_VALID) || block_sound(t->pool, b, level, kind))
		return NULL;
	txn_pin(t, b);
	return b;
}

static void start(struct pool *p, uint64_t key, uint32_t crc)
{
	struct block *b = cache_take(p);

	if (!b)
		return;
	cache_insert(p, b, key);
	b->birth = 0;
	b->crc = crc;
	cache_queue_read(p, b);
}

/* Its table page goes before it: then it is asked for in vain, but the next time it isn't. */
static void start_read(struct txn *t, uint64_t addr)
{
	struct pool *p = t->pool;
	uint64_t page = addr / PAGE_ENTRIES;
	struct block *b = cache_find(p, KEY_TABLE | page);

	if (b) {
		const struct table_entry *e = (const struct table_entry *)b->data + addr % PAGE_ENTRIES;

		if ((b->flags & B_VALID) && !table_page(t, page, &b) && e->refs && !cache_find(p, addr))
			start(p, addr, e->crc);
		return;
	}
	b = cache_find(p, KEY_SUMMARY | page / ZONE_PAGES);
	if (b && (b->flags & B_VALID) && !summary_page(t, page / ZONE_PAGES, &b)) {
		const struct summary_entry *s = (const struct summary_entry *)b->data + page % ZONE_PAGES;

		if (s->slot != SLOT_NONE)
			start(p, KEY_TABLE | page, s->crc);
	}
}

#define READ_AHEAD_MAX 4096		/* blocks that are being read, when no more are asked for */

void txn_read_ahead(struct txn *t, const uint64_t *ptrs, uint32_t n)
{
	struct pool *p = t->pool;

	/* A cache that is small, or full of what is in use, has better things to do. */
	if (p->nfree + p->nlru < p->nblocks / 2 || p->reads_inflight > READ_AHEAD_MAX / RUN_BLOCKS)
		return;
	for (uint32_t i = 0; i < n; i++)
		if (ptr_block(ptrs[i]) && pool_block_ok(p, ptr_block(ptrs[i])))
			start_read(t, ptr_block(ptrs[i]));
	cache_send_reads(p);
}

/* The apply pass comes to no block that the load pass hasn't come to. */
int txn_block_as(struct txn *t, uint64_t ptr, uint8_t level, uint8_t kind, struct block **ret)
{
	int err = txn_block(t, ptr, ret);

	return err || t->apply ? err : block_sound(t->pool, *ret, level, kind);
}

unsigned block_children(struct pool *p, const struct block *b, uint8_t level, uint8_t kind,
			struct child ret[INDEX_SLOTS])
{
	const uint64_t *slots = (const uint64_t *)b->data;
	unsigned n = 0;

	if (!level)
		return p->o.children[kind] ? p->o.children[kind](b->data, ret) : 0;
	for (unsigned i = 0; i < INDEX_SLOTS; i++)
		if (ptr_block(slots[i]))
			ret[n++] = (struct child){ slots[i], level - 1, kind, i * 8, 0 };
	return n;
}

static bool has_children(const struct pool *p, uint8_t level, uint8_t kind)
{
	return level || p->o.children[kind];
}

/* A new block: count 1, zeroed if asked, dirty, of this generation. */
static struct block *block_new(struct txn *t, uint64_t addr, bool zero)
{
	struct pool *p = t->pool;
	struct table_entry *e = table_entry_write(p, addr);
	struct block *b;

	t->net += !t->uncounted;

	insist(p, !e->refs, "it was free, and is in use", addr);
	b = cache_take(p);
	insist(p, b, "there is no memory for its copy", addr);
	*e = (struct table_entry){ .refs = 1 };
	watch_count(p, addr, 1);
	cache_insert(p, b, addr);
	b->flags = B_VALID | B_DIRTY;
	b->birth = p->gen;
	b->crc = 0;
	list_add_tail(&p->dirty, &b->dirty);
	p->ndirty++;
	if (zero)
		memset(b->data, 0, BLOCK_SIZE);
	return b;
}

/* The count of ADDR has come to zero. */
void block_freed(struct pool *p, uint64_t addr)
{
	struct block *b = cache_find(p, addr);

	alloc_free(p, addr);
	if (!b)
		return;
	b->flags |= B_DEAD;
	if (b->flags & (B_FROZEN | B_UNWRITTEN | B_WRITING | B_READING))
		return;			/* dropped when that is done */
	if (b->flags & B_DIRTY) {
		b->flags &= ~B_DIRTY;
		list_del(&b->dirty);
		p->ndirty--;
	}
	cache_drop(p, b);
}

static void unref_now(struct txn *t, uint64_t addr)
{
	struct pool *p = t->pool;
	struct table_entry *e = table_entry_write(p, addr);

	insist(p, e->refs, "more pointers lead to it than its count says", addr);
	watch_count(p, addr, -1);
	if (--e->refs) {
		t->regrouped = true;
		return;
	}
	t->net -= !t->uncounted;
	block_freed(p, addr);
}

int txn_unref(struct txn *t, uint64_t ptr)
{
	const struct table_entry *e;
	int err;

	if (t->apply) {
		unref_now(t, ptr_block(ptr));
		return 0;
	}
	if (!pool_block_ok(t->pool, ptr_block(ptr)))
		return -EDAMAGED;
	err = table_entry(t, ptr_block(ptr), &e);
	if (err)
		return err;
	err = foresee_table(t, ptr_block(ptr));
	if (err)
		return err;
	return e->refs ? 0 : -EDAMAGED;
}

int txn_look(struct txn *t, uint64_t ptr, struct block_facts *ret)
{
	const struct table_entry *e;
	int err;

	if (!pool_block_ok(t->pool, ptr_block(ptr)))
		return -EDAMAGED;
	err = table_entry(t, ptr_block(ptr), &e);
	if (err)
		return err;
	if (!e->refs)
		return -EDAMAGED;
	ret->refs = foreseen_refs(t, ptr_block(ptr), e);
	ret->crc = e->crc;
	ret->full = ret->refs >= t->pool->max_refs;
	return 0;
}

int txn_refs(struct txn *t, uint64_t ptr, uint32_t *ret)
{
	struct block_facts f;
	int err = txn_look(t, ptr, &f);

	if (!err)
		*ret = f.refs;
	return err;
}

static bool in_place(const struct pool *p, const struct block *b)
{
	return b->birth == p->gen &&
	       !(b->flags & (B_NAMED | B_FROZEN | B_WRITING | B_UNWRITTEN));
}

/* Load pass: +1 on each child of B, which is about to be copied. */
static int share_children_load(struct txn *t, struct block *b, uint8_t level, uint8_t kind)
{
	struct child *c = malloc(INDEX_SLOTS * sizeof(*c));
	unsigned n;
	int ret = 0;

	if (!c)
		return -ENOMEM;
	n = block_children(t->pool, b, level, kind, c);
	for (unsigned i = 0; i < n; i++) {
		int err = txn_share(t, &c[i].ptr, c[i].level, c[i].kind);

		if (err && (!ret || ret == -ERESTART_PASS))
			ret = err;
		if (err && err != -ERESTART_PASS)
			break;
	}
	free(c);
	return ret;
}

/* Apply pass: B, a fresh copy, points to everything that its original does. */
static void share_children_now(struct txn *t, struct block *b, uint8_t level, uint8_t kind)
{
	struct child leaf[LEAF_CHILDREN_MAX];
	uint64_t *slots = (uint64_t *)b->data;
	unsigned n;

	if (level) {
		for (unsigned i = 0; i < INDEX_SLOTS; i++)
			if (ptr_block(slots[i]))
				txn_share(t, &slots[i], level - 1, kind);
		return;
	}
	n = t->pool->o.children[kind](b->data, leaf);
	for (unsigned i = 0; i < n; i++)
		txn_share(t, (uint64_t *)(b->data + leaf[i].offset), leaf[i].level, leaf[i].kind);
}

bool block_is_new(const struct txn *t, const struct block *b)
{
	return b->birth == t->pool->gen;
}

static void set_block(uint64_t *ptr, uint64_t block)
{
	*ptr = (*ptr & ~PTR_BLOCK_MASK) | block;
}

/* The block at *PTR cannot take one more pointer: a copy for this one. */
static int share_by_copy(struct txn *t, uint64_t *ptr, uint8_t level, uint8_t kind)
{
	struct pool *p = t->pool;
	struct block *b, *copy;
	int err = txn_block_as(t, *ptr, level, kind, &b);

	if (err)
		return err;
	if (!t->apply) {
		/* Where counts are at their limit all the way down, there is no end to it. */
		if (++t->need_meta > p->nblocks)
			return -E2BIG;
		t->need_tables++;
		t->more++;
		return has_children(p, level, kind) ? share_children_load(t, b, level, kind) : 0;
	}
	copy = block_new(t, alloc_meta(p), false);
	memcpy(copy->data, b->data, BLOCK_SIZE);
	if (has_children(p, level, kind))
		share_children_now(t, copy, level, kind);
	set_block(ptr, copy->key);
	return 0;
}

int txn_share(struct txn *t, uint64_t *ptr, uint8_t level, uint8_t kind)
{
	uint64_t addr = ptr_block(*ptr);
	const struct table_entry *e;
	struct tally *y;
	int err;

	if (t->apply) {
		struct table_entry *w = table_entry_write(t->pool, addr);

		insist(t->pool, w->refs, "a pointer leads to it, and its count is 0", addr);
		if (w->refs >= t->pool->max_refs)
			return share_by_copy(t, ptr, level, kind);
		w->refs++;
		t->regrouped = true;
		watch_count(t->pool, addr, 1);
		return 0;
	}
	if (!pool_block_ok(t->pool, addr))
		return -EDAMAGED;
	err = table_entry(t, addr, &e);
	if (err)
		return err;
	if (!e->refs)
		return -EDAMAGED;
	err = foresee_table(t, addr);
	if (err)
		return err;
	y = tally_get(t, addr);
	if (!y)
		return -ENOMEM;
	if ((uint64_t)e->refs + y->n >= t->pool->max_refs)
		return share_by_copy(t, ptr, level, kind);
	y->n++;
	return 0;
}

/* Apply pass: *PTR's block gets a new place; the old one loses a pointer. */
static struct block *copy_now(struct txn *t, uint64_t *ptr, struct block *b, uint64_t to,
			      uint8_t level, uint8_t kind)
{
	struct pool *p = t->pool;
	uint64_t from = ptr_block(*ptr);
	bool shared = table_entry_now(p, from)->refs > 1;
	struct block *nb = block_new(t, to, false);

	if (b)
		memcpy(nb->data, b->data, BLOCK_SIZE);
	if (b)
		nb->sound_as = b->sound_as;
	if (shared && b && has_children(p, level, kind))
		share_children_now(t, nb, level, kind);
	unref_now(t, from);
	set_block(ptr, to);
	return nb;
}

int txn_own(struct txn *t, uint64_t *ptr, uint8_t level, uint8_t kind, struct block **ret)
{
	struct pool *p = t->pool;
	const struct table_entry *e;
	struct block *b;
	uint32_t refs;
	int err;

	if (!ptr_block(*ptr)) {
		t->need_meta++;
		t->more += !t->uncounted;
		*ret = NULL;
		if (t->apply) {
			*ret = block_new(t, alloc_meta(p), true);
			set_block(ptr, (*ret)->key);
		}
		return 0;
	}
	err = txn_block_as(t, *ptr, level, kind, &b);
	if (err)
		return err;
	if (t->apply) {
		if (in_place(p, b) && table_entry_now(p, b->key)->refs == 1)
			*ret = b;
		else
			*ret = copy_now(t, ptr, b, alloc_meta(p), level, kind);
		return 0;
	}
	err = table_entry(t, b->key, &e);
	if (err)
		return err;
	*ret = b;
	refs = foreseen_refs(t, b->key, e);
	if (refs == 1 && (in_place(p, b) || b->counted == t->pass))
		return 0;
	b->counted = t->pass;		/* its one pointer was followed: not again in this pass */
	t->need_meta++;
	t->need_tables += 2;
	t->copied += refs > 1 && !t->uncounted;
	if (refs > 1 && has_children(p, level, kind))
		return share_children_load(t, b, level, kind);
	return refs ? 0 : -EDAMAGED;
}

int txn_own_data(struct txn *t, uint64_t *ptr, bool keep, uint64_t hint, uint64_t index,
		 bool sequential, struct block **ret)
{
	struct pool *p = t->pool;
	uint64_t addr = ptr_block(*ptr);
	struct block *b = addr ? cache_find(p, addr) : NULL;
	const struct table_entry *e;
	uint32_t refs;
	int err;

	if (t->apply) {
		if (!addr) {
			*ret = block_new(t, alloc_data(p, hint, index, sequential), keep);
		} else if (b && (b->flags & B_VALID) && in_place(p, b) &&
			   table_entry_now(p, addr)->refs == 1) {
			*ret = b;
		} else {
			*ret = copy_now(t, ptr, keep ? b : NULL,
					alloc_data(p, hint, index, sequential), 0, TREE_FILE);
		}
		*ptr = (*ret)->key;	/* and no flags: this is its own */
		return 0;
	}
	*ret = NULL;
	if (!addr) {
		t->need_data++;
		t->more++;
		return 0;
	}
	if (!pool_block_ok(p, addr))
		return -EDAMAGED;
	err = table_entry(t, addr, &e);
	if (err)
		return err;
	if (!e->refs)
		return -EDAMAGED;
	if (keep) {
		err = txn_block(t, addr, ret);
		if (err)
			return err;
	} else if (b && (b->flags & B_VALID)) {
		txn_pin(t, b);
	}
	refs = foreseen_refs(t, addr, e);
	if (refs != 1 || !b || !(b->flags & B_VALID) || !in_place(p, b)) {
		t->need_data++;
		t->need_tables += 2;
		t->copied += refs != 1;
	}
	return 0;
}

uint32_t txn_name_data(struct txn *t, struct block *b)
{
	struct pool *p = t->pool;

	assert(t->apply && in_place(p, b) && (b->flags & B_DIRTY));
	b->crc = crc32c(0, b->data, BLOCK_SIZE);
	table_entry_write(p, b->key)->crc = b->crc;
	list_del(&b->dirty);
	p->ndirty--;
	b->flags = (b->flags & ~B_DIRTY) | B_NAMED | B_UNWRITTEN;
	list_add_tail(&p->named, &b->dirty);
	p->nnamed++;
	p->named_left[p->gen & 1]++;
	p->epoch_left[p->epoch & 1]++;
	if (p->epoch & 1)
		b->flags |= B_EPOCH;
	named_kick(p);
	return b->crc;
}

int txn_claim(struct txn *t, uint64_t *ptr, uint64_t block, uint32_t crc)
{
	struct pool *p = t->pool;
	const struct table_entry *e;
	uint64_t old = ptr_block(*ptr);
	int err;

	assert(t->replay);
	if (t->apply) {
		struct table_entry *w = table_entry_write(p, block);

		insist(p, !w->refs, "a log record names it, and it is in use", block);
		*w = (struct table_entry){ .refs = 1, .crc = crc };
		t->net += !t->uncounted;
		watch_count(p, block, 1);
		pend_clear(p->claims, block);
		*ptr = block;
		if (old)
			unref_now(t, old);
		return 0;
	}
	if (!pool_block_ok(p, block))
		return -EDAMAGED;
	err = table_entry(t, block, &e);
	if (err)
		return err;
	t->need_tables += 2;
	if (e->refs || !pend_test(p->claims, block) || pend_test(p->pend, block) ||
	    pend_test(p->ck.pend, block))
		return -EDAMAGED;
	return old ? txn_unref(t, old) : 0;
}

uint64_t txn_event(struct txn *t)
{
	return t->replay ? t->replay_seq : t->pool->seq + 1;
}
