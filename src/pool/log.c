/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The intent log: records are appended to a batch in memory in the order of execution; one
 * fiber seals batches, gives them their place in the ring and writes them.
 *
 *     append -> cur -> (seal) -> batches -> written -> flushed = stable
 *
 * A flush serves everybody who waits.  A batch that names no addresses, and nothing unflushed
 * before it, is one DSYNC write.  A batch that names addresses: the data it names is written at
 * the same time, and the full flush begins when all of both has completed.  (Recovery verifies
 * the data named by records that nobody knows to be flushed, so their order doesn't matter.)
 */
#include "pool/pool_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include "base/crc.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"

#define NAMED_CHUNK 256			/* blocks: sent when so many wait */
#define NAMED_INFLIGHT_MAX 2048		/* 8 MiB */

uint64_t log_hash(const struct log_record *r)
{
	struct log_record head = *r;

	head.hash = 0;
	return hash64_two(&head, sizeof(head), r + 1, r->len - sizeof(head));
}

/* ---- batches --------------------------------------------------------------------------- */

static struct batch *batch_new(size_t cap)
{
	struct batch *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	cap = (cap + BLOCK_SIZE - 1) & ~(size_t)(BLOCK_SIZE - 1);
	if (posix_memalign((void **)&b->buf, BLOCK_SIZE, cap)) {
		free(b);
		return NULL;
	}
	b->cap = cap;
	list_init(&b->entry);
	return b;
}

static void batch_free(struct batch *b)
{
	if (b)
		free(b->buf);
	free(b);
}

static void batch_recycle(struct pool *p, struct batch *b)
{
	if (p->batch_spare || b->cap > 2 * BATCH_TARGET) {
		batch_free(b);
		return;
	}
	b->len = 0;
	b->first_seq = b->last_seq = 0;
	b->names = false;
	p->batch_spare = b;
}

uint64_t log_used_blocks(const struct pool *p)
{
	return p->ring_used + (p->cur ? (p->cur->len + BLOCK_SIZE - 1) / BLOCK_SIZE : 0);
}

static bool ring_fits(const struct pool *p, uint64_t blocks)
{
	uint64_t need = blocks;

	if (p->ring_head + blocks > p->ring_blocks)
		need += p->ring_blocks - p->ring_head;
	return p->ring_used + need < p->ring_blocks;	/* never quite full */
}

static bool cur_make(struct pool *p, size_t bytes)
{
	if (p->cur && p->cur->len && p->cur->len + bytes > p->cur->cap)
		log_seal(p);
	if (p->cur && p->cur->len + bytes > p->cur->cap) {
		batch_free(p->cur);
		p->cur = NULL;
	}
	if (!p->cur && p->batch_spare && bytes <= p->batch_spare->cap) {
		p->cur = p->batch_spare;
		p->batch_spare = NULL;
	}
	if (!p->cur)
		p->cur = batch_new(bytes > BATCH_TARGET + 65536 ? bytes + BLOCK_SIZE :
				   BATCH_TARGET + 131072);
	return p->cur;
}

bool log_has_room(struct pool *p, uint64_t bytes)
{
	size_t len = p->cur ? p->cur->len : 0;
	uint64_t blocks = (len + bytes + BLOCK_SIZE - 1) / BLOCK_SIZE + 1;

	if (log_used_blocks(p) * 3 > p->ring_blocks)
		ck_kick(p);
	if (!ring_fits(p, blocks + 1))
		return false;
	if (p->staged + len + bytes > STAGED_MAX && p->staged + len)
		return false;
	return cur_make(p, bytes);
}

/* Gives the current batch its place in the ring. */
void log_seal(struct pool *p)
{
	struct batch *b = p->cur;
	uint64_t blocks;

	if (!b || !b->len)
		return;
	p->cur = NULL;
	blocks = (b->len + BLOCK_SIZE - 1) / BLOCK_SIZE;
	memset(b->buf + b->len, 0, blocks * BLOCK_SIZE - b->len);
	if (p->ring_head + blocks > p->ring_blocks) {
		p->ring_used += p->ring_blocks - p->ring_head;
		p->ring_head = 0;
	}
	b->offset = p->ring_head;
	p->ring_head += blocks;
	p->ring_used += blocks;
	if (p->ring_head == p->ring_blocks)
		p->ring_head = 0;
	assert(p->ring_used < p->ring_blocks);
	p->staged += b->len;
	list_add_tail(&p->batches, &b->entry);
}

/* Everything up to SEQ, which lies before OFFSET, is in a durable generation.  Batches of it that
 * nobody has waited for needn't be written, and mustn't: their place is given to others now. */
void log_trim(struct pool *p, uint64_t offset, uint64_t seq)
{
	while (!list_empty(&p->batches)) {
		struct batch *b = container_of(p->batches.next, struct batch, entry);

		if (b->last_seq > seq)
			break;
		list_del(&b->entry);
		p->staged -= b->len;
		p->written = b->last_seq;
		batch_recycle(p, b);
	}
	p->ring_used = (p->ring_head + p->ring_blocks - offset / BLOCK_SIZE) % p->ring_blocks;
	waitq_wake_all(&p->log_space_wait);
}

/* ---- appending ------------------------------------------------------------------------- */

uint64_t txn_log_need(uint64_t payload_len, uint32_t nclaims)
{
	return sizeof(struct log_record) + payload_len + 8 + (uint64_t)nclaims * 16;
}

uint64_t pool_record_max(struct pool *p)
{
	uint64_t max = p->ring_blocks * BLOCK_SIZE / 8;

	return max > (8 << 20) ? 8 << 20 : max;
}

/* Runs of neighbouring claimed blocks: {block, count}, CRCs, padding to 8.  Returns bytes. */
static size_t put_runs(uint8_t *out, const struct txn_record *r, uint16_t *nruns)
{
	size_t at = 0;
	uint32_t i = 0;

	*nruns = 0;
	while (i < r->nclaims) {
		uint32_t n = 1;
		uint64_t head;

		while (i + n < r->nclaims && n < 65535 &&
		       r->claim_blocks[i + n] == r->claim_blocks[i] + n)
			n++;
		head = r->claim_blocks[i] | (uint64_t)n << 48;
		memcpy(out + at, &head, 8);
		memcpy(out + at + 8, r->claim_crcs + i, n * 4);
		at += 8 + n * 4;
		if (n & 1) {
			memset(out + at, 0, 4);
			at += 4;
		}
		i += n;
		++*nruns;
	}
	return at;
}

void txn_log(struct txn *t, const struct txn_record *rec)
{
	struct pool *p = t->pool;
	struct batch *b = p->cur;
	struct log_record *r;
	size_t at, room;

	assert(t->apply);
	if (t->replay) {
		t->seq = t->replay_seq;
		return;
	}
	assert(b && t->need_log);
	room = b->cap - b->len;
	r = (struct log_record *)(b->buf + b->len);
	*r = (struct log_record){
		.magic = LOG_MAGIC, .life = p->life, .seq = ++p->seq, .flushed_to = p->flushed_to,
		.prev = p->chain, .type = rec->type, .drc_client = rec->drc_client,
		.drc_xid = rec->drc_xid, .drc_proc = rec->drc_proc, .time_ns = rec->time_ns,
	};
	at = sizeof(*r) + rec->head_len;
	assert(at + 8 <= room);
	if (rec->head_len)
		memcpy(r + 1, rec->head, rec->head_len);
	for (int i = 0; i < rec->npayload; i++) {
		assert(at + rec->payload[i].iov_len + 8 <= room);
		memcpy((uint8_t *)r + at, rec->payload[i].iov_base, rec->payload[i].iov_len);
		at += rec->payload[i].iov_len;
	}
	r->payload_len = at - sizeof(*r);
	while (at & 7)
		((uint8_t *)r)[at++] = 0;
	assert(at + (size_t)rec->nclaims * 16 <= room && t->need_log + 8 >= at);
	at += put_runs((uint8_t *)r + at, rec, &r->nruns);
	r->len = at;
	r->hash = log_hash(r);
	p->chain = r->hash;
	if (!b->len)
		b->first_seq = r->seq;
	b->last_seq = r->seq;
	b->names |= rec->nclaims != 0;
	b->len += at;
	t->seq = r->seq;
	if (b->len > BATCH_TARGET)
		log_kick(p);
}

uint64_t pool_last_seq(struct pool *p)
{
	return p->seq;
}

/* ---- data that records name -------------------------------------------------------------- */

static void named_finish(struct pool *p, struct block *b)
{
	unsigned epoch = b->flags & B_EPOCH ? 1 : 0;

	b->flags &= ~(B_UNWRITTEN | B_WRITING | B_EPOCH);
	p->named_inflight--;
	p->named_left[b->birth & 1]--;
	p->epoch_left[epoch]--;
	p->stat.written++;
	cache_clean(p, b);
}

static void named_done(struct run_io *r)
{
	struct pool *p = r->pool;

	p->writes_inflight--;
	if (r->io.result) {
		p->stat.io_errors++;
		if (++r->tries < WRITE_TRIES && !p->dead && !p->readonly) {
			p->writes_inflight++;
			run_submit(r, DEV_WRITE, r->blocks[0]->key);
			return;
		}
		pool_fail(p, "writing data at block %llu of %s: %s; %s",
			  (unsigned long long)r->blocks[0]->key, p->dev->name,
			  err_text(r->io.result), way_out(r->io.result));
	} else {
		for (unsigned i = 0; i < r->n; i++)
			named_finish(p, r->blocks[i]);
	}
	run_put(p, r);
	if (!p->readonly && p->nnamed >= NAMED_CHUNK)
		named_start(p, NAMED_CHUNK - 1);
	waitq_wake_all(&p->named_wait);
	if (p->dead)
		waitq_wake_all(&p->background_wait);
}

/* Sends what waits, oldest first, until only KEEP blocks are left or enough is under way. */
void named_start(struct pool *p, uint32_t keep)
{
	while (p->nnamed > keep && p->named_inflight < NAMED_INFLIGHT_MAX && !p->readonly && !p->dead) {
		struct run_io *r = run_get(p);

		if (!r)
			return;		/* the next completion tries again */
		while (p->nnamed && r->n < RUN_BLOCKS) {
			struct block *b = container_of(p->named.next, struct block, dirty);

			if (r->n && b->key != r->blocks[r->n - 1]->key + 1)
				break;
			list_del(&b->dirty);
			p->nnamed--;
			p->named_inflight++;
			b->flags |= B_WRITING;
			r->blocks[r->n] = b;
			r->iov[r->n++] = (struct iovec){ b->data, BLOCK_SIZE };
		}
		r->done = named_done;
		p->writes_inflight++;
		run_submit(r, DEV_WRITE, r->blocks[0]->key);
	}
}

void named_kick(struct pool *p)
{
	if (p->nnamed >= NAMED_CHUNK)
		named_start(p, 0);
}

/* Waits until what COUNTER counts is written. */
static int named_wait(struct pool *p, const uint32_t *counter)
{
	while (*counter && !p->readonly && !p->dead) {
		named_start(p, 0);
		if (!p->named_inflight) {	/* no memory for a request */
			loop_sleep_ns(1000000);
			continue;
		}
		waitq_wait(&p->named_wait);
	}
	return *counter ? -EIO : 0;
}

int named_wait_gen(struct pool *p, unsigned parity)
{
	return named_wait(p, &p->named_left[parity]);
}

/* ---- writing ----------------------------------------------------------------------------- */

#define WRITES_MAX 32

struct log_write {
	struct dev_io io;
	struct iovec iov;
	struct batch *b;
	bool written;
};

static void write_batch(struct pool *p, struct log_write *w, bool dsync)
{
	uint64_t blocks = (w->b->len + BLOCK_SIZE - 1) / BLOCK_SIZE;

	w->iov = (struct iovec){ w->b->buf, blocks * BLOCK_SIZE };
	memset(&w->io, 0, sizeof(w->io));
	w->io.op = DEV_WRITE;
	w->io.dsync = dsync;
	w->io.block = p->sb.log_block + w->b->offset;
	w->io.nblocks = blocks;
	w->io.iov = &w->iov;
	w->io.niov = 1;
	p->writes_begun += !dsync;
	dev_submit(p->dev, &w->io);
}

/* Sends those of N that have not succeeded yet, and waits for them: what went wrong. */
static int write_batches_once(struct pool *p, struct log_write *w, unsigned n, bool dsync)
{
	int err = 0;

	for (unsigned i = 0; i < n; i++)
		if (!w[i].written)
			write_batch(p, &w[i], dsync);
	for (unsigned i = 0; i < n; i++) {
		int r = w[i].written ? 0 : dev_io_wait(&w[i].io);

		if (!w[i].written)
			p->writes_ended += !dsync;
		w[i].written = !r;
		p->stat.io_errors += r != 0;
		if (r && !err)
			err = r;
	}
	return err;
}

/*
 * What fails is tried again in place.  A DSYNC write may be a write and a flush, and it is not told
 * which of them failed: so only while the flush had nothing else to lose.
 */
static int write_batches(struct pool *p, struct log_write *w, unsigned n, bool dsync)
{
	int err;

	for (unsigned tries = 1; ; tries++) {
		err = write_batches_once(p, w, n, dsync);
		if (!err || tries == WRITE_TRIES || p->dead || p->readonly ||
		    (dsync && !pool_all_flushed(p)))
			return err;
		loop_sleep_ns(WRITE_PAUSE_NS);
	}
}

/* One round: everything that is there now. */
static void log_round(struct pool *p)
{
	struct log_write *w;
	bool flush, dsync, names = p->names_unflushed;
	unsigned n = 0, old_epoch = 0;
	int err = 0;

	log_seal(p);
	w = calloc(WRITES_MAX, sizeof(*w));
	if (!w) {
		loop_sleep_ns(1000000);
		return;
	}
	while (n < WRITES_MAX && !list_empty(&p->batches)) {
		struct batch *b = container_of(list_pop(&p->batches), struct batch, entry);

		names |= b->names;
		p->written = b->last_seq;
		w[n++].b = b;
	}
	flush = p->want_stable > p->stable;
	dsync = flush && !names && !p->unflushed && n == 1;
	if (flush && names) {
		old_epoch = p->epoch++ & 1;
		named_start(p, 0);
	}
	err = write_batches(p, w, n, dsync);
	if (!err && flush && names)
		err = named_wait(p, &p->epoch_left[old_epoch]);
	if (!err && flush && !dsync) {
		err = pool_flush(p);
		p->stat.flushes++;
	}
	for (unsigned i = 0; i < n; i++) {
		p->staged -= w[i].b->len;
		batch_recycle(p, w[i].b);
	}
	free(w);
	if (err) {
		if (!p->dead)
			pool_fail(p, "writing the intent log of %s: %s; %s", p->dev->name,
				  err_text(err), way_out(err));
		return;
	}
	if (flush) {
		if (p->written > p->stable)
			p->stable = p->written;
		if (p->stable > p->flushed_to)
			p->flushed_to = p->stable;
		p->unflushed = p->names_unflushed = false;
	} else if (n) {
		p->unflushed = true;
		p->names_unflushed = names;
	}
}

static bool log_work(const struct pool *p)
{
	if (p->readonly)
		return false;
	if (p->want_stable > p->stable)
		return true;
	return !list_empty(&p->batches) || (p->log_kicked && p->cur && p->cur->len);
}

void log_fiber_main(void *arg)
{
	struct pool *p = arg;

	p->log_fiber = fiber_self();
	while (!p->dead) {
		if (!log_work(p)) {
			if (p->stopping)
				break;
			p->log_kicked = false;
			fiber_park();
			continue;
		}
		p->log_kicked = false;
		log_round(p);
		waitq_wake_all(&p->stable_wait);
		waitq_wake_all(&p->log_space_wait);
	}
	p->log_fiber = NULL;
	waitq_wake_all(&p->stable_wait);
	pool_background(p, -1);
}

void log_kick(struct pool *p)
{
	p->log_kicked = true;
	if (p->log_fiber)
		fiber_wake(p->log_fiber);
}

int pool_wait_stable(struct pool *p, uint64_t seq)
{
	if (seq > p->seq)
		seq = p->seq;
	while (p->stable < seq) {
		if (p->readonly || p->dead || !p->log_fiber)
			return -EIO;
		if (p->want_stable < seq)
			p->want_stable = seq;
		log_kick(p);
		waitq_wait(&p->stable_wait);
	}
	return 0;
}

/* ---- opening and closing ------------------------------------------------------------------- */

int log_init(struct pool *p)
{
	list_init(&p->batches);
	list_init(&p->named);
	waitq_init(&p->named_wait);
	waitq_init(&p->stable_wait);
	waitq_init(&p->log_space_wait);
	p->ring_blocks = p->sb.log_blocks;
	return 0;
}

void log_done(struct pool *p)
{
	while (p->batches.next && !list_empty(&p->batches))
		batch_free(container_of(list_pop(&p->batches), struct batch, entry));
	batch_free(p->cur);
	batch_free(p->batch_spare);
	log_tail_free(p);
}
