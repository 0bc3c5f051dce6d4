/* SPDX-License-Identifier: Apache-2.0 */
/* Back channels: how they are made, lost and made again, and callbacks on them. */
#include "called.h"
#include "lockers.h"
#include "nfs/nfs4_notify.h"

static struct called A, B, C;
static struct sess SA;
static struct nfs4_client *CA;

static int setup_back(void **state)
{
	setup(state);
	called_init(&A);
	called_init(&B);
	called_init(&C);
	SA = new_called_client("client", 1, &A);
	CA = client_of(&SA);
	return 0;
}

static int teardown_back(void **state)
{
	teardown(state);
	called_done(&A);
	called_done(&B);
	called_done(&C);
	return 0;
}
#define TB(x) cmocka_unit_test_setup_teardown(x, setup_back, teardown_back)

/* ---- a callback of the test's own ---------------------------------------------------- */

struct probe {
	struct nfs4_cb cb;
	uint32_t word;
	unsigned done;
	int err;
	uint32_t status, result;
	uint64_t timeout_ns;
	bool urgent;
};

static void probe_encode(const struct nfs4_state *st, const struct nfs4_cb *cb, struct xdr_out *out)
{
	xdr_put_u32(out, container_of(cb, struct probe, cb)->word);
}

static void probe_done(struct nfs4_state *st, struct nfs4_cb *cb, int err, uint32_t status,
		       struct xdr_in *in)
{
	struct probe *p = container_of(cb, struct probe, cb);

	p->done++;
	p->err = err;
	p->status = err ? 0 : status;
	p->result = !err && xdr_left(in) >= 4 ? xdr_get_u32(in) : 0;
}

static bool probe_for_now(uint32_t status) { return status == E(BADHANDLE); }

static const struct nfs4_cb_kind probe_kind = { 4, 0, probe_encode, probe_done, probe_for_now };
static const struct nfs4_cb_kind new_kind = { 15, 2, probe_encode, probe_done, probe_for_now };
static const struct nfs4_cb_kind *kind = &probe_kind;
static struct nfs4_client *to;

static void send_fiber(void *arg)
{
	struct probe *p = arg;

	nfs4_cb_send(state_now(), to, &p->cb, kind, p->timeout_ns, p->urgent);
}

static void send_to(struct nfs4_client *c, struct probe *p, uint32_t word, uint64_t timeout_ns)
{
	*p = (struct probe){ .word = word, .timeout_ns = timeout_ns };
	to = c;
	proto_run(send_fiber, p);
}

static void cancel_fiber(void *arg) { nfs4_cb_cancel(&((struct probe *)arg)->cb); }

/* Sends one and expects that it went well. */
static void send_ok(struct called *c, uint32_t seq)
{
	static uint32_t word;
	unsigned calls = c->calls;
	struct probe p;

	send_to(CA, &p, ++word, SEC);
	settle();
	assert_int_equal(c->calls, calls + 1);
	assert_int_equal(c->op, 4);
	assert_int_equal(c->args_len, 4);
	assert_int_equal(get32(c->args), word);
	assert_int_equal(c->seq, seq);
	assert_int_equal(p.done, 1);
	assert_int_equal(p.err, 0);
	assert_int_equal(p.status, 0);
}

/* ---- making a back channel ----------------------------------------------------------- */

static void put_sec_sys(void)
{
	msg_u32(&M, 3);
	msg_u32(&M, 6);					/* RPCSEC_GSS: not for us */
	msg_u32(&M, 1);
	msg_string(&M, "ours");
	msg_string(&M, "theirs");
	msg_u32(&M, 1);
	msg_u32(&M, 12345);
	msg_string(&M, "machine");
	msg_u32(&M, 17);
	msg_u32(&M, 19);
	msg_u32(&M, 2);
	msg_u32(&M, 20);
	msg_u32(&M, 21);
	msg_u32(&M, 0);
}

static void put_sec_gss(void)
{
	msg_u32(&M, 1);
	msg_u32(&M, 6);
	msg_u32(&M, 1);
	msg_string(&M, "ours");
	msg_string(&M, "theirs");
}

static void put_sec_empty(void) { msg_u32(&M, 0); }

static void test_create(void **state)
{
	struct sess s = { 0 };
	uint32_t flags;

	assert_int_equal(A.nulls, 1);
	assert_int_equal(A.prog, CB_PROG);
	assert_int_equal(A.cred.flavor, RPC_AUTH_NONE);
	assert_true(nfs4_cb_works(CA));
	assert_int_equal(seq_flags(&SA), 0);
	for (uint32_t i = 1; i < 5; i++)
		send_ok(&A, i);
	assert_int_equal(A.minor, 1);
	assert_memory_equal(A.session, SA.id, 16);
	/* not asked for */
	called_use(&B);
	exchange("other", 1, 0, &s, &flags);
	assert_int_equal(create_back(2, &s, 0, put_sec_none, &flags), NFS4_OK);
	assert_int_equal(flags, 0);
	assert_int_equal(B.nulls, 0);
	assert_int_equal(seq_flags(&s), 0);
	assert_false(nfs4_cb_works(client_of(&s)));
	assert_int_equal(create_back(2, &s, BACK_CHAN, put_sec_sys, &flags), NFS4_OK);
	assert_int_equal(flags, BACK_CHAN);
	assert_int_equal(B.nulls, 1);
	assert_int_equal(B.cred.flavor, RPC_AUTH_SYS);
	assert_int_equal(B.cred.uid, 17);
	assert_int_equal(B.cred.gid, 19);
	assert_int_equal(B.cred.ngroups, 2);
	assert_int_equal(B.cred.groups[1], 21);
	CA = client_of(&s);
	send_ok(&B, 1);
	assert_int_equal(B.minor, 2);
	/* relied on once it has answered */
	called_use(&C);
	C.after_ns = SEC;
	exchange("third", 1, 0, &s, &flags);
	assert_int_equal(create_back(2, &s, BACK_CHAN, put_sec_none, &flags), NFS4_OK);
	assert_false(nfs4_cb_works(client_of(&s)));
	proto_sleep(2 * SEC);
	assert_true(nfs4_cb_works(client_of(&s)));
}

static void test_credentials(void **state)
{
	struct sess s = { 0 };
	uint32_t flags, dir;

	called_use(&B);
	exchange("other", 1, 0, &s, &flags);
	assert_int_equal(create_back(1, &s, BACK_CHAN, put_sec_gss, &flags), NFS4_OK);
	assert_int_equal(flags, 0);
	assert_int_equal(bind_conn(&s, 2, &dir), E(INVAL));
	assert_int_equal(bind_conn(&s, 3, &dir), NFS4_OK);
	assert_int_equal(dir, 1);
	assert_int_equal(B.nulls, 0);
	begin(1);
	seq(&s);
	op(OP_BACKCHANNEL_CTL);
	msg_u32(&M, CB_PROG + 1);
	put_sec_gss();
	assert_int_equal(run(), E(NOENT));
	begin(1);
	seq(&s);
	op(OP_BACKCHANNEL_CTL);
	msg_u32(&M, CB_PROG + 1);
	put_sec_empty();
	assert_int_equal(run(), NFS4_OK);
	assert_int_equal(bind_conn(&s, 2, &dir), NFS4_OK);
	assert_int_equal(dir, 2);
	assert_int_equal(B.nulls, 1);
	assert_int_equal(B.prog, CB_PROG + 1);
	/* another program has to be there before it is relied on */
	B.err = -EOPNOTSUPP;
	begin(1);
	seq(&s);
	op(OP_BACKCHANNEL_CTL);
	msg_u32(&M, CB_PROG + 2);
	put_sec_sys();
	assert_int_equal(run(), NFS4_OK);
	settle();
	assert_int_equal(B.nulls, 2);
	assert_int_equal(B.prog, CB_PROG + 2);
	assert_int_equal(B.cred.uid, 17);
	assert_false(nfs4_cb_works(client_of(&s)));
	assert_int_equal(seq_flags(&s), CB_PATH_DOWN | CB_PATH_DOWN_SESSION);
}

static void test_probe_fails(void **state)
{
	static const int errs[] = { -ETIMEDOUT, -ECONNRESET, -EOPNOTSUPP, -EACCES };
	struct sess s = { 0 };
	uint32_t flags, dir;

	for (int i = 0; i < 4; i++) {
		called_use(&B);
		B.err = errs[i];
		exchange("other", i, 0, &s, &flags);
		assert_int_equal(create_back(1, &s, BACK_CHAN, put_sec_none, &flags), NFS4_OK);
		assert_int_equal(flags, BACK_CHAN);
		assert_int_equal(B.nulls, i + 1);
		assert_false(nfs4_cb_works(client_of(&s)));
		assert_int_equal(seq_flags(&s), CB_PATH_DOWN | CB_PATH_DOWN_SESSION);
		called_use(&C);
		assert_int_equal(bind_conn(&s, 7, &dir), NFS4_OK);
		assert_int_equal(dir, 3);
		assert_true(nfs4_cb_works(client_of(&s)));
		assert_int_equal(seq_flags(&s), 0);
	}
}

/* ---- losing it ----------------------------------------------------------------------- */

/* There are too many calls, maybe of others on the same connection: that is no fault of the way's, and
 * a call that can't be made fails without any waiting. */
static void test_no_call_now(void **state)
{
	struct probe p;
	uint32_t dir;

	rpc_peer_cut(A.peer);
	B.err = -EBUSY;
	called_use(&B);
	assert_int_equal(bind_conn(&SA, 2, &dir), NFS4_OK);
	assert_false(nfs4_cb_works(CA));
	proto_sleep(10 * SEC);
	assert_in_range(B.nulls, 2, 110);
	send_to(CA, &p, 1, 5 * SEC);
	proto_sleep(4 * SEC);
	assert_int_equal(p.done, 0);
	proto_sleep(2 * SEC);
	assert_int_equal(p.done, 1);			/* its time is over all the same */
	assert_int_not_equal(p.err, 0);
	send_to(CA, &p, 2, 5 * SEC);
	proto_sleep(SEC);
	B.err = 0;
	proto_sleep(SEC);
	assert_int_equal(p.done, 1);
	assert_int_equal(p.err, 0);
	assert_true(nfs4_cb_works(CA));
}

static void test_path_down(void **state)
{
	struct sess second = { .clientid = SA.clientid, .create_seq = SA.create_seq };
	uint32_t flags, dir;

	rpc_peer_cut(A.peer);
	assert_int_equal(seq_flags(&SA), CB_PATH_DOWN | CB_PATH_DOWN_SESSION);
	assert_false(nfs4_cb_works(CA));
	called_use(&B);
	assert_int_equal(create_back(1, &second, BACK_CHAN, put_sec_none, &flags), NFS4_OK);
	assert_int_equal(seq_flags(&SA), CB_PATH_DOWN_SESSION);
	assert_int_equal(seq_flags(&second), 0);
	send_ok(&B, 1);
	assert_memory_equal(B.session, second.id, 16);
	called_use(&C);
	assert_int_equal(bind_conn(&SA, 2, &dir), NFS4_OK);
	assert_int_equal(seq_flags(&SA), 0);
	rpc_peer_cut(B.peer);
	assert_int_equal(seq_flags(&SA), 0);
	assert_int_equal(seq_flags(&second), CB_PATH_DOWN_SESSION);
	send_ok(&C, 1);
}

static void test_many_connections(void **state)
{
	static struct called many[2 * NFS4_BACK_CONNS_MAX];
	int n = 2 * NFS4_BACK_CONNS_MAX;
	uint32_t dir;

	for (int i = 0; i < n; i++) {
		called_init(&many[i]);
		called_use(&many[i]);
		assert_int_equal(bind_conn(&SA, 3, &dir), NFS4_OK);
		assert_int_equal(bind_conn(&SA, 2, &dir), NFS4_OK);	/* no second time */
	}
	/* the oldest had to go; of those that are left one after the other is used */
	for (int i = n - NFS4_BACK_CONNS_MAX; i < n; i++) {
		assert_int_equal(seq_flags(&SA), 0);
		settle();			/* it is tried by now, without being needed */
		assert_int_equal(many[i].nulls, 1);
		assert_true(nfs4_cb_works(CA));
		send_ok(&many[i], 1 + i - (n - NFS4_BACK_CONNS_MAX));
		assert_int_equal(many[i].nulls, 1);
		rpc_peer_cut(many[i].peer);
	}
	assert_int_equal(seq_flags(&SA), CB_PATH_DOWN | CB_PATH_DOWN_SESSION);
	assert_int_equal(A.calls, 0);
	for (int i = 0; i < n; i++)
		called_done(&many[i]);
}

/* The connection ends before the answer: the same request again, on another one. */
static void test_retry(void **state)
{
	struct probe p;
	uint32_t dir;

	send_ok(&A, 1);
	A.err = -ECONNRESET;
	send_to(CA, &p, 77, 60 * SEC);
	settle();
	assert_int_equal(A.calls, 2);
	assert_int_equal(p.done, 0);
	assert_int_equal(seq_flags(&SA), CB_PATH_DOWN | CB_PATH_DOWN_SESSION);
	proto_sleep(20 * SEC);
	assert_int_equal(p.done, 0);
	called_use(&B);
	assert_int_equal(bind_conn(&SA, 2, &dir), NFS4_OK);
	settle();
	assert_int_equal(B.nulls, 1);
	assert_int_equal(B.calls, 1);
	assert_int_equal(B.seq, 2);
	assert_int_equal(get32(B.args), 77);
	assert_int_equal(p.done, 1);
	assert_int_equal(p.err, 0);
	send_ok(&B, 3);
	/* it had been executed: that is all that the client can say */
	B.seq_status = E(RETRY_UNCACHED_REP);
	send_to(CA, &p, 78, SEC);
	settle();
	assert_int_equal(p.done, 1);
	assert_int_equal(p.err, 0);
	assert_int_equal(p.status, NFS4_OK);
	B.seq_status = 0;
	B.status = E(RETRY_UNCACHED_REP);
	send_to(CA, &p, 78, SEC);
	settle();
	assert_int_equal(p.done, 1);
	assert_int_equal(p.status, NFS4_OK);
	B.status = 0;
	send_ok(&B, 6);
}

static void test_given_up(void **state)
{
	struct probe p;
	uint32_t dir;

	A.err = -ETIMEDOUT;
	send_to(CA, &p, 77, 60 * SEC);
	proto_sleep(61 * SEC);
	assert_int_equal(A.calls, 1);			/* nobody bound another connection */
	assert_int_equal(p.done, 1);
	assert_true(p.err < 0);
	/* The client never saw it: the number is still to be used. */
	called_use(&B);
	bind_conn(&SA, 2, &dir);
	B.seq_status = E(SEQ_MISORDERED);
	B.once = 1;
	send_to(CA, &p, 78, 60 * SEC);
	settle();
	assert_int_equal(B.calls, 2);
	assert_int_equal(B.seq, 1);
	assert_int_equal(p.done, 1);
	assert_int_equal(p.err, 0);
	send_ok(&B, 2);
	/* The client did see it: the next one takes the next number. */
	B.err = -ETIMEDOUT;
	send_to(CA, &p, 79, SEC);
	proto_sleep(2 * SEC);
	assert_int_equal(p.done, 1);
	B.err = 0;
	bind_conn(&SA, 2, &dir);
	send_ok(&B, 4);
}

static void test_delay(void **state)
{
	struct probe p;

	A.seq_status = E(DELAY);
	A.once = 3;
	send_to(CA, &p, 5, 60 * SEC);
	settle();
	assert_int_equal(A.calls, 1);
	proto_sleep(10 * SEC);
	assert_int_equal(A.calls, 4);
	assert_int_equal(A.seq, 1);			/* it was not executed */
	assert_int_equal(p.done, 1);
	assert_int_equal(p.status, NFS4_OK);
	A.status = E(DELAY);
	A.once = 2;
	send_to(CA, &p, 5, 60 * SEC);
	proto_sleep(10 * SEC);
	assert_int_equal(A.calls, 7);
	assert_int_equal(A.seq, 4);
	assert_int_equal(p.done, 1);
	A.status = E(BADHANDLE);			/* the kind's own */
	send_to(CA, &p, 5, 5 * SEC);
	proto_sleep(10 * SEC);
	assert_true(A.calls > 8 && A.calls < 20);
	assert_int_equal(p.done, 1);
	assert_int_equal(p.err, 0);
	assert_int_equal(p.status, E(BADHANDLE));
	A.status = E(BAD_STATEID);			/* final */
	A.calls = 0;
	send_to(CA, &p, 5, 60 * SEC);
	settle();
	assert_int_equal(A.calls, 1);
	assert_int_equal(p.status, E(BAD_STATEID));
}

static void test_fault(void **state)
{
	static const uint32_t statuses[] = { E(BADSESSION), E(BADSLOT), E(SEQ_MISORDERED),
					     E(SEQ_FALSE_RETRY), E(BAD_HIGH_SLOT) };
	uint32_t flags, dir;
	struct probe p;

	for (int i = 0; i < 5; i++) {
		struct sess first, second;
		struct called a, b;

		called_init(&a);
		called_init(&b);
		first = new_called_client("faulty", 1, &a);
		second = first;
		called_use(&b);
		assert_int_equal(create_back(1, &second, BACK_CHAN, put_sec_none, &flags), NFS4_OK);
		a.seq_status = statuses[i];
		send_to(client_of(&first), &p, 9, 10 * SEC);
		settle();
		assert_int_equal(a.calls, 1);
		assert_int_equal(b.calls, 1);		/* the other session was as good */
		assert_int_equal(p.done, 1);
		assert_int_equal(p.err, 0);
		assert_int_equal(seq_flags(&first), CB_FAULT | CB_PATH_DOWN_SESSION);
		assert_int_equal(seq_flags(&second), 0);
		assert_int_equal(bind_conn(&first, 2, &dir), E(INVAL));
		begin(1);
		op(OP_DESTROY_SESSION);
		msg_bytes(&M, second.id, 16);
		assert_int_equal(run(), NFS4_OK);
		assert_int_equal(seq_flags(&first), CB_FAULT | CB_PATH_DOWN_SESSION | CB_PATH_DOWN);
		called_done(&a);
		called_done(&b);
		exchange("faulty", 2 + i, 0, &first, &flags);
		assert_int_equal(create_back(1, &first, 0, put_sec_none, &flags), NFS4_OK);
	}
}

/* ---- several callbacks --------------------------------------------------------------- */

static void test_queue(void **state)
{
	struct probe p[4];

	A.after_ns = SEC;
	for (int i = 0; i < 3; i++)
		send_to(CA, &p[i], i, 60 * SEC);
	p[3] = (struct probe){ .word = 3, .timeout_ns = 60 * SEC, .urgent = true };
	proto_run(send_fiber, &p[3]);
	for (unsigned n = 1; n <= 4; n++) {
		static const int order[] = { 0, 3, 1, 2 };

		proto_sleep(SEC);
		settle();
		assert_int_equal(A.calls, n);
		assert_int_equal(p[order[n - 1]].done, 1);
	}
	A.after_ns = 0;
	send_ok(&A, 5);
}

static void test_results(void **state)
{
	struct probe p;
	static const uint8_t word[] = { 0, 0, 1, 7 };

	A.results = word;
	A.results_len = 4;
	send_to(CA, &p, 1, SEC);
	settle();
	assert_int_equal(p.result, 263);
}

static void test_minor(void **state)
{
	struct sess s;
	struct probe p;

	kind = &new_kind;				/* of 4.2 */
	send_to(CA, &p, 1, SEC);
	proto_sleep(2 * SEC);
	assert_int_equal(p.done, 1);
	assert_true(p.err < 0);
	assert_int_equal(A.calls, 0);
	s = new_called_client("second", 2, &B);
	send_to(client_of(&s), &p, 1, SEC);
	settle();
	assert_int_equal(p.done, 1);
	assert_int_equal(p.err, 0);
	assert_int_equal(B.op, 15);
	assert_int_equal(B.minor, 2);
	kind = &probe_kind;
}

/* ---- what clients are told ----------------------------------------------------------- */

static uint32_t open_flags(struct sess *s, const char *owner, struct sid *ret)
{
	uint32_t flags;

	begin(2);
	seq(s);
	putfh(P.root);
	put_open(3, 0, owner, "f");
	assert_int_equal(run(), NFS4_OK);
	ok_seq();
	ok(OP_PUTFH);
	ok(OP_OPEN);
	*ret = get_sid();
	xdr_get_fixed(&R, 20);
	flags = xdr_get_u32(&R);
	return flags;
}

static void test_notify_lock(void **state)
{
	enum { MAY_NOTIFY = 0x20 };
	struct locker holder = { .name = "holder" }, waiter = { .name = "waiter" };
	struct sess other;
	struct xdr_in in;
	size_t bytes;

	other = new_client("other");
	assert_int_equal(open_flags(&other, "a", &holder.open) & MAY_NOTIFY, 0);
	assert_int_equal(open_flags(&SA, "b", &waiter.open) & MAY_NOTIFY, MAY_NOTIFY);
	assert_int_equal(lock(&other, &holder, NFS4_WRITE_LT, 0, 100), NFS4_OK);
	assert_int_equal(lock(&SA, &waiter, NFS4_WRITEW_LT, 50, 100), E(DENIED));
	assert_int_equal(unlock(&other, &holder, 0, 100), NFS4_OK);
	settle();
	assert_int_equal(A.calls, 1);
	assert_int_equal(A.op, NFS4_CB_NOTIFY_LOCK);
	xdr_in_init(&in, A.args, A.args_len);
	assert_int_equal(xdr_get_u32(&in), HANDLE_BYTES);
	assert_memory_equal(xdr_get_fixed(&in, HANDLE_BYTES), P.file, HANDLE_BYTES);
	assert_int_equal(xdr_get_u64(&in), SA.clientid);
	assert_int_equal(xdr_get_u32(&in), 6);
	assert_memory_equal(xdr_get_fixed(&in, 6), "waiter", 6);
	assert_int_equal(xdr_left(&in), 0);
	/* who can't be told isn't; nor whose queue is full */
	assert_int_equal(lock(&SA, &waiter, NFS4_WRITE_LT, 0, 100), NFS4_OK);
	assert_int_equal(lock(&other, &holder, NFS4_WRITEW_LT, 50, 100), E(DENIED));
	assert_int_equal(unlock(&SA, &waiter, 0, 100), NFS4_OK);
	settle();
	assert_int_equal(client_of(&other)->cbs.queued, 0);
	assert_int_equal(lock(&other, &holder, NFS4_WRITE_LT, 0, 100), NFS4_OK);
	assert_int_equal(lock(&SA, &waiter, NFS4_WRITEW_LT, 50, 100), E(DENIED));
	CA->cbs.queued += NFS4_CB_QUEUE_MAX;
	assert_int_equal(unlock(&other, &holder, 0, 100), NFS4_OK);
	settle();
	CA->cbs.queued -= NFS4_CB_QUEUE_MAX;
	assert_int_equal(A.calls, 1);
	/* nor where there is no memory left for state: a notice counts as that, as long as there is one */
	for (int full = 0; full < 2; full++) {
		assert_int_equal(lock(&other, &holder, NFS4_WRITE_LT, 0, 100), NFS4_OK);
		bytes = state_now()->bytes;
		assert_int_equal(lock(&SA, &waiter, NFS4_WRITEW_LT, 50, 100), E(DENIED));
		state_now()->bytes_max = full ? 0 : NFS4_STATE_BYTES;
		assert_int_equal(unlock(&other, &holder, 0, 100), NFS4_OK);
		settle();
		state_now()->bytes_max = NFS4_STATE_BYTES;
		assert_int_equal(A.calls, 2);
		assert_true(state_now()->bytes <= bytes);
	}
}

static struct nfs4_offload offload;
static bool offload_told, offload_ret;
static unsigned offloads;

static void offload_done(void *arg, bool told)
{
	assert_ptr_equal(arg, &offload);
	offloads++;
	offload_told = told;
}

static void offload_fiber(void *arg) { offload_ret = nfs4_tell_offload(state_now(), arg, &offload); }

static void test_offload(void **state)
{
	static const uint8_t key[] = "0123456789abcde";
	struct sess s = new_called_client("new", 2, &B);
	struct nfs4_client *c = client_of(&s);
	struct xdr_in in;

	offloads = 0;
	offload = (struct nfs4_offload){ .id = { 1, 2, 3 }, .bytes = 4096, .committed = 2,
					 .verifier = 9, .done = offload_done, .arg = &offload };
	assert_int_equal(handle_read(key, P.file, HANDLE_BYTES, &offload.dst), 0);
	proto_run(offload_fiber, c);
	settle();
	assert_true(offload_ret && offload_told);
	assert_int_equal(B.op, NFS4_CB_OFFLOAD);
	xdr_in_init(&in, B.args, B.args_len);
	assert_int_equal(xdr_get_u32(&in), HANDLE_BYTES);
	assert_memory_equal(xdr_get_fixed(&in, HANDLE_BYTES), P.file, HANDLE_BYTES);
	xdr_get_fixed(&in, 16);
	assert_int_equal(xdr_get_u32(&in), NFS4_OK);
	assert_int_equal(xdr_get_u32(&in), 0);
	assert_int_equal(xdr_get_u64(&in), 4096);
	assert_int_equal(xdr_get_u32(&in), 2);
	assert_int_equal(xdr_get_u64(&in), 9);
	assert_int_equal(xdr_left(&in), 0);
	/* a failed one, to somebody who can't be reached in time */
	offload.status = E(NOSPC);
	B.status = E(DELAY);
	proto_run(offload_fiber, c);
	settle();
	xdr_in_init(&in, B.args, B.args_len);
	xdr_get_fixed(&in, 4 + HANDLE_BYTES + 16);
	assert_int_equal(xdr_get_u32(&in), E(NOSPC));
	assert_int_equal(xdr_get_u64(&in), 4096);
	assert_int_equal(xdr_left(&in), 0);
	assert_int_equal(offloads, 1);
	B.err = -ECONNRESET;
	proto_sleep(200 * SEC);
	assert_int_equal(offloads, 2);
	assert_false(offload_told);
	CA->cbs.queued += NFS4_CB_QUEUE_MAX;
	proto_run(offload_fiber, CA);
	CA->cbs.queued -= NFS4_CB_QUEUE_MAX;
	assert_false(offload_ret);
}

/* ---- what ends one ------------------------------------------------------------------- */

static void test_cancel(void **state)
{
	struct probe p, q;

	A.after_ns = SEC;
	send_to(CA, &p, 1, 60 * SEC);
	send_to(CA, &q, 2, 60 * SEC);
	settle();
	assert_int_equal(get32(A.args), 1);
	proto_run(cancel_fiber, &q);
	proto_run(cancel_fiber, &p);
	proto_run(cancel_fiber, &p);			/* does nothing */
	proto_sleep(5 * SEC);
	assert_int_equal(A.calls, 1);
	assert_int_equal(p.done + q.done, 0);
	A.after_ns = 0;
	send_ok(&A, 2);
	A.err = -ETIMEDOUT;				/* while it is to be tried again */
	send_to(CA, &p, 1, 60 * SEC);
	settle();
	proto_run(cancel_fiber, &p);
	proto_sleep(70 * SEC);
	assert_int_equal(p.done, 0);
	assert_false(CA->cbs.running);
}

static void test_client_goes(void **state)
{
	struct probe p, q;
	struct sess s;
	uint32_t flags;

	A.after_ns = 5 * SEC;
	send_to(CA, &p, 1, 60 * SEC);
	send_to(CA, &q, 2, 60 * SEC);
	settle();
	exchange("client", 2, 0, &s, &flags);		/* it has rebooted */
	called_use(&B);
	assert_int_equal(create_back(1, &s, 0, put_sec_none, &flags), NFS4_OK);
	assert_int_equal(p.done, 1);
	assert_int_equal(p.err, -ECONNRESET);
	assert_int_equal(q.done, 1);
	proto_sleep(10 * SEC);
	assert_int_equal(A.calls, 1);
	assert_int_equal(state_now()->nsenders, 0);
}

static void test_session_goes(void **state)
{
	struct sess s = { .clientid = SA.clientid, .create_seq = SA.create_seq };
	struct probe p;
	uint32_t flags;

	A.after_ns = 5 * SEC;
	send_to(CA, &p, 1, 60 * SEC);
	settle();
	begin(1);
	op(OP_DESTROY_SESSION);
	msg_bytes(&M, SA.id, 16);
	assert_int_equal(run(), NFS4_OK);
	proto_sleep(6 * SEC);
	assert_int_equal(A.calls, 1);
	assert_int_equal(p.done, 1);			/* the answer came nevertheless */
	assert_int_equal(p.err, 0);
	send_to(CA, &p, 2, 60 * SEC);
	settle();
	assert_int_equal(p.done, 0);
	called_use(&B);
	assert_int_equal(create_back(1, &s, BACK_CHAN, put_sec_none, &flags), NFS4_OK);
	assert_int_equal(p.done, 1);
	assert_int_equal(B.calls, 1);
	assert_int_equal(B.seq, 1);
}

static void test_stop(void **state)
{
	struct probe p, q;

	A.err = -ETIMEDOUT;
	send_to(CA, &p, 1, 3600 * SEC);
	send_to(CA, &q, 2, 3600 * SEC);
	settle();
	proto_restart(&P);				/* doesn't wait for that hour */
	assert_int_equal(p.done + q.done, 2);
}

/* ---- 4.0 ----------------------------------------------------------------------------- */

static void test_v40(void **state)
{
	struct nfs4_cb_path *path = &CA->cbs.path;
	struct probe p;

	/* as nfs4_cb_address() would, but for the connection */
	*path = (struct nfs4_cb_path){ .peer = rpc_peer_get(B.peer), .prog = 7, .ident = 99 };
	assert_false(nfs4_cb_works(CA));
	send_to(CA, &p, 5, SEC);
	settle();
	assert_int_equal(B.nulls, 1);
	assert_int_equal(B.calls, 1);
	assert_int_equal(B.prog, 7);
	assert_int_equal(B.minor, 0);
	assert_int_equal(B.ident, 99);
	assert_int_equal(get32(B.args), 5);
	assert_int_equal(p.done, 1);
	assert_int_equal(p.err, 0);
	assert_true(nfs4_cb_works(CA));
	assert_false(nfs4_cb_path_down(CA));
	B.err = -ECONNREFUSED;
	send_to(CA, &p, 6, 60 * SEC);
	proto_sleep(10 * SEC);
	assert_true(nfs4_cb_path_down(CA));
	assert_false(nfs4_cb_works(CA));
	assert_int_equal(p.done, 0);
	B.err = 0;					/* it is back */
	proto_sleep(3 * SEC);
	assert_int_equal(p.done, 1);
	assert_int_equal(p.err, 0);
	assert_false(nfs4_cb_path_down(CA));
	B.status = E(DELAY);
	B.once = 2;
	send_to(CA, &p, 7, 60 * SEC);
	proto_sleep(3 * SEC);
	assert_int_equal(p.done, 1);
	assert_int_equal(p.status, NFS4_OK);
	kind = &new_kind;				/* nothing of 4.0 */
	send_to(CA, &p, 8, 60 * SEC);
	settle();
	kind = &probe_kind;
	assert_int_equal(p.done, 1);
	assert_int_equal(p.err, -EOPNOTSUPP);
	assert_int_equal(A.calls, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TB(test_create), TB(test_credentials), TB(test_probe_fails), TB(test_no_call_now),
		TB(test_path_down),
		TB(test_many_connections), TB(test_retry), TB(test_given_up), TB(test_delay),
		TB(test_fault), TB(test_queue), TB(test_results), TB(test_minor),
		TB(test_notify_lock), TB(test_offload), TB(test_cancel),
		TB(test_client_goes), TB(test_session_goes), TB(test_stop), TB(test_v40),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
