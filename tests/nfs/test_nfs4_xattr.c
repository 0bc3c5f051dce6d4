/* SPDX-License-Identifier: Apache-2.0 */
/* Extended attributes, on files, directories, and on what has none; and ALLOCATE. */
#include "compound.h"

enum { EITHER, CREATE, REPLACE };

static uint8_t big[FS_XATTR_VALUE_MAX + 1];

static uint32_t set(const uint8_t *fh, uint32_t how, const char *name, const void *value,
		    uint32_t len)
{
	uint32_t status;

	on(fh);
	op(OP_SETXATTR);
	msg_u32(&M, how);
	msg_string(&M, name);
	msg_opaque(&M, value, len);
	run_on();
	status = res(OP_SETXATTR);
	if (!status) {
		assert_int_equal(xdr_get_u32(&R), 1);
		uint64_t before = xdr_get_u64(&R);

		assert_true(xdr_get_u64(&R) != before);
	}
	end_of_reply();
	return status;
}

static uint32_t get(const uint8_t *fh, const char *name, struct xdr_bytes *ret)
{
	uint32_t status;

	on(fh);
	name_op(OP_GETXATTR, name);
	run_on();
	status = res(OP_GETXATTR);
	if (!status)
		*ret = xdr_get_opaque(&R, FS_XATTR_VALUE_MAX);
	end_of_reply();
	return status;
}

static uint32_t drop(const uint8_t *fh, const char *name)
{
	uint32_t status;

	on(fh);
	name_op(OP_REMOVEXATTR, name);
	run_on();
	status = res(OP_REMOVEXATTR);
	if (!status)
		xdr_get_fixed(&R, 20);
	end_of_reply();
	return status;
}

static void expect(const uint8_t *fh, const char *name, const void *value, uint32_t len)
{
	struct xdr_bytes b;

	assert_int_equal(get(fh, name, &b), NFS4_OK);
	assert_int_equal(b.len, len);
	assert_memory_equal(b.s, value, len);
}

struct names { uint32_t n; uint64_t cookie; bool eof; char name[64][256]; };

static uint32_t list(const uint8_t *fh, uint64_t cookie, uint32_t max, struct names *ret)
{
	uint32_t status;

	on(fh);
	op(OP_LISTXATTRS);
	msg_u64(&M, cookie);
	msg_u32(&M, max);
	run_on();
	status = res(OP_LISTXATTRS);
	if (!status) {
		assert_true(xdr_left(&R) <= max);
		ret->cookie = xdr_get_u64(&R);
		ret->n = xdr_get_u32(&R);
		assert_true(ret->n <= 64);
		for (uint32_t i = 0; i < ret->n; i++) {
			struct xdr_bytes b = xdr_get_opaque(&R, 255);

			memcpy(ret->name[i], b.s, b.len);
			ret->name[i][b.len] = 0;
		}
		ret->eof = xdr_get_bool(&R);
	}
	end_of_reply();
	return status;
}

static void test_set_get(void **state)
{
	const uint8_t *on_[] = { P.file, P.dir };
	struct xdr_bytes b;

	for (int i = 0; i < 2; i++) {
		const uint8_t *fh = on_[i];

		assert_int_equal(get(fh, "a", &b), E(NOXATTR));
		assert_int_equal(set(fh, REPLACE, "a", "1", 1), E(NOXATTR));
		assert_int_equal(set(fh, CREATE, "a", "1", 1), NFS4_OK);
		assert_int_equal(set(fh, CREATE, "a", "2", 1), E(EXIST));
		expect(fh, "a", "1", 1);
		assert_int_equal(set(fh, REPLACE, "a", "22", 2), NFS4_OK);
		expect(fh, "a", "22", 2);
		assert_int_equal(set(fh, EITHER, "a", "", 0), NFS4_OK);
		expect(fh, "a", "", 0);
		assert_int_equal(set(fh, EITHER, "user.a", "other", 5), NFS4_OK);
		expect(fh, "a", "", 0);
		expect(fh, "user.a", "other", 5);
		assert_int_equal(drop(fh, "a"), NFS4_OK);
		assert_int_equal(drop(fh, "a"), E(NOXATTR));
		assert_int_equal(get(fh, "a", &b), E(NOXATTR));
	}
	assert_int_equal(set(P.link, EITHER, "a", "1", 1), E(PERM));
	assert_int_equal(get(P.link, "a", &b), E(NOXATTR));
}

static void test_limits(void **state)
{
	char name[258];
	struct xdr_bytes b;
	static struct names l;

	memset(name, 'n', 256);
	name[256] = 0;
	memset(big, 7, sizeof(big));
	assert_int_equal(set(P.file, EITHER, name, "1", 1), E(NAMETOOLONG));
	assert_int_equal(get(P.file, name, &b), E(NAMETOOLONG));
	assert_int_equal(drop(P.file, name), E(NAMETOOLONG));
	name[255] = 0;
	assert_int_equal(set(P.file, EITHER, name, "1", 1), NFS4_OK);
	assert_int_equal(set(P.file, EITHER, "", "1", 1), E(INVAL));
	assert_int_equal(get(P.file, "", &b), E(INVAL));
	on(P.file);
	op(OP_GETXATTR);
	msg_opaque(&M, "a\0b", 3);
	assert_int_equal(run_on(), E(INVAL));
	assert_int_equal(set(P.file, EITHER, "v", big, FS_XATTR_VALUE_MAX + 1), E(XATTR2BIG));
	assert_int_equal(set(P.file, EITHER, "v", big, 60000), NFS4_OK);
	expect(P.file, "v", big, 60000);
	assert_int_equal(set(P.file, EITHER, "w", big, 60000), E(NOSPC));
	on(P.file);
	op(OP_SETXATTR);
	msg_u32(&M, 3);
	msg_string(&M, "a");
	msg_string(&M, "b");
	assert_int_equal(run_on(), E(BADXDR));
	/* a value that the session's replies have no room for */
	S = new_client("small");
	struct chan got;
	uint32_t flags;

	assert_int_equal(exchange("smaller", 1, 0, &S, &flags), NFS4_OK);
	assert_int_equal(create_session(&S, (struct chan){ 4096, 512, 8, 1 }, &got), NFS4_OK);
	assert_int_equal(get(P.file, "v", &b), E(REP_TOO_BIG));
	S.cache = true;
	assert_int_equal(list(P.file, 0, 4000, &l), NFS4_OK);
	assert_int_equal(l.n, 2);
}

static void add_names(const uint8_t *fh, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		char name[256];

		snprintf(name, sizeof(name), "n%u%.*s", i, i * 7 % 40,
			 "________________________________________");
		assert_int_equal(set(fh, CREATE, name, "x", 1), NFS4_OK);
	}
}

/* All names once, whatever the room. */
static void test_list(void **state)
{
	enum { N = 50 };
	static struct names l;

	assert_int_equal(list(P.file, 0, 100, &l), NFS4_OK);
	assert_true(l.n == 0 && l.eof);
	assert_int_equal(list(P.file, 0, 16, &l), NFS4_OK);
	assert_int_equal(list(P.file, 0, 15, &l), E(TOOSMALL));
	add_names(P.file, N);
	for (uint32_t max = 16; max < 3000; max += max / 8 + 1) {
		uint8_t seen[N] = { 0 };
		uint64_t cookie = 0;
		uint32_t status;

		do {
			unsigned k;

			status = list(P.file, cookie, max, &l);
			if (status)
				break;
			assert_true(l.n);
			for (uint32_t i = 0; i < l.n; i++) {
				assert_int_equal(sscanf(l.name[i], "n%u", &k), 1);
				assert_int_equal(strlen(l.name[i]),
						 (k > 9 ? 3 : 2) + k * 7 % 40);
				seen[k]++;
			}
			cookie = l.cookie;
		} while (!l.eof);
		assert_int_equal(status, max < 16 + 4 + 44 ? E(TOOSMALL) : NFS4_OK);
		for (int i = 0; i < N && !status; i++)
			assert_int_equal(seen[i], 1);
	}
	assert_int_equal(list(P.file, 0, UINT32_MAX, &l), NFS4_OK);
	assert_true(l.n == N && l.eof);
	assert_int_equal(list(P.file, l.cookie, 1000, &l), NFS4_OK);
	assert_true(l.n == 0 && l.eof);
	assert_int_equal(list(P.link, 0, 1000, &l), NFS4_OK);
	assert_true(l.n == 0 && l.eof);
}

static void test_pseudo_root(void **state)
{
	static const uint8_t nums[] = { OP_LISTXATTRS, OP_GETXATTR, OP_REMOVEXATTR };
	static const uint32_t status[] = { 0, E(NOXATTR), E(ROFS) };

	for (int i = 0; i < 3; i++) {
		begin(2);
		seq(&S);
		op(OP_PUTROOTFH);
		op(nums[i]);
		if (i == 0) {
			msg_u64(&M, 0);
			msg_u32(&M, 100);
		} else {
			msg_string(&M, "a");
		}
		assert_int_equal(run(), status[i]);
	}
}

/* What may be done to them is asked by ACCESS. */
static void test_access(void **state)
{
	static const struct { const uint8_t *fh; uint32_t supported, ro; } t[] = {
		{ P.file, 0x1ed, 0x161 }, { P.dir, 0x1df, 0x143 }, { P.link, 0x2d, 0x21 },
	};

	for (int ro = 0; ro < 2; ro++) {
		proto_set_exports(&P, 1, ro ? "* ro no_root_squash" : "* rw no_root_squash");
		for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
			on(t[i].fh);
			op(OP_ACCESS);
			msg_u32(&M, 0x1ff);
			assert_int_equal(run_on(), NFS4_OK);
			ok(OP_ACCESS);
			assert_int_equal(xdr_get_u32(&R), t[i].supported);
			assert_int_equal(xdr_get_u32(&R) & 0x1c0 & ~t[i].ro, ro ? 0 :
					 t[i].supported & 0x80);
		}
	}
	assert_int_equal(set(P.file, EITHER, "a", "1", 1), E(ROFS));
	assert_int_equal(drop(P.file, "a"), E(ROFS));
}

/* ---- ALLOCATE ------------------------------------------------------------------------ */

static uint32_t allocate(const uint8_t *fh, uint64_t offset, uint64_t len, const struct sid *sid)
{
	on(fh);
	op(OP_ALLOCATE);
	put_sid(sid);
	put_range(offset, len);
	run_on();
	return res(OP_ALLOCATE);
}

static void test_allocate(void **state)
{
	struct sid sid;

	assert_int_equal(allocate(P.file, 0, 1, &anonymous), NFS4_OK);
	assert_int_equal(size_of(P.file), 10000);
	assert_int_equal(allocate(P.file, 9000, 5000, &bypass), NFS4_OK);
	assert_int_equal(size_of(P.file), 14000);
	assert_int_equal(allocate(P.file, 0, 0, &anonymous), E(INVAL));
	assert_int_equal(allocate(P.file, 2, UINT64_MAX, &anonymous), E(INVAL));
	assert_int_equal(allocate(P.file, FS_MAX_SIZE, 1, &anonymous), E(FBIG));
	assert_int_equal(allocate(P.file, 0, 1ull << 40, &anonymous), E(NOSPC));
	assert_int_equal(size_of(P.file), 14000);
	assert_int_equal(allocate(P.dir, 0, 1, &anonymous), E(WRONG_TYPE));
	assert_int_equal(allocate(P.link, 0, 1, &anonymous), E(WRONG_TYPE));
	assert_int_equal(open_file(&S, 1, 0, "o", "f", &sid), NFS4_OK);
	assert_int_equal(allocate(P.file, 0, 1, &sid), E(OPENMODE));
	assert_int_equal(open_file(&S, 2, 0, "o", "f", &sid), NFS4_OK);
	assert_int_equal(allocate(P.file, 0, 20000, &sid), NFS4_OK);
	assert_int_equal(size_of(P.file), 20000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T4(test_set_get), T4(test_limits), T4(test_list), T4(test_pseudo_root),
		T4(test_access), T4(test_allocate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
