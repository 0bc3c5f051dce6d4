/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that somebody has open: while one is held, losing its last name makes it an orphan instead
 * of removing it.  In memory only: after a restart whoever comes back holds it again.
 *
 *     fs_hold ──> held ── fs_unhold, it has a name ──> forgotten here
 *                  ^ │
 *                  │ └─── fs_unhold, an orphan ──> doomed ──> removed by a fiber of its own
 *                  └────────── fs_hold ──────────────┘
 *
 * With keep_orphans, files of earlier lives of the pool count as held until fs_drop_orphans().
 *
 * Whether a file is held is asked in load passes and is as true in the apply pass, since nothing
 * runs between them.
 */
#include "fs/fs_int.h"

#include <stdlib.h>

struct hold {
	struct hold *next;		/* in its bucket */
	struct fs_id id;
	uint32_t count;
	bool orphan;			/* it has no name any more; never taken back */
	struct list doomed;		/* in holds.doomed, or in no list */
};

#define BUCKETS_MIN 64

static struct hold **bucket(const struct holds *s, const struct fs_id *id)
{
	uint64_t h = (id->ino ^ (uint64_t)id->volume << 40 ^ id->generation) * 0x9e3779b97f4a7c15ULL;

	return &s->buckets[h >> 32 & (s->size - 1)];
}

static struct hold *find(const struct holds *s, const struct fs_id *id)
{
	struct hold *h = s->n ? *bucket(s, id) : NULL;

	while (h && (h->id.ino != id->ino || h->id.generation != id->generation ||
		     h->id.volume != id->volume || h->id.snapshot != id->snapshot))
		h = h->next;
	return h;
}

/* Doubles the table when it is full.  Without memory for that, the old one goes on. */
static bool grow(struct holds *s)
{
	struct holds old = *s;

	if (s->n < s->size)
		return true;
	s->size = s->size ? 2 * s->size : BUCKETS_MIN;
	s->buckets = calloc(s->size, sizeof(*s->buckets));
	if (!s->buckets) {
		s->buckets = old.buckets;
		s->size = old.size;
		return s->size;
	}
	for (uint32_t k = 0; k < old.size; k++)
		for (struct hold *h = old.buckets[k], *next; h; h = next) {
			struct hold **b = bucket(s, &h->id);

			next = h->next;
			h->next = *b;
			*b = h;
		}
	free(old.buckets);
	return true;
}

static void drop(struct holds *s, struct hold *h)
{
	struct hold **p = bucket(s, &h->id);

	while (*p != h)
		p = &(*p)->next;
	*p = h->next;
	s->n--;
	list_del(&h->doomed);
	free(h);
}

/* ---- the fiber ---------------------------------------------------------------------------------- */

static int remove_doomed(struct fs *fs)
{
	struct holds *s = &fs->holds;
	struct hold *h = container_of(list_pop(&s->doomed), struct hold, doomed);
	int err = forget_orphan(fs, h->id);

	if (h->count || !list_empty(&h->doomed))
		return 0;		/* held again meanwhile */
	if (err) {
		list_add_tail(&s->doomed, &h->doomed);
		return err;
	}
	drop(s, h);
	s->removed++;
	return 0;
}

/* Ends at the first error: what is left is tried again with the next that is doomed, or when the pool
 * is opened. */
static void fiber_main(void *arg)
{
	struct fs *fs = arg;
	struct holds *s = &fs->holds;
	uint32_t volume;
	int err = 0;

	while (!err && !s->stopping && (s->sweep || s->sweep_volume || !list_empty(&s->doomed))) {
		if (!list_empty(&s->doomed)) {
			err = remove_doomed(fs);
			continue;
		}
		volume = s->sweep_volume;
		s->sweep_volume = 0;
		if (volume) {
			err = sweep_volume(fs, volume, &s->stopping);
			s->sweep |= err != 0;
			continue;
		}
		s->sweep = false;
		err = sweep_orphans(fs, &s->stopping);
		s->sweep |= err != 0;
	}
	s->running = false;
	waitq_wake_all(&s->idle);
	pool_background(fs->pool, -1);
}

static void kick(struct fs *fs)
{
	struct holds *s = &fs->holds;

	if (!s->running && !s->stopping)
		s->running = !pool_spawn(fs->pool, fiber_main, fs, "orphans");
}

bool holds_drain(struct fs *fs)
{
	struct holds *s = &fs->holds;
	uint64_t before = s->removed;

	if (s->sweep || s->sweep_volume || !list_empty(&s->doomed))
		kick(fs);
	while (s->running)
		waitq_wait(&s->idle);
	return s->removed != before;
}

/* ---- holding ------------------------------------------------------------------------------------ */

int fs_hold(struct fs *fs, struct fs_id id)
{
	struct holds *s = &fs->holds;
	struct hold *h = find(s, &id), **b;

	if (!h) {
		if (s->n >= FS_HOLDS_MAX)
			return -ENFILE;
		h = grow(s) ? calloc(1, sizeof(*h)) : NULL;
		if (!h)
			return -ENOMEM;
		h->id = id;
		list_init(&h->doomed);
		b = bucket(s, &id);
		h->next = *b;
		*b = h;
		s->n++;
	}
	h->count++;
	list_del(&h->doomed);
	return 0;
}

void fs_unhold(struct fs *fs, struct fs_id id)
{
	struct hold *h = find(&fs->holds, &id);

	assert(h && h->count);
	if (--h->count)
		return;
	if (!h->orphan) {
		drop(&fs->holds, h);
		return;
	}
	list_add_tail(&fs->holds.doomed, &h->doomed);
	kick(fs);
}

bool is_held(struct fs *fs, struct fs_id id)
{
	const struct hold *h = find(&fs->holds, &id);

	if (h && h->count)
		return true;
	return fs->holds.keeping && id.generation >> EVENT_LIFE_SHIFT < pool_life(fs->pool);
}

void hold_orphaned(struct fs *fs, struct fs_id id)
{
	struct hold *h = find(&fs->holds, &id);

	if (h)
		h->orphan = true;
}

int holds_each(struct fs *fs, uint32_t volume, int (*fn)(void *arg, struct fs_id id), void *arg)
{
	int ret = 0;

	for (uint32_t k = 0; k < fs->holds.size && !ret; k++)
		for (const struct hold *h = fs->holds.buckets[k]; h && !ret; h = h->next)
			if (h->count && h->id.volume == volume && !h->id.snapshot)
				ret = fn(arg, h->id);
	return ret;
}

void sweep_volume_later(struct fs *fs, uint32_t volume)
{
	/* Room for one; of several, all volumes are looked over. */
	fs->holds.sweep |= fs->holds.sweep_volume && fs->holds.sweep_volume != volume;
	fs->holds.sweep_volume = volume;
	kick(fs);
}

void fs_drop_orphans(struct fs *fs)
{
	fs->holds.keeping = false;
	fs->holds.sweep = true;
	kick(fs);
}

/* ---- opening and closing ------------------------------------------------------------------------ */

void holds_init(struct fs *fs)
{
	list_init(&fs->holds.doomed);
	waitq_init(&fs->holds.idle);
	fs->holds.keeping = fs->cfg.keep_orphans;
}

void holds_stop(struct fs *fs)
{
	fs->holds.stopping = true;
	while (fs->holds.running)
		waitq_wait(&fs->holds.idle);
}

void holds_done(struct fs *fs)
{
	struct holds *s = &fs->holds;

	for (uint32_t k = 0; k < s->size; k++)
		while (s->buckets[k])
			drop(s, s->buckets[k]);
	free(s->buckets);
}
