/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The raw engine: NFSv3 and NFSv4.1 calls straight onto sockets.
 *
 * On each connection every answer that has arrived is taken first, each makes a new request,
 * and all of these leave in one sendmsg.  The data of a write are sent from the one pattern in
 * memory, the data of a read are looked at (the first stamp) and dropped, so that what this
 * process costs is mostly the kernel's TCP.
 *
 *   slot: free -> queued (in sendq) -> in flight -> answered -> free
 */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define HDR_MAX 384
#define HEAD_MAX 1024			/* of a reply, as much as is ever looked at */
#define RBUF (256u << 10)
#define IOV_BATCH 128

struct slot {
	uint64_t t0, off;
	uint32_t xid, hdr_len;
	uint32_t seq;			/* by v4: its last request's */
	bool busy;
	uint8_t hdr[HDR_MAX];
};

struct conn {
	int fd;
	bool want_out;
	uint32_t gen;
	unsigned nidle;			/* slots that had nothing more to do */
	struct slot *slots;
	uint16_t *sendq;		/* ring of depth entries */
	unsigned q_head, q_len;
	size_t q_sent;			/* bytes of the head that have left */
	uint8_t *rbuf;
	size_t rlen;
	uint64_t skip;			/* of the current fragment */
	bool inside, last;		/* a reply has begun; this is its last fragment */
	unsigned slot;			/* whose reply it is, and what its head said */
	int status;
	const char *what;
	struct load_v4 v4;
};

struct raw {
	struct load_run *run;
	int ep;
	struct conn *conns;
	bool writes;
};

static void issue(struct raw *e, struct conn *c, unsigned i, uint64_t now)
{
	struct slot *s = &c->slots[i];
	const struct load_cfg *cfg = e->run->cfg;

	if (!run_next(e->run, &s->off)) {
		c->nidle++;
		return;
	}
	struct xdr x = { .p = s->hdr, .max = sizeof(s->hdr) };

	s->xid = ++c->gen << 10 | i;
	put_call(&x, s->xid, PROG_NFS, cfg->v4 ? 4 : 3, cfg->v4 ? 1 : op_proc(cfg->op), cfg->uid,
		 cfg->gid);
	if (cfg->v4)
		v4_put(&x, cfg, &c->v4, i, ++s->seq, s->off);
	else
		put_args(&x, e->run, s->off);
	put_end(&x, e->writes ? cfg->bs : 0);
	s->hdr_len = (uint32_t)x.len;
	s->t0 = now;
	s->busy = true;
	c->sendq[(c->q_head + c->q_len++) % cfg->depth] = (uint16_t)i;
}

static size_t slot_iov(const struct raw *e, const struct slot *s, size_t sent, struct iovec *iov,
		       int *n)
{
	size_t bs = e->writes ? e->run->cfg->bs : 0, left = s->hdr_len + bs - sent;

	if (sent < s->hdr_len) {
		iov[(*n)++] = (struct iovec){ (void *)(s->hdr + sent), s->hdr_len - sent };
		sent = s->hdr_len;
	}
	if (bs) {
		size_t done = sent - s->hdr_len;

		iov[(*n)++] = (struct iovec){ e->run->pattern + s->off % LOAD_PERIOD + done,
					      bs - done };
	}
	return left;
}

static void q_advance(const struct raw *e, struct conn *c, size_t bytes)
{
	const struct load_cfg *cfg = e->run->cfg;

	bytes += c->q_sent;
	while (c->q_len) {
		size_t len = c->slots[c->sendq[c->q_head]].hdr_len + (e->writes ? cfg->bs : 0);

		if (bytes < len)
			break;
		bytes -= len;
		c->q_head = (c->q_head + 1) % cfg->depth;
		c->q_len--;
	}
	c->q_sent = bytes;
}

static int set_events(struct raw *e, struct conn *c, bool out)
{
	struct epoll_event ev = { .events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c };

	if (out == c->want_out)
		return 0;
	c->want_out = out;
	return epoll_ctl(e->ep, EPOLL_CTL_MOD, c->fd, &ev);
}

static int flush_sends(struct raw *e, struct conn *c)
{
	const struct load_cfg *cfg = e->run->cfg;

	while (c->q_len) {
		struct iovec iov[IOV_BATCH];
		struct msghdr msg = { .msg_iov = iov };
		size_t sent = c->q_sent, total = 0;
		int n = 0;

		for (unsigned i = 0; i < c->q_len && n <= IOV_BATCH - 2; i++, sent = 0)
			total += slot_iov(e, &c->slots[c->sendq[(c->q_head + i) % cfg->depth]],
					  sent, iov, &n);
		msg.msg_iovlen = (size_t)n;
		ssize_t r = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (r < 0 && errno != EAGAIN)
			return -errno;
		if (r > 0)
			q_advance(e, c, (size_t)r);
		if (r < 0 || (size_t)r < total)
			return set_events(e, c, true);
	}
	return set_events(e, c, false);
}

static int check_data(const struct raw *e, const struct slot *s, const struct xdr *x,
		      const char **what)
{
	*what = "wrong data read";
	return x->len + 8 > x->max || run_wrong(e->run, s->off, x->p + x->len) ? -1 : 0;
}

static int check_read(const struct raw *e, const struct slot *s, struct xdr *x, const char **what)
{
	if (get_u32(x))
		x->len += 84;			/* attributes */
	uint32_t count = get_u32(x);

	x->len += 8;
	if (x->len + 8 > x->max || count != e->run->cfg->bs) {
		*what = "short read";
		return -1;
	}
	return check_data(e, s, x, what);
}

static int check_v4(const struct raw *e, const struct slot *s, struct xdr *x, const char **what)
{
	int status = v4_check(x, e->run->cfg, what);

	return status || e->run->cfg->op == OP_GETATTR ? status : check_data(e, s, x, what);
}

static int check_write(const struct raw *e, struct xdr *x, const char **what)
{
	if (get_u32(x))
		x->len += 24;			/* attributes before */
	if (get_u32(x))
		x->len += 84;			/* and after */
	if (get_u32(x) != e->run->cfg->bs || x->bad) {
		*what = "short write";
		return -1;
	}
	*what = "write less stable than was asked for";
	return e->run->cfg->op == OP_WRITE_SYNC && get_u32(x) != 2 ? -1 : 0;
}

/* Looks at the head of a reply, of which x->max bytes are there. */
static int check_reply(struct raw *e, struct conn *c, struct xdr *x)
{
	const struct load_cfg *cfg = e->run->cfg;
	uint32_t xid;
	int status = get_reply(x, &xid);
	unsigned i = xid & (LOAD_DEPTH_MAX - 1);

	if (i >= cfg->depth || !c->slots[i].busy || c->slots[i].xid != xid)
		return -EPROTO;
	c->what = "RPC refused";
	if (!status && cfg->v4) {
		status = check_v4(e, &c->slots[i], x, &c->what);
	} else if (!status && cfg->op != OP_NULL) {
		status = (int)get_u32(x);
		c->what = "NFS status";
	}
	if (!status && cfg->op == OP_READ && !cfg->v4)
		status = check_read(e, &c->slots[i], x, &c->what);
	if (!status && e->writes)
		status = check_write(e, x, &c->what);
	c->slot = i;
	c->status = status;
	return 0;
}

/* A reply is answered when its last byte is here, though only its head is looked at. */
static void finish_reply(struct raw *e, struct conn *c, uint64_t now)
{
	c->slots[c->slot].busy = false;
	run_done(e->run, c->slots[c->slot].t0, now, c->status, c->what);
	issue(e, c, c->slot, now);
}

/* Takes one fragment's mark and head at P.  0: more bytes are needed. */
static int begin_fragment(struct raw *e, struct conn *c, uint8_t *p, size_t have)
{
	uint32_t mark;

	if (have < 4)
		return 0;
	memcpy(&mark, p, 4);
	mark = ntohl(mark);
	uint32_t len = mark & 0x7fffffffu;

	if (len > LOAD_BS_MAX + 65536)
		return -EPROTO;
	if (!c->inside) {
		struct xdr x = { .p = p + 4, .max = have - 4 < len ? have - 4 : len };

		if (x.max < len && x.max < HEAD_MAX)
			return 0;
		int err = check_reply(e, c, &x);

		if (err)
			return err;
	}
	c->inside = true;
	c->last = mark & 0x80000000u;
	c->skip = len;
	return 4;
}

static int parse(struct raw *e, struct conn *c, uint64_t now)
{
	size_t pos = 0;
	int n = 0;

	for (;;) {
		size_t take = c->rlen - pos < c->skip ? c->rlen - pos : c->skip;

		c->skip -= take;
		pos += take;
		if (c->skip)
			break;
		if (c->inside && c->last) {
			c->inside = false;
			finish_reply(e, c, now);
		}
		n = begin_fragment(e, c, c->rbuf + pos, c->rlen - pos);
		if (n <= 0)
			break;
		pos += (size_t)n;
	}
	memmove(c->rbuf, c->rbuf + pos, c->rlen - pos);
	c->rlen -= pos;
	return n < 0 ? n : 0;
}

static int on_readable(struct raw *e, struct conn *c)
{
	ssize_t n = recv(c->fd, c->rbuf + c->rlen, RBUF - c->rlen, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	c->rlen += (size_t)n;
	int err = parse(e, c, now_ns());

	return err ? err : flush_sends(e, c);
}

static int conn_open(struct raw *e, struct conn *c)
{
	const struct load_cfg *cfg = e->run->cfg;
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };

	c->fd = tcp_connect(cfg->host, cfg->port);
	if (c->fd < 0)
		return -ECONNREFUSED;
	if (cfg->v4 && v4_open(c->fd, cfg, (unsigned)(c - e->conns), &c->v4))
		return -EPROTO;
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
	c->slots = calloc(cfg->depth, sizeof(*c->slots));
	c->sendq = calloc(cfg->depth, sizeof(*c->sendq));
	c->rbuf = malloc(RBUF);
	if (!c->slots || !c->sendq || !c->rbuf)
		return -ENOMEM;
	c->slots[0].seq = c->v4.first_seq ? c->v4.first_seq - 1 : 0;
	return epoll_ctl(e->ep, EPOLL_CTL_ADD, c->fd, &ev) < 0 ? -errno : 0;
}

static int raw_loop(struct raw *e)
{
	const struct load_cfg *cfg = e->run->cfg;
	struct epoll_event ev[64];
	int err = 0;

	for (unsigned i = 0; i < cfg->conns && !err; i++) {
		for (unsigned s = 0; s < cfg->depth; s++)
			issue(e, &e->conns[i], s, now_ns());
		err = flush_sends(e, &e->conns[i]);
	}
	while (!err && !run_over(e->run)) {
		int n = epoll_wait(e->ep, ev, 64, 100);

		for (int i = 0; i < n && !err; i++) {
			struct conn *c = ev[i].data.ptr;

			if (ev[i].events & EPOLLOUT)
				err = flush_sends(e, c);
			if (!err && (ev[i].events & ~(unsigned)EPOLLOUT))
				err = on_readable(e, c);
		}
		run_tick(e->run, now_ns());
	}
	return err;
}

int raw_run(struct load_run *r)
{
	const struct load_cfg *cfg = r->cfg;
	struct raw e = { .run = r, .ep = epoll_create1(EPOLL_CLOEXEC),
			 .conns = calloc(cfg->conns, sizeof(struct conn)) };
	int err = e.ep < 0 || !e.conns ? -ENOMEM : 0;
	unsigned opened = 0;

	e.writes = cfg->op == OP_WRITE || cfg->op == OP_WRITE_SYNC;
	while (!err && opened < cfg->conns)
		err = conn_open(&e, &e.conns[opened++]);
	if (!err)
		err = raw_loop(&e);
	for (unsigned i = 0; i < opened; i++) {
		if (e.conns[i].fd >= 0)
			close(e.conns[i].fd);
		free(e.conns[i].slots);
		free(e.conns[i].sendq);
		free(e.conns[i].rbuf);
	}
	free(e.conns);
	close(e.ep);
	return err;
}
