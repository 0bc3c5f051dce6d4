/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls to clients; see client.h.
 *
 *   call      in the peer's list while its answer is waited for
 *             in the connection's queue until its bytes have left, or the connection ended
 *             freed when both are over: who gave up waiting can't take bytes back that are
 *             being sent
 *
 *   peer      from a call:  the connection holds a reference until it closes; then it is dead
 *             dialed:       its owners' references only; the last one ends the connection
 *             its memory stays until its last call is freed
 */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/rng.h"
#include "rpc/server_int.h"

#define MS 1000000ull
#define HEAD_BYTES (RPC_MARK_BYTES + REQUEST_HEAD_BYTES)

struct rpc_peer {
	struct list entry;		/* server's peers */
	struct rpc_server *server;	/* NULL: it is gone, or there never was one */
	unsigned refs;
	struct rpc_conn *conn;		/* NULL: none, or none any more */
	struct list calls;
	unsigned ncalls;		/* that exist, waited for or not */
	/* dialed */
	bool dialed, has_local;
	struct rpc_addr addr, local;
	struct loop_io *dialing;
	struct waitq dialed_now;
	/* local */
	rpc_peer_fn *fn;
	void *arg;
};

struct peer_call {
	struct outgoing out;
	struct list entry;		/* peer's calls */
	struct rpc_peer *peer;
	struct rpc_server *server;
	unsigned refs;			/* the queue's and the waiter's */
	uint32_t xid;
	struct fiber *fiber;
	struct timer timer;
	bool done;
	int result;
	void *buf;			/* the waiter's, for the results */
	size_t cap, len;
	struct iovec iov;
	uint8_t data[];
};

/* ---- peers --------------------------------------------------------------------------- */

static struct rpc_peer *peer_new(struct rpc_server *s)
{
	struct rpc_peer *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->refs = 1;
	p->server = s;
	list_init(&p->entry);
	list_init(&p->calls);
	waitq_init(&p->dialed_now);
	if (s)
		list_add_tail(&s->peers, &p->entry);
	return p;
}

/* A call of it exists no more. */
static void peer_less(struct rpc_peer *p)
{
	if (!--p->ncalls && !p->refs)
		free(p);
}

struct rpc_peer *rpc_peer_get(struct rpc_peer *p)
{
	p->refs++;
	return p;
}

void rpc_peer_put(struct rpc_peer *p)
{
	if (!p || --p->refs)
		return;
	assert(list_empty(&p->calls) && !p->dialing);
	p->ncalls++;				/* it stays until the end of this */
	if (p->conn) {
		p->conn->back = NULL;
		conn_close(p->conn);
	}
	list_del(&p->entry);
	peer_less(p);
}

struct rpc_peer *rpc_call_peer(struct rpc_call *c)
{
	struct rpc_conn *conn = c->conn;
	struct rpc_peer *p;

	if (c->via)
		return rpc_peer_get(c->via);
	if (!conn || conn->closing)
		return NULL;
	if (conn->back)
		return rpc_peer_get(conn->back);
	p = peer_new(conn->server);
	if (!p)
		return NULL;
	p->conn = conn;
	conn->back = p;
	return rpc_peer_get(p);
}

int rpc_peer_dial(struct rpc_server *s, const struct rpc_addr *addr, struct rpc_peer **ret_peer)
{
	struct rpc_peer *p = peer_new(s);

	if (!p)
		return -ENOMEM;
	p->dialed = true;
	p->addr = *addr;
	*ret_peer = p;
	return 0;
}

void rpc_peer_from(struct rpc_peer *p, const struct rpc_addr *local)
{
	p->has_local = true;
	p->local = *local;
}

struct rpc_peer *rpc_peer_local(rpc_peer_fn *fn, void *arg)
{
	struct rpc_peer *p = peer_new(NULL);

	if (!p)
		return NULL;
	p->fn = fn;
	p->arg = arg;
	return p;
}

void rpc_peer_cut(struct rpc_peer *p)
{
	p->fn = NULL;
}

bool rpc_peer_alive(const struct rpc_peer *p)
{
	return p->fn || p->conn || (p->dialed && p->server);
}

/* ---- calls --------------------------------------------------------------------------- */

static void call_put(struct peer_call *k)
{
	if (--k->refs)
		return;
	peer_less(k->peer);
	k->server->ncalls--;
	server_changed(k->server);
	free(k);
}

static void call_gone(struct outgoing *o)
{
	call_put(container_of(o, struct peer_call, out));
}

static void call_finish(struct peer_call *k, int result)
{
	if (k->done)
		return;
	list_del(&k->entry);
	k->result = result;
	k->done = true;
	fiber_wake(k->fiber);
}

static void call_late(struct timer *t)
{
	call_finish(container_of(t, struct peer_call, timer), -ETIMEDOUT);
}

static void fail_calls(struct rpc_peer *p, int err)
{
	while (!list_empty(&p->calls))
		call_finish(container_of(p->calls.next, struct peer_call, entry), err);
}

void peer_lost(struct rpc_peer *p)
{
	p->conn->back = NULL;
	p->conn = NULL;
	fail_calls(p, -ECONNRESET);
	if (!p->dialed)
		rpc_peer_put(p);
}

static void put_call(struct peer_call *k, const struct rpc_request *q)
{
	struct xdr_out out;
	uint32_t mark;

	xdr_out_init(&out, k->data, HEAD_BYTES + q->args_len);
	xdr_room(&out, RPC_MARK_BYTES);
	put_request(&out, k->xid, q);
	assert(!out.full);
	mark = htobe32(0x80000000u | (uint32_t)(xdr_out_len(&out) - RPC_MARK_BYTES));
	memcpy(k->data, &mark, sizeof(mark));
	k->iov = (struct iovec){ k->data, xdr_out_len(&out) };
	k->out = (struct outgoing){ .iov = &k->iov, .niov = 1, .gone = call_gone };
	list_init(&k->out.entry);
}

static struct peer_call *call_new(struct rpc_peer *p, const struct rpc_request *q)
{
	struct peer_call *k = calloc(1, sizeof(*k) + HEAD_BYTES + q->args_len);
	struct rpc_server *s = p->server;

	if (!k)
		return NULL;
	k->peer = p;
	k->server = s;
	k->refs = 2;
	k->fiber = fiber_self();
	if (!s->next_xid)
		secure_random(&s->next_xid, sizeof(s->next_xid));
	k->xid = s->next_xid++;
	timer_init(&k->timer, call_late);
	put_call(k, q);
	list_add_tail(&p->calls, &k->entry);
	p->ncalls++;
	s->ncalls++;
	return k;
}

/* ---- answers ------------------------------------------------------------------------- */

bool peer_waits(const struct rpc_peer *p)
{
	return !list_empty(&p->calls);
}

void peer_answered(struct rpc_peer *p, const void *record, size_t len)
{
	struct xdr_in x;
	struct list *e;
	uint32_t xid;
	int err;

	xdr_in_init(&x, record, len);
	xid = xdr_get_u32(&x);
	xdr_get_u32(&x);			/* it is an answer */
	list_each(e, &p->calls) {
		struct peer_call *k = container_of(e, struct peer_call, entry);

		if (k->xid != xid)
			continue;
		err = take_answer(&x);
		if (!err && xdr_left(&x) > k->cap)
			err = -EBADMSG;
		if (!err) {
			k->len = xdr_left(&x);
			memcpy(k->buf, x.p, k->len);
		}
		call_finish(k, err);
		return;
	}
}

/* ---- connecting ---------------------------------------------------------------------- */

struct dial_timer { struct timer timer; struct loop_io *io; };

static void dial_late(struct timer *t)
{
	loop_io_cancel(container_of(t, struct dial_timer, timer)->io);
}

static int connect_socket(struct rpc_peer *p, int fd, uint64_t timeout_ns)
{
	struct sockaddr_in6 sa;
	socklen_t len = rpc_sockaddr(&p->addr, &sa);
	struct loop_io io = { 0 };
	struct dial_timer late = { .io = &io };
	int err = p->has_local ? bind_from(fd, &p->local) : 0;

	if (err)
		return err;
	timer_init(&late.timer, dial_late);
	timer_set(&late.timer, timeout_ns);
	loop_connect(&io, fd, (struct sockaddr *)&sa, len);
	p->dialing = &io;
	err = loop_io_wait(&io);
	p->dialing = NULL;
	timer_cancel(&late.timer);
	return err == -ECANCELED ? -ETIMEDOUT : err;
}

static int dial(struct rpc_peer *p, uint64_t timeout_ns)
{
	struct rpc_conn *c = NULL;
	int fd, err;

	fd = socket(rpc_addr_is_v4(&p->addr) ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = connect_socket(p, fd, timeout_ns);
	if (!err && p->server->draining)
		err = -ESHUTDOWN;
	if (!err)
		err = server_add_conn(p->server, NULL, fd, &c);
	if (err) {
		close(fd);
		return err;
	}
	c->back = p;
	p->conn = c;
	return 0;
}

static int connected(struct rpc_peer *p, uint64_t until)
{
	int err;

	while (!p->conn) {
		uint64_t now = loop_now_ns();

		if (!p->dialed)
			return -ECONNRESET;
		if (p->server->draining)
			return -ESHUTDOWN;
		if (now >= until)
			return -ETIMEDOUT;
		if (p->dialing) {
			waitq_wait_timeout(&p->dialed_now, until - now);
			continue;
		}
		err = dial(p, until - now);
		waitq_wake_all(&p->dialed_now);
		if (err)
			return err;
	}
	return 0;
}

/* ---- the whole ----------------------------------------------------------------------- */

static int wait_for_answer(struct peer_call *k, uint64_t until, void *buf, size_t cap,
			   size_t *ret_len)
{
	uint64_t now = loop_now_ns();
	int err;

	k->buf = buf;
	k->cap = cap;
	timer_set(&k->timer, until > now ? until - now : 0);
	conn_send(k->peer->conn, &k->out);
	while (!k->done)
		fiber_park();
	timer_cancel(&k->timer);
	err = k->result;
	if (!err)
		*ret_len = k->len;
	call_put(k);
	return err;
}

static int call(struct rpc_peer *p, const struct rpc_request *q, void *buf, size_t cap,
		size_t *ret_len)
{
	uint64_t until = loop_now_ns() + q->timeout_ms * MS;
	struct peer_call *k;
	int err;

	err = connected(p, until);
	if (err)
		return err;
	if (p->ncalls >= RPC_PEER_CALLS_MAX || (p->ncalls && p->server->ncalls >= RPC_CALLS_MAX))
		return -EBUSY;
	k = call_new(p, q);
	return k ? wait_for_answer(k, until, buf, cap, ret_len) : -ENOMEM;
}

int rpc_peer_call(struct rpc_peer *p, const struct rpc_request *q, void *buf, size_t cap,
		  size_t *ret_len)
{
	struct rpc_server *s = p->server;
	int err;

	assert(q->args_len <= RPC_PEER_ARGS_MAX && q->args_len % 4 == 0);
	if (!s)
		return p->fn ? p->fn(p->arg, q, buf, cap, ret_len) : -ECONNRESET;
	if (s->draining)
		return -ESHUTDOWN;
	s->ncallers++;
	err = call(p, q, buf, cap, ret_len);
	s->ncallers--;
	server_changed(s);
	return err;
}

void peers_stop(struct rpc_server *s)
{
	struct list *e;

	list_each(e, &s->peers) {
		struct rpc_peer *p = container_of(e, struct rpc_peer, entry);

		fail_calls(p, -ESHUTDOWN);
		if (p->dialing)
			loop_io_cancel(p->dialing);
	}
	while (s->ncallers)
		waitq_wait(&s->changed);
}

void peers_forget(struct rpc_server *s)
{
	struct list *e;

	while ((e = list_pop(&s->peers)))
		container_of(e, struct rpc_peer, entry)->server = NULL;
}
