/* SPDX-License-Identifier: Apache-2.0 */
/* The small rooms of the base: errors, log, buffers, random numbers, CRC, bytes, lists. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/crc.h"
#include "base/endian.h"
#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "base/rng.h"

static void test_err(void **state)
{
	assert_string_equal(err_text(-ENOENT), "No such file or directory");
	assert_string_equal(err_text(ENOENT), err_text(-ENOENT));
	assert_string_equal(err_text(0), "success");
	assert_non_null(strstr(err_text(-EDAMAGED), "damaged"));
	for (int e = EDAMAGED; e <= ERESTART_PASS; e++)
		assert_string_not_equal(err_text(e), "unknown error");
	assert_string_equal(err_text(INT_MIN), "unknown error");
	assert_string_equal(err_text(99999), "unknown error");
}

static char captured[2048];
static enum log_level captured_level;
static int ncaptured;

static void capture(void *arg, enum log_level level, const char *text)
{
	snprintf(captured, sizeof(captured), "%s", text);
	captured_level = level;
	ncaptured++;
}

static int evaluated(void)
{
	ncaptured += 100;
	return 0;
}

static void test_log(void **state)
{
	enum log_level level = LOG_INFO;
	char long_text[3000];

	ncaptured = 0;
	log_capture(capture, NULL);
	log_warn("pool %s: %d blocks", "p", 5);
	assert_int_equal(ncaptured, 1);
	assert_int_equal(captured_level, LOG_WARN);
	assert_string_equal(captured, "pool p: 5 blocks");
	log_debug("not evaluated %d", evaluated());
	assert_int_equal(ncaptured, 1);
	log_set_level(LOG_DEBUG);
	log_debug("seen");
	assert_int_equal(ncaptured, 2);
	log_set_level(LOG_INFO);
	log_error("a\nforged\x1b[2J\x7fline");
	assert_string_equal(captured, "a?forged?[2J?line");
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = 0;
	log_info("%s", long_text);
	assert_true(strlen(captured) < 1100);
	assert_string_equal(captured + strlen(captured) - 6, " [cut]");
	log_capture(NULL, NULL);
	assert_int_equal(log_level_parse("debug", &level), 0);
	assert_int_equal(level, LOG_DEBUG);
	assert_int_equal(log_level_parse("loud", &level), -EINVAL);
	assert_int_equal(level, LOG_DEBUG);
}

static void test_log_line(void **state)
{
	char line[256];
	int p[2], saved = dup(STDERR_FILENO);
	ssize_t n;

	assert_int_equal(pipe(p), 0);
	dup2(p[1], STDERR_FILENO);
	errno = ENOSPC;
	log_error("disk %d", 3);
	assert_int_equal(errno, ENOSPC);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(p[1]);
	n = read(p[0], line, sizeof(line) - 1);
	close(p[0]);
	assert_true(n > 0);
	line[n] = 0;
	assert_non_null(strstr(line, "Z error disk 3\n"));
	assert_ptr_equal(strchr(line, '\n'), line + n - 1);
}

static void test_log_limit(void **state)
{
	struct log_limit l = { .burst = 3, .interval_ns = 1000 };
	uint64_t suppressed = 77;
	int ok = 0;

	for (int i = 0; i < 10; i++)
		ok += log_limit_ok_at(&l, 5000, &suppressed);
	assert_int_equal(ok, 3);
	assert_int_equal(suppressed, 0);
	assert_false(log_limit_ok_at(&l, 5999, &suppressed));
	assert_true(log_limit_ok_at(&l, 6000, &suppressed));
	assert_int_equal(suppressed, 8);
	assert_false(log_limit_ok_at(&l, 6000, &suppressed));
	ok = 0;
	for (int i = 0; i < 10; i++)
		ok += log_limit_ok_at(&l, 1000000, NULL);
	assert_int_equal(ok, 3);
}

static void test_buf(void **state)
{
	CLEANUP_BUF struct buf b;
	char *room;

	buf_init(&b, 20);
	assert_string_equal(buf_str(&b), "");
	assert_int_equal(buf_append(&b, "", 0), 0);
	assert_int_equal(buf_append_str(&b, "hello"), 0);
	assert_int_equal(buf_printf(&b, ", %s %d", "you", 42), 0);
	assert_string_equal(buf_str(&b), "hello, you 42");
	assert_int_equal(b.len, 13);
	/* too long: nothing changes, the error stays */
	assert_int_equal(buf_printf(&b, "%s", "12345678"), -EMSGSIZE);
	assert_string_equal(buf_str(&b), "hello, you 42");
	assert_int_equal(buf_append_byte(&b, '!'), 0);
	assert_int_equal(b.failed, -EMSGSIZE);
	/* exactly full */
	assert_int_equal(buf_append(&b, "123456", 6), 0);
	assert_int_equal(b.len, 20);
	assert_int_equal(buf_append_byte(&b, 'x'), -EMSGSIZE);
	assert_int_equal(buf_append(&b, "x", SIZE_MAX), -EMSGSIZE);
	buf_consume(&b, 7);
	assert_string_equal(buf_str(&b), "you 42!123456");
	buf_consume(&b, 13);
	assert_string_equal(buf_str(&b), "");
	buf_clear(&b);
	assert_int_equal(b.failed, 0);
	assert_int_equal(buf_reserve(&b, 4, &room), 0);
	memcpy(room, "abcd", 4);
	buf_commit(&b, 2);
	assert_string_equal(buf_str(&b), "ab");
}

static void test_buf_growth(void **state)
{
	struct buf b;

	buf_init(&b, 100000);
	for (int i = 0; i < 100000; i++)
		assert_int_equal(buf_append_byte(&b, 'a' + i % 26), 0);
	assert_int_equal(buf_append_byte(&b, 'x'), -EMSGSIZE);
	for (int i = 0; i < 100000; i++)
		assert_int_equal(b.data[i], 'a' + i % 26);
	assert_int_equal(b.data[100000], 0);
	assert_true(b.cap <= 100001);
	buf_release(&b);
	assert_int_equal(buf_append_str(&b, "again"), 0);
	buf_release(&b);
}

static void test_rng(void **state)
{
	struct rng a, b;
	unsigned char x[20], y[20];
	int seen[7] = { 0 };

	/* splitmix64 of 0 fills the state; then xoshiro256**, as published */
	rng_init(&a, 0);
	assert_int_equal(a.s[0], 0xe220a8397b1dcdafull);
	assert_int_equal(a.s[1], 0x6e789e6aa1b965f4ull);
	a = (struct rng){ { 1, 2, 3, 4 } };
	assert_int_equal(rng_u64(&a), 11520);
	assert_int_equal(rng_u64(&a), 0);
	assert_int_equal(rng_u64(&a), 1509978240);
	assert_int_equal(rng_u64(&a), 1215971899390074240ull);

	rng_init(&a, 5);
	rng_init(&b, 5);
	rng_fill(&a, x, sizeof(x));
	rng_fill(&b, y, sizeof(y));
	assert_memory_equal(x, y, sizeof(x));
	rng_init(&b, 6);
	rng_fill(&b, y, sizeof(y));
	assert_memory_not_equal(x, y, sizeof(x));
	for (int i = 0; i < 7000; i++) {
		uint64_t v = rng_range(&a, 3, 9);

		assert_in_range(v, 3, 9);
		seen[v - 3]++;
	}
	for (int i = 0; i < 7; i++)
		assert_in_range(seen[i], 800, 1200);
	assert_int_equal(rng_range(&a, 4, 4), 4);
	rng_range(&a, 0, UINT64_MAX);
	assert_int_equal(rng_below(&a, 1), 0);
}

static void test_secure_random(void **state)
{
	assert_true(secure_random_u64() != secure_random_u64());
}

static void test_crc(void **state)
{
	unsigned char data[300];
	static const char digits[] = "123456789";

	assert_int_equal(crc32c(0, digits, 9), 0xe3069283);
	assert_int_equal(crc32c(crc32c(0, digits, 4), digits + 4, 5), 0xe3069283);
	assert_int_equal(crc32c(0, digits, 0), 0);
	/* RFC 3720, section B.4 */
	memset(data, 0, 32);
	assert_int_equal(crc32c(0, data, 32), 0x8a9136aa);
	memset(data, 0xff, 32);
	assert_int_equal(crc32c(0, data, 32), 0x62a8ab43);
	for (int i = 0; i < 300; i++)
		data[i] = i * 7;
	for (size_t cut = 0; cut <= 300; cut++)
		assert_int_equal(crc32c(crc32c(0, data, cut), data + cut, 300 - cut),
				 crc32c(0, data, 300));
}

static void test_endian(void **state)
{
	unsigned char p[9] = { 0, 1, 2, 3, 4, 5, 6, 7, 8 };

	assert_int_equal(get_le16(p + 1), 0x0201);
	assert_int_equal(get_le32(p + 1), 0x04030201);
	assert_int_equal(get_le64(p + 1), 0x0807060504030201ull);
	assert_int_equal(get_be16(p + 1), 0x0102);
	assert_int_equal(get_be32(p + 1), 0x01020304);
	assert_int_equal(get_be64(p + 1), 0x0102030405060708ull);
	put_le32(p + 1, 0xa1b2c3d4);
	assert_int_equal(p[1], 0xd4);
	assert_int_equal(p[4], 0xa1);
	put_be64(p + 1, 0x1122334455667788ull);
	assert_int_equal(p[1], 0x11);
	assert_int_equal(get_le64(p + 1), 0x8877665544332211ull);
	put_le16(p, 0xbeef);
	assert_int_equal(get_be16(p), 0xefbe);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static int scoped_fd(int *ret_inner)
{
	CLEANUP_FD int inner = open("/dev/null", O_RDONLY), outer = open("/dev/null", O_RDONLY);

	*ret_inner = inner;
	return steal_fd(&outer);
}

static void test_cleanup(void **state)
{
	int inner, kept = scoped_fd(&inner);

	assert_true(is_open(kept));
	assert_false(is_open(inner));
	close(kept);
	{
		CLEANUP_FREE char *a = strdup("x");
		CLEANUP_FREE char *none = NULL;
		char *b = steal_ptr(a);

		assert_null(a);
		assert_null(none);
		free(b);
	}
}

struct item { int n; struct list entry; };

static void test_list(void **state)
{
	struct list a, b, *e, *tmp;
	struct item i[4] = { { .n = 0 }, { .n = 1 }, { .n = 2 }, { .n = 3 } };
	int sum = 0, digits = 0;

	list_init(&a);
	list_init(&b);
	assert_null(list_pop(&a));
	list_add_tail(&a, &i[1].entry);
	list_add_head(&a, &i[0].entry);
	list_splice_tail(&a, &b);
	list_add_tail(&b, &i[2].entry);
	list_add_tail(&b, &i[3].entry);
	list_splice_tail(&a, &b);
	assert_true(list_empty(&b));
	list_each(e, &a)
		digits = digits * 10 + container_of(e, struct item, entry)->n;
	assert_int_equal(digits, 123);
	list_each_safe(e, tmp, &a) {
		if (container_of(e, struct item, entry)->n % 2)
			list_del(e);
	}
	while ((e = list_pop(&a)))
		sum = sum * 10 + container_of(e, struct item, entry)->n;
	assert_int_equal(sum, 2);
	list_del(&i[1].entry);	/* in no list: nothing happens */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_err), cmocka_unit_test(test_log),
		cmocka_unit_test(test_log_line), cmocka_unit_test(test_log_limit),
		cmocka_unit_test(test_buf), cmocka_unit_test(test_buf_growth),
		cmocka_unit_test(test_rng), cmocka_unit_test(test_secure_random),
		cmocka_unit_test(test_crc), cmocka_unit_test(test_endian),
		cmocka_unit_test(test_cleanup), cmocka_unit_test(test_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
