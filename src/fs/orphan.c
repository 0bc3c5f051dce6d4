/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Orphans: files without a name.  Each has one in the volume's hidden orphan directory, made of its
 * inode number, so that a crash doesn't lose it:
 *
 *     fs_create_unnamed ──> orphan ── fs_link ──> file with a name
 *                            ^  │                        │
 *                            │  └─ fs_forget,            │ its last name goes
 *                            │     last fs_unhold ──>    v
 *                            └───────────────────── held?  no ──> removed
 *
 * Those of an earlier life of the pool are removed when it is opened, or by fs_drop_orphans(); those
 * that a volume has from what it was cloned from or restored to, in the background after that.
 */
#include "fs/fs_int.h"

#include <stdio.h>
#include "base/log.h"

void orphan_name(char buf[17], uint64_t ino, struct fs_name *ret)
{
	snprintf(buf, 17, "%016llx", (unsigned long long)ino);
	*ret = (struct fs_name){ buf, 16 };
}

/* The last name of an owned inode has gone, or will. */
int join_orphans(struct txn *t, struct fs *fs, struct volume *vol, uint64_t ino, uint64_t now)
{
	struct inode *orphans, *i;
	struct fs_name name;
	struct dir d;
	char buf[17];
	uint64_t mapped;
	int err = inode_own(t, vol, INO_ORPHANS, 0, &orphans);

	if (!err)
		err = inode_own(t, vol, ino, 0, &i);
	if (err)
		return err;
	orphan_name(buf, ino, &name);
	d = dir_of(t, vol, orphans, INO_ORPHANS);
	mapped = orphans->mapped;
	err = dir_insert(&d, name, ino, i->generation, i->type);
	if (err || !t->apply)
		return err;
	vol->mapped += orphans->mapped - mapped;	/* which counts for no directory's quota */
	i->nlink = 0;
	touch_meta(t, i, now);
	hold_orphaned(fs, id_of(vol, ino, i));
	return 0;
}

/* It has got a name, or will be removed. */
int leave_orphans(struct txn *t, struct volume *vol, uint64_t ino)
{
	struct inode *orphans;
	struct fs_name name;
	struct dir d;
	char buf[17];
	uint64_t mapped;
	int err = inode_own(t, vol, INO_ORPHANS, 0, &orphans);

	if (err)
		return err;
	orphan_name(buf, ino, &name);
	d = dir_of(t, vol, orphans, INO_ORPHANS);
	mapped = orphans->mapped;
	err = dir_remove(&d, name);
	if (!err && t->apply)
		vol->mapped -= mapped - orphans->mapped;
	return err;
}

int fs_create_unnamed(struct fs_req *req, uint32_t volume, uint32_t mode, struct fs_attr *ret_attr)
{
	struct create_op o = { .req = req, .dir = { .volume = volume, .ino = INO_ORPHANS },
		.how = { .type = FS_REG, .how = FS_CREATE_GUARDED,
			 .set = { .mask = FS_SET_MODE, .mode = mode } },
		.now = fs_now(), .uid = req->cred.uid, .gid = req->cred.gid, .unnamed = true };
	bool admin = req->cred.admin;
	int err;

	req->cred.admin = true;		/* the orphan directory is nobody's */
	err = fs_run(req, SPACE_ORDINARY, true, true, do_create, &o);
	req->cred.admin = admin;
	if (!err)
		*ret_attr = o.attr;
	return err;
}

/* ---- removing ----------------------------------------------------------------------------------- */

int do_forget(struct txn *t, void *arg)
{
	struct link_op *o = arg;
	struct volume *vol;
	struct inode *i;
	int err = object_own(t, o->file, &vol, &i);

	if (err)
		return err;
	if (i->nlink)
		return -EEXIST;		/* it has a name by now: not ours to remove */
	if (!t->replay && is_held(o->req->fs, o->file)) {
		hold_orphaned(o->req->fs, o->file);
		return DONE;
	}
	record_link(t, o, true);
	err = leave_orphans(t, vol, o->file.ino);
	if (!err)
		err = inode_own(t, vol, o->file.ino, 0, &i);
	return err ? err : inode_release(t, vol, o->file.ino, i);
}

int fs_forget(struct fs_req *req, struct fs_id id)
{
	struct link_op o = { .req = req, .file = id, .now = fs_now() };
	int err = fs_run(req, SPACE_DELETE, true, true, do_forget, &o);

	return err == DONE ? 0 : err;
}

int forget_orphan(struct fs *fs, struct fs_id id)
{
	struct fs_req req;
	struct link_op o = { .req = &req, .file = id, .now = fs_now() };
	int err;

	fs_req_admin(&req, fs);
	err = fs_run(&req, SPACE_PRIVILEGED, true, true, do_forget, &o);
	return err == DONE || err == -ESTALE || err == -EEXIST ? 0 : err;
}

struct orphan_search {
	struct fs *fs;
	uint32_t volume;
	uint64_t restored;		/* what is older came with the volume from elsewhere */
	uint64_t key;			/* in: look behind it; out: of what was found */
	struct fs_id found;
};

static int look_at_orphan(void *arg, const struct dir_found *e, struct fs_name name)
{
	struct orphan_search *s = arg;
	struct fs_id id = { s->volume, 0, e->ino, e->generation };

	/* Imports under way are of this life; so is what was made and removed while it was open. */
	if (e->generation >> EVENT_LIFE_SHIFT >= pool_life(s->fs->pool) && e->generation > s->restored)
		return 0;
	if (is_held(s->fs, id)) {
		hold_orphaned(s->fs, id);
		return 0;
	}
	s->key = e->key;
	s->found = id;
	return DONE;
}

static int do_find_orphan(struct txn *t, void *arg)
{
	struct orphan_search *s = arg;
	struct volume *vol;
	struct inode *i;
	struct dir d;
	int err = object_get(t, (struct fs_id){ .volume = s->volume, .ino = INO_ORPHANS }, &vol, &i);

	if (err)
		return err;
	s->restored = vol->restored;
	d = dir_of(t, vol, i, INO_ORPHANS);
	err = dir_iterate(&d, s->key, look_at_orphan, s);
	return err == DONE ? 0 : err ? err : -ENOENT;
}

int sweep_volume(struct fs *fs, uint32_t volume, const bool *stop)
{
	struct orphan_search s = { .fs = fs, .volume = volume, .key = 2 };
	struct fs_req req;
	int err = 0;

	fs_req_admin(&req, fs);
	while (!err && !*stop) {
		err = fs_run(&req, SPACE_ORDINARY, false, false, do_find_orphan, &s);
		if (!err)
			err = forget_orphan(fs, s.found);
	}
	return err == -ENOENT || err == -ESTALE ? 0 : err;	/* no more, or no such volume any more */
}

int sweep_orphans(struct fs *fs, const bool *stop)
{
	struct fs_volume_info v;
	uint32_t id = 0;
	int err = 0;

	while (!err && !*stop) {
		err = volume_next_any(fs, id, &v);
		if (err)
			break;
		id = v.id;
		err = sweep_volume(fs, id, stop);
		if (err == -EDAMAGED || err == -EIO) {
			log_error("removing files without a name of volume %s: %s; their space isn't "
				  "given back", v.name, err_text(err));
			err = 0;		/* it is no reason to keep the others from anybody */
		}
	}
	return err == -ENOENT ? 0 : err;
}
