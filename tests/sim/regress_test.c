/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bugs that were found in the store once, each with a test of its own.
 *
 *   regress_test [NAME]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fiber.h"
#include "base/loop.h"
#include "fs/format.h"
#include "rig.h"

/* ---- the log's ring ------------------------------------------------------------------------- */

#define RING_WRITE 16384

/*
 * Batches that nobody waits for stay in memory.  A checkpoint gives the space that they have in
 * the ring to others; they must not be written there any more, least of all beside the new ones.
 */
static void ring_reused(struct rig *r)
{
	struct fs_id id = rig_create(r, "f");
	unsigned n = 0;

	rig_stable(r);
	for (unsigned round = 0; round < 12; round++) {
		for (unsigned i = 0; i < 12; i++, n++)
			rig_write_quiet(r, id, (n % 16) * RING_WRITE, RING_WRITE, n + 1);
		sim_ok(fs_checkpoint(r->fs));
	}
	for (unsigned i = 0; i < 20; i++, n++)
		rig_write_quiet(r, id, (n % 16) * RING_WRITE, RING_WRITE, n + 1);
	rig_stable(r);
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
	for (unsigned i = n - 16; i < n; i++)
		rig_expect(r, id, (i % 16) * RING_WRITE, RING_WRITE, i + 1);
}

/* ---- flushes that fail ------------------------------------------------------------------------ */

#define FLUSH_WRITE 65536		/* large enough to be written beside the log */
static struct { struct fs_id id; uint64_t acked, n; bool over; } fl;

static void write_on(void *arg)
{
	struct rig *r = arg;
	struct iovec iov = { test_alloc(FLUSH_WRITE), FLUSH_WRITE };

	memset(iov.iov_base, 7, FLUSH_WRITE);
	for (unsigned i = 0; i < 60 && !fl.over; i++) {
		memcpy(iov.iov_base, &(uint64_t){ ++fl.n }, sizeof(fl.n));
		if (fs_write(&r->req, fl.id, 0, &iov, 1, FLUSH_WRITE, true, NULL) ||
		    fs_wait_stable(r->fs, r->req.stable_seq))
			break;
		fl.acked = fl.n;
	}
	fl.over = true;
	free(iov.iov_base);
}

static void checkpoint_on(void *arg)
{
	struct rig *r = arg;

	while (!fl.over && !fs_checkpoint(r->fs))
		loop_sleep_ns(10000);
	fl.over = true;
}

/* A checkpoint and the log flush at the same time.  One of the two fails and has lost what the other
 * wrote: neither may be counted as durable. */
static void flush_beside_flush(struct rig *r)
{
	static void (*const fns[])(void *) = { write_on, checkpoint_on };

	fl.id = rig_create(r, "f");
	rig_write_number(r, fl.id, 0, 0);
	for (unsigned nth = 1; nth <= 40; nth++) {
		struct dev_sim_fault f = { .kind = DEV_SIM_FAIL, .ops = DEV_SIM_OP(DEV_FLUSH), .nth = nth };
		uint64_t got;

		rig_stable(r);
		fl.over = false;
		sim_ok(dev_sim_inject(r->dev, &f));
		fl.acked = 0;
		rig_parallel(r, fns, 2);
		loop_sleep_ns(20000000);	/* what is still under way goes on */
		dev_sim_clear_faults(r->dev);
		rig_power_cut(r, DEV_SIM_CUT_DROP, nth);
		got = rig_read_number(r, fl.id, 0);
		sim_check(got >= fl.acked && got <= fl.n, "flush %u failed: %llu is there, %llu was acknowledged",
			  nth, (unsigned long long)got, (unsigned long long)fl.acked);
		fl.n = got;
	}
}

/* ---- ranges ------------------------------------------------------------------------------------- */

#define MIB (1 << 20)

static void expect_mapped(struct rig *r, struct fs_id id, uint64_t blocks)
{
	struct fs_attr a;

	sim_ok(fs_getattr(&r->req, id, &a));
	sim_check(a.mapped_bytes == blocks * 4096, "%llu blocks are mapped, not %llu",
		  (unsigned long long)a.mapped_bytes / 4096, (unsigned long long)blocks);
}

/* Leaves were counted twice where they had to be shared one by one. */
static void range_of_leaves(struct rig *r)
{
	struct fs_id src = rig_create(r, "src"), dst = rig_create(r, "dst");

	rig_write(r, src, 0, MIB, 1);
	rig_write(r, dst, 0, 65536, 2);
	sim_ok(fs_clone_range(&r->req, src, 4096, dst, 32768, 65536, NULL));
	expect_mapped(r, dst, 8 + 16);
}

/* A subtree that nobody has read becomes a whole tree, which then has to grow: how many of its leaves are
 * mapped must be known then. */
static void range_grows(struct rig *r)
{
	struct fs_id src = rig_create(r, "src"), dst = rig_create(r, "dst");

	for (uint64_t i = 0; i < 6; i++)
		rig_write(r, src, i * MIB, MIB, 1);
	rig_reopen(r);
	sim_ok(fs_clone_range(&r->req, src, 2 * MIB, dst, 0, 2 * MIB + 40960, NULL));
	expect_mapped(r, dst, 512 + 10);
	rig_reopen(r);			/* the counts in the index blocks are checked */
}

/* A subtree takes the place of a tree that is smaller. */
static void range_onto_small(struct rig *r)
{
	struct fs_id src = rig_create(r, "src"), dst = rig_create(r, "dst");

	for (unsigned i = 0; i < 6; i++)
		rig_write(r, src, i * MIB, MIB, 1);
	rig_write(r, dst, 0, 4096, 2);
	rig_stable(r);
	sim_ok(fs_clone_range(&r->req, src, 2 * MIB, dst, 0, 2 * MIB, NULL));
	expect_mapped(r, dst, 512);
	rig_truncate(r, src, 0);
	rig_stable(r);
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
	expect_mapped(r, dst, 512);
}

/* Each piece was thought to need a path of its own. */
static void range_onto_nothing(struct rig *r)
{
	struct fs_id src = rig_create(r, "src"), dst = rig_create(r, "dst");

	for (unsigned i = 0; i < 24; i++)
		rig_write(r, src, i * MIB, MIB, 1);
	sim_ok(fs_clone_range(&r->req, src, 4096, dst, 0, 20 * MIB, NULL));
	expect_mapped(r, dst, 20 * 256);
}

/* ---- memory ------------------------------------------------------------------------------------ */

static int clone_many(struct rig *r, struct fs_id src, unsigned first, unsigned n)
{
	char (*text)[24] = test_alloc(n * sizeof(*text));
	struct fs_name *names = test_alloc(n * sizeof(*names));
	uint32_t bad;
	int rc;

	for (unsigned i = 0; i < n; i++) {
		snprintf(text[i], sizeof(text[i]), "clone-of-it-%09u", first + i);
		names[i] = (struct fs_name){ text[i], strlen(text[i]) };
	}
	rc = fs_clone(&r->req, src, r->root, names, n, &bad, NULL);
	free(names);
	free(text);
	return rc;
}

/* One operation that needs more of the cache than there is: an error, not for ever a new try. */
static void needs_all_memory(struct rig *r)
{
	struct fs_id id = rig_create(r, "f");
	unsigned n = 0;
	int rc;

	rig_write(r, id, 0, 4096, 1);
	while (!(rc = clone_many(r, id, n, 4000)))
		n += 4000;
	sim_check(rc == -E2BIG && n >= 40000, "%u clones, then %s", n, sim_err(rc));
	rig_stable(r);
	rig_reopen(r);
	sim_check(rig_count(r) == n + 1, "%u names, not %u", rig_count(r), n + 1);
	sim_ok(clone_many(r, id, n, 100));
	rig_expect(r, id, 0, 4096, 1);
}

static struct fs_id large_file;

static void read_all(void *arg)
{
	struct rig *r = arg;
	struct fs_read *x = test_alloc(sizeof(*x));

	for (uint64_t i = 0; i < 24; i++) {
		sim_ok(fs_read(&r->req, large_file, (i << 20) + 512, 1 << 20, x));
		loop_sleep_ns(1000000);
		fs_read_done(r->fs, x);
	}
	free(x);
}

/* They ask for three times the cache at once, and hold what they got for a while. */
static void many_readers(struct rig *r)
{
	void (*fns[48])(void *);

	for (unsigned i = 0; i < 48; i++)
		fns[i] = read_all;
	large_file = rig_create(r, "f");
	for (uint64_t i = 0; i < 25; i++)
		rig_write(r, large_file, i << 20, 1 << 20, i + 1);
	rig_reopen(r);
	rig_parallel(r, fns, 48);
}

/* ---- discarding -------------------------------------------------------------------------------- */

/* A disk that keeps one read waiting until it is told to let go. */
static struct { struct dev *under; struct dev_io *held; bool armed; unsigned discards; } slow;

static void slow_submit(struct dev *d, struct dev_io *io)
{
	if (slow.armed && io->op == DEV_READ && io->nblocks > 16) {
		slow.armed = false;
		slow.held = io;
		return;
	}
	slow.discards += io->op == DEV_DISCARD;
	dev_submit(slow.under, io);
}

static void slow_close(struct dev *d)
{
}

static void read_slowly(void *arg)
{
	struct rig *r = arg;
	struct fs_read *x = test_alloc(sizeof(*x));
	struct fs_id id = rig_find(r, "read");
	int rc;

	slow.armed = true;
	rc = fs_read(&r->req, id, 0, MIB, x);
	sim_check(!rc || rc == -ESTALE, "a read of what is removed meanwhile: %s", sim_err(rc));
	if (!rc)
		fs_read_done(r->fs, x);
	free(x);
}

static void remove_meanwhile(void *arg)
{
	struct rig *r = arg;

	for (unsigned i = 0; i < 1000 && !slow.held; i++)
		loop_sleep_ns(100000);
	sim_check(slow.held, "nothing was read");
	rig_remove(r, "read");
	rig_remove(r, "other");
	sim_ok(fs_reap_all(r->fs));
	sim_ok(fs_checkpoint(r->fs));
	for (unsigned i = 0; i < 1000 && !slow.discards; i++)
		loop_sleep_ns(100000);
	loop_sleep_ns(20000000);
	sim_check(slow.discards, "nothing was discarded");
	dev_submit(slow.under, slow.held);
}

/* What is being read is not discarded under the read. */
static void discard_beside_read(struct rig *r)
{
	static const struct dev_ops ops = { .submit = slow_submit, .close = slow_close };
	static void (*const fns[])(void *) = { read_slowly, remove_meanwhile };
	struct dev dev = { .ops = &ops, .nblocks = r->dev->nblocks, .name = "slow disk",
			   .can_discard = true };
	struct fs_status st;

	rig_write(r, rig_create(r, "read"), 0, MIB, 1);
	for (unsigned i = 0; i < 4; i++)
		rig_write(r, i ? rig_find(r, "other") : rig_create(r, "other"), i * MIB, MIB, 2);
	sim_ok(fs_close(r->fs));
	slow.under = r->dev;
	r->dev = &dev;
	rig_open(r);
	rig_parallel(r, fns, 2);
	fs_status(r->fs, &st);
	sim_check(!st.checksum_errors, "%llu checksum errors", (unsigned long long)st.checksum_errors);
	sim_ok(fs_close(r->fs));
	r->dev = slow.under;
	rig_open(r);
}

/* ---- zones -------------------------------------------------------------------------------------- */

static bool dir_under_way;

static void see_dir_write(void *arg, struct dev *d, const struct dev_io *io)
{
	dir_under_way |= io->op == DEV_WRITE && io->block >= 4 && io->block < 8;
}

static void checkpoint_once(void *arg)
{
	struct rig *r = arg;

	rig_create(r, "g");
	sim_ok(fs_checkpoint(r->fs));
}

static void enter_zone(void *arg)
{
	struct rig *r = arg;

	for (unsigned i = 0; i < 100000 && !dir_under_way; i++)
		loop_sleep_ns(1000);
	sim_check(dir_under_way, "no zone directory was written");
	rig_write_quiet(r, rig_find(r, "f"), 0, 4096, 1);
}

/* The first block of a zone is given out while a checkpoint writes the zone directory: what lands
 * on the disk must be what the superblock vouches for. */
static void zone_beside_checkpoint(struct rig *r)
{
	static void (*const fns[])(void *) = { checkpoint_once, enter_zone };

	rig_create(r, "f");
	dir_under_way = false;
	dev_sim_on_submit(r->dev, see_dir_write, NULL);
	rig_parallel(r, fns, 2);
	dev_sim_on_submit(r->dev, NULL, NULL);
	rig_stable(r);
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
	rig_expect(r, rig_find(r, "f"), 0, 4096, 1);
}

/* ---- what others did ------------------------------------------------------------------------------ */

static const struct fs_name name_f = { "f", 1 }, name_g = { "g", 1 };

/* A request that finds done what it asks for, by somebody who hasn't waited for the log yet: its
 * answer promises that it stays so. */
static void done_by_another(struct rig *r)
{
	struct fs_id id = rig_create(r, "f");
	struct fs_req other;
	struct fs_attr a;

	rig_stable(r);
	sim_ok(fs_link(&r->req, id, r->root, name_g, false, NULL, NULL));
	fs_req_admin(&other, r->fs);
	sim_ok(fs_rename(&other, r->root, name_f, r->root, name_g, NULL, NULL));
	sim_ok(fs_wait_stable(r->fs, other.stable_seq));
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
	sim_ok(fs_lookup(&r->req, r->root, name_g, &a, NULL));

	rig_write(r, id, 0, 65536, 1);
	rig_stable(r);
	rig_truncate(r, id, 0);
	fs_req_admin(&other, r->fs);
	sim_ok(fs_punch(&other, id, 0, 65536, NULL));
	sim_ok(fs_wait_stable(r->fs, other.stable_seq));
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
	sim_ok(fs_getattr(&r->req, id, &a));
	sim_check(!a.size, "%llu bytes are back", (unsigned long long)a.size);
}

/* ---- labels ---------------------------------------------------------------------------------------- */

/* A copy of the superblock that can't be read is like one that is torn: the other serves, and it is
 * written again. */
static void unreadable_label(struct rig *r)
{
	for (uint64_t slot = 0; slot < 2; slot++) {
		struct dev_sim_fault f = { .kind = DEV_SIM_FAIL, .ops = DEV_SIM_OP(DEV_READ),
					   .for_good = true, .first_block = slot, .nblocks = 1 };
		struct fs_id id = rig_create(r, slot ? "g" : "f");

		rig_stable(r);
		sim_ok(fs_close(r->fs));
		sim_ok(dev_sim_inject(r->dev, &f));
		rig_open(r);
		dev_sim_clear_faults(r->dev);
		rig_write(r, id, 0, 4096, 1);
	}
}

/* A smaller pool where a larger one was: the label at the end of the device is not its own. */
static void smaller_pool(struct rig *r)
{
	struct fs_format_opts o = { .nblocks = r->dev->nblocks / 2, .uuid = { 2 } };

	sim_ok(fs_close(r->fs));
	sim_ok(fs_format(r->dev, &o));
	rig_open(r);
}

/* ---- opening ----------------------------------------------------------------------------------- */

/* A disk that refuses all that comes after a superblock: the daemon was killed there. */
static struct { struct dev *under; bool armed, super, dead; uint64_t acked; } dying;

static void dying_submit(struct dev *d, struct dev_io *io)
{
	bool super = io->op == DEV_WRITE && (io->block < 2 || io->block >= d->nblocks - 2);

	dying.super |= dying.armed && super;
	dying.dead |= dying.super && !super;
	if (dying.dead)
		dev_io_complete(io, -EIO);
	else
		dev_submit(dying.under, io);
}

/* What lies on the medium at each of the recovery's requests, if the power goes there. */
struct outcomes { struct dev_sim_image *images[600]; unsigned n; };

static void take_outcomes(void *arg, struct dev *d, const struct dev_io *io)
{
	struct outcomes *o = arg;

	for (unsigned i = 0; io->op == DEV_FLUSH && i < 60 && o->n < 600; i++, o->n++)
		o->images[o->n] = dev_sim_crash_image(d, DEV_SIM_CUT_RANDOM, o->n, NULL);
}

/* Operations of the next generation: the recovery has something to replay, and to write. */
static void numbers_fn(void *arg)
{
	struct rig *r = arg;
	struct fs_id id = rig_find(r, "a");

	for (uint64_t i = 1; i < 100 && !dying.dead; i++) {
		struct iovec iov = { &i, sizeof(i) };

		if (!fs_write(&r->req, id, 2 * MIB + i * 4096, &iov, 1, sizeof(i), true, NULL) &&
		    !fs_wait_stable(r->fs, fs_last_seq(r->fs)))
			dying.acked = i;
	}
}

static void doomed_checkpoint_fn(void *arg)
{
	struct rig *r = arg;

	dying.armed = true;
	sim_check(fs_checkpoint(r->fs), "a checkpoint without its last flush");
}

static void kill_at_superblock(struct rig *r)
{
	static void (*const fns[])(void *) = { doomed_checkpoint_fn, numbers_fn };
	static const struct dev_ops ops = { .submit = dying_submit, .close = slow_close };
	struct dev dev = { .ops = &ops, .nblocks = r->dev->nblocks, .name = "dying disk" };

	sim_ok(fs_close(r->fs));
	dying.under = r->dev;
	dying.armed = dying.super = dying.dead = false;
	r->dev = &dev;
	rig_open(r);
	rig_write(r, rig_find(r, "a"), 0, MIB, 2);
	rig_remove(r, "b");
	rig_stable(r);
	rig_parallel(r, fns, 2);
	sim_check(dying.dead && dying.acked, "no superblock was written, or nothing beside it");
	fs_abandon(r->fs);
	r->dev = dying.under;
}

/*
 * A superblock that only the disk's cache has is not one to build on: if the power goes once the
 * recovery has written over what the one before it needs, none is left.
 */
static void unflushed_superblock(struct rig *r)
{
	struct outcomes *o = test_alloc(sizeof(*o));

	rig_write(r, rig_create(r, "a"), 0, MIB, 1);
	rig_write(r, rig_create(r, "b"), 0, MIB, 1);
	kill_at_superblock(r);
	dev_sim_on_submit(r->dev, take_outcomes, o);
	rig_open(r);
	dev_sim_on_submit(r->dev, NULL, NULL);
	sim_check(o->n, "the recovery flushed nothing");
	for (unsigned i = 0; i < o->n; i++) {
		struct rig c = { .cfg = r->cfg, .dev = sim_disk_open(0, i, o->images[i]) };
		struct fs_status st;

		dev_sim_image_put(o->images[i]);
		sim_fsck_cut(c.dev, "after a kill and a power cut");
		rig_open(&c);
		fs_status(c.fs, &st);
		sim_check(!st.readonly, "outcome %u: %s", i, st.reason);
		rig_expect(&c, rig_find(&c, "a"), 0, MIB, 2);
		for (uint64_t k = 1; k <= dying.acked; k++)
			sim_check(rig_read_number(&c, rig_find(&c, "a"), 2 * MIB + k * 4096) == k,
				  "outcome %u: write %u is lost", i, (unsigned)k);
		sim_ok(fs_close(c.fs));
		dev_close(c.dev);
	}
	free(o);
}

/* A damaged block of inodes: the directory is listed all the same, those inodes by their names alone. */
static void damaged_inodes(struct rig *r)
{
	enum { N = 60, SIZE = 7654321 };
	static struct inode inodes[INODES_PER_BLOCK];
	struct fs_dirlist list = { .cap = 8192 };
	unsigned names = 0, without = 0;
	uint64_t cookie = 2, at = 0;
	bool found = false;

	rig_fill(r, N);
	rig_truncate(r, rig_create(r, "damaged"), SIZE);
	sim_ok(fs_close(r->fs));
	for (; !found && at < r->dev->nblocks; at += !found) {
		dev_sim_peek(r->dev, at, inodes);
		for (unsigned k = 0; k < INODES_PER_BLOCK; k++)
			found |= inodes[k].type == FS_REG && inodes[k].size == SIZE;
	}
	sim_check(found, "the inode isn't found");
	dev_sim_flip_bit(r->dev, at, 5);
	rig_open(r);
	list.buf = test_alloc(list.cap);
	while (!list.eof) {
		const struct fs_dirent *e = list.buf;

		sim_ok(fs_readdir(&r->req, r->root, cookie, true, &list));
		for (unsigned i = 0; i < list.n; i++, e = fs_dirent_next(e)) {
			names++;
			without += e->attr.type == FS_FREE;
			sim_check(e->cookie > cookie, "cookies don't rise");
			cookie = e->cookie;
		}
	}
	sim_check(names == N + 1, "%u names", names);
	sim_check(without && without <= INODES_PER_BLOCK, "%u names without attributes", without);
	free(list.buf);
	sim_ok(fs_close(r->fs));
	dev_sim_flip_bit(r->dev, at, 5);
	rig_open(r);
}

static const struct rig_test tests[] = {
	{ "ring_reused", ring_reused, 5000, 0, false },
	{ "flush_beside_flush", flush_beside_flush, 20000, 0, false },
	{ "range_of_leaves", range_of_leaves, 20000, 0, false },
	{ "range_grows", range_grows, 20000, 0, false },
	{ "range_onto_small", range_onto_small, 20000, 0, false },
	{ "range_onto_nothing", range_onto_nothing, 20000, 0, false },
	{ "needs_all_memory", needs_all_memory, 200000, 0, false },
	{ "discard_beside_read", discard_beside_read, 20000, 0, true },
	{ "zone_beside_checkpoint", zone_beside_checkpoint, 8 * 262144, 0, false },
	{ "done_by_another", done_by_another, 20000, 0, false },
	{ "unreadable_label", unreadable_label, 20000, 0, false },
	{ "smaller_pool", smaller_pool, 20000, 0, false },
	{ "unflushed_superblock", unflushed_superblock, 8192, 0, false },
	{ "damaged_inodes", damaged_inodes, 20000, 0, false },
	{ "many_readers", many_readers, 20000, 0, false },
};

int main(int argc, char **argv)
{
	alarm(100);		/* virtual time stands still where fibers spin */
	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
