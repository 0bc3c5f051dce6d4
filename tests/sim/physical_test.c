/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of what a volume holds of the pool: refused before anything changes, charged as the account counts, over
 * clones, snapshots, scrubs and power cuts.  Counts beside writes: meter_test.c.
 *
 *   physical_test [NAME]
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
#include "tree/hold.h"

/* ---- the limit ---------------------------------------------------------------------------------- */

/* Refused means that everything is as it was. */
static void expect_nothing(struct rig *r, struct fs_id f)
{
	struct fs_volume_info before = *info(r, "v"), *now;
	struct fs_attr a, b;

	sim_ok(fs_getattr(&r->req, f, &a));
	sim_check(write_at(r, f, 1 << 20, 200) == -EDQUOT, "beyond the limit");
	sim_ok(fs_getattr(&r->req, f, &b));
	now = info(r, "v");
	sim_check(now->held_blocks == before.held_blocks && now->mapped_blocks == before.mapped_blocks &&
		  a.size == b.size && a.change == b.change, "refused, and yet something changed");
}

static void limit(struct rig *r)
{
	struct fs_id v = volume(r, "v"), f, g;
	struct fs_fsstat st;
	uint64_t n;

	sim_ok(set_limit(r, "v", LIMIT));
	expect_exact(r, "v", "fresh");
	f = make(r, v, "f", FS_REG);
	n = fill(r, f, 0, LIMIT, -EDQUOT);
	sim_check(n > LIMIT - 20 && n < LIMIT, "%u blocks of %u", (unsigned)n, LIMIT);
	expect_exact(r, "v", "full");
	sim_check(info(r, "v")->held_blocks <= LIMIT, "%u are held", (unsigned)info(r, "v")->held_blocks);
	expect_nothing(r, f);
	sim_ok(fs_fsstat(&r->req, v, &st, NULL));
	sim_check(st.total_bytes == LIMIT * KIB4 && st.avail_bytes == (LIMIT - info(r, "v")->held_blocks) * KIB4,
		  "df sees %u of %u", (unsigned)(st.avail_bytes / KIB4), (unsigned)(st.total_bytes / KIB4));
	/* What is its own is written over, again and again; names need nothing. */
	for (unsigned k = 0; k < 3; k++) {
		sim_ok(write_at(r, f, 0, 200));
		sim_ok(fs_checkpoint(r->fs));
	}
	g = make(r, v, "g", FS_REG);
	sim_ok(fs_rename(&r->req, v, name_of("g"), v, name_of("h"), NULL, NULL));
	sim_check(fs_allocate(&r->req, g, 0, 100 * KIB4, NULL) == -EDQUOT, "room for what there is none");
	/* What a snapshot has too is not: overwriting costs. */
	sim_ok(fs_snapshot_create(&r->req, "v", "s", NULL));
	sim_check(write_at(r, f, 0, 100) == -EDQUOT, "a copy of what the snapshot has");
	sim_check(fs_punch(&r->req, f, 100, 100, NULL) == -EDQUOT, "a copy for a hole that is none");
	sim_ok(fs_punch(&r->req, f, 0, 2 * KIB4, NULL));
	expect_exact(r, "v", "with a snapshot");
	/* Others don't care, nor does what is freed. */
	sim_ok(write_at(r, rig_create(r, "other"), 0, 200));
	rig_truncate(r, f, 100 * KIB4);
	sim_ok(fs_snapshot_destroy(&r->req, "v", "s"));
	sim_ok(write_at(r, f, 100, 100));	/* what is being freed makes room */
	expect_exact(r, "v", "truncated");
	cut(r, 1);
	expect_exact(r, "v", "replayed");
	sim_ok(fs_remove(&r->req, v, name_of("f"), NULL));
	sim_ok(fs_reap_all(r->fs));
	sim_check(info(r, "v")->held_blocks < 20, "%u are held", (unsigned)info(r, "v")->held_blocks);
}

static void setting(struct rig *r)
{
	const struct fs_limits both = { 10, -1, -1, 3000 };
	struct fs_id v = volume(r, "v"), f = make(r, v, "f", FS_REG);
	struct fs_volume_info *i;

	sim_ok(write_at(r, f, 0, 250));
	sim_ok(fs_snapshot_create(&r->req, "v", "s", NULL));
	sim_ok(write_at(r, f, 0, 100));
	sim_check(set_limit(r, "v", 300) == -EOVERFLOW, "less than there is");
	i = info(r, "v");
	sim_check(!i->physical_blocks && !i->held_blocks, "refused, and yet set");
	sim_ok(write_at(r, f, 1000, 100));	/* nor is it refused */
	sim_check(fs_volume_limit(&r->req, "v", &both, NULL) == -EDQUOT && !info(r, "v")->physical_blocks,
		  "with a quota that is too small");
	sim_ok(set_limit(r, "v", 1000));
	expect_exact(r, "v", "set");
	cut(r, 1);
	expect_exact(r, "v", "set and replayed");
	sim_check(set_limit(r, "v", 300) == -EOVERFLOW && info(r, "v")->physical_blocks == 1000, "less than there is");
	sim_ok(set_limit(r, "v", 480));
	sim_check(write_at(r, f, 2000, 200) == -EDQUOT, "beyond");
	/* Neither of these has it. */
	sim_ok(fs_volume_clone(&r->req, "v", NULL, "w", NULL));
	sim_check(!info(r, "w")->physical_blocks, "a clone has it");
	sim_ok(fs_volume_restore(&r->req, "v", "s", true));
	sim_check(info(r, "v")->physical_blocks == 480, "a restored one has lost it");
	sim_ok(set_limit(r, "v", 0));
	sim_check(!info(r, "v")->physical_blocks && !info(r, "v")->held_blocks, "it is still there");
	sim_ok(write_at(r, f, 2000, 200));
	sim_ok(set_limit(r, "v", 2000));	/* with what it shares now */
	expect_exact(r, "v", "set again");
	sim_check(set_limit(r, "none", 10) == -ENOENT, "a volume that isn't there");
	sim_ok(fs_volume_destroy(&r->req, "w"));
	sim_ok(fs_snapshot_destroy(&r->req, "v", "s"));
	sim_ok(fs_volume_destroy(&r->req, "v"));
}

/* While a scrub holds everything, nobody knows; what it held is freed for the volume, too. */
static void scrubbed(struct rig *r)
{
	struct fs_id v = volume(r, "v"), f = make(r, v, "f", FS_REG);
	struct pool *p = r->fs->pool;
	struct count_watch w = { 0 };
	struct tree_root held;

	sim_ok(write_at(r, f, 0, 200));
	pool_reap_pause(p, true);
	sim_ok(tree_hold(p, &w, &held));
	sim_check(set_limit(r, "v", 1000) == -EBUSY && !info(r, "v")->physical_blocks, "counted beside a scrub");
	sim_ok(tree_let_go(p));
	sim_ok(fs_reap_all(r->fs));
	sim_ok(set_limit(r, "v", 1000));
	for (unsigned round = 0; round < 4; round++) {
		sim_ok(tree_hold(p, &w, &held));
		sim_ok(write_at(r, f, 0, 100));
		sim_check(fs_volume_recount(&r->req, v.volume, NULL) == -EBUSY, "counted beside a scrub");
		if (round % 2) {
			cut(r, round);
			p = r->fs->pool;
		} else {
			sim_ok(tree_let_go(p));
		}
		expect_exact(r, "v", "after a scrub");
	}
	/* At the limit, what is there can be overwritten, and nothing be added. */
	sim_ok(set_limit(r, "v", info(r, "v")->held_blocks));
	sim_ok(tree_hold(p, &w, &held));
	sim_ok(write_at(r, f, 0, 200));
	sim_check(write_at(r, f, 200, 1) == -EDQUOT, "a scrub made room for more");
	sim_ok(tree_let_go(p));
	sim_ok(fs_reap_all(r->fs));
	expect_exact(r, "v", "at its limit, after a scrub");
	sim_check(info(r, "v")->held_blocks <= info(r, "v")->physical_blocks, "above its limit after a scrub");
}

/* ---- what others do ----------------------------------------------------------------------------- */


static void drift(struct rig *r)
{
	struct fs_id v = volume(r, "v"), f = make(r, v, "f", FS_REG), g;
	uint64_t n;

	sim_ok(set_limit(r, "v", LIMIT));
	sim_ok(write_at(r, f, 0, 256));
	share(r, "f");
	/* Ours is theirs too. */
	sim_ok(fs_volume_recount(&r->req, v.volume, NULL));
	expect_exact(r, "v", "shared");
	n = info(r, "v")->held_blocks;
	sim_check(n < 20, "%u are held", (unsigned)n);
	cut(r, 1);
	sim_check(info(r, "v")->held_blocks == n, "%u after replay, and it was %u",
		  (unsigned)info(r, "v")->held_blocks, (unsigned)n);
	sim_ok(write_at(r, f, 1000, 256));
	/* They let go of it, and it is ours alone: more than may be, but it isn't taken away. */
	sim_ok(fs_volume_destroy(&r->req, "w"));
	sim_ok(write_at(r, f, 2000, 200));
	sim_ok(fs_volume_recount(&r->req, v.volume, NULL));
	expect_exact(r, "v", "let go of");
	sim_check(info(r, "v")->held_blocks > LIMIT, "%u are held", (unsigned)info(r, "v")->held_blocks);
	sim_check(write_at(r, f, 3000, 1) == -EDQUOT, "above the limit");
	sim_ok(write_at(r, f, 2000, 200));
	rig_truncate(r, f, 1000 * KIB4);
	sim_ok(write_at(r, f, 1000, 100));
	expect_exact(r, "v", "truncated");
	/* Freeing what others left is more than was known to be there. */
	g = share(r, "f");
	sim_ok(fs_volume_recount(&r->req, v.volume, NULL));
	sim_ok(write_at(r, g, 0, 256));
	rig_truncate(r, f, 0);
	sim_ok(fs_reap_all(r->fs));
	sim_check(!info(r, "v")->held_blocks, "%u are held", (unsigned)info(r, "v")->held_blocks);
	sim_ok(fs_volume_recount(&r->req, v.volume, NULL));
	expect_exact(r, "v", "below nothing");
}

/* Room is made by the way: others go on meanwhile. */
static void polite(struct rig *r)
{
	struct fs_id v = volume(r, "v"), w = volume(r, "w"), f = make(r, w, "f", FS_REG), g = make(r, v, "g", FS_REG);
	uint64_t switches;

	sim_ok(set_limit(r, "v", 100));
	for (unsigned k = 0; k < 50; k++)
		sim_ok(write_at(r, f, k * 200, 200));
	sim_ok(fs_remove(&r->req, w, name_of("f"), NULL));
	switches = fiber_switches();
	sim_check(write_at(r, g, 1000, 200) == -EDQUOT, "beyond the limit");
	switches = fiber_switches() - switches;
	sim_check(!reaping(r->fs) && switches > 80, "it gave way %u times", (unsigned)switches);
}

/* ---- anything ----------------------------------------------------------------------------------- */

/* Of a volume that shares with nobody, what is held is what the account finds: whatever is done, over power cuts. */
static void exact(struct rig *r)
{
	struct fs_id v = volume(r, "v"), dirs[3];
	unsigned refused = 0;
	struct rng rng;

	sim_ok(fs_volume_set_dedup(&r->req, "v", true));
	for (unsigned i = 0; i < 3; i++)
		dirs[i] = make(r, v, (char[]){ 'a' + i, 0 }, FS_DIR);
	sim_ok(set_limit(r, "v", 600));
	rig_stable(r);
	rng_init(&rng, 5);
	for (unsigned step = 1; step <= 2500; step++) {
		uint64_t before = info(r, "v")->held_blocks, now;

		anything(r, &rng, "v", dirs[rng_below(&rng, 3)], dirs[rng_below(&rng, 3)], 80);
		now = info(r, "v")->held_blocks;
		refused += now > 570;
		/* Beyond the limit, only what frees in the end takes some. */
		sim_check(now <= 600 || now <= before + 40, "step %u: %u are held, and it was %u", step,
			  (unsigned)now, (unsigned)before);
		if (step % 500 == 0)
			rig_power_cut(r, DEV_SIM_CUT_RANDOM, step);
		if (step % 10 == 0)
			expect_exact(r, "v", "anything");
		if (step % 250 == 0)
			sim_ok(fs_volume_recount(&r->req, v.volume, NULL));
	}
	sim_check(refused > 100, "it was full %u times only", refused);
}

/* With others who share with it, it is so after each count; and it is never forgotten what was counted. */
static void shared(struct rig *r)
{
	static const char *const names[] = { "v", "w" };
	struct fs_id dirs[2] = { make(r, volume(r, "v"), "d", FS_DIR) };
	unsigned drifted = 0;
	struct rng rng;

	sim_ok(fs_volume_set_dedup(&r->req, "v", true));
	sim_ok(set_limit(r, "v", 1500));
	rng_init(&rng, 7);
	for (unsigned step = 0; step < 2000; step++) {
		unsigned k = rng_below(&rng, 2);
		uint64_t before, now;

		if (step % 250 == 0) {
			if (step)
				destroy(r, "w");
			dirs[1] = share(r, "d");
			sim_ok(set_limit(r, "w", 1500));
			expect_exact(r, "w", "set");
			rig_stable(r);
		}
		anything(r, &rng, names[k], dirs[k], dirs[k], 80);
		if (step % 110 == 0)
			rig_power_cut(r, DEV_SIM_CUT_RANDOM, step);
		if (step % 20)
			continue;
		before = info(r, names[k])->held_blocks;
		sim_ok(fs_volume_recount(&r->req, dirs[k].volume, NULL));
		now = info(r, names[k])->held_blocks;
		drifted += now != before;
		expect_exact(r, names[k], "counted");
		if (step % 100 == 0) {
			cut(r, step);
			sim_ok(fs_reap_all(r->fs));
			sim_check(info(r, names[k])->held_blocks == now, "step %u: %u after replay, and it was %u", step,
				  (unsigned)info(r, names[k])->held_blocks, (unsigned)now);
		}
	}
	sim_check(drifted > 20, "they drifted %u times only", drifted);
}

/* ---- power cuts --------------------------------------------------------------------------------- */

#define IMAGES 600
static struct {
	struct dev_sim_image *images[IMAGES];
	unsigned n, since;
	uint64_t held[2];		/* as it may be found: before and after what is under way */
	struct { uint64_t held[2]; } may[IMAGES];
} cuts;

static void take_image(void *arg, struct dev *d, const struct dev_io *io)
{
	if (io->op == DEV_READ || cuts.n == IMAGES)
		return;
	memcpy(cuts.may[cuts.n].held, cuts.held, sizeof(cuts.held));
	cuts.images[cuts.n] = sim_cut_image(d, cuts.n % 4, cuts.n);
	cuts.n++;
}

/* Opens what each of the cuts has left. */
static void look_at_images(struct rig *r, void (*look)(struct rig *r, unsigned k))
{
	dev_sim_on_submit(r->dev, NULL, NULL);
	sim_check(cuts.n > 30 && cuts.n < IMAGES, "%u cuts", cuts.n);
	for (unsigned k = 0; k < cuts.n; k++) {
		struct rig c = { .cfg = r->cfg };

		c.dev = sim_disk_open(0, k, cuts.images[k]);
		rig_open(&c);
		look(&c, k);
		sim_ok(fs_close(c.fs));
		if (k % 10 == 0)
			sim_fsck(c.dev, "after a cut");
		dev_close(c.dev);
		dev_sim_image_put(cuts.images[k]);
	}
	cuts.n = 0;
}

static void look_exact(struct rig *r, unsigned k)
{
	struct fs_volume_info *v = info(r, "v");

	sim_check(!v->physical_blocks || v->physical_blocks == 700 || v->physical_blocks == 800,
		  "cut %u: a limit of %u", k, (unsigned)v->physical_blocks);
	if (v->physical_blocks)
		expect_exact(r, "v", "after a cut");
	sim_ok(set_limit(r, "v", 900));		/* whatever was begun */
	expect_exact(r, "v", "set after a cut");
}

static void stable_op(struct rig *r, int err)
{
	sim_ok(err);
	rig_stable(r);
}

/* Whatever is done to a volume that shares with nobody, it is exact afterwards. */
static void cuts_alone(struct rig *r)
{
	struct fs_id v = volume(r, "v"), f = make(r, v, "f", FS_REG), g;

	sim_ok(fs_volume_set_space(&r->req, "v", -1, -1, 100));	/* it has an owner before */
	sim_ok(write_at(r, f, 0, 250));
	g = clone_to(r, f, v, "g");
	sim_ok(fs_checkpoint(r->fs));
	sim_ok(fs_remove(&r->req, v, name_of("g"), NULL));
	sim_ok(write_at(r, make(r, v, "h", FS_REG), 0, 100));
	sim_ok(fs_remove(&r->req, v, name_of("h"), NULL));
	dev_sim_on_submit(r->dev, take_image, NULL);
	stable_op(r, set_limit(r, "v", 700));
	stable_op(r, write_at(r, f, 100, 250));
	g = clone_to(r, f, v, "g");
	stable_op(r, write_at(r, g, 0, 50));
	stable_op(r, fs_snapshot_create(&r->req, "v", "s", NULL));
	stable_op(r, write_at(r, f, 0, 100));
	stable_op(r, set_limit(r, "v", 800));
	stable_op(r, fs_remove(&r->req, v, name_of("g"), NULL));
	stable_op(r, fs_volume_recount(&r->req, v.volume, NULL));
	sim_ok(fs_checkpoint(r->fs));
	stable_op(r, fs_snapshot_destroy(&r->req, "v", "s"));
	stable_op(r, fs_volume_recount(&r->req, v.volume, NULL));
	stable_op(r, set_limit(r, "v", 0));
	stable_op(r, set_limit(r, "v", 700));
	look_at_images(r, look_exact);
}

static void look_counted(struct rig *r, unsigned k)
{
	uint64_t n;

	sim_ok(fs_reap_all(r->fs));
	n = info(r, "v")->held_blocks;
	sim_check(n == cuts.may[k].held[0] || n == cuts.may[k].held[1], "cut %u: %u are held, not %u or %u", k,
		  (unsigned)n, (unsigned)cuts.may[k].held[0], (unsigned)cuts.may[k].held[1]);
	sim_ok(fs_volume_recount(&r->req, info(r, "v")->id, NULL));
	expect_exact(r, "v", "counted after a cut");
}

/* A count that finds something is there as a whole, or not at all. */
static void cuts_counting(struct rig *r)
{
	struct fs_id v = volume(r, "v"), f = make(r, v, "f", FS_REG);

	sim_ok(set_limit(r, "v", LIMIT));
	sim_ok(write_at(r, f, 0, 250));
	for (unsigned round = 0; round < 12; round++) {
		if (round % 2)
			sim_ok(fs_volume_destroy(&r->req, "w"));
		else
			share(r, "f");
		sim_ok(fs_reap_all(r->fs));
		sim_ok(fs_checkpoint(r->fs));
		cuts.held[0] = info(r, "v")->held_blocks;
		cuts.held[1] = alone(r, v);
		sim_check(cuts.held[0] != cuts.held[1], "nothing to find");
		dev_sim_on_submit(r->dev, take_image, NULL);
		stable_op(r, fs_volume_recount(&r->req, v.volume, NULL));
		sim_check(info(r, "v")->held_blocks == cuts.held[1], "it wasn't found");
		cuts.held[0] = cuts.held[1];
		sim_ok(fs_checkpoint(r->fs));
		dev_sim_on_submit(r->dev, NULL, NULL);
	}
	look_at_images(r, look_counted);
}

static const struct rig_test tests[] = {
	{ "limit", limit, 20000, 0, false },
	{ "limit_background", limit, 20000, 0, true },
	{ "setting", setting, 20000, 0, false },
	{ "scrubbed", scrubbed, 20000, 0, false },
	{ "drift", drift, 20000, 0, false },
	{ "polite", polite, 30000, 0, false },
	{ "exact", exact, 20000, 0, false },
	{ "exact_few_refs", exact, 20000, 3, false },
	{ "shared", shared, 20000, 0, false },
	{ "shared_few_refs", shared, 40000, 4, false },
	{ "cuts_alone", cuts_alone, 20000, 0, false },
	{ "cuts_counting", cuts_counting, 20000, 0, false },
};

int main(int argc, char **argv)
{
	alarm(100);
	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
