/* SPDX-License-Identifier: Apache-2.0 */
/* The family of a file: what it was cloned from, and all clones of that. */
#include "admin/admin_int.h"

#include <stdlib.h>
#include <string.h>

#include "fs/family.h"

#define FILES_MAX 10000			/* that are told */

struct family_args {
	struct objpath path;
	uint64_t limit;
	struct fs_family f;
};

static int family_run(struct call *c, void *arg)
{
	struct family_args *a = arg;
	struct fs_attr attr;
	int err = path_lookup(&c->req, &a->path, &attr);

	return err ? err : fs_family(&c->req, attr.id, &a->f);
}

static json_t *json_relative(const struct fs_relative *r)
{
	json_t *j = json_pack("{s:s,s:b,s:b}", "volume", r->volume, "asked", r->asked, "by_volume", r->by_volume);

	if (!j)
		return NULL;
	if (r->path)
		json_set_name(j, "path", r->path, strlen(r->path));
	else
		json_object_set_new(j, "path", json_null());
	json_set_u64(j, "depth", r->depth);
	json_object_set_new(j, "parent", r->parent == FS_FAMILY_NONE ? json_null() : json_integer(r->parent));
	json_set_u64(j, "inode", r->id.ino);
	json_set_u64(j, "generation", r->id.generation);
	json_set_u64(j, "size", r->size);
	json_set_u64(j, "mapped", r->mapped_blocks * 4096);
	json_object_set_new(j, "snapshots", r->snapshots == FS_FAMILY_NONE ? json_null() : json_integer(r->snapshots));
	return j;
}

static json_t *json_family(const struct family_args *a)
{
	json_t *list = json_array();

	for (uint32_t i = 0; list && i < a->f.n && i < a->limit; i++)
		if (json_array_append_new(list, json_relative(&a->f.r[i]))) {
			json_decref(list);
			return NULL;
		}
	return json_pack("{s:o?,s:I,s:b}", "files", list, "count", (json_int_t)a->f.n, "origin_gone", a->f.origin_gone);
}

void get_family(struct call *c)
{
	struct family_args *a = calloc(1, sizeof(*a));
	int err;

	c->state = a;
	if (!a) {
		call_fail_err(c, -ENOMEM, "path");
		return;
	}
	a->limit = FILES_MAX;
	if (!arg_path(c, "path", &a->path) || !arg_number(c, "limit", FILES_MAX, &a->limit))
		return;
	err = call_run(c, family_run, a);
	if (!err)
		call_reply(c, 200, json_family(a));
	else if (err == -ENOMEDIUM || err == -ESRCH)
		call_fail_err(c, err, "%s", a->path.volume);
	else if (err == -EINVAL)
		call_fail(c, 400, "invalid", "%s:%s: is not a regular file", a->path.volume, a->path.path);
	else if (err == -ESTALE && objpath_is_frozen(&a->path))
		call_fail(c, 404, "not_found", "%s:%s: is not in the volume any more, and only what is there has a family",
			  a->path.volume, a->path.path);
	else if (err == -E2BIG)
		call_fail(c, 413, "too_large", "%s:%s: the pool has more than %u clones; that is too many to look "
			  "through", a->path.volume, a->path.path, 2 * FS_FAMILY_MAX);
	else
		call_fail_err(c, err, "%s:%s", a->path.volume, a->path.path);
	fs_family_done(&a->f);
}
