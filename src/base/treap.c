/* SPDX-License-Identifier: Apache-2.0 */
#include "base/treap.h"

static void update(struct treap_node *n, const struct treap_ops *ops)
{
	if (ops->update)
		ops->update(n);
}

/* Parts T into what comes before N and what comes after it. */
static void split(struct treap_node *t, const struct treap_node *n, struct treap_node **ret_left,
		  struct treap_node **ret_right, const struct treap_ops *ops)
{
	if (!t) {
		*ret_left = *ret_right = NULL;
	} else if (ops->before(t, n)) {
		split(t->right, n, &t->right, ret_right, ops);
		*ret_left = t;
		update(t, ops);
	} else {
		split(t->left, n, ret_left, &t->left, ops);
		*ret_right = t;
		update(t, ops);
	}
}

/* All of A comes before all of B. */
static struct treap_node *join(struct treap_node *a, struct treap_node *b,
			       const struct treap_ops *ops)
{
	if (!a || !b)
		return a ? a : b;
	if (a->weight > b->weight) {
		a->right = join(a->right, b, ops);
		update(a, ops);
		return a;
	}
	b->left = join(a, b->left, ops);
	update(b, ops);
	return b;
}

static void insert(struct treap_node **t, struct treap_node *n, const struct treap_ops *ops)
{
	if (*t && (*t)->weight >= n->weight) {
		insert(ops->before(*t, n) ? &(*t)->right : &(*t)->left, n, ops);
	} else {
		split(*t, n, &n->left, &n->right, ops);
		*t = n;
	}
	update(*t, ops);
}

void treap_insert(struct treap_node **root, struct treap_node *n, uint64_t random,
		  const struct treap_ops *ops)
{
	n->weight = random;
	insert(root, n, ops);
}

void treap_remove(struct treap_node **root, struct treap_node *n, const struct treap_ops *ops)
{
	struct treap_node *t = *root;

	if (t == n) {
		*root = join(n->left, n->right, ops);
		n->left = n->right = NULL;
		return;
	}
	treap_remove(ops->before(t, n) ? &t->right : &t->left, n, ops);
	update(t, ops);
}

struct treap_node *treap_find(struct treap_node *root,
			      bool (*at_least)(const struct treap_node *n, const void *key),
			      const void *key)
{
	struct treap_node *found = NULL;

	while (root) {
		if (at_least(root, key)) {
			found = root;
			root = root->left;
		} else {
			root = root->right;
		}
	}
	return found;
}
