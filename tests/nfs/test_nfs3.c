/* SPDX-License-Identifier: Apache-2.0 */
/* NFSv3 and MOUNT without sockets, on a file system in memory. */
#include "replies.h"

/* ---- the procedures ------------------------------------------------------------------ */

static void test_attributes(void **state)
{
	uint64_t pre;
	struct attr a, b;

	assert_int_equal(nfs_proc(1), NFS3_OK);
	a = get_attr();
	end_of_reply();
	assert_int_equal(a.type, 1);
	assert_int_equal(a.size, 10000);
	assert_int_equal(a.fsid, 1);
	assert_int_equal(nfs_proc(2), NFS3_OK);
	b = get_wcc(&pre);
	end_of_reply();
	assert_int_equal(pre, 10000);
	assert_int_equal(b.size, 5);
	assert_int_equal(b.mode, 0600);
	assert_int_equal(b.time[2], 77777);
	assert_int_equal(b.time[3], 999999999);
	assert_int_equal(P.ctl->stable_waits, 1);

	/* a guard that fits, then one that doesn't */
	for (int k = 0; k < 2; k++) {
		proto_head(&P, NFS_PROGRAM, 3, 2, &M);
		put_fh(&M, P.file);
		put_sattr(&M, 0644, -1);
		msg_u32(&M, 1);
		msg_u32(&M, b.time[4]);
		msg_u32(&M, b.time[5]);
		assert_int_equal(nfs(), k ? NFS3ERR_NOT_SYNC : NFS3_OK);
	}
	/* nanoseconds that are none */
	proto_call(&P, 2, &M);
	M.data[M.len - 5] = 0xff;
	M.data[M.len - 8] = 0xff;
	assert_int_equal(nfs(), NFS3ERR_INVAL);
	assert_int_equal(nfs_proc(4), NFS3_OK);
	assert_int_equal(get_post_op().type, 1);
	assert_int_equal(xdr_get_u32(&R), 0x3f);
	end_of_reply();
}

static void test_fs_info(void **state)
{
	assert_int_equal(nfs_proc(18), NFS3_OK);
	assert_int_equal(get_post_op().type, 1);
	assert_int_equal(xdr_get_u64(&R), 1000);
	assert_int_equal(xdr_get_u64(&R), 600);
	assert_int_equal(xdr_get_u64(&R), 500);
	assert_int_equal(xdr_get_u64(&R), 100);
	assert_int_equal(xdr_get_u64(&R), 50);
	assert_int_equal(xdr_get_u64(&R), 50);
	xdr_get_u32(&R);
	end_of_reply();
	assert_int_equal(nfs_proc(19), NFS3_OK);
	assert_int_equal(get_post_op().type, 1);
	assert_int_equal(xdr_get_u32(&R), 1 << 20);
	R.p += 5 * 4;
	assert_int_equal(xdr_get_u32(&R), NFS3_DIR_MAX);
	assert_int_equal(xdr_get_u64(&R), FS_MAX_SIZE);
	xdr_get_u64(&R);
	assert_int_equal(xdr_get_u32(&R), 0x1b);
	end_of_reply();
	assert_int_equal(nfs_proc(20), NFS3_OK);
	assert_int_equal(get_post_op().type, 1);
	assert_int_equal(xdr_get_u32(&R), FS_LINK_MAX);
	assert_int_equal(xdr_get_u32(&R), 255);
	R.p += 16;
	end_of_reply();
}

static void read_some(uint64_t offset, uint32_t count, uint32_t want, bool eof)
{
	struct xdr_bytes b;

	proto_head(&P, NFS_PROGRAM, 3, 6, &M);
	put_fh(&M, P.file);
	msg_u64(&M, offset);
	msg_u32(&M, count);
	assert_int_equal(nfs(), NFS3_OK);
	assert_int_equal(get_post_op().type, 1);
	assert_int_equal(xdr_get_u32(&R), want);
	assert_int_equal(xdr_get_u32(&R), eof);
	b = xdr_get_opaque(&R, 1 << 20);
	end_of_reply();
	assert_int_equal(b.len, want);
	for (uint32_t i = 0; i < want; i++) {
		uint64_t at = offset + i;

		if (b.s[i] != (uint8_t)(at * 31 + (at >> 8)))
			fail_msg("byte %u differs", i);
	}
	assert_int_equal(P.ctl->pins, 0);
}

static void test_read(void **state)
{
	read_some(0, 4096, 4096, false);
	read_some(0, 10000, 10000, true);
	read_some(0, UINT32_MAX, 10000, true);
	read_some(1, 1, 1, false);
	read_some(4095, 2, 2, false);
	read_some(4094, 4099, 4099, false);
	read_some(9999, 5, 1, true);
	read_some(10000, 5, 0, true);
	read_some(UINT64_MAX, 5, 0, true);
	read_some(5, 0, 0, false);
	proto_head(&P, NFS_PROGRAM, 3, 6, &M);
	put_fh(&M, P.dir);
	msg_u64(&M, 0);
	msg_u32(&M, 10);
	assert_int_equal(nfs(), NFS3ERR_ISDIR);
	assert_int_equal(get_post_op().type, 2);
	end_of_reply();
}

static uint32_t write_some(uint64_t offset, uint32_t count, uint32_t len, uint32_t stable)
{
	uint8_t *data = calloc(1, len + 1);

	proto_head(&P, NFS_PROGRAM, 3, 7, &M);
	put_fh(&M, P.file);
	msg_u64(&M, offset);
	msg_u32(&M, count);
	msg_u32(&M, stable);
	msg_opaque(&M, data, len);
	free(data);
	return nfs();
}

static void test_write(void **state)
{
	uint64_t pre, verf;

	for (uint32_t stable = 0; stable <= 2; stable++) {
		P.ctl->stable_waits = 0;
		assert_int_equal(write_some(100000, 4096, 4096, stable), NFS3_OK);
		assert_int_equal(get_wcc(&pre).size, 104096);
		assert_int_equal(pre, stable ? 104096 : 10000);
		assert_int_equal(xdr_get_u32(&R), 4096);
		assert_int_equal(xdr_get_u32(&R), stable ? NFS3_FILE_SYNC : NFS3_UNSTABLE);
		verf = xdr_get_u64(&R);
		end_of_reply();
		assert_int_equal(P.ctl->stable_waits, !!stable);
	}
	P.ctl->stable_waits = 0;
	assert_int_equal(nfs_proc(21), NFS3_OK);
	get_wcc(&pre);
	assert_true(xdr_get_u64(&R) == verf);
	end_of_reply();
	assert_int_equal(P.ctl->stable_waits, 1);

	/* more than wtmax is written in part */
	assert_int_equal(write_some(0, (1 << 20) + 100, (1 << 20) + 100, 0), NFS3_OK);
	get_wcc(&pre);
	assert_int_equal(xdr_get_u32(&R), 1 << 20);
	assert_int_equal(write_some(0, 5, 4, 0), NFS3ERR_INVAL);
	assert_int_equal(write_some(0, 4, 5, 0), NFS3ERR_INVAL);
	assert_int_equal(write_some(UINT64_MAX - 1, 4, 4, 0), NFS3ERR_FBIG);
	assert_int_equal(write_some(FS_MAX_SIZE, 1, 1, 0), NFS3ERR_FBIG);
	assert_int_equal(write_some(0, 0, 0, 2), NFS3_OK);
}

/* What could not be made stable is never acknowledged. */
static void test_not_stable(void **state)
{
	static const uint32_t procs[] = { 2, 7, 8, 9, 10, 11, 12, 13, 14, 15, 21 };

	for (size_t i = 0; i < sizeof(procs) / 4; i++) {
		P.ctl->fail_stable = i & 1 ? -EIO : -EROFS;
		assert_int_equal(nfs_proc(procs[i]), i & 1 ? NFS3ERR_IO : NFS3ERR_ROFS);
		teardown(NULL);
		setup(NULL);
	}
	P.ctl->fail_stable = -EIO;
	assert_int_equal(write_some(0, 1, 1, NFS3_UNSTABLE), NFS3_OK);
	P.ctl->fail_stable = 0;
}

static void test_create(void **state)
{
	uint8_t a[HANDLE_BYTES], b[HANDLE_BYTES];

	assert_int_equal(create("u", 0, 0), NFS3_OK);
	made(a);
	assert_int_equal(create("u", 0, 0), NFS3_OK);
	made(b);
	assert_memory_equal(a, b, HANDLE_BYTES);
	assert_int_equal(getattr(a), NFS3_OK);
	assert_int_equal(create("u", 1, 0), NFS3ERR_EXIST);
	assert_int_equal(create("e", 2, 42), NFS3_OK);
	made(a);
	assert_int_equal(create("e", 2, 42), NFS3_OK);
	made(b);
	assert_memory_equal(a, b, HANDLE_BYTES);
	assert_int_equal(create("e", 2, 43), NFS3ERR_EXIST);
	assert_int_equal(nfs_proc(9), NFS3_OK);
	assert_int_equal(made(a).type, 2);
	assert_int_equal(nfs_proc(10), NFS3_OK);
	assert_int_equal(made(a).type, 5);
	proto_head(&P, NFS_PROGRAM, 3, 5, &M);
	put_fh(&M, a);
	assert_int_equal(nfs(), NFS3_OK);
	get_post_op();
	assert_memory_equal(xdr_get_opaque(&R, 100).s, "some/where", 10);
	for (uint32_t type = 0; type <= 8; type++) {
		char name[8];

		proto_head(&P, NFS_PROGRAM, 3, 11, &M);
		put_fh(&M, P.root);
		snprintf(name, sizeof(name), "n%u", type);
		msg_string(&M, name);
		msg_u32(&M, type);
		if (type == FS_BLK || type == FS_CHR || type == FS_SOCK || type == FS_FIFO) {
			put_sattr(&M, 0600, -1);
			if (type == FS_BLK || type == FS_CHR)
				msg_u64(&M, 5);
			assert_int_equal(nfs(), NFS3_OK);
			assert_int_equal(made(a).type, type);
		} else {
			assert_int_equal(nfs(), NFS3ERR_BADTYPE);
		}
	}
}

static void test_names(void **state)
{
	static const struct { const char *name; uint32_t len, status; } bad[] = {
		{ "", 0, NFS3ERR_INVAL }, { "a/b", 3, NFS3ERR_INVAL }, { "a\0b", 3, NFS3ERR_INVAL },
		{ "/", 1, NFS3ERR_INVAL }, { NULL, 256, NFS3ERR_NAMETOOLONG },
		{ NULL, 70000, NFS3ERR_NAMETOOLONG },
	};
	static const uint32_t procs[] = { 3, 12, 13 };
	char *longname = malloc(70000);

	memset(longname, 'x', 70000);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		for (int k = 0; k < 3; k++) {
			proto_head(&P, NFS_PROGRAM, 3, procs[k], &M);
			put_fh(&M, P.root);
			msg_opaque(&M, bad[i].name ? bad[i].name : longname, bad[i].len);
			assert_int_equal(nfs(), bad[i].status);
		}
	free(longname);
}

static void test_names_2(void **state)
{
	uint8_t fh[HANDLE_BYTES];
	uint64_t pre;

	assert_int_equal(nfs_proc(3), NFS3_OK);			/* LOOKUP */
	get_fh(fh);
	assert_memory_equal(fh, P.file, HANDLE_BYTES);
	assert_int_equal(get_post_op().type, 1);
	assert_int_equal(get_post_op().type, 2);
	end_of_reply();
	assert_int_equal(nfs_proc(15), NFS3_OK);		/* LINK */
	assert_int_equal(get_post_op().nlink, 2);
	assert_int_equal(get_wcc(&pre).type, 2);
	end_of_reply();
	assert_int_equal(nfs_proc(14), NFS3_OK);		/* RENAME */
	assert_int_equal(get_wcc(&pre).type, 2);
	assert_int_equal(get_wcc(&pre).type, 2);
	end_of_reply();
	assert_int_equal(nfs_proc(14), NFS3ERR_NOENT);
	get_wcc(&pre);
	get_wcc(&pre);
	end_of_reply();
	assert_int_equal(nfs_proc(13), NFS3ERR_NOTEMPTY);	/* RMDIR */
	assert_int_equal(get_wcc(&pre).type, 2);
	end_of_reply();
	assert_int_equal(nfs_proc(12), NFS3_OK);		/* REMOVE */
	assert_int_equal(get_wcc(&pre).type, 2);
	end_of_reply();
	assert_int_equal(nfs_proc(5), NFS3ERR_STALE);		/* the link's handle */
	assert_int_equal(P.ctl->changes, 1 + 2 + 1);
}

/* ---- directories --------------------------------------------------------------------- */

static uint32_t list(bool plus, uint64_t cookie, uint64_t verf, uint32_t dircount, uint32_t count)
{
	proto_head(&P, NFS_PROGRAM, 3, plus ? 17 : 16, &M);
	put_fh(&M, P.root);
	msg_u64(&M, cookie);
	msg_u64(&M, verf);
	if (plus)
		msg_u32(&M, dircount);
	msg_u32(&M, count);
	return nfs();
}

/* Reads entries of a good reply; counts names of the form eNNN in SEEN. */
static unsigned entries(bool plus, uint8_t *seen, uint64_t *cookie, uint64_t *verf, bool *eof,
			unsigned *dirbytes)
{
	unsigned n = 0;

	*dirbytes = 0;
	assert_int_equal(get_post_op().type, 2);
	*verf = xdr_get_u64(&R);
	while (xdr_get_bool(&R)) {
		struct xdr_bytes name;
		char text[256];
		unsigned k;

		xdr_get_u64(&R);
		name = xdr_get_opaque(&R, 255);
		memcpy(text, name.s, name.len);
		text[name.len] = 0;
		if (sscanf(text, "e%u", &k) == 1)
			seen[k]++;
		*cookie = xdr_get_u64(&R);
		*dirbytes += 24 + ((name.len + 3) & ~3u);
		if (plus) {
			uint8_t fh[HANDLE_BYTES];

			assert_true(get_post_op().type);
			assert_true(xdr_get_bool(&R));
			get_fh(fh);
		}
		n++;
	}
	*eof = xdr_get_bool(&R);
	end_of_reply();
	return n;
}

static void make_entries(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		char name[64];

		snprintf(name, sizeof(name), "e%u%.*s", i, i % 40,
			 "________________________________________");
		assert_int_equal(create(name, 1, 0), NFS3_OK);
	}
}

static void test_readdir(void **state)
{
	enum { N = 300 };
	uint8_t seen[N];

	make_entries(N);
	for (int plus = 0; plus < 2; plus++)
		for (uint32_t count = 104; count < 9000; count = count * 5 / 4 + 7) {
			uint64_t cookie = 0, verf = 0;
			unsigned total = 0, dirbytes;
			bool eof = false;

			memset(seen, 0, sizeof(seen));
			while (!eof) {
				uint32_t st = list(plus, cookie, verf, UINT32_MAX, count);
				unsigned n;

				if (st == NFS3ERR_TOOSMALL)
					break;
				assert_int_equal(st, NFS3_OK);
				assert_true(xdr_left(&R) <= count);
				/* full but for less than the largest entry */
				n = entries(plus, seen, &cookie, &verf, &eof, &dirbytes);
				assert_true(n > 0 || eof);
				if (!eof)
					assert_true(reply_len - 28 + 24 + 44 + (plus ?
										136 : 0) > count);
				total += n;
			}
			if (!eof) {
				assert_true(count < 104 + 24 + 48 + (plus ? 136 : 0));
				continue;
			}
			assert_int_equal(total, N + 5);
			for (int i = 0; i < N; i++)
				assert_int_equal(seen[i], 1);
		}
}

/* What is damaged is listed by its name alone, and the others as ever. */
static void test_readdir_damaged(void **state)
{
	unsigned n = 0, without = 0;

	make_entries(3);
	P.ctl->damaged = "e1_";
	assert_int_equal(list(true, 0, 0, UINT32_MAX, 8192), NFS3_OK);
	get_post_op();
	xdr_get_u64(&R);
	for (; xdr_get_bool(&R); n++) {
		struct xdr_bytes name;
		uint8_t fh[HANDLE_BYTES];

		xdr_get_u64(&R);
		name = xdr_get_opaque(&R, 255);
		xdr_get_u64(&R);
		if (name.len == 3 && !memcmp(name.s, "e1_", 3)) {
			assert_false(xdr_get_bool(&R) || xdr_get_bool(&R));
			without++;
			continue;
		}
		assert_true(get_post_op().type && xdr_get_bool(&R));
		get_fh(fh);
	}
	assert_true(xdr_get_bool(&R));
	end_of_reply();
	assert_int_equal(n, 3 + 5);
	assert_int_equal(without, 1);
}

static void test_readdir_limits(void **state)
{
	uint8_t seen[300] = { 0 };
	uint64_t cookie = 0, verf = 0;
	unsigned dirbytes, n;
	bool eof;

	make_entries(300);
	assert_int_equal(list(true, 0, 0, 200, 32768), NFS3_OK);
	n = entries(true, seen, &cookie, &verf, &eof, &dirbytes);
	assert_true(n > 3 && dirbytes <= 200 && !eof);
	assert_int_equal(list(true, 0, 0, 0, 32768), NFS3_OK);	/* a hint, and at least one */
	assert_int_equal(entries(true, seen, &cookie, &verf, &eof, &dirbytes), 1);
	assert_int_equal(list(false, 0, 0, 0, 103), NFS3ERR_TOOSMALL);
	assert_int_equal(list(false, 0, 0, 0, 0), NFS3ERR_TOOSMALL);
	assert_int_equal(get_post_op().type, 0);
	end_of_reply();
	assert_int_equal(list(false, 1, verf + 12345, 0, 4096), NFS3ERR_BAD_COOKIE);
	assert_int_equal(list(false, 1, verf, 0, 4096), NFS3_OK);
	assert_int_equal(list(false, 0, 0, 0, UINT32_MAX), NFS3_OK);
	assert_true(reply_len <= NFS3_DIR_MAX + 28);
	/* past the end: nothing, and eof */
	assert_int_equal(list(false, 1ull << 62, verf, 0, 4096), NFS3_OK);
	assert_int_equal(entries(false, seen, &cookie, &verf, &eof, &dirbytes), 0);
	assert_true(eof);
	proto_head(&P, NFS_PROGRAM, 3, 16, &M);
	put_fh(&M, P.file);
	msg_u64(&M, 0);
	msg_u64(&M, 0);
	msg_u32(&M, 4096);
	assert_int_equal(nfs(), NFS3ERR_NOTDIR);
}

/* ---- retransmissions ----------------------------------------------------------------- */

static void test_retransmission(void **state)
{
	static const uint32_t procs[] = { 2, 7, 8, 9, 10, 11, 12, 13, 14, 15 };

	for (int i = 0; i < 10; i++) {
		uint8_t *first;
		size_t len;
		unsigned changes;

		teardown(NULL);
		setup(NULL);
		assert_int_equal(nfs_proc(procs[i]), NFS3_OK);
		first = malloc(reply_len);
		memcpy(first, reply, len = reply_len);
		changes = P.ctl->changes;
		P.peer.port++;					/* on another connection */
		M.data[32]++;					/* with another stamp */
		assert_int_equal(nfs(), NFS3_OK);
		assert_int_equal(reply_len, len);
		assert_memory_equal(reply, first, len);
		assert_int_equal(P.ctl->changes, changes);
		free(first);
	}
	/* the same xid for something else, or from somebody else */
	proto_call(&P, 12, &M);
	assert_int_equal(nfs(), NFS3_OK);
	P.uid = 0;
	M.data[M.len - 4] = 'q';
	assert_int_equal(nfs(), NFS3ERR_NOENT);
}

/* A storm of writes doesn't push out the answer of a REMOVE. */
static void test_kept_apart(void **state)
{
	struct msg m = { 0 };

	proto_call(&P, 12, &M);
	assert_int_equal(nfs(), NFS3_OK);
	msg_bytes(&m, M.data, M.len);
	for (int i = 0; i < 40000; i++)
		assert_int_equal(nfs_proc(7), NFS3_OK);
	M.len = 0;
	msg_bytes(&M, m.data, m.len);
	assert_int_equal(nfs(), NFS3_OK);
	msg_free(&m);
}

static void test_not_kept(void **state)
{
	proto_call(&P, 12, &M);
	P.ctl->fail = -ENOMEM;
	assert_int_equal(nfs(), NFS3ERR_JUKEBOX);
	assert_int_equal(nfs(), NFS3_OK);			/* the same xid: executed now */
}

static void test_after_crash(void **state)
{
	static const uint32_t procs[] = { 2, 8, 9, 10, 11, 12, 13, 14, 15 };

	for (int i = 0; i < 9; i++) {
		bool makes = procs[i] >= 8 && procs[i] <= 11;
		uint8_t fh[HANDLE_BYTES], again[HANDLE_BYTES];
		struct fs_id id = { 0 };
		unsigned changes;

		teardown(NULL);
		setup(NULL);
		assert_int_equal(nfs_proc(procs[i]), NFS3_OK);
		if (makes) {
			made(fh);
			handle_read((const uint8_t *)"0123456789abcde", fh, HANDLE_BYTES, &id);
		}
		changes = P.ctl->changes;
		assert_true(P.ctl->drc_client != 0);
		P.ctl->replayed = (struct fs_replayed){ P.ctl->drc_client, P.ctl->drc_xid,
							P.ctl->drc_proc, id };
		proto_restart(&P);
		for (int k = 0; k < 2; k++) {
			assert_int_equal(nfs(), NFS3_OK);
			assert_int_equal(P.ctl->changes, changes);
			if (makes) {
				made(again);
				assert_memory_equal(fh, again, HANDLE_BYTES);
			}
		}
	}
	assert_int_equal(nfs_proc(7), NFS3_OK);			/* WRITE may be done twice */
	assert_int_equal(P.ctl->drc_client, 0);
}

/* ---- faults -------------------------------------------------------------------------- */

static void test_errors(void **state)
{
	static const struct { int code; uint32_t status; } map[] = {
		{ EPERM, 1 }, { ENOENT, 2 }, { EIO, 5 }, { ENXIO, 6 }, { EACCES, 13 }, { EEXIST, 17 },
		{ EXDEV, 18 }, { ENODEV, 19 }, { ENOTDIR, 20 }, { EISDIR, 21 }, { EINVAL, 22 },
		{ EFBIG, 27 }, { ENOSPC, 28 }, { EROFS, 30 }, { EMLINK, 31 }, { ENAMETOOLONG, 63 },
		{ ENOTEMPTY, 66 }, { EDQUOT, 69 }, { ESTALE, 70 }, { EBADHANDLE, 10001 },
		{ ENOTSYNC, 10002 }, { EBADCOOKIE, 10003 }, { EOPNOTSUPP, 10004 }, { EDAMAGED, 5 },
		{ ENOMEM, 10008 }, { ENOTTY, 10006 },
	};

	for (size_t i = 0; i < sizeof(map) / sizeof(*map); i++)
		for (uint32_t proc = 1; proc < NFS3_PROCS; proc++) {
			P.ctl->fail = -map[i].code;
			assert_int_equal(nfs_proc(proc), map[i].status);
			assert_int_equal(P.ctl->fail, 0);
			assert_int_equal(P.ctl->changes, 0);
		}
}

/* Cut off anywhere, a call does nothing and is answered properly or not at all. */
static void test_truncation(void **state)
{
	for (uint32_t proc = 1; proc < NFS3_PROCS; proc++) {
		size_t whole;

		proto_call(&P, proc, &M);
		whole = M.len;
		for (M.len = 0; M.len < whole; M.len++) {
			free(reply);
			reply = proto_serve(&P, &M, &reply_len);
			if (!reply)
				continue;
			assert_int_equal(serve(), RPC_GARBAGE_ARGS);
			end_of_reply();
		}
		assert_int_equal(P.ctl->changes, 0);
		assert_int_equal(P.ctl->pins, 0);
	}
}

static void test_damaged_calls(void **state)
{
	srand(7);
	for (int round = 0; round < 20000; round++) {
		proto_call(&P, round % NFS3_PROCS, &M);
		for (int k = rand() % 4; k >= 0; k--)
			M.data[rand() % M.len] = rand() % 3 ? rand() : 0xff;
		free(reply);
		reply = proto_serve(&P, &M, &reply_len);
		if (reply)
			assert_true(reply_len >= 16 && reply_len % 4 == 0);
		assert_int_equal(P.ctl->pins, 0);
	}
}

static unsigned nprocs, ncalls;

static void count_proc(void *arg, const struct nfs_proc_info *i)
{
	assert_non_null(i->proc);
	ncalls += i->calls;
	if (!strcmp(i->program, "nfs") && i->version == 4)
		return;			/* test_tallies in test_nfs4_session.c */
	nprocs++;
	if (!strcmp(i->proc, "GETATTR"))
		assert_int_equal(i->errors, 1);
}

static void test_numbers(void **state)
{
	uint8_t fh[HANDLE_BYTES] = { 0 };
	struct nfs_server_stats st;

	nprocs = ncalls = 0;
	assert_int_equal(nfs_proc(1), NFS3_OK);
	assert_int_equal(getattr(fh), NFS3ERR_BADHANDLE);
	assert_int_equal(nfs_proc(6), NFS3_OK);
	assert_int_equal(nfs_proc(7), NFS3_OK);
	nfs_server_procs(P.server, count_proc, NULL);
	assert_int_equal(nprocs, 22 + 6 + 3 + 3 + 4 + 13 + 7);
	assert_int_equal(ncalls, 4);
	nfs_server_stats(P.server, &st);
	assert_int_equal(st.bytes_read, 5001);
	assert_int_equal(st.bytes_written, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_attributes), T(test_fs_info), T(test_read), T(test_write),
			T(test_not_stable),
		T(test_create), T(test_names), T(test_names_2), T(test_readdir),
		T(test_readdir_limits), T(test_readdir_damaged), T(test_retransmission), T(test_kept_apart),
			T(test_not_kept), T(test_after_crash), T(test_errors),
		T(test_truncation), T(test_damaged_calls), T(test_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
