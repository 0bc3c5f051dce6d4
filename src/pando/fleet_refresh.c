/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fleet refresh and recompose: machines get fresh disks, of the golden image that they have or of a new
 * one.
 */
#include "pando/fleet_life.h"
#include "pando/golden.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* ---- refresh ---------------------------------------------------------------------------- */

/* All clones in one call, then each takes the place of its machine's disk: at any moment, each
 * machine has its old disk or its new one. */
static int disks_refresh(struct life *l)
{
	uint64_t us = 0;
	int err = leftovers_remove(l);

	if (err || !how_many(&l->f, is_chosen))	/* all were left out, and told of */
		return err;
	err = fleet_disks_clone(l->c, &l->f, FRESH_PREFIX, is_chosen, &l->done, &us);
	return err ? err : fleet_disks_replace(l->c, &l->f, FRESH_PREFIX, is_chosen);
}

/* A disk that is thrown away needs no shutting down, but one that is kept does. */
static int pause_for_disks(struct life *l, uint64_t timeout_s)
{
	return machines_pause(l, setting_number(&l->f, "data") && !cmd_option(l->c, "force"), timeout_s);
}

static int refresh(struct life *l, uint64_t timeout_s)
{
	int err = pause_for_disks(l, timeout_s);

	if (!err && interrupted)
		err = fail("%s: interrupted; no disk was changed", l->f.name);
	if (!err)
		err = disks_refresh(l);
	return machines_resume(l, err);		/* each has its old disk or its new one */
}

static int refresh_look(struct life *l)
{
	int err = life_look(l, false);

	if (!err && !l->files.golden)
		err = fail("%s: its share of the golden image is missing; 'pando fleet create %s' makes "
			   "it again, of what that image is now", l->f.name, l->f.name);
	return err;
}

int fleet_refresh(struct cmd *c)
{
	struct life l = { .c = c };
	uint64_t timeout_s;
	int err = timeout_take(c, &timeout_s);

	if (!err)
		err = life_begin(&l);
	if (!err)
		err = life_alive(&l);
	if (!err)
		err = refresh_look(&l);
	if (!err)
		err = refresh(&l, timeout_s);
	return life_end(&l, err, "refreshed");
}

/* ---- recompose -------------------------------------------------------------------------- */

/* Of an image that has a version, which never changes, an earlier share is as good. */
static bool is_old(const struct fleet *f, const struct machine *m)
{
	const char *golden = setting_text(f, "golden");

	return m->chosen && m->version < f->version &&
	       !(golden_has_version(golden) && !strcmp(fleet_golden(f, m->version), golden));
}

static bool any_old(const struct fleet *f)
{
	size_t i;

	for (i = 0; i < f->n && !is_old(f, &f->machines[i]); i++)
		;
	return i < f->n;
}

/* A share of the new image, and then the manifest that says so.  Where a recompose to this image has
 * begun already, it goes on; and where all have an image that never changes, there is nothing to do. */
static int version_begin(struct life *l, const char *golden)
{
	struct fleet *f = &l->f;
	char name[40] = "/";
	int err;

	if (!strcmp(setting_text(f, "golden"), golden) && (any_old(f) || golden_has_version(golden)))
		return DONE;
	f->version++;
	json_object_set_new(f->settings, "golden", json_string(golden));
	fleet_golden_set(f, f->version, golden);
	golden_share_name(f->version, name + 1, sizeof(name) - 1);
	err = fleet_file_remove(l->c, f, name, false);	/* left by one that was cut short */
	if (!err)
		err = fleet_golden_share(l->c, f, f->version);
	return err ? err : fleet_save(l->c, f, false);
}

/* Some of those that are old: their disks change, then the manifest says so, then they start. */
static int batch_move(struct life *l, uint64_t timeout_s)
{
	size_t i;
	int err = pause_for_disks(l, timeout_s);

	for (i = 0; i < l->f.n && !err; i++)
		if (l->f.machines[i].chosen)
			l->f.machines[i].version = l->f.version;
	if (!err)
		err = disks_refresh(l);
	if (!err)
		err = fleet_vmware_put(l->c, &l->f, is_chosen);	/* the image may be of another size */
	if (!err)
		err = fleet_save(l->c, &l->f, false);
	return machines_resume(l, err);
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
		moved += err ? 0 : how_many(&l->f, is_chosen);
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
		err = golden_look(l->c, &l->f, golden);
	if (!err)
		err = refresh_look(l);
	return err ? err : l->hosts.n ? fleet_no_foreign(&l->f) : DONE;
}

static bool is_up(const struct machine *m) { return m->domain == DOMAIN_RUNNING; }

/* So many stay up at any time, of those that are up now. */
static int keep_running(struct life *l, uint64_t keep, uint64_t *at_once)
{
	uint64_t up = how_many(&l->f, is_up);

	if (!keep || !how_many(&l->f, runs))
		return DONE;
	if (up <= keep)
		return fail("%s: %llu of its machines run, and %llu are to stay up: so none can be moved; start more first, "
			    "or keep fewer", l->f.name, (unsigned long long)up, (unsigned long long)keep);
	if (*at_once > up - keep)
		*at_once = up - keep;
	return DONE;
}

int fleet_recompose(struct cmd *c)
{
	struct life l = { .c = c };
	CLEANUP_FREE char *golden = NULL;
	uint64_t timeout_s, at_once = 4, keep = 0;
	int err = timeout_take(c, &timeout_s);

	if (!err)
		err = cmd_number(c, "at-once", &at_once);
	if (!err)
		err = cmd_number(c, "keep-running", &keep);
	if (!err && (!cmd_option(c, "golden") || !at_once))
		err = usage(c, at_once ? "say which image with --golden" : "--at-once: must be 1 or more");
	if (!err)
		err = golden_resolve(c, cmd_option(c, "golden"), &golden);
	if (!err)
		err = life_begin(&l);
	if (!err)
		err = recompose_look(&l, golden);
	if (!err)
		err = keep_running(&l, keep, &at_once);
	if (!err)
		err = version_begin(&l, golden);
	if (!err)
		err = machines_move(&l, at_once, timeout_s);
	return life_end(&l, err, "recomposed");
}
