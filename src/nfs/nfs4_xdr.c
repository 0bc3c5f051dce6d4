/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations' arguments and results on the wire (RFC 8881 section 18, RFC 7862 section 15).
 * Decoders only read what is there; whether it makes sense is the handlers' question.
 */
#include <stdio.h>
#include "nfs/nfs4_state.h"

#define NAME_WIRE_MAX RPC_CALL_MAX

/* ---- pieces -------------------------------------------------------------------------- */

struct nfs4_stateid nfs4_get_stateid(struct xdr_in *in)
{
	struct nfs4_stateid s;

	s.seqid = xdr_get_u32(in);
	s.boot = xdr_get_u32(in);
	s.id = xdr_get_u64(in);
	return s;
}

void nfs4_put_stateid(struct xdr_out *out, const struct nfs4_stateid *s)
{
	xdr_put_u32(out, s->seqid);
	xdr_put_u32(out, s->boot);
	xdr_put_u64(out, s->id);
}

static void put_change(struct xdr_out *out, const struct nfs4_change *c)
{
	xdr_put_bool(out, c->atomic);
	xdr_put_u64(out, c->before);
	xdr_put_u64(out, c->after);
}

static void get_session(struct xdr_in *in, uint8_t ret_id[NFS4_SESSION_ID])
{
	const uint8_t *p = xdr_get_fixed(in, NFS4_SESSION_ID);

	if (p)
		memcpy(ret_id, p, NFS4_SESSION_ID);
}

/* In a session the clientid is the session's (RFC 8881 section 8.8). */
static struct xdr_bytes get_owner(struct xdr_in *in, uint64_t *ret_clientid)
{
	*ret_clientid = xdr_get_u64(in);
	return xdr_get_opaque(in, NFS4_OPAQUE_MAX);
}

#define DECODER(x) void nfs4_dec_##x(struct xdr_in *in, struct nfs4_op *op)
#define ENCODER(x) void nfs4_enc_##x(struct nfs4_compound *cp, struct xdr_out *out, \
				     const struct nfs4_op *op, uint32_t status)

/* ---- arguments: files ---------------------------------------------------------------- */

DECODER(access)
{
	op->access.want = xdr_get_u32(in);
}

DECODER(close)
{
	op->seqid = xdr_get_u32(in);		/* a session has its own */
	op->stateid.id = nfs4_get_stateid(in);
}

DECODER(commit)
{
	op->commit.offset = xdr_get_u64(in);
	op->commit.count = xdr_get_u32(in);
}

DECODER(create)
{
	op->create.type = xdr_get_u32(in);
	op->create.major = op->create.minor = 0;
	op->create.target = (struct xdr_bytes){ 0 };
	if (op->create.type == FS_LNK)
		op->create.target = xdr_get_opaque(in, NAME_WIRE_MAX);
	if (op->create.type == FS_BLK || op->create.type == FS_CHR) {
		op->create.major = xdr_get_u32(in);
		op->create.minor = xdr_get_u32(in);
	}
	op->create.name = xdr_get_opaque(in, NAME_WIRE_MAX);
	nfs4_get_set(in, &op->create.set);
}

DECODER(getattr)
{
	nfs4_get_bitmap(in, &op->getattr.want);
}

DECODER(link)
{
	op->name.name = xdr_get_opaque(in, NAME_WIRE_MAX);
}

DECODER(lookup)
{
	op->name.name = xdr_get_opaque(in, NAME_WIRE_MAX);
}

DECODER(rename)
{
	op->name.name = xdr_get_opaque(in, NAME_WIRE_MAX);
	op->name.to = xdr_get_opaque(in, NAME_WIRE_MAX);
}

DECODER(putfh)
{
	op->fh.fh = xdr_get_opaque(in, NFS4_FH_MAX);
}

DECODER(read)
{
	op->read.id = nfs4_get_stateid(in);
	op->read.offset = xdr_get_u64(in);
	op->read.count = xdr_get_u32(in);
}

DECODER(write)
{
	op->write.id = nfs4_get_stateid(in);
	op->write.offset = xdr_get_u64(in);
	op->write.stable = xdr_get_enum(in, NFS4_FILE_SYNC);
	op->write.data = xdr_get_opaque(in, RPC_CALL_MAX);
}

DECODER(readdir)
{
	op->readdir.cookie = xdr_get_u64(in);
	op->readdir.verf = xdr_get_u64(in);
	op->readdir.dircount = xdr_get_u32(in);
	op->readdir.maxcount = xdr_get_u32(in);
	nfs4_get_bitmap(in, &op->readdir.want);
}

DECODER(secinfo)
{
	op->secinfo.name = xdr_get_opaque(in, NAME_WIRE_MAX);
}

DECODER(secinfo_no_name)
{
	op->secinfo.how = xdr_get_enum(in, 1);
}

DECODER(setattr)
{
	op->setattr.id = nfs4_get_stateid(in);
	nfs4_get_set(in, &op->setattr.set);
}

DECODER(verify)
{
	nfs4_get_bitmap(in, &op->verify.want);
	op->verify.values = xdr_get_opaque(in, RPC_CALL_MAX);
}

/* ---- arguments: opens and locks ------------------------------------------------------ */

static void get_openhow(struct xdr_in *in, struct nfs4_op *op)
{
	op->open.set = (struct nfs4_set){ 0 };
	op->open.verifier = 0;
	op->open.how = 0;
	op->open.create = xdr_get_enum(in, 1);
	if (!op->open.create)
		return;
	op->open.how = xdr_get_enum(in, NFS4_CREATE_EXCLUSIVE4_1);
	if (op->open.how >= NFS4_CREATE_EXCLUSIVE)
		op->open.verifier = xdr_get_u64(in);
	if (op->open.how != NFS4_CREATE_EXCLUSIVE)
		nfs4_get_set(in, &op->open.set);
}

DECODER(open)
{
	op->seqid = xdr_get_u32(in);
	op->open.access = xdr_get_u32(in);
	op->open.deny = xdr_get_u32(in);
	op->open.owner = get_owner(in, &op->open.clientid);
	get_openhow(in, op);
	op->open.claim = xdr_get_enum(in, NFS4_CLAIM_DELEG_PREV_FH);
	op->open.name = (struct xdr_bytes){ 0 };
	switch (op->open.claim) {
	case NFS4_CLAIM_PREVIOUS:
		op->open.had = xdr_get_enum(in, NFS4_DELEG_NONE_EXT);
		break;
	case NFS4_CLAIM_DELEGATE_CUR:
		op->open.deleg_id = nfs4_get_stateid(in);
		op->open.name = xdr_get_opaque(in, NAME_WIRE_MAX);
		break;
	case NFS4_CLAIM_NULL:
	case NFS4_CLAIM_DELEGATE_PREV:
		op->open.name = xdr_get_opaque(in, NAME_WIRE_MAX);
		break;
	case NFS4_CLAIM_DELEG_CUR_FH:
		op->open.deleg_id = nfs4_get_stateid(in);
	}
}

DECODER(open_confirm)
{
	op->stateid.id = nfs4_get_stateid(in);
	op->seqid = xdr_get_u32(in);
}

DECODER(open_downgrade)
{
	op->stateid.id = nfs4_get_stateid(in);
	op->seqid = xdr_get_u32(in);
	op->stateid.access = xdr_get_u32(in);
	op->stateid.deny = xdr_get_u32(in);
}

DECODER(lock)
{
	op->lock.range.type = xdr_get_u32(in);
	op->lock.reclaim = xdr_get_bool(in);
	op->lock.range.offset = xdr_get_u64(in);
	op->lock.range.length = xdr_get_u64(in);
	op->lock.fresh = xdr_get_bool(in);
	if (op->lock.fresh) {
		op->seqid = xdr_get_u32(in);
		op->lock.open = nfs4_get_stateid(in);
		op->lock.owner_seqid = xdr_get_u32(in);
		op->lock.owner = get_owner(in, &op->lock.clientid);
	} else {
		op->lock.id = nfs4_get_stateid(in);
		op->seqid = xdr_get_u32(in);
	}
}

DECODER(lockt)
{
	op->lock.range.type = xdr_get_u32(in);
	op->lock.range.offset = xdr_get_u64(in);
	op->lock.range.length = xdr_get_u64(in);
	op->lock.owner = get_owner(in, &op->lock.clientid);
}

DECODER(locku)
{
	op->lock.range.type = xdr_get_u32(in);
	op->seqid = xdr_get_u32(in);
	op->lock.id = nfs4_get_stateid(in);
	op->lock.range.offset = xdr_get_u64(in);
	op->lock.range.length = xdr_get_u64(in);
}

DECODER(free_stateid)
{
	op->stateid.id = nfs4_get_stateid(in);
}

DECODER(test_stateid)
{
	op->test.n = xdr_get_u32(in);
	if (op->test.n > RPC_CALL_MAX / NFS4_STATEID_BYTES)
		in->bad = true;
	op->test.ids = xdr_get_fixed(in, in->bad ? 0 : op->test.n * NFS4_STATEID_BYTES);
}

/* ---- arguments: clients of 4.0 ------------------------------------------------------- */

DECODER(setclientid)
{
	op->setclientid.verifier = xdr_get_u64(in);
	op->setclientid.id = xdr_get_opaque(in, NFS4_OPAQUE_MAX);
	op->setclientid.prog = xdr_get_u32(in);
	op->setclientid.netid = xdr_get_opaque(in, NFS4_OPAQUE_MAX);
	op->setclientid.addr = xdr_get_opaque(in, NFS4_OPAQUE_MAX);
	op->setclientid.ident = xdr_get_u32(in);
}

DECODER(setclientid_confirm)
{
	op->setclientid.clientid = xdr_get_u64(in);
	op->setclientid.confirm = xdr_get_u64(in);
}

DECODER(release_lockowner)
{
	op->lock_owner.owner = get_owner(in, &op->lock_owner.clientid);
}

/* ---- arguments: sessions ------------------------------------------------------------- */

static void skip_bitmap(struct xdr_in *in)
{
	struct nfs4_bitmap b;

	nfs4_get_bitmap(in, &b);
}

/* A list of up to MAX of what SKIP reads over. */
static void skip_opaques(struct xdr_in *in, uint32_t max)
{
	uint32_t n = xdr_get_enum(in, max);

	while (n-- && !in->bad)
		xdr_get_opaque(in, NFS4_OPAQUE_MAX);
}

DECODER(exchange_id)
{
	uint32_t n;

	op->exchange.verifier = xdr_get_u64(in);
	op->exchange.owner = xdr_get_opaque(in, NFS4_OPAQUE_MAX);
	op->exchange.flags = xdr_get_u32(in);
	op->exchange.protect = xdr_get_enum(in, 2);
	if (op->exchange.protect) {
		skip_bitmap(in);
		skip_bitmap(in);
	}
	if (op->exchange.protect == 2) {
		skip_opaques(in, 32);
		skip_opaques(in, 32);
		xdr_get_u64(in);
	}
	n = xdr_get_enum(in, 1);
	if (n) {
		xdr_get_opaque(in, NFS4_OPAQUE_MAX);
		xdr_get_opaque(in, NFS4_OPAQUE_MAX);
		xdr_get_fixed(in, 12);
	}
}

static void get_channel(struct xdr_in *in, struct nfs4_channel *ch)
{
	ch->header_pad = xdr_get_u32(in);
	ch->max_request = xdr_get_u32(in);
	ch->max_response = xdr_get_u32(in);
	ch->max_cached = xdr_get_u32(in);
	ch->max_ops = xdr_get_u32(in);
	ch->max_slots = xdr_get_u32(in);
	if (xdr_get_enum(in, 1))
		xdr_get_u32(in);
}

static void get_sys_parms(struct xdr_in *in, struct rpc_cred *ret)
{
	xdr_get_u32(in);			/* stamp */
	xdr_get_opaque(in, 255);		/* machine's name */
	ret->uid = xdr_get_u32(in);
	ret->gid = xdr_get_u32(in);
	ret->ngroups = xdr_get_enum(in, RPC_GROUPS_MAX);
	for (uint32_t i = 0; i < ret->ngroups; i++)
		ret->groups[i] = xdr_get_u32(in);
}

/* An empty list is taken as AUTH_NONE. */
static void get_sec_parms(struct xdr_in *in, struct nfs4_cb_sec *ret)
{
	uint32_t n = xdr_get_enum(in, 16);

	*ret = (struct nfs4_cb_sec){ .allowed = !n };
	while (n-- && !in->bad) {
		struct rpc_cred cred = { .flavor = xdr_get_u32(in) };

		switch (cred.flavor) {
		case RPC_AUTH_NONE:
			break;
		case RPC_AUTH_SYS:
			get_sys_parms(in, &cred);
			break;
		case 6:				/* RPCSEC_GSS */
			xdr_get_u32(in);
			xdr_get_opaque(in, NFS4_OPAQUE_MAX);
			xdr_get_opaque(in, NFS4_OPAQUE_MAX);
			continue;
		default:
			in->bad = true;
		}
		if (!ret->allowed)
			*ret = (struct nfs4_cb_sec){ true, cred };
	}
}

DECODER(create_session)
{
	op->create_session.clientid = xdr_get_u64(in);
	op->create_session.seq = xdr_get_u32(in);
	op->create_session.flags = xdr_get_u32(in);
	get_channel(in, &op->create_session.fore);
	get_channel(in, &op->create_session.back);
	op->create_session.cb_prog = xdr_get_u32(in);
	get_sec_parms(in, &op->create_session.cb_sec);
	memset(op->create_session.session, 0, NFS4_SESSION_ID);
}

DECODER(backchannel_ctl)
{
	op->backchannel.prog = xdr_get_u32(in);
	get_sec_parms(in, &op->backchannel.sec);
}

DECODER(bind)
{
	get_session(in, op->bind.session);
	op->bind.dir = xdr_get_u32(in);
	xdr_get_bool(in);
}

DECODER(session)
{
	get_session(in, op->session.session);
}

DECODER(clientid)
{
	op->clientid.clientid = xdr_get_u64(in);
}

DECODER(reclaim_complete)
{
	op->reclaim.one_fs = xdr_get_bool(in);
}

DECODER(sequence)
{
	get_session(in, op->sequence.session);
	op->sequence.seq = xdr_get_u32(in);
	op->sequence.slot = xdr_get_u32(in);
	op->sequence.highest = xdr_get_u32(in);
	op->sequence.cache = xdr_get_bool(in);
}

/* ---- arguments: 4.2 ------------------------------------------------------------------ */

DECODER(clone)
{
	op->range.src = nfs4_get_stateid(in);
	op->range.dst = nfs4_get_stateid(in);
	op->range.src_offset = xdr_get_u64(in);
	op->range.dst_offset = xdr_get_u64(in);
	op->range.count = xdr_get_u64(in);
}

DECODER(copy)
{
	nfs4_dec_clone(in, op);
	xdr_get_bool(in);			/* consecutive: it always is */
	op->range.synchronous = xdr_get_bool(in);
	op->range.nsources = xdr_get_u32(in);	/* what follows is not looked at */
}

DECODER(seek)
{
	op->range.src = nfs4_get_stateid(in);
	op->range.src_offset = xdr_get_u64(in);
	op->range.what = xdr_get_u32(in);
}

DECODER(deallocate)
{
	op->range.dst = nfs4_get_stateid(in);
	op->range.dst_offset = xdr_get_u64(in);
	op->range.count = xdr_get_u64(in);
}

DECODER(offload)
{
	op->offload.id = nfs4_get_stateid(in);
}

DECODER(xattr)
{
	op->xattr.name = xdr_get_opaque(in, NAME_WIRE_MAX);
}

DECODER(setxattr)
{
	op->xattr.how = xdr_get_enum(in, 2);
	op->xattr.name = xdr_get_opaque(in, NAME_WIRE_MAX);
	op->xattr.value = xdr_get_opaque(in, RPC_CALL_MAX);
}

DECODER(listxattrs)
{
	op->xattr.cookie = xdr_get_u64(in);
	op->xattr.max = xdr_get_u32(in);
}

DECODER(io_advise)
{
	op->advise.id = nfs4_get_stateid(in);
	op->advise.offset = xdr_get_u64(in);
	op->advise.count = xdr_get_u64(in);
	nfs4_get_bitmap(in, &op->advise.hints);
}

/* ---- results ------------------------------------------------------------------------- */

ENCODER(access)
{
	xdr_put_u32(out, op->access.supported);
	xdr_put_u32(out, op->access.allowed);
}

ENCODER(close)
{
	const struct nfs4_stateid gone = { .seqid = UINT32_MAX };

	nfs4_put_stateid(out, &gone);
}

ENCODER(commit)
{
	xdr_put_u64(out, fs_verifier(cp->f.req.fs));
}

ENCODER(change)
{
	put_change(out, &op->name.change);
}

ENCODER(rename)
{
	put_change(out, &op->name.from);
	put_change(out, &op->name.change);
}

ENCODER(create)
{
	const struct nfs4_bitmap set = nfs4_settable(&op->create.set);

	put_change(out, &op->create.change);
	nfs4_put_bitmap(out, &set);
}

ENCODER(getfh)
{
	uint8_t *p;

	xdr_put_u32(out, HANDLE_BYTES);
	p = xdr_room(out, HANDLE_BYTES);
	if (p)
		handle_make(cp->server->cfg.handle_key, &cp->cur.id, p);
}

ENCODER(stateid)
{
	nfs4_put_stateid(out, &cp->cur.stateid);
}

/* OK: the stateid; DENIED: who has it */
ENCODER(lock)
{
	if (!status && op->num == 12)
		nfs4_put_stateid(out, &cp->cur.stateid);
	if (status != NFS4ERR_DENIED)
		return;
	xdr_put_u64(out, op->lock.denied.offset);
	xdr_put_u64(out, op->lock.denied.length);
	xdr_put_u32(out, op->lock.denied.type);
	xdr_put_u64(out, op->lock.ret_clientid);
	xdr_put_opaque(out, op->lock.ret_owner.s, op->lock.ret_owner.len);
}

/* An nfsace4 that lets nobody do anything: clients go on asking the server. */
static void put_no_ace(struct xdr_out *out)
{
	xdr_put_u64(out, 0);			/* type and flags */
	xdr_put_u64(out, 0);			/* mask, and an empty name */
}

/* open_delegation4 */
static void put_offer(struct xdr_out *out, const struct nfs4_offer *o)
{
	enum { LIMIT_SIZE = 1 };

	xdr_put_u32(out, o->type);
	switch (o->type) {
	case NFS4_DELEG_READ:
	case NFS4_DELEG_WRITE:
		nfs4_put_stateid(out, &o->id);
		xdr_put_bool(out, o->recall);
		if (o->type == NFS4_DELEG_WRITE) {
			/* What is closed has to be here: so that space and quotas are known
			 * to suffice, and others who don't ask find it. */
			xdr_put_u32(out, LIMIT_SIZE);
			xdr_put_u64(out, 0);
		}
		put_no_ace(out);
		break;
	case NFS4_DELEG_NONE_EXT:
		xdr_put_u32(out, o->why);
		if (o->why == NFS4_NO_DELEG_CONTENTION || o->why == NFS4_NO_DELEG_RESOURCE)
			xdr_put_bool(out, false);	/* nobody is told when that changes */
	}
}

ENCODER(open)
{
	enum { CONFIRM = 2, LOCKTYPE_POSIX = 4, V40 = 7, PRESERVE_UNLINKED = 8,
	       MAY_NOTIFY_LOCK = 0x20 };
	uint32_t flags = LOCKTYPE_POSIX | (op->open.unconfirmed ? CONFIRM : 0) |
			 (op->open.preserves ? PRESERVE_UNLINKED : 0) |
			 (op->open.may_notify ? MAY_NOTIFY_LOCK : 0);

	nfs4_put_stateid(out, &op->open.id);
	put_change(out, &op->open.change);
	xdr_put_u32(out, cp->minor ? flags : flags & V40);
	nfs4_put_bitmap(out, &op->open.attrset);
	put_offer(out, &op->open.deleg);
}

ENCODER(write)
{
	xdr_put_u32(out, op->write.count);
	xdr_put_u32(out, op->write.stable);
	xdr_put_u64(out, fs_verifier(cp->f.req.fs));
}

ENCODER(readdir)
{
	const struct iovec list = { op->readdir.list, op->readdir.len };

	xdr_put_u64(out, op->readdir.verf);
	xdr_splice(out, &list, 1);
	xdr_put_bool(out, false);		/* no entry follows */
	xdr_put_bool(out, op->readdir.eof);
}

ENCODER(readlink)
{
	xdr_put_string(out, op->readlink.target);
}

ENCODER(secinfo)
{
	xdr_put_u32(out, op->secinfo.sys + op->secinfo.none);
	if (op->secinfo.sys)
		xdr_put_u32(out, RPC_AUTH_SYS);
	if (op->secinfo.none)
		xdr_put_u32(out, RPC_AUTH_NONE);
}

ENCODER(setattr)
{
	struct nfs4_bitmap none = { 0 }, set = nfs4_settable(&op->setattr.set);

	nfs4_put_bitmap(out, status ? &none : &set);
}

ENCODER(test_stateid)
{
	xdr_put_u32(out, op->test.n);
	for (uint32_t i = 0; i < op->test.n; i++)
		xdr_put_u32(out, op->test.status[i]);
}

/* OK: the clientid; CLID_INUSE: who has it */
ENCODER(setclientid)
{
	if (!status) {
		xdr_put_u64(out, op->setclientid.clientid);
		xdr_put_u64(out, op->setclientid.confirm);
	} else if (status == NFS4ERR_CLID_INUSE) {
		xdr_put_opaque(out, op->setclientid.netid.s, op->setclientid.netid.len);
		xdr_put_opaque(out, op->setclientid.addr.s, op->setclientid.addr.len);
	}
}

ENCODER(bind)
{
	xdr_put_fixed(out, op->bind.session, NFS4_SESSION_ID);
	xdr_put_u32(out, op->bind.dir);
	xdr_put_bool(out, false);
}

/* Every connection leads to the same server, and its sessions may use all of them. */
ENCODER(exchange_id)
{
	struct fs_status st;
	char name[33];

	fs_status(cp->f.req.fs, &st);
	for (int i = 0; i < 16; i++)
		snprintf(name + 2 * i, 3, "%02x", st.uuid[i]);
	xdr_put_u64(out, op->exchange.clientid);
	xdr_put_u32(out, op->exchange.seq);
	xdr_put_u32(out, op->exchange.ret_flags);
	xdr_put_u32(out, 0);			/* SP4_NONE */
	xdr_put_u64(out, 0);			/* server_owner's minor */
	xdr_put_string(out, name);
	xdr_put_string(out, name);		/* server_scope */
	xdr_put_u32(out, 1);			/* the implementation: domain, name, date */
	xdr_put_string(out, "pando");
	xdr_put_string(out, "Pando " PANDO_VERSION);
	xdr_put_u64(out, 0);
	xdr_put_u32(out, 0);
}

static void put_channel(struct xdr_out *out, const struct nfs4_channel *ch)
{
	xdr_put_u32(out, ch->header_pad);
	xdr_put_u32(out, ch->max_request);
	xdr_put_u32(out, ch->max_response);
	xdr_put_u32(out, ch->max_cached);
	xdr_put_u32(out, ch->max_ops);
	xdr_put_u32(out, ch->max_slots);
	xdr_put_u32(out, 0);
}

ENCODER(create_session)
{
	xdr_put_fixed(out, op->create_session.session, NFS4_SESSION_ID);
	xdr_put_u32(out, op->create_session.seq);
	xdr_put_u32(out, op->create_session.flags);
	put_channel(out, &op->create_session.fore);
	put_channel(out, &op->create_session.back);
}

ENCODER(sequence)
{
	xdr_put_fixed(out, op->sequence.session, NFS4_SESSION_ID);
	xdr_put_u32(out, op->sequence.seq);
	xdr_put_u32(out, op->sequence.slot);
	xdr_put_u32(out, op->sequence.slots - 1);
	xdr_put_u32(out, op->sequence.slots - 1);
	xdr_put_u32(out, op->sequence.flags);
}

ENCODER(copy)
{
	bool more = op->range.offloaded;

	xdr_put_u32(out, more);
	if (more)
		nfs4_put_stateid(out, &op->range.callback);
	xdr_put_u64(out, more ? 0 : op->range.count);
	xdr_put_u32(out, more ? NFS4_UNSTABLE : NFS4_FILE_SYNC);
	xdr_put_u64(out, fs_verifier(cp->f.req.fs));
	xdr_put_bool(out, true);		/* consecutive */
	xdr_put_bool(out, !more);		/* synchronous */
}

ENCODER(offload_status)
{
	xdr_put_u64(out, op->offload.count);
	xdr_put_u32(out, op->offload.complete);
	if (op->offload.complete)
		xdr_put_u32(out, op->offload.status);
}

ENCODER(getxattr)
{
	static const uint8_t zeros[4];
	const struct iovec value[] = { { op->xattr.buf, op->xattr.len },
				       { (void *)zeros, xdr_pad(op->xattr.len) } };

	xdr_put_u32(out, op->xattr.len);
	xdr_splice(out, value, 2);
}

ENCODER(xattr_change)
{
	put_change(out, &op->xattr.change);
}

ENCODER(listxattrs)
{
	const struct iovec names = { op->xattr.buf, op->xattr.len };

	xdr_put_u64(out, op->xattr.cookie);
	xdr_put_u32(out, op->xattr.names);
	xdr_splice(out, &names, 1);
	xdr_put_bool(out, op->xattr.eof);
}

ENCODER(seek)
{
	xdr_put_bool(out, op->range.eof);
	xdr_put_u64(out, op->range.src_offset);
}

ENCODER(io_advise)
{
	nfs4_put_bitmap(out, &op->advise.hints);
}
