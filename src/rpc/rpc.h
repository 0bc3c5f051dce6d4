/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ONC RPC version 2 (RFC 5531), the server's side, without any transport.
 *
 * A program is a table: one const row per procedure, that says how to decode its arguments,
 * who handles them and how to encode the result.  A struct rpc_service is what one listening
 * socket offers: programs, and the state that goes with them.
 *
 * A call's way:   bytes -> rpc_call_parse() -> rpc_call_run() -> iovecs -> rpc_call_done()
 *
 *   parse   header and credentials; never waits
 *   run     decode, look into the duplicate request cache, handle (may wait), encode
 *   done    gives back what the reply pointed to; after the reply was sent; never waits
 *
 * The bytes of the call must stay where they are until run has returned.  The transport
 * (rpc/server.h) does this for connections; tests and fuzzers do it through rpc_serve().
 */
#ifndef RPC_RPC_H
#define RPC_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "rpc/xdr.h"

#define RPC_VERSION 2
#define RPC_GROUPS_MAX 16		/* AUTH_SYS, RFC 5531 appendix A */
#define RPC_AUTH_MAX 400		/* bytes of a credential or verifier */
#define RPC_CALL_MAX ((1u << 20) + (64u << 10))	/* bytes of one call */
#define RPC_ARGS_MAX 768		/* sizes of decoded arguments and results in memory */
#define RPC_RES_MAX 10752
#define RPC_HEAD_BYTES 2048		/* of a reply, without what is spliced in */
#define RPC_MARK_BYTES 4		/* room for the record mark before each reply */

enum rpc_flavor { RPC_AUTH_NONE = 0, RPC_AUTH_SYS = 1 };
enum rpc_auth_stat {
	RPC_AUTH_OK = 0, RPC_AUTH_BADCRED = 1, RPC_AUTH_REJECTEDCRED = 2, RPC_AUTH_BADVERF = 3,
	RPC_AUTH_REJECTEDVERF = 4, RPC_AUTH_TOOWEAK = 5,
};
enum rpc_accept_stat {
	RPC_SUCCESS = 0, RPC_PROG_UNAVAIL = 1, RPC_PROG_MISMATCH = 2, RPC_PROC_UNAVAIL = 3,
	RPC_GARBAGE_ARGS = 4, RPC_SYSTEM_ERR = 5,
};

/* An IP address; IPv4 in its v4-mapped form, so that there is one kind. */
struct rpc_addr { uint8_t ip[16]; uint16_t port; };

bool rpc_addr_is_v4(const struct rpc_addr *a);
/* "127.0.0.1" or "::1"; never waits. */
#define RPC_ADDR_TEXT 48
void rpc_addr_text(const struct rpc_addr *a, char ret_text[RPC_ADDR_TEXT]);
/* The other way round, with port 0; false: TEXT is none. */
bool rpc_addr_parse(const char *text, struct rpc_addr *ret_addr);

struct rpc_cred {
	uint32_t flavor;		/* AUTH_NONE or AUTH_SYS; others don't get through */
	uint32_t uid, gid, ngroups;
	uint32_t groups[RPC_GROUPS_MAX];
};

struct rpc_call;

enum {
	RPC_ONCE = 1,			/* not idempotent: through the duplicate request cache */
	RPC_RES_RAW = 2,		/* the result is not zeroed before the handler */
	RPC_ANY_AUTH = 4,		/* AUTH_NONE will do */
	RPC_BULK = 8,			/* with RPC_ONCE: so frequent that its answers are kept
					 * apart, where they don't push out the others' */
	RPC_NOT_UDP = 16,		/* its answer is much longer than the question: not for
					 * whoever the sender's address belongs to */
};

struct rpc_proc {
	const char *name;
	uint32_t args_bytes, res_bytes, flags;
	/* Reads the arguments; what is malformed makes IN bad. */
	void (*decode)(struct xdr_in *in, void *args);
	/* Does it; may wait.  Its value, 0 or a negative code, is in c->status afterwards, and
	 * the encoder writes it in the words of its protocol. */
	int (*handle)(struct rpc_call *c, void *args, void *res);
	/* Writes the results; never waits.  NULL: none. */
	void (*encode)(struct rpc_call *c, struct xdr_out *out, const void *res);
	/* Gives back what RES holds once the reply was sent; never waits.  NULL: nothing. */
	void (*release)(struct rpc_call *c, void *res);
	/* Bytes that the reply will pin beyond its head, as far as the arguments tell.  NULL: 0 */
	uint32_t (*cost)(const void *args);
};

struct rpc_program {
	const char *name;
	uint32_t prog, vers;
	const struct rpc_proc *procs;	/* a row without a handler is PROC_UNAVAIL */
	uint32_t nprocs;
};

struct rpc_proc_stats { uint64_t calls, errors, total_ns; };
uint64_t rpc_now_ns(void);		/* the clock of total_ns */

/* A program as offered: one per program and version. */
struct rpc_binding {
	const struct rpc_program *program;
	void *ctx;			/* the handlers' */
	struct rpc_proc_stats *stats;	/* nprocs of them */
};

struct drc;

struct rpc_service {
	struct rpc_binding *bindings;
	unsigned nbindings;
	struct drc *drc, *bulk_drc;	/* for RPC_ONCE, without and with RPC_BULK; NULL: none */
};

struct rpc_conn;
struct rpc_peer;

struct rpc_call {
	/* from the call */
	uint32_t xid, prog, vers, proc;
	struct rpc_addr peer, local;
	struct rpc_conn *conn;		/* the transport's; NULL: there is none */
	struct rpc_peer *via;		/* rpc_serve_via()'s; NULL: none */
	bool datagram;			/* it came by UDP */
	struct rpc_cred cred;
	struct xdr_in in;		/* the arguments */
	const uint8_t *body;		/* where they begin */
	uint64_t digest;		/* of who asks for what; 0 unless RPC_ONCE */
	const struct rpc_service *service;
	const struct rpc_binding *binding;	/* NULL: refused already */
	const struct rpc_proc *row;
	/* Set for a retransmission of a call that was executed before a crash: what became of it.
	 * The handler answers with success and changes nothing. */
	const void *replayed;
	uint64_t begun_ns;		/* rpc_now_ns() when the handler was called */
	/* to the reply */
	int status;			/* of the handler */
	uint64_t ended_ns;		/* a handler may set it: it has just looked at the clock */
	enum rpc_auth_stat auth_stat;	/* a handler may set it: the call is then refused */
	bool forget;			/* the handler's wish: don't keep this answer */
	bool lost;			/* no memory for the answer: the client has to ask again */
	bool release_due;
	uint8_t refusal;
	uint32_t low, high;
	struct xdr_out out;		/* begins with RPC_MARK_BYTES of room */
	void *big;			/* from rpc_call_reserve() */
	struct drc_entry *entry;	/* its place among those that are executed once */
	struct iovec known;		/* not NULL: the answer that was given before */
	const uint8_t *cred_body;
	uint32_t cred_len;
	uint8_t args[RPC_ARGS_MAX] __attribute__((aligned(16)));
	uint8_t head[RPC_HEAD_BYTES] __attribute__((aligned(16)));
	uint8_t res[RPC_RES_MAX] __attribute__((aligned(16)));
};

/* Asserts what the tables promise (sizes); once, at start. */
void rpc_service_check(const struct rpc_service *s);

/*
 * Reads the header of a call.  c->peer, local, conn, via and datagram are the caller's to set.
 * -EBADMSG when this is not an RPC call at all (the connection is not worth keeping); else 0, also
 * when the call has to be refused.  After success rpc_call_run() and rpc_call_done() must follow.
 */
int rpc_call_parse(struct rpc_call *c, const struct rpc_service *s, const void *data, size_t len);

/* Runs it; c->out is finished then, and the mark's room is zero.  May wait. */
void rpc_call_run(struct rpc_call *c);

/* Bytes that the reply may pin; after parsing, reads ahead in the arguments. */
uint32_t rpc_call_cost(const struct rpc_call *c);

void rpc_call_done(struct rpc_call *c);

/* For handlers: the reply's head may need BYTES.  -ENOMEM. */
int rpc_call_reserve(struct rpc_call *c, size_t bytes);

/*
 * For handlers of procedures without RPC_ONCE that find that this call, as an exception, must not
 * be executed twice; before it changes anything.  DIGEST is the call's or, where it may change from
 * one sending to the next, the handler's own.  May wait.  True: it was executed before, and its
 * answer is known: the handler returns without waiting, and what it would answer is not sent.
 */
bool rpc_call_once(struct rpc_call *c, uint64_t digest);
/* Whoever asks for the same thing again gets the same; never 0. */
uint64_t rpc_call_digest(const struct rpc_call *c);

static inline void *rpc_ctx(const struct rpc_call *c) { return c->binding->ctx; }

/*
 * The whole way in memory: a call in, the reply out (without a record mark) into a buffer from
 * malloc that the caller frees.  May wait.  -EBADMSG as rpc_call_parse(), -ENOMEM.
 */
int rpc_serve(const struct rpc_service *s, const struct rpc_addr *peer, const void *call,
	      size_t len, uint8_t **ret_reply, size_t *ret_len);

#endif
