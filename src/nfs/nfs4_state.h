/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the server remembers of NFSv4 clients.
 *
 *	client --- sessions --- slots (a cached reply each); none in 4.0 (nfs4_v40.h)
 *	   |
 *	   +------ owners of opens --- opens --- lock states (a lock_holder each)
 *	                                 |           |
 *	                               files (one per fs_id, a lock_set each)
 *
 * All of it is in memory and bounded by the limits below.  Nothing here waits, so that what a
 * function finds is true until its caller waits.  A client that was dropped while requests of it
 * were running stays, dead and without state, until the last of them ends.
 *
 * A client whose lease ran out is kept until it is in somebody's way: a conflicting open or lock,
 * or a limit.  Then it is dropped as a whole (RFC 8881 section 8.4.2.4's courtesy).
 */
#ifndef NFS_NFS4_STATE_H
#define NFS_NFS4_STATE_H

#include "base/fiber.h"
#include "nfs/locks.h"
#include "nfs/nfs4.h"
#include "nfs/nfs4_callback.h"
#include "nfs/nfs4_recovery.h"

#define NFS4_CLIENTS_MAX 4096
#define NFS4_SESSIONS_MAX 16		/* of a client */
#define NFS4_SLOTS_MAX 64		/* of a session */
#define NFS4_CACHED_MAX 8192		/* bytes of one cached reply */
#define NFS4_CACHED_ALL (64u << 20)	/* of all, reserved when sessions are made */
#define NFS4_OPENS_MAX 65536		/* of a client */
#define NFS4_SPAWNED_MAX 1024		/* fibers in the background */
#define NFS4_LOCKS_MAX 65536		/* of a client: lock states, and as many ranges again */
#define NFS4_RANGES_ALL 262144		/* ranges that are locked, of all clients and of NLM */
#define NFS4_WAITERS_MAX 256		/* of a client, for locks that others have */
/* Of all opens, lock states, waiters and their owners, of 4.0's long answers and of notices of locks;
 * one client has half of it at most. */
#define NFS4_STATE_BYTES (128u << 20)
#define NFS4_STATE_RESERVE(max) ((max) / 4)	/* beyond that, for clients that have no more than: */
#define NFS4_STATE_LITTLE(max) ((max) / 1024)

struct nfs4_link { struct nfs4_link *next; uint64_t hash; };
struct nfs4_table { struct nfs4_link **buckets; unsigned size, n; };

struct nfs4_principal { uint32_t flavor, uid; };

/* What CREATE_SESSION answered last. */
struct nfs4_created {
	uint32_t status, flags;
	uint8_t session[NFS4_SESSION_ID];
	struct nfs4_channel fore, back;
};

struct nfs4_client {
	struct nfs4_link by_id, by_owner;
	uint64_t id, verifier;
	struct nfs4_principal principal;
	bool confirmed, reclaimed;
	bool recorded;			/* of 4.0: is on record in this run */
	bool dead, released;		/* is not found any more; has nothing any more */
	uint32_t seq;			/* of the last CREATE_SESSION */
	struct nfs4_created created;
	uint64_t renewed_ns;
	unsigned active;		/* COMPOUNDs under way */
	struct list sessions, opens;
	unsigned nsessions, nopens, nlocks;
	struct lock_quota ranges;
	size_t bytes;			/* of st->bytes */
	struct list waiters;		/* asked longest ago first */
	unsigned nwaiters;
	struct nfs4_cbs cbs;
	struct list delegs;
	unsigned ndelegs, nrevoked;	/* revoked ones are counted in both */
	uint32_t next_sid;
	struct nfs4_v40 *v40;		/* of a client of 4.0, which has no sessions; else NULL */
	struct list offloads;		/* copies, begun longest ago first */
	unsigned noffloads;
	struct list entry;		/* st's, renewed longest ago first; or st's leaving ones */
	uint32_t owner_len;
	uint8_t owner[];
};

struct nfs4_slot {
	uint32_t seq, len, cap;
	bool busy, cached;
	uint64_t digest;
	uint8_t *reply;			/* from COMPOUND's status on */
};

struct nfs4_session {
	struct nfs4_link link;
	struct list entry;		/* client's */
	struct nfs4_client *client;
	uint8_t id[NFS4_SESSION_ID];
	bool dead;
	unsigned active, calls;		/* COMPOUNDs, and callbacks, under way */
	uint32_t minor;
	struct nfs4_back back;
	struct nfs4_channel fore;
	struct nfs4_slot slots[];
};

struct nfs4_owner {			/* of opens or of locks */
	struct nfs4_link link;
	struct nfs4_client *client;
	struct nfs4_seq *seq;		/* of a client of 4.0; else NULL */
	struct list sids;
	unsigned refs;			/* sids, and a running operation of 4.0 */
	bool locks;
	uint32_t len;
	uint8_t name[];
};

struct nfs4_file {			/* held (fs_hold()) while it is there */
	struct nfs4_link link;
	struct fs_id id;
	struct list opens, delegs;
	unsigned accessed[2], denied[2];	/* by how many of them; to read, to write */
	struct lock_set locks;
	struct list shares;		/* NLM's */
	unsigned nlm;			/* owners of locks and shares of NLM */
};

/* CLOSED: an open that is none any more, in 4.0; it has no file. */
enum nfs4_sid_kind { NFS4_SID_OPEN, NFS4_SID_LOCK, NFS4_SID_DELEG, NFS4_SID_CLOSED };

struct nfs4_sid {			/* what a stateid names */
	struct nfs4_link link, by_pair;	/* by its id; by owner and file */
	uint64_t id;
	uint32_t seqid;
	enum nfs4_sid_kind kind;
	struct nfs4_client *client;
	struct nfs4_owner *owner;	/* a delegation has none */
	struct list in_owner;
	struct nfs4_file *file;
};

struct nfs4_open {
	struct nfs4_sid sid;
	struct list in_file, in_client, locks;
	uint32_t access, deny;
	uint8_t seen_access, seen_deny;	/* bit N: an OPEN asked for N */
};

struct nfs4_lock {
	struct nfs4_sid sid;
	struct nfs4_open *open;
	struct list in_open;
	struct lock_holder holder;
};

/* A lock that was refused, to be told of when it gets free. */
struct nfs4_waiter {
	struct lock_waiter wait;
	struct list in_client;
	struct nfs4_state *st;
	struct nfs4_client *client;
	struct nfs4_file *file;
	uint64_t asked_ns;
	uint32_t owner_len;
	uint8_t owner[];
};

/* No delegation on files of this hash for a while. */
struct nfs4_quiet { uint64_t hash, until_ns; };
#define NFS4_QUIET_SLOTS 1024

struct nfs4_state {
	struct nfs_server *server;
	uint32_t boot;			/* in every stateid and clientid of this run */
	uint32_t next_client;
	uint64_t skew_ns, started_ns, lease_ns;
	size_t cached_bytes;		/* reserved */
	size_t bytes, bytes_max;	/* of what clients have open and locked */
	bool ending;			/* what is open stays held: clients come back to it */
	struct lock_quota ranges;	/* of all */
	struct nfs4_table clients, owners_of_clients, sessions, sids, pairs, owners, files;
	struct list by_renewal;
	struct list idle_owners;	/* nfs4_owner.c's */
	unsigned nidle_owners;
	struct nfs4_recovery recovery;
	/* Tells C that OWNER's lock of ID may be had now; must not wait.  NULL: nobody is told, and
	 * who waits isn't remembered. */
	void (*notify_lock)(struct nfs4_state *st, struct nfs4_client *c, const struct fs_id *id,
			    struct xdr_bytes owner);
	/* By number.  What a COMPOUND waits for stable storage counts with the operation that
	 * wanted it first. */
	struct rpc_proc_stats op_stats[NFS4_OP_NUMBERS];
	/* work in the background */
	bool stopping;
	unsigned spawned, prefetches, copies;
	struct waitq spawned_end;
	/* callbacks */
	unsigned nsenders;		/* fibers */
	struct waitq senders_gone;
	/* delegations */
	unsigned ndelegs, ndelegs_live;	/* live: not revoked */
	struct fs_guard guard;
	struct waitq delegs_changed;	/* one went, or its client has answered */
	struct nfs4_quiet quiet[NFS4_QUIET_SLOTS];
};

/*
 * Runs FN(ARG) in a fiber of its own; it ends early once st->stopping is set, and the server waits
 * for it.  -EAGAIN: not now (too many run, the server ends, or there is no loop).
 */
int nfs4_spawn(struct nfs4_state *st, void (*fn)(void *arg), void *arg, const char *name);

uint64_t nfs4_now_ns(const struct nfs4_state *st);

/* tables */
void nfs4_table_add(struct nfs4_table *t, struct nfs4_link *l, uint64_t hash);
void nfs4_table_del(struct nfs4_table *t, struct nfs4_link *l);
struct nfs4_link *nfs4_table_first(const struct nfs4_table *t, uint64_t hash);
struct nfs4_link *nfs4_table_next(const struct nfs4_link *l);
bool nfs4_table_room(struct nfs4_table *t);	/* for one more; false: no memory */

/* clients */
struct nfs4_principal nfs4_principal_of(const struct nfs4_compound *cp);
bool nfs4_same_principal(struct nfs4_principal a, struct nfs4_principal b);
/* V40 (from malloc; NULL: a client with sessions) goes with it. */
struct nfs4_client *nfs4_client_new(struct nfs4_state *st, struct nfs4_v40 *v40,
				    struct xdr_bytes owner, uint64_t verifier,
				    struct nfs4_principal p);
struct nfs4_client *nfs4_client_find(const struct nfs4_state *st, uint64_t id);
/* Those of 4.0 (minor version 0) and those with sessions have names of their own. */
struct nfs4_client *nfs4_client_by_owner(const struct nfs4_state *st, uint32_t minor,
					 struct xdr_bytes owner, bool confirmed);
void nfs4_client_renew(struct nfs4_state *st, struct nfs4_client *c);
bool nfs4_client_expired(const struct nfs4_state *st, const struct nfs4_client *c);
bool nfs4_client_has_state(const struct nfs4_client *c);
/* Takes away all that it has: first its sessions and that it is found, then its opens and locks. */
void nfs4_client_drop(struct nfs4_state *st, struct nfs4_client *c);
void nfs4_client_leave(struct nfs4_state *st, struct nfs4_client *c);
void nfs4_client_release(struct nfs4_state *st, struct nfs4_client *c);
/*
 * Counts BYTES that are kept for C; false: it or all together have what they may.  Room is made for
 * them before, where nothing of other clients is in hand: those whose lease ran out go.
 */
bool nfs4_state_take(struct nfs4_state *st, struct nfs4_client *c, size_t bytes);
void nfs4_state_give(struct nfs4_state *st, struct nfs4_client *c, size_t bytes);
void nfs4_state_make_room(struct nfs4_state *st, size_t bytes);
/* A COMPOUND of it begins, ends. */
void nfs4_client_get(struct nfs4_client *c);
void nfs4_client_put(struct nfs4_state *st, struct nfs4_client *c);
/* Nothing of it is under way any more, maybe: then it goes, if it has been dropped. */
void nfs4_client_idle(struct nfs4_client *c);

/* sessions */
uint32_t nfs4_session_new(struct nfs4_state *st, struct nfs4_client *c, struct nfs4_channel *fore,
			  struct nfs4_session **ret_session);
struct nfs4_session *nfs4_session_find(const struct nfs4_state *st, const uint8_t *id);
void nfs4_session_drop(struct nfs4_state *st, struct nfs4_session *s);
void nfs4_session_put(struct nfs4_state *st, struct nfs4_session *s);
/* A callback in it is over. */
void nfs4_session_called(struct nfs4_state *st, struct nfs4_session *s);

/* owners (nfs4_owner.c) */
struct nfs4_owner *nfs4_owner_find(const struct nfs4_state *st, const struct nfs4_client *c,
				   struct xdr_bytes name, bool locks);
/* Finds or makes it; NULL: no memory.  Put it back. */
struct nfs4_owner *nfs4_owner_get(struct nfs4_state *st, struct nfs4_client *c,
				  struct xdr_bytes name, bool locks);
void nfs4_owner_put(struct nfs4_state *st, struct nfs4_owner *o);
/* C goes: so do its owners that have nothing. */
void nfs4_owners_drop(struct nfs4_state *st, const struct nfs4_client *c);

/* files, opens, locks (nfs4_stateid.c) */
bool nfs4_same_file(const struct fs_id *a, const struct fs_id *b);
uint64_t nfs4_file_hash(const struct fs_id *id);
struct nfs4_file *nfs4_file_find(const struct nfs4_state *st, const struct fs_id *id);
/* The file, made if need be; NULL: no memory, or it is gone.  It is there until it is put when it
 * has got no state (any more). */
struct nfs4_file *nfs4_file_get(struct nfs4_state *st, const struct fs_id *id);
void nfs4_file_put(struct nfs4_state *st, struct nfs4_file *f);
struct nfs4_open *nfs4_open_find(const struct nfs4_state *st, const struct nfs4_client *c,
				 struct xdr_bytes owner, const struct nfs4_file *f);
/* Whether limits let C open one file more, for an owner with a name of OWNER_LEN bytes. */
bool nfs4_open_fits(struct nfs4_state *st, struct nfs4_client *c, uint32_t owner_len);
/* What an owner counts for. */
size_t nfs4_owner_bytes(const struct nfs4_client *c, uint32_t name_len);
/* -ENOMEM; ACCESS and DENY are not checked. */
int nfs4_open_new(struct nfs4_state *st, struct nfs4_client *c, struct xdr_bytes owner,
		  const struct fs_id *id, struct nfs4_open **ret_open);
void nfs4_open_free(struct nfs4_state *st, struct nfs4_open *o);
/* What it has from now on. */
void nfs4_open_set(struct nfs4_open *o, uint32_t access, uint32_t deny);
int nfs4_lock_new(struct nfs4_state *st, struct nfs4_open *o, struct xdr_bytes owner,
		  struct nfs4_lock **ret_lock);
void nfs4_lock_free(struct nfs4_state *st, struct nfs4_lock *l);
/* The lock state of C's lock owner on F: there is one for each. */
struct nfs4_lock *nfs4_lock_find(const struct nfs4_state *st, const struct nfs4_client *c,
				 struct xdr_bytes owner, const struct nfs4_file *f);
/*
 * Whether opening FILE for ACCESS and with DENY is against what others have (SELF is not looked
 * at), NLM's shares included: OK or SHARE_DENIED.  DELAY: a client whose lease ran out is about to
 * make way.
 */
uint32_t nfs4_share_conflict(struct nfs4_state *st, struct nfs4_file *f,
			     const struct nfs4_open *self, uint32_t access, uint32_t deny);
/* The same without NLM's shares. */
uint32_t nfs4_open_conflict(struct nfs4_state *st, struct nfs4_file *f,
			    const struct nfs4_open *self, uint32_t access, uint32_t deny);
/*
 * Whether a lock of others than SELF (or NULL) excludes SPAN of F: OK, or DENIED by RET_RANGE.
 * DELAY: a client other than C (or NULL), whose lease ran out, is about to make way.  One that
 * was gone at once may take the file along: *F is then NULL.
 */
uint32_t nfs4_lock_conflict(struct nfs4_state *st, struct nfs4_file **f,
			    const struct lock_holder *self, const struct nfs4_client *c,
			    struct lock_span span, const struct lock_range **ret_range);
/* nfs4_lock_wait.c: the client's OWNER was refused SPAN of F; to be told when it gets free. */
void nfs4_lock_wait(struct nfs4_state *st, struct nfs4_client *c, struct xdr_bytes owner,
		    struct nfs4_file *f, struct lock_span span);
/* It waits for SPAN no longer. */
void nfs4_lock_wait_end(struct nfs4_client *c, struct xdr_bytes owner, const struct nfs4_file *f,
			struct lock_span span);
void nfs4_waiter_free(struct nfs4_waiter *w);
/* For a new stateid of C: the lower half of his id, and a number that he has no other of. */
uint64_t nfs4_sid_number(const struct nfs4_state *st, struct nfs4_client *c);
/* S is among the stateids from now on, by a new number; false: no memory. */
bool nfs4_sid_add(struct nfs4_state *st, struct nfs4_sid *s);
void nfs4_sid_del(struct nfs4_state *st, struct nfs4_sid *s);
/* The stateid as the client gets it. */
struct nfs4_stateid nfs4_stateid_of(const struct nfs4_state *st, const struct nfs4_sid *s);
void nfs4_stateid_raise(struct nfs4_sid *s);

/* By the id alone; NULL. */
struct nfs4_sid *nfs4_sid_find(const struct nfs4_state *st, const struct nfs4_stateid *id);
uint64_t nfs4_sid_hash(uint64_t id);
/* Whose it is or was, if it was given out in this run. */
uint64_t nfs4_sid_clientid(const struct nfs4_state *st, const struct nfs4_stateid *id);
bool nfs4_stateid_is_special(const struct nfs4_compound *cp, const struct nfs4_stateid *id);
/* Whether ID is S as it is now, and of FILE. */
uint32_t nfs4_stateid_check(const struct nfs4_compound *cp, const struct nfs4_stateid *id,
			    const struct nfs4_sid *s, const struct fs_id *file);
/* Finds what ID names for the current client (in 4.0, of any, who becomes the current one): the
 * current stateid is put in its place. */
uint32_t nfs4_stateid_find(struct nfs4_compound *cp, const struct nfs4_stateid *id,
			   struct nfs4_sid **ret_sid);
/* The same, and it must be of the current file. */
uint32_t nfs4_stateid_here(struct nfs4_compound *cp, const struct nfs4_stateid *id,
			   struct nfs4_sid **ret_sid);
/* May data of FH be read or written (NFS4_OPEN_*) under ID?  Special stateids too. */
uint32_t nfs4_stateid_io(struct nfs4_compound *cp, const struct nfs4_fh *fh,
			 const struct nfs4_stateid *id, uint32_t access);
static inline struct nfs4_lock *nfs4_lock_of(const struct lock_holder *h)
{
	return container_of(h, struct nfs4_lock, holder);
}
/* The open that S is, or that the lock S is under; NULL of a delegation. */
static inline struct nfs4_open *nfs4_sid_open(struct nfs4_sid *s)
{
	if (s->kind == NFS4_SID_DELEG)
		return NULL;
	return s->kind == NFS4_SID_LOCK ? container_of(s, struct nfs4_lock, sid)->open :
					  container_of(s, struct nfs4_open, sid);
}

#endif
