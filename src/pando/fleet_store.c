/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which fleets there are, and what they have, by the management API.  In a fleet's volume:
 *
 *	/fleets/NAME/fleet.json		the manifest: the first that is made, the last that goes
 *	/fleets/NAME/lock		while a command changes the fleet (fleet_lock.c)
 *	/fleets/NAME/golden.raw		a clone of the golden image, from which all disks come:
 *					what becomes of the image itself is of no importance then;
 *	/fleets/NAME/golden-2.raw	and of the next, after a recompose
 *	/fleets/NAME/disks/MACHINE.raw
 *	/fleets/NAME/seeds/MACHINE.img	or .iso
 *	/fleets/NAME/data/MACHINE.raw	if the fleet has data disks: empty when they are made
 *	/fleets/NAME/snapshots/TAG/disks/MACHINE.raw, data/MACHINE.raw	(fleet_snapshot.c)
 */
#include "pando/fleet_cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define DATA_PIECE ((uint64_t)1 << 20)		/* what one GET gives */
#define MANIFEST_MAX ((uint64_t)64 << 20)
#define TRIES 20				/* to read what others replace */

static void path_of(const char *volume, const char *fleet, const char *rest, char *buf, size_t cap)
{
	snprintf(buf, cap, "%s:/fleets/%s%s", volume, fleet, rest);
}

void fleet_path(const struct fleet *f, const char *rest, char *buf, size_t cap)
{
	path_of(f->volume, f->name, rest, buf, cap);
}

/* ---- finding and reading ---------------------------------------------------------------- */

/* All bytes of the file that STAT describes.  LOUD: tells why it can't be read. */
static int file_read(struct cmd *c, const char *path, const json_t *stat, bool loud, struct buf *ret)
{
	uint64_t size = json_u64(stat, "size");
	struct buf piece;
	struct request r;
	int err = DONE;

	buf_init(&piece, 2 * DATA_PIECE);
	while (!err && ret->len < size) {
		buf_clear(&piece);
		request_init(&r, "GET", "/v1/data", NULL);
		request_arg(&r, "path", path);
		request_arg_u64(&r, "offset", ret->len);
		request_arg_u64(&r, "length", DATA_PIECE);
		request_arg_u64(&r, "inode", json_u64(stat, "inode"));
		request_arg_u64(&r, "generation", json_u64(stat, "generation"));
		err = loud ? client_data(c, &r, &piece) : client_try_data(c, &r, &piece) ? DONE : FAILED;
		if (!err && !piece.len)
			err = loud ? fail("%s: became shorter while it was read; try again", path) : FAILED;
		if (!err && buf_append(ret, piece.data, piece.len))
			err = fail("out of memory");
	}
	buf_release(&piece);
	return err;
}

int stat_find(struct cmd *c, const char *path, json_t **ret)
{
	struct request r;

	request_init(&r, "GET", "/v1/files", NULL);
	request_arg(&r, "path", path);
	return client_find(c, &r, ret);
}

/* Where it was found must be what it says: a clone of the volume has the manifests of the
 * original's fleets, whose machines are not the clone's. */
static int place_check(struct fleet *f, const char *name, const json_t *volume, char why[FLEET_WHY])
{
	if (strcmp(f->name, name)) {
		snprintf(why, FLEET_WHY, "is the manifest of the fleet %s", f->name);
		return -EINVAL;
	}
	if (strcmp(f->volume_uuid, json_text(volume, "uuid"))) {
		snprintf(why, FLEET_WHY, "belongs to another volume, of which %s is a clone; its "
			 "machines are those of the original", json_text(volume, "name"));
		return -EXDEV;
	}
	/* a volume that was renamed */
	snprintf(f->volume, sizeof(f->volume), "%s", json_text(volume, "name"));
	return 0;
}

/* Another command may replace it at any time, or remove it: it is looked for again then. */
static int manifest_read(struct cmd *c, const char *path, bool *ret_found, struct buf *ret)
{
	json_t *stat;
	int i, err = FAILED;

	for (i = 1; i <= TRIES && err; i++) {
		err = stat_find(c, path, &stat);
		*ret_found = !err && stat;
		if (!*ret_found)
			return err;
		buf_clear(ret);
		if (json_u64(stat, "size") > MANIFEST_MAX) {
			err = fail("%s: has %llu bytes, which is no fleet's manifest", path, (unsigned long long)json_u64(stat, "size"));
			i = TRIES;
		} else {
			err = file_read(c, path, stat, i == TRIES, ret);
		}
		json_decref(stat);
	}
	return err;
}

/* The manifest at VOLUME, if there is one.  *ret_err: 0, or WHY tells what is wrong with it. */
static int manifest_find(struct cmd *c, const json_t *volume, const char *name, struct fleet *f,
			 bool *ret_found, int *ret_err, char why[FLEET_WHY])
{
	CLEANUP_BUF struct buf text = { .max = MANIFEST_MAX + 1 };
	char path[300], what[FLEET_WHY];
	int err;

	path_of(json_text(volume, "name"), name, "/fleet.json", path, sizeof(path));
	err = manifest_read(c, path, ret_found, &text);
	if (err || !*ret_found)
		return err;
	*ret_err = fleet_decode(buf_str(&text), text.len, f, what);
	if (!*ret_err)
		*ret_err = place_check(f, name, volume, what);
	if (*ret_err) {
		snprintf(why, FLEET_WHY, "%.150s: %.240s", path, what);
		fleet_done(f);
		snprintf(f->name, sizeof(f->name), "%s", name);
		snprintf(f->volume, sizeof(f->volume), "%s", json_text(volume, "name"));
		f->copy = *ret_err == -EXDEV;
	}
	return DONE;
}

static int volumes_get(struct cmd *c, json_t **ret)
{
	struct request r;

	request_init(&r, "GET", "/v1/volumes", NULL);
	return client_call(c, &r, ret);
}

int fleet_find(struct cmd *c, const char *name, struct fleet *f, bool *ret_found)
{
	char why[FLEET_WHY];
	json_t *j, *volume;
	bool found = false;
	int err, bad = 0;
	size_t i;

	fleet_init(f);
	*ret_found = false;
	if (fleet_name_check(name, why))
		return usage(c, "%s", why);
	err = volumes_get(c, &j);
	if (err)
		return err;
	json_array_foreach(json_object_get(j, "volumes"), i, volume) {
		err = manifest_find(c, volume, name, f, &found, &bad, why);
		if (!err && found && bad == -EXDEV)
			continue;
		if (!err && found && bad)
			err = fail("%s; put it right, or restore it from a snapshot", why);
		if (err || found)
			break;
	}
	json_decref(j);
	*ret_found = found && !bad && !err;
	return err;
}

int fleet_load(struct cmd *c, const char *name, struct fleet *f)
{
	bool found;
	int err = fleet_find(c, name, f, &found);

	if (!err && !found)
		err = fail("%s: no such fleet; 'pando fleet list' shows what there is", name);
	return err;
}

/* What was read before it was locked may have changed. */
int fleet_load_locked(struct cmd *c, const char *name, struct fleet *f)
{
	int err = fleet_load(c, name, f);

	if (!err)
		err = fleet_lock(c, f);
	if (err)
		return err;
	fleet_done(f);
	return fleet_load(c, name, f);
}

int entries_each(struct cmd *c, const char *path, entry_fn fn, void *arg)
{
	json_t *page, *entry;
	uint64_t after = 0;
	struct request r;
	int err = DONE;
	size_t i;

	do {
		request_init(&r, "GET", "/v1/entries", NULL);
		request_arg(&r, "path", path);
		request_arg_u64(&r, "after", after);
		err = client_find(c, &r, &page);
		if (err || !page)
			return err;
		json_array_foreach(json_object_get(page, "entries"), i, entry) {
			err = fn(arg, entry);
			if (err)
				break;
		}
		after = json_u64(page, "next");
		json_decref(page);
	} while (!err && after);
	return err;
}

struct each {
	struct cmd *c;
	const json_t *volume;
	int (*fn)(void *arg, struct fleet *f, const char *why);
	void *arg;
};

static int each_entry(void *arg, const json_t *entry)
{
	struct each *e = arg;
	char why[FLEET_WHY];
	struct fleet f;
	bool found;
	int err, bad = 0;

	if (fleet_name_check(json_text(entry, "name"), why))
		return DONE;		/* not of ours */
	err = manifest_find(e->c, e->volume, json_text(entry, "name"), &f, &found, &bad, why);
	if (err || !found)
		return err;
	err = e->fn(e->arg, &f, bad ? why : NULL);
	fleet_done(&f);
	return err;
}

int fleet_each(struct cmd *c, int (*fn)(void *arg, struct fleet *f, const char *why), void *arg)
{
	struct each e = { .c = c, .fn = fn, .arg = arg };
	char path[128];
	json_t *j, *volume;
	int err = volumes_get(c, &j);
	size_t i;

	if (err)
		return err;
	json_array_foreach(json_object_get(j, "volumes"), i, volume) {
		e.volume = volume;
		snprintf(path, sizeof(path), "%s:/fleets", json_text(volume, "name"));
		err = entries_each(c, path, each_entry, &e);
		if (err)
			break;
	}
	json_decref(j);
	return err;
}

/* ---- what is there ---------------------------------------------------------------------- */

const char *const fleet_folders[] = { "/disks", "/seeds", "/data" };

struct survey {
	struct fleet *f;
	struct fleet_files *files;
	const char *folder, *suffix;
	json_t *index;			/* name of a machine: its place */
	json_t *shares;			/* names of the golden shares that are there */
};

static void foreign_note(struct survey *s, const char *name)
{
	if (!*s->files->foreign)
		snprintf(s->files->foreign, sizeof(s->files->foreign), "%s/%.200s", s->folder, name);
}

/* The machine whose file this is, NULL if it is nobody's. */
static struct machine *machine_of(struct survey *s, const char *file)
{
	size_t len = strlen(file), suffix = strlen(s->suffix);
	char name[FLEET_LABEL_MAX + 1];
	const json_t *at;

	if (len <= suffix || strcmp(file + len - suffix, s->suffix) || len - suffix >= sizeof(name))
		return NULL;
	memcpy(name, file, len - suffix);
	name[len - suffix] = 0;
	at = json_object_get(s->index, name);
	return at ? &s->f->machines[json_integer_value(at)] : NULL;
}

static int survey_file(void *arg, const json_t *entry)
{
	struct survey *s = arg;
	const char *name = json_text(entry, "name");
	bool fresh = !strncmp(name, FRESH_PREFIX, strlen(FRESH_PREFIX));
	struct machine *m = machine_of(s, fresh ? name + strlen(FRESH_PREFIX) : name);

	if (!m || strcmp(json_text(entry, "type"), "file") || (fresh && strcmp(s->folder, "disks")))
		foreign_note(s, name);
	else if (fresh)
		m->has_fresh = true;
	else if (!strcmp(s->folder, "disks"))
		m->has_disk = true;
	else if (!strcmp(s->folder, "data"))
		m->has_data = true;
	else
		m->has_seed = true;
	return DONE;
}

/* Of a version that the fleet has or had; a recompose that was cut short has made the next one. */
static bool is_share(const struct fleet *f, const char *name)
{
	char share[40];
	uint64_t version = 1;

	if (strncmp(name, "golden", 6))
		return false;
	if (name[6] == '-')
		version = strtoull(name + 7, NULL, 10);
	golden_share_name(version, share, sizeof(share));
	return version && version <= f->version + 1 && !strcmp(name, share);
}

/* Whether a fleet of these settings has that in its folder. */
static bool is_own(const struct fleet *f, const char *name, bool folder)
{
	if (!folder)
		return !strcmp(name, "fleet.json") || !strcmp(name, "lock");
	return !strcmp(name, "disks") || !strcmp(name, "seeds") || !strcmp(name, "snapshots") ||
	       (!strcmp(name, "data") && setting_number(f, "data")) ||
	       (!strcmp(name, "vmware") && !strcmp(setting_text(f, "format"), "vmware"));
}

static int survey_top(void *arg, const json_t *entry)
{
	struct survey *s = arg;
	const char *name = json_text(entry, "name"), *type = json_text(entry, "type");

	if (!strcmp(type, "file") && is_share(s->f, name))
		json_object_set_new(s->shares, name, json_true());
	else if (!is_own(s->f, name, !strcmp(type, "directory")))
		foreign_note(s, name);
	return DONE;
}

/* Whether all golden shares are there that a machine's disk came from, or will. */
static bool shares_complete(const struct survey *s)
{
	uint64_t version = s->f->version;
	char name[40];
	size_t i;

	golden_share_name(version, name, sizeof(name));
	if (!json_object_get(s->shares, name))
		return false;
	for (i = 0; i < s->f->n; i++) {
		if (s->f->machines[i].version == version)
			continue;
		version = s->f->machines[i].version;
		golden_share_name(version, name, sizeof(name));
		if (!json_object_get(s->shares, name))
			return false;
	}
	return true;
}

int fleet_survey(struct cmd *c, struct fleet *f, struct fleet_files *ret_files)
{
	struct survey s = { .f = f, .files = ret_files, .folder = ".", .index = json_object(),
			    .shares = json_object() };
	char path[300];
	size_t i;
	int err;

	memset(ret_files, 0, sizeof(*ret_files));
	for (i = 0; i < f->n; i++) {
		f->machines[i].has_disk = f->machines[i].has_seed = f->machines[i].has_fresh = false;
		f->machines[i].has_data = !setting_number(f, "data");
		json_object_set_new(s.index, f->machines[i].name, json_integer((json_int_t)i));
	}
	fleet_path(f, "", path, sizeof(path));
	err = entries_each(c, path, survey_top, &s);
	for (i = 0; i < 3 && !err; i++) {
		s.folder = fleet_folders[i] + 1;
		s.suffix = i == 0 ? disk_suffix(f) : i == 1 ? seed_suffix(f) : data_suffix(f);
		fleet_path(f, fleet_folders[i], path, sizeof(path));
		err = entries_each(c, path, survey_file, &s);
	}
	ret_files->golden = !err && shares_complete(&s);
	if (!err)
		err = vmware_survey(c, f, s.index, ret_files);
	if (!err)
		err = tags_survey(c, f, s.index, ret_files);
	json_decref(s.index);
	json_decref(s.shares);
	return err;
}
