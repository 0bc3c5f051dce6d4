/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Delegations; see nfs4_deleg.h.
 *
 * One is among those of its client until it is freed, and among those of its file until it is
 * revoked.  While there is one that wasn't revoked (st->ndelegs_live), the storage asks guard().
 */
#include <assert.h>
#include <stdlib.h>
#include "base/loop.h"
#include "nfs/nfs4_deleg.h"

#define MS 1000000ull

enum { WANT_MASK = 0xff00, WANT_NONE = 0x400, WANT_CANCEL = 0x500 };

struct nfs4_deleg {
	struct nfs4_sid sid;		/* sid.file NULL: it was revoked */
	struct list in_file, in_client;
	bool write, recalled;
	uint64_t recalled_ns;
	uint64_t change;		/* the file's, when it was given */
	struct nfs4_cb recall, getattr;
	/* the last answer to CB_GETATTR */
	unsigned answers;
	bool answered;			/* and not refused */
	uint64_t client_change, client_size;
};

/* The file is counted with each of its delegations. */
#define DELEG_BYTES (sizeof(struct nfs4_deleg) + sizeof(struct nfs4_file))

static struct nfs4_deleg *of_sid(const struct nfs4_sid *s)
{
	return container_of(s, struct nfs4_deleg, sid);
}

static struct nfs4_deleg *of_file(const struct list *e)
{
	return container_of(e, struct nfs4_deleg, in_file);
}

/* ---- life ---------------------------------------------------------------------------- */

static int guard(void *arg, const struct fs_req *req, struct fs_id id, enum fs_use use);

static void count(struct nfs4_state *st, int live)
{
	st->ndelegs_live += live;
	st->guard = (struct fs_guard){ guard, st };
	fs_set_guard(st->server->fs, st->ndelegs_live ? &st->guard : NULL);
}

static struct nfs4_deleg *deleg_new(struct nfs4_state *st, struct nfs4_client *c,
				    struct nfs4_file *f, bool write, uint64_t change)
{
	struct nfs4_deleg *d = NULL;

	if (!nfs4_state_take(st, c, DELEG_BYTES))
		return NULL;
	d = calloc(1, sizeof(*d));
	if (!d) {
		nfs4_state_give(st, c, DELEG_BYTES);
		return NULL;
	}
	d->sid.kind = NFS4_SID_DELEG;
	d->sid.client = c;
	d->sid.file = f;
	if (!nfs4_sid_add(st, &d->sid)) {
		nfs4_state_give(st, c, DELEG_BYTES);
		free(d);
		return NULL;
	}
	nfs4_stateid_raise(&d->sid);
	d->write = write;
	d->change = change;
	list_add_tail(&f->delegs, &d->in_file);
	list_add_tail(&c->delegs, &d->in_client);
	c->ndelegs++;
	st->ndelegs++;
	count(st, 1);
	return d;
}

/* It is not valid any more, and its file may go. */
static void detach(struct nfs4_state *st, struct nfs4_deleg *d)
{
	struct nfs4_file *f = d->sid.file;

	nfs4_cb_cancel(&d->recall);
	nfs4_cb_cancel(&d->getattr);
	d->sid.file = NULL;
	list_del(&d->in_file);
	nfs4_file_put(st, f);
	count(st, -1);
	waitq_wake_all(&st->delegs_changed);
}

static void deleg_free(struct nfs4_state *st, struct nfs4_deleg *d)
{
	if (d->sid.file)
		detach(st, d);
	else
		d->sid.client->nrevoked--;
	nfs4_sid_del(st, &d->sid);
	list_del(&d->in_client);
	d->sid.client->ndelegs--;
	st->ndelegs--;
	nfs4_state_give(st, d->sid.client, DELEG_BYTES);
	free(d);
}

static void revoke(struct nfs4_state *st, struct nfs4_deleg *d)
{
	detach(st, d);
	d->sid.client->nrevoked++;
	if (d->sid.client->v40)			/* has no way to free it */
		deleg_free(st, d);
}

void nfs4_delegs_drop(struct nfs4_state *st, struct nfs4_client *c)
{
	while (!list_empty(&c->delegs))
		deleg_free(st, container_of(c->delegs.next, struct nfs4_deleg, in_client));
}

/* ---- recalling ----------------------------------------------------------------------- */

static void put_handle(const struct nfs4_state *st, struct xdr_out *out, const struct nfs4_deleg *d)
{
	uint8_t fh[HANDLE_BYTES];

	handle_make(st->server->cfg.handle_key, &d->sid.file->id, fh);
	xdr_put_opaque(out, fh, sizeof(fh));
}

static void recall_encode(const struct nfs4_state *st, const struct nfs4_cb *cb,
			  struct xdr_out *out)
{
	const struct nfs4_deleg *d = container_of(cb, struct nfs4_deleg, recall);
	const struct nfs4_stateid id = nfs4_stateid_of(st, &d->sid);

	nfs4_put_stateid(out, &id);
	xdr_put_bool(out, false);		/* what the client has not written is still wanted */
	put_handle(st, out, d);
}

/*
 * The delegation comes back, or its time runs out.  Whom nobody could reach is most likely gone: he
 * makes way now, so that who has been told to come again finds it so the next time.
 */
static void recall_done(struct nfs4_state *st, struct nfs4_cb *cb, int err, uint32_t status,
			struct xdr_in *res)
{
	struct nfs4_client *c = container_of(cb, struct nfs4_deleg, recall)->sid.client;

	if (err && !c->dead && !st->stopping && nfs4_client_expired(st, c))
		nfs4_client_expire(st, c);
}

/* The client may not have seen yet what OPEN answered. */
static bool recall_for_now(uint32_t status)
{
	return status == NFS4ERR_BAD_STATEID || status == NFS4ERR_BADHANDLE;
}

static const struct nfs4_cb_kind recall_kind = {
	.num = NFS4_CB_RECALL, .encode = recall_encode, .done = recall_done,
	.for_now = recall_for_now,
};

static struct nfs4_quiet *quiet_slot(struct nfs4_state *st, const struct fs_id *id,
				     uint64_t *ret_hash)
{
	*ret_hash = nfs4_file_hash(id);
	return &st->quiet[*ret_hash % NFS4_QUIET_SLOTS];
}

static void begin_recall(struct nfs4_state *st, struct nfs4_deleg *d)
{
	uint64_t hash;
	struct nfs4_quiet *q = quiet_slot(st, &d->sid.file->id, &hash);

	*q = (struct nfs4_quiet){ hash, nfs4_now_ns(st) + NFS4_QUIET_S * 1000 * MS };
	d->recalled = true;
	d->recalled_ns = nfs4_now_ns(st);
	nfs4_cb_send(st, d->sid.client, &d->recall, &recall_kind, st->lease_ns, false);
}

/* Whether D is out of the way now, of who gives it so much time; others may be gone with it. */
static bool out_of_the_way(struct nfs4_state *st, struct nfs4_deleg *d, uint64_t patience_ns)
{
	if (nfs4_client_expired(st, d->sid.client))
		return nfs4_client_expire(st, d->sid.client);
	if (d->sid.client->dead)
		return false;			/* it is about to go */
	if (!d->recalled)
		begin_recall(st, d);
	if (nfs4_now_ns(st) - d->recalled_ns < patience_ns)
		return false;
	revoke(st, d);
	return true;
}

static bool conflict(struct nfs4_state *st, const struct fs_id *id, const struct nfs4_client *by,
		     bool change, uint64_t patience_ns)
{
	struct nfs4_file *f;
	struct list *e;
	bool some;
again:
	f = st->ndelegs_live ? nfs4_file_find(st, id) : NULL;
	some = false;
	if (!f)
		return false;
	list_each(e, &f->delegs) {
		struct nfs4_deleg *d = of_file(e);

		if (d->sid.client == by || (!change && !d->write))
			continue;
		if (out_of_the_way(st, d, patience_ns))
			goto again;		/* the list is another, the file may be gone */
		some = true;
	}
	return some;
}

uint32_t nfs4_deleg_conflict(struct nfs4_state *st, const struct fs_id *id,
			     const struct nfs4_client *by, bool change)
{
	return conflict(st, id, by, change, st->lease_ns) ? NFS4ERR_DELAY : NFS4_OK;
}

static int guard(void *arg, const struct fs_req *req, struct fs_id id, enum fs_use use)
{
	struct nfs4_state *st = arg;
	uint64_t patience = req->cred.admin ? NFS4_ADMIN_PATIENCE_MS * MS : st->lease_ns;

	return conflict(st, &id, req->by, use == FS_USE_CHANGE, patience) ? -EAGAIN : 0;
}

/* ---- giving -------------------------------------------------------------------------- */

static struct nfs4_deleg *own(const struct nfs4_file *f, const struct nfs4_client *c)
{
	struct list *e;

	list_each(e, &f->delegs)
		if (of_file(e)->sid.client == c)
			return of_file(e);
	return NULL;
}

/* Somebody else uses the file in a way that a delegation would exclude. */
static bool contended(struct nfs4_state *st, const struct nfs4_file *f, const struct nfs4_client *c,
		      bool write)
{
	const struct lock_span all = { 0, UINT64_MAX, write };
	uint64_t hash;
	const struct nfs4_quiet *q = quiet_slot(st, &f->id, &hash);
	unsigned looks = 0;
	struct list *e;

	if (q->hash == hash && q->until_ns > nfs4_now_ns(st))
		return true;
	list_each(e, &f->opens) {
		const struct nfs4_open *o = container_of(e, struct nfs4_open, in_file);

		if (!write && !f->accessed[1] && !f->denied[0] && !f->denied[1])
			break;			/* there are only readers: don't look at each */
		if (looks++ == NFS4_DELEG_LOOKS)
			return true;
		if (o->sid.client != c && (write || o->access & NFS4_OPEN_WRITE || o->deny))
			return true;
	}
	/* NLM's locks and shares come without an open */
	return lock_conflict(&f->locks, NULL, all) || !list_empty(&f->shares);
}

/* A client that has one already gets no other. */
static uint32_t why_no_second(const struct nfs4_deleg *d, bool write)
{
	if (d->write == write)
		return NFS4_NO_DELEG_RESOURCE;
	return write ? NFS4_NO_DELEG_UPGRADE : NFS4_NO_DELEG_DOWNGRADE;
}

static bool is_reclaim(const struct nfs4_op *op)
{
	return op->open.claim == NFS4_CLAIM_PREVIOUS;
}

static uint32_t why_not_wanted(const struct nfs4_op *op)
{
	if (is_reclaim(op))
		return op->open.had == NFS4_DELEG_READ || op->open.had == NFS4_DELEG_WRITE ?
		       NFS4_DELEG_POSSIBLE : NFS4_NO_DELEG_NOT_WANTED;
	switch (op->open.access & WANT_MASK) {
	case WANT_NONE:
		return NFS4_NO_DELEG_NOT_WANTED;
	case WANT_CANCEL:
		return NFS4_NO_DELEG_CANCELLED;
	default:
		return NFS4_DELEG_POSSIBLE;
	}
}

/* NFS4_DELEG_POSSIBLE, or why not. */
static uint32_t why_not(const struct nfs4_compound *cp, const struct nfs4_op *op,
			const struct nfs4_file *f, bool write, bool may_read)
{
	const struct nfs4_client *c = cp->client;
	struct nfs4_deleg *d;
	uint32_t why = why_not_wanted(op);

	if (why != NFS4_DELEG_POSSIBLE)
		return why;
	if (f->id.snapshot)
		return NFS4_NO_DELEG_NOT_SUPP;
	d = own(f, c);
	if (d)
		return why_no_second(d, write);
	if (contended(cp->st, f, c, write))
		return NFS4_NO_DELEG_CONTENTION;
	if ((!nfs4_cb_works(c) && !is_reclaim(op)) || op->open.unconfirmed ||
	    (write && !may_read) || c->ndelegs >= NFS4_DELEGS_MAX ||
	    cp->st->ndelegs >= NFS4_DELEGS_ALL)
		return NFS4_NO_DELEG_RESOURCE;
	return NFS4_DELEG_POSSIBLE;
}

void nfs4_deleg_offer(struct nfs4_compound *cp, struct nfs4_op *op, const struct nfs4_open *o,
		      uint64_t change, bool may_read)
{
	bool write = is_reclaim(op) ? op->open.had == NFS4_DELEG_WRITE :
				      op->open.access & NFS4_OPEN_WRITE;
	uint32_t why = why_not(cp, op, o->sid.file, write, may_read);
	struct nfs4_deleg *d = is_reclaim(op) ? own(o->sid.file, cp->client) : NULL;

	if (d && (d->write != write || why_not_wanted(op) != NFS4_DELEG_POSSIBLE))
		d = NULL;			/* not the one that is reclaimed */
	if (why == NFS4_DELEG_POSSIBLE) {
		d = deleg_new(cp->st, cp->client, o->sid.file, write, change);
		why = NFS4_NO_DELEG_RESOURCE;
	}
	op->open.deleg = (struct nfs4_offer){ .type = NFS4_DELEG_NONE, .why = why };
	if (d) {
		op->open.deleg.type = write ? NFS4_DELEG_WRITE : NFS4_DELEG_READ;
		op->open.deleg.id = nfs4_stateid_of(cp->st, &d->sid);
		if (!nfs4_cb_may_work(cp->client) && !d->recalled)
			begin_recall(cp->st, d);
		op->open.deleg.recall = d->recalled;
	} else if (op->open.access & WANT_MASK) {
		op->open.deleg.type = NFS4_DELEG_NONE_EXT;
	}
}

/* ---- using --------------------------------------------------------------------------- */

bool nfs4_deleg_allows(const struct nfs4_sid *s, uint32_t access)
{
	return of_sid(s)->write || !(access & NFS4_OPEN_WRITE);
}

bool nfs4_deleg_revoked(const struct nfs4_sid *s)
{
	return s->kind == NFS4_SID_DELEG && !s->file;
}

uint32_t nfs4_deleg_claim(struct nfs4_compound *cp, const struct nfs4_stateid *deleg,
			  const struct fs_id *id, uint32_t access)
{
	const struct nfs4_client *c = cp->client;
	struct nfs4_sid *s;
	uint32_t status = nfs4_stateid_find(cp, deleg, &s);

	if (status)
		return status;
	if (s->kind != NFS4_SID_DELEG || s->client != c || (id && !nfs4_same_file(&s->file->id, id)))
		return NFS4ERR_BAD_STATEID;
	return nfs4_deleg_allows(s, access) ? NFS4_OK : NFS4ERR_ACCESS;
}

uint32_t nfs4_delegreturn(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct nfs4_sid *s;
	uint32_t status = nfs4_stateid_here(cp, &op->stateid.id, &s);

	if (status)
		return status;
	if (s->kind != NFS4_SID_DELEG)
		return NFS4ERR_BAD_STATEID;
	deleg_free(cp->st, of_sid(s));
	return NFS4_OK;
}

uint32_t nfs4_deleg_forget(struct nfs4_state *st, struct nfs4_sid *s)
{
	if (!nfs4_deleg_revoked(s))
		return NFS4ERR_LOCKS_HELD;
	deleg_free(st, of_sid(s));
	return NFS4_OK;
}

/* ---- attributes ---------------------------------------------------------------------- */

enum { CHANGE = 1 << 3, SIZE = 1 << 4 };

static void getattr_encode(const struct nfs4_state *st, const struct nfs4_cb *cb,
			   struct xdr_out *out)
{
	put_handle(st, out, container_of(cb, struct nfs4_deleg, getattr));
	xdr_put_u32(out, 1);
	xdr_put_u32(out, CHANGE | SIZE);
}

static void getattr_done(struct nfs4_state *st, struct nfs4_cb *cb, int err, uint32_t status,
			 struct xdr_in *res)
{
	struct nfs4_deleg *d = container_of(cb, struct nfs4_deleg, getattr);
	struct nfs4_bitmap got = { 0 };
	bool whole;

	d->answers++;
	waitq_wake_all(&st->delegs_changed);
	d->answered = false;
	if (err || status)
		return;
	nfs4_get_bitmap(res, &got);
	xdr_get_u32(res);			/* length of the values */
	whole = got.w[0] == (CHANGE | SIZE) && !got.w[1] && !got.w[2] && !got.beyond;
	d->client_change = xdr_get_u64(res);
	d->client_size = xdr_get_u64(res);
	d->answered = whole && !res->bad;
}

static const struct nfs4_cb_kind getattr_kind = {
	.num = NFS4_CB_GETATTR, .encode = getattr_encode, .done = getattr_done,
};

/* Who else but BY may write to ID on his own. */
static struct nfs4_deleg *writer(const struct nfs4_state *st, const struct fs_id *id,
				 const struct nfs4_client *by)
{
	struct nfs4_file *f = st->ndelegs_live ? nfs4_file_find(st, id) : NULL;
	struct list *e;

	if (!f)
		return NULL;
	list_each(e, &f->delegs)
		if (of_file(e)->write && of_file(e)->sid.client != by)
			return of_file(e);
	return NULL;
}

/* Asks D's client; the writer of then (maybe NULL) who has answered, or not. */
static struct nfs4_deleg *ask_writer(struct nfs4_state *st, struct nfs4_deleg *d,
				     const struct fs_id *id, const struct nfs4_client *by,
				     bool *ret_answered)
{
	uint64_t now = loop_now_ns(), until = now + NFS4_GETATTR_MS * MS, sid = d->sid.id;
	unsigned answers = d->answers;

	*ret_answered = false;
	if (d->recalled || !nfs4_cb_works(d->sid.client))
		return d;
	if (!d->getattr.client)
		nfs4_cb_send(st, d->sid.client, &d->getattr, &getattr_kind, NFS4_GETATTR_MS * MS,
			     true);
	while (now < until) {
		waitq_wait_timeout(&st->delegs_changed, until - now);
		now = loop_now_ns();
		d = writer(st, id, by);
		if (!d || d->sid.id != sid)
			return d;
		if (d->answers != answers) {
			*ret_answered = d->answered;
			return d;
		}
	}
	return d;
}

/* The client has changed what it has of the file: so does the file, for all who look. */
static int changed_there(struct nfs4_compound *cp, struct nfs4_deleg *d, struct fs_attr *a)
{
	const struct fs_setattr touch = { .mask = FS_SET_MTIME_NOW };
	struct nfs4_client *c = d->sid.client;
	uint64_t size = d->client_size;
	struct fs_wcc w = { 0 };
	struct fs_req req;
	int err;

	fs_req_admin(&req, cp->server->fs);
	req.by = c;				/* on whose behalf it is done */
	nfs4_client_get(c);
	err = fs_setattr(&req, a->id, &touch, &w);
	nfs4_client_put(cp->st, c);
	if (err)
		return err;
	*a = w.post;
	a->size = size > a->size ? size : a->size;
	return 0;
}

uint32_t nfs4_deleg_attrs(struct nfs4_compound *cp, struct fs_attr *a)
{
	const struct fs_id id = a->id;
	struct nfs4_deleg *d = writer(cp->st, &id, cp->client);
	bool answered;
	uint32_t status;
	int err;

	if (!d)
		return NFS4_OK;
	d = ask_writer(cp->st, d, &id, cp->client, &answered);
	if (d && answered && (d->client_change != d->change || d->client_size > a->size)) {
		err = changed_there(cp, d, a);
		if (err != -ENOSPC && err != -EDQUOT && err != -EROFS)
			return nfs4_status(err);
		d = writer(cp->st, &id, cp->client);	/* what he has can't be told so */
		answered = false;
	}
	if (d && !answered) {
		status = nfs4_deleg_conflict(cp->st, &id, cp->client, false);
		if (status)
			return status;
	}
	return nfs4_status(fs_getattr(&cp->f.req, id, a));
}
