/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NFSv4.1 (RFC 8881) for the raw engine: each connection is a client of its own, with a session of
 * as many slots as there may be requests in flight, and has the file open.  A request is SEQUENCE,
 * PUTFH, and READ, or GETATTR of what a Linux client asks for.
 */
#include "load.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { GETATTR = 9, GETFH = 10, LOOKUP = 15, OPEN = 18, PUTFH = 22, PUTROOTFH = 24, READ = 25,
       EXCHANGE_ID = 42, CREATE_SESSION = 43, SEQUENCE = 53, RECLAIM_COMPLETE = 58 };
#define ATTRS0 (1u << 1 | 1u << 3 | 1u << 4 | 1u << 8 | 1u << 20)
#define ATTRS1 (1u << 1 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 9 | 1u << 13 | 1u << 15 | \
		1u << 20 | 1u << 21 | 1u << 23)

static void put_bytes(struct xdr *x, const void *data, size_t len)
{
	if (x->bad || x->max - x->len < len) {
		x->bad = true;
		return;
	}
	memcpy(x->p + x->len, data, len);
	x->len += len;
}

static void get_bytes(struct xdr *x, void *to, size_t len)
{
	if (x->bad || x->max - x->len < len) {
		x->bad = true;
		return;
	}
	memcpy(to, x->p + x->len, len);
	x->len += len;
}

static void put_compound(struct xdr *x, uint32_t nops)
{
	put_u32(x, 0);			/* tag */
	put_u32(x, 1);
	put_u32(x, nops);
}

static void put_sequence(struct xdr *x, const struct load_v4 *v, uint32_t slot, uint32_t seq,
			 uint32_t highest)
{
	put_u32(x, SEQUENCE);
	put_bytes(x, v->session, 16);
	put_u32(x, seq);
	put_u32(x, slot);
	put_u32(x, highest);
	put_u32(x, 0);
}

/* COMPOUND's head.  0, or its status, or -1. */
static int get_compound(struct xdr *x)
{
	uint32_t status = get_u32(x), len;

	get_opaque(x, &len);
	get_u32(x);
	return x->bad ? -1 : (int)status;
}

/* The head of one operation's result. */
static int get_result(struct xdr *x, uint32_t num)
{
	uint32_t got = get_u32(x), status = get_u32(x);

	return x->bad || got != num ? -1 : (int)status;
}

static int get_sequence(struct xdr *x)
{
	int status = get_result(x, SEQUENCE);

	x->len += status ? 0 : 36;
	return status;
}

/* ---- before the load ----------------------------------------------------------------- */

static int call(int fd, struct call *c)
{
	int status = call_wait(fd, &c->x, &c->r);

	return status ? status : get_compound(&c->r);
}

static void begin(struct call *c, const struct load_cfg *cfg, uint32_t nops)
{
	call_begin(c, cfg, PROG_NFS, 4, 1);
	put_compound(&c->x, nops);
}

static int exchange_id(int fd, const struct load_cfg *cfg, unsigned conn, uint64_t *ret_client,
		       uint32_t *ret_seq)
{
	char owner[64];
	struct call c;
	int status;

	snprintf(owner, sizeof(owner), "nfsload %d.%u", (int)getpid(), conn);
	begin(&c, cfg, 1);
	put_u32(&c.x, EXCHANGE_ID);
	put_u64(&c.x, now_ns());
	put_opaque(&c.x, owner, (uint32_t)strlen(owner));
	put_u32(&c.x, 0);
	put_u32(&c.x, 0);		/* no state protection */
	put_u32(&c.x, 0);		/* no implementation's name */
	status = call(fd, &c);
	if (!status)
		status = get_result(&c.r, EXCHANGE_ID);
	*ret_client = get_u64(&c.r);
	*ret_seq = get_u32(&c.r);
	return status;
}

static void put_channel(struct xdr *x, uint32_t bytes, uint32_t slots)
{
	put_u32(x, 0);
	put_u32(x, bytes);
	put_u32(x, bytes);
	put_u32(x, 4096);
	put_u32(x, 16);
	put_u32(x, slots);
	put_u32(x, 0);
}

static int create_session(int fd, const struct load_cfg *cfg, uint64_t client, uint32_t seq,
			  struct load_v4 *v)
{
	struct call c;
	int status;

	begin(&c, cfg, 1);
	put_u32(&c.x, CREATE_SESSION);
	put_u64(&c.x, client);
	put_u32(&c.x, seq);
	put_u32(&c.x, 0);
	put_channel(&c.x, LOAD_BS_MAX + 4096, cfg->depth);
	put_channel(&c.x, 4096, 1);
	put_u32(&c.x, 0x40000000);
	put_u32(&c.x, 1);
	put_u32(&c.x, 0);		/* callbacks with AUTH_NONE */
	status = call(fd, &c);
	if (!status)
		status = get_result(&c.r, CREATE_SESSION);
	get_bytes(&c.r, v->session, 16);
	c.r.len += 8 + 20;		/* seq, flags; the channel's other limits */
	if (!status && get_u32(&c.r) < cfg->depth) {
		fprintf(stderr, "nfsload: the server gives fewer than %u slots\n", cfg->depth);
		return -1;
	}
	return status ? status : c.r.bad ? -1 : 0;
}

static int reclaim_complete(int fd, const struct load_cfg *cfg, struct load_v4 *v)
{
	struct call c;
	int status;

	begin(&c, cfg, 2);
	put_sequence(&c.x, v, 0, 1, 0);
	put_u32(&c.x, RECLAIM_COMPLETE);
	put_u32(&c.x, 0);
	status = call(fd, &c);
	return status == 10054 ? 0 : status;		/* it was told before */
}

/* PUTROOTFH, and a LOOKUP for each directory of PATH; leaves the last name in NAME. */
static uint32_t put_path(struct xdr *x, char *path, const char **name)
{
	uint32_t n = 1;
	char *save = NULL, *part = strtok_r(path, "/", &save), *more;

	put_u32(x, PUTROOTFH);
	for (; part && (more = strtok_r(NULL, "/", &save)); part = more, n++) {
		put_u32(x, LOOKUP);
		put_opaque(x, part, (uint32_t)strlen(part));
	}
	*name = part ? part : "";
	return n;
}

static void put_open(struct xdr *x, const char *name)
{
	put_u32(x, OPEN);
	put_u32(x, 0);
	put_u32(x, 1);			/* to read, nobody is shut out */
	put_u32(x, 0);
	put_u64(x, 0);
	put_opaque(x, "nfsload", 7);
	put_u32(x, 0);			/* as it is, by name */
	put_u32(x, 0);
	put_opaque(x, name, (uint32_t)strlen(name));
	put_u32(x, GETFH);
}

/* OPEN's result, up to what GETFH says. */
static int get_open(struct xdr *x, struct load_v4 *v)
{
	int status = get_result(x, OPEN);
	uint32_t kind;

	if (status)
		return status;
	get_bytes(x, v->stateid, 16);
	x->len += 20 + 4;		/* change, flags */
	for (uint32_t n = get_u32(x); n && !x->bad; n--)
		get_u32(x);
	kind = get_u32(x);
	if (kind == 3 && get_u32(x) - 1 < 2)		/* none, and why; maybe whether later */
		get_u32(x);
	return kind == 0 || kind == 3 ? get_result(x, GETFH) : -1;
}

static int open_file(int fd, const struct load_cfg *cfg, struct load_v4 *v)
{
	char path[1024];
	const char *name, *fh;
	struct call c;
	size_t nops_at;
	uint32_t n, len;
	int status;

	snprintf(path, sizeof(path), "%s/%s", cfg->export4 ? cfg->export4 : cfg->export, cfg->file);
	begin(&c, cfg, 0);
	nops_at = c.x.len - 4;
	put_sequence(&c.x, v, 0, 2, 0);
	n = put_path(&c.x, path, &name);
	put_open(&c.x, name);
	c.x.p[nops_at + 3] = (uint8_t)(1 + n + 2);
	status = call(fd, &c);
	if (!status)
		status = get_sequence(&c.r);
	for (uint32_t i = 0; i < n && !status; i++)
		status = get_result(&c.r, i ? LOOKUP : PUTROOTFH);
	if (!status)
		status = get_open(&c.r, v);
	if (status)
		return status;
	fh = (const char *)get_opaque(&c.r, &len);
	if (!fh || len > LOAD_FH_MAX)
		return -1;
	v->fh.len = len;
	memcpy(v->fh.data, fh, len);
	return 0;
}

int v4_open(int fd, const struct load_cfg *cfg, unsigned conn, struct load_v4 *ret)
{
	const char *what = "EXCHANGE_ID";
	uint64_t client;
	uint32_t seq;
	int status = exchange_id(fd, cfg, conn, &client, &seq);

	if (!status) {
		what = "CREATE_SESSION";
		status = create_session(fd, cfg, client, seq, ret);
	}
	if (!status) {
		what = "RECLAIM_COMPLETE";
		status = reclaim_complete(fd, cfg, ret);
	}
	if (!status) {
		what = "OPEN";
		status = open_file(fd, cfg, ret);
	}
	if (status)
		fprintf(stderr, "nfsload: %s: status %d\n", what, status);
	ret->first_seq = 3;
	return status ? -1 : 0;
}

/* ---- the load ------------------------------------------------------------------------ */

void v4_put(struct xdr *x, const struct load_cfg *cfg, const struct load_v4 *v, uint32_t slot,
	    uint32_t seq, uint64_t off)
{
	put_compound(x, 3);
	put_sequence(x, v, slot, seq, cfg->depth - 1);
	put_u32(x, PUTFH);
	put_opaque(x, v->fh.data, v->fh.len);
	if (cfg->op == OP_GETATTR) {
		put_u32(x, GETATTR);
		put_u32(x, 2);
		put_u32(x, ATTRS0);
		put_u32(x, ATTRS1);
		return;
	}
	put_u32(x, READ);
	put_bytes(x, v->stateid, 16);
	put_u64(x, off);
	put_u32(x, cfg->bs);
}

/* Leaves X at READ's data. */
int v4_check(struct xdr *x, const struct load_cfg *cfg, const char **what)
{
	int status = get_compound(x);

	*what = "NFS status";
	if (!status)
		status = get_sequence(x);
	if (!status)
		status = get_result(x, PUTFH);
	if (!status)
		status = get_result(x, cfg->op == OP_GETATTR ? GETATTR : READ);
	if (status || cfg->op == OP_GETATTR)
		return status;
	get_u32(x);
	*what = "short read";
	return get_u32(x) != cfg->bs || x->bad ? -1 : 0;
}
