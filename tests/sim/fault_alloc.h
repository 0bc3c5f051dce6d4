/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failing allocations: the linker sends malloc and its like through here (-Wl,--wrap).  They
 * count, and fail, only in fibers while armed, and not inside of test_alloc() and the device:
 * so those of the store and what it calls.
 */
#ifndef SIM_FAULT_ALLOC_H
#define SIM_FAULT_ALLOC_H

#include <stdbool.h>
#include <stdint.h>

struct fiber;

/* The n-th allocation from now on fails; for_good: and hundreds after it.  0: none. */
void fault_alloc_set(uint64_t n, bool for_good);
void fault_alloc_arm(bool armed);
bool fault_alloc_hit(void);
/* Allocations of fibers that FN says true of don't fail. */
void fault_alloc_spare(bool (*fn)(const struct fiber *f));
/* Disarms for the caller's own allocations; pairs nest. */
void fault_alloc_enter(void);
void fault_alloc_leave(void);

#endif
