/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes of a client's own: nobody else works there, so he can restore them, clone them, and destroy them in
 * any order, and knows what each must hold.
 *
 * He is in one of them at a time, and works there as everybody does in his directory; of the others he
 * remembers what he has left.  Before he does anything to a whole volume, all that he wrote is stable: then
 * it is as it was or as it shall be, whatever happens meanwhile, and he compares it with both.
 *
 * What names a file that is gone must never name another one: he keeps some of these handles, and tries them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nfs/handle.h"
#include "world.h"

#define PLACES 3
#define PASTS 2				/* snapshots of each */
#define GONE_MAX 16
#define REMOVED_BITS 4096
enum { NOENT = 2, IO = 5, ROFS = 30, STALE = 70 };

/* MAYBE: a call that makes or destroys it was not answered. */
enum there { NO, YES, MAYBE };
struct past {
	enum there there;
	bool unsure;			/* there may be files in it that he had forgotten then */
	char name[24];
	struct file files[FILES_MAX];
};
struct place {
	enum there there;
	bool fresh;			/* a clone that he hasn't been in: no handles are known */
	char volume[24];
	uint8_t root[64], dir[64];
	struct file files[FILES_MAX];	/* when he left it */
	struct past pasts[PASTS];
	char source[24], received[24];	/* the volume that it was received from, and the last such snapshot */
};
struct travels {
	struct place places[PLACES];
	struct place *here;
	uint8_t gone[GONE_MAX][HANDLE_BYTES];
	unsigned ngone;
	uint8_t removed[REMOVED_BITS / 8];	/* a bit by the handle of each file that he has removed */
	uint64_t change;		/* the greatest change number that he has seen */
};

/* ---- what is gone -------------------------------------------------------------------------- */

static unsigned removed_bit(const uint8_t *fh)
{
	return text_hash((const char *)fh, HANDLE_BYTES) % REMOVED_BITS;
}

void travels_removed(struct client *c, const struct file *f)
{
	unsigned bit = removed_bit(f->fh);

	c->travels->removed[bit / 8] |= 1 << bit % 8;
}

/* What was removed while it was open may be in a snapshot without a name, and come back with that. */
static void gone_add(struct client *c, const uint8_t *fh)
{
	struct travels *t = c->travels;
	unsigned bit = removed_bit(fh);

	if (t->removed[bit / 8] & 1 << bit % 8)
		return;
	memcpy(t->gone[t->ngone < GONE_MAX ? t->ngone++ : rng_below(&c->rng, GONE_MAX)], fh, HANDLE_BYTES);
}

static void gone_remove(struct travels *t, const uint8_t *fh)
{
	for (unsigned i = t->ngone; i-- > 0;)
		if (!memcmp(t->gone[i], fh, HANDLE_BYTES))
			memmove(t->gone[i], t->gone[--t->ngone], HANDLE_BYTES);
}

static void try_gone(struct client *c)
{
	struct file f = { .fh_len = HANDLE_BYTES, .nblocks = 1 };
	uint8_t *buf = test_alloc(MBLOCK);

	for (unsigned i = 0; i < c->travels->ngone; i++) {
		uint32_t len;
		struct said v;

		memcpy(f.fh, c->travels->gone[i], HANDLE_BYTES);
		v = c->nfs->read(c, &f, 0, MBLOCK, buf, &len);
		if (v.status != STALE)
			sim_check(v.status, "client %u: what was gone can be read", c->id);
		if (v.status != STALE)
			client_excuse(c, "READ of what is gone", v.status);
	}
	free(buf);
}

/* ---- change numbers ------------------------------------------------------------------------ */

/* Of each file and of the directory; NEWER: it must be greater than all that he has seen. */
static void note_changes(struct client *c, bool newer)
{
	struct travels *t = c->travels;
	uint64_t seen = t->change;
	uint64_t change;
	const uint8_t *fh;

	for (unsigned i = 0; i <= FILES_MAX; i++) {
		if (i < FILES_MAX && (!c->files[i].exists || c->files[i].doubt))
			continue;
		fh = i < FILES_MAX ? c->files[i].fh : c->dir;
		if (admin_look(c, fh, &change))
			continue;
		sim_check(!newer || change > seen, "client %u: %s has change number %#llx, and %#llx was there "
			  "before the restore", c->id, i < FILES_MAX ? c->files[i].name : "the directory",
			  (unsigned long long)change, (unsigned long long)seen);
		t->change = change > t->change ? change : t->change;
	}
}

/* ---- is it so? ----------------------------------------------------------------------------- */

enum verdict { SAME, OTHER, UNKNOWN };

static enum verdict compare_file(struct client *c, const struct file *f)
{
	uint64_t tags[FILE_BLOCKS], size = 0;
	uint8_t fh[64];
	uint32_t len = 0;
	unsigned tries = 0;
	struct said v;

	do
		v = c->nfs->lookup(c, c->dir, HANDLE_BYTES, f->name, fh, &len, &size);
	while (client_again(c, v, tries++));
	if (v.status == NOENT)
		return OTHER;
	if (v.status) {
		client_excuse(c, "LOOKUP in a volume", v.status);
		return UNKNOWN;
	}
	if (size != (uint64_t)f->nblocks * MBLOCK || len != f->fh_len || memcmp(fh, f->fh, len))
		return OTHER;
	if (!client_read_tags(c, f, tags))
		return UNKNOWN;
	for (uint32_t b = 0; b < f->nblocks; b++) {
		if (tags[b] == UNREAD)
			return UNKNOWN;
		if (tags[b] != f->tags[b])
			return OTHER;
	}
	c->w->checked_blocks += f->nblocks;
	return SAME;
}

/* Are all FILES in its directory, as they must be?  There may be others. */
static enum verdict compare(struct client *c, const struct file *files)
{
	enum verdict a = SAME;

	for (unsigned i = 0; i < FILES_MAX && a == SAME; i++)
		if (files[i].exists)
			a = compare_file(c, &files[i]);
	return a;
}

static void insist(struct client *c, const struct file *files, const char *when)
{
	sim_check(compare(c, files) != OTHER, "client %u (%s): volume %s is not what it must be %s", c->id,
		  c->habit->name, c->travels->here->volume, when);
	client_list(c);
}

static void doubt_all(struct client *c, bool doubt)
{
	for (unsigned i = 0; i < FILES_MAX; i++)
		c->files[i].doubt = doubt && c->files[i].exists;
}

static void forget_all(struct client *c)
{
	c->errors++;
	for (unsigned i = 0; i < FILES_MAX; i++)
		client_forget(c, &c->files[i]);
}

/* Is it there?  MAYBE: nobody can tell. */
static enum there find_out(struct client *c, int (*find)(struct fs_req *req, void *arg), struct volume_call *e)
{
	for (unsigned tries = 0; tries < 8; tries++) {
		if (!admin_settled(c))
			return MAYBE;
		if (!admin_call(c, find, e, "look whether it is there"))
			return e->found ? YES : NO;
	}
	return MAYBE;
}

/* ---- snapshots ----------------------------------------------------------------------------- */

/* A snapshot that is there, or with FREE a place for one.  NULL: none. */
static struct past *pick_past(struct client *c, bool free)
{
	struct place *p = c->travels->here;
	struct past *s = &p->pasts[rng_below(&c->rng, PASTS)];
	struct volume_call e = { .volume = p->volume, .snapshot = s->name };

	if (s->there == MAYBE)
		s->there = find_out(c, admin_find_snapshot, &e);
	return s->there == (free ? NO : YES) ? s : NULL;
}

static void take(struct client *c)
{
	struct place *p = c->travels->here;
	struct past *s = pick_past(c, true);
	struct volume_call e = { .volume = p->volume };
	int err;

	if (!s || !client_quiet(c))
		return;
	snprintf(s->name, sizeof(s->name), "c%u-%u", c->id, ++c->serial);
	e.snapshot = s->name;
	s->unsure = c->errors;
	memcpy(s->files, c->files, sizeof(s->files));
	s->there = MAYBE;
	err = admin_risky_call(c, admin_take, &e, "take a snapshot");
	s->there = !err ? YES : err == NOBODY ? NO : find_out(c, admin_find_snapshot, &e);
}

/* A file as it is in S: its handle there too.  false: none, or it can't be read. */
static bool photo(struct client *c, const struct past *s, struct shot *ret)
{
	const struct file *f = &s->files[rng_below(&c->rng, FILES_MAX)];

	if (!f->exists)
		return false;
	*ret = (struct shot){ .file = *f };
	strcpy(ret->name, s->name);
	return client_find_shot(c, ret);
}

static void destroy_past(struct client *c, struct place *p, struct past *s)
{
	struct volume_call e = { .volume = p->volume, .snapshot = s->name };
	struct shot shot;
	bool known;
	int err;

	if (s->there == MAYBE)
		s->there = find_out(c, admin_find_snapshot, &e);
	if (s->there != YES)
		return;
	known = p == c->travels->here && photo(c, s, &shot);
	s->there = MAYBE;
	err = admin_risky_call(c, admin_forget, &e, "destroy a snapshot");
	s->there = !err ? NO : err == NOBODY ? YES : find_out(c, admin_find_snapshot, &e);
	if (s->there == NO && known)
		gone_add(c, shot.file.fh);
}

static void look_back(struct client *c)
{
	struct past *s = pick_past(c, false);
	struct shot shot;

	if (!s || !photo(c, s, &shot))
		return;
	client_verify(c, &shot.file);
	c->w->looked_back++;
	if (rng_one_in(&c->rng, 3))
		destroy_past(c, c->travels->here, s);
}

/* One file out of a snapshot, under a new name or over another one. */
static void fetch(struct client *c)
{
	struct past *s = pick_past(c, false);
	struct file *f = client_pick(c);
	struct shot shot;

	if (!s || !photo(c, s, &shot))
		return;
	if (f && c->nfs == &nfs4 && rng_one_in(&c->rng, 2))
		client_clone_into(c, f, &shot.file);
	else
		client_clone(c, &shot.file, 1);
}

/* ---- restoring ----------------------------------------------------------------------------- */

static bool has(const struct file *files, const uint8_t *fh)
{
	for (unsigned i = 0; i < FILES_MAX; i++)
		if (files[i].exists && !memcmp(files[i].fh, fh, HANDLE_BYTES))
			return true;
	return false;
}

/* What is in S isn't gone any more. */
static void back_again(struct client *c, const struct past *s)
{
	if (s->unsure)
		c->travels->ngone = 0;
	for (unsigned i = 0; i < FILES_MAX; i++)
		if (s->files[i].exists)
			gone_remove(c->travels, s->files[i].fh);
}

/* The volume is what it was in S. */
static void become(struct client *c, const struct past *s)
{
	for (unsigned i = 0; i < FILES_MAX; i++)
		if (c->files[i].exists && !has(s->files, c->files[i].fh))
			gone_add(c, c->files[i].fh);
	memcpy(c->files, s->files, sizeof(c->files));
	back_again(c, s);
	insist(c, c->files, "after a restore");
	note_changes(c, true);
	try_gone(c);
	c->w->restores++;
}

/* Nobody was told.  It is the one or the other; where the files of both are there, its directory tells. */
static void become_either(struct client *c, const struct past *s)
{
	bool settled = admin_settled(c);
	enum verdict then = settled ? compare(c, s->files) : UNKNOWN;
	enum verdict now = settled ? compare(c, c->files) : UNKNOWN;
	uint64_t change;

	if (then == SAME && now == SAME && !admin_look(c, c->dir, &change))
		*(change > c->travels->change ? &now : &then) = OTHER;
	world_tell(c->w, "client %u: %s", c->id, then == SAME && now == OTHER ? "it is what it was in the snapshot" :
		   then == OTHER ? "it is not what it was in the snapshot" : "nobody can tell what it is");
	if (then == SAME && now == OTHER) {
		become(c, s);
		return;
	}
	if (then == OTHER)
		insist(c, c->files, "after a restore that wasn't answered");
	doubt_all(c, false);
	if (then != OTHER) {
		back_again(c, s);
		forget_all(c);
	}
}

static void restore(struct client *c)
{
	struct place *p = c->travels->here;
	struct past *s = pick_past(c, false);
	struct volume_call e = { .volume = p->volume, .force = rng_below(&c->rng, 3) };
	int err;

	if (!s || !client_quiet(c))
		return;
	e.snapshot = s->name;
	note_changes(c, false);
	doubt_all(c, true);
	err = admin_risky_call(c, admin_restore, &e, "restore the volume");
	sim_check(!e.busy || (!e.force && c->nfs == &nfs4), "client %u: its volume is busy", c->id);
	if (err == NOBODY || err == -ENOSPC || e.busy)	/* it was not done */
		doubt_all(c, false);
	else if (err)
		become_either(c, s);
	else
		become(c, s);
}

/* ---- volumes ------------------------------------------------------------------------------- */

static struct place *pick_place(struct client *c, enum there there)
{
	struct place *p = &c->travels->places[rng_below(&c->rng, PLACES)];

	return p != c->travels->here && p->there == there ? p : NULL;
}

/* A volume that was cloned has all that it must have, under handles of its own.  false: it can't be entered. */
static bool explore(struct client *c, struct place *p)
{
	char name[24];
	uint32_t len;
	uint64_t size;
	unsigned tries = 0;
	struct said v;

	snprintf(name, sizeof(name), "client%u", c->id);
	do
		v = c->nfs->lookup(c, p->root, HANDLE_BYTES, name, p->dir, &len, &size);
	while (client_again(c, v, tries++));
	if (v.status) {
		client_excuse(c, "LOOKUP of its directory in a clone", v.status);
		return false;
	}
	memcpy(c->dir, p->dir, sizeof(c->dir));
	for (unsigned i = 0; i < FILES_MAX; i++)
		if (c->files[i].exists) {
			client_adopt(c, &c->files[i]);
			gone_remove(c->travels, c->files[i].fh);	/* it may have come once more */
		}
	return true;
}

static void settle_in(struct client *c, struct place *p)
{
	memcpy(c->root, p->root, sizeof(c->root));
	memcpy(c->dir, p->dir, sizeof(c->dir));
	memcpy(c->files, p->files, sizeof(c->files));
	c->travels->here = p;
}

static void move(struct client *c, struct place *p)
{
	struct place *from = c->travels->here;

	if (!client_quiet(c))
		return;
	memcpy(from->dir, c->dir, sizeof(c->dir));
	memcpy(from->files, c->files, sizeof(c->files));
	world_tell(c->w, "client %u goes to volume %s", c->id, p->volume);
	if (p->fresh)
		for (unsigned i = 0; i < FILES_MAX; i++)
			p->files[i].doubt = p->files[i].exists;	/* until it has looked */
	settle_in(c, p);
	if (p->fresh && !explore(c, p)) {
		p->there = NO;
		settle_in(c, from);
		return;
	}
	p->fresh = false;
	insist(c, c->files, "when he comes there");
}

/* S, or what has changed in it since snapshot FROM, to P. */
static enum there ship(struct client *c, struct place *p, const struct past *s, const char *from)
{
	struct ship_call e = { .volume = c->travels->here->volume, .snapshot = s->name, .from = from,
			       .name = p->volume };
	struct volume_call look = { .volume = p->volume, .snapshot = s->name };
	enum there there = NO;

	for (unsigned tries = 0; there == NO && tries < 3; tries++) {
		int err;

		e.seed = rng_u64(&c->rng);
		err = admin_risky_call(c, admin_ship, &e, from ? "send and receive what has changed" :
				       "send and receive the volume");
		if (err == NOBODY || (!err && (e.full || e.busy)))
			break;
		c->w->resumed += !err && e.resumed;
		if (!err && rng_one_in(&c->rng, 3))
			world_ambush(c->w, rng_range(&c->rng, 1, 4));
		there = find_out(c, admin_find_snapshot, &look);
		sim_check(err || there != NO || c->w->tolerant, "client %u: %s@%s was received, and is not there", c->id,
			  p->volume, s->name);
	}
	if (there == NO)
		admin_call(c, admin_forget_part, &look, "forget what has come of it");
	if (there != NO || from)
		return there;
	there = find_out(c, admin_find_volume, &look);
	sim_check(there != YES, "client %u: volume %s is there, without the snapshot that it came with", c->id,
		  p->volume);
	return there;
}

/* P is what its volume was in S. */
static void receive(struct client *c, struct place *p, const struct past *s)
{
	struct volume_call e = { .volume = p->volume, .root = p->root };

	p->there = ship(c, p, s, NULL);
	if (p->there != YES)
		return;
	strcpy(p->source, c->travels->here->volume);
	strcpy(p->received, s->name);
	if (admin_call(c, admin_export, &e, "export what was received"))
		p->there = NO;			/* it lies about */
	else
		p->there = find_out(c, admin_find_volume, &e);
	c->w->shipped += p->there == YES;
}

static unsigned serial_of(const char *name)
{
	const char *s = strchr(name, '-');

	return s ? strtoul(s + 1, NULL, 10) : 0;
}

/* What was received from this volume before. */
static struct place *received_from(struct client *c, const struct place *from)
{
	for (unsigned i = 0; i < PLACES; i++) {
		struct place *p = &c->travels->places[i];

		if (p != from && p->there == YES && p->received[0] && !strcmp(p->source, from->volume))
			return p;
	}
	return NULL;
}

/* It becomes what this volume was lately. */
static void update(struct client *c)
{
	struct place *here = c->travels->here, *p = received_from(c, here);
	const struct past *base = NULL, *s = NULL;
	enum there there;

	for (unsigned i = 0; p && i < PASTS; i++)
		if (here->pasts[i].there == YES && !strcmp(here->pasts[i].name, p->received))
			base = &here->pasts[i];
	for (unsigned i = 0; base && i < PASTS; i++)
		if (here->pasts[i].there == YES && serial_of(here->pasts[i].name) > serial_of(base->name))
			s = &here->pasts[i];
	if (base && !s)
		take(c);
	if (!s)
		return;
	there = ship(c, p, s, base->name);
	if (there == NO)
		return;
	p->there = there == YES ? YES : NO;	/* he doesn't go where he doesn't know what there is */
	memcpy(p->files, s->files, sizeof(p->files));
	for (unsigned i = 0; i < FILES_MAX; i++)
		p->files[i].doubt = false;
	strcpy(p->received, s->name);
	p->fresh = true;
	c->w->updated += there == YES;
}

static void clone(struct client *c)
{
	struct place *p = pick_place(c, NO);
	struct past *s = rng_one_in(&c->rng, 2) ? pick_past(c, false) : NULL;
	struct volume_call e = { .volume = c->travels->here->volume, .snapshot = s ? s->name : NULL };
	int err;

	if (!p || !client_quiet(c))
		return;
	memset(p, 0, sizeof(*p));
	snprintf(p->volume, sizeof(p->volume), "v%u-%u", c->id, ++c->serial);
	memcpy(p->files, s ? s->files : c->files, sizeof(p->files));
	for (unsigned i = 0; i < FILES_MAX; i++)
		p->files[i].doubt = false;
	p->fresh = true;
	if (s && c->w->ships && !rng_one_in(&c->rng, 3)) {
		receive(c, p, s);
		if (p->there == MAYBE)
			p->there = NO;
		if (p->there == YES && rng_one_in(&c->rng, 2))
			move(c, p);
		return;
	}
	e.name = p->volume;
	err = admin_risky_call(c, admin_clone, &e, "clone the volume");
	e = (struct volume_call){ .volume = p->volume, .root = p->root };
	p->there = err == NOBODY ? NO : find_out(c, admin_find_volume, &e);
	sim_check(err || p->there != NO, "client %u: volume %s was cloned, and is not there", c->id, p->volume);
	if (p->there == MAYBE)
		p->there = NO;			/* it may lie about */
	if (p->there == YES)
		c->w->volume_clones++;
	if (p->there == YES && rng_one_in(&c->rng, 2))
		move(c, p);
}

/* Of the one that was cloned, or of the clone. */
static void destroy(struct client *c)
{
	struct place *p = pick_place(c, YES);
	struct volume_call e = { 0 };
	int err;

	if (!p)
		return;
	for (unsigned i = 0; i < PASTS; i++) {
		destroy_past(c, p, &p->pasts[i]);
		if (p->pasts[i].there != NO)
			return;
	}
	e.volume = p->volume;
	if (p->received[0] && admin_risky_call(c, admin_forget_all, &e, "destroy received snapshots")) {
		p->source[0] = 0;		/* some may be gone */
		return;
	}
	p->received[0] = 0;
	err = admin_risky_call(c, admin_destroy, &e, "destroy a volume");
	if (err)
		p->there = err == NOBODY ? YES : find_out(c, admin_find_volume, &e);
	else
		p->there = NO;
	if (p->there == MAYBE) {
		p->there = NO;			/* he doesn't go there again */
		return;
	}
	if (p->there == NO)
		gone_add(c, p->root);
	for (unsigned i = 0; i < FILES_MAX && p->there == NO && !p->fresh; i++)
		if (p->files[i].exists && rng_one_in(&c->rng, 8))
			gone_add(c, p->files[i].fh);
}

/* ---- a step -------------------------------------------------------------------------------- */

static void tree(struct client *c, void (*work)(struct client *c))
{
	struct past *s = rng_one_in(&c->rng, 2) ? pick_past(c, false) : NULL;
	const char *const path[] = { FS_SNAPSHOT_DIR, s ? s->name : "" };
	uint8_t dir[64];
	uint32_t len = HANDLE_BYTES;
	uint64_t size;

	memcpy(dir, c->dir, sizeof(dir));
	for (unsigned i = 0; s && i < 2; i++) {
		struct said v = c->nfs->lookup(c, dir, len, path[i], dir, &len, &size);

		if (!v.status)
			continue;
		client_excuse(c, "LOOKUP of a snapshot", v.status);
		return;
	}
	client_tree(c, dir, s ? s->files : NULL, work);
}

void client_travel(struct client *c, void (*work)(struct client *c))
{
	struct place *p;

	/* Where counts are at their limit, what is shared is copied: a write might find no room for that. */
	switch (c->w->cfg.max_refs ? 99 : rng_below(&c->rng, c->w->ships ? 19 : 14)) {
	case 0: case 1:
		take(c);
		break;
	case 2:
		look_back(c);
		break;
	case 3:
		fetch(c);
		break;
	case 4: case 5:
		restore(c);
		break;
	case 6: case 14: case 15:
		clone(c);
		break;
	case 16: case 17:
		update(c);
		break;
	case 7:
		p = pick_place(c, YES);
		if (p)
			move(c, p);
		break;
	case 8: case 18:
		destroy(c);
		break;
	case 9:
		tree(c, work);
		break;
	case 10:
		try_gone(c);
		break;
	default:
		work(c);
	}
}

/* ---- beginning and end --------------------------------------------------------------------- */

void travels_start(struct client *c)
{
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct travels *t = test_alloc(sizeof(*t));
	struct fs_req req;
	uint8_t key[16];

	memset(t, 0, sizeof(*t));
	c->travels = t;
	t->here = &t->places[0];
	t->here->there = YES;
	snprintf(t->here->volume, sizeof(t->here->volume), "v%u", c->id);
	fs_req_admin(&req, c->w->fs);
	sim_ok(fs_volume_create(&req, t->here->volume, v));
	sim_ok(fs_volume_set(&req, t->here->volume, "* rw no_root_squash", -1));
	sim_ok(fs_wait_stable(c->w->fs, fs_last_seq(c->w->fs)));
	fs_pool_secret(c->w->fs, key);
	handle_make(key, &v->root, t->here->root);
	memcpy(c->root, t->here->root, sizeof(c->root));
	free(v);
}

/* What he has left elsewhere is as he has left it. */
void travels_end(struct client *c)
{
	for (unsigned i = 0; i < PLACES; i++) {
		struct place *p = &c->travels->places[i];

		if (p->there == YES && p != c->travels->here)
			move(c, p);
	}
	try_gone(c);
}
