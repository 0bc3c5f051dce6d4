/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What differs between two volumes or snapshots, file by file.  A page is found from inodes, in time that depends on
 * what differs; then its files get their names, for which the directories of both sides are looked through once.
 */
#include "admin/admin_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/fiber.h"
#include "fs/diff.h"
#include "fs/names.h"

#define FILES_PAGE 2000			/* and up to a step more */
#define STEPS_MAX 4096

struct side_name { char *path; size_t len; uint64_t parent; char *leaf; };

struct vfile {
	struct fs_vdiff_entry e;
	uint64_t changed_bytes;
	struct side_name name[2];	/* in A, in B */
};

struct vdiff_args {
	struct objpath at[2];
	unsigned failed;		/* which of them */
	bool quick, names;
	struct fs_attr root[2];
	struct fs_vdiff d;
	struct fs_diff diff;
	struct vfile *files;
	unsigned n, cap;
	unsigned side;			/* whose names are looked for */
};

/* ---- which files ------------------------------------------------------------------------ */

static bool has(const struct fs_vdiff_entry *e, unsigned side)
{
	return !(e->what & (side ? FS_VDIFF_REMOVED : FS_VDIFF_ADDED));
}

static const struct fs_attr *attr_of(const struct vfile *f)
{
	return has(&f->e, 1) ? &f->e.b : &f->e.a;
}

/* In both: how many bytes of its content differ. */
static int count_changed(struct call *c, struct vdiff_args *a, const struct fs_vdiff_entry *e, uint64_t *ret)
{
	int err = 0;

	a->diff = (struct fs_diff){ .a = e->a.id, .b = e->b.id, .quick = a->quick, .count = true };
	*ret = 0;
	while (!err && a->diff.next != UINT64_MAX) {
		err = fs_diff(&c->req, &a->diff);
		for (unsigned i = 0; !err && i < 3; i++)
			*ret += a->diff.bytes[i];
		fiber_yield();
		if (!err && c->admin->stopping)
			err = -EINTR;
	}
	return err == -ESTALE ? 0 : err;	/* it was removed meanwhile */
}

static int add_file(struct call *c, struct vdiff_args *a, const struct fs_vdiff_entry *e)
{
	struct vfile f = { .e = *e };
	int err = 0;

	if ((e->what & FS_VDIFF_CONTENT) && e->a.type == FS_REG)
		err = count_changed(c, a, e, &f.changed_bytes);
	else if (e->what & (FS_VDIFF_ADDED | FS_VDIFF_REMOVED))
		f.changed_bytes = attr_of(&f)->mapped_bytes;
	/* Written anew as it was, or moved to other blocks. */
	if (e->a.type != FS_REG || (!f.changed_bytes && e->a.size == e->b.size))
		f.e.what &= ~FS_VDIFF_CONTENT;
	if (err || !f.e.what)
		return err;
	if (a->n == a->cap) {
		unsigned cap = a->cap ? 2 * a->cap : 64;
		struct vfile *more = realloc(a->files, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		a->files = more;
		a->cap = cap;
	}
	a->files[a->n++] = f;
	return 0;
}

static int find_files(struct call *c, struct vdiff_args *a)
{
	int err = 0;

	for (unsigned step = 0; !err && step < STEPS_MAX && a->n < FILES_PAGE; step++) {
		err = fs_vdiff(&c->req, &a->d);
		for (unsigned i = 0; !err && i < a->d.n; i++)
			err = add_file(c, a, &a->d.e[i]);
		if (a->d.next == UINT64_MAX)
			break;
		fiber_yield();
	}
	return err;
}

/* ---- their names ------------------------------------------------------------------------ */

static int take_name(void *arg, const struct fs_named *n)
{
	struct vdiff_args *a = arg;
	unsigned lo = 0, hi = a->n;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (attr_of(&a->files[mid])->id.ino < n->id.ino)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < a->n && attr_of(&a->files[lo])->id.ino == n->id.ino; lo++) {
		struct vfile *f = &a->files[lo];
		struct side_name *s = &f->name[a->side];

		if (attr_of(f)->id.generation != n->id.generation || s->path)
			continue;
		s->len = strlen(n->path);
		s->path = strdup(n->path);
		if (!s->path)
			return -ENOMEM;
		s->parent = n->parent;
		s->leaf = s->path + s->len - n->name.len;
	}
	return 0;
}

/* All names in A or B.  fs_names_each() tells what is in the root, but not its own. */
static int take_names(struct call *c, struct vdiff_args *a)
{
	const struct fs_named root = { .path = "/", .name = { "", 0 }, .id = a->root[a->side].id };
	int err = take_name(a, &root);

	return err ? err : fs_names_each(&c->req, root.id, "/", take_name, a);
}

/* Hard links have more names than the one that was found first. */
static bool renamed(const struct vfile *f)
{
	const struct side_name *a = &f->name[0], *b = &f->name[1];

	if (!a->path || !b->path || (f->e.a.type != FS_DIR && (f->e.a.nlink > 1 || f->e.b.nlink > 1)))
		return false;
	return a->parent != b->parent || strcmp(a->leaf, b->leaf);
}

static int vdiff_run(struct call *c, void *arg)
{
	struct vdiff_args *a = arg;
	int err = path_lookup(&c->req, &a->at[0], &a->root[0]);

	if (err)
		return err;
	a->failed = 1;
	err = path_lookup(&c->req, &a->at[1], &a->root[1]);
	if (err)
		return err;
	a->failed = 0;
	a->d.a = a->root[0].id;
	a->d.b = a->root[1].id;
	err = find_files(c, a);
	for (a->side = 0; !err && a->names && a->n && a->side < 2; a->side++)
		err = take_names(c, a);
	return err;
}

/* ---- the answer ------------------------------------------------------------------------- */

static json_t *json_what(const struct vfile *f)
{
	json_t *j = json_array();

	if (f->e.what & FS_VDIFF_ADDED)
		json_array_append_new(j, json_string("added"));
	if (f->e.what & FS_VDIFF_REMOVED)
		json_array_append_new(j, json_string("removed"));
	if (f->e.what & FS_VDIFF_CONTENT)
		json_array_append_new(j, json_string("content"));
	if (f->e.what & FS_VDIFF_ATTRS)
		json_array_append_new(j, json_string("attributes"));
	if (renamed(f))
		json_array_append_new(j, json_string("renamed"));
	if (!json_array_size(j))
		json_array_append_new(j, json_string("times"));
	return j;
}

/* A directory in which entries have come and gone is not worth a line: they are. */
static bool worth_saying(const struct vdiff_args *a, const struct vfile *f)
{
	return attr_of(f)->type != FS_DIR || !a->names || renamed(f) || f->e.what & ~(unsigned)FS_VDIFF_TIMES;
}

static json_t *json_vfile(const struct vfile *f)
{
	const struct fs_attr *at = attr_of(f);
	const struct side_name *now = &f->name[has(&f->e, 1)];
	json_t *j = json_pack("{s:o?,s:s}", "what", json_what(f), "type", type_name(at->type));

	if (!j)
		return NULL;
	if (now->path)
		json_set_name(j, "path", now->path, now->len);
	else
		json_object_set_new(j, "path", json_null());
	if (renamed(f))
		json_set_name(j, "old_path", f->name[0].path, f->name[0].len);
	json_set_u64(j, "inode", at->id.ino);
	json_set_u64(j, "generation", at->id.generation);
	json_set_u64(j, "links", at->nlink);
	if (has(&f->e, 0))
		json_set_u64(j, "old_size", f->e.a.size);
	if (has(&f->e, 1))
		json_set_u64(j, "size", f->e.b.size);
	json_set_u64(j, "changed_bytes", f->changed_bytes);
	return j;
}

static json_t *json_vdiff(const struct vdiff_args *a)
{
	json_t *list = json_array();

	for (unsigned i = 0; list && i < a->n; i++)
		if (worth_saying(a, &a->files[i]) && json_array_append_new(list, json_vfile(&a->files[i]))) {
			json_decref(list);
			return NULL;
		}
	return json_pack("{s:o?,s:o?}", "files", list, "next",
			 a->d.next == UINT64_MAX ? json_null() : json_integer((json_int_t)a->d.next));
}

/* VOLUME or VOLUME@SNAPSHOT: as the path of its root. */
static bool arg_volume(struct call *c, const char *key, struct objpath *ret)
{
	struct objsnap s = { 0 };
	char why[OBJNAME_WHY];
	const char *text;
	size_t len;
	int err;

	if (!arg_text(c, key, &text, &len))
		return false;
	err = objsnap_parse(text, len, true, &s, why);
	if (err) {
		call_fail(c, 400, err == -ENAMETOOLONG ? "name_too_long" : "bad_name", "%s", why);
		return false;
	}
	snprintf(ret->volume, sizeof(ret->volume), "%s%s%s", s.volume, s.snapshot[0] ? "@" : "", s.snapshot);
	strcpy(ret->path, "/");
	return true;
}

void get_volume_diff(struct call *c)
{
	struct vdiff_args *a = calloc(1, sizeof(*a));
	int err;

	c->state = a;
	if (!a) {
		call_fail_err(c, -ENOMEM, "diff");
		return;
	}
	a->names = true;
	if (!arg_volume(c, "a", &a->at[0]) || !arg_volume(c, "b", &a->at[1]) ||
	    !arg_number(c, "after", INT64_MAX, &a->d.next) || !arg_bool(c, "quick", &a->quick) ||
	    !arg_bool(c, "names", &a->names))
		return;
	err = call_run(c, vdiff_run, a);
	if (err)
		call_fail_err(c, err, "%s", a->at[a->failed].volume);
	else
		call_reply(c, 200, json_vdiff(a));
	for (unsigned i = 0; i < a->n; i++) {
		free(a->files[i].name[0].path);
		free(a->files[i].name[1].path);
	}
	free(a->files);
}
