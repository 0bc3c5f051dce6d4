/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop without io_uring: sockets by epoll, files by a few threads.  For kernels and
 * containers that forbid io_uring; slower, same face.
 *
 * Sockets: a request is tried at once; if it would block, it waits in its descriptor's list,
 * and the descriptor is armed (one-shot) for all that its list waits for.  Requests of one
 * kind on one descriptor are served in order.  As with io_uring, a descriptor must not be
 * closed while requests on it are under way.  A listening socket is made non-blocking, since
 * a connection may vanish between the readiness and the accept; so is one that connects.
 *
 * Files: a queue that up to THREADS_MAX threads take requests from; what they finished comes
 * back by a list under the same lock and the loop's eventfd.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/loop_int.h"

#define THREADS_MAX 8
#define EVENTS_MAX 64

struct file_pool {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct list queue, finished;
	pthread_t threads[THREADS_MAX];
	unsigned nthreads, nidle;
	bool quit;
};

struct backend {
	int epoll_fd;
	bool no_pwait2;		/* a kernel before 5.11 */
	struct list *waiting;	/* by descriptor: requests that wait for readiness */
	size_t nwaiting;	/* size of that table */
	struct file_pool pool;
};

/* ---- files ---- */

static int64_t run_file_op(const struct loop_io *io)
{
	int64_t n;

	do {
		switch (io->op) {
		case LOOP_OP_READ:
			n = preadv2(io->fd, io->iov, io->niov, io->offset, 0);
			break;
		case LOOP_OP_WRITE:
			n = pwritev2(io->fd, io->iov, io->niov, io->offset, io->flags);
			break;
		case LOOP_OP_DATASYNC:
			n = fdatasync(io->fd);
			break;
		default:
			n = fallocate(io->fd, io->flags, io->offset, io->len);
			break;
		}
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static void *pool_thread(void *arg)
{
	struct loop *l = arg;
	struct file_pool *p = &((struct backend *)l->be_data)->pool;
	const uint64_t one = 1;

	pthread_mutex_lock(&p->lock);
	while (!p->quit) {
		struct list *e = list_pop(&p->queue);
		struct loop_io *io;

		if (!e) {
			p->nidle++;
			pthread_cond_wait(&p->work, &p->lock);
			p->nidle--;
			continue;
		}
		pthread_mutex_unlock(&p->lock);
		io = container_of(e, struct loop_io, entry);
		io->result = run_file_op(io);
		pthread_mutex_lock(&p->lock);
		list_add_tail(&p->finished, &io->entry);
		if (atomic_exchange(&l->sleeping, false) &&
		    write(l->event_fd, &one, sizeof(one)) < 0) {
			/* the counter is full: the loop is awake */
		}
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static int pool_add_thread(struct loop *l, struct file_pool *p)
{
	sigset_t all, old;
	int err;

	/* signals belong to the program's own threads */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&p->threads[p->nthreads], NULL, pool_thread, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!err)
		p->nthreads++;
	return -err;
}

static void pool_submit(struct loop *l, struct file_pool *p, struct loop_io *io)
{
	int err = 0;

	pthread_mutex_lock(&p->lock);
	if (!p->nidle && p->nthreads < THREADS_MAX)
		err = pool_add_thread(l, p);
	if (err && !p->nthreads) {
		loop_io_finish_later(l, io, err);
	} else {
		list_add_tail(&p->queue, &io->entry);
		pthread_cond_signal(&p->work);
	}
	pthread_mutex_unlock(&p->lock);
}

static void pool_reap(struct loop *l, struct file_pool *p)
{
	pthread_mutex_lock(&p->lock);
	list_splice_tail(&l->finished, &p->finished);
	pthread_mutex_unlock(&p->lock);
}

static bool pool_any_finished(struct file_pool *p)
{
	bool any;

	pthread_mutex_lock(&p->lock);
	any = !list_empty(&p->finished);
	pthread_mutex_unlock(&p->lock);
	return any;
}

static void pool_cancel(struct loop *l, struct file_pool *p, struct loop_io *io)
{
	struct list *e;

	pthread_mutex_lock(&p->lock);
	list_each(e, &p->queue) {
		if (e == &io->entry) {
			list_del(e);
			loop_io_finish_later(l, io, -ECANCELED);
			break;
		}
	}
	pthread_mutex_unlock(&p->lock);
}

static void pool_done(struct file_pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->quit = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->nthreads; i++)
		pthread_join(p->threads[i], NULL);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->work);
}

/* ---- sockets ---- */

static void set_nonblock(int fd)
{
	int fl = fcntl(fd, F_GETFL);

	if (fl >= 0 && !(fl & O_NONBLOCK))
		fcntl(fd, F_SETFL, fl | O_NONBLOCK);
}

static int64_t try_accept(int fd)
{
	int conn;

	set_nonblock(fd);
	conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	return conn < 0 ? -errno : conn;
}

/* Begins, or asks how far it has come: the kernel takes the same call for both. */
static int64_t try_connect(const struct loop_io *io)
{
	set_nonblock(io->fd);
	if (!connect(io->fd, io->addr, io->len) || errno == EISCONN)
		return 0;
	return errno == EINPROGRESS || errno == EALREADY ? -EAGAIN : -errno;
}

static int64_t try_poll(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };
	int n = poll(&p, 1, 0);

	if (n < 0)
		return -errno;
	if (p.revents & POLLNVAL)
		return -EBADF;
	return n ? p.revents : -EAGAIN;
}

static int64_t try_ready_op(const struct loop_io *io)
{
	int64_t n;

	do {
		switch (io->op) {
		case LOOP_OP_RECV:
			n = recv(io->fd, io->addr, io->len, MSG_DONTWAIT);
			break;
		case LOOP_OP_SENDMSG:
			n = sendmsg(io->fd, io->msg, MSG_DONTWAIT | MSG_NOSIGNAL);
			break;
		case LOOP_OP_ACCEPT:
			return try_accept(io->fd);
		case LOOP_OP_CONNECT:
			return try_connect(io);
		default:
			return try_poll(io->fd, io->flags);
		}
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static uint32_t wanted_events(const struct loop_io *io)
{
	switch (io->op) {
	case LOOP_OP_SENDMSG:
	case LOOP_OP_CONNECT:
		return EPOLLOUT;
	case LOOP_OP_POLL:
		return (uint16_t)io->flags;	/* the bits are poll's */
	default:
		return EPOLLIN;
	}
}

static struct list *waiting_list(struct backend *b, int fd)
{
	size_t n = b->nwaiting ? b->nwaiting : 64;
	struct list *grown;

	if ((size_t)fd < b->nwaiting)
		return &b->waiting[fd];
	while (n <= (size_t)fd)
		n *= 2;
	grown = calloc(n, sizeof(*grown));
	if (!grown)
		return NULL;
	for (size_t i = 0; i < n; i++)
		list_init(&grown[i]);
	/* a list's head is pointed to by its entries, so each moves by hand */
	for (size_t i = 0; i < b->nwaiting; i++)
		list_splice_tail(&grown[i], &b->waiting[i]);
	free(b->waiting);
	b->waiting = grown;
	b->nwaiting = n;
	return &b->waiting[fd];
}

static int arm(struct backend *b, int fd, struct list *waiting)
{
	struct epoll_event ev = { .events = EPOLLONESHOT, .data.fd = fd };
	struct list *e;

	list_each(e, waiting)
		ev.events |= wanted_events(container_of(e, struct loop_io, entry));
	if (!epoll_ctl(b->epoll_fd, EPOLL_CTL_MOD, fd, &ev))
		return 0;
	/* not yet added, or closed and reused since: closing removed it */
	if (errno == ENOENT && !epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, fd, &ev))
		return 0;
	return -errno;
}

/* One attempt for each request that is the first of its kind, as long as they succeed. */
static void serve(struct loop *l, struct backend *b, int fd)
{
	struct list *waiting = &b->waiting[fd], *e, *tmp;
	unsigned blocked = 0;
	int err;

	list_each_safe(e, tmp, waiting) {
		struct loop_io *io = container_of(e, struct loop_io, entry);
		int64_t n;

		if (io->op != LOOP_OP_POLL && (blocked & 1u << io->op))
			continue;
		n = try_ready_op(io);
		if (n == -EAGAIN) {
			blocked |= 1u << io->op;
			continue;
		}
		list_del(e);
		loop_io_finish_later(l, io, n);
	}
	if (list_empty(waiting))
		return;
	err = arm(b, fd, waiting);
	while (err && (e = list_pop(waiting)))
		loop_io_finish_later(l, container_of(e, struct loop_io, entry), err);
}

static bool same_kind_waits(const struct list *waiting, const struct loop_io *io)
{
	const struct list *e;

	if (io->op == LOOP_OP_POLL)
		return false;
	list_each(e, waiting) {
		if (container_of(e, struct loop_io, entry)->op == io->op)
			return true;
	}
	return false;
}

static void ready_submit(struct loop *l, struct backend *b, struct loop_io *io)
{
	struct list *waiting;
	int64_t n;
	int err;

	if (io->fd < 0) {
		loop_io_finish_later(l, io, -EBADF);
		return;
	}
	waiting = waiting_list(b, io->fd);
	if (!waiting) {
		loop_io_finish_later(l, io, -ENOMEM);
		return;
	}
	if (same_kind_waits(waiting, io)) {
		list_add_tail(waiting, &io->entry);
		return;
	}
	n = try_ready_op(io);
	if (n != -EAGAIN) {
		loop_io_finish_later(l, io, n);
		return;
	}
	list_add_tail(waiting, &io->entry);
	err = arm(b, io->fd, waiting);
	if (err) {
		list_del(&io->entry);
		loop_io_finish_later(l, io, err);
	}
}

/* ---- the backend ---- */

static void epoll_submit(struct loop *l, struct loop_io *io)
{
	struct backend *b = l->be_data;

	if (io->op <= LOOP_OP_FALLOCATE)
		pool_submit(l, &b->pool, io);
	else
		ready_submit(l, b, io);
}

static void epoll_cancel(struct loop *l, struct loop_io *io)
{
	struct backend *b = l->be_data;
	struct list *e;

	if (io->op <= LOOP_OP_FALLOCATE) {
		pool_cancel(l, &b->pool, io);
		return;
	}
	if (io->fd < 0 || (size_t)io->fd >= b->nwaiting)
		return;
	list_each(e, &b->waiting[io->fd]) {
		if (e == &io->entry) {
			list_del(e);
			loop_io_finish_later(l, io, -ECANCELED);
			return;		/* an event that nobody waits for is ignored */
		}
	}
}

static int wait_events(struct backend *b, struct epoll_event *events, uint64_t timeout_ns)
{
	struct timespec ts = { timeout_ns / 1000000000, timeout_ns % 1000000000 };
	int n, ms;

	if (!b->no_pwait2) {
		n = epoll_pwait2(b->epoll_fd, events, EVENTS_MAX,
				 timeout_ns == LOOP_FOREVER ? NULL : &ts, NULL);
		if (n >= 0 || errno != ENOSYS)
			return n;
		b->no_pwait2 = true;
	}
	ms = timeout_ns > 3600000000000ull ? 3600000 : (timeout_ns + 999999) / 1000000;
	return epoll_wait(b->epoll_fd, events, EVENTS_MAX, ms);
}

static void epoll_turn(struct loop *l, uint64_t timeout_ns)
{
	struct backend *b = l->be_data;
	struct epoll_event events[EVENTS_MAX];
	uint64_t count;
	int n;

	/* `sleeping` is set by now: what a thread finishes from here on writes the eventfd */
	if (timeout_ns && pool_any_finished(&b->pool))
		timeout_ns = 0;
	n = wait_events(b, events, timeout_ns);
	loop_tick(l);
	for (int i = 0; i < n; i++) {
		if (events[i].data.fd != l->event_fd) {
			serve(l, b, events[i].data.fd);
		} else if (read(l->event_fd, &count, sizeof(count)) < 0) {
			/* this wake-up was taken already */
		}
	}
	pool_reap(l, &b->pool);
}

static int epoll_init(struct loop *l)
{
	struct backend *b = calloc(1, sizeof(*b));
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = l->event_fd };
	int err;

	if (!b)
		return -ENOMEM;
	b->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (b->epoll_fd < 0 || epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, l->event_fd, &ev)) {
		err = -errno;
		if (b->epoll_fd >= 0)
			close(b->epoll_fd);
		free(b);
		return err;
	}
	pthread_mutex_init(&b->pool.lock, NULL);
	pthread_cond_init(&b->pool.work, NULL);
	list_init(&b->pool.queue);
	list_init(&b->pool.finished);
	l->be_data = b;
	return 0;
}

static void epoll_done(struct loop *l)
{
	struct backend *b = l->be_data;

	pool_done(&b->pool);
	close(b->epoll_fd);
	free(b->waiting);
	free(b);
}

const struct loop_backend loop_epoll = {
	.init = epoll_init,
	.done = epoll_done,
	.submit = epoll_submit,
	.cancel = epoll_cancel,
	.turn = epoll_turn,
};
