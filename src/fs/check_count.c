/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Are the table's counts the numbers of pointers?
 *
 * A 100 TiB pool has 27 billion counts: 100 GiB, if each were a number in memory.  So the address
 * space is cut into groups of blocks, and for each group there is a sum: over all pointers into it of
 * r(block), where r is a random function, drawn anew for each check.  The table must give the same, as
 * the sum of count * r(block).  Any one wrong count in a group changes its sum for certain (r is odd),
 * and several are missed by chance once in some 2^32 groups at the very worst.  Two sums for each group
 * tell pointers to what was walked as metadata from those to data, so that a block that is in use as
 * both is noticed even where its count is right.
 *
 * A sound pool is through with that: one walk.  Where sums differ, the trees are walked again, and
 * pointers to the blocks of those groups are counted one by one, for as many groups at a time as there
 * is memory for (a window).
 */
#include "fs/check_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/rng.h"

#define GROUP_BITS_MIN 9		/* a table page */

static uint64_t random_of(const struct counts *n, uint64_t block)
{
	uint64_t x = block * 0x9e3779b97f4a7c15ULL ^ n->key;	/* splitmix64: Steele, Lea, Flood */

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return (x ^ x >> 31) | 1;
}

/* A quarter of the memory for sums, and later for the window. */
int counts_init(struct check *c)
{
	struct counts *n = &c->counts;
	uint64_t blocks = c->sb.nblocks;

	n->key = secure_random_u64();
	for (n->shift = GROUP_BITS_MIN; (blocks >> n->shift) * sizeof(*n->sums) > c->memory / 4;)
		n->shift++;
	n->ngroups = (blocks >> n->shift) + 1;
	n->window_groups = c->memory / 4 / (sizeof(*n->window) << n->shift);
	if (!n->window_groups)
		n->window_groups = 1;
	n->sums = calloc(n->ngroups, sizeof(*n->sums));
	return n->sums ? 0 : -ENOMEM;
}

void counts_release(struct check *c)
{
	free(c->counts.sums);
	free(c->counts.odd);
	free(c->counts.place);
	free(c->counts.window);
}

static struct pointers *in_window(const struct counts *n, uint64_t block)
{
	uint32_t place = n->place[block >> n->shift];

	if (!place)
		return NULL;
	return &n->window[((uint64_t)(place - 1) << n->shift) + (block & ((1ULL << n->shift) - 1))];
}

void counts_pointer(struct check *c, uint64_t block, bool node)
{
	struct counts *n = &c->counts;
	struct pointers *p;
	uint32_t *number;

	if (c->walk == WALK_FIRST) {
		struct sum *s = &n->sums[block >> n->shift];

		*(node ? &s->node : &s->data) += random_of(n, block);
		return;
	}
	p = in_window(n, block);
	number = p ? node ? &p->node : &p->data : NULL;
	if (number && *number != UINT32_MAX)
		(*number)++;
}

/* Takes off what the pointers have added: zeros are left where all is right. */
void counts_table(struct check *c, uint64_t block, uint32_t refs)
{
	struct sum *s = &c->counts.sums[block >> c->counts.shift];

	*(node_walked(c, block) ? &s->node : &s->data) -= refs * random_of(&c->counts, block);
}

/* Groups that lie in there tell nothing; those that reach out of it are looked at block by block. */
void counts_unknown(struct check *c, uint64_t first, uint64_t nblocks)
{
	struct counts *n = &c->counts;
	uint64_t end = first + nblocks;

	for (uint64_t g = first >> n->shift; g < n->ngroups && g << n->shift < end; g++) {
		bool inside = g << n->shift >= first && (g + 1) << n->shift <= end;

		n->sums[g] = inside ? (struct sum){ 0 } : (struct sum){ .node = UINT64_MAX };
	}
}

/* ---- where sums differ ------------------------------------------------------------------ */

static void find_odd(struct check *c)
{
	struct counts *n = &c->counts;

	for (uint64_t i = 0; i < n->ngroups && !c->err; i++) {
		if (!n->sums[i].node && !n->sums[i].data)
			continue;
		if (grow(c, &n->odd, n->nodd, &n->odd_cap, sizeof(*n->odd)))
			n->odd[n->nodd++] = i;
	}
	free(n->sums);
	n->sums = NULL;
}

static void used_twice(struct check *c, uint64_t block, const struct pointers *p)
{
	uint8_t level, kind;

	node_type(c, block, &level, &kind);
	finding(c,
		"block %" PRIu64 ": in use as %s (pointers: %u), and as something else (pointers: %u)",
		block, node_text(level, kind), p->node, p->data);
}

static void compare_block(struct check *c, uint64_t block, uint32_t refs, uint64_t *over)
{
	const struct pointers *p = in_window(&c->counts, block);
	uint64_t all = (uint64_t)p->node + p->data;
	uint32_t pointers = all > UINT32_MAX ? UINT32_MAX : all;

	if (p->data && node_walked(c, block))
		used_twice(c, block, p);
	if (refs > pointers && c->counts_incomplete) {
		(*over)++;
	} else if (refs != pointers) {
		bad_count(c, block, refs, pointers);
		fix_add(c, &(struct fix){ .kind = FIX_COUNT, .ino = block, .value = pointers });
	}
}

static void compare_group(struct check *c, uint64_t group, uint64_t *over)
{
	uint64_t first = group << c->counts.shift, end = (group + 1) << c->counts.shift;

	for (uint64_t page = first; page < end && page < c->sb.nblocks; page += PAGE_ENTRIES) {
		const struct table_entry *t = table_entries(c, page);

		for (unsigned i = 0; t && i < PAGE_ENTRIES && page + i < c->sb.nblocks; i++)
			if (!block_is_fixed(&c->sb, page + i))
				compare_block(c, page + i, t[i].refs, over);
	}
}

static void recount_window(struct check *c, const uint64_t *odd, uint64_t n, uint64_t *over)
{
	struct counts *k = &c->counts;

	memset(k->window, 0, (n << k->shift) * sizeof(*k->window));
	for (uint64_t i = 0; i < n; i++)
		k->place[odd[i]] = i + 1;
	tree_recount(c);
	for (uint64_t i = 0; i < n && !c->err; i++)
		compare_group(c, odd[i], over);
	for (uint64_t i = 0; i < n; i++)
		k->place[odd[i]] = 0;
}

static void recount(struct check *c)
{
	struct counts *k = &c->counts;
	uint64_t room = k->nodd < k->window_groups ? k->nodd : k->window_groups, over = 0;

	k->place = calloc(k->ngroups, sizeof(*k->place));
	k->window = malloc((room << k->shift) * sizeof(*k->window));
	if (!k->place || !k->window) {
		c->err = -ENOMEM;
		return;
	}
	for (uint64_t i = 0; i < k->nodd && !c->err; i += room)
		recount_window(c, k->odd + i, k->nodd - i < room ? k->nodd - i : room, &over);
	if (over)
		finding(c,
			"blocks with a greater count than pointers were found: %" PRIu64
			" (this proves "
			"nothing while parts of the pool are unreadable)",
			over);
}

void counts_pass(struct check *c)
{
	find_odd(c);
	if (!c->err && c->counts.nodd)
		recount(c);
}
