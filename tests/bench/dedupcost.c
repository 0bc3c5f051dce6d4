/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What it costs to write copies of an image into a volume with dedup on, and into one with dedup off, by
 * the store's own calls: 1 MiB each, DEPTH of them under way, as an NFS client has them, all made durable at
 * the end of each copy.
 *
 *	dedupcost POOL IMAGE_MIB COPIES CACHE_MIB [DEPTH]
 *
 * POOL is made, and must not exist.  Both kinds take turns; what is printed for each is the median of its
 * copies, of the one with dedup on without the first, which nobody knows yet.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/fiber.h"
#include "base/loop.h"
#include "base/rng.h"
#include "dev/dev.h"
#include "fs/fs.h"

#define MIB (1u << 20)
#define COPIES_MAX 1000

static struct { const char *path; unsigned mib, copies, cache_mib, depth; } args;
static struct loop *loop;
static struct fs *fs;
static uint8_t *image;

#define OK(expr) do { int rc_ = (expr); if (rc_) { fprintf(stderr, "dedupcost: %s: %s\n", #expr, err_text(rc_)); \
	exit(1); } } while (0)

static double seconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

struct copy { struct fs_id id; unsigned next, running; struct waitq done; };

static void writer(void *arg)
{
	struct copy *c = arg;
	struct fs_req req;

	fs_req_admin(&req, fs);
	while (c->next < args.mib) {
		unsigned k = c->next++;
		struct iovec iov = { image + (size_t)k * MIB, MIB };

		OK(fs_write(&req, c->id, (uint64_t)k * MIB, &iov, 1, MIB, false, NULL));
	}
	c->running--;
	waitq_wake_all(&c->done);
}

struct cost { double mib_s, cpu_ms; };

static struct cost copy(struct fs_id dir, unsigned number)
{
	const struct fs_create how = { .type = FS_REG, .how = FS_CREATE_GUARDED };
	double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	struct copy c = { .running = args.depth };
	struct fs_req req;
	struct fs_attr a;
	char name[16];

	snprintf(name, sizeof(name), "copy%u", number);
	fs_req_admin(&req, fs);
	OK(fs_create(&req, dir, (struct fs_name){ name, strlen(name) }, &how, &a, NULL));
	c.id = a.id;
	waitq_init(&c.done);
	for (unsigned i = 0; i < args.depth; i++)
		OK(fiber_spawn(writer, &c, "writer"));
	while (c.running)
		waitq_wait(&c.done);
	OK(fs_wait_stable(fs, fs_last_seq(fs)));
	return (struct cost){ args.mib / (seconds(CLOCK_MONOTONIC) - wall),
			      (seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) * 1000 };
}

static int by_speed(const void *x, const void *y)
{
	double a = ((const struct cost *)x)->mib_s, b = ((const struct cost *)y)->mib_s;

	return a < b ? -1 : a > b;
}

static uint64_t used(void)
{
	struct fs_status st;

	OK(fs_checkpoint(fs));
	fs_status(fs, &st);
	return st.size_blocks - st.free_blocks;
}

static void measure(void)
{
	static struct cost off[COPIES_MAX], on[COPIES_MAX];
	struct fs_volume_info v, w;
	unsigned n = args.copies;
	struct fs_req req;
	uint64_t before;
	double saved;

	fs_req_admin(&req, fs);
	OK(fs_volume_create(&req, "off", &v));
	OK(fs_volume_create(&req, "on", &w));
	OK(fs_volume_set_dedup(&req, "on", true));
	copy(v.root, n);			/* touches the memory */
	copy(w.root, n);
	before = used();
	for (unsigned i = 0; i < n; i++) {
		off[i] = copy(v.root, i);
		OK(fs_checkpoint(fs));
		on[i] = copy(w.root, i);
		OK(fs_checkpoint(fs));
	}
	saved = 1 - ((double)(used() - before) * 4096 / MIB / args.mib - n) / n;
	qsort(off, n, sizeof(*off), by_speed);
	qsort(on, n, sizeof(*on), by_speed);
	printf("{\"off_mib_s\": %.0f, \"on_mib_s\": %.0f, \"ratio\": %.2f, \"off_cpu_ms\": %.0f, \"on_cpu_ms\": %.0f, "
	       "\"saved_percent\": %.2f}\n", off[n / 2].mib_s, on[n / 2].mib_s, on[n / 2].mib_s / off[n / 2].mib_s,
	       off[n / 2].cpu_ms, on[n / 2].cpu_ms, saved * 100);
}

static void run(void *arg)
{
	struct fs_config cfg = { .cache_bytes = (size_t)args.cache_mib << 20 };
	struct dev *d;
	char why[256] = "";

	OK(dev_file_create(args.path, ((uint64_t)args.mib * (args.copies + 3) + 1024) << 20));
	OK(dev_file_open(args.path, 0, &d));
	OK(fs_format(d, &(struct fs_format_opts){ .nblocks = 0 }));
	OK(fs_open(d, &cfg, &fs, why, sizeof(why)));
	measure();
	OK(fs_close(fs));
	dev_close(d);
	loop_stop(loop);
}

int main(int argc, char **argv)
{
	struct rng g;

	if (argc < 5) {
		fprintf(stderr, "usage: dedupcost POOL IMAGE_MIB COPIES CACHE_MIB [DEPTH]\n");
		return 2;
	}
	args.path = argv[1];
	args.mib = atoi(argv[2]);
	args.copies = atoi(argv[3]);
	args.cache_mib = atoi(argv[4]);
	args.depth = argc > 5 ? atoi(argv[5]) : 4;
	image = malloc((size_t)args.mib * MIB);
	if (!image || !args.mib || !args.copies || args.copies > COPIES_MAX || !args.depth)
		return 2;
	rng_init(&g, 1);
	rng_fill(&g, image, (size_t)args.mib * MIB);
	OK(loop_new(LOOP_AUTO, &loop));
	OK(fiber_spawn(run, NULL, "bench"));
	OK(loop_run(loop));
	loop_free(loop);
	return 0;
}
