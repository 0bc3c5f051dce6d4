/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holding: one more pointer, the superblock's, leads to the volume table as it is now.  So everything
 * that hangs below it stays as it is, and stays allocated, until it is let go of: a snapshot of the
 * whole pool, for looking at it in peace.  Nothing of it is logged: after a crash the pool is opened
 * without it.
 */
#ifndef TREE_HOLD_H
#define TREE_HOLD_H

#include "tree/tree.h"

/*
 * From the same instant on, W is told of every change of a count (pool_watch()).  Two pointers lead to
 * RET then: the volume table's and this one.  -EBUSY: something is held; -EAGAIN: there is something to
 * reap, whose counts nobody could tell (what can't be taken apart doesn't count: it would be for ever).
 * May wait.
 */
int tree_hold(struct pool *p, struct count_watch *w, struct tree_root *ret);
/* Also ends the watch.  May wait. */
int tree_let_go(struct pool *p);

#endif
