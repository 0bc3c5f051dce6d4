/* SPDX-License-Identifier: Apache-2.0 */
/* The TCP transport and the RPC layer, with a small program of their own behind them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <poll.h>
#include <sys/socket.h>
#include <cmocka.h>
#include "base/fiber.h"
#include "base/loop.h"
#include "harness.h"
#include "rpc/drc.h"

#define PROG 400000
enum { P_NULL, P_ECHO, P_SLEEP, P_BIG, P_COUNT, P_HOLE, P_SLOW_COUNT, P_LEAN };
#define BIG_BYTES (256u << 10)

static struct rpc_server *server;
static uint16_t port;
static uint8_t big_data[BIG_BYTES];
static unsigned counter, released;

/* ---- the program --------------------------------------------------------------------- */

static void dec_bytes(struct xdr_in *in, void *args)
{
	*(struct xdr_bytes *)args = xdr_get_opaque(in, RPC_CALL_MAX);
}
static void dec_u32(struct xdr_in *in, void *args) { *(uint32_t *)args = xdr_get_u32(in); }
static int h_null(struct rpc_call *c, void *args, void *res) { return 0; }
static int h_echo(struct rpc_call *c, void *args, void *res)
{
	struct xdr_bytes *b = args;

	*(struct xdr_bytes *)res = *b;
	return rpc_call_reserve(c, b->len);
}
static void enc_bytes(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const struct xdr_bytes *b = res;

	xdr_put_opaque(out, b->s, b->len);
}
static int h_sleep(struct rpc_call *c, void *args, void *res)
{
	loop_sleep_ns(*(uint32_t *)args * 1000000ull);
	return 0;
}
static void enc_big(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const struct iovec iov[2] = { { big_data, 1001 }, { big_data + 1001, BIG_BYTES - 1001 } };

	xdr_put_u32(out, BIG_BYTES);
	xdr_splice(out, iov, 2);
	xdr_put_u32(out, 0xfeed);
}
static void rel_big(struct rpc_call *c, void *res) { released++; }
static uint32_t cost_big(const void *args) { return BIG_BYTES; }
static int h_count(struct rpc_call *c, void *args, void *res)
{
	*(uint32_t *)res = ++counter;
	return 0;
}
static int h_slow_count(struct rpc_call *c, void *args, void *res)
{
	*(uint32_t *)res = ++counter;
	loop_sleep_ns(300000000);
	return 0;
}
/* The first two find no memory for their answers, one after the other. */
static int h_lean(struct rpc_call *c, void *args, void *res)
{
	*(uint32_t *)res = ++counter;
	loop_sleep_ns(counter * 50000000ull);
	return 0;
}
static void enc_lean(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const uint32_t *n = res;

	if (*n <= 2)
		out->full = out->lean = true;
	else
		xdr_put_u32(out, *n);
}
static void enc_u32(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	xdr_put_u32(out, *(const uint32_t *)res);
}

static const struct rpc_proc procs[] = {
	[P_NULL] = { .name = "NULL", .handle = h_null, .flags = RPC_ANY_AUTH },
	[P_ECHO] = { .name = "ECHO", .args_bytes = 16, .res_bytes = 16, .decode = dec_bytes,
		     .handle = h_echo, .encode = enc_bytes },
	[P_SLEEP] = { .name = "SLEEP", .args_bytes = 4, .decode = dec_u32, .handle = h_sleep },
	[P_BIG] = { .name = "BIG", .args_bytes = 4, .decode = dec_u32, .handle = h_null,
		    .encode = enc_big, .release = rel_big, .cost = cost_big },
	[P_COUNT] = { .name = "COUNT", .args_bytes = 4, .res_bytes = 4, .decode = dec_u32,
		      .handle = h_count, .encode = enc_u32, .flags = RPC_ONCE },
	[P_HOLE] = { .name = "HOLE" },
	[P_SLOW_COUNT] = { .name = "SLOWCOUNT", .args_bytes = 4, .res_bytes = 4,
			   .decode = dec_u32, .handle = h_slow_count, .encode = enc_u32,
			   .flags = RPC_ONCE },
	[P_LEAN] = { .name = "LEAN", .args_bytes = 4, .res_bytes = 4, .decode = dec_u32,
		     .handle = h_lean, .encode = enc_lean },
};
static const struct rpc_program program = { "test", PROG, 3, procs, 8 };
static struct rpc_proc_stats stats[8];
static struct rpc_binding binding = { &program, NULL, stats };
static struct rpc_service service = { .bindings = &binding, .nbindings = 1 };

/* ---- set-up -------------------------------------------------------------------------- */

static void start_server(void *arg)
{
	char why[200];
	int err = rpc_server_new(arg, &server);

	assert_int_equal(err, 0);
	err = drc_new(64, 65536, &service.drc);
	assert_int_equal(err, 0);
	err = rpc_server_listen(server, "127.0.0.1:0", &service, &port, why, sizeof(why));
	assert_int_equal(err, 0);
}

static void stop_server(void *arg)
{
	rpc_server_stop(server, 1000);
	rpc_server_free(server);
	drc_free(service.drc);
}

static void get_stats(void *arg) { rpc_server_stats(server, arg); }

static struct rpc_server_stats server_stats(void)
{
	struct rpc_server_stats st;

	harness_call(get_stats, &st);
	return st;
}

static void begin(const struct rpc_limits *lim)
{
	counter = released = 0;
	harness_start();
	harness_call(start_server, (void *)lim);
}

static void end(void)
{
	harness_call(stop_server, NULL);
	harness_stop();
}

static void send_call(int fd, uint32_t xid, uint32_t proc, uint32_t arg)
{
	struct msg m = { 0 };

	msg_call(&m, xid, PROG, 3, proc, 0);
	msg_u32(&m, arg);
	client_send(fd, &m);
	msg_free(&m);
}

/* Takes a reply, expects success, returns its xid and first word of the result. */
static uint32_t expect_ok(int fd, uint32_t *ret_word)
{
	size_t len;
	uint8_t *r = client_recv(fd, &len);
	uint32_t xid;

	assert_non_null(r);
	assert_true(len >= 24);
	assert_int_equal(get32(r + 4), 1);
	assert_int_equal(get32(r + 8), 0);
	assert_int_equal(get32(r + 20), 0);
	xid = get32(r);
	if (ret_word)
		*ret_word = len > 24 ? get32(r + 24) : 0;
	free(r);
	return xid;
}

static void alive(void)
{
	int fd = client_connect(port);

	send_call(fd, 77, P_NULL, 0);
	assert_int_equal(expect_ok(fd, NULL), 77);
	close(fd);
}

static void make_echo(struct msg *m, uint32_t xid, size_t len)
{
	uint8_t *data = malloc(len + 1);

	for (size_t i = 0; i < len; i++)
		data[i] = i * 7 + xid;
	msg_call(m, xid, PROG, 3, P_ECHO, 0);
	msg_opaque(m, data, len);
	free(data);
}

static void expect_echo(int fd, uint32_t xid, size_t len)
{
	size_t got;
	uint8_t *r = client_recv(fd, &got);

	assert_non_null(r);
	assert_int_equal(get32(r), xid);
	assert_int_equal(got, 28 + len + (-len & 3));
	for (size_t i = 0; i < len; i++)
		if (r[28 + i] != (uint8_t)(i * 7 + xid))
			fail_msg("byte %zu differs", i);
	free(r);
}

/* ---- tests --------------------------------------------------------------------------- */

static void test_pipeline(void **state)
{
	int fd;

	begin(NULL);
	fd = client_connect(port);
	for (uint32_t xid = 1; xid <= 1000; xid++)
		send_call(fd, xid, P_NULL, 0);
	for (uint32_t xid = 1; xid <= 1000; xid++)
		assert_int_equal(expect_ok(fd, NULL), xid);
	close(fd);
	end();
}

static void test_sizes(void **state)
{
	static const size_t sizes[] = { 0, 1, 3, 400, 512, 4096, 16000, 16384, 65536, 250000,
					262144, 1000000, 1048576, 5, 1048576, 1048576 };
	struct msg m = { 0 };
	int fd;

	begin(NULL);
	fd = client_connect(port);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		make_echo(&m, i, sizes[i]);
		client_send(fd, &m);
		expect_echo(fd, i, sizes[i]);
	}
	for (int i = 0; i < 60; i++) {		/* pipelined, of all sizes */
		make_echo(&m, i, i * 997);
		client_send(fd, &m);
	}
	for (int i = 0; i < 60; i++)
		expect_echo(fd, i, i * 997);
	msg_free(&m);
	close(fd);
	end();
}

static void send_fragments(int fd, const struct msg *m, size_t piece, bool empties)
{
	struct msg raw = { 0 };

	for (size_t at = 0; at < m->len; at += piece) {
		size_t n = m->len - at < piece ? m->len - at : piece;

		if (empties)
			msg_u32(&raw, 0);
		msg_u32(&raw, n | (at + n == m->len && !empties ? 0x80000000u : 0));
		msg_bytes(&raw, m->data + at, n);
	}
	if (empties)
		msg_u32(&raw, 0x80000000u);
	client_send_raw(fd, raw.data, raw.len);
	msg_free(&raw);
}

static void test_fragments(void **state)
{
	static const size_t pieces[] = { 1, 3, 4, 100, 511 };
	struct msg m = { 0 };
	int fd;

	begin(NULL);
	fd = client_connect(port);
	make_echo(&m, 9, 300);
	for (int i = 0; i < 5; i++) {
		send_fragments(fd, &m, pieces[i], false);
		send_fragments(fd, &m, pieces[i], true);
		client_send(fd, &m);
	}
	for (int i = 0; i < 15; i++)
		expect_echo(fd, 9, 300);
	make_echo(&m, 10, 1 << 20);
	send_fragments(fd, &m, 5000, false);
	expect_echo(fd, 10, 1 << 20);
	make_echo(&m, 11, 200);
	for (size_t i = 0; i < 3; i++) {		/* byte by byte */
		uint32_t mark = htobe32(0x80000000u | (uint32_t)m.len);

		for (int k = 0; k < 4; k++)
			client_send_raw(fd, (uint8_t *)&mark + k, 1);
		for (size_t k = 0; k < m.len; k++)
			client_send_raw(fd, m.data + k, 1);
		expect_echo(fd, 11, 200);
	}
	/* a record of nothing but empty fragments never ends: the server ends it */
	for (int i = 0; i < 3000; i++)
		client_send_raw(fd, "\0\0\0\0", 4);
	assert_true(client_ended(fd, 5000));
	close(fd);
	alive();
	msg_free(&m);
	end();
}

static void expect_end(const void *data, size_t len)
{
	int fd = client_connect(port);

	client_send_raw(fd, data, len);
	assert_true(client_ended(fd, 5000));
	close(fd);
	alive();
}

static void test_garbage(void **state)
{
	uint8_t junk[4096];
	struct msg m = { 0 };

	begin(NULL);
	expect_end("\xff\xff\xff\xff", 4);
	expect_end("\x80\x11\x00\x01", 4);			/* one over the limit */
	expect_end("\x00\x11\x00\x01", 4);
	expect_end("\x80\x00\x00\x00", 4);			/* an empty record */
	expect_end("GET / HTTP/1.0\r\n\r\n", 18);
	srand(1);
	for (size_t i = 0; i < sizeof(junk); i++)
		junk[i] = rand();
	junk[0] = 0x80, junk[1] = junk[2] = 0, junk[3] = 100;
	expect_end(junk, sizeof(junk));
	msg_u32(&m, 0x80000000u | 28);				/* a reply, not a call */
	msg_u32(&m, 1);
	msg_u32(&m, 1);
	for (int i = 0; i < 5; i++)
		msg_u32(&m, 0);
	expect_end(m.data, m.len);
	assert_int_equal(server_stats().closed_garbage, 7);
	msg_free(&m);
	end();
}

/* Sends M and compares the reply's words after the xid. */
static void expect_words(int fd, const struct msg *m, const uint32_t *words, size_t n)
{
	size_t len;
	uint8_t *r;

	client_send(fd, m);
	r = client_recv(fd, &len);
	assert_non_null(r);
	assert_int_equal(len, 4 + 4 * n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(get32(r + 4 + 4 * i), words[i]);
	free(r);
}
#define EXPECT(fd, m, ...) do { const uint32_t w_[] = { __VA_ARGS__ }; \
	expect_words(fd, m, w_, sizeof(w_) / 4); } while (0)

static void set32(struct msg *m, size_t at, uint32_t v)
{
	v = htobe32(v);
	memcpy(m->data + at, &v, 4);
}

static void test_refusals(void **state)
{
	struct msg m = { 0 };
	int fd;

	begin(NULL);
	fd = client_connect(port);
	msg_call(&m, 1, PROG + 1, 3, 0, 0);
	EXPECT(fd, &m, 1, 0, 0, 0, 1);				/* PROG_UNAVAIL */
	msg_call(&m, 1, PROG, 2, 0, 0);
	EXPECT(fd, &m, 1, 0, 0, 0, 2, 3, 3);			/* PROG_MISMATCH 3 to 3 */
	msg_call(&m, 1, PROG, 3, 99, 0);
	EXPECT(fd, &m, 1, 0, 0, 0, 3);				/* PROC_UNAVAIL */
	msg_call(&m, 1, PROG, 3, P_HOLE, 0);
	EXPECT(fd, &m, 1, 0, 0, 0, 3);
	msg_call(&m, 1, PROG, 3, P_ECHO, 0);
	EXPECT(fd, &m, 1, 0, 0, 0, 4);				/* GARBAGE_ARGS: nothing there */
	msg_u32(&m, 5);
	EXPECT(fd, &m, 1, 0, 0, 0, 4);
	msg_call(&m, 1, PROG, 3, 0, 0);
	set32(&m, 8, 3);
	EXPECT(fd, &m, 1, 1, 0, 2, 2);				/* RPC_MISMATCH 2 to 2 */
	msg_call(&m, 1, PROG, 3, 0, 0);
	set32(&m, 24, 6);					/* RPCSEC_GSS */
	EXPECT(fd, &m, 1, 1, 1, 2);				/* AUTH_REJECTEDCRED */
	msg_call(&m, 1, PROG, 3, 0, 0);
	set32(&m, 52, 17);					/* groups */
	EXPECT(fd, &m, 1, 1, 1, 1);				/* AUTH_BADCRED */
	msg_call(&m, 1, PROG, 3, 0, 0);
	set32(&m, 36, 256);					/* length of the machine's name */
	EXPECT(fd, &m, 1, 1, 1, 1);
	/* AUTH_NONE: enough for NULL, not for others */
	for (uint32_t proc = 0; proc < 2; proc++) {
		const uint32_t none[] = { 1, 0, 2, PROG, 3, proc, 0, 0, 0, 0 };

		m.len = 0;
		for (int i = 0; i < 10; i++)
			msg_u32(&m, none[i]);
		if (proc)
			EXPECT(fd, &m, 1, 1, 1, 5);		/* AUTH_TOOWEAK */
		else
			EXPECT(fd, &m, 1, 0, 0, 0, 0);
	}
	msg_free(&m);
	close(fd);
	end();
}

static void test_nobody_waits_for_others(void **state)
{
	int fd;

	begin(NULL);
	fd = client_connect(port);
	send_call(fd, 1, P_SLEEP, 400);
	send_call(fd, 2, P_NULL, 0);
	send_call(fd, 3, P_SLEEP, 200);
	send_call(fd, 4, P_NULL, 0);
	assert_int_equal(expect_ok(fd, NULL), 2);
	assert_int_equal(expect_ok(fd, NULL), 4);
	assert_int_equal(expect_ok(fd, NULL), 3);
	assert_int_equal(expect_ok(fd, NULL), 1);
	close(fd);
	end();
}

static void test_in_flight_limit(void **state)
{
	const struct rpc_limits lim = { .max_in_flight = 8 };
	int fd;

	begin(&lim);
	fd = client_connect(port);
	for (uint32_t xid = 0; xid < 40; xid++)
		send_call(fd, xid, P_SLEEP, 50);
	for (int i = 0; i < 10; i++) {
		assert_true(server_stats().in_flight <= 8);
		usleep(10000);
	}
	for (uint32_t xid = 0; xid < 40; xid++)
		expect_ok(fd, NULL);
	assert_int_equal(server_stats().in_flight, 0);
	close(fd);
	end();
}

static void test_worker_limit(void **state)
{
	const struct rpc_limits lim = { .max_workers = 4 };
	int fd;

	begin(&lim);
	fd = client_connect(port);
	for (uint32_t xid = 0; xid < 40; xid++)
		send_call(fd, xid, P_SLEEP, 10);
	for (uint32_t xid = 0; xid < 40; xid++)
		expect_ok(fd, NULL);
	assert_true(server_stats().workers <= 4);
	close(fd);
	end();
}

static void test_big_replies(void **state)
{
	int fd;

	begin(NULL);
	for (size_t i = 0; i < BIG_BYTES; i++)
		big_data[i] = i * 13 + (i >> 8);
	fd = client_connect(port);
	for (uint32_t xid = 0; xid < 40; xid++)
		send_call(fd, xid, P_BIG, 0);
	for (uint32_t xid = 0; xid < 40; xid++) {
		size_t len;
		uint8_t *r = client_recv(fd, &len);

		assert_non_null(r);
		assert_int_equal(get32(r), xid);
		assert_int_equal(len, 24 + 4 + BIG_BYTES + 4);
		assert_memory_equal(r + 28, big_data, BIG_BYTES);
		assert_int_equal(get32(r + 28 + BIG_BYTES), 0xfeed);
		free(r);
	}
	close(fd);
	end();
	assert_int_equal(released, 40);
}

static void test_slow_reader(void **state)
{
	const struct rpc_limits lim = { .reply_bytes_max = 8 << 20, .stall_ms = 3000 };
	int slow[6];

	begin(&lim);
	for (int k = 0; k < 6; k++) {
		slow[k] = client_connect(port);
		for (uint32_t xid = 0; xid < 64; xid++)
			send_call(slow[k], xid, P_BIG, 0);
	}
	for (int i = 0; i < 20; i++) {
		assert_true(server_stats().reply_bytes <= (8 << 20) + 6 * (BIG_BYTES + 4096));
		alive();			/* the others are served, soon */
		usleep(20000);
	}
	for (int k = 0; k < 6; k++) {
		struct pollfd p = { .fd = slow[k], .events = POLLRDHUP };

		assert_int_equal(poll(&p, 1, 10000), 1);	/* ended without being read */
		close(slow[k]);
	}
	assert_int_equal(server_stats().closed_stalled, 6);
	assert_int_equal(server_stats().reply_bytes, 0);
	end();
}

static void test_many_connections(void **state)
{
	enum { N = 200 };
	int fd[N];

	begin(NULL);
	for (int k = 0; k < N; k++)
		fd[k] = client_connect(port);
	for (uint32_t xid = 0; xid < 5; xid++)
		for (int k = 0; k < N; k++)
			send_call(fd[k], xid * 1000 + k, P_NULL, 0);
	for (uint32_t xid = 0; xid < 5; xid++)
		for (int k = 0; k < N; k++)
			assert_int_equal(expect_ok(fd[k], NULL), xid * 1000 + k);
	assert_int_equal(server_stats().conns, N);
	for (int k = 0; k < N; k++)
		close(fd[k]);
	alive();
	for (int i = 0; i < 100 && server_stats().conns; i++)
		usleep(10000);
	assert_int_equal(server_stats().conns, 0);
	end();
}

static void test_connection_limit(void **state)
{
	const struct rpc_limits lim = { .max_conns = 4 };
	int fd[6];

	begin(&lim);
	for (int k = 0; k < 6; k++) {
		fd[k] = client_connect(port);
		send_call(fd[k], k, P_NULL, 0);
		assert_int_equal(expect_ok(fd[k], NULL), k);
	}
	assert_true(client_ended(fd[0], 5000));		/* those idle for longest went */
	assert_true(client_ended(fd[1], 5000));
	for (int k = 2; k < 6; k++) {
		send_call(fd[k], k, P_NULL, 0);
		assert_int_equal(expect_ok(fd[k], NULL), k);
	}
	for (int k = 0; k < 6; k++)
		close(fd[k]);
	end();
}

/* Clients who begin large records and stop must not keep others from sending theirs. */
static void test_half_records(void **state)
{
	const struct rpc_limits lim = { .recv_bytes_max = 3 << 20, .stall_ms = 3000 };
	struct msg m = { 0 };
	int half[5], fd;

	begin(&lim);
	make_echo(&m, 3, 1 << 20);
	for (int k = 0; k < 5; k++) {
		uint32_t mark = htobe32(0x80000000u | (uint32_t)m.len);

		half[k] = client_connect(port);
		client_send_raw(half[k], &mark, 4);
		client_send_raw(half[k], m.data, 100000);
	}
	usleep(50000);
	alive();
	assert_true(server_stats().recv_bytes <= 3 << 20);
	fd = client_connect(port);
	client_send(fd, &m);
	expect_echo(fd, 3, 1 << 20);
	for (int k = 0; k < 5; k++)
		close(half[k]);
	close(fd);
	msg_free(&m);
	end();
}

/* Fifty of them, from four addresses, have all there is and stand in line for more: a fifth gets its turn. */
static void test_half_records_of_many(void **state)
{
	const struct rpc_limits lim = { .recv_bytes_max = 3 << 20, .stall_ms = 30000 };
	struct msg m = { 0 };
	int half[50], fd;
	time_t begun;

	begin(&lim);
	make_echo(&m, 3, 1 << 20);
	for (int k = 0; k < 50; k++) {
		uint32_t mark = htobe32(0x80000000u | (uint32_t)m.len);

		half[k] = client_connect_from(port, 2 + k % 4);
		client_send_raw(half[k], &mark, 4);
		client_send_raw(half[k], m.data, 100000);
	}
	usleep(50000);
	fd = client_connect_from(port, 99);
	begun = time(NULL);
	client_send(fd, &m);
	expect_echo(fd, 3, 1 << 20);
	assert_true(time(NULL) - begun < 5);	/* they get five seconds each, if nobody has less */
	for (int k = 0; k < 50; k++)
		close(half[k]);
	close(fd);
	msg_free(&m);
	end();
}

/* A rude client is not another's trouble: not when he doesn't read, nor when he stops sending. */
static void test_other_clients(void **state)
{
	const struct rpc_limits lim = { .recv_bytes_max = 8 << 20, .reply_bytes_max = 8 << 20,
					.stall_ms = 120000 };
	struct msg m = { 0 };
	int rude[60], fd;
	time_t begun;

	begin(&lim);
	make_echo(&m, 3, 1 << 20);
	for (int k = 0; k < 60; k++) {
		uint32_t mark = htobe32(0x80000000u | (uint32_t)m.len);

		rude[k] = client_connect(port);
		if (k % 2) {
			client_send_raw(rude[k], &mark, 4);
			client_send_raw(rude[k], m.data, 1000);
			continue;
		}
		for (uint32_t xid = 0; xid < 64; xid++)
			send_call(rude[k], xid, P_BIG, 0);
	}
	usleep(300000);
	begun = time(NULL);
	for (int k = 0; k < 10; k++) {
		fd = client_connect_from(port, 2);
		client_send(fd, &m);
		expect_echo(fd, 3, 1 << 20);
		send_call(fd, 4, P_BIG, 0);
		assert_int_equal(expect_ok(fd, NULL), 4);
		close(fd);
	}
	assert_true(time(NULL) - begun < 5);
	for (int k = 0; k < 60; k++)
		close(rude[k]);
	msg_free(&m);
	end();
}

/*
 * Nor are many of them: ten addresses that never read use up all that there is for replies, and another
 * is still served, as long as it is a little.  What is more waits until there is memory again.
 */
static void test_many_rude(void **state)
{
	const struct rpc_limits lim = { .reply_bytes_max = 8 << 20, .stall_ms = 6000000 };
	int rude[60], fd[2];

	begin(&lim);
	for (int k = 0; k < 60; k++) {
		rude[k] = client_connect_from(port, 3 + k % 10);
		for (uint32_t xid = 0; xid < 64; xid++)
			send_call(rude[k], xid, P_BIG, 0);
	}
	usleep(300000);
	for (int i = 0; i < 500 && server_stats().reply_bytes < 8 << 20; i++)
		usleep(10000);
	assert_in_range(server_stats().reply_bytes, 8 << 20, 10 << 20);
	for (int i = 0; i < 2; i++)
		fd[i] = client_connect_from(port, 2);
	send_call(fd[0], 1, P_BIG, 0);
	for (uint32_t xid = 2; xid < 100; xid++) {
		send_call(fd[1], xid, P_NULL, 0);
		assert_int_equal(expect_ok(fd[1], NULL), xid);
	}
	send_call(fd[1], 100, P_BIG, 0);
	usleep(200000);
	close(fd[1]);				/* one that waits goes */
	assert_in_range(server_stats().reply_bytes, 8 << 20, 10 << 20);
	for (int k = 0; k < 60; k++)
		close(rude[k]);
	assert_int_equal(expect_ok(fd[0], NULL), 1);
	close(fd[0]);
	end();
}

/* Whoever holds all connections without using them loses some to those who come. */
static void test_held_connections(void **state)
{
	const struct rpc_limits lim = { .max_conns = 8 };
	int held[8];

	begin(&lim);
	for (int k = 0; k < 8; k++) {
		held[k] = client_connect(port);
		if (k % 2) {
			client_send_raw(held[k], "\x80\0\0", 3);
			continue;
		}
		for (uint32_t xid = 0; xid < 64; xid++)
			send_call(held[k], xid, P_BIG, 0);
	}
	usleep(1300000);
	for (int k = 0; k < 4; k++)
		alive();
	for (int k = 0; k < 8; k++)
		close(held[k]);
	end();
}

/* Buffers that idle clients' receives stand in are taken back when others need them. */
static void test_idle_buffers(void **state)
{
	const struct rpc_limits lim = { .recv_bytes_max = 4 << 20 };
	struct msg m = { 0 };
	int fd[8];

	begin(&lim);
	for (int k = 0; k < 8; k++) {
		fd[k] = client_connect(port);
		for (int i = 0; i < 2; i++) {
			make_echo(&m, k, 1 << 20);
			client_send(fd[k], &m);
			expect_echo(fd[k], k, 1 << 20);
		}
	}
	for (int k = 0; k < 8; k++)
		close(fd[k]);
	msg_free(&m);
	end();
}

static void test_duplicates(void **state)
{
	uint32_t a, b;
	int fd, fd2;

	begin(NULL);
	fd = client_connect(port);
	send_call(fd, 5, P_COUNT, 1);
	expect_ok(fd, &a);
	send_call(fd, 5, P_COUNT, 1);			/* the same call */
	expect_ok(fd, &b);
	assert_int_equal(a, 1);
	assert_int_equal(b, 1);
	send_call(fd, 5, P_COUNT, 2);			/* the same xid, another call */
	expect_ok(fd, &b);
	assert_int_equal(b, 2);
	fd2 = client_connect(port);			/* another port of the same client */
	send_call(fd2, 5, P_COUNT, 1);
	expect_ok(fd2, &b);
	assert_int_equal(b, 1);
	for (uint32_t xid = 100; xid < 1100; xid++) {	/* more than it keeps */
		send_call(fd, xid, P_COUNT, 1);
		expect_ok(fd, NULL);
	}
	send_call(fd, 5, P_COUNT, 1);
	expect_ok(fd, &b);
	assert_int_equal(b, 1003);
	counter = 0;
	send_call(fd, 7, P_SLOW_COUNT, 0);
	send_call(fd, 7, P_SLOW_COUNT, 0);		/* while the first is still running */
	send_call(fd2, 7, P_SLOW_COUNT, 0);
	expect_ok(fd, &a);
	assert_int_equal(a, 1);
	expect_ok(fd, &a);
	assert_int_equal(a, 1);
	expect_ok(fd2, &a);
	assert_int_equal(a, 1);
	close(fd);
	close(fd2);
	end();
}

static void test_stop_drains(void **state)
{
	int fd;

	begin(NULL);
	fd = client_connect(port);
	send_call(fd, 1, P_SLEEP, 300);
	for (int i = 0; i < 100 && !server_stats().in_flight; i++)
		usleep(2000);
	end();
	assert_int_equal(expect_ok(fd, NULL), 1);
	assert_true(client_ended(fd, 1000));
	close(fd);
}

static void test_client_goes_away(void **state)
{
	begin(NULL);
	for (int k = 0; k < 20; k++) {
		int fd = client_connect(port);

		for (uint32_t i = 0; i < 20; i++)
			send_call(fd, i, i & 1 ? P_BIG : P_SLEEP, 20);
		close(fd);
	}
	for (int i = 0; i < 500 && server_stats().conns; i++)
		usleep(10000);
	assert_int_equal(server_stats().conns, 0);
	assert_int_equal(server_stats().reply_bytes, 0);
	alive();
	end();
}

static void bad_listens(void *arg)
{
	static const char *const bad[] = { "", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x",
		"127.0.0.1:65536", "localhost:1", "::1:5", "[::1]", "[::1]:5x", ":5", "[:5" };
	struct rpc_addr a;
	char why[200];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(rpc_parse_listen(bad[i], &a, why, sizeof(why)), -EINVAL);
	assert_int_equal(rpc_parse_listen("[::1]:5", &a, why, sizeof(why)), 0);
	assert_int_equal(a.port, 5);
	assert_int_equal(a.ip[15], 1);
}

static void listen_twice(void *arg)
{
	char text[64], why[200];

	snprintf(text, sizeof(text), "127.0.0.1:%u", port);
	assert_int_equal(rpc_server_listen(server, text, &service, NULL, why, sizeof(why)),
			 -EADDRINUSE);
	assert_non_null(strstr(why, text));
}

/* Whom no answer can be put together for loses his connection, and asks again by another: not "no". */
static void test_no_memory(void **state)
{
	struct rpc_server_stats st;
	uint32_t word;
	int fd;

	begin(NULL);
	fd = client_connect(port);
	send_call(fd, 1, P_LEAN, 0);
	send_call(fd, 2, P_LEAN, 0);
	assert_true(client_ended(fd, 5000));
	close(fd);
	for (int i = 0; i < 100 && (st = server_stats(), st.conns || st.in_flight); i++)
		usleep(20000);
	assert_int_equal(st.in_flight, 0);
	assert_int_equal(st.conns, 0);
	fd = client_connect(port);
	send_call(fd, 1, P_LEAN, 0);
	assert_int_equal(expect_ok(fd, &word), 1);
	assert_int_equal(word, 3);
	close(fd);
	end();
}

static void test_listen(void **state)
{
	begin(NULL);
	bad_listens(NULL);
	harness_call(listen_twice, NULL);
	alive();
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pipeline),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_nobody_waits_for_others),
		cmocka_unit_test(test_in_flight_limit),
		cmocka_unit_test(test_worker_limit),
		cmocka_unit_test(test_big_replies),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_many_connections),
		cmocka_unit_test(test_connection_limit),
		cmocka_unit_test(test_half_records), cmocka_unit_test(test_half_records_of_many),
		cmocka_unit_test(test_other_clients),
		cmocka_unit_test(test_many_rude),
		cmocka_unit_test(test_held_connections),
		cmocka_unit_test(test_idle_buffers),
		cmocka_unit_test(test_duplicates),
		cmocka_unit_test(test_stop_drains),
		cmocka_unit_test(test_client_goes_away),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_listen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
