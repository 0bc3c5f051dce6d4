/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on an inode's attributes. */
#include "fs/fs_int.h"

struct getattr_op { struct fs_req *req; struct fs_id id; struct fs_attr *attr; };

static int do_getattr(struct txn *t, void *arg)
{
	struct getattr_op *o = arg;
	struct volume *vol;
	struct inode *i;
	int err = object_get(t, o->id, &vol, &i);

	if (!err)
		attr_fill(o->attr, vol, o->id.ino, i);
	return err;
}

int fs_getattr(struct fs_req *req, struct fs_id id, struct fs_attr *ret_attr)
{
	struct getattr_op o = { req, id, ret_attr };

	return fs_run(req, SPACE_ORDINARY, false, false, do_getattr, &o);
}

static int64_t ns_of(struct fs_time t)
{
	if (t.sec > INT64_MAX / 1000000000 - 1)
		return INT64_MAX;
	if (t.sec < INT64_MIN / 1000000000 + 1)
		return INT64_MIN;
	return t.sec * 1000000000 + t.nsec;
}

/* Who may set what: POSIX, and RFC 1813 section 3.3.2. */
static int setattr_allowed(const struct setattr_op *o, const struct inode *i)
{
	const struct fs_cred *c = &o->req->cred;
	const struct fs_setattr *s = &o->set;
	bool owner = is_owner(c, i), super = c->admin || !c->uid;

	if ((s->mask & FS_SET_UID) && s->uid != i->uid && !super)
		return -EPERM;
	if ((s->mask & FS_SET_GID) && s->gid != i->gid && !super && (!owner || !in_group(c, s->gid)))
		return -EPERM;
	if ((s->mask & (FS_SET_MODE | FS_SET_UID | FS_SET_GID | FS_SET_ATIME | FS_SET_MTIME)) && !owner)
		return -EPERM;
	if ((s->mask & (FS_SET_ATIME_NOW | FS_SET_MTIME_NOW)) && !owner && !may(c, i, MAY_WRITE))
		return -EACCES;
	if ((s->mask & FS_SET_SIZE) && !owner && !may(c, i, MAY_WRITE))
		return -EACCES;
	return 0;
}

static int setattr_valid(const struct setattr_op *o, const struct inode *i)
{
	const struct fs_setattr *s = &o->set;

	if (s->mask & FS_SET_SIZE) {
		if (i->type != FS_REG)
			return i->type == FS_DIR ? -EISDIR : -EINVAL;
		if (s->size > FS_MAX_SIZE)
			return -EFBIG;
	}
	if (((s->mask & FS_SET_ATIME) && s->atime.nsec > 999999999) ||
	    ((s->mask & FS_SET_MTIME) && s->mtime.nsec > 999999999))
		return -EINVAL;
	return 0;
}

/* Before it is logged: who is not of the file's group cannot make it setgid, and what changes
 * hands, or is truncated by others than root, is no longer setuid. */
static void setattr_safe_mode(struct setattr_op *o, const struct inode *i)
{
	const struct fs_cred *c = &o->req->cred;
	struct fs_setattr *s = &o->set;

	if (c->admin)			/* in replay, too: all was decided before */
		return;
	if ((s->mask & FS_SET_MODE) && c->uid &&
	    !in_group(c, s->mask & FS_SET_GID ? s->gid : i->gid))
		s->mode &= ~02000;
	o->drop_suid = i->type != FS_DIR && !(s->mask & FS_SET_MODE) &&
		       ((s->mask & (FS_SET_UID | FS_SET_GID)) || (s->mask & FS_SET_SIZE && c->uid));
}

static void setattr_apply(struct setattr_op *o, struct inode *i)
{
	const struct fs_setattr *s = &o->set;

	if (s->mask & FS_SET_MODE)
		i->mode = s->mode & 07777;
	if (o->drop_suid)
		i->mode &= 01777;
	if (s->mask & FS_SET_UID)
		i->uid = s->uid;
	if (s->mask & FS_SET_GID)
		i->gid = s->gid;
	if (s->mask & FS_SET_ATIME_NOW)
		i->atime = o->now;
	if (s->mask & FS_SET_ATIME)
		i->atime = ns_of(s->atime);
	if (s->mask & (FS_SET_MTIME_NOW | FS_SET_SIZE))
		i->mtime = o->now;
	if (s->mask & FS_SET_MTIME)
		i->mtime = ns_of(s->mtime);
}

int do_setattr(struct txn *t, void *arg)
{
	struct setattr_op *o = arg;
	struct volume *vol;
	struct inode *i;
	int err = object_own(t, o->id, &vol, &i);

	if (err)
		return err;
	setattr_safe_mode(o, i);
	if (!t->apply) {
		wcc_pre(&o->wcc, vol, o->id.ino, i);
		if (o->set.guard && (o->wcc.pre_ctime.sec != o->set.guard_ctime.sec ||
				     o->wcc.pre_ctime.nsec != o->set.guard_ctime.nsec))
			return -ENOTSYNC;
		err = setattr_allowed(o, i);
		if (!err)
			err = setattr_valid(o, i);
		if (err)
			return err;
		if (!o->set.mask || (o->grow_only && o->set.size <= i->size))
			return DONE;
		err = guard_ask(t, o->req, o->id, FS_USE_CHANGE);
		if (err)
			return err;
		record_setattr(t, o);
	}
	if (o->set.mask & FS_SET_SIZE) {
		err = file_resize(t, vol, o->id.ino, i, o->set.size);
		if (err)
			return err;
	}
	if (!t->apply)
		return 0;
	setattr_apply(o, i);
	touch_meta(t, i, o->now);
	wcc_post(&o->wcc, vol, o->id.ino, i);
	record_setattr(t, o);
	return 0;
}

int fs_setattr(struct fs_req *req, struct fs_id id, const struct fs_setattr *set,
	       struct fs_wcc *ret_wcc)
{
	struct setattr_op o = { .req = req, .id = id, .set = *set, .now = fs_now() };
	enum txn_space space = set->mask & FS_SET_SIZE ? SPACE_DELETE : space_for(req->fs, id);
	int err = fs_run(req, space, true, true, do_setattr, &o);

	if (ret_wcc)
		*ret_wcc = o.wcc;
	return err == DONE ? 0 : err;
}

int fs_access(struct fs_req *req, struct fs_id id, uint32_t want, uint32_t *ret_allowed,
	      struct fs_attr *ret_attr)
{
	struct fs_attr a;
	struct inode i = { 0 };
	uint32_t allowed = 0;
	int err = fs_getattr(req, id, &a);

	if (err)
		return err;
	i.type = a.type;
	i.mode = a.mode;
	i.uid = a.uid;
	i.gid = a.gid;
	if (may(&req->cred, &i, MAY_READ))
		allowed |= FS_ACCESS_READ;
	if (may(&req->cred, &i, MAY_WRITE))
		allowed |= FS_ACCESS_MODIFY | FS_ACCESS_EXTEND |
			   (a.type == FS_DIR ? FS_ACCESS_DELETE : 0);
	if (may(&req->cred, &i, MAY_EXEC))
		allowed |= a.type == FS_DIR ? FS_ACCESS_LOOKUP : FS_ACCESS_EXECUTE;
	*ret_allowed = allowed & want;
	if (ret_attr)
		*ret_attr = a;
	return 0;
}

int fs_commit(struct fs_req *req, struct fs_id id, struct fs_wcc *ret_wcc)
{
	struct fs_attr a;
	int err = fs_getattr(req, id, &a);

	if (err)
		return err;
	if (a.type != FS_REG)
		return a.type == FS_DIR ? -EISDIR : -EINVAL;
	if (pool_last_seq(req->fs->pool) > req->stable_seq)
		req->stable_seq = pool_last_seq(req->fs->pool);
	if (ret_wcc)
		*ret_wcc = (struct fs_wcc){ .post_valid = true, .post = a };
	return 0;
}

/* What a quota leaves of it.  In all there is what is used and what is free, though the quota allows more than the pool
 * has: clients show the difference as used. */
static void within(uint64_t quota, uint64_t used, uint64_t *total, uint64_t *avail, uint64_t *free)
{
	uint64_t left = quota > used ? quota - used : 0;

	if (!quota)
		return;
	*avail = left < *avail ? left : *avail;
	*free = left < *free ? left : *free;
	*total = used + *free;
}

int fs_fsstat(struct fs_req *req, struct fs_id id, struct fs_fsstat *ret_st, struct fs_attr *ret_attr)
{
	struct fs_volume_info v;
	struct pool_status p;
	struct fs_quota q;
	struct fs_attr a;
	uint64_t avail, total, files_left, others, soft, ignored = 0;
	int err = fs_getattr(req, id, &a);

	if (!err)
		err = volume_get_any(req->fs, id.volume, &v);
	if (err)
		return err;
	err = fs_quota_get(req, id, &q);
	if (err == -ENODATA)
		q = (struct fs_quota){ 0 };
	else if (err)
		return err;
	pool_status(req->fs->pool, &p);
	others = pool_held_from(req->fs->pool, id.volume);
	p.free_blocks = p.free_blocks > others ? p.free_blocks - others : 0;
	avail = p.free_blocks > p.reserved_blocks ? p.free_blocks - p.reserved_blocks : 0;
	total = p.nblocks - p.fixed_blocks;
	within(v.physical_blocks, v.held_blocks, &total, &avail, &p.free_blocks);
	within(v.quota_blocks, v.mapped_blocks, &total, &avail, &p.free_blocks);
	within(q.limit_blocks, q.used_blocks, &total, &avail, &p.free_blocks);
	soft = avail;
	within(v.soft_blocks, v.mapped_blocks, &ignored, &soft, &ignored);
	within(q.soft_blocks, q.used_blocks, &ignored, &soft, &ignored);
	files_left = avail * INODES_PER_BLOCK;
	*ret_st = (struct fs_fsstat){ .total_bytes = total * BLOCK_SIZE,
		.free_bytes = p.free_blocks * BLOCK_SIZE, .avail_bytes = avail * BLOCK_SIZE,
		.soft_avail_bytes = soft * BLOCK_SIZE,
		.used_bytes = (q.dir.ino ? q.used_blocks : v.mapped_blocks) * BLOCK_SIZE,
		.total_files = v.files + files_left, .free_files = files_left };
	if (ret_attr)
		*ret_attr = a;
	return 0;
}
