/* SPDX-License-Identifier: Apache-2.0 */
/* See fault_alloc.h. */
#include <errno.h>
#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fiber.h"
#include "dev/dev.h"
#include "fault_alloc.h"

/* "For good" ends some time: what was frozen must be written, and waits for memory. */
#define LEAN 300

static uint64_t count, fail_at;
static unsigned inside;
static bool armed, good, hit;
static bool (*spare)(const struct fiber *f);

void fault_alloc_set(uint64_t n, bool for_good)
{
	count = 0;
	fail_at = n;
	good = for_good;
	hit = false;
}

void fault_alloc_arm(bool on)
{
	armed = on;
}

void fault_alloc_spare(bool (*fn)(const struct fiber *f))
{
	spare = fn;
}

bool fault_alloc_hit(void)
{
	return hit;
}

void fault_alloc_enter(void)
{
	inside++;
}

void fault_alloc_leave(void)
{
	inside--;
}

static bool fails(void)
{
	if (!armed || inside || !fail_at || !fiber_self() || (spare && spare(fiber_self())))
		return false;
	count++;
	if (count != fail_at && !(good && count > fail_at && count < fail_at + LEAN))
		return false;
	if (!hit && getenv("FAULT_TRACE")) {	/* who asked: for addr2line */
		void *frames[20];

		inside++;
		backtrace_symbols_fd(frames, backtrace(frames, 20), 2);
		inside--;
	}
	hit = true;
	errno = ENOMEM;
	return true;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
int __real_posix_memalign(void **p, size_t align, size_t n);
void __real_dev_submit(struct dev *d, struct dev_io *io);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
int __wrap_posix_memalign(void **p, size_t align, size_t n);
void __wrap_dev_submit(struct dev *d, struct dev_io *io);

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
	return fails() ? NULL : __real_aligned_alloc(align, n);
}

int __wrap_posix_memalign(void **p, size_t align, size_t n)
{
	return fails() ? ENOMEM : __real_posix_memalign(p, align, n);
}

void __wrap_dev_submit(struct dev *d, struct dev_io *io)
{
	inside++;
	__real_dev_submit(d, io);
	inside--;
}
