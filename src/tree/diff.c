/* SPDX-License-Identifier: Apache-2.0 */
/* See diff.h.  A pair of pointers, one of each tree, goes down together, level by level. */
#include "tree/diff.h"
#include "tree/tree_int.h"

#include <errno.h>
#include "base/err.h"

#define DIFF_BLOCKS 128			/* pairs of index blocks that one call looks at */
#define STOP 1				/* there is no room for more, or enough was looked at */

struct diff {
	struct txn *t;
	uint64_t first, next;
	struct tree_change *ret;
	unsigned n, max, looked;
};

/* A subtree of one of both; one that is lower than asked for is its own first child. */
struct side { uint64_t ptr; unsigned level; };

static struct side child_of(struct side s, const struct block *b, unsigned level, unsigned i)
{
	if (b)
		return (struct side){ slots_of((struct block *)b)[i], level - 1 };
	return i ? (struct side){ 0, level - 1 } : s;
}

static int load_side(struct txn *t, struct side s, unsigned level, struct block **ret)
{
	*ret = NULL;
	return ptr_of(s.ptr) && s.level == level ? index_block(t, s.ptr, level, ret) : 0;
}

static int stop_at(struct diff *d, uint64_t base)
{
	d->next = base > d->first ? base : d->first;
	return STOP;
}

static int add(struct diff *d, struct side a, struct side b, uint64_t index)
{
	if (d->n == d->max)
		return stop_at(d, index);
	d->ret[d->n++] = (struct tree_change){ index, ptr_of(a.ptr), ptr_of(b.ptr) };
	return 0;
}

/* Below a hole all are holes. */
static int pair(struct diff *d, struct side a, struct side b, unsigned level, uint64_t base)
{
	uint64_t span = tree_span(level);
	struct block *x, *y;
	int err, err2, pending = 0;

	if (ptr_of(a.ptr) == ptr_of(b.ptr) || (d->first > base && d->first - base >= span))
		return 0;
	if (!level)
		return add(d, a, b, base);
	if (d->looked++ == DIFF_BLOCKS)
		return stop_at(d, base);
	err = load_side(d->t, a, level, &x);
	err2 = load_side(d->t, b, level, &y);
	if (err || err2)
		return err && err != -ERESTART_PASS ? err : err2 ? err2 : err;
	span = tree_span(level - 1);
	for (unsigned i = d->first > base ? (d->first - base) / span : 0; i < INDEX_SLOTS; i++) {
		err = pair(d, child_of(a, x, level, i), child_of(b, y, level, i), level - 1, base + i * span);
		if (err == -ERESTART_PASS)
			pending = err;		/* go on, so that other reads start too */
		else if (err)
			return err == STOP && pending ? pending : err;
	}
	return pending;
}

int tree_diff(struct txn *t, const struct tree_root *a, const struct tree_root *b, uint64_t first,
	      unsigned max, struct tree_change *ret, unsigned *ret_n, uint64_t *ret_next)
{
	struct diff d = { .t = t, .first = first, .next = UINT64_MAX, .ret = ret, .max = max };
	unsigned level = a->depth > b->depth ? a->depth : b->depth;
	int err = pair(&d, (struct side){ a->ptr, a->depth }, (struct side){ b->ptr, b->depth }, level, 0);

	if (err < 0)
		return err;
	*ret_n = d.n;
	*ret_next = d.next;
	return 0;
}
