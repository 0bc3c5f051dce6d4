/* SPDX-License-Identifier: Apache-2.0 */
/* What each operation says of a file that another client has a delegation of, and who is recalled
 * by it (RFC 8881 section 10.4, RFC 8276 section 8.5). */
#include "table.h"
#include "delegs.h"

/* With a delegation to read, and one to write, in somebody else's hands. */
static const struct { uint8_t num; const char *expected; } held[] = {
	{ OP_ACCESS, ". ." }, { OP_COMMIT, ". ." }, { OP_GETATTR, ". ." }, { OP_GETFH, ". ." },
	{ OP_LOCKT, ". ." }, { OP_LOOKUP, ". ." }, { OP_SAVEFH, ". ." }, { OP_SECINFO, ". ." },
	{ OP_READDIR, ". ." }, { OP_VERIFY, ". ." }, { OP_NVERIFY, ". ." },
	{ OP_LINK, "DELAY DELAY" },
	{ OP_OPEN, ". DELAY" },
	{ OP_READ, ". DELAY" }, { OP_READ_PLUS, ". DELAY" }, { OP_SEEK, ". DELAY" },
	{ OP_IO_ADVISE, ". ." },
	{ OP_WRITE, "DELAY DELAY" }, { OP_SETATTR, "DELAY DELAY" },
	{ OP_ALLOCATE, ". ." },				/* of what is there already */
	{ OP_DEALLOCATE, "DELAY DELAY" }, { OP_COPY, "DELAY DELAY" }, { OP_CLONE, "DELAY DELAY" },
	{ OP_GETXATTR, "NOXATTR NOXATTR" }, { OP_LISTXATTRS, ". ." },
	{ OP_SETXATTR, "DELAY DELAY" }, { OP_REMOVEXATTR, "NOXATTR NOXATTR" },
};

static void give(bool write)
{
	struct sid open;
	struct offer o;

	fresh();
	called_init(&A);
	HOLDER = new_called_client("holder", 2, &A);
	A.calls = 0;
	assert_int_equal(open_for(&HOLDER, write ? 3 : 1, 0, "f", &open, &o), NFS4_OK);
	assert_int_equal(o.type, write ? 2 : 1);
}

static void test_held(void **state)
{
	for (size_t i = 0; i < sizeof(held) / sizeof(*held); i++)
		for (int write = 0; write < 2; write++) {
			const struct table_op *t = table_ops;
			uint32_t want = status_word(held[i].expected, write);

			while (t->num != held[i].num)
				t++;
			for (uint32_t m = t->minor; m <= 2; m++) {
				uint32_t got;

				give(write);
				got = run_table(t, m, t->right, t->saved);
				expect(t->num, write ? "delegated to write" : "delegated to read", got,
				       want);
				settle();
				assert_int_equal(A.calls > 0, want == E(DELAY));
			}
		}
}

/* Calls of NFSv3, which come from nobody: not from the one that was served before, either. */
static void test_held_from_nfs3(void **state)
{
	static const struct { uint8_t proc; bool change; } procs[] = { { 6, false }, { 7, true },
								       { 2, true } };

	for (size_t i = 0; i < sizeof(procs) / sizeof(*procs); i++)
		for (int write = 0; write < 2; write++) {
			uint32_t status;

			give(write);
			status = nfs_proc(procs[i].proc);
			assert_int_equal(status, write || procs[i].change ? NFS3ERR_JUKEBOX : NFS3_OK);
			settle();
			assert_int_equal(A.calls > 0, status != NFS3_OK);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = { TT(test_held), TT(test_held_from_nfs3) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
