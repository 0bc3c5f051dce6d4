/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NFSv3's procedures: arguments and results as the handlers (nfs3_proc.c, nfs3_dir.c) see them,
 * between the decoders and encoders (nfs3_xdr.c).  What arguments refer to lies in the call.
 */
#ifndef NFS_NFS3_H
#define NFS_NFS3_H

#include "nfs/server_int.h"

#define NFS3_IO_MAX FS_IO_MAX
#define NFS3_DIR_MAX (64u << 10)	/* most bytes of a directory listing */
#define NFS3_DIR_OVERHEAD (88 + 8 + 4 + 4) /* attributes, verifier, end of list, eof */
#define NFS3_ATTR_BYTES 84
#define NFS3_HANDLE_BYTES (4 + HANDLE_BYTES)

enum { NFS3_UNSTABLE = 0, NFS3_DATA_SYNC = 1, NFS3_FILE_SYNC = 2 };

struct nfs3_dirop { struct xdr_bytes dir, name; };

struct nfs3_fh_args { struct xdr_bytes fh; };
struct nfs3_setattr_args { struct xdr_bytes fh; struct fs_setattr set; };
struct nfs3_access_args { struct xdr_bytes fh; uint32_t want; };
struct nfs3_read_args { struct xdr_bytes fh; uint64_t offset; uint32_t count; };
struct nfs3_write_args {
	struct xdr_bytes fh, data;
	uint64_t offset;
	uint32_t count, stable;
};
struct nfs3_create_args {		/* CREATE, MKDIR, SYMLINK, MKNOD */
	struct nfs3_dirop where;
	struct fs_create how;
	struct xdr_bytes target;
	uint32_t wire_type;		/* MKNOD's */
};
struct nfs3_rename_args { struct nfs3_dirop from, to; };
struct nfs3_link_args { struct xdr_bytes fh; struct nfs3_dirop where; };
struct nfs3_readdir_args {		/* READDIR and READDIRPLUS */
	struct xdr_bytes fh;
	uint64_t cookie, verf;
	uint32_t dircount, maxcount;
};
struct nfs3_commit_args { struct xdr_bytes fh; uint64_t offset; uint32_t count; };

/* In results, attributes of type 0 are not known and not sent. */
struct nfs3_attr_res { struct fs_attr attr; };
struct nfs3_wcc_res { struct fs_wcc wcc; };
struct nfs3_lookup_res { struct fs_attr attr, dir; };
struct nfs3_access_res { struct fs_attr attr; uint32_t allowed; };
struct nfs3_readlink_res { struct fs_attr attr; char target[FS_SYMLINK_MAX + 1]; };
struct nfs3_read_res { struct fs_read read; struct fs *fs; bool pinned; };
struct nfs3_write_res { struct fs_wcc wcc; uint32_t count, committed; uint64_t verf; };
struct nfs3_create_res { struct fs_attr attr; struct fs_wcc dir; };
struct nfs3_rename_res { struct fs_wcc from, to; };
struct nfs3_link_res { struct fs_attr attr; struct fs_wcc dir; };
struct nfs3_readdir_res {
	struct fs_attr dir;
	uint64_t verf;
	uint8_t *list;			/* entries as they are sent; from malloc */
	uint32_t len;
	bool eof;
};
struct nfs3_fsstat_res { struct fs_attr attr; struct fs_fsstat st; };
struct nfs3_commit_res { struct fs_wcc wcc; uint64_t verf; };

/* nfs3_xdr.c */
void nfs3_put_attr(struct xdr_out *out, const struct fs_attr *a);
void nfs3_put_post_op(struct xdr_out *out, const struct fs_attr *a);

#define DECODER(x) void nfs3_dec_##x(struct xdr_in *in, void *args)
#define ENCODER(x) void nfs3_enc_##x(struct rpc_call *c, struct xdr_out *out, const void *res)
#define HANDLER(x) int nfs3_##x(struct rpc_call *c, void *args, void *res)
DECODER(fh); DECODER(setattr); DECODER(dirop); DECODER(access); DECODER(read); DECODER(write);
DECODER(create); DECODER(mkdir); DECODER(symlink); DECODER(mknod); DECODER(rename); DECODER(link);
DECODER(readdir); DECODER(readdirplus); DECODER(commit);
ENCODER(getattr); ENCODER(wcc); ENCODER(lookup); ENCODER(access); ENCODER(readlink); ENCODER(read);
ENCODER(write); ENCODER(create); ENCODER(rename); ENCODER(link); ENCODER(readdir); ENCODER(fsstat);
ENCODER(fsinfo); ENCODER(pathconf); ENCODER(commit);

/* nfs3_proc.c, nfs3_dir.c */
HANDLER(null); HANDLER(getattr); HANDLER(setattr); HANDLER(lookup); HANDLER(access);
HANDLER(readlink); HANDLER(read); HANDLER(write); HANDLER(create); HANDLER(mkdir);
HANDLER(symlink); HANDLER(mknod); HANDLER(remove); HANDLER(rmdir); HANDLER(rename);
HANDLER(link); HANDLER(readdir); HANDLER(readdirplus); HANDLER(fsstat); HANDLER(fsinfo);
HANDLER(pathconf); HANDLER(commit);
void nfs3_read_release(struct rpc_call *c, void *res);
uint32_t nfs3_read_cost(const void *args);
void nfs3_readdir_release(struct rpc_call *c, void *res);
uint32_t nfs3_readdir_cost(const void *args);
#undef DECODER
#undef ENCODER
#undef HANDLER

/* What handlers begin and end with (nfs3_proc.c). */
int nfs_begin(struct rpc_call *c, struct xdr_bytes fh, struct nfs_op *op);
int nfs_begin_change(struct rpc_call *c, struct xdr_bytes fh, struct nfs_op *op);
int nfs_second(struct nfs_op *op, struct xdr_bytes fh, struct fs_id *ret_id);
int nfs_finish(struct nfs_op *op, int err);
int nfs_name(struct xdr_bytes b, struct fs_name *ret_name);

#endif
