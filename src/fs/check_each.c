/* SPDX-License-Identifier: Apache-2.0 */
/* The leaves of one tree, in order. */
#include "fs/check_int.h"

#include <inttypes.h>

struct each {
	struct check *c;
	const struct where *where;	/* NULL: say nothing */
	leaf_fn fn;
	void *arg;
	bool read, whole;
	struct seen seen;		/* what is met twice is part of a loop, or of a tree that unfolds
					 * to more leaves than there are blocks */
};

static void each_block(struct each *e, uint64_t block, unsigned level, uint64_t index)
{
	const char *why;
	uint64_t *data;
	bool read = level || e->read;

	if (!read) {
		if (block_refused(e->c, block))
			e->whole = false;
		else
			e->fn(e->c, index, block, NULL, e->arg);
		return;
	}
	if (!mark_first(e->c, &e->seen, block)) {
		e->whole = false;
		if (e->where && !e->c->err)
			finding(e->c, "%s: block %" PRIu64 " occurs twice",
				where_text(e->c, e->where), block);
		return;
	}
	data = frame_push(e->c);
	if (!read_meta(e->c, block, data, &why))
		e->whole = false;
	else if (!level)
		e->fn(e->c, index, block, data, e->arg);
	else
		for (unsigned i = 0; i < INDEX_SLOTS && !e->c->err; i++)
			if (data[i])
				each_block(e, data[i] & PTR_BLOCK_MASK, level - 1,
					   index + i * tree_span(level - 1));
	frame_pop(e->c);
}

static bool each_run(struct each *e, uint64_t root, unsigned depth)
{
	if (depth > TREE_DEPTH_MAX)
		return false;
	if (root & PTR_BLOCK_MASK)
		each_block(e, root & PTR_BLOCK_MASK, depth, 0);
	seen_done(&e->seen);
	return e->whole && !e->c->err;
}

bool each_leaf(struct check *c, const struct where *w, uint64_t root, unsigned depth, leaf_fn fn,
	       void *arg)
{
	struct each e = { .c = c, .where = w, .fn = fn, .arg = arg, .read = true, .whole = true };

	return each_run(&e, root, depth);
}

bool each_leaf_ptr(struct check *c, const struct where *w, uint64_t root, unsigned depth,
		   leaf_fn fn, void *arg)
{
	struct each e = { .c = c, .where = w, .fn = fn, .arg = arg, .whole = true };

	return each_run(&e, root, depth);
}
