/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fleet start, stop, refresh, resize and destroy: what becomes of machines after they were made.
 * (Here is the place for more of their lives: new versions of the golden image, snapshots.)
 *
 * Each begins by asking what there is, and refuses as a whole if something is in the way.
 */
#include "pando/fleet_cmd.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"

#define SHUTDOWN_S 60			/* that a system is given to shut down */
#define ASK_AGAIN_S 10			/* a system that was just booting may not have heard it */

struct life {
	struct cmd *c;
	struct fleet f;
	struct fleet_files files;
	struct hv *hv;
	uint64_t done;
};

static bool is_chosen(const struct machine *m) { return m->chosen; }
static bool runs(const struct machine *m) { return m->chosen && m->domain == DOMAIN_RUNNING; }

static bool is_ours(const struct machine *m)
{
	return m->domain == DOMAIN_RUNNING || m->domain == DOMAIN_STOPPED;
}

static uint64_t how_many(const struct fleet *f, machine_want want)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < f->n; i++)
		n += want(&f->machines[i]);
	return n;
}

static struct crew_work work_of(const struct life *l, const char *what, machine_want want,
				int (*fn)(struct hv *hv, const struct fleet *f,
					  const struct machine *m, char why[FLEET_WHY]))
{
	return (struct crew_work){ .what = what, .want = want, .fn = fn, .at_once = 4,
				   .keep_going = cmd_option(l->c, "keep-going") != NULL };
}

static int life_begin(struct life *l)
{
	int err = fleet_load(l->c, l->c->argv[0], &l->f);

	interrupt_catch();
	return err ? err : fleet_choose(l->c, &l->f);
}

/* Tells what was done, and lets everything go. */
static int life_end(struct life *l, int err, const char *what)
{
	json_t *j;

	if (!err && l->c->json) {
		j = json_pack("{s:s,s:s,s:I}", "fleet", l->f.name, "done", what, "machines",
			      (json_int_t)l->done);
		err = print_json(j);
		json_decref(j);
	} else if (!err) {
		printf("%s: %llu machines %s\n", l->f.name, (unsigned long long)l->done, what);
		err = print_done();
	}
	hv_close(l->hv);
	fleet_done(&l->f);
	return err;
}

/* ---- start ------------------------------------------------------------------------------ */

int fleet_start(struct cmd *c)
{
	struct life l = { .c = c };
	unsigned unused;
	int err = fleet_at_once(c, "at-once", cmd_option(c, "at-once"), &unused);

	if (!err)
		err = life_begin(&l);
	if (!err)
		err = fleet_hosts(c, &l.f, &l.hv);
	if (!err)
		err = fleet_no_foreign(&l.f);
	if (!err)
		err = fleet_run(c, l.hv, &l.f, cmd_option(c, "at-once"), &l.done);
	return life_end(&l, err, "started");
}

/* ---- stop ------------------------------------------------------------------------------- */

static int still_run_fail(const struct life *l, uint64_t n, uint64_t timeout_s)
{
	size_t i;

	for (i = 0; i < l->f.n && !runs(&l->f.machines[i]); i++)
		;
	return fail("%s: still runs after %llu s, as one of %llu; --force switches them off", l->f.machines[i].name, (unsigned long long)timeout_s,
		    (unsigned long long)n);
}

/* Until none of those that were told to shut down runs any more. */
static int shutdown_wait(struct life *l, const struct crew_work *down, uint64_t timeout_s)
{
	uint64_t started_ns = clock_ns(), asked_ns = started_ns, total = how_many(&l->f, runs), n = total;
	const struct timespec pause = { 0, 200 * 1000 * 1000 };
	char why[FLEET_WHY];
	uint64_t asked;

	while (n && !interrupted) {
		if (hv_survey(l->hv, &l->f, why))
			return fail("%s: %s", l->f.name, why);
		n = how_many(&l->f, runs);
		l->done = total - n;
		progress_count("shutting down", l->done, total, started_ns);
		if (n && clock_ns() - started_ns > timeout_s * 1000000000u)
			return still_run_fail(l, n, timeout_s);
		if (n && clock_ns() - asked_ns > ASK_AGAIN_S * 1000000000ull) {
			if (crew_run(l->hv, &l->f, down, &asked))
				return FAILED;
			asked_ns = clock_ns();
		}
		if (n)
			nanosleep(&pause, NULL);
	}
	progress_end();
	return n ? fail("%s: interrupted; some machines may yet shut down", l->f.name) : DONE;
}

static int stop(struct life *l, uint64_t timeout_s)
{
	struct crew_work off = work_of(l, "switching off", runs, hv_kill);
	struct crew_work down = work_of(l, "shutting down", runs, hv_shutdown);
	int err;

	if (cmd_option(l->c, "force"))
		return crew_run(l->hv, &l->f, &off, &l->done);
	err = crew_run(l->hv, &l->f, &down, &l->done);
	return err ? err : shutdown_wait(l, &down, timeout_s);
}

static int timeout_take(struct cmd *c, uint64_t *ret_s)
{
	int err;

	*ret_s = SHUTDOWN_S;
	err = cmd_number(c, "timeout", ret_s);
	return !err && *ret_s > 86400 ? usage(c, "--timeout: a day, 86400 seconds, is the most") : err;
}

int fleet_stop(struct cmd *c)
{
	struct life l = { .c = c };
	uint64_t timeout_s;
	int err = timeout_take(c, &timeout_s);

	if (!err)
		err = life_begin(&l);
	if (!err)
		err = fleet_hosts(c, &l.f, &l.hv);
	if (!err)
		err = stop(&l, timeout_s);
	return life_end(&l, err, "stopped");
}

/* ---- refresh ---------------------------------------------------------------------------- */

static int leftovers_remove(struct life *l)
{
	char name[128];
	size_t i;
	int err = DONE;

	for (i = 0; i < l->f.n && !err; i++) {
		if (!l->f.machines[i].has_fresh)
			continue;
		snprintf(name, sizeof(name), "/disks/" FRESH_PREFIX "%s.raw", l->f.machines[i].name);
		err = fleet_file_remove(l->c, &l->f, name, false);
	}
	return err;
}

/* All clones in one call, then each takes the place of its machine's disk: at any moment, each
 * machine has its old disk or its new one. */
static int disks_refresh(struct life *l)
{
	uint64_t us = 0;
	int err = leftovers_remove(l);

	if (!err)
		err = fleet_disks_clone(l->c, &l->f, FRESH_PREFIX, is_chosen, &l->done, &us);
	return err ? err : fleet_disks_replace(l->c, &l->f, FRESH_PREFIX, is_chosen);
}

static bool ran(const struct machine *m) { return m->chosen && m->ran; }

/* A disk that is thrown away needs no shutting down, but one that is kept does. */
static int refresh_stop(struct life *l, uint64_t timeout_s)
{
	struct crew_work off = work_of(l, "switching off", runs, hv_kill);
	uint64_t n;
	size_t i;

	for (i = 0; i < l->f.n; i++)
		l->f.machines[i].ran = runs(&l->f.machines[i]);
	if (!l->hv)
		return DONE;
	if (setting_number(&l->f, "data") && !cmd_option(l->c, "force"))
		return stop(l, timeout_s);
	return crew_run(l->hv, &l->f, &off, &n);
}

static int refresh(struct life *l, uint64_t timeout_s)
{
	struct crew_work on = work_of(l, "starting", ran, hv_start);
	uint64_t n;
	int err = refresh_stop(l, timeout_s);

	if (!err && interrupted)
		err = fail("%s: interrupted; no disk was changed", l->f.name);
	l->done = 0;
	if (!err)
		err = disks_refresh(l);
	if (!err && l->hv)
		err = crew_run(l->hv, &l->f, &on, &n);
	return err;
}

static int refresh_look(struct life *l)
{
	int err = fleet_survey(l->c, &l->f, &l->files);
	char why[FLEET_WHY];

	if (!err && !l->files.golden)
		err = fail("%s: its share of the golden image is missing; 'pando fleet create %s' makes "
			   "it again, of what that image is now", l->f.name, l->f.name);
	if (!err)
		err = fleet_connect(l->c, &l->f, &l->hv);
	if (!err && l->hv && hv_survey(l->hv, &l->f, why))
		err = fail("%s: %s", l->f.name, why);
	return err;
}

int fleet_refresh(struct cmd *c)
{
	struct life l = { .c = c };
	uint64_t timeout_s;
	int err = timeout_take(c, &timeout_s);

	if (!err)
		err = life_begin(&l);
	if (!err && l.f.state == FLEET_DESTROYING)
		err = fail("%s: is being destroyed; 'pando fleet destroy %s' finishes that", l.f.name,
			   l.f.name);
	if (!err)
		err = refresh_look(&l);
	if (!err)
		err = refresh(&l, timeout_s);
	return life_end(&l, err, "refreshed");
}

/* ---- recompose -------------------------------------------------------------------------- */

static bool is_old(const struct fleet *f, const struct machine *m)
{
	return m->chosen && m->version < f->version;
}

static bool any_old(const struct fleet *f)
{
	size_t i;

	for (i = 0; i < f->n && !is_old(f, &f->machines[i]); i++)
		;
	return i < f->n;
}

/* A share of the new image, and then the manifest that says so.  Where a recompose to this image has
 * begun already, it goes on. */
static int version_begin(struct life *l, const char *golden)
{
	struct fleet *f = &l->f;
	char name[40] = "/";
	int err;

	if (!strcmp(setting_text(f, "golden"), golden) && any_old(f))
		return DONE;
	f->version++;
	json_object_set_new(f->settings, "golden", json_string(golden));
	golden_share_name(f->version, name + 1, sizeof(name) - 1);
	err = fleet_file_remove(l->c, f, name, false);	/* left by one that was cut short */
	if (!err)
		err = fleet_golden_share(l->c, f);
	return err ? err : fleet_save(l->c, f, false);
}

/* Some of those that are old: their disks change, then the manifest says so, then they start. */
static int batch_move(struct life *l, uint64_t timeout_s)
{
	struct crew_work on = work_of(l, "starting", ran, hv_start);
	uint64_t n;
	size_t i;
	int err = refresh_stop(l, timeout_s);

	for (i = 0; i < l->f.n && !err; i++)
		if (l->f.machines[i].chosen)
			l->f.machines[i].version = l->f.version;
	if (!err)
		err = disks_refresh(l);
	if (!err)
		err = fleet_save(l->c, &l->f, false);
	return !err && l->hv ? crew_run(l->hv, &l->f, &on, &n) : err;
}

/* At most AT_ONCE machines are down at any time. */
static int machines_move(struct life *l, uint64_t at_once, uint64_t timeout_s)
{
	CLEANUP_FREE bool *todo = calloc(l->f.n, sizeof(*todo));
	uint64_t taken, moved = 0;
	size_t i, at = 0;
	int err = todo ? DONE : fail("out of memory");

	for (i = 0; i < l->f.n && !err; i++)
		todo[i] = is_old(&l->f, &l->f.machines[i]);
	while (!err && at < l->f.n && !interrupted) {
		for (i = 0; i < l->f.n; i++)
			l->f.machines[i].chosen = false;
		for (taken = 0; at < l->f.n && taken < at_once; at++) {
			l->f.machines[at].chosen = todo[at];
			taken += todo[at];
		}
		err = taken ? batch_move(l, timeout_s) : DONE;
		moved += err ? 0 : taken;
	}
	l->done = moved;
	if (!err && at < l->f.n)
		err = fail("%s: interrupted after %llu machines; the same command goes on", l->f.name,
			   (unsigned long long)moved);
	return err ? err : fleet_shares_remove(l->c, &l->f, true);
}

static int recompose_look(struct life *l, const char *golden)
{
	struct objpath p;
	int err = cmd_object(l->c, golden, &p);

	if (!err && strcmp(p.volume, l->f.volume))
		err = fail("%s: is not in the fleet's volume %s; its disks must share blocks with the "
			   "image", golden, l->f.volume);
	if (!err && l->f.state != FLEET_READY)
		err = fail("%s: is %s; finish that first", l->f.name, fleet_state_name(l->f.state));
	if (!err)
		err = golden_look(l->c, golden);
	if (!err)
		err = refresh_look(l);
	return err ? err : l->hv ? fleet_no_foreign(&l->f) : DONE;
}

int fleet_recompose(struct cmd *c)
{
	struct life l = { .c = c };
	const char *golden = cmd_option(c, "golden");
	uint64_t timeout_s, at_once = 4;
	int err = timeout_take(c, &timeout_s);

	if (!err)
		err = cmd_number(c, "at-once", &at_once);
	if (!err && (!golden || !at_once))
		err = usage(c, golden ? "--at-once: must be 1 or more" : "say which image with --golden");
	if (!err)
		err = life_begin(&l);
	if (!err)
		err = recompose_look(&l, golden);
	if (!err)
		err = version_begin(&l, golden);
	if (!err)
		err = machines_move(&l, at_once, timeout_s);
	return life_end(&l, err, "recomposed");
}

/* ---- resize ----------------------------------------------------------------------------- */

/* Those that are chosen go: first their domains, then their files, and then they are forgotten.
 * Until then the manifest has them, and 'show' what is left of them. */
static int surplus_remove(struct life *l)
{
	struct crew_work off = work_of(l, "switching off", runs, hv_kill);
	struct crew_work gone = work_of(l, "undefining domains", is_chosen, hv_undefine);
	const struct machine *m;
	char name[128];
	uint64_t n;
	size_t i;
	int err = l->hv ? crew_run(l->hv, &l->f, &off, &n) : DONE;

	if (!err && l->hv)
		err = crew_run(l->hv, &l->f, &gone, &n);
	for (i = 0; i < l->f.n && !err; i++) {
		m = &l->f.machines[i];
		if (!m->chosen)
			continue;
		snprintf(name, sizeof(name), "/disks/%s.raw", m->name);
		err = fleet_file_remove(l->c, &l->f, name, false);
		snprintf(name, sizeof(name), "/seeds/%s.img", m->name);
		if (!err)
			err = fleet_file_remove(l->c, &l->f, name, false);
		snprintf(name, sizeof(name), "/data/%s.raw", m->name);
		if (!err)
			err = fleet_file_remove(l->c, &l->f, name, false);
	}
	return err;
}

static int shrink(struct life *l, uint64_t count)
{
	char why[FLEET_WHY];
	size_t i;
	int err = fleet_survey(l->c, &l->f, &l->files);

	for (i = 0; i < l->f.n; i++)
		l->f.machines[i].chosen = i >= count;
	if (!err)
		err = fleet_connect(l->c, &l->f, &l->hv);
	if (!err && l->hv && hv_survey(l->hv, &l->f, why))
		err = fail("%s: %s", l->f.name, why);
	if (!err)
		err = fleet_no_foreign(&l->f);
	if (!err && how_many(&l->f, runs) && !cmd_option(l->c, "force"))
		err = fail("%s: %llu of the machines that would go are running; stop them first, or "
			   "give --force", l->f.name, (unsigned long long)how_many(&l->f, runs));
	if (!err)
		err = leftovers_remove(l);
	if (!err)
		err = surplus_remove(l);
	l->done = l->f.n - count;
	if (!err)
		fleet_shrink(&l->f, count);
	return err ? err : fleet_save(l->c, &l->f, false);
}

static int grow(struct life *l, uint64_t count)
{
	char why[FLEET_WHY];

	if (fleet_grow(&l->f, count, why))
		return fail("%s: %s", l->f.name, why);
	l->f.state = FLEET_MAKING;
	return fleet_complete(l->c, &l->f, true);
}

int fleet_resize(struct cmd *c)
{
	struct life l = { .c = c };
	uint64_t count = 0;
	int err = cmd_number(c, "count", &count);

	if (!err && (!count || count > FLEET_MACHINES_MAX))
		err = usage(c, "--count: say how many machines there are to be, 1 to %d",
			    FLEET_MACHINES_MAX);
	if (!err)
		err = life_begin(&l);
	if (!err && l.f.state == FLEET_DESTROYING)
		err = fail("%s: is being destroyed; 'pando fleet destroy %s' finishes that", l.f.name,
			   l.f.name);
	if (!err && count >= l.f.n) {
		err = grow(&l, count);
		fleet_done(&l.f);
		return err;
	}
	if (!err)
		err = shrink(&l, count);
	return life_end(&l, err, "removed");
}

/* ---- destroy ---------------------------------------------------------------------------- */

static int destroy_look(struct life *l)
{
	char why[FLEET_WHY];
	int err = fleet_survey(l->c, &l->f, &l->files);

	if (!err && *l->files.foreign)
		err = fail("%s:/fleets/%s: holds %s, which is not of this fleet; move it away, or remove "
			   "it, and destroy the fleet then", l->f.volume, l->f.name, l->files.foreign);
	if (!err)
		err = fleet_connect(l->c, &l->f, &l->hv);
	if (err || !l->hv)
		return err;
	if (hv_survey(l->hv, &l->f, why))
		return fail("%s: %s", l->f.name, why);
	if (how_many(&l->f, runs) && !cmd_option(l->c, "force"))
		return fail("%s: %llu of its machines are running; stop them first, or give --force",
			    l->f.name, (unsigned long long)how_many(&l->f, runs));
	return DONE;
}

/* "destroying" is written down first: who finds a part of it later knows what it is.  Domains go
 * before their disks. */
static int destroy(struct life *l)
{
	struct crew_work off = work_of(l, "switching off", runs, hv_kill);
	struct crew_work gone = work_of(l, "undefining domains", is_ours, hv_undefine);
	uint64_t n;
	int err;

	l->f.state = FLEET_DESTROYING;
	err = fleet_save(l->c, &l->f, false);
	if (!err && l->hv)
		err = crew_run(l->hv, &l->f, &off, &n);
	if (!err && l->hv)
		err = crew_run(l->hv, &l->f, &gone, &n);
	return err ? err : fleet_files_remove(l->c, &l->f);
}

int fleet_destroy(struct cmd *c)
{
	struct life l = { .c = c };
	int err = life_begin(&l);

	if (!err)
		err = destroy_look(&l);
	if (!err)
		err = destroy(&l);
	hv_close(l.hv);
	fleet_done(&l.f);
	return err;
}
