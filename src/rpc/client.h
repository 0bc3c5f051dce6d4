/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls from the server to its clients (RFC 5531): back over a connection that a client made
 * (NFSv4.1's back channel), or over one that is made to an address (NFSv4.0's callbacks, NLM).
 *
 * A struct rpc_peer is who is called, by one of these ways.  It is counted: who keeps it past the
 * call that it came from takes a reference, and holds one while it calls.
 *
 * What somebody who doesn't answer costs is bounded: every call has its time; a peer has at most
 * RPC_PEER_CALLS_MAX calls, of RPC_PEER_ARGS_MAX bytes each; beyond RPC_CALLS_MAX of all, each has
 * one, so that many who are silent keep nobody from being called; and who doesn't even take the bytes
 * loses his connection as one who doesn't take his replies.
 */
#ifndef RPC_CLIENT_H
#define RPC_CLIENT_H

#include "rpc/rpc.h"

#define RPC_PEER_CALLS_MAX 16		/* of one peer, until they have left and are answered */
#define RPC_CALLS_MAX 1024		/* of all; beyond it, one of each */
#define RPC_UDP_CALLS_MAX 256		/* of all, by UDP */
#define RPC_PEER_ARGS_MAX 4096		/* bytes of arguments */

struct rpc_peer;
struct rpc_server;

/*
 * Who sent C, to be called over the connection on which C came; the same for all calls that came
 * on it.  With a reference for the caller.  NULL: no way back (no connection, no memory).
 */
struct rpc_peer *rpc_call_peer(struct rpc_call *c);

/*
 * Who listens at ADDR.  Connects at the first call, and again at the next one after the connection
 * was lost; ends the connection with the last reference.  -ENOMEM.  Never waits.
 */
int rpc_peer_dial(struct rpc_server *s, const struct rpc_addr *addr, struct rpc_peer **ret_peer);

/* P, which was dialed and not called yet, is called from that address (of any port). */
void rpc_peer_from(struct rpc_peer *p, const struct rpc_addr *local);

/* False: no call will ever reach it; the connection that it came from is gone. */
bool rpc_peer_alive(const struct rpc_peer *p);

struct rpc_peer *rpc_peer_get(struct rpc_peer *p);
void rpc_peer_put(struct rpc_peer *p);		/* NULL is nobody */

struct rpc_request {
	uint32_t prog, vers, proc;
	const struct rpc_cred *cred;		/* AUTH_NONE or AUTH_SYS */
	const void *args;
	size_t args_len;
	unsigned timeout_ms;			/* for all: connecting, sending, the answer */
};

/*
 * Calls P and waits for the answer: the results' bytes, LEN of them, in BUF.
 *
 *	-ETIMEDOUT	no answer; one that comes later is dropped
 *	-ECONNRESET	the connection ended; other errors are connect's
 *	-EBUSY		a limit is reached
 *	-EACCES		the credential was refused
 *	-EOPNOTSUPP	the program, its version or the procedure isn't there
 *	-EREMOTEIO	it didn't like the arguments, or failed
 *	-EBADMSG	its answer is malformed, or doesn't fit into CAP bytes
 *	-ESHUTDOWN	the server stops
 *	-ENOMEM
 */
int rpc_peer_call(struct rpc_peer *p, const struct rpc_request *q, void *buf, size_t cap,
		  size_t *ret_len);

/*
 * The same by UDP, from the address FROM (NULL: any) and any port: asks again now and then until
 * there is an answer.  Also -ECONNREFUSED: nobody listens there.
 */
int rpc_udp_call(struct rpc_server *s, const struct rpc_addr *to, const struct rpc_addr *from,
		 const struct rpc_request *q, void *buf, size_t cap, size_t *ret_len);

/*
 * Somebody in this process, for tests: FN stands for the connection and the program behind it, and
 * answers as rpc_peer_call().  A call given to rpc_serve_via() comes from it.
 */
typedef int rpc_peer_fn(void *arg, const struct rpc_request *q, void *buf, size_t cap,
			size_t *ret_len);
struct rpc_peer *rpc_peer_local(rpc_peer_fn *fn, void *arg);
/* It is not alive any more. */
void rpc_peer_cut(struct rpc_peer *p);
int rpc_serve_via(const struct rpc_service *s, const struct rpc_addr *addr, struct rpc_peer *via,
		  const void *call, size_t len, uint8_t **ret_reply, size_t *ret_len);

#endif
