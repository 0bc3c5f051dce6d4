/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many small changes in one call, for who keeps a directory with hundreds of files: the files
 * of a fleet's machines are written, and put in the place of others, at the price of one flush.
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
	const unsigned char *data;	/* in many_args.bytes */
	size_t len;
	uint64_t size;			/* of the file: LEN, or more with a hole behind it */
};

struct many_args {
	struct objpath dir;
	bool replace;
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
	if (err == -ENOMEDIUM)
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
	int (*one)(struct call *c, const struct many_args *a, size_t i, struct fs_id dir);
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
		err = fs_write(&c->req, id, at, &iov, 1, (uint32_t)n, false, NULL);
	}
	return err;
}

/* Filled before it has a name: whoever finds it finds it whole, after a crash too. */
static int file_put(struct call *c, const struct many_args *a, const struct small_file *f,
		    struct fs_id dir)
{
	struct fs_setattr set = a->set;
	struct fs_attr attr;
	uint32_t mode = set.mask & FS_SET_MODE ? set.mode : 0644;
	int err = fs_create_unnamed(&c->req, dir.volume, mode, &attr);

	if (err)
		return err;
	err = file_fill(c, f, attr.id);
	set.mask &= FS_SET_UID | FS_SET_GID;
	set.mask |= f->size > f->len ? FS_SET_SIZE : 0;
	set.size = f->size;
	if (!err && set.mask)
		err = fs_setattr(&c->req, attr.id, &set, NULL);
	if (!err)
		err = fs_link(&c->req, attr.id, dir, f->name, a->replace, NULL, NULL);
	if (err)
		fs_forget(&c->req, attr.id);
	return err;
}
static int file_done(struct call *c, const struct many_args *a, size_t i, struct fs_id dir)
{
	return file_put(c, a, &a->files[i], dir);
}

/* One of the list, its bytes decoded to TO: how many they are, or -1 after a call_fail(). */
static ssize_t file_take(struct call *c, const json_t *j, unsigned char *to, size_t room,
			 struct small_file *f)
{
	const json_t *data = json_object_get(j, "data"), *size = json_object_get(j, "size");
	const char *text = json_string_value(data), *end = NULL;

	if (!json_name(c, json_object_get(j, "name"), &f->name))
		return -1;
	if (!text || sodium_base642bin(to, room, text, json_string_length(data), NULL, &f->len, &end,
				       sodium_base64_VARIANT_ORIGINAL) ||
	    end != text + json_string_length(data)) {
		call_fail(c, 400, "bad_argument", "%s: data: must be its bytes in base64", f->name.s);
		return -1;
	}
	f->data = to;
	f->size = size ? (uint64_t)json_integer_value(size) : f->len;
	if (size && (!json_is_integer(size) || json_integer_value(size) < 0 ||
		     f->size > FS_MAX_SIZE || f->size < f->len)) {
		call_fail(c, 400, "bad_argument", "%s: size: must be a whole number, not less than "
			  "the bytes of data", f->name.s);
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
		n = file_take(c, j, a->bytes + used, c->body_len + 1 - used, &a->files[i]);
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
	return a && arg_path(c, "path", &a->dir) ? a : NULL;
}

void post_files(struct call *c)
{
	struct many_args *a = many_begin(c);
	struct many_run m = { .a = a, .one = file_done };
	int err;

	if (!a)
		return;
	if (arg_bool(c, "replace", &a->replace) && arg_owner(c, &a->set) && files_take(c, a)) {
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

static int rename_done(struct call *c, const struct many_args *a, size_t i, struct fs_id dir)
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
