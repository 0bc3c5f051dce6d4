/* SPDX-License-Identifier: Apache-2.0 */
/* Names: creating, removing, linking.  Looking up and listing: lookup.c; files without a name: orphan.c. */
#include "fs/fs_int.h"


int name_check(struct fs_name n)
{
	if (!n.len)
		return -EINVAL;
	if (n.len > FS_NAME_MAX)
		return -ENAMETOOLONG;
	return memchr(n.s, '/', n.len) || memchr(n.s, 0, n.len) ? -EINVAL : 0;
}

bool is_dot(struct fs_name n) { return n.len == 1 && n.s[0] == '.'; }
bool is_dotdot(struct fs_name n) { return n.len == 2 && n.s[0] == '.' && n.s[1] == '.'; }

bool is_snapshot_dir(struct fs_name n)
{
	return n.len == sizeof(FS_SNAPSHOT_DIR) - 1 && !memcmp(n.s, FS_SNAPSHOT_DIR, n.len);
}

/* A directory for changing names in. */
static int dir_own(struct txn *t, struct fs_id id, const struct fs_cred *c, struct volume **vol,
		   struct inode **ret)
{
	int err = object_own(t, id, vol, ret);

	if (err)
		return err;
	if ((*ret)->type != FS_DIR)
		return -ENOTDIR;
	return may(c, *ret, MAY_WRITE | MAY_EXEC) ? 0 : -EACCES;
}

/* ---- creating -------------------------------------------------------------------------------- */

#define ZERO_VERIFIER 0x9e3779b97f4a7c15ULL

static int64_t ns_or(const struct fs_setattr *s, uint32_t bit, struct fs_time v, uint64_t now)
{
	return s->mask & bit ? v.sec * 1000000000 + v.nsec : (int64_t)now;
}

static void init_inode(struct txn *t, struct create_op *o, struct inode *i, const struct inode *dir)
{
	const struct fs_cred *c = &o->req->cred;
	struct fs_setattr *s = &o->how.set;
	bool is_dir = o->how.type == FS_DIR;

	i->type = o->how.type;
	i->mode = (s->mask & FS_SET_MODE ? s->mode : is_dir ? 0755 : 0644) & 07777;
	i->nlink = o->unnamed ? 0 : is_dir ? 2 : 1;
	i->uid = s->mask & FS_SET_UID ? s->uid : o->uid;
	i->gid = s->mask & FS_SET_GID ? s->gid : dir->mode & 02000 ? dir->gid : o->gid;
	/* A setgid directory gives its group, but no setgid programs of it; replay is told so. */
	if (!c->admin && c->uid && !in_group(c, i->gid))
		i->mode = s->mode = i->mode & ~02000;
	if (is_dir && (dir->mode & 02000))
		i->mode |= 02000;
	i->atime = ns_or(s, FS_SET_ATIME, s->atime, o->now);
	i->mtime = ns_or(s, FS_SET_MTIME, s->mtime, o->now);
	i->ctime = i->btime = o->now;
	i->generation = i->change = txn_event(t);
	i->rdev_major = o->how.rdev_major;
	i->rdev_minor = o->how.rdev_minor;
	if (o->how.how == FS_CREATE_EXCLUSIVE)
		i->verifier = o->how.verifier;
	if (is_dir)
		i->parent = o->dir.ino;
	quota_inherit(i, dir);
	if (o->how.type == FS_REG && (s->mask & FS_SET_SIZE))
		i->size = s->size;
}

/* Blocks that its content has. */
static unsigned content_blocks(const struct create_op *o)
{
	return o->how.type == FS_DIR || (o->how.type == FS_LNK && strlen(o->how.target) > INODE_INLINE);
}

/* The name is there already: what that means. */
static int create_existing(struct txn *t, struct create_op *o, struct volume *vol, struct dir_found *f)
{
	struct inode *i;
	int err;

	if (o->how.how == FS_CREATE_GUARDED)
		return -EEXIST;
	err = inode_get(t, vol, f->ino, f->generation, &i);
	if (err)
		return err == -ESTALE ? -EDAMAGED : err;
	if (o->how.how == FS_CREATE_EXCLUSIVE && (i->type != FS_REG || i->verifier != o->how.verifier))
		return -EEXIST;
	if (i->type != FS_REG)
		return i->type == FS_DIR ? -EISDIR : -EEXIST;
	o->existed = true;
	attr_fill(&o->attr, vol, f->ino, i);
	return DONE;
}

static int create_content(struct txn *t, struct create_op *o, struct volume *vol, uint64_t ino,
			  struct inode *i)
{
	if (o->how.type == FS_LNK)
		return symlink_write(t, i, o->how.target);
	if (o->how.type == FS_DIR) {
		struct inode fresh = { .type = FS_DIR };
		struct dir d = dir_of(t, vol, t->apply ? i : &fresh, ino);

		return dir_init(&d);
	}
	return 0;
}

int do_create(struct txn *t, void *arg)
{
	struct create_op *o = arg;
	struct volume *vol;
	struct inode *dir, *i;
	struct ino_cursor c;
	struct dir_found f;
	struct dir d;
	char buf[17];
	uint64_t ino, dir_mapped;
	int err = dir_own(t, o->dir, &o->req->cred, &vol, &dir);

	/* Who may not write may open what exists, if he may search. */
	if (err && (err != -EACCES || !may(&o->req->cred, dir, MAY_EXEC)))
		return err;
	if (!t->apply) {
		wcc_pre(&o->wcc, vol, o->dir.ino, dir);
		d = dir_of(t, vol, dir, o->dir.ino);
		if (!o->unnamed) {
			int found = dir_lookup(&d, o->name, &f);

			if (found != -ENOENT)
				return found ? found : create_existing(t, o, vol, &f);
		}
		if (err)
			return err;
		if (o->how.type == FS_DIR && dir->nlink >= FS_LINK_MAX)
			return -EMLINK;
		record_create(t, o);
	}
	ino_cursor_init(&c, vol);
	err = ino_take(t, vol, &c, &ino, &i);
	if (err)
		return err;
	if (t->apply)
		init_inode(t, o, i, dir);
	err = create_content(t, o, vol, ino, i);
	if (err)
		return err;
	if (o->unnamed)
		orphan_name(buf, ino, &o->name);
	/* Owning the new inode may have moved the directory's block: find it again. */
	err = inode_own(t, vol, o->dir.ino, 0, &dir);
	if (err)
		return err;
	d = dir_of(t, vol, dir, o->dir.ino);
	dir_mapped = dir->mapped;
	err = dir_insert(&d, o->name, ino, t->apply ? i->generation : 0, o->how.type);
	if (!err && !t->apply)
		err = quota_check(t, vol, dir, d.fresh + content_blocks(o));
	if (!err)
		err = quota_account(t, vol, dir, dir->mapped - dir_mapped + (t->apply ? i->mapped : 0), 1);
	if (err || !t->apply)
		return err;
	if (o->how.type == FS_DIR)
		dir->nlink++;
	touch_data(t, dir, o->now);
	attr_fill(&o->attr, vol, ino, i);
	wcc_post(&o->wcc, vol, o->dir.ino, dir);
	record_create(t, o);
	return 0;
}

int create_check(const struct fs_req *req, const struct fs_create *how)
{
	const struct fs_cred *c = &req->cred;
	const struct fs_setattr *s = &how->set;
	bool super = c->admin || !c->uid;

	if (how->type < FS_REG || how->type > FS_FIFO)
		return -EINVAL;
	if (how->type == FS_LNK && (!how->target || !how->target[0]))
		return -EINVAL;
	if (how->type == FS_LNK && strlen(how->target) > FS_SYMLINK_MAX)
		return -ENAMETOOLONG;
	if (how->type != FS_REG && how->how != FS_CREATE_GUARDED)
		return -EINVAL;
	if ((how->type == FS_BLK || how->type == FS_CHR) && !super)
		return -EPERM;
	if ((s->mask & FS_SET_UID) && !super && s->uid != c->uid)
		return -EPERM;
	if ((s->mask & FS_SET_GID) && !super && !in_group(c, s->gid))
		return -EPERM;
	if ((s->mask & FS_SET_SIZE) && s->size > FS_MAX_SIZE)
		return -EFBIG;
	return 0;
}

int fs_create(struct fs_req *req, struct fs_id dir, struct fs_name name, const struct fs_create *how,
	      struct fs_attr *ret_attr, struct fs_wcc *ret_dir_wcc)
{
	struct create_op o = { .req = req, .dir = dir, .name = name, .how = *how, .now = fs_now(),
			       .uid = req->cred.uid, .gid = req->cred.gid };
	int err = name_check(name);

	if (!how->verifier)		/* 0 stands for files that were not made exclusively */
		o.how.verifier = ZERO_VERIFIER;

	if (!err && (is_dot(name) || is_dotdot(name)))
		err = -EEXIST;
	if (!err && is_snapshot_dir(name))
		err = how->how == FS_CREATE_UNCHECKED ? -EISDIR : -EEXIST;
	if (!err)
		err = create_check(req, how);
	if (!err)
		err = fs_run(req, space_for(req->fs, dir), true, true, do_create, &o);
	if (err == DONE)
		err = 0;
	if (!err && o.existed && how->how == FS_CREATE_UNCHECKED && (how->set.mask & FS_SET_SIZE)) {
		struct fs_setattr s = { .mask = FS_SET_SIZE, .size = how->set.size };
		struct fs_wcc w = { 0 };

		err = fs_setattr(req, o.attr.id, &s, &w);
		if (!err && w.post_valid)
			o.attr = w.post;
	}
	if (!err && ret_attr)
		*ret_attr = o.attr;
	if (ret_dir_wcc)
		*ret_dir_wcc = o.wcc;
	return err;
}

int child_check(struct fs_id dir, const struct dir_found *f)
{
	return f->ino < INO_FIRST || f->ino == dir.ino ? -EDAMAGED : 0;
}

/* ---- removing -------------------------------------------------------------------------------- */

int unlink_inode(struct txn *t, struct fs *fs, struct volume *vol, uint64_t ino, uint64_t now,
		 bool *keep)
{
	struct inode *i;
	int err = inode_own(t, vol, ino, 0, &i);
	bool last = !err && (i->type == FS_DIR || i->nlink <= 1);

	if (err)
		return err;
	if (!t->apply && !t->replay)
		*keep = last && i->type != FS_DIR && is_held(fs, id_of(vol, ino, i));
	if (!last) {
		if (t->apply) {
			i->nlink--;
			touch_meta(t, i, now);
		}
		return 0;
	}
	return *keep ? join_orphans(t, fs, vol, ino, now) : inode_release(t, vol, ino, i);
}

static int remove_allowed(const struct remove_op *o, const struct inode *dir, const struct inode *i)
{
	if (sticky_forbids(&o->req->cred, dir, i))
		return -EACCES;
	if (o->want_dir && i->type != FS_DIR)
		return -ENOTDIR;
	if (!o->want_dir && i->type == FS_DIR)
		return -EISDIR;
	return i->type == FS_DIR && i->entries ? -ENOTEMPTY : 0;
}

int do_remove(struct txn *t, void *arg)
{
	struct remove_op *o = arg;
	struct volume *vol;
	struct inode *dir, *i;
	struct dir_found f;
	struct dir d;
	uint64_t dir_mapped;
	int err = dir_own(t, o->dir, &o->req->cred, &vol, &dir);

	if (err)
		return err;
	if (!t->apply)
		wcc_pre(&o->wcc, vol, o->dir.ino, dir);
	d = dir_of(t, vol, dir, o->dir.ino);
	err = dir_lookup(&d, o->name, &f);
	if (!err)
		err = child_check(o->dir, &f);
	if (!err && o->only.ino && (f.ino != o->only.ino || f.generation != o->only.generation))
		return -ESTALE;
	if (!err)
		err = inode_own(t, vol, f.ino, f.generation, &i);
	if (err)
		return err == -ESTALE ? -EDAMAGED : err;
	if (!t->apply) {
		err = remove_allowed(o, dir, i);
		if (!err)
			err = guard_ask(t, o->req, id_of(vol, f.ino, i), FS_USE_CHANGE);
		if (err)
			return err;
		record_remove(t, o);
	}
	err = unlink_inode(t, o->req->fs, vol, f.ino, o->now, &o->keep);
	if (!err)
		err = inode_own(t, vol, o->dir.ino, 0, &dir);
	if (err)
		return err;
	d.inode = dir;
	dir_mapped = dir->mapped;
	err = dir_remove(&d, o->name);
	if (!err)
		err = quota_account(t, vol, dir, dir->mapped - dir_mapped, 0);
	if (err || !t->apply)
		return err;
	if (o->want_dir)
		dir->nlink--;
	touch_data(t, dir, o->now);
	wcc_post(&o->wcc, vol, o->dir.ino, dir);
	record_remove(t, o);
	return 0;
}

static int remove_name(struct fs_req *req, struct fs_id dir, struct fs_name name, struct fs_id only,
		       bool want_dir, struct fs_wcc *ret_dir_wcc)
{
	struct remove_op o = { .req = req, .dir = dir, .name = name, .only = only, .want_dir = want_dir,
			       .now = fs_now() };
	int err = name_check(name);

	if (!err && is_dot(name))
		err = -EINVAL;
	if (!err && is_dotdot(name))
		err = want_dir ? -ENOTEMPTY : -EISDIR;
	if (!err && is_snapshot_dir(name))
		err = -EACCES;
	if (!err)
		err = fs_run(req, SPACE_DELETE, true, true, do_remove, &o);
	if (ret_dir_wcc)
		*ret_dir_wcc = o.wcc;
	return err;
}

int fs_remove(struct fs_req *req, struct fs_id dir, struct fs_name name, struct fs_wcc *ret_dir_wcc)
{
	return remove_name(req, dir, name, (struct fs_id){ 0 }, false, ret_dir_wcc);
}

int fs_remove_only(struct fs_req *req, struct fs_id dir, struct fs_name name, struct fs_id only)
{
	return remove_name(req, dir, name, only, false, NULL);
}

int fs_rmdir(struct fs_req *req, struct fs_id dir, struct fs_name name, struct fs_wcc *ret_dir_wcc)
{
	return remove_name(req, dir, name, (struct fs_id){ 0 }, true, ret_dir_wcc);
}

/* ---- linking --------------------------------------------------------------------------------- */

/* What is in the way of the new name.  *RET_GOES: in a load pass, blocks that go with it. */
static int replace_old(struct txn *t, struct link_op *o, struct volume *vol, struct inode *dir,
		       struct dir_found *old, uint64_t *ret_goes)
{
	uint64_t blocks;
	bool last;
	struct inode *i;
	int err = inode_own(t, vol, old->ino, old->generation, &i);

	if (err)
		return err == -ESTALE ? -EDAMAGED : err;
	if (!t->apply && (!o->replace || i->type != FS_REG))
		return -EEXIST;
	if (!t->apply && sticky_forbids(&o->req->cred, dir, i))
		return -EACCES;
	err = guard_ask(t, o->req, id_of(vol, old->ino, i), FS_USE_CHANGE);
	if (err)
		return err;
	blocks = i->mapped + i->xattr_blocks;
	last = i->nlink <= 1;
	err = unlink_inode(t, o->req->fs, vol, old->ino, o->now, &o->keep);
	*ret_goes = last && !o->keep ? blocks : 0;
	return err;
}

static int link_check(struct txn *t, struct link_op *o, struct volume *vol, const struct inode *dir,
		      const struct inode *i)
{
	wcc_pre(&o->wcc, vol, o->dir.ino, dir);
	attr_fill(&o->attr, vol, o->file.ino, i);
	if (dir->type != FS_DIR)
		return -ENOTDIR;
	if (!may(&o->req->cred, dir, MAY_WRITE | MAY_EXEC))
		return -EACCES;
	if (i->type == FS_DIR)
		return -EISDIR;
	if (!i->nlink && !o->req->cred.admin)
		return -ENOENT;		/* as linkat() of what was removed */
	if (i->nlink >= FS_LINK_MAX)
		return -EMLINK;
	return i->nlink ? quota_same(t, vol, i, dir) : 0;
}

int do_link(struct txn *t, void *arg)
{
	struct link_op *o = arg;
	struct volume *vol;
	struct inode *dir, *i;
	struct dir_found old;
	struct dir d;
	uint64_t dir_mapped, goes = 0;
	int err, found;

	if (o->file.volume != o->dir.volume)
		return -EXDEV;
	if (o->dir.snapshot)
		return -EROFS;
	err = object_own(t, o->file, &vol, &i);
	if (!err)
		err = inode_own(t, vol, o->dir.ino, o->dir.generation, &dir);
	if (!err && !t->apply)
		err = link_check(t, o, vol, dir, i);
	if (err)
		return err;
	d = dir_of(t, vol, dir, o->dir.ino);
	found = dir_lookup(&d, o->name, &old);
	o->keep &= t->apply || t->replay;
	if (found && found != -ENOENT)
		return found;
	if (!found && old.ino == o->file.ino)
		return o->replace ? DONE : -EEXIST;
	err = found ? guard_ask(t, o->req, o->file, FS_USE_CHANGE) : 0;
	if (err)
		return err;
	if (!t->apply)
		record_link(t, o, false);
	/* The orphan directory too wants insertions before removals (dir.h). */
	if (!found)
		err = replace_old(t, o, vol, dir, &old, &goes);
	if (!err && !i->nlink)
		err = leave_orphans(t, vol, o->file.ino);
	if (!err && !i->nlink)
		err = quota_move(t, vol, i, dir, found ? dir->dir_levels + 1 : -(int64_t)goes);
	if (!err)
		err = inode_own(t, vol, o->dir.ino, 0, &dir);
	if (err)
		return err;
	d.inode = dir;
	dir_mapped = dir->mapped;
	if (!found)
		err = dir_replace(&d, o->name, o->file.ino, i->generation, i->type);
	else
		err = dir_insert(&d, o->name, o->file.ino, i->generation, i->type);
	if (!err && !t->apply)
		err = quota_check(t, vol, dir, d.fresh);
	if (!err)
		err = quota_account(t, vol, dir, dir->mapped - dir_mapped, 0);
	if (err || !t->apply)
		return err;
	i->nlink++;
	touch_meta(t, i, o->now);
	touch_data(t, dir, o->now);
	attr_fill(&o->attr, vol, o->file.ino, i);
	wcc_post(&o->wcc, vol, o->dir.ino, dir);
	record_link(t, o, false);
	return 0;
}

int fs_link(struct fs_req *req, struct fs_id file, struct fs_id dir, struct fs_name name, bool replace,
	    struct fs_attr *ret_attr, struct fs_wcc *ret_dir_wcc)
{
	struct link_op o = { .req = req, .file = file, .dir = dir, .name = name, .replace = replace,
			     .now = fs_now() };
	int err = name_check(name);

	if (!err && (is_dot(name) || is_dotdot(name) || is_snapshot_dir(name)))
		err = -EEXIST;
	if (!err)
		err = fs_run(req, SPACE_ORDINARY, true, true, do_link, &o);
	if (ret_attr)
		*ret_attr = o.attr;
	if (ret_dir_wcc)
		*ret_dir_wcc = o.wcc;
	return err == DONE ? 0 : err;
}
