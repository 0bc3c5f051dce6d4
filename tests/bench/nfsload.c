/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nfsload: an NFS load generator.  Options, the measured window, the report.
 *
 * The window of a timed run opens after the warm-up and closes when its time is over: what is
 * answered in between counts, and so does the CPU time that the server spent in between.  The
 * window of a run of a fixed number of requests is all of it.  Unstable writes are promises,
 * so their window ends only when all are answered and a COMMIT of the file is too; with
 * --settle the server's CPU is read once more later, when what it wrote behind is done.
 */
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const op_names[OP_COUNT] = {
	[OP_NULL] = "null", [OP_GETATTR] = "getattr", [OP_READ] = "read",
	[OP_WRITE] = "write", [OP_WRITE_SYNC] = "write-sync", [OP_COMMIT] = "commit",
};

/* splitmix64: any seed is a good one. */
static uint64_t rng_next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static uint64_t stamp(uint64_t block)
{
	return 0x70616e646f000001u + block % (LOAD_PERIOD / LOAD_BLOCK);
}

static int pattern_fill(struct load_run *r)
{
	uint64_t state = 1;

	r->pattern = aligned_alloc(LOAD_BLOCK, 2 * LOAD_PERIOD);
	if (!r->pattern)
		return -1;
	for (size_t i = 0; i < LOAD_PERIOD / 8; i++) {
		uint64_t v = i % (LOAD_BLOCK / 8) ? rng_next(&state) : stamp(i * 8 / LOAD_BLOCK);

		memcpy(r->pattern + i * 8, &v, 8);
	}
	memcpy(r->pattern + LOAD_PERIOD, r->pattern, LOAD_PERIOD);
	return 0;
}

bool run_wrong(const struct load_run *r, uint64_t off, const void *data)
{
	return r->cfg->check && memcmp(data, r->pattern + off % LOAD_PERIOD, 8) != 0;
}

bool run_next(struct load_run *r, uint64_t *ret_off)
{
	const struct load_cfg *c = r->cfg;
	uint64_t step = c->stride ? c->stride : c->bs;

	if (r->phase == PHASE_DRAIN)
		return false;
	if (c->random)
		*ret_off = rng_next(&r->rng) % (c->size / c->bs) * c->bs;
	else
		*ret_off = r->next++ % (c->size / step) * step;
	r->issued++;
	if (c->max_ops && r->issued >= c->max_ops)
		r->phase = PHASE_DRAIN;
	return true;
}

static void window_open(struct load_run *r, uint64_t now)
{
	r->window_ns = now;
	r->cpu_self0 = self_cpu_ns();
	if (r->cfg->server_pid)
		server_cpu_ns(r->cfg->server_pid, &r->cpu_server0);
}

static void window_close(struct load_run *r, uint64_t now)
{
	r->end_ns = now;
	r->cpu_self1 = self_cpu_ns();
	if (r->cfg->server_pid)
		server_cpu_ns(r->cfg->server_pid, &r->cpu_server1);
}

/* Whether the window lasts until all is answered, and committed where that means something. */
static bool whole(const struct load_cfg *c)
{
	return c->max_ops || c->op == OP_WRITE;
}

void run_done(struct load_run *r, uint64_t t0, uint64_t now, int status, const char *what)
{
	r->finished++;
	if (status && !r->first_error[0])
		snprintf(r->first_error, sizeof(r->first_error), "%s: %d", what, status);
	if (!r->window_ns || (r->end_ns && !whole(r->cfg)))
		return;
	if (status) {
		r->errors++;
		return;
	}
	r->ops++;
	r->bytes += r->cfg->op == OP_READ || r->cfg->op == OP_WRITE ||
		    r->cfg->op == OP_WRITE_SYNC ? r->cfg->bs : 0;
	hist_add(&r->lat, now - t0);
}

void run_tick(struct load_run *r, uint64_t now)
{
	const struct load_cfg *c = r->cfg;

	if (c->max_ops)
		return;
	if (r->phase == PHASE_WARMUP && now >= r->start_ns + (uint64_t)(c->warmup_s * 1e9)) {
		r->phase = PHASE_MEASURE;
		window_open(r, now);
	}
	if (r->phase == PHASE_MEASURE && now >= r->window_ns + (uint64_t)(c->seconds * 1e9)) {
		r->phase = PHASE_DRAIN;
		if (!whole(c))
			window_close(r, now);
	}
}

bool run_over(const struct load_run *r)
{
	return r->phase == PHASE_DRAIN && r->issued == r->finished;
}

static int run(struct load_run *r)
{
	const struct load_cfg *c = r->cfg;
	int err;

	r->start_ns = now_ns();
	if (c->max_ops) {
		r->phase = PHASE_MEASURE;
		window_open(r, r->start_ns);
	}
	err = c->raw ? raw_run(r) : libnfs_run(r);
	if (!err && whole(c)) {
		if (c->op == OP_WRITE && setup_commit(r)) {
			snprintf(r->first_error, sizeof(r->first_error), "COMMIT failed");
			r->errors++;
		}
		window_close(r, now_ns());
	}
	return err;
}

/* ---- the report ------------------------------------------------------------------------ */

static void report_server(const struct load_run *r)
{
	const struct load_cfg *c = r->cfg;
	double cpu = (double)(r->cpu_server1 - r->cpu_server0), ops = r->ops ? (double)r->ops : 1;
	uint64_t user = 0, sys = 0, hwm = 0, later = 0;

	printf(",\n \"server_cpu_us_per_op\": %.3f, \"server_cpu_s\": %.4f", cpu / 1e3 / ops,
	       cpu / 1e9);
	if (r->bytes)
		printf(", \"server_cpu_ms_per_gib\": %.1f",
		       cpu / 1e6 / ((double)r->bytes / (1u << 30)));
	if (c->settle_s > 0) {
		struct timespec ts = { (time_t)c->settle_s,
				       (long)((c->settle_s - (double)(time_t)c->settle_s) * 1e9) };

		nanosleep(&ts, NULL);
		if (!server_cpu_ns(c->server_pid, &later))
			printf(", \"server_cpu_us_per_op_settled\": %.3f",
			       (double)(later - r->cpu_server0) / 1e3 / ops);
	}
	if (!server_stat(c->server_pid, &user, &sys, &hwm))
		printf(",\n \"server_user_ms_total\": %" PRIu64 ", \"server_sys_ms_total\": %"
		       PRIu64 ", \"server_hwm_kib\": %" PRIu64, user, sys, hwm);
}

static void report(const struct load_run *r)
{
	const struct load_cfg *c = r->cfg;
	double s = (double)(r->end_ns - r->window_ns) / 1e9;
	double self = (double)(r->cpu_self1 - r->cpu_self0) / 1e9;

	printf("{\"engine\": \"%s\", \"version\": \"%s\", \"op\": \"%s\", \"pattern\": \"%s\", \"conns\": %u, "
	       "\"depth\": %u, \"bs\": %u, \"size\": %" PRIu64 ",\n",
	       c->raw ? "raw" : "libnfs", c->v4 ? "4.1" : "3", op_names[c->op], c->random ? "random" : "sequential",
	       c->conns, c->depth, c->bs, c->size);
	printf(" \"ops\": %" PRIu64 ", \"errors\": %" PRIu64 ", \"first_error\": \"%s\", "
	       "\"elapsed_s\": %.4f, \"ops_s\": %.1f, \"mb_s\": %.2f,\n", r->ops, r->errors,
	       r->first_error, s, (double)r->ops / s, (double)r->bytes / 1e6 / s);
	printf(" \"lat_us\": {\"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"max\": %.1f},\n",
	       hist_us(&r->lat, 0.5), hist_us(&r->lat, 0.99), hist_us(&r->lat, 0.999),
	       (double)r->lat.max / 1e3);
	printf(" \"client_cpu_us_per_op\": %.3f, \"client_busy\": %.3f, \"client_saturated\": %s",
	       r->ops ? self * 1e6 / (double)r->ops : 0, self / s,
	       self / s > 0.95 ? "true" : "false");
	if (c->server_pid)
		report_server(r);
	printf("}\n");
}

/* ---- options --------------------------------------------------------------------------- */

static const char usage_text[] =
"usage: nfsload --export PATH [--file NAME] [options]\n"
"  --host H --port N --mountport N   server (127.0.0.1, 2049, the NFS port)\n"
"  --engine raw|libnfs               who issues the calls (libnfs)\n"
"  --v4                              by NFSv4.1: raw, --op getattr or read, at most 64 deep\n"
"  --export4 PATH                    the export's path by NFSv4, if that is another\n"
"  --op null|getattr|read|write|write-sync|commit\n"
"  --bs BYTES --size BYTES           of a request, and of the part of the file that is used\n"
"  --random | --stride BYTES         random offsets, or every so many bytes (bs)\n"
"  --conns N --depth N               connections, requests in flight on each (1, 1)\n"
"  --seconds S --warmup S | --ops N  a timed run (3, 0.5), or a fixed number of requests\n"
"  --settle S                        read the server's CPU again S later\n"
"  --server-pid PID                  measure its CPU time\n"
"  --create --no-check --seed N --uid N --gid N\n"
"Sizes take K, M, G, T.  The report is JSON on standard output.\n";

static uint64_t number(const char *name, const char *text)
{
	char *end;

	errno = 0;
	uint64_t v = strtoull(text, &end, 0);
	const char *units = "KMGT", *u = *end ? strchr(units, *end) : NULL;

	if (u && !end[1]) {
		v <<= 10 * (u - units + 1);
		end++;
	}
	if (end == text || *end || errno || *text == '-') {
		fprintf(stderr, "nfsload: --%s: '%s' is not a number\n", name, text);
		exit(2);
	}
	return v;
}

static enum load_op op_parse(const char *text)
{
	for (int i = 0; i < OP_COUNT; i++)
		if (!strcmp(text, op_names[i]))
			return (enum load_op)i;
	fprintf(stderr, "nfsload: --op: no operation '%s'\n", text);
	exit(2);
}

enum { O_HOST = 256, O_PORT, O_MPORT, O_EXPORT, O_FILE, O_ENGINE, O_OP, O_BS, O_SIZE, O_RANDOM,
       O_STRIDE, O_CONNS, O_DEPTH, O_SECONDS, O_WARMUP, O_OPS, O_SETTLE, O_PID, O_CREATE,
       O_NOCHECK, O_SEED, O_UID, O_GID, O_V4, O_EXPORT4 };

static const struct option options[] = {
	{ "host", 1, 0, O_HOST }, { "port", 1, 0, O_PORT }, { "mountport", 1, 0, O_MPORT },
	{ "export", 1, 0, O_EXPORT }, { "file", 1, 0, O_FILE }, { "engine", 1, 0, O_ENGINE },
	{ "op", 1, 0, O_OP }, { "bs", 1, 0, O_BS }, { "size", 1, 0, O_SIZE },
	{ "random", 0, 0, O_RANDOM }, { "stride", 1, 0, O_STRIDE }, { "conns", 1, 0, O_CONNS },
	{ "depth", 1, 0, O_DEPTH }, { "seconds", 1, 0, O_SECONDS }, { "warmup", 1, 0, O_WARMUP },
	{ "ops", 1, 0, O_OPS }, { "settle", 1, 0, O_SETTLE }, { "server-pid", 1, 0, O_PID },
	{ "create", 0, 0, O_CREATE }, { "no-check", 0, 0, O_NOCHECK }, { "seed", 1, 0, O_SEED },
	{ "uid", 1, 0, O_UID }, { "gid", 1, 0, O_GID }, { "v4", 0, 0, O_V4 },
	{ "export4", 1, 0, O_EXPORT4 }, { 0 },
};

static void option_set(struct load_cfg *c, int o, const char *name, const char *arg)
{
	switch (o) {
	case O_HOST: c->host = arg; break;
	case O_PORT: c->port = (unsigned)number(name, arg); break;
	case O_MPORT: c->mountport = (unsigned)number(name, arg); break;
	case O_EXPORT: c->export = arg; break;
	case O_FILE: c->file = arg; break;
	case O_ENGINE: c->raw = !strcmp(arg, "raw"); break;
	case O_OP: c->op = op_parse(arg); break;
	case O_BS: c->bs = (uint32_t)number(name, arg); break;
	case O_SIZE: c->size = number(name, arg); break;
	case O_RANDOM: c->random = true; break;
	case O_STRIDE: c->stride = number(name, arg); break;
	case O_CONNS: c->conns = (unsigned)number(name, arg); break;
	case O_DEPTH: c->depth = (unsigned)number(name, arg); break;
	case O_SECONDS: c->seconds = atof(arg); break;
	case O_WARMUP: c->warmup_s = atof(arg); break;
	case O_OPS: c->max_ops = number(name, arg); break;
	case O_SETTLE: c->settle_s = atof(arg); break;
	case O_PID: c->server_pid = (int)number(name, arg); break;
	case O_CREATE: c->create = true; break;
	case O_NOCHECK: c->check = false; break;
	case O_SEED: c->seed = number(name, arg); break;
	case O_UID: c->uid = (uint32_t)number(name, arg); break;
	case O_GID: c->gid = (uint32_t)number(name, arg); break;
	case O_V4: c->v4 = true; break;
	case O_EXPORT4: c->export4 = arg; break;
	default: fputs(usage_text, stderr); exit(2);
	}
}

static void options_check(struct load_cfg *c)
{
	const char *bad = NULL;

	if (!c->mountport)
		c->mountport = c->port;
	if (!c->conns || c->conns > LOAD_CONNS_MAX)
		bad = "--conns is out of range";
	else if (!c->depth || c->depth > LOAD_DEPTH_MAX)
		bad = "--depth is out of range";
	else if (!c->bs || c->bs > LOAD_BS_MAX || c->bs % LOAD_BLOCK)
		bad = "--bs has to be a multiple of 4K, at most 1M";
	else if (c->size < c->bs || c->stride % LOAD_BLOCK || c->stride > c->size)
		bad = "--size, --bs and --stride don't fit";
	else if (c->op != OP_NULL && !c->export)
		bad = "--export is missing";
	else if (c->v4 && (!c->raw || !c->file || c->create || c->depth > 64 ||
			   (c->op != OP_GETATTR && c->op != OP_READ)))
		bad = "--v4 needs --engine raw, a --file, --op getattr or read, --depth 64 at most";
	else if (!c->max_ops && c->seconds <= 0)
		bad = "--seconds has to be positive";
	if (bad) {
		fprintf(stderr, "nfsload: %s\n", bad);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct load_cfg c = { .host = "127.0.0.1", .port = 2049, .conns = 1, .depth = 1,
			      .op = OP_READ, .bs = 4096, .size = 256u << 20, .check = true,
			      .seconds = 3, .warmup_s = 0.5, .seed = 1 };
	static struct load_run r;
	int o, index = 0;

	while ((o = getopt_long(argc, argv, "", options, &index)) != -1)
		option_set(&c, o, o == '?' ? "" : options[index].name, optarg);
	if (optind < argc) {
		fputs(usage_text, stderr);
		return 2;
	}
	options_check(&c);
	r.cfg = &c;
	r.rng = c.seed;
	if (c.server_pid && server_cpu_ns(c.server_pid, &r.cpu_server0)) {
		fprintf(stderr, "nfsload: no CPU clock of process %d\n", c.server_pid);
		return 1;
	}
	if (pattern_fill(&r) || setup_file(&r))
		return 1;
	int err = run(&r);

	if (err) {
		fprintf(stderr, "nfsload: %s: %s\n",
			r.first_error[0] ? r.first_error : "the load broke off", strerror(-err));
		return 1;
	}
	report(&r);
	free(r.pattern);
	return r.errors ? 1 : 0;
}
