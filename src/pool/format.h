/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that src/pool puts on the device.  Little-endian, fixed width; docs/format.md
 * says the same in prose.  Block 0 as a pointer means a hole.
 *
 *   zone z (1 GiB, 262144 blocks) begins with ZONE_HEADER_BLOCKS fixed blocks:
 *
 *      0  superblock slot 0 (zone 0 only)      8 + 2i      table page i, slot 0
 *      1  superblock slot 1 (zone 0 only)      8 + 2i + 1  table page i, slot 1
 *      2  summary, slot 0                      1032 ...    the log (zone 0), then blocks
 *      3  summary, slot 1                                  to give out
 *    4,5  directory page, slot 0 (zones 512k)
 *    6,7  directory page, slot 1 (zones 512k)
 *
 *   The last two blocks of the device are the second copies of superblock slots 0 and 1.
 *   Table pages that were never written, and summaries of zones without any, have slot
 *   SLOT_NONE: all their counts are 0.
 */
#ifndef POOL_FORMAT_H
#define POOL_FORMAT_H

#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the on-disk structures are used in place: a big-endian port needs accessors"
#endif

#define BLOCK_SIZE 4096
#define ZONE_BLOCKS 262144		/* 1 GiB */
#define PAGE_ENTRIES 512		/* table entries in a table page */
#define ZONE_PAGES 512			/* table pages in a zone */
#define DIR_ZONES 512			/* zones in a directory page of two blocks */
#define DIR_PAGE_BLOCKS 2
#define ZONE_HEADER_BLOCKS 1032
#define DIRS_MAX 440			/* directory pages: 220 TiB */
#define SUPER_END_BLOCKS 2

#define ZONE_SUMMARY 2
#define ZONE_DIR 4
#define ZONE_TABLE 8

#define SLOT_NONE 0xffff

/* A pointer in an index block: 48 bits of block number, 16 of flags. */
#define PTR_BLOCK_MASK 0xffffffffffffULL
#define PTR_FLAGS_SHIFT 48
#define PTR_UNWRITTEN (1ULL << 48)	/* leaf: reserved, reads as zeros (not yet used) */
#define PTR_COMPRESSION_SHIFT 49	/* leaf: 2 bits, 0 none (not yet used) */
#define PTR_GROUP_SHIFT 51		/* leaf: 3 bits, blocks of the group - 1 (not yet used) */
#define PTR_MAPPED_SHIFT 48		/* level 2: 10 bits, mapped slots of the level-1 block */
#define PTR_MAPPED_MASK (0x3ffULL << PTR_MAPPED_SHIFT)
#define PTR_DUP (1ULL << 58)		/* leaf: deduplication made it point there; only the account asks */
#define PTR_RESERVED (0x3ULL << 59)
#define INDEX_SLOTS 512
#define INDEX_BITS 9
#define TREE_DEPTH_MAX 6		/* 512^6 blocks = 2^66 bytes: covers every file */

struct table_entry { uint32_t refs, crc; };
_Static_assert(sizeof(struct table_entry) * PAGE_ENTRIES == BLOCK_SIZE, "table page");

struct summary_entry {
	uint32_t crc;			/* of the table page */
	uint16_t free;			/* entries with count 0, fixed blocks not counted */
	uint16_t slot;			/* 0, 1, SLOT_NONE */
};
_Static_assert(sizeof(struct summary_entry) * ZONE_PAGES == BLOCK_SIZE, "summary");

enum zone_type { ZONE_UNUSED = 0, ZONE_META = 1, ZONE_DATA = 2, ZONE_MIXED = 3 };
struct dir_entry {
	uint32_t crc;			/* of the summary */
	uint32_t free;			/* sum over its pages */
	uint16_t slot;			/* of the summary: 0, 1, SLOT_NONE */
	uint8_t type;			/* enum zone_type */
	uint8_t reserved;
	uint16_t device;		/* 0: the only one yet */
	uint16_t reserved2;
};
_Static_assert(sizeof(struct dir_entry) == 16, "dir_entry");
_Static_assert(sizeof(struct dir_entry) * DIR_ZONES == DIR_PAGE_BLOCKS * BLOCK_SIZE, "directory page");

/* A tree of blocks: its root, and the number of index levels above the leaves. */
struct disk_root {
	uint64_t ptr;			/* 0: empty */
	uint8_t depth;
	uint8_t reserved[7];
};
_Static_assert(sizeof(struct disk_root) == 16, "disk_root");

#define SUPER_MAGIC "PANDOSB\n"
#define SUPER_VERSION 1

/* Features: X(bit, name, kind, since, reason).  An unknown incompatible bit refuses to open, an
 * unknown read-only-compatible bit opens read-only.  Set when first used. */
#define POOL_FEATURES(X) \
	X(0, QUOTAS, incompat, "1.0", "quotas of directories and reservations: who doesn't know them breaks them") \
	X(1, METERS, incompat, "1.0", "limits of what volumes hold: who doesn't know them takes them for damage")
#define POOL_QUOTAS (1ULL << 0)
#define POOL_METERS (1ULL << 1)
#define POOL_INCOMPAT (POOL_QUOTAS | POOL_METERS)	/* all that this make knows */

struct super_dir { uint32_t crc; uint16_t slot; uint16_t reserved; };

struct superblock {
	char magic[8];			/*    0 */
	uint32_t version;		/*    8 */
	uint32_t block_size;		/*   12 */
	uint64_t incompat;		/*   16  feature bits */
	uint64_t ro_compat;		/*   24 */
	uint64_t compat;		/*   32 */
	uint8_t uuid[16];		/*   40 */
	uint64_t life;			/*   56  raised by every open */
	uint64_t generation;		/*   64 */
	uint64_t nblocks;		/*   72 */
	uint64_t log_block;		/*   80  the log's extent */
	uint64_t log_blocks;		/*   88 */
	uint64_t log_seq;		/*   96  the first record that is not in this generation */
	uint64_t log_offset;		/*  104  its place: byte of the extent */
	uint64_t log_chain;		/*  112  hash of the record before it, or the seed */
	uint64_t log_life;		/*  120  life that writes the records from there on */
	struct disk_root volumes;	/*  128  the volume table */
	struct disk_root reap;		/*  144  the reap list */
	uint64_t reap_entries;		/*  160 */
	uint64_t last_event;		/*  168  the greatest event number in this generation */
	uint8_t secret[16];		/*  176  keys file handles */
	uint32_t ndirs;			/*  192 */
	uint32_t reserved;		/*  196 */
	struct disk_root held;		/*  200  an earlier volume table, to be dropped at opening */
	uint32_t reserved3[74];		/*  216 */
	struct super_dir dirs[DIRS_MAX];/*  512 */
	uint8_t reserved2[60];		/* 4032 */
	uint32_t crc;			/* 4092  of all before it */
};
_Static_assert(__builtin_offsetof(struct superblock, uuid) == 40, "superblock");
_Static_assert(__builtin_offsetof(struct superblock, volumes) == 128, "superblock");
_Static_assert(__builtin_offsetof(struct superblock, secret) == 176, "superblock");
_Static_assert(__builtin_offsetof(struct superblock, held) == 200, "superblock");
_Static_assert(__builtin_offsetof(struct superblock, dirs) == 512, "superblock");
_Static_assert(__builtin_offsetof(struct superblock, crc) == 4092, "superblock");
_Static_assert(sizeof(struct superblock) == BLOCK_SIZE, "superblock");

/*
 * The log: a ring of blocks.  A batch begins at a block boundary; its records follow each
 * other at 8-byte steps; the rest of its last block is zero.  A record never wraps: where one
 * does not fit before the end of the ring, its batch begins at the ring's block 0.
 */
#define LOG_MAGIC 0x474f4c50		/* "PLOG" */
struct log_record {
	uint32_t magic;			/*  0 */
	uint32_t len;			/*  4  bytes, header and padding included; multiple of 8 */
	uint64_t life;			/*  8 */
	uint64_t seq;			/* 16  event number: life << EVENT_LIFE_SHIFT | count */
	uint64_t flushed_to;		/* 24  greatest seq known to be stable */
	uint64_t prev;			/* 32  hash of the record before it: the chain */
	uint64_t hash;			/* 40  XXH3 of the record with this field 0 */
	uint16_t type;			/* 48  the file system's */
	uint16_t nruns;			/* 50  claimed runs, after the payload */
	uint32_t payload_len;		/* 52  bytes after the header, before padding and runs */
	uint64_t drc_client;		/* 56  who asked, 0 if nobody's retry matters */
	uint32_t drc_xid;		/* 64 */
	uint32_t drc_proc;		/* 68 */
	uint64_t time_ns;		/* 72 */
};
_Static_assert(sizeof(struct log_record) == 80, "log_record");

/* Blocks that the record's data went to; each run is followed by COUNT u32 CRCs, padded to 8. */
struct log_run { uint64_t block_and_count; };	/* 48 bits block, 16 bits count */

#define EVENT_LIFE_SHIFT 44

/* The reap list: a file of these, a stack. */
struct reap_entry {
	uint64_t block;			/* 48 bits; level << 48; tree kind << 56 */
	uint32_t next;			/* the child to go on with */
	uint32_t owner;			/* volume that gets back what is freed, if it reserves or is limited; 0: none */
};
_Static_assert(sizeof(struct reap_entry) == 16, "reap_entry");

#endif
