/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots as clients see them: .snapshot/NAME in each directory, in every version of NFS. */
#include "compound40.h"

#define SNAPDIR_BIT (1ULL << 62)

static uint8_t list[HANDLE_BYTES], then[HANDLE_BYTES], old_file[HANDLE_BYTES];

/* ---- what the management side does ----------------------------------------------------------------- */

static void in_fiber(void *arg)
{
	const char *name = arg;
	struct fs_req req;
	int err;

	fs_req_admin(&req, P.fs);
	err = name[0] == '-' ? fs_snapshot_destroy(&req, "vol", name + 1) :
			       fs_snapshot_create(&req, "vol", name, NULL);
	assert_int_equal(err, 0);
}

static void take(const char *name) { proto_run(in_fiber, (void *)name); }
static void destroy(const char *name) { proto_run(in_fiber, (void *)name); }

/* ---- NFSv3 ----------------------------------------------------------------------------------------- */

static uint32_t lookup(const uint8_t *dir, const char *name, uint8_t fh[HANDLE_BYTES], struct attr *ret)
{
	uint32_t status;

	proto_head(&P, NFS_PROGRAM, 3, 3, &M);
	put_fh(&M, dir);
	msg_string(&M, name);
	status = nfs();
	if (status)
		return status;
	get_fh(fh);
	*ret = get_post_op();
	get_post_op();
	end_of_reply();
	return status;
}

static struct attr attr_of(const uint8_t *fh)
{
	assert_int_equal(getattr(fh), NFS3_OK);
	return get_attr();
}

/* The file's bytes 0 to 4: "fresh" or what it was made with. */
static void first_bytes(const uint8_t *fh, uint8_t ret[5])
{
	struct xdr_bytes b;

	proto_head(&P, NFS_PROGRAM, 3, 6, &M);
	put_fh(&M, fh);
	msg_u64(&M, 0);
	msg_u32(&M, 5);
	assert_int_equal(nfs(), NFS3_OK);
	get_post_op();
	assert_int_equal(xdr_get_u32(&R), 5);
	xdr_get_u32(&R);
	b = xdr_get_opaque(&R, 5);
	memcpy(ret, b.s, 5);
}

static uint32_t write3(const uint8_t *fh, const char *text)
{
	proto_head(&P, NFS_PROGRAM, 3, 7, &M);
	put_fh(&M, fh);
	msg_u64(&M, 0);
	msg_u32(&M, strlen(text));
	msg_u32(&M, 2);
	msg_string(&M, text);
	return nfs();
}

/* Names with blanks behind them; *PLUS_OK: what READDIRPLUS says is what LOOKUP says. */
static void names3(const uint8_t *dir, uint32_t proc, char *ret)
{
	uint8_t fh[HANDLE_BYTES], same[HANDLE_BYTES];
	struct attr a, b;
	char name[256];

	*ret = 0;
	proto_head(&P, NFS_PROGRAM, 3, proc, &M);
	put_fh(&M, dir);
	msg_u64(&M, 0);
	msg_u64(&M, 0);
	if (proc == 17)
		msg_u32(&M, 8192);
	msg_u32(&M, 8192);
	assert_int_equal(nfs(), NFS3_OK);
	assert_int_equal(get_post_op().type, 2);
	xdr_get_u64(&R);
	while (xdr_get_bool(&R)) {
		struct xdr_bytes n;

		xdr_get_u64(&R);
		n = xdr_get_opaque(&R, 255);
		memcpy(name, n.s, n.len);
		name[n.len] = 0;
		strcat(strcat(ret, name), " ");
		xdr_get_u64(&R);
		if (proc != 17)
			continue;
		a = get_post_op();
		assert_true(xdr_get_bool(&R));
		get_fh(fh);
		if (name[0] == 's') {		/* the rest of R is another's after LOOKUP: a copy of it */
			struct xdr_in rest = R;
			uint8_t *keep = reply;

			reply = NULL;
			assert_int_equal(lookup(dir, name, same, &b), NFS3_OK);
			assert_memory_equal(fh, same, HANDLE_BYTES);
			assert_memory_equal(&a, &b, sizeof(a));
			free(reply);
			reply = keep;
			R = rest;
		}
	}
	assert_true(xdr_get_bool(&R));
	end_of_reply();
}

/* The volume as proto_begin() made it is in s1; "f" and "d" are other now. */
static int setup_snapshots(void **state)
{
	struct attr a;

	setup4(state);
	take("s1");
	assert_int_equal(write3(P.file, "fresh"), NFS3_OK);
	proto_head(&P, NFS_PROGRAM, 3, 9, &M);
	put_fh(&M, P.dir);
	msg_string(&M, "new");
	put_sattr(&M, 0755, -1);
	assert_int_equal(nfs(), NFS3_OK);
	assert_int_equal(lookup(P.root, ".snapshot", list, &a), NFS3_OK);
	assert_int_equal(lookup(list, "s1", then, &a), NFS3_OK);
	assert_int_equal(lookup(then, "f", old_file, &a), NFS3_OK);
	return 0;
}

static void test_v3_ways(void **state)
{
	struct attr live = attr_of(P.root), root, a, b;
	uint8_t fh[HANDLE_BYTES], other[HANDLE_BYTES], bytes[5];

	a = attr_of(list);
	assert_int_equal(a.type, 2);
	assert_int_equal(a.fsid, live.fsid);
	assert_true(a.ino == (live.ino | SNAPDIR_BIT));
	assert_int_equal(a.mode & 0222, 0);
	root = attr_of(then);
	assert_true(root.fsid != live.fsid && root.ino == live.ino);
	b = attr_of(old_file);
	assert_true(b.fsid == root.fsid && b.ino == attr_of(P.file).ino);
	first_bytes(old_file, bytes);
	assert_int_equal(bytes[1], 31);
	first_bytes(P.file, bytes);
	assert_memory_equal(bytes, "fresh", 5);
	/* up again */
	assert_int_equal(lookup(then, "..", fh, &a), NFS3_OK);
	assert_memory_equal(fh, list, HANDLE_BYTES);
	assert_int_equal(lookup(list, "..", fh, &a), NFS3_OK);
	assert_memory_equal(fh, P.root, HANDLE_BYTES);
	/* a directory below: by either way the same */
	assert_int_equal(lookup(P.dir, ".snapshot", fh, &a), NFS3_OK);
	assert_int_equal(lookup(fh, "s1", fh, &a), NFS3_OK);
	assert_int_equal(lookup(then, "d", other, &b), NFS3_OK);
	assert_memory_equal(fh, other, HANDLE_BYTES);
	assert_int_equal(lookup(fh, "new", other, &b), NFS3ERR_NOENT);
	assert_int_equal(lookup(P.dir, "new", other, &b), NFS3_OK);
	assert_int_equal(lookup(other, ".snapshot", fh, &a), NFS3_OK);
	assert_int_equal(lookup(fh, "s1", fh, &a), NFS3ERR_NOENT);
	assert_int_equal(lookup(list, "s2", fh, &a), NFS3ERR_NOENT);
	assert_int_equal(lookup(then, ".snapshot", fh, &a), NFS3ERR_NOENT);
	assert_int_equal(lookup(P.file, ".snapshot", fh, &a), NFS3ERR_NOTDIR);
}

static void test_v3_listing(void **state)
{
	char names[400];
	struct attr before = attr_of(list), after;

	names3(P.root, 16, names);
	assert_null(strstr(names, "snapshot"));
	proto_sleep(10000000);
	take("s2");
	after = attr_of(list);
	assert_true(memcmp(&before.time[2], &after.time[2], 16));	/* or clients go on with the old list */
	for (uint32_t proc = 16; proc <= 17; proc++) {
		names3(list, proc, names);
		assert_string_equal(names, ". .. s1 s2 ");
		names3(then, proc, names);
		assert_non_null(strstr(names, "f "));
	}
	destroy("-s1");
	names3(list, 17, names);
	assert_string_equal(names, ". .. s2 ");
	assert_int_equal(getattr(then), NFS3ERR_STALE);
	assert_int_equal(getattr(old_file), NFS3ERR_STALE);
	take("s1");
	assert_int_equal(getattr(old_file), NFS3ERR_STALE);
}

/* What changes something, on an object of a snapshot: arguments as proto_call() has them. */
static void test_v3_read_only(void **state)
{
	static const uint32_t on_dir[] = { 8, 9, 10, 11, 12, 13, 14 }, on_file[] = { 2, 7, 15 };
	const uint8_t *dirs[] = { list, then };

	for (unsigned d = 0; d < 2; d++)
		for (unsigned i = 0; i < sizeof(on_dir) / 4; i++) {
			proto_call(&P, on_dir[i], &M);
			for (size_t at = 0; at + HANDLE_BYTES <= M.len; at += 4)
				if (!memcmp(M.data + at, P.root, HANDLE_BYTES))
					memcpy(M.data + at, dirs[d], HANDLE_BYTES);
			assert_int_equal(nfs(), NFS3ERR_ROFS);
		}
	for (unsigned i = 0; i < sizeof(on_file) / 4; i++) {
		proto_call(&P, on_file[i], &M);
		for (size_t at = 0; at + HANDLE_BYTES <= M.len; at += 4)
			if (!memcmp(M.data + at, P.file, HANDLE_BYTES))
				memcpy(M.data + at, old_file, HANDLE_BYTES);
		assert_int_equal(nfs(), NFS3ERR_ROFS);
	}
	proto_head(&P, NFS_PROGRAM, 3, 4, &M);
	put_fh(&M, old_file);
	msg_u32(&M, 0x3f);
	assert_int_equal(nfs(), NFS3_OK);
	get_post_op();
	assert_int_equal(xdr_get_u32(&R) & 0x1c, 0);
}

static void test_v3_name_taken(void **state)
{
	assert_int_equal(create(".snapshot", 1, 0), NFS3ERR_EXIST);
	for (uint32_t proc = 12; proc <= 13; proc++) {
		proto_head(&P, NFS_PROGRAM, 3, proc, &M);
		put_fh(&M, P.root);
		msg_string(&M, ".snapshot");
		assert_int_equal(nfs(), NFS3ERR_ACCES);
	}
	proto_head(&P, NFS_PROGRAM, 3, 14, &M);
	put_fh(&M, P.root);
	msg_string(&M, "f");
	put_fh(&M, P.root);
	msg_string(&M, ".snapshot");
	assert_int_equal(nfs(), NFS3ERR_EXIST);
}

/* ---- NFSv4 ----------------------------------------------------------------------------------------- */

struct attr4 { uint64_t change, fsid, fileid, mounted_on; };

static void put_attr_wants(void)
{
	op(OP_GETATTR);
	msg_u32(&M, 2);
	msg_u32(&M, 1 << 3 | 1 << 8 | 1 << 20);
	msg_u32(&M, 1 << (55 - 32));
}

static struct attr4 get_attr4(void)
{
	struct attr4 a;

	xdr_get_fixed(&R, 16);
	a.change = xdr_get_u64(&R);
	a.fsid = xdr_get_u64(&R);
	assert_int_equal(xdr_get_u64(&R), 0);
	a.fileid = xdr_get_u64(&R);
	a.mounted_on = xdr_get_u64(&R);
	return a;
}

static void start(uint32_t minor, const uint8_t *fh)
{
	begin(minor);
	if (minor)
		seq(&S);
	putfh(fh);
}

static uint32_t go4(uint32_t minor)
{
	uint32_t status = run();

	if (minor)
		ok_seq();
	ok(OP_PUTFH);
	return status;
}

static struct attr4 attr4_of(uint32_t minor, const uint8_t *fh)
{
	struct attr4 a;

	start(minor, fh);
	put_attr_wants();
	assert_int_equal(go4(minor), NFS4_OK);
	ok(OP_GETATTR);
	a = get_attr4();
	end_of_reply();
	return a;
}

/* Down from the root and up again, with what tells a client that there is another file system. */
static void ways4(uint32_t minor)
{
	struct attr4 live = attr4_of(minor, P.root), at_list, at_then;
	uint8_t fh[HANDLE_BYTES];

	start(minor, P.root);
	name_op(OP_LOOKUP, ".snapshot");
	put_attr_wants();
	name_op(OP_LOOKUP, "s1");
	op(OP_GETFH);
	put_attr_wants();
	op(OP_LOOKUPP);
	op(OP_GETFH);
	op(OP_LOOKUPP);
	op(OP_GETFH);
	assert_int_equal(go4(minor), NFS4_OK);
	ok(OP_LOOKUP);
	ok(OP_GETATTR);
	at_list = get_attr4();
	ok(OP_LOOKUP);
	ok(OP_GETFH);
	get_fh(fh);
	assert_memory_equal(fh, then, HANDLE_BYTES);
	ok(OP_GETATTR);
	at_then = get_attr4();
	ok(OP_LOOKUPP);
	ok(OP_GETFH);
	get_fh(fh);
	assert_memory_equal(fh, list, HANDLE_BYTES);
	ok(OP_LOOKUPP);
	ok(OP_GETFH);
	get_fh(fh);
	assert_memory_equal(fh, P.root, HANDLE_BYTES);
	assert_true(at_list.fsid == live.fsid && at_list.fileid == (live.fileid | SNAPDIR_BIT) &&
		    at_list.mounted_on == at_list.fileid);
	assert_true(at_then.fsid != live.fsid && at_then.fileid == live.fileid &&
		    at_then.mounted_on != live.fileid && at_then.mounted_on != at_list.fileid &&
		    at_then.mounted_on >> 63);
}

/* The entries of .snapshot, with their attributes. */
static void listing4(uint32_t minor)
{
	struct attr4 want = attr4_of(minor, then);
	unsigned n = 0;

	start(minor, list);
	op(OP_READDIR);
	msg_u64(&M, 0);
	msg_u64(&M, 0);
	msg_u32(&M, 4096);
	msg_u32(&M, 4096);
	msg_u32(&M, 2);
	msg_u32(&M, 1 << 3 | 1 << 8 | 1 << 20);
	msg_u32(&M, 1 << (55 - 32));
	assert_int_equal(go4(minor), NFS4_OK);
	ok(OP_READDIR);
	xdr_get_u64(&R);
	while (xdr_get_bool(&R)) {
		struct xdr_bytes name;
		struct attr4 a;

		assert_true(xdr_get_u64(&R) > 2);
		name = xdr_get_opaque(&R, 255);
		a = get_attr4();
		if (!n++) {
			assert_memory_equal(name.s, "s1", name.len);
			assert_memory_equal(&a, &want, sizeof(a));
		}
	}
	assert_true(xdr_get_bool(&R));
	end_of_reply();
	assert_int_equal(n, 1);
}

static void refused4(uint32_t minor, const uint8_t *dir)
{
	static const uint32_t ops[] = { OP_CREATE, OP_REMOVE, OP_RENAME, OP_LINK, OP_SETATTR };

	for (unsigned i = 0; i < sizeof(ops) / 4; i++) {
		start(minor, ops[i] == OP_LINK ? P.file : P.root);
		op(OP_SAVEFH);
		putfh(dir);
		op(ops[i]);
		switch (ops[i]) {
		case OP_CREATE: msg_u32(&M, FS_DIR); msg_string(&M, "x"); put_mode(0755); break;
		case OP_REMOVE: msg_string(&M, "f"); break;
		case OP_RENAME: msg_string(&M, "f"); msg_string(&M, "x"); break;
		case OP_LINK: msg_string(&M, "x"); break;
		case OP_SETATTR: put_sid(&anonymous); put_mode(0700); break;
		}
		assert_int_equal(go4(minor), NFS4ERR_ROFS);
	}
}

static void test_v4_ways(void **state)
{
	for (uint32_t minor = 0; minor < 3; minor++) {
		ways4(minor);
		listing4(minor);
		refused4(minor, then);
		refused4(minor, list);
	}
}

/* Opened to be read, but not to be written. */
static void test_v4_open(void **state)
{
	struct sid sid;

	on(then);
	put_open(1, 0, "o", "f");
	assert_int_equal(run_on(), NFS4_OK);
	ok(OP_OPEN);
	sid = get_open();
	on(old_file);
	op(OP_READ);
	put_sid(&sid);
	msg_u64(&M, 0);
	msg_u32(&M, 5);
	assert_int_equal(run_on(), NFS4_OK);
	on(then);
	put_open(2, 0, "o", "f");
	assert_int_equal(run_on(), NFS4ERR_ROFS);
	/* The live file can be opened in any way, and removed, all the same. */
	assert_int_equal(open_file(&S, 3, 3, "o", "f", &sid), NFS4_OK);
	on(P.root);
	name_op(OP_REMOVE, "f");
	assert_int_equal(run_on(), NFS4_OK);
	assert_int_equal(size_of(old_file), 10000);
}

/* cp --reflink from a snapshot. */
static void test_v4_clone(void **state)
{
	uint8_t bytes[5];

	on(old_file);
	op(OP_SAVEFH);
	putfh(P.file);
	op(OP_CLONE);
	put_sid(&anonymous);
	put_sid(&anonymous);
	put_range(0, 0);
	msg_u64(&M, 0);
	assert_int_equal(run_on(), NFS4_OK);
	first_bytes(P.file, bytes);
	assert_int_equal(bytes[1], 31);
	on(P.file);
	op(OP_SAVEFH);
	putfh(old_file);
	op(OP_CLONE);
	put_sid(&anonymous);
	put_sid(&anonymous);
	put_range(0, 0);
	msg_u64(&M, 0);
	assert_int_equal(run_on(), NFS4ERR_ROFS);
}

/* Who has the list of snapshots cached learns that it is another. */
static void test_v4_changes(void **state)
{
	struct attr4 before = attr4_of(2, list), after;

	take("s2");
	after = attr4_of(2, list);
	assert_true(after.change > before.change);
	destroy("-s2");
	assert_true(attr4_of(2, list).change > after.change);
}

#define TS(x) cmocka_unit_test_setup_teardown(x, setup_snapshots, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TS(test_v3_ways), TS(test_v3_listing), TS(test_v3_read_only), TS(test_v3_name_taken),
		TS(test_v4_ways), TS(test_v4_open), TS(test_v4_clone), TS(test_v4_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
