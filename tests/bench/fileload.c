/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fileload: what nfsload asks an NFS server, asked a mounted file system by system calls: for peers that are
 * measured where they are.  Its options and its report are those of nfsload, as far as it has them.
 *
 *   read         pread
 *   write        pwrite; the window ends when all is answered, and an fdatasync after it
 *   write-sync   pwrite with O_DSYNC
 *
 * A request in flight is a thread.
 */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct load_cfg cfg = { .depth = 1, .op = OP_READ, .bs = LOAD_BLOCK, .seconds = 3, .warmup_s = 0.5, .seed = 1 };
static uint64_t window_ns, end_ns;	/* end_ns 0: by cfg.max_ops */
static int fd;
static atomic_uint_fast64_t issued;
static atomic_int first_errno;

struct worker {
	pthread_t thread;
	uint64_t rng;
	uint8_t *buf;
	struct hist lat;
};

static uint64_t rng_next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* No block is written twice with the same bytes. */
static void stamp(struct worker *w)
{
	for (uint32_t at = 0; at < cfg.bs; at += LOAD_BLOCK)
		*(uint64_t *)(w->buf + at) = rng_next(&w->rng);
}

static bool request(struct worker *w, uint64_t n)
{
	uint64_t blocks = cfg.size / cfg.bs, at = (cfg.random ? rng_next(&w->rng) : n) % blocks * cfg.bs;
	ssize_t done;

	if (cfg.op == OP_READ) {
		done = pread(fd, w->buf, cfg.bs, (off_t)at);
	} else {
		stamp(w);
		done = pwrite(fd, w->buf, cfg.bs, (off_t)at);
	}
	if (done == cfg.bs)
		return true;
	first_errno = done < 0 ? errno : EIO;
	return false;
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (;;) {
		uint64_t n = issued++, start = now_ns();

		if (cfg.max_ops ? n >= cfg.max_ops : start >= end_ns)
			return NULL;
		if (!request(w, n))
			return NULL;
		if (start >= window_ns)
			hist_add(&w->lat, now_ns() - start);
	}
}

static void worker_start(struct worker *w, unsigned i)
{
	w->rng = cfg.seed * 1000003 + i;
	w->buf = aligned_alloc(LOAD_BLOCK, cfg.bs);
	for (uint32_t at = 0; w->buf && at < cfg.bs; at += 8)
		*(uint64_t *)(w->buf + at) = rng_next(&w->rng);
	if (!w->buf || pthread_create(&w->thread, NULL, work, w)) {
		fprintf(stderr, "fileload: no memory, or no threads\n");
		exit(1);
	}
}

static void run(struct hist *ret_lat)
{
	struct worker *w = calloc(cfg.depth, sizeof(*w));

	if (!w)
		exit(1);
	window_ns = now_ns();
	if (!cfg.max_ops) {
		window_ns += (uint64_t)(cfg.warmup_s * 1e9);
		end_ns = window_ns + (uint64_t)(cfg.seconds * 1e9);
	}
	for (unsigned i = 0; i < cfg.depth; i++)
		worker_start(&w[i], i);
	for (unsigned i = 0; i < cfg.depth; i++) {
		pthread_join(w[i].thread, NULL);
		free(w[i].buf);
		for (unsigned k = 0; k < HIST_BUCKETS; k++)
			ret_lat->bucket[k] += w[i].lat.bucket[k];
		ret_lat->count += w[i].lat.count;
		if (w[i].lat.max > ret_lat->max)
			ret_lat->max = w[i].lat.max;
	}
	free(w);
	if (cfg.op == OP_WRITE && fdatasync(fd))
		first_errno = errno;
	if (cfg.max_ops || cfg.op == OP_WRITE)
		end_ns = now_ns();
}

static void report(const struct hist *lat)
{
	double s = (double)(end_ns - window_ns) / 1e9;

	printf("{\"engine\": \"file\", \"ops\": %" PRIu64 ", \"errors\": %d, \"first_error\": \"%s\", \"elapsed_s\": %.4f, "
	       "\"ops_s\": %.1f,\n", lat->count, first_errno ? 1 : 0, first_errno ? strerror(first_errno) : "", s,
	       (double)lat->count / s);
	printf(" \"lat_us\": {\"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"max\": %.1f}}\n", hist_us(lat, 0.5),
	       hist_us(lat, 0.99), hist_us(lat, 0.999), (double)lat->max / 1e3);
}

/* ---- options ------------------------------------------------------------------------------------ */

static const char usage_text[] =
"usage: fileload --file PATH --op read|write|write-sync --size BYTES [options]\n"
"  --bs BYTES --random --depth N      of a request; where; threads that ask (4K, in order, 1)\n"
"  --seconds S --warmup S | --ops N   a timed run (3, 0.5), or a fixed number of requests\n"
"  --create --seed N\n"
"Sizes take K, M, G, T.  The report is JSON on standard output.\n";

static uint64_t number(const char *name, const char *text)
{
	static const char units[] = "KMGT";
	char *end;
	uint64_t v = strtoull(text, &end, 0);
	const char *u = *end ? strchr(units, *end) : NULL;

	if (u && !end[1]) {
		v <<= 10 * (u - units + 1);
		end++;
	}
	if (end == text || *end || *text == '-') {
		fprintf(stderr, "fileload: --%s: '%s' is not a number\n", name, text);
		exit(2);
	}
	return v;
}

static enum load_op op_parse(const char *text)
{
	if (!strcmp(text, "read"))
		return OP_READ;
	if (!strcmp(text, "write"))
		return OP_WRITE;
	if (!strcmp(text, "write-sync"))
		return OP_WRITE_SYNC;
	fprintf(stderr, "fileload: --op: no operation '%s'\n", text);
	exit(2);
}

enum { O_FILE = 256, O_OP, O_BS, O_SIZE, O_RANDOM, O_DEPTH, O_SECONDS, O_WARMUP, O_OPS, O_MAKE, O_SEED };

static const struct option options[] = {
	{ "file", 1, 0, O_FILE }, { "op", 1, 0, O_OP }, { "bs", 1, 0, O_BS }, { "size", 1, 0, O_SIZE },
	{ "random", 0, 0, O_RANDOM }, { "depth", 1, 0, O_DEPTH }, { "seconds", 1, 0, O_SECONDS },
	{ "warmup", 1, 0, O_WARMUP }, { "ops", 1, 0, O_OPS }, { "create", 0, 0, O_MAKE }, { "seed", 1, 0, O_SEED }, { 0 },
};

static void option_set(int o, const char *name, const char *arg)
{
	switch (o) {
	case O_FILE: cfg.file = arg; break;
	case O_OP: cfg.op = op_parse(arg); break;
	case O_BS: cfg.bs = (uint32_t)number(name, arg); break;
	case O_SIZE: cfg.size = number(name, arg); break;
	case O_RANDOM: cfg.random = true; break;
	case O_DEPTH: cfg.depth = (unsigned)number(name, arg); break;
	case O_SECONDS: cfg.seconds = atof(arg); break;
	case O_WARMUP: cfg.warmup_s = atof(arg); break;
	case O_OPS: cfg.max_ops = number(name, arg); break;
	case O_MAKE: cfg.create = true; break;
	case O_SEED: cfg.seed = number(name, arg); break;
	default: fputs(usage_text, stderr); exit(2);
	}
}

int main(int argc, char **argv)
{
	static struct hist lat;
	int o, index = 0;

	while ((o = getopt_long(argc, argv, "", options, &index)) != -1)
		option_set(o, o == '?' ? "" : options[index].name, optarg);
	if (optind < argc || !cfg.file || !cfg.bs || cfg.bs > LOAD_BS_MAX || cfg.bs % LOAD_BLOCK || cfg.size < cfg.bs ||
	    !cfg.depth || cfg.depth > LOAD_DEPTH_MAX || (!cfg.max_ops && cfg.seconds <= 0)) {
		fputs(usage_text, stderr);
		return 2;
	}
	fd = open(cfg.file, (cfg.op == OP_READ ? O_RDONLY : O_RDWR) | (cfg.op == OP_WRITE_SYNC ? O_DSYNC : 0) |
		  (cfg.create ? O_CREAT : 0) | O_CLOEXEC, 0644);
	if (fd < 0) {
		fprintf(stderr, "fileload: %s: %s\n", cfg.file, strerror(errno));
		return 1;
	}
	run(&lat);
	report(&lat);
	return first_errno ? 1 : 0;
}
