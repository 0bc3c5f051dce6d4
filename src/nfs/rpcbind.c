/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an rpcbind runs on this machine, NFS and MOUNT are entered there (RFC 1833, RPCBPROC_SET
 * of version 4), through its Unix socket: that is how it knows who we are, and only root may.
 * rpcbind shows the entry to clients of version 2 as well.
 *
 * Plain blocking calls with a timeout, at start and at the end only.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "nfs/server_int.h"

enum { RPCB_SET = 1, RPCB_UNSET = 2 };
#define RPCBIND_VERSION 4
#define TIMEOUT_S 2

static const uint32_t programs[] = { NFS_PROGRAM, MOUNT_PROGRAM };
static const char *const sockets[] = { "/run/rpcbind.sock", "/var/run/rpcbind.sock" };

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

static int exchange(int fd, const void *call, size_t len, uint8_t *reply, size_t want)
{
	size_t got = 0;

	if (send(fd, call, len, MSG_NOSIGNAL) != (ssize_t)len)
		return -EIO;
	while (got < want) {
		ssize_t n = recv(fd, reply + got, want - got, 0);

		if (n <= 0)
			return n < 0 && (errno == EAGAIN || errno == EINTR) ? -ETIMEDOUT : -EIO;
		got += n;
	}
	return 0;
}

/* One call; 0 when rpcbind said true, -EPERM when it said false. */
static int call(int fd, uint32_t xid, uint32_t proc, uint32_t prog, const char *netid,
		const char *uaddr)
{
	uint8_t buf[512], reply[4 + 24 + 4];
	struct xdr_out out;
	struct xdr_in in;
	uint32_t mark;
	int err;

	xdr_out_init(&out, buf, sizeof(buf));
	xdr_put_u32(&out, 0);
	xdr_put_u32(&out, xid);
	xdr_put_u32(&out, 0);
	xdr_put_u32(&out, RPC_VERSION);
	xdr_put_u32(&out, PORTMAP_PROGRAM);
	xdr_put_u32(&out, RPCBIND_VERSION);
	xdr_put_u32(&out, proc);
	xdr_put_u64(&out, 0);			/* AUTH_NONE, twice */
	xdr_put_u64(&out, 0);
	xdr_put_u32(&out, prog);
	xdr_put_u32(&out, 3);
	xdr_put_string(&out, netid);
	xdr_put_string(&out, uaddr);
	xdr_put_string(&out, "");
	mark = htobe32(0x80000000u | (uint32_t)(xdr_out_len(&out) - 4));
	memcpy(buf, &mark, 4);
	err = exchange(fd, buf, xdr_out_len(&out), reply, sizeof(reply));
	if (err)
		return err;
	xdr_in_init(&in, reply, sizeof(reply));
	xdr_get_u32(&in);
	if (xdr_get_u32(&in) != xid || xdr_get_u32(&in) != 1 || xdr_get_u32(&in) != 0)
		return -EIO;
	xdr_get_u64(&in);
	return xdr_get_u32(&in) == RPC_SUCCESS && xdr_get_u32(&in) == 1 ? 0 : -EPERM;
}

int rpcbind_register(uint16_t port, bool any_addr, char *why, size_t why_len)
{
	CLEANUP_FD int fd = connect_rpcbind();
	char uaddr[64];
	int err = fd < 0 ? fd : 0;

	snprintf(uaddr, sizeof(uaddr), "%s.%u.%u", any_addr ? "0.0.0.0" : "127.0.0.1", port >> 8,
		 port & 255);
	for (unsigned i = 0; !err && i < 2; i++) {
		call(fd, 2 * i, RPCB_UNSET, programs[i], "tcp", "");	/* a killed server's */
		err = call(fd, 2 * i + 1, RPCB_SET, programs[i], "tcp", uaddr);
	}
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

	for (unsigned i = 0; fd >= 0 && i < 2; i++)
		call(fd, i, RPCB_UNSET, programs[i], "tcp", "");
}
