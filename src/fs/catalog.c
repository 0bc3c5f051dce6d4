/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volume table in memory: names and order only.  The records themselves are read where they are.
 *
 * It is read once, when the pool is opened, and then follows every change in the change's own apply
 * pass: so it is never older or newer than the table.  Ids are given out in ascending order and
 * never again, so a file handle that has outlived its volume or snapshot never comes to mean
 * another; the last leaf of the table is never given back, and remembers which was the last.
 */
#include "fs/fs_int.h"

#include <stdlib.h>

struct cat_entry {
	uint32_t id, parent;
	uint8_t state;
	char name[FS_VOLUME_NAME_MAX + 1];
};

#define WINDOW 64			/* leaves that are read at once */
#define LEAF_MAX (UINT32_MAX / VOLUMES_PER_BLOCK - 1)

/* ---- two sorted arrays ------------------------------------------------------------------------ */

/* How many come before (PARENT, ID). */
static uint32_t place_of_id(const struct catalog *c, uint32_t parent, uint32_t id)
{
	uint32_t lo = 0, hi = c->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		const struct cat_entry *e = c->by_id[mid];

		if (e->parent < parent || (e->parent == parent && e->id < id))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Among the first N names. */
static uint32_t place_in(const struct catalog *c, uint32_t n, uint32_t parent, const char *name)
{
	uint32_t lo = 0, hi = n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		const struct cat_entry *e = c->by_name[mid];

		if (e->parent < parent || (e->parent == parent && strcmp(e->name, name) < 0))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static uint32_t place_of_name(const struct catalog *c, uint32_t parent, const char *name)
{
	return place_in(c, c->n, parent, name);
}

static void insert(struct cat_entry **a, uint32_t n, uint32_t at, struct cat_entry *e)
{
	memmove(&a[at + 1], &a[at], (n - at) * sizeof(*a));
	a[at] = e;
}

static void take_out(struct cat_entry **a, uint32_t n, uint32_t at)
{
	memmove(&a[at], &a[at + 1], (n - at - 1) * sizeof(*a));
}

int catalog_find(const struct fs *fs, uint32_t parent, const char *name, uint32_t *ret_id)
{
	const struct catalog *c = &fs->catalog;
	uint32_t at = place_of_name(c, parent, name);

	if (at == c->n || c->by_name[at]->parent != parent || strcmp(c->by_name[at]->name, name))
		return c->damage ? c->damage : -ENOENT;
	*ret_id = c->by_name[at]->id;
	return 0;
}

int catalog_next(const struct fs *fs, uint32_t parent, uint32_t after, unsigned states, uint32_t *ret_id)
{
	const struct catalog *c = &fs->catalog;
	uint32_t at = after < UINT32_MAX ? place_of_id(c, parent, after + 1) : c->n;

	for (; at < c->n && c->by_id[at]->parent == parent; at++)
		if (states >> c->by_id[at]->state & 1) {
			*ret_id = c->by_id[at]->id;
			return 0;
		}
	return c->damage ? c->damage : -ENOENT;
}

uint32_t catalog_count(const struct fs *fs, uint32_t parent)
{
	const struct catalog *c = &fs->catalog;

	return place_of_id(c, parent + 1, 0) - place_of_id(c, parent, 0);
}

/* ---- changing ----------------------------------------------------------------------------------- */

static int room(struct catalog *c)
{
	uint32_t cap = c->cap ? 2 * c->cap : 64;
	struct cat_entry **both;

	if (!c->spare)
		c->spare = malloc(sizeof(*c->spare));
	if (!c->spare)
		return -ENOMEM;
	if (c->n < c->cap)
		return 0;
	both = malloc(2 * (size_t)cap * sizeof(*both));
	if (!both)
		return -ENOMEM;
	if (c->n) {
		memcpy(both, c->by_id, c->n * sizeof(*both));
		memcpy(both + cap, c->by_name, c->n * sizeof(*both));
	}
	free(c->by_id);
	c->by_id = both;
	c->by_name = both + cap;
	c->cap = cap;
	return 0;
}

/* A table that can't be read in full doesn't say which ids and names are free. */
int catalog_reserve(struct fs *fs)
{
	struct catalog *c = &fs->catalog;

	return c->damage ? c->damage : room(c);
}

void catalog_add(struct fs *fs, const struct volume *v)
{
	struct catalog *c = &fs->catalog;
	struct cat_entry *e = c->spare;

	assert(e && c->n < c->cap);
	c->spare = NULL;
	e->id = v->id;
	e->parent = v->parent;
	e->state = v->state;
	memcpy(e->name, v->name, FS_VOLUME_NAME_MAX);
	e->name[FS_VOLUME_NAME_MAX] = 0;
	insert(c->by_id, c->n, place_of_id(c, e->parent, e->id), e);
	insert(c->by_name, c->n, place_of_name(c, e->parent, e->name), e);
	c->n++;
	if (c->last_id < e->id)
		c->last_id = e->id;
}

void catalog_remove(struct fs *fs, const struct volume *v)
{
	struct catalog *c = &fs->catalog;
	uint32_t at = place_of_id(c, v->parent, v->id), named;
	struct cat_entry *e;

	assert(at < c->n && c->by_id[at]->id == v->id);
	e = c->by_id[at];
	named = place_of_name(c, e->parent, e->name);
	while (c->by_name[named] != e)	/* in a damaged table, two may have one name */
		named++;
	take_out(c->by_id, c->n, at);
	take_out(c->by_name, c->n, named);
	c->n--;
	free(e);
}

/* Its own name stays its own: nobody else is in the way. */
void catalog_rename(struct fs *fs, const struct volume *v, const char *name)
{
	struct catalog *c = &fs->catalog;
	uint32_t at = place_of_id(c, v->parent, v->id), named;
	struct cat_entry *e;

	assert(at < c->n && c->by_id[at]->id == v->id);
	e = c->by_id[at];
	named = place_of_name(c, e->parent, e->name);
	while (c->by_name[named] != e)
		named++;
	take_out(c->by_name, c->n, named);
	memcpy(e->name, name, strlen(name) + 1);
	insert(c->by_name, c->n - 1, place_in(c, c->n - 1, e->parent, e->name), e);
}

void catalog_done(struct fs *fs)
{
	struct catalog *c = &fs->catalog;

	for (uint32_t i = 0; i < c->n; i++)
		free(c->by_id[i]);
	free(c->by_id);
	free(c->spare);
	*c = (struct catalog){ 0 };
}

/* ---- reading the table -------------------------------------------------------------------------- */

struct scan {
	struct fs *fs;
	uint64_t next;			/* leaf to go on with; UINT64_MAX: done */
	uint64_t at;			/* the first of this pass; UINT64_MAX: it wasn't found */
	unsigned window;
	uint64_t seen;			/* leaves; a sound table has each block once */
};

/* A table of an older make may have gaps in its ids: records that were free before they were all zero. */
static int add_record(struct fs *fs, uint64_t place, const struct volume *v)
{
	uint32_t id = place + 1;
	int err;

	if (v->id == id && fs->catalog.last_id < id)
		fs->catalog.last_id = id;
	if (v->state == VOLUME_FREE || v->state > VOLUME_SYSTEM || v->id != id)
		return 0;
	if (v->state == VOLUME_LIVE && v->reserve)
		pool_hold(fs->pool, id, volume_reserve_left(v));
	err = room(&fs->catalog);
	if (!err)
		catalog_add(fs, v);
	return err;
}

static int do_scan(struct txn *t, void *arg)
{
	struct scan *s = arg;
	struct block *b[WINDOW];
	uint64_t leaf[WINDOW], next = s->next, ptr;
	unsigned n = 0;
	int pending = 0, err = 0;

	s->at = UINT64_MAX;
	while (n < s->window && !err) {
		err = tree_seek(t, pool_volumes(t->pool), next, true, &leaf[n]);
		if (err || leaf[n] == UINT64_MAX)
			break;
		if (leaf[n] > LEAF_MAX || s->seen + n > pool_super(t->pool)->nblocks) {
			s->fs->catalog.damage = -EDAMAGED;	/* no id leads there; or it has no end */
			break;
		}
		if (!n)
			s->at = leaf[0];
		err = tree_lookup(t, pool_volumes(t->pool), leaf[n], &ptr);
		if (!err)
			err = txn_block_as(t, ptr, 0, TREE_VOLUMES, &b[n]);
		if (err == -ERESTART_PASS) {
			pending = err;
			err = 0;
		}
		next = leaf[n++] + 1;
	}
	if (err || pending)
		return err ? err : pending;
	for (unsigned i = 0; i < n && !err; i++)
		for (unsigned k = 0; k < VOLUMES_PER_BLOCK && !err; k++)
			err = add_record(s->fs, leaf[i] * VOLUMES_PER_BLOCK + k,
					 (const struct volume *)b[i]->data + k);
	s->seen += n;
	s->next = n < s->window ? UINT64_MAX : next;
	return err;
}

/* What can't be read is left out: all else is there as before. */
static void skip_damage(struct scan *s, int err)
{
	if (s->window > 1) {
		s->window = 1;
		return;
	}
	s->fs->catalog.damage = err;
	s->seen++;
	s->next = s->at == UINT64_MAX ? s->at : s->at + 1;
}

int catalog_load(struct fs *fs)
{
	struct scan s = { .fs = fs, .window = WINDOW };
	int err = 0;

	while (!err && s.next != UINT64_MAX) {
		struct txn t;

		txn_begin(&t, fs->pool);
		err = txn_run(&t, false, do_scan, &s);
		txn_end(&t);
		if (err == -EIO || err == -EDAMAGED) {
			skip_damage(&s, err);
			err = 0;
		}
	}
	return err;
}
