/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fleet attach and detach: disks that machines have beside their own.
 *
 *	attach: the manifest has it, then the domains
 *	detach: the manifest says that it leaves, the domains let go of it, the manifest forgets it
 *
 * Either, cut short anywhere, is finished by giving the same command again.
 */
#include "pando/fleet_life.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"

#define SECTOR 512

/* ---- what is in the way ------------------------------------------------------------------ */

/* By a second name, another machine could get it. */
static int links_look(struct cmd *c, const char *object)
{
	uint64_t links;
	json_t *stat;
	int err = stat_find(c, object, &stat);

	if (err || !stat)
		return err ? err : fail("%s: no such file", object);
	links = json_u64(stat, "links");
	json_decref(stat);
	return links == 1 ? DONE : fail("%s: has %llu names; remove the others first, or attach a clone of it", object,
					(unsigned long long)links);
}

static int file_look(struct cmd *c, const char *object)
{
	uint64_t size;
	int err = disk_look(c, object, &size);

	if (!err && (!size || size % SECTOR))
		err = fail("%s: a disk has whole sectors of %d bytes, and at least one; this has %llu bytes", object, SECTOR,
			   (unsigned long long)size);
	return err ? err : links_look(c, object);
}

struct clash { const struct fleet *f; const char *object; bool read_only; };

/* Two systems that write to one disk, or one that reads what another writes, lose it. */
static int clash_find(void *arg, struct fleet *f, const char *why)
{
	const struct clash *s = arg;
	const char *machine;
	size_t i;

	if (f->copy)
		return DONE;
	if (why)
		return fail("%s: who else has it cannot be told: %s:/fleets/%s: %s", s->object, f->volume, f->name, why);
	if (strcmp(f->name, s->f->name)) {
		machine = attached_clash(f, s->object, s->read_only, NULL);
		return machine ? fail("%s: is attached to %s; only what all have read-only can be shared", s->object,
				      machine) : DONE;
	}
	for (i = 0; i < s->f->n; i++) {
		if (!s->f->machines[i].chosen)
			continue;
		machine = attached_clash(s->f, s->object, s->read_only, s->f->machines[i].name);
		if (machine)
			return fail("%s: is attached to %s; only what all have read-only can be shared", s->object, machine);
	}
	return DONE;
}

static int clash_look(struct life *l, const char *object, bool read_only)
{
	struct clash clash = { &l->f, object, read_only };

	return fleet_each(l->c, clash_find, &clash);
}

static int attach_look(struct life *l, const char *object, bool read_only)
{
	char why[FLEET_WHY];
	int err;

	if (attached_check(&l->f, object, read_only, why))
		return fail("%s", why);
	if (how_many(&l->f, is_chosen) > 1 && !read_only)
		return fail("%s: only what all have read-only can be shared; name one machine, or give --read-only", object);
	err = file_look(l->c, object);
	return err ? err : clash_look(l, object, read_only);
}

/* ---- both ------------------------------------------------------------------------------- */

/* What was saved has the disks that the machine had, and would go on with them. */
static int no_saved(const struct life *l)
{
	size_t i;

	for (i = 0; i < l->f.n; i++)
		if (l->f.machines[i].chosen && l->f.machines[i].saved)
			return fail("%s: its memory is saved, with the disks that it had; start it first", l->f.machines[i].name);
	return DONE;
}

/* *RET_OBJECT: as manifests have it, the caller's to free. */
static int attach_begin(struct life *l, char **ret_object)
{
	struct objpath p;
	int err = cmd_object(l->c, l->c->argv[1], &p);

	if (!err && asprintf(ret_object, "%s:%s", p.volume, p.path) < 0)
		err = fail("out of memory");
	if (!err)
		err = life_choose(l);
	if (!err)
		err = domains_look(l);
	if (!err)
		err = no_saved(l);
	return err ? err : fleet_no_foreign(&l->f);
}

static bool is_chosen_there(const struct machine *m)
{
	return m->chosen && (m->domain == DOMAIN_RUNNING || m->domain == DOMAIN_STOPPED);
}

/* ---- attach ------------------------------------------------------------------------------ */

static int note_all(struct life *l, const char *object, bool read_only)
{
	char why[FLEET_WHY];
	size_t i;

	for (i = 0; i < l->f.n; i++) {
		const char *machine = l->f.machines[i].name;

		if (l->f.machines[i].chosen &&
		    attached_note(&l->f, machine, object, read_only, cmd_option(l->c, "target"), why))
			return fail("%s: %s: %s", object, machine, why);
	}
	return DONE;
}

/* Each fleet has a lock of its own: two commands for two fleets can both find nobody in the way.  So each writes down
 * what it wants, and looks again: one of them finds the other, at least. */
static int claim(struct life *l, const char *object, bool read_only)
{
	json_t *before = json_deep_copy(l->f.attached);
	int err = note_all(l, object, read_only);

	if (!err)
		err = fleet_save(l->c, &l->f, false);
	if (!err && clash_look(l, object, read_only)) {
		json_decref(l->f.attached);
		l->f.attached = json_incref(before);
		fleet_save(l->c, &l->f, false);
		err = FAILED;
	}
	json_decref(before);
	return err;
}

int fleet_attach(struct cmd *c)
{
	bool read_only = cmd_option(c, "read-only") != NULL;
	struct life l = { .c = c };
	struct crew_work work;
	CLEANUP_FREE char *object = NULL;
	int err = attach_begin(&l, &object);

	if (!err)
		err = attach_look(&l, object, read_only);
	if (!err)
		err = claim(&l, object, read_only);
	work = work_of(&l, "attaching", is_chosen_there, hv_attach);
	if (!err)
		err = crew_run(&l.hosts, &l.f, &work, &l.done);
	return life_end(&l, err, "have it");
}

/* ---- detach ------------------------------------------------------------------------------ */

/* Whether the domains of all that are chosen are without it; else the first that isn't. */
static int detached_look(struct life *l, const struct machine **ret_first)
{
	struct machine *m;
	char why[FLEET_WHY];
	bool gone;
	size_t i;

	*ret_first = NULL;
	for (i = 0; i < l->f.n && !*ret_first; i++) {
		m = &l->f.machines[i];
		if (!is_chosen_there(m))
			continue;
		if (hv_detached(l->hosts.at[m->host].hv, &l->f, m, &gone, why))
			return fail("%s: %s", m->name, why);
		if (!gone)
			*ret_first = m;
	}
	return DONE;
}

static int detach_wait(struct life *l, const char *object, uint64_t timeout_s)
{
	const struct timespec pause = { 0, 200 * 1000 * 1000 };
	const struct machine *m;
	uint64_t started_ns = clock_ns();
	int err;

	while (!(err = detached_look(l, &m)) && m) {
		if (interrupted)
			return fail("%s: interrupted; %s has it yet: the same command goes on", object, m->name);
		if (clock_ns() - started_ns > timeout_s * 1000000000u)
			return fail("%s: the system of %s hasn't let go of it after %llu s; see that it can, and give the command "
				    "again", object, m->name, (unsigned long long)timeout_s);
		nanosleep(&pause, NULL);
	}
	return err;
}

static int leave_all(struct life *l, const char *object)
{
	struct machine *m;
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < l->f.n; i++) {
		m = &l->f.machines[i];
		m->chosen &= attached_has(&l->f, m->name, object);
		n += m->chosen;
		if (m->chosen)
			attached_leave(&l->f, m->name, object);
	}
	return n ? DONE : fail("%s: is not attached to %s", object, l->c->argv[0]);
}

int fleet_detach(struct cmd *c)
{
	struct life l = { .c = c };
	struct crew_work work;
	CLEANUP_FREE char *object = NULL;
	uint64_t timeout_s;
	size_t i;
	int err = timeout_take(c, &timeout_s);

	if (!err)
		err = attach_begin(&l, &object);
	if (!err)
		err = leave_all(&l, object);
	if (!err)
		err = fleet_save(c, &l.f, false);
	work = work_of(&l, "detaching", is_chosen_there, hv_detach);
	if (!err)
		err = crew_run(&l.hosts, &l.f, &work, &l.done);
	if (!err)
		err = detach_wait(&l, object, timeout_s);
	for (i = 0, l.done = 0; i < l.f.n && !err; i++) {
		if (!l.f.machines[i].chosen)
			continue;
		attached_strike(&l.f, l.f.machines[i].name, object);
		l.done++;
	}
	if (!err)
		err = fleet_save(c, &l.f, false);
	return life_end(&l, err, "are without it");
}
