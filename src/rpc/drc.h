/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The duplicate request cache: the answers to recent calls that must not be executed twice,
 * for clients that didn't get them and ask again (Juszczak, "Improving the Performance and
 * Correctness of an NFS Server", 1989).
 *
 * A call is known by its xid, its procedure and a digest of who asks for what.  The digest
 * holds the peer's address but not its port (clients reconnect from other ports), the
 * credentials without their stamp (Linux changes it at retransmission), and the arguments.
 *
 * An entry is running (its first call is being executed: others wait for its answer), kept
 * (has the answer), or replayed (executed before a crash: what was made is known, the answer
 * is not).  Entries and bytes are bounded; what was used least recently goes first; running
 * entries stay.  When nothing can go, a call runs without an entry.
 */
#ifndef RPC_DRC_H
#define RPC_DRC_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define DRC_OBJECT_BYTES 32		/* what a replayed call made, in its owner's form */

struct drc;
struct drc_entry;
struct drc_key { uint64_t digest; uint32_t xid, proc; };

enum drc_answer {
	DRC_RUN,			/* execute it, then drc_leave() */
	DRC_KNOWN,			/* here is the answer */
};

int drc_new(unsigned max_entries, size_t max_bytes, struct drc **ret_drc);
void drc_free(struct drc *d);		/* nobody is in it */

/*
 * May wait (for the answer of the same call that is still running).  DRC_RUN: *ret_entry goes to
 * drc_leave(), it may be NULL; *ret_object is what the call made before a crash, or NULL.
 * DRC_KNOWN: *ret_answer is valid until the next wait.
 */
enum drc_answer drc_enter(struct drc *d, const struct drc_key *k, struct drc_entry **ret_entry,
			  const void **ret_object, struct iovec *ret_answer);
/* The call was executed; IOV with the answer to keep, or NIOV 0 to forget it.  Never waits. */
void drc_leave(struct drc *d, struct drc_entry *e, const struct iovec *iov, unsigned niov);
/* Enters a call that was executed before a crash. */
void drc_add_replayed(struct drc *d, const struct drc_key *k, const void *object, size_t len);

struct drc_stats { unsigned entries; size_t bytes; uint64_t hits, waits, evicted; };
void drc_stats(const struct drc *d, struct drc_stats *ret_stats);

#endif
