/* SPDX-License-Identifier: Apache-2.0 */
/* What src/fs puts into blocks: inodes, volume records, directory pages.  See docs/format.md. */
#ifndef FS_FORMAT_H
#define FS_FORMAT_H

#include <stdint.h>
#include "pool/format.h"

#define INODE_SIZE 256
#define INODES_PER_BLOCK 16
#define INODE_INLINE 72
#define INO_ROOT 1			/* every volume's root directory */
#define INO_ORPHANS 2			/* hidden directory of files without a name */
#define INO_FIRST 3

struct inode {
	uint8_t type;			/*   0  enum fs_type; 0: free */
	uint8_t depth;			/*   1  of the block tree */
	uint16_t mode;			/*   2 */
	uint32_t nlink;			/*   4 */
	uint32_t uid, gid;		/*   8 */
	uint32_t project;		/*  16  whose quota it counts for (struct dir_quota); 0: none */
	uint32_t flags;			/*  20 */
	uint64_t size;			/*  24 */
	uint64_t mapped;		/*  32  leaves that are not holes */
	int64_t atime, mtime, ctime, btime; /* 40  nanoseconds since 1970 */
	uint64_t generation;		/*  72  event that created it */
	uint64_t change;		/*  80  event that last changed it */
	uint64_t root;			/*  88 */
	uint64_t xattr_root;		/*  96 */
	uint64_t origin_ino;		/* 104  what it was cloned from */
	uint64_t origin_generation;	/* 112 */
	uint32_t origin_volume;		/* 120 */
	uint32_t rdev_major, rdev_minor;/* 124 */
	uint8_t xattr_depth;		/* 132 */
	uint8_t xattr_blocks;		/* 133  leaves of that tree */
	uint8_t reserved[2];
	uint64_t verifier;		/* 136  of an exclusive create */
	uint64_t parent;		/* 144  directories: ".." */
	uint64_t entries;		/* 152  directories: names in it; free inodes: the next free one */
	uint64_t dir_pages;		/* 160  directories: pages in use */
	uint64_t dir_free;		/* 168  directories: first free page + 1, 0: none */
	uint8_t dir_levels;		/* 176  directories: levels of the B+tree; page 0 is its root */
	uint8_t reserved2[3];
	uint32_t project_dir;		/* 180  inode of the directory with that quota */
	uint8_t inline_data[INODE_INLINE]; /* 184  short symlink targets; directories: struct dir_quota */
};
_Static_assert(sizeof(struct inode) == INODE_SIZE, "inode");
_Static_assert(__builtin_offsetof(struct inode, size) == 24, "inode");
_Static_assert(__builtin_offsetof(struct inode, root) == 88, "inode");
_Static_assert(__builtin_offsetof(struct inode, xattr_blocks) == 133, "inode");
_Static_assert(__builtin_offsetof(struct inode, verifier) == 136, "inode");
_Static_assert(__builtin_offsetof(struct inode, project_dir) == 180, "inode");
_Static_assert(__builtin_offsetof(struct inode, inline_data) == 184, "inode");

/*
 * A directory's quota, for itself and all that is below it: in its inline_data.  All of these inodes have
 * its PROJECT, a number that the volume never gives out again; what has the number of a quota that is no
 * more counts for none.  Those of a volume are a list.
 */
struct dir_quota {
	uint32_t project;		/*  0  0: it has none */
	uint32_t prev, next;		/*  4  inodes of others with quotas; 0: none */
	uint32_t warned;		/* 12  1: said that USED is above SOFT */
	uint64_t limit;			/* 16  blocks; 0: none */
	uint64_t soft;			/* 24 */
	uint64_t used;			/* 32  sum of mapped and xattr_blocks over its inodes */
	uint64_t files;			/* 40  its inodes */
};
_Static_assert(sizeof(struct dir_quota) == 48, "dir_quota");
_Static_assert(__builtin_offsetof(struct dir_quota, limit) == 16, "dir_quota");

/*
 * Extended attributes: a head and entries without gaps, in the order in which they came about, over
 * the leaves of a tree of its own.  Each entry is followed by its name, its value and zeros up to the
 * next multiple of 8; what is behind the last is zero.
 */
#define XATTR_MAGIC 0x54415850		/* "PXAT" */
#define XATTR_BLOCKS_MAX 17
struct xattr_head {
	uint32_t magic;			/*  0 */
	uint32_t count;			/*  4  entries; at least one */
	uint32_t bytes;			/*  8  head and entries */
	uint32_t reserved;
};
struct xattr_entry {
	uint64_t cookie;		/*  0  event that created it */
	uint32_t value_len;		/*  8 */
	uint8_t name_len;		/* 12 */
	uint8_t reserved[3];
	char name[];			/* 16 */
};
_Static_assert(sizeof(struct xattr_head) == 16, "xattr_head");
_Static_assert(__builtin_offsetof(struct xattr_entry, name) == 16, "xattr_entry");

#define VOLUME_SIZE 2048
#define VOLUMES_PER_BLOCK 2
enum volume_state { VOLUME_FREE = 0, VOLUME_LIVE = 1, VOLUME_SNAPSHOT = 2, VOLUME_SYSTEM = 3 };
#define VOLUME_SYSTEM_NAME ".system"	/* of the one in that state; no name of any other */
enum { METER_ON = 1, METER_STALE = 2 };	/* HELD is kept; it was never counted, or isn't right any more */
#define METER_MAX (1ll << 52)		/* of HELD, either way */
struct volume {
	uint32_t state;			/*    0  enum volume_state */
	uint32_t id;			/*    4  its place in the table + 1; never used again */
	uint8_t uuid[16];		/*    8 */
	uint8_t hash_key[16];		/*   24  SipHash key of its directories */
	uint64_t fsid;			/*   40  event that created it */
	int64_t created;		/*   48 */
	uint64_t inodes_root;		/*   56  the inode file */
	uint8_t inodes_depth;		/*   64 */
	uint8_t dedup;			/*   65  1: what is written is compared with what there is */
	uint8_t reserved[6];
	uint64_t next_ino;		/*   72  inodes from here on were never used */
	uint64_t free_ino;		/*   80  first of the free list, 0: none */
	uint64_t files;			/*   88  inodes in use */
	uint64_t mapped;		/*   96  sum over its inodes */
	uint64_t quota;			/*  104  limit of it, 0: none */
	uint32_t parent;		/*  112  snapshots: id of their volume */
	uint32_t reserved2;
	uint64_t origin_fsid;		/*  120  what it was cloned from */
	uint64_t restored;		/*  128  event of the last restore, or of the cloning: nothing in
					 *       it counts as older than that */
	uint64_t snapshots_changed;	/*  136  event of the last change to its list of snapshots */
	int64_t snapshots_time;		/*  144 */
	uint64_t soft;			/*  152  above so many mapped blocks, people are warned; 0: none */
	uint64_t reserve;		/*  160  blocks that nobody else may take; 0: none */
	uint64_t charged;		/*  168  of these it has taken so many */
	uint32_t quota_dir;		/*  176  first of the list of directories with quotas; 0: none */
	uint32_t quota_dirs;		/*  180  how many there are */
	uint32_t last_project;		/*  184  the last number that one was given */
	uint32_t void_projects;		/*  188  numbers up to this one mean nothing any more */
	uint32_t warned;		/*  192  1: said that it is above SOFT */
	uint32_t meter;			/*  196  METER_ON, METER_STALE */
	uint64_t physical;		/*  200  it may hold so many blocks, with its snapshots; 0: no limit */
	int64_t held;			/*  208  so many it holds; below 0: others had left it something */
	uint8_t reserved3[40];		/*  216 */
	char name[256];			/*  256 */
	char exports[1024];		/*  512 */
	char schedule[128];		/* 1536  of snapshots: text of the management layer's */
	uint8_t reserved4[384];		/* 1664 */
};
_Static_assert(sizeof(struct volume) == VOLUME_SIZE, "volume");
_Static_assert(__builtin_offsetof(struct volume, restored) == 128, "volume");
_Static_assert(__builtin_offsetof(struct volume, quota_dir) == 176, "volume");
_Static_assert(__builtin_offsetof(struct volume, physical) == 200, "volume");
_Static_assert(__builtin_offsetof(struct volume, name) == 256, "volume");
_Static_assert(__builtin_offsetof(struct volume, exports) == 512, "volume");

/*
 * Directory pages: a B+tree over the pages of the directory's own file, keyed by a 63-bit key
 * made of a keyed hash of the name (upper 55 bits) and a number that tells names of equal hash
 * apart (lower 8).  The key is the readdir cookie; 0 to 2 are never used.
 */
#define DIR_MAGIC 0x52494450		/* "PDIR" */
#define DIR_LEVELS_MAX 8
#define DIR_LEVEL_FREE 0xff		/* level of a page in the free list */
struct dir_page {
	uint32_t magic;			/*  0 */
	uint8_t level;			/*  4  0: leaf */
	uint8_t reserved;
	uint16_t count;			/*  6  entries */
	uint16_t free_start;		/*  8  leaf: first unused byte after the entries */
	uint16_t reserved2[3];
	uint64_t next_free;		/* 16  free pages: next one + 1 */
	uint64_t reserved3;
	uint8_t body[BLOCK_SIZE - 32];	/* 32 */
};
_Static_assert(sizeof(struct dir_page) == BLOCK_SIZE, "dir_page");
struct dir_index { uint64_t key, page; };	/* inner pages: sorted; first key is stored as 0 */
#define DIR_FANOUT ((BLOCK_SIZE - 32) / 16)
struct dir_item {			/* leaf pages: sorted by key, each padded to 8 bytes */
	uint64_t key;			/*  0 */
	uint64_t ino;			/*  8 */
	uint64_t generation;		/* 16 */
	uint8_t type;			/* 24 */
	uint8_t name_len;		/* 25 */
	char name[];			/* 26 */
};
_Static_assert(__builtin_offsetof(struct dir_page, free_start) == 8, "dir_page");
_Static_assert(__builtin_offsetof(struct dir_page, next_free) == 16, "dir_page");
_Static_assert(__builtin_offsetof(struct dir_page, body) == 32, "dir_page");
_Static_assert(sizeof(struct dir_index) == 16, "dir_index");
_Static_assert(__builtin_offsetof(struct dir_item, type) == 24, "dir_item");
_Static_assert(__builtin_offsetof(struct dir_item, name) == 26, "dir_item");

#endif
