/* SPDX-License-Identifier: Apache-2.0 */
/* Deduplication in the background: starting, cancelling, how far it is, what it saved. */
#include "admin/admin_int.h"

#include <string.h>

struct dedup_view { struct fs_dedup_status st; const char *volume; uint64_t rate; };

static int view_run(struct call *c, void *arg)
{
	fs_dedup_status(c->admin->cfg.fs, &((struct dedup_view *)arg)->st);
	return 0;
}

static const char *state(const struct fs_dedup_status *st)
{
	if (!st->started_ns)
		return "never";
	if (st->running)
		return "running";
	return st->result == -EINTR ? "cancelled" : st->result ? "failed" : "done";
}

static void reply(struct call *c, const struct fs_dedup_status *st)
{
	json_t *j = json_pack("{s:s,s:s}", "state", state(st), "volume", st->volume);

	if (j) {
		json_set_u64(j, "done_bytes", st->done_bytes);
		json_set_u64(j, "total_bytes", st->total_bytes);
		json_set_u64(j, "compared_bytes", st->compared_bytes);
		json_set_u64(j, "saved_bytes", st->freed_bytes);
		json_set_u64(j, "zero_bytes", st->zero_bytes);
		json_set_u64(j, "kept_bytes", st->kept_bytes);
		json_set_u64(j, "differing", st->differing);
		json_set_u64(j, "unreadable", st->unreadable);
		json_set_u64(j, "passes", st->passes);
		json_set_u64(j, "rate", st->rate);
		json_set_u64(j, "started_ns", st->started_ns);
		json_set_u64(j, "finished_ns", st->finished_ns);
	}
	if (j && st->result && st->result != -EINTR)
		json_object_set_new(j, "reason", json_string(err_text(st->result)));
	call_reply(c, 200, j);
}

/* Runs FN on the pool's thread, then answers with the job's state. */
static void act(struct call *c, run_fn fn, struct dedup_view *v)
{
	int err = call_run(c, fn, v), err2 = call_run(c, view_run, v);

	if (err == -EBUSY)
		call_fail(c, 409, "busy", "%s: a dedup job is running, over volume %s; cancel it first, or wait",
			  v->volume, v->st.volume);
	else if (err == -ENOENT && v->volume)
		call_fail_err(c, -ENOMEDIUM, "%s", v->volume);
	else if (err == -ENOENT)
		call_fail(c, 404, "not_found", "%s: no dedup job is running", c->admin->cfg.pool_path);
	else if (err || err2)
		call_fail_err(c, err ? err : err2, "%s", v->volume ? v->volume : c->admin->cfg.pool_path);
	else
		reply(c, &v->st);
}

static int start_run(struct call *c, void *arg)
{
	struct dedup_view *v = arg;

	return fs_dedup_start(c->admin->cfg.fs, v->volume, v->rate);
}

static int stop_run(struct call *c, void *arg)
{
	return fs_dedup_stop(c->admin->cfg.fs);
}

void get_dedup(struct call *c)
{
	struct dedup_view v = { 0 };

	act(c, view_run, &v);
}

void post_dedup(struct call *c)
{
	struct dedup_view v = { .rate = FS_DEDUP_RATE };
	size_t len;

	if (arg_text(c, "volume", &v.volume, &len) && volume_name_take(c, v.volume, len) &&
	    arg_number(c, "rate", INT64_MAX, &v.rate))
		act(c, start_run, &v);
}

void delete_dedup(struct call *c)
{
	struct dedup_view v = { 0 };

	act(c, stop_run, &v);
}
