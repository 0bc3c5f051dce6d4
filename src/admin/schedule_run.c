/* SPDX-License-Identifier: Apache-2.0 */
/* The fiber that looks at all volumes' schedules, once a minute and when one has changed. */
#include "admin/admin_int.h"
#include "admin/repl_api.h"

#include <stdlib.h>
#include <string.h>

#include "admin/schedule.h"
#include "base/fiber.h"
#include "base/log.h"

#define LOOK_EVERY_NS (60 * 1000000000ull)

/* The oldest that KEEP newer ones have made superfluous; *RET is filled in if there is one. */
static bool find_old(struct fs *fs, uint32_t volume, enum schedule_kind kind, uint32_t keep,
		     struct fs_snapshot_info *ret)
{
	struct fs_snapshot_info s = { 0 };
	uint32_t n = 0;

	while (!fs_snapshot_next(fs, volume, s.id, &s))
		if (schedule_made(kind, s.name) && !n++)
			*ret = s;
	return n > keep;
}

/* First a new one, then the old ones: if there is no room for it, nothing is lost. */
static int look_at_kind(struct admin *a, const struct fs_volume_info *v, enum schedule_kind kind, uint32_t keep)
{
	char name[OBJNAME_VOLUME_MAX + 1];
	struct fs_snapshot_info s;
	struct fs_req req;
	int err;

	schedule_name(kind, (int64_t)(loop_realtime_ns() / 1000000000), name);
	fs_req_admin(&req, a->cfg.fs);
	err = fs_snapshot_find(a->cfg.fs, v->name, name, &s);
	if (err == -ENOENT)
		err = fs_snapshot_create(&req, v->name, name, NULL);
	/* One that is being sent goes the next time. */
	while (!err && find_old(a->cfg.fs, v->id, kind, keep, &s) && !sends_use(a, v->name, s.name))
		err = fs_snapshot_destroy(&req, v->name, s.name);
	return err == -ENOENT ? 0 : err;	/* somebody else was faster */
}

/* BEFORE: what the last look met is not said again each minute. */
static void look_at_volume(struct admin *a, const struct fs_volume_info *v, int before)
{
	char why[OBJNAME_WHY];
	struct schedule s;
	int err = schedule_parse(v->schedule, &s, why);

	for (unsigned k = 0; k < SCHEDULE_KINDS && !err; k++)
		if (s.keep[k])
			err = look_at_kind(a, v, k, s.keep[k]);
	if (err && err != before)
		log_warn("%s: its scheduled snapshots: %s", v->name, err_text(err));
	if (err)
		a->schedule_error = err;
}

static void look(void *arg)
{
	struct admin *a = arg;
	struct fs_volume_info *v = malloc(sizeof(*v));
	struct fs_status st;
	uint32_t after = 0;
	int before = a->schedule_error;

	a->schedule_error = 0;
	fs_status(a->cfg.fs, &st);
	while (v && !st.readonly && !a->schedule_stopping && !fs_volume_next(a->cfg.fs, after, v)) {
		after = v->id;
		if (v->schedule[0])
			look_at_volume(a, v, before);
	}
	free(v);
	a->schedule_looking = false;
	if (!a->schedule_stopping)
		timer_set(&a->schedule_timer, LOOK_EVERY_NS);
}

static void due(struct timer *t)
{
	struct admin *a = container_of(t, struct admin, schedule_timer);

	if (!a->schedule_looking)
		a->schedule_looking = !fiber_spawn(look, a, "schedules");
	if (!a->schedule_looking)
		timer_set(t, LOOK_EVERY_NS);
}

void schedules_kick(struct admin *a)
{
	if (!a->schedule_looking && !a->schedule_stopping)
		timer_set(&a->schedule_timer, 0);
}

void schedules_init(struct admin *a)
{
	timer_init(&a->schedule_timer, due);
	schedules_kick(a);
}

void schedules_stop(struct admin *a)
{
	a->schedule_stopping = true;
	timer_cancel(&a->schedule_timer);
	while (a->schedule_looking)
		loop_sleep_ns(1000000);
}
