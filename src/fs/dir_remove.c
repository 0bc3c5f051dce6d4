/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories: names are removed.
 *
 * A leaf that becomes empty is taken out of its parent and freed; so is a parent that becomes
 * empty.  A root with one child left takes over that child's content, as often as that is so.
 * Pages that are merely less full are left alone.  Freed pages wait in the free list; when the last
 * name goes, all blocks of the directory go with it and it starts anew with one page.
 *
 * The load pass follows the same rules on the tree as it is.  Names that are inserted earlier in the
 * same operation only make less of it happen: they fill pages, and halves of a split are far
 * from empty.  (The reverse order would not do: see dir.h.)
 */
#include <assert.h>
#include <string.h>
#include "base/err.h"
#include "fs/dir_int.h"
#include "tree/tree.h"

/* Drops every block of the directory, and makes it an empty one. */
static int start_anew(struct dir *d)
{
	struct inode *ino = d->inode, empty = { 0 };
	struct tree_root root = { .ptr = ino->root, .depth = ino->depth };
	struct dir anew = *d;
	uint64_t mapped = ino->mapped;
	int err = tree_truncate(d->t, &root, TREE_FILE, 0, &mapped);

	if (err)
		return err;
	if (d->t->apply) {
		ino->root = root.ptr;
		ino->depth = root.depth;
		ino->mapped = mapped;
	} else {
		anew.inode = &empty;	/* what it will be: page 0 is made, not copied */
	}
	return dir_init(&anew);
}

/* The other child of a root with two: own it, and what would move up after it. */
static int prepare_collapse(struct dir *d, struct dir_path *path)
{
	unsigned level = path->levels - 1;
	int err;

	path->step[level].slot ^= 1;
	for (;;) {
		path_child(path, level--);
		err = page_get_own(d, &path->step[level], level);
		if (err || !level || path->step[level].page->count > 1)
			return err;
		path->step[level].slot = 0;
	}
}

static int remove_prepare(struct dir *d, struct dir_path *path)
{
	unsigned top = path->levels - 1, level = 0;
	int err = page_get_own(d, &path->step[0], 0);

	if (!err && !d->inode->entries)
		err = -EDAMAGED;
	while (!err && level < top && path->step[level].page->count == 1) {
		level++;
		err = page_get_own(d, &path->step[level], level);
	}
	if (err)
		return err;
	if (level && level == top && path->step[top].page->count == 2)
		return prepare_collapse(d, path);
	if (!top && path->step[0].page->count == 1 && d->inode->dir_pages > 1)
		return start_anew(d);
	return 0;
}

static void free_page(struct dir *d, uint64_t n)
{
	struct dir_page *p = page_own(d, n);

	page_init(p, DIR_LEVEL_FREE);
	p->next_free = d->inode->dir_free;
	d->inode->dir_free = n + 1;
}

static void collapse_root(struct dir *d)
{
	struct dir_page *root = page_own(d, 0);

	while (root->level && root->count == 1) {
		uint64_t n = page_index(root)->page;

		memcpy(root, page_own(d, n), sizeof(*root));
		free_page(d, n);
		d->inode->dir_levels--;
	}
}

/* The leaf of the path is empty and not the root. */
static void remove_leaf(struct dir *d, struct dir_path *path)
{
	unsigned level = 0;
	struct dir_page *parent;

	do {
		free_page(d, path->step[level].n);
		level++;
		parent = page_own(d, path->step[level].n);
		page_remove_child(parent, path->step[level].slot);
	} while (!parent->count);
	if (level + 1 == path->levels)
		collapse_root(d);
}

int dir_remove(struct dir *d, struct fs_name name)
{
	struct dir_path path;
	struct dir_item *it;
	struct dir_page *leaf;
	int err = path_find(d, name, &path, &it);

	if (err)
		return err;
	if (!d->t->apply)
		return remove_prepare(d, &path);
	if (path.levels == 1 && path.step[0].page->count == 1 && d->inode->dir_pages > 1)
		return start_anew(d);
	leaf = page_own(d, path.step[0].n);
	page_remove_item(leaf, path.off);
	d->inode->entries--;
	if (!leaf->count && path.levels > 1)
		remove_leaf(d, &path);
	return 0;
}
