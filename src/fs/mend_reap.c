/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repair of the reap list: it is written anew, with those of its entries that can be read and that nothing
 * was found wrong with or below.  What the others led to was removed: once no pointer leads there, the
 * repair of counts makes it free.  So nothing is lost, and a crash in between costs no more than that.
 */
#include "fs/mend.h"

#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "tree/tree.h"

#define PER_PAGE (BLOCK_SIZE / sizeof(struct reap_entry))

struct reap_op {
	struct tree_root old, list;
	uint64_t entries, kept, index;	/* index: of the page that is read, or written */
	const struct fix *bad;		/* by the blocks that entries lead to */
	uint64_t nbad;
	bool leak;			/* the old page can't be given back: it is found to be lost */
	struct reap_entry in[PER_PAGE], out[PER_PAGE];
};

/* From now on nobody takes from it, nor adds to it. */
static int do_detach(struct txn *t, void *arg)
{
	struct reap_op *o = arg;

	if (!t->apply)
		return 0;
	o->old = *pool_reap(t->pool);
	o->entries = *pool_reap_entries(t->pool);
	*pool_reap(t->pool) = (struct tree_root){ 0 };
	*pool_reap_entries(t->pool) = *pool_reap_stuck(t->pool) = 0;
	return 0;
}

static int do_read_page(struct txn *t, void *arg)
{
	struct reap_op *o = arg;
	struct block *b;
	uint64_t ptr;
	int err = tree_lookup(t, &o->old, o->index, &ptr);

	if (!err)
		err = ptr ? txn_block(t, ptr, &b) : -ENOENT;
	if (err)
		return err;
	memcpy(o->in, b->data, BLOCK_SIZE);
	return DONE;
}

static int own_leaf(struct txn *t, uint64_t *slot, uint64_t index, void *arg)
{
	return txn_own(t, slot, 0, TREE_REAP, arg);
}

static int do_write_page(struct txn *t, void *arg)
{
	struct reap_op *o = arg;
	struct block *b;
	int err = tree_modify(t, &o->list, TREE_REAP, o->index, 1, own_leaf, &b, NULL);

	if (!err && t->apply)
		memcpy(b->data, o->out, BLOCK_SIZE);
	return err;
}

static int do_attach(struct txn *t, void *arg)
{
	struct reap_op *o = arg;
	int err = o->leak ? 0 : txn_unref(t, o->old.ptr);

	if (!err && t->apply) {
		*pool_reap(t->pool) = o->list;
		*pool_reap_entries(t->pool) = o->kept;
	}
	return err;
}

static int by_block(const void *key, const void *element)
{
	const uint64_t *block = key;
	const struct fix *f = element;

	return *block < f->ino ? -1 : *block > f->ino;
}

static bool keeps(const struct mend *m, const struct reap_op *o, const struct reap_entry *e)
{
	unsigned level = e->block >> 48 & 0xff, kind = e->block >> 56;
	uint64_t block = e->block & PTR_BLOCK_MASK;

	return kind < TREE_REAP && level <= TREE_DEPTH_MAX && e->next <= INDEX_SLOTS &&
	       mend_leads(m->pool, block) && !bsearch(&block, o->bad, o->nbad, sizeof(*o->bad), by_block);
}

static int write_page(struct mend *m, struct reap_op *o, uint64_t n)
{
	o->index = (o->kept - 1) / PER_PAGE;
	memset(o->out + n, 0, (PER_PAGE - n) * sizeof(*o->out));
	return mend_run(m, do_write_page, o);
}

/* Takes over what is good of the page that was read; N of o->out are filled. */
static int take_page(struct mend *m, struct reap_op *o, uint64_t *n)
{
	uint64_t left = o->entries - o->index * PER_PAGE;
	int err = 0;

	for (unsigned i = 0; !err && i < PER_PAGE && i < left; i++) {
		if (!keeps(m, o, &o->in[i]))
			continue;
		o->out[(*n)++] = o->in[i];
		o->kept++;
		if (*n == PER_PAGE) {
			err = write_page(m, o, *n);
			*n = 0;
		}
	}
	return err;
}

static int rewrite(struct mend *m, struct reap_op *o)
{
	uint64_t n = 0;

	for (uint64_t k = 0; k * PER_PAGE < o->entries; k++) {
		int err;

		o->index = k;
		err = mend_run(m, do_read_page, o);
		if (err == DONE)
			err = take_page(m, o, &n);
		else if (!mend_is_final(err))
			err = 0;	/* what was on it is given up */
		if (err)
			return err;
	}
	return n ? write_page(m, o, n) : 0;
}

int mend_reap(struct mend *m, const struct fix *f, uint64_t n, uint64_t *ret_kept, uint64_t *ret_entries)
{
	struct reap_op *o = calloc(1, sizeof(*o));
	int err;

	if (!o)
		return -ENOMEM;
	o->bad = f;
	o->nbad = n;
	err = mend_run(m, do_detach, o);
	if (!err)
		err = rewrite(m, o);
	if (!err) {
		o->leak = o->old.depth || !mend_leads(m->pool, o->old.ptr);
		err = mend_run(m, do_attach, o);
	}
	if (err && !o->leak && !mend_is_final(err)) {
		o->leak = true;
		err = mend_run(m, do_attach, o);
	}
	*ret_kept = o->kept;
	*ret_entries = o->entries;
	free(o);
	return err;
}
