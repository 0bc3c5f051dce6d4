/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening and closing a pool, its background fibers, and its failed state.
 *
 * Opening: superblock, directory; the log's chain; what records name is taken out of the free
 * map; replay through the same functions as the first time (checkpointing half-way when space or
 * memory runs short); checkpoint; serve.  The life is raised by the first checkpoint.
 */
#include "pool/pool_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/crc.h"
#include "base/err.h"
#include "base/log.h"

#define REAP_PAUSE_NS 100000000	/* when there is no memory */

void pool_background(struct pool *p, int delta)
{
	p->background += delta;
	waitq_wake_all(&p->background_wait);
}

const char *way_out(int err)
{
	if (err == -ENOSPC)
		return "make room under the pool, then start pandod again";
	return "see what ails the device, then start pandod again";
}

void pool_fail(struct pool *p, const char *fmt, ...)
{
	va_list ap;

	if (p->readonly)
		return;
	va_start(ap, fmt);
	vsnprintf(p->reason, sizeof(p->reason), fmt, ap);
	va_end(ap);
	p->readonly = true;
	log_error("the pool is read-only from now on: %s", p->reason);
	waitq_wake_all(&p->stable_wait);
	waitq_wake_all(&p->ck_wait);
	waitq_wake_all(&p->named_wait);
	waitq_wake_all(&p->log_space_wait);
	if (p->ck_fiber)
		fiber_wake(p->ck_fiber);
	log_kick(p);
}

/*
 * A flush that fails has lost what another one may have been meant to keep, and only one of them is
 * told.  So each waits for what was under way when it ended, and none succeeds in a failed pool.
 */
int pool_flush(struct pool *p)
{
	uint64_t ended, written = p->writes_begun == p->writes_ended ? p->writes_begun : 0;
	int err;

	p->flushing++;
	err = dev_flush(p->dev);
	p->flushing--;
	if (!err && written > p->writes_flushed)
		p->writes_flushed = written;
	ended = ++p->flushes_ended;
	p->flush_failed |= err != 0;
	waitq_wake_all(&p->flush_wait);
	while (p->flushing && p->flushes_ended == ended)
		waitq_wait(&p->flush_wait);
	return err ? err : p->flush_failed || p->readonly ? -EIO : 0;
}

bool pool_all_flushed(const struct pool *p)
{
	return p->writes_flushed == p->writes_begun;
}

/* ---- the zone directory ------------------------------------------------------------------ */

static int read_dirs(struct pool *p, char *why, size_t why_len)
{
	size_t bytes = (size_t)p->sb.ndirs * DIR_PAGE_BLOCKS * BLOCK_SIZE;

	p->nzones = super_zones(p->sb.nblocks);
	if (posix_memalign((void **)&p->dir, BLOCK_SIZE, bytes) ||
	    posix_memalign((void **)&p->dir_out, BLOCK_SIZE, bytes))
		return -ENOMEM;
	for (unsigned k = 0; k < p->sb.ndirs; k++) {
		const struct super_dir *s = &p->sb.dirs[k];
		struct dir_entry *d = p->dir + k * DIR_ZONES;
		int err = s->slot > 1 ? -EDAMAGED :
			  dev_read(p->dev, (uint64_t)k * DIR_ZONES * ZONE_BLOCKS + ZONE_DIR +
				   s->slot * DIR_PAGE_BLOCKS, d, DIR_PAGE_BLOCKS);

		if (!err && crc32c(0, d, DIR_PAGE_BLOCKS * BLOCK_SIZE) != s->crc)
			err = -EDAMAGED;
		if (!err && !p->o.mend && zones_verify(d, p->nzones - k * DIR_ZONES < DIR_ZONES ?
					 p->nzones - k * DIR_ZONES : DIR_ZONES))
			err = -EDAMAGED;
		if (err) {
			snprintf(why, why_len, "%s: zone directory page %u: %s", p->dev->name, k,
				 err_text(err));
			return err;
		}
	}
	return 0;
}

/* ---- background -------------------------------------------------------------------------- */

static void ck_timer_fired(struct timer *t)
{
	struct pool *p = container_of(t, struct pool, ck_timer);

	ck_kick(p);
	if (!p->stopping && !p->dead)
		timer_set(t, (uint64_t)p->o.checkpoint_ms * 1000000);
}

static void reap_fiber_main(void *arg)
{
	struct pool *p = arg;

	p->reap_fiber = fiber_self();
	while (!p->stopping && !p->dead && !p->readonly) {
		uint64_t stuck = p->reap_stuck;
		int r;

		if (!p->reap_kicked || !p->reap_entries || p->reap_paused) {
			fiber_park();
			continue;
		}
		r = p->o.reap_step(p->o.arg);
		if (p->reap_stuck > stuck)
			log_error("reaping in %s: what was removed is damaged in part, and that stays "
				  "allocated; 'pando pool check' finds what", p->dev->name);
		if (r == -ENOMEM) {
			loop_sleep_ns(REAP_PAUSE_NS);
		} else if (r == 0) {
			p->reap_kicked = false;
			waitq_wake_all(&p->reap_wait);
		} else if (r < 0) {
			log_error("reaping in %s: %s; what is left stays allocated until the pool is "
				  "opened again", p->dev->name, err_text(r));
			p->reap_kicked = false;
			waitq_wake_all(&p->reap_wait);
		} else {
			fiber_yield();
		}
	}
	p->reap_fiber = NULL;
	waitq_wake_all(&p->reap_wait);
	pool_background(p, -1);
}

void reap_kick(struct pool *p)
{
	p->reap_kicked = true;
	if (p->reap_fiber)
		fiber_wake(p->reap_fiber);
}

void pool_reap_pause(struct pool *p, bool pause)
{
	p->reap_paused = pause;
	p->reap_wanted = false;
	if (!pause)
		pool_reap_kick(p);
}

bool pool_reap_wanted(const struct pool *p)
{
	return p->reap_wanted;
}

bool pool_ask_holder(struct pool *p)
{
	if (!p->watch)
		return false;
	p->reap_wanted = true;		/* it looks at this often, and lets go */
	loop_sleep_ns(1000000);
	return true;
}

void pool_reap_kick(struct pool *p)
{
	if (!p->o.no_background && p->started)
		reap_kick(p);
}

int pool_reap_all(struct pool *p)
{
	while (p->reap_entries) {
		int r = p->o.reap_step(p->o.arg);

		if (r < 0)
			return r;
		if (!r)
			break;
	}
	return 0;
}

/* ---- opening ----------------------------------------------------------------------------- */

static void pool_free(struct pool *p)
{
	ck_done(p);
	alloc_done(p);
	log_done(p);
	cache_done(p);
	free(p->dir);
	free(p->dir_out);
	free(p);
}

int pool_spawn(struct pool *p, void (*fn)(void *arg), void *arg, const char *name)
{
	int err = fiber_spawn(fn, arg, name);

	if (!err)
		p->background++;
	return err;
}

static int super_usable(struct pool *p, char *why, size_t why_len)
{
	const char *wrong = super_verify(&p->sb);

	if (wrong)
		snprintf(why, why_len, "%s: the superblock contradicts itself: %s; run 'pando pool check'",
			 p->dev->name, wrong);
	else if (p->sb.life >= LIFE_MAX && !p->dev->readonly && !p->o.readonly)
		snprintf(why, why_len, "%s: was opened %llu times, as often as a pool can be; copy its files to "
			 "a new one", p->dev->name, (unsigned long long)p->sb.life);
	else
		return 0;
	return -EFORMAT;
}

int pool_new(struct dev *d, const struct pool_opts *o, struct pool **ret, char *why, size_t why_len)
{
	struct pool *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	p->dev = d;
	p->o = *o;
	if (!p->o.checkpoint_ms)
		p->o.checkpoint_ms = 5000;
	p->max_refs = o->max_refs ? o->max_refs : REFS_MAX;
	waitq_init(&p->ck_wait);
	waitq_init(&p->flush_wait);
	waitq_init(&p->reap_wait);
	waitq_init(&p->background_wait);
	waitq_init(&p->memory_wait);
	list_init(&p->dirty);
	list_init(&p->tdirty);
	timer_init(&p->ck_timer, ck_timer_fired);
	/* What is read may still be in a volatile cache. */
	err = d->readonly ? 0 : dev_flush(d);
	if (err)
		snprintf(why, why_len, "%s: %s", d->name, err_text(err));
	if (!err)
		err = super_read(d, &p->sb, why, why_len);
	if (!err)
		err = super_usable(p, why, why_len);
	if (!err)
		err = read_dirs(p, why, why_len);
	if (!err)
		err = cache_init(p);
	if (!err)
		err = alloc_init(p);
	if (!err)
		err = log_init(p);
	if (!err)
		err = ck_init(p);
	if (err) {
		if (err == -ENOMEM)
			snprintf(why, why_len, "%s: out of memory; try a smaller cache", d->name);
		pool_free(p);
		return err;
	}
	err = d->readonly || o->readonly ? 0 : super_mend(p);
	if (err) {
		snprintf(why, why_len, "%s: mending the superblock: %s", d->name, err_text(err));
		pool_free(p);
		return err;
	}
	p->life = p->sb.life + 1;
	p->gen = p->sb.generation + 1;
	p->volumes = (struct tree_root){ p->sb.volumes.ptr, p->sb.volumes.depth };
	p->reap = (struct tree_root){ p->sb.reap.ptr, p->sb.reap.depth };
	p->reap_entries = p->sb.reap_entries;
	p->held = (struct tree_root){ p->sb.held.ptr, p->sb.held.depth };
	if (o->readonly || d->readonly || p->sb.ro_compat) {
		p->readonly = true;
		snprintf(p->reason, sizeof(p->reason), "%s", p->sb.ro_compat ?
			 "a pool of a newer format: it can only be read" : "opened read-only");
	}
	*ret = p;
	return 0;
}

int pool_recover(struct pool *p, char *why, size_t why_len)
{
	int err = pool_spawn(p, ck_fiber_main, p, "checkpoint");

	if (err)
		return err;
	fiber_yield();			/* it takes its place */
	p->recovering = true;
	err = log_recover(p, why, why_len);
	p->recovering = false;
	if (err)
		return err;
	pend_reset(p, p->claims);
	if (p->readonly)
		return 0;
	err = pool_spawn(p, log_fiber_main, p, "log");
	if (!err) {
		fiber_yield();
		err = ck_wait_next(p);
	}
	if (err)
		snprintf(why, why_len, "%s: %s", p->dev->name,
			 p->reason[0] ? p->reason : err_text(err));
	return err;
}

int pool_start(struct pool *p)
{
	int err = 0;

	p->started = true;
	if (p->readonly || p->o.no_background)
		return 0;
	err = pool_spawn(p, reap_fiber_main, p, "reaper");
	if (!err && p->dev->can_discard)
		err = pool_spawn(p, discard_fiber_main, p, "discard");
	timer_set(&p->ck_timer, (uint64_t)p->o.checkpoint_ms * 1000000);
	reap_kick(p);
	return err;
}

int pool_close(struct pool *p, bool clean)
{
	int err = 0;

	timer_cancel(&p->ck_timer);
	if (clean && !p->readonly) {
		p->started = false;
		err = ck_wait_next(p);
	}
	p->stopping = true;
	p->dead = !clean || p->readonly;
	p->ck_kicked = false;
	waitq_wake_all(&p->stable_wait);
	waitq_wake_all(&p->ck_wait);
	waitq_wake_all(&p->named_wait);
	while (p->background || p->reads_inflight || p->writes_inflight) {
		if (p->ck_fiber)
			fiber_wake(p->ck_fiber);
		if (p->log_fiber)
			fiber_wake(p->log_fiber);
		if (p->reap_fiber)
			fiber_wake(p->reap_fiber);
		if (p->discard_fiber)
			fiber_wake(p->discard_fiber);
		waitq_wait_timeout(&p->background_wait, 10000000);
	}
	if (p->readonly)
		err = -EROFS;
	pool_free(p);
	return err;
}

/* ---- looking ------------------------------------------------------------------------------ */

int pool_checkpoint(struct pool *p)
{
	return ck_wait_next(p);
}

bool pool_readonly(struct pool *p)
{
	return p->readonly;
}

const struct superblock *pool_super(struct pool *p)
{
	return &p->sb;
}

uint64_t pool_life(struct pool *p)
{
	return p->life;
}

uint64_t pool_now_ns(void)
{
	return loop_realtime_ns();
}

struct tree_root *pool_volumes(struct pool *p)
{
	return &p->volumes;
}

struct tree_root *pool_reap(struct pool *p)
{
	return &p->reap;
}

struct tree_root *pool_held(struct pool *p)
{
	return &p->held;
}

uint64_t *pool_reap_entries(struct pool *p)
{
	return &p->reap_entries;
}

uint64_t *pool_reap_stuck(struct pool *p)
{
	return &p->reap_stuck;
}

static uint64_t fixed_blocks(const struct pool *p)
{
	return p->nzones * ZONE_HEADER_BLOCKS + SUPER_END_BLOCKS + p->sb.log_blocks;
}

/* ---- holds ------------------------------------------------------------------------------------ */

static unsigned hold_place(const struct pool *p, uint32_t owner)
{
	unsigned i = 0;

	while (i < p->nholds && p->holds[i].owner != owner)
		i++;
	return i;
}

bool pool_hold_room(const struct pool *p, uint32_t owner)
{
	return hold_place(p, owner) < HOLDS_MAX;
}

void pool_hold(struct pool *p, uint32_t owner, uint64_t left)
{
	unsigned i = hold_place(p, owner);

	if (i == HOLDS_MAX)		/* a damaged table has that many */
		return;
	if (i == p->nholds) {
		p->holds[p->nholds++].owner = owner;
		p->held_blocks += HOLD_SLACK;
	} else {
		p->held_blocks -= p->holds[i].left;
	}
	p->holds[i].left = left;
	p->held_blocks += left;
}

void pool_unhold(struct pool *p, uint32_t owner)
{
	unsigned i = hold_place(p, owner);

	if (i == p->nholds)
		return;
	p->held_blocks -= p->holds[i].left + HOLD_SLACK;
	p->holds[i] = p->holds[--p->nholds];
}

uint64_t pool_held_from(const struct pool *p, uint32_t owner)
{
	unsigned i = owner ? hold_place(p, owner) : p->nholds;

	return p->held_blocks - (i < p->nholds ? p->holds[i].left + HOLD_SLACK : 0);
}

uint64_t pool_left_from(const struct pool *p, uint32_t owner)
{
	unsigned i = owner ? hold_place(p, owner) : p->nholds;

	return p->held_blocks - (uint64_t)p->nholds * HOLD_SLACK - (i < p->nholds ? p->holds[i].left : 0);
}

int pool_require(struct pool *p, uint64_t incompat)
{
	if (!(incompat & ~p->sb.incompat))
		return 0;
	p->sb.incompat |= incompat;
	return pool_checkpoint(p);
}

void pool_status(struct pool *p, struct pool_status *st)
{
	memset(st, 0, sizeof(*st));
	st->nblocks = p->sb.nblocks;
	st->free_blocks = p->free_now;
	st->pending_blocks = p->pend->count + p->ck.pend->count + p->discard->count +
			     discard_under_way(p);
	st->reserved_blocks = p->reserve[0];
	st->held_blocks = p->held_blocks;
	st->fixed_blocks = fixed_blocks(p);
	st->life = p->life;
	st->generation = p->gen;
	st->seq = p->seq;
	st->log_bytes = p->ring_blocks * BLOCK_SIZE;
	st->log_used = log_used_blocks(p) * BLOCK_SIZE;
	st->cache_bytes = (uint64_t)p->nblocks * BLOCK_SIZE;
	st->cache_used = (uint64_t)(p->nblocks - p->nfree) * BLOCK_SIZE;
	st->dirty_bytes = (uint64_t)(p->ndirty + p->ntdirty + p->nnamed + p->named_inflight +
				     p->ck.ndirty + p->ck.ntables) * BLOCK_SIZE;
	st->hits = p->stat.hits;
	st->misses = p->stat.misses;
	st->checkpoints = p->stat.checkpoints;
	st->checkpoint_ns = p->stat.checkpoint_ns;
	st->flushes = p->stat.flushes;
	st->written = p->stat.written;
	st->read = p->stat.read;
	st->checksum_errors = p->stat.checksum_errors;
	st->io_errors = p->stat.io_errors;
	st->replayed = p->stat.replayed;
	st->readonly = p->readonly;
	memcpy(st->reason, p->reason, sizeof(st->reason));
}
