/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NFS server: NFSv3 and MOUNTv3 (RFC 1813), NFSv4 (RFC 7530, RFC 8881, RFC 7862) on one TCP
 * port, and look-ups of the port mapper (RFC 1833) on port 111 where nothing else answers there.
 *
 * All on the loop's thread that opened the pool.
 */
#ifndef NFS_SERVER_H
#define NFS_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "nfs/handle.h"
#include "rpc/server.h"

struct fs;
struct nfs_server;

struct nfs_config {
	/* "ADDR:PORT", numeric; port 0 takes a free one.  None: 127.0.0.1:2049. */
	const char *const *listen;
	unsigned nlisten;
	/* Signs file handles: the same for ever, or clients lose their files at a restart. */
	uint8_t handle_key[HANDLE_KEY_BYTES];
	/* Where look-ups of ports are answered: "ADDR:PORT"; NULL: 127.0.0.1:111; "": nowhere. */
	const char *portmap;
	/* How long a client of NFSv4 keeps what it has without a word, seconds; 0: 90. */
	unsigned lease_s;
	/* How long clients may reclaim after a restart, seconds; 0: the lease. */
	unsigned grace_s;
	struct rpc_limits limits;
};

/*
 * Makes a server; nothing is heard yet.  Takes over the requests that were replayed at opening
 * (fs_take_replayed), to answer their retransmissions.
 */
int nfs_server_new(struct fs *fs, const struct nfs_config *cfg, struct nfs_server **ret_server);

/*
 * Begins to listen.  On failure WHY gets one line.  That port mapping can't be had is no
 * failure: how it went is in nfs_server_portmap().
 */
int nfs_server_start(struct nfs_server *s, char *why, size_t why_len);
/* The port of listening address I, as the kernel gave it. */
uint16_t nfs_server_port(const struct nfs_server *s, unsigned i);

enum nfs_portmap {
	NFS_PORTMAP_OFF,		/* not wanted */
	NFS_PORTMAP_OWN,		/* we answer */
	NFS_PORTMAP_RPCBIND,		/* an rpcbind runs; we are registered with it */
	NFS_PORTMAP_FAILED,		/* neither worked; the reason is in ret_why */
};
enum nfs_portmap nfs_server_portmap(const struct nfs_server *s, const char **ret_why);

/* Finishes what is under way and ends all connections; in a fiber, waits.  Then free. */
void nfs_server_stop(struct nfs_server *s);
void nfs_server_free(struct nfs_server *s);

/* The programs, to be called without a transport: tests, fuzzers. */
const struct rpc_service *nfs_server_service(struct nfs_server *s);

/*
 * Calls FN for each procedure that there is, and for each operation of NFSv4, whose numbers are
 * also in those of its COMPOUND; FN must not wait.
 */
struct nfs_proc_info {
	const char *program;		/* "nfs", "mount", "portmap" */
	uint32_t version;
	const char *proc;		/* "READ" */
	uint64_t calls, errors, total_ns;
};
void nfs_server_procs(const struct nfs_server *s,
		      void (*fn)(void *arg, const struct nfs_proc_info *i), void *arg);
/* The transport's numbers and clients. */
struct rpc_server *nfs_server_rpc(struct nfs_server *s);

/* Bytes that clients read and wrote. */
struct nfs_server_stats {
	uint64_t bytes_read, bytes_written, drc_hits;
	unsigned drc_entries;
};
void nfs_server_stats(const struct nfs_server *s, struct nfs_server_stats *ret_stats);

#endif
