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
	X("available_bytes", avail_bytes(s), "What files can still take of it") \
	X("reserved_bytes", (s)->reserved_blocks * BLOCK, \
	  "Of the free space, what is kept for deleting and recovering") \
	X("metadata_bytes", (s)->meta_blocks * BLOCK, "Fixed tables, labels and the log") \
	X("held_bytes", (s)->held_blocks * BLOCK, "Space that is kept for volumes with reservations") \
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
	X("dedup_written_blocks_total", (s)->dedup.written_blocks, \
	  "Whole blocks written to volumes with dedup on") \
	X("dedup_found_blocks_total", (s)->dedup.found_blocks, "Of them, found to be there already") \
	X("dedup_freed_blocks_total", (s)->dedup.freed_blocks, "Blocks freed by dedup jobs") \
	X("checksum_errors_total", (s)->checksum_errors, "Blocks whose checksum was wrong") \
	X("io_errors_total", (s)->io_errors, "Requests that the device failed") \
	X("life", (s)->life, "How many times the pool was opened") \
	X("generation", (s)->generation, "Number of the current generation") \
	X("log_seq", (s)->log_seq, "Number of the last log record")

static uint64_t avail_bytes(const struct fs_status *st)
{
	uint64_t kept = st->reserved_blocks + st->held_blocks;

	return st->free_blocks > kept ? (st->free_blocks - kept) * BLOCK : 0;
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
		call_fail(c, 503, "errors", "%s: %llu checksum errors and %llu I/O errors since "
			  "the start; see pandod's log", c->admin->cfg.pool_path,
			  (unsigned long long)st.checksum_errors, (unsigned long long)st.io_errors);
	else
		call_reply(c, 200, json_pack("{s:s}", "status", "ok"));
}

/* ---- NFS -------------------------------------------------------------------------------- */

#define PROCS_MAX 256
#define CLIENTS_MAX 1024

struct client_row { struct rpc_client_info info; char addr[RPC_ADDR_TEXT]; };

struct nfs_numbers {
	struct fs_status pool;
	struct nfs_server_stats nfs;
	struct rpc_server_stats rpc;
	struct nfs_proc_info procs[PROCS_MAX];
	unsigned nprocs;
	struct client_row clients[CLIENTS_MAX];
	unsigned nclients;
	uint64_t now_ns;
};

static void proc_add(void *arg, const struct nfs_proc_info *i)
{
	struct nfs_numbers *n = arg;

	if (n->nprocs < PROCS_MAX)
		n->procs[n->nprocs++] = *i;
}

static void client_add(void *arg, const struct rpc_client_info *i)
{
	struct nfs_numbers *n = arg;

	if (n->nclients == CLIENTS_MAX)
		return;
	n->clients[n->nclients].info = *i;
	rpc_addr_text(&i->addr, n->clients[n->nclients++].addr);
}

static int numbers_run(struct call *c, void *arg)
{
	struct nfs_numbers *n = arg;
	struct nfs_server *nfs = c->admin->cfg.nfs;

	fs_status(c->admin->cfg.fs, &n->pool);
	if (!nfs)
		return 0;
	n->now_ns = loop_now_ns();
	nfs_server_stats(nfs, &n->nfs);
	rpc_server_stats(nfs_server_rpc(nfs), &n->rpc);
	nfs_server_procs(nfs, proc_add, n);
	rpc_server_clients(nfs_server_rpc(nfs), client_add, n);
	return 0;
}

static json_t *json_proc(const struct nfs_proc_info *p)
{
	return json_pack("{s:s,s:I,s:s,s:I,s:I,s:I}", "program", p->program, "version",
			 (json_int_t)p->version, "procedure", p->proc, "calls",
			 (json_int_t)p->calls, "errors", (json_int_t)p->errors, "total_ns",
			 (json_int_t)p->total_ns);
}

static json_t *json_client(const struct nfs_numbers *n, const struct client_row *r)
{
	return json_pack("{s:s,s:I,s:I,s:I,s:I,s:I}", "address", r->addr, "connections",
			 (json_int_t)r->info.conns, "requests", (json_int_t)r->info.requests,
			 "bytes_in", (json_int_t)r->info.bytes_in, "bytes_out",
			 (json_int_t)r->info.bytes_out, "idle_ms",
			 (json_int_t)((n->now_ns - r->info.last_ns) / 1000000));
}

static json_t *json_nfs(const struct nfs_numbers *n)
{
	json_t *procs = json_array(), *clients = json_array();
	unsigned i;

	for (i = 0; i < n->nprocs; i++)
		json_array_append_new(procs, json_proc(&n->procs[i]));
	for (i = 0; i < n->nclients; i++)
		json_array_append_new(clients, json_client(n, &n->clients[i]));
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:o?,s:o?}", "bytes_read",
			 (json_int_t)n->nfs.bytes_read, "bytes_written",
			 (json_int_t)n->nfs.bytes_written, "connections", (json_int_t)n->rpc.conns,
			 "requests", (json_int_t)n->rpc.requests, "duplicate_requests",
			 (json_int_t)n->nfs.drc_hits, "in_flight", (json_int_t)n->rpc.in_flight,
			 "procedures", procs, "clients", clients);
}

void get_nfs(struct call *c)
{
	struct nfs_numbers *n = calloc(1, sizeof(*n));
	int err;

	c->state = n;
	if (!c->admin->cfg.nfs) {
		call_fail(c, 404, "not_found", "NFS: is not served by this pandod");
		return;
	}
	err = n ? call_run(c, numbers_run, n) : -ENOMEM;
	if (err)
		call_fail_err(c, err, "NFS");
	else
		call_reply(c, 200, json_nfs(n));
}

/* ---- metrics: the text format of Prometheus --------------------------------------------- */

static void metric(struct buf *b, const char *name, uint64_t value, const char *help)
{
	size_t n = strlen(name);
	bool counter = n > 6 && !strcmp(name + n - 6, "_total");

	buf_printf(b, "# HELP pando_%s %s\n# TYPE pando_%s %s\npando_%s %llu\n", name, help, name,
		   counter ? "counter" : "gauge", name, (unsigned long long)value);
}

static void proc_metrics(struct buf *b, const struct nfs_numbers *n, const char *name,
			 const char *help, uint64_t (*value)(const struct nfs_proc_info *p))
{
	const struct nfs_proc_info *p;

	buf_printf(b, "# HELP pando_%s %s\n# TYPE pando_%s counter\n", name, help, name);
	for (p = n->procs; p < n->procs + n->nprocs; p++)
		if (p->calls)
			buf_printf(b, "pando_%s{program=\"%s%u\",procedure=\"%s\"} %llu\n", name,
				   p->program, p->version, p->proc, (unsigned long long)value(p));
}

static uint64_t proc_calls(const struct nfs_proc_info *p) { return p->calls; }
static uint64_t proc_errors(const struct nfs_proc_info *p) { return p->errors; }
static uint64_t proc_ns(const struct nfs_proc_info *p) { return p->total_ns; }

static void metrics_write(struct buf *b, struct admin *a, const struct nfs_numbers *n)
{
#define PUT(name, value, help) metric(b, "pool_" name, value, help);
	POOL_NUMBERS(PUT, &n->pool)
#undef PUT
	metric(b, "pool_read_only", n->pool.readonly, "1 when the pool takes no changes");
	metric(b, "management_requests_total", atomic_load(&a->requests),
	       "Requests to the management API");
	metric(b, "management_failures_total", atomic_load(&a->failures),
	       "Of them, answered with an error");
	metric(b, "nfs_connections", n->rpc.conns, "Connections of NFS clients");
	metric(b, "nfs_requests_total", n->rpc.requests, "RPC requests");
	metric(b, "nfs_in_flight", n->rpc.in_flight, "Of them, being served");
	metric(b, "nfs_read_bytes_total", n->nfs.bytes_read, "Bytes that clients read");
	metric(b, "nfs_written_bytes_total", n->nfs.bytes_written, "Bytes that clients wrote");
	metric(b, "nfs_duplicate_requests_total", n->nfs.drc_hits,
	       "Retransmissions that got their first answer");
	proc_metrics(b, n, "nfs_calls_total", "Calls by procedure", proc_calls);
	proc_metrics(b, n, "nfs_errors_total", "Of them, answered with an error", proc_errors);
	proc_metrics(b, n, "nfs_nanoseconds_total", "Time spent in them", proc_ns);
}

void get_metrics(struct call *c)
{
	struct nfs_numbers *n = calloc(1, sizeof(*n));
	struct buf b;
	int err;

	c->state = n;
	err = n ? call_run(c, numbers_run, n) : -ENOMEM;
	if (err) {
		call_fail_err(c, err, "metrics");
		return;
	}
	buf_init(&b, 256 * 1024);
	metrics_write(&b, c->admin, n);
	if (b.failed) {
		buf_release(&b);
		call_fail_err(c, -ENOMEM, "metrics");
		return;
	}
	call_reply_raw(c, b.data, b.len, "text/plain; version=0.0.4");
}
