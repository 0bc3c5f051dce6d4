/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repairs: fs_check_with() with opts.repair.
 *
 *     check ──> nothing to repair ──> done
 *       ^
 *       │    open ──> counts, trees ──checkpoint──> replay of the log ──> records, inodes, names ──> close
 *       └──────────────────────────────────────────────────────────────────────────────────────────┘
 *
 * The check looks at the last checkpoint, so what it says of counts and of trees is put right before the log
 * is replayed, since replay goes by them; what it says of volumes and inodes holds only where there was nothing to replay, else the
 * next round says it again.  Whatever is written goes through the pool's own transactions and checkpoints
 * (and where a step is an operation of its own, through the log), so a crash leaves what was there before
 * or what is right.  Changes that are not logged are made durable before one that is, since its replay
 * must find what it found the first time.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "fs/mend.h"

#define ROUNDS_MAX 100			/* a change of what snapshots share may show the same in each */

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

bool mend_is_final(int err)
{
	return err && err != -EIO && err != -EDAMAGED && err != -ESTALE && err != -ENOENT &&
	       err != -EEXIST && err != -ENOTDIR && err != -EFBIG && err != -E2BIG && err != -ENOSPC;
}

/* One thing was tried: what can't be done stays, and is found again. */
static int tried(struct mend *m, int err, uint64_t n)
{
	*(err ? &m->failed : &m->done) += n;
	return mend_is_final(err) ? err : 0;
}

/* ---- counts -------------------------------------------------------------------------------- */

/* Fixes of one kind: in order of the block, or whatever they are about. */
static int by_place(const void *a, const void *b)
{
	const struct fix *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (x->volume != y->volume)
		return x->volume < y->volume ? -1 : 1;
	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return x->value < y->value ? -1 : x->value > y->value;
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

static int mend_counts(struct mend *m)
{
	struct pool *p = m->pool;
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
	return err;
}

/* ---- all of them --------------------------------------------------------------------------- */

static void tell_slot(struct mend *m, const struct fix *f, const char *volume)
{
	char what[60] = "";

	if (f->ino)
		snprintf(what, sizeof(what), ", inode %" PRIu64, f->ino);
	else if (f->volume)
		snprintf(what, sizeof(what), ", inode file");
	repaired(m, "%s%s: index block %" PRIu64 ", slot %u: its mapped blocks counted anew",
		 f->volume ? volume : "volume table", what, f->generation,
		 (unsigned)(f->value / tree_span(1) % INDEX_SLOTS));
}

/* Whose it is, with its path if that is known. */
static const char *file_text(struct mend *m, const struct fix *f)
{
	struct where w = { .ino = f->ino };
	static char buf[100];
	const char *text = "";

	for (uint64_t i = 0; i < m->c->nvolumes; i++)
		if (m->c->volumes[i].place + 1 == f->volume)
			w.volume = i + 1;
	if (w.volume)
		text = where_text(m->c, &w);
	snprintf(buf, sizeof(buf), "volume number %u, inode %" PRIu64, f->volume, f->ino);
	return text[0] ? text : buf;
}

static void tell_dir(struct mend *m, const struct fix *f)
{
	const char *file = file_text(m, f);

	if (f->generation == f->value)
		repaired(m, "%s: the directory made anew, with all %" PRIu64 " entries", file, f->value);
	else
		repaired(m, "%s: the directory made anew, with %" PRIu64 " of its %" PRIu64 " entries; what "
			 "only the others named goes to /" LOST_FOUND, file, f->value, f->generation);
}

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
	case FIX_SLOT:
		tell_slot(m, f, name);
		break;
	case FIX_DIR:
		tell_dir(m, f);
		break;
	case FIX_XATTR:
		repaired(m, "%s: its extended attributes are dropped", file_text(m, f));
		break;
	case FIX_XATTR_BLOCKS:
		repaired(m, "%s: %" PRIu64 " blocks of extended attributes", file_text(m, f), f->value);
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
	case FIX_PROJECT:
		repaired(m, "%s, inode %" PRIu64 ": counts for the quota of project %" PRIu64, name, f->ino, f->value);
		break;
	case FIX_QUOTA:
		repaired(m, "%s, inode %" PRIu64 ": %" PRIu64 " blocks and %" PRIu64 " inodes count for its quota", name,
			 f->ino, f->value, f->generation);
		break;
	case FIX_QUOTA_LIST:
		repaired(m, "%s: its list of directories with quotas made anew", name);
		break;
	case FIX_QUOTA_LINK:
		repaired(m, "%s, inode %" PRIu64 ": in the list of directories with quotas", name, f->ino);
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

/* All that is wrong with the reap list is one repair. */
static int mend_reap_list(struct mend *m)
{
	const struct fix *f = m->c->fixes;
	uint64_t first = 0, n = 0, kept, entries;
	int err;

	while (first < m->c->nfixes && f[first].kind < FIX_REAP)
		first++;
	while (first + n < m->c->nfixes && f[first + n].kind == FIX_REAP)
		n++;
	if (!n)
		return 0;
	err = mend_reap(m, f + first, n, &kept, &entries);
	if (!err)
		repaired(m, "reap list: written anew, with %" PRIu64 " of its %" PRIu64 " entries", kept,
			 entries);
	return tried(m, err, 1);
}

/* Those of the kinds from FIRST to before END, one by one. */
static int mend_each(struct mend *m, enum fix_kind first, enum fix_kind end)
{
	int err = 0;

	for (uint64_t i = 0; i < m->c->nfixes && !err; i++) {
		struct fix *f = &m->c->fixes[i];
		int r;

		if (f->kind < first || f->kind >= end)
			continue;
		r = mend_one(m, f);
		if (!r)
			tell(m, f);
		err = tried(m, r, 1);
	}
	return err;
}

/* While the pool is being opened: what replay has to be able to rely on. */
static int mend_before_replay(void *arg, struct pool *p)
{
	struct mend *m = arg;
	int err;

	m->pool = p;
	err = mend_counts(m);
	if (!err)
		err = mend_reap_list(m);
	if (!err)
		err = mend_each(m, FIX_SLOT, FIX_LOG);
	if (!err && m->done)
		err = pool_checkpoint(p);
	m->unlogged = false;
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
	struct fs_mend before = { .fn = mend_before_replay, .arg = m, .cut_log = has_kind(m->c, FIX_LOG) };
	struct fs_config cfg = { .cache_bytes = m->c->memory / 4, .keep_orphans = true,
				 .no_background = true };
	bool replays = m->c->stats.log_records > 0;
	char why[300] = "";
	int err;

	m->done = m->failed = m->nmoved = 0;
	m->unlogged = m->opened = m->moved_sorted = false;
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
	m->verified &= !replays;	/* what it has written */
	if (replays)
		repaired(m, "the log was replayed: %" PRIu64 " records", m->c->stats.log_records);
	else
		err = mend_each(m, FIX_REPLAYED, FIX_KINDS);
	if (!err && m->done)
		err = mend_meters(m);
	if (err)
		fs_abandon(m->fs);	/* what stands in the last checkpoint is right */
	else
		err = fs_close(m->fs);
	m->fs = NULL;
	m->repairs += m->done;
	return err ? err : m->done || replays;
}

static void look_again(struct mend *m, uint64_t block)
{
	if (grow(m->c, &m->bad, m->nbad, &m->bad_cap, sizeof(*m->bad)))
		m->bad[m->nbad++] = block;
	else
		m->verified = false;
}

/* Blocks of metadata that can't be read: what led to them may be dropped, and they stay in use. */
static void look_again_at_all(struct mend *m, const struct seen *s)
{
	for (uint64_t i = 0; i < s->cap; i++)
		for (unsigned k = 0; s->pages[i].page && k < PAGE_ENTRIES; k++)
			if (s->pages[i].bits[k / 64] >> k % 64 & 1)
				look_again(m, (s->pages[i].page - 1) * PAGE_ENTRIES + k);
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/*
 * Once the content of data was verified, it stays as it is: later rounds look only at what was bad, and
 * at what was free according to the table, and isn't.
 */
static void remember_content(struct mend *m)
{
	const struct check *c = m->c;

	if (!c->skip_content) {
		m->verified = !c->bad_dropped && !c->err;
		m->nbad = 0;
	}
	for (uint64_t i = 0; i < c->nbad && !c->skip_content; i++)
		if (c->bad[i].error)
			look_again(m, c->bad[i].block);
	if (!c->skip_content)
		look_again_at_all(m, &c->nodes.bad);
	for (uint64_t i = 0; i < c->nfixes; i++)
		if (c->fixes[i].kind == FIX_COUNT && c->fixes[i].value)
			look_again(m, c->fixes[i].ino);
	if (m->nbad)
		qsort(m->bad, m->nbad, sizeof(*m->bad), by_number);
}

static int64_t last_words(struct mend *m, int64_t n, int err)
{
	for (uint64_t i = 0; i < m->nlines && m->o->left; i++)
		m->o->left(m->arg, m->lines[i]);
	if (m->note[0] && m->o->left)
		m->o->left(m->arg, m->note);
	drop_lines(m);
	free(m->lines);
	free(m->bad);
	free(m->moved);
	return n > 0 && err < 0 && mend_is_final(err) && err != -EFORMAT ? err : n;
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
				     .skip_content = m.verified, .recheck = m.bad, .nrecheck = m.nbad,
				     .memory = o->memory ? o->memory : FS_CHECK_MEMORY };
		drop_lines(&m);
		n = check_run(c);
		c->report = keep_line;
		m.findings = round ? m.findings : c->findings;
		remember_content(&m);
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
