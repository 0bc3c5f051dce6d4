/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NFSv4 of all minor versions, several clients of it, on the real file system.  The input is a
 * series of commands: COMPOUNDs of operations that gen4.c makes up, one at a time or several at
 * once; the same call again; time that passes, a restart of the server, a power cut, other export
 * rules, a new session, a call of NFSv3; and what clients answer that are called back.
 *
 * What must hold: a reply is one (tests/nfs/grammar.h), with statuses that the RFCs allow; the
 * same call on the same slot gets the same bytes, or is told that they were not kept; afterwards
 * the server and the file system close with nothing held.
 */
#include <errno.h>
#include "base/loop.h"
#include "gen4.h"
#include "nfs/nfs4_state.h"

enum { BATCH = 4, OPS_MAX = 8, INPUT_MAX = 4096 };
enum { OP_PUTFH = 22, OP_SEQUENCE = 53 };

struct sent {				/* one call of a batch */
	struct msg m;
	struct gen_client *client;
	unsigned slot;
	uint32_t seq;			/* 0: there is no SEQUENCE */
};

struct last { struct msg m; uint8_t *reply; size_t len; bool ran; };

static struct proto P;
static struct gen G;
static struct sent batch[BATCH];
static unsigned nbatch;
static struct last lasts[GEN_CLIENTS];
static bool alone;			/* what a reply tells is G.client's */
static uint8_t called_how;		/* see called() */

/* ---- replies ------------------------------------------------------------------------- */

static void piece(void *arg, uint32_t op, unsigned place, char letter, const uint8_t *s,
		  uint32_t len)
{
	if (op == 10 && letter == 's' && len == HANDLE_BYTES)
		gen_handle(&G, s);
	if (letter == 'i')
		gen_sid(&G, s);
	if (!alone)
		return;
	if ((op == 35 || op == 42) && !place)
		memcpy(G.client->id, s, 8);
	if (op == 35 && place == 1)
		memcpy(G.client->verifier, s, 8);
	if (op == 42 && place == 1)
		G.client->create_seq = get32(s);
	if (op == 43 && letter == 'x') {
		memcpy(G.client->session, s, 16);
		memset(G.client->seq, 0, sizeof(G.client->seq));
		G.client->create_seq++;
	}
}

/* The number and status of result N, of those that have no other bytes than these or are
 * SEQUENCE's; false: there is none. */
static bool result(const uint8_t *reply, size_t len, unsigned n, uint32_t *ret_op,
		   uint32_t *ret_status)
{
	struct xdr_in in;

	xdr_in_init(&in, reply, len);
	xdr_get_fixed(&in, 24);
	xdr_get_u32(&in);
	xdr_get_opaque(&in, 1024);
	if (xdr_get_u32(&in) <= n)
		return false;
	*ret_op = xdr_get_u32(&in);
	*ret_status = xdr_get_u32(&in);
	if (n && *ret_op == OP_SEQUENCE && !*ret_status) {
		xdr_get_fixed(&in, 36);
		*ret_op = xdr_get_u32(&in);
		*ret_status = xdr_get_u32(&in);
	}
	return !in.bad;
}

static bool sequence_ok(const uint8_t *reply, size_t len)
{
	uint32_t op, status;

	return result(reply, len, 0, &op, &status) && op == OP_SEQUENCE && !status;
}

static void keep_last(struct sent *s, uint8_t *reply, size_t len)
{
	struct last *l = &lasts[s->client->nr];

	msg_free(&l->m);
	free(l->reply);
	*l = (struct last){ .m = s->m, .reply = reply, .len = len };
	l->ran = s->seq && sequence_ok(reply, len);
	if (l->ran && s->seq == s->client->seq[s->slot] + 1)
		s->client->seq[s->slot]++;
	s->m = (struct msg){ 0 };
}

static void send_batch(void)
{
	uint8_t *replies[BATCH];
	size_t lens[BATCH];
	struct msg m[BATCH];

	if (!nbatch)
		return;
	for (unsigned i = 0; i < nbatch; i++)
		m[i] = batch[i].m;
	alone = nbatch == 1;
	G.client = batch[0].client;
	proto_serve_all(&P, m, nbatch, replies, lens);
	for (unsigned i = 0; i < nbatch; i++) {
		fuzz_check(replies[i], "a COMPOUND without a reply");
		keep_last(&batch[i], replies[i], lens[i]);
	}
	nbatch = 0;
}

/* ---- calls --------------------------------------------------------------------------- */

static void begin(struct sent *s, uint32_t minor)
{
	G.m = &s->m;
	G.client = s->client;
	G.minor = minor;
	G.nops = 0;
	proto_head(&P, NFS_PROGRAM, 4, 1, &s->m);
	msg_string(&s->m, "tag");
	msg_u32(&s->m, minor);
	msg_u32(&s->m, 0);
}

static void set_nops(struct sent *s, uint32_t n)
{
	n = htobe32(n);
	memcpy(s->m.data + 40 + 32 + 8 + 8 + 4, &n, 4);
}

static void put_sequence(struct sent *s, uint8_t how)
{
	uint32_t seq = s->client->seq[s->slot] + 1;

	if ((how >> 4 & 3) == 3)
		seq += (int8_t)take8(&G.s);
	s->seq = seq;
	G.nops++;
	msg_u32(&s->m, OP_SEQUENCE);
	msg_bytes(&s->m, s->client->session, 16);
	msg_u32(&s->m, seq);
	msg_u32(&s->m, s->slot);
	msg_u32(&s->m, s->slot);
	msg_u32(&s->m, how >> 6 & 1);
}

static struct sent *next_sent(unsigned client)
{
	struct sent *s;

	if (nbatch == BATCH)
		send_batch();
	s = &batch[nbatch++];
	*s = (struct sent){ .client = &G.clients[client % GEN_CLIENTS] };
	return s;
}

static void compound(unsigned client)
{
	uint8_t how = take8(&G.s), more = take8(&G.s);
	struct sent *s = next_sent(client);
	uint32_t minor = s->client->nr == GEN_CLIENTS - 1 ? 0 : 1 + (how & 1);

	if (more >= 252)
		minor = more == 252 ? take32(&G.s) : more - 253;
	begin(s, minor);
	s->slot = how >> 2 & 3;
	if (minor && !(how & 2))
		put_sequence(s, how);
	if (!(more & 8) && G.nhandles) {
		G.nops++;
		msg_u32(&s->m, OP_PUTFH);
		msg_opaque(&s->m, G.handles[more >> 4], HANDLE_BYTES);
	}
	for (unsigned n = (more & 7) + 1; n; n--)
		gen_op(&G);
	if (how == 255)
		s->m.len -= s->m.len > 100 ? take8(&G.s) % 24 & ~3u : 0;
	set_nops(s, G.nops + (how == 254 ? take8(&G.s) : 0));
}

/* The client's last call once more, as a retransmission. */
static void again(unsigned client)
{
	struct last *l = &lasts[client % GEN_CLIENTS];
	uint32_t op = 0, status = 0;
	uint8_t *reply;
	size_t len;

	send_batch();
	if (!l->ran)
		return;
	alone = false;
	reply = proto_serve(&P, &l->m, &len);
	fuzz_check(reply, "no reply to a retry");
	if (!sequence_ok(reply, len)) {
		result(reply, len, 0, &op, &status);
		fuzz_check(status == NFS4ERR_BADSESSION || status == NFS4ERR_SEQ_MISORDERED ||
			   status == NFS4ERR_DELAY || status == NFS4ERR_BADSLOT ||
			   status == NFS4ERR_SEQ_FALSE_RETRY, "a retry: SEQUENCE says %u", status);
		/* another call has taken the slot meanwhile: that is none of a retry's fault */
		l->ran = false;
	} else if (len != l->len || memcmp(reply, l->reply, len)) {
		fuzz_check(result(reply, len, 1, &op, &status) &&
			   status == NFS4ERR_RETRY_UNCACHED_REP,
			   "a retry has another answer: operation %u, status %u", op, status);
	}
	free(reply);
}

/* ---- clients ------------------------------------------------------------------------- */

static void simple(unsigned client, uint32_t minor, void (*fill)(struct sent *s))
{
	struct sent *s;

	send_batch();
	s = next_sent(client);
	begin(s, minor);
	fill(s);
	set_nops(s, G.nops);
	send_batch();
}

static void fill_exchange(struct sent *s)
{
	G.nops++;
	msg_u32(&s->m, 42);
	msg_u64(&s->m, 1);
	msg_string(&s->m, s->client->nr == 0 ? "c0" : s->client->nr == 1 ? "c1" : "c2");
	msg_u32(&s->m, 0);
	msg_u64(&s->m, 0);
}

static void fill_session(struct sent *s)
{
	G.nops++;
	msg_u32(&s->m, 43);
	msg_bytes(&s->m, s->client->id, 8);
	msg_u32(&s->m, s->client->create_seq);
	msg_u32(&s->m, 0);
	for (int i = 0; i < 2; i++) {
		msg_u32(&s->m, 0);
		msg_u32(&s->m, 1 << 20);
		msg_u32(&s->m, 1 << 20);
		msg_u32(&s->m, 4096);
		msg_u32(&s->m, 64);
		msg_u32(&s->m, GEN_SLOTS);
		msg_u32(&s->m, 0);
	}
	msg_u32(&s->m, 0x40000000);
	msg_u32(&s->m, 1);
	msg_u32(&s->m, 0);
}

static void fill_complete(struct sent *s)
{
	put_sequence(s, 0x40);
	G.nops++;
	msg_u32(&s->m, 58);
	msg_u32(&s->m, 0);
}

static void fill_setclientid(struct sent *s)
{
	G.nops++;
	msg_u32(&s->m, 35);
	msg_u64(&s->m, 1);
	msg_string(&s->m, "z0");
	msg_u32(&s->m, 0x40000000);
	msg_string(&s->m, "tcp");
	msg_string(&s->m, "127.0.0.1.0.9");
	msg_u32(&s->m, 1);
}

static void fill_confirm(struct sent *s)
{
	G.nops++;
	msg_u32(&s->m, 36);
	msg_bytes(&s->m, s->client->id, 8);
	msg_bytes(&s->m, s->client->verifier, 8);
}

static void establish(unsigned client)
{
	if (client % GEN_CLIENTS == GEN_CLIENTS - 1) {
		simple(client, 0, fill_setclientid);
		simple(client, 0, fill_confirm);
		return;
	}
	simple(client, 2, fill_exchange);
	simple(client, 2, fill_session);
	simple(client, 2, fill_complete);
}

/* An open file, and a lock on it: what many operations need to get anywhere. */
static void fill_open(struct sent *s)
{
	if (G.minor)
		put_sequence(s, 0x40);
	G.nops += 4;
	msg_u32(&s->m, OP_PUTFH);
	msg_opaque(&s->m, P.root, HANDLE_BYTES);
	msg_u32(&s->m, 18);
	msg_u32(&s->m, ++s->client->owner_seq[0]);
	msg_u32(&s->m, 3);
	msg_u32(&s->m, 0);
	msg_bytes(&s->m, s->client->id, 8);
	msg_string(&s->m, "o0");
	msg_u32(&s->m, 0);
	msg_u32(&s->m, 0);
	msg_string(&s->m, "f");
	G.owner = 0;
	msg_u32(&s->m, 10);
	msg_u32(&s->m, 12);
	msg_u32(&s->m, 2);
	msg_u32(&s->m, 0);
	msg_u64(&s->m, 100);
	msg_u64(&s->m, 200);
	msg_u32(&s->m, 1);
	msg_u32(&s->m, ++s->client->owner_seq[0]);
	msg_u32(&s->m, 1);
	msg_u32(&s->m, 0);
	msg_u64(&s->m, 0);
	msg_u32(&s->m, 1);
	msg_bytes(&s->m, s->client->id, 8);
	msg_string(&s->m, "o1");
}

static void open_and_lock(unsigned client)
{
	simple(client, client % GEN_CLIENTS == GEN_CLIENTS - 1 ? 0 : 2, fill_open);
}

/* ---- callbacks ----------------------------------------------------------------------- */

/* CB_COMPOUND's reply: STATUS for the operation that is not CB_SEQUENCE. */
static void answer(const struct rpc_request *q, struct xdr_out *x, uint32_t status)
{
	enum { CB_SEQUENCE = 11 };
	const uint8_t *session;
	struct xdr_in in;
	uint32_t nops, op, seq;

	xdr_in_init(&in, q->args, q->args_len);
	xdr_get_opaque(&in, 1024);
	xdr_get_u64(&in);
	nops = xdr_get_u32(&in);
	fuzz_check(!in.bad && nops <= 2, "a callback of %u operations", nops);
	xdr_put_u32(x, status);
	xdr_put_u32(x, 0);
	xdr_put_u32(x, nops);
	op = xdr_get_u32(&in);
	if (op == CB_SEQUENCE) {
		session = xdr_get_fixed(&in, 16);
		seq = xdr_get_u32(&in);
		xdr_get_fixed(&in, 12);
		fuzz_check(!xdr_get_u32(&in) && !in.bad, "a callback with referring calls");
		xdr_put_u64(x, (uint64_t)CB_SEQUENCE << 32);
		xdr_put_fixed(x, session, 16);
		xdr_put_u32(x, seq);
		xdr_put_u32(x, 0);
		xdr_put_u64(x, 0);
		if (nops < 2)
			return;
		op = xdr_get_u32(&in);
	}
	fuzz_check(!in.bad, "a callback that isn't whole");
	xdr_put_u32(x, op);
	xdr_put_u32(x, status);
}

/* What a client answers that is called back, as the input has it. */
static int called(void *arg, const struct rpc_request *q, void *buf, size_t cap, size_t *ret_len)
{
	static const uint32_t statuses[] = { 0, 10008, 10025, 10001, 70, 10006, 10052, 10063 };
	struct xdr_out x;
	uint8_t *p = buf;

	*ret_len = 0;
	if (called_how >> 6 == 1)
		loop_sleep_ns((called_how & 63) * 100000000ull);
	if (called_how == 255)
		return -ECONNRESET;
	if (called_how == 254)
		return -ETIMEDOUT;
	if (!q->proc)
		return 0;
	if (called_how >> 6 == 2) {
		*ret_len = called_how & 60;
		memset(p, called_how, *ret_len);
		return 0;
	}
	xdr_out_init(&x, buf, cap);
	answer(q, &x, statuses[called_how & 7]);
	*ret_len = xdr_out_len(&x);
	xdr_out_done(&x);
	return 0;
}

/* ---- what else happens --------------------------------------------------------------- */

static void other_rules(void)
{
	static const char *const rules[] = { "* rw no_root_squash", "* ro", "* rw sec=none",
					     "10.0.0.0/8 rw", "* rw all_squash", "* rw sync" };

	proto_set_exports(&P, 1, rules[take8(&G.s) % 6]);
}

static void call_v3(void)
{
	struct msg m = { 0 };
	uint32_t proc = take8(&G.s) % NFS3_PROCS;
	uint8_t *reply;
	size_t len;

	proto_call(&P, proc, &m);
	alone = false;
	reply = proto_serve(&P, &m, &len);
	fuzz_check(reply, "NFSv3 without a reply");
	free(reply);
	msg_free(&m);
}

static void recover(void *arg) { nfs4_recovery_run(proto_nfs4(&P)); }

static void restart(uint8_t how)
{
	for (unsigned i = 0; i < GEN_CLIENTS; i++)
		lasts[i].ran = false;
	if (how & 1)
		proto_crash(&P);
	else
		proto_restart(&P);
}

static void time_passes(void)
{
	proto_nfs4(&P)->skew_ns += take8(&G.s) * 1000000000ull;
	proto_run(recover, NULL);
}

static void command(uint8_t what)
{
	unsigned who = what >> 4 & 3;

	if (!(what & 8)) {
		compound(who);
		if (!(what & 64))
			send_batch();
		return;
	}
	send_batch();
	switch (what & 7) {
	case 0: again(who); break;
	case 1: open_and_lock(who); break;
	case 2: time_passes(); break;
	case 3: establish(who); break;
	case 4: other_rules(); break;
	case 5: call_v3(); break;
	case 6: P.uid = who ? who * 1000 : 0; break;
	case 7:
		if (who == 3)
			restart(take8(&G.s));
		else if (who == 2)
			called_how = take8(&G.s);
		else
			proto_sleep(take8(&G.s) * 100000000ull);
	}
}

static void handles(void)
{
	static const uint8_t key[] = "0123456789abcde";
	uint8_t h[HANDLE_BYTES];
	struct fs_id id;

	gen_handle(&G, P.file);
	gen_handle(&G, P.root);
	gen_handle(&G, P.dir);
	gen_handle(&G, P.link);
	handle_read(key, P.file, HANDLE_BYTES, &id);
	id.generation += 1000;
	handle_make(key, &id, h);
	gen_handle(&G, h);				/* stale */
	handle_read(key, P.root, HANDLE_BYTES, &id);
	id.volume = 2;
	handle_make(key, &id, h);
	gen_handle(&G, h);				/* of another volume, maybe stale */
	id.volume = 0;
	handle_make(key, &id, h);
	gen_handle(&G, h);				/* the root of all */
}

void fuzz_input(const uint8_t *data, size_t len)
{
	static const struct grammar_visit visit = { .piece = piece };

	memset(&G, 0, sizeof(G));
	G.s = (struct stream){ data, data + (len < INPUT_MAX ? len : INPUT_MAX) };
	called_how = 0;
	proto_begin(&P);
	P.visit = &visit;
	rpc_peer_put(P.via);
	P.via = rpc_peer_local(called, NULL);
	for (unsigned i = 0; i < GEN_CLIENTS; i++) {
		G.clients[i].nr = i;
		establish(i);
	}
	handles();
	while (stream_left(&G.s))
		command(take8(&G.s));
	send_batch();
	for (unsigned i = 0; i < GEN_CLIENTS; i++) {
		msg_free(&lasts[i].m);
		free(lasts[i].reply);
		lasts[i] = (struct last){ 0 };
	}
	proto_end(&P);
}

/* ---- seeds --------------------------------------------------------------------------- */

/* Each operation, on each kind of file, with an open and a lock at hand; twice on one slot. */
void fuzz_seeds(void (*put)(const char *name, const uint8_t *data, size_t len))
{
	for (unsigned num = 3; num < 76; num++) {
		uint8_t b[1024];
		char name[32];
		size_t n = 0;

		for (unsigned i = 0; i < 4; i++) {
			b[n++] = 9 | (i & 3) << 4;			/* open and lock */
			b[n++] = (i & 3) << 4;
			b[n++] = 0x41;
			b[n++] = i << 4;
			b[n++] = num;
			for (unsigned k = 0; k < 24; k++)
				b[n++] = k * 37 + num + i;
			b[n++] = 8 | (i & 3) << 4;			/* again */
		}
		snprintf(name, sizeof(name), "op%u", num);
		put(name, b, n);
	}
}
