/* SPDX-License-Identifier: Apache-2.0 */
/* What the store says that differs between two files, or two volumes or snapshots, against the model's bytes. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "fs/diff.h"
#include "sim.h"

/* ---- files ------------------------------------------------------------------------------- */

struct walk { const struct mcontent *a, *b; uint32_t i, k; };

/* The next block at which both differ; false at the end.  A hole is as a block of zeros. */
static bool next_change(struct walk *w, uint64_t *ret_index, enum fs_diff_kind *ret_kind)
{
	for (;;) {
		const struct mext *a = w->i < w->a->n ? &w->a->e[w->i] : NULL;
		const struct mext *b = w->k < w->b->n ? &w->b->e[w->k] : NULL;

		if (!a && !b)
			return false;
		*ret_index = !b || (a && a->index < b->index) ? a->index : b->index;
		w->i += a && a->index == *ret_index;
		w->k += b && b->index == *ret_index;
		*ret_kind = !a || a->index != *ret_index ? FS_DIFF_DATA :
			    !b || b->index != *ret_index ? FS_DIFF_HOLE : FS_DIFF_CHANGED;
		if (*ret_kind == FS_DIFF_CHANGED ? memcmp(a->blk->data, b->blk->data, MBLOCK) != 0 :
		    !block_is_zero((*ret_kind == FS_DIFF_DATA ? b : a)->blk->data))
			return true;
	}
}

/* All blocks of R are what comes next; the last may be cut off at the end of both. */
static void check_range(struct walk *w, const struct fs_diff_range *r, uint64_t end)
{
	for (uint64_t at = r->offset; at < r->offset + r->len; at += MBLOCK) {
		enum fs_diff_kind kind;
		uint64_t index;

		sim_check(next_change(w, &index, &kind), "a difference at %llu, where there is none",
			  (unsigned long long)at);
		sim_check(index * MBLOCK == at && kind == r->kind,
			  "a difference of kind %d at %llu; the next one is of kind %d at %llu", r->kind,
			  (unsigned long long)at, kind, (unsigned long long)index * MBLOCK);
		sim_check(r->offset + r->len <= end, "a difference behind the end");
	}
}

/* Somewhere in the middle, or where an index block ends. */
static uint64_t a_start(const struct mnode *a, struct rng *rng)
{
	uint64_t index = a->content->n && rng_one_in(rng, 2) ? a->content->e[rng_below(rng, a->content->n)].index : 0;

	return rng_one_in(rng, 2) ? index : index | 511;
}

static void skip_to(struct walk *w, uint64_t index)
{
	while (w->i < w->a->n && w->a->e[w->i].index < index)
		w->i++;
	while (w->k < w->b->n && w->b->e[w->k].index < index)
		w->k++;
}

static void check_files(struct fs *fs, const struct mnode *a, const struct mnode *b, uint64_t start)
{
	struct fs_diff *d = test_alloc(sizeof(*d));
	struct walk w = { a->content, b->content, 0, 0 };
	uint64_t end = a->size > b->size ? a->size : b->size, index;
	enum fs_diff_kind kind;
	struct fs_req req;

	fs_req_admin(&req, fs);
	*d = (struct fs_diff){ .a = a->id, .b = b->id, .next = start * MBLOCK };
	skip_to(&w, start);
	while (d->next != UINT64_MAX) {
		uint64_t at = d->next;

		sim_ok(fs_diff(&req, d));
		sim_check(d->next > at, "a diff that does not get on");
		for (unsigned i = 0; i < d->n; i++)
			check_range(&w, &d->ranges[i], end);
	}
	sim_check(!next_change(&w, &index, &kind), "block %llu differs, and was not found",
		  (unsigned long long)index);
	free(d);
}

/* By addresses: at least what differs, and never more than is mapped. */
static void check_quick(struct fs *fs, const struct mnode *a, const struct mnode *b)
{
	struct fs_diff *d = test_alloc(sizeof(*d));
	struct walk w = { a->content, b->content, 0, 0 };
	uint64_t need = 0, got = 0, bytes = 0, counted = 0, index;
	enum fs_diff_kind kind;
	struct fs_req req;

	while (next_change(&w, &index, &kind))
		need++;
	fs_req_admin(&req, fs);
	*d = (struct fs_diff){ .a = a->id, .b = b->id, .quick = true };
	while (d->next != UINT64_MAX) {
		sim_ok(fs_diff(&req, d));
		for (unsigned i = 0; i < d->n; i++) {
			got += (d->ranges[i].len + MBLOCK - 1) / MBLOCK;
			bytes += d->ranges[i].len;
		}
	}
	*d = (struct fs_diff){ .a = a->id, .b = b->id, .quick = true, .count = true };
	while (d->next != UINT64_MAX) {
		sim_ok(fs_diff(&req, d));
		sim_check(!d->n, "ranges, where only bytes were asked for");
		counted += d->bytes[0] + d->bytes[1] + d->bytes[2];
	}
	sim_check(counted == bytes, "%llu bytes differ, %llu were counted", (unsigned long long)bytes,
		  (unsigned long long)counted);
	sim_check(got >= need && got <= (uint64_t)a->content->n + b->content->n,
		  "%llu blocks are not the same, %llu differ", (unsigned long long)got,
		  (unsigned long long)need);
	free(d);
}

/* ---- volumes ----------------------------------------------------------------------------- */

struct volume_view { struct model *m; uint32_t volume; };

static struct mnode *twin(const struct volume_view *v, const struct mnode *n)
{
	for (uint32_t i = 0; i < v->m->nnodes; i++) {
		struct mnode *o = v->m->nodes[i];

		if (o->id.volume == v->volume && o->id.ino == n->id.ino && o->id.generation == n->id.generation)
			return o->unnamed ? NULL : o;
	}
	return NULL;
}

static bool same_bytes(const struct mnode *a, const struct mnode *b)
{
	struct walk w = { a->content, b->content, 0, 0 };
	enum fs_diff_kind kind;
	uint64_t index;

	return a->size == b->size && (a->type != FS_REG || !next_change(&w, &index, &kind));
}

static unsigned must_differ(const struct mnode *a, const struct mnode *b)
{
	if (!a || !b)
		return a ? FS_VDIFF_REMOVED : b ? FS_VDIFF_ADDED : 0;
	return (a->type == FS_REG && !same_bytes(a, b) ? FS_VDIFF_CONTENT : 0) |
	       (a->mode != b->mode || a->uid != b->uid || a->gid != b->gid ||
		(a->type != FS_DIR && a->nlink != b->nlink) ? FS_VDIFF_ATTRS : 0);
}

static void check_entry(const struct fs_vdiff_entry *e, const struct volume_view v[2])
{
	struct mnode key = { .id = e->what & FS_VDIFF_ADDED ? e->b.id : e->a.id };
	const struct mnode *a = twin(&v[0], &key), *b = twin(&v[1], &key);
	unsigned must = must_differ(a, b), exact = FS_VDIFF_ADDED | FS_VDIFF_REMOVED;

	sim_check((e->what & must) == must && (e->what & exact) == (must & exact),
		  "ino %llu: differs by %u, should by %u", (unsigned long long)key.id.ino, e->what, must);
	/* Where a directory lies is none of its attributes. */
	if (a && b && a->type == FS_DIR && !a->xattrs && !b->xattrs)
		sim_check((e->what & FS_VDIFF_ATTRS) == (must & FS_VDIFF_ATTRS), "directory %llu: differs by %u",
			  (unsigned long long)key.id.ino, e->what);
}

/* How many nodes of V have to be reported, and are no orphans; counted from both sides. */
static unsigned count_musts(const struct volume_view v[2])
{
	unsigned n = 0;

	for (unsigned side = 0; side < 2; side++)
		for (uint32_t i = 0; i < v[side].m->nnodes; i++) {
			struct mnode *me = v[side].m->nodes[i], *other;

			if (me->id.volume != v[side].volume || me->unnamed)
				continue;
			other = twin(&v[!side], me);
			n += side ? !other : must_differ(me, other) != 0;
		}
	return n;
}

static void check_volumes(struct fs *fs, const struct volume_view v[2], struct fs_id a, struct fs_id b)
{
	struct fs_vdiff *d = test_alloc(sizeof(*d));
	unsigned musts = count_musts(v), found = 0;
	struct fs_req req;

	fs_req_admin(&req, fs);
	*d = (struct fs_vdiff){ .a = a, .b = b };
	while (d->next != UINT64_MAX) {
		uint64_t at = d->next;

		sim_ok(fs_vdiff(&req, d));
		sim_check(d->next > at, "a diff of volumes that does not get on");
		for (unsigned i = 0; i < d->n; i++) {
			struct mnode key = { .id = d->e[i].what & FS_VDIFF_ADDED ? d->e[i].b.id : d->e[i].a.id };

			check_entry(&d->e[i], v);
			found += must_differ(twin(&v[0], &key), twin(&v[1], &key)) != 0;
		}
	}
	sim_check(found == musts, "%u files differ, %u were found", musts, found);
	free(d);
}

/* ---- asking ------------------------------------------------------------------------------ */

static struct mnode *a_file(struct model *m, struct rng *rng)
{
	uint32_t at = m->nnodes ? rng_below(rng, m->nnodes) : 0;

	for (uint32_t i = 0; i < m->nnodes; i++)
		if (m->nodes[(at + i) % m->nnodes]->type == FS_REG)
			return m->nodes[(at + i) % m->nnodes];
	return NULL;
}

static struct model *somewhere(struct model *m, struct rng *rng)
{
	return m->nsnaps && rng_one_in(rng, 2) ? m->snaps[rng_below(rng, m->nsnaps)]->m : m;
}

void sim_ask_diff(struct fs *fs, struct model *m, struct rng *rng)
{
	struct mnode *a = a_file(somewhere(m, rng), rng), *b = a_file(somewhere(m, rng), rng);
	struct mnode *origin = b ? model_find(m, b->origin) : NULL;

	if (origin && origin->type == FS_REG && rng_one_in(rng, 2))
		a = origin;
	if (!a || !b)
		return;
	if (rng_one_in(rng, 4))
		check_quick(fs, a, b);
	else
		check_files(fs, a, b, rng_one_in(rng, 2) ? 0 : a_start(a, rng));
}

void sim_ask_vdiff(struct fs *fs, struct model *m, struct rng *rng)
{
	const struct mfrozen *f = m->nsnaps ? m->snaps[rng_below(rng, m->nsnaps)] : NULL;
	const struct mfrozen *g = m->nsnaps ? m->snaps[rng_below(rng, m->nsnaps)] : NULL;
	struct volume_view v[2];
	struct fs_id a, b;

	if (!f)
		return;
	a = b = (struct fs_id){ .volume = f->volume, .snapshot = f->id };
	v[0] = v[1] = (struct volume_view){ f->m, f->volume };
	if (g != f && g->volume == f->volume) {
		v[1].m = g->m;
		b.snapshot = g->id;
	} else {
		v[1].m = m;
		b.snapshot = 0;
	}
	if (rng_one_in(rng, 2))
		check_volumes(fs, v, a, b);
	else
		check_volumes(fs, (struct volume_view[2]){ v[1], v[0] }, b, a);
}
