/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The intent log at opening: following the chain from the superblock's record to its end,
 * verifying what records name, replay.
 *
 * The log ends where the chain does; or at a record whose data isn't there and that nobody knows
 * to have been flushed.  Where more may have been and can't be read, or was known to be flushed and
 * isn't there, that is damage: the pool opens read-only and says so, and nothing is written.
 */
#include "pool/pool_int.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/crc.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"

#define READ_BLOCKS 256

struct log_reader {
	struct pool *p;
	uint8_t *buf;
	uint64_t start, blocks, cap;	/* what of the ring buf holds */
	uint8_t *bad;			/* for each block of buf: it can't be read, and is zeros there */
	bool hit_bad;			/* what reader_at() gave last is partly such */
};

/* N blocks from FIRST on.  One bad sector says nothing of what lies beside it. */
static int reader_fill(struct log_reader *rd, uint64_t first, uint64_t n)
{
	struct pool *p = rd->p;
	int err = dev_read(p->dev, p->sb.log_block + first, rd->buf, n);

	memset(rd->bad, 0, n);
	for (uint64_t i = 0; err && i < n; i++) {
		uint8_t *at = rd->buf + i * BLOCK_SIZE;

		if (!dev_read(p->dev, p->sb.log_block + first + i, at, 1))
			continue;
		p->stat.io_errors++;
		memset(at, 0, BLOCK_SIZE);
		rd->bad[i] = 1;
	}
	rd->start = first;
	rd->blocks = n;
	return 0;
}

static int reader_grow(struct log_reader *rd, uint64_t blocks)
{
	free(rd->buf);
	free(rd->bad);
	rd->buf = NULL;
	rd->cap = rd->blocks = 0;
	rd->bad = malloc(blocks);
	if (!rd->bad || posix_memalign((void **)&rd->buf, BLOCK_SIZE, blocks * BLOCK_SIZE))
		return -ENOMEM;
	rd->cap = blocks;
	return 0;
}

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
		if (want > rd->cap)
			*err = reader_grow(rd, want);
		if (!*err)
			*err = reader_fill(rd, first, want);
		if (*err)
			return NULL;
	}
	rd->hit_bad = memchr(rd->bad + first - rd->start, 1, last - first) != NULL;
	return rd->buf + (pos - rd->start * BLOCK_SIZE);
}

/* A whole record at POS whose hash is right, of the life that the superblock names. */
static const struct log_record *record_at(struct log_reader *rd, uint64_t pos, int *err)
{
	const struct log_record *r = reader_at(rd, pos, sizeof(*r), err);
	uint32_t len;

	if (!r || r->life != rd->p->sb.log_life || record_verify_head(r, rd->p->ring_blocks * BLOCK_SIZE))
		return NULL;
	len = r->len;
	r = reader_at(rd, pos, len, err);
	return r && !record_verify(r, rd->p->ring_blocks * BLOCK_SIZE) ? r : NULL;
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
	uint64_t lost;			/* the greatest event number that was stable, if it isn't there */
	bool unreadable;		/* more may have been there, and can't be read */
	bool begun;			/* its life, before there was anything to replay */
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
			lt->unreadable = false;
			continue;
		}
		lt->unreadable |= pos < size && lt->rd.hit_bad;
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
static int look_beyond(struct log_tail *lt)
{
	struct pool *p = lt->rd.p;
	uint64_t next = p->sb.log_seq + lt->n;

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
		if (r && r->flushed_to > lt->lost)
			lt->lost = r->flushed_to;
	}
	return 0;
}

static int get_record(struct log_tail *lt, uint64_t i, const struct log_record **ret, uint32_t *nclaims)
{
	int err;
	const struct log_record *r = record_at(&lt->rd, lt->recs[i].pos, &err);

	if (!r)
		return err ? err : lt->rd.hit_bad ? -EIO : -EDAMAGED;
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
		if (!err && lt->recs[i].seq > lt->flushed)
			err = claims_there(lt, n, buf, &there);
		if (err == -EIO) {
			lt->unreadable = true;
			there = false;
		} else if (err) {
			break;
		}
		err = 0;
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

/* Before the first record.  A checkpoint that this takes has to say where the log goes on. */
static int mend(struct pool *p, struct log_tail *lt)
{
	int err;

	p->replay_chain = p->sb.log_chain;	/* the chain so far */
	p->replay_seq = p->sb.last_event;
	if (!p->o.mend || p->readonly)
		return 0;
	lt->begun = !lt->n;
	if (lt->begun)
		begin_life(p, lt);
	p->mending = true;
	err = p->o.mend(p->o.arg, p);
	p->mending = false;
	return err;
}

int log_recover(struct pool *p, char *why, size_t why_len)
{
	struct log_tail *lt = calloc(1, sizeof(*lt));
	int err;

	if (!lt)
		return -ENOMEM;
	p->log_tail = lt;
	lt->rd.p = p;
	lt->claim_blocks = calloc(CLAIMS_MAX, sizeof(*lt->claim_blocks));
	lt->claim_crcs = calloc(CLAIMS_MAX, sizeof(*lt->claim_crcs));
	err = lt->claim_blocks && lt->claim_crcs ? read_chain(lt) : -ENOMEM;
	if (!err)
		err = look_beyond(lt);
	if (!err)
		err = take_claims(lt);
	if (err) {
		snprintf(why, why_len, "reading the intent log of %s: %s", p->dev->name, err_text(err));
		return err;
	}
	if (!lt->lost && lt->unreadable && !p->o.cut_log)
		pool_fail(p, "the intent log of %s can't be read from record %llu on, which may have been "
			  "stable; see what ails the device, then start pandod again", p->dev->name,
			  (unsigned long long)(p->sb.log_seq + lt->n));
	if (lt->lost && !p->o.cut_log)
		pool_fail(p, "the intent log of %s is damaged: record %llu can't be read, and it was stable;"
			  " what follows it is lost", p->dev->name,
			  (unsigned long long)(p->sb.log_seq + lt->n));
	err = mend(p, lt);
	if (err) {
		snprintf(why, why_len, "repairing %s: %s", p->dev->name, err_text(err));
		return err;
	}
	err = replay_all(p, lt);
	if (err == -EDAMAGED && p->o.readonly) {
		/* Whoever wants nothing changed wants what there is. */
		snprintf(p->reason, sizeof(p->reason), "opened read-only; record %llu of the intent log can't "
			 "be replayed, so what it and those after it changed is missing",
			 (unsigned long long)p->replay_seq);
		log_error("%s: %s", p->dev->name, p->reason);
		err = 0;
	}
	if (err) {
		snprintf(why, why_len, "replaying record %llu of the intent log of %s: %s%s",
			 (unsigned long long)p->replay_seq, p->dev->name, err_text(err),
			 err == -EDAMAGED ? "; opened read-only, the pool is as it was before it" : "");
		return err;
	}
	if (!lt->begun)
		begin_life(p, lt);
	return 0;
}

void log_tail_free(struct pool *p)
{
	struct log_tail *lt = p->log_tail;

	if (!lt)
		return;
	free(lt->rd.buf);
	free(lt->rd.bad);
	free(lt->recs);
	free(lt->claim_blocks);
	free(lt->claim_crcs);
	free(lt);
}
