/* SPDX-License-Identifier: Apache-2.0 */
/* pool check: verifies, and repairs, a pool that no daemon has open. */
#include "pando/pando.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "dev/dev.h"
#include "fs/fs.h"

#define MEMORY_MIN (16u << 20)

struct check_args {
	const char *path;
	bool json;
	json_t *findings, *repairs, *left;
	char first[1000];		/* not printed yet: it may be why the check cannot begin */
	unsigned n;
	struct fs_check_opts opts;
	struct fs_check_stats stats;
};

static void line_print(struct check_args *a, json_t *list, const char *label, const char *text)
{
	if (a->json)
		json_array_append_new(list, json_string(text));
	else
		printf("%s: %s%s\n", a->path, label, text);
}

/* There is more to say than this one line. */
static void first_print(struct check_args *a)
{
	if (a->n == 1)
		line_print(a, a->findings, "", a->first);
}

static void finding(void *arg, const char *line)
{
	struct check_args *a = arg;
	char text[sizeof(a->first)];

	text_printable(line, strlen(line), text, sizeof(text));
	if (a->n == 0)
		memcpy(a->first, text, sizeof(text));
	first_print(a);
	if (a->n++ > 0)
		line_print(a, a->findings, "", text);
}

static void later_line(struct check_args *a, json_t *list, const char *label, const char *line)
{
	char text[sizeof(a->first)];

	first_print(a);
	if (a->n == 1)
		a->n++;			/* it is said */
	text_printable(line, strlen(line), text, sizeof(text));
	line_print(a, list, label, text);
}

static void repaired(void *arg, const char *line)
{
	struct check_args *a = arg;

	later_line(a, a->repairs, "repaired: ", line);
}

static void left(void *arg, const char *line)
{
	struct check_args *a = arg;

	later_line(a, a->left, "left: ", line);
}

static int json_report(struct check_args *a, int64_t n)
{
	struct fs_check_stats *s = &a->stats;
	json_t *j = json_pack(
		"{s:s,s:b,s:I,s:O,s:I,s:O,s:I,s:O,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "path", a->path,
		"clean", n == 0, "finding_count", (json_int_t)s->findings, "findings", a->findings,
		"repair_count", (json_int_t)s->repairs, "repairs", a->repairs, "left_count",
		(json_int_t)n, "left", a->left, "volumes", (json_int_t)s->volumes, "files",
		(json_int_t)s->files, "directories", (json_int_t)s->directories, "inodes",
		(json_int_t)s->inodes, "blocks", (json_int_t)s->blocks, "index_blocks",
		(json_int_t)s->index_blocks, "log_records", (json_int_t)s->log_records);
	int err = print_json(j);

	json_decref(j);
	return n ? FAILED : err;
}

static int check_report(struct check_args *a, int64_t n)
{
	struct fs_check_stats *s = &a->stats;

	if (a->json)
		return json_report(a, n);
	printf("%s: %llu finding%s; ", a->path, (unsigned long long)s->findings,
	       s->findings == 1 ? "" : "s");
	if (a->opts.repair)
		printf("%llu repaired, %lld left; ", (unsigned long long)s->repairs, (long long)n);
	printf("%llu volumes, %llu files, %llu directories, %llu blocks (%llu of them index blocks), "
	       "%llu log records\n", (unsigned long long)s->volumes, (unsigned long long)s->files,
	       (unsigned long long)s->directories, (unsigned long long)s->blocks,
	       (unsigned long long)s->index_blocks, (unsigned long long)s->log_records);
	return n ? FAILED : print_done();
}

static int check_do(void *arg)
{
	struct check_args *a = arg;
	struct dev *d;
	int err = dev_file_open(a->path, a->opts.repair ? 0 : DEV_FILE_RDONLY, &d);
	int64_t n;

	if (err)
		return open_fail(a->path, err);
	n = fs_check_with(d, &a->opts, finding, a, &a->stats);
	dev_close(d);
	if (n < 0 && a->n == 1)		/* the line names the pool itself */
		return fail("%s", a->first);
	first_print(a);
	if (n < 0)
		return fail("%s: cannot %s it: %s", a->path, a->opts.repair ? "repair" : "check",
			    err_text((int)n));
	return check_report(a, n);
}

int pool_check(struct cmd *c)
{
	struct check_args a = { .path = c->argv[0], .json = c->json };
	int err = cmd_size(c, "memory", &a.opts.memory);

	if (err)
		return err;
	if (cmd_option(c, "memory") && a.opts.memory < MEMORY_MIN)
		return usage(c, "--memory: use at least %u MiB", MEMORY_MIN >> 20);
	a.opts.repair = cmd_option(c, "repair");
	a.opts.drop_damaged = cmd_option(c, "drop-damaged");
	if (a.opts.drop_damaged && !a.opts.repair)
		return usage(c, "--drop-damaged goes with --repair");
	a.opts.repaired = repaired;
	a.opts.left = left;
	a.findings = json_array();
	a.repairs = json_array();
	a.left = json_array();
	err = run_offline(check_do, &a);
	json_decref(a.findings);
	json_decref(a.repairs);
	json_decref(a.left);
	return err;
}
