/* SPDX-License-Identifier: Apache-2.0 */
/* Calls from the server to a client, back over the client's connection and over one of its own. */
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <poll.h>
#include <sys/socket.h>
#include <cmocka.h>
#include "base/fiber.h"
#include "base/loop.h"
#include "harness.h"
#include "rpc/client.h"

#define PROG 400000
#define CB_PROG 0x40000000
#define CALLS_MAX (RPC_CALLS_MAX + 32)
enum { P_NULL, P_REMEMBER };

static struct rpc_server *server;
static uint16_t port;
static struct rpc_peer *peer;		/* who called P_REMEMBER last */

/* ---- the program --------------------------------------------------------------------- */

static int h_null(struct rpc_call *c, void *args, void *res) { return 0; }

static int h_remember(struct rpc_call *c, void *args, void *res)
{
	rpc_peer_put(peer);
	peer = rpc_call_peer(c);
	return 0;
}

static const struct rpc_proc procs[] = {
	[P_NULL] = { .name = "NULL", .handle = h_null },
	[P_REMEMBER] = { .name = "REMEMBER", .handle = h_remember },
};
static const struct rpc_program program = { "test", PROG, 1, procs, 2 };
static struct rpc_proc_stats stats[2];
static struct rpc_binding binding = { &program, NULL, stats };
static struct rpc_service service = { .bindings = &binding, .nbindings = 1 };

/* ---- calls under way on the loop ----------------------------------------------------- */

static struct under_way {
	struct rpc_peer *peer;
	uint32_t word;
	unsigned timeout_ms;
	bool done;
	int result;
	uint32_t ret_word;
} calls[CALLS_MAX];
static unsigned ncalls;

static void call_fiber(void *arg)
{
	struct under_way *u = arg;
	const struct rpc_cred cred = { .flavor = RPC_AUTH_SYS, .uid = 17, .gid = 19, .ngroups = 2,
				       .groups = { 5, 6 } };
	const uint32_t args = htobe32(u->word);
	const struct rpc_request q = { CB_PROG, 1, 7, &cred, &args, 4, u->timeout_ms };
	uint8_t buf[8];
	size_t len = 0;

	u->result = rpc_peer_call(u->peer, &q, buf, sizeof(buf), &len);
	u->ret_word = !u->result && len >= 4 ? get32(buf) : 0;
	rpc_peer_put(u->peer);
	u->done = true;
}

static void spawn_call(void *arg)
{
	struct under_way *u = arg;

	u->peer = rpc_peer_get(peer);
	assert_int_equal(fiber_spawn(call_fiber, u, "call"), 0);
}

/* Begins a call of PEER. */
static struct under_way *start(uint32_t word, unsigned timeout_ms)
{
	struct under_way *u = &calls[ncalls++];

	assert_true(ncalls <= CALLS_MAX);
	*u = (struct under_way){ .word = word, .timeout_ms = timeout_ms };
	harness_call(spawn_call, u);
	return u;
}

static void nothing(void *arg) { }

static int result_of(struct under_way *u)
{
	for (int i = 0; i < 5000; i++) {
		harness_call(nothing, NULL);
		if (u->done)
			return u->result;
		usleep(2000);
	}
	fail_msg("a call never ended");
	return 0;
}

/* ---- set-up -------------------------------------------------------------------------- */

static void start_server(void *arg)
{
	char why[200];

	assert_int_equal(rpc_server_new(arg, &server), 0);
	assert_int_equal(rpc_server_listen(server, "127.0.0.1:0", &service, &port, why,
					   sizeof(why)), 0);
}

static void stop_server(void *arg)
{
	rpc_server_stop(server, 1000);
	if (peer) {
		assert_false(rpc_peer_alive(peer) && arg);
		rpc_peer_put(peer);
	}
	rpc_server_free(server);
	peer = NULL;
}

static void begin(const struct rpc_limits *lim)
{
	ncalls = 0;
	harness_start();
	harness_call(start_server, (void *)lim);
}

static void end(void)
{
	harness_call(stop_server, NULL);
	harness_stop();
}

static void get_stats(void *arg) { rpc_server_stats(server, arg); }

static struct rpc_server_stats server_stats(void)
{
	struct rpc_server_stats st;

	harness_call(get_stats, &st);
	return st;
}

static void put_peer(void *arg)
{
	rpc_peer_put(peer);
	peer = NULL;
}

static void get_alive(void *arg) { *(bool *)arg = rpc_peer_alive(peer); }

static bool peer_alive(void)
{
	bool alive;

	harness_call(get_alive, &alive);
	return alive;
}

/* ---- the client ---------------------------------------------------------------------- */

static void send_call(int fd, uint32_t xid, uint32_t proc)
{
	struct msg m = { 0 };

	msg_call(&m, xid, PROG, 1, proc, 0);
	client_send(fd, &m);
	msg_free(&m);
}

static void expect_reply(int fd, uint32_t xid)
{
	size_t len;
	uint8_t *r = client_recv(fd, &len);

	assert_non_null(r);
	assert_int_equal(len, 24);
	assert_int_equal(get32(r), xid);
	assert_int_equal(get32(r + 4), 1);
	free(r);
}

/* A connection that may be called back. */
static int connect_back(void)
{
	int fd = client_connect(port);

	send_call(fd, 1, P_REMEMBER);
	expect_reply(fd, 1);
	return fd;
}

/* Takes the server's call; its xid.  The word that came with it goes to *RET_WORD. */
static uint32_t take_call(int fd, uint32_t *ret_word)
{
	static const uint32_t expected[] = { 0, 2, CB_PROG, 1, 7, 1, 36 };
	size_t len;
	uint8_t *r = client_recv(fd, &len);
	uint32_t xid;

	assert_non_null(r);
	assert_int_equal(len, 24 + 8 + 36 + 8 + 4);
	for (int i = 0; i < 7; i++)
		assert_int_equal(get32(r + 4 + 4 * i), expected[i]);
	assert_int_equal(get32(r + 48), 17);
	assert_int_equal(get32(r + 52), 19);
	assert_int_equal(get32(r + 56), 2);
	assert_int_equal(get32(r + 60), 5);
	assert_int_equal(get32(r + 64), 6);
	assert_int_equal(get32(r + 68), 0);
	assert_int_equal(get32(r + 72), 0);
	*ret_word = get32(r + 76);
	xid = get32(r);
	free(r);
	return xid;
}

static void send_words(int fd, const uint32_t *words, size_t n)
{
	struct msg m = { 0 };

	for (size_t i = 0; i < n; i++)
		msg_u32(&m, words[i]);
	client_send(fd, &m);
	msg_free(&m);
}
#define SEND(fd, ...) do { const uint32_t w_[] = { __VA_ARGS__ }; \
	send_words(fd, w_, sizeof(w_) / 4); } while (0)

static void answer(int fd, uint32_t xid, uint32_t word) { SEND(fd, xid, 1, 0, 0, 0, 0, word); }

/* ---- back over the client's connection ----------------------------------------------- */

static void test_back(void **state)
{
	struct under_way *a, *b;
	uint32_t word, xid_a, xid_b;
	int fd;

	begin(NULL);
	fd = connect_back();
	a = start(100, 5000);
	xid_a = take_call(fd, &word);
	assert_int_equal(word, 100);
	b = start(200, 5000);
	xid_b = take_call(fd, &word);
	assert_int_equal(word, 200);
	send_call(fd, 2, P_NULL);		/* its own calls go on meanwhile */
	expect_reply(fd, 2);
	answer(fd, xid_b, 201);
	answer(fd, xid_a, 101);
	assert_int_equal(result_of(a), 0);
	assert_int_equal(a->ret_word, 101);
	assert_int_equal(result_of(b), 0);
	assert_int_equal(b->ret_word, 201);
	send_call(fd, 3, P_REMEMBER);		/* the same peer */
	expect_reply(fd, 3);
	a = start(300, 5000);
	answer(fd, take_call(fd, &word), 301);
	send_call(fd, 4, P_NULL);
	expect_reply(fd, 4);
	assert_int_equal(result_of(a), 0);
	close(fd);
	end();
}

static void expect_result(int fd, int result, const uint32_t *words, size_t n)
{
	struct under_way *u = start(1, 5000);
	uint32_t w[16], word;

	w[0] = take_call(fd, &word);
	memcpy(w + 1, words, n * 4);
	send_words(fd, w, n + 1);
	assert_int_equal(result_of(u), result);
}
#define EXPECT(fd, result, ...) do { const uint32_t e_[] = { __VA_ARGS__ }; \
	expect_result(fd, result, e_, sizeof(e_) / 4); } while (0)

static void test_answers(void **state)
{
	int fd;

	begin(NULL);
	fd = connect_back();
	EXPECT(fd, 0, 1, 0, 0, 0, 0);				/* no results */
	EXPECT(fd, 0, 1, 0, 0, 4, 99, 0, 1, 2);			/* with a verifier */
	EXPECT(fd, -EBADMSG, 1, 0, 0, 0, 0, 1, 2, 3);		/* more than there is room for */
	EXPECT(fd, -EOPNOTSUPP, 1, 0, 0, 0, 1);			/* PROG_UNAVAIL */
	EXPECT(fd, -EOPNOTSUPP, 1, 0, 0, 0, 2, 1, 1);		/* PROG_MISMATCH */
	EXPECT(fd, -EOPNOTSUPP, 1, 0, 0, 0, 3);			/* PROC_UNAVAIL */
	EXPECT(fd, -EREMOTEIO, 1, 0, 0, 0, 4);			/* GARBAGE_ARGS */
	EXPECT(fd, -EREMOTEIO, 1, 0, 0, 0, 5);			/* SYSTEM_ERR */
	EXPECT(fd, -EBADMSG, 1, 0, 0, 0, 6);
	EXPECT(fd, -EOPNOTSUPP, 1, 1, 0, 2, 2);			/* RPC_MISMATCH */
	EXPECT(fd, -EACCES, 1, 1, 1, 5);			/* AUTH_ERROR */
	EXPECT(fd, -EBADMSG, 1, 1, 2);
	EXPECT(fd, -EBADMSG, 1, 2);
	EXPECT(fd, -EBADMSG, 1);
	EXPECT(fd, -EBADMSG, 1, 0, 0, 500, 0);
	send_call(fd, 2, P_NULL);
	expect_reply(fd, 2);
	close(fd);
	end();
}

static void test_late_and_unknown(void **state)
{
	struct under_way *u;
	uint32_t xid, word;
	int fd;

	begin(NULL);
	fd = connect_back();
	u = start(1, 50);
	xid = take_call(fd, &word);
	assert_int_equal(result_of(u), -ETIMEDOUT);
	for (uint32_t i = 0; i < 100; i++)
		answer(fd, xid + i, 5);
	u = start(2, 5000);
	xid = take_call(fd, &word);
	assert_int_equal(word, 2);
	answer(fd, xid + 1, 8);
	answer(fd, xid, 9);
	answer(fd, xid, 10);
	assert_int_equal(result_of(u), 0);
	assert_int_equal(u->ret_word, 9);
	send_call(fd, 2, P_NULL);
	expect_reply(fd, 2);
	assert_int_equal(server_stats().closed_garbage, 0);
	close(fd);
	end();
}

static void test_connection_lost(void **state)
{
	struct under_way *a, *b;
	uint32_t word;
	int fd;

	begin(NULL);
	fd = connect_back();
	assert_true(peer_alive());
	a = start(1, 20000);
	b = start(2, 20000);
	take_call(fd, &word);
	close(fd);
	assert_int_equal(result_of(a), -ECONNRESET);
	assert_int_equal(result_of(b), -ECONNRESET);
	assert_false(peer_alive());
	assert_int_equal(result_of(start(3, 20000)), -ECONNRESET);
	end();
}

/* Who takes the calls and never answers: so many at once, and no more; and he keeps nobody else from
 * being called. */
static void test_limits(void **state)
{
	struct under_way *u, *first;
	uint32_t word;
	int fd[RPC_CALLS_MAX / RPC_PEER_CALLS_MAX + 1];
	int n = RPC_CALLS_MAX / RPC_PEER_CALLS_MAX;

	begin(NULL);
	fd[0] = connect_back();
	first = start(0, 20000);
	for (int i = 1; i < RPC_PEER_CALLS_MAX; i++)
		start(i, 20000);
	assert_int_equal(result_of(start(99, 20000)), -EBUSY);
	answer(fd[0], take_call(fd[0], &word), 1);
	assert_int_equal(result_of(first), 0);
	start(1, 20000);
	for (int k = 1; k < n; k++) {
		fd[k] = connect_back();
		for (int i = 0; i < RPC_PEER_CALLS_MAX; i++)
			start(i, 20000);
	}
	fd[n] = connect_back();
	u = start(100, 20000);			/* the first of a connection is always allowed, */
	assert_int_equal(result_of(start(99, 20000)), -EBUSY);	/* and no more of it */
	answer(fd[n], take_call(fd[n], &word), 1);
	assert_int_equal(result_of(u), 0);
	close(fd[1]);
	for (int i = 0; i < 500 && server_stats().conns > n; i++)
		usleep(10000);
	start(101, 20000);
	u = start(102, 20000);
	take_call(fd[n], &word);
	answer(fd[n], take_call(fd[n], &word), 1);
	assert_int_equal(result_of(u), 0);
	for (int k = 0; k <= n; k++)
		if (k != 1)
			close(fd[k]);
	end();
}

/* Who doesn't even take the bytes: what he was to get goes with the connection. */
static void test_never_reads(void **state)
{
	const struct rpc_limits lim = { .stall_ms = 1500 };
	int fd, small = 4096;
	struct under_way *u;

	begin(&lim);
	fd = client_connect(port);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	send_call(fd, 1, P_REMEMBER);
	expect_reply(fd, 1);
	/* replies that it doesn't take fill the way */
	for (uint32_t i = 0; i < 500000 && peer_alive(); i += 10000) {
		struct pollfd p = { .fd = fd, .events = POLLOUT };

		for (uint32_t k = 0; k < 10000 && poll(&p, 1, 200) == 1; k++)
			send_call(fd, i + k, P_NULL);
		if (poll(&p, 1, 0) != 1)
			break;
	}
	u = start(1, 100);
	assert_int_equal(result_of(u), -ETIMEDOUT);
	u = start(1, 20000);
	assert_int_equal(result_of(u), -ECONNRESET);
	assert_int_equal(server_stats().closed_stalled, 1);
	close(fd);
	end();
}

static void test_stop(void **state)
{
	struct under_way *u;
	uint32_t word;
	int fd;

	begin(NULL);
	fd = connect_back();
	u = start(1, 60000);
	take_call(fd, &word);
	harness_call(stop_server, &fd);
	assert_true(u->done);
	assert_int_equal(u->result, -ESHUTDOWN);
	harness_stop();
	close(fd);
}

/* ---- over a connection to the client ------------------------------------------------- */

static int listening(struct rpc_addr *ret_addr, int backlog)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(in);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, len), 0);
	assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	*ret_addr = (struct rpc_addr){ .ip = { [10] = 255, 255, 127, 0, 0, 1 },
				       .port = ntohs(in.sin_port) };
	return fd;
}

static void dial(void *arg)
{
	assert_int_equal(rpc_peer_dial(server, arg, &peer), 0);
}

static int take_connection(int lfd)
{
	struct pollfd p = { .fd = lfd, .events = POLLIN };

	assert_int_equal(poll(&p, 1, 10000), 1);
	return accept(lfd, NULL, NULL);
}

static void test_dial(void **state)
{
	struct under_way *a, *b;
	struct rpc_addr addr;
	uint32_t word, xid;
	int lfd, fd;

	begin(NULL);
	lfd = listening(&addr, 5);
	harness_call(dial, &addr);
	a = start(1, 5000);
	b = start(2, 5000);			/* the second waits for the same connection */
	fd = take_connection(lfd);
	xid = take_call(fd, &word);
	answer(fd, take_call(fd, &word), 12);
	answer(fd, xid, 11);
	assert_int_equal(result_of(a), 0);
	assert_int_equal(result_of(b), 0);
	assert_int_equal(a->ret_word, 11);
	a = start(3, 20000);			/* which stays */
	take_call(fd, &word);
	close(fd);
	assert_int_equal(result_of(a), -ECONNRESET);
	assert_true(peer_alive());
	a = start(4, 5000);			/* and is made again */
	fd = take_connection(lfd);
	answer(fd, take_call(fd, &word), 14);
	assert_int_equal(result_of(a), 0);
	send_call(fd, 1, P_NULL);		/* nobody is served on it */
	assert_true(client_ended(fd, 5000));
	close(fd);
	a = start(5, 5000);
	fd = take_connection(lfd);
	answer(fd, take_call(fd, &word), 14);
	assert_int_equal(result_of(a), 0);
	harness_call(put_peer, NULL);
	assert_true(client_ended(fd, 5000));
	close(fd);
	close(lfd);
	for (int i = 0; i < 500 && server_stats().conns; i++)
		usleep(10000);
	assert_int_equal(server_stats().conns, 0);
	end();
}

static void test_dial_in_vain(void **state)
{
	struct rpc_addr addr;
	int lfd, fds[4];

	begin(NULL);
	lfd = listening(&addr, 0);
	for (int i = 0; i < 4; i++) {		/* fills what is taken in without being accepted */
		struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(addr.port) };

		in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		connect(fds[i], (struct sockaddr *)&in, sizeof(in));
	}
	usleep(20000);
	harness_call(dial, &addr);
	start(1, 100);
	start(2, 200);
	assert_int_equal(result_of(&calls[0]), -ETIMEDOUT);
	assert_int_equal(result_of(&calls[1]), -ETIMEDOUT);
	start(3, 60000);
	start(4, 60000);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
	close(lfd);				/* refused from now on */
	for (int i = 2; i < 4; i++)
		assert_true(result_of(&calls[i]) == -ECONNREFUSED ||
			    calls[i].result == -ECONNRESET);
	assert_int_equal(result_of(start(5, 5000)), -ECONNREFUSED);
	end();
}

/* The server may stop while it connects. */
static void test_stop_dialing(void **state)
{
	struct rpc_addr addr;
	int lfd, fds[4];

	begin(NULL);
	lfd = listening(&addr, 0);
	for (int i = 0; i < 4; i++) {
		struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(addr.port) };

		in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		connect(fds[i], (struct sockaddr *)&in, sizeof(in));
	}
	usleep(20000);
	harness_call(dial, &addr);
	start(1, 60000);
	start(2, 60000);
	usleep(20000);
	harness_call(stop_server, NULL);
	assert_true(calls[0].done && calls[1].done);
	assert_int_equal(calls[1].result, -ESHUTDOWN);
	harness_stop();
	for (int i = 0; i < 4; i++)
		close(fds[i]);
	close(lfd);
}

/* A connection that is made takes part in the limit of connections. */
static void test_dial_limit(void **state)
{
	const struct rpc_limits lim = { .max_conns = 2 };
	struct under_way *a, *b;
	struct rpc_addr addr;
	uint32_t word;
	int lfd, fd[3];

	begin(&lim);
	lfd = listening(&addr, 5);
	for (int i = 0; i < 2; i++) {
		fd[i] = connect_back();
		start(i, 20000);		/* busy: not one that makes room */
		take_call(fd[i], &word);
	}
	harness_call(put_peer, NULL);
	harness_call(dial, &addr);
	a = start(3, 5000);
	assert_int_equal(result_of(a), -EMFILE);
	close(fd[0]);
	for (int i = 0; i < 500 && server_stats().conns > 1; i++)
		usleep(10000);
	close(take_connection(lfd));
	b = start(4, 5000);
	fd[2] = take_connection(lfd);
	answer(fd[2], take_call(fd[2], &word), 14);
	assert_int_equal(result_of(b), 0);
	close(fd[1]);
	close(fd[2]);
	close(lfd);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_back),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_late_and_unknown),
		cmocka_unit_test(test_connection_lost),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_never_reads),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_dial),
		cmocka_unit_test(test_dial_in_vain),
		cmocka_unit_test(test_stop_dialing),
		cmocka_unit_test(test_dial_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
