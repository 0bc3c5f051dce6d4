/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spacebench: what it costs to say where two large files differ, and what one of them holds alone, without sockets.
 *
 *   spacebench POOL [GIB [CHANGED]]
 *
 * Makes a pool in the file POOL, which must not exist and is removed; in it an image of GIB (100) gibibytes that is
 * mapped from end to end (by clones of its own ranges), of which CHANGED (1000) blocks at random are written; a
 * clone; and other data in the same places of the clone.  Prints JSON: milliseconds, the best and the median of 21 runs.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fiber.h"
#include "base/loop.h"
#include "base/rng.h"
#include "dev/dev.h"
#include "fs/account.h"
#include "fs/diff.h"
#include "fs/fs.h"

#define RUNS 21
#define MIB (1024ull * 1024)

struct bench {
	struct loop *loop;
	const char *path;
	uint64_t gib;
	unsigned changed;
	struct fs *fs;
	struct fs_req req;
	struct fs_id image, clone;
};

static void must(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "spacebench: %s: %s\n", what, err_text(err));
	exit(1);
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1000 + (double)t.tv_nsec / 1e6;
}

static void write_at(struct bench *b, struct fs_id id, uint64_t at, uint32_t len, int byte)
{
	struct iovec iov = { malloc(len), len };

	memset(iov.iov_base, byte, len);
	must(fs_write(&b->req, id, at, &iov, 1, len, false, NULL), "write");
	free(iov.iov_base);
}

/* CHANGED different blocks, the same every time. */
static void scatter(struct bench *b, struct fs_id id, int byte)
{
	struct rng rng;

	rng_init(&rng, 1);
	for (unsigned i = 0; i < b->changed; i++)
		write_at(b, id, (b->gib * MIB / 4 * i / b->changed + rng_below(&rng, b->gib * MIB / 4 / b->changed)) * 4096,
			 4096, byte);
}

static void make(struct bench *b)
{
	struct fs_create how = { .type = FS_REG, .how = FS_CREATE_GUARDED };
	struct fs_name name = { "image", 5 }, clone = { "clone", 5 };
	struct fs_volume_info *v = malloc(sizeof(*v));
	uint64_t size = b->gib << 30;
	struct fs_attr a;
	uint32_t bad;

	must(fs_volume_create(&b->req, "v", v), "volume");
	must(fs_create(&b->req, v->root, name, &how, &a, NULL), "create");
	b->image = a.id;
	for (uint64_t at = 0; at < 4 * MIB; at += MIB)
		write_at(b, b->image, at, MIB, 1);
	for (uint64_t at = 4 * MIB, n; at < size; at += n) {
		n = at < size - at ? at : size - at;
		must(fs_clone_range(&b->req, b->image, 0, b->image, at, n, NULL), "range");
	}
	scatter(b, b->image, 2);
	must(fs_clone(&b->req, b->image, v->root, &clone, 1, &bad, &a), "clone");
	b->clone = a.id;
	scatter(b, b->clone, 3);
	must(fs_checkpoint(b->fs), "checkpoint");
	free(v);
}

static int by_value(const void *x, const void *y)
{
	double a = *(const double *)x, b = *(const double *)y;

	return (a > b) - (a < b);
}

static uint64_t diff(struct bench *b, bool quick)
{
	struct fs_diff *d = malloc(sizeof(*d));
	uint64_t blocks = 0;

	*d = (struct fs_diff){ .a = b->image, .b = b->clone, .quick = quick };
	while (d->next != UINT64_MAX) {
		must(fs_diff(&b->req, d), "diff");
		for (unsigned i = 0; i < d->n; i++)
			blocks += d->ranges[i].len / 4096;
		fiber_yield();
	}
	free(d);
	return blocks;
}

static uint64_t diff_exact(struct bench *b) { return diff(b, false); }
static uint64_t diff_quick(struct bench *b) { return diff(b, true); }

static uint64_t account(struct bench *b)
{
	struct fs_account a = { .of = FS_ACCOUNT_FILE, .id = b->clone, .exact = true };

	must(fs_account(&b->req, &a), "account");
	return a.exclusive.data + a.exclusive.meta;
}

static void measure(struct bench *b, const char *name, uint64_t (*fn)(struct bench *b), const char *end)
{
	double ms[RUNS];
	uint64_t found = 0;

	for (unsigned i = 0; i < RUNS; i++) {
		double t0 = now_ms();

		found = fn(b);
		ms[i] = now_ms() - t0;
	}
	qsort(ms, RUNS, sizeof(*ms), by_value);
	printf("\"%s\": {\"blocks\": %llu, \"best_ms\": %.2f, \"median_ms\": %.2f}%s", name,
	       (unsigned long long)found, ms[0], ms[RUNS / 2], end);
}

static void run(void *arg)
{
	struct bench *b = arg;
	struct fs_config cfg = { .cache_bytes = 512u << 20 };
	struct dev *d;
	char why[200];

	must(dev_file_open(b->path, 0, &d), b->path);
	must(fs_format(d, &(struct fs_format_opts){ 0 }), "format");
	must(fs_open(d, &cfg, &b->fs, why, sizeof(why)), "open");
	fs_req_admin(&b->req, b->fs);
	make(b);
	printf("{\"gib\": %llu, \"changed\": %u, ", (unsigned long long)b->gib, b->changed);
	measure(b, "diff", diff_exact, ", ");
	measure(b, "diff_quick", diff_quick, ", ");
	measure(b, "account", account, "}\n");
	must(fs_close(b->fs), "close");
	dev_close(d);
	loop_stop(b->loop);
}

int main(int argc, char **argv)
{
	struct bench b = { .path = argc > 1 ? argv[1] : "", .gib = argc > 2 ? strtoull(argv[2], NULL, 10) : 100,
			   .changed = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 1000 };
	int fd;

	if (argc < 2 || argc > 4 || !b.gib || b.gib > 1 << 20 || !b.changed || b.changed > b.gib << 18) {
		fputs("usage: spacebench POOL [GIB [CHANGED]]\n", stderr);
		return 2;
	}
	fd = open(b.path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, 8ll << 30)) {
		fprintf(stderr, "spacebench: %s: %s\n", b.path, strerror(errno));
		return 1;
	}
	close(fd);
	must(loop_new(LOOP_AUTO, &b.loop), "loop");
	must(fiber_spawn(run, &b, "bench"), "fiber");
	must(loop_run(b.loop), "loop");
	loop_free(b.loop);
	unlink(b.path);
	return 0;
}
