/* SPDX-License-Identifier: Apache-2.0 */
/* NFSv4.0's requests that are under way at the same time: an owner's wait for each other. */
#include "base/loop.h"
#include "compound40.h"
#include "nfs/nfs4_v40.h"

#define N 4
#define DELAY_MS 100

static struct msg calls[N];
static uint8_t *replies[N];
static size_t lens[N];
static struct own O = { "o", 0 };
static struct sid OPEN;

static int setup_turns(void **state)
{
	setup40(state);
	O.seqid = 0;
	assert_int_equal(open40(&O, 1, 0, "f", &OPEN), NFS4_OK);
	P.ctl->changes = 0;
	P.ctl->delay_ms = DELAY_MS;
	return 0;
}

static void forget(void)
{
	for (int i = 0; i < N; i++) {
		msg_free(&calls[i]);
		free(replies[i]);
		replies[i] = NULL;
	}
}

static int teardown_turns(void **state)
{
	forget();
	return teardown(state);
}

#define TT(x) cmocka_unit_test_setup_teardown(x, setup_turns, teardown_turns)

/* M becomes call I. */
static void keep_call(unsigned i)
{
	calls[i] = M;
	M = (struct msg){ 0 };
}

static void read_now(void *arg)
{
	*(uint64_t *)arg = loop_now_ns();
}

/* Sends the first COUNT calls at once; how long they took, in DELAY_MS. */
static unsigned at_once(unsigned count)
{
	uint64_t before, after;

	proto_run(read_now, &before);
	proto_serve_all(&P, calls, count, replies, lens);
	proto_run(read_now, &after);
	return (after - before + 1000000) / (DELAY_MS * 1000000ull);
}

/* R is at the results of reply I, after COMPOUND's own; its status. */
static uint32_t look_at(unsigned i)
{
	uint32_t status;

	assert_non_null(replies[i]);
	xdr_in_init(&R, replies[i], lens[i]);
	xdr_get_fixed(&R, 24);
	status = xdr_get_u32(&R);
	xdr_get_opaque(&R, 1024);
	xdr_get_u32(&R);
	return status;
}

/* The same request by several calls, as from a client that lost its connection. */
static void test_same(void **state)
{
	for (unsigned i = 0; i < N; i++) {
		on40(P.root);
		put_create40(&O, NFS4_CREATE_GUARDED, 0, "new");
		op(OP_GETFH);
		keep_call(i);
	}
	assert_int_equal(at_once(N), 1);
	assert_int_equal(P.ctl->changes, 1);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(look_at(i), NFS4_OK);
		assert_int_equal(lens[i], lens[0]);
		assert_memory_equal(replies[i] + 4, replies[0] + 4, lens[0] - 4);
	}
}

/* One that has no number of an owner: the very same call. */
static void test_same_call(void **state)
{
	uint32_t xid = P.xid;

	for (unsigned i = 0; i < N; i++) {
		P.xid = xid;
		on40(P.root);
		op(OP_CREATE);
		msg_u32(&M, FS_DIR);
		msg_string(&M, "new");
		put_mode(0700);
		keep_call(i);
	}
	assert_int_equal(at_once(N), 1);
	assert_int_equal(P.ctl->changes, 1);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(look_at(i), NFS4_OK);
}

static void test_one_after_the_other(void **state)
{
	char name[8];

	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "new%u", i);
		on40(P.root);
		put_create40(&O, NFS4_CREATE_GUARDED, 0, name);
		O.seqid++;
		keep_call(i);
	}
	assert_int_equal(at_once(N), N);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(look_at(i), NFS4_OK);
	assert_int_equal(P.ctl->changes, N);
}

/* Owners don't wait for each other. */
static void test_owners(void **state)
{
	struct own o[N] = { { "a1", 1 }, { "a2", 2 }, { "a3", 3 }, { "a4", 4 } };

	for (unsigned i = 0; i < N; i++) {
		on40(P.root);
		put_create40(&o[i], NFS4_CREATE_GUARDED, 0, o[i].name);
		keep_call(i);
	}
	assert_int_equal(at_once(N), 1);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(look_at(i), NFS4_OK);
}

/* The client starts again while its old requests are still under way. */
static void test_client_goes(void **state)
{
	uint64_t c, t;

	assert_int_equal(setclientid("client", 2, "tcp", "", &c, &t), NFS4_OK);
	for (unsigned i = 0; i < 2; i++) {
		on40(P.root);
		put_create40(&O, NFS4_CREATE_UNCHECKED, 0, i ? "b" : "a");
		O.seqid++;
		keep_call(i);
	}
	begin(0);
	op(OP_SETCLIENTID_CONFIRM);
	msg_u64(&M, c);
	msg_u64(&M, t);
	keep_call(2);
	at_once(3);
	assert_int_equal(look_at(0), E(EXPIRED));
	assert_int_equal(look_at(1), E(EXPIRED));
	assert_int_equal(look_at(2), NFS4_OK);
	assert_int_equal(state_now()->owners.n, 0);
	assert_int_equal(state_now()->nidle_owners, 0);
	assert_int_equal(state_now()->sids.n, 0);
	assert_int_equal(state_now()->clients.n, 1);
	on40(P.root);			/* the second didn't begin */
	name_op(OP_LOOKUP, "b");
	assert_int_equal(run40(), E(NOENT));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TT(test_same), TT(test_same_call), TT(test_one_after_the_other), TT(test_owners),
		TT(test_client_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
