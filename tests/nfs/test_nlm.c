/* SPDX-License-Identifier: Apache-2.0 */
/* NLM and NSM in process, alone and against NFSv4's locks and opens. */
#include "base/loop.h"
#include "lockers.h"
#include "nfs/nlm.h"

static int fail_alloc;			/* the N'th allocation from now on fails; below 1: it did */

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return fail_alloc && !--fail_alloc ? (fail_alloc = -1000000, NULL) : __real_calloc(n, size);
}

enum { FH_FILE, FH_DIR, FH_LINK, FH_GONE, FH_GARBAGE, FH_SHORT };

/* A process on a host. */
struct proc_id { unsigned host; const char *name; int svid; };

static const struct proc_id A = { 1, "alpha", 100 }, A2 = { 1, "alpha", 101 };
static const struct proc_id B = { 2, "beta", 100 }, B2 = { 2, "beta", 7 };
static uint8_t gone[HANDLE_BYTES];
static const uint8_t *which;		/* the file of the calls; NULL: "f" */
static uint32_t which_len = HANDLE_BYTES;

static struct nlm_state *nlm(void) { return P.server->nlm; }

/* ---- calls --------------------------------------------------------------------------- */

static void come_from(const struct proc_id *who)
{
	P.peer = (struct rpc_addr){ .ip = { [10] = 0xff, 0xff, 10, 0, 0, who->host }, .port = 700 };
}

static void begin_nlm(const struct proc_id *who, uint32_t proc)
{
	come_from(who);
	proto_head(&P, NLM_PROGRAM, 4, proc, &M);
	msg_string(&M, "cookie");
}

static void put_lock(const struct proc_id *who, uint64_t offset, uint64_t len)
{
	char oh[40];

	snprintf(oh, sizeof(oh), "%d@%s", who->svid, who->name);
	msg_string(&M, who->name);
	msg_opaque(&M, which ? which : P.file, which_len);
	msg_string(&M, oh);
	msg_u32(&M, who->svid);
	msg_u64(&M, offset);
	msg_u64(&M, len);
}

static void put_call(const struct proc_id *who, uint32_t proc, bool block, bool exclusive,
		     uint64_t offset, uint64_t len, bool reclaim)
{
	begin_nlm(who, proc);
	switch (proc) {
	case NLM_PROC_LOCK: case NLM_PROC_LOCK_MSG: case NLM_PROC_NM_LOCK:
	case NLM_PROC_CANCEL: case NLM_PROC_CANCEL_MSG:
		msg_u32(&M, block);
		/* fall through */
	case NLM_PROC_TEST: case NLM_PROC_TEST_MSG:
		msg_u32(&M, exclusive);
	}
	put_lock(who, offset, len);
	if (proc == NLM_PROC_LOCK || proc == NLM_PROC_LOCK_MSG || proc == NLM_PROC_NM_LOCK) {
		msg_u32(&M, reclaim);
		msg_u32(&M, 3);
	}
}

/* Its status; R is behind it. */
static uint32_t run_nlm(void)
{
	struct xdr_bytes cookie;

	assert_int_equal(serve(), RPC_SUCCESS);
	cookie = xdr_get_opaque(&R, 1024);
	assert_int_equal(cookie.len, 6);
	assert_memory_equal(cookie.s, "cookie", 6);
	return xdr_get_u32(&R);
}

static uint32_t call_nlm(const struct proc_id *who, uint32_t proc, bool block, bool exclusive,
			 uint64_t offset, uint64_t len)
{
	uint32_t stat;

	put_call(who, proc, block, exclusive, offset, len, false);
	stat = run_nlm();
	if (proc != NLM_PROC_TEST || stat != NLM_DENIED)
		end_of_reply();
	return stat;
}

static uint32_t nlm_lock(const struct proc_id *who, bool exclusive, uint64_t offset, uint64_t len)
{
	return call_nlm(who, NLM_PROC_LOCK, false, exclusive, offset, len);
}

static uint32_t nlm_wait(const struct proc_id *who, bool exclusive, uint64_t offset, uint64_t len)
{
	return call_nlm(who, NLM_PROC_LOCK, true, exclusive, offset, len);
}

static uint32_t nlm_test(const struct proc_id *who, bool exclusive, uint64_t offset, uint64_t len)
{
	return call_nlm(who, NLM_PROC_TEST, false, exclusive, offset, len);
}

static uint32_t nlm_unlock(const struct proc_id *who, uint64_t offset, uint64_t len)
{
	return call_nlm(who, NLM_PROC_UNLOCK, false, false, offset, len);
}

static uint32_t nlm_cancel(const struct proc_id *who, bool exclusive, uint64_t offset, uint64_t len)
{
	return call_nlm(who, NLM_PROC_CANCEL, true, exclusive, offset, len);
}

static uint32_t share(const struct proc_id *who, uint32_t proc, uint32_t access, uint32_t mode)
{
	uint32_t stat;

	begin_nlm(who, proc);
	msg_string(&M, who->name);
	msg_opaque(&M, which ? which : P.file, which_len);
	msg_string(&M, who->svid == 100 ? "first" : "second");
	msg_u32(&M, mode);
	msg_u32(&M, access);
	msg_u32(&M, 0);
	stat = run_nlm();
	assert_int_equal(xdr_get_u32(&R), 0);
	end_of_reply();
	return stat;
}

/* The holder that a denied TEST tells of. */
static void expect_holder(bool exclusive, int svid, const char *oh, uint64_t offset, uint64_t len)
{
	struct xdr_bytes b;

	assert_int_equal(xdr_get_u32(&R), exclusive);
	assert_int_equal(xdr_get_u32(&R), svid);
	b = xdr_get_opaque(&R, 1024);
	assert_int_equal(b.len, strlen(oh));
	assert_memory_equal(b.s, oh, b.len);
	assert_true(xdr_get_u64(&R) == offset);
	assert_true(xdr_get_u64(&R) == len);
	end_of_reply();
}

/* ---- calls to clients ---------------------------------------------------------------- */

static struct {
	unsigned n;			/* calls so far */
	int err;			/* what becomes of them */
	uint32_t stat;			/* and their answer */
	uint64_t delay_ns;
	/* the last one */
	uint32_t proc, svid, result;
	unsigned host, hosts;		/* hosts: that were told of a restart, as bits */
	bool exclusive;
	uint64_t offset, len;
} called;

static void take_granted(const struct rpc_request *q)
{
	struct xdr_in in;

	xdr_in_init(&in, q->args, q->args_len);
	xdr_get_opaque(&in, 1024);
	if (q->proc == NLM_PROC_GRANTED) {
		struct xdr_bytes fh;

		called.exclusive = xdr_get_bool(&in);
		xdr_get_opaque(&in, 1024);
		fh = xdr_get_opaque(&in, 64);
		assert_int_equal(fh.len, HANDLE_BYTES);
		assert_memory_equal(fh.s, P.file, HANDLE_BYTES);
		xdr_get_opaque(&in, 1024);
		called.svid = xdr_get_u32(&in);
		called.offset = xdr_get_u64(&in);
		called.len = xdr_get_u64(&in);
	} else {
		called.result = xdr_get_u32(&in);
		if (q->proc == NLM_PROC_TEST_RES && called.result == NLM_DENIED) {
			xdr_get_u64(&in);
			xdr_get_opaque(&in, 1024);
			xdr_get_u64(&in);
			xdr_get_u64(&in);
		}
	}
	assert_false(in.bad);
	assert_int_equal(xdr_left(&in), 0);
}

/* Of a restart: by the address that the client came to, which is his own here. */
static void take_notice(const struct rpc_request *q, const struct rpc_addr *from)
{
	char name[RPC_ADDR_TEXT];
	struct xdr_bytes b;
	struct xdr_in in;

	assert_int_equal(q->vers, 1);
	assert_int_equal(q->proc, 6);
	rpc_addr_text(from, name);
	xdr_in_init(&in, q->args, q->args_len);
	b = xdr_get_opaque(&in, 1024);
	assert_int_equal(b.len, strlen(name));
	assert_memory_equal(b.s, name, b.len);
	assert_int_equal(xdr_get_u32(&in), nlm()->nsm_state);
	assert_false(in.bad);
	called.hosts |= 1u << called.host;
}

static int client(struct nlm_state *n, const struct rpc_addr *to, const struct rpc_addr *from,
		  struct host_way *way, const struct rpc_request *q, void *buf, size_t cap,
		  size_t *ret_len)
{
	struct xdr_out out;

	called.n++;
	called.proc = q->proc;
	called.host = to->ip[15];
	if (q->prog == NSM_PROGRAM) {
		take_notice(q, from);
		*ret_len = 0;
		return called.err;
	}
	assert_int_equal(q->prog, NLM_PROGRAM);
	assert_int_equal(q->vers, 4);
	take_granted(q);
	if (called.delay_ns)
		loop_sleep_ns(called.delay_ns);
	xdr_out_init(&out, buf, cap);
	if (q->proc == NLM_PROC_GRANTED) {
		xdr_put_string(&out, "abc");
		xdr_put_u32(&out, called.stat);
	}
	*ret_len = xdr_out_len(&out);
	return called.err;
}

static void let_call(void) { proto_sleep(1000000); }

static int setup_nlm(void **state)
{
	struct sid sid;

	memset(&called, 0, sizeof(called));
	which = NULL;
	which_len = HANDLE_BYTES;
	setup4(state);
	nlm()->call = client;
	proto_set_exports(&P, 1, "* rw no_root_squash");
	assert_int_equal(create4(NFS4_CREATE_GUARDED, 0, "gone", -1, &sid), NFS4_OK);
	return 0;
}

#define TN(x) cmocka_unit_test_setup_teardown(x, setup_nlm, teardown)

/* ---- locks --------------------------------------------------------------------------- */

static void test_locks(void **state)
{
	assert_int_equal(nlm_lock(&A, true, 100, 100), NLM_GRANTED);
	assert_int_equal(nlm_lock(&A, true, 100, 100), NLM_GRANTED);	/* again */
	assert_int_equal(nlm_lock(&B, false, 150, 1), NLM_DENIED);
	assert_int_equal(nlm_lock(&A2, false, 150, 1), NLM_DENIED);
	assert_int_equal(nlm_test(&A, true, 0, 0), NLM_GRANTED);
	assert_int_equal(nlm_test(&B, false, 0, 0), NLM_DENIED);
	expect_holder(true, 100, "100@alpha", 100, 100);
	assert_int_equal(nlm_lock(&B, false, 200, 0), NLM_GRANTED);	/* to the end */
	assert_int_equal(nlm_lock(&A2, false, 1000, 1), NLM_GRANTED);	/* shared */
	assert_int_equal(nlm_lock(&A, true, UINT64_MAX, 1), NLM_DENIED);
	assert_int_equal(nlm_test(&A, true, 250, 10), NLM_DENIED);
	expect_holder(false, 100, "100@beta", 200, 0);
	/* the middle is unlocked, then made shared */
	assert_int_equal(nlm_unlock(&A, 120, 10), NLM_GRANTED);
	assert_int_equal(nlm_lock(&B, true, 120, 10), NLM_GRANTED);
	assert_int_equal(nlm_lock(&B, true, 119, 1), NLM_DENIED);
	assert_int_equal(nlm_lock(&A, false, 110, 5), NLM_GRANTED);
	assert_int_equal(nlm_lock(&B, false, 110, 5), NLM_GRANTED);
	/* what isn't locked may be unlocked */
	assert_int_equal(nlm_unlock(&A, 500, 10), NLM_GRANTED);
	assert_int_equal(nlm_unlock(&B2, 0, 0), NLM_GRANTED);
	assert_int_equal(nlm_unlock(&A, 0, 0), NLM_GRANTED);
	assert_int_equal(nlm_unlock(&A2, 0, 0), NLM_GRANTED);
	assert_int_equal(nlm_unlock(&B, 0, 0), NLM_GRANTED);
	assert_int_equal(nlm()->lockers.n, 0);
	assert_int_equal(state_now()->ranges.used, 0);
	assert_int_equal(state_now()->files.n, 1);		/* "gone" is open */
}

/* Each procedure with each thing that is wrong. */
static void test_illegal(void **state)
{
	static const uint32_t all[] = { NLM_PROC_TEST, NLM_PROC_LOCK, NLM_PROC_NM_LOCK,
					NLM_PROC_CANCEL, NLM_PROC_UNLOCK };
	static const struct { int fh; unsigned uid; uint64_t off, len; uint32_t gives, takes; } t[] = {
		{ FH_GARBAGE, 0, 0, 1, NLM_STALE_FH, NLM_STALE_FH },
		{ FH_SHORT, 0, 0, 1, NLM_STALE_FH, NLM_STALE_FH },
		{ FH_GONE, 0, 0, 1, NLM_STALE_FH, NLM_GRANTED },
		{ FH_DIR, 0, 0, 1, NLM_FAILED, NLM_GRANTED },
		{ FH_LINK, 0, 0, 1, NLM_FAILED, NLM_GRANTED },
		{ FH_FILE, 77, 0, 1, NLM_FAILED, NLM_GRANTED },
		{ FH_FILE, 0, 1, UINT64_MAX, NLM_GRANTED, NLM_GRANTED },
		{ FH_FILE, 0, 2, UINT64_MAX, NLM_FBIG, NLM_FBIG },
		{ FH_FILE, 0, UINT64_MAX, 2, NLM_FBIG, NLM_FBIG },
		{ FH_FILE, 0, UINT64_MAX, 1, NLM_GRANTED, NLM_GRANTED },
	};
	const uint8_t garbage[HANDLE_BYTES] = { 1 };
	const uint8_t *fhs[] = { P.file, P.dir, P.link, gone, garbage, P.file };

	on(P.root);
	op(OP_LOOKUP);
	msg_string(&M, "gone");
	op(OP_GETFH);
	assert_int_equal(run_on(), NFS4_OK);
	ok(OP_LOOKUP);
	ok(OP_GETFH);
	memcpy(gone, xdr_get_opaque(&R, 64).s, HANDLE_BYTES);
	nfs4_client_drop(state_now(), nfs4_client_find(state_now(), S.clientid));
	proto_head(&P, NFS_PROGRAM, 3, 12, &M);
	put_fh(&M, P.root);
	msg_string(&M, "gone");
	assert_int_equal(nfs(), NFS3_OK);
	proto_head(&P, NFS_PROGRAM, 3, 2, &M);		/* SETATTR: only its owner */
	put_fh(&M, P.file);
	put_sattr(&M, 0600, -1);
	msg_u32(&M, 0);
	assert_int_equal(nfs(), NFS3_OK);
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		which = fhs[t[i].fh];
		which_len = t[i].fh == FH_SHORT ? 12 : HANDLE_BYTES;
		P.uid = t[i].uid;
		for (size_t k = 0; k < sizeof(all) / sizeof(*all); k++) {
			uint32_t want = k < 3 ? t[i].gives : t[i].takes;

			if (all[k] == NLM_PROC_CANCEL && !want)
				want = NLM_DENIED;
			assert_int_equal(call_nlm(&A, all[k], false, true, t[i].off, t[i].len),
					 want);
		}
		if (t[i].off)
			continue;
		assert_int_equal(share(&A, NLM_PROC_SHARE, 1, 0), t[i].gives);
		assert_int_equal(share(&A, NLM_PROC_UNSHARE, 1, 0), t[i].takes);
	}
	P.uid = 0;
}

/* Whoever owns a file may lock it, as he may change its mode any time. */
static void test_rights(void **state)
{
	static const struct { uint32_t mode, status; } t[] = {
		{ 0, NLM_FAILED }, { 4, NLM_GRANTED }, { 2, NLM_GRANTED }, { 1, NLM_FAILED },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		P.uid = 0;
		proto_head(&P, NFS_PROGRAM, 3, 2, &M);
		put_fh(&M, P.file);
		msg_u32(&M, 1);
		msg_u32(&M, t[i].mode);
		msg_u32(&M, 1);
		msg_u32(&M, 77);			/* its owner */
		for (int k = 0; k < 5; k++)
			msg_u32(&M, 0);
		assert_int_equal(nfs(), NFS3_OK);
		P.uid = 77;
		assert_int_equal(nlm_lock(&A, true, 0, 1), NLM_GRANTED);
		P.uid = 78;
		assert_int_equal(nlm_lock(&A, true, 0, 1), t[i].status);
	}
	P.uid = 0;
}

/* Who is not let in by the export gets no locks. */
static void test_exports(void **state)
{
	assert_int_equal(nlm_lock(&A, true, 0, 1), NLM_GRANTED);
	proto_set_exports(&P, 1, "10.0.0.2 rw no_root_squash");
	assert_int_equal(nlm_lock(&A, true, 1, 1), NLM_FAILED);
	assert_int_equal(nlm_test(&A, true, 1, 1), NLM_FAILED);
	assert_int_equal(share(&A, NLM_PROC_SHARE, 1, 0), NLM_FAILED);
	assert_int_equal(nlm_lock(&B, true, 0, 1), NLM_DENIED);
	assert_int_equal(nlm_unlock(&A, 0, 1), NLM_GRANTED);
	assert_int_equal(nlm_lock(&B, true, 0, 1), NLM_GRANTED);
	/* reading is enough on a read-only export too */
	proto_set_exports(&P, 1, "* ro");
	assert_int_equal(nlm_lock(&A, true, 5, 1), NLM_GRANTED);
}

/* ---- with NFSv4 ---------------------------------------------------------------------- */

static void test_v4_locks(void **state)
{
	struct locker l = { .name = "v4" };

	assert_int_equal(open_file(&S, 3, 0, "o", "f", &l.open), NFS4_OK);
	assert_int_equal(lock(&S, &l, NFS4_WRITE_LT, 10, 10), NFS4_OK);
	assert_int_equal(nlm_lock(&A, false, 15, 1), NLM_DENIED);
	assert_int_equal(nlm_test(&A, false, 0, 0), NLM_DENIED);
	expect_holder(true, 0, "", 10, 10);
	assert_int_equal(nlm_lock(&A, true, 30, 10), NLM_GRANTED);
	assert_int_equal(lock(&S, &l, NFS4_READ_LT, 0, UINT64_MAX), E(DENIED));
	assert_true(xdr_get_u64(&R) == 30);
	assert_true(xdr_get_u64(&R) == 10);
	assert_int_equal(xdr_get_u32(&R), NFS4_WRITE_LT);
	assert_true(xdr_get_u64(&R) == 0);
	assert_int_equal(xdr_get_opaque(&R, 100).len, 0);
	end_of_reply();
	assert_int_equal(test_lock(&S, "v4", NFS4_READ_LT, 35, 1), E(DENIED));
	assert_int_equal(nlm_unlock(&A, 0, 0), NLM_GRANTED);
	assert_int_equal(lock(&S, &l, NFS4_READ_LT, 0, UINT64_MAX), NFS4_OK);
	assert_int_equal(nlm_lock(&A, false, 15, 1), NLM_GRANTED);
	assert_int_equal(nlm_lock(&A, true, 15, 1), NLM_DENIED);
	/* one whose lease ran out is in the way no longer */
	state_now()->skew_ns += state_now()->lease_ns + 1000000000;
	assert_int_equal(nlm_lock(&A, true, 15, 1), NLM_DENIED_GRACE_PERIOD);
	assert_int_equal(nlm_lock(&A, true, 15, 1), NLM_GRANTED);
	assert_int_equal(state_now()->sids.n, 0);
}

static void test_v4_waits_for_nlm(void **state)
{
	struct locker l = { .name = "v4" };

	state_now()->notify_lock = NULL;
	assert_int_equal(open_file(&S, 3, 0, "o", "f", &l.open), NFS4_OK);
	assert_int_equal(nlm_lock(&A, true, 0, 0), NLM_GRANTED);
	assert_int_equal(lock(&S, &l, NFS4_WRITEW_LT, 5, 1), E(DENIED));
	assert_int_equal(nlm_wait(&B, true, 5, 1), NLM_BLOCKED);
	assert_int_equal(nlm_unlock(&A, 5, 1), NLM_GRANTED);
	assert_int_equal(lock(&S, &l, NFS4_WRITEW_LT, 5, 1), E(DENIED));	/* B has it at once */
	let_call();
	assert_int_equal(called.host, 2);
	assert_int_equal(nlm_wait(&A2, true, 5, 1), NLM_BLOCKED);
	assert_int_equal(lock(&S, &l, NFS4_WRITE_LT, 50, 1), E(DENIED));
	assert_int_equal(nlm_unlock(&A, 0, 0), NLM_GRANTED);
	assert_int_equal(lock(&S, &l, NFS4_WRITE_LT, 50, 1), NFS4_OK);
	/* and NLM waits for v4 */
	assert_int_equal(nlm_wait(&A, false, 50, 1), NLM_BLOCKED);
	assert_int_equal(unlock(&S, &l, 50, 1), NFS4_OK);
	let_call();
	assert_int_equal(called.svid, 100);
	assert_int_equal(called.offset, 50);
	assert_int_equal(lock(&S, &l, NFS4_WRITE_LT, 50, 1), E(DENIED));
}

/* Every pair of a share and an open. */
static void test_shares_and_opens(void **state)
{
	for (uint32_t i = 0; i < 16 * 12; i++) {
		uint32_t a = i % 16 / 4, da = i % 4, b = i / 16 % 3 + 1, db = i / 16 / 3;
		bool fits = !(da & b) && !(db & a);
		struct sid sid;

		assert_int_equal(share(&A, NLM_PROC_SHARE, a, da), NLM_GRANTED);
		assert_int_equal(open_file(&S, b, db, "o", "f", &sid), fits ? 0 : E(SHARE_DENIED));
		assert_int_equal(share(&A, NLM_PROC_UNSHARE, 0, 0), NLM_GRANTED);
		if (!fits)
			assert_int_equal(open_file(&S, b, db, "o", "f", &sid), NFS4_OK);
		assert_int_equal(share(&A, NLM_PROC_SHARE, a, da), fits ? NLM_GRANTED : NLM_DENIED);
		assert_int_equal(share(&A, NLM_PROC_UNSHARE, 0, 0), NLM_GRANTED);
		on(P.file);
		op(OP_CLOSE);
		msg_u32(&M, 0);
		put_sid(&sid);
		assert_int_equal(run_on(), NFS4_OK);
	}
	assert_int_equal(state_now()->files.n, 1);		/* "gone" is open */
}

static void test_shares(void **state)
{
	assert_int_equal(share(&A, NLM_PROC_SHARE, 1, 2), NLM_GRANTED);
	assert_int_equal(share(&B, NLM_PROC_SHARE, 2, 0), NLM_DENIED);
	assert_int_equal(share(&B, NLM_PROC_SHARE, 1, 1), NLM_DENIED);
	assert_int_equal(share(&B, NLM_PROC_SHARE, 1, 0), NLM_GRANTED);
	assert_int_equal(share(&A2, NLM_PROC_SHARE, 3, 0), NLM_DENIED);	/* another owner */
	assert_int_equal(share(&A, NLM_PROC_SHARE, 3, 0), NLM_GRANTED);		/* altered */
	assert_int_equal(share(&A2, NLM_PROC_SHARE, 3, 0), NLM_GRANTED);
	assert_int_equal(share(&A, NLM_PROC_SHARE, 3, 3), NLM_DENIED);
	assert_int_equal(share(&A, NLM_PROC_UNSHARE, 0, 0), NLM_GRANTED);
	assert_int_equal(share(&A, NLM_PROC_UNSHARE, 0, 0), NLM_GRANTED);	/* again */
	assert_int_equal(share(&A2, NLM_PROC_UNSHARE, 0, 0), NLM_GRANTED);
	assert_int_equal(share(&B, NLM_PROC_SHARE, 3, 3), NLM_GRANTED);
}

/* ---- waiting ------------------------------------------------------------------------- */

static void test_granted(void **state)
{
	assert_int_equal(nlm_lock(&A, true, 0, 100), NLM_GRANTED);
	assert_int_equal(nlm_wait(&B, true, 50, 0), NLM_BLOCKED);
	assert_int_equal(nlm_wait(&B, true, 50, 0), NLM_BLOCKED);	/* asks again */
	assert_int_equal(nlm_wait(&B2, false, 60, 10), NLM_BLOCKED);
	assert_int_equal(nlm_unlock(&A, 0, 90), NLM_GRANTED);
	let_call();
	assert_int_equal(called.n, 1);			/* B2, whose lock is free */
	assert_int_equal(called.svid, 7);
	assert_int_equal(nlm_test(&A, true, 60, 1), NLM_DENIED);
	assert_int_equal(nlm_unlock(&B2, 0, 0), NLM_GRANTED);
	assert_int_equal(nlm_unlock(&A, 90, 10), NLM_GRANTED);
	let_call();
	assert_int_equal(called.n, 2);
	assert_int_equal(called.proc, NLM_PROC_GRANTED);
	assert_int_equal(called.host, 2);
	assert_int_equal(called.svid, 100);
	assert_true(called.exclusive);
	assert_true(called.offset == 50);
	assert_true(called.len == 0);
	assert_int_equal(nlm_test(&A, true, 60, 1), NLM_DENIED);
	expect_holder(true, 100, "100@beta", 50, 0);
	proto_sleep(60 * 1000000000ull);
	assert_int_equal(called.n, 2);
}

static void test_not_wanted(void **state)
{
	called.stat = NLM_DENIED;
	assert_int_equal(nlm_lock(&A, true, 0, 100), NLM_GRANTED);
	assert_int_equal(nlm_wait(&B, true, 0, 10), NLM_BLOCKED);
	assert_int_equal(nlm_wait(&A2, true, 5, 10), NLM_BLOCKED);
	assert_int_equal(nlm_unlock(&A, 0, 100), NLM_GRANTED);
	let_call();
	assert_int_equal(called.n, 2);			/* B let it go, A2 got it, and let it go */
	assert_int_equal(called.svid, 101);
	assert_int_equal(nlm()->lockers.n, 0);
}

/* Nobody is there: others get it after some tries. */
static void test_unreachable(void **state)
{
	called.err = -ECONNREFUSED;
	assert_int_equal(nlm_lock(&A, true, 0, 100), NLM_GRANTED);
	assert_int_equal(nlm_wait(&B, true, 0, 10), NLM_BLOCKED);
	assert_int_equal(nlm_unlock(&A, 0, 100), NLM_GRANTED);
	let_call();
	assert_int_equal(nlm_lock(&A, true, 0, 100), NLM_DENIED);
	proto_sleep(10 * 1000000000ull);
	assert_int_equal(nlm_lock(&A, true, 0, 100), NLM_DENIED);
	assert_int_equal(called.n, 3);
	proto_sleep(100 * 1000000000ull);
	assert_int_equal(called.n, 5);
	assert_int_equal(nlm_lock(&A, true, 0, 100), NLM_GRANTED);
}

/* He may have heard of it: it stays his, even when he says that he doesn't wait (any more). */
static void test_maybe_told(void **state)
{
	called.err = -ETIMEDOUT;
	assert_int_equal(nlm_lock(&A, true, 0, 100), NLM_GRANTED);
	assert_int_equal(nlm_wait(&B, true, 0, 10), NLM_BLOCKED);
	assert_int_equal(nlm_wait(&B2, true, 20, 10), NLM_BLOCKED);
	assert_int_equal(nlm_unlock(&A, 0, 10), NLM_GRANTED);
	let_call();
	assert_int_equal(called.n, 1);
	called.err = 0;
	called.stat = NLM_DENIED;
	proto_sleep(5 * 1000000000ull);
	assert_int_equal(called.n, 2);
	assert_int_equal(nlm_lock(&A, true, 0, 10), NLM_DENIED);
	/* the same when there is never an answer */
	called.err = -ECONNRESET;
	assert_int_equal(nlm_unlock(&A, 0, 0), NLM_GRANTED);
	proto_sleep(1000 * 1000000000ull);
	assert_int_equal(called.n, 14);
	assert_int_equal(nlm_lock(&A, true, 20, 10), NLM_DENIED);
	assert_int_equal(nlm_unlock(&B2, 20, 10), NLM_GRANTED);
	assert_int_equal(nlm_lock(&A, true, 20, 10), NLM_GRANTED);
}

static void test_grace_of_client(void **state)
{
	called.stat = NLM_DENIED_GRACE_PERIOD;
	assert_int_equal(nlm_lock(&A, true, 0, 100), NLM_GRANTED);
	assert_int_equal(nlm_wait(&B, true, 0, 10), NLM_BLOCKED);
	assert_int_equal(nlm_unlock(&A, 0, 0), NLM_GRANTED);
	let_call();
	called.stat = NLM_GRANTED;
	proto_sleep(5 * 1000000000ull);
	assert_int_equal(called.n, 2);
	assert_int_equal(nlm_lock(&A, true, 0, 1), NLM_DENIED);
}

/* He asks again before he is told, or while he is. */
static void test_asks_again(void **state)
{
	assert_int_equal(nlm_lock(&A, true, 0, 100), NLM_GRANTED);
	assert_int_equal(nlm_wait(&B, true, 0, 10), NLM_BLOCKED);
	called.err = -ECONNREFUSED;
	assert_int_equal(nlm_unlock(&A, 0, 0), NLM_GRANTED);
	let_call();
	assert_int_equal(nlm_wait(&B, true, 0, 10), NLM_GRANTED);
	proto_sleep(100 * 1000000000ull);
	assert_int_equal(called.n, 1);
	assert_int_equal(nlm_lock(&A, true, 0, 100), NLM_DENIED);
	assert_int_equal(nlm_unlock(&B, 0, 0), NLM_GRANTED);

	assert_int_equal(nlm_lock(&A, true, 0, 100), NLM_GRANTED);
	assert_int_equal(nlm_wait(&B, true, 0, 10), NLM_BLOCKED);
	called.err = 0;
	called.stat = NLM_DENIED;			/* as he doesn't wait now */
	called.delay_ns = 1000000000;
	assert_int_equal(nlm_unlock(&A, 0, 0), NLM_GRANTED);
	let_call();
	assert_int_equal(called.n, 2);
	assert_int_equal(nlm_wait(&B, true, 0, 10), NLM_GRANTED);
	proto_sleep(5 * 1000000000ull);
	assert_int_equal(nlm_lock(&A, true, 0, 100), NLM_DENIED);
	assert_int_equal(nlm_unlock(&B, 0, 0), NLM_GRANTED);
	assert_int_equal(nlm()->lockers.n, 0);
}

static void test_cancel(void **state)
{
	assert_int_equal(nlm_lock(&A, true, 0, 100), NLM_GRANTED);
	assert_int_equal(nlm_wait(&B, true, 0, 10), NLM_BLOCKED);
	assert_int_equal(nlm_cancel(&B, false, 0, 10), NLM_DENIED);	/* another one */
	assert_int_equal(nlm_cancel(&B, true, 0, 11), NLM_DENIED);
	assert_int_equal(nlm_cancel(&B2, true, 0, 10), NLM_DENIED);
	assert_int_equal(nlm_cancel(&B, true, 0, 10), NLM_GRANTED);
	assert_int_equal(nlm_cancel(&B, true, 0, 10), NLM_DENIED);
	assert_int_equal(nlm()->lockers.n, 1);
	/* unlocking gives up what waits in there */
	assert_int_equal(nlm_wait(&B, true, 0, 10), NLM_BLOCKED);
	assert_int_equal(nlm_unlock(&B, 5, 1), NLM_GRANTED);
	assert_int_equal(nlm()->lockers.n, 2);
	assert_int_equal(nlm_unlock(&B, 0, 0), NLM_GRANTED);
	assert_int_equal(nlm()->lockers.n, 1);
	/* it has been given, and he doesn't know yet; or is just being told */
	for (int i = 0; i < 2; i++) {
		called.err = i ? 0 : -ECONNREFUSED;
		called.delay_ns = i * 1000000000ull;
		assert_int_equal(nlm_lock(&A, true, 0, 100), NLM_GRANTED);
		assert_int_equal(nlm_wait(&B, true, 0, 10), NLM_BLOCKED);
		assert_int_equal(nlm_unlock(&A, 0, 0), NLM_GRANTED);
		let_call();
		assert_int_equal(nlm_cancel(&B, true, 0, 10), NLM_GRANTED);
		assert_int_equal(nlm_lock(&A, true, 0, 100), NLM_GRANTED);
		proto_sleep(5 * 1000000000ull);
		assert_int_equal(nlm()->lockers.n, 1);
	}
	assert_int_equal(called.n, 2);
}

/* ---- answers as calls ---------------------------------------------------------------- */

static void send_msg(const struct proc_id *who, uint32_t proc, bool exclusive, uint64_t off)
{
	put_call(who, proc, true, exclusive, off, 10, false);
	assert_int_equal(serve(), RPC_SUCCESS);
	end_of_reply();
	let_call();
}

static void test_messages(void **state)
{
	static const struct {
		uint32_t proc;
		uint64_t off;
		bool exclusive;
		uint32_t res, stat;
	} t[] = {
		{ NLM_PROC_LOCK_MSG, 0, true, NLM_PROC_LOCK_RES, NLM_GRANTED },
		{ NLM_PROC_LOCK_MSG, 100, true, NLM_PROC_LOCK_RES, NLM_BLOCKED },
		{ NLM_PROC_TEST_MSG, 0, true, NLM_PROC_TEST_RES, NLM_GRANTED },
		{ NLM_PROC_TEST_MSG, 100, true, NLM_PROC_TEST_RES, NLM_DENIED },
		{ NLM_PROC_CANCEL_MSG, 100, true, NLM_PROC_CANCEL_RES, NLM_GRANTED },
		{ NLM_PROC_CANCEL_MSG, 100, true, NLM_PROC_CANCEL_RES, NLM_DENIED },
		{ NLM_PROC_UNLOCK_MSG, 0, false, NLM_PROC_UNLOCK_RES, NLM_GRANTED },
		{ NLM_PROC_UNLOCK_MSG, UINT64_MAX - 1, false, NLM_PROC_UNLOCK_RES, NLM_FBIG },
	};

	assert_int_equal(nlm_lock(&B, true, 100, 10), NLM_GRANTED);
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		send_msg(&A, t[i].proc, t[i].exclusive, t[i].off);
		assert_int_equal(called.n, i + 1);
		assert_int_equal(called.proc, t[i].res);
		assert_int_equal(called.host, 1);
		assert_int_equal(called.result, t[i].stat);
	}
	/* once; and no more of them wait than may */
	called.delay_ns = 1000000000;
	called.err = -ETIMEDOUT;
	called.n = 0;
	for (int i = 0; i < NLM_ANSWERS_MAX + 10; i++) {
		put_call(&A, NLM_PROC_TEST_MSG, false, true, 0, 10, false);
		assert_int_equal(serve(), RPC_SUCCESS);
	}
	proto_sleep(1000 * 1000000000ull);
	assert_in_range(called.n, NLM_ANSWERS_MAX, NLM_ANSWERS_MAX + 1);
}

/* ---- restarts ------------------------------------------------------------------------ */

static void notify_state(unsigned host, const char *name, uint32_t nsm_state)
{
	come_from(&(struct proc_id){ .host = host });
	proto_head(&P, NSM_PROGRAM, 1, 6, &M);
	msg_string(&M, name);
	msg_u32(&M, nsm_state);
	assert_int_equal(serve(), RPC_SUCCESS);
	end_of_reply();
}

/* In the locks' calls the state is 3. */
static void notify(unsigned host, const char *name) { notify_state(host, name, 5); }

static void free_all(unsigned host, const char *name)
{
	come_from(&(struct proc_id){ .host = host });
	proto_head(&P, NLM_PROGRAM, 4, NLM_PROC_FREE_ALL, &M);
	msg_string(&M, name);
	msg_u32(&M, 5);
	assert_int_equal(serve(), RPC_SUCCESS);
	end_of_reply();
}

static void test_restarted(void **state)
{
	static const struct { unsigned host; const char *name; bool all, gone; } t[] = {
		{ 1, "alpha", false, true }, { 1, "alpha.example.org", false, true },
		{ 1, "ALPHA", false, true }, { 1, "alphabet", false, true },
		{ 2, "alpha", false, false }, { 3, "alpha", false, false },
		{ 1, "alpha", true, true }, { 2, "alpha", true, false },
		{ 1, "", false, true }, { 3, "", true, false },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		assert_int_equal(nlm_lock(&A, true, 0, 10), NLM_GRANTED);
		assert_int_equal(nlm_lock(&A2, true, 20, 10), NLM_GRANTED);
		assert_int_equal(share(&A, NLM_PROC_SHARE, 1, 2), NLM_GRANTED);
		assert_int_equal(nlm_lock(&B2, true, 30, 10), NLM_GRANTED);
		assert_int_equal(nlm_wait(&A, true, 30, 10), NLM_BLOCKED);
		assert_int_equal(nlm_wait(&B, true, 0, 10), NLM_BLOCKED);
		called.n = 0;
		(t[i].all ? free_all : notify)(t[i].host, t[i].name);
		let_call();
		if (t[i].host == 1) {
			assert_int_equal(called.n, 1);
			assert_int_equal(called.host, 2);
			assert_int_equal(called.svid, 100);
			assert_int_equal(share(&B, NLM_PROC_SHARE, 3, 3), NLM_GRANTED);
			assert_int_equal(nlm_unlock(&B2, 0, 0), NLM_GRANTED);
			let_call();
			assert_int_equal(called.n, 1);	/* A doesn't wait any more */
		} else if (t[i].host == 3) {
			assert_int_equal(called.n, 0);
			assert_int_equal(nlm_test(&B, true, 20, 1), NLM_DENIED);
		}
		teardown(NULL);
		setup_nlm(NULL);
	}
}

/* Behind one address, a name that isn't known is nobody's. */
static void test_restarted_behind_nat(void **state)
{
	const struct proc_id c = { 1, "gamma", 5 };

	assert_int_equal(nlm_lock(&A, true, 0, 10), NLM_GRANTED);
	assert_int_equal(nlm_lock(&c, true, 20, 10), NLM_GRANTED);
	assert_int_equal(nlm_lock(&A, true, 20, 1), NLM_DENIED);
	notify(1, "delta");
	assert_int_equal(nlm_test(&B, true, 0, 1), NLM_DENIED);
	assert_int_equal(nlm_test(&B, true, 20, 1), NLM_DENIED);
	notify(1, "gamma");
	assert_int_equal(nlm_test(&B, true, 0, 1), NLM_DENIED);
	assert_int_equal(nlm_test(&B, true, 20, 1), NLM_GRANTED);
}

/* The word of a restart comes twice, or when there are new locks already. */
static void test_late_word(void **state)
{
	assert_int_equal(nlm_lock(&A, true, 0, 10), NLM_GRANTED);
	notify_state(1, "alpha", 3);
	assert_int_equal(nlm_lock(&B, true, 0, 10), NLM_DENIED);
	notify_state(1, "alpha", 5);
	assert_int_equal(nlm_lock(&B, true, 0, 10), NLM_GRANTED);
	/* who is always in the same state (a machine without a disk) */
	assert_int_equal(nlm_lock(&A, true, 20, 10), NLM_GRANTED);
	state_now()->skew_ns += (NLM_LATE_S + 1) * 1000000000ull;
	assert_int_equal(nlm_lock(&A2, true, 40, 10), NLM_GRANTED);
	notify_state(1, "alpha", 3);
	assert_int_equal(nlm_lock(&B, true, 20, 10), NLM_GRANTED);
	assert_int_equal(nlm_lock(&B, true, 40, 10), NLM_DENIED);
	/* by FREE_ALL nothing is said of states; and what we say ourselves is of us */
	notify(1, "10.0.0.1");
	assert_int_equal(nlm_lock(&B, true, 40, 10), NLM_DENIED);
	free_all(1, "alpha");
	assert_int_equal(nlm_lock(&B, true, 40, 10), NLM_GRANTED);
}

/* While it is told of a lock. */
static void test_restarted_while_told(void **state)
{
	called.delay_ns = 1000000000;
	assert_int_equal(nlm_lock(&A, true, 0, 10), NLM_GRANTED);
	assert_int_equal(nlm_wait(&B, true, 0, 10), NLM_BLOCKED);
	assert_int_equal(nlm_unlock(&A, 0, 0), NLM_GRANTED);
	let_call();
	notify(2, "beta");
	assert_int_equal(nlm_lock(&A, true, 0, 10), NLM_GRANTED);
	proto_sleep(2000000000);
	assert_int_equal(nlm()->lockers.n, 1);
	assert_int_equal(nlm_test(&B, true, 0, 10), NLM_DENIED);
}

static void test_nsm(void **state)
{
	struct {
		uint32_t proc, stat;
		bool has_stat;
	} t[] = { { 1, 1, true }, { 2, 1, true }, { 3, 0, false }, { 4, 0, false } };

	for (int i = 0; i < 4; i++) {
		proto_head(&P, NSM_PROGRAM, 1, t[i].proc, &M);
		if (t[i].proc != 4)
			msg_string(&M, "someone");
		if (t[i].proc > 1) {
			msg_string(&M, "me");
			msg_u32(&M, NLM_PROGRAM);
			msg_u64(&M, 0);
		}
		if (t[i].proc == 2)
			msg_bytes(&M, "0123456789abcdef", 16);
		assert_int_equal(serve(), RPC_SUCCESS);
		if (t[i].has_stat)
			assert_int_equal(xdr_get_u32(&R), t[i].stat);
		assert_int_equal(xdr_get_u32(&R), nlm()->nsm_state);
		end_of_reply();
	}
	assert_true(nlm()->nsm_state & 1);
	for (uint32_t proc = 0; proc <= 5; proc += 5) {
		proto_head(&P, NSM_PROGRAM, 1, proc, &M);
		assert_int_equal(serve(), RPC_SUCCESS);
		end_of_reply();
	}
}

/* ---- our restart --------------------------------------------------------------------- */

static uint32_t reclaim(const struct proc_id *who, uint32_t proc, uint64_t offset, uint64_t len)
{
	put_call(who, proc, false, true, offset, len, true);
	return run_nlm();
}

static void start_nsm(void *arg)
{
	assert_int_equal(nsm_start(nlm()), 0);
}

static void crash(void)
{
	proto_crash(&P);
	nlm()->call = client;
	called.n = called.hosts = 0;
}

static void end_grace(void)
{
	state_now()->skew_ns += 1000 * 1000000000ull;
	for (int i = 0; i < 3 && nfs4_in_grace(state_now()); i++)
		nlm_test(&B, true, 0, 1);		/* what follows a call looks at the time */
	assert_false(nfs4_in_grace(state_now()));
}

static void test_reclaim(void **state)
{
	const struct proc_id c = { 3, "gamma", 1 }, d = { 4, "delta", 1 };

	assert_int_equal(reclaim(&A, NLM_PROC_LOCK, 0, 10), NLM_DENIED_GRACE_PERIOD);
	assert_int_equal(nlm_lock(&A, true, 0, 10), NLM_GRANTED);
	assert_int_equal(share(&B, NLM_PROC_SHARE, 1, 2), NLM_GRANTED);
	assert_int_equal(nlm_lock(&d, true, 50, 10), NLM_GRANTED);
	assert_int_equal(call_nlm(&c, NLM_PROC_NM_LOCK, false, true, 20, 10), NLM_GRANTED);
	crash();
	assert_true(nfs4_in_grace(state_now()));
	for (int i = 0; i < 2; i++) {
		assert_int_equal(nlm_lock(&A, true, 0, 10), NLM_DENIED_GRACE_PERIOD);
		assert_int_equal(nlm_wait(&A, true, 0, 10), NLM_DENIED_GRACE_PERIOD);
		assert_int_equal(nlm_test(&B, true, 0, 10), NLM_DENIED_GRACE_PERIOD);
		assert_int_equal(share(&A, NLM_PROC_SHARE, 1, 0), NLM_DENIED_GRACE_PERIOD);
		assert_int_equal(nlm_unlock(&A, 0, 10), NLM_GRANTED);
		assert_int_equal(nlm_cancel(&A, true, 0, 10), NLM_DENIED);
		assert_int_equal(reclaim(&c, NLM_PROC_LOCK, 20, 10), NLM_DENIED);
		assert_int_equal(reclaim(&c, NLM_PROC_NM_LOCK, 20, 10), NLM_DENIED);
		assert_int_equal(reclaim(&A, NLM_PROC_LOCK, 0, 10), NLM_GRANTED);
		assert_int_equal(reclaim(&B, NLM_PROC_LOCK, 5, 10), NLM_DENIED);
		assert_int_equal(reclaim(&B, NLM_PROC_LOCK, 70, 10), NLM_GRANTED);
		if (!i)
			crash();			/* in the middle of it */
	}
	end_grace();
	assert_int_equal(reclaim(&A, NLM_PROC_LOCK, 0, 10), NLM_DENIED_GRACE_PERIOD);
	assert_int_equal(nlm_lock(&c, true, 5, 1), NLM_DENIED);
	assert_int_equal(nlm_lock(&c, true, 50, 10), NLM_GRANTED);	/* D was too late */
	crash();
	assert_int_equal(reclaim(&d, NLM_PROC_LOCK, 50, 10), NLM_DENIED);
	assert_int_equal(reclaim(&c, NLM_PROC_LOCK, 50, 10), NLM_GRANTED);
}

/* Opens and locks of NFSv4 wait for NLM's clients, too. */
static void test_grace_for_v4(void **state)
{
	struct sid sid;

	assert_int_equal(nlm_lock(&A, true, 0, 10), NLM_GRANTED);
	nfs4_client_drop(state_now(), nfs4_client_find(state_now(), S.clientid));
	crash();
	S = new_client("another");
	assert_int_equal(open_file(&S, 3, 0, "o", "f", &sid), E(GRACE));
	assert_int_equal(reclaim(&A, NLM_PROC_LOCK, 0, 10), NLM_GRANTED);
	assert_int_equal(open_file(&S, 3, 0, "o", "f", &sid), E(GRACE));
	end_grace();
	S = new_client("another one");
	assert_int_equal(open_file(&S, 3, 0, "o", "f", &sid), NFS4_OK);
	assert_int_equal(test_lock(&S, "v4", NFS4_READ_LT, 0, 1), E(DENIED));
}

static void test_told_of_restart(void **state)
{
	const struct proc_id c = { 3, "gamma", 1 }, a2 = { 1, "behind the same address", 1 };

	assert_int_equal(nlm_lock(&A, true, 0, 10), NLM_GRANTED);
	assert_int_equal(nlm_lock(&a2, true, 10, 10), NLM_GRANTED);
	assert_int_equal(nlm_lock(&B, true, 20, 10), NLM_GRANTED);
	assert_int_equal(call_nlm(&c, NLM_PROC_NM_LOCK, false, true, 30, 10), NLM_GRANTED);
	crash();
	proto_run(start_nsm, NULL);
	let_call();
	assert_int_equal(called.n, 2);
	assert_int_equal(called.hosts, 1 << 1 | 1 << 2);
	/* who doesn't answer is told again, but not for ever */
	crash();
	called.err = -ETIMEDOUT;
	proto_run(start_nsm, NULL);
	proto_sleep(60 * 1000000000ull);
	assert_in_range(called.n, 8, 14);
	proto_sleep(3600 * 1000000000ull);
	assert_int_equal(called.n, 36);
	assert_true(list_empty(&nlm()->notices));
}

/* Who has had no lock for a while is off the record. */
static void test_off_the_record(void **state)
{
	assert_int_equal(nlm_lock(&A, true, 0, 10), NLM_GRANTED);
	assert_int_equal(nlm_lock(&B, true, 20, 10), NLM_GRANTED);
	assert_int_equal(nlm_unlock(&A, 0, 0), NLM_GRANTED);
	nfs4_client_drop(state_now(), nfs4_client_find(state_now(), S.clientid));
	state_now()->skew_ns += (NLM_IDLE_S + 1) * 1000000000ull;
	nlm_sweep(nlm());
	assert_int_equal(nlm()->hosts.n, 1);
	assert_int_equal(nlm_test(&A, true, 20, 1), NLM_DENIED);	/* what follows removes it */
	crash();
	assert_int_equal(reclaim(&A, NLM_PROC_LOCK, 0, 10), NLM_DENIED);
	assert_int_equal(reclaim(&B, NLM_PROC_LOCK, 20, 10), NLM_GRANTED);
}

/* ---- limits -------------------------------------------------------------------------- */

static void test_limit_of_blocks(void **state)
{
	assert_int_equal(nlm_lock(&A, true, 0, 0), NLM_GRANTED);
	for (int i = 0; i < NLM_BLOCKS_MAX; i++)
		assert_int_equal(nlm_wait(&B, true, i, 1), NLM_BLOCKED);
	assert_int_equal(nlm_wait(&B, true, NLM_BLOCKS_MAX, 1), NLM_DENIED_NOLOCKS);
	assert_int_equal(nlm_wait(&B, true, 0, 1), NLM_BLOCKED);		/* known */
	assert_int_equal(nlm_wait(&A2, true, 0, 1), NLM_BLOCKED);		/* of another host */
	assert_int_equal(nlm_unlock(&A, 0, 0), NLM_GRANTED);
	let_call();
	assert_int_equal(called.n, NLM_BLOCKS_MAX);
}

static void test_limit_of_ranges(void **state)
{
	for (int i = 0; i < NLM_RANGES_MAX; i++)
		if (nlm_lock(&A, true, 2ull * i, 1))
			fail_msg("lock %d", i);
	assert_int_equal(nlm_lock(&A, true, 2ull * NLM_RANGES_MAX, 1), NLM_DENIED_NOLOCKS);
	assert_int_equal(nlm_lock(&B, true, 2ull * NLM_RANGES_MAX, 3), NLM_GRANTED);
	assert_int_equal(nlm_unlock(&A, 0, 1), NLM_GRANTED);
	assert_int_equal(nlm_lock(&A, true, 0, 1), NLM_GRANTED);
	/* all together */
	state_now()->ranges.max = state_now()->ranges.used + 1;
	assert_int_equal(nlm_lock(&B, true, 3ull * NLM_RANGES_MAX, 1), NLM_GRANTED);
	assert_int_equal(nlm_lock(&B, true, 4ull * NLM_RANGES_MAX, 1), NLM_DENIED_NOLOCKS);
	assert_int_equal(nlm_unlock(&B, 2ull * NLM_RANGES_MAX + 1, 1), NLM_DENIED_NOLOCKS);
	assert_int_equal(nlm_unlock(&B, 2ull * NLM_RANGES_MAX, 3), NLM_GRANTED);
}

/* Names as long as may be, so that the memory is used up first. */
static void test_limit_of_memory(void **state)
{
	char name[NLM_STRING_MAX + 1];
	struct proc_id who = { 1, name, 0 };
	int n;

	memset(name, 'x', sizeof(name));
	name[NLM_STRING_MAX] = 0;
	for (n = 0; n < 100000; n++) {
		who.svid = n;
		who.host = 1 + n % 200;
		begin_nlm(&who, NLM_PROC_LOCK);
		msg_u32(&M, 0);
		msg_u32(&M, 0);
		msg_string(&M, name);
		put_fh(&M, P.file);
		msg_string(&M, name);			/* the owner */
		msg_u32(&M, n);
		msg_u64(&M, 0);
		msg_u64(&M, 0);
		msg_u64(&M, 0);
		if (run_nlm() != NLM_GRANTED)
			break;
	}
	assert_in_range(n, NLM_BYTES_MAX / 1300, NLM_BYTES_MAX / 1100);
	assert_in_range(nlm()->bytes, NLM_BYTES_MAX - 3000, NLM_BYTES_MAX);
	for (int i = 0; nlm_lock(&(struct proc_id){ 1, "alpha", i }, false, 0, 0) == NLM_GRANTED; i++)
		assert_in_range(i, 0, 30);
	assert_int_equal(share(&A, NLM_PROC_SHARE, 1, 0), NLM_DENIED_NOLOCKS);
	who.svid = 0;
	who.host = 1;
	assert_int_equal(nlm_unlock(&who, 0, 0), NLM_GRANTED);
	assert_int_equal(nlm_lock(&A, false, 0, 0), NLM_GRANTED);
}

static void test_limit_of_hosts(void **state)
{
	struct proc_id who = { 1, "", 0 };
	char name[20];

	who.name = name;
	for (int i = 0; i < NLM_HOSTS_MAX; i++) {
		snprintf(name, sizeof(name), "host%d", i);
		assert_int_equal(nlm_lock(&who, false, 0, 1), NLM_GRANTED);
	}
	snprintf(name, sizeof(name), "another");
	assert_int_equal(nlm_lock(&who, false, 0, 1), NLM_DENIED_NOLOCKS);
	assert_int_equal(nlm_test(&who, false, 0, 1), NLM_GRANTED);
	snprintf(name, sizeof(name), "host7");
	assert_int_equal(nlm_unlock(&who, 0, 1), NLM_GRANTED);		/* is idle now, and may go */
	snprintf(name, sizeof(name), "another");
	assert_int_equal(nlm_lock(&who, false, 0, 1), NLM_GRANTED);
	assert_int_equal(nlm()->hosts.n, NLM_HOSTS_MAX);
	/* after a while all that are idle go */
	snprintf(name, sizeof(name), "host8");
	assert_int_equal(nlm_unlock(&who, 0, 1), NLM_GRANTED);
	nlm_sweep(nlm());
	assert_int_equal(nlm()->hosts.n, NLM_HOSTS_MAX);
	state_now()->skew_ns += (NLM_IDLE_S + 1) * 1000000000ull;
	nlm_sweep(nlm());
	assert_int_equal(nlm()->hosts.n, NLM_HOSTS_MAX - 1);
}

/* Each allocation fails in turn; all that comes of it is that there are no locks. */
static void test_no_memory(void **state)
{
	static const uint32_t procs[] = { NLM_PROC_LOCK, NLM_PROC_NM_LOCK, NLM_PROC_SHARE,
					  NLM_PROC_LOCK_MSG, NLM_PROC_UNLOCK };

	assert_int_equal(nlm_lock(&B, true, 0, 10), NLM_GRANTED);
	for (size_t i = 0; i < sizeof(procs) / sizeof(*procs); i++) {
		bool failed = true;

		for (int n = 1; failed; n++) {
			const size_t bytes = nlm()->bytes;
			uint32_t stat;

			assert_in_range(n, 1, 50);
			if (procs[i] == NLM_PROC_UNLOCK)	/* which has to split something */
				assert_int_equal(nlm_lock(&A, true, 20, 10), NLM_GRANTED);
			fail_alloc = n;
			if (procs[i] == NLM_PROC_SHARE)
				stat = share(&A, procs[i], 1, 0);
			else if (procs[i] == NLM_PROC_LOCK_MSG)
				send_msg(&A, procs[i], true, 40), stat = 0;
			else
				stat = call_nlm(&A, procs[i], true, true, n % 2 ? 22 : 0, 2);
			failed = fail_alloc <= 0;
			fail_alloc = 0;
			assert_true(stat == NLM_GRANTED || stat == NLM_BLOCKED ||
				    stat == NLM_DENIED_NOLOCKS || stat == NLM_DENIED_GRACE_PERIOD);
			nlm_unlock(&A, 0, 0);
			share(&A, NLM_PROC_UNSHARE, 0, 0);
			nlm_sweep(nlm());
			assert_in_range(nlm()->bytes, 0, bytes + 1000);
		}
	}
	assert_int_equal(nlm()->lockers.n, 1);
}

/* ---- malformed calls ----------------------------------------------------------------- */

static void test_truncated(void **state)
{
	for (uint32_t proc = 1; proc <= NLM_PROC_FREE_ALL; proc++) {
		size_t whole, head;

		if (proc == NLM_PROC_GRANTED || (proc > NLM_PROC_UNLOCK_MSG && proc < 20))
			continue;
		proto_head(&P, NLM_PROGRAM, 4, proc, &M);
		head = M.len;
		if (proc == NLM_PROC_FREE_ALL) {
			msg_string(&M, "alpha");
			msg_u32(&M, 5);
		} else if (proc == NLM_PROC_SHARE || proc == NLM_PROC_UNSHARE) {
			share(&A, proc, 1, 1);
		} else {
			put_call(&A, proc, false, true, 0, 10, false);
		}
		whole = M.len;
		for (size_t n = head; n < whole; n++) {
			M.len = n;
			assert_int_equal(serve(), RPC_GARBAGE_ARGS);
		}
		M.len = whole;
		assert_int_equal(serve(), RPC_SUCCESS);
	}
}

static void test_unknown_procedures(void **state)
{
	for (uint32_t proc = 0; proc < 30; proc++) {
		bool known = proc <= 9 ? proc != 5 : proc >= 20 && proc <= 23;

		proto_head(&P, NLM_PROGRAM, 4, proc, &M);
		assert_int_equal(serve(), !proc ? RPC_SUCCESS : known ? RPC_GARBAGE_ARGS :
								       RPC_PROC_UNAVAIL);
	}
	for (uint32_t vers = 1; vers < 6; vers++) {
		proto_head(&P, NLM_PROGRAM, vers, 0, &M);
		assert_int_equal(serve(), vers == 4 ? RPC_SUCCESS : RPC_PROG_MISMATCH);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TN(test_locks), TN(test_illegal), TN(test_rights), TN(test_exports), TN(test_v4_locks),
		TN(test_v4_waits_for_nlm), TN(test_shares_and_opens), TN(test_shares),
		TN(test_granted), TN(test_not_wanted), TN(test_unreachable), TN(test_maybe_told),
		TN(test_grace_of_client), TN(test_asks_again), TN(test_cancel), TN(test_messages),
		TN(test_restarted), TN(test_restarted_behind_nat), TN(test_late_word), TN(test_restarted_while_told),
		TN(test_nsm), TN(test_reclaim), TN(test_grace_for_v4), TN(test_told_of_restart),
		TN(test_off_the_record), TN(test_limit_of_blocks), TN(test_limit_of_ranges),
		TN(test_limit_of_memory), TN(test_limit_of_hosts), TN(test_no_memory), TN(test_truncated),
		TN(test_unknown_procedures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
