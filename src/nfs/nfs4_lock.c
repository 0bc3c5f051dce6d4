/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte-range locks (RFC 8881 section 9 and 18.10 to 18.12), as POSIX has them: an owner's own
 * locks don't conflict, a new one replaces what it covers, unlocking may split.  They are
 * advisory: READ and WRITE don't look at them.
 *
 * Who is refused asks again; nobody is called back when a lock gets free.
 */
#include <stdlib.h>
#include "nfs/nfs4_state.h"

struct span { uint64_t first, last; };

static uint32_t get_span(const struct nfs4_lock_range *r, struct span *ret)
{
	if (!r->length)
		return NFS4ERR_INVAL;
	if (r->length == UINT64_MAX) {
		*ret = (struct span){ r->offset, UINT64_MAX };
		return NFS4_OK;
	}
	if (r->length > UINT64_MAX - r->offset)
		return NFS4ERR_INVAL;
	*ret = (struct span){ r->offset, r->offset + (r->length - 1) };
	return NFS4_OK;
}

static bool is_write(uint32_t type)
{
	return type == NFS4_WRITE_LT || type == NFS4_WRITEW_LT;
}

static uint32_t check_file(struct nfs4_compound *cp, const struct nfs4_lock_range *r,
			   struct span *ret_span)
{
	struct fs_attr a;
	uint32_t status;

	if (r->type < NFS4_READ_LT || r->type > NFS4_WRITEW_LT)
		return NFS4ERR_INVAL;
	status = get_span(r, ret_span);
	if (!status)
		status = nfs4_status(fs_getattr(&cp->f.req, cp->cur.id, &a));
	if (status)
		return status;
	status = nfs4_wrong_type(a.type, FS_REG);
	return status;
}

static bool same_owner(const struct nfs4_range *r, const struct nfs4_client *c,
		       struct xdr_bytes owner)
{
	const struct nfs4_owner *o = r->lock->sid.owner;

	return o->client == c && o->len == owner.len && !memcmp(o->name, owner.s, owner.len);
}

/* A lock of somebody else that excludes this one.  Clients whose lease ran out make way. */
static struct nfs4_range *conflict(struct nfs4_state *st, struct fs_id id, struct span s,
				   bool write, const struct nfs4_client *c, struct xdr_bytes owner)
{
	struct nfs4_file *f;
	struct list *e;
again:
	f = nfs4_file_find(st, &id);
	if (!f)
		return NULL;
	list_each(e, &f->ranges) {
		struct nfs4_range *r = container_of(e, struct nfs4_range, in_file);
		struct nfs4_client *holder = r->lock->sid.client;

		if (r->last < s.first || r->first > s.last || (!write && !r->write) ||
		    same_owner(r, c, owner))
			continue;
		if (holder == c || !nfs4_client_expired(st, holder))
			return r;
		nfs4_client_drop(st, holder);
		goto again;
	}
	return NULL;
}

static uint32_t deny(struct nfs4_op *op, const struct nfs4_range *r)
{
	op->lock.denied = (struct nfs4_lock_range){
		.type = r->write ? NFS4_WRITE_LT : NFS4_READ_LT, .offset = r->first,
		.length = r->last == UINT64_MAX ? UINT64_MAX : r->last - r->first + 1,
	};
	op->lock.ret_clientid = r->lock->sid.client->id;
	op->lock.ret_owner = (struct xdr_bytes){ r->lock->sid.owner->name,
						 r->lock->sid.owner->len };
	return NFS4ERR_DENIED;
}

/* ---- an owner's ranges of a file ----------------------------------------------------- */

static struct nfs4_range *add_range(struct nfs4_lock *l, struct span s, bool write)
{
	struct nfs4_range *r = malloc(sizeof(*r));

	if (!r)
		return NULL;
	*r = (struct nfs4_range){ .first = s.first, .last = s.last, .write = write, .lock = l };
	list_add_tail(&l->sid.file->ranges, &r->in_file);
	l->nranges++;
	l->sid.client->nranges++;
	return r;
}

/* Takes S out of what L has.  The one that S splits, if any, keeps its front; the rest is SPARE,
 * which the caller made before anything was changed. */
static bool cut(struct nfs4_lock *l, struct span s, struct nfs4_range *spare)
{
	bool used = false;
	struct list *e, *tmp;

	list_each_safe(e, tmp, &l->sid.file->ranges) {
		struct nfs4_range *r = container_of(e, struct nfs4_range, in_file);

		if (r->lock != l || r == spare || r->last < s.first || r->first > s.last)
			continue;
		if (r->first >= s.first && r->last <= s.last) {
			nfs4_range_free(r);
		} else if (r->first < s.first && r->last > s.last) {
			spare->first = s.last + 1;
			spare->last = r->last;
			spare->write = r->write;
			r->last = s.first - 1;
			used = true;
		} else if (r->first < s.first) {
			r->last = s.first - 1;
		} else {
			r->first = s.last + 1;
		}
	}
	return used;
}

/* Neighbours of the same kind become one, so that a file locked piece by piece stays cheap. */
static void merge(struct nfs4_lock *l, struct nfs4_range *n)
{
	struct list *e, *tmp;

	list_each_safe(e, tmp, &l->sid.file->ranges) {
		struct nfs4_range *r = container_of(e, struct nfs4_range, in_file);

		if (r == n || r->lock != l || r->write != n->write)
			continue;
		if (r->last != UINT64_MAX && r->last + 1 == n->first)
			n->first = r->first;
		else if (n->last != UINT64_MAX && n->last + 1 == r->first)
			n->last = r->last;
		else
			continue;
		nfs4_range_free(r);
	}
}

static uint32_t set_range(struct nfs4_lock *l, struct span s, bool write)
{
	struct nfs4_range *n, *spare;

	if (l->sid.client->nranges + 2 > NFS4_LOCKS_MAX)
		return NFS4ERR_DELAY;
	spare = add_range(l, s, write);
	if (!spare)
		return NFS4ERR_DELAY;
	n = add_range(l, s, write);
	if (!n) {
		nfs4_range_free(spare);
		return NFS4ERR_DELAY;
	}
	list_del(&n->in_file);			/* out of the way of cut() */
	if (!cut(l, s, spare))
		nfs4_range_free(spare);
	list_add_tail(&l->sid.file->ranges, &n->in_file);
	merge(l, n);
	return NFS4_OK;
}

static uint32_t clear_range(struct nfs4_lock *l, struct span s)
{
	struct nfs4_range *spare = add_range(l, s, false);

	if (!spare)
		return NFS4ERR_DELAY;
	if (!cut(l, s, spare))
		nfs4_range_free(spare);
	return NFS4_OK;
}

/* ---- operations ---------------------------------------------------------------------- */

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
		*ret_lock = nfs4_lock_find(*ret_open, op->lock.owner);
	} else {
		*ret_lock = container_of(s, struct nfs4_lock, sid);
		op->lock.owner = (struct xdr_bytes){ s->owner->name, s->owner->len };
	}
	return NFS4_OK;
}

uint32_t nfs4_lock(struct nfs4_compound *cp, struct nfs4_op *op)
{
	bool write = is_write(op->lock.range.type), made = false;
	struct nfs4_range *other;
	struct nfs4_lock *l = NULL;
	struct nfs4_open *o;
	struct span s;
	uint32_t status = check_file(cp, &op->lock.range, &s);

	if (!status && op->lock.reclaim)
		status = NFS4ERR_NO_GRACE;
	if (!status && !cp->client->reclaimed)
		status = NFS4ERR_GRACE;
	if (!status)
		status = find_lock(cp, op, &o, &l);
	if (status)
		return status;
	if (!(o->access & (write ? NFS4_OPEN_WRITE : NFS4_OPEN_READ)))
		return NFS4ERR_OPENMODE;
	other = conflict(cp->st, cp->cur.id, s, write, cp->client, op->lock.owner);
	if (other)
		return deny(op, other);
	if (!l) {
		if (cp->client->nlocks >= NFS4_LOCKS_MAX ||
		    nfs4_lock_new(cp->st, o, op->lock.owner, &l))
			return NFS4ERR_DELAY;
		made = true;
	}
	status = set_range(l, s, write);
	if (!status)
		answer(cp, l);
	else if (made)
		nfs4_lock_free(cp->st, l);
	return status;
}

uint32_t nfs4_lockt(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct nfs4_range *other;
	struct span s;
	uint32_t status = check_file(cp, &op->lock.range, &s);

	if (status)
		return status;
	other = conflict(cp->st, cp->cur.id, s, is_write(op->lock.range.type), cp->client,
			 op->lock.owner);
	return other ? deny(op, other) : NFS4_OK;
}

uint32_t nfs4_locku(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct nfs4_lock *l;
	struct nfs4_sid *sid;
	struct span s;
	uint32_t status = get_span(&op->lock.range, &s);

	if (!status && (op->lock.range.type < NFS4_READ_LT || op->lock.range.type > NFS4_WRITEW_LT))
		status = NFS4ERR_INVAL;
	if (!status)
		status = nfs4_stateid_here(cp, &op->lock.id, &sid);
	if (status)
		return status;
	if (sid->kind != NFS4_SID_LOCK)
		return NFS4ERR_BAD_STATEID;
	l = container_of(sid, struct nfs4_lock, sid);
	status = clear_range(l, s);
	if (!status)
		answer(cp, l);
	return status;
}
