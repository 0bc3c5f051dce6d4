/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ordered sets, intrusive and balanced by chance (Seidel and Aragon 1996): a search tree by the
 * owner's order that is a heap by random weights.  A node may carry something that its whole
 * subtree has (the greatest end of intervals, say): update() is called for a node after what is
 * below it has changed.
 *
 * Depth is some 2 log n whatever order things come in; the functions recurse that deep.
 */
#ifndef BASE_TREAP_H
#define BASE_TREAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct treap_node {
	struct treap_node *left, *right;
	uint64_t weight;
};

struct treap_ops {
	/* Whether A comes before B; of two nodes one always does. */
	bool (*before)(const struct treap_node *a, const struct treap_node *b);
	void (*update)(struct treap_node *n);		/* or NULL */
};

/* An empty tree is NULL.  N is in no tree of these ops; RANDOM is its weight. */
void treap_insert(struct treap_node **root, struct treap_node *n, uint64_t random,
		  const struct treap_ops *ops);
/* N is in it; its order has not changed since it was put there. */
void treap_remove(struct treap_node **root, struct treap_node *n, const struct treap_ops *ops);
/* The first node of which AT_LEAST(node, KEY) is true, as it is of all that come after it; or
 * NULL. */
struct treap_node *treap_find(struct treap_node *root,
			      bool (*at_least)(const struct treap_node *n, const void *key),
			      const void *key);

#endif
