/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the checker reads.  Metadata lies densely in its zones, so single blocks are read 16 at
 * a time into a direct-mapped cache; a checksum over 4 KiB costs less than remembering that a
 * block was verified, so every use verifies again.
 */
#include "fs/check_int.h"

#include <stdlib.h>
#include <string.h>
#include "base/crc.h"

int read_init(struct check *c)
{
	while (c->lines_bits < LINES_BITS_MAX &&
	       (LINE_BLOCKS * BLOCK_SIZE << (c->lines_bits + 1)) <= c->memory / 8)
		c->lines_bits++;
	c->lines = calloc(1u << c->lines_bits, sizeof(*c->lines));
	c->spare = aligned_alloc(DEV_BLOCK, BLOCK_SIZE);
	c->run = aligned_alloc(DEV_BLOCK, (size_t)CHECK_RUN * BLOCK_SIZE);
	c->frames = aligned_alloc(DEV_BLOCK, (size_t)FRAMES * BLOCK_SIZE);
	return c->lines && c->spare && c->run && c->frames ? 0 : -ENOMEM;
}

void read_release(struct check *c)
{
	for (unsigned i = 0; c->lines && i < 1u << c->lines_bits; i++)
		free(c->lines[i].data);
	free(c->lines);
	free(c->spare);
	free(c->run);
	free(c->frames);
}

/* Where one bad sector spoils a line, or there is no memory for one. */
static const void *read_single(struct check *c, uint64_t block, int *ret_error)
{
	*ret_error = dev_read(c->dev, block, c->spare, 1);
	return *ret_error ? NULL : c->spare;
}

/* The blocks from FIRST on, in their line. */
static bool line_fill(struct check *c, struct line *l, uint64_t first)
{
	uint64_t n = c->dev->nblocks - first < LINE_BLOCKS ? c->dev->nblocks - first : LINE_BLOCKS;

	if (!l->data)
		l->data = aligned_alloc(DEV_BLOCK, (size_t)LINE_BLOCKS * BLOCK_SIZE);
	if (!l->data)
		return false;
	l->valid = !dev_read(c->dev, first, l->data, n);
	l->first = first;
	return l->valid;
}

const void *read_block(struct check *c, uint64_t block, int *ret_error)
{
	uint64_t first = block / LINE_BLOCKS * LINE_BLOCKS;
	uint64_t hash = first / LINE_BLOCKS * 0x9e3779b97f4a7c15ULL;
	struct line *l = &c->lines[hash >> 32 & ((1u << c->lines_bits) - 1)];

	*ret_error = 0;
	if (block >= c->dev->nblocks) {
		*ret_error = -EIO;
		return NULL;
	}
	if ((!l->valid || l->first != first) && !line_fill(c, l, first))
		return read_single(c, block, ret_error);
	return l->data + (block - first) * BLOCK_SIZE;
}

bool read_run(struct check *c, uint64_t block, uint32_t count, int *errors)
{
	bool any = false;

	memset(errors, 0, count * sizeof(*errors));
	if (!dev_read(c->dev, block, c->run, count))
		return false;
	for (uint32_t i = 0; i < count; i++) {
		errors[i] = dev_read(c->dev, block + i, c->run + (size_t)i * BLOCK_SIZE, 1);
		any |= errors[i] != 0;
	}
	return any;
}

const char *block_refused(struct check *c, uint64_t block)
{
	if (block == 0)
		return "which is no block";
	if (block >= c->sb.nblocks)
		return "which is outside of the pool";
	if (block_is_fixed(&c->sb, block))
		return "which belongs to the pool's fixed structures";
	return NULL;
}

const struct table_entry *table_entries(struct check *c, uint64_t block)
{
	static const struct table_entry none[PAGE_ENTRIES];
	struct check_zone *z = &c->zones[block / ZONE_BLOCKS];
	unsigned page = block % ZONE_BLOCKS / PAGE_ENTRIES;
	const struct summary_entry *s;
	const struct table_entry *t;
	int err;

	if (z->bad)
		return NULL;
	if (!z->pages || z->pages[page].slot == SLOT_NONE)
		return none;
	s = &z->pages[page];
	if (s->slot > 1)
		return NULL;
	t = read_block(c, block / ZONE_BLOCKS * ZONE_BLOCKS + ZONE_TABLE + 2 * page + s->slot,
		       &err);
	return t && crc32c(0, t, BLOCK_SIZE) == s->crc ? t : NULL;
}

bool table_lookup(struct check *c, uint64_t block, struct table_entry *ret)
{
	const struct table_entry *t = table_entries(c, block);

	if (t)
		*ret = t[block % PAGE_ENTRIES];
	return t != NULL;
}

bool read_meta(struct check *c, uint64_t block, void *buf, const char **ret_why)
{
	uint32_t refs;

	return read_meta_refs(c, block, buf, ret_why, &refs);
}

/* Where data isn't verified, what is read as anything else is all that is: it is to be reported. */
static void unreadable(struct check *c, uint64_t block, uint32_t refs, int err)
{
	if (c->skip_content && !c->quiet && refs)
		bad_content(c, block, refs, err);
}

bool read_meta_refs(struct check *c, uint64_t block, void *buf, const char **ret_why, uint32_t *ret_refs)
{
	struct table_entry e;
	const void *p;
	int err;

	*ret_why = block_refused(c, block);
	if (*ret_why)
		return false;
	if (!table_lookup(c, block, &e)) {
		*ret_why = "whose table page is damaged";
		return false;
	}
	p = read_block(c, block, &err);
	if (!p) {
		*ret_why = "which the device cannot read";
		unreadable(c, block, e.refs, -EIO);
		return false;
	}
	if (crc32c(0, p, BLOCK_SIZE) != e.crc) {
		*ret_why = e.refs ? "whose content does not match its checksum" :
			"which is free, and whose content does not match its checksum";
		unreadable(c, block, e.refs, -EDAMAGED);
		return false;
	}
	memcpy(buf, p, BLOCK_SIZE);
	*ret_refs = e.refs;
	return true;
}
