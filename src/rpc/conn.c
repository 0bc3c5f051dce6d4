/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One TCP connection: receive, cut into records, hand out requests, send replies.
 *
 * The receive buffer, with a record of which two fragments have come and a third has begun:
 *
 *   data  ...| record so far | dead |mark| fragment ...            |
 *            ^ rec_off       ^ +rec_len  ^ scan        ^ wr  ^ need  ^ cap
 *
 * Invariants:
 *   1. rec_off + rec_len <= scan <= wr <= cap, and fragments are joined in place.
 *   2. While a receive is armed, buf and wr don't change.
 *   3. Nothing is received while a complete record waits (have_record): that is what makes a
 *      client wait who asks faster than he is served, or who doesn't take his replies.
 *   4. A request counts in in_flight from dispatch until its reply has left, or the
 *      connection is closing.
 *   5. All work that touches the socket is started in turn(), at the end of the loop's turn.
 *      A connection is freed there and nowhere else.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "rpc/server_int.h"

#define ROOM_MIN 2048u			/* less room than this is not worth a receive */
#define LARGE_RECORD (64u << 10)	/* is received to its end and not beyond, so that the next
					 * one begins in a fresh buffer and needn't be moved */
#define LEAN_RECEIVES 64
#define TASK_COST 4096u			/* of a request's own memory */

static void turn(struct deferred *d);
static void release_call(struct rpc_task *t);
static void recv_done(struct loop_io *io);
static void send_done(struct loop_io *io);

/* ---- life ---------------------------------------------------------------------------- */

static void addr_from(struct rpc_addr *a, const struct sockaddr_storage *ss)
{
	const struct sockaddr_in *in = (const void *)ss;
	const struct sockaddr_in6 *in6 = (const void *)ss;

	*a = (struct rpc_addr){ 0 };
	if (ss->ss_family == AF_INET) {
		a->ip[10] = a->ip[11] = 0xff;
		memcpy(a->ip + 12, &in->sin_addr, 4);
		a->port = ntohs(in->sin_port);
	} else if (ss->ss_family == AF_INET6) {
		memcpy(a->ip, &in6->sin6_addr, 16);
		a->port = ntohs(in6->sin6_port);
	}
}

static int find_addrs(struct rpc_conn *c)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);

	if (getpeername(c->fd, (struct sockaddr *)&ss, &len))
		return -errno;
	addr_from(&c->peer, &ss);
	len = sizeof(ss);
	if (getsockname(c->fd, (struct sockaddr *)&ss, &len))
		return -errno;
	addr_from(&c->local, &ss);
	return 0;
}

int conn_new(struct rpc_server *s, const struct rpc_service *service, int fd,
	     struct rpc_conn **ret_conn)
{
	struct rpc_conn *c = calloc(1, sizeof(*c));
	int err, one = 1;

	if (!c)
		return -ENOMEM;
	c->fd = fd;
	err = find_addrs(c);
	if (!err)
		c->own = malloc(sizeof(*c->own) + BASE_BUF_BYTES);
	if (err || !c->own) {
		free(c);
		return err ? err : -ENOMEM;
	}
	*c->own = (struct recv_buf){ .refs = 1, .class = BUF_BASE, .cap = BASE_BUF_BYTES };
	c->buf = c->own;
	c->need = 4;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	c->server = s;
	c->service = service;
	c->client = server_client_get(s, &c->peer);
	if (c->client)
		c->client->info.conns++;
	list_init(&c->ready);
	list_init(&c->wants);
	list_init(&c->outq);
	deferred_init(&c->turn, turn);
	c->recv_io.done = recv_done;
	c->send_io.done = send_done;
	c->active_ns = c->progress_ns = loop_now_ns();
	list_add_tail(&s->conns, &c->entry);
	s->st.conns++;
	conn_kick(c);
	*ret_conn = c;
	return 0;
}

void conn_kick(struct rpc_conn *c)
{
	loop_defer(&c->turn);
}

static void put_buf(struct rpc_conn *c)
{
	if (c->buf != c->own)
		server_buf_put(c->server, c->buf);
	c->buf = c->own;
}

static void conn_free(struct rpc_conn *c)
{
	struct rpc_server *s = c->server;

	assert(!c->in_flight && list_empty(&c->outq) && !c->send);
	put_buf(c);
	assert(c->own->refs == 1);
	free(c->own);
	close(c->fd);
	list_del(&c->entry);
	list_del(&c->ready);
	list_del(&c->wants);
	if (c->client)
		c->client->info.conns--;
	s->st.conns--;
	free(c);
	server_changed(s);
}

/* The request is over: its reply has left, or will not be wanted. */
static void end_task(struct outgoing *o)
{
	struct rpc_task *t = container_of(o, struct rpc_task, out);
	struct rpc_conn *c = t->conn;
	struct rpc_server *s = c->server;

	rpc_call_done(&t->call);
	c->in_flight--;
	c->reply_bytes -= t->cost;
	s->st.in_flight--;
	s->st.reply_bytes -= t->cost;
	if (c->client)
		c->client->reply_bytes -= t->cost;
	server_task_put(s, t);
}

static void drop_outgoing(struct rpc_conn *c)
{
	struct list *e;

	while ((e = list_pop(&c->outq))) {
		struct outgoing *o = container_of(e, struct outgoing, entry);

		o->gone(o);
	}
}

void conn_close(struct rpc_conn *c)
{
	if (c->closing)
		return;
	c->closing = true;
	list_del(&c->ready);
	list_del(&c->wants);
	if (c->parked) {
		release_call(c->parked);
		server_task_put(c->server, c->parked);
		c->parked = NULL;
	}
	shutdown(c->fd, SHUT_RDWR);	/* ends the receive and the send that are under way */
	if (c->back)
		peer_lost(c->back);
	if (!c->send)
		drop_outgoing(c);
	server_wants_kick(c->server, c->client);
	conn_kick(c);
}

/* Ends it with a reset: what is in the socket for somebody who doesn't read it goes too, and
 * he is told at once (an orderly end would stand in line behind the data). */
void conn_abort(struct rpc_conn *c)
{
	const struct linger now = { .l_onoff = 1 };

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	conn_close(c);
}

/* ---- receiving ----------------------------------------------------------------------- */

static bool buf_empty(const struct rpc_conn *c)
{
	return c->scan == c->wr && !c->fragments;
}

/* 1: a record is complete; 0: more has to come, up to c->need; -EMSGSIZE: garbage. */
static int assemble(struct rpc_conn *c)
{
	uint8_t *data = c->buf->data;

	while (!c->have_record) {
		uint32_t mark, len;

		c->need = c->scan + 4;
		if (c->wr - c->scan < 4)
			return 0;
		memcpy(&mark, data + c->scan, 4);
		mark = be32toh(mark);
		len = mark & 0x7fffffff;
		if (len > RPC_CALL_MAX - c->rec_len || c->fragments >= FRAGMENTS_MAX)
			return -EMSGSIZE;
		c->need += len;
		if (c->wr - c->scan - 4 < len)
			return 0;
		if (!c->fragments)
			c->rec_off = c->scan + 4;
		else
			memmove(data + c->rec_off + c->rec_len, data + c->scan + 4, len);
		c->rec_len += len;
		c->scan += 4 + len;
		c->fragments++;
		c->have_record = mark >> 31;
	}
	return 1;
}

/* Moves what is not yet dispatched to the front of DST, which may be the same buffer. */
static void move_to(struct rpc_conn *c, struct recv_buf *dst)
{
	uint32_t rest = c->wr - c->scan;

	memmove(dst->data, c->buf->data + c->rec_off, c->rec_len);
	memmove(dst->data + c->rec_len, c->buf->data + c->scan, rest);
	c->need = c->rec_len + (c->need - c->scan);
	c->rec_off = 0;
	c->scan = c->rec_len;
	c->wr = c->rec_len + rest;
	if (dst == c->buf)
		return;
	put_buf(c);
	c->buf = dst;
}

static void leave_record(struct rpc_conn *c)
{
	c->have_record = false;
	c->fragments = 0;
	c->rec_len = 0;
	c->rec_off = c->scan;
}

/* As assemble(); what is complete is a call then: the answers before it were handed out. */
static int next_call(struct rpc_conn *c)
{
	int r;

	while ((r = assemble(c)) == 1) {
		const uint8_t *record = c->buf->data + c->rec_off;

		if (!is_answer(record, c->rec_len))
			return c->service ? 1 : -EBADMSG;
		if (!c->back)
			return -EBADMSG;	/* nobody ever asked */
		peer_answered(c->back, record, c->rec_len);
		leave_record(c);
	}
	return r;
}

static enum buf_class class_for(uint32_t bytes)
{
	enum buf_class k = BUF_BASE;

	while (k < BUF_BIG && buf_bytes[k] < bytes)
		k++;
	return k;
}

static struct recv_buf *find_buf(struct rpc_conn *c, enum buf_class class, struct list **ret_where)
{
	if (c->buf->refs == 1 && c->buf->class == class)
		return c->buf;
	if (class == BUF_BASE && c->own->refs == 1)
		return c->own;
	return server_buf_get(c->server, c, class, ret_where);
}

/*
 * Sees to it that what comes next has room: as large a buffer as this client made use of
 * lately, or at least one that the record fits.  False: there is no memory now; with MUST,
 * the connection stands in line for it.
 */
static bool make_room(struct rpc_conn *c, bool must)
{
	struct rpc_server *s = c->server;
	enum buf_class least = class_for(c->rec_len + (c->need - c->scan));
	enum buf_class best = c->want > least ? c->want : least;
	struct list *where;
	struct recv_buf *dst = find_buf(c, best, &where);

	if (!dst && best != least)
		dst = find_buf(c, least, &where);
	if (!dst) {
		if (must && (list_empty(&c->wants) || c->wants_in != where)) {
			list_del(&c->wants);
			list_add_tail(where, &c->wants);
			c->wants_in = where;
		}
		return false;
	}
	move_to(c, dst);
	list_del(&c->wants);
	server_wants_kick(s, c->client);
	return true;
}

/* Nothing refers to the buffer and all in it is done: begin at its front. */
static void rewind_buf(struct rpc_conn *c)
{
	if (!buf_empty(c) || c->buf->refs != 1)
		return;
	c->scan = c->wr = c->rec_off = c->rec_len = 0;
	c->need = 4;
}

static void arm(struct rpc_conn *c)
{
	bool must, large;

	if (c->receiving || c->have_record || c->parked || c->server->draining)
		return;
	rewind_buf(c);
	must = c->need > c->buf->cap || c->buf->cap - c->wr < ROOM_MIN;
	if (must || (buf_empty(c) && c->want != c->buf->class)) {
		if (!make_room(c, must) && must)
			return;
	}
	large = c->need - c->scan >= LARGE_RECORD;
	c->asked = large ? c->need - c->wr : c->buf->cap - c->wr;
	c->receiving = true;
	c->active_ns = loop_now_ns();
	c->record_ns = buf_empty(c) ? 0 : c->record_ns ? c->record_ns : c->active_ns;
	c->server->st.recvs++;
	loop_recv(&c->recv_io, c->fd, c->buf->data + c->wr, c->asked);
}

/* Learns from a receive how large a buffer this client is worth. */
static void learn(struct rpc_conn *c, uint32_t got)
{
	enum buf_class k = class_for(c->need - c->scan);

	if (got == c->asked && c->want < BUF_MID)
		c->want = BUF_MID;
	if (k > c->want)
		c->want = k;
	c->lean = got < BASE_BUF_BYTES / 2 ? c->lean + 1 : 0;
	if (c->lean >= LEAN_RECEIVES)
		c->want = BUF_BASE;
}

static void recv_done(struct loop_io *io)
{
	struct rpc_conn *c = container_of(io, struct rpc_conn, recv_io);
	struct rpc_server *s = c->server;
	int64_t n = io->result;
	int r;

	c->receiving = false;
	if (n == -ECANCELED && c->shrinking && !c->closing) {
		c->shrinking = false;
		c->want = BUF_BASE;
		conn_kick(c);
		return;
	}
	c->shrinking = false;
	if (n <= 0 || c->closing) {
		conn_close(c);
		conn_kick(c);
		return;
	}
	c->wr += n;
	c->active_ns = loop_now_ns();
	list_del(&c->entry);
	list_add_tail(&s->conns, &c->entry);
	s->st.bytes_in += n;
	if (c->client)
		c->client->info.bytes_in += n;
	r = next_call(c);
	if (r < 0) {
		s->st.closed_garbage++;
		conn_close(c);
		return;
	}
	learn(c, n);
	if (r)
		c->record_ns = 0;
	if (conn_dispatchable(c))
		server_ready(s, c);
	conn_kick(c);
}

void conn_shrink(struct rpc_conn *c)
{
	if (!c->receiving || c->shrinking || c->buf == c->own || !buf_empty(c) || c->closing)
		return;
	c->shrinking = true;
	loop_io_cancel(&c->recv_io);
}

/* ---- requests ------------------------------------------------------------------------ */

bool conn_dispatchable(struct rpc_conn *c)
{
	const struct rpc_limits *lim = &c->server->lim;

	return (c->have_record || c->parked) && !c->closing && c->in_flight < lim->max_in_flight &&
	       c->reply_bytes < lim->reply_bytes_max / 4;
}

static void garbage(struct rpc_conn *c)
{
	c->server->st.closed_garbage++;
	conn_close(c);
}

/* Takes the record out of the buffer; a small one is copied, so that it doesn't hold it. */
static const void *take_record(struct rpc_conn *c, struct rpc_task *t, uint32_t *ret_len)
{
	const void *data = c->buf->data + c->rec_off;
	uint32_t len = c->rec_len;

	if (len <= SMALL_CALL_BYTES) {
		data = memcpy(t->small, data, len);
		t->buf = NULL;
	} else {
		t->buf = c->buf;
		t->buf->refs++;
	}
	leave_record(c);
	*ret_len = len;
	return data;
}

static void release_call(struct rpc_task *t)
{
	struct rpc_conn *c = t->conn;

	if (!t->buf)
		return;
	if (t->buf == c->own)
		t->buf->refs--;
	else
		server_buf_put(c->server, t->buf);
	t->buf = NULL;
	if (!list_empty(&c->wants))
		conn_kick(c);			/* it may go on in the buffer that it has */
}

/* The next request out of the buffer; NULL: the connection closes. */
static struct rpc_task *take_task(struct rpc_conn *c)
{
	struct rpc_server *s = c->server;
	struct rpc_task *t;
	const void *data;
	uint32_t len;

	t = server_task_get(s);
	if (!t) {
		conn_close(c);			/* out of memory */
		return NULL;
	}
	t->conn = c;
	data = take_record(c, t, &len);
	t->call.peer = c->peer;
	t->call.local = c->local;
	t->call.conn = c;
	t->call.via = NULL;
	t->call.datagram = false;
	if (rpc_call_parse(&t->call, c->service, data, len)) {
		release_call(t);
		server_task_put(s, t);
		garbage(c);
		return NULL;
	}
	t->cost = TASK_COST + rpc_call_cost(&t->call);
	return t;
}

struct rpc_task *conn_next_task(struct rpc_conn *c)
{
	struct rpc_server *s = c->server;
	struct rpc_task *t;

	if (!conn_dispatchable(c))
		return NULL;
	t = c->parked ? c->parked : take_task(c);
	c->parked = NULL;
	if (t && !server_may_pin(s, c, t->cost)) {
		c->parked = t;
		return NULL;
	}
	if (!t)
		return NULL;
	c->in_flight++;
	c->reply_bytes += t->cost;
	s->st.in_flight++;
	s->st.requests++;
	s->st.reply_bytes += t->cost;
	if (c->client) {
		c->client->reply_bytes += t->cost;
		c->client->info.requests++;
		c->client->info.last_ns = c->active_ns;
	}
	if (next_call(c) < 0)
		garbage(c);
	return t;
}

void conn_task_ran(struct rpc_task *t)
{
	struct rpc_conn *c = t->conn;
	uint32_t len = xdr_out_len(&t->call.out) - RPC_MARK_BYTES;
	uint32_t mark = htobe32(0x80000000u | len);

	release_call(t);
	if (t->call.lost)			/* by another connection it is asked again */
		conn_close(c);
	else
		memcpy(t->call.out.iov[0].iov_base, &mark, sizeof(mark));
	t->out = (struct outgoing){ .iov = t->call.out.iov, .niov = t->call.out.niov,
				    .gone = end_task };
	conn_send(c, &t->out);
}

/* ---- sending ------------------------------------------------------------------------- */

void conn_send(struct rpc_conn *c, struct outgoing *o)
{
	if (c->closing)
		o->gone(o);
	else
		list_add_tail(&c->outq, &o->entry);
	conn_kick(c);
}

static void fill_send(struct rpc_conn *c, struct send_buf *b)
{
	size_t bytes = 0;
	struct list *e;
	unsigned n = 0;

	list_each(e, &c->outq) {
		const struct outgoing *o = container_of(e, struct outgoing, entry);

		for (unsigned i = o->sent; i < o->niov; i++) {
			if (n == SEND_IOV_MAX || bytes >= SEND_BYTES_MAX)
				goto full;
			b->iov[n++] = o->iov[i];
			bytes += o->iov[i].iov_len;
		}
	}
full:
	b->msg = (struct msghdr){ .msg_iov = b->iov, .msg_iovlen = n };
}

static void flush(struct rpc_conn *c)
{
	if (c->send || list_empty(&c->outq))
		return;
	c->send = server_send_get(c->server);
	if (!c->send) {
		conn_close(c);
		return;
	}
	fill_send(c, c->send);
	c->progress_ns = loop_now_ns();
	c->server->st.sends++;
	loop_sendmsg(&c->send_io, c->fd, &c->send->msg);
}

/* N bytes have left: ends what is complete. */
static void advance(struct rpc_conn *c, size_t n)
{
	while (n) {
		struct outgoing *o = container_of(c->outq.next, struct outgoing, entry);
		struct iovec *v = &o->iov[o->sent];

		assert(!list_empty(&c->outq));
		if (n < v->iov_len) {
			v->iov_base = (uint8_t *)v->iov_base + n;
			v->iov_len -= n;
			return;
		}
		n -= v->iov_len;
		if (++o->sent == o->niov) {
			list_del(&o->entry);
			o->gone(o);
		}
	}
}

static void send_done(struct loop_io *io)
{
	struct rpc_conn *c = container_of(io, struct rpc_conn, send_io);
	struct rpc_server *s = c->server;
	int64_t n = io->result;

	server_send_put(s, c->send);
	c->send = NULL;
	if (n > 0) {
		c->progress_ns = loop_now_ns();
		s->st.bytes_out += n;
		if (c->client)
			c->client->info.bytes_out += n;
		advance(c, n);
	} else if (n != -EAGAIN && n != -EINTR) {
		conn_close(c);
	}
	if (c->closing)
		drop_outgoing(c);
	else if (conn_dispatchable(c))
		server_ready(s, c);
	server_changed(s);
	conn_kick(c);
}

static void turn(struct deferred *d)
{
	struct rpc_conn *c = container_of(d, struct rpc_conn, turn);

	if (!c->closing) {
		flush(c);
		arm(c);
	}
	if (c->closing && !c->receiving && !c->send && !c->in_flight)
		conn_free(c);
}
