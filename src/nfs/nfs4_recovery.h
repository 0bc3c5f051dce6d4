/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After a restart, and when leases run out (RFC 8881 section 8.4, RFC 7530 section 9.6).
 *
 * State is in memory only.  What is durable is who may have had some: the records.  A run that
 * begins with records begins with a grace period, in which those clients and nobody else may take
 * back what they had, and nothing is given that could be theirs:
 *
 *	records ------> GRACE ---- all are back, or its time is over ----> the ordinary
 *	none -----------------------------------------------------------> the ordinary
 *
 * The grace period ends early when every client on record has said RECLAIM_COMPLETE; clients of
 * NFSv4.0 and NLM can't, so with one of them it lasts its whole time.  While reclaims arrive it is
 * prolonged, by a second at a time and up to twice.  At its end the records of those who did not
 * come back are removed durably, and only then others get what they had: so a crash at any moment
 * leaves the records of just those whose state nobody else can have got.
 *
 * A client whose lease ran out keeps all it has until it is in somebody's way.  Then its record
 * is removed in the background while who is in need is told to come again (DELAY), and its state
 * goes when the record is gone.
 */
#ifndef NFS_NFS4_RECOVERY_H
#define NFS_NFS4_RECOVERY_H

#include "base/fiber.h"
#include "nfs/nfs4_records.h"

struct nfs4_state;
struct nfs4_client;
struct nfs4_compound;

struct nfs4_recovery {
	struct nfs4_records *records;
	bool grace, ending;		/* ending: the records of who isn't back are on their way out */
	bool reclaimed;			/* something was, since the time was looked at last */
	uint64_t end_ns, last_end_ns;	/* of the grace period; no later than the last */
	struct list leaving;		/* clients that wait for their records' removal */
	unsigned nleaving;
	/* the fiber that does all this */
	bool running, stop, pending;	/* pending: there is something to do */
	bool failed;			/* the pool didn't take a removal: to be tried again */
	struct waitq work, ended;
};

/* Reads the records.  May wait. */
int nfs4_recovery_init(struct nfs4_state *st);
void nfs4_recovery_done(struct nfs4_state *st);
/* The background fiber.  Stopping waits for it. */
int nfs4_recovery_start(struct nfs4_state *st);
void nfs4_recovery_stop(struct nfs4_state *st);
/* One round of what the fiber does; may wait.  For tests that have none. */
void nfs4_recovery_run(struct nfs4_state *st);

bool nfs4_in_grace(const struct nfs4_state *st);
/* OK, or why C can't reclaim now (NO_GRACE).  Ask after the last wait before state is entered. */
uint32_t nfs4_may_reclaim(const struct nfs4_state *st, const struct nfs4_client *c);
/*
 * Whether new state may be given to the caller: as far as time goes.  A RECLAIM: nfs4_may_reclaim();
 * else GRACE in the grace period, or before the client has said that it reclaims nothing (more).
 */
uint32_t nfs4_check_grace(const struct nfs4_compound *cp, bool reclaim);
/* Something was just reclaimed. */
void nfs4_reclaimed(struct nfs4_state *st);
/*
 * Puts C on record: before its first state is given (4.0), and when it has reclaimed all (4.1).
 * OK or DELAY.  May wait.
 */
uint32_t nfs4_recovery_record(struct nfs4_state *st, struct nfs4_client *c);
/* The same for hosts of NLM, whose owner is KEY; NOTE is kept with the record. */
uint32_t nfs4_recovery_record_host(struct nfs4_state *st, struct xdr_bytes key, const char *note);
bool nfs4_recovery_host_may_reclaim(const struct nfs4_state *st, struct xdr_bytes key);
void nfs4_recovery_forget_host(struct nfs4_state *st, struct xdr_bytes key);
/*
 * C is confirmed and goes for good, not replaced by another of its owner: its record is to go as
 * well.  False: there is none.
 */
bool nfs4_recovery_forget(struct nfs4_state *st, struct nfs4_client *c);
/*
 * C's lease ran out, and it is in somebody's way.  True: it is gone; false: it will be, and who
 * asks for what it has is to be told DELAY.
 */
bool nfs4_client_expire(struct nfs4_state *st, struct nfs4_client *c);

#endif
