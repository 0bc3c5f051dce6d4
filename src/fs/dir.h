/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories: B+trees over the pages of the directory's own file (format.h).  All of these
 * are called in load and in apply passes alike (pool/pool.h); in a load pass nothing is changed,
 * what the apply pass will touch is brought in, and the worst case is added to the
 * transaction's needs.  -ERESTART_PASS and errors of reading come through from any of them.
 *
 * One operation may do this to one directory, in this order, in both passes:
 *	dir_init()		or nothing
 *	dir_insert() once, or dir_insert_prepare() for all and, in the apply pass, dir_insert() each
 *	dir_replace() any number of times
 *	dir_remove() once
 * The order matters since a load pass sees none of the changes before it: inserting first can only
 * make less of what a removal has prepared for happen; a removal may free the very page that an
 * insertion has prepared.  So a rename within a directory inserts (or replaces), then removes.
 *
 * The functions keep inode.size, entries and dir_*; times and links are the caller's.
 */
#ifndef FS_DIR_H
#define FS_DIR_H

#include "fs/fs.h"
#include "fs/format.h"
#include "pool/pool.h"

struct dir_found { uint64_t key, ino, generation; uint8_t type; };

/* A directory as the walk has it: the inode in its (owned, when modifying) block. */
struct dir {
	struct txn *t;
	struct inode *inode;
	const uint8_t *hash_key;	/* 16 bytes, the volume's */
	uint64_t hint;			/* for the allocator */
	uint64_t fresh;			/* out, of a load pass that inserts: pages that it may get, at most */
};

/* 0, -ENOENT, -ERESTART_PASS, -EDAMAGED. */
int dir_lookup(struct dir *d, struct fs_name name, struct dir_found *ret);

/*
 * Adds NAME.  All errors come in the load pass: -EEXIST, -EINVAL (not a name), -ENAMETOOLONG,
 * -ENOSPC when 256 names of one hash exist, -EFBIG when the directory is full, -EDAMAGED.
 * No need to look the name up before.  At most one dir_insert() to a directory in a load pass.
 */
int dir_insert(struct dir *d, struct fs_name name, uint64_t ino, uint64_t generation, uint8_t type);

/*
 * Load pass of an operation that inserts N names: instead of dir_insert() for each, this once.
 * Needs are counted for all together, each page once.  In the apply pass it does nothing, and
 * the names must be inserted in the order of NAMES, before any removal.  Errors as dir_insert(),
 * also -EEXIST for a name given twice, and -ENOMEM; *ret_bad (may be NULL) is set to the lowest
 * index of a name that exists or that isn't one, for -EEXIST, -EINVAL and -ENAMETOOLONG.
 */
int dir_insert_prepare(struct dir *d, const struct fs_name *names, uint32_t n, uint32_t *ret_bad);

/* Changes what an existing name leads to. -ENOENT. */
int dir_replace(struct dir *d, struct fs_name name, uint64_t ino, uint64_t generation, uint8_t type);

/* -ENOENT.  When the last name goes, the directory's blocks go too (tree_truncate()). */
int dir_remove(struct dir *d, struct fs_name name);

/* Makes the (empty) tree of a new directory, whose block tree is empty (root 0, in the load
 * pass too). */
int dir_init(struct dir *d);

/*
 * Calls FN for entries with key > AFTER in key order until it returns non-zero (returned then)
 * or the end is reached (0).  NAME isn't NUL-terminated.  FN may have been called when
 * -ERESTART_PASS or another error is returned: each pass starts over.
 */
typedef int (*dir_fn)(void *arg, const struct dir_found *e, struct fs_name name);
int dir_iterate(struct dir *d, uint64_t after, dir_fn fn, void *arg);

/* Verifies a page read from the device: NULL if it is sound, else what is wrong. */
const char *dir_page_verify(const void *page);

#endif
