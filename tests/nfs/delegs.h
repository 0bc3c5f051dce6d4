/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the programs that test delegations in process: two clients, HOLDER and OTHER, who can be
 * called back (A and B).
 */
#ifndef TESTS_NFS_DELEGS_H
#define TESTS_NFS_DELEGS_H

#include "called.h"
#include "nfs/nfs4_deleg.h"

enum { WANT_READ = 0x100, WANT_WRITE = 0x200, WANT_ANY = 0x300, WANT_NO = 0x400, WANT_CANCEL = 0x500 };
enum { REVOKED_FLAG = 0x40 };

static struct called A, B;
static struct sess HOLDER, OTHER;

/* OPEN by name, of what is there. */
U uint32_t open_for(struct sess *s, uint32_t access, uint32_t deny, const char *name,
		    struct sid *ret_open, struct offer *ret_offer)
{
	uint32_t status;

	begin(2);
	seq(s);
	putfh(P.root);
	put_open(access, deny, "owner", name);
	run();
	ok_seq();
	ok(OP_PUTFH);
	status = res(OP_OPEN);
	if (!status) {
		*ret_open = get_open_head();
		*ret_offer = get_offer();
		assert_false(ret_offer->recall);
		end_of_reply();
	}
	settle();
	return status;
}

/* The holder opens "f" so and has a delegation of TYPE then. */
U struct sid get_deleg(uint32_t access, uint32_t type, struct sid *ret_open)
{
	struct offer o;

	assert_int_equal(open_for(&HOLDER, access, 0, "f", ret_open, &o), NFS4_OK);
	assert_int_equal(o.type, type);
	return o.id;
}

/* A COMPOUND of one operation with a stateid on FH; its status. */
U uint32_t sid_op(struct sess *s, uint32_t num, const uint8_t *fh, const struct sid *sid)
{
	uint32_t status;

	begin(2);
	seq(s);
	putfh(fh);
	op(num);
	if (num == OP_CLOSE)
		msg_u32(&M, 0);
	put_sid(sid);
	if (num == OP_READ) {
		msg_u64(&M, 0);
		msg_u32(&M, 10);
	} else if (num == OP_WRITE) {
		msg_u64(&M, 0);
		msg_u32(&M, NFS4_FILE_SYNC);
		msg_string(&M, "written");
	}
	run();
	ok_seq();
	ok(OP_PUTFH);
	status = res(num);
	settle();
	return status;
}

U uint32_t delegreturn(struct sess *s, const struct sid *sid)
{
	return sid_op(s, OP_DELEGRETURN, P.file, sid);
}

U uint32_t test_one(struct sess *s, const struct sid *sid)
{
	begin(2);
	seq(s);
	op(OP_TEST_STATEID);
	msg_u32(&M, 1);
	put_sid(sid);
	assert_int_equal(run(), NFS4_OK);
	ok_seq();
	ok(OP_TEST_STATEID);
	assert_int_equal(xdr_get_u32(&R), 1);
	return xdr_get_u32(&R);
}

U uint32_t free_one(struct sess *s, const struct sid *sid)
{
	uint32_t status;

	begin(2);
	seq(s);
	op(OP_FREE_STATEID);
	put_sid(sid);
	status = run();
	ok_seq();
	assert_int_equal(res(OP_FREE_STATEID), status);
	return status;
}

/* The last callback was CB_RECALL of DELEG on FH. */
U void expect_recall(const struct called *c, unsigned calls, const struct sid *deleg,
		     const uint8_t *fh)
{
	struct xdr_in in;

	assert_int_equal(c->calls, calls);
	assert_int_equal(c->op, NFS4_CB_RECALL);
	xdr_in_init(&in, c->args, c->args_len);
	assert_int_equal(xdr_get_u32(&in), deleg->seqid);
	assert_memory_equal(xdr_get_fixed(&in, 12), deleg->other, 12);
	assert_int_equal(xdr_get_u32(&in), 0);
	assert_int_equal(xdr_get_u32(&in), HANDLE_BYTES);
	assert_memory_equal(xdr_get_fixed(&in, HANDLE_BYTES), fh, HANDLE_BYTES);
	assert_int_equal(xdr_left(&in), 0);
}

U int setup_delegs(void **state)
{
	setup(state);
	called_init(&A);
	called_init(&B);
	HOLDER = new_called_client("holder", 2, &A);
	OTHER = new_called_client("other", 2, &B);
	A.calls = B.calls = 0;
	return 0;
}

U int teardown_delegs(void **state)
{
	assert_int_equal(state_now()->ndelegs_live > state_now()->ndelegs, 0);
	teardown(state);
	called_done(&A);
	called_done(&B);
	return 0;
}

#define TD(x) cmocka_unit_test_setup_teardown(x, setup_delegs, teardown_delegs)
#define LEASE_OVER() (state_now()->skew_ns += state_now()->lease_ns + SEC)

#endif
