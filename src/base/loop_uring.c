/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop on io_uring: requests become submission entries at once, and go to the kernel in
 * one system call a turn.
 *
 * Invariants:
 * - A request is in exactly one place: in `backlog` (no entry was free), in the ring or the
 *   kernel, or finished.  The backlog keeps the order.
 * - user_data is the struct loop_io, or 0 for what nobody waits for (cancellations).
 * - io->entry of a request in the ring is linked only into `cancels`, and only when its
 *   cancellation found no free entry; completing unlinks it.  Every other cancellation is in
 *   the ring before its request can be completed, and so cannot hit a later request at the
 *   same address.
 */
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/loop_int.h"

#define SQ_ENTRIES 512
#define CQ_ENTRIES 4096

/* Set in io->op: an O_NONBLOCK descriptor said -EAGAIN, so a poll goes first. */
#define OP_POLL_FIRST 0x80
/* Set in io->op: not to be tried again. */
#define OP_CANCELLED 0x40

struct uring {
	struct io_uring ring;
	struct list backlog, cancels;
	struct loop_io wakeup;		/* reads the eventfd */
	uint64_t wakeup_count;
	struct iovec wakeup_iov;
};

static int ring_init(struct io_uring *ring)
{
	static const unsigned tries[] = {
		/* 6.1: completions are worked out in our own waits only */
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
		/* 5.19: no interrupts to take in completions */
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
		0,
	};
	int err = -EINVAL;

	for (size_t i = 0; i < sizeof(tries) / sizeof(*tries) && err == -EINVAL; i++) {
		struct io_uring_params params = {
			.flags = tries[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
			.cq_entries = CQ_ENTRIES,
		};

		err = io_uring_queue_init_params(SQ_ENTRIES, ring, &params);
		if (err)
			continue;
		/* 5.5 to 5.11: entries are stable once submitted, nothing completed is lost,
		 * waits have a timeout of their own */
		if ((params.features & IORING_FEAT_NODROP) &&
		    (params.features & IORING_FEAT_SUBMIT_STABLE) &&
		    (params.features & IORING_FEAT_EXT_ARG))
			return 0;
		io_uring_queue_exit(ring);
		return -ENOSYS;
	}
	return err;
}

static void prep(struct io_uring_sqe *sqe, struct loop_io *io)
{
	switch (io->op) {
	case LOOP_OP_READ:
		/* one buffer spares the kernel the copy of the vector */
		if (io->niov == 1 && io->iov->iov_len <= 1u << 30)
			io_uring_prep_read(sqe, io->fd, io->iov->iov_base, io->iov->iov_len,
					   io->offset);
		else
			io_uring_prep_readv(sqe, io->fd, io->iov, io->niov, io->offset);
		break;
	case LOOP_OP_WRITE:
		if (io->niov == 1 && io->iov->iov_len <= 1u << 30)
			io_uring_prep_write(sqe, io->fd, io->iov->iov_base, io->iov->iov_len,
					    io->offset);
		else
			io_uring_prep_writev(sqe, io->fd, io->iov, io->niov, io->offset);
		sqe->rw_flags = io->flags;
		break;
	case LOOP_OP_DATASYNC:
		io_uring_prep_fsync(sqe, io->fd, IORING_FSYNC_DATASYNC);
		break;
	case LOOP_OP_FALLOCATE:
		io_uring_prep_fallocate(sqe, io->fd, io->flags, io->offset, io->len);
		break;
	case LOOP_OP_RECV:
		io_uring_prep_recv(sqe, io->fd, io->addr, io->len, 0);
		break;
	case LOOP_OP_SENDMSG:
		io_uring_prep_sendmsg(sqe, io->fd, io->msg, MSG_NOSIGNAL);
		break;
	case LOOP_OP_ACCEPT:
		io_uring_prep_accept(sqe, io->fd, NULL, NULL, SOCK_CLOEXEC);
		break;
	case LOOP_OP_CONNECT:
		io_uring_prep_connect(sqe, io->fd, io->addr, io->len);
		break;
	case LOOP_OP_POLL:
		io_uring_prep_poll_add(sqe, io->fd, io->flags);
		break;
	case LOOP_OP_RECV | OP_POLL_FIRST:
	case LOOP_OP_ACCEPT | OP_POLL_FIRST:
		io_uring_prep_poll_add(sqe, io->fd, POLLIN);
		break;
	case LOOP_OP_SENDMSG | OP_POLL_FIRST:
		io_uring_prep_poll_add(sqe, io->fd, POLLOUT);
		break;
	default:
		assert(!"no such request");
	}
	io_uring_sqe_set_data(sqe, io);
}

/* A free submission entry, submitting to make room if need be; NULL if that gives none. */
static struct io_uring_sqe *get_sqe(struct uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (sqe)
		return sqe;
	io_uring_submit(&u->ring);
	return io_uring_get_sqe(&u->ring);
}

static bool try_submit(struct uring *u, struct loop_io *io)
{
	struct io_uring_sqe *sqe = get_sqe(u);

	if (!sqe)
		return false;
	prep(sqe, io);
	return true;
}

static void uring_submit(struct loop *l, struct loop_io *io)
{
	struct uring *u = l->be_data;

	if (!list_empty(&u->backlog) || !try_submit(u, io))
		list_add_tail(&u->backlog, &io->entry);
}

static bool try_cancel(struct uring *u, struct loop_io *io)
{
	struct io_uring_sqe *sqe = get_sqe(u);

	if (!sqe)
		return false;
	io_uring_prep_cancel(sqe, io, 0);
	io_uring_sqe_set_data(sqe, NULL);
	return true;
}

static bool list_has(const struct list *l, const struct list *entry)
{
	const struct list *e;

	list_each(e, l) {
		if (e == entry)
			return true;
	}
	return false;
}

static void uring_cancel(struct loop *l, struct loop_io *io)
{
	struct uring *u = l->be_data;

	if (!list_empty(&io->entry)) {
		/* the backlog, or already waiting for its cancellation or its end */
		if (list_has(&u->backlog, &io->entry)) {
			list_del(&io->entry);
			loop_io_finish_later(l, io, -ECANCELED);
		}
		return;
	}
	/* The poll of a retried request may have completed already: then the ring finds
	 * nothing to cancel, and retried() must end it. */
	io->op |= OP_CANCELLED;
	if (!try_cancel(u, io))
		list_add_tail(&u->cancels, &io->entry);
}

/* Puts what found no room into the ring, as far as there is room now. */
static bool refill_once(struct uring *u)
{
	while (!list_empty(&u->cancels)) {
		struct loop_io *io = container_of(u->cancels.next, struct loop_io, entry);

		if (!try_cancel(u, io))
			return false;
		list_del(&io->entry);
	}
	while (!list_empty(&u->backlog)) {
		struct loop_io *io = container_of(u->backlog.next, struct loop_io, entry);

		if (!try_submit(u, io))
			return false;
		list_del(&io->entry);
	}
	return true;
}

/* The kernel took nothing for now (no memory, or completions to be collected first): this
 * long until it is asked again. */
#define REFILL_RETRY_NS 1000000

static uint64_t refill(struct uring *u, uint64_t timeout_ns)
{
	if (refill_once(u) || timeout_ns < REFILL_RETRY_NS)
		return timeout_ns;
	return REFILL_RETRY_NS;
}

/* True: not an end, the request goes on.  Else *res is its result. */
static bool retried(struct loop *l, struct loop_io *io, int *res)
{
	bool polled = io->op & OP_POLL_FIRST, cancelled = io->op & OP_CANCELLED;

	io->op &= ~(OP_POLL_FIRST | OP_CANCELLED);
	if (polled ? *res < 0 : *res != -EAGAIN)
		return false;
	if (!polled && io->op != LOOP_OP_RECV && io->op != LOOP_OP_SENDMSG &&
	    io->op != LOOP_OP_ACCEPT)
		return false;
	if (cancelled) {
		*res = -ECANCELED;
		return false;
	}
	if (!polled)
		io->op |= OP_POLL_FIRST;
	uring_submit(l, io);
	return true;
}

static void complete(struct loop *l, struct io_uring_cqe *cqe)
{
	struct loop_io *io = io_uring_cqe_get_data(cqe);
	int res = cqe->res;

	if (!io)
		return;
	list_del(&io->entry);	/* of `cancels`, if it is there */
	if (!retried(l, io, &res))
		loop_io_finish(io, res);
}

static void reap(struct loop *l, struct uring *u)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe(&u->ring, head, cqe) {
		complete(l, cqe);
		n++;
	}
	io_uring_cq_advance(&u->ring, n);
}

/* The kernel has completions that it will only hand out when it is entered. */
static bool events_pending(const struct uring *u)
{
	return IO_URING_READ_ONCE(*u->ring.sq.kflags) &
	       (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN);
}

static bool completions_ready(const struct uring *u)
{
	return io_uring_cq_ready(&u->ring) || events_pending(u);
}

static void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* True: something completed within the spin. */
static bool spin(struct loop *l, struct uring *u, uint64_t start_ns, uint64_t timeout_ns)
{
	uint64_t limit_ns = l->spin_ns < timeout_ns ? l->spin_ns : timeout_ns;

	do {
		for (int i = 0; i < 32; i++) {
			if (completions_ready(u))
				return true;
			cpu_relax();
		}
	} while (loop_clock_ns() - start_ns < limit_ns);
	return false;
}

static void wait_for_one(struct uring *u, uint64_t timeout_ns)
{
	struct io_uring_cqe *cqe;
	struct __kernel_timespec ts = {
		.tv_sec = timeout_ns / 1000000000,
		.tv_nsec = timeout_ns % 1000000000,
	};

	/* Errors (-ETIME, -EINTR, -EBUSY) leave what was not done to the next turn. */
	if (timeout_ns == LOOP_FOREVER)
		io_uring_submit_and_wait(&u->ring, 1);
	else
		io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &ts, NULL);
}

static void submit_no_wait(struct uring *u)
{
	if (io_uring_sq_ready(&u->ring))
		io_uring_submit_and_get_events(&u->ring);
	else if (events_pending(u))
		io_uring_get_events(&u->ring);
}

static void uring_turn(struct loop *l, uint64_t timeout_ns)
{
	struct uring *u = l->be_data;
	uint64_t start_ns;

	timeout_ns = refill(u, timeout_ns);
	if (!timeout_ns || io_uring_cq_ready(&u->ring)) {
		submit_no_wait(u);
	} else if (loop_spin_wanted(l)) {
		start_ns = loop_clock_ns();
		submit_no_wait(u);
		if (!spin(l, u, start_ns, timeout_ns))
			wait_for_one(u, timeout_ns);
		else
			submit_no_wait(u);
		loop_spin_account(l, loop_clock_ns() - start_ns);
	} else {
		start_ns = l->spin_ns ? loop_clock_ns() : 0;
		wait_for_one(u, timeout_ns);
		loop_spin_account(l, start_ns ? loop_clock_ns() - start_ns : 0);
	}
	loop_tick(l);
	reap(l, u);
}

static void wakeup_arm(struct loop *l, struct uring *u)
{
	loop_preadv(&u->wakeup, l->event_fd, &u->wakeup_iov, 1, 0);
}

static void wakeup_done(struct loop_io *io)
{
	struct loop *l = loop_self();

	wakeup_arm(l, l->be_data);
}

static int uring_init(struct loop *l)
{
	struct uring *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	err = ring_init(&u->ring);
	if (err) {
		free(u);
		return err;
	}
	io_uring_register_ring_fd(&u->ring);	/* a little faster where the kernel has it */
	list_init(&u->backlog);
	list_init(&u->cancels);
	l->be_data = u;

	u->wakeup.done = wakeup_done;
	u->wakeup_iov = (struct iovec){ &u->wakeup_count, sizeof(u->wakeup_count) };
	u->wakeup.op = LOOP_OP_READ;
	u->wakeup.fd = l->event_fd;
	u->wakeup.iov = &u->wakeup_iov;
	u->wakeup.niov = 1;
	list_init(&u->wakeup.entry);
	uring_submit(l, &u->wakeup);	/* the thread's loop is not set yet */
	return 0;
}

static void uring_done(struct loop *l)
{
	struct uring *u = l->be_data;

	/* The kernel may still write to what requests point to: their owners waited for them
	 * all, but for the eventfd's read, which must be ended before its memory is freed. */
	struct io_uring_sync_cancel_reg reg = {
		.flags = IORING_ASYNC_CANCEL_ANY,
		.timeout = { .tv_sec = 5 },
	};

	io_uring_submit(&u->ring);
	io_uring_register_sync_cancel(&u->ring, &reg);
	io_uring_queue_exit(&u->ring);
	free(u);
}

const struct loop_backend loop_uring = {
	.init = uring_init,
	.done = uring_done,
	.submit = uring_submit,
	.cancel = uring_cancel,
	.turn = uring_turn,
};
