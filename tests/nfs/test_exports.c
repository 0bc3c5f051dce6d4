/* SPDX-License-Identifier: Apache-2.0 */
/* Who gets in: file handles, export rules, credentials, MOUNT. */
#include "replies.h"

/* ---- handles, exports ---------------------------------------------------------------- */

static void test_handles(void **state)
{
	uint8_t fh[HANDLE_BYTES + 24];
	uint8_t *made_fh = fh;

	for (int bit = 0; bit < HANDLE_BYTES * 8; bit++) {
		memcpy(fh, P.file, HANDLE_BYTES);
		fh[bit / 8] ^= 1 << bit % 8;
		assert_int_equal(getattr(fh), NFS3ERR_BADHANDLE);
	}
	for (uint32_t len = 0; len <= 64; len++) {
		memset(fh, 0, sizeof(fh));
		memcpy(fh, P.file, HANDLE_BYTES);
		proto_head(&P, NFS_PROGRAM, 3, 1, &M);
		msg_opaque(&M, fh, len);
		assert_int_equal(nfs(), len == HANDLE_BYTES ? NFS3_OK : NFS3ERR_BADHANDLE);
	}
	proto_head(&P, NFS_PROGRAM, 3, 1, &M);
	msg_opaque(&M, fh, 64);
	M.data[M.len - 65] = 65;			/* one over NFS3_FHSIZE */
	msg_u32(&M, 0);
	assert_int_equal(serve(), RPC_GARBAGE_ARGS);
	assert_int_equal(create("gone", 1, 0), NFS3_OK);
	made(made_fh);
	proto_restart(&P);				/* handles survive that */
	assert_int_equal(getattr(made_fh), NFS3_OK);
	proto_head(&P, NFS_PROGRAM, 3, 12, &M);
	put_fh(&M, P.root);
	msg_string(&M, "gone");
	assert_int_equal(nfs(), NFS3_OK);
	assert_int_equal(getattr(made_fh), NFS3ERR_STALE);
	/* two handles have to be of one volume */
	handle_make((const uint8_t *)"0123456789abcde", &(struct fs_id){ .volume = 2, .ino = 2 },
		    fh);
	proto_head(&P, NFS_PROGRAM, 3, 15, &M);
	put_fh(&M, P.file);
	put_fh(&M, fh);
	msg_string(&M, "x");
	assert_int_equal(nfs(), NFS3ERR_XDEV);
}

static void test_exports_text(void **state)
{
	static const struct { const char *text, *why; } bad[] = {
		{ "nowhere rw", "nowhere" }, { "10.0.0.0/33", "33" }, { "10.0.0.1 rv", "rv" },
		{ "::/129", "129" }, { "* anonuid=x", "anonuid=x" }, { "* sec=krb5", "krb5" },
		{ "* sec=", "flavour" }, { "* rw\n* ro\n\n1.2.3 rw", "line 4" },
		{ "10.0.0.0/", "prefix" }, { "* anonuid=4294967296", "anonuid" },
	};
	static const char *const good[] = {
		"", "# nobody", "*", "* rw", "10.0.0.0/8,192.168.1.7 rw no_root_squash ; ::1 ro # a; b",
		"\n\n* rw sec=sys:none anonuid=0 anongid=4294967295 all_squash secure insecure\n",
	};
	char why[200];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(exports_check(bad[i].text, why, sizeof(why)), -EINVAL);
		assert_non_null(strstr(why, bad[i].why));
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		assert_int_equal(exports_check(good[i], why, sizeof(why)), 0);
}

static void from(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	P.peer = (struct rpc_addr){ .ip = { [10] = 0xff, 0xff, a, b, c, d }, .port = 5000 };
}

static void expect_cred(uint32_t uid, uint32_t want_uid, uint32_t want_gid, uint32_t want_groups)
{
	P.uid = uid;
	assert_int_equal(getattr(P.file), NFS3_OK);
	assert_int_equal(P.ctl->last_cred.uid, want_uid);
	assert_int_equal(P.ctl->last_cred.gid, want_gid);
	assert_int_equal(P.ctl->last_cred.ngroups, want_groups);
	assert_false(P.ctl->last_cred.admin);
}

static void test_exports(void **state)
{
	/* the default: this machine only, as it is */
	expect_cred(0, 0, 0, 2);
	expect_cred(1000, 1000, 1000, 2);
	assert_int_equal(P.ctl->last_cred.groups[1], 101);
	from(10, 0, 0, 1);
	assert_int_equal(getattr(P.file), NFS3ERR_ACCES);
	P.peer = (struct rpc_addr){ .ip = { [15] = 1 } };
	assert_int_equal(getattr(P.file), NFS3_OK);

	memfs_set_exports(P.fs, 1, "10.1.0.0/16 rw no_root_squash\n"
				   "10.0.0.0/8 ro\n"
				   "10.0.0.0/8 rw\n"
				   "11.0.0.1 rw all_squash anonuid=7 anongid=8; 12.0.0.0/9 rw secure");
	P.uid = 0;
	assert_int_equal(getattr(P.file), NFS3ERR_ACCES);
	from(10, 1, 2, 3);
	expect_cred(0, 0, 0, 2);
	assert_int_equal(nfs_proc(2), NFS3_OK);
	from(10, 2, 2, 3);
	expect_cred(0, 65534, 65534, 0);
	expect_cred(5, 5, 5, 2);
	assert_int_equal(nfs_proc(4), NFS3_OK);			/* ACCESS: no changes */
	get_post_op();
	assert_int_equal(xdr_get_u32(&R) & (4 | 8 | 16), 0);
	from(11, 0, 0, 1);
	expect_cred(5, 7, 8, 0);
	from(12, 0, 0, 1);
	assert_int_equal(getattr(P.file), NFS3ERR_ACCES);
	P.peer.port = 1023;
	assert_int_equal(getattr(P.file), NFS3_OK);
	from(12, 128, 0, 1);
	P.peer.port = 1023;
	assert_int_equal(getattr(P.file), NFS3ERR_ACCES);
	memfs_set_exports(P.fs, 1, "garbage in the pool");	/* nobody, not everybody */
	from(127, 0, 0, 1);
	assert_int_equal(getattr(P.file), NFS3ERR_ACCES);
	memfs_set_exports(P.fs, 1, "");
	assert_int_equal(getattr(P.file), NFS3_OK);
}

static void test_read_only_export(void **state)
{
	static const uint32_t changes[] = { 2, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
	static const uint32_t reads[] = { 1, 3, 4, 5, 6, 16, 17, 18, 19, 20 };

	memfs_set_exports(P.fs, 1, "* ro no_root_squash");
	for (int i = 0; i < 10; i++) {
		assert_int_equal(nfs_proc(changes[i]), NFS3ERR_ROFS);
		assert_int_equal(nfs_proc(reads[i]), NFS3_OK);
	}
	assert_int_equal(P.ctl->changes, 0);
}

static void test_auth_none(void **state)
{
	const uint32_t head[] = { 5, 0, 2, NFS_PROGRAM, 3, 1, 0, 0, 0, 0 };

	for (int k = 0; k < 2; k++) {
		M.len = 0;
		for (int i = 0; i < 10; i++)
			msg_u32(&M, head[i]);
		put_fh(&M, P.file);
		assert_int_equal(serve(), k ? RPC_SUCCESS : 100 + RPC_AUTH_TOOWEAK);
		memfs_set_exports(P.fs, 1, "* rw sec=none anonuid=99");
	}
	assert_int_equal(P.ctl->last_cred.uid, 99);
	proto_call(&P, 1, &M);
	assert_int_equal(serve(), 100 + RPC_AUTH_TOOWEAK);
}

/* ---- MOUNT --------------------------------------------------------------------------- */

static uint32_t mnt(const char *path)
{
	proto_head(&P, MOUNT_PROGRAM, 3, 1, &M);
	msg_string(&M, path);
	return nfs();
}

static unsigned count_mounts(void)
{
	unsigned n = 0;

	proto_head(&P, MOUNT_PROGRAM, 3, 2, &M);
	assert_int_equal(serve(), RPC_SUCCESS);
	while (xdr_get_bool(&R)) {
		assert_memory_equal(xdr_get_opaque(&R, 255).s, "127.0.0.1", 9);
		assert_memory_equal(xdr_get_opaque(&R, 1024).s, "/vol", 4);
		n++;
	}
	end_of_reply();
	return n;
}

static void test_mount(void **state)
{
	static const struct { const char *path; uint32_t status; } cases[] = {
		{ "/vol", 0 }, { "/vol/", 0 }, { "//vol//d//", 0 }, { "/vol/d", 0 }, { "/nope", 2 },
		{ "/", 2 }, { "", 22 }, { "vol", 22 }, { "/vol/nope", 2 }, { "/vol/f", 20 },
		{ "/vol/d/../d", 0 },
	};
	uint8_t fh[HANDLE_BYTES];
	char path[1100];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(mnt(cases[i].path), cases[i].status);
	assert_int_equal(mnt("/vol/d"), 0);
	get_fh(fh);
	assert_memory_equal(fh, P.dir, HANDLE_BYTES);
	assert_int_equal(xdr_get_u32(&R), 1);
	assert_int_equal(xdr_get_u32(&R), 1);
	end_of_reply();
	assert_int_equal(count_mounts(), 3);
	proto_head(&P, MOUNT_PROGRAM, 3, 3, &M);
	msg_string(&M, "/vol/d");
	assert_int_equal(serve(), RPC_SUCCESS);
	end_of_reply();
	assert_int_equal(count_mounts(), 2);
	proto_head(&P, MOUNT_PROGRAM, 3, 4, &M);
	assert_int_equal(serve(), RPC_SUCCESS);
	assert_int_equal(count_mounts(), 0);
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[1025] = 0;
	proto_head(&P, MOUNT_PROGRAM, 3, 1, &M);
	msg_string(&M, path);
	assert_int_equal(serve(), RPC_GARBAGE_ARGS);
	path[1024] = 0;
	assert_int_equal(mnt(path), 2);
	for (int i = 0; i < MOUNTS_MAX + 50; i++) {		/* bounded */
		from(127, 1, i >> 8, i);
		assert_int_equal(mnt("/vol"), 0);
	}
	from(127, 0, 0, 1);
	proto_head(&P, MOUNT_PROGRAM, 3, 2, &M);
	assert_int_equal(serve(), RPC_SUCCESS);
	assert_true(reply_len < MOUNTS_MAX * 40);
	for (uint32_t vers = 1; vers <= 2; vers++) {
		proto_head(&P, MOUNT_PROGRAM, vers, 1, &M);
		assert_int_equal(serve(), RPC_PROG_MISMATCH);
		assert_int_equal(xdr_get_u32(&R), 3);
		assert_int_equal(xdr_get_u32(&R), 3);
	}
}

static void test_export_list(void **state)
{
	memfs_set_exports(P.fs, 2, "10.0.0.0/8 rw");
	proto_head(&P, MOUNT_PROGRAM, 3, 5, &M);
	assert_int_equal(serve(), RPC_SUCCESS);
	assert_true(xdr_get_bool(&R));
	assert_memory_equal(xdr_get_opaque(&R, 100).s, "/vol", 4);
	assert_true(xdr_get_bool(&R));
	assert_memory_equal(xdr_get_opaque(&R, 100).s, "127.0.0.0/8", 11);
	assert_true(xdr_get_bool(&R));
	assert_memory_equal(xdr_get_opaque(&R, 100).s, "::1/128", 7);
	assert_false(xdr_get_bool(&R));
	assert_false(xdr_get_bool(&R));				/* "other" is not for us */
	end_of_reply();
	from(10, 0, 0, 1);
	assert_int_equal(mnt("/vol"), 13);
	assert_int_equal(mnt("/other"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_handles), T(test_exports_text), T(test_exports), T(test_read_only_export),
		T(test_auth_none), T(test_mount), T(test_export_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
