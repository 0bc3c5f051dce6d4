/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CLONE and COPY within the server (RFC 7862 sections 15.13 and 15.2).
 *
 * CLONE is whole or it is an error.  COPY shares where blocks allow it and copies the rest, a bounded
 * part while its client waits: the rest goes on in the background where the client can be called
 * back, else the client is told how far it came and goes on from there.
 */
#include <stdlib.h>
#include "nfs/nfs4_copy.h"

#define COST_WAITING (64u << 20)	/* what a client waits for */
#define COST_OFFLOADING (4u << 20)	/* before the rest goes on in the background */
#define SHARED_PIECES 65536		/* at most in one step */
#define SHARED_COST 64			/* bytes that could be copied instead of sharing a piece */

static bool aligned(uint64_t v)
{
	return !(v % NFS4_CLONE_BLOCK);
}

/* ---- both ---------------------------------------------------------------------------- */

static uint32_t check_range(uint64_t offset, uint64_t len)
{
	if (len > UINT64_MAX - offset)
		return NFS4ERR_INVAL;
	return offset + len > (uint64_t)FS_MAX_SIZE ? NFS4ERR_FBIG : NFS4_OK;
}

/* The caller's rights on the source's volume; the destination's are entered again after it. */
static uint32_t enter_source(struct nfs4_compound *cp, struct fs_req *ret_req)
{
	uint32_t status = nfs4_enter(cp, &cp->saved), again;

	*ret_req = cp->f.req;
	again = nfs4_enter(cp, &cp->cur);
	if (status == NFS4ERR_WRONGSEC)
		status = NFS4ERR_ACCESS;	/* it was not put here just now */
	return status ? status : again;
}

/* The saved file is read and the current one written: rights, stateids, types. */
static uint32_t check_pair(struct nfs4_compound *cp, const struct nfs4_op *op, struct fs_req *from,
			   struct fs_attr *ret_src, struct fs_attr *ret_dst)
{
	uint32_t status;
	int err;

	err = fs_getattr(from, cp->saved.id, ret_src);
	if (!err)
		err = fs_getattr(&cp->f.req, cp->cur.id, ret_dst);
	status = nfs4_status(err);
	if (!status && (ret_src->type != FS_REG || ret_dst->type != FS_REG))
		status = NFS4ERR_WRONG_TYPE;
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
	uint32_t status;
	int err;

	if (nfs4_was_done(cp))
		return NFS4_OK;			/* onto the end of the same file, it would not be allowed again */
	if (nfs4_is_pseudo(&cp->saved))
		return NFS4ERR_WRONG_TYPE;
	if (cp->saved.id.volume != cp->cur.id.volume)
		return NFS4ERR_XDEV;
	status = check_pair(cp, op, &cp->f.req, &src, &dst);
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

/* ---- COPY, step by step -------------------------------------------------------------- */

static void advance(struct nfs4_copy *c, uint64_t n, uint64_t cost)
{
	c->src_offset += n;
	c->dst_offset += n;
	c->left -= n;
	c->done += n;
	c->cost += cost;
}

/* The bytes that are shared as one piece, as far apart as the ranges are (fs_clone_range()). */
static uint64_t shared_piece(uint64_t apart)
{
	return apart % (2u << 20) ? NFS4_CLONE_BLOCK : apart % (1u << 30) ? 2u << 20 : 1u << 30;
}

/* -EINVAL: this can't be shared. */
static int share(struct nfs4_copy *c)
{
	uint64_t one = shared_piece(c->src_offset - c->dst_offset), n = one * SHARED_PIECES;
	int err;

	if (c->never_share || !aligned(c->src_offset) || !aligned(c->dst_offset))
		return -EINVAL;
	n = n < c->left ? n : c->left;		/* the end of a file may be crooked */
	err = fs_clone_range(&c->to, c->src, c->src_offset, c->dst, c->dst_offset, n, NULL);
	if (err == -EINVAL && !aligned(n) && n > NFS4_CLONE_BLOCK) {
		n -= n % NFS4_CLONE_BLOCK;
		err = fs_clone_range(&c->to, c->src, c->src_offset, c->dst, c->dst_offset, n, NULL);
	}
	if (!err)
		advance(c, n, n / one * SHARED_COST);
	return err;
}

/* As much as leaves the destination, or both, at the beginning of a block. */
static uint32_t piece(const struct nfs4_copy *c)
{
	uint32_t at = c->dst_offset % NFS4_CLONE_BLOCK;
	uint64_t n = NFS4_COPY_PIECE - at;

	if (!c->never_share && at && at == c->src_offset % NFS4_CLONE_BLOCK)
		n = NFS4_CLONE_BLOCK - at;
	return n < c->left ? n : c->left;
}

static int copy(struct nfs4_copy *c, struct fs_read *r, uint8_t *buf)
{
	uint32_t n = piece(c), at = 0;
	int err = fs_read(&c->from, c->src, c->src_offset, n, r);

	if (err)
		return err;
	for (int i = 0; i < r->niov; i++) {
		memcpy(buf + at, r->iov[i].iov_base, r->iov[i].iov_len);
		at += r->iov[i].iov_len;
	}
	fs_read_done(c->from.fs, r);
	if (at)
		err = fs_write(&c->to, c->dst, c->dst_offset, &(struct iovec){ buf, at }, 1, at,
			       true, NULL);
	if (err)
		return err;
	advance(c, at, at);
	if (at < n)
		c->left = 0;			/* the source has got shorter */
	return 0;
}

int nfs4_copy_step(struct nfs4_copy *c, struct fs_read *r, uint8_t *buf)
{
	int err = share(c);

	return err == -EINVAL ? copy(c, r, buf) : err;
}

/* ---- COPY ---------------------------------------------------------------------------- */

/* RFC 7862 section 15.2.3: a count of 0 is all to the end of the source. */
static uint32_t plan(struct nfs4_compound *cp, const struct nfs4_op *op, struct nfs4_copy *c)
{
	struct fs_attr src, dst;
	uint32_t status = enter_source(cp, &c->from);

	if (!status)
		status = check_pair(cp, op, &c->from, &src, &dst);
	if (status)
		return status;
	c->to = cp->f.req;
	c->src = cp->saved.id;
	c->dst = cp->cur.id;
	c->src_offset = op->range.src_offset;
	c->dst_offset = op->range.dst_offset;
	c->never_share = c->src.volume != c->dst.volume;
	if (c->src_offset > src.size || op->range.count > src.size - c->src_offset)
		return NFS4ERR_INVAL;
	c->left = op->range.count ? op->range.count : src.size - c->src_offset;
	if (c->src.volume == c->dst.volume && c->src.ino == c->dst.ino &&
	    c->src_offset < c->dst_offset + c->left && c->dst_offset < c->src_offset + c->left)
		return NFS4ERR_INVAL;
	return check_range(c->dst_offset, c->left);
}

static int run(struct nfs4_copy *c, uint64_t cost_max)
{
	struct fs_read *r = malloc(sizeof(*r));
	uint8_t *buf = malloc(NFS4_COPY_PIECE);
	int err = r && buf ? 0 : -ENOMEM;

	while (!err && c->left && c->cost < cost_max)
		err = nfs4_copy_step(c, r, buf);
	free(r);
	free(buf);
	return err;
}

uint32_t nfs4_copy(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct nfs4_copy c = { .cost = 0 };
	uint32_t status;
	bool background;
	int err;

	op->range.offloaded = false;
	if (op->range.nsources)
		return NFS4ERR_NOTSUPP;		/* from other servers */
	if (nfs4_is_pseudo(&cp->saved))
		return NFS4ERR_WRONG_TYPE;
	status = plan(cp, op, &c);
	if (status)
		return status;
	if (cp->st->copies >= NFS4_COPIES_MAX)
		return NFS4ERR_DELAY;
	background = !op->range.synchronous && nfs4_cb_works(cp->client);
	cp->st->copies++;
	err = run(&c, background ? COST_OFFLOADING : COST_WAITING);
	cp->st->copies--;
	cp->f.req.stable_seq = c.to.stable_seq;
	op->range.count = c.done;
	if (!err && c.left && background)
		op->range.offloaded = nfs4_offload(cp, &c, &op->range.callback);
	return c.done ? NFS4_OK : nfs4_status(err);	/* the next COPY meets the error again */
}
