/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RPC over TCP with record marking (RFC 5531 section 11), on the calling thread's loop.
 *
 * Requests run in a pool of fibers.  One fiber executes whatever has arrived until one request
 * waits; then another goes on.  So requests that find what they need in memory run one after
 * the other without a switch, and replies to all of them leave in one sendmsg at the end of
 * the loop's turn, straight from where their data lies.
 *
 * What a client can make the server hold is bounded:
 *
 *   connections   max_conns; beyond it, the one idle for longest goes
 *   per connection max_in_flight requests and reply_bytes_max / 4 bytes of replies; when a limit
 *                 is reached, its requests stay in the socket
 *   receiving     every connection has 16 KiB of its own; larger buffers come out of
 *                 recv_bytes_max
 *   sending       reply_bytes_max for all; who takes nothing for stall_ms loses his
 *                 connection, and much sooner when others are short of memory
 *   one client    (an address) has three quarters of either at most, so that the rude are
 *                 their own trouble; and when many such have used up what there is for replies,
 *                 another gets a little nevertheless, out of a quarter that is kept aside; of what there
 *                 is to receive into, he who has least gets the next, and whoever has more and is slow
 *                 with a record loses his connection after stall_ms / 30
 *
 * Garbage, records over RPC_CALL_MAX and records that don't get complete end a connection.
 */
#ifndef RPC_SERVER_H
#define RPC_SERVER_H

#include <stddef.h>
#include <stdint.h>
#include "rpc/rpc.h"

struct rpc_server;
struct sockaddr;

struct rpc_limits {			/* 0 anywhere: the default */
	unsigned max_conns;		/* 1024 */
	unsigned max_in_flight;		/* 128, requests of one connection */
	unsigned max_workers;		/* 1024, fibers */
	size_t recv_bytes_max;		/* 24 MiB */
	size_t reply_bytes_max;		/* 32 MiB, pinned by replies; and the quarter kept aside */
	unsigned stall_ms;		/* 30,000 without progress */
};

int rpc_server_new(const struct rpc_limits *limits, struct rpc_server **ret_server);

/*
 * Listens on TEXT: "ADDR:PORT", ADDR numeric, IPv6 in brackets; port 0 takes a free one.  The
 * service is the caller's and outlives the server.  WHY gets one line for people.
 * -EINVAL, or what socket, bind and listen say.  Never waits.
 */
int rpc_server_listen(struct rpc_server *s, const char *text, const struct rpc_service *service,
		      uint16_t *ret_port, char *why, size_t why_len);

/*
 * The same by UDP (RFC 5531 section 11 has no marks there): for the small programs that clients
 * won't ask by TCP.  Calls and replies have RPC_DATAGRAM_MAX bytes at most, and RPC_DATAGRAMS_MAX of
 * them run at a time; what is beyond is dropped, as UDP may.  What bind says; never waits.
 */
#define RPC_DATAGRAM_MAX 4096
#define RPC_DATAGRAMS_MAX 64
int rpc_server_listen_udp(struct rpc_server *s, const struct rpc_addr *addr,
			  const struct rpc_service *service);

/* Reads "ADDR:PORT" as above.  -EINVAL with WHY. */
int rpc_parse_listen(const char *text, struct rpc_addr *ret_addr, char *why, size_t why_len);

/* Stops listening, lets the requests under way finish and their replies leave (for at most
 * GRACE_MS), then ends all connections.  In a fiber; waits. */
void rpc_server_stop(struct rpc_server *s, unsigned grace_ms);
/* After rpc_server_stop(). */
void rpc_server_free(struct rpc_server *s);

struct rpc_server_stats {
	unsigned conns, workers, idle_workers, in_flight;
	size_t recv_bytes, reply_bytes;		/* held now, of what is limited */
	uint64_t accepted, requests, recvs, sends, bytes_in, bytes_out;
	uint64_t closed_garbage, closed_stalled, closed_evicted;
};
void rpc_server_stats(const struct rpc_server *s, struct rpc_server_stats *ret_stats);

/* A client: all connections from one address.  Those that left are remembered for a while. */
struct rpc_client_info {
	struct rpc_addr addr;
	unsigned conns;
	uint64_t requests, bytes_in, bytes_out, last_ns;	/* loop_now_ns() */
};
/* Calls FN for each; FN must not wait. */
void rpc_server_clients(struct rpc_server *s,
			void (*fn)(void *arg, const struct rpc_client_info *i), void *arg);

#endif
