/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the checker (fs_check() of fs.h).  It shares with the pool that it checks only the
 * formats, the choice of the superblock and the verifiers of a directory page and of attributes; it trusts nothing
 * that it reads, and changes nothing.
 *
 *     check.c         superblocks, order of the passes, findings
 *     check_read.c    cached reads of metadata; is a block what the table says?
 *     check_table.c   directory pages, summaries, table pages; free counts and content, by address
 *     check_tree.c    walks block trees: finds all pointers, verifies index blocks
 *     check_each.c    the leaves of one tree
 *     check_node.c    which blocks were walked, and what was found below them
 *     check_count.c   the pointers that were found against the counts in the table
 *     check_bad.c     what is wrong with blocks, until it is said
 *     check_volume.c  volume records, inodes, free inodes, links, reachability
 *     check_dir.c     directories
 *     check_xattr.c   extended attributes
 *     check_quota.c   quotas of directories
 *     check_path.c    from an inode back to its path
 *     check_log.c     the chain of log records
 *     check_fix.c     what a repair can set right, as it is found (mend.c does it)
 *
 * Passes: superblocks; directory pages and summaries; volumes (names first, so that findings
 * can say paths); trees (every pointer summed up, every index block walked once); the table in
 * address order, with the content of every block; where sums differ, trees once more, for a
 * window of those places at a time; owners of the blocks found bad; the log.
 *
 * Memory doesn't grow with the data: of references there are sums over groups of blocks, as many as
 * there is memory for, and exact counts only of a window (check_count.c).  For each block of metadata
 * there are one or two bits (check_node.c), for each inode in use a struct info.
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
#include "fs/seen.h"
#include "pool/dump.h"
#include "pool/pool.h"

#define FINDINGS_MAX 1000		/* lines; after them only a count */
#define FRAMES 48			/* reap list, volumes, inodes, file: 7 each; a path */

struct check_zone {
	struct dir_entry dir;		/* zeros with slot NONE if its directory page is bad */
	struct summary_entry *pages;	/* NULL: none, or unreadable */
	bool bad;			/* dir or summary unreadable: entries unknown */
};

/* What a subtree holds. */
struct sub {
	uint64_t mapped, last;		/* leaves; index of the last, counted from the subtree's first */
	bool whole;			/* everything below could be read */
};

/* Blocks that were walked: index blocks, and leaves with pointers in them. */
struct memo { uint64_t block; struct sub sub; };	/* block 0: empty bucket */
struct nodes {
	struct seen walked;		/* all; index blocks of files at level 1 in no other set */
	struct seen as[TREE_KINDS][TREE_DEPTH_MAX + 1];
	struct seen bad;		/* said: cannot be read, or isn't what the table says */
	struct seen partial;		/* being reaped: only some of its children count */
	struct seen miscounted;		/* index blocks of level 2 that are to be set right */
	struct seen again;		/* the present walk, if it isn't the first, was here */
	struct memo *memos;		/* of what may be met again, above level 1 */
	uint64_t nmemos, memos_cap;
	uint64_t *low;			/* the same at level 1, packed: a cache */
	unsigned low_bits;		/* it has 1 << low_bits of them */
};

/* Pointers to some blocks: as what was walked there, and as data. */
struct sum { uint64_t node, data; };
struct pointers { uint32_t node, data; };
struct counts {
	uint64_t key;			/* of the sums */
	unsigned shift;			/* a group is 1 << shift blocks */
	uint64_t ngroups;
	struct sum *sums;		/* of groups; first walk */
	uint64_t *odd, nodd, odd_cap;	/* groups whose sums differ from the table's, in order */
	uint32_t *place;		/* of a group in the window, + 1; 0: not in it */
	struct pointers *window;
	uint64_t window_groups;		/* room for */
};

/* The first walk looks at everything; the others are quiet, and enter the same blocks. */
enum walk_for { WALK_FIRST, WALK_COUNT, WALK_OWNERS };

/* Where a pointer was found, for people. */
struct where {
	uint32_t volume;		/* index in check.volumes + 1; 0: none */
	bool reap;
	bool shared;			/* by other files: something above has a count over 1 */
	uint64_t entry;			/* of the reap list, + 1; 0: the list itself */
	uint64_t head;			/* the block that this entry leads to */
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
	uint32_t project, project_dir;
	uint32_t nlink, names, subdirs;
	uint8_t type, reach;
	bool orphan;			/* named by the directory of orphans */
};
struct free_ino { uint64_t ino, next; };

struct quota_sum { uint32_t project, project_dir; uint64_t used, files; };
struct quota_dir { uint64_t ino; uint32_t project, project_dir; struct dir_quota q; };

struct check_volume {
	struct volume rec;
	struct quota_sum *sums;		/* sorted by both */
	uint64_t nsums, sums_cap;
	struct quota_dir *quotas;	/* directories that have one, sorted by ino */
	uint64_t nquotas, quotas_cap;
	uint64_t place;			/* in the volume table */
	struct info *infos;		/* sorted by ino */
	uint64_t ninfos, infos_cap;
	struct free_ino *free;		/* sorted */
	uint64_t nfree, free_cap;
	uint64_t mapped;
	bool incomplete;		/* something could not be read */
	bool names_incomplete;		/* a directory could not be read */
	bool infos_kept;		/* infos are there */
};

/*
 * What a repair can set right, in the order in which it does: what may be given out first, then what
 * stands in volume records and inodes, then names.
 */
enum fix_kind {
	FIX_OPEN,			/* opening the pool does */
	FIX_COUNT,			/* block INO has VALUE pointers */
	FIX_PAGE,			/* the free count of the table page of block INO */
	FIX_ZONE,			/* the directory entry of zone INO */
	FIX_REAP,			/* the reap list; its entry that leads to block INO, if there is one */
	FIX_SLOT,			/* of a tree of kind TYPE: how many blocks are mapped below the slot
					 * for leaf VALUE in the index block GENERATION of level 2 */
	FIX_RELINK,			/* another way, to leaf VALUE, to such a block */
	FIX_DIR,			/* the tree of directory INO */
	FIX_XATTR,			/* the extended attributes of INO can't be used */
	FIX_XATTR_BLOCKS,		/* they take VALUE blocks */
	FIX_LOG,			/* the log is damaged: to be cut off there */
	FIX_REPLAYED,			/* those above need not wait for the log to be replayed */
	FIX_FREE_LIST,
	FIX_NEXT_INO,
	FIX_FILES,
	FIX_VOLUME_MAPPED,
	FIX_NLINK,
	FIX_MAPPED,
	FIX_ENTRIES,
	FIX_DIR_PAGES,
	FIX_PARENT,
	FIX_PROJECT,			/* INO counts for the quota of project VALUE, of inode GENERATION */
	FIX_QUOTA,			/* of directory INO: VALUE blocks used, by GENERATION inodes */
	FIX_QUOTA_LIST,			/* the list of directories with quotas is empty, until */
	FIX_QUOTA_LINK,			/* directory INO is in it */
	FIX_ENTRY_TYPE,			/* of NAME in directory INO, by the inode VALUE, GENERATION */
	FIX_DROP_NAME,			/* NAME in directory INO leads nowhere */
	FIX_ORPHAN_NAMED,		/* an orphan that has VALUE names is none */
	FIX_LOST,			/* no name leads to INO, GENERATION, of TYPE */
	FIX_KINDS
};
struct fix {
	uint8_t kind, type;
	uint32_t volume;		/* its id: place in the volume table + 1 */
	uint64_t ino, value, generation;
	char *name;			/* the list's */
	uint8_t name_len;
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
	bool quiet;			/* later walks: everything was said already */

	uint64_t memory;		/* bytes that it may use, about */
	struct superblock sb;
	uint64_t nzones;
	struct check_zone *zones;
	bool counts_incomplete;		/* a subtree could not be walked */

	enum walk_for walk;
	struct nodes nodes;
	struct counts counts;

	struct check_volume *volumes;
	uint64_t nvolumes, volumes_cap;
	uint64_t infos_kept;		/* in memory, of all volumes that were checked */
	uint64_t infos_again;		/* the volume whose infos were found again, + 1 */

	struct bad_block *bad;		/* in address order, after bad_sort() */
	uint64_t nbad, bad_cap, bad_dropped;

	/* The content of data was verified before, and only these blocks, sorted, were bad. */
	bool skip_content;
	const uint64_t *recheck;
	uint64_t nrecheck;

	bool fix, drop;			/* fixes are wanted; also those that lose something */
	struct fix *fixes;
	uint64_t nfixes, fixes_cap;

	uint8_t *frames;		/* FRAMES blocks for the recursion */
	unsigned nframes;
	struct line *lines;		/* the read cache: 1 << lines_bits of them */
	unsigned lines_bits;
	uint8_t *spare;			/* a block beside it */
	uint8_t *run;			/* CHECK_RUN blocks for sequential reads */
};

/* ---- check.c ---- */
void finding(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A name for people: quoted, without control characters; in one of a few static buffers. */
const char *quoted(const char *s, size_t len);
/* "volume 'v'", "snapshot 'v@s'"; one of a few static buffers. */
const char *volume_text(struct check *c, const struct check_volume *v);
/* "volume 'v', inode 12 (/a/b)"; one of a few static buffers. */
const char *where_text(struct check *c, const struct where *w);
/* Makes room for one more of SIZE bytes; false: out of memory (c->err is set). */
bool grow(struct check *c, void *array, uint64_t n, uint64_t *cap, size_t size);
void *frame_push(struct check *c);
void frame_pop(struct check *c);

/* ---- check_read.c ---- */
#define LINE_BLOCKS 16
#define LINES_BITS_MAX 9		/* 32 MiB */
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
/* The entries of the table page of BLOCK, until the next read; NULL: they cannot be known. */
const struct table_entry *table_entries(struct check *c, uint64_t block);
/* What the table says; false if that cannot be known. */
bool table_lookup(struct check *c, uint64_t block, struct table_entry *ret);
/* Reads BLOCK into BUF if it can be pointed at and has the content that the table says; else
 * NULL-terminated reason in *ret_why. */
bool read_meta(struct check *c, uint64_t block, void *buf, const char **ret_why);
/* The same, and its count in the table (untouched on failure). */
bool read_meta_refs(struct check *c, uint64_t block, void *buf, const char **ret_why, uint32_t *ret_refs);

/* ---- check_table.c ---- */
void table_pass(struct check *c);		/* directory pages and summaries */
void table_compare(struct check *c);		/* everything, in address order */
void table_release(struct check *c);

/* ---- check_count.c ---- */
int counts_init(struct check *c);
void counts_release(struct check *c);
/* Adds a pointer to BLOCK; NODE: as what was walked there. */
void counts_pointer(struct check *c, uint64_t block, bool node);
/* After the first walk, in address order: the table says REFS of BLOCK; of these it cannot be read. */
void counts_table(struct check *c, uint64_t block, uint32_t refs);
void counts_unknown(struct check *c, uint64_t first, uint64_t nblocks);
void counts_pass(struct check *c);		/* after table_compare(): finds wrong counts */

/* ---- check_bad.c ---- */
void bad_count(struct check *c, uint64_t block, uint32_t refs, uint32_t pointers);
void bad_content(struct check *c, uint64_t block, uint32_t refs, int error);
void bad_sort(struct check *c);			/* none is added after it */
struct bad_block *bad_find(struct check *c, uint64_t block);
void bad_report(struct check *c);		/* after owner_pass() */

/* ---- check_node.c ---- */
int nodes_init(struct check *c);
void nodes_release(struct check *c);
uint64_t tree_span(uint8_t level);		/* leaves below a block of LEVEL */
/* "index block of a file, level 1"; a static buffer. */
const char *node_text(uint8_t level, uint8_t kind);
void node_add(struct check *c, uint64_t block, uint8_t level, uint8_t kind);
bool node_walked(const struct check *c, uint64_t block);
/* It was walked, and as this. */
bool node_is(const struct check *c, uint64_t block, uint8_t level, uint8_t kind);
void node_type(const struct check *c, uint64_t block, uint8_t *ret_level, uint8_t *ret_kind);
/* What was found below a node with count REFS, for whoever meets it again. */
void node_remember(struct check *c, uint64_t block, uint8_t level, uint32_t refs, const struct sub *sub);
void node_recall(struct check *c, uint64_t block, uint8_t level, uint8_t kind, struct sub *ret);
void mark(struct check *c, struct seen *set, uint64_t block);
/* False if BLOCK was in it, or there is no memory. */
bool mark_first(struct check *c, struct seen *set, uint64_t block);

/* ---- check_tree.c ---- */
void tree_pass(struct check *c);		/* finds all pointers */
void tree_recount(struct check *c);		/* and again, for counts_pointer() only */
void owner_pass(struct check *c);		/* finds whose the bad blocks are */

/* ---- check_each.c ---- */
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
void info_add(struct check *c, struct check_volume *v, uint64_t ino, uint64_t block, const struct inode *i);
/* A copy of an inode in use; false if it cannot be read any more. */
bool info_inode(struct check *c, const struct info *i, struct inode *ret);
/* What of an inode the walk of its tree has to agree with. */
void inode_check_tree(struct check *c, const struct where *w, const struct inode *ino,
		      const struct sub *sum);

/* ---- check_dir.c ---- */
void dir_check(struct check *c, struct check_volume *v, struct info *dir);

/* ---- check_path.c ---- */
/* " (/a/b)", as far as names were found; empty if there is none. */
void path_text(struct check *c, struct check_volume *v, uint64_t ino, char *ret, size_t len);
/* V was checked: its infos may be given back. */
void infos_checked(struct check *c, struct check_volume *v);

/* ---- check_xattr.c ---- */
void xattr_check(struct check *c, const struct where *w, const struct inode *i);

/* ---- check_quota.c ---- */
void quota_note(struct check *c, struct check_volume *v, uint64_t ino, const struct inode *i);
void quota_name_check(struct check *c, struct check_volume *v, const struct info *i);
void quotas_check(struct check *c, struct check_volume *v);

/* ---- check_fix.c ---- */
/* What was just found can be set right so; the name is copied.  Does nothing in a check alone. */
void fix_add(struct check *c, const struct fix *f);
void fix_ino(struct check *c, const struct where *w, enum fix_kind kind, uint64_t value);
void fix_volume(struct check *c, const struct check_volume *v, enum fix_kind kind, uint64_t value);
/* FIX_SLOT, FIX_RELINK: of the index block BLOCK of a tree of TREE_KIND. */
void fix_index(struct check *c, const struct where *w, enum fix_kind kind, uint8_t tree_kind, uint64_t block,
	       uint64_t leaf);
void fixes_release(struct check *c);

/* ---- check.c, for mend.c ---- */
/* Checks once; C, zeroed but for what its caller wants, is to be released afterwards. */
int64_t check_run(struct check *c);
/* Only so far that blocks can be read, for dump.c; the same holds for C. */
int check_begin(struct check *c);
void check_release(struct check *c);

/* ---- mend.c ---- */
int64_t check_and_mend(struct dev *d, const struct fs_check_opts *o,
		       void (*report)(void *arg, const char *line), void *arg,
		       struct fs_check_stats *ret_stats);

/* ---- check_log.c ---- */
void log_check(struct check *c);
void log_dump(struct check *c, const struct dump *d);

#endif
