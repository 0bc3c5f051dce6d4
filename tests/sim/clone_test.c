/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What cloning must be, one question at a time; the numbers are those of the list of what
 * hurt other systems, where a test is about one of them.
 *
 *   clone_test [NAME]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fiber.h"
#include "base/loop.h"
#include "rig.h"

/* ---- 1: a hole query raced with a dirty block ---------------------------------------------- */

static void check_seek(struct rig *r, struct fs_id id, uint64_t at, bool data, uint64_t want)
{
	uint64_t got;

	sim_ok(fs_seek(&r->req, id, at, data, &got));
	sim_check(got == want, "%s after %llu is at %llu, not %llu", data ? "data" : "a hole",
		  (unsigned long long)at, (unsigned long long)got, (unsigned long long)want);
}

static void check_holes(struct rig *r, struct fs_id id)
{
	check_seek(r, id, 0, true, 40960);
	check_seek(r, id, 40960, false, 45056);
	check_seek(r, id, 45056, true, 1 << 20);
	check_seek(r, id, 1 << 20, false, (1 << 20) + 4096);
	rig_expect(r, id, 0, 4096, 0);
	rig_expect(r, id, 40960, 4096, 77);
	rig_expect(r, id, 1 << 20, 4096, 78);
}

static void checkpoint_fn(void *arg)
{
	struct rig *r = arg;

	sim_ok(fs_checkpoint(r->fs));
}

static void holes_fn(void *arg)
{
	struct rig *r = arg;
	char name[32];

	for (int i = 0; i < 30; i++) {
		struct fs_id id, clone;

		snprintf(name, sizeof(name), "h%d", i);
		id = rig_create(r, name);
		rig_write(r, id, 40960, 4096, 77);
		snprintf(name, sizeof(name), "hc%d", i);
		clone = rig_clone(r, id, name);
		rig_write(r, id, 1 << 20, 4096, 78);
		rig_write(r, clone, 1 << 20, 4096, 78);
		check_holes(r, id);
		check_holes(r, clone);
		fiber_yield();
		check_holes(r, clone);
		if (i % 3 == 0)
			loop_sleep_ns(100000);
	}
}

/* Before, during and after checkpoints. */
static void test_holes(struct rig *r)
{
	void (*const fns[])(void *) = { holes_fn, checkpoint_fn, checkpoint_fn };

	rig_parallel(r, fns, 3);
	for (int i = 0; i < 30; i++) {
		char name[32];

		snprintf(name, sizeof(name), "hc%d", i);
		check_holes(r, rig_find(r, name));
	}
}

/* ---- 2: a clone is whole or it is an error -------------------------------------------------- */

static int clone_names(struct rig *r, struct fs_id src, char names[][16], uint32_t n, uint32_t *bad)
{
	struct fs_name *v = test_alloc((n + 1) * sizeof(*v));
	int rc;

	for (uint32_t i = 0; i < n; i++)
		v[i] = (struct fs_name){ names[i], strlen(names[i]) };
	rc = fs_clone(&r->req, src, r->root, v, n, bad, NULL);
	free(v);
	return rc;
}

static void test_all_or_none(struct rig *r)
{
	static char names[100][16];
	struct fs_id gold = rig_create(r, "gold");
	uint32_t bad = 0, before;

	rig_write(r, gold, 0, 100000, 5);
	rig_create(r, "x99");
	before = rig_count(r);
	for (int i = 0; i < 100; i++)
		snprintf(names[i], sizeof(names[i]), "x%d", i);
	sim_check(clone_names(r, gold, names, 100, &bad) == -EEXIST && bad == 99, "name %u", bad);
	sim_check(rig_count(r) == before, "a refused clone left names");
	strcpy(names[99], "x5");
	sim_check(clone_names(r, gold, names, 100, &bad) == -EEXIST, "one name twice");
	sim_check(rig_count(r) == before, "a refused clone left names");
	strcpy(names[99], "gold");
	sim_check(clone_names(r, gold, names, 100, &bad) == -EEXIST && bad == 99, "onto itself");
	sim_check(rig_count(r) == before, "a refused clone left names");
	sim_check(clone_names(r, gold, names, 0, &bad) == -EINVAL, "no names at all");
	strcpy(names[99], "a/b");
	sim_check(clone_names(r, gold, names, 100, &bad) == -EINVAL, "a slash in a name");
	sim_check(rig_count(r) == before, "a refused clone left names");
	sim_check(clone_names(r, r->root, names, 1, &bad) < 0, "a directory cloned");
	sim_check(clone_names(r, gold, names, 99, &bad) == 0, "99 clones");
	sim_check(rig_count(r) == before + 99, "99 clones, but %u names more",
		  rig_count(r) - before);
}

/* ---- 3: trailing holes ----------------------------------------------------------------------- */

static void test_trailing_hole(struct rig *r)
{
	static const uint64_t sizes[] = { 0, 1, 4096, 5000, 1 << 21, 1ULL << 30, 1ULL << 44,
					  FS_MAX_SIZE };

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct fs_id id, c;
		struct fs_attr a;
		char name[32];

		snprintf(name, sizeof(name), "t%u", i);
		id = rig_create(r, name);
		if (i % 2)
			rig_write(r, id, 0, 1, 9);
		rig_truncate(r, id, sizes[i]);
		snprintf(name, sizeof(name), "tc%u", i);
		c = rig_clone(r, id, name);
		sim_ok(fs_commit(&r->req, c, NULL));
		rig_stable(r);
		sim_ok(fs_checkpoint(r->fs));
		sim_ok(fs_getattr(&r->req, c, &a));
		sim_check(a.size == sizes[i], "size %llu became %llu", (unsigned long long)sizes[i],
			  (unsigned long long)a.size);
		rig_truncate(r, c, 0);
		sim_ok(fs_checkpoint(r->fs));
		sim_ok(fs_getattr(&r->req, id, &a));
		sim_check(a.size == sizes[i], "the source changed");
		sim_check(a.mapped_bytes == (i % 2 ? 4096 : 0), "mapped %llu",
			  (unsigned long long)a.mapped_bytes);
	}
}

/* ---- 4, 11: the cost does not depend on the size ---------------------------------------------- */

static uint64_t clone_cost(struct rig *r, struct fs_id src, const char *name)
{
	struct dev_sim_stats a, b;

	sim_ok(fs_checkpoint(r->fs));
	sim_ok(fs_checkpoint(r->fs));
	dev_sim_stats(r->dev, &a);
	rig_clone(r, src, name);
	rig_stable(r);
	sim_ok(fs_checkpoint(r->fs));
	dev_sim_stats(r->dev, &b);
	return b.blocks[DEV_WRITE] - a.blocks[DEV_WRITE];
}

static void test_cost(struct rig *r)
{
	struct fs_id small = rig_create(r, "small"), large = rig_create(r, "large");
	uint64_t cost_small, cost_large, cost_again;
	struct fs_attr a;

	rig_write(r, small, 0, 4096, 3);
	for (uint64_t i = 0; i < 100000; i++)
		rig_write_quiet(r, large, i * 8192, 4096, i + 1);
	sim_ok(fs_getattr(&r->req, large, &a));
	sim_check(a.mapped_bytes == 100000ULL * 4096, "not 100,000 extents");
	cost_small = clone_cost(r, small, "s1");
	cost_large = clone_cost(r, large, "l1");
	cost_again = clone_cost(r, large, "l2");
	printf("  blocks written for a clone and a checkpoint: of 1 block %llu, of 100,000 extents %llu, "
	       "again %llu\n", (unsigned long long)cost_small, (unsigned long long)cost_large,
	       (unsigned long long)cost_again);
	sim_check(cost_large <= cost_small + 4 && cost_again <= cost_small + 4,
		  "a large file's clone costs more");
	rig_expect(r, rig_find(r, "l2"), 99999 * 8192ULL, 4096, 100000);
}

/* ---- 5, 13: durable when it is acknowledged ---------------------------------------------------- */

static void test_durable(struct rig *r)
{
	struct fs_id gold = rig_create(r, "gold");
	static char names[1000][16];
	uint32_t bad;

	rig_write(r, gold, 0, 300000, 5);
	for (int i = 0; i < 1000; i++)
		snprintf(names[i], sizeof(names[i]), "d%d", i);
	sim_ok(clone_names(r, gold, names, 1000, &bad));
	rig_stable(r);
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
	sim_check(rig_count(r) == 1001, "%u names after the power cut", rig_count(r));
	rig_expect(r, rig_find(r, "d999"), 0, 300000, 5);
}

/* ---- 5, 6: one failed flush is final ------------------------------------------------------------ */

static void test_failed_flush(struct rig *r)
{
	struct fs_id id = rig_create(r, "f");
	struct iovec iov = { test_alloc(4096), 4096 };
	const struct dev_sim_fault f = { .kind = DEV_SIM_FAIL, .ops = DEV_SIM_OP(DEV_FLUSH) };
	struct fs_status st;
	struct fs_req req;
	int rc;

	rig_write(r, id, 0, 4096, 1);
	rig_stable(r);
	sim_ok(dev_sim_inject(r->dev, &f));
	fs_req_admin(&req, r->fs);
	sim_ok(fs_write(&req, id, 8192, &iov, 1, 4096, true, NULL));
	rig_write_big_unstable(r, id);
	rc = fs_checkpoint(r->fs);
	sim_check(rc, "a checkpoint succeeded although its flush failed");
	for (int i = 0; i < 3; i++) {
		rc = fs_wait_stable(r->fs, fs_last_seq(r->fs));
		sim_check(rc == -EIO || rc == -EROFS, "wait %d after a failed flush: %s", i,
			  sim_err(rc));
		sim_check(fs_checkpoint(r->fs), "a later checkpoint succeeded");
	}
	fs_req_admin(&req, r->fs);
	rc = fs_write(&req, id, 0, &iov, 1, 4096, true, NULL);
	sim_check(rc == -EROFS || rc == -EIO, "a write after a failed flush: %s", sim_err(rc));
	fs_status(r->fs, &st);
	sim_check(st.readonly && st.reason[0], "not read-only, or no reason");
	free(iov.iov_base);
	dev_sim_clear_faults(r->dev);
	fs_close(r->fs);
	r->fs = NULL;
	rig_open(r);
	rig_expect(r, rig_find(r, "f"), 0, 4096, 1);
}

/* The same, met by the log: data that a record names has to be flushed with it. */
static void test_failed_log_flush(struct rig *r)
{
	struct fs_id id = rig_create(r, "f");
	const struct dev_sim_fault f = { .kind = DEV_SIM_FAIL, .ops = DEV_SIM_OP(DEV_FLUSH) };
	int rc;

	rig_write(r, id, 0, 4096, 1);
	rig_stable(r);
	sim_ok(dev_sim_inject(r->dev, &f));
	rig_write_big_unstable(r, id);
	for (int i = 0; i < 3; i++) {
		rc = fs_wait_stable(r->fs, fs_last_seq(r->fs));
		sim_check(rc == -EIO || rc == -EROFS, "wait %d after a failed flush: %s", i,
			  sim_err(rc));
	}
	dev_sim_clear_faults(r->dev);
	fs_close(r->fs);
	r->fs = NULL;
	rig_open(r);
	rig_expect(r, rig_find(r, "f"), 0, 4096, 1);
}

/*
 * The first write into a clone, with nothing in the cache: it has to count up the children of
 * blocks that are shared only because the root is, and these lie in many table pages.
 */
static void test_cold_clone(struct rig *r)
{
	struct fs_id gold = rig_create(r, "gold"), filler = rig_create(r, "filler"), c;

	rig_write(r, gold, 1ULL << 40, 4096, 7);
	for (uint64_t i = 0; i < 400; i++) {
		rig_write_quiet(r, gold, i * 4096, 4096, i + 1);
		rig_write_quiet(r, filler, i * 65536, 65536, 5);
	}
	c = rig_clone(r, gold, "c");
	rig_reopen(r);
	rig_write(r, c, 4096 * 3, 4096, 900);
	rig_expect(r, c, 4096 * 3, 4096, 900);
	rig_expect(r, gold, 4096 * 3, 4096, 4);
	rig_expect(r, c, 1ULL << 40, 4096, 7);
	rig_reopen(r);
	rig_truncate(r, c, 4096 * 100 + 5);
	rig_remove(r, "gold");
	rig_free(r);
	rig_expect(r, c, 4096 * 99, 4096, 100);
}

/* ---- 17, and a clone is one point in time -------------------------------------------------------- */

struct busy { struct rig *r; unsigned kind, n; };

static void busy_fn(void *arg)
{
	struct busy *b = arg;
	struct rig *r = b->r;
	struct fs_id gold = rig_find(r, "gold");
	char name[32];

	for (uint64_t i = 1; i <= 60; i++) {
		if (b->kind == 0) {		/* writes front and back, in this order */
			rig_write_number(r, gold, 0, i);
			rig_write_number(r, gold, 8 << 20, i);
			if (i % 5 == 0)
				rig_write(r, gold, 1 << 20, 300000, i);
		} else if (b->kind == 1) {
			snprintf(name, sizeof(name), "b%u.%llu", b->n, (unsigned long long)i);
			rig_clone(r, gold, name);
		} else {
			uint64_t back = rig_read_number(r, gold, 8 << 20);

			sim_check(rig_read_number(r, gold, 0) >= back, "a read went back in time");
			if (i % 20 == 0)
				sim_ok(fs_checkpoint(r->fs));
		}
		fiber_yield();
	}
}

static void test_busy_source(struct rig *r)
{
	struct fs_id gold = rig_create(r, "gold");
	struct busy b[34];

	rig_write(r, gold, 0, 1 << 20, 15);
	rig_write_number(r, gold, 0, 0);
	rig_write_number(r, gold, 8 << 20, 0);
	for (unsigned i = 0; i < 34; i++)
		b[i] = (struct busy){ r, i < 2 ? i * 2 : 1, i };
	sim_parallel(busy_fn, b, sizeof(b[0]), 34);
	for (unsigned i = 2; i < 34; i++) {
		for (unsigned j = 1; j <= 60; j++) {
			char name[32];
			uint64_t front, back;
			struct fs_id id;

			snprintf(name, sizeof(name), "b%u.%u", i, j);
			id = rig_find(r, name);
			front = rig_read_number(r, id, 0);
			back = rig_read_number(r, id, 8 << 20);
			sim_check(front == back || front == back + 1,
				  "clone %s is of no point in time: %llu, %llu", name,
				  (unsigned long long)front, (unsigned long long)back);
		}
	}
}

/* ---- deleting ------------------------------------------------------------------------------------- */

static void test_delete_source(struct rig *r)
{
	struct fs_id gold = rig_create(r, "gold"), a, b;

	rig_write(r, gold, 0, 1 << 20, 7);
	rig_write(r, gold, 1ULL << 40, 100000, 8);
	a = rig_clone(r, gold, "a");
	b = rig_clone(r, a, "b");
	rig_write(r, b, 4096, 10, 9);
	rig_remove(r, "gold");
	sim_ok(fs_reap_all(r->fs));
	sim_ok(fs_checkpoint(r->fs));
	rig_remove(r, "a");
	sim_ok(fs_reap_all(r->fs));
	sim_ok(fs_checkpoint(r->fs));
	rig_fill(r, 20);			/* reuse what was freed */
	rig_expect(r, b, 8192, (1 << 20) - 8192, 7);
	rig_expect(r, b, 4096, 10, 9);
	rig_expect(r, b, 1ULL << 40, 100000, 8);
}

static void reader_fn(void *arg)
{
	struct rig *r = arg;
	char name[32];

	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "keep%d", i % 10);
		rig_expect(r, rig_find(r, name), 0, 500000, 21);
		fiber_yield();
	}
}

static void deleter_fn(void *arg)
{
	struct rig *r = arg;
	char name[32];

	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "c%d", i);
		rig_remove(r, name);
		if (i % 1000 == 0)
			sim_ok(fs_checkpoint(r->fs));
	}
	sim_ok(fs_reap_all(r->fs));
}

static void test_delete_many(struct rig *r)
{
	static char names[10000][16];
	void (*const fns[])(void *) = { reader_fn, deleter_fn, reader_fn };
	struct fs_id gold = rig_create(r, "gold");
	struct dev_sim_stats before, after;
	uint64_t free0, used;
	uint32_t bad;
	char name[32];

	rig_write(r, gold, 0, 500000, 21);
	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "keep%d", i);
		rig_clone(r, gold, name);
	}
	free0 = rig_free(r);
	for (int i = 0; i < 10000; i++)
		snprintf(names[i], sizeof(names[i]), "c%d", i);
	dev_sim_stats(r->dev, &before);
	sim_ok(clone_names(r, gold, names, 10000, &bad));
	rig_stable(r);
	dev_sim_stats(r->dev, &after);
	used = free0 - rig_free(r);
	printf("  10,000 clones: %llu blocks of log, %llu blocks of pool\n",
	       (unsigned long long)(after.blocks[DEV_WRITE] - before.blocks[DEV_WRITE]),
	       (unsigned long long)used);
	sim_check(used < 2048, "10,000 clones take %llu blocks", (unsigned long long)used);
	rig_write(r, rig_find(r, "c7777"), 3, 3, 3);
	rig_parallel(r, fns, 3);
	used = free0 - rig_free(r);
	sim_check(used < 900, "%llu blocks are missing after the deletes", (unsigned long long)used);
}

/* ---- 12: counters that overflow --------------------------------------------------------------------- */

static void test_max_refs(struct rig *r)
{
	struct fs_id gold = rig_create(r, "gold");
	uint64_t free0, used;
	char name[32];

	rig_write(r, gold, 0, 1 << 20, 31);
	rig_write(r, gold, 3 << 20, 100000, 32);
	free0 = rig_free(r);
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "r%d", i);
		rig_clone(r, i % 7 == 6 ? rig_find(r, "r3") : gold, name);
		if (i % 10 == 5)
			sim_ok(fs_checkpoint(r->fs));
	}
	/* Clones beyond the limit share copies: that must have taken blocks. */
	used = free0 - rig_free(r);
	sim_check(used > 281 * (50 / r->cfg.max_refs - 1), "%llu blocks used: the limit was not kept",
		  (unsigned long long)used);
	rig_reopen(r);
	for (int i = 0; i < 50; i += 2) {
		snprintf(name, sizeof(name), "r%d", i);
		rig_write(r, rig_find(r, name), 4096 * i, 100, i);
	}
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "r%d", i);
		if (i % 2 == 0)
			rig_expect(r, rig_find(r, name), 4096 * i, 100, i);
		rig_expect(r, rig_find(r, name), 4096 * (i + 1), 4096, 31);
		rig_expect(r, rig_find(r, name), 3 << 20, 100000, 32);
	}
	rig_reopen(r);
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "r%d", i);
		rig_remove(r, name);
	}
	sim_check(rig_free(r) + 8 >= free0, "blocks are lost: %llu free, then %llu",
		  (unsigned long long)free0, (unsigned long long)rig_free(r));
	rig_expect(r, rig_find(r, "gold"), 0, 1 << 20, 31);
}

/* ---- 11: out of space, and back ------------------------------------------------------------------------ */

static int fill_one(struct rig *r, struct fs_id id, uint64_t offset, uint32_t len)
{
	struct iovec iov = { test_alloc(len), len };
	int rc;

	rig_pattern(offset + 1, offset, iov.iov_base, len);
	rc = fs_write(&r->req, id, offset, &iov, 1, len, false, NULL);
	free(iov.iov_base);
	return rc;
}

static void test_out_of_space(struct rig *r)
{
	for (int round = 0; round < 4; round++) {
		struct fs_id id = rig_create(r, "big"), c;
		uint64_t at = 0, free0 = rig_free(r), step = round % 2 ? 4096 : 65536;
		struct fs_attr before, after;
		int rc;

		while (!(rc = fill_one(r, id, at * 3, step)))
			at += step;
		sim_check(rc == -ENOSPC, "filling: %s", sim_err(rc));
		sim_check(at / 4096 > free0 / 3, "only %llu of %llu blocks could be used",
			  (unsigned long long)at / 4096, (unsigned long long)free0);
		sim_ok(fs_getattr(&r->req, id, &before));
		sim_check(fill_one(r, id, at * 3, step) == -ENOSPC, "full, and yet not");
		sim_ok(fs_getattr(&r->req, id, &after));
		sim_check(before.change == after.change && before.size == after.size,
			  "ENOSPC changed something");
		rig_expect(r, id, 0, step, 1);
		rc = rig_try_clone(r, id, "copy", &c);
		sim_check(!rc || rc == -ENOSPC, "a clone on a full pool: %s", sim_err(rc));
		if (round == 2)
			rig_reopen(r);
		rig_stable(r);
		if (round == 3)
			rig_power_cut(r, DEV_SIM_CUT_RANDOM, 5);
		if (!rc)
			rig_remove(r, "copy");
		rig_truncate(r, rig_find(r, "big"), at);
		rig_remove(r, "big");
		sim_check(rig_free(r) + 64 >= free0, "deleting did not bring the space back: %llu, %llu",
			  (unsigned long long)free0, (unsigned long long)rig_free(r));
	}
}

/* A full pool whose files are all clones: each overwrite needs space, each delete gives some back. */
static void test_full_of_clones(struct rig *r)
{
	struct fs_id gold = rig_create(r, "gold");
	uint64_t free0 = rig_free(r);
	char name[32];
	int rc = 0, n = 0;

	for (uint64_t i = 0; i < 500; i++)
		rig_write_quiet(r, gold, i * 8192, 4096, i + 1);
	for (n = 0; !rc; n++) {
		struct fs_id c;

		snprintf(name, sizeof(name), "c%d", n);
		rc = rig_try_clone(r, gold, name, &c);
		for (uint64_t i = 0; i < 500 && !rc; i++)
			rc = fill_one(r, c, i * 8192, 4096);
	}
	sim_check(rc == -ENOSPC, "filling with clones: %s", sim_err(rc));
	while (n-- > 0) {
		snprintf(name, sizeof(name), "c%d", n);
		if (n % 2 && !fs_lookup(&r->req, r->root, (struct fs_name){ name, strlen(name) },
					&(struct fs_attr){ 0 }, NULL))
			rig_remove(r, name);
	}
	sim_check(!fill_one(r, gold, 1 << 30, 100000), "no room after deleting");
	rig_expect(r, gold, 4096 * 2, 4096, 2);
	rig_reopen(r);
	for (n = 0; n < 1000; n++) {
		snprintf(name, sizeof(name), "c%d", n);
		fs_remove(&r->req, r->root, (struct fs_name){ name, strlen(name) }, NULL);
	}
	rig_remove(r, "gold");
	sim_check(rig_free(r) + 64 >= free0, "blocks are lost");
}

/* ---- 10: what is being read stays as it was -------------------------------------------------------------- */

static void test_pinned_read(struct rig *r)
{
	struct fs_id id = rig_create(r, "p");
	struct fs_read *rd = test_alloc(sizeof(*rd));
	unsigned char *want = test_alloc(200000);
	uint32_t at = 0;

	rig_write(r, id, 0, 200000, 41);
	rig_reopen(r);
	id = rig_find(r, "p");
	sim_ok(fs_read(&r->req, id, 0, 200000, rd));
	rig_write(r, id, 0, 200000, 42);
	rig_write(r, id, 5, 77, 43);
	sim_ok(fs_checkpoint(r->fs));
	rig_remove(r, "p");
	sim_ok(fs_reap_all(r->fs));
	sim_ok(fs_checkpoint(r->fs));
	rig_fill(r, 100);
	rig_pattern(41, 0, want, 200000);
	for (int i = 0; i < rd->niov; at += rd->iov[i++].iov_len)
		sim_check(!memcmp(rd->iov[i].iov_base, want + at, rd->iov[i].iov_len),
			  "what is being read changed at %u", at);
	sim_check(at == 200000, "a short read");
	fs_read_done(r->fs, rd);
	free(want);
	free(rd);
}

/* A disk that keeps one read waiting until it is told to let go. */
struct slow { struct dev dev; struct dev *under; struct dev_io *held; bool armed; };

static void slow_submit(struct dev *d, struct dev_io *io)
{
	struct slow *s = container_of(d, struct slow, dev);

	if (s->armed && io->op == DEV_READ && io->nblocks > 1) {
		s->armed = false;
		s->held = io;
	} else {
		dev_submit(s->under, io);
	}
}

static void slow_close(struct dev *d)
{
}

static void slow_reader(void *arg)
{
	struct rig *r = arg;
	struct op op = { .kind = OP_READ, .id = rig_find(r, "p"), .len = 200000 };

	container_of(r->dev, struct slow, dev)->armed = true;
	sim_exec(r->fs, &op, NULL);
	sim_check(!op.rc || op.rc == -ESTALE, "a slow read: %s", sim_err(op.rc));
	op_done(&op);
}

static void slow_remover(void *arg)
{
	struct rig *r = arg;
	struct slow *s = container_of(r->dev, struct slow, dev);

	for (int i = 0; i < 1000 && !s->held; i++)
		loop_sleep_ns(100000);
	sim_check(s->held, "nothing was read");
	rig_remove(r, "p");
	sim_ok(fs_reap_all(r->fs));
	sim_ok(fs_checkpoint(r->fs));
	sim_ok(fs_checkpoint(r->fs));
	rig_fill(r, 450);			/* all that is free */
	sim_ok(fs_checkpoint(r->fs));
	dev_submit(s->under, s->held);
}

static void test_slow_read(struct rig *r)
{
	static const struct dev_ops ops = { .submit = slow_submit, .close = slow_close };
	void (*const fns[])(void *) = { slow_reader, slow_remover };
	struct slow s = { .under = r->dev };
	struct fs_status st;

	rig_write(r, rig_create(r, "p"), 0, 200000, 41);
	sim_ok(fs_close(r->fs));
	s.dev = (struct dev){ .ops = &ops, .nblocks = r->dev->nblocks, .name = "slow disk" };
	r->dev = &s.dev;
	rig_open(r);
	rig_parallel(r, fns, 2);
	fs_status(r->fs, &st);
	sim_check(!st.checksum_errors, "a block was given out while it was being read");
	sim_ok(fs_close(r->fs));
	r->dev = s.under;
	rig_open(r);
}

/* ---- all ------------------------------------------------------------------------------------------------- */

static const struct rig_test tests[] = {
	{ .name = "holes", .fn = test_holes, .nblocks = 8192 },
	{ .name = "all_or_none", .fn = test_all_or_none, .nblocks = 8192 },
	{ .name = "trailing_hole", .fn = test_trailing_hole, .nblocks = 8192 },
	{ .name = "cost", .fn = test_cost, .nblocks = 200000 },
	{ .name = "durable", .fn = test_durable, .nblocks = 16384 },
	{ .name = "failed_flush", .fn = test_failed_flush, .nblocks = 8192 },
	{ .name = "failed_log_flush", .fn = test_failed_log_flush, .nblocks = 8192 },
	{ .name = "cold_clone", .fn = test_cold_clone, .nblocks = 40000 },
	{ .name = "busy_source", .fn = test_busy_source, .nblocks = 65536 },
	{ .name = "delete_source", .fn = test_delete_source, .nblocks = 8192 },
	{ .name = "delete_many", .fn = test_delete_many, .nblocks = 65536 },
	{ .name = "max_refs", .fn = test_max_refs, .nblocks = 16384, .max_refs = 5 },
	{ .name = "max_refs_2", .fn = test_max_refs, .nblocks = 16384, .max_refs = 2 },
	{ .name = "out_of_space", .fn = test_out_of_space, .nblocks = 6000 },
	{ .name = "out_of_space_background", .fn = test_out_of_space, .nblocks = 8192, .background = true },
	{ .name = "full_of_clones", .fn = test_full_of_clones, .nblocks = 12000 },
	{ .name = "slow_read", .fn = test_slow_read, .nblocks = 8192 },
	{ .name = "pinned_read", .fn = test_pinned_read, .nblocks = 8192 },
};

int main(int argc, char **argv)
{
	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
