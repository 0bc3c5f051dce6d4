/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fleet snapshot and rollback: the disks of machines as they were at one instant.
 *
 *	/fleets/NAME/snapshots/TAG/disks/MACHINE.raw	clones, and of data disks too
 *
 * One instant for all of them is what a snapshot of the volume is: it is taken, the disks are cloned out
 * of it, and it goes again.  The manifest is written last: what is in a folder of a tag, and not in the
 * manifest, was cut short; taking or removing that snapshot clears it away.
 */
#include "pando/fleet_life.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define CLONES_BATCH 5000		/* in a call */

/* ---- what is there ---------------------------------------------------------------------- */

struct tag_survey {
	struct cmd *c;
	const struct fleet *f;
	const json_t *index;
	struct fleet_files *files;
	const char *tag, *folder;	/* "disks" or "data"; NULL: in the tag's own */
	bool chosen_only;		/* what others have lost is of no interest */
	json_t *seen;			/* "disks/desk-001.raw" */
	json_t *tags;			/* that have a folder */
};

static void foreign_note(struct tag_survey *s, const char *name)
{
	if (!*s->files->foreign)
		snprintf(s->files->foreign, sizeof(s->files->foreign), "snapshots/%.70s%s%s%s%.130s",
			 s->tag ? s->tag : "", s->tag ? "/" : "", s->folder ? s->folder : "",
			 s->folder ? "/" : "", name);
}

static const char *suffix_of(const struct fleet *f, const char *folder)
{
	return strcmp(folder, "disks") ? data_suffix(f) : disk_suffix(f);
}

static int tag_file(void *arg, const json_t *entry)
{
	struct tag_survey *s = arg;
	const char *name = json_text(entry, "name");
	size_t len = strlen(name);
	char machine[FLEET_LABEL_MAX + 1], seen[FLEET_LABEL_MAX + 16];

	if (len < 5 || len - 4 > FLEET_LABEL_MAX || strcmp(name + len - 4, suffix_of(s->f, s->folder)) ||
	    strcmp(json_text(entry, "type"), "file")) {
		foreign_note(s, name);
		return DONE;
	}
	memcpy(machine, name, len - 4);
	machine[len - 4] = 0;
	if (!json_object_get(s->index, machine)) {
		foreign_note(s, name);
	} else if (!tag_has(s->f, s->tag, machine, NULL)) {
		snprintf(s->files->unfinished, sizeof(s->files->unfinished), "%.70s", s->tag);
	} else {
		snprintf(seen, sizeof(seen), "%s/%s", s->folder, name);
		json_object_set_new(s->seen, seen, json_true());
	}
	return DONE;
}

static int tag_folder(void *arg, const json_t *entry)
{
	struct tag_survey *s = arg;
	const char *name = json_text(entry, "name");

	if (strcmp(name, "disks") && strcmp(name, "data"))
		foreign_note(s, name);
	return DONE;
}

/* The manifest says what there should be. */
static void lost_find(struct tag_survey *s)
{
	json_t *machines = json_object_get(s->f->snapshots, s->tag), *j;
	const char *machine;
	char name[FLEET_LABEL_MAX + 16];
	int i, folders = setting_number(s->f, "data") ? 2 : 1;

	json_object_foreach(machines, machine, j)
		for (i = 0; i < folders; i++) {
			snprintf(name, sizeof(name), "%s/%s%s", i ? "data" : "disks", machine,
				 suffix_of(s->f, i ? "data" : "disks"));
			if (s->chosen_only && !fleet_machine(s->f, machine)->chosen)
				continue;
			if (!json_object_get(s->seen, name) && !*s->files->lost)
				snprintf(s->files->lost, sizeof(s->files->lost), "%s: %s", s->tag, name);
		}
}

static int tag_survey_one(struct tag_survey *s)
{
	char path[400], rest[100];
	int i, err;

	s->seen = json_object();
	s->folder = NULL;
	snprintf(rest, sizeof(rest), "/snapshots/%.70s", s->tag);
	fleet_path(s->f, rest, path, sizeof(path));
	err = entries_each(s->c, path, tag_folder, s);
	for (i = 0; i < 2 && !err; i++) {
		s->folder = i ? "data" : "disks";
		snprintf(rest, sizeof(rest), "/snapshots/%.70s/%s", s->tag, s->folder);
		fleet_path(s->f, rest, path, sizeof(path));
		err = entries_each(s->c, path, tag_file, s);
	}
	lost_find(s);
	json_decref(s->seen);
	s->tag = s->folder = NULL;
	return err;
}

static int tag_entry(void *arg, const json_t *entry)
{
	struct tag_survey *s = arg;
	char why[FLEET_WHY];
	const char *name = json_text(entry, "name");

	if (tag_check(name, why) || strcmp(json_text(entry, "type"), "directory")) {
		foreign_note(s, name);
		return DONE;
	}
	if (!json_object_get(s->f->snapshots, name))
		snprintf(s->files->unfinished, sizeof(s->files->unfinished), "%.70s", name);
	json_object_set_new(s->tags, name, json_true());
	s->tag = name;
	return tag_survey_one(s);
}

int tags_survey(struct cmd *c, const struct fleet *f, const json_t *index, struct fleet_files *files)
{
	struct tag_survey s = { .c = c, .f = f, .index = index, .files = files, .tags = json_object() };
	char path[300];
	const char *tag;
	json_t *machines;
	int err;

	fleet_path(f, "/snapshots", path, sizeof(path));
	err = entries_each(c, path, tag_entry, &s);
	json_object_foreach(f->snapshots, tag, machines)
		if (!json_object_get(s.tags, tag) && !*files->lost)
			snprintf(files->lost, sizeof(files->lost), "%s: all of it", tag);
	json_decref(s.tags);
	return err;
}

/* That chosen machines have their files in TAG. */
static int tag_complete(struct life *l, const char *tag)
{
	struct fleet_files files = { 0 };
	struct tag_survey s = { .c = l->c, .f = &l->f, .index = json_object(), .files = &files, .tag = tag,
				.chosen_only = true };
	size_t i;
	int err;

	for (i = 0; i < l->f.n; i++)
		json_object_set_new((json_t *)s.index, l->f.machines[i].name, json_true());
	err = tag_survey_one(&s);
	json_decref((json_t *)s.index);
	return !err && *files.lost ? fail("%s: the snapshot %s has lost its %s; no disk was changed", l->f.name, tag,
					  files.lost + strlen(tag) + 2) : err;
}

/* ---- arguments -------------------------------------------------------------------------- */

/* FLEET, or FLEET/MACHINE, and TAG. */
static int tag_begin(struct life *l, const char **ret_tag)
{
	char why[FLEET_WHY];

	*ret_tag = l->c->argv[1];
	return tag_check(*ret_tag, why) ? usage(l->c, "%s", why) : life_choose(l);
}

/* A fleet's snapshot is of those machines that have it; one that is named must. */
static int tag_choose(struct life *l, const char *tag)
{
	char tags[200];
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < l->f.n; i++) {
		l->f.machines[i].chosen &= tag_has(&l->f, tag, l->f.machines[i].name, NULL);
		n += l->f.machines[i].chosen;
	}
	if (n)
		return DONE;
	tags_text(&l->f, tags, sizeof(tags));
	return fail("%s: has no snapshot %s; of this fleet there are: %s", l->c->argv[0], tag, tags);
}

/* ---- taking ----------------------------------------------------------------------------- */

static int tag_folders_make(struct life *l, const char *tag)
{
	char rest[100], path[400];
	struct request r;
	int i, n = setting_number(&l->f, "data") ? 2 : 1, err = DONE;

	for (i = 0; i < n && !err; i++) {
		snprintf(rest, sizeof(rest), "/snapshots/%s/%s", tag, i ? "data" : "disks");
		fleet_path(&l->f, rest, path, sizeof(path));
		request_init(&r, "POST", "/v1/directories", NULL);
		request_arg(&r, "path", path);
		request_arg(&r, "parents", "1");
		err = client_call(l->c, &r, NULL);
	}
	return err;
}

/* Chosen machines' files of the fleet's folder FROM (in the volume, or a snapshot of it) become clones in
 * its folder TO, in place of what is there. */
static int files_clone(struct life *l, const char *volume, const char *from, const char *to)
{
	const char *suffix = suffix_of(&l->f, strrchr(from, '/') + 1);
	unsigned how = FILES_REPLACE | (strncmp(to, "/snapshots/", 11) ? FILES_MAKE_ROOM : 0);	/* a rollback's */
	json_t *files = json_array();
	size_t i;
	int err = DONE;

	for (i = 0; i < l->f.n && !err; i++) {
		const char *name = l->f.machines[i].name;

		if (!l->f.machines[i].chosen)
			continue;
		json_array_append_new(files, json_pack("{s:o,s:o}", "name", json_sprintf("%s%s", name, suffix), "src",
						       json_sprintf("%s:/fleets/%s%s/%s%s", volume,
								    l->f.name, from, name, suffix)));
		if (json_array_size(files) == CLONES_BATCH)
			err = fleet_files_send(l->c, &l->f, to, NULL, how, &files);
	}
	if (!err)
		err = fleet_files_send(l->c, &l->f, to, NULL, how, &files);
	json_decref(files);
	return err;
}

/* The volume's snapshot that is there while a fleet's is taken: no fleet's name has a dot. */
static void instant_name(const struct life *l, char buf[200])
{
	snprintf(buf, 200, "%s@fleet.%s", l->f.volume, l->f.name);
}

static int instant_call(struct life *l, const char *method)
{
	struct request r;
	char name[200];
	json_t *j = NULL;
	int err;

	instant_name(l, name);
	request_init(&r, method, "/v1/snapshots", NULL);
	request_arg(&r, "snapshot", name);
	err = strcmp(method, "DELETE") ? client_call(l->c, &r, &j) : client_find(l->c, &r, &j);
	json_decref(j);
	return err;
}

int tag_leftover_remove(struct life *l)
{
	return instant_call(l, "DELETE");
}

static int disks_take(struct life *l, const char *tag)
{
	char volume[200], to[100];
	int err, gone;

	instant_name(l, volume);
	err = tag_leftover_remove(l);
	if (!err)
		err = instant_call(l, "POST");
	if (err)
		return err;
	snprintf(to, sizeof(to), "/snapshots/%s/disks", tag);
	err = files_clone(l, volume, "/disks", to);
	snprintf(to, sizeof(to), "/snapshots/%s/data", tag);
	if (!err && setting_number(&l->f, "data"))
		err = files_clone(l, volume, "/data", to);
	gone = instant_call(l, "DELETE");
	return err ? err : gone;
}

static int take(struct life *l, const char *tag)
{
	char created[32];
	size_t i;
	int err = tag_folders_make(l, tag);

	now_text(created);
	if (!err)
		err = disks_take(l, tag);
	for (i = 0; i < l->f.n && !err; i++) {
		if (!l->f.machines[i].chosen)
			continue;
		if (tag_note(&l->f, tag, &l->f.machines[i], created))
			err = fail("out of memory");
		l->done++;
	}
	return err ? err : fleet_save(l->c, &l->f, false);
}

static int take_look(struct life *l, const char *tag)
{
	const struct machine *m;
	size_t i;
	int err = fleet_survey(l->c, &l->f, &l->files);

	for (i = 0; i < l->f.n && !err; i++) {
		m = &l->f.machines[i];
		if (!m->chosen)
			continue;
		if (tag_has(&l->f, tag, m->name, NULL))
			err = fail("%s: has a snapshot %s already; choose another name, or remove it with "
				   "--remove", m->name, tag);
		else if (!m->has_disk || !m->has_data)
			err = fail("%s: has no %s; 'pando fleet create %s' makes what is missing", m->name,
				   m->has_disk ? "data disk" : "disk", l->f.name);
	}
	return err;
}

/* ---- removing --------------------------------------------------------------------------- */

static int tag_files_remove(struct cmd *c, const struct fleet *f, const char *tag, const char *machine)
{
	char name[100 + FLEET_LABEL_MAX];
	int i, err = DONE;

	for (i = 0; i < 2 && !err; i++) {
		snprintf(name, sizeof(name), "/snapshots/%s/%s/%s%s", tag, i ? "data" : "disks", machine,
			 suffix_of(f, i ? "data" : "disks"));
		err = fleet_file_remove(c, f, name, false);
	}
	return err;
}

/* The folder of a snapshot that no machine has any more. */
static int tag_folder_remove(struct cmd *c, const struct fleet *f, const char *tag)
{
	char name[100];

	snprintf(name, sizeof(name), "/snapshots/%s", tag);
	return json_object_get(f->snapshots, tag) ? DONE : fleet_file_remove(c, f, name, true);
}

int tags_remove(struct cmd *c, struct fleet *f)
{
	json_t *tags = json_deep_copy(f->snapshots), *machines;
	const char *tag;
	size_t i;
	int err = DONE;

	json_object_foreach(tags, tag, machines) {
		for (i = 0; i < f->n && !err; i++) {
			if (!f->machines[i].chosen || !tag_has(f, tag, f->machines[i].name, NULL))
				continue;
			err = tag_files_remove(c, f, tag, f->machines[i].name);
			tag_forget(f, tag, f->machines[i].name);
		}
		if (!err)
			err = tag_folder_remove(c, f, tag);
	}
	json_decref(tags);
	return err;
}

/* The manifest first: then whatever is left is known to be nobody's. */
static int drop(struct life *l, const char *tag)
{
	size_t i;
	int err;

	for (i = 0; i < l->f.n; i++)
		if (l->f.machines[i].chosen) {
			tag_forget(&l->f, tag, l->f.machines[i].name);
			l->done++;
		}
	err = fleet_save(l->c, &l->f, false);
	if (!err && json_object_get(l->f.snapshots, tag))
		for (i = 0; i < l->f.n && !err; i++)
			if (l->f.machines[i].chosen)
				err = tag_files_remove(l->c, &l->f, tag, l->f.machines[i].name);
	if (!err)
		err = tag_folder_remove(l->c, &l->f, tag);
	return err ? err : fleet_shares_remove(l->c, &l->f, true);
}

/* One that was cut short is in no manifest, and can be removed all the same. */
static int drop_look(struct life *l, const char *tag)
{
	int err = fleet_survey(l->c, &l->f, &l->files);

	if (!err && *l->files.foreign)
		return fail("%s:/fleets/%s: holds %s, which is not of this fleet; move it away first", l->f.volume,
			    l->f.name, l->files.foreign);
	if (!err && !strcmp(l->files.unfinished, tag) && !json_object_get(l->f.snapshots, tag)) {
		for (size_t i = 0; i < l->f.n; i++)
			l->f.machines[i].chosen = false;
		return DONE;
	}
	return err ? err : tag_choose(l, tag);
}

int fleet_snapshot(struct cmd *c)
{
	struct life l = { .c = c };
	const char *tag;
	bool remove = cmd_option(c, "remove") != NULL;
	int err = tag_begin(&l, &tag);

	if (!err)
		err = remove ? drop_look(&l, tag) : take_look(&l, tag);
	if (!err)
		err = remove ? drop(&l, tag) : take(&l, tag);
	return life_end(&l, err, remove ? "removed from the snapshot" : "in the snapshot");
}

/* ---- rollback --------------------------------------------------------------------------- */

static int rollback_look(struct life *l, const char *tag)
{
	int err = tag_choose(l, tag);

	if (!err)
		err = life_look(l, false);
	if (!err)
		err = tag_complete(l, tag);
	return err;
}

static int rollback(struct life *l, const char *tag, uint64_t timeout_s)
{
	bool data = setting_number(&l->f, "data") && !cmd_option(l->c, "keep-data");
	bool keeps = setting_number(&l->f, "data") && !data && !cmd_option(l->c, "force");
	char from[100];
	size_t i;
	int err = machines_pause(l, keeps, timeout_s);

	if (!err && interrupted)
		err = fail("%s: interrupted; no disk was changed", l->f.name);
	if (err)
		return machines_resume(l, err);
	snprintf(from, sizeof(from), "/snapshots/%s/disks", tag);
	err = files_clone(l, l->f.volume, from, "/disks");
	snprintf(from, sizeof(from), "/snapshots/%s/data", tag);
	if (!err && data)
		err = files_clone(l, l->f.volume, from, "/data");
	for (i = 0; i < l->f.n && !err; i++)
		if (l->f.machines[i].chosen) {
			tag_has(&l->f, tag, l->f.machines[i].name, &l->f.machines[i].version);
			l->done++;
		}
	if (!err)
		err = fleet_vmware_put(l->c, &l->f, is_chosen);
	if (!err)
		err = fleet_save(l->c, &l->f, false);
	return err ? err : machines_resume(l, DONE);
}

int fleet_rollback(struct cmd *c)
{
	struct life l = { .c = c };
	uint64_t timeout_s;
	const char *tag;
	int err = timeout_take(c, &timeout_s);

	if (!err)
		err = tag_begin(&l, &tag);
	if (!err)
		err = rollback_look(&l, tag);
	if (!err)
		err = rollback(&l, tag, timeout_s);
	return life_end(&l, err, "rolled back");
}
