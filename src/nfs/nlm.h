/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks of NFSv3 clients: NLM version 4 (X/Open XNFS chapter 10, RFC 1813 appendix II) and NSM
 * (X/Open XNFS chapter 11), the program by which hosts tell each other that they were restarted.
 *
 *	nlm_host --- lockers (an owner on a file) --- lock_holder: ranges (locks.h)
 *	    |            |
 *	    |            +--- blocks: who waits, or was given a lock and isn't told yet
 *	    +------- shares (a DOS owner on a file)
 *	    +------- answers to the *_MSG procedures, to be sent
 *
 * A host is an address and the name that it calls itself: clients behind one address are told
 * apart.  An owner is a host and the number of its process, as Linux has it.  There are no leases:
 * locks stay until the client lets go, or says that it was restarted (SM_NOTIFY, FREE_ALL).
 *
 * A host is on record in the pool (nfs4_recovery.h) before it gets its first lock, and until it has
 * had none for a while.  Who was on record when the server starts is told that it was restarted, and
 * may reclaim his locks in the grace period.
 *
 * Nothing in nlm_state.c waits.  What is sent to a host is sent by one fiber for it, which exists
 * while there is something (nlm_call.c).
 */
#ifndef NFS_NLM_H
#define NFS_NLM_H

#include "nfs/host.h"
#include "nfs/nfs4_state.h"

#define NLM_STRING_MAX 1024		/* LM_MAXSTRLEN, LM_MAXNAMELEN */
#define NLM_OBJECT_MAX 1024		/* MAXNETOBJ_SZ */
#define NLM_HOSTS_MAX 4096
#define NLM_RANGES_MAX 65536		/* of a host */
#define NLM_BLOCKS_MAX 256		/* of a host */
#define NLM_ANSWERS_MAX 64		/* of a host */
#define NLM_BYTES_MAX (32u << 20)	/* of all: hosts, lockers, shares, blocks, answers */
#define NLM_CALLERS_MAX 64		/* hosts that are called at a time */
#define NSM_CALLERS_MAX 32		/* that are told of a restart at a time */
#define NLM_IDLE_S 300			/* a host without anything is forgotten after that */
#define NLM_LATE_S 900			/* so late may the word of a restart come */

enum nlm_stat {
	NLM_GRANTED = 0, NLM_DENIED = 1, NLM_DENIED_NOLOCKS = 2, NLM_BLOCKED = 3,
	NLM_DENIED_GRACE_PERIOD = 4, NLM_DEADLCK = 5, NLM_ROFS = 6, NLM_STALE_FH = 7, NLM_FBIG = 8,
	NLM_FAILED = 9,
};

enum {
	NLM_PROC_TEST = 1, NLM_PROC_LOCK, NLM_PROC_CANCEL, NLM_PROC_UNLOCK, NLM_PROC_GRANTED,
	NLM_PROC_TEST_MSG, NLM_PROC_LOCK_MSG, NLM_PROC_CANCEL_MSG, NLM_PROC_UNLOCK_MSG,
	NLM_PROC_TEST_RES = 11, NLM_PROC_LOCK_RES, NLM_PROC_CANCEL_RES, NLM_PROC_UNLOCK_RES,
	NLM_PROC_SHARE = 20, NLM_PROC_UNSHARE, NLM_PROC_NM_LOCK, NLM_PROC_FREE_ALL,
};

struct nlm_args {			/* of all procedures but FREE_ALL */
	struct xdr_bytes cookie, caller, fh, oh;
	uint64_t offset, length;	/* length 0: to the end */
	int32_t svid;
	uint32_t state;			/* LOCK: the client's, of NSM; 0: it doesn't say */
	bool block, exclusive, reclaim;
	uint32_t mode, access;		/* SHARE: what others may not do; what he does */
};

struct nlm_res {			/* refers to the arguments, and to the holder's locker */
	struct xdr_bytes cookie, oh;
	enum nlm_stat stat;
	bool exclusive;			/* TEST that was denied: the holder */
	int32_t svid;
	uint64_t offset, length;
};

struct nlm_host {
	struct nfs4_link link;
	struct list entry;		/* nlm's hosts, used longest ago first */
	struct nlm_state *nlm;
	struct rpc_addr addr, local;	/* of the host; that it calls us by */
	uint64_t used_ns;
	unsigned active;		/* requests that wait, and its fiber */
	struct lock_quota ranges;
	struct list lockers, shares, blocks, answers;
	unsigned nblocks, nanswers;
	bool recorded;
	struct list calls;		/* nlm's to_call: waits for a fiber */
	bool calling;			/* it has one */
	struct host_way lockd;		/* if it was found */
	uint32_t name_len;
	uint8_t name[];
};

struct nlm_locker {
	struct nfs4_link link;		/* by host, svid and file */
	struct list in_host;
	struct nlm_host *host;
	struct nfs4_file *file;
	struct lock_holder holder;
	unsigned nblocks;
	int32_t svid;
	uint32_t state;			/* NSM's, of the host when it locked last */
	uint64_t since_ns;
	uint32_t oh_len;
	uint8_t oh[];
};

struct nlm_block {
	struct lock_waiter wait;
	struct list in_host;
	struct nlm_locker *locker;
	uint64_t offset, length;	/* as he asked for it */
	bool granted;			/* it has the lock; the host is to be told */
	bool gone;			/* while it is being told: of no interest any more */
	bool telling, maybe_told;
	unsigned tries;
	uint64_t due_ns;		/* of the next try */
};

struct nlm_share {
	struct list in_host, in_file;
	struct nlm_host *host;
	struct nfs4_file *file;
	uint32_t access, deny, oh_len;
	uint8_t oh[];
};

struct nlm_answer {
	struct list entry;
	uint32_t proc, len, bytes;
	uint8_t args[];
};

/* A host that is to be told of our restart. */
struct nsm_notice {
	struct list entry;
	struct rpc_addr addr, local;
	unsigned tries;
	uint64_t due_ns;
};

struct nlm_state {
	struct nfs_server *server;
	struct nfs4_state *st;
	struct nfs4_table hosts, lockers;
	struct list by_use, to_call;
	struct list notices;		/* those that nobody works at, in the order of their times */
	unsigned ncallers;
	size_t bytes;
	uint32_t nsm_state;		/* odd: up; another at every start */
	bool stop;
	struct waitq work;		/* of the fibers */
	uint64_t cookie;
	/* Calls Q at TO, from FROM, by WAY if that was found; nlm_call_by_network(), but for tests. */
	int (*call)(struct nlm_state *nlm, const struct rpc_addr *to, const struct rpc_addr *from,
		    struct host_way *way, const struct rpc_request *q, void *buf, size_t cap,
		    size_t *ret_len);
};

/* May wait. */
int nlm_state_new(struct nfs_server *s, struct nlm_state **ret_nlm);
/* Before nfs4_state_stop(), which waits for the fibers; and after it, before nfs4_state_free(). */
void nlm_state_stop(struct nlm_state *nlm);
void nlm_state_free(struct nlm_state *nlm);

/* ---- nlm_state.c --------------------------------------------------------------------- */

/* The host; NULL: there is none.  A new one, if there is room (NULL: no). */
struct nlm_host *nlm_host_find(struct nlm_state *nlm, const struct rpc_addr *addr,
			       struct xdr_bytes name);
struct nlm_host *nlm_host_get(struct nlm_state *nlm, const struct rpc_addr *addr,
			      const struct rpc_addr *local, struct xdr_bytes name);
/* Puts H on record, if it isn't yet: OK or DELAY.  May wait. */
uint32_t nlm_host_record(struct nlm_state *nlm, struct nlm_host *h);
bool nlm_host_may_reclaim(const struct nlm_state *nlm, const struct nlm_host *h);
/*
 * The host that calls itself NAME was restarted, and is in STATE now: its locks and shares go.  A
 * name that isn't known stands for the only host at ADDR, if there is only one.  Nobody can speak for
 * a host at another address.
 *
 * This word may come late, or twice: locks that were taken in the same state and not long ago are of
 * after the restart, and stay.  STATE 0: none stay.
 */
void nlm_host_restarted(struct nlm_state *nlm, const struct rpc_addr *addr, struct xdr_bytes name,
			uint32_t state);
/* Forgets the hosts that have nothing, and had nothing for a while. */
void nlm_sweep(struct nlm_state *nlm);

struct nlm_locker *nlm_locker_find(const struct nlm_state *nlm, const struct nlm_host *h,
				   int32_t svid, const struct nfs4_file *f);
/* NULL: too much of everything, or no memory.  Must be put when it has got nothing. */
struct nlm_locker *nlm_locker_get(struct nlm_state *nlm, struct nlm_host *h, int32_t svid,
				  struct xdr_bytes oh, const struct fs_id *id);
/* Frees it if it has neither ranges nor blocks. */
void nlm_locker_put(struct nlm_state *nlm, struct nlm_locker *l);
static inline struct nlm_locker *nlm_locker_of(const struct lock_holder *h)
{
	return container_of(h, struct nlm_locker, holder);
}

/* L's block for just this; NULL. */
struct nlm_block *nlm_block_find(const struct nlm_locker *l, struct lock_span span);
/* L waits for SPAN.  -ENOSPC, -ENOMEM. */
int nlm_block_new(struct nlm_state *nlm, struct nlm_locker *l, const struct nlm_args *a,
		  struct lock_span span);
/* It waits no longer, or needn't be told; its locker is not put. */
void nlm_block_end(struct nlm_state *nlm, struct nlm_block *b);
/* Ends those of L that SPAN covers. */
void nlm_blocks_end(struct nlm_state *nlm, struct nlm_locker *l, struct lock_span span);

/* Whether another share than SELF (or NULL) of F is against ACCESS or DENY. */
bool nlm_share_conflict(const struct nfs4_file *f, const struct nlm_share *self, uint32_t access,
			uint32_t deny);
/* GRANTED, DENIED or DENIED_NOLOCKS; DENIED_GRACE_PERIOD while a v4 client whose lease ran out makes
 * way. */
enum nlm_stat nlm_share(struct nlm_state *nlm, struct nlm_host *h, const struct nlm_args *a,
			const struct fs_id *id);
void nlm_unshare(struct nlm_state *nlm, struct nlm_host *h, const struct nlm_args *a,
		 const struct fs_id *id);

/* Zeroed memory out of NLM_BYTES_MAX; NULL: there is no more. */
void *nlm_alloc(struct nlm_state *nlm, size_t bytes);
void nlm_free(struct nlm_state *nlm, void *p, size_t bytes);

/* ---- nlm_call.c ---------------------------------------------------------------------- */

/* There is something to be sent to H: sees to it that a fiber does. */
void nlm_call_host(struct nlm_state *nlm, struct nlm_host *h);
/* Queues the result of a *_MSG procedure. */
void nlm_answer_later(struct nlm_state *nlm, struct nlm_host *h, uint32_t proc,
		      const struct nlm_res *r);
void nlm_answers_drop(struct nlm_state *nlm, struct nlm_host *h);
int nlm_call_by_network(struct nlm_state *nlm, const struct rpc_addr *to,
			const struct rpc_addr *from, struct host_way *way,
			const struct rpc_request *q, void *buf, size_t cap, size_t *ret_len);

/* ---- nsm.c --------------------------------------------------------------------------- */

/* Reads from the records who is to be told that we were restarted.  May wait. */
int nsm_init(struct nlm_state *nlm);
void nsm_done(struct nlm_state *nlm);
/* What goes on as long as the server listens, in the background.  -EAGAIN as nfs4_spawn(). */
int nsm_start(struct nlm_state *nlm);

/* ---- nlm_xdr.c ----------------------------------------------------------------------- */

void nlm_dec_test(struct xdr_in *in, void *args);
void nlm_dec_lock(struct xdr_in *in, void *args);
void nlm_dec_cancel(struct xdr_in *in, void *args);
void nlm_dec_unlock(struct xdr_in *in, void *args);
void nlm_dec_share(struct xdr_in *in, void *args);
void nlm_put_res(struct xdr_out *out, const struct nlm_res *r, bool test);
/* GRANTED's arguments. */
void nlm_put_granted(struct xdr_out *out, const struct nlm_block *b, uint64_t cookie,
		     const char *name, const uint8_t *handle);

#endif
