/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of the management side.  Whoever makes one when the server dies, or its disk fails, doesn't know
 * what became of it; he waits until what can be seen is stable, and looks.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/loop.h"
#include "nfs/handle.h"
#include "world.h"

#define MS 1000000ull
#define TRIES 40

struct errand {
	struct world *w;
	int (*fn)(struct fs_req *req, void *arg);
	void *arg;
	int err;
	bool done;
};

static void run(void *arg)
{
	struct errand *e = arg;
	struct world *w = e->w;
	struct fs_req req;

	fs_req_admin(&req, w->fs);
	e->err = e->fn(&req, e->arg);
	if (!e->err)
		e->err = fs_wait_stable(req.fs, req.stable_seq);
	e->done = true;
	w->in_flight--;
	waitq_wake_all(&w->changed);
}

int admin_call(struct client *c, int (*fn)(struct fs_req *req, void *arg), void *arg, const char *what)
{
	struct world *w = c->w;
	struct errand e = { .w = w, .fn = fn, .arg = arg };
	bool was_short = world_space_is_short(w);

	if (!w->up)
		return NOBODY;
	w->in_flight++;
	sim_ok(fiber_spawn(run, &e, "admin"));
	while (!e.done)
		waitq_wait(&w->changed);
	c->ops++;
	world_tell(w, "client %u: %s: %s", c->id, what, e.err ? sim_err(e.err) : "done");
	sim_check(!e.err || !w->up || w->tolerant ||
		  (e.err == -ENOSPC && (was_short || world_space_is_short(w))),
		  "client %u (%s): %s: %s", c->id, c->habit->name, what, sim_err(e.err));
	return e.err;
}

int admin_risky_call(struct client *c, int (*fn)(struct fs_req *req, void *arg), void *arg, const char *what)
{
	if (rng_one_in(&c->rng, 6))
		world_ambush(c->w, rng_range(&c->rng, 1, 16));
	return admin_call(c, fn, arg, what);
}

static int barrier(struct fs_req *req, void *arg)
{
	req->stable_seq = fs_last_seq(req->fs);
	return 0;
}

bool admin_settled(struct client *c)
{
	int err;

	for (unsigned tries = 0; tries < TRIES; tries++) {
		err = admin_call(c, barrier, NULL, "wait for all that was done");
		if (!err)
			return true;
		if (c->w->closing && !c->w->up)
			return false;
		loop_sleep_ns(500 * MS);
	}
	c->errors++;
	return false;
}

struct looking { const uint8_t *fh; uint64_t change; };

static int look(struct fs_req *req, void *arg)
{
	struct looking *l = arg;
	struct fs_attr attr;
	struct fs_id id;
	uint8_t key[16];
	int err;

	fs_pool_secret(req->fs, key);
	sim_ok(handle_read(key, l->fh, HANDLE_BYTES, &id));
	err = fs_getattr(req, id, &attr);
	l->change = err ? 0 : attr.change;
	return err == -ESTALE ? 0 : err;
}

int admin_look(struct client *c, const uint8_t *fh, uint64_t *ret_change)
{
	struct looking l = { .fh = fh };
	int err = admin_call(c, look, &l, "look at a change number");

	if (!err)
		*ret_change = l.change;
	return err;
}

/* ---- volumes ------------------------------------------------------------------------------- */

int admin_take(struct fs_req *req, void *arg)
{
	struct volume_call *e = arg;

	return fs_snapshot_create(req, e->volume, e->snapshot, NULL);
}

int admin_forget(struct fs_req *req, void *arg)
{
	struct volume_call *e = arg;

	return fs_snapshot_destroy(req, e->volume, e->snapshot);
}

int admin_restore(struct fs_req *req, void *arg)
{
	struct volume_call *e = arg;
	int err = fs_volume_restore(req, e->volume, e->snapshot, e->force);

	e->busy = err == -EBUSY;
	return e->busy ? 0 : err;
}

int admin_clone(struct fs_req *req, void *arg)
{
	struct volume_call *e = arg;

	return fs_volume_clone(req, e->volume, e->snapshot, e->name, NULL);
}

int admin_destroy(struct fs_req *req, void *arg)
{
	struct volume_call *e = arg;

	return fs_volume_destroy(req, e->volume);
}

int admin_find_snapshot(struct fs_req *req, void *arg)
{
	struct volume_call *e = arg;
	struct fs_snapshot_info info;
	int err = fs_snapshot_find(req->fs, e->volume, e->snapshot, &info);

	e->found = !err;
	return err == -ENOENT ? 0 : err;
}

int admin_find_volume(struct fs_req *req, void *arg)
{
	struct volume_call *e = arg;
	struct fs_volume_info *info = test_alloc(sizeof(*info));
	int err = fs_volume_find(req->fs, e->volume, info);
	uint8_t key[16];

	e->found = !err;
	if (!err && e->root) {
		fs_pool_secret(req->fs, key);
		handle_make(key, &info->root, e->root);
	}
	free(info);
	return err == -ENOENT ? 0 : err;
}
