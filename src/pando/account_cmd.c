/* SPDX-License-Identifier: Apache-2.0 */
/* Where the space went. */
#include "pando/pando.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "admin/size.h"

/* VOLUME, VOLUME@SNAPSHOT or VOLUME:/path. */
static int object_check(struct cmd *c, const char *text)
{
	char why[OBJNAME_WHY];
	struct objpath p;
	struct objsnap at;
	int err;

	if (strchr(text, ':'))
		return cmd_object(c, text, &p);
	err = objsnap_parse(text, strlen(text), true, &at, why);
	if (err == -ENAMETOOLONG)
		return fail("%s", why);
	return err ? usage(c, "%s", why) : DONE;
}

static int account_get(struct cmd *c, const char *object, json_t **ret)
{
	struct request r;

	request_init(&r, "GET", "/v1/account", NULL);
	if (object)
		request_arg(&r, "object", object);
	if (cmd_option(c, "exact"))
		request_arg(&r, "exact", "1");
	return client_call(c, &r, ret);
}

/* ---- one object -------------------------------------------------------------------------- */

static void row(struct table *t, const char *name, const char *value, const char *note)
{
	table_cell(t, name);
	table_cell(t, value);
	table_cell(t, note);
}

static void size_row(struct table *t, const json_t *j, const char *key, const char *name, const char *note)
{
	char text[SIZE_TEXT];

	if (json_object_get(j, key))
		row(t, name, size_text(json_u64(j, key), text), note);
}

static void ratio_row(struct table *t, const json_t *j, const char *key, const char *name, const char *note)
{
	const json_t *v = json_object_get(j, key);
	char text[32];

	if (!json_is_real(v))
		return;
	snprintf(text, sizeof(text), "%.2f : 1", json_real_value(v));
	row(t, name, text, note);
}

static const char *age_text(const json_t *e, char *buf, size_t cap)
{
	return duration_text(json_u64(e, "age_ms") / 1000, buf, cap);
}

static void exact_rows(struct table *t, const json_t *j)
{
	const json_t *e = json_object_get(j, "exact"), *saved, *ratios;
	bool file = !strcmp(json_text(j, "kind"), "file");
	char age[32];

	if (!json_is_object(e)) {
		if (strcmp(json_text(j, "kind"), "pool"))
			row(t, "exclusive", "-", "not counted yet: give --exact");
		return;
	}
	saved = json_object_get(e, "saved");
	ratios = json_object_get(e, "ratios");
	if (!json_object_get(j, "size") || !json_object_get(e, "exclusive"))
		size_row(t, e, json_object_get(e, "exclusive") ? "size" : "none", "size", "of its files, as they say");
	size_row(t, e, "stored", "stored", "blocks that it leads to, each once");
	size_row(t, e, "stored_metadata", "  metadata", "of them");
	size_row(t, e, "exclusive", "exclusive", file ? "free when all its names are removed" : "free when it is removed");
	size_row(t, e, "exclusive_with_snapshots", "  and snapshots", "free when it is removed with all its snapshots");
	size_row(t, e, "shared", "shared", "stays when it is removed: others have it");
	size_row(t, saved, "holes", "saved by holes", "never written, or zeros");
	size_row(t, saved, "cloning", "saved by cloning", "mapped more than once within it");
	size_row(t, saved, "dedup", "saved by dedup", "");
	ratio_row(t, ratios, "holes", "ratio, holes", "size to mapped");
	ratio_row(t, ratios, "cloning", "ratio, cloning", "mapped to what cloning leaves of it");
	ratio_row(t, ratios, "dedup", "ratio, dedup", "that to stored");
	age_text(e, age, sizeof(age));
	row(t, "counted", age, json_is_true(json_object_get(e, "moved")) ? "ago, while the pool was changed" :
	    json_is_true(json_object_get(e, "changed_since")) ? "ago; the pool has changed since" : "ago");
	if (json_u64(e, "reaping"))
		row(t, "", "", "what is removed was still being taken apart: it counts as shared");
}

static int account_print(const json_t *j)
{
	struct table t;
	char text[32];

	table_init(&t, "lrl", json_text(j, "object"), json_text(j, "kind"), "");
	if (!strcmp(json_text(j, "kind"), "pool")) {
		size_row(&t, j, "size", "size", "");
		size_row(&t, j, "fixed", "fixed", "tables and log");
		size_row(&t, j, "used", "used", "by files and snapshots, metadata included");
		size_row(&t, j, "pending_free", "pending", "free with the next checkpoint");
		size_row(&t, j, "free", "free", "");
		size_row(&t, j, "available", "available", "of it, without what is kept for deleting and for reservations");
		ratio_row(&t, j, "ratio", "ratio", "mapped by volumes and snapshots, to used");
	} else {
		size_row(&t, j, "size", "size", "as it says");
	}
	snprintf(text, sizeof(text), "%llu", (unsigned long long)json_u64(j, "files"));
	row(&t, "files", text, "files, directories and all else");
	size_row(&t, j, "mapped", "mapped", "before sharing: as du and quotas count");
	exact_rows(&t, j);
	return table_print(&t);
}

/* ---- several ----------------------------------------------------------------------------- */

static void cell(struct table *t, const json_t *j, const char *key)
{
	if (json_object_get(j, key))
		table_size(t, json_u64(j, key));
	else
		table_cell(t, "-");
}

static void account_row(struct table *t, const json_t *j)
{
	const json_t *e = json_object_get(j, "exact");
	char text[32];

	table_cell(t, json_text(j, "object"));
	snprintf(text, sizeof(text), "%llu", (unsigned long long)json_u64(j, "files"));
	table_cell(t, text);
	cell(t, j, "mapped");
	cell(t, e, "stored");
	cell(t, e, "exclusive");
	age_text(e, text, sizeof(text));
	table_cell(t, json_is_object(e) ? text : "-");
}

static int account_many(struct cmd *c)
{
	json_t *list = json_array(), *j;
	struct table t;
	size_t i;
	int err = DONE;

	for (int k = 0; k < c->argc && !err; k++) {
		err = account_get(c, c->argv[k], &j);
		if (!err)
			json_array_append_new(list, j);
	}
	if (!err && c->json)
		err = print_json(list);
	if (!err && !c->json) {
		table_init(&t, "lrrrrr", "OBJECT", "FILES", "MAPPED", "STORED", "EXCLUSIVE", "AGE");
		json_array_foreach(list, i, j)
			account_row(&t, j);
		err = table_print(&t);
	}
	json_decref(list);
	return err;
}

int cmd_account(struct cmd *c)
{
	json_t *j;
	int err = DONE;

	for (int i = 0; i < c->argc && !err; i++)
		err = object_check(c, c->argv[i]);
	if (err)
		return err;
	if (c->argc > 1)
		return account_many(c);
	err = account_get(c, c->argc ? c->argv[0] : NULL, &j);
	if (err)
		return err;
	err = c->json ? print_json(j) : account_print(j);
	json_decref(j);
	return err;
}
