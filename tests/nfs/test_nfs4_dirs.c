/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories on the real file system: what renames, links, removals and listings say, as clients
 * and the suites that test servers expect it.
 */
#include "compound.h"

static uint8_t dir[HANDLE_BYTES];	/* a fresh one */

struct change { uint32_t atomic; uint64_t before, after; };

static struct change get_change(void)
{
	struct change c = { .atomic = xdr_get_u32(&R) };

	c.before = xdr_get_u64(&R);
	c.after = xdr_get_u64(&R);
	return c;
}

static uint32_t make_in(const uint8_t *in, uint32_t type, const char *name, uint8_t *ret_fh)
{
	uint32_t status;

	on(in);
	op(OP_CREATE);
	msg_u32(&M, type);
	if (type == FS_LNK)
		msg_string(&M, "to");
	if (type == FS_BLK || type == FS_CHR)
		msg_u64(&M, 0);
	msg_string(&M, name);
	put_mode(0755);
	op(OP_GETFH);
	run_on();
	status = res(OP_CREATE);
	if (status)
		return status;
	assert_true(get_change().atomic);
	for (uint32_t n = xdr_get_u32(&R); n; n--)
		xdr_get_u32(&R);
	ok(OP_GETFH);
	if (ret_fh)
		get_fh(ret_fh);
	return status;
}

static int setup_dir(void **state)
{
	setup4(state);
	assert_int_equal(make_in(P.root, FS_DIR, "fresh", dir), NFS4_OK);
	return 0;
}
#define TD(x) cmocka_unit_test_setup_teardown(x, setup_dir, teardown)

static uint32_t rename_(const char *from, const char *to, bool *ret_changed)
{
	struct change a, b;
	uint32_t status;

	begin(1);
	seq(&S);
	putfh(dir);
	op(OP_SAVEFH);
	op(OP_RENAME);
	msg_string(&M, from);
	msg_string(&M, to);
	run();
	ok_seq();
	ok(OP_PUTFH);
	ok(OP_SAVEFH);
	status = res(OP_RENAME);
	if (status)
		return status;
	a = get_change();
	b = get_change();
	assert_true(a.atomic && b.atomic);
	*ret_changed = a.before != a.after || b.before != b.after;
	return status;
}

static uint32_t link_(const uint8_t *file, const char *name)
{
	begin(1);
	seq(&S);
	putfh(file);
	op(OP_SAVEFH);
	putfh(dir);
	name_op(OP_LINK, name);
	run();
	ok_seq();
	ok(OP_PUTFH);
	ok(OP_SAVEFH);
	ok(OP_PUTFH);
	return res(OP_LINK);
}

static uint32_t remove_(const char *name)
{
	on(dir);
	name_op(OP_REMOVE, name);
	run_on();
	return res(OP_REMOVE);
}

static uint32_t numlinks(const uint8_t *fh)
{
	on(fh);
	op(OP_GETATTR);
	msg_u32(&M, 2);
	msg_u32(&M, 0);
	msg_u32(&M, 1 << (35 - 32));
	assert_int_equal(run_on(), NFS4_OK);
	ok(OP_GETATTR);
	xdr_get_fixed(&R, 16);
	return xdr_get_u32(&R);
}

/* ---- changes ------------------------------------------------------------------------- */

static void test_create(void **state)
{
	static const uint32_t types[] = { FS_DIR, FS_LNK, FS_BLK, FS_CHR, FS_SOCK, FS_FIFO };
	char name[8];

	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		snprintf(name, sizeof(name), "t%zu", i);
		assert_int_equal(make_in(dir, types[i], name, NULL), NFS4_OK);
		assert_int_equal(make_in(dir, types[i], name, NULL), E(EXIST));
	}
	assert_int_equal(make_in(dir, FS_REG, "new", NULL), E(BADTYPE));
	assert_int_equal(make_in(dir, 8, "new", NULL), E(BADTYPE));
	on(dir);
	op(OP_CREATE);
	msg_u32(&M, FS_LNK);
	msg_string(&M, "");
	msg_string(&M, "new");
	put_mode(0777);
	assert_int_equal(run_on(), E(INVAL));
	on(dir);
	op(OP_CREATE);
	msg_u32(&M, FS_DIR);
	msg_string(&M, "new");
	msg_u32(&M, 1);
	msg_u32(&M, 1 << 5);			/* link_support */
	msg_opaque(&M, "\0\0\0\1", 4);
	assert_int_equal(run_on(), E(INVAL));
}

static void test_rename(void **state)
{
	uint8_t d[HANDLE_BYTES], full[HANDLE_BYTES];
	bool changed;

	assert_int_equal(make_in(dir, FS_DIR, "d", d), NFS4_OK);
	assert_int_equal(make_in(dir, FS_DIR, "empty", NULL), NFS4_OK);
	assert_int_equal(make_in(dir, FS_DIR, "full", full), NFS4_OK);
	assert_int_equal(make_in(full, FS_DIR, "x", NULL), NFS4_OK);
	assert_int_equal(make_in(dir, FS_FIFO, "f", NULL), NFS4_OK);
	assert_int_equal(make_in(dir, FS_FIFO, "g", NULL), NFS4_OK);
	/* what does nothing changes nothing */
	assert_int_equal(rename_("d", "d", &changed), NFS4_OK);
	assert_false(changed);
	assert_int_equal(rename_("f", "f", &changed), NFS4_OK);
	assert_false(changed);
	assert_int_equal(link_(P.file, "one"), NFS4_OK);
	assert_int_equal(link_(P.file, "two"), NFS4_OK);
	assert_int_equal(rename_("one", "two", &changed), NFS4_OK);
	assert_false(changed);
	assert_int_equal(numlinks(P.file), 3);
	/* onto others */
	assert_int_equal(rename_("f", "g", &changed), NFS4_OK);
	assert_true(changed);
	assert_int_equal(rename_("f", "g", &changed), E(NOENT));
	assert_int_equal(rename_("d", "g", &changed), E(EXIST));
	assert_int_equal(rename_("g", "d", &changed), E(EXIST));
	assert_int_equal(rename_("g", "full", &changed), E(EXIST));
	assert_int_equal(rename_("d", "full", &changed), E(NOTEMPTY));
	assert_int_equal(rename_("d", "empty", &changed), NFS4_OK);
	assert_true(changed);
	assert_int_equal(rename_("full", "full", &changed), NFS4_OK);
	assert_int_equal(remove_("full"), E(NOTEMPTY));
	assert_int_equal(remove_("empty"), NFS4_OK);
	assert_int_equal(remove_("empty"), E(NOENT));
}

static void test_link(void **state)
{
	static const uint32_t types[] = { FS_LNK, FS_BLK, FS_CHR, FS_SOCK, FS_FIFO };
	uint8_t fh[HANDLE_BYTES];
	char name[8];

	assert_int_equal(link_(P.dir, "dir"), E(ISDIR));
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		snprintf(name, sizeof(name), "t%zu", i);
		assert_int_equal(make_in(dir, types[i], name, fh), NFS4_OK);
		snprintf(name, sizeof(name), "u%zu", i);
		assert_int_equal(link_(fh, name), NFS4_OK);
		assert_int_equal(numlinks(fh), 2);
		assert_int_equal(link_(fh, name), E(EXIST));
		assert_int_equal(remove_(name), NFS4_OK);
		assert_int_equal(numlinks(fh), 1);
	}
}

/* ---- listings ------------------------------------------------------------------------ */

struct listing { uint64_t cookie, verf; unsigned n; bool eof; char last[256]; };

static uint32_t list(struct listing *l, uint32_t dircount, uint32_t max, uint32_t w0, uint32_t w1)
{
	uint32_t status;

	on(dir);
	op(OP_READDIR);
	msg_u64(&M, l->cookie);
	msg_u64(&M, l->verf);
	msg_u32(&M, dircount);
	msg_u32(&M, max);
	msg_u32(&M, 2);
	msg_u32(&M, w0);
	msg_u32(&M, w1);
	run_on();
	status = res(OP_READDIR);
	if (status)
		return status;
	assert_true(xdr_left(&R) <= max);
	l->verf = xdr_get_u64(&R);
	l->n = 0;
	while (xdr_get_bool(&R)) {
		struct xdr_bytes name;
		uint32_t words;

		l->cookie = xdr_get_u64(&R);
		name = xdr_get_opaque(&R, 255);
		memcpy(l->last, name.s, name.len);
		l->last[name.len] = 0;
		words = xdr_get_u32(&R);
		assert_int_equal(words, w1 ? 2 : w0 ? 1 : 0);	/* all that was asked, no more */
		for (uint32_t i = 0; i < words; i++)
			assert_int_equal(xdr_get_u32(&R), i ? w1 : w0);
		xdr_get_opaque(&R, 1000);
		l->n++;
	}
	l->eof = xdr_get_bool(&R);
	end_of_reply();
	return status;
}

static void test_empty(void **state)
{
	struct listing l = { 0 };

	assert_int_equal(list(&l, 0, 15, 0, 0), E(TOOSMALL));
	assert_int_equal(list(&l, 0, 0, 0, 0), E(TOOSMALL));
	assert_int_equal(list(&l, 0, 16, 0, 0), NFS4_OK);
	assert_true(l.n == 0 && l.eof);
}

/* Whatever the counts, every entry comes once, also while others go. */
static void test_all_entries(void **state)
{
	enum { N = 100 };
	static const uint32_t dircounts[] = { 0, 1, 400, UINT32_MAX };
	char name[16];

	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "dir%02d", i);
		assert_int_equal(make_in(dir, FS_DIR, name, NULL), NFS4_OK);
	}
	for (int k = 0; k < 4; k++)
		for (uint32_t max = 200; max < 20000; max = max * 3 / 2) {
			struct listing l = { 0 };
			unsigned total = 0;

			do {
				/* rdattr_error, fileid, filehandle; mode, owner */
				assert_int_equal(list(&l, dircounts[k], max, 1 << 11 | 1 << 19 | 1 << 20,
						      1 << 1 | 1 << 4), NFS4_OK);
				assert_true(l.n || l.eof);
				total += l.n;
			} while (!l.eof);
			assert_int_equal(total, N);
		}
	/* the cookie of an entry that is gone leads on to the next */
	struct listing l = { 0 };
	unsigned total = 0;

	while (!l.eof) {
		assert_int_equal(list(&l, 0, 300, 0, 0), NFS4_OK);
		total += l.n;
		assert_int_equal(remove_(l.last), NFS4_OK);
	}
	assert_int_equal(total, N);
}

static void test_cookies(void **state)
{
	struct listing l = { 0 };

	assert_int_equal(make_in(dir, FS_DIR, "x", NULL), NFS4_OK);
	for (uint64_t cookie = 1; cookie <= 2; cookie++) {
		l = (struct listing){ .cookie = cookie };
		assert_int_equal(list(&l, 0, 1000, 0, 0), E(BAD_COOKIE));
	}
	l = (struct listing){ .cookie = 100, .verf = 12345 };
	assert_int_equal(list(&l, 0, 1000, 0, 0), E(NOT_SAME));
	l = (struct listing){ 0 };
	assert_int_equal(list(&l, 0, 1000, 0, 1 << 16), E(INVAL));	/* only to be set */
	assert_int_equal(list(&l, 0, 1000, 0, 1 << 22), E(INVAL));
}

/* Who may not read a directory isn't told what is in it, nor who may not search what it is. */
static void test_rights(void **state)
{
	struct listing l = { 0 };
	uint32_t status;

	assert_int_equal(make_in(dir, FS_DIR, "hidden", NULL), NFS4_OK);
	on(dir);
	op(OP_SETATTR);
	put_sid(&anonymous);
	put_mode(0);
	assert_int_equal(run_on(), NFS4_OK);
	P.uid = 1000;
	S = new_client("somebody");
	assert_int_equal(list(&l, 0, 1000, 0, 0), E(ACCESS));
	on(dir);
	name_op(OP_LOOKUP, "hidden");
	status = run_on();
	assert_int_equal(status, E(ACCESS));
	assert_int_equal(make_in(dir, FS_DIR, "x", NULL), E(ACCESS));
	assert_int_equal(remove_("hidden"), E(ACCESS));
	P.uid = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TD(test_create), TD(test_rename), TD(test_link), TD(test_empty),
		TD(test_all_entries), TD(test_cookies), TD(test_rights),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
