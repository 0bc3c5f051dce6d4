/* SPDX-License-Identifier: Apache-2.0 */
/* Delegations: who gets one, what conflicts with it, recalls, revocation. */
#include "delegs.h"
#include "base/fiber.h"
#include "lockers.h"
#include "nfs/status.h"

static uint32_t read_with(struct sess *s, const struct sid *sid)
{
	return sid_op(s, OP_READ, P.file, sid);
}

static uint32_t write_with(struct sess *s, const struct sid *sid)
{
	return sid_op(s, OP_WRITE, P.file, sid);
}

/* ---- having one ---------------------------------------------------------------------- */

static void test_read(void **state)
{
	struct sid open, d = get_deleg(1, NFS4_DELEG_READ, &open);

	assert_int_equal(read_with(&HOLDER, &d), NFS4_OK);
	assert_int_equal(write_with(&HOLDER, &d), E(OPENMODE));
	assert_int_equal(sid_op(&HOLDER, OP_CLOSE, P.file, &open), NFS4_OK);
	assert_int_equal(read_with(&HOLDER, &d), NFS4_OK);
	assert_int_equal(test_one(&HOLDER, &d), NFS4_OK);
	assert_int_equal(free_one(&HOLDER, &d), E(LOCKS_HELD));
	assert_int_equal(sid_op(&HOLDER, OP_CLOSE, P.file, &d), E(BAD_STATEID));
	/* nobody else's */
	assert_int_equal(read_with(&OTHER, &d), E(BAD_STATEID));
	assert_int_equal(delegreturn(&OTHER, &d), E(BAD_STATEID));
	assert_int_equal(sid_op(&HOLDER, OP_DELEGRETURN, P.dir, &d), E(BAD_STATEID));
	/* readers don't conflict */
	struct offer o;

	assert_int_equal(open_for(&OTHER, 1, 0, "f", &open, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_READ);
	assert_int_equal(read_with(&OTHER, &open), NFS4_OK);
	assert_int_equal(A.calls, 0);
	assert_int_equal(delegreturn(&HOLDER, &d), NFS4_OK);
	assert_int_equal(delegreturn(&HOLDER, &d), E(BAD_STATEID));
	assert_int_equal(read_with(&HOLDER, &d), E(BAD_STATEID));
	assert_int_equal(delegreturn(&OTHER, &open), E(BAD_STATEID));
	assert_int_equal(delegreturn(&OTHER, &o.id), NFS4_OK);
	assert_int_equal(state_now()->ndelegs, 0);
	/* returned, not recalled: it can be had again */
	get_deleg(1, NFS4_DELEG_READ, &open);
}

static void test_write(void **state)
{
	struct sid open, other, d = get_deleg(3, NFS4_DELEG_WRITE, &open);
	struct offer o;

	assert_int_equal(read_with(&HOLDER, &d), NFS4_OK);
	assert_int_equal(write_with(&HOLDER, &d), NFS4_OK);
	assert_int_equal(sid_op(&HOLDER, OP_CLOSE, P.file, &open), NFS4_OK);
	assert_int_equal(write_with(&HOLDER, &d), NFS4_OK);
	for (int i = 0; i < 3; i++)
		assert_int_equal(open_for(&OTHER, 1, 0, "f", &other, &o), E(DELAY));
	expect_recall(&A, 1, &d, P.file);
	assert_int_equal(write_with(&HOLDER, &d), NFS4_OK);	/* it is still his */
	assert_int_equal(delegreturn(&HOLDER, &d), NFS4_OK);
	assert_int_equal(open_for(&OTHER, 1, 0, "f", &other, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_NONE);
	/* there was a recall lately */
	assert_int_equal(open_for(&OTHER, 1 | WANT_READ, 0, "f", &other, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_NONE_EXT);
	assert_int_equal(o.why, NFS4_NO_DELEG_CONTENTION);
	state_now()->skew_ns += (NFS4_QUIET_S - 1) * SEC;
	assert_int_equal(open_for(&OTHER, 1, 0, "f", &other, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_NONE);
	state_now()->skew_ns += 2 * SEC;
	assert_int_equal(open_for(&OTHER, 1, 0, "f", &other, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_READ);
}

/* ---- getting one --------------------------------------------------------------------- */

static uint32_t why(struct sess *s, uint32_t access)
{
	struct sid open;
	struct offer o;

	assert_int_equal(open_for(s, access, 0, "f", &open, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_NONE_EXT);
	return o.why;
}

static void test_wants(void **state)
{
	struct sess mute = new_client("mute");
	struct sid open, d;
	struct offer o;

	assert_int_equal(why(&HOLDER, 1 | WANT_NO), NFS4_NO_DELEG_NOT_WANTED);
	assert_int_equal(why(&HOLDER, 1 | WANT_CANCEL), NFS4_NO_DELEG_CANCELLED);
	for (uint32_t want = 0x600; want < 0x10000; want += 0x100)
		assert_int_equal(open_for(&HOLDER, 1 | want, 0, "f", &open, &o), E(INVAL));
	/* nobody could recall it */
	assert_int_equal(why(&mute, 1 | WANT_READ), NFS4_NO_DELEG_RESOURCE);
	assert_int_equal(open_for(&mute, 1, 0, "f", &open, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_NONE);
	sid_op(&mute, OP_CLOSE, P.file, &open);
	/* those who have one */
	assert_int_equal(open_for(&HOLDER, 1 | WANT_ANY, 0, "f", &open, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_READ);
	d = o.id;
	assert_int_equal(why(&HOLDER, 1 | WANT_READ), NFS4_NO_DELEG_RESOURCE);
	assert_int_equal(why(&HOLDER, 3 | WANT_WRITE), NFS4_NO_DELEG_UPGRADE);
	assert_int_equal(delegreturn(&HOLDER, &d), NFS4_OK);
	assert_int_equal(open_for(&HOLDER, 2 | WANT_WRITE, 0, "f", &open, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_WRITE);
	assert_int_equal(why(&HOLDER, 1 | WANT_READ), NFS4_NO_DELEG_DOWNGRADE);
	/* the others' hints change nothing */
	assert_int_equal(why(&HOLDER, 1 | WANT_READ | 0x30000), NFS4_NO_DELEG_DOWNGRADE);
}

static void test_contention(void **state)
{
	struct sid open, mine;
	struct offer o;

	/* who writes excludes others' delegations; who reads, those for writing */
	assert_int_equal(open_for(&OTHER, 2 | WANT_NO, 0, "f", &open, &o), NFS4_OK);
	assert_int_equal(why(&HOLDER, 1 | WANT_READ), NFS4_NO_DELEG_CONTENTION);
	assert_int_equal(why(&HOLDER, 3 | WANT_WRITE), NFS4_NO_DELEG_CONTENTION);
	assert_int_equal(sid_op(&OTHER, OP_CLOSE, P.file, &open), NFS4_OK);
	assert_int_equal(open_for(&OTHER, 1 | WANT_NO, 0, "f", &open, &o), NFS4_OK);
	assert_int_equal(why(&HOLDER, 3 | WANT_WRITE), NFS4_NO_DELEG_CONTENTION);
	assert_int_equal(open_for(&HOLDER, 1 | WANT_READ, 0, "f", &mine, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_READ);	/* though it writes itself */
	assert_int_equal(delegreturn(&HOLDER, &o.id), NFS4_OK);
	assert_int_equal(sid_op(&OTHER, OP_CLOSE, P.file, &open), NFS4_OK);
	/* a delegation without an open */
	assert_int_equal(sid_op(&HOLDER, OP_CLOSE, P.file, &mine), NFS4_OK);
	assert_int_equal(open_for(&OTHER, 1, 0, "f", &open, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_READ);
	assert_int_equal(sid_op(&OTHER, OP_CLOSE, P.file, &open), NFS4_OK);
	assert_int_equal(open_for(&HOLDER, 3, 0, "f", &open, &o), E(DELAY));
	expect_recall(&B, 1, &o.id, P.file);
	assert_int_equal(A.calls, 0);
}

/* So that no OPEN takes long: whether it is contended is looked for among so many opens only. */
static void test_many_opens(void **state)
{
	struct sid first, more;
	struct offer o;

	for (unsigned i = 0; i < NFS4_DELEG_LOOKS; i++) {
		char owner[16];

		snprintf(owner, sizeof(owner), "user %u", i);
		assert_int_equal(open_file(&HOLDER, 3 | WANT_NO, 0, owner, "f", i ? &more : &first),
				 NFS4_OK);
	}
	/* this is one more */
	assert_int_equal(why(&HOLDER, 3 | WANT_WRITE), NFS4_NO_DELEG_CONTENTION);
	assert_int_equal(sid_op(&HOLDER, OP_CLOSE, P.file, &first), NFS4_OK);
	assert_int_equal(open_for(&HOLDER, 3 | WANT_WRITE, 0, "f", &more, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_WRITE);
}

/* A client that has a delegation may lock without asking: so nobody has a lock. */
static void test_locked(void **state)
{
	struct locker l = { .name = "locker" };
	struct offer o;

	assert_int_equal(open_for(&HOLDER, 3 | WANT_NO, 0, "f", &l.open, &o), NFS4_OK);
	assert_int_equal(lock(&HOLDER, &l, NFS4_READ_LT, 5, 1), NFS4_OK);
	assert_int_equal(why(&HOLDER, 3 | WANT_WRITE), NFS4_NO_DELEG_CONTENTION);
	assert_int_equal(lock(&HOLDER, &l, NFS4_WRITE_LT, 5, 1), NFS4_OK);
	assert_int_equal(why(&HOLDER, 1 | WANT_READ), NFS4_NO_DELEG_CONTENTION);
	assert_int_equal(unlock(&HOLDER, &l, 5, 1), NFS4_OK);
	assert_int_equal(open_for(&HOLDER, 3, 0, "f", &l.open, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_WRITE);
}

/* Who may write but not read gets none for writing, which is good for reading too. */
static void test_rights(void **state)
{
	struct sid open;
	struct offer o;

	on(P.file);
	S = HOLDER;
	on(P.file);
	op(OP_SETATTR);
	put_sid(&anonymous);
	put_mode(0622);
	assert_int_equal(run_on(), NFS4_OK);
	HOLDER = S;
	P.uid = 1000;
	assert_int_equal(open_for(&HOLDER, 1, 0, "f", &open, &o), E(ACCESS));
	assert_int_equal(open_for(&HOLDER, 2, 0, "f", &open, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_NONE);
	P.uid = 0;
	assert_int_equal(open_for(&HOLDER, 2, 0, "f", &open, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_WRITE);
}

static void test_limits(void **state)
{
	struct nfs4_client *c = client_of(&HOLDER);

	c->ndelegs += NFS4_DELEGS_MAX;
	assert_int_equal(why(&HOLDER, 1 | WANT_READ), NFS4_NO_DELEG_RESOURCE);
	c->ndelegs -= NFS4_DELEGS_MAX;
	state_now()->ndelegs += NFS4_DELEGS_ALL;
	assert_int_equal(why(&HOLDER, 1 | WANT_READ), NFS4_NO_DELEG_RESOURCE);
	state_now()->ndelegs -= NFS4_DELEGS_ALL;
	struct sid open;

	get_deleg(1, NFS4_DELEG_READ, &open);
}

/* As many as a client may have, on as many files. */
static void test_many(void **state)
{
	struct sid open;
	struct offer o;
	unsigned n = 0;
	char name[16];

	for (unsigned i = 0; i < NFS4_DELEGS_MAX + 5; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		S = HOLDER;
		on(P.root);
		op(OP_OPEN);
		msg_u32(&M, 0);
		msg_u32(&M, 3);
		msg_u32(&M, 0);
		put_owner("o");
		msg_u32(&M, 1);
		msg_u32(&M, NFS4_CREATE_GUARDED);
		put_mode(0644);
		msg_u32(&M, 0);
		msg_string(&M, name);
		assert_int_equal(run_on(), NFS4_OK);
		HOLDER = S;
		ok(OP_OPEN);
		open = get_open_head();
		o = get_offer();
		n += o.type == NFS4_DELEG_WRITE;
	}
	assert_int_equal(n, NFS4_DELEGS_MAX);
	assert_int_equal(state_now()->ndelegs, NFS4_DELEGS_MAX);
	/* it goes, and all of them with it */
	LEASE_OVER();
	begin(2);
	seq(&OTHER);
	assert_int_equal(run(), NFS4_OK);
	assert_int_equal(open_for(&OTHER, 3, 0, "n7", &open, &o), E(DELAY));
	assert_int_equal(open_for(&OTHER, 3, 0, "n7", &open, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_WRITE);
	assert_int_equal(state_now()->ndelegs, 1);
	assert_int_equal(A.calls, 0);
}

/* ---- what conflicts ------------------------------------------------------------------ */

static uint8_t other_fh[HANDLE_BYTES];

static uint32_t on_file(uint32_t num)
{
	S = OTHER;
	on(P.file);
	op(num);
	return 0;
}

static uint32_t finish(uint32_t num)
{
	uint32_t status;

	run_on();
	OTHER = S;
	status = res(num);
	settle();
	return status;
}

static uint32_t do_open(uint32_t access, uint32_t deny)
{
	struct sid open;
	struct offer o;
	uint32_t status = open_for(&OTHER, access | WANT_NO, deny, "f", &open, &o);

	if (!status)
		sid_op(&OTHER, OP_CLOSE, P.file, &open);
	return status;
}

static uint32_t open_read(void) { return do_open(1, 0); }
static uint32_t open_write(void) { return do_open(2, 0); }
static uint32_t open_deny(void) { return do_open(1, 2); }
static uint32_t read_anon(void) { return read_with(&OTHER, &anonymous); }
static uint32_t write_anon(void) { return write_with(&OTHER, &anonymous); }

static uint32_t chmod4(void)
{
	on_file(OP_SETATTR);
	put_sid(&anonymous);
	put_mode(0640);
	return finish(OP_SETATTR);
}

static uint32_t truncate4(void)
{
	on_file(OP_SETATTR);
	put_sid(&anonymous);
	msg_u32(&M, 1);
	msg_u32(&M, 16);
	msg_u32(&M, 8);
	msg_u64(&M, 9);
	return finish(OP_SETATTR);
}

static uint32_t deallocate(void)
{
	on_file(OP_DEALLOCATE);
	put_sid(&anonymous);
	put_range(0, 4096);
	return finish(OP_DEALLOCATE);
}

static uint32_t seek4(void)
{
	on_file(OP_SEEK);
	put_sid(&anonymous);
	msg_u64(&M, 0);
	msg_u32(&M, 0);
	return finish(OP_SEEK);
}

static uint32_t two_files(uint32_t num, const uint8_t *from, const uint8_t *to)
{
	S = OTHER;
	on(from);
	op(OP_SAVEFH);
	putfh(to);
	op(num);
	put_sid(&anonymous);
	put_sid(&anonymous);
	put_range(0, 0);
	msg_u64(&M, 8192);
	if (num == OP_COPY) {
		msg_u64(&M, 1ull << 32 | 1);
		msg_u32(&M, 0);
	}
	run_on();
	OTHER = S;
	ok(OP_SAVEFH);
	ok(OP_PUTFH);
	uint32_t status = res(num);

	settle();
	return status;
}

static uint32_t clone_from(void) { return two_files(OP_CLONE, P.file, other_fh); }
static uint32_t clone_to(void) { return two_files(OP_CLONE, other_fh, P.file); }
static uint32_t copy_from(void) { return two_files(OP_COPY, P.file, other_fh); }
static uint32_t copy_to(void) { return two_files(OP_COPY, other_fh, P.file); }

static uint32_t rename4(const char *from, const char *to)
{
	S = OTHER;
	on(P.root);
	op(OP_SAVEFH);
	op(OP_RENAME);
	msg_string(&M, from);
	msg_string(&M, to);
	run_on();
	OTHER = S;
	ok(OP_SAVEFH);
	uint32_t status = res(OP_RENAME);

	settle();
	return status;
}

static uint32_t rename_it(void) { return rename4("f", "new"); }
static uint32_t rename_over(void) { return rename4("other", "f"); }

static uint32_t link4(void)
{
	S = OTHER;
	on(P.file);
	op(OP_SAVEFH);
	putfh(P.root);
	name_op(OP_LINK, "hard");
	run_on();
	OTHER = S;
	ok(OP_SAVEFH);
	ok(OP_PUTFH);
	uint32_t status = res(OP_LINK);

	settle();
	return status;
}

static uint32_t remove4(void)
{
	S = OTHER;
	on(P.root);
	name_op(OP_REMOVE, "f");
	run_on();
	OTHER = S;
	uint32_t status = res(OP_REMOVE);

	settle();
	return status;
}

static uint32_t getattr4(void)
{
	on_file(OP_GETATTR);
	msg_u32(&M, 1);
	msg_u32(&M, 2);
	return finish(OP_GETATTR);
}

static uint32_t lookup4(void)
{
	S = OTHER;
	on(P.root);
	name_op(OP_LOOKUP, "f");
	run_on();
	OTHER = S;
	return res(OP_LOOKUP);
}

/* NFSv3 in NFSv4's words. */
static uint32_t words3(uint32_t status)
{
	settle();
	return status == NFS3ERR_JUKEBOX ? E(DELAY) : status;
}

static uint32_t read3(void) { return words3(nfs_proc(6)); }
static uint32_t write3(void) { return words3(nfs_proc(7)); }
static uint32_t setattr3(void) { return words3(nfs_proc(2)); }
static uint32_t getattr3(void) { return words3(nfs_proc(1)); }
static uint32_t rename3(void) { return words3(nfs_proc(14)); }
static uint32_t link3(void) { return words3(nfs_proc(15)); }

static uint32_t remove3(void)
{
	proto_head(&P, NFS_PROGRAM, 3, 12, &M);
	put_fh(&M, P.root);
	msg_string(&M, "f");
	return words3(nfs());
}

static const struct conflict {
	const char *name;
	uint32_t (*fn)(void);
	bool reader, writer;		/* conflicts with a delegation for reading, for writing */
} conflicts[] = {
	{ "open for reading", open_read, false, true },
	{ "open for writing", open_write, true, true },
	{ "open that denies", open_deny, true, true },
	{ "READ", read_anon, false, true },
	{ "WRITE", write_anon, true, true },
	{ "SETATTR of the mode", chmod4, true, true },
	{ "SETATTR of the size", truncate4, true, true },
	{ "DEALLOCATE", deallocate, true, true },
	{ "SEEK", seek4, false, true },
	{ "CLONE from it", clone_from, false, true },
	{ "CLONE to it", clone_to, true, true },
	{ "COPY from it", copy_from, false, true },
	{ "COPY to it", copy_to, true, true },
	{ "RENAME", rename_it, true, true },
	{ "RENAME over it", rename_over, true, true },
	{ "LINK", link4, true, true },
	{ "REMOVE", remove4, true, true },
	{ "GETATTR of the type", getattr4, false, false },
	{ "LOOKUP", lookup4, false, false },
	{ "NFSv3 READ", read3, false, true },
	{ "NFSv3 WRITE", write3, true, true },
	{ "NFSv3 SETATTR", setattr3, true, true },
	{ "NFSv3 GETATTR", getattr3, false, false },
	{ "NFSv3 RENAME", rename3, true, true },
	{ "NFSv3 LINK", link3, true, true },
	{ "NFSv3 REMOVE", remove3, true, true },
};
enum { CONFLICTS = sizeof(conflicts) / sizeof(*conflicts) };

/* A second file, with data in it. */
static void make_other(void)
{
	static const uint8_t data[12288] = { 1, 2, 3 };
	struct sid sid;

	S = OTHER;
	assert_int_equal(create4(NFS4_CREATE_UNCHECKED, 0, "other", -1, &sid), NFS4_OK);
	on(P.root);
	name_op(OP_LOOKUP, "other");
	op(OP_GETFH);
	assert_int_equal(run_on(), NFS4_OK);
	ok(OP_LOOKUP);
	ok(OP_GETFH);
	assert_int_equal(xdr_get_u32(&R), HANDLE_BYTES);
	memcpy(other_fh, xdr_get_fixed(&R, HANDLE_BYTES), HANDLE_BYTES);
	OTHER = S;
	S = OTHER;
	on(other_fh);
	op(OP_WRITE);
	put_sid(&sid);
	msg_u64(&M, 0);
	msg_u32(&M, NFS4_FILE_SYNC);
	msg_opaque(&M, data, sizeof(data));
	assert_int_equal(run_on(), NFS4_OK);
	OTHER = S;
	assert_int_equal(sid_op(&OTHER, OP_CLOSE, other_fh, &sid), NFS4_OK);
}

static void try_conflict(const struct conflict *k, bool write)
{
	struct sid open, d;
	bool conflicts_here = write ? k->writer : k->reader;

	setup_delegs(NULL);
	rpc_peer_cut(B.peer);			/* gets no delegations itself */
	make_other();
	d = get_deleg(write ? 3 : 1, write ? NFS4_DELEG_WRITE : NFS4_DELEG_READ, &open);
	assert_int_equal(sid_op(&HOLDER, OP_CLOSE, P.file, &open), NFS4_OK);
	if (conflicts_here) {
		for (int i = 0; i < 3; i++) {
			uint32_t status = k->fn();

			if (status != E(DELAY))
				fail_msg("%s: %u", k->name, status);
		}
		expect_recall(&A, 1, &d, P.file);
		assert_int_equal(delegreturn(&HOLDER, &d), NFS4_OK);
	}
	uint32_t status = k->fn();

	if (status)
		fail_msg("%s, afterwards: %u", k->name, status);
	if (A.calls != conflicts_here)
		fail_msg("%s: %u callbacks", k->name, A.calls);
	teardown_delegs(NULL);
}

static void test_conflicts(void **state)
{
	for (unsigned i = 0; i < CONFLICTS; i++)
		for (int write = 0; write < 2; write++)
			try_conflict(&conflicts[i], write);
}

/* What the holder does himself conflicts with nothing. */
static void test_own(void **state)
{
	for (unsigned i = 0; i < CONFLICTS; i++)
		for (int write = 0; write < 2; write++) {
			struct sid open, d;

			if (!strncmp(conflicts[i].name, "NFSv3", 5))
				continue;
			setup_delegs(NULL);
			rpc_peer_cut(B.peer);
			make_other();
			d = get_deleg(write ? 3 : 1, write ? NFS4_DELEG_WRITE : NFS4_DELEG_READ,
				      &open);
			assert_int_equal(sid_op(&HOLDER, OP_CLOSE, P.file, &open), NFS4_OK);
			OTHER = HOLDER;
			if (conflicts[i].fn())
				fail_msg("own %s", conflicts[i].name);
			HOLDER = OTHER;
			assert_int_equal(A.calls, 0);
			assert_int_equal(test_one(&HOLDER, &d), NFS4_OK);
			teardown_delegs(NULL);
		}
}

/* Who may not do it anyway recalls nothing. */
static void test_no_right_no_recall(void **state)
{
	struct sid open;

	get_deleg(1, NFS4_DELEG_READ, &open);
	P.uid = 1000;
	assert_int_equal(open_write(), E(ACCESS));
	assert_int_equal(write_anon(), E(ACCESS));
	assert_int_equal(write3(), NFS3ERR_ACCES);
	assert_int_equal(remove4(), E(ACCESS));
	P.uid = 0;
	assert_int_equal(A.calls, 0);
	/* nor who is kept out by a share reservation */
	assert_int_equal(open_for(&HOLDER, 1, 2, "f", &open, &(struct offer){ 0 }), NFS4_OK);
	assert_int_equal(open_write(), E(SHARE_DENIED));
	assert_int_equal(A.calls, 0);
}

/* The answer "later" to a request of NFSv3 isn't the answer to its retransmission. */
static void test_retransmitted(void **state)
{
	struct sid open, d = get_deleg(1, NFS4_DELEG_READ, &open);
	uint32_t xid = P.xid;

	assert_int_equal(remove3(), E(DELAY));
	assert_int_equal(sid_op(&HOLDER, OP_CLOSE, P.file, &open), NFS4_OK);
	assert_int_equal(delegreturn(&HOLDER, &d), NFS4_OK);
	P.xid = xid;
	assert_int_equal(remove3(), NFS4_OK);
}

static void test_many_holders(void **state)
{
	static struct called c[5];
	struct sess s[5];
	struct sid open[5], d[5];
	struct offer o;

	for (int i = 0; i < 5; i++) {
		char name[8] = { 'n', '0' + i };

		called_init(&c[i]);
		s[i] = new_called_client(name, 1 + i % 2, &c[i]);
		assert_int_equal(open_for(&s[i], 1, 0, "f", &open[i], &o), NFS4_OK);
		assert_int_equal(o.type, NFS4_DELEG_READ);
		d[i] = o.id;
	}
	assert_int_equal(open_write(), E(DELAY));
	for (int i = 0; i < 5; i++) {
		expect_recall(&c[i], 1, &d[i], P.file);
		assert_int_equal(open_write(), E(DELAY));
		assert_int_equal(delegreturn(&s[i], &d[i]), NFS4_OK);
	}
	assert_int_equal(open_write(), NFS4_OK);
	for (int i = 0; i < 5; i++)
		called_done(&c[i]);
}

/* A file that is removed stays as long as somebody has a delegation on it. */
static void test_removed(void **state)
{
	struct sid open, d = get_deleg(1, NFS4_DELEG_READ, &open);

	assert_int_equal(sid_op(&HOLDER, OP_CLOSE, P.file, &open), NFS4_OK);
	OTHER = HOLDER;
	assert_int_equal(remove4(), NFS4_OK);
	HOLDER = OTHER;
	assert_int_equal(read_with(&HOLDER, &d), NFS4_OK);
	assert_int_equal(delegreturn(&HOLDER, &d), NFS4_OK);
	proto_sleep(10 * SEC);
	begin(2);
	seq(&HOLDER);
	putfh(P.file);
	op(OP_GETATTR);
	msg_u32(&M, 1);
	msg_u32(&M, 2);
	assert_int_equal(run(), E(STALE));
}

/* ---- recalling ----------------------------------------------------------------------- */

/* The client may not have got OPEN's answer yet. */
static void test_recall_again(void **state)
{
	struct sid open, d = get_deleg(1, NFS4_DELEG_READ, &open);

	A.status = E(BAD_STATEID);
	A.once = 2;
	assert_int_equal(open_write(), E(DELAY));
	proto_sleep(2 * SEC);
	expect_recall(&A, 3, &d, P.file);
	proto_sleep(20 * SEC);
	assert_int_equal(A.calls, 3);
}

static void test_recall_on_new_way(void **state)
{
	struct sid open, d = get_deleg(1, NFS4_DELEG_READ, &open);
	struct called c;
	uint32_t dir;

	rpc_peer_cut(A.peer);
	assert_int_equal(open_write(), E(DELAY));
	proto_sleep(10 * SEC);
	assert_int_equal(seq_flags(&HOLDER), CB_PATH_DOWN | CB_PATH_DOWN_SESSION);
	called_init(&c);
	called_use(&c);
	assert_int_equal(bind_conn(&HOLDER, 2, &dir), NFS4_OK);
	expect_recall(&c, 1, &d, P.file);
	assert_int_equal(delegreturn(&HOLDER, &d), NFS4_OK);
	assert_int_equal(open_write(), NFS4_OK);
	called_done(&c);
}

static void test_revoked(void **state)
{
	struct sid open, mine, d = get_deleg(1, NFS4_DELEG_READ, &mine);
	struct offer o;

	assert_int_equal(sid_op(&HOLDER, OP_CLOSE, P.file, &mine), NFS4_OK);
	assert_int_equal(open_write(), E(DELAY));
	/* both are heard of, one doesn't give it back */
	for (int i = 0; i < 2; i++) {
		state_now()->skew_ns += state_now()->lease_ns / 3;
		assert_int_equal(seq_flags(&HOLDER), 0);
		assert_int_equal(open_write(), E(DELAY));
	}
	state_now()->skew_ns += state_now()->lease_ns / 3 + SEC;
	assert_int_equal(seq_flags(&HOLDER), 0);
	assert_int_equal(open_for(&OTHER, 2 | WANT_NO, 0, "f", &open, &o), NFS4_OK);
	assert_int_equal(seq_flags(&HOLDER), REVOKED_FLAG);
	assert_int_equal(seq_flags(&OTHER), 0);
	assert_int_equal(read_with(&HOLDER, &d), E(DELEG_REVOKED));
	assert_int_equal(delegreturn(&HOLDER, &d), E(DELEG_REVOKED));
	assert_int_equal(test_one(&HOLDER, &d), E(DELEG_REVOKED));
	assert_int_equal(state_now()->ndelegs, 1);
	assert_int_equal(free_one(&OTHER, &d), E(BAD_STATEID));
	assert_int_equal(free_one(&HOLDER, &d), NFS4_OK);
	assert_int_equal(test_one(&HOLDER, &d), E(BAD_STATEID));
	assert_int_equal(seq_flags(&HOLDER), 0);
	assert_int_equal(state_now()->ndelegs, 0);
}

/* Revoked ones don't keep a client from going. */
static void test_revoked_goes(void **state)
{
	struct sid mine;

	get_deleg(1, NFS4_DELEG_READ, &mine);
	assert_int_equal(sid_op(&HOLDER, OP_CLOSE, P.file, &mine), NFS4_OK);
	begin(1);
	op(OP_DESTROY_SESSION);
	msg_bytes(&M, HOLDER.id, 16);
	assert_int_equal(run(), NFS4_OK);
	begin(1);
	op(OP_DESTROY_CLIENTID);
	msg_u64(&M, HOLDER.clientid);
	assert_int_equal(run(), E(CLIENTID_BUSY));
	assert_int_equal(open_write(), E(DELAY));
	state_now()->skew_ns += state_now()->lease_ns + SEC;
	client_of(&HOLDER)->renewed_ns = nfs4_now_ns(state_now());
	assert_int_equal(open_write(), NFS4_OK);
	assert_int_equal(state_now()->ndelegs, 1);
	begin(1);
	op(OP_DESTROY_CLIENTID);
	msg_u64(&M, HOLDER.clientid);
	assert_int_equal(run(), NFS4_OK);
	assert_int_equal(state_now()->ndelegs, 0);
}

/* Whose lease has run out makes way without being asked. */
static void test_expired(void **state)
{
	struct sid open;

	get_deleg(3, NFS4_DELEG_WRITE, &open);
	LEASE_OVER();
	begin(2);
	seq(&OTHER);
	assert_int_equal(run(), NFS4_OK);
	assert_int_equal(open_write(), E(DELAY));	/* meanwhile its record goes */
	assert_int_equal(open_write(), NFS4_OK);
	assert_int_equal(A.calls, 0);
	assert_null(client_of(&HOLDER));
	assert_int_equal(state_now()->ndelegs, 0);
}

/* Whom a recall doesn't reach goes when its lease is over, though nobody asks again. */
static void test_gone(void **state)
{
	struct sid open;

	get_deleg(3, NFS4_DELEG_WRITE, &open);
	rpc_peer_cut(A.peer);
	proto_sleep(20 * SEC);
	seq_flags(&OTHER);
	assert_int_equal(open_write(), E(DELAY));
	proto_sleep(state_now()->lease_ns - 5 * SEC);
	assert_int_equal(state_now()->ndelegs, 1);
	seq_flags(&OTHER);
	proto_sleep(10 * SEC);
	seq_flags(&OTHER);
	assert_null(client_of(&HOLDER));
	assert_int_equal(open_write(), NFS4_OK);
}

/* But not because the server stops: it comes back to what it has. */
static void test_server_stops(void **state)
{
	struct sid open;

	get_deleg(3, NFS4_DELEG_WRITE, &open);
	rpc_peer_cut(A.peer);
	assert_int_equal(open_write(), E(DELAY));
	LEASE_OVER();
	proto_restart(&P);
	assert_true(nfs4_in_grace(state_now()));
}

static void test_rebooted(void **state)
{
	struct sid open;
	uint32_t flags;

	get_deleg(3, NFS4_DELEG_WRITE, &open);
	called_use(&A);
	assert_int_equal(exchange("holder", 2, 0, &HOLDER, &flags), NFS4_OK);
	assert_int_equal(create_back(2, &HOLDER, BACK_CHAN, put_sec_none, &flags), NFS4_OK);
	assert_int_equal(state_now()->ndelegs, 0);
	assert_int_equal(open_write(), NFS4_OK);
	assert_int_equal(A.calls, 0);
}

/* The file's names may change while a recall is under way; the session may go. */
static void test_session_goes(void **state)
{
	struct sid open, d = get_deleg(1, NFS4_DELEG_READ, &open);
	struct sess second = HOLDER;
	uint32_t flags;

	A.after_ns = 2 * SEC;
	assert_int_equal(open_write(), E(DELAY));
	begin(1);
	op(OP_DESTROY_SESSION);
	msg_bytes(&M, HOLDER.id, 16);
	assert_int_equal(run(), NFS4_OK);
	called_use(&A);
	A.after_ns = 0;
	assert_int_equal(create_back(2, &second, BACK_CHAN, put_sec_none, &flags), NFS4_OK);
	assert_int_equal(delegreturn(&second, &d), NFS4_OK);
	assert_int_equal(open_write(), NFS4_OK);
	proto_sleep(5 * SEC);
}

/* ---- claims -------------------------------------------------------------------------- */

static uint32_t claim(struct sess *s, uint32_t kind, uint32_t access, const struct sid *d,
		      const char *name)
{
	uint32_t status;

	begin(2);
	seq(s);
	putfh(name ? P.root : P.file);
	op(OP_OPEN);
	msg_u32(&M, 0);
	msg_u32(&M, access);
	msg_u32(&M, 0);
	put_owner("claimer");
	msg_u32(&M, 0);
	msg_u32(&M, kind);
	put_sid(d);
	if (name)
		msg_string(&M, name);
	run();
	ok_seq();
	ok(OP_PUTFH);
	status = res(OP_OPEN);
	if (!status) {
		get_open_head();
		assert_int_equal(get_offer().type, NFS4_DELEG_NONE);
	}
	return status;
}

static void test_claims(void **state)
{
	enum { CUR = NFS4_CLAIM_DELEGATE_CUR, CUR_FH = NFS4_CLAIM_DELEG_CUR_FH };
	struct sid open, d = get_deleg(1, NFS4_DELEG_READ, &open);

	rpc_peer_cut(B.peer);
	make_other();
	assert_int_equal(open_write(), E(DELAY));	/* it is recalled: time to claim */
	assert_int_equal(claim(&HOLDER, CUR, 1, &d, "f"), NFS4_OK);
	assert_int_equal(claim(&HOLDER, CUR_FH, 1, &d, NULL), NFS4_OK);
	assert_int_equal(claim(&HOLDER, CUR, 3, &d, "f"), E(ACCESS));
	assert_int_equal(claim(&HOLDER, CUR_FH, 2, &d, NULL), E(ACCESS));
	assert_int_equal(claim(&HOLDER, CUR, 1, &d, "other"), E(BAD_STATEID));
	assert_int_equal(claim(&HOLDER, CUR, 1, &d, "none"), E(NOENT));
	assert_int_equal(claim(&HOLDER, CUR, 1, &open, "f"), E(BAD_STATEID));
	assert_int_equal(claim(&OTHER, CUR, 1, &d, "f"), E(BAD_STATEID));
	assert_int_equal(claim(&OTHER, CUR_FH, 1, &d, NULL), E(BAD_STATEID));
	LEASE_OVER();
	assert_int_equal(seq_flags(&HOLDER), 0);
	seq_flags(&OTHER);
	assert_int_equal(open_write(), NFS4_OK);
	assert_int_equal(claim(&HOLDER, CUR, 1, &d, "f"), E(DELEG_REVOKED));
	/* the opens that were claimed are its own still */
	assert_int_equal(read_with(&HOLDER, &open), NFS4_OK);
}

/* ---- the management side ------------------------------------------------------------- */

struct admin_job { bool done; int err; };

static void admin_chmod(void *arg)
{
	const struct fs_setattr s = { .mask = FS_SET_MODE, .mode = 0600 };
	static const uint8_t key[] = "0123456789abcde";
	struct admin_job *j = arg;
	struct fs_req req;
	struct fs_id id;

	assert_int_equal(handle_read(key, P.file, HANDLE_BYTES, &id), 0);
	fs_req_admin(&req, P.fs);
	j->err = fs_setattr(&req, id, &s, NULL);
	j->done = true;
}

static void spawn_admin(void *arg)
{
	assert_int_equal(fiber_spawn(admin_chmod, arg, "admin"), 0);
}

static void test_management(void **state)
{
	struct admin_job j = { 0 };
	struct sid open, d;

	if (!P.ctl->real)
		return;				/* memfs doesn't wait */
	d = get_deleg(1, NFS4_DELEG_READ, &open);
	proto_run(spawn_admin, &j);
	proto_sleep(SEC);
	assert_false(j.done);
	expect_recall(&A, 1, &d, P.file);
	assert_int_equal(delegreturn(&HOLDER, &d), NFS4_OK);
	proto_sleep(SEC);
	assert_true(j.done);
	assert_int_equal(j.err, 0);
	/* who doesn't give it back holds nobody up for long */
	state_now()->skew_ns += (NFS4_QUIET_S + 1) * SEC;
	d = get_deleg(1, NFS4_DELEG_READ, &open);
	j.done = false;
	proto_run(spawn_admin, &j);
	proto_sleep((NFS4_ADMIN_PATIENCE_MS - 1000) * (SEC / 1000));
	assert_false(j.done);
	proto_sleep(2 * SEC);
	assert_true(j.done);
	assert_int_equal(j.err, 0);
	assert_int_equal(test_one(&HOLDER, &d), E(DELEG_REVOKED));
}

/* ---- restarts ------------------------------------------------------------------------ */

static uint32_t reclaim(struct sess *s, uint32_t access, uint32_t had, struct offer *ret_offer)
{
	uint32_t status;

	begin(2);
	seq(s);
	putfh(P.file);
	op(OP_OPEN);
	msg_u32(&M, 0);
	msg_u32(&M, access);
	msg_u32(&M, 0);
	put_owner("owner");
	msg_u32(&M, 0);
	msg_u32(&M, NFS4_CLAIM_PREVIOUS);
	msg_u32(&M, had);
	run();
	ok_seq();
	ok(OP_PUTFH);
	status = res(OP_OPEN);
	if (!status) {
		get_open_head();
		*ret_offer = get_offer();
		end_of_reply();
	}
	settle();
	return status;
}

static void test_reclaim(void **state)
{
	struct offer o, again;
	struct sid open;

	for (uint32_t type = NFS4_DELEG_READ; type <= NFS4_DELEG_WRITE; type++) {
		get_deleg(type == NFS4_DELEG_WRITE ? 3 : 1, type, &open);
		proto_restart(&P);
		HOLDER = arrive_called("holder", 2, &A);
		OTHER = arrive_called("other", 2, &B);
		assert_int_equal(reclaim(&HOLDER, 1, type, &o), NFS4_OK);
		assert_int_equal(o.type, type);
		assert_false(o.recall);
		assert_int_equal(read_with(&HOLDER, &o.id), NFS4_OK);
		/* of another of its opens: it is the same one */
		assert_int_equal(reclaim(&HOLDER, 1, type, &again), NFS4_OK);
		assert_int_equal(again.type, type);
		assert_memory_equal(&again.id, &o.id, sizeof(o.id));
		assert_int_equal(reclaim(&HOLDER, 1, 3 - type, &again), NFS4_OK);
		assert_int_equal(again.type, NFS4_DELEG_NONE);
		/* the other says that he had it open to write: that can't be, but he may have it */
		A.calls = 0;
		assert_int_equal(reclaim(&OTHER, 2, NFS4_DELEG_NONE, &o), E(DELAY));
		assert_int_equal(A.calls, 1);
		assert_int_equal(state_now()->ndelegs, 1);
		nfs4_delegs_drop(state_now(), nfs4_client_find(state_now(), HOLDER.clientid));
		assert_int_equal(reclaim_complete(&HOLDER), NFS4_OK);
		assert_int_equal(reclaim_complete(&OTHER), NFS4_OK);
		state_now()->skew_ns += (NFS4_QUIET_S + 1) * SEC;
	}
}

/* Who can't be called back gives it back as soon as he has it. */
static void test_reclaim_mute(void **state)
{
	struct sid open, d;
	struct offer o;

	get_deleg(3, NFS4_DELEG_WRITE, &open);
	proto_restart(&P);
	HOLDER = arrive("holder", 1);
	assert_int_equal(reclaim(&HOLDER, 3, NFS4_DELEG_NONE, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_NONE);
	assert_int_equal(reclaim(&HOLDER, 3, NFS4_DELEG_NONE_EXT, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_NONE);
	assert_int_equal(reclaim(&HOLDER, 3, NFS4_DELEG_WRITE, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_WRITE);
	assert_true(o.recall);
	d = o.id;
	assert_int_equal(write_with(&HOLDER, &d), NFS4_OK);
	assert_int_equal(reclaim_complete(&HOLDER), NFS4_OK);
	OTHER = new_called_client("other", 2, &B);
	LEASE_OVER();				/* since it was reclaimed */
	assert_int_equal(seq_flags(&HOLDER) & REVOKED_FLAG, 0);
	assert_int_equal(seq_flags(&OTHER), 0);
	assert_int_equal(open_for(&OTHER, 1, 0, "f", &open, &o), NFS4_OK);
	assert_int_equal(test_one(&HOLDER, &d), E(DELEG_REVOKED));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TD(test_read), TD(test_write), TD(test_wants), TD(test_contention), TD(test_many_opens),
		TD(test_locked), TD(test_rights), TD(test_limits), TD(test_many),
		cmocka_unit_test(test_conflicts), cmocka_unit_test(test_own),
		TD(test_no_right_no_recall), TD(test_retransmitted), TD(test_many_holders),
		TD(test_removed), TD(test_recall_again), TD(test_recall_on_new_way),
		TD(test_revoked), TD(test_revoked_goes), TD(test_expired), TD(test_gone),
		TD(test_server_stops), TD(test_rebooted),
		TD(test_session_goes), TD(test_claims), TD(test_management),
		TD(test_reclaim), TD(test_reclaim_mute),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
