/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs of the NFS server share. */
#ifndef NFS_SERVER_INT_H
#define NFS_SERVER_INT_H

#include "base/err.h"
#include "base/list.h"
#include "fs/fs.h"
#include "nfs/exports.h"
#include "nfs/handle.h"
#include "nfs/server.h"
#include "nfs/status.h"
#include "rpc/drc.h"
#include "rpc/rpc.h"

#define NFS_PROGRAM 100003
#define MOUNT_PROGRAM 100005
#define PORTMAP_PROGRAM 100000
#define NLM_PROGRAM 100021
#define NSM_PROGRAM 100024
#define MOUNTS_MAX 1024			/* entries that MOUNT's DUMP remembers */
#define EXPORT_BUCKETS 64
#define EXPORTS_CACHED_MAX 1024

struct export_cached {
	struct export_cached *next;
	uint32_t volume;
	struct exports exports;
};

struct nfs4_state;
struct nlm_state;

struct nfs_mount { struct list entry; struct rpc_addr addr; char path[]; };

struct nfs_server {
	struct fs *fs;
	struct nfs_config cfg;		/* its strings are copies */
	struct rpc_server *rpc;
	struct rpc_service service, udp_service, portmap_service;
	struct rpc_binding bindings[5], portmap_bindings[3];	/* the last two by UDP as well */
	struct drc *drc, *bulk_drc;
	uint16_t *ports;		/* of cfg.listen[] */
	bool listening_all;		/* some address is a wildcard */
	bool udp;			/* on the first of cfg.listen[] */
	enum nfs_portmap portmap_state;
	char portmap_why[200];
	struct export_cached *exports[EXPORT_BUCKETS];
	unsigned nexports;
	uint64_t exports_epoch;
	struct list mounts;
	unsigned nmounts;
	uint64_t bytes_read, bytes_written;
	struct nfs4_state *nfs4;
	struct names *names;
	struct nlm_state *nlm;
};

/* One request on a file: what every handler begins with. */
struct nfs_op {
	struct nfs_server *server;
	struct fs_req req;
	struct fs_id id;
	bool rw;
	bool sync;			/* every write is stable */
};

extern const struct rpc_program nfs3_program, nfs4_program, mount3_program, nlm4_program;
extern const struct rpc_program nsm1_program;
extern const struct rpc_program portmap2_program, portmap3_program, portmap4_program;

/* The rule by which the caller of C may use VOLUME; -EACCES when there is none.  May wait. */
int export_find(struct rpc_call *c, uint32_t volume, struct export_rule *ret_rule);
/*
 * The same for a request on a file: gives OP the caller's credentials as the rule turns them,
 * and what else the rule says.  Also sets c->auth_stat when his kind of credentials won't do.
 */
int export_enter(struct rpc_call *c, uint32_t volume, struct nfs_op *op);
void exports_forget(struct nfs_server *s);

/* nfs/rpcbind.c: enters our programs at an rpcbind on this machine, or removes them.  Blocks the
 * thread, for two seconds at most: at start and at the end only. */
int rpcbind_register(uint16_t port, bool any_addr, bool udp, char *why, size_t why_len);
void rpcbind_unregister(void);

/* nfs4_state.c */
int nfs4_state_new(struct nfs_server *s, struct nfs4_state **ret_state);
/* Ends what runs in the background, and begins nothing more; waits. */
void nfs4_state_stop(struct nfs4_state *st);
void nfs4_state_free(struct nfs4_state *st);
/* nfs4_compound.c: FN for each operation that is served, as if it were a procedure. */
void nfs4_tell_ops(const struct nfs4_state *st,
		   void (*fn)(void *arg, const struct nfs_proc_info *i), void *arg);

/* mount.c */
void mounts_forget(struct nfs_server *s);

#endif
