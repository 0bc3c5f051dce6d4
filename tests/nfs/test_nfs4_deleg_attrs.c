/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes of a file that somebody may write to on his own; and delegations of 4.0. */
#include "delegs.h"
#include "base/fiber.h"
#include "compound40.h"

static struct sid OPEN, D;		/* the holder's, for writing */
static struct got { uint64_t change, size, sec; uint32_t nsec; } BEFORE;

/* ---- asking -------------------------------------------------------------------------- */

static void put_getattr(struct sess *s)
{
	begin(2);
	seq(s);
	putfh(P.file);
	op(OP_GETATTR);
	msg_u32(&M, 2);
	msg_u32(&M, 1 << 3 | 1 << 4);		/* change, size */
	msg_u32(&M, 1 << (53 - 32));		/* time_modify */
}

static uint32_t take_getattr(struct got *ret)
{
	uint32_t status;

	ok_seq();
	ok(OP_PUTFH);
	status = res(OP_GETATTR);
	if (status)
		return status;
	xdr_get_fixed(&R, 16);
	ret->change = xdr_get_u64(&R);
	ret->size = xdr_get_u64(&R);
	ret->sec = xdr_get_u64(&R);
	ret->nsec = xdr_get_u32(&R);
	end_of_reply();
	return status;
}

static uint32_t attrs_of(struct sess *s, struct got *ret)
{
	put_getattr(s);
	run();
	return take_getattr(ret);
}

/* The holder answers CB_GETATTR with these. */
static void answer(uint64_t change, uint64_t size)
{
	static uint8_t buf[64];
	struct xdr_out out;

	xdr_out_init(&out, buf, sizeof(buf));
	xdr_put_u32(&out, 1);
	xdr_put_u32(&out, 1 << 3 | 1 << 4);
	xdr_put_u32(&out, 16);
	xdr_put_u64(&out, change);
	xdr_put_u64(&out, size);
	A.results = buf;
	A.results_len = xdr_out_len(&out);
}

static void expect_getattr(unsigned calls)
{
	struct xdr_in in;

	assert_int_equal(A.calls, calls);
	assert_int_equal(A.op, NFS4_CB_GETATTR);
	xdr_in_init(&in, A.args, A.args_len);
	assert_int_equal(xdr_get_u32(&in), HANDLE_BYTES);
	assert_memory_equal(xdr_get_fixed(&in, HANDLE_BYTES), P.file, HANDLE_BYTES);
	assert_int_equal(xdr_get_u32(&in), 1);
	assert_int_equal(xdr_get_u32(&in), 1 << 3 | 1 << 4);
	assert_int_equal(xdr_left(&in), 0);
}

static bool same(const struct got *a, const struct got *b)
{
	return a->change == b->change && a->size == b->size && a->sec == b->sec &&
	       a->nsec == b->nsec;
}

static int setup_writer(void **state)
{
	setup_delegs(state);
	D = get_deleg(3, NFS4_DELEG_WRITE, &OPEN);
	assert_int_equal(attrs_of(&HOLDER, &BEFORE), NFS4_OK);
	assert_int_equal(A.calls, 0);
	answer(BEFORE.change, BEFORE.size);
	return 0;
}
#define TW(x) cmocka_unit_test_setup_teardown(x, setup_writer, teardown_delegs)

/* ---- what others are told ------------------------------------------------------------ */

static void test_unchanged(void **state)
{
	struct got g;

	for (unsigned i = 1; i < 4; i++) {
		assert_int_equal(attrs_of(&OTHER, &g), NFS4_OK);
		expect_getattr(i);
		assert_true(same(&g, &BEFORE));
	}
	/* what nobody can change without the server is told without asking */
	begin(2);
	seq(&OTHER);
	putfh(P.file);
	op(OP_GETATTR);
	msg_u32(&M, 2);
	msg_u32(&M, 2);
	msg_u32(&M, 2);
	assert_int_equal(run(), NFS4_OK);
	assert_int_equal(A.calls, 3);
	/* the holder knows it himself */
	assert_int_equal(attrs_of(&HOLDER, &g), NFS4_OK);
	assert_int_equal(A.calls, 3);
}

static void test_changed(void **state)
{
	struct got g, h, own;

	proto_sleep(SEC);
	answer(BEFORE.change + 1, BEFORE.size + 5);
	assert_int_equal(attrs_of(&OTHER, &g), NFS4_OK);
	expect_getattr(1);
	assert_int_equal(g.size, BEFORE.size + 5);
	assert_true(g.change > BEFORE.change);
	assert_true(g.sec > BEFORE.sec || g.nsec > BEFORE.nsec);
	/* there may be more by now */
	assert_int_equal(attrs_of(&OTHER, &h), NFS4_OK);
	assert_true(h.change > g.change);
	/* only its size tells; or only its change attribute */
	answer(BEFORE.change + 1, BEFORE.size);
	assert_int_equal(attrs_of(&OTHER, &g), NFS4_OK);
	assert_true(g.change > h.change);
	answer(BEFORE.change, BEFORE.size + 7);
	assert_int_equal(attrs_of(&OTHER, &h), NFS4_OK);
	assert_int_equal(h.size, BEFORE.size + 7);
	/* what was written here is not lost sight of */
	answer(BEFORE.change + 1, 3);
	assert_int_equal(attrs_of(&OTHER, &h), NFS4_OK);
	assert_int_equal(h.size, BEFORE.size);
	/* the file itself is as it was */
	assert_int_equal(attrs_of(&HOLDER, &own), NFS4_OK);
	assert_int_equal(own.size, BEFORE.size);
	assert_int_equal(A.calls, 5);
	assert_int_equal(delegreturn(&HOLDER, &D), NFS4_OK);
	assert_int_equal(attrs_of(&OTHER, &g), NFS4_OK);
	assert_int_equal(g.size, BEFORE.size);
	assert_true(g.change >= h.change);
	assert_int_equal(A.calls, 5);
}

/* Its own WRITE is nothing that the server doesn't know. */
static void test_after_write(void **state)
{
	struct got own, g;

	assert_int_equal(sid_op(&HOLDER, OP_WRITE, P.file, &D), NFS4_OK);
	assert_int_equal(attrs_of(&HOLDER, &own), NFS4_OK);
	assert_true(own.change > BEFORE.change);
	assert_int_equal(attrs_of(&OTHER, &g), NFS4_OK);
	assert_true(same(&g, &own));
}

/* Nor is what the OPEN did that gave the delegation. */
static void test_truncating_open(void **state)
{
	struct got g;

	S = HOLDER;
	on(P.root);
	op(OP_OPEN);
	msg_u32(&M, 0);
	msg_u32(&M, 3);
	msg_u32(&M, 0);
	put_owner("o");
	msg_u32(&M, 1);
	msg_u32(&M, NFS4_CREATE_UNCHECKED);
	msg_u32(&M, 1);
	msg_u32(&M, 16);
	msg_u32(&M, 8);
	msg_u64(&M, 0);
	msg_u32(&M, 0);
	msg_string(&M, "f");
	assert_int_equal(run_on(), NFS4_OK);
	HOLDER = S;
	ok(OP_OPEN);
	get_open_head();
	assert_int_equal(get_offer().type, NFS4_DELEG_WRITE);
	assert_int_equal(attrs_of(&HOLDER, &BEFORE), NFS4_OK);
	assert_int_equal(BEFORE.size, 0);
	answer(BEFORE.change, 0);
	assert_int_equal(attrs_of(&OTHER, &g), NFS4_OK);
	expect_getattr(1);
	assert_true(same(&g, &BEFORE));
}

static void test_verify(void **state)
{
	for (int i = 0; i < 2; i++) {
		uint32_t status;

		answer(BEFORE.change, BEFORE.size + i);
		begin(2);
		seq(&OTHER);
		putfh(P.file);
		op(OP_VERIFY);
		msg_u32(&M, 1);
		msg_u32(&M, 1 << 4);
		msg_u32(&M, 8);
		msg_u64(&M, BEFORE.size);
		status = run();
		assert_int_equal(status, i ? E(NOT_SAME) : NFS4_OK);
		expect_getattr(i + 1);
	}
}

/* ---- who doesn't answer -------------------------------------------------------------- */

static void expect_recalled(unsigned calls)
{
	struct got g;

	proto_sleep(20 * SEC);
	expect_recall(&A, calls, &D, P.file);
	assert_int_equal(attrs_of(&OTHER, &g), E(DELAY));	/* nobody waits any more */
	assert_int_equal(A.calls, calls);
	assert_int_equal(delegreturn(&HOLDER, &D), NFS4_OK);
	assert_int_equal(attrs_of(&OTHER, &g), NFS4_OK);
	assert_true(same(&g, &BEFORE));
}

static void test_slow(void **state)
{
	uint64_t begun = loop_now_ns();
	struct got g;

	A.after_ns = SEC;
	assert_int_equal(attrs_of(&OTHER, &g), E(DELAY));
	assert_true(loop_now_ns() - begun < SEC / 5);
	A.after_ns = 0;
	expect_recalled(2);
}

static void test_refuses(void **state)
{
	struct got g;

	A.status = E(BADHANDLE);
	A.once = 1;
	assert_int_equal(attrs_of(&OTHER, &g), E(DELAY));
	expect_recalled(2);
}

/* What the writer has changed can't be noted at the file: so he must come with it, or lose it. */
static void test_readonly(void **state)
{
	struct got g;

	if (P.ctl->real)
		skip();
	answer(BEFORE.change + 1, BEFORE.size + 5);
	P.ctl->readonly = true;
	assert_int_equal(attrs_of(&OTHER, &g), E(DELAY));
	expect_recalled(2);
}

static void test_nonsense(void **state)
{
	static const uint8_t nonsense[][24] = {
		{ 0 }, { 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 8 },		/* nothing; no size */
		{ 0, 0, 0, 1, 0, 0, 0, 24, 0, 0, 0, 16 },		/* cut short */
		{ 255, 255, 255, 255 },
	};
	struct got g;

	for (int i = 0; i < 4; i++) {
		A.results = nonsense[i];
		A.results_len = i == 2 ? 12 : 24;
		assert_int_equal(attrs_of(&OTHER, &g), E(DELAY));
		answer(BEFORE.change, BEFORE.size);
		expect_recalled(2);
		state_now()->skew_ns += (NFS4_QUIET_S + 1) * SEC;
		A.calls = 0;
		D = get_deleg(3, NFS4_DELEG_WRITE, &OPEN);
	}
}

static void test_cut_off(void **state)
{
	struct got g;

	rpc_peer_cut(A.peer);
	assert_int_equal(attrs_of(&OTHER, &g), E(DELAY));
	assert_int_equal(A.calls, 0);
	LEASE_OVER();
	seq_flags(&OTHER);
	assert_int_equal(attrs_of(&OTHER, &g), E(DELAY));	/* it is expired, too */
	assert_int_equal(attrs_of(&OTHER, &g), NFS4_OK);
	assert_null(client_of(&HOLDER));
}

/* ---- at the same time ---------------------------------------------------------------- */

static struct sid to_return;

/* What happens while the client is asked. */
static int returns_meanwhile(void *arg, const struct rpc_request *q, void *buf, size_t cap,
			     size_t *ret_len)
{
	static struct msg m;
	uint8_t *r = NULL;
	size_t len;

	if (!q->proc)
		return 0;
	loop_sleep_ns(1000);
	proto_head(&P, NFS_PROGRAM, 4, 1, &m);
	msg_string(&m, "");
	msg_u32(&m, 2);
	msg_u32(&m, 3);
	msg_u32(&m, OP_SEQUENCE);
	msg_bytes(&m, HOLDER.id, 16);
	msg_u32(&m, ++HOLDER.seq);
	msg_u32(&m, 0);
	msg_u32(&m, 0);
	msg_u32(&m, 0);
	msg_u32(&m, OP_PUTFH);
	put_fh(&m, P.file);
	msg_u32(&m, OP_DELEGRETURN);
	msg_u32(&m, to_return.seqid);
	msg_bytes(&m, to_return.other, 12);
	assert_int_equal(rpc_serve(nfs_server_service(P.server), &P.peer, m.data, m.len, &r, &len),
			 0);
	free(r);
	msg_free(&m);
	loop_sleep_ns(1000);
	return -ECONNRESET;
}

static void test_returned_meanwhile(void **state)
{
	struct rpc_peer *p = rpc_peer_local(returns_meanwhile, NULL);
	struct got g;
	uint32_t dir;

	to_return = D;
	rpc_peer_cut(A.peer);
	rpc_peer_put(P.via);
	P.via = rpc_peer_get(p);
	assert_int_equal(bind_conn(&HOLDER, 2, &dir), NFS4_OK);
	called_use(&B);
	assert_int_equal(attrs_of(&OTHER, &g), NFS4_OK);
	assert_true(same(&g, &BEFORE));
	assert_int_equal(state_now()->ndelegs, 0);
	proto_sleep(SEC);
	rpc_peer_cut(p);
	rpc_peer_put(p);
}

static unsigned parallel_done;
static uint8_t *parallel_call;
static size_t parallel_len;

static void parallel_fiber(void *arg)
{
	uint8_t *r = NULL, *call = malloc(parallel_len);
	size_t len;

	memcpy(call, parallel_call, parallel_len);
	assert_int_equal(rpc_serve(nfs_server_service(P.server), &P.peer, call, parallel_len, &r,
				   &len), 0);
	assert_int_equal(get32(r + 24), NFS4_OK);
	free(r);
	free(call);
	parallel_done++;
}

static void spawn_parallel(void *arg)
{
	assert_int_equal(fiber_spawn(parallel_fiber, arg, "getattr"), 0);
}

/* Several who ask are one question. */
static void test_shared_answer(void **state)
{
	A.after_ns = SEC / 50;
	parallel_done = 0;
	for (uint32_t slot = 1; slot < 5; slot++) {
		struct sess s = OTHER;

		s.slot = slot;
		s.seq = 0;
		put_getattr(&s);
		parallel_call = M.data;
		parallel_len = M.len;
		proto_run(spawn_parallel, NULL);
	}
	proto_sleep(SEC);
	assert_int_equal(parallel_done, 4);
	assert_int_equal(A.calls, 1);
}

/* ---- 4.0 ----------------------------------------------------------------------------- */

static struct own V = { "v40", 0 };

/* A client of 4.0 that is called at A. */
static struct nfs4_client *new_v40(void)
{
	struct nfs4_client *c;

	V = (struct own){ "v40", 0 };
	C = client40("v40 client");
	c = nfs4_client_find(state_now(), C);
	c->cbs.path = (struct nfs4_cb_path){ .peer = rpc_peer_get(A.peer), .prog = 7, .ident = 99,
					     .up = true };
	return c;
}

static uint32_t open_v40(uint32_t access, struct sid *ret_open, struct offer *ret_offer)
{
	uint32_t status;

	on40(P.root);
	put_open40(&V, access, 0, "f");
	status = run_numbered(&V, OP_OPEN);
	if (!status) {
		*ret_open = get_open_head();
		*ret_offer = get_offer();
	}
	settle();
	return status;
}

static uint32_t op40(uint32_t num, const struct sid *sid)
{
	uint32_t status;

	on40(P.file);
	op(num);
	put_sid(sid);
	if (num == OP_READ) {
		msg_u64(&M, 0);
		msg_u32(&M, 10);
	}
	status = run40();
	assert_int_equal(res(num), status);
	settle();
	return status;
}

static uint32_t remove40(void)
{
	uint32_t status;

	on40(P.root);
	name_op(OP_REMOVE, "f");
	status = run40();
	assert_int_equal(res(OP_REMOVE), status);
	settle();
	return status;
}

static void test_v40(void **state)
{
	struct nfs4_client *c = new_v40();
	struct sid open;
	struct offer o;

	assert_int_equal(open_v40(1, &open, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_NONE);	/* the owner isn't confirmed yet */
	assert_int_equal(open_confirm(&V, P.file, &open), NFS4_OK);
	assert_int_equal(open_v40(1, &open, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_READ);
	assert_int_equal(op40(OP_READ, &o.id), NFS4_OK);
	/* nobody says who he is who removes it: he may be another */
	assert_int_equal(remove40(), E(DELAY));
	expect_recall(&A, 1, &o.id, P.file);
	assert_int_equal(A.minor, 0);
	assert_int_equal(A.ident, 99);
	assert_int_equal(op40(OP_DELEGRETURN, &o.id), NFS4_OK);
	assert_int_equal(op40(OP_DELEGRETURN, &o.id), E(BAD_STATEID));
	assert_int_equal(state_now()->ndelegs, 0);
	/* one that is revoked is gone; there are no words for it */
	state_now()->skew_ns += (NFS4_QUIET_S + 1) * SEC;
	assert_int_equal(open_v40(1, &open, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_READ);
	assert_int_equal(remove40(), E(DELAY));
	LEASE_OVER();
	c->renewed_ns = nfs4_now_ns(state_now());
	assert_int_equal(remove40(), NFS4_OK);
	assert_int_equal(op40(OP_READ, &o.id), E(BAD_STATEID));
	assert_int_equal(state_now()->ndelegs, 0);
}

static void test_v40_attrs(void **state)
{
	struct nfs4_client *c = new_v40();
	struct sid open;
	struct offer o;
	struct got g;

	assert_int_equal(open_v40(3, &open, &o), NFS4_OK);
	assert_int_equal(open_confirm(&V, P.file, &open), NFS4_OK);
	assert_int_equal(attrs_of(&OTHER, &BEFORE), NFS4_OK);
	assert_int_equal(open_v40(3, &open, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_WRITE);
	answer(BEFORE.change + 1, BEFORE.size + 1);
	assert_int_equal(attrs_of(&OTHER, &g), NFS4_OK);
	expect_getattr(1);
	assert_int_equal(A.minor, 0);
	assert_int_equal(g.size, BEFORE.size + 1);
	assert_true(c->ndelegs == 1);
	/* the way is lost: RENEW says so, as long as there is something to be recalled */
	A.err = -ECONNREFUSED;
	assert_int_equal(attrs_of(&OTHER, &g), E(DELAY));
	proto_sleep(SEC);
	assert_int_equal(renew(C), E(CB_PATH_DOWN));
	assert_int_equal(op40(OP_DELEGRETURN, &o.id), NFS4_OK);
	assert_int_equal(renew(C), NFS4_OK);
	/* and no other is given */
	state_now()->skew_ns += (NFS4_QUIET_S + 1) * SEC;
	assert_int_equal(open_v40(3, &open, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TW(test_unchanged), TW(test_changed), TW(test_after_write), TW(test_verify),
		TD(test_truncating_open),
		TW(test_slow), TW(test_refuses), TW(test_nonsense), TW(test_readonly), TW(test_cut_off),
		TW(test_returned_meanwhile), TW(test_shared_answer), TD(test_v40),
		TD(test_v40_attrs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
