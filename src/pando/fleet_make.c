/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a fleet's files, and removing them (fleet_store.c says which there are).  Nothing here
 * costs a call for each machine: disks are cloned in one, seeds written by the thousand.
 */
#include "pando/fleet_cmd.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define SEEDS_BATCH ((size_t)2 << 20)		/* bytes of base64 in a call: its body has a limit */
#define DATA_BATCH 10000			/* names of empty files in a call */
#define DISKS_BATCH 5000			/* disks that are made, or take others' places: a small cache holds that */

/* ---- making ----------------------------------------------------------------------------- */

int fleet_folders_make(struct cmd *c, const struct fleet *f)
{
	struct request r;
	char path[300];
	int i, n = setting_number(f, "data") ? 3 : 2, err = DONE;

	for (i = 0; i < n && !err; i++) {
		fleet_path(f, fleet_folders[i], path, sizeof(path));
		request_init(&r, "POST", "/v1/directories", NULL);
		request_arg(&r, "path", path);
		request_arg(&r, "parents", "1");
		err = client_call(c, &r, NULL);
	}
	return err;
}

static int upload_begin(struct cmd *c, const char *path, bool first, char id[64])
{
	struct request r;
	json_t *j;
	int err;

	request_init(&r, "POST", "/v1/uploads", NULL);
	request_arg(&r, "path", path);
	request_arg(&r, "replace", first ? "0" : "1");
	request_arg(&r, "mode", "0600");	/* templates may hold secrets */
	request_arg(&r, "makes_room", "1");	/* what goes is written down first */
	err = client_call(c, &r, &j);
	if (err)
		return err;
	snprintf(id, 64, "%s", json_text(j, "id"));
	json_decref(j);
	return DONE;
}

/* Without a name until it is complete: no crash leaves half a manifest. */
int fleet_save(struct cmd *c, const struct fleet *f, bool first)
{
	CLEANUP_BUF struct buf text = { 0 };
	struct request r;
	char path[300], id[64];
	int err;

	if (fleet_encode(f, &text))
		return fail("%s: out of memory for its manifest", f->name);
	fleet_path(f, "/fleet.json", path, sizeof(path));
	err = upload_begin(c, path, first, id);
	if (err)
		return err;
	request_init(&r, "PUT", "/v1/uploads/", id);
	request_arg_u64(&r, "offset", 0);
	r.data = text.data;
	r.data_len = text.len;
	err = client_call(c, &r, NULL);
	if (!err) {
		request_init(&r, "POST", "/v1/uploads/", id);
		err = client_call(c, &r, NULL);
	}
	return err;
}

int fleet_golden_share(struct cmd *c, const struct fleet *f, uint64_t version)
{
	char path[300], name[40] = "/";
	struct request r;

	golden_share_name(version, name + 1, sizeof(name) - 1);
	fleet_path(f, name, path, sizeof(path));
	request_init(&r, "POST", "/v1/clones", NULL);
	request_arg(&r, "src", fleet_golden(f, version));
	request_arg(&r, "dst", path);
	return client_call(c, &r, NULL);
}

/* Whether the newest is of that version, or a machine's. */
static bool version_is_used(const struct fleet *f, uint64_t version)
{
	size_t i;

	for (i = 0; i < f->n && f->machines[i].version != version; i++)
		;
	return i < f->n || version == f->version;
}

int fleet_golden_shares(struct cmd *c, const struct fleet *f)
{
	char path[300], name[40] = "/";
	uint64_t v;
	json_t *stat;
	int err = DONE;

	for (v = 1; v <= f->version && !err; v++) {
		stat = NULL;
		if (!version_is_used(f, v))
			continue;
		golden_share_name(v, name + 1, sizeof(name) - 1);
		fleet_path(f, name, path, sizeof(path));
		err = stat_find(c, path, &stat);
		if (!err && !stat)
			err = fleet_golden_share(c, f, v);
		json_decref(stat);
	}
	return err;
}

/* Of the machines with that version; 0: with any. */
static json_t *disk_names(const struct fleet *f, const char *prefix, machine_want want,
			  uint64_t version)
{
	json_t *names = json_array();
	size_t i;

	for (i = 0; i < f->n; i++)
		if (want(&f->machines[i]) && (!version || f->machines[i].version == version))
			json_array_append_new(names, json_sprintf("%s%s%s", prefix, f->machines[i].name,
								  disk_suffix(f)));
	return names;
}

/* COUNT of LIST, from AT on, or as many as there are. */
static json_t *some_of(const json_t *list, size_t at, size_t count)
{
	json_t *some = json_array();

	for (; count && at < json_array_size(list); count--, at++)
		json_array_append(some, json_array_get(list, at));
	return some;
}

/* FRESH: they are to take others' places, which go. */
static int disks_clone(struct cmd *c, const struct fleet *f, uint64_t version, json_t *names, bool fresh,
		       uint64_t *count, uint64_t *elapsed_us)
{
	char golden[300], path[300], name[40] = "/";
	json_t *j;
	struct request r;
	size_t at;
	int err = DONE;

	golden_share_name(version, name + 1, sizeof(name) - 1);
	fleet_path(f, name, golden, sizeof(golden));
	fleet_path(f, "/disks", path, sizeof(path));
	for (at = 0; at < json_array_size(names) && !err; at += DISKS_BATCH) {
		request_init(&r, "POST", "/v1/clones", NULL);
		r.body = json_pack("{s:s,s:s,s:b,s:o}", "src", golden, "dst", path, "makes_room", fresh, "names",
				   some_of(names, at, DISKS_BATCH));
		err = client_call(c, &r, &j);
		if (err)
			break;
		*count += json_u64(j, "count");
		*elapsed_us += json_u64(j, "elapsed_us");
		json_decref(j);
	}
	json_decref(names);
	return err;
}

/* One call, unless machines are of several versions, or more than a call takes. */
int fleet_disks_clone(struct cmd *c, const struct fleet *f, const char *prefix, machine_want want,
		      uint64_t *count, uint64_t *elapsed_us)
{
	uint64_t v, last = 0;
	size_t i;
	int err = DONE;

	for (v = 1; v <= f->version && !err; v = last) {
		last = f->version + 1;	/* the next version that there is */
		for (i = 0; i < f->n; i++)
			if (f->machines[i].version > v && f->machines[i].version < last)
				last = f->machines[i].version;
		err = strcmp(disk_suffix(f), ".vhd") ?
			disks_clone(c, f, v, disk_names(f, prefix, want, v), *prefix, count, elapsed_us) :
			vhds_clone(c, f, v, prefix, want, count, elapsed_us);
	}
	return err;
}

int fleet_disks_replace(struct cmd *c, const struct fleet *f, const char *prefix, machine_want want)
{
	json_t *from = disk_names(f, prefix, want, 0), *to = disk_names(f, "", want, 0);
	json_t *pairs = json_array();
	struct request r;
	char path[300];
	size_t i;
	json_t *name;
	int err = DONE;

	json_array_foreach(from, i, name)
		json_array_append_new(pairs, json_pack("[O,O]", name, json_array_get(to, i)));
	json_decref(from);
	json_decref(to);
	fleet_path(f, "/disks", path, sizeof(path));
	for (i = 0; i < json_array_size(pairs) && !err; i += DISKS_BATCH) {
		request_init(&r, "POST", "/v1/renames", NULL);
		r.body = json_pack("{s:s,s:o}", "path", path, "renames", some_of(pairs, i, DISKS_BATCH));
		err = client_call(c, &r, NULL);
	}
	json_decref(pairs);
	return err;
}

/* ---- seeds ------------------------------------------------------------------------------ */

int fleet_files_send(struct cmd *c, const struct fleet *f, const char *folder, const char *mode,
		     unsigned how, json_t **files)
{
	struct request r;
	char path[300];
	int err = DONE;

	fleet_path(f, folder, path, sizeof(path));
	if (json_array_size(*files)) {
		request_init(&r, "POST", "/v1/files", NULL);
		r.body = json_pack("{s:s,s:s*,s:b,s:b,s:O}", "path", path, "mode", mode, "replace", how & FILES_REPLACE,
				   "makes_room", how & FILES_MAKE_ROOM, "files", *files);
		err = client_call(c, &r, NULL);
	}
	json_decref(*files);
	*files = json_array();
	return err;
}

json_t *json_base64(const void *data, size_t len)
{
	size_t cap = sodium_base64_encoded_len(len, sodium_base64_VARIANT_ORIGINAL);
	char *text = malloc(cap);
	json_t *j;

	if (!text)
		return NULL;
	sodium_bin2base64(text, cap, data, len, sodium_base64_VARIANT_ORIGINAL);
	j = json_string(text);
	free(text);
	return j;
}

static int seed_add(const struct fleet *f, const struct machine *m, json_t *files, size_t *bytes)
{
	CLEANUP_BUF struct buf image = { 0 };
	char why[FLEET_WHY];
	uint64_t offset, size;

	if (machine_seed(f, m, &image, &offset, &size, why))
		return fail("%s: %s", m->name, why);
	json_array_append_new(files, json_pack("{s:o,s:o,s:I,s:I}", "name",
					       json_sprintf("%s%s", m->name, seed_suffix(f)), "data",
					       json_base64(image.data, image.len), "offset", (json_int_t)offset,
					       "size", (json_int_t)size));
	*bytes += image.len / 3 * 4 + 4;
	return DONE;
}

int fleet_seeds_put(struct cmd *c, const struct fleet *f, machine_want want, uint64_t *count)
{
	json_t *files = json_array();
	uint64_t started_ns = clock_ns();
	size_t bytes = 0, i;
	int err = DONE;

	for (i = 0; i < f->n && !err; i++) {
		if (!want(&f->machines[i]))
			continue;
		err = seed_add(f, &f->machines[i], files, &bytes);
		if (!err && bytes > SEEDS_BATCH) {
			err = fleet_files_send(c, f, "/seeds", "0600", FILES_REPLACE, &files);
			bytes = 0;
			progress_count("seeds", i, f->n, started_ns);
		}
		*count += !err;
	}
	if (!err)
		err = fleet_files_send(c, f, "/seeds", "0600", FILES_REPLACE, &files);
	json_decref(files);
	return err ? err : fleet_vmware_put(c, f, want);
}

static json_t *data_file(const struct fleet *f, const struct machine *m)
{
	uint64_t size = setting_number(f, "data");
	unsigned char footer[VHD_FOOTER];
	char uuid[FLEET_UUID];

	if (strcmp(data_suffix(f), ".vhd"))
		return json_pack("{s:o,s:s,s:I}", "name", json_sprintf("%s.raw", m->name), "data", "", "size",
				 (json_int_t)size);
	machine_data_uuid(m, uuid);
	vhd_footer(size, uuid, footer);
	return json_pack("{s:o,s:o,s:I}", "name", json_sprintf("%s.vhd", m->name), "data",
			 json_base64(footer, sizeof(footer)), "offset", (json_int_t)size);
}

/* One hole each, with a footer in a VHD.  Somebody's data is in those that are there: none is ever replaced. */
int fleet_data_put(struct cmd *c, const struct fleet *f, machine_want want)
{
	json_t *files = json_array();
	size_t i;
	int err = DONE;

	for (i = 0; i < f->n && !err; i++) {
		if (!want(&f->machines[i]))
			continue;
		json_array_append_new(files, data_file(f, &f->machines[i]));
		if (json_array_size(files) == DATA_BATCH)
			err = fleet_files_send(c, f, "/data", "0600", 0, &files);
	}
	if (!err)
		err = fleet_files_send(c, f, "/data", "0600", 0, &files);
	json_decref(files);
	return err;
}

/* ---- removing --------------------------------------------------------------------------- */

int fleet_file_remove(struct cmd *c, const struct fleet *f, const char *name, bool recursive)
{
	struct request r;
	char path[300];
	json_t *j;
	int err;

	fleet_path(f, name, path, sizeof(path));
	request_init(&r, "DELETE", "/v1/files", NULL);
	request_arg(&r, "path", path);
	if (recursive)
		request_arg(&r, "recursive", "1");
	err = client_find(c, &r, &j);
	if (!err)
		json_decref(j);
	return err;
}

/* One share for each version that a machine's disk may have come from, or none at all: not even
 * that of a recompose that was cut short before it was written down. */
int fleet_shares_remove(struct cmd *c, struct fleet *f, bool unused_only)
{
	char name[40] = "/";
	bool changed = false;
	uint64_t v;
	int err = DONE;

	for (v = 1; v <= f->version + !unused_only && !err; v++) {
		if (unused_only && (version_is_used(f, v) || tags_need_version(f, v)))
			continue;
		golden_share_name(v, name + 1, sizeof(name) - 1);
		err = fleet_file_remove(c, f, name, false);
		changed |= *fleet_golden(f, v) != 0;
		fleet_golden_set(f, v, NULL);
	}
	return err || !changed || !unused_only ? err : fleet_save(c, f, false);
}

int fleet_files_remove(struct cmd *c, struct fleet *f)
{
	int err = fleet_file_remove(c, f, "/disks", true);

	if (!err)
		err = fleet_file_remove(c, f, "/seeds", true);
	if (!err)
		err = fleet_file_remove(c, f, "/data", true);
	if (!err)
		err = fleet_file_remove(c, f, "/vmware", true);
	if (!err)
		err = fleet_file_remove(c, f, "/snapshots", true);
	if (!err)
		err = fleet_shares_remove(c, f, false);
	if (!err)
		err = fleet_file_remove(c, f, "/fleet.json", false);
	if (err)
		return err;
	fleet_unlock(c);
	return fleet_file_remove(c, f, "", false);
}
