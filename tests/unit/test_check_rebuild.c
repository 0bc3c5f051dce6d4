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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mapped),
		cmocka_unit_test(test_reap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
