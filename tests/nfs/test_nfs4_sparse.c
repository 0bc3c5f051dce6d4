/* SPDX-License-Identifier: Apache-2.0 */
/* READ_PLUS beside READ, and hints about what will be read. */
#include "compound.h"

#define PAGE 4096
#define SIZE (1 << 20)

static uint8_t fh[HANDLE_BYTES];
static uint8_t content[SIZE], got[SIZE];

static void put_page(uint64_t page)
{
	uint8_t *p = content + page * PAGE;

	for (int i = 0; i < PAGE; i++)
		p[i] = rand() | 1;
	on(fh);
	op(OP_WRITE);
	put_sid(&anonymous);
	msg_u64(&M, page * PAGE);
	msg_u32(&M, NFS4_UNSTABLE);
	msg_opaque(&M, p, PAGE);
	assert_int_equal(run_on(), NFS4_OK);
}

static void new_file(const char *name, uint64_t size)
{
	struct sid sid;

	assert_int_equal(create4(NFS4_CREATE_UNCHECKED, 0, name, size, &sid), NFS4_OK);
	memset(content, 0, sizeof(content));
	on(P.root);
	name_op(OP_LOOKUP, name);
	op(OP_GETFH);
	assert_int_equal(run_on(), NFS4_OK);
	ok(OP_LOOKUP);
	ok(OP_GETFH);
	get_fh(fh);
}

static uint32_t read_plus(uint64_t offset, uint32_t count)
{
	on(fh);
	op(OP_READ_PLUS);
	put_sid(&anonymous);
	msg_u64(&M, offset);
	msg_u32(&M, count);
	run_on();
	return res(OP_READ_PLUS);
}

struct seen { uint32_t len, segments, holes; bool eof; size_t bytes; };

/* Takes the reply apart: segments follow each other from OFFSET on, two of a kind never do. */
static struct seen segments(uint64_t offset)
{
	struct seen s = { .bytes = xdr_left(&R) };
	uint32_t n, kind, before = 2;

	s.eof = xdr_get_bool(&R);
	n = xdr_get_u32(&R);
	for (; s.segments < n; s.segments++) {
		kind = xdr_get_enum(&R, 1);
		assert_int_not_equal(kind, before);
		before = kind;
		assert_int_equal(xdr_get_u64(&R), offset + s.len);
		if (kind) {
			uint64_t len = xdr_get_u64(&R);

			assert_true(len >= 128 && len <= SIZE - s.len);
			memset(got + s.len, 0, len);
			s.len += len;
			s.holes++;
		} else {
			struct xdr_bytes b = xdr_get_opaque(&R, SIZE - s.len);

			memcpy(got + s.len, b.s, b.len);
			s.len += b.len;
		}
	}
	end_of_reply();
	return s;
}

static struct seen check(uint64_t size, uint64_t offset, uint32_t count)
{
	uint64_t want = offset >= size ? 0 : count < size - offset ? count : size - offset;
	struct seen s;

	assert_int_equal(read_plus(offset, count), NFS4_OK);
	s = segments(offset);
	assert_int_equal(s.len, want);
	assert_memory_equal(got, content + offset, want);
	assert_int_equal(s.eof, offset + count >= size);
	assert_true(s.segments <= 32);
	assert_true(s.bytes <= 8 + 16 + want + 3);	/* never more than READ would send */
	assert_int_equal(P.ctl->pins, 0);
	return s;
}

static void test_kinds(void **state)
{
	struct seen s;

	new_file("kinds", 10 * PAGE);
	s = check(10 * PAGE, 0, SIZE);			/* a hole, and nothing else */
	assert_true(s.segments == 1 && s.holes == 1);
	put_page(3);
	put_page(4);
	s = check(10 * PAGE, 0, SIZE);
	assert_true(s.segments == 3 && s.holes == 2);
	s = check(10 * PAGE, 3 * PAGE + 5, PAGE);
	assert_true(s.segments == 1 && s.holes == 0);
	s = check(10 * PAGE, 3 * PAGE - 127, 200);	/* too short to be told */
	assert_true(s.segments == 1 && s.holes == 0);
	s = check(10 * PAGE, 3 * PAGE - 128, 200);
	assert_true(s.segments == 2 && s.holes == 1);
	s = check(10 * PAGE, 5 * PAGE - 1, 1 + PAGE);
	assert_true(s.segments == 2 && s.holes == 1);
	s = check(10 * PAGE, 10 * PAGE, 5);
	assert_true(s.segments == 0 && s.eof);
	s = check(10 * PAGE, UINT64_MAX - 100, 5);
	assert_true(s.segments == 0 && s.eof);
	s = check(10 * PAGE, 7, 0);
	assert_true(s.segments == 0 && !s.eof);
}

static void test_random(void **state)
{
	srand(3);
	for (int round = 0; round < 30; round++) {
		uint64_t size = 1 + rand() % SIZE;
		char name[16];

		snprintf(name, sizeof(name), "r%d", round);
		new_file(name, size);
		for (uint64_t page = 0; page < size / PAGE; page++)
			if (rand() % 20 < round % 19)
				put_page(page);
		check(size, 0, SIZE - PAGE);
		for (int i = 0; i < 30; i++)
			check(size, rand() % (size + 10), rand() % (SIZE - PAGE));
	}
}

/* More pieces than are told apart: the last segment is data, whatever it holds. */
static void test_many_segments(void **state)
{
	struct seen s;

	new_file("comb", SIZE);
	for (uint64_t page = 0; page < SIZE / PAGE; page += 2)
		put_page(page);
	s = check(SIZE, 0, SIZE - PAGE);
	assert_true(s.segments == 31 && s.holes == 15);
	s = check(SIZE, 0, 31 * PAGE);
	assert_true(s.segments == 31 && s.holes == 15);
	s = check(SIZE, PAGE, 32 * PAGE);
	assert_true(s.segments == 32 && s.holes == 16);
}

/* What doesn't fit into the session's replies is left out, and said not to be the end. */
static void test_small_replies(void **state)
{
	struct sess big = S;
	struct chan channel;
	uint32_t flags;
	struct seen s;

	new_file("small", 10 * PAGE);
	for (int i = 0; i < 10; i++)
		put_page(i);
	assert_int_equal(exchange("small", 1, 0, &S, &flags), NFS4_OK);
	assert_int_equal(create_session(&S, (struct chan){ 3000, 512, 8, 1 }, &channel), NFS4_OK);
	assert_int_equal(read_plus(0, SIZE), NFS4_OK);
	s = segments(0);
	assert_true(s.len > 1500 && s.len < 3000 && s.len % 4 == 0 && !s.eof);
	assert_true(reply_len <= 3000);
	assert_memory_equal(got, content, s.len);
	S.cache = true;
	assert_int_equal(read_plus(0, SIZE), E(REP_TOO_BIG_TO_CACHE));
	S = big;
}

static uint32_t advise(uint64_t offset, uint64_t count, uint32_t hints, uint32_t *ret_heeded)
{
	on(fh);
	op(OP_IO_ADVISE);
	put_sid(&anonymous);
	put_range(offset, count);
	msg_u32(&M, 1);
	msg_u32(&M, hints);
	run_on();
	uint32_t status = res(OP_IO_ADVISE);

	if (!status)
		*ret_heeded = xdr_get_u32(&R) ? xdr_get_u32(&R) : 0;
	end_of_reply();
	return status;
}

/* Four may read ahead at a time; of a fifth the hint is not heeded. */
static void test_advise(void **state)
{
	uint32_t heeded;

	new_file("advise", 10 * PAGE);
	put_page(3);
	assert_int_equal(advise(0, 0, 0x7cf, &heeded), NFS4_OK);
	assert_int_equal(heeded, 0);
	assert_int_equal(advise(0, 0, 1 << 4 | 1 << 1, &heeded), NFS4_OK);
	assert_int_equal(heeded, 1 << 4);
	proto_sleep(1000000);
	assert_int_equal(state_now()->prefetches, 0);
	assert_int_equal(advise(9, UINT64_MAX, 1 << 4, &heeded), E(INVAL));
	state_now()->prefetches = 4;
	assert_int_equal(advise(0, 0, 0x7ff, &heeded), NFS4_OK);
	assert_int_equal(heeded, 0);
	state_now()->prefetches = 0;
}

static void test_seek_what(void **state)
{
	new_file("seek", PAGE);
	on(fh);
	op(OP_SEEK);
	put_sid(&anonymous);
	msg_u64(&M, 0);
	msg_u32(&M, 2);
	assert_int_equal(run_on(), E(UNION_NOTSUPP));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T4(test_kinds), T4(test_random), T4(test_many_segments), T4(test_small_replies),
		T4(test_advise), T4(test_seek_what),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
