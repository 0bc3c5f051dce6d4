/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots, and volumes made of them. */
#include "pando/pando.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* VOLUME@SNAPSHOT, or with BARE also VOLUME. */
static int snapshot_check(struct cmd *c, const char *text, bool bare)
{
	char why[OBJNAME_WHY];
	struct objsnap at;
	int err = objsnap_parse(text, strlen(text), bare, &at, why);

	if (err == -ENAMETOOLONG)
		return fail("%s", why);
	return err ? usage(c, "%s", why) : DONE;
}

/* Makes something; with --json it is shown. */
static int make(struct cmd *c, const char *path, json_t *body)
{
	struct request r;
	json_t *j;
	int err;

	request_init(&r, "POST", path, NULL);
	r.body = body;
	err = client_call(c, &r, &j);
	if (err)
		return err;
	if (c->json)
		err = print_json(j);
	json_decref(j);
	return err;
}

int snapshot_create(struct cmd *c)
{
	int err = snapshot_check(c, c->argv[0], false);

	return err ? err : make(c, "/v1/snapshots", json_pack("{s:s}", "snapshot", c->argv[0]));
}

static int snapshots_print(const json_t *list)
{
	struct table t;
	const json_t *s;
	size_t i;

	table_init(&t, "llrr", "NAME", "CREATED (UTC)", "FILES", "MAPPED");
	json_array_foreach(list, i, s) {
		char created[20], files[24];

		snprintf(created, sizeof(created), "%.19s", json_text(s, "created"));
		if (created[0])
			created[10] = ' ';
		snprintf(files, sizeof(files), "%llu", (unsigned long long)json_u64(s, "files"));
		table_cell(&t, json_text(s, "name"));
		table_cell(&t, created);
		table_cell(&t, files);
		table_size(&t, json_u64(s, "mapped"));
	}
	return table_print(&t);
}

int snapshot_list(struct cmd *c)
{
	char why[OBJNAME_WHY];
	struct request r;
	json_t *j, *list;
	int err = volume_name_check(c->argv[0], why) ? fail("%s", why) : DONE;

	if (err)
		return err;
	request_init(&r, "GET", "/v1/snapshots", NULL);
	request_arg(&r, "volume", c->argv[0]);
	err = client_call(c, &r, &j);
	if (err)
		return err;
	list = json_object_get(j, "snapshots");
	err = c->json ? print_json(list) : snapshots_print(list);
	json_decref(j);
	return err;
}

int snapshot_restore(struct cmd *c)
{
	struct request r;
	int err = snapshot_check(c, c->argv[0], false);

	if (err)
		return err;
	request_init(&r, "POST", "/v1/restore", NULL);
	r.body = json_pack("{s:s,s:b}", "snapshot", c->argv[0], "force", cmd_option(c, "force") != NULL);
	return client_call(c, &r, NULL);
}

static int destroy_one(struct cmd *c, const char *snapshot)
{
	struct request r;

	request_init(&r, "DELETE", "/v1/snapshots", NULL);
	request_arg(&r, "snapshot", snapshot);
	return client_call(c, &r, NULL);
}

int snapshot_destroy(struct cmd *c)
{
	int err = DONE;

	for (int i = 0; i < c->argc && !err; i++)
		err = snapshot_check(c, c->argv[i], false);
	if (err)
		return err;
	for (int i = 0; i < c->argc; i++)
		err |= destroy_one(c, c->argv[i]);
	return err;
}

int volume_clone(struct cmd *c)
{
	char why[OBJNAME_WHY];
	int err = snapshot_check(c, c->argv[0], true);

	if (!err && volume_name_check(c->argv[1], why))
		err = fail("%s", why);
	return err ? err : make(c, "/v1/volume-clones",
				json_pack("{s:s,s:s}", "source", c->argv[0], "name", c->argv[1]));
}
