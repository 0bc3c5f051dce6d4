/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NFSv4.0 (RFC 7530), 4.1 (RFC 8881) and 4.2 (RFC 7862): a COMPOUND and its operations.
 *
 * An operation is a row of the table in nfs4_compound.c: how to decode its arguments, who
 * handles it, how to encode its results.  Arguments and results share one struct nfs4_op.  A
 * handler is a function that waits and returns a status; what is common to all (current file
 * handle, order, minor versions, limits of replies, stable storage) is done in the loop.
 *
 * What arguments refer to lies in the call; what results refer to lies in the compound (its
 * arena goes with the reply) or, for what an encoder copies at once, in the state.
 */
#ifndef NFS_NFS4_H
#define NFS_NFS4_H

#include "nfs/nfs4_status.h"
#include "nfs/server_int.h"

#define NFS4_OPS_MAX 64			/* in one COMPOUND */
#define NFS4_OP_NUMBERS 76		/* 0 to REMOVEXATTR; not all have a meaning */
#define NFS4_OPAQUE_MAX 1024		/* NFS4_OPAQUE_LIMIT: owners, tags */
#define NFS4_FH_MAX 128
#define NFS4_SESSION_ID 16
#define NFS4_IO_MAX FS_IO_MAX
#define NFS4_DIR_MAX (64u << 10)	/* most bytes of a directory listing */
#define NFS4_MESSAGE_MAX RPC_CALL_MAX	/* call or reply, with RPC's headers */
#define NFS4_RPC_REPLY_HEAD 24		/* xid to accept_stat, with an empty verifier */
#define NFS4_CLONE_BLOCK 4096
#define NFS4_BUF_BYTES 2560		/* results, before the arena is asked */
#define NFS4_OP_ROOM 1280		/* bytes that an encoder may write without asking */
#define NFS4_READ_PLUS_ROOM 776		/* of them, what READ_PLUS writes beside data */

enum { NFS4_BITMAP_WORDS = 3 };
struct nfs4_bitmap { uint32_t w[NFS4_BITMAP_WORDS]; bool beyond; };	/* beyond: more are set */

struct nfs4_stateid { uint32_t seqid, boot; uint64_t id; };	/* "other" is boot and id */
#define NFS4_STATEID_BYTES 16

enum { NFS4_OPEN_READ = 1, NFS4_OPEN_WRITE = 2 };
enum { NFS4_READ_LT = 1, NFS4_WRITE_LT = 2, NFS4_READW_LT = 3, NFS4_WRITEW_LT = 4 };
enum { NFS4_UNSTABLE = 0, NFS4_DATA_SYNC = 1, NFS4_FILE_SYNC = 2 };
enum { NFS4_CREATE_UNCHECKED = 0, NFS4_CREATE_GUARDED = 1, NFS4_CREATE_EXCLUSIVE = 2,
       NFS4_CREATE_EXCLUSIVE4_1 = 3 };
enum { NFS4_CLAIM_NULL = 0, NFS4_CLAIM_PREVIOUS = 1, NFS4_CLAIM_DELEGATE_CUR = 2,
       NFS4_CLAIM_DELEGATE_PREV = 3, NFS4_CLAIM_FH = 4, NFS4_CLAIM_DELEG_CUR_FH = 5,
       NFS4_CLAIM_DELEG_PREV_FH = 6 };

struct nfs4_change { bool atomic; uint64_t before, after; };

/* Attributes to set, decoded; an attribute that can't be set has its status here. */
struct nfs4_set {
	struct fs_setattr set;
	struct nfs4_bitmap given;
	struct xdr_bytes owner, group;	/* as they came */
	uint32_t keep;			/* bits of an existing file's mode that stay */
	uint32_t status;
};

struct nfs4_channel {
	uint32_t header_pad, max_request, max_response, max_cached, max_ops, max_slots;
};

struct nfs4_lock_range { uint32_t type; uint64_t offset, length; };

/* What OPEN says of a delegation, and why there is none. */
enum { NFS4_DELEG_NONE = 0, NFS4_DELEG_READ = 1, NFS4_DELEG_WRITE = 2, NFS4_DELEG_NONE_EXT = 3 };
enum { NFS4_NO_DELEG_NOT_WANTED = 0, NFS4_NO_DELEG_CONTENTION = 1, NFS4_NO_DELEG_RESOURCE = 2,
       NFS4_NO_DELEG_NOT_SUPP = 3, NFS4_NO_DELEG_UPGRADE = 5, NFS4_NO_DELEG_DOWNGRADE = 6,
       NFS4_NO_DELEG_CANCELLED = 7, NFS4_DELEG_POSSIBLE = 100 };
struct nfs4_offer { uint32_t type, why; bool recall; struct nfs4_stateid id; };

/* callback_sec_parms4<>: the first that will do. */
struct nfs4_cb_sec { bool allowed; struct rpc_cred cred; };

struct nfs4_op {
	uint32_t num;
	uint32_t seqid;			/* 4.0: of the owner whose state it changes */
	union {
		struct { uint32_t want, supported, allowed; } access;
		struct { struct nfs4_stateid id, ret_id; uint32_t access, deny; } stateid;
		struct { uint64_t offset; uint32_t count; } commit;
		struct {
			uint32_t type, major, minor;
			struct xdr_bytes target, name;
			struct nfs4_set set;
			struct nfs4_change change;
		} create;
		struct { struct nfs4_bitmap want; } getattr;
		struct { struct xdr_bytes fh; } fh;
		struct {
			struct xdr_bytes name, to;
			struct nfs4_change from, change;
		} name;
		struct {
			struct nfs4_lock_range range, denied;
			bool reclaim, fresh;
			struct nfs4_stateid open, id;
			struct xdr_bytes owner, ret_owner;
			uint64_t clientid, ret_clientid;
			uint32_t owner_seqid;	/* 4.0, fresh: the new lock owner's first */
		} lock;
		struct {
			uint32_t access, deny, how, claim;
			bool create, unconfirmed;
			uint64_t verifier, clientid;
			struct xdr_bytes owner, name;
			struct nfs4_set set;
			struct nfs4_stateid id;
			struct nfs4_change change;
			struct nfs4_bitmap attrset;
			struct nfs4_stateid deleg_id;	/* claimed with */
			uint32_t had;		/* reclaimed: the delegation that went with it */
			struct nfs4_offer deleg;
			bool preserves;		/* the file stays until CLOSE, though it is removed */
			bool may_notify;	/* CB_NOTIFY_LOCK may come */
		} open;
		struct {
			struct nfs4_stateid id;
			uint64_t offset;
			uint32_t count;
			struct fs_read *read;
		} read;
		struct {
			uint64_t cookie, verf;
			uint32_t dircount, maxcount;
			struct nfs4_bitmap want;
			void *list;
			uint32_t len;
			bool eof;
		} readdir;
		struct { char *target; } readlink;
		struct { uint32_t how; bool sys, none; struct xdr_bytes name; } secinfo;
		struct { struct nfs4_stateid id; struct nfs4_set set; } setattr;
		struct { struct nfs4_bitmap want; struct xdr_bytes values; } verify;
		struct {
			struct nfs4_stateid id;
			uint64_t offset;
			uint32_t stable, count;
			struct xdr_bytes data;
		} write;
		struct {
			uint8_t session[NFS4_SESSION_ID];
			uint32_t dir;
		} bind;
		struct {
			uint64_t verifier;
			struct xdr_bytes owner;
			uint32_t flags, protect;
			uint64_t clientid;
			uint32_t seq, ret_flags;
		} exchange;
		struct {
			uint64_t clientid;
			uint32_t seq, flags;
			struct nfs4_channel fore, back;
			uint32_t cb_prog;
			struct nfs4_cb_sec cb_sec;
			uint8_t session[NFS4_SESSION_ID];
		} create_session;
		struct { uint32_t prog; struct nfs4_cb_sec sec; } backchannel;
		struct { uint8_t session[NFS4_SESSION_ID]; } session;
		struct { uint64_t clientid; } clientid;
		struct {			/* SETCLIENTID, SETCLIENTID_CONFIRM */
			uint64_t verifier, clientid, confirm;
			struct xdr_bytes id, netid, addr;
			uint32_t prog, ident;
		} setclientid;
		struct { uint64_t clientid; struct xdr_bytes owner; } lock_owner;
		struct {
			uint8_t session[NFS4_SESSION_ID];
			uint32_t seq, slot, highest;
			bool cache;
			uint32_t slots, flags;
		} sequence;
		struct { uint32_t n; const uint8_t *ids; uint32_t *status; } test;
		struct { bool one_fs; } reclaim;
		struct {
			struct nfs4_stateid id;
			uint64_t offset, count;
			struct nfs4_bitmap hints;	/* given, then heeded */
		} advise;
		struct {			/* CLONE, COPY, SEEK, DEALLOCATE */
			struct nfs4_stateid src, dst;
			uint64_t src_offset, dst_offset, count;
			uint32_t what, nsources;
			bool eof, synchronous, offloaded;
			struct nfs4_stateid callback;	/* of what goes on, if offloaded */
		} range;
		struct {
			struct xdr_bytes name, value;
			uint32_t how, max;
			uint64_t cookie;
			void *buf;		/* a value, or names as they are sent */
			uint32_t len, names;
			bool eof;
			struct nfs4_change change;
		} xattr;
		struct {
			struct nfs4_stateid id;
			uint64_t count;
			bool complete;
			uint32_t status;
		} offload;
	};
};

struct nfs4_compound;

enum {
	NFS4_FH = 1,			/* needs a current file handle */
	NFS4_SAVED = 2,			/* and a saved one */
	NFS4_ALONE = 4,			/* may come without SEQUENCE, and is then the only one */
	NFS4_CHANGES = 8,		/* not on read-only exports and snapshots */
	NFS4_NO_ENTER = 16,		/* leaves the file behind it alone, or enters itself */
	NFS4_ENCODE_ERRORS = 32,	/* has results on failure too */
	NFS4_PUTS_FH = 64,		/* says WRONGSEC of the file handle that it makes current */
	/* of 4.0 (nfs4_v40.h) */
	NFS4_SEQID = 128,		/* numbered by its owner */
	NFS4_ONCE = 256,		/* its retransmission must not be executed */
	NFS4_ONLY_V40 = 512,
	NFS4_QUICK = 1024,		/* so soon over that its time counts with the next one's */
	NFS4_LOGGED = 2048,		/* who asked is logged: after a crash too its retransmission
					 * is not executed */
};

struct nfs4_row {
	const char *name;
	uint8_t minor;			/* first minor version */
	uint16_t flags;
	uint16_t most;			/* if not 0: result bytes, checked before it runs */
	uint32_t pseudo;		/* the answer on the pseudo root; 0: it is run */
	/* Reads the arguments; what is malformed makes IN bad.  NULL: there are none. */
	void (*decode)(struct xdr_in *in, struct nfs4_op *op);
	/* Does it and returns a status; may wait.  NULL: NOTSUPP. */
	uint32_t (*handle)(struct nfs4_compound *cp, struct nfs4_op *op);
	/* Writes the results; never waits.  NULL: there are none. */
	void (*encode)(struct nfs4_compound *cp, struct xdr_out *out, const struct nfs4_op *op,
		       uint32_t status);
};

struct nfs4_fh {
	bool set, has_stateid;
	struct fs_id id;		/* volume 0: the pseudo root */
	struct nfs4_stateid stateid;	/* current or saved stateid */
};

struct nfs4_chunk { struct nfs4_chunk *next; uint8_t data[] __attribute__((aligned(16))); };
struct nfs4_pin { struct nfs4_pin *next; struct fs_read *read; };
struct nfs4_mark {
	uint8_t *seg, *p, *end;
	size_t spliced, last_len;
	unsigned niov;
};

struct nfs4_attrs {			/* what attributes are made of */
	struct nfs4_compound *cp;
	struct fs_attr a;
	bool pseudo, root;		/* the pseudo root; the root of a volume */
	bool have_fsstat, have_info;
	struct fs_fsstat fsstat;
	struct fs_volume_info *info;
};

struct nfs4_session;
struct nfs4_slot;
struct nfs4_client;
struct nfs4_owner;

struct nfs4_compound {
	struct rpc_call *call;
	struct nfs_server *server;
	struct nfs4_state *st;
	struct xdr_in in;		/* the rest of the operations */
	struct xdr_bytes tag;
	uint32_t minor, nops, index;	/* index: of the running operation */
	uint32_t status, nresults;
	struct nfs4_fh cur, saved;
	bool entered;
	uint32_t entered_volume;
	/* session */
	struct nfs4_session *session;
	struct nfs4_slot *slot;
	struct nfs4_client *client;
	const uint8_t *ops;		/* where the operations begin */
	uint64_t digest;		/* of what follows SEQUENCE, and of who asks */
	uint32_t call_bytes, max_reply, max_cached;
	bool cache, replaying, retry_uncached;
	/* An operation with NFS4_LOGGED has begun: of several, it is the first that counts. */
	bool logged;
	/* Its session went with a crash, but that operation was done before: it is answered. */
	bool late;
	const uint8_t *replay;
	uint32_t replay_len;
	/* 4.0: the owner who numbered the running operation, and whether it is told the answer
	 * that he got before */
	struct nfs4_owner *owner;
	bool again;
	uint64_t op_digest;
	/* stable storage: the first operation that has to wait for it */
	bool waits;
	struct nfs4_mark waits_mark;
	uint32_t waits_op, waits_index;
	uint64_t clock_ns;		/* until when time has been counted */
	/* memory */
	struct nfs4_chunk *chunks;
	struct nfs4_pin *pins;
	struct nfs4_pin pin;		/* the first READ's */
	bool pin_used;
	/* What is above begins as zeros, what is below does not. */
	struct nfs_op f;		/* credentials on the volume that was entered last */
	struct xdr_out out;		/* results of the operations so far */
	struct nfs4_op op;
	struct nfs4_attrs attrs;	/* GETATTR's */
	uint8_t buf[NFS4_BUF_BYTES] __attribute__((aligned(16)));
	struct fs_read read;
};

/* nfs4_compound.c */
/* For operations with NFS4_LOGGED: not NULL if this one was done before a crash, and is asked for
 * once more: what it made, if anything. */
const struct fs_id *nfs4_was_done(const struct nfs4_compound *cp);
/* Of the whole call, and of who asks: the same when it is sent again, after a crash too; never 0.  With
 * sessions it has begun with a SEQUENCE. */
uint64_t nfs4_call_digest(const struct nfs4_compound *cp);
/* Memory that goes with the reply; NULL: answer DELAY. */
void *nfs4_alloc(struct nfs4_compound *cp, size_t bytes);
/* For encoders that write more than NFS4_OP_ROOM. */
bool nfs4_room(struct nfs4_compound *cp, size_t bytes);
/* A place to read into (NULL: no memory); once nfs4_read_pinned(), its pages stay until the reply
 * has left; else give it back. */
struct fs_read *nfs4_read_get(struct nfs4_compound *cp);
uint32_t nfs4_read_pinned(struct nfs4_compound *cp, struct fs_read *r);
void nfs4_read_free(struct nfs4_compound *cp, struct fs_read *r);
/* Bytes that may still be put into results, without breaking the session's limit. */
uint32_t nfs4_reply_left(const struct nfs4_compound *cp);
/* Why BYTES more of results would be too many; 0: they fit. */
uint32_t nfs4_reply_fits(const struct nfs4_compound *cp, uint32_t bytes);
/* Takes on the caller's rights on the volume of FH.  Also sets f.id. */
uint32_t nfs4_enter(struct nfs4_compound *cp, const struct nfs4_fh *fh);
static inline bool nfs4_is_pseudo(const struct nfs4_fh *fh) { return !fh->id.volume; }
void nfs4_set_fh(struct nfs4_compound *cp, const struct fs_id *id);
void nfs4_set_stateid(struct nfs4_compound *cp, const struct nfs4_stateid *id);
uint32_t nfs4_name(struct xdr_bytes b, struct fs_name *ret_name);
struct nfs4_change nfs4_change_of(const struct fs_wcc *w);
/* For what was done before a crash: as FH is now. */
struct nfs4_change nfs4_change_now(struct nfs4_compound *cp, const struct nfs4_fh *fh);
/* Why the current file is not what an operation on regular files (or directories) needs. */
uint32_t nfs4_wrong_type(enum fs_type type, enum fs_type wanted);
/* After ERR on the current directory: ENOTDIR of a symlink is SYMLINK. */
uint32_t nfs4_dir_status(struct nfs4_compound *cp, const struct fs_id *dir, int err);
/* Keeps the reply in its slot, ends what SEQUENCE began (nfs4_session.c). */
void nfs4_sequence_end(struct nfs4_compound *cp);

/* nfs4_io.c */
/* ERR of an operation on data of ID: EINVAL of what is not a regular file has words of its own. */
uint32_t nfs4_data_status(struct nfs4_compound *cp, const struct fs_id *id, int err);

/* nfs4_attr.c */
/* Brings in what the attributes WANT need; may wait. */
uint32_t nfs4_attrs_load(struct nfs4_compound *cp, struct nfs4_attrs *at, const struct fs_id *id,
			 const struct nfs4_bitmap *want);
/* What WANT may not ask for; also takes away what is not supported. */
uint32_t nfs4_attrs_check(const struct nfs4_compound *cp, struct nfs4_bitmap *want);
/* bitmap and values */
void nfs4_put_attrs(struct xdr_out *out, const struct nfs4_attrs *at,
		    const struct nfs4_bitmap *want);
void nfs4_get_bitmap(struct xdr_in *in, struct nfs4_bitmap *ret);
void nfs4_put_bitmap(struct xdr_out *out, const struct nfs4_bitmap *b);
void nfs4_bit_set(struct nfs4_bitmap *b, unsigned bit);
bool nfs4_bit(const struct nfs4_bitmap *b, unsigned bit);
uint64_t nfs4_pseudo_change(struct nfs_server *s);

/* nfs4_acl.c: what a MODE says, as an ACL */
void nfs4_put_acl(struct xdr_out *out, uint32_t mode, bool dir);
/* The mode (0777) that says what the ACL says; ATTRNOTSUPP if there is none, INVAL if it is none. */
uint32_t nfs4_get_acl(struct xdr_in *in, uint32_t *ret_mode);

/* nfs4_setattr.c */
void nfs4_get_set(struct xdr_in *in, struct nfs4_set *ret);
/* What is wrong with it; completes it otherwise.  May wait. */
uint32_t nfs4_check_set(struct nfs4_compound *cp, struct nfs4_set *s, bool creating);
struct nfs4_bitmap nfs4_settable(const struct nfs4_set *s);

/* nfs4_xdr.c */
struct nfs4_stateid nfs4_get_stateid(struct xdr_in *in);
void nfs4_put_stateid(struct xdr_out *out, const struct nfs4_stateid *s);

#define DECODER(x) void nfs4_dec_##x(struct xdr_in *in, struct nfs4_op *op)
#define ENCODER(x) void nfs4_enc_##x(struct nfs4_compound *cp, struct xdr_out *out, \
				     const struct nfs4_op *op, uint32_t status)
#define HANDLER(x) uint32_t nfs4_##x(struct nfs4_compound *cp, struct nfs4_op *op)
DECODER(access); DECODER(close); DECODER(commit); DECODER(create); DECODER(getattr); DECODER(link);
DECODER(lock); DECODER(lockt); DECODER(locku); DECODER(lookup); DECODER(verify); DECODER(open);
DECODER(open_downgrade); DECODER(putfh); DECODER(read); DECODER(readdir); DECODER(rename);
DECODER(secinfo); DECODER(setattr); DECODER(write); DECODER(backchannel_ctl); DECODER(bind);
DECODER(exchange_id); DECODER(create_session); DECODER(session); DECODER(free_stateid);
DECODER(secinfo_no_name); DECODER(sequence); DECODER(test_stateid); DECODER(clientid);
DECODER(open_confirm); DECODER(setclientid); DECODER(setclientid_confirm);
DECODER(release_lockowner);
DECODER(reclaim_complete); DECODER(clone); DECODER(copy); DECODER(seek); DECODER(deallocate);
DECODER(io_advise);
DECODER(offload); ENCODER(offload_status);
DECODER(xattr); DECODER(setxattr); DECODER(listxattrs);
ENCODER(getxattr); ENCODER(xattr_change); ENCODER(listxattrs);
ENCODER(access); ENCODER(close); ENCODER(commit); ENCODER(create); ENCODER(getattr); ENCODER(getfh);
ENCODER(change); ENCODER(lock); ENCODER(stateid); ENCODER(open); ENCODER(read); ENCODER(readdir);
ENCODER(readlink); ENCODER(rename); ENCODER(secinfo); ENCODER(setattr); ENCODER(write);
ENCODER(bind); ENCODER(exchange_id); ENCODER(create_session); ENCODER(sequence);
ENCODER(read_plus);
ENCODER(setclientid);
ENCODER(test_stateid); ENCODER(copy); ENCODER(seek); ENCODER(io_advise);

/* nfs4_file.c */
HANDLER(putfh); HANDLER(putrootfh); HANDLER(getfh); HANDLER(savefh); HANDLER(restorefh);
HANDLER(lookup); HANDLER(lookupp); HANDLER(access); HANDLER(getattr);
HANDLER(verify); HANDLER(nverify); HANDLER(readlink); HANDLER(secinfo); HANDLER(secinfo_no_name);
/* nfs4_setattr.c */
HANDLER(setattr);
/* nfs4_io.c */
HANDLER(read); HANDLER(read_plus); HANDLER(write); HANDLER(commit);
/* nfs4_copy.c */
HANDLER(clone); HANDLER(copy);
/* nfs4_xattr.c */
HANDLER(getxattr); HANDLER(setxattr); HANDLER(listxattrs); HANDLER(removexattr);
/* nfs4_offload.c */
HANDLER(offload_status); HANDLER(offload_cancel);
/* nfs4_range.c */
HANDLER(seek); HANDLER(allocate); HANDLER(deallocate); HANDLER(io_advise);
/* nfs4_dir.c */
HANDLER(readdir); HANDLER(create); HANDLER(remove); HANDLER(rename); HANDLER(link);
/* nfs4_open.c */
HANDLER(open); HANDLER(open_downgrade); HANDLER(close); HANDLER(free_stateid);
HANDLER(test_stateid);
/* nfs4_deleg.c */
HANDLER(delegreturn);
/* nfs4_lock.c */
HANDLER(lock); HANDLER(lockt); HANDLER(locku);
/* nfs4_v40.c */
HANDLER(setclientid); HANDLER(setclientid_confirm); HANDLER(renew); HANDLER(open_confirm);
HANDLER(release_lockowner);
/* nfs4_session.c */
HANDLER(exchange_id); HANDLER(create_session); HANDLER(destroy_session); HANDLER(destroy_clientid);
HANDLER(sequence); HANDLER(bind); HANDLER(backchannel_ctl); HANDLER(reclaim_complete);
#undef DECODER
#undef ENCODER
#undef HANDLER

#endif
