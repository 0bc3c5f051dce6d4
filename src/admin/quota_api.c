/* SPDX-License-Identifier: Apache-2.0 */
/* Quotas of directories: list, show, set, clear. */
#include "admin/admin_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/fiber.h"

#define BLOCK 4096ull
#define PATH_BYTES 4096			/* longer paths are cut off in front */
#define LIST_BYTES (32u << 10)

struct quota_args {
	struct objpath at;
	const char *volume;		/* all of this one */
	int64_t limit, soft;		/* blocks; -1: not given */
	struct fs_quota *q;
	uint32_t n;
	char (*paths)[PATH_BYTES];
};

static json_t *json_quota(const char *volume, const char *path, const struct fs_quota *q)
{
	json_t *j = json_object();
	char text[PATH_BYTES + FS_VOLUME_NAME_MAX + 2];
	int n = snprintf(text, sizeof(text), "%s:%s", volume, path);

	if (j && (json_set_name(j, "path", text, (size_t)n) || json_set_u64(j, "limit", q->limit_blocks * BLOCK) ||
		  json_set_u64(j, "soft", q->soft_blocks * BLOCK) || json_set_u64(j, "used", q->used_blocks * BLOCK) ||
		  json_set_u64(j, "files", q->files) ||
		  json_object_set_new(j, "over_soft", json_boolean(q->soft_blocks && q->used_blocks > q->soft_blocks)))) {
		json_decref(j);
		return NULL;
	}
	return j;
}

/* ---- from a directory back to its path -------------------------------------------------- */

/* The name that ID has in directory UP. */
static int name_in(struct fs_req *req, struct fs_id up, struct fs_id id, void *buf, struct fs_name *ret)
{
	struct fs_dirlist list = { .buf = buf, .cap = LIST_BYTES };
	uint64_t cookie = 2;
	int err;

	do {
		const struct fs_dirent *e = buf;

		err = fs_readdir(req, up, cookie, false, &list);
		for (unsigned i = 0; !err && i < list.n; i++, e = fs_dirent_next(e)) {
			cookie = e->cookie;
			if (e->ino != id.ino)
				continue;
			*ret = (struct fs_name){ e->name, e->name_len };
			return 0;
		}
	} while (!err && !list.eof && list.n);
	return err ? err : -ENOENT;
}

static int path_of(struct fs_req *req, struct fs_id id, void *buf, char ret[PATH_BYTES])
{
	size_t at = PATH_BYTES - 1;
	char text[PATH_BYTES];

	text[at] = 0;
	while (id.ino != FS_ROOT_INO) {
		struct fs_name name = { "..", 2 };
		struct fs_attr up;
		int err = fs_lookup(req, id, name, &up, NULL);

		if (!err)
			err = name_in(req, up.id, id, buf, &name);
		if (err)
			return err;
		if (name.len + 1 > at)
			break;
		at -= name.len;
		memcpy(text + at, name.s, name.len);
		text[--at] = '/';
		id = up.id;
	}
	if (!text[at])
		text[--at] = '/';
	memcpy(ret, text + at, PATH_BYTES - at);
	return 0;
}

static int paths_find(struct call *c, struct quota_args *a)
{
	void *buf = NULL;
	int err = 0;

	a->paths = calloc(a->n + 1, sizeof(*a->paths));
	if (!a->paths || posix_memalign(&buf, 8, LIST_BYTES))
		return -ENOMEM;
	for (uint32_t i = 0; i < a->n && !err; i++) {
		fiber_yield();		/* thousands, in a directory of thousands: others have their turn */
		err = path_of(&c->req, a->q[i].dir, buf, a->paths[i]);
		if (err == -ENOENT || err == -ESTALE) {	/* renamed or removed meanwhile */
			snprintf(a->paths[i], PATH_BYTES, "(inode %llu)", (unsigned long long)a->q[i].dir.ino);
			err = 0;
		}
	}
	free(buf);
	return err;
}

/* ---- list and show ---------------------------------------------------------------------- */

static int list_run(struct call *c, void *arg)
{
	struct quota_args *a = arg;
	CLEANUP_FREE struct fs_volume_info *v = malloc(sizeof(*v));
	int err = v ? fs_volume_find(c->req.fs, a->volume, v) : -ENOMEM;

	if (!err)
		err = fs_quota_list(&c->req, v->id, &a->q, &a->n);
	return err ? err : paths_find(c, a);
}

static int show_run(struct call *c, void *arg)
{
	struct quota_args *a = arg;
	struct fs_attr attr;
	int err = path_lookup(&c->req, &a->at, &attr);

	a->q = err ? NULL : calloc(1, sizeof(*a->q));
	if (!err && !a->q)
		err = -ENOMEM;
	if (!err)
		err = fs_quota_get(&c->req, attr.id, a->q);
	a->n = 1;
	return err ? err : paths_find(c, a);
}

static json_t *json_quotas(const char *volume, const struct quota_args *a)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < a->n; i++)
		if (json_array_append_new(list, json_quota(volume, a->paths[i], &a->q[i]))) {
			json_decref(list);
			return NULL;
		}
	return json_pack("{s:o?}", "quotas", list);
}

static void fail_quota(struct call *c, int err, const char *volume, const char *path)
{
	static const struct { int err; unsigned status; const char *code, *text; } rows[] = {
		{ ENODATA, 404, "no_quota", "no quota counts for it; 'pando quota list VOLUME' shows what there is" },
		{ EBUSY, 409, "nested", "lies in, or holds, a directory that has a quota; quotas don't nest: clear that "
		  "one first" },
		{ EMLINK, 409, "linked_elsewhere", "a file in it has another name elsewhere; remove one of the two" },
		{ E2BIG, 409, "too_many_files", "holds more files than the 10000 that one step can take; set the quota "
		  "before the directory is filled, or clone it in parts into one that has a quota" },
		{ EDQUOT, 409, "below_use", "holds more than that limit already; remove something, or set a larger one" },
		{ ERANGE, 400, "bad_argument", "soft: the soft limit is above the limit; make it smaller" },
		{ EINVAL, 409, "is_root", "is a volume's root; 'pando volume set --quota' limits the volume" },
		{ ENFILE, 409, "too_many_quotas", "the volume has as many directories with quotas as it can have (4096)" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].err == -err) {
			call_fail(c, rows[i].status, rows[i].code, "%s:%s: %s", volume, path, rows[i].text);
			return;
		}
	call_fail_err(c, err, "%s:%s", volume, path);
}

void get_quotas(struct call *c)
{
	CLEANUP_FREE struct quota_args *a = calloc(1, sizeof(*a));
	size_t len;
	int err;

	if (!a) {
		call_fail_err(c, -ENOMEM, "quotas");
		return;
	}
	if (arg_given(c, "path")) {
		if (!arg_path(c, "path", &a->at))
			return;
		err = call_run(c, show_run, a);
		if (err)
			fail_quota(c, err, a->at.volume, a->at.path);
		else
			call_reply(c, 200, json_quotas(a->at.volume, a));
	} else {
		if (!arg_text(c, "volume", &a->volume, &len) || !volume_name_take(c, a->volume, len))
			return;
		err = call_run(c, list_run, a);
		if (err)
			call_fail_err(c, err == -ENOENT ? -ENOMEDIUM : err, "%s", a->volume);
		else
			call_reply(c, 200, json_quotas(a->volume, a));
	}
	free(a->q);
	free(a->paths);
}

/* ---- set and clear ---------------------------------------------------------------------- */

static int set_run(struct call *c, void *arg)
{
	struct quota_args *a = arg;
	struct fs_attr attr;
	int err = path_lookup(&c->req, &a->at, &attr);

	if (!err)
		err = fs_quota_set(&c->req, attr.id, a->limit, a->soft, a->q);
	return err ? err : fs_wait_stable(c->req.fs, c->req.stable_seq);
}

static int clear_run(struct call *c, void *arg)
{
	struct quota_args *a = arg;
	struct fs_attr attr;
	int err = path_lookup(&c->req, &a->at, &attr);

	if (!err)
		err = fs_quota_clear(&c->req, attr.id);
	return err ? err : fs_wait_stable(c->req.fs, c->req.stable_seq);
}

bool arg_blocks(struct call *c, const char *key, int64_t *ret)
{
	uint64_t bytes = 0;

	*ret = -1;
	if (!arg_given(c, key))
		return true;
	if (!arg_number(c, key, INT64_MAX - BLOCK, &bytes))
		return false;
	*ret = (int64_t)((bytes + BLOCK - 1) / BLOCK);
	return true;
}

void post_quotas(struct call *c)
{
	struct fs_quota q;
	struct quota_args a = { .q = &q };
	int err;

	if (!arg_live_path(c, "path", &a.at) || !arg_blocks(c, "limit", &a.limit) || !arg_blocks(c, "soft", &a.soft))
		return;
	if (a.limit < 0 && a.soft < 0) {
		call_fail(c, 400, "missing", "%s:%s: nothing to set; give limit or soft", a.at.volume, a.at.path);
		return;
	}
	err = call_run(c, set_run, &a);
	if (err)
		fail_quota(c, err, a.at.volume, a.at.path);
	else
		call_reply(c, 200, json_quota(a.at.volume, a.at.path, &q));
}

void delete_quotas(struct call *c)
{
	struct quota_args a = { 0 };
	int err;

	if (!arg_live_path(c, "path", &a.at))
		return;
	err = call_run(c, clear_run, &a);
	if (err)
		fail_quota(c, err, a.at.volume, a.at.path);
	else
		call_reply(c, 200, json_pack("{s:s}", "cleared", a.at.path));
}
