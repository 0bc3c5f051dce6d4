/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operation: leaves of a file become pointers to equal leaves of another, or of the same; or holes,
 * if they are zeros.
 *
 * Invariants: the record names places (docs/store.md, "Deduplication"), and replay does what it says
 * without looking; what is moved, the load pass of the first time decides: bytes that are equal, from a
 * block with a count of 1 under blocks with counts of 1.
 */
#include "fs/dedup.h"

#include <stdlib.h>
#include "base/crc.h"

#define WINDOW (2 * DEDUP_RUN)

struct choice {
	struct txn *t;
	struct dedup_op *o;
	struct tree_root dst, src;
	uint32_t zero_crc;
	uint32_t back, ahead;		/* of the window, before the asked block and from it on */
	uint64_t d[WINDOW], s[WINDOW];	/* pointers; the asked one's at BACK */
	uint32_t lo, hi;		/* what has been chosen of it */
	int pending;
};

static bool zeros(const struct dedup_op *o) { return !o->src.ino; }

static bool is_zero(const uint8_t *p)
{
	return !p[0] && !memcmp(p, p + 1, BLOCK_SIZE - 1);
}

/* ---- what may be moved ---------------------------------------------------------------------- */

/* Whether the way to the leaf is the file's alone: above the inode, too. */
static int way_owned(struct choice *c, const struct volume *vol, bool *ret)
{
	const struct dedup_op *o = c->o;
	struct tree_root inodes = { vol->inodes_root, vol->inodes_depth };
	bool above = false, below = false;
	int err = tree_owned(c->t, &inodes, o->dst.ino / INODES_PER_BLOCK, true, &above);

	if (!err)
		err = tree_owned(c->t, &c->dst, o->dst_at, false, &below);
	*ret = above && below;
	return err;
}

/* Can it be that block K of the window is moved?  Its neighbours only where their CRCs say so. */
static bool suits(struct choice *c, uint32_t k)
{
	struct block_facts d, s = { .crc = c->zero_crc };
	int err;

	if (!c->d[k] || c->d[k] == c->s[k] || (!zeros(c->o) && !c->s[k]))
		return false;
	err = txn_look(c->t, c->d[k], &d);
	if (!err && !zeros(c->o))
		err = txn_look(c->t, c->s[k], &s);
	if (err == -ERESTART_PASS)
		c->pending = err;	/* as if it did: what follows is asked for at once */
	if (err)
		return err == -ERESTART_PASS;
	if (k != c->back)
		return d.refs == 1 && !s.full && d.crc && d.crc == s.crc;
	c->o->why = d.refs != 1 ? DEDUP_SHARED : s.full ? DEDUP_FULL : DEDUP_DONE;
	return c->o->why == DEDUP_DONE;
}

static int look_up(struct choice *c)
{
	struct dedup_op *o = c->o;
	uint32_t n;
	int err, err2 = 0;

	c->back = o->dst_at % INDEX_SLOTS < DEDUP_RUN - 1 ? o->dst_at % INDEX_SLOTS : DEDUP_RUN - 1;
	if (!zeros(o) && c->back > o->src_at)
		c->back = o->src_at;
	c->ahead = INDEX_SLOTS - o->dst_at % INDEX_SLOTS;
	if (c->ahead > DEDUP_RUN)
		c->ahead = DEDUP_RUN;
	if (o->max == 1) {
		c->back = 0;
		c->ahead = 1;
	}
	n = c->back + c->ahead;
	memset(c->s, 0, sizeof(c->s));
	err = tree_lookup_range(c->t, &c->dst, o->dst_at - c->back, n, c->d);
	if (!zeros(o) && (!err || err == -ERESTART_PASS))
		err2 = tree_lookup_range(c->t, &c->src, o->src_at - c->back, n, c->s);
	return err ? err : err2;
}

/* The most that may be done at once: ranges of one file don't overlap. */
static uint32_t most(const struct dedup_op *o)
{
	uint64_t apart = o->dst_at > o->src_at ? o->dst_at - o->src_at : o->src_at - o->dst_at;
	uint32_t max = o->max && o->max < DEDUP_RUN ? o->max : DEDUP_RUN;

	if (o->dst.ino == o->src.ino && o->dst.volume == o->src.volume && apart < max)
		return apart;
	return max;
}

static void extend(struct choice *c)
{
	uint32_t max = most(c->o), end = c->back + c->ahead;

	c->lo = c->hi = c->back;
	if (!max || !suits(c, c->back))
		return;
	while (c->hi < end && c->hi - c->lo < max && (c->hi == c->back || suits(c, c->hi)))
		c->hi++;
	while (c->lo && c->hi - c->lo < max && suits(c, c->lo - 1))
		c->lo--;
}

static int load_data(struct choice *c)
{
	struct block *b;
	int err = 0;

	for (uint32_t k = c->lo; k < c->hi; k++)
		for (int side = 0; side < 2; side++) {
			uint64_t ptr = side ? c->s[k] : c->d[k];
			int e = ptr ? txn_block(c->t, ptr, &b) : 0;

			if (e && e != -ERESTART_PASS)
				return e;
			if (e)
				err = e;
		}
	return err;
}

static bool equal(struct choice *c, uint32_t k)
{
	struct block *d, *s;

	c->o->compared++;
	if (txn_block(c->t, c->d[k], &d))
		return false;
	if (!c->s[k])
		return is_zero(d->data);
	return !txn_block(c->t, c->s[k], &s) && !memcmp(d->data, s->data, BLOCK_SIZE);
}

/* What is left of lo to hi is equal. */
static void compare(struct choice *c)
{
	uint32_t lo = c->back, hi = c->back;

	c->o->compared = 0;
	while (hi < c->hi && equal(c, hi))
		hi++;
	while (hi > lo && lo > c->lo && equal(c, lo - 1))
		lo--;
	c->lo = lo;
	c->hi = hi;
}

/* The blocks behind those that are compared are next. */
static void read_ahead(struct choice *c)
{
	const struct dedup_op *o = c->o;
	uint32_t on = c->hi - c->back;

	tree_read_ahead(c->t, &c->dst, o->dst_at + on, 4 * DEDUP_RUN);
	if (!zeros(o))
		tree_read_ahead(c->t, &c->src, o->src_at + on, 4 * DEDUP_RUN);
}

/* Load pass, not in replay: what is to be done.  DONE: nothing, and o->why says why. */
static int choose(struct txn *t, struct dedup_op *o, const struct volume *vol, const struct inode *dst,
		  const struct inode *src)
{
	struct choice *c = malloc(sizeof(*c));
	bool owned = false;
	int err;

	if (!c)
		return -ENOMEM;
	*c = (struct choice){ .t = t, .o = o, .dst = { dst->root, dst->depth },
			      .src = { src->root, src->depth } };
	if (zeros(o))
		c->zero_crc = crc32c(0, o->req->fs->zeros, BLOCK_SIZE);
	o->why = DEDUP_NOTHING;
	o->n = 0;
	err = look_up(c);
	if (!err)
		err = way_owned(c, vol, &owned);
	if (!err && owned)
		extend(c);
	else if (!err)
		o->why = DEDUP_SHARED;
	if (!err && c->hi - c->lo == DEDUP_RUN)
		read_ahead(c);
	if (!err)
		err = c->pending ? c->pending : load_data(c);
	if (!err && c->hi > c->lo) {
		compare(c);
		o->n = c->hi - c->lo;
		o->dst_first = o->dst_at - (c->back - c->lo);
		o->src_first = zeros(o) ? 0 : o->src_at - (c->back - c->lo);
		if (!o->n)
			o->why = DEDUP_DIFFERS;
	}
	free(c);
	return err ? err : o->n ? 0 : DONE;
}

static int find(struct txn *t, struct dedup_op *o)
{
	static const struct inode nothing;
	const struct inode *src = &nothing;
	struct volume *vol, *src_vol;
	struct inode *dst, *i;
	int err = object_get(t, o->dst, &vol, &dst);

	o->why = DEDUP_NOTHING;
	if (!err && pool_held(t->pool)->ptr)	/* everything has a second pointer now */
		return -EBUSY;
	if (!err && !zeros(o)) {
		err = object_get(t, o->src, &src_vol, &i);
		src = i;
		if (!err && i->type == FS_REG)
			o->src = id_of(src_vol, o->src.ino, i);
	}
	if (err == -ESTALE || (!err && (dst->type != FS_REG || (!zeros(o) && src->type != FS_REG))))
		return DONE;
	if (err)
		return err;
	o->dst = id_of(vol, o->dst.ino, dst);
	return choose(t, o, vol, dst, src);
}

/* ---- doing it --------------------------------------------------------------------------------- */

/* All pointers to the source are taken before anything changes. */
static int take(struct txn *t, struct dedup_op *o)
{
	struct volume *vol;
	struct tree_root r;
	struct inode *i;
	int pending = 0, err;

	memset(o->ptrs, 0, sizeof(o->ptrs));
	if (zeros(o))
		return 0;
	err = object_get(t, o->src, &vol, &i);
	if (err)
		return err;
	r = (struct tree_root){ i->root, i->depth };
	err = tree_lookup_range(t, &r, o->src_first, o->n, o->ptrs);
	for (uint32_t k = 0; k < o->n && !err; k++) {
		err = o->ptrs[k] ? txn_share(t, &o->ptrs[k], 0, TREE_FILE) : -EDAMAGED;
		if (err == -ERESTART_PASS) {
			pending = err;
			err = 0;
		}
	}
	if (t->apply && o->src.volume != o->dst.volume)
		meter_shared(o->req->fs, o->src.volume, o->n);
	return err ? err : pending;
}

static int move_slot(struct txn *t, uint64_t *slot, uint64_t index, void *arg)
{
	struct dedup_op *o = arg;
	struct block_facts f;
	int err;

	if (!(*slot & PTR_BLOCK_MASK))
		return t->replay || !t->apply ? -EDAMAGED : 0;
	err = txn_look(t, *slot, &f);
	if (!err)
		err = txn_unref(t, *slot);
	if (err || !t->apply)
		return err;
	o->freed += f.refs == 1;
	*slot = o->ptrs[index - o->dst_first] ? o->ptrs[index - o->dst_first] | PTR_DUP : 0;
	return 0;
}

int do_dedup(struct txn *t, void *arg)
{
	struct dedup_op *o = arg;
	struct volume *vol;
	struct tree_root r;
	struct inode *i;
	uint64_t mapped;
	int err = t->apply || t->replay ? 0 : find(t, o);

	if (!err)
		err = object_own(t, o->dst, &vol, &i);
	if (!err)
		err = take(t, o);
	if (err)
		return err;
	o->freed = 0;
	r = (struct tree_root){ i->root, i->depth };
	mapped = i->mapped;
	err = tree_modify(t, &r, TREE_FILE, o->dst_first, o->n, move_slot, o, &mapped);
	if (!err)
		err = quota_account(t, vol, i, mapped - i->mapped, 0);
	if (err)
		return err;
	record_dedup(t, o);
	if (!t->apply)
		return 0;
	i->root = r.ptr;
	i->depth = r.depth;
	i->mapped = mapped;
	return 0;
}
