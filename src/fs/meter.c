/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a volume holds of the pool, and the limit of that (docs/quotas.md): the blocks that it and its snapshots
 * lead to and nobody else.  How it is charged: charge.c.
 *
 *     no meter ──set a limit──> ON, STALE ──counted──> ON ──set to 0──> no meter
 *                                   ^                   │
 *                                   └──received anew────┘
 *
 * Invariants: while the meter is on, volume.held changes in the apply pass of each of the volume's operations by
 * what that takes less what it frees, and in each step of the reaper by what that frees for the volume.  So it is
 * off by what others do to blocks that are shared with them, and by that alone; a count finds out how much.
 *
 * A count needs time, and the volume changes meanwhile.  It goes along places (tree/scan.h): what changed behind it
 * is in neither of its numbers, what changed before it is in both.  So it is off by no more than all that came or
 * went since it began, unless the volume shared or unshared blocks, or others came to share them: one pointer decides
 * about all that is below it, and then the count says nothing.  HELD is moved only as far as is certain.
 *
 * What a count brings enters the log as a difference.  Replay knows nothing of the reaper's progress: with HELD as
 * it is there, which still has all that isn't freed yet, the sum comes out the same.  A checkpoint comes before each
 * count: so replay begins with what the meter said then, and not before it was set going.
 */
#include "fs/account_int.h"

#include <inttypes.h>
#include <stdlib.h>
#include "base/log.h"
#include "base/loop.h"
#include "fs/pace.h"

#define SECOND 1000000000ull
#define AGAIN_NS (60 * SECOND)		/* after a count that said nothing, or had to give way */
#define PART 20				/* of the time, a volume is counted at most */
#define TRIES 3				/* of a first count */

struct meter_count {
	struct fs_req *req;
	char name[FS_VOLUME_NAME_MAX + 1];
	uint32_t volume;
	const bool *stop;
	struct pace *pace;		/* NULL: as fast as it goes */
	bool begun;			/* it is meters.counting */
	bool vain;			/* out: it said nothing */
	int64_t began;			/* held when it began */
	int64_t found;			/* by the walk */
	int64_t moved;			/* out: what HELD was off by, as far as is certain */
};

/* ---- counting ----------------------------------------------------------------------------------- */

static bool stopped(const struct meter_count *c)
{
	return c->stop && *c->stop;
}

/* What is being taken apart leads somewhere, and is held: nothing may be. */
static int settle(struct meter_count *c)
{
	struct fs *fs = c->req->fs;
	int err;

	while (reaping(fs)) {
		if (stopped(c))
			return -EINTR;
		if (pool_held(fs->pool)->ptr)
			return -EBUSY;
		err = reap_step(fs->pool);
		if (err < 0)
			return err;
		fiber_yield();
	}
	return 0;
}

static int do_begin(struct txn *t, void *arg)
{
	struct meter_count *c = arg;
	struct meters *m = &c->req->fs->meters;
	struct volume *v;
	int err = volume_get(t, c->volume, &v);

	if (err)
		return err;
	if (!(v->meter & METER_ON))
		return -ENODATA;	/* somebody took the limit away */
	if (m->counting || reaping(c->req->fs))
		return -EINPROGRESS;
	memcpy(c->name, v->name, FS_VOLUME_NAME_MAX);
	c->began = v->held;
	m->counting = v->id;
	m->regrouped = false;
	m->moved = 0;
	c->begun = true;
	return 0;
}

static int begin(struct meter_count *c)
{
	struct meters *m = &c->req->fs->meters;
	int err = settle(c);

	if (!err)
		err = pool_checkpoint(c->req->fs->pool);
	if (err)
		return err;
	do {
		while (m->counting && !stopped(c)) {	/* one at a time */
			m->give_way |= !c->pace;
			waitq_wait_timeout(&m->counted, SECOND / 10);
		}
		m->give_way = m->stopping;
		err = stopped(c) ? -EINTR : settle(c);
		if (!err)
			err = fs_run(c->req, SPACE_ORDINARY, false, false, do_begin, c);
	} while (err == -EINPROGRESS);
	return err;
}

static void end(struct meter_count *c)
{
	struct meters *m = &c->req->fs->meters;

	if (!c->begun)
		return;
	c->begun = false;
	m->counting = 0;
	waitq_wake_all(&m->counted);
}

/* From here to end(), what the volume does is watched.  -ENODATA: it has no meter. */
static int count(struct meter_count *c)
{
	uint64_t found;
	int err = begin(c);

	if (!err)
		err = account_exclusive(c->req, c->volume, c->stop, c->pace, &found);
	if (err)
		end(c);
	else
		c->found = found;
	return err;
}

/* What the count says that HELD is off by; and whether it must be counted again. */
static int64_t difference(const struct meters *m, const struct meter_count *c, bool *stale)
{
	int64_t off = c->found - c->began, unsure = m->moved;

	if (*stale) {			/* as good as any other number */
		*stale = m->regrouped;
		return off;
	}
	if (m->regrouped)
		return 0;
	if (off > unsure)
		return off - unsure;
	return off < -unsure ? off + unsure : 0;
}

/* ---- setting ------------------------------------------------------------------------------------ */

int meter_load(struct txn *t, struct volume_op *o, const struct volume *v)
{
	struct fs *fs = o->req->fs;
	uint64_t limit = o->limit_given ? o->limit : v->physical;
	bool stale = !(v->meter & METER_ON) || v->meter & METER_STALE, was = stale;

	if (t->replay)
		return o->moved > METER_MAX / 4 || o->moved < -METER_MAX / 4 ? -EDAMAGED : 0;
	o->meter = 0;
	o->moved = 0;
	if (!o->limit_given && !o->count && !o->meter_begins)
		return 0;
	if (o->count && o->count->volume != v->id)
		return -ESTALE;
	if (o->meter_ends && v->physical)
		return DONE;		/* somebody else has set one meanwhile */
	if (o->count && !o->limit_given && !(v->meter & METER_ON))
		return DONE;		/* it has no limit any more */
	if (o->count && reaping(fs))
		return -EINPROGRESS;
	if (o->count)
		o->count->moved = o->moved = difference(&fs->meters, o->count, &stale);
	if (o->limit_given && limit && v->held + o->moved > (int64_t)limit)
		return -EOVERFLOW;
	if (!o->limit_given && !o->meter_begins && !o->moved && was == stale)
		return DONE;
	o->physical = limit;
	o->meter = VOLUME_METER_SET;
	if (limit || o->meter_begins || o->count)
		o->meter |= METER_ON | (stale ? METER_STALE : 0);
	return 0;
}

void meter_apply(const struct volume_op *o, struct volume *v)
{
	struct meters *m = &o->req->fs->meters;

	if (!(o->meter & VOLUME_METER_SET))
		return;
	if (m->counting == v->id && ((v->meter ^ o->meter) & METER_ON))
		m->regrouped = true;	/* what it began with means nothing now */
	v->meter = o->meter & (METER_ON | METER_STALE);
	v->physical = v->meter ? o->physical : 0;
	v->held = v->meter ? v->held + o->moved : 0;
}

/* What a count brings is to be written down in a full pool, too. */
static int run_set(struct volume_op *o)
{
	enum txn_space space = o->limit_given ? SPACE_ORDINARY : SPACE_DELETE;
	int err;

	do {
		err = o->count ? settle(o->count) : 0;
		if (!err)
			err = fs_run(o->req, space, true, true, do_volume_set, o);
	} while (err == -EINPROGRESS);
	return err == DONE ? 0 : err;
}

/* Counts, and sets what O says; with what was found, if it says something. */
static int set_counted(struct meter_count *c, struct volume_op *o, unsigned tries)
{
	struct meters *m = &c->req->fs->meters;
	int err = count(c);

	while (!err && m->regrouped && --tries) {
		end(c);
		err = count(c);
	}
	o->count = c;
	if (!err) {
		err = run_set(o);
		c->vain = m->regrouped;
		end(c);
	}
	o->count = NULL;
	return err;
}

void meter_shared(struct fs *fs, uint32_t volume, uint64_t blocks)
{
	struct meters *m = &fs->meters;

	if (m->counting != volume)
		return;
	m->regrouped |= blocks == METER_ALL;
	m->moved += blocks == METER_ALL ? 0 : blocks;
}

/* From now on, what it takes and frees is known: whatever a crash leaves. */
static int meter_begin(struct meter_count *c, const struct volume_op *set)
{
	struct volume_op o = { .req = set->req, .name = set->name, .quota = -1, .soft = -1, .reserve = -1,
			       .meter_begins = true, .now = set->now };
	int err = settle(c);

	return err ? err : run_set(&o);
}

/* It got no limit. */
static void meter_end(const struct volume_op *set)
{
	struct volume_op o = { .req = set->req, .name = set->name, .quota = -1, .soft = -1, .reserve = -1,
			       .limit_given = true, .meter_ends = true, .now = set->now };

	run_set(&o);
}

struct look { uint32_t id, meter; };

static int do_look(struct txn *t, void *arg)
{
	struct look *l = arg;
	struct volume *v;
	int err = volume_get(t, l->id, &v);

	if (!err)
		l->meter = v->meter;
	return err;
}

static int limit(struct meter_count *c, struct volume_op *o)
{
	struct look l = { .id = c->volume };
	int err = fs_run(o->req, SPACE_ORDINARY, false, false, do_look, &l);
	bool on;

	if (err)
		return err;
	on = l.meter & METER_ON;
	if (on && !(l.meter & METER_STALE)) {
		err = run_set(o);
		if (err != -EOVERFLOW)
			return err;
	}
	err = on ? 0 : meter_begin(c, o);
	if (!err)
		err = set_counted(c, o, TRIES);
	if (err && !on && err != -ENODATA && err != -ESTALE)
		meter_end(o);
	return err;
}

int meter_limit(struct volume_op *o, const bool *stop)
{
	struct meter_count c = { .req = o->req, .stop = stop };
	struct fs *fs = o->req->fs;
	int err = volume_id(fs, o->name, &c.volume);

	if (!err)
		err = pool_require(fs->pool, POOL_METERS);
	if (err)
		return err;
	do {
		err = limit(&c, o);
	} while (err == -ENODATA);
	return err == -ESTALE ? -ENOENT : err;
}

/* ---- counting anew ------------------------------------------------------------------------------ */

static int recount(struct meter_count *c)
{
	struct volume_op o = { .req = c->req, .name = c->name, .quota = -1, .soft = -1, .reserve = -1,
			       .now = fs_now() };
	struct look l = { .id = c->volume };
	int err = fs_run(c->req, SPACE_ORDINARY, false, false, do_look, &l);

	if (!err)
		err = l.meter & METER_ON ? set_counted(c, &o, 1) : -ENODATA;
	return err == -ENODATA ? 0 : err == -ENOENT ? -ESTALE : err;
}

int fs_volume_recount(struct fs_req *req, uint32_t volume, const bool *stop)
{
	struct meter_count c = { .req = req, .volume = volume, .stop = stop };
	int err = !req->cred.admin ? -EPERM : pool_readonly(req->fs->pool) ? 0 : recount(&c);

	return err == -ESTALE ? -ENOENT : err;
}

/* ---- in the background -------------------------------------------------------------------------- */

static struct meter_due *due_of(struct meters *m, uint32_t volume)
{
	uint32_t i = 0, cap = m->cap ? 2 * m->cap : 16;
	struct meter_due *more;

	while (i < m->n && m->due[i].volume != volume)
		i++;
	if (i < m->n)
		return &m->due[i];
	if (i == m->cap) {
		more = realloc(m->due, cap * sizeof(*more));
		if (!more)
			return NULL;
		m->due = more;
		m->cap = cap;
	}
	m->due[m->n++] = (struct meter_due){ .volume = volume };
	return &m->due[i];
}

/* The next that is to be counted; 0: none. */
static uint32_t due_next(struct meters *m)
{
	for (uint32_t i = 0; i < m->n; i++)
		if (m->due[i].wanted) {
			m->due[i].wanted = false;
			return m->due[i].volume;
		}
	return 0;
}

static void due_done(struct meters *m, uint32_t volume, int err, uint64_t took_ns, bool vain)
{
	uint64_t pause = err == -EBUSY || err == -EINTR || vain ? AGAIN_NS : FS_RECOUNT_NS;
	struct meter_due *d = due_of(m, volume);

	if (!d)
		return;
	if (err == -ESTALE) {		/* it is no more */
		*d = m->due[--m->n];
		return;
	}
	d->next_ns = loop_now_ns() + (pause > PART * took_ns ? pause : PART * took_ns);
	d->wanted = false;		/* as it was, all the time */
}

static void recount_due(struct fs *fs, uint32_t volume)
{
	struct meters *m = &fs->meters;
	struct pace pace = { 0 };
	struct fs_req req;
	struct meter_count c = { .req = &req, .volume = volume, .stop = &m->give_way, .pace = &pace };
	uint64_t start = loop_now_ns();
	int err;

	fs_req_admin(&req, fs);
	err = recount(&c);
	due_done(m, volume, err, loop_now_ns() - start, c.vain);
	if (c.moved && !err)
		log_info("volume %s: counted anew, it holds %" PRId64 " bytes of the pool %s than was known", c.name,
			 (c.moved < 0 ? -c.moved : c.moved) * BLOCK_SIZE, c.moved < 0 ? "less" : "more");
	if (err && err != -EINTR && err != -EBUSY && err != -ESTALE)
		log_error("volume %s: counting what it holds: %s", c.name, err_text(err));
}

static void job_main(void *arg)
{
	struct fs *fs = arg;
	struct meters *m = &fs->meters;
	uint32_t volume;

	while (!m->stopping && (volume = due_next(m)))
		recount_due(fs, volume);
	m->running = false;
	waitq_wake_all(&m->counted);
	pool_background(fs->pool, -1);
}

void meter_want(struct fs *fs, uint32_t volume)
{
	struct meters *m = &fs->meters;
	struct meter_due *d;

	if (m->stopping || fs->cfg.no_background || pool_readonly(fs->pool))
		return;
	d = due_of(m, volume);
	if (!d || loop_now_ns() < d->next_ns)
		return;
	d->wanted = true;
	if (!m->running)
		m->running = !pool_spawn(fs->pool, job_main, fs, "meter");
}

/* ---- opening and closing ------------------------------------------------------------------------ */

void meters_init(struct fs *fs)
{
	waitq_init(&fs->meters.counted);
}

void meters_stop_soon(struct fs *fs)
{
	fs->meters.stopping = fs->meters.give_way = true;
}

void meters_stop(struct fs *fs)
{
	meters_stop_soon(fs);
	while (fs->meters.running)
		waitq_wait(&fs->meters.counted);
}

void meters_done(struct fs *fs)
{
	free(fs->meters.due);
}
