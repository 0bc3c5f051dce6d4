/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clones: one, or many in one atomic call.
 *
 * Everything that can be refused is refused before fs_clone() is called, and fs_clone()
 * itself is whole or nothing: so no error leaves a part of the clones behind.
 */
#include "admin/admin_int.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct clone_args {
	struct objpath src, dst;	/* dst: the name or pattern; with names: the directory */
	uint64_t count, start;
	struct fs_name *names;
	char *text;			/* what the names point into, if they are made here */
	bool dst_is_dir, recursive;
	bool makes_room;
	uint32_t made;			/* inodes of a tree */
	/* out: */
	uint32_t bad;
	bool src_failed;
	struct fs_attr src_attr, first;
	uint64_t elapsed_ns;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int clone_do(struct call *c, struct clone_args *a)
{
	struct fs_attr dir;
	int err = path_lookup(&c->req, &a->src, &a->src_attr);

	c->req.makes_room = a->makes_room;
	if (!err && a->recursive)
		err = a->src_attr.type == FS_DIR ? 0 : -ENOTDIR;
	else if (!err && a->src_attr.type != FS_REG)
		err = a->src_attr.type == FS_DIR ? -EISDIR : -EINVAL;
	a->src_failed = err != 0;
	if (err)
		return err;
	if (a->dst_is_dir) {
		err = path_lookup(&c->req, &a->dst, &dir);
		if (!err && dir.type != FS_DIR)
			err = -ENOTDIR;
	} else {
		err = path_lookup_parent(&c->req, &a->dst, &dir);
	}
	if (!err && a->recursive)
		err = fs_clone_tree(&c->req, a->src_attr.id, dir.id, a->names[0], &a->first, &a->made);
	else if (!err)
		err = fs_clone(&c->req, a->src_attr.id, dir.id, a->names, (uint32_t)a->count,
			       &a->bad, &a->first);
	return err ? err : fs_wait_stable(c->req.fs, c->req.stable_seq);
}

static int clone_run(struct call *c, void *arg)
{
	struct clone_args *a = arg;
	uint64_t began_ns = now_ns();
	int err = clone_do(c, a);

	a->elapsed_ns = now_ns() - began_ns;
	return err;
}

/* ---- names ------------------------------------------------------------------------------ */

static bool names_single(struct call *c, struct clone_args *a)
{
	a->count = 1;
	if (objpath_is_root(&a->dst)) {
		call_fail(c, 409, "exists", "%s:/: is a volume's root; give the clone a name",
			  a->dst.volume);
		return false;
	}
	a->names = calloc(1, sizeof(*a->names));
	if (!a->names) {
		call_fail_err(c, -ENOMEM, "clone");
		return false;
	}
	a->names[0] = path_leaf_name(&a->dst);
	return true;
}

static bool names_room(struct call *c, struct clone_args *a, size_t text_bytes)
{
	a->names = calloc(a->count, sizeof(*a->names));
	a->text = malloc(text_bytes ? text_bytes : 1);
	if (a->names && a->text)
		return true;
	call_fail_err(c, -ENOMEM, "clone");
	return false;
}

static bool count_check(struct call *c, uint64_t count)
{
	if (!count)
		call_fail(c, 400, "bad_count", "count: 0 clones would be nothing; use 1 or more");
	else if (count > FS_CLONES_MAX)
		call_fail(c, 400, "bad_count", "count: %llu clones are too many for one call; use "
			  "at most %d at once", (unsigned long long)count, FS_CLONES_MAX);
	return count && count <= FS_CLONES_MAX;
}

static bool names_from_pattern(struct call *c, struct clone_args *a)
{
	char name[OBJNAME_NAME_MAX + 1], why[OBJNAME_WHY];
	struct name_pattern p;
	size_t used = 0;
	uint64_t i;

	if (!count_check(c, a->count))
		return false;
	if (name_pattern_parse(objpath_leaf(&a->dst), &p, why)) {
		call_fail(c, 400, "bad_pattern", "%s:%s: %s", a->dst.volume, a->dst.path, why);
		return false;
	}
	/* the last number has the most digits */
	if (name_pattern_expand(&p, a->start + a->count - 1, name)) {
		call_fail(c, 400, "name_too_long", "%s:%s: the names come out longer than %d "
			  "bytes; use a shorter pattern", a->dst.volume, a->dst.path,
			  OBJNAME_NAME_MAX);
		return false;
	}
	if (!names_room(c, a, a->count * (strlen(name) + 1)))
		return false;
	for (i = 0; i < a->count; i++) {
		name_pattern_expand(&p, a->start + i, name);
		a->names[i] = (struct fs_name){ a->text + used, (uint32_t)strlen(name) };
		memcpy(a->text + used, name, strlen(name));
		used += strlen(name);
	}
	return true;
}

static int name_compare(const void *x, const void *y)
{
	const struct fs_name *a = x, *b = y;
	int r = memcmp(a->s, b->s, a->len < b->len ? a->len : b->len);

	return r ? r : a->len < b->len ? -1 : a->len > b->len;
}

/* The same name twice would be an existing name for the second. */
static bool names_distinct(struct call *c, struct clone_args *a)
{
	struct fs_name *sorted = malloc(a->count * sizeof(*sorted));
	uint64_t i;

	if (!sorted) {
		call_fail_err(c, -ENOMEM, "clone");
		return false;
	}
	memcpy(sorted, a->names, a->count * sizeof(*sorted));
	qsort(sorted, a->count, sizeof(*sorted), name_compare);
	for (i = 1; i < a->count; i++)
		if (!name_compare(&sorted[i - 1], &sorted[i])) {
			call_fail(c, 400, "bad_name", "%s: stands twice among the names; each "
				  "clone needs its own", sorted[i].s);
			break;
		}
	free(sorted);
	return i >= a->count;
}

static bool names_from_list(struct call *c, struct clone_args *a, const json_t *list)
{
	size_t i;

	if (!json_is_array(list)) {
		call_fail(c, 400, "bad_argument", "names: must be a list of strings");
		return false;
	}
	a->count = json_array_size(list);
	a->dst_is_dir = true;
	if (!count_check(c, a->count) || !names_room(c, a, 0))
		return false;
	for (i = 0; i < a->count; i++)
		if (!json_name(c, json_array_get(list, i), &a->names[i]))
			return false;
	return names_distinct(c, a);
}

/* ---- the call --------------------------------------------------------------------------- */

static bool clone_args_take(struct call *c, struct clone_args *a)
{
	const json_t *list = json_object_get(c->json, "names");

	a->start = 1;
	if (!arg_path(c, "src", &a->src) || !arg_live_path(c, "dst", &a->dst) ||
	    !arg_number(c, "count", INT64_MAX, &a->count) ||
	    !arg_number(c, "start", 1000000000000ull, &a->start) ||
	    !arg_bool(c, "recursive", &a->recursive) || !arg_bool(c, "makes_room", &a->makes_room))
		return false;
	if (a->recursive && (list || arg_given(c, "count"))) {
		call_fail(c, 400, "bad_argument", "recursive: a directory is cloned once; give neither count nor "
			  "names");
		return false;
	}
	if (!objpath_same_volume(&a->src, &a->dst)) {
		call_fail(c, 400, "other_volume", "%s:%s: a clone shares blocks with its source, "
			  "so it must be in the same volume (%s)", a->dst.volume, a->dst.path,
			  a->src.volume);
		return false;
	}
	if (list)
		return names_from_list(c, a, list);
	if (!strcmp(a->src.path, a->dst.path) && !objpath_is_frozen(&a->src)) {
		call_fail(c, 409, "same_file", "%s:%s: a file cannot be cloned onto itself; give "
			  "the clone another name", a->dst.volume, a->dst.path);
		return false;
	}
	return arg_given(c, "count") ? names_from_pattern(c, a) : names_single(c, a);
}

/* The object that an error is about. */
static void clone_fail(struct call *c, struct clone_args *a, int err)
{
	const struct objpath *p = a->src_failed ? &a->src : &a->dst;
	struct objpath *dir = a->dst_is_dir ? NULL : malloc(sizeof(*dir));
	struct fs_name bad = a->names[a->bad < a->count ? a->bad : 0];

	if (dir)
		objpath_parent(&a->dst, dir);
	if (err == -ENOMEDIUM || err == -ESRCH)
		call_fail_err(c, err, "%s", p->volume);
	else if (a->recursive && err == -EINVAL)
		call_fail(c, 400, "invalid", "%s:%s: lies within the directory that is cloned", a->dst.volume,
			  a->dst.path);
	else if (a->recursive && err == -E2BIG)
		call_fail(c, 413, "too_large", "%s:%s: too many files for one atomic step (at most %d, and fewer "
			  "with a small cache); clone its parts, or the whole volume", p->volume, p->path,
			  FS_TREE_MAX);
	else if (a->recursive && a->src_failed && err == -ENOTDIR)
		call_fail(c, 409, "not_directory", "%s:%s: is not a directory; clone it without --recursive",
			  p->volume, p->path);
	else if (a->src_failed && err == -EINVAL)
		call_fail(c, 400, "invalid", "%s:%s: only regular files can be cloned", p->volume,
			  p->path);
	else if (err == -EEXIST)
		call_fail_err(c, err, "%s:%s%s%.*s", a->dst.volume, dir ? dir->path : a->dst.path,
			      objpath_is_root(dir ? dir : &a->dst) ? "" : "/", (int)bad.len, bad.s);
	else if (!a->src_failed && dir && (err == -ENOENT || err == -ENOTDIR))
		call_fail_err(c, err, "%s:%s", dir->volume, dir->path);
	else
		call_fail_err(c, err, "%s:%s", p->volume, p->path);
	free(dir);
}

void post_clones(struct call *c)
{
	struct clone_args *a = calloc(1, sizeof(*a));
	json_t *j;
	int err;

	c->state = a;
	if (!a) {
		call_fail_err(c, -ENOMEM, "clone");
		return;
	}
	if (clone_args_take(c, a)) {
		err = call_run(c, clone_run, a);
		if (err) {
			clone_fail(c, a, err);
		} else {
			j = json_object();
			json_set_u64(j, "count", a->recursive ? a->made : a->count);
			json_set_u64(j, "elapsed_us", (a->elapsed_ns + 999) / 1000);
			json_set_u64(j, "size", a->src_attr.size);
			json_set_u64(j, "mapped", fs_used_bytes(&a->src_attr));
			json_set_name(j, "first", a->names[0].s, a->names[0].len);
			call_reply(c, 201, j);
		}
	}
	free(a->names);
	free(a->text);
}
