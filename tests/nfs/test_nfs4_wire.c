/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Callbacks over real sockets: the server on its loop's thread, on memfs; the clients are blocking
 * and use compound.h, but what they send goes over the connection FD.
 */
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "proto.h"

/* Sends M over FD and gets its reply; calls that come before it are answered (take_call()). */
static uint8_t *wire_serve(struct proto *p, const struct msg *m, size_t *ret_len);
#define proto_serve wire_serve
#include "compound40.h"
#undef proto_serve

static struct nfs_server *server;
static struct fs *fs;
static uint16_t port;
static int FD;

/* ---- what the client is asked -------------------------------------------------------- */

static struct { unsigned nulls, recalls; uint32_t prog, ident, seq; struct sid id; bool mute; } asked;

static void answer(int fd, uint32_t xid, struct xdr_in *in)
{
	uint32_t minor;
	struct msg m = { 0 };
	const uint8_t *session = NULL;

	assert_int_equal(xdr_get_u32(in), 0);			/* tag */
	minor = xdr_get_u32(in);
	asked.ident = xdr_get_u32(in);
	assert_int_equal(xdr_get_u32(in), minor ? 2 : 1);
	if (minor) {
		assert_int_equal(xdr_get_u32(in), NFS4_CB_SEQUENCE);
		session = xdr_get_fixed(in, 16);
		asked.seq = xdr_get_u32(in);
		xdr_get_fixed(in, 16);
	}
	assert_int_equal(xdr_get_u32(in), NFS4_CB_RECALL);
	asked.id.seqid = xdr_get_u32(in);
	memcpy(asked.id.other, xdr_get_fixed(in, 12), 12);
	asked.recalls++;
	if (asked.mute)
		return;
	const uint32_t head[] = { xid, 1, 0, 0, 0, 0, 0, 0, minor ? 2 : 1 };

	for (int i = 0; i < 9; i++)
		msg_u32(&m, head[i]);
	if (minor) {
		msg_u32(&m, NFS4_CB_SEQUENCE);
		msg_u32(&m, 0);
		msg_bytes(&m, session, 16);
		msg_u32(&m, asked.seq);
		for (int i = 0; i < 3; i++)
			msg_u32(&m, 0);
	}
	msg_u32(&m, NFS4_CB_RECALL);
	msg_u32(&m, 0);
	client_send(fd, &m);
	msg_free(&m);
}

/* Record R of LEN bytes is a call to us. */
static void take_record(int fd, const uint8_t *r, size_t len)
{
	struct xdr_in in;
	struct msg m = { 0 };
	uint32_t xid, proc;

	xdr_in_init(&in, r, len);
	xid = xdr_get_u32(&in);
	assert_int_equal(xdr_get_u32(&in), 0);
	assert_int_equal(xdr_get_u32(&in), 2);
	asked.prog = xdr_get_u32(&in);
	assert_int_equal(xdr_get_u32(&in), 1);
	proc = xdr_get_u32(&in);
	xdr_get_u32(&in);
	xdr_get_opaque(&in, 400);
	xdr_get_u64(&in);
	if (proc == 1) {
		answer(fd, xid, &in);
		return;
	}
	assert_int_equal(proc, 0);
	asked.nulls++;
	const uint32_t nothing[] = { xid, 1, 0, 0, 0, 0 };

	for (int i = 0; i < 6; i++)
		msg_u32(&m, nothing[i]);
	client_send(fd, &m);
	msg_free(&m);
}

static void take_call(int fd)
{
	size_t len;
	uint8_t *r = client_recv(fd, &len);

	assert_non_null(r);
	take_record(fd, r, len);
	free(r);
}

static uint8_t *wire_serve(struct proto *p, const struct msg *m, size_t *ret_len)
{
	client_send(FD, m);
	for (;;) {
		uint8_t *r = client_recv(FD, ret_len);

		if (!r || get32(r + 4) == 1)
			return r;
		take_record(FD, r, *ret_len);
		free(r);
	}
}

/* ---- set-up -------------------------------------------------------------------------- */

static void start_server(void *arg)
{
	static const char *const listen = "127.0.0.1:0";
	const struct nfs_config cfg = { .handle_key = "0123456789abcde", .portmap = "",
					.lease_s = 2, .listen = &listen, .nlisten = 1 };
	char why[200];

	fs = memfs_new();
	memfs_set_exports(fs, 1, "* rw no_root_squash");
	assert_int_equal(nfs_server_new(fs, &cfg, &server), 0);
	assert_int_equal(nfs_server_start(server, why, sizeof(why)), 0);
	port = nfs_server_port(server, 0);
}

static void stop_server(void *arg)
{
	nfs_server_stop(server);
	nfs_server_free(server);
	memfs_free(fs);
}

static struct sess with_back(const char *owner)
{
	struct sess s = { 0 };
	uint32_t flags;

	assert_int_equal(exchange(owner, 1, 0, &s, &flags), NFS4_OK);
	begin(1);
	op(OP_CREATE_SESSION);
	msg_u64(&M, s.clientid);
	msg_u32(&M, s.create_seq);
	msg_u32(&M, 2);
	put_channel(1 << 20, 4096, 16, 8);
	put_channel(4096, 4096, 8, 4);
	msg_u32(&M, 0x40001234);
	msg_u32(&M, 1);
	msg_u32(&M, 0);
	assert_int_equal(run(), NFS4_OK);
	ok(OP_CREATE_SESSION);
	memcpy(s.id, xdr_get_fixed(&R, 16), 16);
	xdr_get_u32(&R);
	assert_int_equal(xdr_get_u32(&R), 2);
	if (!asked.nulls)
		take_call(FD);
	assert_int_equal(asked.prog, 0x40001234);
	assert_int_equal(reclaim_complete(&s), NFS4_OK);
	return s;
}

/* "f" of volume "vol", made by S. */
static void make_file(struct sess *s)
{
	begin(1);
	seq(s);
	op(OP_PUTROOTFH);
	name_op(OP_LOOKUP, "vol");
	op(OP_GETFH);
	assert_int_equal(run(), NFS4_OK);
	ok_seq();
	ok(OP_PUTROOTFH);
	ok(OP_LOOKUP);
	ok(OP_GETFH);
	assert_int_equal(xdr_get_u32(&R), HANDLE_BYTES);
	memcpy(P.root, xdr_get_fixed(&R, HANDLE_BYTES), HANDLE_BYTES);
	begin(1);
	seq(s);
	putfh(P.root);
	op(OP_OPEN);
	msg_u32(&M, 0);
	msg_u32(&M, 1 | 0x400);
	msg_u32(&M, 0);
	put_owner("maker");
	msg_u32(&M, 1);
	msg_u32(&M, NFS4_CREATE_GUARDED);
	put_mode(0666);
	msg_u32(&M, 0);
	msg_string(&M, "f");
	op(OP_GETFH);
	assert_int_equal(run(), NFS4_OK);
	ok_seq();
	ok(OP_PUTFH);
	ok(OP_OPEN);
	get_open();
	ok(OP_GETFH);
	assert_int_equal(xdr_get_u32(&R), HANDLE_BYTES);
	memcpy(P.file, xdr_get_fixed(&R, HANDLE_BYTES), HANDLE_BYTES);
}

static int setup_wire(void **state)
{
	asked.nulls = asked.recalls = 0;
	asked.mute = false;
	harness_start();
	harness_call(start_server, NULL);
	P.xid = 1;
	FD = client_connect(port);
	S = with_back("holder");
	make_file(&S);
	return 0;
}

static int teardown_wire(void **state)
{
	harness_call(stop_server, NULL);
	harness_stop();
	close(FD);
	msg_free(&M);
	free(reply);
	reply = NULL;
	return 0;
}
#define TWIRE(x) cmocka_unit_test_setup_teardown(x, setup_wire, teardown_wire)

/* ---- tests --------------------------------------------------------------------------- */

static uint32_t open_wire(struct sess *s, uint32_t access, struct offer *ret_offer)
{
	uint32_t status;

	begin(1);
	seq(s);
	putfh(P.root);
	put_open(access, 0, "o", "f");
	run();
	ok_seq();
	ok(OP_PUTFH);
	status = res(OP_OPEN);
	if (!status) {
		get_open_head();
		*ret_offer = get_offer();
	}
	return status;
}

static struct offer get_deleg(void)
{
	struct offer o;

	assert_int_equal(open_wire(&S, 1, &o), NFS4_OK);
	assert_int_equal(o.type, NFS4_DELEG_READ);
	return o;
}

static uint32_t flags_of(struct sess *s)
{
	begin(1);
	seq(s);
	assert_int_equal(run(), NFS4_OK);
	ok(OP_SEQUENCE);
	xdr_get_fixed(&R, 32);
	return xdr_get_u32(&R);
}

static uint32_t sid_op(struct sess *s, uint32_t num, const struct sid *id)
{
	begin(1);
	seq(s);
	putfh(P.file);
	op(num);
	put_sid(id);
	return run();
}

static void bind_back(struct sess *s)
{
	begin(1);
	op(OP_BIND_CONN);
	msg_bytes(&M, s->id, 16);
	msg_u32(&M, 7);
	msg_u32(&M, 0);
	assert_int_equal(run(), NFS4_OK);
	ok(OP_BIND_CONN);
	xdr_get_fixed(&R, 16);
	assert_int_equal(xdr_get_u32(&R), 3);
}

/* The whole way of a delegation, its client's connection lost and made anew meanwhile. */
static void test_recall(void **state)
{
	struct offer o = get_deleg(), none;
	struct sess other;
	int holder = FD, fd;

	FD = client_connect(port);
	other = new_client("other");
	assert_int_equal(open_wire(&other, 2, &none), E(DELAY));
	take_call(holder);
	assert_int_equal(asked.recalls, 1);
	assert_memory_equal(&asked.id, &o.id, sizeof(o.id));
	assert_int_equal(open_wire(&other, 2, &none), E(DELAY));
	fd = FD;
	FD = holder;
	assert_int_equal(sid_op(&S, OP_DELEGRETURN, &o.id), NFS4_OK);
	FD = fd;
	assert_int_equal(open_wire(&other, 2, &none), NFS4_OK);
	close(holder);
}

static void test_connection_lost(void **state)
{
	struct offer o = get_deleg(), none;
	struct sess other;
	int fd;

	close(FD);
	FD = client_connect(port);
	for (int i = 0; i < 100 && flags_of(&S) != 0x201; i++)
		usleep(10000);			/* the server may not have seen it yet */
	assert_int_equal(flags_of(&S), 0x201);
	fd = FD;
	FD = client_connect(port);
	other = new_client("other");
	assert_int_equal(open_wire(&other, 2, &none), E(DELAY));
	close(FD);
	FD = fd;
	assert_int_equal(flags_of(&S), 0x201);
	asked.nulls = 0;
	bind_back(&S);
	while (!asked.recalls)
		take_call(FD);
	assert_int_equal(asked.nulls, 1);
	assert_memory_equal(&asked.id, &o.id, sizeof(o.id));
	assert_int_equal(flags_of(&S), 0);
	assert_int_equal(sid_op(&S, OP_DELEGRETURN, &o.id), NFS4_OK);
}

/* It takes the recall and does nothing: not even its connection is of use any more. */
static void test_never_answers(void **state)
{
	struct offer o = get_deleg(), none;
	int holder = FD, fd = client_connect(port);
	struct sess other;
	uint32_t status = 0;

	asked.mute = true;
	FD = fd;
	other = new_client("other");
	for (int i = 0; i < 100; i++) {
		status = open_wire(&other, 2, &none);
		if (status != E(DELAY))
			break;
		usleep(100000);
		FD = holder;			/* it is there, and renews its lease */
		flags_of(&S);
		FD = fd;
	}
	assert_int_equal(status, NFS4_OK);
	assert_true(asked.recalls >= 1);
	FD = holder;
	assert_int_equal(flags_of(&S) & 0x40, 0x40);
	assert_int_equal(flags_of(&S) & 0x201, 0x201);
	assert_int_equal(sid_op(&S, OP_DELEGRETURN, &o.id), E(DELEG_REVOKED));
	begin(1);
	seq(&S);
	op(OP_FREE_STATEID);
	put_sid(&o.id);
	assert_int_equal(run(), NFS4_OK);
	close(fd);
}

/* As a client that mounts with nconnect=4: one session, requests over all connections at once. */
static void test_trunking(void **state)
{
	struct { int fd; struct sess s; uint32_t xid; } way[4];
	struct offer o, none;

	for (int round = 0; round < 5; round++) {
		for (uint32_t i = 0; i < 4; i++) {
			if (!round) {
				way[i].fd = i ? client_connect(port) : FD;
				way[i].s = S;
				way[i].s.slot = i;
				way[i].s.seq = i ? 0 : S.seq;
			}
			begin(1);
			seq(&way[i].s);
			putfh(P.file);
			op(OP_READ);
			put_sid(&anonymous);
			msg_u64(&M, 0);
			msg_u32(&M, 10);
			way[i].xid = get32(M.data);
			client_send(way[i].fd, &M);
		}
		for (int i = 0; i < 4; i++) {
			size_t len;
			uint8_t *r = client_recv(way[i].fd, &len);

			assert_non_null(r);
			assert_int_equal(get32(r), way[i].xid);
			assert_int_equal(get32(r + 24), NFS4_OK);
			free(r);
		}
	}
	/* any of them may become the back channel */
	FD = way[2].fd;
	bind_back(&S);
	close(way[0].fd);
	S = way[2].s;
	for (int i = 0; i < 100 && flags_of(&S); i++)
		usleep(10000);
	assert_int_equal(open_wire(&S, 1, &o), NFS4_OK);
	for (int i = 0; i < 100 && o.type == NFS4_DELEG_NONE; i++) {
		usleep(10000);			/* until CB_NULL has been answered there */
		assert_int_equal(open_wire(&S, 1, &o), NFS4_OK);
	}
	assert_int_equal(o.type, NFS4_DELEG_READ);
	FD = way[3].fd;
	struct sess other = new_client("other");

	assert_int_equal(open_wire(&other, 2, &none), E(DELAY));
	while (!asked.recalls)
		take_call(way[2].fd);
	for (int i = 1; i < 3; i++)
		close(way[i].fd);
}

static void test_stop_while_asked(void **state)
{
	int holder = FD;
	struct offer o = get_deleg(), none;
	struct sess other;

	asked.mute = true;
	FD = client_connect(port);
	other = new_client("other");
	assert_int_equal(open_wire(&other, 2, &none), E(DELAY));
	take_call(holder);
	assert_memory_equal(&asked.id, &o.id, sizeof(o.id));
	close(holder);				/* and the teardown stops the server */
}

/* ---- 4.0: the server connects -------------------------------------------------------- */

static int listening(uint16_t *ret_port)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(in);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, len), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	*ret_port = ntohs(in.sin_port);
	return fd;
}

static int take_connection(int lfd)
{
	struct pollfd p = { .fd = lfd, .events = POLLIN };

	assert_int_equal(poll(&p, 1, 10000), 1);
	return accept(lfd, NULL, NULL);
}

static uint32_t open40_wire(struct own *o, struct offer *ret_offer, struct sid *ret_open)
{
	uint32_t status;

	on40(P.root);
	put_open40(o, 1, 0, "f");
	run40();
	status = res(OP_OPEN);
	count40(o, status);
	if (!status) {
		*ret_open = get_open_head();
		*ret_offer = get_offer();
	}
	return status;
}

static void test_v40(void **state)
{
	uint64_t confirm = 0;
	struct own o = { "o", 1 };
	struct offer got = { 0 }, none;
	struct sid open;
	uint16_t listen_port;
	char addr[64];
	int lfd = listening(&listen_port), back;

	snprintf(addr, sizeof(addr), "127.0.0.1.%u.%u", listen_port >> 8, listen_port & 255);
	assert_int_equal(setclientid("v40", 1, "tcp", addr, &C, &confirm), NFS4_OK);
	assert_int_equal(setclientid_confirm(C, confirm), NFS4_OK);
	asked.nulls = 0;
	back = take_connection(lfd);
	take_call(back);
	assert_int_equal(asked.nulls, 1);
	assert_int_equal(asked.prog, 0x40000000);
	assert_int_equal(open40_wire(&o, &got, &open), NFS4_OK);
	assert_int_equal(open_confirm(&o, P.file, &open), NFS4_OK);
	for (int i = 0; i < 100 && got.type == NFS4_DELEG_NONE; i++) {
		usleep(10000);
		assert_int_equal(open40_wire(&o, &got, &open), NFS4_OK);
	}
	assert_int_equal(got.type, NFS4_DELEG_READ);
	assert_int_equal(open_wire(&S, 2, &none), E(DELAY));
	take_call(back);
	assert_int_equal(asked.recalls, 1);
	assert_int_equal(asked.ident, 7);
	assert_memory_equal(&asked.id, &got.id, sizeof(got.id));
	/* its connection may end: another is made when there is something to say */
	close(back);
	on40(P.file);
	op(OP_DELEGRETURN);
	put_sid(&got.id);
	assert_int_equal(run40(), NFS4_OK);
	assert_int_equal(open_wire(&S, 2, &none), NFS4_OK);
	assert_int_equal(renew(C), NFS4_OK);
	close(lfd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TWIRE(test_recall), TWIRE(test_connection_lost), TWIRE(test_never_answers),
		TWIRE(test_trunking), TWIRE(test_stop_while_asked), TWIRE(test_v40),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
