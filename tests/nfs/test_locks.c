/* SPDX-License-Identifier: Apache-2.0 */
/* The table of byte-range locks by itself. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "nfs/locks.h"

enum { BYTES = 64, HOLDERS = 5 };

static bool no_memory;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return no_memory ? NULL : __real_calloc(n, size);
}

static struct lock_span span(uint64_t first, uint64_t last, bool write)
{
	return (struct lock_span){ first, last, write };
}

/* ---- against a plain array ----------------------------------------------------------- */

/* model[h][k]: what holder h has of byte k, 0: nothing, 1: reading, 2: writing */
static uint8_t model[HOLDERS][BYTES];

static int first_clash(int who, struct lock_span s)
{
	for (uint64_t k = s.first; k <= s.last; k++)
		for (int o = 0; o < HOLDERS; o++)
			if (o != who && model[o][k] && (s.write || model[o][k] == 2))
				return k;
	return -1;
}

static unsigned pieces(int who)
{
	unsigned n = 0;

	for (int k = 0; k < BYTES; k++)
		n += model[who][k] && (!k || model[who][k] != model[who][k - 1]);
	return n;
}

static void test_model(void **state)
{
	struct lock_quota quota = { .max = 1000 };
	struct lock_holder h[HOLDERS];
	struct lock_set set;
	struct rng rng;

	rng_init(&rng, 12);
	lock_set_init(&set);
	for (int i = 0; i < HOLDERS; i++)
		lock_holder_init(&h[i], &set, &quota, LOCK_NFS4);
	for (int round = 0; round < 50000; round++) {
		int who = rng_below(&rng, HOLDERS), clash;
		uint64_t first = rng_below(&rng, BYTES), len = 1 + rng_below(&rng, 1 + round % BYTES);
		struct lock_span s = span(first, first + len - 1, rng_one_in(&rng, 2));
		const struct lock_range *other;

		s.last = s.last >= BYTES ? BYTES - 1 : s.last;
		clash = first_clash(who, s);
		other = lock_conflict(&set, &h[who], s);
		assert_int_equal(!!other, clash >= 0);
		if (other) {
			assert_true(other->holder != &h[who]);
			assert_true(other->span.first <= clash && other->span.last >= clash);
		}
		if (rng_one_in(&rng, 3)) {
			assert_int_equal(lock_release(&h[who], s), 0);
			memset(&model[who][s.first], 0, s.last - s.first + 1);
		} else if (clash < 0) {
			assert_int_equal(lock_take(&h[who], s), 0);
			memset(&model[who][s.first], s.write ? 2 : 1, s.last - s.first + 1);
		}
		assert_int_equal(h[who].nranges, pieces(who));
	}
	for (int i = 0; i < HOLDERS; i++)
		lock_holder_done(&h[i]);
	assert_true(lock_set_idle(&set));
	assert_int_equal(quota.used, 0);
}

/* ---- ends of the world --------------------------------------------------------------- */

static void test_edges(void **state)
{
	struct lock_quota quota = { .max = 10 };
	struct lock_holder a, b;
	struct lock_set set;

	lock_set_init(&set);
	lock_holder_init(&a, &set, &quota, LOCK_NFS4);
	lock_holder_init(&b, &set, &quota, LOCK_NLM);
	assert_int_equal(lock_take(&a, span(UINT64_MAX, UINT64_MAX, true)), 0);
	assert_int_equal(lock_take(&a, span(0, 0, true)), 0);
	assert_int_equal(a.nranges, 2);
	assert_non_null(lock_conflict(&set, &b, span(0, 0, false)));
	assert_null(lock_conflict(&set, &b, span(1, UINT64_MAX - 1, true)));
	assert_non_null(lock_conflict(&set, &b, span(1, UINT64_MAX, false)));
	assert_non_null(lock_conflict(&set, NULL, span(0, 5, false)));
	assert_int_equal(lock_take(&a, span(1, UINT64_MAX - 1, true)), 0);
	assert_int_equal(a.nranges, 1);
	assert_int_equal(lock_release(&a, span(0, UINT64_MAX, false)), 0);
	assert_int_equal(a.nranges, 0);
	assert_true(lock_set_idle(&set));
}

/* ---- limits -------------------------------------------------------------------------- */

static void check_two(struct lock_holder *h)
{
	assert_int_equal(h->nranges, 2);
	assert_null(lock_conflict(h->set, NULL, span(20, 29, true)));
	assert_non_null(lock_conflict(h->set, NULL, span(19, 19, false)));
	assert_non_null(lock_conflict(h->set, NULL, span(30, 30, false)));
}

static void test_limits(void **state)
{
	struct lock_quota quota = { .max = 2 };
	struct lock_holder h;
	struct lock_set set;

	lock_set_init(&set);
	lock_holder_init(&h, &set, &quota, LOCK_NFS4);
	assert_int_equal(lock_take(&h, span(10, 19, true)), 0);
	assert_int_equal(lock_take(&h, span(30, 39, true)), 0);
	for (int i = 0; i < 2; i++) {
		const int err = i ? -ENOMEM : -ENOSPC;

		quota.max = i ? 10 : 2;
		no_memory = i;
		assert_int_equal(lock_take(&h, span(50, 59, true)), err);
		assert_int_equal(lock_take(&h, span(12, 13, false)), err);
		assert_int_equal(lock_release(&h, span(12, 13, false)), err);
		no_memory = false;
		check_two(&h);
	}
	quota.max = 2;
	assert_int_equal(lock_release(&h, span(19, 19, true)), 0);	/* splits nothing */
	assert_int_equal(quota.used, 2);
	lock_holder_done(&h);
	assert_int_equal(quota.used, 0);
}

/* ---- many ---------------------------------------------------------------------------- */

/* What is quadratic here takes minutes: the test's time limit is the assertion. */
static void test_many(void **state)
{
	enum { MANY = 100000 };
	struct lock_quota quota = { .max = 10 * MANY };
	struct lock_holder *h = calloc(MANY, sizeof(*h)), one;
	struct lock_set set;

	lock_set_init(&set);
	lock_holder_init(&one, &set, &quota, LOCK_NFS4);
	for (int i = 0; i < MANY; i++) {		/* everybody reads all of it */
		lock_holder_init(&h[i], &set, &quota, LOCK_NFS4);
		assert_null(lock_conflict(&set, &h[i], span(0, UINT64_MAX, false)));
		assert_int_equal(lock_take(&h[i], span(0, UINT64_MAX, false)), 0);
		assert_non_null(lock_conflict(&set, &h[i], span(i, i, true)) ?: (void *)(size_t)!i);
	}
	for (int i = 0; i < MANY; i++)
		lock_holder_done(&h[i]);
	for (uint64_t i = 0; i < MANY; i++) {		/* each, and one, a piece of it */
		assert_int_equal(lock_take(&h[i], span(4 * i, 4 * i, true)), 0);
		assert_int_equal(lock_take(&one, span(4 * i + 2, 4 * i + 2, true)), 0);
		assert_non_null(lock_conflict(&set, &one, span(4 * i, 4 * i + 2, false)));
		assert_null(lock_conflict(&set, &one, span(4 * i + 1, 4 * i + 3, true)));
	}
	assert_int_equal(one.nranges, MANY);
	for (int i = 0; i < MANY; i++)
		lock_holder_done(&h[i]);
	assert_int_equal(lock_take(&one, span(0, UINT64_MAX, true)), 0);
	assert_int_equal(one.nranges, 1);
	lock_holder_done(&one);
	assert_int_equal(quota.used, 0);
	free(h);
}

/* ---- waiting ------------------------------------------------------------------------- */

struct wish { struct lock_waiter w; struct lock_holder h; bool take; unsigned told, order; };

static unsigned ntold;

static void freed(struct lock_waiter *w)
{
	struct wish *x = container_of(w, struct wish, w);

	x->told++;
	if (lock_conflict(x->h.set, &x->h, w->span))
		return;
	x->order = ++ntold;
	lock_wait_end(w);
	if (x->take)
		assert_int_equal(lock_take(&x->h, w->span), 0);
}

static void wish(struct wish *x, struct lock_set *set, struct lock_quota *q, struct lock_span s,
		 bool take)
{
	*x = (struct wish){ .w = { .span = s, .kind = LOCK_NLM, .freed = freed }, .take = take };
	lock_holder_init(&x->h, set, q, LOCK_NLM);
	lock_wait(set, &x->w);
}

static void test_waiters(void **state)
{
	struct lock_quota quota = { .max = 100 };
	struct lock_holder a;
	struct lock_set set;
	struct wish x[5];

	lock_set_init(&set);
	lock_holder_init(&a, &set, &quota, LOCK_NFS4);
	assert_int_equal(lock_take(&a, span(0, 99, true)), 0);
	wish(&x[0], &set, &quota, span(0, 9, true), true);
	wish(&x[1], &set, &quota, span(5, 5, false), true);	/* behind 0 */
	wish(&x[2], &set, &quota, span(50, 59, false), true);
	wish(&x[3], &set, &quota, span(55, 55, false), true);
	wish(&x[4], &set, &quota, span(200, 300, true), false);	/* of no concern to A */
	assert_false(lock_set_idle(&set));
	assert_int_equal(lock_release(&a, span(0, 4, false)), 0);
	assert_int_equal(x[0].told, 1);
	assert_int_equal(x[0].order, 0);			/* not all of it */
	assert_int_equal(x[1].told, 0);
	assert_int_equal(lock_release(&a, span(5, 9, false)), 0);
	assert_int_equal(x[0].order, 1);
	assert_int_equal(x[0].h.nranges, 1);
	assert_int_equal(x[1].told, 1);
	assert_int_equal(x[1].order, 0);			/* 0 was first */
	/* a downgrade frees for those who read */
	assert_int_equal(lock_take(&a, span(10, 99, false)), 0);
	assert_int_equal(x[2].order, 2);
	assert_int_equal(x[3].order, 3);
	lock_holder_done(&x[0].h);
	assert_int_equal(x[1].order, 4);
	assert_int_equal(x[4].told, 1);				/* all of 0's is all of the file */
	assert_int_equal(x[4].order, 5);
	for (int i = 1; i < 4; i++)
		lock_holder_done(&x[i].h);
	lock_holder_done(&a);
	lock_wait_end(&x[4].w);					/* once more does no harm */
	assert_true(lock_set_idle(&set));
}

/* Who gets his lock lets go of something by it, which somebody waits for that was passed by. */
static void test_waiters_chain(void **state)
{
	struct lock_quota quota = { .max = 100 };
	struct lock_holder a;
	struct lock_set set;
	struct wish reader, second;

	lock_set_init(&set);
	lock_holder_init(&a, &set, &quota, LOCK_NFS4);
	assert_int_equal(lock_take(&a, span(0, 9, true)), 0);
	wish(&reader, &set, &quota, span(20, 20, false), true);
	wish(&second, &set, &quota, span(5, 29, false), true);
	assert_int_equal(lock_take(&second.h, span(20, 29, true)), 0);
	assert_int_equal(lock_release(&a, span(0, 9, false)), 0);
	assert_int_equal(second.h.nranges, 1);
	assert_int_equal(reader.h.nranges, 1);
	lock_holder_done(&reader.h);
	lock_holder_done(&second.h);
	assert_true(lock_set_idle(&set));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model), cmocka_unit_test(test_edges),
		cmocka_unit_test(test_limits), cmocka_unit_test(test_many),
		cmocka_unit_test(test_waiters), cmocka_unit_test(test_waiters_chain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
