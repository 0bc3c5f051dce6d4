/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repair of directories: a new B+tree is made of the entries in all leaf pages of the directory's file,
 * whatever leads to them, and then takes the old one's place in one transaction:
 *
 *     old tree ──each page──> entries ──each──> new tree     (nobody's yet: a crash loses it again)
 *     inode ──> old tree                        inode ──> new tree     old tree ──> reap list
 *
 * Each leaf page of the file is in use, since one that is given back is wiped in the same transaction.  So
 * as long as all of them can be read, nothing is lost, and nothing comes back.  Nor is anything lost if there
 * are as many entries as the inode says, whatever could not be read.
 */
#include "fs/mend.h"

#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "fs/dir_int.h"
#include "fs/salvage.h"
#include "tree/tree.h"

struct rebuild {
	struct mend *m;
	const struct fix *f;
	struct inode old, new;		/* the new one's tree is private until it is attached */
	uint8_t hash_key[16];
	uint64_t hint, pages, lost;	/* lost: pages, parts of the file, entries that can't be had */
	struct seen seen;
	uint8_t *frames;		/* a block for each level */
};

/* ---- reading ----------------------------------------------------------------------------------- */

static int do_look(struct txn *t, void *arg)
{
	struct rebuild *r = arg;
	struct volume *v;
	struct inode *i;
	int err = volume_record_get(t, r->f->volume, &v);

	if (!err)
		err = mend_inode_get(t, v, r->f->ino, &i);
	if (err)
		return err;
	if (i->type != FS_DIR)
		return -ESTALE;
	r->old = *i;
	r->hint = file_hint(v->id, r->f->ino);
	memcpy(r->hash_key, v->hash_key, sizeof(r->hash_key));
	return DONE;
}

struct fetch { uint64_t ptr; void *to; };

static int do_fetch(struct txn *t, void *arg)
{
	struct fetch *f = arg;
	struct block *b;
	int err = txn_block(t, f->ptr, &b);

	if (err)
		return err;
	memcpy(f->to, b->data, BLOCK_SIZE);
	return DONE;
}

static int fetch(struct mend *m, uint64_t ptr, void *to)
{
	struct fetch f = { ptr, to };
	int err = mend_leads(m->pool, ptr) ? mend_run(m, do_fetch, &f) : -EDAMAGED;

	return err == DONE ? 0 : err;
}

/* Something of the directory can't be had any more. */
static int lose(struct rebuild *r, int err)
{
	if (err != -EIO && err != -EDAMAGED && err != -EEXIST)
		return err;
	r->lost++;
	return 0;
}

/* ---- the new tree ------------------------------------------------------------------------------- */

struct insert { struct rebuild *r; const struct dir_item *it; };

static int do_init(struct txn *t, void *arg)
{
	struct rebuild *r = arg;
	struct dir d = { .t = t, .inode = &r->new, .hash_key = r->hash_key, .hint = r->hint };

	return dir_init(&d);
}

static int do_insert(struct txn *t, void *arg)
{
	const struct insert *o = arg;
	const struct dir_item *it = o->it;
	struct dir d = { .t = t, .inode = &o->r->new, .hash_key = o->r->hash_key, .hint = o->r->hint };
	struct fs_name name = { it->name, it->name_len };
	bool typed = it->type >= FS_REG && it->type <= FS_FIFO;	/* else the next check says which it is */
	struct dir_found there;
	int err = dir_insert(&d, name, it->ino, it->generation, typed ? it->type : FS_REG);

	if (err != -EEXIST || dir_lookup(&d, name, &there))
		return err;
	return there.ino == it->ino && there.generation == it->generation ? DONE : -EEXIST;
}

static int take_item(void *arg, const struct dir_item *it)
{
	struct insert o = { arg, it };
	int err = mend_run(o.r->m, do_insert, &o);

	return err && err != DONE ? lose(o.r, err) : 0;
}

static int take_page(struct rebuild *r, const void *page)
{
	bool all;
	int err = page_salvage(page, r->hash_key, take_item, r, &all);

	return err || all ? err : lose(r, -EDAMAGED);
}

static int take_tree(struct rebuild *r, uint64_t ptr, unsigned level)
{
	uint64_t *slots = (uint64_t *)(r->frames + (size_t)level * BLOCK_SIZE);
	int was = mend_leads(r->m->pool, ptr) ? seen_set(&r->seen, ptr & PTR_BLOCK_MASK) : 0, err;

	if (was)
		return was < 0 ? was : lose(r, -EDAMAGED);
	err = fetch(r->m, ptr, slots);
	if (err)
		return lose(r, err);
	if (!level) {
		r->pages++;
		return take_page(r, slots);
	}
	for (unsigned i = 0; !err && i < INDEX_SLOTS; i++)
		if (slots[i])
			err = take_tree(r, slots[i], level - 1);
	return err;
}

static int take_all(struct rebuild *r)
{
	const struct inode *old = &r->old;
	int err = 0;

	if (old->depth > TREE_DEPTH_MAX)
		r->lost++;
	else if (old->root & PTR_BLOCK_MASK)
		err = take_tree(r, old->root, old->depth);
	if (old->dir_pages > r->pages && old->dir_pages <= DIR_PAGES_MAX)
		r->lost++;
	if (r->new.entries == old->entries)
		r->lost = 0;
	return err || !r->lost || r->m->o->drop_damaged ? err : -EDAMAGED;
}

/* ---- taking the old one's place ------------------------------------------------------------------ */

static int do_attach(struct txn *t, void *arg)
{
	struct rebuild *r = arg;
	struct volume *v;
	struct inode *i;
	int err = mend_record_own(t, r->f->volume, &v);

	if (!err)
		err = mend_inode_own(t, v, r->f->ino, &i);
	if (!err && !t->apply && (i->type != FS_DIR || i->root != r->old.root))
		err = -ESTALE;
	if (!err)
		err = mend_drop(t, r->old.root, r->old.depth);
	if (err || !t->apply)
		return err;
	v->mapped += r->new.mapped - i->mapped;
	i->root = r->new.root;
	i->depth = r->new.depth;
	i->mapped = r->new.mapped;
	i->size = r->new.size;
	i->entries = r->new.entries;
	i->dir_pages = r->new.dir_pages;
	i->dir_free = r->new.dir_free;
	i->dir_levels = r->new.dir_levels;
	return 0;
}

static int do_discard(struct txn *t, void *arg)
{
	struct rebuild *r = arg;

	return tree_drop(t, r->new.root, r->new.depth, TREE_FILE);
}

static int rebuild(struct rebuild *r)
{
	int err = mend_run(r->m, do_look, r);

	if (err != DONE)
		return err;
	err = mend_run(r->m, do_init, r);
	if (!err)
		err = take_all(r);
	if (!err)
		err = mend_run(r->m, do_attach, r);
	if (err && r->new.root)
		mend_run(r->m, do_discard, r);
	return err;
}

int mend_dir(struct mend *m, struct fix *f)
{
	struct rebuild r = { .m = m, .f = f };
	int err = -ENOMEM;

	r.frames = malloc((TREE_DEPTH_MAX + 1) * BLOCK_SIZE);
	if (r.frames)
		err = rebuild(&r);
	free(r.frames);
	seen_done(&r.seen);
	f->value = r.new.entries;
	f->generation = r.lost ? r.old.entries : r.new.entries;
	return err;
}
