/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks over what is held: every index block, inode block and volume record once, however many
 * pointers lead to it.
 */
#include "fs/scrub.h"

#include <inttypes.h>
#include <stdlib.h>

#define BATCH 16			/* blocks that are read at once */

static uint64_t block_of(uint64_t ptr) { return ptr & PTR_BLOCK_MASK; }
static bool is_data(const struct child *c) { return !c->level && c->kind == TREE_FILE; }

/* ---- counting ---------------------------------------------------------------------------- */

struct walk {
	struct scrub *s;
	struct seen seen;
	struct child *todo;
	size_t n, cap;
	struct child batch[BATCH];
	unsigned nbatch;
	int err;			/* -ENOMEM, while in a pass */
};

static void push(struct walk *w, const struct child *c)
{
	if (w->n == w->cap) {
		size_t cap = w->cap ? 2 * w->cap : 1024;
		struct child *more = realloc(w->todo, cap * sizeof(*more));

		if (!more) {
			w->err = -ENOMEM;
			return;
		}
		w->todo = more;
		w->cap = cap;
	}
	w->todo[w->n++] = *c;
}

static void count_pointer(struct walk *w, const struct child *c, uint32_t pointers)
{
	struct scrub *s = w->s;
	uint64_t at = block_of(c->ptr) - s->watch.first;
	int was;

	if (at < s->watch.n) {
		s->watch.expected[at] += pointers;
		s->reached[at / 64] |= 1ULL << at % 64;
	}
	if (is_data(c))
		return;
	was = seen_set(&w->seen, block_of(c->ptr));
	if (was < 0)
		w->err = was;
	else if (!was)
		push(w, c);
}

/* The pointers in a batch of blocks, once all of them are there. */
static int look_at_batch(struct txn *t, void *arg)
{
	struct walk *w = arg;
	struct block *b[BATCH];
	struct child *c;
	int err = 0;

	for (unsigned i = 0; i < w->nbatch; i++) {
		int e = txn_block_as(t, w->batch[i].ptr, w->batch[i].level, w->batch[i].kind, &b[i]);

		if (e && (!err || err == -ERESTART_PASS))
			err = e;
	}
	if (err)
		return err;
	c = malloc(INDEX_SLOTS * sizeof(*c));
	if (!c)
		return -ENOMEM;
	for (unsigned i = 0; i < w->nbatch; i++) {
		unsigned n = block_children(t->pool, b[i], w->batch[i].level, w->batch[i].kind, c);

		for (unsigned k = 0; k < n; k++)
			count_pointer(w, &c[k], 1);
	}
	free(c);
	return 0;
}

static int run_batch(struct walk *w)
{
	struct txn t;
	int err;

	txn_begin(&t, w->s->fs->pool);
	err = txn_run(&t, false, look_at_batch, w);
	txn_end(&t);
	return err ? err : w->err;
}

static bool is_damage(int err)
{
	return err == -EIO || err == -EDAMAGED;
}

/* One that can't be read is one finding, and the others go on. */
static int run_one_by_one(struct walk *w)
{
	struct child all[BATCH];
	unsigned n = w->nbatch;
	int err = 0;

	memcpy(all, w->batch, sizeof(all));
	w->nbatch = 1;
	for (unsigned i = 0; i < n && !err; i++) {
		w->batch[0] = all[i];
		err = run_batch(w);
		if (is_damage(err)) {
			w->s->incomplete = true;
			scrub_add_bad(w->s, block_of(all[i].ptr), err == -EIO ? VERIFY_UNREADABLE :
				      VERIFY_CONTENT, 0, 0);
			err = 0;
		}
	}
	return err;
}

int scrub_count(struct scrub *s)
{
	struct walk w = { .s = s };
	const struct child root = { s->held.ptr, s->held.depth, TREE_VOLUMES, 0, 0 };
	int err = 0;

	if (s->held.ptr)
		count_pointer(&w, &root, 2);
	while (w.n && !err && !w.err) {
		w.nbatch = 0;
		while (w.n && w.nbatch < BATCH)
			w.batch[w.nbatch++] = w.todo[--w.n];
		scrub_pace(s, w.nbatch * BLOCK_SIZE);
		err = scrub_interrupted(s) ? -EINTR : run_batch(&w);
		if (is_damage(err))
			err = run_one_by_one(&w);
	}
	free(w.todo);
	seen_done(&w.seen);
	return err ? err : w.err;
}

/* ---- whose bad blocks are they ----------------------------------------------------------- */

struct owners {
	struct scrub *s;
	struct seen seen, hit;		/* walked; and something below is bad */
	uint32_t volume;		/* the present one's place in the table + 1 */
	uint64_t base;			/* inodes: index of the first leaf of the present subtree */
	struct scrub_owners list;
};

static bool is_bad(const struct scrub *s, uint64_t block)
{
	for (uint32_t i = 0; i < s->nbad; i++)
		if (s->bad[i] == block)
			return true;
	return false;
}

struct load { struct child at; struct child *children; unsigned n; };

static int load_children(struct txn *t, void *arg)
{
	struct load *l = arg;
	struct block *b;
	int err = txn_block_as(t, l->at.ptr, l->at.level, l->at.kind, &b);

	if (!err)
		l->n = block_children(t->pool, b, l->at.level, l->at.kind, l->children);
	return err;
}

static void found(struct owners *o, uint64_t ino)
{
	for (unsigned i = 0; i < o->list.n; i++)
		if (o->list.at[i].volume == o->volume && o->list.at[i].ino == ino)
			return;
	if (o->list.n == SCRUB_OWNERS_MAX)
		o->list.more = true;
	else {
		o->list.at[o->list.n].volume = o->volume;
		o->list.at[o->list.n++].ino = ino;
	}
}

/* K itself is bad: an inode block, or something above inode blocks. */
static void lost_inodes(struct owners *o, const struct child *k, uint64_t base)
{
	if (k->kind == TREE_VOLUMES || k->level) {
		o->list.more = true;
		return;
	}
	for (unsigned i = 0; i < INODES_PER_BLOCK; i++)
		found(o, base * INODES_PER_BLOCK + i);
}

static int below(struct owners *o, struct child at, uint64_t base);

/* Goes into child K of a block of AT; 1: something is bad there. */
static int into(struct owners *o, const struct child *at, const struct child *k, uint64_t base)
{
	unsigned slot = k->offset / 8;
	int bad;

	if (at->kind == TREE_VOLUMES && !at->level)
		o->volume = base * VOLUMES_PER_BLOCK + k->offset / VOLUME_SIZE + 1;
	if (at->level && at->kind != TREE_FILE)
		base = base + ((uint64_t)slot << (at->level - 1) * INDEX_BITS);
	else if (k->kind != at->kind)
		base = 0;
	bad = is_bad(o->s, block_of(k->ptr));
	if (bad && k->kind != TREE_FILE)
		lost_inodes(o, k, base);
	if (!bad && !is_data(k))
		bad = below(o, *k, base);
	return bad;
}

/* 1: something in or below AT is bad; 0; or a negative code.  Blocks of files are walked once; blocks
 * of inodes again where something below them is bad, for each volume that they belong to. */
static int below(struct owners *o, struct child at, uint64_t base)
{
	struct load l = { .at = at };
	struct txn t;
	int err = seen_set(&o->seen, block_of(at.ptr)), bad = 0;

	if (err < 0)
		return err;
	if (err && (at.kind == TREE_FILE || !seen_has(&o->hit, block_of(at.ptr))))
		return seen_has(&o->hit, block_of(at.ptr));
	if (scrub_interrupted(o->s))
		return -EINTR;
	l.children = malloc(INDEX_SLOTS * sizeof(*l.children));
	if (!l.children)
		return -ENOMEM;
	txn_begin(&t, o->s->fs->pool);
	err = txn_run(&t, false, load_children, &l);
	txn_end(&t);
	scrub_pace(o->s, BLOCK_SIZE);
	for (unsigned i = 0; i < l.n && (!err || is_damage(err)); i++) {
		err = into(o, &at, &l.children[i], base);
		if (err == 1 && at.kind == TREE_INODES && !at.level)
			found(o, base * INODES_PER_BLOCK + l.children[i].offset / INODE_SIZE);
		bad |= err == 1;
		err = err > 0 ? 0 : err;
	}
	free(l.children);
	if (err && !is_damage(err))
		return err;
	if (bad)
		err = seen_set(&o->hit, block_of(at.ptr));
	return err == -ENOMEM ? err : bad;
}

int scrub_name_bad(struct scrub *s)
{
	struct owners *o;
	int err;

	if (!s->nbad)
		return 0;
	o = calloc(1, sizeof(*o));
	if (!o)
		return -ENOMEM;
	o->s = s;
	err = below(o, (struct child){ s->held.ptr, s->held.depth, TREE_VOLUMES, 0, 0 }, 0);
	if (err >= 0)
		scrub_say_owners(s, &o->list);
	seen_done(&o->seen);
	seen_done(&o->hit);
	free(o);
	return err < 0 ? err : 0;
}
