/* SPDX-License-Identifier: Apache-2.0 */
/* What differs between two files, page by page; or between a file and what it was cloned from. */
#include "admin/admin_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/fiber.h"
#include "fs/diff.h"

#define RANGES_MAX 1000			/* in one page */
#define STEPS_MAX 4096			/* of one page, if there is little to say */

struct diff_args {
	struct objpath a, b;
	bool origin;			/* A is B's */
	bool b_failed;
	uint64_t limit, bytes[3];
	unsigned n;
	struct fs_diff d;
	struct fs_diff_range ranges[RANGES_MAX + FS_DIFF_RANGES];
};

static int find_origin(struct call *c, struct diff_args *a, struct fs_attr *b, struct fs_attr *ret)
{
	int err;

	if (!b->origin.ino)
		return -ENODATA;
	err = fs_getattr(&c->req, b->origin, ret);
	return err == -ESTALE ? -EIDRM : err;
}

static int lookup_both(struct call *c, struct diff_args *a)
{
	struct fs_attr x, y;
	int err = path_lookup(&c->req, &a->b, &y);

	a->b_failed = err != 0;
	if (err)
		return err;
	err = a->origin ? find_origin(c, a, &y, &x) : path_lookup(&c->req, &a->a, &x);
	a->d.a = x.id;
	a->d.b = y.id;
	a->b_failed = a->origin || (!err && x.type == FS_REG);	/* what the next error is about */
	return err;
}

static void keep(struct diff_args *a)
{
	for (unsigned i = 0; i < 3; i++)
		a->bytes[i] += a->d.bytes[i];
	for (unsigned i = 0; i < a->d.n; i++) {
		const struct fs_diff_range *r = &a->d.ranges[i];
		struct fs_diff_range *last = a->n ? &a->ranges[a->n - 1] : NULL;

		if (last && last->kind == r->kind && last->offset + last->len == r->offset)
			last->len += r->len;
		else
			a->ranges[a->n++] = *r;
	}
}

static int diff_run(struct call *c, void *arg)
{
	struct diff_args *a = arg;
	int err = lookup_both(c, a);

	for (unsigned step = 0; !err && step < STEPS_MAX && a->n < a->limit; step++) {
		err = fs_diff(&c->req, &a->d);
		if (err)
			break;
		keep(a);
		if (a->d.next == UINT64_MAX)
			break;
		fiber_yield();
		err = c->admin->stopping ? -EINTR : 0;
	}
	return err;
}

static json_t *json_side(const struct fs_attr *at)
{
	json_t *j = json_object();

	json_set_u64(j, "inode", at->id.ino);
	json_set_u64(j, "generation", at->id.generation);
	json_set_u64(j, "size", at->size);
	json_set_u64(j, "mapped", fs_used_bytes(at));
	json_set_u64(j, "change", at->change);
	return j;
}

static const char *const kinds[] = { "changed", "data", "hole" };

static json_t *json_bytes(const struct diff_args *a)
{
	json_t *j = json_object();

	for (unsigned i = 0; i < 3; i++)
		json_set_u64(j, kinds[i], a->bytes[i]);
	return j;
}

static json_t *json_ranges(const struct diff_args *a)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < a->n; i++) {
		const struct fs_diff_range *r = &a->ranges[i];

		json_array_append_new(list, json_pack("{s:I,s:I,s:s}", "offset", (json_int_t)r->offset, "length",
						      (json_int_t)r->len, "kind", kinds[r->kind]));
	}
	if (json_array_size(list) == a->n)
		return list;
	json_decref(list);
	return NULL;
}

static json_t *json_diff(const struct diff_args *a)
{
	json_t *next = a->d.next == UINT64_MAX ? json_null() : json_integer((json_int_t)a->d.next);
	json_t *found = a->d.count ? json_bytes(a) : json_ranges(a);
	json_t *j;

	if (!found) {
		json_decref(next);
		return NULL;
	}
	j = json_pack("{s:o?,s:o?,s:o?,s:o?}", "a", json_side(&a->d.a_attr), "b", json_side(&a->d.b_attr),
		      a->d.count ? "bytes" : "ranges", found, "next", next);
	if (j && a->origin)	/* events are numbered: what is greater came later */
		json_object_set_new(j, "origin_changed", json_boolean(a->d.a_attr.change >
								      a->d.b_attr.id.generation));
	return j;
}

static void diff_fail(struct call *c, const struct diff_args *a, int err)
{
	const struct objpath *p = a->b_failed ? &a->b : &a->a;

	if (err == -ENODATA)
		call_fail(c, 409, "no_origin", "%s:%s: is no clone; name the file that it is to be compared with",
			  p->volume, p->path);
	else if (err == -EIDRM)
		call_fail(c, 409, "no_origin", "%s:%s: what it was cloned from is not there any more; name the file "
			  "that it is to be compared with", p->volume, p->path);
	else if (err == -EINVAL)
		call_fail(c, 400, "invalid", "%s:%s: is not a regular file", p->volume, p->path);
	else if (err == -ENOMEDIUM || err == -ESRCH)
		call_fail_err(c, err, "%s", p->volume);
	else
		call_fail_err(c, err, "%s:%s", p->volume, p->path);
}

void get_diff(struct call *c)
{
	struct diff_args *a = calloc(1, sizeof(*a));
	int err;

	c->state = a;
	if (!a) {
		call_fail_err(c, -ENOMEM, "diff");
		return;
	}
	a->limit = RANGES_MAX;
	a->origin = !arg_given(c, "a");
	if (!arg_path(c, "b", &a->b) || (!a->origin && !arg_path(c, "a", &a->a)) ||
	    !arg_number(c, "offset", INT64_MAX, &a->d.next) || !arg_number(c, "limit", RANGES_MAX, &a->limit) ||
	    !arg_bool(c, "quick", &a->d.quick) || !arg_bool(c, "count", &a->d.count))
		return;
	err = call_run(c, diff_run, a);
	if (err)
		diff_fail(c, a, err);
	else
		call_reply(c, 200, json_diff(a));
}
