/* SPDX-License-Identifier: Apache-2.0 */
/* How fast a job in the background may go. */
#ifndef FS_PACE_H
#define FS_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace { uint64_t since_ns, bytes; };	/* all zeros: it begins */

/* BYTES were read: sleeps as long as RATE (bytes a second; 0: none) wants, in slices, unless STOP says so;
 * always gives way to others. */
void pace_by(struct pace *p, uint64_t rate, uint64_t bytes, bool (*stop)(const void *arg), const void *arg);

#endif
