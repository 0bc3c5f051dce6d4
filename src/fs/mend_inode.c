/* SPDX-License-Identifier: Apache-2.0 */
/* Repairs of inodes in blocks that are not sound: the verifier of blocks of inodes asks more than these do. */
#include "fs/mend.h"

#include "base/err.h"
#include "tree/tree.h"

static int inode_leaf(struct txn *t, const struct volume *v, uint64_t ino, struct block **ret)
{
	struct tree_root r = { v->inodes_root, v->inodes_depth };
	uint64_t ptr;
	int err = tree_lookup(t, &r, ino / INODES_PER_BLOCK, &ptr);

	if (err)
		return err;
	return ptr ? txn_block(t, ptr, ret) : -ESTALE;
}

int mend_inode_get(struct txn *t, const struct volume *v, uint64_t ino, struct inode **ret)
{
	struct block *b;
	int err = inode_leaf(t, v, ino, &b);

	if (err)
		return err;
	*ret = (struct inode *)b->data + ino % INODES_PER_BLOCK;
	return (*ret)->type == FS_FREE ? -ESTALE : 0;
}

static int own_leaf(struct txn *t, uint64_t *slot, uint64_t index, void *arg)
{
	struct block *b;
	int err = txn_block(t, *slot, &b);

	if (err)
		return err;
	return inodes_verify(b->data) ? mend_own(t, slot, 0, TREE_INODES, arg) :
					txn_own(t, slot, 0, TREE_INODES, arg);
}

int mend_inode_own(struct txn *t, struct volume *v, uint64_t ino, struct inode **ret)
{
	struct tree_root r = { v->inodes_root, v->inodes_depth };
	struct block *b;
	int err = mend_inode_get(t, v, ino, ret);

	if (!err)
		err = tree_modify(t, &r, TREE_INODES, ino / INODES_PER_BLOCK, 1, own_leaf, &b, NULL);
	if (err)
		return err;
	if (t->apply) {
		v->inodes_root = r.ptr;
		v->inodes_depth = r.depth;
	}
	*ret = (struct inode *)b->data + ino % INODES_PER_BLOCK;
	return 0;
}

/* What can't be a tree is left to the repair of counts. */
int mend_drop(struct txn *t, uint64_t root, unsigned depth)
{
	if (root & ~PTR_BLOCK_MASK || depth > TREE_DEPTH_MAX || !mend_leads(t->pool, root))
		return 0;
	return tree_drop(t, root, depth, TREE_FILE);
}

/* ---- extended attributes ---------------------------------------------------------------------------- */

static int do_xattr(struct txn *t, void *arg)
{
	const struct fix *f = arg;
	struct volume *v;
	struct inode *i;
	int err = mend_record_own(t, f->volume, &v);

	if (!err)
		err = mend_inode_own(t, v, f->ino, &i);
	if (!err && f->kind == FIX_XATTR)
		err = mend_drop(t, i->xattr_root, i->xattr_depth);
	if (err || !t->apply)
		return err;
	v->mapped += f->value - i->xattr_blocks;
	i->xattr_blocks = f->value;
	if (!f->value)
		i->xattr_root = i->xattr_depth = 0;
	return 0;
}

int mend_xattr(struct mend *m, struct fix *f)
{
	return mend_run(m, do_xattr, f);
}
