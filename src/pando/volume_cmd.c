/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes. */
#include "pando/pando.h"

#include <stdio.h>
#include <string.h>

#include "admin/size.h"

static int name_check(struct cmd *c)
{
	char why[OBJNAME_WHY];

	return volume_name_check(c->argv[0], why) ? fail("%s", why) : DONE;
}

static void quota_cell(struct table *t, const json_t *v)
{
	char size[SIZE_TEXT], text[SIZE_TEXT + 16];
	uint64_t quota = json_u64(v, "quota");

	snprintf(text, sizeof(text), "%s%s", quota ? size_text(quota, size) : "none",
		 json_is_true(json_object_get(v, "over_soft")) ? ", above soft" : "");
	table_cell(t, text);
}

static void physical_cell(struct table *t, const json_t *v)
{
	char limit[SIZE_TEXT], used[SIZE_TEXT], text[2 * SIZE_TEXT + 16];
	uint64_t physical = json_u64(v, "physical");

	if (!physical) {
		table_cell(t, "no limit");
		return;
	}
	snprintf(text, sizeof(text), "%s%s of %s", json_is_true(json_object_get(v, "physical_uncounted")) ? "about " : "",
		 size_text(json_u64(v, "physical_used"), used), size_text(physical, limit));
	table_cell(t, text);
}

static void volume_row(struct table *t, const json_t *v)
{
	const char *exports = json_text(v, "exports");
	char files[24];

	snprintf(files, sizeof(files), "%llu", (unsigned long long)json_u64(v, "files"));
	table_cell(t, json_text(v, "name"));
	table_cell(t, files);
	table_size(t, json_u64(v, "mapped"));
	quota_cell(t, v);
	if (json_u64(v, "reserve"))
		table_size(t, json_u64(v, "reserve_left"));
	else
		table_cell(t, "none");
	physical_cell(t, v);
	table_cell(t, *exports ? exports : "(default)");
	table_cell(t, *json_text(v, "schedule") ? json_text(v, "schedule") : "none");
	table_cell(t, json_is_true(json_object_get(v, "dedup")) ? "on" : "off");
}

static int volumes_print(const json_t *list)
{
	struct table t;
	const json_t *v;
	size_t i;

	table_init(&t, "lrrrrrlll", "NAME", "FILES", "MAPPED", "QUOTA", "RESERVED", "PHYSICAL", "EXPORTS", "SNAPSHOTS", "DEDUP");
	json_array_foreach(list, i, v)
		volume_row(&t, v);
	return table_print(&t);
}

int volume_list(struct cmd *c)
{
	struct request r;
	json_t *j, *list;
	int err;

	request_init(&r, "GET", "/v1/volumes", NULL);
	err = client_call(c, &r, &j);
	if (err)
		return err;
	list = json_object_get(j, "volumes");
	err = c->json ? print_json(list) : volumes_print(list);
	json_decref(j);
	return err;
}

/* Sends R, whose answer is a volume, and prints that. */
static int volume_call(struct cmd *c, struct request *r, bool quiet)
{
	json_t *j, *list;
	int err = client_call(c, r, &j);

	if (err)
		return err;
	if (c->json)
		err = print_json(j);
	else if (!quiet) {
		list = json_pack("[O]", j);
		err = volumes_print(list);
		json_decref(list);
	}
	json_decref(j);
	return err;
}

/* As an option, or as it is written in one word. */
static const char *dedup_given(struct cmd *c)
{
	const char *arg = c->argc > 1 ? c->argv[1] : NULL;

	return arg && !strncmp(arg, "dedup=", 6) ? arg + 6 : cmd_option(c, "dedup");
}

static int settings_add(struct cmd *c, json_t *body)
{
	const char *exports = cmd_option(c, "exports"), *schedule = cmd_option(c, "snapshots");
	static const char *const sizes[] = { "quota", "soft", "reserve", "physical" };
	const char *dedup = dedup_given(c);

	if (dedup && strcmp(dedup, "on") && strcmp(dedup, "off"))
		return usage(c, "dedup: %s: use on or off", dedup);
	if (dedup)
		json_object_set_new(body, "dedup", json_boolean(!strcmp(dedup, "on")));
	if (exports && json_object_set_new(body, "exports", json_string(exports)))
		return usage(c, "--exports: must be UTF-8 text");
	if (schedule && json_object_set_new(body, "schedule", json_string(schedule)))
		return usage(c, "--snapshots: must be UTF-8 text");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		uint64_t size = 0;

		if (cmd_size(c, sizes[i], &size))
			return BAD_USAGE;
		if (cmd_option(c, sizes[i]))
			json_object_set_new(body, sizes[i], json_integer((json_int_t)size));
	}
	return DONE;
}

int volume_create(struct cmd *c)
{
	struct request r;
	int err = name_check(c);

	if (err)
		return err;
	request_init(&r, "POST", "/v1/volumes", NULL);
	r.body = json_pack("{s:s}", "name", c->argv[0]);
	err = settings_add(c, r.body);
	if (err) {
		request_done(&r);
		return err;
	}
	return volume_call(c, &r, true);
}

int volume_show(struct cmd *c)
{
	struct request r;
	int err = name_check(c);

	if (err)
		return err;
	request_init(&r, "GET", "/v1/volumes/", c->argv[0]);
	return volume_call(c, &r, false);
}

int volume_set(struct cmd *c)
{
	struct request r;
	int err = name_check(c);

	if (err)
		return err;
	if (c->argc > 1 && strncmp(c->argv[1], "dedup=", 6))
		return usage(c, "%s: no such setting", c->argv[1]);
	if (!cmd_option(c, "quota") && !cmd_option(c, "soft") && !cmd_option(c, "reserve") &&
	    !cmd_option(c, "physical") && !cmd_option(c, "exports") && !cmd_option(c, "snapshots") && !dedup_given(c))
		return usage(c, "give --quota, --soft, --reserve, --physical, --exports, --snapshots or --dedup");
	request_init(&r, "PATCH", "/v1/volumes/", c->argv[0]);
	r.body = json_object();
	err = settings_add(c, r.body);
	if (err) {
		request_done(&r);
		return err;
	}
	return volume_call(c, &r, true);
}

int volume_destroy(struct cmd *c)
{
	struct request r;
	int err = name_check(c);

	if (err)
		return err;
	request_init(&r, "DELETE", "/v1/volumes/", c->argv[0]);
	if (cmd_option(c, "snapshots"))
		request_arg(&r, "snapshots", "1");
	return client_call(c, &r, NULL);
}
