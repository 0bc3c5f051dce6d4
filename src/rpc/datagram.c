/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RPC by UDP: the server's side (server.h) and the caller's (client.h).
 *
 * A socket is polled; what has come is read at once, and each call runs in a fiber of its own.  A
 * reply leaves from the address that the call came to, or its sender wouldn't know it.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/rng.h"
#include "rpc/server_int.h"

#define MS 1000000ull
#define FIRST_RETRY_MS 1000		/* doubled each time */
#define AT_ONCE 64			/* datagrams read before others get their turn */

struct udp_socket {
	struct list entry;		/* server's udp_sockets */
	struct rpc_server *server;
	const struct rpc_service *service;
	uint16_t port;
	int fd;
	struct loop_io io;
	bool polling, closing;
};

struct udp_task {
	struct udp_socket *socket;
	struct sockaddr_in6 from;	/* of either kind */
	size_t len;
	struct rpc_call call;
	uint8_t data[RPC_DATAGRAM_MAX + 1];	/* one more, to see what is too long */
};

union control {
	struct cmsghdr align;
	uint8_t data[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

/* ---- addresses ----------------------------------------------------------------------- */

static struct rpc_addr to_addr(const struct sockaddr_in6 *sa)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
	struct rpc_addr a = { .ip = { [10] = 0xff, [11] = 0xff } };

	if (sa->sin6_family == AF_INET)
		memcpy(a.ip + 12, &in->sin_addr, 4);
	else
		memcpy(a.ip, &sa->sin6_addr, 16);
	a.port = ntohs(sa->sin6_port);		/* at the same place in both kinds */
	return a;
}

/* Where it came to; all zero if the kernel doesn't say. */
static struct rpc_addr local_addr(struct msghdr *m)
{
	struct rpc_addr a = { .ip = { [10] = 0xff, [11] = 0xff } };

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			const struct in_pktinfo *i = (const void *)CMSG_DATA(c);

			memcpy(a.ip + 12, &i->ipi_addr, 4);
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			const struct in6_pktinfo *i = (const void *)CMSG_DATA(c);

			memcpy(a.ip, &i->ipi6_addr, 16);
		}
	}
	return a;
}

static void put_control(struct msghdr *m, const struct rpc_addr *from)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);

	memset(m->msg_control, 0, m->msg_controllen);
	if (rpc_addr_is_v4(from)) {
		struct in_pktinfo *i = (void *)CMSG_DATA(c);

		c->cmsg_level = IPPROTO_IP;
		c->cmsg_type = IP_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(*i));
		memcpy(&i->ipi_spec_dst, from->ip + 12, 4);
		m->msg_controllen = CMSG_SPACE(sizeof(*i));
	} else {
		struct in6_pktinfo *i = (void *)CMSG_DATA(c);

		c->cmsg_level = IPPROTO_IPV6;
		c->cmsg_type = IPV6_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(*i));
		memcpy(&i->ipi6_addr, from->ip, 16);
		m->msg_controllen = CMSG_SPACE(sizeof(*i));
	}
}

/* ---- calls that come ----------------------------------------------------------------- */

static void reply(struct udp_task *t)
{
	struct rpc_call *c = &t->call;
	union control control;
	struct msghdr m = {
		.msg_name = &t->from,
		.msg_namelen = rpc_addr_is_v4(&c->peer) ? sizeof(struct sockaddr_in) :
							  sizeof(t->from),
		.msg_iov = c->out.iov, .msg_iovlen = c->out.niov,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};

	if (c->lost || xdr_out_len(&c->out) - RPC_MARK_BYTES > RPC_DATAGRAM_MAX)
		return;
	put_control(&m, &c->local);
	m.msg_iov[0].iov_base = (uint8_t *)m.msg_iov[0].iov_base + RPC_MARK_BYTES;
	m.msg_iov[0].iov_len -= RPC_MARK_BYTES;
	/* what doesn't go now is asked for again */
	(void)!sendmsg(t->socket->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void run_task(void *arg)
{
	struct udp_task *t = arg;
	struct rpc_server *s = t->socket->server;

	if (!rpc_call_parse(&t->call, t->socket->service, t->data, t->len)) {
		rpc_call_run(&t->call);
		reply(t);
		rpc_call_done(&t->call);
	}
	free(t);
	s->nudp_tasks--;
	server_changed(s);
}

/* False: there is nothing (more) to be read. */
static bool take_datagram(struct udp_socket *u, struct udp_task *t)
{
	struct iovec iov = { t->data, sizeof(t->data) };
	union control control;
	struct msghdr m = {
		.msg_name = &t->from, .msg_namelen = sizeof(t->from),
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(u->fd, &m, MSG_DONTWAIT);

	t->len = n > 0 ? n : 0;
	if (n < 0)
		return errno == ECONNREFUSED;	/* an error of what was sent before */
	t->call.peer = to_addr(&t->from);
	t->call.local = local_addr(&m);
	t->call.local.port = u->port;
	t->call.conn = NULL;
	t->call.via = NULL;
	t->call.datagram = true;
	return true;
}

static void receive(struct udp_socket *u)
{
	struct udp_task *t = NULL;

	for (int i = 0; i < AT_ONCE; i++) {
		if (!t)
			t = malloc(sizeof(*t));
		if (!t || !take_datagram(u, t))
			break;
		t->socket = u;
		if (!t->len || t->len > RPC_DATAGRAM_MAX || is_answer(t->data, t->len) ||
		    u->server->nudp_tasks >= RPC_DATAGRAMS_MAX ||
		    fiber_spawn(run_task, t, "datagram"))
			continue;
		u->server->nudp_tasks++;
		t = NULL;
	}
	free(t);
}

static void poll_done(struct loop_io *io)
{
	struct udp_socket *u = container_of(io, struct udp_socket, io);

	u->polling = false;
	if (u->closing) {
		server_changed(u->server);
		return;
	}
	receive(u);
	u->polling = true;
	loop_poll(&u->io, u->fd, POLLIN);
}

int rpc_server_listen_udp(struct rpc_server *s, const struct rpc_addr *addr,
			  const struct rpc_service *service)
{
	struct udp_socket *u = calloc(1, sizeof(*u));
	bool v4 = rpc_addr_is_v4(addr);
	int one = 1, err = u ? server_socket(SOCK_DGRAM, addr, &u->fd) : -ENOMEM;

	if (err) {
		free(u);
		return err;
	}
	rpc_service_check(service);
	setsockopt(u->fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_PKTINFO : IPV6_RECVPKTINFO, &one,
		   sizeof(one));
	u->server = s;
	u->service = service;
	u->port = addr->port;
	u->io.done = poll_done;
	list_add_tail(&s->udp_sockets, &u->entry);
	u->polling = true;
	loop_poll(&u->io, u->fd, POLLIN);
	return 0;
}

/* ---- calls that go out --------------------------------------------------------------- */

struct udp_call {
	struct list entry;		/* server's udp_calls */
	struct rpc_server *server;
	struct loop_io *io;		/* while it waits */
	struct timer timer;
	uint32_t xid;
	int fd;
};

static void call_late(struct timer *t)
{
	loop_io_cancel(container_of(t, struct udp_call, timer)->io);
}

/* Waits for something to read; false: not until UNTIL. */
static bool readable(struct udp_call *k, uint64_t until)
{
	uint64_t now = loop_now_ns();
	struct loop_io io = { 0 };
	int64_t r;

	if (now >= until || k->server->draining)
		return false;
	k->io = &io;
	timer_set(&k->timer, until - now);
	loop_poll(&io, k->fd, POLLIN);
	r = loop_io_wait(&io);
	timer_cancel(&k->timer);
	k->io = NULL;
	return r > 0;
}

/* -EAGAIN: that was not the answer, or nothing at all. */
static int take_reply(struct udp_call *k, void *buf, size_t cap, size_t *ret_len)
{
	uint8_t data[RPC_DATAGRAM_MAX];
	ssize_t n = recv(k->fd, data, sizeof(data), MSG_DONTWAIT);
	struct xdr_in x;
	int err;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : -errno;
	xdr_in_init(&x, data, n);
	if (!is_answer(data, n) || xdr_get_u32(&x) != k->xid)
		return -EAGAIN;
	xdr_get_u32(&x);
	err = take_answer(&x);
	if (!err && xdr_left(&x) > cap)
		err = -EBADMSG;
	if (err)
		return err;
	*ret_len = xdr_left(&x);
	memcpy(buf, x.p, *ret_len);
	return 0;
}

static int ask(struct udp_call *k, const struct rpc_request *q, void *buf, size_t cap,
	       size_t *ret_len)
{
	uint64_t until = loop_now_ns() + q->timeout_ms * MS, wait = FIRST_RETRY_MS * MS;
	uint8_t data[REQUEST_HEAD_BYTES + RPC_DATAGRAM_MAX];
	struct xdr_out out;
	int err = -EAGAIN;

	xdr_out_init(&out, data, sizeof(data));
	put_request(&out, k->xid, q);
	while (err == -EAGAIN && loop_now_ns() < until) {
		uint64_t again = loop_now_ns() + wait;

		if (send(k->fd, data, xdr_out_len(&out), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
		    errno != EAGAIN)
			return -errno;
		wait *= 2;
		while (err == -EAGAIN && readable(k, again < until ? again : until))
			err = take_reply(k, buf, cap, ret_len);
		if (k->server->draining)
			return -ESHUTDOWN;
	}
	return err == -EAGAIN ? -ETIMEDOUT : err;
}

static int connect_udp(const struct rpc_addr *to, const struct rpc_addr *from, int *ret_fd)
{
	struct sockaddr_in6 sa;
	socklen_t len = rpc_sockaddr(to, &sa);
	int fd = socket(sa.sin6_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	err = from ? bind_from(fd, from) : 0;
	if (!err && connect(fd, (struct sockaddr *)&sa, len))
		err = -errno;
	if (err)
		close(fd);
	else
		*ret_fd = fd;
	return err;
}

int rpc_udp_call(struct rpc_server *s, const struct rpc_addr *to, const struct rpc_addr *from,
		 const struct rpc_request *q, void *buf, size_t cap, size_t *ret_len)
{
	struct udp_call k = { .server = s };
	int err;

	assert(q->args_len <= RPC_PEER_ARGS_MAX && q->args_len % 4 == 0);
	if (s->draining)
		return -ESHUTDOWN;
	if (s->nudp_calls >= RPC_UDP_CALLS_MAX)
		return -EBUSY;
	err = connect_udp(to, from, &k.fd);
	if (err)
		return err;
	secure_random(&k.xid, sizeof(k.xid));
	timer_init(&k.timer, call_late);
	list_add_tail(&s->udp_calls, &k.entry);
	s->ncallers++;
	s->nudp_calls++;
	err = ask(&k, q, buf, cap, ret_len);
	s->nudp_calls--;
	s->ncallers--;
	list_del(&k.entry);
	close(k.fd);
	server_changed(s);
	return err;
}

/* ---- the end ------------------------------------------------------------------------- */

void datagrams_stop(struct rpc_server *s)
{
	struct list *e;

	list_each(e, &s->udp_calls) {
		struct udp_call *k = container_of(e, struct udp_call, entry);

		if (k->io)
			loop_io_cancel(k->io);
	}
	list_each(e, &s->udp_sockets) {
		struct udp_socket *u = container_of(e, struct udp_socket, entry);

		u->closing = true;
		if (u->polling)
			loop_io_cancel(&u->io);
	}
	while (s->nudp_tasks)
		waitq_wait(&s->changed);
	while ((e = list_pop(&s->udp_sockets))) {
		struct udp_socket *u = container_of(e, struct udp_socket, entry);

		while (u->polling)
			waitq_wait(&s->changed);
		close(u->fd);
		free(u);
	}
}
