/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NFSv3's procedures but for the listing of directories (nfs3_dir.c).
 *
 * A handler is a function that waits and returns: 0 or a negative code.  Every one begins with
 * nfs_begin(): handle, export, credentials.  Every one that changes something ends with
 * nfs_finish(): what the client is told has happened is on stable storage.
 *
 * A change that was executed before a crash (c->replayed) is answered with success, and with
 * what the file system says now.
 */
#include "nfs/nfs3.h"

_Static_assert(sizeof(struct nfs3_read_res) <= RPC_RES_MAX, "a READ fits into a call");

/* ---- what all have in common --------------------------------------------------------- */

int nfs_begin(struct rpc_call *c, struct xdr_bytes fh, struct nfs_op *op)
{
	struct nfs_server *s = rpc_ctx(c);
	int err = handle_read(s->cfg.handle_key, fh.s, fh.len, &op->id);

	if (err)
		return err;
	op->server = s;
	op->rw = op->sync = false;
	op->req.fs = s->fs;
	/* READ's is not zeroed before: all but the credentials, which export_enter() sets */
	memset(&op->req.stable_seq, 0, sizeof(op->req) - offsetof(struct fs_req, stable_seq));
	return export_enter(c, op->id.volume, op);
}

int nfs_begin_change(struct rpc_call *c, struct xdr_bytes fh, struct nfs_op *op)
{
	int err = nfs_begin(c, fh, op);

	if (err)
		return err;
	if (!op->rw || op->id.snapshot)
		return -EROFS;
	op->req.drc_client = c->digest;
	op->req.drc_xid = c->xid;
	op->req.drc_proc = c->proc;
	return 0;
}

/* The handle of a second file, which has to be of the same volume. */
int nfs_second(struct nfs_op *op, struct xdr_bytes fh, struct fs_id *ret_id)
{
	int err = handle_read(op->server->cfg.handle_key, fh.s, fh.len, ret_id);

	if (err)
		return err;
	return ret_id->volume == op->id.volume && !ret_id->snapshot ? 0 : -EXDEV;
}

int nfs_finish(struct nfs_op *op, int err)
{
	if (!err && op->req.stable_seq)
		err = fs_wait_stable(op->req.fs, op->req.stable_seq);
	return err;
}

int nfs_name(struct xdr_bytes b, struct fs_name *ret_name)
{
	if (b.len > FS_NAME_MAX)
		return -ENAMETOOLONG;
	if (!b.len || memchr(b.s, '/', b.len) || memchr(b.s, 0, b.len))
		return -EINVAL;
	*ret_name = (struct fs_name){ (const char *)b.s, b.len };
	return 0;
}

static int begin_dirop(struct rpc_call *c, const struct nfs3_dirop *d, struct nfs_op *op,
		       struct fs_name *ret_name)
{
	int err = nfs_begin_change(c, d->dir, op);

	return err ? err : nfs_name(d->name, ret_name);
}

static int check_set(const struct fs_setattr *s)
{
	if ((s->mask & FS_SET_ATIME && s->atime.nsec >= 1000000000) ||
	    (s->mask & FS_SET_MTIME && s->mtime.nsec >= 1000000000))
		return -EINVAL;
	return s->mask & FS_SET_SIZE && s->size > (uint64_t)FS_MAX_SIZE ? -EFBIG : 0;
}

/* For replayed changes: what is so now. */
static void now_wcc(struct nfs_op *op, struct fs_id id, struct fs_wcc *w)
{
	w->post_valid = !fs_getattr(&op->req, id, &w->post);
}

static int now_made(struct rpc_call *c, struct nfs_op *op, struct nfs3_create_res *r)
{
	const struct fs_id *made = c->replayed;

	now_wcc(op, op->id, &r->dir);
	if (fs_getattr(&op->req, *made, &r->attr))
		r->attr.type = FS_FREE;		/* removed since; its maker is told no more */
	return 0;
}

/* ---- attributes ---------------------------------------------------------------------- */

int nfs3_null(struct rpc_call *c, void *args, void *res)
{
	return 0;
}

/* GETATTR, FSINFO and PATHCONF ask for the same. */
int nfs3_getattr(struct rpc_call *c, void *args, void *res)
{
	const struct nfs3_fh_args *a = args;
	struct nfs3_attr_res *r = res;
	struct nfs_op op;
	int err = nfs_begin(c, a->fh, &op);

	return err ? err : fs_getattr(&op.req, op.id, &r->attr);
}

int nfs3_fsinfo(struct rpc_call *c, void *args, void *res)
{
	return nfs3_getattr(c, args, res);
}

int nfs3_pathconf(struct rpc_call *c, void *args, void *res)
{
	return nfs3_getattr(c, args, res);
}

int nfs3_setattr(struct rpc_call *c, void *args, void *res)
{
	const struct nfs3_setattr_args *a = args;
	struct nfs3_wcc_res *r = res;
	struct nfs_op op;
	int err = nfs_begin_change(c, a->fh, &op);

	if (!err)
		err = check_set(&a->set);
	if (err)
		return err;
	if (c->replayed) {
		now_wcc(&op, op.id, &r->wcc);
		return 0;
	}
	return nfs_finish(&op, fs_setattr(&op.req, op.id, &a->set, &r->wcc));
}

int nfs3_access(struct rpc_call *c, void *args, void *res)
{
	const uint32_t changes = FS_ACCESS_MODIFY | FS_ACCESS_EXTEND | FS_ACCESS_DELETE;
	const struct nfs3_access_args *a = args;
	struct nfs3_access_res *r = res;
	struct nfs_op op;
	int err = nfs_begin(c, a->fh, &op);

	if (err)
		return err;
	err = fs_access(&op.req, op.id, a->want & 0x3f, &r->allowed, &r->attr);
	if (!op.rw || op.id.snapshot)
		r->allowed &= ~changes;
	return err;
}

int nfs3_fsstat(struct rpc_call *c, void *args, void *res)
{
	const struct nfs3_fh_args *a = args;
	struct nfs3_fsstat_res *r = res;
	struct nfs_op op;
	int err = nfs_begin(c, a->fh, &op);

	return err ? err : fs_fsstat(&op.req, op.id, &r->st, &r->attr);
}

/* ---- data ---------------------------------------------------------------------------- */

int nfs3_read(struct rpc_call *c, void *args, void *res)
{
	const struct nfs3_read_args *a = args;
	struct nfs3_read_res *r = res;		/* raw: not zeroed */
	struct nfs_op op;
	int err;

	r->pinned = false;
	r->read.attr.type = FS_FREE;
	r->read.len = r->read.niov = 0;
	err = nfs_begin(c, a->fh, &op);
	if (err)
		return err;
	err = fs_read(&op.req, op.id, a->offset, a->count < NFS3_IO_MAX ? a->count : NFS3_IO_MAX,
		      &r->read);
	if (err)
		return err;
	r->fs = op.req.fs;
	r->pinned = true;
	op.server->bytes_read += r->read.len;
	return 0;
}

void nfs3_read_release(struct rpc_call *c, void *res)
{
	struct nfs3_read_res *r = res;

	if (r->pinned)
		fs_read_done(r->fs, &r->read);
	r->pinned = false;
}

uint32_t nfs3_read_cost(const void *args)
{
	const struct nfs3_read_args *a = args;

	return a->count < NFS3_IO_MAX ? a->count : NFS3_IO_MAX;
}

int nfs3_write(struct rpc_call *c, void *args, void *res)
{
	const struct nfs3_write_args *a = args;
	struct nfs3_write_res *r = res;
	bool stable = a->stable != NFS3_UNSTABLE;
	uint32_t len = a->count < NFS3_IO_MAX ? a->count : NFS3_IO_MAX;
	const struct iovec iov = { (void *)a->data.s, len };
	struct nfs_op op;
	int err = nfs_begin_change(c, a->fh, &op);

	if (!err && a->count != a->data.len)
		err = -EINVAL;
	if (!err && (a->offset > (uint64_t)FS_MAX_SIZE || len > FS_MAX_SIZE - a->offset))
		err = -EFBIG;
	if (err)
		return err;
	stable |= op.sync;
	op.req.drc_client = 0;		/* writing the same again after a crash does no harm */
	err = nfs_finish(&op, fs_write(&op.req, op.id, a->offset, &iov, 1, len, stable, &r->wcc));
	if (err)
		return err;
	r->count = len;
	r->committed = stable ? NFS3_FILE_SYNC : NFS3_UNSTABLE;
	r->verf = fs_verifier(op.req.fs);
	op.server->bytes_written += len;
	return 0;
}

int nfs3_commit(struct rpc_call *c, void *args, void *res)
{
	const struct nfs3_commit_args *a = args;
	struct nfs3_commit_res *r = res;
	struct nfs_op op;
	int err = nfs_begin(c, a->fh, &op);

	if (err)
		return err;
	r->verf = fs_verifier(op.req.fs);
	return nfs_finish(&op, fs_commit(&op.req, op.id, &r->wcc));
}

int nfs3_readlink(struct rpc_call *c, void *args, void *res)
{
	const struct nfs3_fh_args *a = args;
	struct nfs3_readlink_res *r = res;
	struct nfs_op op;
	int err = nfs_begin(c, a->fh, &op);

	return err ? err : fs_readlink(&op.req, op.id, r->target, &r->attr);
}

/* ---- names --------------------------------------------------------------------------- */

int nfs3_lookup(struct rpc_call *c, void *args, void *res)
{
	const struct nfs3_dirop *a = args;
	struct nfs3_lookup_res *r = res;
	struct fs_name name;
	struct nfs_op op;
	int err = nfs_begin(c, a->dir, &op);

	if (!err)
		err = nfs_name(a->name, &name);
	return err ? err : fs_lookup(&op.req, op.id, name, &r->attr, &r->dir);
}

static int create(struct rpc_call *c, struct nfs3_create_args *a, struct nfs3_create_res *r)
{
	struct fs_name name;
	struct nfs_op op;
	int err = begin_dirop(c, &a->where, &op, &name);

	if (!err)
		err = check_set(&a->how.set);
	if (err)
		return err;
	if (c->replayed)
		return now_made(c, &op, r);
	if (a->how.type != FS_REG)
		a->how.set.mask &= ~FS_SET_SIZE;
	return nfs_finish(&op, fs_create(&op.req, op.id, name, &a->how, &r->attr, &r->dir));
}

int nfs3_create(struct rpc_call *c, void *args, void *res)
{
	return create(c, args, res);
}

int nfs3_mkdir(struct rpc_call *c, void *args, void *res)
{
	return create(c, args, res);
}

int nfs3_symlink(struct rpc_call *c, void *args, void *res)
{
	struct nfs3_create_args *a = args;
	char target[FS_SYMLINK_MAX + 1];

	if (a->target.len > FS_SYMLINK_MAX)
		return -ENAMETOOLONG;
	if (!a->target.len || memchr(a->target.s, 0, a->target.len))
		return -EINVAL;
	memcpy(target, a->target.s, a->target.len);
	target[a->target.len] = 0;
	a->how.target = target;
	return create(c, a, res);
}

int nfs3_mknod(struct rpc_call *c, void *args, void *res)
{
	struct nfs3_create_args *a = args;

	switch (a->wire_type) {
	case FS_BLK:
	case FS_CHR:
	case FS_SOCK:
	case FS_FIFO:
		a->how.type = a->wire_type;
		return create(c, a, res);
	default:
		return -EBADTYPE;
	}
}

static int take_away(struct rpc_call *c, void *args, void *res,
		     int (*fn)(struct fs_req *, struct fs_id, struct fs_name, struct fs_wcc *))
{
	struct nfs3_wcc_res *r = res;
	struct fs_name name;
	struct nfs_op op;
	int err = begin_dirop(c, args, &op, &name);

	if (err)
		return err;
	if (c->replayed) {
		now_wcc(&op, op.id, &r->wcc);
		return 0;
	}
	return nfs_finish(&op, fn(&op.req, op.id, name, &r->wcc));
}

int nfs3_remove(struct rpc_call *c, void *args, void *res)
{
	return take_away(c, args, res, fs_remove);
}

int nfs3_rmdir(struct rpc_call *c, void *args, void *res)
{
	return take_away(c, args, res, fs_rmdir);
}

int nfs3_rename(struct rpc_call *c, void *args, void *res)
{
	const struct nfs3_rename_args *a = args;
	struct nfs3_rename_res *r = res;
	struct fs_name from, to;
	struct fs_id to_dir;
	struct nfs_op op;
	int err = begin_dirop(c, &a->from, &op, &from);

	if (!err)
		err = nfs_second(&op, a->to.dir, &to_dir);
	if (!err)
		err = nfs_name(a->to.name, &to);
	if (err)
		return err;
	if (c->replayed) {
		now_wcc(&op, op.id, &r->from);
		now_wcc(&op, to_dir, &r->to);
		return 0;
	}
	return nfs_finish(&op, fs_rename(&op.req, op.id, from, to_dir, to, &r->from, &r->to));
}

int nfs3_link(struct rpc_call *c, void *args, void *res)
{
	const struct nfs3_link_args *a = args;
	struct nfs3_link_res *r = res;
	struct fs_name name;
	struct fs_id dir;
	struct nfs_op op;
	int err = nfs_begin_change(c, a->fh, &op);

	if (!err)
		err = nfs_second(&op, a->where.dir, &dir);
	if (!err)
		err = nfs_name(a->where.name, &name);
	if (err)
		return err;
	if (c->replayed) {
		now_wcc(&op, dir, &r->dir);
		if (fs_getattr(&op.req, op.id, &r->attr))
			r->attr.type = FS_FREE;
		return 0;
	}
	return nfs_finish(&op, fs_link(&op.req, op.id, dir, name, false, &r->attr, &r->dir));
}
