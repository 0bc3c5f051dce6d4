/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fibers: functions that wait without blocking their thread.
 *
 * A fiber runs until it parks, yields or returns; nothing preempts it.  So code between two
 * waits is atomic towards every other fiber of the same thread.  Each thread that runs a
 * loop (loop.h) has its own fibers; a fiber never moves to another thread.
 *
 * Stacks are mmap'ed with a guard page below and pooled.  FIBER_STACK_BYTES is all a fiber
 * gets: no large arrays on the stack (the build warns over 16 KiB).
 */
#ifndef BASE_FIBER_H
#define BASE_FIBER_H

#include <stdbool.h>
#include <stdint.h>
#include "base/list.h"

#define FIBER_STACK_BYTES (128 * 1024)

struct fiber;

/* Starts FN(ARG) at the next turn of the calling thread's loop.  NAME is kept as a pointer,
 * for traces.  -ENOMEM when no stack can be had. */
int fiber_spawn(void (*fn)(void *arg), void *arg, const char *name);

/* The running fiber; NULL outside of fibers. */
struct fiber *fiber_self(void);
const char *fiber_name(const struct fiber *f);

/* Lets every other ready fiber run first. */
void fiber_yield(void);

/* Parks the running fiber until somebody calls fiber_wake() on it.  A wake that comes
 * before the park is remembered (once). */
void fiber_park(void);
void fiber_wake(struct fiber *f);

/* How many fibers exist on this thread, and the total of all fiber switches so far.  A
 * function that must not wait compares fiber_switches() before and after. */
unsigned fiber_count(void);
uint64_t fiber_switches(void);

/* Simulated crashes only: every fiber of this thread ceases to exist where it stands.
 * Nothing is unwound, and what only they could release is lost.  Timers and deferred calls
 * on their stacks are left behind, so the loop can only be freed then.  Not from a fiber. */
void fiber_abandon_all(void);

/* A queue of waiting fibers.  Zero-initialise by waitq_init(). */
struct waitq { struct list head; };
void waitq_init(struct waitq *q);
bool waitq_empty(const struct waitq *q);
void waitq_wait(struct waitq *q);			/* FIFO */
bool waitq_wait_timeout(struct waitq *q, uint64_t timeout_ns);	/* false: timed out */
void waitq_wake_one(struct waitq *q);
void waitq_wake_all(struct waitq *q);

#endif
