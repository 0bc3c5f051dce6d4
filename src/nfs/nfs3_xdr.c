/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NFSv3's arguments and results on the wire (RFC 1813 section 3.3).  Decoders only read what is
 * there; whether it makes sense is the handlers' question, so that a client gets NFS's words
 * for it (NAMETOOLONG, BADHANDLE) and not GARBAGE_ARGS.
 */
#include "nfs/nfs3.h"

#define HANDLE_WIRE_MAX 64		/* NFS3_FHSIZE */
#define NAME_WIRE_MAX RPC_CALL_MAX

/* ---- arguments ----------------------------------------------------------------------- */

static void get_dirop(struct xdr_in *in, struct nfs3_dirop *d)
{
	d->dir = xdr_get_opaque(in, HANDLE_WIRE_MAX);
	d->name = xdr_get_opaque(in, NAME_WIRE_MAX);
}

static struct fs_time get_time(struct xdr_in *in)
{
	struct fs_time t = { .sec = xdr_get_u32(in) };

	t.nsec = xdr_get_u32(in);
	return t;
}

/* set_atime, set_mtime: 0 don't, 1 server's time, 2 this time */
static struct fs_time get_set_time(struct xdr_in *in, uint32_t *mask, uint32_t now, uint32_t given)
{
	struct fs_time t = { 0 };

	switch (xdr_get_enum(in, 2)) {
	case 1:
		*mask |= now;
		break;
	case 2:
		*mask |= given;
		t = get_time(in);
	}
	return t;
}

static void get_sattr(struct xdr_in *in, struct fs_setattr *s)
{
	*s = (struct fs_setattr){ 0 };
	if (xdr_get_bool(in)) {
		s->mask |= FS_SET_MODE;
		s->mode = xdr_get_u32(in) & 07777;
	}
	if (xdr_get_bool(in)) {
		s->mask |= FS_SET_UID;
		s->uid = xdr_get_u32(in);
	}
	if (xdr_get_bool(in)) {
		s->mask |= FS_SET_GID;
		s->gid = xdr_get_u32(in);
	}
	if (xdr_get_bool(in)) {
		s->mask |= FS_SET_SIZE;
		s->size = xdr_get_u64(in);
	}
	s->atime = get_set_time(in, &s->mask, FS_SET_ATIME_NOW, FS_SET_ATIME);
	s->mtime = get_set_time(in, &s->mask, FS_SET_MTIME_NOW, FS_SET_MTIME);
}

void nfs3_dec_fh(struct xdr_in *in, void *args)
{
	struct nfs3_fh_args *a = args;

	a->fh = xdr_get_opaque(in, HANDLE_WIRE_MAX);
}

void nfs3_dec_setattr(struct xdr_in *in, void *args)
{
	struct nfs3_setattr_args *a = args;

	a->fh = xdr_get_opaque(in, HANDLE_WIRE_MAX);
	get_sattr(in, &a->set);
	a->set.guard = xdr_get_bool(in);
	if (a->set.guard)
		a->set.guard_ctime = get_time(in);
}

void nfs3_dec_dirop(struct xdr_in *in, void *args)
{
	get_dirop(in, args);
}

void nfs3_dec_access(struct xdr_in *in, void *args)
{
	struct nfs3_access_args *a = args;

	a->fh = xdr_get_opaque(in, HANDLE_WIRE_MAX);
	a->want = xdr_get_u32(in);
}

void nfs3_dec_read(struct xdr_in *in, void *args)
{
	struct nfs3_read_args *a = args;

	a->fh = xdr_get_opaque(in, HANDLE_WIRE_MAX);
	a->offset = xdr_get_u64(in);
	a->count = xdr_get_u32(in);
}

void nfs3_dec_write(struct xdr_in *in, void *args)
{
	struct nfs3_write_args *a = args;

	a->fh = xdr_get_opaque(in, HANDLE_WIRE_MAX);
	a->offset = xdr_get_u64(in);
	a->count = xdr_get_u32(in);
	a->stable = xdr_get_enum(in, NFS3_FILE_SYNC);
	a->data = xdr_get_opaque(in, RPC_CALL_MAX);
}

static void init_create(struct nfs3_create_args *a, enum fs_type type)
{
	a->how = (struct fs_create){ .type = type, .how = FS_CREATE_GUARDED };
	a->target = (struct xdr_bytes){ 0 };
	a->wire_type = type;
}

void nfs3_dec_create(struct xdr_in *in, void *args)
{
	static const enum fs_create_how hows[] = { FS_CREATE_UNCHECKED, FS_CREATE_GUARDED,
						   FS_CREATE_EXCLUSIVE };
	struct nfs3_create_args *a = args;

	init_create(a, FS_REG);
	get_dirop(in, &a->where);
	a->how.how = hows[xdr_get_enum(in, 2)];
	if (a->how.how == FS_CREATE_EXCLUSIVE)
		a->how.verifier = xdr_get_u64(in);
	else
		get_sattr(in, &a->how.set);
}

void nfs3_dec_mkdir(struct xdr_in *in, void *args)
{
	struct nfs3_create_args *a = args;

	init_create(a, FS_DIR);
	get_dirop(in, &a->where);
	get_sattr(in, &a->how.set);
}

void nfs3_dec_symlink(struct xdr_in *in, void *args)
{
	struct nfs3_create_args *a = args;

	init_create(a, FS_LNK);
	get_dirop(in, &a->where);
	get_sattr(in, &a->how.set);
	a->target = xdr_get_opaque(in, NAME_WIRE_MAX);
}

void nfs3_dec_mknod(struct xdr_in *in, void *args)
{
	struct nfs3_create_args *a = args;

	init_create(a, FS_FREE);
	get_dirop(in, &a->where);
	a->wire_type = xdr_get_u32(in);
	switch (a->wire_type) {
	case FS_BLK:
	case FS_CHR:
		get_sattr(in, &a->how.set);
		a->how.rdev_major = xdr_get_u32(in);
		a->how.rdev_minor = xdr_get_u32(in);
		break;
	case FS_SOCK:
	case FS_FIFO:
		get_sattr(in, &a->how.set);
	}
}

void nfs3_dec_rename(struct xdr_in *in, void *args)
{
	struct nfs3_rename_args *a = args;

	get_dirop(in, &a->from);
	get_dirop(in, &a->to);
}

void nfs3_dec_link(struct xdr_in *in, void *args)
{
	struct nfs3_link_args *a = args;

	a->fh = xdr_get_opaque(in, HANDLE_WIRE_MAX);
	get_dirop(in, &a->where);
}

void nfs3_dec_readdir(struct xdr_in *in, void *args)
{
	struct nfs3_readdir_args *a = args;

	a->fh = xdr_get_opaque(in, HANDLE_WIRE_MAX);
	a->cookie = xdr_get_u64(in);
	a->verf = xdr_get_u64(in);
	a->maxcount = xdr_get_u32(in);
	a->dircount = UINT32_MAX;
}

void nfs3_dec_readdirplus(struct xdr_in *in, void *args)
{
	struct nfs3_readdir_args *a = args;

	a->fh = xdr_get_opaque(in, HANDLE_WIRE_MAX);
	a->cookie = xdr_get_u64(in);
	a->verf = xdr_get_u64(in);
	a->dircount = xdr_get_u32(in);
	a->maxcount = xdr_get_u32(in);
}

void nfs3_dec_commit(struct xdr_in *in, void *args)
{
	struct nfs3_commit_args *a = args;

	a->fh = xdr_get_opaque(in, HANDLE_WIRE_MAX);
	a->offset = xdr_get_u64(in);
	a->count = xdr_get_u32(in);
}

/* ---- results ------------------------------------------------------------------------- */

static uint8_t *store32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, 4);
	return p + 4;
}

static uint8_t *store64(uint8_t *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, 8);
	return p + 8;
}

static uint8_t *store_time(uint8_t *p, struct fs_time t)
{
	return store32(store32(p, (uint32_t)t.sec), t.nsec);
}

void nfs3_put_attr(struct xdr_out *out, const struct fs_attr *a)
{
	uint8_t *p = xdr_room(out, NFS3_ATTR_BYTES);

	if (!p)
		return;
	p = store32(p, a->type);
	p = store32(p, a->mode);
	p = store32(p, a->nlink);
	p = store32(p, a->uid);
	p = store32(p, a->gid);
	p = store64(p, a->size);
	p = store64(p, fs_used_bytes(a));
	p = store32(p, a->rdev_major);
	p = store32(p, a->rdev_minor);
	p = store64(p, a->fsid);
	p = store64(p, fs_fileid(a->id));
	p = store_time(p, a->atime);
	p = store_time(p, a->mtime);
	store_time(p, a->ctime);
}

void nfs3_put_post_op(struct xdr_out *out, const struct fs_attr *a)
{
	bool known = a->type != FS_FREE;

	xdr_put_bool(out, known);
	if (known)
		nfs3_put_attr(out, a);
}

static void put_wcc(struct xdr_out *out, const struct fs_wcc *w)
{
	uint8_t *p;

	xdr_put_bool(out, w->pre_valid);
	if (w->pre_valid) {
		p = xdr_room(out, 24);
		if (p)
			store_time(store_time(store64(p, w->pre_size), w->pre_mtime), w->pre_ctime);
	}
	xdr_put_bool(out, w->post_valid);
	if (w->post_valid)
		nfs3_put_attr(out, &w->post);
}

static void put_handle(struct rpc_call *c, struct xdr_out *out, const struct fs_id *id)
{
	struct nfs_server *s = rpc_ctx(c);
	uint8_t *p;

	xdr_put_u32(out, HANDLE_BYTES);
	p = xdr_room(out, HANDLE_BYTES);
	if (p)
		handle_make(s->cfg.handle_key, id, p);
}

/* Every result begins with the status; true: it is NFS3_OK. */
static bool put_status(struct rpc_call *c, struct xdr_out *out)
{
	uint32_t status = nfs3_status(c->status);

	if (status == NFS3ERR_JUKEBOX)
		c->forget = true;	/* the client asks again, and not for this answer */
	xdr_put_u32(out, status);
	return status == NFS3_OK;
}

void nfs3_enc_getattr(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const struct nfs3_attr_res *r = res;

	if (put_status(c, out))
		nfs3_put_attr(out, &r->attr);
}

void nfs3_enc_wcc(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const struct nfs3_wcc_res *r = res;

	put_status(c, out);
	put_wcc(out, &r->wcc);
}

void nfs3_enc_lookup(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const struct nfs3_lookup_res *r = res;

	if (put_status(c, out)) {
		put_handle(c, out, &r->attr.id);
		nfs3_put_post_op(out, &r->attr);
	}
	nfs3_put_post_op(out, &r->dir);
}

void nfs3_enc_access(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const struct nfs3_access_res *r = res;
	bool ok = put_status(c, out);

	nfs3_put_post_op(out, &r->attr);
	if (ok)
		xdr_put_u32(out, r->allowed);
}

void nfs3_enc_readlink(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const struct nfs3_readlink_res *r = res;
	bool ok = put_status(c, out);

	nfs3_put_post_op(out, &r->attr);
	if (ok)
		xdr_put_string(out, r->target);
}

void nfs3_enc_read(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const struct nfs3_read_res *r = res;
	bool ok = put_status(c, out);
	uint32_t pad = xdr_pad(r->read.len);
	uint8_t *p;

	nfs3_put_post_op(out, &r->read.attr);
	if (!ok)
		return;
	xdr_put_u32(out, r->read.len);
	xdr_put_bool(out, r->read.eof);
	xdr_put_u32(out, r->read.len);
	xdr_splice(out, r->read.iov, r->read.niov);
	p = xdr_room(out, pad);
	if (p)
		memset(p, 0, pad);
}

void nfs3_enc_write(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const struct nfs3_write_res *r = res;
	bool ok = put_status(c, out);

	put_wcc(out, &r->wcc);
	if (!ok)
		return;
	xdr_put_u32(out, r->count);
	xdr_put_u32(out, r->committed);
	xdr_put_u64(out, r->verf);
}

void nfs3_enc_create(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const struct nfs3_create_res *r = res;

	if (put_status(c, out)) {
		bool known = r->attr.type != FS_FREE;

		xdr_put_bool(out, known);
		if (known)
			put_handle(c, out, &r->attr.id);
		nfs3_put_post_op(out, &r->attr);
	}
	put_wcc(out, &r->dir);
}

void nfs3_enc_rename(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const struct nfs3_rename_res *r = res;

	put_status(c, out);
	put_wcc(out, &r->from);
	put_wcc(out, &r->to);
}

void nfs3_enc_link(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const struct nfs3_link_res *r = res;

	put_status(c, out);
	nfs3_put_post_op(out, &r->attr);
	put_wcc(out, &r->dir);
}

void nfs3_enc_readdir(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const struct nfs3_readdir_res *r = res;
	const struct iovec list = { r->list, r->len };
	bool ok = put_status(c, out);

	nfs3_put_post_op(out, &r->dir);
	if (!ok)
		return;
	xdr_put_u64(out, r->verf);
	xdr_splice(out, &list, 1);
	xdr_put_bool(out, false);		/* no entry follows */
	xdr_put_bool(out, r->eof);
}

void nfs3_enc_fsstat(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const struct nfs3_fsstat_res *r = res;
	bool ok = put_status(c, out);

	nfs3_put_post_op(out, &r->attr);
	if (!ok)
		return;
	xdr_put_u64(out, r->st.total_bytes);
	xdr_put_u64(out, r->st.free_bytes);
	xdr_put_u64(out, r->st.avail_bytes);
	xdr_put_u64(out, r->st.total_files);
	xdr_put_u64(out, r->st.free_files);
	xdr_put_u64(out, r->st.free_files);
	xdr_put_u32(out, 0);			/* invarsec: it may change any time */
}

void nfs3_enc_fsinfo(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	enum { LINK = 1, SYMLINK = 2, HOMOGENEOUS = 8, CANSETTIME = 16 };
	const struct nfs3_attr_res *r = res;
	bool ok = put_status(c, out);

	nfs3_put_post_op(out, &r->attr);
	if (!ok)
		return;
	xdr_put_u32(out, NFS3_IO_MAX);		/* rtmax, rtpref, rtmult */
	xdr_put_u32(out, NFS3_IO_MAX);
	xdr_put_u32(out, 4096);
	xdr_put_u32(out, NFS3_IO_MAX);		/* wtmax, wtpref, wtmult */
	xdr_put_u32(out, NFS3_IO_MAX);
	xdr_put_u32(out, 4096);
	xdr_put_u32(out, NFS3_DIR_MAX);		/* dtpref */
	xdr_put_u64(out, FS_MAX_SIZE);
	xdr_put_u32(out, 0);			/* time_delta */
	xdr_put_u32(out, 1);
	xdr_put_u32(out, LINK | SYMLINK | HOMOGENEOUS | CANSETTIME);
}

void nfs3_enc_pathconf(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const struct nfs3_attr_res *r = res;
	bool ok = put_status(c, out);

	nfs3_put_post_op(out, &r->attr);
	if (!ok)
		return;
	xdr_put_u32(out, FS_LINK_MAX);
	xdr_put_u32(out, FS_NAME_MAX);
	xdr_put_bool(out, true);		/* no_trunc */
	xdr_put_bool(out, true);		/* chown_restricted */
	xdr_put_bool(out, false);		/* case_insensitive */
	xdr_put_bool(out, true);		/* case_preserving */
}

void nfs3_enc_commit(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const struct nfs3_commit_res *r = res;
	bool ok = put_status(c, out);

	put_wcc(out, &r->wcc);
	if (ok)
		xdr_put_u64(out, r->verf);
}
