/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NFSv4.0 in process: who a client is, owners' numbers and their answers, leases, and what else
 * it does in its own way.
 */
#include "compound40.h"
#include "nfs/nfs4_v40.h"

#define LEASE_OVER() (state_now()->skew_ns += state_now()->lease_ns + 1000000000)

/* ---- COMPOUND ------------------------------------------------------------------------ */

static void test_operations(void **state)
{
	static const uint32_t illegal[] = { 0, 1, 2, 40, 42, 53, 58, 60, 71, 75, 200, OP_ILLEGAL };

	for (size_t i = 0; i < sizeof(illegal) / sizeof(*illegal); i++) {
		begin(0);
		op(illegal[i]);
		assert_int_equal(run(), E(OP_ILLEGAL));
		assert_int_equal(res(OP_ILLEGAL), E(OP_ILLEGAL));
		end_of_reply();
	}
	begin(0);
	op(OP_OPENATTR);
	msg_u32(&M, 0);
	assert_int_equal(run(), E(NOTSUPP));
	/* its own operations are none of a session's */
	static const uint32_t only[] = { OP_RENEW, OP_SETCLIENTID, OP_SETCLIENTID_CONFIRM,
					 OP_OPEN_CONFIRM, OP_RELEASE_LOCKOWNER };

	S = new_client("session");
	for (size_t i = 0; i < sizeof(only) / sizeof(*only); i++) {
		begin(1);
		seq(&S);
		op(only[i]);
		assert_int_equal(run(), E(NOTSUPP));
	}
}

/* What is one too many is answered as an operation. */
static void test_too_many(void **state)
{
	for (unsigned n = NFS4_OPS_MAX - 1; n <= NFS4_OPS_MAX + 1; n++) {
		begin(0);
		for (unsigned i = 0; i < n; i++)
			op(OP_PUTROOTFH);
		assert_int_equal(run(), n > NFS4_OPS_MAX ? E(RESOURCE) : 0);
		assert_int_equal(results, n);
	}
}

static uint32_t mkdir40(const char *name)
{
	on40(P.root);
	op(OP_CREATE);
	msg_u32(&M, FS_DIR);
	msg_string(&M, name);
	put_mode(0700);
	return run40();
}

/* The same call again isn't executed again; one that is like it is. */
static void test_retransmission(void **state)
{
	uint8_t *first;
	size_t len;

	assert_int_equal(mkdir40("new"), NFS4_OK);
	first = malloc(reply_len);
	len = reply_len;
	memcpy(first, reply, len);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(run40(), NFS4_OK);
		assert_int_equal(reply_len, len);
		assert_memory_equal(reply, first, len);
	}
	free(first);
	assert_int_equal(P.ctl->changes, 1);
	assert_int_equal(mkdir40("new"), E(EXIST));
	assert_int_equal(run40(), E(EXIST));
	on40(P.root);
	name_op(OP_REMOVE, "new");
	assert_int_equal(run40(), NFS4_OK);
	assert_int_equal(run40(), NFS4_OK);
	/* what does no harm is executed again */
	on40(P.file);
	op(OP_GETATTR);
	msg_u32(&M, 1);
	msg_u32(&M, 16);
	assert_int_equal(run40(), NFS4_OK);
	assert_int_equal(run40(), NFS4_OK);
	struct nfs_server_stats st;
	nfs_server_stats(P.server, &st);
	assert_int_equal(st.drc_hits, 4);
}

static void test_handles(void **state)
{
	begin(0);
	op(OP_RESTOREFH);
	assert_int_equal(run(), E(RESTOREFH));
	begin(0);
	op(OP_GETFH);
	assert_int_equal(run(), E(NOFILEHANDLE));
	/* SECINFO leaves the file handle */
	on40(P.root);
	name_op(OP_SECINFO, "f");
	op(OP_GETFH);
	assert_int_equal(run40(), NFS4_OK);
}

static uint32_t make_special(uint32_t type, const char *name, uint8_t fh[HANDLE_BYTES])
{
	struct xdr_bytes got;

	on40(P.root);
	op(OP_CREATE);
	msg_u32(&M, type);
	msg_string(&M, name);
	put_mode(0666);
	op(OP_GETFH);
	assert_int_equal(run40(), NFS4_OK);
	ok(OP_CREATE);
	xdr_get_fixed(&R, 20);
	for (uint32_t n = xdr_get_u32(&R); n; n--)
		xdr_get_u32(&R);
	ok(OP_GETFH);
	got = xdr_get_opaque(&R, HANDLE_BYTES);
	memcpy(fh, got.s, HANDLE_BYTES);
	return NFS4_OK;
}

/* 4.0 has fewer words for what is of the wrong type. */
static void test_types(void **state)
{
	struct own o = { "o", 0 };
	uint8_t fifo[HANDLE_BYTES];
	struct sid sid;

	make_special(FS_FIFO, "p", fifo);
	assert_int_equal(open40(&o, 1, 0, "p", &sid), E(SYMLINK));
	assert_int_equal(open40(&o, 1, 0, "l", &sid), E(SYMLINK));
	assert_int_equal(open40(&o, 1, 0, "d", &sid), E(ISDIR));
	assert_int_equal(read40(fifo, &anonymous), E(INVAL));
	assert_int_equal(write40(fifo, &anonymous), E(INVAL));
	assert_int_equal(read40(P.dir, &anonymous), E(ISDIR));
	on40(fifo);
	op(OP_COMMIT);
	msg_u64(&M, 0);
	msg_u32(&M, 0);
	assert_int_equal(run40(), E(INVAL));
	on40(P.file);
	op(OP_READLINK);
	assert_int_equal(run40(), E(INVAL));
	on40(P.link);
	op(OP_LOOKUPP);
	assert_int_equal(run40(), E(NOTDIR));
	on40(P.link);
	name_op(OP_REMOVE, "x");
	assert_int_equal(run40(), E(NOTDIR));
	on40(P.link);
	name_op(OP_LOOKUP, "x");
	assert_int_equal(run40(), E(SYMLINK));
	for (int i = 0; i < 3; i++) {
		on40(i == 0 ? P.dir : i == 1 ? P.link : fifo);
		op(OP_SETATTR);
		put_sid(&anonymous);
		msg_u32(&M, 1);
		msg_u32(&M, 16);
		msg_u32(&M, 8);
		msg_u64(&M, 5);
		assert_int_equal(run40(), i ? E(INVAL) : E(ISDIR));
	}
}

static void test_attributes(void **state)
{
	on40(P.file);
	op(OP_GETATTR);
	msg_u32(&M, 1);
	msg_u32(&M, 1);
	assert_int_equal(run40(), NFS4_OK);
	ok(OP_GETATTR);
	xdr_get_fixed(&R, 8);
	xdr_get_u32(&R);
	assert_int_equal(xdr_get_u32(&R), 2);		/* words: nothing beyond 55 */
	xdr_get_u32(&R);
	assert_int_equal(xdr_get_u32(&R) >> 24, 0);
	end_of_reply();
	/* what it doesn't know is left out, and can't be set */
	on40(P.file);
	op(OP_GETATTR);
	msg_u32(&M, 3);
	msg_u32(&M, 0);
	msg_u32(&M, 0);
	msg_u32(&M, ~0u);
	assert_int_equal(run40(), NFS4_OK);
	ok(OP_GETATTR);
	assert_int_equal(xdr_get_u32(&R), 0);
	assert_int_equal(xdr_get_u32(&R), 0);
	end_of_reply();
	for (unsigned bit = 75; bit < 83; bit += 6) {	/* suppattr_exclcreat, mode_umask */
		on40(P.file);
		op(OP_SETATTR);
		put_sid(&anonymous);
		msg_u32(&M, 3);
		msg_u32(&M, 0);
		msg_u32(&M, 0);
		msg_u32(&M, 1u << (bit - 64));
		msg_u32(&M, 8);
		msg_u64(&M, 0);
		assert_int_equal(run40(), E(ATTRNOTSUPP));
	}
}

/* ---- clients ------------------------------------------------------------------------- */

/* The cases of RFC 7530 section 16.33.5. */
static void test_setclientid(void **state)
{
	uint64_t c[6], t[6];
	struct own o = { "o", 0 };
	struct sid sid;

	/* never heard of; then again before it is confirmed: only the last counts */
	assert_int_equal(setclientid("x", 1, "tcp", "", &c[0], &t[0]), NFS4_OK);
	assert_int_equal(setclientid("x", 2, "tcp", "", &c[1], &t[1]), NFS4_OK);
	assert_true(c[0] != c[1] && t[0] != t[1] && t[0] && t[1]);
	assert_int_equal(setclientid_confirm(c[0], t[0]), E(STALE_CLIENTID));
	assert_int_equal(renew(c[1]), E(EXPIRED));		/* not yet */
	assert_int_equal(setclientid_confirm(c[1], t[0]), E(STALE_CLIENTID));
	assert_int_equal(setclientid_confirm(c[1], t[1]), NFS4_OK);
	assert_int_equal(setclientid_confirm(c[1], t[1]), NFS4_OK);	/* its answer was lost */
	assert_int_equal(renew(c[1]), NFS4_OK);
	C = c[1];
	assert_int_equal(open40(&o, 1, 0, "f", &sid), NFS4_OK);
	/* the same one: another address, by another number; what it has stays */
	assert_int_equal(setclientid("x", 2, "tcp", "0.0.0.0.0.0", &c[2], &t[2]), NFS4_OK);
	assert_true(c[2] == c[1] && t[2] != t[1]);
	assert_int_equal(setclientid("x", 2, "tcp", "0.0.0.0.0.0", &c[2], &t[3]), NFS4_OK);
	assert_true(t[3] != t[2]);
	assert_int_equal(setclientid_confirm(c[2], t[2]), E(STALE_CLIENTID));
	assert_int_equal(setclientid_confirm(c[2], t[3]), NFS4_OK);
	assert_int_equal(setclientid_confirm(c[2], t[3]), NFS4_OK);
	assert_int_equal(setclientid_confirm(c[2], t[1]), E(STALE_CLIENTID));
	assert_int_equal(read40(P.file, &sid), NFS4_OK);
	/* it has started anew: what it had is gone when that is confirmed */
	assert_int_equal(setclientid("x", 3, "tcp", "", &c[4], &t[4]), NFS4_OK);
	assert_int_equal(setclientid("x", 4, "tcp", "", &c[5], &t[5]), NFS4_OK);
	assert_true(c[4] != c[1] && c[5] != c[4] && c[5] != c[1]);
	assert_int_equal(setclientid_confirm(c[4], t[4]), E(STALE_CLIENTID));
	assert_int_equal(read40(P.file, &sid), NFS4_OK);
	assert_int_equal(setclientid_confirm(c[5], t[5]), NFS4_OK);
	assert_int_equal(read40(P.file, &sid), E(EXPIRED));
	assert_int_equal(close40(&o, P.file, &sid), E(EXPIRED));
	assert_int_equal(renew(c[1]), E(EXPIRED));
	assert_int_equal(renew(c[5]), NFS4_OK);
	/* of another run */
	assert_int_equal(renew(0), E(STALE_CLIENTID));
	assert_int_equal(setclientid_confirm(0, 0), E(STALE_CLIENTID));
	assert_int_equal(renew(c[5] ^ 1ull << 40), E(STALE_CLIENTID));
	assert_int_equal(release_lockowner(0, "o"), E(STALE_CLIENTID));
}

static void test_in_use(void **state)
{
	struct own o = { "o", 0 };
	uint64_t c, t;
	struct sid sid;

	assert_int_equal(open40(&o, 1, 0, "f", &sid), NFS4_OK);
	P.uid = 1000;
	assert_int_equal(setclientid("client", 1, "tcp", "9.9.9.9.1.1", &c, &t), E(CLID_INUSE));
	struct xdr_bytes netid = xdr_get_opaque(&R, 100), addr = xdr_get_opaque(&R, 100);
	assert_memory_equal(netid.s, "tcp", netid.len);
	assert_memory_equal(addr.s, "0.0.0.0.0.0", addr.len);
	end_of_reply();
	P.uid = 0;
	assert_int_equal(close40(&o, P.file, &sid), NFS4_OK);
	/* it has nothing any more: the other one may have the name */
	P.uid = 1000;
	assert_int_equal(setclientid("client", 1, "tcp", "", &c, &t), NFS4_OK);
	P.uid = 0;
	assert_int_equal(setclientid_confirm(c, t), E(CLID_INUSE));
	assert_int_equal(renew(C), NFS4_OK);
	P.uid = 1000;
	assert_int_equal(setclientid_confirm(c, t), NFS4_OK);
	assert_int_equal(renew(C), E(EXPIRED));
	/* those with sessions have names of their own */
	P.uid = 0;
	S = new_client("client");
	assert_int_equal(renew(c), NFS4_OK);
	assert_int_equal(renew(S.clientid), E(EXPIRED));
	S.clientid = c;
	S.create_seq = 1;
	struct chan got;
	assert_int_equal(create_session(&S, (struct chan){ 4096, 512, 8, 1 }, &got),
			 E(STALE_CLIENTID));
}

static void test_callback_address(void **state)
{
	static const struct { const char *netid, *addr, *text; uint16_t port; } t[] = {
		{ "tcp", "127.0.0.1.8.1", "127.0.0.1", 2049 }, { "tcp6", "::1.0.1", "::1", 1 },
		{ "tcp6", "fe80::2.255.255", "fe80::2", 65535 },
		{ "tcp", "0.0.0.0.0.0", NULL, 0 }, { "udp", "127.0.0.1.8.1", NULL, 0 },
		{ "tcp", "127.0.0.1.8", NULL, 0 }, { "tcp", "127.0.0.1.256.1", NULL, 0 },
		{ "tcp", "127.0.0.1.8.1x", NULL, 0 }, { "tcp", "127.0.0.1.8.1.", NULL, 0 },
		{ "tcp", "::1.8.1", NULL, 0 }, { "tcp", "", NULL, 0 }, { "", "1.1.1.1.1.1", NULL, 0 },
		{ "tcp", "1.1.1.1.1.1234567890123456789012345678901234567890123456789012345", NULL,
		  0 },
	};
	char text[RPC_ADDR_TEXT];
	struct rpc_addr a;
	uint64_t c, n;

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		assert_int_equal(setclientid("cb", i, t[i].netid, t[i].addr, &c, &n), NFS4_OK);
		const struct nfs4_v40 *v = nfs4_client_find(state_now(), c)->v40;
		bool good = nfs4_callback_addr(&v->cb, &a);

		assert_int_equal(good, t[i].text != NULL);
		if (!good)
			continue;
		rpc_addr_text(&a, text);
		assert_string_equal(text, t[i].text);
		assert_int_equal(a.port, t[i].port);
		assert_int_equal(v->cb.prog, 0x40000000);
		assert_int_equal(v->cb.ident, 7);
	}
}

static void test_many_clients(void **state)
{
	uint64_t first = 0, c = 0, t = 0;
	uint32_t status = 0;
	unsigned n;
	char name[16];

	for (n = 1; !status; n++) {		/* the fixture's is the first */
		snprintf(name, sizeof(name), "n%u", n);
		status = setclientid(name, 1, "tcp", "", &c, &t);
		if (status)
			break;
		assert_int_equal(setclientid_confirm(c, t), NFS4_OK);
		if (!first)
			first = c;
	}
	assert_int_equal(status, E(DELAY));
	assert_int_equal(n, NFS4_CLIENTS_MAX);
	assert_int_equal(renew(first), NFS4_OK);
	LEASE_OVER();
	assert_int_equal(setclientid("one more", 1, "tcp", "", &c, &t), NFS4_OK);
	assert_int_equal(renew(C), E(EXPIRED));		/* unheard of for longest */
	assert_int_equal(renew(first), NFS4_OK);
}

/* ---- owners' numbers ----------------------------------------------------------------- */

static void test_confirm(void **state)
{
	struct own o = { "o", 77 };
	struct sid first, sid, wrong;
	bool confirm;

	on40(P.root);
	put_open40(&o, 1, 0, "f");
	assert_int_equal(run40(), NFS4_OK);
	ok(OP_OPEN);
	first = get_open40(&confirm);
	assert_true(confirm);
	assert_int_equal(read40(P.file, &first), E(BAD_STATEID));	/* of no use yet */
	o.seqid = 78;
	assert_int_equal(close40(&o, P.file, &first), E(BAD_STATEID));
	/* another OPEN takes its place, whatever its number */
	o.seqid = 5;
	on40(P.root);
	put_open40(&o, 3, 0, "f");
	assert_int_equal(run40(), NFS4_OK);
	ok(OP_OPEN);
	sid = get_open40(&confirm);
	assert_true(confirm);
	o.seqid = 6;
	assert_int_equal(open_confirm(&o, P.file, &first), E(BAD_STATEID));
	assert_int_equal(o.seqid, 6);
	wrong = sid;
	wrong.seqid++;
	assert_int_equal(open_confirm(&o, P.file, &wrong), E(BAD_STATEID));
	assert_int_equal(open_confirm(&o, P.dir, &sid), E(BAD_STATEID));
	o.seqid = 60;
	assert_int_equal(open_confirm(&o, P.file, &sid), E(BAD_SEQID));
	o.seqid = 6;
	wrong = sid;
	assert_int_equal(open_confirm(&o, P.file, &sid), NFS4_OK);
	assert_int_equal(sid.seqid, wrong.seqid + 1);
	/* once more: it was confirmed already, unless it is the same request */
	assert_int_equal(open_confirm(&o, P.file, &sid), E(BAD_STATEID));
	o.seqid = 6;
	assert_int_equal(open_confirm(&o, P.file, &wrong), NFS4_OK);
	assert_int_equal(wrong.seqid, sid.seqid);
	assert_int_equal(read40(P.file, &sid), NFS4_OK);
	/* he is known now */
	assert_int_equal(open40(&o, 1, 0, "f", &wrong), NFS4_OK);
	assert_int_equal(o.seqid, 8);
	assert_int_equal(wrong.seqid, sid.seqid + 1);
	o.seqid = 20;
	assert_int_equal(open40(&o, 1, 0, "f", &wrong), E(BAD_SEQID));
	o.seqid = UINT32_MAX;
	assert_int_equal(open40(&o, 1, 0, "f", &wrong), E(BAD_SEQID));
}

/* Numbers go on from 0 after the largest. */
static void test_wrap(void **state)
{
	struct own o = { "o", UINT32_MAX };
	struct sid sid;

	assert_int_equal(open40(&o, 3, 0, "f", &sid), NFS4_OK);
	assert_int_equal(o.seqid, 1);
	assert_int_equal(close40(&o, P.file, &sid), NFS4_OK);
}

static void test_open_again(void **state)
{
	struct own o = { "o", 0 };
	struct sid sid, again, lookup;
	bool confirm;

	assert_int_equal(open40(&o, 1, 0, "f", &sid), NFS4_OK);
	P.ctl->changes = 0;			/* the client was put on record */
	for (int i = 0; i < 3; i++) {
		on40(P.root);
		put_create40(&o, NFS4_CREATE_GUARDED, 0, "new");
		op(OP_GETATTR);			/* of the file, also when it is an old answer */
		msg_u32(&M, 2);
		msg_u32(&M, 2);
		msg_u32(&M, 0);
		assert_int_equal(run40(), NFS4_OK);
		ok(OP_OPEN);
		again = get_open40(&confirm);
		assert_false(confirm);
		if (!i)
			lookup = again;
		assert_memory_equal(&again, &lookup, sizeof(again));
		ok(OP_GETATTR);
		xdr_get_fixed(&R, 12);
		assert_int_equal(xdr_get_u32(&R), FS_REG);
	}
	assert_int_equal(P.ctl->changes, 1);
	assert_int_equal(state_now()->owners.n, 1);
	/* something else by that number is no retransmission */
	on40(P.root);
	put_create40(&o, NFS4_CREATE_GUARDED, 0, "new2");
	assert_int_equal(run40(), E(BAD_SEQID));
	assert_int_equal(close40(&o, P.file, &sid), E(BAD_SEQID));
	o.seqid++;
	/* an error is kept as well, and counts; but libnfs, which doesn't count it, gets on */
	assert_int_equal(open40(&o, 1, 0, "vapor", &again), E(NOENT));
	assert_int_equal(P.ctl->changes, 1);
	o.seqid--;
	assert_int_equal(open40(&o, 1, 0, "vapour", &again), E(NOENT));
	on40(P.root);
	put_create40(&o, NFS4_CREATE_GUARDED, 0, "vapor");
	assert_int_equal(run40(), NFS4_OK);
	o.seqid--;
	assert_int_equal(open40(&o, 1, 0, "vapor", &again), E(BAD_SEQID));
	o.seqid += 2;
	assert_int_equal(close40(&o, P.file, &sid), NFS4_OK);
}

/* libnfs asks by the same number again, too, when it was told to come later. */
static void test_later_again(void **state)
{
	struct own o = { "o", 0 };
	struct sid sid;

	assert_int_equal(open40(&o, 1, 0, "f", &sid), NFS4_OK);
	P.ctl->fail_hold = -ENOMEM;
	assert_int_equal(open40(&o, 3, 0, "f", &sid), E(DELAY));
	o.seqid--;
	assert_int_equal(open40(&o, 3, 0, "f", &sid), E(DELAY));
	P.ctl->fail_hold = 0;
	o.seqid--;
	assert_int_equal(open40(&o, 3, 0, "f", &sid), NFS4_OK);
	assert_int_equal(sid.seqid, 3);		/* opened, confirmed, opened again */
	assert_int_equal(close40(&o, P.file, &sid), NFS4_OK);
}

static void test_close_again(void **state)
{
	struct own o = { "o", 0 };
	struct sid f, d, old;

	on40(P.root);
	put_create40(&o, NFS4_CREATE_GUARDED, 0, "g");
	assert_int_equal(run40(), NFS4_OK);
	ok(OP_OPEN);
	bool confirm;
	uint8_t g[HANDLE_BYTES];
	d = get_open40(&confirm);
	on40(P.root);
	name_op(OP_LOOKUP, "g");
	op(OP_GETFH);
	run40();
	ok(OP_LOOKUP);
	ok(OP_GETFH);
	get_fh(g);
	o.seqid++;
	assert_int_equal(open_confirm(&o, g, &d), NFS4_OK);
	assert_int_equal(open40(&o, 1, 0, "f", &f), NFS4_OK);
	old = f;
	assert_int_equal(close40(&o, P.file, &f), NFS4_OK);
	o.seqid--;
	assert_int_equal(close40(&o, P.file, &f), NFS4_OK);	/* again */
	assert_int_equal(close40(&o, P.file, &f), E(BAD_STATEID));
	assert_int_equal(read40(P.file, &old), E(BAD_STATEID));
	assert_int_equal(close40(&o, g, &d), NFS4_OK);
	o.seqid--;
	assert_int_equal(close40(&o, g, &d), NFS4_OK);
	o.seqid--;
	assert_int_equal(close40(&o, P.file, &f), E(BAD_STATEID));	/* two ago */
	o.seqid++;
	/* the owner is known still */
	assert_int_equal(open40(&o, 1, 0, "f", &f), NFS4_OK);
	assert_int_equal(close40(&o, P.file, &f), NFS4_OK);
	assert_int_equal(state_now()->nidle_owners, 1);
	assert_int_equal(state_now()->files.n, 0);
	/* and isn't any more after a lease's time, when another one goes */
	LEASE_OVER();
	struct own p = { "p", 9 };
	assert_int_equal(renew(C), NFS4_OK);
	assert_int_equal(open40(&p, 1, 0, "f", &f), NFS4_OK);
	assert_int_equal(close40(&p, P.file, &f), NFS4_OK);
	assert_int_equal(state_now()->nidle_owners, 1);
	o.seqid = 1234;
	assert_int_equal(open40(&o, 1, 0, "f", &f), NFS4_OK);
}

/* A bounded number of owners is kept, and nothing of a client that goes. */
static void test_idle_owners(void **state)
{
	struct own o = { "o", 0 };
	uint64_t mine = C, c, t;
	struct sid sid;
	char name[16];

	C = client40("other");
	assert_int_equal(open40(&o, 1, 0, "f", &sid), NFS4_OK);
	assert_int_equal(close40(&o, P.file, &sid), NFS4_OK);
	C = mine;
	for (unsigned i = 0; i < NFS4_IDLE_OWNERS_MAX + 10; i++) {
		o = (struct own){ name, i };
		snprintf(name, sizeof(name), "o%u", i);
		if (i % 2) {
			assert_int_equal(open40(&o, 1, 0, "f", &sid), NFS4_OK);
			assert_int_equal(close40(&o, P.file, &sid), NFS4_OK);
		} else {
			assert_int_equal(open40(&o, 1, 0, "nothing", &sid), E(NOENT));
		}
	}
	assert_int_equal(state_now()->nidle_owners, NFS4_IDLE_OWNERS_MAX);
	assert_int_equal(state_now()->owners.n, NFS4_IDLE_OWNERS_MAX);
	assert_int_equal(setclientid("client", 2, "tcp", "", &c, &t), NFS4_OK);
	assert_int_equal(setclientid_confirm(c, t), NFS4_OK);
	assert_int_equal(state_now()->nidle_owners, 0);
	assert_int_equal(state_now()->owners.n, 0);
	assert_int_equal(state_now()->sids.n, 0);
}

/* Which errors leave the owner his number. */
static void test_counting(void **state)
{
	struct own o = { "o", 0 };
	struct sid sid, bad, stale, dummy;

	assert_int_equal(open40(&o, 3, 0, "f", &sid), NFS4_OK);
	bad = stale = sid;
	bad.other[11] ^= 0x40;
	stale.other[0] ^= 1;
	assert_int_equal(close40(&o, P.file, &anonymous), E(BAD_STATEID));
	assert_int_equal(close40(&o, P.file, &bad), E(BAD_STATEID));
	assert_int_equal(close40(&o, P.file, &stale), E(STALE_STATEID));
	begin(0);
	op(OP_CLOSE);
	msg_u32(&M, o.seqid);
	put_sid(&sid);
	assert_int_equal(run(), E(NOFILEHANDLE));
	uint64_t mine = C;
	C = 0;
	assert_int_equal(open40(&o, 1, 0, "f", &dummy), E(STALE_CLIENTID));
	C = mine;
	on40(P.root);
	op(OP_OPEN);
	msg_u32(&M, o.seqid);
	assert_int_equal(run40(), E(BADXDR));
	/* those that count, each by its own number */
	uint32_t before = o.seqid;
	assert_int_equal(open40(&o, 0, 0, "f", &dummy), E(INVAL));
	assert_int_equal(open40(&o, 4, 0, "f", &dummy), E(INVAL));
	assert_int_equal(open40(&o, 0x101, 0, "f", &dummy), E(INVAL));	/* a wish of 4.1 */
	assert_int_equal(open40(&o, 1, 4, "f", &dummy), E(INVAL));
	assert_int_equal(open40(&o, 1, 0, "", &dummy), E(INVAL));
	assert_int_equal(open40(&o, 1, 0, "..", &dummy), E(BADNAME));
	assert_int_equal(open40(&o, 1, 0, "vapor", &dummy), E(NOENT));
	assert_int_equal(open40(&o, 1, 0, "d", &dummy), E(ISDIR));
	assert_int_equal(downgrade40(&o, &sid, 1, 0), E(INVAL));
	struct sid old = sid;
	old.seqid--;
	assert_int_equal(downgrade40(&o, &old, 1, 0), E(OLD_STATEID));
	assert_int_equal(o.seqid, before + 10);
	/* a handle of what is gone, and of what may not be seen, count too */
	on40(P.link);
	put_open40(&o, 1, 0, "f");
	assert_int_equal(run_numbered(&o, OP_OPEN), E(SYMLINK));
	begin(0);
	op(OP_PUTROOTFH);
	put_open40(&o, 1, 0, "f");
	assert_int_equal(run(), E(ISDIR));
	o.seqid++;
	assert_int_equal(close40(&o, P.file, &sid), NFS4_OK);
}

static void test_exclusive(void **state)
{
	struct own o = { "o", 0 };
	struct sid sid;

	assert_int_equal(open40(&o, 1, 0, "f", &sid), NFS4_OK);
	static const struct { uint32_t how; uint64_t verf; uint32_t status; } t[] = {
		{ NFS4_CREATE_EXCLUSIVE, 7, 0 }, { NFS4_CREATE_EXCLUSIVE, 7, 0 },
		{ NFS4_CREATE_EXCLUSIVE, 8, E(EXIST) }, { NFS4_CREATE_GUARDED, 0, E(EXIST) },
		{ NFS4_CREATE_UNCHECKED, 0, 0 }, { NFS4_CREATE_EXCLUSIVE4_1, 7, E(BADXDR) },
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		bool confirm;

		on40(P.root);
		put_create40(&o, t[i].how, t[i].verf, "x");
		assert_int_equal(run_numbered(&o, OP_OPEN), t[i].status);
		if (t[i].status)
			continue;
		sid = get_open40(&confirm);
		assert_false(confirm);
	}
	/* its attributes are set afterwards */
	on40(P.root);
	name_op(OP_LOOKUP, "x");
	op(OP_SETATTR);
	put_sid(&sid);
	put_mode(0600);
	assert_int_equal(run40(), NFS4_OK);
	/* claims: those of later minor versions are unheard of */
	static const struct { uint32_t claim, status; } claims[] = {
		{ 1, E(NO_GRACE) }, { 2, E(BAD_STATEID) }, { 3, E(NOTSUPP) }, { 4, E(BADXDR) },
		{ 5, E(BADXDR) }, { 6, E(BADXDR) },
	};
	for (size_t i = 0; i < sizeof(claims) / sizeof(*claims); i++) {
		on40(P.file);
		op(OP_OPEN);
		msg_u32(&M, o.seqid);
		msg_u32(&M, 1);
		msg_u32(&M, 0);
		msg_u64(&M, C);
		msg_string(&M, o.name);
		msg_u32(&M, 0);
		msg_u32(&M, claims[i].claim);
		if (claims[i].claim == 2 || claims[i].claim == 5)
			put_sid(&anonymous);
		if (claims[i].claim == 1)
			msg_u32(&M, 0);
		if (claims[i].claim == 2 || claims[i].claim == 3)
			msg_string(&M, "f");
		assert_int_equal(run_numbered(&o, OP_OPEN), claims[i].status);
	}
}

/* ---- stateids ------------------------------------------------------------------------ */

static void test_stateids(void **state)
{
	struct own o = { "o", 0 }, p = { "p", 0 };
	struct sid ro, rw, wrong;

	assert_int_equal(open40(&o, 1, 0, "f", &ro), NFS4_OK);
	assert_int_equal(open40(&p, 1, 0, "f", &rw), NFS4_OK);
	wrong = rw;
	assert_int_equal(open40(&p, 2, 0, "f", &rw), NFS4_OK);
	assert_int_equal(read40(P.file, &ro), NFS4_OK);
	assert_int_equal(write40(P.file, &ro), E(OPENMODE));
	assert_int_equal(write40(P.file, &rw), NFS4_OK);
	assert_int_equal(write40(P.file, &wrong), E(OLD_STATEID));
	wrong.seqid = rw.seqid + 1;
	assert_int_equal(write40(P.file, &wrong), E(BAD_STATEID));
	wrong.seqid = 0;					/* is a number like others */
	assert_int_equal(write40(P.file, &wrong), E(OLD_STATEID));
	assert_int_equal(write40(P.dir, &rw), E(BAD_STATEID));
	wrong = rw;
	wrong.other[3] ^= 1;
	assert_int_equal(read40(P.file, &wrong), E(STALE_STATEID));
	wrong = rw;
	wrong.other[6] ^= 1;					/* of a client that isn't there */
	assert_int_equal(read40(P.file, &wrong), E(EXPIRED));
	wrong = rw;
	memset(wrong.other + 8, 0, 4);
	assert_int_equal(read40(P.file, &wrong), E(BAD_STATEID));
	assert_int_equal(read40(P.file, &anonymous), NFS4_OK);
	assert_int_equal(read40(P.file, &bypass), NFS4_OK);
	assert_int_equal(read40(P.file, &current), E(BAD_STATEID));
	on40(P.root);
	put_open40(&o, 1, 0, "f");
	op(OP_READ);
	put_sid(&current);				/* there is no such thing in 4.0 */
	msg_u64(&M, 0);
	msg_u32(&M, 3);
	assert_int_equal(run40(), E(BAD_STATEID));
	o.seqid++;
	/* nor are those of sessions */
	S = new_client("session");
	assert_int_equal(open_file(&S, 1, 0, "o", "f", &wrong), NFS4_OK);
	assert_int_equal(read40(P.file, &wrong), E(BAD_STATEID));
	on(P.file);
	op(OP_READ);
	put_sid(&ro);
	msg_u64(&M, 0);
	msg_u32(&M, 3);
	assert_int_equal(run_on(), E(BAD_STATEID));
	/* share reservations are for all */
	assert_int_equal(open_file(&S, 1, 2, "o", "f", &wrong), E(SHARE_DENIED));
	assert_int_equal(open_file(&S, 1, 2, "o", "f", &wrong), E(SHARE_DENIED));
	assert_int_equal(close40(&p, P.file, &rw), NFS4_OK);
	assert_int_equal(open_file(&S, 1, 2, "o", "f", &wrong), NFS4_OK);
	assert_int_equal(open40(&o, 2, 0, "f", &rw), E(SHARE_DENIED));
	assert_int_equal(write40(P.file, &anonymous), E(LOCKED));
}

static void test_downgrade(void **state)
{
	struct own o = { "o", 0 };
	struct sid sid, old;

	assert_int_equal(open40(&o, 3, 0, "f", &sid), NFS4_OK);
	assert_int_equal(downgrade40(&o, &sid, 1, 0), E(INVAL));	/* never asked for */
	assert_int_equal(open40(&o, 1, 0, "f", &sid), NFS4_OK);
	old = sid;
	assert_int_equal(downgrade40(&o, &sid, 1, 0), NFS4_OK);
	o.seqid--;
	assert_int_equal(downgrade40(&o, &old, 1, 0), NFS4_OK);		/* again */
	assert_memory_equal(&old, &sid, sizeof(sid));
	assert_int_equal(write40(P.file, &sid), E(OPENMODE));
	assert_int_equal(close40(&o, P.file, &sid), NFS4_OK);
}

/* ---- leases -------------------------------------------------------------------------- */

static void test_lease(void **state)
{
	struct own o = { "o", 0 }, p = { "p", 0 };
	uint64_t mine = C, other = client40("other");
	struct sid sid, sid2;

	assert_int_equal(open40(&o, 3, 3, "f", &sid), NFS4_OK);
	C = other;
	assert_int_equal(open40(&p, 1, 0, "f", &sid2), E(SHARE_DENIED));
	/* anything of his keeps it */
	for (int i = 0; i < 4; i++) {
		state_now()->skew_ns += state_now()->lease_ns / 2;
		assert_int_equal(i % 2 ? renew(mine) : read40(P.file, &sid), NFS4_OK);
		assert_int_equal(open40(&p, 1, 0, "f", &sid2), E(SHARE_DENIED));
	}
	/* late, but nobody was in need of it */
	LEASE_OVER();
	assert_int_equal(renew(mine), NFS4_OK);
	LEASE_OVER();
	assert_int_equal(renew(other), NFS4_OK);
	P.foreground = true;			/* his record is still there */
	assert_int_equal(open40(&p, 1, 0, "f", &sid2), E(DELAY));
	assert_int_equal(read40(P.file, &sid), E(EXPIRED));
	assert_int_equal(open40(&p, 1, 0, "f", &sid2), E(DELAY));
	P.foreground = false;
	assert_int_equal(renew(other), NFS4_OK);
	assert_int_equal(open40(&p, 1, 0, "f", &sid2), NFS4_OK);
	C = mine;
	assert_int_equal(renew(mine), E(EXPIRED));
	assert_int_equal(read40(P.file, &sid), E(EXPIRED));
	assert_int_equal(close40(&o, P.file, &sid), E(EXPIRED));
	assert_int_equal(open40(&o, 1, 0, "f", &sid), E(EXPIRED));
	assert_int_equal(test_lock40(mine, "x", 1, 0, 1), E(EXPIRED));
	C = client40("client");
	o.seqid = 3;
	assert_int_equal(open40(&o, 1, 0, "f", &sid), NFS4_OK);
	/* who has no delegation needs no callbacks */
	nfs4_client_find(state_now(), C)->cbs.path.down = true;
	assert_int_equal(renew(C), NFS4_OK);
	nfs4_client_find(state_now(), C)->ndelegs++;
	assert_int_equal(renew(C), E(CB_PATH_DOWN));
	nfs4_client_find(state_now(), C)->ndelegs--;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T40(test_operations), T40(test_too_many), T40(test_retransmission),
		T40(test_handles), T40(test_types), T40(test_attributes), T40(test_setclientid),
		T40(test_in_use), T40(test_callback_address), T40(test_many_clients),
		T40(test_confirm), T40(test_wrap), T40(test_open_again), T40(test_close_again), T40(test_later_again),
		T40(test_idle_owners), T40(test_counting), T40(test_exclusive),
		T40(test_stateids), T40(test_downgrade), T40(test_lease),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
