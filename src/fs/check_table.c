/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block table: directory pages, summaries and table pages as the superblock vouches for
 * them, then every entry: its count goes to check_count.c, its checksum is compared with the
 * content on the device.  In address order, content in reads of up to 1 MiB.
 */
#include "fs/check_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/crc.h"

static uint64_t zone_base(uint64_t zone) { return zone * ZONE_BLOCKS; }

static void zones_unknown(struct check *c, uint64_t first)
{
	for (uint64_t z = first; z < first + DIR_ZONES && z < c->nzones; z++)
		c->zones[z].bad = true;
	c->counts_incomplete = true;
}

static void dir_entry_check(struct check *c, uint64_t zone)
{
	struct check_zone *z = &c->zones[zone];
	const struct dir_entry *d = &z->dir;

	if (d->type > ZONE_MIXED || d->device || d->reserved || d->reserved2)
		fix_add(c, &(struct fix){ .kind = FIX_ZONE, .ino = zone });
	if (d->type > ZONE_MIXED)
		finding(c, "zone %" PRIu64 ": type %u in the zone directory is unknown", zone,
			d->type);
	if (d->device || d->reserved || d->reserved2)
		finding(c, "zone %" PRIu64 ": reserved fields of its directory entry are not zero",
			zone);
	if (d->slot > 1 && d->slot != SLOT_NONE) {
		finding(c,
			"zone %" PRIu64 ": its summary is said to be in slot %u, and there is none",
			zone, d->slot);
		z->bad = true;
		c->counts_incomplete = true;
	}
}

static void dir_load(struct check *c, uint64_t k)
{
	const struct super_dir *sd = &c->sb.dirs[k];
	uint64_t first = k * DIR_ZONES;
	uint64_t block = zone_base(first) + ZONE_DIR + DIR_PAGE_BLOCKS * (sd->slot & 1);
	int errors[DIR_PAGE_BLOCKS];

	if (sd->slot > 1) {
		finding(c, "superblock: directory page %" PRIu64 " is said to be in slot %u, and "
			"there is none", k, sd->slot);
		zones_unknown(c, first);
		return;
	}
	if (read_run(c, block, DIR_PAGE_BLOCKS, errors)) {
		finding(c,
			"directory page %" PRIu64 " (block %" PRIu64 "): the device cannot read it",
			k, block);
		zones_unknown(c, first);
		return;
	}
	if (crc32c(0, c->run, DIR_PAGE_BLOCKS * BLOCK_SIZE) != sd->crc) {
		finding(c,
			"directory page %" PRIu64 " (block %" PRIu64
			"): does not match the checksum "
			"in the superblock",
			k, block);
		zones_unknown(c, first);
		return;
	}
	for (uint64_t z = first; z < first + DIR_ZONES && z < c->nzones; z++) {
		memcpy(&c->zones[z].dir, c->run + (z - first) * sizeof(struct dir_entry),
		       sizeof(struct dir_entry));
		dir_entry_check(c, z);
	}
}

static void summary_load(struct check *c, uint64_t zone)
{
	struct check_zone *z = &c->zones[zone];
	uint64_t block = zone_base(zone) + ZONE_SUMMARY + z->dir.slot;
	const char *why = NULL;
	const void *p;
	int err;

	p = read_block(c, block, &err);
	if (!p)
		why = "the device cannot read it";
	else if (crc32c(0, p, BLOCK_SIZE) != z->dir.crc)
		why = "does not match the checksum in the zone directory";
	if (why) {
		finding(c, "summary of zone %" PRIu64 " (block %" PRIu64 "): %s", zone, block, why);
		z->bad = true;
		c->counts_incomplete = true;
		return;
	}
	z->pages = malloc(BLOCK_SIZE);
	if (z->pages)
		memcpy(z->pages, p, BLOCK_SIZE);
	else
		c->err = -ENOMEM;
}

void table_pass(struct check *c)
{
	c->nzones = (c->sb.nblocks + ZONE_BLOCKS - 1) / ZONE_BLOCKS;
	c->zones = calloc(c->nzones, sizeof(*c->zones));
	if (!c->zones) {
		c->err = -ENOMEM;
		return;
	}
	for (uint64_t z = 0; z < c->nzones; z++)
		c->zones[z].dir.slot = SLOT_NONE;
	for (uint64_t k = 0; k < c->sb.ndirs && k * DIR_ZONES < c->nzones; k++)
		dir_load(c, k);
	for (uint64_t z = 0; z < c->nzones && !c->err; z++)
		if (!c->zones[z].bad && c->zones[z].dir.slot != SLOT_NONE)
			summary_load(c, z);
}

void table_release(struct check *c)
{
	for (uint64_t z = 0; c->zones && z < c->nzones; z++)
		free(c->zones[z].pages);
	free(c->zones);
}

/* ---- comparing ------------------------------------------------------------------------ */

struct compare {			/* of one zone */
	struct check *c;
	uint64_t zone;
	struct table_entry *table;	/* CHECK_RUN / 2 pages at a time, PAGE_ENTRIES each */
	uint64_t free, zone_free;
	bool unknown; /* a table page was bad: the zone's sums cannot be compared */
	int *errors;
};

static void compare_entry(struct compare *m, unsigned page, unsigned i, const struct table_entry *e,
			  uint32_t *page_free)
{
	uint64_t block = zone_base(m->zone) + page * PAGE_ENTRIES + i;

	if (block >= m->c->sb.nblocks || block_is_fixed(&m->c->sb, block)) {
		if (e->refs)
			fix_add(m->c, &(struct fix){ .kind = FIX_COUNT, .ino = block });
		if (e->refs)
			finding(m->c, "block %" PRIu64 ": %s, but the table gives it count %u",
				block,
				block >= m->c->sb.nblocks ? "lies behind the end of the pool" :
							    "is one of the pool's fixed structures",
				e->refs);
		return;
	}
	if (e->refs)
		m->c->stats.blocks++;
	else
		(*page_free)++;
	if (e->refs)
		counts_table(m->c, block, e->refs);
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Is the content of BLOCK to be verified? */
static bool wanted(const struct check *c, uint64_t block, const struct table_entry *e)
{
	if (!e->refs || block >= c->sb.nblocks || block_is_fixed(&c->sb, block))
		return false;
	return !c->skip_content ||
	       (c->nrecheck && bsearch(&block, c->recheck, c->nrecheck, sizeof(block), by_number));
}

/* The content of a table page's blocks: read in runs that bridge small gaps. */
static void compare_content(struct compare *m, unsigned page, const struct table_entry *e)
{
	uint64_t base = zone_base(m->zone) + page * PAGE_ENTRIES;
	unsigned i = 0, end, last;

	while (i < PAGE_ENTRIES) {
		if (!wanted(m->c, base + i, &e[i])) {
			i++;
			continue;
		}
		last = i;
		for (end = i + 1; end < PAGE_ENTRIES && end - i < CHECK_RUN && end - last <= 16;
		     end++)
			if (wanted(m->c, base + end, &e[end]))
				last = end;
		read_run(m->c, base + i, last + 1 - i, m->errors);
		for (unsigned j = i; j <= last; j++) {
			const uint8_t *p = m->c->run + (size_t)(j - i) * BLOCK_SIZE;

			if (!wanted(m->c, base + j, &e[j]))
				continue;
			if (m->errors[j - i])
				bad_content(m->c, base + j, e[j].refs, -EIO);
			else if (crc32c(0, p, BLOCK_SIZE) != e[j].crc)
				bad_content(m->c, base + j, e[j].refs, -EDAMAGED);
		}
		i = last + 1;
	}
}

static void table_page_bad(struct compare *m, unsigned page, uint64_t place, const char *why)
{
	uint64_t first = zone_base(m->zone) + page * PAGE_ENTRIES;

	finding(m->c, "table page of blocks %" PRIu64 " to %" PRIu64 " (block %" PRIu64 "): %s",
		first, first + PAGE_ENTRIES - 1, place, why);
	m->unknown = true;
	counts_unknown(m->c, first, PAGE_ENTRIES);
}

static void compare_page(struct compare *m, unsigned page, const struct table_entry *e)
{
	const struct summary_entry *s = &m->c->zones[m->zone].pages[page];
	uint64_t first = zone_base(m->zone) + page * PAGE_ENTRIES;
	uint32_t page_free = 0;

	for (unsigned i = 0; i < PAGE_ENTRIES; i++)
		compare_entry(m, page, i, &e[i], &page_free);
	m->free += page_free;
	if (s->free != page_free)
		fix_add(m->c, &(struct fix){ .kind = FIX_PAGE, .ino = first });
	if (s->free != page_free)
		finding(m->c,
			"table page of blocks %" PRIu64 " to %" PRIu64 ": the summary says that %u "
			"are free, and it is %u",
			first, first + PAGE_ENTRIES - 1, s->free, page_free);
	compare_content(m, page, e);
}

/* No block of the table page that begins with FIRST is fixed, or behind the end. */
static bool page_plain(const struct check *c, uint64_t first)
{
	const struct superblock *sb = &c->sb;

	return first % ZONE_BLOCKS >= ZONE_HEADER_BLOCKS &&
	       first + PAGE_ENTRIES <= sb->nblocks - SUPER_END_BLOCKS &&
	       (first + PAGE_ENTRIES <= sb->log_block ||
		first >= sb->log_block + sb->log_blocks);
}

/* A page that was never written: all counts are 0.  Cheap, as sparse pools are made of these. */
static void compare_hole(struct compare *m, unsigned page)
{
	static const struct table_entry none[PAGE_ENTRIES];
	uint64_t first = zone_base(m->zone) + (uint64_t)page * PAGE_ENTRIES;
	uint32_t page_free = 0;

	if (page_plain(m->c, first)) {
		m->free += PAGE_ENTRIES;
		return;
	}
	for (unsigned i = 0; i < PAGE_ENTRIES; i++)
		compare_entry(m, page, i, &none[i], &page_free);
	m->free += page_free;
}

/* Table pages FIRST to FIRST + N - 1: their slots in one read, then each that is in use. */
static void compare_pages(struct compare *m, unsigned first, unsigned n)
{
	const struct summary_entry *s = m->c->zones[m->zone].pages + first;
	uint64_t place = zone_base(m->zone) + ZONE_TABLE + 2 * first;
	bool valid[CHECK_RUN / 2] = { false };
	const char *why[CHECK_RUN / 2] = { NULL };

	read_run(m->c, place, 2 * n, m->errors);
	for (unsigned i = 0; i < n; i++) {
		const uint8_t *p = m->c->run + (size_t)(2 * i + (s[i].slot & 1)) * BLOCK_SIZE;

		if (s[i].slot > 1)
			why[i] = "the summary says that it is in a slot that there is none of";
		else if (m->errors[2 * i + s[i].slot])
			why[i] = "the device cannot read it";
		else if (crc32c(0, p, BLOCK_SIZE) != s[i].crc)
			why[i] = "does not match the checksum in the summary";
		else
			valid[i] = true;
		if (valid[i])
			memcpy(m->table + (size_t)i * PAGE_ENTRIES, p, BLOCK_SIZE);
	}
	for (unsigned i = 0; i < n; i++) {
		if (s[i].slot == SLOT_NONE)
			compare_hole(m, first + i);
		else if (valid[i])
			compare_page(m, first + i, m->table + (size_t)i * PAGE_ENTRIES);
		else
			table_page_bad(m, first + i, place + 2 * i + (s[i].slot == 1), why[i]);
	}
}

static void compare_zone(struct compare *m)
{
	struct check_zone *z = &m->c->zones[m->zone];

	m->free = 0;
	m->unknown = false;
	if (z->bad) {
		counts_unknown(m->c, zone_base(m->zone), ZONE_BLOCKS);
		return;
	}
	for (unsigned i = 0; i < ZONE_PAGES && !m->c->err; i += CHECK_RUN / 2) {
		unsigned used = 0;

		if (zone_base(m->zone) + (uint64_t)i * PAGE_ENTRIES >= m->c->sb.nblocks)
			break;
		for (unsigned j = i; z->pages && j < i + CHECK_RUN / 2; j++)
			used += z->pages[j].slot != SLOT_NONE;
		if (used)
			compare_pages(m, i, CHECK_RUN / 2);
		else
			for (unsigned j = i; j < i + CHECK_RUN / 2; j++)
				compare_hole(m, j);
	}
	if (m->unknown || m->free == z->dir.free)
		return;
	fix_add(m->c, &(struct fix){ .kind = FIX_ZONE, .ino = m->zone });
	finding(m->c,
		"zone %" PRIu64 ": the zone directory says that %u blocks are free, and it "
		"is %" PRIu64,
		m->zone, z->dir.free, m->free);
}

void table_compare(struct check *c)
{
	struct compare m = { .c = c };

	m.table = malloc((size_t)(CHECK_RUN / 2) * BLOCK_SIZE);
	m.errors = malloc(CHECK_RUN * sizeof(*m.errors));
	if (!m.table || !m.errors)
		c->err = -ENOMEM;
	for (m.zone = 0; m.zone < c->nzones && !c->err; m.zone++)
		compare_zone(&m);
	free(m.table);
	free(m.errors);
}
