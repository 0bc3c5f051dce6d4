/* SPDX-License-Identifier: Apache-2.0 */
/* What differs: between two files, a file and its origin, two volumes or snapshots.  What comes in is
 * printed page by page. */
#include "pando/pando.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/size.h"

struct diff {
	struct cmd *c;
	const char *a, *b;		/* a NULL: b's origin */
	bool summary, moved;
	uint64_t n;			/* ranges, or files */
	uint64_t bytes[3];		/* changed, data, hole */
	json_t *side_a, *side_b;	/* of the first page */
	bool origin_changed;
};

static const char *const kinds[] = { "changed", "data", "hole" };

static int print_item(struct diff *d, const json_t *item)
{
	char *text;

	if (!d->c->json)
		return DONE;
	text = json_dumps(item, JSON_COMPACT);
	if (!text)
		return fail("out of memory");
	printf("%s\n    %s", d->n ? "," : "", text);
	free(text);
	return DONE;
}

/* ---- files ------------------------------------------------------------------------------ */

static int take_range(struct diff *d, const json_t *r)
{
	const char *kind = json_text(r, "kind");
	unsigned k = 0;

	while (k < 2 && strcmp(kind, kinds[k]))
		k++;
	if (!d->summary && print_item(d, r))
		return FAILED;
	if (!d->summary && !d->c->json)
		printf("%-7s  %16llu  %14llu\n", kinds[k], (unsigned long long)json_u64(r, "offset"),
		       (unsigned long long)json_u64(r, "length"));
	d->bytes[k] += json_u64(r, "length");
	d->n++;
	return DONE;
}

/* Is it what it was on the first page?  What was written since is told by its change number. */
static int same_file(struct diff *d, const char *name, const json_t *then, const json_t *now)
{
	if (json_u64(then, "inode") != json_u64(now, "inode") ||
	    json_u64(then, "generation") != json_u64(now, "generation"))
		return fail("%s: was replaced meanwhile; try again, or compare snapshots", name);
	d->moved |= json_u64(then, "change") != json_u64(now, "change");
	return DONE;
}

static int take_page(struct diff *d, const json_t *page)
{
	const json_t *list = json_object_get(page, "ranges"), *r;
	json_t *a = json_object_get(page, "a"), *b = json_object_get(page, "b");
	size_t i;

	if (!d->side_a) {
		d->side_a = json_incref(a);
		d->side_b = json_incref(b);
	}
	if (same_file(d, d->a ? d->a : d->b, d->side_a, a) || same_file(d, d->b, d->side_b, b))
		return FAILED;
	d->origin_changed = json_is_true(json_object_get(page, "origin_changed"));
	json_array_foreach(list, i, r)
		if (take_range(d, r))
			return FAILED;
	return DONE;
}

static int all_pages(struct diff *d)
{
	const json_t *next;
	uint64_t at = 0;
	struct request r;
	json_t *page;
	int err;

	do {
		request_init(&r, "GET", "/v1/diff", NULL);
		if (d->a)
			request_arg(&r, "a", d->a);
		request_arg(&r, "b", d->b);
		request_arg_u64(&r, "offset", at);
		if (cmd_option(d->c, "quick"))
			request_arg(&r, "quick", "1");
		err = client_call(d->c, &r, &page);
		if (err)
			return err;
		if (!d->side_a && d->c->json)
			printf("{%s", d->summary ? "" : "\n  \"ranges\": [");
		err = take_page(d, page);
		next = json_object_get(page, "next");
		at = (uint64_t)json_integer_value(next);
		json_decref(page);
	} while (!err && at);
	return err;
}

static uint64_t total(const struct diff *d)
{
	return d->bytes[0] + d->bytes[1] + d->bytes[2];
}

static int file_totals(struct diff *d)
{
	char text[3][SIZE_TEXT];
	uint64_t size_a = json_u64(d->side_a, "size"), size_b = json_u64(d->side_b, "size");

	if (d->c->json) {
		printf("%s\n  \"count\": %llu,\n  \"changed\": %llu,\n  \"data\": %llu,\n  \"hole\": %llu,\n"
		       "  \"size_a\": %llu,\n  \"size_b\": %llu,\n  \"equal\": %s,\n  \"moved\": %s", d->summary ? "" :
		       d->n ? "\n  ]," : "],", (unsigned long long)d->n,
		       (unsigned long long)d->bytes[0], (unsigned long long)d->bytes[1],
		       (unsigned long long)d->bytes[2], (unsigned long long)size_a, (unsigned long long)size_b,
		       !total(d) && size_a == size_b ? "true" : "false", d->moved ? "true" : "false");
		if (!d->a)
			printf(",\n  \"origin_inode\": %llu,\n  \"origin_changed\": %s",
			       (unsigned long long)json_u64(d->side_a, "inode"), d->origin_changed ? "true" : "false");
		printf("\n}\n");
		return print_done();
	}
	if (size_a != size_b)
		printf("size: %llu, and %llu\n", (unsigned long long)size_a, (unsigned long long)size_b);
	if (d->summary)
		printf("%llu ranges: %s changed, %s of data in the place of holes, %s of holes in the place of data\n",
		       (unsigned long long)d->n, size_text(d->bytes[0], text[0]), size_text(d->bytes[1], text[1]),
		       size_text(d->bytes[2], text[2]));
	if (d->origin_changed)
		printf("what it was cloned from (inode %llu) has changed since\n",
		       (unsigned long long)json_u64(d->side_a, "inode"));
	if (d->moved)
		printf("written to meanwhile: what was written behind the place where the diff was is in it\n");
	return print_done();
}

static int diff_files(struct diff *d)
{
	struct objpath p;
	int err = cmd_object(d->c, d->b, &p);

	if (!err && d->a)
		err = cmd_object(d->c, d->a, &p);
	if (!err)
		err = all_pages(d);
	if (!err)
		err = file_totals(d);
	json_decref(d->side_a);
	json_decref(d->side_b);
	return err;
}

/* ---- volumes and snapshots -------------------------------------------------------------- */

static bool has_word(const json_t *list, const char *word)
{
	const json_t *w;
	size_t i;

	json_array_foreach(list, i, w)
		if (!strcmp(json_string_value(w), word))
			return true;
	return false;
}

static void print_path(const json_t *f, const char *key)
{
	const char *path = json_text(f, key);
	char *text = malloc(4 * strlen(path) + 1);

	if (text) {
		text_printable(path, strlen(path), text, 4 * strlen(path) + 1);
		fputs(text, stdout);
	}
	free(text);
}

static int take_file(struct diff *d, const json_t *f)
{
	static const struct { const char *word; char letter; } letters[] = { { "added", '+' }, { "removed", '-' },
		{ "content", 'M' }, { "attributes", 'A' }, { "renamed", 'R' }, { "times", 'T' } };
	const json_t *what = json_object_get(f, "what");
	char size[SIZE_TEXT], marks[8] = "", *m = marks;

	if (!d->summary && print_item(d, f))
		return FAILED;
	for (unsigned i = 0; i < sizeof(letters) / sizeof(*letters); i++)
		if (has_word(what, letters[i].word))
			*m++ = letters[i].letter;
	*m = 0;
	d->n++;
	d->bytes[has_word(what, "added") ? 1 : has_word(what, "removed") ? 2 : 0] += json_u64(f, "changed_bytes");
	if (d->summary || d->c->json)
		return DONE;
	printf("%-3s  %9s  ", marks, size_text(json_u64(f, "changed_bytes"), size));
	if (json_object_get(f, "old_path")) {
		print_path(f, "old_path");
		fputs(" -> ", stdout);
	}
	if (json_is_string(json_object_get(f, "path")))
		print_path(f, "path");
	else
		printf("(inode %llu, whose name is gone)", (unsigned long long)json_u64(f, "inode"));
	putchar('\n');
	return DONE;
}

static int volume_totals(struct diff *d)
{
	char text[3][SIZE_TEXT];

	if (d->c->json)
		printf("%s\n  \"count\": %llu,\n  \"changed\": %llu,\n  \"added\": %llu,\n  \"removed\": %llu\n}\n",
		       d->summary ? "" : d->n ? "\n  ]," : "],", (unsigned long long)d->n, (unsigned long long)d->bytes[0],
		       (unsigned long long)d->bytes[1], (unsigned long long)d->bytes[2]);
	else if (d->summary)
		printf("%llu files: %s changed in them, %s in files that were added, %s in files that were removed\n",
		       (unsigned long long)d->n, size_text(d->bytes[0], text[0]), size_text(d->bytes[1], text[1]),
		       size_text(d->bytes[2], text[2]));
	return print_done();
}

static int diff_volumes(struct diff *d)
{
	const json_t *f;
	uint64_t after = 0;
	bool first = true;
	struct request r;
	json_t *page;
	size_t i;
	int err;

	do {
		request_init(&r, "GET", "/v1/volume-diff", NULL);
		request_arg(&r, "a", d->a);
		request_arg(&r, "b", d->b);
		request_arg_u64(&r, "after", after);
		if (cmd_option(d->c, "quick"))
			request_arg(&r, "quick", "1");
		err = client_call(d->c, &r, &page);
		if (err)
			return err;
		if (first && d->c->json)
			printf("{%s", d->summary ? "" : "\n  \"files\": [");
		first = false;
		json_array_foreach(json_object_get(page, "files"), i, f)
			err |= take_file(d, f);
		after = (uint64_t)json_integer_value(json_object_get(page, "next"));
		json_decref(page);
	} while (!err && after);
	return err ? err : volume_totals(d);
}

/* VOLUME or VOLUME@SNAPSHOT: without a colon. */
static int volume_check(struct cmd *c, const char *text)
{
	char why[OBJNAME_WHY];
	struct objsnap at;
	int err = objsnap_parse(text, strlen(text), true, &at, why);

	if (err == -ENAMETOOLONG)
		return fail("%s", why);
	return err ? usage(c, "%s", why) : DONE;
}

int cmd_diff(struct cmd *c)
{
	struct diff d = { .c = c, .a = c->argc > 1 ? c->argv[0] : NULL, .b = c->argv[c->argc - 1],
			  .summary = cmd_option(c, "summary") };
	int err;

	if (strchr(d.b, ':') || (d.a && strchr(d.a, ':')))
		return diff_files(&d);
	if (!d.a)
		return usage(c, "%s: name the volume or snapshot that it is to be compared with, or a file", d.b);
	err = volume_check(c, d.a);
	if (!err)
		err = volume_check(c, d.b);
	return err ? err : diff_volumes(&d);
}
