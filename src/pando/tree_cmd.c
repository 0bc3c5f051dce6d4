/* SPDX-License-Identifier: Apache-2.0 */
/* The family tree of a file. */
#include "pando/pando.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/size.h"

/* The exact account of each, into its "exclusive"; what is gone by then has none. */
static int add_exclusive(struct cmd *c, json_t *list)
{
	uint64_t started_ns = clock_ns();
	json_t *f, *account;
	struct request r;
	size_t i;
	int err;

	json_array_foreach(list, i, f) {
		char *object;

		if (!json_is_string(json_object_get(f, "path")) || json_object_get(f, "path_percent"))
			continue;
		object = malloc(strlen(json_text(f, "volume")) + strlen(json_text(f, "path")) + 2);
		if (!object)
			return fail("out of memory");
		sprintf(object, "%s:%s", json_text(f, "volume"), json_text(f, "path"));
		request_init(&r, "GET", "/v1/account", NULL);
		request_arg(&r, "object", object);
		request_arg(&r, "exact", "1");
		progress_count("tree", i, json_array_size(list), started_ns);
		err = client_find(c, &r, &account);
		free(object);
		if (err)
			return err;
		if (account)
			json_object_set(f, "exclusive", json_object_get(json_object_get(account, "exact"), "exclusive"));
		json_decref(account);
	}
	progress_end();
	return DONE;
}

/* Whether more of the same parent comes behind file I, at DEPTH or above it. */
static bool more_at(const json_t *list, size_t i, uint64_t depth)
{
	while (++i < json_array_size(list)) {
		uint64_t d = json_u64(json_array_get(list, i), "depth");

		if (d <= depth)
			return d == depth;
	}
	return false;
}

static void print_branches(const json_t *list, size_t i, uint64_t depth)
{
	for (uint64_t d = 1; d < depth && d < 40; d++)
		fputs(more_at(list, i, d) ? "│  " : "   ", stdout);
	if (depth)
		fputs(more_at(list, i, depth) ? "├─ " : "└─ ", stdout);
}

static void print_object(const json_t *f)
{
	const char *path = json_text(f, "path");
	char *text = malloc(4 * strlen(path) + 1);

	if (!json_is_string(json_object_get(f, "path")))
		printf("%s: (inode %llu, which has no name)", json_text(f, "volume"),
		       (unsigned long long)json_u64(f, "inode"));
	else if (text) {
		text_printable(path, strlen(path), text, 4 * strlen(path) + 1);
		printf("%s:%s", json_text(f, "volume"), text);
	}
	free(text);
}

static void print_file(const json_t *list, size_t i)
{
	const json_t *f = json_array_get(list, i), *snapshots = json_object_get(f, "snapshots");
	char text[SIZE_TEXT];

	print_branches(list, i, json_u64(f, "depth"));
	print_object(f);
	printf("  %s", size_text(json_u64(f, "mapped"), text));
	if (json_object_get(f, "exclusive"))
		printf(", %s exclusive", size_text(json_u64(f, "exclusive"), text));
	if (json_integer_value(snapshots) > 0)
		printf(", in %lld snapshot%s", (long long)json_integer_value(snapshots),
		       json_integer_value(snapshots) == 1 ? "" : "s");
	if (json_is_true(json_object_get(f, "by_volume")))
		fputs(", with its volume", stdout);
	if (json_is_true(json_object_get(f, "asked")))
		fputs("  <", stdout);
	putchar('\n');
}

static int tree_print(const json_t *j)
{
	const json_t *list = json_object_get(j, "files");
	size_t n = json_array_size(list);

	if (json_is_true(json_object_get(j, "origin_gone")))
		printf("(what the first was cloned from is gone)\n");
	for (size_t i = 0; i < n; i++)
		print_file(list, i);
	if (json_u64(j, "count") > n)
		printf("and %llu more\n", (unsigned long long)(json_u64(j, "count") - n));
	return print_done();
}

int cmd_tree(struct cmd *c)
{
	struct request r;
	struct objpath p;
	json_t *j;
	int err = cmd_object(c, c->argv[0], &p);

	if (err)
		return err;
	request_init(&r, "GET", "/v1/family", NULL);
	request_arg(&r, "path", c->argv[0]);
	err = client_call(c, &r, &j);
	if (err)
		return err;
	if (cmd_option(c, "exact"))
		err = add_exclusive(c, json_object_get(j, "files"));
	if (!err)
		err = c->json ? print_json(j) : tree_print(j);
	json_decref(j);
	return err;
}
