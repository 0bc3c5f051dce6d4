/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges of a file: SEEK, ALLOCATE, DEALLOCATE, IO_ADVISE (RFC 7862 section 15). */
#include <stdlib.h>
#include "base/fiber.h"
#include "nfs/nfs4_state.h"

#define PREFETCH_MAX (16u << 20)	/* of one IO_ADVISE */
#define PREFETCHES_MAX 4		/* at a time; of others the hint is not heeded */

static uint32_t regular(struct nfs4_compound *cp, struct fs_attr *ret_attr)
{
	int err = fs_getattr(&cp->f.req, cp->cur.id, ret_attr);

	return err ? nfs4_status(err) : ret_attr->type == FS_REG ? NFS4_OK : NFS4ERR_WRONG_TYPE;
}

/* Only whether there is room: nothing can be set aside where nothing is ever overwritten. */
uint32_t nfs4_allocate(struct nfs4_compound *cp, struct nfs4_op *op)
{
	uint32_t status = nfs4_stateid_io(cp, &cp->cur, &op->range.dst, NFS4_OPEN_WRITE);
	struct fs_attr a;

	if (!status && op->range.count > UINT64_MAX - op->range.dst_offset)
		status = NFS4ERR_INVAL;
	if (!status)
		status = regular(cp, &a);
	if (status)
		return status;
	return nfs4_status(fs_allocate(&cp->f.req, cp->cur.id, op->range.dst_offset,
				       op->range.count, NULL));
}

uint32_t nfs4_deallocate(struct nfs4_compound *cp, struct nfs4_op *op)
{
	uint32_t status = nfs4_stateid_io(cp, &cp->cur, &op->range.dst, NFS4_OPEN_WRITE);
	struct fs_attr a;

	if (!status && op->range.count > UINT64_MAX - op->range.dst_offset)
		status = NFS4ERR_INVAL;
	if (!status)
		status = regular(cp, &a);
	if (status || op->range.dst_offset >= a.size || !op->range.count)
		return status;
	if (op->range.count > a.size - op->range.dst_offset)
		op->range.count = a.size - op->range.dst_offset;
	return nfs4_status(fs_punch(&cp->f.req, cp->cur.id, op->range.dst_offset, op->range.count,
				    NULL));
}

/* What is not found before the end: sr_eof (RFC 7862 section 15.11.3). */
uint32_t nfs4_seek(struct nfs4_compound *cp, struct nfs4_op *op)
{
	enum { DATA = 0, HOLE = 1 };
	uint32_t status = nfs4_stateid_io(cp, &cp->cur, &op->range.src, NFS4_OPEN_READ);
	uint64_t found = 0;
	struct fs_attr a;
	int err;

	if (!status)
		status = regular(cp, &a);
	if (status)
		return status;
	if (op->range.what > HOLE)
		return NFS4ERR_UNION_NOTSUPP;
	if (op->range.src_offset >= a.size)
		return NFS4ERR_NXIO;
	err = fs_seek(&cp->f.req, cp->cur.id, op->range.src_offset, op->range.what == DATA, &found);
	if (err && err != -ENXIO)
		return nfs4_data_status(cp, &cp->cur.id, err);
	op->range.eof = err || found >= a.size;
	op->range.src_offset = err ? a.size : found;
	return NFS4_OK;
}

/* ---- IO_ADVISE ----------------------------------------------------------------------- */

struct prefetch {
	struct nfs4_state *st;
	struct fs_req req;
	struct fs_id id;
	uint64_t offset, left;
	struct fs_read read;
};

/* Reads it into the cache, and leaves it there. */
static void prefetch(void *arg)
{
	struct prefetch *p = arg;
	bool more = true;

	while (more && p->left) {
		uint32_t len = p->left < FS_IO_MAX ? p->left : FS_IO_MAX;

		more = !p->st->stopping && !fs_read(&p->req, p->id, p->offset, len, &p->read);
		if (!more)
			break;
		fs_read_done(p->req.fs, &p->read);
		more = !p->read.eof;
		p->offset += len;
		p->left -= len;
		fiber_yield();
	}
	p->st->prefetches--;
	free(p);
}

static bool will_need(struct nfs4_compound *cp, const struct nfs4_op *op)
{
	struct prefetch *p;
	uint64_t len = op->advise.count;

	if (cp->st->prefetches >= PREFETCHES_MAX)
		return false;
	p = malloc(sizeof(*p));
	if (!p)
		return false;
	p->st = cp->st;
	p->req = cp->f.req;
	p->id = cp->cur.id;
	p->offset = op->advise.offset;
	p->left = len && len < PREFETCH_MAX ? len : PREFETCH_MAX;
	cp->st->prefetches++;
	if (!nfs4_spawn(cp->st, prefetch, p, "prefetch"))
		return true;
	cp->st->prefetches--;
	free(p);
	return false;
}

/* Answers the hints that are heeded: WILLNEED, while there is room for it. */
uint32_t nfs4_io_advise(struct nfs4_compound *cp, struct nfs4_op *op)
{
	enum { WILLNEED = 1 << 4, WILLNEED_OPPORTUNISTIC = 1 << 5 };
	uint32_t status = nfs4_stateid_io(cp, &cp->cur, &op->advise.id, NFS4_OPEN_READ);
	uint32_t heeded = op->advise.hints.w[0] & (WILLNEED | WILLNEED_OPPORTUNISTIC);
	struct fs_attr a;

	if (!status)
		status = regular(cp, &a);
	if (status)
		return status;
	if (op->advise.count > UINT64_MAX - op->advise.offset)
		return NFS4ERR_INVAL;
	if (heeded && !will_need(cp, op))
		heeded = 0;
	op->advise.hints = (struct nfs4_bitmap){ .w = { heeded } };
	return NFS4_OK;
}
