/* SPDX-License-Identifier: Apache-2.0 */
/* The pool as a whole: status, health, checkpoint, metrics, and the NFS server's counters. */
#include "admin/admin_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nfs/server.h"

#define BLOCK 4096ull

static int status_run(struct call *c, void *arg)
{
	fs_status(c->admin->cfg.fs, arg);
	return 0;
}

/* Every number of the pool, once: for JSON under its name, for metrics as pando_NAME.
 * Names that end in _total only ever grow while the daemon lives. */
#define POOL_NUMBERS(X, s) \
	X("size_bytes", (s)->size_blocks * BLOCK, "Size of the pool") \
	X("free_bytes", (s)->free_blocks * BLOCK, "Space that nothing uses") \
	X("reserved_bytes", (s)->reserved_blocks * BLOCK, \
	  "Of the free space, what is kept for deleting and recovering") \
	X("metadata_bytes", (s)->meta_blocks * BLOCK, "Fixed tables, labels and the log") \
	X("pending_free_bytes", (s)->pending_free_blocks * BLOCK, "Free after a checkpoint") \
	X("log_bytes", (s)->log_bytes, "Size of the intent log") \
	X("log_used_bytes", (s)->log_used_bytes, "Records since the last checkpoint") \
	X("cache_bytes", (s)->cache_bytes, "Limit of the block cache") \
	X("cache_used_bytes", (s)->cache_used_bytes, "Blocks in the cache") \
	X("dirty_bytes", (s)->dirty_bytes, "Of them, not yet on the device") \
	X("cache_hits_total", (s)->cache_hits, "Blocks found in the cache") \
	X("cache_misses_total", (s)->cache_misses, "Blocks that had to be read") \
	X("checkpoints_total", (s)->checkpoints, "Checkpoints taken") \
	X("last_checkpoint_ns", (s)->last_checkpoint_ns, "How long the last checkpoint took") \
	X("reap_entries", (s)->reap_entries, "Removed trees whose space is not yet free") \
	X("operations_total", (s)->ops, "Operations executed") \
	X("flushes_total", (s)->flushes, "Flushes of the device") \
	X("blocks_written_total", (s)->blocks_written, "Blocks written to the device") \
	X("blocks_read_total", (s)->blocks_read, "Blocks read from the device") \
	X("replayed_records", (s)->replayed_records, "Log records replayed at opening") \
	X("open_ns", (s)->open_ns, "How long opening the pool took") \
	X("checksum_errors_total", (s)->checksum_errors, "Blocks whose checksum was wrong") \
	X("io_errors_total", (s)->io_errors, "Requests that the device failed") \
	X("life", (s)->life, "How many times the pool was opened") \
	X("generation", (s)->generation, "Number of the current generation") \
	X("log_seq", (s)->log_seq, "Number of the last log record")

static uint64_t avail_bytes(const struct fs_status *st)
{
	return st->free_blocks > st->reserved_blocks
	     ? (st->free_blocks - st->reserved_blocks) * BLOCK : 0;
}

void get_pool(struct call *c)
{
	struct fs_status st;
	json_t *j;
	int err = call_run(c, status_run, &st);

	if (err) {
		call_fail_err(c, err, "%s", c->admin->cfg.pool_path);
		return;
	}
	j = json_pack("{s:s,s:o?,s:s,s:I,s:b,s:s}", "path", c->admin->cfg.pool_path, "uuid",
		      json_uuid(st.uuid), "version", PANDO_VERSION, "pid",
		      (json_int_t)getpid(), "read_only", st.readonly, "reason", st.reason);
	if (!j) {
		call_fail_err(c, -ENOMEM, "%s", c->admin->cfg.pool_path);
		return;
	}
	json_set_u64(j, "available_bytes", avail_bytes(&st));
#define SET(name, value, help) json_set_u64(j, name, value);
	POOL_NUMBERS(SET, &st)
#undef SET
	call_reply(c, 200, j);
}

static int checkpoint_run(struct call *c, void *arg)
{
	int err = fs_checkpoint(c->admin->cfg.fs);

	if (!err)
		fs_status(c->admin->cfg.fs, arg);
	return err;
}

void post_checkpoint(struct call *c)
{
	struct fs_status st;
	int err = call_run(c, checkpoint_run, &st);
	json_t *j;

	if (err) {
		call_fail_err(c, err, "%s", c->admin->cfg.pool_path);
		return;
	}
	j = json_object();
	if (j)
		json_set_u64(j, "generation", st.generation);
	call_reply(c, 200, j);
}

/* 200 as long as everything is as it should be, 503 when a person has to look. */
void get_health(struct call *c)
{
	struct fs_status st;
	int err = call_run(c, status_run, &st);

	if (err)
		call_fail_err(c, err, "%s", c->admin->cfg.pool_path);
	else if (st.readonly)
		call_fail(c, 503, "read_only", "%s: the pool is read-only: %s",
			  c->admin->cfg.pool_path, st.reason);
	else if (st.checksum_errors || st.io_errors)
		call_fail(c, 503, "errors", "%s: %llu checksum errors and %llu I/O errors since the "
			  "start; see pandod's log", c->admin->cfg.pool_path,
			  (unsigned long long)st.checksum_errors, (unsigned long long)st.io_errors);
	else
		call_reply(c, 200, json_pack("{s:s}", "status", "ok"));
}

/* ---- metrics: the text format of Prometheus ------------------------------------------------- */

struct metrics {
	struct fs_status pool;
	struct nfs_stats nfs;
};

static int metrics_run(struct call *c, void *arg)
{
	struct metrics *m = arg;

	fs_status(c->admin->cfg.fs, &m->pool);
	if (c->admin->cfg.nfs)
		nfs_server_stats(c->admin->cfg.nfs, &m->nfs);
	return 0;
}

static void metric(struct buf *b, const char *name, uint64_t value, const char *help)
{
	size_t n = strlen(name);
	bool counter = n > 6 && !strcmp(name + n - 6, "_total");

	buf_printf(b, "# HELP pando_%s %s\n# TYPE pando_%s %s\npando_%s %llu\n", name, help, name,
		   counter ? "counter" : "gauge", name, (unsigned long long)value);
}

void get_metrics(struct call *c)
{
	CLEANUP_FREE struct metrics *m = calloc(1, sizeof(*m));
	struct admin *a = c->admin;
	struct buf b;

	if (!m || call_run(c, metrics_run, m)) {
		call_fail_err(c, -ENOMEM, "metrics");
		return;
	}
	buf_init(&b, 256 * 1024);
#define PUT(name, value, help) metric(&b, "pool_" name, value, help);
	POOL_NUMBERS(PUT, &m->pool)
#undef PUT
	metric(&b, "pool_read_only", m->pool.readonly, "1 when the pool takes no changes");
	metric(&b, "management_requests_total", atomic_load(&a->requests),
	       "Requests to the management API");
	metric(&b, "management_failures_total", atomic_load(&a->failures),
	       "Of them, answered with an error");
	if (b.failed) {
		buf_release(&b);
		call_fail_err(c, -ENOMEM, "metrics");
		return;
	}
	call_reply_raw(c, b.data, b.len, "text/plain; version=0.0.4");
}
