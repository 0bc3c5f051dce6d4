/* SPDX-License-Identifier: Apache-2.0 */
/* The hidden volume: where the server keeps what it must know after a restart. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "rig.h"

static const char hidden[] = ".system";

/* The id of a volume is no secret: that of the hidden one is the directory's. */
static void expect_hidden(struct rig *r, struct fs_id dir)
{
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct fs_attr a;
	uint32_t after = 0;
	int rc;

	while (!(rc = fs_volume_next(r->fs, after, v))) {
		sim_check(v->id != dir.volume, "the list of volumes shows the hidden one");
		after = v->id;
	}
	sim_check(rc == -ENOENT, "fs_volume_next: %s", sim_err(rc));
	sim_check(fs_volume_find(r->fs, hidden, v) == -ENOENT, "found by its name");
	sim_check(fs_volume_get(r->fs, dir.volume, v) == -ENOENT, "found by its id");
	sim_check(fs_lookup_path(&r->req, hidden, "/", &a) == -ENOENT, "found by a path");
	sim_check(fs_volume_destroy(&r->req, hidden) == -ENOENT, "destroyed");
	sim_check(fs_volume_set(&r->req, hidden, "* rw", -1) == -ENOENT, "exported");
	sim_check(fs_volume_create(&r->req, hidden, NULL) == -EINVAL, "made by a user");
	free(v);
}

static struct fs_id system_dir(struct rig *r, const char *name)
{
	struct fs_id id = { 0 };

	r->req.stable_seq = 0;
	sim_ok(fs_system_dir(&r->req, name, &id));
	return id;
}

static struct fs_id put(struct rig *r, struct fs_id dir, const char *name, uint64_t n)
{
	struct fs_create how = { .type = FS_REG, .how = FS_CREATE_GUARDED };
	struct fs_attr a;

	sim_ok(fs_create(&r->req, dir, (struct fs_name){ name, strlen(name) }, &how, &a, NULL));
	rig_write_number(r, a.id, 0, n);
	return a.id;
}

static uint64_t get(struct rig *r, struct fs_id dir, const char *name)
{
	struct fs_attr a;

	sim_ok(fs_lookup(&r->req, dir, (struct fs_name){ name, strlen(name) }, &a, NULL));
	return rig_read_number(r, a.id, 0);
}

static void kept(struct rig *r)
{
	struct fs_id dir = system_dir(r, "clients"), again;
	struct fs_attr a;

	sim_check(r->req.stable_seq, "nothing to wait for after making the directory");
	sim_check(dir.volume != r->root.volume, "in a user's volume");
	put(r, dir, "one", 1);
	expect_hidden(r, dir);
	sim_ok(fs_wait_stable(r->fs, fs_last_seq(r->fs)));
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
	again = system_dir(r, "clients");
	sim_check(!memcmp(&again, &dir, sizeof(dir)), "another directory after a crash");
	sim_check(get(r, dir, "one") == 1, "the file's content is another");
	rig_reopen(r);
	again = system_dir(r, "clients");
	sim_check(!memcmp(&again, &dir, sizeof(dir)), "another directory after a restart");
	sim_check(get(r, dir, "one") == 1, "the file's content is another");
	expect_hidden(r, dir);
	again = system_dir(r, "others");
	sim_check(again.volume == dir.volume && again.ino != dir.ino, "one volume, two directories");
	put(r, again, "file", 2);
	sim_ok(fs_lookup(&r->req, again, (struct fs_name){ "..", 2 }, &a, NULL));
	put(r, a.id, "plain", 3);
	sim_check(fs_system_dir(&r->req, "plain", &again) == -ENOTDIR, "a file as a directory");
}

/* Records of clients are written when the pool is full for all others. */
static void full(struct rig *r)
{
	struct fs_id dir = system_dir(r, "clients"), id = rig_create(r, "large");
	static unsigned char block[4096];
	struct iovec iov = { block, sizeof(block) };
	struct fs_fsstat st;
	struct fs_attr a;
	int rc = 0;

	memset(block, 1, sizeof(block));
	for (uint64_t i = 0; !rc; i++)
		rc = fs_write(&r->req, id, i * 4096, &iov, 1, sizeof(block), false, NULL);
	sim_check(rc == -ENOSPC, "filling the pool: %s", sim_err(rc));
	for (unsigned i = 0; i < 8; i++)
		put(r, dir, (char[2]){ 'a' + i }, i);
	sim_ok(fs_fsstat(&r->req, dir, &st, &a));
	rig_reopen(r);
	for (unsigned i = 0; i < 8; i++)
		sim_check(get(r, dir, (char[2]){ 'a' + i }) == i, "the file's content is another");
}

static void same_dir(void *arg)
{
	struct rig *r = arg;
	struct fs_req req;
	struct fs_id id = { 0 };

	fs_req_admin(&req, r->fs);
	sim_ok(fs_system_dir(&req, "clients", &id));
	sim_check(id.ino, "no directory");
}

/* Two that make it at once: one volume, one directory. */
static void at_once(struct rig *r)
{
	static void (*const fns[])(void *) = { same_dir, same_dir, same_dir };
	struct fs_dirlist list = { .cap = 4096 };
	struct fs_attr a;

	rig_reopen(r);			/* nothing cached: each look-up waits */
	rig_parallel(r, fns, 3);
	sim_ok(fs_lookup(&r->req, system_dir(r, "clients"), (struct fs_name){ "..", 2 }, &a, NULL));
	list.buf = test_alloc(list.cap);
	sim_ok(fs_readdir(&r->req, a.id, 2, false, &list));
	sim_check(list.n == 1, "%u names instead of one", list.n);
	free(list.buf);
	rig_reopen(r);			/* checks that there is one hidden volume */
}

static const struct rig_test tests[] = {
	{ "kept", kept, 20000, 0, false },
	{ "full", full, 5000, 0, false },
	{ "at_once", at_once, 20000, 0, false },
};

int main(int argc, char **argv)
{
	alarm(100);
	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
