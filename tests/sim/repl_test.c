/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replication: what is received is what was sent; what is shared travels once; whatever happens on the way,
 * nothing that is half there is ever seen.
 *
 *   repl_test [NAME]
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/loop.h"
#include "fs/account.h"
#include "fs/family.h"
#include "fs/repl.h"
#include "repl_kit.h"

#define TARGET_BLOCKS 24000
#define MARK_BYTES 60000

static void snap(struct rig *r, const char *name)
{
	sim_ok(fs_snapshot_create(&r->req, "main", name, NULL));
}

static void receive_ok(struct rig *t, const char *volume, const struct stream *s)
{
	struct receive *r;
	struct stream_token token;
	int rc;

	sim_ok(receive_open(t->fs, volume, false, &r));
	rc = repl_feed(r, s->data, s->len, 5);
	if (!rc)
		rc = receive_finish(r);
	sim_check(!rc, "receiving %s: %s", volume, receive_why(r));
	sim_check(!receive_close(r, &token), "kept, though it is done");
}

/* ---- whole volumes ---------------------------------------------------------------------------- */

/* Three states of a volume, sent whole and one after the other. */
static void round_trip(struct rig *r, uint64_t seed)
{
	struct stream s;
	struct rig t;
	struct rng rng;

	rng_init(&rng, seed);
	target_open(&t, TARGET_BLOCKS, seed);
	repl_mess(r, r->root, &rng, 60);
	snap(r, "s1");
	repl_mess(r, r->root, &rng, 25);
	snap(r, "s2");
	repl_mess(r, r->root, &rng, 3);
	snap(r, "s3");
	repl_mess(r, r->root, &rng, 2);

	repl_send(r->fs, "main", "s1", NULL, NULL, 0, &s);
	receive_ok(&t, "copy", &s);
	stream_free(&s);
	repl_same(r->fs, "main@s1", t.fs, "copy");
	repl_same(r->fs, "main@s1", t.fs, "copy@s1");
	repl_send(r->fs, "main", "s2", "s1", NULL, MARK_BYTES, &s);
	receive_ok(&t, "copy", &s);
	stream_free(&s);
	repl_same(r->fs, "main@s2", t.fs, "copy");
	rig_stable(&t);
	rig_power_cut(&t, DEV_SIM_CUT_DROP, seed);
	sim_ok(unfinished_sweep(t.fs));
	repl_same(r->fs, "main@s2", t.fs, "copy@s2");
	repl_same(r->fs, "main@s1", t.fs, "copy@s1");
	repl_send(r->fs, "main", "s3", "s2", NULL, 0, &s);
	receive_ok(&t, "copy", &s);
	stream_free(&s);
	repl_same(r->fs, "main@s3", t.fs, "copy");
	repl_send(r->fs, "main", "s3", NULL, NULL, 0, &s);
	receive_ok(&t, "other", &s);
	stream_free(&s);
	repl_same(r->fs, "main@s3", t.fs, "other@s3");
	repl_send(t.fs, "copy", "s3", "s1", NULL, 0, &s);	/* sent on from there, in one go */
	stream_free(&s);
	target_close(&t);
}

static void test_random_1(struct rig *r) { round_trip(r, 1); }
static void test_random_2(struct rig *r) { round_trip(r, 2); }
static void test_random_3(struct rig *r) { round_trip(r, 3); }
static void test_random_4(struct rig *r) { round_trip(r, 4); }

/* ---- what the target has of its own ------------------------------------------------------------ */

static void dedup(struct rig *r, const char *volume)
{
	struct fs_dedup_status st;

	sim_ok(fs_dedup_start(r->fs, volume, 0));
	do {
		loop_sleep_ns(1000000);
		fs_dedup_status(r->fs, &st);
	} while (st.running);
	sim_check(!st.result, "the job ended with %s", sim_err(st.result));
}

/* A soft limit, a reservation, a limit of what is held, deduplication, a directory with a quota, and changes in it. */
static void furnish(struct rig *t, struct rng *rng, unsigned round)
{
	const struct fs_limits limits = { 0, 10, round % 3 ? 3000 : -1, 50000 };
	struct fs_create how = { .type = FS_DIR, .how = FS_CREATE_GUARDED };
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct fs_attr a;

	sim_ok(fs_volume_limit(&t->req, "copy", &limits, NULL));
	sim_ok(fs_volume_set_dedup(&t->req, "copy", round % 2));
	sim_ok(fs_volume_find(t->fs, "copy", v));
	sim_ok(fs_create(&t->req, v->root, (struct fs_name){ "limited", 7 }, &how, &a, NULL));
	sim_ok(fs_quota_set(&t->req, a.id, 5000, 1, NULL));
	repl_mess(t, a.id, rng, 10);
	dedup(t, "copy");
	free(v);
}

/* What came was taken by nobody who is limited: that is known, and counted. */
static void expect_counted(struct rig *t, struct fs_volume_info *v)
{
	struct fs_account a = { .of = FS_ACCOUNT_VOLUME_ALL, .id = v->root, .exact = true };
	uint64_t n;

	sim_check(v->physical_blocks == 50000, "its limit is %u", (unsigned)v->physical_blocks);
	sim_ok(fs_volume_recount(&t->req, v->id, NULL));
	sim_ok(fs_account(&t->req, &a));
	sim_ok(fs_volume_find(t->fs, "copy", v));
	n = a.exclusive.data + a.exclusive.meta - a.record_blocks;
	sim_check(v->held_blocks == n && !v->held_stale, "%u blocks are held, and the account finds %u",
		  (unsigned)v->held_blocks, (unsigned)n);
}

static void expect_unlimited(struct rig *t)
{
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct fs_quota *all;
	uint32_t n;

	sim_ok(fs_volume_find(t->fs, "copy", v));
	sim_ok(fs_quota_list(&t->req, v->id, &all, &n));
	sim_check(!n && !v->quota_dirs, "%u directories have quotas still", n);
	sim_check(v->reserve_blocks == 3000, "its reservation is %u", (unsigned)v->reserve_blocks);
	expect_counted(t, v);
	free(all);
	free(v);
}

static void test_furnished(struct rig *r)
{
	char from[8] = "s0", to[8], name[16];
	struct stream s;
	struct rng rng;
	struct rig t;

	rng_init(&rng, 7);
	target_open(&t, TARGET_BLOCKS, 7);
	repl_mess(r, r->root, &rng, 60);
	snap(r, from);
	repl_send(r->fs, "main", from, NULL, NULL, 0, &s);
	receive_ok(&t, "copy", &s);
	stream_free(&s);
	for (unsigned round = 1; round < 7; round++) {
		furnish(&t, &rng, round);
		repl_mess(r, r->root, &rng, 15);
		dedup(r, "main");
		snprintf(to, sizeof(to), "s%u", round);
		snprintf(name, sizeof(name), "main@%s", to);
		snap(r, to);
		repl_send(r->fs, "main", to, from, NULL, round % 2 ? MARK_BYTES : 0, &s);
		sim_ok(repl_receive(t.fs, "copy", &s, true, NULL, NULL));
		stream_free(&s);
		if (round % 3 == 0) {
			rig_stable(&t);
			rig_power_cut(&t, DEV_SIM_CUT_DROP, round);
		} else if (round % 3 == 1) {
			rig_reopen(&t);
		}
		repl_same(r->fs, name, t.fs, "copy");
		expect_unlimited(&t);
		if (round == 5) {
			sim_ok(fs_volume_restore(&t.req, "copy", from, true));
			sim_ok(fs_volume_restore(&t.req, "copy", to, true));
		}
		strcpy(from, to);
	}
	target_close(&t);
}

static void write_blocks(struct rig *r, struct fs_id id, uint32_t blocks, uint64_t seed)
{
	for (uint32_t at = 0; at < blocks; at += 10)
		rig_write_quiet(r, id, at * MBLOCK, 10 * MBLOCK, seed);
}

/* What the target's quota limits is what the volume becomes, not what it is on the way there. */
static void test_quota(struct rig *r)
{
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct fs_id a = rig_create(r, "a"), b = rig_create(r, "b");
	struct stream s;
	struct rig t;

	target_open(&t, TARGET_BLOCKS, 8);
	write_blocks(r, b, 1000, 1);
	snap(r, "s1");
	repl_send(r->fs, "main", "s1", NULL, NULL, 0, &s);
	receive_ok(&t, "copy", &s);
	stream_free(&s);
	sim_ok(fs_volume_find(t.fs, "copy", v));
	sim_ok(fs_volume_set(&t.req, "copy", NULL, (int64_t)v->mapped_blocks + 10));
	write_blocks(r, a, 700, 2);	/* comes before the other becomes less */
	rig_truncate(r, b, 300 * MBLOCK);
	snap(r, "s2");
	repl_send(r->fs, "main", "s2", "s1", NULL, MARK_BYTES, &s);
	receive_ok(&t, "copy", &s);
	stream_free(&s);
	repl_same(r->fs, "main@s2", t.fs, "copy");
	write_blocks(r, b, 320, 3);
	snap(r, "s3");
	repl_send(r->fs, "main", "s3", "s2", NULL, MARK_BYTES, &s);
	sim_check(repl_receive(t.fs, "copy", &s, false, NULL, NULL) == -EDQUOT, "beyond the quota");
	repl_same(r->fs, "main@s2", t.fs, "copy");
	sim_ok(fs_volume_set(&t.req, "copy", NULL, 0));
	receive_ok(&t, "copy", &s);
	stream_free(&s);
	/* What is too large already may become less, and no more. */
	sim_ok(fs_volume_set(&t.req, "copy", NULL, 10));
	rig_truncate(r, b, 310 * MBLOCK);
	snap(r, "s4");
	repl_send(r->fs, "main", "s4", "s3", NULL, 0, &s);
	receive_ok(&t, "copy", &s);
	stream_free(&s);
	repl_same(r->fs, "main@s4", t.fs, "copy");
	target_close(&t);
	free(v);
}

/* ---- sharing ---------------------------------------------------------------------------------- */

static uint64_t used(struct fs *fs)
{
	struct fs_status st;
	uint64_t free_blocks = sim_free_blocks(fs);

	fs_status(fs, &st);
	return st.size_blocks - st.meta_blocks - free_blocks;
}

/* A golden image, clones of it that have changed here and there, clones of those. */
static void family(struct rig *r, unsigned n)
{
	struct fs_id golden = rig_create(r, "golden"), c;
	char name[16];

	for (unsigned i = 0; i < 8; i++)
		rig_write(r, golden, (uint64_t)i << 20, 1 << 20, 7 + i);
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "vm%u", i);
		c = rig_clone(r, i > n / 2 ? rig_find(r, "vm3") : golden, name);
		for (unsigned k = 0; k < i % 5; k++)
			rig_write(r, c, (uint64_t)(i * 37 + k * 111) % 2000 * 4096, 8192, 100 + i);
	}
}

static void shared_once(struct rig *r, const char *snapshot, const char *from, struct rig *t, uint64_t most)
{
	uint64_t before = used(t->fs), took;
	struct stream s;

	repl_send(r->fs, "main", snapshot, from, NULL, 0, &s);
	receive_ok(t, "copy", &s);
	took = used(t->fs) - before;
	sim_check(s.len <= most * 4096 * 105 / 100, "%zu bytes were sent of %llu blocks", s.len,
		  (unsigned long long)most);
	sim_check(took <= most * 105 / 100 + 40, "%llu blocks were taken by what has %llu",
		  (unsigned long long)took, (unsigned long long)most);
	stream_free(&s);
}

static void test_sharing(struct rig *r)
{
	uint64_t empty = used(r->fs), first;
	struct fs_id c;
	struct rig t;

	target_open(&t, TARGET_BLOCKS, 1);
	family(r, 40);
	snap(r, "s1");
	first = used(r->fs) - empty;
	shared_once(r, "s1", NULL, &t, first);
	repl_same(r->fs, "main@s1", t.fs, "copy");
	/* Clones of what the target has, and changes of them. */
	for (unsigned i = 0; i < 5; i++) {
		char name[16];

		snprintf(name, sizeof(name), "young%u", i);
		c = rig_clone(r, rig_find(r, i < 3 ? "golden" : "vm9"), name);
		rig_write(r, c, i * 300000 / 4096 * 4096, 4096, 50);
	}
	c = rig_clone(r, rig_find(r, "vm9"), "stays");
	rig_remove(r, "vm9");
	snap(r, "s2");
	shared_once(r, "s2", "s1", &t, used(r->fs) - empty - first);
	repl_same(r->fs, "main@s2", t.fs, "copy");
	target_close(&t);
}

/* Ranges that were cloned, and a file that holds one block many times. */
static void test_ranges(struct rig *r)
{
	struct fs_id a = rig_create(r, "a"), b = rig_create(r, "b"), c = rig_create(r, "c");
	struct stream s;
	struct rig t;

	target_open(&t, TARGET_BLOCKS, 1);
	for (unsigned i = 0; i < 6; i++)
		rig_write(r, a, (uint64_t)i << 20, 1 << 20, 1 + i);
	rig_write(r, a, 6 << 20, 1234, 9);
	sim_ok(fs_clone_range(&r->req, a, 2 << 20, b, 4 << 20, 2 << 20, NULL));
	sim_ok(fs_clone_range(&r->req, a, 8192, b, 12288, 100 * 4096, NULL));
	sim_ok(fs_clone_range(&r->req, a, 6 << 20, b, 8 << 20, 0, NULL));
	rig_write(r, c, 0, 4096, 3);
	for (unsigned i = 1; i < 1500; i = i < 64 ? 2 * i : i + 64)
		sim_ok(fs_clone_range(&r->req, c, 0, c, i * 4096, (i < 64 ? i : 64) * 4096, NULL));
	rig_truncate(r, c, 5000000);
	snap(r, "s1");
	repl_send(r->fs, "main", "s1", NULL, NULL, 0, &s);
	sim_check(s.stats.data_bytes == (6 << 20) + 4096 + 1234 + 5000000 % 4096, "%llu bytes of data", (unsigned long long)
		  s.stats.data_bytes);
	receive_ok(&t, "copy", &s);
	stream_free(&s);
	repl_same(r->fs, "main@s1", t.fs, "copy");
	target_close(&t);
}

/* Runs whose source ends where its target begins, and subtrees at the end of what one look takes. */
static void test_edges(struct rig *r)
{
	struct fs_id a = rig_create(r, "a"), b = rig_create(r, "b"), d = rig_create(r, "d");
	struct stream s;
	struct rig t;

	target_open(&t, TARGET_BLOCKS, 1);
	for (unsigned i = 0; i < 2; i++)
		rig_write(r, d, (uint64_t)i << 20, 1 << 20, 1 + i);
	sim_ok(fs_clone_range(&r->req, d, 256 * 4096, d, 768 * 4096, 256 * 4096, NULL));
	sim_ok(fs_clone_range(&r->req, d, 512 * 4096, d, 1024 * 4096, 512 * 4096, NULL));
	for (unsigned k = 0; k < FS_PIECES - 1; k++)
		rig_write(r, a, k * 4096, 4096, 1 + k);
	rig_write(r, a, 2 << 20, 1 << 20, 3);
	rig_write(r, a, 3 << 20, 1 << 20, 4);
	sim_ok(fs_clone_range(&r->req, a, 0, b, 4096, (FS_PIECES - 1) * 4096, NULL));
	sim_ok(fs_clone_range(&r->req, a, 2 << 20, b, 2 << 20, 2 << 20, NULL));
	snap(r, "s1");
	repl_send(r->fs, "main", "s1", NULL, NULL, 0, &s);
	sim_check(s.stats.data_bytes == (512 + FS_PIECES - 1 + 512) * 4096, "%llu bytes of data",
		  (unsigned long long)s.stats.data_bytes);
	receive_ok(&t, "copy", &s);
	stream_free(&s);
	repl_same(r->fs, "main@s1", t.fs, "copy");
	target_close(&t);
}

static void send_on(struct rig *r, struct rig *t, const char *snapshot, const char *from)
{
	struct stream s;

	snap(r, snapshot);
	repl_send(r->fs, "main", snapshot, from, NULL, 0, &s);
	receive_ok(t, "copy", &s);
	stream_free(&s);
	repl_same(r->fs, "main", t->fs, "copy");
}

/* Inodes over more than one page of the map; the number of a clone's source is another file's by now. */
static void test_numbers(struct rig *r)
{
	struct fs_id c;
	struct rig t;

	target_open(&t, TARGET_BLOCKS, 1);
	rig_write(r, rig_create(r, "golden"), 0, 100000, 1);
	rig_fill(r, 600);
	rig_write(r, rig_create(r, "late"), 0, 5000, 1);
	send_on(r, &t, "s1", NULL);
	rig_clone(r, rig_find(r, "golden"), "clone");
	rig_remove(r, "golden");
	sim_ok(fs_reap_all(r->fs));
	c = rig_create(r, "taker");
	rig_write(r, c, 0, 8192, 3);
	send_on(r, &t, "s2", "s1");
	rig_write(r, rig_find(r, "late"), 0, 5000, 4);
	send_on(r, &t, "s3", "s2");
	rig_write(r, c, 4096, 5000, 4);
	send_on(r, &t, "s4", "s3");
	rig_write(r, rig_find(r, "late"), 100, 50, 5);
	send_on(r, &t, "s5", "s4");
	target_close(&t);
}

/* A stream may say that two files come from each other: then there is no first one. */
static void test_origins(struct rig *r)
{
	struct fs_id a = rig_create(r, "a"), b = rig_create(r, "b"), c;
	struct fs_inode_set set = { .mode = 0644, .origin = b };
	struct fs_family f;

	rig_write(r, a, 0, 4096, 1);
	c = rig_clone(r, a, "c");
	sim_ok(fs_inode_set(&r->req, a, &set));
	set.origin = a;
	sim_ok(fs_inode_set(&r->req, b, &set));
	sim_ok(fs_family(&r->req, c, &f));
	sim_check(f.n == 3, "%u relatives, not 3", f.n);
	for (unsigned i = 0; i < 3; i++)
		sim_check(f.r[i].path && (f.r[i].id.ino == c.ino) == f.r[i].asked, "which one was asked about?");
	fs_family_done(&f);
	set.origin = b;
	sim_ok(fs_inode_set(&r->req, b, &set));
	sim_ok(fs_family(&r->req, b, &f));
	sim_check(f.n == 3, "%u relatives, not 3", f.n);
	fs_family_done(&f);
}

/* ---- what goes wrong -------------------------------------------------------------------------- */

/* Cut at each record, in its head, in its body: nothing can be seen, and it can go on if it had a mark. */
static void test_cut(struct rig *r)
{
	struct stream s, rest, cut;
	struct stream_token token;
	unsigned n, gone_on = 0;
	struct rng rng;
	struct rig t;
	bool kept;

	rng_init(&rng, 5);
	target_open(&t, TARGET_BLOCKS, 5);
	repl_mess(r, r->root, &rng, 50);
	snap(r, "s1");
	repl_send(r->fs, "main", "s1", NULL, NULL, MARK_BYTES, &s);
	n = stream_records(&s);
	for (unsigned i = 0; i < n; i += 1 + n / 60) {
		cut = s;
		cut.len = stream_record(&s, i) + rng_below(&rng, stream_record(&s, i + 1) - stream_record(&s, i));
		sim_check(repl_receive(t.fs, "copy", &cut, false, &kept, &token) == -EPIPE, "cut, and done");
		sim_check(kept || cut.len < MARK_BYTES + (2 << 20), "there was no mark up to record %u of %u", i, n);
		if (kept && rng_one_in(&rng, 3)) {
			rig_power_cut(&t, DEV_SIM_CUT_DROP, i);
			sim_ok(unfinished_sweep(t.fs));
		}
		if (kept) {
			struct fs_volume_info v;

			sim_check(fs_volume_find(t.fs, "copy", &v) == -ENOENT, "half of it is there");
			repl_send(r->fs, "main", "s1", NULL, &token, MARK_BYTES, &rest);
			sim_check(rest.len < s.len, "all was sent again");
			receive_ok(&t, "copy", &rest);
			repl_same(r->fs, "main@s1", t.fs, "copy");
			stream_free(&rest);
			sim_ok(fs_snapshot_destroy(&t.req, "copy", "s1"));
			sim_ok(fs_volume_destroy(&t.req, "copy"));
			gone_on++;
		}
		repl_expect_nothing(t.fs, "copy");
	}
	sim_check(gone_on > 5, "only %u went on", gone_on);
	stream_free(&s);
	target_close(&t);
}

/* A resumed stream that is cut again, and a token of something else. */
static void test_resume(struct rig *r)
{
	struct stream s, rest;
	struct stream_token token, second;
	struct send_opts o = { .volume = "main", .snapshot = "s2", .resume = &token };
	struct send_stats stats;
	char why[SEND_WHY], text[TOKEN_TEXT];
	struct rng rng;
	struct rig t;
	bool kept;

	rng_init(&rng, 9);
	target_open(&t, TARGET_BLOCKS, 5);
	repl_mess(r, r->root, &rng, 50);
	snap(r, "s1");
	snap(r, "s2");
	repl_send(r->fs, "main", "s1", NULL, NULL, MARK_BYTES, &s);
	s.len /= 2;
	repl_receive(t.fs, "copy", &s, false, &kept, &token);
	sim_check(kept, "not kept");
	stream_token_text(&token, text);
	sim_ok(stream_token_parse(text, &second));
	text[7] ^= 1;
	sim_check(stream_token_parse(text, &second) == -EINVAL, "a token that was changed");
	sim_check(send_run(r->fs, &o, NULL, NULL, &stats, why) == -EINVAL && why[0], "of another snapshot");
	repl_send(r->fs, "main", "s1", NULL, &token, MARK_BYTES, &rest);
	sim_check(repl_receive(t.fs, "other", &rest, false, &kept, &second) == -ENOENT, "into another volume");
	rest.len = rest.len * 2 / 3;
	repl_receive(t.fs, "copy", &rest, false, &kept, &second);
	sim_check(kept && second.number > token.number, "not kept further");
	stream_free(&rest);
	repl_send(r->fs, "main", "s1", NULL, &token, MARK_BYTES, &rest);
	sim_check(repl_receive(t.fs, "copy", &rest, false, &kept, &token) == -EPROTO, "from where it was before");
	stream_free(&rest);
	repl_send(r->fs, "main", "s1", NULL, &second, MARK_BYTES, &rest);
	receive_ok(&t, "copy", &rest);
	repl_same(r->fs, "main@s1", t.fs, "copy");
	stream_free(&rest);
	stream_free(&s);
	target_close(&t);
}

struct unwanted { unsigned calls; size_t bytes; };

static int want_no_more(void *arg, const void *data, size_t len)
{
	struct unwanted *u = arg;

	u->bytes += len;
	return !len && ++u->calls == 3 ? -ECANCELED : 0;
}

/* A sender on its way to the mark can be ended, and so can one that finds nothing that differs. */
static void test_unwanted(struct rig *r)
{
	struct stream_token token;
	struct unwanted u = { 0 };
	struct send_opts o = { .volume = "main", .snapshot = "s1", .resume = &token, .mark_bytes = MARK_BYTES };
	struct send_stats stats;
	char why[SEND_WHY];
	struct stream s;
	struct rng rng;
	struct rig t;
	bool kept;
	int rc;

	rng_init(&rng, 9);
	target_open(&t, TARGET_BLOCKS, 5);
	repl_mess(r, r->root, &rng, 50);
	snap(r, "s1");
	repl_send(r->fs, "main", "s1", NULL, NULL, MARK_BYTES, &s);
	s.len -= 10;
	repl_receive(t.fs, "copy", &s, false, &kept, &token);
	sim_check(kept && token.number > 2, "not kept");
	rc = send_run(r->fs, &o, want_no_more, &u, &stats, why);
	sim_check(rc == -ECANCELED, "it goes on: %s", sim_err(rc));
	sim_check(u.bytes < 500, "%zu bytes were given out before", u.bytes);
	stream_free(&s);
	target_close(&t);
}

/* Any bit that is wrong is found out. */
static void test_flip(struct rig *r)
{
	struct stream_token token;
	struct stream s;
	struct rng rng;
	struct rig t;
	bool kept;

	rng_init(&rng, 6);
	target_open(&t, TARGET_BLOCKS, 5);
	repl_mess(r, r->root, &rng, 20);
	snap(r, "s1");
	repl_send(r->fs, "main", "s1", NULL, NULL, 0, &s);
	for (unsigned i = 0; i < 150; i++) {
		size_t at = i < 100 ? stream_record(&s, rng_below(&rng, stream_records(&s))) + i % 30 :
			    rng_below(&rng, s.len);
		uint8_t bit = 1u << rng_below(&rng, 8);
		int rc;

		at = i < 17 ? i : at < s.len ? at : s.len - 1;
		s.data[at] ^= bit;
		rc = repl_receive(t.fs, "copy", &s, false, &kept, &token);
		sim_check(rc == -EBADMSG || rc == -EPIPE, "bit %x of byte %zu: %s", bit, at, sim_err(rc));
		s.data[at] ^= bit;
		repl_expect_nothing(t.fs, "copy");
	}
	receive_ok(&t, "copy", &s);
	stream_free(&s);
	target_close(&t);
}

static void test_full(struct rig *r)
{
	struct stream_token token;
	struct fs_id a = rig_create(r, "a");
	uint64_t before;
	struct stream s;
	struct rig t;
	bool kept;

	target_open(&t, 6000, 5);
	for (unsigned i = 0; i < 40; i++)
		rig_write(r, a, (uint64_t)i << 20, 1 << 20, 1 + i);
	snap(r, "s1");
	before = sim_free_blocks(t.fs);
	repl_send(r->fs, "main", "s1", NULL, NULL, 4 << 20, &s);
	sim_check(repl_receive(t.fs, "copy", &s, false, &kept, &token) == -ENOSPC && !kept, "it fits?");
	repl_expect_nothing(t.fs, "copy");
	sim_check(sim_free_blocks(t.fs) + 8 >= before, "space is gone for good");
	stream_free(&s);
	target_close(&t);
}

/* The power goes after each of some parts of it. */
static void test_power(struct rig *r)
{
	struct receive *x;
	struct stream s;
	struct rng rng;
	struct rig t;
	unsigned n;
	int rc;

	rng_init(&rng, 7);
	repl_mess(r, r->root, &rng, 40);
	snap(r, "s1");
	repl_send(r->fs, "main", "s1", NULL, NULL, MARK_BYTES, &s);
	n = stream_records(&s);
	target_open(&t, TARGET_BLOCKS, 5);
	for (unsigned i = 3; i <= n; i += 1 + n / 12) {
		struct fs_volume_info v;

		sim_ok(receive_open(t.fs, "copy", false, &x));
		sim_ok(receive_feed(x, s.data, stream_record(&s, i)));
		rig_power_cut(&t, i % 2 ? DEV_SIM_CUT_DROP : DEV_SIM_CUT_SUBSET, i);
		receive_forget(x);	/* what was in memory is gone with the power */
		sim_ok(unfinished_sweep(t.fs));
		sim_check(fs_volume_find(t.fs, "copy", &v) == -ENOENT, "half of it is there");
		rc = unfinished_forget(t.fs, "copy");
		sim_check(!rc || rc == -ENOENT, "forgetting: %s", sim_err(rc));
		repl_expect_nothing(t.fs, "copy");
	}
	receive_ok(&t, "copy", &s);
	repl_same(r->fs, "main@s1", t.fs, "copy");
	stream_free(&s);
	target_close(&t);
}

/* ---- the wrong target -------------------------------------------------------------------------- */

static int try(struct rig *t, const char *volume, const struct stream *s, bool force)
{
	struct stream_token token;
	bool kept;

	return repl_receive(t->fs, volume, s, force, &kept, &token);
}

static void test_target(struct rig *r)
{
	struct stream all, more;
	struct fs_id a = rig_create(r, "a");
	struct fs_volume_info v;
	struct fs_attr x;
	struct rig t;

	target_open(&t, TARGET_BLOCKS, 5);
	rig_write(r, a, 0, 100000, 1);
	snap(r, "s1");
	rig_write(r, a, 0, 100, 2);
	snap(r, "s2");
	repl_send(r->fs, "main", "s1", NULL, NULL, 0, &all);
	repl_send(r->fs, "main", "s2", "s1", NULL, 0, &more);
	sim_check(try(&t, "copy", &more, false) == -ENOENT, "no base at all");
	sim_ok(fs_volume_create(&t.req, "copy", &v));
	sim_check(try(&t, "copy", &all, false) == -EEXIST, "over another volume");
	sim_check(try(&t, "copy", &more, false) == -ENOENT, "the base is another");
	sim_ok(fs_volume_destroy(&t.req, "copy"));
	sim_ok(try(&t, "copy", &all, false));
	sim_ok(fs_lookup_path(&t.req, "copy", "/a", &x));
	sim_ok(fs_hold(t.fs, x.id));
	sim_check(try(&t, "copy", &more, false) == -EBUSY, "somebody has it open");
	fs_unhold(t.fs, x.id);
	rig_write(&t, x.id, 0, 10, 3);
	sim_check(try(&t, "copy", &more, false) == -ENOTSYNC, "it has changed");
	repl_same(r->fs, "main@s1", t.fs, "copy@s1");
	rig_expect(&t, x.id, 0, 10, 3);
	sim_ok(try(&t, "copy", &more, true));
	repl_same(r->fs, "main@s2", t.fs, "copy");
	sim_check(try(&t, "copy", &more, true) == -EEXIST, "twice");
	rig_expect(&t, x.id, 0, 100, 2);	/* by the handle of before */
	sim_ok(fs_snapshot_destroy(&t.req, "copy", "s1"));
	sim_ok(unfinished_sweep(t.fs));
	stream_free(&all);
	stream_free(&more);
	target_close(&t);
}

/* A directory whose names are many pages of a list, in both states; attributes that are more than one as well. */
static void test_large_dir(struct rig *r)
{
	struct fs_create how = { .type = FS_REG, .how = FS_CREATE_GUARDED };
	char name[FS_NAME_MAX + 1];
	struct stream s;
	struct fs_attr a;
	struct rig t;

	target_open(&t, TARGET_BLOCKS, 5);
	for (unsigned i = 0; i <= 2500; i++) {
		struct fs_name n = { name, (uint32_t)snprintf(name, sizeof(name), "%u-%0*u", i, i % 200 + 1, i) };

		sim_ok(fs_create(&r->req, r->root, n, &how, &a, NULL));
	}
	for (unsigned i = 0; i < 100; i++) {
		struct fs_name n = { name, (uint32_t)snprintf(name, sizeof(name), "user.%0100u", i) };

		sim_ok(fs_xattr_set(&r->req, a.id, n, name, i, FS_XATTR_EITHER, NULL));
	}
	snap(r, "s1");
	repl_send(r->fs, "main", "s1", NULL, NULL, 0, &s);
	receive_ok(&t, "copy", &s);
	stream_free(&s);
	repl_same(r->fs, "main@s1", t.fs, "copy");
	for (unsigned i = 0; i < 2500; i += 3) {
		struct fs_name n = { name, (uint32_t)snprintf(name, sizeof(name), "%u-%0*u", i, i % 200 + 1, i) };
		char other[16];
		struct fs_name o = { other, (uint32_t)snprintf(other, sizeof(other), "new%u", i) };

		if (i % 2)
			sim_ok(fs_remove(&r->req, r->root, n, NULL));
		else
			sim_ok(fs_rename(&r->req, r->root, n, r->root, o, NULL, NULL));
	}
	for (unsigned i = 0; i < 100; i += 7) {
		struct fs_name n = { name, (uint32_t)snprintf(name, sizeof(name), "user.%0100u", i) };

		sim_ok(fs_xattr_remove(&r->req, a.id, n, NULL));
	}
	send_on(r, &t, "s2", "s1");
	target_close(&t);
}

/* More directories than one directory can have in it. */
static void test_many_dirs(struct rig *r)
{
	struct fs_create how = { .type = FS_DIR, .how = FS_CREATE_GUARDED };
	struct fs_volume_info v, w;
	struct fs_attr half[2], a;
	struct stream s;
	struct rig t;
	char name[16];

	target_open(&t, 160000, 5);
	for (unsigned i = 0; i < 2; i++)
		sim_ok(fs_create(&r->req, r->root, (struct fs_name){ i ? "b" : "a", 1 }, &how, &half[i], NULL));
	for (unsigned i = 0; i < FS_LINK_MAX + 100; i++) {
		struct fs_name n = { name, (uint32_t)snprintf(name, sizeof(name), "%u", i) };

		sim_ok(fs_create(&r->req, half[i % 2].id, n, &how, &a, NULL));
	}
	snap(r, "s1");
	repl_send(r->fs, "main", "s1", NULL, NULL, 1 << 20, &s);
	receive_ok(&t, "copy", &s);
	stream_free(&s);
	sim_ok(fs_volume_find(r->fs, "main", &v));
	sim_ok(fs_volume_find(t.fs, "copy", &w));
	sim_check(v.files == w.files, "%llu files of %llu",
		  (unsigned long long)w.files, (unsigned long long)v.files);
	target_close(&t);
}

/* Sent on from a copy, whose numbers are others: what comes from the first volume then doesn't fit. */
static void test_relay(struct rig *r)
{
	struct stream s;
	struct rig t;

	target_open(&t, TARGET_BLOCKS, 5);
	rig_create(r, "gone");
	rig_write(r, rig_create(r, "b"), 0, 8192, 2);
	rig_write(r, rig_create(r, "c"), 0, 8192, 3);
	rig_remove(r, "gone");
	sim_ok(fs_reap_all(r->fs));
	rig_write(r, rig_create(r, "a"), 0, 8192, 1);
	snap(r, "s1");
	repl_send(r->fs, "main", "s1", NULL, NULL, 0, &s);
	receive_ok(&t, "near", &s);
	stream_free(&s);
	repl_send(t.fs, "near", "s1", NULL, NULL, 0, &s);
	receive_ok(&t, "far", &s);
	stream_free(&s);
	repl_same(r->fs, "main@s1", t.fs, "far");
	rig_write(r, rig_find(r, "b"), 4096, 4096, 9);
	snap(r, "s2");
	repl_send(r->fs, "main", "s2", "s1", NULL, 0, &s);
	sim_check(try(&t, "far", &s, false) == -ENOENT, "from another volume than its base");
	repl_same(r->fs, "main@s1", t.fs, "far");
	receive_ok(&t, "near", &s);
	stream_free(&s);
	repl_send(t.fs, "near", "s2", "s1", NULL, 0, &s);
	receive_ok(&t, "far", &s);
	repl_same(r->fs, "main@s2", t.fs, "far");
	stream_free(&s);
	target_close(&t);
}

/* What is in the way at the end costs nothing of what has come. */
static void test_late(struct rig *r)
{
	struct stream_token token;
	struct fs_id a = rig_create(r, "a");
	struct stream s, rest;
	struct fs_volume_info v;
	struct fs_attr x;
	struct rig t;
	bool kept;

	target_open(&t, TARGET_BLOCKS, 5);
	rig_write(r, a, 0, 100000, 1);
	snap(r, "s1");
	for (unsigned i = 0; i < 10; i++)
		rig_write(r, a, i * 100000, 100000, 2 + i);
	snap(r, "s2");
	repl_send(r->fs, "main", "s1", NULL, NULL, 0, &s);
	receive_ok(&t, "copy", &s);
	stream_free(&s);
	repl_send(r->fs, "main", "s2", "s1", NULL, MARK_BYTES, &s);
	sim_ok(fs_lookup_path(&t.req, "copy", "/a", &x));
	sim_ok(fs_hold(t.fs, x.id));
	sim_check(repl_receive(t.fs, "copy", &s, false, &kept, &token) == -EBUSY && kept, "somebody has it open");
	repl_same(r->fs, "main@s1", t.fs, "copy");
	fs_unhold(t.fs, x.id);
	repl_send(r->fs, "main", "s2", "s1", &token, MARK_BYTES, &rest);
	sim_check(rest.len < s.len / 2, "most of it comes again");
	receive_ok(&t, "copy", &rest);
	stream_free(&rest);
	stream_free(&s);
	repl_same(r->fs, "main@s2", t.fs, "copy");
	/* A new volume, whose name is given away meanwhile. */
	repl_send(r->fs, "main", "s2", NULL, NULL, MARK_BYTES, &s);
	s.len -= 10;
	sim_check(repl_receive(t.fs, "new", &s, false, &kept, &token) == -EPIPE && kept, "not kept");
	sim_ok(fs_volume_create(&t.req, "new", &v));
	repl_send(r->fs, "main", "s2", NULL, &token, MARK_BYTES, &rest);
	sim_check(repl_receive(t.fs, "new", &rest, false, &kept, &token) == -EEXIST && kept, "its name is taken");
	sim_ok(fs_volume_destroy(&t.req, "new"));
	receive_ok(&t, "new", &rest);
	repl_same(r->fs, "main@s2", t.fs, "new");
	stream_free(&rest);
	stream_free(&s);
	target_close(&t);
}

/* ---- far behind --------------------------------------------------------------------------------- */

static void ship(struct rig *r, struct rig *t, const char *snapshot, const char *from)
{
	struct stream s;

	repl_send(r->fs, "main", snapshot, from, NULL, 0, &s);
	receive_ok(t, "copy", &s);
	stream_free(&s);
}

/* Data behind 2^57 bytes hangs under a block of level 6, which covers 2^66. */
static void test_far_hole(struct rig *r)
{
	struct rig t;
	struct fs_id f = rig_create(r, "f");

	target_open(&t, 6000, 1);
	rig_write(r, f, (uint64_t)1 << 58, 4096, 1);
	sim_ok(fs_snapshot_create(&r->req, "main", "s1", NULL));
	sim_ok(fs_punch(&r->req, f, 0, UINT64_MAX, NULL));
	sim_ok(fs_snapshot_create(&r->req, "main", "s2", NULL));
	ship(r, &t, "s1", NULL);
	ship(r, &t, "s2", "s1");
	repl_same(r->fs, "main@s2", t.fs, "copy");
	target_close(&t);
}

static void test_far_share(struct rig *r)
{
	struct rig t;
	struct fs_id f = rig_create(r, "f");

	target_open(&t, 6000, 1);
	rig_write(r, f, (uint64_t)1 << 58, 4096, 1);
	rig_clone(r, f, "g1");
	rig_clone(r, f, "g2");
	rig_write(r, f, 0, 4096, 2);
	sim_ok(fs_snapshot_create(&r->req, "main", "s1", NULL));
	ship(r, &t, "s1", NULL);
	repl_same(r->fs, "main@s1", t.fs, "copy");
	target_close(&t);
}

/* Twenty streams of changes, of which only the last snapshot is kept on either side. */
static void test_leaf(struct rig *r)
{
	char name[8], before[8];
	uint64_t free = 0, now;
	struct stream s;
	struct rig t;

	target_open(&t, 6000, 1);
	for (int i = 0; i <= 20; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		rig_write(r, i ? rig_find(r, "f") : rig_create(r, "f"), 0, 4096, 1 + i);
		sim_ok(fs_snapshot_create(&r->req, "main", name, NULL));
		repl_send(r->fs, "main", name, i ? before : NULL, NULL, 0, &s);
		receive_ok(&t, "copy", &s);
		stream_free(&s);
		if (i) {
			sim_ok(fs_snapshot_destroy(&r->req, "main", before));
			sim_ok(fs_snapshot_destroy(&t.req, "copy", before));
		}
		sim_ok(unfinished_sweep(t.fs));
		now = sim_free_blocks(t.fs);
		if (i == 4)
			free = now;
		memcpy(before, name, sizeof(name));
	}
	sim_check(now == free, "%llu blocks were free after 4 streams, %llu after 20", (unsigned long long)free,
		  (unsigned long long)now);
	target_close(&t);
}

int main(int argc, char **argv)
{
	static const struct rig_test tests[] = {
		{ "furnished", test_furnished, 40000, 0, true },
		{ "quota", test_quota, 24000, 0, false },
		{ "random-1", test_random_1, 24000, 0, false },
		{ "random-2", test_random_2, 24000, 0, false },
		{ "random-3", test_random_3, 24000, 0, true },
		{ "random-few-refs", test_random_4, 24000, 4, false },
		{ "sharing", test_sharing, 24000, 0, false },
		{ "ranges", test_ranges, 24000, 0, false },
		{ "edges", test_edges, 24000, 0, false },
		{ "numbers", test_numbers, 24000, 0, false },
		{ "origins", test_origins, 24000, 0, false },
		{ "cut", test_cut, 24000, 0, false },
		{ "resume", test_resume, 24000, 0, false },
		{ "unwanted", test_unwanted, 24000, 0, false },
		{ "flip", test_flip, 24000, 0, false },
		{ "full", test_full, 24000, 0, false },
		{ "power", test_power, 24000, 0, false },
		{ "target", test_target, 24000, 0, false },
		{ "large-dir", test_large_dir, 24000, 0, false },
		{ "many-dirs", test_many_dirs, 160000, 0, false },
		{ "late", test_late, 24000, 0, false },
		{ "relay", test_relay, 24000, 0, false },
		{ "far-hole", test_far_hole, 24000, 0, false },
		{ "far-share", test_far_share, 24000, 0, false },
		{ "leaf", test_leaf, 24000, 0, false },
	};

	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
