/* SPDX-License-Identifier: Apache-2.0 */
/* pool check: verifies a pool that no daemon has open. */
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
	json_t *findings;
	char first[1000];		/* not printed yet: it may be why the check cannot begin */
	unsigned n;
	struct fs_check_opts opts;
	struct fs_check_stats stats;
};

static void finding_print(struct check_args *a, const char *text)
{
	if (a->json)
		json_array_append_new(a->findings, json_string(text));
	else
		printf("%s: %s\n", a->path, text);
}

static void finding(void *arg, const char *line)
{
	struct check_args *a = arg;
	char text[sizeof(a->first)];

	text_printable(line, strlen(line), text, sizeof(text));
	if (a->n == 0)
		memcpy(a->first, text, sizeof(text));
	if (a->n == 1)
		finding_print(a, a->first);
	if (a->n++ > 0)
		finding_print(a, text);
}

static int check_report(struct check_args *a, int64_t n)
{
	struct fs_check_stats *s = &a->stats;
	json_t *j;

	if (!a->json) {
		printf("%s: %lld finding%s; %llu volumes, %llu files, %llu directories, %llu "
		       "blocks (%llu of them index blocks), %llu log records\n", a->path,
				(long long)n,
		       n == 1 ? "" : "s", (unsigned long long)s->volumes,
		       (unsigned long long)s->files, (unsigned long long)s->directories,
		       (unsigned long long)s->blocks, (unsigned long long)s->index_blocks,
		       (unsigned long long)s->log_records);
		return n ? FAILED : print_done();
	}
	j = json_pack("{s:s,s:b,s:I,s:O,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "path", a->path, "clean",
		      n == 0, "finding_count", (json_int_t)n, "findings", a->findings, "volumes",
		      (json_int_t)s->volumes, "files", (json_int_t)s->files, "directories",
		      (json_int_t)s->directories, "inodes", (json_int_t)s->inodes, "blocks",
		      (json_int_t)s->blocks, "index_blocks", (json_int_t)s->index_blocks,
		      "log_records", (json_int_t)s->log_records);
	n = print_json(j) || n;
	json_decref(j);
	return n ? FAILED : DONE;
}

static int check_do(void *arg)
{
	struct check_args *a = arg;
	struct dev *d;
	int err = dev_file_open(a->path, DEV_FILE_RDONLY, &d);
	int64_t n;

	if (err)
		return open_fail(a->path, err);
	n = fs_check_with(d, &a->opts, finding, a, &a->stats);
	dev_close(d);
	if (n < 0 && a->n == 1)		/* the line names the pool itself */
		return fail("%s", a->first);
	if (a->n == 1)
		finding_print(a, a->first);
	if (n < 0)
		return fail("%s: cannot check it: %s", a->path, err_text((int)n));
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
	a.findings = json_array();
	err = run_offline(check_do, &a);
	json_decref(a.findings);
	return err;
}
