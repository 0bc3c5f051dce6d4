/* SPDX-License-Identifier: Apache-2.0 */
/* Each operation that takes a stateid, with each kind of stateid that there is. */
#include "table.h"

enum kind { ANON, BYPASS, CURRENT, INVALID, RW, RO, OLD, FUTURE, ZERO, UNKNOWN, BOOT, FOREIGN,
	    OTHER_FILE, LOCK_, CLOSED, KINDS };

static const char *const kind_names[KINDS] = {
	"anonymous", "READ bypass", "the current one, and there is none", "a special one that is none",
	"of an open file", "of one open to read", "an old one", "one of the future", "seqid 0",
	"an unknown one", "of another run", "of another client", "of another file", "of a lock",
	"of a closed file",
};

/* 4.1 and 4.2. */
static const struct { uint8_t num, minor, flags; const char *expected; } t[] = {
	/* ANON BYPASS CURRENT INVALID  RW RO OLD FUTURE ZERO  UNKNOWN BOOT FOREIGN OTHER LOCK CLOSED */
#define READS ". . BADSID BADSID . . OLDSID BADSID . BADSID BADSID BADSID BADSID . BADSID"
#define WRITES ". . BADSID BADSID . OPENMODE OLDSID BADSID . BADSID BADSID BADSID BADSID . BADSID"
#define ON_OPENS "BADSID BADSID BADSID BADSID . . OLDSID BADSID . BADSID BADSID BADSID BADSID BADSID " \
		 "BADSID"
#define ON_LOCKS "BADSID BADSID BADSID BADSID BADSID BADSID OLDSID BADSID BADSID BADSID BADSID " \
		 "BADSID BADSID . BADSID"
#define ON_NONE "BADSID BADSID BADSID BADSID BADSID BADSID OLDSID BADSID BADSID BADSID BADSID " \
		"BADSID BADSID BADSID BADSID"
#define NO_COPY "BADSID BADSID BADSID BADSID BADSID BADSID BADSID BADSID BADSID BADSID BADSID BADSID " \
		"BADSID BADSID BADSID"
	{ OP_READ, 1, 0, READS }, { OP_READ_PLUS, 2, 0, READS }, { OP_SEEK, 2, 0, READS },
	{ OP_IO_ADVISE, 2, 0, READS },
	{ OP_WRITE, 1, 0, WRITES }, { OP_SETATTR, 1, 0, WRITES },
	{ OP_ALLOCATE, 2, OPTIONAL, WRITES }, { OP_DEALLOCATE, 2, 0, WRITES },
	{ OP_WRITE_SAME, 2, OPTIONAL, WRITES },
	{ OP_COPY, 2, 0, WRITES }, { OP_CLONE, 2, 0, WRITES },
	{ OP_LOCK, 1, 0, ON_OPENS }, { OP_CLOSE, 1, 0, ON_OPENS },
	{ OP_OPEN_DOWNGRADE, 1, 0, ON_OPENS },
	{ OP_LOCKU, 1, 0, ON_LOCKS },
	{ OP_DELEGRETURN, 1, OPTIONAL, ON_NONE },
	{ OP_FREE_STATEID, 1, 0, "BADSID BADSID BADSID BADSID LOCKS_HELD LOCKS_HELD OLDSID BADSID "
	  "LOCKS_HELD BADSID BADSID BADSID LOCKS_HELD LOCKS_HELD BADSID" },
	{ OP_TEST_STATEID, 1, 0, "BADSID BADSID BADSID BADSID . . OLDSID BADSID . BADSID BADSID "
	  "BADSID . . BADSID" },
	{ OP_OFFLOAD_STATUS, 2, 0, NO_COPY }, { OP_OFFLOAD_CANCEL, 2, 0, NO_COPY },
};

static struct sid sids[KINDS];

static void spoil_all(const struct sid *rw)
{
	sids[ANON] = anonymous;
	sids[BYPASS] = bypass;
	sids[CURRENT] = current;
	sids[INVALID] = (struct sid){ .seqid = UINT32_MAX };
	sids[RW] = sids[OLD] = sids[FUTURE] = sids[ZERO] = sids[UNKNOWN] = sids[BOOT] = *rw;
	sids[OLD].seqid--;
	sids[FUTURE].seqid++;
	sids[ZERO].seqid = 0;
	memset(sids[UNKNOWN].other + 4, 0x5a, 8);
	sids[BOOT].other[0] ^= 1;
}

/* Another file than "f", with the same rights. */
static void open_other(struct sess *s, struct sid *ret)
{
	begin(2);
	seq(s);
	putfh(P.root);
	op(OP_OPEN);
	msg_u32(&M, 0);
	msg_u32(&M, 3);
	msg_u32(&M, 0);
	put_owner("o");
	msg_u32(&M, 1);
	msg_u32(&M, 0);
	put_mode(0644);
	msg_u32(&M, 0);
	msg_string(&M, "other file");
	assert_int_equal(run(), NFS4_OK);
	ok_seq();
	ok(OP_PUTFH);
	ok(OP_OPEN);
	*ret = get_open();
}

static void make_sids(void)
{
	struct sess other = new_client("other");
	struct sid rw;

	assert_int_equal(open_file(&S, 1, 0, "rw", "f", &rw), NFS4_OK);
	assert_int_equal(open_file(&S, 3, 0, "rw", "f", &rw), NFS4_OK);
	spoil_all(&rw);
	assert_int_equal(open_file(&S, 1, 0, "ro", "f", &sids[RO]), NFS4_OK);
	assert_int_equal(open_file(&other, 3, 0, "rw", "f", &sids[FOREIGN]), NFS4_OK);
	open_other(&S, &sids[OTHER_FILE]);
	begin_in(2);
	putfh(P.file);
	op(OP_LOCK);
	msg_u32(&M, NFS4_READ_LT);
	msg_u32(&M, 0);
	put_range(100, 10);
	msg_u32(&M, 1);
	msg_u32(&M, 0);
	put_sid(&rw);
	msg_u32(&M, 0);
	put_owner("locker");
	assert_int_equal(run(), NFS4_OK);
	ok_seq();
	ok(OP_PUTFH);
	ok(OP_LOCK);
	sids[LOCK_] = get_sid();
	assert_int_equal(open_file(&S, 1, 0, "closed", "f", &sids[CLOSED]), NFS4_OK);
	begin_in(2);
	putfh(P.file);
	put_op(OP_CLOSE, &sids[CLOSED]);
	assert_int_equal(run(), NFS4_OK);
}

/* NUM on the file, or from another file to it. */
static uint32_t with_kind(uint32_t m, uint32_t num, enum kind k)
{
	uint32_t status;

	begin_in(m);
	if (num == OP_COPY || num == OP_CLONE) {
		putfh(P.file);
		op(OP_SAVEFH);
	}
	putfh(P.file);
	put_op(num, &sids[k]);
	status = run();
	if (status || num != OP_TEST_STATEID)
		return status;
	ok_seq();
	ok(OP_PUTFH);
	ok(num);
	assert_int_equal(xdr_get_u32(&R), 1);
	return xdr_get_u32(&R);
}

static void test_kinds(void **state)
{
	make_sids();
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++)
		for (uint32_t m = t[i].minor; m <= 2; m++)
			for (enum kind k = 0; k < KINDS; k++) {
				uint32_t got = with_kind(m, t[i].num, k);

				if (got == E(NOTSUPP) && t[i].flags & OPTIONAL)
					continue;
				expect(t[i].num, kind_names[k], got, status_word(t[i].expected, k));
				if (!got && t[i].num != OP_TEST_STATEID) {
					fresh();
					make_sids();
				}
			}
}

/* 4.0: who asks is known by the stateid alone, also when he is gone, and seqid 0 is nothing
 * special. */
static void test_kinds_40(void **state)
{
	static const char *const expected[] = {
		". . BADSID BADSID . . OLDSID BADSID OLDSID EXPIRED STALE_STATEID",
		". . BADSID BADSID . OPENMODE OLDSID BADSID OLDSID EXPIRED STALE_STATEID",
	};
	static const uint8_t nums[] = { OP_READ, OP_WRITE, OP_SETATTR };
	struct own rw = { "rw", 1 }, ro = { "ro", 1 };
	struct sid sid;

	assert_int_equal(open40(&rw, 1, 0, "f", &sid), NFS4_OK);
	assert_int_equal(open40(&rw, 3, 0, "f", &sid), NFS4_OK);
	spoil_all(&sid);
	assert_int_equal(open40(&ro, 1, 0, "f", &sids[RO]), NFS4_OK);
	for (size_t i = 0; i < sizeof(nums); i++)
		for (enum kind k = 0; k <= BOOT; k++)
			expect(nums[i], kind_names[k], with_kind(0, nums[i], k),
			       status_word(expected[i > 0], k));
}

int main(void)
{
	const struct CMUnitTest tests[] = { TT(test_kinds), TT(test_kinds_40) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
