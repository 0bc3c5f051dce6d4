/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data: READ, WRITE, COMMIT, and what 4.2 adds (RFC 7862): CLONE, COPY, SEEK, DEALLOCATE.
 *
 * CLONE is whole or it is an error.  COPY shares where blocks allow it and copies the rest, of
 * which it does a bounded part per call: its client goes on from there.
 */
#include <stdlib.h>
#include "nfs/nfs4_state.h"

#define PIECE FS_IO_MAX
#define COPY_BYTES_MAX (64u << 20)	/* copied (not shared) in one call */

/* EINVAL of what is not a regular file has words of its own. */
static uint32_t data_status(struct nfs4_compound *cp, const struct fs_id *id, int err)
{
	struct fs_attr a;
	uint32_t status;

	if (err != -EINVAL || fs_getattr(&cp->f.req, *id, &a))
		return nfs4_status(err);
	status = nfs4_wrong_type(a.type, FS_REG);
	return status ? status : NFS4ERR_INVAL;
}

/* ---- READ, WRITE, COMMIT ------------------------------------------------------------- */

uint32_t nfs4_read(struct nfs4_compound *cp, struct nfs4_op *op)
{
	uint32_t status = nfs4_stateid_io(cp, &cp->cur, &op->read.id, NFS4_OPEN_READ);
	uint32_t left = nfs4_reply_left(cp), len = op->read.count;
	struct fs_read *r;
	int err;

	if (status)
		return status;
	len = len < NFS4_IO_MAX ? len : NFS4_IO_MAX;
	if (left > 12 && len > left - 12)
		len = (left - 12) & ~3u;	/* a short read is better than REP_TOO_BIG */
	r = nfs4_read_get(cp);
	if (!r)
		return NFS4ERR_DELAY;
	err = fs_read(&cp->f.req, cp->cur.id, op->read.offset, len, r);
	if (err) {
		nfs4_read_free(cp, r);
		return data_status(cp, &cp->cur.id, err);
	}
	op->read.read = r;
	cp->server->bytes_read += r->len;
	return nfs4_read_pinned(cp, r);
}

uint32_t nfs4_write(struct nfs4_compound *cp, struct nfs4_op *op)
{
	uint32_t len = op->write.data.len < NFS4_IO_MAX ? op->write.data.len : NFS4_IO_MAX;
	const struct iovec iov = { (void *)op->write.data.s, len };
	bool stable = op->write.stable != NFS4_UNSTABLE || cp->f.sync;
	uint32_t status = nfs4_stateid_io(cp, &cp->cur, &op->write.id, NFS4_OPEN_WRITE);
	int err;

	if (status)
		return status;
	if (op->write.offset > (uint64_t)FS_MAX_SIZE || len > FS_MAX_SIZE - op->write.offset)
		return NFS4ERR_FBIG;
	err = fs_write(&cp->f.req, cp->cur.id, op->write.offset, &iov, 1, len, stable, NULL);
	if (err)
		return data_status(cp, &cp->cur.id, err);
	op->write.count = len;
	op->write.stable = stable ? NFS4_FILE_SYNC : NFS4_UNSTABLE;
	cp->server->bytes_written += len;
	return NFS4_OK;
}

uint32_t nfs4_commit(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct fs_attr a;
	int err = fs_getattr(&cp->f.req, cp->cur.id, &a);
	uint32_t status = err ? nfs4_status(err) : nfs4_wrong_type(a.type, FS_REG);

	return status ? status : nfs4_status(fs_commit(&cp->f.req, cp->cur.id, NULL));
}

/* ---- ranges -------------------------------------------------------------------------- */

static uint32_t check_range(uint64_t offset, uint64_t len)
{
	if (len > UINT64_MAX - offset)
		return NFS4ERR_INVAL;
	return offset + len > (uint64_t)FS_MAX_SIZE ? NFS4ERR_FBIG : NFS4_OK;
}

/* The saved file is read and the current one written: rights, stateids, types. */
static uint32_t check_pair(struct nfs4_compound *cp, struct nfs4_op *op, struct fs_attr *ret_src,
			   struct fs_attr *ret_dst)
{
	uint32_t status;
	int err;

	if (nfs4_is_pseudo(&cp->saved))
		return NFS4ERR_ISDIR;
	if (cp->saved.id.volume != cp->cur.id.volume)
		return NFS4ERR_XDEV;
	err = fs_getattr(&cp->f.req, cp->saved.id, ret_src);
	if (!err)
		err = fs_getattr(&cp->f.req, cp->cur.id, ret_dst);
	status = nfs4_status(err);
	if (!status)
		status = nfs4_wrong_type(ret_src->type, FS_REG);
	if (!status)
		status = nfs4_wrong_type(ret_dst->type, FS_REG);
	if (!status)
		status = nfs4_stateid_io(cp, &cp->saved, &op->range.src, NFS4_OPEN_READ);
	if (!status)
		status = nfs4_stateid_io(cp, &cp->cur, &op->range.dst, NFS4_OPEN_WRITE);
	if (!status)
		status = check_range(op->range.src_offset, op->range.count);
	return status ? status : check_range(op->range.dst_offset, op->range.count);
}

uint32_t nfs4_clone(struct nfs4_compound *cp, struct nfs4_op *op)
{
	uint64_t count = op->range.count;
	struct fs_attr src, dst;
	uint32_t status = check_pair(cp, op, &src, &dst);
	int err;

	if (status)
		return status;
	if (op->range.src_offset > src.size || count > src.size - op->range.src_offset)
		return NFS4ERR_INVAL;
	if (op->range.src_offset == src.size)
		return NFS4_OK;			/* 0 bytes, "to the end" */
	err = fs_clone_range(&cp->f.req, cp->saved.id, op->range.src_offset, cp->cur.id,
			     op->range.dst_offset, count, NULL);
	return nfs4_status(err);
}

static int copy_piece(struct nfs4_compound *cp, uint64_t from, uint64_t to, uint32_t len,
		      struct fs_read *r, uint8_t *buf)
{
	uint32_t at = 0;
	int err = fs_read(&cp->f.req, cp->saved.id, from, len, r);

	if (err)
		return err;
	for (int i = 0; i < r->niov; i++) {
		memcpy(buf + at, r->iov[i].iov_base, r->iov[i].iov_len);
		at += r->iov[i].iov_len;
	}
	fs_read_done(cp->f.req.fs, r);
	if (at < len)
		memset(buf + at, 0, len - at);	/* it was cut off meanwhile */
	return fs_write(&cp->f.req, cp->cur.id, to, &(struct iovec){ buf, len }, 1, len, true,
			NULL);
}

/* Reads and writes; *RET_DONE is what was done, of LEN at most. */
static int copy_bytes(struct nfs4_compound *cp, const struct nfs4_op *op, uint64_t len,
		      uint64_t *ret_done)
{
	struct fs_read *r = malloc(sizeof(*r));
	uint8_t *buf = malloc(PIECE);
	uint64_t done = 0;
	int err = r && buf ? 0 : -ENOMEM;

	len = len < COPY_BYTES_MAX ? len : COPY_BYTES_MAX;
	while (!err && done < len) {
		uint32_t n = len - done < PIECE ? len - done : PIECE;

		err = copy_piece(cp, op->range.src_offset + done, op->range.dst_offset + done, n,
				 r, buf);
		if (!err)
			done += n;
	}
	free(r);
	free(buf);
	*ret_done = done;
	return done ? 0 : err;
}

static bool aligned(uint64_t v)
{
	return !(v % NFS4_CLONE_BLOCK);
}

uint32_t nfs4_copy(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct fs_attr src, dst;
	uint64_t len, whole, done;
	uint32_t status;
	int err = -EINVAL;

	if (op->range.nsources)
		return NFS4ERR_NOTSUPP;		/* from other servers */
	status = check_pair(cp, op, &src, &dst);
	if (status)
		return status;
	if (op->range.src_offset > src.size)
		return NFS4ERR_INVAL;
	len = src.size - op->range.src_offset;
	if (op->range.count && op->range.count < len)
		len = op->range.count;
	if (op->range.count > len)
		return NFS4ERR_INVAL;
	op->range.count = 0;
	if (!len)
		return NFS4_OK;
	whole = len % NFS4_CLONE_BLOCK && (op->range.src_offset + len != src.size ||
					   op->range.dst_offset + len < dst.size) ?
		len - len % NFS4_CLONE_BLOCK : len;
	if (whole && aligned(op->range.src_offset) && aligned(op->range.dst_offset))
		err = fs_clone_range(&cp->f.req, cp->saved.id, op->range.src_offset, cp->cur.id,
				     op->range.dst_offset, whole, NULL);
	if (!err) {
		op->range.count = whole;
		return NFS4_OK;
	}
	if (err != -EINVAL)
		return nfs4_status(err);
	err = copy_bytes(cp, op, len, &done);
	if (!err)
		op->range.count = done;
	return nfs4_status(err);
}

uint32_t nfs4_deallocate(struct nfs4_compound *cp, struct nfs4_op *op)
{
	uint32_t status = nfs4_stateid_io(cp, &cp->cur, &op->range.dst, NFS4_OPEN_WRITE);
	struct fs_attr a;

	if (!status && op->range.count > UINT64_MAX - op->range.dst_offset)
		status = NFS4ERR_INVAL;
	if (!status)
		status = nfs4_status(fs_getattr(&cp->f.req, cp->cur.id, &a));
	if (!status)
		status = nfs4_wrong_type(a.type, FS_REG);
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
	uint32_t status = nfs4_stateid_io(cp, &cp->cur, &op->range.src, NFS4_OPEN_READ);
	uint64_t found = 0;
	struct fs_attr a;
	int err;

	if (!status)
		status = nfs4_status(fs_getattr(&cp->f.req, cp->cur.id, &a));
	if (!status)
		status = nfs4_wrong_type(a.type, FS_REG);
	if (status)
		return status;
	if (op->range.src_offset >= a.size)
		return NFS4ERR_NXIO;
	err = fs_seek(&cp->f.req, cp->cur.id, op->range.src_offset, op->range.what == 0, &found);
	if (err && err != -ENXIO)
		return data_status(cp, &cp->cur.id, err);
	op->range.eof = err || found >= a.size;
	op->range.src_offset = err ? a.size : found;
	return NFS4_OK;
}

uint32_t nfs4_io_advise(struct nfs4_compound *cp, struct nfs4_op *op)
{
	return nfs4_stateid_io(cp, &cp->cur, &op->range.src, NFS4_OPEN_READ);
}
