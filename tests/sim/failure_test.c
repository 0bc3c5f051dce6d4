/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is meant to happen when a request fails: who is told, who isn't, and what goes on.
 *
 *   failure_test [NAME]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fiber.h"
#include "base/loop.h"
#include "pool/pool.h"
#include "rig.h"

#define MIB 1048576
#define BAD_INDEX 100			/* the block of the file that goes bad */

/* ---- finding things on the disk ----------------------------------------------------------- */

/* The block where the content of a file written with SEED lies, at OFFSET; the newest is taken. */
static uint64_t find_content(struct rig *r, uint64_t seed, uint64_t offset)
{
	unsigned char *want = test_alloc(4096), *got = test_alloc(4096);
	uint64_t found = 0;

	rig_pattern(seed, offset, want, 4096);
	for (uint64_t b = 0; b < r->dev->nblocks; b++) {
		dev_sim_peek(r->dev, b, got);
		if (!memcmp(want, got, 4096))
			found = b;
	}
	free(want);
	free(got);
	sim_check(found, "the content isn't on the disk");
	return found;
}

static const struct superblock *super(struct rig *r)
{
	static struct superblock sb;
	char why[256];

	sim_ok(super_read(r->dev, &sb, why, sizeof(why)));
	return &sb;
}

static void fail_at(struct rig *r, enum dev_op op, uint64_t block, uint64_t n, bool for_good)
{
	struct dev_sim_fault f = { .kind = DEV_SIM_FAIL, .ops = DEV_SIM_OP(op), .for_good = for_good,
				   .first_block = block, .nblocks = n };

	sim_ok(dev_sim_inject(r->dev, &f));
}

static void is_readonly(struct rig *r, const char *reason)
{
	struct fs_status st;

	fs_status(r->fs, &st);
	sim_check(st.readonly == (reason != NULL), "read-only: %d (%s)", st.readonly, st.reason);
	sim_check(!reason || strstr(st.reason, reason), "the reason doesn't name %s: %s", reason, st.reason);
}

static int try_write(struct rig *r, struct fs_id id, uint64_t offset, uint32_t len, uint64_t seed)
{
	struct iovec iov = { test_alloc(len), len };
	int rc;

	rig_pattern(seed, offset, iov.iov_base, len);
	rc = fs_write(&r->req, id, offset, &iov, 1, len, true, NULL);
	if (!rc)
		rc = fs_wait_stable(r->fs, r->req.stable_seq);
	free(iov.iov_base);
	return rc;
}

static int try_read(struct rig *r, struct fs_id id, uint64_t offset, uint32_t len)
{
	struct fs_read *rd = test_alloc(sizeof(*rd));
	int rc = fs_read(&r->req, id, offset, len, rd);

	if (!rc)
		fs_read_done(r->fs, rd);
	free(rd);
	return rc;
}

/* The disk works again, and the pool is opened as it was left. */
static void mended(struct rig *r)
{
	sim_check(fs_close(r->fs) == -EROFS, "closed a failed pool as if it were sound");
	dev_sim_clear_faults(r->dev);
	rig_open(r);
	is_readonly(r, NULL);
}

/* ---- reads -------------------------------------------------------------------------------- */

static struct { struct fs_id id; int rc[3]; } rd;

static void read_before(void *arg)
{
	rd.rc[0] = try_read(arg, rd.id, 64 * 4096, (BAD_INDEX - 64) * 4096);
}

static void read_bad(void *arg)
{
	rd.rc[1] = try_read(arg, rd.id, 64 * 4096, 64 * 4096);
}

static void read_behind(void *arg)
{
	rd.rc[2] = try_read(arg, rd.id, (BAD_INDEX + 1) * 4096, (127 - BAD_INDEX) * 4096);
}

/* Three readers at once, of blocks that one request reads for all: only one of them meets the bad sector. */
static void bad_sector(struct rig *r)
{
	static void (*const fns[])(void *) = { read_bad, read_before, read_behind };

	rd.id = rig_create(r, "f");
	rig_write(r, rd.id, 0, MIB, 1);
	rig_reopen(r);
	sim_ok(try_read(r, rd.id, MIB - 4096, 4096));	/* the tables and the index are there */
	fail_at(r, DEV_READ, find_content(r, 1, BAD_INDEX * 4096), 1, true);
	rig_parallel(r, fns, 3);
	sim_check(!rd.rc[0] && !rd.rc[2], "neighbours of a bad sector: %s, %s", sim_err(rd.rc[0]),
		  sim_err(rd.rc[2]));
	sim_check(rd.rc[1] == -EIO, "the bad sector itself: %s", sim_err(rd.rc[1]));
	dev_sim_clear_faults(r->dev);
	rig_expect(r, rd.id, 0, MIB, 1);
}

/* A bit that was wrong on the way is right when it is read again; one on the disk is not. */
static void wrong_bit(struct rig *r)
{
	struct dev_sim_fault f = { .kind = DEV_SIM_FLIP_READ, .nblocks = 1 };
	struct fs_id id = rig_create(r, "f");
	struct fs_status st;

	rig_write(r, id, 0, MIB, 1);
	rig_reopen(r);
	f.first_block = find_content(r, 1, 4096);
	sim_ok(dev_sim_inject(r->dev, &f));
	rig_expect(r, id, 0, MIB, 1);
	fs_status(r->fs, &st);
	sim_check(st.checksum_errors == 1, "%u checksum errors", (unsigned)st.checksum_errors);
	rig_reopen(r);
	dev_sim_flip_bit(r->dev, f.first_block, 12345);
	sim_check(try_read(r, id, 4096, 4096) == -EDAMAGED, "read a block with a wrong bit");
	rig_expect(r, id, 8192, MIB - 8192, 1);
	dev_sim_flip_bit(r->dev, f.first_block, 12345);
	rig_expect(r, id, 0, MIB, 1);
}

/* ---- writes ------------------------------------------------------------------------------- */

static void log_fails(struct rig *r, uint32_t len)
{
	struct fs_id id = rig_create(r, "f");
	const struct superblock *sb;

	rig_stable(r);
	sb = super(r);
	fail_at(r, DEV_WRITE, sb->log_block, sb->log_blocks, false);
	sim_ok(try_write(r, id, 0, len, 1));
	is_readonly(r, NULL);
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
	rig_expect(r, id, 0, len, 1);
	fail_at(r, DEV_WRITE, sb->log_block, sb->log_blocks, true);
	sim_check(try_write(r, id, 0, len, 2) == -EIO, "stable, with no log");
	is_readonly(r, "the intent log of");
	sim_check(try_write(r, id, 0, len, 3) == -EROFS, "a read-only pool was written to");
	rig_expect(r, id, 0, len, 2);
	mended(r);
	rig_write(r, id, 0, len, 4);
}

/* In one DSYNC write; as one that names data, with a flush. */
static void log_write_small(struct rig *r)
{
	log_fails(r, 4096);
}

static void log_write_large(struct rig *r)
{
	log_fails(r, 65536);
}

/*
 * A DSYNC write that fails may be a flush that failed: if there was more in the disk's cache, that may
 * be lost, and to flush it "again" would say that it isn't.
 */
static struct { uint64_t log, log_end; bool hit, checkpoint; struct fs_id id; int rc; } dsync;

static void fail_dsync(void *arg, struct dev *d, const struct dev_io *io)
{
	struct dev_sim_fault f = { .kind = DEV_SIM_FAIL, .ops = DEV_SIM_OP(DEV_WRITE),
				   .first_block = io->block, .nblocks = 1 };
	bool log = io->block >= dsync.log && io->block < dsync.log_end;

	if (io->op == DEV_WRITE && !log)
		dsync.checkpoint = true;
	if (dsync.hit || io->op != DEV_WRITE || !io->dsync || !log || (arg && !dsync.checkpoint))
		return;
	dsync.hit = true;
	sim_ok(dev_sim_inject(d, &f));
}

static void write_beside(void *arg)
{
	for (unsigned i = 0; i < 20 && !dsync.rc; i++)
		dsync.rc = try_write(arg, dsync.id, i * 4096, 4096, i + 1);
}

static void checkpoint_beside(void *arg)
{
	struct rig *r = arg;
	int rc = fs_checkpoint(r->fs);

	sim_check(!rc || rc == -EROFS, "checkpoint: %s", sim_err(rc));
}

static void log_write_beside_others(struct rig *r)
{
	static void (*const fns[])(void *) = { checkpoint_beside, write_beside };
	const struct superblock *sb = super(r);
	struct fs_id id = rig_create(r, "big");

	memset(&dsync, 0, sizeof(dsync));
	dsync.id = rig_create(r, "f");
	dsync.log = sb->log_block;
	dsync.log_end = sb->log_block + sb->log_blocks;
	sim_ok(fs_checkpoint(r->fs));
	dev_sim_on_submit(r->dev, fail_dsync, NULL);
	sim_ok(try_write(r, dsync.id, 0, 4096, 1));	/* nothing else was in the cache: tried again */
	sim_check(dsync.hit, "there was no DSYNC write");
	is_readonly(r, NULL);
	for (unsigned i = 0; i < 200; i++)
		rig_write(r, id, i * 8192, 4096, i);
	rig_stable(r);
	dsync.hit = dsync.checkpoint = false;
	dev_sim_on_submit(r->dev, fail_dsync, r);
	rig_parallel(r, fns, 2);
	dev_sim_on_submit(r->dev, NULL, NULL);
	sim_check(dsync.hit, "there was no DSYNC write beside a checkpoint");
	sim_check(dsync.rc == -EIO, "a DSYNC write that failed: %s", sim_err(dsync.rc));
	is_readonly(r, "the intent log of");
	mended(r);
}

/* A block of the generation that a checkpoint writes; data that a record names; a table page. */
static void in_place(struct rig *r, bool named)
{
	uint32_t len = named ? 65536 : 4096;
	struct fs_id id = rig_create(r, "f");
	const struct superblock *sb = super(r);
	uint64_t data = sb->log_block + sb->log_blocks, n = r->dev->nblocks - SUPER_END_BLOCKS - data;

	rig_stable(r);
	fail_at(r, DEV_WRITE, data, n, false);
	rig_write(r, id, 0, len, 1);
	rig_stable(r);
	sim_ok(fs_checkpoint(r->fs));
	is_readonly(r, NULL);
	fail_at(r, DEV_WRITE, data, n, true);
	rig_write(r, id, 0, len, 2);
	if (named)
		sim_check(fs_wait_stable(r->fs, fs_last_seq(r->fs)) == -EIO, "stable without its data");
	else
		sim_ok(fs_wait_stable(r->fs, fs_last_seq(r->fs)));
	sim_check(fs_checkpoint(r->fs), "a checkpoint without its blocks");
	is_readonly(r, named ? "writing data at block" : "checkpoint of");
	rig_expect(r, id, 0, len, 2);
	mended(r);
	if (!named)
		rig_expect(r, id, 0, len, 2);
}

static void frozen_block(struct rig *r)
{
	in_place(r, false);
}

static void named_data(struct rig *r)
{
	in_place(r, true);
}

static void superblock_write(struct rig *r)
{
	struct fs_id id = rig_create(r, "f");
	struct fs_status st;

	for (unsigned i = 0; i < 2; i++) {	/* both slots, so both of a kind */
		fail_at(r, DEV_WRITE, 0, 2, false);
		rig_write(r, id, 0, 4096, i + 1);
		sim_ok(fs_checkpoint(r->fs));
		is_readonly(r, NULL);
		fs_status(r->fs, &st);
		sim_check(st.io_errors == i + 1, "%u errors", (unsigned)st.io_errors);
	}
	fail_at(r, DEV_WRITE, r->dev->nblocks - 2, 2, true);
	rig_write(r, id, 0, 4096, 3);
	rig_stable(r);
	sim_check(fs_checkpoint(r->fs), "a checkpoint without its superblock");
	is_readonly(r, "checkpoint of");
	mended(r);
	rig_expect(r, id, 0, 4096, 3);
}

/* A flush that fails is final at once: nothing tells what it has lost. */
static void flush(struct rig *r)
{
	struct dev_sim_fault f = { .kind = DEV_SIM_FAIL, .ops = DEV_SIM_OP(DEV_FLUSH) };
	struct fs_id id = rig_create(r, "f");

	rig_stable(r);
	sim_ok(dev_sim_inject(r->dev, &f));
	sim_check(try_write(r, id, 0, 65536, 1) == -EIO, "stable without a flush");
	is_readonly(r, "the intent log of");
	sim_check(fs_checkpoint(r->fs) == -EROFS, "a checkpoint after a failed flush");
	mended(r);
}

/* TRIM that the disk refuses is not asked for again, and is nobody's trouble. */
static void discard(struct rig *r)
{
	struct dev_sim_fault f = { .kind = DEV_SIM_FAIL, .ops = DEV_SIM_OP(DEV_DISCARD) };
	uint64_t before = rig_free(r);
	struct dev_sim_stats st;
	struct fs_id id;

	for (unsigned i = 0; i < 2; i++) {
		id = rig_create(r, "f");
		for (uint64_t k = 0; k < 8; k++)
			rig_write(r, id, k * MIB, MIB, 1);
		rig_stable(r);
		if (!i)
			sim_ok(dev_sim_inject(r->dev, &f));
		rig_remove(r, "f");
		sim_check(rig_free(r) + 2 >= before, "%u blocks are lost", (unsigned)(before - rig_free(r)));
		is_readonly(r, NULL);
	}
	dev_sim_stats(r->dev, &st);
	sim_check(st.requests[DEV_DISCARD] == 1, "asked %u times", (unsigned)st.requests[DEV_DISCARD]);
}

/* A file system under the pool that is full says so, and so does the reason. */
static struct { struct dev *under; bool full; } below;

static void full_submit(struct dev *d, struct dev_io *io)
{
	if (below.full && io->op == DEV_WRITE)
		dev_io_complete(io, -ENOSPC);
	else
		dev_submit(below.under, io);
}

static void full_close(struct dev *d) { }

static void no_room_below(struct rig *r)
{
	static const struct dev_ops ops = { .submit = full_submit, .close = full_close };
	struct dev dev = { .ops = &ops, .nblocks = r->dev->nblocks, .name = "a full file system" };
	struct fs_id id = rig_create(r, "f");

	rig_write(r, id, 0, 4096, 1);
	sim_ok(fs_close(r->fs));
	below.under = r->dev;
	below.full = false;
	r->dev = &dev;
	rig_open(r);
	below.full = true;
	sim_check(try_write(r, id, 0, 4096, 2) == -EIO, "stable on a full disk");
	is_readonly(r, "make room under the pool");
	sim_check(fs_close(r->fs) == -EROFS, "closed a failed pool as if it were sound");
	r->dev = below.under;
	rig_open(r);
	is_readonly(r, NULL);
	rig_write(r, id, 0, 4096, 3);
	rig_expect(r, id, 0, 4096, 3);
}

/* ---- labels ------------------------------------------------------------------------------- */

static struct dev_sim_image *before_flush;

static void copy_before_flush(void *arg, struct dev *d, const struct dev_io *io)
{
	struct superblock *sb = arg, *now = test_alloc(4096);

	/* The second flush of a checkpoint: the new superblock is in the cache. */
	dev_sim_peek(d, (sb->generation + 1) & 1, now);
	if (io->op == DEV_FLUSH && !before_flush && now->generation == sb->generation + 1)
		before_flush = dev_sim_crash_image(d, DEV_SIM_CUT_KEEP, 0, NULL);
	free(now);
}

static void tear(struct rig *r, uint64_t block)
{
	unsigned char *page = test_alloc(4096);

	dev_sim_peek(r->dev, block, page);
	memset(page + 512, 0x5a, 512);
	dev_sim_poke(r->dev, block, page);
	free(page);
}

static bool copies_equal(struct rig *r, uint64_t slot)
{
	unsigned char *a = test_alloc(4096), *b = test_alloc(4096);
	bool equal;

	dev_sim_peek(r->dev, slot, a);
	dev_sim_peek(r->dev, r->dev->nblocks - 2 + slot, b);
	equal = !memcmp(a, b, 4096);
	free(a);
	free(b);
	return equal;
}

/* The newest superblock torn: one copy, the other, both. */
static void torn_label(struct rig *r)
{
	struct fs_id id = rig_create(r, "f");
	struct superblock sb;
	uint64_t slot;

	rig_write(r, id, 0, MIB, 1);
	sim_ok(fs_checkpoint(r->fs));
	rig_write(r, id, 4096, 4096, 2);
	rig_stable(r);
	sb = *super(r);
	slot = (sb.generation + 1) & 1;
	dev_sim_on_submit(r->dev, copy_before_flush, &sb);
	sim_ok(fs_checkpoint(r->fs));
	dev_sim_on_submit(r->dev, NULL, NULL);
	sim_check(before_flush, "the superblock was never seen");
	for (unsigned torn = 1; torn < 4; torn++) {
		struct rig c = { .cfg = r->cfg, .dev = sim_disk_open(0, torn, before_flush) };

		if (torn & 1)
			tear(&c, slot);
		if (torn & 2)
			tear(&c, c.dev->nblocks - 2 + slot);
		sim_check(super(&c)->generation == sb.generation + (torn != 3), "torn %u: generation %u", torn,
			  (unsigned)super(&c)->generation);
		rig_open(&c);
		is_readonly(&c, NULL);
		sim_check(copies_equal(&c, 0) && copies_equal(&c, 1), "torn %u: not mended", torn);
		rig_expect(&c, id, 4096, 4096, 2);
		rig_expect(&c, id, 8192, MIB - 8192, 1);
		sim_ok(fs_close(c.fs));
		sim_fsck(c.dev, "after a torn superblock");
		dev_close(c.dev);
	}
	dev_sim_image_put(before_flush);
	before_flush = NULL;
}

/* ---- damage ------------------------------------------------------------------------------- */

/* A bad sector in the log where nothing lies: nobody minds. */
static void bad_log_elsewhere(struct rig *r)
{
	struct fs_id id = rig_create(r, "f");
	const struct superblock *sb = super(r);

	rig_write(r, id, 0, 4096, 1);
	rig_stable(r);
	fail_at(r, DEV_READ, sb->log_block + sb->log_blocks - 3, 1, true);
	fs_abandon(r->fs);
	rig_open(r);
	is_readonly(r, NULL);
	rig_expect(r, id, 0, 4096, 1);
	dev_sim_clear_faults(r->dev);
}

/*
 * Where records lie, what follows may have been stable: the pool says so instead of going on without.
 * LAST: there is no record behind it that would know.
 */
static void bad_log(struct rig *r, bool last)
{
	struct fs_id id = rig_create(r, "f");
	const struct superblock *sb;

	rig_stable(r);
	rig_reopen(r);
	for (unsigned i = 0; i < 3; i++) {	/* two blocks each */
		rig_write(r, id, 0, 4096, 2 + i);
		rig_stable(r);
	}
	fs_abandon(r->fs);
	sb = super(r);
	fail_at(r, DEV_READ, sb->log_block + sb->log_offset / 4096 + (last ? 4 : 2), 1, true);
	rig_open(r);
	is_readonly(r, last ? "may have been" : "is damaged");
	rig_expect(r, id, 0, 4096, last ? 3 : 2);	/* a prefix */
	sim_check(try_write(r, id, 0, 4096, 9) == -EROFS, "wrote behind a damaged log");
	mended(r);
	rig_expect(r, id, 0, 4096, 4);		/* nothing was thrown away */
}

static void bad_log_middle(struct rig *r)
{
	bad_log(r, false);
}

static void bad_log_end(struct rig *r)
{
	bad_log(r, true);
}

/* Data that the last record names can't be read: whether it was stable nobody knows. */
static void bad_named_data(struct rig *r)
{
	struct fs_id id = rig_create(r, "f");

	rig_write(r, id, 0, 65536, 1);
	sim_ok(fs_checkpoint(r->fs));
	rig_write(r, id, 0, 65536, 2);
	rig_stable(r);
	fail_at(r, DEV_READ, find_content(r, 2, 8192), 1, true);
	fs_abandon(r->fs);
	rig_open(r);
	is_readonly(r, "may have been");
	rig_expect(r, id, 0, 65536, 1);
	mended(r);
	rig_expect(r, id, 0, 65536, 2);
}

/* A table page of space that nobody uses: others are given other blocks, to the last. */
static void damaged_table(struct rig *r)
{
	struct fs_id id = rig_create(r, "f"), big = rig_create(r, "big");
	uint64_t page, at = 0;
	int rc;

	rig_write(r, id, 0, MIB, 1);
	for (uint64_t i = 0; i < 50; i++)
		rig_write(r, big, i * MIB, MIB, 2);
	rig_stable(r);
	page = find_content(r, 2, 25 * MIB) / PAGE_ENTRIES;
	rig_remove(r, "big");
	sim_ok(fs_reap_all(r->fs));
	sim_ok(fs_checkpoint(r->fs));
	rig_reopen(r);
	fail_at(r, DEV_READ, ZONE_TABLE + 2 * page, 2, true);
	while (!(rc = try_write(r, id, at, MIB, 3)))
		at += MIB;
	sim_check(rc == -ENOSPC, "beside a damaged table page: %s", sim_err(rc));
	sim_check(at > 40 * MIB, "only %u MiB", (unsigned)(at / MIB));
	rig_expect(r, id, 0, MIB, 3);
	dev_sim_clear_faults(r->dev);
}

/* The index block that points to BLOCK and the one behind it. */
static uint64_t find_index(struct rig *r, uint64_t block)
{
	uint64_t *page = test_alloc(4096), found = 0;

	for (uint64_t b = 0; b < r->dev->nblocks; b++) {
		dev_sim_peek(r->dev, b, page);
		if ((page[0] & PTR_BLOCK_MASK) == block && (page[1] & PTR_BLOCK_MASK) == block + 1)
			found = b;
	}
	free(page);
	sim_check(found, "no index block");
	return found;
}

static void write_long(struct rig *r, struct fs_id id, uint64_t seed)
{
	for (uint64_t i = 0; i < 4; i++)
		rig_write(r, id, i * MIB, MIB, seed);
}

/* What can't be taken apart must not keep the reaper from the rest. */
static void damaged_removed(struct rig *r)
{
	static const char *const names[] = { "a", "bad", "b", "c" };
	uint64_t before, index = 0, left;
	struct fs_status st;

	before = rig_free(r);
	for (unsigned i = 0; i < 4; i++)
		write_long(r, rig_create(r, names[i]), i + 1);
	rig_reopen(r);
	index = find_index(r, find_content(r, 2, 0));
	fail_at(r, DEV_READ, index, 1, true);
	for (unsigned i = 0; i < 4; i++)
		rig_remove(r, names[i]);
	sim_ok(fs_reap_all(r->fs));
	fs_status(r->fs, &st);
	sim_check(st.reap_entries, "the damaged file was taken apart");
	loop_sleep_ns(1000000000);		/* the reaper may be at it as well */
	sim_ok(fs_checkpoint(r->fs));
	sim_ok(fs_checkpoint(r->fs));
	loop_sleep_ns(1000000000);
	fs_status(r->fs, &st);
	left = st.free_blocks + st.pending_free_blocks;
	sim_check(left + 1100 > before, "%u blocks are not free, and only 1024 are damaged",
		  (unsigned)(before - left));
	sim_ok(fs_reap_all(r->fs));
	dev_sim_clear_faults(r->dev);
	rig_reopen(r);
	sim_ok(fs_reap_all(r->fs));
	sim_check(rig_free(r) + 2 >= before, "%u blocks are lost", (unsigned)(before - rig_free(r)));
}

static const struct rig_test tests[] = {
	{ "bad_sector", bad_sector, 20000, 0, false },
	{ "wrong_bit", wrong_bit, 20000, 0, false },
	{ "log_write_small", log_write_small, 20000, 0, false },
	{ "log_write_large", log_write_large, 20000, 0, false },
	{ "log_write_beside_others", log_write_beside_others, 20000, 0, false },
	{ "frozen_block", frozen_block, 20000, 0, false },
	{ "named_data", named_data, 20000, 0, false },
	{ "superblock_write", superblock_write, 20000, 0, false },
	{ "flush", flush, 20000, 0, false },
	{ "discard", discard, 20000, 0, true },
	{ "no_room_below", no_room_below, 20000, 0, false },
	{ "torn_label", torn_label, 20000, 0, false },
	{ "bad_log_elsewhere", bad_log_elsewhere, 20000, 0, false },
	{ "bad_log_middle", bad_log_middle, 20000, 0, false },
	{ "bad_log_end", bad_log_end, 20000, 0, false },
	{ "bad_named_data", bad_named_data, 20000, 0, false },
	{ "damaged_table", damaged_table, 20000, 0, false },
	{ "damaged_removed", damaged_removed, 20000, 0, false },
	{ "damaged_removed_background", damaged_removed, 20000, 0, true },
};

int main(int argc, char **argv)
{
	alarm(100);
	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
