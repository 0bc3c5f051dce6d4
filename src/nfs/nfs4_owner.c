/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owners of opens and of locks, and in 4.0 the numbers of their requests (RFC 7530 section 9.1.7
 * to 9.1.11); see nfs4_v40.h.
 *
 * An owner of a session goes with his last open or lock.  One of 4.0 that nobody refers to is in
 * st->idle_owners, longest idle first, and in no other case.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "nfs/nfs4_v40.h"

enum { OP_LOCK = 12, OP_LOCKU = 14, OP_OPEN = 18 };

/* ---- owners -------------------------------------------------------------------------- */

static uint64_t owner_hash(const struct nfs4_client *c, struct xdr_bytes name, bool locks)
{
	return hash64(name.s, name.len) ^ (c->id * 2 + locks) * 0x9e3779b97f4a7c15ull;
}

struct nfs4_owner *nfs4_owner_find(const struct nfs4_state *st, const struct nfs4_client *c,
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

static struct nfs4_seq *new_seq(struct nfs4_owner *o)
{
	struct nfs4_seq *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->owner = o;
	q->confirmed = o->locks;
	list_init(&q->idle);
	waitq_init(&q->turn);
	return q;
}

size_t nfs4_owner_bytes(const struct nfs4_client *c, uint32_t len)
{
	return sizeof(struct nfs4_owner) + len + (c->v40 ? sizeof(struct nfs4_seq) : 0);
}

static struct nfs4_owner *new_owner(struct nfs4_state *st, struct nfs4_client *c,
				    struct xdr_bytes name, bool locks)
{
	struct nfs4_owner *o = NULL;

	nfs4_state_make_room(st, nfs4_owner_bytes(c, name.len));
	if (!nfs4_state_take(st, c, nfs4_owner_bytes(c, name.len)))
		return NULL;
	if (nfs4_table_room(&st->owners))
		o = calloc(1, sizeof(*o) + name.len);
	if (!o) {
		nfs4_state_give(st, c, nfs4_owner_bytes(c, name.len));
		return NULL;
	}
	o->client = c;
	o->locks = locks;
	o->len = name.len;
	memcpy(o->name, name.s, name.len);
	list_init(&o->sids);
	if (c->v40) {
		o->seq = new_seq(o);
		if (!o->seq) {
			nfs4_state_give(st, c, nfs4_owner_bytes(c, name.len));
			free(o);
			return NULL;
		}
	}
	nfs4_table_add(&st->owners, &o->link, owner_hash(c, name, locks));
	return o;
}

static void forget_closed(struct nfs4_state *st, struct nfs4_seq *q)
{
	if (q->has_closed)
		nfs4_table_del(&st->sids, &q->closed.link);
	q->has_closed = false;
}

static void forget_answer(struct nfs4_state *st, struct nfs4_client *c, struct nfs4_seq *q)
{
	free(q->more);
	q->more = NULL;
	nfs4_state_give(st, c, q->more_bytes);
	q->more_bytes = 0;
	q->op = 0;
}

/* Memory for an answer of LEN bytes; NULL: there is none, and it isn't kept. */
static uint8_t *answer_room(struct nfs4_state *st, struct nfs4_client *c, struct nfs4_seq *q, uint32_t len)
{
	if (len <= sizeof(q->here))
		return q->here;
	if (!nfs4_state_take(st, c, len))
		return NULL;
	q->more = malloc(len);
	if (!q->more)
		nfs4_state_give(st, c, len);
	else
		q->more_bytes = len;
	return q->more;
}

static void free_owner(struct nfs4_state *st, struct nfs4_owner *o)
{
	nfs4_table_del(&st->owners, &o->link);
	nfs4_state_give(st, o->client, nfs4_owner_bytes(o->client, o->len));
	if (o->seq) {
		assert(!o->seq->busy && waitq_empty(&o->seq->turn));
		forget_closed(st, o->seq);
		forget_answer(st, o->client, o->seq);
		free(o->seq);
	}
	free(o);
}

static void hold(struct nfs4_state *st, struct nfs4_owner *o)
{
	if (!o->refs++ && o->seq && !list_empty(&o->seq->idle)) {
		list_del(&o->seq->idle);
		st->nidle_owners--;
	}
}

struct nfs4_owner *nfs4_owner_get(struct nfs4_state *st, struct nfs4_client *c,
				  struct xdr_bytes name, bool locks)
{
	struct nfs4_owner *o = nfs4_owner_find(st, c, name, locks);

	if (!o)
		o = new_owner(st, c, name, locks);
	if (o)
		hold(st, o);
	return o;
}

static void end_idle(struct nfs4_state *st, struct nfs4_seq *q)
{
	list_del(&q->idle);
	st->nidle_owners--;
	free_owner(st, q->owner);
}

static void keep_idle(struct nfs4_state *st, struct nfs4_seq *q)
{
	q->idle_ns = nfs4_now_ns(st);
	list_add_tail(&st->idle_owners, &q->idle);
	st->nidle_owners++;
	while (!list_empty(&st->idle_owners)) {
		q = container_of(st->idle_owners.next, struct nfs4_seq, idle);
		if (st->nidle_owners <= NFS4_IDLE_OWNERS_MAX &&
		    nfs4_now_ns(st) - q->idle_ns <= st->lease_ns)
			break;
		end_idle(st, q);
	}
}

void nfs4_owner_put(struct nfs4_state *st, struct nfs4_owner *o)
{
	if (--o->refs)
		return;
	if (o->seq && o->seq->known && !o->locks && !o->client->dead)
		keep_idle(st, o->seq);
	else
		free_owner(st, o);
}

void nfs4_owners_drop(struct nfs4_state *st, const struct nfs4_client *c)
{
	struct list *e, *tmp;

	list_each_safe(e, tmp, &st->idle_owners) {
		struct nfs4_seq *q = container_of(e, struct nfs4_seq, idle);

		if (q->owner->client == c)
			end_idle(st, q);
	}
}

/* ---- whose request is it? ------------------------------------------------------------ */

static const struct nfs4_stateid *stateid_of(const struct nfs4_op *op)
{
	if (op->num == OP_LOCK)
		return op->lock.fresh ? &op->lock.open : &op->lock.id;
	return op->num == OP_LOCKU ? &op->lock.id : &op->stateid.id;
}

static bool is_fresh_lock(const struct nfs4_op *op)
{
	return op->num == OP_LOCK && op->lock.fresh;
}

static uint32_t by_stateid(struct nfs4_compound *cp, const struct nfs4_op *op,
			   struct nfs4_owner **ret_owner)
{
	bool locks = op->num == OP_LOCKU || (op->num == OP_LOCK && !op->lock.fresh);
	struct nfs4_sid *s;
	uint32_t status = nfs4_v40_sid(cp, stateid_of(op), &s);

	if (status)
		return status;
	if (!s->owner || s->owner->locks != locks ||
	    (is_fresh_lock(op) && s->client->id != op->lock.clientid))
		return NFS4ERR_BAD_STATEID;
	hold(cp->st, s->owner);
	*ret_owner = s->owner;
	return NFS4_OK;
}

static uint32_t whose(struct nfs4_compound *cp, const struct nfs4_op *op,
		      struct nfs4_owner **ret_owner)
{
	uint32_t status = NFS4_OK;

	if (is_fresh_lock(op))
		status = nfs4_v40_client(cp, op->lock.clientid);
	if (status)
		return status;
	if (op->num != OP_OPEN)
		return by_stateid(cp, op, ret_owner);
	status = nfs4_v40_client(cp, op->open.clientid);
	if (status)
		return status;
	*ret_owner = nfs4_owner_get(cp->st, cp->client, op->open.owner, false);
	if (*ret_owner)
		return NFS4_OK;
	return cp->st->recovery.nleaving ? NFS4ERR_DELAY : NFS4ERR_RESOURCE;
}

/* ---- its number ---------------------------------------------------------------------- */

/* RFC 7530 section 9.1.7: who gets one of these uses his number again. */
static bool counts(uint32_t status)
{
	switch (status) {
	case NFS4ERR_STALE_CLIENTID:
	case NFS4ERR_STALE_STATEID:
	case NFS4ERR_BAD_STATEID:
	case NFS4ERR_BAD_SEQID:
	case NFS4ERR_BADXDR:
	case NFS4ERR_RESOURCE:
	case NFS4ERR_NOFILEHANDLE:
	case NFS4ERR_MOVED:
		return false;
	default:
		return true;
	}
}

static uint32_t answer_again(struct nfs4_compound *cp, const struct nfs4_seq *q)
{
	uint8_t *p = xdr_room(&cp->out, q->len);

	if (!p)
		return NFS4ERR_RESOURCE;
	memcpy(p, q->more ? q->more : q->here, q->len);
	cp->again = true;
	if (q->fh.set)
		nfs4_set_fh(cp, &q->fh.id);
	if (cp->f.req.stable_seq < q->stable_seq)
		cp->f.req.stable_seq = q->stable_seq;
	return q->status;
}

/* An open owner who didn't confirm begins anew. */
static void begin_anew(struct nfs4_state *st, struct nfs4_owner *o)
{
	while (!list_empty(&o->sids)) {
		struct nfs4_sid *s = container_of(o->sids.next, struct nfs4_sid, in_owner);

		nfs4_open_free(st, container_of(s, struct nfs4_open, sid));
	}
	o->seq->known = false;
}

/* A lock owner whom a LOCK introduces, and who is known already, goes on with his numbers. */
static bool lock_owner_fits(const struct nfs4_compound *cp, const struct nfs4_op *op)
{
	const struct nfs4_owner *o = nfs4_owner_find(cp->st, cp->client, op->lock.owner, true);

	return !o || !o->seq->known || op->lock.owner_seqid == o->seq->last + 1;
}

/*
 * libnfs uses the number of a request that failed for the next one.  That changed nothing, and who
 * counts as he should never sends another request by its number: so it does no harm to take it.
 */
static bool is_next(const struct nfs4_seq *q, uint32_t seqid)
{
	return q->known && (seqid == q->last + 1 || (seqid == q->last && q->op && q->status));
}

/* It was answered already.  But who was told to come later, and does by the same number, is not to
 * hear that for ever. */
static bool is_again(const struct nfs4_compound *cp, const struct nfs4_op *op,
		     const struct nfs4_seq *q)
{
	return q->known && op->seqid == q->last && q->op == op->num &&
	       q->digest == cp->op_digest && q->status != NFS4ERR_DELAY &&
	       q->status != NFS4ERR_GRACE;
}

static uint32_t check(struct nfs4_compound *cp, const struct nfs4_op *op, struct nfs4_owner *o)
{
	struct nfs4_seq *q = o->seq;

	if (is_again(cp, op, q))
		return answer_again(cp, q);
	if (op->num == OP_OPEN && !q->confirmed) {
		begin_anew(cp->st, o);
		return NFS4_OK;
	}
	if (!is_next(q, op->seqid))
		return NFS4ERR_BAD_SEQID;
	return is_fresh_lock(op) && !lock_owner_fits(cp, op) ? NFS4ERR_BAD_SEQID : NFS4_OK;
}

uint32_t nfs4_seqid_begin(struct nfs4_compound *cp, struct nfs4_op *op, uint64_t digest)
{
	struct nfs4_owner *o;
	uint32_t status = whose(cp, op, &o);

	if (status)
		return status;
	while (o->seq->busy)
		waitq_wait(&o->seq->turn);
	cp->op_digest = digest;
	status = o->client->dead ? NFS4ERR_EXPIRED : check(cp, op, o);
	if (status || cp->again) {
		nfs4_owner_put(cp->st, o);
		return status;
	}
	o->seq->busy = true;
	cp->owner = o;
	return NFS4_OK;
}

/* ---- its answer ---------------------------------------------------------------------- */

static void remember(const struct nfs4_compound *cp, struct nfs4_seq *q, const struct nfs4_op *op,
		     uint32_t status, const uint8_t *results)
{
	uint32_t len = cp->out.p - results;
	uint8_t *to;

	assert(results >= cp->out.seg);
	forget_answer(cp->st, q->owner->client, q);
	q->last = op->seqid;
	q->known = true;
	to = answer_room(cp->st, q->owner->client, q, len);
	if (!to)
		return;				/* who asks again gets BAD_SEQID */
	memcpy(to, results, len);
	q->len = len;
	q->op = op->num;
	q->status = status;
	q->digest = cp->op_digest;
	q->stable_seq = cp->f.req.stable_seq;
	q->fh = (struct nfs4_fh){ 0 };
	if (op->num == OP_OPEN && !status)
		q->fh = cp->cur;
}

/* The lock owner that a LOCK introduced has used his first number too. */
static void count_lock_owner(const struct nfs4_compound *cp, const struct nfs4_op *op)
{
	struct nfs4_owner *o = nfs4_owner_find(cp->st, cp->client, op->lock.owner, true);

	if (!o)
		return;
	o->seq->last = op->lock.owner_seqid;
	o->seq->known = true;
	o->seq->op = 0;
}

void nfs4_seqid_end(struct nfs4_compound *cp, const struct nfs4_op *op, uint32_t status,
		    const uint8_t *results)
{
	struct nfs4_owner *o = cp->owner;

	o->seq->busy = false;
	waitq_wake_all(&o->seq->turn);
	if (counts(status)) {
		remember(cp, o->seq, op, status, results);
		if (is_fresh_lock(op))
			count_lock_owner(cp, op);
	}
	cp->owner = NULL;
	nfs4_owner_put(cp->st, o);
}

void nfs4_seqid_closed(struct nfs4_state *st, const struct nfs4_sid *s)
{
	struct nfs4_seq *q = s->owner->seq;

	forget_closed(st, q);
	q->closed = (struct nfs4_sid){ .id = s->id, .seqid = s->seqid, .kind = NFS4_SID_CLOSED,
				       .client = s->client, .owner = s->owner };
	nfs4_table_add(&st->sids, &q->closed.link, nfs4_sid_hash(s->id));
	q->has_closed = true;
}
