/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: what is the same on every backend.
 *
 * One turn:   ready fibers -> deferred calls -> backend: submit, wait, complete
 *             -> finished -> mailbox -> timers -> next turn
 *
 * The wait is 0 while anything is ready; else until the next timer.  So all that the fibers
 * of one turn ask for goes to the kernel in one system call, which also takes in what has
 * completed.
 *
 * Sleeping: the loop sets `sleeping`, then looks at the mailbox and `stop` once more, then
 * waits.  A poster pushes first, then clears `sleeping`, and writes the eventfd only if it was
 * set.  Both sides are sequentially consistent, so either the loop sees the message or the
 * poster sees the sleeper; a busy loop costs its posters no system call.
 *
 * Spinning: polling the completion queue saves the wake-up from a sleep (20 us and more)
 * where the next completion is near, and burns a core where it is not.  `gap_ewma_ns` is the
 * moving average of how long the loop had to wait; it spins only while that is below
 * spin_ns.  Waits that ended in a sleep count too, so a quiet loop stops spinning after a few
 * long waits, and a busy one starts again after a few short ones.
 *
 * Timers: a binary heap from index 1, ordered by (due, order of arming).  Its memory is
 * reserved once as address space and touched as it fills: arming a timer cannot fail.
 */
#include "base/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/fiber.h"
#include "base/fiber_int.h"
#include "base/loop_int.h"

/* Valgrind (3.19) runs one thread at a time and does not let the others run while one waits in
 * io_uring_enter(). */
#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef RUNNING_ON_VALGRIND
#define RUNNING_ON_VALGRIND 0
#endif

#define TIMERS_MAX (1u << 20)
#define HEAP_BYTES ((TIMERS_MAX + 1) * sizeof(struct heap_entry))

static __thread struct loop *self;

static void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "loop: %s\n", what);
	abort();
}

static struct loop *must_self(void)
{
	if (!self)
		die("this thread has no loop");
	return self;
}

/* ---- making and freeing ---- */

static int loop_init(struct loop *l, const struct loop_backend *be, enum loop_kind kind)
{
	int err;

	*l = (struct loop){ .kind = kind, .be = be, .event_fd = -1 };
	list_init(&l->deferred);
	list_init(&l->finished);
	l->owner = (unsigned long)pthread_self();
	l->heap = mmap(NULL, HEAP_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (l->heap == MAP_FAILED)
		return -ENOMEM;
	if (kind != LOOP_SIM) {
		l->event_fd = eventfd(0, EFD_CLOEXEC | (kind == LOOP_EPOLL ? EFD_NONBLOCK : 0));
		if (l->event_fd < 0) {
			err = -errno;
			munmap(l->heap, HEAP_BYTES);
			return err;
		}
	}
	err = be->init(l);
	if (err) {
		if (l->event_fd >= 0)
			close(l->event_fd);
		munmap(l->heap, HEAP_BYTES);
		return err;
	}
	loop_tick(l);
	return 0;
}

int loop_new(enum loop_kind kind, struct loop **ret_loop)
{
	struct loop *l;
	int err;

	if (self)
		return -EEXIST;
	if (kind == LOOP_AUTO && RUNNING_ON_VALGRIND)
		kind = LOOP_EPOLL;
	l = malloc(sizeof(*l));
	if (!l)
		return -ENOMEM;
	switch (kind) {
	case LOOP_AUTO:
		err = loop_init(l, &loop_uring, LOOP_URING);
		/* forbidden by sysctl or seccomp, or not built into the kernel */
		if (err == -EPERM || err == -ENOSYS || err == -EACCES || err == -EINVAL)
			err = loop_init(l, &loop_epoll, LOOP_EPOLL);
		break;
	case LOOP_URING:
		err = loop_init(l, &loop_uring, kind);
		break;
	case LOOP_EPOLL:
		err = loop_init(l, &loop_epoll, kind);
		break;
	case LOOP_SIM:
		err = loop_init(l, &loop_sim, kind);
		break;
	default:
		err = -EINVAL;
	}
	if (err) {
		free(l);
		return err;
	}
	self = l;
	*ret_loop = l;
	return 0;
}

void loop_free(struct loop *l)
{
	assert(l == self);
	if (fiber_count())
		die("freed while fibers are left");
	l->be->done(l);
	if (l->event_fd >= 0)
		close(l->event_fd);
	munmap(l->heap, HEAP_BYTES);
	fiber_pool_drain();
	free(l);
	self = NULL;
}

struct loop *loop_self(void)
{
	return self;
}

enum loop_kind loop_kind(const struct loop *l)
{
	return l->kind;
}

/* ---- time ---- */

uint64_t loop_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

void loop_tick(struct loop *l)
{
	if (l->kind == LOOP_SIM)
		return;		/* its clock is moved by its turns alone */
	l->now_ns = loop_clock_ns();
	l->realtime_valid = false;
}

uint64_t loop_now_ns(void)
{
	return must_self()->now_ns;
}

/* Simulated wall-clock time starts at a fixed moment, in 2020, and runs with the virtual clock. */
#define SIM_REALTIME_NS 1577836800000000000ull

uint64_t loop_realtime_ns(void)
{
	struct loop *l = must_self();
	struct timespec ts;

	if (l->kind == LOOP_SIM)
		return SIM_REALTIME_NS + l->now_ns + l->jumped_ns;
	if (!l->realtime_valid) {
		clock_gettime(CLOCK_REALTIME, &ts);
		l->realtime_ns = ts.tv_sec * 1000000000ull + ts.tv_nsec;
		l->realtime_valid = true;
	}
	return l->realtime_ns;
}

void loop_sim_jump(int64_t ns)
{
	struct loop *l = must_self();

	assert(l->kind == LOOP_SIM);
	l->jumped_ns += ns;
}

/* ---- timers ---- */

static bool heap_before(const struct heap_entry *a, const struct heap_entry *b)
{
	return a->due_ns < b->due_ns || (a->due_ns == b->due_ns && a->seq < b->seq);
}

static void heap_put(struct loop *l, size_t i, struct heap_entry e)
{
	l->heap[i] = e;
	e.timer->heap_index = i;
}

/* Puts E at I, or where it belongs above I. */
static void heap_up(struct loop *l, size_t i, struct heap_entry e)
{
	while (i > 1 && heap_before(&e, &l->heap[i / 2])) {
		heap_put(l, i, l->heap[i / 2]);
		i /= 2;
	}
	heap_put(l, i, e);
}

/* Puts E at I, or where it belongs below I. */
static void heap_down(struct loop *l, size_t i, struct heap_entry e)
{
	for (;;) {
		size_t child = i * 2;

		if (child > l->nheap)
			break;
		if (child < l->nheap && heap_before(&l->heap[child + 1], &l->heap[child]))
			child++;
		if (!heap_before(&l->heap[child], &e))
			break;
		heap_put(l, i, l->heap[child]);
		i = child;
	}
	heap_put(l, i, e);
}

static void heap_remove(struct loop *l, size_t i)
{
	struct heap_entry last;

	l->heap[i].timer->heap_index = 0;
	last = l->heap[l->nheap--];
	if (i > l->nheap)
		return;
	if (i > 1 && heap_before(&last, &l->heap[i / 2]))
		heap_up(l, i, last);
	else
		heap_down(l, i, last);
}

void timer_init(struct timer *t, void (*fn)(struct timer *t))
{
	*t = (struct timer){ .fn = fn };
}

void timer_set(struct timer *t, uint64_t after_ns)
{
	struct loop *l = must_self();
	struct heap_entry e = { .seq = l->timer_seq++, .timer = t };

	timer_cancel(t);
	if (l->nheap == TIMERS_MAX)
		die("too many timers");
	t->due_ns = after_ns > UINT64_MAX - 1 - l->now_ns ? UINT64_MAX - 1 : l->now_ns + after_ns;
	e.due_ns = t->due_ns;
	heap_up(l, ++l->nheap, e);
}

void timer_cancel(struct timer *t)
{
	if (t->heap_index)
		heap_remove(must_self(), t->heap_index);
}

static void run_timers(struct loop *l)
{
	/* A timer that arms itself again with 0 waits for the next turn. */
	uint64_t seq = l->timer_seq;

	while (l->nheap && l->heap[1].due_ns <= l->now_ns && l->heap[1].seq < seq) {
		struct timer *t = l->heap[1].timer;

		heap_remove(l, 1);
		t->fn(t);
	}
}

struct sleeper {
	struct timer timer;
	struct fiber *fiber;
	bool due;
};

static void sleeper_due(struct timer *t)
{
	struct sleeper *s = container_of(t, struct sleeper, timer);

	s->due = true;
	fiber_wake(s->fiber);
}

void loop_sleep_ns(uint64_t ns)
{
	struct sleeper s = { .fiber = fiber_self() };

	timer_init(&s.timer, sleeper_due);
	timer_set(&s.timer, ns);
	while (!s.due)
		fiber_park();
}

/* ---- deferred calls ---- */

void deferred_init(struct deferred *d, void (*fn)(struct deferred *d))
{
	*d = (struct deferred){ .fn = fn };
	list_init(&d->entry);
}

void loop_defer(struct deferred *d)
{
	if (d->queued)
		return;
	d->queued = true;
	list_add_tail(&must_self()->deferred, &d->entry);
}

static void run_deferred(struct loop *l)
{
	struct list now, *e;

	/* What is deferred from here on belongs to the next turn. */
	list_init(&now);
	list_splice_tail(&now, &l->deferred);
	while ((e = list_pop(&now))) {
		struct deferred *d = container_of(e, struct deferred, entry);

		d->queued = false;
		d->fn(d);
	}
}

/* ---- requests ---- */

static void io_start(struct loop_io *io, enum loop_op op, int fd)
{
	io->result = 0;
	io->completed = false;
	io->waiter = NULL;
	io->op = op;
	io->fd = fd;
	io->flags = 0;
	list_init(&io->entry);
}

static void io_submit(struct loop_io *io)
{
	struct loop *l = must_self();

	l->be->submit(l, io);
}

void loop_preadv(struct loop_io *io, int fd, const struct iovec *iov, int niov, uint64_t offset)
{
	io_start(io, LOOP_OP_READ, fd);
	io->iov = iov;
	io->niov = niov;
	io->offset = offset;
	io_submit(io);
}

void loop_pwritev(struct loop_io *io, int fd, const struct iovec *iov, int niov, uint64_t offset,
		  bool dsync)
{
	io_start(io, LOOP_OP_WRITE, fd);
	io->iov = iov;
	io->niov = niov;
	io->offset = offset;
	io->flags = dsync ? RWF_DSYNC : 0;
	io_submit(io);
}

void loop_fdatasync(struct loop_io *io, int fd)
{
	io_start(io, LOOP_OP_DATASYNC, fd);
	io_submit(io);
}

void loop_fallocate(struct loop_io *io, int fd, int mode, uint64_t offset, uint64_t len)
{
	io_start(io, LOOP_OP_FALLOCATE, fd);
	io->flags = mode;
	io->offset = offset;
	io->len = len;
	io_submit(io);
}

void loop_recv(struct loop_io *io, int fd, void *buf, size_t len)
{
	io_start(io, LOOP_OP_RECV, fd);
	io->addr = buf;
	io->len = len > 1u << 30 ? 1u << 30 : len;	/* the kernel's field has 32 bits */
	io_submit(io);
}

void loop_sendmsg(struct loop_io *io, int fd, struct msghdr *msg)
{
	io_start(io, LOOP_OP_SENDMSG, fd);
	io->msg = msg;
	io_submit(io);
}

void loop_accept(struct loop_io *io, int fd)
{
	io_start(io, LOOP_OP_ACCEPT, fd);
	io_submit(io);
}

void loop_connect(struct loop_io *io, int fd, const struct sockaddr *addr, socklen_t len)
{
	io_start(io, LOOP_OP_CONNECT, fd);
	io->addr = (void *)addr;
	io->len = len;
	io_submit(io);
}

void loop_poll(struct loop_io *io, int fd, short events)
{
	io_start(io, LOOP_OP_POLL, fd);
	io->flags = events;
	io_submit(io);
}

void loop_io_cancel(struct loop_io *io)
{
	struct loop *l = must_self();

	if (!io->completed)
		l->be->cancel(l, io);
}

int64_t loop_io_wait(struct loop_io *io)
{
	io->waiter = fiber_self();
	while (!io->completed)
		fiber_park();
	return io->result;
}

void loop_io_finish(struct loop_io *io, int64_t result)
{
	io->result = result;
	io->completed = true;
	if (io->done)
		io->done(io);	/* IO may be gone now */
	else if (io->waiter)
		fiber_wake(io->waiter);
}

void loop_io_finish_later(struct loop *l, struct loop_io *io, int64_t result)
{
	io->result = result;
	list_add_tail(&l->finished, &io->entry);
}

static void run_finished(struct loop *l)
{
	struct list now, *e;

	list_init(&now);
	list_splice_tail(&now, &l->finished);
	while ((e = list_pop(&now))) {
		struct loop_io *io = container_of(e, struct loop_io, entry);

		loop_io_finish(io, io->result);
	}
}

/* ---- messages from other threads ---- */

static void wake_sleeper(struct loop *l)
{
	uint64_t one = 1;

	if (!atomic_exchange(&l->sleeping, false) || l->event_fd < 0)
		return;
	if (write(l->event_fd, &one, sizeof(one)) < 0) {
		/* only when the counter is full, and then the loop is awake */
	}
}

void loop_post(struct loop *l, struct loop_msg *m)
{
	struct loop_msg *head = atomic_load_explicit(&l->mailbox, memory_order_relaxed);

	if (l->kind == LOOP_SIM && l->owner != (unsigned long)pthread_self())
		die("a message from another thread would make a simulated run unrepeatable");
	do
		m->next = head;
	while (!atomic_compare_exchange_weak(&l->mailbox, &head, m));
	wake_sleeper(l);
}

void loop_stop(struct loop *l)
{
	int saved_errno = errno;

	atomic_store(&l->stop, true);
	wake_sleeper(l);
	errno = saved_errno;
}

static void run_mailbox(struct loop *l)
{
	struct loop_msg *m, *next, *oldest = NULL;

	if (!atomic_load_explicit(&l->mailbox, memory_order_relaxed))
		return;
	for (m = atomic_exchange(&l->mailbox, NULL); m; m = next) {
		next = m->next;
		m->next = oldest;
		oldest = m;
	}
	for (m = oldest; m; m = next) {
		next = m->next;
		m->fn(m);
	}
}

/* ---- turns ---- */

void loop_set_spin_ns(struct loop *l, uint64_t spin_ns)
{
	l->spin_ns = spin_ns;
	l->gap_ewma_ns = 0;
}

bool loop_spin_wanted(const struct loop *l)
{
	return l->spin_ns && l->gap_ewma_ns < l->spin_ns;
}

void loop_spin_account(struct loop *l, uint64_t waited_ns)
{
	if (!l->spin_ns)
		return;
	if (waited_ns > 8 * l->spin_ns)
		waited_ns = 8 * l->spin_ns;
	l->gap_ewma_ns = (7 * l->gap_ewma_ns + waited_ns) / 8;
}

static uint64_t next_wait_ns(const struct loop *l)
{
	if (fiber_any_ready() || !list_empty(&l->deferred) || !list_empty(&l->finished))
		return 0;
	if (!l->nheap)
		return LOOP_FOREVER;
	return l->heap[1].due_ns <= l->now_ns ? 0 : l->heap[1].due_ns - l->now_ns;
}

static void turn(struct loop *l)
{
	uint64_t wait_ns;

	fiber_run_ready();
	run_deferred(l);
	wait_ns = next_wait_ns(l);
	if (wait_ns) {
		atomic_store(&l->sleeping, true);
		if (atomic_load(&l->mailbox) || atomic_load(&l->stop))
			wait_ns = 0;
	}
	l->be->turn(l, wait_ns);
	atomic_store_explicit(&l->sleeping, false, memory_order_relaxed);
	run_finished(l);
	run_mailbox(l);
	run_timers(l);
}

int loop_run(struct loop *l)
{
	assert(l == self && !fiber_self());
	l->dead = false;
	loop_tick(l);
	while (!atomic_load_explicit(&l->stop, memory_order_relaxed) && !l->dead)
		turn(l);
	atomic_store(&l->stop, false);
	return l->dead && fiber_count() ? -EDEADLK : 0;
}
