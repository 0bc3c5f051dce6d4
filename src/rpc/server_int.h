/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What server.c (listening, workers, limits) and conn.c (one connection) share.
 *
 * Who frees what: a connection frees itself when it is closing and nothing of it is under way
 * any more (receive, send, requests).  A task belongs to its connection from dispatch until
 * its reply was sent.  A receive buffer is counted: one for the connection that reads into it,
 * one for each task whose call lies in it.
 */
#ifndef RPC_SERVER_INT_H
#define RPC_SERVER_INT_H

#include <netinet/in.h>
#include "base/fiber.h"
#include "base/list.h"
#include "base/loop.h"
#include "rpc/client.h"
#include "rpc/server.h"

#define BASE_BUF_BYTES (16u << 10)
#define SMALL_CALL_BYTES 512		/* calls up to this are copied, and leave the buffer free */
#define SEND_IOV_MAX 512
#define SEND_BYTES_MAX (4u << 20)
#define FRAGMENTS_MAX 1024		/* of one record */
#define REPLY_RESERVE(max) ((max) / 4)	/* beyond what there is for replies: */
#define REPLY_LITTLE(max) ((max) / 128)	/* so much of it for a client that has no more */

enum buf_class { BUF_BASE, BUF_MID, BUF_BIG, BUF_CLASSES };
extern const uint32_t buf_bytes[BUF_CLASSES];

struct recv_buf {
	struct list entry;		/* in the server's free list */
	unsigned refs;
	enum buf_class class;
	struct client *client;		/* whom it was given to; NULL: nobody's, or a base buffer */
	uint32_t cap;
	uint8_t data[] __attribute__((aligned(64)));
};

/*
 * All connections from one address.  No client gets more than three quarters of what there is of
 * either memory; and when several have used up what there is for replies, each of the others still gets
 * a little, out of a reserve: so whoever is rude, others are served.
 */
struct client {
	struct list entry;		/* server's clients, least recently connected first */
	struct client *next;		/* in the bucket */
	size_t recv_bytes, reply_bytes;
	struct list ready;		/* as the server's: they wait until this client may have more */
	struct list waiting;		/* in the server's list of clients with such */
	struct list buf_wants;		/* as the server's: who waits for this client's own share */
	uint64_t got;			/* number of the last buffer that it was given */
	struct rpc_client_info info;
};

/* What stands in a connection's queue to be sent. */
struct outgoing {
	struct list entry;		/* conn's outq */
	struct iovec *iov;
	unsigned niov, sent;		/* sent: how many of them have left */
	void (*gone)(struct outgoing *o);	/* it has left, or never will */
};

struct rpc_task {
	struct rpc_conn *conn;
	struct outgoing out;
	struct list entry;		/* server's free list */
	struct recv_buf *buf;		/* NULL: the call is in small[] */
	uint32_t cost;			/* reply bytes that were reserved */
	uint8_t small[SMALL_CALL_BYTES];
	struct rpc_call call;
};

struct send_buf {
	struct list entry;
	struct msghdr msg;
	struct iovec iov[SEND_IOV_MAX];
};

struct rpc_conn {
	struct rpc_server *server;
	const struct rpc_service *service;	/* NULL: calls are made on it, none are taken */
	struct client *client;
	struct rpc_peer *back;		/* calls to it; NULL: none was ever made */
	struct rpc_addr peer, local;
	int fd;
	struct list entry;		/* server's conns, least recently active first */
	struct list ready;		/* server's or client's ready: a complete record waits */
	struct list wants;		/* in wants_in: waits for memory to receive into */
	struct list *wants_in;		/* server's or client's buf_wants */
	/* receiving */
	struct recv_buf *own;		/* the base buffer, one reference is the connection's */
	struct recv_buf *buf;		/* what is received into: own, or another */
	uint32_t rd, wr;		/* begin of the record being assembled; end of data */
	uint32_t scan;			/* mark of the next fragment to look at */
	uint32_t rec_off, rec_len;	/* the record, as far as assembled */
	uint32_t need;			/* total bytes of buf that the next fragment wants */
	unsigned fragments;
	bool have_record, last_fragment;
	struct rpc_task *parked;	/* taken out, and there was no memory for its reply */
	enum buf_class want;		/* grows when buffers come back full */
	unsigned lean;			/* receives in a row that a base buffer would have held */
	uint64_t record_ns;		/* since when a record is incomplete; 0: none is */
	uint64_t active_ns;
	struct loop_io recv_io;
	uint32_t asked;
	bool receiving, shrinking;
	/* running and sending */
	unsigned in_flight;		/* dispatched and not yet sent */
	size_t reply_bytes;		/* sum of their costs */
	struct list outq;		/* replies and calls to send, in order */
	struct loop_io send_io;
	struct send_buf *send;		/* while sending */
	uint64_t progress_ns;		/* of sending */
	struct deferred turn;
	bool closing;
};

struct listener {
	struct list entry;
	struct rpc_server *server;
	const struct rpc_service *service;
	int fd;
	struct loop_io io;
	struct timer retry;
	bool accepting, closing;
};

struct rpc_server {
	struct rpc_limits lim;
	struct list listeners, conns, ready, buf_wants;
	struct list waiting;		/* clients for whose replies there was no memory, in turn */
	uint64_t gets;			/* buffers given to receive into */
	struct client nobody;		/* all beyond the clients that can be told apart */
	struct list idle_workers;
	struct list free_tasks, free_sends, free_bufs[BUF_CLASSES];
	unsigned nfree_tasks, nfree_sends, nfree_bufs[BUF_CLASSES];
	struct client *client_table[64];
	struct list clients;
	unsigned nclients;
	struct rpc_server_stats st;
	struct timer sweep;
	struct list peers;
	struct list udp_sockets, udp_calls;
	unsigned nudp_tasks;
	unsigned ncalls, ncallers;	/* calls to clients; fibers that make them */
	unsigned nudp_calls;
	uint32_t next_xid;
	struct waitq changed;		/* while stopping: a connection, listener or worker went */
	bool worker_called;		/* one was woken and hasn't run yet */
	bool stopping, draining;
};

/* conn.c */
int conn_new(struct rpc_server *s, const struct rpc_service *service, int fd,
	     struct rpc_conn **ret_conn);
void conn_send(struct rpc_conn *c, struct outgoing *o);
/* The next request, if the connection has one and may run it; else NULL. */
struct rpc_task *conn_next_task(struct rpc_conn *c);
bool conn_dispatchable(struct rpc_conn *c);
void conn_task_ran(struct rpc_task *t);
void conn_close(struct rpc_conn *c);	/* begins it */
void conn_abort(struct rpc_conn *c);	/* the same, with a reset */
void conn_kick(struct rpc_conn *c);	/* look at it again at the end of the turn */
/* Gives a buffer back that it holds without need, so that others get it. */
void conn_shrink(struct rpc_conn *c);

/* peer.c */
/* C closes: whoever waits for an answer on it gets none. */
void peer_lost(struct rpc_peer *p);
/* Somebody waits for an answer of it. */
bool peer_waits(const struct rpc_peer *p);
/* An answer came; nobody may have asked. */
void peer_answered(struct rpc_peer *p, const void *record, size_t len);
/* While stopping: ends all calls; waits for who made them. */
void peers_stop(struct rpc_server *s);
void peers_forget(struct rpc_server *s);

/* request.c */
#define REQUEST_HEAD_BYTES (24 + 8 + 28 + 4 * RPC_GROUPS_MAX + 8)
/* The whole call; OUT has room for its head and its arguments. */
void put_request(struct xdr_out *out, uint32_t xid, const struct rpc_request *q);
bool is_answer(const void *message, size_t len);
/* X is behind the message's type; it is at the results when this returns 0, else the error is
 * rpc_peer_call()'s. */
int take_answer(struct xdr_in *x);

/* datagram.c */
/* While stopping: no more is received; waits for what runs, and for who calls. */
void datagrams_stop(struct rpc_server *s);

/* server.c */
socklen_t rpc_sockaddr(const struct rpc_addr *a, struct sockaddr_in6 *ret);	/* of either kind */
/* Binds FD to the address of A, and any port. */
int bind_from(int fd, const struct rpc_addr *a);
/* A socket of KIND that is bound to A. */
int server_socket(int kind, const struct rpc_addr *a, int *ret_fd);
/* Takes in a connection, within the limits. */
int server_add_conn(struct rpc_server *s, const struct rpc_service *service, int fd,
		    struct rpc_conn **ret_conn);
void server_ready(struct rpc_server *s, struct rpc_conn *c);
/* May C's client pin COST bytes more for replies? */
bool server_may_pin(const struct rpc_server *s, const struct rpc_conn *c, size_t cost);
/* For C's client; NULL, with WHERE the list to wait in. */
struct recv_buf *server_buf_get(struct rpc_server *s, struct rpc_conn *c, enum buf_class class,
				struct list **ret_where);
/* Those who stand in line for memory look at it again. */
void server_wants_kick(struct rpc_server *s, struct client *k);
void server_buf_put(struct rpc_server *s, struct recv_buf *b);
struct rpc_task *server_task_get(struct rpc_server *s);
void server_task_put(struct rpc_server *s, struct rpc_task *t);
struct send_buf *server_send_get(struct rpc_server *s);
void server_send_put(struct rpc_server *s, struct send_buf *b);
struct client *server_client_get(struct rpc_server *s, const struct rpc_addr *addr);
void server_changed(struct rpc_server *s);

#endif
