/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls to NFSv4 clients: the back channels of sessions (RFC 8881 section 2.10.3.1, 2.10.6, 20),
 * and 4.0's callbacks over a connection of the server's own (RFC 7530 section 16.33.5, 15).
 *
 *	client --- queue of callbacks, one of them on its way
 *	   |         a fiber sends them while there are any
 *	   +------ sessions --- back channel --- connections
 *	   +------ or 4.0's address
 *
 * A client gets one callback at a time, in a back channel's slot 0.  A way is used only once
 * CB_NULL was answered on it; one that doesn't answer is given up, and the client is told that (in
 * SEQUENCE, or by RENEW) so that it makes another.  A callback is tried until its time is over:
 * again when the client says DELAY; the same request again, maybe on another way, when the
 * connection was lost.
 *
 * Nothing here waits but nfs4_callbacks_stop().
 */
#ifndef NFS_NFS4_CALLBACK_H
#define NFS_NFS4_CALLBACK_H

#include "base/fiber.h"
#include "base/list.h"
#include "nfs/nfs4.h"
#include "rpc/client.h"

#define NFS4_BACK_CONNS_MAX 8		/* of a session; of more, the oldest go */
#define NFS4_CB_BYTES_MAX 2048		/* of a callback's arguments, CB_SEQUENCE and all */
#define NFS4_CB_QUEUE_MAX 1024		/* callbacks of a client that nobody else limits */

enum { NFS4_CB_GETATTR = 3, NFS4_CB_RECALL = 4, NFS4_CB_SEQUENCE = 11, NFS4_CB_NOTIFY_LOCK = 13,
       NFS4_CB_OFFLOAD = 15 };

struct nfs4_state;
struct nfs4_client;
struct nfs4_session;
struct nfs4_cb;

struct nfs4_cb_kind {
	uint32_t num;			/* the operation */
	uint32_t minor;			/* the first minor version that knows it */
	/* Writes its arguments.  Is called at most once. */
	void (*encode)(const struct nfs4_state *st, const struct nfs4_cb *cb,
		       struct xdr_out *out);
	/*
	 * It is over, and CB forgotten (it may be freed here).  ERR 0: answered with STATUS, and
	 * RES is at the results.  Else the client was not reached in time, or is gone.
	 */
	void (*done)(struct nfs4_state *st, struct nfs4_cb *cb, int err, uint32_t status,
		     struct xdr_in *res);
	/* May the client say STATUS only for now?  DELAY always means that.  NULL: no others. */
	bool (*for_now)(uint32_t status);
};

/* A callback: embedded in what it is about, whose owner cancels it before that goes. */
struct nfs4_cb {
	struct list entry;		/* client's queue */
	struct nfs4_client *client;	/* NULL: neither in the queue nor on its way */
	const struct nfs4_cb_kind *kind;
	uint64_t until_ns;		/* loop_now_ns() */
};

/* A session's back channel. */
struct nfs4_back {
	uint32_t prog;
	bool allowed;			/* one of the kinds of credentials will do */
	struct rpc_cred cred;
	bool had;			/* there was a connection once: its loss is told */
	bool up;			/* CB_NULL was answered on conns[0] */
	bool fault;			/* client and server disagree on the slot: of no use any more */
	uint32_t seq;			/* slot 0's last request */
	bool unsure;			/* which the client may not have seen */
	struct nfs4_channel attrs;
	unsigned nconns;
	struct rpc_peer *conns[NFS4_BACK_CONNS_MAX];	/* the first is used */
};

/* Where a 4.0 client listens. */
struct nfs4_cb_path {
	struct rpc_peer *peer;		/* NULL: nowhere */
	uint32_t prog, ident;
	bool up, down;			/* CB_NULL was answered; not any more */
};

struct nfs4_cbs {			/* of a client */
	struct nfs4_state *st;
	struct list queue;
	unsigned queued;
	struct nfs4_cb *now;		/* on its way; NULL: it was cancelled, or none is */
	struct nfs4_cb_path path;
	struct waitq changed;		/* there is another way, or nothing left to do */
	bool untried;			/* a way could not be tried: there are too many calls now */
	bool running;			/* the fiber; the client stays as long */
};

void nfs4_cbs_init(struct nfs4_cbs *q, struct nfs4_state *st);

/* ---- ways to the client -------------------------------------------------------------- */

/* Fits what the client asked for to what the server uses. */
void nfs4_back_limit(struct nfs4_channel *back);
/* Where and how the client of S wants to be called (CREATE_SESSION, BACKCHANNEL_CTL). */
void nfs4_back_set(struct nfs4_session *s, uint32_t prog, const struct nfs4_cb_sec *sec);
/* The connection of CALL belongs to the back channel of S from now on.  False: it can't. */
bool nfs4_back_bind(struct nfs4_state *st, struct nfs4_session *s, struct rpc_call *call);
/* Gives back what it holds. */
void nfs4_back_done(struct nfs4_back *b);
/* What SEQUENCE says of it: some of SEQ4_STATUS_*. */
uint32_t nfs4_back_flags(struct nfs4_session *s);

/*
 * 4.0: the client listens at ADDR from now on; IDENT goes into each callback.  ADDR NULL: nowhere.
 * For SETCLIENTID_CONFIRM.
 */
void nfs4_cb_address(struct nfs4_state *st, struct nfs4_client *c, const struct rpc_addr *addr,
		     uint32_t prog, uint32_t ident);
/* For RENEW: the way was there, and is gone. */
bool nfs4_cb_path_down(const struct nfs4_client *c);

/* Callbacks reach C, as far as is known; or they may, but that was not tried yet. */
bool nfs4_cb_works(const struct nfs4_client *c);
bool nfs4_cb_may_work(const struct nfs4_client *c);

/* ---- callbacks ----------------------------------------------------------------------- */

/* Sends CB to C; after TIMEOUT_NS it is given up.  URGENT: before those that wait. */
void nfs4_cb_send(struct nfs4_state *st, struct nfs4_client *c, struct nfs4_cb *cb,
		  const struct nfs4_cb_kind *kind, uint64_t timeout_ns, bool urgent);
/* It is not wanted any more: done() won't be called. */
void nfs4_cb_cancel(struct nfs4_cb *cb);
/* C is dead: its callbacks are over. */
void nfs4_cbs_drop(struct nfs4_state *st, struct nfs4_client *c);
/* The server is stopping: waits until no callback is on its way. */
void nfs4_callbacks_stop(struct nfs4_state *st);

#endif
