/* SPDX-License-Identifier: Apache-2.0 */
/* Receiving: the stream's frame, its beginning, marks and end: see receive.h. */
#include "repl/receive_int.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define QUOTA_SMALL "the volume's quota is too small for it; nothing of it was kept"

static struct fs_name name_of(const char *s) { return (struct fs_name){ s, (uint32_t)strlen(s) }; }

int receive_fail(struct receive *r, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (!r->why[0])
		vsnprintf(r->why, sizeof(r->why), fmt, ap);
	va_end(ap);
	return err;
}

/* ---- beginning ------------------------------------------------------------------------------ */

static bool text_ok(const char s[64])
{
	size_t n = strnlen(s, 64);

	if (!n || n == 64)
		return false;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];
		bool alnum = (c | 32) - 'a' < 26u || c - '0' < 10u;

		if (!alnum && (!i || (c != '-' && c != '_' && c != '.')))
			return false;
	}
	return true;
}

static bool is_incremental(const struct stream_begin *b)
{
	static const uint8_t none[16];

	return memcmp(b->from, none, 16);
}

static int begin_check(struct receive *r, const struct stream_begin *b)
{
	if (text_ok(b->volume_name) && text_ok(b->snapshot_name) &&
	    is_incremental(b) == (b->from_name[0] != 0) && (!b->from_name[0] || text_ok(b->from_name)))
		return 0;
	return receive_fail(r, -EPROTO, "the stream begins with names that no volume or snapshot can have");
}

/* The target's snapshot that came from where the stream's --from is. */
static int base_find(struct receive *r, uint32_t volume, const struct stream_begin *b,
		     struct fs_snapshot_info *ret)
{
	uint32_t after = 0;
	int err;

	for (;;) {
		err = fs_snapshot_next(r->fs, volume, after, ret);
		if (err == -ENOENT)
			return receive_fail(r, err, "it has no snapshot that was received from %s@%s, which the "
					    "stream goes on from; send without --from, to another volume, or "
					    "from a snapshot that it has", b->volume_name, b->from_name);
		if (err || !memcmp(ret->uuid, b->from, 16))
			return err;
		after = ret->id;
	}
}

static int changed_check(struct receive *r, const struct fs_volume_info *v, const struct fs_snapshot_info *base)
{
	struct fs_changes *c = calloc(1, sizeof(*c));
	int err = c ? 0 : -ENOMEM;

	if (!err && !r->force) {
		c->now = v->root;
		c->base = base->root;
		err = fs_changes(&r->req, c);
		if (!err && !c->end)
			err = receive_fail(r, -ENOTSYNC, "it has changed since its snapshot %s, which the stream "
					   "goes on from; 'pando snapshot restore' takes the changes back, or "
					   "--force does", base->name);
	}
	free(c);
	return err;
}

/* Where it is to go.  BASE: the target's, id 0 when all is sent. */
static int target_check(struct receive *r, const struct stream_begin *b, struct fs_snapshot_info *base)
{
	struct fs_volume_info v;
	struct fs_snapshot_info s;
	int err = fs_volume_find(r->fs, r->u.volume, &v);

	base->id = 0;
	if (!is_incremental(b)) {
		if (err)
			return err == -ENOENT ? 0 : err;
		return receive_fail(r, -EEXIST, "there is such a volume; receive it under another name, or send "
				    "what has changed since a snapshot that it has, with --from");
	}
	if (err == -ENOENT)
		return receive_fail(r, err, "no such volume; the stream has only what has changed since %s@%s: "
				    "send all of it first, without --from", b->volume_name, b->from_name);
	if (!err)
		err = base_find(r, v.id, b, base);
	if (!err) {
		err = fs_snapshot_find(r->fs, r->u.volume, b->snapshot_name, &s);
		if (!err)
			return receive_fail(r, -EEXIST, "there is a snapshot %s already; destroy that one first",
					    b->snapshot_name);
		err = err == -ENOENT ? changed_check(r, &v, base) : err;
	}
	r->target = v.id;
	return err;
}

static int staging_make(struct receive *r)
{
	struct fs_create how = { .type = FS_DIR, .how = FS_CREATE_GUARDED,
				 .set = { .mask = FS_SET_MODE, .mode = 0700 } };
	struct fs_attr a;
	int err = fs_create(&r->req, hidden_id(r, FS_ROOT_INO), name_of(r->staging_name), &how, &a, NULL);

	if (!err)
		r->staging = a.id;
	return err;
}

static int hidden_make(struct receive *r, const struct fs_snapshot_info *base)
{
	struct fs_snapshot_info s;
	int err;

	err = base->id ? fs_hidden_clone(&r->req, r->u.volume, base->name, r->hidden, &r->vol) :
			 fs_hidden_create(&r->req, r->hidden, &r->vol);
	if (err || !base->id) {
		r->target = r->vol.id;
		return err;
	}
	err = fs_snapshot_create(&r->req, r->hidden, BASE_SNAPSHOT, &s);
	if (!err)
		r->base_snapshot = s.id;
	return err;
}

/* A snapshot has one UUID in all volumes that it was sent to, and other inode numbers in each. */
static int map_check(struct receive *r, const struct stream_begin *b, const struct fs_snapshot_info *base)
{
	if (inomap_get(&r->map, INOMAP_SOURCE) == inomap_source(b->volume))
		return 0;
	return receive_fail(r, -ENOENT, "its snapshot %s was received from another volume than the %s that the stream "
			    "is of, and only that one can go on from it; or receive all of this one, sent without "
			    "--from, under another name", base->name, b->volume_name);
}

static int map_make(struct receive *r, const struct fs_snapshot_info *base)
{
	char name[FILE_NAME_MAX], kept[FILE_NAME_MAX];
	struct fs_id file;
	int err;

	map_name(r->key, 0, name);
	if (!base->id) {
		err = receive_file(&r->req, name, true, &file);
		if (!err)
			err = inomap_set(&r->map, INOMAP_SOURCE, inomap_source(r->u.begin.volume));
		return err ? err : inomap_set(&r->map, FS_ROOT_INO, FS_ROOT_INO);
	}
	kept_map_name(base->uuid, base->volume, kept);
	err = receive_clone(&r->req, kept, name, &file);
	if (err == -ENOENT)
		return receive_fail(r, err, "its snapshot %s was not received here, so the stream cannot go on from "
				    "it", base->name);
	if (!err)
		err = inomap_load(&r->map, &r->req, file);
	return err ? err : map_check(r, &r->u.begin, base);
}

/* As it is now, for mark MARK.  The one of the mark before stays as it is: that is where it goes on if the
 * power goes before the new mark counts. */
static int map_save(struct receive *r, uint64_t mark, char name[FILE_NAME_MAX])
{
	char before[FILE_NAME_MAX];
	struct fs_id file;
	int err;

	map_name(r->key, mark - 1, before);
	map_name(r->key, mark, name);
	err = receive_clone(&r->req, before, name, &file);
	return err ? err : inomap_save(&r->map, &r->req, file);
}

static int begin_fresh(struct receive *r, const struct stream_begin *b)
{
	struct fs_snapshot_info base;
	int err = target_check(r, b, &base);

	if (!err)
		err = unfinished_drop(r->fs, r->key);
	if (err)
		return err;
	r->begun = true;		/* from here on there is something to drop */
	r->u.begin = *b;
	r->u.base = base.id;
	err = unfinished_write(&r->req, r->key, &r->u);
	if (!err)
		err = hidden_make(r, &base);
	if (!err)
		err = staging_make(r);
	return err ? err : map_make(r, &base);
}

/* ---- going on ------------------------------------------------------------------------------- */

static void mark_name(uint64_t number, char name[32])
{
	snprintf(name, 32, "m%llu", (unsigned long long)number);
}

/* The hidden volume is as it was at the last mark; other marks go. */
static int mark_restore(struct receive *r)
{
	struct fs_snapshot_info s;
	uint32_t after = 0;
	char name[32];
	int err;

	mark_name(r->u.token.number, name);
	err = fs_volume_restore(&r->req, r->hidden, name, true);
	while (!err) {
		err = fs_snapshot_next(r->fs, r->vol.id, after, &s);
		if (err)
			break;
		after = s.id;
		if (!strcmp(s.name, BASE_SNAPSHOT))
			r->base_snapshot = s.id;
		else if (strcmp(s.name, name))
			err = fs_snapshot_destroy(&r->req, r->hidden, s.name);
	}
	return err == -ENOENT ? 0 : err;
}

static int state_restore(struct receive *r)
{
	struct fs_volume_info v;
	char name[FILE_NAME_MAX];
	struct fs_id map;
	struct fs_attr a;
	int err = fs_hidden_find(r->fs, r->hidden, &r->vol);

	if (!err)
		err = mark_restore(r);
	r->target = r->vol.id;
	if (!err && r->u.base) {
		err = fs_volume_find(r->fs, r->u.volume, &v);
		r->target = v.id;
	}
	map_name(r->key, r->u.token.number, name);
	if (!err)
		err = receive_file(&r->req, name, false, &map);
	if (!err)
		err = inomap_load(&r->map, &r->req, map);
	if (err)
		return err;
	err = fs_lookup(&r->req, hidden_id(r, FS_ROOT_INO), name_of(r->staging_name), &a, NULL);
	r->cleaned = err == -ENOENT;
	if (!err)
		r->staging = a.id;
	return r->cleaned ? 0 : err;
}

static int begin_resumed(struct receive *r, const struct stream_begin *b)
{
	struct unfinished u;
	int err = unfinished_read(&r->req, r->key, &u);

	if (err == -ENOENT || (!err && !u.token.number))
		return receive_fail(r, -ENOENT, "nothing was interrupted here that the stream could go on with; send "
				    "it without --resume");
	if (err)
		return err;
	if (strcmp(u.volume, r->u.volume) || memcmp(u.begin.snapshot, b->snapshot, 16) ||
	    memcmp(u.begin.from, b->from, 16) || u.token.seq != b->seq || u.token.chain != b->chain)
		return receive_fail(r, -EPROTO, "the stream goes on with another one than was interrupted here, or "
				    "from another place; 'pando receive --list' shows the token");
	r->u = u;
	r->begun = r->keep = true;	/* an error that passes leaves it where it is */
	err = state_restore(r);
	if (err)
		return receive_fail(r, err, "what was received before cannot be gone on with: %s", err_text(err));
	r->seq = u.token.seq;
	r->chain = u.token.chain;
	r->data_bytes = u.token.data_bytes;
	return 0;
}

static int begin(struct receive *r, const struct stream_head *h, const uint8_t *body)
{
	struct stream_begin b;
	int err;

	if (h->type != S_BEGIN || h->len != sizeof(b) || h->seq)
		return receive_fail(r, -EPROTO, "the stream does not begin with its beginning");
	memcpy(&b, body, sizeof(b));
	err = begin_check(r, &b);
	if (err)
		return err;
	snprintf(r->staging_name, sizeof(r->staging_name), ".pando-receive-%02x%02x%02x%02x%02x%02x%02x%02x",
		 b.snapshot[0], b.snapshot[1], b.snapshot[2], b.snapshot[3], b.snapshot[4], b.snapshot[5],
		 b.snapshot[6], b.snapshot[7]);
	return b.seq ? begin_resumed(r, &b) : begin_fresh(r, &b);
}

/* ---- marks ---------------------------------------------------------------------------------- */

static int mark(struct receive *r, const struct stream_head *h, const uint8_t *body)
{
	const struct stream_mark *m = (const void *)body;
	uint64_t last = r->u.token.number;
	char name[32], map[FILE_NAME_MAX];
	int err;

	if (h->len != sizeof(*m) || m->number != last + 1)
		return receive_fail(r, -EPROTO, "the stream makes no sense at record %llu: a mark out of turn",
				    (unsigned long long)h->seq);
	mark_name(m->number, name);
	err = map_save(r, m->number, map);
	if (!err)
		err = fs_snapshot_create(&r->req, r->hidden, name, NULL);
	if (!err)
		err = fs_wait_stable(r->fs, fs_last_seq(r->fs));
	if (err)
		return err;
	r->u.token = (struct stream_token){ .seq = h->seq, .chain = h->chain, .number = m->number,
					    .skeleton = m->skeleton, .data_bytes = r->data_bytes };
	memcpy(r->u.token.snapshot, r->u.begin.snapshot, 16);
	memcpy(r->u.token.from, r->u.begin.from, 16);
	err = unfinished_write(&r->req, r->key, &r->u);
	if (err)
		return err;
	r->keep = true;
	mark_name(last, name);
	return last ? fs_snapshot_destroy(&r->req, r->hidden, name) : 0;
}

/* ---- the end -------------------------------------------------------------------------------- */

/* Then there is nothing to go on from any more. */
static int snapshots_drop(struct receive *r)
{
	struct fs_snapshot_info s;
	int err;

	do {
		err = fs_snapshot_next(r->fs, r->vol.id, 0, &s);
		if (!err)
			err = fs_snapshot_destroy(&r->req, r->hidden, s.name);
		if (!err)
			r->keep = false;
	} while (!err);
	return err == -ENOENT ? 0 : err;
}

static int attach_fail(struct receive *r, int err)
{
	const char *why = err == -EEXIST ? "a volume or snapshot of that name has come into being meanwhile" :
			  err == -ENOENT ? "the volume, or the snapshot that the stream goes on from, is gone" :
			  err == -ENOTSYNC ? "it was changed while the stream came in; --force takes such changes "
					     "back" :
			  err == -EDQUOT ? QUOTA_SMALL :
			  err == -EBUSY ? "clients have files of it open; unmount it there first, or use --force" :
			  err_text(err);

	return receive_fail(r, err, "%s", why);
}

static struct fs_attach attach_how(const struct receive *r)
{
	struct fs_attach a = { .hidden = r->hidden, .volume = r->u.volume,
			       .snapshot = r->u.begin.snapshot_name, .base = r->u.base, .force = r->force };

	memcpy(a.uuid, r->u.begin.snapshot, 16);
	return a;
}

/* Before the marks go: what is in the way now need not cost all that has come. */
static int attach_check(struct receive *r)
{
	struct fs_attach a = attach_how(r);
	int err = r->force ? 0 : fs_attach_check(&r->req, &a);

	r->in_the_way = err == -EBUSY || err == -ENOTSYNC || err == -EEXIST;
	return err ? attach_fail(r, err) : 0;
}

static int attach(struct receive *r)
{
	struct fs_attach a = attach_how(r);
	int err = fs_attach(&r->req, &a, &r->result);

	return err ? attach_fail(r, err) : fs_wait_stable(r->fs, fs_last_seq(r->fs));
}

/*
 * The map is under its last name before the volume is there, and the state goes when it is: a crash
 * in between leaves a state without a mark, or a map without a snapshot, which unfinished_sweep() finds.
 */
static int finish(struct receive *r)
{
	char from[FILE_NAME_MAX], to[FILE_NAME_MAX];
	int err = attach_check(r);

	if (err)
		return err;
	err = map_save(r, r->u.token.number + 1, from);
	if (!err)
		err = snapshots_drop(r);
	kept_map_name(r->u.begin.snapshot, r->target, to);
	if (!err)
		err = receive_rename(&r->req, from, to);
	if (!err)
		err = attach(r);
	if (err) {
		receive_remove(&r->req, to);
		return err;
	}
	r->done = true;
	unfinished_drop(r->fs, r->key);
	return 0;
}

static int end(struct receive *r, const struct stream_head *h, const uint8_t *body)
{
	const struct stream_end *e = (const void *)body;

	if (h->len != sizeof(*e) || e->records + 1 != h->seq || e->data_bytes != r->data_bytes || !r->cleaned)
		return receive_fail(r, -EPROTO, "the stream ends with other sums than it has");
	r->ended = true;
	return 0;
}

/* ---- the frame ------------------------------------------------------------------------------ */

static int broken(struct receive *r, const char *what)
{
	return receive_fail(r, -EBADMSG, "%s", what);
}

static int magic(struct receive *r)
{
	const struct stream_magic *m = (const void *)r->in;

	if (memcmp(m->magic, STREAM_MAGIC, 8))
		return broken(r, "this is not a stream of 'pando send'");
	if (m->version != STREAM_VERSION || m->reserved)
		return receive_fail(r, -EBADMSG, "the stream has version %u, and this pandod knows version %u; use a "
				    "pandod that is as new as the sender", m->version, STREAM_VERSION);
	r->magic_seen = true;
	return 0;
}

static int record(struct receive *r)
{
	struct stream_head h;
	const uint8_t *body = r->in + sizeof(h);

	memcpy(&h, r->in, sizeof(h));
	if (stream_chain(r->chain, &h, body) != h.chain)
		return broken(r, "the stream was damaged on its way (a checksum is wrong); send it again");
	r->chain = h.chain;
	if (!r->begun)
		return begin(r, &h, body);
	if (h.seq != ++r->seq)
		return broken(r, "the stream is out of order; send it again");
	return h.type == S_MARK ? mark(r, &h, body) : h.type == S_END ? end(r, &h, body) :
	       apply_record(r, &h, body);
}

/* Bytes that the part which comes now has, as far as is known. */
static int wanted(struct receive *r, size_t *ret)
{
	const struct stream_head *h = (const void *)r->in;

	*ret = r->magic_seen ? sizeof(*h) : sizeof(struct stream_magic);
	if (!r->magic_seen || r->in_len < sizeof(*h))
		return 0;
	if (h->len > STREAM_BODY_MAX || !h->type || h->type >= S_TYPES)
		return broken(r, r->begun ? "the stream was damaged on its way; send it again" :
				 "this is not a stream of 'pando send'");
	*ret += h->len;
	return 0;
}

static int part(struct receive *r)
{
	bool was_begun = r->begun;
	int err = r->magic_seen ? record(r) : magic(r);

	r->in_len = 0;
	/* Behind a beginning comes the record that it goes on with. */
	if (!err && r->begun && !was_begun && r->u.token.number)
		r->chain = r->u.token.chain;
	return err;
}

static int feed(struct receive *r, const uint8_t *data, size_t len)
{
	size_t want, n;
	int err = 0;

	while (!err) {
		if (r->ended)
			return len ? broken(r, "there is something behind the end of the stream") : 0;
		err = wanted(r, &want);
		if (!err && r->in_len == want) {
			err = part(r);
			continue;
		}
		if (err || !len)
			break;
		n = want - r->in_len < len ? want - r->in_len : len;
		memcpy(r->in + r->in_len, data, n);
		r->in_len += n;
		data += n;
		len -= n;
	}
	return err;
}

/* ERR is how it ends: that is told. */
static int result(struct receive *r, int err)
{
	r->err = err;
	if (r->err && !r->why[0])
		receive_fail(r, r->err, "%s", r->err == -ENOSPC ? "the pool is full; nothing of it was kept" :
			     r->err == -EROFS ? "the pool is read-only; 'pando pool status' says why" :
			     r->err == -EDQUOT ? QUOTA_SMALL :
			     err_text(r->err));
	return r->err;
}

int receive_feed(struct receive *r, const void *data, size_t len)
{
	return r->err ? r->err : result(r, feed(r, data, len));
}

int receive_finish(struct receive *r)
{
	if (!r->err && !r->ended)
		receive_fail(r, -EPIPE, "the stream ended before its end");
	return r->err ? r->err : result(r, r->ended ? finish(r) : -EPIPE);
}

/* ---- opening, closing ----------------------------------------------------------------------- */

int receive_open(struct fs *fs, const char *volume, bool force, struct receive **ret)
{
	struct receive *r = calloc(1, sizeof(*r));

	if (r)
		r->in = malloc(sizeof(struct stream_head) + STREAM_BODY_MAX);
	if (!r || !r->in || strlen(volume) > FS_VOLUME_NAME_MAX) {
		int err = r && r->in ? -ENAMETOOLONG : -ENOMEM;

		free(r);
		return err;
	}
	r->fs = fs;
	fs_req_admin(&r->req, fs);
	r->force = force;
	r->chain = STREAM_CHAIN;
	memcpy(r->u.volume, volume, strlen(volume));
	unfinished_key(volume, r->key);
	unfinished_hidden(r->key, r->hidden);
	*ret = r;
	return 0;
}

const char *receive_why(const struct receive *r) { return r->why; }
const struct fs_snapshot_info *receive_result(const struct receive *r) { return &r->result; }
uint64_t receive_bytes(const struct receive *r) { return r->data_bytes; }

/* Something that sending it again won't help. */
static bool is_final(int err)
{
	switch (-err) {
	case ENOSPC: case EDQUOT: case EPROTO: case EEXIST: case ENOENT: case ENOTSYNC: case EBUSY: case EFBIG:
		return true;
	}
	return false;
}

void receive_forget(struct receive *r)
{
	inomap_release(&r->map);
	free(r->in);
	free(r);
}

bool receive_close(struct receive *r, struct stream_token *ret)
{
	bool kept = !r->done && r->begun && r->keep && (!is_final(r->err) || r->in_the_way);

	if (kept)
		*ret = r->u.token;
	else if (!r->done && r->begun)
		unfinished_drop(r->fs, r->key);
	receive_forget(r);
	return kept;
}
