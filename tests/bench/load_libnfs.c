/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The libnfs engine: the same load through libnfs's asynchronous RPC calls, one context for
 * each connection, all polled by one epoll.
 *
 * libnfs encodes each call into memory of its own, sends each with a system call of its own
 * and allocates each reply.  Against a responder that does nothing (2 cores, queue 16) it
 * drives 165,000 reads of 4 KiB or 208,000 GETATTRs a second, busy for 60 % of the time; the
 * raw engine 560,000 and 530,000, because its requests, and so the replies, come in batches.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw.h>
#include <nfsc/libnfs-raw-nfs.h>

struct lconn;

struct lslot {
	struct lconn *conn;
	uint64_t t0, off;
};

struct lconn {
	struct rpc_context *rpc;
	struct load_run *run;
	bool connected, failed;
	int fd, events;
	struct lslot *slots;
};

static void issue(struct lslot *s);

static int check_reply(const struct lslot *s, void *data, const char **what)
{
	const struct load_cfg *cfg = s->conn->run->cfg;
	READ3res *rd = data;
	WRITE3res *wr = data;

	*what = "NFS status";
	switch (cfg->op) {
	case OP_NULL:
		return 0;
	case OP_GETATTR:
		return (int)((GETATTR3res *)data)->status;
	case OP_COMMIT:
		return (int)((COMMIT3res *)data)->status;
	case OP_READ:
		if (rd->status)
			return (int)rd->status;
		*what = "short or wrong data read";
		return rd->READ3res_u.resok.data.data_len != cfg->bs ||
		       run_wrong(s->conn->run, s->off, rd->READ3res_u.resok.data.data_val) ? -1 : 0;
	default:
		if (wr->status)
			return (int)wr->status;
		*what = "short write, or less stable than was asked for";
		return wr->WRITE3res_u.resok.count != cfg->bs ||
		       (cfg->op == OP_WRITE_SYNC &&
			wr->WRITE3res_u.resok.committed != FILE_SYNC) ? -1 : 0;
	}
}

static void on_reply(struct rpc_context *rpc, int status, void *data, void *private_data)
{
	struct lslot *s = private_data;
	const char *what = "RPC failed";

	(void)rpc;
	if (status == RPC_STATUS_CANCEL)	/* the context is going away */
		return;
	if (status == RPC_STATUS_SUCCESS)
		status = check_reply(s, data, &what);
	run_done(s->conn->run, s->t0, now_ns(), status, what);
	issue(s);
}

static int call(struct lslot *s)
{
	struct load_run *r = s->conn->run;
	const struct load_cfg *cfg = r->cfg;
	struct rpc_context *rpc = s->conn->rpc;
	nfs_fh3 fh = { .data = { r->fh.len, (char *)r->fh.data } };
	GETATTR3args ga = { .object = fh };
	READ3args rd = { .file = fh, .offset = s->off, .count = cfg->bs };
	COMMIT3args cm = { .file = fh };
	WRITE3args wr = { .file = fh, .offset = s->off, .count = cfg->bs,
			  .stable = cfg->op == OP_WRITE ? UNSTABLE : FILE_SYNC,
			  .data = { cfg->bs, (char *)r->pattern + s->off % LOAD_PERIOD } };

	switch (cfg->op) {
	case OP_NULL:
		return rpc_nfs3_null_async(rpc, on_reply, s);
	case OP_GETATTR:
		return rpc_nfs3_getattr_async(rpc, on_reply, &ga, s);
	case OP_READ:
		return rpc_nfs3_read_async(rpc, on_reply, &rd, s);
	case OP_COMMIT:
		return rpc_nfs3_commit_async(rpc, on_reply, &cm, s);
	default:
		return rpc_nfs3_write_async(rpc, on_reply, &wr, s);
	}
}

static void issue(struct lslot *s)
{
	if (!run_next(s->conn->run, &s->off))
		return;
	s->t0 = now_ns();
	if (call(s))
		s->conn->failed = true;
}

static void on_connect(struct rpc_context *rpc, int status, void *data, void *private_data)
{
	struct lconn *c = private_data;

	(void)rpc;
	(void)data;
	if (status == RPC_STATUS_SUCCESS)
		c->connected = true;
	else
		c->failed = true;
}

/* Sends what is queued at once, and tells epoll when libnfs changed its mind or descriptor. */
static int update(int ep, struct lconn *c)
{
	int want = rpc_which_events(c->rpc), fd = rpc_get_fd(c->rpc);

	if (c->connected && (want & EPOLLOUT)) {
		if (rpc_service(c->rpc, EPOLLOUT) < 0)
			return -EIO;
		want = rpc_which_events(c->rpc);
	}
	if (fd == c->fd && want == c->events)
		return 0;
	struct epoll_event ev = { .events = (unsigned)want, .data.ptr = c };
	int how = fd == c->fd ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	c->fd = fd;
	c->events = want;
	return epoll_ctl(ep, how, fd, &ev) < 0 ? -errno : 0;
}

static int serve_once(int ep, struct load_run *r)
{
	struct epoll_event ev[64];
	int n = epoll_wait(ep, ev, 64, 100), err = 0;

	for (int i = 0; i < n && !err; i++) {
		struct lconn *c = ev[i].data.ptr;

		if (rpc_service(c->rpc, (int)ev[i].events) < 0 || c->failed) {
			snprintf(r->first_error, sizeof(r->first_error), "libnfs: %s",
				 rpc_get_error(c->rpc));
			return -EIO;
		}
		err = update(ep, c);
	}
	return err;
}

static int conn_open(int ep, struct lconn *c, struct load_run *r)
{
	const struct load_cfg *cfg = r->cfg;
	int err;

	c->run = r;
	c->fd = -1;
	c->rpc = rpc_init_context();
	c->slots = calloc(cfg->depth, sizeof(*c->slots));
	if (!c->rpc || !c->slots)
		return -ENOMEM;
	rpc_set_uid(c->rpc, (int)cfg->uid);
	rpc_set_gid(c->rpc, (int)cfg->gid);
	if (rpc_connect_port_async(c->rpc, cfg->host, (int)cfg->port, PROG_NFS, 3, on_connect, c))
		return -ECONNREFUSED;
	do {
		err = update(ep, c);
		if (!err)
			err = serve_once(ep, r);
	} while (!err && !c->connected);
	return err;
}

int libnfs_run(struct load_run *r)
{
	const struct load_cfg *cfg = r->cfg;
	struct lconn *conns = calloc(cfg->conns, sizeof(*conns));
	int ep = epoll_create1(EPOLL_CLOEXEC), err = !conns || ep < 0 ? -ENOMEM : 0;
	unsigned opened = 0;

	while (!err && opened < cfg->conns)
		err = conn_open(ep, &conns[opened++], r);
	for (unsigned i = 0; i < cfg->conns && !err; i++) {
		for (unsigned s = 0; s < cfg->depth; s++) {
			conns[i].slots[s].conn = &conns[i];
			issue(&conns[i].slots[s]);
		}
		err = update(ep, &conns[i]);
	}
	while (!err && !run_over(r)) {
		err = serve_once(ep, r);
		run_tick(r, now_ns());
	}
	for (unsigned i = 0; i < opened; i++) {
		if (conns[i].rpc)
			rpc_destroy_context(conns[i].rpc);
		free(conns[i].slots);
	}
	free(conns);
	return err;
}
