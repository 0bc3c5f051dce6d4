/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each verifier by itself.  The first byte chooses it, the second says what it is told beside the block;
 * the rest is written over zeros: offset (2), length, bytes.  The block lies in memory of exactly its
 * size, so that a look behind it is seen.
 *
 * What must hold: no fault, the same answer twice, and the block is as it was.
 */
#include "fuzz.h"

#include "fs/dir_int.h"
#include "fs/file.h"
#include "fs/fs_int.h"
#include "pool/pool_int.h"

enum { INDEX, INODES, VOLUMES, REAP, DIR, XATTR, ZONES, SUMMARY, TABLE, SUPER, RECORD, VERIFIERS };

static size_t size_of(unsigned which, uint8_t with)
{
	switch (which) {
	case XATTR: return (with % XATTR_BLOCKS_MAX + 1) * BLOCK_SIZE;
	case ZONES: return DIR_PAGE_BLOCKS * BLOCK_SIZE;
	case RECORD: return sizeof(struct log_record) + with * 8;
	default: return BLOCK_SIZE;
	}
}

/* As recovery does: the header alone, and all of it only if that says how much it is. */
static const char *record(const struct log_record *r, size_t size)
{
	const char *why = record_verify_head(r, size);

	return why ? why : record_verify(r, size);
}

/* In half of the records the hash is right. */
static void finish_record(struct log_record *r, size_t size, uint8_t with)
{
	if (!record_verify_head(r, size) && with % 2)
		r->hash = log_hash(r);
}

static const char *verify(unsigned which, uint8_t with, const void *b, size_t size)
{
	static const struct superblock sb = { .nblocks = 100000, .log_block = ZONE_HEADER_BLOCKS,
					      .log_blocks = 256 };

	switch (which) {
	case INDEX: return index_verify(b, with, 100000);
	case INODES: return inodes_verify(b);
	case VOLUMES: return volumes_verify(b);
	case REAP: return reap_verify(b);
	case DIR: return dir_page_verify(b);
	case XATTR: return xattr_verify(b, size);
	case ZONES: return zones_verify(b, with * 2 + 2);
	case SUMMARY: return summary_verify(b);
	case TABLE: return table_verify(b, &sb, with);
	case SUPER: return super_verify(b);
	default: return record(b, size);
	}
}

static const char *run(const uint8_t *data, size_t len)
{
	struct stream s = { data, data + len };
	unsigned which = take8(&s) % VERIFIERS;
	uint8_t with = take8(&s);
	size_t size = size_of(which, with);
	uint8_t *b = calloc(1, size), *copy = malloc(size);
	const char *why;

	while (stream_left(&s)) {
		size_t at = take16(&s) % size, n = take8(&s) + 1;

		n = n < size - at ? n : size - at;
		take(&s, b + at, n < stream_left(&s) ? n : stream_left(&s));
	}
	if (which == RECORD)
		finish_record((struct log_record *)b, size, with);
	memcpy(copy, b, size);
	why = verify(which, with, b, size);
	fuzz_check(!why || why[0], "an empty reason");
	fuzz_check(verify(which, with, b, size) == why, "another answer the second time");
	fuzz_check(!memcmp(b, copy, size), "a verifier has changed the block");
	free(b);
	free(copy);
	return why;
}

void fuzz_input(const uint8_t *data, size_t len) { run(data, len); }

/* ---- seeds --------------------------------------------------------------------------- */

static size_t patch(uint8_t *out, size_t at, size_t offset, const void *bytes, size_t n)
{
	out[at] = offset >> 8;
	out[at + 1] = offset;
	out[at + 2] = n - 1;
	memcpy(out + at + 3, bytes, n);
	return at + 3 + n;
}

/* A sound one of each. */
void fuzz_seeds(void (*put)(const char *name, const uint8_t *data, size_t len))
{
	const uint64_t slot = 2000 | 1ULL << PTR_MAPPED_SHIFT;
	const struct inode file = { .type = FS_REG, .size = 5, .root = 2000, .mapped = 1 };
	const struct inode dir = { .type = FS_DIR, .size = BLOCK_SIZE, .root = 2000, .dir_pages = 1,
				   .dir_levels = 1 };
	const struct volume volume = { .state = VOLUME_LIVE, .id = 1, .inodes_root = 2000, .next_ino = 3,
				       .name = "v" };
	const struct reap_entry reap = { 2000 | 1ULL << 48 | 1ULL << 56, 3, 0 };
	const struct dir_entry zone = { .slot = 1, .type = ZONE_MIXED };
	const struct summary_entry summary = { .slot = 1, .free = 3 };
	const struct table_entry table = { 2, 3 };
	const struct superblock super = { .life = 1, .generation = 1, .nblocks = 5000, .log_block = ZONE_HEADER_BLOCKS,
					  .log_blocks = 64, .log_seq = 1, .log_life = 1, .ndirs = 1 };
	const struct log_record rec = { .magic = LOG_MAGIC, .len = sizeof(rec) + 8, .payload_len = 4,
					.type = 1 };
	const uint64_t xattr[] = { XATTR_MAGIC | 1ULL << 32, 40, 1, 1ULL << 32, 0x78 };
	struct dir_page *page = calloc(1, sizeof(*page));
	uint8_t b[600];

	b[1] = 2;
#define SEED(name, which, offset, what, n) SEED2(name, which, offset, what, n, 0)
#define SEED2(name, which, offset, what, n, more) do { \
	size_t len_ = patch(b, 2, offset, what, n) + more; \
	b[0] = which; \
	fuzz_check(!run(b, len_), "%s: %s", name, run(b, len_)); \
	put(name, b, len_); \
} while (0)
	SEED("index", INDEX, 8, &slot, sizeof(slot));
	SEED("inode", INODES, INODE_SIZE, &file, 184);
	SEED("directory", INODES, INODE_SIZE, &dir, 184);
	patch(b, 2 + 3 + 128, offsetof(struct volume, name), volume.name, 8);
	SEED2("volume", VOLUMES, 0, &volume, 128, 3 + 8);
	SEED("reap", REAP, 0, &reap, sizeof(reap));
	SEED("zone", ZONES, 16, &zone, sizeof(zone));
	SEED("summary", SUMMARY, 8, &summary, sizeof(summary));
	SEED("table", TABLE, 3000, &table, sizeof(table));
	SEED("super", SUPER, 0, &super, 216);
	b[1] = 0;
	SEED("xattr", XATTR, 0, xattr, sizeof(xattr));
	b[1] = 3;
	SEED("record", RECORD, 0, &rec, sizeof(rec));
	b[1] = 0;
	page_init(page, 0);
	page_add_item(page, 0, &(struct dir_found){ 512, 7, 7, FS_REG }, (struct fs_name){ "name", 4 });
	SEED("leaf", DIR, 0, page, 80);
	page_init(page, 1);
	page_add_child(page, 0, 0, 1);
	page_add_child(page, 1, 5120, 2);
	SEED("inner", DIR, 0, page, 80);
	page_init(page, DIR_LEVEL_FREE);
	SEED("free", DIR, 0, page, 40);
	free(page);
}
