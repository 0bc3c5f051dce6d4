/* SPDX-License-Identifier: Apache-2.0 */
/* What loop.c needs of the fibers, and nobody else. */
#ifndef BASE_FIBER_INT_H
#define BASE_FIBER_INT_H

#include <stdbool.h>

/* Runs ready fibers of this thread until none is ready; those that yielded wait for the next
 * call.  Bounded, so that fibers that wake each other for ever cannot starve the kernel. */
void fiber_run_ready(void);

/* True if fiber_run_ready() would find something to do. */
bool fiber_any_ready(void);

/* Unmaps the pooled stacks of this thread. */
void fiber_pool_drain(void);

#endif
