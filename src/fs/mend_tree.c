/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repairs of index blocks: how many blocks are mapped below a slot of level 2.
 *
 * The block that says it may be shared by any number of files and snapshots.  The first of them gets a copy
 * that is right, and every other way to the old block that the check has met is led to that copy instead, so
 * that what is shared stays so:
 *
 *     inode 3 ──> old      ──slot──>   inode 3 ──────────> copy   ──relink──>  inode 3 ──> copy
 *     inode 4 ───^                     inode 4 ──> old                         inode 4 ───^
 *
 * Ways that lead through other shared blocks are met by the check one by one, once those are copied.
 */
#include "fs/mend.h"

#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "tree/tree.h"

static uint64_t block_of(uint64_t ptr)
{
	return ptr & PTR_BLOCK_MASK;
}

/* ---- a block that is not sound --------------------------------------------------------------- */

bool mend_leads(struct pool *p, uint64_t ptr)
{
	const struct superblock *sb = pool_super(p);

	return block_of(ptr) && block_of(ptr) < sb->nblocks && !block_is_fixed(sb, block_of(ptr));
}

/* +1 on what the block at DATA points to; where a count has no room, its pointer changes. */
static int share_children(struct txn *t, struct block *b, uint8_t level, uint8_t kind)
{
	static struct child c[INDEX_SLOTS];	/* one pass looks at one of them, and doesn't wait */
	unsigned n = block_children(t->pool, b, level, kind, c);
	int ret = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t copy = c[i].ptr;
		int err = mend_leads(t->pool, copy) ? txn_share(t, &copy, c[i].level, c[i].kind) : 0;

		if (err && (!ret || ret == -ERESTART_PASS))
			ret = err;
		if (!err && t->apply)
			memcpy(b->data + c[i].offset, &copy, sizeof(copy));
	}
	return ret;
}

int mend_own(struct txn *t, uint64_t *ptr, uint8_t level, uint8_t kind, struct block **ret)
{
	struct block *old, *b;
	uint64_t copy = 0;
	uint32_t refs;
	int err = txn_block(t, *ptr, &old);

	if (!err)
		err = txn_refs(t, *ptr, &refs);
	if (!err)
		err = txn_own(t, &copy, level, kind, &b);
	if (err)
		return err;
	if (t->apply)
		memcpy(b->data, old->data, BLOCK_SIZE);
	if (refs > 1)
		err = share_children(t, t->apply ? b : old, level, kind);
	if (!err)
		err = txn_unref(t, *ptr);
	if (err)
		return err;
	*ret = t->apply ? b : old;
	if (t->apply)
		*ptr = (*ptr & ~PTR_BLOCK_MASK) | block_of(copy);
	return 0;
}

/* ---- the way there --------------------------------------------------------------------------- */

struct index_op {
	const struct fix *f;
	uint64_t from, to;		/* where the block is before, and then */
};

/* The root of the tree that F is about, in what is owned for it. */
static int root_own(struct txn *t, const struct fix *f, uint64_t **ret, unsigned *ret_depth)
{
	struct tree_root *r = pool_volumes(t->pool);
	struct volume *v;
	struct inode *i;
	int err;

	*ret = &r->ptr;
	*ret_depth = r->depth;
	if (!f->volume)
		return 0;
	err = mend_record_own(t, f->volume, &v);
	if (err)
		return err;
	*ret = &v->inodes_root;
	*ret_depth = v->inodes_depth;
	if (!f->ino)
		return 0;
	err = inode_own(t, v, f->ino, 0, &i);
	if (err)
		return err;
	*ret = &i->root;
	*ret_depth = i->depth;
	return 0;
}

/* The pointer to the tree's block of level 2 over leaf f->value, in what is owned; never to be written
 * through in a load pass. */
static int way_own(struct txn *t, const struct fix *f, uint64_t **ret)
{
	unsigned level;
	int err = root_own(t, f, ret, &level);

	if (!err && (level < 2 || level > TREE_DEPTH_MAX))
		return -ESTALE;
	for (; !err && level > 2; level--) {
		struct block *b;

		if (!block_of(**ret))
			return -ESTALE;
		err = txn_own(t, *ret, level, f->type, &b);
		if (!err)
			*ret = (uint64_t *)b->data + f->value / tree_span(level - 1) % INDEX_SLOTS;
	}
	return err;
}

static int by_from(const void *key, const void *element)
{
	const struct moved *a = key, *b = element;

	return a->from < b->from ? -1 : a->from > b->from;
}

/* The slots of a block come one after the other. */
static uint64_t now_at(const struct mend *m, uint64_t block)
{
	return m->nmoved && m->moved[m->nmoved - 1].from == block ? m->moved[m->nmoved - 1].to : block;
}

static int moved_note(struct mend *m, uint64_t from, uint64_t to)
{
	if (now_at(m, from) == from) {
		if (!grow(m->c, &m->moved, m->nmoved, &m->moved_cap, sizeof(*m->moved)))
			return -ENOMEM;
		m->moved[m->nmoved++].from = from;
	}
	m->moved[m->nmoved - 1].to = to;
	return 0;
}

/* Once all slots are done. */
static uint64_t moved_to(struct mend *m, uint64_t block)
{
	const struct moved *found;

	if (!m->moved_sorted && m->nmoved)
		qsort(m->moved, m->nmoved, sizeof(*m->moved), by_from);
	m->moved_sorted = true;
	found = m->nmoved ? bsearch(&(struct moved){ .from = block }, m->moved, m->nmoved,
				    sizeof(*m->moved), by_from) : NULL;
	return found ? found->to : block;
}

/* ---- slots ------------------------------------------------------------------------------------ */

static int count_slots(struct txn *t, uint64_t ptr, uint64_t *ret)
{
	struct block *b;
	int err = block_of(ptr) ? txn_block_as(t, ptr, 1, TREE_FILE, &b) : -ESTALE;

	*ret = 0;
	for (unsigned i = 0; !err && i < INDEX_SLOTS; i++)
		*ret += block_of(((uint64_t *)b->data)[i]) != 0;
	return err;
}

static int do_slot(struct txn *t, void *arg)
{
	struct index_op *o = arg;
	unsigned slot = o->f->value / tree_span(1) % INDEX_SLOTS;
	uint64_t *way, *slots, mapped;
	struct block *b;
	int err = way_own(t, o->f, &way);

	if (err)
		return err;
	if (!t->apply && block_of(*way) != o->from)
		return -ESTALE;		/* it is another by now */
	err = txn_block(t, *way, &b);
	if (err)
		return err;
	err = count_slots(t, ((uint64_t *)b->data)[slot], &mapped);
	if (err)
		return err;
	if (index_verify(b->data, 2, pool_super(t->pool)->nblocks))
		err = mend_own(t, way, 2, o->f->type, &b);
	else
		err = txn_own(t, way, 2, o->f->type, &b);
	if (err || !t->apply)
		return err;
	o->to = block_of(*way);
	slots = (uint64_t *)b->data;
	slots[slot] = (slots[slot] & ~PTR_MAPPED_MASK) | mapped << PTR_MAPPED_SHIFT;
	return 0;
}

int mend_slot(struct mend *m, const struct fix *f)
{
	struct index_op o = { .f = f, .from = now_at(m, f->generation) };
	int err = mend_run(m, do_slot, &o);

	return err ? err : moved_note(m, f->generation, o.to);
}

/* The last pointer to the old block goes: each of its children has one from the copy as well. */
static int let_go(struct txn *t, uint64_t ptr, uint8_t kind)
{
	static struct child c[INDEX_SLOTS];
	struct block *b;
	uint32_t refs;
	unsigned n;
	int err = txn_block(t, ptr, &b), ret = 0;

	if (err)
		return err;
	n = block_children(t->pool, b, 2, kind, c);
	for (unsigned i = 0; i < n; i++) {
		err = txn_refs(t, c[i].ptr, &refs);
		if (!err && refs < 2 && !t->apply)
			return -ESTALE;
		if (!err)
			err = txn_unref(t, c[i].ptr);
		if (err && err != -ERESTART_PASS)
			return err;
		if (err)
			ret = err;
	}
	return ret ? ret : txn_unref(t, ptr);
}

static int do_relink(struct txn *t, void *arg)
{
	struct index_op *o = arg;
	uint64_t *way, to = o->to;
	uint32_t refs;
	int err = way_own(t, o->f, &way);

	if (err)
		return err;
	if (!t->apply && block_of(*way) != o->from)
		return -ESTALE;
	err = txn_refs(t, *way, &refs);
	if (!err)
		err = txn_share(t, &to, 2, o->f->type);
	if (!err)
		err = refs > 1 ? txn_unref(t, *way) : let_go(t, *way, o->f->type);
	if (!err && t->apply)
		*way = (*way & ~PTR_BLOCK_MASK) | block_of(to);
	return err;
}

int mend_relink(struct mend *m, const struct fix *f)
{
	struct index_op o = { .f = f, .from = f->generation, .to = moved_to(m, f->generation) };

	return o.from == o.to ? -ESTALE : mend_run(m, do_relink, &o);
}
