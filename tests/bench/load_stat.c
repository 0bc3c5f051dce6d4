/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Latency histogram, and the CPU clocks of this process and of the server.
 *
 * The server's clock is its POSIX process CPU clock: utime + stime of all threads, ended ones
 * too, with the scheduler's nanoseconds instead of /proc's ticks of 10 ms.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static unsigned hist_index(uint64_t v)
{
	if (v < HIST_SUB)
		return v;
	unsigned shift = 63 - __builtin_clzll(v) - 6;

	return (shift + 1) * HIST_SUB + (unsigned)((v >> shift) - HIST_SUB);
}

static uint64_t hist_value(unsigned i)
{
	if (i < HIST_SUB)
		return i;
	unsigned shift = i / HIST_SUB - 1;

	return ((uint64_t)(HIST_SUB + i % HIST_SUB) << shift) + ((1ull << shift) >> 1);
}

void hist_add(struct hist *h, uint64_t ns)
{
	unsigned i = hist_index(ns);

	h->bucket[i < HIST_BUCKETS ? i : HIST_BUCKETS - 1]++;
	h->count++;
	if (ns > h->max)
		h->max = ns;
}

double hist_us(const struct hist *h, double quantile)
{
	uint64_t want = (uint64_t)(quantile * (double)h->count), sum = 0;

	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		sum += h->bucket[i];
		if (sum > want) {
			uint64_t v = hist_value(i);

			return (double)(v < h->max ? v : h->max) / 1000.0;
		}
	}
	return (double)h->max / 1000.0;
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t self_cpu_ns(void)
{
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

int server_cpu_ns(int pid, uint64_t *ret_ns)
{
	clockid_t id;
	struct timespec ts;
	int e = clock_getcpuclockid(pid, &id);

	if (e)
		return -e;
	if (clock_gettime(id, &ts) < 0)
		return -errno;
	*ret_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	return 0;
}

static int server_hwm(int pid, uint64_t *ret_kib)
{
	char path[64], line[256];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	FILE *f = fopen(path, "re");

	if (!f)
		return -errno;
	unsigned long kib = 0;

	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "VmHWM: %lu", &kib) == 1)
			break;
	fclose(f);
	*ret_kib = kib;
	return 0;
}

int server_stat(int pid, uint64_t *ret_user_ms, uint64_t *ret_sys_ms, uint64_t *ret_hwm_kib)
{
	char path[64], buf[1024];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	FILE *f = fopen(path, "re");

	if (!f)
		return -errno;
	size_t n = fread(buf, 1, sizeof(buf) - 1, f);

	fclose(f);
	buf[n] = 0;
	/* The command's name may hold anything: fields count from the last parenthesis. */
	const char *p = strrchr(buf, ')');
	unsigned long user, sys;

	if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
			 &user, &sys) != 2)
		return -EINVAL;
	unsigned long hz = (unsigned long)sysconf(_SC_CLK_TCK);

	*ret_user_ms = user * 1000 / hz;
	*ret_sys_ms = sys * 1000 / hz;
	return server_hwm(pid, ret_hwm_kib);
}
