/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as calls to the NFS server: NFSv3, MOUNT and NFSv4, on the real file system.  The input
 * is a series of calls, each with its length in two bytes before it (zero: the rest), and one byte
 * that says what is made of it:
 *
 *	0	it is the whole message
 *	1	it is what follows a header that is in order; its first two bytes say of what
 *	2	the same, after the file handle that its third byte says
 *
 * What comes back must be a reply.
 */
#include "fuzz.h"
#include "../nfs/proto.h"

static const struct { uint32_t prog, vers, procs; } programs[] = {
	{ NFS_PROGRAM, 3, 23 }, { MOUNT_PROGRAM, 3, 7 }, { NFS_PROGRAM, 4, 3 },
	{ NFS_PROGRAM, 2, 3 },
};

static struct proto P;

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
	uint8_t how = take8(&s) % 3, prog;
	struct msg m = { 0 };
	size_t len;

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
	while (stream_left(&s) >= 2) {
		size_t n = take16(&s);

		n = n && n < stream_left(&s) ? n : stream_left(&s);
		one_call((struct stream){ s.p, s.p + (n < 65536 ? n : 65535) });
		s.p += n;
	}
	proto_end(&P);
}

void fuzz_seeds(void (*put)(const char *name, const uint8_t *data, size_t len))
{
	struct msg m = { 0 };
	uint8_t b[4096];
	char name[32];

	proto_begin(&P);
	for (uint32_t proc = 0; proc < NFS3_PROCS; proc++) {
		proto_call(&P, proc, &m);
		b[0] = (m.len + 1) >> 8;
		b[1] = m.len + 1;
		b[2] = 0;
		memcpy(b + 3, m.data, m.len);
		snprintf(name, sizeof(name), "nfs3-%u", proc);
		put(name, b, m.len + 3);
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
