/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block trees: 512-way copy-on-write radix trees that map a block index to a block.  A tree of
 * depth 0 is its one leaf (index 0); depth d covers 512^d leaves.  All of these are called in
 * load passes and in the apply pass of a transaction alike (pool.h), with the same arguments;
 * the root lies in a block that the caller has had owned in this pass.
 * Clones take one more reference to a root: see txn_share().
 */
#ifndef TREE_TREE_H
#define TREE_TREE_H

#include "pool/pool.h"

/* Index blocks above one leaf, for a tree that has to hold leaf INDEX. */
uint8_t tree_depth_for(uint64_t index);

/* The pointer at INDEX: 0 for a hole. */
int tree_lookup(struct txn *t, const struct tree_root *r, uint64_t index, uint64_t *ret_ptr);

/* The pointers of COUNT leaves from FIRST on (at most 512; may cross index blocks). */
int tree_lookup_range(struct txn *t, const struct tree_root *r, uint64_t first, uint32_t count,
		      uint64_t *ret_ptrs);

/* Starts to read the COUNT leaves from FIRST on, and the index blocks above them where those are missing:
 * as txn_read_ahead(). */
void tree_read_ahead(struct txn *t, const struct tree_root *r, uint64_t first, uint32_t count);

/* Is there one way only to leaf INDEX: no block above it, nor with LEAF itself, has a second pointer to it?
 * What is above the root is the caller's to ask. */
int tree_owned(struct txn *t, const struct tree_root *r, uint64_t index, bool leaf, bool *ret);

/*
 * Calls FN for each of COUNT leaves from FIRST on with a pointer to its slot, which it may
 * change in an apply pass (and only then).  The index blocks above are owned; the tree grows as
 * needed.  In a load pass *SLOT is the present value (a private copy).  *MAPPED (the inode's count
 * of leaves that are not holes) is adjusted in the apply pass.
 */
typedef int (*tree_slot_fn)(struct txn *t, uint64_t *slot, uint64_t index, void *arg);
int tree_modify(struct txn *t, struct tree_root *r, uint8_t kind, uint64_t first, uint32_t count,
		tree_slot_fn fn, void *arg, uint64_t *mapped);

/* Drops all leaves from index FIRST on, and makes the tree as shallow as it can be. */
int tree_truncate(struct txn *t, struct tree_root *r, uint8_t kind, uint64_t first, uint64_t *mapped);

/* Makes holes of COUNT leaves from FIRST on. */
int tree_punch(struct txn *t, struct tree_root *r, uint8_t kind, uint64_t first, uint64_t count,
	       uint64_t *mapped);

/*
 * Leaves FROM, FROM + 1, ... of SRC become leaves TO, TO + 1, ... of DST, COUNT of them: shared, by
 * the largest subtrees that fit where both are congruent (GiB, 2 MiB), else leaf by leaf.  At most
 * MAX_PIECES of them: *ret_done says how many leaves that were.  SRC and DST may be the same
 * root if the ranges don't overlap.  A hole of any size that has no index block is one piece, but within
 * one tree.  *MAPPED is adjusted in the last load pass too, for quotas.  (Rodeh: clones share whole
 * subtrees.)
 */
struct tree_range { uint64_t from, to, count; unsigned max_pieces; };
int tree_share_range(struct txn *t, const struct tree_root *src, struct tree_root *dst, uint8_t kind,
		     const struct tree_range *range, uint64_t *mapped, uint64_t *ret_done);

/* How many of COUNT leaves from FIRST on are mapped.  Reads the level-2 blocks, one a GiB, and those
 * of level 1 at both ends. */
int tree_count(struct txn *t, const struct tree_root *r, uint64_t first, uint64_t count,
	       uint64_t *ret_mapped);

/* The first index at or after FIRST that is mapped (DATA) or a hole; UINT64_MAX if there is none. */
int tree_seek(struct txn *t, const struct tree_root *r, uint64_t first, bool data, uint64_t *ret_index);

/*
 * One pointer to a tree or a part of it less: PTR leads to a block of LEVEL (0: a leaf) of a tree
 * of KIND.  Where it is the last pointer and there is something below, the block goes to the reap
 * list.  In a load pass, brings in what that needs.
 */
int tree_drop(struct txn *t, uint64_t ptr, uint8_t level, uint8_t kind);

/* One bounded step of freeing what is on the reap list.  1: did something; 0: the list is empty; or a
 * negative code.  Runs its own transaction. */
int reap_step(struct pool *p);

#endif
