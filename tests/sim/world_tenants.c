/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients who share a volume that is restored under their hands.
 *
 * One of them is the landlord, who takes snapshots of it and restores it at any time.  `restoring` is odd while
 * he does, or doesn't know yet what became of it.  A tenant whose call fell into such a time can't say what it
 * did; but this is right at all times: what he reads through a handle he once wrote to that very file at that
 * very block, or the handle is stale.  When it is over he looks at what there is, and from then on until the
 * next restore it must be so and not otherwise, over restarts of the server too: he writes nothing that is not
 * stable when it is answered.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "nfs/handle.h"
#include "world.h"

#define MS 1000000ull
#define TENANT_FILES 8
enum { NOENT = 2, IO = 5, EXIST = 17, STALE = 70 };

struct wrote { uint32_t serial, block; };
struct tenancy {
	struct file files[TENANT_FILES];	/* with fh_len: it was there once */
	bool known;			/* what is in them, as of restore number... */
	uint32_t restoring, restored;
	uint64_t change;		/* the greatest that it has seen */
	struct wrote *wrote;		/* by the number in a tag */
	uint32_t cap;
};

/* No restore has begun since it last looked at everything. */
static bool steady(const struct client *c)
{
	return c->w->restoring == c->tenancy->restoring && c->w->restoring % 2 == 0;
}

/* Its call failed.  Right now and then, or while the volume is restored; what there is, it must find out. */
static void failed(struct client *c, const char *what, struct said v)
{
	if (steady(c))
		client_excuse(c, what, v.status);
	c->tenancy->known = false;
}

static bool is_own(const struct client *c, const struct file *f, uint32_t block, uint64_t tag)
{
	uint32_t op = (tag >> 8) & UINT32_MAX;
	const struct wrote *w;

	if (!tag)
		return true;
	if (tag >> 48 != c->id + 1 || !op || op > c->op)
		return false;
	w = &c->tenancy->wrote[op];
	return w->serial == f->serial && w->block + (tag & 255) == block;
}

/* All of F, through its handle: into its tags.  Whatever is there, he has written it there. */
static struct said read_all(struct client *c, const struct file *f, uint64_t tags[FILE_BLOCKS], uint32_t *ret_n)
{
	enum { CHUNK = 16 };
	uint8_t *buf = test_alloc(CHUNK * MBLOCK);
	struct said v = { 0 };
	uint32_t got = CHUNK * MBLOCK, b = 0;

	while (b < FILE_BLOCKS && got == CHUNK * MBLOCK) {
		v = c->nfs->read(c, f, (uint64_t)b * MBLOCK, CHUNK * MBLOCK, buf, &got);
		if (v.status)
			break;
		for (uint32_t i = 0; i < got / MBLOCK; i++, b++) {
			tags[b] = block_tag(buf + i * MBLOCK);
			sim_check(is_own(c, f, b, tags[b]), "client %u: block %u of %s holds %#llx, which was never "
				  "written there", c->id, b, f->name, (unsigned long long)tags[b]);
		}
	}
	free(buf);
	*ret_n = b;
	c->w->checked_blocks += b;
	return v;
}

/* ---- after a restore ----------------------------------------------------------------------- */

/* Its directory may not have been there yet; or another one, which then was gone. */
static bool find_directory(struct client *c)
{
	char name[24];
	uint64_t size;
	struct said v;

	snprintf(name, sizeof(name), "client%u", c->id);
	v = c->nfs->lookup(c, c->root, HANDLE_BYTES, name, c->dir, &c->dir_len, &size);
	if (v.status == NOENT) {
		v = c->nfs->mkdir(c, c->root, HANDLE_BYTES, name);
		if (v.status && !(v.status == EXIST && v.restarted)) {
			failed(c, "MKDIR of a tenant's directory", v);
			return false;
		}
		v = c->nfs->lookup(c, c->root, HANDLE_BYTES, name, c->dir, &c->dir_len, &size);
	}
	if (v.status)
		failed(c, "LOOKUP of a tenant's directory", v);
	return !v.status;
}

/* The change number of what was there before a restore is greater than all that he saw before. */
static void note_change(struct client *c, const struct file *f, bool newer, uint64_t *max)
{
	uint64_t seen = c->tenancy->change, change;

	if (admin_look(c, f->fh, &change) || !steady(c))
		return;
	sim_check(!newer || change > seen, "client %u: %s has change number %#llx, and %#llx was there before the "
		  "restore", c->id, f->name, (unsigned long long)change, (unsigned long long)seen);
	*max = change > *max ? change : *max;
}

/* Who has it open over NFSv4 may go on with it when its name is gone. */
static void relearn_file(struct client *c, struct file *f)
{
	uint8_t fh[64];
	uint32_t len, n;
	uint64_t size;
	struct said v = c->nfs->lookup(c, c->dir, c->dir_len, f->name, fh, &len, &size);
	struct said r = read_all(c, f, f->tags, &n);

	if (!steady(c))
		return;
	f->exists = !v.status;
	f->nblocks = n;
	if ((v.status && v.status != NOENT) || (r.status && r.status != STALE)) {
		f->exists = false;
		f->fh_len = 0;
		client_excuse(c, "LOOKUP or READ of what was restored", v.status == NOENT || !v.status ? r.status :
			      v.status);
		return;
	}
	sim_check(v.status || !memcmp(fh, f->fh, HANDLE_BYTES), "client %u: %s is another file", c->id, f->name);
	sim_check(!r.status || v.status == NOENT, "client %u: %s is there, and its handle is stale", c->id, f->name);
	sim_check(r.status || !v.status || c->nfs == &nfs4 || c->w->tolerant, "client %u: %s is gone, and its handle "
		  "isn't", c->id, f->name);
	for (uint32_t b = n; b < FILE_BLOCKS; b++)
		f->tags[b] = 0;
}

/* A pool that became read-only shows what its last calls did, whose callers were told of a failure: it is
 * gone with the next life of the server. */
static bool stays(const struct world *w)
{
	struct fs_status st;

	if (!w->up)
		return false;
	fs_status(w->fs, &st);
	return !st.readonly;
}

static void relearn(struct client *c)
{
	struct tenancy *t = c->tenancy;
	uint64_t change = t->change, epoch = c->w->epoch;
	uint32_t restored = c->w->restored;
	bool newer = restored > t->restored;

	t->restoring = c->w->restoring;
	if (!steady(c) || !find_directory(c))
		return;
	for (unsigned i = 0; i < TENANT_FILES && steady(c); i++) {
		struct file *f = &t->files[i];

		if (!f->fh_len)
			continue;
		relearn_file(c, f);
		if (f->exists)
			note_change(c, f, newer, &change);
	}
	t->known = steady(c) && stays(c->w) && c->w->epoch == epoch;
	if (t->known) {
		t->restored = restored;
		t->change = change;
	}
	world_tell(c->w, "client %u knows its files in the shared volume%s", c->id, t->known ? "" : ", nearly");
}

/* ---- what he does -------------------------------------------------------------------------- */

static struct file *pick(struct client *c, bool exists)
{
	struct file *f = &c->tenancy->files[rng_below(&c->rng, TENANT_FILES)];

	return f->exists == exists ? f : NULL;
}

static void make(struct client *c)
{
	struct file *f = pick(c, false);
	uint64_t size;
	struct said v;

	if (!f)
		return;
	*f = (struct file){ .serial = ++c->serial };
	snprintf(f->name, sizeof(f->name), "s%u", f->serial);
	v = c->nfs->create(c, f->name);
	world_tell(c->w, "client %u: create %s in the shared volume: status %u%s", c->id, f->name, v.status,
		   v.restarted ? ", over a restart" : "");
	if (v.status && !(v.status == EXIST && v.restarted)) {
		failed(c, "CREATE", v);
		return;
	}
	/* Done twice, with a restore between, there are two files: one of them in a snapshot, which can come back. */
	if (v.restarted && !steady(c)) {
		f->fh_len = 0;
		return;
	}
	v = c->nfs->lookup(c, c->dir, c->dir_len, f->name, f->fh, &f->fh_len, &size);
	if (v.status) {
		f->fh_len = 0;
		failed(c, "LOOKUP", v);
	} else {
		f->exists = true;
	}
}

static void remember(struct client *c, const struct file *f, uint32_t block)
{
	struct tenancy *t = c->tenancy;

	if (++c->op >= t->cap) {
		t->cap = 2 * t->cap + 64;
		t->wrote = realloc(t->wrote, t->cap * sizeof(*t->wrote));
		sim_check(t->wrote, "no memory for a test");
	}
	t->wrote[c->op] = (struct wrote){ f->serial, block };
}

static void write_some(struct client *c)
{
	struct file *f = pick(c, true);
	uint32_t block = rng_below(&c->rng, FILE_BLOCKS / 3), n = 1 + rng_below(&c->rng, 8), committed;
	uint64_t tags[8], verifier;
	uint8_t *buf;
	struct said v;

	if (!f)
		return;
	remember(c, f, block);
	buf = test_alloc(n * MBLOCK);
	for (uint32_t i = 0; i < n; i++) {
		tags[i] = (uint64_t)(c->id + 1) << 48 | (uint64_t)c->op << 8 | i;
		block_fill(tags[i], buf + i * MBLOCK);
	}
	v = c->nfs->write(c, f, (uint64_t)block * MBLOCK, buf, n * MBLOCK, 2, &committed, &verifier);
	free(buf);
	world_tell(c->w, "client %u: write %#x of %s, blocks %u+%u, in the shared volume: status %u%s", c->id, c->op,
		   f->name, block, n, v.status, v.restarted ? ", over a restart" : "");
	if (v.status) {
		failed(c, "WRITE", v);
		return;
	}
	memcpy(f->tags + block, tags, n * sizeof(*tags));
	f->nblocks = block + n > f->nblocks ? block + n : f->nblocks;
}

static void verify(struct client *c, const struct file *f)
{
	uint64_t tags[FILE_BLOCKS];
	uint32_t n;
	struct said v = read_all(c, f, tags, &n);

	if (v.status)
		failed(c, "READ", v);
	if (v.status || !steady(c))
		return;
	sim_check(n == f->nblocks, "client %u: %s has %u blocks, not %u", c->id, f->name, n, f->nblocks);
	for (uint32_t b = 0; b < n; b++)
		sim_check(tags[b] == f->tags[b], "client %u: %s block %u: tag %#llx, expected %#llx", c->id, f->name, b,
			  (unsigned long long)tags[b], (unsigned long long)f->tags[b]);
	note_change(c, f, false, &c->tenancy->change);
}

static void drop(struct client *c)
{
	struct file *f = pick(c, true);
	struct said v;

	if (!f)
		return;
	v = c->nfs->remove(c, f->name, false);
	world_tell(c->w, "client %u: remove %s in the shared volume: status %u%s", c->id, f->name, v.status,
		   v.restarted ? ", over a restart" : "");
	f->exists = false;
	if (v.status && !(v.status == NOENT && v.restarted))
		failed(c, "REMOVE", v);
}

/* ---- the landlord -------------------------------------------------------------------------- */

static void restore(struct client *c, struct volume_call *s)
{
	struct world *w = c->w;
	int err;

	s->force = rng_below(&c->rng, 4);
	w->restoring++;
	err = admin_risky_call(c, admin_restore, s, "restore the shared volume");
	sim_check(!s->busy || !s->force, "the shared volume is busy, whatever one does");
	if (!err && !s->busy) {
		w->restored++;
		w->restores++;
	}
	if (!err || err == NOBODY || admin_settled(c))
		w->restoring++;
}

static void rule(struct client *c)
{
	struct world *w = c->w;
	char name[24];
	struct volume_call s = { .volume = "shared", .snapshot = name };

	if (w->cfg.max_refs || !w->up)		/* see client_snapshot() */
		return;
	if (w->restoring % 2) {
		w->restoring += admin_settled(c);
		return;
	}
	snprintf(name, sizeof(name), "s%u", (unsigned)rng_below(&c->rng, 3));
	if (admin_call(c, admin_find_snapshot, &s, "look for a snapshot"))
		return;
	if (!s.found)
		admin_risky_call(c, admin_take, &s, "take a snapshot of the shared volume");
	else if (rng_one_in(&c->rng, 3))
		admin_risky_call(c, admin_forget, &s, "destroy a snapshot of the shared volume");
	else
		restore(c, &s);
}

/* ---- its life ------------------------------------------------------------------------------ */

void client_share(struct client *c)
{
	struct tenancy *t = c->tenancy;
	struct file *f;

	if (c == c->w->landlord && rng_one_in(&c->rng, 8))
		rule(c);
	if (!t->known || !steady(c)) {
		relearn(c);
		return;
	}
	c->ops++;
	switch (rng_below(&c->rng, 8)) {
	case 0:
		make(c);
		break;
	case 1:
		if (rng_one_in(&c->rng, 3))
			drop(c);
		break;
	case 2: case 3:
		f = pick(c, true);
		if (f)
			verify(c, f);
		break;
	default:
		write_some(c);
	}
}

void tenancy_start(struct client *c)
{
	struct world *w = c->w;
	struct fs_volume_info *v;
	struct fs_req req;
	uint8_t key[16];

	c->tenancy = test_alloc(sizeof(*c->tenancy));
	memset(c->tenancy, 0, sizeof(*c->tenancy));
	if (!w->landlord) {
		w->landlord = c;
		v = test_alloc(sizeof(*v));
		fs_req_admin(&req, w->fs);
		sim_ok(fs_volume_create(&req, "shared", v));
		sim_ok(fs_volume_set(&req, "shared", "* rw no_root_squash", -1));
		sim_ok(fs_wait_stable(w->fs, fs_last_seq(w->fs)));
		fs_pool_secret(w->fs, key);
		handle_make(key, &v->root, w->shared_root);
		free(v);
	}
	memcpy(c->root, w->shared_root, sizeof(c->root));
}

void tenancy_end(struct client *c)
{
	struct tenancy *t = c->tenancy;

	relearn(c);
	for (unsigned i = 0; i < TENANT_FILES && t->known; i++)
		if (t->files[i].exists)
			verify(c, &t->files[i]);
}

void tenancy_free(struct client *c)
{
	if (c->tenancy)
		free(c->tenancy->wrote);
	free(c->tenancy);
}
