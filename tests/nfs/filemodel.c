/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "filemodel.h"

static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

uint32_t dice_below(struct dice *d, uint32_t n)
{
	d->state += 0x9e3779b97f4a7c15ULL;
	return mix(d->state) % n;
}

bool filemodel_init(struct filemodel *m, uint32_t max)
{
	*m = (struct filemodel){ .data = calloc(1, max), .max = max };
	return m->data;
}

void fileop_fill(uint8_t *to, const struct fileop *o)
{
	for (uint32_t i = 0; i < o->len; i++)
		to[i] = o->seed ? mix(o->seed + i / 8) >> (i % 8 * 8) : 0;
}

void filemodel_apply(struct filemodel *m, const struct fileop *o)
{
	uint32_t end = o->off + o->len;

	switch (o->kind) {
	case FILEOP_WRITE:
		fileop_fill(m->data + o->off, o);
		break;
	case FILEOP_COPY:
		memmove(m->data + o->off, o->from->data + o->from_off, o->len);
		break;
	case FILEOP_RESERVE:
		break;
	case FILEOP_PUNCH:
		if (o->off < m->size)
			memset(m->data + o->off, 0, (end < m->size ? end : m->size) - o->off);
		return;
	case FILEOP_RESIZE:
		if (o->len < m->size)
			memset(m->data + o->len, 0, m->size - o->len);
		m->size = o->len;
		return;
	}
	if (m->size < end)
		m->size = end;
}

struct fileop fileop_random_write(struct dice *d, uint32_t max, uint32_t most_len)
{
	static const uint32_t most[] = { 100, 5000, 5000, 70000, 300000, 1 << 20 };
	const uint32_t blocks = FILEMODEL_BLOCK - 1;
	struct fileop o = { .kind = FILEOP_WRITE };
	uint32_t m = most[dice_below(d, 6)];

	most_len = most_len < max ? most_len : max - 1;
	o.len = 1 + dice_below(d, m < most_len ? m : most_len);
	o.off = dice_below(d, max - o.len);
	if (dice_below(d, 2)) {			/* whole blocks, as most clients write */
		o.off &= ~blocks;
		o.len = (o.len + blocks) & ~blocks;
		o.len = o.len > most_len ? most_len : o.len;
		if (o.len > max - o.off)
			o.len = max - o.off;
	}
	o.seed = dice_below(d, 5) ? (uint64_t)dice_below(d, 1u << 31) << 20 | 1 : 0;
	return o;
}

struct fileop fileop_random_resize(struct dice *d, const struct filemodel *m)
{
	uint32_t size = dice_below(d, 3) ? dice_below(d, m->max) : dice_below(d, m->size + 1);

	return (struct fileop){ .kind = FILEOP_RESIZE, .len = size };
}

int64_t filemodel_differs(const struct filemodel *m, uint32_t off, const void *bytes, uint32_t len)
{
	const uint8_t *b = bytes;

	if (!memcmp(m->data + off, b, len))
		return -1;
	for (uint32_t i = 0; ; i++)
		if (m->data[off + i] != b[i])
			return off + i;
}

bool filemodel_all_zeros(const struct filemodel *m, uint32_t off, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		if (m->data[off + i])
			return false;
	return true;
}

uint32_t filemodel_blocks(const struct filemodel *m)
{
	uint32_t n = 0, len;

	for (uint32_t at = 0; at < m->size; at += FILEMODEL_BLOCK) {
		len = m->size - at < FILEMODEL_BLOCK ? m->size - at : FILEMODEL_BLOCK;
		n += !filemodel_all_zeros(m, at, len);
	}
	return n;
}
