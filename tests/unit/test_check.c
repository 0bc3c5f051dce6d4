/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checker: a sound pool passes; each kind of damage, made with all checksums above it put
 * right, is found and said in the right words, and no more is said than what is wrong; and no
 * content whatever, with right checksums, crashes it or keeps it busy for long.
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
#include "base/rng.h"
#include "check_damage.h"
#include "fs/fs.h"
#include "in_fiber.h"
#include "pool/pool.h"

static void (*body_fn)(void);
static struct dev_sim_image *sound;
static unsigned failures;

/* ---- running it --------------------------------------------------------------------------- */

static void body_fiber(void *arg)
{
	body_fn();
}

static void run_body(void (*fn)(void))
{
	body_fn = fn;
	in_fiber(body_fiber);
}

static void in_fiber_expect(void (*fn)(void))
{
	failures = 0;
	run_body(fn);
	assert_int_equal(failures, 0);
}

static struct dev *disk(struct dev_sim_image *image)
{
	return disk_of(image, MADE_BLOCKS);
}

#define LINES_KEPT 16
static struct said {
	char line[LINES_KEPT][1600];
	unsigned n;
	uint64_t sum;			/* over all lines, whatever their order */
	struct fs_check_stats stats;
} said;

static void take_line(void *arg, const char *line)
{
	struct said *s = arg;
	uint64_t hash = 14695981039346656037ull;

	REQUIRE(!strchr(line, '\n'));
	if (s->n < LINES_KEPT)
		snprintf(s->line[s->n], sizeof(s->line[0]), "%s", line);
	s->n++;
	for (const char *p = line; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 1099511628211ull;
	s->sum += hash;
}

static int64_t check_in(struct dev *d, uint64_t memory, struct said *ret)
{
	struct fs_check_opts o = { .memory = memory };

	memset(ret, 0, sizeof(*ret));
	return fs_check_with(d, &o, take_line, ret, &ret->stats);
}

/* Memory for one group of everything; and for groups of a table page, two of them at a time. */
#define MEMORY_LEAST 1
#define MEMORY_TINY (MADE_BLOCKS / PAGE_ENTRIES * 16 * 4)

/* With little memory, it says the same. */
static int64_t check(struct dev *d)
{
	static const uint64_t memory[] = { MEMORY_LEAST, MEMORY_TINY };
	static struct said again;
	int64_t n = check_in(d, 0, &said);

	for (unsigned i = 0; i < 2; i++) {
		if (check_in(d, memory[i], &again) == n && again.sum == said.sum && again.n == said.n)
			continue;
		print_message("with %llu bytes of memory, something else is said\n",
			      (unsigned long long)memory[i]);
		failures++;
	}
	return n;
}

static void show(void)
{
	for (unsigned i = 0; i < said.n && i < LINES_KEPT; i++)
		print_message("    %s\n", said.line[i]);
}

/* Exactly these findings, each a part of a line, in any order.  Goes on, so that one run shows
 * all that differs. */
static void expect_said(const char *what, int64_t n, const char *const *want, unsigned nwant)
{
	bool ok = n == nwant && said.n == nwant;

	for (unsigned i = 0; i < nwant; i++) {
		bool found = false;

		for (unsigned k = 0; k < said.n && k < LINES_KEPT; k++)
			found |= strstr(said.line[k], want[i]) != NULL;
		if (!found)
			print_message("%s: not said: %s\n", what, want[i]);
		ok &= found;
	}
	if (!ok) {
		print_message("%s: %lld findings:\n", what, (long long)n);
		show();
		failures++;
	}
}

static void make_sound(void)
{
	struct dev *d = disk(NULL);

	made_build(d, &made);
	sound = dev_sim_crash_image(d, DEV_SIM_CUT_KEEP, 0, NULL);
	dev_close(d);
}

static int make_image(void **state)
{
	run_body(make_sound);
	return sound ? 0 : -1;
}

static int drop_image(void **state)
{
	dev_sim_image_put(sound);
	return dev_sim_live_pages() ? -1 : 0;
}

/* ---- what is sound ------------------------------------------------------------------------ */

static void sound_body(void)
{
	struct dev *d = disk(sound);
	int64_t n = check(d);

	expect_said("a sound pool", n, NULL, 0);
	REQUIRE(fs_check(d, NULL, NULL, NULL) == 0);
	REQUIRE(said.stats.volumes == 2);
	REQUIRE(said.stats.inodes == 11);
	REQUIRE(said.stats.directories == 5);
	REQUIRE(said.stats.files == 6);
	REQUIRE(said.stats.log_records == 2);
	REQUIRE(said.stats.walks == 1);
	REQUIRE(said.stats.index_blocks == 8);
	REQUIRE(said.stats.blocks == made.next - (ZONE_HEADER_BLOCKS + 256) + 3);
	dev_close(d);
}

static void test_sound(void **state)
{
	in_fiber_expect(sound_body);
}

static void empty_body(void)
{
	struct dev_sim_opts opts = { .nblocks = FS_MIN_BLOCKS, .seed = 1 };
	struct pool_format_opts format = { 0 };
	struct dev *d;

	REQUIRE(dev_sim_new(&opts, &d) == 0);
	REQUIRE(pool_format(d, &format) == 0);
	expect_said("an empty pool", check(d), NULL, 0);
	dev_close(d);
}

static void test_empty(void **state)
{
	in_fiber_expect(empty_body);
}

/* ---- one damage each ---------------------------------------------------------------------- */

static const struct damage *now;

static void damage_body(void)
{
	unsigned n = 0;

	edit_open(&edit, disk(sound));
	memset(&u, 0, sizeof(u));
	now->fn();
	while (n < 8 && now->want[n])
		n++;
	expect_said(now->name, check(edit.d), now->want, n);
	dev_close(edit.d);
}

static void test_damages(void **state)
{
	failures = 0;
	for (unsigned i = 0; i < ndamages; i++) {
		now = &damages[i];
		run_body(damage_body);
	}
	assert_int_equal(failures, 0);
}

/* ---- superblocks -------------------------------------------------------------------------- */

static void older_body(void)
{
	struct superblock copy;

	edit_open(&edit, disk(sound));
	flip(0, 8 * 700);
	flip(MADE_BLOCKS - 2, 5);
	expect_said("a torn older slot", check(edit.d), NULL, 0);
	dev_close(edit.d);

	edit_open(&edit, disk(sound));
	dev_sim_peek(edit.d, 1, &copy);
	SUPER(s->generation += 2);
	dev_sim_poke(edit.d, MADE_BLOCKS - 1, &copy);
	expect_said("a crash between the two copies of a superblock", check(edit.d), NULL, 0);
	dev_close(edit.d);
}

static void test_older_slot(void **state)
{
	in_fiber_expect(older_body);
}

static void expect_refused(struct dev *d, const char *want)
{
	REQUIRE(check(d) == -EFORMAT);
	REQUIRE(said.n == 1);
	if (!strstr(said.line[0], want)) {
		show();
		print_error("not said: %s\n", want);
		failures++;
	}
}

static void refused_body(void)
{
	struct dev_sim_opts opts = { .nblocks = 8192, .seed = 1 };
	struct dev *d;
	uint8_t block[BLOCK_SIZE];

	REQUIRE(dev_sim_new(&opts, &d) == 0);
	expect_refused(d, "not a pool");
	for (unsigned i = 0; i < 2; i++) {
		struct dev_sim_image *image = sound;

		dev_sim_image_read(image, i, block);
		dev_sim_poke(d, i, block);
	}
	expect_refused(d, "truncated");
	dev_close(d);

	edit_open(&edit, disk(sound));
	SUPER(s->version = 2);
	expect_refused(edit.d, "newer format");
	SUPER(s->version = 1; s->incompat = POOL_INCOMPAT + 1);
	expect_refused(edit.d, "newer format");
	SUPER(s->incompat = 0; s->log_offset = s->log_blocks * BLOCK_SIZE);
	expect_refused(edit.d, "contradicts itself");
	SUPER(s->log_offset = 0; s->log_block = UINT64_MAX - 10);
	expect_refused(edit.d, "log lies outside");
	SUPER(s->log_block = ZONE_HEADER_BLOCKS; s->nblocks = 100; s->log_blocks = 20;
	      s->ndirs = 1);
	expect_refused(edit.d, "");
	dev_close(edit.d);
}

static void test_refused(void **state)
{
	in_fiber_expect(refused_body);
}

/* ---- a device that cannot read ------------------------------------------------------------ */

static void unreadable(uint64_t block)
{
	struct dev_sim_fault f = { .kind = DEV_SIM_FAIL, .ops = DEV_SIM_OP(DEV_READ),
				   .for_good = true, .first_block = block, .nblocks = 1 };

	REQUIRE(dev_sim_inject(edit.d, &f) == 0);
}

static uint64_t place_data(void) { return made.a_data[2]; }
static uint64_t place_index(void) { return made.c_low[0]; }
static uint64_t place_inodes(void) { return made.inodes; }
static uint64_t place_table(void) { return edit_table_place(&edit, ZONE_BLOCKS + 1500); }
static uint64_t place_summary(void) { return edit_summary_place(&edit, 1); }
static uint64_t place_directory(void) { return edit_dir_place(&edit, 0); }
static uint64_t place_log(void) { return edit.sb.log_block + 2; }
static uint64_t place_super(void) { return MADE_BLOCKS - 1; }

static const struct { uint64_t (*place)(void); const char *want[3]; } unreadables[] = {
	{ place_data, { "the device cannot read it (volume 'vol', inode 3 (/a), at byte 8192, and "
			"shared by other files)" } },
	{ place_index, { "index block of a file, level 1, block", "greater count" } },
	{ place_inodes, { "block of an inode file, block 1308, which the device", "greater count" } },
	{ place_table, { "table page of blocks 263168 to 263679 (block 262156): the device cannot" } },
	{ place_summary, { "summary of zone 1 (block 262147): the device cannot read it" } },
	{ place_directory, { "directory page 0 (block 4): the device cannot read it",
			     "whose table page is damaged", "whose table page is damaged" } },
	{ place_log, { "log: the device cannot read its block 2" } },
	{ place_super, { "superblock at block 266239: damaged" } },
};
static unsigned nth;

static void unreadable_body(void)
{
	unsigned n = 0;

	edit_open(&edit, disk(sound));
	unreadable(unreadables[nth].place());
	while (n < 3 && unreadables[nth].want[n])
		n++;
	expect_said("an unreadable block", check(edit.d), unreadables[nth].want, n);
	dev_close(edit.d);
}

static void test_unreadable(void **state)
{
	failures = 0;
	for (nth = 0; nth < sizeof(unreadables) / sizeof(*unreadables); nth++)
		run_body(unreadable_body);
	assert_int_equal(failures, 0);
}

/* ---- hostile pools ------------------------------------------------------------------------ */

/* Six levels in which every pointer leads to the one block below: 2^54 leaves in 7 blocks. */
static uint64_t bomb(uint64_t leaf, unsigned depth)
{
	uint64_t slots[INDEX_SLOTS], at = leaf;

	for (unsigned level = 1; level <= depth; level++) {
		for (unsigned i = 0; i < INDEX_SLOTS; i++)
			slots[i] = at | (level == 2 ? 512ULL << PTR_MAPPED_SHIFT : 0);
		edit_set_refs(&edit, at, INDEX_SLOTS);
		at = made.next++;
		edit_set_refs(&edit, at, 1);
		edit_put(&edit, at, slots);
	}
	return at;
}

static void bomb_body(void)
{
	struct made saved = made;

	edit_open(&edit, disk(sound));
	INO(INO_ORPHAN, i->root = bomb(made.orphan_data, 6); i->depth = 6; i->mapped = 1ULL << 54;
	    i->size = FS_MAX_SIZE);
	VOL(0, v->mapped += (1ULL << 54) - 1);
	/* 2^54 blocks of 4 KiB are 2^66 bytes: beyond the largest file, and nothing else is wrong.
	 */
	expect_said("a file that unfolds", check(edit.d),
		    (const char *const[]){ "beyond its size" }, 1);
	VOL(0, v->inodes_root = bomb(made.inode_index, 5); v->inodes_depth = 6);
	REQUIRE(check(edit.d) > 0);
	dev_close(edit.d);

	edit_open(&edit, disk(sound));
	INO(INO_SUB, i->root = bomb(made.sub_pages[0], 6); i->depth = 6);
	REQUIRE(check(edit.d) > 0);
	SUPER(s->volumes.ptr = bomb(made.volumes, 6); s->volumes.depth = 6);
	REQUIRE(check(edit.d) > 0);
	SUPER(s->reap.ptr = bomb(made.reap, 6); s->reap.depth = 6; s->reap_entries = UINT64_MAX);
	REQUIRE(check(edit.d) > 0);
	dev_close(edit.d);
	made = saved;
}

static void test_bomb(void **state)
{
	in_fiber_expect(bomb_body);
}

static void raise_counts(uint64_t first, unsigned pages, unsigned step)
{
	struct table_entry t[PAGE_ENTRIES];

	for (unsigned k = 0; k < pages; k++) {
		edit_table_get(&edit, first + k * PAGE_ENTRIES, t);
		for (unsigned i = 0; i < PAGE_ENTRIES; i += step)
			t[i].refs++;
		edit_table_put(&edit, first + k * PAGE_ENTRIES, t);
	}
}

static void many_body(void)
{
	edit_open(&edit, disk(sound));
	raise_counts(ZONE_BLOCKS + 2048, 3, 1);
	REQUIRE(check(edit.d) >= 3 * PAGE_ENTRIES);
	REQUIRE(said.n == 1001);
	dev_close(edit.d);
}

static void test_many(void **state)
{
	in_fiber_expect(many_body);
}

/* Damage in nine places that are far apart: found in one walk more, or in five of two places each. */
static void windows_body(void)
{
	static struct said tiny;
	int64_t n;

	edit_open(&edit, disk(sound));
	raise_counts(ZONE_BLOCKS / 2, 7, PAGE_ENTRIES);
	count_high();
	count_zero();
	n = check(edit.d);
	REQUIRE(n > 16 && said.stats.walks == 2);
	REQUIRE(check_in(edit.d, MEMORY_TINY, &tiny) == n && tiny.sum == said.sum);
	REQUIRE(tiny.stats.walks == 6);
	dev_close(edit.d);
}

static void test_windows(void **state)
{
	in_fiber_expect(windows_body);
}

static uint64_t seed;

static void random_body(void)
{
	struct rng r;

	rng_init(&r, seed);
	edit_open(&edit, disk(sound));
	for (unsigned n = 1 + rng_below(&r, 6); n; n--)
		damage_at_random(&r);
	REQUIRE(check(edit.d) >= 0);
	dev_close(edit.d);
}

static void test_random(void **state)
{
	for (seed = 1; seed <= 200; seed++)
		in_fiber_expect(random_body);
}

/* A flipped bit in anything that counts is found, wherever it is. */
static void flip_body(void)
{
	struct rng r;
	uint64_t block;

	rng_init(&r, seed);
	edit_open(&edit, disk(sound));
	do
		block = made.inodes - rng_below(&r, made.inodes - ZONE_HEADER_BLOCKS - 256);
	while (!edit_refs(&edit, block));
	flip(block, rng_below(&r, 8 * BLOCK_SIZE));
	if (check(edit.d) <= 0) {
		print_error("seed %llu: a flipped bit in block %llu was not found\n",
			    (unsigned long long)seed, (unsigned long long)block);
		abort();
	}
	dev_close(edit.d);
}

static void test_flip(void **state)
{
	for (seed = 1; seed <= 60; seed++)
		in_fiber_expect(flip_body);
}

/* ---- memory ------------------------------------------------------------------------------- */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);

static unsigned fail_at, allocations;	/* fail_at 0: never */

static bool refuse(void)
{
	return fail_at && ++allocations == fail_at;
}

void *__wrap_malloc(size_t n) { return refuse() ? NULL : __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t size) { return refuse() ? NULL : __real_calloc(n, size); }
void *__wrap_realloc(void *p, size_t n) { return refuse() ? NULL : __real_realloc(p, n); }
void *__wrap_aligned_alloc(size_t align, size_t n)
{
	return refuse() ? NULL : __real_aligned_alloc(align, n);
}

static void memory_body(void)
{
	unsigned at = 0, refused = 0;
	int64_t n;

	edit_open(&edit, disk(sound));
	count_high();
	do {
		allocations = 0;
		fail_at = ++at;
		n = check_in(edit.d, 0, &said);
		fail_at = 0;
		REQUIRE(n == 1 || n == -ENOMEM);
		refused += n == -ENOMEM;
	} while (allocations >= at);
	REQUIRE(n == 1 && refused > 15);
	dev_close(edit.d);
}

static void test_memory(void **state)
{
	run_body(memory_body);
}

#define T(fn) cmocka_unit_test(fn)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_sound), T(test_empty), T(test_damages), T(test_older_slot), T(test_refused),
		T(test_unreadable), T(test_bomb), T(test_many), T(test_windows), T(test_random), T(test_flip),
		T(test_memory),
	};

	return cmocka_run_group_tests(tests, make_image, drop_image);
}
