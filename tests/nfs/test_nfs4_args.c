/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arguments that are not in order: names, file handles, booleans and enumerations, each operation
 * cut off at every word or damaged; and requests and replies that are larger than they may be.
 */
#include "table.h"

/* ---- names --------------------------------------------------------------------------- */

enum { EMPTY, DOT, DOTDOT, SLASH, NUL, BYTES, LONGEST, LONG, HUGE_, NAMES };

static uint32_t name_of(unsigned which, const char **ret_name)
{
	static const char *const names[] = { "", ".", "..", "a/b", "a\0b", "\xff\xfe\x80" };
	static char n[70000];

	memset(n, 'n', sizeof(n));
	*ret_name = which < LONGEST ? names[which] : n;
	switch (which) {
	case NUL: case BYTES: return 3;
	case LONGEST: return 255;
	case LONG: return 256;
	case HUGE_: return sizeof(n);
	default: return strlen(names[which]);
	}
}

static void put_name(unsigned which)
{
	const char *s;
	uint32_t len = name_of(which, &s);

	msg_opaque(&M, s, len);
}

/* PUT writes NUM's arguments; the name is the given one, or what it says itself. */
static const struct { uint8_t num, minor; const char *expected; } named[] = {
	{ OP_LOOKUP, 0, "INVAL BADNAME BADNAME BADNAME BADNAME NOENT NOENT LONG LONG" },
	{ OP_SECINFO, 0, "INVAL BADNAME BADNAME BADNAME BADNAME NOENT NOENT LONG LONG" },
	{ OP_REMOVE, 0, "INVAL BADNAME BADNAME BADNAME BADNAME NOENT NOENT LONG LONG" },
	{ OP_CREATE, 0, "INVAL BADNAME BADNAME BADNAME BADNAME . . LONG LONG" },
	{ OP_LINK, 0, "INVAL BADNAME BADNAME BADNAME BADNAME . . LONG LONG" },
	{ OP_OPEN, 0, "INVAL BADNAME BADNAME BADNAME BADNAME NOENT NOENT LONG LONG" },
	{ OP_RENAME, 0, "INVAL BADNAME BADNAME BADNAME BADNAME NOENT NOENT LONG LONG" },
	{ OP_RENAME, 1, "INVAL BADNAME BADNAME BADNAME BADNAME . . LONG LONG" },	/* the new one */
};

static void put_named(unsigned i, unsigned which)
{
	static unsigned n;
	char owner[16];

	op(named[i].num);
	switch (named[i].num) {
	case OP_CREATE:
		msg_u32(&M, FS_DIR);
		put_name(which);
		put_mode(0755);
		break;
	case OP_OPEN:
		snprintf(owner, sizeof(owner), "n%u", ++n);
		msg_u32(&M, 0);
		msg_u32(&M, 1);
		msg_u32(&M, 0);
		owner_of(owner);
		msg_u32(&M, 0);
		msg_u32(&M, 0);
		put_name(which);
		break;
	case OP_RENAME:
		if (named[i].minor)
			msg_string(&M, "l");
		put_name(which);
		if (!named[i].minor)
			msg_string(&M, "new");
		break;
	default:
		put_name(which);
	}
}

static void test_names(void **state)
{
	static const char *const what[NAMES] = {
		"no name", "\".\"", "\"..\"", "a slash", "a NUL", "bytes", "255 bytes", "256 bytes",
		"70000 bytes",
	};

	for (size_t i = 0; i < sizeof(named) / sizeof(*named); i++)
		for (uint32_t m = 0; m <= 2; m++)
			for (unsigned which = 0; which < NAMES; which++) {
				uint32_t got;

				begin_in(m);
				putfh(named[i].num == OP_LINK ? P.file : P.root);
				op(OP_SAVEFH);
				putfh(P.root);
				put_named(i, which);
				got = run();
				expect(named[i].num, what[which], got,
				       status_word(named[i].expected, which));
				if (!got)
					fresh();
			}
}

/* ---- file handles -------------------------------------------------------------------- */

static uint32_t put_bytes_as_fh(uint32_t m, const uint8_t *fh, uint32_t len)
{
	begin_in(m);
	op(OP_PUTFH);
	msg_opaque(&M, fh, len);
	return run();
}

static void test_handles(void **state)
{
	static const uint32_t lens[] = { 0, 1, 4, 39, 41, 44, 127, 128 };
	uint8_t fh[200] = { 0 };

	for (uint32_t m = 0; m <= 2; m++) {
		memcpy(fh, P.file, HANDLE_BYTES);
		assert_int_equal(put_bytes_as_fh(m, fh, HANDLE_BYTES), NFS4_OK);
		for (size_t i = 0; i < sizeof(lens) / sizeof(*lens); i++)
			expect(OP_PUTFH, "the wrong length", put_bytes_as_fh(m, fh, lens[i]),
			       E(BADHANDLE));
		expect(OP_PUTFH, "129 bytes", put_bytes_as_fh(m, fh, 129), E(BADXDR));
		for (unsigned bit = 0; bit < HANDLE_BYTES * 8; bit++) {
			fh[bit / 8] ^= 1 << bit % 8;
			expect(OP_PUTFH, "forged", put_bytes_as_fh(m, fh, HANDLE_BYTES), E(BADHANDLE));
			fh[bit / 8] ^= 1 << bit % 8;
		}
		assert_int_equal(put_bytes_as_fh(m, handles[STALE], HANDLE_BYTES), NFS4_OK);
	}
}

/* ---- damage -------------------------------------------------------------------------- */

/* The handles that NUM wants, and what it may not do without. */
static void put_before(uint32_t num)
{
	const struct table_op *t = table_ops;

	while (t < table_ops + NTABLE && t->num != num)
		t++;
	if (t == table_ops + NTABLE) {
		putfh(P.file);
		return;
	}
	if (t->saved) {
		put_object(t->saved);
		op(OP_SAVEFH);
	}
	put_object(t->right);
}

static bool stands_alone(uint32_t num)
{
	return num == OP_BIND_CONN || num == OP_EXCHANGE_ID || num == OP_CREATE_SESSION ||
	       num == OP_DESTROY_SESSION || num == OP_DESTROY_CLIENTID || num == OP_SEQUENCE;
}

/* NUM as it should be, with where its arguments begin; false: it isn't there. */
static bool whole(uint32_t m, uint32_t num, size_t *ret_args)
{
	if (!rfc_op_name(m, num))
		return false;
	if (stands_alone(num)) {
		vers = m;
		begin(m);
	} else {
		begin_in(m);
		put_before(num);
	}
	op(num);
	*ret_args = M.len;
	put_args(num, &anonymous);
	return true;
}

/* Whether NUM is looked into at all. */
static bool decoded(uint32_t m, uint32_t num)
{
	size_t args;
	uint32_t status;

	if (!whole(m, num, &args))
		return false;
	status = run();
	fresh();
	return status != E(NOTSUPP);
}

static void test_truncation(void **state)
{
	for (uint32_t m = 0; m <= 2; m++)
		for (uint32_t num = 3; num < RFC_OPS; num++) {
			uint64_t before[2], after[2];
			size_t args, all = SIZE_MAX;

			if (!decoded(m, num))
				continue;
			changes_now(before);
			for (size_t n = 0; n < all; n += 4) {		/* from its number on */
				whole(m, num, &args);
				all = M.len - (args - 4);
				if (n >= all)
					break;
				M.len = args - 4 + n;
				expect(num, "cut off", run(), E(BADXDR));
			}
			changes_now(after);
			assert_memory_equal(before, after, sizeof(before));
		}
}

/* The place of each boolean and enumeration that has no other values (RFC 4506 section 4.4). */
static void test_enumerations(void **state)
{
	static const struct { uint8_t num, minor; uint16_t at; } t[] = {
		{ OP_LOCK, 0, 4 }, { OP_LOCK, 0, 24 }, { OP_OPEN, 0, 32 }, { OP_OPEN, 0, 36 },
		{ OP_WRITE, 0, 24 }, { OP_BIND_CONN, 1, 20 }, { OP_EXCHANGE_ID, 1, 24 },
		{ OP_SECINFO_NO_NAME, 1, 0 }, { OP_SEQUENCE, 1, 28 }, { OP_RECLAIM_COMPLETE, 1, 0 },
		{ OP_COPY, 2, 56 }, { OP_COPY, 2, 60 },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++)
		for (uint32_t m = t[i].minor; m <= 2; m++) {
			const uint32_t bad = htobe32(0x7654321);
			size_t args;

			whole(m, t[i].num, &args);
			assert_true(args + t[i].at + 4 <= M.len);
			memcpy(M.data + args + t[i].at, &bad, 4);
			expect(t[i].num, "no such value", run(), E(BADXDR));
		}
}

/* Any bytes: whatever the answer, it is one. */
static void test_damage(void **state)
{
	unsigned rounds = 0;

	srand(7);
	for (int turn = 0; turn < 60; turn++)
		for (uint32_t num = 3; num < RFC_OPS; num++) {
			uint32_t m = turn % 3;
			size_t args;

			if (!whole(m, num, &args) || M.len == args)
				continue;
			for (int k = rand() % 4; k >= 0; k--)
				M.data[args + rand() % (M.len - args)] = rand() % 3 ? rand() : 0xff;
			free(reply);
			reply = proto_serve(&P, &M, &reply_len);
			assert_non_null(reply);
			if (++rounds % 50 == 0)
				fresh();
		}
}

/* ---- sizes --------------------------------------------------------------------------- */

enum { SMALL_OPS = 6 };

static struct sess small_session(uint32_t request, uint32_t response, uint32_t cached)
{
	struct sess s = { 0 };
	const uint8_t *id;
	uint32_t flags;

	assert_int_equal(exchange("small", 1, 0, &s, &flags), NFS4_OK);
	begin(2);
	op(OP_CREATE_SESSION);
	msg_u64(&M, s.clientid);
	msg_u32(&M, s.create_seq);
	msg_u64(&M, 0);
	msg_u32(&M, request);
	msg_u32(&M, response);
	msg_u32(&M, cached);
	msg_u32(&M, SMALL_OPS);
	msg_u64(&M, 1ull << 32);			/* one slot, no RDMA */
	put_channel(4096, 0, 2, 1);
	msg_u32(&M, 0x40000000);
	msg_u32(&M, 1);
	msg_u32(&M, 0);
	assert_int_equal(run(), NFS4_OK);
	ok(OP_CREATE_SESSION);
	id = xdr_get_fixed(&R, 16);
	memcpy(s.id, id, 16);
	assert_int_equal(reclaim_complete(&s), NFS4_OK);
	return s;
}

/* NUM with a tag of LEN bytes, which the reply has to carry, too. */
static uint32_t run_tagged(uint32_t num, struct sess *s, unsigned len)
{
	char tag[NFS4_OPAQUE_MAX + 1];

	memset(tag, 't', len);
	tag[len] = 0;
	vers = 2;
	begin_tag(2, tag);
	seq(s);
	put_before(num);
	put_op(num, &anonymous);
	return run();
}

/*
 * A reply that doesn't fit says so, whatever the operation, and then nothing was done: of the
 * session's largest reply (too big), and of the largest that is kept (too big to cache).
 */
static void reply_sizes(uint32_t num, bool cache)
{
	struct sess s = small_session(4096, cache ? 4096 : 700, 700);
	const uint32_t refusal = cache ? E(REP_TOO_BIG_TO_CACHE) : E(REP_TOO_BIG);
	uint64_t before[2], after[2];
	bool refused = false;

	s.cache = cache;
	for (unsigned len = 400; len <= 720; len += 4) {
		uint32_t seqid = s.seq, status;

		changes_now(before);
		status = run_tagged(num, &s, len);
		if (results == 1 && status)
			s.seq = seqid;			/* the slot was not used */
		else
			assert_true(reply_len <= 700);
		if (status == refusal) {
			changes_now(after);
			assert_memory_equal(before, after, sizeof(before));
			refused = true;
		} else if (refused) {
			print_error("%s: %u after a refusal\n", rfc_op_name(2, num), status);
			fail();
		}
		if (!status && changes_files(&(struct table_op){ .num = num })) {
			fresh();
			s = small_session(4096, cache ? 4096 : 700, 700);
			s.cache = cache;
		}
	}
	assert_true(refused);
}

static void test_reply_sizes(void **state)
{
	for (const struct table_op *t = table_ops; t < table_ops + NTABLE; t++) {
		fresh();
		reply_sizes(t->num, false);
		fresh();
		reply_sizes(t->num, true);
	}
}

static void test_request_sizes(void **state)
{
	struct sess s = small_session(600, 2000, 200);
	unsigned last = 0;

	for (unsigned len = 0; len <= 700; len += 4) {
		uint32_t seqid = s.seq, status = run_tagged(OP_GETFH, &s, len);

		assert_true(status == NFS4_OK || status == E(REQ_TOO_BIG));
		if (status == NFS4_OK)
			last = M.len;
		if (status != E(REQ_TOO_BIG))
			continue;
		assert_int_equal(results, 1);
		assert_true(M.len > 600);
		s.seq = seqid;				/* the slot was not used */
	}
	assert_in_range(last, 200, 600);
	for (unsigned n = 1; n < 2 * SMALL_OPS; n++) {
		uint32_t seqid = s.seq;

		begin(2);
		seq(&s);
		for (unsigned i = 1; i < n; i++)
			op(OP_PUTROOTFH);
		assert_int_equal(run(), n > SMALL_OPS ? E(TOO_MANY_OPS) : NFS4_OK);
		if (n > SMALL_OPS)
			s.seq = seqid;
	}
	for (unsigned n = NFS4_OPS_MAX - 1; n <= NFS4_OPS_MAX + 1; n++) {
		begin_in(0);
		for (unsigned i = 0; i < n; i++)
			op(OP_PUTROOTFH);
		assert_int_equal(run(), n > NFS4_OPS_MAX ? E(RESOURCE) : NFS4_OK);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TT(test_names), TT(test_handles), TT(test_truncation), TT(test_enumerations),
		TT(test_damage), TT(test_reply_sizes), TT(test_request_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
