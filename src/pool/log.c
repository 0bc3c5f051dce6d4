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
		if (r->tries++ < 3 && !p->dead && !p->readonly) {
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
};

static int write_batches(struct pool *p, struct log_write *w, unsigned n, bool dsync)
{
	int err = 0;

	for (unsigned i = 0; i < n; i++) {
		struct batch *b = w[i].b;
		uint64_t blocks = (b->len + BLOCK_SIZE - 1) / BLOCK_SIZE;

		w[i].iov = (struct iovec){ b->buf, blocks * BLOCK_SIZE };
		memset(&w[i].io, 0, sizeof(w[i].io));
		w[i].io.op = DEV_WRITE;
		w[i].io.dsync = dsync;
		w[i].io.block = p->sb.log_block + b->offset;
		w[i].io.nblocks = blocks;
		w[i].io.iov = &w[i].iov;
		w[i].io.niov = 1;
		dev_submit(p->dev, &w[i].io);
	}
	for (unsigned i = 0; i < n; i++) {
		int r = dev_io_wait(&w[i].io);

		if (r && !err)
			err = r;
	}
	return err;
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

/* ---- reading it back ---------------------------------------------------------------------- */

#define READ_BLOCKS 256

struct log_reader {
	struct pool *p;
	uint8_t *buf;
	uint64_t start, blocks, cap;	/* what of the ring buf holds */
};

/* BYTES of the ring at POS, contiguous; NULL with *err = 0 if the ring ends before. */
static const void *reader_at(struct log_reader *rd, uint64_t pos, uint64_t bytes, int *err)
{
	struct pool *p = rd->p;
	uint64_t first = pos / BLOCK_SIZE, last = (pos + bytes + BLOCK_SIZE - 1) / BLOCK_SIZE;

	*err = 0;
	if (last > p->ring_blocks)
		return NULL;
	if (first < rd->start || last > rd->start + rd->blocks) {
		uint64_t want = last - first < READ_BLOCKS ? READ_BLOCKS : last - first;

		if (want > p->ring_blocks - first)
			want = p->ring_blocks - first;
		if (want > rd->cap) {
			free(rd->buf);
			rd->buf = NULL;
			rd->cap = rd->blocks = 0;
			if (posix_memalign((void **)&rd->buf, BLOCK_SIZE, want * BLOCK_SIZE)) {
				*err = -ENOMEM;
				return NULL;
			}
			rd->cap = want;
		}
		rd->blocks = 0;
		*err = dev_read(p->dev, p->sb.log_block + first, rd->buf, want);
		if (*err)
			return NULL;
		rd->start = first;
		rd->blocks = want;
	}
	return rd->buf + (pos - rd->start * BLOCK_SIZE);
}

/* A whole record at POS whose hash is right, of the life that the superblock names. */
static const struct log_record *record_at(struct log_reader *rd, uint64_t pos, int *err)
{
	const struct log_record *r = reader_at(rd, pos, sizeof(*r), err);
	uint32_t len;

	if (!r || r->magic != LOG_MAGIC || r->life != rd->p->sb.log_life)
		return NULL;
	len = r->len;
	if (len < sizeof(*r) || len & 7 || len > rd->p->ring_blocks * BLOCK_SIZE ||
	    r->payload_len > len - sizeof(*r))
		return NULL;
	r = reader_at(rd, pos, len, err);
	return r && r->hash == log_hash(r) ? r : NULL;
}

/* The claims of a record; false if they don't fit it. */
static bool record_claims(const struct log_record *r, uint64_t *blocks, uint32_t *crcs, uint32_t max,
			  uint32_t *ret_n)
{
	const uint8_t *at = (const uint8_t *)(r + 1) + ((r->payload_len + 7) & ~7u);
	const uint8_t *end = (const uint8_t *)r + r->len;
	uint32_t n = 0;

	for (unsigned i = 0; i < r->nruns; i++) {
		uint64_t head;
		uint32_t count;

		if (end - at < 8)
			return false;
		memcpy(&head, at, 8);
		count = head >> 48;
		at += 8;
		if (end - at < (ptrdiff_t)count * 4 || n + count > max)
			return false;
		for (uint32_t k = 0; k < count; k++) {
			blocks[n] = (head & PTR_BLOCK_MASK) + k;
			memcpy(&crcs[n++], at + k * 4, 4);
		}
		at += (count * 4 + 7) & ~7u;
	}
	*ret_n = n;
	return true;
}

struct log_tail {			/* what is to be replayed */
	struct log_reader rd;
	struct { uint64_t pos, seq; } *recs;
	uint64_t n, cap;
	uint64_t next;			/* index: replayed so far */
	uint64_t flushed;		/* F */
	uint64_t end;			/* byte behind the last record */
	uint64_t *claim_blocks;
	uint32_t *claim_crcs;
};
#define CLAIMS_MAX 65536

static int tail_add(struct log_tail *lt, uint64_t pos, uint64_t seq)
{
	if (lt->n == lt->cap) {
		uint64_t cap = lt->cap ? 2 * lt->cap : 1024;
		void *more = realloc(lt->recs, cap * sizeof(*lt->recs));

		if (!more)
			return -ENOMEM;
		lt->recs = more;
		lt->cap = cap;
	}
	lt->recs[lt->n].pos = pos;
	lt->recs[lt->n++].seq = seq;
	return 0;
}

/* Follows the chain from the superblock's record to its end. */
static int read_chain(struct log_tail *lt)
{
	struct pool *p = lt->rd.p;
	uint64_t pos = p->sb.log_offset, seq = p->sb.log_seq, chain = p->sb.log_chain;
	uint64_t size = p->ring_blocks * BLOCK_SIZE;
	bool wrapped = false;

	lt->end = pos;
	lt->flushed = seq - 1;
	for (;;) {
		int err;
		const struct log_record *r = pos < size ? record_at(&lt->rd, pos, &err) : (err = 0, NULL);

		if (err)
			return err;
		if (r && r->seq == seq && r->prev == chain) {
			err = tail_add(lt, pos, seq);
			if (err)
				return err;
			if (r->flushed_to > lt->flushed)
				lt->flushed = r->flushed_to;
			chain = r->hash;
			seq++;
			pos += r->len;
			lt->end = pos;
			continue;
		}
		if (pos % BLOCK_SIZE) {
			pos = (pos + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
			continue;
		}
		if (pos && !wrapped) {
			wrapped = true;
			pos = 0;
			continue;
		}
		p->chain = chain;
		return 0;
	}
}

/*
 * Beyond the end of the chain lies nothing that counts, unless a record there knows that one
 * which we couldn't read had been flushed: that is damage.
 */
static int look_beyond(struct log_tail *lt, uint64_t *ret_lost)
{
	struct pool *p = lt->rd.p;
	uint64_t next = p->sb.log_seq + lt->n;

	*ret_lost = 0;
	for (uint64_t b = 0; b < p->ring_blocks; b++) {
		int err;
		const struct log_record *r = reader_at(&lt->rd, b * BLOCK_SIZE, sizeof(*r), &err);

		if (err)
			return err;
		if (!r || r->magic != LOG_MAGIC || r->life != p->sb.log_life || r->seq <= next ||
		    r->flushed_to < next)
			continue;
		r = record_at(&lt->rd, b * BLOCK_SIZE, &err);
		if (err)
			return err;
		if (r && r->flushed_to > *ret_lost)
			*ret_lost = r->flushed_to;
	}
	return 0;
}

static int get_record(struct log_tail *lt, uint64_t i, const struct log_record **ret, uint32_t *nclaims)
{
	int err;
	const struct log_record *r = record_at(&lt->rd, lt->recs[i].pos, &err);

	if (!r)
		return err ? err : -EDAMAGED;
	if (!record_claims(r, lt->claim_blocks, lt->claim_crcs, CLAIMS_MAX, nclaims))
		return -EDAMAGED;
	*ret = r;
	return 0;
}

/* Whether the data that a record names is there. */
static int claims_there(struct log_tail *lt, uint32_t n, uint8_t *buf, bool *ret)
{
	struct pool *p = lt->rd.p;

	*ret = true;
	for (uint32_t i = 0; i < n && *ret; i++) {
		int err;

		if (!pool_block_ok(p, lt->claim_blocks[i])) {
			*ret = false;
			break;
		}
		err = dev_read(p->dev, lt->claim_blocks[i], buf, 1);
		if (err)
			return err;
		*ret = crc32c(0, buf, BLOCK_SIZE) == lt->claim_crcs[i];
	}
	return 0;
}

/* Verifies the data of records that may not have been flushed; takes all that is named out of
 * the free map. */
static int take_claims(struct log_tail *lt)
{
	struct pool *p = lt->rd.p;
	uint8_t *buf;
	int err = 0;

	if (posix_memalign((void **)&buf, BLOCK_SIZE, BLOCK_SIZE))
		return -ENOMEM;
	for (uint64_t i = 0; i < lt->n; i++) {
		const struct log_record *r;
		uint32_t n;
		bool there = true;

		err = get_record(lt, i, &r, &n);
		if (err)
			break;
		if (lt->recs[i].seq > lt->flushed)
			err = claims_there(lt, n, buf, &there);
		if (err)
			break;
		if (!there) {		/* the log ends here */
			lt->n = i;
			break;
		}
		if (!alloc_pend_reserve(p, n + 1)) {
			err = -ENOMEM;
			break;
		}
		for (uint32_t k = 0; k < n; k++) {
			if (!pool_block_ok(p, lt->claim_blocks[k]) ||
			    pend_test(p->claims, lt->claim_blocks[k])) {
				err = -EDAMAGED;
				break;
			}
			pend_set(p, p->claims, lt->claim_blocks[k]);
			p->free_now--;
		}
		if (err)
			break;
	}
	free(buf);
	return err;
}

void log_position(struct pool *p, struct checkpoint *ck)
{
	struct log_tail *lt = p->log_tail;

	if (p->recovering && lt->next < lt->n) {
		/* Half-way in recovery: the next record to replay. */
		ck->log_seq = lt->recs[lt->next].seq;
		ck->log_offset = lt->recs[lt->next].pos;
		ck->log_life = p->sb.log_life;
		ck->log_chain = p->replay_chain;
		return;
	}
	log_seal(p);
	ck->log_seq = p->seq + 1;
	ck->log_offset = p->ring_head * BLOCK_SIZE;
	ck->log_chain = p->chain;
	ck->log_life = p->life;
}

static int replay_all(struct pool *p, struct log_tail *lt)
{
	p->replay_chain = p->sb.log_chain;	/* the chain so far */
	for (; lt->next < lt->n; lt->next++) {
		const struct log_record *r;
		uint64_t hash;
		uint32_t n;
		int err = get_record(lt, lt->next, &r, &n);

		if (err)
			return err;
		hash = r->hash;
		p->replay_seq = r->seq;
		err = p->o.replay(p->o.arg, r, r + 1, lt->claim_blocks, lt->claim_crcs, n);
		if (err)
			return err;
		p->replay_chain = hash;
		p->stat.replayed++;
	}
	return 0;
}

/* From here on the records of this life. */
static void begin_life(struct pool *p, const struct log_tail *lt)
{
	struct { uint64_t life, chain; uint8_t uuid[16]; } seed = { p->life, p->chain, { 0 } };

	memcpy(seed.uuid, p->sb.uuid, 16);
	p->ring_head = (lt->end + BLOCK_SIZE - 1) / BLOCK_SIZE % p->ring_blocks;
	p->ring_used = (p->ring_head + p->ring_blocks - p->sb.log_offset / BLOCK_SIZE) % p->ring_blocks;
	p->seq = p->life << EVENT_LIFE_SHIFT;
	p->stable = p->written = p->flushed_to = p->seq;
	p->chain = hash64(&seed, sizeof(seed));
}

int log_recover(struct pool *p, char *why, size_t why_len)
{
	struct log_tail *lt = calloc(1, sizeof(*lt));
	uint64_t lost = 0;
	int err;

	if (!lt)
		return -ENOMEM;
	p->log_tail = lt;
	lt->rd.p = p;
	lt->claim_blocks = calloc(CLAIMS_MAX, sizeof(*lt->claim_blocks));
	lt->claim_crcs = calloc(CLAIMS_MAX, sizeof(*lt->claim_crcs));
	err = lt->claim_blocks && lt->claim_crcs ? read_chain(lt) : -ENOMEM;
	if (!err)
		err = look_beyond(lt, &lost);
	if (!err)
		err = take_claims(lt);
	if (err) {
		snprintf(why, why_len, "reading the intent log of %s: %s", p->dev->name, err_text(err));
		return err;
	}
	if (lost)
		pool_fail(p, "the intent log of %s is damaged: record %llu can't be read, and it was stable;"
			  " what follows it is lost", p->dev->name,
			  (unsigned long long)(p->sb.log_seq + lt->n));
	err = replay_all(p, lt);
	if (err) {
		snprintf(why, why_len, "replaying record %llu of the intent log of %s: %s",
			 (unsigned long long)p->replay_seq, p->dev->name, err_text(err));
		return err;
	}
	begin_life(p, lt);
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
	struct log_tail *lt = p->log_tail;

	while (p->batches.next && !list_empty(&p->batches))
		batch_free(container_of(list_pop(&p->batches), struct batch, entry));
	batch_free(p->cur);
	batch_free(p->batch_spare);
	if (lt) {
		free(lt->rd.buf);
		free(lt->recs);
		free(lt->claim_blocks);
		free(lt->claim_crcs);
		free(lt);
	}
}
