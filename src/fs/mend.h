/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of repairs: mend.c has the rounds and the counts, mend_fs.c what stands in volumes, mend_tree.c
 * index blocks, mend_reap.c the reap list, mend_dir.c directories, mend_inode.c inodes in unsound blocks.
 */
#ifndef FS_MEND_H
#define FS_MEND_H

#include "fs/check_int.h"
#include "fs/fs_int.h"

#define LOST_FOUND "lost+found"

struct moved { uint64_t from, to; };	/* a block, and the copy that is right */

struct mend {
	struct dev *dev;
	const struct fs_check_opts *o;
	void *arg;
	struct check *c;		/* of this round */
	struct pool *pool;		/* while it is open, or is being opened */
	struct fs *fs;			/* once it is open */
	uint64_t done, failed;		/* in this round */
	uint64_t repairs, findings;	/* in all; of the first check */
	bool cut;			/* the log was cut off */
	bool unlogged;			/* something was changed that no checkpoint has */
	bool verified;			/* all content was, and only these blocks were bad: */
	uint64_t *bad, nbad, bad_cap;	/* and these counts were raised */
	bool opened;			/* the pool, in this round: it may be another now */
	struct moved *moved;		/* in this round */
	uint64_t nmoved, moved_cap;
	bool moved_sorted;
	char note[400];			/* why it can't be opened for writing; empty: it can */
	char **lines;			/* what the last check but the first found */
	uint64_t nlines, lines_cap;
};

/* ---- mend.c ---- */

/* Not only this one thing can't be done. */
bool mend_is_final(int err);

/* ---- mend_fs.c ---- */

/* Sets F right in the opened pool.  -ENOENT, -ESTALE, -EEXIST, ...: that can't be done. */
int mend_one(struct mend *m, struct fix *f);
/* What volumes hold is no more what was charged to them: it is to be counted. */
int mend_meters(struct mend *m);
/* Runs FN as a transaction that is not logged. */
int mend_run(struct mend *m, int (*fn)(struct txn *t, void *arg), void *arg);
/* The record of a volume or a snapshot, owned: what is set right in one is no change of what it shows. */
int mend_record_own(struct txn *t, uint32_t id, struct volume **ret);

/* ---- mend_dir.c ---- */

/* Makes the directory's tree anew.  F says then how many entries it has (value), and should have
 * (generation). */
int mend_dir(struct mend *m, struct fix *f);

/* ---- mend_inode.c ---- */

/* As inode_get() and inode_own(), of any generation, in a block that need not be sound. */
int mend_inode_get(struct txn *t, const struct volume *v, uint64_t ino, struct inode **ret);
int mend_inode_own(struct txn *t, struct volume *v, uint64_t ino, struct inode **ret);
/* Extended attributes: they go, or their number of blocks is set right. */
int mend_xattr(struct mend *m, struct fix *f);
/* As tree_drop() of a whole TREE_FILE, whatever it is. */
int mend_drop(struct txn *t, uint64_t root, unsigned depth);

/* ---- mend_reap.c ---- */

/* Writes the list anew without the entries that lead to the blocks of the N fixes from F on. */
int mend_reap(struct mend *m, const struct fix *f, uint64_t n, uint64_t *ret_kept, uint64_t *ret_entries);

/* ---- mend_tree.c ---- */

/* PTR leads to a block that can be in use. */
bool mend_leads(struct pool *p, uint64_t ptr);

/* As txn_own(), for a block that is not sound, since it is to be made so.  Pointers in it that lead out of
 * the pool count for nothing. */
int mend_own(struct txn *t, uint64_t *ptr, uint8_t level, uint8_t kind, struct block **ret);
/* A slot of an index block of level 2 that says a wrong number of mapped blocks, and the other ways to that
 * block: they then lead to its copy. */
int mend_slot(struct mend *m, const struct fix *f);
int mend_relink(struct mend *m, const struct fix *f);

#endif
