/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots in a world: the management side takes one when a client says that its files are as they shall
 * be, and whatever becomes of them and of the server, the client finds them so in .snapshot, until the
 * snapshot is destroyed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "world.h"

enum { IO = 5, ROFS = 30 };

/* Runs in the server, as an administrator's call would.  1: nobody is there. */
static int administer(struct client *c, int (*fn)(struct fs_req *req, const char *name), const char *name)
{
	struct world *w = c->w;
	struct fs_req req;
	int err;

	if (!w->up)
		return 1;
	w->in_flight++;
	fs_req_admin(&req, w->fs);
	err = fn(&req, name);
	if (!err)
		err = fs_wait_stable(req.fs, req.stable_seq);
	sim_check(!err || !w->up || w->tolerant || err == -ENOSPC, "client %u (%s): %s: %s", c->id,
		  c->habit->name, name, sim_err(err));
	w->in_flight--;
	waitq_wake_all(&w->changed);
	return err;
}

static int take(struct fs_req *req, const char *name)
{
	return fs_snapshot_create(req, "main", name, NULL);
}

static int destroy(struct fs_req *req, const char *name)
{
	return fs_snapshot_destroy(req, "main", name);
}

static int start_dedup(struct fs_req *req, const char *name)
{
	int err = fs_dedup_start(req->fs, name, 0);

	return err == -EBUSY ? 0 : err;
}

void client_dedup(struct client *c)
{
	administer(c, start_dedup, "main");
}

/* Where counts are at their limit, what is shared is copied: a write might find no room for that. */
void client_snapshot(struct client *c)
{
	struct shot *s = &c->shots[rng_below(&c->rng, SHOTS)];
	struct file *f = client_pick(c);

	if (c->w->dedup && rng_one_in(&c->rng, 2))
		client_dedup(c);
	if (s->there || !f || c->w->cfg.max_refs)
		return;
	client_commit(c, f);
	if (!f->exists)
		return;
	snprintf(s->name, sizeof(s->name), "c%u-%u", c->id, ++c->serial);
	s->file = *f;
	s->there = !administer(c, take, s->name);
	if (s->there)
		world_tell(c->w, "client %u has snapshot %s of %s", c->id, s->name, f->name);
}

bool client_find_shot(struct client *c, struct shot *s)
{
	const char *const path[] = { FS_SNAPSHOT_DIR, s->name, s->file.name };
	uint8_t fh[64];
	uint32_t len = c->dir_len;
	uint64_t size = 0;

	memcpy(fh, c->dir, len);
	for (unsigned i = 0; i < 3; i++) {
		struct said v = c->nfs->lookup(c, fh, len, path[i], s->file.fh, &s->file.fh_len, &size);

		if (v.status == UINT32_MAX || (c->w->tolerant && (v.status == IO || v.status == ROFS)))
			return false;
		sim_check(!v.status, "client %u: '%s' in snapshot %s: %u", c->id, path[i], s->name, v.status);
		len = s->file.fh_len;
		memcpy(fh, s->file.fh, len);
	}
	sim_check(size == (uint64_t)s->file.nblocks * MBLOCK, "client %u: %s in snapshot %s has %llu bytes",
		  c->id, s->file.name, s->name, (unsigned long long)size);
	return true;
}

void client_look_back(struct client *c)
{
	struct shot *s = &c->shots[rng_below(&c->rng, SHOTS)];

	if (!s->there || !client_find_shot(c, s))
		return;
	client_verify(c, &s->file);
	c->w->looked_back++;
	if (rng_one_in(&c->rng, 3))
		s->there = administer(c, destroy, s->name) == 1;
}
