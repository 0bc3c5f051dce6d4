/* SPDX-License-Identifier: Apache-2.0 */
/* NFSv4.1 in process: COMPOUND's own rules, clients, sessions, slots and their cached replies. */
#include "compound.h"
#include "nfs/nfs4_state.h"

#define UPDATE 0x40000000u
#define CONFIRMED 0x80000000u

/* ---- COMPOUND ------------------------------------------------------------------------ */

static void test_minor_versions(void **state)
{
	for (uint32_t minor = 0; minor < 5; minor++) {
		begin_tag(minor, "some tag");
		op(OP_PUTROOTFH);
		assert_int_equal(run(), minor == 0 ? NFS4_OK : minor <= 2 ?
				 NFS4ERR_OP_NOT_IN_SESSION : NFS4ERR_MINOR_VERS_MISMATCH);
		assert_int_equal(results, minor <= 2);
	}
	begin(1);
	assert_int_equal(run(), NFS4_OK);
	assert_int_equal(results, 0);
	end_of_reply();
	proto_head(&P, NFS_PROGRAM, 4, 0, &M);
	assert_int_equal(serve(), RPC_SUCCESS);
	end_of_reply();
}

struct tally { const char *proc; uint64_t calls, errors, ns; };

static void tally(void *arg, const struct nfs_proc_info *i)
{
	struct tally *t = arg;

	if (i->version != 4 || strcmp(i->proc, t->proc))
		return;
	t->calls += i->calls;
	t->errors += i->errors;
	t->ns += i->total_ns;
}

static uint64_t assert_tally(const char *proc, uint64_t calls, uint64_t errors)
{
	struct tally t = { .proc = proc };

	nfs_server_procs(P.server, tally, &t);
	assert_int_equal(t.calls, calls);
	assert_int_equal(t.errors, errors);
	return t.ns;
}

/* Each operation is counted by itself, like a procedure; the time of those that are over at once
 * counts with the next one's. */
static void test_tallies(void **state)
{
	assert_tally("CLONE", 0, 0);
	begin(2);
	seq(&S);
	putfh(P.file);
	op(OP_GETATTR);
	msg_u32(&M, 0);
	op(OP_GETFH);
	op(OP_READLINK);
	op(OP_GETFH);
	assert_int_equal(run(), NFS4ERR_WRONG_TYPE);
	assert_int_equal(assert_tally("SEQUENCE", 2, 0), 0); /* one before: RECLAIM_COMPLETE */
	assert_int_equal(assert_tally("PUTFH", 1, 0), 0);
	assert_true(assert_tally("GETATTR", 1, 0) > 0);
	assert_int_equal(assert_tally("GETFH", 1, 0), 0);
	assert_true(assert_tally("READLINK", 1, 1) > 0);
	on(P.file);
	assert_int_equal(run_on(), NFS4_OK);
	assert_true(assert_tally("PUTFH", 2, 0) > 0);	/* there was no next */
}

/* Every number, in each place. */
static void test_places(void **state)
{
	static const uint8_t alone[] = { OP_BIND_CONN, OP_EXCHANGE_ID, OP_CREATE_SESSION,
					 OP_DESTROY_SESSION, OP_DESTROY_CLIENTID };

	for (uint32_t minor = 1; minor <= 2; minor++)
		for (uint32_t num = 0; num < 90; num++) {
			bool known = num >= 3 && num <= (minor == 1 ? 58 : 75), is_alone;

			is_alone = memchr(alone, num, sizeof(alone));
			begin(minor);
			op(num);
			op(OP_GETFH);
			assert_int_equal(run(), !known ? NFS4ERR_OP_ILLEGAL :
					 num == OP_SEQUENCE ? NFS4ERR_BADXDR :
					 is_alone ? NFS4ERR_NOT_ONLY_OP :
					 NFS4ERR_OP_NOT_IN_SESSION);
			assert_int_equal(results, 1);
			res(known ? num : OP_ILLEGAL);
			if (num == OP_SETATTR)
				assert_int_equal(xdr_get_u32(&R), 0);	/* what was set: nothing */
			end_of_reply();
		}
	begin(1);
	seq(&S);
	put_seq(&S, 0);
	assert_int_equal(run(), NFS4ERR_SEQUENCE_POS);
	begin(1);
	seq(&S);
	op(OP_BIND_CONN);
	assert_int_equal(run(), NFS4ERR_NOT_ONLY_OP);
}

static void test_many_ops(void **state)
{
	begin(1);
	seq(&S);
	for (int i = 0; i < 15; i++)
		op(OP_PUTROOTFH);
	assert_int_equal(run(), NFS4_OK);
	assert_int_equal(results, 16);
	begin(1);
	put_seq(&S, S.seq + 1);
	for (int i = 0; i < 16; i++)
		op(OP_PUTROOTFH);
	assert_int_equal(run(), NFS4ERR_TOO_MANY_OPS);
	assert_int_equal(results, 1);
	begin(1);
	seq(&S);			/* the slot had not moved */
	assert_int_equal(run(), NFS4_OK);
}

/* ---- clients ------------------------------------------------------------------------- */

static void test_exchange_id(void **state)
{
	struct sess a = { 0 }, b = { 0 }, c = { 0 };
	struct chan got;
	uint32_t flags;

	/* new, then replaced while not confirmed */
	assert_int_equal(exchange("x", 1, 0, &a, &flags), NFS4_OK);
	assert_int_equal(flags & CONFIRMED, 0);
	assert_int_equal(exchange("x", 1, 0, &b, &flags), NFS4_OK);
	assert_true(a.clientid != b.clientid);
	assert_int_equal(create_session(&a, (struct chan){ 4096, 512, 8, 1 }, &got),
			 NFS4ERR_STALE_CLIENTID);
	assert_int_equal(exchange("x", 1, UPDATE, &c, &flags), NFS4ERR_NOENT);
	assert_int_equal(create_session(&b, (struct chan){ 4096, 512, 8, 1 }, &got), NFS4_OK);
	/* confirmed: the same again, an update, a wrong update */
	assert_int_equal(exchange("x", 1, 0, &c, &flags), NFS4_OK);
	assert_true(c.clientid == b.clientid && flags & CONFIRMED);
	assert_int_equal(exchange("x", 1, UPDATE, &c, &flags), NFS4_OK);
	assert_true(c.clientid == b.clientid && flags & CONFIRMED);
	assert_int_equal(exchange("x", 2, UPDATE, &c, &flags), NFS4ERR_NOT_SAME);
	P.uid = 77;
	assert_int_equal(exchange("x", 1, UPDATE, &c, &flags), NFS4ERR_PERM);
	P.uid = 0;
	/* the client came up again: the old one lives until the new one has a session */
	assert_int_equal(exchange("x", 2, 0, &c, &flags), NFS4_OK);
	assert_true(c.clientid != b.clientid && !(flags & CONFIRMED));
	begin(1);
	seq(&b);
	assert_int_equal(run(), NFS4_OK);
	assert_int_equal(create_session(&c, (struct chan){ 4096, 512, 8, 1 }, &got), NFS4_OK);
	begin(1);
	seq(&b);
	assert_int_equal(run(), NFS4ERR_BADSESSION);
	assert_int_equal(exchange("y", 1, 0x80000000, &a, &flags), NFS4ERR_INVAL);
	assert_int_equal(exchange("y", 1, 0x20, &a, &flags), NFS4ERR_INVAL);
}

/* Bits that a minor version doesn't know. */
static void test_exchange_flags(void **state)
{
	static const struct { uint32_t flags, in_41, in_42; } t[] = {
		{ 0x10000, 0, 0 }, { 0x70103, 0, 0 }, { 4, E(INVAL), 0 }, { 8, E(INVAL), E(INVAL) },
		{ CONFIRMED, E(INVAL), E(INVAL) }, { 0x80000, E(INVAL), E(INVAL) },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++)
		for (uint32_t minor = 1; minor <= 2; minor++) {
			begin(minor);
			op(OP_EXCHANGE_ID);
			msg_u64(&M, 1);
			msg_string(&M, "flags");
			msg_u32(&M, t[i].flags);
			msg_u32(&M, 0);
			msg_u32(&M, 0);
			assert_int_equal(run(), minor == 1 ? t[i].in_41 : t[i].in_42);
		}
}

/* Who doesn't make a session within the time of a lease has to begin anew. */
static void test_unconfirmed(void **state)
{
	struct sess early = { 0 }, late = { 0 };
	struct chan got;
	uint32_t flags;

	assert_int_equal(exchange("early", 1, 0, &early, &flags), NFS4_OK);
	assert_int_equal(exchange("late", 1, 0, &late, &flags), NFS4_OK);
	state_now()->skew_ns += 89000000000ull;
	assert_int_equal(create_session(&early, (struct chan){ 4096, 512, 8, 1 }, &got), NFS4_OK);
	state_now()->skew_ns += 2000000000ull;
	assert_int_equal(create_session(&late, (struct chan){ 4096, 512, 8, 1 }, &got),
			 NFS4ERR_STALE_CLIENTID);
}

/* Another user with the same name: not while the first has a session or state. */
static void test_collision(void **state)
{
	struct sess other = { 0 };
	struct sid sid;
	uint32_t flags;

	P.uid = 5;
	assert_int_equal(exchange("client", 1, 0, &other, &flags), NFS4ERR_CLID_INUSE);
	P.uid = 0;
	assert_int_equal(open_file(&S, 1, 0, "o", "f", &sid), NFS4_OK);
	P.uid = 5;
	assert_int_equal(exchange("client", 1, 0, &other, &flags), NFS4ERR_CLID_INUSE);
	state_now()->skew_ns += 91000000000ull;
	assert_int_equal(exchange("client", 1, 0, &other, &flags), NFS4_OK);
	assert_true(other.clientid != S.clientid);
	P.uid = 0;
	begin(1);
	seq(&S);
	assert_int_equal(run(), NFS4ERR_BADSESSION);
}

static void test_protection(void **state)
{
	static const uint32_t expect[] = { NFS4_OK, NFS4ERR_INVAL, NFS4ERR_ENCR_ALG_UNSUPP };

	for (uint32_t how = 0; how < 4; how++) {
		begin(2);
		op(OP_EXCHANGE_ID);
		msg_u64(&M, 1);
		msg_string(&M, "p");
		msg_u32(&M, 0);
		msg_u32(&M, how);
		if (how)
			msg_u64(&M, 0);			/* two bitmaps */
		if (how == 2) {
			msg_u64(&M, 0);			/* no algorithms */
			msg_u64(&M, 0);
		}
		msg_u32(&M, 0);
		assert_int_equal(run(), how < 3 ? expect[how] : NFS4ERR_BADXDR);
	}
}

static uint32_t create_with_back(const struct sess *s, struct chan back)
{
	begin(1);
	op(OP_CREATE_SESSION);
	msg_u64(&M, s->clientid);
	msg_u32(&M, s->create_seq);
	msg_u32(&M, 0);
	put_channel(4096, 512, 8, 1);
	put_channel(back.bytes, back.cached, back.ops, back.slots);
	msg_u32(&M, 0x40000000);
	msg_u32(&M, 0);
	return run();
}

static void test_create_session(void **state)
{
	static const struct { struct chan want; uint32_t status; } bad[] = {
		{ { 0, 0, 8, 1 }, NFS4ERR_TOOSMALL }, { { 100, 0, 8, 1 }, NFS4ERR_TOOSMALL },
		{ { 4096, 0, 0, 1 }, NFS4ERR_INVAL }, { { 4096, 0, 8, 0 }, NFS4ERR_INVAL },
	};
	static const struct { struct chan want; uint32_t status; } bad_back[] = {
		{ { 10, 0, 8, 1 }, NFS4ERR_TOOSMALL }, { { 4096, 0, 1, 1 }, NFS4ERR_TOOSMALL },
	};
	struct sess s = { 0 }, wrong;
	struct chan got;
	uint32_t flags;
	uint8_t id[16];

	assert_int_equal(exchange("cs", 1, 0, &s, &flags), NFS4_OK);
	wrong = s;
	wrong.create_seq += 1;
	assert_int_equal(create_session(&wrong, (struct chan){ 4096, 512, 8, 1 }, &got),
			 NFS4ERR_SEQ_MISORDERED);
	wrong.create_seq -= 2;
	assert_int_equal(create_session(&wrong, (struct chan){ 4096, 512, 8, 1 }, &got),
			 NFS4ERR_SEQ_MISORDERED);
	P.uid = 9;
	assert_int_equal(create_session(&s, (struct chan){ 4096, 512, 8, 1 }, &got),
			 NFS4ERR_CLID_INUSE);
	P.uid = 0;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		/* the number is not used up */
		assert_int_equal(create_session(&s, bad[i].want, &got), bad[i].status);
	}
	for (size_t i = 0; i < sizeof(bad_back) / sizeof(*bad_back); i++)
		assert_int_equal(create_with_back(&s, bad_back[i].want), bad_back[i].status);
	assert_int_equal(create_session(&s, (struct chan){ UINT32_MAX, UINT32_MAX, UINT32_MAX,
							   UINT32_MAX }, &got), NFS4_OK);
	assert_true(got.bytes <= RPC_CALL_MAX && got.bytes >= 1 << 20);
	assert_true(got.ops >= 16 && got.ops <= NFS4_OPS_MAX && got.slots <= NFS4_SLOTS_MAX &&
		    got.slots >= 8);
	memcpy(id, s.id, 16);
	assert_int_equal(create_session(&s, (struct chan){ 4096, 512, 8, 1 }, &got), NFS4_OK);
	assert_memory_equal(s.id, id, 16);			/* a replay: the first answer */
	for (int i = 1; i < NFS4_SESSIONS_MAX; i++) {
		s.create_seq++;
		assert_int_equal(create_session(&s, (struct chan){ 4096, 512, 8, 1 }, &got),
				 NFS4_OK);
		assert_memory_not_equal(s.id, id, 16);
	}
	s.create_seq++;
	assert_int_equal(create_session(&s, (struct chan){ 4096, 512, 8, 1 }, &got),
			 NFS4ERR_NOSPC);
}

static uint32_t destroy(uint32_t num, const void *id, size_t len, struct sess *in)
{
	begin(1);
	if (in)
		seq(in);
	op(num);
	msg_bytes(&M, id, len);
	return run();
}

static void test_destroy(void **state)
{
	uint64_t clientid = htobe64(S.clientid);
	struct sess other = new_client("other");
	struct sid sid;
	uint8_t id[16] = { 1 };

	assert_int_equal(destroy(OP_DESTROY_SESSION, id, 16, NULL), NFS4ERR_BADSESSION);
	assert_int_equal(destroy(OP_DESTROY_CLIENTID, id, 8, NULL), NFS4ERR_STALE_CLIENTID);
	assert_int_equal(destroy(OP_DESTROY_CLIENTID, &clientid, 8, NULL), NFS4ERR_CLIENTID_BUSY);
	assert_int_equal(open_file(&S, 1, 0, "o", "f", &sid), NFS4_OK);
	/* its own session: only as the last operation */
	begin(1);
	seq(&S);
	op(OP_DESTROY_SESSION);
	msg_bytes(&M, S.id, 16);
	op(OP_PUTROOTFH);
	assert_int_equal(run(), NFS4ERR_NOT_ONLY_OP);
	assert_int_equal(destroy(OP_DESTROY_SESSION, other.id, 16, &S), NFS4_OK);
	assert_int_equal(destroy(OP_DESTROY_SESSION, S.id, 16, &S), NFS4_OK);
	assert_int_equal(destroy(OP_DESTROY_SESSION, S.id, 16, NULL), NFS4ERR_BADSESSION);
	assert_int_equal(destroy(OP_DESTROY_CLIENTID, &clientid, 8, NULL), NFS4ERR_CLIENTID_BUSY);
	clientid = htobe64(other.clientid);
	assert_int_equal(destroy(OP_DESTROY_CLIENTID, &clientid, 8, NULL), NFS4_OK);
	assert_int_equal(destroy(OP_DESTROY_CLIENTID, &clientid, 8, NULL), NFS4ERR_STALE_CLIENTID);
}

static void test_small_ones(void **state)
{
	assert_int_equal(reclaim_complete(&S), NFS4ERR_COMPLETE_ALREADY);
	for (uint32_t dir = 0; dir < 9; dir++) {
		bool valid = (dir >= 1 && dir <= 3) || dir == 7;

		begin(1);
		op(OP_BIND_CONN);
		msg_bytes(&M, S.id, 16);
		msg_u32(&M, dir);
		msg_u32(&M, 0);
		assert_int_equal(run(), valid ? NFS4_OK : NFS4ERR_INVAL);
	}
	begin(1);
	seq(&S);
	op(OP_BACKCHANNEL_CTL);
	msg_u64(&M, 0);
	assert_int_equal(run(), NFS4_OK);
	begin(1);
	seq(&S);
	putfh(P.root);
	op(OP_SECINFO_NO_NAME);
	msg_u32(&M, 0);
	op(OP_GETFH);
	assert_int_equal(run(), NFS4ERR_NOFILEHANDLE);
	ok_seq();
	ok(OP_PUTFH);
	ok(OP_SECINFO_NO_NAME);
	assert_int_equal(xdr_get_u32(&R), 1);
	assert_int_equal(xdr_get_u32(&R), 1);
}

/* ---- slots --------------------------------------------------------------------------- */

static void make_dir(struct sess *s, uint32_t seqid, const char *name)
{
	begin(2);
	put_seq(s, seqid);
	putfh(P.root);
	op(OP_CREATE);
	msg_u32(&M, FS_DIR);
	msg_string(&M, name);
	put_mode(0700);
}

static void test_replay(void **state)
{
	uint8_t *first;
	size_t len;

	S.cache = true;
	make_dir(&S, ++S.seq, "new");
	assert_int_equal(run(), NFS4_OK);
	first = malloc(reply_len);
	memcpy(first, reply, len = reply_len);
	assert_int_equal(P.ctl->changes, 1);
	for (int i = 0; i < 3; i++) {
		uint32_t xid = htobe32(P.xid++);

		memcpy(M.data, &xid, 4);
		P.peer.port++;
		assert_int_equal(run(), NFS4_OK);
		assert_int_equal(reply_len, len);
		assert_memory_equal(reply + 4, first + 4, len - 4);
		assert_int_equal(P.ctl->changes, 1);
	}
	/* something else, or somebody else, under the same number */
	make_dir(&S, S.seq, "neu");
	assert_int_equal(run(), NFS4ERR_SEQ_FALSE_RETRY);
	P.uid = 3;
	make_dir(&S, S.seq, "new");
	assert_int_equal(run(), NFS4ERR_SEQ_FALSE_RETRY);
	P.uid = 0;
	assert_int_equal(P.ctl->changes, 1);
	/* a failure is kept as well */
	make_dir(&S, ++S.seq, "new");
	assert_int_equal(run(), NFS4ERR_EXIST);
	make_dir(&S, S.seq, "new");
	assert_int_equal(run(), NFS4ERR_EXIST);
	ok_seq();
	ok(OP_PUTFH);
	assert_int_equal(res(OP_CREATE), NFS4ERR_EXIST);
	end_of_reply();
	free(first);
}

static void test_not_kept(void **state)
{
	make_dir(&S, ++S.seq, "new");
	assert_int_equal(run(), NFS4_OK);
	make_dir(&S, S.seq, "new");
	assert_int_equal(run(), NFS4ERR_RETRY_UNCACHED_REP);
	ok_seq();
	assert_int_equal(res(OP_PUTFH), NFS4ERR_RETRY_UNCACHED_REP);
	end_of_reply();
	assert_int_equal(P.ctl->changes, 1);
	/* SEQUENCE alone is always kept */
	for (int i = 0; i < 3; i++) {
		begin(1);
		put_seq(&S, S.seq + 1);
		assert_int_equal(run(), NFS4_OK);
		assert_int_equal(results, 1);
	}
}

static void test_slot_numbers(void **state)
{
	static const struct { uint32_t slot; int32_t off; uint32_t status; } t[] = {
		{ 0, 2, NFS4ERR_SEQ_MISORDERED }, { 0, -1, NFS4ERR_SEQ_MISORDERED },
		{ 7, 0, NFS4ERR_SEQ_MISORDERED }, { 8, 1, NFS4ERR_BADSLOT },
		{ 1, 0, NFS4ERR_SEQ_MISORDERED }, { UINT32_MAX, 1, NFS4ERR_BADSLOT },
	};
	struct sess s = S;

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		s.slot = t[i].slot;
		begin(1);
		put_seq(&s, (t[i].slot ? 0 : S.seq) + t[i].off);
		assert_int_equal(run(), t[i].status);
		assert_int_equal(res(OP_SEQUENCE), t[i].status);
		end_of_reply();
	}
	for (s.slot = 1; s.slot < 8; s.slot++)
		for (uint32_t k = 1; k < 4; k++) {
			begin(1);
			put_seq(&s, k);
			assert_int_equal(run(), NFS4_OK);
		}
	/* the highest that the client uses must be there as well */
	for (uint32_t highest = 7; highest < 9; highest++) {
		begin(1);
		op(OP_SEQUENCE);
		msg_bytes(&M, S.id, 16);
		msg_u32(&M, S.seq + 1);
		msg_u32(&M, 0);
		msg_u32(&M, highest);
		msg_u32(&M, 0);
		assert_int_equal(run(), highest < 8 ? NFS4_OK : NFS4ERR_BAD_HIGH_SLOT);
	}
	s.id[15] ^= 1;
	begin(1);
	seq(&s);
	assert_int_equal(run(), NFS4ERR_BADSESSION);
}

/* ---- sizes --------------------------------------------------------------------------- */

static struct sess small_session(uint32_t bytes, uint32_t cached)
{
	struct sess s = { 0 };
	struct chan got;
	uint32_t flags;

	assert_int_equal(exchange("small", 1, 0, &s, &flags), NFS4_OK);
	assert_int_equal(create_session(&s, (struct chan){ bytes, cached, 64, 1 }, &got), NFS4_OK);
	assert_int_equal(reclaim_complete(&s), NFS4_OK);
	return s;
}

static void test_reply_sizes(void **state)
{
	for (int cache = 0; cache < 2; cache++) {
		uint32_t limit = cache ? 300 : 500, status, refused = 0;
		struct sess s = small_session(500, 300);

		s.cache = cache;
		for (unsigned n = 1; n < 10; n++) {
			begin(2);
			seq(&s);
			for (unsigned i = 0; i < n; i++) {
				op(OP_PUTROOTFH);
				op(OP_GETFH);
			}
			status = run();
			assert_true(reply_len <= limit);
			if (!status)
				continue;
			assert_true(reply_len + 44 + 12 > limit);
			assert_int_equal(status, cache ? NFS4ERR_REP_TOO_BIG_TO_CACHE :
					 NFS4ERR_REP_TOO_BIG);
			ok_seq();
			for (unsigned i = 1; i < results - 1; i++) {
				ok(i % 2 ? OP_PUTROOTFH : OP_GETFH);
				if (i % 2 == 0)
					xdr_get_opaque(&R, 64);
			}
			assert_int_equal(res(results % 2 ? OP_GETFH : OP_PUTROOTFH), status);
			end_of_reply();
			refused++;
		}
		assert_int_equal(refused, cache ? 6 : 3);
		proto_restart(&P);
	}
}

/* What can't be told about afterwards isn't done. */
static void test_reply_before_change(void **state)
{
	struct sess s = small_session(500, 300);
	unsigned ran = 0, refused = 0;

	P.ctl->changes = 0;
	for (unsigned n = 0; n < 60; n++) {
		uint32_t status;

		begin(2);
		seq(&s);
		putfh(P.root);
		for (unsigned i = 0; i < n; i++)
			op(OP_SAVEFH);
		op(OP_CREATE);
		msg_u32(&M, FS_DIR);
		char name[8];
		snprintf(name, sizeof(name), "n%u", n);
		msg_string(&M, name);
		put_mode(0700);
		status = run();
		ran += !status;
		refused += status != 0;
		assert_true(status == 0 || status == NFS4ERR_REP_TOO_BIG);
		assert_int_equal(P.ctl->changes, ran);
		assert_true(reply_len <= 500);
	}
	assert_true(ran > 10 && refused > 2);
}

static void test_call_size(void **state)
{
	struct sess s = small_session(500, 300);

	for (uint32_t len = 0; len < 700; len += 4) {
		bool fits;

		begin(2);
		put_seq(&s, s.seq + 1);
		putfh(P.root);
		op(OP_LOOKUP);
		while (M.len < 300)
			msg_u32(&M, 0);
		while (M.len < 300 + len)
			msg_u32(&M, 0);
		fits = M.len <= 500;
		assert_int_equal(run() != NFS4ERR_REQ_TOO_BIG, fits);
		s.seq += fits;
	}
}

/* ---- leases -------------------------------------------------------------------------- */

static void test_courtesy(void **state)
{
	struct sess other = new_client("other");
	struct sid sid, sid2;

	assert_int_equal(open_file(&S, 3, 3, "o", "f", &sid), NFS4_OK);
	assert_int_equal(open_file(&other, 1, 0, "o", "f", &sid2), NFS4ERR_SHARE_DENIED);
	state_now()->skew_ns += 91000000000ull;
	begin(1);
	seq(&S);
	assert_int_equal(run(), NFS4_OK);		/* late, but nobody was in need of it */
	assert_int_equal(open_file(&other, 1, 0, "o", "f", &sid2), NFS4ERR_SHARE_DENIED);
	state_now()->skew_ns += 91000000000ull;
	assert_int_equal(open_file(&other, 1, 0, "o", "f", &sid2), NFS4ERR_DELAY);
	assert_int_equal(open_file(&other, 1, 0, "o", "f", &sid2), NFS4_OK);
	begin(1);
	seq(&S);
	assert_int_equal(run(), NFS4ERR_BADSESSION);
}

static void test_lease_time(void **state)
{
	struct sess other;
	struct sid sid;

	P.lease_s = 7;
	proto_restart(&P);
	S = new_client("client");		/* the only one on record: the grace period is over */
	other = new_client("other");
	on(P.root);
	op(OP_GETATTR);
	msg_u32(&M, 1);
	msg_u32(&M, 1 << 10);
	assert_int_equal(run_on(), NFS4_OK);
	ok(OP_GETATTR);
	xdr_get_fixed(&R, 12);
	assert_int_equal(xdr_get_u32(&R), 7);
	assert_int_equal(open_file(&S, 3, 3, "o", "f", &sid), NFS4_OK);
	state_now()->skew_ns += 6000000000ull;
	assert_int_equal(open_file(&other, 1, 0, "o", "f", &sid), NFS4ERR_SHARE_DENIED);
	state_now()->skew_ns += 2000000000ull;
	assert_int_equal(open_file(&other, 1, 0, "o", "f", &sid), NFS4ERR_DELAY);
	assert_int_equal(open_file(&other, 1, 0, "o", "f", &sid), NFS4_OK);
}

static void test_many_clients(void **state)
{
	struct sess s;
	uint32_t flags, status = 0;
	unsigned n = 0;
	char name[16];

	for (; n < NFS4_CLIENTS_MAX + 10 && !status; n++) {
		snprintf(name, sizeof(name), "c%u", n);
		status = exchange(name, 1, 0, &s, &flags);
	}
	assert_int_equal(status, NFS4ERR_DELAY);
	assert_true(n >= NFS4_CLIENTS_MAX);
	state_now()->skew_ns += 91000000000ull;
	assert_int_equal(exchange("late", 1, 0, &s, &flags), NFS4_OK);
	assert_int_equal(state_now()->clients.n, 2);	/* the one with a session, and this */
}

/* However many sessions there are, what is kept for them has its limit. */
static void test_many_sessions(void **state)
{
	uint32_t flags, status = NFS4_OK, least = UINT32_MAX;
	struct sess s = { 0 };
	struct chan got;
	unsigned n = 0;
	char name[16];

	for (; n < 1000 && !status; n++) {
		snprintf(name, sizeof(name), "c%u", n);
		assert_int_equal(exchange(name, 1, 0, &s, &flags), NFS4_OK);
		for (unsigned k = 0; k < NFS4_SESSIONS_MAX && !status; k++, s.create_seq++) {
			status = create_session(&s, (struct chan){ 1 << 20, 8192, 64, 64 }, &got);
			least = !status && got.slots < least ? got.slots : least;
			assert_true(state_now()->cached_bytes <= NFS4_CACHED_ALL);
		}
	}
	assert_int_equal(status, NFS4ERR_DELAY);
	assert_int_equal(least, 1);
	state_now()->skew_ns += 91000000000ull;
	s.create_seq--;				/* that of the one that was refused */
	assert_int_equal(create_session(&s, (struct chan){ 1 << 20, 8192, 64, 64 }, &got), NFS4_OK);
	begin(1);
	seq(&s);
	assert_int_equal(run(), NFS4_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T4(test_minor_versions), T4(test_tallies), T4(test_places), T4(test_many_ops),
		T4(test_exchange_id),
		T4(test_exchange_flags), T4(test_unconfirmed), T4(test_collision),
		T4(test_protection), T4(test_create_session), T4(test_destroy),
		T4(test_small_ones), T4(test_replay), T4(test_not_kept), T4(test_slot_numbers),
		T4(test_reply_sizes), T4(test_reply_before_change), T4(test_call_size),
		T4(test_courtesy), T4(test_lease_time), T4(test_many_clients), T4(test_many_sessions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
