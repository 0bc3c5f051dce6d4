/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an rpcbind runs on this machine, our programs are entered there (RFC 1833, RPCBPROC_SET
 * of version 4), through its Unix socket: that is how it knows who we are, and only root may.
 * rpcbind shows the entries to clients of version 2 as well.
 *
 * This machine may itself be a client of NFSv3 and have a lockd and a statd entered.  They are left
 * alone as long as something listens where they are said to be.
 *
 * Plain blocking calls with a timeout, at start and at the end only.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/log.h"
#include "nfs/server_int.h"

enum { RPCB_SET = 1, RPCB_UNSET = 2, RPCB_DUMP = 4 };
#define RPCBIND_VERSION 4
#define TIMEOUT_S 2
#define REPLY_MAX (64u << 10)
#define STRING_MAX 1024
#define UADDR_MAX 64

static const struct entry {
	uint32_t prog, vers;
	const char *netid;
	bool may_be_others;
} entries[] = {
	{ NFS_PROGRAM, 3, "tcp", false }, { MOUNT_PROGRAM, 3, "tcp", false },
	{ NLM_PROGRAM, 4, "tcp", true }, { NLM_PROGRAM, 4, "udp", true },
	{ NSM_PROGRAM, 1, "tcp", true }, { NSM_PROGRAM, 1, "udp", true },
};
#define NENTRIES (sizeof(entries) / sizeof(*entries))
static bool ours[NENTRIES];		/* entered by us */
static const char *const sockets[] = { "/run/rpcbind.sock", "/var/run/rpcbind.sock" };

/* ---- calls --------------------------------------------------------------------------- */

static int connect_rpcbind(void)
{
	const struct timeval tv = { .tv_sec = TIMEOUT_S };

	for (unsigned i = 0; i < sizeof(sockets) / sizeof(*sockets); i++) {
		struct sockaddr_un un = { .sun_family = AF_UNIX };
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0)
			return -errno;
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
		snprintf(un.sun_path, sizeof(un.sun_path), "%s", sockets[i]);
		if (!connect(fd, (struct sockaddr *)&un, sizeof(un)))
			return fd;
		close(fd);
	}
	return -ECONNREFUSED;
}

static int read_all(int fd, uint8_t *to, size_t want)
{
	size_t got = 0;

	while (got < want) {
		ssize_t n = recv(fd, to + got, want - got, 0);

		if (n <= 0)
			return n < 0 && (errno == EAGAIN || errno == EINTR) ? -ETIMEDOUT : -EIO;
		got += n;
	}
	return 0;
}

/* The whole record, of CAP bytes at most. */
static int read_record(int fd, uint8_t *reply, size_t cap, size_t *ret_len)
{
	uint32_t mark = 0;
	size_t len = 0;
	int err;

	while (!(mark >> 31)) {
		err = read_all(fd, (uint8_t *)&mark, 4);
		if (err)
			return err;
		mark = be32toh(mark);
		if (len + (mark & 0x7fffffff) > cap)
			return -EMSGSIZE;
		err = read_all(fd, reply + len, mark & 0x7fffffff);
		if (err)
			return err;
		len += mark & 0x7fffffff;
	}
	*ret_len = len;
	return 0;
}

/* OUT holds a whole call from its mark on, begun by begin_call(); RET is at the results. */
static int call(int fd, struct xdr_out *out, uint8_t *buf, uint8_t *reply, size_t cap,
		struct xdr_in *ret)
{
	const size_t len = xdr_out_len(out);
	const uint32_t mark = htobe32(0x80000000u | (uint32_t)(len - 4));
	size_t reply_len;
	int err;

	memcpy(buf, &mark, 4);
	if (send(fd, buf, len, MSG_NOSIGNAL) != (ssize_t)len)
		return -EIO;
	err = read_record(fd, reply, cap, &reply_len);
	if (err)
		return err;
	xdr_in_init(ret, reply, reply_len);
	xdr_get_u32(ret);				/* xid: there is one call at a time */
	if (xdr_get_u32(ret) != 1 || xdr_get_u32(ret) != 0)
		return -EIO;
	xdr_get_u64(ret);
	return xdr_get_u32(ret) == RPC_SUCCESS && !ret->bad ? 0 : -EIO;
}

static void begin_call(struct xdr_out *out, uint8_t *buf, size_t cap, uint32_t proc)
{
	xdr_out_init(out, buf, cap);
	xdr_put_u32(out, 0);				/* the mark */
	xdr_put_u32(out, proc);				/* xid */
	xdr_put_u32(out, 0);
	xdr_put_u32(out, RPC_VERSION);
	xdr_put_u32(out, PORTMAP_PROGRAM);
	xdr_put_u32(out, RPCBIND_VERSION);
	xdr_put_u32(out, proc);
	xdr_put_u64(out, 0);				/* AUTH_NONE, twice */
	xdr_put_u64(out, 0);
}

/* 0 when rpcbind said true, -EPERM when it said false. */
static int change(int fd, uint32_t proc, const struct entry *e, const char *uaddr)
{
	uint8_t buf[512], reply[512];
	struct xdr_out out;
	struct xdr_in in;
	int err;

	begin_call(&out, buf, sizeof(buf), proc);
	xdr_put_u32(&out, e->prog);
	xdr_put_u32(&out, e->vers);
	xdr_put_string(&out, e->netid);
	xdr_put_string(&out, uaddr);
	xdr_put_string(&out, "");
	err = call(fd, &out, buf, reply, sizeof(reply), &in);
	if (err)
		return err;
	return xdr_get_u32(&in) == 1 ? 0 : -EPERM;
}

/* ---- other entries ------------------------------------------------------------------- */

/* The port in "0.0.0.0.8.1"; 0: none. */
static uint16_t port_of(struct xdr_bytes u)
{
	char text[UADDR_MAX + 1];
	unsigned a, b, c, d, hi, lo;

	if (u.len > UADDR_MAX)
		return 0;
	memcpy(text, u.s, u.len);
	text[u.len] = 0;
	return sscanf(text, "%u.%u.%u.%u.%u.%u", &a, &b, &c, &d, &hi, &lo) == 6 ? hi << 8 | lo : 0;
}

/* Where E is entered now; 0: nowhere. */
static uint16_t entered_at(struct xdr_in in, const struct entry *e)
{
	while (!in.bad && xdr_get_u32(&in) == 1) {
		uint32_t prog = xdr_get_u32(&in), vers = xdr_get_u32(&in);
		struct xdr_bytes netid = xdr_get_opaque(&in, STRING_MAX);
		struct xdr_bytes uaddr = xdr_get_opaque(&in, STRING_MAX);

		xdr_get_opaque(&in, STRING_MAX);	/* owner */
		if (!in.bad && prog == e->prog && vers == e->vers && netid.len == 3 &&
		    !memcmp(netid.s, e->netid, 3))
			return port_of(uaddr);
	}
	return 0;
}

/* Something has the port: it can't be had. */
static bool is_taken(const struct entry *e, uint16_t port)
{
	const struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
	const int kind = e->netid[0] == 't' ? SOCK_STREAM : SOCK_DGRAM;
	CLEANUP_FD int fd = socket(AF_INET, kind | SOCK_CLOEXEC, 0);
	int one = 1;

	if (kind == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return bind(fd, (const struct sockaddr *)&in, sizeof(in)) != 0;
}

static bool is_others(const struct xdr_in *dump, const struct entry *e, uint16_t our_port)
{
	uint16_t port = e->may_be_others ? entered_at(*dump, e) : 0;

	return port && port != our_port && is_taken(e, port);
}

/* ---- the whole ----------------------------------------------------------------------- */

static int enter(int fd, const struct xdr_in *dump, uint16_t port, bool udp, const char *host)
{
	char uaddr[64];
	int err = 0;

	snprintf(uaddr, sizeof(uaddr), "%s.%u.%u", host, port >> 8, port & 255);
	for (unsigned i = 0; !err && i < NENTRIES; i++) {
		const struct entry *e = &entries[i];

		if (e->netid[0] == 'u' && !udp)
			continue;
		if (is_others(dump, e, port)) {
			log_warn("rpcbind has program %u (%s) of somebody else on this machine: "
				 "clients of NFSv3 won't get locks here", e->prog, e->netid);
			continue;
		}
		change(fd, RPCB_UNSET, e, "");		/* a killed server's */
		err = change(fd, RPCB_SET, e, uaddr);
		ours[i] = !err;
	}
	return err;
}

int rpcbind_register(uint16_t port, bool any_addr, bool udp, char *why, size_t why_len)
{
	CLEANUP_FD int fd = connect_rpcbind();
	CLEANUP_FREE uint8_t *reply = malloc(REPLY_MAX);
	struct xdr_in dump;
	struct xdr_out out;
	uint8_t buf[64];
	int err = fd < 0 ? fd : reply ? 0 : -ENOMEM;

	begin_call(&out, buf, sizeof(buf), RPCB_DUMP);
	if (!err)
		err = call(fd, &out, buf, reply, REPLY_MAX, &dump);
	if (!err)
		err = enter(fd, &dump, port, udp, any_addr ? "0.0.0.0" : "127.0.0.1");
	if (fd < 0)
		snprintf(why, why_len, "port 111 is taken by something that is not an rpcbind");
	else if (err == -EPERM)
		snprintf(why, why_len, "rpcbind refused to register NFS: only root may");
	else if (err)
		snprintf(why, why_len, "cannot register with rpcbind: %s", err_text(err));
	return err;
}

void rpcbind_unregister(void)
{
	CLEANUP_FD int fd = connect_rpcbind();

	for (unsigned i = 0; fd >= 0 && i < NENTRIES; i++) {
		if (ours[i])
			change(fd, RPCB_UNSET, &entries[i], "");
		ours[i] = false;
	}
}
