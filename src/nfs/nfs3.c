/* SPDX-License-Identifier: Apache-2.0 */
/* NFSv3 as a table: one row per procedure (RFC 1813 section 3.3). */
#include "nfs/nfs3.h"

/* Which credentials will do is the export's to say (exports_cache.c), not RPC's. */
#define ROW(NAME, fn, argtype, restype, dec, enc, ...) { \
	.name = NAME, .decode = nfs3_dec_##dec, .handle = nfs3_##fn, .encode = nfs3_enc_##enc, \
	.args_bytes = sizeof(struct nfs3_##argtype), .res_bytes = sizeof(struct nfs3_##restype), \
	__VA_ARGS__ }
#define READS .flags = RPC_ANY_AUTH
#define CHANGES .flags = RPC_ANY_AUTH | RPC_ONCE

static const struct rpc_proc procs[] = {
	[0] = { .name = "NULL", .handle = nfs3_null, .flags = RPC_ANY_AUTH },
	[1] = ROW("GETATTR", getattr, fh_args, attr_res, fh, getattr, READS),
	[2] = ROW("SETATTR", setattr, setattr_args, wcc_res, setattr, wcc, CHANGES),
	[3] = ROW("LOOKUP", lookup, dirop, lookup_res, dirop, lookup, READS),
	[4] = ROW("ACCESS", access, access_args, access_res, access, access, READS),
	[5] = ROW("READLINK", readlink, fh_args, readlink_res, fh, readlink, READS),
	[6] = ROW("READ", read, read_args, read_res, read, read,
		  .flags = RPC_ANY_AUTH | RPC_RES_RAW, .release = nfs3_read_release,
		  .cost = nfs3_read_cost),
	[7] = ROW("WRITE", write, write_args, write_res, write, write,
		  .flags = RPC_ANY_AUTH | RPC_ONCE | RPC_BULK),
	[8] = ROW("CREATE", create, create_args, create_res, create, create, CHANGES),
	[9] = ROW("MKDIR", mkdir, create_args, create_res, mkdir, create, CHANGES),
	[10] = ROW("SYMLINK", symlink, create_args, create_res, symlink, create, CHANGES),
	[11] = ROW("MKNOD", mknod, create_args, create_res, mknod, create, CHANGES),
	[12] = ROW("REMOVE", remove, dirop, wcc_res, dirop, wcc, CHANGES),
	[13] = ROW("RMDIR", rmdir, dirop, wcc_res, dirop, wcc, CHANGES),
	[14] = ROW("RENAME", rename, rename_args, rename_res, rename, rename, CHANGES),
	[15] = ROW("LINK", link, link_args, link_res, link, link, CHANGES),
	[16] = ROW("READDIR", readdir, readdir_args, readdir_res, readdir, readdir, READS,
		   .release = nfs3_readdir_release, .cost = nfs3_readdir_cost),
	[17] = ROW("READDIRPLUS", readdirplus, readdir_args, readdir_res, readdirplus, readdir,
		   READS, .release = nfs3_readdir_release, .cost = nfs3_readdir_cost),
	[18] = ROW("FSSTAT", fsstat, fh_args, fsstat_res, fh, fsstat, READS),
	[19] = ROW("FSINFO", fsinfo, fh_args, attr_res, fh, fsinfo, READS),
	[20] = ROW("PATHCONF", pathconf, fh_args, attr_res, fh, pathconf, READS),
	[21] = ROW("COMMIT", commit, commit_args, commit_res, commit, commit, READS),
};

const struct rpc_program nfs3_program = {
	"nfs", NFS_PROGRAM, 3, procs, sizeof(procs) / sizeof(*procs)
};
