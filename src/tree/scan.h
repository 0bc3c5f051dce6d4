/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A walk along all pointers that are reached from one, each once for each way to it, in the order of their
 * places: volume table, volume, inode, leaf.  Who asks for it sees each pointer with the count of its
 * block, and says whether the walk is to go into the block.
 *
 * Nothing is held between two steps.  Each finds its way down from the beginning to the place where the
 * last one ended, by indexes and never by addresses: so what was freed or moved meanwhile is not looked
 * at, and no block is ever taken for what it was before.  What doesn't change meanwhile is seen exactly
 * once.
 */
#ifndef TREE_SCAN_H
#define TREE_SCAN_H

#include "tree/tree.h"

/* 1: go into that block; 0: don't; a negative code ends the walk.  REFS: the block's count.  Never called for a leaf of
 * data twice, nor asked to go into one.  Doesn't wait. */
typedef int scan_visit_fn(void *arg, const struct child *c, uint32_t refs);
/* Where the walk begins (ptr 0: nowhere), found in each step anew.  In a load pass. */
typedef int scan_root_fn(struct txn *t, void *arg, struct child *ret);

/* A place in one tree: of the pointers that lead to or over leaf INDEX, those of LEVEL and above are done. */
struct scan_at { uint64_t index; uint8_t level; uint32_t child; };
#define SCAN_NEST 3			/* files in volumes in the table */
#define SCAN_DEPTH (SCAN_NEST * (TREE_DEPTH_MAX + 1))

struct tree_scan {
	scan_root_fn *root;
	scan_visit_fn *visit;
	void *arg;
	/* the walk's own: */
	struct scan_at at[SCAN_NEST];
	struct child *children[SCAN_DEPTH];	/* of the blocks on the way down */
	unsigned depth, left, passes;
	bool moved;
};
void tree_scan_init(struct tree_scan *s, scan_root_fn *root, scan_visit_fn *visit, void *arg);
void tree_scan_done(struct tree_scan *s);

/* A bounded step.  1: there is more; 0: that was all; or a negative code, -ENOMEM, -EIO, -EDAMAGED among them.  Runs a
 * transaction of its own, which changes nothing.  May wait. */
int tree_scan_step(struct pool *p, struct tree_scan *s);

/* Does one pointer alone lead to each block from R's root down to leaf INDEX, that included?  In a load pass. */
int tree_alone(struct txn *t, const struct tree_root *r, uint64_t index, bool *ret);

#endif
