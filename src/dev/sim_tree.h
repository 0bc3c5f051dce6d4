/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated disk's medium: a persistent 64-way radix tree of 4 KiB pages.  Sharing a
 * tree is one more reference to its root; changing a shared tree copies the nodes on the way
 * down, as in the store that this tests, but with none of its code.
 *
 * Pages are immutable once they are in a tree.  No page means zeros.
 */
#ifndef DEV_SIM_TREE_H
#define DEV_SIM_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dev/dev.h"

#define SIM_TREE_MAX_BLOCKS (1ull << 36)

struct sim_page {
	uint64_t refs;
	uint8_t data[DEV_BLOCK];
};

/* NULL stands for a page of zeros, here and below. */
struct sim_page *sim_page_new(const void *data);	/* data may be NULL: not initialised */
struct sim_page *sim_page_get(struct sim_page *p);
void sim_page_put(struct sim_page *p);
void sim_page_read(const struct sim_page *p, void *ret_data);

struct sim_tree { void *root; };

void sim_tree_share(struct sim_tree *dst, const struct sim_tree *src);	/* dst is new */
void sim_tree_release(struct sim_tree *t);
struct sim_page *sim_tree_find(const struct sim_tree *t, uint64_t block);	/* no reference */
void sim_tree_set(struct sim_tree *t, uint64_t block, struct sim_page *page);	/* takes one */
/* Calls FN for each page, in order, until it returns non-zero; returns that. */
int sim_tree_each(const struct sim_tree *t,
		  int (*fn)(void *arg, uint64_t block, const struct sim_page *page), void *arg);

/* Same content?  What the two share is not looked at. */
bool sim_tree_equal(const struct sim_tree *a, const struct sim_tree *b);

/* Memory for small things (at most SIM_ALLOC_MAX bytes), not from malloc; aborts when none. */
#define SIM_ALLOC_MAX 528
void *sim_alloc(size_t bytes);
void sim_free(void *p);
uint64_t sim_live_pages(void);

#endif
