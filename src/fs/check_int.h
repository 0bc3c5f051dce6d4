/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the checker (fs_check() of fs.h).  It shares with the pool that it checks only the
 * formats, the choice of the superblock and the verifiers of a directory page and of attributes; it trusts nothing
 * that it reads, and changes nothing.
 *
 *     check.c         superblocks, order of the passes, findings
 *     check_read.c    cached reads of metadata; is a block what the table says?
 *     check_table.c   directory pages, summaries, table pages; counts and content, by address
 *     check_tree.c    walks block trees: counts pointers, verifies index blocks
 *     check_volume.c  volume records, inodes, free inodes, links, reachability
 *     check_dir.c     directories
 *     check_xattr.c   extended attributes
 *     check_log.c     the chain of log records
 *
 * Passes: superblocks; directory pages and summaries; volumes (names first, so that findings
 * can say paths); trees (every pointer counted, every index block walked once); the table in
 * address order, with the content of every block; owners of the blocks found bad; the log.
 *
 * A loop of pointers cannot hang it: in a walk, the level falls with every step and a block is
 * walked once; in an enumeration, a block is entered once.  What cannot be read leaves things
 * uncounted: then what follows from that is one finding, not thousands.
 */
#ifndef FS_CHECK_INT_H
#define FS_CHECK_INT_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "dev/dev.h"
#include "fs/file.h"
#include "fs/format.h"
#include "fs/fs.h"
#include "pool/pool.h"

#define FINDINGS_MAX 1000		/* lines; after them only a count */
#define FRAMES 48			/* reap list, volumes, inodes, file: 7 each; a path */

struct check_zone {
	struct dir_entry dir;		/* zeros with slot NONE if its directory page is bad */
	struct summary_entry *pages;	/* NULL: none, or unreadable */
	uint32_t *counts;		/* pointers found to each block; NULL: none */
	bool bad;			/* dir or summary unreadable: entries unknown */
};

/* A block that was walked: an index block, or a leaf with pointers in it. */
struct node {
	uint64_t block;			/* 0: empty bucket */
	uint64_t mapped, last;		/* leaves below; index of the last, from the node's first */
	uint32_t refs;			/* pointers to it, as what it is */
	uint8_t level, kind;
	uint8_t partial : 1,		/* being reaped: only some of its children count */
		bad : 1,		/* reported: cannot be read, or isn't what the table says */
		whole : 1,		/* everything below could be read */
		named : 1;		/* the owner pass was here */
};

/* Where a pointer was found, for people. */
struct where {
	uint32_t volume;		/* index in check.volumes + 1; 0: none */
	bool reap;
	bool shared;			/* by other files: something above has a count over 1 */
	uint64_t entry;			/* of the reap list, + 1; 0: the list itself */
	uint64_t ino;			/* 0: the volume's inode file */
	bool xattr;			/* its extended attributes */
	uint64_t base;			/* index of the first leaf of the subtree */
};

/* What is wrong with a block, kept until its owner is known. */
struct bad_block {
	uint64_t block;
	uint32_t count, refs;		/* pointers found; what the table says */
	int error;			/* of the content: -EIO, -EDAMAGED or 0 */
	bool has_owner, leaf;
	struct where owner;
	uint32_t more;			/* further pointers to it */
};

enum { REACH_UNKNOWN, REACH_WALKING, REACH_YES, REACH_NO };
struct info {				/* of an inode in use */
	uint64_t ino, generation, block;
	uint64_t parent;		/* the directory of its (last) name; 0: none */
	uint64_t dotdot;		/* directories: what the inode says */
	uint32_t nlink, names, subdirs;
	uint8_t type, reach;
	bool orphan;			/* named by the directory of orphans */
};
struct free_ino { uint64_t ino, next; };

struct check_volume {
	struct volume rec;
	uint64_t place;			/* in the volume table */
	struct info *infos;		/* sorted by ino */
	uint64_t ninfos, infos_cap;
	struct free_ino *free;		/* sorted */
	uint64_t nfree, free_cap;
	uint64_t mapped;
	bool incomplete;		/* something could not be read */
	bool names_incomplete;		/* a directory could not be read */
};

struct line {				/* of the read cache: LINE_BLOCKS neighbours */
	uint64_t first;
	uint8_t *data;
	bool valid;
};

struct check {
	struct dev *dev;
	void (*report)(void *arg, const char *line);
	void *arg;
	struct fs_check_stats stats;
	uint64_t findings;
	int err;			/* it cannot go on: -ENOMEM */
	bool quiet;			/* owner pass: everything was said already */

	struct superblock sb;
	uint64_t nzones;
	struct check_zone *zones;
	bool counts_incomplete;		/* a subtree could not be walked */

	struct node *nodes;
	uint64_t nodes_used, nodes_cap;

	struct check_volume *volumes;
	uint64_t nvolumes, volumes_cap;

	struct bad_block *bad;		/* in address order */
	uint64_t nbad, bad_cap, bad_dropped;

	uint8_t *frames;		/* FRAMES blocks for the recursion */
	unsigned nframes;
	struct line *lines;		/* the read cache */
	uint8_t *spare;			/* a block beside it */
	uint8_t *run;			/* CHECK_RUN blocks for sequential reads */
};

/* ---- check.c ---- */
void finding(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A name for people: quoted, without control characters; in one of a few static buffers. */
const char *quoted(const char *s, size_t len);
/* "volume 'v', inode 12 (/a/b)"; one of a few static buffers. */
const char *where_text(struct check *c, const struct where *w);
/* Makes room for one more of SIZE bytes; false: out of memory (c->err is set). */
bool grow(struct check *c, void *array, uint64_t n, uint64_t *cap, size_t size);
void *frame_push(struct check *c);
void frame_pop(struct check *c);

/* ---- check_read.c ---- */
#define LINE_BLOCKS 16
#define LINES 512			/* 32 MiB */
#define CHECK_RUN 256			/* blocks in a large sequential read */
int read_init(struct check *c);
void read_release(struct check *c);
/* One block, until the next call; NULL and the error if it cannot be read. */
const void *read_block(struct check *c, uint64_t block, int *ret_error);
/* COUNT (at most CHECK_RUN) blocks into c->run.  errors[i] is what reading that block alone
 * gave, when the whole could not be read; returns true if any is set. */
bool read_run(struct check *c, uint64_t block, uint32_t count, int *errors);
/* Can BLOCK be pointed at: NULL, or why not. */
const char *block_refused(struct check *c, uint64_t block);
/* What the table says; false if that cannot be known. */
bool table_lookup(struct check *c, uint64_t block, struct table_entry *ret);
/* Reads BLOCK into BUF if it can be pointed at and has the content that the table says; else
 * NULL-terminated reason in *ret_why. */
bool read_meta(struct check *c, uint64_t block, void *buf, const char **ret_why);

/* ---- check_table.c ---- */
int table_load(struct check *c);		/* directory pages and summaries */
void table_compare(struct check *c);		/* everything, in address order */
void table_report_bad(struct check *c);		/* after owner_pass() */
void table_release(struct check *c);
void table_count(struct check *c, uint64_t block);	/* one more pointer to it */
struct bad_block *table_bad(struct check *c, uint64_t block);

/* ---- check_tree.c ---- */
void tree_pass(struct check *c);		/* counts all pointers */
void owner_pass(struct check *c);		/* finds whose the bad blocks are */
void tree_release(struct check *c);
struct node *node_find(struct check *c, uint64_t block);
/*
 * Calls FN with the content and block number of every leaf of a tree, in order.  Says nothing
 * about what is wrong, as tree_pass() does, except that a block occurs twice (if W isn't NULL).
 * Returns false if a part could not be read.
 */
typedef void (*leaf_fn)(struct check *c, uint64_t index, uint64_t block, const void *data,
			void *arg);
bool each_leaf(struct check *c, const struct where *w, uint64_t root, unsigned depth, leaf_fn fn,
	       void *arg);
/* The same without reading the leaves: DATA is NULL. */
bool each_leaf_ptr(struct check *c, const struct where *w, uint64_t root, unsigned depth,
		   leaf_fn fn, void *arg);

/* ---- check_volume.c ---- */
void volumes_pass(struct check *c);
void volumes_release(struct check *c);
struct info *info_find(struct check_volume *v, uint64_t ino);
/* A copy of an inode in use; false if it cannot be read any more. */
bool info_inode(struct check *c, const struct info *i, struct inode *ret);
/* What of an inode the walk of its tree has to agree with. */
void inode_check_tree(struct check *c, const struct where *w, const struct inode *ino,
		      const struct node *sum);

/* ---- check_dir.c ---- */
void dir_check(struct check *c, struct check_volume *v, struct info *dir);
/* The name that leads from directory DIR to INO, quoted parts of a path; false: not found. */
bool dir_name_of(struct check *c, struct check_volume *v, uint64_t dir, uint64_t ino, char *buf,
		 size_t len);

/* ---- check_xattr.c ---- */
void xattr_check(struct check *c, const struct where *w, const struct inode *i);

/* ---- check_log.c ---- */
void log_check(struct check *c);

#endif
