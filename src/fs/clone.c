/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clones of files: a new inode with the same root, and +1 on that root; O(1) in the size of the
 * file.  Any number of names at once is one operation: one log record, all or none.
 * The source is only read: nothing is locked, and it may be in use, or in a snapshot: its root has one
 * more pointer then, whoever shares the blocks above it.
 */
#include "fs/fs_int.h"

#include <stdlib.h>

static int clone_check(struct clone_op *o, const struct inode *dir, const struct inode *src)
{
	const struct fs_cred *c = &o->req->cred;

	if (src->type != FS_REG)
		return src->type == FS_DIR ? -EISDIR : -EINVAL;
	if (dir->type != FS_DIR)
		return -ENOTDIR;
	if (!is_owner(c, src) && !may(c, src, MAY_READ))
		return -EACCES;
	return may(c, dir, MAY_WRITE | MAY_EXEC) ? 0 : -EACCES;
}

/* ROOTS: of its content and of its attributes. */
static void clone_init(struct txn *t, struct clone_op *o, struct inode *i, const struct inode *src,
		       const struct inode *dir, const uint64_t roots[2])
{
	bool as_source = o->uid == CLONE_OWNER_SRC;

	i->type = FS_REG;
	i->depth = src->depth;
	i->mode = src->mode & (as_source ? 07777 : 01777);
	i->nlink = 1;
	i->uid = as_source ? src->uid : o->uid;
	i->gid = as_source ? src->gid : dir->mode & 02000 ? dir->gid : o->gid;
	i->size = src->size;
	i->mapped = src->mapped;
	i->atime = i->mtime = i->ctime = i->btime = o->now;
	i->generation = i->change = txn_event(t);
	i->root = roots[0];
	i->xattr_root = roots[1];
	i->xattr_depth = src->xattr_depth;
	i->xattr_blocks = src->xattr_blocks;
	quota_inherit(i, dir);
	i->origin_ino = o->src.ino;
	i->origin_generation = src->generation;
	i->origin_volume = o->src.volume;
}

/* One more pointer to each, which may then lead to a copy. */
static int share_roots(struct txn *t, const struct inode *src, uint64_t roots[2])
{
	int err = roots[0] ? txn_share(t, &roots[0], src->depth, TREE_FILE) : 0, err2 = 0;

	if (roots[1] && (!err || err == -ERESTART_PASS))
		err2 = txn_share(t, &roots[1], src->xattr_depth, TREE_FILE);
	return err ? err : err2;
}

/* One clone: inode, share of the roots, name. */
static int clone_one(struct txn *t, struct clone_op *o, struct volume *vol, struct ino_cursor *c,
		     const struct inode *src, uint32_t k)
{
	struct inode *i, *dir;
	uint64_t ino, roots[2] = { src->root, src->xattr_root };
	struct dir d;
	int err = ino_take(t, vol, c, &ino, &i);

	if (err)
		return err;
	err = share_roots(t, src, roots);
	if (err || !t->apply)
		return err;
	err = inode_own(t, vol, o->dir.ino, 0, &dir);
	if (err)
		return err;
	clone_init(t, o, i, src, dir, roots);
	d = dir_of(t, vol, dir, o->dir.ino);
	err = dir_insert(&d, o->names[k], ino, i->generation, FS_REG);
	if (err)
		return err;
	if (!k)
		attr_fill(&o->first, vol, ino, i);
	return 0;
}

/* Load pass: what doesn't repeat for each clone. */
static int clone_prepare(struct txn *t, struct clone_op *o, struct volume *vol, struct inode *dir,
			 const struct inode *src)
{
	struct dir d = dir_of(t, vol, dir, o->dir.ino);
	int err = clone_check(o, dir, src);

	if (!err)
		err = dir_insert_prepare(&d, o->names, o->count, &o->bad);
	if (!err)
		err = quota_check(t, vol, dir, (src->mapped + src->xattr_blocks) * o->count + d.fresh);
	if (!err)
		err = guard_ask(t, o->req, o->src, FS_USE_READ);
	return err ? err : record_clone(t, o);
}

int do_clone(struct txn *t, void *arg)
{
	struct clone_op *o = arg;
	struct volume *vol, *src_vol;
	struct inode *dir, *i, src;
	struct ino_cursor c;
	uint64_t dir_mapped;
	int err, pending = 0;

	if (o->src.volume != o->dir.volume)
		return -EXDEV;
	err = object_own(t, o->dir, &vol, &dir);
	if (!err)
		err = object_get(t, o->src, &src_vol, &i);
	if (err)
		return err;
	src = *i;			/* its block may move while the clones are made */
	if (!t->apply) {
		err = clone_prepare(t, o, vol, dir, &src);
		if (err)
			return err;
	}
	dir_mapped = dir->mapped;
	ino_cursor_init(&c, vol);
	for (uint32_t k = 0; k < o->count; k++) {
		err = clone_one(t, o, vol, &c, &src, k);
		if (err == -ERESTART_PASS)
			pending = err;
		/* Each link of the list of free inodes is in the inode before. */
		if (err && (err != -ERESTART_PASS || c.free))
			return err;
	}
	if (pending)
		return pending;
	err = inode_own(t, vol, o->dir.ino, 0, &dir);
	if (!err)
		err = quota_account(t, vol, dir, dir->mapped - dir_mapped +
				    (src.mapped + src.xattr_blocks) * o->count, o->count);
	if (err || !t->apply)
		return err;
	touch_data(t, dir, o->now);
	return record_clone(t, o);
}

int fs_clone(struct fs_req *req, struct fs_id src, struct fs_id dir, const struct fs_name *names,
	     uint32_t count, uint32_t *ret_bad, struct fs_attr *ret_first)
{
	struct clone_op o = { .req = req, .src = src, .dir = dir, .names = names, .count = count,
			      .now = fs_now(), .uid = req->cred.admin ? CLONE_OWNER_SRC : req->cred.uid,
			      .gid = req->cred.gid };
	int err;

	if (!count || count > FS_CLONES_MAX)
		return -EINVAL;
	for (uint32_t k = 0; k < count; k++) {
		err = name_check(names[k]);
		if (!err && (is_dot(names[k]) || is_dotdot(names[k]) || is_snapshot_dir(names[k])))
			err = -EEXIST;
		if (err) {
			if (ret_bad)
				*ret_bad = k;
			return err;
		}
	}
	err = clone_pack_names(&o);
	if (!err)
		err = fs_run(req, SPACE_ORDINARY, true, true, do_clone, &o);
	free(o.packed);
	if (err && ret_bad)
		*ret_bad = o.bad;
	if (!err && ret_first)
		*ret_first = o.first;
	return err;
}
