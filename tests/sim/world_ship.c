/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replication in a world: a snapshot of a traveller's volume is sent and received into another volume of the
 * same pool, piece by piece, while others work there and the server may die.  What has come up to a mark is not
 * sent again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/loop.h"
#include "repl/receive.h"
#include "repl/send.h"
#include "world.h"

#define MARK_BYTES 60000
#define PIECE_MAX 60000

struct parcel { uint8_t *data; size_t len, cap; };

static int pack(void *arg, const void *data, size_t len)
{
	struct parcel *p = arg;
	uint8_t *more;

	if (p->len + len > p->cap) {
		p->cap = 2 * (p->len + len);
		more = test_alloc(p->cap);
		memcpy(more, p->data ? p->data : more, p->len);
		free(p->data);
		p->data = more;
	}
	memcpy(p->data + p->len, data, len);
	p->len += len;
	return 0;
}

struct search { const struct ship_call *e; struct stream_token token; bool found; };

static int match(void *arg, const struct unfinished_info *u)
{
	struct search *s = arg;

	if (!strcmp(u->volume, s->e->name) && !strcmp(u->snapshot, s->e->snapshot) &&
	    !strcmp(u->from, s->e->from ? s->e->from : "")) {
		s->token = u->token;
		s->found = true;
	}
	return 0;
}

static int deliver(struct fs *fs, const struct ship_call *e, const struct parcel *p)
{
	struct stream_token token;
	struct receive *r;
	struct rng rng;
	int err = receive_open(fs, e->name, true, &r);

	if (err)
		return err;
	rng_init(&rng, e->seed);
	for (size_t at = 0, n; !err && at < p->len; at += n) {
		n = 1 + rng_below(&rng, PIECE_MAX);
		n = n < p->len - at ? n : p->len - at;
		err = receive_feed(r, p->data + at, n);
		loop_sleep_ns(rng_below(&rng, 20000000));	/* as it comes */
	}
	if (!err)
		err = receive_finish(r);
	receive_close(r, &token);
	return err;
}

/* So much that it may not fit. */
static bool may_be_full(struct fs *fs, uint64_t free_before, uint64_t bytes)
{
	struct fs_status st;

	fs_status(fs, &st);
	return free_before < st.reserved_blocks + 2000 + bytes / MBLOCK * 2;
}

int admin_ship(struct fs_req *req, void *arg)
{
	struct ship_call *e = arg;
	struct search s = { .e = e };
	struct send_opts o = { .volume = e->volume, .snapshot = e->snapshot, .from = e->from,
			       .mark_bytes = MARK_BYTES, .memory = 1 << 20 };
	struct parcel p = { 0 };
	struct send_stats stats;
	struct fs_status before;
	char why[SEND_WHY];
	int err = unfinished_each(req->fs, match, &s);

	e->full = e->busy = false;
	fs_status(req->fs, &before);
	if (s.found)
		o.resume = &s.token;
	e->resumed = s.found;
	if (!err)
		err = send_run(req->fs, &o, pack, &p, &stats, why);
	if (!err)
		err = deliver(req->fs, e, &p);
	free(p.data);
	e->full = err == -ENOSPC && may_be_full(req->fs, before.free_blocks, p.len);
	e->busy = err == -EBUSY;
	return e->full || e->busy ? 0 : err;
}

int admin_export(struct fs_req *req, void *arg)
{
	struct volume_call *e = arg;

	return fs_volume_set(req, e->volume, "* rw no_root_squash", -1);
}

int admin_forget_all(struct fs_req *req, void *arg)
{
	struct volume_call *e = arg;
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct fs_snapshot_info s;
	int err = fs_volume_find(req->fs, e->volume, v);

	while (!err) {
		err = fs_snapshot_next(req->fs, v->id, 0, &s);
		if (!err)
			err = fs_snapshot_destroy(req, e->volume, s.name);
	}
	free(v);
	return err == -ENOENT ? 0 : err;
}

int admin_forget_part(struct fs_req *req, void *arg)
{
	struct volume_call *e = arg;
	int err = unfinished_forget(req->fs, e->volume);

	return err == -ENOENT ? 0 : err;
}

void world_sweep(struct world *w)
{
	int err = unfinished_sweep(w->fs);

	sim_check(!err || w->tolerant || (err == -ENOSPC && w->full), "looking for what was interrupted: %s", sim_err(err));
}
