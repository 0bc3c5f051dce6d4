/* SPDX-License-Identifier: Apache-2.0 */
/* Tests that run in a fiber of a simulated loop, with a disk for it.  Include after cmocka.h. */
#ifndef TESTS_IN_FIBER_H
#define TESTS_IN_FIBER_H

#include <stdlib.h>

#include "base/fiber.h"
#include "base/loop.h"
#include "dev/dev_sim.h"

/* In fibers a failed assertion could not get out. */
#define REQUIRE(x) \
	do { \
		if (!(x)) { \
			print_error("%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort(); \
		} \
	} while (0)

static inline void in_fiber(void (*fn)(void *))
{
	struct loop *loop;

	assert_int_equal(loop_new(LOOP_SIM, &loop), 0);
	assert_int_equal(fiber_spawn(fn, NULL, "test"), 0);
	assert_int_equal(loop_run(loop), 0);
	loop_free(loop);
}

/* That holds IMAGE, or is empty and has NBLOCKS. */
static inline struct dev *disk_of(struct dev_sim_image *image, uint64_t nblocks)
{
	struct dev_sim_opts opts = { .nblocks = image ? 0 : nblocks, .seed = 1,
				     .check_stable = true, .check_overlap = true };
	struct dev *d;

	REQUIRE(!(image ? dev_sim_new_from(&opts, image, &d) : dev_sim_new(&opts, &d)));
	return d;
}

#endif
