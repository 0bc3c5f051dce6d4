/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing, requests, status. */
#include "fs/fs_int.h"
#include "tree/hold.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/fiber.h"
#include "base/log.h"
#include "base/loop.h"
#include "dev/dev.h"

#define GUARD_RETRY_NS 20000000
#define CACHE_MIN ((size_t)16 << 20)
/* One write into a clone may copy three index blocks whose children lie on as many table pages
 * as there are, and all of those have to be in memory at once. */
#define CACHE_MIN_LARGE ((size_t)32 << 20)
#define LARGE_BLOCKS (1u << 20)

uint64_t fs_now(void)
{
	return loop_realtime_ns();
}

/* ---- what leaves point to (pool/pool.h) ------------------------------------------------------ */

static unsigned inode_children(const void *leaf, struct child *ret)
{
	const struct inode *i = leaf;
	unsigned n = 0;

	for (unsigned k = 0; k < INODES_PER_BLOCK; k++) {
		uint16_t at = k * INODE_SIZE;

		if (i[k].root)
			ret[n++] = (struct child){ i[k].root, i[k].depth, TREE_FILE,
						   at + offsetof(struct inode, root), 0 };
		if (i[k].xattr_root)
			ret[n++] = (struct child){ i[k].xattr_root, i[k].xattr_depth, TREE_FILE,
						   at + offsetof(struct inode, xattr_root), 0 };
	}
	return n;
}

static unsigned volume_children(const void *leaf, struct child *ret)
{
	const struct volume *v = leaf;
	unsigned n = 0;

	for (unsigned k = 0; k < VOLUMES_PER_BLOCK; k++)
		if (v[k].inodes_root)
			ret[n++] = (struct child){ v[k].inodes_root, v[k].inodes_depth, TREE_INODES,
						   k * VOLUME_SIZE + offsetof(struct volume, inodes_root),
						   v[k].state == VOLUME_SNAPSHOT ? v[k].parent : v[k].id };
	return n;
}

/* ---- opening and closing --------------------------------------------------------------------- */

int fs_format(struct dev *d, const struct fs_format_opts *opts)
{
	struct pool_format_opts o = { .nblocks = opts->nblocks, .log_bytes = opts->log_bytes };

	memcpy(o.uuid, opts->uuid, 16);
	return pool_format(d, &o);
}

static int reap_one(void *arg)
{
	struct fs *fs = arg;

	return reap_step(fs->pool);
}

static void fs_free(struct fs *fs)
{
	scrub_done(fs);
	dedup_done(fs);
	meters_done(fs);
	holds_done(fs);
	catalog_done(fs);
	free(fs->zeros);
	free(fs->replayed);
	free(fs);
}

static int mend_pool(void *arg, struct pool *p)
{
	struct fs *fs = arg;

	return fs->mend->fn(fs->mend->arg, p);
}

static int open_pool(struct fs *fs, struct dev *d, char *why, size_t why_len)
{
	size_t least = d->nblocks > LARGE_BLOCKS ? CACHE_MIN_LARGE : CACHE_MIN;
	struct pool_opts o = {
		.cache_bytes = fs->cfg.cache_bytes < least ? least : fs->cfg.cache_bytes,
		.checkpoint_ms = fs->cfg.checkpoint_ms, .readonly = fs->cfg.readonly,
		.max_refs = fs->cfg.max_refs, .checkpoint_writes = fs->cfg.checkpoint_writes, .no_background = fs->cfg.no_background,
		.seed = fs->cfg.seed, .replay = record_replay, .reap_step = reap_one,
		.charge = volume_charge, .arg = fs,
		.mend = fs->mend ? mend_pool : NULL, .cut_log = fs->mend && fs->mend->cut_log,
		.children = { [TREE_INODES] = inode_children, [TREE_VOLUMES] = volume_children },
		.verify = { [TREE_INODES] = inodes_verify, [TREE_VOLUMES] = volumes_verify,
			    [TREE_REAP] = reap_verify },
	};
	int err = pool_new(d, &o, &fs->pool, why, why_len);

	if (err)
		return err;
	err = catalog_load(fs);
	if (err)
		snprintf(why, why_len, "%s: reading the volume table: %s", d->name, err_text(err));
	else
		err = pool_recover(fs->pool, why, why_len);
	if (err) {
		pool_close(fs->pool, false);
		return err;
	}
	if (!pool_readonly(fs->pool)) {
		const char *what = "letting go of what a scrub held";

		err = tree_let_go(fs->pool);
		if (!err && !fs->cfg.keep_orphans) {
			what = "removing files without a name";
			err = sweep_orphans(fs, &fs->holds.stopping);
		}
		if (err == -EDAMAGED || err == -EIO || pool_readonly(fs->pool)) {
			/* Whoever doesn't need what is damaged is served all the same. */
			log_error("%s: %s: %s; run 'pando pool check'", d->name, what, err_text(err));
			err = 0;
		}
		if (err) {
			snprintf(why, why_len, "%s: %s: %s", d->name, what, err_text(err));
			pool_close(fs->pool, false);
			return err;
		}
	}
	err = pool_start(fs->pool);
	if (err) {
		snprintf(why, why_len, "%s: %s", d->name, err_text(err));
		pool_close(fs->pool, false);
	}
	return err;
}

int fs_open_mended(struct dev *d, const struct fs_config *cfg, const struct fs_mend *mend,
		   struct fs **ret_fs, char *why, size_t why_len)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	uint64_t start = loop_now_ns();
	char dummy[1];
	int err;

	if (!why) {
		why = dummy;
		why_len = 1;
	}
	if (!fs || posix_memalign((void **)&fs->zeros, BLOCK_SIZE, BLOCK_SIZE)) {
		free(fs);
		snprintf(why, why_len, "out of memory");
		return -ENOMEM;
	}
	memset(fs->zeros, 0, BLOCK_SIZE);
	fs->cfg = *cfg;
	fs->mend = mend;
	holds_init(fs);
	meters_init(fs);
	err = scrub_init(fs);
	if (!err)
		err = dedup_init(fs);
	if (err)
		snprintf(why, why_len, "out of memory");
	else
		err = open_pool(fs, d, why, why_len);
	if (err) {
		fs_free(fs);
		return err;
	}
	/* Differs at every opening: the life does. */
	memcpy(&fs->verifier, pool_super(fs->pool)->uuid, 8);
	fs->verifier = (fs->verifier ^ pool_life(fs->pool)) * 0x9e3779b97f4a7c15ULL;
	fs->open_ns = loop_now_ns() - start;
	*ret_fs = fs;
	return 0;
}

int fs_open(struct dev *d, const struct fs_config *cfg, struct fs **ret_fs, char *why,
	    size_t why_len)
{
	return fs_open_mended(d, cfg, NULL, ret_fs, why, why_len);
}

int fs_close(struct fs *fs)
{
	int err;

	scrub_stop(fs);
	dedup_stop(fs);
	meters_stop(fs);
	holds_stop(fs);
	err = pool_close(fs->pool, true);

	fs_free(fs);
	return err;
}

void fs_abandon(struct fs *fs)
{
	fs->holds.stopping = true;
	scrub_stop_soon(fs);
	dedup_stop_soon(fs);
	meters_stop_soon(fs);
	pool_close(fs->pool, false);
	fs_free(fs);
}

void fs_pool_secret(struct fs *fs, uint8_t key[16])
{
	memcpy(key, pool_super(fs->pool)->secret, 16);
}

/* ---- requests -------------------------------------------------------------------------------- */

void fs_req_admin(struct fs_req *req, struct fs *fs)
{
	memset(req, 0, sizeof(*req));
	req->fs = fs;
	req->cred.admin = true;
}

static int run_once(struct fs_req *req, enum txn_space space, bool modify, bool stable,
		    int (*fn)(struct txn *, void *), void *arg)
{
	uint64_t until_ns = 0;
	struct txn t;
	int err;

	do {
		txn_begin(&t, req->fs->pool);
		t.space = space;
		err = txn_run(&t, modify, fn, arg);
		txn_end(&t);
	} while ((err == -ENOSPC && space != SPACE_PRIVILEGED && holds_drain(req->fs)) ||
		 (err == -EDQUOT && t.recount && meter_make_room(req->fs, &until_ns)));
	if (t.recount)
		meter_want(req->fs, t.owner);
	req->fs->ops++;
	if (!err && modify && stable && t.seq > req->stable_seq)
		req->stable_seq = t.seq;
	/* Done already, but whoever did it may not have waited for the log yet. */
	if (err == DONE && modify && stable && pool_last_seq(req->fs->pool) > req->stable_seq)
		req->stable_seq = pool_last_seq(req->fs->pool);
	return err;
}

int fs_run(struct fs_req *req, enum txn_space space, bool modify, bool stable,
	   int (*fn)(struct txn *, void *), void *arg)
{
	int err;

	if (req->makes_room && space == SPACE_ORDINARY)
		space = SPACE_DELETE;
	err = run_once(req, space, modify, stable, fn, arg);
	while (err == -EAGAIN && req->cred.admin) {
		loop_sleep_ns(GUARD_RETRY_NS);
		err = run_once(req, space, modify, stable, fn, arg);
	}
	return err;
}

void fs_set_guard(struct fs *fs, const struct fs_guard *g)
{
	fs->guard = g;
}

int fs_wait_stable(struct fs *fs, uint64_t seq)
{
	return pool_wait_stable(fs->pool, seq);
}

uint64_t fs_last_seq(struct fs *fs)
{
	return pool_last_seq(fs->pool);
}

uint64_t fs_verifier(struct fs *fs)
{
	return fs->verifier;
}

uint64_t fs_volume_epoch(struct fs *fs)
{
	return fs->volume_epoch;
}

void fs_take_replayed(struct fs *fs, void (*fn)(void *arg, const struct fs_replayed *r), void *arg)
{
	uint32_t first = fs->nreplayed > REPLAYED_MAX ? fs->nreplayed % REPLAYED_MAX : 0;
	uint32_t n = fs->nreplayed > REPLAYED_MAX ? REPLAYED_MAX : fs->nreplayed;

	for (uint32_t i = 0; i < n; i++)
		fn(arg, &fs->replayed[(first + i) % REPLAYED_MAX]);
	free(fs->replayed);
	fs->replayed = NULL;
	fs->nreplayed = 0;
}

int fs_checkpoint(struct fs *fs)
{
	return pool_checkpoint(fs->pool);
}

int fs_reap_all(struct fs *fs)
{
	holds_drain(fs);
	return pool_reap_all(fs->pool);
}

void fs_status(struct fs *fs, struct fs_status *st)
{
	struct pool_status p;

	pool_status(fs->pool, &p);
	memset(st, 0, sizeof(*st));
	memcpy(st->uuid, pool_super(fs->pool)->uuid, 16);
	st->size_blocks = p.nblocks;
	st->free_blocks = p.free_blocks;
	st->reserved_blocks = p.reserved_blocks;
	st->held_blocks = p.held_blocks;
	st->meta_blocks = p.fixed_blocks;
	st->pending_free_blocks = p.pending_blocks;
	st->life = p.life;
	st->generation = p.generation;
	st->log_seq = p.seq;
	st->log_bytes = p.log_bytes;
	st->log_used_bytes = p.log_used;
	st->cache_bytes = p.cache_bytes;
	st->cache_used_bytes = p.cache_used;
	st->dirty_bytes = p.dirty_bytes;
	st->cache_hits = p.hits;
	st->cache_misses = p.misses;
	st->checkpoints = p.checkpoints;
	st->last_checkpoint_ns = p.checkpoint_ns;
	st->reap_entries = *pool_reap_entries(fs->pool);
	st->ops = fs->ops;
	st->flushes = p.flushes;
	st->blocks_written = p.written;
	st->blocks_read = p.read;
	st->replayed_records = p.replayed;
	st->open_ns = fs->open_ns;
	st->dedup = fs->dedup_counts;
	st->checksum_errors = p.checksum_errors;
	st->io_errors = p.io_errors;
	st->readonly = p.readonly;
	memcpy(st->reason, p.reason, sizeof(st->reason));
}
