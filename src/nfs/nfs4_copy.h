/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a COPY has to do, step by step; and those that go on in the background (RFC 7862 section
 * 4.8, 15.2, 15.8, 15.9).
 *
 *	COPY --- a part that is soon done ---+--- nothing is left, or the client waits: answered
 *	                                     +--- a fiber does the rest; CB_OFFLOAD tells its end
 *
 * An offloaded copy is the client's until it was told of the end, or cancels it; if telling fails it
 * stays, for the client to ask, until others need its place.
 */
#ifndef NFS_NFS4_COPY_H
#define NFS_NFS4_COPY_H

#include "nfs/nfs4_state.h"

#define NFS4_COPY_PIECE (256u << 10)	/* bytes of one step that copies */
#define NFS4_COPIES_MAX 32		/* COPYs that are working, of all clients */
#define NFS4_OFFLOADS_MAX 16		/* offloaded copies of a client, those that are over too */

struct nfs4_copy {
	struct fs_req from, to;		/* of the source's volume, and of the destination's */
	struct fs_id src, dst;
	uint64_t src_offset, dst_offset;	/* of what is left */
	uint64_t left, done;
	uint64_t cost;			/* bytes copied; what was shared counts little */
	bool never_share;		/* different volumes */
};

/*
 * Does the next part.  A step is over soon: it copies a piece, or shares as much as that takes.
 * BUF: NFS4_COPY_PIECE bytes.  A source that ends early makes left 0.  May wait.
 */
int nfs4_copy_step(struct nfs4_copy *c, struct fs_read *r, uint8_t *buf);

/* Goes on with COPY in the background.  False: not possible now. */
bool nfs4_offload(struct nfs4_compound *cp, const struct nfs4_copy *copy,
		  struct nfs4_stateid *ret_id);
/* The client goes. */
void nfs4_offloads_drop(struct nfs4_state *st, struct nfs4_client *c);

#endif
