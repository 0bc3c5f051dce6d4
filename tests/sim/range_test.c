/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clones of ranges, and holes, one question at a time.  What random operations ask too is in the
 * model; here is what they would seldom meet: limits, refusals, deep trees, the number of steps.
 *
 *   range_test [NAME]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "rig.h"

#define KIB 1024ULL
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

static struct fs_attr attr_of(struct rig *r, struct fs_id id)
{
	struct fs_attr a;

	sim_ok(fs_getattr(&r->req, id, &a));
	return a;
}

static void expect_file(struct rig *r, struct fs_id id, uint64_t size, uint64_t blocks)
{
	struct fs_attr a = attr_of(r, id);

	sim_check(a.size == size && a.mapped_bytes == blocks * 4096,
		  "size %llu, %llu blocks mapped; expected %llu, %llu", (unsigned long long)a.size,
		  (unsigned long long)a.mapped_bytes / 4096, (unsigned long long)size,
		  (unsigned long long)blocks);
}

static void range(struct rig *r, struct fs_id src, uint64_t from, struct fs_id dst, uint64_t to,
		  uint64_t len)
{
	sim_ok(fs_clone_range(&r->req, src, from, dst, to, len, NULL));
}

static void punch(struct rig *r, struct fs_id id, uint64_t at, uint64_t len)
{
	sim_ok(fs_punch(&r->req, id, at, len, NULL));
}

/* ---- what is refused changes nothing --------------------------------------------------------- */

static void refuse(struct rig *r, struct fs_req *req, const uint64_t v[3], struct fs_id src,
		   struct fs_id dst, int want)
{
	struct fs_attr before = attr_of(r, dst), after;
	int rc = fs_clone_range(req, src, v[0], dst, v[1], v[2], NULL);

	sim_check(rc == want, "range %llu to %llu, %llu: %s, expected %s", (unsigned long long)v[0],
		  (unsigned long long)v[1], (unsigned long long)v[2], sim_err(rc), sim_err(want));
	after = attr_of(r, dst);
	sim_check(before.change == after.change && before.size == after.size &&
		  before.mapped_bytes == after.mapped_bytes, "what was refused changed something");
}

static void test_refused(struct rig *r)
{
	static const struct { uint64_t v[3]; int same, want; } cases[] = {
		{ { 1, 0, 4096 }, 0, -EINVAL }, { { 0, 1, 4096 }, 0, -EINVAL },
		{ { 0, 0, 100 }, 0, -EINVAL }, { { 4096, 0, 100 * KIB }, 0, -EINVAL },
		{ { 104 * KIB, 0, 4096 }, 0, -EINVAL }, { { 104 * KIB, 0, 0 }, 0, -EINVAL },
		{ { 1ULL << 63, 0, 0 }, 0, -EINVAL }, { { 0, 0, UINT64_MAX }, 0, -EINVAL },
		{ { 0, FS_MAX_SIZE, 4096 }, 0, -EFBIG },
		{ { 0, UINT64_MAX - 4095, 4096 }, 0, -EFBIG },
		{ { 96 * KIB, 0, 0 }, 0, -EINVAL },	/* a part of a block in the middle */
		{ { 0, 0, 4096 }, 1, -EINVAL }, { { 0, 4096, 8192 }, 1, -EINVAL },
		{ { 4096, 0, 8192 }, 1, -EINVAL }, { { 0, 0, 0 }, 1, -EINVAL },
	};
	struct fs_id src = rig_create(r, "src"), dst = rig_create(r, "dst");
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct fs_create how = { .type = FS_REG, .how = FS_CREATE_GUARDED };
	struct fs_req user;
	struct fs_attr a;
	struct fs_id far;

	rig_write(r, src, 0, 100000, 1);
	rig_write(r, dst, 0, 200000, 2);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		refuse(r, &r->req, cases[i].v, src, cases[i].same ? src : dst, cases[i].want);
	refuse(r, &r->req, (uint64_t[]){ 0, 0, 4096 }, r->root, dst, -EISDIR);
	refuse(r, &r->req, (uint64_t[]){ 0, 0, 4096 }, src, r->root, -EISDIR);
	sim_req(&user, r->fs, 2);
	refuse(r, &user, (uint64_t[]){ 0, 0, 4096 }, src, dst, -EACCES);
	sim_check(fs_punch(&user, dst, 0, 1, NULL) == -EACCES, "a stranger's punch");
	sim_check(fs_punch(&r->req, r->root, 0, 1, NULL) == -EISDIR, "a punched directory");
	sim_ok(fs_volume_create(&r->req, "other", v));
	sim_ok(fs_create(&r->req, v->root, (struct fs_name){ "far", 3 }, &how, &a, NULL));
	far = a.id;
	refuse(r, &r->req, (uint64_t[]){ 0, 0, 4096 }, src, far, -EXDEV);
	free(v);
}

/* Whoever may write may not keep a program's setuid that way. */
static void test_setuid(struct rig *r)
{
	struct fs_setattr set = { .mask = FS_SET_UID | FS_SET_GID, .uid = 1000, .gid = 1000 };
	struct fs_setattr mode = { .mask = FS_SET_MODE, .mode = 06755 };
	struct fs_id id = rig_create(r, "id");
	struct fs_req user;

	rig_write(r, id, 0, 3 * 4096, 1);
	sim_ok(fs_setattr(&r->req, id, &set, NULL));
	sim_ok(fs_setattr(&r->req, id, &mode, NULL));
	range(r, id, 0, id, 64 * KIB, 4096);
	sim_check(attr_of(r, id).mode == 06755, "the management side dropped setuid");
	sim_req(&user, r->fs, 2);
	sim_ok(fs_clone_range(&user, id, 0, id, 128 * KIB, 4096, NULL));
	sim_check(attr_of(r, id).mode == 0755, "mode %o", attr_of(r, id).mode);
	rig_stable(r);
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
	sim_check(attr_of(r, rig_find(r, "id")).mode == 0755, "setuid came back");
}

/* ---- subtrees ---------------------------------------------------------------------------------- */

/* Data in each 2 MiB of two GiB, and more behind; the same places of each GiB of the target. */
static void test_subtrees(struct rig *r)
{
	struct fs_id src = rig_create(r, "src"), dst = rig_create(r, "dst"), c;

	for (uint64_t i = 0; i < 1024; i += 4)
		rig_write_quiet(r, src, i * 2 * MIB + 4096, 8192, i + 1);
	rig_write(r, src, 2 * GIB, 10000, 5000);
	rig_write(r, dst, 5 * GIB + 4096, 8192, 6000);
	rig_write(r, dst, 9 * GIB, 4096, 6001);
	c = rig_clone(r, src, "c");
	range(r, src, 0, dst, 4 * GIB, 2 * GIB + 8 * KIB);	/* to the middle of what is longer */
	expect_file(r, dst, 9 * GIB + 4096, 512 + 2 + 1);
	range(r, src, 2 * MIB, dst, 100 * MIB, GIB);		/* 2 MiB by 2 MiB */
	expect_file(r, dst, 9 * GIB + 4096, 515 + 256);
	range(r, dst, 4 * GIB, dst, GIB + 512 * MIB, 300 * MIB);	/* within one file */
	expect_file(r, dst, 9 * GIB + 4096, 771 + 76);
	rig_write(r, dst, 4 * GIB + 8 * MIB, 100, 7);
	rig_write(r, src, 16 * MIB + 4096, 100, 8);
	rig_reopen(r);
	punch(r, src, 3 * MIB, 2 * GIB - 3 * MIB);
	expect_file(r, src, 2 * GIB + 10000, 2 + 3);
	expect_file(r, c, 2 * GIB + 10000, 512 + 3);
	rig_remove(r, "src");
	rig_remove(r, "c");
	sim_ok(fs_reap_all(r->fs));
	rig_reopen(r);
	rig_expect(r, dst, 4 * GIB + 8 * MIB, 100, 7);
	punch(r, dst, 1, UINT64_MAX);
	expect_file(r, dst, 9 * GIB + 4096, 0);
}

/* A whole file onto one that is not longer costs the same, however much it holds. */
static void test_whole(struct rig *r)
{
	struct fs_id src = rig_create(r, "src"), dst = rig_create(r, "dst");
	struct dev_sim_stats a, b;

	for (uint64_t i = 0; i < 20000; i++)
		rig_write_quiet(r, src, i * 8192, 4096, i + 1);
	rig_truncate(r, src, 20000 * 8192 + 77);
	rig_write(r, dst, 0, MIB, 9);
	sim_ok(fs_checkpoint(r->fs));
	sim_ok(fs_checkpoint(r->fs));
	dev_sim_stats(r->dev, &a);
	range(r, src, 0, dst, 0, 0);
	rig_stable(r);
	sim_ok(fs_checkpoint(r->fs));
	dev_sim_stats(r->dev, &b);
	sim_check(b.blocks[DEV_WRITE] - a.blocks[DEV_WRITE] < 40, "%llu blocks were written",
		  (unsigned long long)(b.blocks[DEV_WRITE] - a.blocks[DEV_WRITE]));
	expect_file(r, dst, 20000 * 8192 + 77, 20000);
	range(r, dst, 0, src, 0, 0);		/* and back: they are the same */
	expect_file(r, src, 20000 * 8192 + 77, 20000);
	rig_expect(r, dst, 19999 * 8192, 4096, 20000);
}

/* ---- steps ------------------------------------------------------------------------------------- */

static uint64_t steps_of(struct rig *r, struct fs_id src, uint64_t from, struct fs_id dst, uint64_t to,
			 uint64_t len)
{
	uint64_t before = fs_last_seq(r->fs);

	range(r, src, from, dst, to, len);
	return fs_last_seq(r->fs) - before;
}

/* However large a hole is, it is one piece; and it takes away what is there. */
static void test_far_holes(struct rig *r)
{
	struct fs_id one = rig_create(r, "one"), far = rig_create(r, "far"), dst = rig_create(r, "dst");

	rig_write(r, one, 0, 4096, 1);
	rig_truncate(r, one, FS_MAX_SIZE);
	rig_write(r, dst, 10 * GIB, MIB, 2);
	rig_write(r, dst, 1ULL << 50, 4096, 3);
	sim_check(steps_of(r, one, 0, dst, 4096, FS_MAX_SIZE - 4096) == 1, "not one step");
	expect_file(r, dst, FS_MAX_SIZE, 1);
	sim_check(steps_of(r, one, 4096, one, 1ULL << 50, 1ULL << 49) == 1, "not one step");
	expect_file(r, one, FS_MAX_SIZE, 1);
	rig_write(r, far, 1ULL << 58, 4096, 4);
	rig_write(r, far, (1ULL << 40) + 3 * MIB, 8192, 5);
	sim_check(steps_of(r, far, 0, dst, 8192, 0) == 1, "not one step");
	expect_file(r, dst, FS_MAX_SIZE, 1 + 3);
	rig_expect(r, dst, 1ULL << 58, 1, 0);
	sim_check(rig_read_number(r, dst, (1ULL << 58) + 8192) == rig_read_number(r, far, 1ULL << 58),
		  "what is far away is not there");
	rig_reopen(r);
}

/* A subtree becomes the target's root, and then the target grows: nobody has read that subtree. */
static void test_cold_root(struct rig *r)
{
	struct fs_id src = rig_create(r, "src"), dst = rig_create(r, "dst");

	for (unsigned i = 0; i < 5; i++)
		rig_write(r, src, i * MIB, MIB, i + 1);
	rig_reopen(r);
	range(r, src, 0, dst, 0, 2 * MIB + 8 * KIB);
	rig_expect(r, dst, 0, MIB, 1);
	rig_expect(r, dst, 2 * MIB, 8 * KIB, 3);
}

/* Holes empty a deep tree's index blocks, which what follows them makes again. */
static void test_emptied(struct rig *r)
{
	struct fs_id src = rig_create(r, "src"), dst = rig_create(r, "dst");

	for (uint64_t i = 1; i < 9; i++) {
		rig_write(r, src, (i << 50) + 6 * MIB, 4096, i);
		rig_write(r, dst, (i << 50) + 2 * MIB, 4096, i + 20);
	}
	rig_truncate(r, src, 1ULL << 55);
	sim_check(steps_of(r, src, 8192, dst, 4096, (1ULL << 54) - 8192) <= 8, "many steps");
	expect_file(r, dst, (1ULL << 54) - 4096, 8);
	rig_reopen(r);
	punch(r, dst, 1ULL << 51, 1ULL << 52);
	rig_reopen(r);
}

/* Full subtrees are passed over; one that lacks a single block is not full. */
static void test_one_hole(struct rig *r)
{
	struct fs_id id = rig_create(r, "f");
	uint64_t at;

	for (unsigned i = 0; i < 6; i++)
		rig_write(r, id, i * MIB, MIB, i + 1);
	for (uint64_t hole = 2 * MIB; hole <= 4 * MIB; hole += 2 * MIB - 4096) {
		punch(r, id, hole, 4096);
		sim_ok(fs_seek(&r->req, id, 0, false, &at));
		sim_check(at == hole, "the hole at %llu is seen at %llu", (unsigned long long)hole,
			  (unsigned long long)at);
		sim_ok(fs_seek(&r->req, id, hole, true, &at));
		sim_check(at == hole + 4096, "data behind the hole are seen at %llu", (unsigned long long)at);
		rig_write(r, id, hole, 4096, 9);
	}
	sim_ok(fs_seek(&r->req, id, 0, false, &at));
	sim_check(at == 6 * MIB, "a hole at %llu", (unsigned long long)at);
}

static void test_many_steps(struct rig *r)
{
	struct fs_id src = rig_create(r, "src"), dst = rig_create(r, "dst");
	uint64_t n = 3 * FS_RANGE_PIECES;

	for (uint64_t i = 0; i * 256 < n; i++)
		rig_write_quiet(r, src, i * MIB, MIB, 7);
	sim_check(steps_of(r, src, 0, dst, 4096, n * 4096) == 3, "not three steps");
	expect_file(r, dst, n * 4096 + 4096, n);
	rig_stable(r);
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
	expect_file(r, rig_find(r, "dst"), n * 4096 + 4096, n);
}

static void count_replayed(void *arg, const struct fs_replayed *r)
{
	unsigned *n = arg;

	sim_check(r->drc_client == 77 && r->drc_xid == 5, "somebody else's");
	++*n;
}

/* Who asks again after a crash is told that it was done only if all of it was. */
static void test_replayed(struct rig *r)
{
	struct fs_id src = rig_create(r, "src"), dst = rig_create(r, "dst");
	unsigned n = 0;

	for (uint64_t i = 0; i < 9; i++)
		rig_write_quiet(r, src, i * MIB, MIB, 7);
	sim_ok(fs_checkpoint(r->fs));
	r->req.drc_client = 77;
	r->req.drc_xid = 5;
	sim_check(steps_of(r, src, 0, dst, 4096, 9 * MIB) == 3, "not three steps");
	r->req.drc_client = 0;
	rig_stable(r);
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
	fs_take_replayed(r->fs, count_replayed, &n);
	sim_check(n == 1, "%u of three steps are known to be the request", n);
}

/* ---- limits ------------------------------------------------------------------------------------ */

static void test_max_refs(struct rig *r)
{
	struct fs_id src = rig_create(r, "src"), dst;
	char name[16];

	rig_write(r, src, 0, MIB, 31);
	rig_write(r, src, 3 * MIB, 100000, 32);
	for (unsigned i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		dst = i % 3 == 2 ? rig_clone(r, src, name) : rig_create(r, name);
		range(r, src, 0, dst, 8 * MIB + i % 2 * 4096, 3 * MIB);
		range(r, dst, 8 * MIB, src, 8 * MIB, 512 * KIB);
		if (i == 4)
			rig_reopen(r);
	}
	for (unsigned i = 0; i < 8; i += 2) {
		snprintf(name, sizeof(name), "d%u", i);
		punch(r, rig_find(r, name), 8 * MIB + 100, MIB);
		rig_write(r, rig_find(r, name), 9 * MIB, 100, i + 1);
	}
	rig_reopen(r);
	rig_expect(r, src, 0, MIB, 31);
	rig_expect(r, src, 3 * MIB, 100000, 32);
	for (unsigned i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		rig_remove(r, name);
	}
	sim_ok(fs_reap_all(r->fs));
	rig_reopen(r);
}

/* Where a count has reached its limit, owning the target's index block puts copies into the slots that
 * seemed to be the source's own. */
static void test_same_at_limit(struct rig *r)
{
	struct fs_id src = rig_create(r, "src"), other = rig_create(r, "other"), dst, more;

	for (unsigned i = 0; i < 6; i++)
		rig_write(r, src, i * MIB, MIB, i + 1);
	range(r, src, 0, other, 0, 4 * MIB);
	dst = rig_clone(r, src, "dst");
	more = rig_clone(r, src, "more");
	rig_write(r, more, 5 * MIB, 4096, 9);
	rig_reopen(r);
	range(r, src, 0, dst, 0, 4 * MIB);
	rig_expect(r, dst, 0, MIB, 1);
	expect_file(r, dst, 6 * MIB, 6 * 256);
	rig_remove(r, "other");
	rig_reopen(r);
}

static void test_quota(struct rig *r)
{
	struct fs_id src = rig_create(r, "src"), dst = rig_create(r, "dst");
	struct fs_volume_info *v = test_alloc(sizeof(*v));

	rig_write(r, src, 0, MIB, 1);
	rig_write(r, src, 2 * MIB, 4096, 1);
	rig_write(r, dst, 0, 2 * MIB / 4, 2);
	sim_ok(fs_volume_get(r->fs, src.volume, v));
	sim_ok(fs_volume_set(&r->req, "main", NULL, v->mapped_blocks + 8));
	free(v);
	range(r, src, 0, dst, 0, 512 * KIB);		/* in place of as much */
	range(r, src, 4096, dst, 0, 512 * KIB + 8 * 4096);
	refuse(r, &r->req, (uint64_t[]){ 0, 4 * MIB, 4096 }, src, dst, -EDQUOT);
	refuse(r, &r->req, (uint64_t[]){ 0, 0, 0 }, src, dst, -EDQUOT);
	range(r, src, MIB, dst, 4 * MIB, 512 * KIB);	/* a hole */
	punch(r, dst, 0, MIB);
	range(r, src, 0, dst, 4 * MIB, 512 * KIB);
	expect_file(r, dst, 4 * MIB + 512 * KIB, 128);
}

static void test_full(struct rig *r)
{
	struct fs_id src = rig_create(r, "src"), big = rig_create(r, "big"), dst = rig_create(r, "dst");
	struct iovec iov = { test_alloc(64 * KIB), 64 * KIB };
	uint64_t at = 0, n = 0;
	int rc = 0;

	rig_write(r, src, 0, MIB, 1);
	rig_pattern(5, 0, iov.iov_base, iov.iov_len);
	while (!(rc = fs_write(&r->req, big, at, &iov, 1, iov.iov_len, false, NULL)))
		at += iov.iov_len;
	sim_check(rc == -ENOSPC, "filling: %s", sim_err(rc));
	for (rc = 0; !rc; n++) {	/* each takes index blocks of its own */
		struct fs_attr before = attr_of(r, dst), after;

		rc = fs_clone_range(&r->req, src, 0, dst, n * GIB + 4096, MIB, NULL);
		after = attr_of(r, dst);
		sim_check(!rc || (before.change == after.change && before.size == after.size),
			  "ENOSPC changed something");
	}
	sim_check(rc == -ENOSPC, "cloning ranges: %s", sim_err(rc));
	punch(r, big, 4096, at);
	range(r, src, 0, dst, n * GIB, MIB);
	sim_check(rig_read_number(r, dst, n * GIB) == rig_read_number(r, src, 0), "another content");
	free(iov.iov_base);
}

static const struct rig_test tests[] = {
	{ .name = "refused", .fn = test_refused, .nblocks = 8192 },
	{ .name = "setuid", .fn = test_setuid, .nblocks = 8192 },
	{ .name = "subtrees", .fn = test_subtrees, .nblocks = 16384 },
	{ .name = "whole", .fn = test_whole, .nblocks = 40000 },
	{ .name = "far_holes", .fn = test_far_holes, .nblocks = 8192 },
	{ .name = "cold_root", .fn = test_cold_root, .nblocks = 8192 },
	{ .name = "emptied", .fn = test_emptied, .nblocks = 8192 },
	{ .name = "one_hole", .fn = test_one_hole, .nblocks = 16384 },
	{ .name = "many_steps", .fn = test_many_steps, .nblocks = 16384 },
	{ .name = "replayed", .fn = test_replayed, .nblocks = 16384 },
	{ .name = "max_refs_2", .fn = test_max_refs, .nblocks = 16384, .max_refs = 2 },
	{ .name = "max_refs_3", .fn = test_max_refs, .nblocks = 16384, .max_refs = 3 },
	{ .name = "same_at_limit_2", .fn = test_same_at_limit, .nblocks = 16384, .max_refs = 2 },
	{ .name = "same_at_limit_3", .fn = test_same_at_limit, .nblocks = 16384, .max_refs = 3 },
	{ .name = "same_at_limit_4", .fn = test_same_at_limit, .nblocks = 16384, .max_refs = 4 },
	{ .name = "quota", .fn = test_quota, .nblocks = 8192 },
	{ .name = "full", .fn = test_full, .nblocks = 8192 },
};

int main(int argc, char **argv)
{
	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
