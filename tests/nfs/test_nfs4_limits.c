/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients can make the server remember: each limit is reached, who reached it is told to come
 * later while others go on, and all of it is given back.  On the real file system, which has room
 * for ten thousand files.
 */
#include <malloc.h>
#include "compound40.h"

enum { FILES = 10000 };

static uint64_t lock_base;		/* each client's own */

static size_t heap(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

static void file_name(unsigned i, char ret_name[16])
{
	snprintf(ret_name, 16, "n%05u", i);
}

static void make_files(unsigned n)
{
	char name[16];

	for (unsigned i = 0; i < n; i++) {
		file_name(i, name);
		assert_int_equal(create(name, 1, 0), NFS3_OK);
	}
}

/* OPEN of NAME, by an owner of LEN bytes that are N and others; with LOCKED, a lock, too. */
static void put_opened(const char *name, unsigned n, uint32_t len, bool locked)
{
	char owner[NFS4_OPAQUE_MAX] = { 0 };

	snprintf(owner, sizeof(owner), "owner %u of many", n);
	op(OP_OPEN);
	msg_u32(&M, 0);
	msg_u32(&M, 3);
	msg_u32(&M, 0);
	msg_u64(&M, 0);
	msg_opaque(&M, owner, len);
	msg_u32(&M, 0);
	msg_u32(&M, 0);
	msg_string(&M, name);
	if (!locked)
		return;
	op(OP_LOCK);
	msg_u32(&M, NFS4_WRITE_LT);
	msg_u32(&M, 0);
	put_range(lock_base + n, 1);
	msg_u32(&M, 1);
	msg_u32(&M, 0);
	put_sid(&current);
	msg_u32(&M, 0);
	msg_u64(&M, 0);
	msg_opaque(&M, owner, len);
}

static uint32_t open_as(struct sess *s, const char *name, unsigned n, uint32_t len, bool locked)
{
	begin(2);
	seq(s);
	putfh(P.root);
	put_opened(name, n, len, locked);
	return run();
}

/* By now nobody has heard of them for longer than a lease. */
static void later(void)
{
	state_now()->skew_ns += state_now()->lease_ns + 1000000000ull;
}

static void drop_all(struct sess *s)
{
	static uint64_t verifier = 1;
	struct sess again = { 0 };
	uint32_t flags;
	struct chan got;

	/* the same client after it was started anew */
	assert_int_equal(exchange("client", ++verifier, 0, &again, &flags), NFS4_OK);
	assert_int_equal(create_session(&again, (struct chan){ 1 << 20, 4096, 16, 8 }, &got), NFS4_OK);
	assert_int_equal(reclaim_complete(&again), NFS4_OK);
	*s = again;
}

static void nothing_left(void)
{
	assert_int_equal(state_now()->sids.n, 0);
	assert_int_equal(state_now()->owners.n, 0);
	assert_int_equal(state_now()->files.n, 0);
	assert_int_equal(state_now()->bytes, 0);
	assert_int_equal(state_now()->ranges.used, 0);
}

/* ---- ten thousand open files --------------------------------------------------------- */

static void test_ten_thousand(void **state)
{
	size_t before, most, after[2];
	char name[16];

	make_files(FILES);
	for (int round = 0; round < 2; round++) {
		before = heap();
		for (unsigned i = 0; i < FILES; i++) {
			file_name(i, name);
			assert_int_equal(open_as(&S, name, i, 24, true), NFS4_OK);
		}
		most = heap();
		assert_int_equal(state_now()->sids.n, 2 * FILES);
		if (!round) {
			print_message("%u open files with a lock each: %zu KiB\n", FILES,
				      (most - before) >> 10);
			assert_true(most - before < 16u << 20);
			/* what is counted is most of it */
			assert_true(state_now()->bytes > (most - before) / 2);
		}
		drop_all(&S);
		nothing_left();
		after[round] = heap();
	}
	/* The tables stay as large as they were once; nothing else does.  (Under a sanitizer nothing is
	 * counted.) */
	if (before)
		assert_in_range(after[1], after[0] - 65536, after[0] + 65536);
}

/* ---- one client ---------------------------------------------------------------------- */

/* Who may open nothing more makes nothing either: when he asks again, he wants it to be new. */
static void expect_not_made(struct sess *s, const char *name)
{
	struct sess mine = S;
	struct sid sid;

	S = *s;
	assert_int_equal(create4(NFS4_CREATE_GUARDED, 0, name, -1, &sid), E(DELAY));
	on(P.root);
	op(OP_LOOKUP);
	msg_string(&M, name);
	assert_int_equal(run_on(), E(NOENT));
	*s = S;
	if (s != &S)
		S = mine;
}

static void test_opens(void **state)
{
	struct sess other = new_client("other");
	uint32_t status = NFS4_OK;
	unsigned n = 0;
	size_t before;

	while (!status && n < NFS4_OPENS_MAX + 10)
		status = open_as(&S, "f", n++, 20, false);
	assert_int_equal(status, E(DELAY));
	assert_int_equal(n, NFS4_OPENS_MAX + 1);
	before = heap();
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(open_as(&S, "f", n + i, 20, false), E(DELAY));
	assert_true(heap() <= before + 65536);
	expect_not_made(&S, "new");
	/* what is open already, and other clients */
	assert_int_equal(open_as(&S, "f", 5, 20, false), NFS4_OK);
	assert_int_equal(open_as(&other, "f", 5, 20, true), NFS4_OK);
	drop_all(&S);
	assert_int_equal(state_now()->sids.n, 2);
	assert_int_equal(open_as(&S, "f", 0, 20, false), NFS4_OK);
}

static uint32_t lock_as(struct sess *s, const struct sid *open, unsigned n)
{
	char owner[24];

	snprintf(owner, sizeof(owner), "locker %u", n);
	begin(2);
	seq(s);
	putfh(P.file);
	op(OP_LOCK);
	msg_u32(&M, NFS4_WRITE_LT);
	msg_u32(&M, 0);
	put_range(2ull * n, 1);
	msg_u32(&M, 1);
	msg_u32(&M, 0);
	put_sid(open);
	msg_u32(&M, 0);
	put_owner(owner);
	return run();
}

static void test_lock_states(void **state)
{
	struct sess other = new_client("other");
	struct sid open, theirs;
	uint32_t status = NFS4_OK;
	unsigned n = 0;

	assert_int_equal(open_file(&S, 3, 0, "o", "f", &open), NFS4_OK);
	assert_int_equal(open_file(&other, 3, 0, "o", "f", &theirs), NFS4_OK);
	while (!status && n < NFS4_LOCKS_MAX + 10)
		status = lock_as(&S, &open, n++);
	assert_int_equal(status, E(DELAY));
	assert_int_equal(n, NFS4_LOCKS_MAX + 1);
	assert_int_equal(lock_as(&other, &theirs, n), NFS4_OK);
	on(P.file);
	op(OP_CLOSE);
	msg_u32(&M, 0);
	put_sid(&open);
	assert_int_equal(run_on(), NFS4_OK);
	assert_int_equal(state_now()->ranges.used, 1);
	assert_int_equal(state_now()->sids.n, 2);
}

/* Ranges of one lock state: every other byte. */
static void test_ranges(void **state)
{
	struct sid open, lock;
	uint32_t status = NFS4_OK;
	unsigned n = 1;

	assert_int_equal(open_file(&S, 3, 0, "o", "f", &open), NFS4_OK);
	assert_int_equal(lock_as(&S, &open, 0), NFS4_OK);
	ok_seq();
	ok(OP_PUTFH);
	ok(OP_LOCK);
	lock = get_sid();
	for (; !status && n < NFS4_LOCKS_MAX + 10; n++) {
		lock.seqid = 0;
		on(P.file);
		op(OP_LOCK);
		msg_u32(&M, NFS4_READ_LT);
		msg_u32(&M, 0);
		put_range(2ull * n, 1);
		msg_u32(&M, 0);
		put_sid(&lock);
		msg_u32(&M, 0);
		status = run_on();
	}
	assert_int_equal(status, E(DELAY));
	assert_in_range(n, NFS4_LOCKS_MAX - 2, NFS4_LOCKS_MAX + 1);
	/* to split one needs another */
	on(P.file);
	op(OP_LOCKU);
	msg_u32(&M, NFS4_READ_LT);
	msg_u32(&M, 0);
	put_sid(&lock);
	put_range(0, UINT64_MAX);
	assert_int_equal(run_on(), NFS4_OK);
	assert_int_equal(state_now()->ranges.used, 0);
}

static uint32_t lock_byte(struct sess *s, const struct sid *lock, bool unlock, uint64_t at)
{
	struct sid sid = *lock;

	sid.seqid = 0;
	begin(2);
	seq(s);
	putfh(P.file);
	op(unlock ? OP_LOCKU : OP_LOCK);
	msg_u32(&M, NFS4_READ_LT);
	msg_u32(&M, 0);
	if (!unlock) {
		put_range(at, 1);
		msg_u32(&M, 0);
		put_sid(&sid);
		msg_u32(&M, 0);
	} else {
		put_sid(&sid);
		put_range(at, 1);
	}
	return run();
}

/* Who has one may have them all, and the others get what it gives back. */
static void test_ranges_of_all(void **state)
{
	struct sess other = new_client("other");
	struct sid open, lock, theirs;

	assert_int_equal(open_file(&S, 3, 0, "o", "f", &open), NFS4_OK);
	assert_int_equal(lock_as(&S, &open, 100), NFS4_OK);
	ok_seq();
	ok(OP_PUTFH);
	ok(OP_LOCK);
	lock = get_sid();
	assert_int_equal(open_file(&other, 3, 0, "o", "f", &theirs), NFS4_OK);
	state_now()->ranges.max = 50;
	for (unsigned i = 0; i < 49; i++)
		assert_int_equal(lock_byte(&S, &lock, false, 2 * i), NFS4_OK);
	assert_int_equal(lock_byte(&S, &lock, false, 98), E(DELAY));
	assert_int_equal(lock_as(&other, &theirs, 50), E(DELAY));
	assert_int_equal(state_now()->ranges.used, 50);
	assert_int_equal(lock_byte(&S, &lock, true, 6), NFS4_OK);
	assert_int_equal(lock_as(&other, &theirs, 50), NFS4_OK);
	assert_int_equal(lock_byte(&S, &lock, false, 6), E(DELAY));
	drop_all(&S);
	assert_int_equal(state_now()->ranges.used, 1);
}

/* ---- clients and their sessions ------------------------------------------------------ */

static uint32_t come(unsigned round, unsigned n, struct sess *ret_sess)
{
	struct chan got;
	char name[24];
	uint32_t flags, status;

	snprintf(name, sizeof(name), "client %u of %u", n, round);
	status = exchange(name, 1, 0, ret_sess, &flags);
	return status ? status : create_session(ret_sess, (struct chan){ 4096, 512, 8, 1 }, &got);
}

/* As many as there may be; when nobody has heard of them others come in their place. */
static void test_clients(void **state)
{
	struct sess s = { 0 };
	size_t before = heap(), full = 0;
	unsigned n = 1;

	while (!come(0, n, &s) && n < NFS4_CLIENTS_MAX + 10)
		n++;
	assert_int_equal(n, NFS4_CLIENTS_MAX);
	assert_int_equal(come(0, n, &s), E(DELAY));
	full = heap();
	print_message("%u clients with a session each: %zu KiB\n", n, (full - before) >> 10);
	assert_true(full - before < NFS4_CLIENTS_MAX * 4096ull);
	assert_int_equal(open_as(&S, "f", 1, 20, true), NFS4_OK);
	later();
	for (unsigned i = 1; i < NFS4_CLIENTS_MAX; i++)
		assert_int_equal(come(1, i, &s), NFS4_OK);
	assert_in_range(state_now()->clients.n, 2, NFS4_CLIENTS_MAX);
	assert_true(heap() < full + 65536);
}

/* What is kept for retries takes no more than was set aside for it when the sessions came. */
static void test_replies(void **state)
{
	size_t before = heap(), aside = state_now()->cached_bytes;
	struct chan got;
	struct sess s = S;

	for (unsigned i = 1; i < NFS4_SESSIONS_MAX; i++) {
		s.create_seq++;
		assert_int_equal(create_session(&s, (struct chan){ 1 << 20, 8192, 64, 64 }, &got),
				 NFS4_OK);
		s.cache = true;
		for (s.slot = 0; s.slot < got.slots; s.slot++) {
			begin(2);
			put_seq(&s, 1);
			putfh(P.root);
			for (int k = 0; k < 60; k++) {
				op(OP_GETATTR);
				msg_u32(&M, 2);
				msg_u32(&M, 0x1a);		/* type, change, size */
				msg_u32(&M, 0x0030003a);	/* mode, owners, times, ... */
			}
			assert_int_equal(run(), NFS4_OK);
			assert_true(reply_len > 5000);
		}
	}
	aside = state_now()->cached_bytes - aside;
	print_message("%u slots with %zu KiB set aside: %zu KiB\n",
		      (NFS4_SESSIONS_MAX - 1) * NFS4_SLOTS_MAX, aside >> 10, (heap() - before) >> 10);
	if (before)				/* else a sanitizer hides it */
		assert_true(heap() - before > aside / 2);
	assert_true(heap() - before < aside);
	drop_all(&S);
	assert_true(heap() < before + 65536);
}

/* ---- all of them --------------------------------------------------------------------- */

/* Opens with long owners until there is no more room, also not a while later; how many. */
static unsigned fill(struct sess *s)
{
	unsigned n = 0, delays = 0;

	lock_base += 1000000;
	while (n < 100000 && delays < 2) {
		uint32_t status = open_as(s, "f", n, NFS4_OPAQUE_MAX, true);

		if (!status) {
			n++;
			delays = 0;
			continue;
		}
		assert_int_equal(status, E(DELAY));
		delays++;
		proto_sleep(1000000000);		/* who makes way does it meanwhile */
	}
	assert_true(n < 100000);
	return n;
}

static void test_bytes(void **state)
{
	struct sess two = new_client("two"), three = new_client("three");
	const size_t max = 1u << 20;
	unsigned n;

	state_now()->bytes_max = max;
	n = fill(&S);
	assert_in_range(n, 100, 300);			/* a kilobyte and more each, twice */
	assert_in_range(state_now()->bytes, max / 2 - 8192, max / 2);
	fill(&two);					/* the half is there for others */
	assert_in_range(state_now()->bytes, max - 16384, max);
	fill(&three);					/* some more of what the others left */
	assert_true(state_now()->bytes <= max);
	/* who isn't heard of makes way for those who are */
	later();
	begin(2);
	seq(&three);
	assert_int_equal(run(), NFS4_OK);
	assert_true(fill(&three) > n / 2);
	assert_true(state_now()->bytes <= max);
	begin(2);
	seq(&S);
	assert_int_equal(run(), E(BADSESSION));
}

/* Two clients that have all don't keep a third from a little. */
static void test_little(void **state)
{
	struct sess two = new_client("two"), three = new_client("three");
	const size_t max = 4u << 20;
	unsigned n = 0;

	state_now()->bytes_max = max;
	fill(&S);
	fill(&two);
	assert_in_range(state_now()->bytes, max - 16384, max);
	while (n < 1000 && !open_as(&three, "f", n, 20, false))
		n++;
	assert_in_range(n, 2, 30);
	assert_in_range(state_now()->bytes, max - 16384, max + NFS4_STATE_LITTLE(max));
	assert_int_equal(open_as(&two, "f", 1000000, 20, false), E(DELAY));
	expect_not_made(&two, "new");
}

/* Owners of 4.0, who are kept for a while after CLOSE, are counted, too. */
static void test_bytes_40(void **state)
{
	struct sid sid;
	uint32_t status = NFS4_OK;
	unsigned n = 0;

	C = client40("old");
	state_now()->bytes_max = 256u << 10;
	while (!status && n < 10000) {
		char name[800];
		struct own o = { name, 1 };

		memset(name, 'o', sizeof(name));
		snprintf(name, sizeof(name), "%u", n++);
		name[strlen(name)] = 'o';
		name[sizeof(name) - 1] = 0;
		status = open40(&o, 1, 0, "f", &sid);
	}
	assert_int_equal(status, E(RESOURCE));
	assert_in_range(n, 50, 300);
	assert_true(state_now()->bytes <= 128u << 10);
}

/* Those who aren't heard of make way for a new owner of 4.0, too. */
static void test_room_40(void **state)
{
	struct sess two = new_client("two");
	struct own o = { "owner", 1 };
	uint32_t status = E(DELAY);
	struct sid sid;

	state_now()->bytes_max = 256u << 10;
	fill(&S);
	fill(&two);
	state_now()->bytes_max = state_now()->bytes;
	later();
	C = client40("new");
	for (int i = 0; i < 5 && status == E(DELAY); i++) {
		status = open40(&o, 1, 0, "f", &sid);
		proto_sleep(1000000000);
	}
	assert_int_equal(status, NFS4_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T4(test_ten_thousand), T4(test_opens), T4(test_lock_states), T4(test_ranges),
		T4(test_ranges_of_all), T4(test_clients), T4(test_replies),
		T4(test_bytes), T4(test_little), T4(test_bytes_40), T4(test_room_40),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
