/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the programs that test callbacks in process: a client that is called back, answers as it is
 * told to, and remembers what it was asked.  Whoever is P.via when CREATE_SESSION or
 * BIND_CONN_TO_SESSION is served is called.
 */
#ifndef TESTS_NFS_CALLED_H
#define TESTS_NFS_CALLED_H

#include "base/loop.h"
#include "compound.h"
#include "nfs/nfs4_callback.h"

#define CB_PROG 0x40000123
enum { BACK_CHAN = 2, CB_PATH_DOWN = 1, CB_PATH_DOWN_SESSION = 0x200, CB_FAULT = 0x400 };
#define SEC 1000000000ull

struct called {
	struct rpc_peer *peer;
	/* how it answers */
	int err;			/* not at all: this comes of the call */
	uint64_t after_ns;		/* so late */
	uint32_t seq_status, status;	/* CB_SEQUENCE's, the operation's */
	unsigned once;			/* so many times (0: for ever), then OK */
	const uint8_t *results;
	size_t results_len;
	/* what it was asked */
	unsigned nulls, calls;
	uint32_t prog, minor, ident, nops, seq, op;
	struct rpc_cred cred;
	uint8_t session[16];
	uint8_t args[RPC_PEER_ARGS_MAX];	/* of the operation */
	size_t args_len;
};

U void called_parse(struct called *c, const struct rpc_request *q)
{
	struct xdr_in in;

	xdr_in_init(&in, q->args, q->args_len);
	assert_int_equal(xdr_get_opaque(&in, 100).len, 0);
	c->minor = xdr_get_u32(&in);
	c->ident = xdr_get_u32(&in);
	c->nops = xdr_get_u32(&in);
	if (c->minor) {
		assert_int_equal(c->nops, 2);
		assert_int_equal(xdr_get_u32(&in), NFS4_CB_SEQUENCE);
		memcpy(c->session, xdr_get_fixed(&in, 16), 16);
		c->seq = xdr_get_u32(&in);
		assert_int_equal(xdr_get_u32(&in), 0);		/* slots */
		assert_int_equal(xdr_get_u32(&in), 0);
		assert_int_equal(xdr_get_u32(&in), 0);		/* not to be kept */
		assert_int_equal(xdr_get_u32(&in), 0);		/* referring calls */
	} else {
		assert_int_equal(c->nops, 1);
	}
	c->op = xdr_get_u32(&in);
	assert_false(in.bad);
	c->args_len = xdr_left(&in);
	memcpy(c->args, in.p, c->args_len);
}

U size_t called_answer(const struct called *c, void *buf, size_t cap)
{
	uint32_t status = c->seq_status ? c->seq_status : c->status;
	struct xdr_out out;

	xdr_out_init(&out, buf, cap);
	xdr_put_u32(&out, status);
	xdr_put_u32(&out, 0);
	xdr_put_u32(&out, c->minor && !c->seq_status ? 2 : 1);
	if (c->minor) {
		xdr_put_u32(&out, NFS4_CB_SEQUENCE);
		xdr_put_u32(&out, c->seq_status);
	}
	if (c->minor && !c->seq_status) {
		xdr_put_fixed(&out, c->session, 16);
		xdr_put_u32(&out, c->seq);
		xdr_put_u32(&out, 0);
		xdr_put_u64(&out, 0);
	}
	if (!c->minor || !c->seq_status) {
		xdr_put_u32(&out, c->op);
		xdr_put_u32(&out, c->status);
		if (c->results_len && !c->status)
			xdr_put_fixed(&out, c->results, c->results_len);
	}
	assert_false(out.full);
	return xdr_out_len(&out);
}

U int called_fn(void *arg, const struct rpc_request *q, void *buf, size_t cap, size_t *ret_len)
{
	struct called *c = arg;
	int err = c->err;

	assert_int_equal(q->vers, 1);
	c->prog = q->prog;
	c->cred = *q->cred;
	*ret_len = 0;
	if (q->proc == 0)
		c->nulls++;
	else
		called_parse(c, q);
	if (c->after_ns)
		loop_sleep_ns(c->after_ns);
	if (q->proc) {
		c->calls++;
		*ret_len = err ? 0 : called_answer(c, buf, cap);
	}
	if (c->once && q->proc && !--c->once)
		c->err = c->seq_status = c->status = 0;
	return err;
}

U void called_init(struct called *c)
{
	*c = (struct called){ .peer = NULL };
	c->peer = rpc_peer_local(called_fn, c);
	assert_non_null(c->peer);
}

/* Calls come from C from now on, until called_done(). */
U void called_use(struct called *c)
{
	rpc_peer_put(P.via);
	P.via = rpc_peer_get(c->peer);
}

U void called_done(struct called *c)
{
	rpc_peer_cut(c->peer);
	rpc_peer_put(c->peer);
}

/* Lets what was begun go on: callbacks are sent by fibers of their own. */
U void settle(void) { proto_sleep(1000); }

U void put_sec_none(void)
{
	msg_u32(&M, 1);
	msg_u32(&M, 0);
}

/* CREATE_SESSION; RET_FLAGS is what it says of the back channel.  PUT_SEC writes the kinds of
 * credentials. */
U uint32_t create_back(uint32_t minor, struct sess *s, uint32_t flags, void (*put_sec)(void),
		       uint32_t *ret_flags)
{
	uint32_t status;

	begin(minor);
	op(OP_CREATE_SESSION);
	msg_u64(&M, s->clientid);
	msg_u32(&M, s->create_seq);
	msg_u32(&M, flags);
	put_channel(1 << 20, 4096, 16, 8);
	put_channel(4096, 4096, 8, 4);
	msg_u32(&M, CB_PROG);
	put_sec();
	status = run();
	assert_int_equal(res(OP_CREATE_SESSION), status);
	if (status)
		return status;
	memcpy(s->id, xdr_get_fixed(&R, 16), 16);
	assert_int_equal(xdr_get_u32(&R), s->create_seq++);
	*ret_flags = xdr_get_u32(&R);
	xdr_get_fixed(&R, 28);
	assert_int_equal(xdr_get_u32(&R), 0);
	assert_true(xdr_get_u32(&R) <= 4096);
	assert_true(xdr_get_u32(&R) <= 4096);
	assert_int_equal(xdr_get_u32(&R), 0);
	assert_true(xdr_get_u32(&R) <= 8);
	assert_int_equal(xdr_get_u32(&R), 1);
	assert_int_equal(xdr_get_u32(&R), 0);
	end_of_reply();
	s->seq = s->slot = 0;
	settle();
	return NFS4_OK;
}

/* A client whose calls come from C, with a session that has a back channel to it. */
U struct sess arrive_called(const char *owner, uint32_t minor, struct called *c)
{
	struct sess s = { 0 };
	uint32_t flags;

	called_use(c);
	assert_int_equal(exchange(owner, 1, 0, &s, &flags), NFS4_OK);
	assert_int_equal(create_back(minor, &s, BACK_CHAN, put_sec_none, &flags), NFS4_OK);
	assert_int_equal(flags, BACK_CHAN);
	return s;
}

U struct sess new_called_client(const char *owner, uint32_t minor, struct called *c)
{
	struct sess s = arrive_called(owner, minor, c);

	assert_int_equal(reclaim_complete(&s), NFS4_OK);
	return s;
}

/* What SEQUENCE says of the client's state. */
U uint32_t seq_flags(struct sess *s)
{
	begin(1);
	seq(s);
	assert_int_equal(run(), NFS4_OK);
	ok(OP_SEQUENCE);
	xdr_get_fixed(&R, 32);
	return xdr_get_u32(&R);
}

U struct nfs4_client *client_of(const struct sess *s)
{
	return nfs4_client_find(state_now(), s->clientid);
}

U uint32_t bind_conn(const struct sess *s, uint32_t dir, uint32_t *ret_dir)
{
	uint32_t status;

	begin(1);
	op(OP_BIND_CONN);
	msg_bytes(&M, s->id, 16);
	msg_u32(&M, dir);
	msg_u32(&M, 0);
	status = run();
	assert_int_equal(res(OP_BIND_CONN), status);
	if (!status) {
		xdr_get_fixed(&R, 16);
		*ret_dir = xdr_get_u32(&R);
		assert_int_equal(xdr_get_u32(&R), 0);
		end_of_reply();
	}
	settle();
	return status;
}

#endif
