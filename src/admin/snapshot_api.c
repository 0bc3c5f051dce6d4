/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots: list, create, restore, destroy; and volumes made of them. */
#include "admin/admin_int.h"
#include "admin/repl_api.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 4096ull
#define SNAPSHOTS_PAGE 64		/* read in one go of the loop */

static json_t *json_snapshot(const char *volume, const struct fs_snapshot_info *s)
{
	struct fs_time created = { (int64_t)(s->created_ns / 1000000000),
				   (uint32_t)(s->created_ns % 1000000000) };
	json_t *j = json_pack("{s:s,s:s,s:I,s:o?}", "volume", volume, "name", s->name, "id",
			      (json_int_t)s->id, "created", json_time(&created));

	if (j && (json_set_u64(j, "files", s->files) || json_set_u64(j, "mapped", s->mapped_blocks * BLOCK))) {
		json_decref(j);
		return NULL;
	}
	return j;
}

/* ---- arguments -------------------------------------------------------------------------- */

struct snapshot_args {
	struct objsnap at;
	const char *name;		/* of a new volume */
	bool force;
	struct fs_snapshot_info info;
	struct fs_volume_info vinfo;
};

/* VOLUME@SNAPSHOT, or with BARE also VOLUME. */
static bool arg_snapshot(struct call *c, const char *key, bool bare, struct objsnap *ret)
{
	char why[OBJNAME_WHY];
	const char *text;
	size_t len;
	int err;

	if (!arg_text(c, key, &text, &len))
		return false;
	err = objsnap_parse(text, len, bare, ret, why);
	if (err)
		call_fail(c, 400, err == -ENAMETOOLONG ? "name_too_long" : "bad_name", "%s", why);
	return !err;
}

/* In a fiber: whether the volume is there, to be told from its snapshot. */
static int volume_there(struct call *c, const char *volume)
{
	CLEANUP_FREE struct fs_volume_info *v = malloc(sizeof(*v));
	int err = v ? fs_volume_find(c->admin->cfg.fs, volume, v) : -ENOMEM;

	return err == -ENOENT ? -ENOMEDIUM : err;
}

static void snapshot_fail(struct call *c, const struct objsnap *at, int err)
{
	if (err == -ENOMEDIUM)
		call_fail_err(c, err, "%s", at->volume);
	else if (err == -ENOENT)
		call_fail_err(c, -ESRCH, "%s@%s", at->volume, at->snapshot);
	else if (err == -EBUSY)
		call_fail(c, 409, "busy", "%s: clients have files of it open; close them first, or use "
			  "--force to restore it under their hands", at->volume);
	else
		call_fail_err(c, err, "%s%s%s", at->volume, at->snapshot[0] ? "@" : "", at->snapshot);
}

static struct snapshot_args *args_new(struct call *c)
{
	c->state = calloc(1, sizeof(struct snapshot_args));
	if (!c->state)
		call_fail_err(c, -ENOMEM, "snapshot");
	return c->state;
}

/* ---- list ------------------------------------------------------------------------------- */

struct snapshot_page {
	const char *volume;
	uint32_t id, after;
	unsigned n;
	struct fs_snapshot_info s[SNAPSHOTS_PAGE];
};

static int list_run(struct call *c, void *arg)
{
	struct snapshot_page *p = arg;
	CLEANUP_FREE struct fs_volume_info *v = malloc(sizeof(*v));
	int err = v ? fs_volume_find(c->admin->cfg.fs, p->volume, v) : -ENOMEM;

	if (err)
		return err == -ENOENT ? -ENOMEDIUM : err;
	for (p->n = 0; p->n < SNAPSHOTS_PAGE; p->n++) {
		err = fs_snapshot_next(c->admin->cfg.fs, v->id, p->after, &p->s[p->n]);
		if (err)
			break;
		p->after = p->s[p->n].id;
	}
	return err == -ENOENT ? 0 : err;
}

static int list_all(struct call *c, struct snapshot_page *p, json_t *list)
{
	int err = list ? 0 : -ENOMEM;

	while (!err) {
		err = call_run(c, list_run, p);
		for (unsigned i = 0; !err && i < p->n; i++)
			if (json_array_append_new(list, json_snapshot(p->volume, &p->s[i])))
				err = -ENOMEM;
		if (!err && p->n < SNAPSHOTS_PAGE)
			break;
	}
	return err;
}

void get_snapshots(struct call *c)
{
	struct snapshot_page *p = calloc(1, sizeof(*p));
	struct objsnap at = { 0 };
	json_t *list;
	int err;

	c->state = p;
	if (!p) {
		call_fail_err(c, -ENOMEM, "snapshots");
		return;
	}
	if (!arg_snapshot(c, "volume", true, &at))
		return;
	if (at.snapshot[0]) {
		call_fail(c, 400, "bad_name", "%s@%s: name the volume alone", at.volume, at.snapshot);
		return;
	}
	p->volume = at.volume;
	list = json_array();
	err = list_all(c, p, list);
	if (!err) {
		call_reply(c, 200, json_pack("{s:o}", "snapshots", list));
		return;
	}
	json_decref(list);
	snapshot_fail(c, &at, err);
}

/* ---- create and destroy ----------------------------------------------------------------- */

static int create_run(struct call *c, void *arg)
{
	struct snapshot_args *a = arg;
	int err = fs_snapshot_create(&c->req, a->at.volume, a->at.snapshot, &a->info);

	if (err == -ENOENT)
		err = -ENOMEDIUM;
	return err ? err : fs_wait_stable(c->admin->cfg.fs, c->req.stable_seq);
}

void post_snapshots(struct call *c)
{
	struct snapshot_args *a = args_new(c);
	int err;

	if (!a || !arg_snapshot(c, "snapshot", false, &a->at))
		return;
	err = call_run(c, create_run, a);
	if (err)
		snapshot_fail(c, &a->at, err);
	else
		call_reply(c, 201, json_snapshot(a->at.volume, &a->info));
}

static int destroy_run(struct call *c, void *arg)
{
	struct snapshot_args *a = arg;
	int err = volume_there(c, a->at.volume);

	if (!err && sends_use(c->admin, a->at.volume, a->at.snapshot))
		err = -ETXTBSY;
	if (!err)
		err = fs_snapshot_destroy(&c->req, a->at.volume, a->at.snapshot);
	return err ? err : fs_wait_stable(c->admin->cfg.fs, c->req.stable_seq);
}

void delete_snapshots(struct call *c)
{
	struct snapshot_args *a = args_new(c);
	char text[sizeof(a->at.volume) + sizeof(a->at.snapshot) + 1];
	int err;

	if (!a || !arg_snapshot(c, "snapshot", false, &a->at))
		return;
	snprintf(text, sizeof(text), "%s@%s", a->at.volume, a->at.snapshot);
	err = call_run(c, destroy_run, a);
	if (err)
		snapshot_fail(c, &a->at, err);
	else
		call_reply(c, 200, json_pack("{s:s}", "destroyed", text));
}

/* ---- restore and clone ------------------------------------------------------------------ */

static int restore_run(struct call *c, void *arg)
{
	struct snapshot_args *a = arg;
	int err = volume_there(c, a->at.volume);

	if (!err)
		err = fs_volume_restore(&c->req, a->at.volume, a->at.snapshot, a->force);
	return err ? err : fs_wait_stable(c->admin->cfg.fs, c->req.stable_seq);
}

void post_restore(struct call *c)
{
	struct snapshot_args *a = args_new(c);
	int err;

	if (!a || !arg_snapshot(c, "snapshot", false, &a->at) || !arg_bool(c, "force", &a->force))
		return;
	err = call_run(c, restore_run, a);
	if (err)
		snapshot_fail(c, &a->at, err);
	else
		call_reply(c, 200, json_pack("{s:s,s:s}", "volume", a->at.volume, "restored",
					     a->at.snapshot));
}

static int clone_run(struct call *c, void *arg)
{
	struct snapshot_args *a = arg;
	int err = volume_there(c, a->at.volume);

	if (!err)
		err = fs_volume_clone(&c->req, a->at.volume, a->at.snapshot[0] ? a->at.snapshot : NULL,
				      a->name, &a->vinfo);
	return err ? err : fs_wait_stable(c->admin->cfg.fs, c->req.stable_seq);
}

void post_volume_clones(struct call *c)
{
	struct snapshot_args *a = args_new(c);
	size_t len;
	int err;

	if (!a || !arg_snapshot(c, "source", true, &a->at) || !arg_text(c, "name", &a->name, &len) ||
	    !volume_name_take(c, a->name, len))
		return;
	err = call_run(c, clone_run, a);
	if (err == -EEXIST)
		call_fail_err(c, err, "%s", a->name);
	else if (err)
		snapshot_fail(c, &a->at, err);
	else
		call_reply(c, 201, json_volume(&a->vinfo));
}
