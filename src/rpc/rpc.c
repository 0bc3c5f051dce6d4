/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ONC RPC: headers, credentials, and the way of a call through its procedure's row.
 *
 *   call:   xid, CALL, 2, prog, vers, proc, cred, verf, arguments
 *   reply:  xid, REPLY, MSG_ACCEPTED, verf, accept_stat, results
 *           xid, REPLY, MSG_DENIED, RPC_MISMATCH low high | AUTH_ERROR why
 *
 * A call that must be refused is refused in rpc_call_run(), so that parsing has one way out.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <xxhash.h>
#include "base/err.h"
#include "rpc/client.h"
#include "rpc/drc.h"
#include "rpc/rpc.h"

enum { MSG_CALL = 0, MSG_REPLY = 1 };
enum { MSG_ACCEPTED = 0, MSG_DENIED = 1 };
enum { DENIED_MISMATCH = 0, DENIED_AUTH = 1 };

/* What rpc_call_parse() found, beside the accept_stat values: */
enum { REFUSE_NOT = 0, REFUSE_VERSION = 100, REFUSE_AUTH = 101 };

#define DIGEST_BYTES 512	/* of the arguments that go into the digest */

bool rpc_addr_is_v4(const struct rpc_addr *a)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	return !memcmp(a->ip, mapped, 12);
}

void rpc_addr_text(const struct rpc_addr *a, char ret_text[RPC_ADDR_TEXT])
{
	if (rpc_addr_is_v4(a))
		inet_ntop(AF_INET, a->ip + 12, ret_text, RPC_ADDR_TEXT);
	else
		inet_ntop(AF_INET6, a->ip, ret_text, RPC_ADDR_TEXT);
}

bool rpc_addr_parse(const char *text, struct rpc_addr *ret_addr)
{
	struct rpc_addr a = { .ip = { [10] = 0xff, [11] = 0xff } };

	if (inet_pton(AF_INET, text, a.ip + 12) != 1 && inet_pton(AF_INET6, text, a.ip) != 1)
		return false;
	*ret_addr = a;
	return true;
}

void rpc_service_check(const struct rpc_service *s)
{
	for (unsigned i = 0; i < s->nbindings; i++) {
		const struct rpc_program *g = s->bindings[i].program;

		assert(s->bindings[i].stats);
		for (unsigned k = 0; k < g->nprocs; k++) {
			const struct rpc_proc *row = &g->procs[k];

			assert(row->args_bytes <= RPC_ARGS_MAX && row->res_bytes <= RPC_RES_MAX);
			assert(!row->handle || row->name);
		}
	}
}

/* ---- parsing ------------------------------------------------------------------------- */

static enum rpc_auth_stat parse_sys(struct rpc_call *c, struct xdr_bytes body)
{
	struct xdr_in x;

	xdr_in_init(&x, body.s, body.len);
	xdr_get_u32(&x);				/* stamp */
	c->cred_body = x.p;				/* all that matters of it */
	c->cred_len = xdr_left(&x);
	xdr_get_opaque(&x, 255);			/* machine's name */
	c->cred.uid = xdr_get_u32(&x);
	c->cred.gid = xdr_get_u32(&x);
	c->cred.ngroups = xdr_get_u32(&x);
	if (x.bad || c->cred.ngroups > RPC_GROUPS_MAX)
		return RPC_AUTH_BADCRED;
	for (uint32_t i = 0; i < c->cred.ngroups; i++)
		c->cred.groups[i] = xdr_get_u32(&x);
	return x.bad || xdr_left(&x) ? RPC_AUTH_BADCRED : RPC_AUTH_OK;
}

static enum rpc_auth_stat parse_cred(struct rpc_call *c, struct xdr_in *x)
{
	uint32_t flavor = xdr_get_u32(x), verf_flavor;
	struct xdr_bytes body = xdr_get_opaque(x, RPC_AUTH_MAX);

	verf_flavor = xdr_get_u32(x);
	xdr_get_opaque(x, RPC_AUTH_MAX);
	if (x->bad)
		return RPC_AUTH_OK;			/* the caller looks at bad */
	c->cred.flavor = flavor;
	if (flavor != RPC_AUTH_NONE && flavor != RPC_AUTH_SYS)
		return RPC_AUTH_REJECTEDCRED;
	if (verf_flavor != RPC_AUTH_NONE)
		return RPC_AUTH_REJECTEDVERF;
	return flavor == RPC_AUTH_SYS ? parse_sys(c, body) : RPC_AUTH_OK;
}

/* Finds program, version and procedure; the order of refusals is RFC 5531's. */
static void find_row(struct rpc_call *c, const struct rpc_service *s)
{
	bool known = false;

	for (unsigned i = 0; i < s->nbindings; i++) {
		const struct rpc_program *g = s->bindings[i].program;

		if (g->prog != c->prog)
			continue;
		if (g->vers == c->vers) {
			c->binding = &s->bindings[i];
			break;
		}
		c->low = known && c->low < g->vers ? c->low : g->vers;
		c->high = known && c->high > g->vers ? c->high : g->vers;
		known = true;
	}
	if (!c->binding) {
		c->refusal = known ? RPC_PROG_MISMATCH : RPC_PROG_UNAVAIL;
		return;
	}
	if (c->proc < c->binding->program->nprocs)
		c->row = &c->binding->program->procs[c->proc];
	if (!c->row || !c->row->handle || (c->datagram && c->row->flags & RPC_NOT_UDP)) {
		c->refusal = RPC_PROC_UNAVAIL;
		c->row = NULL;
		return;
	}
	if (c->cred.flavor == RPC_AUTH_NONE && !(c->row->flags & RPC_ANY_AUTH)) {
		c->refusal = REFUSE_AUTH;
		c->auth_stat = RPC_AUTH_TOOWEAK;
	}
}

uint64_t rpc_call_digest(const struct rpc_call *c)
{
	size_t len = c->in.end - c->body;
	uint64_t h;

	if (c->digest)
		return c->digest;
	h = XXH3_64bits_withSeed(c->peer.ip, sizeof(c->peer.ip), len);
	h = XXH3_64bits_withSeed(c->cred_body, c->cred_len, h ^ c->prog << 8 ^ c->vers);
	h = XXH3_64bits_withSeed(c->body, len < DIGEST_BYTES ? len : DIGEST_BYTES, h);
	return h ? h : 1;
}

static void call_init(struct rpc_call *c, const struct rpc_service *s)
{
	c->service = s;
	c->binding = NULL;
	c->row = NULL;
	c->replayed = NULL;
	c->lost = false;
	c->digest = 0;
	c->status = 0;
	c->auth_stat = RPC_AUTH_OK;
	c->forget = c->release_due = false;
	c->refusal = REFUSE_NOT;
	c->big = NULL;
	c->entry = NULL;
	c->known = (struct iovec){ 0 };
	c->cred = (struct rpc_cred){ 0 };
	c->cred_body = c->head;
	c->cred_len = 0;
	xdr_out_init(&c->out, c->head, sizeof(c->head));
	memset(xdr_room(&c->out, RPC_MARK_BYTES), 0, RPC_MARK_BYTES);
}

int rpc_call_parse(struct rpc_call *c, const struct rpc_service *s, const void *data, size_t len)
{
	struct xdr_in *x = &c->in;
	uint32_t type, rpcvers;

	xdr_in_init(x, data, len);
	call_init(c, s);
	c->xid = xdr_get_u32(x);
	type = xdr_get_u32(x);
	rpcvers = xdr_get_u32(x);
	if (x->bad || type != MSG_CALL)
		return -EBADMSG;
	if (rpcvers != RPC_VERSION) {
		c->refusal = REFUSE_VERSION;
		return 0;
	}
	c->prog = xdr_get_u32(x);
	c->vers = xdr_get_u32(x);
	c->proc = xdr_get_u32(x);
	c->auth_stat = parse_cred(c, x);
	if (x->bad)
		return -EBADMSG;
	c->body = x->p;
	if (c->auth_stat)
		c->refusal = REFUSE_AUTH;
	else
		find_row(c, s);
	if (c->row && c->row->flags & RPC_ONCE)
		c->digest = rpc_call_digest(c);
	return 0;
}

/* ---- replies ------------------------------------------------------------------------- */

static void put_accepted(struct rpc_call *c, enum rpc_accept_stat stat)
{
	xdr_put_u32(&c->out, c->xid);
	xdr_put_u32(&c->out, MSG_REPLY);
	xdr_put_u32(&c->out, MSG_ACCEPTED);
	xdr_put_u32(&c->out, RPC_AUTH_NONE);
	xdr_put_u32(&c->out, 0);
	xdr_put_u32(&c->out, stat);
	if (stat == RPC_PROG_MISMATCH) {
		xdr_put_u32(&c->out, c->low);
		xdr_put_u32(&c->out, c->high);
	}
}

static void put_denied(struct rpc_call *c, uint32_t why)
{
	xdr_put_u32(&c->out, c->xid);
	xdr_put_u32(&c->out, MSG_REPLY);
	xdr_put_u32(&c->out, MSG_DENIED);
	xdr_put_u32(&c->out, why);
	if (why == DENIED_MISMATCH) {
		xdr_put_u32(&c->out, RPC_VERSION);
		xdr_put_u32(&c->out, RPC_VERSION);
	} else {
		xdr_put_u32(&c->out, c->auth_stat);
	}
}

/* Throws away what was written of a reply. */
static void rewind_reply(struct rpc_call *c)
{
	xdr_out_done(&c->out);
	xdr_out_init(&c->out, c->head, sizeof(c->head));
	memset(xdr_room(&c->out, RPC_MARK_BYTES), 0, RPC_MARK_BYTES);
}

static void put_refusal(struct rpc_call *c)
{
	if (c->refusal == REFUSE_VERSION)
		put_denied(c, DENIED_MISMATCH);
	else if (c->refusal == REFUSE_AUTH)
		put_denied(c, DENIED_AUTH);
	else
		put_accepted(c, c->refusal);
	xdr_out_finish(&c->out);
}

static void refuse(struct rpc_call *c, uint8_t refusal)
{
	c->refusal = refusal;
	c->forget = true;
	rewind_reply(c);
	put_refusal(c);
}

int rpc_call_reserve(struct rpc_call *c, size_t bytes)
{
	void *big;

	if (bytes + 128 <= sizeof(c->head))
		return 0;
	assert(!c->big);
	big = malloc(bytes + 128);
	if (!big)
		return -ENOMEM;
	c->big = big;
	xdr_out_move(&c->out, big, bytes + 128);
	return 0;
}

/* ---- running ------------------------------------------------------------------------- */

uint64_t rpc_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* The answer of the first call is the answer of this one: only the xid's place is the same. */
static void put_known(struct rpc_call *c)
{
	size_t len = c->known.iov_len;
	uint8_t *p;

	if (rpc_call_reserve(c, len)) {
		c->lost = true;
		return;
	}
	p = xdr_room(&c->out, len - RPC_MARK_BYTES);
	memcpy(p, (uint8_t *)c->known.iov_base + RPC_MARK_BYTES, len - RPC_MARK_BYTES);
	xdr_out_finish(&c->out);
}

static void handle(struct rpc_call *c)
{
	const struct rpc_proc *row = c->row;

	if (row->decode)
		row->decode(&c->in, c->args);
	if (c->in.bad) {
		refuse(c, RPC_GARBAGE_ARGS);
		return;
	}
	if (!(row->flags & RPC_RES_RAW))
		memset(c->res, 0, row->res_bytes);
	c->release_due = true;
	c->status = row->handle(c, c->args, c->res);
	if (c->known.iov_base) {
		put_known(c);
		return;
	}
	if (c->auth_stat) {
		refuse(c, REFUSE_AUTH);
		return;
	}
	put_accepted(c, RPC_SUCCESS);
	if (row->encode)
		row->encode(c, &c->out, c->res);
	xdr_out_finish(&c->out);
	if (c->out.full && c->out.lean)
		c->lost = true;
	else if (c->out.full)
		refuse(c, RPC_SYSTEM_ERR);
}

static struct drc *drc_of(const struct rpc_call *c)
{
	return c->row->flags & RPC_BULK ? c->service->bulk_drc : c->service->drc;
}

/* True: it was executed before, and C's answer is known. */
static bool enter(struct rpc_call *c)
{
	struct drc_key key = { c->digest, c->xid, c->proc };
	struct drc *d = drc_of(c);

	return d && drc_enter(d, &key, &c->entry, &c->replayed, &c->known) == DRC_KNOWN;
}

bool rpc_call_once(struct rpc_call *c, uint64_t digest)
{
	if (c->digest)
		return false;			/* entered already */
	c->digest = digest;
	return enter(c);
}

void rpc_call_run(struct rpc_call *c)
{
	struct rpc_proc_stats *st;

	if (c->refusal) {
		put_refusal(c);
		return;
	}
	c->begun_ns = rpc_now_ns();
	c->ended_ns = 0;
	if (c->digest && enter(c))
		put_known(c);
	else
		handle(c);
	if (c->entry)
		drc_leave(drc_of(c), c->entry, c->out.iov, c->forget || c->lost ? 0 : c->out.niov);
	st = &c->binding->stats[c->proc];
	st->calls++;
	st->errors += c->status || c->refusal;
	st->total_ns += (c->ended_ns ? c->ended_ns : rpc_now_ns()) - c->begun_ns;
}

uint32_t rpc_call_cost(const struct rpc_call *c)
{
	struct xdr_in in = c->in;
	_Alignas(16) uint8_t args[RPC_ARGS_MAX];

	if (!c->row || c->refusal || !c->row->cost)
		return 0;
	c->row->decode(&in, args);
	return in.bad ? 0 : c->row->cost(args);
}

void rpc_call_done(struct rpc_call *c)
{
	if (c->release_due && c->row->release)
		c->row->release(c, c->res);
	c->release_due = false;
	xdr_out_done(&c->out);
	free(c->big);
	c->big = NULL;
}

int rpc_serve(const struct rpc_service *s, const struct rpc_addr *peer, const void *call,
	      size_t len, uint8_t **ret_reply, size_t *ret_len)
{
	return rpc_serve_via(s, peer, NULL, call, len, ret_reply, ret_len);
}

int rpc_serve_via(const struct rpc_service *s, const struct rpc_addr *addr, struct rpc_peer *via,
		  const void *call, size_t len, uint8_t **ret_reply, size_t *ret_len)
{
	struct rpc_call *c = malloc(sizeof(*c));
	uint8_t *flat;
	size_t at = 0;
	int err;

	if (!c)
		return -ENOMEM;
	c->peer = c->local = *addr;
	c->conn = NULL;
	c->via = via;
	c->datagram = false;
	err = rpc_call_parse(c, s, call, len);
	if (err) {
		free(c);
		return err;
	}
	rpc_call_run(c);
	flat = c->lost ? NULL : malloc(xdr_out_len(&c->out));
	for (unsigned i = 0; flat && i < c->out.niov; i++) {
		memcpy(flat + at, c->out.iov[i].iov_base, c->out.iov[i].iov_len);
		at += c->out.iov[i].iov_len;
	}
	rpc_call_done(c);
	free(c);
	if (!flat)
		return -ENOMEM;
	memmove(flat, flat + RPC_MARK_BYTES, at - RPC_MARK_BYTES);
	*ret_reply = flat;
	*ret_len = at - RPC_MARK_BYTES;
	return 0;
}
