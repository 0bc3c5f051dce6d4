/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See grammar.h.  What follows a status is written as a word of these letters:
 *
 *	u h	32, 64 bits		t	0 or 1
 *	s	counted bytes		i	a stateid
 *	b	a bitmap		c	change_info4
 *	f	attributes: a bitmap, and the values that it names
 *	n u	seconds, nanoseconds	x	a session id
 *	<...>	a counted list		[...]	the same, of one item at most
 *
 * and of those that stand for a union: D a delegation, P state protection, Q a way to
 * authenticate, C a piece of READ_PLUS, E entries of a directory.
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "grammar.h"
#include "rfc_errors.h"
#include "rpc/rpc.h"

enum { NFS = 100003, BADXDR = 10036, DENIED = 10010, DELAY = 10008, TOO_MANY_OPS = 10070,
       RESOURCE = 10018, MINOR_MISMATCH = 10021, CLID_INUSE = 10017, TOOSMALL = 10005,
       OFFLOAD_NO_REQS = 10094 };
enum { GETATTR = 9, LOCK = 12, LOCKT = 13, SETATTR = 34, SETCLIENTID = 35, COPY = 60 };

#define CHANNEL "uuuuuu[u]"

static const char *const results[RFC_OPS] = {
	[3] = "uu", [4] = "i", [5] = "h", [6] = "cb", [7] = "", [8] = "", [9] = "f", [10] = "s",
	[11] = "c", [12] = "i", [13] = "", [14] = "i", [15] = "", [16] = "", [17] = "",
	[18] = "icubD", [19] = "", [20] = "i", [21] = "i", [22] = "", [23] = "", [24] = "",
	[25] = "ts", [26] = "hEt", [27] = "s", [28] = "c", [29] = "cc", [30] = "", [31] = "",
	[32] = "", [33] = "<Q>", [34] = "b", [35] = "hh", [36] = "", [37] = "", [38] = "uuh",
	[39] = "", [40] = "", [41] = "xut", [42] = "huuPhss[sshu]", [43] = "xuu" CHANNEL CHANNEL,
	[44] = "", [45] = "", [52] = "<Q>", [53] = "xuuuuu", [55] = "<u>", [57] = "", [58] = "",
	[59] = "", [60] = "[i]huhtt", [62] = "", [63] = "b", [66] = "", [67] = "h[u]", [68] = "t<C>",
	[69] = "th", [70] = "[i]huh", [71] = "", [72] = "s", [73] = "c", [74] = "h<s>t", [75] = "c",
};

#define ACL "<uuus>"

/* By number; NULL: can't be read. */
static const char *const attributes[] = {
	[0] = "b", [1] = "u", [2] = "u", [3] = "h", [4] = "h", [5] = "t", [6] = "t", [7] = "t",
	[8] = "hh", [9] = "t", [10] = "u", [11] = "u", [12] = ACL, [13] = "u", [14] = "t", [15] = "t",
	[16] = "t", [17] = "t", [18] = "t", [19] = "s", [20] = "h", [21] = "h", [22] = "h", [23] = "h",
	[24] = "<s><<s><s>>", [25] = "t", [26] = "t", [27] = "h", [28] = "u", [29] = "u", [30] = "h",
	[31] = "h", [32] = "s", [33] = "u", [34] = "t", [35] = "u", [36] = "s", [37] = "s", [38] = "h",
	[39] = "h", [40] = "h", [41] = "uu", [42] = "h", [43] = "h", [44] = "h", [45] = "h",
	[46] = "t", [47] = "hn", [49] = "hn", [50] = "hn", [51] = "hn", [52] = "hn", [53] = "hn",
	[55] = "h", [56] = "hn", [57] = "hn", [58] = "u" ACL, [59] = "u" ACL, [60] = "hh",
	[62] = "<u>", [64] = "<u>", [65] = "u", [66] = "u", [75] = "b", [76] = "u", [77] = "u",
	[78] = "h", [79] = "u", [80] = "uus", [82] = "t",
};
enum { NATTRIBUTES = sizeof(attributes) / sizeof(*attributes) };

struct check {
	struct xdr_in in;
	uint32_t minor, op;
	unsigned place;
	const struct grammar_visit *visit;
	char *why;
	size_t why_len;
};

__attribute__((format(printf, 2, 3)))
static bool wrong(struct check *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->why, c->why_len, fmt, ap);
	va_end(ap);
	return false;
}

static bool word(struct check *c, const char *w);

static void tell(struct check *c, char letter, const uint8_t *s, uint32_t len)
{
	if (c->visit && !c->in.bad)
		c->visit->piece(c->visit->arg, c->op, c->place, letter, s, len);
	c->place++;
}

/* Padding must be zeros: it tells nothing of the server's memory. */
static bool opaque(struct check *c)
{
	struct xdr_bytes b = xdr_get_opaque(&c->in, UINT32_MAX - 3);

	tell(c, 's', b.s, b.len);
	for (uint32_t i = 0; b.s && i < xdr_pad(b.len); i++)
		if (b.s[b.len + i])
			return wrong(c, "padding that isn't zero");
	return true;
}

static unsigned bitmap(struct check *c, uint32_t w[4])
{
	uint32_t n = xdr_get_u32(&c->in);

	memset(w, 0, 4 * sizeof(*w));
	if (n > 4) {
		wrong(c, "a bitmap of %u words", n);
		c->in.bad = true;
		return 0;
	}
	for (uint32_t i = 0; i < n; i++)
		w[i] = xdr_get_u32(&c->in);
	return n;
}

static bool fattr(struct check *c)
{
	struct check values = *c;
	struct xdr_bytes b;
	uint32_t w[4];

	bitmap(c, w);
	b = xdr_get_opaque(&c->in, UINT32_MAX - 3);
	if (c->in.bad)
		return true;
	xdr_in_init(&values.in, b.s, b.len);
	for (unsigned i = 0; i < 128; i++) {
		if (!(w[i / 32] >> i % 32 & 1))
			continue;
		if (i >= NATTRIBUTES || !attributes[i])
			return wrong(c, "attribute %u can't be read", i);
		if (!word(&values, attributes[i]) || values.in.bad)
			return wrong(c, "attribute %u isn't whole", i);
	}
	return !xdr_left(&values.in) || wrong(c, "more values than attributes");
}

static bool entries(struct check *c)
{
	while (xdr_get_bool(&c->in))
		if (!word(c, "hsf"))
			return false;
	return true;
}

static bool delegation(struct check *c)
{
	switch (xdr_get_u32(&c->in)) {
	case 0:
		return true;
	case 1:
		return word(c, "ituuus");
	case 2:
		word(c, "it");
		return word(c, xdr_get_u32(&c->in) == 1 ? "huuus" : "uuuuus");
	case 3:
		if (!c->minor)
			return wrong(c, "OPEN_DELEGATE_NONE_EXT in 4.0");
		switch (xdr_get_enum(&c->in, 8)) {
		case 1:
		case 2:
			xdr_get_bool(&c->in);
		}
		return true;
	default:
		return wrong(c, "no kind of delegation");
	}
}

static bool any_of(struct check *c, char letter)
{
	switch (letter) {
	case 'D':
		return delegation(c);
	case 'E':
		return entries(c);
	case 'P':
		return xdr_get_u32(&c->in) ? wrong(c, "state protection") : true;
	case 'Q':
		return word(c, xdr_get_u32(&c->in) == 6 ? "suu" : "");
	case 'C':
		return word(c, xdr_get_enum(&c->in, 1) ? "hh" : "hs");
	default:
		return wrong(c, "the word of %c", letter);
	}
}

static bool letter(struct check *c, char l)
{
	uint32_t w[4];

	switch (l) {
	case 'u': tell(c, l, xdr_get_fixed(&c->in, 4), 4); return true;
	case 'n': return xdr_get_u32(&c->in) < 1000000000 || wrong(c, "too many nanoseconds");
	case 'h': tell(c, l, xdr_get_fixed(&c->in, 8), 8); return true;
	case 't': xdr_get_bool(&c->in); return true;
	case 's': return opaque(c);
	case 'i': case 'x': tell(c, l, xdr_get_fixed(&c->in, 16), 16); return true;
	case 'b': bitmap(c, w); return true;
	case 'c': return word(c, "thh");
	case 'f': return fattr(c);
	default: return any_of(c, l);
	}
}

/* Reads a list whose item is written from W on; returns where the item ends. */
static const char *list(struct check *c, const char *w, uint32_t max)
{
	char item[32];
	uint32_t n = xdr_get_u32(&c->in);
	size_t len = 0;

	for (int depth = 1; depth; len++) {
		depth += w[len] == '<' || w[len] == '[';
		depth -= w[len] == '>' || w[len] == ']';
	}
	snprintf(item, sizeof(item), "%.*s", (int)len - 1, w);
	if (n > max) {
		wrong(c, "a list of %u", n);
		return NULL;
	}
	while (n-- && !c->in.bad)
		if (!word(c, item))
			return NULL;
	return w + len;
}

static bool word(struct check *c, const char *w)
{
	while (w && *w && !c->in.bad) {
		if (*w == '<' || *w == '[')
			w = list(c, w + 1, *w == '[' ? 1 : UINT32_MAX);
		else if (!letter(c, *w++))
			return false;
	}
	return w;
}

/* ---- a COMPOUND ---------------------------------------------------------------------- */

static const char *after(uint32_t op, uint32_t status)
{
	if (op == SETATTR)
		return "b";
	if (!status)
		return op < RFC_OPS ? results[op] : NULL;
	if ((op == LOCK || op == LOCKT) && status == DENIED)
		return "hhuhs";
	if (op == SETCLIENTID && status == CLID_INUSE)
		return "ss";
	if (op == COPY && status == OFFLOAD_NO_REQS)
		return "tt";
	return "";
}

/* The next result; its status through RET_STATUS. */
static bool result(struct check *c, uint32_t *ret_status)
{
	uint32_t op = xdr_get_u32(&c->in), status = xdr_get_u32(&c->in);
	const char *name = rfc_op_name(c->minor, op), *text = rfc_status_name(status);

	if (c->in.bad)
		return wrong(c, "a result is missing");
	if (!name)
		return wrong(c, "a result of operation %u", op);
	if (!text || !rfc_allows(c->minor, op, status))
		return wrong(c, "4.%u: %s answers %u %s", c->minor, name, status, text ? text : "");
	if (!after(op, status))
		return wrong(c, "%s succeeds, and nobody here knows how", name);
	c->op = op;
	c->place = 0;
	if (!word(c, after(op, status)))
		return false;
	if (c->in.bad)
		return wrong(c, "%s (%s): its result isn't whole", name, text);
	*ret_status = status;
	return true;
}

/* What the whole may say although each operation that was looked at went well. */
static bool may_end(const struct check *c, uint32_t n, uint32_t nops, uint32_t status)
{
	if (!status)
		return n == nops;
	if (status == MINOR_MISMATCH)
		return c->minor > 2 && !n;
	return status == BADXDR || status == DELAY ||
	       (status == (c->minor ? TOO_MANY_OPS : RESOURCE) && n < nops);
}

static bool compound(struct check *c, struct xdr_bytes tag, uint32_t nops)
{
	uint32_t status = xdr_get_u32(&c->in), last = 0, n, i;
	struct xdr_bytes same = xdr_get_opaque(&c->in, 1024);

	if (tag.len != same.len || (tag.len && memcmp(tag.s, same.s, tag.len)))
		return wrong(c, "another tag");
	n = xdr_get_u32(&c->in);
	if (c->in.bad || n > nops)
		return wrong(c, "%u results of %u operations", n, nops);
	for (i = 0; i < n; i++) {
		if (last)
			return wrong(c, "a result after one that failed");
		if (!result(c, &last))
			return false;
	}
	if (last ? status != last : !may_end(c, n, nops, status))
		return wrong(c, "status %u after %u of %u results, the last %u", status, n, nops, last);
	return !xdr_left(&c->in) || wrong(c, "%zu bytes too many", xdr_left(&c->in));
}

bool grammar_check(const void *call, size_t call_len, const void *reply, size_t reply_len,
		   const struct grammar_visit *visit, char *why, size_t why_len)
{
	struct check c = { .visit = visit, .why = why, .why_len = why_len };
	struct xdr_bytes tag;
	struct xdr_in in;
	uint32_t nops;

	xdr_in_init(&in, call, call_len);
	xdr_get_fixed(&in, 12);
	if (xdr_get_u32(&in) != NFS || xdr_get_u32(&in) != 4 || xdr_get_u32(&in) != 1)
		return true;
	for (int i = 0; i < 2; i++) {
		xdr_get_u32(&in);
		xdr_get_opaque(&in, RPC_AUTH_MAX);
	}
	tag = xdr_get_opaque(&in, 1024);
	c.minor = xdr_get_u32(&in);
	nops = xdr_get_u32(&in);
	xdr_in_init(&c.in, reply, reply_len);
	xdr_get_u64(&c.in);
	if (xdr_get_u32(&c.in))
		return true;				/* denied */
	xdr_get_u32(&c.in);
	xdr_get_opaque(&c.in, RPC_AUTH_MAX);
	if (xdr_get_u32(&c.in))
		return true;				/* not accepted */
	return compound(&c, tag, nops);
}
