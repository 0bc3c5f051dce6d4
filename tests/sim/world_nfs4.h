/* SPDX-License-Identifier: Apache-2.0 */
/* What world_nfs4.c has for others who speak NFSv4. */
#ifndef SIM_WORLD_NFS4_H
#define SIM_WORLD_NFS4_H

#include "world.h"

enum { SEQUENCE = 53, PUTFH = 22, SAVEFH = 32, LOOKUP = 15, GETFH = 10, GETATTR = 9, OPEN = 18, CLOSE = 4,
       CREATE = 6, REMOVE = 28, RENAME = 29, SETATTR = 34, WRITE = 38, READ = 25, COMMIT = 5,
       READDIR = 26, CLONE = 71, LOCK = 12, LOCKU = 14, EXCHANGE_ID = 42, CREATE_SESSION = 43,
       RECLAIM_COMPLETE = 58 };
enum { DENIED = 10010, DELAY = 10008, GRACE = 10013, BADSESSION = 10052, COMPLETE_ALREADY = 10054,
       RETRY_UNCACHED = 10068 };

/* The operations of a COMPOUND, SEQUENCE apart. */
struct comp { struct msg m; uint32_t n; bool dont_cache; };
void comp_op(struct comp *k, uint32_t num);
void comp_putfh(struct comp *k, const uint8_t *fh, uint32_t len);
/* The next result is of NUM; returns its status. */
uint32_t comp_result(struct client *c, struct reply *r, uint32_t num);
/* Runs K, whose memory it takes, until there is an answer that is one: in a new session when the old one
 * is gone.  The reply is at the first result. */
struct said comp_run(struct client *c, struct comp *k, struct reply *r);
/* The same once, in the session that there is; K stays.  DELAY, BADSESSION: nothing was answered. */
uint32_t comp_once(struct client *c, const struct comp *k, struct reply *r);

/* world_locks.c: what C held before a restart it asks for again, in its new session. */
void locks_reclaim(struct client *c);

#endif
