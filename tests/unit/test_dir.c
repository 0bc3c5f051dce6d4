/* SPDX-License-Identifier: Apache-2.0 */
/* Directories against a model, on a store that keeps the rules of transactions strictly
 * (dir_store.h).  "test_dir bench [N]" measures instead, in CPU time. */
#include <assert.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/err.h"
#include "dir_model.h"

/* ---- tests --------------------------------------------------------------------------------- */

/* Random operations; the number of names swings between few and many. */
static void churn(uint32_t steps, unsigned evict_every)
{
	unsigned inserts = 60;

	for (uint32_t i = 1; i <= steps; i++) {
		uint32_t id = rng_below(&S.rng, M_n), what = rng_below(&S.rng, 100);

		if (i % (steps / 8) == 0) {
			inserts = inserts == 60 ? 20 : 60;
			check_all();
		}
		if (evict_every && i % evict_every == 0)
			evict(1 + rng_below(&S.rng, 4));
		if (what < inserts)
			do_insert(id, i);
		else if (what < 80)
			do_remove(id);
		else if (what < 85)
			do_replace(id, i);
		else if (what < 95)
			do_rename(id, rng_below(&S.rng, M_n), i);
		else
			lookup_check(id);
	}
	check_all();
}

static void remove_all(void)
{
	uint32_t n = sort_model(), *ids = sorted;

	sorted = NULL;
	for (uint32_t i = n; i > 0; i--) {
		uint32_t k = rng_below(&S.rng, i), id = ids[k];

		ids[k] = ids[i - 1];
		do_remove(id);
	}
	free(ids);
}

static void expect_empty(void)
{
	check_all();
	assert_int_equal(inode()->dir_pages, 1);
	assert_int_equal(inode()->dir_levels, 1);
	assert_int_equal(inode()->dir_free, 0);
	assert_int_equal(S.nfree, S.nframes - 2);	/* but the inode and page 0 */
}

static void test_random(void **state)
{
	static const struct { uint32_t ids, steps; unsigned pad; } c[] = {
		{ 10, 4000, 0 }, { 60, 8000, 256 }, { 700, 20000, 100 }, { 6000, 60000, 256 },
	};

	for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		assert_int_equal(make(8192, false, i), 0);
		model_new(c[i].ids, c[i].pad);
		churn(c[i].steps, 23);
		remove_all();
		expect_empty();
		store_free();
	}
}

/* Few hashes: their names fill several leaves each, up to the limit of 256. */
static void test_collisions(void **state)
{
	for (unsigned bits = 0; bits < 4; bits++) {
		assert_int_equal(make(2048, false, bits), 0);
		model_new(350 << bits, bits % 2 ? 256 : 0);
		dir_hash_mask = (1u << bits) - 1;
		for (uint32_t i = 0; i < M_n; i++)
			do_insert(i, i + 1);
		assert_int_equal(M_present < M_n, 1);	/* some were refused */
		check_all();
		churn(8000 << bits, 41);
		remove_all();
		expect_empty();
		store_free();
	}
	dir_hash_mask = UINT64_MAX;
}

static void test_large(void **state)
{
	struct walk w;

	assert_int_equal(make(16384, false, 5), 0);
	model_new(150000, 0);
	for (uint32_t i = 0; i < M_n; i++)
		do_insert(i, i + 1);
	check_all();
	w = check_tree();
	assert_true(inode()->dir_levels == 3);
	assert_true(w.leaves < M_n * 40ull / DIR_BODY * 100 / 60);	/* fuller than 60 % */
	for (uint32_t i = 0; i < M_n; i++)
		if (i % 1000)
			do_remove(i);
	check_all();
	assert_true(check_tree().leaves <= 150);
	for (uint32_t i = 0; i < 30000; i++)
		if (!M[i].ino)
			do_insert(i, i + 1);
	check_all();
	remove_all();
	expect_empty();
	store_free();
}

/* A reader goes through in steps while names come and go: each that was there all the time is
 * seen once, none twice, none that went before the reader came by. */
struct seen { uint32_t *count; uint64_t last; uint32_t left; };

static int seen_fn(void *arg, const struct dir_found *e, struct fs_name name)
{
	struct seen *s = arg;
	unsigned id;

	assert_int_equal(sscanf(name.s, "vm-%06u", &id), 1);
	assert_int_equal(M[id].key, e->key);
	assert_true(M[id].ino && e->key > s->last);
	s->last = e->key;
	s->count[id]++;
	return --s->left ? 0 : 1;
}

static int op_seen(struct dir *d, void *arg)
{
	struct seen *s = arg;

	return dir_iterate(d, s->last, seen_fn, s);
}

static void cookies(uint64_t mask, uint32_t ids)
{
	uint8_t *disturbed = need(calloc(ids, 1));
	struct seen s = { .count = need(calloc(ids, sizeof(uint32_t))) };
	int more = 1;

	assert_int_equal(make(4096, false, 9), 0);
	model_new(ids, 80);
	dir_hash_mask = mask;
	for (uint32_t i = 0; i < ids; i += 2)
		do_insert(i, i + 1);
	while (more) {
		s.left = 1 + rng_below(&S.rng, 30);
		more = run(false, op_seen, &s);
		for (int i = 0; i < 60; i++) {
			uint32_t id = rng_below(&S.rng, ids);

			if (id % 3 == 0)
				continue;
			disturbed[id] = 1;
			if (M[id].ino)
				do_remove(id);
			else
				do_insert(id, id + 1);
		}
	}
	for (uint32_t i = 0; i < ids; i++) {
		if (!disturbed[i])
			assert_int_equal(s.count[i], i % 2 == 0);
	}
	check_all();
	dir_hash_mask = UINT64_MAX;
	free(disturbed);
	free(s.count);
	store_free();
}

static void test_cookies(void **state)
{
	cookies(UINT64_MAX, 12000);
	cookies(0x1f, 4000);
}

/* ---- bulk ---------------------------------------------------------------------------------- */

/* Inserts ids FIRST .. FIRST + N - 1 in one operation. */
static void do_bulk(uint32_t first, uint32_t n)
{
	struct op o = { .names = bulk_names, .n = n, .ino = first + 1, .bad = 77 };
	char buf[256];

	S.generation++;		/* so that what is used is what is touched */

	for (uint32_t i = 0; i < n; i++)
		bulk_names[i] = name_of(first + i, bulk_bufs[i]);
	assert_int_equal(run(true, op_bulk, &o), 0);
	assert_int_equal(o.bad, 77);
	for (uint32_t i = 0; i < n; i++) {
		M[first + i] = (struct entry){ .key = key_expected(first + i, buf),
					       .ino = first + i + 1, .type = FS_REG };
		M_present++;
	}
	if (n >= 100)
		assert_true(S.t.need_meta <= 2 * S.used);
	check_tree();
}

static void test_bulk(void **state)
{
	assert_int_equal(make(16384, false, 11), 0);
	model_new(140000, 0);
	bulk_alloc(100000);
	do_bulk(0, 10000);			/* into an empty one */
	do_bulk(10000, 100);
	evict(1);
	do_bulk(10100, 10000);
	do_bulk(20100, 100000);
	evict(2);
	do_bulk(120100, 10000);			/* nearly each leaf gets some */
	check_all();
	for (uint32_t i = 0; i < 120000; i++)	/* a long free list, gone cold */
		do_remove(i);
	evict(1);
	for (uint32_t i = 0; i < 3; i++)
		do_bulk(i * 7000, 7000);
	check_all();
	remove_all();
	expect_empty();
	for (uint32_t i = 0; i < 300; i++)
		do_bulk(i * 10, 10);
	check_all();
	store_free();

	dir_hash_mask = 0xf;			/* many of one hash in one operation */
	assert_int_equal(make(4096, false, 12), 0);
	model_new(3600, 256);
	for (uint32_t i = 0; i < 3; i++) {
		evict(2);
		do_bulk(i * 1000, 1000);
	}
	check_all();
	dir_hash_mask = UINT64_MAX;
	bulk_release();
	store_free();
}

static void test_bulk_refused(void **state)
{
	struct op o = { .ino = 1, .bad = 77 };

	assert_int_equal(make(4096, false, 13), 0);
	model_new(2000, 0);
	bulk_alloc(2000);
	o.names = bulk_names;
	do_bulk(0, 1000);
	for (uint32_t i = 0; i < 1000; i++)
		bulk_names[i] = name_of(1000 + i, bulk_bufs[i]);
	o.n = 1000;
	bulk_names[600] = bulk_names[200];	/* twice */
	assert_int_equal(run(true, op_bulk, &o), -EEXIST);
	assert_int_equal(o.bad, 600);
	bulk_names[700] = name_of(5, bulk_bufs[700]);	/* exist */
	bulk_names[500] = name_of(6, bulk_bufs[500]);
	evict(2);
	assert_int_equal(run(true, op_bulk, &o), -EEXIST);
	assert_int_equal(o.bad, 500);
	for (uint32_t i = 0; i < 1000; i++)
		bulk_names[i] = bulk_names[0];
	assert_int_equal(run(true, op_bulk, &o), -EEXIST);
	assert_int_equal(o.bad, 1);
	bulk_names[3] = (struct fs_name){ .s = "a/b", .len = 3 };
	assert_int_equal(run(true, op_bulk, &o), -EINVAL);
	assert_int_equal(o.bad, 3);
	check_all();
	o.n = 0;
	assert_int_equal(run(true, op_bulk, &o), 0);
	store_free();

	dir_hash_mask = 0;			/* 253 names have room under hash 0 */
	assert_int_equal(make(4096, false, 14), 0);
	model_new(2000, 0);
	for (uint32_t i = 0; i < 300; i++)
		bulk_names[i] = name_of(i, bulk_bufs[i]);
	o = (struct op){ .names = bulk_names, .n = 254, .ino = 1, .bad = 77 };
	assert_int_equal(run(true, op_bulk, &o), -ENOSPC);
	o.n = 300;
	assert_int_equal(run(true, op_bulk, &o), -ENOSPC);
	assert_int_equal(o.bad, 77);
	check_all();
	do_bulk(0, 200);
	for (uint32_t i = 0; i < 200; i += 2)
		do_remove(i);
	do_bulk(200, 153);			/* fills the gaps, then the end */
	check_all();
	do_insert(1999, 1);			/* refused */
	assert_int_equal(M[1999].ino, 0);
	dir_hash_mask = UINT64_MAX;
	bulk_release();
	store_free();
}

static void test_names(void **state)
{
	char longest[256];
	static const struct { const char *s; uint32_t len; int err; } c[] = {
		{ "", 0, -EINVAL }, { ".", 1, -EINVAL }, { "..", 2, -EINVAL }, { "a/", 2, -EINVAL },
		{ "a\0b", 3, -EINVAL }, { "...", 3, 0 }, { ".a", 2, 0 }, { "\n\xff", 2, 0 },
	};
	struct op o = { .ino = 1 };

	assert_int_equal(make(64, true, 1), 0);
	for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		o.name = (struct fs_name){ .s = c[i].s, .len = c[i].len };
		assert_int_equal(run(true, op_insert, &o), c[i].err);
	}
	memset(longest, 'x', sizeof(longest));
	o.name = (struct fs_name){ .s = longest, .len = 256 };
	assert_int_equal(run(true, op_insert, &o), -ENAMETOOLONG);
	assert_int_equal(run(false, op_lookup, &o), -ENOENT);
	o.name.len = 255;
	assert_int_equal(run(true, op_insert, &o), 0);
	o.name.len = 254;
	assert_int_equal(run(false, op_lookup, &o), -ENOENT);
	o.name.len = 255;
	assert_int_equal(run(false, op_lookup, &o), 0);
	assert_int_equal(inode()->entries, 4);
	store_free();
}

static int all_end(void **state)
{
	model_free();
	free(sorted);
	return 0;
}

/* ---- bench ------------------------------------------------------------------------------------ */

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void bench_one(const char *what, op_fn fn, bool modify, uint32_t n)
{
	double t0 = now();

	for (uint32_t i = 0; i < n; i++) {
		char buf[256];
		uint32_t id = (i * 7919ull + 13) % n;
		struct op o = { .name = name_of(id, buf), .ino = id + 1 };

		if (run(modify, fn, &o))
			abort();
	}
	printf("%-8s %7.3f us\n", what, (now() - t0) / n * 1e6);
}

static int count_fn(void *arg, const struct dir_found *e, struct fs_name name)
{
	volatile char sum = 0;
	uint64_t *n = arg;

	for (uint32_t i = 0; i < name.len; i++)
		sum += name.s[i];
	assert_true(++*n < 10000000);
	return 0;
}

static int op_count(struct dir *d, void *arg)
{
	*(uint64_t *)arg = 0;
	return dir_iterate(d, 0, count_fn, arg);
}

static int op_none(struct dir *d, void *arg) { return 0; }

static int bench(uint32_t n)
{
	uint64_t count = 0;
	double t0;

	make(1u << 16, false, 1);
	S.bench = true;
	bench_one("nothing", op_none, true, n);
	bench_one("insert", op_insert, true, n);
	printf("%u entries, %llu pages, %u levels\n", n, (unsigned long long)inode()->dir_pages,
	       inode()->dir_levels);
	bench_one("lookup", op_lookup, false, n);
	t0 = now();
	run(false, op_count, &count);
	printf("%-8s %7.3f us\n", "list", (now() - t0) / n * 1e6);
	bench_one("remove", op_remove, true, n);
	store_free();
	make(1u << 16, false, 1);
	bulk_alloc(10000);
	for (uint32_t i = 0; i < 10000; i++)
		bulk_names[i] = name_of(i, bulk_bufs[i]);
	t0 = now();
	run(true, op_bulk, &(struct op){ .names = bulk_names, .n = 10000, .ino = 1 });
	printf("%-8s %7.3f us (10,000 at once: %u blocks of %u reserved)\n", "bulk",
	       (now() - t0) / 1e4 * 1e6, S.used, S.t.need_meta);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_collisions),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_cookies),
		cmocka_unit_test(test_bulk),
		cmocka_unit_test(test_bulk_refused),
	};

	if (argc > 1 && !strcmp(argv[1], "bench"))
		return bench(argc > 2 ? atoi(argv[2]) : 1000000);
	return cmocka_run_group_tests(tests, NULL, all_end);
}
