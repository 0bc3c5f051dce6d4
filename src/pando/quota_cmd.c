/* SPDX-License-Identifier: Apache-2.0 */
/* Quotas of directories. */
#include "pando/pando.h"

#include <stdio.h>
#include <string.h>

static void limit_cell(struct table *t, uint64_t limit)
{
	if (limit)
		table_size(t, limit);
	else
		table_cell(t, "none");
}

static int quotas_print(const json_t *list)
{
	struct table t;
	const json_t *q;
	size_t i;

	table_init(&t, "rrrrll", "LIMIT", "SOFT", "USED", "FILES", "DIRECTORY", "");
	json_array_foreach(list, i, q) {
		char files[24];

		snprintf(files, sizeof(files), "%llu", (unsigned long long)json_u64(q, "files"));
		limit_cell(&t, json_u64(q, "limit"));
		limit_cell(&t, json_u64(q, "soft"));
		table_size(&t, json_u64(q, "used"));
		table_cell(&t, files);
		table_cell(&t, json_text(q, "path"));
		table_cell(&t, json_is_true(json_object_get(q, "over_soft")) ? "above its soft limit" : "");
	}
	return table_print(&t);
}

static int path_check(struct cmd *c, const char *text)
{
	char why[OBJNAME_WHY];
	struct objpath p;

	return objpath_parse(text, strlen(text), &p, why) ? usage(c, "%s", why) : DONE;
}

/* Those that the call answers with. */
static int quotas_show(struct cmd *c, const char *key, const char *value)
{
	struct request r;
	json_t *j, *list;
	int err;

	request_init(&r, "GET", "/v1/quotas", NULL);
	request_arg(&r, key, value);
	err = client_call(c, &r, &j);
	if (err)
		return err;
	list = json_object_get(j, "quotas");
	err = c->json ? print_json(list) : quotas_print(list);
	json_decref(j);
	return err;
}

int quota_list(struct cmd *c)
{
	char why[OBJNAME_WHY];

	if (volume_name_check(c->argv[0], why))
		return fail("%s", why);
	return quotas_show(c, "volume", c->argv[0]);
}

int quota_show(struct cmd *c)
{
	int err = path_check(c, c->argv[0]);

	return err ? err : quotas_show(c, "path", c->argv[0]);
}

int quota_set(struct cmd *c)
{
	uint64_t limit = 0, soft = 0;
	struct request r;
	json_t *j;
	int err = path_check(c, c->argv[0]);

	if (err)
		return err;
	if (!cmd_option(c, "limit") && !cmd_option(c, "soft"))
		return usage(c, "give --limit or --soft");
	if (cmd_size(c, "limit", &limit) || cmd_size(c, "soft", &soft))
		return BAD_USAGE;
	request_init(&r, "POST", "/v1/quotas", NULL);
	r.body = json_pack("{s:s}", "path", c->argv[0]);
	if (cmd_option(c, "limit"))
		json_object_set_new(r.body, "limit", json_integer((json_int_t)limit));
	if (cmd_option(c, "soft"))
		json_object_set_new(r.body, "soft", json_integer((json_int_t)soft));
	err = client_call(c, &r, &j);
	if (err)
		return err;
	if (c->json)
		err = print_json(j);
	json_decref(j);
	return err;
}

int quota_clear(struct cmd *c)
{
	struct request r;
	int err = path_check(c, c->argv[0]);

	if (err)
		return err;
	request_init(&r, "DELETE", "/v1/quotas", NULL);
	request_arg(&r, "path", c->argv[0]);
	return client_call(c, &r, NULL);
}
