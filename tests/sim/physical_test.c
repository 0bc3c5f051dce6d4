/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of what a volume holds of the pool: refused before anything changes, counted as the account counts, over
 * clones, snapshots, counts beside writes, and power cuts.
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
#include "fs/account.h"
#include "fs/fs_int.h"
#include "rig.h"
#include "tree/hold.h"

#define KIB4 4096u
#define LIMIT 500

static struct fs_name name_of(const char *s) { return (struct fs_name){ s, strlen(s) }; }

static struct fs_id make(struct rig *r, struct fs_id dir, const char *name, enum fs_type type)
{
	struct fs_create how = { .type = type, .how = type == FS_DIR ? FS_CREATE_GUARDED : FS_CREATE_UNCHECKED };
	struct fs_attr a;

	sim_ok(fs_create(&r->req, dir, name_of(name), &how, &a, NULL));
	return a.id;
}

static struct fs_id volume(struct rig *r, const char *name)
{
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct fs_id root;

	sim_ok(fs_volume_create(&r->req, name, v));
	root = v->root;
	free(v);
	return root;
}

static struct fs_volume_info *info(struct rig *r, const char *name)
{
	static struct fs_volume_info v;

	sim_ok(fs_volume_find(r->fs, name, &v));
	return &v;
}

static int set_limit(struct rig *r, const char *name, int64_t blocks)
{
	const struct fs_limits l = { -1, -1, -1, blocks };

	return fs_volume_limit(&r->req, name, &l, NULL);
}

static int write_at(struct rig *r, struct fs_id id, uint64_t first, uint32_t count)
{
	struct iovec iov = { test_alloc(count * KIB4), count * KIB4 };
	int err;

	rig_pattern(first + count, first, iov.iov_base, iov.iov_len);
	err = fs_write(&r->req, id, first * KIB4, &iov, 1, iov.iov_len, false, NULL);
	free(iov.iov_base);
	return err;
}

/* Block by block until it is refused: how many. */
static uint64_t fill(struct rig *r, struct fs_id id, uint64_t first, uint64_t max, int refusal)
{
	uint64_t n = 0;

	while (n < max) {
		int err = write_at(r, id, first + n, 1);

		if (err == refusal)
			break;
		sim_ok(err);
		n++;
	}
	return n;
}

/* By the account: what the volume and its snapshots have for themselves. */
static uint64_t alone(struct rig *r, struct fs_id root)
{
	struct fs_account a = { .of = FS_ACCOUNT_VOLUME_ALL, .id = root, .exact = true };

	sim_ok(fs_reap_all(r->fs));
	sim_ok(fs_account(&r->req, &a));
	return a.exclusive.data + a.exclusive.meta - a.record_blocks;
}

static void expect_exact(struct rig *r, const char *name, const char *when)
{
	struct fs_volume_info *v = info(r, name);
	uint64_t n = alone(r, v->root);

	v = info(r, name);
	sim_check(v->held_blocks == n && !v->held_stale, "%s: %u blocks are held%s, and the account finds %u", when,
		  (unsigned)v->held_blocks, v->held_stale ? " perhaps" : "", (unsigned)n);
}

static void cut(struct rig *r, uint64_t seed)
{
	rig_stable(r);
	rig_power_cut(r, DEV_SIM_CUT_DROP, seed);
}

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

/* The clone "w" of volume "v": its file or directory NAME. */
static struct fs_id share(struct rig *r, const char *name)
{
	struct fs_attr a;

	sim_ok(fs_volume_clone(&r->req, "v", NULL, "w", NULL));
	sim_ok(fs_lookup(&r->req, info(r, "w")->root, name_of(name), &a, NULL));
	return a.id;
}

static struct fs_id clone_to(struct rig *r, struct fs_id src, struct fs_id dir, const char *name)
{
	struct fs_name n = name_of(name);
	struct fs_attr a;

	sim_ok(fs_clone(&r->req, src, dir, &n, 1, NULL, &a));
	return a.id;
}

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

static void anything(struct rig *r, struct rng *rng, const char *volume, struct fs_id d, struct fs_id e,
		     uint32_t max_blocks)
{
	char n1[] = { 'f', '0' + rng_below(rng, 6), 0 }, n2[] = { 'f', '0' + rng_below(rng, 6), 0 };
	struct fs_create how = { .type = FS_REG, .how = FS_CREATE_UNCHECKED };
	struct fs_name name = name_of(n1), other = name_of(n2);
	struct fs_attr a;
	struct fs_id id;
	int err = fs_create(&r->req, d, name, &how, &a, NULL);

	if (err == -EDQUOT) {		/* removing is never refused */
		err = fs_remove(&r->req, d, other, NULL);
		sim_check(!err || err == -ENOENT, "remove: %s", sim_err(err));
		return;
	}
	sim_ok(err);
	id = a.id;
	switch (rng_below(rng, 12)) {
	case 0: err = fs_remove(&r->req, d, name, NULL); break;
	case 1: fs_rename(&r->req, d, name, e, other, NULL, NULL); break;
	case 2: fs_clone(&r->req, id, e, &other, 1, NULL, &a); break;
	case 3: err = fs_punch(&r->req, id, rng_below(rng, 100) * KIB4, 9 * KIB4, NULL); break;
	case 4: fs_clone_range(&r->req, id, 0, id, 64 * KIB4, 0, NULL); break;
	case 5: rig_truncate(r, id, rng_below(rng, 100) * KIB4); break;
	case 6: fs_xattr_set(&r->req, id, other, n1, rng_below(rng, 2), 0, NULL); break;
	case 7: if (rng_one_in(rng, 20)) fs_snapshot_create(&r->req, volume, n1, NULL); break;
	case 8: if (rng_one_in(rng, 10)) fs_snapshot_destroy(&r->req, volume, n1); break;
	case 9: if (rng_one_in(rng, 10)) fs_volume_restore(&r->req, volume, n1, true); break;
	default: err = write_at(r, id, rng_below(rng, 2 * max_blocks), 1 + rng_below(rng, max_blocks));
	}
	sim_check(!err || err == -EDQUOT, "%s", sim_err(err));
}

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

static void destroy(struct rig *r, const char *name)
{
	struct fs_snapshot_info s;

	while (!fs_snapshot_next(r->fs, info(r, name)->id, 0, &s))
		sim_ok(fs_snapshot_destroy(&r->req, name, s.name));
	sim_ok(fs_volume_destroy(&r->req, name));
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
	{ "background", background, 20000, 0, true },
	{ "refused_on", refused_on, 20000, 0, true },
	{ "gives_way", gives_way, 60000, 0, true },
	{ "polite", polite, 30000, 0, false },
	{ "exact", exact, 20000, 0, false },
	{ "exact_few_refs", exact, 20000, 3, false },
	{ "shared", shared, 20000, 0, false },
	{ "shared_few_refs", shared, 40000, 4, false },
	{ "beside", beside, 60000, 0, false },
	{ "cleared", cleared, 20000, 0, false },
	{ "set_and_cleared", set_and_cleared, 30000, 0, false },
	{ "set_by_two", set_by_two, 20000, 0, false },
	{ "stopped", stopped, 20000, 0, false },
	{ "repaired", repaired, 20000, 0, false },
	{ "beside_others", beside_others, 60000, 0, true },
	{ "set_beside", set_beside, 60000, 0, false },
	{ "beside_background", beside, 60000, 0, true },
	{ "cuts_alone", cuts_alone, 20000, 0, false },
	{ "cuts_counting", cuts_counting, 20000, 0, false },
};

int main(int argc, char **argv)
{
	alarm(100);
	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
