/* SPDX-License-Identifier: Apache-2.0 */
/* The scrub: starting, stopping, how far it is, what it found. */
#include "admin/admin_int.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 4096ull

struct scrub_view {
	struct fs_scrub_status st;
	char (*findings)[FS_SCRUB_TEXT];
	unsigned n;
	uint64_t rate;
};

static int view_run(struct call *c, void *arg)
{
	struct scrub_view *v = arg;
	const char *s;

	fs_scrub_status(c->admin->cfg.fs, &v->st);
	for (v->n = 0; v->n < FS_SCRUB_FINDINGS && (s = fs_scrub_finding(c->admin->cfg.fs, v->n)); v->n++)
		memcpy(v->findings[v->n], s, FS_SCRUB_TEXT);
	return 0;
}

static const char *state(const struct fs_scrub_status *st)
{
	if (!st->started_ns)
		return "never";
	if (st->running)
		return "running";
	return st->result == -EINTR ? "stopped" : st->result ? "failed" : "done";
}

/* Names are bytes, and messages have names in them. */
static json_t *message(const char *s)
{
	json_t *j = json_object(), *text = NULL;

	if (j && !json_set_name(j, "text", s, strlen(s)))
		text = json_incref(json_object_get(j, "text"));
	json_decref(j);
	return text;
}

static void reply(struct call *c, const struct scrub_view *v)
{
	json_t *list = json_array(), *j;

	for (unsigned i = 0; i < v->n; i++)
		json_array_append_new(list, message(v->findings[i]));
	j = json_pack("{s:s,s:o?}", "state", state(&v->st), "messages", list);
	if (j) {
		json_set_u64(j, "done_bytes", v->st.next_block * BLOCK);
		json_set_u64(j, "total_bytes", v->st.total_blocks * BLOCK);
		json_set_u64(j, "verified_bytes", v->st.verified_bytes);
		json_set_u64(j, "findings", v->st.findings);
		json_set_u64(j, "rate", v->st.rate);
		json_set_u64(j, "started_ns", v->st.started_ns);
		json_set_u64(j, "finished_ns", v->st.finished_ns);
	}
	if (j && v->st.result && v->st.result != -EINTR)
		json_object_set_new(j, "reason", json_string(err_text(v->st.result)));
	call_reply(c, 200, j);
}

/* Runs FN on the pool's thread, then answers with the scrub's state. */
static void act(struct call *c, int (*fn)(struct call *c, void *arg), uint64_t rate)
{
	struct scrub_view v = { .rate = rate, .findings = calloc(FS_SCRUB_FINDINGS, FS_SCRUB_TEXT) };
	int err = v.findings ? call_run(c, fn, &v) : -ENOMEM;

	if (!err)
		err = call_run(c, view_run, &v);
	if (err == -EBUSY)
		call_fail(c, 409, "busy", "%s: a scrub is running; stop it first, or wait",
			  c->admin->cfg.pool_path);
	else if (err == -ENOENT)
		call_fail(c, 404, "not_found", "%s: no scrub is running", c->admin->cfg.pool_path);
	else if (err)
		call_fail_err(c, err, "%s", c->admin->cfg.pool_path);
	else
		reply(c, &v);
	free(v.findings);
}

static int start_run(struct call *c, void *arg)
{
	return fs_scrub_start(c->admin->cfg.fs, ((struct scrub_view *)arg)->rate);
}

static int stop_run(struct call *c, void *arg)
{
	return fs_scrub_stop(c->admin->cfg.fs);
}

void get_scrub(struct call *c)
{
	act(c, view_run, 0);
}

void post_scrub(struct call *c)
{
	uint64_t rate = FS_SCRUB_RATE;

	if (arg_number(c, "rate", INT64_MAX, &rate))
		act(c, start_run, rate);
}

void delete_scrub(struct call *c)
{
	act(c, stop_run, 0);
}
