/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the programs that test NFSv4 in process: a COMPOUND is built operation by operation in M,
 * and its reply taken apart from R (replies.h).
 *
 *	begin(2); seq(&S); putfh(P.file); op(OP_GETATTR); ...; assert_int_equal(run(), NFS4_OK);
 *	ok(OP_SEQUENCE); skip_seq(); ok(OP_PUTFH); ok(OP_GETATTR); ...
 */
#ifndef TESTS_NFS_COMPOUND_H
#define TESTS_NFS_COMPOUND_H

#include "nfs/nfs4_state.h"
#include "replies.h"

enum {
	OP_ACCESS = 3, OP_CLOSE, OP_COMMIT, OP_CREATE, OP_DELEGPURGE, OP_DELEGRETURN, OP_GETATTR,
	OP_GETFH, OP_LINK, OP_LOCK, OP_LOCKT, OP_LOCKU, OP_LOOKUP, OP_LOOKUPP, OP_NVERIFY, OP_OPEN,
	OP_OPENATTR, OP_OPEN_CONFIRM, OP_OPEN_DOWNGRADE, OP_PUTFH, OP_PUTPUBFH, OP_PUTROOTFH,
	OP_READ, OP_READDIR, OP_READLINK, OP_REMOVE, OP_RENAME, OP_RENEW, OP_RESTOREFH, OP_SAVEFH,
	OP_SECINFO, OP_SETATTR, OP_SETCLIENTID, OP_SETCLIENTID_CONFIRM, OP_VERIFY, OP_WRITE,
	OP_RELEASE_LOCKOWNER, OP_BACKCHANNEL_CTL, OP_BIND_CONN, OP_EXCHANGE_ID, OP_CREATE_SESSION,
	OP_DESTROY_SESSION, OP_FREE_STATEID, OP_GET_DIR_DELEGATION, OP_GETDEVICEINFO,
	OP_GETDEVICELIST, OP_LAYOUTCOMMIT, OP_LAYOUTGET, OP_LAYOUTRETURN, OP_SECINFO_NO_NAME,
	OP_SEQUENCE, OP_SET_SSV, OP_TEST_STATEID, OP_WANT_DELEGATION, OP_DESTROY_CLIENTID,
	OP_RECLAIM_COMPLETE, OP_ALLOCATE, OP_COPY, OP_COPY_NOTIFY, OP_DEALLOCATE, OP_IO_ADVISE,
	OP_LAYOUTERROR, OP_LAYOUTSTATS, OP_OFFLOAD_CANCEL, OP_OFFLOAD_STATUS, OP_READ_PLUS, OP_SEEK,
	OP_WRITE_SAME, OP_CLONE, OP_GETXATTR, OP_SETXATTR, OP_LISTXATTRS, OP_REMOVEXATTR,
	OP_ILLEGAL = 10044,
};

struct sess { uint64_t clientid; uint32_t create_seq, seq, slot; uint8_t id[16]; bool cache; };
struct sid { uint32_t seqid; uint8_t other[12]; };

static struct sess S;
static uint32_t nops;
static size_t nops_at;
static uint32_t results;		/* in the reply */

#define E(x) NFS4ERR_##x

static const struct sid anonymous, current = { .seqid = 1 };
static const struct sid bypass = { UINT32_MAX, { 255, 255, 255, 255, 255, 255, 255, 255, 255,
						  255, 255, 255 } };

#define U static __attribute__((unused))

U struct nfs4_state *state_now(void) { return proto_nfs4(&P); }

U void begin_tag(uint32_t minor, const char *tag)
{
	proto_head(&P, NFS_PROGRAM, 4, 1, &M);
	msg_string(&M, tag);
	msg_u32(&M, minor);
	nops_at = M.len;
	nops = 0;
	msg_u32(&M, 0);
}

U void begin(uint32_t minor) { begin_tag(minor, "tag"); }

U void op(uint32_t num)
{
	uint32_t n = htobe32(++nops);

	memcpy(M.data + nops_at, &n, 4);
	msg_u32(&M, num);
}

U void put_sid(const struct sid *s)
{
	msg_u32(&M, s->seqid);
	msg_bytes(&M, s->other, 12);
}

U struct sid get_sid(void)
{
	struct sid s = { .seqid = xdr_get_u32(&R) };
	const uint8_t *p = xdr_get_fixed(&R, 12);

	assert_non_null(p);
	memcpy(s.other, p, 12);
	return s;
}

U void put_seq(const struct sess *s, uint32_t seq)
{
	op(OP_SEQUENCE);
	msg_bytes(&M, s->id, 16);
	msg_u32(&M, seq);
	msg_u32(&M, s->slot);
	msg_u32(&M, s->slot);
	msg_u32(&M, s->cache);
}

U void seq(struct sess *s) { put_seq(s, ++s->seq); }

U void putfh(const uint8_t fh[HANDLE_BYTES])
{
	op(OP_PUTFH);
	put_fh(&M, fh);
}

U void name_op(uint32_t num, const char *name)
{
	op(num);
	msg_string(&M, name);
}

/* Serves M, whose rest was built by hand; R is at the results.  Returns COMPOUND's status. */
U uint32_t run(void)
{
	uint32_t status;

	assert_int_equal(serve(), RPC_SUCCESS);
	status = xdr_get_u32(&R);
	xdr_get_opaque(&R, 1024);
	results = xdr_get_u32(&R);
	assert_false(R.bad);
	return status;
}

/* The next result is of NUM; its status. */
U uint32_t res(uint32_t num)
{
	assert_int_equal(xdr_get_u32(&R), num);
	return xdr_get_u32(&R);
}

U void ok(uint32_t num) { assert_int_equal(res(num), NFS4_OK); }

U void ok_seq(void)
{
	ok(OP_SEQUENCE);
	xdr_get_fixed(&R, 36);
}

/* Begins a COMPOUND on FH, in the session. */
U void on(const uint8_t fh[HANDLE_BYTES])
{
	begin(2);
	seq(&S);
	putfh(fh);
}

/* Runs it; R is at the results of what follows PUTFH. */
U uint32_t run_on(void)
{
	uint32_t status = run();

	ok_seq();
	ok(OP_PUTFH);
	return status;
}

/* ---- sessions ------------------------------------------------------------------------ */

U uint32_t exchange(const char *owner, uint64_t verifier, uint32_t flags, struct sess *s,
		    uint32_t *ret_flags)
{
	uint32_t status;

	begin(2);
	op(OP_EXCHANGE_ID);
	msg_u64(&M, verifier);
	msg_string(&M, owner);
	msg_u32(&M, flags);
	msg_u32(&M, 0);
	msg_u32(&M, 0);
	status = run();
	assert_int_equal(res(OP_EXCHANGE_ID), status);
	if (status)
		return status;
	s->clientid = xdr_get_u64(&R);
	s->create_seq = xdr_get_u32(&R);
	*ret_flags = xdr_get_u32(&R);
	assert_int_equal(xdr_get_u32(&R), 0);
	xdr_get_u64(&R);
	assert_true(xdr_get_opaque(&R, 1024).len > 0);
	assert_true(xdr_get_opaque(&R, 1024).len > 0);
	assert_int_equal(xdr_get_u32(&R), 1);
	assert_true(xdr_get_opaque(&R, 1024).len > 0);
	assert_true(xdr_get_opaque(&R, 1024).len > 0);
	xdr_get_fixed(&R, 12);
	end_of_reply();
	return status;
}

U void put_channel(uint32_t bytes, uint32_t cached, uint32_t ops, uint32_t slots)
{
	msg_u32(&M, 0);
	msg_u32(&M, bytes);
	msg_u32(&M, bytes);
	msg_u32(&M, cached);
	msg_u32(&M, ops);
	msg_u32(&M, slots);
	msg_u32(&M, 0);
}

struct chan { uint32_t bytes, cached, ops, slots; };

U uint32_t create_session(struct sess *s, struct chan want, struct chan *ret)
{
	uint32_t status;
	const uint8_t *id;

	begin(2);
	op(OP_CREATE_SESSION);
	msg_u64(&M, s->clientid);
	msg_u32(&M, s->create_seq);
	msg_u32(&M, 0);
	put_channel(want.bytes, want.cached, want.ops, want.slots);
	put_channel(4096, 0, 2, 1);
	msg_u32(&M, 0x40000000);
	msg_u32(&M, 1);
	msg_u32(&M, 0);
	status = run();
	assert_int_equal(res(OP_CREATE_SESSION), status);
	if (status)
		return status;
	id = xdr_get_fixed(&R, 16);
	memcpy(s->id, id, 16);
	assert_int_equal(xdr_get_u32(&R), s->create_seq);
	assert_int_equal(xdr_get_u32(&R), 0);
	xdr_get_u32(&R);
	ret->bytes = xdr_get_u32(&R);
	xdr_get_u32(&R);
	ret->cached = xdr_get_u32(&R);
	ret->ops = xdr_get_u32(&R);
	ret->slots = xdr_get_u32(&R);
	xdr_get_u32(&R);
	xdr_get_fixed(&R, 28);
	end_of_reply();
	s->seq = s->slot = 0;
	return NFS4_OK;
}

U uint32_t reclaim_complete(struct sess *s)
{
	uint32_t status;

	begin(2);
	seq(s);
	op(OP_RECLAIM_COMPLETE);
	msg_u32(&M, 0);
	status = run();
	ok_seq();
	return res(OP_RECLAIM_COMPLETE) == status ? status : UINT32_MAX;
}

/* A client with a session, that has not said yet that it reclaims nothing. */
U struct sess arrive(const char *owner, uint64_t verifier)
{
	struct sess s = { 0 };
	struct chan got;
	uint32_t flags;

	assert_int_equal(exchange(owner, verifier, 0, &s, &flags), NFS4_OK);
	assert_int_equal(create_session(&s, (struct chan){ 1 << 20, 4096, 16, 8 }, &got), NFS4_OK);
	return s;
}

/* A client with a session that has nothing to reclaim. */
U struct sess new_client(const char *owner)
{
	struct sess s = arrive(owner, 1);

	assert_int_equal(reclaim_complete(&s), NFS4_OK);
	return s;
}

U int setup4(void **state)
{
	setup(state);
	S = new_client("client");
	P.ctl->changes = P.ctl->stable_waits = 0;
	return 0;
}

/* ---- opens --------------------------------------------------------------------------- */

U void put_owner(const char *name)
{
	msg_u64(&M, 0);
	msg_string(&M, name);
}

U void put_mode(uint32_t mode)
{
	msg_u32(&M, 2);
	msg_u32(&M, 0);
	msg_u32(&M, 1 << (33 - 32));
	msg_u32(&M, 4);
	msg_u32(&M, mode);
}

/* OPEN without creating, by name. */
U void put_open(uint32_t access, uint32_t deny, const char *owner, const char *name)
{
	op(OP_OPEN);
	msg_u32(&M, 0);
	msg_u32(&M, access);
	msg_u32(&M, deny);
	put_owner(owner);
	msg_u32(&M, 0);
	msg_u32(&M, 0);
	msg_string(&M, name);
}

/* What OPEN said of a delegation. */
struct offer { uint32_t type, why; bool recall; struct sid id; };


U struct offer get_offer(void)
{
	struct offer o = { .type = xdr_get_u32(&R) };

	switch (o.type) {
	case NFS4_DELEG_READ:
	case NFS4_DELEG_WRITE:
		o.id = get_sid();
		assert_int_equal(o.id.seqid, 1);
		o.recall = xdr_get_u32(&R);
		if (o.type == NFS4_DELEG_WRITE) {
			assert_int_equal(xdr_get_u32(&R), 1);
			assert_int_equal(xdr_get_u64(&R), 0);
		}
		assert_int_equal(xdr_get_u64(&R), 0);		/* an ACE for nobody */
		assert_int_equal(xdr_get_u64(&R), 0);
		break;
	case NFS4_DELEG_NONE_EXT:
		o.why = xdr_get_u32(&R);
		if (o.why == NFS4_NO_DELEG_CONTENTION || o.why == NFS4_NO_DELEG_RESOURCE)
			assert_int_equal(xdr_get_u32(&R), 0);
		break;
	default:
		assert_int_equal(o.type, NFS4_DELEG_NONE);
	}
	assert_false(R.bad);
	return o;
}

U struct sid get_open_head(void)
{
	struct sid s = get_sid();

	xdr_get_fixed(&R, 20);
	xdr_get_u32(&R);
	for (uint32_t n = xdr_get_u32(&R); n; n--)
		xdr_get_u32(&R);
	return s;
}

U struct sid get_open(void)
{
	struct sid s = get_open_head();

	get_offer();
	return s;
}

U void put_range(uint64_t offset, uint64_t len)
{
	msg_u64(&M, offset);
	msg_u64(&M, len);
}

U uint32_t open_file(struct sess *s, uint32_t access, uint32_t deny, const char *owner,
		     const char *name, struct sid *ret_sid)
{
	uint32_t status;

	begin(2);
	seq(s);
	putfh(P.root);
	put_open(access, deny, owner, name);
	run();
	ok_seq();
	ok(OP_PUTFH);
	status = res(OP_OPEN);
	if (!status)
		*ret_sid = get_open();
	end_of_reply();
	return status;
}

/* OPEN that reclaims, for owner "o". */
U uint32_t reopen(struct sess *s, const uint8_t *fh, uint32_t access, uint32_t deny,
		  struct sid *ret_sid)
{
	uint32_t status;

	begin(2);
	seq(s);
	putfh(fh);
	op(OP_OPEN);
	msg_u32(&M, 0);
	msg_u32(&M, access);
	msg_u32(&M, deny);
	put_owner("o");
	msg_u32(&M, 0);
	msg_u32(&M, NFS4_CLAIM_PREVIOUS);
	msg_u32(&M, 0);
	run();
	ok_seq();
	ok(OP_PUTFH);
	status = res(OP_OPEN);
	if (!status)
		*ret_sid = get_open();
	end_of_reply();
	return status;
}

/* OPEN that makes a file; SIZE -1: its mode is set instead. */
U uint32_t create4(uint32_t how, uint64_t verf, const char *name, int64_t size,
			struct sid *ret)
{
	uint32_t status;

	on(P.root);
	op(OP_OPEN);
	msg_u32(&M, 0);
	msg_u32(&M, 3);
	msg_u32(&M, 0);
	put_owner("o");
	msg_u32(&M, 1);
	msg_u32(&M, how);
	if (how >= NFS4_CREATE_EXCLUSIVE)
		msg_u64(&M, verf);
	if (how != NFS4_CREATE_EXCLUSIVE && size >= 0) {
		msg_u32(&M, 1);
		msg_u32(&M, 16);
		msg_u32(&M, 8);
		msg_u64(&M, size);
	} else if (how != NFS4_CREATE_EXCLUSIVE) {
		put_mode(0640);
	}
	msg_u32(&M, 0);
	msg_string(&M, name);
	run_on();
	status = res(OP_OPEN);
	if (!status)
		*ret = get_open();
	end_of_reply();
	return status;
}

U uint64_t size_of(const uint8_t *fh)
{
	on(fh);
	op(OP_GETATTR);
	msg_u32(&M, 1);
	msg_u32(&M, 16);
	assert_int_equal(run_on(), NFS4_OK);
	ok(OP_GETATTR);
	xdr_get_fixed(&R, 12);
	return xdr_get_u64(&R);
}

#define T4(x) cmocka_unit_test_setup_teardown(x, setup4, teardown)

#endif
