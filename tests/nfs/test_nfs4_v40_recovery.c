/* SPDX-License-Identifier: Apache-2.0 */
/* NFSv4.0 through restarts (power cuts), and clients that take others' names, in process. */
#include "compound40.h"
#include "nfs/nfs4_v40.h"

static void run_it(void *arg) { nfs4_recovery_run(state_now()); }
static void background(void) { proto_run(run_it, NULL); }
static void pass(unsigned seconds) { state_now()->skew_ns += seconds * 1000000000ull; }
static unsigned records(void) { return nfs4_records_count(state_now()->recovery.records); }

static uint32_t reopen40(struct own *o, uint32_t access, uint32_t deny, struct sid *ret_sid)
{
	uint32_t status;
	bool confirm;

	on40(P.file);
	op(OP_OPEN);
	msg_u32(&M, o->seqid);
	msg_u32(&M, access);
	msg_u32(&M, deny);
	msg_u64(&M, C);
	msg_string(&M, o->name);
	msg_u32(&M, 0);
	msg_u32(&M, NFS4_CLAIM_PREVIOUS);
	msg_u32(&M, 0);
	status = run_numbered(o, OP_OPEN);
	if (!status) {
		*ret_sid = get_open40(&confirm);
		assert_false(confirm);		/* of what was reclaimed there is no doubt */
		end_of_reply();
	}
	return status;
}

static uint32_t relock40(struct own *o, const struct sid *open, struct own *l, struct sid *ret_lock)
{
	uint32_t status;

	on40(P.file);
	op(OP_LOCK);
	msg_u32(&M, NFS4_WRITE_LT);
	msg_u32(&M, 1);
	put_range(10, 10);
	msg_u32(&M, 1);
	msg_u32(&M, o->seqid);
	put_sid(open);
	msg_u32(&M, l->seqid);
	msg_u64(&M, C);
	msg_string(&M, l->name);
	status = run_numbered(o, OP_LOCK);
	if (!status) {
		*ret_lock = get_sid();
		l->seqid++;
	}
	return status;
}

static void test_reclaim(void **state)
{
	struct own o = { "o", 0 }, l = { "l", 0 };
	struct sid open, locked;
	uint64_t old = C;

	assert_int_equal(records(), 0);			/* nothing was given to him so far */
	assert_int_equal(open40(&o, 3, 0, "f", &open), NFS4_OK);
	assert_int_equal(records(), 1);
	assert_int_equal(first_lock40(&o, &open, &l, NFS4_WRITE_LT, 10, 10, &locked), NFS4_OK);
	for (int i = 0; i < 3; i++) {			/* however often the server starts */
		proto_crash(&P);
		assert_int_equal(renew(old), E(STALE_CLIENTID));
		assert_int_equal(reopen40(&o, 3, 0, &open), E(STALE_CLIENTID));
		assert_int_equal(read40(P.file, &locked), E(STALE_STATEID));
		C = client40("client");
		o.seqid = l.seqid = 70;
		assert_int_equal(open40(&o, 1, 0, "f", &open), E(GRACE));
		assert_int_equal(o.seqid, 71);
		assert_int_equal(reopen40(&o, 3, 0, &open), NFS4_OK);
		assert_int_equal(relock40(&o, &open, &l, &locked), NFS4_OK);
		assert_int_equal(write40(P.file, &locked), NFS4_OK);
		assert_int_equal(open40(&o, 1, 0, "f", &open), E(GRACE));
		assert_int_equal(test_lock40(C, "x", NFS4_WRITE_LT, 10, 1), E(GRACE));
	}
	/* nobody can know that he is done: it lasts its time */
	pass(89);
	background();
	assert_true(nfs4_in_grace(state_now()));
	pass(2);
	background();
	pass(1);
	background();
	assert_false(nfs4_in_grace(state_now()));
	assert_int_equal(records(), 1);
	assert_int_equal(test_lock40(C, "x", NFS4_WRITE_LT, 10, 1), E(DENIED));
	assert_int_equal(open40(&o, 1, 0, "f", &open), NFS4_OK);
	assert_int_equal(reopen40(&o, 3, 0, &open), E(NO_GRACE));
	assert_int_equal(relock40(&o, &open, &l, &locked), E(NO_GRACE));
}

static void test_stranger(void **state)
{
	struct own o = { "o", 0 }, p = { "o", 0 };
	uint64_t mine = C;
	struct sid sid;

	client40("unused");				/* has never opened anything */
	assert_int_equal(open40(&o, 3, 0, "f", &sid), NFS4_OK);
	proto_crash(&P);
	C = client40("unused");
	assert_int_equal(reopen40(&p, 3, 0, &sid), E(NO_GRACE));
	assert_int_equal(open40(&p, 1, 0, "f", &sid), E(GRACE));
	assert_int_equal(records(), 1);
	pass(91);
	background();
	assert_int_equal(open40(&p, 3, 0, "f", &sid), NFS4_OK);
	assert_int_equal(records(), 1);			/* now this one */
	proto_crash(&P);
	assert_int_equal(renew(mine), E(STALE_CLIENTID));
	C = client40("client");
	o.seqid = 0;
	assert_int_equal(reopen40(&o, 3, 0, &sid), E(NO_GRACE));
}

/* Another user takes the name of one whose lease ran out: his state goes when his record is gone. */
static void test_name_taken(void **state)
{
	struct own o = { "o", 0 }, p = { "p", 0 };
	uint64_t other = client40("other");
	struct sid sid;

	assert_int_equal(open40(&o, 3, 3, "f", &sid), NFS4_OK);
	pass(91);
	P.uid = 5;
	P.foreground = true;
	C = client40("client");
	P.uid = 0;
	assert_int_equal(read40(P.file, &sid), E(EXPIRED));
	assert_int_equal(records(), 1);
	o.seqid = 0;
	assert_int_equal(open40(&o, 1, 0, "f", &sid), E(DELAY));
	C = other;
	assert_int_equal(renew(other), NFS4_OK);
	assert_int_equal(open40(&p, 1, 0, "f", &sid), E(DELAY));
	background();
	assert_int_equal(records(), 1);			/* the other's */
	assert_int_equal(open40(&p, 1, 0, "f", &sid), NFS4_OK);
}

/* He restarted: what he had is gone with him, but he is on record. */
static void test_new_verifier(void **state)
{
	struct own o = { "o", 0 };
	uint64_t confirm;
	struct sid sid;

	assert_int_equal(open40(&o, 3, 3, "f", &sid), NFS4_OK);
	assert_int_equal(setclientid("client", 2, "tcp", "0.0.0.0.0.0", &C, &confirm), NFS4_OK);
	assert_int_equal(setclientid_confirm(C, confirm), NFS4_OK);
	assert_int_equal(state_now()->sids.n, 0);
	assert_int_equal(records(), 1);
	pass(91);
	background();
	assert_true(nfs4_client_expired(state_now(), nfs4_client_find(state_now(), C)));
	nfs4_client_expire(state_now(), nfs4_client_find(state_now(), C));
	background();
	assert_int_equal(records(), 0);
}

/* Who can't be put on record yet has made no file either, and may ask again for the same. */
static void test_delay_makes_nothing(void **state)
{
	struct own o = { "o", 0 };
	struct sid sid;
	bool confirm;

	assert_int_equal(open40(&o, 3, 3, "f", &sid), NFS4_OK);
	pass(91);
	P.foreground = true;
	nfs4_client_expire(state_now(), nfs4_client_find(state_now(), C));
	C = client40("client");
	o.seqid = 0;
	for (int i = 0; i < 2; i++) {
		on40(P.root);
		put_create40(&o, NFS4_CREATE_GUARDED, 0, "new");
		assert_int_equal(run40(), i ? NFS4_OK : E(DELAY));
		if (!i)
			background();
		o.seqid++;
	}
	ok(OP_OPEN);
	get_open40(&confirm);
	end_of_reply();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T40(test_reclaim), T40(test_stranger), T40(test_name_taken),
		T40(test_new_verifier), T40(test_delay_makes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
