/* SPDX-License-Identifier: Apache-2.0 */
/* Rename, with all its rules (POSIX rename(), RFC 1813 section 3.3.14). */
#include "fs/fs_int.h"

#define PARENTS_MAX 65536

/* -EINVAL if directory INO lies on the way from directory FROM up to the root. */
static int check_ancestors(struct txn *t, struct volume *vol, uint64_t from, uint64_t ino)
{
	for (unsigned n = 0; n < PARENTS_MAX; n++) {
		struct inode *i;
		int err;

		if (from == ino)
			return -EINVAL;
		if (from == INO_ROOT)
			return 0;
		err = inode_get(t, vol, from, 0, &i);
		if (err)
			return err == -ESTALE ? -EDAMAGED : err;
		if (i->type != FS_DIR)
			return -EDAMAGED;
		from = i->parent;
	}
	return -EDAMAGED;
}

struct moving {			/* what do_rename() has in hand */
	struct volume *vol;
	struct inode *from_dir, *to_dir, *i, *target;
	struct dir_found f, old;
	bool replaces;
};

static int check_dirs(struct rename_op *o, struct moving *m)
{
	const struct fs_cred *c = &o->req->cred;

	wcc_pre(&o->from_wcc, m->vol, o->from_dir.ino, m->from_dir);
	wcc_pre(&o->to_wcc, m->vol, o->to_dir.ino, m->to_dir);
	if (m->from_dir->type != FS_DIR || m->to_dir->type != FS_DIR)
		return -ENOTDIR;
	return may(c, m->from_dir, MAY_WRITE | MAY_EXEC) && may(c, m->to_dir, MAY_WRITE | MAY_EXEC) ?
	       0 : -EACCES;
}

static int check_rules(struct txn *t, struct rename_op *o, struct moving *m)
{
	const struct fs_cred *c = &o->req->cred;

	int err = quota_same(t, m->vol, m->from_dir, m->to_dir);

	if (err)
		return err;
	if (sticky_forbids(c, m->from_dir, m->i))
		return -EACCES;
	if (m->i->type == FS_DIR && o->from_dir.ino != o->to_dir.ino) {
		err = check_ancestors(t, m->vol, o->to_dir.ino, m->f.ino);
		if (err)
			return err;
		if (!m->replaces && m->to_dir->nlink >= FS_LINK_MAX)
			return -EMLINK;
		/* ".." changes: that is writing the directory. */
		if (!may(c, m->i, MAY_WRITE) && !is_owner(c, m->i))
			return -EACCES;
	}
	if (!m->replaces)
		return 0;
	if (sticky_forbids(c, m->to_dir, m->target))
		return -EACCES;
	if (m->i->type == FS_DIR && m->target->type != FS_DIR)
		return -ENOTDIR;
	if (m->i->type != FS_DIR && m->target->type == FS_DIR)
		return -EISDIR;
	return m->target->type == FS_DIR && m->target->entries ? -ENOTEMPTY : 0;
}

static int ask_guard(struct txn *t, struct rename_op *o, struct moving *m)
{
	int err = guard_ask(t, o->req, id_of(m->vol, m->f.ino, m->i), FS_USE_CHANGE);

	if (!err && m->replaces)
		err = guard_ask(t, o->req, id_of(m->vol, m->old.ino, m->target), FS_USE_CHANGE);
	return err;
}

static int own_dirs(struct txn *t, struct rename_op *o, struct moving *m)
{
	int err = inode_own(t, m->vol, o->from_dir.ino, 0, &m->from_dir);

	if (!err)
		err = inode_own(t, m->vol, o->to_dir.ino, 0, &m->to_dir);
	return err;
}

/* Everything that is looked at, and owned. */
static int gather(struct txn *t, struct rename_op *o, struct moving *m)
{
	struct dir d;
	int err = object_own(t, o->from_dir, &m->vol, &m->from_dir);

	if (!err)
		err = inode_own(t, m->vol, o->to_dir.ino, o->to_dir.generation, &m->to_dir);
	if (!err && !t->apply)
		err = check_dirs(o, m);
	if (err)
		return err;
	d = dir_of(t, m->vol, m->from_dir, o->from_dir.ino);
	err = dir_lookup(&d, o->from, &m->f);
	if (!err)
		err = child_check(o->from_dir, &m->f);
	if (err)
		return err;
	d = dir_of(t, m->vol, m->to_dir, o->to_dir.ino);
	err = dir_lookup(&d, o->to, &m->old);
	if (err && err != -ENOENT)
		return err;
	m->replaces = !err;
	if (m->replaces && child_check(o->to_dir, &m->old))
		return -EDAMAGED;
	if (m->replaces && m->old.ino == m->f.ino)
		return DONE;		/* two names of one file: POSIX has it do nothing */
	err = inode_own(t, m->vol, m->f.ino, m->f.generation, &m->i);
	if (!err && m->replaces)
		err = inode_own(t, m->vol, m->old.ino, m->old.generation, &m->target);
	return err == -ESTALE ? -EDAMAGED : err;
}

static int move_names(struct txn *t, struct rename_op *o, struct moving *m)
{
	struct dir from = dir_of(t, m->vol, m->from_dir, o->from_dir.ino);
	struct dir to = dir_of(t, m->vol, m->to_dir, o->to_dir.ino);
	int err;

	if (m->replaces)
		err = dir_replace(&to, o->to, m->f.ino, m->f.generation, m->f.type);
	else
		err = dir_insert(&to, o->to, m->f.ino, m->f.generation, m->f.type);
	if (!err && !t->apply)
		err = quota_check(t, m->vol, m->to_dir, to.fresh);
	return err ? err : dir_remove(&from, o->from);
}

static void finish(struct txn *t, struct rename_op *o, struct moving *m)
{
	bool is_dir = m->i->type == FS_DIR, same = o->from_dir.ino == o->to_dir.ino;

	if (is_dir && m->replaces)
		m->to_dir->nlink--;
	if (is_dir && !same) {
		m->from_dir->nlink--;
		m->to_dir->nlink++;
		m->i->parent = o->to_dir.ino;
	}
	touch_meta(t, m->i, o->now);
	touch_data(t, m->from_dir, o->now);
	touch_data(t, m->to_dir, o->now);
	wcc_post(&o->from_wcc, m->vol, o->from_dir.ino, m->from_dir);
	wcc_post(&o->to_wcc, m->vol, o->to_dir.ino, m->to_dir);
	record_rename(t, o);
}

int do_rename(struct txn *t, void *arg)
{
	struct rename_op *o = arg;
	struct moving m = { 0 };
	uint64_t mapped;
	int err;

	if (o->from_dir.volume != o->to_dir.volume)
		return -EXDEV;
	if (o->to_dir.snapshot)
		return -EROFS;
	err = gather(t, o, &m);
	if (err)
		return err;
	if (!t->apply) {
		err = check_rules(t, o, &m);
		if (!err)
			err = ask_guard(t, o, &m);
		if (err)
			return err;
		o->keep &= t->replay;
		record_rename(t, o);
	}
	if (m.replaces)
		err = unlink_inode(t, o->req->fs, m.vol, m.old.ino, o->now, &o->keep);
	/* Owning others may have moved the directories' blocks. */
	if (!err)
		err = own_dirs(t, o, &m);
	if (err)
		return err;
	mapped = m.from_dir->mapped + (m.to_dir != m.from_dir ? m.to_dir->mapped : 0);
	err = move_names(t, o, &m);
	if (!err)
		err = quota_account(t, m.vol, m.to_dir, m.from_dir->mapped - mapped +
				    (m.to_dir != m.from_dir ? m.to_dir->mapped : 0), 0);
	if (err || !t->apply)
		return err;
	finish(t, o, &m);
	return 0;
}

static bool dots(struct fs_name n)
{
	return n.s[0] == '.' && (n.len == 1 || (n.len == 2 && n.s[1] == '.'));
}

int fs_rename(struct fs_req *req, struct fs_id from_dir, struct fs_name from, struct fs_id to_dir,
	      struct fs_name to, struct fs_wcc *ret_from_wcc, struct fs_wcc *ret_to_wcc)
{
	struct rename_op o = { .req = req, .from_dir = from_dir, .to_dir = to_dir, .from = from,
			       .to = to, .now = fs_now() };
	int err = name_check(from);

	if (!err)
		err = name_check(to);
	if (!err && (dots(from) || dots(to)))
		err = -EINVAL;
	if (!err && is_snapshot_dir(from))
		err = -EACCES;
	if (!err && is_snapshot_dir(to))
		err = -EEXIST;
	if (!err)
		err = fs_run(req, SPACE_DELETE, true, true, do_rename, &o);
	if (ret_from_wcc)
		*ret_from_wcc = o.from_wcc;
	if (ret_to_wcc)
		*ret_to_wcc = o.to_wcc;
	return err == DONE ? 0 : err;
}
