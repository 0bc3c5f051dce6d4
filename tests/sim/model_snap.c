/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model's snapshots: each is a model of its own of one volume, which nothing changes any more and
 * which all copies of the model share.  See model.h.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "model_int.h"

static void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		abort();
	return p;
}

static void frozen_put(struct mfrozen *f)
{
	if (--f->refs)
		return;
	model_free(f->m);
	free(f);
}

void model_snaps_share(struct model *to, const struct model *from)
{
	to->nsnaps = from->nsnaps;
	to->snaps = xcalloc(from->nsnaps, sizeof(*to->snaps));
	for (uint32_t i = 0; i < from->nsnaps; i++) {
		to->snaps[i] = from->snaps[i];
		to->snaps[i]->refs++;
	}
}

void model_snaps_free(struct model *m)
{
	while (m->nsnaps)
		frozen_put(m->snaps[--m->nsnaps]);
	free(m->snaps);
}

struct mfrozen *model_snap(struct model *m, uint32_t volume, const char *name)
{
	for (uint32_t i = 0; i < m->nsnaps; i++)
		if (m->snaps[i]->volume == volume && !strcmp(m->snaps[i]->name, name))
			return m->snaps[i];
	return NULL;
}

struct mnode *model_find_any(struct model *m, struct fs_id id)
{
	if (!id.snapshot)
		return model_find(m, id);
	for (uint32_t i = 0; i < m->nsnaps; i++)
		if (m->snaps[i]->id == id.snapshot)
			return model_find(m->snaps[i]->m, id);
	return NULL;
}

/* N's names, which lead to copies in TO. */
static void copy_names(struct model *to, const struct mnode *n, struct mnode *c, struct mnode **copies)
{
	c->parent = n->parent ? copies[n->parent->index] : NULL;
	for (uint32_t j = 0; j < n->nents; j++)
		model_dirent_add(to, c, n->ents[j].name, n->ents[j].len, copies[n->ents[j].node->index]);
}

/* Adds to TO all that FROM has in VOLUME, as (VOL, SNAPSHOT); returns its root. */
static struct mnode *copy_volume(struct model *to, const struct model *from, uint32_t volume, uint32_t vol,
				 uint32_t snapshot)
{
	uint32_t n = from->nnodes;		/* TO may be the same, and grow */
	struct mnode **copies = xcalloc(n, sizeof(*copies)), *root = NULL;

	for (uint32_t i = 0; i < n; i++) {
		struct fs_id id = from->nodes[i]->id;

		if (id.volume != volume)
			continue;
		id.volume = vol;
		id.snapshot = snapshot;
		copies[i] = model_node_copy(to, from->nodes[i], id);
		if (id.ino == FS_ROOT_INO)
			root = copies[i];
	}
	for (uint32_t i = 0; i < n; i++)
		if (copies[i])
			copy_names(to, from->nodes[i], copies[i], copies);
	free(copies);
	return root;
}

void model_snap_add(struct model *m, const struct fs_snapshot_info *s)
{
	struct mfrozen *f = xcalloc(1, sizeof(*f));

	f->refs = 1;
	f->id = s->id;
	f->volume = s->volume;
	f->fsid = s->fsid;
	strcpy(f->name, s->name);
	f->m = model_new();
	copy_volume(f->m, m, s->volume, s->volume, s->id);
	f->hash = model_hash(f->m) + text_hash(f->name, strlen(f->name)) * (f->id + 1);
	m->snaps = realloc(m->snaps, (m->nsnaps + 1) * sizeof(*m->snaps));
	if (!m->snaps)
		abort();
	m->snaps[m->nsnaps++] = f;
}

void model_snap_del(struct model *m, struct mfrozen *f)
{
	uint32_t i = 0;

	while (m->snaps[i] != f)
		i++;
	m->snaps[i] = m->snaps[--m->nsnaps];
	frozen_put(f);
}

/* What has come into VOLUME at event SEQ counts as changed then; what has no name goes, unless it is held. */
static void arrived(struct model *m, uint32_t volume, uint64_t seq)
{
	for (uint32_t i = m->nnodes; i-- > 0;) {
		struct mnode *n = m->nodes[i];

		if (n->id.volume != volume)
			continue;
		n->change = seq;
		n->orphan = n->unnamed && model_held(m, n->id);
		if (n->unnamed && !n->orphan)
			model_node_free(m, n);
	}
}

void model_restore(struct model *m, struct mvolume *v, const struct mfrozen *f, uint64_t seq)
{
	for (uint32_t i = m->nnodes; i-- > 0;)
		if (m->nodes[i]->id.volume == v->id)
			model_node_free(m, m->nodes[i]);
	v->root = copy_volume(m, f->m, f->volume, f->volume, 0);
	arrived(m, v->id, seq);
}

void model_volume_copy(struct model *m, uint32_t volume, const struct mfrozen *f,
		       const struct fs_volume_info *info)
{
	struct mvolume *v;
	struct mnode *root = copy_volume(m, f ? f->m : m, volume, info->id, 0);

	m->volumes = realloc(m->volumes, (m->nvolumes + 1) * sizeof(*m->volumes));
	if (!m->volumes)
		abort();
	v = &m->volumes[m->nvolumes++];
	*v = (struct mvolume){ .id = info->id, .fsid = info->fsid, .root = root };
	strcpy(v->name, info->name);
	arrived(m, v->id, info->fsid);
}

/* ---- clones of directories --------------------------------------------------------------- */

struct copying { struct model *m; const struct op *op; model_find_fn *find; void *arg; };

static struct mnode *copy_below(struct copying *c, const struct mnode *src, struct fs_id id)
{
	struct mnode *n = model_find(c->m, id);

	if (n) {			/* another name of it */
		n->nlink++;
		return n;
	}
	n = model_node_copy(c->m, src, id);
	n->mtime = n->ctime = c->op->time;
	n->change = c->op->seq;
	n->verifier = 0;
	n->origin = src->id;
	n->origin.snapshot = 0;
	n->parent = NULL;
	if (n->type != FS_DIR)
		n->nlink = 1;
	for (uint32_t i = 0; i < src->nents; i++) {
		const struct mdirent *e = &src->ents[i];
		struct mnode *child = copy_below(c, e->node, c->find(c->arg, id, e->name, e->len));

		if (child->type == FS_DIR)
			child->parent = n;
		model_dirent_add(c->m, n, e->name, e->len, child);
	}
	return n;
}

static void count_for(struct mnode *n, const struct mnode *dir)
{
	model_quota_like(n, dir);
	n->has_quota = false;
	n->limit = 0;
	for (uint32_t i = 0; i < n->nents; i++)
		count_for(n->ents[i].node, dir);
}

void model_tree_copy(struct model *m, const struct op *op, model_find_fn *find, void *arg)
{
	struct copying c = { m, op, find, arg };
	struct mnode *dir = model_find(m, op->dir), *top;

	top = copy_below(&c, model_find_any(m, op->id), find(arg, op->dir, op->name, op->name_len));
	top->parent = dir;
	count_for(top, dir);
	model_dirent_add(m, dir, op->name, op->name_len, top);
	dir->nlink++;
	dir->mtime = dir->ctime = op->time;
	dir->change = op->seq;
}
