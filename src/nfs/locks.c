/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte-range locks; see locks.h.
 *
 * A range is in two trees.  The file's holds the ranges of all owners by their beginnings, and
 * each node knows the greatest end in its subtree (and that of ranges for writing), so that a
 * subtree that can't conflict is passed over: an interval tree.  The holder's ranges don't
 * overlap and no two neighbours are of one kind.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "base/rng.h"
#include "nfs/locks.h"

/* ---- the two trees ------------------------------------------------------------------- */

static struct lock_range *of_file(const struct treap_node *n)
{
	return container_of(n, struct lock_range, in_file);
}

static struct lock_range *of_holder(const struct treap_node *n)
{
	return container_of(n, struct lock_range, in_holder);
}

static bool before_in_file(const struct treap_node *a, const struct treap_node *b)
{
	const struct lock_range *x = of_file(a), *y = of_file(b);

	return x->span.first != y->span.first ? x->span.first < y->span.first : x < y;
}

static uint64_t greater(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void update_in_file(struct treap_node *n)
{
	struct lock_range *r = of_file(n);
	const struct treap_node *const below[] = { n->left, n->right };

	r->max = r->span.last;
	r->write_max = r->span.write ? r->span.last : 0;
	r->writes = r->span.write;
	for (int i = 0; i < 2; i++)
		if (below[i]) {
			r->max = greater(r->max, of_file(below[i])->max);
			r->write_max = greater(r->write_max, of_file(below[i])->write_max);
			r->writes |= of_file(below[i])->writes;
		}
}

static bool before_in_holder(const struct treap_node *a, const struct treap_node *b)
{
	return of_holder(a)->span.first < of_holder(b)->span.first;
}

static const struct treap_ops file_ops = { before_in_file, update_in_file };
static const struct treap_ops holder_ops = { before_in_holder, NULL };

static void enter(struct lock_range *r)
{
	struct lock_holder *h = r->holder;

	treap_insert(&h->set->ranges, &r->in_file, cheap_random_u64(), &file_ops);
	treap_insert(&h->ranges, &r->in_holder, cheap_random_u64(), &holder_ops);
}

static void leave(struct lock_range *r)
{
	treap_remove(&r->holder->set->ranges, &r->in_file, &file_ops);
	treap_remove(&r->holder->ranges, &r->in_holder, &holder_ops);
}

/* ---- ranges -------------------------------------------------------------------------- */

static bool may_have(const struct lock_holder *h, unsigned more)
{
	for (const struct lock_quota *q = h->quota; q; q = q->all)
		if (q->used + more > q->max)
			return false;
	return true;
}

static void count(struct lock_holder *h, int more)
{
	h->nranges += more;
	for (struct lock_quota *q = h->quota; q; q = q->all)
		q->used += more;
}

static struct lock_range *range_new(struct lock_holder *h)
{
	struct lock_range *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->holder = h;
	count(h, 1);
	return r;
}

static void range_free(struct lock_range *r)
{
	count(r->holder, -1);
	free(r);
}

static bool ends_at_or_after(const struct treap_node *n, const void *at)
{
	return of_holder(n)->span.last >= *(const uint64_t *)at;
}

/* H's first range that ends at AT or after it. */
static struct lock_range *own_from(const struct lock_holder *h, uint64_t at)
{
	struct treap_node *n = treap_find(h->ranges, ends_at_or_after, &at);

	return n ? of_holder(n) : NULL;
}

static void set_span(struct lock_range *r, struct lock_span span)
{
	leave(r);
	r->span = span;
	enter(r);
}

/* H has a range that S would leave two ends of. */
static bool splits(const struct lock_holder *h, struct lock_span s)
{
	const struct lock_range *r = own_from(h, s.first);

	return r && r->span.first < s.first && r->span.last > s.last;
}

/*
 * Takes S out of what H has.  Where a range is split, the back becomes *SPARE, which is then
 * NULL.  Returns whether something got free for others: all of it, or (S is for reading) what was
 * for writing.
 */
static bool cut(struct lock_holder *h, struct lock_span s, bool released, struct lock_range **spare)
{
	struct lock_range *r;
	bool freed = false;

	while ((r = own_from(h, s.first)) && r->span.first <= s.last) {
		const struct lock_span old = r->span;

		freed |= released || (old.write && !s.write);
		if (old.first < s.first && old.last > s.last) {
			(*spare)->span = (struct lock_span){ s.last + 1, old.last, old.write };
			enter(*spare);
			*spare = NULL;
		}
		if (old.first < s.first) {
			set_span(r, (struct lock_span){ old.first, s.first - 1, old.write });
		} else if (old.last > s.last) {
			set_span(r, (struct lock_span){ s.last + 1, old.last, old.write });
		} else {
			leave(r);
			range_free(r);
		}
	}
	return freed;
}

/* Makes N one with H's neighbours of its kind. */
static void merge(struct lock_holder *h, struct lock_range *n)
{
	struct lock_range *r = n->span.first ? own_from(h, n->span.first - 1) : NULL;

	if (r && r->span.last == n->span.first - 1 && r->span.write == n->span.write) {
		n->span.first = r->span.first;
		leave(r);
		range_free(r);
	}
	r = n->span.last != UINT64_MAX ? own_from(h, n->span.last + 1) : NULL;
	if (r && r->span.first == n->span.last + 1 && r->span.write == n->span.write) {
		n->span.last = r->span.last;
		leave(r);
		range_free(r);
	}
}

/* ---- conflicts ----------------------------------------------------------------------- */

static const struct lock_range *find_conflict(const struct treap_node *n,
					      const struct lock_holder *self, struct lock_span s)
{
	const struct lock_range *r = n ? of_file(n) : NULL, *found;

	if (!r || (s.write ? r->max : r->write_max) < s.first || (!s.write && !r->writes))
		return NULL;
	found = find_conflict(n->left, self, s);
	if (found || r->span.first > s.last)
		return found;
	if (r->span.last >= s.first && (s.write || r->span.write) && r->holder != self)
		return r;
	return find_conflict(n->right, self, s);
}

const struct lock_range *lock_conflict(const struct lock_set *s, const struct lock_holder *self,
				       struct lock_span span)
{
	return find_conflict(s->ranges, self, span);
}

/* ---- sets and holders ---------------------------------------------------------------- */

void lock_set_init(struct lock_set *s)
{
	*s = (struct lock_set){ 0 };
	list_init(&s->waiters);
}

bool lock_set_idle(const struct lock_set *s)
{
	return !s->ranges && list_empty(&s->waiters);
}

/* Who is told may take a lock, and by that free something again. */
static void tell_waiters(struct lock_set *set, struct lock_span s)
{
	struct list *e, *tmp;

	set->again = true;
	if (set->telling)
		return;
	set->telling = true;
	while (set->again) {
		set->again = false;
		list_each_safe(e, tmp, &set->waiters) {
			struct lock_waiter *w = container_of(e, struct lock_waiter, in_set);

			if (w->span.first <= s.last && w->span.last >= s.first)
				w->freed(w);
		}
		s = (struct lock_span){ 0, UINT64_MAX, true };
	}
	set->telling = false;
}

void lock_holder_init(struct lock_holder *h, struct lock_set *s, struct lock_quota *q,
		      enum lock_kind kind)
{
	*h = (struct lock_holder){ .set = s, .quota = q, .kind = kind };
}

void lock_holder_done(struct lock_holder *h)
{
	const struct lock_span all = { 0, UINT64_MAX, false };
	struct lock_range *none = NULL;

	if (cut(h, all, true, &none))
		tell_waiters(h->set, all);
}

int lock_take(struct lock_holder *h, struct lock_span span)
{
	bool split = splits(h, span);
	struct lock_range *n, *spare = NULL;

	assert(span.first <= span.last);
	if (!may_have(h, 1 + split))
		return -ENOSPC;
	n = range_new(h);
	if (n && split)
		spare = range_new(h);
	if (!n || (split && !spare)) {
		if (n)
			range_free(n);
		return -ENOMEM;
	}
	bool freed = cut(h, span, false, &spare);

	n->span = span;
	merge(h, n);
	enter(n);
	if (freed)
		tell_waiters(h->set, span);
	return 0;
}

int lock_release(struct lock_holder *h, struct lock_span span)
{
	bool split = splits(h, span);
	struct lock_range *spare = NULL;

	assert(span.first <= span.last);
	if (split && !may_have(h, 1))
		return -ENOSPC;
	if (split && !(spare = range_new(h)))
		return -ENOMEM;
	if (cut(h, span, true, &spare))
		tell_waiters(h->set, span);
	return 0;
}

/* ---- waiters ------------------------------------------------------------------------- */

void lock_wait(struct lock_set *s, struct lock_waiter *w)
{
	list_add_tail(&s->waiters, &w->in_set);
}

void lock_wait_end(struct lock_waiter *w)
{
	list_del(&w->in_set);
}
