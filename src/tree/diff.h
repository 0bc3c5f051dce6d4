/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where two block trees differ.  Both are walked together; where both lead to the same block, all that
 * is below it is the same and is not looked at: so a clone is compared with its source in time that depends
 * on what has changed.
 *
 * The trees may be of any two depths: the shallower one hangs at the left edge of a taller one whose other
 * slots are holes.  A hole differs from every block, also from one of zeros: what is in the blocks is not
 * looked at.
 */
#ifndef TREE_DIFF_H
#define TREE_DIFF_H

#include "tree/tree.h"

struct tree_change { uint64_t index; uint64_t a, b; };	/* a leaf's two blocks; 0: a hole */

/*
 * The leaves from FIRST on to which A and B lead by different pointers, in order: up to MAX of them, into
 * RET.  One call looks at so many index blocks at most as a pass may: *ret_next is where to go on,
 * UINT64_MAX when nothing is left, and *ret_n may be 0 before that.
 *
 * For load passes, which wait for what is missing; what waits between two calls is the caller's: leaves
 * before *ret_next are as they were in the call that came to them.  -EDAMAGED.
 */
int tree_diff(struct txn *t, const struct tree_root *a, const struct tree_root *b, uint64_t first,
	      unsigned max, struct tree_change *ret, unsigned *ret_n, uint64_t *ret_next);

#endif
