/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: one per thread, on io_uring; on epoll and a few threads where the kernel
 * forbids io_uring; or simulated (virtual time, no kernel) under test.  It runs the fibers
 * of its thread: a turn runs every ready fiber, then the deferred calls, then submits what
 * they asked for and takes in what has completed.
 *
 * Everything here is called on the loop's own thread, except loop_post() and loop_stop().
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "base/list.h"

enum loop_kind {
	LOOP_AUTO,	/* io_uring, else epoll */
	LOOP_URING,
	LOOP_EPOLL,
	LOOP_SIM,	/* time jumps to the next timer when nothing is ready; no I/O but timers */
};

struct loop;

/* Makes the calling thread's loop.  -EEXIST if it has one; -ENOSYS, -EPERM, -ENOMEM. */
int loop_new(enum loop_kind kind, struct loop **ret_loop);
/* Only after loop_run() has returned and no fiber is left. */
void loop_free(struct loop *l);
struct loop *loop_self(void);
enum loop_kind loop_kind(const struct loop *l);

/* Runs until loop_stop() was called, or, on a simulated loop, until also nothing is left
 * that could ever happen (returns -EDEADLK if parked fibers remain then, else 0). */
int loop_run(struct loop *l);
void loop_stop(struct loop *l);		/* any thread; async-signal-safe */

/* Monotonic and wall-clock nanoseconds; both virtual on a simulated loop.  Cached once a
 * turn, so a long computation sees them stand still. */
uint64_t loop_now_ns(void);
uint64_t loop_realtime_ns(void);
/* A simulated loop's wall clock is set by so much, forwards or back. */
void loop_sim_jump(int64_t ns);

void loop_sleep_ns(uint64_t ns);	/* the calling fiber waits */

/* A timer is embedded in its owner; fn runs on the loop, outside of fibers, and must not wait. */
struct timer {
	uint64_t due_ns;
	void (*fn)(struct timer *t);
	size_t heap_index;		/* loop's; 0 means not set */
};
void timer_init(struct timer *t, void (*fn)(struct timer *t));
void timer_set(struct timer *t, uint64_t after_ns);	/* (re)arms */
void timer_cancel(struct timer *t);

/* A call at the end of this turn, after all ready fibers ran and before the loop sleeps
 * (a transport sends all its replies there at once).  Adding one twice in a turn is one call. */
struct deferred {
	void (*fn)(struct deferred *d);
	struct list entry;
	bool queued;
};
void deferred_init(struct deferred *d, void (*fn)(struct deferred *d));
void loop_defer(struct deferred *d);

/*
 * One asynchronous request.  The caller owns it and all it points to until done() is
 * called (on the loop, outside of fibers; it must not wait).  result is bytes or -errno.
 */
struct loop_io {
	void (*done)(struct loop_io *io);	/* NULL: somebody waits with loop_io_wait() */
	int64_t result;
	bool completed;
	struct fiber *waiter;
	/* the backend's: */
	uint8_t op;
	int fd, flags;
	const struct iovec *iov;
	int niov;
	uint64_t offset;
	struct msghdr *msg;
	void *addr;
	size_t len;
	struct list entry;
};
void loop_preadv(struct loop_io *io, int fd, const struct iovec *iov, int niov, uint64_t offset);
/* dsync: durable when completed (RWF_DSYNC) */
void loop_pwritev(struct loop_io *io, int fd, const struct iovec *iov, int niov, uint64_t offset,
		  bool dsync);
void loop_fdatasync(struct loop_io *io, int fd);
void loop_fallocate(struct loop_io *io, int fd, int mode, uint64_t offset, uint64_t len);
void loop_recv(struct loop_io *io, int fd, void *buf, size_t len);
void loop_sendmsg(struct loop_io *io, int fd, struct msghdr *msg);
void loop_accept(struct loop_io *io, int fd);		/* result: the new descriptor */
/* FD is a stream socket; ADDR must stay until done.  result: 0. */
void loop_connect(struct loop_io *io, int fd, const struct sockaddr *addr, socklen_t len);
void loop_poll(struct loop_io *io, int fd, short events);
/* Asks the kernel to give up on IO; done() is still called (often with -ECANCELED). */
void loop_io_cancel(struct loop_io *io);
int64_t loop_io_wait(struct loop_io *io);		/* the calling fiber waits; returns result */

/* Hands a message to another thread's loop; fn runs there, outside of fibers.  Lock-free for
 * the receiver; the message belongs to the receiver from then on. */
struct loop_msg {
	void (*fn)(struct loop_msg *m);
	struct loop_msg *next;
};
void loop_post(struct loop *l, struct loop_msg *m);	/* any thread */

/* Busy-poll for completions up to this long before sleeping, while requests arrive closely
 * (0: never, the default).  See design notes in loop.c. */
void loop_set_spin_ns(struct loop *l, uint64_t spin_ns);

#endif
