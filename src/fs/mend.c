/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repairs: fs_check_with() with opts.repair.
 *
 *     check ──> nothing to repair ──> done
 *       ^
 *       │         open ──> counts ──checkpoint──> replay of the log ──> records, inodes, names ──> close
 *       └──────────────────────────────────────────────────────────────────────────────────────────┘
 *
 * The check looks at the last checkpoint, so what it says of counts is put right before the log is
 * replayed; what it says of volumes and inodes holds only where there was nothing to replay, else the
 * next round says it again.  Whatever is written goes through the pool's own transactions and checkpoints
 * (and where a step is an operation of its own, through the log), so a crash leaves what was there before
 * or what is right.  Changes that are not logged are made durable before one that is, since its replay
 * must find what it found the first time.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "fs/check_int.h"
#include "fs/fs_int.h"

#define ROUNDS_MAX 100			/* a change of what snapshots share may show the same in each */
#define LOST_FOUND "lost+found"

struct mend {
	struct dev *dev;
	const struct fs_check_opts *o;
	void *arg;
	struct check *c;		/* of this round */
	struct fs *fs;			/* while it is open */
	uint64_t done, failed;		/* in this round */
	uint64_t repairs, findings;	/* in all; of the first check */
	bool cut;			/* the log was cut off */
	bool unlogged;			/* something was changed that no checkpoint has */
	bool opened;			/* the pool, in this round: it may be another now */
	char note[400];			/* why it can't be opened for writing; empty: it can */
	char **lines;			/* what the last check but the first found */
	uint64_t nlines, lines_cap;
};

static void __attribute__((format(printf, 2, 3))) repaired(struct mend *m, const char *fmt, ...)
{
	char line[700];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (m->o->repaired)
		m->o->repaired(m->arg, line);
}

static bool is_final(int err)
{
	return err && err != -EIO && err != -EDAMAGED && err != -ESTALE && err != -ENOENT &&
	       err != -EEXIST && err != -ENOTDIR && err != -EFBIG && err != -E2BIG;
}

/* One thing was tried: what can't be done stays, and is found again. */
static int tried(struct mend *m, int err, uint64_t n)
{
	*(err ? &m->failed : &m->done) += n;
	return is_final(err) ? err : 0;
}

/* ---- counts, while the pool is being opened ------------------------------------------------ */

/* Fixes of one kind: in order of the block, or whatever they are about. */
static int by_place(const void *a, const void *b)
{
	const struct fix *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (x->volume != y->volume)
		return x->volume < y->volume ? -1 : 1;
	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

/* Those of one table page, from FIRST on; returns how many. */
static uint64_t fix_page(struct mend *m, struct pool *p, uint64_t first, int *ret_err)
{
	static struct count_fix fixes[PAGE_ENTRIES];
	const struct fix *f = m->c->fixes;
	uint64_t page = f[first].ino / PAGE_ENTRIES, n = 0;

	for (uint64_t i = first; n < PAGE_ENTRIES && i < m->c->nfixes && f[i].kind == FIX_COUNT &&
	     f[i].ino / PAGE_ENTRIES == page; i++)
		fixes[n++] = (struct count_fix){ f[i].ino, f[i].value };
	*ret_err = tried(m, pool_fix_counts(p, page, fixes, n), n);
	return n;
}

static int mend_counts(void *arg, struct pool *p)
{
	struct mend *m = arg;
	uint64_t counts = 0, n = 1;
	int err = 0;

	for (uint64_t i = 0; i < m->c->nfixes && !err; i += n) {
		const struct fix *f = &m->c->fixes[i];
		uint64_t done = m->done;

		n = 1;
		if (f->kind == FIX_COUNT) {
			n = fix_page(m, p, i, &err);
			counts += m->done - done;
		} else if (f->kind == FIX_PAGE) {
			err = tried(m, pool_fix_counts(p, f->ino / PAGE_ENTRIES, NULL, 0), 1);
		} else if (f->kind == FIX_ZONE) {
			err = tried(m, pool_fix_zone(p, f->ino), 1);
		}
		if (m->done != done && f->kind == FIX_PAGE)
			repaired(m, "blocks %" PRIu64 " to %" PRIu64 ": free blocks counted anew", f->ino,
				 f->ino + PAGE_ENTRIES - 1);
		else if (m->done != done && f->kind == FIX_ZONE)
			repaired(m, "zone %" PRIu64 ": its directory entry written anew", f->ino);
	}
	if (counts)
		repaired(m, "counts of %" PRIu64 " block%s set to the number of pointers", counts,
			 counts == 1 ? "" : "s");
	return err || !m->done ? err : pool_checkpoint(p);
}

/* ---- records and inodes -------------------------------------------------------------------- */

static int run(struct mend *m, int (*fn)(struct txn *t, void *arg), void *arg)
{
	struct txn t;
	int err;

	txn_begin(&t, m->fs->pool);
	t.space = SPACE_PRIVILEGED;
	err = txn_run(&t, true, fn, arg);
	txn_end(&t);
	m->unlogged |= !err;
	return err;
}

/* A volume's record, or a snapshot's: what is set right in one is no change of what it shows. */
static int record_own(struct txn *t, uint32_t id, struct volume **ret)
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
	int err = record_own(t, f->volume, &v);

	if (!err && f->ino)
		err = inode_own(t, v, f->ino, 0, &i);
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
	default:		assert(!"a field");
	}
	return 0;
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
	int err = record_own(t, o->volume, &v);

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
	int err = run(m, do_free_block, &o);

	o.clear = false;
	while (!err) {
		err = run(m, do_free_block, &o);
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
	int err = record_own(t, f->volume, ret_v);

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
	int err = record_own(t, f->volume, &v);

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
	err = run(m, do_lost, &o);
	if (err != -EEXIST)
		return err;
	snprintf(o.name, sizeof(o.name), "#%" PRIu64 ".%" PRIx64, f->ino, f->generation);
	return run(m, do_lost, &o);
}

/* ---- all of them --------------------------------------------------------------------------- */

static void tell(struct mend *m, const struct fix *f)
{
	const char *name = "";

	for (uint64_t i = 0; i < m->c->nvolumes; i++)
		if (m->c->volumes[i].place + 1 == f->volume)
			name = volume_text(m->c, &m->c->volumes[i]);
	switch (f->kind) {
	case FIX_FREE_LIST:
		repaired(m, "%s: its list of free inodes made anew", name);
		break;
	case FIX_NEXT_INO:
		repaired(m, "%s: inodes below %" PRIu64 " have been used", name, f->value);
		break;
	case FIX_FILES:
		repaired(m, "%s: %" PRIu64 " inodes are in use", name, f->value);
		break;
	case FIX_VOLUME_MAPPED:
		repaired(m, "%s: %" PRIu64 " blocks are mapped", name, f->value);
		break;
	case FIX_NLINK:
		repaired(m, "%s, inode %" PRIu64 ": link count %" PRIu64, name, f->ino, f->value);
		break;
	case FIX_MAPPED:
		repaired(m, "%s, inode %" PRIu64 ": %" PRIu64 " blocks are mapped", name, f->ino,
			 f->value);
		break;
	case FIX_ENTRIES:
		repaired(m, "%s, inode %" PRIu64 ": %" PRIu64 " entries", name, f->ino, f->value);
		break;
	case FIX_DIR_PAGES:
		repaired(m, "%s, inode %" PRIu64 ": %" PRIu64 " pages", name, f->ino, f->value);
		break;
	case FIX_PARENT:
		repaired(m, "%s, inode %" PRIu64 ": its parent is inode %" PRIu64, name, f->ino,
			 f->value);
		break;
	case FIX_ENTRY_TYPE:
		repaired(m, "%s, inode %" PRIu64 ": type of entry %s", name, f->ino,
			 quoted(f->name, f->name_len));
		break;
	case FIX_DROP_NAME:
		repaired(m, "%s, inode %" PRIu64 ": entry %s removed", name, f->ino,
			 quoted(f->name, f->name_len));
		break;
	case FIX_ORPHAN_NAMED:
		repaired(m, "%s, inode %" PRIu64 ": no orphan any more", name, f->ino);
		break;
	case FIX_LOST:
		repaired(m, "%s, inode %" PRIu64 ": in /" LOST_FOUND " now", name, f->ino);
		break;
	}
}

static int mend_one(struct mend *m, struct fix *f)
{
	switch (f->kind) {
	case FIX_FREE_LIST:	return mend_free_list(m, f);
	case FIX_ENTRY_TYPE:
	case FIX_DROP_NAME:	return run(m, do_entry, f);
	case FIX_ORPHAN_NAMED:	return run(m, do_orphan_named, f);
	case FIX_LOST:		return mend_lost(m, f);
	default:		return run(m, do_field, f);
	}
}

static int mend_open_pool(struct mend *m)
{
	int err = 0;

	for (uint64_t i = 0; i < m->c->nfixes && !err; i++) {
		struct fix *f = &m->c->fixes[i];
		int r;

		if (f->kind < FIX_REPLAYED)
			continue;
		r = mend_one(m, f);
		if (!r)
			tell(m, f);
		err = tried(m, r, 1);
	}
	return err;
}

static bool has_kind(const struct check *c, enum fix_kind kind)
{
	for (uint64_t i = 0; i < c->nfixes; i++)
		if (c->fixes[i].kind == kind)
			return true;
	return false;
}

static void keep_line(void *arg, const char *line)
{
	struct mend *m = arg;

	if (grow(m->c, &m->lines, m->nlines, &m->lines_cap, sizeof(*m->lines)) &&
	    (m->lines[m->nlines] = strdup(line)))
		m->nlines++;
}

static void drop_lines(struct mend *m)
{
	while (m->nlines)
		free(m->lines[--m->nlines]);
}

static const char *status_reason(struct fs *fs)
{
	static struct pool_status st;

	pool_status(fs->pool, &st);
	return st.reason;
}

/* Opens the pool and mends what can be: 1 if something was done, 0, or why it can't go on. */
static int mend_round(struct mend *m)
{
	struct fs_mend before = { .fn = mend_counts, .arg = m, .cut_log = has_kind(m->c, FIX_LOG) };
	struct fs_config cfg = { .cache_bytes = m->c->memory / 4, .keep_orphans = true,
				 .no_background = true };
	bool replays = m->c->stats.log_records > 0;
	char why[300] = "";
	int err;

	m->done = m->failed = 0;
	m->unlogged = m->opened = false;
	if (!m->c->nfixes)
		return 0;
	qsort(m->c->fixes, m->c->nfixes, sizeof(*m->c->fixes), by_place);
	m->opened = true;
	err = fs_open_mended(m->dev, &cfg, &before, &m->fs, why, sizeof(why));
	if (err) {
		snprintf(m->note, sizeof(m->note), "the pool cannot be opened for repairs: %s", why);
		return err;
	}
	if (pool_readonly(m->fs->pool)) {
		snprintf(m->note, sizeof(m->note), "the pool can only be opened read-only: %s",
			 status_reason(m->fs));
		fs_abandon(m->fs);
		m->fs = NULL;
		return 0;
	}
	if (has_kind(m->c, FIX_OPEN)) {
		repaired(m, "superblock written anew");
		m->done++;
	}
	if (before.cut_log && !m->cut) {
		repaired(m, "the log ends where it is damaged");
		m->cut = true;
		m->done++;
	}
	if (replays)
		repaired(m, "the log was replayed: %" PRIu64 " records", m->c->stats.log_records);
	else
		err = mend_open_pool(m);
	if (err)
		fs_abandon(m->fs);	/* what stands in the last checkpoint is right */
	else
		err = fs_close(m->fs);
	m->fs = NULL;
	m->repairs += m->done;
	return err ? err : m->done || replays;
}

static int64_t last_words(struct mend *m, int64_t n, int err)
{
	for (uint64_t i = 0; i < m->nlines && m->o->left; i++)
		m->o->left(m->arg, m->lines[i]);
	if (m->note[0] && m->o->left)
		m->o->left(m->arg, m->note);
	drop_lines(m);
	free(m->lines);
	return n > 0 && err < 0 && is_final(err) && err != -EFORMAT ? err : n;
}

int64_t check_and_mend(struct dev *d, const struct fs_check_opts *o,
		       void (*report)(void *arg, const char *line), void *arg,
		       struct fs_check_stats *ret_stats)
{
	struct mend m = { .dev = d, .o = o, .arg = arg };
	bool again = !d->readonly;
	int64_t n = again ? 0 : -EROFS;
	int r = 1;

	for (unsigned round = 0; again; round++) {
		struct check *c = calloc(1, sizeof(*c));

		if (!c) {
			n = -ENOMEM;
			break;
		}
		m.c = c;
		*c = (struct check){ .dev = d, .report = round ? keep_line : report,
				     .arg = round ? &m : arg, .fix = true, .drop = o->drop_damaged,
				     .memory = o->memory ? o->memory : FS_CHECK_MEMORY };
		drop_lines(&m);
		n = check_run(c);
		c->report = keep_line;
		m.findings = round ? m.findings : c->findings;
		if (ret_stats && n >= 0)
			*ret_stats = c->stats;
		m.opened = false;
		if (n > 0 && r > 0 && round < ROUNDS_MAX)
			r = mend_round(&m);
		again = m.opened;	/* what was found may not be what is there now */
		check_release(c);
		free(c);
	}
	if (ret_stats && n >= 0) {
		ret_stats->findings = m.findings;
		ret_stats->repairs = m.repairs;
	}
	return last_words(&m, n, r);
}
