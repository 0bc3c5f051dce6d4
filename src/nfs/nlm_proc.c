/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NLM version 4 as a table: one row per procedure (X/Open XNFS, "Network Lock Manager").
 *
 * A handler first finds out what waits (the file, the caller's rights, a record of the host) and
 * then does its work without waiting.
 */
#include "nfs/nfs3.h"
#include "nfs/nfs4_deleg.h"
#include "nfs/nlm.h"

static struct nlm_state *nlm_of(const struct rpc_call *c)
{
	const struct nfs_server *s = rpc_ctx(c);

	return s->nlm;
}

static enum nlm_stat stat_of(int err)
{
	switch (err) {
	case 0: return NLM_GRANTED;
	case -ESTALE: case -EBADHANDLE: case -ENOENT: return NLM_STALE_FH;
	case -ENOMEM: case -ENOSPC: return NLM_DENIED_NOLOCKS;
	case -EAGAIN: case -EBUSY: return NLM_DENIED_GRACE_PERIOD;	/* he comes again */
	default: return NLM_FAILED;
	}
}

static enum nlm_stat get_span(const struct nlm_args *a, struct lock_span *ret)
{
	if (a->length && a->length - 1 > UINT64_MAX - a->offset)
		return NLM_FBIG;
	ret->first = a->offset;
	ret->last = a->length ? a->offset + (a->length - 1) : UINT64_MAX;
	ret->write = a->exclusive;
	return NLM_GRANTED;
}

/* ---- what is asked of a file --------------------------------------------------------- */

/* May he have locks there: he who may read or write the file, or owns it. */
static int check_rights(struct nfs_op *op)
{
	const uint32_t want = FS_ACCESS_READ | FS_ACCESS_MODIFY;
	struct fs_attr a;
	uint32_t allowed;
	int err = fs_access(&op->req, op->id, want, &allowed, &a);

	if (err)
		return err;
	if (a.type != FS_REG)
		return -EINVAL;
	return allowed || op->req.cred.uid == a.uid ? 0 : -EACCES;
}

/* The file of A, for what gives something there. */
static enum nlm_stat enter(struct rpc_call *c, const struct nlm_args *a, struct fs_id *ret_id)
{
	struct nfs_op op;
	int err = nfs_begin(c, a->fh, &op);

	if (!err)
		err = check_rights(&op);
	*ret_id = op.id;
	return stat_of(err);
}

/* The file of A, for what takes something away: nobody is kept from that. */
static enum nlm_stat name_file(struct rpc_call *c, const struct nlm_args *a, struct fs_id *ret_id)
{
	const struct nfs_server *s = rpc_ctx(c);

	return stat_of(handle_read(s->cfg.handle_key, a->fh.s, a->fh.len, ret_id));
}

/* The caller's owner of A on F; NULL. */
static struct nlm_locker *find_locker(struct rpc_call *c, const struct nlm_args *a,
				      const struct nfs4_file *f)
{
	struct nlm_state *nlm = nlm_of(c);
	const struct nlm_host *h = f ? nlm_host_find(nlm, &c->peer, a->caller) : NULL;

	return h ? nlm_locker_find(nlm, h, a->svid, f) : NULL;
}

/* After a restart nothing is given that a client could still reclaim, and then nothing is reclaimed. */
static enum nlm_stat check_grace(const struct nlm_state *nlm, const struct nlm_host *h, bool reclaim)
{
	if (nfs4_in_grace(nlm->st) != reclaim)
		return NLM_DENIED_GRACE_PERIOD;
	return reclaim && !nlm_host_may_reclaim(nlm, h) ? NLM_DENIED : NLM_GRANTED;
}

/* The caller's host, on record if it is MONITORED, for something new or reclaimed.  May wait. */
static enum nlm_stat get_host(struct rpc_call *c, const struct nlm_args *a, bool monitored,
			      struct nlm_host **ret_host)
{
	struct nlm_state *nlm = nlm_of(c);
	struct nlm_host *h = nlm_host_get(nlm, &c->peer, &c->local, a->caller);
	enum nlm_stat stat = h ? check_grace(nlm, h, a->reclaim) : NLM_DENIED_NOLOCKS;

	if (!stat && monitored && nlm_host_record(nlm, h))
		return NLM_DENIED_GRACE_PERIOD;
	if (!stat)
		stat = check_grace(nlm, h, a->reclaim);		/* time has passed */
	*ret_host = h;
	return stat;
}

/* What was found out about a lock or a share.  Of one that will soon be free there is no word but
 * this for "come again". */
static enum nlm_stat found(uint32_t status)
{
	return status == NFS4ERR_DELAY ? NLM_DENIED_GRACE_PERIOD : status ? NLM_DENIED : NLM_GRANTED;
}

/* ---- TEST ---------------------------------------------------------------------------- */

static void put_holder(struct nlm_res *r, const struct lock_range *other)
{
	const struct lock_span s = other->span;

	r->exclusive = s.write;
	r->offset = s.first;
	r->length = s.last == UINT64_MAX ? 0 : s.last - s.first + 1;
	r->svid = 0;
	r->oh = (struct xdr_bytes){ (const uint8_t *)"", 0 };
	if (other->holder->kind == LOCK_NLM) {
		const struct nlm_locker *l = nlm_locker_of(other->holder);

		r->svid = l->svid;
		r->oh = (struct xdr_bytes){ l->oh, l->oh_len };
	}
}

static enum nlm_stat do_test(struct rpc_call *c, const struct nlm_args *a, struct nlm_res *r)
{
	struct nlm_state *nlm = nlm_of(c);
	const struct lock_range *other;
	const struct nlm_locker *l;
	struct nfs4_file *f;
	struct lock_span span;
	struct fs_id id;
	enum nlm_stat stat = get_span(a, &span);

	if (!stat)
		stat = enter(c, a, &id);
	if (!stat && nfs4_in_grace(nlm->st))
		stat = NLM_DENIED_GRACE_PERIOD;
	if (stat)
		return stat;
	if (nfs4_deleg_conflict(nlm->st, &id, NULL, span.write))
		return NLM_DENIED_GRACE_PERIOD;		/* he comes again */
	f = nfs4_file_find(nlm->st, &id);
	l = find_locker(c, a, f);
	stat = found(nfs4_lock_conflict(nlm->st, &f, l ? &l->holder : NULL, NULL, span, &other));
	if (stat == NLM_DENIED)
		put_holder(r, other);
	return stat;
}

/* ---- LOCK, CANCEL, UNLOCK ------------------------------------------------------------ */

static enum nlm_stat take(struct nlm_state *nlm, struct nlm_locker *l, const struct nlm_args *a,
			  struct lock_span span)
{
	struct nfs4_file *f = l->file;
	const struct lock_range *other;
	enum nlm_stat stat = found(nfs4_lock_conflict(nlm->st, &f, &l->holder, NULL, span, &other));
	struct nlm_block *b = nlm_block_find(l, span);

	if (!stat) {
		if (lock_take(&l->holder, span))
			return NLM_DENIED_NOLOCKS;
		if (b)
			nlm_block_end(nlm, b);
		return NLM_GRANTED;
	}
	if (!a->block)
		return stat;
	return b || !nlm_block_new(nlm, l, a, span) ? NLM_BLOCKED : NLM_DENIED_NOLOCKS;
}

static enum nlm_stat lock_file(struct rpc_call *c, const struct nlm_args *a, bool monitored)
{
	struct nlm_state *nlm = nlm_of(c);
	struct lock_span span;
	struct nlm_locker *l;
	struct nlm_host *h;
	struct fs_id id;
	enum nlm_stat stat = get_span(a, &span);

	if (!stat)
		stat = enter(c, a, &id);
	if (!stat)
		stat = get_host(c, a, monitored, &h);
	if (stat)
		return stat;
	if (nfs4_deleg_conflict(nlm->st, &id, NULL, span.write))
		return NLM_DENIED_GRACE_PERIOD;
	l = nlm_locker_get(nlm, h, a->svid, a->oh, &id);
	if (!l)
		return NLM_DENIED_NOLOCKS;
	l->state = a->state;
	stat = take(nlm, l, a, span);
	nlm_locker_put(nlm, l);
	if (!stat && a->reclaim)
		nfs4_reclaimed(nlm->st);
	return stat;
}

static enum nlm_stat do_lock(struct rpc_call *c, const struct nlm_args *a, struct nlm_res *r)
{
	return lock_file(c, a, true);
}

static enum nlm_stat do_nm_lock(struct rpc_call *c, const struct nlm_args *a, struct nlm_res *r)
{
	return lock_file(c, a, false);
}

static enum nlm_stat do_cancel(struct rpc_call *c, const struct nlm_args *a, struct nlm_res *r)
{
	struct nlm_state *nlm = nlm_of(c);
	struct nlm_locker *l;
	struct lock_span span;
	struct nlm_block *b;
	struct fs_id id;
	enum nlm_stat stat = get_span(a, &span);

	if (!stat)
		stat = name_file(c, a, &id);
	if (stat)
		return stat;
	l = find_locker(c, a, nfs4_file_find(nlm->st, &id));
	b = l ? nlm_block_find(l, span) : NULL;
	if (!b)
		return NLM_DENIED;		/* nothing waits; it may have been given */
	if (b->granted)
		lock_release(&l->holder, span);
	nlm_block_end(nlm, b);
	nlm_locker_put(nlm, l);
	return NLM_GRANTED;
}

static enum nlm_stat do_unlock(struct rpc_call *c, const struct nlm_args *a, struct nlm_res *r)
{
	struct nlm_state *nlm = nlm_of(c);
	struct nlm_locker *l;
	struct lock_span span;
	struct fs_id id;
	enum nlm_stat stat = get_span(a, &span);

	if (!stat)
		stat = name_file(c, a, &id);
	if (stat)
		return stat;
	l = find_locker(c, a, nfs4_file_find(nlm->st, &id));
	if (!l)
		return NLM_GRANTED;		/* there is nothing to be unlocked */
	nlm_blocks_end(nlm, l, span);
	stat = stat_of(lock_release(&l->holder, span));
	nlm_locker_put(nlm, l);
	return stat;
}

/* ---- SHARE, UNSHARE, FREE_ALL -------------------------------------------------------- */

static enum nlm_stat do_share(struct rpc_call *c, const struct nlm_args *a, struct nlm_res *r)
{
	struct nlm_state *nlm = nlm_of(c);
	struct nlm_host *h;
	struct fs_id id;
	enum nlm_stat stat = enter(c, a, &id);

	if (!stat)
		stat = get_host(c, a, true, &h);
	if (!stat)
		stat = nlm_share(nlm, h, a, &id);
	if (!stat && a->reclaim)
		nfs4_reclaimed(nlm->st);
	return stat;
}

static enum nlm_stat do_unshare(struct rpc_call *c, const struct nlm_args *a, struct nlm_res *r)
{
	struct nlm_state *nlm = nlm_of(c);
	struct nlm_host *h;
	struct fs_id id;
	enum nlm_stat stat = name_file(c, a, &id);

	if (stat)
		return stat;
	h = nlm_host_find(nlm, &c->peer, a->caller);
	if (h)
		nlm_unshare(nlm, h, a, &id);
	return NLM_GRANTED;
}

struct free_all_args { struct xdr_bytes name; };

static void dec_free_all(struct xdr_in *in, void *args)
{
	struct free_all_args *a = args;

	a->name = xdr_get_opaque(in, NLM_STRING_MAX);
	xdr_get_u32(in);			/* state */
}

static int free_all(struct rpc_call *c, void *args, void *res)
{
	const struct free_all_args *a = args;

	nlm_host_restarted(nlm_of(c), &c->peer, a->name, 0);
	return 0;
}

/* ---- rows ---------------------------------------------------------------------------- */

typedef enum nlm_stat procedure(struct rpc_call *c, const struct nlm_args *a, struct nlm_res *r);

static int run(struct rpc_call *c, procedure *fn, const struct nlm_args *a, struct nlm_res *r)
{
	r->cookie = a->cookie;
	r->stat = fn(c, a, r);
	if (c->auth_stat)
		return -EACCES;
	return r->stat == NLM_FAILED || r->stat == NLM_STALE_FH ? -EIO : 0;
}

/* The result is a call of its own, to the client's program of the same name. */
static int run_msg(struct rpc_call *c, procedure *fn, const struct nlm_args *a, uint32_t proc)
{
	struct nlm_state *nlm = nlm_of(c);
	struct nlm_res r = { 0 };
	int err = run(c, fn, a, &r);
	struct nlm_host *h = c->auth_stat ? NULL :
					    nlm_host_get(nlm, &c->peer, &c->local, a->caller);

	if (h)
		nlm_answer_later(nlm, h, proc, &r);
	return err;
}

static int null(struct rpc_call *c, void *args, void *res) { return 0; }

#define HANDLER(x) \
	static int x(struct rpc_call *c, void *args, void *res) \
	{ \
		return run(c, do_##x, args, res); \
	}
#define MSG_HANDLER(x, res_proc) \
	static int x##_msg(struct rpc_call *c, void *args, void *res) \
	{ \
		return run_msg(c, do_##x, args, res_proc); \
	}
HANDLER(test)
HANDLER(lock)
HANDLER(nm_lock)
HANDLER(cancel)
HANDLER(unlock)
HANDLER(share)
HANDLER(unshare)
MSG_HANDLER(test, NLM_PROC_TEST_RES)
MSG_HANDLER(lock, NLM_PROC_LOCK_RES)
MSG_HANDLER(cancel, NLM_PROC_CANCEL_RES)
MSG_HANDLER(unlock, NLM_PROC_UNLOCK_RES)

static void enc_test(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	nlm_put_res(out, res, true);
}

static void enc_res(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	nlm_put_res(out, res, false);
}

static void enc_share(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	nlm_put_res(out, res, false);
	xdr_put_u32(out, 0);			/* sequence: of no meaning any more */
}

#define ROW(NAME, fn, dec, enc, fl) { .name = NAME, .decode = nlm_dec_##dec, .handle = fn, \
	.encode = enc, .args_bytes = sizeof(struct nlm_args), \
	.res_bytes = sizeof(struct nlm_res), .flags = RPC_ANY_AUTH | (fl) }

static const struct rpc_proc procs[] = {
	[0] = { .name = "NULL", .handle = null, .flags = RPC_ANY_AUTH },
	[NLM_PROC_TEST] = ROW("TEST", test, test, enc_test, 0),
	[NLM_PROC_LOCK] = ROW("LOCK", lock, lock, enc_res, RPC_ONCE),
	[NLM_PROC_CANCEL] = ROW("CANCEL", cancel, cancel, enc_res, RPC_ONCE),
	[NLM_PROC_UNLOCK] = ROW("UNLOCK", unlock, unlock, enc_res, RPC_ONCE),
	[NLM_PROC_TEST_MSG] = ROW("TEST_MSG", test_msg, test, NULL, 0),
	[NLM_PROC_LOCK_MSG] = ROW("LOCK_MSG", lock_msg, lock, NULL, 0),
	[NLM_PROC_CANCEL_MSG] = ROW("CANCEL_MSG", cancel_msg, cancel, NULL, 0),
	[NLM_PROC_UNLOCK_MSG] = ROW("UNLOCK_MSG", unlock_msg, unlock, NULL, 0),
	[NLM_PROC_SHARE] = ROW("SHARE", share, share, enc_share, RPC_ONCE),
	[NLM_PROC_UNSHARE] = ROW("UNSHARE", unshare, share, enc_share, RPC_ONCE),
	[NLM_PROC_NM_LOCK] = ROW("NM_LOCK", nm_lock, lock, enc_res, RPC_ONCE),
	[NLM_PROC_FREE_ALL] = { .name = "FREE_ALL", .decode = dec_free_all, .handle = free_all,
				.args_bytes = sizeof(struct free_all_args),
				.flags = RPC_ANY_AUTH | RPC_ONCE },
};

const struct rpc_program nlm4_program = {
	"nlm", NLM_PROGRAM, 4, procs, sizeof(procs) / sizeof(*procs)
};
