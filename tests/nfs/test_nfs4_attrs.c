/* SPDX-License-Identifier: Apache-2.0 */
/* ACLs beside modes, names of owners, quotas, and the other ways to set a mode. */
#include <grp.h>
#include "compound.h"
#include "nfs/names.h"

enum { ACL = 12, MODE = 33, OWNER = 36, GROUP = 37, QUOTA_HARD = 38, QUOTA_SOFT = 39,
       QUOTA_USED = 40, MASKED = 74, EXCLCREAT = 75, UMASK = 81 };
enum { ALLOW, DENY, AUDIT };
enum { RD = 1, WR = 2, APPEND = 4, EXEC = 0x20, DELETE_CHILD = 0x40, READ_ATTRIBUTES = 0x80,
       WRITE_OWNER = 0x80000, RDWR = RD | WR | APPEND };

static void put_bit(unsigned bit)
{
	msg_u32(&M, bit / 32 + 1);
	for (unsigned w = 0; w < bit / 32; w++)
		msg_u32(&M, 0);
	msg_u32(&M, 1u << bit % 32);
}

/* GETATTR of one attribute; R is at its value. */
static uint32_t get(const uint8_t *fh, unsigned bit)
{
	uint32_t status;

	on(fh);
	op(OP_GETATTR);
	put_bit(bit);
	run_on();
	status = res(OP_GETATTR);
	if (!status)
		for (uint32_t n = xdr_get_u32(&R) + 1; n; n--)	/* the bitmap, the length */
			xdr_get_u32(&R);
	return status;
}

static uint32_t mode_of(const uint8_t *fh)
{
	assert_int_equal(get(fh, MODE), NFS4_OK);
	return xdr_get_u32(&R);
}

/* SETATTR of one attribute: its value is what SETTING holds. */
static struct msg setting;

static uint32_t set(const uint8_t *fh, unsigned bit)
{
	uint32_t status;

	on(fh);
	op(OP_SETATTR);
	put_sid(&anonymous);
	put_bit(bit);
	msg_opaque(&M, setting.data, setting.len);
	run_on();
	status = res(OP_SETATTR);
	setting.len = 0;
	return status;
}

static void set_mode(const uint8_t *fh, uint32_t mode)
{
	msg_u32(&setting, mode);
	assert_int_equal(set(fh, MODE), NFS4_OK);
}

struct ace { uint32_t type, mask; const char *who; uint32_t flags; };
#define A(type, mask, who) { type, mask, who, 0 }
#define AF(type, mask, who, flags) { type, mask, who, flags }

static void put_aces(const struct ace *a, uint32_t n)
{
	msg_u32(&setting, n);
	for (uint32_t i = 0; i < n; i++) {
		msg_u32(&setting, a[i].type);
		msg_u32(&setting, a[i].flags);
		msg_u32(&setting, a[i].mask);
		msg_string(&setting, a[i].who);
	}
}

/* ---- ACLs ---------------------------------------------------------------------------- */

/* What the server says of a mode means that mode again. */
static void test_round_trip(void **state)
{
	for (int dir = 0; dir < 2; dir++)
		for (uint32_t mode = 0; mode < 01000; mode++) {
			const uint8_t *fh = dir ? P.dir : P.file;
			uint8_t acl[1000];
			struct xdr_bytes b;

			set_mode(fh, mode | 04000);
			on(fh);
			op(OP_GETATTR);
			put_bit(ACL);
			assert_int_equal(run_on(), NFS4_OK);
			ok(OP_GETATTR);
			xdr_get_u64(&R);
			b = xdr_get_opaque(&R, sizeof(acl));
			memcpy(acl, b.s, b.len);
			set_mode(fh, 0);
			msg_bytes(&setting, acl, b.len);
			assert_int_equal(set(fh, ACL), NFS4_OK);
			assert_int_equal(mode_of(fh), mode);
		}
}

static void test_keeps_suid(void **state)
{
	const struct ace a[] = { A(ALLOW, RD, "EVERYONE@") };

	set_mode(P.file, 06755);
	put_aces(a, 1);
	assert_int_equal(set(P.file, ACL), NFS4_OK);
	assert_int_equal(mode_of(P.file), 06444);
}

static void test_acls(void **state)
{
	static const struct { struct ace a[4]; uint32_t n, status, mode; } t[] = {
		{ { A(0, 0, "") }, 0, 0, 0 },
		{ { A(ALLOW, RD, "OWNER@") }, 1, 0, 0400 },
		{ { A(ALLOW, RD, "GROUP@") }, 1, 0, 040 },
		{ { A(ALLOW, RD, "EVERYONE@") }, 1, 0, 0444 },
		{ { A(ALLOW, RDWR | EXEC, "EVERYONE@") }, 1, 0, 0777 },
		{ { A(ALLOW, WR, "EVERYONE@") }, 1, 0, 0 },		/* but not append */
		{ { A(ALLOW, WR, "OWNER@"), A(ALLOW, APPEND, "OWNER@") }, 2, 0, 0200 },
		/* the first that speaks of it decides */
		{ { A(DENY, RD, "GROUP@"), A(ALLOW, RD, "EVERYONE@") }, 2, 0, 0404 },
		{ { A(ALLOW, RD, "EVERYONE@"), A(DENY, RD, "GROUP@") }, 2, 0, 0444 },
		{ { A(DENY, RDWR, "EVERYONE@"), A(ALLOW, RD, "OWNER@") }, 2, 0, 0 },
		{ { A(DENY, WR, "OWNER@"), A(ALLOW, RDWR, "OWNER@") }, 2, 0, 0400 },
		{ { A(ALLOW, RDWR, "OWNER@"), AF(ALLOW, RD, "GROUP@", 0x40),
		    A(ALLOW, READ_ATTRIBUTES, "EVERYONE@") }, 3, 0, 0640 },
		{ { A(ALLOW, RD | WRITE_OWNER, "OWNER@") }, 1, 0, 0400 },
		{ { A(DENY, RDWR | DELETE_CHILD, "OWNER@"), A(ALLOW, RDWR, "EVERYONE@") }, 2, 0,
		  0066 },
		/* somebody who gets nothing */
		{ { A(ALLOW, 0, "123"), A(ALLOW, RD, "OWNER@") }, 2, 0, 0400 },
		{ { A(ALLOW, READ_ATTRIBUTES, "joe@x") }, 1, 0, 0 },
		/* what a mode can't say */
		{ { A(ALLOW, RD, "123") }, 1, E(ATTRNOTSUPP), 0 },
		{ { A(DENY, RD, "joe") }, 1, E(ATTRNOTSUPP), 0 },
		{ { A(DENY, READ_ATTRIBUTES, "EVERYONE@") }, 1, E(ATTRNOTSUPP), 0 },
		{ { A(DENY, DELETE_CHILD, "OWNER@") }, 1, E(ATTRNOTSUPP), 0 },
		{ { A(AUDIT, RD, "OWNER@") }, 1, E(ATTRNOTSUPP), 0 },
		{ { AF(ALLOW, RD, "OWNER@", 1) }, 1, E(ATTRNOTSUPP), 0 },
		/* what is nothing at all */
		{ { A(4, RD, "OWNER@") }, 1, E(INVAL), 0 },
		{ { A(ALLOW, 0x800, "OWNER@") }, 1, E(INVAL), 0 },
		{ { AF(ALLOW, RD, "OWNER@", 0x100) }, 1, E(INVAL), 0 },
		{ { A(ALLOW, RD, "") }, 1, E(INVAL), 0 },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		uint32_t status;

		set_mode(P.file, 0111);
		put_aces(t[i].a, t[i].n);
		status = set(P.file, ACL);
		if (status != t[i].status)
			print_error("acl %zu\n", i);
		assert_int_equal(status, t[i].status);
		if (mode_of(P.file) != (status ? 0111 : t[i].mode))
			print_error("acl %zu\n", i);
		assert_int_equal(mode_of(P.file), status ? 0111 : t[i].mode);
	}
}

static void test_large_acl(void **state)
{
	static struct ace a[2000];

	for (int i = 0; i < 2000; i++)
		a[i] = (struct ace)A(ALLOW, 0, "1234567890");
	a[1999] = (struct ace)A(ALLOW, RD, "OWNER@");
	put_aces(a, 2000);
	assert_int_equal(set(P.file, ACL), NFS4_OK);
	assert_int_equal(mode_of(P.file), 0400);
	msg_u32(&setting, UINT32_MAX);			/* entries that aren't there */
	msg_u32(&setting, ALLOW);
	assert_int_equal(set(P.file, ACL), E(BADXDR));
}

/* ---- owners -------------------------------------------------------------------------- */

static uint32_t set_owner(unsigned bit, const char *name)
{
	msg_string(&setting, name);
	return set(P.file, bit);
}

static void expect_owner(unsigned bit, const char *number)
{
	struct xdr_bytes b;

	assert_int_equal(get(P.file, bit), NFS4_OK);
	b = xdr_get_opaque(&R, 100);
	assert_int_equal(b.len, strlen(number));
	assert_memory_equal(b.s, number, b.len);
}

static void test_owners(void **state)
{
	char name[100], number[12];
	struct group *g = getgrgid(1);

	assert_non_null(g);
	assert_int_equal(set_owner(OWNER, "4294967295"), NFS4_OK);
	expect_owner(OWNER, "4294967295");
	assert_int_equal(set_owner(OWNER, "root@example.org"), NFS4_OK);
	expect_owner(OWNER, "0");
	assert_int_equal(set_owner(OWNER, "1000"), NFS4_OK);
	assert_int_equal(set_owner(OWNER, "root"), NFS4_OK);		/* as kept */
	expect_owner(OWNER, "0");
	snprintf(name, sizeof(name), "%s@", g->gr_name);
	snprintf(number, sizeof(number), "%u", g->gr_gid);
	assert_int_equal(set_owner(GROUP, name), NFS4_OK);
	expect_owner(GROUP, number);
	memset(name, 'x', 99);
	name[99] = 0;
	assert_int_equal(set_owner(OWNER, name), E(BADOWNER));
	assert_int_equal(set_owner(OWNER, ""), E(BADOWNER));
	assert_int_equal(set_owner(OWNER, "@example.org"), E(BADOWNER));
	assert_int_equal(set_owner(OWNER, "no such user"), E(BADOWNER));
	assert_int_equal(set_owner(OWNER, "no such user"), E(BADOWNER));
	assert_int_equal(set_owner(OWNER, "4294967296"), E(BADOWNER));
	msg_opaque(&setting, "ro\0t", 4);
	assert_int_equal(set(P.file, OWNER), E(BADOWNER));
	expect_owner(OWNER, "0");
}

/* More names than are kept. */
static void test_many_names(void **state)
{
	for (int i = 0; i < NAMES_KEPT * 2; i++) {
		char name[32];

		snprintf(name, sizeof(name), "nobody here %d", i);
		assert_int_equal(set_owner(OWNER, name), E(BADOWNER));
	}
	assert_int_equal(set_owner(OWNER, "root"), NFS4_OK);
}

/* ---- modes --------------------------------------------------------------------------- */

static uint32_t set_masked(uint32_t mode, uint32_t mask)
{
	msg_u32(&setting, mode);
	msg_u32(&setting, mask);
	return set(P.file, MASKED);
}

static void test_masked(void **state)
{
	set_mode(P.file, 0640);
	assert_int_equal(set_masked(07777, 0), NFS4_OK);
	assert_int_equal(mode_of(P.file), 0640);
	assert_int_equal(set_masked(04111, 04113), NFS4_OK);
	assert_int_equal(mode_of(P.file), 04751);
	assert_int_equal(set_masked(010000, 1), E(INVAL));
	assert_int_equal(set_masked(0, 010000), E(INVAL));
	assert_int_equal(mode_of(P.file), 04751);
	/* not both; and after an ACL it has the last word */
	on(P.file);
	op(OP_SETATTR);
	put_sid(&anonymous);
	msg_u32(&M, 3);
	msg_u32(&M, 0);
	msg_u32(&M, 1 << (MODE - 32));
	msg_u32(&M, 1 << (MASKED - 64));
	msg_opaque(&M, "\0\0\1\0\0\0\0\0\0\0\0\0", 12);
	assert_int_equal(run_on(), E(INVAL));
	on(P.file);
	op(OP_SETATTR);
	put_sid(&anonymous);
	msg_u32(&M, 3);
	msg_u32(&M, 1 << ACL);
	msg_u32(&M, 0);
	msg_u32(&M, 1 << (MASKED - 64));
	put_aces(&(struct ace)A(ALLOW, RD, "EVERYONE@"), 1);
	msg_u32(&setting, 0007);
	msg_u32(&setting, 0070);
	msg_opaque(&M, setting.data, setting.len);
	setting.len = 0;
	assert_int_equal(run_on(), NFS4_OK);
	assert_int_equal(mode_of(P.file), 04404);
}

static void test_write_only(void **state)
{
	static const unsigned bits[] = { 48, 54, MASKED, UMASK };

	for (size_t i = 0; i < sizeof(bits) / sizeof(*bits); i++) {
		assert_int_equal(get(P.file, bits[i]), E(INVAL));
		on(P.file);
		op(OP_VERIFY);
		put_bit(bits[i]);
		msg_opaque(&M, "12345678", 8);
		assert_int_equal(run_on(), E(INVAL));
	}
}

/* A new file's mode, from an ACL, a mask, or a mode and the umask; and all of them may come with an
 * exclusive create. */
static void test_new_files(void **state)
{
	static const struct { unsigned bit; uint32_t words[5], n, mode; } t[] = {
		{ MODE, { 0640 }, 1, 0640 },
		{ MASKED, { 0640, 0600 }, 2, 0600 },
		{ UMASK, { 0666, 0027 }, 2, 0640 },
		{ ACL, { 0 }, 1, 0 },
	};
	uint8_t fh[HANDLE_BYTES];

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		char name[8];

		snprintf(name, sizeof(name), "n%zu", i);
		on(P.root);
		op(OP_OPEN);
		msg_u32(&M, 0);
		msg_u32(&M, 3);
		msg_u32(&M, 0);
		put_owner("o");
		msg_u32(&M, 1);
		msg_u32(&M, NFS4_CREATE_EXCLUSIVE4_1);
		msg_u64(&M, i + 1);
		put_bit(t[i].bit);
		for (uint32_t k = 0; k < t[i].n; k++)
			msg_u32(&setting, t[i].words[k]);
		msg_opaque(&M, setting.data, setting.len);
		setting.len = 0;
		msg_u32(&M, 0);
		msg_string(&M, name);
		op(OP_GETFH);
		assert_int_equal(run_on(), NFS4_OK);
		ok(OP_OPEN);
		get_open();
		ok(OP_GETFH);
		get_fh(fh);
		assert_int_equal(mode_of(fh), t[i].mode);
	}
	assert_int_equal(get(P.file, EXCLCREAT), NFS4_OK);
	assert_int_equal(xdr_get_u32(&R), 3);
	assert_int_equal(xdr_get_u32(&R), 1 << 4 | 1 << ACL);
	assert_int_equal(xdr_get_u32(&R), 2 | 16 | 32 | 1 << 16 | 1 << 22);
	assert_int_equal(xdr_get_u32(&R), 1 << (MASKED - 64) | 1 << (UMASK - 64));
}

static void test_quota(void **state)
{
	uint64_t hard, used;

	assert_int_equal(get(P.file, QUOTA_USED), NFS4_OK);
	used = xdr_get_u64(&R);
	assert_int_equal(get(P.file, QUOTA_HARD), NFS4_OK);
	hard = xdr_get_u64(&R);
	assert_true(used > 0 && hard > 0);
	assert_int_equal(get(P.file, QUOTA_SOFT), NFS4_OK);
	assert_int_equal(xdr_get_u64(&R), hard);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T4(test_round_trip), T4(test_keeps_suid), T4(test_acls), T4(test_large_acl),
		T4(test_owners), T4(test_many_names), T4(test_masked), T4(test_write_only),
		T4(test_new_files), T4(test_quota),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	msg_free(&setting);
	return failed;
}
