/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deduplication: while writing, and in the background.
 *
 *   dedup_test [NAME]
 *
 * What is equal becomes one block, what only looks equal doesn't, and what others share stays shared;
 * through kills, small memories, full pools, bad sectors, low limits of counts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc.h"
#include "base/err.h"
#include "base/fiber.h"
#include "base/loop.h"
#include "batch.h"
#include "fault_alloc.h"
#include "fs/account.h"
#include "rig.h"

#define MIB (1u << 20)

/* ---- words ------------------------------------------------------------------------------- */

static struct fs_dedup_status wait_done(struct rig *r)
{
	struct fs_dedup_status st;

	for (int i = 0; i < 100000; i++) {
		fs_dedup_status(r->fs, &st);
		if (!st.running)
			return st;
		loop_sleep_ns(1000000);
	}
	sim_fail("the job does not end: %llu of %llu bytes", (unsigned long long)st.done_bytes,
		 (unsigned long long)st.total_bytes);
}

static struct fs_dedup_status dedup(struct rig *r)
{
	struct fs_dedup_status st;

	sim_ok(fs_dedup_start(r->fs, "main", 0));
	st = wait_done(r);
	sim_check(!st.result, "the job ended with %s", sim_err(st.result));
	sim_check(st.done_bytes == st.total_bytes, "it says it is done, and is not");
	return st;
}

/* Where it stands has a file of its own from now on, which takes some blocks. */
static void begin(struct rig *r)
{
	sim_ok(fs_volume_create(&r->req, "empty", NULL));
	sim_ok(fs_dedup_start(r->fs, "empty", 0));
	wait_done(r);
}

static void expect_freed(struct rig *r, uint64_t blocks)
{
	struct fs_dedup_status st = dedup(r);

	sim_check(st.freed_bytes == blocks * MBLOCK, "%llu blocks were freed, not %llu",
		  (unsigned long long)st.freed_bytes / MBLOCK, (unsigned long long)blocks);
}

static struct fs_id file(struct rig *r, const char *name, uint32_t len, uint64_t seed)
{
	struct fs_id id = rig_create(r, name);

	for (uint32_t at = 0; at < len; at += MIB)
		rig_write_quiet(r, id, at, len - at < MIB ? len - at : MIB, seed);
	return id;
}

static void expect_file(struct rig *r, struct fs_id id, uint32_t len, uint64_t seed)
{
	for (uint32_t at = 0; at < len; at += MIB)
		rig_expect(r, id, at, len - at < MIB ? len - at : MIB, seed);
}

static struct fs_attr attr(struct rig *r, struct fs_id id)
{
	struct fs_attr a;

	sim_ok(fs_getattr(&r->req, id, &a));
	return a;
}

static struct fs_dedup_counts counts(struct rig *r)
{
	struct fs_status st;

	fs_status(r->fs, &st);
	return st.dedup;
}

static void write_bytes(struct rig *r, struct fs_id id, uint64_t offset, const void *buf, uint32_t len)
{
	struct iovec iov = { (void *)buf, len };

	sim_ok(fs_write(&r->req, id, offset, &iov, 1, len, false, NULL));
}

/* ---- the job ------------------------------------------------------------------------------ */

static void copies(struct rig *r)
{
	uint64_t before, after;
	struct fs_attr a, b;
	struct fs_id id[5];
	char name[16];

	for (unsigned i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "copy%u", i);
		id[i] = file(r, name, 3 * MIB + 5000, 1);
	}
	before = rig_free(r);
	a = attr(r, id[3]);
	expect_freed(r, 4 * 770);		/* of the last block, all bytes: behind the end are zeros */
	after = rig_free(r);
	sim_check(after >= before + 4 * 768, "only %llu blocks more are free",
		  (unsigned long long)(after - before));
	b = attr(r, id[3]);
	sim_check(a.change == b.change && a.mtime.sec == b.mtime.sec && a.mtime.nsec == b.mtime.nsec &&
		  a.mapped_bytes == b.mapped_bytes && a.size == b.size, "its attributes have changed");
	for (unsigned i = 0; i < 5; i++)
		expect_file(r, id[i], 3 * MIB + 5000, 1);
	expect_freed(r, 0);
	rig_reopen(r);
	for (unsigned i = 0; i < 5; i++)
		expect_file(r, id[i], 3 * MIB + 5000, 1);
	rig_write(r, id[2], 8192, 4096, 77);	/* and it is a copy of its own again */
	rig_expect(r, id[2], 8192, 4096, 77);
	rig_expect(r, id[1], 8192, 4096, 1);
	expect_freed(r, 0);
}

/* No data is read where CRCs differ. */
static void unlike(struct rig *r)
{
	struct fs_dedup_status st;

	file(r, "a", 3 * MIB, 1);
	file(r, "b", 3 * MIB, 2);
	st = dedup(r);
	sim_check(!st.compared_bytes && !st.freed_bytes, "it compares what has different CRCs");
}

/* Blocks that came to be zeros piece by piece. */
static void zeros(struct rig *r)
{
	struct fs_id id = file(r, "a", MIB, 1), single = file(r, "b", 4096, 1);
	uint64_t data;

	for (unsigned i = 0; i < 40; i++) {
		rig_write_quiet(r, id, (10 + i) * 4096, 2048, 0);
		rig_write_quiet(r, id, (10 + i) * 4096 + 2048, 2048, 0);
	}
	rig_write_quiet(r, single, 0, 2048, 0);
	rig_write_quiet(r, single, 2048, 2048, 0);
	sim_check(attr(r, id).mapped_bytes == MIB, "they are holes already");
	expect_freed(r, 41);
	sim_check(attr(r, id).mapped_bytes == MIB - 40 * 4096 && !attr(r, single).mapped_bytes,
		  "they have not become holes");
	sim_ok(fs_seek(&r->req, id, 0, false, &data));
	sim_check(data == 40960, "a hole at %llu", (unsigned long long)data);
	rig_expect(r, id, 40960, 40 * 4096, 0);
	rig_expect(r, id, 0, 40960, 1);
	rig_power_cut(r, DEV_SIM_CUT_KEEP, 1);
	rig_expect(r, id, 40960, 40 * 4096, 0);
	sim_check(attr(r, id).size == MIB && attr(r, single).size == 4096, "another size");
}

/* What clones share is kept, and others come to share it. */
static void clones(struct rig *r)
{
	struct fs_id golden = file(r, "golden", 2 * MIB, 1), c[4], copy;
	char name[16];
	uint64_t before;

	for (unsigned i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "clone%u", i);
		c[i] = rig_clone(r, golden, name);
	}
	copy = file(r, "copy", 2 * MIB, 1);
	expect_freed(r, 512);
	before = rig_free(r);
	expect_freed(r, 0);
	sim_check(rig_free(r) >= before, "the clones are less shared than before");
	rig_clone(r, copy, "copyclone");
	file(r, "second", 2 * MIB, 1);
	expect_freed(r, 512);
	/* The clone's index block is its own now, and its blocks are pointed to twice. */
	rig_write(r, c[0], 4096, 4096, 9);
	file(r, "third", 2 * MIB, 1);
	before = rig_free(r);
	expect_freed(r, 512);
	sim_check(rig_free(r) >= before + 510, "not much came of it");
	for (unsigned i = 1; i < 4; i++)
		expect_file(r, c[i], 2 * MIB, 1);
	rig_expect(r, c[0], 4096, 4096, 9);
	expect_file(r, rig_find(r, "copyclone"), 2 * MIB, 1);
	expect_file(r, rig_find(r, "third"), 2 * MIB, 1);
}

/* Two sets of clones of copies: nobody gains, and nobody loses. */
static void two_sets(struct rig *r)
{
	struct fs_id a = file(r, "a", MIB, 1), b = file(r, "b", MIB, 1);
	uint64_t before;

	begin(r);
	rig_clone(r, a, "a1");
	rig_clone(r, b, "b1");
	before = rig_free(r);
	expect_freed(r, 0);
	sim_check(rig_free(r) == before, "something was copied");
}

static void snapshots(struct rig *r)
{
	struct fs_id a = file(r, "a", MIB, 1), b = file(r, "b", MIB, 1), c;
	uint64_t before;

	begin(r);
	sim_ok(fs_snapshot_create(&r->req, "main", "s", NULL));
	before = rig_free(r);
	expect_freed(r, 0);
	sim_check(rig_free(r) == before, "something was copied");
	c = file(r, "c", MIB, 1);		/* of after the snapshot */
	expect_freed(r, 256);
	sim_ok(fs_snapshot_destroy(&r->req, "main", "s"));
	sim_ok(fs_reap_all(r->fs));
	expect_freed(r, 256);
	expect_file(r, a, MIB, 1);
	expect_file(r, b, MIB, 1);
	expect_file(r, c, MIB, 1);
}

/* No count goes beyond its limit: then another block leads. */
static void limit(struct rig *r)
{
	char name[16];

	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		file(r, name, 40960, 1);
	}
	expect_freed(r, 10 * 7);		/* 4, 4 and 2 pointers lead to 3 blocks */
	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		expect_file(r, rig_find(r, name), 40960, 1);
	}
}

/* Memory for few CRCs: many passes, and the same comes of it. */
static void passes(struct rig *r)
{
	struct fs_dedup_status st;

	r->cfg.dedup_leaders = 50;
	rig_reopen(r);
	for (unsigned i = 0; i < 3; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%u", i);
		file(r, name, 2 * MIB, 1);
	}
	file(r, "other", 2 * MIB, 2);
	st = dedup(r);
	sim_check(st.freed_bytes == 2 * 2 * MIB, "%llu freed", (unsigned long long)st.freed_bytes);
	sim_check(st.passes > 8, "only %llu passes", (unsigned long long)st.passes);
	st = dedup(r);
	sim_check(!st.freed_bytes && !st.compared_bytes, "there was something left");
}

/* The last four bytes of BUF become such that it has CRC, which is linear in its bits. */
static void force_crc(uint8_t buf[MBLOCK], uint32_t crc)
{
	uint32_t basis[32], bits[32], base, want, have = 0;

	memset(buf + MBLOCK - 4, 0, 4);
	base = crc32c(0, buf, MBLOCK);
	for (unsigned i = 0; i < 32; i++) {
		buf[MBLOCK - 4 + i / 8] = 1u << i % 8;
		basis[i] = crc32c(0, buf, MBLOCK) ^ base;
		bits[i] = 1u << i;
		buf[MBLOCK - 4 + i / 8] = 0;
	}
	want = base ^ crc;
	for (unsigned bit = 0; bit < 32; bit++) {
		unsigned p = bit;

		while (p < 32 && !(basis[p] >> bit & 1))
			p++;
		if (p == 32)
			continue;
		uint32_t b = basis[p], m = bits[p];

		basis[p] = basis[bit];
		bits[p] = bits[bit];
		basis[bit] = b;
		bits[bit] = m;
		for (unsigned k = 0; k < 32; k++)
			if (k != bit && basis[k] >> bit & 1) {
				basis[k] ^= b;
				bits[k] ^= m;
			}
	}
	for (unsigned bit = 0; bit < 32; bit++)
		if (want >> bit & 1)
			have ^= bits[bit];
	for (unsigned i = 0; i < 32; i++)
		buf[MBLOCK - 4 + i / 8] |= (have >> i & 1) << i % 8;
	sim_check(crc32c(0, buf, MBLOCK) == crc, "no such block");
}

static void expect_bytes(struct rig *r, struct fs_id id, uint64_t offset, const uint8_t want[MBLOCK])
{
	struct fs_read *rd = test_alloc(sizeof(*rd));

	sim_ok(fs_read(&r->req, id, offset, MBLOCK, rd));
	sim_check(rd->len == MBLOCK, "a short read");
	for (int i = 0; i < rd->niov; want += rd->iov[i++].iov_len)
		sim_check(!memcmp(rd->iov[i].iov_base, want, rd->iov[i].iov_len), "ino %llu: other bytes at %llu",
			  (unsigned long long)id.ino, (unsigned long long)offset);
	fs_read_done(r->fs, rd);
	free(rd);
}

/* Equal CRCs, unequal bytes: also as neighbours of equal ones, and as zeros. */
static void collisions(struct rig *r)
{
	struct fs_id a = rig_create(r, "a"), b = rig_create(r, "b");
	static uint8_t block[6][MBLOCK], zero[MBLOCK];
	struct fs_dedup_status st;

	for (unsigned i = 0; i < 6; i++) {
		rig_pattern(100 + i, 0, block[i], MBLOCK);
		force_crc(block[i], i == 5 ? crc32c(0, zero, MBLOCK) : 0x12345678);
	}
	for (unsigned i = 0; i < 6; i++) {
		write_bytes(r, a, i * 2 * MBLOCK, block[i], MBLOCK);
		write_bytes(r, b, i * 2 * MBLOCK, block[(i + 1) % 5], MBLOCK);
		rig_write_quiet(r, a, (i * 2 + 1) * MBLOCK, MBLOCK, 50 + i);
		rig_write_quiet(r, b, (i * 2 + 1) * MBLOCK, MBLOCK, 50 + i);
	}
	write_bytes(r, b, 100 * MBLOCK, block[5], MBLOCK);
	st = dedup(r);
	sim_check(st.differing > 3, "only %llu differed", (unsigned long long)st.differing);
	sim_check(st.freed_bytes >= 10 * MBLOCK, "%llu freed", (unsigned long long)st.freed_bytes);
	for (unsigned i = 0; i < 6; i++) {
		expect_bytes(r, a, i * 2 * MBLOCK, block[i]);
		expect_bytes(r, b, i * 2 * MBLOCK, block[(i + 1) % 5]);
		rig_expect(r, b, (i * 2 + 1) * MBLOCK, MBLOCK, 50 + i);
	}
	expect_bytes(r, b, 100 * MBLOCK, block[5]);
}

/* One file, in which the same comes again and again, at distances from one block on. */
static void periodic(struct rig *r)
{
	struct fs_id id = rig_create(r, "a");
	static uint8_t block[MBLOCK];
	unsigned at = 0;

	for (unsigned period = 1; period < 8; period++)
		for (unsigned i = 0; i < 60; i++, at++) {
			rig_pattern(200 + period * 10 + i % period, 0, block, MBLOCK);
			write_bytes(r, id, (uint64_t)at * MBLOCK, block, MBLOCK);
		}
	expect_freed(r, 7 * 60 - 28);
	at = 0;
	for (unsigned period = 1; period < 8; period++)
		for (unsigned i = 0; i < 60; i++, at++) {
			rig_pattern(200 + period * 10 + i % period, 0, block, MBLOCK);
			expect_bytes(r, id, (uint64_t)at * MBLOCK, block);
		}
}

static void life(struct rig *r)
{
	struct fs_dedup_status st;
	uint64_t rate = 3000000;

	fs_dedup_status(r->fs, &st);
	sim_check(!st.started_ns && !st.running, "there was one");
	sim_check(fs_dedup_start(r->fs, "none", 0) == -ENOENT, "a volume that isn't there");
	sim_check(fs_dedup_stop(r->fs) == -ENOENT, "nothing runs");
	for (unsigned i = 0; i < 3; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%u", i);
		file(r, name, 4 * MIB, 1);
	}
	sim_ok(fs_dedup_start(r->fs, "main", rate));
	sim_check(fs_dedup_start(r->fs, "main", rate) == -EBUSY, "two at once");
	loop_sleep_ns(500000000);
	sim_ok(fs_dedup_stop(r->fs));
	fs_dedup_status(r->fs, &st);
	sim_check(st.result == -EINTR && !st.running && st.compared_bytes > rate / 10 &&
		  st.compared_bytes < rate * 2, "%llu bytes were compared in half a second",
		  (unsigned long long)st.compared_bytes);
	rig_reopen(r);
	sim_ok(fs_dedup_resume(r->fs));
	fs_dedup_status(r->fs, &st);
	sim_check(!st.running && st.result == -EINTR && !strcmp(st.volume, "main"), "it goes on though stopped");

	sim_ok(fs_dedup_start(r->fs, "main", rate));
	loop_sleep_ns(300000000);
	rig_reopen(r);
	sim_ok(fs_dedup_resume(r->fs));
	st = wait_done(r);
	sim_check(!st.result && st.rate == rate, "it did not go on");
	expect_freed(r, 0);
	/* Its volume goes under its hands. */
	sim_ok(fs_volume_clone(&r->req, "main", NULL, "gone", NULL));
	sim_ok(fs_dedup_start(r->fs, "gone", 1));
	loop_sleep_ns(100000000);
	sim_ok(fs_volume_destroy(&r->req, "gone"));
	sim_ok(fs_dedup_stop(r->fs));
}

/* What comes to be shared when it is known as a candidate already stays where it is. */
static void raced(struct rig *r, bool whole)
{
	struct fs_dedup_status st;
	struct fs_id b, c;

	file(r, "a", 6 * MIB, 1);
	b = file(r, "b", 6 * MIB, 1);
	sim_ok(fs_dedup_start(r->fs, "main", 8 * MIB));
	do {
		loop_sleep_ns(1000000);
		fs_dedup_status(r->fs, &st);
	} while (st.running && st.freed_bytes < MIB);
	sim_check(st.running && st.freed_bytes < 5 * MIB, "too fast");
	if (whole) {
		c = rig_clone(r, b, "c");
	} else {			/* block by block, since the places don't match */
		c = rig_create(r, "c");
		sim_ok(fs_clone_range(&r->req, b, 0, c, 4096, 6 * MIB, NULL));
	}
	st = wait_done(r);
	sim_check(!st.result && st.kept_bytes && st.freed_bytes < 5 * MIB &&
		  st.freed_bytes + st.kept_bytes == 6 * MIB, "%llu freed, %llu left as they are",
		  (unsigned long long)st.freed_bytes, (unsigned long long)st.kept_bytes);
	expect_file(r, b, 6 * MIB, 1);
	if (whole)
		expect_file(r, c, 6 * MIB, 1);
}

static void raced_clone(struct rig *r) { raced(r, true); }
static void raced_range(struct rig *r) { raced(r, false); }

/* Passes that are done are not done again. */
static void resumed(struct rig *r)
{
	struct fs_dedup_status st;

	r->cfg.dedup_leaders = 40;
	rig_reopen(r);
	file(r, "a", 2 * MIB, 1);
	file(r, "b", 2 * MIB, 1);
	sim_ok(fs_dedup_start(r->fs, "main", 2 * MIB));
	do {
		loop_sleep_ns(10000000);
		fs_dedup_status(r->fs, &st);
	} while (st.passes < 6 && st.running);
	sim_check(st.running, "too fast");
	rig_reopen(r);
	sim_ok(fs_dedup_resume(r->fs));
	fs_dedup_status(r->fs, &st);
	sim_check(st.running && st.passes >= 6 && st.done_bytes > 0, "it begins again");
	st = wait_done(r);
	sim_check(st.freed_bytes == 2 * MIB, "%llu freed in all", (unsigned long long)st.freed_bytes);
}

/* What is a candidate still has not been looked over; and a crash in the first pass begins with it again. */
static void killed_early(struct rig *r)
{
	const uint64_t rate = 4 * MIB;
	struct fs_dedup_status st;

	file(r, "a", 4 * MIB, 1);
	file(r, "b", 4 * MIB, 1);
	sim_ok(fs_dedup_start(r->fs, "main", rate));
	do {
		loop_sleep_ns(10000000);
		fs_dedup_status(r->fs, &st);
	} while (st.running && st.freed_bytes < MIB);
	sim_check(st.running && !st.passes, "too fast");
	sim_check(st.done_bytes >= 4 * MIB && st.done_bytes < 6 * MIB, "%llu bytes are looked over",
		  (unsigned long long)st.done_bytes);
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
	sim_ok(fs_dedup_resume(r->fs));
	fs_dedup_status(r->fs, &st);
	sim_check(st.running && st.rate == rate && !strcmp(st.volume, "main"), "it is forgotten");
	st = wait_done(r);
	sim_check(!st.result && st.done_bytes == st.total_bytes, "it did not end well");
	expect_freed(r, 0);
}

static void killed(struct rig *r)
{
	struct fs_id id[4];
	char name[16];

	for (unsigned i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		id[i] = file(r, name, 2 * MIB, 1);
	}
	for (uint64_t i = 0; i < 30; i++) {
		sim_ok(fs_dedup_start(r->fs, "main", 0));
		loop_sleep_ns(1000000 + i * 3000000);
		rig_write(r, id[i % 4], i % 8 * 65536, i % 2 ? 4096 : 65536, 1 + i % 3);
		rig_write(r, id[i % 4], i % 8 * 65536, i % 2 ? 4096 : 65536, 1);
		rig_stable(r);
		rig_power_cut(r, i % 3, i);
		for (unsigned k = 0; k < 4; k++)
			expect_file(r, id[k], 2 * MIB, 1);
	}
	dedup(r);
	for (unsigned k = 0; k < 4; k++)
		expect_file(r, id[k], 2 * MIB, 1);
}

static void bad_sector(struct rig *r)
{
	struct dev_sim_fault f = { .kind = DEV_SIM_FAIL, .ops = DEV_SIM_OP(DEV_READ), .for_good = true,
				   .nblocks = 1 };
	struct fs_id a = file(r, "a", MIB, 1), b = file(r, "b", MIB, 1);
	uint8_t want[MBLOCK], got[MBLOCK];
	struct fs_dedup_status st;

	rig_reopen(r);
	rig_pattern(1, 77 * MBLOCK, want, MBLOCK);
	while (dev_sim_peek(r->dev, f.first_block, got), memcmp(got, want, MBLOCK))
		f.first_block++;
	sim_ok(dev_sim_inject(r->dev, &f));
	st = dedup(r);
	sim_check(st.unreadable && st.freed_bytes >= 128 * MBLOCK, "%llu unreadable, %llu freed",
		  (unsigned long long)st.unreadable, (unsigned long long)st.freed_bytes);
	dev_sim_clear_faults(r->dev);
	expect_file(r, a, MIB, 1);
	expect_file(r, b, MIB, 1);
}

/* A pool that is full of copies has room again. */
static void full(struct rig *r)
{
	uint8_t *buf = test_alloc(MIB);
	struct iovec iov = { buf, MIB };
	struct fs_id id = rig_create(r, "big");
	unsigned n = 0;

	for (;; n++) {
		rig_pattern(n % 4 + 1, 0, buf, MIB);
		if (fs_write(&r->req, id, (uint64_t)n * MIB, &iov, 1, MIB, false, NULL))
			break;
	}
	sim_check(n > 8, "it was full at once");
	dedup(r);
	sim_check(rig_free(r) > (n - 5) * 256, "%llu blocks are free", (unsigned long long)rig_free(r));
	for (unsigned i = 0; i < 4; i++) {
		rig_pattern(9, 0, buf, MIB);
		sim_ok(fs_write(&r->req, id, (uint64_t)(n + i) * MIB, &iov, 1, MIB, true, NULL));
	}
	free(buf);
}

/* ---- while writing -------------------------------------------------------------------------- */

static void on(struct rig *r)
{
	sim_ok(fs_volume_set_dedup(&r->req, "main", true));
}

static void written(struct rig *r)
{
	struct fs_id a, b, c;
	uint64_t before;

	a = file(r, "before", MIB, 7);		/* off: nobody knows it */
	on(r);
	b = file(r, "a", 2 * MIB, 1);
	before = rig_free(r);
	c = file(r, "b", 2 * MIB, 1);
	sim_check(counts(r).found_blocks == 512 && counts(r).written_blocks == 1024, "%llu of %llu found",
		  (unsigned long long)counts(r).found_blocks, (unsigned long long)counts(r).written_blocks);
	sim_check(rig_free(r) + 8 >= before, "%llu blocks were used",
		  (unsigned long long)(before - rig_free(r)));
	file(r, "again", MIB, 7);
	sim_check(counts(r).found_blocks == 512, "it knows what was written before");
	for (unsigned i = 0; i < 20; i++)	/* in records; the same where it is */
		rig_write_quiet(r, c, i * 8192, 8192, 1);
	sim_check(counts(r).found_blocks == 512 + 40, "small writes are not found");
	rig_write_quiet(r, c, 0, 40960, 3);
	expect_file(r, b, 2 * MIB, 1);
	rig_expect(r, c, 0, 40960, 3);
	rig_expect(r, c, 40960, MIB - 40960, 1);
	rig_truncate(r, b, 0);			/* where it was found is no more */
	rig_write_quiet(r, b, 0, MIB, 1);
	expect_file(r, b, MIB, 1);
	rig_reopen(r);
	expect_file(r, a, MIB, 7);
	expect_file(r, b, MIB, 1);
	rig_expect(r, c, MIB, MIB, 1);
}

/* A write whose duplicates are where it writes. */
static void onto_itself(struct rig *r)
{
	struct fs_id id = rig_create(r, "a");
	uint8_t *buf = test_alloc(MIB);

	on(r);
	for (int shift = -7; shift <= 9; shift++) {
		uint32_t n = 64 * MBLOCK, from = 20 * MBLOCK, to = from + shift * MBLOCK;
		uint64_t found;

		rig_pattern(30 + shift, 0, buf, n);
		write_bytes(r, id, from, buf, n);
		found = counts(r).found_blocks;
		write_bytes(r, id, to, buf, n);
		sim_check(counts(r).found_blocks == found + 64, "shift %d: %llu found", shift,
			  (unsigned long long)(counts(r).found_blocks - found));
		for (unsigned i = 0; i < 64; i++)
			expect_bytes(r, id, to + i * MBLOCK, buf + i * MBLOCK);
		rig_stable(r);
		rig_power_cut(r, DEV_SIM_CUT_DROP, shift + 10);
		for (unsigned i = 0; i < 64; i++)
			expect_bytes(r, id, to + i * MBLOCK, buf + i * MBLOCK);
	}
	free(buf);
}

/* Pieces of what was written, at other places, with something else between them, misaligned in memory. */
static void mixed(struct rig *r)
{
	struct fs_id a = rig_create(r, "a"), b = rig_create(r, "b");
	uint8_t *buf = test_alloc(MIB), *mix = test_alloc(MIB);
	uint64_t found = 0;
	struct rng g;

	on(r);
	rng_init(&g, 5);
	rig_pattern(1, 0, buf, MIB);
	write_bytes(r, a, 0, buf, MIB);
	for (unsigned round = 0; round < 60; round++) {
		uint32_t n = rng_range(&g, 1, 200), head = round % 3 ? 0 : rng_below(&g, MBLOCK);
		struct iovec iov[3] = { { mix, rng_below(&g, n * MBLOCK) } };
		uint64_t at = rng_below(&g, 300) * MBLOCK + head;

		for (uint32_t i = 0; i < n; i++)
			if (rng_one_in(&g, 4))
				rig_pattern(round + 2, i * MBLOCK, mix + i * MBLOCK, MBLOCK);
			else if (rng_one_in(&g, 8))
				memset(mix + i * MBLOCK, 0, MBLOCK);
			else
				memcpy(mix + i * MBLOCK, buf + (i * 7 + round) % 256 * MBLOCK, MBLOCK);
		iov[1] = (struct iovec){ mix + iov[0].iov_len, rng_below(&g, n * MBLOCK - iov[0].iov_len) };
		iov[2] = (struct iovec){ mix + iov[0].iov_len + iov[1].iov_len,
					 n * MBLOCK - iov[0].iov_len - iov[1].iov_len };
		sim_ok(fs_write(&r->req, b, at, iov, 3, n * MBLOCK, round % 2, NULL));
		if (round % 5 == 4) {
			found += counts(r).found_blocks;
			rig_stable(r);
			rig_power_cut(r, DEV_SIM_CUT_DROP, round);
			write_bytes(r, a, 0, buf, MIB);	/* nothing is known any more */
		}
		for (uint32_t i = 0; i < n; i++)
			expect_bytes(r, b, at + i * MBLOCK, mix + i * MBLOCK);
		write_bytes(r, a, round * MBLOCK, buf + round * MBLOCK, MBLOCK);
	}
	sim_check(found > 1000, "only %llu were found", (unsigned long long)found);
	free(buf);
	free(mix);
}

/* What would be shared can't be read: it is written. */
static void written_beside_damage(struct rig *r)
{
	struct dev_sim_fault f = { .kind = DEV_SIM_FAIL, .ops = DEV_SIM_OP(DEV_READ), .for_good = true,
				   .nblocks = 1 };
	uint8_t want[MBLOCK], got[MBLOCK];
	struct fs_id b;

	on(r);
	file(r, "a", MIB, 1);
	for (unsigned i = 0; i < 20; i++)	/* more than the cache has */
		file(r, (char[]){ 'x', 'a' + i, 0 }, MIB, 10 + i);
	sim_ok(fs_checkpoint(r->fs));
	b = rig_create(r, "b");
	sim_ok(fs_checkpoint(r->fs));
	rig_pattern(1, 0, want, MBLOCK);
	while (dev_sim_peek(r->dev, f.first_block, got), memcmp(got, want, MBLOCK))
		f.first_block++;
	sim_ok(dev_sim_inject(r->dev, &f));
	rig_write(r, b, 0, MIB, 1);
	sim_check(!counts(r).found_blocks, "it was in the cache");
	rig_expect(r, b, 0, MIB, 1);
	dev_sim_clear_faults(r->dev);
	expect_file(r, rig_find(r, "a"), MIB, 1);
}

static void written_at_limit(struct rig *r)
{
	char name[16];

	on(r);
	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		file(r, name, 409600, 1);
	}
	sim_check(counts(r).found_blocks == 100 * 7, "%llu were found",
		  (unsigned long long)counts(r).found_blocks);
	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		expect_file(r, rig_find(r, name), 409600, 1);
	}
}

/* An index with room for little still finds what was written a moment ago. */
static void small_index(struct rig *r)
{
	r->cfg.dedup_index = 64;
	rig_reopen(r);
	on(r);
	file(r, "a", 8 * MIB, 1);
	for (unsigned i = 0; i < 8; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%u", i);
		file(r, name, 40960, 2);
	}
	sim_check(counts(r).found_blocks > 40 && counts(r).found_blocks <= 70, "%llu were found",
		  (unsigned long long)counts(r).found_blocks);
}

static void settings(struct rig *r)
{
	struct fs_volume_info *v = test_alloc(sizeof(*v));

	on(r);
	rig_stable(r);
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
	sim_ok(fs_volume_find(r->fs, "main", v));
	sim_check(v->dedup, "it was not stable");
	sim_ok(fs_volume_set(&r->req, "main", "", 1000));
	sim_ok(fs_volume_set_schedule(&r->req, "main", "daily:1"));
	sim_ok(fs_volume_find(r->fs, "main", v));
	sim_check(v->dedup, "another setting took it away");
	sim_ok(fs_snapshot_create(&r->req, "main", "s", NULL));
	sim_ok(fs_volume_clone(&r->req, "main", "s", "other", v));
	sim_check(v->dedup, "the clone has it not");
	sim_ok(fs_volume_set_dedup(&r->req, "other", false));
	sim_ok(fs_volume_find(r->fs, "other", v));
	sim_check(!v->dedup, "it can't be switched off");
	sim_check(fs_volume_set_dedup(&r->req, "none", true) == -ENOENT, "a volume that isn't there");
	free(v);
}

/* Behind the last block that the index can name comes no first one. */
static void far_away(struct rig *r)
{
	const uint64_t last = UINT32_MAX * (uint64_t)MBLOCK;
	struct fs_id a = rig_create(r, "a"), b = rig_create(r, "b");
	uint8_t *buf = test_alloc(2 * MBLOCK);

	on(r);
	rig_pattern(1, 0, buf, MBLOCK);
	rig_pattern(2, 0, buf + MBLOCK, MBLOCK);
	write_bytes(r, a, 0, buf + MBLOCK, MBLOCK);
	write_bytes(r, a, last + MBLOCK, buf + MBLOCK, MBLOCK);
	write_bytes(r, a, last, buf, MBLOCK);
	rig_write_quiet(r, a, 0, MBLOCK, 3);
	write_bytes(r, b, 0, buf, 2 * MBLOCK);
	expect_bytes(r, b, 0, buf);
	expect_bytes(r, b, MBLOCK, buf + MBLOCK);
	free(buf);
}

static struct { struct rig *r; struct fs_id a, b; uint8_t *buf; int err; } starved;

static void starved_write(void *arg)
{
	struct iovec iov = { starved.buf, 16 * MBLOCK };

	fault_alloc_arm(true);
	starved.err = fs_write(&starved.r->req, starved.b, 0, &iov, 1, 16 * MBLOCK, false, NULL);
	fault_alloc_arm(false);
}

static void change_source(void *arg)
{
	fault_alloc_enter();
	rig_write_quiet(starved.r, starved.a, 0, 16 * MBLOCK, 9);
	fault_alloc_leave();
}

/* While a write waits for an index block, what it has found is overwritten; then there is no memory to look again. */
static void starved_between(struct rig *r)
{
	void (*const fns[])(void *) = { starved_write, change_source };
	bool hit = true;

	starved.r = r;
	starved.buf = test_alloc(16 * MBLOCK);
	rig_pattern(1, 0, starved.buf, 16 * MBLOCK);
	on(r);
	starved.a = rig_create(r, "a");
	starved.b = file(r, "b", MIB, 2);
	for (uint64_t n = 1; hit; n++) {
		rig_write_quiet(r, starved.b, 0, 16 * MBLOCK, 2);
		rig_reopen(r);
		write_bytes(r, starved.a, 0, starved.buf, 16 * MBLOCK);
		fault_alloc_set(n, false);
		rig_parallel(r, fns, 2);
		hit = fault_alloc_hit();
		fault_alloc_set(0, false);
		sim_check(!starved.err || (hit && starved.err == -ENOMEM), "allocation %llu: %s", (unsigned long long)n,
			  sim_err(starved.err));
		for (unsigned i = 0; i < 16 && !starved.err; i++)
			expect_bytes(r, starved.b, i * MBLOCK, starved.buf + i * MBLOCK);
		rig_expect(r, starved.a, 0, 16 * MBLOCK, 9);
	}
	sim_check(counts(r).found_blocks == 0, "it found what is no more");
	free(starved.buf);
}

/* ---- beside others ---------------------------------------------------------------------------- */

/* The exact account of the volume says SAVED by deduplication, and SHARED by clones. */
static void expect_account(struct rig *r, uint64_t saved, uint64_t shared)
{
	struct fs_account a = { .of = FS_ACCOUNT_VOLUME, .id = r->root, .exact = true };

	sim_ok(fs_account(&r->req, &a));
	sim_check(a.dedup_blocks == saved && a.mapped_blocks - a.stored.data == saved + shared,
		  "%llu blocks saved by deduplication and %llu in all, not %llu and %llu",
		  (unsigned long long)a.dedup_blocks, (unsigned long long)(a.mapped_blocks - a.stored.data),
		  (unsigned long long)saved, (unsigned long long)(saved + shared));
}

/* What deduplication saved is told from what clones share. */
static void account(struct rig *r)
{
	struct fs_id golden = file(r, "golden", MIB, 1), clone, copy[3];

	expect_account(r, 0, 0);
	clone = rig_clone(r, golden, "clone");
	expect_account(r, 0, 256);
	for (unsigned i = 0; i < 3; i++)
		copy[i] = file(r, (const char *[]){ "c0", "c1", "c2" }[i], MIB, 1);
	rig_write(r, clone, 0, 4096, 2);	/* it has an index block of its own now */
	expect_account(r, 0, 255);
	expect_freed(r, 3 * 256);
	expect_account(r, 3 * 256, 255);
	rig_write(r, copy[1], 8192, 40960, 3);
	rig_write_quiet(r, copy[2], 4096, 100, 4);
	expect_account(r, 3 * 256 - 11, 255);
	rig_remove(r, "golden");
	rig_remove(r, "clone");
	sim_ok(fs_reap_all(r->fs));
	expect_account(r, 2 * 256 - 11, 0);	/* all that is left came by it: the first of each saves nothing */
	sim_ok(fs_volume_set_dedup(&r->req, "main", true));
	file(r, "d0", MIB, 5);
	file(r, "d1", MIB, 5);
	expect_account(r, 3 * 256 - 11, 0);
	rig_stable(r);
	rig_power_cut(r, DEV_SIM_CUT_KEEP, 1);
	expect_account(r, 3 * 256 - 11, 0);
}

struct busy { struct rig *r; struct model *m; uint64_t seed; bool done; };
static struct busy both;

static void work_side(void *arg)
{
	struct batch *batch = test_alloc(sizeof(*batch));
	struct gen g;

	gen_init(&g, both.seed);
	g.users = 1;
	g.odd = g.far = false;
	g.max_write = 200000;
	batch->fs = both.r->fs;
	batch->m = both.m;
	while (!both.done) {
		batch_gen(batch, &g, 1 + both.seed % 5);
		batch_run(batch);
		g.weights[OP_WRITE] = both.m->nnodes > 100 ? 5 : 60;
		g.weights[OP_REMOVE] = both.m->nnodes > 100 ? 100 : 12;
		g.weights[OP_CLONE] = both.m->nnodes > 100 ? 0 : 12;
		loop_sleep_ns(rng_below(&g.rng, 4000000));
	}
	free(batch);
}

static void job_side(void *arg)
{
	for (int i = 0; i < 12; i++) {
		sim_ok(fs_dedup_start(both.r->fs, "busy", i % 2 ? 200000000 : 0));
		wait_done(both.r);
	}
	both.done = true;
}

static void scrub_side(void *arg)
{
	while (!both.done) {
		struct fs_scrub_status st;

		sim_ok(fs_scrub_start(both.r->fs, 0));
		do {
			loop_sleep_ns(10000000);
			fs_scrub_status(both.r->fs, &st);
		} while (st.running);
		sim_check(!st.findings && !st.result, "the scrub found something");
		loop_sleep_ns(300000000);
	}
}

/* A job, a scrub and changes at once; what came of it is what the model says. */
static void busy(struct rig *r)
{
	void (*const fns[])(void *) = { work_side, job_side, scrub_side };

	for (uint64_t seed = 1; seed < 4; seed++) {
		struct fs_volume_info *v = test_alloc(sizeof(*v));
		struct fs_attr root;

		both = (struct busy){ .r = r, .m = model_new(), .seed = seed };
		sim_ok(fs_volume_create(&r->req, "busy", v));
		sim_ok(fs_volume_set_dedup(&r->req, "busy", seed != 2));
		sim_ok(fs_getattr(&r->req, v->root, &root));
		model_add_volume(both.m, v, &root);
		free(v);
		sim_zeros_vanish = true;
		rig_parallel(r, fns, 3);
		sim_zeros_vanish = false;
		model_free(both.m);
		sim_ok(fs_volume_destroy(&r->req, "busy"));
		sim_ok(fs_reap_all(r->fs));
	}
}

static const struct rig_test tests[] = {
	{ "copies", copies, 16384, 0, true }, { "unlike", unlike, 16384, 0, true },
	{ "zeros", zeros, 16384, 0, true }, { "clones", clones, 16384, 0, true },
	{ "two_sets", two_sets, 16384, 0, true }, { "snapshots", snapshots, 16384, 0, true },
	{ "limit", limit, 16384, 4, true }, { "passes", passes, 16384, 0, true },
	{ "collisions", collisions, 16384, 0, true }, { "periodic", periodic, 16384, 0, true },
	{ "life", life, 16384, 0, true }, { "raced_clone", raced_clone, 16384, 0, true },
	{ "raced_range", raced_range, 16384, 0, true }, { "resumed", resumed, 16384, 0, true },
	{ "killed_early", killed_early, 16384, 0, true },
	{ "killed", killed, 16384, 0, true }, { "bad_sector", bad_sector, 16384, 0, true },
	{ "full", full, 12288, 0, true }, { "written", written, 16384, 0, true },
	{ "onto_itself", onto_itself, 16384, 0, true }, { "mixed", mixed, 16384, 0, true },
	{ "written_beside_damage", written_beside_damage, 24576, 0, true },
	{ "written_at_limit", written_at_limit, 16384, 4, true },
	{ "small_index", small_index, 16384, 0, true }, { "settings", settings, 16384, 0, true },
	{ "far_away", far_away, 16384, 0, true }, { "starved_between", starved_between, 16384, 0, true },
	{ "account", account, 16384, 0, true },
	{ "busy", busy, 40960, 0, true }, { "busy, counts limited to 3", busy, 40960, 3, true },
};

int main(int argc, char **argv)
{
	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
