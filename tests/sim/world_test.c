/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole worlds (world.h), one a seed.
 *
 *   world_test [--seeds N] [--first SEED | --fresh] [--keep-going]
 *   world_test --replay SEED [--trace]
 *   world_test --twice SEED		the same seed must give the same run
 *
 * Prints a line a seed and sums at the end.  A world that goes wrong prints its seed and ends
 * the program with status 1; with --keep-going each runs in a process of its own, and the failing
 * seeds are listed at the end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "world.h"

struct sums {
	uint64_t seeds, faults[WF_KINDS], calls, restarts, checked, looked_back, lost, replayed, locks, reclaimed;
	uint64_t restores, volume_clones, tree_clones, shipped, updated, resumed, quota_refused, quotas_counted, jobs_cut;
	double hours, cpu_s;
};

static void run(void *arg)
{
	world_run(arg);
}

static double cpu_s(void)
{
	return (double)clock() / CLOCKS_PER_SEC;
}

static void add(struct sums *s, const struct world *w)
{
	s->seeds++;
	for (unsigned i = 0; i < WF_KINDS; i++)
		s->faults[i] += w->faults[i];
	s->calls += w->calls;
	s->restarts += w->restarts;
	s->checked += w->checked_blocks;
	s->looked_back += w->looked_back;
	s->lost += w->lost_writes;
	s->replayed += w->replayed;
	s->locks += w->locks;
	s->reclaimed += w->reclaimed;
	s->restores += w->restores;
	s->volume_clones += w->volume_clones;
	s->tree_clones += w->tree_clones;
	s->shipped += w->shipped;
	s->updated += w->updated;
	s->resumed += w->resumed;
	s->quota_refused += w->quota_refused;
	s->quotas_counted += w->quotas_counted;
	s->jobs_cut += w->jobs_cut;
	s->hours += w->virtual_ns / 3.6e12;
}

static uint64_t run_seed(uint64_t seed, const char *program, struct sums *s)
{
	uint64_t requests;

	struct world *w = test_alloc(sizeof(*w));

	w->seed = seed;
	snprintf(sim_replay, sizeof(sim_replay), "%s --replay %llu --trace", program,
		 (unsigned long long)seed);
	sim_run(run, w);
	sim_check(!dev_sim_live_pages(), "pages of disks are left over");
	add(s, w);
	requests = w->requests;
	free(w);
	return requests;
}

static void run_twice(uint64_t seed, const char *program, struct sums *s)
{
	uint64_t first = run_seed(seed, program, s), second = run_seed(seed, program, s);

	sim_check(first == second, "seed %llu asked other things of its disk the second time",
		  (unsigned long long)seed);
}

static void report(const struct sums *s)
{
	printf("%llu worlds, %.2f simulated hours in %.1f s of CPU (%.0f hours a minute): %llu calls, %llu "
	       "restarts, %llu blocks compared, %llu looks into snapshots, %llu volumes restored and %llu cloned, "
	       "%llu directories cloned, %llu volumes received and %llu times more for one (%llu of that in parts), "
	       "%llu writes refused by quotas, %llu quotas counted in the end, %llu deduplications interrupted, %llu writes lost and sent again, %llu records replayed, %llu locks, %llu of them reclaimed\n",
	       (unsigned long long)s->seeds, s->hours, s->cpu_s, s->cpu_s ? s->hours * 60 / s->cpu_s : 0,
	       (unsigned long long)s->calls, (unsigned long long)s->restarts,
	       (unsigned long long)s->checked, (unsigned long long)s->looked_back,
	       (unsigned long long)s->restores, (unsigned long long)s->volume_clones,
	       (unsigned long long)s->tree_clones, (unsigned long long)s->shipped,
	       (unsigned long long)s->updated, (unsigned long long)s->resumed,
	       (unsigned long long)s->quota_refused,
	       (unsigned long long)s->quotas_counted, (unsigned long long)s->jobs_cut,
	       (unsigned long long)s->lost,
	       (unsigned long long)s->replayed, (unsigned long long)s->locks,
	       (unsigned long long)s->reclaimed);
	for (unsigned i = 0; i < WF_KINDS; i++)
		if (s->faults[i])
			printf("  %llu %s\n", (unsigned long long)s->faults[i], world_fault_names[i]);
}

/* In a process of its own; its sums come through a pipe. */
static bool run_apart(uint64_t seed, const char *program, struct sums *s)
{
	struct sums one = { 0 };
	int fds[2], status;
	pid_t pid;
	bool got;

	fflush(stdout);
	if (pipe(fds) || (pid = fork()) < 0) {
		perror("world_test");
		exit(2);
	}
	if (!pid) {
		run_seed(seed, program, &one);
		one.cpu_s = cpu_s();
		_exit(write(fds[1], &one, sizeof(one)) != sizeof(one));
	}
	close(fds[1]);
	got = read(fds[0], &one, sizeof(one)) == sizeof(one);
	close(fds[0]);
	waitpid(pid, &status, 0);
	if (!got || status)
		return false;
	s->seeds++;
	for (unsigned i = 0; i < WF_KINDS; i++)
		s->faults[i] += one.faults[i];
	s->calls += one.calls;
	s->restarts += one.restarts;
	s->checked += one.checked;
	s->looked_back += one.looked_back;
	s->lost += one.lost;
	s->replayed += one.replayed;
	s->locks += one.locks;
	s->reclaimed += one.reclaimed;
	s->restores += one.restores;
	s->volume_clones += one.volume_clones;
	s->tree_clones += one.tree_clones;
	s->shipped += one.shipped;
	s->updated += one.updated;
	s->resumed += one.resumed;
	s->quota_refused += one.quota_refused;
	s->quotas_counted += one.quotas_counted;
	s->jobs_cut += one.jobs_cut;
	s->hours += one.hours;
	s->cpu_s += one.cpu_s;
	return true;
}

static void usage(void)
{
	fprintf(stderr, "usage: world_test [--seeds N] [--first SEED | --fresh] [--keep-going]\n"
		"       world_test --replay SEED [--trace]\n       world_test --twice SEED\n");
	exit(2);
}

int main(int argc, char **argv)
{
	uint64_t first = 1, seeds = 1, failed = 0;
	bool keep_going = false, twice = false;
	struct sums s = { 0 };

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--trace"))
			sim_trace = true;
		else if (!strcmp(argv[i], "--keep-going"))
			keep_going = true;
		else if (!strcmp(argv[i], "--fresh"))
			first = (uint64_t)time(NULL) * 1000;
		else if (i + 1 == argc)
			usage();
		else if (!strcmp(argv[i], "--seeds"))
			seeds = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--twice")) {
			twice = true;
			first = strtoull(argv[++i], NULL, 0);
		} else if (!strcmp(argv[i], "--first") || !strcmp(argv[i], "--replay"))
			first = strtoull(argv[++i], NULL, 0);
		else
			usage();
	}
	for (uint64_t seed = first; seed < first + seeds; seed++) {
		if (twice) {
			run_twice(seed, argv[0], &s);
		} else if (!keep_going) {
			run_seed(seed, argv[0], &s);
			s.cpu_s = cpu_s();
		} else if (!run_apart(seed, argv[0], &s)) {
			printf("failed: seed %llu\n", (unsigned long long)seed);
			failed++;
		}
	}
	report(&s);
	if (failed)
		printf("%llu of %llu seeds failed\n", (unsigned long long)failed,
		       (unsigned long long)seeds);
	return failed != 0;
}
