/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where blocks go: many files written at a time, zones by what lies in them, quotas.
 *
 *   space_test [NAME]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pool/pool.h"
#include "rig.h"

#define STREAMS 100			/* more than the allocator lays out at a time */
#define PIECE 65536
#define PIECES 16

static struct fs_id stream(struct rig *r, unsigned i, bool make)
{
	char name[16];

	snprintf(name, sizeof(name), "s%u", i);
	return make ? rig_create(r, name) : rig_find(r, name);
}

/* How many zones of the pool are of each type, by the directory on the disk. */
static void zone_types(struct rig *r, unsigned ret_n[4])
{
	struct dir_entry *dir = test_alloc(DIR_PAGE_BLOCKS * BLOCK_SIZE);
	struct superblock *sb = test_alloc(sizeof(*sb));
	char why[256];

	sim_ok(super_read(r->dev, sb, why, sizeof(why)));
	memset(ret_n, 0, 4 * sizeof(*ret_n));
	for (unsigned i = 0; i < DIR_PAGE_BLOCKS; i++)
		dev_sim_peek(r->dev, ZONE_DIR + sb->dirs[0].slot * DIR_PAGE_BLOCKS + i,
			     (uint8_t *)dir + i * BLOCK_SIZE);
	for (uint64_t z = 0; z * ZONE_BLOCKS < sb->nblocks; z++)
		ret_n[dir[z].type]++;
	free(sb);
	free(dir);
}

/* Files that grow side by side, more of them than there are runs: each is what was written. */
static void many_streams(struct rig *r)
{
	uint64_t before = rig_free(r);
	unsigned types[4];

	for (unsigned i = 0; i < STREAMS; i++)
		stream(r, i, true);
	for (unsigned k = 0; k < PIECES; k++)
		for (unsigned i = 0; i < STREAMS; i++)
			rig_write_quiet(r, stream(r, i, false), k * PIECE, PIECE, i + 1);
	rig_stable(r);
	rig_reopen(r);
	for (unsigned i = 0; i < STREAMS; i++)
		rig_expect(r, stream(r, i, false), 0, PIECES * PIECE, i + 1);
	zone_types(r, types);
	sim_check(types[ZONE_META] && types[ZONE_DATA] && !types[ZONE_MIXED],
		  "%u zones of metadata, %u of data, %u of both", types[ZONE_META], types[ZONE_DATA],
		  types[ZONE_MIXED]);
	for (unsigned i = 0; i < STREAMS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "s%u", i);
		rig_remove(r, name);
	}
	sim_check(rig_free(r) + 16 >= before, "%u blocks are lost", (unsigned)(before - rig_free(r)));
}

/* Small pools have all in each zone. */
static void small_pool(struct rig *r)
{
	unsigned types[4];

	rig_write(r, rig_create(r, "f"), 0, 1 << 20, 1);
	sim_ok(fs_checkpoint(r->fs));
	zone_types(r, types);
	sim_check(types[ZONE_MIXED] == 1 && !types[ZONE_META] && !types[ZONE_DATA], "not one zone for all");
}

static struct fs_fsstat stat_of(struct rig *r)
{
	struct fs_fsstat st;

	sim_ok(fs_fsstat(&r->req, r->root, &st, NULL));
	return st;
}

/* A volume with a quota is as large as that, and as full, as far as the pool has it; without one, as the pool. */
static void quota(struct rig *r)
{
	struct fs_fsstat pool = stat_of(r), st;
	const uint64_t blocks = 1000;

	sim_ok(fs_volume_set(&r->req, "main", NULL, blocks));
	st = stat_of(r);
	sim_check(st.total_bytes == blocks * 4096, "%u bytes", (unsigned)st.total_bytes);
	sim_check(st.avail_bytes <= st.total_bytes && st.free_bytes == st.avail_bytes, "more is free than there is");
	rig_write(r, rig_create(r, "f"), 0, 200 * 4096, 1);
	sim_check(stat_of(r).avail_bytes == st.avail_bytes - 200 * 4096, "%u bytes are left",
		  (unsigned)stat_of(r).avail_bytes);
	sim_ok(fs_volume_set(&r->req, "main", NULL, 10));	/* less than is there */
	st = stat_of(r);
	sim_check(!st.avail_bytes && !st.free_bytes, "something is left of less than nothing");
	sim_check(st.total_bytes == st.used_bytes && st.used_bytes > 200 * 4096, "%u bytes seem used",
		  (unsigned)st.total_bytes);
	sim_ok(fs_volume_set(&r->req, "main", NULL, 1000 * blocks));	/* more than the pool has */
	st = stat_of(r);
	sim_check(st.total_bytes - st.free_bytes == st.used_bytes && st.free_bytes <= pool.free_bytes,
		  "%u bytes seem used", (unsigned)(st.total_bytes - st.free_bytes));
	sim_ok(fs_volume_set(&r->req, "main", NULL, 0));
	sim_check(stat_of(r).total_bytes == pool.total_bytes, "not the pool's size");
}

static const struct rig_test tests[] = {
	{ "many_streams", many_streams, 10 * ZONE_BLOCKS, 0, false },
	{ "small_pool", small_pool, 20000, 0, false },
	{ "quota", quota, 20000, 0, false },
};

int main(int argc, char **argv)
{
	alarm(100);
	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
