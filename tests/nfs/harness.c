/* SPDX-License-Identifier: Apache-2.0 */
/* See harness.h.  A test has one loop at a time; whatever fails here aborts the test. */
#include <arpa/inet.h>
#include <assert.h>
#include <endian.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fiber.h"
#include "base/loop.h"
#include "harness.h"

static pthread_t thread;
static struct loop *loop;
static sem_t started;

struct call {
	struct loop_msg msg;
	void (*fn)(void *arg);
	void *arg;
	sem_t done;
};

static void *thread_main(void *arg)
{
	int err = loop_new(getenv("TEST_EPOLL") ? LOOP_EPOLL : LOOP_AUTO, &loop);

	assert(!err);
	sem_post(&started);
	err = loop_run(loop);
	assert(!err);
	loop_free(loop);
	return NULL;
}

void harness_start(void)
{
	signal(SIGPIPE, SIG_IGN);
	sem_init(&started, 0, 0);
	pthread_create(&thread, NULL, thread_main, NULL);
	sem_wait(&started);
}

static void call_fiber(void *arg)
{
	struct call *c = arg;

	c->fn(c->arg);
	sem_post(&c->done);
}

static void call_msg(struct loop_msg *m)
{
	int err = fiber_spawn(call_fiber, m, "test");

	assert(!err);
}

void harness_call(void (*fn)(void *arg), void *arg)
{
	struct call c = { .msg.fn = call_msg, .fn = fn, .arg = arg };

	sem_init(&c.done, 0, 0);
	loop_post(loop, &c.msg);
	sem_wait(&c.done);
	sem_destroy(&c.done);
}

static void nothing(void *arg) { }

void harness_stop(void)
{
	harness_call(nothing, NULL);
	loop_stop(loop);
	pthread_join(thread, NULL);
	sem_destroy(&started);
}

/* ---- messages ------------------------------------------------------------------------ */

void msg_bytes(struct msg *m, const void *s, size_t len)
{
	if (m->len + len >= m->cap) {			/* never NULL */
		m->cap = (m->len + len) * 2 + 256;
		m->data = realloc(m->data, m->cap);
		assert(m->data);
	}
	memcpy(m->data + m->len, s, len);
	m->len += len;
}

void msg_u32(struct msg *m, uint32_t v)
{
	v = htobe32(v);
	msg_bytes(m, &v, 4);
}

void msg_u64(struct msg *m, uint64_t v)
{
	v = htobe64(v);
	msg_bytes(m, &v, 8);
}

void msg_opaque(struct msg *m, const void *s, size_t len)
{
	msg_u32(m, len);
	msg_bytes(m, s, len);
	msg_bytes(m, "\0\0\0", -len & 3);
}

void msg_string(struct msg *m, const char *s)
{
	msg_opaque(m, s, strlen(s));
}

void msg_free(struct msg *m)
{
	free(m->data);
	*m = (struct msg){ 0 };
}

void msg_call(struct msg *m, uint32_t xid, uint32_t prog, uint32_t vers, uint32_t proc,
	      uint32_t uid)
{
	const uint32_t head[] = { xid, 0, 2, prog, vers, proc, 1, 28 + 4, 7, 4 };

	m->len = 0;
	for (size_t i = 0; i < sizeof(head) / 4; i++)
		msg_u32(m, head[i]);
	msg_bytes(m, "test", 4);
	msg_u32(m, uid);
	msg_u32(m, uid);
	msg_u32(m, 2);
	msg_u32(m, 100);
	msg_u32(m, 101);
	msg_u64(m, 0);			/* verifier */
}

/* ---- the client ---------------------------------------------------------------------- */

int client_connect_from(uint16_t port, unsigned host)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in from = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, r;

	assert(fd >= 0);
	from.sin_addr.s_addr = htonl((INADDR_LOOPBACK & ~255u) | host);
	r = bind(fd, (struct sockaddr *)&from, sizeof(from));
	assert(!r);
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	r = connect(fd, (struct sockaddr *)&in, sizeof(in));
	assert(!r);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

int client_connect(uint16_t port)
{
	return client_connect_from(port, 1);
}

void client_send_raw(int fd, const void *data, size_t len)
{
	size_t at = 0;

	while (at < len) {
		ssize_t n = send(fd, (const uint8_t *)data + at, len - at, MSG_NOSIGNAL);

		if (n <= 0)
			return;			/* the server ended it; the test looks for that */
		at += n;
	}
}

void client_send(int fd, const struct msg *m)
{
	uint32_t mark = htobe32(0x80000000u | (uint32_t)m->len);
	uint8_t *whole = malloc(m->len + 4);

	assert(whole);
	memcpy(whole, &mark, 4);
	memcpy(whole + 4, m->data, m->len);
	client_send_raw(fd, whole, m->len + 4);
	free(whole);
}

static bool recv_all(int fd, void *buf, size_t len)
{
	size_t at = 0;

	while (at < len) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n;

		if (poll(&p, 1, 20000) != 1)
			return false;
		n = recv(fd, (uint8_t *)buf + at, len - at, 0);
		if (n <= 0)
			return false;
		at += n;
	}
	return true;
}

uint8_t *client_recv(int fd, size_t *ret_len)
{
	uint32_t mark;
	uint8_t *data;

	if (!recv_all(fd, &mark, 4))
		return NULL;
	mark = be32toh(mark);
	assert(mark & 0x80000000u);
	mark &= 0x7fffffff;
	data = malloc(mark + 1);
	assert(data);
	if (!recv_all(fd, data, mark)) {
		free(data);
		return NULL;
	}
	*ret_len = mark;
	return data;
}

bool client_ended(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char junk[8192];
	ssize_t n;

	do {
		if (poll(&p, 1, timeout_ms) != 1)
			return false;
		n = recv(fd, junk, sizeof(junk), 0);
	} while (n > 0);
	return true;
}

uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return be32toh(v);
}
