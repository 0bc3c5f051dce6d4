/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients are told by callbacks that nothing depends on: that a lock may be had
 * (CB_NOTIFY_LOCK, RFC 8881 section 20.11), and that an asynchronous copy is over (CB_OFFLOAD, RFC
 * 7862 section 16.1).  Neither waits.
 */
#ifndef NFS_NFS4_NOTIFY_H
#define NFS_NFS4_NOTIFY_H

#include "nfs/nfs4_state.h"

/* For st->notify_lock.  Whom it doesn't reach within some seconds asks again by himself. */
void nfs4_notify_lock(struct nfs4_state *st, struct nfs4_client *c, const struct fs_id *id,
		      struct xdr_bytes owner);

struct nfs4_offload {
	struct fs_id dst;		/* the file that was copied into */
	struct nfs4_stateid id;		/* COPY's wr_callback_id */
	uint32_t status;
	uint64_t bytes;			/* that were copied */
	uint32_t committed;		/* NFS4_UNSTABLE to NFS4_FILE_SYNC */
	uint64_t verifier;
	/* It is over, when not NULL: the client was TOLD, or never will be.  Must not wait. */
	void (*done)(void *arg, bool told);
	void *arg;
};
/*
 * Tries for two leases' time, also while the client makes a new back channel.  False: it can't be
 * told (no memory, or too many callbacks wait for it), and done() won't be called.
 */
bool nfs4_tell_offload(struct nfs4_state *st, struct nfs4_client *c, const struct nfs4_offload *o);

#endif
