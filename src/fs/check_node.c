/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the walk remembers of the blocks that it has entered: that it was there, and as what (a bit,
 * or two for anything but index blocks of files at level 1, of which there are 500 times as many as
 * of all others); and what it found below, where more than one pointer leads, for ten thousand
 * clones of a file are one walk.
 *
 * That is kept exactly above level 1.  For level 1 there is a cache of 8 bytes each, since what was
 * lost from it is found again by reading that one block.
 */
#include "fs/check_int.h"

#include <stdio.h>
#include <stdlib.h>

#define LOW_BITS_MIN 10

static const char *const kind_names[TREE_KINDS] = { "file", "inode file", "volume table",
						    "reap list" };

const char *node_text(uint8_t level, uint8_t kind)
{
	static char buf[80];

	if (level)
		snprintf(buf, sizeof(buf), "index block of a %s, level %u", kind_names[kind],
			 level);
	else
		snprintf(buf, sizeof(buf), "block of %s %s", kind == TREE_INODES ? "an" : "a",
			 kind_names[kind]);
	return buf;
}

uint64_t tree_span(uint8_t level)
{
	return 1ULL << (INDEX_BITS * level);
}

/* ---- sets ------------------------------------------------------------------------------- */

void mark(struct check *c, struct seen *set, uint64_t block)
{
	if (seen_set(set, block) < 0)
		c->err = -ENOMEM;
}

bool mark_first(struct check *c, struct seen *set, uint64_t block)
{
	int was = seen_set(set, block);

	if (was < 0)
		c->err = -ENOMEM;
	return !was;
}

static bool is_common(uint8_t level, uint8_t kind)
{
	return level == 1 && kind == TREE_FILE;
}

void node_add(struct check *c, uint64_t block, uint8_t level, uint8_t kind)
{
	mark(c, &c->nodes.walked, block);
	if (!is_common(level, kind))
		mark(c, &c->nodes.as[kind][level], block);
}

bool node_walked(const struct check *c, uint64_t block)
{
	return seen_has(&c->nodes.walked, block);
}

void node_type(const struct check *c, uint64_t block, uint8_t *ret_level, uint8_t *ret_kind)
{
	for (uint8_t kind = 0; kind < TREE_KINDS; kind++)
		for (uint8_t level = 0; level <= TREE_DEPTH_MAX; level++)
			if (seen_has(&c->nodes.as[kind][level], block)) {
				*ret_level = level;
				*ret_kind = kind;
				return;
			}
	*ret_level = 1;
	*ret_kind = TREE_FILE;
}

bool node_is(const struct check *c, uint64_t block, uint8_t level, uint8_t kind)
{
	uint8_t is_level, is_kind;

	if (!node_walked(c, block))
		return false;
	if (!is_common(level, kind))
		return seen_has(&c->nodes.as[kind][level], block);
	node_type(c, block, &is_level, &is_kind);
	return is_common(is_level, is_kind);
}

/* ---- what was found below --------------------------------------------------------------- */

static struct memo *memo_slot(struct memo *memos, uint64_t cap, uint64_t block)
{
	uint64_t i = block * 0x9e3779b97f4a7c15ULL >> 20 & (cap - 1);

	while (memos[i].block && memos[i].block != block)
		i = (i + 1) & (cap - 1);
	return &memos[i];
}

static bool memos_grow(struct check *c)
{
	struct nodes *n = &c->nodes;
	uint64_t cap = n->memos_cap ? n->memos_cap * 2 : 64;
	struct memo *memos = calloc(cap, sizeof(*memos));

	if (!memos) {
		c->err = -ENOMEM;
		return false;
	}
	for (uint64_t i = 0; i < n->memos_cap; i++)
		if (n->memos[i].block)
			*memo_slot(memos, cap, n->memos[i].block) = n->memos[i];
	free(n->memos);
	n->memos = memos;
	n->memos_cap = cap;
	return true;
}

/* 36 bits of block, 10 of mapped, 9 of last, 1 of whole. */
_Static_assert((uint64_t)DIRS_MAX * DIR_ZONES * ZONE_BLOCKS <= 1ULL << 36, "a block has 36 bits");

static uint64_t low_pack(uint64_t block, const struct sub *s)
{
	return block << 20 | s->mapped << 10 | s->last << 1 | s->whole;
}

static uint64_t *low_slot(const struct nodes *n, uint64_t block)
{
	return &n->low[block * 0x9e3779b97f4a7c15ULL >> 24 & ((1ULL << n->low_bits) - 1)];
}

void node_remember(struct check *c, uint64_t block, uint8_t level, uint32_t refs, const struct sub *sub)
{
	struct nodes *n = &c->nodes;

	if (refs <= 1 || !level)
		return;
	if (level == 1) {
		*low_slot(n, block) = low_pack(block, sub);
		return;
	}
	if (2 * (n->nmemos + 1) > n->memos_cap && !memos_grow(c))
		return;
	n->nmemos++;
	*memo_slot(n->memos, n->memos_cap, block) = (struct memo){ block, *sub };
}

/* A block of level 1, from what it holds. */
static void low_again(struct check *c, uint64_t block, uint8_t kind, struct sub *ret)
{
	uint64_t *slots = frame_push(c);
	struct sub sub = { .whole = true };
	const char *why;

	if (!read_meta(c, block, slots, &why)) {
		frame_pop(c);
		return;
	}
	for (unsigned i = 0; i < INDEX_SLOTS; i++) {
		uint64_t to = slots[i] & PTR_BLOCK_MASK;

		if (!slots[i])
			continue;
		if (block_refused(c, to) ||
		    (kind != TREE_FILE && (!node_is(c, to, 0, kind) || seen_has(&c->nodes.bad, to)))) {
			sub.whole = false;
			continue;
		}
		sub.mapped++;
		sub.last = i;
	}
	frame_pop(c);
	*ret = sub;
	*low_slot(&c->nodes, block) = low_pack(block, ret);
}

void node_recall(struct check *c, uint64_t block, uint8_t level, uint8_t kind, struct sub *ret)
{
	const struct nodes *n = &c->nodes;
	const struct memo *m;

	*ret = (struct sub){ 0 };
	if (seen_has(&n->bad, block) || seen_has(&n->partial, block))
		return;
	if (!level) {
		*ret = (struct sub){ .mapped = 1, .whole = true };
	} else if (level == 1) {
		uint64_t packed = *low_slot(n, block);

		if (packed >> 20 != block)
			low_again(c, block, kind, ret);
		else
			*ret = (struct sub){ .mapped = packed >> 10 & 0x3ff, .last = packed >> 1 & 0x1ff,
					     .whole = packed & 1 };
	} else if (n->memos_cap) {
		m = memo_slot(n->memos, n->memos_cap, block);
		if (m->block)		/* else its count says that nobody else leads to it */
			*ret = m->sub;
	}
}

int nodes_init(struct check *c)
{
	struct nodes *n = &c->nodes;

	n->low_bits = LOW_BITS_MIN;
	while (sizeof(*n->low) << (n->low_bits + 1) <= c->memory / 16 && n->low_bits < 36)
		n->low_bits++;
	n->low = calloc(1ULL << n->low_bits, sizeof(*n->low));
	return n->low ? 0 : -ENOMEM;
}

void nodes_release(struct check *c)
{
	struct nodes *n = &c->nodes;

	seen_done(&n->walked);
	for (unsigned kind = 0; kind < TREE_KINDS; kind++)
		for (unsigned level = 0; level <= TREE_DEPTH_MAX; level++)
			seen_done(&n->as[kind][level]);
	seen_done(&n->bad);
	seen_done(&n->partial);
	seen_done(&n->miscounted);
	seen_done(&n->again);
	free(n->memos);
	free(n->low);
}
