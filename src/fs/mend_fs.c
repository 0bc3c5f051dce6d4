/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repairs of volume records, inodes and names, in a pool that is open: each is one transaction, or some
 * that each leave less to do.  They are not logged.
 */
#include "fs/mend.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- records and inodes -------------------------------------------------------------------- */

int mend_run(struct mend *m, int (*fn)(struct txn *t, void *arg), void *arg)
{
	struct txn t;
	int err;

	txn_begin(&t, m->pool);
	t.space = SPACE_PRIVILEGED;
	err = txn_run(&t, true, fn, arg);
	txn_end(&t);
	m->unlogged |= !err;
	return err;
}

int mend_record_own(struct txn *t, uint32_t id, struct volume **ret)
{
	int err = volume_record_get(t, id, ret);

	if (!err && ((*ret)->state == VOLUME_FREE || (*ret)->id != id))
		err = -ESTALE;
	return err ? err : volume_slot_own(t, id, ret);
}

static void set_mapped(struct volume *v, struct inode *i, uint64_t mapped)
{
	v->mapped += mapped - i->mapped;
	i->mapped = mapped;
}

static int do_field(struct txn *t, void *arg)
{
	const struct fix *f = arg;
	struct inode *i = NULL;
	struct volume *v;
	int err = mend_record_own(t, f->volume, &v);

	if (!err && f->ino)
		err = mend_inode_own(t, v, f->ino, &i);
	if (err || !t->apply)
		return err;
	switch (f->kind) {
	case FIX_NEXT_INO:	v->next_ino = f->value > v->next_ino ? f->value : v->next_ino; break;
	case FIX_FILES:		v->files = f->value; break;
	case FIX_VOLUME_MAPPED:	v->mapped = f->value; break;
	case FIX_NLINK:		i->nlink = f->value; break;
	case FIX_MAPPED:	set_mapped(v, i, f->value); break;
	case FIX_ENTRIES:	i->entries = f->value; break;
	case FIX_DIR_PAGES:	i->dir_pages = f->value; break;
	case FIX_PARENT:	i->parent = f->value; break;
	case FIX_PROJECT:	i->project = f->value; i->project_dir = f->generation; break;
	case FIX_QUOTA:		quota_in(i)->used = f->value; quota_in(i)->files = f->generation; break;
	case FIX_QUOTA_LIST:	v->quota_dir = v->quota_dirs = 0; break;
	default:		assert(!"a field");
	}
	return 0;
}

static int do_quota_link(struct txn *t, void *arg)
{
	const struct fix *f = arg;
	struct inode *i;
	struct volume *v;
	int err = mend_record_own(t, f->volume, &v);

	if (!err)
		err = mend_inode_own(t, v, f->ino, &i);
	return err ? err : quota_dir_link(t, v, i, f->ino);
}

/* ---- free inodes --------------------------------------------------------------------------- */

struct free_op { uint32_t volume; uint64_t index; bool clear; };

/* How many inodes of the block are free; chains them, if asked to. */
static unsigned chain_free(struct volume *v, struct inode *all, uint64_t index, bool chain)
{
	unsigned n = 0;

	for (unsigned k = 0; k < INODES_PER_BLOCK; k++) {
		uint64_t ino = index * INODES_PER_BLOCK + k;

		if (all[k].type != FS_FREE || !ino || ino >= v->next_ino)
			continue;
		n++;
		if (!chain)
			continue;
		all[k].entries = v->free_ino;
		v->free_ino = ino;
	}
	return n;
}

/* The next block of inodes; -ENOENT: there are no more. */
static int do_free_block(struct txn *t, void *arg)
{
	struct free_op *o = arg;
	struct tree_root r;
	struct volume *v;
	struct inode *i;
	uint64_t index;
	int err = mend_record_own(t, o->volume, &v);

	if (err)
		return err;
	if (o->clear) {			/* first of all: a list that ends early harms nobody */
		if (t->apply)
			v->free_ino = 0;
		return 0;
	}
	r = (struct tree_root){ v->inodes_root, v->inodes_depth };
	err = tree_seek(t, &r, o->index, true, &index);
	if (err)
		return err;
	if (index == UINT64_MAX)
		return -ENOENT;
	err = inode_get(t, v, index * INODES_PER_BLOCK, 0, &i);	/* the first of the block: in use or not */
	if (err && err != -ESTALE)
		return err;
	if (!t->apply)
		o->index = index;
	if (!chain_free(v, i, index, false))
		return DONE;
	err = inode_slot_own(t, v, index * INODES_PER_BLOCK, &i);
	if (!err && t->apply)
		chain_free(v, i, index, true);
	return err;
}

static int mend_free_list(struct mend *m, const struct fix *f)
{
	struct free_op o = { .volume = f->volume, .clear = true };
	int err = mend_run(m, do_free_block, &o);

	o.clear = false;
	while (!err) {
		err = mend_run(m, do_free_block, &o);
		o.index++;
		if (err == DONE)
			err = 0;
	}
	return err == -ENOENT ? 0 : err;
}

/* ---- names --------------------------------------------------------------------------------- */

/* An entry that is there as it was found. */
static int entry_get(struct txn *t, const struct fix *f, struct volume **ret_v, struct inode **ret_dir,
		     struct dir *ret)
{
	struct dir_found e;
	int err = mend_record_own(t, f->volume, ret_v);

	if (!err)
		err = inode_own(t, *ret_v, f->ino, 0, ret_dir);
	if (err)
		return err;
	*ret = dir_of(t, *ret_v, *ret_dir, f->ino);
	if (t->apply)
		return 0;
	err = dir_lookup(ret, (struct fs_name){ f->name, f->name_len }, &e);
	return err ? err : e.ino == f->value && e.generation == f->generation ? 0 : -ENOENT;
}

static int do_entry(struct txn *t, void *arg)
{
	const struct fix *f = arg;
	struct fs_name name = { f->name, f->name_len };
	struct volume *v;
	struct inode *i;
	struct dir d;
	uint64_t mapped;
	int err = entry_get(t, f, &v, &i, &d);

	if (err)
		return err;
	mapped = i->mapped;
	if (f->kind == FIX_ENTRY_TYPE)
		err = dir_replace(&d, name, f->value, f->generation, f->type);
	else
		err = dir_remove(&d, name);
	if (!err && t->apply)
		v->mapped -= mapped - i->mapped;
	return err;
}

static int do_orphan_named(struct txn *t, void *arg)
{
	const struct fix *f = arg;
	struct volume *v;
	struct inode *i;
	int err = mend_record_own(t, f->volume, &v);

	if (!err)
		err = leave_orphans(t, v, f->ino);
	if (!err)
		err = inode_own(t, v, f->ino, 0, &i);
	if (!err && t->apply)
		i->nlink = f->value;
	return err;
}

/* ---- lost and found ------------------------------------------------------------------------ */

struct lost_op { const struct fix *f; struct fs_id dir; char name[64]; };

static int do_lost(struct txn *t, void *arg)
{
	struct lost_op *o = arg;
	const struct fix *f = o->f;
	struct inode *dir, *i;
	struct volume *v;
	struct dir d;
	uint64_t mapped;
	int err = object_own(t, o->dir, &v, &dir);

	if (!err)
		err = inode_own(t, v, f->ino, f->generation, &i);
	if (!err && i->type > FS_FIFO)
		err = -EDAMAGED;
	if (err)
		return err;
	mapped = dir->mapped;
	d = dir_of(t, v, dir, o->dir.ino);
	err = dir_insert(&d, (struct fs_name){ o->name, strlen(o->name) }, f->ino, i->generation, i->type);
	if (err || !t->apply)
		return err;
	v->mapped += dir->mapped - mapped;
	if (i->type == FS_DIR) {
		i->parent = o->dir.ino;
		dir->nlink++;
	} else {
		i->nlink = 1;
	}
	return 0;
}

static int do_stale(struct txn *t, void *arg)
{
	const struct fs_volume_info *info = arg;
	struct volume *v;
	int err = mend_record_own(t, info->id, &v);

	if (!err && t->apply && v->meter)
		v->meter |= METER_STALE;
	return err;
}

int mend_meters(struct mend *m)
{
	struct fs_volume_info *v = calloc(1, sizeof(*v));
	int err = v ? 0 : -ENOMEM;

	while (!err && !volume_next_any(m->fs, v->id, v))
		if (v->physical_blocks)
			err = mend_run(m, do_stale, v);
	free(v);
	return err && mend_is_final(err) ? err : 0;
}

/* The directory of that name in the volume's root, made if there is none. */
static int lost_found(struct mend *m, uint32_t volume, struct fs_id *ret)
{
	const struct fs_create how = { .type = FS_DIR, .how = FS_CREATE_GUARDED,
				       .set = { .mask = FS_SET_MODE, .mode = 0700 } };
	struct fs_id root = { .volume = volume, .ino = INO_ROOT };
	char text[32] = LOST_FOUND;
	struct fs_attr a;
	struct fs_req req;
	int err = m->unlogged ? fs_checkpoint(m->fs) : 0;

	m->unlogged = false;
	fs_req_admin(&req, m->fs);
	for (unsigned n = 1; !err && n < 10; n++) {
		struct fs_name name = { text, strlen(text) };

		err = fs_lookup(&req, root, name, &a, NULL);
		if (err == -ENOENT)
			err = fs_create(&req, root, name, &how, &a, NULL);
		if (!err && a.type == FS_DIR) {
			*ret = a.id;
			return 0;
		}
		snprintf(text, sizeof(text), LOST_FOUND ".%u", n);
	}
	return err ? err : -EEXIST;
}

static int mend_lost(struct mend *m, const struct fix *f)
{
	struct lost_op o = { .f = f };
	int err = lost_found(m, f->volume, &o.dir);

	if (err)
		return err;
	snprintf(o.name, sizeof(o.name), "#%" PRIu64, f->ino);
	err = mend_run(m, do_lost, &o);
	if (err != -EEXIST)
		return err;
	snprintf(o.name, sizeof(o.name), "#%" PRIu64 ".%" PRIx64, f->ino, f->generation);
	return mend_run(m, do_lost, &o);
}

int mend_one(struct mend *m, struct fix *f)
{
	switch (f->kind) {
	case FIX_FREE_LIST:	return mend_free_list(m, f);
	case FIX_ENTRY_TYPE:
	case FIX_DROP_NAME:	return mend_run(m, do_entry, f);
	case FIX_ORPHAN_NAMED:	return mend_run(m, do_orphan_named, f);
	case FIX_LOST:		return mend_lost(m, f);
	case FIX_SLOT:		return mend_slot(m, f);
	case FIX_RELINK:	return mend_relink(m, f);
	case FIX_DIR:		return mend_dir(m, f);
	case FIX_QUOTA_LINK:	return mend_run(m, do_quota_link, f);
	case FIX_XATTR:
	case FIX_XATTR_BLOCKS:	return mend_xattr(m, f);
	default:		return mend_run(m, do_field, f);
	}
}
