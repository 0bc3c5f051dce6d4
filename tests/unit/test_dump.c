/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dumps: each structure of a small pool is written out with what is in it; what is damaged is still
 * shown, and no content whatever crashes them.
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
#include "fs/fs.h"
#include "in_fiber.h"

static struct dev_sim_image *sound;
static unsigned failures;

static struct dev *disk(struct dev_sim_image *image)
{
	return disk_of(image, MADE_BLOCKS);
}

static void make_sound(void *arg)
{
	struct dev *d = disk(NULL);

	made_build(d, &made);
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

/* ---- what is said -------------------------------------------------------------------------- */

static char said[1 << 20], why[300];
static size_t nsaid;

static void take_line(void *arg, const char *line)
{
	REQUIRE(!strchr(line, '\n'));
	if (nsaid + strlen(line) + 2 < sizeof(said))
		nsaid += snprintf(said + nsaid, sizeof(said) - nsaid, "%s\n", line);
}

static int dump(const char *what)
{
	char words[200], *args[8], *save = NULL;
	unsigned n = 0;

	snprintf(words, sizeof(words), "%s", what);
	for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save))
		args[n++] = w;
	nsaid = 0;
	said[0] = why[0] = 0;
	return fs_dump(edit.d, (const char *const *)args, n, take_line, NULL, why, sizeof(why));
}

/* A line that has all of WANT, which are parts of it in this order, with '|' between them. */
static void expect(const char *what, const char *want)
{
	char parts[400], *save = NULL;
	bool found = false;

	for (char *line = said, *end; !found && *line; line = end + 1) {
		char *at = line;

		end = strchr(line, '\n');
		*end = 0;
		snprintf(parts, sizeof(parts), "%s", want);
		for (char *p = strtok_r(parts, "|", &save); p && at; p = strtok_r(NULL, "|", &save))
			at = strstr(at, p);
		found = at != NULL;
		*end = '\n';
	}
	if (found)
		return;
	print_message("%s: not said: %s\n%s", what, want, said);
	failures++;
}

/* Block numbers of the pool stand for themselves. */
static const char *with_block(const char *fmt, uint64_t block)
{
	static char buf[100];

	snprintf(buf, sizeof(buf), fmt, (unsigned long long)block);
	return buf;
}

static void sound_body(void *arg)
{
	static const struct { const char *what, *want[4]; } rows[] = {
		{ "superblock", { "uuid: ", "life: 1", "volume table: block 13", "verified: sound" } },
		{ "zone 1", { "zone 1: blocks 262144 to 524287", "page 2: blocks 263168 to 263679, slot 0",
			      "verified: sound" } },
		{ "table 263180", { "table page of blocks 263168 to 263679", "block 263176: count 1, crc",
				    "verified: sound" } },
		{ "volumes", { "volume record 0: 'vol', state 1 (live), id 1", "inodes in use 9",
			       "mapped 22 blocks", "volume record 1: 'two'" } },
		{ "inode vol 1", { "type 2 (directory)", "6 entries", "links 3", "verified: sound" } },
		{ "inode vol 5", { "type 1 (file)|links 7", "size: 2105344", "mapped: 3", "depth 2" } },
		{ "inode vol 7", { "symbolic link", "target: 'a'" } },
		{ "inode vol 9", { "type 0 (free)", "next free inode: 11" } },
		{ "inode two 1", { "directory: parent 1, 0 entries" } },
		{ "dir vol 6", { "page 0, block", "page of level 1, 2 children", "inode 5|file|'c3'",
				 "free page" } },
		{ "map vol 5", { "byte 20480: block 263176", "byte 2097152: block", "byte 2101248: block" } },
		{ "xattr vol 6", { "3 extended attributes", "'one': 10 bytes", "76 76 76", "verified: sound" } },
		{ "xattr vol 3", { "'large': 5000 bytes", "verified: sound" } },
		{ "xattr vol 5", { "no extended attributes" } },
		{ "log", { "record 0x100000000065: type 0", "record 0x100000000066",
			   "records to be replayed: 2" } },
		{ "reap", { "entries: 2", "entry 0|level 1|kind 0 (file), 1 children done",
			    "entry 1|level 0|kind 1 (inodes), 0 children done" } },
		{ "block 0", { "block 0: superblock, slot 0" } },
		{ "block 266239", { "block 266239: superblock, slot 1", "generation: 5" } },
		{ "block 262146", { "block 262146: summary of zone 1, slot 0" } },
		{ "block 4", { "block 4: zone directory, slot 0", "zone 1: " } },
		{ "block 262156", { "block 262156: table page of blocks 263168 to 263679, slot 0" } },
		{ "block 1032", { "of the log", "PLOG" } },
		{ "block 263176", { "count 1|right|taken for data", "xxxx" } },
		{ "block 1032 data", { "a fixed structure, taken for data", "PLOG" } },
	};
	const struct { uint64_t block; const char *want; } blocks[] = {
		{ made.c_top, "taken for index" }, { made.c_top, "slot 1: block|mapped 2" },
		{ made.a_index, "count 2|taken for index" }, { made.inodes, "taken for inodes" },
		{ made.inodes, "inode 4: file|mapped 3" }, { made.volumes, "taken for volumes" },
		{ made.root_page, "taken for dir" }, { made.root_page, "symbolic link, 's'" },
		{ made.sub_xattrs, "taken for xattr" }, { made.a_data[0], "taken for data" },
		{ made.next + 3, "count 0" },
	};

	edit_open(&edit, disk(sound));
	for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		if (dump(rows[i].what)) {
			print_message("%s: %s\n", rows[i].what, why);
			failures++;
		}
		for (unsigned k = 0; k < 4 && rows[i].want[k]; k++)
			expect(rows[i].what, rows[i].want[k]);
	}
	for (unsigned i = 0; i < sizeof(blocks) / sizeof(*blocks); i++) {
		REQUIRE(!dump(with_block("block %llu", blocks[i].block)));
		expect("block", blocks[i].want);
	}
	REQUIRE(!dump(with_block("block %llu inodes", made.a_index)));
	expect("block as inodes", "taken for inodes");
	dev_close(edit.d);
}

static void test_sound(void **state)
{
	failures = 0;
	in_fiber(sound_body);
	assert_int_equal(failures, 0);
}

static void refused_body(void *arg)
{
	static const struct { const char *what; int err; const char *why; } rows[] = {
		{ "soup", -EINVAL, "" }, { "zone", -EINVAL, "" }, { "zone x", -EINVAL, "'x' is not a number" },
		{ "zone -1", -EINVAL, "'-1' is not a number" }, { "zone 2", -ENOENT, "no zone 2; the pool has 2" },
		{ "zone 1 2", -EINVAL, "" }, { "table 266240", -ENOENT, "no block 266240" },
		{ "block 266240", -ENOENT, "behind the end" },
		{ "block 18446744073709551615", -ENOENT, "behind the end" },
		{ "block 5000 soup", -EINVAL, "'soup' is no kind of block" },
		{ "inode vol 16", -ENOENT, "volume 'vol' has no inode 16" },
		{ "inode vol 18446744073709551615", -ENOENT, "has no inode" },
		{ "inode none 1", -ENOENT, "no volume 'none'" },
		{ "inode vol@none 1", -ENOENT, "no snapshot 'vol@none'" },
		{ "dir vol 3", -ENOTDIR, "inode 3 is not a directory" },
	};

	edit_open(&edit, disk(sound));
	for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (dump(rows[i].what) != rows[i].err || !strstr(why, rows[i].why)) {
			print_message("%s: %s\n", rows[i].what, why);
			failures++;
		}
	dev_close(edit.d);
}

static void test_refused(void **state)
{
	failures = 0;
	in_fiber(refused_body);
	assert_int_equal(failures, 0);
}

/* ---- what is damaged ------------------------------------------------------------------------- */

static const char *const all[] = { "superblock", "zone 0", "zone 1", "table 1300", "table 263180", "volumes",
				   "inode vol 1", "inode vol 5", "dir vol 1", "dir vol 2", "dir vol 6",
				   "map vol 3", "map vol 6", "xattr vol 3", "xattr vol 6", "log", "reap" };
static const char *const kinds[] = { "index", "inodes", "volumes", "dir", "xattr", "reap", "data" };

static void dump_all(void)
{
	char what[80];

	for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++)
		dump(all[i]);
	for (uint64_t b = made.volumes - 40; b < made.next; b++) {
		dump(with_block("block %llu", b));
		snprintf(what, sizeof(what), "block %llu %s", (unsigned long long)b, kinds[b % 7]);
		REQUIRE(!dump(what));
	}
}

static const struct damage *now;

static void damage_body(void *arg)
{
	edit_open(&edit, disk(sound));
	memset(&u, 0, sizeof(u));
	now->fn();
	dump_all();
	dev_close(edit.d);
}

static void test_damages(void **state)
{
	for (unsigned i = 0; i < ndamages; i++) {
		now = &damages[i];
		in_fiber(damage_body);
	}
}

static uint64_t seed;

static void random_body(void *arg)
{
	struct rng r;

	rng_init(&r, seed);
	edit_open(&edit, disk(sound));
	for (unsigned n = 1 + rng_below(&r, 10); n; n--)
		damage_at_random(&r);
	dump_all();
	dev_close(edit.d);
}

static void test_random(void **state)
{
	for (seed = 1; seed <= 100; seed++)
		in_fiber(random_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sound),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_damages),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, make_image, drop_image);
}
