/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See family.h.  First up: from the file to the oldest ancestor that is still there.  Then all files that
 * descend from anything are listed with what they descend from, and sorted by that; so each finds its
 * clones.  At last come the names, for each volume from one look through its directories.
 */
#include "fs/family.h"
#include "fs/fs_int.h"

#include <stdlib.h>
#include "fs/names.h"

#define LEAVES 32			/* inode blocks that one step looks at */
#define SNAPSHOT_LOOKS_MAX 100000
#define YIELD_LOOKS 64			/* looks at records and inodes; then others have their turn */

struct key { uint32_t volume; uint64_t ino, generation; };
struct descent { struct key parent, own; uint64_t size, mapped; bool by_volume, orphan; };

/* SINCE: of a volume that was cloned, the event that made it; 0: it was not.  SOURCE 0: what it was
 * cloned from is gone. */
struct cloned { uint32_t id, source; uint64_t since; };
struct origin { uint64_t fsid; uint32_t volume; };	/* a volume's, or a snapshot's of it */

struct family {
	struct fs_req *req;
	struct cloned *volumes;		/* by id */
	uint32_t nvolumes;
	struct origin *origins;		/* what volumes can be clones of, by fsid */
	uint32_t norigins, origins_cap;
	uint32_t looks;
	struct descent *d;
	uint32_t n, cap;
	/* of the present volume: */
	uint32_t volume;
	uint64_t next;
	struct descent found[LEAVES * INODES_PER_BLOCK];
	unsigned nfound;
	/* names: */
	struct fs_family *out;
	uint32_t *by_inode;		/* of out, sorted */
};

static int key_order(const struct key *a, const struct key *b)
{
	if (a->volume != b->volume)
		return a->volume < b->volume ? -1 : 1;
	if (a->ino != b->ino)
		return a->ino < b->ino ? -1 : 1;
	return a->generation < b->generation ? -1 : a->generation > b->generation;
}

/* ---- volumes ---------------------------------------------------------------------------- */

static void looked(struct family *f)
{
	if (++f->looks % YIELD_LOOKS == 0)
		fiber_yield();
}

static int add_origin(struct family *f, uint64_t fsid, uint32_t volume)
{
	if (f->norigins == f->origins_cap) {
		uint32_t cap = f->origins_cap ? 2 * f->origins_cap : 64;
		struct origin *more = realloc(f->origins, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		f->origins = more;
		f->origins_cap = cap;
	}
	f->origins[f->norigins++] = (struct origin){ fsid, volume };
	looked(f);
	return 0;
}

static int by_fsid(const void *x, const void *y)
{
	const struct origin *a = x, *b = y;

	return a->fsid < b->fsid ? -1 : a->fsid > b->fsid;
}

static int list_origins(struct family *f)
{
	struct fs_volume_info *v = malloc(sizeof(*v));
	struct fs_snapshot_info s = { 0 };
	uint32_t after = 0;
	int err = v ? 0 : -ENOMEM;

	while (!err && !fs_volume_next(f->req->fs, after, v)) {
		after = v->id;
		err = add_origin(f, v->fsid, after);
		for (s.id = 0; !err && !fs_snapshot_next(f->req->fs, after, s.id, &s);)
			err = add_origin(f, s.fsid, after);
	}
	free(v);
	if (!err && f->norigins)
		qsort(f->origins, f->norigins, sizeof(*f->origins), by_fsid);
	return err;
}

static uint32_t volume_of_fsid(const struct family *f, uint64_t fsid)
{
	const struct origin key = { fsid, 0 };
	const struct origin *at = f->norigins ? bsearch(&key, f->origins, f->norigins, sizeof(key), by_fsid) : NULL;

	return at ? at->volume : 0;
}

struct record { uint32_t id; uint64_t origin_fsid, fsid; };

static int do_record(struct txn *t, void *arg)
{
	struct record *r = arg;
	struct volume *v;
	int err = volume_get(t, r->id, &v);

	if (!err) {
		r->origin_fsid = v->origin_fsid;
		r->fsid = v->fsid;
	}
	return err;
}

static int list_volumes(struct family *f)
{
	struct fs_volume_info *v = malloc(sizeof(*v));
	int err = v ? list_origins(f) : -ENOMEM;
	uint32_t cap = catalog_count(f->req->fs, 0) + 64, after = 0;	/* and some that are made meanwhile */

	f->volumes = calloc(cap, sizeof(*f->volumes));
	if (!err && !f->volumes)
		err = -ENOMEM;
	while (!err && f->nvolumes < cap && !fs_volume_next(f->req->fs, after, v)) {
		struct record r = { .id = v->id };

		after = v->id;
		err = fs_run(f->req, SPACE_ORDINARY, false, false, do_record, &r);
		if (err == -ESTALE) {
			err = 0;
			continue;
		}
		f->volumes[f->nvolumes++] = (struct cloned){ v->id, r.origin_fsid ?
			volume_of_fsid(f, r.origin_fsid) : 0, r.origin_fsid ? r.fsid : 0 };
		looked(f);
	}
	free(v);
	return err;
}

static const struct cloned *volume_find(const struct family *f, uint32_t id)
{
	uint32_t lo = 0, hi = f->nvolumes;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (f->volumes[mid].id == id)
			return &f->volumes[mid];
		if (f->volumes[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

/* ---- descent ---------------------------------------------------------------------------- */

static struct descent descent_of(uint32_t volume, uint64_t ino, const struct inode *i)
{
	return (struct descent){ .own = { volume, ino, i->generation },
		.parent = { i->origin_volume, i->origin_ino, i->origin_generation }, .size = i->size, .mapped = i->mapped };
}

static bool may_descend(const struct family *f, const struct descent *d)
{
	const struct cloned *v = volume_find(f, d->own.volume);

	return d->parent.ino || (v && d->own.generation < v->since);
}

static bool is_there(struct family *f, const struct key *k)
{
	struct fs_attr a;

	looked(f);
	return !fs_getattr(f->req, (struct fs_id){ k->volume, 0, k->ino, k->generation }, &a) && a.type == FS_REG;
}

/* The same file in the volume that its volume was cloned from; or if that is gone, in the oldest that has it. */
static bool find_in_source(struct family *f, const struct descent *d, struct key *ret)
{
	const struct cloned *v = volume_find(f, d->own.volume);

	*ret = d->own;
	if (!v || d->own.generation >= v->since)
		return false;
	ret->volume = v->source;
	if (v->source && is_there(f, ret))
		return true;
	for (uint32_t i = 0; i < f->nvolumes && f->volumes[i].id < v->id; i++) {
		ret->volume = f->volumes[i].id;
		if (is_there(f, ret))
			return true;
	}
	return false;
}

/* Fills in the parent that is there; none: ino 0. */
static void find_parent(struct family *f, struct descent *d)
{
	struct key beside = d->parent, source;

	beside.volume = d->own.volume;
	if (d->parent.ino && is_there(f, &beside)) {
		d->parent = beside;
		return;
	}
	d->by_volume = find_in_source(f, d, &source);
	if (d->by_volume) {
		d->parent = source;
		return;
	}
	if (d->parent.ino && is_there(f, &d->parent))
		return;
	d->orphan = d->parent.ino;
	d->parent = (struct key){ 0 };
}

struct one { struct fs_id id; struct descent d; };

static int do_one(struct txn *t, void *arg)
{
	struct one *o = arg;
	struct volume *v;
	struct inode *i;
	int err = object_get(t, o->id, &v, &i);

	if (!err && i->type != FS_REG)
		err = i->type == FS_DIR ? -EISDIR : -EINVAL;
	if (!err)
		o->d = descent_of(v->id, o->id.ino, i);
	return err;
}

/*
 * Up to the first of the family.  Whoever made the stream that a volume was received from can have said that two
 * files were cloned from each other: then it begins with one of them.  A round is noticed when the climb comes to where
 * it was 1, 2, 4, ... steps before (Brent).
 */
static int climb(struct family *f, struct fs_id id, struct descent *ret)
{
	struct one o = { .id = id };
	struct key seen = { 0 };
	uint32_t next = 1;
	int err = fs_run(f->req, SPACE_ORDINARY, false, false, do_one, &o);

	for (uint32_t steps = 0; !err && steps < FS_FAMILY_MAX; steps++) {
		if (!key_order(&o.d.own, &seen)) {
			*ret = o.d;
			return 0;
		}
		if (steps == next) {
			seen = o.d.own;
			next *= 2;
			fiber_yield();
		}
		find_parent(f, &o.d);
		*ret = o.d;
		if (!o.d.parent.ino)
			return 0;
		o.id = (struct fs_id){ o.d.parent.volume, 0, o.d.parent.ino, o.d.parent.generation };
		err = fs_run(f->req, SPACE_ORDINARY, false, false, do_one, &o);
		if (err == -ESTALE)
			return 0;		/* it was removed just now */
	}
	return err ? err : -EDAMAGED;
}

/* ---- all that descend from anything -------------------------------------------------------- */

static int do_inodes(struct txn *t, void *arg)
{
	struct family *f = arg;
	struct volume *v;
	uint64_t next = f->next;
	int err = volume_get(t, f->volume, &v);

	f->nfound = 0;
	for (unsigned n = 0; n < LEAVES && next != UINT64_MAX && !err; n++) {
		struct tree_root r = { v->inodes_root, v->inodes_depth };
		struct block *b;
		uint64_t ptr;

		err = tree_seek(t, &r, next, true, &next);
		if (err || next == UINT64_MAX)
			break;
		err = tree_lookup(t, &r, next, &ptr);
		if (!err)
			err = txn_block_as(t, ptr, 0, TREE_INODES, &b);
		for (unsigned k = 0; k < INODES_PER_BLOCK && !err; k++) {
			const struct inode *i = (const struct inode *)b->data + k;

			if (i->type == FS_REG && i->nlink)
				f->found[f->nfound++] = descent_of(f->volume, next * INODES_PER_BLOCK + k, i);
		}
		next++;
	}
	if (!err)
		f->next = next;
	return err;
}

static int keep(struct family *f, const struct descent *d)
{
	if (f->n == f->cap) {
		uint32_t cap = f->cap ? 2 * f->cap : 256;
		struct descent *more = cap <= 2 * FS_FAMILY_MAX ? realloc(f->d, cap * sizeof(*more)) : NULL;

		if (!more)
			return cap > 2 * FS_FAMILY_MAX ? -E2BIG : -ENOMEM;
		f->d = more;
		f->cap = cap;
	}
	f->d[f->n++] = *d;
	return 0;
}

static int list_descents(struct family *f)
{
	int err = 0;

	for (uint32_t i = 0; i < f->nvolumes && !err; i++) {
		f->volume = f->volumes[i].id;
		for (f->next = 0; f->next != UINT64_MAX && !err;) {
			err = fs_run(f->req, SPACE_ORDINARY, false, false, do_inodes, f);
			for (unsigned k = 0; k < f->nfound && !err; k++) {
				if (!may_descend(f, &f->found[k]))
					continue;
				find_parent(f, &f->found[k]);
				if (f->found[k].parent.ino)
					err = keep(f, &f->found[k]);
			}
			fiber_yield();
		}
		if (err == -ESTALE)
			err = 0;		/* the volume was destroyed meanwhile */
	}
	return err;
}

static int by_parent(const void *x, const void *y)
{
	const struct descent *a = x, *b = y;
	int o = key_order(&a->parent, &b->parent);

	if (!o && a->own.generation != b->own.generation)
		return a->own.generation < b->own.generation ? -1 : 1;
	return o ? o : key_order(&a->own, &b->own);
}

static uint32_t first_child(const struct family *f, const struct key *parent)
{
	uint32_t lo = 0, hi = f->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (key_order(&f->d[mid].parent, parent) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* ---- the family ------------------------------------------------------------------------- */

static void add_relative(struct fs_family *out, const struct descent *d, uint32_t parent)
{
	struct fs_relative *r = &out->r[out->n++];

	*r = (struct fs_relative){ .id = { d->own.volume, 0, d->own.ino, d->own.generation }, .parent = parent,
		.depth = parent == FS_FAMILY_NONE ? 0 : out->r[parent].depth + 1, .by_volume = d->by_volume,
		.size = d->size, .mapped_blocks = d->mapped };
}

/* From the first down, each followed by all that descends from it.  A way back up is in the list itself. */
static int gather(struct family *f, const struct descent *first, struct fs_family *out)
{
	uint32_t *next = malloc((f->n + 1) * sizeof(*next)), at = 0;

	out->r = malloc((f->n + 1) * sizeof(*out->r));
	if (!next || !out->r) {
		free(next);
		return -ENOMEM;
	}
	add_relative(out, first, FS_FAMILY_NONE);
	next[0] = first_child(f, &first->own);
	while (at != FS_FAMILY_NONE) {
		const struct fs_relative *r = &out->r[at];
		struct key own = { r->id.volume, r->id.ino, r->id.generation };
		uint32_t k = next[at]++;

		if (k < f->n && !key_order(&f->d[k].parent, &own) && !key_order(&f->d[k].own, &first->own))
			continue;
		if (k < f->n && !key_order(&f->d[k].parent, &own) && out->n <= f->n) {
			add_relative(out, &f->d[k], at);
			at = out->n - 1;
			next[at] = first_child(f, &f->d[k].own);
		} else {
			at = r->parent;
		}
	}
	free(next);
	return 0;
}

/* ---- their names ------------------------------------------------------------------------ */

static int inode_order(const struct fs_id *a, const struct fs_id *b)
{
	struct key x = { a->volume, a->ino, a->generation }, y = { b->volume, b->ino, b->generation };

	return key_order(&x, &y);
}

static const struct fs_relative *sorting;	/* nothing waits while it is used */

static int by_inode(const void *x, const void *y)
{
	return inode_order(&sorting[*(const uint32_t *)x].id, &sorting[*(const uint32_t *)y].id);
}

static int take_name(void *arg, const struct fs_named *n)
{
	struct family *f = arg;
	uint32_t lo = 0, hi = f->out->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		struct fs_relative *r = &f->out->r[f->by_inode[mid]];
		int o = inode_order(&r->id, &n->id);

		if (!o && !r->path) {
			r->path = strdup(n->path);
			return r->path ? 0 : -ENOMEM;
		}
		if (!o)
			return 0;
		if (o < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return 0;
}

static uint32_t count_snapshots(struct family *f, const struct fs_id *id)
{
	struct fs_snapshot_info s = { 0 };
	struct fs_attr a;
	uint32_t n = 0;

	while (!fs_snapshot_next(f->req->fs, id->volume, s.id, &s)) {
		n += !fs_getattr(f->req, (struct fs_id){ id->volume, s.id, id->ino, id->generation }, &a);
		looked(f);
	}
	return n;
}

static int name_volume(struct family *f, uint32_t volume)
{
	struct fs_volume_info *v = malloc(sizeof(*v));
	uint64_t looks = (uint64_t)fs_snapshot_count(f->req->fs, volume) * f->out->n;
	int err = v ? fs_volume_get(f->req->fs, volume, v) : -ENOMEM;
	bool any = false;

	looked(f);
	for (uint32_t i = 0; i < f->out->n && !err; i++) {
		struct fs_relative *r = &f->out->r[i];

		if (r->id.volume != volume)
			continue;
		any = true;
		memcpy(r->volume, v->name, sizeof(r->volume));
		r->snapshots = looks > SNAPSHOT_LOOKS_MAX ? FS_FAMILY_NONE : count_snapshots(f, &r->id);
		if (i % 64 == 63)
			fiber_yield();
	}
	if (!err && any)
		err = fs_names_each(f->req, v->root, "/", take_name, f);
	free(v);
	return err == -ENOENT || err == -ESTALE ? 0 : err;
}

static int find_names(struct family *f)
{
	int err = 0;

	f->by_inode = malloc(f->out->n * sizeof(*f->by_inode));
	if (!f->by_inode)
		return -ENOMEM;
	for (uint32_t i = 0; i < f->out->n; i++)
		f->by_inode[i] = i;
	sorting = f->out->r;
	qsort(f->by_inode, f->out->n, sizeof(*f->by_inode), by_inode);
	for (uint32_t i = 0; i < f->nvolumes && !err; i++)
		err = name_volume(f, f->volumes[i].id);
	return err;
}

int fs_family(struct fs_req *req, struct fs_id id, struct fs_family *ret)
{
	struct fs_family out = { 0 };
	struct family *f = calloc(1, sizeof(*f));
	struct descent first;
	int err = !req->cred.admin ? -EPERM : f ? 0 : -ENOMEM;

	if (err) {
		free(f);
		return err;
	}
	f->req = req;
	f->out = &out;
	id.snapshot = 0;
	err = list_volumes(f);
	if (!err)
		err = climb(f, id, &first);
	if (!err)
		err = list_descents(f);
	if (!err) {
		if (f->n)
			qsort(f->d, f->n, sizeof(*f->d), by_parent);
		err = gather(f, &first, &out);
	}
	if (!err)
		err = find_names(f);
	for (uint32_t i = 0; i < out.n && !err; i++)
		out.r[i].asked = !inode_order(&out.r[i].id, &id);
	if (!err) {
		out.origin_gone = first.orphan;
		*ret = out;
	} else {
		fs_family_done(&out);
	}
	free(f->volumes);
	free(f->origins);
	free(f->d);
	free(f->by_inode);
	free(f);
	return err;
}

void fs_family_done(struct fs_family *f)
{
	for (uint32_t i = 0; i < f->n; i++)
		free(f->r[i].path);
	free(f->r);
}
