/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte-range locks (RFC 8881 section 9 and 18.10 to 18.12) on the lock table (locks.h).  They are
 * advisory: READ and WRITE don't look at them.
 *
 * Who is refused asks again; if he said that he would wait, he is told when to.
 */
#include <stdlib.h>
#include "nfs/nfs4_state.h"

static uint32_t get_span(const struct nfs4_lock_range *r, struct lock_span *ret)
{
	bool write = r->type == NFS4_WRITE_LT || r->type == NFS4_WRITEW_LT;

	if (r->type < NFS4_READ_LT || r->type > NFS4_WRITEW_LT || !r->length)
		return NFS4ERR_INVAL;
	if (r->length == UINT64_MAX) {
		*ret = (struct lock_span){ r->offset, UINT64_MAX, write };
		return NFS4_OK;
	}
	if (r->length > UINT64_MAX - r->offset)
		return NFS4ERR_INVAL;
	*ret = (struct lock_span){ r->offset, r->offset + (r->length - 1), write };
	return NFS4_OK;
}

static uint32_t check_file(struct nfs4_compound *cp, const struct nfs4_lock_range *r,
			   struct lock_span *ret_span)
{
	struct fs_attr a;
	uint32_t status = get_span(r, ret_span);

	if (!status)
		status = nfs4_status(fs_getattr(&cp->f.req, cp->cur.id, &a));
	return status ? status : nfs4_wrong_type(a.type, FS_REG);
}

static uint32_t deny(struct nfs4_op *op, const struct lock_range *r)
{
	op->lock.denied = (struct nfs4_lock_range){
		.type = r->span.write ? NFS4_WRITE_LT : NFS4_READ_LT, .offset = r->span.first,
		.length = r->span.last == UINT64_MAX ? UINT64_MAX :
						       r->span.last - r->span.first + 1,
	};
	op->lock.ret_clientid = 0;
	op->lock.ret_owner = (struct xdr_bytes){ (const uint8_t *)"", 0 };
	if (r->holder->kind == LOCK_NFS4) {
		const struct nfs4_sid *s = &nfs4_lock_of(r->holder)->sid;

		op->lock.ret_clientid = s->client->id;
		op->lock.ret_owner = (struct xdr_bytes){ s->owner->name, s->owner->len };
	}
	return NFS4ERR_DENIED;
}

static void answer(struct nfs4_compound *cp, struct nfs4_lock *l)
{
	struct nfs4_stateid id;

	nfs4_stateid_raise(&l->sid);
	id = nfs4_stateid_of(cp->st, &l->sid);
	nfs4_set_stateid(cp, &id);
}

/* The open that the lock is under, and the owner's lock state if there is one. */
static uint32_t find_lock(struct nfs4_compound *cp, struct nfs4_op *op, struct nfs4_open **ret_open,
			  struct nfs4_lock **ret_lock)
{
	struct nfs4_sid *s;
	uint32_t status = nfs4_stateid_here(cp, op->lock.fresh ? &op->lock.open : &op->lock.id, &s);

	if (status)
		return status;
	if (s->kind != (op->lock.fresh ? NFS4_SID_OPEN : NFS4_SID_LOCK))
		return NFS4ERR_BAD_STATEID;
	*ret_open = nfs4_sid_open(s);
	if (op->lock.fresh) {
		*ret_lock = nfs4_lock_find(cp->st, cp->client, op->lock.owner, s->file);
	} else {
		*ret_lock = container_of(s, struct nfs4_lock, sid);
		op->lock.owner = (struct xdr_bytes){ s->owner->name, s->owner->len };
	}
	return NFS4_OK;
}

static uint32_t take(struct nfs4_compound *cp, struct nfs4_op *op, struct nfs4_open *o,
		     struct nfs4_lock *l, struct lock_span s)
{
	bool made = !l;

	if (made && (cp->client->nlocks >= NFS4_LOCKS_MAX ||
		     nfs4_lock_new(cp->st, o, op->lock.owner, &l)))
		return NFS4ERR_DELAY;
	if (lock_take(&l->holder, s)) {
		if (made)
			nfs4_lock_free(cp->st, l);
		return NFS4ERR_DELAY;
	}
	nfs4_lock_wait_end(cp->client, op->lock.owner, l->sid.file, s);
	if (op->lock.reclaim)
		nfs4_reclaimed(cp->st);
	answer(cp, l);
	return NFS4_OK;
}

uint32_t nfs4_lock(struct nfs4_compound *cp, struct nfs4_op *op)
{
	const uint32_t type = op->lock.range.type;
	const struct lock_range *other;
	struct nfs4_lock *l = NULL;
	struct nfs4_open *o;
	struct nfs4_file *f;
	struct lock_span s;
	uint32_t status = check_file(cp, &op->lock.range, &s);

	if (!status)
		status = nfs4_check_grace(cp, op->lock.reclaim);
	if (!status)
		status = find_lock(cp, op, &o, &l);
	if (status)
		return status;
	if (!(o->access & (s.write ? NFS4_OPEN_WRITE : NFS4_OPEN_READ)))
		return NFS4ERR_OPENMODE;
	f = o->sid.file;
	status = nfs4_lock_conflict(cp->st, &f, l ? &l->holder : NULL, cp->client, s, &other);
	if (!status)
		return take(cp, op, o, l, s);
	if (status != NFS4ERR_DENIED)
		return status;
	if (op->lock.reclaim)
		return NFS4ERR_RECLAIM_CONFLICT;
	if ((type == NFS4_READW_LT || type == NFS4_WRITEW_LT) && cp->minor)
		nfs4_lock_wait(cp->st, cp->client, op->lock.owner, f, s);
	return deny(op, other);
}

uint32_t nfs4_lockt(struct nfs4_compound *cp, struct nfs4_op *op)
{
	const struct lock_range *other;
	const struct nfs4_lock *l;
	struct nfs4_file *f;
	struct lock_span s;
	uint32_t status = check_file(cp, &op->lock.range, &s);

	if (!status && nfs4_in_grace(cp->st))
		status = NFS4ERR_GRACE;
	if (status)
		return status;
	f = nfs4_file_find(cp->st, &cp->cur.id);
	l = nfs4_lock_find(cp->st, cp->client, op->lock.owner, f);
	status = nfs4_lock_conflict(cp->st, &f, l ? &l->holder : NULL, cp->client, s, &other);
	return status == NFS4ERR_DENIED ? deny(op, other) : status;
}

uint32_t nfs4_locku(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct nfs4_lock *l;
	struct nfs4_sid *sid;
	struct lock_span s;
	uint32_t status = get_span(&op->lock.range, &s);

	if (!status)
		status = nfs4_stateid_here(cp, &op->lock.id, &sid);
	if (status)
		return status;
	if (sid->kind != NFS4_SID_LOCK)
		return NFS4ERR_BAD_STATEID;
	l = container_of(sid, struct nfs4_lock, sid);
	if (lock_release(&l->holder, s))
		return NFS4ERR_DELAY;
	nfs4_lock_wait_end(cp->client, (struct xdr_bytes){ sid->owner->name, sid->owner->len },
			   sid->file, s);
	answer(cp, l);
	return NFS4_OK;
}
