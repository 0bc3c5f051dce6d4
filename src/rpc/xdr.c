/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of the XDR encoder that is not inline: lists of segments.
 *
 *   buffer   [ header, results .... | after the splice ... | room ]
 *              ^ iov[0]               ^ seg                ^ p     ^ end
 *   iov[1..n]: spliced memory, which lies elsewhere
 */
#include <stdlib.h>
#include "rpc/xdr.h"

void xdr_out_init(struct xdr_out *x, void *buf, size_t len)
{
	x->seg = x->p = buf;
	x->end = x->p + len;
	x->spliced = 0;
	x->iov = x->inline_iov;
	x->niov = 0;
	x->cap = XDR_IOV_INLINE;
	x->full = x->lean = false;
}

void xdr_out_done(struct xdr_out *x)
{
	if (x->iov != x->inline_iov)
		free(x->iov);
	x->iov = x->inline_iov;
	x->niov = 0;
	x->cap = XDR_IOV_INLINE;
}

void xdr_out_move(struct xdr_out *x, void *buf, size_t len)
{
	size_t have = x->p - x->seg;

	if (x->niov || have > len) {
		x->full = true;
		return;
	}
	memcpy(buf, x->seg, have);
	x->seg = buf;
	x->p = x->seg + have;
	x->end = x->seg + len;
}

static bool reserve_iov(struct xdr_out *x, unsigned more)
{
	unsigned cap = x->niov + more;
	struct iovec *iov;

	if (cap <= x->cap)
		return true;
	iov = malloc(cap * sizeof(*iov));
	if (!iov) {
		x->lean = true;
		return false;
	}
	memcpy(iov, x->iov, x->niov * sizeof(*iov));
	if (x->iov != x->inline_iov)
		free(x->iov);
	x->iov = iov;
	x->cap = cap;
	return true;
}

static void close_segment(struct xdr_out *x)
{
	size_t len = x->p - x->seg;

	if (!len)
		return;
	x->iov[x->niov++] = (struct iovec){ x->seg, len };
	x->spliced += len;
	x->seg = x->p;
}

void xdr_splice(struct xdr_out *x, const struct iovec *iov, unsigned niov)
{
	/* one for the segment before, one for the segment after */
	if (x->full || !reserve_iov(x, niov + 2)) {
		x->full = true;
		return;
	}
	close_segment(x);
	for (unsigned i = 0; i < niov; i++) {
		struct iovec *last = x->niov ? &x->iov[x->niov - 1] : NULL;

		x->spliced += iov[i].iov_len;
		if (last && (uint8_t *)last->iov_base + last->iov_len == iov[i].iov_base)
			last->iov_len += iov[i].iov_len;
		else if (iov[i].iov_len)
			x->iov[x->niov++] = iov[i];
	}
}

void xdr_out_continue(struct xdr_out *x, void *buf, size_t len)
{
	if (x->full || !reserve_iov(x, 1)) {
		x->full = true;
		return;
	}
	close_segment(x);
	x->seg = x->p = buf;
	x->end = x->p + len;
}

size_t xdr_out_finish(struct xdr_out *x)
{
	if (!x->full && !reserve_iov(x, 1))
		x->full = true;
	if (!x->full)
		close_segment(x);
	return x->spliced;
}
