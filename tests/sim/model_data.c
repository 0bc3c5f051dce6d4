/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content of the model's files, the patterns that tests write, and the hashes that both sides
 * are compared by.  See model.h.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "model_int.h"
#include "sim.h"

static void *xrealloc(void *p, size_t n)
{
	p = realloc(p, n);
	if (!p)
		abort();
	return p;
}

bool block_is_zero(const void *data)
{
	const uint64_t *p = data;

	for (unsigned i = 0; i < MBLOCK / 8; i++)
		if (p[i])
			return false;
	return true;
}

uint64_t text_hash(const char *s, size_t len)
{
	return XXH3_64bits(s, len);
}

static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t v[2] = { a, b };

	return XXH3_64bits(v, sizeof(v));
}

uint64_t block_hash(uint64_t index, const void *data)
{
	return mix(index, XXH3_64bits(data, MBLOCK));
}

uint64_t dirent_hash(struct fs_id dir, const char *name, uint32_t len, uint64_t ino)
{
	uint64_t v[5] = { dir.volume, dir.snapshot, dir.ino, XXH3_64bits(name, len), ino };

	return XXH3_64bits(v, sizeof(v));
}

uint64_t noderec_hash(const struct noderec *r)
{
	return XXH3_64bits(r, sizeof(*r));
}

uint64_t volume_hash(const char *name, uint32_t id, uint64_t reserve)
{
	return text_hash(name, strlen(name)) * (id + 1) + reserve * 0x9e3779b97f4a7c15ULL;
}

void noderec_print(const struct noderec *r, char *buf, size_t len)
{
	snprintf(buf, len,
		 "v%llu@%llu ino %llu gen %#llx type %llu mode %llo owner %llu:%llu nlink %llu rdev %llx "
		 "size %llu mapped %llu content %016llx target %016llx change %#llx "
		 "mtime %llu.%09llu ctime %llu.%09llu origin %llu/%#llx xattrs %016llx quota of %llu limit %llu",
		 (unsigned long long)r->volume, (unsigned long long)r->snapshot, (unsigned long long)r->ino,
		 (unsigned long long)r->generation, (unsigned long long)r->type,
		 (unsigned long long)r->mode, (unsigned long long)r->uid,
		 (unsigned long long)r->gid, (unsigned long long)r->nlink,
		 (unsigned long long)r->rdev, (unsigned long long)r->size,
		 (unsigned long long)r->mapped, (unsigned long long)r->content,
		 (unsigned long long)r->target, (unsigned long long)r->change,
		 (unsigned long long)r->mtime_sec, (unsigned long long)r->mtime_nsec,
		 (unsigned long long)r->ctime_sec, (unsigned long long)r->ctime_nsec,
		 (unsigned long long)r->origin_ino, (unsigned long long)r->origin_generation,
		 (unsigned long long)r->xattrs, (unsigned long long)r->quota_ino,
		 (unsigned long long)r->quota_limit);
}

/* ---- patterns -------------------------------------------------------------------------- */

/*
 * Low bits of the seed: 0 all zeros, 1 every other block zero, 2 zero but for the last byte of
 * each block, 3 the same five blocks again and again; else noise.  A byte depends on the seed and its place in the file only, so that
 * two writes of one seed agree where they overlap (equal blocks are worth meeting too).
 */
void op_pattern(uint64_t seed, uint64_t offset, unsigned char *buf, uint32_t len)
{
	unsigned shape = seed & 15;

	for (uint32_t i = 0; i < len;) {
		uint64_t at = offset + i, word = at / 8;
		uint32_t skip = at % 8, n = 8 - skip;
		uint64_t block = at / MBLOCK, z;

		if (shape == 3)
			word = at % MBLOCK / 8 + block % 5 * MBLOCK;
		z = (seed ^ word * 0x9e3779b97f4a7c15ULL) + word;
		if (n > len - i)
			n = len - i;
		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
		z ^= z >> 29;
		if (!shape || (shape == 1 && block % 2))
			z = 0;
		if (shape == 2)
			z = at % MBLOCK >= MBLOCK - 8 ? 0x5aULL << 56 : 0;
		memcpy(buf + i, (char *)&z + skip, n);
		i += n;
	}
}

/* Whether a piece of zeros written into a hole leaves it a hole, or only a whole block does. */
#define ZEROS_LEAVE_HOLES 0

/* ---- content --------------------------------------------------------------------------- */

static struct mblk *blk_new(const unsigned char *data)
{
	struct mblk *b = xrealloc(NULL, sizeof(*b));

	b->refs = 1;
	memcpy(b->data, data, MBLOCK);
	return b;
}

static void blk_put(struct mblk *b)
{
	if (!--b->refs)
		free(b);
}

struct mcontent *content_new(void)
{
	struct mcontent *c = xrealloc(NULL, sizeof(*c));

	*c = (struct mcontent){ .refs = 1 };
	return c;
}

void content_put(struct mcontent *c)
{
	if (!c || --c->refs)
		return;
	for (uint32_t i = 0; i < c->n; i++)
		blk_put(c->e[i].blk);
	free(c->e);
	free(c);
}

static struct mcontent *content_own(struct mcontent **pc)
{
	struct mcontent *c = *pc, *d;

	if (c->refs == 1)
		return c;
	d = content_new();
	d->n = d->cap = c->n;
	d->sum = c->sum;
	d->e = xrealloc(NULL, (c->n + 1) * sizeof(*d->e));
	for (uint32_t i = 0; i < c->n; i++) {
		d->e[i] = c->e[i];
		d->e[i].blk->refs++;
	}
	c->refs--;
	return *pc = d;
}

/* The first place whose index is at least INDEX. */
static uint32_t content_find(const struct mcontent *c, uint64_t index)
{
	uint32_t lo = 0, hi = c->n;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (c->e[mid].index < index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* C is owned.  WHOLE: all of the block was written. */
bool content_has(const struct mcontent *c, uint64_t index)
{
	uint32_t i = content_find(c, index);

	return i < c->n && c->e[i].index == index;
}

static void content_set(struct mcontent *c, uint64_t index, const unsigned char *data, bool whole)
{
	uint32_t i = content_find(c, index);
	bool there = i < c->n && c->e[i].index == index;
	bool zero = (whole || (ZEROS_LEAVE_HOLES && !there)) && block_is_zero(data);

	if (there) {
		c->sum -= c->e[i].blk->hash;
		blk_put(c->e[i].blk);
	}
	if (there && zero) {
		memmove(c->e + i, c->e + i + 1, (c->n - i - 1) * sizeof(*c->e));
		c->n--;
	}
	if (zero)
		return;
	if (!there) {
		if (c->n == c->cap) {
			c->cap = c->cap ? 2 * c->cap : 8;
			c->e = xrealloc(c->e, c->cap * sizeof(*c->e));
		}
		memmove(c->e + i + 1, c->e + i, (c->n - i) * sizeof(*c->e));
		c->n++;
		c->e[i].index = index;
	}
	c->e[i].blk = blk_new(data);
	c->e[i].blk->hash = block_is_zero(data) ? 0 : block_hash(index, data);
	c->sum += c->e[i].blk->hash;
}

void content_write(struct mcontent **pc, uint64_t offset, const unsigned char *data, uint32_t len)
{
	struct mcontent *c = content_own(pc);
	unsigned char page[MBLOCK];

	while (len) {
		uint64_t index = offset / MBLOCK;
		uint32_t at = offset % MBLOCK, n = MBLOCK - at, i;

		if (n > len)
			n = len;
		memset(page, 0, MBLOCK);
		i = content_find(c, index);
		if (i < c->n && c->e[i].index == index)
			memcpy(page, c->e[i].blk->data, MBLOCK);
		memcpy(page + at, data, n);
		content_set(c, index, page, n == MBLOCK);
		offset += n;
		data += n;
		len -= n;
	}
}

void content_truncate(struct mcontent **pc, uint64_t size)
{
	struct mcontent *c = content_own(pc);
	uint64_t first = (size + MBLOCK - 1) / MBLOCK;
	unsigned char page[MBLOCK];
	uint32_t i;

	while (c->n && c->e[c->n - 1].index >= first) {
		c->n--;
		c->sum -= c->e[c->n].blk->hash;
		blk_put(c->e[c->n].blk);
	}
	i = content_find(c, size / MBLOCK);
	if (size % MBLOCK && i < c->n && c->e[i].index == size / MBLOCK) {
		memcpy(page, c->e[i].blk->data, MBLOCK);
		memset(page + size % MBLOCK, 0, MBLOCK - size % MBLOCK);
		content_set(c, size / MBLOCK, page, false);
	}
}

/* C is owned: the blocks from FIRST to before END are no more.  Returns where they were. */
static uint32_t content_cut(struct mcontent *c, uint64_t first, uint64_t end)
{
	uint32_t from = content_find(c, first), to = content_find(c, end);

	for (uint32_t i = from; i < to; i++) {
		c->sum -= c->e[i].blk->hash;
		blk_put(c->e[i].blk);
	}
	if (to > from)			/* an empty content has no memory at all */
		memmove(c->e + from, c->e + to, (c->n - to) * sizeof(*c->e));
	c->n -= to - from;
	return from;
}

void content_copy(struct mcontent **pc, struct mcontent *src, uint64_t from, uint64_t to, uint64_t count)
{
	uint32_t i = content_find(src, from), n = content_find(src, from + count) - i, at;
	struct mcontent *c;

	src->refs++;			/* it may be the same: then *PC becomes another */
	c = content_own(pc);
	at = content_cut(c, to, to + count);
	if (c->n + n > c->cap) {
		c->cap = c->n + n;
		c->e = xrealloc(c->e, c->cap * sizeof(*c->e));
	}
	if (n)
		memmove(c->e + at + n, c->e + at, (c->n - at) * sizeof(*c->e));
	c->n += n;
	for (uint32_t k = 0; k < n; k++) {
		const struct mext *s = &src->e[i + k];
		struct mext *e = &c->e[at + k];

		*e = (struct mext){ s->index - from + to, s->blk };
		if (from != to) {
			e->blk = blk_new(s->blk->data);
			e->blk->hash = block_is_zero(s->blk->data) ? 0 :
				       block_hash(e->index, s->blk->data);
		} else {
			e->blk->refs++;
		}
		c->sum += e->blk->hash;
	}
	content_put(src);
}

static void zero_part(struct mcontent *c, uint64_t index, uint32_t from, uint32_t to)
{
	uint32_t i = content_find(c, index);
	unsigned char page[MBLOCK];

	if (i == c->n || c->e[i].index != index)
		return;
	memcpy(page, c->e[i].blk->data, MBLOCK);
	memset(page + from, 0, to - from);
	content_set(c, index, page, false);
}

void content_punch(struct mcontent **pc, uint64_t offset, uint64_t end)
{
	struct mcontent *c = content_own(pc);
	uint64_t first = (offset + MBLOCK - 1) / MBLOCK, last = end / MBLOCK;

	if (first > last) {
		zero_part(c, last, offset % MBLOCK, end % MBLOCK);
		return;
	}
	if (offset % MBLOCK)
		zero_part(c, first - 1, offset % MBLOCK, MBLOCK);
	if (end % MBLOCK)
		zero_part(c, last, 0, end % MBLOCK);
	content_cut(c, first, last);
}

uint32_t model_read(const struct mnode *n, uint64_t offset, uint32_t len, unsigned char *buf)
{
	uint32_t done = 0;

	if (offset >= n->size)
		return 0;
	if (len > n->size - offset)
		len = n->size - offset;
	while (done < len) {
		uint64_t index = (offset + done) / MBLOCK;
		uint32_t at = (offset + done) % MBLOCK, k = MBLOCK - at;
		uint32_t i = content_find(n->content, index);

		if (k > len - done)
			k = len - done;
		if (i < n->content->n && n->content->e[i].index == index)
			memcpy(buf + done, n->content->e[i].blk->data + at, k);
		else
			memset(buf + done, 0, k);
		done += k;
	}
	return len;
}

uint64_t model_zero_block(const struct mnode *n, uint64_t offset)
{
	const struct mcontent *c = n->content;
	uint32_t i = content_find(c, (offset + MBLOCK - 1) / MBLOCK);

	while (i < c->n && c->e[i].blk->hash)
		i++;
	return i < c->n ? c->e[i].index * MBLOCK : UINT64_MAX;
}

void model_forget_zeros(struct mnode *n, uint64_t offset)
{
	struct mcontent *c = content_own(&n->content);

	content_cut(c, offset / MBLOCK, offset / MBLOCK + 1);
}

uint64_t model_mapped(const struct mnode *n)
{
	const struct mcontent *c = n->content;
	uint64_t sum = c->n;

	for (uint32_t i = 0; i < c->n && sim_zeros_vanish; i++)
		sum -= !c->e[i].blk->hash;
	return sum * MBLOCK;
}

int model_seek(const struct mnode *n, uint64_t offset, bool data, uint64_t *ret)
{
	const struct mcontent *c = n->content;
	uint64_t index = offset / MBLOCK, at;
	uint32_t i = content_find(c, index);

	if (offset >= n->size)
		return -ENXIO;
	if (data) {
		if (i == c->n)
			return -ENXIO;
		at = c->e[i].index * MBLOCK;
	} else {
		while (i < c->n && c->e[i].index == index)
			i++, index++;
		at = index * MBLOCK;
		if (at > n->size)
			at = n->size;
	}
	*ret = at > offset ? at : offset;
	return 0;
}

/* ---- extended attributes --------------------------------------------------------------- */

uint64_t xattr_hash(uint64_t before, const char *name, uint32_t name_len, uint64_t value)
{
	uint64_t v[3] = { before, text_hash(name, name_len), value };

	return XXH3_64bits(v, sizeof(v));
}

const struct mxattr *xattrs_find(const struct mxattrs *a, const char *name, uint32_t name_len)
{
	for (uint32_t i = 0; a && i < a->n; i++)
		if (a->x[i].name_len == name_len && !memcmp(a->x[i].name, name, name_len))
			return &a->x[i];
	return NULL;
}

uint32_t xattrs_bytes(const struct mxattrs *a)
{
	uint32_t sum = 16;

	for (uint32_t i = 0; a && i < a->n; i++)
		sum += (16 + a->x[i].name_len + a->x[i].len + 7) & ~7u;
	return sum;
}

void xattrs_put(struct mxattrs *a)
{
	if (a && !--a->refs)
		free(a);
}

/* A copy with room for one more. */
static struct mxattrs *xattrs_copy(const struct mxattrs *a)
{
	uint32_t n = a ? a->n : 0;
	struct mxattrs *c = xrealloc(NULL, sizeof(*c) + (n + 1) * sizeof(c->x[0]));

	c->refs = 1;
	c->n = n;
	if (n)
		memcpy(c->x, a->x, n * sizeof(c->x[0]));
	return c;
}

struct mxattrs *xattrs_set(struct mxattrs *old, const char *name, uint32_t name_len, uint32_t len,
			   uint64_t value)
{
	const struct mxattr *there = xattrs_find(old, name, name_len);
	struct mxattrs *c = xattrs_copy(old);
	struct mxattr *x = there ? &c->x[there - old->x] : &c->x[c->n++];

	memcpy(x->name, name, name_len);
	x->name_len = name_len;
	x->len = len;
	x->value = value;
	xattrs_put(old);
	return c;
}

struct mxattrs *xattrs_remove(struct mxattrs *old, const char *name, uint32_t name_len)
{
	const struct mxattr *there = xattrs_find(old, name, name_len);
	struct mxattrs *c = xattrs_copy(old);
	uint32_t at = there - old->x;

	memmove(&c->x[at], &c->x[at + 1], (--c->n - at) * sizeof(c->x[0]));
	xattrs_put(old);
	if (c->n)
		return c;
	xattrs_put(c);
	return NULL;
}
