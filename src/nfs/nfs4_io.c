/* SPDX-License-Identifier: Apache-2.0 */
/* Data: READ, READ_PLUS, WRITE, COMMIT (RFC 8881 section 18, RFC 7862 section 15.10). */
#include <stdlib.h>
#include "nfs/nfs4_state.h"

/* READ_PLUS: so many segments are told apart; a hole that is not worth a segment of its own is
 * sent as zeros, so that the whole is never longer than READ's answer would be. */
#define SEGMENTS_MAX 32
#define HOLE_LEAST 128
#define READ_ROOM 12			/* eof, length, padding */

_Static_assert(NFS4_READ_PLUS_ROOM >= 8 + SEGMENTS_MAX * 24 && NFS4_READ_PLUS_ROOM <= NFS4_OP_ROOM,
	       "the head of each segment has room");

uint32_t nfs4_data_status(struct nfs4_compound *cp, const struct fs_id *id, int err)
{
	struct fs_attr a;
	uint32_t status;

	if (err != -EINVAL || fs_getattr(&cp->f.req, *id, &a))
		return nfs4_status(err);
	status = nfs4_wrong_type(a.type, FS_REG);
	return status ? status : NFS4ERR_INVAL;
}

/* ---- reading ------------------------------------------------------------------------- */

/* HEAD: what of the reply isn't data. */
static uint32_t read_data(struct nfs4_compound *cp, struct nfs4_op *op, uint32_t head)
{
	uint32_t status = nfs4_stateid_io(cp, &cp->cur, &op->read.id, NFS4_OPEN_READ);
	uint32_t left = nfs4_reply_left(cp), len = op->read.count;
	struct fs_read *r;
	int err;

	if (status)
		return status;
	len = len < NFS4_IO_MAX ? len : NFS4_IO_MAX;
	if (left > head && len > left - head)
		len = (left - head) & ~3u;	/* a short read is better than REP_TOO_BIG */
	r = nfs4_read_get(cp);
	if (!r)
		return NFS4ERR_DELAY;
	err = fs_read(&cp->f.req, cp->cur.id, op->read.offset, len, r);
	if (err) {
		nfs4_read_free(cp, r);
		return nfs4_data_status(cp, &cp->cur.id, err);
	}
	op->read.read = r;
	cp->server->bytes_read += r->len;
	return nfs4_read_pinned(cp, r);
}

uint32_t nfs4_read(struct nfs4_compound *cp, struct nfs4_op *op)
{
	return read_data(cp, op, READ_ROOM);
}

uint32_t nfs4_read_plus(struct nfs4_compound *cp, struct nfs4_op *op)
{
	return read_data(cp, op, NFS4_READ_PLUS_ROOM);
}

static void put_padding(struct xdr_out *out, uint32_t len)
{
	uint32_t pad = xdr_pad(len);
	uint8_t *p = xdr_room(out, pad);

	if (p)
		memset(p, 0, pad);
}

void nfs4_enc_read(struct nfs4_compound *cp, struct xdr_out *out, const struct nfs4_op *op,
		   uint32_t status)
{
	const struct fs_read *r = op->read.read;

	xdr_put_bool(out, r->eof);
	xdr_put_u32(out, r->len);
	xdr_splice(out, r->iov, r->niov);
	put_padding(out, r->len);
}

struct segment { int first, n; uint32_t len; bool hole; };

/* The run of pieces from FIRST on that are holes, or that are not. */
static struct segment run_of(const struct fs_read *r, int first)
{
	struct segment s = { .first = first, .hole = fs_read_is_hole(r, first) };

	for (int i = first; i < r->niov && fs_read_is_hole(r, i) == s.hole; i++) {
		s.len += r->iov[i].iov_len;
		s.n++;
	}
	return s;
}

/* The segment that begins at FIRST; LEFT may follow.  Data with no hole behind it go to the end. */
static struct segment segment_of(const struct fs_read *r, int first, uint32_t left)
{
	struct segment s = run_of(r, first), next;
	bool last = left < 2;

	if (s.hole && s.len >= HOLE_LEAST)
		return s;
	s.hole = false;
	while (s.first + s.n < r->niov) {
		next = run_of(r, s.first + s.n);
		if (next.hole && next.len >= HOLE_LEAST && !last)
			break;
		s.n += next.n;
		s.len += next.len;
	}
	return s;
}

static void put_segment(struct xdr_out *out, const struct fs_read *r, const struct segment *s,
			uint64_t offset)
{
	enum { DATA = 0, HOLE = 1 };

	xdr_put_u32(out, s->hole ? HOLE : DATA);
	xdr_put_u64(out, offset);
	if (s->hole) {
		xdr_put_u64(out, s->len);
		return;
	}
	xdr_put_u32(out, s->len);
	xdr_splice(out, r->iov + s->first, s->n);
	put_padding(out, s->len);
}

void nfs4_enc_read_plus(struct nfs4_compound *cp, struct xdr_out *out, const struct nfs4_op *op,
			uint32_t status)
{
	const struct fs_read *r = op->read.read;
	uint64_t offset = op->read.offset;
	uint32_t n = 0, count;
	uint8_t *count_at;

	xdr_put_bool(out, r->eof);
	count_at = xdr_room(out, 4);
	for (int i = 0; i < r->niov; n++) {
		struct segment s = segment_of(r, i, SEGMENTS_MAX - 1 - n);

		put_segment(out, r, &s, offset);
		offset += s.len;
		i += s.n;
	}
	count = htobe32(n);
	if (count_at)
		memcpy(count_at, &count, 4);
}

/* ---- writing ------------------------------------------------------------------------- */

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
		return nfs4_data_status(cp, &cp->cur.id, err);
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

	if (status)
		return status;
	/* RFC 8881 has no word for it: all is stable then */
	if (!cp->minor && op->commit.count > UINT64_MAX - op->commit.offset)
		return NFS4ERR_INVAL;
	return nfs4_status(fs_commit(&cp->f.req, cp->cur.id, NULL));
}
