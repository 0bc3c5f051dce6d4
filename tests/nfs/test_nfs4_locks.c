/* SPDX-License-Identifier: Apache-2.0 */
/* NFSv4's locks in process: who waits for one and is told, many of them, and their memory. */
#include <malloc.h>
#include "lockers.h"

/* ---- waiters ------------------------------------------------------------------------- */

static char told[200];			/* owners, in order */

static void note(struct nfs4_state *st, struct nfs4_client *c, const struct fs_id *id,
		 struct xdr_bytes owner)
{
	size_t n = strlen(told);

	assert_false(c->dead);
	snprintf(told + n, sizeof(told) - n, "%.*s ", (int)owner.len, owner.s);
}

static bool was_told(const char *want)
{
	bool same = !strcmp(told, want);

	if (!same)
		print_message("told: %s\n", told);
	told[0] = 0;
	return same;
}

static struct sess other;
static struct locker a, b, c;

/* A of the one client has bytes 0 to 99; B and C are the other's. */
static int setup_waiters(void **state)
{
	setup4(state);
	other = new_client("other");
	told[0] = 0;
	a = (struct locker){ .name = "a" };
	b = (struct locker){ .name = "b" };
	c = (struct locker){ .name = "c" };
	assert_int_equal(open_file(&S, 3, 0, "a", "f", &a.open), NFS4_OK);
	assert_int_equal(open_file(&other, 3, 0, "b", "f", &b.open), NFS4_OK);
	assert_int_equal(open_file(&other, 3, 0, "c", "f", &c.open), NFS4_OK);
	assert_int_equal(lock(&S, &a, NFS4_WRITE_LT, 0, 100), NFS4_OK);
	state_now()->notify_lock = note;
	return 0;
}

static unsigned waiting(void)
{
	const struct nfs4_client *cl = nfs4_client_find(state_now(), other.clientid);

	return cl ? cl->nwaiters : 0;
}

static void test_told(void **state)
{
	assert_int_equal(lock(&other, &c, NFS4_READW_LT, 50, 100), E(DENIED));
	assert_int_equal(lock(&other, &b, NFS4_WRITEW_LT, 60, 10), E(DENIED));
	assert_int_equal(lock(&other, &b, NFS4_WRITE_LT, 0, 10), E(DENIED));	/* won't wait */
	assert_int_equal(lock(&other, &c, NFS4_READW_LT, 50, 100), E(DENIED));	/* keeps its place */
	assert_int_equal(waiting(), 2);
	assert_int_equal(unlock(&S, &a, 0, 50), NFS4_OK);
	assert_true(was_told(""));
	assert_int_equal(unlock(&S, &a, 60, 20), NFS4_OK);
	assert_true(was_told("b "));
	assert_int_equal(lock(&S, &a, NFS4_READ_LT, 0, 100), NFS4_OK);		/* a downgrade */
	assert_true(was_told("c "));
	assert_int_equal(waiting(), 0);
	assert_int_equal(unlock(&S, &a, 0, 100), NFS4_OK);
	assert_true(was_told(""));
}

/* Every way of letting go. */
static void test_told_at_the_end(void **state)
{
	struct sid sid;

	assert_int_equal(lock(&other, &b, NFS4_WRITEW_LT, 60, 10), E(DENIED));
	on(P.file);
	op(OP_CLOSE);
	msg_u32(&M, 0);
	put_sid(&a.open);
	assert_int_equal(run_on(), NFS4_OK);
	assert_true(was_told("b "));
	assert_int_equal(open_file(&S, 3, 0, "a", "f", &a.open), NFS4_OK);
	a.has = false;
	assert_int_equal(lock(&S, &a, NFS4_WRITE_LT, 0, 100), NFS4_OK);
	assert_int_equal(lock(&other, &b, NFS4_WRITEW_LT, 60, 10), E(DENIED));
	nfs4_client_drop(state_now(), nfs4_client_find(state_now(), S.clientid));
	assert_true(was_told("b "));
	assert_int_equal(open_file(&other, 3, 0, "b", "f", &sid), NFS4_OK);
}

/* Who gets his lock, unlocks, closes or goes away waits no longer. */
static void test_waits_no_longer(void **state)
{
	struct nfs4_client *cl;

	assert_int_equal(lock(&other, &b, NFS4_WRITEW_LT, 60, 10), E(DENIED));
	assert_int_equal(lock(&other, &b, NFS4_WRITEW_LT, 80, 10), E(DENIED));
	assert_int_equal(lock(&other, &b, NFS4_WRITE_LT, 200, 10), NFS4_OK);
	assert_int_equal(waiting(), 2);
	assert_int_equal(unlock(&other, &b, 80, 10), NFS4_OK);
	assert_int_equal(waiting(), 1);
	state_now()->notify_lock = NULL;
	assert_int_equal(lock(&other, &b, NFS4_WRITEW_LT, 0, 10), E(DENIED));
	assert_int_equal(waiting(), 1);
	state_now()->notify_lock = note;
	begin(2);
	seq(&other);
	putfh(P.file);
	op(OP_CLOSE);
	msg_u32(&M, 0);
	put_sid(&c.open);
	assert_int_equal(run(), NFS4_OK);
	assert_int_equal(waiting(), 0);
	assert_int_equal(lock(&other, &b, NFS4_WRITEW_LT, 60, 10), E(DENIED));
	cl = nfs4_client_find(state_now(), other.clientid);
	nfs4_client_drop(state_now(), cl);
	assert_int_equal(unlock(&S, &a, 0, 100), NFS4_OK);
	assert_true(was_told(""));
}

static void test_waiters_are_bounded(void **state)
{
	for (unsigned i = 0; i < NFS4_WAITERS_MAX + 10; i++)
		assert_int_equal(lock(&other, &b, NFS4_WRITEW_LT, 10, 1000 + i), E(DENIED));
	assert_int_equal(waiting(), NFS4_WAITERS_MAX);
	/* he doesn't ask again for as long as a lease */
	state_now()->skew_ns += state_now()->lease_ns + 1000000000;
	assert_int_equal(test_lock(&S, "a", NFS4_WRITE_LT, 0, 1), NFS4_OK);	/* renews */
	assert_int_equal(lock(&other, &c, NFS4_WRITEW_LT, 10, 5), E(DENIED));
	assert_int_equal(waiting(), 1);
	assert_int_equal(unlock(&S, &a, 0, 100), NFS4_OK);
	assert_true(was_told("c "));
}

static void test_waited_too_long(void **state)
{
	assert_int_equal(lock(&other, &b, NFS4_WRITEW_LT, 10, 5), E(DENIED));
	state_now()->skew_ns += state_now()->lease_ns + 1000000000;
	assert_int_equal(unlock(&S, &a, 0, 100), NFS4_OK);
	assert_true(was_told(""));
	assert_int_equal(waiting(), 0);
}

/* ---- one lock state for an owner on a file ------------------------------------------- */

static void test_owner_of_two_opens(void **state)
{
	struct locker again = { .name = "b", .open = c.open };

	assert_int_equal(lock(&other, &b, NFS4_WRITE_LT, 200, 10), NFS4_OK);
	assert_int_equal(lock(&other, &again, NFS4_WRITE_LT, 205, 10), NFS4_OK);
	assert_memory_equal(b.lock.other, again.lock.other, sizeof(b.lock.other));
	assert_int_equal(unlock(&other, &again, 200, 15), NFS4_OK);
	assert_int_equal(test_lock(&S, "a", NFS4_WRITE_LT, 200, 15), NFS4_OK);
}

/* ---- many ---------------------------------------------------------------------------- */

static uint32_t open_and_lock(const uint8_t fh[HANDLE_BYTES], unsigned i)
{
	char owner[40];

	snprintf(owner, sizeof(owner), "an owner of locks, number %u", i);
	begin(2);
	seq(&S);
	putfh(fh);
	op(OP_OPEN);
	msg_u32(&M, 0);
	msg_u32(&M, 3);
	msg_u32(&M, 0);
	put_owner("the owner of all opens");
	msg_u32(&M, 0);
	msg_u32(&M, NFS4_CLAIM_FH);
	op(OP_LOCK);
	msg_u32(&M, NFS4_WRITE_LT);
	msg_u32(&M, 0);
	put_range(0, UINT64_MAX);
	msg_u32(&M, 1);
	msg_u32(&M, 0);
	put_sid(&current);
	msg_u32(&M, 0);
	put_owner(owner);
	return run();
}

static void test_memory_of_many(void **state)
{
	enum { FILES = 10000 };
	uint8_t (*fh)[HANDLE_BYTES] = malloc(FILES * HANDLE_BYTES);
	struct mallinfo2 before, after;
	char name[20];
	size_t used;

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file%u", i);
		assert_int_equal(create(name, 0, 0), 0);
		made(fh[i]);
	}
	before = mallinfo2();
	for (unsigned i = 0; i < FILES; i++)
		assert_int_equal(open_and_lock(fh[i], i), NFS4_OK);
	after = mallinfo2();
	assert_int_equal(state_now()->sids.n, 2 * FILES);
	free(fh);
	if (!before.uordblks)
		skip();				/* a sanitizer's memory isn't counted */
	used = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
	assert_in_range(used, FILES * 100, 16 << 20);
	print_message("%zu bytes an open file with a lock\n", used / FILES);
}

#define TW(x) cmocka_unit_test_setup_teardown(x, setup_waiters, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TW(test_told), TW(test_told_at_the_end), TW(test_waits_no_longer),
		TW(test_waiters_are_bounded), TW(test_waited_too_long),
		TW(test_owner_of_two_opens), T4(test_memory_of_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
