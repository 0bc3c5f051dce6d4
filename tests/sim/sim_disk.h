/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated disk as all of these tests use it: slow enough to reorder, and watchful. */
#ifndef SIM_SIM_DISK_H
#define SIM_SIM_DISK_H

#include "dev/dev_sim.h"
#include "sim.h"

static inline struct dev *sim_disk_open(uint64_t nblocks, uint64_t seed, struct dev_sim_image *from)
{
	struct dev_sim_opts o = {
		.nblocks = nblocks, .seed = seed, .latency_min_ns = 10000, .latency_max_ns = 300000,
		.check_stable = true, .check_overlap = true,
	};
	struct dev *d;

	if (from)
		sim_ok(dev_sim_new_from(&o, from, &d));
	else
		sim_ok(dev_sim_new(&o, &d));
	return d;
}

static inline struct dev *sim_disk_new(uint64_t nblocks, uint64_t seed)
{
	return sim_disk_open(nblocks, seed, NULL);
}

/* What a power cut leaves.  Mode 0: nothing unflushed is there, 1: all of it, 2 and up: parts, by seed. */
static inline struct dev_sim_image *sim_cut_image(struct dev *d, unsigned mode, uint64_t seed)
{
	return dev_sim_crash_image(d, mode == 0 ? DEV_SIM_CUT_DROP : mode == 1 ? DEV_SIM_CUT_KEEP :
				   DEV_SIM_CUT_RANDOM, seed, NULL);
}

#endif
