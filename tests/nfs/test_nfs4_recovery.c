/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restarts, grace periods and leases that run out, in process: a restart is a new server on what a
 * power cut has left of the file system.
 */
#include "base/fiber.h"
#include "base/loop.h"
#include "compound.h"
#include "memfs.h"

#define SECOND 1000000000ull
#define RESTART_RECLAIM_NEEDED 0x100

static struct nfs4_recovery *rec(void) { return &state_now()->recovery; }
static void pass(unsigned seconds) { state_now()->skew_ns += seconds * SECOND; }
static void run_it(void *arg) { nfs4_recovery_run(state_now()); }
static void background(void) { proto_run(run_it, NULL); }

static uint32_t status_flags(struct sess *s)
{
	uint32_t flags;

	begin(1);
	seq(s);
	assert_int_equal(run(), NFS4_OK);
	ok(OP_SEQUENCE);
	xdr_get_fixed(&R, 32);
	flags = xdr_get_u32(&R);
	end_of_reply();
	return flags;
}

static uint32_t lock(struct sess *s, const struct sid *open, bool reclaim, uint64_t off,
		     uint64_t len, struct sid *ret_sid)
{
	uint32_t status;

	begin(2);
	seq(s);
	putfh(P.file);
	op(OP_LOCK);
	msg_u32(&M, NFS4_WRITE_LT);
	msg_u32(&M, reclaim);
	put_range(off, len);
	msg_u32(&M, 1);
	msg_u32(&M, 0);
	put_sid(open);
	msg_u32(&M, 0);
	put_owner("l");
	run();
	ok_seq();
	ok(OP_PUTFH);
	status = res(OP_LOCK);
	if (!status)
		*ret_sid = get_sid();
	return status;
}

static uint32_t close_file(struct sess *s, const struct sid *open)
{
	begin(2);
	seq(s);
	putfh(P.file);
	op(OP_CLOSE);
	msg_u32(&M, 0);
	put_sid(open);
	return run();
}

static uint32_t on_file(struct sess *s, uint32_t num, const struct sid *sid)
{
	begin(2);
	seq(s);
	putfh(P.file);
	op(num);
	put_sid(sid);
	msg_u64(&M, 0);
	if (num == OP_READ) {
		msg_u32(&M, 10);
	} else {
		msg_u32(&M, 0);
		msg_string(&M, "x");
	}
	return run();
}

static uint32_t lockt(struct sess *s)
{
	begin(2);
	seq(s);
	putfh(P.file);
	op(OP_LOCKT);
	msg_u32(&M, NFS4_WRITE_LT);
	put_range(0, 10);
	put_owner("x");
	return run();
}

static uint32_t rename_or_remove(struct sess *s, uint32_t num)
{
	begin(2);
	seq(s);
	putfh(P.root);
	op(OP_SAVEFH);
	op(num);
	msg_string(&M, "d");
	if (num == OP_RENAME)
		msg_string(&M, "e");
	return run();
}

static uint32_t destroy_client(struct sess *s)
{
	begin(1);
	op(OP_DESTROY_SESSION);
	msg_bytes(&M, s->id, 16);
	assert_int_equal(run(), NFS4_OK);
	begin(1);
	op(OP_DESTROY_CLIENTID);
	msg_u64(&M, s->clientid);
	return run();
}

static void list_records(void *arg)
{
	struct fs_dirlist list = { .cap = 1 << 20, .buf = malloc(1 << 20) };
	struct fs_req req;
	struct fs_id dir;

	fs_req_admin(&req, P.fs);
	assert_int_equal(fs_system_dir(&req, "clients", &dir), 0);
	assert_int_equal(fs_readdir(&req, dir, 2, false, &list), 0);
	assert_true(list.eof);
	free(list.buf);
	*(unsigned *)arg = list.n;
}

/* What the pool holds, whatever the server believes. */
static unsigned records_on_disk(void)
{
	unsigned n;

	proto_run(list_records, &n);
	return n;
}

struct adding { enum nfs4_record_kind kind; const char *owner, *note; int err; };

static void add_fiber(void *arg)
{
	struct adding *a = arg;

	a->err = nfs4_record_add(rec()->records, a->kind, (struct xdr_bytes){
				 (const uint8_t *)a->owner, strlen(a->owner) }, a->note);
}

static int add_record(enum nfs4_record_kind kind, const char *owner, const char *note)
{
	struct adding a = { kind, owner, note, 0 };

	proto_run(add_fiber, &a);
	return a.err;
}

struct noting { const struct nfs4_record *r; char note[NFS4_RECORD_NOTE_MAX + 1]; int err; };

static void note_fiber(void *arg)
{
	struct noting *n = arg;

	n->err = nfs4_record_note(rec()->records, n->r, n->note);
}

/* ---- the grace period ---------------------------------------------------------------- */

static void test_no_records(void **state)
{
	struct sess s = arrive("new", 1);
	struct sid sid;

	assert_false(nfs4_in_grace(state_now()));
	assert_int_equal(status_flags(&s), 0);
	assert_int_equal(reopen(&s, P.file, 1, 0, &sid), E(NO_GRACE));
	assert_int_equal(open_file(&s, 1, 0, "o", "f", &sid), E(GRACE));
	assert_int_equal(records_on_disk(), 1);		/* of setup's client */
	assert_int_equal(reclaim_complete(&s), NFS4_OK);
	assert_int_equal(records_on_disk(), 2);
	assert_int_equal(open_file(&s, 1, 0, "o", "f", &sid), NFS4_OK);
	assert_int_equal(lock(&s, &sid, true, 0, 1, &sid), E(NO_GRACE));
}

/* All that a client can get back, and that the period is over when all are done. */
static void test_reclaim(void **state)
{
	struct sess b = new_client("b"), old = S;
	struct sid open, locked;
	struct chan got;

	assert_int_equal(open_file(&S, 3, 0, "o", "f", &open), NFS4_OK);
	assert_int_equal(lock(&S, &open, false, 5, 5, &locked), NFS4_OK);
	proto_crash(&P);
	assert_true(nfs4_in_grace(state_now()));
	begin(1);
	seq(&S);
	assert_int_equal(run(), E(BADSESSION));
	old.create_seq++;
	assert_int_equal(create_session(&old, (struct chan){ 4096, 512, 8, 1 }, &got),
			 E(STALE_CLIENTID));
	S = arrive("client", 1);
	assert_true(S.clientid != old.clientid);
	assert_int_equal(status_flags(&S), RESTART_RECLAIM_NEEDED);
	assert_int_equal(on_file(&S, OP_READ, &open), E(BAD_STATEID));
	assert_int_equal(open_file(&S, 3, 0, "o", "f", &open), E(GRACE));
	assert_int_equal(reopen(&S, P.root, 3, 0, &open), E(ISDIR));
	assert_int_equal(reopen(&S, P.file, 3, 0, &open), NFS4_OK);
	assert_int_equal(lock(&S, &open, false, 5, 5, &locked), E(GRACE));
	assert_int_equal(lock(&S, &open, true, 5, 5, &locked), NFS4_OK);
	assert_int_equal(on_file(&S, OP_WRITE, &locked), NFS4_OK);
	assert_int_equal(reclaim_complete(&S), NFS4_OK);
	assert_int_equal(reclaim_complete(&S), E(COMPLETE_ALREADY));
	assert_int_equal(status_flags(&S), 0);
	assert_int_equal(reopen(&S, P.file, 3, 0, &open), E(NO_GRACE));
	assert_int_equal(lock(&S, &open, true, 15, 5, &locked), E(NO_GRACE));
	assert_int_equal(open_file(&S, 1, 0, "p", "f", &open), E(GRACE));
	b = arrive("b", 1);
	assert_true(nfs4_in_grace(state_now()));
	assert_int_equal(reclaim_complete(&b), NFS4_OK);
	assert_false(nfs4_in_grace(state_now()));
	assert_int_equal(open_file(&S, 1, 0, "p", "f", &open), NFS4_OK);
	assert_int_equal(records_on_disk(), 2);
}

/* One that isn't on record gets nothing in the grace period, and all after it. */
static void test_stranger(void **state)
{
	struct sess s;
	struct sid sid, locked;

	assert_int_equal(open_file(&S, 3, 0, "o", "f", &sid), NFS4_OK);
	assert_int_equal(lock(&S, &sid, false, 0, 10, &locked), NFS4_OK);
	proto_crash(&P);
	s = arrive("stranger", 1);
	assert_int_equal(status_flags(&s), 0);
	assert_int_equal(reopen(&s, P.file, 3, 0, &sid), E(NO_GRACE));
	assert_int_equal(reclaim_complete(&s), NFS4_OK);
	assert_int_equal(reopen(&s, P.file, 3, 0, &sid), E(NO_GRACE));
	assert_int_equal(open_file(&s, 1, 0, "o", "f", &sid), E(GRACE));
	assert_int_equal(lockt(&s), E(GRACE));
	assert_int_equal(on_file(&s, OP_READ, &anonymous), E(GRACE));
	assert_int_equal(on_file(&s, OP_READ, &bypass), NFS4_OK);
	assert_int_equal(on_file(&s, OP_WRITE, &anonymous), E(GRACE));
	assert_int_equal(on_file(&s, OP_WRITE, &bypass), E(GRACE));
	assert_int_equal(rename_or_remove(&s, OP_REMOVE), E(GRACE));
	assert_int_equal(rename_or_remove(&s, OP_RENAME), E(GRACE));
	S = s;
	assert_int_equal(size_of(P.file), 10000);		/* looking may be done always */
	s = S;
	S = arrive("client", 1);
	assert_int_equal(reopen(&S, P.file, 3, 0, &sid), NFS4_OK);
	assert_int_equal(lock(&S, &sid, true, 0, 10, &locked), NFS4_OK);
	assert_int_equal(reclaim_complete(&S), NFS4_OK);
	assert_int_equal(open_file(&s, 3, 0, "o", "f", &sid), NFS4_OK);
	assert_int_equal(lock(&s, &sid, false, 9, 1, &locked), E(DENIED));
	assert_int_equal(on_file(&s, OP_WRITE, &anonymous), NFS4_OK);
	assert_int_equal(rename_or_remove(&s, OP_RENAME), NFS4_OK);
}

/* Two that claim what can't have been. */
static void test_contradiction(void **state)
{
	struct sess b;
	struct sid a_sid, b_sid, locked;

	new_client("b");
	proto_crash(&P);
	S = arrive("client", 1);
	b = arrive("b", 1);
	assert_int_equal(reopen(&S, P.file, 3, 2, &a_sid), NFS4_OK);
	assert_int_equal(lock(&S, &a_sid, true, 10, 10, &locked), NFS4_OK);
	assert_int_equal(reopen(&b, P.file, 3, 0, &b_sid), E(RECLAIM_CONFLICT));
	assert_int_equal(reopen(&b, P.file, 1, 1, &b_sid), E(RECLAIM_CONFLICT));
	assert_int_equal(reopen(&b, P.file, 1, 0, &b_sid), NFS4_OK);
	assert_int_equal(lock(&b, &b_sid, true, 30, 10, &locked), E(OPENMODE));
	assert_int_equal(reopen(&S, P.file, 3, 0, &a_sid), NFS4_OK);
	assert_int_equal(close_file(&S, &a_sid), NFS4_OK);
	assert_int_equal(reopen(&S, P.file, 3, 0, &a_sid), NFS4_OK);
	assert_int_equal(reopen(&b, P.file, 3, 0, &b_sid), NFS4_OK);
	assert_int_equal(lock(&S, &a_sid, true, 10, 10, &locked), NFS4_OK);
	assert_int_equal(lock(&b, &b_sid, true, 19, 1, &locked), E(RECLAIM_CONFLICT));
	assert_int_equal(lock(&b, &b_sid, true, 20, 1, &locked), NFS4_OK);
}

static void test_time_is_over(void **state)
{
	struct sid sid;
	struct sess b;

	new_client("b");
	P.grace_s = 20;
	proto_crash(&P);
	b = arrive("b", 1);
	assert_int_equal(reclaim_complete(&b), NFS4_OK);
	pass(19);
	background();
	assert_int_equal(open_file(&b, 1, 0, "o", "f", &sid), E(GRACE));
	S = arrive("client", 1);
	assert_int_equal(status_flags(&S), RESTART_RECLAIM_NEEDED);
	pass(2);
	background();
	assert_int_equal(open_file(&b, 1, 0, "o", "f", &sid), NFS4_OK);
	assert_int_equal(records_on_disk(), 1);
	/* too late; but it may begin anew */
	assert_int_equal(status_flags(&S), 0);
	assert_int_equal(reopen(&S, P.file, 1, 0, &sid), E(NO_GRACE));
	assert_int_equal(reclaim_complete(&S), NFS4_OK);
	assert_int_equal(open_file(&S, 1, 0, "o", "f", &sid), NFS4_OK);
	assert_int_equal(records_on_disk(), 2);
}

/* While somebody reclaims it goes on, but not for ever. */
static void test_prolonged(void **state)
{
	unsigned seconds = 0;
	struct sid sid;

	P.grace_s = 20;
	proto_crash(&P);
	S = arrive("client", 1);
	while (!reopen(&S, P.file, 1, 0, &sid)) {
		pass(1);
		background();
		assert_true(++seconds < 100);
	}
	assert_true(seconds >= 40 && seconds <= 41);
	assert_false(nfs4_in_grace(state_now()));
	/* it was in the middle of reclaiming: what it lost may be somebody else's by now */
	assert_int_equal(records_on_disk(), 0);
}

/* ---- crashes and edges --------------------------------------------------------------- */

/* As long as a grace period isn't over, nothing is forgotten. */
static void test_crash_in_grace(void **state)
{
	struct sess b;
	struct sid sid;

	new_client("b");
	for (int i = 0; i < 3; i++) {
		proto_crash(&P);
		S = arrive("client", 1);
		assert_int_equal(reopen(&S, P.file, 1, 0, &sid), NFS4_OK);
		assert_int_equal(reclaim_complete(&S), NFS4_OK);
	}
	proto_crash(&P);
	b = arrive("b", 1);
	S = arrive("client", 1);
	assert_int_equal(reopen(&b, P.file, 1, 0, &sid), NFS4_OK);
	assert_int_equal(reopen(&S, P.file, 1, 0, &sid), NFS4_OK);
	assert_int_equal(records_on_disk(), 2);
}

/* Nobody gets anything before it is durable that who was absent can't come back for it. */
static void test_crash_at_the_end(void **state)
{
	struct sid sid;
	struct sess b;

	if (P.ctl->real)
		skip();			/* it doesn't fail when it is told to */
	new_client("b");
	proto_crash(&P);
	b = arrive("b", 1);
	assert_int_equal(reclaim_complete(&b), NFS4_OK);
	S = arrive("client", 1);
	pass(91);
	P.foreground = true;
	for (int i = 0; i < 3; i++) {
		P.ctl->fail_stable = -EIO;
		background();
		assert_int_equal(open_file(&b, 1, 0, "o", "f", &sid), E(GRACE));
		assert_int_equal(reopen(&S, P.file, 1, 0, &sid), E(NO_GRACE));
		P.ctl->fail_stable = 0;
		assert_int_equal(reclaim_complete(&S), E(DELAY));	/* its record is going */
	}
	background();
	assert_false(nfs4_in_grace(state_now()));
	assert_int_equal(open_file(&b, 1, 0, "o", "f", &sid), NFS4_OK);
	assert_int_equal(reclaim_complete(&S), NFS4_OK);
	assert_int_equal(records_on_disk(), 2);
}

/* RFC 8881 section 8.4.3, the first: a lock passed through other hands while A was away. */
static void test_edge_lease(void **state)
{
	struct sess b = new_client("b");
	struct sid sid, b_sid, locked;

	assert_int_equal(open_file(&S, 3, 0, "o", "f", &sid), NFS4_OK);
	assert_int_equal(lock(&S, &sid, false, 0, 10, &locked), NFS4_OK);
	pass(91);
	assert_int_equal(open_file(&b, 3, 0, "o", "f", &b_sid), NFS4_OK);
	assert_int_equal(lock(&b, &b_sid, false, 0, 10, &locked), E(DELAY));
	assert_int_equal(lock(&b, &b_sid, false, 0, 10, &locked), NFS4_OK);
	assert_int_equal(close_file(&b, &b_sid), NFS4_OK);
	proto_crash(&P);
	S = arrive("client", 1);
	assert_int_equal(reopen(&S, P.file, 3, 0, &sid), E(NO_GRACE));
}

/* The second: the server restarted twice, A came for the second only. */
static void test_edge_restart(void **state)
{
	struct sess b = new_client("b");
	struct sid sid, locked;

	proto_crash(&P);
	b = arrive("b", 1);
	assert_int_equal(reclaim_complete(&b), NFS4_OK);
	pass(91);
	background();
	assert_int_equal(open_file(&b, 3, 0, "o", "f", &sid), NFS4_OK);
	assert_int_equal(lock(&b, &sid, false, 0, 10, &locked), NFS4_OK);
	assert_int_equal(close_file(&b, &sid), NFS4_OK);
	proto_crash(&P);
	S = arrive("client", 1);
	assert_int_equal(reopen(&S, P.file, 3, 0, &sid), E(NO_GRACE));
}

/* A third one: A had reclaimed something, but not all, when the grace period ended. */
static void test_edge_half(void **state)
{
	struct sid sid;

	proto_crash(&P);
	S = arrive("client", 1);
	assert_int_equal(reopen(&S, P.file, 1, 0, &sid), NFS4_OK);
	pass(92);
	background();
	pass(2);
	background();
	assert_false(nfs4_in_grace(state_now()));
	assert_int_equal(on_file(&S, OP_READ, &sid), NFS4_OK);		/* this it has */
	proto_crash(&P);
	S = arrive("client", 1);
	assert_int_equal(reopen(&S, P.file, 1, 0, &sid), E(NO_GRACE));
}

/* ---- who is on record ---------------------------------------------------------------- */

static void test_destroyed(void **state)
{
	struct sess other = { 0 };
	uint32_t flags;

	assert_int_equal(records_on_disk(), 1);
	/* an unconfirmed namesake has nothing to say about it */
	assert_int_equal(exchange("client", 2, 0, &other, &flags), NFS4_OK);
	begin(1);
	op(OP_DESTROY_CLIENTID);
	msg_u64(&M, other.clientid);
	assert_int_equal(run(), NFS4_OK);
	assert_int_equal(records_on_disk(), 1);
	P.foreground = true;
	assert_int_equal(destroy_client(&S), NFS4_OK);
	S = arrive("client", 1);
	assert_int_equal(reclaim_complete(&S), E(DELAY));
	background();
	assert_int_equal(records_on_disk(), 0);
	assert_int_equal(reclaim_complete(&S), NFS4_OK);
	assert_int_equal(records_on_disk(), 1);
	/* in the grace period: nobody is waited for then */
	proto_crash(&P);
	S = arrive("client", 1);
	assert_int_equal(destroy_client(&S), NFS4_OK);
	if (!P.ctl->real) {
		P.ctl->fail_stable = -EIO;
		background();
		assert_true(nfs4_in_grace(state_now()));
		P.ctl->fail_stable = 0;
	}
	background();
	assert_false(nfs4_in_grace(state_now()));
	proto_crash(&P);
	assert_false(nfs4_in_grace(state_now()));
}

/* A client that restarted has nothing to reclaim, but stays on record. */
static void test_replaced(void **state)
{
	struct sess before = S;
	struct sid sid;

	assert_int_equal(open_file(&S, 3, 3, "o", "f", &sid), NFS4_OK);
	S = arrive("client", 2);
	begin(1);
	seq(&before);
	assert_int_equal(run(), E(BADSESSION));
	assert_int_equal(records_on_disk(), 1);
	assert_int_equal(reclaim_complete(&S), NFS4_OK);
	assert_int_equal(records_on_disk(), 1);
	/* in a grace period it reclaims, and restarts then */
	new_client("b");
	proto_crash(&P);
	new_client("client");
	assert_true(nfs4_in_grace(state_now()));
	S = arrive("client", 7);
	assert_int_equal(reopen(&S, P.file, 3, 0, &sid), E(NO_GRACE));
}

/* One that is dropped before it said RECLAIM_COMPLETE doesn't leave its record behind. */
static void test_replaced_and_gone(void **state)
{
	struct sess other = { 0 };
	uint32_t flags;

	S = arrive("client", 2);
	assert_int_equal(records_on_disk(), 1);
	pass(91);
	P.uid = 5;
	assert_int_equal(exchange("client", 2, 0, &other, &flags), NFS4_OK);
	P.uid = 0;
	assert_int_equal(records_on_disk(), 0);
}

/* ---- leases -------------------------------------------------------------------------- */

/* What a client had whose lease ran out is given away when its record is gone, not before. */
static void test_expiry(void **state)
{
	struct sess b = new_client("b"), again;
	struct sid sid, b_sid;

	if (P.ctl->real)
		skip();			/* it doesn't fail when it is told to */
	assert_int_equal(open_file(&S, 3, 3, "o", "f", &sid), NFS4_OK);
	pass(91);
	P.foreground = true;
	assert_int_equal(open_file(&b, 1, 0, "o", "f", &b_sid), E(DELAY));
	begin(1);
	seq(&S);
	assert_int_equal(run(), E(BADSESSION));			/* there is no way back */
	again = arrive("client", 1);
	assert_int_equal(reclaim_complete(&again), E(DELAY));
	P.ctl->fail_stable = -EIO;
	background();
	P.ctl->fail_stable = 0;
	assert_int_equal(open_file(&b, 1, 0, "o", "f", &b_sid), E(DELAY));
	assert_int_equal(on_file(&b, OP_READ, &anonymous), E(DELAY));
	P.ctl->fail = -EIO;
	background();
	assert_int_equal(open_file(&b, 1, 0, "o", "f", &b_sid), E(DELAY));
	background();
	assert_int_equal(records_on_disk(), 1);
	assert_int_equal(open_file(&b, 1, 0, "o", "f", &b_sid), NFS4_OK);
	assert_int_equal(reclaim_complete(&again), NFS4_OK);
	assert_int_equal(open_file(&again, 1, 0, "o", "f", &sid), NFS4_OK);
	assert_int_equal(rec()->nleaving, 0);
}

/* A pool that takes no changes any more can't be told; but locks protect nothing then. */
static void test_expiry_readonly(void **state)
{
	struct sess b = new_client("b");
	struct sid sid, b_sid;

	if (P.ctl->real)
		skip();			/* it doesn't fail when it is told to */
	assert_int_equal(open_file(&S, 1, 3, "o", "f", &sid), NFS4_OK);
	pass(91);
	P.ctl->fail_stable = -EROFS;
	assert_int_equal(open_file(&b, 1, 0, "o", "f", &b_sid), E(DELAY));
	assert_int_equal(open_file(&b, 1, 0, "o", "f", &b_sid), NFS4_OK);
	S = arrive("client", 1);
	assert_int_equal(reclaim_complete(&S), NFS4_OK);
	assert_int_equal(open_file(&S, 1, 0, "o", "f", &sid), NFS4_OK);
}

/* It became so just when the record was removed: that never gets stable. */
static void test_readonly_meanwhile(void **state)
{
	struct sess b = new_client("b");
	struct sid sid, b_sid;

	if (P.ctl->real)
		skip();			/* it doesn't fail when it is told to */
	assert_int_equal(open_file(&S, 1, 3, "o", "f", &sid), NFS4_OK);
	pass(91);
	P.ctl->readonly = true;
	assert_int_equal(open_file(&b, 1, 0, "o", "f", &b_sid), E(DELAY));
	proto_sleep(3 * SECOND);
	assert_int_equal(open_file(&b, 1, 0, "o", "f", &b_sid), NFS4_OK);
	P.ctl->readonly = false;
	/* the grace period ends all the same */
	assert_int_equal(reclaim_complete(&b), E(COMPLETE_ALREADY));
	proto_crash(&P);
	assert_true(nfs4_in_grace(state_now()));
	P.ctl->readonly = true;
	pass(91);
	background();
	background();
	assert_false(nfs4_in_grace(state_now()));
}

static void expire(struct sess *s)
{
	nfs4_client_expire(state_now(), nfs4_client_find(state_now(), s->clientid));
}

static void expire_two(void *arg)
{
	struct sess *s = arg;

	expire(&s[0]);
	assert_int_equal(fiber_spawn(run_it, NULL, "recovery"), 0);
	fiber_yield();				/* the first one's record is on its way out */
	expire(&s[1]);
	assert_int_equal(rec()->nleaving, 2);
	while (rec()->nleaving == 2)
		loop_sleep_ns(1000);
	assert_int_equal(rec()->nleaving, 1);
}

/* One that expires while another's record is removed waits for the removal of its own. */
static void test_expiry_meanwhile(void **state)
{
	struct sess two[2] = { S, new_client("b") };
	struct sid sid, b_sid;

	assert_int_equal(open_file(&two[0], 1, 0, "o", "f", &sid), NFS4_OK);
	assert_int_equal(open_file(&two[1], 1, 0, "o", "f", &b_sid), NFS4_OK);
	pass(91);
	proto_run(expire_two, two);
	assert_int_equal(state_now()->sids.n, 1);
	background();
	assert_int_equal(state_now()->sids.n, 0);
}

/* Who is in nobody's way keeps what he has; who has a live rival isn't dropped for nothing. */
static void test_expiry_in_vain(void **state)
{
	struct sess b = new_client("b"), c = new_client("c");
	struct sid sid, b_sid;

	assert_int_equal(open_file(&S, 1, 2, "o", "f", &sid), NFS4_OK);
	pass(91);
	assert_int_equal(status_flags(&b), 0);
	assert_int_equal(open_file(&b, 1, 2, "o", "f", &b_sid), NFS4_OK);
	assert_int_equal(open_file(&c, 2, 0, "o", "f", &b_sid), E(SHARE_DENIED));
	assert_int_equal(on_file(&S, OP_READ, &sid), NFS4_OK);
}

/* ---- when records can't be had ------------------------------------------------------- */

static void test_no_room_for_records(void **state)
{
	struct sess s = arrive("unlucky", 1);
	struct sid sid;

	if (P.ctl->real)
		skip();			/* it doesn't fail when it is told to */
	P.foreground = true;
	P.ctl->fail_stable = -ENOSPC;
	assert_int_equal(reclaim_complete(&s), NFS4_OK);
	P.ctl->fail_stable = 0;
	assert_int_equal(open_file(&s, 1, 0, "o", "f", &sid), NFS4_OK);
	P.ctl->fail_stable = -EROFS;
	s = arrive("readonly", 1);
	assert_int_equal(reclaim_complete(&s), NFS4_OK);
	assert_int_equal(open_file(&s, 1, 0, "o", "f", &sid), NFS4_OK);
	assert_int_equal(nfs4_records_count(rec()->records), 1);
}

static void test_records_unreadable(void **state)
{
	struct sess s;
	struct sid sid;

	if (P.ctl->real)
		skip();			/* it doesn't fail when it is told to */
	P.ctl->fail = -EDAMAGED;
	proto_crash(&P);
	assert_false(nfs4_in_grace(state_now()));
	s = arrive("client", 1);
	assert_int_equal(reopen(&s, P.file, 1, 0, &sid), E(NO_GRACE));
	assert_int_equal(reclaim_complete(&s), NFS4_OK);
	assert_int_equal(open_file(&s, 1, 0, "o", "f", &sid), NFS4_OK);
	assert_int_equal(destroy_client(&s), E(CLIENTID_BUSY));
	pass(91);
	assert_true(nfs4_client_expire(state_now(), nfs4_client_find(state_now(), s.clientid)));
}

static const char *const foreign[] = {
	"x", "3000102030405060708090a0b0c0d0e0f", "1000102030405060708090a0b0c0d0e0g",
	"1000102030405060708090a0b0c0d0e0",
};

static void make_foreign(void *arg)
{
	const struct fs_create how = { .type = FS_REG, .how = FS_CREATE_GUARDED };
	struct fs_attr a;
	struct fs_req req;
	struct fs_id dir;

	fs_req_admin(&req, P.fs);
	assert_int_equal(fs_system_dir(&req, "clients", &dir), 0);
	for (size_t i = 0; i < sizeof(foreign) / sizeof(*foreign); i++)
		assert_int_equal(fs_create(&req, dir, (struct fs_name){ foreign[i],
				 strlen(foreign[i]) }, &how, &a, NULL), 0);
	assert_int_equal(fs_wait_stable(P.fs, req.stable_seq), 0);
}

/* As many as there may be; a start with them, and what is not ours in their directory. */
static void test_many_records(void **state)
{
	unsigned n = 0;
	char name[16];
	int err = 0;

	for (; !err && n < NFS4_RECORDS_MAX; n += !err) {
		snprintf(name, sizeof(name), "c%u", n);
		err = add_record(n % 3, name, NULL);
	}
	assert_int_equal(err, -ENOSPC);
	assert_int_equal(n, NFS4_RECORDS_MAX - 1);		/* and setup's */
	S = arrive("too many", 1);
	assert_int_equal(reclaim_complete(&S), NFS4_OK);
	assert_int_equal(nfs4_records_count(rec()->records), NFS4_RECORDS_MAX);
	proto_run(make_foreign, NULL);
	proto_crash(&P);
	assert_int_equal(nfs4_records_count(rec()->records), NFS4_RECORDS_MAX);
	pass(91);
	background();
	assert_int_equal(nfs4_records_count(rec()->records), 0);
	assert_int_equal(records_on_disk(), sizeof(foreign) / sizeof(*foreign));
}

/* Other kinds can't say that they are done: the period lasts its time. */
static void test_kinds(void **state)
{
	const struct xdr_bytes host = { (const uint8_t *)"client", 6 };
	static struct noting n;
	struct nfs4_record *r;

	assert_int_equal(add_record(NFS4_RECORD_NLM, "client", "10.0.0.1 name"), 0);
	proto_crash(&P);
	r = nfs4_record_find(rec()->records, NFS4_RECORD_NLM, host);
	assert_true(r && r->earlier && !r->current);
	n.r = r;
	proto_run(note_fiber, &n);
	assert_int_equal(n.err, 0);
	assert_string_equal(n.note, "10.0.0.1 name");
	assert_null(nfs4_record_find(rec()->records, NFS4_RECORD_40, host));
	n.r = nfs4_record_find(rec()->records, NFS4_RECORD_41, host);
	proto_run(note_fiber, &n);
	assert_int_equal(n.err, -ENOENT);
	new_client("client");
	assert_true(nfs4_in_grace(state_now()));
	assert_int_equal(add_record(NFS4_RECORD_NLM, "client", NULL), 0);
	background();
	assert_true(nfs4_in_grace(state_now()));
	pass(91);
	background();
	assert_false(nfs4_in_grace(state_now()));
	assert_int_equal(records_on_disk(), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T4(test_no_records), T4(test_reclaim), T4(test_stranger), T4(test_contradiction),
		T4(test_time_is_over), T4(test_prolonged), T4(test_crash_in_grace),
		T4(test_crash_at_the_end), T4(test_edge_lease), T4(test_edge_restart),
		T4(test_edge_half), T4(test_destroyed), T4(test_replaced),
		T4(test_replaced_and_gone), T4(test_expiry), T4(test_expiry_readonly), T4(test_readonly_meanwhile),
		T4(test_expiry_meanwhile), T4(test_expiry_in_vain),
		T4(test_no_room_for_records), T4(test_records_unreadable),
		T4(test_many_records), T4(test_kinds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
