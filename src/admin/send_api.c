/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending: a fiber makes the stream into a buffer, and each GET takes what is in it.
 *
 *   POST /v1/sends ---> fiber ~~> buffer ~~> GET /v1/sends/ID, until one is empty ---> gone
 *                          |
 *                          +--- an error: the next GET says which;  DELETE, SIGTERM, silence (a POST to
 *                               /v1/sends/ID breaks it)
 *
 * The table belongs to the loop's thread.  One with users > 0 is being looked at by a fiber that may wait.
 */
#include "admin/repl_api.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/fiber.h"

#define SEND_BUFFER ((size_t)8 << 20)
#define SEND_PIECE ((size_t)1 << 20)	/* what a GET waits for, unless it is the end */

struct sending {
	struct admin *admin;
	char id[UPLOAD_ID_LEN + 1];
	struct objsnap at;
	char from[OBJNAME_VOLUME_MAX + 1];
	struct stream_token token;
	bool resumed, ended, cancelled;
	int err;
	char why[SEND_WHY];
	char *data;
	size_t len;
	struct waitq changed;
	unsigned users;
	uint64_t last_ns;
};

/* ---- the fiber ------------------------------------------------------------------------------ */

static int buffer_put(void *arg, const void *data, size_t len)
{
	struct sending *s = arg;

	while (!s->cancelled && s->len + len > SEND_BUFFER)
		waitq_wait(&s->changed);
	if (s->cancelled)
		return -ECANCELED;
	memcpy(s->data + s->len, data, len);
	s->len += len;
	if (s->len >= SEND_PIECE)
		waitq_wake_all(&s->changed);
	return 0;
}

static void send_fiber(void *arg)
{
	struct sending *s = arg;
	struct send_opts o = { .volume = s->at.volume, .snapshot = s->at.snapshot,
			       .from = s->from[0] ? s->from : NULL,
			       .resume = s->resumed ? &s->token : NULL };
	struct send_stats stats;

	s->err = send_run(s->admin->cfg.fs, &o, buffer_put, s, &stats, s->why);
	s->ended = true;
	waitq_wake_all(&s->changed);
}

static void sending_free(struct sending *s)
{
	if (s)
		free(s->data);
	free(s);
}

/* ---- the table ------------------------------------------------------------------------------ */

static struct sending **slot_of(struct admin *a, const char *id)
{
	for (unsigned i = 0; i < TRANSFERS_MAX; i++)
		if (id ? a->sends[i] && !strcmp(a->sends[i]->id, id) : !a->sends[i])
			return &a->sends[i];
	return NULL;
}

bool sends_use(const struct admin *a, const char *volume, const char *snapshot)
{
	for (unsigned i = 0; i < TRANSFERS_MAX; i++) {
		const struct sending *s = a->sends[i];

		if (s && !s->ended && !strcmp(s->at.volume, volume) &&
		    (!snapshot || !strcmp(s->at.snapshot, snapshot) || !strcmp(s->from, snapshot)))
			return true;
	}
	return false;
}

/* Ends its fiber and takes it out of the table.  Waits. */
static void sending_end(struct sending **slot)
{
	struct sending *s = *slot;

	*slot = NULL;
	s->cancelled = true;
	while (!s->ended) {
		waitq_wake_all(&s->changed);
		waitq_wait_timeout(&s->changed, 100 * 1000 * 1000);
	}
	sending_free(s);
}

static uint64_t idle_ns(const struct admin *a) { return a->cfg.upload_timeout_s * 1000000000ull; }

static void sweep_fiber(void *arg)
{
	struct admin *a = arg;

	for (unsigned i = 0; i < TRANSFERS_MAX; i++) {
		struct sending *s = a->sends[i];

		if (s && !s->users && loop_now_ns() - s->last_ns > idle_ns(a))
			sending_end(&a->sends[i]);
	}
	a->send_sweeping = false;
	for (unsigned i = 0; i < TRANSFERS_MAX; i++)
		if (a->sends[i])
			timer_set(&a->send_timer, idle_ns(a) / 10);
}

static void sweep_due(struct timer *t)
{
	struct admin *a = container_of(t, struct admin, send_timer);

	a->send_sweeping = true;
	if (fiber_spawn(sweep_fiber, a, "sends")) {
		a->send_sweeping = false;
		timer_set(&a->send_timer, idle_ns(a) / 10);
	}
}

void sends_init(struct admin *a)
{
	timer_init(&a->send_timer, sweep_due);
}

void sends_stop(struct admin *a)
{
	while (a->send_sweeping)
		loop_sleep_ns(1000 * 1000);
	timer_cancel(&a->send_timer);
	for (unsigned i = 0; i < TRANSFERS_MAX; i++)
		if (a->sends[i])
			sending_end(&a->sends[i]);
}

/* ---- begin ---------------------------------------------------------------------------------- */

/* -ESRCH: no such snapshot, of S->from or of the one that is sent (ARG: its name then). */
static int begin_run(struct call *c, void *arg)
{
	struct sending *s = *(struct sending **)arg, **slot = slot_of(c->admin, NULL);
	CLEANUP_FREE struct fs_snapshot_info *info = malloc(sizeof(*info));
	uint8_t random[UPLOAD_ID_LEN / 2];
	int err = !info ? -ENOMEM : slot ? 0 : -EUSERS;

	if (!err)
		err = fs_snapshot_find(c->req.fs, s->at.volume, s->at.snapshot, info);
	if (!err && getrandom(random, sizeof(random), 0) != sizeof(random))
		err = -EIO;
	if (err)
		return err;
	for (unsigned i = 0; i < sizeof(random); i++)
		sprintf(s->id + 2 * i, "%02x", random[i]);
	s->last_ns = loop_now_ns();
	slot = slot_of(c->admin, NULL);
	err = slot ? fiber_spawn(send_fiber, s, "send") : -EUSERS;
	if (err)
		return err;
	*slot = s;
	*(struct sending **)arg = NULL;	/* the table's now */
	memcpy(c->state, s->id, sizeof(s->id));
	timer_set(&c->admin->send_timer, idle_ns(c->admin) / 10);
	return 0;
}

static bool from_take(struct call *c, struct sending *s)
{
	char why[OBJNAME_WHY];
	struct objsnap from;
	const char *text;
	size_t len;

	if (!arg_given(c, "from"))
		return true;
	if (!arg_text(c, "from", &text, &len))
		return false;
	if (objsnap_parse(text, len, false, &from, why)) {
		call_fail(c, 400, "bad_name", "%s", why);
		return false;
	}
	if (strcmp(from.volume, s->at.volume)) {
		call_fail(c, 400, "other_volume", "%s@%s: must be an older snapshot of %s", from.volume,
			  from.snapshot, s->at.volume);
		return false;
	}
	memcpy(s->from, from.snapshot, sizeof(s->from));
	return true;
}

static bool args_take(struct call *c, struct sending *s)
{
	char why[OBJNAME_WHY];
	const char *text;
	size_t len;

	if (!arg_text(c, "snapshot", &text, &len))
		return false;
	if (objsnap_parse(text, len, false, &s->at, why)) {
		call_fail(c, 400, "bad_name", "%s", why);
		return false;
	}
	if (!from_take(c, s))
		return false;
	s->resumed = arg_given(c, "resume");
	if (!s->resumed)
		return true;
	if (!arg_text(c, "resume", &text, &len))
		return false;
	if (stream_token_parse(text, &s->token)) {
		call_fail(c, 400, "bad_argument", "%s@%s: this is not a token; 'pando receive --list' on the other "
			  "side shows it", s->at.volume, s->at.snapshot);
		return false;
	}
	return true;
}

void post_sends(struct call *c)
{
	struct sending *s = calloc(1, sizeof(*s));
	struct objsnap at;
	int err;

	c->state = calloc(1, UPLOAD_ID_LEN + 1);
	if (s)
		s->data = malloc(SEND_BUFFER);
	if (!s || !s->data || !c->state) {
		call_fail_err(c, -ENOMEM, "send");
	} else if (args_take(c, s)) {
		s->admin = c->admin;
		waitq_init(&s->changed);
		at = s->at;
		err = call_run(c, begin_run, &s);
		if (!err)
			call_reply(c, 201, json_pack("{s:s}", "id", (const char *)c->state));
		else if (err == -EUSERS)
			call_fail(c, 503, "busy", "%s@%s: %d snapshots are being sent already; try again later",
				  at.volume, at.snapshot, TRANSFERS_MAX);
		else
			call_fail_err(c, err == -ENOENT ? -ESRCH : err, "%s@%s", at.volume, at.snapshot);
	}
	sending_free(s);
}

/* ---- data, and the end ---------------------------------------------------------------------- */

struct piece { char *data; size_t len; char why[SEND_WHY]; };

static int piece_run(struct call *c, void *arg)
{
	struct sending **slot = slot_of(c->admin, c->name), *s;
	struct piece *p = arg;
	int err = 0;

	if (!slot)
		return -ENOKEY;
	s = *slot;
	if (s->users)
		return -EBUSY;
	s->users++;
	while (!s->ended && s->len < SEND_PIECE && !c->admin->stopping)
		waitq_wait_timeout(&s->changed, 100 * 1000 * 1000);
	s->users--;
	s->last_ns = loop_now_ns();
	if (!s->ended && s->len < SEND_PIECE)
		return -EINTR;
	if (s->ended && s->err) {
		memcpy(p->why, s->why, sizeof(p->why));
		err = s->err;
	} else {
		p->len = s->len;
		p->data = malloc(p->len + 1);
		if (!p->data)
			return -ENOMEM;
		memcpy(p->data, s->data, p->len);
		s->len = 0;
		waitq_wake_all(&s->changed);
	}
	if (s->ended && !p->len)
		sending_end(slot);	/* an error, or an empty piece: it was the last */
	return err;
}

static void send_fail(struct call *c, int err)
{
	if (err == -ENOKEY)
		call_fail(c, 404, "no_upload", "%s: nothing is being sent under this id; it is finished, or nobody "
			  "has asked for more for over %u seconds", c->name, c->admin->cfg.upload_timeout_s);
	else
		call_fail_err(c, err, "send %s", c->name);
}

void get_send(struct call *c)
{
	struct piece *p = calloc(1, sizeof(*p));
	int err;

	c->state = p;
	err = p ? call_run(c, piece_run, p) : -ENOMEM;
	if (!err)
		call_reply_raw(c, p->data, p->len, "application/octet-stream");
	else if (p && p->why[0])
		call_fail(c, err == -EINVAL ? 400 : err == -ENOENT || err == -ESTALE ? 404 : 500, "not_sent", "%s",
			  p->why);
	else
		send_fail(c, err);
}

static int alive_run(struct call *c, void *arg)
{
	struct sending **slot = slot_of(c->admin, c->name);

	if (!slot)
		return -ENOKEY;
	(*slot)->last_ns = loop_now_ns();
	return 0;
}

/* Whoever takes the stream is still there, and busy with what it has. */
void post_send(struct call *c)
{
	int err = call_run(c, alive_run, NULL);

	if (err)
		send_fail(c, err);
	else
		call_reply(c, 200, json_pack("{s:s}", "sending", c->name));
}

static int cancel_run(struct call *c, void *arg)
{
	struct sending **slot = slot_of(c->admin, c->name);

	if (!slot)
		return -ENOKEY;
	if ((*slot)->users)
		return -EBUSY;
	sending_end(slot);
	return 0;
}

void delete_send(struct call *c)
{
	int err = call_run(c, cancel_run, NULL);

	if (err)
		send_fail(c, err);
	else
		call_reply(c, 200, json_pack("{s:s}", "cancelled", c->name));
}
