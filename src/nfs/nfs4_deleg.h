/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Delegations (RFC 8881 section 10.2, 10.4; RFC 7530 section 10.4): a client is promised that
 * nobody else changes a file (read), or that nobody else even opens it (write), and needs not ask.
 *
 *	given ---> returned (DELEGRETURN)
 *	  |
 *	  +--> recalled, because somebody else comes ---> returned
 *	           |
 *	           +--> revoked, after a lease's time ---> freed (FREE_STATEID; at once in 4.0)
 *
 * One is given with an OPEN that asks for it or doesn't refuse it, when callbacks reach the client,
 * and nobody else has the file open for writing (read) or at all (write), nor had one recalled on
 * it lately.  Who comes into conflict with one is told DELAY (by NFSv3: JUKEBOX) and finds it gone
 * when he comes again; the management side waits for that itself, but not for long.  Everybody who
 * uses a file comes by the storage's guard (fs_set_guard()); only OPEN asks by itself.
 *
 * One who asks for the attributes of a file that somebody may write to on his own gets them from
 * that client (CB_GETATTR).  This is the one place where a request waits for another client: it
 * does so for NFS4_GETATTR_MS; then the delegation is recalled.  READDIR and NFSv3 say what has
 * come to the server.
 *
 * After a restart one is reclaimed with an open (CLAIM_PREVIOUS).  Where callbacks can't reach the
 * client, it is recalled by that very answer: so he can bring what he has written, and nobody
 * depends on him.  After a restart of the client itself (CLAIM_DELEGATE_PREV) there is none.
 */
#ifndef NFS_NFS4_DELEG_H
#define NFS_NFS4_DELEG_H

#include "nfs/nfs4_state.h"

#define NFS4_DELEGS_MAX 4096		/* of a client, revoked ones too */
#define NFS4_DELEGS_ALL 32768
#define NFS4_DELEG_LOOKS 256		/* at the opens of a file; of one that has more none is given */
#define NFS4_GETATTR_MS 100
#define NFS4_ADMIN_PATIENCE_MS 10000	/* of the management side */
#define NFS4_QUIET_S 30			/* after a recall, until the file's next delegation */

/* Delegations of others than BY (NULL: nobody) on file ID go, or must.  CHANGE: all do; else those
 * for writing.  NFS4ERR_DELAY: some are there still.  Never waits. */
uint32_t nfs4_deleg_conflict(struct nfs4_state *st, const struct fs_id *id,
			     const struct nfs4_client *by, bool change);

/* What OPEN says of a delegation for O, of a file with CHANGE: in op->open.deleg.  MAY_READ: so may
 * the caller. */
void nfs4_deleg_offer(struct nfs4_compound *cp, struct nfs4_op *op, const struct nfs4_open *o,
		      uint64_t change, bool may_read);
/* May an open of file ID (NULL: that isn't known yet) for ACCESS be claimed by delegation DELEG? */
uint32_t nfs4_deleg_claim(struct nfs4_compound *cp, const struct nfs4_stateid *deleg,
			  const struct fs_id *id, uint32_t access);
/* May data be read or written under S, a delegation? */
bool nfs4_deleg_allows(const struct nfs4_sid *s, uint32_t access);
/* It was revoked, and has no file any more. */
bool nfs4_deleg_revoked(const struct nfs4_sid *s);

/* Attributes A of a file as its writer sees them.  May wait for NFS4_GETATTR_MS, or DELAY. */
uint32_t nfs4_deleg_attrs(struct nfs4_compound *cp, struct fs_attr *a);

/* FREE_STATEID of one: LOCKS_HELD unless it was revoked. */
uint32_t nfs4_deleg_forget(struct nfs4_state *st, struct nfs4_sid *s);
/* All that C has go. */
void nfs4_delegs_drop(struct nfs4_state *st, struct nfs4_client *c);

#endif
