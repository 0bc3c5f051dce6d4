/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replication when something fails: the power at each request of the disk, each allocation, each request.
 * Whatever has come is there whole, or goes on from a mark, or nothing is left of it.
 *
 *   repl_fault_test [NAME]
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "fault_alloc.h"
#include "fs/repl.h"
#include "repl_kit.h"

#define TARGET_BLOCKS 6000
#define MARK_BYTES 500			/* marks between names too */
#define IMAGES_MAX 4000

/* ---- what is sent ----------------------------------------------------------------------------- */

static struct fs_name name_of(const char *s) { return (struct fs_name){ s, (uint32_t)strlen(s) }; }

static struct fs_id dir_make(struct rig *r, struct fs_id in, const char *name)
{
	struct fs_create how = { .type = FS_DIR, .how = FS_CREATE_GUARDED };
	struct fs_attr a;

	sim_ok(fs_create(&r->req, in, name_of(name), &how, &a, NULL));
	return a.id;
}

/* Directories and files that change places, files with several names, some that come and some that go. */
static void fill(struct rig *r)
{
	struct fs_id d[4], f;
	char name[16];

	for (unsigned i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		d[i] = dir_make(r, i ? d[i - 1] : r->root, name);
	}
	for (unsigned i = 0; i < 12; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		f = rig_create(r, name);
		rig_write(r, f, 0, 5000 * (1 + i % 3), 1 + i);
		sim_ok(fs_link(&r->req, f, d[i % 4], name_of(name), false, NULL, NULL));
		sim_ok(fs_xattr_set(&r->req, f, name_of("x"), name, 3, FS_XATTR_EITHER, NULL));
	}
	sim_ok(fs_snapshot_create(&r->req, "main", "s1", NULL));
	sim_ok(fs_rename(&r->req, d[0], name_of("d1"), r->root, name_of("up"), NULL, NULL));
	sim_ok(fs_rename(&r->req, r->root, name_of("d0"), d[3], name_of("down"), NULL, NULL));
	for (unsigned i = 0; i < 12; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		if (i % 3 == 1)
			rig_write(r, rig_find(r, name), 4096, 3000, 100 + i);
		sim_ok(fs_rename(&r->req, r->root, name_of(name), d[(i + 1) % 4], name_of(i % 2 ? name : "moved"), NULL,
				 NULL));
		if (i % 3 == 0)
			sim_ok(fs_remove(&r->req, d[i % 4], name_of(name), NULL));
	}
	for (unsigned i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "new%u", i);
		rig_write(r, rig_create(r, name), 0, 6000, 200 + i);
		snprintf(name, sizeof(name), "nd%u", i);
		dir_make(r, d[i % 4], name);
	}
	sim_ok(fs_snapshot_create(&r->req, "main", "s2", NULL));
}

struct test {
	struct rig *r;			/* the source */
	struct dev_sim_image *base;	/* a target that has s1 */
	struct stream more;		/* from s1 to s2 */
	struct dev_sim_image *images[IMAGES_MAX];
	unsigned n, gone_on, done;
};

static void at_submit(void *arg, struct dev *d, const struct dev_io *io)
{
	static const enum dev_sim_cut_mode modes[] = { DEV_SIM_CUT_DROP, DEV_SIM_CUT_KEEP, DEV_SIM_CUT_RANDOM };
	struct test *t = arg;

	for (unsigned i = 0; i < 3; i++) {
		sim_check(t->n < IMAGES_MAX, "too many requests for this test");
		t->images[t->n] = dev_sim_crash_image(d, modes[i], t->n, NULL);
		t->n++;
	}
}

static void target_at(struct rig *t, struct dev_sim_image *image)
{
	*t = (struct rig){ .cfg = { .seed = 7, .no_background = true, .cache_bytes = 16 << 20 } };
	t->dev = sim_disk_open(0, 5, image);
	rig_open(t);
}

static void test_init(struct test *t, struct rig *r)
{
	struct stream s;
	struct rig target;

	*t = (struct test){ .r = r };
	fill(r);
	target_open(&target, TARGET_BLOCKS, 7);
	repl_send(r->fs, "main", "s1", NULL, NULL, 0, &s);
	sim_ok(repl_receive(target.fs, "copy", &s, false, NULL, NULL));
	stream_free(&s);
	sim_ok(fs_close(target.fs));
	t->base = dev_sim_crash_image(target.dev, DEV_SIM_CUT_DROP, 1, NULL);
	dev_close(target.dev);
	repl_send(r->fs, "main", "s2", "s1", NULL, MARK_BYTES, &t->more);
}

static void test_done(struct test *t)
{
	stream_free(&t->more);
	dev_sim_image_put(t->base);
}

/* ---- what there is afterwards ------------------------------------------------------------------- */

static int take_token(void *arg, const struct unfinished_info *u)
{
	*(struct stream_token *)arg = u->token;
	return 0;
}

/* All is as before, or as it should be; in the first case the rest can come. */
static void check_target(struct test *t, struct rig *target)
{
	struct stream_token token = { 0 };
	struct fs_snapshot_info s;
	struct stream rest;
	int rc;

	repl_same(t->r->fs, "main@s1", target->fs, "copy@s1");
	sim_ok(unfinished_each(target->fs, take_token, &token));
	rc = fs_snapshot_find(target->fs, "copy", "s2", &s);
	sim_check(!rc || rc == -ENOENT, "copy@s2: %s", sim_err(rc));
	sim_check(rc || !token.number, "it is there, and can go on");
	if (rc) {
		repl_same(t->r->fs, "main@s1", target->fs, "copy");
		repl_send(t->r->fs, "main", "s2", "s1", token.number ? &token : NULL, MARK_BYTES, &rest);
		sim_ok(repl_receive(target->fs, "copy", &rest, false, NULL, NULL));
		stream_free(&rest);
		t->gone_on += token.number > 0;
	} else {
		t->done++;
	}
	repl_same(t->r->fs, "main@s2", target->fs, "copy");
	repl_same(t->r->fs, "main@s2", target->fs, "copy@s2");
}

static void test_power(struct rig *r)
{
	struct test *t = test_alloc(sizeof(*t));
	struct rig target;

	test_init(t, r);
	target_at(&target, t->base);
	dev_sim_on_submit(target.dev, at_submit, t);
	sim_ok(repl_receive(target.fs, "copy", &t->more, false, NULL, NULL));
	dev_sim_on_submit(target.dev, NULL, NULL);
	at_submit(t, target.dev, NULL);
	target_close(&target);
	for (unsigned i = 0; i < t->n; i++) {
		snprintf(sim_replay, sizeof(sim_replay), "the power at request %u", i);
		target_at(&target, t->images[i]);
		sim_ok(unfinished_sweep(target.fs));
		check_target(t, &target);
		target_close(&target);
		dev_sim_image_put(t->images[i]);
	}
	printf("%u requests, %u went on, %u were done\n", t->n, t->gone_on, t->done);
	sim_check(t->gone_on > 10 && t->done, "%u went on, %u were done", t->gone_on, t->done);
	test_done(t);
	free(t);
}

/* ---- what fails is told ----------------------------------------------------------------------- */

static bool clean(int rc) { return rc == -ENOMEM || rc == -EIO || rc == -EROFS; }

struct failing { struct rig target; bool disk, kept, hit; uint64_t n; };

static void failing_begin(struct failing *f, struct dev_sim_image *from, bool for_good)
{
	target_at(&f->target, from);
	if (f->disk)
		dev_sim_fail_nth(f->target.dev, f->n, for_good);
	else
		fault_alloc_set(f->n, for_good);
	fault_alloc_arm(!f->disk);
}

/* The target as it is then, or after a restart. */
static void failing_end(struct failing *f)
{
	struct dev_sim_image *image;
	struct dev_sim_stats st;

	fault_alloc_arm(false);
	dev_sim_stats(f->target.dev, &st);
	f->hit = f->disk ? st.total >= f->n : fault_alloc_hit();
	fault_alloc_set(0, false);
	dev_sim_clear_faults(f->target.dev);
	if (f->disk || f->n % 2) {
		image = dev_sim_crash_image(f->target.dev, DEV_SIM_CUT_KEEP, 1, NULL);
		fs_abandon(f->target.fs);
		dev_close(f->target.dev);
		target_at(&f->target, image);
		dev_sim_image_put(image);
	}
}

static void failing_receive(struct test *t, struct failing *f, bool for_good)
{
	struct stream_token token;
	struct receive *r = NULL;
	bool kept = false;
	int rc;

	failing_begin(f, t->base, for_good);
	rc = receive_open(f->target.fs, "copy", false, &r);
	if (!rc)
		rc = receive_feed(r, t->more.data, t->more.len);
	if (!rc)
		rc = receive_finish(r);
	sim_check(!rc || clean(rc), "%s: %s", sim_err(rc), r ? receive_why(r) : "");
	sim_check(!r || !rc == !receive_why(r)[0], "a failure that says nothing, or is none");
	if (r)
		kept = receive_close(r, &token);
	failing_end(f);
	sim_ok(unfinished_sweep(f->target.fs));
	memset(&token, 0, sizeof(token));
	sim_ok(unfinished_each(f->target.fs, take_token, &token));
	sim_check(!kept || token.number, "it was kept, and is not there");
	check_target(t, &f->target);
	target_close(&f->target);
}

static void each_failure(struct rig *r, bool disk, bool for_good)
{
	struct test *t = test_alloc(sizeof(*t));
	struct failing f = { .disk = disk, .n = 1 };

	test_init(t, r);
	do {
		snprintf(sim_replay, sizeof(sim_replay), "%s %llu%s", disk ? "request" : "allocation",
			 (unsigned long long)f.n, for_good ? " and those after it" : "");
		failing_receive(t, &f, for_good);
		f.n += disk ? 1 : 3;
	} while (f.hit);
	printf("%llu failures, %u went on, %u were done\n", (unsigned long long)f.n, t->gone_on, t->done);
	test_done(t);
	free(t);
}

static void test_alloc_one(struct rig *r) { each_failure(r, false, false); }
static void test_alloc_good(struct rig *r) { each_failure(r, false, true); }
static void test_disk_one(struct rig *r) { each_failure(r, true, false); }
static void test_disk_good(struct rig *r) { each_failure(r, true, true); }

/* Looking for what was interrupted loses nothing of it. */
static void test_sweep(struct rig *r)
{
	struct test *t = test_alloc(sizeof(*t));
	struct failing f = { .n = 1 };
	struct stream_token token;
	struct dev_sim_image *half;
	struct rig target;
	struct stream cut;
	bool kept;
	int rc;

	test_init(t, r);
	cut = t->more;
	cut.len = cut.len / 2;
	target_at(&target, t->base);
	sim_check(repl_receive(target.fs, "copy", &cut, false, &kept, &token) == -EPIPE && kept, "not kept");
	half = dev_sim_crash_image(target.dev, DEV_SIM_CUT_DROP, 1, NULL);
	target_close(&target);
	do {
		snprintf(sim_replay, sizeof(sim_replay), "sweep, allocation %llu", (unsigned long long)f.n);
		failing_begin(&f, half, false);
		rc = unfinished_sweep(f.target.fs);
		sim_check(!rc || clean(rc), "sweep: %s", sim_err(rc));
		failing_end(&f);
		check_target(t, &f.target);
		target_close(&f.target);
		f.n++;
	} while (f.hit);
	sim_check(t->gone_on == f.n - 1, "only %u of %llu went on", t->gone_on, (unsigned long long)f.n - 1);
	dev_sim_image_put(half);
	test_done(t);
	free(t);
}

/* ---- sending ------------------------------------------------------------------------------------ */

static int take(void *arg, const void *data, size_t len)
{
	uint64_t *sum = arg;

	if (len)
		*sum = hash64_two(sum, 8, data, len);
	return 0;
}

static void test_send(struct rig *r)
{
	struct send_opts o = { .volume = "main", .snapshot = "s2", .from = "s1", .mark_bytes = MARK_BYTES };
	uint64_t sum = 0, other, n = 0;
	struct send_stats stats;
	char why[SEND_WHY];
	bool hit;
	int rc;

	fill(r);
	sim_ok(send_run(r->fs, &o, take, &sum, &stats, why));
	do {
		other = 0;
		fault_alloc_set(++n, false);
		fault_alloc_arm(true);
		rc = send_run(r->fs, &o, take, &other, &stats, why);
		fault_alloc_arm(false);
		hit = fault_alloc_hit();
		fault_alloc_set(0, false);
		sim_check(rc ? clean(rc) && why[0] : other == sum, "allocation %llu: %s", (unsigned long long)n,
			  sim_err(rc));
	} while (hit);
	sim_check(n > 5, "only %llu allocations", (unsigned long long)n);
}

int main(int argc, char **argv)
{
	static const struct rig_test tests[] = {
		{ "power", test_power, 24000, 0, false },
		{ "alloc", test_alloc_one, 24000, 0, false },
		{ "alloc-for-good", test_alloc_good, 24000, 0, false },
		{ "disk", test_disk_one, 24000, 0, false },
		{ "disk-for-good", test_disk_good, 24000, 0, false },
		{ "sweep", test_sweep, 24000, 0, false },
		{ "send", test_send, 24000, 0, false },
	};

	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
