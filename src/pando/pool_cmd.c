/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools: making one that no daemon has open (offline.c), and asking the daemon about its.
 */
#include "pando/pando.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/size.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "dev/dev.h"
#include "fs/fs.h"

#define POOL_MIN_BYTES ((uint64_t)FS_MIN_BLOCKS * DEV_BLOCK)

/* ---- create ----------------------------------------------------------------------------- */

struct create_args {
	const char *path;
	struct fs_format_opts opts;
	uint64_t size;			/* out: of the pool, as made */
};

static int format_do(void *arg)
{
	struct create_args *a = arg;
	struct dev *d;
	int err = dev_file_open(a->path, 0, &d);

	if (err)
		return open_fail(a->path, err);
	if (a->opts.nblocks > d->nblocks) {
		err = fail("%s: --size is larger than the device, which has %llu bytes; leave "
			   "--size out to use all of it", a->path,
			   (unsigned long long)d->nblocks * DEV_BLOCK);
		dev_close(d);
		return err;
	}
	err = fs_format(d, &a->opts);
	a->size = (a->opts.nblocks ? a->opts.nblocks : d->nblocks) * DEV_BLOCK;
	dev_close(d);
	if (err == -EINVAL && a->opts.log_bytes)
		return fail("%s: a log of %llu bytes does not go with this pool; leave --log-size "
			    "out, or choose another", a->path,
			    (unsigned long long)a->opts.log_bytes);
	if (err == -ENOSPC)
		return fail("%s: no room for the pool's own structures; give it more space, or a "
			    "larger --size", a->path);
	return err ? fail("%s: cannot write the pool: %s", a->path, err_text(err)) : DONE;
}

/* The file of a pool that is not yet complete: it goes when somebody loses patience. */
static const char *half_made;

static void on_signal(int sig)
{
	unlink(half_made);
	_exit(FAILED);
}

/* Between the two nothing interrupts: so there is no file that nobody guards. */
static void signals_hold(bool hold)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static void half_made_guard(const char *path)
{
	half_made = path;
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	signal(SIGHUP, on_signal);
}

static void half_made_done(void)
{
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
}

/* A block device may hold something that its owner still wants. */
static int device_check(const struct cmd *c, const char *path)
{
	CLEANUP_FREE unsigned char *head = malloc(1 << 20);
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0 || !head)
		return fail("%s: %s", path, strerror(errno));
	n = pread(fd, head, 1 << 20, 0);
	if (n < 0)
		return fail("%s: cannot read it: %s", path, strerror(errno));
	if (!is_zero(head, (size_t)n) && !cmd_option(c, "force"))
		return fail("%s: there is data on this device; --force makes a pool of it all the "
			    "same", path);
	return DONE;
}

static int file_make(const char *path, uint64_t size)
{
	int err = dev_file_create(path, size);

	if (err == -EEXIST)
		return fail("%s: exists already; remove it, or choose another name", path);
	if (err == -EFBIG)
		return fail("%s: %llu bytes are more than the file system there allows in one file",
			    path, (unsigned long long)size);
	if (err == -ENOENT)
		return fail("%s: the directory does not exist; make it first", path);
	return err ? fail("%s: cannot make the file: %s", path, err_text(err)) : DONE;
}

static int create_report(struct cmd *c, const char *path, uint64_t size)
{
	char text[SIZE_TEXT];

	printf("%s: an empty pool of %s; start it with: pandod --pool %s\n", path,
	       size_text(size, text), path);
	return print_done();
}

int pool_create(struct cmd *c)
{
	struct create_args a = { .path = c->argv[0] };
	uint64_t size = 0;
	struct stat st;
	bool device;
	int err;

	if (cmd_size(c, "size", &size) || cmd_size(c, "log-size", &a.opts.log_bytes))
		return BAD_USAGE;
	device = !stat(a.path, &st) && S_ISBLK(st.st_mode);
	if (!device && !cmd_option(c, "size"))
		return usage(c, "%s: say how large it shall be with --size", a.path);
	if (cmd_option(c, "size") && size < POOL_MIN_BYTES)
		return fail("%s: %llu bytes are too small for a pool; use at least %llu MiB",
			    a.path,
			    (unsigned long long)size, (unsigned long long)POOL_MIN_BYTES >> 20);
	if (cmd_option(c, "log-size") && a.opts.log_bytes > size && size)
		return fail("%s: the log would be larger than the pool; leave --log-size out, or "
			    "make it smaller", a.path);
	signals_hold(true);
	err = device ? device_check(c, a.path) : file_make(a.path, size);
	if (!err && !device)
		half_made_guard(a.path);
	signals_hold(false);
	if (err)
		return err;
	if (device && size)
		a.opts.nblocks = size / DEV_BLOCK;
	err = run_offline(format_do, &a);
	if (err && !device)
		unlink(a.path);
	half_made_done();
	return err ? err : create_report(c, a.path, a.size);
}

/* ---- asking pandod ---------------------------------------------------------------------- */

static void row_size(struct table *t, const json_t *j, const char *label, const char *key)
{
	table_cell(t, label);
	table_size(t, json_u64(j, key));
}

static void row_number(struct table *t, const json_t *j, const char *label, const char *key)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)json_u64(j, key));
	table_cell(t, label);
	table_cell(t, text);
}

int cmd_pool_status(struct cmd *c)
{
	struct request r;
	struct table t;
	json_t *j;
	int err;

	request_init(&r, "GET", "/v1/pool", NULL);
	err = client_call(c, &r, &j);
	if (err)
		return err;
	if (c->json) {
		err = print_json(j);
		json_decref(j);
		return err;
	}
	table_init(&t, "ll", "pool", json_text(j, "path"));
	table_cell(&t, "state");
	table_cell(&t, json_is_true(json_object_get(j, "read_only")) ? json_text(j, "reason")
								      : "read-write");
	row_size(&t, j, "size", "size_bytes");
	row_size(&t, j, "available", "available_bytes");
	row_size(&t, j, "free", "free_bytes");
	row_size(&t, j, "kept for volumes with reservations", "held_bytes");
	row_size(&t, j, "free after the next checkpoint", "pending_free_bytes");
	row_size(&t, j, "fixed tables and log", "metadata_bytes");
	row_size(&t, j, "log in use", "log_used_bytes");
	row_size(&t, j, "cache", "cache_bytes");
	row_size(&t, j, "cache in use", "cache_used_bytes");
	row_size(&t, j, "dirty", "dirty_bytes");
	row_number(&t, j, "generation", "generation");
	row_number(&t, j, "checkpoints since the start", "checkpoints_total");
	row_number(&t, j, "removed trees to reap", "reap_entries");
	row_number(&t, j, "checksum errors", "checksum_errors_total");
	row_number(&t, j, "I/O errors", "io_errors_total");
	json_decref(j);
	return table_print(&t);
}

int cmd_pool_checkpoint(struct cmd *c)
{
	struct request r;
	json_t *j;
	int err;

	request_init(&r, "POST", "/v1/pool/checkpoint", NULL);
	err = client_call(c, &r, &j);
	if (err)
		return err;
	if (c->json)
		err = print_json(j);
	else
		printf("generation %llu is durable\n",
		       (unsigned long long)json_u64(j, "generation"));
	json_decref(j);
	return err ? err : print_done();
}
