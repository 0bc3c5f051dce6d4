/* SPDX-License-Identifier: Apache-2.0 */
/* NFSv4's opens, share reservations, stateids and byte-range locks, in process. */
#include "lockers.h"

static void test_creates(void **state)
{
	static const struct {
		uint32_t how;
		uint64_t verf;
		const char *name;
		uint32_t status;
	} t[] = {
		{ NFS4_CREATE_GUARDED, 0, "a", 0 }, { NFS4_CREATE_GUARDED, 0, "a", E(EXIST) },
		{ NFS4_CREATE_UNCHECKED, 0, "a", 0 }, { NFS4_CREATE_UNCHECKED, 0, "b", 0 },
		{ NFS4_CREATE_UNCHECKED, 0, "d", E(ISDIR) },
		{ NFS4_CREATE_UNCHECKED, 0, "l", E(SYMLINK) },
		{ NFS4_CREATE_EXCLUSIVE, 7, "e", 0 }, { NFS4_CREATE_EXCLUSIVE, 7, "e", 0 },
		{ NFS4_CREATE_EXCLUSIVE, 8, "e", E(EXIST) },
		{ NFS4_CREATE_EXCLUSIVE4_1, 7, "x", 0 }, { NFS4_CREATE_EXCLUSIVE4_1, 7, "x", 0 },
		{ NFS4_CREATE_EXCLUSIVE4_1, 9, "x", E(EXIST) },
		{ NFS4_CREATE_UNCHECKED, 0, "", E(INVAL) },
		{ NFS4_CREATE_UNCHECKED, 0, ".", E(BADNAME) },
		{ NFS4_CREATE_UNCHECKED, 0, "..", E(BADNAME) },
		{ NFS4_CREATE_UNCHECKED, 0, "a/b", E(BADNAME) },
	};
	struct sid sid, other;

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++)
		assert_int_equal(create4(t[i].how, t[i].verf, t[i].name, -1, &sid), t[i].status);
	assert_int_equal(size_of(P.file), 10000);
	assert_int_equal(create4(NFS4_CREATE_UNCHECKED, 0, "f", 77, &sid), NFS4_OK);
	assert_int_equal(size_of(P.file), 10000);		/* only a size of 0 counts */
	assert_int_equal(create4(NFS4_CREATE_UNCHECKED, 0, "f", 0, &other), NFS4_OK);
	assert_int_equal(size_of(P.file), 0);
	assert_memory_equal(sid.other, other.other, 12);	/* the same open, newer */
	assert_int_equal(other.seqid, sid.seqid + 1);
}

static void test_open_arguments(void **state)
{
	static const struct { uint32_t access, deny, status; } t[] = {
		{ 0, 0, E(INVAL) }, { 1, 4, E(INVAL) }, { 4, 0, E(INVAL) },
		{ 0x80000001, 0, E(INVAL) },
		{ 1, 0, 0 }, { 2, 0, 0 }, { 3, 0, 0 }, { 1, 3, E(SHARE_DENIED) },
	};
	static const struct { uint32_t claim, status; } claims[] = {
		{ 1, E(NO_GRACE) }, { 2, E(BAD_STATEID) }, { 3, E(NOTSUPP) }, { 4, 0 },
		{ 5, E(BAD_STATEID) }, { 6, E(NOTSUPP) }, { 7, E(BADXDR) },
	};
	struct sess young = { 0 };
	struct chan got;
	struct sid sid;
	uint32_t flags;

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++)
		assert_int_equal(open_file(&S, t[i].access, t[i].deny, "o", "f", &sid),
				 t[i].status);
	for (size_t i = 0; i < sizeof(claims) / sizeof(*claims); i++) {
		on(claims[i].claim == 4 ? P.file : P.root);
		op(OP_OPEN);
		msg_u32(&M, 0);
		msg_u32(&M, 1);
		msg_u32(&M, 0);
		put_owner("o");
		msg_u32(&M, 0);
		msg_u32(&M, claims[i].claim);
		if (claims[i].claim == 2 || claims[i].claim == 5)
			put_sid(&anonymous);
		if (claims[i].claim == 1)
			msg_u32(&M, 0);
		if (claims[i].claim == 2 || claims[i].claim == 3)
			msg_string(&M, "f");
		assert_int_equal(run_on(), claims[i].status);
	}
	assert_int_equal(exchange("young", 1, 0, &young, &flags), NFS4_OK);
	assert_int_equal(create_session(&young, (struct chan){ 4096, 512, 8, 1 }, &got), NFS4_OK);
	assert_int_equal(open_file(&young, 1, 0, "o", "f", &sid), E(GRACE));
	/* a delegation that is wanted isn't given */
	on(P.root);
	put_open(1 | 0x100, 0, "o", "f");
	assert_int_equal(run_on(), NFS4_OK);
	ok(OP_OPEN);
	get_open_head();
	assert_int_equal(get_offer().why, NFS4_NO_DELEG_RESOURCE);
	end_of_reply();
}

/* Every pair of opens: what one denies the other may not have. */
static void test_share(void **state)
{
	for (uint32_t i = 0; i < 12 * 12; i++) {
		uint32_t a = i % 12 % 3 + 1, da = i % 12 / 3, b = i / 12 % 3 + 1, db = i / 12 / 3;
		bool fits = !(da & b) && !(db & a);
		struct sess other = new_client("other");
		struct sid sid, sid2, sid3;

		assert_int_equal(open_file(&S, a, da, "o", "f", &sid), NFS4_OK);
		assert_int_equal(open_file(&S, b, db, "p", "f", &sid2), fits ? 0 : E(SHARE_DENIED));
		if (fits) {
			on(P.file);
			op(OP_CLOSE);
			msg_u32(&M, 0);
			put_sid(&sid2);
			assert_int_equal(run_on(), NFS4_OK);
		}
		assert_int_equal(open_file(&other, b, db, "o", "f", &sid3),
				 fits ? 0 : E(SHARE_DENIED));
		/* one's own open is no exception (and the other's is there, if it fits) */
		assert_int_equal(open_file(&S, b, db, "o", "f", &sid2),
				 fits && !(b & db) ? 0 : E(SHARE_DENIED));
		teardown(NULL);
		setup4(NULL);
	}
}

static uint32_t with_sid(uint32_t num, const struct sid *sid, uint32_t access, uint32_t deny)
{
	on(P.file);
	op(num);
	if (num == OP_CLOSE)
		msg_u32(&M, 0);
	put_sid(sid);
	switch (num) {
	case OP_OPEN_DOWNGRADE:
		msg_u32(&M, 0);
		msg_u32(&M, access);
		msg_u32(&M, deny);
		break;
	case OP_READ:
		msg_u64(&M, 0);
		msg_u32(&M, 10);
		break;
	case OP_WRITE:
		msg_u64(&M, 0);
		msg_u32(&M, 0);
		msg_string(&M, "x");
		break;
	case OP_SETATTR:
		msg_u32(&M, 1);
		msg_u32(&M, 16);
		msg_u32(&M, 8);
		msg_u64(&M, 50);
	}
	return run_on();
}

static void test_stateids(void **state)
{
	struct sid ro, rw, old, wrong;

	assert_int_equal(open_file(&S, 1, 0, "r", "f", &ro), NFS4_OK);
	assert_int_equal(open_file(&S, 1, 0, "w", "f", &rw), NFS4_OK);
	old = rw;
	assert_int_equal(open_file(&S, 2, 0, "w", "f", &rw), NFS4_OK);
	assert_int_equal(with_sid(OP_READ, &ro, 0, 0), NFS4_OK);
	assert_int_equal(with_sid(OP_WRITE, &ro, 0, 0), E(OPENMODE));
	assert_int_equal(with_sid(OP_SETATTR, &ro, 0, 0), E(OPENMODE));
	assert_int_equal(with_sid(OP_WRITE, &rw, 0, 0), NFS4_OK);
	assert_int_equal(with_sid(OP_SETATTR, &rw, 0, 0), NFS4_OK);
	assert_int_equal(with_sid(OP_WRITE, &old, 0, 0), E(OLD_STATEID));
	wrong = rw;
	wrong.seqid++;
	assert_int_equal(with_sid(OP_WRITE, &wrong, 0, 0), E(BAD_STATEID));
	wrong.seqid = 0;					/* the newest */
	assert_int_equal(with_sid(OP_WRITE, &wrong, 0, 0), NFS4_OK);
	wrong.other[0] ^= 1;
	assert_int_equal(with_sid(OP_WRITE, &wrong, 0, 0), E(BAD_STATEID));
	wrong = (struct sid){ .seqid = UINT32_MAX };
	assert_int_equal(with_sid(OP_READ, &wrong, 0, 0), E(BAD_STATEID));
	wrong = bypass;
	wrong.seqid = 0;
	assert_int_equal(with_sid(OP_READ, &wrong, 0, 0), E(BAD_STATEID));
	assert_int_equal(with_sid(OP_READ, &current, 0, 0), E(BAD_STATEID));
	/* of another client, on another file */
	struct sess other = new_client("other"), mine = S;

	S = other;
	assert_int_equal(with_sid(OP_READ, &ro, 0, 0), E(BAD_STATEID));
	S = mine;
	on(P.dir);
	op(OP_READ);
	put_sid(&ro);
	msg_u64(&M, 0);
	msg_u32(&M, 1);
	assert_int_equal(run_on(), E(BAD_STATEID));
}

static void test_special_stateids(void **state)
{
	struct sid deny;

	assert_int_equal(with_sid(OP_READ, &anonymous, 0, 0), NFS4_OK);
	assert_int_equal(with_sid(OP_READ, &bypass, 0, 0), NFS4_OK);
	assert_int_equal(with_sid(OP_WRITE, &bypass, 0, 0), NFS4_OK);
	assert_int_equal(open_file(&S, 1, 3, "o", "f", &deny), NFS4_OK);
	assert_int_equal(with_sid(OP_READ, &anonymous, 0, 0), E(LOCKED));
	assert_int_equal(with_sid(OP_READ, &bypass, 0, 0), NFS4_OK);
	assert_int_equal(with_sid(OP_WRITE, &anonymous, 0, 0), E(LOCKED));
	assert_int_equal(with_sid(OP_WRITE, &bypass, 0, 0), E(LOCKED));
	assert_int_equal(with_sid(OP_SETATTR, &anonymous, 0, 0), E(LOCKED));
}

/* Who has it open to write only may read, unless others deny that. */
static void test_read_to_write(void **state)
{
	struct sid wo, deny;

	assert_int_equal(open_file(&S, 2, 1, "w", "f", &wo), NFS4_OK);	/* his own doesn't count */
	assert_int_equal(with_sid(OP_READ, &wo, 0, 0), NFS4_OK);
	assert_int_equal(with_sid(OP_CLOSE, &wo, 0, 0), NFS4_OK);
	assert_int_equal(open_file(&S, 2, 0, "w", "f", &wo), NFS4_OK);
	assert_int_equal(with_sid(OP_READ, &wo, 0, 0), NFS4_OK);
	assert_int_equal(open_file(&S, 2, 1, "deny", "f", &deny), NFS4_OK);
	assert_int_equal(with_sid(OP_READ, &wo, 0, 0), E(LOCKED));
	assert_int_equal(with_sid(OP_WRITE, &wo, 0, 0), NFS4_OK);
}

static void test_current_stateid(void **state)
{
	on(P.root);
	put_open(3, 0, "o", "f");
	op(OP_WRITE);
	put_sid(&current);
	msg_u64(&M, 0);
	msg_u32(&M, 0);
	msg_string(&M, "cur");
	op(OP_SAVEFH);
	putfh(P.root);
	op(OP_RESTOREFH);
	op(OP_READ);
	put_sid(&current);
	msg_u64(&M, 0);
	msg_u32(&M, 3);
	op(OP_CLOSE);
	msg_u32(&M, 0);
	put_sid(&current);
	assert_int_equal(run_on(), NFS4_OK);
	assert_int_equal(results, 9);
	assert_int_equal(state_now()->sids.n, 0);
	on(P.root);
	put_open(1, 0, "o", "f");
	putfh(P.file);					/* takes the current stateid away */
	op(OP_READ);
	put_sid(&current);
	msg_u64(&M, 0);
	msg_u32(&M, 3);
	assert_int_equal(run_on(), E(BAD_STATEID));
}

static void test_downgrade_and_close(void **state)
{
	struct sid sid;

	assert_int_equal(open_file(&S, 1, 2, "o", "f", &sid), NFS4_OK);
	assert_int_equal(with_sid(OP_OPEN_DOWNGRADE, &sid, 1, 0), E(INVAL));	/* never asked */
	assert_int_equal(open_file(&S, 1, 0, "o", "f", &sid), NFS4_OK);
	assert_int_equal(with_sid(OP_OPEN_DOWNGRADE, &sid, 0, 0), E(INVAL));
	assert_int_equal(with_sid(OP_OPEN_DOWNGRADE, &sid, 2, 0), E(INVAL));
	assert_int_equal(with_sid(OP_OPEN_DOWNGRADE, &sid, 1, 0), NFS4_OK);
	ok(OP_OPEN_DOWNGRADE);
	sid = get_sid();
	assert_int_equal(with_sid(OP_OPEN_DOWNGRADE, &sid, 1, 2), E(INVAL));
	assert_int_equal(open_file(&S, 3, 0, "o", "f", &sid), NFS4_OK);
	assert_int_equal(with_sid(OP_OPEN_DOWNGRADE, &sid, 1, 0), NFS4_OK);
	ok(OP_OPEN_DOWNGRADE);
	sid = get_sid();
	assert_int_equal(with_sid(OP_WRITE, &sid, 0, 0), E(OPENMODE));
	assert_int_equal(with_sid(OP_OPEN_DOWNGRADE, &sid, 3, 0), E(INVAL));
	assert_int_equal(with_sid(OP_CLOSE, &sid, 0, 0), NFS4_OK);
	assert_int_equal(with_sid(OP_CLOSE, &sid, 0, 0), E(BAD_STATEID));
	assert_int_equal(state_now()->files.n, 0);
	assert_int_equal(state_now()->owners.n, 0);
}

/* ---- locks --------------------------------------------------------------------------- */

static void test_locks(void **state)
{
	struct sess other = new_client("other");
	struct locker a = { .name = "a" }, b = { .name = "b" };

	assert_int_equal(open_file(&S, 3, 0, "o", "f", &a.open), NFS4_OK);
	assert_int_equal(open_file(&other, 3, 0, "o", "f", &b.open), NFS4_OK);
	assert_int_equal(lock(&S, &a, NFS4_WRITE_LT, 100, 100), NFS4_OK);
	assert_int_equal(lock(&other, &b, NFS4_READ_LT, 150, 100), E(DENIED));
	assert_int_equal(xdr_get_u64(&R), 100);
	assert_int_equal(xdr_get_u64(&R), 100);
	assert_int_equal(xdr_get_u32(&R), NFS4_WRITE_LT);
	assert_true(xdr_get_u64(&R) == S.clientid);
	assert_memory_equal(xdr_get_opaque(&R, 100).s, "a", 1);
	end_of_reply();
	assert_int_equal(lock(&other, &b, NFS4_READW_LT, 199, 1), E(DENIED));
	assert_int_equal(lock(&other, &b, NFS4_READ_LT, 200, UINT64_MAX), NFS4_OK);
	assert_int_equal(lock(&other, &b, NFS4_WRITE_LT, 0, 100), NFS4_OK);
	assert_int_equal(lock(&S, &a, NFS4_READ_LT, 500, 10), NFS4_OK);		/* shared */
	assert_int_equal(lock(&S, &a, NFS4_WRITE_LT, 500, 10), E(DENIED));
	/* unlocking the middle leaves both ends */
	assert_int_equal(unlock(&S, &a, 120, 10), NFS4_OK);
	assert_int_equal(test_lock(&other, "b", NFS4_WRITE_LT, 120, 10), NFS4_OK);
	assert_int_equal(test_lock(&other, "b", NFS4_READ_LT, 119, 1), E(DENIED));
	assert_int_equal(test_lock(&other, "b", NFS4_READ_LT, 130, 1), E(DENIED));
	assert_int_equal(test_lock(&S, "a", NFS4_WRITE_LT, 100, 100), NFS4_OK);	/* its own */
	assert_int_equal(test_lock(&S, "c", NFS4_WRITE_LT, 100, 100), E(DENIED));
	/* filling the gap makes one of them again; downgrading splits */
	assert_int_equal(lock(&S, &a, NFS4_WRITE_LT, 120, 10), NFS4_OK);
	assert_int_equal(lock(&S, &a, NFS4_READ_LT, 150, 10), NFS4_OK);
	assert_int_equal(test_lock(&other, "b", NFS4_READ_LT, 150, 10), NFS4_OK);
	assert_int_equal(test_lock(&other, "b", NFS4_WRITE_LT, 150, 10), E(DENIED));
	assert_int_equal(test_lock(&other, "b", NFS4_READ_LT, 149, 1), E(DENIED));
	/* closing lets go of all */
	assert_int_equal(with_sid(OP_CLOSE, &a.open, 0, 0), NFS4_OK);
	assert_int_equal(test_lock(&other, "b", NFS4_WRITE_LT, 0, UINT64_MAX), NFS4_OK);
}

static void test_lock_arguments(void **state)
{
	static const struct { uint32_t type; uint64_t off, len; uint32_t status; } t[] = {
		{ 1, 0, 0, E(INVAL) }, { 1, 1, UINT64_MAX - 1, 0 },
		{ 1, 2, UINT64_MAX - 1, E(INVAL) },
		{ 0, 0, 1, E(INVAL) }, { 5, 0, 1, E(INVAL) }, 
		{ 2, UINT64_MAX, 1, E(INVAL) }, { 2, UINT64_MAX - 1, 1, 0 },
		{ 2, 5, UINT64_MAX, 0 }, { 3, 0, 1, 0 }, { 4, 0, 1, 0 },
	};
	struct locker a = { .name = "a" }, r = { .name = "r" };
	struct sess mine = S;

	assert_int_equal(open_file(&S, 3, 0, "o", "f", &a.open), NFS4_OK);
	assert_int_equal(open_file(&S, 1, 0, "r", "f", &r.open), NFS4_OK);
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++)
		assert_int_equal(lock(&S, &a, t[i].type, t[i].off, t[i].len), t[i].status);
	assert_int_equal(unlock(&S, &a, 0, UINT64_MAX), NFS4_OK);
	assert_int_equal(lock(&S, &r, NFS4_WRITE_LT, 0, 1), E(OPENMODE));
	assert_int_equal(lock(&S, &r, NFS4_READ_LT, 0, 1), NFS4_OK);
	r.lock.seqid += 7;
	assert_int_equal(lock(&S, &r, NFS4_READ_LT, 0, 1), E(BAD_STATEID));
	/* READ and WRITE by the lock's stateid have the rights of its open */
	r.lock.seqid = 0;
	assert_int_equal(with_sid(OP_READ, &r.lock, 0, 0), NFS4_OK);
	assert_int_equal(with_sid(OP_WRITE, &r.lock, 0, 0), E(OPENMODE));
	assert_int_equal(with_sid(OP_CLOSE, &r.lock, 0, 0), E(BAD_STATEID));
	assert_true(mine.clientid == S.clientid);
}

static uint32_t free_sid(const struct sid *s)
{
	begin(2);
	seq(&S);
	op(OP_FREE_STATEID);
	put_sid(s);
	return run();
}

static void test_free_and_test(void **state)
{
	struct locker a = { .name = "a" };
	struct sid wrong = { 9, { 1, 2, 3 } };

	assert_int_equal(open_file(&S, 3, 0, "o", "f", &a.open), NFS4_OK);
	assert_int_equal(lock(&S, &a, NFS4_WRITE_LT, 0, 5), NFS4_OK);
	begin(2);
	seq(&S);
	op(OP_TEST_STATEID);
	msg_u32(&M, 4);
	put_sid(&a.open);
	put_sid(&a.lock);
	put_sid(&wrong);
	put_sid(&anonymous);
	assert_int_equal(run(), NFS4_OK);
	ok_seq();
	ok(OP_TEST_STATEID);
	assert_int_equal(xdr_get_u32(&R), 4);
	assert_int_equal(xdr_get_u32(&R), NFS4_OK);
	assert_int_equal(xdr_get_u32(&R), NFS4_OK);
	assert_int_equal(xdr_get_u32(&R), E(BAD_STATEID));
	assert_int_equal(xdr_get_u32(&R), E(BAD_STATEID));
	end_of_reply();
	assert_int_equal(free_sid(&a.open), E(LOCKS_HELD));
	assert_int_equal(free_sid(&a.lock), E(LOCKS_HELD));
	assert_int_equal(free_sid(&wrong), E(BAD_STATEID));
	assert_int_equal(unlock(&S, &a, 0, 5), NFS4_OK);
	assert_int_equal(free_sid(&a.lock), NFS4_OK);
	assert_int_equal(free_sid(&a.lock), E(BAD_STATEID));
	begin(2);
	seq(&S);
	op(OP_TEST_STATEID);
	msg_u32(&M, 3000);
	for (int i = 0; i < 3000; i++)
		put_sid(&wrong);
	assert_int_equal(run(), NFS4_OK);
	assert_true(reply_len > 12000);
}

/* Random locks of three owners against a plain array. */
static void test_locks_model(void **state)
{
	enum { BYTES = 64 };
	uint8_t model[3][BYTES] = { 0 };
	struct locker l[3] = { { .name = "0" }, { .name = "1" }, { .name = "2" } };

	srand(11);
	for (int i = 0; i < 3; i++)
		assert_int_equal(open_file(&S, 3, 0, l[i].name, "f", &l[i].open), NFS4_OK);
	for (int round = 0; round < 20000; round++) {
		unsigned who = rand() % 3, off = rand() % BYTES, len = 1 + rand() % (BYTES - off);
		uint32_t type = rand() % 3;
		bool clash = false;

		for (unsigned k = off; k < off + len && type; k++)
			for (unsigned o = 0; o < 3; o++)
				clash |= o != who && model[o][k] &&
					 (type == 2 || model[o][k] == 2);
		if (type || !l[who].has)
			assert_int_equal(lock(&S, &l[who], type ? type : 1, off, type ? len : 0),
					 !type ? E(INVAL) : clash ? E(DENIED) : 0);
		else
			assert_int_equal(unlock(&S, &l[who], off, len), NFS4_OK);
		if (!clash)
			memset(&model[who][off], type, len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T4(test_creates), T4(test_open_arguments), T4(test_share), T4(test_stateids),
		T4(test_special_stateids), T4(test_read_to_write), T4(test_current_stateid),
		T4(test_downgrade_and_close), T4(test_locks), T4(test_lock_arguments),
		T4(test_free_and_test), T4(test_locks_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
