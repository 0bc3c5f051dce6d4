/* SPDX-License-Identifier: Apache-2.0 */
/*
 * READDIR and READDIRPLUS (RFC 1813 sections 3.3.16 and 3.3.17).
 *
 * The entries are put into wire form as they come from storage, because the sizes that a
 * client gives count bytes on the wire; the encoder sends that list from where it lies.
 *
 * Cookies are storage's own and stay valid while entries come and go, so the cookie verifier
 * has to change only with the directory itself: it is the directory's generation.
 */
#include <stdlib.h>
#include "nfs/nfs3.h"

#define BATCH_BYTES (16u << 10)
#define ENTRY_BYTES 24			/* follows, fileid, length of name, cookie */
#define PLUS_BYTES (4 + NFS3_ATTR_BYTES + 4 + NFS3_HANDLE_BYTES)

struct listing {
	struct nfs_op *op;
	struct xdr_out out;
	uint32_t max, dirmax, dirlen;
	bool plus, full;
	uint64_t cookie;		/* of the last entry taken */
};

static void put_entry(struct listing *l, const struct fs_dirent *e)
{
	uint32_t dir = ENTRY_BYTES + e->name_len + xdr_pad(e->name_len);
	uint32_t all = dir + (l->plus ? PLUS_BYTES : 0);
	size_t have = xdr_out_len(&l->out);
	uint8_t *p;

	if (have + all > l->max || (have && l->dirlen + dir > l->dirmax)) {
		l->full = true;
		return;
	}
	l->dirlen += dir;
	l->cookie = e->cookie;
	xdr_put_bool(&l->out, true);
	xdr_put_u64(&l->out, e->ino);
	xdr_put_opaque(&l->out, e->name, e->name_len);
	xdr_put_u64(&l->out, e->cookie);
	if (!l->plus)
		return;
	if (e->attr.type == FS_FREE) {	/* damaged: whoever asks for it is told */
		xdr_put_bool(&l->out, false);
		xdr_put_bool(&l->out, false);
		return;
	}
	xdr_put_bool(&l->out, true);
	nfs3_put_attr(&l->out, &e->attr);
	xdr_put_bool(&l->out, true);
	xdr_put_u32(&l->out, HANDLE_BYTES);
	p = xdr_room(&l->out, HANDLE_BYTES);
	if (p)
		handle_make(l->op->server->cfg.handle_key, &e->attr.id, p);
}

static int fill(struct listing *l, struct fs_dirlist *d, struct nfs3_readdir_res *r)
{
	const uint32_t least = ENTRY_BYTES + 4 + (l->plus ? PLUS_BYTES : 0);

	while (!l->full && !d->eof) {
		const struct fs_dirent *e = d->buf;
		int err;

		d->max_entries = (l->max - xdr_out_len(&l->out)) / least + 1;
		d->n = 0;
		err = fs_readdir(&l->op->req, l->op->id, l->cookie, l->plus, d);
		r->dir = d->dir_attr;
		if (err)
			return err;
		for (unsigned i = 0; i < d->n && !l->full; i++, e = fs_dirent_next(e))
			put_entry(l, e);
		if (!d->n)
			break;
	}
	r->eof = d->eof && !l->full;
	if (!xdr_out_len(&l->out) && !r->eof)
		return -ETOOSMALL;
	return 0;
}

static int list(struct rpc_call *c, const struct nfs3_readdir_args *a, bool plus,
		struct nfs3_readdir_res *r)
{
	uint32_t max = a->maxcount < NFS3_DIR_MAX ? a->maxcount : NFS3_DIR_MAX;
	struct fs_dirlist d = { .cap = BATCH_BYTES };
	struct nfs_op op;
	struct listing l = { .op = &op, .dirmax = a->dircount, .plus = plus, .cookie = a->cookie };
	int err = nfs_begin(c, a->fh, &op);

	if (err)
		return err;
	if (a->cookie && a->verf && a->verf != op.id.generation)
		return -EBADCOOKIE;
	if (max < NFS3_DIR_OVERHEAD)
		return -ETOOSMALL;
	l.max = max - NFS3_DIR_OVERHEAD;
	r->verf = op.id.generation;
	r->list = malloc(l.max + 1);
	d.buf = malloc(BATCH_BYTES);
	if (r->list && d.buf) {
		xdr_out_init(&l.out, r->list, l.max);
		err = fill(&l, &d, r);
		r->len = xdr_out_len(&l.out);
	} else {
		err = -ENOMEM;
	}
	free(d.buf);
	return err;
}

int nfs3_readdir(struct rpc_call *c, void *args, void *res)
{
	return list(c, args, false, res);
}

int nfs3_readdirplus(struct rpc_call *c, void *args, void *res)
{
	return list(c, args, true, res);
}

void nfs3_readdir_release(struct rpc_call *c, void *res)
{
	struct nfs3_readdir_res *r = res;

	free(r->list);
	r->list = NULL;
}

uint32_t nfs3_readdir_cost(const void *args)
{
	const struct nfs3_readdir_args *a = args;

	return a->maxcount < NFS3_DIR_MAX ? a->maxcount : NFS3_DIR_MAX;
}
