/* SPDX-License-Identifier: Apache-2.0 */
/* What each operation may answer, and what it does to the model.  See model.h. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "model_int.h"

/* ---- what applies ---------------------------------------------------------------------- */

struct run {
	struct model *m;
	const struct op *op;
	struct expect *ex;
	bool apply;
};

static void must(struct run *r, int e)
{
	assert(r->ex->nmust < 16);
	r->ex->must[r->ex->nmust++] = -e;
}

static void may(struct run *r, int e)
{
	assert(r->ex->nmay < 8);
	r->ex->may[r->ex->nmay++] = -e;
}

static void denied(struct run *r)
{
	must(r, EACCES);
	must(r, EPERM);
}

bool expect_allows(const struct expect *e, int rc)
{
	if (!rc)
		return !e->nmust;
	for (int i = 0; i < e->nmust; i++)
		if (e->must[i] == rc)
			return true;
	for (int i = 0; i < e->nmay; i++)
		if (e->may[i] == rc)
			return true;
	return false;
}

static bool go(const struct run *r)
{
	return r->apply && !r->ex->nmust;
}

/* To be read: it may be in a snapshot. */
static struct mnode *need_any(struct run *r, struct fs_id id)
{
	struct mnode *n = model_find_any(r->m, id);

	if (!n)
		must(r, ESTALE);
	return n;
}

static struct mnode *need(struct run *r, struct fs_id id)
{
	if (id.snapshot) {
		must(r, EROFS);
		return NULL;
	}
	return need_any(r, id);
}

static struct mnode *need_dir(struct run *r, struct fs_id id, bool write)
{
	struct mnode *n = need(r, id);

	if (n && n->type != FS_DIR) {
		must(r, ENOTDIR);
		return NULL;
	}
	if (n && !model_may(n, r->op->user, write ? 3 : 1))
		denied(r);
	return n;
}

static struct mnode *need_reg_of(struct run *r, struct mnode *n)
{
	if (!n || n->type == FS_REG)
		return n;
	must(r, n->type == FS_DIR ? EISDIR : EINVAL);
	must(r, EINVAL);
	return NULL;
}

static struct mnode *need_reg(struct run *r, struct fs_id id)
{
	return need_reg_of(r, need(r, id));
}

static void check_name(struct run *r, const char *name, uint32_t len)
{
	if (!len) {
		must(r, EINVAL);
		must(r, ENOENT);
	}
	if (len > FS_NAME_MAX)
		must(r, ENAMETOOLONG);
	if (memchr(name, '/', len) || memchr(name, 0, len))
		must(r, EINVAL);
	if ((len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.')) {
		must(r, EINVAL);
		must(r, EEXIST);
		must(r, ENOTEMPTY);
		must(r, EISDIR);
	}
}

static void check_sticky(struct run *r, const struct mnode *dir, const struct mnode *n)
{
	if (n && dir->mode & 01000 && !model_is_owner(dir, r->op->user) && !model_is_owner(n, r->op->user))
		denied(r);
}

/* ---- changes --------------------------------------------------------------------------- */

static void touch(struct run *r, struct mnode *n, bool mtime)
{
	n->ctime = r->op->time;
	n->change = r->op->seq;
	if (mtime)
		n->mtime = r->op->time;
}

static struct mnode *made(struct run *r, struct mnode *dir, struct fs_id id, enum fs_type type)
{
	const struct op *op = r->op;
	struct mnode *n = model_node_new(r->m, id, type);
	struct fs_cred c;

	model_cred(op->user, &c);
	n->uid = op->set.mask & FS_SET_UID ? op->set.uid : c.uid;
	n->gid = op->set.mask & FS_SET_GID ? op->set.gid : c.gid;
	n->mode = op->set.mask & FS_SET_MODE ? op->set.mode : type == FS_DIR ? 0755 : 0644;
	n->nlink = type == FS_DIR ? 2 : 1;
	touch(r, n, true);
	if (op->set.mask & FS_SET_MTIME)
		n->mtime = op->set.mtime;
	model_quota_like(n, dir);
	if (type == FS_DIR) {
		n->parent = dir;
		dir->nlink++;
	}
	return n;
}

static void unlink_node(struct run *r, struct mnode *n)
{
	model_quota_end(r->m, n);
	if (n->type == FS_DIR || !--n->nlink) {
		if (n->type == FS_DIR || !model_held(r->m, n->id)) {
			model_node_free(r->m, n);
			return;
		}
		n->unnamed = n->orphan = true;
	}
	touch(r, n, false);
}

static void existing_create(struct run *r, struct mnode *n)
{
	const struct op *op = r->op;
	bool resize = op->set.mask & FS_SET_SIZE;

	if (op->how == FS_CREATE_EXCLUSIVE && n->type == FS_REG && n->verifier &&
	    n->verifier == op->verifier) {
		r->ex->noop = true;
		return;
	}
	if (op->how != FS_CREATE_UNCHECKED || op->kind != OP_CREATE || n->type != FS_REG) {
		must(r, EEXIST);
		if (op->how == FS_CREATE_UNCHECKED && n->type == FS_DIR)
			must(r, EISDIR);
		return;
	}
	if (resize && !model_may(n, op->user, 2) && !model_is_owner(n, op->user))
		denied(r);
	if (!resize || op->seq == n->change) {
		r->ex->noop = true;
		return;
	}
	if (!go(r))
		return;
	content_truncate(&n->content, op->set.size);
	n->size = op->set.size;
	touch(r, n, true);
}

static void run_create(struct run *r)
{
	static const enum fs_type types[] = { [OP_CREATE] = FS_REG, [OP_MKDIR] = FS_DIR,
					      [OP_SYMLINK] = FS_LNK };
	const struct op *op = r->op;
	enum fs_type type = op->kind == OP_MKNOD ? op->type : types[op->kind];
	struct mnode *dir, *n;

	check_name(r, op->name, op->name_len);
	dir = need(r, op->dir);
	n = dir && dir->type == FS_DIR ? model_lookup(dir, op->name, op->name_len) : NULL;
	dir = need_dir(r, op->dir, !n);
	if (op->kind == OP_SYMLINK && strlen(op->target) > FS_SYMLINK_MAX)
		must(r, ENAMETOOLONG);
	if (op->kind == OP_SYMLINK && !*op->target)
		must(r, EINVAL);
	if (n) {
		if (!model_may(dir, op->user, 3))
			may(r, EACCES);
		existing_create(r, n);
		return;
	}
	if (!go(r))
		return;
	n = made(r, dir, op->new_ids[0], type);
	n->rdev_major = op->rdev_major;
	n->rdev_minor = op->rdev_minor;
	if (op->how == FS_CREATE_EXCLUSIVE)
		n->verifier = op->verifier;
	if (op->kind == OP_SYMLINK) {
		n->target = strdup(op->target);
		n->size = strlen(op->target);
	}
	model_dirent_add(r->m, dir, op->name, op->name_len, n);
	touch(r, dir, true);
}

static void run_unnamed(struct run *r)
{
	const struct op *op = r->op;
	struct mnode *n;

	if (op->kind == OP_FORGET) {
		n = need(r, op->id);
		if (n && !n->unnamed)
			must(r, EINVAL);
		if (n && model_held(r->m, n->id)) {
			r->ex->noop = true;	/* until nobody holds it */
			n->orphan |= go(r);
		} else if (n && go(r)) {
			model_node_free(r->m, n);
		}
		return;
	}
	if (!go(r))
		return;
	n = made(r, NULL, op->new_ids[0], FS_REG);
	n->unnamed = true;
	n->nlink = 0;
}

static void run_link(struct run *r)
{
	const struct op *op = r->op;
	struct mnode *n = need(r, op->id), *dir = need_dir(r, op->dir, true), *old = NULL;

	check_name(r, op->name, op->name_len);
	if (n && n->type == FS_DIR) {
		must(r, EISDIR);
		must(r, EPERM);
	}
	if (n && n->nlink >= FS_LINK_MAX)
		must(r, EMLINK);
	if (n && !n->nlink && op->user)
		must(r, ENOENT);
	if (op->id.volume != op->dir.volume || (n && dir && n->nlink && n->quota != dir->quota))
		must(r, EXDEV);
	if (dir)
		old = model_lookup(dir, op->name, op->name_len);
	if (old && (!op->replace || old->type != FS_REG)) {
		must(r, EEXIST);
		if (old->type == FS_DIR)
			must(r, EISDIR);
	}
	if (old)
		check_sticky(r, dir, old);
	if (old && old == n)
		r->ex->noop = true;
	if (!go(r) || r->ex->noop)
		return;
	if (old) {
		model_dirent_del(r->m, dir, op->name, op->name_len);
		unlink_node(r, old);
	}
	n->nlink++;
	model_quota_like(n, dir);
	n->unnamed = n->orphan = false;
	touch(r, n, false);
	model_dirent_add(r->m, dir, op->name, op->name_len, n);
	touch(r, dir, true);
}

/* What blocks of zeros take, or give back, is the store's to count. */
static void check_left(struct run *r, const struct mnode *n)
{
	const struct op *op = r->op;
	uint64_t end = op->offset + op->len, holes = 0, zeros = 0;
	static unsigned char buf[FS_IO_MAX];

	if (!op->left_known || op->left == UINT64_MAX)
		return;
	op_pattern(op->seed, op->offset, buf, op->len);
	for (uint64_t at = op->offset / MBLOCK * MBLOCK; at < end; at += MBLOCK) {
		uint64_t from = at < op->offset ? op->offset : at, to = at + MBLOCK < end ? at + MBLOCK : end;
		bool zero = true;

		for (uint64_t k = from; k < to; k++)
			zero &= !buf[k - op->offset];
		zeros += zero;
		holes += !content_has(n->content, at / MBLOCK);
	}
	if (holes > op->left + zeros)
		must(r, EDQUOT);
	else if (holes > op->left)
		may(r, EDQUOT);
}

static void run_write(struct run *r)
{
	static unsigned char buf[FS_IO_MAX];
	const struct op *op = r->op;
	struct mnode *n = need_reg(r, op->id);

	if (op->offset > FS_MAX_SIZE || op->len > FS_MAX_SIZE - op->offset)
		must(r, EFBIG);
	if (!n)
		return;
	if (!model_may(n, op->user, 2) && !model_is_owner(n, op->user))
		denied(r);
	check_left(r, n);
	r->ex->noop = !op->len;
	if (!go(r) || !op->len)
		return;
	op_pattern(op->seed, op->offset, buf, op->len);
	content_write(&n->content, op->offset, buf, op->len);
	if (n->size < op->offset + op->len)
		n->size = op->offset + op->len;
	touch(r, n, true);
}

static void check_setattr(struct run *r, struct mnode *n)
{
	const struct op *op = r->op;
	const struct fs_setattr *s = &op->set;
	bool owner = model_is_owner(n, op->user);
	struct fs_cred c;

	model_cred(op->user, &c);
	if (s->guard && (s->guard_ctime.sec != n->ctime.sec || s->guard_ctime.nsec != n->ctime.nsec))
		must(r, ENOTSYNC);
	if (s->mask & (FS_SET_MODE | FS_SET_ATIME | FS_SET_MTIME | FS_SET_UID | FS_SET_GID) && !owner)
		denied(r);
	if (op->user >= 2 && s->mask & FS_SET_UID && s->uid != n->uid)
		denied(r);
	if (op->user >= 2 && s->mask & FS_SET_GID && s->gid != n->gid && !model_in_group(&c, s->gid))
		denied(r);
	if (s->mask & (FS_SET_ATIME_NOW | FS_SET_MTIME_NOW | FS_SET_SIZE) && !owner &&
	    !model_may(n, op->user, 2))
		denied(r);
	if (s->mask & FS_SET_SIZE && n->type != FS_REG) {
		must(r, EINVAL);
		must(r, EISDIR);
	}
	if (s->mask & FS_SET_SIZE && s->size > FS_MAX_SIZE)
		must(r, EFBIG);
}

static void run_setattr(struct run *r)
{
	const struct fs_setattr *s = &r->op->set;
	struct mnode *n = need(r, r->op->id);

	if (n)
		check_setattr(r, n);
	if (!n || !go(r))
		return;
	if (s->mask & FS_SET_MODE)
		n->mode = s->mode;
	if (s->mask & FS_SET_UID)
		n->uid = s->uid;
	if (s->mask & FS_SET_GID)
		n->gid = s->gid;
	touch(r, n, s->mask & (FS_SET_SIZE | FS_SET_MTIME_NOW));
	if (s->mask & FS_SET_MTIME)
		n->mtime = s->mtime;
	if (s->mask & FS_SET_SIZE) {
		content_truncate(&n->content, s->size);
		n->size = s->size;
	}
}

static void clone_one(struct run *r, struct mnode *src, struct mnode *dir, uint32_t i)
{
	char name[OP_NAME_BUF];
	struct mnode *n = made(r, dir, r->op->new_ids[i], FS_REG);

	op_clone_name(r->op, i, name);
	content_put(n->content);
	n->content = src->content;
	n->content->refs++;
	n->xattrs = src->xattrs;
	if (n->xattrs)
		n->xattrs->refs++;
	n->size = src->size;
	n->mode = src->mode;
	n->origin = src->id;
	if (!r->op->user) {
		n->uid = src->uid;
		n->gid = src->gid;
	}
	model_dirent_add(r->m, dir, name, strlen(name), n);
}

static void run_clone(struct run *r)
{
	const struct op *op = r->op;
	struct mnode *src = need_reg_of(r, need_any(r, op->id)), *dir = need_dir(r, op->dir, true);
	char name[OP_NAME_BUF];
	bool exists = false;

	if (op->id.volume != op->dir.volume)
		must(r, EXDEV);
	if (!op->count)
		must(r, EINVAL);
	if (src && !model_may(src, op->user, 4)) {
		if (model_is_owner(src, op->user)) {
			may(r, EACCES);
		} else if (model_may(src, op->user, 1)) {
			may(r, EACCES);
		} else {
			denied(r);
		}
	}
	for (uint32_t i = 0; i < op->count; i++) {
		op_clone_name(op, i, name);
		if (!i || strlen(name) > FS_NAME_MAX)
			check_name(r, name, i ? strlen(name) : op->name_len);
		if (dir && model_lookup(dir, name, strlen(name)) && !exists) {
			exists = true;
			must(r, EEXIST);
		}
	}
	if (!go(r))
		return;
	for (uint32_t i = 0; i < op->count; i++)
		clone_one(r, src, dir, i);
	touch(r, dir, true);
}

static void run_remove(struct run *r)
{
	const struct op *op = r->op;
	struct mnode *dir = need_dir(r, op->dir, true), *n = NULL;
	bool want_dir = op->kind == OP_RMDIR;

	check_name(r, op->name, op->name_len);
	if (dir)
		n = model_lookup(dir, op->name, op->name_len);
	if (!n) {
		must(r, ENOENT);
		return;
	}
	check_sticky(r, dir, n);
	if (want_dir && n->type != FS_DIR)
		must(r, ENOTDIR);
	if (!want_dir && n->type == FS_DIR) {
		must(r, EISDIR);
		must(r, EPERM);
	}
	if (want_dir && n->nents) {
		must(r, ENOTEMPTY);
		must(r, EEXIST);
	}
	if (!go(r))
		return;
	model_dirent_del(r->m, dir, op->name, op->name_len);
	if (want_dir)
		dir->nlink--;
	unlink_node(r, n);
	touch(r, dir, true);
}

static void check_rename(struct run *r, struct mnode *to_dir, struct mnode *n, struct mnode *old)
{
	if (n->type == FS_DIR && model_below(to_dir, n))
		must(r, EINVAL);
	if (n->type == FS_DIR && n->parent != to_dir && !model_may(n, r->op->user, 2))
		may(r, EACCES);
	if (!old)
		return;
	if (old->type == FS_DIR && old->nents) {
		must(r, ENOTEMPTY);
		must(r, EEXIST);
	}
	if (n->type == FS_DIR && old->type != FS_DIR) {
		must(r, ENOTDIR);
		must(r, EEXIST);
	}
	if (n->type != FS_DIR && old->type == FS_DIR) {
		must(r, EISDIR);
		must(r, EEXIST);
	}
}

static void do_rename(struct run *r, struct mnode *dir, struct mnode *to_dir, struct mnode *n,
		      struct mnode *old)
{
	const struct op *op = r->op;

	model_dirent_del(r->m, dir, op->name, op->name_len);
	if (old) {
		model_dirent_del(r->m, to_dir, op->name2, op->name2_len);
		if (old->type == FS_DIR)
			to_dir->nlink--;
		unlink_node(r, old);
	}
	model_dirent_add(r->m, to_dir, op->name2, op->name2_len, n);
	if (n->type == FS_DIR) {
		dir->nlink--;
		to_dir->nlink++;
		n->parent = to_dir;
	}
	touch(r, n, false);
	touch(r, dir, true);
	touch(r, to_dir, true);
}

static void run_rename(struct run *r)
{
	const struct op *op = r->op;
	struct mnode *dir = need_dir(r, op->dir, true), *to_dir = need_dir(r, op->dir2, true);
	struct mnode *n = NULL, *old = NULL;

	check_name(r, op->name, op->name_len);
	check_name(r, op->name2, op->name2_len);
	if (op->dir.volume != op->dir2.volume || (dir && to_dir && dir->quota != to_dir->quota))
		must(r, EXDEV);
	if (dir)
		n = model_lookup(dir, op->name, op->name_len);
	if (dir && !n)
		must(r, ENOENT);
	if (to_dir)
		old = model_lookup(to_dir, op->name2, op->name2_len);
	if (n && n == old && op->dir.volume == op->dir2.volume) {
		r->ex->noop = !r->ex->nmust;
		may(r, EPERM);		/* whether sticky bits are asked first is the store's */
		may(r, EACCES);
		return;
	}
	if (dir && n)
		check_sticky(r, dir, n);
	if (to_dir && old)
		check_sticky(r, to_dir, old);
	if (n && to_dir)
		check_rename(r, to_dir, n, old);
	if (go(r))
		do_rename(r, dir, to_dir, n, old);
}

static void run_volume(struct run *r)
{
	const struct op *op = r->op;
	struct mvolume *v = model_volume(r->m, op->name);

	if (op->kind == OP_VCREATE) {
		if (!op->name_len || memchr(op->name, '/', op->name_len))
			must(r, EINVAL);
		if (op->name_len > FS_VOLUME_NAME_MAX) {
			must(r, ENAMETOOLONG);
			must(r, EINVAL);
		}
		if (v)
			must(r, EEXIST);
		return;		/* who ran it calls model_add_volume() */
	}
	if (!v)
		must(r, ENOENT);
	for (uint32_t i = 0; v && i < r->m->nsnaps; i++)
		if (r->m->snaps[i]->volume == v->id && !r->ex->nmust)
			must(r, ENOTEMPTY);
	if (v && go(r))
		model_volume_del(r->m, op->name);
}

static void run_reserve(struct run *r)
{
	struct mvolume *v = model_volume(r->m, r->op->name);

	if (!v)
		must(r, ENOENT);
	else if (go(r))
		v->reserve = r->op->length;
}

static void check_range(struct run *r, const struct mnode *src, const struct mnode *dst, uint64_t len)
{
	const struct op *op = r->op;
	uint64_t from = op->src_offset, to = op->offset;

	if (from % MBLOCK || to % MBLOCK || from > src->size || len > src->size - from)
		must(r, EINVAL);
	if (to > FS_MAX_SIZE || len > FS_MAX_SIZE - to) {
		must(r, EFBIG);
		return;
	}
	if (len % MBLOCK && (from + len != src->size || to + len < dst->size))
		must(r, EINVAL);
	if (src == dst && from < to + len && to < from + len)
		must(r, EINVAL);
}

static void run_range(struct run *r)
{
	const struct op *op = r->op;
	struct mnode *src = need_reg_of(r, need_any(r, op->src)), *dst = need_reg(r, op->id);
	uint64_t len = op->length;

	if (op->src.volume != op->id.volume)
		must(r, EXDEV);
	if (src && !len)
		len = src->size < op->src_offset ? 0 : src->size - op->src_offset;
	if (!src || !dst)
		return;
	if ((!model_may(src, op->user, 4) && !model_is_owner(src, op->user)) ||
	    (!model_may(dst, op->user, 2) && !model_is_owner(dst, op->user)))
		denied(r);
	check_range(r, src, dst, len);
	r->ex->noop = !len && !r->ex->nmust;
	if (!go(r) || !len)
		return;
	content_copy(&dst->content, src->content, op->src_offset / MBLOCK, op->offset / MBLOCK,
		     (len + MBLOCK - 1) / MBLOCK);
	if (dst->size < op->offset + len)
		dst->size = op->offset + len;
	touch(r, dst, true);
}

static void run_punch(struct run *r)
{
	const struct op *op = r->op;
	struct mnode *n = need_reg(r, op->id);

	if (!n)
		return;
	if (!model_may(n, op->user, 2) && !model_is_owner(n, op->user))
		denied(r);
	r->ex->noop = op->offset >= n->size || !op->length;
	if (!go(r) || r->ex->noop)
		return;
	/* The last block goes as a whole: nothing in it lies behind the end. */
	content_punch(&n->content, op->offset, op->length < n->size - op->offset ?
		      op->offset + op->length : (n->size + MBLOCK - 1) / MBLOCK * MBLOCK);
	touch(r, n, true);
}

static void run_allocate(struct run *r)
{
	const struct op *op = r->op;
	struct mnode *n = need_reg(r, op->id);

	if (!op->length)
		must(r, EINVAL);
	if (op->offset > FS_MAX_SIZE || op->length > FS_MAX_SIZE - op->offset)
		must(r, EFBIG);
	if (!n || r->ex->nmust)
		return;
	if (!model_may(n, op->user, 2) && !model_is_owner(n, op->user))
		denied(r);
	r->ex->noop = op->offset + op->length <= n->size && !r->ex->nmust;
	if (!go(r) || r->ex->noop)
		return;
	n->size = op->offset + op->length;
	touch(r, n, true);
}

static void check_xattr(struct run *r, const struct mnode *n)
{
	const struct op *op = r->op;
	const struct mxattr *x = xattrs_find(n->xattrs, op->name, op->name_len);
	uint32_t bytes = xattrs_bytes(n->xattrs);

	if (n->type != FS_REG && n->type != FS_DIR)
		must(r, EPERM);
	if (!model_may(n, op->user, 2))
		denied(r);
	if (!x && (op->kind == OP_XREMOVE || op->xattr_how == FS_XATTR_REPLACE))
		must(r, ENODATA);
	if (op->kind == OP_XREMOVE)
		return;
	if (x && op->xattr_how == FS_XATTR_CREATE)
		must(r, EEXIST);
	bytes -= x ? (16 + x->name_len + x->len + 7) & ~7u : 0;
	if (bytes + ((16 + op->name_len + op->len + 7) & ~7u) > 17 * MBLOCK)
		must(r, ENOSPC);
}

static void run_xattr(struct run *r)
{
	const struct op *op = r->op;
	struct mnode *n = need(r, op->id);
	unsigned char *value;

	if (!op->name_len)
		must(r, EINVAL);
	if (op->name_len > FS_NAME_MAX)
		must(r, ENAMETOOLONG);
	if (op->len > FS_XATTR_VALUE_MAX)
		must(r, E2BIG);
	if (n)
		check_xattr(r, n);
	if (!n || !go(r))
		return;
	if (op->kind == OP_XREMOVE) {
		n->xattrs = xattrs_remove(n->xattrs, op->name, op->name_len);
	} else {
		value = malloc(op->len + 1);
		op_pattern(op->seed, 0, value, op->len);
		n->xattrs = xattrs_set(n->xattrs, op->name, op->name_len, op->len,
				       text_hash((char *)value, op->len));
		free(value);
	}
	touch(r, n, false);
}

static void run_hold(struct run *r)
{
	r->ex->noop = true;
	if (go(r))
		r->m->held[r->m->nheld++] = r->op->id;
}

/* ---- volumes and snapshots --------------------------------------------------------------- */

static bool any_held(const struct model *m, uint32_t volume)
{
	for (uint32_t k = 0; k < m->nheld; k++)
		if (m->held[k].volume == volume && !m->held[k].snapshot)
			return true;
	return false;
}

static void run_snapshot(struct run *r)
{
	const struct op *op = r->op;
	struct mvolume *v = model_volume(r->m, op->name);
	struct mfrozen *f = v ? model_snap(r->m, v->id, op->name2) : NULL;

	if (!v) {
		must(r, ENOENT);
		return;
	}
	if (op->kind == OP_SNAP && f)
		must(r, EEXIST);
	if (op->kind != OP_SNAP && !f && op->name2_len)
		must(r, ENOENT);
	if (op->kind == OP_VCLONE && model_volume(r->m, op->target))
		must(r, EEXIST);
	if (op->kind == OP_RESTORE && !op->force && any_held(r->m, v->id))
		must(r, EBUSY);
	if (!go(r))
		return;
	if (op->kind == OP_UNSNAP)
		model_snap_del(r->m, f);
	else if (op->kind == OP_RESTORE)
		model_restore(r->m, v, f, op->seq);
}

/* Who ran it calls sim_learn(): it makes the nodes. */
static void run_tree(struct run *r)
{
	const struct op *op = r->op;
	struct mnode *src = need_any(r, op->id), *dir = need(r, op->dir);

	check_name(r, op->name, op->name_len);
	if (op->user)
		must(r, EPERM);
	if (op->id.volume != op->dir.volume)
		must(r, EXDEV);
	if ((src && src->type != FS_DIR) || (dir && dir->type != FS_DIR))
		must(r, ENOTDIR);
	if (!src || !dir || src->type != FS_DIR || dir->type != FS_DIR)
		return;
	if (model_below(dir, src))
		must(r, EINVAL);
	if (model_lookup(dir, op->name, op->name_len))
		must(r, EEXIST);
	may(r, E2BIG);
}

/* DIR and all below it are seen, as often as they have names there. */
static void see_below(struct mnode *dir, bool *quotas)
{
	dir->seen = 1;
	*quotas |= dir->quota != 0;
	for (uint32_t i = 0; i < dir->nents; i++) {
		struct mnode *n = dir->ents[i].node;

		if (n->type == FS_DIR)
			see_below(n, quotas);
		else
			n->seen++;
		*quotas |= n->quota != 0;
	}
}

static void begin_quota(struct run *r, struct mnode *dir)
{
	bool quotas = false;

	for (uint32_t i = 0; i < r->m->nnodes; i++)
		r->m->nodes[i]->seen = 0;
	see_below(dir, &quotas);
	if (quotas)
		must(r, EBUSY);
	if (!dir->parent || dir->parent == dir)
		must(r, EINVAL);
	for (uint32_t i = 0; i < r->m->nnodes; i++)
		if (r->m->nodes[i]->type != FS_DIR && r->m->nodes[i]->seen &&
		    r->m->nodes[i]->nlink > r->m->nodes[i]->seen)
			must(r, EMLINK);
	if (!go(r))
		return;
	for (uint32_t i = 0; i < r->m->nnodes; i++)
		if (r->m->nodes[i]->seen) {
			r->m->nodes[i]->quota = r->op->seq;
			r->m->nodes[i]->quota_ino = dir->id.ino;
		}
	dir->has_quota = true;
	dir->limit = r->op->length;
}

static void run_quota(struct run *r)
{
	struct mnode *n = need(r, r->op->id);

	if (r->op->user)
		must(r, EPERM);
	if (n && n->type != FS_DIR)
		must(r, ENOTDIR);
	if (n && r->op->replace && !n->has_quota)
		must(r, ENODATA);
	if (n && n->type == FS_DIR && !r->op->replace && !n->has_quota)
		begin_quota(r, n);
	else if (n && r->op->replace && go(r))
		model_quota_end(r->m, n);
	else if (n && n->has_quota && go(r))
		n->limit = r->op->length;
}

/* What is too much for the quota that ID counts for, if that has a limit, is refused. */
static void check_limit(struct run *r, struct fs_id id)
{
	struct mnode *n = model_find(r->m, id);

	if (!n || !n->quota)
		return;
	id.ino = n->quota_ino;
	id.generation = 0;
	for (uint32_t i = 0; i < r->m->nnodes; i++)
		if (r->m->nodes[i]->id.volume == id.volume && r->m->nodes[i]->id.ino == id.ino &&
		    r->m->nodes[i]->limit && !expect_allows(r->ex, -EDQUOT))
			may(r, EDQUOT);
}

static void check_limits(struct run *r)
{
	const struct op *op = r->op;

	switch (op->kind) {
	case OP_CREATE: case OP_MKDIR: case OP_SYMLINK: case OP_MKNOD: case OP_LINK: case OP_CLONE: case OP_RENAME:
	case OP_TREE:
		check_limit(r, op->dir);
		check_limit(r, op->dir2);
		break;
	case OP_RANGE: case OP_ALLOCATE: case OP_XSET:
		check_limit(r, op->id);
		break;
	case OP_WRITE:
		if (!op->left_known)
			check_limit(r, op->id);
		break;
	case OP_QUOTA:
		if (op->length)
			may(r, EDQUOT);
		break;
	default:
		break;
	}
}

static void run_read(struct run *r)
{
	struct mnode *n = need_reg_of(r, need_any(r, r->op->id));

	r->ex->noop = true;
	if (!n || model_may(n, r->op->user, 4))
		return;
	if (model_is_owner(n, r->op->user))
		return;
	if (model_may(n, r->op->user, 1))
		may(r, EACCES);		/* execute may stand for read: RFC 1813, 4.4 */
	else
		denied(r);
}

void model_run(struct model *m, const struct op *op, bool apply, struct expect *ret)
{
	static void (*const fns[OP_KINDS])(struct run *) = {
		[OP_CREATE] = run_create, [OP_MKDIR] = run_create, [OP_SYMLINK] = run_create,
		[OP_MKNOD] = run_create, [OP_UNNAMED] = run_unnamed, [OP_FORGET] = run_unnamed,
		[OP_LINK] = run_link, [OP_WRITE] = run_write, [OP_SETATTR] = run_setattr,
		[OP_CLONE] = run_clone, [OP_REMOVE] = run_remove, [OP_RMDIR] = run_remove,
		[OP_RENAME] = run_rename, [OP_VCREATE] = run_volume, [OP_VDESTROY] = run_volume,
		[OP_READ] = run_read, [OP_RANGE] = run_range, [OP_PUNCH] = run_punch,
		[OP_ALLOCATE] = run_allocate, [OP_XSET] = run_xattr, [OP_XREMOVE] = run_xattr,
		[OP_HOLD] = run_hold, [OP_QUOTA] = run_quota, [OP_RESERVE] = run_reserve,
		[OP_SNAP] = run_snapshot, [OP_UNSNAP] = run_snapshot,
		[OP_RESTORE] = run_snapshot, [OP_VCLONE] = run_snapshot,
		[OP_TREE] = run_tree,
	};
	struct run r = { m, op, ret, apply };

	*ret = (struct expect){ 0 };
	check_limits(&r);
	fns[op->kind](&r);
}
