/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names: looking up and listing.
 *
 *     dir ── ".snapshot" ──> directory of snapshots ── "NAME" ──> dir as it was then
 *      ^                              │  ^                               │
 *      └──────────── ".." ────────────┘  └─────── "..", from its root ───┘
 */
#include "fs/fs_int.h"

/* ---- looking up ------------------------------------------------------------------------------ */

struct lookup_op {
	struct fs_req *req;
	struct fs_id dir;
	struct fs_name name;
	struct fs_attr *attr, *dir_attr;
};

/* In the directory of snapshots: directory DIR as it was in the one of that name. */
static int lookup_snapshot(struct txn *t, struct lookup_op *o, const struct volume *vol)
{
	char name[FS_VOLUME_NAME_MAX + 1];
	struct volume *snap;
	struct inode *i;
	uint32_t id;
	int err;

	if (o->name.len > FS_VOLUME_NAME_MAX)
		return -ENOENT;
	memcpy(name, o->name.s, o->name.len);
	name[o->name.len] = 0;
	err = catalog_find(o->req->fs, vol->id, name, &id);
	if (!err)
		err = snapshot_get(t, vol->id, id, &snap);
	if (!err)
		err = snapshot_dir(t, snap, o->dir, &i);
	if (!err)
		attr_fill(o->attr, snap, o->dir.ino, i);
	return err == -ESTALE ? -ENOENT : err;
}

/* What has to do with snapshots, on the way in and out.  1: nothing. */
static int lookup_around(struct txn *t, struct lookup_op *o, const struct volume *vol,
			 const struct inode *i)
{
	uint64_t ino = o->dir.ino;
	struct inode *other;
	int err;

	if (o->dir.snapshot == FS_SNAPDIR && !is_dotdot(o->name))
		return lookup_snapshot(t, o, vol);
	if (o->dir.snapshot == FS_SNAPDIR) {
		err = inode_get(t, vol, ino, i->generation, &other);
	} else if (!o->dir.snapshot && vol->state == VOLUME_LIVE && is_snapshot_dir(o->name)) {
		err = snapdir_get(t, vol, ino, i->generation, &other);
	} else if (o->dir.snapshot && ino == INO_ROOT && is_dotdot(o->name)) {
		struct volume *live;

		err = volume_get(t, o->dir.volume, &live);
		vol = live;
		if (!err)
			err = snapdir_get(t, vol, ino, i->generation, &other);
	} else {
		return 1;
	}
	if (!err)
		attr_fill(o->attr, vol, ino, other);
	return err;
}

static int do_lookup(struct txn *t, void *arg)
{
	struct lookup_op *o = arg;
	struct volume *vol;
	struct inode *i, *child;
	struct dir_found f;
	struct dir d;
	int err = object_get(t, o->dir, &vol, &i);

	if (err)
		return err;
	if (o->dir_attr)
		attr_fill(o->dir_attr, vol, o->dir.ino, i);
	if (i->type != FS_DIR)
		return -ENOTDIR;
	if (!may(&o->req->cred, i, MAY_EXEC))
		return -EACCES;
	if (is_dot(o->name)) {
		attr_fill(o->attr, vol, o->dir.ino, i);
		return 0;
	}
	err = lookup_around(t, o, vol, i);
	if (err <= 0)
		return err;
	if (is_dotdot(o->name)) {
		f = (struct dir_found){ .ino = i->parent };
	} else {
		d = dir_of(t, vol, i, o->dir.ino);
		err = dir_lookup(&d, o->name, &f);
		if (err)
			return err;
	}
	err = inode_get(t, vol, f.ino, f.generation, &child);
	if (err)
		return err == -ESTALE ? -EDAMAGED : err;
	attr_fill(o->attr, vol, f.ino, child);
	return 0;
}

int fs_lookup(struct fs_req *req, struct fs_id dir, struct fs_name name, struct fs_attr *ret_attr,
	      struct fs_attr *ret_dir_attr)
{
	struct lookup_op o = { req, dir, name, ret_attr, ret_dir_attr };
	int err = name_check(name);

	return err ? err : fs_run(req, SPACE_ORDINARY, false, false, do_lookup, &o);
}

static int lookup_root(struct fs *fs, const char *volume, struct fs_id *ret)
{
	const char *at = strchr(volume, '@');
	char name[FS_VOLUME_NAME_MAX + 1];
	struct fs_snapshot_info s;
	struct fs_volume_info v;
	int err;

	if (!at) {
		err = fs_volume_find(fs, volume, &v);
		if (!err)
			*ret = v.root;
		return err;
	}
	if (at - volume > FS_VOLUME_NAME_MAX)
		return -ENOENT;
	memcpy(name, volume, at - volume);
	name[at - volume] = 0;
	err = fs_snapshot_find(fs, name, at + 1, &s);
	if (!err)
		*ret = s.root;
	return err;
}

int fs_lookup_path(struct fs_req *req, const char *volume, const char *path, struct fs_attr *ret_attr)
{
	struct fs_id root;
	struct fs_attr a;
	int err = lookup_root(req->fs, volume, &root);

	if (!err)
		err = fs_getattr(req, root, &a);
	while (!err && *path) {
		size_t n = strcspn(path, "/");

		if (n > FS_NAME_MAX)
			return -ENAMETOOLONG;
		if (n)
			err = fs_lookup(req, a.id, (struct fs_name){ path, n }, &a, NULL);
		path += n + (path[n] == '/');
	}
	if (!err)
		*ret_attr = a;
	return err;
}

/* ---- listing --------------------------------------------------------------------------------- */

struct readdir_op {
	struct fs_req *req;
	struct fs_id dir;
	uint64_t cookie;
	bool plus;
	struct fs_dirlist *list;
	/* of a pass: */
	struct txn *t;
	const struct volume *vol;
	size_t used;
	int err;
};
#define LIST_FULL 2

/* FILEID: as clients shall see it; INO and GENERATION: in o->vol. */
struct listed { uint64_t cookie, fileid, ino, generation; };

static int put_entry(struct readdir_op *o, struct listed l, struct fs_name name)
{
	size_t size = (sizeof(struct fs_dirent) + name.len + 1 + 7) & ~(size_t)7;
	struct fs_dirent *e = (struct fs_dirent *)((char *)o->list->buf + o->used);
	struct inode *i;

	if (o->used + size > o->list->cap ||
	    (o->list->max_entries && o->list->n >= o->list->max_entries))
		return LIST_FULL;
	memset(&e->attr, 0, sizeof(e->attr));
	if (o->plus) {
		int err = inode_get(o->t, o->vol, l.ino, l.generation, &i);

		if (err == -ERESTART_PASS)
			o->err = err;	/* go on, so that other reads start too */
		else if (err)
			return err == -ESTALE ? -EDAMAGED : err;
		else
			attr_fill(&e->attr, o->vol, l.ino, i);
	}
	e->cookie = l.cookie;
	e->ino = l.fileid;
	e->size = size;
	e->name_len = name.len;
	memcpy(e->name, name.s, name.len);
	e->name[name.len] = 0;
	o->used += size;
	o->list->n++;
	return 0;
}

static int list_entry(void *arg, const struct dir_found *f, struct fs_name name)
{
	return put_entry(arg, (struct listed){ f->key, f->ino, f->ino, f->generation }, name);
}

/* The snapshots that have the directory; their cookies are made of their ids, which stay. */
static int list_snapshots(struct txn *t, struct readdir_op *o)
{
	const struct volume *live = o->vol;
	uint32_t id = o->cookie > 2 ? o->cookie - 2 : 0;
	int err;

	while (!(err = catalog_next(o->req->fs, live->id, id, 1u << VOLUME_SNAPSHOT, &id))) {
		struct listed l = { 2 + (uint64_t)id, 0, o->dir.ino, o->dir.generation };
		struct volume *snap;
		struct inode *i;

		err = snapshot_get(t, live->id, id, &snap);
		if (!err)
			err = snapshot_dir(t, snap, o->dir, &i);
		if (err == -ERESTART_PASS)
			o->err = err;	/* go on, so that other reads start too */
		if (err == -ESTALE || err == -ERESTART_PASS)
			continue;
		if (err)
			return err;
		o->vol = snap;
		l.fileid = fs_mounted_fileid(id_of(snap, o->dir.ino, i));
		err = put_entry(o, l, (struct fs_name){ snap->name, strnlen(snap->name, FS_VOLUME_NAME_MAX) });
		if (err)
			return err;
	}
	return err == -ENOENT ? 0 : err;
}

static int list_dots(struct readdir_op *o, const struct inode *i)
{
	struct listed self = { 1, fs_fileid(o->dir), o->dir.ino, i->generation };
	struct listed up = { 2, i->parent, i->parent, 0 };
	int err = o->cookie < 1 ? put_entry(o, self, (struct fs_name){ ".", 1 }) : 0;

	return !err && o->cookie < 2 ? put_entry(o, up, (struct fs_name){ "..", 2 }) : err;
}

static int do_readdir(struct txn *t, void *arg)
{
	struct readdir_op *o = arg;
	struct volume *vol;
	struct inode *i;
	struct dir d;
	int err = object_get(t, o->dir, &vol, &i);

	if (err)
		return err;
	o->vol = vol;
	attr_fill(&o->list->dir_attr, o->vol, o->dir.ino, i);
	if (i->type != FS_DIR)
		return -ENOTDIR;
	if (!may(&o->req->cred, i, MAY_READ))
		return -EACCES;
	o->t = t;
	o->used = 0;
	o->err = 0;
	o->list->n = 0;
	o->list->eof = false;
	err = list_dots(o, i);
	d = dir_of(t, vol, i, o->dir.ino);
	if (!err && o->dir.snapshot == FS_SNAPDIR)
		err = list_snapshots(t, o);
	else if (!err)
		err = dir_iterate(&d, o->cookie < 2 ? 2 : o->cookie, list_entry, o);
	if (o->err)
		return o->err;
	if (err == LIST_FULL)
		return o->list->n ? 0 : -EINVAL;
	if (!err)
		o->list->eof = true;
	return err;
}

static bool is_damage(int err) { return err == -EIO || err == -EDAMAGED; }

int fs_readdir(struct fs_req *req, struct fs_id dir, uint64_t cookie, bool plus, struct fs_dirlist *list)
{
	struct readdir_op o = { .req = req, .dir = dir, .cookie = cookie, .plus = plus, .list = list };
	unsigned max = list->max_entries;
	int err;

	list->n = 0;
	list->eof = false;
	err = fs_run(req, SPACE_ORDINARY, false, false, do_readdir, &o);
	/* What one entry leads to is damaged: those before it as they are, then that one by its name. */
	list->max_entries = 1;
	if (plus && is_damage(err))
		err = fs_run(req, SPACE_ORDINARY, false, false, do_readdir, &o);
	o.plus = false;
	if (plus && is_damage(err))
		err = fs_run(req, SPACE_ORDINARY, false, false, do_readdir, &o);
	list->max_entries = max;
	return err;
}
