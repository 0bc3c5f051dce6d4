/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XDR (RFC 4506) cursors over memory.
 *
 * Decoding: a struct xdr_in walks over received bytes and never past their end.  The first
 * thing that is missing or malformed makes it bad, for good: from then on every get returns
 * zero, so that a decoder can read its whole structure and look at ->bad once.  What is got
 * by reference points into the received bytes and lives as long as they do.
 *
 * Encoding: a struct xdr_out writes into a buffer that its owner gave it, and can splice in
 * memory that is sent from where it lies (pages of the block cache).  The result is a list
 * of iovecs.  Running out of room makes it ->full, for good; the list is then not to be used.
 */
#ifndef RPC_XDR_H
#define RPC_XDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <endian.h>
#include <sys/uio.h>

static inline uint32_t xdr_pad(uint32_t len) { return -len & 3; }

/* ---- decoding ------------------------------------------------------------------------ */

struct xdr_in { const uint8_t *p, *end; bool bad; };
struct xdr_bytes { const uint8_t *s; uint32_t len; };

static inline void xdr_in_init(struct xdr_in *x, const void *data, size_t len)
{
	x->p = data;
	x->end = x->p + len;
	x->bad = false;
}

static inline size_t xdr_left(const struct xdr_in *x) { return x->end - x->p; }

/* LEN bytes where they lie, and their padding; NULL when they are not all there. */
static inline const uint8_t *xdr_get_fixed(struct xdr_in *x, uint32_t len)
{
	const uint8_t *p = x->p;
	uint64_t whole = (uint64_t)len + xdr_pad(len);

	if (x->bad || whole > xdr_left(x)) {
		x->bad = true;
		return NULL;
	}
	x->p += whole;
	return p;
}

static inline uint32_t xdr_get_u32(struct xdr_in *x)
{
	uint32_t v;

	if (x->bad || xdr_left(x) < 4) {
		x->bad = true;
		return 0;
	}
	memcpy(&v, x->p, 4);
	x->p += 4;
	return be32toh(v);
}

static inline uint64_t xdr_get_u64(struct xdr_in *x)
{
	uint64_t v;

	if (x->bad || xdr_left(x) < 8) {
		x->bad = true;
		return 0;
	}
	memcpy(&v, x->p, 8);
	x->p += 8;
	return be64toh(v);
}

/* A bool is 0 or 1; anything else is malformed (RFC 4506 section 4.4). */
static inline bool xdr_get_bool(struct xdr_in *x)
{
	uint32_t v = xdr_get_u32(x);

	if (v > 1)
		x->bad = true;
	return v == 1;
}

/* An enumeration whose values are 0 to MAX. */
static inline uint32_t xdr_get_enum(struct xdr_in *x, uint32_t max)
{
	uint32_t v = xdr_get_u32(x);

	if (v > max) {
		x->bad = true;
		return 0;
	}
	return v;
}

/* Counted bytes, at most MAX of them. */
static inline struct xdr_bytes xdr_get_opaque(struct xdr_in *x, uint32_t max)
{
	struct xdr_bytes b = { NULL, 0 };
	uint32_t len = xdr_get_u32(x);

	if (len > max)
		x->bad = true;
	b.s = xdr_get_fixed(x, len);
	if (b.s)
		b.len = len;
	return b;
}

/* ---- encoding ------------------------------------------------------------------------ */

#define XDR_IOV_INLINE 8

struct xdr_out {
	uint8_t *seg;			/* begin of what was written since the last splice */
	uint8_t *p, *end;		/* where the next byte goes; end of the buffer */
	size_t spliced;			/* bytes in iov[] */
	struct iovec *iov;		/* finished segments; inline_iov, or from malloc */
	unsigned niov, cap;
	bool full;
	bool lean;			/* full for want of memory: another time it may fit */
	struct iovec inline_iov[XDR_IOV_INLINE];
};

void xdr_out_init(struct xdr_out *x, void *buf, size_t len);
/* Frees the list, nothing of what it points to. */
void xdr_out_done(struct xdr_out *x);
/* Goes on in another buffer, with what was written so far copied there.  Before any splice. */
void xdr_out_move(struct xdr_out *x, void *buf, size_t len);
/* The next LEN bytes of the stream are those that IOV leads to (without XDR's padding). */
void xdr_splice(struct xdr_out *x, const struct iovec *iov, unsigned niov);
/* Goes on in another buffer; what was written so far stays where it is. */
void xdr_out_continue(struct xdr_out *x, void *buf, size_t len);
/* Closes the last segment; iov[] is complete then.  Returns the length of all. */
size_t xdr_out_finish(struct xdr_out *x);

static inline size_t xdr_out_len(const struct xdr_out *x)
{
	return x->spliced + (x->p - x->seg);
}

/* Room for LEN bytes, to be filled by the caller; NULL when there is none. */
static inline uint8_t *xdr_room(struct xdr_out *x, size_t len)
{
	uint8_t *p = x->p;

	if (x->full || len > (size_t)(x->end - p)) {
		x->full = true;
		return NULL;
	}
	x->p += len;
	return p;
}

static inline void xdr_put_u32(struct xdr_out *x, uint32_t v)
{
	uint8_t *p = xdr_room(x, 4);

	v = htobe32(v);
	if (p)
		memcpy(p, &v, 4);
}

static inline void xdr_put_u64(struct xdr_out *x, uint64_t v)
{
	uint8_t *p = xdr_room(x, 8);

	v = htobe64(v);
	if (p)
		memcpy(p, &v, 8);
}

static inline void xdr_put_bool(struct xdr_out *x, bool v) { xdr_put_u32(x, v); }

/* LEN bytes and zeros up to a multiple of four. */
static inline void xdr_put_fixed(struct xdr_out *x, const void *s, uint32_t len)
{
	uint8_t *p = xdr_room(x, (size_t)len + xdr_pad(len));

	if (!p)
		return;
	memcpy(p, s, len);
	memset(p + len, 0, xdr_pad(len));
}

static inline void xdr_put_opaque(struct xdr_out *x, const void *s, uint32_t len)
{
	xdr_put_u32(x, len);
	xdr_put_fixed(x, s, len);
}

static inline void xdr_put_string(struct xdr_out *x, const char *s)
{
	xdr_put_opaque(x, s, strlen(s));
}

#endif
