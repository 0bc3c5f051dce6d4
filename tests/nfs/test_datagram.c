/* SPDX-License-Identifier: Apache-2.0 */
/* RPC by UDP: calls that come, and calls that go out. */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fiber.h"
#include "base/loop.h"
#include "harness.h"
#include "rpc/client.h"
#include "rpc/server.h"

#define PROG 400000
enum { P_NULL, P_ECHO, P_WAIT, P_BIG, P_STREAM };

static struct rpc_server *server;
static struct rpc_addr addr;		/* where it listens */
static struct waitq waiting;
static unsigned nwaiting, most;

/* ---- the program --------------------------------------------------------------------- */

struct word { uint32_t v; };

static void dec_word(struct xdr_in *in, void *args) { ((struct word *)args)->v = xdr_get_u32(in); }

static int h_null(struct rpc_call *c, void *args, void *res)
{
	assert_true(c->datagram);
	return 0;
}

static int h_echo(struct rpc_call *c, void *args, void *res)
{
	*(struct word *)res = *(struct word *)args;
	return 0;
}

/* Its argument, and the last byte of the address that it came to. */
static void enc_echo(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	xdr_put_u32(out, ((const struct word *)res)->v);
	xdr_put_u32(out, c->local.ip[15]);
	xdr_put_u32(out, c->local.port);
}

static int h_wait(struct rpc_call *c, void *args, void *res)
{
	nwaiting++;
	most = most > nwaiting ? most : nwaiting;
	waitq_wait(&waiting);
	nwaiting--;
	return 0;
}

static int h_big(struct rpc_call *c, void *args, void *res)
{
	*(struct word *)res = *(struct word *)args;
	return rpc_call_reserve(c, 2 * RPC_DATAGRAM_MAX);
}

static void enc_big(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	static const uint8_t zeros[2 * RPC_DATAGRAM_MAX];

	xdr_put_fixed(out, zeros, ((const struct word *)res)->v);
}

#define WORDS .decode = dec_word, .args_bytes = 4, .res_bytes = 4
static const struct rpc_proc procs[] = {
	[P_NULL] = { .name = "NULL", .handle = h_null },
	[P_ECHO] = { .name = "ECHO", .handle = h_echo, .encode = enc_echo, WORDS },
	[P_WAIT] = { .name = "WAIT", .handle = h_wait },
	[P_BIG] = { .name = "BIG", .handle = h_big, .encode = enc_big, WORDS },
	[P_STREAM] = { .name = "STREAM", .handle = h_null, .flags = RPC_NOT_UDP },
};
static const struct rpc_program program = { "test", PROG, 1, procs, 5 };
static struct rpc_proc_stats stats[5];
static struct rpc_binding binding = { &program, NULL, stats };
static struct rpc_service service = { .bindings = &binding, .nbindings = 1 };

static void start_server(void *arg)
{
	waitq_init(&waiting);
	nwaiting = most = 0;
	assert_int_equal(rpc_server_new(NULL, &server), 0);
	assert_int_equal(rpc_server_listen_udp(server, &addr, &service), 0);
	assert_int_equal(rpc_server_listen_udp(server, &addr, &service), -EADDRINUSE);
}

static void wake_all(void *arg) { waitq_wake_all(&waiting); }

static void stop_server(void *arg)
{
	waitq_wake_all(&waiting);
	rpc_server_stop(server, 1000);
	rpc_server_free(server);
}

/* A socket of 127.0.0.1 to port PORT of 127.0.0.HOST. */
static int udp_socket(unsigned host, uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(0x7f000000 + host) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	return fd;
}

/* A bound one, whose port is free. */
static int bound_socket(uint16_t *ret_port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	getsockname(fd, (struct sockaddr *)&in, &len);
	*ret_port = ntohs(in.sin_port);
	return fd;
}

static int setup(void **state)
{
	uint16_t port;

	close(bound_socket(&port));
	addr = (struct rpc_addr){ .ip = { [10] = 0xff, [11] = 0xff }, .port = port };
	harness_start();
	harness_call(start_server, NULL);
	return 0;
}

static int teardown(void **state)
{
	harness_call(stop_server, NULL);
	harness_stop();
	return 0;
}

/* ---- calls that come ----------------------------------------------------------------- */

static void send_call(int fd, uint32_t xid, uint32_t proc, uint32_t word, size_t more)
{
	struct msg m = { 0 };
	uint8_t zeros[8192] = { 0 };

	msg_call(&m, xid, PROG, 1, proc, 0);
	msg_u32(&m, word);
	msg_bytes(&m, zeros, more);
	assert_int_equal(send(fd, m.data, m.len, 0), (ssize_t)m.len);
	msg_free(&m);
}

/* The reply's length; 0 when none comes.  Its first words are those of an accepted call. */
static size_t reply_to(int fd, uint32_t xid, uint32_t stat, uint8_t *buf, size_t cap)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	ssize_t n;

	if (poll(&p, 1, 300) != 1)
		return 0;
	n = recv(fd, buf, cap, 0);
	assert_true(n >= 24);
	assert_int_equal(get32(buf), xid);
	assert_int_equal(get32(buf + 4), 1);
	assert_int_equal(get32(buf + 8), 0);
	assert_int_equal(get32(buf + 20), stat);
	return n;
}

static void test_serve(void **state)
{
	uint8_t buf[RPC_DATAGRAM_MAX + 1];

	for (unsigned host = 1; host <= 2; host++) {
		int fd = udp_socket(host, addr.port);	/* takes nothing from elsewhere */

		send_call(fd, 5, P_ECHO, 77, 0);
		assert_int_equal(reply_to(fd, 5, RPC_SUCCESS, buf, sizeof(buf)), 36);
		assert_int_equal(get32(buf + 24), 77);
		assert_int_equal(get32(buf + 28), host);
		assert_int_equal(get32(buf + 32), addr.port);
		send_call(fd, 6, P_STREAM, 0, 0);
		assert_int_equal(reply_to(fd, 6, RPC_PROC_UNAVAIL, buf, sizeof(buf)), 24);
		send_call(fd, 7, 99, 0, 0);
		assert_int_equal(reply_to(fd, 7, RPC_PROC_UNAVAIL, buf, sizeof(buf)), 24);
		close(fd);
	}
}

/* What is too long, or not a call, has no answer, and the next call has one. */
static void test_sizes(void **state)
{
	uint8_t buf[2 * RPC_DATAGRAM_MAX] = { 0 };
	int fd = udp_socket(1, addr.port);
	const uint32_t answer[] = { 0, htobe32(1), 0, 0, 0, 0 };
	struct msg m = { 0 };

	msg_call(&m, 1, PROG, 1, P_ECHO, 0);
	send_call(fd, 1, P_ECHO, 1, RPC_DATAGRAM_MAX - m.len - 4);
	assert_int_equal(reply_to(fd, 1, RPC_SUCCESS, buf, sizeof(buf)), 36);
	send_call(fd, 2, P_ECHO, 1, RPC_DATAGRAM_MAX - m.len);
	assert_int_equal(send(fd, buf, 0, 0), 0);
	assert_int_equal(send(fd, buf, 3, 0), 3);
	assert_int_equal(send(fd, answer, sizeof(answer), 0), sizeof(answer));
	assert_int_equal(send(fd, m.data, m.len - 20, 0), (ssize_t)m.len - 20);
	send_call(fd, 3, P_BIG, RPC_DATAGRAM_MAX - 20, 0);
	send_call(fd, 4, P_BIG, RPC_DATAGRAM_MAX - 24, 0);
	assert_int_equal(reply_to(fd, 4, RPC_SUCCESS, buf, sizeof(buf)), RPC_DATAGRAM_MAX);
	assert_int_equal(reply_to(fd, 0, 0, buf, sizeof(buf)), 0);
	msg_free(&m);
	close(fd);
}

static void test_many(void **state)
{
	uint8_t buf[100];
	int fd = udp_socket(1, addr.port), n = 0;

	for (int i = 0; i < RPC_DATAGRAMS_MAX + 20; i++)
		send_call(fd, 1, P_WAIT, 0, 0);
	send_call(fd, 1, P_NULL, 0, 0);			/* dropped as well */
	assert_int_equal(reply_to(fd, 0, 0, buf, sizeof(buf)), 0);
	assert_int_equal(most, RPC_DATAGRAMS_MAX);
	harness_call(wake_all, NULL);
	while (reply_to(fd, 1, RPC_SUCCESS, buf, sizeof(buf)))
		n++;
	assert_int_equal(n, RPC_DATAGRAMS_MAX);
	send_call(fd, 2, P_NULL, 0, 0);
	assert_int_equal(reply_to(fd, 2, RPC_SUCCESS, buf, sizeof(buf)), 24);
	close(fd);
}

/* ---- calls that go out --------------------------------------------------------------- */

struct outgoing { uint16_t port; unsigned timeout_ms; int result; uint32_t word; bool done; };

static void call_out(void *arg)
{
	struct outgoing *o = arg;
	const struct rpc_addr to = { { [10] = 0xff, 0xff, 127, 0, 0, 1 }, o->port };
	const struct rpc_cred cred = { .flavor = RPC_AUTH_SYS };
	const uint32_t args = htobe32(41);
	const struct rpc_request q = { PROG, 1, P_ECHO, &cred, &args, 4, o->timeout_ms };
	uint8_t buf[12];
	size_t len = 0;

	o->result = rpc_udp_call(server, &to, NULL, &q, buf, sizeof(buf), &len);
	o->word = !o->result && len >= 4 ? get32(buf) : 0;
	o->done = true;
}

static void spawn_out(void *arg)
{
	assert_int_equal(fiber_spawn(call_out, arg, "call"), 0);
}

static void wait_done(struct outgoing *o)
{
	for (int i = 0; i < 1000 && !o->done; i++)
		usleep(5000);
	assert_true(o->done);
}

static void test_call(void **state)
{
	struct outgoing o = { .port = addr.port, .timeout_ms = 2000 }, none = { .timeout_ms = 2000 };

	harness_call(call_out, &o);			/* itself */
	assert_int_equal(o.result, 0);
	assert_int_equal(o.word, 41);
	close(bound_socket(&none.port));
	harness_call(call_out, &none);
	assert_int_equal(none.result, -ECONNREFUSED);
}

/* Who answers the second time it is asked; before that, what is no answer. */
static void test_call_again(void **state)
{
	struct outgoing o = { .timeout_ms = 5000 };
	uint8_t buf[500], asked[500];
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	int fd = bound_socket(&o.port);
	ssize_t n;

	harness_call(spawn_out, &o);
	n = recvfrom(fd, asked, sizeof(asked), 0, (struct sockaddr *)&from, &len);
	assert_true(n > 40);
	assert_int_equal(get32(asked + n - 4), 41);
	memset(buf, 0, sizeof(buf));
	memcpy(buf, asked, 4);
	buf[3] ^= 1;					/* of somebody else */
	buf[7] = 1;
	sendto(fd, buf, 28, 0, (struct sockaddr *)&from, len);
	sendto(fd, asked, n, 0, (struct sockaddr *)&from, len);		/* a call */
	sendto(fd, asked, 2, 0, (struct sockaddr *)&from, len);
	assert_int_equal(recv(fd, buf, sizeof(buf), 0), n);
	assert_memory_equal(buf, asked, n);		/* the same again */
	memset(buf + 4, 0, 40);
	buf[7] = 1;
	buf[27] = 9;
	sendto(fd, buf, 28, 0, (struct sockaddr *)&from, len);
	wait_done(&o);
	assert_int_equal(o.result, 0);
	assert_int_equal(o.word, 9);
	close(fd);
}

static void test_call_unanswered(void **state)
{
	struct outgoing o = { .timeout_ms = 200 }, longer = { .timeout_ms = 60000 };
	int fd = bound_socket(&o.port);

	harness_call(call_out, &o);
	assert_int_equal(o.result, -ETIMEDOUT);
	longer.port = o.port;
	harness_call(spawn_out, &longer);
	harness_call(stop_server, NULL);
	wait_done(&longer);
	assert_int_equal(longer.result, -ESHUTDOWN);
	close(fd);
	harness_call(start_server, NULL);		/* for teardown() */
}

#define TD(x) cmocka_unit_test_setup_teardown(x, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TD(test_serve), TD(test_sizes), TD(test_many), TD(test_call), TD(test_call_again),
		TD(test_call_unanswered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
