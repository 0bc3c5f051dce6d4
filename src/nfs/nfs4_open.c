/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OPEN, OPEN_DOWNGRADE, CLOSE, and stateids as such (RFC 7530 section 16.16 and following, RFC
 * 8881 section 18.16 and following).
 *
 * OPEN first finds or makes the file, which waits, and then looks at share reservations and
 * enters the open, which doesn't: so no two opens that exclude each other are ever granted.
 */
#include "nfs/nfs4_deleg.h"
#include "nfs/nfs4_v40.h"

#define CREATE_TRIES 8			/* of others that create and remove the same name */
enum { ACCESS_MASK = 3, WANT_MASK = 0xff00, WANT_LAST = 0x500,
       WANT_KNOWN = WANT_MASK | 0x10000 | 0x20000 | 0x100000 | 0x200000 };

struct opening {
	struct nfs4_compound *cp;
	struct nfs4_op *op;
	struct fs_id dir;
	struct fs_name name;
	struct fs_attr a;		/* of the file */
	bool made, may_read;
};

/* ---- finding or making the file ------------------------------------------------------ */

static uint32_t look(struct opening *o)
{
	struct fs_attr dir;
	int err = fs_lookup(&o->cp->f.req, o->dir, o->name, &o->a, &dir);

	if (err)
		return nfs4_dir_status(o->cp, &o->dir, err);
	o->op->open.change = (struct nfs4_change){ false, dir.change, dir.change };
	return NFS4_OK;
}

static uint32_t make(struct opening *o, enum fs_create_how how)
{
	struct nfs4_set *set = &o->op->open.set;
	const struct fs_create c = { .type = FS_REG, .how = how, .set = set->set,
				     .verifier = o->op->open.verifier };
	struct fs_wcc w = { 0 };
	int err;

	if (!o->cp->f.rw || o->dir.snapshot)
		return NFS4ERR_ROFS;
	err = fs_create(&o->cp->f.req, o->dir, o->name, &c, &o->a, &w);
	if (err)
		return nfs4_dir_status(o->cp, &o->dir, err);
	o->made = true;
	o->op->open.change = nfs4_change_of(&w);
	o->op->open.attrset = set->given;
	return NFS4_OK;
}

static uint32_t find_or_make(struct opening *o)
{
	uint32_t status = NFS4ERR_DELAY;

	switch (o->op->open.how) {
	case NFS4_CREATE_GUARDED:
		return make(o, FS_CREATE_GUARDED);
	case NFS4_CREATE_EXCLUSIVE:
	case NFS4_CREATE_EXCLUSIVE4_1:
		return make(o, FS_CREATE_EXCLUSIVE);
	}
	for (int i = 0; i < CREATE_TRIES; i++) {
		status = look(o);
		if (status != NFS4ERR_NOENT)
			return status;
		status = make(o, FS_CREATE_GUARDED);
		if (status != NFS4ERR_EXIST)
			return status;
	}
	return NFS4ERR_DELAY;
}

static uint32_t by_name(struct opening *o)
{
	struct nfs4_set *set = &o->op->open.set;
	uint32_t status = nfs4_name(o->op->open.name, &o->name);

	if (status)
		return status;
	o->dir = o->cp->cur.id;
	if (nfs4_is_pseudo(&o->cp->cur))
		return o->op->open.create ? NFS4ERR_ROFS : NFS4ERR_ISDIR;
	if (!o->op->open.create)
		return look(o);
	status = nfs4_check_set(o->cp, set, true);
	if (status)
		return status;
	return find_or_make(o);
}

static uint32_t by_handle(struct opening *o)
{
	if (o->op->open.create)
		return NFS4ERR_INVAL;
	if (nfs4_is_pseudo(&o->cp->cur))
		return NFS4ERR_ISDIR;
	return nfs4_status(fs_getattr(&o->cp->f.req, o->cp->cur.id, &o->a));
}

static bool is_reclaim(const struct nfs4_op *op)
{
	return op->open.claim == NFS4_CLAIM_PREVIOUS;
}

/* ---- may it be opened so? ------------------------------------------------------------ */

static bool claims_delegation(const struct nfs4_op *op)
{
	return op->open.claim == NFS4_CLAIM_DELEGATE_CUR ||
	       op->open.claim == NFS4_CLAIM_DELEG_CUR_FH;
}

static uint32_t check_rights(struct opening *o)
{
	uint32_t access = o->op->open.access & ACCESS_MASK, want = 0, allowed;
	struct fs_attr a;
	int err;

	if (access & NFS4_OPEN_READ)
		want |= FS_ACCESS_READ;
	if (access & NFS4_OPEN_WRITE)
		want |= FS_ACCESS_MODIFY;
	if (access & NFS4_OPEN_WRITE && (!o->cp->f.rw || o->a.id.snapshot))
		return NFS4ERR_ROFS;
	o->may_read = true;
	if (o->made || is_reclaim(o->op) || claims_delegation(o->op))
		return NFS4_OK;			/* whoever makes a file may open it, or had it open */
	err = fs_access(&o->cp->f.req, o->a.id, want | FS_ACCESS_READ | FS_ACCESS_EXECUTE,
			&allowed, &a);
	if (err)
		return nfs4_status(err);
	o->may_read = allowed & FS_ACCESS_READ;
	if (want == FS_ACCESS_READ && allowed & FS_ACCESS_EXECUTE)
		return NFS4_OK;			/* to be run: reading is part of that */
	return (allowed & want) == want ? NFS4_OK : NFS4ERR_ACCESS;
}

static uint32_t check_share(struct opening *o, struct nfs4_open **ret_own)
{
	struct nfs4_state *st = o->cp->st;
	struct nfs4_file *f = nfs4_file_find(st, &o->a.id);

	*ret_own = nfs4_open_find(st, o->cp->client, o->op->open.owner, f);
	/* RFC 7530 section 9.9, RFC 8881 section 9.7: his own open is no exception; but what is
	 * reclaimed a second time is what he has */
	return nfs4_share_conflict(st, f, is_reclaim(o->op) ? *ret_own : NULL,
				   o->op->open.access & ACCESS_MASK, o->op->open.deny);
}

/* OPEN of what exists, with a size of 0. */
static uint32_t truncate_existing(struct opening *o)
{
	const struct fs_setattr empty = { .mask = FS_SET_SIZE };
	const struct nfs4_set *set = &o->op->open.set;
	struct fs_wcc w = { 0 };
	struct nfs4_open *own;
	uint32_t status;
	int err;

	if (o->made || !o->op->open.create || !(set->set.mask & FS_SET_SIZE) || set->set.size)
		return NFS4_OK;
	if (!o->cp->f.rw || o->a.id.snapshot)
		return NFS4ERR_ROFS;
	status = check_share(o, &own);
	if (status)
		return status;
	nfs4_bit_set(&o->op->open.attrset, 4);
	err = fs_setattr(&o->cp->f.req, o->a.id, &empty, &w);
	if (!err && w.post_valid)
		o->a = w.post;
	return nfs4_status(err);
}

/* ---- the open itself ----------------------------------------------------------------- */

/* RFC 7530 section 9.1.11: what is reclaimed needs no OPEN_CONFIRM. */
static void reclaimed(struct nfs4_compound *cp, struct nfs4_open *o)
{
	nfs4_reclaimed(cp->st);
	if (!cp->minor)
		o->sid.owner->seq->confirmed = true;
}

static uint32_t enter_open(struct opening *o)
{
	struct nfs4_client *c = o->cp->client;
	struct nfs4_open *own;
	uint32_t status, access = o->op->open.access & ACCESS_MASK;

	if (c->dead)
		return NFS4ERR_EXPIRED;
	/* since it was asked before, the grace period may have ended */
	status = is_reclaim(o->op) ? nfs4_check_grace(o->cp, true) : NFS4_OK;
	if (!status)
		status = check_share(o, &own);
	if (status == NFS4ERR_SHARE_DENIED && is_reclaim(o->op))
		return NFS4ERR_RECLAIM_CONFLICT;
	if (!status && claims_delegation(o->op))
		status = nfs4_deleg_claim(o->cp, &o->op->open.deleg_id, &o->a.id, access);
	if (!status)
		status = nfs4_deleg_conflict(o->cp->st, &o->a.id, c,
					     access & NFS4_OPEN_WRITE || o->op->open.deny);
	if (status)
		return status;
	if (!own) {
		if (c->nopens >= NFS4_OPENS_MAX ||
		    nfs4_open_new(o->cp->st, c, o->op->open.owner, &o->a.id, &own))
			return NFS4ERR_DELAY;
	}
	nfs4_open_set(own, own->access | access, own->deny | o->op->open.deny);
	own->seen_access |= 1 << access;
	own->seen_deny |= 1 << o->op->open.deny;
	if (is_reclaim(o->op))
		reclaimed(o->cp, own);
	nfs4_stateid_raise(&own->sid);
	nfs4_set_fh(o->cp, &o->a.id);
	o->op->open.may_notify = o->cp->minor > 0 && nfs4_cb_works(c);
	o->op->open.preserves = o->cp->minor > 0;	/* version 4.0 has no word for it */
	o->op->open.id = nfs4_stateid_of(o->cp->st, &own->sid);
	o->op->open.unconfirmed = !o->cp->minor && !own->sid.owner->seq->confirmed;
	nfs4_deleg_offer(o->cp, o->op, own, o->a.change, o->may_read);
	nfs4_set_stateid(o->cp, &o->op->open.id);
	return NFS4_OK;
}

static uint32_t check_args(struct nfs4_compound *cp, const struct nfs4_op *op)
{
	uint32_t access = op->open.access;

	if (!cp->minor && (op->open.how > NFS4_CREATE_EXCLUSIVE ||
			   op->open.claim > NFS4_CLAIM_DELEGATE_PREV))
		return NFS4ERR_BADXDR;		/* unheard of in 4.0 */
	if (!cp->minor && access & ~(uint32_t)ACCESS_MASK)
		return NFS4ERR_INVAL;
	if (!(access & ACCESS_MASK) || access & ~(uint32_t)(ACCESS_MASK | WANT_KNOWN) ||
	    (access & WANT_MASK) > WANT_LAST || op->open.deny > 3)
		return NFS4ERR_INVAL;
	if (op->open.create && op->open.claim != NFS4_CLAIM_NULL)
		return NFS4ERR_INVAL;
	switch (op->open.claim) {
	case NFS4_CLAIM_NULL:
	case NFS4_CLAIM_FH:
	case NFS4_CLAIM_PREVIOUS:
		return nfs4_check_grace(cp, is_reclaim(op));
	case NFS4_CLAIM_DELEGATE_CUR:
	case NFS4_CLAIM_DELEG_CUR_FH:
		return nfs4_deleg_claim(cp, &op->open.deleg_id, NULL, access);
	default:
		return NFS4ERR_NOTSUPP;
	}
}

static uint32_t open_found(struct opening *o)
{
	uint32_t status = nfs4_wrong_type(o->a.type, FS_REG);

	if (!status)
		status = check_rights(o);
	if (!status)
		status = truncate_existing(o);
	return status ? status : enter_open(o);
}

/* A client of 4.0 doesn't say when it is done with reclaiming: it is on record with its first OPEN. */
static uint32_t put_on_record(struct nfs4_compound *cp)
{
	struct nfs4_client *c = cp->client;
	uint32_t status = NFS4_OK;

	if (!c->v40 || c->recorded)
		return NFS4_OK;
	status = nfs4_recovery_record(cp->st, c);
	c->recorded = !status;
	return status;
}

uint32_t nfs4_open(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct opening o = { .cp = cp, .op = op };
	uint32_t status = check_args(cp, op);

	op->open.change = (struct nfs4_change){ 0 };
	op->open.attrset = (struct nfs4_bitmap){ 0 };
	/* once the file is made it is too late to say so: it would exist when the client asks again */
	if (!status && op->open.create && !nfs4_open_fits(cp->st, cp->client, op->open.owner.len))
		status = NFS4ERR_DELAY;
	if (!status)
		status = put_on_record(cp);
	if (!status)
		status = op->open.claim == NFS4_CLAIM_NULL ||
			 op->open.claim == NFS4_CLAIM_DELEGATE_CUR ? by_name(&o) : by_handle(&o);
	if (status)
		return status;
	/* Nobody may remove it meanwhile. */
	if (fs_hold(cp->f.req.fs, o.a.id))
		return NFS4ERR_DELAY;
	status = open_found(&o);
	fs_unhold(cp->f.req.fs, o.a.id);
	return status;
}

/* ---- afterwards ---------------------------------------------------------------------- */

/* Whether some of the OPENs that were SEEN together make WANT. */
static bool union_of(uint8_t seen, uint32_t want)
{
	uint32_t got = 0;

	for (uint32_t v = 1; v < 4; v++)
		if (seen & 1 << v && !(v & ~want))
			got |= v;
	return want ? got == want : seen & 1;
}

static uint8_t only_within(uint8_t seen, uint32_t within)
{
	for (uint32_t v = 0; v < 4; v++)
		if (v & ~within)
			seen &= ~(1 << v);
	return seen;
}

static uint32_t find_open(struct nfs4_compound *cp, const struct nfs4_stateid *id,
			  struct nfs4_open **ret_open)
{
	struct nfs4_sid *s;
	uint32_t status = nfs4_stateid_here(cp, id, &s);

	if (status)
		return status;
	if (s->kind != NFS4_SID_OPEN)
		return NFS4ERR_BAD_STATEID;
	*ret_open = nfs4_sid_open(s);
	return NFS4_OK;
}

uint32_t nfs4_open_downgrade(struct nfs4_compound *cp, struct nfs4_op *op)
{
	uint32_t access = op->stateid.access & ACCESS_MASK, deny = op->stateid.deny;
	struct nfs4_stateid id;
	struct nfs4_open *o;
	uint32_t status = find_open(cp, &op->stateid.id, &o);

	if (status)
		return status;
	if (!access || op->stateid.access & ~(uint32_t)(ACCESS_MASK | WANT_KNOWN) || deny > 3 ||
	    !union_of(o->seen_access, access) || !union_of(o->seen_deny, deny))
		return NFS4ERR_INVAL;
	nfs4_open_set(o, access, deny);
	o->seen_access = only_within(o->seen_access, access);
	o->seen_deny = only_within(o->seen_deny, deny);
	nfs4_stateid_raise(&o->sid);
	id = nfs4_stateid_of(cp->st, &o->sid);
	nfs4_set_stateid(cp, &id);
	return NFS4_OK;
}

/* Locks that are still held go with it. */
uint32_t nfs4_close(struct nfs4_compound *cp, struct nfs4_op *op)
{
	const struct nfs4_stateid gone = { .seqid = UINT32_MAX };
	struct nfs4_open *o;
	struct nfs4_sid was;
	uint32_t status = find_open(cp, &op->stateid.id, &o);

	if (status)
		return status;
	was = o->sid;
	nfs4_open_free(cp->st, o);
	if (!cp->minor)
		nfs4_seqid_closed(cp->st, &was);
	nfs4_set_stateid(cp, &gone);
	return NFS4_OK;
}

uint32_t nfs4_free_stateid(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct nfs4_lock *l;
	struct nfs4_sid *s;
	uint32_t status = nfs4_stateid_find(cp, &op->stateid.id, &s);

	if (status && status != NFS4ERR_DELEG_REVOKED)
		return status;
	if (s->kind == NFS4_SID_DELEG)
		return nfs4_deleg_forget(cp->st, s);
	l = s->kind == NFS4_SID_LOCK ? container_of(s, struct nfs4_lock, sid) : NULL;
	if (!l || l->holder.nranges)
		return NFS4ERR_LOCKS_HELD;
	nfs4_lock_free(cp->st, l);
	return NFS4_OK;
}

uint32_t nfs4_test_stateid(struct nfs4_compound *cp, struct nfs4_op *op)
{
	size_t bytes = 4 + (size_t)op->test.n * 4;
	struct xdr_in in;

	if (bytes > nfs4_reply_left(cp))
		return NFS4ERR_REP_TOO_BIG;
	op->test.status = nfs4_alloc(cp, bytes);
	if (!op->test.status || !nfs4_room(cp, bytes))
		return NFS4ERR_DELAY;
	xdr_in_init(&in, op->test.ids, (size_t)op->test.n * NFS4_STATEID_BYTES);
	for (uint32_t i = 0; i < op->test.n; i++) {
		const struct nfs4_stateid id = nfs4_get_stateid(&in);
		struct nfs4_sid *s;

		op->test.status[i] = !id.boot && !id.id ? NFS4ERR_BAD_STATEID :
				     nfs4_stateid_find(cp, &id, &s);
	}
	return NFS4_OK;
}
