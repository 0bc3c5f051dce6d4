/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repairs: each kind of damage that can be set right is made, repaired and checked clean, and what it
 * didn't concern is as it was; each that can't stays, and nothing else comes of trying; nothing is
 * dropped unless that was asked for; and wherever the power goes in the middle of a repair, the pool is
 * no worse, and the next repair ends it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "check_damage.h"
#include "check_work.h"
#include "fs/fs.h"
#include "in_fiber.h"
#include "pool/pool.h"

static struct dev_sim_image *sound;
static unsigned failures;

static struct dev *disk(struct dev_sim_image *image)
{
	return disk_of(image, MADE_BLOCKS);
}

/* Without the records of check_pool.h, which are none of any operation. */
static void make_sound(void *arg)
{
	struct dev *d = disk(NULL);

	made_build(d, &made);
	edit_open(&edit, d);
	SUPER(s->log_seq = MADE_EVENT + 3; s->log_chain = 7);
	sound = dev_sim_crash_image(d, DEV_SIM_CUT_KEEP, 0, NULL);
	dev_close(d);
}

static int make_image(void **state)
{
	in_fiber(make_sound);
	return sound ? 0 : -1;
}

static int drop_image(void **state)
{
	dev_sim_image_put(sound);
	return dev_sim_live_pages() ? -1 : 0;
}

/* ---- what the files hold ------------------------------------------------------------------- */

static const char *const paths[] = { "/a", "/b", "/c", "/sub/c3", "/s", "/l", "/sub" };
#define PATHS (sizeof(paths) / sizeof(*paths))
struct contents { uint64_t sum[PATHS]; };

/* Of a copy of the disk, as whoever opens it would see it; 0: not there. */
static void look(struct dev *d, struct contents *ret)
{
	struct fs_config cfg = { .cache_bytes = 16 << 20, .no_background = true, .keep_orphans = true };
	struct dev_sim_image *image = dev_sim_crash_image(d, DEV_SIM_CUT_KEEP, 0, NULL);
	struct dev *copy = disk(image);
	struct fs_req req;
	struct fs_attr a;
	struct fs *fs;
	char why[300] = "";

	memset(ret, 0, sizeof(*ret));
	if (!fs_open(copy, &cfg, &fs, why, sizeof(why))) {
		fs_req_admin(&req, fs);
		for (unsigned i = 0; i < PATHS; i++)
			if (!fs_lookup_path(&req, "vol", paths[i], &a))
				ret->sum[i] = a.type == FS_REG ? content(fs, a.id, a.size) :
					      a.type == FS_DIR ? 1 : a.size + 1;
		fs_abandon(fs);
	}
	dev_close(copy);
	dev_sim_image_put(image);
}

/* ---- one damage each ------------------------------------------------------------------------ */

static const struct damage *now;

static void fail_now(const char *what)
{
	print_message("%s: %s (%u found, %u repaired, %u left)\n", now->name, what, nfound, nrepaired, nleft);
	failures++;
}

static void expect_clean(int64_t n)
{
	if (n || nleft)
		fail_now("not repaired");
	if (!nrepaired)
		fail_now("nobody was told of a repair");
	if (check(edit.d))
		fail_now("said to be repaired, and it isn't");
}

/* Files that are in use, whether they have names or not; no repair makes it less. */
static uint64_t files(struct dev *d)
{
	struct fs_check_stats st = { 0 };

	fs_check(d, NULL, NULL, &st);
	return st.files + st.directories;
}

static void damage_body(void *arg)
{
	struct contents before, after;
	struct fs_check_stats st;
	uint64_t nfiles;
	int64_t n;

	edit_open(&edit, disk(sound));
	memset(&u, 0, sizeof(u));
	now->fn();
	look(edit.d, &before);
	nfiles = files(edit.d);
	n = repair(edit.d, false, &st);
	if (!nfound)
		fail_now("not found");
	if (now->repair == REPAIRED)
		expect_clean(n);
	else if (!n)
		fail_now("repaired without being told to drop anything");
	look(edit.d, &after);
	for (unsigned i = 0; i < PATHS; i++)
		if (before.sum[i] && before.sum[i] != after.sum[i])
			fail_now(paths[i]);
	if (now->repair != REPAIRED) {
		n = repair(edit.d, true, &st);
		if (now->repair == DROPPED)
			expect_clean(n);
		else if (!n)
			fail_now("repaired by dropping something");
	}
	if (files(edit.d) < nfiles)
		fail_now("files are gone");
	dev_close(edit.d);
}

static void test_damages(void **state)
{
	failures = 0;
	for (unsigned i = 0; i < ndamages; i++) {
		now = &damages[i];
		if (!strncmp(now->name, "log_", 4) && strcmp(now->name, "log_future"))
			continue;	/* test_log() */
		if (getenv("VERBOSE"))
			print_message("%s:\n", now->name);
		in_fiber(damage_body);
	}
	assert_int_equal(failures, 0);
}

/* ---- a power cut in the middle -------------------------------------------------------------- */

#define TOGETHER 12
static const char *const together[][TOGETHER] = {
	{ "count_low", "count_zero", "doubled", "page_free", "ino_nlink", "ino_parent", "ino_mapped", "dir_dead",
	  "dir_entries", "vol_files", "vol_free_loop", "slot_mapped_many" },
	{ "dir_level", "dir_flip_root", "dir_flip_orphans", "slot_mapped_shared", "reap_flip", "count_zero" },
	{ "dir_child", "dir_range", "dir_key", "reap_flip_inodes", "page_free", "xattr_flip_shared", "xattr_magic" },
};
static unsigned set;			/* of them */

static struct dev_sim_image *damaged;

static void many_damages(void *arg)
{
	static const struct damage all = { .name = "many damages" };

	now = &all;
	edit_open(&edit, disk(sound));
	for (unsigned k = 0; k < TOGETHER && together[set][k]; k++)
		for (unsigned i = 0; i < ndamages; i++)
			if (!strcmp(damages[i].name, together[set][k]))
				damages[i].fn();
	damaged = dev_sim_crash_image(edit.d, DEV_SIM_CUT_KEEP, 0, NULL);
	dev_close(edit.d);
}

struct cut { unsigned at, seen; };

static void cut_the_power(void *arg, struct dev *d, const struct dev_io *io)
{
	struct cut *cut = arg;

	if (io->op != DEV_READ && ++cut->seen == cut->at)
		dev_sim_cut_now(d);
}

static unsigned cut_at;			/* 0: done */

static void cut_body(void *arg)
{
	struct cut cut = { .at = cut_at };
	struct contents before, after;
	struct dev_sim_stats st;
	struct dev_sim_image *rest;
	struct dev *d = disk(damaged);
	uint64_t nfiles = files(d);
	int64_t n = check(d), m;

	look(d, &before);
	dev_sim_on_submit(d, cut_the_power, &cut);
	repair(d, true, NULL);
	dev_sim_stats(d, &st);
	rest = dev_sim_crash_image(d, DEV_SIM_CUT_RANDOM, cut_at, NULL);
	dev_close(d);
	d = disk(rest);
	edit_open(&edit, d);
	m = check(d);
	/* One copy of the superblock may be torn.  In the other sets some damages hide others. */
	if (!set && m > n + 1)
		fail_now("worse than before");
	if (repair(d, true, NULL) || check(d))
		fail_now("the next repair doesn't end it");
	if (files(d) < nfiles)
		fail_now("files are gone");
	look(d, &after);
	for (unsigned i = 0; i < PATHS; i++)
		if (before.sum[i] && before.sum[i] != after.sum[i] && strcmp(paths[i], "/s"))
			fail_now(paths[i]);
	if (!st.cut && m)
		fail_now("not clean without a cut");
	cut_at = st.cut ? cut_at + 1 : 0;
	dev_close(d);
	dev_sim_image_put(rest);
}

static void test_cuts(void **state)
{
	unsigned cuts = 0;

	failures = 0;
	for (set = 0; set < sizeof(together) / sizeof(*together); set++) {
		in_fiber(many_damages);
		for (cut_at = 1; cut_at; cuts++)
			in_fiber(cut_body);
		dev_sim_image_put(damaged);
	}
	assert_int_equal(failures, 0);
	assert_true(cuts > 100);
}

/* ---- pools that the store has written -------------------------------------------------------- */

/* Files that only the log has, one of them with blocks that it names; and wrong counts below them. */
static void log_body(void *arg)
{
	static const struct damage log = { .name = "a log to be replayed" };
	struct work w;
	struct edit e;
	uint64_t wrong = 0;

	now = &log;
	new_pool(&w);
	write_file(&w, make(&w, w.root, "old", FS_REG), 100000, 1);
	REQUIRE(!fs_checkpoint(w.fs));
	write_file(&w, make(&w, w.root, "new", FS_REG), 200000, 2);
	write_file(&w, make(&w, w.root, "small", FS_REG), 1000, 3);
	REQUIRE(!fs_wait_stable(w.fs, fs_last_seq(w.fs)));
	fs_abandon(w.fs);
	edit_open(&e, w.d);
	for (uint64_t b = e.sb.nblocks - 10; b && wrong < 20; b--)
		if (b % PAGE_ENTRIES && !edit_refs(&e, b) && !block_is_fixed(&e.sb, b)) {
			edit_set_refs(&e, b, 1);	/* lost */
			edit_put(&e, b, &u);
			wrong++;
		}
	REQUIRE(check(w.d) == 20);
	if (repair(w.d, false, NULL) || check(w.d))
		fail_now("not repaired");
	open_fs(&w);
	REQUIRE(there(&w, "/old") && there(&w, "/new") && there(&w, "/small"));
	REQUIRE(!fs_close(w.fs));
	REQUIRE(!check(w.d));
	dev_close(w.d);
}

static void test_replay(void **state)
{
	failures = 0;
	in_fiber(log_body);
	assert_int_equal(failures, 0);
}

/* A record in the middle of the log is damaged: what follows is lost, and only who is told to gives it up. */
static void cut_log_body(void *arg)
{
	static const struct damage log = { .name = "a damaged log" };
	struct work w;
	struct edit e;

	now = &log;
	new_pool(&w);
	REQUIRE(!fs_checkpoint(w.fs));
	for (unsigned i = 0; i < 6; i++) {
		char name[8] = { 'f', '0' + i };

		make(&w, w.root, name, FS_REG);
		REQUIRE(!fs_wait_stable(w.fs, fs_last_seq(w.fs)));
	}
	fs_abandon(w.fs);
	edit_open(&e, w.d);
	dev_sim_flip_bit(w.d, e.sb.log_block + e.sb.log_offset / BLOCK_SIZE + 2, 400);
	REQUIRE(check(w.d) == 1);
	if (repair(w.d, false, NULL) != 1 || check(w.d) != 1)
		fail_now("something was done about it");
	if (repair(w.d, true, NULL) || check(w.d))
		fail_now("not repaired");
	open_fs(&w);
	REQUIRE(there(&w, "/f0") && there(&w, "/f1") && !there(&w, "/f2") && !there(&w, "/f5"));
	make(&w, w.root, "f5", FS_REG);
	REQUIRE(!fs_close(w.fs));
	REQUIRE(!check(w.d));
	dev_close(w.d);
}

static void test_log(void **state)
{
	failures = 0;
	in_fiber(cut_log_body);
	assert_int_equal(failures, 0);
}

/* The block of a directory's one page is known to be one of these. */
static bool names(const struct dir_page *p, const char *name)
{
	return p->magic == DIR_MAGIC && memmem(p, sizeof(*p), name, strlen(name));
}

static void drop_entry(struct edit *e, const char *name)
{
	for (uint64_t b = 0; b < e->sb.nblocks; b++) {
		if (!edit_refs(e, b))
			continue;
		edit_get(e, b, &u);
		if (!names(&u.page, name))
			continue;
		memset(&u.page, 0, sizeof(u.page));
		u.page.magic = DIR_MAGIC;
		edit_put(e, b, &u);
		return;
	}
	REQUIRE(!"no such name");
}

/* The root directory has lost its names: all that was in it is found again, with what is below. */
static void lost_body(void *arg)
{
	static const struct damage lost = { .name = "a lost tree" };
	struct work w;
	struct edit e;
	struct fs_id dir;
	char path[80];

	now = &lost;
	new_pool(&w);
	dir = make(&w, w.root, "a directory", FS_DIR);
	write_file(&w, make(&w, make(&w, dir, "below", FS_DIR), "file", FS_REG), 50000, 4);
	write_file(&w, make(&w, w.root, "beside", FS_REG), 30000, 5);
	REQUIRE(!fs_close(w.fs));
	edit_open(&e, w.d);
	drop_entry(&e, "a directory");
	REQUIRE(check(w.d) > 0);
	if (repair(w.d, false, NULL) || check(w.d))
		fail_now("not repaired");
	open_fs(&w);
	snprintf(path, sizeof(path), "/lost+found/#%llu/below/file", (unsigned long long)dir.ino);
	REQUIRE(there(&w, path));
	REQUIRE(!there(&w, "/a directory"));
	REQUIRE(!fs_close(w.fs));
	dev_close(w.d);
}

static void test_lost(void **state)
{
	failures = 0;
	in_fiber(lost_body);
	assert_int_equal(failures, 0);
}

/* What snapshots share with their volume is set right in each of them. */
static void snapshot_body(void *arg)
{
	static const struct damage snaps = { .name = "snapshots" };
	struct fs_snapshot_info info;
	struct fs_attr a;
	struct work w;
	struct edit e;
	struct fs_id file;

	now = &snaps;
	new_pool(&w);
	file = make(&w, w.root, "file", FS_REG);
	write_file(&w, file, 100000, 1);
	REQUIRE(!fs_snapshot_create(&w.req, "v", "s1", &info));
	REQUIRE(!fs_snapshot_create(&w.req, "v", "s2", &info));
	REQUIRE(!fs_close(w.fs));
	REQUIRE(!check(w.d));
	edit_open(&e, w.d);
	edit_get(&e, e.sb.volumes.ptr, &u);
	REQUIRE(!e.sb.volumes.depth || (edit_get(&e, *(uint64_t *)u.raw & PTR_BLOCK_MASK, &u), true));
	REQUIRE(u.vol[0].state == VOLUME_LIVE && !u.vol[0].inodes_depth);
	made.two_inodes = u.vol[0].inodes_root;
	REQUIRE(edit_refs(&e, made.two_inodes) == 3);
	edit_get(&e, made.two_inodes, &u);
	u.all[file.ino].nlink = 9;
	u.all[file.ino].mapped = 77;
	edit_put(&e, made.two_inodes, &u);
	REQUIRE(check(w.d) == 3 * 2 + 1);	/* of each: link count, sum of mapped blocks; mapped */
	if (repair(w.d, false, NULL) || check(w.d))
		fail_now("not repaired");
	open_fs(&w);
	REQUIRE(!fs_lookup_path(&w.req, "v", "/file", &a) && a.nlink == 1);
	REQUIRE(!fs_snapshot_find(w.fs, "v", "s1", &info));
	REQUIRE(!fs_lookup(&w.req, info.root, (struct fs_name){ "file", 4 }, &a, NULL));
	REQUIRE(a.nlink == 1 && a.mapped_bytes == 25 * 4096 && content(w.fs, a.id, a.size));
	REQUIRE(!fs_close(w.fs));
	REQUIRE(!check(w.d));
	dev_close(w.d);
}

static void test_snapshots(void **state)
{
	failures = 0;
	in_fiber(snapshot_body);
	assert_int_equal(failures, 0);
}

/* Every free block has a count: more than are said, or noted, at a time. */
static void leak_body(void *arg)
{
	static const struct damage leak = { .name = "a leak" };
	struct table_entry t[PAGE_ENTRIES];
	struct fs_check_stats st;
	struct work w;
	struct edit e;

	now = &leak;
	new_pool(&w);
	write_file(&w, make(&w, w.root, "file", FS_REG), 100000, 1);
	REQUIRE(!fs_close(w.fs));
	edit_open(&e, w.d);
	for (uint64_t b = 0; b + PAGE_ENTRIES < e.sb.nblocks; b += PAGE_ENTRIES) {
		edit_table_get(&e, b, t);
		for (unsigned i = 0; i < PAGE_ENTRIES; i++)
			if (!block_is_fixed(&e.sb, b + i))
				t[i].refs += !t[i].refs;
		edit_table_put(&e, b, t);
	}
	if (repair(w.d, false, &st) || check(w.d))
		fail_now("not repaired");
	REQUIRE(st.repairs > 14000);
	open_fs(&w);
	write_file(&w, make(&w, w.root, "another", FS_REG), 200000, 2);
	REQUIRE(!fs_close(w.fs));
	REQUIRE(!check(w.d));
	dev_close(w.d);
}

static void test_leak(void **state)
{
	failures = 0;
	in_fiber(leak_body);
	assert_int_equal(failures, 0);
}

/* Whatever is in the blocks: it ends, and what is said to be left is left. */
static uint64_t seed;

static void random_body(void *arg)
{
	struct rng r;
	int64_t n;

	rng_init(&r, seed);
	edit_open(&edit, disk(sound));
	for (unsigned k = 1 + rng_below(&r, 6); k; k--)
		damage_at_random(&r);
	n = repair(edit.d, rng_one_in(&r, 2), NULL);
	if (n >= 0 && check(edit.d) != n) {
		print_message("seed %llu: %lld left, %lld found\n", (unsigned long long)seed,
			      (long long)n, (long long)check(edit.d));
		failures++;
	}
	dev_close(edit.d);
}

static void test_random(void **state)
{
	failures = 0;
	for (seed = 1; seed <= 100; seed++)
		in_fiber(random_body);
	assert_int_equal(failures, 0);
}

/* Content is verified once, however many rounds there are; what is bad is bad in each. */
static void content_body(void *arg)
{
	static const struct damage bad = { .name = "bad content" };
	struct dev_sim_stats before, after;
	struct fs_id file;
	struct work w;
	struct edit e;
	uint64_t once, free_block = 0;

	now = &bad;
	new_pool(&w);
	for (unsigned i = 0; i < 60; i++) {
		char name[8] = { 'f', 'a' + i / 26, 'a' + i % 26 };

		file = make(&w, w.root, name, FS_REG);
		write_file(&w, file, 256 << 10, i + 1);
	}
	REQUIRE(!fs_close(w.fs));
	edit_open(&e, w.d);
	for (uint64_t b = e.sb.nblocks - 10, data = 0; b && !(data && free_block); b--) {
		if (block_is_fixed(&e.sb, b))
			continue;
		if (!edit_refs(&e, b)) {
			free_block = b;
			continue;
		}
		edit_get(&e, b, &u);
		if (data || u.raw[1] != (uint8_t)(u.raw[0] + 7) || u.raw[2] != (uint8_t)(u.raw[0] + 14))
			continue;
		dev_sim_flip_bit(w.d, b, 77);
		data = b;
	}
	edit_set_refs(&e, free_block, 1);
	edit_put(&e, free_block, &u);
	dev_sim_stats(w.d, &before);
	REQUIRE(check(w.d) == 2);
	dev_sim_stats(w.d, &after);
	once = after.blocks[DEV_READ] - before.blocks[DEV_READ];
	if (repair(w.d, true, NULL) != 1 || nleft != 1 || check(w.d) != 1)
		fail_now("not what is left");
	dev_sim_stats(w.d, &before);
	before.blocks[DEV_READ] -= once + after.blocks[DEV_READ];	/* less the check after it */
	REQUIRE(once > 60 * 64);
	if (before.blocks[DEV_READ] > once * 7 / 4)
		fail_now("content was verified twice");
	dev_close(w.d);
}

static void test_content(void **state)
{
	failures = 0;
	in_fiber(content_body);
	assert_int_equal(failures, 0);
}

static void readonly_body(void *arg)
{
	edit_open(&edit, disk(sound));
	count_high();
	edit.d->readonly = true;
	REQUIRE(repair(edit.d, true, NULL) == -EROFS);
	REQUIRE(check(edit.d) == 1);
	dev_close(edit.d);
}

static void test_readonly(void **state)
{
	in_fiber(readonly_body);
}

/* A pool that opens read-only is left as it is, with the reason; told to, the repair does all of it. */
static void opens_readonly_body(void *arg)
{
	static const struct damage both = { .name = "a damaged log, and a wrong count" };
	struct work w;
	struct edit e;
	uint64_t lost;

	now = &both;
	new_pool(&w);
	REQUIRE(!fs_checkpoint(w.fs));
	for (unsigned i = 0; i < 6; i++) {
		char name[8] = { 'f', '0' + i };

		make(&w, w.root, name, FS_REG);
		REQUIRE(!fs_wait_stable(w.fs, fs_last_seq(w.fs)));
	}
	fs_abandon(w.fs);
	edit_open(&e, w.d);
	dev_sim_flip_bit(w.d, e.sb.log_block + e.sb.log_offset / BLOCK_SIZE + 2, 400);
	lost = e.sb.nblocks - 100;
	edit_set_refs(&e, lost, 1);
	edit_put(&e, lost, &u);
	REQUIRE(check(w.d) == 2);
	if (repair(w.d, false, NULL) != 2 || nrepaired || nleft != 3 || check(w.d) != 2)
		fail_now("not left alone");
	if (!strstr(last_left, "the pool can only be opened read-only: the intent log of"))
		fail_now("no reason is given");
	if (repair(w.d, true, NULL) || check(w.d))
		fail_now("not repaired");
	open_fs(&w);
	REQUIRE(there(&w, "/f1") && !there(&w, "/f2"));
	REQUIRE(!fs_close(w.fs));
	dev_close(w.d);
}

static void test_opens_readonly(void **state)
{
	failures = 0;
	in_fiber(opens_readonly_body);
	assert_int_equal(failures, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_damages),
		cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_replay),
		cmocka_unit_test(test_log),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_snapshots),
		cmocka_unit_test(test_leak),
		cmocka_unit_test(test_content),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_readonly),
		cmocka_unit_test(test_opens_readonly),
	};

	return cmocka_run_group_tests(tests, make_image, drop_image);
}
