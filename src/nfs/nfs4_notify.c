/* SPDX-License-Identifier: Apache-2.0 */
/* See nfs4_notify.h.  A notice is freed when its callback is over. */
#include <stdlib.h>
#include "nfs/nfs4_notify.h"

#define LOCK_TIMEOUT_NS 10000000000ull	/* who waits for it asks again before that is over */

static void put_handle(const struct nfs4_state *st, struct xdr_out *out, const struct fs_id *id)
{
	uint8_t fh[HANDLE_BYTES];

	handle_make(st->server->cfg.handle_key, id, fh);
	xdr_put_opaque(out, fh, sizeof(fh));
}

/* ---- locks --------------------------------------------------------------------------- */

struct lock_notice {			/* counted as its client's state */
	struct nfs4_cb cb;
	struct nfs4_client *client;
	struct fs_id id;
	uint32_t len;
	uint8_t owner[];
};

static void lock_encode(const struct nfs4_state *st, const struct nfs4_cb *cb, struct xdr_out *out)
{
	const struct lock_notice *n = container_of(cb, struct lock_notice, cb);

	put_handle(st, out, &n->id);
	xdr_put_u64(out, cb->client->id);
	xdr_put_opaque(out, n->owner, n->len);
}

static void lock_done(struct nfs4_state *st, struct nfs4_cb *cb, int err, uint32_t status,
		      struct xdr_in *res)
{
	struct lock_notice *n = container_of(cb, struct lock_notice, cb);

	nfs4_state_give(st, n->client, sizeof(*n) + n->len);
	free(n);
}

static const struct nfs4_cb_kind lock_kind = {
	.num = NFS4_CB_NOTIFY_LOCK, .minor = 1, .encode = lock_encode, .done = lock_done,
};

void nfs4_notify_lock(struct nfs4_state *st, struct nfs4_client *c, const struct fs_id *id,
		      struct xdr_bytes owner)
{
	struct lock_notice *n;

	if (!nfs4_cb_works(c) || c->cbs.queued >= NFS4_CB_QUEUE_MAX)
		return;
	if (!nfs4_state_take(st, c, sizeof(*n) + owner.len))
		return;
	n = calloc(1, sizeof(*n) + owner.len);
	if (!n) {
		nfs4_state_give(st, c, sizeof(*n) + owner.len);
		return;
	}
	n->client = c;
	n->id = *id;
	n->len = owner.len;
	memcpy(n->owner, owner.s, owner.len);
	nfs4_cb_send(st, c, &n->cb, &lock_kind, LOCK_TIMEOUT_NS, false);
}

/* ---- copies -------------------------------------------------------------------------- */

struct offload_notice { struct nfs4_cb cb; struct nfs4_offload o; };

static void offload_encode(const struct nfs4_state *st, const struct nfs4_cb *cb,
			   struct xdr_out *out)
{
	const struct nfs4_offload *o = &container_of(cb, struct offload_notice, cb)->o;

	put_handle(st, out, &o->dst);
	nfs4_put_stateid(out, &o->id);
	xdr_put_u32(out, o->status);
	if (!o->status)
		xdr_put_u32(out, 0);		/* nothing goes on */
	xdr_put_u64(out, o->bytes);
	if (o->status)
		return;
	xdr_put_u32(out, o->committed);
	xdr_put_u64(out, o->verifier);
}

static void offload_done(struct nfs4_state *st, struct nfs4_cb *cb, int err, uint32_t status,
			 struct xdr_in *res)
{
	struct offload_notice *n = container_of(cb, struct offload_notice, cb);

	if (n->o.done)
		n->o.done(n->o.arg, !err);
	free(n);
}

static const struct nfs4_cb_kind offload_kind = {
	.num = NFS4_CB_OFFLOAD, .minor = 2, .encode = offload_encode, .done = offload_done,
};

bool nfs4_tell_offload(struct nfs4_state *st, struct nfs4_client *c, const struct nfs4_offload *o)
{
	struct offload_notice *n;

	if (c->dead || c->cbs.queued >= NFS4_CB_QUEUE_MAX)
		return false;
	n = calloc(1, sizeof(*n));
	if (!n)
		return false;
	n->o = *o;
	nfs4_cb_send(st, c, &n->cb, &offload_kind, 2 * st->lease_ns, false);
	return true;
}
