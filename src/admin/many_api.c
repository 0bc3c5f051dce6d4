/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many small changes in one call, for who keeps a directory with hundreds of files: the files
 * of a fleet's machines are written, or cloned from others and changed in a place, and put in the
 * place of others, at the price of one flush.
 *
 * Each single change is atomic, the call is not: an error names the file that it stopped at,
 * and what stands before that in the list has been done and is durable.
 */
#include "admin/admin_int.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/fiber.h"

#define WRITE_MAX ((size_t)1 << 20)	/* bytes for the pool at once */
#define YIELD_EVERY 16			/* changes, then others have their turn */

struct small_file {
	struct fs_name name;
	const char *src;		/* it begins as a clone of that; NULL: empty */
	const unsigned char *data;	/* in many_args.bytes */
	uint64_t offset;		/* of the data */
	size_t len;
	uint64_t size;			/* that it gets; NO_SIZE: as large as it has become */
};
#define NO_SIZE UINT64_MAX

struct many_args {
	struct objpath dir, src;	/* src: of the file that is being made */
	bool src_failed;		/* it is what was wrong */
	bool replace, makes_room;
	struct fs_setattr set;
	struct small_file *files;
	struct fs_name *from, *to;
	unsigned char *bytes;
	size_t count, done;		/* done: how many were, in order */
};

static void many_release(struct many_args *a)
{
	free(a->files);
	free(a->from);
	free(a->to);
	free(a->bytes);
}

/* The directory is what is wrong (no file was touched), or the file that comes next. */
static void many_fail(struct call *c, const struct many_args *a, int err, bool in_dir,
		      struct fs_name at)
{
	if (a->src_failed && err == -EINVAL)
		call_fail(c, 400, "invalid", "%s:%s: only regular files can be cloned", a->src.volume,
			  a->src.path);
	else if (a->src_failed)
		call_fail_err(c, err, "%s:%s", a->src.volume, a->src.path);
	else if (err == -ENOMEDIUM)
		call_fail_err(c, err, "%s", a->dir.volume);
	else if (!in_dir)
		call_fail_err(c, err, "%s:%s", a->dir.volume, a->dir.path);
	else
		call_fail_err(c, err, "%s:%s%s%.*s", a->dir.volume, a->dir.path,
			      objpath_is_root(&a->dir) ? "" : "/", (int)at.len, at.s);
}

static int dir_find(struct call *c, struct many_args *a, struct fs_attr *ret_dir)
{
	int err = path_lookup(&c->req, &a->dir, ret_dir);

	return !err && ret_dir->type != FS_DIR ? -ENOTDIR : err;
}

/* ONE does number I of the list. */
struct many_run {
	struct many_args *a;
	int (*one)(struct call *c, struct many_args *a, size_t i, struct fs_id dir);
	bool in_dir;			/* out: the directory was there */
};

/* All of the list, up to the first that fails.  What was done, be it a part, is durable before anybody
 * hears of it; what files hold, too. */
static int many_run(struct call *c, void *arg)
{
	struct many_run *m = arg;
	struct many_args *a = m->a;
	struct fs_attr dir;
	int err = dir_find(c, a, &dir), stable;

	c->req.makes_room = a->makes_room;
	m->in_dir = !err;
	while (!err && a->done < a->count) {
		err = m->one(c, a, a->done, dir.id);
		a->done += !err;
		if (a->done % YIELD_EVERY == 0)
			fiber_yield();
	}
	if (a->done)
		fs_commit(&c->req, dir.id, NULL);
	stable = fs_wait_stable(c->req.fs, c->req.stable_seq);
	return err ? err : stable;
}

/* ---- files ------------------------------------------------------------------------------ */

static int file_fill(struct call *c, const struct small_file *f, struct fs_id id)
{
	struct iovec iov;
	size_t at, n;
	int err = 0;

	for (at = 0; at < f->len && !err; at += n) {
		n = f->len - at < WRITE_MAX ? f->len - at : WRITE_MAX;
		iov = (struct iovec){ (void *)(f->data + at), n };
		err = fs_write(&c->req, id, f->offset + at, &iov, 1, (uint32_t)n, false, NULL);
	}
	return err;
}

static int src_find(struct call *c, struct many_args *a, const struct small_file *f, struct fs_attr *ret)
{
	char why[OBJNAME_WHY];
	int err = objpath_parse(f->src, strlen(f->src), &a->src, why);

	if (!err)
		err = path_lookup(&c->req, &a->src, ret);
	if (!err && ret->type != FS_REG)
		err = ret->type == FS_DIR ? -EISDIR : -EINVAL;
	a->src_failed = err != 0;
	return err;
}

/* What it is to have, from the call or else from its source. */
static struct fs_setattr file_attr(const struct many_args *a, const struct small_file *f,
				   const struct fs_attr *src)
{
	struct fs_setattr set = a->set;

	if (!(set.mask & FS_SET_MODE))
		set.mode = f->src ? src->mode : 0644;
	if (f->src && !(set.mask & FS_SET_UID))
		set.uid = src->uid;
	if (f->src && !(set.mask & FS_SET_GID))
		set.gid = src->gid;
	set.mask |= f->src ? FS_SET_UID | FS_SET_GID : 0;
	set.mask &= FS_SET_UID | FS_SET_GID;
	set.mask |= f->size != NO_SIZE ? FS_SET_SIZE : 0;
	set.size = f->size;
	return set;
}

/* Filled before it has a name: whoever finds it finds it whole, after a crash too.  A clone into an empty
 * file is O(1). */
static int file_put(struct call *c, struct many_args *a, const struct small_file *f, struct fs_id dir)
{
	struct fs_attr attr, src = { 0 };
	struct fs_setattr set;
	int err = f->src ? src_find(c, a, f, &src) : 0;

	if (err)
		return err;
	set = file_attr(a, f, &src);
	err = fs_create_unnamed(&c->req, dir.volume, set.mode, &attr);
	if (err)
		return err;
	if (f->src)
		err = fs_clone_range(&c->req, src.id, 0, attr.id, 0, 0, NULL);
	if (!err)
		err = file_fill(c, f, attr.id);
	if (!err && set.mask)
		err = fs_setattr(&c->req, attr.id, &set, NULL);
	if (!err)
		err = fs_link(&c->req, attr.id, dir, f->name, a->replace, NULL, NULL);
	if (err)
		fs_forget(&c->req, attr.id);
	return err;
}

static int file_done(struct call *c, struct many_args *a, size_t i, struct fs_id dir)
{
	return file_put(c, a, &a->files[i], dir);
}

/* A place in a file; UNSET if it isn't given. */
static bool place_take(struct call *c, const json_t *file, const char *key, uint64_t unset, uint64_t *ret)
{
	const json_t *j = json_object_get(file, key);

	*ret = j ? (uint64_t)json_integer_value(j) : unset;
	if (!j || (json_is_integer(j) && json_integer_value(j) >= 0 && *ret <= FS_MAX_SIZE))
		return true;
	call_fail(c, 400, "bad_argument", "%s: %s: must be a whole number, at most %llu",
		  json_string_value(json_object_get(file, "name")), key, (unsigned long long)FS_MAX_SIZE);
	return false;
}

static bool src_take(struct call *c, const json_t *file, const struct objpath *dir, struct small_file *f)
{
	const json_t *j = json_object_get(file, "src");
	char why[OBJNAME_WHY];
	struct objpath src;

	f->src = json_string_value(j);
	if (!j)
		return true;
	if (!f->src || objpath_parse(f->src, json_string_length(j), &src, why))
		call_fail(c, 400, "bad_path", "%s: src: %s", f->name.s, f->src ? why : "must be a string");
	else if (!objpath_same_volume(&src, dir))
		call_fail(c, 400, "other_volume", "%s: a clone shares blocks with its source, so it must be "
			  "in the same volume (%s)", f->src, dir->volume);
	else
		return true;
	return false;
}

/* One of the list, its bytes decoded to TO: how many they are, or -1 after a call_fail(). */
static ssize_t file_take(struct call *c, const json_t *j, const struct objpath *dir, unsigned char *to,
			 size_t room, struct small_file *f)
{
	const json_t *data = json_object_get(j, "data");
	const char *text = json_string_value(data), *end = NULL;

	if (!json_name(c, json_object_get(j, "name"), &f->name) || !src_take(c, j, dir, f) ||
	    !place_take(c, j, "offset", 0, &f->offset))
		return -1;
	if (!data && f->src)
		text = "";
	if (!text || sodium_base642bin(to, room, text, json_string_length(data), NULL, &f->len, &end,
				       sodium_base64_VARIANT_ORIGINAL) ||
	    end != text + json_string_length(data)) {
		call_fail(c, 400, "bad_argument", "%s: data: must be its bytes in base64", f->name.s);
		return -1;
	}
	f->data = to;
	if (!place_take(c, j, "size", NO_SIZE, &f->size))
		return -1;
	if (f->offset + f->len > FS_MAX_SIZE || f->size < f->offset + f->len) {
		call_fail(c, 400, "bad_argument", "%s: size: must not be less than where the data ends",
			  f->name.s);
		return -1;
	}
	return (ssize_t)f->len;
}

static bool files_take(struct call *c, struct many_args *a)
{
	const json_t *list = json_object_get(c->json, "files"), *j;
	size_t i, used = 0;
	ssize_t n;

	if (!json_is_array(list)) {
		call_fail(c, 400, "bad_argument", "files: must be a list of objects with name and "
			  "data");
		return false;
	}
	a->count = json_array_size(list);
	a->files = calloc(a->count + 1, sizeof(*a->files));
	a->bytes = malloc(c->body_len + 1);	/* in base64 they were more */
	if (!a->files || !a->bytes) {
		call_fail_err(c, -ENOMEM, "files");
		return false;
	}
	json_array_foreach(list, i, j) {
		n = file_take(c, j, &a->dir, a->bytes + used, c->body_len + 1 - used, &a->files[i]);
		if (n < 0)
			return false;
		used += (size_t)n;
	}
	return true;
}

static void count_reply(struct call *c, uint64_t count, unsigned status)
{
	json_t *j = json_object();

	if (j)
		json_set_u64(j, "count", count);
	call_reply(c, status, j);
}

static struct many_args *many_begin(struct call *c)
{
	struct many_args *a = calloc(1, sizeof(*a));

	c->state = a;
	if (!a)
		call_fail_err(c, -ENOMEM, "files");
	return a && arg_live_path(c, "path", &a->dir) ? a : NULL;
}

void post_files(struct call *c)
{
	struct many_args *a = many_begin(c);
	struct many_run m = { .a = a, .one = file_done };
	int err;

	if (!a)
		return;
	if (arg_bool(c, "replace", &a->replace) && arg_bool(c, "makes_room", &a->makes_room) && arg_owner(c, &a->set) &&
	    files_take(c, a)) {
		err = call_run(c, many_run, &m);
		if (err)
			many_fail(c, a, err, m.in_dir && a->done < a->count,
				  a->files[a->done].name);
		else
			count_reply(c, a->count, 201);
	}
	many_release(a);
}

/* ---- renames ---------------------------------------------------------------------------- */

static int rename_done(struct call *c, struct many_args *a, size_t i, struct fs_id dir)
{
	return fs_rename(&c->req, dir, a->from[i], dir, a->to[i], NULL, NULL);
}

static bool renames_take(struct call *c, struct many_args *a)
{
	const json_t *list = json_object_get(c->json, "renames"), *j;
	size_t i;

	if (!json_is_array(list)) {
		call_fail(c, 400, "bad_argument", "renames: must be a list of pairs of names");
		return false;
	}
	a->count = json_array_size(list);
	a->from = calloc(a->count + 1, sizeof(*a->from));
	a->to = calloc(a->count + 1, sizeof(*a->to));
	if (!a->from || !a->to) {
		call_fail_err(c, -ENOMEM, "renames");
		return false;
	}
	json_array_foreach(list, i, j) {
		if (json_array_size(j) != 2) {
			call_fail(c, 400, "bad_argument", "renames: each is a pair: the name, and "
				  "the new name");
			return false;
		}
		if (!json_name(c, json_array_get(j, 0), &a->from[i]) ||
		    !json_name(c, json_array_get(j, 1), &a->to[i]))
			return false;
	}
	return true;
}

void post_renames(struct call *c)
{
	struct many_args *a = many_begin(c);
	struct many_run m = { .a = a, .one = rename_done };
	int err;

	if (!a)
		return;
	if (renames_take(c, a)) {
		err = call_run(c, many_run, &m);
		if (err)
			many_fail(c, a, err, m.in_dir && a->done < a->count, a->from[a->done]);
		else
			count_reply(c, a->count, 200);
	}
	many_release(a);
}
