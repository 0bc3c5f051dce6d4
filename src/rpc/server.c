/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The RPC server: listening sockets, the fibers that run requests, and the limits.
 *
 * Workers.  Connections with a complete record stand in the ready list and are served in
 * turns.  A worker takes requests from there until none is left.  Before it runs one while
 * more are there, it makes sure that another worker is ready to run: that one gets its turn
 * when the first waits (or is done), so that no request ever waits behind another's disk.
 *
 * Limits.  recv_bytes counts what was taken from recv_bytes_max, reply_bytes what requests
 * under way may pin.  A connection whose client may not pin more stands in the client's list, and
 * the clients that have such are served in turns when there is more.  While one of them is used up, the sweep comes more often and is
 * stricter with those who hold memory without moving.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/err.h"
#include "rpc/server_int.h"

#define MS 1000000ull
#define SWEEP_MS 1000
#define SWEEP_PRESSED_MS 100
#define EVICT_STALLED_MS 1000		/* without moving, when the number of connections is used up */
#define KEEP_TASKS 256			/* in the free lists */
#define KEEP_SENDS 64
#define KEEP_WORKERS 32
#define CLIENTS_MAX 1024
#define YIELD_AFTER 64			/* requests, so that others' fibers get their turn */

const uint32_t buf_bytes[BUF_CLASSES] = {
	[BUF_BASE] = BASE_BUF_BYTES,
	[BUF_MID] = 256u << 10,
	[BUF_BIG] = RPC_CALL_MAX + 4096,
};
static const unsigned keep_bufs[BUF_CLASSES] = { 64, 16, 4 };

struct worker {
	struct list entry;		/* server's idle_workers */
	struct fiber *fiber;
	bool called;
};

/* ---- pools --------------------------------------------------------------------------- */

static size_t share_of(size_t max)
{
	return max / 4 * 3;
}

static size_t held(const struct rpc_conn *c)
{
	return c->client ? c->client->recv_bytes : 0;
}

/* Of two equal ones, he whose client was given some longer ago. */
static bool has_less(const struct rpc_conn *a, const struct rpc_conn *b)
{
	if (held(a) != held(b) || !a->client || !b->client)
		return held(a) < held(b);
	return a->client->got < b->client->got;
}

/* Whose turn it is, of those who wait for what all share: his whose client has least.  NULL: nobody waits. */
static struct rpc_conn *first_want(const struct rpc_server *s)
{
	struct rpc_conn *first = NULL;
	struct list *e;

	list_each(e, &s->buf_wants) {
		struct rpc_conn *c = container_of(e, struct rpc_conn, wants);

		if (!first || has_less(c, first))
			first = c;
	}
	return first;
}

void server_wants_kick(struct rpc_server *s, struct client *k)
{
	struct rpc_conn *first = first_want(s);

	if (first)
		conn_kick(first);
	if (k && !list_empty(&k->buf_wants))
		conn_kick(container_of(k->buf_wants.next, struct rpc_conn, wants));
}

struct recv_buf *server_buf_get(struct rpc_server *s, struct rpc_conn *c, enum buf_class class,
				struct list **ret_where)
{
	struct client *k = c->client;
	struct rpc_conn *first;
	struct list *e;
	struct recv_buf *b;

	/* One is allowed to everybody, or the largest records could not be received. */
	if (k && k->recv_bytes && k->recv_bytes + buf_bytes[class] > share_of(s->lim.recv_bytes_max)) {
		*ret_where = &k->buf_wants;
		return NULL;
	}
	*ret_where = &s->buf_wants;
	first = first_want(s);
	if (first && first != c && !has_less(c, first))
		return NULL;
	if (s->st.recv_bytes + buf_bytes[class] > s->lim.recv_bytes_max)
		return NULL;
	e = list_pop(&s->free_bufs[class]);
	if (e) {
		s->nfree_bufs[class]--;
		b = container_of(e, struct recv_buf, entry);
	} else {
		b = aligned_alloc(64, sizeof(*b) + buf_bytes[class]);
		if (!b)
			return NULL;
		b->class = class;
		b->cap = buf_bytes[class];
		list_init(&b->entry);
	}
	b->refs = 1;
	b->client = k;
	s->st.recv_bytes += b->cap;
	if (k) {
		k->recv_bytes += b->cap;
		k->got = ++s->gets;
	}
	return b;
}

void server_buf_put(struct rpc_server *s, struct recv_buf *b)
{
	struct client *k = b->client;

	assert(b->refs);
	if (--b->refs)
		return;
	s->st.recv_bytes -= b->cap;
	if (k)
		k->recv_bytes -= b->cap;
	if (s->nfree_bufs[b->class] < keep_bufs[b->class]) {
		s->nfree_bufs[b->class]++;
		list_add_head(&s->free_bufs[b->class], &b->entry);
	} else {
		free(b);
	}
	server_wants_kick(s, k);
}

struct rpc_task *server_task_get(struct rpc_server *s)
{
	struct list *e = list_pop(&s->free_tasks);
	struct rpc_task *t;

	if (e) {
		s->nfree_tasks--;
		return container_of(e, struct rpc_task, entry);
	}
	t = aligned_alloc(64, (sizeof(*t) + 63) & ~63ul);
	if (t)
		list_init(&t->entry);
	return t;
}

void server_task_put(struct rpc_server *s, struct rpc_task *t)
{
	if (s->nfree_tasks >= KEEP_TASKS) {
		free(t);
	} else {
		s->nfree_tasks++;
		list_add_head(&s->free_tasks, &t->entry);
	}
}

struct send_buf *server_send_get(struct rpc_server *s)
{
	struct list *e = list_pop(&s->free_sends);
	struct send_buf *b;

	if (e) {
		s->nfree_sends--;
		return container_of(e, struct send_buf, entry);
	}
	b = malloc(sizeof(*b));
	if (b)
		list_init(&b->entry);
	return b;
}

void server_send_put(struct rpc_server *s, struct send_buf *b)
{
	if (s->nfree_sends >= KEEP_SENDS) {
		free(b);
	} else {
		s->nfree_sends++;
		list_add_head(&s->free_sends, &b->entry);
	}
}

/* ---- clients ------------------------------------------------------------------------- */

static struct client **find_client(struct rpc_server *s, const struct rpc_addr *a)
{
	uint32_t h = a->ip[15] ^ a->ip[14] * 3 ^ a->ip[13] * 7 ^ a->ip[7];
	struct client **p = &s->client_table[h % 64];

	while (*p && memcmp((*p)->info.addr.ip, a->ip, 16))
		p = &(*p)->next;
	return p;
}

/* Forgets the client that has no connection for longest. */
static bool forget_client(struct rpc_server *s)
{
	struct list *e;

	list_each(e, &s->clients) {
		struct client *k = container_of(e, struct client, entry), **p;

		if (k->info.conns)
			continue;
		p = find_client(s, &k->info.addr);
		*p = k->next;
		list_del(&k->entry);
		list_del(&k->waiting);
		s->nclients--;
		free(k);
		return true;
	}
	return false;
}

struct client *server_client_get(struct rpc_server *s, const struct rpc_addr *addr)
{
	struct client *k = *find_client(s, addr);

	if (k) {
		list_del(&k->entry);
		list_add_tail(&s->clients, &k->entry);
		return k;
	}
	if (s->nclients >= CLIENTS_MAX && !forget_client(s))
		return NULL;
	k = calloc(1, sizeof(*k));
	if (!k)
		return NULL;
	k->info.addr = *addr;
	k->info.addr.port = 0;
	list_init(&k->ready);
	list_init(&k->waiting);
	list_init(&k->buf_wants);
	*find_client(s, addr) = k;
	list_add_tail(&s->clients, &k->entry);
	s->nclients++;
	return k;
}

void rpc_server_clients(struct rpc_server *s,
			void (*fn)(void *arg, const struct rpc_client_info *i), void *arg)
{
	struct list *e;

	list_each(e, &s->clients)
		fn(arg, &container_of(e, struct client, entry)->info);
}

/* ---- workers ------------------------------------------------------------------------- */

static bool may_dispatch(const struct rpc_server *s)
{
	return (!list_empty(&s->ready) || !list_empty(&s->waiting)) && !s->draining &&
	       s->st.reply_bytes < s->lim.reply_bytes_max + REPLY_RESERVE(s->lim.reply_bytes_max);
}

bool server_may_pin(const struct rpc_server *s, const struct rpc_conn *c, size_t cost)
{
	size_t max = s->lim.reply_bytes_max;
	const struct client *k = c->client;

	if (s->st.reply_bytes < max)
		return !k || k->reply_bytes < share_of(max);
	return k && s->st.reply_bytes + cost <= max + REPLY_RESERVE(max) &&
	       k->reply_bytes + cost <= REPLY_LITTLE(max);
}

/* The same, of what it has ready. */
static bool may_go_on(const struct rpc_server *s, const struct rpc_conn *c)
{
	return server_may_pin(s, c, c->parked ? c->parked->cost : 0);
}

/* It waits until there is memory for its reply. */
static void set_aside(struct rpc_server *s, struct rpc_conn *c)
{
	struct client *k = c->client ? c->client : &s->nobody;

	list_add_tail(&k->ready, &c->ready);
	if (list_empty(&k->waiting))
		list_add_tail(&s->waiting, &k->waiting);
}

static void worker_main(void *arg);

/* Makes sure that a worker will look at the ready list after the running fiber waits. */
static void call_worker(struct rpc_server *s)
{
	struct list *e;

	if (s->worker_called || !may_dispatch(s))
		return;
	e = list_pop(&s->idle_workers);
	if (e) {
		struct worker *w = container_of(e, struct worker, entry);

		s->st.idle_workers--;
		s->worker_called = w->called = true;
		fiber_wake(w->fiber);
	} else if (s->st.workers < s->lim.max_workers && !fiber_spawn(worker_main, s, "rpc")) {
		s->st.workers++;
		s->worker_called = true;
	}
	/* else: those who run take the next one when they are done, and the sweep tries again */
}

/* Of those that couldn't be served before: the client whose turn it is, and one of its connections. */
static struct rpc_conn *next_waiting(struct rpc_server *s)
{
	struct list *e, *tmp;

	list_each_safe(e, tmp, &s->waiting) {
		struct client *k = container_of(e, struct client, waiting);
		struct rpc_conn *c = container_of(k->ready.next, struct rpc_conn, ready);

		if (list_empty(&k->ready)) {
			list_del(&k->waiting);
		} else if (may_go_on(s, c)) {
			list_del(&c->ready);
			list_del(&k->waiting);
			list_add_tail(&s->waiting, &k->waiting);
			return c;
		}
	}
	return NULL;
}

/* NULL: none has anything to do, or may do it now. */
static struct rpc_conn *next_conn(struct rpc_server *s)
{
	struct list *e;

	while ((e = list_pop(&s->ready))) {
		struct rpc_conn *c = container_of(e, struct rpc_conn, ready);

		if (may_go_on(s, c))
			return c;
		set_aside(s, c);
	}
	return next_waiting(s);
}

static struct rpc_task *next_task(struct rpc_server *s)
{
	struct rpc_conn *c;

	while (may_dispatch(s) && (c = next_conn(s))) {
		struct rpc_task *t = conn_next_task(c);

		if (c->parked)
			set_aside(s, c);
		else if (conn_dispatchable(c))
			list_add_tail(&s->ready, &c->ready);
		if (t)
			return t;
	}
	return NULL;
}

/* Waits to be called; false: there are enough idle ones, or the server stops. */
static bool wait_for_call(struct rpc_server *s, struct worker *w)
{
	if (s->stopping || s->st.idle_workers >= KEEP_WORKERS)
		return false;
	w->called = false;
	list_add_head(&s->idle_workers, &w->entry);
	s->st.idle_workers++;
	while (!w->called)
		fiber_park();
	s->worker_called = false;
	return true;
}

static void worker_main(void *arg)
{
	struct rpc_server *s = arg;
	struct worker w = { .fiber = fiber_self() };
	unsigned ran = 0;

	list_init(&w.entry);
	s->worker_called = false;
	do {
		struct rpc_task *t;

		while ((t = next_task(s))) {
			call_worker(s);
			rpc_call_run(&t->call);
			conn_task_ran(t);
			if (++ran % YIELD_AFTER == 0)
				fiber_yield();
		}
	} while (wait_for_call(s, &w));
	s->st.workers--;
	server_changed(s);
}

void server_ready(struct rpc_server *s, struct rpc_conn *c)
{
	if (list_empty(&c->ready))
		list_add_tail(&s->ready, &c->ready);
	call_worker(s);
}

void server_changed(struct rpc_server *s)
{
	if (s->draining)
		waitq_wake_all(&s->changed);
	else
		call_worker(s);
}

/* ---- the sweep ----------------------------------------------------------------------- */

/* Whether somebody waits for memory that C might hold, as all do or as its client's share. */
static bool replies_short(const struct rpc_server *s, const struct rpc_conn *c)
{
	return s->st.reply_bytes >= s->lim.reply_bytes_max || !server_may_pin(s, c, 0);
}

static bool recv_short(const struct rpc_server *s, const struct rpc_conn *c)
{
	return !list_empty(&s->buf_wants) || (c->client && !list_empty(&c->client->buf_wants));
}

/*
 * Whether C keeps memory from FIRST, whose client has less, for a record that comes at less than 256 KiB a second.
 */
static bool hogs(const struct rpc_conn *c, const struct rpc_conn *first, uint64_t age_ns)
{
	return first && held(c) > held(first) && c->wr - c->rd < age_ns / MS * 256;
}

static bool record_stalls(const struct rpc_server *s, const struct rpc_conn *c, const struct rpc_conn *first,
			  uint64_t now)
{
	uint64_t stall = s->lim.stall_ms * MS, age = now - c->record_ns;

	if (!c->receiving || !c->record_ns)
		return false;
	return now - c->active_ns > stall ||
	       (recv_short(s, c) && (age > stall / 6 || (age > stall / 30 && hogs(c, first, age))));
}

/* Whether it was ended. */
static bool sweep_conn(struct rpc_server *s, struct rpc_conn *c, const struct rpc_conn *first, uint64_t now)
{
	uint64_t stall = s->lim.stall_ms * MS;

	if (c->closing)
		return false;
	if (c->send && now - c->progress_ns > (replies_short(s, c) ? stall / 60 : stall)) {
		s->st.closed_stalled++;
		conn_abort(c);
		return true;
	}
	if (record_stalls(s, c, first, now)) {
		s->st.closed_stalled++;
		conn_abort(c);
		return true;
	}
	if (recv_short(s, c) && now - c->active_ns > SWEEP_PRESSED_MS * MS)
		conn_shrink(c);
	return false;
}

static void sweep(struct timer *t)
{
	struct rpc_server *s = container_of(t, struct rpc_server, sweep);
	struct rpc_conn *first = first_want(s);
	uint64_t now = loop_now_ns();
	struct list *e, *tmp;
	bool pressed = false;

	list_each_safe(e, tmp, &s->conns) {
		struct rpc_conn *c = container_of(e, struct rpc_conn, entry);

		pressed |= replies_short(s, c) || recv_short(s, c);
		if (sweep_conn(s, c, first, now))
			first = first_want(s);
	}
	call_worker(s);
	server_wants_kick(s, NULL);
	if (s->st.conns)
		timer_set(t, (pressed ? SWEEP_PRESSED_MS : SWEEP_MS) * MS);
}

/* ---- accepting ----------------------------------------------------------------------- */

/* Nothing is under way; or, when that is not ASKED_NICELY, nothing has moved for a second. */
static bool may_evict(const struct rpc_conn *c, bool asked_nicely)
{
	uint64_t now = loop_now_ns();

	if (c->closing)
		return false;
	if (asked_nicely)
		return !c->in_flight && !c->record_ns && !(c->back && peer_waits(c->back));
	return (c->send && now - c->progress_ns > EVICT_STALLED_MS * MS) ||
	       (!c->in_flight && c->receiving && c->record_ns &&
		now - c->record_ns > EVICT_STALLED_MS * MS);
}

static bool evict(struct rpc_server *s)
{
	struct list *e;

	for (int asked_nicely = 1; asked_nicely >= 0; asked_nicely--)
		list_each(e, &s->conns) {
			struct rpc_conn *c = container_of(e, struct rpc_conn, entry);

			if (!may_evict(c, asked_nicely))
				continue;
			s->st.closed_evicted++;
			if (asked_nicely)
				conn_close(c);
			else
				conn_abort(c);
			return true;
		}
	return false;
}

static void accept_next(struct listener *l)
{
	l->accepting = true;
	loop_accept(&l->io, l->fd);
}

static void retry_accept(struct timer *t)
{
	struct listener *l = container_of(t, struct listener, retry);

	if (!l->closing)
		accept_next(l);
}

int server_add_conn(struct rpc_server *s, const struct rpc_service *service, int fd,
		    struct rpc_conn **ret_conn)
{
	int err;

	if (s->st.conns >= s->lim.max_conns && !evict(s))
		return -EMFILE;
	err = conn_new(s, service, fd, ret_conn);
	if (!err && !s->sweep.heap_index)
		timer_set(&s->sweep, SWEEP_MS * MS);
	return err;
}

static void take_connection(struct listener *l, int fd)
{
	struct rpc_conn *c;

	if (server_add_conn(l->server, l->service, fd, &c))
		close(fd);
	else
		l->server->st.accepted++;
}

static void accept_done(struct loop_io *io)
{
	struct listener *l = container_of(io, struct listener, io);
	int64_t r = io->result;

	l->accepting = false;
	if (l->closing) {
		if (r >= 0)
			close(r);
		server_changed(l->server);
		return;
	}
	if (r >= 0) {
		take_connection(l, r);
	} else if (r != -ECONNABORTED && r != -EINTR && r != -EAGAIN) {
		evict(l->server);		/* out of descriptors or memory, most likely */
		timer_set(&l->retry, SWEEP_PRESSED_MS * MS);
		return;
	}
	accept_next(l);
}

int rpc_parse_listen(const char *text, struct rpc_addr *ret_addr, char *why, size_t why_len)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon ? colon - text : 0;
	struct rpc_addr a = { .ip = { [10] = 0xff, [11] = 0xff } };
	char host[64], *end;
	unsigned long port;
	bool ok;

	port = colon && colon[1] >= '0' && colon[1] <= '9' ? strtoul(colon + 1, &end, 10) : 65536;
	if (port > 65535 || *end || !len || len >= sizeof(host)) {
		snprintf(why, why_len, "'%s' is not ADDRESS:PORT, as in "
			 "127.0.0.1:2049 or [::1]:2049", text);
		return -EINVAL;
	}
	memcpy(host, text, len);
	host[len] = 0;
	if (host[0] == '[' && host[len - 1] == ']') {
		host[len - 1] = 0;
		ok = inet_pton(AF_INET6, host + 1, a.ip) == 1;
	} else {
		ok = inet_pton(AF_INET, host, a.ip + 12) == 1;
	}
	if (!ok) {
		snprintf(why, why_len, "'%s': the address must be numeric, IPv6 in brackets", text);
		return -EINVAL;
	}
	a.port = port;
	*ret_addr = a;
	return 0;
}

socklen_t rpc_sockaddr(const struct rpc_addr *a, struct sockaddr_in6 *ret)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;

	*ret = (struct sockaddr_in6){ .sin6_port = htons(a->port) };	/* in the same place in both */
	if (rpc_addr_is_v4(a)) {
		ret->sin6_family = AF_INET;
		memcpy(&in->sin_addr, a->ip + 12, 4);
		return sizeof(*in);
	}
	ret->sin6_family = AF_INET6;
	memcpy(&ret->sin6_addr, a->ip, 16);
	return sizeof(*ret);
}

int bind_from(int fd, const struct rpc_addr *a)
{
	struct rpc_addr from = *a;
	struct sockaddr_in6 sa;
	socklen_t len;

	from.port = 0;
	len = rpc_sockaddr(&from, &sa);
	return bind(fd, (struct sockaddr *)&sa, len) ? -errno : 0;
}

static int bind_socket(int fd, int kind, const struct rpc_addr *a)
{
	struct sockaddr_in6 sa;
	socklen_t len = rpc_sockaddr(a, &sa);
	int one = 1;

	if (kind == SOCK_STREAM)	/* on a datagram's it would let others take the port too */
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (sa.sin6_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&sa, len))
		return -errno;
	return kind == SOCK_STREAM && listen(fd, 512) ? -errno : 0;
}

int server_socket(int kind, const struct rpc_addr *a, int *ret_fd)
{
	int fd = socket(rpc_addr_is_v4(a) ? AF_INET : AF_INET6, kind | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	err = bind_socket(fd, kind, a);
	if (err)
		close(fd);
	else
		*ret_fd = fd;
	return err;
}

static uint16_t bound_port(int fd)
{
	struct sockaddr_in6 in6 = { 0 };	/* the port is at the same place in both kinds */
	socklen_t len = sizeof(in6);

	getsockname(fd, (struct sockaddr *)&in6, &len);
	return ntohs(in6.sin6_port);
}

int rpc_server_listen(struct rpc_server *s, const char *text, const struct rpc_service *service,
		      uint16_t *ret_port, char *why, size_t why_len)
{
	struct listener *l;
	struct rpc_addr a;
	int fd, err;

	err = rpc_parse_listen(text, &a, why, why_len);
	if (err)
		return err;
	rpc_service_check(service);
	err = server_socket(SOCK_STREAM, &a, &fd);
	l = calloc(1, sizeof(*l));
	if (!err && !l) {
		close(fd);
		err = -ENOMEM;
	}
	if (err) {
		free(l);
		snprintf(why, why_len, "cannot listen on %s: %s", text, err_text(err));
		return err;
	}
	l->server = s;
	l->service = service;
	l->fd = fd;
	l->io.done = accept_done;
	timer_init(&l->retry, retry_accept);
	list_add_tail(&s->listeners, &l->entry);
	if (ret_port)
		*ret_port = bound_port(fd);
	accept_next(l);
	return 0;
}

/* ---- beginning and end --------------------------------------------------------------- */

int rpc_server_new(const struct rpc_limits *limits, struct rpc_server **ret_server)
{
	static const struct rpc_limits none;
	const struct rpc_limits *l = limits ? limits : &none;
	struct rpc_server *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->lim = (struct rpc_limits){
		.max_conns = l->max_conns ? l->max_conns : 1024,
		.max_in_flight = l->max_in_flight ? l->max_in_flight : 128,
		.max_workers = l->max_workers ? l->max_workers : 1024,
		.recv_bytes_max = l->recv_bytes_max ? l->recv_bytes_max : 24u << 20,
		.reply_bytes_max = l->reply_bytes_max ? l->reply_bytes_max : 32u << 20,
		.stall_ms = l->stall_ms ? l->stall_ms : 30000,
	};
	list_init(&s->listeners);
	list_init(&s->conns);
	list_init(&s->ready);
	list_init(&s->waiting);
	list_init(&s->nobody.ready);
	list_init(&s->nobody.waiting);
	list_init(&s->buf_wants);
	list_init(&s->idle_workers);
	list_init(&s->free_tasks);
	list_init(&s->free_sends);
	list_init(&s->clients);
	list_init(&s->peers);
	list_init(&s->udp_sockets);
	list_init(&s->udp_calls);
	for (int k = 0; k < BUF_CLASSES; k++)
		list_init(&s->free_bufs[k]);
	timer_init(&s->sweep, sweep);
	waitq_init(&s->changed);
	*ret_server = s;
	return 0;
}

static void stop_listening(struct rpc_server *s)
{
	struct list *e;

	list_each(e, &s->listeners) {
		struct listener *l = container_of(e, struct listener, entry);

		l->closing = true;
		timer_cancel(&l->retry);
		if (l->accepting)
			loop_io_cancel(&l->io);
	}
	while ((e = list_pop(&s->listeners))) {
		struct listener *l = container_of(e, struct listener, entry);

		while (l->accepting)
			waitq_wait(&s->changed);
		close(l->fd);
		free(l);
	}
}

static void stop_workers(struct rpc_server *s)
{
	struct list *e;

	s->stopping = true;
	while ((e = list_pop(&s->idle_workers))) {
		struct worker *w = container_of(e, struct worker, entry);

		s->st.idle_workers--;
		w->called = true;
		fiber_wake(w->fiber);
	}
	while (s->st.workers)
		waitq_wait(&s->changed);
}

void rpc_server_stop(struct rpc_server *s, unsigned grace_ms)
{
	uint64_t until = loop_now_ns() + grace_ms * MS;
	struct list *e, *tmp;

	s->draining = true;
	stop_listening(s);
	datagrams_stop(s);
	peers_stop(s);
	while (s->st.in_flight && loop_now_ns() < until)
		waitq_wait_timeout(&s->changed, until - loop_now_ns());
	list_each_safe(e, tmp, &s->conns)
		conn_close(container_of(e, struct rpc_conn, entry));
	while (s->st.conns)
		waitq_wait(&s->changed);
	timer_cancel(&s->sweep);
	stop_workers(s);
}

static void free_pools(struct rpc_server *s)
{
	struct list *e;

	while ((e = list_pop(&s->free_tasks)))
		free(container_of(e, struct rpc_task, entry));
	while ((e = list_pop(&s->free_sends)))
		free(container_of(e, struct send_buf, entry));
	for (int k = 0; k < BUF_CLASSES; k++)
		while ((e = list_pop(&s->free_bufs[k])))
			free(container_of(e, struct recv_buf, entry));
}

void rpc_server_free(struct rpc_server *s)
{
	if (!s)
		return;
	assert(!s->st.conns && !s->st.workers && list_empty(&s->listeners) &&
	       list_empty(&s->udp_sockets));
	peers_forget(s);
	free_pools(s);
	while (s->nclients && forget_client(s))
		;
	free(s);
}

void rpc_server_stats(const struct rpc_server *s, struct rpc_server_stats *ret_stats)
{
	*ret_stats = s->st;
}
