/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checker on pools that the store itself has written: with nothing wrong it finds nothing,
 * at every checkpoint and with a log still to be replayed; with one bit flipped, one count
 * changed or one block unreadable, it always finds something.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "check_edit.h"
#include "fs/fs_int.h"
#include "in_fiber.h"
#include "pool/pool.h"

#define NBLOCKS 16384			/* 64 MiB */

static struct dev_sim_image *image;
static struct fs_check_stats stats;

static void print_line(void *arg, const char *line)
{
	if (*(bool *)arg)
		print_message("    %s\n", line);
}

static int64_t check(struct dev *d, bool show)
{
	memset(&stats, 0, sizeof(stats));
	return fs_check(d, print_line, &show, &stats);
}

static struct dev *disk(void)
{
	return disk_of(image, NBLOCKS);
}

/* ---- something to check ------------------------------------------------------------------- */

struct work { struct dev *d; struct fs *fs; struct fs_req req; struct fs_id root; };

static void open_fs(struct work *w)
{
	struct fs_config cfg = { .cache_bytes = 16 << 20, .no_background = true, .seed = 5 };
	char why[300] = "";
	int err = fs_open(w->d, &cfg, &w->fs, why, sizeof(why));

	if (err)
		print_error("fs_open: %s\n", why);
	REQUIRE(!err);
	fs_req_admin(&w->req, w->fs);
}

static struct fs_name name(const char *s) { return (struct fs_name){ s, strlen(s) }; }

static struct fs_id create(struct work *w, struct fs_id dir, const char *s, enum fs_type type,
			   const char *target)
{
	struct fs_create how = { .type = type, .how = FS_CREATE_GUARDED, .target = target };
	struct fs_attr a;

	REQUIRE(!fs_create(&w->req, dir, name(s), &how, &a, NULL));
	return a.id;
}

static void write_at(struct work *w, struct fs_id id, uint64_t offset, uint32_t len, uint64_t seed)
{
	static _Alignas(4096) uint8_t buf[256 * 1024];
	struct iovec iov = { buf, len };
	struct rng r;

	rng_init(&r, seed);
	rng_fill(&r, buf, len);
	REQUIRE(!fs_write(&w->req, id, offset, &iov, 1, len, true, NULL));
}

/* A directory of several levels, half of it removed again. */
static void many_names(struct work *w)
{
	struct fs_id dir = create(w, w->root, "many", FS_DIR, NULL);
	char s[64];

	for (unsigned i = 0; i < 1500; i++) {
		snprintf(s, sizeof(s), "a name that is not the shortest %u", i);
		create(w, dir, s, i % 10 ? FS_REG : FS_FIFO, NULL);
	}
	for (unsigned i = 0; i < 1500; i += 2) {
		snprintf(s, sizeof(s), "a name that is not the shortest %u", i);
		REQUIRE(!fs_remove(&w->req, dir, name(s), NULL));
	}
}

static void clones_of(struct work *w, struct fs_id src, const char *prefix, unsigned n)
{
	static char text[64][32];
	struct fs_name names[64];

	for (unsigned i = 0; i < n; i++) {
		snprintf(text[i], sizeof(text[i]), "%s%u", prefix, i);
		names[i] = name(text[i]);
	}
	REQUIRE(!fs_clone(&w->req, src, w->root, names, n, NULL, NULL));
}

static void files_and_clones(struct work *w)
{
	struct fs_id f = create(w, w->root, "file", FS_REG, NULL), c;
	struct fs_attr a;

	write_at(w, f, 0, 200000, 1);
	write_at(w, f, 3ULL << 30, 5000, 2);
	write_at(w, f, 5ULL << 40, 100, 3);
	clones_of(w, f, "clone", 40);
	REQUIRE(!fs_lookup(&w->req, w->root, name("clone7"), &a, NULL));
	c = a.id;
	write_at(w, c, 4096, 4096, 4);
	write_at(w, c, (3ULL << 30) + 10, 10, 5);
	REQUIRE(!fs_remove(&w->req, w->root, name("clone9"), NULL));
	REQUIRE(!fs_remove(&w->req, w->root, name("file"), NULL));
	REQUIRE(!fs_link(&w->req, c, w->root, name("second name"), false, NULL, NULL));
}

static void odds_and_ends(struct work *w)
{
	struct fs_id d = create(w, w->root, "d1", FS_DIR, NULL),
		     e = create(w, d, "d2", FS_DIR, NULL);
	char longer[400];
	struct fs_attr a;

	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = 0;
	create(w, d, "short", FS_LNK, "target");
	create(w, d, "long", FS_LNK, longer);
	REQUIRE(!fs_rename(&w->req, d, name("d2"), w->root, name("moved"), NULL, NULL));
	create(w, e, "deep", FS_REG, NULL);
	create(w, w->root, "gone", FS_DIR, NULL);
	REQUIRE(!fs_rmdir(&w->req, w->root, name("gone"), NULL));
	REQUIRE(!fs_create_unnamed(&w->req, w->root.volume, 0600, &a));
	write_at(w, a.id, 0, 10000, 9);
}

static void expect_sound(struct work *w, const char *when)
{
	int64_t n = check(w->d, true);

	if (n)
		print_error("%s: %lld findings\n", when, (long long)n);
	REQUIRE(n == 0);
}

static void volume(struct work *w, const char *s)
{
	struct fs_volume_info v;

	REQUIRE(!fs_volume_create(&w->req, s, &v));
	w->root = v.root;
}

/* Checkpoints with blocks that are half taken apart. */
static void reap_slowly(struct work *w)
{
	unsigned steps = 0, halfway = 0;

	while (reap_step(w->fs->pool) > 0) {
		static struct reap_entry top[BLOCK_SIZE / sizeof(struct reap_entry)];
		struct edit e;

		if (++steps % 5)
			continue;
		REQUIRE(!fs_checkpoint(w->fs));
		expect_sound(w, "reaping");
		edit_open(&e, w->d);
		if (!e.sb.reap_entries || e.sb.reap.depth)
			continue;
		edit_get(&e, e.sb.reap.ptr, top);
		halfway += top[e.sb.reap_entries - 1].next != 0;
	}
	REQUIRE(steps > 20 && halfway > 3);
}

static void sound_body(void *arg)
{
	struct work w = { .d = disk() };
	struct fs_format_opts opts = { .log_bytes = 2 << 20, .uuid = { 1 } };
	void (*const steps[])(struct work *) = { many_names, files_and_clones, odds_and_ends };

	REQUIRE(!fs_format(w.d, &opts));
	expect_sound(&w, "formatted");
	open_fs(&w);
	volume(&w, "first");
	for (unsigned i = 0; i < 3; i++) {
		steps[i](&w);
		REQUIRE(!fs_checkpoint(w.fs));
		expect_sound(&w, "checkpoint");
	}
	image = dev_sim_crash_image(w.d, DEV_SIM_CUT_KEEP, 0, NULL);
	REQUIRE(!fs_reap_all(w.fs));
	REQUIRE(!fs_checkpoint(w.fs));
	expect_sound(&w, "reaped");

	volume(&w, "second");
	files_and_clones(&w);
	REQUIRE(!fs_wait_stable(w.fs, fs_last_seq(w.fs)));
	fs_abandon(w.fs);
	expect_sound(&w, "a log to be replayed");
	REQUIRE(stats.log_records > 5);
	open_fs(&w);
	expect_sound(&w, "replayed");
	REQUIRE(!fs_volume_destroy(&w.req, "first"));
	REQUIRE(!fs_checkpoint(w.fs));
	expect_sound(&w, "a destroyed volume");
	reap_slowly(&w);
	REQUIRE(!fs_close(w.fs));
	expect_sound(&w, "closed");
	REQUIRE(stats.volumes == 1);
	dev_close(w.d);
}

static void test_sound(void **state)
{
	in_fiber(sound_body);
	assert_non_null(image);
}

/* ---- damage ------------------------------------------------------------------------------- */

/* A block in use, at random. */
static uint64_t some_block(struct edit *e, struct rng *r)
{
	uint64_t b;

	do
		b = rng_below(r, e->sb.nblocks);
	while (block_is_fixed(&e->sb, b) || !edit_refs(e, b));
	return b;
}

/* A page that the superblock vouches for, the table's included. */
static uint64_t some_page(struct edit *e, struct rng *r)
{
	switch (rng_below(r, 4)) {
	case 0: return edit_dir_place(e, 0) + rng_below(r, DIR_PAGE_BLOCKS);
	case 1: return edit_summary_place(e, 0);
	case 2: return edit_table_place(e, some_block(e, r));
	default:
		return (e->sb.generation & 1) +
		       rng_below(r, 2) * (e->sb.nblocks - SUPER_END_BLOCKS);
	}
}

static uint64_t seed;

static void damage_body(void *arg)
{
	struct rng r;
	struct edit e;
	uint64_t b;
	unsigned what;

	rng_init(&r, seed);
	edit_open(&e, disk());
	what = rng_below(&r, 4);
	b = what == 1 ? some_page(&e, &r) : some_block(&e, &r);
	if (what <= 1) {
		dev_sim_flip_bit(e.d, b, rng_below(&r, 8 * BLOCK_SIZE));
	} else if (what == 2) {
		edit_set_refs(&e, b, edit_refs(&e, b) + 1 - 2 * rng_below(&r, 2));
	} else {
		struct dev_sim_fault f = { .kind = DEV_SIM_FAIL, .ops = DEV_SIM_OP(DEV_READ),
					   .for_good = true, .first_block = b, .nblocks = 1 };

		REQUIRE(!dev_sim_inject(e.d, &f));
	}
	if (check(e.d, false) <= 0) {
		print_error("seed %llu: damage %u of block %llu was not found\n",
			    (unsigned long long)seed, what, (unsigned long long)b);
		abort();
	}
	dev_close(e.d);
}

static void test_damage(void **state)
{
	assert_non_null(image);
	for (seed = 1; seed <= 150; seed++)
		in_fiber(damage_body);
}

/* Wild pointers in blocks with right checksums: whatever they do, it ends, with or without repairs. */
static void wild_body(void *arg)
{
	struct fs_check_opts o = { .repair = true, .drop_damaged = seed % 2 };
	int64_t left;
	static uint64_t words[INDEX_SLOTS];
	struct rng r;
	struct edit e;

	rng_init(&r, seed);
	edit_open(&e, disk());
	for (unsigned n = rng_range(&r, 1, 5); n; n--) {
		uint64_t b = some_block(&e, &r);

		edit_get(&e, b, words);
		words[rng_below(&r, INDEX_SLOTS)] = rng_one_in(&r, 2) ? some_block(&e, &r) :
									rng_u64(&r);
		edit_put(&e, b, words);
	}
	REQUIRE(check(e.d, false) >= 0);
	left = fs_check_with(e.d, &o, NULL, NULL, NULL);
	if (left >= 0 && check(e.d, false) != left) {
		print_error("seed %llu: %lld are said to be left, and it is %lld\n",
			    (unsigned long long)seed, (long long)left, (long long)check(e.d, false));
		abort();
	}
	dev_close(e.d);
}

static void test_wild(void **state)
{
	assert_non_null(image);
	for (seed = 1; seed <= 150; seed++)
		in_fiber(wild_body);
}

static int drop_image(void **state)
{
	if (image)
		dev_sim_image_put(image);
	return dev_sim_live_pages() ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sound),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_wild),
	};

	return cmocka_run_group_tests(tests, NULL, drop_image);
}
