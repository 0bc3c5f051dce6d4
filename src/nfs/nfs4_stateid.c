/* SPDX-License-Identifier: Apache-2.0 */
/* Files, owners, opens, locks, and the stateids that name them; see nfs4_state.h. */
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "nfs/nfs4_state.h"

/* ---- files and owners ---------------------------------------------------------------- */

static bool same_file(const struct fs_id *a, const struct fs_id *b)
{
	return a->volume == b->volume && a->snapshot == b->snapshot && a->ino == b->ino &&
	       a->generation == b->generation;
}

static uint64_t file_hash(const struct fs_id *id)
{
	const uint64_t key[] = { (uint64_t)id->volume << 32 | id->snapshot, id->ino,
				 id->generation };

	return hash64(key, sizeof(key));
}

struct nfs4_file *nfs4_file_find(const struct nfs4_state *st, const struct fs_id *id)
{
	struct nfs4_link *l;

	if (!st->files.n)
		return NULL;
	for (l = nfs4_table_first(&st->files, file_hash(id)); l; l = nfs4_table_next(l)) {
		struct nfs4_file *f = container_of(l, struct nfs4_file, link);

		if (same_file(&f->id, id))
			return f;
	}
	return NULL;
}

static struct nfs4_file *file_get(struct nfs4_state *st, const struct fs_id *id)
{
	struct nfs4_file *f = nfs4_file_find(st, id);

	if (f || !nfs4_table_room(&st->files))
		return f;
	f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->id = *id;
	list_init(&f->opens);
	list_init(&f->ranges);
	nfs4_table_add(&st->files, &f->link, file_hash(id));
	return f;
}

static void file_put(struct nfs4_state *st, struct nfs4_file *f)
{
	if (!list_empty(&f->opens))
		return;
	nfs4_table_del(&st->files, &f->link);
	free(f);
}

static uint64_t owner_hash(const struct nfs4_client *c, struct xdr_bytes name, bool locks)
{
	return hash64(name.s, name.len) ^ (c->id * 2 + locks) * 0x9e3779b97f4a7c15ull;
}

static struct nfs4_owner *owner_find(const struct nfs4_state *st, const struct nfs4_client *c,
				     struct xdr_bytes name, bool locks)
{
	struct nfs4_link *l = nfs4_table_first(&st->owners, owner_hash(c, name, locks));

	for (; l; l = nfs4_table_next(l)) {
		struct nfs4_owner *o = container_of(l, struct nfs4_owner, link);

		if (o->client == c && o->locks == locks && o->len == name.len &&
		    !memcmp(o->name, name.s, name.len))
			return o;
	}
	return NULL;
}

static struct nfs4_owner *owner_get(struct nfs4_state *st, struct nfs4_client *c,
				    struct xdr_bytes name, bool locks)
{
	struct nfs4_owner *o = owner_find(st, c, name, locks);

	if (!o) {
		o = nfs4_table_room(&st->owners) ? calloc(1, sizeof(*o) + name.len) : NULL;
		if (!o)
			return NULL;
		o->client = c;
		o->locks = locks;
		o->len = name.len;
		memcpy(o->name, name.s, name.len);
		nfs4_table_add(&st->owners, &o->link, owner_hash(c, name, locks));
	}
	o->refs++;
	return o;
}

static void owner_put(struct nfs4_state *st, struct nfs4_owner *o)
{
	if (--o->refs)
		return;
	nfs4_table_del(&st->owners, &o->link);
	free(o);
}

/* ---- opens --------------------------------------------------------------------------- */

static void sid_add(struct nfs4_state *st, struct nfs4_sid *s)
{
	s->id = st->next_id++;
	nfs4_table_add(&st->sids, &s->link, s->id);
}

struct nfs4_open *nfs4_open_find(const struct nfs4_state *st, const struct nfs4_client *c,
				 struct xdr_bytes owner, const struct nfs4_file *f)
{
	const struct nfs4_owner *who = owner_find(st, c, owner, false);
	struct list *e;

	if (!who || !f)
		return NULL;
	list_each(e, &f->opens) {
		struct nfs4_open *o = container_of(e, struct nfs4_open, in_file);

		if (o->sid.owner == who)
			return o;
	}
	return NULL;
}

int nfs4_open_new(struct nfs4_state *st, struct nfs4_client *c, struct xdr_bytes owner,
		  const struct fs_id *id, struct nfs4_open **ret_open)
{
	struct nfs4_open *o = nfs4_table_room(&st->sids) ? calloc(1, sizeof(*o)) : NULL;
	struct nfs4_owner *who = o ? owner_get(st, c, owner, false) : NULL;
	struct nfs4_file *f = who ? file_get(st, id) : NULL;

	if (!f) {
		if (who)
			owner_put(st, who);
		free(o);
		return -ENOMEM;
	}
	o->sid.client = c;
	o->sid.owner = who;
	o->sid.file = f;
	list_init(&o->locks);
	list_add_tail(&f->opens, &o->in_file);
	list_add_tail(&c->opens, &o->in_client);
	c->nopens++;
	sid_add(st, &o->sid);
	*ret_open = o;
	return 0;
}

void nfs4_open_free(struct nfs4_state *st, struct nfs4_open *o)
{
	while (!list_empty(&o->locks))
		nfs4_lock_free(st, container_of(o->locks.next, struct nfs4_lock, in_open));
	nfs4_table_del(&st->sids, &o->sid.link);
	list_del(&o->in_file);
	list_del(&o->in_client);
	o->sid.client->nopens--;
	owner_put(st, o->sid.owner);
	file_put(st, o->sid.file);
	free(o);
}

bool nfs4_share_conflict(struct nfs4_state *st, struct nfs4_file *f, const struct nfs4_open *self,
			 uint32_t access, uint32_t deny)
{
	struct list *e;
again:
	if (!f)
		return false;
	list_each(e, &f->opens) {
		struct nfs4_open *o = container_of(e, struct nfs4_open, in_file);

		if (o == self || (!(o->deny & access) && !(o->access & deny)))
			continue;
		if (!nfs4_client_expired(st, o->sid.client) ||
		    (self && self->sid.client == o->sid.client))
			return true;
		const struct fs_id id = f->id;	/* its client's going may take the file along */

		nfs4_client_drop(st, o->sid.client);
		f = nfs4_file_find(st, &id);
		goto again;
	}
	return false;
}

/* ---- locks --------------------------------------------------------------------------- */

struct nfs4_lock *nfs4_lock_find(struct nfs4_open *o, struct xdr_bytes owner)
{
	struct list *e;

	list_each(e, &o->locks) {
		struct nfs4_lock *l = container_of(e, struct nfs4_lock, in_open);

		if (l->sid.owner->len == owner.len &&
		    !memcmp(l->sid.owner->name, owner.s, owner.len))
			return l;
	}
	return NULL;
}

int nfs4_lock_new(struct nfs4_state *st, struct nfs4_open *o, struct xdr_bytes owner,
		  struct nfs4_lock **ret_lock)
{
	struct nfs4_lock *l = nfs4_table_room(&st->sids) ? calloc(1, sizeof(*l)) : NULL;
	struct nfs4_owner *who = l ? owner_get(st, o->sid.client, owner, true) : NULL;

	if (!who) {
		free(l);
		return -ENOMEM;
	}
	l->sid.kind = NFS4_SID_LOCK;
	l->sid.client = o->sid.client;
	l->sid.owner = who;
	l->sid.file = o->sid.file;
	l->open = o;
	list_add_tail(&o->locks, &l->in_open);
	o->sid.client->nlocks++;
	sid_add(st, &l->sid);
	*ret_lock = l;
	return 0;
}

void nfs4_range_free(struct nfs4_range *r)
{
	r->lock->nranges--;
	r->lock->sid.client->nranges--;
	list_del(&r->in_file);
	free(r);
}

void nfs4_lock_free(struct nfs4_state *st, struct nfs4_lock *l)
{
	struct list *e, *tmp;

	list_each_safe(e, tmp, &l->sid.file->ranges) {
		struct nfs4_range *r = container_of(e, struct nfs4_range, in_file);

		if (r->lock == l)
			nfs4_range_free(r);
	}
	nfs4_table_del(&st->sids, &l->sid.link);
	list_del(&l->in_open);
	l->sid.client->nlocks--;
	owner_put(st, l->sid.owner);
	free(l);
}

/* ---- stateids ------------------------------------------------------------------------ */

enum special { ORDINARY, ANONYMOUS, BYPASS, CURRENT, INVALID };

static enum special special(const struct nfs4_stateid *id)
{
	if (!id->boot && !id->id)
		return id->seqid == 0 ? ANONYMOUS : id->seqid == 1 ? CURRENT : INVALID;
	if (id->boot == UINT32_MAX && id->id == UINT64_MAX)
		return id->seqid == UINT32_MAX ? BYPASS : INVALID;
	return ORDINARY;
}

struct nfs4_stateid nfs4_stateid_of(const struct nfs4_state *st, const struct nfs4_sid *s)
{
	return (struct nfs4_stateid){ s->seqid, st->boot, s->id };
}

void nfs4_stateid_raise(struct nfs4_sid *s)
{
	if (!++s->seqid)
		s->seqid = 1;		/* 0 means "the newest" */
}

static struct nfs4_sid *lookup(const struct nfs4_state *st, const struct nfs4_stateid *id)
{
	struct nfs4_link *l = NULL;

	if (id->boot == st->boot)
		l = nfs4_table_first(&st->sids, id->id);
	return l ? container_of(l, struct nfs4_sid, link) : NULL;
}

uint32_t nfs4_stateid_find(struct nfs4_compound *cp, const struct nfs4_stateid *id,
			   struct nfs4_sid **ret_sid)
{
	struct nfs4_stateid want = *id;
	struct nfs4_sid *s;

	if (special(id) == CURRENT) {
		if (!cp->cur.has_stateid)
			return NFS4ERR_BAD_STATEID;
		want = cp->cur.stateid;
		want.seqid = 0;
	}
	if (special(&want) != ORDINARY)
		return NFS4ERR_BAD_STATEID;
	s = lookup(cp->st, &want);
	if (!s || s->client != cp->client)
		return NFS4ERR_BAD_STATEID;
	if (want.seqid && want.seqid != s->seqid)
		return (int32_t)(want.seqid - s->seqid) < 0 ? NFS4ERR_OLD_STATEID :
							      NFS4ERR_BAD_STATEID;
	*ret_sid = s;
	return NFS4_OK;
}

uint32_t nfs4_stateid_here(struct nfs4_compound *cp, const struct nfs4_stateid *id,
			   struct nfs4_sid **ret_sid)
{
	struct nfs4_sid *s;
	uint32_t status = nfs4_stateid_find(cp, id, &s);

	if (status)
		return status;
	if (!same_file(&s->file->id, &cp->cur.id))
		return NFS4ERR_BAD_STATEID;
	*ret_sid = s;
	return NFS4_OK;
}

uint32_t nfs4_stateid_io(struct nfs4_compound *cp, const struct nfs4_fh *fh,
			 const struct nfs4_stateid *id, uint32_t access)
{
	struct nfs4_stateid want = *id;
	struct nfs4_open *o;
	struct nfs4_sid *s;
	enum special kind = special(id);
	uint32_t status;

	if (kind == CURRENT) {
		if (!fh->has_stateid)
			return NFS4ERR_BAD_STATEID;
		want = fh->stateid;
		want.seqid = 0;
		kind = special(&want);
	}
	if (kind == BYPASS && access == NFS4_OPEN_READ)
		return NFS4_OK;
	if (kind == ANONYMOUS || kind == BYPASS)
		return nfs4_share_conflict(cp->st, nfs4_file_find(cp->st, &fh->id), NULL,
					   access, 0) ? NFS4ERR_LOCKED : NFS4_OK;
	status = nfs4_stateid_find(cp, &want, &s);
	if (status)
		return status;
	if (!same_file(&s->file->id, &fh->id))
		return NFS4ERR_BAD_STATEID;
	o = nfs4_sid_open(s);
	return o && (o->access & access) == access ? NFS4_OK : NFS4ERR_OPENMODE;
}
