/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load generator: what its parts share.  NFSv3; with the raw engine also reads and GETATTRs by
 * NFSv4.1.
 *
 * One thread, one file, a fixed number of requests in flight on each connection (closed
 * loop).  Two engines issue the same requests:
 *
 *   libnfs   libnfs's asynchronous RPC calls, one system call for each request it sends
 *   raw      our own minimal XDR; all requests that are ready on a connection leave in one
 *            sendmsg, so that the server is what limits the rate, not we
 *
 * File content is periodic with 1 MiB, and each 4 KiB block of it begins with a stamp that
 * tells which block of its MiB it is.  So every write of an aligned range sends bytes that
 * exist once, and every read's first block is checked: an answer of the wrong bytes is an
 * error, not throughput.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOAD_BLOCK 4096
#define LOAD_PERIOD (1u << 20)
#define LOAD_BS_MAX (1u << 20)
#define LOAD_DEPTH_MAX 1024
#define LOAD_CONNS_MAX 1024
#define LOAD_FH_MAX 128

enum load_op { OP_NULL, OP_GETATTR, OP_READ, OP_WRITE, OP_WRITE_SYNC, OP_COMMIT, OP_COUNT };

struct load_fh {
	uint32_t len;
	uint8_t data[LOAD_FH_MAX];
};

struct load_cfg {
	const char *host, *export, *file;
	const char *export4;		/* its path by NFSv4, if that is another */
	unsigned port, mountport;
	unsigned conns, depth;
	enum load_op op;
	uint32_t bs;
	uint64_t size;			/* the part of the file that is used */
	uint64_t stride;		/* sequential: from one request to the next; 0: bs */
	bool random, create, raw, check, v4;
	double seconds, warmup_s, settle_s;
	uint64_t max_ops;		/* 0: by time */
	uint64_t seed;
	uint32_t uid, gid;
	int server_pid;
};

/* ---- load_stat.c: latencies and clocks ----------------------------------------------- */

#define HIST_SUB 64
#define HIST_BUCKETS (HIST_SUB * 60)

struct hist {			/* log-linear, 1.6 % wide buckets, nanoseconds */
	uint64_t count, max;
	uint64_t bucket[HIST_BUCKETS];
};
void hist_add(struct hist *h, uint64_t ns);
double hist_us(const struct hist *h, double quantile);

uint64_t now_ns(void);
uint64_t self_cpu_ns(void);
/* CPU time of all threads of PID, also those that ended.  -errno when PID can't be read. */
int server_cpu_ns(int pid, uint64_t *ret_ns);
/* The same split by the kernel's tick accounting, in ms; and the peak of resident memory. */
int server_stat(int pid, uint64_t *ret_user_ms, uint64_t *ret_sys_ms, uint64_t *ret_hwm_kib);

/* ---- nfsload.c: what an engine asks ---------------------------------------------------- */

struct load_run {
	const struct load_cfg *cfg;
	struct load_fh fh;
	uint8_t *pattern;		/* 2 periods, so that any range of bs is contiguous */
	uint64_t rng, next;
	uint64_t issued, finished;	/* all phases */
	enum { PHASE_WARMUP, PHASE_MEASURE, PHASE_DRAIN } phase;
	uint64_t start_ns, window_ns, end_ns;
	uint64_t ops, errors, bytes;	/* in the window */
	uint64_t cpu_self0, cpu_server0, cpu_self1, cpu_server1;
	struct hist lat;
	char first_error[160];
};

/* The next request's offset; false when no more are to be issued. */
bool run_next(struct load_run *r, uint64_t *ret_off);
/* A request begun at T0 has been answered; STATUS is 0, an nfsstat3, or negative. */
void run_done(struct load_run *r, uint64_t t0, uint64_t now, int status, const char *what);
/* Moves from warm-up to the window and to draining as time passes. */
void run_tick(struct load_run *r, uint64_t now);
/* True when draining and nothing is in flight. */
bool run_over(const struct load_run *r);
/* True when the first block of data read at OFF is not what was written there. */
bool run_wrong(const struct load_run *r, uint64_t off, const void *data);

int raw_run(struct load_run *r);
int libnfs_run(struct load_run *r);

/* ---- load_rpc.c: XDR, and calls one at a time ------------------------------------------ */

#define PROG_NFS 100003
#define PROG_MOUNT 100005

struct xdr {
	uint8_t *p;
	size_t len, max;
	bool bad;			/* ran over the end */
};
void put_u32(struct xdr *x, uint32_t v);
void put_u64(struct xdr *x, uint64_t v);
void put_opaque(struct xdr *x, const void *data, uint32_t len);
uint32_t get_u32(struct xdr *x);
uint64_t get_u64(struct xdr *x);
const uint8_t *get_opaque(struct xdr *x, uint32_t *ret_len);
/* Record mark (patched by put_end), call header, AUTH_SYS credentials. */
void put_call(struct xdr *x, uint32_t xid, uint32_t prog, uint32_t vers, uint32_t proc,
	      uint32_t uid, uint32_t gid);
void put_end(struct xdr *x, uint32_t extra);
/* Arguments of an NFS operation of ours (not the data of a write). */
uint32_t op_proc(enum load_op op);
void put_args(struct xdr *x, const struct load_run *r, uint64_t off);
/* Leaves X at the results.  Nonzero when the call was not executed. */
int get_reply(struct xdr *x, uint32_t *ret_xid);

struct call {
	uint8_t out[2048], in[4096];
	struct xdr x, r;
};
void call_begin(struct call *c, const struct load_cfg *cfg, uint32_t prog, uint32_t vers,
		uint32_t proc);
/* Sends CALL and receives its reply into REPLY; leaves REPLY at the results. */
int call_wait(int fd, struct xdr *call, struct xdr *reply);

int tcp_connect(const char *host, unsigned port);
/* Mounts, finds (or makes) the file, fills r->fh.  Prints why and returns -1 on failure. */
int setup_file(struct load_run *r);
int setup_commit(struct load_run *r);

/* ---- load_v4.c: the same by NFSv4.1 ---------------------------------------------------- */

struct load_v4 {			/* of a connection */
	uint8_t session[16], stateid[16];
	struct load_fh fh;
	uint32_t first_seq;		/* the next of slot 0; of the others it is 1 */
};
/* A client with a session on FD, and the file open.  Prints why and returns -1 on failure. */
int v4_open(int fd, const struct load_cfg *cfg, unsigned conn, struct load_v4 *ret);
/* COMPOUND's arguments. */
void v4_put(struct xdr *x, const struct load_cfg *cfg, const struct load_v4 *v, uint32_t slot,
	    uint32_t seq, uint64_t off);
/* 0, or what is wrong; leaves X at READ's data. */
int v4_check(struct xdr *x, const struct load_cfg *cfg, const char **what);

#endif
