/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories: READDIR, and what changes names but OPEN.
 *
 * As in NFSv3, cookies are storage's own and stay valid while entries come and go; the verifier
 * is the directory's generation, or 0, which libnfs sends.  "." and ".." (cookies 1 and 2) are not
 * listed.  In the pseudo root a cookie is 3 and the volume's id.
 */
#include <stdlib.h>
#include "nfs/nfs4_attr.h"

#define BATCH_BYTES (16u << 10)
#define OVERHEAD 16			/* verifier, end of list, eof */
#define ENTRY_LEAST (4 + 8 + 4 + 4 + 4 + 4)
#define ENTRY_MOST (ENTRY_LEAST + FS_NAME_MAX + 1 + NFS4_OP_ROOM)
#define FIRST_COOKIE 2			/* of ".." */
#define PSEUDO_COOKIE 3

struct listing {
	struct nfs4_compound *cp;
	struct nfs4_attrs at;
	const struct nfs4_bitmap *want;
	struct xdr_out out;
	uint32_t max;
	bool full;
	uint64_t cookie;		/* of the last entry taken */
};

/* Instead of attributes that can't be read (RFC 8881 section 18.23.3). */
static void put_rdattr_error(struct xdr_out *out)
{
	static const struct nfs4_bitmap only = { .w = { B(RDATTR_ERROR) } };

	nfs4_put_bitmap(out, &only);
	xdr_put_u32(out, 4);
	xdr_put_u32(out, NFS4ERR_IO);
}

static void put_entry(struct listing *l, uint64_t cookie, const char *name, uint32_t len)
{
	uint8_t *before = l->out.p;

	xdr_put_bool(&l->out, true);
	xdr_put_u64(&l->out, cookie);
	xdr_put_opaque(&l->out, name, len);
	if (l->at.a.type == FS_FREE)
		put_rdattr_error(&l->out);
	else
		nfs4_put_attrs(&l->out, &l->at, l->want);
	if (l->out.full || xdr_out_len(&l->out) > l->max) {
		l->out.p = before;
		l->out.full = false;
		l->full = true;
		return;
	}
	l->cookie = cookie;
}

static int fill(struct listing *l, struct fs_dirlist *d)
{
	while (!l->full && !d->eof) {
		const struct fs_dirent *e = d->buf;
		int err;

		d->max_entries = (l->max - xdr_out_len(&l->out)) / ENTRY_LEAST + 1;
		d->n = 0;
		err = fs_readdir(&l->cp->f.req, l->cp->cur.id, l->cookie, true, d);
		if (err)
			return err;
		for (unsigned i = 0; i < d->n && !l->full; i++, e = fs_dirent_next(e)) {
			if (e->cookie <= FIRST_COOKIE) {
				l->cookie = e->cookie;
				continue;
			}
			if (e->attr.type == FS_FREE && !(l->want->w[0] & B(RDATTR_ERROR)))
				return -EIO;
			l->at.a = e->attr;
			put_entry(l, e->cookie, e->name, e->name_len);
		}
		if (!d->n)
			break;
	}
	return 0;
}

static uint32_t list_dir(struct listing *l, struct nfs4_op *op)
{
	struct fs_dirlist d = { .cap = BATCH_BYTES, .buf = malloc(BATCH_BYTES) };
	int err = d.buf ? fill(l, &d) : -ENOMEM;

	free(d.buf);
	if (err)
		return nfs4_dir_status(l->cp, &l->cp->cur.id, err);
	op->readdir.eof = d.eof && !l->full;
	return NFS4_OK;
}

/* The volumes that the client may see, as directories; of others it isn't told. */
static uint32_t list_volumes(struct listing *l, struct nfs4_op *op)
{
	struct nfs4_compound *cp = l->cp;
	struct fs_volume_info *info = nfs4_alloc(cp, sizeof(*info));
	uint32_t after = l->cookie > PSEUDO_COOKIE ? l->cookie - PSEUDO_COOKIE : 0;
	int err = info ? 0 : -ENOMEM;

	while (!err && !l->full) {
		struct nfs4_fh fh = { .set = true };
		struct export_rule rule;

		err = fs_volume_next(cp->f.req.fs, after, info);
		if (err)
			break;
		after = info->id;
		fh.id = info->root;
		if (export_find(cp->call, info->id, &rule) || nfs4_enter(cp, &fh) ||
		    nfs4_attrs_load(cp, &l->at, &info->root, l->want))
			continue;
		put_entry(l, (uint64_t)PSEUDO_COOKIE + info->id, info->name, strlen(info->name));
	}
	op->readdir.eof = err == -ENOENT;
	return err && err != -ENOENT ? nfs4_status(err) : NFS4_OK;
}

static uint32_t check_cookie(struct nfs4_compound *cp, struct nfs4_op *op)
{
	uint64_t verf = nfs4_is_pseudo(&cp->cur) ? 1 : cp->cur.id.generation;

	if (op->readdir.cookie == 1 || op->readdir.cookie == 2)
		return NFS4ERR_BAD_COOKIE;
	if (op->readdir.cookie && op->readdir.verf && op->readdir.verf != verf)
		return NFS4ERR_NOT_SAME;
	op->readdir.verf = verf;
	return NFS4_OK;
}

uint32_t nfs4_readdir(struct nfs4_compound *cp, struct nfs4_op *op)
{
	uint32_t max = op->readdir.maxcount < NFS4_DIR_MAX ? op->readdir.maxcount : NFS4_DIR_MAX;
	uint32_t left = nfs4_reply_left(cp), status = nfs4_attrs_check(cp, &op->readdir.want);
	struct listing l = { .cp = cp, .want = &op->readdir.want, .cookie = op->readdir.cookie };

	if (!status)
		status = check_cookie(cp, op);
	if (!status && !nfs4_is_pseudo(&cp->cur)) {
		status = nfs4_attrs_load(cp, &l.at, &cp->cur.id, l.want);
		if (!status)
			status = nfs4_wrong_type(l.at.a.type, FS_DIR);
		l.at.root = false;		/* what is listed isn't */
	}
	if (status)
		return status == NFS4ERR_SYMLINK ? NFS4ERR_NOTDIR : status;
	max = max < left ? max : left;
	if (max < OVERHEAD)
		return NFS4ERR_TOOSMALL;
	l.max = max - OVERHEAD;
	op->readdir.list = nfs4_alloc(cp, l.max + 1);
	if (!op->readdir.list)
		return NFS4ERR_DELAY;
	xdr_out_init(&l.out, op->readdir.list, l.max);
	status = nfs4_is_pseudo(&cp->cur) ? list_volumes(&l, op) : list_dir(&l, op);
	op->readdir.len = xdr_out_len(&l.out);
	return !status && l.full && !op->readdir.len ? NFS4ERR_TOOSMALL : status;
}

/* ---- changes ------------------------------------------------------------------------- */

static uint32_t check_target(struct nfs4_compound *cp, struct nfs4_op *op, char **ret_target)
{
	const struct xdr_bytes *t = &op->create.target;

	if (t->len > FS_SYMLINK_MAX)
		return NFS4ERR_NAMETOOLONG;
	if (!t->len || memchr(t->s, 0, t->len))
		return NFS4ERR_INVAL;
	*ret_target = nfs4_alloc(cp, t->len + 1);
	if (!*ret_target)
		return NFS4ERR_DELAY;
	memcpy(*ret_target, t->s, t->len);
	(*ret_target)[t->len] = 0;
	return NFS4_OK;
}

struct nfs4_change nfs4_change_now(struct nfs4_compound *cp, const struct nfs4_fh *dir)
{
	struct fs_attr a;

	if (fs_getattr(&cp->f.req, dir->id, &a))
		return (struct nfs4_change){ 0 };
	return (struct nfs4_change){ false, a.change, a.change };
}

uint32_t nfs4_create(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct fs_create how = { .how = FS_CREATE_GUARDED, .rdev_major = op->create.major,
				 .rdev_minor = op->create.minor, .type = op->create.type };
	const struct fs_id *done = nfs4_was_done(cp);
	struct nfs4_set *set = &op->create.set;
	struct fs_wcc w = { 0 };
	struct fs_name name;
	struct fs_attr made;
	char *target = NULL;
	uint32_t status;
	int err;

	if (op->create.type < FS_DIR || op->create.type > FS_FIFO)
		return NFS4ERR_BADTYPE;
	status = nfs4_name(op->create.name, &name);
	if (!status)
		status = nfs4_check_set(cp, set, true);
	if (!status && how.type == FS_LNK)
		status = check_target(cp, op, &target);
	if (status)
		return status;
	if (set->set.mask & FS_SET_SIZE)
		return NFS4ERR_INVAL;
	if (done) {
		op->create.change = nfs4_change_now(cp, &cp->cur);
		nfs4_set_fh(cp, done);
		return NFS4_OK;
	}
	how.set = set->set;
	how.target = target;
	err = fs_create(&cp->f.req, cp->cur.id, name, &how, &made, &w);
	if (err)
		return nfs4_status(err);
	op->create.change = nfs4_change_of(&w);
	nfs4_set_fh(cp, &made.id);
	return NFS4_OK;
}

/* In the grace period a file is kept for who had it open and has not said so yet. */
static uint32_t file_may_be_open(const struct nfs4_compound *cp)
{
	return nfs4_in_grace(cp->st) ? NFS4ERR_GRACE : NFS4_OK;
}

uint32_t nfs4_remove(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct fs_wcc w = { 0 };
	struct fs_name name;
	uint32_t status = nfs4_name(op->name.name, &name);
	int err;

	if (!status && nfs4_was_done(cp)) {
		op->name.change = nfs4_change_now(cp, &cp->cur);
		return NFS4_OK;
	}
	if (!status)
		status = file_may_be_open(cp);
	if (status)
		return status;
	err = fs_remove(&cp->f.req, cp->cur.id, name, &w);
	if (err == -EISDIR)
		err = fs_rmdir(&cp->f.req, cp->cur.id, name, &w);
	if (err)
		return nfs4_status(err);
	op->name.change = nfs4_change_of(&w);
	return NFS4_OK;
}

/* The saved file handle has to be of the same, writable volume. */
static uint32_t check_saved(const struct nfs4_compound *cp)
{
	return cp->saved.id.volume == cp->cur.id.volume && !cp->saved.id.snapshot ? NFS4_OK :
	       NFS4ERR_XDEV;
}

static bool is_dir(struct nfs4_compound *cp, const struct nfs4_fh *fh)
{
	struct fs_attr a;

	return !fs_getattr(&cp->f.req, fh->id, &a) && a.type == FS_DIR;
}

/* A directory can't take a file's place, nor a file a directory's: RFC 8881 section 18.26.3. */
static uint32_t rename_status(struct nfs4_compound *cp, int err)
{
	if (err == -EISDIR ||
	    (err == -ENOTDIR && is_dir(cp, &cp->saved) && is_dir(cp, &cp->cur)))
		return NFS4ERR_EXIST;
	return nfs4_status(err);
}

uint32_t nfs4_rename(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct fs_wcc from_w = { 0 }, to_w = { 0 };
	struct fs_name from, to;
	uint32_t status = nfs4_name(op->name.name, &from);
	int err;

	if (!status)
		status = nfs4_name(op->name.to, &to);
	if (!status)
		status = check_saved(cp);
	if (!status && nfs4_was_done(cp)) {
		op->name.from = nfs4_change_now(cp, &cp->saved);
		op->name.change = nfs4_change_now(cp, &cp->cur);
		return NFS4_OK;
	}
	if (!status)
		status = file_may_be_open(cp);
	if (status)
		return status;
	err = fs_rename(&cp->f.req, cp->saved.id, from, cp->cur.id, to, &from_w, &to_w);
	op->name.from = nfs4_change_of(&from_w);
	op->name.change = nfs4_change_of(&to_w);
	return rename_status(cp, err);
}

uint32_t nfs4_link(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct fs_wcc w = { 0 };
	struct fs_name name;
	struct fs_attr a;
	uint32_t status = nfs4_name(op->name.name, &name);
	int err;

	if (!status)
		status = check_saved(cp);
	if (!status && nfs4_was_done(cp)) {
		op->name.change = nfs4_change_now(cp, &cp->cur);
		return NFS4_OK;
	}
	if (status)
		return status;
	err = fs_link(&cp->f.req, cp->saved.id, cp->cur.id, name, false, &a, &w);
	if (err == -ENOENT)		/* removed while it was open; LINK has no NOENT */
		return NFS4ERR_STALE;
	if (err)
		return nfs4_status(err);
	op->name.change = nfs4_change_of(&w);
	return NFS4_OK;
}
