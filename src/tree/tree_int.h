/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TREE_INT_H
#define TREE_INT_H

#include "tree/tree.h"

/* The slots of an index block. */
static inline uint64_t *slots_of(struct block *b) { return (uint64_t *)b->data; }

/* The index block of LEVEL that PTR leads to: verified as that, whatever its tree's kind. */
static inline int index_block(struct txn *t, uint64_t ptr, uint8_t level, struct block **ret)
{
	return txn_block_as(t, ptr, level, TREE_FILE, ret);
}

/* How many leaves a block of this level covers: 512^level. */
static inline uint64_t tree_span(unsigned level)
{
	return level * INDEX_BITS >= 64 ? UINT64_MAX : 1ULL << (level * INDEX_BITS);
}

static inline uint64_t ptr_of(uint64_t slot) { return slot & PTR_BLOCK_MASK; }

/* Level-2 slots carry how many slots of their level-1 block are mapped. */
static inline uint32_t mapped_of(uint64_t slot)
{
	return (slot & PTR_MAPPED_MASK) >> PTR_MAPPED_SHIFT;
}

#endif
