/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File handles, look-ups and attributes.  The pseudo root lists the volumes that the client may
 * see: a handle of volume 0, with the volumes' roots below it.
 */
#include <stdlib.h>
#include "nfs/nfs4_deleg.h"

static const struct fs_id pseudo_root = { .volume = 0, .ino = FS_ROOT_INO };

/* ---- current and saved --------------------------------------------------------------- */

uint32_t nfs4_putfh(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct fs_id id;
	int err = handle_read(cp->server->cfg.handle_key, op->fh.fh.s, op->fh.fh.len, &id);

	if (!err)
		nfs4_set_fh(cp, &id);
	return nfs4_status(err);
}

uint32_t nfs4_putrootfh(struct nfs4_compound *cp, struct nfs4_op *op)
{
	nfs4_set_fh(cp, &pseudo_root);
	return NFS4_OK;
}

uint32_t nfs4_getfh(struct nfs4_compound *cp, struct nfs4_op *op)
{
	return NFS4_OK;
}

uint32_t nfs4_savefh(struct nfs4_compound *cp, struct nfs4_op *op)
{
	cp->saved = cp->cur;
	return NFS4_OK;
}

uint32_t nfs4_restorefh(struct nfs4_compound *cp, struct nfs4_op *op)
{
	if (!cp->saved.set)
		return NFS4ERR_NOFILEHANDLE;
	cp->cur = cp->saved;
	return NFS4_OK;
}

/* ---- names --------------------------------------------------------------------------- */

/* A volume that the client may not see is not there. */
static uint32_t lookup_volume(struct nfs4_compound *cp, struct fs_name name, struct fs_id *ret_id)
{
	struct fs_volume_info *info = nfs4_alloc(cp, sizeof(*info));
	char text[FS_VOLUME_NAME_MAX + 1];
	struct export_rule rule;
	int err;

	if (!info)
		return NFS4ERR_DELAY;
	if (name.len > FS_VOLUME_NAME_MAX)
		return NFS4ERR_NOENT;
	memcpy(text, name.s, name.len);
	text[name.len] = 0;
	err = fs_volume_find(cp->f.req.fs, text, info);
	if (!err)
		err = export_find(cp->call, info->id, &rule);
	if (err)
		return err == -EACCES ? NFS4ERR_NOENT : nfs4_status(err);
	*ret_id = info->root;
	return NFS4_OK;
}

static uint32_t lookup(struct nfs4_compound *cp, struct xdr_bytes bytes, struct fs_id *ret_id)
{
	struct fs_attr a, dir;
	struct fs_name name;
	uint32_t status = nfs4_name(bytes, &name);
	int err;

	if (status)
		return status;
	if (nfs4_is_pseudo(&cp->cur))
		return lookup_volume(cp, name, ret_id);
	err = fs_lookup(&cp->f.req, cp->cur.id, name, &a, &dir);
	if (err)
		return nfs4_dir_status(cp, &cp->cur.id, err);
	*ret_id = a.id;
	return NFS4_OK;
}

uint32_t nfs4_lookup(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct fs_id id;
	uint32_t status = lookup(cp, op->name.name, &id);

	if (status)
		return status;
	nfs4_set_fh(cp, &id);
	return nfs4_enter(cp, &cp->cur);	/* it may be a volume, with rules of its own */
}

uint32_t nfs4_lookupp(struct nfs4_compound *cp, struct nfs4_op *op)
{
	const struct fs_name up = { "..", 2 };
	struct fs_attr a, dir;
	int err = fs_lookup(&cp->f.req, cp->cur.id, up, &a, &dir);

	if (err)
		return nfs4_dir_status(cp, &cp->cur.id, err);
	/* a volume's root is its own parent; directories of snapshots have the numbers of live ones */
	nfs4_set_fh(cp, a.id.ino == cp->cur.id.ino && a.id.snapshot == cp->cur.id.snapshot ?
		    &pseudo_root : &a.id);
	return NFS4_OK;
}

/* How one may authenticate on the volume of ID; on the pseudo root, in any way. */
static uint32_t ways(struct nfs4_compound *cp, struct nfs4_op *op, const struct fs_id *id)
{
	struct export_rule r = { .sec_sys = true, .sec_none = true };
	int err = id->volume ? export_find(cp->call, id->volume, &r) : 0;

	if (err)
		return nfs4_status(err);
	op->secinfo.sys = r.sec_sys;
	op->secinfo.none = r.sec_none;
	if (cp->minor)
		cp->cur.set = false;		/* RFC 8881 section 2.6.3.1.1.8; 4.0 keeps it */
	return NFS4_OK;
}

/* Who asks in a way that won't do is told how to ask, but not whether the name is there. */
uint32_t nfs4_secinfo(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct fs_id id = cp->cur.id;
	uint32_t status = nfs4_enter(cp, &cp->cur);

	if (!status)
		status = lookup(cp, op->secinfo.name, &id);
	if (status == NFS4ERR_SYMLINK)
		return NFS4ERR_NOTDIR;
	return status && status != NFS4ERR_WRONGSEC ? status : ways(cp, op, &id);
}

/* The parent is of the same volume, or the root of all. */
uint32_t nfs4_secinfo_no_name(struct nfs4_compound *cp, struct nfs4_op *op)
{
	enum { PARENT = 1 };
	struct fs_id id = cp->cur.id;

	if (op->secinfo.how == PARENT) {
		if (nfs4_is_pseudo(&cp->cur))
			return NFS4ERR_NOENT;
		if (id.ino == FS_ROOT_INO && !id.snapshot)
			id = pseudo_root;
	}
	return ways(cp, op, &id);
}

uint32_t nfs4_readlink(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct fs_attr a = { 0 };
	int err;

	op->readlink.target = nfs4_alloc(cp, FS_SYMLINK_MAX + 1);
	if (!op->readlink.target)
		return NFS4ERR_DELAY;
	err = fs_readlink(&cp->f.req, cp->cur.id, op->readlink.target, &a);
	return err == -EINVAL ? NFS4ERR_WRONG_TYPE : nfs4_status(err);
}

/* ---- attributes ---------------------------------------------------------------------- */

enum { ACCESS_40 = 0x3f, ACCESS_42 = 0x1ff, XAREAD = 0x40, XAWRITE = 0x80, XALIST = 0x100 };

/* What can be asked of a file of this TYPE; of xattrs too, in 4.2 (RFC 8276). */
static uint32_t access_bits(enum fs_type type)
{
	const uint32_t all = FS_ACCESS_READ | FS_ACCESS_MODIFY | FS_ACCESS_EXTEND;
	const uint32_t x = type == FS_DIR || type == FS_REG ? XAREAD | XAWRITE | XALIST : 0;

	return all | x | (type == FS_DIR ? FS_ACCESS_LOOKUP | FS_ACCESS_DELETE : FS_ACCESS_EXECUTE);
}

uint32_t nfs4_access(struct nfs4_compound *cp, struct nfs4_op *op)
{
	const uint32_t changes = FS_ACCESS_MODIFY | FS_ACCESS_EXTEND | FS_ACCESS_DELETE | XAWRITE;
	uint32_t want = op->access.want, allowed;
	struct fs_attr a;
	int err;

	if (want & ~(uint32_t)(cp->minor < 2 ? ACCESS_40 : ACCESS_42))
		return NFS4ERR_INVAL;
	if (nfs4_is_pseudo(&cp->cur)) {
		op->access.supported = want & access_bits(FS_DIR);
		op->access.allowed = want & (FS_ACCESS_READ | FS_ACCESS_LOOKUP | XALIST);
		return NFS4_OK;
	}
	err = fs_access(&cp->f.req, cp->cur.id, ACCESS_40, &allowed, &a);
	if (err)
		return nfs4_status(err);
	if (allowed & FS_ACCESS_READ)
		allowed |= XAREAD | XALIST;
	if (allowed & FS_ACCESS_MODIFY)
		allowed |= XAWRITE;
	if (!cp->f.rw || cp->cur.id.snapshot)
		allowed &= ~changes;
	op->access.supported = want & access_bits(a.type);
	op->access.allowed = allowed & op->access.supported;
	return NFS4_OK;
}

/* Of the current file, as who may write to it on his own sees them. */
static uint32_t load_attrs(struct nfs4_compound *cp, struct nfs4_attrs *at,
			   const struct nfs4_bitmap *want)
{
	enum { CHANGE = 1 << 3, SIZE = 1 << 4, METADATA = 1 << (52 - 32), MODIFY = 1 << (53 - 32) };
	uint32_t status = nfs4_attrs_load(cp, at, &cp->cur.id, want);

	if (status || at->pseudo || at->a.type != FS_REG ||
	    !(want->w[0] & (CHANGE | SIZE) || want->w[1] & (METADATA | MODIFY)))
		return status;
	return nfs4_deleg_attrs(cp, &at->a);
}

uint32_t nfs4_getattr(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct nfs4_attrs *at = &cp->attrs;
	uint32_t status = nfs4_attrs_check(cp, &op->getattr.want);

	return status ? status : load_attrs(cp, at, &op->getattr.want);
}

/* Compares as it is on the wire. */
static uint32_t compare(struct nfs4_compound *cp, struct nfs4_op *op, bool *ret_same)
{
	struct nfs4_bitmap want = op->verify.want;
	struct nfs4_attrs *at = &cp->attrs;
	struct xdr_out x;
	uint8_t *own;
	uint32_t status = nfs4_attrs_check(cp, &want);
	struct xdr_in in;

	if (status)
		return status;
	if (op->verify.want.beyond || memcmp(want.w, op->verify.want.w, sizeof(want.w)))
		return NFS4ERR_ATTRNOTSUPP;
	if (want.w[0] & 1u << 11)		/* rdattr_error */
		return NFS4ERR_INVAL;
	status = load_attrs(cp, at, &want);
	own = status ? NULL : nfs4_alloc(cp, NFS4_OP_ROOM);
	if (!own)
		return status ? status : NFS4ERR_DELAY;
	xdr_out_init(&x, own, NFS4_OP_ROOM);
	nfs4_put_attrs(&x, at, &want);
	xdr_in_init(&in, own, xdr_out_len(&x));
	nfs4_get_bitmap(&in, &want);
	struct xdr_bytes values = xdr_get_opaque(&in, NFS4_OP_ROOM);

	*ret_same = values.len == op->verify.values.len &&
		    (!values.len || !memcmp(values.s, op->verify.values.s, values.len));
	return NFS4_OK;
}

uint32_t nfs4_verify(struct nfs4_compound *cp, struct nfs4_op *op)
{
	bool same;
	uint32_t status = compare(cp, op, &same);

	return status ? status : same ? NFS4_OK : NFS4ERR_NOT_SAME;
}

uint32_t nfs4_nverify(struct nfs4_compound *cp, struct nfs4_op *op)
{
	bool same;
	uint32_t status = compare(cp, op, &same);

	return status ? status : same ? NFS4ERR_SAME : NFS4_OK;
}

void nfs4_enc_getattr(struct nfs4_compound *cp, struct xdr_out *out, const struct nfs4_op *op,
		      uint32_t status)
{
	nfs4_put_attrs(out, &cp->attrs, &op->getattr.want);
}
