/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block memory: a fixed arena, a hash by key, a clock over the clean blocks, and reads.
 *
 * Who holds a buffer:  the free list | a key in the hash (clean ones also on the LRU; dirty,
 * frozen and reading ones not) | whoever took it (cache_take) | nobody but its pins (detached).
 * A read checks the CRC that the table (or summary, or directory) had when it was queued; its
 * address can't be given out again before it has completed (alloc_release looks).
 */
#include "pool/pool_int.h"

#include <stdlib.h>
#include <sys/mman.h>
#include "base/crc.h"
#include "base/err.h"

#define RUNS_KEPT 16			/* requests that can be made without memory */

/* Under AddressSanitizer blocks lie apart, so that a look behind one is seen. */
#if defined(__SANITIZE_ADDRESS__)
#define CACHE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CACHE_ASAN 1
#endif
#endif

#ifdef CACHE_ASAN
#include <sanitizer/asan_interface.h>
#define BLOCK_STRIDE (2 * BLOCK_SIZE)
static void guard(uint8_t *block) { __asan_poison_memory_region(block + BLOCK_SIZE, BLOCK_SIZE); }
static void unguard(uint8_t *arena, size_t n) { __asan_unpoison_memory_region(arena, n); }
#else
#define BLOCK_STRIDE BLOCK_SIZE
static void guard(uint8_t *block) { }
static void unguard(uint8_t *arena, size_t n) { }
#endif

int cache_init(struct pool *p)
{
	size_t per = BLOCK_SIZE + sizeof(struct block) + 2 * sizeof(void *);
	uint32_t hash_size = 1024;

	p->nblocks = p->o.cache_bytes / per;
	while (hash_size < p->nblocks)
		hash_size *= 2;
	p->hash_mask = hash_size - 1;
	p->arena_bytes = (size_t)p->nblocks * BLOCK_STRIDE;
	p->arena = mmap(NULL, p->arena_bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p->arena == MAP_FAILED) {
		p->arena = NULL;
		return -ENOMEM;
	}
	madvise(p->arena, p->arena_bytes, MADV_HUGEPAGE);
	p->blocks = calloc(p->nblocks, sizeof(*p->blocks));
	p->hash = calloc(hash_size, sizeof(*p->hash));
	p->readq = calloc(p->nblocks, sizeof(*p->readq));
	if (!p->blocks || !p->hash || !p->readq)
		return -ENOMEM;
	list_init(&p->free_list);
	list_init(&p->lru);
	for (uint32_t i = p->nblocks; i-- > 0; ) {
		struct block *b = &p->blocks[i];

		b->data = p->arena + (size_t)i * BLOCK_STRIDE;
		guard(b->data);
		list_init(&b->dirty);
		list_init(&b->lru);
		list_add_head(&p->free_list, &b->lru);
	}
	p->nfree = p->nblocks;
	for (unsigned i = 0; i < RUNS_KEPT; i++) {
		struct run_io *r = malloc(sizeof(*r));

		if (!r)
			return -ENOMEM;
		run_put(p, r);
	}
	return 0;
}

void cache_done(struct pool *p)
{
	struct run_io *r;

	while ((r = p->run_pool)) {
		p->run_pool = r->next;
		free(r);
	}
	if (p->arena) {
		unguard(p->arena, p->arena_bytes);
		munmap(p->arena, p->arena_bytes);
	}
	free(p->blocks);
	free(p->hash);
	free(p->readq);
}

/* Eight neighbouring blocks have neighbouring buckets: one cache line for all. */
static inline struct block **bucket(struct pool *p, uint64_t key)
{
	uint64_t h = (key >> 3) * 0x9e3779b97f4a7c15ULL;

	return &p->hash[((h >> 29 & ~7ULL) | (key & 7)) & p->hash_mask];
}

struct block *cache_find(struct pool *p, uint64_t key)
{
	struct block *b = *bucket(p, key);

	while (b && b->key != key)
		b = b->hash_next;
	return b;
}

/* Many look-ups are about to come: their cache misses may as well overlap. */
void blocks_prefetch(struct pool *p, const uint64_t *ptrs, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		__builtin_prefetch(bucket(p, ptrs[i] & PTR_BLOCK_MASK));
	for (uint32_t i = 0; i < n; i++) {
		const struct block *b = *bucket(p, ptrs[i] & PTR_BLOCK_MASK);

		if (b)
			__builtin_prefetch(b);
	}
}

void cache_insert(struct pool *p, struct block *b, uint64_t key)
{
	struct block **head = bucket(p, key);

	b->key = key;
	b->sound_as = 0;
	b->hash_next = *head;
	*head = b;
}

static void unhash(struct pool *p, struct block *b)
{
	struct block **pos = bucket(p, b->key);

	while (*pos != b) {
		assert(*pos);
		pos = &(*pos)->hash_next;
	}
	*pos = b->hash_next;
	b->hash_next = NULL;
}

static void lru_del(struct pool *p, struct block *b)
{
	if (!(b->flags & B_LRU))
		return;
	list_del(&b->lru);
	b->flags &= ~B_LRU;
	p->nlru--;
}

void cache_release(struct pool *p, struct block *b)
{
	assert(!b->pins && !(b->flags & (B_LRU | B_DIRTY | B_FROZEN | B_WRITING | B_READING)));
	assert(!b->frozen && !b->waiters);
	b->flags = 0;
	b->birth = 0;
	b->key = 0;
	list_add_head(&p->free_list, &b->lru);
	p->nfree++;
}

void cache_drop(struct pool *p, struct block *b)
{
	if (b == p->last_table)
		p->last_table = NULL;
	lru_del(p, b);
	unhash(p, b);
	b->flags |= B_DETACHED;
	if (!b->pins)
		cache_release(p, b);
}

void cache_clean(struct pool *p, struct block *b)
{
	if (b->flags & (B_LRU | B_DIRTY | B_FROZEN | B_WRITING | B_UNWRITTEN | B_READING | B_DETACHED))
		return;
	if (b->flags & B_DEAD) {
		cache_drop(p, b);
		return;
	}
	b->flags |= B_LRU;
	list_add_head(&p->lru, &b->lru);
	p->nlru++;
}

void block_pin(struct block *b)
{
	b->pins++;
}

void block_unpin(struct pool *p, struct block *b)
{
	assert(b->pins);
	if (!--b->pins && (b->flags & B_DETACHED) &&
	    !(b->flags & (B_WRITING | B_READING | B_FROZEN | B_UNWRITTEN)))
		cache_release(p, b);
}

/* The clock: the tail goes if it was not used since it last came by. */
static bool evict_one(struct pool *p)
{
	for (uint32_t n = 2 * p->nlru; n > 0; n--) {
		struct block *b = container_of(p->lru.prev, struct block, lru);

		if (list_empty(&p->lru))
			return false;
		if (b->pins || (b->flags & B_REF)) {
			b->flags &= ~B_REF;
			list_del(&b->lru);
			list_add_head(&p->lru, &b->lru);
			continue;
		}
		cache_drop(p, b);
		return true;
	}
	return false;
}

struct block *cache_take(struct pool *p)
{
	struct list *e;

	if (!p->nfree && !evict_one(p))
		return NULL;
	e = list_pop(&p->free_list);
	p->nfree--;
	return container_of(e, struct block, lru);
}

bool cache_ensure(struct pool *p, uint32_t n)
{
	while (p->nfree < n)
		if (!evict_one(p))
			return false;
	return true;
}

/* ---- runs ------------------------------------------------------------------------------ */

struct run_io *run_get(struct pool *p)
{
	struct run_io *r = p->run_pool;

	if (r)
		p->run_pool = r->next;
	else if (!(r = malloc(sizeof(*r))))
		return NULL;
	r->pool = p;
	r->n = r->tries = 0;
	return r;
}

void run_put(struct pool *p, struct run_io *r)
{
	r->next = p->run_pool;
	p->run_pool = r;
}

static void run_io_done(struct dev_io *io)
{
	struct run_io *r = container_of(io, struct run_io, io);

	r->pool->writes_ended += io->op == DEV_WRITE;
	r->done(r);
}

/* N blocks of the run, from its AT-th on. */
static void submit_part(struct run_io *r, enum dev_op op, uint64_t block, unsigned at, unsigned n)
{
	memset(&r->io, 0, sizeof(r->io));
	r->io.op = op;
	r->io.block = block;
	r->io.nblocks = n;
	r->io.iov = r->iov + at;
	r->io.niov = n;
	r->io.done = run_io_done;
	r->pool->writes_begun += op == DEV_WRITE;
	dev_submit(r->pool->dev, &r->io);
}

void run_submit(struct run_io *r, enum dev_op op, uint64_t block)
{
	submit_part(r, op, block, 0, r->n);
}

/* ---- reads ----------------------------------------------------------------------------- */

static void read_finish(struct pool *p, struct block *b, int error)
{
	struct waiter *w = b->waiters;

	b->waiters = NULL;
	b->flags &= ~B_READING;
	b->error = error;
	if (error) {
		if (!(b->flags & B_DETACHED))
			cache_drop(p, b);
		else if (!b->pins)
			cache_release(p, b);
	} else {
		b->flags |= B_VALID;
		cache_clean(p, b);
	}
	while (w) {
		struct waiter *next = w->next;

		fiber_wake(w->fiber);
		w = next;
	}
}

/* What came of reading B in a request that ended with RESULT. */
static int verdict(struct pool *p, const struct block *b, int result)
{
	p->stat.read++;
	if (result || crc32c(0, b->data, BLOCK_SIZE) == b->crc)
		return result;
	p->stat.checksum_errors++;
	return -EDAMAGED;
}

static void read_alone_done(struct run_io *r);

/*
 * A request that fails doesn't say which of its blocks is bad, and one bad sector must not cost its
 * neighbours anything.  So what failed is read once more, one block at a time; and so is what had
 * the wrong content, which the way from the device may have done.
 */
static void read_rest_alone(struct run_io *r)
{
	struct pool *p = r->pool;

	while (r->at < r->n && !r->blocks[r->at])
		r->at++;
	if (r->at < r->n) {
		r->done = read_alone_done;
		submit_part(r, DEV_READ, r->place + r->at, r->at, 1);
		return;
	}
	p->reads_inflight--;
	run_put(p, r);
	if (p->dead)
		waitq_wake_all(&p->background_wait);
}

static void read_alone_done(struct run_io *r)
{
	struct pool *p = r->pool;
	struct block *b = r->blocks[r->at];

	p->stat.io_errors += r->io.result != 0;
	r->blocks[r->at] = NULL;
	read_finish(p, b, verdict(p, b, r->io.result));
	read_rest_alone(r);
}

static void read_done(struct run_io *r)
{
	struct pool *p = r->pool;

	p->stat.io_errors += r->io.result != 0;
	for (unsigned i = 0; i < r->n; i++) {
		struct block *b = r->blocks[i];
		int error = verdict(p, b, r->io.result);

		if (error && !p->dead)
			continue;
		r->blocks[i] = NULL;
		read_finish(p, b, error);
	}
	read_rest_alone(r);
}

int cache_queue_read(struct pool *p, struct block *b)
{
	assert(p->nreadq < p->nblocks);
	b->flags |= B_READING;
	b->error = 0;
	p->readq[p->nreadq++] = b;
	return 0;
}

struct placed { uint64_t place; struct block *b; };

static int cmp_placed(const void *x, const void *y)
{
	uint64_t a = ((const struct placed *)x)->place, b = ((const struct placed *)y)->place;

	return a < b ? -1 : a > b;
}

static void send_run(struct pool *p, const struct placed *s, unsigned n)
{
	struct run_io *r = run_get(p);

	if (!r) {
		for (unsigned i = 0; i < n; i++)
			read_finish(p, s[i].b, -ENOMEM);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		r->blocks[i] = s[i].b;
		r->iov[i] = (struct iovec){ s[i].b->data, BLOCK_SIZE };
	}
	r->n = n;
	r->at = 0;
	r->place = s[0].place;
	r->done = read_done;
	p->reads_inflight++;
	run_submit(r, DEV_READ, s[0].place);
}

/* Sorts what was asked for and sends neighbours together. */
void cache_send_reads(struct pool *p)
{
	struct placed batch[256];

	while (p->nreadq) {
		unsigned n = p->nreadq < 256 ? p->nreadq : 256, from = 0;

		for (unsigned i = 0; i < n; i++) {
			struct block *b = p->readq[i];

			batch[i] = (struct placed){ key_place(p, b), b };
		}
		memmove(p->readq, p->readq + n, (p->nreadq - n) * sizeof(*p->readq));
		p->nreadq -= n;
		qsort(batch, n, sizeof(batch[0]), cmp_placed);
		for (unsigned i = 1; i <= n; i++)
			if (i == n || i - from == RUN_BLOCKS ||
			    batch[i].place != batch[i - 1].place + 1) {
				send_run(p, batch + from, i - from);
				from = i;
			}
	}
}

int block_wait_read(struct pool *p, struct block *b)
{
	while (b->flags & B_READING) {
		struct waiter w = { fiber_self(), b->waiters };

		b->waiters = &w;
		/* The waker takes the whole list: no need to unlink. */
		while (b->flags & B_READING)
			fiber_park();
	}
	return b->error;
}
