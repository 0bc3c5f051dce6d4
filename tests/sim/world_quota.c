/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quotas in a world.  The management side gives a client's directory one, changes it, and takes it away, by
 * calls that the server may die in.  The client knows what its files hold, at least, and is told what was
 * counted, at most, before it writes: what is refused is too much, and what is too much is refused.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "fs/account.h"
#include "nfs/handle.h"
#include "world.h"

struct quota_call {
	const uint8_t *dir;
	uint64_t limit;			/* 0: it goes */
	bool refused, too_big, found;
	struct fs_quota q;
	uint64_t dir_blocks;		/* of the directory itself */
};

static struct fs_id directory(struct fs_req *req, const struct quota_call *e)
{
	struct fs_id id;
	uint8_t key[16];

	fs_pool_secret(req->fs, key);
	sim_ok(handle_read(key, e->dir, HANDLE_BYTES, &id));
	return id;
}

static int set(struct fs_req *req, void *arg)
{
	struct quota_call *e = arg;
	struct fs_id id = directory(req, e);
	int err = e->limit ? fs_quota_set(req, id, e->limit, e->limit / 2, NULL) : fs_quota_clear(req, id);

	e->refused = err == -EDQUOT || err == -ENODATA;
	e->too_big = err == -E2BIG;		/* too many copies, where counts are at their limit */
	return e->refused || e->too_big ? 0 : err;
}

static int get(struct fs_req *req, void *arg)
{
	struct quota_call *e = arg;
	struct fs_id id = directory(req, e);
	struct fs_attr a;
	int err = fs_getattr(req, id, &a);

	if (!err)
		err = fs_quota_get(req, id, &e->q);
	e->found = !err;
	if (!err)
		e->dir_blocks = a.mapped_bytes / MBLOCK;
	return err == -ENODATA ? 0 : err;
}

static int reap_and_get(struct fs_req *req, void *arg)
{
	int err = fs_reap_all(req->fs);

	return err ? err : get(req, arg);
}

/* Blocks of its files that are certainly there; how many files those are. */
static uint64_t certain(const struct client *c, unsigned *ret_files)
{
	uint64_t n = 0;

	*ret_files = 0;
	for (unsigned i = 0; i < FILES_MAX; i++) {
		if (!c->files[i].exists || c->files[i].doubt)
			continue;
		++*ret_files;
		for (uint32_t b = 0; b < c->files[i].nblocks; b++)
			n += c->files[i].tags[b] != 0;
	}
	return n;
}

bool quota_applies(const struct client *c)
{
	return (c->quota.has || c->quota.unsure) && !memcmp(c->dir, c->quota.dir, HANDLE_BYTES);
}

/* Something was asked for, and nobody answered: it is as it was or as it shall be. */
static void find_out(struct client *c, uint64_t limit)
{
	struct quota_call e = { .dir = c->dir };

	if (!admin_settled(c) || admin_call(c, get, &e, "look at the quota")) {
		c->quota.unsure = true;
		return;
	}
	sim_check(c->quota.unsure || !e.found == !limit || !e.found == !c->quota.has,
		  "client %u: a quota that nobody asked for, or none", c->id);
	sim_check(c->quota.unsure || !e.found || e.q.limit_blocks == limit || e.q.limit_blocks == c->quota.limit,
		  "client %u: its quota is of %llu blocks, not %llu or %llu", c->id,
		  (unsigned long long)e.q.limit_blocks, (unsigned long long)limit, (unsigned long long)c->quota.limit);
	c->quota.has = e.found;
	c->quota.limit = e.found ? e.q.limit_blocks : 0;
	c->quota.unsure = false;
}

void client_quota(struct client *c)
{
	struct quota_call e = { .dir = c->dir }, before = e;
	unsigned files;
	uint64_t least;
	int err;

	if (!c->w->limits || c->habit->home != HOME_MAIN || !rng_one_in(&c->rng, 6) || !client_quiet(c))
		return;
	least = certain(c, &files) + 1;
	if (!rng_one_in(&c->rng, 6))
		e.limit = rng_one_in(&c->rng, 5) ? rng_range(&c->rng, 1, least) : least + rng_below(&c->rng, 120);
	if (admin_call(c, get, &before, "look at the quota"))
		return;
	sim_check(c->quota.unsure || (before.found == c->quota.has &&
				      (!before.found || before.q.limit_blocks == c->quota.limit)),
		  "client %u: its quota has changed", c->id);
	memcpy(c->quota.dir, c->dir, sizeof(c->quota.dir));
	err = admin_risky_call(c, set, &e, e.limit ? "set a quota" : "take a quota away");
	if (err == NOBODY)
		return;
	if (err) {
		find_out(c, e.limit);
		return;
	}
	if (e.too_big)
		sim_check(c->w->cfg.max_refs || c->w->lean, "client %u: a small directory is too big", c->id);
	else if (e.refused && e.limit)
		sim_check(!before.found || before.q.used_blocks > e.limit, "client %u: %llu of %llu blocks are too "
			  "much", c->id, (unsigned long long)before.q.used_blocks, (unsigned long long)e.limit);
	else if (e.refused)
		sim_check(!before.found, "client %u: its quota was not there", c->id);
	else
		sim_check(!e.limit || least <= e.limit, "client %u: a quota of %llu blocks, and it holds %llu", c->id,
			  (unsigned long long)e.limit, (unsigned long long)least);
	if (!e.refused && !e.too_big) {
		c->quota.has = e.limit;
		c->quota.limit = e.limit;
		c->quota.unsure = false;
	}
}

/* ---- writes ---------------------------------------------------------------------------------- */

void quota_look(struct client *c, const struct file *f, uint32_t block, uint32_t n, struct quota_bounds *ret)
{
	struct world *w = c->w;
	struct quota_call e = { .dir = c->dir };
	struct fs_req req;
	unsigned files;

	*ret = (struct quota_bounds){ .epoch = c->epoch };
	if (!quota_applies(c) || c->quota.unsure || !w->up || c->epoch != w->epoch)
		return;
	w->in_flight++;
	fs_req_admin(&req, w->fs);
	ret->known = !get(&req, &e) && e.found && w->up && c->epoch == w->epoch;
	w->in_flight--;
	waitq_wake_all(&w->changed);
	if (!ret->known)
		return;
	ret->most = e.q.used_blocks;
	ret->least = certain(c, &files) + 1;
	for (uint32_t b = block; b < block + n; b++)
		ret->need += !f->tags[b];
	sim_check(ret->least <= ret->most, "client %u: it holds %llu blocks, and %llu are counted", c->id,
		  (unsigned long long)ret->least, (unsigned long long)ret->most);
}

void quota_judge(struct client *c, const struct quota_bounds *q, uint32_t status)
{
	if (status == DQUOT)
		c->w->quota_refused++;
	if (!q->known || c->epoch != q->epoch)
		return;
	if (status == DQUOT)
		sim_check(q->most + q->need > c->quota.limit, "client %u: %llu blocks more than %llu are too much for "
			  "a quota of %llu", c->id, (unsigned long long)q->need, (unsigned long long)q->most,
			  (unsigned long long)c->quota.limit);
	if (!status)
		sim_check(q->least + q->need <= c->quota.limit, "client %u: %llu blocks more than %llu are not too "
			  "much for a quota of %llu", c->id, (unsigned long long)q->need,
			  (unsigned long long)q->least, (unsigned long long)c->quota.limit);
}

#define HOG_BLOCKS 5000			/* more than there is */

/* Takes what it can get, or gives it all back. */
static int hog(struct fs_req *req, void *arg)
{
	const uint64_t *seed = arg;
	struct fs_create how = { .type = FS_REG, .how = FS_CREATE_UNCHECKED };
	struct fs_setattr none = { .mask = FS_SET_SIZE };
	struct iovec iov = { test_alloc(256 * MBLOCK), 256 * MBLOCK };
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct fs_attr a;
	int err = fs_volume_find(req->fs, "hog", v);

	block_fill(*seed | 1, iov.iov_base);
	for (unsigned i = 1; i < 256; i++)
		memcpy((uint8_t *)iov.iov_base + i * MBLOCK, iov.iov_base, MBLOCK);
	if (!err)
		err = fs_create(req, v->root, (struct fs_name){ "hog", 3 }, &how, &a, NULL);
	if (!err && *seed % 8 == 0)
		err = fs_setattr(req, a.id, &none, NULL);
	else if (!err)
		err = fs_write(req, a.id, *seed % HOG_BLOCKS * MBLOCK, &iov, 1, iov.iov_len, false, NULL);
	free(iov.iov_base);
	free(v);
	return err == -ENOSPC ? 0 : err;
}

void client_hog(struct client *c)
{
	uint64_t seed;

	if (!c->w->reserve || !c->w->full || !rng_one_in(&c->rng, 4))
		return;
	seed = rng_u64(&c->rng);
	admin_call(c, hog, &seed, "take what there is");
}

static int count(struct fs_req *req, void *arg)
{
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	int err = fs_volume_find(req->fs, "main", v);

	if (!err)
		err = fs_volume_recount(req, v->id, NULL);
	free(v);
	return err == -EBUSY ? 0 : err;		/* a scrub has everything */
}

void client_count(struct client *c)
{
	if (c->w->metered && rng_one_in(&c->rng, 40))
		admin_call(c, count, NULL, "count what the volume holds");
}

void meter_end(struct world *w)
{
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct fs_account a = { .of = FS_ACCOUNT_VOLUME_ALL, .exact = true };
	struct fs_req req;
	uint64_t n;

	fs_req_admin(&req, w->fs);
	fs_dedup_stop(w->fs);
	fs_scrub_stop(w->fs);
	sim_ok(fs_reap_all(w->fs));
	sim_ok(count(&req, NULL));
	sim_ok(fs_volume_find(w->fs, "main", v));
	a.id = v->root;
	sim_ok(fs_account(&req, &a));
	n = a.exclusive.data + a.exclusive.meta - a.record_blocks;
	sim_check(a.moved || (v->physical_blocks == 4 * w->nblocks && v->held_blocks == n && !v->held_stale),
		  "%llu blocks are held, and the account finds %llu", (unsigned long long)v->held_blocks,
		  (unsigned long long)n);
	free(v);
}

uint64_t reserve_left(struct client *c)
{
	struct fs_volume_info *v;
	struct world *w = c->w;
	uint64_t left = UINT64_MAX;

	if (!w->reserve || c->habit->home != HOME_MAIN || !w->up || c->epoch != w->epoch)
		return left;
	v = test_alloc(sizeof(*v));
	w->in_flight++;
	if (!fs_volume_find(w->fs, "main", v) && w->up && c->epoch == w->epoch) {
		sim_check(v->reserve_blocks == w->reserve, "%llu blocks are reserved, not %llu",
			  (unsigned long long)v->reserve_blocks, (unsigned long long)w->reserve);
		left = v->reserve_left_blocks;
	}
	w->in_flight--;
	waitq_wake_all(&w->changed);
	free(v);
	return left;
}

/* What is counted is what is there. */
void quota_end(struct client *c)
{
	struct quota_call e = { .dir = c->dir };
	uint64_t blocks;
	unsigned files;

	if (!c->w->limits || !quota_applies(c) || c->quota.unsure || c->errors || c->w->tolerant ||
	    admin_call(c, reap_and_get, &e, "look at the quota in the end") || !e.found)
		return;
	blocks = certain(c, &files) + e.dir_blocks;
	/* What was removed while it was open still counts. */
	sim_check(e.q.files > files + 1 ? e.q.used_blocks >= blocks : e.q.used_blocks == blocks,
		  "client %u: %u files with %llu blocks, and %llu blocks of %llu inodes count", c->id, files,
		  (unsigned long long)blocks, (unsigned long long)e.q.used_blocks, (unsigned long long)e.q.files);
	c->w->quotas_counted++;
}
