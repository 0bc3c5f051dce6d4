/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NFSv4's changes of names that were done and could not be answered before the power went: whoever
 * sends them again gets their answer, whatever became of his session.
 */
#include "compound.h"

/* The changes, each on a fresh volume. */
static const uint32_t changes[] = { OP_CREATE, OP_REMOVE, OP_RENAME, OP_LINK };
#define NCHANGES (sizeof(changes) / sizeof(*changes))

static void put_change_of(uint32_t num)
{
	bool two = num == OP_RENAME || num == OP_LINK;

	putfh(num == OP_LINK ? P.file : P.root);
	if (two) {
		op(OP_SAVEFH);
		putfh(P.root);
	}
	op(num);
	switch (num) {
	case OP_CREATE: msg_u32(&M, FS_DIR); msg_string(&M, "new"); put_mode(0755); break;
	case OP_REMOVE: msg_string(&M, "l"); break;
	case OP_RENAME: msg_string(&M, "l"); msg_string(&M, "new"); break;
	case OP_LINK: msg_string(&M, "new"); break;
	}
	if (num == OP_LINK)
		op(OP_RESTOREFH);
	op(OP_GETFH);
	op(OP_GETATTR);
	msg_u32(&M, 0);
}

static void build(uint32_t minor, uint32_t num)
{
	begin(minor);
	if (minor)
		seq(&S);
	put_change_of(num);
}

/* Up to GETFH's result; FH is what it is. */
static void take_results(uint32_t minor, uint32_t num, uint8_t fh[HANDLE_BYTES])
{
	struct xdr_bytes b;

	if (minor)
		ok_seq();
	ok(OP_PUTFH);
	if (num == OP_RENAME || num == OP_LINK) {
		ok(OP_SAVEFH);
		ok(OP_PUTFH);
	}
	ok(num);
	xdr_get_fixed(&R, num == OP_RENAME ? 40 : 20);
	if (num == OP_CREATE)
		xdr_get_fixed(&R, 4 * xdr_get_u32(&R));
	if (num == OP_LINK)
		ok(OP_RESTOREFH);
	ok(OP_GETFH);
	b = xdr_get_opaque(&R, 128);
	assert_int_equal(b.len, HANDLE_BYTES);
	memcpy(fh, b.s, HANDLE_BYTES);
	ok(OP_GETATTR);
}

static void set_xid(uint32_t xid)
{
	xid = htobe32(xid);
	memcpy(M.data, &xid, 4);
}

static void test_again(void **state)
{
	for (uint32_t minor = 0; minor < 3; minor++)
		for (unsigned i = 0; i < NCHANGES; i++) {
			uint8_t fh[HANDLE_BYTES], again[HANDLE_BYTES];
			uint32_t num = changes[i];

			teardown(NULL);
			setup4(NULL);
			build(minor, num);
			assert_int_equal(run(), NFS4_OK);
			take_results(minor, num, fh);
			proto_crash(&P);
			assert_true(nfs4_in_grace(state_now()));
			for (int k = 0; k < 2; k++) {	/* the second answer is the first */
				assert_int_equal(run(), NFS4_OK);
				take_results(minor, num, again);
				assert_memory_equal(fh, again, HANDLE_BYTES);
			}
			set_xid(get32(M.data) + 1000);	/* somebody means it */
			assert_int_equal(run(), minor ? E(BADSESSION) :
					 num == OP_CREATE || num == OP_LINK ? E(EXIST) : E(GRACE));
		}
}

/* A client that sends it again puts in anew how many slots it uses, and whether to keep the answer. */
static void test_other_slots(void **state)
{
	size_t at;

	build(2, OP_RENAME);
	assert_int_equal(run(), NFS4_OK);
	proto_crash(&P);
	for (at = 0; get32(M.data + at) != OP_SEQUENCE; at += 4)
		;
	M.data[at + 4 + 16 + 4 + 4 + 3]++;	/* sa_highest_slotid */
	M.data[at + 4 + 16 + 4 + 4 + 4 + 3] ^= 1;
	assert_int_equal(run(), NFS4_OK);
	M.data[at + 4 + 16 + 3]++;		/* sa_sequenceid: another call */
	assert_int_equal(run(), E(BADSESSION));
}

/* Version 4.2's, which would fail the second time: a clone of a file's crooked end onto the same file,
 * whose end is then elsewhere; an attribute that is new, and one that is there. */
static void test_later_ones(void **state)
{
	static const uint32_t nums[] = { OP_CLONE, OP_SETXATTR, OP_REMOVEXATTR };

	for (unsigned i = 0; i < 3; i++) {
		begin(2);
		seq(&S);
		putfh(P.file);
		op(OP_SAVEFH);
		op(nums[i]);
		switch (nums[i]) {
		case OP_CLONE:
			put_sid(&anonymous);
			put_sid(&anonymous);
			put_range(8192, 40960);
			msg_u64(&M, 10000 - 8192);
			break;
		case OP_SETXATTR:
			msg_u32(&M, 1);		/* only if there is none */
			msg_string(&M, "a");
			msg_string(&M, "value");
			break;
		case OP_REMOVEXATTR:
			msg_string(&M, "a");
			break;
		}
		op(OP_GETATTR);
		msg_u32(&M, 0);
		assert_int_equal(run(), NFS4_OK);
		proto_crash(&P);
		assert_int_equal(run(), NFS4_OK);
		S = new_client("client");
	}
}

/* What wasn't done is done anew. */
static void test_not_done(void **state)
{
	build(2, OP_CREATE);
	proto_crash(&P);
	for (int k = 0; k < 2; k++)
		assert_int_equal(run(), E(BADSESSION));
	build(0, OP_CREATE);
	assert_int_equal(run(), NFS4_OK);
}

/* Of several changes in a call the first is known; for more there would have to be a session. */
static void test_several(void **state)
{
	for (uint32_t minor = 0; minor < 3; minor += 2) {
		teardown(NULL);
		setup4(NULL);
		begin(minor);
		if (minor)
			seq(&S);
		putfh(P.root);
		for (int i = 0; i < 2; i++) {
			op(OP_CREATE);
			msg_u32(&M, FS_DIR);
			msg_string(&M, "new");
			put_mode(0755);
		}
		assert_int_equal(run(), NFS4_OK);
		proto_crash(&P);
		assert_int_equal(run(), minor ? E(DEADSESSION) : E(EXIST));
		assert_int_equal(results, minor ? 4 : 3);
	}
}

/* In that call nothing is done that a session is needed for. */
static void test_others(void **state)
{
	build(2, OP_RENAME);
	op(OP_READ);
	put_sid(&anonymous);
	msg_u64(&M, 0);
	msg_u32(&M, 10);
	assert_int_equal(run(), E(ISDIR));
	proto_crash(&P);
	assert_int_equal(run(), E(DEADSESSION));
	assert_int_equal(results, 8);
}

/* A call from elsewhere, or of somebody else, is another one. */
static void test_who(void **state)
{
	build(2, OP_REMOVE);
	assert_int_equal(run(), NFS4_OK);
	proto_crash(&P);
	P.peer.ip[15]++;
	assert_int_equal(run(), E(BADSESSION));
	P.peer.ip[15]--;
	P.peer.port++;
	assert_int_equal(run(), NFS4_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T4(test_again), T4(test_other_slots), T4(test_later_ones), T4(test_not_done), T4(test_several), T4(test_others), T4(test_who),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
