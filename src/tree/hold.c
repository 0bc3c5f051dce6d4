/* SPDX-License-Identifier: Apache-2.0 */
/* See hold.h. */
#include "tree/hold.h"

#include <errno.h>

static int hold(struct txn *t, void *arg)
{
	struct tree_root *held = pool_held(t->pool), root = *pool_volumes(t->pool);
	int err;

	if (held->ptr)
		return -EBUSY;
	if (*pool_reap_entries(t->pool) > *pool_reap_stuck(t->pool))
		return -EAGAIN;
	err = txn_share(t, &root.ptr, root.depth, TREE_VOLUMES);
	if (t->apply) {
		*held = root;
		pool_watch(t->pool, arg);
	}
	return err;
}

int tree_hold(struct pool *p, struct count_watch *w, struct tree_root *ret)
{
	struct txn t;
	int err;

	txn_begin(&t, p);
	err = txn_run(&t, true, hold, w);
	txn_end(&t);
	if (!err)
		*ret = *pool_held(p);
	return err;
}

static int let_go(struct txn *t, void *arg)
{
	struct tree_root *held = pool_held(t->pool);
	int err = held->ptr ? tree_drop(t, held->ptr, held->depth, TREE_VOLUMES) : 0;

	if (t->apply)
		*held = (struct tree_root){ 0 };
	return err;
}

int tree_let_go(struct pool *p)
{
	struct txn t;
	int err;

	if (!pool_held(p)->ptr)
		return 0;
	txn_begin(&t, p);
	t.space = SPACE_PRIVILEGED;
	err = txn_run(&t, true, let_go, NULL);
	txn_end(&t);
	pool_watch(p, NULL);		/* last: who needs space waits for this, even if it failed */
	return err;
}
