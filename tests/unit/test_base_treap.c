/* SPDX-License-Identifier: Apache-2.0 */
/* Ordered sets against a plain array, with a sum that every subtree must know. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/list.h"
#include "base/rng.h"
#include "base/treap.h"

enum { N = 500 };

struct item { struct treap_node node; unsigned key, sum; bool in; };

static struct item items[N];

static struct item *item(const struct treap_node *n)
{
	return container_of(n, struct item, node);
}

static bool before(const struct treap_node *a, const struct treap_node *b)
{
	return item(a)->key < item(b)->key;
}

static unsigned sum(const struct treap_node *n)
{
	return n ? item(n)->sum : 0;
}

static void update(struct treap_node *n)
{
	item(n)->sum = item(n)->key + sum(n->left) + sum(n->right);
}

static const struct treap_ops ops = { before, update };

static bool at_least(const struct treap_node *n, const void *key)
{
	return item(n)->key >= *(const unsigned *)key;
}

static unsigned check(const struct treap_node *n, unsigned lo, unsigned hi)
{
	if (!n)
		return 0;
	assert_true(item(n)->in);
	assert_in_range(item(n)->key, lo, hi);
	assert_true(!n->left || n->left->weight <= n->weight);
	assert_true(!n->right || n->right->weight <= n->weight);
	assert_int_equal(item(n)->sum, item(n)->key + sum(n->left) + sum(n->right));
	return 1 + check(n->left, lo, item(n)->key - 1) + check(n->right, item(n)->key + 1, hi);
}

static void test_model(void **state)
{
	struct treap_node *root = NULL;
	unsigned n = 0;
	struct rng rng;

	rng_init(&rng, 5);
	for (unsigned i = 0; i < N; i++)
		items[i].key = i + 1;
	for (int round = 0; round < 5000; round++) {
		struct item *it = &items[rng_below(&rng, N)];
		const unsigned key = 1 + rng_below(&rng, N + 1);
		unsigned want = key;

		if (it->in)
			treap_remove(&root, &it->node, &ops);
		else
			treap_insert(&root, &it->node, rng_below(&rng, 1000), &ops);
		it->in = !it->in;
		n += it->in ? 1 : -1;
		assert_int_equal(check(root, 0, N + 1), n);
		while (want <= N && !items[want - 1].in)
			want++;
		struct treap_node *found = treap_find(root, at_least, &key);

		assert_ptr_equal(found, want <= N ? &items[want - 1].node : NULL);
	}
}

static unsigned depth(const struct treap_node *n)
{
	unsigned l = n ? depth(n->left) : 0, r = n ? depth(n->right) : 0;

	return n ? 1 + (l > r ? l : r) : 0;
}

/* In order, as files are locked. */
static void test_depth(void **state)
{
	struct treap_node *root = NULL;
	struct rng rng;

	rng_init(&rng, 6);
	for (unsigned i = 0; i < N; i++) {
		items[i] = (struct item){ .key = i + 1, .in = true };
		treap_insert(&root, &items[i].node, rng_u64(&rng), &ops);
	}
	assert_int_equal(check(root, 0, N + 1), N);
	assert_in_range(depth(root), 9, 36);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model), cmocka_unit_test(test_depth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
