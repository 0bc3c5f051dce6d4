/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Damage by a stream of bytes: which block, by its class and place among those; where in it, by record
 * and field; and what comes there.  Afterwards the checksums are put right from the bottom up: blocks in
 * the table, its pages in the summary, that in the zone directory, that in the superblock; and the chain
 * of the log's hashes.  Some changes ask for that to be left out.
 *
 *     change = class, place (2), how, [record, field | offset (2)], value...
 *
 * Where the base has each page is known, and is where it is put back: a change may say that it is
 * elsewhere.
 */
#include "image.h"

#include <stddef.h>
#include "base/crc.h"
#include "pool/pool_int.h"

enum { EDITS_MAX = 80, CHANGES_MAX = 40 };
enum how { BYTES, FIELD64, FIELD32, FIELD16, FIELD8, COPY, MOVE, COUNT, HOWS };
#define HOW_RAW 0x80			/* the block's checksum stays as it was */

struct edit { uint64_t block; bool raw; uint8_t *data; };

struct editor {
	const struct image *im;
	struct stream *s;
	struct edit edits[EDITS_MAX];
	unsigned n;
	uint8_t *log;
	uint64_t log_bytes;
	bool log_raw;
};

/* A block as it is by now, for changing; NULL: there are too many. */
static struct edit *edit_of(struct editor *e, uint64_t block)
{
	struct edit *d = e->edits;

	for (; d < e->edits + e->n; d++)
		if (d->block == block)
			return d;
	if (e->n == EDITS_MAX)
		return NULL;
	*d = (struct edit){ .block = block, .data = malloc(BLOCK_SIZE) };
	dev_sim_image_read(e->im->disk, block, d->data);
	e->n++;
	return d;
}

/* ---- where ----------------------------------------------------------------------------------------- */

#define F(s, f) offsetof(struct s, f)
static const uint16_t super_fields[] = {
	F(superblock, version), F(superblock, block_size), F(superblock, incompat),
	F(superblock, ro_compat), F(superblock, life), F(superblock, generation),
	F(superblock, nblocks), F(superblock, log_block), F(superblock, log_blocks),
	F(superblock, log_seq), F(superblock, log_offset), F(superblock, log_chain),
	F(superblock, log_life), F(superblock, volumes), F(superblock, volumes) + 8,
	F(superblock, reap), F(superblock, reap) + 8, F(superblock, reap_entries),
	F(superblock, last_event), F(superblock, ndirs), F(superblock, held),
	F(superblock, held) + 8, F(superblock, dirs), F(superblock, dirs) + 4,
};
static const uint16_t inode_fields[] = {
	F(inode, type), F(inode, depth), F(inode, mode), F(inode, nlink), F(inode, size),
	F(inode, mapped), F(inode, generation), F(inode, root), F(inode, xattr_root),
	F(inode, xattr_depth), F(inode, xattr_blocks), F(inode, parent), F(inode, entries),
	F(inode, dir_pages), F(inode, dir_free), F(inode, dir_levels), F(inode, change),
	F(inode, inline_data),
};
static const uint16_t volume_fields[] = {
	F(volume, state), F(volume, id), F(volume, inodes_root), F(volume, inodes_depth),
	F(volume, next_ino), F(volume, free_ino), F(volume, files), F(volume, mapped),
	F(volume, quota), F(volume, name), F(volume, exports), F(volume, exports) + 1023,
	F(volume, meter), F(volume, physical), F(volume, held) + 6,
};
static const uint16_t dir_fields[] = {
	F(dir_page, magic), F(dir_page, level), F(dir_page, count), F(dir_page, free_start),
	F(dir_page, next_free), F(dir_page, body), F(dir_page, body) + 8, F(dir_page, body) + 16,
	F(dir_page, body) + 24, F(dir_page, body) + 25,
};
static const uint16_t record_fields[] = {
	F(log_record, len), F(log_record, life), F(log_record, seq), F(log_record, flushed_to),
	F(log_record, type), F(log_record, nruns), F(log_record, payload_len),
	F(log_record, drc_client), F(log_record, time_ns),
};
static const uint16_t xattr_fields[] = {
	F(xattr_head, magic), F(xattr_head, count), F(xattr_head, bytes), 16 + F(xattr_entry, cookie),
	16 + F(xattr_entry, value_len), 16 + F(xattr_entry, name_len), 16 + F(xattr_entry, name),
};

static uint32_t pick(const uint16_t *fields, unsigned n, uint8_t k) { return fields[k % n]; }
#define PICK(fields, k) pick(fields, sizeof(fields) / sizeof(fields[0]), k)

/* The K-th slot of an index block that isn't 0, going round; every fourth K: any slot. */
static uint32_t slot_offset(const uint8_t *data, uint32_t k)
{
	const uint64_t *slots = (const uint64_t *)data;
	uint32_t used = 0;

	for (unsigned i = 0; i < INDEX_SLOTS; i++)
		used += slots[i] != 0;
	if (!used || k % 4 == 3)
		return k / 4 % INDEX_SLOTS * 8;
	k = k / 4 % used;
	for (unsigned i = 0; ; i++)
		if (slots[i] && !k--)
			return i * 8;
}

/* Record and field come from the stream. */
static uint32_t place_in(struct editor *e, enum image_class c, const uint8_t *data)
{
	uint8_t rec = take8(e->s), field = take8(e->s);

	switch (c) {
	case IM_SUPER: return PICK(super_fields, field);
	case IM_ZONES: return (field & 7) * 2;
	case IM_SUMMARY: return rec % (IMAGE_BLOCKS / PAGE_ENTRIES) * 8 + (field & 3) * 2;
	case IM_TABLE: return (rec << 8 | field) % PAGE_ENTRIES * 8;
	case IM_VOLUMES: return rec % VOLUMES_PER_BLOCK * VOLUME_SIZE + PICK(volume_fields, field);
	case IM_INODES: return rec % INODES_PER_BLOCK * INODE_SIZE + PICK(inode_fields, field);
	case IM_INDEX: return slot_offset(data, rec << 8 | field);
	case IM_DIR: return PICK(dir_fields, field) + (field < 128 ? 0 : rec * 8);
	case IM_XATTR: return PICK(xattr_fields, field);
	case IM_REAP: return rec * 16 + (field & 1) * 8;
	case IM_LOG: return field < 128 ? PICK(record_fields, field) :
			    sizeof(struct log_record) + (rec << 2 | (field & 3));
	default: return rec * 16 + field % 16;
	}
}

/* ---- what ------------------------------------------------------------------------------------------- */

static uint64_t some_block(struct editor *e)
{
	enum image_class c = take8(e->s) % IM_CLASSES;
	uint32_t k = take16(e->s);

	if (c == IM_LOG)
		return e->im->sb.log_block + k % e->im->sb.log_blocks;
	return e->im->at[c][k % e->im->n[c]];
}

static uint64_t value(struct editor *e, uint64_t old, uint64_t self)
{
	static const uint64_t some[] = {
		0, 1, 2, UINT64_MAX, 0x7fffffff, 0x80000000, UINT32_MAX, 1ULL << 63, FS_MAX_SIZE,
		FS_MAX_SIZE + 1, FS_MAX_SIZE - 1, PTR_BLOCK_MASK, IMAGE_BLOCKS, IMAGE_BLOCKS - 1, 511, 512,
		513, 4095, 4096, 6, 7, 255, 65535, 1ULL << 48, 200ULL << 48,
	};
	uint8_t v = take8(e->s);

	switch (v & 7) {
	case 0: return v >> 3;
	case 1: return some[(v >> 3) % (sizeof(some) / sizeof(some[0]))];
	case 2: return (old & ~PTR_BLOCK_MASK) | some_block(e);
	case 3: return (old & ~PTR_BLOCK_MASK) | self;
	case 4: return old + (int8_t)take8(e->s);
	case 5: return old ^ 1ULL << take8(e->s) % 64;
	case 6: return take64(e->s);
	default: return some_block(e) | (uint64_t)(v >> 3) << 48;
	}
}

static void put(struct editor *e, uint8_t *data, uint32_t size, uint32_t at, enum how how, uint64_t self)
{
	uint32_t width = how == FIELD64 ? 8 : how == FIELD32 ? 4 : how == FIELD16 ? 2 : 1;
	uint64_t old = 0, v;

	if (at + width > size)
		at = size - width;
	memcpy(&old, data + at, width);
	v = value(e, old, self);
	memcpy(data + at, &v, width);
}

static void put_bytes(struct editor *e, uint8_t *data, uint32_t size)
{
	uint32_t at = take16(e->s) % size, n = take8(e->s) % 32 + 1;

	if (n > size - at)
		n = size - at;
	take(e->s, data + at, n);
}

/* One record of the block becomes equal to another. */
static void move(struct editor *e, enum image_class c, uint8_t *data)
{
	uint32_t unit = c == IM_INODES ? INODE_SIZE : c == IM_VOLUMES ? VOLUME_SIZE : c == IM_REAP ? 16 : 8;
	uint32_t n = BLOCK_SIZE / unit, from = take16(e->s) % n, to = take16(e->s) % n;

	memmove(data + to * unit, data + from * unit, unit);
}

static void change_count(struct editor *e, uint64_t block, bool raw)
{
	uint64_t page = image_table_of(e->im, block);
	struct edit *d = page ? edit_of(e, page) : NULL;
	struct table_entry *t;

	if (!d)
		return;
	t = (struct table_entry *)d->data + block % PAGE_ENTRIES;
	t->refs = value(e, t->refs, block);
	d->raw |= raw;
}

static void change_log(struct editor *e, uint32_t k, uint8_t how)
{
	uint32_t at = e->im->records[k % e->im->n[IM_LOG]];
	uint32_t size = e->log_bytes - at;

	e->log_raw |= how & HOW_RAW;
	if (size > 65536)
		size = 65536;
	how %= HOWS;
	if (how == BYTES || how >= COPY)
		put_bytes(e, e->log + at, size < 600 ? size : 600);
	else
		put(e, e->log + at, size, place_in(e, IM_LOG, NULL), how, 0);
}

static void change(struct editor *e)
{
	enum image_class c = take8(e->s) % IM_CLASSES;
	uint32_t k = take16(e->s);
	uint8_t how = take8(e->s);
	uint64_t block = e->im->at[c][k % e->im->n[c]];
	struct edit *d;

	if (c == IM_LOG) {
		change_log(e, k, how);
		return;
	}
	if (how % HOWS == COUNT) {
		change_count(e, block, how & HOW_RAW);
		return;
	}
	d = edit_of(e, block);
	if (!d)
		return;
	d->raw |= how & HOW_RAW;
	switch (how % HOWS) {
	case BYTES: put_bytes(e, d->data, BLOCK_SIZE); break;
	case COPY: dev_sim_image_read(e->im->disk, some_block(e), d->data); break;
	case MOVE: move(e, c, d->data); break;
	default: put(e, d->data, BLOCK_SIZE, place_in(e, c, d->data), how % HOWS, block);
	}
}

/* ---- the checksums ------------------------------------------------------------------------------------ */

static bool is_fixed(const struct editor *e, uint64_t block)
{
	return block_is_fixed(&e->im->sb, block);
}

static void fix_blocks(struct editor *e)
{
	unsigned n = e->n;

	for (unsigned i = 0; i < n; i++) {
		struct edit *d = &e->edits[i], *t;

		if (d->raw || is_fixed(e, d->block))
			continue;
		t = edit_of(e, image_table_of(e->im, d->block));
		if (t)
			((struct table_entry *)t->data)[d->block % PAGE_ENTRIES].crc =
				crc32c(0, d->data, BLOCK_SIZE);
	}
}

static void fix_tables(struct editor *e)
{
	struct summary_entry *s = NULL;

	for (unsigned i = 0; i < e->n; i++) {
		struct edit *d = &e->edits[i];

		if (d->block < ZONE_TABLE || d->block >= ZONE_HEADER_BLOCKS || d->raw)
			continue;
		if (!s)
			s = (struct summary_entry *)edit_of(e, e->im->summary)->data;
		s[(d->block - ZONE_TABLE) / 2].crc = crc32c(0, d->data, BLOCK_SIZE);
	}
}

static struct edit *edited(struct editor *e, uint64_t block)
{
	for (unsigned i = 0; i < e->n; i++)
		if (e->edits[i].block == block)
			return &e->edits[i];
	return NULL;
}

static void fix_top(struct editor *e)
{
	struct edit *s = edited(e, e->im->summary), *z = edited(e, e->im->zones), *z2, *sb;

	if (s && !s->raw && (z = edit_of(e, e->im->zones)))
		((struct dir_entry *)z->data)->crc = crc32c(0, s->data, BLOCK_SIZE);
	sb = z && !z->raw ? edit_of(e, e->im->at[IM_SUPER][0]) : edited(e, e->im->at[IM_SUPER][0]);
	if (!sb)
		return;
	if (z && !z->raw && (z2 = edit_of(e, e->im->zones + 1))) {
		uint32_t crc = crc32c(0, z->data, BLOCK_SIZE);

		((struct superblock *)sb->data)->dirs[0].crc = crc32c(crc, z2->data, BLOCK_SIZE);
	}
	if (!sb->raw)
		((struct superblock *)sb->data)->crc = crc32c(0, sb->data, 4092);
}

static void fix_log(struct editor *e)
{
	uint64_t chain = e->im->sb.log_chain;

	for (unsigned i = 0; i < e->im->n[IM_LOG] && !e->log_raw; i++) {
		struct log_record *r = (struct log_record *)(e->log + e->im->records[i]);

		r->prev = chain;
		if (r->len >= sizeof(*r) && r->len <= e->log_bytes - e->im->records[i])
			r->hash = log_hash(r);
		chain = r->hash;
	}
}

static void write_all(struct editor *e, struct dev *d)
{
	uint64_t ring = e->im->sb.log_block + e->im->sb.log_offset / BLOCK_SIZE;

	for (unsigned i = 0; i < e->n; i++) {
		struct edit *k = &e->edits[i];

		dev_sim_poke(d, k->block, k->data);
		if (k->block == e->im->at[IM_SUPER][0])
			dev_sim_poke(d, IMAGE_BLOCKS - SUPER_END_BLOCKS + k->block, k->data);
	}
	for (uint64_t i = 0; i < e->log_bytes / BLOCK_SIZE; i++)
		if (memcmp(e->log + i * BLOCK_SIZE, e->im->log + i * BLOCK_SIZE, BLOCK_SIZE))
			dev_sim_poke(d, ring + i, e->log + i * BLOCK_SIZE);
}

struct dev *image_damaged(const struct image *im, struct stream *s)
{
	struct dev_sim_opts disk = { .seed = 1 };
	struct editor *e = calloc(1, sizeof(*e));
	struct dev *d;

	e->im = im;
	e->s = s;
	e->log_bytes = im->log_bytes;
	e->log = malloc(im->log_bytes);
	memcpy(e->log, im->log, im->log_bytes);
	for (unsigned i = 0; i < CHANGES_MAX && stream_left(s); i++)
		change(e);
	fix_blocks(e);
	fix_tables(e);
	fix_top(e);
	fix_log(e);
	fuzz_check(!dev_sim_new_from(&disk, im->disk, &d), "no memory for a disk");
	write_all(e, d);
	for (unsigned i = 0; i < e->n; i++)
		free(e->edits[i].data);
	free(e->log);
	free(e);
	return d;
}
