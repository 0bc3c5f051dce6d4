/* SPDX-License-Identifier: Apache-2.0 */
/* Which operation says that one's way to authenticate won't do, and what will (RFC 8881 section
 * 2.6.3.1.1). */
#include "compound.h"

static void other_root(uint8_t fh[HANDLE_BYTES])
{
	begin(2);
	seq(&S);
	op(OP_PUTROOTFH);
	name_op(OP_LOOKUP, "other");
	op(OP_GETFH);
	assert_int_equal(run(), NFS4_OK);
	ok_seq();
	ok(OP_PUTROOTFH);
	ok(OP_LOOKUP);
	ok(OP_GETFH);
	get_fh(fh);
}

enum what { FILE_, ROOT, OTHER, LOOKUP_F, LOOKUP_VOL, LOOKUPP, OPEN, GETATTR, GETFH, READ, SAVE, BACK,
	    SECINFO, SECINFO_VOL, NO_NAME, CLOSE_ };

static void put(enum what w, const uint8_t *other)
{
	switch (w) {
	case FILE_: putfh(P.file); break;
	case ROOT: op(OP_PUTROOTFH); break;
	case OTHER: putfh(other); break;
	case LOOKUP_F: name_op(OP_LOOKUP, "f"); break;
	case LOOKUP_VOL: name_op(OP_LOOKUP, "vol"); break;
	case LOOKUPP: op(OP_LOOKUPP); break;
	case OPEN: put_open(1, 0, "o", "f"); break;
	case GETATTR: op(OP_GETATTR); msg_u32(&M, 1); msg_u32(&M, 2); break;
	case GETFH: op(OP_GETFH); break;
	case READ: op(OP_READ); put_sid(&anonymous); msg_u64(&M, 0); msg_u32(&M, 9); break;
	case SAVE: op(OP_SAVEFH); break;
	case BACK: op(OP_RESTOREFH); break;
	case SECINFO: name_op(OP_SECINFO, "f"); break;
	case SECINFO_VOL: name_op(OP_SECINFO, "vol"); break;
	case NO_NAME: op(OP_SECINFO_NO_NAME); msg_u32(&M, 0); break;
	case CLOSE_: op(OP_CLOSE); msg_u32(&M, 0); put_sid(&anonymous); break;
	}
}

/* AT is the operation, counted from 1, that says WRONGSEC; 0: all of them work. */
static const struct { uint8_t at, n; enum what ops[5]; } sequences[] = {
	{ 0, 1, { FILE_ } },
	{ 1, 2, { FILE_, GETATTR } },
	{ 1, 2, { FILE_, GETFH } },
	{ 1, 2, { FILE_, READ } },
	{ 1, 2, { FILE_, CLOSE_ } },
	{ 1, 3, { FILE_, SAVE, GETATTR } },
	{ 0, 2, { FILE_, SAVE } },
	{ 0, 4, { FILE_, SAVE, OTHER, GETATTR } },
	{ 4, 5, { FILE_, SAVE, OTHER, BACK, GETATTR } },
	{ 0, 3, { FILE_, OTHER, GETATTR } },
	{ 2, 2, { FILE_, LOOKUP_F } },
	{ 2, 2, { FILE_, LOOKUPP } },
	{ 2, 2, { FILE_, OPEN } },
	{ 0, 2, { FILE_, SECINFO } },
	{ 0, 2, { FILE_, NO_NAME } },
	{ 2, 3, { ROOT, LOOKUP_VOL, GETATTR } },
	{ 2, 2, { ROOT, LOOKUP_VOL } },
	{ 0, 2, { ROOT, SECINFO_VOL } },
	{ 0, 2, { ROOT, GETATTR } },
};

static void test_who_says_it(void **state)
{
	uint8_t other[HANDLE_BYTES];

	other_root(other);
	memfs_set_exports(P.fs, 1, "* rw sec=none");
	for (size_t i = 0; i < sizeof(sequences) / sizeof(*sequences); i++) {
		uint32_t want = sequences[i].at ? E(WRONGSEC) : NFS4_OK;
		uint32_t got;

		begin(2);
		seq(&S);
		for (int k = 0; k < sequences[i].n; k++)
			put(sequences[i].ops[k], other);
		got = run();
		if (got != want || (want && results != sequences[i].at + 1))
			print_error("sequence %zu: %u after %u results\n", i, got, results);
		assert_int_equal(got, want);
		assert_int_equal(results, 1 + (want ? sequences[i].at : sequences[i].n));
	}
}

static void test_ways(void **state)
{
	static const struct { const char *rule; uint32_t n, first; } t[] = {
		{ "* rw", 1, RPC_AUTH_SYS }, { "* rw sec=sys:none", 2, RPC_AUTH_SYS },
		{ "* rw sec=none", 1, RPC_AUTH_NONE },
	};
	static const struct { enum what from, how; } asked[] = {
		{ ROOT, SECINFO_VOL }, { FILE_, NO_NAME },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++)
		for (size_t k = 0; k < sizeof(asked) / sizeof(*asked); k++) {
			memfs_set_exports(P.fs, 1, t[i].rule);
			begin(2);
			seq(&S);
			put(asked[k].from, NULL);
			put(asked[k].how, NULL);
			put(GETFH, NULL);		/* it takes the file handle away */
			assert_int_equal(run(), E(NOFILEHANDLE));
			ok_seq();
			ok(k ? OP_PUTFH : OP_PUTROOTFH);
			ok(k ? OP_SECINFO_NO_NAME : OP_SECINFO);
			assert_int_equal(xdr_get_u32(&R), t[i].n);
			assert_int_equal(xdr_get_u32(&R), t[i].first);
		}
}

/* What a client has open it may give back, whatever became of the export. */
static void test_close_when_not_exported(void **state)
{
	struct sid sid;

	assert_int_equal(open_file(&S, 3, 0, "o", "f", &sid), NFS4_OK);
	memfs_set_exports(P.fs, 1, "10.0.0.0/8 rw");
	on(P.file);
	op(OP_READ);
	put_sid(&sid);
	msg_u64(&M, 0);
	msg_u32(&M, 1);
	assert_int_equal(run_on(), E(ACCESS));
	on(P.file);
	op(OP_CLOSE);
	msg_u32(&M, 0);
	put_sid(&sid);
	assert_int_equal(run_on(), NFS4_OK);
	assert_int_equal(state_now()->sids.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T4(test_who_says_it), T4(test_ways), T4(test_close_when_not_exported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
