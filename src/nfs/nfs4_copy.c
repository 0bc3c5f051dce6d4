/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CLONE and COPY within the server (RFC 7862 sections 15.13 and 15.2).
 *
 * CLONE is whole or it is an error.  COPY shares where blocks allow it and copies the rest, of
 * which it does a bounded part per call: its client goes on from there.
 */
#include <stdlib.h>
#include "nfs/nfs4_state.h"

#define PIECE FS_IO_MAX
#define COPY_BYTES_MAX (64u << 20)	/* copied (not shared) in one call */

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

