/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stackful fibers.
 *
 *                      spawn
 *                        |
 *                        v      fiber_run_ready()
 *     wake  +--------> READY ----------------------> RUNNING ---> returns: stack pooled
 *           |            ^                            |   |
 *           |            +---------- yield -----------+   |
 *         PARKED <----------------- park -----------------+
 *
 * The scheduler is the thread's own stack: every switch goes from it to a fiber or back,
 * which costs one more switch than going from fiber to fiber (3 ns) and keeps this simple.
 *
 * Invariants:
 * - A fiber is in exactly one of: `ready` or `yielded` (READY), `current` (RUNNING), or
 *   neither (PARKED).
 * - struct fiber lies at the top of its own stack's mapping, above the first frame, so that
 *   a stack overflow runs down into the guard page and never into it.
 * - `wake_pending` holds at most one wake, which the next park consumes.  A wake of a
 *   fiber that another wake has made ready adds nothing: it has not run since.
 */
#include "base/fiber.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/fiber_int.h"
#include "base/loop.h"

#if defined(__SANITIZE_ADDRESS__)
#define FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#endif

#ifdef FIBER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#endif

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define FIBER_VALGRIND 1
#endif
#endif

#if !defined(FIBER_UCONTEXT) && !defined(__x86_64__) && !defined(__aarch64__)
#define FIBER_UCONTEXT 1
#endif

#ifdef FIBER_UCONTEXT
#include <ucontext.h>
typedef ucontext_t context_t;
#else
typedef void *context_t;	/* the saved stack pointer; registers lie on the stack */
#endif

/* A page of 64 KiB exists on some aarch64 kernels; the guard must be one whole page. */
#define GUARD_BYTES (64 * 1024)
#define MAP_BYTES (GUARD_BYTES + FIBER_STACK_BYTES)

/* Stacks kept for reuse.  A pooled stack keeps the pages it touched, mostly 8 to 16 KiB. */
#define POOL_MAX 256

/* Switches of one fiber_run_ready() before the kernel is looked after again. */
#define RUN_MAX 8192

enum fiber_state { FIBER_READY, FIBER_RUNNING, FIBER_PARKED };

struct fiber {
	context_t context;
	struct list entry;	/* ready, yielded or pool */
	struct list all_entry;
	void (*fn)(void *arg);
	void *arg;
	const char *name;
	char *map;		/* guard page first */
	enum fiber_state state;
	bool wake_pending;
	bool woken;		/* READY because of a wake */
	bool finished;
#ifdef FIBER_ASAN
	void *fake_stack;
#endif
#ifdef FIBER_VALGRIND
	unsigned valgrind_id;
#endif
};

struct scheduler {
	struct list ready, yielded, pool, all;
	unsigned npool, count;
	bool init;
	uint64_t switches;
	struct fiber *current;
	context_t context;	/* the thread's own */
#ifdef FIBER_ASAN
	void *fake_stack;
	const void *stack_bottom;
	size_t stack_bytes;
#endif
};

static __thread struct scheduler sched;

static void sched_init(void)
{
	if (sched.init)
		return;
	list_init(&sched.ready);
	list_init(&sched.yielded);
	list_init(&sched.pool);
	list_init(&sched.all);
	sched.init = true;
}

/* ---- the switch ---- */

#ifndef FIBER_UCONTEXT

/*
 * void fiber_switch(void **save_sp, void *load_sp): pushes the callee-saved registers,
 * stores the stack pointer, loads the other, pops and returns there.  The floating-point
 * control words are not saved: nothing here changes them.
 */
void fiber_switch(void **save_sp, void *load_sp);

#if defined(__x86_64__)
__asm__(
	".text\n"
	".p2align 4\n"
	".globl fiber_switch\n"
	".hidden fiber_switch\n"
	".type fiber_switch,@function\n"
	"fiber_switch:\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	".size fiber_switch,.-fiber_switch\n");

static void context_make(context_t *ctx, void *top, void (*entry)(void))
{
	uintptr_t *sp = (uintptr_t *)((uintptr_t)top & ~(uintptr_t)15);

	*--sp = 0;			/* a return address of 0 ends a backtrace */
	*--sp = (uintptr_t)entry;	/* sp is 8 mod 16 on entry, as after a call */
	for (int i = 0; i < 6; i++)
		*--sp = 0;
	*ctx = sp;
}
#else
/* x19 to x30 and d8 to d15 are the callee's to save; x30 is where to return to. */
__asm__(
	".text\n"
	".p2align 4\n"
	".globl fiber_switch\n"
	".hidden fiber_switch\n"
	".type fiber_switch,%function\n"
	"fiber_switch:\n"
	"	sub sp, sp, #160\n"
	"	stp x19, x20, [sp, #0]\n"
	"	stp x21, x22, [sp, #16]\n"
	"	stp x23, x24, [sp, #32]\n"
	"	stp x25, x26, [sp, #48]\n"
	"	stp x27, x28, [sp, #64]\n"
	"	stp x29, x30, [sp, #80]\n"
	"	stp d8, d9, [sp, #96]\n"
	"	stp d10, d11, [sp, #112]\n"
	"	stp d12, d13, [sp, #128]\n"
	"	stp d14, d15, [sp, #144]\n"
	"	mov x9, sp\n"
	"	str x9, [x0]\n"
	"	mov sp, x1\n"
	"	ldp x19, x20, [sp, #0]\n"
	"	ldp x21, x22, [sp, #16]\n"
	"	ldp x23, x24, [sp, #32]\n"
	"	ldp x25, x26, [sp, #48]\n"
	"	ldp x27, x28, [sp, #64]\n"
	"	ldp x29, x30, [sp, #80]\n"
	"	ldp d8, d9, [sp, #96]\n"
	"	ldp d10, d11, [sp, #112]\n"
	"	ldp d12, d13, [sp, #128]\n"
	"	ldp d14, d15, [sp, #144]\n"
	"	add sp, sp, #160\n"
	"	ret\n"
	".size fiber_switch,.-fiber_switch\n");

static void context_make(context_t *ctx, void *top, void (*entry)(void))
{
	uintptr_t *sp = (uintptr_t *)((uintptr_t)top & ~(uintptr_t)15);

	sp -= 20;
	for (int i = 0; i < 20; i++)
		sp[i] = 0;
	sp[11] = (uintptr_t)entry;	/* x30 */
	*ctx = sp;
}
#endif

static inline void context_switch(context_t *save, context_t *load)
{
	fiber_switch(save, *load);
}

#else /* FIBER_UCONTEXT */

static void context_make(context_t *ctx, void *stack, size_t bytes, void (*entry)(void))
{
	getcontext(ctx);
	ctx->uc_stack.ss_sp = stack;
	ctx->uc_stack.ss_size = bytes;
	ctx->uc_link = NULL;
	makecontext(ctx, entry, 0);
}

static inline void context_switch(context_t *save, context_t *load)
{
	swapcontext(save, load);
}
#endif

/* ---- stacks ---- */

static char *stack_bottom(const struct fiber *f)
{
	return f->map + GUARD_BYTES;
}

static inline size_t stack_bytes(const struct fiber *f)
{
	return (const char *)f - stack_bottom(f);
}

static struct fiber *stack_map(void)
{
	char *map = mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	struct fiber *f;

	if (map == MAP_FAILED)
		return NULL;
	if (mprotect(map, GUARD_BYTES, PROT_NONE)) {
		munmap(map, MAP_BYTES);
		return NULL;
	}
	f = (struct fiber *)(map + MAP_BYTES - ((sizeof(*f) + 63) & ~(size_t)63));
	f->map = map;
#ifdef FIBER_VALGRIND
	f->valgrind_id = VALGRIND_STACK_REGISTER(stack_bottom(f), (char *)f);
#endif
	return f;
}

static void stack_unmap(struct fiber *f)
{
#ifdef FIBER_VALGRIND
	VALGRIND_STACK_DEREGISTER(f->valgrind_id);
#endif
	munmap(f->map, MAP_BYTES);
}

static struct fiber *stack_get(void)
{
	struct list *e = list_pop(&sched.pool);
	struct fiber *f;

	if (e) {
		sched.npool--;
		f = container_of(e, struct fiber, entry);
	} else {
		f = stack_map();
		if (!f)
			return NULL;
	}
#ifdef FIBER_ASAN
	/* What only a parked fiber's stack points to is not leaked. */
	__lsan_register_root_region(stack_bottom(f), stack_bytes(f) + sizeof(*f));
#endif
	return f;
}

static void stack_put(struct fiber *f)
{
	list_del(&f->all_entry);
	sched.count--;
#ifdef FIBER_ASAN
	__lsan_unregister_root_region(stack_bottom(f), stack_bytes(f) + sizeof(*f));
	/* The frame that never returned left its red zones behind. */
	__asan_unpoison_memory_region(stack_bottom(f), stack_bytes(f));
#endif
	if (sched.npool >= POOL_MAX) {
		stack_unmap(f);
		return;
	}
	list_add_head(&sched.pool, &f->entry);	/* the warmest first */
	sched.npool++;
}

void fiber_pool_drain(void)
{
	struct list *e;

	sched_init();
	while ((e = list_pop(&sched.pool))) {
		sched.npool--;
		stack_unmap(container_of(e, struct fiber, entry));
	}
}

/* ---- running ---- */

/* From the scheduler into F, until F parks, yields or returns. */
static void switch_in(struct fiber *f)
{
	f->state = FIBER_RUNNING;
	sched.current = f;
	sched.switches++;
#ifdef FIBER_ASAN
	__sanitizer_start_switch_fiber(&sched.fake_stack, stack_bottom(f), stack_bytes(f));
#endif
	context_switch(&sched.context, &f->context);
#ifdef FIBER_ASAN
	__sanitizer_finish_switch_fiber(sched.fake_stack, NULL, NULL);
#endif
	sched.current = NULL;
	if (f->finished)
		stack_put(f);
}

/* From the running fiber back into the scheduler. */
static void switch_out(struct fiber *f)
{
#ifdef FIBER_ASAN
	__sanitizer_start_switch_fiber(f->finished ? NULL : &f->fake_stack, sched.stack_bottom,
				       sched.stack_bytes);
#endif
	context_switch(&f->context, &sched.context);
#ifdef FIBER_ASAN
	__sanitizer_finish_switch_fiber(f->fake_stack, &sched.stack_bottom, &sched.stack_bytes);
#endif
}

static void fiber_main(void)
{
	struct fiber *f = sched.current;

#ifdef FIBER_ASAN
	__sanitizer_finish_switch_fiber(NULL, &sched.stack_bottom, &sched.stack_bytes);
#endif
	f->fn(f->arg);
	f->finished = true;
	switch_out(f);
	abort();	/* nobody switches into a finished fiber */
}

int fiber_spawn(void (*fn)(void *arg), void *arg, const char *name)
{
	struct fiber *f;

	sched_init();
	f = stack_get();
	if (!f)
		return -ENOMEM;
	f->fn = fn;
	f->arg = arg;
	f->name = name;
	f->wake_pending = false;
	f->woken = true;
	f->finished = false;
#ifdef FIBER_ASAN
	f->fake_stack = NULL;
#endif
#ifdef FIBER_UCONTEXT
	context_make(&f->context, stack_bottom(f), stack_bytes(f), fiber_main);
#else
	context_make(&f->context, f, fiber_main);
#endif
	f->state = FIBER_READY;
	list_add_tail(&sched.ready, &f->entry);
	list_add_tail(&sched.all, &f->all_entry);
	sched.count++;
	return 0;
}

void fiber_run_ready(void)
{
	struct list *e;

	sched_init();
	assert(!sched.current);
	for (int i = 0; i < RUN_MAX; i++) {
		e = list_pop(&sched.ready);
		if (!e)
			break;
		switch_in(container_of(e, struct fiber, entry));
	}
	list_splice_tail(&sched.ready, &sched.yielded);
}

bool fiber_any_ready(void)
{
	return sched.init && !list_empty(&sched.ready);
}

struct fiber *fiber_self(void)
{
	return sched.current;
}

const char *fiber_name(const struct fiber *f)
{
	return f->name;
}

unsigned fiber_count(void)
{
	return sched.count;
}

uint64_t fiber_switches(void)
{
	return sched.switches;
}

static struct fiber *must_be_in_fiber(const char *what)
{
	if (!sched.current) {
		fprintf(stderr, "%s called outside of a fiber: nothing here may wait\n", what);
		abort();
	}
	return sched.current;
}

void fiber_yield(void)
{
	struct fiber *f = must_be_in_fiber("fiber_yield()");

	f->state = FIBER_READY;
	f->woken = false;
	list_add_tail(&sched.yielded, &f->entry);
	switch_out(f);
}

void fiber_park(void)
{
	struct fiber *f = must_be_in_fiber("fiber_park()");

	if (f->wake_pending) {
		f->wake_pending = false;
		return;
	}
	f->state = FIBER_PARKED;
	switch_out(f);
}

void fiber_wake(struct fiber *f)
{
	if (f->state == FIBER_PARKED) {
		f->state = FIBER_READY;
		f->woken = true;
		list_add_tail(&sched.ready, &f->entry);
	} else if (f->state == FIBER_RUNNING || !f->woken) {
		f->wake_pending = true;
	}
}

void fiber_abandon_all(void)
{
	struct list *e;

	sched_init();
	assert(!sched.current);
	list_init(&sched.ready);
	list_init(&sched.yielded);
	while ((e = list_pop(&sched.all))) {
		struct fiber *f = container_of(e, struct fiber, all_entry);

		list_init(&f->all_entry);
		stack_put(f);
	}
}

/* ---- queues of waiting fibers ---- */

/* Lies on the waiting fiber's stack. */
struct waiter {
	struct list entry;
	struct fiber *fiber;
	bool woken, timed_out;
	struct timer timer;
};

void waitq_init(struct waitq *q)
{
	list_init(&q->head);
}

bool waitq_empty(const struct waitq *q)
{
	return list_empty(&q->head);
}

/* Not inlined, or GCC warns of a pointer to a frame that is left: W is out of the queue by
 * then, since only who takes it out ends the wait. */
static __attribute__((noinline)) void waiter_enter(struct waitq *q, struct waiter *w)
{
	list_add_tail(&q->head, &w->entry);
}

void waitq_wait(struct waitq *q)
{
	struct waiter w = { .fiber = must_be_in_fiber("waitq_wait()") };

	waiter_enter(q, &w);
	while (!w.woken)
		fiber_park();
}

static void waiter_timeout(struct timer *t)
{
	struct waiter *w = container_of(t, struct waiter, timer);

	if (w->woken)
		return;
	w->timed_out = true;
	list_del(&w->entry);
	fiber_wake(w->fiber);
}

bool waitq_wait_timeout(struct waitq *q, uint64_t timeout_ns)
{
	struct waiter w = { .fiber = must_be_in_fiber("waitq_wait_timeout()") };

	waiter_enter(q, &w);
	timer_init(&w.timer, waiter_timeout);
	timer_set(&w.timer, timeout_ns);
	while (!w.woken && !w.timed_out)
		fiber_park();
	timer_cancel(&w.timer);
	return w.woken;
}

void waitq_wake_one(struct waitq *q)
{
	struct list *e = list_pop(&q->head);
	struct waiter *w;

	if (!e)
		return;
	w = container_of(e, struct waiter, entry);
	w->woken = true;
	fiber_wake(w->fiber);
}

void waitq_wake_all(struct waitq *q)
{
	struct list woken;

	/* Only who waits now: a fiber that runs and waits again is not woken twice. */
	list_init(&woken);
	list_splice_tail(&woken, &q->head);
	while (!list_empty(&woken)) {
		struct waiter *w = container_of(list_pop(&woken), struct waiter, entry);

		w->woken = true;
		fiber_wake(w->fiber);
	}
}
