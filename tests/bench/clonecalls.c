/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clonecalls: many callers that each ask the management API for one clone at a time.
 *
 *   clonecalls SOCKET CALLERS COUNT SRC PREFIX
 *       makes SRC's clones PREFIX000000 up to COUNT, over CALLERS connections that each wait
 *       for the answer (the clone is durable then) before they ask for the next.
 *
 * Reports JSON on standard output.  An answer other than 2xx counts as an error.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CALLERS_MAX 1024

struct caller {
	int fd;
	uint64_t t0;
	size_t len;
	char in[16384];
};

struct load {
	const char *src, *prefix;
	unsigned count, begun, done, errors;
	uint64_t *latency_us;
	char first_error[256];
};

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static int dial(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(addr.sun_path))
		return -1;
	strcpy(addr.sun_path, path);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* 1: asked; 0: nothing is left to ask for; -1: the connection failed. */
static int ask(struct load *l, struct caller *c)
{
	char body[4096], call[4608];

	if (l->begun == l->count)
		return 0;
	int n = snprintf(body, sizeof(body), "{\"src\": \"%s\", \"dst\": \"%s%06u\"}", l->src,
			 l->prefix, l->begun);

	if (n < 0 || n >= (int)sizeof(body))
		return -1;
	n = snprintf(call, sizeof(call), "POST /v1/clones HTTP/1.1\r\nHost: localhost\r\n"
		     "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", n, body);
	c->t0 = now_us();
	c->len = 0;
	l->begun++;
	return send(c->fd, call, (size_t)n, MSG_NOSIGNAL) == n ? 1 : -1;
}

/* The length of the whole answer, 0 while its head isn't complete. */
static size_t answer_len(const char *in)
{
	const char *end = strstr(in, "\r\n\r\n"), *field = strcasestr(in, "\r\ncontent-length:");

	if (!end)
		return 0;
	return (size_t)(end + 4 - in) + (field && field < end ? strtoul(field + 17, NULL, 10) : 0);
}

/* 1: an answer is complete; 0: more is to come; -1: the connection is of no more use. */
static int hear(struct load *l, struct caller *c)
{
	ssize_t n = recv(c->fd, c->in + c->len, sizeof(c->in) - 1 - c->len, 0);

	if (n <= 0)
		return -1;
	c->len += (size_t)n;
	c->in[c->len] = 0;
	size_t whole = answer_len(c->in);

	if (!whole || c->len < whole)
		return c->len == sizeof(c->in) - 1 ? -1 : 0;
	l->latency_us[l->done++] = now_us() - c->t0;
	if (strncmp(c->in, "HTTP/1.1 2", 10)) {
		if (!l->errors++)
			snprintf(l->first_error, sizeof(l->first_error), "%.12s", c->in);
	}
	return 1;
}

static int run(struct load *l, struct caller *callers, unsigned n, const char *path)
{
	int ep = epoll_create1(EPOLL_CLOEXEC);
	unsigned active = 0;

	for (unsigned i = 0; i < n; i++) {
		struct epoll_event ev = { .events = EPOLLIN, .data.ptr = &callers[i] };

		callers[i].fd = dial(path);
		if (callers[i].fd < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, callers[i].fd, &ev) < 0) {
			fprintf(stderr, "clonecalls: %s: %s\n", path, strerror(errno));
			return -1;
		}
	}
	for (unsigned i = 0; i < n; i++) {
		int r = ask(l, &callers[i]);

		if (r < 0)
			return -1;
		active += (unsigned)r;
	}
	while (active) {
		struct epoll_event ev[64];
		int got = epoll_wait(ep, ev, 64, 10000);

		if (got <= 0)
			return -1;
		for (int i = 0; i < got; i++) {
			struct caller *c = ev[i].data.ptr;
			int r = hear(l, c);

			if (r < 0)
				return -1;
			if (r > 0) {
				r = ask(l, c);
				if (r < 0)
					return -1;
				active -= r == 0;
			}
		}
	}
	return 0;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	if (argc != 6) {
		fputs("usage: clonecalls SOCKET CALLERS COUNT SRC PREFIX\n", stderr);
		return 2;
	}
	unsigned n = (unsigned)strtoul(argv[2], NULL, 10);
	struct load l = { .src = argv[4], .prefix = argv[5],
			  .count = (unsigned)strtoul(argv[3], NULL, 10) };

	if (!n || n > CALLERS_MAX || !l.count || l.count > 999999) {
		fputs("clonecalls: CALLERS or COUNT is out of range\n", stderr);
		return 2;
	}
	struct caller *callers = calloc(n, sizeof(*callers));

	l.latency_us = calloc(l.count, sizeof(*l.latency_us));
	if (!callers || !l.latency_us)
		return 1;
	uint64_t start = now_us();

	if (run(&l, callers, n, argv[1]) < 0) {
		fprintf(stderr, "clonecalls: the server broke off after %u of %u clones\n", l.done,
			l.count);
		return 1;
	}
	double s = (double)(now_us() - start) / 1e6;

	qsort(l.latency_us, l.done, sizeof(*l.latency_us), by_value);
	printf("{\"clones\": %u, \"errors\": %u, \"first_error\": \"%s\", \"elapsed_s\": %.4f, "
	       "\"clones_s\": %.1f, \"p50_us\": %" PRIu64 ", \"p99_us\": %" PRIu64 "}\n", l.done,
	       l.errors, l.first_error, s, l.done / s, l.latency_us[l.done / 2],
	       l.latency_us[l.done - 1 - l.done / 100]);
	return l.errors != 0;
}
