/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the programs that hold the protocol against a table: each operation with arguments that are
 * in order, on each kind of file, in each minor version that has it.
 *
 * What is expected is written in words of statuses, "." being OK, as 4.1 and 4.2 answer; where 4.0's
 * table has no such status for the operation, it says INVAL there.
 */
#ifndef TESTS_NFS_TABLE_H
#define TESTS_NFS_TABLE_H

#include "compound40.h"
#include "rfc_errors.h"

enum object { NONE, DIR, FILE_, LINK, FIFO, BLK, SOCK, PSEUDO, STALE, OBJECTS };
static const char *const object_names[] = {
	"no file handle", "a directory", "a file", "a symlink", "a fifo", "a device", "a socket",
	"the root of all", "a stale handle",
};

static uint8_t handles[OBJECTS][HANDLE_BYTES];
static uint32_t vers;			/* of the COMPOUND under construction */

/* What 4.1 says in words and 4.0, having no word for it, in another. */
U uint32_t status_in(uint32_t in_minor, uint32_t num, uint32_t status)
{
	if (in_minor || rfc_allows(0, num, status))
		return status;
	return num == OP_RESTOREFH ? E(RESTOREFH) : E(INVAL);
}

/* The status that word N of WORDS names. */
U uint32_t status_word(const char *words, unsigned n)
{
	static const struct { const char *name; uint32_t status; } short_names[] = {
		{ ".", NFS4_OK }, { "NOFH", E(NOFILEHANDLE) }, { "BADSID", E(BAD_STATEID) },
		{ "OLDSID", E(OLD_STATEID) }, { "WRONG", E(WRONG_TYPE) }, { "LONG", E(NAMETOOLONG) },
	};
	char word[40];
	size_t len;

	for (; n; n--) {
		words += strcspn(words, " ");
		words += strspn(words, " ");
	}
	len = strcspn(words, " ");
	assert_true(len && len < sizeof(word));
	memcpy(word, words, len);
	word[len] = 0;
	for (size_t i = 0; i < sizeof(short_names) / sizeof(*short_names); i++)
		if (!strcmp(word, short_names[i].name))
			return short_names[i].status;
	assert_true(rfc_status_number(word));
	return rfc_status_number(word);
}

/* Fails with what was asked and what came. */
U void expect(uint32_t num, const char *state, uint32_t got, uint32_t want)
{
	if (got == want)
		return;
	print_error("4.%u: %s, %s: %s, not %s\n", vers, rfc_op_name(vers, num), state,
		    rfc_status_name(got), rfc_status_name(want));
	fail();
}

/* ---- building ------------------------------------------------------------------------ */

/* In a session, where there are any. */
U void begin_in(uint32_t in_minor)
{
	vers = in_minor;
	begin(vers);
	if (vers)
		seq(&S);
}

U void put_object(enum object o)
{
	if (o == PSEUDO)
		op(OP_PUTROOTFH);
	else if (o != NONE)
		putfh(handles[o]);
}

U void owner_of(const char *name)
{
	msg_u64(&M, vers ? 0 : C);
	msg_string(&M, name);
}

/* The arguments of NUM, which are in order on the right kind of file; its first time. */
U void put_args(uint32_t num, const struct sid *sid)
{
	static unsigned n;
	char owner[16];

	switch (num) {
	case OP_ACCESS: msg_u32(&M, 1); break;
	case OP_CLOSE: msg_u32(&M, 0); put_sid(sid); break;
	case OP_COMMIT: msg_u64(&M, 0); msg_u32(&M, 0); break;
	case OP_CREATE: msg_u32(&M, FS_DIR); msg_string(&M, "newdir"); put_mode(0755); break;
	case OP_DELEGPURGE: msg_u64(&M, vers ? 0 : C); break;
	case OP_DELEGRETURN: case OP_FREE_STATEID: case OP_OFFLOAD_CANCEL: case OP_OFFLOAD_STATUS:
		put_sid(sid);
		break;
	case OP_GETATTR: msg_u32(&M, 1); msg_u32(&M, 0x1a); break;
	case OP_LINK: msg_string(&M, "hard"); break;
	case OP_LOCK:
		msg_u32(&M, NFS4_READ_LT);
		msg_u32(&M, 0);
		put_range(0, 10);
		msg_u32(&M, 1);
		msg_u32(&M, 0);
		put_sid(sid);
		msg_u32(&M, 0);
		owner_of("l");
		break;
	case OP_LOCKT: msg_u32(&M, NFS4_READ_LT); put_range(0, 10); owner_of("l"); break;
	case OP_LOCKU: msg_u32(&M, NFS4_READ_LT); msg_u32(&M, 0); put_sid(sid); put_range(0, 10); break;
	case OP_LOOKUP: case OP_SECINFO: msg_string(&M, "f"); break;
	case OP_VERIFY: case OP_NVERIFY:
		msg_u32(&M, 1);
		msg_u32(&M, 2);
		msg_u32(&M, 4);
		msg_u32(&M, FS_DIR);
		break;
	case OP_OPEN:
		snprintf(owner, sizeof(owner), "o%u", ++n);	/* a new one's number may be any */
		msg_u32(&M, 0);
		msg_u32(&M, 1);
		msg_u32(&M, 0);
		owner_of(owner);
		msg_u32(&M, 0);
		msg_u32(&M, 0);
		msg_string(&M, "f");
		break;
	case OP_OPEN_CONFIRM: put_sid(sid); msg_u32(&M, 0); break;
	case OP_OPEN_DOWNGRADE: put_sid(sid); msg_u32(&M, 0); msg_u32(&M, 1); msg_u32(&M, 0); break;
	case OP_PUTFH: put_fh(&M, P.file); break;
	case OP_READ: case OP_READ_PLUS: put_sid(sid); msg_u64(&M, 0); msg_u32(&M, 100); break;
	case OP_READDIR:
		put_range(0, 0);
		msg_u32(&M, 4096);
		msg_u32(&M, 4096);
		msg_u32(&M, 1);
		msg_u32(&M, 2);
		break;
	case OP_REMOVE: msg_string(&M, "l"); break;
	case OP_RENAME: msg_string(&M, "l"); msg_string(&M, "m"); break;
	case OP_RENEW: case OP_DESTROY_CLIENTID: msg_u64(&M, vers ? S.clientid : C); break;
	case OP_SETATTR:
		put_sid(sid);
		msg_u32(&M, 1);
		msg_u32(&M, 16);
		msg_u32(&M, 8);
		msg_u64(&M, 10000);
		break;
	case OP_SETCLIENTID:
		msg_u64(&M, 1);
		msg_string(&M, "another");
		msg_u32(&M, 0x40000000);
		msg_string(&M, "tcp");
		msg_string(&M, "0.0.0.0.0.0");
		msg_u32(&M, 1);
		break;
	case OP_SETCLIENTID_CONFIRM: msg_u64(&M, C); msg_u64(&M, 0); break;
	case OP_WRITE:
		put_sid(sid);
		msg_u64(&M, 0);
		msg_u32(&M, NFS4_FILE_SYNC);
		msg_string(&M, "hello");
		break;
	case OP_RELEASE_LOCKOWNER: owner_of("nobody"); break;
	case OP_BACKCHANNEL_CTL: msg_u32(&M, 0x40000000); msg_u32(&M, 1); msg_u32(&M, 0); break;
	case OP_BIND_CONN: msg_bytes(&M, S.id, 16); msg_u32(&M, 1); msg_u32(&M, 0); break;
	case OP_EXCHANGE_ID:
		msg_u64(&M, 1);
		msg_string(&M, "another");
		msg_u64(&M, 0);
		msg_u32(&M, 0);
		break;
	case OP_CREATE_SESSION:
		msg_u64(&M, S.clientid);
		msg_u32(&M, S.create_seq + 1);
		msg_u32(&M, 0);
		put_channel(4096, 512, 8, 1);
		put_channel(4096, 0, 2, 1);
		msg_u32(&M, 0x40000000);
		msg_u32(&M, 1);
		msg_u32(&M, 0);
		break;
	case OP_DESTROY_SESSION: msg_bytes(&M, S.id, 16); break;
	case OP_SECINFO_NO_NAME: case OP_RECLAIM_COMPLETE: msg_u32(&M, 0); break;
	case OP_SEQUENCE:
		msg_bytes(&M, S.id, 16);
		msg_u32(&M, S.seq + 1);
		msg_u64(&M, 0);
		msg_u32(&M, 0);
		break;
	case OP_TEST_STATEID: msg_u32(&M, 1); put_sid(sid); break;
	case OP_ALLOCATE: case OP_DEALLOCATE: put_sid(sid); put_range(0, 4096); break;
	case OP_SEEK: put_sid(sid); msg_u64(&M, 0); msg_u32(&M, 0); break;
	case OP_IO_ADVISE: put_sid(sid); put_range(0, 0); msg_u32(&M, 0); break;
	case OP_WRITE_SAME:
		put_sid(sid);
		msg_u32(&M, NFS4_FILE_SYNC);
		put_range(0, 512);
		put_range(2, 0);
		msg_u32(&M, 0);
		msg_u64(&M, 0);
		msg_string(&M, "pattern!");
		break;
	case OP_CLONE: case OP_COPY:
		put_sid(&anonymous);
		put_sid(sid);
		put_range(0, 8192);
		msg_u64(&M, 4096);
		if (num == OP_COPY) {
			msg_u64(&M, 1ull << 32 | 1);
			msg_u32(&M, 0);
		}
		break;
	case OP_GETXATTR: case OP_REMOVEXATTR: msg_string(&M, "x"); break;
	case OP_SETXATTR: msg_u32(&M, 0); msg_string(&M, "y"); msg_string(&M, "value"); break;
	case OP_LISTXATTRS: msg_u64(&M, 0); msg_u32(&M, 4096); break;
	}
}

U void put_op(uint32_t num, const struct sid *sid)
{
	op(num);
	put_args(num, sid);
}

/* ---- the fixture --------------------------------------------------------------------- */

static void make_object(enum object o, uint32_t type, const char *name)
{
	begin_in(2);
	putfh(P.root);
	op(OP_CREATE);
	msg_u32(&M, type);
	if (type == FS_BLK)
		put_range(0, 0);
	if (type == FS_BLK)
		M.len -= 8;
	msg_string(&M, name);
	put_mode(0644);
	op(OP_GETFH);
	assert_int_equal(run(), NFS4_OK);
	ok_seq();
	ok(OP_PUTFH);
	ok(OP_CREATE);
	xdr_get_fixed(&R, 20);
	for (uint32_t n = xdr_get_u32(&R); n; n--)
		xdr_get_u32(&R);
	ok(OP_GETFH);
	get_fh(handles[o]);
}

U void stale_handle(uint8_t fh[HANDLE_BYTES])
{
	static const uint8_t key[] = "0123456789abcde";
	struct fs_id id;

	handle_read(key, P.file, HANDLE_BYTES, &id);
	id.generation += 1000;
	handle_make(key, &id, fh);
}

/* Clients of 4.0 and of 4.1 (for 4.2 too), and a handle of each kind. */
U int setup_table(void **state)
{
	setup4(state);
	C = client40("old client");
	memcpy(handles[DIR], P.root, HANDLE_BYTES);
	memcpy(handles[FILE_], P.file, HANDLE_BYTES);
	memcpy(handles[LINK], P.link, HANDLE_BYTES);
	make_object(FIFO, FS_FIFO, "fifo");
	make_object(BLK, FS_BLK, "blk");
	make_object(SOCK, FS_SOCK, "sock");
	stale_handle(handles[STALE]);
	P.ctl->changes = 0;
	return 0;
}

U void fresh(void)
{
	teardown(NULL);
	setup_table(NULL);
}

/* The numbers that tell whether anything was changed: of the root and of the file. */
U void changes_now(uint64_t ret[2])
{
	for (int i = 0; i < 2; i++) {
		begin(2);
		seq(&S);
		putfh(i ? P.file : P.root);
		op(OP_GETATTR);
		msg_u32(&M, 1);
		msg_u32(&M, 8);
		assert_int_equal(run(), NFS4_OK);
		ok_seq();
		ok(OP_PUTFH);
		ok(OP_GETATTR);
		xdr_get_fixed(&R, 12);
		ret[i] = xdr_get_u64(&R);
	}
}

#define TT(x) cmocka_unit_test_setup_teardown(x, setup_table, teardown)

/* ---- the operations ------------------------------------------------------------------ */

enum { OPTIONAL = 1 };			/* NOTSUPP is an answer, too */

/* On what kinds of files an operation works, and what it says on each kind (enum object). */
struct table_op {
	uint8_t num, minor, right, saved, flags;
	const char *on;
};

#define ON_DIRS "NOFH . NOTDIR NOTDIR NOTDIR NOTDIR NOTDIR "
#define ON_FILES "NOFH ISDIR . SYMLINK WRONG WRONG WRONG ISDIR STALE"
#define ONLY_FILES "NOFH WRONG . WRONG WRONG WRONG WRONG WRONG STALE"
#define ON_ALL "NOFH . . . . . . . "
#define NO_SID "NOFH BADSID BADSID BADSID BADSID BADSID BADSID BADSID BADSID"

static const struct table_op table_ops[] = {
	{ OP_ACCESS, 0, DIR, 0, 0, ON_ALL "STALE" },
	{ OP_CLOSE, 0, FILE_, 0, 0, NO_SID },
	{ OP_COMMIT, 0, FILE_, 0, 0, ON_FILES },
	{ OP_CREATE, 0, DIR, 0, 0, ON_DIRS "ROFS STALE" },
	{ OP_DELEGRETURN, 0, FILE_, 0, OPTIONAL, NO_SID },
	{ OP_GETATTR, 0, DIR, 0, 0, ON_ALL "STALE" },
	{ OP_GETFH, 0, DIR, 0, 0, ON_ALL "." },
	{ OP_LINK, 0, DIR, FILE_, 0, ON_DIRS "ROFS STALE" },
	{ OP_LOCK, 0, FILE_, 0, 0, "NOFH ISDIR BADSID SYMLINK WRONG WRONG WRONG ISDIR STALE" },
	{ OP_LOCKT, 0, FILE_, 0, 0, ON_FILES },
	{ OP_LOCKU, 0, FILE_, 0, 0, NO_SID },
	{ OP_LOOKUP, 0, DIR, 0, 0, "NOFH . NOTDIR SYMLINK NOTDIR NOTDIR NOTDIR NOENT STALE" },
	{ OP_LOOKUPP, 0, DIR, 0, 0, "NOFH . NOTDIR SYMLINK NOTDIR NOTDIR NOTDIR NOENT STALE" },
	{ OP_NVERIFY, 0, FILE_, 0, 0, "NOFH SAME . . . . . SAME STALE" },
	{ OP_OPEN, 0, DIR, 0, 0, "NOFH . NOTDIR SYMLINK NOTDIR NOTDIR NOTDIR ISDIR STALE" },
	{ OP_OPEN_DOWNGRADE, 0, FILE_, 0, 0, NO_SID },
	{ OP_READ, 0, FILE_, 0, 0, ON_FILES },
	{ OP_READDIR, 0, DIR, 0, 0, ON_DIRS ". STALE" },
	{ OP_READLINK, 0, LINK, 0, 0, "NOFH WRONG WRONG . WRONG WRONG WRONG WRONG STALE" },
	{ OP_REMOVE, 0, DIR, 0, 0, ON_DIRS "ROFS STALE" },
	{ OP_RENAME, 0, DIR, DIR, 0, ON_DIRS "ROFS STALE" },
	{ OP_RESTOREFH, 0, NONE, 0, 0, "NOFH NOFH NOFH NOFH NOFH NOFH NOFH NOFH NOFH" },
	{ OP_SAVEFH, 0, DIR, 0, 0, ON_ALL "." },
	{ OP_SECINFO, 0, DIR, 0, 0, ON_DIRS "NOENT STALE" },
	{ OP_SETATTR, 0, FILE_, 0, 0, "NOFH WRONG . WRONG WRONG WRONG WRONG ROFS STALE" },
	{ OP_VERIFY, 0, DIR, 0, 0,
	  "NOFH . NOT_SAME NOT_SAME NOT_SAME NOT_SAME NOT_SAME . STALE" },
	{ OP_WRITE, 0, FILE_, 0, 0, ON_FILES },
	{ OP_SECINFO_NO_NAME, 1, DIR, 0, 0, ON_ALL "." },
	{ OP_ALLOCATE, 2, FILE_, 0, 0, ONLY_FILES },
	{ OP_COPY, 2, FILE_, FILE_, 0, ONLY_FILES },
	{ OP_DEALLOCATE, 2, FILE_, 0, 0, ONLY_FILES },
	{ OP_IO_ADVISE, 2, FILE_, 0, 0, ONLY_FILES },
	{ OP_READ_PLUS, 2, FILE_, 0, 0, ON_FILES },
	{ OP_SEEK, 2, FILE_, 0, 0, ONLY_FILES },
	{ OP_WRITE_SAME, 2, FILE_, 0, OPTIONAL, ON_FILES },
	{ OP_CLONE, 2, FILE_, FILE_, 0, ONLY_FILES },
	{ OP_GETXATTR, 2, FILE_, 0, 0,
	  "NOFH NOXATTR NOXATTR NOXATTR NOXATTR NOXATTR NOXATTR NOXATTR STALE" },
	{ OP_SETXATTR, 2, FILE_, 0, 0, "NOFH . . PERM PERM PERM PERM ROFS STALE" },
	{ OP_LISTXATTRS, 2, FILE_, 0, 0, ON_ALL "STALE" },
	{ OP_REMOVEXATTR, 2, FILE_, 0, 0, "NOFH NOXATTR NOXATTR PERM PERM PERM PERM ROFS STALE" },
};
enum { NTABLE = sizeof(table_ops) / sizeof(*table_ops) };

U bool changes_files(const struct table_op *t)
{
	switch (t->num) {
	case OP_CREATE: case OP_LINK: case OP_REMOVE: case OP_RENAME: case OP_SETATTR: case OP_WRITE:
	case OP_ALLOCATE: case OP_COPY: case OP_DEALLOCATE: case OP_WRITE_SAME: case OP_CLONE:
	case OP_SETXATTR: case OP_REMOVEXATTR:
		return true;
	default:
		return false;
	}
}

/* Runs T on O (its saved file handle, if it has one, on SAVED); its status. */
U uint32_t run_table(const struct table_op *t, uint32_t in_minor, enum object o, enum object saved)
{
	uint32_t status;

	begin_in(in_minor);
	if (t->saved && saved != NONE) {
		put_object(saved);
		op(OP_SAVEFH);
	}
	put_object(o);
	put_op(t->num, &anonymous);
	status = run();
	if (vers)
		ok_seq();
	if (t->saved && saved != NONE) {
		ok(saved == PSEUDO ? OP_PUTROOTFH : OP_PUTFH);
		ok(OP_SAVEFH);
	}
	if (o != NONE)
		ok(o == PSEUDO ? OP_PUTROOTFH : OP_PUTFH);
	assert_int_equal(res(t->num), status);
	return status;
}

#endif
