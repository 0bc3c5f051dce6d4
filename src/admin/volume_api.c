/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes: list, create, show, set, destroy. */
#include "admin/admin_int.h"
#include "admin/repl_api.h"

#include <stdlib.h>
#include <string.h>

#include "admin/schedule.h"
#include "base/fiber.h"
#include "fs/account.h"
#include "nfs/exports.h"

#define BLOCK 4096ull
#define VOLUMES_PAGE 64		/* read in one go of the loop */

json_t *json_volume(const struct fs_volume_info *v)
{
	struct fs_time created = { (int64_t)(v->created_ns / 1000000000),
				   (uint32_t)(v->created_ns % 1000000000) };
	char fsid[20];
	json_t *j;

	snprintf(fsid, sizeof(fsid), "%016llx", (unsigned long long)v->fsid);
	j = json_pack("{s:s,s:I,s:o?,s:s,s:o?}", "name", v->name, "id", (json_int_t)v->id, "uuid",
		      json_uuid(v->uuid), "fsid", fsid, "created", json_time(&created));
	if (!j)
		return NULL;
	if (json_set_u64(j, "files", v->files) ||
	    json_set_u64(j, "mapped", v->mapped_blocks * BLOCK) ||
	    json_set_u64(j, "quota", v->quota_blocks * BLOCK) ||
	    json_object_set_new(j, "dedup", json_boolean(v->dedup)) ||
	    json_set_u64(j, "soft", v->soft_blocks * BLOCK) ||
	    json_object_set_new(j, "over_soft", json_boolean(v->soft_blocks && v->mapped_blocks > v->soft_blocks)) ||
	    json_set_u64(j, "reserve", v->reserve_blocks * BLOCK) ||
	    json_set_u64(j, "reserve_left", v->reserve_left_blocks * BLOCK) ||
	    json_set_u64(j, "physical", v->physical_blocks * BLOCK) ||
	    json_set_u64(j, "physical_used", v->held_blocks * BLOCK) ||
	    json_object_set_new(j, "physical_uncounted", json_boolean(v->held_stale)) ||
	    json_set_u64(j, "quota_directories", v->quota_dirs) ||
	    json_set_name(j, "exports", v->exports, strlen(v->exports)) ||
	    json_set_name(j, "schedule", v->schedule, strlen(v->schedule))) {
		json_decref(j);
		return NULL;
	}
	return j;
}

/* ---- list ------------------------------------------------------------------------------- */

struct volume_page {
	uint32_t after;
	unsigned n;
	struct fs_volume_info v[VOLUMES_PAGE];
};

static int list_run(struct call *c, void *arg)
{
	struct volume_page *p = arg;
	int err = 0;

	for (p->n = 0; p->n < VOLUMES_PAGE; p->n++) {
		err = fs_volume_next(c->admin->cfg.fs, p->after, &p->v[p->n]);
		if (err)
			break;
		p->after = p->v[p->n].id;
	}
	return err == -ENOENT ? 0 : err;
}

void get_volumes(struct call *c)
{
	CLEANUP_FREE struct volume_page *p = calloc(1, sizeof(*p));
	json_t *list = json_array();
	unsigned i;
	int err = p && list ? 0 : -ENOMEM;

	while (!err) {
		err = call_run(c, list_run, p);
		for (i = 0; !err && i < p->n; i++)
			if (json_array_append_new(list, json_volume(&p->v[i])))
				err = -ENOMEM;
		if (!err && p->n < VOLUMES_PAGE)
			break;
	}
	if (err) {
		json_decref(list);
		call_fail_err(c, err, "the list of volumes");
		return;
	}
	call_reply(c, 200, json_pack("{s:o}", "volumes", list));
}

/* ---- create and set --------------------------------------------------------------------- */

struct volume_args {
	const char *name;
	const char *exports, *schedule;	/* NULL: not given */
	struct fs_limits limits;	/* -1: not given */
	bool dedup, dedup_given;
	struct fs_volume_info info;
};

static bool schedule_take(struct call *c, struct volume_args *a)
{
	char why[OBJNAME_WHY];
	struct schedule s;
	size_t len;

	if (!arg_given(c, "schedule"))
		return true;
	if (!arg_text(c, "schedule", &a->schedule, &len))
		return false;
	if (strlen(a->schedule) != len || len > FS_SCHEDULE_MAX)
		snprintf(why, sizeof(why), "use at most %d characters, and no NUL", FS_SCHEDULE_MAX);
	else if (!schedule_parse(a->schedule, &s, why))
		return true;
	call_fail(c, 400, "bad_argument", "schedule: %s", why);
	return false;
}

static bool volume_args_take(struct call *c, struct volume_args *a)
{
	char why[300];
	size_t len;

	struct fs_limits *l = &a->limits;

	if (!arg_blocks(c, "quota", &l->quota_blocks) || !arg_blocks(c, "soft", &l->soft_blocks) ||
	    !arg_blocks(c, "reserve", &l->reserve_blocks) || !arg_blocks(c, "physical", &l->physical_blocks))
		return false;
	a->dedup_given = arg_given(c, "dedup");
	if (!schedule_take(c, a) || !arg_bool(c, "dedup", &a->dedup))
		return false;
	if (!arg_given(c, "exports"))
		return true;
	if (!arg_text(c, "exports", &a->exports, &len))
		return false;
	if (len > FS_EXPORTS_MAX || strlen(a->exports) != len) {
		call_fail(c, 400, "bad_argument", "exports: use at most %d characters, and no NUL",
			  FS_EXPORTS_MAX);
		return false;
	}
	if (exports_check(a->exports, why, sizeof(why))) {
		call_fail(c, 400, "bad_argument", "exports: %s", why);
		return false;
	}
	return true;
}

bool volume_name_take(struct call *c, const char *name, size_t len)
{
	char why[OBJNAME_WHY];
	int err = volume_name_check(name, why);

	if (!err && strlen(name) == len)
		return true;
	if (!err)
		snprintf(why, sizeof(why), "%s: a name cannot hold a NUL byte", name);
	call_fail(c, 400, err == -ENAMETOOLONG ? "name_too_long" : "bad_name", "%s", why);
	return false;
}

static int schedule_set(struct call *c, const struct volume_args *a)
{
	int err = a->schedule ? fs_volume_set_schedule(&c->req, a->name, a->schedule) : 0;

	if (!err && a->schedule)
		schedules_kick(c->admin);
	return err;
}

static int settings_set(struct call *c, const struct volume_args *a)
{
	const struct fs_limits *l = &a->limits;
	int err = 0;

	if (l->quota_blocks >= 0 || l->soft_blocks >= 0 || l->reserve_blocks >= 0 || l->physical_blocks >= 0)
		err = fs_volume_limit(&c->req, a->name, l, &c->admin->stopping);
	if (!err && a->exports)
		err = fs_volume_set(&c->req, a->name, a->exports, -1);
	if (!err && a->dedup_given)
		err = fs_volume_set_dedup(&c->req, a->name, a->dedup);
	return err ? err : schedule_set(c, a);
}

static void fail_settings(struct call *c, int err, const struct volume_args *a)
{
	if (err == -EDQUOT)
		call_fail(c, 409, "below_use", "%s: its files map more than that quota already; remove something, or "
			  "set a larger one", a->name);
	else if (err == -ERANGE)
		call_fail(c, 400, "bad_argument", "soft: %s: the soft limit is above the quota; make it smaller", a->name);
	else if (err == -EOVERFLOW)
		call_fail(c, 409, "below_use", "%s: holds more of the pool than that, with its snapshots; remove something "
			  "('pando account --exact %s' says what holds how much), or set a larger limit", a->name,
			  a->name);
	else if (err == -EBUSY && a->limits.physical_blocks > 0)
		call_fail(c, 409, "busy", "%s: a scrub holds the pool, so that nobody can tell what the volume holds; stop "
			  "it ('pando pool scrub --stop') or wait", a->name);
	else if (err == -E2BIG && a->limits.physical_blocks > 0)
		call_fail(c, 413, "too_large", "%s: shares more index blocks than can be counted in %u MiB of memory; "
			  "limit it by a quota", a->name, FS_ACCOUNT_MEMORY >> 20);
	else if (err == -ENOSPC && a->limits.reserve_blocks > 0)
		call_fail(c, 507, "no_space", "%s: the pool hasn't that much space to reserve; reserve less, or remove "
			  "something first", a->name);
	else if (err == -ENFILE)
		call_fail(c, 409, "too_many_reservations", "%s: %d volumes have a reservation, as many as can have one",
			  a->name, FS_RESERVES_MAX);
	else
		call_fail_err(c, err, "%s", a->name);
}

static int create_run(struct call *c, void *arg)
{
	struct volume_args *a = arg;
	int err = fs_volume_create(&c->req, a->name, &a->info);

	if (!err) {
		err = settings_set(c, a);
		if (err)
			fs_volume_destroy(&c->req, a->name);
		else
			err = fs_volume_find(c->admin->cfg.fs, a->name, &a->info);
	}
	return err ? err : fs_wait_stable(c->admin->cfg.fs, c->req.stable_seq);
}

void post_volumes(struct call *c)
{
	CLEANUP_FREE struct volume_args *a = calloc(1, sizeof(*a));
	size_t len;
	int err;

	if (!a) {
		call_fail_err(c, -ENOMEM, "volume");
		return;
	}
	if (!arg_text(c, "name", &a->name, &len) || !volume_name_take(c, a->name, len) ||
	    !volume_args_take(c, a))
		return;
	err = call_run(c, create_run, a);
	if (err)
		fail_settings(c, err, a);
	else
		call_reply(c, 201, json_volume(&a->info));
}

static int set_run(struct call *c, void *arg)
{
	struct volume_args *a = arg;
	int err = settings_set(c, a);

	if (!err)
		err = fs_volume_find(c->admin->cfg.fs, a->name, &a->info);
	return err ? err : fs_wait_stable(c->admin->cfg.fs, c->req.stable_seq);
}

static int find_run(struct call *c, void *arg)
{
	struct volume_args *a = arg;

	return fs_volume_find(c->admin->cfg.fs, a->name, &a->info);
}

static void volume_answer(struct call *c, struct volume_args *a, run_fn fn)
{
	int err;

	a->name = c->name;
	if (!volume_name_take(c, a->name, strlen(a->name)))
		return;
	err = call_run(c, fn, a);
	if (err)
		fail_settings(c, err == -ENOENT ? -ENOMEDIUM : err, a);
	else
		call_reply(c, 200, json_volume(&a->info));
}

void get_volume(struct call *c)
{
	CLEANUP_FREE struct volume_args *a = calloc(1, sizeof(*a));

	if (!a)
		call_fail_err(c, -ENOMEM, "%s", c->name);
	else
		volume_answer(c, a, find_run);
}

void patch_volume(struct call *c)
{
	CLEANUP_FREE struct volume_args *a = calloc(1, sizeof(*a));

	if (!a)
		call_fail_err(c, -ENOMEM, "%s", c->name);
	else if (!arg_given(c, "quota") && !arg_given(c, "soft") && !arg_given(c, "reserve") &&
		 !arg_given(c, "physical") && !arg_given(c, "exports") && !arg_given(c, "schedule") &&
		 !arg_given(c, "dedup"))
		call_fail(c, 400, "missing", "%s: nothing to set; give quota, soft, reserve, physical, exports, schedule or "
			  "dedup", c->name);
	else if (volume_args_take(c, a))
		volume_answer(c, a, set_run);
}

#define NAMED_MAX 3		/* snapshots in a message */

struct destroy_args {
	const char *name;
	bool snapshots;			/* with them */
	uint32_t count;
	char names[NAMED_MAX * (FS_VOLUME_NAME_MAX + 2) + 4];
};

/* What is in the way. */
static void name_snapshots(struct fs *fs, uint32_t volume, struct destroy_args *a)
{
	struct fs_snapshot_info s = { 0 };
	size_t at = 0;
	unsigned n = 0;

	a->count = fs_snapshot_count(fs, volume);
	while (n < NAMED_MAX && !fs_snapshot_next(fs, volume, s.id, &s))
		at += (size_t)snprintf(a->names + at, sizeof(a->names) - at, "%s%s", n++ ? ", " : "", s.name);
	if (a->count > n)
		snprintf(a->names + at, sizeof(a->names) - at, "...");
}

/* One by one: what a failure leaves are fewer snapshots. */
static int destroy_snapshots(struct call *c, uint32_t volume, const char *name)
{
	struct fs_snapshot_info s;
	int err;

	if (sends_use(c->admin, name, NULL))
		return -ETXTBSY;
	while (!(err = fs_snapshot_next(c->admin->cfg.fs, volume, 0, &s))) {
		err = fs_snapshot_destroy(&c->req, name, s.name);
		if (err && err != -ENOENT)
			return err;
		fiber_yield();
	}
	return err == -ENOENT ? 0 : err;
}

static int destroy_run(struct call *c, void *arg)
{
	struct destroy_args *a = arg;
	CLEANUP_FREE struct fs_volume_info *v = malloc(sizeof(*v));
	int err = v ? fs_volume_find(c->admin->cfg.fs, a->name, v) : -ENOMEM;

	if (!err && a->snapshots)
		err = destroy_snapshots(c, v->id, a->name);
	if (!err)
		err = fs_volume_destroy(&c->req, a->name);
	if (err == -ENOTEMPTY)
		name_snapshots(c->admin->cfg.fs, v->id, a);
	return err ? err : fs_wait_stable(c->admin->cfg.fs, c->req.stable_seq);
}

void delete_volume(struct call *c)
{
	struct destroy_args a = { .name = c->name };
	int err;

	if (!volume_name_take(c, a.name, strlen(a.name)) || !arg_bool(c, "snapshots", &a.snapshots))
		return;
	err = call_run(c, destroy_run, &a);
	if (err == -ENOTEMPTY)
		call_fail(c, 409, "has_snapshots", "%s: has %u snapshot%s (%s); destroy %s first, or use "
			  "--snapshots", a.name, a.count, a.count == 1 ? "" : "s", a.names,
			  a.count == 1 ? "it" : "them");
	else if (err)
		call_fail_err(c, err == -ENOENT ? -ENOMEDIUM : err, "%s", a.name);
	else
		call_reply(c, 200, json_pack("{s:s}", "destroyed", a.name));
}
