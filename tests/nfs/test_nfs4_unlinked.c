/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are removed while they are open: OPEN promises that they stay until CLOSE. */
#include "compound.h"

static uint32_t remove_f(void)
{
	on(P.root);
	name_op(OP_REMOVE, "f");
	return run_on();
}

static uint32_t read_f(const struct sid *sid)
{
	on(P.file);
	op(OP_READ);
	put_sid(sid);
	msg_u64(&M, 0);
	msg_u32(&M, 10);
	return run_on();
}

static uint32_t close_f(const struct sid *sid)
{
	on(P.file);
	op(OP_CLOSE);
	msg_u32(&M, 0);
	put_sid(sid);
	return run_on();
}

/* GETATTR's status, and what it says of the number of links. */
static uint32_t links(uint32_t *ret)
{
	uint32_t status;

	on(P.file);
	op(OP_GETATTR);
	msg_u32(&M, 2);
	msg_u32(&M, 0);
	msg_u32(&M, 1 << (35 - 32));
	status = run_on();
	if (status)
		return status;
	ok(OP_GETATTR);
	xdr_get_fixed(&R, 16);
	*ret = xdr_get_u32(&R);
	return NFS4_OK;
}

static void expect_holds(int n)
{
	if (!P.ctl->real)
		assert_int_equal(P.ctl->holds, n);
}

/* Soon. */
static void expect_stale(void)
{
	uint32_t status = NFS4_OK;

	for (int i = 0; i < 100 && status != E(STALE); i++) {
		on(P.file);
		op(OP_GETATTR);
		msg_u32(&M, 0);
		status = run();
	}
	assert_int_equal(status, E(STALE));
}

static void test_flag(void **state)
{
	on(P.root);
	put_open(1, 0, "o", "f");
	assert_int_equal(run_on(), NFS4_OK);
	ok(OP_OPEN);
	get_sid();
	xdr_get_fixed(&R, 20);
	assert_true(xdr_get_u32(&R) & 8);		/* RFC 8881 section 18.16.1 */
}

static void test_removed(void **state)
{
	struct sid one, two;
	uint32_t n;

	assert_int_equal(open_file(&S, 3, 0, "one", "f", &one), NFS4_OK);
	assert_int_equal(open_file(&S, 1, 0, "two", "f", &two), NFS4_OK);
	expect_holds(1);		/* once a file */
	assert_int_equal(remove_f(), NFS4_OK);
	assert_int_equal(links(&n), NFS4_OK);
	assert_int_equal(n, 0);
	assert_int_equal(read_f(&two), NFS4_OK);
	assert_int_equal(open_file(&S, 1, 0, "o", "f", &(struct sid){ 0 }), E(NOENT));
	on(P.file);					/* no way back */
	op(OP_SAVEFH);
	putfh(P.root);
	name_op(OP_LINK, "again");
	assert_int_equal(run_on(), E(STALE));
	assert_int_equal(close_f(&one), NFS4_OK);
	assert_int_equal(read_f(&two), NFS4_OK);
	assert_int_equal(close_f(&two), NFS4_OK);
	expect_holds(0);
	expect_stale();
}

static void test_replaced(void **state)
{
	struct sid sid, other;

	assert_int_equal(create4(NFS4_CREATE_GUARDED, 0, "g", -1, &other), NFS4_OK);
	assert_int_equal(open_file(&S, 1, 0, "o", "f", &sid), NFS4_OK);
	on(P.root);
	op(OP_SAVEFH);
	name_op(OP_RENAME, "g");
	msg_string(&M, "f");
	assert_int_equal(run_on(), NFS4_OK);
	assert_int_equal(read_f(&sid), NFS4_OK);
	assert_int_equal(close_f(&sid), NFS4_OK);
	expect_holds(1);		/* of what is called f now */
}

/* A client that is dropped lets go of all. */
static void test_dropped(void **state)
{
	struct sess other = new_client("other");
	struct sid sid;

	assert_int_equal(open_file(&other, 1, 1, "o", "f", &sid), NFS4_OK);
	assert_int_equal(remove_f(), NFS4_OK);
	nfs4_client_drop(state_now(), nfs4_client_find(state_now(), other.clientid));
	expect_holds(0);
	expect_stale();
}

static void test_no_memory(void **state)
{
	struct sid sid;

	if (P.ctl->real)
		return;
	P.ctl->fail_hold = -ENFILE;
	assert_int_equal(open_file(&S, 1, 0, "o", "f", &sid), E(DELAY));
	P.ctl->fail_hold = 0;
	assert_int_equal(state_now()->files.n, 0);
	assert_int_equal(state_now()->sids.n, 0);
	assert_int_equal(open_file(&S, 1, 0, "o", "f", &sid), NFS4_OK);
	assert_int_equal(close_f(&sid), NFS4_OK);
	expect_holds(0);
}

/* A server that ends lets go of nothing: clients come back for what they had open. */
static void test_restart(void **state)
{
	struct sid sid;
	uint32_t n;

	assert_int_equal(open_file(&S, 1, 0, "o", "f", &sid), NFS4_OK);
	assert_int_equal(remove_f(), NFS4_OK);
	proto_restart(&P);
	S = arrive("client", 1);
	assert_int_equal(links(&n), NFS4_OK);
	assert_int_equal(n, 0);
	assert_int_equal(reopen(&S, P.file, 1, 0, &sid), NFS4_OK);
	assert_int_equal(reclaim_complete(&S), NFS4_OK);
	proto_sleep(1000000000);
	assert_int_equal(read_f(&sid), NFS4_OK);
	assert_int_equal(close_f(&sid), NFS4_OK);
	expect_stale();
}

/* Version 3 knows of no grace period: what it removes stays for who may come back for it. */
static void test_removed_by_v3(void **state)
{
	struct sid sid;
	uint32_t n;

	assert_int_equal(open_file(&S, 1, 0, "o", "f", &sid), NFS4_OK);
	proto_restart(&P);
	S = arrive("client", 1);
	proto_head(&P, NFS_PROGRAM, 3, 12, &M);
	put_fh(&M, P.root);
	msg_string(&M, "f");
	assert_int_equal(nfs(), 0);
	assert_int_equal(links(&n), NFS4_OK);
	assert_int_equal(n, 0);
	assert_int_equal(reopen(&S, P.file, 1, 0, &sid), NFS4_OK);
	assert_int_equal(reclaim_complete(&S), NFS4_OK);
	proto_sleep(1000000000);
	assert_int_equal(read_f(&sid), NFS4_OK);
	assert_int_equal(close_f(&sid), NFS4_OK);
	expect_stale();
}

/* And when they don't, it goes. */
static void test_not_reclaimed(void **state)
{
	struct sid sid;

	assert_int_equal(open_file(&S, 1, 0, "o", "f", &sid), NFS4_OK);
	assert_int_equal(remove_f(), NFS4_OK);
	proto_restart(&P);
	S = new_client("client");
	expect_stale();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T4(test_flag), T4(test_removed), T4(test_replaced), T4(test_dropped),
		T4(test_no_memory), T4(test_restart), T4(test_removed_by_v3),
		T4(test_not_reclaimed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
