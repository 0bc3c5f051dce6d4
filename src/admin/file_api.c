/* SPDX-License-Identifier: Apache-2.0 */
/* Files and directories by their path: look at them, make, remove, list, read. */
#include "admin/admin_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/fiber.h"

#define REMOVE_DEPTH_MAX 1024	/* directories in each other, for a recursive remove */
#define DIR_BUF_BYTES (64 * 1024)

/* ---- paths in a fiber ------------------------------------------------------------------- */

int path_lookup(struct fs_req *req, const struct objpath *p, struct fs_attr *ret_attr)
{
	CLEANUP_FREE struct fs_volume_info *v = malloc(sizeof(*v));
	char volume[sizeof(p->volume)], *at;
	struct fs_snapshot_info s;
	int err;

	if (!v)
		return -ENOMEM;
	strcpy(volume, p->volume);
	at = strchr(volume, '@');
	if (at)
		*at = 0;
	err = fs_volume_find(req->fs, volume, v);
	if (err)
		return err == -ENOENT ? -ENOMEDIUM : err;
	err = at ? fs_snapshot_find(req->fs, volume, at + 1, &s) : 0;
	if (err)
		return err == -ENOENT ? -ESRCH : err;
	return fs_lookup_path(req, p->volume, p->path, ret_attr);
}

int path_lookup_parent(struct fs_req *req, const struct objpath *p, struct fs_attr *ret_dir)
{
	CLEANUP_FREE struct objpath *dir = malloc(sizeof(*dir));
	struct fs_attr attr;
	int err;

	if (!dir)
		return -ENOMEM;
	objpath_parent(p, dir);
	err = path_lookup(req, dir, &attr);
	if (!err && attr.type != FS_DIR)
		err = -ENOTDIR;
	if (!err)
		*ret_dir = attr;
	return err;
}

struct fs_name path_leaf_name(const struct objpath *p)
{
	const char *leaf = objpath_leaf(p);

	return (struct fs_name){ leaf, (uint32_t)strlen(leaf) };
}

/* ---- stat ------------------------------------------------------------------------------- */

struct file_args {
	struct objpath path;
	struct fs_attr attr;
	char target[FS_SYMLINK_MAX + 1];
	bool parents, recursive;
	uint64_t removed;
	struct fs_id only;		/* what is to be removed; ino 0: whatever is there */
	struct fs_setattr set;
};

static struct file_args *file_args_take(struct call *c, bool change)
{
	struct file_args *a = calloc(1, sizeof(*a));

	if (!a) {
		call_fail_err(c, -ENOMEM, "path");
		return NULL;
	}
	c->state = a;
	return (change ? arg_live_path : arg_path)(c, "path", &a->path) ? a : NULL;
}

static void file_fail(struct call *c, int err, const struct objpath *p)
{
	if (err == -ENOMEDIUM || err == -ESRCH)
		call_fail_err(c, err, "%s", p->volume);
	else
		call_fail_err(c, err, "%s:%s", p->volume, p->path);
}

/* ATTR as the object at P: with its path too. */
static json_t *json_path(const struct objpath *p, const struct fs_attr *attr)
{
	CLEANUP_FREE char *text = malloc(sizeof(p->volume) + sizeof(p->path));
	const char *leaf = objpath_leaf(p);
	json_t *j = text ? json_file(leaf, strlen(leaf), attr) : NULL;
	int n;

	if (!j)
		return NULL;
	n = sprintf(text, "%s:%s", p->volume, p->path);
	json_set_name(j, "path", text, (size_t)n);
	return j;
}

static int stat_run(struct call *c, void *arg)
{
	struct file_args *a = arg;
	int err = path_lookup(&c->req, &a->path, &a->attr);

	if (!err && a->attr.type == FS_LNK)
		err = fs_readlink(&c->req, a->attr.id, a->target, &a->attr);
	return err;
}

void get_file(struct call *c)
{
	struct file_args *a = file_args_take(c, false);
	json_t *j;
	int err;

	if (!a)
		return;
	err = call_run(c, stat_run, a);
	if (err) {
		file_fail(c, err, &a->path);
		return;
	}
	j = json_path(&a->path, &a->attr);
	if (j && a->attr.type == FS_LNK)
		json_set_name(j, "target", a->target, strlen(a->target));
	call_reply(c, 200, j);
}

/* ---- mkdir ------------------------------------------------------------------------------ */

/* With parents: every missing directory on the way, and none of it is an error if it is there. */
static int mkdir_walk(struct call *c, struct file_args *a)
{
	struct fs_create how = { .type = FS_DIR, .how = FS_CREATE_GUARDED, .set = a->set };
	struct fs_volume_info *v = malloc(sizeof(*v));
	char *s = a->path.path + 1, *end;
	struct fs_name name;
	struct fs_id dir;
	int err;

	err = v ? fs_volume_find(c->req.fs, a->path.volume, v) : -ENOMEM;
	dir = err ? (struct fs_id){ 0 } : v->root;
	free(v);
	if (err)
		return err == -ENOENT ? -ENOMEDIUM : err;
	for (; *s; s = *end ? end + 1 : end) {
		end = s + strcspn(s, "/");
		name = (struct fs_name){ s, (uint32_t)(end - s) };
		err = *end && !a->parents ? -EEXIST
					  : fs_create(&c->req, dir, name, &how, &a->attr, NULL);
		if (err == -EEXIST && (*end || a->parents)) {
			err = fs_lookup(&c->req, dir, name, &a->attr, NULL);
			if (!err && a->attr.type != FS_DIR)
				err = *end ? -ENOTDIR : -EEXIST;
		}
		if (err)
			return err;
		dir = a->attr.id;
	}
	return 0;
}

static int mkdir_run(struct call *c, void *arg)
{
	int err = mkdir_walk(c, arg);

	return err ? err : fs_wait_stable(c->req.fs, c->req.stable_seq);
}

void post_directories(struct call *c)
{
	struct file_args *a = file_args_take(c, true);
	int err;

	if (!a || !arg_bool(c, "parents", &a->parents) || !arg_owner(c, &a->set))
		return;
	if (objpath_is_root(&a->path)) {
		file_fail(c, -EEXIST, &a->path);
		return;
	}
	err = call_run(c, mkdir_run, a);
	if (err)
		file_fail(c, err, &a->path);
	else
		call_reply(c, 201, json_path(&a->path, &a->attr));
}

/* ---- rm --------------------------------------------------------------------------------- */

/*
 * A tree is removed from its leaves up, each entry a change of its own: what a failure or a
 * crash leaves is a smaller tree.  The stack holds the directories on the way down.
 */
struct remove_level {
	struct fs_id dir;
	uint32_t name_len;
	char name[FS_NAME_MAX + 1];	/* of this directory in the level above */
	unsigned tries;
};
struct remover {
	struct call *call;
	struct file_args *args;
	struct remove_level *levels;
	unsigned n, cap;
	void *buf;
};

static int remover_push(struct remover *r, struct fs_id dir, const char *name, uint32_t len)
{
	struct remove_level *levels = r->levels, *l;

	if (r->n == REMOVE_DEPTH_MAX)
		return -ENAMETOOLONG;
	if (r->n == r->cap) {
		r->cap = r->cap ? 2 * r->cap : 8;
		levels = realloc(levels, r->cap * sizeof(*levels));
		if (!levels)
			return -ENOMEM;
		r->levels = levels;
	}
	l = &levels[r->n++];
	l->dir = dir;
	l->tries = 0;
	l->name_len = len;
	memcpy(l->name, name, len);
	return 0;
}

/* Empties one page of the top directory; at a directory in it, stops to go there first. */
static int remover_page(struct remover *r, bool *ret_empty)
{
	struct fs_id dir = r->levels[r->n - 1].dir;
	struct fs_dirlist list = { .buf = r->buf, .cap = DIR_BUF_BYTES };
	struct fs_req *req = &r->call->req;
	const struct fs_dirent *e;
	unsigned i;
	int err = fs_readdir(req, dir, 2, true, &list);

	*ret_empty = !err && !list.n;
	for (i = 0, e = list.buf; !err && i < list.n; i++, e = fs_dirent_next(e)) {
		struct fs_name name = { e->name, e->name_len };

		if (e->attr.type == FS_DIR)
			return remover_push(r, e->attr.id, e->name, e->name_len);
		err = fs_remove(req, dir, name, NULL);
		if (err == -ENOENT)
			err = 0;	/* somebody else was faster */
		else if (!err)
			r->args->removed++;
		if (i % 16 == 15)
			fiber_yield();
	}
	return err;
}

/* The top directory looked empty: it goes, unless somebody has put something in just now. */
static int remover_pop(struct remover *r, struct fs_id bottom_dir)
{
	struct remove_level *l = &r->levels[r->n - 1];
	struct fs_id dir = r->n > 1 ? l[-1].dir : bottom_dir;
	struct fs_name name = { l->name, l->name_len };
	int err = fs_rmdir(&r->call->req, dir, name, NULL);

	if (err == -ENOTEMPTY && l->tries++ < 10)
		return 0;
	if (err == -ENOENT)
		err = 0;
	else if (!err)
		r->args->removed++;
	r->n--;
	return err;
}

static int remove_tree(struct call *c, struct file_args *a, struct fs_id parent)
{
	struct remover r = { .call = c, .args = a, .buf = malloc(DIR_BUF_BYTES) };
	struct fs_name leaf = path_leaf_name(&a->path);
	bool empty;
	int err = r.buf ? remover_push(&r, a->attr.id, leaf.s, leaf.len) : -ENOMEM;

	while (!err && r.n) {
		err = remover_page(&r, &empty);
		if (!err && empty)
			err = remover_pop(&r, parent);
		fiber_yield();
	}
	free(r.levels);
	free(r.buf);
	return err;
}

static int remove_run(struct call *c, void *arg)
{
	struct file_args *a = arg;
	struct fs_attr dir;
	int err, stable;

	err = path_lookup_parent(&c->req, &a->path, &dir);
	if (!err)
		err = fs_lookup(&c->req, dir.id, path_leaf_name(&a->path), &a->attr, NULL);
	if (err)
		return err;
	if (a->only.ino)
		err = fs_remove_only(&c->req, dir.id, path_leaf_name(&a->path), a->only);
	else if (a->attr.type == FS_DIR && a->recursive)
		err = remove_tree(c, a, dir.id);
	else if (a->attr.type == FS_DIR)
		err = fs_rmdir(&c->req, dir.id, path_leaf_name(&a->path), NULL);
	else
		err = fs_remove(&c->req, dir.id, path_leaf_name(&a->path), NULL);
	if (!err && !(a->attr.type == FS_DIR && a->recursive))
		a->removed = 1;
	stable = fs_wait_stable(c->req.fs, c->req.stable_seq);
	return err ? err : stable;
}

void delete_file(struct call *c)
{
	struct file_args *a = file_args_take(c, true);
	json_t *j;
	int err;

	if (!a || !arg_bool(c, "recursive", &a->recursive) || !arg_number(c, "inode", INT64_MAX, &a->only.ino) ||
	    !arg_number(c, "generation", INT64_MAX, &a->only.generation))
		return;
	if (!a->only.ino != !a->only.generation || (a->only.ino && a->recursive)) {
		call_fail(c, 400, "invalid", "inode and generation: both name one file, and go without recursive");
		return;
	}
	if (objpath_is_root(&a->path)) {
		call_fail(c, 400, "invalid", "%s:/: the root of a volume cannot be removed; 'pando "
			  "volume destroy' removes the volume", a->path.volume);
		return;
	}
	err = call_run(c, remove_run, a);
	if (err) {
		file_fail(c, err, &a->path);
		return;
	}
	j = json_object();
	if (j)
		json_set_u64(j, "removed", a->removed);
	call_reply(c, 200, j);
}

/* ---- ls --------------------------------------------------------------------------------- */

struct list_args {
	struct objpath path;
	uint64_t after, limit;
	struct fs_attr attr;
	struct fs_dirlist list;
	uint64_t buf[DIR_BUF_BYTES / 8];
};

static int entries_run(struct call *c, void *arg)
{
	struct list_args *a = arg;
	int err = path_lookup(&c->req, &a->path, &a->attr);

	if (err || a->attr.type != FS_DIR)
		return err;
	a->list = (struct fs_dirlist){ .buf = a->buf, .cap = sizeof(a->buf),
				       .max_entries = (unsigned)a->limit };
	/* 2 is the cookie of "..": begin after it */
	return fs_readdir(&c->req, a->attr.id, a->after < 2 ? 2 : a->after, true, &a->list);
}

static json_t *json_entries(const struct list_args *a)
{
	const struct fs_dirent *e = a->list.buf;
	json_t *list = json_array();
	uint64_t last = 0;
	unsigned i;

	for (i = 0; list && i < a->list.n; i++, e = fs_dirent_next(e)) {
		if (json_array_append_new(list, json_file(e->name, e->name_len, &e->attr))) {
			json_decref(list);
			return NULL;
		}
		last = e->cookie;
	}
	return json_pack("{s:o?,s:o?}", "entries", list, "next",
			 a->list.eof || !a->list.n ? json_null() : json_integer((json_int_t)last));
}

void get_entries(struct call *c)
{
	struct list_args *a = calloc(1, sizeof(*a));
	int err;

	c->state = a;
	if (!a) {
		call_fail_err(c, -ENOMEM, "path");
		return;
	}
	a->limit = ENTRIES_MAX;
	if (!arg_path(c, "path", &a->path) || !arg_number(c, "after", INT64_MAX, &a->after) ||
	    !arg_number(c, "limit", ENTRIES_MAX, &a->limit))
		return;
	err = call_run(c, entries_run, a);
	if (err == -EBADCOOKIE)
		call_fail(c, 400, "bad_argument", "after: %llu is not a place in %s:%s",
			  (unsigned long long)a->after, a->path.volume, a->path.path);
	else if (err)
		file_fail(c, err, &a->path);
	else if (a->attr.type != FS_DIR)
		call_reply(c, 200, json_pack("{s:[o?],s:n}", "entries",
					     json_path(&a->path, &a->attr), "next"));
	else
		call_reply(c, 200, json_entries(a));
}
