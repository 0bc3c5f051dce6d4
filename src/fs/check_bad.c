/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with blocks: at most FINDINGS_MAX of them, kept until their owners were looked for. */
#include "fs/check_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void bad_add(struct check *c, const struct bad_block *b)
{
	if (c->nbad == FINDINGS_MAX) {
		c->bad_dropped++;
		return;
	}
	if (grow(c, &c->bad, c->nbad, &c->bad_cap, sizeof(*c->bad)))
		c->bad[c->nbad++] = *b;
}

void bad_count(struct check *c, uint64_t block, uint32_t refs, uint32_t pointers)
{
	bad_add(c, &(struct bad_block){ .block = block, .count = pointers, .refs = refs });
}

void bad_content(struct check *c, uint64_t block, uint32_t refs, int error)
{
	if (!seen_has(&c->nodes.bad, block))	/* else the walk has said so */
		bad_add(c, &(struct bad_block){ .block = block, .count = refs, .refs = refs,
						.error = error });
}

static int by_block(const void *a, const void *b)
{
	const struct bad_block *x = a, *y = b;

	return x->block < y->block ? -1 : x->block > y->block;
}

/* The walk has said that it can't be read as what it is. */
static bool is_said(struct check *c, struct bad_block *b)
{
	if (b->error && seen_has(&c->nodes.bad, b->block))
		b->error = 0;
	return !b->error && b->count == b->refs;
}

/* One entry for a block of which both content and count are wrong. */
static void merge(struct bad_block *into, const struct bad_block *b)
{
	if (b->error)
		into->error = b->error;
	if (b->count != b->refs) {
		into->count = b->count;
		into->refs = b->refs;
	}
}

void bad_sort(struct check *c)
{
	uint64_t n = 0;

	if (!c->nbad)
		return;
	qsort(c->bad, c->nbad, sizeof(*c->bad), by_block);
	for (uint64_t i = 1; i < c->nbad; i++)
		if (c->bad[i].block == c->bad[n].block)
			merge(&c->bad[n], &c->bad[i]);
		else
			c->bad[++n] = c->bad[i];
	c->nbad = n + 1;
	n = 0;
	for (uint64_t i = 0; i < c->nbad; i++)
		if (!is_said(c, &c->bad[i]))
			c->bad[n++] = c->bad[i];
	c->nbad = n;
}

struct bad_block *bad_find(struct check *c, uint64_t block)
{
	uint64_t lo = 0, hi = c->nbad;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (c->bad[mid].block < block)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < c->nbad && c->bad[lo].block == block ? &c->bad[lo] : NULL;
}

static void report_one(struct check *c, const struct bad_block *b)
{
	char owner[900] = "", more[80] = "";

	if (b->error && b->has_owner && b->owner.reap)
		fix_add(c, &(struct fix){ .kind = FIX_REAP, .ino = b->owner.head });
	if (b->more)
		snprintf(more, sizeof(more), ", and led to from %u more places", b->more);
	else if (b->owner.shared)
		snprintf(more, sizeof(more), ", and shared by other files");
	if (b->has_owner && b->leaf && b->owner.ino)
		snprintf(owner, sizeof(owner), " (%s, at byte %" PRIu64 "%s)",
			 where_text(c, &b->owner), b->owner.base * BLOCK_SIZE, more);
	else if (b->has_owner)
		snprintf(owner, sizeof(owner), " (%s%s)", where_text(c, &b->owner), more);
	if (b->refs != b->count && !b->refs)
		finding(c,
			"block %" PRIu64 ": free according to the table, but %u pointer%s to it%s",
			b->block, b->count, b->count == 1 ? " leads" : "s lead", owner);
	else if (b->refs != b->count && !b->count)
		finding(c,
			"block %" PRIu64
			": lost: the table gives it count %u, but no pointer leads "
			"to it",
			b->block, b->refs);
	else if (b->refs != b->count)
		finding(c,
			"block %" PRIu64
			": wrong count: the table says %u, but %u pointer%s to it%s",
			b->block, b->refs, b->count, b->count == 1 ? " leads" : "s lead", owner);
	if (b->error == -EIO)
		finding(c, "block %" PRIu64 ": the device cannot read it%s", b->block, owner);
	else if (b->error)
		finding(c, "block %" PRIu64 ": its content does not match its checksum%s", b->block,
			owner);
}

void bad_report(struct check *c)
{
	for (uint64_t i = 0; i < c->nbad; i++)
		report_one(c, &c->bad[i]);
	c->findings += c->bad_dropped;
}
