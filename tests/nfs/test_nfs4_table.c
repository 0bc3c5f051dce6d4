/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The protocol against a table: where each operation may stand, on what kinds of files it works,
 * in which minor version it is there.  Runs on memfs and on the real file system.
 */
#include "table.h"

static bool in_minor(const struct table_op *t, uint32_t m)
{
	return m >= t->minor;
}

/* Every operation on every kind of file. */
static void test_objects(void **state)
{
	for (const struct table_op *t = table_ops; t < table_ops + NTABLE; t++)
		for (uint32_t m = t->minor; m <= 2; m++)
			for (enum object o = NONE; o < OBJECTS; o++) {
				uint32_t want = status_word(t->on, o), got;

				if (t->num == OP_SETATTR && o == DIR && !m)
					want = E(ISDIR);
				if (t->num == OP_LOCK && o != NONE && !m)
					want = E(BAD_STATEID);		/* whose number is it? */
				if (t->num == OP_LOOKUPP && o == LINK && !m)
					want = E(NOTDIR);
				got = run_table(t, m, o, o == NONE ? NONE : t->saved);
				if (got == E(NOTSUPP) && t->flags & OPTIONAL)
					continue;
				expect(t->num, object_names[o], got, status_in(m, t->num, want));
				if (!got)
					fresh();
			}
}

/* Those that need a saved file handle, on every kind of that. */
static void test_saved(void **state)
{
	static const struct { uint8_t num; const char *on; } t[] = {
		{ OP_LINK, "NOFH ISDIR . . . . . XDEV STALE" },
		{ OP_RENAME, "NOFH . NOTDIR NOTDIR NOTDIR NOTDIR NOTDIR XDEV STALE" },
		{ OP_COPY, ONLY_FILES }, { OP_CLONE, ONLY_FILES },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		const struct table_op *row = table_ops;

		while (row->num != t[i].num)
			row++;
		for (uint32_t m = row->minor; m <= 2; m++)
			for (enum object o = NONE; o < OBJECTS; o++) {
				uint32_t got = run_table(row, m, row->right, o);

				expect(row->num, object_names[o], got,
				       status_in(m, row->num, status_word(t[i].on, o)));
				if (!got)
					fresh();
			}
	}
}

static void nothing_changes(const struct table_op *t, uint32_t m, const char *why,
			    uint32_t refusal)
{
	uint32_t got = run_table(t, m, t->right, t->saved), want;
	uint64_t before[2], after[2];

	if (got == E(NOTSUPP) && t->flags & OPTIONAL)
		return;
	want = changes_files(t) ? refusal : status_in(m, t->num, status_word(t->on, t->right));
	changes_now(before);
	got = run_table(t, m, t->right, t->saved);
	changes_now(after);
	expect(t->num, why, got, want);
	assert_memory_equal(before, after, sizeof(before));
}

static void test_read_only(void **state)
{
	static const uint8_t key[] = "0123456789abcde";

	proto_set_exports(&P, 1, "* ro no_root_squash");
	for (const struct table_op *t = table_ops; t < table_ops + NTABLE; t++)
		for (uint32_t m = t->minor; m <= 2; m++)
			nothing_changes(t, m, "exported read-only", E(ROFS));
	fresh();
	/* of a snapshot; of the real file system there is none yet: STALE */
	for (enum object o = DIR; o <= LINK; o++) {
		struct fs_id id;

		handle_read(key, handles[o], HANDLE_BYTES, &id);
		id.snapshot = 1;
		handle_make(key, &id, handles[o]);
	}
	for (const struct table_op *t = table_ops; t < table_ops + NTABLE; t++)
		for (uint32_t m = t->minor; m <= 2; m++)
			if (changes_files(t)) {
				uint32_t got = run_table(t, m, t->right, t->saved);

				if (got != E(NOTSUPP) || !(t->flags & OPTIONAL))
					expect(t->num, "in a snapshot", got, E(ROFS));
			}
}

/* Whoever the volume is not exported to may give back what he has, and nothing else. */
static void test_not_exported(void **state)
{
	proto_set_exports(&P, 1, "10.0.0.0/8 rw");
	for (const struct table_op *t = table_ops; t < table_ops + NTABLE; t++)
		for (uint32_t m = t->minor; m <= 2; m++) {
			uint32_t got = run_table(t, m, t->right, t->saved);

			if (got == E(NOTSUPP) && t->flags & OPTIONAL)
				continue;
			switch (t->num) {
			case OP_GETFH: case OP_SAVEFH:
				expect(t->num, "not exported", got, NFS4_OK);
				break;
			case OP_RESTOREFH:
				break;
			case OP_LOCK:
				expect(t->num, "not exported", got, m ? E(ACCESS) : E(BAD_STATEID));
				break;
			case OP_CLOSE: case OP_LOCKU: case OP_OPEN_DOWNGRADE: case OP_DELEGRETURN:
				expect(t->num, "not exported", got, E(BAD_STATEID));
				break;
			default:
				expect(t->num, "not exported", got, E(ACCESS));
			}
		}
}

static void recover(void *arg) { nfs4_recovery_run(state_now()); }

/* A grace period that lasts, as somebody who had state isn't back. */
static void into_grace(void)
{
	struct sid sid;

	fresh();
	assert_int_equal(open_file(&S, 3, 0, "o", "f", &sid), NFS4_OK);
	proto_restart(&P);
	assert_true(nfs4_in_grace(state_now()));
	S = new_client("newcomer");
	C = client40("old newcomer");
}

static bool waits_for_grace(uint32_t num)
{
	switch (num) {
	case OP_OPEN: case OP_LOCK: case OP_LOCKT: case OP_REMOVE: case OP_RENAME:
	/* with a stateid that names no open: somebody could have denied it */
	case OP_READ: case OP_WRITE: case OP_SETATTR: case OP_ALLOCATE: case OP_COPY: case OP_DEALLOCATE:
	case OP_IO_ADVISE: case OP_READ_PLUS: case OP_SEEK: case OP_WRITE_SAME: case OP_CLONE:
		return true;
	default:
		return false;
	}
}

/* RFC 8881 section 8.4.2.1, RFC 7530 section 9.6.2. */
static void test_grace(void **state)
{
	into_grace();
	for (const struct table_op *t = table_ops; t < table_ops + NTABLE; t++)
		for (uint32_t m = t->minor; m <= 2; m++) {
			uint32_t want = status_in(m, t->num, status_word(t->on, t->right)), got;

			if (t->num == OP_LOCK && !m)
				continue;		/* whose number is it? */
			if (waits_for_grace(t->num))
				want = E(GRACE);
			got = run_table(t, m, t->right, t->saved);
			if (got == E(NOTSUPP) && t->flags & OPTIONAL)
				continue;
			expect(t->num, "in grace", got, want);
			if (!got && changes_files(t))
				into_grace();
		}
	state_now()->skew_ns += 1000 * 1000000000ull;
	proto_run(recover, NULL);
	assert_false(nfs4_in_grace(state_now()));
	for (const struct table_op *t = table_ops; t < table_ops + NTABLE; t++)
		if (t->num == OP_READ || t->num == OP_OPEN)
			expect(t->num, "after grace", run_table(t, 2, t->right, t->saved), NFS4_OK);
}

/* ---- which there are ----------------------------------------------------------------- */

static void test_unknown(void **state)
{
	static const uint32_t never[] = { 0, 1, 2, 76, 77, 255, 256, 10043, 10044, 10045, UINT32_MAX };

	for (vers = 0; vers <= 2; vers++) {
		for (size_t i = 0; i < sizeof(never) / sizeof(*never); i++) {
			begin_in(vers);
			op(never[i]);
			assert_int_equal(run(), E(OP_ILLEGAL));
			if (vers)
				ok_seq();
			assert_int_equal(res(OP_ILLEGAL), E(OP_ILLEGAL));
		}
		for (uint32_t num = 3; num < RFC_OPS; num++) {
			if (rfc_op_name(vers, num))
				continue;
			begin_in(vers);
			putfh(P.file);
			put_op(num, &anonymous);
			assert_int_equal(run(), E(OP_ILLEGAL));
			if (vers)
				ok_seq();
			ok(OP_PUTFH);
			assert_int_equal(res(OP_ILLEGAL), E(OP_ILLEGAL));
			end_of_reply();
		}
	}
}

static void test_minor_versions(void **state)
{
	static const uint32_t none[] = { 3, 4, 100, INT32_MAX, UINT32_MAX };

	for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++)
		for (uint32_t num = 0; num < RFC_OPS; num++) {
			begin(none[i]);
			vers = 2;
			put_op(num, &anonymous);
			assert_int_equal(run(), E(MINOR_VERS_MISMATCH));
			assert_int_equal(results, 0);
			end_of_reply();
		}
}

/* What is optional and not there, and what went with 4.0. */
static void test_not_there(void **state)
{
	static const struct { uint8_t num, minor, last; } no[] = {
		{ OP_OPENATTR, 0, 2 }, { OP_OPEN_CONFIRM, 1, 2 }, { OP_RENEW, 1, 2 },
		{ OP_SETCLIENTID, 1, 2 }, { OP_SETCLIENTID_CONFIRM, 1, 2 },
		{ OP_RELEASE_LOCKOWNER, 1, 2 }, { OP_GET_DIR_DELEGATION, 1, 2 },
		{ OP_GETDEVICEINFO, 1, 2 }, { OP_GETDEVICELIST, 1, 2 }, { OP_LAYOUTCOMMIT, 1, 2 },
		{ OP_LAYOUTGET, 1, 2 }, { OP_LAYOUTRETURN, 1, 2 }, { OP_SET_SSV, 1, 2 },
		{ OP_COPY_NOTIFY, 2, 2 }, { OP_LAYOUTERROR, 2, 2 }, { OP_LAYOUTSTATS, 2, 2 },
	};

	for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++)
		for (uint32_t m = no[i].minor; m <= no[i].last; m++) {
			begin_in(m);
			putfh(P.file);
			put_op(no[i].num, &anonymous);
			op(OP_GETFH);
			expect(no[i].num, "not there", run(), E(NOTSUPP));
			if (m)
				ok_seq();
			ok(OP_PUTFH);
			assert_int_equal(res(no[i].num), E(NOTSUPP));
			end_of_reply();
		}
}

/* ---- in which place ------------------------------------------------------------------ */

static bool stands_alone(uint32_t num)
{
	return num == OP_BIND_CONN || num == OP_EXCHANGE_ID || num == OP_CREATE_SESSION ||
	       num == OP_DESTROY_SESSION || num == OP_DESTROY_CLIENTID;
}

/* Without SEQUENCE, after another operation, and SEQUENCE a second time (RFC 8881 section
 * 2.10.2.2, 18.46.3). */
static void test_place(void **state)
{
	for (uint32_t m = 1; m <= 2; m++)
		for (uint32_t num = 3; num < RFC_OPS; num++) {
			uint32_t status;

			vers = m;
			if (!rfc_op_name(m, num) || num == OP_SEQUENCE)
				continue;
			begin(m);
			put_op(num, &anonymous);
			status = run();
			if (stands_alone(num))
				assert_int_not_equal(status, E(OP_NOT_IN_SESSION));
			else
				expect(num, "without SEQUENCE", status, E(OP_NOT_IN_SESSION));
			fresh();
			vers = m;
			if (!stands_alone(num))
				continue;
			begin(m);
			put_op(num, &anonymous);
			op(OP_PUTROOTFH);
			expect(num, "not alone", run(), E(NOT_ONLY_OP));
			assert_int_equal(results, 1);
		}
	for (uint32_t m = 1; m <= 2; m++) {
		begin_in(m);
		put_op(OP_SEQUENCE, NULL);
		expect(OP_SEQUENCE, "a second time", run(), E(SEQUENCE_POS));
		begin_in(m);
		op(OP_PUTROOTFH);
		put_op(OP_SEQUENCE, NULL);
		expect(OP_SEQUENCE, "a second time", run(), E(SEQUENCE_POS));
		begin_in(m);
		put_op(OP_BIND_CONN, NULL);
		expect(OP_BIND_CONN, "after SEQUENCE", run(), E(NOT_ONLY_OP));
	}
}

/* Nothing after what failed is run, and of it there is no result. */
static void test_order(void **state)
{
	for (const struct table_op *t = table_ops; t < table_ops + NTABLE; t++)
		for (uint32_t m = t->minor; m <= 2; m++) {
			uint32_t want = status_in(m, t->num, status_word(t->on, NONE));

			if (!in_minor(t, m))
				continue;
			begin_in(m);
			put_op(t->num, &anonymous);
			putfh(P.root);
			name_op(OP_REMOVE, "f");
			if (run() == E(NOTSUPP) && t->flags & OPTIONAL)
				continue;
			assert_int_equal(results, m ? 2 : 1);
			if (m)
				ok_seq();
			expect(t->num, "first of several", res(t->num), want);
		}
	assert_int_equal(size_of(P.file), 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TT(test_objects), TT(test_saved), TT(test_read_only), TT(test_not_exported), TT(test_grace),
		TT(test_unknown), TT(test_minor_versions), TT(test_not_there), TT(test_place),
		TT(test_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
