/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receiving: a stream comes in piece by piece, in order.
 *
 *   POST /v1/receives ---> open --- PUT ---> open --- POST .../ID ---> there, durable
 *                            |
 *                            +--- DELETE, silence, SIGTERM, a refusal: what has come up to the last mark is
 *                                 kept, if anything, and listed by GET /v1/receives
 *
 * The table belongs to the loop's thread.  One with users > 0 is being worked on by a fiber that may wait.
 */
#include "admin/repl_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/fiber.h"
#include "base/log.h"

struct receiving {
	char id[UPLOAD_ID_LEN + 1];
	char volume[OBJNAME_VOLUME_MAX + 1];
	struct receive *r;
	unsigned users;
	uint64_t last_ns;
};

static uint64_t idle_ns(const struct admin *a) { return a->cfg.upload_timeout_s * 1000000000ull; }

static struct receiving **slot_of(struct admin *a, const char *id)
{
	for (unsigned i = 0; i < TRANSFERS_MAX; i++)
		if (id ? a->receives[i] && !strcmp(a->receives[i]->id, id) : !a->receives[i])
			return &a->receives[i];
	return NULL;
}

static bool is_receiving(const struct admin *a, const char *volume)
{
	for (unsigned i = 0; i < TRANSFERS_MAX; i++)
		if (a->receives[i] && !strcmp(a->receives[i]->volume, volume))
			return true;
	return false;
}

/* Closes it and takes it out of the table, in the end: until then its volume is taken.  Waits. */
static bool receiving_end(struct receiving **slot, struct stream_token *ret)
{
	struct receiving *x = *slot;
	bool kept;

	x->users++;
	kept = receive_close(x->r, ret);
	*slot = NULL;
	free(x);
	return kept;
}

/* ---- the silent ones, and what earlier lives have left ------------------------------------------ */

static void sweep_fiber(void *arg)
{
	struct admin *a = arg;
	struct stream_token token;
	bool left = false;

	if (!a->receives_swept) {
		int err = unfinished_sweep(a->cfg.fs);

		if (err && err != -EROFS)
			log_error("looking for what interrupted transfers have left: %s", err_text(err));
		a->receives_swept = true;
	}
	for (unsigned i = 0; i < TRANSFERS_MAX; i++) {
		struct receiving *x = a->receives[i];

		if (x && !x->users && loop_now_ns() - x->last_ns > idle_ns(a))
			receiving_end(&a->receives[i], &token);
		left |= a->receives[i] != NULL;
	}
	a->receive_sweeping = false;
	if (left)
		timer_set(&a->receive_timer, idle_ns(a) / 10);
}

static void sweep_due(struct timer *t)
{
	struct admin *a = container_of(t, struct admin, receive_timer);

	a->receive_sweeping = true;
	if (fiber_spawn(sweep_fiber, a, "receives")) {
		a->receive_sweeping = false;
		timer_set(&a->receive_timer, idle_ns(a) / 10);
	}
}

void receives_init(struct admin *a)
{
	timer_init(&a->receive_timer, sweep_due);
	timer_set(&a->receive_timer, 1);
}

void receives_stop(struct admin *a)
{
	struct stream_token token;

	timer_cancel(&a->receive_timer);
	while (a->receive_sweeping)
		loop_sleep_ns(1000 * 1000);
	timer_cancel(&a->receive_timer);
	for (unsigned i = 0; i < TRANSFERS_MAX; i++)
		if (a->receives[i])
			receiving_end(&a->receives[i], &token);
}

/* ---- begin -------------------------------------------------------------------------------------- */

struct receive_args {
	char volume[OBJNAME_VOLUME_MAX + 1];
	bool force;
	char id[UPLOAD_ID_LEN + 1];
	/* out: */
	char why[OBJNAME_WHY + TOKEN_TEXT + 100];
	bool kept;
	struct stream_token token;
	struct fs_snapshot_info info;
	uint64_t bytes;
	json_t *list;
};

static bool volume_take(struct call *c, struct receive_args *a)
{
	const char *text;
	size_t len;

	if (!arg_text(c, "volume", &text, &len) || !volume_name_take(c, text, len))
		return false;
	memcpy(a->volume, text, len + 1);
	return true;
}

static int begin_run(struct call *c, void *arg)
{
	struct receive_args *a = arg;
	struct receiving *x, **slot;
	uint8_t random[UPLOAD_ID_LEN / 2];
	int err;

	while (!c->admin->receives_swept)
		loop_sleep_ns(10 * 1000 * 1000);
	if (is_receiving(c->admin, a->volume))
		return -EALREADY;
	slot = slot_of(c->admin, NULL);
	if (!slot)
		return -EUSERS;
	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	x = calloc(1, sizeof(*x));
	err = x ? receive_open(c->req.fs, a->volume, a->force, &x->r) : -ENOMEM;
	if (err) {
		free(x);
		return err;
	}
	for (unsigned i = 0; i < sizeof(random); i++)
		sprintf(x->id + 2 * i, "%02x", random[i]);
	memcpy(x->volume, a->volume, sizeof(x->volume));
	memcpy(a->id, x->id, sizeof(a->id));
	x->last_ns = loop_now_ns();
	*slot = x;
	timer_set(&c->admin->receive_timer, idle_ns(c->admin) / 10);
	return 0;
}

static void receive_call_fail(struct call *c, const struct receive_args *a, int err)
{
	if (a->why[0])
		call_fail(c, err == -ENOSPC || err == -EDQUOT ? 507 : err == -EEXIST || err == -EBUSY ||
			  err == -ENOTSYNC ? 409 : err == -ENOENT ? 404 : 400, "not_received", "%s: %s", a->volume,
			  a->why);
	else if (err == -EALREADY)
		call_fail(c, 409, "busy", "%s: is being received already; wait, or stop that one first", a->volume);
	else if (err == -EUSERS)
		call_fail(c, 503, "busy", "%s: %d volumes are being received already; try again later", a->volume,
			  TRANSFERS_MAX);
	else if (err == -ENOKEY)
		call_fail(c, 404, "no_upload", "%s: nothing is being received under this id; it is finished, or was "
			  "silent for over %u seconds", c->name, c->admin->cfg.upload_timeout_s);
	else
		call_fail_err(c, err, "%s", a->volume[0] ? a->volume : c->name ? c->name : "receive");
}

static struct receive_args *args_new(struct call *c)
{
	struct receive_args *a = calloc(1, sizeof(*a));

	c->state = a;
	if (!a)
		call_fail_err(c, -ENOMEM, "receive");
	return a;
}

void post_receives(struct call *c)
{
	struct receive_args *a = args_new(c);
	int err;

	if (!a || !volume_take(c, a) || !arg_bool(c, "force", &a->force))
		return;
	err = call_run(c, begin_run, a);
	if (err)
		receive_call_fail(c, a, err);
	else
		call_reply(c, 201, json_pack("{s:s}", "id", a->id));
}

/* ---- data --------------------------------------------------------------------------------------- */

/* It is over.  WHY gets what is known, and from where it can go on. */
static void over(struct receive_args *a, struct receiving **slot)
{
	char reason[OBJNAME_WHY], text[TOKEN_TEXT];

	snprintf(reason, sizeof(reason), "%s", receive_why((*slot)->r));
	a->kept = receiving_end(slot, &a->token);
	stream_token_text(&a->token, text);
	if (a->kept)
		snprintf(a->why, sizeof(a->why), "%s; what had come is kept, and 'pando send --resume %s' goes on",
			 reason, text);
	else
		snprintf(a->why, sizeof(a->why), "%s", reason);
}

/* Whom the call is about: nobody else works on it until users is 0 again. */
static int take(struct call *c, struct receive_args *a, struct receiving ***ret)
{
	struct receiving **slot = slot_of(c->admin, c->name);

	if (!slot)
		return -ENOKEY;
	memcpy(a->volume, (*slot)->volume, sizeof(a->volume));
	if ((*slot)->users)
		return -EBUSY;
	(*slot)->users++;
	*ret = slot;
	return 0;
}

static int feed_run(struct call *c, void *arg)
{
	struct receive_args *a = arg;
	struct receiving **slot, *x;
	int err = take(c, a, &slot);

	if (err)
		return err;
	x = *slot;
	err = receive_feed(x->r, c->body, c->body_len);
	x->users--;
	x->last_ns = loop_now_ns();
	if (err)
		over(a, slot);
	return err;
}

static void put_flush(struct call *c, struct receive_args *a)
{
	/* One without a body says that it goes on. */
	int err = c->body_len || !a->bytes ? call_run(c, feed_run, a) : 0;

	if (err)
		receive_call_fail(c, a, err);
	a->bytes += c->body_len;
	c->body_len = 0;
}

static struct receive_args *put_begin(struct call *c)
{
	struct receive_args *a = args_new(c);

	if (a && atomic_fetch_add(&c->admin->body_bytes, UPLOAD_CHUNK) + UPLOAD_CHUNK <= BODY_MEMORY_MAX)
		c->body = malloc(UPLOAD_CHUNK);
	c->body_cap = a ? UPLOAD_CHUNK : 0;
	if (!c->body && !c->status)
		call_fail_err(c, -ENOMEM, "receive %s", c->name);
	return c->status ? NULL : a;
}

void put_receive_data(struct call *c, const char *data, size_t len)
{
	struct receive_args *a = c->state ? c->state : put_begin(c);
	size_t n;

	if (!a)
		return;
	if (!len)
		put_flush(c, a);
	while (len && !c->status) {
		n = len < UPLOAD_CHUNK - c->body_len ? len : UPLOAD_CHUNK - c->body_len;
		if (a->bytes + c->body_len + n > UPLOAD_PUT_MAX) {
			call_fail(c, 413, "too_large", "receive %s: more than %llu bytes in one PUT", c->name,
				  (unsigned long long)UPLOAD_PUT_MAX);
			return;
		}
		memcpy(c->body + c->body_len, data, n);
		c->body_len += n;
		data += n;
		len -= n;
		if (c->body_len == UPLOAD_CHUNK)
			put_flush(c, a);
	}
}

void put_receive(struct call *c)
{
	struct receive_args *a = c->state;
	json_t *j = json_object();

	if (j)
		json_set_u64(j, "received", a->bytes);
	call_reply(c, 200, j);
}

/* ---- the end ------------------------------------------------------------------------------------ */

/* ARG's force: it is given up, whatever has come. */
static int end_run(struct call *c, void *arg)
{
	struct receive_args *a = arg;
	struct receiving **slot, *x;
	int err = take(c, a, &slot);

	if (err)
		return err;
	x = *slot;
	err = a->force ? -EPIPE : receive_finish(x->r);
	x->users--;
	a->info = *receive_result(x->r);
	a->bytes = receive_bytes(x->r);
	over(a, slot);
	return a->force ? 0 : err;
}

void post_receive(struct call *c)
{
	struct receive_args *a = args_new(c);
	json_t *j;
	int err = a ? call_run(c, end_run, a) : 0;

	if (!a)
		return;
	if (err) {
		receive_call_fail(c, a, err);
		return;
	}
	j = json_pack("{s:s,s:s}", "volume", a->volume, "snapshot", a->info.name);
	if (j) {
		json_set_u64(j, "files", a->info.files);
		json_set_u64(j, "mapped", a->info.mapped_blocks * 4096);
		json_set_u64(j, "received", a->bytes);
	}
	call_reply(c, 201, j);
}

void delete_receive(struct call *c)
{
	struct receive_args *a = args_new(c);
	char text[TOKEN_TEXT];
	int err;

	if (!a)
		return;
	a->force = true;
	err = call_run(c, end_run, a);
	stream_token_text(&a->token, text);
	if (err)
		receive_call_fail(c, a, err);
	else if (a->kept)
		call_reply(c, 200, json_pack("{s:b,s:s}", "kept", 1, "token", text));
	else
		call_reply(c, 200, json_pack("{s:b}", "kept", 0));
}

/* ---- what was interrupted ----------------------------------------------------------------------- */

static int list_add(void *arg, const struct unfinished_info *u)
{
	char text[TOKEN_TEXT];
	json_t *j;

	stream_token_text(&u->token, text);
	j = json_pack("{s:s,s:s,s:s,s:s,s:s}", "volume", u->volume, "source", u->source, "snapshot", u->snapshot,
		      "from", u->from, "token", text);
	if (j)
		json_set_u64(j, "received", u->token.data_bytes);
	return json_array_append_new(arg, j) ? -ENOMEM : 0;
}

static int list_run(struct call *c, void *arg)
{
	struct receive_args *a = arg;

	return unfinished_each(c->req.fs, list_add, a->list);
}

void get_receives(struct call *c)
{
	struct receive_args *a = args_new(c);
	int err;

	if (!a)
		return;
	a->list = json_array();
	err = a->list ? call_run(c, list_run, a) : -ENOMEM;
	if (err)
		call_fail_err(c, err, "what was interrupted");
	else
		call_reply(c, 200, json_pack("{s:O}", "receives", a->list));
	json_decref(a->list);
}

/* It has a place in the table while it lasts, under no id, so that nothing begins that it would take away. */
static int forget_run(struct call *c, void *arg)
{
	struct receive_args *a = arg;
	struct receiving x = { .users = 1 }, **slot;
	int err;

	while (!c->admin->receives_swept)
		loop_sleep_ns(10 * 1000 * 1000);
	if (is_receiving(c->admin, a->volume))
		return -EALREADY;
	slot = slot_of(c->admin, NULL);
	if (!slot)
		return -EUSERS;
	memcpy(x.volume, a->volume, sizeof(x.volume));
	*slot = &x;
	err = unfinished_forget(c->req.fs, a->volume);
	*slot = NULL;
	return err;
}

void delete_receives(struct call *c)
{
	struct receive_args *a = args_new(c);
	int err;

	if (!a || !volume_take(c, a))
		return;
	err = call_run(c, forget_run, a);
	if (err == -ENOENT)
		call_fail(c, 404, "not_found", "%s: nothing that was interrupted is kept for it; 'pando receive --list' "
			  "shows what is", a->volume);
	else if (err)
		receive_call_fail(c, a, err);
	else
		call_reply(c, 200, json_pack("{s:s}", "forgotten", a->volume));
}
