/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Look-ups of the port mapper (RFC 1833): version 2, and 3 and 4 (rpcbind).  Nobody can enter
 * or remove anything.  What a client is told is where he finds our programs on the address that he
 * asked on.  NFS and MOUNT are served by TCP only, what goes with locks by UDP too.
 */
#include <stdio.h>
#include "nfs/server_int.h"

#define STRING_MAX 256

enum { TCP = 6, UDP = 17 };

static const struct { uint32_t prog, vers, proto; } served[] = {
	{ NFS_PROGRAM, 3, TCP }, { MOUNT_PROGRAM, 3, TCP },
	{ NLM_PROGRAM, 4, TCP }, { NLM_PROGRAM, 4, UDP },
	{ NSM_PROGRAM, 1, TCP }, { NSM_PROGRAM, 1, UDP },
	{ PORTMAP_PROGRAM, 2, TCP }, { PORTMAP_PROGRAM, 3, TCP }, { PORTMAP_PROGRAM, 4, TCP },
	{ PORTMAP_PROGRAM, 2, UDP }, { PORTMAP_PROGRAM, 3, UDP }, { PORTMAP_PROGRAM, 4, UDP },
};
#define NSERVED (sizeof(served) / sizeof(*served))

struct getport_args { uint32_t prog, vers, proto; };
struct getaddr_args { uint32_t prog, vers; };
struct addr_res { char uaddr[RPC_ADDR_TEXT + 8]; };

static uint16_t port_of(const struct rpc_call *c, uint32_t prog)
{
	const struct nfs_server *s = rpc_ctx(c);

	return prog == PORTMAP_PROGRAM ? c->local.port : s->ports[0];
}

/* Is served[I] served? */
static bool is_there(const struct rpc_call *c, unsigned i)
{
	const struct nfs_server *s = rpc_ctx(c);

	return served[i].proto == TCP || served[i].prog == PORTMAP_PROGRAM || s->udp;
}

/* As other port mappers do, any version of the program will do unless EXACT. */
static bool is_served(const struct rpc_call *c, uint32_t prog, uint32_t vers, uint32_t proto,
		      bool exact)
{
	for (unsigned i = 0; i < NSERVED; i++)
		if (is_there(c, i) && served[i].prog == prog && served[i].proto == proto &&
		    (!exact || served[i].vers == vers))
			return true;
	return false;
}

/* rpcbind speaks of the transport that it is asked on. */
static uint32_t proto_of(const struct rpc_call *c)
{
	return c->datagram ? UDP : TCP;
}

/* RFC 5665 section 5.2.3: the address, then the port's two bytes in decimal. */
static void make_uaddr(const struct rpc_call *c, uint32_t prog, char ret[RPC_ADDR_TEXT + 8])
{
	char host[RPC_ADDR_TEXT];
	uint16_t port = port_of(c, prog);

	rpc_addr_text(&c->local, host);
	snprintf(ret, RPC_ADDR_TEXT + 8, "%s.%u.%u", host, port >> 8, port & 255);
}

static int null(struct rpc_call *c, void *args, void *res)
{
	return 0;
}

/* ---- version 2 ----------------------------------------------------------------------- */

static void dec_getport(struct xdr_in *in, void *args)
{
	struct getport_args *a = args;

	a->prog = xdr_get_u32(in);
	a->vers = xdr_get_u32(in);
	a->proto = xdr_get_u32(in);
	xdr_get_u32(in);			/* port: of no meaning here */
}

static int getport(struct rpc_call *c, void *args, void *res)
{
	const struct getport_args *a = args;

	if (is_served(c, a->prog, a->vers, a->proto, false))
		*(uint32_t *)res = port_of(c, a->prog);
	return 0;
}

static void enc_u32(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	xdr_put_u32(out, *(const uint32_t *)res);
}

static void enc_dump2(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	for (unsigned i = 0; i < NSERVED; i++) {
		if (!is_there(c, i))
			continue;
		xdr_put_bool(out, true);
		xdr_put_u32(out, served[i].prog);
		xdr_put_u32(out, served[i].vers);
		xdr_put_u32(out, served[i].proto);
		xdr_put_u32(out, port_of(c, served[i].prog));
	}
	xdr_put_bool(out, false);
}

/* ---- versions 3 and 4 ---------------------------------------------------------------- */

static void dec_getaddr(struct xdr_in *in, void *args)
{
	struct getaddr_args *a = args;

	a->prog = xdr_get_u32(in);
	a->vers = xdr_get_u32(in);
	xdr_get_opaque(in, STRING_MAX);		/* netid: it is that of the transport he is on */
	xdr_get_opaque(in, STRING_MAX);		/* his address */
	xdr_get_opaque(in, STRING_MAX);		/* owner */
}

static int getaddr(struct rpc_call *c, void *args, void *res)
{
	const struct getaddr_args *a = args;
	struct addr_res *r = res;

	if (is_served(c, a->prog, a->vers, proto_of(c), false))
		make_uaddr(c, a->prog, r->uaddr);
	return 0;
}

static int getversaddr(struct rpc_call *c, void *args, void *res)
{
	const struct getaddr_args *a = args;
	struct addr_res *r = res;

	if (is_served(c, a->prog, a->vers, proto_of(c), true))
		make_uaddr(c, a->prog, r->uaddr);
	return 0;
}

static void enc_addr(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const struct addr_res *r = res;

	xdr_put_string(out, r->uaddr);		/* empty: not served */
}

static void enc_dump3(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const char *six = rpc_addr_is_v4(&c->local) ? "" : "6";

	for (unsigned i = 0; i < NSERVED; i++) {
		char uaddr[RPC_ADDR_TEXT + 8], netid[8];

		if (!is_there(c, i))
			continue;
		snprintf(netid, sizeof(netid), "%s%s", served[i].proto == TCP ? "tcp" : "udp", six);
		make_uaddr(c, served[i].prog, uaddr);
		xdr_put_bool(out, true);
		xdr_put_u32(out, served[i].prog);
		xdr_put_u32(out, served[i].vers);
		xdr_put_string(out, netid);
		xdr_put_string(out, uaddr);
		xdr_put_string(out, "superuser");
	}
	xdr_put_bool(out, false);
}

/* ---- tables -------------------------------------------------------------------------- */

#define ROW_NULL { .name = "NULL", .handle = null, .flags = RPC_ANY_AUTH }
#define ROW_ADDR(NAME, fn) { .name = NAME, .decode = dec_getaddr, .handle = fn, \
	.encode = enc_addr, .args_bytes = sizeof(struct getaddr_args), \
	.res_bytes = sizeof(struct addr_res), .flags = RPC_ANY_AUTH }
#define ROW_DUMP(fn) { .name = "DUMP", .handle = null, .encode = fn, \
	.flags = RPC_ANY_AUTH | RPC_NOT_UDP }

static const struct rpc_proc procs2[] = {
	[0] = ROW_NULL,
	[3] = { .name = "GETPORT", .decode = dec_getport, .handle = getport, .encode = enc_u32,
		.args_bytes = sizeof(struct getport_args), .res_bytes = 4, .flags = RPC_ANY_AUTH },
	[4] = ROW_DUMP(enc_dump2),
};
static const struct rpc_proc procs3[] = {
	[0] = ROW_NULL,
	[3] = ROW_ADDR("GETADDR", getaddr),
	[4] = ROW_DUMP(enc_dump3),
};
static const struct rpc_proc procs4[] = {
	[0] = ROW_NULL,
	[3] = ROW_ADDR("GETADDR", getaddr),
	[4] = ROW_DUMP(enc_dump3),
	[9] = ROW_ADDR("GETVERSADDR", getversaddr),
};

const struct rpc_program portmap2_program = {
	"portmap", PORTMAP_PROGRAM, 2, procs2, sizeof(procs2) / sizeof(*procs2)
};
const struct rpc_program portmap3_program = {
	"portmap", PORTMAP_PROGRAM, 3, procs3, sizeof(procs3) / sizeof(*procs3)
};
const struct rpc_program portmap4_program = {
	"portmap", PORTMAP_PROGRAM, 4, procs4, sizeof(procs4) / sizeof(*procs4)
};
