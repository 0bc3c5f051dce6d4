/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fleet start, stop, expire and destroy, and what all that becomes of machines has in common
 * (fleet_life.h).
 */
#include "pando/fleet_life.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"

#define SHUTDOWN_S 60			/* that a system is given to shut down */
#define ASK_AGAIN_S 10			/* a system that was just booting may not have heard it */

bool is_chosen(const struct machine *m) { return m->chosen; }
bool runs(const struct machine *m) { return m->chosen && m->domain == DOMAIN_RUNNING; }

static bool is_ours(const struct machine *m)
{
	return m->domain == DOMAIN_RUNNING || m->domain == DOMAIN_STOPPED;
}

uint64_t how_many(const struct fleet *f, machine_want want)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < f->n; i++)
		n += want(&f->machines[i]);
	return n;
}

struct crew_work work_of(const struct life *l, const char *what, machine_want want,
			 int (*fn)(struct hv *hv, const struct fleet *f, const struct machine *m,
				   char why[FLEET_WHY]))
{
	return (struct crew_work){ .what = what, .want = want, .fn = fn, .at_once = 4,
				   .keep_going = cmd_option(l->c, "keep-going") != NULL };
}

int life_begin(struct life *l)
{
	int err = fleet_load_locked(l->c, l->c->argv[0], &l->f);

	interrupt_catch();
	return err ? err : fleet_choose(l->c, &l->f);
}

int life_choose(struct life *l)
{
	char name[FLEET_NAME_MAX + FLEET_LABEL_MAX + 2], *slash;
	struct machine *m = NULL;
	size_t i;
	int err;

	snprintf(name, sizeof(name), "%s", l->c->argv[0]);
	slash = strlen(l->c->argv[0]) < sizeof(name) ? strchr(name, '/') : NULL;
	if (slash)
		*slash++ = 0;
	interrupt_catch();
	err = fleet_load_locked(l->c, slash ? name : l->c->argv[0], &l->f);
	if (err)
		return err;
	if (slash)
		m = fleet_machine(&l->f, slash);
	if (slash && !m)
		return fail("%s: no such machine in the fleet %s", slash, l->f.name);
	for (i = 0; i < l->f.n; i++)
		l->f.machines[i].chosen = !m || &l->f.machines[i] == m;
	return life_alive(l);
}

int life_end(struct life *l, int err, const char *what)
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
	hosts_close(&l->hosts);
	fleet_done(&l->f);
	return !err && l->hosts.left_out ? FAILED : err;
}

int life_alive(const struct life *l)
{
	return l->f.state != FLEET_DESTROYING ? DONE :
		fail("%s: is being destroyed; 'pando fleet destroy %s' finishes that", l->f.name, l->f.name);
}

int life_look(struct life *l, bool all)
{
	int err = fleet_survey(l->c, &l->f, &l->files);

	return err ? err : fleet_hosts(l->c, &l->f, &l->hosts, all);
}

int domains_look(struct life *l)
{
	int err = fleet_hosts(l->c, &l->f, &l->hosts, false);

	return !err && !l->hosts.n ?
		fail("%s: has no hypervisor; say which with --connect", l->f.name) : err;
}

/* ---- start ------------------------------------------------------------------------------ */

static int no_spares(const struct life *l)
{
	const struct machine *m;
	size_t i;

	for (i = 0; i < l->f.n && l->c->argc > 1; i++) {
		m = &l->f.machines[i];
		if (m->chosen && m->spare)
			return fail("%s: is a spare; 'pando fleet resize %s --count N' and 'fleet replace' make a machine "
				    "of it", m->name, l->f.name);
	}
	return DONE;
}

int fleet_start(struct cmd *c)
{
	struct life l = { .c = c };
	unsigned unused;
	int err = fleet_at_once(c, "at-once", cmd_option(c, "at-once"), &unused);

	if (!err)
		err = life_begin(&l);
	if (!err)
		err = life_alive(&l);
	if (!err)
		err = no_spares(&l);
	if (!err)
		err = domains_look(&l);
	if (!err)
		err = fleet_no_foreign(&l.f);
	if (!err)
		err = fleet_run(c, &l.hosts, &l.f, cmd_option(c, "at-once"), &l.done);
	return life_end(&l, err, "started");
}

/* ---- stop ------------------------------------------------------------------------------- */

/* All of them are told of with --keep-going, which goes on without them. */
static int still_run_fail(const struct life *l, uint64_t n, uint64_t timeout_s)
{
	bool all = cmd_option(l->c, "keep-going") != NULL, told = false;
	size_t i;

	for (i = 0; i < l->f.n && (all || !told); i++) {
		if (!runs(&l->f.machines[i]))
			continue;
		fail("%s: still runs after %llu s, as one of %llu; --force switches them off", l->f.machines[i].name,
		     (unsigned long long)timeout_s, (unsigned long long)n);
		told = true;
	}
	return FAILED;
}

/* Until none of those that were told to shut down runs any more. */
static int shutdown_wait(struct life *l, const struct crew_work *down, uint64_t timeout_s)
{
	uint64_t started_ns = clock_ns(), asked_ns = started_ns, total = how_many(&l->f, runs), n = total;
	const struct timespec pause = { 0, 200 * 1000 * 1000 };
	char why[FLEET_WHY];
	uint64_t asked;

	while (n && !interrupted) {
		if (hosts_survey(&l->hosts, &l->f, why))
			return fail("%s: %s", l->f.name, why);
		n = how_many(&l->f, runs);
		l->done = total - n;
		progress_count("shutting down", l->done, total, started_ns);
		if (n && clock_ns() - started_ns > timeout_s * 1000000000u)
			return still_run_fail(l, n, timeout_s);
		if (n && clock_ns() - asked_ns > ASK_AGAIN_S * 1000000000ull) {
			if (crew_run(&l->hosts, &l->f, down, &asked))
				return FAILED;
			asked_ns = clock_ns();
		}
		if (n)
			nanosleep(&pause, NULL);
	}
	progress_end();
	return n ? fail("%s: interrupted; some machines may yet shut down", l->f.name) : DONE;
}

int machines_stop(struct life *l, uint64_t timeout_s)
{
	struct crew_work off = work_of(l, "switching off", runs, hv_kill);
	struct crew_work down = work_of(l, "shutting down", runs, hv_shutdown);
	int err;

	if (cmd_option(l->c, "force"))
		return crew_run(&l->hosts, &l->f, &off, &l->done);
	err = crew_run(&l->hosts, &l->f, &down, &l->done);
	return err ? err : shutdown_wait(l, &down, timeout_s);
}

int timeout_take(struct cmd *c, uint64_t *ret_s)
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
		err = domains_look(&l);
	if (!err)
		err = machines_stop(&l, timeout_s);
	return life_end(&l, err, "stopped");
}

/* ---- while their disks change ------------------------------------------------------------ */

static bool ran(const struct machine *m) { return m->chosen && m->ran; }
static bool is_saved(const struct machine *m) { return m->chosen && m->saved; }

/* What a machine had in memory may be all that there is of what was written to its data disk. */
static int saved_fail(struct life *l)
{
	struct machine *m;
	size_t i;

	for (i = 0; i < l->f.n; i++) {
		m = &l->f.machines[i];
		if (!is_saved(m))
			continue;
		fail("%s: its memory is saved, and may have what its data disk lacks; start it and shut it down, or give --force",
		     m->name);
		if (!cmd_option(l->c, "keep-going"))
			return FAILED;
		m->chosen = false;
		l->hosts.left_out = true;
	}
	return DONE;
}

/* With --keep-going, those that couldn't be switched off stay as they are, and were told of. */
static int running_leave_out(struct life *l)
{
	char why[FLEET_WHY];
	struct machine *m;
	size_t i;

	if (hosts_survey(&l->hosts, &l->f, why))
		return fail("%s: %s", l->f.name, why);
	for (i = 0; i < l->f.n; i++) {
		m = &l->f.machines[i];
		l->hosts.left_out |= runs(m);
		m->chosen &= m->domain != DOMAIN_RUNNING;
	}
	return DONE;
}

/* A system whose memory was saved would go on with what it knows of the disk that it had, and ruin another. */
int machines_pause(struct life *l, bool polite, uint64_t timeout_s)
{
	struct crew_work off = work_of(l, "switching off", runs, hv_kill);
	struct crew_work forget = work_of(l, "removing saved memory", is_saved, hv_saved_remove);
	uint64_t n;
	size_t i;
	int err = polite ? saved_fail(l) : DONE;

	for (i = 0; i < l->f.n; i++)
		l->f.machines[i].ran = runs(&l->f.machines[i]);
	if (err || !l->hosts.n)
		return err;
	err = polite ? machines_stop(l, timeout_s) : crew_run(&l->hosts, &l->f, &off, &n);
	if (err && cmd_option(l->c, "keep-going") && !interrupted)
		err = running_leave_out(l);
	if (!err)
		err = crew_run(&l->hosts, &l->f, &forget, &n);
	l->done = 0;
	return err;
}

int machines_resume(struct life *l, int err)
{
	struct crew_work on = work_of(l, "starting", ran, hv_start);
	uint64_t n;
	int failed;

	on.to_the_end = true;
	if (err)
		interrupted = 0;
	failed = l->hosts.n ? crew_run(&l->hosts, &l->f, &on, &n) : DONE;
	if (failed && cmd_option(l->c, "keep-going") && !interrupted) {
		l->hosts.left_out = true;
		failed = DONE;
	}
	return err ? err : failed;
}

int leftovers_remove(struct life *l)
{
	char name[128];
	size_t i;
	int err = DONE;

	for (i = 0; i < l->f.n && !err; i++) {
		if (!l->f.machines[i].has_fresh)
			continue;
		snprintf(name, sizeof(name), "/disks/" FRESH_PREFIX "%s%s", l->f.machines[i].name,
			 disk_suffix(&l->f));
		err = fleet_file_remove(l->c, &l->f, name, false);
	}
	return err;
}

int strangers_fail(const struct life *l)
{
	return !*l->files.foreign ? DONE :
		fail("%s:/fleets/%s: holds %s, which is not of this fleet; move it away, or remove it, and try again",
		     l->f.volume, l->f.name, l->files.foreign);
}

/* ---- destroy ---------------------------------------------------------------------------- */

static int destroy_look(struct life *l)
{
	int err = fleet_survey(l->c, &l->f, &l->files);

	if (!err)
		err = strangers_fail(l);
	if (!err)
		err = fleet_hosts(l->c, &l->f, &l->hosts, true);
	if (!err && how_many(&l->f, runs) && !cmd_option(l->c, "force"))
		err = fail("%s: %llu of its machines are running; stop them first, or give --force",
			   l->f.name, (unsigned long long)how_many(&l->f, runs));
	return err;
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
	if (!err && l->hosts.n)
		err = crew_run(&l->hosts, &l->f, &off, &n);
	if (!err && l->hosts.n)
		err = crew_run(&l->hosts, &l->f, &gone, &n);
	if (!err)
		err = tag_leftover_remove(l);
	return err ? err : fleet_files_remove(l->c, &l->f);
}

static int destroy_named(struct cmd *c, char *name)
{
	struct life l = { .c = c };
	int err;

	c->argv = &name;
	c->argc = 1;
	err = life_begin(&l);
	if (!err)
		err = destroy_look(&l);
	if (!err)
		err = destroy(&l);
	hosts_close(&l.hosts);
	fleet_done(&l.f);
	fleet_unlock(c);
	return err;
}

int fleet_destroy(struct cmd *c)
{
	return destroy_named(c, c->argv[0]);
}

/* ---- expire ----------------------------------------------------------------------------- */

static int over_add(void *arg, struct fleet *f, const char *why)
{
	time_t over = why ? 0 : fleet_expiry(f);

	if (over && over <= time(NULL))
		json_array_append_new(arg, json_string(f->name));
	return DONE;
}

int fleet_expire(struct cmd *c)
{
	json_t *over = json_array(), *gone = json_array(), *name;
	size_t i;
	int err = fleet_each(c, over_add, over);
	bool dry = cmd_option(c, "dry-run") != NULL;

	json_array_foreach(over, i, name) {
		CLEANUP_FREE char *copy = strdup(json_string_value(name));

		if (!copy || interrupted || (!dry && destroy_named(c, copy))) {
			err = FAILED;
			continue;
		}
		json_array_append(gone, name);
		if (!c->json)
			printf("%s: %s\n", copy, dry ? "would be removed" : "removed");
	}
	if (c->json && print_json(gone))
		err = FAILED;
	json_decref(over);
	json_decref(gone);
	return err ? err : print_done();
}
