/* SPDX-License-Identifier: Apache-2.0 */
/*
 * golden import, list, show and retire: golden images in versions.
 *
 *	VOLUME:/golden/NAME@N		the image: raw, never changed, whole when it has its name
 *	VOLUME:/golden/NAME@N.json	what is known of it; written before it, which takes the number, and
 *					after it; and kept when it is retired, so that no number comes to
 *					mean another image
 *
 * Who uses it, the fleets' manifests say: nothing here is counted.  A fleet has a share of its own and would
 * go on without the image; it is kept for those who want to know what their machines are made of.
 */
#include "pando/golden.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/size.h"
#include "base/cleanup.h"

#define NOTE_MAX 500
#define TRIES 50			/* others import under the same name */

/* ---- import ----------------------------------------------------------------------------- */

/* What is written down of an import: first that it has begun. */
static json_t *known_make(struct cmd *c, const struct imported *got)
{
	const char *note = cmd_option(c, "note"), *source = strrchr(c->argv[0], '/');
	char now[32];

	now_text(now);
	return json_pack("{s:s,s:s,s:s,s:s*,s:b}", got ? "created" : "begun", now, "note", note ? note : "", "source",
			 source ? source + 1 : c->argv[0], "format", got ? image_format_name(got->format) : NULL,
			 "prepared", got && got->prepare);
}

/* The next version: its number is taken by what is known of it. */
static int version_new(struct cmd *c, struct golden_name *g, char golden[GOLDEN_PATH])
{
	json_t *known = known_make(c, NULL), *list;
	bool taken = false;
	char folder[128];
	struct request r;
	int i, err;

	snprintf(folder, sizeof(folder), "%s:/golden", g->volume);
	request_init(&r, "POST", "/v1/directories", NULL);
	request_arg(&r, "path", folder);
	request_arg(&r, "parents", "1");
	err = client_call(c, &r, NULL);
	for (i = 1; i <= TRIES && !taken && !err; i++) {
		list = json_object();
		err = golden_walk(c, g->volume, g->name, list);
		g->version = golden_newest(list, true) + 1;
		json_decref(list);
		golden_path(g, golden);
		taken = !err && golden_number_take(c, golden, known, i == TRIES);
	}
	json_decref(known);
	return err || taken ? err : FAILED;
}

/* Of an import that failed: its number is free again. */
static void version_drop(struct cmd *c, const char *golden)
{
	char path[GOLDEN_PATH + 8];
	struct request r;

	snprintf(path, sizeof(path), "%s.json", golden);
	request_init(&r, "DELETE", "/v1/files", NULL);
	request_arg(&r, "path", path);
	client_try(c, &r);
}

static int import_report(struct cmd *c, const char *golden, const struct golden_name *g, const struct imported *got)
{
	char size[SIZE_TEXT], mapped[SIZE_TEXT];
	json_t *j;
	int err;

	if (c->json) {
		j = json_pack("{s:s,s:I,s:I,s:I,s:b,s:I}", "golden", golden, "version", (json_int_t)g->version, "size",
			      (json_int_t)got->size, "mapped", (json_int_t)json_u64(got->file, "mapped"), "prepared",
			      got->prepare, "removed", (json_int_t)got->removed);
		err = print_json(j);
		json_decref(j);
		return err;
	}
	printf("%s: %s imported, %s of it data", golden, size_text(got->size, size),
	       size_text(json_u64(got->file, "mapped"), mapped));
	if (got->prepare)
		printf("; %u files of its old identity removed", got->removed);
	putchar('\n');
	return print_done();
}

/* What can be refused before anything is made. */
static int import_look(struct cmd *c, struct golden_name *g)
{
	const char *note = cmd_option(c, "note");
	json_t *known = known_make(c, NULL);
	int err = golden_name_take(c, c->argv[1], g);

	if (!err && cmd_option(c, "first-boot") && !cmd_option(c, "prepare"))
		err = usage(c, "--first-boot: is a part of preparing an image; give --prepare, too");
	if (!err && g->version)
		err = usage(c, "%s: give the name alone; the next version is pando's to find", c->argv[1]);
	if (!err && note && (strlen(note) > NOTE_MAX || strpbrk(note, "\n\r")))
		err = usage(c, "--note: one line of %d bytes is the most", NOTE_MAX);
	if (!err && !known)
		err = usage(c, "FILE's name and --note must be UTF-8 text");
	json_decref(known);
	return !err && strcmp(c->argv[0], "-") && access(c->argv[0], R_OK) ?
		fail("%s: %s", c->argv[0], strerror(errno)) : err;
}

int golden_import(struct cmd *c)
{
	struct imported got = { .prepare = cmd_option(c, "prepare") != NULL,
				.first_boot = cmd_option(c, "first-boot") != NULL };
	char golden[GOLDEN_PATH];
	struct golden_name g;
	json_t *known;
	int err = import_look(c, &g);

	if (!err)
		err = version_new(c, &g, golden);
	if (err)
		return err;
	err = image_import_to(c, c->argv[0], golden, &got);
	if (err) {
		version_drop(c, golden);
	} else {
		known = known_make(c, &got);
		err = golden_known_write(c, golden, known);
		json_decref(known);
	}
	if (!err)
		err = import_report(c, golden, &g, &got);
	json_decref(got.file);
	return err;
}

/* ---- list and show ---------------------------------------------------------------------- */

static int by_version(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	int r = strcmp(json_text(x, "volume"), json_text(y, "volume"));
	uint64_t v = json_u64(x, "version"), w = json_u64(y, "version");

	r = r ? r : strcmp(json_text(x, "name"), json_text(y, "name"));
	return r ? r : v < w ? -1 : v > w;
}

/* In order, without what is only of use here. */
static json_t *list_sort(json_t *list)
{
	size_t n = json_object_size(list), i = 0;
	json_t **all = calloc(n + 1, sizeof(*all)), *ret = json_array(), *j;
	const char *key;

	json_object_foreach(list, key, j)
		if (all)
			all[i++] = j;
	if (all)
		qsort(all, i, sizeof(*all), by_version);
	for (n = i, i = 0; i < n; i++) {
		json_object_del(all[i], "known");
		json_array_append(ret, all[i]);
	}
	free(all);
	return ret;
}

static int list_print(const json_t *list)
{
	struct table t;
	const json_t *j;
	char users[300];
	size_t i;

	table_init(&t, "lrrlll", "GOLDEN IMAGE", "SIZE", "MAPPED", "CREATED", "USED BY", "NOTE");
	json_array_foreach(list, i, j) {
		bool there = json_object_get(j, "size") != NULL;

		golden_users_text(j, users, sizeof(users));
		table_cell(&t, json_text(j, "golden"));
		if (there) {
			table_size(&t, json_u64(j, "size"));
			table_size(&t, json_u64(j, "mapped"));
		} else {
			table_cell(&t, "-");
			table_cell(&t, "-");
		}
		table_cell(&t, *json_text(j, "created") ? json_text(j, "created") : "-");
		table_cell(&t, there ? users : *json_text(j, "retired") ? "retired" : "not imported");
		table_cell(&t, json_text(j, "note"));
	}
	return table_print(&t);
}

static int list_end(struct cmd *c, json_t *list, int err)
{
	json_t *sorted;

	if (!err)
		err = golden_known_all(c, list);
	if (!err)
		err = golden_users_set(c, list);
	sorted = list_sort(list);
	if (!err)
		err = c->json ? print_json(sorted) : list_print(sorted);
	json_decref(sorted);
	json_decref(list);
	return err;
}

int golden_list(struct cmd *c)
{
	json_t *volumes, *v, *list = json_object();
	struct request r;
	size_t i;
	int err;

	request_init(&r, "GET", "/v1/volumes", NULL);
	err = client_call(c, &r, &volumes);
	if (!err) {
		json_array_foreach(json_object_get(volumes, "volumes"), i, v)
			if (!err)
				err = golden_walk(c, json_text(v, "name"), NULL, list);
		json_decref(volumes);
	}
	return list_end(c, list, err);
}

static void lines_print(const json_t *j)
{
	char size[SIZE_TEXT], users[300];

	named_print(10, "image", "%s", json_text(j, "golden"));
	if (json_object_get(j, "size"))
		printf("%-10s %s", "size", size_text(json_u64(j, "size"), size));
	if (json_object_get(j, "size"))
		printf(", %s of it data\n", size_text(json_u64(j, "mapped"), size));
	if (*json_text(j, "retired"))
		named_print(10, "retired", "%s", json_text(j, "retired"));
	if (!json_object_get(j, "size") && !*json_text(j, "retired"))
		named_print(10, "begun", "%s, and not imported yet, or cut short", json_text(j, "begun"));
	named_print(10, "created", "%s", *json_text(j, "created") ? json_text(j, "created") : "-");
	named_print(10, "from", "%s, %s%s", json_text(j, "source"), json_text(j, "format"),
		   json_is_true(json_object_get(j, "prepared")) ? ", prepared" : "");
	if (*json_text(j, "note"))
		named_print(10, "note", "%s", json_text(j, "note"));
	golden_users_text(j, users, sizeof(users));
	named_print(10, "used by", "%s", users);
}

int golden_show(struct cmd *c)
{
	json_t *list = json_object(), *j, *sorted;
	struct golden_name g;
	char golden[GOLDEN_PATH];
	size_t i;
	int err = golden_name_take(c, c->argv[0], &g);

	if (!err)
		err = golden_walk(c, g.volume, g.name, list);
	if (!err && g.version) {
		golden_path(&g, golden);
		j = json_incref(json_object_get(list, golden));
		json_object_clear(list);
		if (j)
			json_object_set_new(list, golden, j);
	}
	if (!err && !json_object_size(list))
		err = fail("%s: there is no such golden image; 'pando golden list' shows what there is", c->argv[0]);
	if (!err)
		err = golden_known_all(c, list);
	if (!err)
		err = golden_users_set(c, list);
	sorted = list_sort(list);
	if (!err && c->json) {
		err = print_json(sorted);
	} else if (!err) {
		json_array_foreach(sorted, i, j) {
			if (i)
				putchar('\n');
			lines_print(j);
		}
		err = print_done();
	}
	json_decref(sorted);
	json_decref(list);
	return err;
}

/* ---- retire ----------------------------------------------------------------------------- */

static int retire_look(struct cmd *c, const char *golden, json_t *list)
{
	struct golden_users u = { .golden = golden };
	char text[300];
	json_t *j = json_object_get(list, golden);
	int err;

	if (j && !json_object_get(j, "size") && json_object_get(j, "begun"))
		return fail("%s: is not there: it is being imported, or that was cut short", golden);
	if (!json_object_get(j, "size"))
		return j ? fail("%s: is retired already", golden) :
			   fail("%s: there is no such golden image; 'pando golden list' shows what there is", golden);
	err = golden_users_find(c, &u);
	json_object_set_new(j, "users", u.list);
	if (!err && *u.unreadable)
		err = fail("%s: who uses it cannot be told: %s", golden, u.unreadable);
	golden_users_text(j, text, sizeof(text));
	return !err && json_array_size(u.list) ? fail("%s: is used by %s; recompose or destroy them first, or detach it", golden,
						      text) : err;
}

int golden_retire(struct cmd *c)
{
	json_t *list = json_object(), *j;
	char golden[GOLDEN_PATH], now[32];
	struct golden_name g;
	struct request r;
	int err = golden_name_take(c, c->argv[0], &g);

	if (!err && !g.version)
		err = usage(c, "%s: say which version, as %s@1", c->argv[0], c->argv[0]);
	if (!err)
		err = golden_walk(c, g.volume, g.name, list);
	golden_path(&g, golden);
	j = json_object_get(list, golden);
	if (!err && json_object_get(j, "known"))
		err = golden_known_read(c, j);
	if (!err)
		err = retire_look(c, golden, list);
	if (!err) {
		now_text(now);
		json_object_set_new(j, "retired", json_string(now));
		json_object_del(j, "users");
		json_object_del(j, "known");
		json_object_del(j, "begun");
		err = golden_known_write(c, golden, j);
	}
	if (!err) {
		request_init(&r, "DELETE", "/v1/files", NULL);
		request_arg(&r, "path", golden);
		err = client_call(c, &r, NULL);
	}
	json_decref(list);
	return err;
}
