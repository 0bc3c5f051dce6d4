/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bugs that were found in the store once, each with a test of its own.
 *
 *   regress_test [NAME]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fiber.h"
#include "base/loop.h"
#include "rig.h"

/* ---- the log's ring ------------------------------------------------------------------------- */

#define RING_WRITE 16384

/*
 * Batches that nobody waits for stay in memory.  A checkpoint gives the space that they have in
 * the ring to others; they must not be written there any more, least of all beside the new ones.
 */
static void ring_reused(struct rig *r)
{
	struct fs_id id = rig_create(r, "f");
	unsigned n = 0;

	rig_stable(r);
	for (unsigned round = 0; round < 12; round++) {
		for (unsigned i = 0; i < 12; i++, n++)
			rig_write_quiet(r, id, (n % 16) * RING_WRITE, RING_WRITE, n + 1);
		sim_ok(fs_checkpoint(r->fs));
	}
	for (unsigned i = 0; i < 20; i++, n++)
		rig_write_quiet(r, id, (n % 16) * RING_WRITE, RING_WRITE, n + 1);
	rig_stable(r);
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
	for (unsigned i = n - 16; i < n; i++)
		rig_expect(r, id, (i % 16) * RING_WRITE, RING_WRITE, i + 1);
}

/* ---- flushes that fail ------------------------------------------------------------------------ */

#define FLUSH_WRITE 65536		/* large enough to be written beside the log */
static struct { struct fs_id id; uint64_t acked, n; bool over; } fl;

static void write_on(void *arg)
{
	struct rig *r = arg;
	struct iovec iov = { test_alloc(FLUSH_WRITE), FLUSH_WRITE };

	memset(iov.iov_base, 7, FLUSH_WRITE);
	for (unsigned i = 0; i < 60 && !fl.over; i++) {
		memcpy(iov.iov_base, &(uint64_t){ ++fl.n }, sizeof(fl.n));
		if (fs_write(&r->req, fl.id, 0, &iov, 1, FLUSH_WRITE, true, NULL) ||
		    fs_wait_stable(r->fs, r->req.stable_seq))
			break;
		fl.acked = fl.n;
	}
	fl.over = true;
	free(iov.iov_base);
}

static void checkpoint_on(void *arg)
{
	struct rig *r = arg;

	while (!fl.over && !fs_checkpoint(r->fs))
		loop_sleep_ns(10000);
	fl.over = true;
}

/* A checkpoint and the log flush at the same time.  One of the two fails and has lost what the other
 * wrote: neither may be counted as durable. */
static void flush_beside_flush(struct rig *r)
{
	static void (*const fns[])(void *) = { write_on, checkpoint_on };

	fl.id = rig_create(r, "f");
	rig_write_number(r, fl.id, 0, 0);
	for (unsigned nth = 1; nth <= 40; nth++) {
		struct dev_sim_fault f = { .kind = DEV_SIM_FAIL, .ops = DEV_SIM_OP(DEV_FLUSH), .nth = nth };
		uint64_t got;

		rig_stable(r);
		fl.over = false;
		sim_ok(dev_sim_inject(r->dev, &f));
		fl.acked = 0;
		rig_parallel(r, fns, 2);
		loop_sleep_ns(20000000);	/* what is still under way goes on */
		dev_sim_clear_faults(r->dev);
		rig_power_cut(r, DEV_SIM_CUT_DROP, nth);
		if (getenv("V")) printf("nth %u acked %llu n %llu\n", nth, (unsigned long long)fl.acked, (unsigned long long)fl.n);
		got = rig_read_number(r, fl.id, 0);
		sim_check(got >= fl.acked && got <= fl.n, "flush %u failed: %llu is there, %llu was acknowledged",
			  nth, (unsigned long long)got, (unsigned long long)fl.acked);
		fl.n = got;
	}
}

static const struct rig_test tests[] = {
	{ "ring_reused", ring_reused, 5000, 0, false },
	{ "flush_beside_flush", flush_beside_flush, 20000, 0, false },
};

int main(int argc, char **argv)
{
	alarm(100);		/* virtual time stands still where fibers spin */
	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
