/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated loop: no kernel, no other threads, virtual time.  When nothing is ready, the
 * clock jumps to the next timer; when there is none either, the run is over.  So the same
 * seed gives the same run, and a minute of waiting takes no time.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/loop_int.h"

/* Not 0, so that code that takes 0 for "never" shows itself. */
#define SIM_START_NS 1000000000ull

static int sim_init(struct loop *l)
{
	l->now_ns = SIM_START_NS;
	return 0;
}

static void sim_done(struct loop *l)
{
}

static void sim_submit(struct loop *l, struct loop_io *io)
{
	static const char *const names[] = {
		"read", "write", "fdatasync", "fallocate", "recv", "sendmsg", "accept", "poll",
		"connect",
	};

	fprintf(stderr, "loop: %s on descriptor %d, but a simulated loop has no files and no "
		"network: use a simulated device\n", names[io->op], io->fd);
	abort();
}

static void sim_cancel(struct loop *l, struct loop_io *io)
{
}

static void sim_turn(struct loop *l, uint64_t timeout_ns)
{
	if (timeout_ns == LOOP_FOREVER)
		l->dead = true;
	else
		l->now_ns += timeout_ns;
}

const struct loop_backend loop_sim = {
	.init = sim_init,
	.done = sim_done,
	.submit = sim_submit,
	.cancel = sim_cancel,
	.turn = sim_turn,
};
