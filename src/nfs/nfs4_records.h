/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may reclaim what he had after a restart: a durable set of records, one for each client that
 * has been, or may be, given opens or locks.
 *
 *	absent ---add---> ADDING ---stable---> KEPT ---doom---> DOOMED ---purge, stable---> absent
 *
 * The two rules that all depends on (RFC 8881 section 8.4.3):
 *   - A record is KEPT before its client gets its first state.  Whoever has none can't reclaim, so
 *     failing to make one costs the client its locks at a restart, and nobody else anything.
 *   - It is absent durably before anything that its client had is given to somebody else.
 *
 * A record is an entry in the pool's hidden volume (docs/format.md): a start reads the names in one
 * directory, however many there are.
 */
#ifndef NFS_NFS4_RECORDS_H
#define NFS_NFS4_RECORDS_H

#include <stdbool.h>
#include <stdint.h>
#include "rpc/xdr.h"

#define NFS4_RECORDS_MAX 8192
#define NFS4_RECORD_KEY 16
#define NFS4_RECORD_NOTE_MAX 1024	/* bytes of a note */

struct fs;
struct nfs4_records;

enum nfs4_record_kind { NFS4_RECORD_40 = 0, NFS4_RECORD_41 = 1, NFS4_RECORD_NLM = 2 };
enum nfs4_record_state { NFS4_RECORD_ADDING, NFS4_RECORD_KEPT, NFS4_RECORD_DOOMED };

struct nfs4_record {
	enum nfs4_record_kind kind;
	enum nfs4_record_state state;
	bool earlier;			/* of the run before this one */
	bool current;			/* its client has come (back) in this run */
	/* nfs4_records.c's */
	struct nfs4_record *next;
	uint8_t key[NFS4_RECORD_KEY];
};

/*
 * Reads what the last run left.  May wait.  -ENOMEM; when the pool won't tell, there are no
 * records in this run, which is logged.
 */
int nfs4_records_open(struct fs *fs, struct nfs4_records **ret_records);
void nfs4_records_close(struct nfs4_records *rs);

unsigned nfs4_records_count(const struct nfs4_records *rs);
/* All in turn: NULL for the first; NULL after the last.  What it returns may be doomed. */
struct nfs4_record *nfs4_records_next(const struct nfs4_records *rs, const struct nfs4_record *r);
/* The record of OWNER; NULL.  Never waits. */
struct nfs4_record *nfs4_record_find(const struct nfs4_records *rs, enum nfs4_record_kind kind,
				     struct xdr_bytes owner);
/*
 * Makes a record, if there is none, durable and current.  NOTE (or NULL) is kept with it.  May
 * wait.  -EAGAIN while an earlier one of the owner is on its way in or out, -ENOSPC with too many;
 * or why the pool won't have it.
 */
int nfs4_record_add(struct nfs4_records *rs, enum nfs4_record_kind kind, struct xdr_bytes owner,
		    const char *note);
/* Its note; -ENOENT when it has none.  May wait. */
int nfs4_record_note(struct nfs4_records *rs, const struct nfs4_record *r,
		     char ret_note[NFS4_RECORD_NOTE_MAX + 1]);
/* It is to go; R is good until the next purge.  Not one that is ADDING.  Never waits. */
void nfs4_record_doom(struct nfs4_records *rs, struct nfs4_record *r);
/*
 * Removes all that were doomed when it was called, durably.  On failure they stay doomed.  A pool that
 * takes no changes any more is no failure: no lock protects anything there in this run, so it does no
 * harm that their entries stay.  May wait; one caller at a time.
 */
int nfs4_records_purge(struct nfs4_records *rs);

#endif
