/* SPDX-License-Identifier: Apache-2.0 */
/* What loop.c and its backends share. */
#ifndef BASE_LOOP_INT_H
#define BASE_LOOP_INT_H

#include "base/loop.h"

#include <stdatomic.h>

#define LOOP_FOREVER UINT64_MAX

enum loop_op {
	LOOP_OP_READ, LOOP_OP_WRITE, LOOP_OP_DATASYNC, LOOP_OP_FALLOCATE,	/* files */
	LOOP_OP_RECV, LOOP_OP_SENDMSG, LOOP_OP_ACCEPT, LOOP_OP_POLL,		/* readiness */
	LOOP_OP_CONNECT,
};

struct loop_backend {
	int (*init)(struct loop *l);
	void (*done)(struct loop *l);
	/* Takes IO, whose fields are filled in.  Must not call io->done() from here. */
	void (*submit)(struct loop *l, struct loop_io *io);
	void (*cancel)(struct loop *l, struct loop_io *io);
	/*
	 * Submits what was gathered, waits at most timeout_ns for a completion (0: doesn't
	 * wait; LOOP_FOREVER), calls loop_tick(), then completes all that is complete.
	 */
	void (*turn)(struct loop *l, uint64_t timeout_ns);
};

extern const struct loop_backend loop_uring, loop_epoll, loop_sim;

struct heap_entry {
	uint64_t due_ns, seq;
	struct timer *timer;
};

struct loop {
	enum loop_kind kind;
	const struct loop_backend *be;
	void *be_data;			/* the backend's own */

	uint64_t now_ns, realtime_ns;
	bool realtime_valid;		/* realtime_ns belongs to this turn */
	int64_t jumped_ns;		/* simulated: the wall clock was set by so much */
	bool dead;			/* simulated: nothing can ever happen again */

	struct heap_entry *heap;	/* from index 1 */
	size_t nheap;
	uint64_t timer_seq;

	struct list deferred;
	struct list finished;		/* loop_io to complete at the next turn, result is set */

	uint64_t spin_ns, gap_ewma_ns;

	/* touched by other threads */
	_Atomic(struct loop_msg *) mailbox;	/* newest first */
	atomic_bool stop, sleeping;
	int event_fd;			/* wakes a sleeping loop; -1 on a simulated one */
	unsigned long owner;		/* pthread_self() */
};

/* Reads the clock; once a turn. */
void loop_tick(struct loop *l);
uint64_t loop_clock_ns(void);

/* Hands IO back to its owner. */
void loop_io_finish(struct loop_io *io, int64_t result);
/* The same from within submit or cancel: at the next turn. */
void loop_io_finish_later(struct loop *l, struct loop_io *io, int64_t result);

/* True while spinning is worth its CPU; then loop_spin_account() learns from each wait. */
bool loop_spin_wanted(const struct loop *l);
void loop_spin_account(struct loop *l, uint64_t waited_ns);

#endif
