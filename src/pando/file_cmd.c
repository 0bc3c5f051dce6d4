/* SPDX-License-Identifier: Apache-2.0 */
/* Files and directories in a volume, and clones. */
#include "pando/pando.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/size.h"

/* ---- ls and stat ------------------------------------------------------------------------ */

static int by_name(const void *a, const void *b)
{
	json_t *const *x = a, *const *y = b;

	return strcmp(json_text(*x, "name"), json_text(*y, "name"));
}

/* All pages of a directory, sorted; the server's order is that of its hash. */
static int entries_get(struct cmd *c, const char *object, json_t **ret_list)
{
	json_t *list = json_array(), *page, **sorted, *next;
	uint64_t after = 0;
	struct request r;
	size_t n, i;
	int err;

	do {
		request_init(&r, "GET", "/v1/entries", NULL);
		request_arg(&r, "path", object);
		request_arg_u64(&r, "after", after);
		err = client_call(c, &r, &page);
		if (err) {
			json_decref(list);
			return err;
		}
		json_array_extend(list, json_object_get(page, "entries"));
		next = json_object_get(page, "next");
		after = (uint64_t)json_integer_value(next);
		json_decref(page);
	} while (after);
	n = json_array_size(list);
	sorted = malloc((n + 1) * sizeof(*sorted));
	if (!sorted) {
		json_decref(list);
		return fail("out of memory");
	}
	for (i = 0; i < n; i++)
		sorted[i] = json_incref(json_array_get(list, i));
	qsort(sorted, n, sizeof(*sorted), by_name);
	json_array_clear(list);
	for (i = 0; i < n; i++)
		json_array_append_new(list, sorted[i]);
	free(sorted);
	*ret_list = list;
	return DONE;
}

static void file_row(struct table *t, const json_t *f)
{
	char owner[48], modified[17];

	snprintf(owner, sizeof(owner), "%llu:%llu", (unsigned long long)json_u64(f, "uid"),
		 (unsigned long long)json_u64(f, "gid"));
	snprintf(modified, sizeof(modified), "%.16s", json_text(f, "modified"));
	if (modified[0])
		modified[10] = ' ';
	table_cell(t, json_text(f, "type"));
	table_cell(t, json_text(f, "mode"));
	table_cell(t, owner);
	table_size(t, json_u64(f, "size"));
	table_size(t, json_u64(f, "mapped"));
	table_cell(t, modified);
	table_cell(t, json_text(f, "name"));
}

int file_ls(struct cmd *c)
{
	struct objpath p;
	struct table t;
	json_t *list, *f;
	size_t i;
	int err = cmd_object(c, c->argv[0], &p);

	if (err)
		return err;
	err = entries_get(c, c->argv[0], &list);
	if (err)
		return err;
	if (c->json) {
		err = print_json(list);
		json_decref(list);
		return err;
	}
	table_init(&t, "lllrrll", "TYPE", "MODE", "OWNER", "SIZE", "MAPPED", "MODIFIED (UTC)",
		   "NAME");
	json_array_foreach(list, i, f)
		file_row(&t, f);
	json_decref(list);
	return table_print(&t);
}

static int stat_print(const json_t *j)
{
	static const char *const keys[] = { "path", "type", "mode", "uid", "gid", "links", "size",
		"mapped", "inode", "generation", "created", "modified", "changed", "accessed",
		"target" };
	const json_t *origin = json_object_get(j, "cloned_from"), *v;
	struct table t;
	char text[80];
	size_t i;

	table_init(&t, "ll", "name", json_text(j, "name"));
	for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		v = json_object_get(j, keys[i]);
		if (!v)
			continue;
		snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(v));
		table_cell(&t, keys[i]);
		table_cell(&t, json_is_integer(v) ? text : json_string_value(v));
	}
	if (json_is_object(origin)) {
		snprintf(text, sizeof(text), "inode %llu, generation %llu",
			 (unsigned long long)json_u64(origin, "inode"),
			 (unsigned long long)json_u64(origin, "generation"));
		table_cell(&t, "cloned from");
		table_cell(&t, text);
	}
	return table_print(&t);
}

int file_stat(struct cmd *c)
{
	struct request r;
	struct objpath p;
	json_t *j;
	int err = cmd_object(c, c->argv[0], &p);

	if (err)
		return err;
	request_init(&r, "GET", "/v1/files", NULL);
	request_arg(&r, "path", c->argv[0]);
	err = client_call(c, &r, &j);
	if (err)
		return err;
	err = c->json ? print_json(j) : stat_print(j);
	json_decref(j);
	return err;
}

/* ---- mkdir and rm ----------------------------------------------------------------------- */

int owner_options(const struct cmd *c, json_t *body)
{
	const char *mode = cmd_option(c, "mode"), *owner = cmd_option(c, "owner"), *colon;
	uint64_t uid, gid;
	char text[32];

	if (mode && (!*mode || strlen(mode) > 5 || mode[strspn(mode, "01234567")]))
		return usage(c, "--mode %s: must be octal, such as 0644", mode);
	if (mode)
		json_object_set_new(body, "mode", json_string(mode));
	if (!owner)
		return DONE;
	colon = strchr(owner, ':');
	snprintf(text, sizeof(text), "%.*s", colon ? (int)(colon - owner) : 31, owner);
	if (number_parse(text, &uid) || uid >= UINT32_MAX ||
	    (colon && (number_parse(colon + 1, &gid) || gid >= UINT32_MAX)))
		return usage(c, "--owner %s: must be numbers, UID or UID:GID", owner);
	json_object_set_new(body, "uid", json_integer((json_int_t)uid));
	if (colon)
		json_object_set_new(body, "gid", json_integer((json_int_t)gid));
	return DONE;
}

/* CALL for every argument, all of which must be objects; goes on after a failure. */
static int for_each_object(struct cmd *c, int (*call)(struct cmd *c, const char *object))
{
	struct objpath p;
	int i, err, result = DONE;

	for (i = 0; i < c->argc; i++) {
		err = cmd_object(c, c->argv[i], &p);
		if (err)
			return err;
	}
	for (i = 0; i < c->argc; i++)
		result |= call(c, c->argv[i]);
	return result;
}

static int mkdir_one(struct cmd *c, const char *object)
{
	struct request r;

	request_init(&r, "POST", "/v1/directories", NULL);
	request_arg(&r, "path", object);
	if (cmd_option(c, "parents"))
		request_arg(&r, "parents", "1");
	r.body = json_object();
	owner_options(c, r.body);
	return client_call(c, &r, NULL);
}

int file_mkdir(struct cmd *c)
{
	json_t *body = json_object();
	int err = owner_options(c, body);

	json_decref(body);
	return err ? err : for_each_object(c, mkdir_one);
}

static int rm_one(struct cmd *c, const char *object)
{
	struct request r;

	request_init(&r, "DELETE", "/v1/files", NULL);
	request_arg(&r, "path", object);
	if (cmd_option(c, "recursive"))
		request_arg(&r, "recursive", "1");
	return client_call(c, &r, NULL);
}

int file_rm(struct cmd *c)
{
	return for_each_object(c, rm_one);
}

/* ---- clone ------------------------------------------------------------------------------ */

static int clone_usage(struct cmd *c)
{
	struct name_pattern pattern;
	struct objpath src, dst;
	char why[OBJNAME_WHY];
	int err = cmd_object(c, c->argv[0], &src);

	if (!err)
		err = cmd_object(c, c->argv[1], &dst);
	if (err)
		return err;
	if (cmd_option(c, "start") && !cmd_option(c, "count"))
		return usage(c, "--start goes with --count only");
	if (cmd_option(c, "recursive") && cmd_option(c, "count"))
		return usage(c, "--recursive makes one clone; leave out --count");
	if (!cmd_option(c, "count"))
		return DONE;
	err = name_pattern_parse(objpath_leaf(&dst), &pattern, why);
	if (err == -EINVAL)
		return usage(c, "%s", why);
	return err ? fail("%s", why) : DONE;
}

static int clone_print(struct cmd *c, const json_t *j)
{
	uint64_t us = json_u64(j, "elapsed_us"), n = json_u64(j, "count");

	if (c->json)
		return print_json(j);
	if (cmd_option(c, "recursive"))
		printf("%s: %llu files and directories cloned in %.3f ms\n", c->argv[1], (unsigned long long)n,
		       (double)us / 1000);
	else if (n == 1)
		printf("%s: cloned in %.3f ms\n", c->argv[1], (double)us / 1000);
	else
		printf("%s: %llu clones in %.3f ms\n", c->argv[1], (unsigned long long)n,
		       (double)us / 1000);
	return print_done();
}

int file_clone(struct cmd *c)
{
	uint64_t count = 0, start = 1;
	struct request r;
	json_t *j;
	int err;

	if (cmd_number(c, "count", &count) || cmd_number(c, "start", &start))
		return BAD_USAGE;
	err = clone_usage(c);
	if (err)
		return err;
	request_init(&r, "POST", "/v1/clones", NULL);
	request_arg(&r, "src", c->argv[0]);
	request_arg(&r, "dst", c->argv[1]);
	if (cmd_option(c, "recursive"))
		request_arg(&r, "recursive", "1");
	if (cmd_option(c, "count")) {
		request_arg_u64(&r, "count", count);
		request_arg_u64(&r, "start", start);
	}
	err = client_call(c, &r, &j);
	if (err)
		return err;
	err = clone_print(c, j);
	json_decref(j);
	return err;
}
