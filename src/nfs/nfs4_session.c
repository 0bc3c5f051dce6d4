/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients introduce themselves, make sessions, and number their requests (RFC 8881 section 2.10
 * and 18.33 to 18.51).
 *
 * A slot:   seq  the last request's number; the next is seq + 1, seq itself is a retry
 *           busy the request of this number is running: its retry is told to come later
 *           reply what it was answered, if the client wanted that kept
 *
 * How clients are called back is in nfs4_callback.c; here it is only said where.
 */
#include <stdlib.h>
#include "nfs/nfs4_state.h"

enum { SUPP_MOVED_REFER = 1, SUPP_MOVED_MIGR = 2, SUPP_FENCE_OPS = 4 /* 4.2 */, BIND_PRINC = 0x100,
       USE_NON_PNFS = 0x10000, USE_PNFS_MDS = 0x20000, USE_PNFS_DS = 0x40000,
       UPDATE_CONFIRMED = 0x40000000 };
#define CONFIRMED 0x80000000u
enum { RECALLABLE_STATE_REVOKED = 0x40, RESTART_RECLAIM_NEEDED = 0x100 };	/* SEQ4_STATUS flags */
enum { PERSIST = 1, CONN_BACK_CHAN = 2, CONN_RDMA = 4 };
#define SHORT_REPLY 160			/* is kept although nobody asked for it: SEQUENCE alone */
/* What is set aside before a call is executed whose answer shall be kept: nothing that changes names has
 * a longer one. */
#define KEPT_LEAST 1024
#define SEQUENCE_BYTES 36		/* of its results */
enum { REQUEST_LEAST = 256, RESPONSE_LEAST = 256 };	/* SEQUENCE alone needs as much */
/* CB_SEQUENCE and one more, on a handle and with the credentials of AUTH_SYS. */
enum { BACK_REQUEST_LEAST = 512, BACK_RESPONSE_LEAST = 128, BACK_OPS_LEAST = 2 };

/* One that never made a session is gone when its lease is over; those of 4.0 make none. */
static struct nfs4_client *find_client(struct nfs4_compound *cp, uint64_t id)
{
	struct nfs4_client *c = nfs4_client_find(cp->st, id);

	if (c && c->v40)
		return NULL;
	if (c && !c->confirmed && nfs4_client_expired(cp->st, c)) {
		nfs4_client_drop(cp->st, c);
		c = NULL;
	}
	return c;
}

/* ---- EXCHANGE_ID --------------------------------------------------------------------- */

static uint32_t exchanged(struct nfs4_op *op, const struct nfs4_client *c)
{
	op->exchange.clientid = c->id;
	op->exchange.seq = c->seq + 1;
	op->exchange.ret_flags = USE_NON_PNFS | (c->confirmed ? CONFIRMED : 0);
	return NFS4_OK;
}

/* Cases 6 to 9 of RFC 8881 section 18.35.4. */
static uint32_t update(struct nfs4_compound *cp, struct nfs4_op *op, struct nfs4_client *conf)
{
	if (!conf)
		return NFS4ERR_NOENT;
	if (conf->verifier != op->exchange.verifier)
		return NFS4ERR_NOT_SAME;
	if (!nfs4_same_principal(conf->principal, nfs4_principal_of(cp)))
		return NFS4ERR_PERM;
	nfs4_client_renew(cp->st, conf);
	return exchanged(op, conf);
}

/* Cases 1 to 5. */
static uint32_t introduce(struct nfs4_compound *cp, struct nfs4_op *op, struct nfs4_client *conf)
{
	const struct nfs4_principal who = nfs4_principal_of(cp);
	struct nfs4_client *c;

	if (conf && !nfs4_same_principal(conf->principal, who)) {
		if ((conf->nsessions || nfs4_client_has_state(conf)) &&
		    !nfs4_client_expired(cp->st, conf))
			return NFS4ERR_CLID_INUSE;
		nfs4_client_expire(cp->st, conf);
		conf = NULL;
	}
	if (conf && conf->verifier == op->exchange.verifier) {
		nfs4_client_renew(cp->st, conf);
		return exchanged(op, conf);
	}
	c = nfs4_client_by_owner(cp->st, 1, op->exchange.owner, false);
	if (c)
		nfs4_client_drop(cp->st, c);
	c = nfs4_client_new(cp->st, NULL, op->exchange.owner, op->exchange.verifier, who);
	return c ? exchanged(op, c) : NFS4ERR_DELAY;
}

uint32_t nfs4_exchange_id(struct nfs4_compound *cp, struct nfs4_op *op)
{
	const uint32_t known = SUPP_MOVED_REFER | SUPP_MOVED_MIGR | BIND_PRINC | USE_NON_PNFS |
			       USE_PNFS_MDS | USE_PNFS_DS | UPDATE_CONFIRMED |
			       (cp->minor > 1 ? SUPP_FENCE_OPS : 0);
	struct nfs4_client *conf;

	if (op->exchange.flags & ~known)
		return NFS4ERR_INVAL;
	if (op->exchange.protect == 2)		/* SSV: no algorithm is offered */
		return NFS4ERR_ENCR_ALG_UNSUPP;
	if (op->exchange.protect)		/* MACH_CRED wants RPCSEC_GSS */
		return NFS4ERR_INVAL;
	conf = nfs4_client_by_owner(cp->st, 1, op->exchange.owner, true);
	if (op->exchange.flags & UPDATE_CONFIRMED)
		return update(cp, op, conf);
	return introduce(cp, op, conf);
}

/* ---- sessions ------------------------------------------------------------------------ */

static uint32_t check_channels(const struct nfs4_op *op)
{
	const struct nfs4_channel *fore = &op->create_session.fore;
	const struct nfs4_channel *back = &op->create_session.back;

	if (op->create_session.flags & ~(PERSIST | CONN_BACK_CHAN | CONN_RDMA))
		return NFS4ERR_INVAL;
	if (fore->max_request < REQUEST_LEAST || fore->max_response < RESPONSE_LEAST)
		return NFS4ERR_TOOSMALL;
	if (!fore->max_ops || !fore->max_slots)
		return NFS4ERR_INVAL;
	if (back->max_request < BACK_REQUEST_LEAST || back->max_response < BACK_RESPONSE_LEAST ||
	    back->max_ops < BACK_OPS_LEAST)
		return NFS4ERR_TOOSMALL;
	return NFS4_OK;
}

static uint32_t new_session(struct nfs4_compound *cp, struct nfs4_op *op, struct nfs4_client *c)
{
	struct nfs4_channel fore = op->create_session.fore;
	struct nfs4_session *s;
	uint32_t status = check_channels(op);

	if (status)
		return status;
	status = nfs4_session_new(cp->st, c, &fore, &s);
	if (status)
		return status;
	s->minor = cp->minor;
	nfs4_back_limit(&op->create_session.back);
	s->back.attrs = op->create_session.back;
	nfs4_back_set(s, op->create_session.cb_prog, &op->create_session.cb_sec);
	if (op->create_session.flags & CONN_BACK_CHAN && nfs4_back_bind(cp->st, s, cp->call))
		op->create_session.flags = CONN_BACK_CHAN;
	else
		op->create_session.flags = 0;
	memcpy(op->create_session.session, s->id, NFS4_SESSION_ID);
	op->create_session.fore = fore;
	return NFS4_OK;
}

/* The client is who it says: a predecessor with the same name makes way. */
static void confirm(struct nfs4_compound *cp, struct nfs4_client *c)
{
	const struct xdr_bytes owner = { c->owner, c->owner_len };
	struct nfs4_client *old;

	if (c->confirmed)
		return;
	old = nfs4_client_by_owner(cp->st, 1, owner, true);
	if (old)
		nfs4_client_drop(cp->st, old);
	c->confirmed = true;
}

static void remember(struct nfs4_client *c, const struct nfs4_op *op)
{
	c->created = (struct nfs4_created){ .status = NFS4_OK, .flags = op->create_session.flags,
					    .fore = op->create_session.fore,
					    .back = op->create_session.back };
	memcpy(c->created.session, op->create_session.session, NFS4_SESSION_ID);
}

static uint32_t recall(const struct nfs4_client *c, struct nfs4_op *op)
{
	op->create_session.flags = c->created.flags;
	op->create_session.fore = c->created.fore;
	op->create_session.back = c->created.back;
	memcpy(op->create_session.session, c->created.session, NFS4_SESSION_ID);
	return c->created.status;
}

uint32_t nfs4_create_session(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct nfs4_client *c = find_client(cp, op->create_session.clientid);
	uint32_t status;

	if (!c)
		return NFS4ERR_STALE_CLIENTID;
	if (op->create_session.seq == c->seq)
		return recall(c, op);
	if (op->create_session.seq != c->seq + 1)
		return NFS4ERR_SEQ_MISORDERED;
	if (!c->confirmed && !nfs4_same_principal(c->principal, nfs4_principal_of(cp)))
		return NFS4ERR_CLID_INUSE;
	nfs4_client_renew(cp->st, c);		/* it is not one of those that make room */
	status = new_session(cp, op, c);
	if (status)
		return status;			/* the number is still to be used */
	c->seq++;
	confirm(cp, c);
	remember(c, op);
	return NFS4_OK;
}

uint32_t nfs4_destroy_session(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct nfs4_session *s = nfs4_session_find(cp->st, op->session.session);
	bool own = s && s == cp->session;

	if (!s)
		return NFS4ERR_BADSESSION;
	if (own && cp->index + 1 != cp->nops)
		return NFS4ERR_NOT_ONLY_OP;
	if (s->active > own)
		return NFS4ERR_DELAY;
	nfs4_session_drop(cp->st, s);
	return NFS4_OK;
}

uint32_t nfs4_destroy_clientid(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct nfs4_client *c = find_client(cp, op->clientid.clientid);

	if (!c)
		return NFS4ERR_STALE_CLIENTID;
	if (c->nsessions || nfs4_client_has_state(c))
		return NFS4ERR_CLIENTID_BUSY;
	if (c->confirmed)
		nfs4_recovery_forget(cp->st, c);
	nfs4_client_drop(cp->st, c);
	return NFS4_OK;
}

/* Any connection may carry any session's requests (state protection is SP4_NONE): what is to be
 * remembered is only where the client may be called back. */
uint32_t nfs4_bind(struct nfs4_compound *cp, struct nfs4_op *op)
{
	enum { FORE = 1, BACK = 2, FORE_OR_BOTH = 3, BACK_OR_BOTH = 7, BOTH = 3 };
	struct nfs4_session *s = nfs4_session_find(cp->st, op->bind.session);

	if (!s)
		return NFS4ERR_BADSESSION;
	switch (op->bind.dir) {
	case FORE:
		break;
	case FORE_OR_BOTH:
		op->bind.dir = nfs4_back_bind(cp->st, s, cp->call) ? BOTH : FORE;
		break;
	case BACK:
	case BACK_OR_BOTH:
		if (!nfs4_back_bind(cp->st, s, cp->call))
			return NFS4ERR_INVAL;
		op->bind.dir = op->bind.dir == BACK ? BACK : BOTH;
		break;
	default:
		return NFS4ERR_INVAL;
	}
	nfs4_client_renew(cp->st, s->client);
	return NFS4_OK;
}

uint32_t nfs4_backchannel_ctl(struct nfs4_compound *cp, struct nfs4_op *op)
{
	if (!op->backchannel.sec.allowed)
		return NFS4ERR_NOENT;		/* no handle of RPCSEC_GSS is known here */
	nfs4_back_set(cp->session, op->backchannel.prog, &op->backchannel.sec);
	return NFS4_OK;
}

uint32_t nfs4_reclaim_complete(struct nfs4_compound *cp, struct nfs4_op *op)
{
	uint32_t status;

	if (op->reclaim.one_fs)
		return cp->cur.set ? NFS4_OK : NFS4ERR_NOFILEHANDLE;
	if (cp->client->reclaimed)
		return NFS4ERR_COMPLETE_ALREADY;
	status = nfs4_recovery_record(cp->st, cp->client);
	if (!status)
		cp->client->reclaimed = true;
	return status;
}

/* ---- SEQUENCE ------------------------------------------------------------------------ */

static uint32_t replay(struct nfs4_compound *cp, struct nfs4_op *op, const struct nfs4_slot *slot)
{
	uint8_t *copy;

	if (slot->digest != cp->digest)
		return NFS4ERR_SEQ_FALSE_RETRY;
	if (!slot->cached) {
		cp->retry_uncached = true;
		return NFS4_OK;
	}
	copy = nfs4_alloc(cp, slot->len);	/* the slot may move on before this has left */
	if (!copy)
		return NFS4ERR_DELAY;
	memcpy(copy, slot->reply, slot->len);
	cp->replay = copy;
	cp->replay_len = slot->len;
	cp->replaying = true;
	return NFS4_OK;
}

static uint32_t check_slot(struct nfs4_compound *cp, struct nfs4_op *op,
			   const struct nfs4_session *s, struct nfs4_slot *slot)
{
	if (slot->busy)
		return op->sequence.seq == slot->seq ? NFS4ERR_DELAY : NFS4ERR_SEQ_MISORDERED;
	if (op->sequence.seq == slot->seq)
		return slot->digest ? replay(cp, op, slot) : NFS4ERR_SEQ_MISORDERED;
	if (op->sequence.seq != slot->seq + 1)
		return NFS4ERR_SEQ_MISORDERED;
	if (cp->nops > s->fore.max_ops)
		return NFS4ERR_TOO_MANY_OPS;
	if (cp->call_bytes > s->fore.max_request)
		return NFS4ERR_REQ_TOO_BIG;
	return NFS4_OK;
}

static bool make_room(struct nfs4_slot *slot, uint32_t bytes)
{
	uint8_t *p;

	if (bytes <= slot->cap)
		return true;
	p = realloc(slot->reply, bytes);
	if (!p)
		return false;
	slot->reply = p;
	slot->cap = bytes;
	return true;
}

static void begin_slot(struct nfs4_compound *cp, const struct nfs4_op *op, struct nfs4_session *s,
		       struct nfs4_slot *slot)
{
	slot->seq = op->sequence.seq;
	slot->busy = true;
	slot->cached = false;
	slot->digest = cp->digest | 1;
	cp->slot = slot;
}

static uint32_t reclaim_flags(const struct nfs4_state *st, const struct nfs4_client *c)
{
	return nfs4_may_reclaim(st, c) ? 0 : RESTART_RECLAIM_NEEDED;
}

/*
 * Whether a call whose session went with a crash changed something before, and could not be
 * answered: to that end the session is a persistent one that is dead (RFC 8881 section 2.10.6.5).
 * Its client would take "no such file" for the answer to its RENAME else, and does not expect that.
 */
static bool done_before_crash(struct nfs4_compound *cp, struct nfs4_op *op)
{
	if (rpc_call_once(cp->call, nfs4_call_digest(cp))) {
		cp->replaying = true;		/* and it has been answered meanwhile */
		return true;
	}
	cp->late = cp->call->replayed;
	cp->call->forget = !cp->late;
	op->sequence.slots = op->sequence.highest + 1;
	op->sequence.flags = 0;
	return cp->late;
}

uint32_t nfs4_sequence(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct nfs4_session *s = nfs4_session_find(cp->st, op->sequence.session);
	struct nfs4_slot *slot;
	uint32_t status;

	if (!s)
		return done_before_crash(cp, op) ? NFS4_OK : NFS4ERR_BADSESSION;
	if (op->sequence.slot >= s->fore.max_slots)
		return NFS4ERR_BADSLOT;
	if (op->sequence.highest >= s->fore.max_slots)
		return NFS4ERR_BAD_HIGH_SLOT;
	slot = &s->slots[op->sequence.slot];
	cp->digest |= 1;			/* 0: the slot was never used */
	status = check_slot(cp, op, s, slot);
	if (status || cp->replaying)
		return status;
	cp->cache = op->sequence.cache;
	cp->max_reply = s->fore.max_response;
	cp->max_cached = s->fore.max_cached;
	status = nfs4_reply_fits(cp, SEQUENCE_BYTES);	/* if not, the slot stays as it is */
	if (status)
		return status;
	if (cp->cache && !make_room(slot, cp->max_cached < KEPT_LEAST ? cp->max_cached : KEPT_LEAST))
		return NFS4ERR_DELAY;
	nfs4_client_renew(cp->st, s->client);
	op->sequence.slots = s->fore.max_slots;
	op->sequence.flags = nfs4_back_flags(s) | reclaim_flags(cp->st, s->client) |
			     (s->client->nrevoked ? RECALLABLE_STATE_REVOKED : 0);
	if (!cp->retry_uncached)
		begin_slot(cp, op, s, slot);
	cp->session = s;
	cp->client = s->client;
	cp->f.req.by = s->client;
	s->active++;
	nfs4_client_get(s->client);
	return NFS4_OK;
}

static uint8_t *put32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, 4);
	return p + 4;
}

static void keep(struct nfs4_compound *cp, struct nfs4_slot *slot)
{
	uint32_t tag = cp->tag.len + xdr_pad(cp->tag.len);
	uint32_t len = 12 + tag + xdr_out_len(&cp->out);
	const struct xdr_out *x = &cp->out;
	uint8_t *p;

	if (len > cp->max_cached && len > SHORT_REPLY)
		return;				/* no room was set aside for it */
	if (!make_room(slot, len))
		return;				/* a retry is told that it was not kept */
	p = put32(put32(slot->reply, cp->status), cp->tag.len);
	memset(p, 0, tag);
	if (tag)
		memcpy(p, cp->tag.s, cp->tag.len);
	p = put32(p + tag, cp->nresults);
	for (unsigned i = 0; i < x->niov; i++) {
		memcpy(p, x->iov[i].iov_base, x->iov[i].iov_len);
		p += x->iov[i].iov_len;
	}
	memcpy(p, x->seg, x->p - x->seg);
	slot->len = len;
	slot->cached = true;
}

void nfs4_sequence_end(struct nfs4_compound *cp)
{
	struct nfs4_slot *slot = cp->slot;

	if (!cp->session)
		return;
	if (slot) {
		slot->busy = false;
		if (!cp->session->dead && !cp->out.full && (cp->cache || cp->nresults <= 1))
			keep(cp, slot);
	}
	nfs4_session_put(cp->st, cp->session);
	nfs4_client_put(cp->st, cp->client);
	cp->session = NULL;
	cp->client = NULL;
}
