/* SPDX-License-Identifier: Apache-2.0 */
/* See check_edit.h.  Works on the medium itself, without waiting. */
#include "check_edit.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/crc.h"
#include "pool/pool.h"

static bool take_copy(struct edit *e, uint64_t block, bool found)
{
	static struct superblock sb;

	dev_sim_peek(e->d, block, &sb);
	if (memcmp(sb.magic, SUPER_MAGIC, 8) || sb.crc != crc32c(0, &sb, 4092))
		return found;
	if (!found || sb.life > e->sb.life ||
	    (sb.life == e->sb.life && sb.generation > e->sb.generation))
		e->sb = sb;
	return true;
}

void edit_open(struct edit *e, struct dev *d)
{
	bool found = false;

	e->d = d;
	found = take_copy(e, 0, found);
	found = take_copy(e, 1, found);
	assert(found);
}

void edit_super(struct edit *e)
{
	unsigned slot = e->sb.generation & 1;

	e->sb.crc = crc32c(0, &e->sb, 4092);
	dev_sim_poke(e->d, slot, &e->sb);
	dev_sim_poke(e->d, e->sb.nblocks - SUPER_END_BLOCKS + slot, &e->sb);
}

/* ---- directory pages -------------------------------------------------------------------- */

uint64_t edit_dir_place(struct edit *e, uint64_t zone)
{
	uint64_t k = zone / DIR_ZONES;

	return k * DIR_ZONES * ZONE_BLOCKS + ZONE_DIR + DIR_PAGE_BLOCKS * e->sb.dirs[k].slot;
}

static void dir_page_get(struct edit *e, uint64_t zone, uint8_t *ret)
{
	for (unsigned i = 0; i < DIR_PAGE_BLOCKS; i++)
		dev_sim_peek(e->d, edit_dir_place(e, zone) + i, ret + i * BLOCK_SIZE);
}

void edit_dir_get(struct edit *e, uint64_t zone, struct dir_entry *ret)
{
	uint8_t page[DIR_PAGE_BLOCKS * BLOCK_SIZE];

	dir_page_get(e, zone, page);
	memcpy(ret, page + zone % DIR_ZONES * sizeof(*ret), sizeof(*ret));
}

void edit_dir_put(struct edit *e, uint64_t zone, const struct dir_entry *entry)
{
	uint8_t page[DIR_PAGE_BLOCKS * BLOCK_SIZE];

	dir_page_get(e, zone, page);
	memcpy(page + zone % DIR_ZONES * sizeof(*entry), entry, sizeof(*entry));
	for (unsigned i = 0; i < DIR_PAGE_BLOCKS; i++)
		dev_sim_poke(e->d, edit_dir_place(e, zone) + i, page + i * BLOCK_SIZE);
	e->sb.dirs[zone / DIR_ZONES].crc = crc32c(0, page, sizeof(page));
	edit_super(e);
}

/* ---- summaries -------------------------------------------------------------------------- */

uint64_t edit_summary_place(struct edit *e, uint64_t zone)
{
	struct dir_entry d;

	edit_dir_get(e, zone, &d);
	assert(d.slot <= 1);
	return zone * ZONE_BLOCKS + ZONE_SUMMARY + d.slot;
}

void edit_summary_get(struct edit *e, uint64_t zone, struct summary_entry ret[ZONE_PAGES])
{
	struct dir_entry d;

	edit_dir_get(e, zone, &d);
	if (d.slot != SLOT_NONE) {
		dev_sim_peek(e->d, edit_summary_place(e, zone), ret);
		return;
	}
	memset(ret, 0, BLOCK_SIZE);
	for (unsigned i = 0; i < ZONE_PAGES; i++)
		ret[i].slot = SLOT_NONE;
}

void edit_summary_put(struct edit *e, uint64_t zone, const struct summary_entry *page)
{
	struct dir_entry d;

	edit_dir_get(e, zone, &d);
	if (d.slot == SLOT_NONE)
		d.slot = 1;
	dev_sim_poke(e->d, zone * ZONE_BLOCKS + ZONE_SUMMARY + d.slot, page);
	d.crc = crc32c(0, page, BLOCK_SIZE);
	edit_dir_put(e, zone, &d);
}

/* ---- table pages ------------------------------------------------------------------------ */

uint64_t edit_table_place(struct edit *e, uint64_t block)
{
	struct summary_entry s[ZONE_PAGES];
	unsigned page = block % ZONE_BLOCKS / PAGE_ENTRIES;

	edit_summary_get(e, block / ZONE_BLOCKS, s);
	assert(s[page].slot <= 1);
	return block / ZONE_BLOCKS * ZONE_BLOCKS + ZONE_TABLE + 2 * page + s[page].slot;
}

void edit_table_get(struct edit *e, uint64_t block, struct table_entry ret[PAGE_ENTRIES])
{
	struct summary_entry s[ZONE_PAGES];

	edit_summary_get(e, block / ZONE_BLOCKS, s);
	if (s[block % ZONE_BLOCKS / PAGE_ENTRIES].slot == SLOT_NONE)
		memset(ret, 0, BLOCK_SIZE);
	else
		dev_sim_peek(e->d, edit_table_place(e, block), ret);
}

void edit_table_put(struct edit *e, uint64_t block, const struct table_entry *page)
{
	uint64_t zone = block / ZONE_BLOCKS;
	unsigned i = block % ZONE_BLOCKS / PAGE_ENTRIES;
	struct summary_entry s[ZONE_PAGES];

	edit_summary_get(e, zone, s);
	if (s[i].slot == SLOT_NONE) {
		uint64_t first = block / PAGE_ENTRIES * PAGE_ENTRIES;

		s[i].slot = 0;
		for (uint64_t b = first; b < first + PAGE_ENTRIES; b++)
			s[i].free += b < e->sb.nblocks && !block_is_fixed(&e->sb, b);
	}
	dev_sim_poke(e->d, zone * ZONE_BLOCKS + ZONE_TABLE + 2 * i + s[i].slot, page);
	s[i].crc = crc32c(0, page, BLOCK_SIZE);
	edit_summary_put(e, zone, s);
}

/* ---- blocks ----------------------------------------------------------------------------- */

void edit_get(struct edit *e, uint64_t block, void *ret)
{
	dev_sim_peek(e->d, block, ret);
}

void edit_put(struct edit *e, uint64_t block, const void *data)
{
	struct table_entry t[PAGE_ENTRIES];

	dev_sim_poke(e->d, block, data);
	edit_table_get(e, block, t);
	t[block % PAGE_ENTRIES].crc = crc32c(0, data, BLOCK_SIZE);
	edit_table_put(e, block, t);
}

uint32_t edit_refs(struct edit *e, uint64_t block)
{
	struct table_entry t[PAGE_ENTRIES];

	edit_table_get(e, block, t);
	return t[block % PAGE_ENTRIES].refs;
}

void edit_set_refs(struct edit *e, uint64_t block, uint32_t refs)
{
	struct table_entry t[PAGE_ENTRIES];
	struct summary_entry s[ZONE_PAGES];
	struct dir_entry d;
	uint64_t zone = block / ZONE_BLOCKS;
	int more_free;

	edit_table_get(e, block, t);
	more_free = (refs == 0) - (t[block % PAGE_ENTRIES].refs == 0);
	t[block % PAGE_ENTRIES].refs = refs;
	edit_table_put(e, block, t);
	edit_summary_get(e, zone, s);
	s[block % ZONE_BLOCKS / PAGE_ENTRIES].free += more_free;
	edit_summary_put(e, zone, s);
	edit_dir_get(e, zone, &d);
	d.free += more_free;
	edit_dir_put(e, zone, &d);
}
