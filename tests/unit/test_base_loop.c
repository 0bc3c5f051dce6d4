/* SPDX-License-Identifier: Apache-2.0 */
/* The loop on each of its backends: the same tests run on io_uring and on epoll; what only
 * needs time runs on the simulated loop too. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fiber.h"
#include "base/loop.h"

struct env {
	enum loop_kind kind;
	struct loop *loop;
};

static int setup(void **state)
{
	struct env *e = *state;

	return loop_new(e->kind, &e->loop);
}

static int teardown(void **state)
{
	struct env *e = *state;

	loop_free(e->loop);
	return 0;
}

static void (*body_fn)(struct env *e);

static void body_fiber(void *arg)
{
	struct env *e = arg;

	body_fn(e);
	loop_stop(e->loop);
}

/* Runs FN in a fiber until it returns. */
static void in_fiber(struct env *e, void (*fn)(struct env *e))
{
	body_fn = fn;
	assert_int_equal(fiber_spawn(body_fiber, e, "test"), 0);
	assert_int_equal(loop_run(e->loop), 0);
	assert_int_equal(fiber_count(), 0);
}

/* ---- time ---- */

static char trace[256];

static void trace_add(const char *s)
{
	strncat(trace, s, sizeof(trace) - strlen(trace) - 1);
}

struct named_timer {
	struct timer t;
	const char *name;
};

static void named_fn(struct timer *t)
{
	trace_add(container_of(t, struct named_timer, t)->name);
}

static void timers_body(struct env *e)
{
	struct named_timer a = { .name = "a" }, b = { .name = "b" }, c = { .name = "c" },
			   d = { .name = "d" };
	uint64_t start = loop_now_ns();

	trace[0] = 0;
	timer_init(&a.t, named_fn);
	timer_init(&b.t, named_fn);
	timer_init(&c.t, named_fn);
	timer_init(&d.t, named_fn);
	timer_set(&a.t, 3000000);
	timer_set(&b.t, 1000000);
	timer_set(&c.t, 2000000);
	timer_set(&d.t, 1500000);
	timer_cancel(&d.t);
	timer_cancel(&d.t);
	timer_set(&c.t, 4000000);
	loop_sleep_ns(6000000);
	assert_string_equal(trace, "bac");
	assert_true(loop_now_ns() - start >= 6000000);
	assert_int_equal(c.t.heap_index, 0);
}

static void test_timers(void **state)
{
	in_fiber(*state, timers_body);
}

static void rearm_fn(struct timer *t)
{
	struct named_timer *n = container_of(t, struct named_timer, t);

	trace_add(n->name);
	if (strlen(trace) < 100)
		timer_set(t, 0);
}

static void rearm_body(struct env *e)
{
	struct named_timer a = { .name = "a" }, b = { .name = "b" };

	/* two timers that are always due take turns, and the fiber gets its turn too */
	trace[0] = 0;
	timer_init(&a.t, rearm_fn);
	timer_init(&b.t, rearm_fn);
	timer_set(&a.t, 0);
	timer_set(&b.t, 0);
	for (int i = 0; i < 5; i++)
		fiber_yield();
	assert_true(strlen(trace) >= 4 && strlen(trace) < 100);
	assert_memory_equal(trace, "abab", 4);
	timer_cancel(&a.t);
	timer_cancel(&b.t);
}

static void test_timer_rearm(void **state)
{
	in_fiber(*state, rearm_body);
}

static uint64_t last_due;
static int fired;

static void order_fn(struct timer *t)
{
	assert_true(t->due_ns >= last_due);
	last_due = t->due_ns;
	fired++;
}

static void heap_body(struct env *e)
{
	enum { N = 2000 };
	struct timer *t = calloc(N, sizeof(*t));
	unsigned x = 12345;
	int cancelled = 0;

	assert_non_null(t);
	last_due = 0;
	fired = 0;
	for (int i = 0; i < N; i++) {
		timer_init(&t[i], order_fn);
		x = x * 1103515245 + 12345;
		timer_set(&t[i], (x >> 8) % 5000000);
	}
	for (int i = 0; i < N; i += 3) {
		timer_cancel(&t[i]);
		cancelled++;
	}
	for (int i = 1; i < N; i += 3) {
		x = x * 1103515245 + 12345;
		timer_set(&t[i], (x >> 8) % 5000000);
	}
	loop_sleep_ns(20000000);
	assert_int_equal(fired, N - cancelled);
	free(t);
}

static void test_timer_heap(void **state)
{
	in_fiber(*state, heap_body);
}

static void waitq_timeout_body(struct env *e)
{
	struct waitq q;
	uint64_t start = loop_now_ns();

	waitq_init(&q);
	assert_false(waitq_wait_timeout(&q, 2000000));
	assert_true(loop_now_ns() - start >= 2000000);
	assert_true(waitq_empty(&q));
}

static void test_waitq_timeout(void **state)
{
	in_fiber(*state, waitq_timeout_body);
}

/* ---- deferred calls ---- */

struct counted {
	struct deferred d;
	int calls;
};

static void count_deferred(struct deferred *d)
{
	container_of(d, struct counted, d)->calls++;
	trace_add("D");
}

static void other_fiber(void *arg)
{
	trace_add("f");
	fiber_wake(arg);
	trace_add("g");
}

static void deferred_body(struct env *e)
{
	struct counted c = { 0 };

	trace[0] = 0;
	deferred_init(&c.d, count_deferred);
	loop_defer(&c.d);
	loop_defer(&c.d);
	assert_int_equal(fiber_spawn(other_fiber, fiber_self(), "other"), 0);
	fiber_park();
	/* woken within the turn: the deferred call has not run yet */
	trace_add("w");
	fiber_yield();
	assert_int_equal(c.calls, 1);
	assert_string_equal(trace, "fgwD");
	loop_defer(&c.d);
	fiber_yield();
	assert_int_equal(c.calls, 2);
}

static void test_deferred(void **state)
{
	in_fiber(*state, deferred_body);
}

/* ---- files ---- */

static int temp_file(void)
{
	char path[] = "/tmp/pando-unit-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	unlink(path);
	return fd;
}

static void files_body(struct env *e)
{
	struct loop_io io = { 0 };
	char a[] = "hello, ", b[] = "world", in[32] = { 0 };
	struct iovec out[2] = { { a, 7 }, { b, 5 } }, into = { in, sizeof(in) };
	int fd = temp_file();

	loop_pwritev(&io, fd, out, 2, 3, false);
	assert_int_equal(loop_io_wait(&io), 12);
	loop_pwritev(&io, fd, out, 1, 15, true);
	assert_int_equal(loop_io_wait(&io), 7);
	loop_fdatasync(&io, fd);
	assert_int_equal(loop_io_wait(&io), 0);
	loop_preadv(&io, fd, &into, 1, 3);
	assert_int_equal(loop_io_wait(&io), 19);
	assert_memory_equal(in, "hello, worldhello, ", 19);
	loop_fallocate(&io, fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, 12);
	assert_int_equal(loop_io_wait(&io), 0);
	loop_preadv(&io, fd, &into, 1, 0);
	assert_int_equal(loop_io_wait(&io), 22);
	assert_memory_equal(in, "\0\0\0\0\0\0\0\0\0\0\0\0rldhello, ", 22);
	close(fd);
	loop_preadv(&io, fd, &into, 1, 0);
	assert_int_equal(loop_io_wait(&io), -EBADF);
}

static void test_files(void **state)
{
	in_fiber(*state, files_body);
}

enum { MANY = 6000 };
static int many_done;

static void many_done_fn(struct loop_io *io)
{
	assert_int_equal(io->result, 512);
	many_done++;
}

static void many_body(struct env *e)
{
	/* more at once than the submission queue and the completion queue hold */
	struct loop_io *io = calloc(MANY, sizeof(*io));
	static char data[512];
	struct iovec iov = { data, sizeof(data) };
	int fd = temp_file();

	assert_non_null(io);
	assert_int_equal(ftruncate(fd, MANY * 512), 0);
	many_done = 0;
	for (int i = 0; i < MANY; i++) {
		io[i].done = many_done_fn;
		loop_preadv(&io[i], fd, &iov, 1, i * 512);
	}
	for (int i = 0; many_done < MANY && i < 10000; i++)
		loop_sleep_ns(1000000);
	assert_int_equal(many_done, MANY);
	free(io);
	close(fd);
}

static void test_many(void **state)
{
	in_fiber(*state, many_body);
}

/* ---- sockets ---- */

static int listener(struct sockaddr_in *ret_addr, int flags)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	socklen_t len = sizeof(*ret_addr);

	*ret_addr = (struct sockaddr_in){ .sin_family = AF_INET };
	ret_addr->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)ret_addr, len), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)ret_addr, &len), 0);
	return fd;
}

/* accept, recv, send on sockets with FLAGS (SOCK_NONBLOCK or 0) */
static void sockets_with(struct env *e, int flags)
{
	struct sockaddr_in addr;
	struct loop_io acc = { 0 }, rx = { 0 }, tx = { 0 };
	char in[64], out[] = "ping";
	struct iovec iov = { out, 4 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int lfd = listener(&addr, flags), client, conn;

	loop_accept(&acc, lfd);
	loop_sleep_ns(2000000);
	assert_false(acc.completed);
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(client, (struct sockaddr *)&addr, sizeof(addr)), 0);
	conn = loop_io_wait(&acc);
	assert_true(conn >= 0);
	if (flags & SOCK_NONBLOCK)
		assert_int_equal(fcntl(conn, F_SETFL, fcntl(conn, F_GETFL) | O_NONBLOCK), 0);

	loop_recv(&rx, conn, in, sizeof(in));
	loop_sleep_ns(2000000);
	assert_false(rx.completed);
	assert_int_equal(send(client, "abc", 3, 0), 3);
	assert_int_equal(loop_io_wait(&rx), 3);
	assert_memory_equal(in, "abc", 3);

	loop_recv(&rx, conn, in, sizeof(in));
	loop_sendmsg(&tx, conn, &msg);
	assert_int_equal(loop_io_wait(&tx), 4);
	assert_int_equal(recv(client, in, 4, MSG_WAITALL), 4);
	assert_memory_equal(in, "ping", 4);
	close(client);
	assert_int_equal(loop_io_wait(&rx), 0);
	/* the peer is gone: an error, not a signal */
	loop_sendmsg(&tx, conn, &msg);
	loop_io_wait(&tx);
	loop_sleep_ns(2000000);
	loop_sendmsg(&tx, conn, &msg);
	assert_int_equal(loop_io_wait(&tx), -EPIPE);
	close(conn);
	close(lfd);
}

static void sockets_body(struct env *e) { sockets_with(e, 0); }
static void sockets_nonblock_body(struct env *e) { sockets_with(e, SOCK_NONBLOCK); }
static void test_sockets(void **state) { in_fiber(*state, sockets_body); }
static void test_sockets_nonblock(void **state) { in_fiber(*state, sockets_nonblock_body); }

static int tcp_socket(void) { return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); }

/* A socket that nobody accepts from takes in a few and lets the next wait. */
static void connect_in_vain(struct sockaddr_in *addr, int lfd)
{
	int fds[16];
	int n = 0;

	assert_int_equal(listen(lfd, 0), 0);
	for (; n < 16; n++) {
		struct loop_io io = { 0 };

		fds[n] = tcp_socket();
		loop_connect(&io, fds[n], (struct sockaddr *)addr, sizeof(*addr));
		loop_sleep_ns(20000000);
		if (io.completed)
			continue;
		loop_io_cancel(&io);
		assert_int_equal(loop_io_wait(&io), -ECANCELED);
		break;
	}
	assert_true(n < 16);
	while (n >= 0)
		close(fds[n--]);
}

static void connect_body(struct env *e)
{
	struct sockaddr_in addr;
	struct loop_io io = { 0 }, rx = { 0 };
	int lfd = listener(&addr, 0), fd = tcp_socket(), conn;
	char in[4];

	loop_connect(&io, fd, (struct sockaddr *)&addr, sizeof(addr));
	assert_int_equal(loop_io_wait(&io), 0);
	conn = accept(lfd, NULL, NULL);
	assert_true(conn >= 0);
	loop_recv(&rx, fd, in, sizeof(in));
	loop_sleep_ns(2000000);
	assert_false(rx.completed);
	assert_int_equal(send(conn, "abc", 3, 0), 3);
	assert_int_equal(loop_io_wait(&rx), 3);
	close(fd);
	close(conn);
	connect_in_vain(&addr, lfd);
	close(lfd);
	fd = tcp_socket();
	loop_connect(&io, fd, (struct sockaddr *)&addr, sizeof(addr));
	assert_int_equal(loop_io_wait(&io), -ECONNREFUSED);
	close(fd);
}

static void test_connect(void **state)
{
	in_fiber(*state, connect_body);
}

static void full_body(struct env *e)
{
	/* a non-blocking socket whose peer does not read: the send waits for room */
	enum { BYTES = 4 << 20 };
	char *data = calloc(1, BYTES), *in = malloc(BYTES);
	struct iovec iov = { data, BYTES };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct loop_io tx = { 0 };
	int sv[2];
	int64_t sent = 0, got = 0, n;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	for (;;) {
		loop_sendmsg(&tx, sv[0], &msg);
		loop_sleep_ns(2000000);
		if (!tx.completed)
			break;
		assert_true(tx.result > 0);
		sent += tx.result;
		iov = (struct iovec){ data, BYTES };
	}
	while ((n = recv(sv[1], in, BYTES, 0)) > 0)
		got += n;
	n = loop_io_wait(&tx);
	assert_true(n > 0);
	sent += n;
	while ((n = recv(sv[1], in, BYTES, 0)) > 0)
		got += n;
	assert_int_equal(sent, got);
	close(sv[0]);
	close(sv[1]);
	free(data);
	free(in);
}

static void test_send_full(void **state)
{
	in_fiber(*state, full_body);
}

static void poll_body(struct env *e)
{
	struct loop_io io = { 0 };
	int p[2];

	assert_int_equal(pipe(p), 0);
	loop_poll(&io, p[0], POLLIN);
	loop_sleep_ns(1000000);
	assert_false(io.completed);
	assert_int_equal(write(p[1], "x", 1), 1);
	assert_true(loop_io_wait(&io) & POLLIN);
	loop_poll(&io, p[1], POLLOUT);
	assert_true(loop_io_wait(&io) & POLLOUT);
	close(p[1]);
	assert_int_equal(read(p[0], &(char){ 0 }, 1), 1);
	loop_poll(&io, p[0], POLLIN);
	assert_true(loop_io_wait(&io) & POLLHUP);
	close(p[0]);
}

static void test_poll(void **state)
{
	in_fiber(*state, poll_body);
}

static void cancel_body(struct env *e)
{
	struct loop_io rx = { 0 }, again = { 0 }, po = { 0 };
	char in[8];
	int sv[2];

	for (int nonblock = 0; nonblock < 2; nonblock++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | (nonblock ? SOCK_NONBLOCK : 0),
					    0, sv), 0);
		/* at once, before the kernel has seen it */
		loop_recv(&rx, sv[0], in, sizeof(in));
		loop_io_cancel(&rx);
		assert_int_equal(loop_io_wait(&rx), -ECANCELED);
		/* after it has waited a while */
		loop_recv(&rx, sv[0], in, sizeof(in));
		loop_poll(&po, sv[0], POLLIN);
		loop_sleep_ns(1000000);
		loop_io_cancel(&rx);
		loop_io_cancel(&rx);
		loop_io_cancel(&po);
		assert_int_equal(loop_io_wait(&rx), -ECANCELED);
		assert_int_equal(loop_io_wait(&po), -ECANCELED);
		/* when it is complete already */
		loop_io_cancel(&rx);
		/* what was cancelled took nothing from the stream */
		assert_int_equal(send(sv[1], "y", 1, 0), 1);
		loop_recv(&again, sv[0], in, sizeof(in));
		assert_int_equal(loop_io_wait(&again), 1);
		close(sv[0]);
		close(sv[1]);
	}
}

static void test_cancel(void **state)
{
	in_fiber(*state, cancel_body);
}

/* ---- other threads ---- */

struct poster {
	struct loop *loop;
	struct loop_msg *msgs;
	int n;
};

static int posted_seen;
static struct loop_msg *posted_last[2];
static struct loop_msg *posted_base[2];
enum { POSTS = 20000 };

static void posted(struct loop_msg *m)
{
	int who = m >= posted_base[1] && m < posted_base[1] + POSTS;

	/* each thread's messages arrive in its order */
	if (posted_last[who])
		assert_ptr_equal(m, posted_last[who] + 1);
	posted_last[who] = m;
	if (++posted_seen == 2 * POSTS)
		loop_stop(loop_self());
}

static void *poster_thread(void *arg)
{
	struct poster *p = arg;

	for (int i = 0; i < p->n; i++) {
		loop_post(p->loop, &p->msgs[i]);
		if (i % 1000 == 0)
			usleep(1000);	/* let the loop fall asleep */
	}
	return NULL;
}

static void test_mailbox(void **state)
{
	struct env *e = *state;
	struct loop_msg *msgs = calloc(2 * POSTS, sizeof(*msgs));
	struct poster p[2];
	pthread_t t[2];

	posted_seen = 0;
	posted_last[0] = posted_last[1] = NULL;
	for (int i = 0; i < 2 * POSTS; i++)
		msgs[i].fn = posted;
	for (int i = 0; i < 2; i++) {
		posted_base[i] = msgs + i * POSTS;
		p[i] = (struct poster){ e->loop, posted_base[i], POSTS };
		assert_int_equal(pthread_create(&t[i], NULL, poster_thread, &p[i]), 0);
	}
	assert_int_equal(loop_run(e->loop), 0);
	assert_int_equal(posted_seen, 2 * POSTS);
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	free(msgs);
}

static struct loop *signal_loop;

static void on_alarm(int sig)
{
	loop_stop(signal_loop);
}

static void test_stop_by_signal(void **state)
{
	struct env *e = *state;
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART }, old;

	signal_loop = e->loop;
	sigaction(SIGALRM, &sa, &old);
	ualarm(5000, 0);
	assert_int_equal(loop_run(e->loop), 0);	/* nothing to do: sleeps for ever but for this */
	sigaction(SIGALRM, &old, NULL);
}

static void echo_fiber(void *arg)
{
	int fd = *(int *)arg;
	char c[64];
	struct loop_io io = { 0 };
	int64_t n;

	for (;;) {
		struct iovec iov = { c, 0 };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

		loop_recv(&io, fd, c, sizeof(c));
		n = loop_io_wait(&io);
		if (n <= 0)
			break;
		iov.iov_len = n;
		loop_sendmsg(&io, fd, &msg);
		if (loop_io_wait(&io) != n)
			break;
	}
	loop_stop(loop_self());
}

static void *pinger(void *arg)
{
	int fd = *(int *)arg;
	char c = 0;

	for (int i = 0; i < 2000; i++) {
		if (send(fd, &c, 1, 0) != 1 || recv(fd, &c, 1, 0) != 1)
			return arg;
		if (i % 500 == 499)
			usleep(2000);
	}
	shutdown(fd, SHUT_RDWR);
	return NULL;
}

static void echo_with_spin(struct env *e, uint64_t spin_ns)
{
	int sv[2];
	pthread_t t;
	void *failed;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	loop_set_spin_ns(e->loop, spin_ns);
	assert_int_equal(fiber_spawn(echo_fiber, &sv[0], "echo"), 0);
	assert_int_equal(pthread_create(&t, NULL, pinger, &sv[1]), 0);
	assert_int_equal(loop_run(e->loop), 0);
	pthread_join(t, &failed);
	assert_null(failed);
	close(sv[0]);
	close(sv[1]);
}

static void test_spin(void **state)
{
	echo_with_spin(*state, 0);
	echo_with_spin(*state, 100000);
}

static void test_one_loop_per_thread(void **state)
{
	struct loop *second = NULL;

	assert_int_equal(loop_new(LOOP_SIM, &second), -EEXIST);
	assert_null(second);
	assert_ptr_equal(loop_self(), ((struct env *)*state)->loop);
}

/* ---- the simulated loop ---- */

static void park_for_ever(void *arg)
{
	for (;;)
		fiber_park();
}

static void test_sim_ends(void **state)
{
	struct env *e = *state;

	assert_int_equal(loop_run(e->loop), 0);
	assert_int_equal(fiber_spawn(park_for_ever, NULL, "stuck"), 0);
	assert_int_equal(loop_run(e->loop), -EDEADLK);
	fiber_abandon_all();
	assert_int_equal(fiber_count(), 0);
	assert_int_equal(loop_run(e->loop), 0);
}

static void sim_time_body(struct env *e)
{
	uint64_t start = loop_now_ns(), wall = loop_realtime_ns();

	loop_sleep_ns(3600000000000ull);
	assert_int_equal(loop_now_ns() - start, 3600000000000ull);
	assert_int_equal(loop_realtime_ns() - wall, 3600000000000ull);
}

static void test_sim_time(void **state)
{
	in_fiber(*state, sim_time_body);
}

#define ON(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	static struct env uring = { .kind = LOOP_URING }, epoll = { .kind = LOOP_EPOLL },
			  sim = { .kind = LOOP_SIM }, automatic = { .kind = LOOP_AUTO };
	struct CMUnitTest real[] = {
		ON(test_timers), ON(test_timer_rearm), ON(test_timer_heap), ON(test_waitq_timeout),
		ON(test_deferred), ON(test_files), ON(test_many), ON(test_sockets),
		ON(test_sockets_nonblock), ON(test_connect), ON(test_send_full), ON(test_poll),
		ON(test_cancel), ON(test_mailbox), ON(test_stop_by_signal), ON(test_spin),
		ON(test_one_loop_per_thread),
	};
	struct CMUnitTest simulated[] = {
		ON(test_timers), ON(test_timer_rearm), ON(test_timer_heap), ON(test_waitq_timeout),
		ON(test_deferred), ON(test_sim_ends), ON(test_sim_time),
		ON(test_one_loop_per_thread),
	};
	struct loop *probe;
	bool use_uring;
	int failed = 0;

	alarm(120);	/* a hang is a failure, not a wait */
	/* the automatic choice also knows where io_uring hangs: under Valgrind */
	if (loop_new(LOOP_AUTO, &probe))
		return 1;
	use_uring = loop_kind(probe) == LOOP_URING;
	loop_free(probe);
	if (use_uring) {
		for (size_t i = 0; i < sizeof(real) / sizeof(*real); i++)
			real[i].initial_state = &uring;
		failed += cmocka_run_group_tests_name("io_uring", real, NULL, NULL);
	} else {
		print_message("# io_uring cannot be used here: not tested\n");
	}
	for (size_t i = 0; i < sizeof(real) / sizeof(*real); i++)
		real[i].initial_state = &epoll;
	failed += cmocka_run_group_tests_name("epoll", real, NULL, NULL);
	for (size_t i = 0; i < sizeof(simulated) / sizeof(*simulated); i++)
		simulated[i].initial_state = &sim;
	failed += cmocka_run_group_tests_name("simulated", simulated, NULL, NULL);
	simulated[0].initial_state = &automatic;
	failed += _cmocka_run_group_tests("auto", simulated, 1, NULL, NULL);
	return failed != 0;
}
