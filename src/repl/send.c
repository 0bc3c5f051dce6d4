/* SPDX-License-Identifier: Apache-2.0 */
/* Records of a stream, and the order of all: see send.h. */
#include "repl/send_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fiber.h"

#define YIELD_RECORDS 64

/* ---- records -------------------------------------------------------------------------------- */

static int give(struct sender *s, const void *data, size_t len)
{
	s->stats.stream_bytes += len;
	return s->out(s->arg, data, len);
}

static int record_out(struct sender *s, unsigned type, size_t len)
{
	struct stream_head head = { .type = type, .len = (uint32_t)len, .seq = s->seq };
	int err;

	head.chain = s->chain = stream_chain(s->chain, &head, s->body);
	err = give(s, &head, sizeof(head));
	return err ? err : give(s, s->body, len);
}

/* The mark that the other side has come to: from here on records are given out. */
static int arrive(struct sender *s, unsigned type)
{
	const struct stream_token *t = s->o->resume;

	if (type == S_MARK && t->number == s->marks && t->skeleton == s->skeleton) {
		s->chain = t->chain;
		s->stats.data_bytes = t->data_bytes;
		return 0;
	}
	snprintf(s->why, SEND_WHY, "%s@%s: cannot go on where the token says, as blocks are shared otherwise "
		 "than when it was sent first; send it from the beginning", s->o->volume, s->o->snapshot);
	return -EINVAL;
}

static int mark_if_due(struct sender *s)
{
	struct stream_mark m = { .number = s->marks + 1, .skeleton = s->skeleton };

	if (s->since_mark < s->mark_bytes)
		return 0;
	s->since_mark = 0;
	s->marks++;
	return send_record(s, S_MARK, &m, sizeof(m), 0);
}

int send_yield(struct sender *s)
{
	fiber_yield();
	return s->out(s->arg, s->body, 0);
}

int send_record(struct sender *s, unsigned type, const void *fixed, size_t fixed_len, size_t tail_len)
{
	struct { uint64_t skeleton; uint32_t type, len; } shape =
		{ s->skeleton, type, (uint32_t)(fixed_len + tail_len) };
	int err = 0;

	memcpy(s->body, fixed, fixed_len);
	s->seq++;
	s->stats.records++;
	s->since_mark += sizeof(struct stream_head) + shape.len;
	if (s->seq > s->skip_to)
		err = record_out(s, type, shape.len);
	else if (s->seq == s->skip_to)
		err = arrive(s, type);
	if (type != S_MARK)
		s->skeleton = hash64_two(&shape, sizeof(shape), fixed, fixed_len);
	if (!err && s->seq % YIELD_RECORDS == 0)
		err = send_yield(s);
	return err || type == S_MARK || type == S_END ? err : mark_if_due(s);
}

int send_each(struct sender *s, change_fn fn)
{
	struct fs_changes *c = calloc(1, sizeof(*c));
	int err = c ? 0 : -ENOMEM;

	if (!err) {
		c->now = s->now.root;
		if (s->base.id)
			c->base = s->base.root;
	}
	while (!err && !c->end) {
		err = fs_changes(&s->req, c);
		for (unsigned i = 0; !err && i < c->n; i++)
			err = fn(s, &c->c[i]);
		if (!err)
			err = send_yield(s);
	}
	free(c);
	return err;
}

/* ---- beginning and end ---------------------------------------------------------------------- */

static int find(struct sender *s, const char *name, struct fs_snapshot_info *ret)
{
	int err = fs_snapshot_find(s->fs, s->o->volume, name, ret);

	if (err)
		snprintf(s->why, SEND_WHY, "%s@%s: %s", s->o->volume, name,
			 err == -ENOENT ? "no such snapshot; 'pando snapshot list' shows those there are" :
			 err_text(err));
	return err;
}

static int token_check(struct sender *s)
{
	const struct stream_token *t = s->o->resume;
	static const uint8_t none[16];

	if (!t)
		return 0;
	if (memcmp(t->snapshot, s->now.uuid, 16) || memcmp(t->from, s->base.id ? s->base.uuid : none, 16)) {
		snprintf(s->why, SEND_WHY, "%s@%s: the token is of another snapshot, or of another --from; "
			 "'pando receive --list' on the other side says which", s->o->volume, s->o->snapshot);
		return -EINVAL;
	}
	s->skip_to = t->seq;
	return 0;
}

static int begin(struct sender *s)
{
	struct stream_magic magic = { .magic = STREAM_MAGIC, .version = STREAM_VERSION };
	struct stream_begin b = { .event = s->now.fsid, .created_ns = (int64_t)s->now.created_ns,
				  .mapped_blocks = s->now.mapped_blocks };
	struct fs_volume_info v;
	struct fs_status st;
	int err = fs_volume_find(s->fs, s->o->volume, &v);

	if (err)
		return err;
	fs_status(s->fs, &st);
	memcpy(b.pool, st.uuid, 16);
	memcpy(b.volume, v.uuid, 16);
	memcpy(b.snapshot, s->now.uuid, 16);
	snprintf(b.volume_name, sizeof(b.volume_name), "%s", v.name);
	snprintf(b.snapshot_name, sizeof(b.snapshot_name), "%s", s->now.name);
	if (s->base.id) {
		memcpy(b.from, s->base.uuid, 16);
		snprintf(b.from_name, sizeof(b.from_name), "%s", s->base.name);
	}
	if (s->o->resume) {
		b.seq = s->o->resume->seq;
		b.chain = s->o->resume->chain;
	}
	memcpy(s->body, &b, sizeof(b));
	s->chain = STREAM_CHAIN;
	err = give(s, &magic, sizeof(magic));
	return err ? err : record_out(s, S_BEGIN, sizeof(b));
}

static int end(struct sender *s)
{
	struct stream_end e = { .records = s->seq, .data_bytes = s->stats.data_bytes };

	if (send_skips(s)) {
		snprintf(s->why, SEND_WHY, "%s@%s: the token leads behind the end of the stream; send it from "
			 "the beginning", s->o->volume, s->o->snapshot);
		return -EINVAL;
	}
	return send_record(s, S_END, &e, sizeof(e), 0);
}

static int run(struct sender *s)
{
	int err = find(s, s->o->snapshot, &s->now);

	if (!err && s->o->from)
		err = find(s, s->o->from, &s->base);
	if (!err && s->base.id >= s->now.id) {
		snprintf(s->why, SEND_WHY, "%s@%s: is not older than %s@%s", s->o->volume, s->o->from,
			 s->o->volume, s->o->snapshot);
		return -EINVAL;
	}
	if (!err)
		err = token_check(s);
	if (!err)
		err = begin(s);
	if (!err)
		err = send_names(s);
	if (!err)
		err = send_contents(s);
	return err ? err : end(s);
}

int send_run(struct fs *fs, const struct send_opts *o, send_out out, void *arg, struct send_stats *ret_stats,
	     char why[SEND_WHY])
{
	struct sender *s = calloc(1, sizeof(*s));
	int err = -ENOMEM;

	why[0] = 0;
	if (s) {
		s->fs = fs;
		fs_req_admin(&s->req, fs);
		s->o = o;
		s->out = out;
		s->arg = arg;
		s->why = why;
		s->mark_bytes = o->mark_bytes ? o->mark_bytes : SEND_MARK_BYTES;
		s->body = malloc(STREAM_BODY_MAX);
		seen_init(&s->seen, o->memory ? o->memory : SEND_MEMORY);
		err = s->body ? run(s) : -ENOMEM;
		*ret_stats = s->stats;
		seen_release(&s->seen);
		free(s->body);
	}
	free(s);
	if (err && !why[0])
		snprintf(why, SEND_WHY, "%s@%s: %s", o->volume, o->snapshot,
			 err == -ESTALE || err == -ENOENT ? "a snapshot was destroyed while it was being sent" :
			 err_text(err));
	return err;
}
