/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "nfs/host.h"
#include "nfs/server_int.h"

enum { PORTMAP_PORT = 111, GETPORT = 3, GETADDR = 3, UADDR_MAX = 256 };
enum { TCP = 6, UDP = 17 };

static const struct rpc_cred root = { .flavor = RPC_AUTH_SYS };

struct question {
	struct rpc_server *server;
	const struct rpc_addr *to, *from;
	uint32_t prog, vers;
	unsigned timeout_ms;
};

/* ---- version 2 of the port mapper, or 4 where addresses are of IPv6 ------------------- */

static void put_question(struct xdr_out *out, const struct question *q, int proto)
{
	xdr_put_u32(out, q->prog);
	xdr_put_u32(out, q->vers);
	if (rpc_addr_is_v4(q->to)) {
		xdr_put_u32(out, proto);
		xdr_put_u32(out, 0);
	} else {
		xdr_put_string(out, proto == TCP ? "tcp6" : "udp6");
		xdr_put_string(out, "");
		xdr_put_string(out, "");
	}
}

/* "::1.8.1" is port 2049 (RFC 5665 section 5.2.3.3); 0 is none. */
static uint32_t port_of_uaddr(struct xdr_bytes u)
{
	unsigned hi, lo, dots = 0;
	char text[UADDR_MAX + 1];
	uint32_t i = u.len;

	while (i && dots < 2)
		dots += u.s[--i] == '.';
	if (dots < 2)
		return 0;
	memcpy(text, u.s + i, u.len - i);
	text[u.len - i] = 0;
	return sscanf(text, ".%3u.%3u", &hi, &lo) == 2 && hi < 256 && lo < 256 ? hi << 8 | lo : 0;
}

static int get_port(const struct question *q, const uint8_t *data, size_t len, uint16_t *ret_port)
{
	struct xdr_in in;
	uint32_t port;

	xdr_in_init(&in, data, len);
	port = rpc_addr_is_v4(q->to) ? xdr_get_u32(&in) :
				       port_of_uaddr(xdr_get_opaque(&in, UADDR_MAX));
	if (in.bad || port > UINT16_MAX)
		return -EBADMSG;
	*ret_port = port;
	return port ? 0 : -ENOENT;
}

static int ask(const struct question *q, const struct host_way *mapper, int proto,
	       uint16_t *ret_port)
{
	bool v4 = rpc_addr_is_v4(q->to);
	uint8_t args[64], reply[UADDR_MAX + 8];
	struct xdr_out out;
	size_t len;
	int err;

	xdr_out_init(&out, args, sizeof(args));
	put_question(&out, q, proto);
	const struct rpc_request r = {
		PORTMAP_PROGRAM, v4 ? 2 : 4, v4 ? GETPORT : GETADDR, &root, args,
		xdr_out_len(&out), q->timeout_ms
	};

	err = host_call(q->server, mapper, q->from, &r, reply, sizeof(reply), &len);
	return err ? err : get_port(q, reply, len, ret_port);
}

/* ---- ways ---------------------------------------------------------------------------- */

static int way_tcp(const struct question *q, uint16_t port, struct host_way *ret)
{
	struct rpc_addr to = *q->to;
	int err;

	to.port = port;
	*ret = (struct host_way){ 0 };
	err = rpc_peer_dial(q->server, &to, &ret->tcp);
	if (!err)
		rpc_peer_from(ret->tcp, q->from);
	return err;
}

static struct host_way way_udp(const struct question *q, uint16_t port)
{
	struct host_way w = { .udp = *q->to };

	w.udp.port = port;
	return w;
}

/* Asks MAPPER for a port of either kind. */
static int find_by(const struct question *q, const struct host_way *mapper, struct host_way *ret)
{
	uint16_t port;
	int err = ask(q, mapper, TCP, &port);

	if (!err)
		return way_tcp(q, port, ret);
	if (err != -ENOENT)
		return err;
	err = ask(q, mapper, UDP, &port);
	if (!err)
		*ret = way_udp(q, port);
	return err;
}

int host_find(struct rpc_server *s, const struct rpc_addr *to, const struct rpc_addr *from,
	      uint32_t prog, uint32_t vers, unsigned timeout_ms, struct host_way *ret_way)
{
	const struct question q = { s, to, from, prog, vers, timeout_ms };
	struct host_way mapper;
	int err = way_tcp(&q, PORTMAP_PORT, &mapper);

	if (!err) {
		err = find_by(&q, &mapper, ret_way);
		host_forget(&mapper);
	}
	if (!err || err == -ENOENT || err == -ESHUTDOWN)
		return err;
	mapper = way_udp(&q, PORTMAP_PORT);
	return find_by(&q, &mapper, ret_way);
}

int host_call(struct rpc_server *s, const struct host_way *w, const struct rpc_addr *from,
	      const struct rpc_request *q, void *buf, size_t cap, size_t *ret_len)
{
	return w->tcp ? rpc_peer_call(w->tcp, q, buf, cap, ret_len) :
			rpc_udp_call(s, &w->udp, from, q, buf, cap, ret_len);
}

void host_forget(struct host_way *w)
{
	rpc_peer_put(w->tcp);
	*w = (struct host_way){ 0 };
}
