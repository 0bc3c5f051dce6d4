/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NFSv4.0's clients, and what else it does in its own way (RFC 7530); see nfs4_v40.h.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "base/rng.h"
#include "nfs/nfs4_v40.h"

enum { OP_COMMIT = 5, OP_CREATE = 6, OP_LINK = 11, OP_LOCKT = 13, OP_LOOKUP = 15, OP_LOOKUPP = 16,
       OP_OPEN = 18, OP_PUTFH = 22, OP_PUTPUBFH = 23, OP_PUTROOTFH = 24, OP_READ = 25,
       OP_READDIR = 26, OP_REMOVE = 28, OP_RENAME = 29, OP_RESTOREFH = 31, OP_SECINFO = 33,
       OP_WRITE = 38 };

/* ---- who asks ------------------------------------------------------------------------ */

static void use(struct nfs4_compound *cp, struct nfs4_client *c)
{
	if (cp->client != c) {
		nfs4_v40_end(cp);
		nfs4_client_get(c);
		cp->client = c;
		cp->f.req.by = c;
	}
	nfs4_client_renew(cp->st, c);
}

void nfs4_v40_end(struct nfs4_compound *cp)
{
	if (cp->client)
		nfs4_client_put(cp->st, cp->client);
	cp->client = NULL;
	cp->f.req.by = NULL;
}

uint32_t nfs4_v40_client(struct nfs4_compound *cp, uint64_t clientid)
{
	struct nfs4_client *c;

	if (clientid >> 32 != cp->st->boot)
		return NFS4ERR_STALE_CLIENTID;
	c = nfs4_client_find(cp->st, clientid);
	if (!c || !c->confirmed || !c->v40)
		return NFS4ERR_EXPIRED;
	use(cp, c);
	return NFS4_OK;
}

uint32_t nfs4_v40_sid(struct nfs4_compound *cp, const struct nfs4_stateid *id,
		      struct nfs4_sid **ret_sid)
{
	struct nfs4_sid *s;

	if (nfs4_stateid_is_special(cp, id))
		return NFS4ERR_BAD_STATEID;
	if (id->boot != cp->st->boot)
		return NFS4ERR_STALE_STATEID;
	s = nfs4_sid_find(cp->st, id);
	if (!s)
		return nfs4_client_find(cp->st, nfs4_sid_clientid(cp->st, id)) ?
			       NFS4ERR_BAD_STATEID : NFS4ERR_EXPIRED;
	if (!s->client->v40)
		return NFS4ERR_BAD_STATEID;
	if (s->client->dead)
		return NFS4ERR_EXPIRED;
	use(cp, s->client);
	*ret_sid = s;
	return NFS4_OK;
}

bool nfs4_v40_sid_valid(const struct nfs4_sid *s)
{
	return s->kind != NFS4_SID_CLOSED && (!s->owner || s->owner->seq->confirmed);
}

uint32_t nfs4_v40_begin(struct nfs4_compound *cp, struct nfs4_op *op, unsigned flags,
			const uint8_t *args)
{
	if (flags & NFS4_ONCE && rpc_call_once(cp->call, nfs4_call_digest(cp))) {
		cp->replaying = true;
		return NFS4_OK;
	}
	if (op->num == OP_LOCKT)
		return nfs4_v40_client(cp, op->lock.clientid);
	if (!(flags & NFS4_SEQID))
		return NFS4_OK;
	return nfs4_seqid_begin(cp, op, hash64(args, cp->in.p - args));
}

/* ---- SETCLIENTID --------------------------------------------------------------------- */

static void copy_text(char *to, size_t size, struct xdr_bytes from)
{
	if (from.len >= size || memchr(from.s, 0, from.len))
		return;				/* no address that we could call */
	memcpy(to, from.s, from.len);
}

static struct nfs4_callback callback(const struct nfs4_op *op)
{
	struct nfs4_callback cb = { .prog = op->setclientid.prog, .ident = op->setclientid.ident };

	copy_text(cb.netid, sizeof(cb.netid), op->setclientid.netid);
	copy_text(cb.addr, sizeof(cb.addr), op->setclientid.addr);
	return cb;
}

bool nfs4_callback_addr(const struct nfs4_callback *cb, struct rpc_addr *ret_addr)
{
	struct rpc_addr a = { .ip = { [10] = 0xff, [11] = 0xff } };
	char host[NFS4_ADDR_TEXT];
	unsigned hi, lo;
	char *dot;
	int end = 0;

	memcpy(host, cb->addr, sizeof(host));
	for (int i = 0; i < 2; i++) {		/* the last two numbers are the port */
		dot = strrchr(host, '.');
		if (!dot)
			return false;
		*dot = 0;
	}
	if (sscanf(cb->addr + (dot - host), ".%3u.%3u%n", &hi, &lo, &end) != 2 ||
	    cb->addr[dot - host + end] || hi > 255 || lo > 255 || !(hi | lo))
		return false;
	a.port = hi << 8 | lo;
	if (!strcmp(cb->netid, "tcp") ? inet_pton(AF_INET, host, a.ip + 12) != 1 :
	    strcmp(cb->netid, "tcp6") || inet_pton(AF_INET6, host, a.ip) != 1)
		return false;
	*ret_addr = a;
	return true;
}

static uint64_t new_confirm(void)
{
	uint64_t v;

	do
		secure_random(&v, sizeof(v));
	while (!v);
	return v;
}

static uint32_t in_use(struct nfs4_op *op, const struct nfs4_client *c)
{
	const struct nfs4_callback *cb = &c->v40->cb;

	op->setclientid.netid = (struct xdr_bytes){ (const uint8_t *)cb->netid,
						    strlen(cb->netid) };
	op->setclientid.addr = (struct xdr_bytes){ (const uint8_t *)cb->addr, strlen(cb->addr) };
	return NFS4ERR_CLID_INUSE;
}

/* The same incarnation of C: he wants to be called back elsewhere, if anything. */
static uint32_t move(struct nfs4_op *op, struct nfs4_client *c)
{
	c->v40->moving = true;
	c->v40->new_confirm = new_confirm();
	c->v40->new_cb = callback(op);
	op->setclientid.clientid = c->id;
	op->setclientid.confirm = c->v40->new_confirm;
	return NFS4_OK;
}

static uint32_t introduce(struct nfs4_compound *cp, struct nfs4_op *op, struct nfs4_principal who)
{
	struct nfs4_v40 *v = calloc(1, sizeof(*v));
	struct nfs4_client *c;

	c = v ? nfs4_client_new(cp->st, v, op->setclientid.id, op->setclientid.verifier, who) :
		NULL;
	if (!c) {
		free(v);
		return NFS4ERR_DELAY;
	}
	v->confirm = new_confirm();
	v->cb = callback(op);
	c->reclaimed = true;			/* there is no RECLAIM_COMPLETE */
	op->setclientid.clientid = c->id;
	op->setclientid.confirm = v->confirm;
	return NFS4_OK;
}

/* The cases of RFC 7530 section 16.33.5. */
uint32_t nfs4_setclientid(struct nfs4_compound *cp, struct nfs4_op *op)
{
	const struct nfs4_principal who = nfs4_principal_of(cp);
	struct nfs4_client *conf, *unconf;
	bool same;

	conf = nfs4_client_by_owner(cp->st, 0, op->setclientid.id, true);
	same = conf && nfs4_same_principal(conf->principal, who);
	if (conf && !same && nfs4_client_has_state(conf) && !nfs4_client_expired(cp->st, conf))
		return in_use(op, conf);
	unconf = nfs4_client_by_owner(cp->st, 0, op->setclientid.id, false);
	if (unconf)
		nfs4_client_drop(cp->st, unconf);
	if (same && conf->verifier == op->setclientid.verifier)
		return move(op, conf);
	return introduce(cp, op, who);
}

static void call_back(struct nfs4_compound *cp, struct nfs4_client *c)
{
	const struct nfs4_callback *cb = &c->v40->cb;
	struct rpc_addr a;

	nfs4_cb_address(cp->st, c, nfs4_callback_addr(cb, &a) ? &a : NULL, cb->prog, cb->ident);
}

/* The client is who it says: its predecessor with the same name makes way. */
static void confirm(struct nfs4_compound *cp, struct nfs4_client *c)
{
	const struct xdr_bytes id = { c->owner, c->owner_len };
	struct nfs4_client *old = nfs4_client_by_owner(cp->st, 0, id, true);

	/* the same client that started again knows of nothing that it had; another one's state goes
	 * as if it were in the way */
	if (old && nfs4_same_principal(old->principal, c->principal))
		nfs4_client_drop(cp->st, old);
	else if (old)
		nfs4_client_expire(cp->st, old);
	c->confirmed = true;
	call_back(cp, c);
}

/* The cases of RFC 7530 section 16.34.5. */
uint32_t nfs4_setclientid_confirm(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct nfs4_client *c = nfs4_client_find(cp->st, op->setclientid.clientid);
	struct nfs4_v40 *v = c ? c->v40 : NULL;

	if (!v)
		return NFS4ERR_STALE_CLIENTID;
	if (!nfs4_same_principal(c->principal, nfs4_principal_of(cp)))
		return NFS4ERR_CLID_INUSE;
	if (v->moving && op->setclientid.confirm == v->new_confirm) {
		v->moving = false;
		v->confirm = v->new_confirm;
		v->cb = v->new_cb;
		call_back(cp, c);
	}
	if (op->setclientid.confirm != v->confirm)
		return NFS4ERR_STALE_CLIENTID;
	if (!c->confirmed)
		confirm(cp, c);
	use(cp, c);
	return NFS4_OK;
}

uint32_t nfs4_renew(struct nfs4_compound *cp, struct nfs4_op *op)
{
	uint32_t status = nfs4_v40_client(cp, op->clientid.clientid);

	if (!status && cp->client->ndelegs && nfs4_cb_path_down(cp->client))
		return NFS4ERR_CB_PATH_DOWN;
	return status;
}

/* ---- owners -------------------------------------------------------------------------- */

uint32_t nfs4_open_confirm(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct nfs4_sid *s;
	uint32_t status = nfs4_v40_sid(cp, &op->stateid.id, &s);
	struct nfs4_stateid id;

	if (status)
		return status;
	if (s->kind != NFS4_SID_OPEN || s->owner->seq->confirmed)
		return NFS4ERR_BAD_STATEID;
	status = nfs4_stateid_check(cp, &op->stateid.id, s, &cp->cur.id);
	if (status)
		return status;
	s->owner->seq->confirmed = true;
	nfs4_stateid_raise(s);
	id = nfs4_stateid_of(cp->st, s);
	nfs4_set_stateid(cp, &id);
	return NFS4_OK;
}

static struct nfs4_lock *lock_of(struct list *in_owner)
{
	return container_of(container_of(in_owner, struct nfs4_sid, in_owner), struct nfs4_lock,
			    sid);
}

uint32_t nfs4_release_lockowner(struct nfs4_compound *cp, struct nfs4_op *op)
{
	uint32_t status = nfs4_v40_client(cp, op->lock_owner.clientid);
	struct nfs4_owner *o;
	struct list *e;

	if (status)
		return status;
	o = nfs4_owner_find(cp->st, cp->client, op->lock_owner.owner, true);
	if (!o)
		return NFS4_OK;
	list_each(e, &o->sids)
		if (lock_of(e)->holder.nranges)
			return NFS4ERR_LOCKS_HELD;
	o->refs++;				/* so that it outlives the last of them */
	while (!list_empty(&o->sids))
		nfs4_lock_free(cp->st, lock_of(o->sids.next));
	nfs4_owner_put(cp->st, o);
	return NFS4_OK;
}

/* ---- status words -------------------------------------------------------------------- */

#define IN(x) (1ull << OP_##x)
#define ANYWHERE UINT64_MAX

/* What later minor versions say more exactly, and what is said of it in which operations.  The
 * first that fits. */
static const struct { uint32_t is, becomes; uint64_t in; } words[] = {
	{ NFS4ERR_WRONG_TYPE, NFS4ERR_SYMLINK, IN(OPEN) },	/* "not a regular file" */
	{ NFS4ERR_WRONG_TYPE, NFS4ERR_INVAL, ANYWHERE },
	{ NFS4ERR_SYMLINK, NFS4ERR_NOTDIR, IN(CREATE) | IN(LINK) | IN(LOOKUPP) | IN(READDIR) |
					   IN(REMOVE) | IN(RENAME) | IN(SECINFO) },
	{ NFS4ERR_SYMLINK, NFS4ERR_INVAL,
	  ~(IN(COMMIT) | IN(LOOKUP) | IN(OPEN) | IN(READ) | IN(WRITE)) },
	{ NFS4ERR_NOFILEHANDLE, NFS4ERR_RESTOREFH, IN(RESTOREFH) },
	{ NFS4ERR_WRONGSEC, NFS4ERR_ACCESS,
	  ~(IN(LINK) | IN(LOOKUP) | IN(OPEN) | IN(PUTFH) | IN(PUTPUBFH) | IN(PUTROOTFH) |
	    IN(RENAME) | IN(RESTOREFH)) },
	{ NFS4ERR_TOO_MANY_OPS, NFS4ERR_RESOURCE, ANYWHERE },
	{ NFS4ERR_REP_TOO_BIG, NFS4ERR_RESOURCE, ANYWHERE },
};

uint32_t nfs4_v40_status(uint32_t num, uint32_t status)
{
	uint64_t op = num < 64 ? 1ull << num : 0;

	for (size_t i = 0; status && i < sizeof(words) / sizeof(*words); i++)
		if (words[i].is == status && (words[i].in & op || words[i].in == ANYWHERE))
			return words[i].becomes;
	return status <= NFS4ERR_CB_PATH_DOWN ? status : NFS4ERR_SERVERFAULT;
}
