/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scrub, while the pool is worked on.
 *
 *   scrub_test [NAME]
 *
 * A sound pool gives no findings, whatever happens meanwhile; each damage is found, and the files are
 * named that it hits; what was interrupted goes on, and leaves a sound pool behind when it is killed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fiber.h"
#include "base/loop.h"
#include "batch.h"
#include "rig.h"

static void wait_done(struct rig *r, struct fs_scrub_status *st)
{
	for (int i = 0; i < 100000; i++) {
		fs_scrub_status(r->fs, st);
		if (!st->running)
			return;
		loop_sleep_ns(1000000);
	}
	sim_fail("the scrub does not end: %llu of %llu blocks", (unsigned long long)st->next_block,
		 (unsigned long long)st->total_blocks);
}

static void expect_findings(struct rig *r, uint64_t n)
{
	struct fs_scrub_status st;

	wait_done(r, &st);
	sim_check(!st.result, "the scrub ended with %s", sim_err(st.result));
	sim_check(st.next_block >= st.total_blocks, "it says it is done, and is not");
	if (st.findings != n)
		for (uint64_t i = 0; i < st.findings; i++)
			fprintf(stderr, "finding: %s\n", fs_scrub_finding(r->fs, i));
	sim_check(st.findings == n, "%llu findings, not %llu", (unsigned long long)st.findings,
		  (unsigned long long)n);
}

static bool said(struct rig *r, const char *text)
{
	const char *s;

	for (uint64_t i = 0; (s = fs_scrub_finding(r->fs, i)); i++)
		if (strstr(s, text))
			return true;
	return false;
}

static void populate(struct rig *r)
{
	struct fs_id golden = rig_create(r, "golden");

	for (unsigned i = 0; i < 6; i++)
		rig_write(r, golden, i * 300000ull, 200000, 100 + i);
	rig_clone(r, golden, "clone");
	rig_write(r, rig_clone(r, golden, "changed"), 4096, 4096, 7);
	rig_fill(r, 20);
}

/* ---- sound pools ------------------------------------------------------------------------- */

static void quiet(struct rig *r)
{
	struct fs_scrub_status st;

	populate(r);
	sim_ok(fs_scrub_start(r->fs, 0));
	sim_check(fs_scrub_start(r->fs, 0) == -EBUSY, "two at once");
	expect_findings(r, 0);
	fs_scrub_status(r->fs, &st);
	sim_check(st.verified_bytes > 2000000, "only %llu bytes were verified",
		  (unsigned long long)st.verified_bytes);
}

struct busy { struct rig *r; struct model *m; uint64_t seed; bool done; };

static void work(void *arg)
{
	struct busy *b = arg;
	struct batch *batch = test_alloc(sizeof(*batch));
	struct gen g;

	gen_init(&g, b->seed);
	g.users = 1;
	g.odd = false;
	g.max_write = 60000;
	g.far = false;
	batch->fs = b->r->fs;
	batch->m = b->m;
	while (!b->done) {
		batch_gen(batch, &g, 1 + b->seed % 5);
		batch_run(batch);
		g.weights[OP_REMOVE] = b->m->nnodes > 100 ? 100 : 12;
		g.weights[OP_CLONE] = b->m->nnodes > 100 ? 0 : 12;
		loop_sleep_ns(rng_below(&g.rng, 8000000));
	}
	free(batch);
}

static void scrub_often(void *arg)
{
	struct busy *b = arg;

	for (int i = 0; i < 3; i++) {
		sim_ok(fs_scrub_start(b->r->fs, i % 2 ? 200000000 : 0));
		expect_findings(b->r, 0);
	}
	b->done = true;
}

static void learn_volume(struct rig *r, struct model *m)
{
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct fs_attr root;

	sim_ok(fs_volume_create(&r->req, "busy", v));
	sim_ok(fs_getattr(&r->req, v->root, &root));
	model_add_volume(m, v, &root);
	free(v);
}

/* Trees that are taken apart in many steps. */
static void remove_large(struct busy *b)
{
	struct fs_id id = rig_create(b->r, "large");

	for (unsigned i = 0; i < 8; i++)
		rig_write_quiet(b->r, id, i * (512ull << 10), 512 << 10, i + 1);
	rig_remove(b->r, "large");
}

static void large_side_of(struct busy *b)
{
	while (!b->done) {
		remove_large(b);
		loop_sleep_ns(20000000);
	}
}

static struct busy both;
static void large_side(void *arg) { large_side_of(&both); }
static void work_side(void *arg) { work(&both); }
static void scrub_side(void *arg) { scrub_often(&both); }

/* Clones, overwrites, deletions and checkpoints while it counts. */
static void busy(struct rig *r)
{
	void (*const fns[])(void *) = { work_side, large_side, scrub_side };

	for (uint64_t seed = 1; seed < 2; seed++) {
		both = (struct busy){ .r = r, .m = model_new(), .seed = seed };
		learn_volume(r, both.m);
		rig_parallel(r, fns, 3);
		model_free(both.m);
		sim_ok(fs_volume_destroy(&r->req, "busy"));
	}
}

static void full(struct rig *r)
{
	struct fs_scrub_status st;
	struct fs_id id = rig_create(r, "big");
	uint8_t *buf = test_alloc(1 << 20);
	int err = 0;

	populate(r);
	sim_ok(fs_scrub_start(r->fs, 3000000));
	for (unsigned i = 0; i < 200 && err != -ENOSPC; i++) {
		struct iovec iov = { buf, 1 << 20 };

		memset(buf, i + 1, 1 << 20);
		err = fs_write(&r->req, id, i * (1ull << 20), &iov, 1, 1 << 20, false, NULL);
		sim_check(!err || err == -ENOSPC, "write: %s", sim_err(err));
		if (i % 30 == 29)
			rig_truncate(r, id, 0);	/* its space is needed again */
	}
	free(buf);
	expect_findings(r, 0);
	fs_scrub_status(r->fs, &st);
}

/* ---- damage ------------------------------------------------------------------------------ */

static uint64_t block_with(struct rig *r, uint64_t seed, uint64_t offset)
{
	struct dev_sim_stats st;
	uint8_t want[MBLOCK], got[MBLOCK];

	dev_sim_stats(r->dev, &st);
	rig_pattern(seed, offset, want, MBLOCK);
	for (uint64_t b = 0; b < r->dev->nblocks; b++) {
		dev_sim_peek(r->dev, b, got);
		if (!memcmp(want, got, MBLOCK))
			return b;
	}
	sim_fail("no block holds what was written");
}

enum { MANY = 1200 };
static uint64_t many[MANY], nmany;

/* The device's blocks that hold the first MANY of what was written with SEED. */
static void find_many(struct rig *r, uint64_t seed)
{
	static uint8_t want[MANY][MBLOCK];
	uint8_t got[MBLOCK];

	for (unsigned i = 0; i < MANY; i++)
		rig_pattern(seed, (uint64_t)i * MBLOCK, want[i], MBLOCK);
	nmany = 0;
	for (uint64_t b = 0; b < r->dev->nblocks && nmany < MANY; b++) {
		dev_sim_peek(r->dev, b, got);
		for (unsigned i = 0; i < MANY; i++)
			if (!memcmp(want[i], got, MBLOCK)) {
				many[nmany++] = b;
				break;
			}
	}
}

static void flip_many(struct rig *r)
{
	for (uint64_t i = 0; i < nmany; i++)
		dev_sim_flip_bit(r->dev, many[i], 77);
}

static void rotten(struct rig *r)
{
	uint64_t b;

	populate(r);
	sim_ok(fs_checkpoint(r->fs));
	b = block_with(r, 102, 600064 / MBLOCK * MBLOCK + MBLOCK);
	dev_sim_flip_bit(r->dev, b, 77);
	sim_ok(fs_scrub_start(r->fs, 0));
	expect_findings(r, 4);			/* the block, and the three files that share it */
	sim_check(said(r, "checksum") && said(r, "main:/golden") && said(r, "main:/clone") &&
		  said(r, "main:/changed"), "the wrong files are named");
	dev_sim_flip_bit(r->dev, b, 77);
	sim_ok(fs_scrub_start(r->fs, 0));
	expect_findings(r, 0);
}

/* What only snapshots and clones of the volume have any more. */
static void rotten_snapshots(struct rig *r)
{
	uint64_t b;

	populate(r);
	sim_ok(fs_snapshot_create(&r->req, "main", "s1", NULL));
	sim_ok(fs_snapshot_create(&r->req, "main", "s2", NULL));
	sim_ok(fs_volume_clone(&r->req, "main", "s1", "other", NULL));
	rig_remove(r, "changed");
	sim_ok(fs_reap_all(r->fs));
	sim_ok(fs_checkpoint(r->fs));
	b = block_with(r, 7, 4096);
	dev_sim_flip_bit(r->dev, b, 77);
	sim_ok(fs_scrub_start(r->fs, 0));
	expect_findings(r, 4);
	sim_check(said(r, "main@s1:/changed: hit") && said(r, "main@s2:/changed: hit") &&
		  said(r, "other:/changed: hit"), "the wrong files are named");
	dev_sim_flip_bit(r->dev, b, 77);
}

static void unreadable(struct rig *r)
{
	struct dev_sim_fault f = { .kind = DEV_SIM_FAIL, .ops = DEV_SIM_OP(DEV_READ), .for_good = true,
				   .nblocks = 1 };

	populate(r);
	sim_ok(fs_checkpoint(r->fs));
	f.first_block = block_with(r, 7, 4096);
	sim_ok(dev_sim_inject(r->dev, &f));
	sim_ok(fs_scrub_start(r->fs, 0));
	expect_findings(r, 2);
	sim_check(said(r, "cannot be read") && said(r, "main:/changed"), "the wrong file is named");
	dev_sim_clear_faults(r->dev);
}

/* More is damaged, of more files, than is remembered: it is all counted, and said that it is more. */
static void too_much(struct rig *r)
{
	enum { CLONES = 80, RUN = 40 };
	struct fs_id big = rig_create(r, "big");
	struct fs_scrub_status st;

	for (unsigned i = 0; i < MANY / RUN; i++)
		rig_write(r, big, (uint64_t)i * RUN * MBLOCK, RUN * MBLOCK, 5);
	for (unsigned i = 0; i < CLONES; i++) {
		char name[8];

		snprintf(name, sizeof(name), "c%u", i);
		rig_clone(r, big, name);
	}
	sim_ok(fs_checkpoint(r->fs));
	find_many(r, 5);
	sim_check(nmany == MANY, "%llu blocks", (unsigned long long)nmany);
	flip_many(r);
	sim_ok(fs_scrub_start(r->fs, 0));
	wait_done(r, &st);
	sim_check(!st.result && st.next_block >= st.total_blocks, "it stopped in the middle");
	sim_check(st.findings == MANY + 64 + 1, "%llu findings", (unsigned long long)st.findings);
	sim_check(fs_scrub_finding(r->fs, FS_SCRUB_FINDINGS - 1) && !fs_scrub_finding(r->fs, FS_SCRUB_FINDINGS),
		  "as many are kept as there is room for");
	flip_many(r);
	rig_reopen(r);
	sim_ok(fs_scrub_resume(r->fs));
	fs_scrub_status(r->fs, &st);
	sim_check(!st.running && st.findings == FS_SCRUB_FINDINGS, "it is done, and said as much as is kept");
	sim_ok(fs_scrub_start(r->fs, 0));
	expect_findings(r, 0);
}

/* What was removed and can't be taken apart keeps its blocks; it doesn't keep the scrub from its work. */
static void stuck(struct rig *r)
{
	uint64_t slots[MBLOCK / 8], data, index;

	populate(r);
	rig_write(r, rig_create(r, "gone"), 0, 100000, 44);
	sim_ok(fs_checkpoint(r->fs));
	data = block_with(r, 44, 0);
	for (index = 0; index < r->dev->nblocks; index++) {
		dev_sim_peek(r->dev, index, slots);
		if (slots[0] == data)
			break;
	}
	sim_ok(fs_close(r->fs));
	dev_sim_flip_bit(r->dev, index, 77);
	rig_open(r);
	rig_remove(r, "gone");
	sim_ok(fs_scrub_start(r->fs, 0));
	expect_findings(r, 1);
	sim_check(said(r, "counts are not compared"), "it compares counts that it can't know");
	sim_ok(fs_close(r->fs));
	dev_sim_flip_bit(r->dev, index, 77);
	rig_open(r);
	sim_ok(fs_scrub_start(r->fs, 0));
	expect_findings(r, 0);
}

/* ---- names -------------------------------------------------------------------------------- */

/* More directories wait to be searched than anybody thought of. */
static void many_dirs(struct rig *r)
{
	struct fs_create how = { .type = FS_DIR, .how = FS_CREATE_GUARDED, .set = { FS_SET_MODE, .mode = 0755 } };
	struct fs_attr a;
	char name[24];
	uint64_t b;

	for (unsigned i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "dir%u", i);
		sim_ok(fs_create(&r->req, r->root, (struct fs_name){ name, strlen(name) }, &how, &a, NULL));
	}
	rig_write(r, rig_create(r, "last"), 0, 4096, 55);
	sim_ok(fs_checkpoint(r->fs));
	b = block_with(r, 55, 0);
	dev_sim_flip_bit(r->dev, b, 77);
	sim_ok(fs_scrub_start(r->fs, 0));
	expect_findings(r, 2);
	sim_check(said(r, "main:/last"), "the wrong file is named");
	dev_sim_flip_bit(r->dev, b, 77);
}

/* What was deleted while the scrub held it counts as room. */
static void allocate(struct rig *r)
{
	struct fs_id id = rig_create(r, "big"), other = rig_create(r, "other");
	uint8_t *buf = test_alloc(1 << 20);
	struct iovec iov = { buf, 1 << 20 };
	struct fs_scrub_status st;
	uint64_t at = 0;

	memset(buf, 5, iov.iov_len);
	while (!fs_write(&r->req, id, at, &iov, 1, 1 << 20, false, NULL))
		at += 1 << 20;
	sim_ok(fs_checkpoint(r->fs));
	sim_ok(fs_scrub_start(r->fs, 100000));
	loop_sleep_ns(300000000);
	rig_remove(r, "big");
	fs_scrub_status(r->fs, &st);
	sim_check(st.running, "it should be in the middle");
	sim_ok(fs_allocate(&r->req, other, 0, at / 2, NULL));
	sim_ok(fs_scrub_stop(r->fs));
	free(buf);
}

/* ---- interrupted ------------------------------------------------------------------------- */

static void interrupted(struct rig *r)
{
	struct fs_scrub_status st;

	populate(r);
	r->cfg.scrub_window = 1024;
	rig_reopen(r);
	sim_ok(fs_scrub_start(r->fs, 2000000));
	loop_sleep_ns(700000000);
	fs_scrub_status(r->fs, &st);
	sim_check(st.running && st.next_block, "it should be in the middle");
	rig_reopen(r);
	sim_ok(fs_scrub_resume(r->fs));
	fs_scrub_status(r->fs, &st);
	sim_check(st.running && st.next_block, "it does not go on");
	expect_findings(r, 0);
	sim_ok(fs_scrub_start(r->fs, 2000000));
	sim_ok(fs_scrub_stop(r->fs));
	sim_check(fs_scrub_stop(r->fs) == -ENOENT, "stopped twice");
	rig_reopen(r);
	sim_ok(fs_scrub_resume(r->fs));
	fs_scrub_status(r->fs, &st);
	sim_check(!st.running && st.result == -EINTR, "what was stopped goes on");
	r->cfg.scrub_window = 0;
}

static void restart_side(void *arg)
{
	sim_ok(fs_scrub_stop(((struct rig *)arg)->fs));
	sim_ok(fs_scrub_start(((struct rig *)arg)->fs, 1));
}

static void stop_side(void *arg)
{
	int rc = fs_scrub_stop(((struct rig *)arg)->fs);

	sim_check(!rc || rc == -ENOENT, "stopping: %s", sim_err(rc));
}

/* Whoever stops one too doesn't wait for the next, nor say of that that it was stopped. */
static void restarted(struct rig *r)
{
	void (*const fns[])(void *) = { restart_side, stop_side };
	struct fs_scrub_status st;

	populate(r);
	sim_ok(fs_scrub_start(r->fs, 2000000));
	loop_sleep_ns(100000000);
	rig_parallel(r, fns, 2);
	fs_scrub_status(r->fs, &st);
	sim_check(st.running && st.rate == 1, "the second one does not run");
	sim_ok(fs_scrub_stop(r->fs));
}

/* What is held when the power goes is let go of at the next opening. */
static void killed(struct rig *r)
{
	populate(r);
	for (uint64_t i = 0; i < 20; i++) {
		sim_ok(fs_scrub_start(r->fs, 2000000));
		loop_sleep_ns(5000000 + i * 20000000);
		rig_write(r, rig_find(r, "clone"), i * 8192, 4096, i);
		rig_power_cut(r, i % 3, i);
		sim_check(rig_free(r) > 0, "no space");
	}
	sim_ok(fs_scrub_start(r->fs, 0));
	expect_findings(r, 0);
}

static const struct rig_test tests[] = {
	{ "quiet", quiet, 16384, 0, true }, { "busy", busy, 40960, 0, true },
	{ "busy, counts limited to 40", busy, 40960, 40, true }, { "full", full, 12288, 0, true },
	{ "rotten", rotten, 16384, 0, true }, { "rotten_snapshots", rotten_snapshots, 16384, 0, true },
	{ "unreadable", unreadable, 16384, 0, true }, { "too_much", too_much, 16384, 0, true },
	{ "stuck", stuck, 16384, 0, true },
	{ "many_dirs", many_dirs, 16384, 0, true }, { "allocate", allocate, 16384, 0, true },
	{ "restarted", restarted, 16384, 0, true },
	{ "interrupted", interrupted, 16384, 0, true }, { "killed", killed, 16384, 0, true },
};

int main(int argc, char **argv)
{
	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
