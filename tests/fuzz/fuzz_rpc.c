/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as calls to the NFS server: NFSv3, MOUNT, NFSv4, NLM and NSM, on the real file system.
 * The input is a series of calls, each with its length in two bytes before it (zero: the rest), and one byte
 * that says what is made of it:
 *
 *	0	it is the whole message
 *	1	it is what follows a header that is in order; its first two bytes say of what
 *	2	the same, after the file handle that its third byte says
 *	3	no call: time passes, and who waits for a lock is called back
 *
 * What comes back must be a reply.
 */
#include <errno.h>
#include "fuzz.h"
#include "nfs/nlm.h"
#include "../nfs/proto.h"

static const struct { uint32_t prog, vers, procs; } programs[] = {
	{ NFS_PROGRAM, 3, 23 }, { MOUNT_PROGRAM, 3, 7 }, { NFS_PROGRAM, 4, 3 },
	{ NFS_PROGRAM, 2, 3 }, { NLM_PROGRAM, 4, 25 }, { NLM_PROGRAM, 3, 25 }, { NSM_PROGRAM, 1, 8 },
};

static struct proto P;

/* A host of NLM that is called: some answer. */
static int called(struct nlm_state *nlm, const struct rpc_addr *to, const struct rpc_addr *from,
		  struct host_way *way, const struct rpc_request *q, void *buf, size_t cap,
		  size_t *ret_len)
{
	struct xdr_out out;

	if (q->args_len & 4)
		return -ETIMEDOUT;
	xdr_out_init(&out, buf, cap);
	xdr_put_string(&out, "abc");
	xdr_put_u32(&out, q->args_len & 8 ? NLM_DENIED : NLM_GRANTED);
	*ret_len = xdr_out_len(&out);
	xdr_out_done(&out);
	return 0;
}

static void serve(const struct msg *m)
{
	size_t len;
	uint8_t *reply = proto_serve(&P, m, &len);

	if (!reply)
		return;
	fuzz_check(len >= 16 && len % 4 == 0, "a reply of %zu bytes", len);
	fuzz_check(!memcmp(reply, m->data, 4), "another xid");
	fuzz_check(get32(reply + 4) == 1, "no reply");
	free(reply);
}

static void one_call(struct stream s)
{
	const uint8_t *const handles[] = { P.root, P.file, P.dir, P.link };
	static uint8_t rest[65536];
	uint8_t how = take8(&s) % 4, prog;
	struct msg m = { 0 };
	size_t len;

	if (how == 3) {
		proto_sleep(take8(&s) * 1000000000ull);
		return;
	}
	if (how) {
		prog = take8(&s) % (sizeof(programs) / sizeof(*programs));
		proto_head(&P, programs[prog].prog, programs[prog].vers,
			   take8(&s) % programs[prog].procs, &m);
	}
	if (how == 2)
		put_fh(&m, handles[take8(&s) % 4]);
	len = stream_left(&s);
	take(&s, rest, len);
	msg_bytes(&m, rest, len);
	serve(&m);
	msg_free(&m);
}

void fuzz_input(const uint8_t *data, size_t len)
{
	struct stream s = { data, data + len };

	proto_begin(&P);
	P.server->nlm->call = called;
	while (stream_left(&s) >= 2) {
		size_t n = take16(&s);

		n = n && n < stream_left(&s) ? n : stream_left(&s);
		one_call((struct stream){ s.p, s.p + (n < 65536 ? n : 65535) });
		s.p += n;
	}
	proto_end(&P);
}

/* The arguments of NLM's PROC, by letters: t u h as ever, s a string, f the file's handle. */
static void put_nlm(uint32_t proc, struct msg *m)
{
	static const char *const args[24] = {
		[1] = "stsfsuhh", [2] = "sttsfsuhhtu", [3] = "sttsfsuhh", [4] = "ssfsuhh",
		[5] = "stsfsuhh", [6] = "stsfsuhh", [7] = "sttsfsuhhtu", [8] = "sttsfsuhh",
		[9] = "ssfsuhh", [20] = "ssfsuut", [21] = "ssfsuut", [22] = "sttsfsuhhtu",
		[23] = "su",
	};

	for (const char *l = proc < 24 && args[proc] ? args[proc] : ""; *l; l++)
		switch (*l) {
		case 't': msg_u32(m, 0); break;
		case 'u': msg_u32(m, 1); break;
		case 'h': msg_u64(m, 100); break;
		case 's': msg_string(m, "host"); break;
		case 'f': put_fh(m, P.file); break;
		}
}

static void put_seed(void (*put)(const char *name, const uint8_t *data, size_t len),
		     const char *program, uint32_t proc, const struct msg *m)
{
	uint8_t b[4096];
	char name[32];

	b[0] = (m->len + 1) >> 8;
	b[1] = m->len + 1;
	b[2] = 0;
	memcpy(b + 3, m->data, m->len);
	snprintf(name, sizeof(name), "%s-%u", program, proc);
	put(name, b, m->len + 3);
}

void fuzz_seeds(void (*put)(const char *name, const uint8_t *data, size_t len))
{
	struct msg m = { 0 };
	char name[32];

	proto_begin(&P);
	for (uint32_t proc = 0; proc < NFS3_PROCS; proc++) {
		proto_call(&P, proc, &m);
		put_seed(put, "nfs3", proc, &m);
	}
	for (uint32_t proc = 0; proc < 24; proc++) {
		proto_head(&P, NLM_PROGRAM, 4, proc, &m);
		put_nlm(proc, &m);
		put_seed(put, "nlm4", proc, &m);
	}
	for (uint8_t proc = 0; proc < 6; proc++) {
		const uint8_t mount[] = { 0, 15, 1, 1, proc, 0, 0, 0, 6, '/', 'v', 'o', 'l', '/', 'd',
					  0, 0 };

		snprintf(name, sizeof(name), "mount3-%u", proc);
		put(name, mount, sizeof(mount));
	}
	msg_free(&m);
	proto_end(&P);
}
