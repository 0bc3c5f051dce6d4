/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See storage.h.  The pool is made once; each file system begins with a copy of that disk, which
 * costs as little as a snapshot.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include "dev/dev_sim.h"
#include "storage.h"

#define BLOCKS 16384			/* 64 MiB */
#define LOG_BYTES (256u << 10)		/* small, as it is read at every opening */
#define CACHE_BYTES (16u << 20)

static struct dev_sim_image *empty, *crashed;
static struct dev *disk;
static struct memfs_control nothing = { .real = true };

static struct dev *new_disk(struct dev_sim_image *from)
{
	const struct dev_sim_opts o = { .nblocks = from ? 0 : BLOCKS, .seed = 1,
					.check_stable = true, .check_overlap = true };
	struct dev *d;
	int err = from ? dev_sim_new_from(&o, from, &d) : dev_sim_new(&o, &d);

	assert(!err);
	return d;
}

static struct fs *open_pool(struct dev *d)
{
	const struct fs_config cfg = { .cache_bytes = CACHE_BYTES, .seed = 1, .keep_orphans = true };
	char why[200] = "";
	struct fs *fs;

	if (fs_open(d, &cfg, &fs, why, sizeof(why))) {
		fprintf(stderr, "the pool doesn't open: %s\n", why);
		abort();
	}
	return fs;
}

static void make_empty(void)
{
	static const char *const names[] = { "vol", "other" };
	const struct fs_format_opts o = { .uuid = { 1 }, .log_bytes = LOG_BYTES };
	struct fs_volume_info *info = malloc(sizeof(*info));
	struct dev *d = new_disk(NULL);
	struct fs_req req;
	struct fs *fs;
	int err = info ? fs_format(d, &o) : -1;

	assert(!err);
	fs = open_pool(d);
	for (int i = 0; i < 2; i++) {
		fs_req_admin(&req, fs);
		err = fs_volume_create(&req, names[i], info);
		assert(!err && info->id == i + 1);
	}
	err = fs_close(fs);
	assert(!err);
	empty = dev_sim_crash_image(d, DEV_SIM_CUT_KEEP, 0, NULL);
	dev_close(d);
	free(info);
}

struct fs *storage_new(void)
{
	if (!empty)
		make_empty();
	disk = new_disk(empty);
	return open_pool(disk);
}

static void report(void *arg, const char *line)
{
	fprintf(stderr, "check: %s\n", line);
}

/* What the tests did to the pool left it whole. */
void storage_free(struct fs *fs)
{
	struct fs_check_stats st;
	int err = fs_close(fs);

	assert(!err);
	if (getenv("STORAGE_CHECK") && fs_check(disk, report, NULL, &st))
		abort();
	dev_close(disk);
	disk = NULL;
}

void storage_crash(struct fs *fs)
{
	crashed = dev_sim_crash_image(disk, DEV_SIM_CUT_DROP, 0, NULL);
}

struct fs *storage_restart(struct fs *fs)
{
	int err = fs_close(fs);

	assert(!err);
	if (crashed) {
		dev_close(disk);
		disk = new_disk(crashed);
		dev_sim_image_put(crashed);
		crashed = NULL;
	}
	return open_pool(disk);
}

void storage_set_exports(struct fs *fs, uint32_t volume, const char *text)
{
	struct fs_volume_info *info = malloc(sizeof(*info));
	struct fs_req req;
	int err = info ? fs_volume_get(fs, volume, info) : -1;

	assert(!err);
	fs_req_admin(&req, fs);
	err = fs_volume_set(&req, info->name, text, -1);
	assert(!err);
	free(info);
}

struct memfs_control *storage_control(struct fs *fs) { return &nothing; }
