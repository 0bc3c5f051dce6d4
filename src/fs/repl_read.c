/* SPDX-License-Identifier: Apache-2.0 */
/* How two states of a volume differ, and what is shared in a file: see repl.h. */
#include "fs/fs_int.h"
#include "fs/repl.h"
#include "tree/walk.h"

#define VISITS_MAX 8192			/* subtrees that one pass looks at */

/* ---- inodes --------------------------------------------------------------------------------- */

struct changes_op {
	struct fs_changes *c;
	struct volume *base, *now;	/* of a pass */
	uint64_t leaf;			/* the first that differs; UINT64_MAX: none */
};

static int record_of(struct txn *t, struct fs_id root, struct volume **ret)
{
	return root.snapshot ? snapshot_get(t, root.volume, root.snapshot, ret) :
			       volume_get(t, root.volume, ret);
}

static int first_leaf(struct txn *t, const struct tree_visit *v, void *arg)
{
	struct changes_op *o = arg;

	/* An inode file has no holes worth the name: what is gone from it is free inodes. */
	if (v->level && v->ptr)
		return WALK_DOWN;
	o->leaf = v->index;
	return WALK_STOP;
}

static int inodes_of(struct txn *t, const struct volume *v, uint64_t leaf, const struct inode **ret)
{
	struct tree_root r = { v->inodes_root, v->inodes_depth };
	struct block *b;
	uint64_t ptr;
	int err = tree_lookup(t, &r, leaf, &ptr);

	*ret = NULL;
	if (err || !ptr)
		return err;
	err = txn_block_as(t, ptr, 0, TREE_INODES, &b);
	if (!err)
		*ret = (const struct inode *)b->data;
	return err;
}

static bool counts(uint64_t ino, const struct inode *i)
{
	return i && i->type != FS_FREE && i->nlink && ino != INO_ORPHANS && ino;
}

static void compare(struct changes_op *o, uint64_t ino, const struct inode *was, const struct inode *now)
{
	struct fs_inode_change *x = &o->c->c[o->c->n];
	bool before = counts(ino, was), after = counts(ino, now);

	if ((!before && !after) || (before && after && !memcmp(was, now, INODE_SIZE)))
		return;
	*x = (struct fs_inode_change){ .ino = ino };
	if (before)
		attr_fill(&x->was, o->base, ino, was);
	if (after)
		attr_fill(&x->now, o->now, ino, now);
	x->same_file = before && after && was->generation == now->generation && was->type == now->type;
	x->had_xattrs = before && was->xattr_root;
	x->has_xattrs = after && now->xattr_root;
	x->xattrs_differ = x->same_file ? was->xattr_root != now->xattr_root : x->has_xattrs;
	x->data_differs = !x->same_file || was->root != now->root || was->depth != now->depth ||
			  was->size != now->size;
	o->c->n++;
}

static int do_changes(struct txn *t, void *arg)
{
	struct changes_op *o = arg;
	struct fs_changes *c = o->c;
	const struct inode *was = NULL, *now;
	struct tree_root base, root;
	int err = record_of(t, c->now, &o->now);

	c->n = 0;
	o->leaf = UINT64_MAX;
	if (!err && c->base.ino)
		err = record_of(t, c->base, &o->base);
	if (err)
		return err;
	root = (struct tree_root){ o->now->inodes_root, o->now->inodes_depth };
	if (c->base.ino)
		base = (struct tree_root){ o->base->inodes_root, o->base->inodes_depth };
	err = tree_walk(t, &root, c->base.ino ? &base : NULL, c->next / INODES_PER_BLOCK, first_leaf, o);
	if (err || o->leaf == UINT64_MAX)
		return err;
	err = inodes_of(t, o->now, o->leaf, &now);
	if (!err && c->base.ino)
		err = inodes_of(t, o->base, o->leaf, &was);
	for (unsigned k = 0; k < INODES_PER_BLOCK && !err; k++)
		compare(o, o->leaf * INODES_PER_BLOCK + k, was ? was + k : NULL, now ? now + k : NULL);
	return err;
}

int fs_changes(struct fs_req *req, struct fs_changes *c)
{
	struct changes_op o = { .c = c };
	int err = fs_run(req, SPACE_ORDINARY, false, false, do_changes, &o);

	if (err)
		return err;
	c->end = o.leaf == UINT64_MAX;
	c->next = c->end ? UINT64_MAX : (o.leaf + 1) * INODES_PER_BLOCK;
	return 0;
}

/* ---- blocks --------------------------------------------------------------------------------- */

struct pieces_op {
	struct fs_pieces *p;
	uint64_t next;
	unsigned visits;
};

static void data_add(struct pieces_op *o, const struct tree_visit *v)
{
	struct fs_pieces *p = o->p;
	struct fs_piece *last = p->n ? &p->p[p->n - 1] : NULL;

	if (last && last->kind == FS_PIECE_DATA && last->index + last->count == v->index)
		last->count++;
	else
		p->p[p->n++] = (struct fs_piece){ v->index, 1, 0, 0, FS_PIECE_DATA };
}

static int piece(struct txn *t, const struct tree_visit *v, void *arg)
{
	struct pieces_op *o = arg;
	struct fs_pieces *p = o->p;
	uint32_t refs;
	int err;

	if (p->n == FS_PIECES || o->visits++ == VISITS_MAX) {
		o->next = v->index;
		return WALK_STOP;
	}
	if (!v->ptr) {
		p->p[p->n++] = (struct fs_piece){ v->index, v->count, 0, v->level, FS_PIECE_HOLE };
		return WALK_OVER;
	}
	err = txn_refs(t, v->ptr, &refs);
	if (err)
		return err;
	if (refs > 1) {
		bool known = p->known && p->known(p->arg, v->ptr, v->index, v->level);

		p->p[p->n++] = (struct fs_piece){ v->index, v->count, v->ptr, v->level,
						  known ? FS_PIECE_KNOWN : FS_PIECE_SHARED };
		return known || !v->level ? WALK_OVER : WALK_DOWN;
	}
	if (v->level)
		return WALK_DOWN;
	data_add(o, v);
	return WALK_OVER;
}

static int do_pieces(struct txn *t, void *arg)
{
	struct pieces_op *o = arg;
	struct fs_pieces *p = o->p;
	struct volume *vol, *base_vol;
	struct inode *i, *b = NULL;
	struct tree_root r, base;
	int err = object_get(t, p->id, &vol, &i);

	p->n = 0;
	o->visits = 0;
	o->next = UINT64_MAX;
	if (!err && p->base.ino)
		err = object_get(t, p->base, &base_vol, &b);
	if (err)
		return err;
	if (i->type != FS_REG || (b && b->type != FS_REG))
		return -EINVAL;
	r = (struct tree_root){ i->root, i->depth };
	if (b)
		base = (struct tree_root){ b->root, b->depth };
	return tree_walk(t, &r, b ? &base : NULL, p->next, piece, o);
}

int fs_pieces(struct fs_req *req, struct fs_pieces *p)
{
	struct pieces_op o = { .p = p };
	int err = fs_run(req, SPACE_ORDINARY, false, false, do_pieces, &o);

	if (!err)
		p->next = o.next;
	return err;
}
