/* SPDX-License-Identifier: Apache-2.0 */
/* NFSv4.0's LOCK, LOCKT, LOCKU and RELEASE_LOCKOWNER in process, and the numbers of lock owners. */
#include "compound40.h"
#include "nfs/nfs4_v40.h"

static struct own O = { "o", 0 };	/* has P.file open for reading and writing, as OPEN says */
static struct sid OPEN;

static int setup_open(void **state)
{
	setup40(state);
	O.seqid = 0;
	assert_int_equal(open40(&O, 3, 0, "f", &OPEN), NFS4_OK);
	return 0;
}

#define TL(x) cmocka_unit_test_setup_teardown(x, setup_open, teardown)

static void test_lock(void **state)
{
	struct own a = { "a", 0 }, b = { "b", 100 };
	struct sid la, lb;

	assert_int_equal(first_lock40(&O, &OPEN, &a, NFS4_WRITE_LT, 10, 10, &la), NFS4_OK);
	assert_int_equal(la.seqid, 1);
	assert_int_equal(first_lock40(&O, &OPEN, &b, NFS4_READ_LT, 15, 1, &lb), E(DENIED));
	assert_int_equal(xdr_get_u64(&R), 10);
	assert_int_equal(xdr_get_u64(&R), 10);
	assert_int_equal(xdr_get_u32(&R), NFS4_WRITE_LT);
	assert_true(xdr_get_u64(&R) == C);
	assert_memory_equal(xdr_get_opaque(&R, 100).s, "a", 1);
	end_of_reply();
	/* refused, so nothing is known of him: any number will do */
	b.seqid = 7;
	assert_int_equal(first_lock40(&O, &OPEN, &b, NFS4_READ_LT, 30, 1, &lb), NFS4_OK);
	assert_int_equal(lock40(&b, &lb, NFS4_WRITE_LT, 31, 5), NFS4_OK);
	assert_int_equal(lb.seqid, 2);
	assert_int_equal(lock40(&b, &lb, NFS4_WRITE_LT, 12, 1), E(DENIED));
	assert_int_equal(lock40(&b, &lb, NFS4_WRITE_LT, 0, 0), E(INVAL));
	assert_int_equal(b.seqid, 11);
	assert_int_equal(unlock40(&a, &la, 0, UINT64_MAX), NFS4_OK);
	assert_int_equal(test_lock40(C, "b", NFS4_WRITE_LT, 0, UINT64_MAX), NFS4_OK);
	assert_int_equal(test_lock40(C, "x", NFS4_WRITE_LT, 0, UINT64_MAX), E(DENIED));
	assert_int_equal(test_lock40(0, "x", NFS4_WRITE_LT, 0, 1), E(STALE_CLIENTID));
	/* a lock's stateid has the rights of its open; it can't close it */
	assert_int_equal(write40(P.file, &lb), NFS4_OK);
	assert_int_equal(close40(&O, P.file, &lb), E(BAD_STATEID));
	assert_int_equal(close40(&O, P.file, &OPEN), NFS4_OK);
	assert_int_equal(unlock40(&b, &lb, 0, UINT64_MAX), E(BAD_STATEID));
	assert_int_equal(state_now()->sids.n, 1);		/* of the CLOSE, to be answered again */
	assert_int_equal(state_now()->owners.n, 1);
}

/* The answer names the owner in the way, and is kept: that is memory of who asked. */
static void test_counted_answer(void **state)
{
	char name[900];
	struct own a = { name, 0 }, b = { "b", 100 };
	struct sid la, lb;
	size_t before;

	memset(name, 'a', sizeof(name));
	name[sizeof(name) - 1] = 0;
	assert_int_equal(first_lock40(&O, &OPEN, &a, NFS4_WRITE_LT, 10, 10, &la), NFS4_OK);
	before = state_now()->bytes;
	assert_int_equal(first_lock40(&O, &OPEN, &b, NFS4_READ_LT, 15, 1, &lb), E(DENIED));
	assert_in_range(state_now()->bytes, before + 900, before + 1000);
	O.seqid--;
	assert_int_equal(first_lock40(&O, &OPEN, &b, NFS4_READ_LT, 15, 1, &lb), E(DENIED));	/* again */
	assert_int_equal(test_lock40(C, "x", NFS4_WRITE_LT, 0, UINT64_MAX), E(DENIED));
	assert_in_range(state_now()->bytes, before + 900, before + 1000);
	assert_int_equal(first_lock40(&O, &OPEN, &b, NFS4_READ_LT, 30, 1, &lb), NFS4_OK);
	assert_true(state_now()->bytes < before + 900);
	/* with no memory left it isn't kept */
	before = state_now()->bytes_max = state_now()->bytes;
	assert_int_equal(lock40(&b, &lb, NFS4_READ_LT, 15, 1), E(DENIED));
	assert_true(state_now()->bytes == before);
	b.seqid--;
	assert_int_equal(lock40(&b, &lb, NFS4_READ_LT, 15, 1), E(BAD_SEQID));
	state_now()->bytes_max = NFS4_STATE_BYTES;
}

static void test_again(void **state)
{
	struct own a = { "a", 0 }, other = { "b", 0 };
	struct sid first, l, old;

	for (int i = 0; i < 2; i++) {			/* introduces a lock owner once */
		assert_int_equal(first_lock40(&O, &OPEN, &a, NFS4_WRITE_LT, 0, 10, &first),
				 NFS4_OK);
		assert_int_equal(first.seqid, 1);
		O.seqid--;
		a.seqid--;
	}
	O.seqid++;
	a.seqid++;
	l = first;
	assert_int_equal(lock40(&a, &l, NFS4_WRITE_LT, 20, 10), NFS4_OK);
	a.seqid--;
	old = first;
	assert_int_equal(lock40(&a, &old, NFS4_WRITE_LT, 20, 10), NFS4_OK);
	assert_memory_equal(&old, &l, sizeof(l));
	/* not the same: another range, another operation */
	a.seqid--;
	old = first;
	assert_int_equal(lock40(&a, &old, NFS4_WRITE_LT, 20, 11), E(BAD_SEQID));
	assert_int_equal(unlock40(&a, &l, 20, 10), E(BAD_SEQID));
	a.seqid += 5;
	assert_int_equal(unlock40(&a, &l, 20, 10), E(BAD_SEQID));
	a.seqid -= 4;
	old = l;
	assert_int_equal(unlock40(&a, &l, 20, 10), NFS4_OK);
	a.seqid--;
	assert_int_equal(unlock40(&a, &old, 20, 10), NFS4_OK);
	assert_memory_equal(&old, &l, sizeof(l));
	assert_int_equal(lock40(&a, &first, NFS4_WRITE_LT, 0, 1), E(OLD_STATEID));
	/* a refusal is answered again too, though the lock is free by then */
	assert_int_equal(first_lock40(&O, &OPEN, &other, NFS4_READ_LT, 0, 1, &old), E(DENIED));
	assert_int_equal(unlock40(&a, &l, 0, UINT64_MAX), NFS4_OK);
	O.seqid--;
	assert_int_equal(first_lock40(&O, &OPEN, &other, NFS4_READ_LT, 0, 1, &old), E(DENIED));
	assert_int_equal(xdr_get_u64(&R), 0);
	assert_int_equal(xdr_get_u64(&R), 10);
	assert_int_equal(xdr_get_u32(&R), NFS4_WRITE_LT);
	assert_int_equal(first_lock40(&O, &OPEN, &other, NFS4_READ_LT, 0, 1, &old), NFS4_OK);
}

/* The name of who has the lock may be longer than what is kept without memory of its own. */
static void test_long_answer(void **state)
{
	char name[NFS4_OPAQUE_MAX + 1];
	struct own a = { name, 0 }, b = { "b", 0 };
	struct sid la, lb;

	memset(name, 'n', NFS4_OPAQUE_MAX);
	name[NFS4_OPAQUE_MAX] = 0;
	assert_int_equal(first_lock40(&O, &OPEN, &a, NFS4_WRITE_LT, 0, 10, &la), NFS4_OK);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(first_lock40(&O, &OPEN, &b, NFS4_READ_LT, 0, 1, &lb), E(DENIED));
		xdr_get_fixed(&R, 28);
		struct xdr_bytes who = xdr_get_opaque(&R, NFS4_OPAQUE_MAX);
		assert_int_equal(who.len, NFS4_OPAQUE_MAX);
		assert_memory_equal(who.s, name, who.len);
		end_of_reply();
		O.seqid -= i < 2;
	}
}

/* LOCK that introduces an owner: whose client, whose open, and his numbers. */
static void test_first(void **state)
{
	struct own a = { "a", 3 }, p = { "p", 0 };
	uint64_t mine = C, other = client40("other");
	struct sid l, open2, gone;

	C = 0;
	assert_int_equal(first_lock40(&O, &OPEN, &a, NFS4_READ_LT, 0, 1, &l), E(STALE_CLIENTID));
	C = other;
	assert_int_equal(first_lock40(&O, &OPEN, &a, NFS4_READ_LT, 0, 1, &l), E(BAD_STATEID));
	C = mine;
	O.seqid += 4;
	assert_int_equal(first_lock40(&O, &OPEN, &a, NFS4_READ_LT, 0, 1, &l), E(BAD_SEQID));
	O.seqid -= 4;
	gone = OPEN;
	gone.seqid += 9;
	assert_int_equal(first_lock40(&O, &gone, &a, NFS4_READ_LT, 0, 1, &l), E(BAD_STATEID));
	gone = OPEN;
	gone.seqid--;
	assert_int_equal(first_lock40(&O, &gone, &a, NFS4_READ_LT, 0, 1, &l), E(OLD_STATEID));
	assert_int_equal(first_lock40(&O, &OPEN, &a, NFS4_READ_LT, 0, 1, &l), NFS4_OK);
	/* an owner who is known goes on with his numbers, by whatever open */
	assert_int_equal(open40(&p, 3, 0, "f", &open2), NFS4_OK);
	a.seqid = 77;
	assert_int_equal(first_lock40(&p, &open2, &a, NFS4_READ_LT, 5, 1, &l), E(BAD_SEQID));
	a.seqid = 4;
	assert_int_equal(first_lock40(&p, &open2, &a, NFS4_READ_LT, 5, 1, &l), NFS4_OK);
	assert_int_equal(unlock40(&a, &l, 0, 100), NFS4_OK);
	/* a lock's stateid is none of an open, and the other way round */
	assert_int_equal(first_lock40(&O, &l, &a, NFS4_READ_LT, 0, 1, &gone), E(BAD_STATEID));
	assert_int_equal(lock40(&a, &open2, NFS4_READ_LT, 0, 1), E(BAD_STATEID));
	/* an open that isn't confirmed */
	struct own q = { "q", 0 };
	bool confirm;
	on40(P.root);
	put_open40(&q, 3, 0, "f");
	assert_int_equal(run40(), NFS4_OK);
	ok(OP_OPEN);
	open2 = get_open40(&confirm);
	q.seqid++;
	assert_int_equal(first_lock40(&q, &open2, &a, NFS4_READ_LT, 0, 1, &l), E(BAD_STATEID));
}

static void test_release(void **state)
{
	struct own a = { "a", 0 };
	struct sid l, again;

	assert_int_equal(release_lockowner(C, "a"), NFS4_OK);	/* never heard of */
	assert_int_equal(first_lock40(&O, &OPEN, &a, NFS4_READ_LT, 0, 1, &l), NFS4_OK);
	assert_int_equal(release_lockowner(C, "a"), E(LOCKS_HELD));
	assert_int_equal(release_lockowner(C, "b"), NFS4_OK);
	assert_int_equal(release_lockowner(C, "o"), NFS4_OK);	/* an open owner is another one */
	assert_int_equal(unlock40(&a, &l, 0, 1), NFS4_OK);
	assert_int_equal(release_lockowner(C, "a"), NFS4_OK);
	assert_int_equal(unlock40(&a, &l, 0, 1), E(BAD_STATEID));
	assert_int_equal(state_now()->owners.n, 1);
	assert_int_equal(read40(P.file, &OPEN), NFS4_OK);
	a.seqid = 50;
	assert_int_equal(first_lock40(&O, &OPEN, &a, NFS4_READ_LT, 0, 1, &again), NFS4_OK);
}

/* Locks of 4.0 and of sessions exclude each other. */
static void test_with_sessions(void **state)
{
	struct own a = { "a", 0 };
	struct sid l, open41;

	assert_int_equal(first_lock40(&O, &OPEN, &a, NFS4_WRITE_LT, 0, 10, &l), NFS4_OK);
	S = new_client("session");
	assert_int_equal(open_file(&S, 3, 0, "o", "f", &open41), NFS4_OK);
	on(P.file);
	op(OP_LOCK);
	msg_u32(&M, NFS4_READ_LT);
	msg_u32(&M, 0);
	put_range(5, 1);
	msg_u32(&M, 1);
	msg_u32(&M, 0);
	put_sid(&open41);
	msg_u32(&M, 0);
	put_owner("a");
	assert_int_equal(run_on(), E(DENIED));
	state_now()->skew_ns += state_now()->lease_ns + 1000000000;
	begin(1);
	seq(&S);
	assert_int_equal(run(), NFS4_OK);
	for (int i = 0; i < 2; i++) {		/* he is in the way, and then not any more */
		on(P.file);
		op(OP_LOCKT);
		msg_u32(&M, NFS4_WRITE_LT);
		put_range(5, 1);
		put_owner("a");
		assert_int_equal(run_on(), i ? NFS4_OK : E(DELAY));
	}
	assert_int_equal(unlock40(&a, &l, 0, 1), E(EXPIRED));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TL(test_lock), TL(test_counted_answer), TL(test_again), TL(test_long_answer), TL(test_first),
		TL(test_release), TL(test_with_sessions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
