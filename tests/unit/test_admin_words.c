/* SPDX-License-Identifier: Apache-2.0 */
/* How sizes, objects and patterns are written: admin/size.h, admin/objname.h. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "admin/objname.h"
#include "admin/schedule.h"
#include "admin/size.h"

static void sizes_are_binary(void **state)
{
	static const struct { const char *text; uint64_t bytes; } good[] = {
		{ "0", 0 }, { "4096", 4096 }, { "1B", 1 }, { "1K", 1024 }, { "1k", 1024 },
		{ "64KiB", 65536 }, { "1.5G", 3ull << 29 }, { "100G", 100ull << 30 },
		{ "0.5M", 1 << 19 }, { "16T", 16ull << 40 }, { "7E", 7ull << 60 },
		{ "9223372036854775807", INT64_MAX },
	};
	static const char *const bad[] = { "", "G", "-1", "+1", " 1", "1 ", "1KB", "1KiBi", "1.G",
		".5G", "0x10", "1e3", "1.3B", "0.0001K", "1.2.3G", "1.1234567G", "12 G" };
	static const char *const large[] = { "8E", "9223372036854775808", "99999999999999999999",
		"9999999E" };
	uint64_t v;
	size_t i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		v = 1;
		assert_int_equal(size_parse(good[i].text, &v), 0);
		assert_int_equal(v, good[i].bytes);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		v = 77;
		assert_int_equal(size_parse(bad[i], &v), -EINVAL);
		assert_int_equal(v, 77);
	}
	for (i = 0; i < sizeof(large) / sizeof(large[0]); i++)
		assert_int_equal(size_parse(large[i], &v), -ERANGE);
}

static void numbers_are_whole(void **state)
{
	uint64_t v = 5;

	assert_int_equal(number_parse("18446744073709551615", &v), 0);
	assert_int_equal(v, UINT64_MAX);
	assert_int_equal(number_parse("18446744073709551616", &v), -ERANGE);
	assert_int_equal(number_parse("", &v), -EINVAL);
	assert_int_equal(number_parse("-1", &v), -EINVAL);
	assert_int_equal(number_parse("1x", &v), -EINVAL);
	assert_int_equal(v, UINT64_MAX);
}

static void sizes_for_people(void **state)
{
	char buf[SIZE_TEXT];

	assert_string_equal(size_text(0, buf), "0 B");
	assert_string_equal(size_text(1023, buf), "1023 B");
	assert_string_equal(size_text(1024, buf), "1.00 KiB");
	assert_string_equal(size_text(1536 * 1024, buf), "1.50 MiB");
	assert_string_equal(size_text(1024ull * 1024 * 1024 - 1, buf), "1.00 GiB");
	assert_string_equal(size_text(10ull << 40, buf), "10.0 TiB");
	assert_string_equal(size_text(UINT64_MAX, buf), "16.0 EiB");
}

static int parse(const char *text, size_t len, struct objpath *p)
{
	char why[OBJNAME_WHY] = "";
	int err = objpath_parse(text, len, p, why);

	if (err) {
		assert_true(strlen(why) > 10);
		assert_null(strchr(why, '\n'));
	}
	return err;
}

static void objects_are_taken_apart(void **state)
{
	struct objpath p, dir;

	assert_int_equal(parse("gold:/", 6, &p), 0);
	assert_true(objpath_is_root(&p));
	assert_int_equal(parse("gold:///a//b/", 13, &p), 0);
	assert_string_equal(p.volume, "gold");
	assert_string_equal(p.path, "/a/b");
	assert_string_equal(objpath_leaf(&p), "b");
	objpath_parent(&p, &dir);
	assert_string_equal(dir.path, "/a");
	objpath_parent(&dir, &dir);
	assert_string_equal(dir.path, "/");
	assert_true(objpath_is_root(&dir));
	/* a colon may stand in a name */
	assert_int_equal(parse("v:/a:b", 6, &p), 0);
	assert_string_equal(p.path, "/a:b");
}

static void snapshots_are_taken_apart(void **state)
{
	static const char *const bad[] = { "", "gold", "gold@", "@s", "gold@-s", "gold@a@b", "gold@a b",
					   "gold@s:/a" };
	char why[OBJNAME_WHY], text[200];
	struct objpath p, q;
	struct objsnap s;

	assert_int_equal(objsnap_parse("gold@s.1", 8, false, &s, why), 0);
	assert_string_equal(s.volume, "gold");
	assert_string_equal(s.snapshot, "s.1");
	assert_int_equal(objsnap_parse("gold", 4, true, &s, why), 0);
	assert_string_equal(s.snapshot, "");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(objsnap_parse(bad[i], strlen(bad[i]), false, &s, why), -EINVAL);
	assert_int_equal(objsnap_parse("g\0@s", 4, false, &s, why), -EINVAL);
	memset(text, 'x', sizeof(text));
	text[63] = '@';
	text[127] = 0;
	assert_int_equal(objsnap_parse(text, 127, false, &s, why), 0);
	text[127] = 'x';
	text[128] = 0;
	assert_int_equal(objsnap_parse(text, 128, false, &s, why), -ENAMETOOLONG);
	assert_int_equal(parse("gold@s:/a", 9, &p), 0);
	assert_string_equal(p.volume, "gold@s");
	assert_true(objpath_is_frozen(&p));
	assert_int_equal(parse("gold:/b", 7, &q), 0);
	assert_true(objpath_same_volume(&p, &q) && !objpath_is_frozen(&q));
	assert_int_equal(parse("gold:/d//.snapshot/s/", 21, &q), 0);
	assert_true(objpath_same_volume(&p, &q) && objpath_is_frozen(&q));
	assert_int_equal(parse("gold:/d/.snapshot/", 18, &q), 0);
	assert_false(objpath_is_frozen(&q));
	assert_int_equal(parse("golden:/b", 9, &q), 0);
	assert_false(objpath_same_volume(&p, &q) || objpath_same_volume(&q, &p));
}

static void schedules_are_understood(void **state)
{
	static const char *const bad[] = { "x", "hourly", "hourly:", "hourly:0", "hourly:10001", "hourly:1,",
					   ",", "hourly:1,,daily:1", "hourly:1,hourly:2", "hourly:-1",
					   "hourly:99999999999999", "Hourly:1", "hourly:1 " };
	char why[OBJNAME_WHY], name[OBJNAME_VOLUME_MAX + 1];
	struct schedule s;

	assert_int_equal(schedule_parse("", &s, why), 0);
	assert_int_equal(s.keep[0] + s.keep[1] + s.keep[2], 0);
	assert_int_equal(schedule_parse("weekly:4,hourly:24,daily:10000", &s, why), 0);
	assert_int_equal(s.keep[SCHEDULE_HOURLY], 24);
	assert_int_equal(s.keep[SCHEDULE_DAILY], 10000);
	assert_int_equal(s.keep[SCHEDULE_WEEKLY], 4);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(schedule_parse(bad[i], &s, why), -EINVAL);
	/* 2026-11-25 is a Wednesday */
	schedule_name(SCHEDULE_HOURLY, 1795647599, name);
	assert_string_equal(name, "hourly-20261125-2200");
	schedule_name(SCHEDULE_HOURLY, 1795647600, name);
	assert_string_equal(name, "hourly-20261125-2300");
	schedule_name(SCHEDULE_DAILY, 1795647600, name);
	assert_string_equal(name, "daily-20261125-0000");
	schedule_name(SCHEDULE_WEEKLY, 1795647600, name);
	assert_string_equal(name, "weekly-20261123-0000");
	assert_true(schedule_made(SCHEDULE_WEEKLY, name));
	assert_false(schedule_made(SCHEDULE_DAILY, name));
	assert_false(schedule_made(SCHEDULE_WEEKLY, "weekly-2026112-00000"));
	assert_false(schedule_made(SCHEDULE_WEEKLY, "weekly-20261123-0000x"));
	assert_false(schedule_made(SCHEDULE_WEEKLY, "weekly-mine"));
}

static void objects_are_refused(void **state)
{
	static const char *const bad[] = { "", "gold", "gold:", "gold:a", ":/a", "/a", "a/b:/c",
		"gold:/a/../b", "gold:/.", "go ld:/a", "-v:/a", ".v:/a", "v\n:/a", "v@:/a", "v@.s:/a", "v@a@b:/a", "g\xc3\xb6:/a" };
	char text[6000], name[400];
	struct objpath p;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(parse(bad[i], strlen(bad[i]), &p), -EINVAL);
	assert_int_equal(parse("v:/a\0b", 6, &p), -EINVAL);
	memset(name, 'x', sizeof(name));
	name[255] = 0;
	sprintf(text, "v:/%s", name);
	assert_int_equal(parse(text, strlen(text), &p), 0);
	name[255] = 'x';
	name[256] = 0;
	sprintf(text, "v:/%s", name);
	assert_int_equal(parse(text, strlen(text), &p), -ENAMETOOLONG);
	name[64] = 0;
	sprintf(text, "%s:/a", name);
	assert_int_equal(parse(text, strlen(text), &p), -ENAMETOOLONG);
	memcpy(text, "v:", 2);
	for (i = 2; i < 4100; i++)
		text[i] = i % 2 ? 'x' : '/';
	text[i] = 0;
	assert_int_equal(parse(text, i, &p), -ENAMETOOLONG);
}

static void patterns_make_names(void **state)
{
	char why[OBJNAME_WHY], name[OBJNAME_NAME_MAX + 1];
	struct name_pattern p;

	assert_int_equal(name_pattern_parse("vm-%03d.raw", &p, why), 0);
	assert_int_equal(name_pattern_expand(&p, 7, name), 0);
	assert_string_equal(name, "vm-007.raw");
	assert_int_equal(name_pattern_expand(&p, 12345, name), 0);
	assert_string_equal(name, "vm-12345.raw");
	assert_int_equal(name_pattern_parse("%d", &p, why), 0);
	assert_int_equal(name_pattern_expand(&p, 10, name), 0);
	assert_string_equal(name, "10");
}

static void patterns_are_refused(void **state)
{
	static const char *const bad[] = { "vm", "%", "%s", "%n", "%%d", "%d-%d", "%d%%", "%3d",
		"%00d", "%010d", "%-3d", "%ld", "%0d", "100%" };
	char why[OBJNAME_WHY], name[OBJNAME_NAME_MAX + 1], text[300];
	struct name_pattern p;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		why[0] = 0;
		assert_int_equal(name_pattern_parse(bad[i], &p, why), -EINVAL);
		assert_true(strlen(why) > 10);
	}
	memset(text, 'x', sizeof(text));
	strcpy(text + 253, "%d");
	assert_int_equal(name_pattern_parse(text, &p, why), 0);
	assert_int_equal(name_pattern_expand(&p, 99, name), 0);
	assert_int_equal(name_pattern_expand(&p, 100, name), -ENAMETOOLONG);
}

static void text_is_safe_for_terminals(void **state)
{
	char buf[32];

	text_printable("a\x1b[2J\n\xff", 7, buf, sizeof(buf));
	assert_string_equal(buf, "a\\x1b[2J\\x0a\\xff");
	text_printable("gr\xc3\xbc\xc3\x9f", 6, buf, sizeof(buf));
	assert_string_equal(buf, "gr\xc3\xbc\xc3\x9f");
	text_printable("\xc2\x9b" "x", 3, buf, sizeof(buf));	/* CSI as U+009B */
	assert_string_equal(buf, "\\xc2\\x9bx");
	text_printable("\xc0\xaf\xed\xa0\x80", 5, buf, sizeof(buf));
	assert_string_equal(buf, "\\xc0\\xaf\\xed\\xa0\\x80");
	text_printable("12345678901234567890123456789012345", 35, buf, 8);
	assert_string_equal(buf, "1234567");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_binary),
		cmocka_unit_test(numbers_are_whole),
		cmocka_unit_test(sizes_for_people),
		cmocka_unit_test(objects_are_taken_apart),
		cmocka_unit_test(objects_are_refused),
		cmocka_unit_test(snapshots_are_taken_apart), cmocka_unit_test(schedules_are_understood),
		cmocka_unit_test(patterns_make_names),
		cmocka_unit_test(patterns_are_refused),
		cmocka_unit_test(text_is_safe_for_terminals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
