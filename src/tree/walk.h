/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking a block tree by subtrees, alone or beside another one: where both lead to the same block,
 * all below is the same and is not visited.  For who copies trees elsewhere and keeps what they share.
 * (tree/diff.h compares leaf by leaf.)
 */
#ifndef TREE_WALK_H
#define TREE_WALK_H

#include "tree/tree.h"

/* COUNT leaves from INDEX on hang under PTR, a block of LEVEL (0: a leaf), or are a hole (PTR 0) where
 * the other tree, if there is one, has something else. */
struct tree_visit { uint64_t index, count, ptr; uint8_t level; };

enum { WALK_DOWN, WALK_OVER, WALK_STOP };
typedef int (*tree_visit_fn)(struct txn *t, const struct tree_visit *v, void *arg);

/*
 * Visits what of R begins at leaf FIRST or behind it, from the top down and from left to right, but for
 * what BASE (NULL: nothing) has the same, and for holes that BASE has too.  What begins before FIRST and
 * reaches behind it is gone into unvisited; a hole is visited from FIRST on.  FN returns one of the above,
 * or a negative code; WALK_STOP ends the walk, which returns 0 then too.  For load passes.
 */
int tree_walk(struct txn *t, const struct tree_root *r, const struct tree_root *base, uint64_t first,
	      tree_visit_fn fn, void *arg);

#endif
