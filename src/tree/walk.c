/* SPDX-License-Identifier: Apache-2.0 */
/* See walk.h. */
#include "tree/walk.h"

#include <errno.h>
#include "base/err.h"
#include "tree/tree_int.h"

struct walk {
	struct txn *t;
	uint64_t first;
	tree_visit_fn fn;
	void *arg;
};

/* One of the two trees, at one place.  Below the level that the place has: a shallower tree, which hangs
 * at the left edge of what would be there. */
struct side { uint64_t ptr; unsigned level; };

static int children_of(struct walk *w, struct side s, unsigned level, const uint64_t **ret)
{
	struct block *b;
	int err;

	*ret = NULL;
	if (!ptr_of(s.ptr) || s.level < level)
		return 0;
	err = index_block(w->t, s.ptr, level, &b);
	if (!err)
		*ret = slots_of(b);
	return err;
}

static struct side child_of(struct side s, unsigned level, const uint64_t *slots, unsigned i)
{
	if (slots)
		return (struct side){ slots[i], level - 1 };
	return i || s.level >= level ? (struct side){ 0, level - 1 } : s;
}

static bool same(struct side a, struct side b)
{
	return ptr_of(a.ptr) == ptr_of(b.ptr) && (!ptr_of(a.ptr) || a.level == b.level);
}

static int visit(struct walk *w, struct side s, unsigned level, uint64_t index)
{
	struct tree_visit v = { index, tree_span(level), ptr_of(s.ptr), level };
	bool hole = !v.ptr;

	if (!hole && (s.level < level || index < w->first))
		return WALK_DOWN;
	if (index < w->first) {
		v.count -= w->first - index;
		v.index = w->first;
	}
	return w->fn(w->t, &v, w->arg);
}

/* WALK_OVER: go on behind it. */
static int walk_below(struct walk *w, struct side a, struct side b, unsigned level, uint64_t index)
{
	const uint64_t *slots, *base_slots;
	uint64_t span;
	int ret;

	if (same(a, b) || index + tree_span(level) <= w->first)
		return WALK_OVER;
	ret = visit(w, a, level, index);
	if (ret != WALK_DOWN || !level)
		return ret == WALK_DOWN ? WALK_OVER : ret;
	ret = children_of(w, a, level, &slots);
	if (!ret)
		ret = children_of(w, b, level, &base_slots);
	if (ret)
		return ret;
	span = tree_span(level - 1);
	for (unsigned i = 0; i < INDEX_SLOTS; i++) {
		ret = walk_below(w, child_of(a, level, slots, i), child_of(b, level, base_slots, i),
				 level - 1, index + i * span);
		if (ret != WALK_OVER)
			return ret;
	}
	return WALK_OVER;
}

int tree_walk(struct txn *t, const struct tree_root *r, const struct tree_root *base, uint64_t first,
	      tree_visit_fn fn, void *arg)
{
	struct walk w = { t, first, fn, arg };
	struct side a = { r->ptr, r->depth }, b = { 0, r->depth };
	unsigned level = r->depth;
	int ret;

	if (base) {
		b = (struct side){ base->ptr, base->depth };
		if (ptr_of(b.ptr) && b.level > level)
			level = b.level;
	}
	ret = walk_below(&w, a, b, level, 0);
	return ret < 0 ? ret : 0;
}
