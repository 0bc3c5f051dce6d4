/* SPDX-License-Identifier: Apache-2.0 */
/* The model's inodes, names and rules.  See model.h. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_int.h"

#define HASH_SIZE 8192

const char *const op_names[OP_KINDS] = {
	"create", "mkdir", "symlink", "mknod", "unnamed", "forget", "link", "write", "setattr",
	"clone", "remove", "rmdir", "rename", "vcreate", "vdestroy", "read", "range", "punch"
};

static void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		abort();
	return p;
}

static void *xgrow(void *p, uint32_t n, uint32_t *cap, size_t size)
{
	if (n < *cap)
		return p;
	*cap = *cap ? 2 * *cap : 8;
	p = realloc(p, *cap * size);
	if (!p)
		abort();
	return p;
}

void op_done(struct op *op)
{
	free(op->new_ids);
	free(op->data);
	free(op->target);
	op->new_ids = NULL;
	op->data = NULL;
	op->target = NULL;
}

void op_clone_name(const struct op *op, uint32_t i, char *buf)
{
	memcpy(buf, op->name, op->name_len + 1);
	if (i)
		snprintf(buf + op->name_len, OP_NAME_BUF - op->name_len, ".%u", i);
}

void op_print(const struct op *op, char *buf, size_t len)
{
	int n = snprintf(buf, len, "%s user %u id %u:%llu dir %u:%llu", op_names[op->kind],
			 op->user, op->id.volume, (unsigned long long)op->id.ino,
			 op->dir.volume, (unsigned long long)op->dir.ino);

	if (op->name_len)
		n += snprintf(buf + n, len - n, " '%.40s'", op->name);
	if (op->kind == OP_RENAME)
		n += snprintf(buf + n, len - n, " to %u:%llu '%.40s'", op->dir2.volume,
			      (unsigned long long)op->dir2.ino, op->name2);
	if (op->kind == OP_WRITE || op->kind == OP_READ)
		n += snprintf(buf + n, len - n, " at %llu len %u seed %#llx%s",
			      (unsigned long long)op->offset, op->len,
			      (unsigned long long)op->seed, op->stable ? " stable" : "");
	if (op->kind == OP_RANGE)
		n += snprintf(buf + n, len - n, " from %u:%llu at %llu", op->src.volume,
			      (unsigned long long)op->src.ino, (unsigned long long)op->src_offset);
	if (op->kind == OP_RANGE || op->kind == OP_PUNCH)
		n += snprintf(buf + n, len - n, " at %llu length %llu",
			      (unsigned long long)op->offset, (unsigned long long)op->length);
	if (op->set.mask)
		n += snprintf(buf + n, len - n, " set %#x mode %o size %llu", op->set.mask,
			      op->set.mode, (unsigned long long)op->set.size);
	if (op->kind == OP_CLONE)
		n += snprintf(buf + n, len - n, " count %u", op->count);
	snprintf(buf + n, len - n, " -> %d (%s) seq %#llx", op->rc,
		 op->rc ? err_text(op->rc) : "ok", (unsigned long long)op->seq);
}

/* ---- inodes ---------------------------------------------------------------------------- */

static uint32_t id_hash(struct fs_id id)
{
	return (id.ino * 2654435761u + id.volume * 40503u) % HASH_SIZE;
}

struct model *model_new(void)
{
	struct model *m = xcalloc(1, sizeof(*m));

	m->hash = xcalloc(HASH_SIZE, sizeof(*m->hash));
	return m;
}

static void node_free(struct model *m, struct mnode *n)
{
	struct mnode **p = &m->hash[id_hash(n->id)];

	while (*p != n)
		p = &(*p)->hash_next;
	*p = n->hash_next;
	m->nodes[n->index] = m->nodes[--m->nnodes];
	m->nodes[n->index]->index = n->index;
	for (uint32_t i = 0; i < n->nents; i++)
		free(n->ents[i].name);
	free(n->ents);
	free(n->target);
	content_put(n->content);
	free(n);
}

void model_free(struct model *m)
{
	while (m->nnodes)
		node_free(m, m->nodes[m->nnodes - 1]);
	free(m->nodes);
	free(m->hash);
	free(m->volumes);
	free(m);
}

static struct mnode *node_new(struct model *m, struct fs_id id, enum fs_type type)
{
	struct mnode *n = xcalloc(1, sizeof(*n)), **p = &m->hash[id_hash(id)];

	n->id = id;
	n->type = type;
	if (type == FS_REG)
		n->content = content_new();
	m->nodes = xgrow(m->nodes, m->nnodes, &m->nodes_cap, sizeof(*m->nodes));
	n->index = m->nnodes;
	m->nodes[m->nnodes++] = n;
	n->hash_next = *p;
	return *p = n;
}

/* N without its names and its parent. */
static void node_clone(struct model *m, const struct mnode *n)
{
	struct mnode *c = node_new(m, n->id, n->type), keep = *c;

	content_put(c->content);
	*c = *n;
	c->index = keep.index;
	c->hash_next = keep.hash_next;
	c->ents = NULL;
	c->nents = c->ents_cap = 0;
	if (c->content)
		c->content->refs++;
	if (c->target)
		c->target = strdup(n->target);
}

struct model *model_clone(const struct model *m)
{
	struct model *c = model_new();

	for (uint32_t i = 0; i < m->nnodes; i++)
		node_clone(c, m->nodes[i]);
	for (uint32_t i = 0; i < m->nnodes; i++) {
		const struct mnode *n = m->nodes[i];
		struct mnode *d = c->nodes[i];

		d->parent = n->parent ? c->nodes[n->parent->index] : NULL;
		d->nents = d->ents_cap = n->nents;
		d->ents = n->nents ? xcalloc(n->nents, sizeof(*d->ents)) : NULL;
		for (uint32_t j = 0; j < n->nents; j++) {
			d->ents[j] = n->ents[j];
			d->ents[j].name = xcalloc(1, n->ents[j].len + 1);
			memcpy(d->ents[j].name, n->ents[j].name, n->ents[j].len);
			d->ents[j].node = c->nodes[n->ents[j].node->index];
		}
	}
	c->nvolumes = m->nvolumes;
	c->volumes = xcalloc(m->nvolumes, sizeof(*c->volumes));
	for (uint32_t i = 0; i < m->nvolumes; i++) {
		c->volumes[i] = m->volumes[i];
		c->volumes[i].root = c->nodes[m->volumes[i].root->index];
	}
	return c;
}

struct mnode *model_find(struct model *m, struct fs_id id)
{
	for (struct mnode *n = m->hash[id_hash(id)]; n; n = n->hash_next)
		if (n->id.ino == id.ino && n->id.volume == id.volume &&
		    n->id.generation == id.generation && n->id.snapshot == id.snapshot)
			return n;
	return NULL;
}

static struct mdirent *dirent_find(struct mnode *dir, const char *name, uint32_t len)
{
	uint64_t h = text_hash(name, len);

	for (uint32_t i = 0; i < dir->nents; i++)
		if (dir->ents[i].hash == h && dir->ents[i].len == len &&
		    !memcmp(dir->ents[i].name, name, len))
			return &dir->ents[i];
	return NULL;
}

struct mnode *model_lookup(struct mnode *dir, const char *name, uint32_t len)
{
	struct mdirent *e = dirent_find(dir, name, len);

	return e ? e->node : NULL;
}

bool model_below(const struct mnode *n, const struct mnode *top)
{
	for (; n; n = n->parent)
		if (n == top)
			return true;
	return false;
}

static void dirent_add(struct model *m, struct mnode *dir, const char *name, uint32_t len,
		       struct mnode *node)
{
	struct mdirent *e;

	dir->ents = xgrow(dir->ents, dir->nents, &dir->ents_cap, sizeof(*dir->ents));
	e = &dir->ents[dir->nents++];
	*e = (struct mdirent){ .hash = text_hash(name, len), .len = len, .node = node };
	e->name = xcalloc(1, len + 1);
	memcpy(e->name, name, len);
	if (m->on_dirent)
		m->on_dirent(m->arg, dir, name, len);
}

static void dirent_del(struct model *m, struct mnode *dir, const char *name, uint32_t len)
{
	struct mdirent *e = dirent_find(dir, name, len);

	assert(e);
	free(e->name);
	*e = dir->ents[--dir->nents];
	if (m->on_dirent)
		m->on_dirent(m->arg, dir, name, len);
}

struct mvolume *model_volume(struct model *m, const char *name)
{
	for (uint32_t i = 0; i < m->nvolumes; i++)
		if (!strcmp(m->volumes[i].name, name))
			return &m->volumes[i];
	return NULL;
}

void model_add_volume(struct model *m, const struct fs_volume_info *info, const struct fs_attr *root)
{
	struct mvolume *v;
	struct mnode *n = node_new(m, info->root, FS_DIR);

	m->volumes = realloc(m->volumes, (m->nvolumes + 1) * sizeof(*m->volumes));
	if (!m->volumes)
		abort();
	v = &m->volumes[m->nvolumes++];
	*v = (struct mvolume){ .id = info->id, .fsid = info->fsid, .root = n };
	strcpy(v->name, info->name);
	n->mode = root->mode;
	n->uid = root->uid;
	n->gid = root->gid;
	n->nlink = root->nlink;
	n->mtime = root->mtime;
	n->ctime = root->ctime;
	n->change = root->change;
}

static void volume_del(struct model *m, const char *name)
{
	struct mvolume *v = model_volume(m, name);
	uint32_t id = v->id;

	for (uint32_t i = m->nnodes; i-- > 0;)
		if (m->nodes[i]->id.volume == id)
			node_free(m, m->nodes[i]);
	*v = m->volumes[--m->nvolumes];
}

void model_restart(struct model *m)
{
	for (uint32_t i = m->nnodes; i-- > 0;)
		if (m->nodes[i]->unnamed)
			node_free(m, m->nodes[i]);
}

/* ---- permissions ----------------------------------------------------------------------- */

void model_cred(unsigned user, struct fs_cred *ret)
{
	*ret = (struct fs_cred){ .admin = !user };
	if (user < 2)
		return;
	ret->uid = ret->gid = 998 + user;
	ret->ngroups = 1;
	ret->groups[0] = 100;
}

static bool in_group(const struct fs_cred *c, uint32_t gid)
{
	for (uint32_t i = 0; i < c->ngroups; i++)
		if (c->groups[i] == gid)
			return true;
	return c->gid == gid;
}

/* rwx: 4 read, 2 write, 1 execute. */
bool model_may(const struct mnode *n, unsigned user, unsigned rwx)
{
	struct fs_cred c;
	unsigned bits;

	model_cred(user, &c);
	if (user < 2)
		return !(rwx & 1) || n->type == FS_DIR || n->mode & 0111 || !user;
	bits = c.uid == n->uid ? n->mode >> 6 : in_group(&c, n->gid) ? n->mode >> 3 : n->mode;
	return (bits & rwx) == rwx;
}

static bool is_owner(const struct mnode *n, unsigned user)
{
	struct fs_cred c;

	model_cred(user, &c);
	return user < 2 || c.uid == n->uid;
}

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

static struct mnode *need(struct run *r, struct fs_id id)
{
	struct mnode *n = model_find(r->m, id);

	if (!n)
		must(r, ESTALE);
	return n;
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

static struct mnode *need_reg(struct run *r, struct fs_id id)
{
	struct mnode *n = need(r, id);

	if (!n || n->type == FS_REG)
		return n;
	must(r, n->type == FS_DIR ? EISDIR : EINVAL);
	must(r, EINVAL);
	return NULL;
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
	if (n && dir->mode & 01000 && !is_owner(dir, r->op->user) && !is_owner(n, r->op->user))
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
	struct mnode *n = node_new(r->m, id, type);
	struct fs_cred c;

	model_cred(op->user, &c);
	n->uid = op->set.mask & FS_SET_UID ? op->set.uid : c.uid;
	n->gid = op->set.mask & FS_SET_GID ? op->set.gid : c.gid;
	n->mode = op->set.mask & FS_SET_MODE ? op->set.mode : type == FS_DIR ? 0755 : 0644;
	n->nlink = type == FS_DIR ? 2 : 1;
	touch(r, n, true);
	if (op->set.mask & FS_SET_MTIME)
		n->mtime = op->set.mtime;
	if (type == FS_DIR) {
		n->parent = dir;
		dir->nlink++;
	}
	return n;
}

static void unlink_node(struct run *r, struct mnode *n)
{
	if (n->type == FS_DIR || !--n->nlink)
		node_free(r->m, n);
	else
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
	if (resize && !model_may(n, op->user, 2) && !is_owner(n, op->user))
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
	dirent_add(r->m, dir, op->name, op->name_len, n);
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
		if (n && go(r))
			node_free(r->m, n);
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
	if (op->id.volume != op->dir.volume)
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
		dirent_del(r->m, dir, op->name, op->name_len);
		unlink_node(r, old);
	}
	n->nlink++;
	n->unnamed = false;
	touch(r, n, false);
	dirent_add(r->m, dir, op->name, op->name_len, n);
	touch(r, dir, true);
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
	if (!model_may(n, op->user, 2) && !is_owner(n, op->user))
		denied(r);
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
	bool owner = is_owner(n, op->user);
	struct fs_cred c;

	model_cred(op->user, &c);
	if (s->guard && (s->guard_ctime.sec != n->ctime.sec || s->guard_ctime.nsec != n->ctime.nsec))
		must(r, ENOTSYNC);
	if (s->mask & (FS_SET_MODE | FS_SET_ATIME | FS_SET_MTIME | FS_SET_UID | FS_SET_GID) && !owner)
		denied(r);
	if (op->user >= 2 && s->mask & FS_SET_UID && s->uid != n->uid)
		denied(r);
	if (op->user >= 2 && s->mask & FS_SET_GID && s->gid != n->gid && !in_group(&c, s->gid))
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
	n->size = src->size;
	n->mode = src->mode;
	n->origin = src->id;
	if (!r->op->user) {
		n->uid = src->uid;
		n->gid = src->gid;
	}
	dirent_add(r->m, dir, name, strlen(name), n);
}

static void run_clone(struct run *r)
{
	const struct op *op = r->op;
	struct mnode *src = need_reg(r, op->id), *dir = need_dir(r, op->dir, true);
	char name[OP_NAME_BUF];
	bool exists = false;

	if (op->id.volume != op->dir.volume)
		must(r, EXDEV);
	if (!op->count)
		must(r, EINVAL);
	if (src && !model_may(src, op->user, 4)) {
		if (is_owner(src, op->user)) {
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
	dirent_del(r->m, dir, op->name, op->name_len);
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

	dirent_del(r->m, dir, op->name, op->name_len);
	if (old) {
		dirent_del(r->m, to_dir, op->name2, op->name2_len);
		if (old->type == FS_DIR)
			to_dir->nlink--;
		unlink_node(r, old);
	}
	dirent_add(r->m, to_dir, op->name2, op->name2_len, n);
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
	if (op->dir.volume != op->dir2.volume)
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
	if (v && go(r))
		volume_del(r->m, op->name);
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
	struct mnode *src = need_reg(r, op->src), *dst = need_reg(r, op->id);
	uint64_t len = op->length;

	if (op->src.volume != op->id.volume)
		must(r, EXDEV);
	if (src && !len)
		len = src->size < op->src_offset ? 0 : src->size - op->src_offset;
	if (!src || !dst)
		return;
	if ((!model_may(src, op->user, 4) && !is_owner(src, op->user)) ||
	    (!model_may(dst, op->user, 2) && !is_owner(dst, op->user)))
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
	if (!model_may(n, op->user, 2) && !is_owner(n, op->user))
		denied(r);
	r->ex->noop = op->offset >= n->size || !op->length;
	if (!go(r) || r->ex->noop)
		return;
	/* The last block goes as a whole: nothing in it lies behind the end. */
	content_punch(&n->content, op->offset, op->length < n->size - op->offset ?
		      op->offset + op->length : (n->size + MBLOCK - 1) / MBLOCK * MBLOCK);
	touch(r, n, true);
}

static void run_read(struct run *r)
{
	struct mnode *n = need_reg(r, r->op->id);

	r->ex->noop = true;
	if (!n || model_may(n, r->op->user, 4))
		return;
	if (is_owner(n, r->op->user))
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
	};
	struct run r = { m, op, ret, apply };

	*ret = (struct expect){ 0 };
	fns[op->kind](&r);
}

/* ---- comparing ------------------------------------------------------------------------- */

void model_noderec(const struct mnode *n, struct noderec *ret)
{
	*ret = (struct noderec){
		.volume = n->id.volume, .ino = n->id.ino, .generation = n->id.generation,
		.type = n->type, .mode = n->mode, .uid = n->uid, .gid = n->gid, .nlink = n->nlink,
		.rdev = (uint64_t)n->rdev_major << 32 | n->rdev_minor, .change = n->change,
		.mtime_sec = n->mtime.sec, .mtime_nsec = n->mtime.nsec,
		.ctime_sec = n->ctime.sec, .ctime_nsec = n->ctime.nsec,
		.origin_ino = n->origin.ino, .origin_generation = n->origin.generation,
	};
	if (n->type == FS_REG || n->type == FS_LNK)
		ret->size = n->size;
	if (n->content) {
		ret->mapped = (uint64_t)n->content->n * MBLOCK;
		ret->content = n->content->sum;
	}
	if (n->target)
		ret->target = text_hash(n->target, strlen(n->target));
}

uint64_t model_hash(const struct model *m)
{
	struct noderec rec;
	uint64_t sum = 0;

	for (uint32_t i = 0; i < m->nnodes; i++) {
		const struct mnode *n = m->nodes[i];

		if (n->unnamed)
			continue;
		model_noderec(n, &rec);
		sum += noderec_hash(&rec);
		for (uint32_t j = 0; j < n->nents; j++)
			sum += dirent_hash(n->id, n->ents[j].name, n->ents[j].len,
					   n->ents[j].node->id.ino);
	}
	for (uint32_t i = 0; i < m->nvolumes; i++)
		sum += text_hash(m->volumes[i].name, strlen(m->volumes[i].name)) *
		       (m->volumes[i].id + 1);
	return sum;
}
