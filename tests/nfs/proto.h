/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An NFS server without sockets on memfs (or the real file system: storage.h), and valid calls of
 * each procedure, for tests and fuzzers.  All runs on a simulated loop of the calling thread, which
 * stands still but in these functions; so tests call them outside of fibers.
 */
#ifndef TESTS_NFS_PROTO_H
#define TESTS_NFS_PROTO_H

#include "grammar.h"
#include "harness.h"
#include "memfs.h"
#include "nfs/nfs3.h"
#include "nfs/server.h"
#include "rpc/client.h"

struct proto {
	struct fs *fs;
	struct memfs_control *ctl;
	struct nfs_server *server;
	struct rpc_addr peer;
	uint32_t xid, uid;
	unsigned lease_s, grace_s;	/* of servers made from now on */
	bool foreground;		/* don't do after each call what a fiber would do behind it */
	/* Who the calls come from, as far as the server can call back; by default somebody who
	 * answers CB_NULL and nothing else.  proto_end() lets go of it. */
	struct rpc_peer *via;
	const struct grammar_visit *visit;	/* of replies to COMPOUND */
	uint8_t root[HANDLE_BYTES], file[HANDLE_BYTES], dir[HANDLE_BYTES], link[HANDLE_BYTES];
};

/* A volume with file "f" (10,000 bytes), directory "d" and symlink "l" in its root. */
void proto_begin(struct proto *p);
void proto_restart(struct proto *p);		/* a new server on the same fs */
void proto_crash(struct proto *p);		/* and what was not stable is lost */
void proto_end(struct proto *p);
void proto_set_exports(struct proto *p, uint32_t volume, const char *text);
/* Runs FN(ARG) in a fiber until it returns; lets NS of the loop's time pass. */
void proto_run(void (*fn)(void *arg), void *arg);
void proto_sleep(uint64_t ns);

/* What the server remembers of NFSv4 clients. */
struct nfs4_state *proto_nfs4(struct proto *p);

/* The whole way; the reply from its xid on, malloc'ed.  NULL: not even an RPC call.  A reply to
 * COMPOUND is looked at (grammar.h); the test is aborted if anything is wrong with it. */
uint8_t *proto_serve(struct proto *p, const struct msg *m, size_t *ret_len);
/* The same of N calls at once, each in a fiber of its own. */
#define PROTO_CALLS_MAX 8
void proto_serve_all(struct proto *p, const struct msg *m, unsigned n, uint8_t **ret_replies,
		     size_t *ret_lens);

#define NFS3_PROCS 22
/* Header and arguments of a valid call, that succeeds once on a fresh proto. */
void proto_call(struct proto *p, uint32_t proc, struct msg *m);
/* Begins a call; the test adds arguments. */
void proto_head(struct proto *p, uint32_t prog, uint32_t vers, uint32_t proc, struct msg *m);
void put_fh(struct msg *m, const uint8_t fh[HANDLE_BYTES]);
void put_sattr(struct msg *m, int mode, int64_t size);	/* -1: not set */

#endif
