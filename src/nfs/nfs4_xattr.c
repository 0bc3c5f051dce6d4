/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes of users (RFC 8276).  On the wire their names have no prefix: what a Linux
 * program calls user.x is x here.
 */
#include "nfs/nfs4_state.h"

#define TRIES 4				/* while others change them */
#define LIST_ROOM 16			/* of LISTXATTRS beside the names: cookie, count, eof */

static uint32_t check_name(struct xdr_bytes b, struct fs_name *ret_name)
{
	if (b.len > FS_NAME_MAX)
		return NFS4ERR_NAMETOOLONG;
	if (!b.len || memchr(b.s, 0, b.len))
		return NFS4ERR_INVAL;
	*ret_name = (struct fs_name){ (const char *)b.s, b.len };
	return NFS4_OK;
}

static uint32_t xattr_status(int err)
{
	switch (err) {
	case -ENODATA:
		return NFS4ERR_NOXATTR;
	case -E2BIG:
		return NFS4ERR_XATTR2BIG;
	default:
		return nfs4_status(err);
	}
}

uint32_t nfs4_getxattr(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct fs_name name;
	uint32_t status = check_name(op->xattr.name, &name), len;
	int err = -ERANGE;

	if (status)
		return status;
	for (int i = 0; i < TRIES && err == -ERANGE; i++) {
		err = fs_xattr_get(&cp->f.req, cp->cur.id, name, NULL, 0, &len);
		if (err)
			break;
		op->xattr.buf = nfs4_alloc(cp, len + 1);
		if (!op->xattr.buf)
			return NFS4ERR_DELAY;
		err = fs_xattr_get(&cp->f.req, cp->cur.id, name, op->xattr.buf, len, &len);
		op->xattr.len = len;
	}
	if (err == -EPERM)
		return NFS4ERR_NOXATTR;		/* what can have none has none */
	return err == -ERANGE ? NFS4ERR_DELAY : xattr_status(err);
}

uint32_t nfs4_setxattr(struct nfs4_compound *cp, struct nfs4_op *op)
{
	static const enum fs_xattr_how how[] = { FS_XATTR_EITHER, FS_XATTR_CREATE,
						 FS_XATTR_REPLACE };
	const struct xdr_bytes *v = &op->xattr.value;
	struct fs_wcc w = { 0 };
	struct fs_name name;
	uint32_t status = check_name(op->xattr.name, &name);
	int err;

	if (status)
		return status;
	if (nfs4_was_done(cp)) {
		op->xattr.change = nfs4_change_now(cp, &cp->cur);
		return NFS4_OK;
	}
	err = fs_xattr_set(&cp->f.req, cp->cur.id, name, v->s, v->len, how[op->xattr.how], &w);
	op->xattr.change = nfs4_change_of(&w);
	return xattr_status(err);
}

uint32_t nfs4_removexattr(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct fs_wcc w = { 0 };
	struct fs_name name;
	uint32_t status = check_name(op->xattr.name, &name);
	int err;

	if (status)
		return status;
	if (nfs4_was_done(cp)) {
		op->xattr.change = nfs4_change_now(cp, &cp->cur);
		return NFS4_OK;
	}
	err = fs_xattr_remove(&cp->f.req, cp->cur.id, name, &w);
	op->xattr.change = nfs4_change_of(&w);
	return xattr_status(err);
}

/* ---- LISTXATTRS ---------------------------------------------------------------------- */

/* How many bytes of the names in L, from the first on, belong to names that fit into ROOM. */
static uint32_t that_fit(const struct fs_xattr_list *l, uint32_t room)
{
	uint32_t taken = 0, used = 0;

	for (uint32_t i = 0; i < l->n; i++) {
		uint32_t len = strlen(l->buf + taken), one = 4 + len + xdr_pad(len);

		if (one > room - used)
			break;
		used += one;
		taken += len + 1;
	}
	return taken;
}

/* As many names as fit: where that was too many, the same again with room for just those, so that
 * the cookie is the last one's. */
static int list_names(struct nfs4_compound *cp, uint64_t cookie, uint32_t room,
		      struct fs_xattr_list *l)
{
	for (int i = 0; i < TRIES; i++) {
		int err = fs_xattr_list(&cp->f.req, cp->cur.id, cookie, l);
		uint32_t fit;

		if (err)
			return err;
		fit = that_fit(l, room);
		if (fit == l->len)
			return 0;
		if (!fit)
			return -ERANGE;
		l->cap = fit;
	}
	return -EAGAIN;
}

static uint32_t put_names(struct nfs4_compound *cp, struct nfs4_op *op,
			  const struct fs_xattr_list *l, uint32_t room)
{
	struct xdr_out out;
	const char *name = l->buf;

	op->xattr.buf = nfs4_alloc(cp, room + 1);
	if (!op->xattr.buf)
		return NFS4ERR_DELAY;
	xdr_out_init(&out, op->xattr.buf, room);
	for (uint32_t i = 0; i < l->n; i++, name += strlen(name) + 1)
		xdr_put_string(&out, name);
	op->xattr.len = xdr_out_len(&out);
	op->xattr.names = l->n;
	op->xattr.eof = l->eof;
	if (l->n)
		op->xattr.cookie = l->cookie;
	return NFS4_OK;
}

uint32_t nfs4_listxattrs(struct nfs4_compound *cp, struct nfs4_op *op)
{
	uint32_t left = nfs4_reply_left(cp), room = op->xattr.max;
	struct fs_xattr_list l = { .eof = true };
	int err;

	room = room < left ? room : left;
	room = room < NFS4_DIR_MAX ? room : NFS4_DIR_MAX;
	if (room < LIST_ROOM)
		return NFS4ERR_TOOSMALL;
	room -= LIST_ROOM;
	if (nfs4_is_pseudo(&cp->cur))
		return put_names(cp, op, &l, 0);
	l = (struct fs_xattr_list){ .buf = nfs4_alloc(cp, room + 1), .cap = room };
	if (!l.buf)
		return NFS4ERR_DELAY;
	err = list_names(cp, op->xattr.cookie, room, &l);
	if (err == -ERANGE)
		return NFS4ERR_TOOSMALL;
	if (err == -EPERM) {			/* as of a symlink that cp -a copies */
		l.n = 0;
		l.eof = true;
		err = 0;
	}
	return err ? xattr_status(err) : put_names(cp, op, &l, room);
}
