/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counting what a volume with a limit holds: in the background, beside writes, beside others who share or let go, who set
 * limits and take them away, and after repairs.
 *
 *   meter_test [NAME]
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/loop.h"
#include "fs/fs_int.h"
#include "physical_kit.h"

/* ---- in the background -------------------------------------------------------------------------- */

static bool counted(struct rig *r, uint64_t above, uint64_t below)
{
	for (unsigned k = 0; k < 100; k++) {
		uint64_t n = info(r, "v")->held_blocks;

		if (n >= above && n < below)
			return true;
		loop_sleep_ns(20000000);
	}
	return false;
}

/* Who is refused for what others have by now is so for moments only, but for a while after that. */
static void background(struct rig *r)
{
	struct fs_id v = volume(r, "v"), f = make(r, v, "f", FS_REG);

	sim_ok(set_limit(r, "v", LIMIT));
	fill(r, f, 0, LIMIT, -EDQUOT);
	sim_check(!counted(r, 0, LIMIT - 20), "less is held, and nobody has anything");
	share(r, "f");
	sim_check(write_at(r, f, 1000, 100) == -EDQUOT, "beyond the limit");
	sim_check(!counted(r, 0, 100), "counted again so soon");
	loop_sleep_ns(FS_RECOUNT_NS);
	sim_check(fs_allocate(&r->req, f, 1000 * KIB4, 100 * KIB4, NULL) == -EDQUOT, "beyond the limit");
	sim_check(counted(r, 0, 100), "not counted");
	sim_ok(write_at(r, f, 1000, 100));
	expect_exact(r, "v", "counted in the background");
	/* And what is below nothing is found out. */
	loop_sleep_ns(FS_RECOUNT_NS);
	sim_ok(fs_volume_destroy(&r->req, "w"));
	sim_ok(fs_reap_all(r->fs));
	rig_truncate(r, f, 200 * KIB4);
	sim_ok(fs_reap_all(r->fs));
	sim_check(!info(r, "v")->held_blocks, "%u are held", (unsigned)info(r, "v")->held_blocks);
	make(r, v, "n", FS_REG);
	sim_check(counted(r, 200, 250), "not counted");
}

/* Whoever is refused again and again, it isn't counted all the time. */
static void refused_on(struct rig *r)
{
	struct fs_id v = volume(r, "v"), f = make(r, v, "f", FS_REG);
	uint64_t first = 0;
	unsigned k;

	sim_ok(set_limit(r, "v", 12100));
	for (k = 0; k < 60; k++)
		sim_ok(write_at(r, f, k * 200, 200));
	sim_ok(fs_close(r->fs));
	rig_open(r);			/* nor was it lately */
	sim_check(write_at(r, f, 20000, 100) == -EDQUOT && r->fs->meters.running, "not counted");
	for (k = 0; r->fs->meters.running && k < 10000; k++) {
		sim_check(write_at(r, f, 20000, 100) == -EDQUOT, "beyond the limit");
		loop_sleep_ns(100000);
		first = first ? first : r->fs->meters.due[0].next_ns;
	}
	sim_check(k > 5 && k < 10000 && r->fs->meters.due[0].next_ns == first, "counted on and on");
}

static void refused_and_counted(struct rig *r, struct fs_id f)
{
	sim_check(write_at(r, f, 50000, 250) == -EDQUOT, "beyond the limit");
	for (unsigned k = 0; !r->fs->meters.counting && k < 1000; k++)
		loop_sleep_ns(100000);
	sim_check(r->fs->meters.counting == f.volume, "not counted");
}

/* Nobody waits for what is counted in the background. */
static void gives_way(struct rig *r)
{
	struct fs_id v = volume(r, "v"), f = make(r, v, "f", FS_REG);
	uint64_t start;

	volume(r, "w");
	for (unsigned k = 0; k < 200; k++)
		sim_ok(write_at(r, f, k * 200, 200));
	sim_ok(set_limit(r, "v", 40300));
	refused_and_counted(r, f);
	start = loop_now_ns();
	sim_ok(set_limit(r, "w", 100));
	sim_check(loop_now_ns() - start < 10000000, "it took %u us", (unsigned)((loop_now_ns() - start) / 1000));
	expect_exact(r, "w", "set beside");
	loop_sleep_ns(60000000000ull);
	refused_and_counted(r, f);
}

/* ---- counts beside writes ----------------------------------------------------------------------- */

static struct { struct fs_id root, d; bool sharing, setting; unsigned same; struct rng rng; } busy;

/* Nothing is ever shared. */
static void busy_file(struct rig *r, struct fs_id f)
{
	if (rng_one_in(&busy.rng, 3))
		rig_truncate(r, f, rng_below(&busy.rng, 300) * KIB4);
	else
		write_at(r, f, rng_below(&busy.rng, 400), 1 + rng_below(&busy.rng, 60));
}

static void busy_write(void *arg)
{
	struct rig *r = arg;

	for (unsigned i = 0; i < 30 || busy.setting; i++) {
		if (busy.sharing)
			anything(r, &busy.rng, "v", busy.d, busy.d, 60);
		else
			busy_file(r, make(r, busy.d, (char[]){ 'a' + rng_below(&busy.rng, 20), 0 }, FS_REG));
		if (rng_one_in(&busy.rng, 10))
			fs_checkpoint(r->fs);
		fiber_yield();		/* to a step of the count */
		if (busy.setting && rng_one_in(&busy.rng, 20))
			loop_sleep_ns(100000);
	}
}

static void busy_count(void *arg)
{
	struct rig *r = arg;

	loop_sleep_ns(rng_below(&busy.rng, 2000000));
	sim_ok(fs_volume_recount(&r->req, busy.root.volume, NULL));
}

static void busy_set(void *arg)
{
	struct rig *r = arg;

	loop_sleep_ns(rng_below(&busy.rng, 2000000));
	sim_ok(set_limit(r, "v", 40000));
	busy.setting = false;
}

/* A first count has nothing better to go by: it takes what it finds, and says so if that may be anything. */
static void set_beside(struct rig *r)
{
	static void (*const fns[])(void *) = { busy_write, busy_set };
	struct fs_id v = volume(r, "v"), f = make(r, v, "large", FS_REG);
	unsigned about = 0, sure = 0;

	busy.root = v;
	busy.d = make(r, v, "d", FS_DIR);
	for (unsigned k = 0; k < 120; k++)
		sim_ok(write_at(r, f, k * 200, 200));
	rng_init(&busy.rng, 3);
	for (unsigned round = 0; round < 60; round++) {
		busy.sharing = round % 2;
		busy.setting = true;
		sim_ok(fs_close(r->fs));
		rig_open(r);		/* what is read takes time */
		rig_parallel(r, fns, 2);
		about += info(r, "v")->held_stale;
		sure += !info(r, "v")->held_stale;
		sim_ok(fs_volume_recount(&r->req, v.volume, NULL));
		expect_exact(r, "v", "counted in the end");
		sim_ok(set_limit(r, "v", 0));
	}
	sim_check(about > 5 && sure > 5, "about so much %u times, and exactly %u", about, sure);
}

static int do_meter(struct txn *t, void *arg)
{
	uint32_t *meter = arg;
	struct volume *v;
	int err = volume_get(t, busy.root.volume, &v);

	if (!err)
		*meter = v->meter;
	return err;
}

static void busy_clear(void *arg)
{
	loop_sleep_ns(rng_below(&busy.rng, 4000000));
	sim_ok(set_limit(arg, "v", 0));
}

/* Who takes the limit away does so for good, whoever counts just then. */
static void cleared(struct rig *r)
{
	static void (*const fns[])(void *) = { busy_count, busy_clear };
	struct fs_id v = volume(r, "v"), f = make(r, v, "f", FS_REG);
	uint32_t meter;

	busy.root = v;
	rng_init(&busy.rng, 3);
	sim_ok(write_at(r, f, 0, 250));
	for (unsigned round = 0; round < 60; round++) {
		sim_ok(set_limit(r, "v", 3000));
		sim_ok(fs_volume_clone(&r->req, "v", NULL, "w", NULL));
		sim_ok(fs_close(r->fs));
		rig_open(r);
		rig_parallel(r, fns, 2);
		sim_ok(fs_run(&r->req, SPACE_ORDINARY, false, false, do_meter, &meter));
		sim_check(!meter, "round %u: it is counted on", round);
		sim_ok(fs_volume_destroy(&r->req, "w"));
	}
}

/* Some steps of a count later. */
static void while_counting(struct rig *r)
{
	for (unsigned k = rng_below(&busy.rng, 12); k; k--)
		if (rng_one_in(&busy.rng, 2))
			loop_sleep_ns(rng_below(&busy.rng, 100000));
		else
			fiber_yield();
}

static void clear_later(void *arg)
{
	while (busy.setting && !((struct rig *)arg)->fs->meters.counting)
		loop_sleep_ns(1000);
	while_counting(arg);
	sim_ok(set_limit(arg, "v", 0));
}

/* Who is counted is watched, or it is known that nobody was. */
static void watch(void *arg)
{
	struct rig *r = arg;
	struct meters *m = &r->fs->meters;
	uint32_t meter;

	while (busy.setting) {
		if (!waitq_wait_timeout(&m->counted, 100000))
			continue;
		sim_ok(fs_checkpoint(r->fs));	/* which is what the next try waits for, too */
		for (unsigned k = 0; k < 50 && busy.setting; k++) {
			sim_ok(fs_run(&r->req, SPACE_ORDINARY, false, false, do_meter, &meter));
			sim_check(!m->counting || m->regrouped || meter & METER_ON, "counted without a meter");
			fiber_yield();
		}
	}
}

/* A limit is set and taken away at once: one of the two was the last. */
static void set_and_cleared(struct rig *r)
{
	static void (*const fns[])(void *) = { busy_set, clear_later, watch };
	struct fs_id v = volume(r, "v"), f = make(r, v, "f", FS_REG);
	unsigned set = 0;

	busy.root = v;
	rng_init(&busy.rng, 3);
	for (unsigned k = 0; k < 40; k++)
		sim_ok(write_at(r, f, k * 200, 200));
	for (unsigned round = 0; round < 40; round++) {
		busy.setting = true;
		sim_ok(fs_close(r->fs));
		rig_open(r);
		rig_parallel(r, fns, 3);
		if (info(r, "v")->physical_blocks) {
			set++;
			expect_exact(r, "v", "set in the end");
		}
		sim_ok(set_limit(r, "v", 0));
	}
	sim_check(set > 5, "set %u times", set);
}

/* Two set it at once, and the one asks for too little. */
static void set_too_small(void *arg)
{
	int err;

	if (rng_one_in(&busy.rng, 2))
		while_counting(arg);
	err = set_limit(arg, "v", 100);
	sim_check(err == -EOVERFLOW, "less than there is: %s", sim_err(err));
}

static void set_large(void *arg)
{
	if (rng_one_in(&busy.rng, 2))
		while_counting(arg);
	sim_ok(set_limit(arg, "v", 40000));
}

static void set_by_two(struct rig *r)
{
	static void (*const fns[])(void *) = { set_large, set_too_small };
	struct fs_id v = volume(r, "v"), f = make(r, v, "f", FS_REG);

	rng_init(&busy.rng, 4);
	for (unsigned k = 0; k < 10; k++)
		sim_ok(write_at(r, f, k * 200, 200));
	for (unsigned round = 0; round < 40; round++) {
		sim_ok(write_at(r, make(r, v, "g", FS_REG), 0, 200));
		sim_ok(fs_remove(&r->req, v, name_of("g"), NULL));	/* both wait for that first */
		rig_parallel(r, fns, 2);
		sim_check(info(r, "v")->physical_blocks == 40000, "round %u: a limit of %u", round,
			  (unsigned)info(r, "v")->physical_blocks);
		expect_exact(r, "v", "set by two");
		sim_ok(set_limit(r, "v", 0));
	}
}

static void stopped(struct rig *r)
{
	const struct fs_limits l = { -1, -1, -1, 1000 };
	struct fs_id v = volume(r, "v");
	bool stop = true;

	sim_ok(write_at(r, make(r, v, "f", FS_REG), 0, 200));
	sim_check(fs_volume_limit(&r->req, "v", &l, &stop) == -EINTR && !info(r, "v")->physical_blocks, "not stopped");
	sim_ok(set_limit(r, "v", 1000));
	sim_check(fs_volume_recount(&r->req, v.volume, &stop) == -EINTR, "not stopped");
	expect_exact(r, "v", "stopped");
}

static int do_harm(struct txn *t, void *arg)
{
	struct volume *v;
	int err = volume_slot_own(t, *(uint32_t *)arg, &v);

	if (!err && t->apply)
		v->files += 3;
	return err;
}

/* Repairs take and free blocks that nobody is charged for. */
static void repaired(struct rig *r)
{
	struct fs_check_opts o = { .repair = true };
	struct fs_id v = volume(r, "v");
	struct fs_check_stats st;
	struct txn t;

	sim_ok(write_at(r, make(r, v, "f", FS_REG), 0, 200));
	sim_ok(set_limit(r, "v", 1000));
	txn_begin(&t, r->fs->pool);
	sim_ok(txn_run(&t, true, do_harm, &v.volume));
	txn_end(&t);
	sim_ok(fs_close(r->fs));
	sim_check(!fs_check_with(r->dev, &o, NULL, NULL, &st) && st.repairs, "it isn't set right");
	rig_open(r);
	sim_check(info(r, "v")->held_stale, "what it holds is known after repairs");
	sim_ok(fs_volume_recount(&r->req, v.volume, NULL));
	expect_exact(r, "v", "repaired");
}

/* Others share what the volume has, and let go of it, while it is counted. */
static void busy_others(void *arg)
{
	struct rig *r = arg;
	struct fs_id w;

	while (!r->fs->meters.counting && busy.setting)
		loop_sleep_ns(1000);
	while_counting(r);
	if (busy.sharing) {
		sim_ok(write_at(r, share(r, "f"), 0, 1));
	} else {
		w = volume(r, "w");
		sim_ok(fs_volume_set_dedup(&r->req, "w", true));
		sim_ok(write_at(r, make(r, w, "same", FS_REG), busy.same, 200));
	}
	while_counting(r);
	sim_ok(fs_volume_destroy(&r->req, "w"));
}

static void count_once(void *arg)
{
	busy_count(arg);
	busy.setting = false;
}

static void beside_others(struct rig *r)
{
	static void (*const fns[])(void *) = { count_once, busy_others };
	struct fs_id v = volume(r, "v"), f = make(r, v, "f", FS_REG);

	busy.root = v;
	sim_ok(fs_volume_set_dedup(&r->req, "v", true));
	for (unsigned k = 0; k < 60; k++)
		sim_ok(write_at(r, f, k * 200, 200));
	sim_ok(set_limit(r, "v", 40000));
	rng_init(&busy.rng, 6);
	for (unsigned round = 0; round < 200; round++) {
		busy.sharing = round % 2;
		busy.setting = true;
		if (round % 3) {
			sim_ok(fs_close(r->fs));
			rig_open(r);
		}
		busy.same = rng_below(&busy.rng, 60) * 200;
		sim_ok(write_at(r, f, busy.same, 200));	/* they know of these */
		rig_parallel(r, fns, 2);
		expect_exact(r, "v", "counted beside what others did");
	}
}

/* A count beside whatever the volume does never makes it worse: what was right stays so. */
static void beside(struct rig *r)
{
	static void (*const fns[])(void *) = { busy_write, busy_count };
	struct fs_id v = volume(r, "v"), f = v;

	busy.root = v;
	busy.d = make(r, v, "d", FS_DIR);
	for (unsigned k = 0; k < 20; k++) {		/* some lie before the one that a count is longest at */
		make(r, busy.d, (char[]){ 'a' + k, 0 }, FS_REG);
		f = k == 10 ? make(r, v, "large", FS_REG) : f;
	}
	for (unsigned k = 0; k < 120; k++)
		sim_ok(write_at(r, f, k * 200, 200));
	sim_ok(set_limit(r, "v", 40000));
	expect_exact(r, "v", "set");
	rng_init(&busy.rng, 3);
	for (unsigned round = 0; round < 80; round++) {
		busy.sharing = round % 2;
		if (round % 3 == 0) {		/* what is read takes time */
			sim_ok(fs_close(r->fs));
			rig_open(r);
		}
		rig_parallel(r, fns, 2);
		expect_exact(r, "v", "counted beside writes");
	}
}

static const struct rig_test tests[] = {
	{ "background", background, 20000, 0, true },
	{ "refused_on", refused_on, 20000, 0, true },
	{ "gives_way", gives_way, 60000, 0, true },
	{ "beside", beside, 60000, 0, false },
	{ "cleared", cleared, 20000, 0, false },
	{ "set_and_cleared", set_and_cleared, 30000, 0, false },
	{ "set_by_two", set_by_two, 20000, 0, false },
	{ "stopped", stopped, 20000, 0, false },
	{ "repaired", repaired, 20000, 0, false },
	{ "beside_others", beside_others, 60000, 0, true },
	{ "set_beside", set_beside, 60000, 0, false },
	{ "beside_background", beside, 60000, 0, true },
};

int main(int argc, char **argv)
{
	alarm(100);
	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
