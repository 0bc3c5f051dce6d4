/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the server's own code costs for one request, without sockets: calls of NFSv3 and NFSv4.1
 * are served again and again from memory, on the real file system.
 *
 *	opcost                  nanoseconds of each
 *	opcost --count NAME     only NAME, many times: for valgrind --tool=callgrind, or perf
 *
 * Names: getattr3, getattr41, read3, read41 (4 KiB, cached).
 */
#include <stdio.h>
#include <time.h>
#include "../nfs/compound.h"

#define ROUNDS 20000
#define WARM 200

static struct sid open_sid;
static struct rpc_call call;
static size_t seq_at;			/* of SEQUENCE's number in M */

static void put32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, 4);
}

/* ---- the calls ----------------------------------------------------------------------- */

static void getattr3(void)
{
	proto_head(&P, NFS_PROGRAM, 3, 1, &M);
	put_fh(&M, P.file);
}

static void read3(void)
{
	proto_head(&P, NFS_PROGRAM, 3, 6, &M);
	put_fh(&M, P.file);
	msg_u64(&M, 4096);
	msg_u32(&M, 4096);
}

static void begin41(void)
{
	begin_tag(1, "");
	seq_at = M.len + 4 + 16;
	put_seq(&S, 0);
	putfh(P.file);
}

/* What a Linux client asks for. */
static void getattr41(void)
{
	begin41();
	op(OP_GETATTR);
	msg_u32(&M, 2);
	msg_u32(&M, 0x0010011a);
	msg_u32(&M, 0x00b0a23a);
}

static void read41(void)
{
	begin41();
	op(OP_READ);
	put_sid(&open_sid);
	msg_u64(&M, 4096);
	msg_u32(&M, 4096);
}

static const struct { const char *name; void (*build)(void); bool v4; } ops[] = {
	{ "getattr3", getattr3, false }, { "getattr41", getattr41, true },
	{ "read3", read3, false }, { "read41", read41, true },
};

/* ---- serving them -------------------------------------------------------------------- */

struct job { bool v4; unsigned rounds; uint64_t ns; };

static void serve_one(bool v4)
{
	if (v4)
		put32(M.data + seq_at, ++S.seq);
	call.peer = P.peer;
	if (rpc_call_parse(&call, nfs_server_service(P.server), M.data, M.len))
		abort();
	rpc_call_run(&call);
	if (call.refusal || call.status || call.out.full)
		abort();
	rpc_call_done(&call);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static void serve_many(void *arg)
{
	struct job *j = arg;
	uint64_t begun;

	for (int i = 0; i < WARM; i++)
		serve_one(j->v4);
	begun = now_ns();
	for (unsigned i = 0; i < j->rounds; i++)
		serve_one(j->v4);
	j->ns = now_ns() - begun;
}

static uint64_t measure(unsigned i, unsigned rounds)
{
	struct job j = { ops[i].v4, rounds, 0 };

	ops[i].build();
	proto_run(serve_many, &j);
	return j.ns;
}

int main(int argc, char **argv)
{
	const char *only = argc == 3 && !strcmp(argv[1], "--count") ? argv[2] : NULL;

	setup4(NULL);
	if (open_file(&S, 1, 0, "o", "f", &open_sid))
		return 1;
	for (unsigned i = 0; i < sizeof(ops) / sizeof(*ops); i++) {
		uint64_t best = UINT64_MAX, ns;

		if (only && strcmp(only, ops[i].name))
			continue;
		for (int k = 0; k < (only ? 1 : 20); k++) {
			ns = measure(i, ROUNDS);
			best = ns < best ? ns : best;
		}
		printf("%-10s %6.0f ns\n", ops[i].name, (double)best / ROUNDS);
	}
	teardown(NULL);
	return 0;
}
