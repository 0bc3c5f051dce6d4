/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repairs of what is large or shared, on pools that the store has written: what was shared stays so, what
 * could be read is all there, and wherever the power goes, the next repair ends it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "check_edit.h"
#include "check_work.h"
#include "fs/dir_int.h"
#include "in_fiber.h"

static union {
	uint64_t slots[INDEX_SLOTS];
	struct inode all[INODES_PER_BLOCK];
	struct volume vol[VOLUMES_PER_BLOCK];
	struct dir_page page;
	struct reap_entry reap[256];
	uint8_t raw[BLOCK_SIZE];
} u;

static uint64_t ptr(uint64_t slot) { return slot & PTR_BLOCK_MASK; }

/* Of volume "v", the only one, as the last checkpoint has it. */
static void volume_get(struct edit *e, struct volume *ret)
{
	edit_open(e, e->d);
	edit_get(e, e->sb.volumes.ptr, &u);
	if (e->sb.volumes.depth)
		edit_get(e, ptr(u.slots[0]), &u);
	for (unsigned i = 0; i < VOLUMES_PER_BLOCK; i++)
		if (!strcmp(u.vol[i].name, "v"))
			*ret = u.vol[i];
}

/* The block of inode INO. */
static uint64_t inode_block(struct edit *e, uint64_t ino)
{
	struct volume v;
	uint64_t block, leaf = ino / INODES_PER_BLOCK;

	volume_get(e, &v);
	block = v.inodes_root;
	for (unsigned level = v.inodes_depth; level; level--) {
		edit_get(e, block, &u);
		block = ptr(u.slots[leaf >> INDEX_BITS * (level - 1) & (INDEX_SLOTS - 1)]);
	}
	return block;
}

static struct inode inode_get(struct edit *e, uint64_t ino)
{
	edit_get(e, inode_block(e, ino), &u);
	return u.all[ino % INODES_PER_BLOCK];
}

/* ---- counts of mapped blocks ------------------------------------------------------------------ */

static struct fs_id clone(struct work *w, struct fs_id src, const char *name)
{
	struct fs_name n = { name, strlen(name) };
	struct fs_attr a;

	REQUIRE(!fs_clone(&w->req, src, w->root, &n, 1, NULL, &a));
	return a.id;
}

static void write_at(struct work *w, struct fs_id id, uint64_t at)
{
	static _Alignas(4096) uint8_t buf[4096];
	struct iovec iov = { buf, sizeof(buf) };

	memset(buf, 1 + at / 4096 % 200, sizeof(buf));
	REQUIRE(!fs_write(&w->req, id, at, &iov, 1, sizeof(buf), true, NULL));
}

static bool apart;			/* the snapshot has a block of inodes of its own */

/* Many clones and a snapshot share an index block that lies. */
static void shared_body(void *arg)
{
	struct fs_snapshot_info info;
	struct fs_id file, some;
	struct edit e;
	struct work w;
	uint64_t top;

	new_pool(&w);
	file = make(&w, w.root, "file", FS_REG);
	for (unsigned i = 0; i < 6; i++)
		write_at(&w, file, (uint64_t)i * 700000 / 4096 * 4096);
	for (char name[3] = "c0"; name[1] <= '9'; name[1]++)
		some = clone(&w, file, name);
	REQUIRE(!fs_snapshot_create(&w.req, "v", "s", &info));
	if (apart)
		make(&w, w.root, "later", FS_REG);
	REQUIRE(!fs_close(w.fs));
	REQUIRE(!check(w.d));
	e.d = w.d;
	REQUIRE(inode_get(&e, file.ino).depth == 2);
	top = inode_get(&e, file.ino).root;
	edit_get(&e, top, &u);
	u.slots[0] ^= 5ULL << PTR_MAPPED_SHIFT;
	u.slots[1] &= ~PTR_MAPPED_MASK;
	edit_put(&e, top, &u);
	REQUIRE(check(w.d) == 2);
	REQUIRE(!repair(w.d, false, NULL) && !check(w.d));
	edit_open(&e, w.d);
	REQUIRE(inode_get(&e, file.ino).root == inode_get(&e, some.ino).root);
	REQUIRE(edit_refs(&e, inode_get(&e, some.ino).root) == (apart ? 22 : 11));
	REQUIRE(!edit_refs(&e, top));
	open_fs(&w);
	REQUIRE(content(w.fs, file, 4 << 20) && content(w.fs, file, 4 << 20) == content(w.fs, some, 4 << 20));
	write_at(&w, some, 0);
	REQUIRE(!fs_snapshot_find(w.fs, "v", "s", &info));
	REQUIRE(!fs_close(w.fs));
	REQUIRE(!check(w.d));
	dev_close(w.d);
}

/* The same of an inode file, which a snapshot shares. */
static void inode_file_body(void *arg)
{
	struct fs_snapshot_info info;
	struct volume v;
	struct edit e;
	struct work w;

	new_pool(&w);
	for (unsigned i = 0; i < 8300; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%u", i);
		make(&w, w.root, name, FS_REG);
	}
	REQUIRE(!fs_snapshot_create(&w.req, "v", "s", &info));
	REQUIRE(!fs_close(w.fs));
	e.d = w.d;
	volume_get(&e, &v);
	REQUIRE(v.inodes_depth == 2 && edit_refs(&e, v.inodes_root) == 2);
	edit_get(&e, v.inodes_root, &u);
	u.slots[0] ^= 1ULL << PTR_MAPPED_SHIFT;
	u.slots[1] |= PTR_MAPPED_MASK;
	edit_put(&e, v.inodes_root, &u);
	REQUIRE(check(w.d) == 2);
	REQUIRE(!repair(w.d, false, NULL) && !check(w.d));
	volume_get(&e, &v);
	REQUIRE(edit_refs(&e, v.inodes_root) == 2);
	open_fs(&w);
	REQUIRE(there(&w, "/f8000"));
	make(&w, w.root, "another", FS_REG);
	REQUIRE(!fs_close(w.fs));
	REQUIRE(!check(w.d));
	dev_close(w.d);
}

static void test_mapped(void **state)
{
	in_fiber(shared_body);
	apart = true;
	in_fiber(shared_body);
	in_fiber(inode_file_body);
}

/* ---- the reap list ------------------------------------------------------------------------------ */

static void remove_all(struct work *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%u", i);
		REQUIRE(!fs_remove(&w->req, w->root, (struct fs_name){ name, strlen(name) }, NULL));
	}
}

/* One page of three is bad: what the others hold is reaped as ever, and all space comes back. */
static void reap_body(void *arg)
{
	struct fs_status before, after;
	uint64_t entries;
	struct edit e;
	struct work w;

	new_pool(&w);
	fs_status(w.fs, &before);
	for (unsigned i = 0; i < 700; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%u", i);
		write_file(&w, make(&w, w.root, name, FS_REG), 8192, i);
	}
	remove_all(&w, 700);
	REQUIRE(!fs_close(w.fs));
	e.d = w.d;
	edit_open(&e, w.d);
	REQUIRE(e.sb.reap.depth == 1 && e.sb.reap_entries >= 700);
	entries = e.sb.reap_entries;
	edit_get(&e, e.sb.reap.ptr, &u);
	dev_sim_flip_bit(w.d, ptr(u.slots[1]), 5000);
	REQUIRE(check(w.d) == 2);
	REQUIRE(!repair(w.d, false, NULL) && !check(w.d));
	edit_open(&e, w.d);
	REQUIRE(e.sb.reap_entries == entries - 256);
	open_fs(&w);
	REQUIRE(!fs_reap_all(w.fs) && !fs_checkpoint(w.fs));
	fs_status(w.fs, &after);
	REQUIRE(after.free_blocks + 64 > before.free_blocks);
	REQUIRE(!fs_close(w.fs));
	REQUIRE(!check(w.d));
	dev_close(w.d);
}

static void test_reap(void **state)
{
	in_fiber(reap_body);
}

/* ---- directories -------------------------------------------------------------------------------- */

#define NAMES 3000

static void name_of(char name[32], unsigned i)
{
	snprintf(name, 32, "a file with number %u", i);
}

static struct fs_id fill(struct work *w, const char *dir)
{
	struct fs_id d = make(w, w->root, dir, FS_DIR);

	for (unsigned i = 0; i < NAMES; i++) {
		char name[32];

		name_of(name, i);
		make(w, d, name, FS_REG);
	}
	return d;
}

/* How many of the names are in DIR; the others' inodes are in lost+found, if FIRST isn't 0. */
static unsigned names_there(struct work *w, struct fs_id dir, uint64_t first)
{
	unsigned n = 0;

	for (unsigned i = 0; i < NAMES; i++) {
		struct fs_attr a;
		char name[64];

		name_of(name, i);
		if (!fs_lookup(&w->req, dir, (struct fs_name){ name, strlen(name) }, &a, NULL)) {
			n++;
			continue;
		}
		snprintf(name, sizeof(name), "/lost+found/#%llu", (unsigned long long)first + i);
		REQUIRE(!first || there(w, name));
	}
	return n;
}

/* The block of page N of directory INO. */
static uint64_t dir_block(struct edit *e, uint64_t ino, uint64_t n)
{
	struct inode i = inode_get(e, ino);

	REQUIRE(i.depth == 1 && i.dir_levels == 2 && i.dir_pages > 10);
	edit_get(e, i.root, &u);
	return ptr(u.slots[n]);
}

/* The page that leads to all others can't be read; a snapshot shares it. */
static void inner_body(void *arg)
{
	struct fs_snapshot_info info;
	struct fs_attr a;
	struct fs_id dir;
	struct edit e;
	struct work w;

	new_pool(&w);
	dir = fill(&w, "d");
	REQUIRE(!fs_snapshot_create(&w.req, "v", "s", &info));
	REQUIRE(!fs_close(w.fs));
	e.d = w.d;
	dev_sim_flip_bit(w.d, dir_block(&e, dir.ino, 0), 4000);
	REQUIRE(check(w.d) == 1);
	REQUIRE(!repair(w.d, false, NULL) && !check(w.d));
	open_fs(&w);
	REQUIRE(names_there(&w, dir, 0) == NAMES);
	REQUIRE(!fs_snapshot_find(w.fs, "v", "s", &info));
	REQUIRE(!fs_lookup(&w.req, info.root, (struct fs_name){ "d", 1 }, &a, NULL));
	REQUIRE(names_there(&w, a.id, 0) == NAMES);
	make(&w, dir, "another", FS_REG);
	REQUIRE(!fs_reap_all(w.fs) && !fs_close(w.fs));
	REQUIRE(!check(w.d));
	dev_close(w.d);
}

/* A page with names can't be read: the others' are there, and no file is gone. */
static void leaf_body(void *arg)
{
	struct fs_id dir;
	struct edit e;
	struct work w;
	unsigned n;

	new_pool(&w);
	dir = fill(&w, "d");
	REQUIRE(!fs_close(w.fs));
	e.d = w.d;
	dev_sim_flip_bit(w.d, dir_block(&e, dir.ino, 7), 4000);
	REQUIRE(check(w.d) == 1);
	REQUIRE(repair(w.d, false, NULL) == 1 && nrepaired == 0 && check(w.d) == 1);
	REQUIRE(!repair(w.d, true, NULL) && !check(w.d));
	open_fs(&w);
	n = names_there(&w, dir, dir.ino + 1);
	REQUIRE(n > NAMES / 2 && n < NAMES);
	REQUIRE(!fs_close(w.fs));
	REQUIRE(!check(w.d));
	dev_close(w.d);
}

/* More pages than may be dirty at a time: the new tree is made over several checkpoints. */
static void large_body(void *arg)
{
	enum { LINKS = 140000 };
	struct fs_id dir, file = { 0 };
	struct fs_check_opts o = { .repair = true, .memory = 16 << 20 };
	struct fs_attr a;
	struct edit e;
	struct work w;
	char name[40];

	new_pool(&w);
	dir = make(&w, w.root, "d", FS_DIR);
	for (unsigned i = 0; i < LINKS; i++) {
		snprintf(name, sizeof(name), "one of many names, number %u", i);
		if (i % 10000)
			REQUIRE(!fs_link(&w.req, file, dir, (struct fs_name){ name, strlen(name) }, false, &a,
					 NULL));
		else
			file = make(&w, dir, name, FS_REG);
	}
	REQUIRE(!fs_close(w.fs));
	e.d = w.d;
	REQUIRE(inode_get(&e, dir.ino).dir_pages > 3000);
	edit_get(&e, inode_get(&e, dir.ino).root, &u);
	edit_get(&e, ptr(u.slots[0]), &u);
	dev_sim_flip_bit(w.d, ptr(u.slots[0]), 4000);
	REQUIRE(check(w.d) == 1);
	REQUIRE(!fs_check_with(w.d, &o, NULL, NULL, NULL) && !check(w.d));
	REQUIRE(inode_get(&e, dir.ino).entries == LINKS);
	open_fs(&w);
	for (unsigned i = 0; i < LINKS; i += 7) {
		snprintf(name, sizeof(name), "/d/one of many names, number %u", i);
		REQUIRE(there(&w, name));
	}
	REQUIRE(!fs_close(w.fs));
	dev_close(w.d);
}

struct cut { unsigned at, seen; };

static void cut_the_power(void *arg, struct dev *d, const struct dev_io *io)
{
	struct cut *cut = arg;

	if (io->op != DEV_READ && ++cut->seen == cut->at)
		dev_sim_cut_now(d);
}

static struct dev_sim_image *damaged;
static struct fs_id cut_dir;
static unsigned cut_at;			/* 0: done */

static void cut_prepare(void *arg)
{
	struct edit e;
	struct work w;

	new_pool(&w);
	cut_dir = fill(&w, "d");
	REQUIRE(!fs_close(w.fs));
	e.d = w.d;
	dev_sim_flip_bit(w.d, dir_block(&e, cut_dir.ino, 0), 4000);
	damaged = dev_sim_crash_image(w.d, DEV_SIM_CUT_KEEP, 0, NULL);
	dev_close(w.d);
}

static void cut_body(void *arg)
{
	struct cut cut = { .at = cut_at };
	struct work w = { .d = disk_of(damaged, 0) };
	struct dev_sim_stats st;
	struct dev_sim_image *rest;

	dev_sim_on_submit(w.d, cut_the_power, &cut);
	repair(w.d, false, NULL);
	dev_sim_stats(w.d, &st);
	rest = dev_sim_crash_image(w.d, DEV_SIM_CUT_RANDOM, cut_at, NULL);
	dev_close(w.d);
	w.d = disk_of(rest, 0);
	REQUIRE(!repair(w.d, false, NULL) && !check(w.d));
	open_fs(&w);
	REQUIRE(names_there(&w, cut_dir, 0) == NAMES);
	fs_abandon(w.fs);
	dev_close(w.d);
	dev_sim_image_put(rest);
	cut_at = st.cut ? cut_at + 1 + cut_at / 8 : 0;
}

static void test_directories(void **state)
{
	unsigned cuts = 0;

	in_fiber(inner_body);
	in_fiber(leaf_body);
	in_fiber(large_body);
	in_fiber(cut_prepare);
	for (cut_at = 1; cut_at; cuts++)
		in_fiber(cut_body);
	dev_sim_image_put(damaged);
	assert_true(cuts > 15);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mapped),
		cmocka_unit_test(test_reap),
		cmocka_unit_test(test_directories),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
