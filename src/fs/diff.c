/* SPDX-License-Identifier: Apache-2.0 */
/* See diff.h. */
#include "fs/diff.h"
#include "fs/fs_int.h"
#include "tree/diff.h"

#include <stdlib.h>
#include <string.h>

/* ---- files -------------------------------------------------------------------------------------- */

#define COUNT_MAX 4096			/* leaves in a step that only counts */

struct diff_op { struct fs_req *req; struct fs_diff *d; struct tree_change *changes; unsigned max; };

static int readable(struct txn *t, struct fs_req *req, struct fs_id id, struct fs_attr *attr,
		    struct tree_root *ret)
{
	struct volume *vol;
	struct inode *i;
	int err = object_get(t, id, &vol, &i);

	if (err)
		return err;
	if (i->type != FS_REG)
		return i->type == FS_DIR ? -EISDIR : -EINVAL;
	if (!is_owner(&req->cred, i) && !may(&req->cred, i, MAY_READ))
		return -EACCES;
	attr_fill(attr, vol, id.ino, i);
	*ret = (struct tree_root){ i->root, i->depth };
	return guard_ask(t, req, id, FS_USE_READ);
}

/* The block that PTR leads to; zeros for a hole. */
static int content(struct txn *t, const struct fs *fs, uint64_t ptr, const uint8_t **ret)
{
	struct block *b;
	int err;

	*ret = fs->zeros;
	if (!ptr)
		return 0;
	err = txn_block(t, ptr, &b);
	if (!err)
		*ret = b->data;
	return err;
}

/* Of N changes, those that are none go.  All are brought in first, so that reads go side by side. */
static int compare(struct txn *t, const struct fs *fs, struct tree_change *c, unsigned *n)
{
	unsigned kept = 0;
	int pending = 0;

	for (unsigned i = 0; i < *n; i++) {
		const uint8_t *a, *b;
		int err = content(t, fs, c[i].a, &a), err2 = content(t, fs, c[i].b, &b);

		err = err && err != -ERESTART_PASS ? err : err2 ? err2 : err;
		if (err == -ERESTART_PASS)
			pending = err;
		else if (err)
			return err;
		else if (!pending && memcmp(a, b, BLOCK_SIZE))
			c[kept++] = c[i];
	}
	if (!pending)
		*n = kept;
	return pending;
}

static void add_range(struct fs_diff *d, const struct tree_change *c, uint64_t end)
{
	enum fs_diff_kind kind = !c->a ? FS_DIFF_DATA : !c->b ? FS_DIFF_HOLE : FS_DIFF_CHANGED;
	struct fs_diff_range *last = d->n ? &d->ranges[d->n - 1] : NULL;
	uint64_t at = c->index * BLOCK_SIZE, len = end - at < BLOCK_SIZE ? end - at : BLOCK_SIZE;

	if (at >= end)
		return;
	d->bytes[kind] += len;
	if (d->count)
		return;
	if (last && last->kind == kind && last->offset + last->len == at)
		last->len += len;
	else
		d->ranges[d->n++] = (struct fs_diff_range){ at, len, kind };
}

static int do_diff(struct txn *t, void *arg)
{
	struct diff_op *o = arg;
	struct fs_diff *d = o->d;
	struct tree_root a, b;
	uint64_t next, end;
	unsigned n;
	int err = readable(t, o->req, d->a, &d->a_attr, &a), err2;

	err2 = readable(t, o->req, d->b, &d->b_attr, &b);
	if (err || err2)
		return err && err != -ERESTART_PASS ? err : err2 ? err2 : err;
	err = tree_diff(t, &a, &b, d->next / BLOCK_SIZE, o->max, o->changes, &n, &next);
	if (!err && !d->quick)
		err = compare(t, o->req->fs, o->changes, &n);
	if (err)
		return err;
	d->n = 0;
	memset(d->bytes, 0, sizeof(d->bytes));
	end = d->a_attr.size > d->b_attr.size ? d->a_attr.size : d->b_attr.size;
	for (unsigned i = 0; i < n; i++)
		add_range(d, &o->changes[i], end);
	d->next = next == UINT64_MAX ? next : next * BLOCK_SIZE;
	return 0;
}

int fs_diff(struct fs_req *req, struct fs_diff *d)
{
	struct diff_op o = { .req = req, .d = d, .max = d->quick && d->count ? COUNT_MAX : FS_DIFF_RANGES };
	int err;

	o.changes = malloc(o.max * sizeof(*o.changes));
	err = o.changes ? fs_run(req, SPACE_ORDINARY, false, false, do_diff, &o) : -ENOMEM;
	free(o.changes);
	return err;
}

/* ---- volumes and snapshots ---------------------------------------------------------------------- */

struct vdiff_op { struct fs_req *req; struct fs_vdiff *d; };

static int record_of(struct txn *t, struct fs_id id, struct volume **ret)
{
	return id.snapshot ? snapshot_get(t, id.volume, id.snapshot, ret) : volume_get(t, id.volume, ret);
}

/* In use, and with a name: of what has none, nobody knows anything. */
static const struct inode *named(const struct block *b, uint64_t ino)
{
	const struct inode *i = b ? (const struct inode *)b->data + ino % INODES_PER_BLOCK : NULL;

	return i && i->type != FS_FREE && i->nlink && ino != INO_ORPHANS ? i : NULL;
}

static unsigned what_differs(const struct inode *a, const struct inode *b)
{
	struct inode x = *a, y = *b;
	unsigned what = 0;

	if (x.size != y.size || x.root != y.root || x.depth != y.depth)
		what |= FS_VDIFF_CONTENT;
	if (x.mtime != y.mtime || x.ctime != y.ctime || x.change != y.change)
		what |= FS_VDIFF_TIMES;
	/* What entries there are in a directory is its content, and what lies where a matter of names. */
	if (x.type == FS_DIR) {
		y.parent = x.parent;
		y.nlink = x.nlink;
		y.entries = x.entries;
		y.dir_pages = x.dir_pages;
		y.dir_free = x.dir_free;
		y.dir_levels = x.dir_levels;
		memcpy(y.inline_data, x.inline_data, sizeof(y.inline_data));
	}
	/* Quotas are settings of the volume. */
	y.project = x.project;
	y.project_dir = x.project_dir;
	y.size = x.size;
	y.root = x.root;
	y.depth = x.depth;
	y.mapped = x.mapped;
	y.atime = x.atime;
	y.mtime = x.mtime;
	y.ctime = x.ctime;
	y.change = x.change;
	return memcmp(&x, &y, sizeof(x)) ? what | FS_VDIFF_ATTRS : what;
}

static void add_entry(struct fs_vdiff *d, struct volume *const v[2], uint64_t ino, const struct inode *a,
		      const struct inode *b, unsigned what)
{
	struct fs_vdiff_entry *e = &d->e[d->n];

	if (!what)
		return;
	*e = (struct fs_vdiff_entry){ .what = what };
	if (a)
		attr_fill(&e->a, v[0], ino, a);
	if (b)
		attr_fill(&e->b, v[1], ino, b);
	d->n++;
}

/* An inode that was given out again is two: one that is gone, and one that has come. */
static void compare_inode(struct fs_vdiff *d, struct volume *const v[2], uint64_t ino, struct block *const at[2])
{
	const struct inode *a = named(at[0], ino), *b = named(at[1], ino);

	if (a && b && a->generation == b->generation) {
		add_entry(d, v, ino, a, b, what_differs(a, b));
		return;
	}
	if (a)
		add_entry(d, v, ino, a, NULL, FS_VDIFF_REMOVED);
	if (b)
		add_entry(d, v, ino, NULL, b, FS_VDIFF_ADDED);
}

#define VDIFF_LEAVES (FS_VDIFF_ENTRIES / INODES_PER_BLOCK / 2)

static int load_leaves(struct txn *t, const struct tree_change *c, unsigned n, struct block *(*ret)[2])
{
	int pending = 0;

	for (unsigned k = 0; k < 2 * n; k++) {
		uint64_t ptr = k % 2 ? c[k / 2].b : c[k / 2].a;
		struct block **b = &ret[k / 2][k % 2];
		int err;

		*b = NULL;
		err = ptr ? txn_block_as(t, ptr, 0, TREE_INODES, b) : 0;
		if (err == -ERESTART_PASS)
			pending = err;
		else if (err)
			return err;
	}
	return pending;
}

static int do_vdiff(struct txn *t, void *arg)
{
	struct vdiff_op *o = arg;
	struct fs_vdiff *d = o->d;
	struct tree_change c[VDIFF_LEAVES];
	struct block *leaves[VDIFF_LEAVES][2];
	struct volume *v[2];
	struct tree_root a, b;
	uint64_t next;
	unsigned n;
	int err = record_of(t, d->a, &v[0]), err2 = record_of(t, d->b, &v[1]);

	if (err || err2)
		return err && err != -ERESTART_PASS ? err : err2 ? err2 : err;
	a = (struct tree_root){ v[0]->inodes_root, v[0]->inodes_depth };
	b = (struct tree_root){ v[1]->inodes_root, v[1]->inodes_depth };
	err = tree_diff(t, &a, &b, d->next / INODES_PER_BLOCK, VDIFF_LEAVES, c, &n, &next);
	if (!err)
		err = load_leaves(t, c, n, leaves);
	if (err)
		return err;
	d->n = 0;
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < INODES_PER_BLOCK; k++)
			compare_inode(d, v, c[i].index * INODES_PER_BLOCK + k, leaves[i]);
	d->next = next == UINT64_MAX ? next : next * INODES_PER_BLOCK;
	return 0;
}

int fs_vdiff(struct fs_req *req, struct fs_vdiff *d)
{
	struct vdiff_op o = { req, d };

	return req->cred.admin ? fs_run(req, SPACE_ORDINARY, false, false, do_vdiff, &o) : -EPERM;
}
