/* SPDX-License-Identifier: Apache-2.0 */
/* Files, opens, locks, and the stateids that name them; see nfs4_state.h. */
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "nfs/nfs4_deleg.h"
#include "nfs/nfs4_v40.h"
#include "nfs/nlm.h"

/* The file is counted with each of its opens. */
#define OPEN_BYTES (sizeof(struct nfs4_open) + sizeof(struct nfs4_file))

/* ---- files --------------------------------------------------------------------------- */

bool nfs4_same_file(const struct fs_id *a, const struct fs_id *b)
{
	return a->volume == b->volume && a->snapshot == b->snapshot && a->ino == b->ino &&
	       a->generation == b->generation;
}

uint64_t nfs4_file_hash(const struct fs_id *id)
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
	for (l = nfs4_table_first(&st->files, nfs4_file_hash(id)); l; l = nfs4_table_next(l)) {
		struct nfs4_file *f = container_of(l, struct nfs4_file, link);

		if (nfs4_same_file(&f->id, id))
			return f;
	}
	return NULL;
}

struct nfs4_file *nfs4_file_get(struct nfs4_state *st, const struct fs_id *id)
{
	struct nfs4_file *f = nfs4_file_find(st, id);

	if (f || !nfs4_table_room(&st->files))
		return f;
	f = calloc(1, sizeof(*f));
	if (!f || fs_hold(st->server->fs, *id)) {
		free(f);
		return NULL;
	}
	f->id = *id;
	list_init(&f->opens);
	list_init(&f->shares);
	list_init(&f->delegs);
	lock_set_init(&f->locks);
	nfs4_table_add(&st->files, &f->link, nfs4_file_hash(id));
	return f;
}

void nfs4_file_put(struct nfs4_state *st, struct nfs4_file *f)
{
	if (!list_empty(&f->opens) || !list_empty(&f->delegs) || f->nlm)
		return;
	nfs4_table_del(&st->files, &f->link);
	if (!st->ending)
		fs_unhold(st->server->fs, f->id);
	free(f);
}

/* ---- opens --------------------------------------------------------------------------- */

static uint64_t pair_hash(const struct nfs4_owner *o, const struct nfs4_file *f)
{
	const uintptr_t key[] = { (uintptr_t)o, (uintptr_t)f };

	return hash64(key, sizeof(key));
}

static bool sid_room(struct nfs4_state *st)
{
	return nfs4_table_room(&st->sids) && nfs4_table_room(&st->pairs);
}

uint64_t nfs4_sid_number(const struct nfs4_state *st, struct nfs4_client *c)
{
	struct nfs4_stateid id = { .boot = st->boot };

	do
		id.id = c->id << 32 | ++c->next_sid;
	while (nfs4_sid_find(st, &id));
	return id.id;
}

static void sid_add(struct nfs4_state *st, struct nfs4_sid *s)
{
	s->id = nfs4_sid_number(st, s->client);
	list_init(&s->in_owner);
	nfs4_table_add(&st->sids, &s->link, nfs4_sid_hash(s->id));
	if (!s->owner)
		return;
	list_add_tail(&s->owner->sids, &s->in_owner);
	nfs4_table_add(&st->pairs, &s->by_pair, pair_hash(s->owner, s->file));
}

bool nfs4_sid_add(struct nfs4_state *st, struct nfs4_sid *s)
{
	if (!sid_room(st))
		return false;
	sid_add(st, s);
	return true;
}

void nfs4_sid_del(struct nfs4_state *st, struct nfs4_sid *s)
{
	list_del(&s->in_owner);
	nfs4_table_del(&st->sids, &s->link);
	if (s->owner)
		nfs4_table_del(&st->pairs, &s->by_pair);
}

/* What OWNER of C has on F, of which there is one at most. */
static struct nfs4_sid *sid_of_pair(const struct nfs4_state *st, const struct nfs4_client *c,
				    struct xdr_bytes owner, bool locks, const struct nfs4_file *f)
{
	const struct nfs4_owner *who = f ? nfs4_owner_find(st, c, owner, locks) : NULL;
	struct nfs4_link *l = who ? nfs4_table_first(&st->pairs, pair_hash(who, f)) : NULL;

	for (; l; l = nfs4_table_next(l)) {
		struct nfs4_sid *s = container_of(l, struct nfs4_sid, by_pair);

		if (s->owner == who && s->file == f)
			return s;
	}
	return NULL;
}

struct nfs4_open *nfs4_open_find(const struct nfs4_state *st, const struct nfs4_client *c,
				 struct xdr_bytes owner, const struct nfs4_file *f)
{
	struct nfs4_sid *s = sid_of_pair(st, c, owner, false, f);

	return s ? container_of(s, struct nfs4_open, sid) : NULL;
}

/* SIZE bytes for an open or a lock state, and room in the tables; counted as BYTES. */
static void *new_state(struct nfs4_state *st, struct nfs4_client *c, size_t size, size_t bytes)
{
	void *p = NULL;

	nfs4_state_make_room(st, bytes);
	if (!nfs4_state_take(st, c, bytes))
		return NULL;
	if (sid_room(st))
		p = calloc(1, size);
	if (!p)
		nfs4_state_give(st, c, bytes);
	return p;
}

static void free_state(struct nfs4_state *st, struct nfs4_client *c, void *p, size_t bytes)
{
	if (!p)
		return;
	nfs4_state_give(st, c, bytes);
	free(p);
}

bool nfs4_open_fits(struct nfs4_state *st, struct nfs4_client *c, uint32_t owner_len)
{
	size_t bytes = OPEN_BYTES + nfs4_owner_bytes(c, owner_len);

	if (c->nopens >= NFS4_OPENS_MAX)
		return false;
	nfs4_state_make_room(st, bytes);
	if (!nfs4_state_take(st, c, bytes))
		return false;
	nfs4_state_give(st, c, bytes);
	return true;
}

int nfs4_open_new(struct nfs4_state *st, struct nfs4_client *c, struct xdr_bytes owner,
		  const struct fs_id *id, struct nfs4_open **ret_open)
{
	struct nfs4_open *o = new_state(st, c, sizeof(*o), OPEN_BYTES);
	struct nfs4_owner *who = o ? nfs4_owner_get(st, c, owner, false) : NULL;
	struct nfs4_file *f = who ? nfs4_file_get(st, id) : NULL;

	if (!f) {
		if (who)
			nfs4_owner_put(st, who);
		free_state(st, c, o, OPEN_BYTES);
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

static void count_bits(unsigned n[2], uint32_t before, uint32_t after)
{
	for (int i = 0; i < 2; i++)
		n[i] += (after >> i & 1) - (before >> i & 1);
}

void nfs4_open_set(struct nfs4_open *o, uint32_t access, uint32_t deny)
{
	count_bits(o->sid.file->accessed, o->access, access);
	count_bits(o->sid.file->denied, o->deny, deny);
	o->access = access;
	o->deny = deny;
}

static bool any_of(const unsigned n[2], uint32_t bits)
{
	return (bits & 1 && n[0]) || (bits & 2 && n[1]);
}

static void forget_waiters(struct nfs4_client *c, const struct nfs4_file *f)
{
	struct list *e, *tmp;

	list_each_safe(e, tmp, &c->waiters) {
		struct nfs4_waiter *w = container_of(e, struct nfs4_waiter, in_client);

		if (w->file == f)
			nfs4_waiter_free(w);
	}
}

/* Waiters go with any open of theirs, so that none outlives its file; who still wants the lock
 * asks again. */
void nfs4_open_free(struct nfs4_state *st, struct nfs4_open *o)
{
	struct nfs4_client *c = o->sid.client;

	forget_waiters(c, o->sid.file);
	nfs4_open_set(o, 0, 0);
	while (!list_empty(&o->locks))
		nfs4_lock_free(st, container_of(o->locks.next, struct nfs4_lock, in_open));
	nfs4_sid_del(st, &o->sid);
	list_del(&o->in_file);
	list_del(&o->in_client);
	c->nopens--;
	nfs4_owner_put(st, o->sid.owner);
	nfs4_file_put(st, o->sid.file);
	free_state(st, c, o, OPEN_BYTES);
}

/* The first open that excludes another; those of clients whose lease runs go first. */
static struct nfs4_open *find_conflict(const struct nfs4_state *st, const struct nfs4_file *f,
				       const struct nfs4_open *self, uint32_t access, uint32_t deny)
{
	struct nfs4_open *late = NULL;
	struct list *e;

	if (!any_of(f->denied, access) && !any_of(f->accessed, deny))
		return NULL;			/* so it mostly is, however many have it open */
	list_each(e, &f->opens) {
		struct nfs4_open *o = container_of(e, struct nfs4_open, in_file);

		if (o == self || (!(o->deny & access) && !(o->access & deny)))
			continue;
		if (!nfs4_client_expired(st, o->sid.client))
			return o;
		late = o;
	}
	return late;
}

uint32_t nfs4_open_conflict(struct nfs4_state *st, struct nfs4_file *f,
			    const struct nfs4_open *self, uint32_t access, uint32_t deny)
{
	while (f) {
		struct nfs4_open *o = find_conflict(st, f, self, access, deny);
		const struct fs_id id = f->id;	/* its client's going may take the file along */

		if (!o)
			return NFS4_OK;
		if (!nfs4_client_expired(st, o->sid.client))
			return NFS4ERR_SHARE_DENIED;
		if (!nfs4_client_expire(st, o->sid.client))
			return NFS4ERR_DELAY;
		f = nfs4_file_find(st, &id);
	}
	return NFS4_OK;
}

uint32_t nfs4_share_conflict(struct nfs4_state *st, struct nfs4_file *f,
			     const struct nfs4_open *self, uint32_t access, uint32_t deny)
{
	if (f && nlm_share_conflict(f, NULL, access, deny))
		return NFS4ERR_SHARE_DENIED;
	return nfs4_open_conflict(st, f, self, access, deny);
}

/* ---- locks --------------------------------------------------------------------------- */

struct nfs4_lock *nfs4_lock_find(const struct nfs4_state *st, const struct nfs4_client *c,
				 struct xdr_bytes owner, const struct nfs4_file *f)
{
	struct nfs4_sid *s = sid_of_pair(st, c, owner, true, f);

	return s ? container_of(s, struct nfs4_lock, sid) : NULL;
}

int nfs4_lock_new(struct nfs4_state *st, struct nfs4_open *o, struct xdr_bytes owner,
		  struct nfs4_lock **ret_lock)
{
	struct nfs4_client *c = o->sid.client;
	struct nfs4_lock *l = new_state(st, c, sizeof(*l), sizeof(*l));
	struct nfs4_owner *who = l ? nfs4_owner_get(st, c, owner, true) : NULL;

	if (!who) {
		free_state(st, c, l, sizeof(*l));
		return -ENOMEM;
	}
	l->sid.kind = NFS4_SID_LOCK;
	l->sid.client = c;
	l->sid.owner = who;
	l->sid.file = o->sid.file;
	l->open = o;
	lock_holder_init(&l->holder, &o->sid.file->locks, &c->ranges, LOCK_NFS4);
	list_add_tail(&o->locks, &l->in_open);
	c->nlocks++;
	sid_add(st, &l->sid);
	*ret_lock = l;
	return 0;
}

void nfs4_lock_free(struct nfs4_state *st, struct nfs4_lock *l)
{
	lock_holder_done(&l->holder);
	nfs4_sid_del(st, &l->sid);
	list_del(&l->in_open);
	l->sid.client->nlocks--;
	nfs4_owner_put(st, l->sid.owner);
	free_state(st, l->sid.client, l, sizeof(*l));
}

uint32_t nfs4_lock_conflict(struct nfs4_state *st, struct nfs4_file **f,
			    const struct lock_holder *self, const struct nfs4_client *c,
			    struct lock_span span, const struct lock_range **ret_range)
{
	while (*f) {
		const struct lock_range *r = lock_conflict(&(*f)->locks, self, span);
		struct nfs4_client *holder;

		if (!r)
			return NFS4_OK;
		*ret_range = r;
		if (r->holder->kind != LOCK_NFS4)
			return NFS4ERR_DENIED;
		holder = nfs4_lock_of(r->holder)->sid.client;
		if (holder == c || !nfs4_client_expired(st, holder))
			return NFS4ERR_DENIED;
		const struct fs_id id = (*f)->id;

		if (!nfs4_client_expire(st, holder))
			return NFS4ERR_DELAY;
		*f = nfs4_file_find(st, &id);
	}
	return NFS4_OK;
}

/* ---- stateids ------------------------------------------------------------------------ */

enum special { ORDINARY, ANONYMOUS, BYPASS, CURRENT, INVALID };

static enum special special(const struct nfs4_compound *cp, const struct nfs4_stateid *id)
{
	if (!id->boot && !id->id)
		return id->seqid == 0 ? ANONYMOUS : id->seqid == 1 && cp->minor ? CURRENT :
									      INVALID;
	if (id->boot == UINT32_MAX && id->id == UINT64_MAX)
		return id->seqid == UINT32_MAX ? BYPASS : INVALID;
	return ORDINARY;
}

bool nfs4_stateid_is_special(const struct nfs4_compound *cp, const struct nfs4_stateid *id)
{
	return special(cp, id) != ORDINARY;
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

/* One to one; clients' ids differ in the upper half, what one client has in the lower. */
uint64_t nfs4_sid_hash(uint64_t id)
{
	return id ^ id >> 32;
}

struct nfs4_sid *nfs4_sid_find(const struct nfs4_state *st, const struct nfs4_stateid *id)
{
	struct nfs4_link *l = NULL;

	if (id->boot == st->boot)
		l = nfs4_table_first(&st->sids, nfs4_sid_hash(id->id));
	return l ? container_of(l, struct nfs4_sid, link) : NULL;
}

uint64_t nfs4_sid_clientid(const struct nfs4_state *st, const struct nfs4_stateid *id)
{
	return (uint64_t)st->boot << 32 | id->id >> 32;
}

static uint32_t check_seqid(const struct nfs4_compound *cp, uint32_t seqid,
			    const struct nfs4_sid *s)
{
	if (seqid == s->seqid || (!seqid && cp->minor))		/* 0: the newest */
		return NFS4_OK;
	return (int32_t)(seqid - s->seqid) < 0 ? NFS4ERR_OLD_STATEID : NFS4ERR_BAD_STATEID;
}

uint32_t nfs4_stateid_check(const struct nfs4_compound *cp, const struct nfs4_stateid *id,
			    const struct nfs4_sid *s, const struct fs_id *file)
{
	uint32_t status = check_seqid(cp, id->seqid, s);

	return status ? status : nfs4_same_file(&s->file->id, file) ? NFS4_OK : NFS4ERR_BAD_STATEID;
}

static uint32_t find_v40(struct nfs4_compound *cp, const struct nfs4_stateid *id,
			 struct nfs4_sid **ret_sid)
{
	struct nfs4_sid *s;
	uint32_t status = nfs4_v40_sid(cp, id, &s);

	if (!status && !nfs4_v40_sid_valid(s))
		status = NFS4ERR_BAD_STATEID;
	if (!status)
		status = check_seqid(cp, id->seqid, s);
	if (!status)
		*ret_sid = s;
	return status;
}

uint32_t nfs4_stateid_find(struct nfs4_compound *cp, const struct nfs4_stateid *id,
			   struct nfs4_sid **ret_sid)
{
	struct nfs4_stateid want = *id;
	struct nfs4_sid *s;
	uint32_t status;

	if (!cp->minor)
		return find_v40(cp, id, ret_sid);
	if (special(cp, id) == CURRENT) {
		if (!cp->cur.has_stateid)
			return NFS4ERR_BAD_STATEID;
		want = cp->cur.stateid;
		want.seqid = 0;
	}
	s = special(cp, &want) == ORDINARY ? nfs4_sid_find(cp->st, &want) : NULL;
	if (!s || s->client != cp->client)
		return NFS4ERR_BAD_STATEID;
	status = check_seqid(cp, want.seqid, s);
	if (!status && nfs4_deleg_revoked(s))
		status = NFS4ERR_DELEG_REVOKED;
	if (!status || status == NFS4ERR_DELEG_REVOKED)
		*ret_sid = s;
	return status;
}

uint32_t nfs4_stateid_here(struct nfs4_compound *cp, const struct nfs4_stateid *id,
			   struct nfs4_sid **ret_sid)
{
	struct nfs4_sid *s;
	uint32_t status = nfs4_stateid_find(cp, id, &s);

	if (status)
		return status;
	if (!nfs4_same_file(&s->file->id, &cp->cur.id))
		return NFS4ERR_BAD_STATEID;
	*ret_sid = s;
	return NFS4_OK;
}

static uint32_t to_io(uint32_t share_status)
{
	return share_status == NFS4ERR_SHARE_DENIED ? NFS4ERR_LOCKED : share_status;
}

/* Who has opened a file only to write may read it too, for a cache that writes whole pages: unless
 * others deny it (RFC 7530 section 9.1.6, RFC 8881 section 9.1.2). */
static uint32_t read_to_write(struct nfs4_state *st, struct nfs4_open *o)
{
	return to_io(nfs4_share_conflict(st, o->sid.file, o, NFS4_OPEN_READ, 0));
}

/* Without an open: what nobody denies.  In the grace period nobody knows what is denied. */
static uint32_t io_conflict(struct nfs4_state *st, const struct fs_id *id, uint32_t access)
{
	if (nfs4_in_grace(st))
		return NFS4ERR_GRACE;
	return to_io(nfs4_share_conflict(st, nfs4_file_find(st, id), NULL, access, 0));
}

uint32_t nfs4_stateid_io(struct nfs4_compound *cp, const struct nfs4_fh *fh,
			 const struct nfs4_stateid *id, uint32_t access)
{
	struct nfs4_stateid want = *id;
	struct nfs4_open *o;
	struct nfs4_sid *s;
	enum special kind = special(cp, id);
	uint32_t status;

	if (kind == CURRENT) {
		if (!fh->has_stateid)
			return NFS4ERR_BAD_STATEID;
		want = fh->stateid;
		want.seqid = 0;
		kind = special(cp, &want);
	}
	if (kind == BYPASS && access == NFS4_OPEN_READ)
		return NFS4_OK;
	if (kind == ANONYMOUS || kind == BYPASS)
		return io_conflict(cp->st, &fh->id, access);
	status = nfs4_stateid_find(cp, &want, &s);
	if (status)
		return status;
	if (!nfs4_same_file(&s->file->id, &fh->id))
		return NFS4ERR_BAD_STATEID;
	o = nfs4_sid_open(s);
	if (!o)
		return nfs4_deleg_allows(s, access) ? NFS4_OK : NFS4ERR_OPENMODE;
	if (access == NFS4_OPEN_READ && o->access == NFS4_OPEN_WRITE)
		return read_to_write(cp->st, o);
	return (o->access & access) == access ? NFS4_OK : NFS4ERR_OPENMODE;
}
