/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is NFSv4.0's alone (RFC 7530); later minor versions have sessions for it.
 *
 * A client is known by SETCLIENTID and SETCLIENTID_CONFIRM.  A COMPOUND belongs to nobody: its
 * operations find their client through a clientid or a stateid, and that keeps his lease.
 *
 * What changes opens and locks is numbered by its owner, and an owner's requests are executed one
 * after the other, each once.  He gets the answer to the last one again when he asks again:
 *
 *	seqid = last + 1   the next: executed, and its answer is kept
 *	seqid = last       the same request: its answer again; another one: BAD_SEQID
 *	else               BAD_SEQID
 *
 * An open owner that was never heard of begins with whatever number he says, but nothing of his
 * counts until OPEN_CONFIRM has shown that it was no old request that came late.  He is kept for a
 * while after his last file was closed, so that CLOSE can be answered again; a lock owner goes
 * with his last lock state.
 *
 * Nothing here waits but nfs4_v40_begin().
 */
#ifndef NFS_NFS4_V40_H
#define NFS_NFS4_V40_H

#include "base/fiber.h"
#include "nfs/nfs4_state.h"

#define NFS4_IDLE_OWNERS_MAX 4096	/* open owners that have no file open, of all clients */
#define NFS4_ADDR_TEXT 64

/* Where a client is called back (RFC 7530 section 16.33, RFC 5665), as he gave it. */
struct nfs4_callback {
	uint32_t prog, ident;
	char netid[8], addr[NFS4_ADDR_TEXT];	/* empty: longer than any that there is */
};

/* What a client of 4.0 has beside its struct nfs4_client. */
struct nfs4_v40 {
	uint64_t confirm;		/* what SETCLIENTID_CONFIRM has to give back */
	struct nfs4_callback cb;
	/* He may ask to be called back elsewhere, and confirms that by another number. */
	bool moving;
	uint64_t new_confirm;
	struct nfs4_callback new_cb;
};

#define NFS4_AGAIN_BYTES 104		/* of an answer that is kept without memory of its own */

/* An owner's numbers, and his last answer. */
struct nfs4_seq {
	uint32_t last;
	bool known;			/* LAST means something */
	bool confirmed;			/* by OPEN_CONFIRM; lock owners always are */
	bool busy;			/* a request of his is being executed */
	bool has_closed;
	struct nfs4_owner *owner;
	struct waitq turn;
	struct list idle;		/* in st->idle_owners while he has nothing open */
	uint64_t idle_ns;
	/* the answer to LAST; op 0: it is not kept */
	uint32_t op, status, len, more_bytes;	/* more_bytes: of MORE, counted as the client's */
	uint64_t digest, stable_seq;
	uint8_t here[NFS4_AGAIN_BYTES], *more;
	struct nfs4_fh fh;		/* current afterwards, of OPEN */
	struct nfs4_sid closed;		/* what he closed last: still names him */
};

/* ---- for the loop -------------------------------------------------------------------- */

/*
 * Before an operation of 4.0 runs, whose arguments were decoded from ARGS on: finds its client and
 * owner, waits until it is its turn.  With cp->again set it is not to be run: its answer of before
 * has been written.  With cp->replaying, the whole COMPOUND was answered before.
 */
uint32_t nfs4_v40_begin(struct nfs4_compound *cp, struct nfs4_op *op, unsigned flags,
			const uint8_t *args);
void nfs4_v40_end(struct nfs4_compound *cp);		/* of the COMPOUND */
/* STATUS in words that operation NUM may use in 4.0 (RFC 7530 section 13.2). */
uint32_t nfs4_v40_status(uint32_t num, uint32_t status);

/* Whether it is the turn of a numbered operation; DIGEST is that of its arguments. */
uint32_t nfs4_seqid_begin(struct nfs4_compound *cp, struct nfs4_op *op, uint64_t digest);
/* After it, if cp->owner is set: STATUS, and what was written from RESULTS on, is its answer. */
void nfs4_seqid_end(struct nfs4_compound *cp, const struct nfs4_op *op, uint32_t status,
		    const uint8_t *results);
/* S, an open that is no longer among the stateids, was closed by its owner. */
void nfs4_seqid_closed(struct nfs4_state *st, const struct nfs4_sid *s);

/* ---- clients and stateids ------------------------------------------------------------ */

/* The client that goes by CLIENTID becomes the COMPOUND's; STALE_CLIENTID, EXPIRED. */
uint32_t nfs4_v40_client(struct nfs4_compound *cp, uint64_t clientid);
/*
 * What ID names, if it is anything of a client of 4.0, who becomes the COMPOUND's; also what has
 * no effect any more, or not yet.  Looks at no seqid.  STALE_STATEID, EXPIRED, BAD_STATEID.
 */
uint32_t nfs4_v40_sid(struct nfs4_compound *cp, const struct nfs4_stateid *id,
		      struct nfs4_sid **ret_sid);
/* S, of a client of 4.0, is of use: neither closed nor unconfirmed. */
bool nfs4_v40_sid_valid(const struct nfs4_sid *s);
/* Where to call; false: nowhere. */
bool nfs4_callback_addr(const struct nfs4_callback *cb, struct rpc_addr *ret_addr);

#endif
