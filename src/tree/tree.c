/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks over block trees.  Copy-on-write is decided in one place, txn_own(), on one downward
 * walk; the same code is a load pass and an apply pass.
 *
 * Invariants: no index block is empty; the slot of a level-1 block in its parent holds the
 * number of its mapped slots; a tree is no deeper than its last truncation or growth needed.
 */
#include "tree/tree_int.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include "base/err.h"

uint8_t tree_depth_for(uint64_t index)
{
	uint8_t depth = 0;

	while (depth < TREE_DEPTH_MAX && index >= tree_span(depth))
		depth++;
	return depth;
}

#define WALK_MAX (1u << 18)		/* index blocks that one walk without a range looks at */

/* ---- looking ---------------------------------------------------------------------------- */

int tree_lookup(struct txn *t, const struct tree_root *r, uint64_t index, uint64_t *ret_ptr)
{
	uint64_t ptr = r->ptr;

	if (index >= tree_span(r->depth)) {
		*ret_ptr = 0;
		return 0;
	}
	for (unsigned level = r->depth; level && ptr_of(ptr); level--) {
		struct block *b;
		int err = index_block(t, ptr, level, &b);

		if (err)
			return err;
		ptr = slots_of(b)[(index >> ((level - 1) * INDEX_BITS)) & (INDEX_SLOTS - 1)];
	}
	*ret_ptr = ptr_of(ptr);
	return 0;
}

int tree_lookup_range(struct txn *t, const struct tree_root *r, uint64_t first, uint32_t count,
		      uint64_t *ret_ptrs)
{
	uint32_t done = 0;
	int ret = 0;

	memset(ret_ptrs, 0, count * sizeof(*ret_ptrs));
	while (done < count) {
		uint64_t at = first + done, ptr = r->ptr;
		uint32_t in_leaf = at & (INDEX_SLOTS - 1), n = INDEX_SLOTS - in_leaf;
		struct block *b = NULL;
		int err = 0;

		if (n > count - done)
			n = count - done;
		if (at >= tree_span(r->depth))
			return ret;
		if (!r->depth) {
			ret_ptrs[done] = ptr_of(ptr);
			return ret;
		}
		for (unsigned level = r->depth; level && ptr_of(ptr) && !err; level--) {
			err = index_block(t, ptr, level, &b);
			if (!err && level > 1)
				ptr = slots_of(b)[(at >> ((level - 1) * INDEX_BITS)) & (INDEX_SLOTS - 1)];
		}
		if (err && err != -ERESTART_PASS)
			return err;
		if (err)
			ret = err;	/* start the other reads too */
		else if (ptr_of(ptr))
			for (uint32_t i = 0; i < n; i++)
				ret_ptrs[done + i] = ptr_of(slots_of(b)[in_leaf + i]);
		done += n;
	}
	return ret;
}

void tree_read_ahead(struct txn *t, const struct tree_root *r, uint64_t first, uint32_t count)
{
	for (uint64_t at = first, end = first + count; at < end && at < tree_span(r->depth);) {
		uint64_t next = (at / INDEX_SLOTS + 1) * INDEX_SLOTS, ptr = r->ptr;
		unsigned level = r->depth;
		struct block *b = NULL;

		if (next > end)
			next = end;
		while (level && ptr_of(ptr) && (b = txn_peek(t, ptr, level, TREE_FILE)) && --level)
			ptr = slots_of(b)[(at >> (level * INDEX_BITS)) & (INDEX_SLOTS - 1)];
		if (ptr_of(ptr) && !b)
			txn_read_ahead(t, &ptr, 1);
		else if (ptr_of(ptr))
			txn_read_ahead(t, slots_of(b) + at % INDEX_SLOTS, next - at);
		at = next;
	}
}

int tree_owned(struct txn *t, const struct tree_root *r, uint64_t index, bool leaf, bool *ret)
{
	uint64_t ptr = r->ptr;
	bool owned = true;

	if (index >= tree_span(r->depth))
		ptr = 0;
	for (unsigned level = r->depth; ptr_of(ptr) && (level || leaf); level--) {
		struct block_facts f;
		struct block *b;
		int err = txn_look(t, ptr, &f);

		if (!err && level)
			err = index_block(t, ptr, level, &b);
		if (err)
			return err;
		owned &= f.refs == 1;
		if (!level)
			break;
		ptr = slots_of(b)[(index >> ((level - 1) * INDEX_BITS)) & (INDEX_SLOTS - 1)];
	}
	*ret = owned;
	return 0;
}

struct seek { struct txn *t; bool data; uint64_t found; unsigned looked; };

/* The first fitting leaf at or after FIRST below PTR; 1: found.  Shared subtrees can unfold to more than
 * anybody could look at: after so many blocks, what comes counts as data, which nobody is hurt by. */
static int seek_below(struct seek *s, uint64_t ptr, unsigned level, uint64_t base, uint64_t first)
{
	struct block *b;
	uint64_t span, i;
	int err;

	if (!ptr_of(ptr) || !level) {
		if (!!ptr_of(ptr) != s->data)
			return 0;
		s->found = first > base ? first : base;
		return 1;
	}
	if (s->looked++ == WALK_MAX) {
		s->found = s->data ? first > base ? first : base : UINT64_MAX;
		return 1;
	}
	err = index_block(s->t, ptr, level, &b);
	if (err)
		return err;
	span = tree_span(level - 1);
	for (i = first > base ? (first - base) / span : 0; i < INDEX_SLOTS; i++) {
		uint64_t slot = slots_of(b)[i];

		/* A full or an empty subtree needs no look inside. */
		if (!ptr_of(slot) && s->data)
			continue;
		if (level == 2 && !s->data && mapped_of(slot) == INDEX_SLOTS)
			continue;
		err = seek_below(s, slot, level - 1, base + i * span, first);
		if (err)
			return err;
	}
	return 0;
}

int tree_seek(struct txn *t, const struct tree_root *r, uint64_t first, bool data, uint64_t *ret_index)
{
	struct seek s = { .t = t, .data = data };
	int err = 0;

	if (first < tree_span(r->depth))
		err = seek_below(&s, r->ptr, r->depth, 0, first);
	if (err < 0)
		return err;
	if (err)
		*ret_index = s.found;
	else if (data)
		*ret_index = UINT64_MAX;
	else
		*ret_index = first > tree_span(r->depth) ? first : tree_span(r->depth);
	return 0;
}

/* ---- changing leaves ---------------------------------------------------------------------- */

static void set_mapped(uint64_t *ptr, uint64_t mapped)
{
	*ptr = (*ptr & ~PTR_MAPPED_MASK) | (mapped << PTR_MAPPED_SHIFT & PTR_MAPPED_MASK);
}

struct modify {
	struct txn *t;
	uint8_t kind, stop;		/* stop: the level whose slots FN gets; 0: leaves.  Above, what
					 * that means for *mapped is the caller's */
	uint64_t first, end;		/* leaves */
	tree_slot_fn fn;
	void *arg;
	int64_t mapped;
};

static bool all_zero(const uint64_t *slots)
{
	for (unsigned i = 0; i < INDEX_SLOTS; i++)
		if (slots[i])
			return false;
	return true;
}

/* The block at *PTR has become empty: one pointer less, and that was the last. */
static void free_empty(struct txn *t, uint64_t *ptr)
{
	txn_unref(t, *ptr);
	*ptr = 0;
}

static int modify_leaf(struct modify *m, uint64_t *slot, uint64_t index)
{
	bool before = ptr_of(*slot);
	int err = m->fn(m->t, slot, index, m->arg);

	if (!m->stop)
		m->mapped += (int)!!ptr_of(*slot) - (int)before;
	return err;
}

/* Does the slot that leads to B, an index block of level 1 that isn't ours yet, lie about it? */
static bool mapped_wrong(struct txn *t, const struct block *b, uint64_t slot)
{
	const uint64_t *slots = (const uint64_t *)b->data;
	unsigned n = 0;

	if (!mapped_of(slot) || block_is_new(t, b))
		return false;		/* a root; or it was looked at when it was copied */
	for (unsigned i = 0; i < INDEX_SLOTS; i++)
		n += slots[i] != 0;
	return n != mapped_of(slot);
}

static int modify_below(struct modify *m, uint64_t *ptr, unsigned level, uint64_t base)
{
	uint64_t span, from, to;
	int64_t mapped = m->mapped;
	uint32_t old_mapped;
	struct block *b;
	int ret = 0, err;

	if (level == m->stop)
		return modify_leaf(m, ptr, base);
	err = txn_own(m->t, ptr, level, m->kind, &b);
	if (!err && !m->t->apply && b && level == 1 && mapped_wrong(m->t, b, *ptr))
		err = -EDAMAGED;
	if (err)
		return err;
	span = tree_span(level - 1);
	from = m->first > base ? (m->first - base) / span : 0;
	to = (m->end - 1 - base) / span;
	if (to >= INDEX_SLOTS)
		to = INDEX_SLOTS - 1;
	for (uint64_t i = from; i <= to; i++) {
		uint64_t slot = b ? slots_of(b)[i] : 0;

		err = modify_below(m, &slot, level - 1, base + i * span);
		if (m->t->apply)
			slots_of(b)[i] = slot;
		if (err && (!ret || ret == -ERESTART_PASS))
			ret = err;
		if (err && err != -ERESTART_PASS)
			break;
	}
	if (ret || !m->t->apply)
		return ret;
	if (m->mapped <= mapped && all_zero(slots_of(b))) {
		free_empty(m->t, ptr);
		return 0;
	}
	if (level == 1) {
		old_mapped = mapped_of(*ptr);
		set_mapped(ptr, old_mapped + (m->mapped - mapped));
	}
	return 0;
}

static int count_mapped(struct txn *t, uint64_t ptr, uint64_t *ret)
{
	struct block *b;
	int err = index_block(t, ptr, 1, &b);

	if (err)
		return err;
	for (unsigned i = 0; i < INDEX_SLOTS; i++)
		*ret += ptr_of(slots_of(b)[i]) != 0;
	return 0;
}

/* Makes the tree deep enough for leaf LAST.  The old root becomes the first child. */
static int grow(struct txn *t, struct tree_root *r, uint8_t kind, uint64_t last, uint8_t want)
{
	uint64_t mapped = 0;

	if (want > TREE_DEPTH_MAX || last >= tree_span(TREE_DEPTH_MAX))
		return -EFBIG;
	if (!ptr_of(r->ptr)) {
		if (t->apply && want > r->depth)
			r->depth = want;
		return 0;
	}
	if (r->depth == 1 && want > 1) {
		/* A root at level 1 had its count in nobody's slot: now it gets one. */
		int err = count_mapped(t, r->ptr, &mapped);

		if (err)
			return err;
	}
	for (uint8_t d = r->depth; d < want; d++) {
		struct block *b;
		uint64_t ptr = 0;
		int err = txn_own(t, &ptr, d + 1, kind, &b);

		if (err)
			return err;
		if (!t->apply)
			continue;
		slots_of(b)[0] = ptr_of(r->ptr);
		if (d == 0)
			mapped = 1;
		if (d == 1)
			slots_of(b)[0] |= mapped << PTR_MAPPED_SHIFT;
		r->ptr = ptr_of(ptr);
		r->depth = d + 1;
	}
	return 0;
}

static int modify(struct modify m, struct tree_root *r, uint64_t *mapped)
{
	struct txn *t = m.t;
	struct tree_root tmp = *r;
	uint64_t first = m.first;
	uint8_t want = tree_depth_for(m.end - 1);
	int err;

	assert(m.end > m.first);
	if (want < m.stop)
		want = m.stop;
	err = grow(t, t->apply ? r : &tmp, m.kind, m.end - 1, want);
	if (err)
		return err;
	if (t->apply) {
		err = modify_below(&m, &r->ptr, r->depth, 0);
		r->ptr = ptr_of(r->ptr);
		if (!r->ptr)
			r->depth = 0;
		if (mapped)
			*mapped += m.mapped;
		return err;
	}
	/* Load pass over a tree that will be deeper: new index blocks above the old root. */
	{
		uint64_t none = 0, old = ptr_of(r->ptr);

		if (want <= r->depth)
			return modify_below(&m, &old, r->depth, 0);
		if (old && first < tree_span(r->depth)) {
			struct modify inside = m;

			if (inside.end > tree_span(r->depth))
				inside.end = tree_span(r->depth);
			err = modify_below(&inside, &old, r->depth, 0);
			if (err)
				return err;
		}
		if (old && first < tree_span(r->depth))
			m.first = tree_span(r->depth);
		return modify_below(&m, &none, want, 0);
	}
}

int tree_modify(struct txn *t, struct tree_root *r, uint8_t kind, uint64_t first, uint32_t count,
		tree_slot_fn fn, void *arg, uint64_t *mapped)
{
	return modify((struct modify){ .t = t, .kind = kind, .first = first, .end = first + count,
				       .fn = fn, .arg = arg }, r, mapped);
}

/* ---- truncating --------------------------------------------------------------------------- */

struct trunc { struct txn *t; uint8_t kind; uint64_t first, end; uint64_t dropped; unsigned looked; };

/* The mapped leaves below PTR: from the level-2 blocks, one a GiB. */
static int count_below(struct trunc *c, uint64_t ptr, unsigned level, uint64_t *ret)
{
	struct block *b;
	int err, pending = 0;

	if (!ptr_of(ptr))
		return 0;
	if (!level) {
		++*ret;
		return 0;
	}
	if (level == 1 && mapped_of(ptr)) {
		*ret += mapped_of(ptr);
		return 0;
	}
	if (c->looked++ == WALK_MAX)
		return -E2BIG;
	err = index_block(c->t, ptr, level, &b);
	if (err)
		return err;
	for (unsigned i = 0; i < INDEX_SLOTS; i++) {
		err = count_below(c, slots_of(b)[i], level - 1, ret);
		if (err == -ERESTART_PASS)
			pending = err;
		else if (err)
			return err;
	}
	return pending;
}

/* The same of those leaves alone that are in the range. */
static int count_within(struct trunc *c, uint64_t ptr, unsigned level, uint64_t base, uint64_t *ret)
{
	struct block *b;
	int err, pending = 0;

	if (!ptr_of(ptr) || c->first >= base + tree_span(level) || c->end <= base)
		return 0;
	if (c->first <= base && c->end >= base + tree_span(level))
		return count_below(c, ptr, level, ret);
	err = index_block(c->t, ptr, level, &b);
	if (err)
		return err;
	for (unsigned i = 0; i < INDEX_SLOTS; i++) {
		err = count_within(c, slots_of(b)[i], level - 1, base + i * tree_span(level - 1), ret);
		if (err == -ERESTART_PASS)
			pending = err;
		else if (err)
			return err;
	}
	return pending;
}

int tree_count(struct txn *t, const struct tree_root *r, uint64_t first, uint64_t count,
	       uint64_t *ret_mapped)
{
	struct trunc c = { .t = t, .first = first, .end = first + count };

	*ret_mapped = 0;
	return count_within(&c, r->ptr, r->depth, 0, ret_mapped);
}

/* Drops the leaves from c->first to before c->end below *PTR, which covers leaves from BASE on. */
static int trunc_below(struct trunc *c, uint64_t *ptr, unsigned level, uint64_t base)
{
	uint64_t span;
	struct block *b;
	uint64_t dropped;
	int err, pending = 0;

	if (!ptr_of(*ptr) || c->first >= base + tree_span(level) || c->end <= base)
		return 0;
	if (c->first <= base && c->end >= base + tree_span(level)) {
		err = count_below(c, *ptr, level, &c->dropped);
		if (err)
			return err;
		err = tree_drop(c->t, *ptr, level, c->kind);
		if (c->t->apply)
			*ptr = 0;
		return err;
	}
	err = txn_own(c->t, ptr, level, c->kind, &b);
	if (!err && !c->t->apply && level == 1 && mapped_wrong(c->t, b, *ptr))
		err = -EDAMAGED;
	if (err)
		return err;
	span = tree_span(level - 1);
	dropped = c->dropped;
	for (uint64_t i = c->first > base ? (c->first - base) / span : 0;
	     i < INDEX_SLOTS && base + i * span < c->end; i++) {
		uint64_t slot = slots_of(b)[i];

		err = trunc_below(c, &slot, level - 1, base + i * span);
		if (err == -ERESTART_PASS)
			pending = err;
		else if (err)
			return err;
		if (c->t->apply)
			slots_of(b)[i] = slot;
	}
	if (pending || !c->t->apply)
		return pending;
	if (all_zero(slots_of(b)))
		free_empty(c->t, ptr);
	else if (level == 1)
		set_mapped(ptr, mapped_of(*ptr) - (c->dropped - dropped));
	return 0;
}

/* Takes away index levels that have become needless. */
static int shrink(struct txn *t, struct tree_root *r, uint8_t kind, uint64_t leaves)
{
	uint64_t ptr = r->ptr;

	for (unsigned level = r->depth; level && leaves <= tree_span(level - 1); level--) {
		struct block *b;
		uint64_t own = ptr_of(ptr);
		int err;

		if (!own) {
			if (t->apply)
				r->depth = level - 1;
			continue;
		}
		err = txn_own(t, &own, level, kind, &b);
		if (err)
			return err;
		ptr = ptr_of(slots_of(b)[0]);
		if (!t->apply) {
			err = txn_unref(t, own);
			if (err)
				return err;
			continue;
		}
		txn_unref(t, own);
		r->ptr = ptr;
		r->depth = level - 1;
	}
	if (t->apply && !r->ptr)
		r->depth = 0;
	return 0;
}

int tree_truncate(struct txn *t, struct tree_root *r, uint8_t kind, uint64_t first, uint64_t *mapped)
{
	struct trunc c = { .t = t, .kind = kind, .first = first, .end = UINT64_MAX };
	uint64_t ptr = r->ptr;
	int err;

	if (!first) {			/* the whole tree: its count is known */
		if (!ptr_of(r->ptr))
			return 0;
		err = tree_drop(t, r->ptr, r->depth, kind);
		if (t->apply) {
			*r = (struct tree_root){ 0 };
			*mapped = 0;
		}
		return err;
	}
	/* A root at level 1 has no slot that knows its count. */
	err = trunc_below(&c, t->apply ? &r->ptr : &ptr, r->depth, 0);
	if (err)
		return err;
	if (t->apply) {
		r->ptr = ptr_of(r->ptr);
		*mapped -= c.dropped;
	}
	return shrink(t, r, kind, first);
}

/* Drops COUNT leaves from FIRST on; *DROPPED: how many were mapped, of MAPPED in all.  In a load pass
 * too. */
static int punch(struct txn *t, struct tree_root *r, uint8_t kind, uint64_t first, uint64_t count,
		 uint64_t mapped, uint64_t *dropped)
{
	struct trunc c = { .t = t, .kind = kind, .first = first, .end = first + count };
	uint64_t ptr = r->ptr;
	int err;

	*dropped = 0;
	if (!ptr_of(r->ptr) || first >= tree_span(r->depth))
		return 0;
	if (!first && c.end >= tree_span(r->depth)) {
		*dropped = mapped;
		return tree_truncate(t, r, kind, 0, &mapped);
	}
	err = trunc_below(&c, t->apply ? &r->ptr : &ptr, r->depth, 0);
	if (err)
		return err;
	*dropped = c.dropped;
	if (t->apply) {
		r->ptr = ptr_of(r->ptr);
		if (!r->ptr)
			r->depth = 0;
	}
	return 0;
}

int tree_punch(struct txn *t, struct tree_root *r, uint8_t kind, uint64_t first, uint64_t count,
	       uint64_t *mapped)
{
	uint64_t dropped;
	int err = punch(t, r, kind, first, count, *mapped, &dropped);

	if (!err && t->apply)
		*mapped -= dropped;
	return err;
}

/* ---- sharing a range ---------------------------------------------------------------------- */

/* The slot, flags and all, that leads to the block of LEVEL over leaf INDEX; 0 for a hole.  The
 * slot of a level-1 block has its count. */
static int slot_at(struct txn *t, const struct tree_root *r, uint64_t index, unsigned level,
		   uint64_t *ret)
{
	uint64_t ptr = r->ptr, mapped = 0;

	*ret = 0;
	if (index >= tree_span(r->depth))
		return 0;
	for (unsigned at = r->depth; at > level && ptr_of(ptr); at--) {
		struct block *b;
		int err = index_block(t, ptr, at, &b);

		if (err)
			return err;
		ptr = slots_of(b)[(index >> ((at - 1) * INDEX_BITS)) & (INDEX_SLOTS - 1)];
	}
	if (level == 1 && r->depth == 1 && ptr_of(ptr)) {
		int err = count_mapped(t, ptr, &mapped);

		if (err)
			return err;
		ptr |= mapped << PTR_MAPPED_SHIFT;
	}
	*ret = ptr_of(ptr) ? ptr : 0;
	return 0;
}

struct graft {
	uint8_t kind, level;
	uint64_t first;			/* leaf of the first slot */
	const uint64_t *slots;		/* what comes */
	uint64_t came, went;		/* mapped leaves */
};

/* One subtree of the source takes the place of what is there. */
static int graft_slot(struct txn *t, uint64_t *slot, uint64_t index, void *arg)
{
	struct graft *g = arg;
	struct trunc c = { .t = t };
	uint64_t came = g->slots[(index - g->first) / tree_span(g->level)];
	int err = 0;

	/* In a load pass it only seems so: where a count has no room, owning what is above made a copy. */
	if (t->apply && ptr_of(*slot) && ptr_of(*slot) == ptr_of(came))
		return 0;
	if (ptr_of(came)) {
		err = count_below(&c, came, g->level, &g->came);
		if (!err)
			err = txn_share(t, &came, g->level, g->kind);
	}
	if (!err && ptr_of(*slot)) {
		err = count_below(&c, *slot, g->level, &g->went);
		if (!err)
			err = tree_drop(t, *slot, g->level, g->kind);
	}
	if (!err && t->apply)
		*slot = came;
	return err;
}

static unsigned fitting_level(const struct tree_root *src, const struct tree_root *dst, uint64_t from,
			      uint64_t to, uint64_t left)
{
	unsigned level = 0, max = src->depth < dst->depth ? src->depth : dst->depth;

	/* A level above 2 would have its mapped leaves counted block by block. */
	if (max > 2)
		max = 2;
	while (level < max && !(from % tree_span(level + 1)) && !(to % tree_span(level + 1)) &&
	       left >= tree_span(level + 1))
		level++;
	return level;
}

/*
 * Decisions are made by what both trees were before, so that they are alike in each pass: while a
 * source that is another tree stays as it is, one that is the target's own changes in the apply pass.
 */
struct share {
	struct tree_root src, dst;	/* as they were, but for what DST grows */
	const struct tree_root *from;	/* the source as it is now */
	bool same;			/* it is the target */
	uint8_t kind;
	const struct tree_range *range;
	uint64_t done;
	unsigned pieces;
	uint64_t mapped;		/* of the target, by now: in a load pass too */
	uint64_t last;			/* where the last run began in the target */
	bool punched;
};

/* How many pieces of one level come next, up to the end of their parent in the target: they are one
 * walk down.  Behind their parent in the source there may be a large hole. */
static unsigned next_run(const struct share *s, unsigned *ret_level)
{
	const struct tree_range *g = s->range;
	uint64_t done = s->done, span;
	unsigned n = 0;

	*ret_level = fitting_level(&s->src, &s->dst, g->from + done, g->to + done, g->count - done);
	span = tree_span(*ret_level);
	do {
		n++;
		done += span;
	} while (done < g->count && s->pieces + n < g->max_pieces &&
		 (g->to + done) / span % INDEX_SLOTS &&
		 (s->same || (g->from + done) / span % INDEX_SLOTS) &&
		 fitting_level(&s->src, &s->dst, g->from + done, g->to + done, g->count - done) ==
		 *ret_level);
	return n;
}

/*
 * How many leaves from here on are surely a hole in the source: one piece, however many (a sparse
 * file has up to 2^48).  0: look at them one by one.
 */
static int hole_ahead(struct txn *t, const struct share *s, uint64_t *ret)
{
	uint64_t from = s->range->from + s->done, left = s->range->count - s->done;
	uint64_t ptr = s->src.ptr, span, end;

	*ret = left;
	if (!ptr_of(ptr) || from >= tree_span(s->src.depth))
		return 0;
	*ret = 0;
	for (unsigned level = s->src.depth; level > 1 && !s->same; level--) {
		struct block *b;
		unsigned i;
		int err = index_block(t, ptr, level, &b);

		if (err)
			return err;
		span = tree_span(level - 1);
		i = from / span % INDEX_SLOTS;
		ptr = slots_of(b)[i];
		if (ptr_of(ptr))
			continue;
		for (end = from / span; i < INDEX_SLOTS && !ptr_of(slots_of(b)[i]); i++)
			end++;
		*ret = end * span - from < left ? end * span - from : left;
		return 0;
	}
	return 0;
}

/* A hole of the source becomes one of the target. */
static int share_hole(struct txn *t, struct tree_root *dst, struct share *s, uint64_t count)
{
	uint64_t dropped, at = s->range->to + s->done;
	int err = punch(t, dst, s->kind, at, count, s->mapped, &dropped);

	s->done += count;
	if (!err) {
		s->mapped -= dropped;
		s->punched = true;
	}
	return err;
}

/* A target that is smaller than the first piece gives way to it as a whole. */
static int drop_small(struct txn *t, struct tree_root *dst, struct share *s)
{
	int err = tree_drop(t, dst->ptr, dst->depth, s->kind);

	*dst = (struct tree_root){ 0 };
	if (!err)
		s->mapped = 0;
	return err;
}

/* Load pass: a hole may have emptied index blocks that this run, at TO, makes again. */
static void foresee_again(struct txn *t, struct share *s, uint64_t to, unsigned level)
{
	for (unsigned d = level + 1; s->punched && d <= s->dst.depth; d++)
		if (s->last == UINT64_MAX || to / tree_span(d) != s->last / tree_span(d)) {
			t->need_meta++;
			t->copied++;
		}
	s->last = to;
}

/*
 * Load pass: a block of level 1 becomes the target's root, and the target grows later in the range: then
 * its mapped leaves are counted, so it has to be there.
 */
static int foresee_growth(struct txn *t, const struct share *s, const struct graft *g, unsigned n)
{
	uint64_t mapped = 0;

	if (g->level != 1 || g->first || n > 1 || s->dst.depth < 2 || !ptr_of(g->slots[0]))
		return 0;
	return count_mapped(t, g->slots[0], &mapped);
}

static int graft_run(struct txn *t, struct tree_root *dst, struct share *s, struct graft *g, unsigned n)
{
	struct modify m = { .t = t, .kind = s->kind, .stop = g->level, .first = g->first,
			    .end = g->first + n * tree_span(g->level), .fn = graft_slot, .arg = g };
	struct tree_root copy = *dst;
	int err = 0;

	if (!t->apply) {
		foresee_again(t, s, g->first, g->level);
		err = foresee_growth(t, s, g, n);
	}
	if (err)
		return err;
	if (ptr_of(dst->ptr) && !g->first && dst->depth < g->level) {
		if (!t->apply)
			dst = &copy;
		err = drop_small(t, dst, s);
	}
	if (!err && !t->apply && g->level == 1 && s->dst.depth > 1 &&
	    tree_depth_for(m.end - 1) <= 1 && ptr_of(g->slots[0])) {
		struct block *b;

		/* It becomes the root, and growing will ask for its mapped leaves. */
		err = index_block(t, g->slots[0], 1, &b);
	}
	if (!err)
		err = modify(m, dst, NULL);
	if (!err)
		s->mapped += g->came - g->went;
	return err;
}

static int share_run(struct txn *t, struct tree_root *dst, struct share *s)
{
	uint64_t slots[INDEX_SLOTS], from = s->range->from + s->done, hole;
	struct graft g = { .kind = s->kind, .first = s->range->to + s->done, .slots = slots };
	unsigned level, n;
	bool any = false;
	int pending = 0, err = hole_ahead(t, s, &hole);

	if (err || hole) {
		s->pieces++;
		return err ? err : share_hole(t, dst, s, hole);
	}
	n = next_run(s, &level);
	g.level = level;
	for (unsigned i = 0; i < n; i++) {
		err = slot_at(t, s->from, from + i * tree_span(level), level, &slots[i]);
		if (err == -ERESTART_PASS)
			pending = err;
		else if (err)
			return err;
		any |= slots[i] != 0;
	}
	s->pieces += n;
	if (!pending && !any)
		return share_hole(t, dst, s, n * tree_span(level));
	if (!pending)
		pending = graft_run(t, dst, s, &g, n);
	s->done += n * tree_span(level);
	return pending;
}

int tree_share_range(struct txn *t, const struct tree_root *src, struct tree_root *dst, uint8_t kind,
		     const struct tree_range *range, uint64_t *mapped, uint64_t *ret_done)
{
	struct share s = { .src = *src, .dst = *dst, .from = src, .same = src == dst, .kind = kind,
			   .range = range, .mapped = *mapped, .last = UINT64_MAX };
	int pending = 0;

	if (s.dst.depth < tree_depth_for(range->to + range->count - 1))
		s.dst.depth = tree_depth_for(range->to + range->count - 1);
	while (s.done < range->count && s.pieces < range->max_pieces) {
		uint64_t at = s.done;
		int err = share_run(t, dst, &s);

		if (err && err != -ERESTART_PASS)
			return err;
		if (err)
			pending = err;
		if (s.done == at)	/* the way to what comes next is not there yet */
			break;
	}
	if (pending)
		return pending;
	*mapped = s.mapped;
	*ret_done = s.done < range->count ? s.done : range->count;
	return 0;
}
