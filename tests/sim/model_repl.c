/* SPDX-License-Identifier: Apache-2.0 */
/* See model_repl.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_int.h"
#include "model_repl_int.h"
#include "repl_kit.h"

struct mrepl *mrepl_new(uint64_t seed, const struct mrepl_host *host)
{
	struct mrepl *r = test_alloc(sizeof(*r));

	r->host = *host;
	rng_init(&r->rng, seed);
	return r;
}

void mrepl_free(struct mrepl *r)
{
	while (r->nknown)
		free(r->known[--r->nknown].to);
	free(r->known);
	free(r);
}

const struct mrepl_counts *mrepl_counts(const struct mrepl *r) { return &r->counts; }

void mrepl_grow(struct fs *fs, const char *volume)
{
	struct fs_create how = { .type = FS_REG, .how = FS_CREATE_GUARDED };
	struct fs_req req;
	struct fs_attr a;
	struct fs_id dir;
	char name[16];

	fs_req_admin(&req, fs);
	sim_ok(fs_system_dir(&req, "receive", &dir));
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "g%d", i);
		sim_ok(fs_create(&req, dir, name_of(name), &how, &a, NULL));
	}
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "g%d", i);
		sim_ok(fs_remove(&req, dir, name_of(name), NULL));
	}
	for (int i = 0; i < 1100; i++) {	/* numbers that need one level more */
		sim_ok(fs_snapshot_create(&req, volume, "grow", NULL));
		sim_ok(fs_snapshot_destroy(&req, volume, "grow"));
	}
	sim_ok(fs_reap_all(fs));
}

void mrepl_sweep(struct fs *fs)
{
	sim_ok(unfinished_sweep(fs));
}

/* Without volumes there is nothing to keep. */
void mrepl_finish(struct fs *fs)
{
	struct fs_dirlist list = { .buf = test_alloc(4096), .cap = 4096 };
	struct fs_req req;
	struct fs_id dir;

	mrepl_sweep(fs);
	fs_req_admin(&req, fs);
	sim_ok(fs_system_dir(&req, "receive", &dir));
	sim_ok(fs_readdir(&req, dir, 2, false, &list));
	sim_check(!list.n, "%s is kept, and not for anything", ((const struct fs_dirent *)list.buf)->name);
	free(list.buf);
}

/* ---- what is known ------------------------------------------------------------------------------ */

void mrepl_touch(struct mrepl *r, uint32_t volume)
{
	for (unsigned i = 0; i < VOLUMES; i++)
		if (r->clean[i].volume == volume)
			r->clean[i].volume = 0;
}

void mrepl_touch_all(struct mrepl *r)
{
	memset(r->clean, 0, sizeof(r->clean));
}

static void is_clean(struct mrepl *r, uint32_t volume, uint32_t snapshot)
{
	mrepl_touch(r, volume);
	for (unsigned i = 0; i < VOLUMES; i++)
		if (!r->clean[i].volume) {
			r->clean[i].volume = volume;
			r->clean[i].snapshot = snapshot;
			return;
		}
}

void mrepl_restored(struct mrepl *r, uint32_t volume, const struct mfrozen *f)
{
	mrepl_touch(r, volume);
	for (uint32_t i = 0; i < f->m->nnodes; i++)
		if (f->m->nodes[i]->unnamed)
			return;		/* it goes in the background, which is a change */
	is_clean(r, volume, f->id);
}

static bool unchanged(const struct mrepl *r, uint32_t volume, uint32_t snapshot)
{
	for (unsigned i = 0; i < VOLUMES; i++)
		if (r->clean[i].volume == volume)
			return r->clean[i].snapshot == snapshot;
	return false;
}

struct known *mrepl_known(const struct mrepl *r, uint32_t snapshot)
{
	for (unsigned i = 0; i < r->nknown; i++)
		if (r->known[i].snapshot == snapshot)
			return &r->known[i];
	return NULL;
}

uint32_t mrepl_first(const struct mrepl *r, uint32_t snapshot)
{
	const struct known *k = mrepl_known(r, snapshot);

	return k ? k->first : snapshot;
}

const struct mfrozen *mrepl_snapshot(const struct model *m, uint32_t id)
{
	for (uint32_t i = 0; i < m->nsnaps; i++)
		if (m->snaps[i]->id == id)
			return m->snaps[i];
	return NULL;
}

/* What was received and is gone. */
void mrepl_forget_old(struct mrepl *r)
{
	for (unsigned i = r->nknown; i-- > 0;)
		if (!mrepl_snapshot(r->host.m, r->known[i].snapshot)) {
			free(r->known[i].to);
			r->known[i] = r->known[--r->nknown];
		}
}

struct mvolume *mrepl_volume(struct model *m, uint32_t id)
{
	for (uint32_t i = 0; i < m->nvolumes; i++)
		if (m->volumes[i].id == id)
			return &m->volumes[i];
	return NULL;
}

const struct mfrozen *mrepl_same_snapshot(const struct mrepl *r, uint32_t volume, const struct mfrozen *f)
{
	const struct model *m = r->host.m;

	for (uint32_t i = 0; i < m->nsnaps; i++)
		if (m->snaps[i]->volume == volume && mrepl_first(r, m->snaps[i]->id) == mrepl_first(r, f->id))
			return m->snaps[i];
	return NULL;
}

/* ---- what may be answered ----------------------------------------------------------------------- */

/* Of all that has a name in VOLUME, but for change numbers and quotas. */
static uint64_t volume_sum(const struct model *m, uint32_t volume)
{
	struct noderec rec;
	uint64_t sum = 0;

	for (uint32_t i = 0; i < m->nnodes; i++) {
		const struct mnode *n = m->nodes[i];
		struct fs_id id = n->id;

		if (n->unnamed || id.volume != volume)
			continue;
		model_noderec(n, &rec);
		rec.change = rec.snapshot = rec.quota_ino = rec.quota_limit = 0;
		sum += noderec_hash(&rec);
		id.snapshot = 0;
		for (uint32_t j = 0; j < n->nents; j++)
			sum += dirent_hash(id, n->ents[j].name, n->ents[j].len, n->ents[j].node->id.ino);
	}
	return sum;
}

static bool any_held(const struct model *m, uint32_t volume)
{
	for (uint32_t k = 0; k < m->nheld; k++)
		if (m->held[k].volume == volume && !m->held[k].snapshot)
			return true;
	return false;
}

static void must(struct expect *e, int error) { e->must[e->nmust++] = -error; }
static void may(struct expect *e, int error) { e->may[e->nmay++] = -error; }

static void predict_changes(const struct mrepl *r, const struct transfer *x, struct mvolume *v, struct expect *early,
			    struct expect *late)
{
	struct model *m = r->host.m;
	const struct mfrozen *base = mrepl_same_snapshot(r, v->id, x->from);
	const struct known *k = base ? mrepl_known(r, base->id) : NULL;

	if (!k || k->source != x->source)
		must(early, ENOENT);
	if (model_snap(m, v->id, x->now->name))
		must(early, EEXIST);
	if (x->force)
		return;
	if (base && volume_sum(m, v->id) != volume_sum(base->m, v->id)) {
		must(early, ENOTSYNC);
	} else if (base && !unchanged(r, v->id, base->id)) {
		may(early, ENOTSYNC);	/* changed, and back again */
		may(late, ENOTSYNC);
	}
	if (any_held(m, v->id))
		must(late, EBUSY);
}

void mrepl_predict(const struct mrepl *r, const struct transfer *x, struct expect *early, struct expect *late)
{
	struct mvolume *v = model_volume(r->host.m, x->target);

	*early = *late = (struct expect){ 0 };
	if (!x->from && v)
		must(early, EEXIST);
	if (x->from && !v)
		must(early, ENOENT);
	if (x->from && v)
		predict_changes(r, x, v, early, late);
}

/* ---- what has arrived --------------------------------------------------------------------------- */

struct learning {
	struct mrepl *r;
	const struct transfer *x;
	struct fs_req req;
	struct fs_id *to;			/* as known.to */
	uint32_t volume;
	const struct known *base;		/* NULL: all was sent */
	const struct mfrozen *target_base;
};

/* A file that the target had before has kept its number. */
static void check_number(const struct learning *l, const struct mnode *src, struct fs_id id)
{
	struct fs_id key = src->id;
	const struct mnode *before;

	if (!l->base)
		return;
	key.snapshot = l->x->from->id;
	before = model_find(l->x->from->m, key);
	if (!before || before->unnamed)
		return;
	key = l->base->to[before->index];
	sim_check(key.ino == id.ino && key.generation == id.generation,
		  "ino %llu of the copy was %llu before the changes came", (unsigned long long)id.ino,
		  (unsigned long long)key.ino);
}

static struct mnode *learn_node(struct learning *l, const struct mnode *src, const struct fs_attr *a)
{
	struct model *m = l->r->host.m;
	struct mnode *n;

	sim_check(!model_find(m, a->id), "ino %llu of the copy stands for two files", (unsigned long long)a->id.ino);
	check_number(l, src, a->id);
	l->to[src->index] = a->id;
	n = model_node_copy(m, src, a->id);
	n->change = a->change;
	n->verifier = 0;
	n->origin = a->origin;
	n->parent = NULL;
	model_quota_like(n, NULL);
	n->has_quota = false;
	n->limit = 0;
	if (n->type == FS_REG)
		sim_learn_zeros(l->req.fs, n);
	return n;
}

static struct mnode *learn_below(struct learning *l, const struct mnode *src, const struct fs_attr *a)
{
	struct fs_id had = l->to[src->index];
	struct model *m = l->r->host.m;
	struct mnode *n;

	if (had.ino) {			/* another name of it */
		sim_check(had.ino == a->id.ino && had.generation == a->id.generation,
			  "ino %llu of the copy has a name of ino %llu", (unsigned long long)a->id.ino,
			  (unsigned long long)had.ino);
		return model_find(m, had);
	}
	n = learn_node(l, src, a);
	for (uint32_t i = 0; i < src->nents; i++) {
		const struct mdirent *e = &src->ents[i];
		struct mnode *child;
		struct fs_attr found;

		sim_check(!fs_lookup(&l->req, a->id, (struct fs_name){ e->name, e->len }, &found, NULL),
			  "'%s' has not arrived", e->name);
		child = learn_below(l, e->node, &found);
		if (child->type == FS_DIR)
			child->parent = n;
		model_dirent_add(m, n, e->name, e->len, child);
	}
	return n;
}

/* What it was cloned from, if that has a name; of what was not sent, as it was before. */
static void check_origin(const struct learning *l, const struct mnode *src, const struct mnode *n)
{
	struct fs_id key = src->id, want = { 0 }, before = { 0 };
	const struct mnode *origin = NULL, *base = NULL;

	key.ino = src->origin.ino;
	key.generation = src->origin.generation;
	if (key.ino)
		origin = model_find(l->x->now->m, key);
	if (origin && !origin->unnamed)
		want = l->to[origin->index];
	key = n->id;
	if (l->base) {
		key.snapshot = l->target_base->id;
		base = model_find(l->target_base->m, key);
	}
	if (base)
		before = base->origin;
	sim_check((n->origin.ino == want.ino && n->origin.generation == want.generation) ||
		  (base && n->origin.ino == before.ino && n->origin.generation == before.generation),
		  "ino %llu of the copy comes from %llu, not %llu", (unsigned long long)n->id.ino,
		  (unsigned long long)n->origin.ino, (unsigned long long)want.ino);
}

static struct mvolume *target_volume(struct mrepl *r, const struct fs_volume_info *v)
{
	struct model *m = r->host.m;
	struct mvolume *t = model_volume(m, v->name);

	if (t) {
		sim_check(t->id == v->id && t->fsid == v->fsid, "the target has become another volume");
		for (uint32_t i = m->nnodes; i-- > 0;)
			if (m->nodes[i]->id.volume == v->id)
				model_node_free(m, m->nodes[i]);
		return t;
	}
	m->volumes = realloc(m->volumes, (m->nvolumes + 1) * sizeof(*m->volumes));
	if (!m->volumes)
		abort();
	t = &m->volumes[m->nvolumes++];
	*t = (struct mvolume){ .id = v->id, .fsid = v->fsid };
	strcpy(t->name, v->name);
	return t;
}

static void remember(struct learning *l)
{
	struct mrepl *r = l->r;
	struct known *k;

	r->known = realloc(r->known, (r->nknown + 1) * sizeof(*r->known));
	if (!r->known)
		abort();
	k = &r->known[r->nknown++];
	*k = (struct known){ .snapshot = l->x->info.id, .first = mrepl_first(r, l->x->now->id), .source = l->x->source,
			     .to = l->to };
	is_clean(r, l->volume, k->snapshot);
}

void mrepl_learn(struct mrepl *r, const struct transfer *x)
{
	const struct model *now = x->now->m;
	struct learning l = { .r = r, .x = x, .to = test_alloc((now->nnodes + 1) * sizeof(*l.to)) };
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct mnode *root = NULL;
	struct mvolume *t;
	struct fs_attr a;

	fs_req_admin(&l.req, *r->host.fs);
	sim_ok(fs_volume_find(*r->host.fs, x->target, v));
	sim_check(x->info.volume == v->id && !strcmp(x->info.name, x->now->name) && !memcmp(x->info.uuid, x->uuid, 16),
		  "another snapshot than was sent");
	l.volume = v->id;
	if (x->from) {
		l.target_base = mrepl_same_snapshot(r, v->id, x->from);
		l.base = mrepl_known(r, l.target_base->id);
	}
	t = target_volume(r, v);
	for (uint32_t i = 0; i < now->nnodes; i++)
		if (now->nodes[i]->id.ino == FS_ROOT_INO)
			root = now->nodes[i];
	sim_ok(fs_getattr(&l.req, v->root, &a));
	t->root = learn_below(&l, root, &a);
	for (uint32_t i = 0; i < now->nnodes; i++)
		if (l.to[i].ino)
			check_origin(&l, now->nodes[i], model_find(r->host.m, l.to[i]));
	model_snap_add(r->host.m, &x->info);
	remember(&l);
	r->host.received(r->host.arg, x->target, x->from != NULL);
	free(v);
}

