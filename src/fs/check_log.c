/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The intent log: the chain of records from the place that the superblock names.  Records that
 * are still to be replayed are no finding; a chain that breaks off before records that are known
 * to have been flushed is, because then acknowledged changes are lost.
 */
#include "fs/check_int.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

struct log_scan {
	struct check *c;
	uint8_t *rec;			/* one record */
	size_t cap;
	uint64_t next;			/* the sequence number that comes next */
	uint64_t chain, flushed;
	const struct dump *dump;
};

/* LEN bytes of the ring at POS, which lie before its end. */
static bool ring_read(struct log_scan *s, uint64_t pos, uint8_t *out, size_t len)
{
	while (len) {
		size_t in = pos % BLOCK_SIZE, n = BLOCK_SIZE - in;
		int err;
		const uint8_t *p = read_block(s->c, s->c->sb.log_block + pos / BLOCK_SIZE, &err);

		if (!p)
			return false;
		if (n > len)
			n = len;
		memcpy(out, p + in, n);
		out += n;
		pos += n;
		len -= n;
	}
	return true;
}

static uint64_t record_hash(const uint8_t *rec, uint32_t len)
{
	struct log_record head;
	XXH3_state_t st;

	memcpy(&head, rec, sizeof(head));
	head.hash = 0;
	XXH3_INITSTATE(&st);
	XXH3_64bits_reset(&st);
	XXH3_64bits_update(&st, &head, sizeof(head));
	XXH3_64bits_update(&st, rec + sizeof(head), len - sizeof(head));
	return XXH3_64bits_digest(&st);
}

/* The header of a whole and unharmed record at POS. */
static bool record_at(struct log_scan *s, uint64_t pos, struct log_record *ret)
{
	uint64_t size = s->c->sb.log_blocks * BLOCK_SIZE;
	struct log_record r;

	if (pos + sizeof(r) > size || !ring_read(s, pos, (uint8_t *)&r, sizeof(r)))
		return false;
	if (r.magic != LOG_MAGIC || r.life != s->c->sb.log_life || r.len % 8 || r.len < sizeof(r) ||
	    r.len > size - pos || r.payload_len > r.len - sizeof(r))
		return false;
	if (r.len > s->cap) {
		uint8_t *more = realloc(s->rec, r.len);

		if (!more) {
			s->c->err = -ENOMEM;
			return false;
		}
		s->rec = more;
		s->cap = r.len;
	}
	if (!ring_read(s, pos, s->rec, r.len) || record_hash(s->rec, r.len) != r.hash)
		return false;
	*ret = r;
	return true;
}

/* The runs that a record names lie behind its payload, and lead to blocks that can be given out. */
static void claims_check(struct log_scan *s, const struct log_record *r)
{
	uint64_t at = sizeof(*r) + ((r->payload_len + 7ULL) & ~7ULL);

	for (unsigned i = 0; i < r->nruns; i++) {
		uint64_t head, first, count;

		if (at + 8 > r->len)
			goto bad;
		memcpy(&head, s->rec + at, 8);
		first = head & PTR_BLOCK_MASK;
		count = head >> PTR_FLAGS_SHIFT;
		at += 8 + ((count * 4 + 7) & ~7ULL);
		if (!count || at > r->len)
			goto bad;
		if (block_refused(s->c, first) || block_refused(s->c, first + count - 1)) {
			finding(s->c,
				"log record 0x%" PRIx64 ": names %" PRIu64 " blocks from %" PRIu64
				" on, which can't be given out",
				r->seq, count, first);
			return;
		}
	}
	return;
bad:
	finding(s->c, "log record 0x%" PRIx64 ": its list of blocks is cut off", r->seq);
}

static void record_check(struct log_scan *s, const struct log_record *r)
{
	claims_check(s, r);
	s->c->stats.log_records++;
}

static void record_dump(struct log_scan *s, const struct log_record *r)
{
	dump_record(s->dump, (const struct log_record *)s->rec, record_name(r->type));
}

static void chain_follow(struct log_scan *s, void (*fn)(struct log_scan *s, const struct log_record *r))
{
	uint64_t size = s->c->sb.log_blocks * BLOCK_SIZE, pos = s->c->sb.log_offset;
	bool wrapped = false;
	struct log_record r;

	while (!s->c->err) {
		if (pos < size && record_at(s, pos, &r) && r.seq == s->next && r.prev == s->chain) {
			fn(s, &r);
			s->next++;
			s->chain = r.hash;
			if (r.flushed_to > s->flushed)
				s->flushed = r.flushed_to;
			pos += r.len;
		} else if (pos % BLOCK_SIZE) {
			pos += BLOCK_SIZE - pos % BLOCK_SIZE;
		} else if (pos && !wrapped) {
			wrapped = true;
			pos = 0;
		} else {
			return;
		}
	}
}

/* Batches begin at block boundaries: is there one whose record knows of flushed records that the
 * chain doesn't reach? */
static void look_beyond(struct log_scan *s)
{
	uint64_t lost = 0;
	struct log_record r;

	for (uint64_t b = 0; b < s->c->sb.log_blocks && !s->c->err; b++) {
		int err;
		const uint8_t *p = read_block(s->c, s->c->sb.log_block + b, &err);

		if (!p) {
			finding(s->c,
				"log: the device cannot read its block %" PRIu64 " (block %" PRIu64
				")",
				b, s->c->sb.log_block + b);
			if (s->c->drop)
				fix_add(s->c, &(struct fix){ .kind = FIX_LOG });
			continue;
		}
		memcpy(&r, p, sizeof(r));
		if (r.magic != LOG_MAGIC || r.life != s->c->sb.log_life || r.seq <= s->next ||
		    r.flushed_to < s->next)
			continue;
		if (record_at(s, b * BLOCK_SIZE, &r) && r.flushed_to > lost)
			lost = r.flushed_to;
	}
	if (lost && s->c->drop)
		fix_add(s->c, &(struct fix){ .kind = FIX_LOG });
	if (lost)
		finding(s->c,
			"log: record 0x%" PRIx64 " is damaged, and it was stable: what was changed "
			"from there on to 0x%" PRIx64 " is lost",
			s->next, lost);
}

void log_check(struct check *c)
{
	struct log_scan s = { .c = c, .next = c->sb.log_seq, .chain = c->sb.log_chain };

	if (c->sb.log_offset >= c->sb.log_blocks * BLOCK_SIZE) {
		finding(c, "superblock: the log is said to begin at byte %" PRIu64 " of %" PRIu64,
			c->sb.log_offset, c->sb.log_blocks * BLOCK_SIZE);
		return;
	}
	chain_follow(&s, record_check);
	look_beyond(&s);
	free(s.rec);
}

void log_dump(struct check *c, const struct dump *d)
{
	struct log_scan s = { .c = c, .next = c->sb.log_seq, .chain = c->sb.log_chain, .dump = d };

	chain_follow(&s, record_dump);
	look_beyond(&s);
	dump_line(d, "records to be replayed: %" PRIu64, s.next - c->sb.log_seq);
	free(s.rec);
}
