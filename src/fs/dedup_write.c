/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Duplicates in what is being written.  The load pass proposes, by fingerprint, places where the same may
 * have been written before, brings their blocks in and compares; the record names the places; both passes
 * take the pointers before the write changes anything, since it may overwrite those very places.
 */
#include "fs/dedup.h"

#include <stdlib.h>
#include "base/hash.h"

#define INDEX_BLOCKS (1u << 21)		/* 2 million: 48 MiB, 8 GiB of data */
#define INDEX_ENTRY 24

struct write_dups *dups_new(uint32_t nblocks)
{
	struct write_dups *d = malloc(sizeof(*d) + nblocks * 2 * sizeof(uint64_t));

	if (!d)
		return NULL;
	d->nblocks = nblocks;
	d->looked = false;
	d->nruns = 0;
	d->ptrs = (uint64_t *)(d + 1);
	d->fps = d->ptrs + nblocks;
	memset(d->ptrs, 0, nblocks * 2 * sizeof(uint64_t));
	return d;
}

void dups_free(struct write_dups *d)
{
	free(d);
}

uint64_t dups_ptr(const struct write_op *o, uint32_t k)
{
	return o->dups && o->dups->nruns && k < o->dups->nblocks ? o->dups->ptrs[k] : 0;
}

/* ---- the data of the write ------------------------------------------------------------------- */

struct data { const struct iovec *iov; int niov; size_t at; uint8_t page[BLOCK_SIZE]; };

/* The next N bytes, in one piece; valid until the next call. */
static const uint8_t *next(struct data *d, size_t n)
{
	size_t done = 0;

	while (d->at == d->iov->iov_len && d->niov > 1) {
		d->iov++;
		d->niov--;
		d->at = 0;
	}
	if (d->iov->iov_len - d->at >= n) {
		d->at += n;
		return (const uint8_t *)d->iov->iov_base + d->at - n;
	}
	while (done < n) {
		size_t take = d->iov->iov_len - d->at < n - done ? d->iov->iov_len - d->at : n - done;

		memcpy(d->page + done, (const uint8_t *)d->iov->iov_base + d->at, take);
		done += take;
		d->at += take;
		if (done < n) {
			d->iov++;
			d->niov--;
			d->at = 0;
		}
	}
	return d->page;
}

static bool is_zero(const struct write_op *o, uint32_t k) { return o->zero[k / 8] >> (k % 8) & 1; }

/* Calls FN for each whole block that isn't zeros. */
static void each_block(struct write_op *o, void (*fn)(void *arg, uint32_t k, const uint8_t *data), void *arg)
{
	struct data d = { o->iov, o->niov, 0, { 0 } };
	uint32_t done = 0;

	for (uint32_t k = 0; k < o->nblocks; k++) {
		uint32_t at = (o->offset + done) % BLOCK_SIZE;
		uint32_t n = BLOCK_SIZE - at < o->len - done ? BLOCK_SIZE - at : o->len - done;
		const uint8_t *p = next(&d, n);

		if (n == BLOCK_SIZE && !is_zero(o, k))
			fn(arg, k, p);
		done += n;
	}
}

static void fingerprint(void *arg, uint32_t k, const uint8_t *data)
{
	struct write_dups *d = arg;
	uint64_t fp = hash64(data, BLOCK_SIZE);

	d->fps[k] = fp ? fp : 1;
}

/* ---- choosing -------------------------------------------------------------------------------- */

struct choice {
	struct txn *t;
	struct write_op *o;
	struct write_dups *d;
	struct place at[FS_IO_MAX / BLOCK_SIZE + 2];	/* where each may be: ino 0: nowhere */
	struct fs_id src;		/* of the run that is being looked up */
	int pending;
};

static bool goes_on(const struct choice *c, uint32_t k)
{
	const struct place *a = &c->at[k - 1], *b = &c->at[k];

	return b->ino && a->ino == b->ino && a->volume == b->volume && (uint64_t)a->index + 1 == b->index;
}

static void forget(struct choice *c, uint32_t k)
{
	dedup_index_drop(c->o->req->fs->dedup_index, c->d->fps[k]);
	c->d->ptrs[k] = 0;
	c->at[k].ino = 0;
}

static int file_at(struct choice *c, const struct place *at, struct tree_root *ret)
{
	struct fs_id id = { .volume = at->volume, .ino = at->ino };
	struct volume *vol;
	struct inode *i;
	int err = object_get(c->t, id, &vol, &i);

	if (err)
		return err;
	if (i->type != FS_REG)
		return -ESTALE;
	*ret = (struct tree_root){ i->root, i->depth };
	c->src = id_of(vol, at->ino, i);
	return 0;
}

/* Brings in the blocks that are at the places of N blocks of the write. */
static void look_up(struct choice *c, uint32_t k, uint32_t n)
{
	struct tree_root r;
	int err = file_at(c, &c->at[k], &r);

	if (!err)
		err = tree_lookup_range(c->t, &r, c->at[k].index, n, c->d->ptrs + k);
	if (err == -ERESTART_PASS)
		c->pending = err;
	for (uint32_t i = k; i < k + n; i++) {
		struct block_facts f;
		struct block *b;
		int e = err;

		if (!e)
			e = c->d->ptrs[i] ? txn_look(c->t, c->d->ptrs[i], &f) : -ENOENT;
		if (!e && f.full)
			c->d->ptrs[i] = 0;
		else if (!e)
			e = txn_block(c->t, c->d->ptrs[i], &b);
		if (e == -ERESTART_PASS)
			c->pending = e;
		else if (e)
			forget(c, i);
	}
}

static bool same_file(const struct fs_id *id, const struct place *at)
{
	return id->volume == at->volume && id->ino == at->ino;
}

static void add(struct choice *c, uint32_t k)
{
	struct write_dups *d = c->d;
	struct dup_run *u = d->nruns ? &d->runs[d->nruns - 1] : NULL;
	const struct place *at = &c->at[k];
	struct tree_root r;

	if (u && u->at + u->n == k && same_file(&u->src, at) && u->from + u->n == at->index) {
		u->n++;
		return;
	}
	if (d->nruns == DUP_RUNS || file_at(c, at, &r)) {
		d->ptrs[k] = 0;
		return;
	}
	d->runs[d->nruns++] = (struct dup_run){ c->src, at->index, k, 1 };
}

static void compare(void *arg, uint32_t k, const uint8_t *data)
{
	struct choice *c = arg;
	struct block *b;

	if (!c->d->ptrs[k])
		return;
	if (txn_block(c->t, c->d->ptrs[k], &b) || memcmp(b->data, data, BLOCK_SIZE))
		c->d->ptrs[k] = 0;
	else
		add(c, k);
}

#define AHEAD 2048			/* blocks: 8 MiB */

/* What is copied in sequence goes on where the last block of this write may be, most likely. */
static void read_ahead(struct choice *c)
{
	uint32_t last = c->o->nblocks - 1;
	const struct place *at;
	struct tree_root r;

	if (last && !c->at[last].ino)	/* it may be a part of one */
		last--;
	at = &c->at[last];
	if (c->o->sequential && at->ino && !file_at(c, at, &r))
		tree_read_ahead(c->t, &r, (uint64_t)at->index + 1, AHEAD);
}

static struct dedup_index *index_of(struct fs *fs)
{
	size_t n = fs->cfg.dedup_index ? fs->cfg.dedup_index : INDEX_BLOCKS;

	if (!fs->dedup_index)
		fs->dedup_index = dedup_index_new(n * INDEX_ENTRY);
	return fs->dedup_index;
}

/* Load pass: which blocks are duplicates. */
static int choose(struct txn *t, struct write_op *o)
{
	struct dedup_index *x = index_of(o->req->fs);
	struct choice *c = x ? malloc(sizeof(*c)) : NULL;
	struct write_dups *d = o->dups;
	int err;

	if (c && !d)
		d = o->dups = dups_new(o->nblocks);
	if (!c || !d) {			/* it is written, then; what an earlier pass found may be gone */
		o->no_dups = true;
		if (d)
			d->nruns = 0;
		free(c);
		return 0;
	}
	if (!d->looked)
		each_block(o, fingerprint, d);
	d->looked = true;
	d->nruns = 0;
	memset(d->ptrs, 0, d->nblocks * sizeof(*d->ptrs));
	c->t = t;
	c->o = o;
	c->d = d;
	c->pending = 0;
	for (uint32_t k = 0; k < o->nblocks; k++)
		if (!d->fps[k] || !dedup_index_get(x, d->fps[k], &c->at[k]))
			c->at[k].ino = 0;
	for (uint32_t k = 0, n; k < o->nblocks; k += n) {
		n = 1;
		if (!c->at[k].ino)
			continue;
		while (k + n < o->nblocks && goes_on(c, k + n))
			n++;
		look_up(c, k, n);
	}
	read_ahead(c);
	if (!c->pending)
		each_block(o, compare, c);
	err = c->pending;
	free(c);
	return err;
}

/* ---- taking them ------------------------------------------------------------------------------ */

static int take_run(struct txn *t, const struct write_op *o, const struct dup_run *u, uint64_t *ptrs)
{
	struct volume *vol;
	struct tree_root r;
	struct inode *i;
	int pending = 0, err = object_get(t, u->src, &vol, &i);

	if (err)
		return err == -ESTALE ? -EDAMAGED : err;
	r = (struct tree_root){ i->root, i->depth };
	err = tree_lookup_range(t, &r, u->from, u->n, ptrs);
	for (uint32_t k = 0; k < u->n && !err; k++) {
		err = ptrs[k] ? txn_share(t, &ptrs[k], 0, TREE_FILE) : -EDAMAGED;
		if (err == -ERESTART_PASS) {
			pending = err;
			err = 0;
		}
	}
	if (t->apply && u->src.volume != o->id.volume)
		meter_shared(o->req->fs, u->src.volume, u->n);
	return err ? err : pending;
}

int dups_take(struct txn *t, struct write_op *o)
{
	struct write_dups *d;
	int pending = 0, err = 0;

	if (!t->apply && !t->replay && !o->no_dups)
		err = choose(t, o);
	d = o->dups;
	if (err || !d || !d->nruns)
		return err;
	memset(d->ptrs, 0, d->nblocks * sizeof(*d->ptrs));
	for (unsigned i = 0; i < d->nruns; i++) {
		err = take_run(t, o, &d->runs[i], d->ptrs + d->runs[i].at);
		if (err == -ERESTART_PASS)
			pending = err;
		else if (err)
			return err;
	}
	return pending;
}

void dups_give_up(struct write_op *o)
{
	for (uint32_t k = 0; k < o->dups->nblocks; k++)
		if (o->dups->fps[k])
			dedup_index_drop(o->req->fs->dedup_index, o->dups->fps[k]);
	dups_free(o->dups);
	o->dups = NULL;
	o->no_dups = true;
}

void dups_learn(struct write_op *o)
{
	struct fs *fs = o->req->fs;
	const struct write_dups *d = o->dups;
	uint64_t first = o->offset / BLOCK_SIZE;

	if (!d || !d->looked)
		return;
	for (uint32_t k = 0; k < o->nblocks; k++) {
		if (!d->fps[k])
			continue;
		fs->dedup_counts.written_blocks++;
		if (dups_ptr(o, k))
			fs->dedup_counts.found_blocks++;
		else if (first + k <= UINT32_MAX)
			dedup_index_put(fs->dedup_index, d->fps[k],
					(struct place){ o->id.volume, first + k, o->id.ino });
	}
}
