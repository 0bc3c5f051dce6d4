/* SPDX-License-Identifier: Apache-2.0 */
/* See scan.h. */
#include "tree/scan.h"
#include "tree/tree_int.h"

#include <errno.h>
#include <stdlib.h>
#include "base/err.h"

#define STEP_POINTERS 4096		/* of one step */
#define NODE_COSTS 64			/* pointers: for the block that is gone into, and its neighbours' table pages */
#define STEP_PASSES 8			/* then what was missing is left to the next step, if this one got on */
#define NOWHERE 0xff			/* level: nothing at this index is done */
#define STOP 1

void tree_scan_init(struct tree_scan *s, scan_root_fn *root, scan_visit_fn *visit, void *arg)
{
	*s = (struct tree_scan){ .root = root, .visit = visit, .arg = arg };
	for (unsigned i = 0; i < SCAN_NEST; i++)
		s->at[i] = (struct scan_at){ 0, NOWHERE, 0 };
}

void tree_scan_done(struct tree_scan *s)
{
	for (unsigned i = 0; i < SCAN_DEPTH; i++)
		free(s->children[i]);
}

static bool data_leaf(const struct child *c)
{
	return !c->level && (c->kind == TREE_FILE || c->kind == TREE_REAP);
}

static int pointer(struct tree_scan *s, struct txn *t, const struct child *c, unsigned nest, uint64_t base);

/* The counts of all children that are still to come, so that reads of table pages go side by side. */
static int load_counts(const struct tree_scan *s, struct txn *t, const struct child *k, unsigned n, unsigned nest,
		       uint64_t base)
{
	const struct scan_at *at = &s->at[nest];
	int pending = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t end = base + (k[i].offset / 8 + 1) * tree_span(k[i].level);
		uint32_t refs;
		int err = end > at->index ? txn_refs(t, k[i].ptr, &refs) : 0;

		if (err == -ERESTART_PASS)
			pending = err;
		else if (err)
			return err;
	}
	return pending;
}

/* The children of an index block: parts of the same tree. */
static int parts(struct tree_scan *s, struct txn *t, const struct child *k, unsigned n, unsigned nest, uint64_t base)
{
	int err = load_counts(s, t, k, n, nest, base);

	for (unsigned i = 0; i < n && !err; i++)
		err = pointer(s, t, &k[i], nest, base + k[i].offset / 8 * tree_span(k[i].level));
	return err;
}

/* The children of a leaf: trees of their own. */
static int trees(struct tree_scan *s, struct txn *t, const struct child *k, unsigned n, unsigned nest)
{
	struct scan_at *at = &s->at[nest];
	int err = 0;

	for (unsigned i = 0; i < n && !err; i++) {
		uint32_t place = k[i].offset + 1u;

		if (place < at->child)
			continue;
		if (place > at->child)
			s->at[nest + 1] = (struct scan_at){ 0, NOWHERE, 0 };
		at->child = place;
		err = pointer(s, t, &k[i], nest + 1, 0);
	}
	return err;
}

static int inside(struct tree_scan *s, struct txn *t, const struct child *c, unsigned nest, uint64_t base)
{
	struct child **k;
	struct block *b;
	unsigned n;
	int err = txn_block_as(t, c->ptr, c->level, c->kind, &b);

	if (err)
		return err;
	if (s->depth == SCAN_DEPTH || (!c->level && nest + 1 == SCAN_NEST))
		return -EDAMAGED;
	k = &s->children[s->depth];
	if (!*k)
		*k = malloc(INDEX_SLOTS * sizeof(**k));
	if (!*k)
		return -ENOMEM;
	n = block_children(t->pool, b, c->level, c->kind, *k);
	s->depth++;
	err = c->level ? parts(s, t, *k, n, nest, base) : trees(s, t, *k, n, nest);
	s->depth--;
	return err;
}

/* C, which leads to what is over leaf BASE of the tree that is nested so deep. */
static int pointer(struct tree_scan *s, struct txn *t, const struct child *c, unsigned nest, uint64_t base)
{
	struct scan_at *at = &s->at[nest];
	uint64_t end = base + tree_span(c->level);
	uint32_t refs;
	int err;

	if (end <= at->index)
		return 0;
	if (base > at->index || (base == at->index && c->level < at->level)) {
		if (!s->left)
			return STOP;
		err = txn_refs(t, c->ptr, &refs);
		if (!err)
			err = s->visit(s->arg, c, refs);
		if (err < 0)
			return err;
		s->moved = true;
		s->left--;
		*at = err && !data_leaf(c) ? (struct scan_at){ base, c->level, 0 } :
					     (struct scan_at){ end, NOWHERE, 0 };
		if (!err || data_leaf(c))
			return 0;
		s->left -= s->left < NODE_COSTS ? s->left : NODE_COSTS;
	}
	err = inside(s, t, c, nest, base);
	if (!err)
		*at = (struct scan_at){ end, NOWHERE, 0 };
	return err;
}

static int step(struct txn *t, void *arg)
{
	struct tree_scan *s = arg;
	struct child c = { 0 };
	int err;

	if (s->passes++ >= STEP_PASSES && s->moved)
		return STOP;
	s->depth = 0;
	err = s->root(t, s->arg, &c);
	return err || !ptr_of(c.ptr) ? err : pointer(s, t, &c, 0, 0);
}

int tree_scan_step(struct pool *p, struct tree_scan *s)
{
	struct txn t;
	int err;

	s->left = STEP_POINTERS;
	s->passes = 0;
	s->moved = false;
	txn_begin(&t, p);
	err = txn_run(&t, false, step, s);
	txn_end(&t);
	return err;
}

int tree_alone(struct txn *t, const struct tree_root *r, uint64_t index, bool *ret)
{
	uint64_t ptr = r->ptr;

	*ret = false;
	if (!ptr_of(ptr) || index >= tree_span(r->depth))
		return -ESTALE;
	for (unsigned level = r->depth;; level--) {
		struct block *b;
		uint32_t refs;
		int err = txn_refs(t, ptr, &refs);

		if (err || refs > 1)
			return err;
		if (!level)
			break;
		err = index_block(t, ptr, level, &b);
		if (err)
			return err;
		ptr = slots_of(b)[(index >> ((level - 1) * INDEX_BITS)) & (INDEX_SLOTS - 1)];
		if (!ptr_of(ptr))
			return -ESTALE;
	}
	*ret = true;
	return 0;
}
