/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XDR (RFC 4506), ONC RPC calls (RFC 5531) and the few NFSv3 and MOUNTv3 calls (RFC 1813)
 * that come before the load: mount, look up, create, and a COMMIT after it.
 *
 * A decoder that runs over its end sets `bad` and returns zeros; callers look at it once.
 */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NFSERR_NOENT 2

void put_u32(struct xdr *x, uint32_t v)
{
	if (x->bad || x->max - x->len < 4) {
		x->bad = true;
		return;
	}
	v = htonl(v);
	memcpy(x->p + x->len, &v, 4);
	x->len += 4;
}

void put_u64(struct xdr *x, uint64_t v)
{
	put_u32(x, (uint32_t)(v >> 32));
	put_u32(x, (uint32_t)v);
}

void put_opaque(struct xdr *x, const void *data, uint32_t len)
{
	uint32_t padded = (len + 3) & ~3u;

	put_u32(x, len);
	if (x->bad || x->max - x->len < padded) {
		x->bad = true;
		return;
	}
	memset(x->p + x->len, 0, padded);
	memcpy(x->p + x->len, data, len);
	x->len += padded;
}

uint32_t get_u32(struct xdr *x)
{
	uint32_t v;

	if (x->bad || x->max - x->len < 4) {
		x->bad = true;
		return 0;
	}
	memcpy(&v, x->p + x->len, 4);
	x->len += 4;
	return ntohl(v);
}

uint64_t get_u64(struct xdr *x)
{
	uint64_t high = get_u32(x);

	return high << 32 | get_u32(x);
}

const uint8_t *get_opaque(struct xdr *x, uint32_t *ret_len)
{
	uint32_t len = get_u32(x);
	const uint8_t *p = x->p + x->len;

	if (x->bad || len > x->max - x->len || ((len + 3) & ~3u) > x->max - x->len) {
		x->bad = true;
		*ret_len = 0;
		return NULL;
	}
	x->len += (len + 3) & ~3u;
	*ret_len = len;
	return p;
}

void put_call(struct xdr *x, uint32_t xid, uint32_t prog, uint32_t vers, uint32_t proc,
	      uint32_t uid, uint32_t gid)
{
	put_u32(x, 0);
	put_u32(x, xid);
	put_u32(x, 0);			/* call */
	put_u32(x, 2);
	put_u32(x, prog);
	put_u32(x, vers);
	put_u32(x, proc);
	put_u32(x, 1);			/* AUTH_SYS: stamp, machine, uid, gid, no more groups */
	put_u32(x, 28);
	put_u32(x, 0);
	put_opaque(x, "bench", 5);
	put_u32(x, uid);
	put_u32(x, gid);
	put_u32(x, 0);
	put_u32(x, 0);			/* verifier: none */
	put_u32(x, 0);
}

void put_end(struct xdr *x, uint32_t extra)
{
	uint32_t mark = htonl(0x80000000u | (uint32_t)(x->len - 4 + extra));

	memcpy(x->p, &mark, 4);
}

uint32_t op_proc(enum load_op op)
{
	static const uint32_t proc[OP_COUNT] = {
		[OP_NULL] = 0, [OP_GETATTR] = 1, [OP_READ] = 6,
		[OP_WRITE] = 7, [OP_WRITE_SYNC] = 7, [OP_COMMIT] = 21,
	};

	return proc[op];
}

void put_args(struct xdr *x, const struct load_run *r, uint64_t off)
{
	const struct load_cfg *c = r->cfg;

	if (c->op == OP_NULL)
		return;
	put_opaque(x, r->fh.data, r->fh.len);
	if (c->op == OP_GETATTR)
		return;
	put_u64(x, c->op == OP_COMMIT ? 0 : off);
	put_u32(x, c->op == OP_COMMIT ? 0 : c->bs);
	if (c->op == OP_WRITE || c->op == OP_WRITE_SYNC) {
		put_u32(x, c->op == OP_WRITE ? 0 : 2);
		put_u32(x, c->bs);
	}
}

int get_reply(struct xdr *x, uint32_t *ret_xid)
{
	uint32_t len;

	*ret_xid = get_u32(x);
	if (get_u32(x) != 1 || get_u32(x) != 0)	/* a reply, accepted */
		return -1;
	get_u32(x);
	get_opaque(x, &len);
	return get_u32(x) != 0 || x->bad ? -1 : 0;
}

int tcp_connect(const char *host, unsigned port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;
	char service[16];

	snprintf(service, sizeof(service), "%u", port);
	if (getaddrinfo(host, service, &hints, &list) != 0) {
		fprintf(stderr, "nfsload: %s: no such host\n", host);
		return -1;
	}
	int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || connect(fd, list->ai_addr, list->ai_addrlen) < 0) {
		fprintf(stderr, "nfsload: cannot connect to %s port %u: %s\n", host, port,
			strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = -1;
	} else {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
	freeaddrinfo(list);
	return fd;
}

static int recv_all(int fd, void *buf, size_t len)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = recv(fd, (char *)buf + got, len - got, 0);

		if (n <= 0)
			return -1;
		got += (size_t)n;
	}
	return 0;
}

int call_wait(int fd, struct xdr *call, struct xdr *reply)
{
	uint32_t mark = 0, xid;
	size_t have = 0;

	put_end(call, 0);
	if (call->bad || send(fd, call->p, call->len, MSG_NOSIGNAL) != (ssize_t)call->len)
		return -1;
	do {
		if (recv_all(fd, &mark, 4) < 0)
			return -1;
		mark = ntohl(mark);
		uint32_t len = mark & 0x7fffffffu;

		if (len > reply->max - have || recv_all(fd, reply->p + have, len) < 0)
			return -1;
		have += len;
	} while (!(mark & 0x80000000u));
	reply->max = have;
	reply->len = 0;
	return get_reply(reply, &xid);
}

void call_begin(struct call *c, const struct load_cfg *cfg, uint32_t prog, uint32_t vers,
		uint32_t proc)
{
	static uint32_t xid = 1;

	c->x = (struct xdr){ .p = c->out, .max = sizeof(c->out) };
	c->r = (struct xdr){ .p = c->in, .max = sizeof(c->in) };
	put_call(&c->x, xid++, prog, vers, proc, cfg->uid, cfg->gid);
}

static int take_fh(struct xdr *x, struct load_fh *fh)
{
	uint32_t len;
	const uint8_t *p = get_opaque(x, &len);

	if (!p || len > LOAD_FH_MAX)
		return -1;
	fh->len = len;
	memcpy(fh->data, p, len);
	return 0;
}

static int mount_root(const struct load_cfg *cfg, struct load_fh *ret_fh)
{
	struct call c;
	int fd = tcp_connect(cfg->host, cfg->mountport);

	if (fd < 0)
		return -1;
	call_begin(&c, cfg, PROG_MOUNT, 3, 1);
	put_opaque(&c.x, cfg->export, (uint32_t)strlen(cfg->export));
	int err = call_wait(fd, &c.x, &c.r);

	close(fd);
	if (err) {
		fprintf(stderr, "nfsload: the server did not answer MNT\n");
		return -1;
	}
	uint32_t status = get_u32(&c.r);

	if (status || take_fh(&c.r, ret_fh)) {
		fprintf(stderr, "nfsload: cannot mount %s: status %u\n", cfg->export, status);
		return -1;
	}
	return 0;
}

/* 0, an nfsstat3, or -1. */
static int lookup(int fd, const struct load_cfg *cfg, const struct load_fh *dir, const char *name,
		  struct load_fh *ret_fh)
{
	struct call c;

	call_begin(&c, cfg, PROG_NFS, 3, 3);
	put_opaque(&c.x, dir->data, dir->len);
	put_opaque(&c.x, name, (uint32_t)strlen(name));
	if (call_wait(fd, &c.x, &c.r))
		return -1;
	uint32_t status = get_u32(&c.r);

	return status ? (int)status : take_fh(&c.r, ret_fh);
}

static int create(int fd, const struct load_cfg *cfg, const struct load_fh *dir, const char *name,
		  struct load_fh *ret_fh)
{
	struct call c;

	call_begin(&c, cfg, PROG_NFS, 3, 8);
	put_opaque(&c.x, dir->data, dir->len);
	put_opaque(&c.x, name, (uint32_t)strlen(name));
	put_u32(&c.x, 0);		/* unchecked */
	put_u32(&c.x, 1);		/* mode */
	put_u32(&c.x, 0644);
	for (int i = 0; i < 5; i++)	/* uid, gid, size and times stay as they are */
		put_u32(&c.x, 0);
	if (call_wait(fd, &c.x, &c.r))
		return -1;
	uint32_t status = get_u32(&c.r);

	if (status)
		return (int)status;
	return get_u32(&c.r) ? take_fh(&c.r, ret_fh) : lookup(fd, cfg, dir, name, ret_fh);
}

int setup_file(struct load_run *r)
{
	const struct load_cfg *cfg = r->cfg;
	char path[1024], *save = NULL;
	struct load_fh fh;

	if (cfg->op == OP_NULL || cfg->v4)	/* by v4 each connection looks it up */
		return 0;
	if (mount_root(cfg, &fh))
		return -1;
	int fd = tcp_connect(cfg->host, cfg->port), status = 0;

	if (fd < 0)
		return -1;
	snprintf(path, sizeof(path), "%s", cfg->file ? cfg->file : "");
	for (char *name = strtok_r(path, "/", &save); name && !status;) {
		char *more = strtok_r(NULL, "/", &save);
		struct load_fh child;

		status = lookup(fd, cfg, &fh, name, &child);
		if (status == NFSERR_NOENT && !more && cfg->create)
			status = create(fd, cfg, &fh, name, &child);
		if (status)
			fprintf(stderr, "nfsload: %s in %s: status %d\n", name, cfg->export,
				status);
		else
			fh = child;
		name = more;
	}
	close(fd);
	r->fh = fh;
	return status ? -1 : 0;
}

int setup_commit(struct load_run *r)
{
	const struct load_cfg *cfg = r->cfg;
	struct call c;
	int fd = tcp_connect(cfg->host, cfg->port);

	if (fd < 0)
		return -1;
	call_begin(&c, cfg, PROG_NFS, 3, 21);
	put_opaque(&c.x, r->fh.data, r->fh.len);
	put_u64(&c.x, 0);
	put_u32(&c.x, 0);
	int status = call_wait(fd, &c.x, &c.r);

	close(fd);
	return status ? -1 : (int)get_u32(&c.r);
}
