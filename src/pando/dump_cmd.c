/* SPDX-License-Identifier: Apache-2.0 */
/* pool dump: what lies on a pool that no daemon has open, as text. */
#include "pando/pando.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "dev/dev.h"
#include "fs/fs.h"

struct dump_args { struct cmd *c; };

static void dump_print(void *arg, const char *line)
{
	char text[1600];

	text_printable(line, strlen(line), text, sizeof(text));
	puts(text);
}

static int dump_do(void *arg)
{
	static const char *const superblock[] = { "superblock" };
	struct dump_args *a = arg;
	const char *path = a->c->argv[0];
	const char *const *what = a->c->argc > 1 ? (const char *const *)a->c->argv + 1 : superblock;
	char why[300] = "";
	struct dev *d;
	int err = dev_file_open(path, DEV_FILE_RDONLY, &d);

	if (err)
		return open_fail(path, err);
	err = fs_dump(d, what, a->c->argc > 1 ? a->c->argc - 1 : 1, dump_print, NULL, why, sizeof(why));
	dev_close(d);
	if (err == -EINVAL)
		return usage(a->c, "%s; what there is: %s", why, FS_DUMPS);
	if (err)
		return fail("%s: %s", path, why[0] ? why : err_text(err));
	return print_done();
}

int pool_dump(struct cmd *c)
{
	struct dump_args a = { c };

	return run_offline(dump_do, &a);
}
