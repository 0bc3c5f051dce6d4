/* SPDX-License-Identifier: Apache-2.0 */
/* Fibers on the simulated loop: order, wakes that are remembered, queues, stacks. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fiber.h"
#include "base/loop.h"

static struct loop *loop;
static char trace[256];

static int setup(void **state)
{
	trace[0] = 0;
	return loop_new(LOOP_SIM, &loop);
}

static int teardown(void **state)
{
	assert_int_equal(fiber_count(), 0);
	loop_free(loop);
	return 0;
}

static void note(const char *s)
{
	strncat(trace, s, sizeof(trace) - strlen(trace) - 1);
}

static void spawn(void (*fn)(void *arg), void *arg)
{
	assert_int_equal(fiber_spawn(fn, arg, "unit"), 0);
}

static void yielder(void *arg)
{
	for (int i = 0; i < 3; i++) {
		note(arg);
		fiber_yield();
	}
}

static void test_order(void **state)
{
	spawn(yielder, "a");
	spawn(yielder, "b");
	spawn(yielder, "c");
	assert_int_equal(fiber_count(), 3);
	assert_string_equal(trace, "");
	assert_null(fiber_self());
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(trace, "abcabcabc");
}

static struct fiber *sleeper;

static void park_twice(void *arg)
{
	sleeper = fiber_self();
	assert_string_equal(fiber_name(sleeper), "unit");
	fiber_wake(sleeper);
	fiber_wake(sleeper);
	fiber_park();	/* woken before */
	note("1");
	fiber_park();	/* once only: really parks */
	note("2");
}

static void wake_later(void *arg)
{
	uint64_t before = fiber_switches();

	note("w");
	assert_int_equal(fiber_switches(), before);
	fiber_yield();
	assert_true(fiber_switches() > before);
	note("x");
	fiber_wake(sleeper);
	fiber_wake(sleeper);	/* the same wake again */
}

static void test_park(void **state)
{
	spawn(park_twice, NULL);
	spawn(wake_later, NULL);
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(trace, "1wx2");
}

static struct waitq queue;

static void queued(void *arg)
{
	waitq_wait(&queue);
	note(arg);
}

static void queue_again(void *arg)
{
	waitq_wait(&queue);
	note(arg);
	waitq_wait(&queue);
	note("!");
}

static void queue_waker(void *arg)
{
	assert_false(waitq_empty(&queue));
	waitq_wake_one(&queue);
	fiber_yield();
	note("|");
	waitq_wake_all(&queue);
	fiber_yield();
	note("|");
	assert_false(waitq_empty(&queue));
	waitq_wake_all(&queue);
	fiber_yield();
	assert_true(waitq_empty(&queue));
	waitq_wake_one(&queue);
	waitq_wake_all(&queue);
}

static void test_waitq(void **state)
{
	waitq_init(&queue);
	spawn(queued, "a");
	spawn(queue_again, "b");
	spawn(queued, "c");
	spawn(queue_waker, NULL);
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(trace, "a|bc|!");
}

static bool timed_wait_result;

static void timed(void *arg)
{
	timed_wait_result = waitq_wait_timeout(&queue, 1000000);
	note(timed_wait_result ? "woken" : "timeout");
	/* neither the timer nor a late wake disturbs what comes after */
	loop_sleep_ns(5000000);
	note(".");
}

static void wake_at_deadline(void *arg)
{
	loop_sleep_ns(*(uint64_t *)arg);
	waitq_wake_one(&queue);
}

static void test_waitq_timeout_race(void **state)
{
	/* before, at the same moment (whichever comes first, once), after */
	static uint64_t at[] = { 999999, 1000000, 1000001 };

	for (int i = 0; i < 3; i++) {
		trace[0] = 0;
		waitq_init(&queue);
		spawn(timed, NULL);
		spawn(wake_at_deadline, &at[i]);
		assert_int_equal(loop_run(loop), 0);
		if (i != 1)
			assert_string_equal(trace, i == 0 ? "woken." : "timeout.");
		else
			assert_true(!strcmp(trace, "woken.") || !strcmp(trace, "timeout."));
	}
}

static int deep(int n)
{
	volatile char frame[512];

	frame[0] = n;
	frame[511] = n;
	return n ? deep(n - 1) + (frame[0] == frame[511]) : 0;
}

static void deep_fiber(void *arg)
{
	double x = 1.5;

	assert_int_equal(deep(100), 100);
	fiber_yield();
	/* floating point in a fiber: an unaligned stack would crash in here */
	snprintf(trace, sizeof(trace), "%.2f", x * *(int *)arg);
	fiber_yield();
	assert_int_equal(deep(100), 100);
}

static void test_many_fibers(void **state)
{
	/* more than are pooled, twice, so that both fresh and reused stacks are seen */
	for (int round = 0; round < 2; round++) {
		int four = 4;

		for (int i = 0; i < 1000; i++)
			spawn(deep_fiber, &four);
		assert_int_equal(fiber_count(), 1000);
		assert_int_equal(loop_run(loop), 0);
		assert_int_equal(fiber_count(), 0);
		assert_string_equal(trace, "6.00");
	}
}

static void ping(void *arg)
{
	struct fiber **peer = arg;

	for (int i = 0; i < 100000; i++) {
		if (*peer)
			fiber_wake(*peer);
		fiber_park();
	}
	fiber_wake(*peer);
}

static struct fiber *pair[2];
static int ticks;

static void ping0(void *arg) { pair[0] = fiber_self(); ping(&pair[1]); }
static void ping1(void *arg) { pair[1] = fiber_self(); ping(&pair[0]); }
static void tick(struct timer *t) { ticks++; timer_set(t, 0); if (!fiber_count()) timer_cancel(t); }

/* Two fibers that wake each other for ever don't keep the timers from running. */
static void test_no_starvation(void **state)
{
	struct timer t;

	ticks = 0;
	pair[0] = pair[1] = NULL;
	timer_init(&t, tick);
	timer_set(&t, 0);
	spawn(ping0, NULL);
	spawn(ping1, NULL);
	assert_int_equal(loop_run(loop), 0);
	assert_true(ticks > 10);
}

static void overflow(void *arg)
{
	deep(100000);
}

static void must_crash(void (*fn)(void *arg))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		struct rlimit none = { 0, 0 };

		setrlimit(RLIMIT_CORE, &none);
		close(STDERR_FILENO);
		signal(SIGSEGV, SIG_DFL);
		signal(SIGABRT, SIG_DFL);
		fiber_spawn(fn, NULL, "crash");
		loop_run(loop);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	/* the sanitizer exits with a status of its own */
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
}

static void test_guard_page(void **state)
{
	must_crash(overflow);
}

static void test_wait_outside(void **state)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		close(STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		fiber_park();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void out_of_stacks(void *arg)
{
}

static void test_enomem(void **state)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		/* no address space left: an error, not a crash */
		struct rlimit r = { 1 << 20, 1 << 20 };
		int err = 0;

		setrlimit(RLIMIT_AS, &r);
		err = fiber_spawn(out_of_stacks, NULL, "none");
		_exit(err == -12 ? 42 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
}

#define ON_LOOP(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_LOOP(test_order), ON_LOOP(test_park), ON_LOOP(test_waitq),
		ON_LOOP(test_waitq_timeout_race), ON_LOOP(test_many_fibers),
		ON_LOOP(test_no_starvation), ON_LOOP(test_guard_page),
		ON_LOOP(test_wait_outside), ON_LOOP(test_enomem),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
