/* SPDX-License-Identifier: Apache-2.0 */
/* See pace.h. */
#include "fs/pace.h"

#include "base/fiber.h"
#include "base/loop.h"

#define SLICE_NS 50000000ull		/* so long it doesn't look whether it is stopped */

void pace_by(struct pace *p, uint64_t rate, uint64_t bytes, bool (*stop)(const void *arg), const void *arg)
{
	uint64_t now = loop_now_ns(), due;

	p->bytes += bytes;
	due = rate ? p->since_ns + p->bytes * 1000000000 / rate : 0;
	if (now > due + 100000000) {		/* it has fallen behind: that is not made up for */
		p->since_ns = now;
		p->bytes = 0;
	}
	if (due <= now + 1000000)
		fiber_yield();
	for (; due > now + 1000000 && !stop(arg); now = loop_now_ns())
		loop_sleep_ns(due - now < SLICE_NS ? due - now : SLICE_NS);
}
