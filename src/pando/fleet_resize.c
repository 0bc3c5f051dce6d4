/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fleet resize and replace: machines come and go.
 *
 * Beside its machines a fleet may have spares: complete, with domains of their own, but never started.  One of
 * them becomes a machine when there are to be more, or when it takes another's place; what then lacks
 * in spares is made anew.
 */
#include "pando/fleet_life.h"

#include <stdio.h>
#include <string.h>

/* ---- what goes -------------------------------------------------------------------------- */

/* Of those that are chosen: first their domains, then their files.  The manifest has them still, and 'show'
 * what is left of them. */
static int machines_remove(struct life *l)
{
	struct crew_work off = work_of(l, "switching off", runs, hv_kill);
	struct crew_work gone = work_of(l, "undefining domains", is_chosen, hv_undefine);
	const struct machine *m;
	char name[128];
	uint64_t n;
	size_t i;
	int err = l->hosts.n ? crew_run(&l->hosts, &l->f, &off, &n) : DONE;

	if (!err && l->hosts.n)
		err = crew_run(&l->hosts, &l->f, &gone, &n);
	if (!err)
		err = tags_remove(l->c, &l->f);
	for (i = 0; i < l->f.n && !err; i++) {
		m = &l->f.machines[i];
		if (!m->chosen)
			continue;
		snprintf(name, sizeof(name), "/disks/%s%s", m->name, disk_suffix(&l->f));
		err = fleet_file_remove(l->c, &l->f, name, false);
		snprintf(name, sizeof(name), "/seeds/%s%s", m->name, seed_suffix(&l->f));
		if (!err)
			err = fleet_file_remove(l->c, &l->f, name, false);
		snprintf(name, sizeof(name), "/data/%s%s", m->name, data_suffix(&l->f));
		if (!err)
			err = fleet_file_remove(l->c, &l->f, name, false);
		snprintf(name, sizeof(name), "/vmware/%s", m->name);
		if (!err)
			err = fleet_file_remove(l->c, &l->f, name, true);
	}
	return err;
}

/* ---- resize ----------------------------------------------------------------------------- */

/* Those that are chosen go. */
static int shrink(struct life *l)
{
	int err = life_look(l, true);

	if (!err)
		err = strangers_fail(l);
	if (!err)
		err = fleet_no_foreign(&l->f);
	if (!err && how_many(&l->f, runs) && !cmd_option(l->c, "force"))
		err = fail("%s: %llu of the machines that would go are running; stop them first, or "
			   "give --force", l->f.name, (unsigned long long)how_many(&l->f, runs));
	if (!err)
		err = leftovers_remove(l);
	if (!err)
		err = machines_remove(l);
	l->done = how_many(&l->f, is_chosen);
	if (!err)
		fleet_shrink(&l->f);
	return err ? err : fleet_save(l->c, &l->f, false);
}

static int grow(struct life *l, uint64_t count, uint64_t spares)
{
	char why[FLEET_WHY];

	if (fleet_grow(&l->f, count, spares, why))
		return fail("%s: %s", l->f.name, why);
	l->f.state = FLEET_MAKING;
	return fleet_complete(l->c, &l->f, true, NULL);
}

/* How many go; they are chosen then. */
static int resize_look(struct life *l, uint64_t count, uint64_t spares, uint64_t *ret_going)
{
	fleet_promote(&l->f, count);
	*ret_going = fleet_surplus(&l->f, count, spares);
	return !*ret_going || l->f.n - *ret_going == count + spares ? DONE :
		fail("%s: machines would go, and others come; change --count and --spares one after the other",
		     l->f.name);
}

/* What isn't given stays. */
static int numbers_take(struct life *l, uint64_t *ret_count, uint64_t *ret_spares)
{
	int err;

	*ret_count = fleet_count(&l->f);
	*ret_spares = setting_number(&l->f, "spares");
	err = cmd_number(l->c, "count", ret_count);
	return err ? err : cmd_number(l->c, "spares", ret_spares);
}

int fleet_resize(struct cmd *c)
{
	struct life l = { .c = c };
	uint64_t count = 1, spares = 0, going = 0;
	int err = cmd_number(c, "count", &count);

	if (!err)
		err = cmd_number(c, "spares", &spares);
	if (!err && (!count || count > FLEET_MACHINES_MAX || spares > FLEET_MACHINES_MAX ||
		     (!cmd_option(c, "count") && !cmd_option(c, "spares"))))
		err = usage(c, "say with --count how many machines there are to be, 1 to %d, or with --spares how many "
			    "spares", FLEET_MACHINES_MAX);
	if (!err)
		err = life_begin(&l);
	if (!err)
		err = life_alive(&l);
	if (!err)
		err = numbers_take(&l, &count, &spares);
	if (!err)
		err = resize_look(&l, count, spares, &going);
	if (!err && !going) {
		err = grow(&l, count, spares);
		fleet_done(&l.f);
		return err;
	}
	if (!err)
		err = shrink(&l);
	return life_end(&l, err, "removed");
}

/* ---- replace ---------------------------------------------------------------------------- */

/* The first that has all that a machine has, and was never started. */
static struct machine *spare_find(const struct life *l)
{
	struct machine *m;
	size_t i;

	for (i = 0; i < l->f.n; i++) {
		m = &l->f.machines[i];
		if (m->spare && m->has_disk && m->has_seed && m->has_data && m->elsewhere == HOST_NONE &&
		    (!l->hosts.n || m->domain == DOMAIN_STOPPED))
			return m;
	}
	return NULL;
}

static int replace_look(struct life *l, const struct machine *m, struct machine **ret_spare)
{
	int err = m->spare ? fail("%s: is a spare itself", m->name) : life_look(l, true);

	if (!err)
		err = strangers_fail(l);
	if (!err)
		err = fleet_no_foreign(&l->f);
	if (!err && runs(m) && !cmd_option(l->c, "force"))
		err = fail("%s: is running; stop it first, or give --force", m->name);
	if (err)
		return err;
	*ret_spare = spare_find(l);
	return *ret_spare ? DONE : fail("%s: has no spare that is complete; 'pando fleet resize %s --spares N' makes some",
					l->f.name, l->f.name);
}

/* The spare is started before M is made anew, as a spare: it is waited for. */
static int replace(struct life *l, struct machine *m, struct machine *spare)
{
	struct crew_work on = work_of(l, "starting", is_chosen, hv_start);
	bool ran = runs(m);
	uint64_t n;
	int err = leftovers_remove(l);

	if (!err)
		err = machines_remove(l);
	if (err)
		return err;
	attached_forget(&l->f, m->name);
	m->spare = true;
	m->version = l->f.version;
	m->chosen = false;
	spare->spare = false;
	spare->chosen = true;
	l->f.state = FLEET_MAKING;
	err = fleet_save(l->c, &l->f, false);
	if (!err && ran)
		err = crew_run(&l->hosts, &l->f, &on, &n);
	return err ? err : fleet_shares_remove(l->c, &l->f, true);
}

int fleet_replace(struct cmd *c)
{
	struct life l = { .c = c };
	struct machine *m = NULL, *spare = NULL;
	char taken[FLEET_LABEL_MAX + 1];
	int err = life_begin(&l);

	if (!err)
		err = life_alive(&l);
	if (!err)
		m = fleet_machine(&l.f, c->argv[1]);
	if (!err)
		err = replace_look(&l, m, &spare);
	if (!err)
		err = replace(&l, m, spare);
	if (err)
		return life_end(&l, err, "replaced");
	snprintf(taken, sizeof(taken), "%s", spare->name);
	hosts_close(&l.hosts);
	return fleet_complete(c, &l.f, false, taken);
}
