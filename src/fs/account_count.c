/* SPDX-License-Identifier: Apache-2.0 */
/* See account_int.h. */
#include "fs/account_int.h"

#include <stdlib.h>

#define CAP_MIN 1024
#define PARTS_MAX (1u << 20)

static uint64_t block_of(const struct child *c) { return c->ptr & PTR_BLOCK_MASK; }
static bool is_data(const struct child *c) { return !c->level && c->kind == TREE_FILE; }

/* ---- what is freed ---------------------------------------------------------------------- */

void freed_init(struct freed *f, uint64_t memory)
{
	*f = (struct freed){ .parts = 1, .cap_max = CAP_MIN };
	while (2 * f->cap_max * sizeof(struct freed_slot) <= memory)
		f->cap_max *= 2;
}

void freed_done(struct freed *f)
{
	free(f->slots);
}

void freed_pass(struct freed *f)
{
	if (f->slots)
		memset(f->slots, 0, f->cap * sizeof(*f->slots));
	f->n = f->nindex = 0;
	if (!f->part)
		f->sum = (struct fs_account_blocks){ 0, 0 };
}

static uint64_t mix(uint64_t block) { return block * 0x9e3779b97f4a7c15ULL; }

static struct freed_slot *slot_of(const struct freed *f, uint64_t block)
{
	uint64_t i = mix(block) >> 20 & (f->cap - 1);

	while (f->slots[i].block && f->slots[i].block != block)
		i = (i + 1) & (f->cap - 1);
	return &f->slots[i];
}

static int grow(struct freed *f)
{
	struct freed more = { .cap = f->cap ? 2 * f->cap : CAP_MIN };

	if (more.cap > f->cap_max)
		return f->nindex > f->cap_max / 4 || f->parts >= PARTS_MAX ? -E2BIG : -ENOBUFS;
	more.slots = calloc(more.cap, sizeof(*more.slots));
	if (!more.slots)
		return -ENOMEM;
	for (uint64_t i = 0; i < f->cap; i++)
		if (f->slots[i].block)
			*slot_of(&more, f->slots[i].block) = f->slots[i];
	free(f->slots);
	f->slots = more.slots;
	f->cap = more.cap;
	return 0;
}

static int freed_now(struct freed *f, const struct child *c, bool counts)
{
	if (counts)
		++*(is_data(c) ? &f->sum.data : &f->sum.meta);
	return !is_data(c);
}

int freed_visit(struct freed *f, const struct child *c, uint32_t refs)
{
	struct freed_slot *s;
	int err = 0;

	if (refs == 1)
		return freed_now(f, c, !f->part);
	if (is_data(c) && (mix(block_of(c)) >> 40) % f->parts != f->part)
		return 0;
	if (4 * (f->n + 1) > 3 * f->cap)
		err = grow(f);
	if (err)
		return err;
	s = slot_of(f, block_of(c));
	if (!s->block) {
		s->block = block_of(c);
		f->n++;
		f->nindex += !is_data(c);
	}
	return ++s->dropped == refs ? freed_now(f, c, is_data(c) || !f->part) : 0;
}

/* ---- what is stored --------------------------------------------------------------------- */

int stored_init(struct stored *s, uint64_t nblocks, uint64_t memory)
{
	uint64_t window = memory / 4 * 8 / 64 * 64;

	window = window < 4096 ? 4096 : window;
	*s = (struct stored){ .end = nblocks, .window = nblocks < window ? (nblocks + 63) / 64 * 64 : window };
	s->bits = malloc(s->window / 8 * 2);
	s->plain = s->bits ? s->bits + s->window / 64 : NULL;
	return s->bits ? 0 : -ENOMEM;
}

void stored_done(struct stored *s)
{
	free(s->bits);
	seen_done(&s->seen);
}

void stored_pass(struct stored *s)
{
	memset(s->bits, 0, s->window / 8 * 2);
	seen_done(&s->seen);
}

/* Sets bit AT; whether it was set. */
static bool test_and_set(uint64_t *bits, uint64_t at)
{
	bool was = bits[at / 64] >> at % 64 & 1;

	bits[at / 64] |= 1ULL << at % 64;
	return was;
}

static void stored_data(struct stored *s, const struct child *c, uint64_t at)
{
	bool was = test_and_set(s->bits, at);

	s->sum.data += !was;
	if (c->ptr & PTR_DUP || !test_and_set(s->plain, at))
		s->dedup += was;
}

int stored_visit(struct stored *s, const struct child *c)
{
	uint64_t at = block_of(c) - s->first;
	int was;

	if (is_data(c)) {
		if (at < s->window)
			stored_data(s, c, at);
		return 0;
	}
	was = seen_set(&s->seen, block_of(c));
	if (was)
		return was < 0 ? was : 0;
	s->sum.meta += !s->first;
	return 1;
}
