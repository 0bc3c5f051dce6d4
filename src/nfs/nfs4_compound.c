/* SPDX-License-Identifier: Apache-2.0 */
/*
 * COMPOUND: the table of operations, and the loop that runs them (RFC 7530 section 14 and 15.2,
 * RFC 8881 section 2.10 and 16.2).
 *
 * The loop decodes one operation, runs it and encodes its results before it looks at the next.
 * For each it checks, in this order: that the operation exists in this minor version, its place
 * (SEQUENCE first, or alone), its arguments, its file handles, the caller's rights on the volume,
 * read-only exports; and that its reply fits into what the session allows.  In 4.0, which has no
 * sessions, who numbered the operation is found after its file handles (nfs4_v40.h).
 *
 * What the operations did is waited for once, at the end, for all of them: only then is the reply
 * kept in its slot and sent.  When it can't be made stable, the results from the first operation
 * on that wanted this are taken back, and that operation fails.
 */
#include <assert.h>
#include <stdlib.h>
#include "base/hash.h"
#include "nfs/nfs4_v40.h"

_Static_assert(sizeof(struct nfs4_compound) <= RPC_RES_MAX, "a COMPOUND fits into a call");

#define FH NFS4_FH
#define RW (NFS4_FH | NFS4_CHANGES)
#define NAMES (RW | NFS4_ONCE | NFS4_LOGGED)
#define MOST_CHANGE 20
#define MOST_OPEN 112
#define DIGEST_BYTES 4096		/* of the operations that tell a false retry */
#define SEQUENCE_ARGS 36
#define SEQUENCE_ID 28			/* of them: number, session, sequence, slot */
#define ERROR_BYTES 12			/* of a result that is nothing but an error */
#define MOST_BITMAP 16
#define NO_PSEUDO(x) .pseudo = NFS4ERR_##x
#define OP(NAME, fn, ...) { .name = NAME, .minor = 0, .handle = nfs4_##fn, __VA_ARGS__ }
#define OP41(NAME, fn, ...) { .name = NAME, .minor = 1, .handle = nfs4_##fn, __VA_ARGS__ }
#define OP42(NAME, fn, ...) { .name = NAME, .minor = 2, .handle = nfs4_##fn, __VA_ARGS__ }
#define DEC(x) .decode = nfs4_dec_##x
#define ENC(x) .encode = nfs4_enc_##x
#define NO(NAME, since) { .name = NAME, .minor = since }

static const struct nfs4_row rows[NFS4_OP_NUMBERS] = {
	[3] = OP("ACCESS", access, .flags = FH, DEC(access), ENC(access)),
	[4] = OP("CLOSE", close, .flags = FH | NFS4_NO_ENTER | NFS4_SEQID, .most = 16,
		 DEC(close), ENC(close), NO_PSEUDO(BAD_STATEID)),
	[5] = OP("COMMIT", commit, .flags = FH, DEC(commit), ENC(commit), NO_PSEUDO(ISDIR)),
	[6] = OP("CREATE", create, .flags = NAMES, .most = MOST_CHANGE + MOST_BITMAP,
		 DEC(create), ENC(create), NO_PSEUDO(ROFS)),
	[7] = NO("DELEGPURGE", 0),
	[8] = OP("DELEGRETURN", delegreturn, .flags = FH | NFS4_NO_ENTER, DEC(free_stateid),
		 NO_PSEUDO(BAD_STATEID)),
	[9] = OP("GETATTR", getattr, .flags = FH, DEC(getattr), ENC(getattr)),
	[10] = OP("GETFH", getfh, .flags = FH | NFS4_NO_ENTER | NFS4_QUICK, ENC(getfh)),
	[11] = OP("LINK", link, .flags = NAMES | NFS4_SAVED, .most = MOST_CHANGE,
		  DEC(link), ENC(change), NO_PSEUDO(ROFS)),
	[12] = OP("LOCK", lock, .flags = FH | NFS4_ENCODE_ERRORS | NFS4_SEQID, .most = 16,
		  DEC(lock), ENC(lock), NO_PSEUDO(ISDIR)),
	[13] = OP("LOCKT", lockt, .flags = FH | NFS4_ENCODE_ERRORS, DEC(lockt), ENC(lock),
		  NO_PSEUDO(ISDIR)),
	[14] = OP("LOCKU", locku, .flags = FH | NFS4_NO_ENTER | NFS4_SEQID, .most = 16,
		  DEC(locku), ENC(stateid), NO_PSEUDO(BAD_STATEID)),
	[15] = OP("LOOKUP", lookup, .flags = FH, DEC(lookup)),
	[16] = OP("LOOKUPP", lookupp, .flags = FH, NO_PSEUDO(NOENT)),
	[17] = OP("NVERIFY", nverify, .flags = FH, DEC(verify)),
	[18] = OP("OPEN", open, .flags = FH | NFS4_SEQID, .most = MOST_OPEN,
		  DEC(open), ENC(open)),
	[19] = NO("OPENATTR", 0),
	[20] = OP("OPEN_CONFIRM", open_confirm,
		  .flags = FH | NFS4_NO_ENTER | NFS4_SEQID | NFS4_ONLY_V40, DEC(open_confirm),
		  ENC(stateid), NO_PSEUDO(BAD_STATEID)),
	[21] = OP("OPEN_DOWNGRADE", open_downgrade, .flags = FH | NFS4_NO_ENTER | NFS4_SEQID,
		  DEC(open_downgrade), ENC(stateid), NO_PSEUDO(BAD_STATEID)),
	[22] = OP("PUTFH", putfh, .flags = NFS4_PUTS_FH | NFS4_QUICK, DEC(putfh)),
	[23] = OP("PUTPUBFH", putrootfh, .flags = NFS4_QUICK),
	[24] = OP("PUTROOTFH", putrootfh, .flags = NFS4_QUICK),
	[25] = OP("READ", read, .flags = FH, DEC(read), ENC(read), NO_PSEUDO(ISDIR)),
	[26] = OP("READDIR", readdir, .flags = FH, DEC(readdir), ENC(readdir)),
	[27] = OP("READLINK", readlink, .flags = FH, ENC(readlink), NO_PSEUDO(WRONG_TYPE)),
	[28] = OP("REMOVE", remove, .flags = NAMES, .most = MOST_CHANGE, DEC(lookup),
		  ENC(change), NO_PSEUDO(ROFS)),
	[29] = OP("RENAME", rename, .flags = NAMES | NFS4_SAVED, .most = 2 * MOST_CHANGE,
		  DEC(rename), ENC(rename), NO_PSEUDO(ROFS)),
	[30] = OP("RENEW", renew, .flags = NFS4_ONLY_V40, DEC(clientid)),
	[31] = OP("RESTOREFH", restorefh, .flags = NFS4_PUTS_FH | NFS4_QUICK),
	[32] = OP("SAVEFH", savefh, .flags = FH | NFS4_NO_ENTER | NFS4_QUICK),
	[33] = OP("SECINFO", secinfo, .flags = FH | NFS4_NO_ENTER, DEC(secinfo), ENC(secinfo)),
	[34] = OP("SETATTR", setattr, .flags = RW | NFS4_ENCODE_ERRORS | NFS4_ONCE,
		  .most = MOST_BITMAP, DEC(setattr), ENC(setattr), NO_PSEUDO(ROFS)),
	[35] = OP("SETCLIENTID", setclientid,
		  .flags = NFS4_ONLY_V40 | NFS4_ENCODE_ERRORS | NFS4_ONCE, DEC(setclientid),
		  ENC(setclientid)),
	[36] = OP("SETCLIENTID_CONFIRM", setclientid_confirm, .flags = NFS4_ONLY_V40,
		  DEC(setclientid_confirm)),
	[37] = OP("VERIFY", verify, .flags = FH, DEC(verify)),
	[38] = OP("WRITE", write, .flags = RW, .most = 16, DEC(write), ENC(write),
		  NO_PSEUDO(ISDIR)),
	[39] = OP("RELEASE_LOCKOWNER", release_lockowner, .flags = NFS4_ONLY_V40,
		  DEC(release_lockowner)),
	[40] = OP41("BACKCHANNEL_CTL", backchannel_ctl, DEC(backchannel_ctl)),
	[41] = OP41("BIND_CONN_TO_SESSION", bind, .flags = NFS4_ALONE, DEC(bind), ENC(bind)),
	[42] = OP41("EXCHANGE_ID", exchange_id, .flags = NFS4_ALONE, DEC(exchange_id),
		  ENC(exchange_id)),
	[43] = OP41("CREATE_SESSION", create_session, .flags = NFS4_ALONE, DEC(create_session),
		  ENC(create_session)),
	[44] = OP41("DESTROY_SESSION", destroy_session, .flags = NFS4_ALONE, DEC(session)),
	[45] = OP41("FREE_STATEID", free_stateid, DEC(free_stateid)),
	[46] = NO("GET_DIR_DELEGATION", 1),
	[47] = NO("GETDEVICEINFO", 1),
	[48] = NO("GETDEVICELIST", 1),
	[49] = NO("LAYOUTCOMMIT", 1),
	[50] = NO("LAYOUTGET", 1),
	[51] = NO("LAYOUTRETURN", 1),
	[52] = OP41("SECINFO_NO_NAME", secinfo_no_name, .flags = FH | NFS4_NO_ENTER,
		  DEC(secinfo_no_name), ENC(secinfo)),
	[53] = OP41("SEQUENCE", sequence, .flags = NFS4_QUICK, DEC(sequence), ENC(sequence)),
	[54] = NO("SET_SSV", 1),
	[55] = OP41("TEST_STATEID", test_stateid, DEC(test_stateid), ENC(test_stateid)),
	[56] = NO("WANT_DELEGATION", 1),
	[57] = OP41("DESTROY_CLIENTID", destroy_clientid, .flags = NFS4_ALONE, DEC(clientid)),
	[58] = OP41("RECLAIM_COMPLETE", reclaim_complete, DEC(reclaim_complete)),
	[59] = OP42("ALLOCATE", allocate, .flags = RW, DEC(deallocate), NO_PSEUDO(WRONG_TYPE)),
	[60] = OP42("COPY", copy, .flags = RW | NFS4_SAVED, .most = 48, DEC(copy), ENC(copy),
		    NO_PSEUDO(WRONG_TYPE)),
	[61] = NO("COPY_NOTIFY", 2),
	[62] = OP42("DEALLOCATE", deallocate, .flags = RW, DEC(deallocate), NO_PSEUDO(WRONG_TYPE)),
	[63] = OP42("IO_ADVISE", io_advise, .flags = FH, DEC(io_advise), ENC(io_advise),
		    NO_PSEUDO(WRONG_TYPE)),
	[64] = NO("LAYOUTERROR", 2),
	[65] = NO("LAYOUTSTATS", 2),
	[66] = OP42("OFFLOAD_CANCEL", offload_cancel, DEC(offload)),
	[67] = OP42("OFFLOAD_STATUS", offload_status, DEC(offload), ENC(offload_status)),
	[68] = OP42("READ_PLUS", read_plus, .flags = FH, .most = NFS4_READ_PLUS_ROOM, DEC(read),
		    ENC(read_plus), NO_PSEUDO(ISDIR)),
	[69] = OP42("SEEK", seek, .flags = FH, DEC(seek), ENC(seek), NO_PSEUDO(WRONG_TYPE)),
	[70] = NO("WRITE_SAME", 2),
	[71] = OP42("CLONE", clone, .flags = RW | NFS4_SAVED | NFS4_LOGGED, DEC(clone), NO_PSEUDO(WRONG_TYPE)),
	[72] = OP42("GETXATTR", getxattr, .flags = FH, DEC(xattr), ENC(getxattr),
		    NO_PSEUDO(NOXATTR)),
	[73] = OP42("SETXATTR", setxattr, .flags = RW | NFS4_LOGGED, .most = MOST_CHANGE, DEC(setxattr),
		    ENC(xattr_change), NO_PSEUDO(ROFS)),
	[74] = OP42("LISTXATTRS", listxattrs, .flags = FH, DEC(listxattrs), ENC(listxattrs)),
	[75] = OP42("REMOVEXATTR", removexattr, .flags = RW | NFS4_LOGGED, .most = MOST_CHANGE, DEC(xattr),
		    ENC(xattr_change), NO_PSEUDO(ROFS)),
};

enum { OP_GETATTR = 9, OP_GETFH = 10, OP_LOOKUP = 15, OP_LOOKUPP = 16, OP_OPEN = 18, OP_PUTFH = 22, OP_PUTPUBFH = 23,
       OP_PUTROOTFH = 24, OP_READ = 25, OP_READDIR = 26, OP_RESTOREFH = 31, OP_SAVEFH = 32,
       OP_SECINFO = 33, OP_SETATTR = 34, OP_BIND = 41, OP_SECINFO_NO_NAME = 52, OP_SEQUENCE = 53,
       OP_READ_PLUS = 68, OP_ILLEGAL = 10044 };

/* ---- memory -------------------------------------------------------------------------- */

void *nfs4_alloc(struct nfs4_compound *cp, size_t bytes)
{
	struct nfs4_chunk *k = malloc(sizeof(*k) + bytes);

	if (!k)
		return NULL;
	k->next = cp->chunks;
	cp->chunks = k;
	return k->data;
}

struct fs_read *nfs4_read_get(struct nfs4_compound *cp)
{
	if (!cp->pin_used)
		return &cp->read;
	return malloc(sizeof(struct fs_read));
}

uint32_t nfs4_read_pinned(struct nfs4_compound *cp, struct fs_read *r)
{
	struct nfs4_pin *pin = &cp->pin;

	if (r == &cp->read) {
		cp->pin_used = true;
	} else {
		pin = nfs4_alloc(cp, sizeof(*pin));
		if (!pin) {			/* nothing of it will be sent */
			fs_read_done(cp->f.req.fs, r);
			free(r);
			return NFS4ERR_DELAY;
		}
	}
	pin->read = r;
	pin->next = cp->pins;
	cp->pins = pin;
	return NFS4_OK;
}

void nfs4_read_free(struct nfs4_compound *cp, struct fs_read *r)
{
	if (r != &cp->read)
		free(r);
}

bool nfs4_room(struct nfs4_compound *cp, size_t bytes)
{
	size_t chunk = bytes > 4096 ? bytes : 4096;
	void *p;

	if ((size_t)(cp->out.end - cp->out.p) >= bytes)
		return true;
	p = nfs4_alloc(cp, chunk);
	if (p)
		xdr_out_continue(&cp->out, p, chunk);
	return p && !cp->out.full;
}

static struct nfs4_mark mark(const struct nfs4_compound *cp)
{
	const struct xdr_out *x = &cp->out;

	return (struct nfs4_mark){ x->seg, x->p, x->end, x->spliced,
				   x->niov ? x->iov[x->niov - 1].iov_len : 0, x->niov };
}

static void back_to(struct nfs4_compound *cp, const struct nfs4_mark *m)
{
	struct xdr_out *x = &cp->out;

	x->seg = m->seg;
	x->p = m->p;
	x->end = m->end;
	x->spliced = m->spliced;
	x->niov = m->niov;
	if (m->niov)
		x->iov[m->niov - 1].iov_len = m->last_len;
	x->full = x->lean = false;
}

/* ---- what handlers share ------------------------------------------------------------- */

/* COMPOUND's own: status, tag, number of results. */
static uint32_t head_bytes(const struct nfs4_compound *cp)
{
	return NFS4_RPC_REPLY_HEAD + 12 + cp->tag.len + xdr_pad(cp->tag.len);
}

static uint32_t reply_bytes(const struct nfs4_compound *cp)
{
	return head_bytes(cp) + xdr_out_len(&cp->out);
}

static uint32_t reply_limit(const struct nfs4_compound *cp)
{
	return cp->cache && cp->max_cached < cp->max_reply ? cp->max_cached : cp->max_reply;
}

uint32_t nfs4_reply_left(const struct nfs4_compound *cp)
{
	uint32_t used = reply_bytes(cp), max = reply_limit(cp);

	used += cp->index + 1 < cp->nops ? ERROR_BYTES : 0;
	return used < max ? max - used : 0;
}

/* Of a reply of BYTES.  While others follow there has to be room to say at least why the next one
 * was not run. */
static uint32_t too_big(const struct nfs4_compound *cp, uint32_t bytes)
{
	if (cp->index + 1 < cp->nops)
		bytes += ERROR_BYTES;
	if (bytes > cp->max_reply)
		return NFS4ERR_REP_TOO_BIG;
	return cp->cache && bytes > cp->max_cached ? NFS4ERR_REP_TOO_BIG_TO_CACHE : NFS4_OK;
}

uint32_t nfs4_reply_fits(const struct nfs4_compound *cp, uint32_t bytes)
{
	return too_big(cp, reply_bytes(cp) + bytes);
}

uint32_t nfs4_enter(struct nfs4_compound *cp, const struct nfs4_fh *fh)
{
	int err;

	cp->f.id = fh->id;
	if (nfs4_is_pseudo(fh) || (cp->entered && cp->entered_volume == fh->id.volume))
		return NFS4_OK;
	cp->entered = false;
	err = export_enter(cp->call, fh->id.volume, &cp->f);
	if (cp->call->auth_stat) {
		cp->call->auth_stat = RPC_AUTH_OK;
		return NFS4ERR_WRONGSEC;
	}
	if (err)
		return nfs4_status(err);
	cp->entered = true;
	cp->entered_volume = fh->id.volume;
	return NFS4_OK;
}

void nfs4_set_fh(struct nfs4_compound *cp, const struct fs_id *id)
{
	cp->cur = (struct nfs4_fh){ .set = true, .id = *id };
}

void nfs4_set_stateid(struct nfs4_compound *cp, const struct nfs4_stateid *id)
{
	cp->cur.has_stateid = true;
	cp->cur.stateid = *id;
}

uint32_t nfs4_name(struct xdr_bytes b, struct fs_name *ret_name)
{
	if (!b.len)
		return NFS4ERR_INVAL;
	if (b.len > FS_NAME_MAX)
		return NFS4ERR_NAMETOOLONG;
	if (memchr(b.s, '/', b.len) || memchr(b.s, 0, b.len) ||
	    (b.s[0] == '.' && (b.len == 1 || (b.len == 2 && b.s[1] == '.'))))
		return NFS4ERR_BADNAME;
	*ret_name = (struct fs_name){ (const char *)b.s, b.len };
	return NFS4_OK;
}

struct nfs4_change nfs4_change_of(const struct fs_wcc *w)
{
	return (struct nfs4_change){ w->pre_valid && w->post_valid, w->pre_change, w->post.change };
}

uint32_t nfs4_wrong_type(enum fs_type type, enum fs_type wanted)
{
	if (type == wanted)
		return NFS4_OK;
	if (wanted == FS_DIR)
		return type == FS_LNK ? NFS4ERR_SYMLINK : NFS4ERR_NOTDIR;
	return type == FS_DIR ? NFS4ERR_ISDIR : type == FS_LNK ? NFS4ERR_SYMLINK :
	       NFS4ERR_WRONG_TYPE;
}

uint32_t nfs4_dir_status(struct nfs4_compound *cp, const struct fs_id *dir, int err)
{
	struct fs_attr a;

	if (err == -ENOTDIR && !fs_getattr(&cp->f.req, *dir, &a) && a.type == FS_LNK)
		return NFS4ERR_SYMLINK;
	return nfs4_status(err);
}

void nfs4_tell_ops(const struct nfs4_state *st,
		   void (*fn)(void *arg, const struct nfs_proc_info *i), void *arg)
{
	for (uint32_t i = 0; i < NFS4_OP_NUMBERS; i++) {
		const struct rpc_proc_stats *s = &st->op_stats[i];
		const struct nfs_proc_info info = {
			.program = nfs4_program.name, .version = nfs4_program.vers,
			.proc = rows[i].name, .calls = s->calls, .errors = s->errors,
			.total_ns = s->total_ns,
		};

		if (rows[i].handle)
			fn(arg, &info);
	}
}

/* ---- one operation ------------------------------------------------------------------- */

static const struct nfs4_row *find_row(const struct nfs4_compound *cp, uint32_t num)
{
	const struct nfs4_row *r;

	if (num >= NFS4_OP_NUMBERS)
		return NULL;
	r = &rows[num];
	return r->name && r->minor <= cp->minor ? r : NULL;
}

/* What goes with the one operation that was done before a crash, and needs no session. */
static bool may_be_late(const struct nfs4_compound *cp, const struct nfs4_row *r, uint32_t num)
{
	switch (num) {
	case OP_GETATTR:
	case OP_GETFH:
	case OP_PUTFH:
	case OP_PUTROOTFH:
	case OP_RESTOREFH:
	case OP_SAVEFH:
		return true;
	default:
		return r->flags & NFS4_LOGGED && !cp->logged;
	}
}

/* RFC 8881 section 2.10.2.2 and 16.2.3. */
static uint32_t check_place(const struct nfs4_compound *cp, const struct nfs4_row *r, uint32_t num)
{
	if (cp->index >= NFS4_OPS_MAX)
		return NFS4ERR_TOO_MANY_OPS;
	if (!cp->minor)
		return NFS4_OK;
	if (num == OP_SEQUENCE)
		return cp->index ? NFS4ERR_SEQUENCE_POS : NFS4_OK;
	if (cp->late)
		return may_be_late(cp, r, num) ? NFS4_OK : NFS4ERR_DEADSESSION;
	if (cp->session)
		return num == OP_BIND ? NFS4ERR_NOT_ONLY_OP : NFS4_OK;
	if (!(r->flags & NFS4_ALONE))
		return NFS4ERR_OP_NOT_IN_SESSION;
	return cp->nops > 1 ? NFS4ERR_NOT_ONLY_OP : NFS4_OK;
}

/* Whether what comes next itself says WRONGSEC, or needs no rights on this file handle (RFC 8881
 * section 2.6.3.1.1). */
static bool next_cares(const struct nfs4_compound *cp)
{
	uint32_t num = OP_SAVEFH, i = cp->index + 1;
	struct xdr_in in = cp->in;

	while (num == OP_SAVEFH && i++ < cp->nops)
		num = xdr_get_u32(&in);
	switch (num) {
	case OP_LOOKUP:
	case OP_LOOKUPP:
	case OP_OPEN:
	case OP_PUTFH:
	case OP_PUTPUBFH:
	case OP_PUTROOTFH:
	case OP_RESTOREFH:
	case OP_SAVEFH:
	case OP_SECINFO:
	case OP_SECINFO_NO_NAME:
		return true;
	default:
		return false;
	}
}

static uint32_t check_handles(const struct nfs4_compound *cp, const struct nfs4_row *r)
{
	if (r->flags & NFS4_FH && !cp->cur.set)
		return NFS4ERR_NOFILEHANDLE;
	return r->flags & NFS4_SAVED && !cp->saved.set ? NFS4ERR_NOFILEHANDLE : NFS4_OK;
}

static uint32_t check_rights(struct nfs4_compound *cp, const struct nfs4_row *r)
{
	uint32_t status;

	if (!(r->flags & NFS4_FH) || r->flags & NFS4_NO_ENTER)
		return NFS4_OK;
	if (nfs4_is_pseudo(&cp->cur) && r->pseudo)
		return r->pseudo;
	status = nfs4_enter(cp, &cp->cur);
	if (status)
		return status;
	if (r->flags & NFS4_CHANGES && (!cp->f.rw || cp->cur.id.snapshot))
		return NFS4ERR_ROFS;
	return r->most ? too_big(cp, reply_bytes(cp) + r->most) : NFS4_OK;
}

const struct fs_id *nfs4_was_done(const struct nfs4_compound *cp)
{
	return cp->f.req.drc_client ? cp->call->replayed : NULL;
}

/*
 * With sessions, SEQUENCE counts up to the slot only: what follows that is put in anew whenever a client
 * sends the call again, the highest slot in use for one.
 */
uint64_t nfs4_call_digest(const struct nfs4_compound *cp)
{
	uint64_t h;

	if (!cp->minor)
		return rpc_call_digest(cp->call);
	h = hash64(cp->ops, SEQUENCE_ID) ^ hash64(cp->call->peer.ip, sizeof(cp->call->peer.ip)) * 3;
	h ^= (cp->digest | 1) * 0x9e3779b97f4a7c15ull;
	return h ? h : 1;
}

static uint32_t run_handler(struct nfs4_compound *cp, const struct nfs4_row *r)
{
	uint32_t status;

	if (r->flags & NFS4_LOGGED && !cp->logged) {
		cp->logged = true;
		cp->f.req.drc_client = nfs4_call_digest(cp);
		cp->f.req.drc_xid = cp->call->xid;
		cp->f.req.drc_proc = cp->call->proc;
	}
	status = r->handle(cp, &cp->op);
	cp->f.req.drc_client = 0;
	return status;
}

static uint32_t run_row(struct nfs4_compound *cp, const struct nfs4_row *r)
{
	const uint8_t *args = cp->in.p;
	uint32_t status = check_place(cp, r, cp->op.num);

	if (!status && cp->retry_uncached && cp->index)
		status = NFS4ERR_RETRY_UNCACHED_REP;
	if (status)
		return status;
	if (!r->handle || (r->flags & NFS4_ONLY_V40 && cp->minor))
		return NFS4ERR_NOTSUPP;
	if (r->decode)
		r->decode(&cp->in, &cp->op);
	if (cp->in.bad)
		return NFS4ERR_BADXDR;
	status = check_handles(cp, r);
	if (!status && !cp->minor)
		status = nfs4_v40_begin(cp, &cp->op, r->flags, args);
	if (status || cp->again || cp->replaying)
		return status;
	status = check_rights(cp, r);
	if (!status)
		status = run_handler(cp, r);
	if (!status && r->flags & NFS4_PUTS_FH && !next_cares(cp) &&
	    nfs4_enter(cp, &cp->cur) == NFS4ERR_WRONGSEC)
		status = NFS4ERR_WRONGSEC;
	return status;
}

static void put_status(uint8_t *at, uint32_t status)
{
	status = htobe32(status);
	memcpy(at, &status, sizeof(status));
}

/* The time since the last of its kind goes to operation NUM. */
static void count_time(struct nfs4_compound *cp, uint32_t num)
{
	uint64_t now = rpc_now_ns();

	cp->st->op_stats[num].total_ns += now - cp->clock_ns;
	cp->clock_ns = now;
}

/* Looking at the clock costs as much as a quick operation. */
static void count(struct nfs4_compound *cp, const struct nfs4_row *r, uint32_t num)
{
	cp->st->op_stats[num].calls++;
	cp->st->op_stats[num].errors += cp->status != NFS4_OK;
	if (!(r->flags & NFS4_QUICK) || cp->status || cp->index + 1 == cp->nops)
		count_time(cp, num);
}

/* Runs the next operation; true: there may be another. */
static bool run_op(struct nfs4_compound *cp)
{
	uint32_t num = xdr_get_u32(&cp->in), status, excess;
	const struct nfs4_row *r = find_row(cp, num);
	bool waited = cp->f.req.stable_seq;
	struct nfs4_mark before, results;
	uint8_t *at;

	if (cp->in.bad || !nfs4_room(cp, NFS4_OP_ROOM)) {
		cp->status = cp->in.bad ? NFS4ERR_BADXDR : NFS4ERR_DELAY;
		return false;
	}
	before = mark(cp);
	cp->again = false;
	cp->op.num = num;
	xdr_put_u32(&cp->out, r ? num : OP_ILLEGAL);
	at = xdr_room(&cp->out, 4);
	results = mark(cp);
	status = r ? run_row(cp, r) : NFS4ERR_OP_ILLEGAL;
	if (cp->replaying)
		return false;
	if (!cp->minor)
		status = nfs4_v40_status(num, status);
	if (!cp->again && r && r->encode && (!status || r->flags & NFS4_ENCODE_ERRORS))
		r->encode(cp, &cp->out, &cp->op, status);
	excess = cp->out.lean ? NFS4ERR_DELAY : cp->out.full ? NFS4ERR_REP_TOO_BIG :
		 too_big(cp, reply_bytes(cp));
	if (!status && excess) {
		back_to(cp, &results);
		status = cp->minor ? excess : nfs4_v40_status(num, excess);
	}
	if (cp->owner)
		nfs4_seqid_end(cp, &cp->op, status, results.p);
	put_status(at, status);
	cp->nresults++;
	cp->status = status;
	if (r)
		count(cp, r, num);
	if (!waited && cp->f.req.stable_seq && !cp->waits) {
		cp->waits = true;
		cp->waits_mark = before;
		cp->waits_op = num;
		cp->waits_index = cp->index;
	}
	return !status;
}

/* ---- the whole ----------------------------------------------------------------------- */

/* Nothing is acknowledged that did not get stable. */
static void wait_stable(struct nfs4_compound *cp)
{
	int err;

	if (!cp->f.req.stable_seq)
		return;
	err = fs_wait_stable(cp->f.req.fs, cp->f.req.stable_seq);
	if (cp->waits)
		count_time(cp, cp->waits_op);
	if (!err || !cp->waits)
		return;
	back_to(cp, &cp->waits_mark);
	cp->status = nfs4_status(err);
	cp->nresults = cp->waits_index + 1;
	xdr_put_u32(&cp->out, cp->waits_op);
	xdr_put_u32(&cp->out, cp->status);
	if (cp->waits_op == OP_SETATTR)
		xdr_put_u32(&cp->out, 0);		/* nothing was set */
}

/* Who asks for what: the same slot and sequence with another digest is no retry. */
static uint64_t digest(const struct rpc_call *c, const struct xdr_in *rest)
{
	uint64_t who = ((uint64_t)c->cred.uid << 32 | c->cred.gid) + c->cred.flavor;
	size_t len = xdr_left(rest);

	return hash64(rest->p, len < DIGEST_BYTES ? len : DIGEST_BYTES) ^
	       (who ^ (uint64_t)len << 20) * 0x9e3779b97f4a7c15ull;
}

/* SEQUENCE is not part of it. */
static void take_digest(struct nfs4_compound *cp)
{
	struct xdr_in rest = cp->in;

	if (xdr_left(&rest) >= SEQUENCE_ARGS)
		rest.p += SEQUENCE_ARGS;
	cp->digest = digest(cp->call, &rest);
}

static void begin(struct rpc_call *c, const struct xdr_in *args, struct nfs4_compound *cp)
{
	memset(cp, 0, offsetof(struct nfs4_compound, f));
	cp->call = c;
	cp->server = rpc_ctx(c);
	cp->st = cp->server->nfs4;
	cp->in = *args;
	cp->call_bytes = xdr_left(args) + 40 + (c->cred_len ? c->cred_len + 4 : 0);
	cp->max_reply = NFS4_MESSAGE_MAX;
	cp->f.server = cp->server;
	cp->f.rw = cp->f.sync = false;
	cp->f.req.fs = cp->server->fs;
	/* all but the credentials, which export_enter() sets */
	memset(&cp->f.req.stable_seq, 0, sizeof(cp->f.req) - offsetof(struct fs_req, stable_seq));
	xdr_out_init(&cp->out, cp->buf, sizeof(cp->buf));
	cp->tag = xdr_get_opaque(&cp->in, NFS4_OPAQUE_MAX);
	cp->minor = xdr_get_u32(&cp->in);
	cp->nops = xdr_get_u32(&cp->in);
	cp->ops = cp->in.p;
}

static void run_ops(struct nfs4_compound *cp)
{
	if (cp->minor)
		take_digest(cp);
	cp->clock_ns = cp->call->begun_ns;
	while (cp->index < cp->nops && run_op(cp))
		cp->index++;
	if (!cp->replaying)
		wait_stable(cp);
	if (cp->minor)
		nfs4_sequence_end(cp);
	else
		nfs4_v40_end(cp);
	if (cp->clock_ns != cp->call->begun_ns)
		cp->call->ended_ns = cp->clock_ns;
}

struct compound_args { struct xdr_in in; };

static void decode(struct xdr_in *in, void *args)
{
	struct compound_args *a = args;
	struct xdr_in probe = *in;

	a->in = *in;
	xdr_get_opaque(&probe, NFS4_OPAQUE_MAX);
	xdr_get_u64(&probe);
	if (probe.bad)
		in->bad = true;
	else
		in->p = in->end;
}

static int compound(struct rpc_call *c, void *args, void *res)
{
	struct nfs4_compound *cp = res;
	struct compound_args *a = args;

	begin(c, &a->in, cp);
	if (cp->minor > 2)
		cp->status = NFS4ERR_MINOR_VERS_MISMATCH;
	else
		run_ops(cp);
	return cp->status;
}

static void encode(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	struct nfs4_compound *cp = (struct nfs4_compound *)res;

	if (cp->replaying) {
		const struct iovec whole = { (void *)cp->replay, cp->replay_len };

		xdr_splice(out, &whole, 1);
		return;
	}
	xdr_put_u32(out, cp->status);
	xdr_put_opaque(out, cp->tag.s, cp->tag.len);
	xdr_put_u32(out, cp->nresults);
	xdr_out_finish(&cp->out);
	if (cp->out.full)
		out->full = true;
	else
		xdr_splice(out, cp->out.iov, cp->out.niov);
}

static void release(struct rpc_call *c, void *res)
{
	struct nfs4_compound *cp = res;
	struct nfs4_chunk *k;

	for (struct nfs4_pin *p = cp->pins; p; p = p->next) {
		fs_read_done(cp->f.req.fs, p->read);
		nfs4_read_free(cp, p->read);
	}
	xdr_out_done(&cp->out);
	while ((k = cp->chunks)) {
		cp->chunks = k->next;
		free(k);
	}
}

/* As far as can be told without decoding: one READ or READDIR of the largest size that fits is
 * most; small calls seldom ask for more than one. */
static uint32_t cost(const void *args)
{
	const struct compound_args *a = args;
	struct xdr_in in = a->in;
	uint32_t most = 0, num;

	xdr_get_opaque(&in, NFS4_OPAQUE_MAX);
	xdr_get_u64(&in);
	for (int i = 0; i < 8 && !in.bad; i++) {
		num = xdr_get_u32(&in);
		if (num == OP_SEQUENCE) {
			xdr_get_fixed(&in, 32);
		} else if (num == OP_PUTFH) {
			xdr_get_opaque(&in, NFS4_FH_MAX);
		} else if (num == OP_READ || num == OP_READ_PLUS || num == OP_READDIR) {
			xdr_get_fixed(&in, 24);
			most = xdr_get_u32(&in);
			break;
		} else {
			break;
		}
	}
	return most < NFS4_IO_MAX ? most : NFS4_IO_MAX;
}

static int null(struct rpc_call *c, void *args, void *res)
{
	return 0;
}

static const struct rpc_proc procs[] = {
	{ .name = "NULL", .handle = null, .flags = RPC_ANY_AUTH },
	{ .name = "COMPOUND", .handle = compound, .flags = RPC_ANY_AUTH | RPC_RES_RAW,
	  .args_bytes = sizeof(struct compound_args), .res_bytes = sizeof(struct nfs4_compound),
	  .decode = decode, .encode = encode, .release = release, .cost = cost },
};

const struct rpc_program nfs4_program = {
	"nfs", NFS_PROGRAM, 4, procs, sizeof(procs) / sizeof(*procs)
};
