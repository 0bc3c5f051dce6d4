/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The n-th disk request fails, for every n until none does: once, and it and all after it.
 * The n-th allocation fails, likewise.
 *
 *   fault_test [disk|alloc|format] [--at N[:GOOD]] [--stride N] [--trace]
 *
 * Each run opens a pool that has a log to replay, executes the same script, and closes.  What
 * fails must say so by an error that makes sense; what succeeds must be right, in memory too;
 * afterwards, with a disk that works again, the pool opens, checks clean, and holds a prefix of
 * what was executed with all that was acknowledged as stable.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/loop.h"
#include "fault_alloc.h"
#include "history.h"
#include "sim_disk.h"

enum what { DISK, ALLOC, FORMAT };

struct test {
	enum what what;
	uint64_t n, good_from, stride;
	bool for_good;
	struct dev_sim_image *base;	/* what every run begins with, and the model of it */
	struct model *base_m;
	/* one run: */
	struct dev *dev;
	struct fs *fs;
	struct model *m;
	struct history h;
	uint64_t acked, last;
	bool hit, opened;
	unsigned step;
	/* all runs: */
	unsigned runs, refused, readonly, unopened;
};

static const struct fs_config config = { .cache_bytes = 16 << 20, .checkpoint_ms = 1000, .seed = 1 };

static bool clean_error(const struct test *t, int rc)
{
	if (t->what == ALLOC && rc == -ENOMEM)
		return true;
	return t->what == DISK && (rc == -EIO || rc == -EROFS);
}

/* ---- the script --------------------------------------------------------------------------- */

static struct fs_id dir_id(struct test *t, const char *name)
{
	struct mnode *root = model_volume(t->m, "main")->root, *n;

	n = *name ? model_lookup(root, name, strlen(name)) : root;
	return n ? n->id : (struct fs_id){ 0 };
}

static void set_name(struct op *op, const char *name)
{
	op->name_len = strlen(name);
	strcpy(op->name, name);
}

/* Executes, lets the model follow, and waits for what NFS would wait for. */
static void run_op(struct test *t, struct op *op)
{
	struct answer *a = test_alloc(sizeof(*a));
	struct expect e;
	int rc;

	t->step++;
	fault_alloc_arm(true);
	sim_exec(t->fs, op, a);
	fault_alloc_arm(false);
	model_run(t->m, op, false, &e);
	if (op->rc && !expect_allows(&e, op->rc)) {
		sim_check(clean_error(t, op->rc), "step %u: %s: %s", t->step, op_names[op->kind],
			  sim_err(op->rc));
		t->refused++;
	}
	if (!op->rc) {
		sim_check(!e.nmust, "step %u: %s succeeded against the rules", t->step,
			  op_names[op->kind]);
		model_run(t->m, op, true, &e);
		if (op->kind >= OP_SNAP)
			sim_learn(t->fs, t->m, op);
		if (!e.noop)
			history_push(&t->h, t->m, op->seq);
	}
	t->last = fs_last_seq(t->fs);
	if (!op->rc && a->stable_seq && op->kind != OP_READ) {
		fault_alloc_arm(true);
		rc = fs_wait_stable(t->fs, a->stable_seq);
		fault_alloc_arm(false);
		sim_check(!rc || clean_error(t, rc), "step %u: wait: %s", t->step, sim_err(rc));
		if (!rc && t->acked < a->stable_seq)
			t->acked = a->stable_seq;
	}
	free(a);
	op_done(op);
}

static void simple(struct test *t, enum op_kind kind, const char *dir, const char *name)
{
	struct op op = { .kind = kind, .how = FS_CREATE_GUARDED };

	op.dir = dir_id(t, dir);
	set_name(&op, name);
	if (kind == OP_SYMLINK)
		op.target = strdup(name);
	run_op(t, &op);
}

static void on_file(struct test *t, enum op_kind kind, const char *name, uint64_t offset, uint32_t len,
		    bool stable)
{
	struct op op = { .kind = kind, .offset = offset, .len = len, .stable = stable };

	op.id = dir_id(t, name);
	op.seed = (offset + len) * 16 + 5;
	if (kind == OP_SETATTR) {
		op.set = (struct fs_setattr){ .mask = FS_SET_SIZE, .size = offset };
		op.len = 0;
	}
	op.length = len;		/* OP_PUNCH, OP_ALLOCATE */
	run_op(t, &op);
}

static void on_range(struct test *t, const char *src, uint64_t from, const char *dst, uint64_t to,
		     uint64_t len)
{
	struct op op = { .kind = OP_RANGE, .src_offset = from, .offset = to, .length = len };

	op.src = dir_id(t, src);
	op.id = dir_id(t, dst);
	run_op(t, &op);
}

static void to_name(struct test *t, enum op_kind kind, const char *from, const char *to, unsigned count)
{
	struct op op = { .kind = kind, .count = count };

	if (kind == OP_RENAME) {
		op.dir = op.dir2 = dir_id(t, "");
		set_name(&op, from);
		strcpy(op.name2, to);
		op.name2_len = strlen(to);
	} else {
		op.id = dir_id(t, from);
		op.dir = dir_id(t, "");
		set_name(&op, to);
	}
	run_op(t, &op);
}

static void on_tree(struct test *t, const char *from, const char *to)
{
	struct op op = { .kind = OP_TREE };

	op.id = dir_id(t, from);
	op.dir = dir_id(t, "");
	set_name(&op, to);
	run_op(t, &op);
}

static void on_xattr(struct test *t, enum op_kind kind, const char *file, const char *name, uint32_t len)
{
	struct op op = { .kind = kind, .len = len, .seed = len * 16 + 5 };

	op.id = dir_id(t, file);
	set_name(&op, name);
	run_op(t, &op);
}

/* LIMIT 0: it ends. */
static void on_quota(struct test *t, const char *dir, uint64_t limit)
{
	struct op op = { .kind = OP_QUOTA, .length = limit, .replace = !limit };

	op.id = dir_id(t, dir);
	run_op(t, &op);
}

static void on_reserve(struct test *t, uint64_t blocks)
{
	struct op op = { .kind = OP_RESERVE, .length = blocks };

	set_name(&op, "main");
	run_op(t, &op);
}

static void call(struct test *t, int (*fn)(struct fs *), const char *name)
{
	int rc;

	fault_alloc_arm(true);
	rc = fn(t->fs);
	fault_alloc_arm(false);
	sim_check(!rc || clean_error(t, rc), "step %u: %s: %s", t->step, name, sim_err(rc));
}

/* Removed while it is held, used as before, and let go of. */
static void unlinked(struct test *t, const char *name)
{
	struct op op = { .kind = OP_HOLD, .id = dir_id(t, name) };
	struct fs_id id = op.id;

	run_op(t, &op);
	if (!t->m->nheld)
		return;
	simple(t, OP_REMOVE, "", name);
	op = (struct op){ .kind = OP_WRITE, .id = id, .offset = 100, .len = 50000, .seed = 5 };
	run_op(t, &op);
	op = (struct op){ .kind = OP_READ, .id = id, .len = 60000 };
	run_op(t, &op);
	fs_unhold(t->fs, id);
	model_unhold(t->m, 0);
	call(t, fs_reap_all, "reap");
}

static void on_volume(struct test *t, enum op_kind kind, const char *snapshot, const char *target)
{
	struct op op = { .kind = kind, .force = true, .target = target ? strdup(target) : NULL };

	set_name(&op, kind == OP_VDESTROY ? target : "main");
	strcpy(op.name2, snapshot ? snapshot : "");
	op.name2_len = strlen(op.name2);
	run_op(t, &op);
}

/* The job over the volume, to its end. */
static int dedup(struct fs *fs)
{
	struct fs_dedup_status st;
	int rc = fs_dedup_start(fs, "main", 0);

	while (!rc) {
		fs_dedup_status(fs, &st);
		if (!st.running)
			return st.result;
		loop_sleep_ns(1000000);
	}
	return rc;
}

static int dedup_on(struct fs *fs)
{
	struct fs_req req;

	fs_req_admin(&req, fs);
	return fs_volume_set_dedup(&req, "main", true);
}

static int soft_limit(struct fs *fs)
{
	struct fs_req req;

	fs_req_admin(&req, fs);
	return fs_volume_set_space(&req, "main", -1, 100, -1);
}

/* Counted first; nothing that follows comes near it. */
static int physical_limit(struct fs *fs)
{
	const struct fs_limits l = { -1, -1, -1, 100000 };
	struct fs_req req;

	fs_req_admin(&req, fs);
	return fs_volume_limit(&req, "main", &l, NULL);
}

static int count_anew(struct fs *fs)
{
	struct fs_volume_info *v = malloc(sizeof(*v));
	int rc = v ? fs_volume_find(fs, "main", v) : -ENOMEM;
	struct fs_req req;

	fs_req_admin(&req, fs);
	if (!rc)
		rc = fs_volume_recount(&req, v->id, NULL);
	free(v);
	return rc;
}

static void copies(struct test *t, const char *a, const char *b)
{
	simple(t, OP_CREATE, "", a);
	simple(t, OP_CREATE, "", b);
	on_file(t, OP_WRITE, a, 4096, 90000, false);
	on_file(t, OP_WRITE, a, 1 << 20, 8192, false);
	on_file(t, OP_WRITE, b, 4096, 90000, true);
	on_file(t, OP_WRITE, b, 1 << 20, 8192, true);
}

static void script_base(struct test *t)
{
	simple(t, OP_CREATE, "", "gold");
	on_file(t, OP_WRITE, "gold", 0, 600000, true);
	on_file(t, OP_WRITE, "gold", 5000000000ULL, 5000, false);
	simple(t, OP_MKDIR, "", "dir");
	for (int i = 0; i < 30; i++) {
		char name[32];

		snprintf(name, sizeof(name), "a-rather-long-name-%d", i);
		simple(t, OP_CREATE, "dir", name);
	}
	to_name(t, OP_CLONE, "gold", "old", 3);
	on_volume(t, OP_SNAP, "first", NULL);
	on_file(t, OP_WRITE, "old", 8192, 100, true);
	on_xattr(t, OP_XSET, "old", "small", 10);
	on_xattr(t, OP_XSET, "old", "large", 9000);
}

static void script_log(struct test *t)
{
	on_reserve(t, 1000);
	on_volume(t, OP_SNAP, "second", NULL);
	on_quota(t, "dir", 1000);
	on_file(t, OP_WRITE, "old", 40000, 140000, true);
	to_name(t, OP_CLONE, "old", "older", 2);
	simple(t, OP_REMOVE, "", "old.1");
	on_tree(t, "dir", "tree");
	on_quota(t, "tree", 500);
	on_reserve(t, 300);
	on_file(t, OP_WRITE, "older", 5, 5, false);
	on_xattr(t, OP_XSET, "older", "small", 11);
	on_xattr(t, OP_XREMOVE, "older.1", "large", 0);
	copies(t, "same", "again");
	call(t, dedup, "dedup");
	call(t, dedup_on, "dedup on");
	copies(t, "found", "found again");
}

static void script(struct test *t)
{
	on_file(t, OP_READ, "gold", 0, 700000, false);
	to_name(t, OP_CLONE, "gold", "new", 20);
	on_file(t, OP_WRITE, "new", 100, 3, true);
	on_file(t, OP_WRITE, "new.1", 0, 200000, true);
	on_file(t, OP_WRITE, "new.1", 300000, 70000, false);
	on_file(t, OP_READ, "new.1", 0, 400000, false);
	on_quota(t, "dir", 400);
	simple(t, OP_CREATE, "dir", "x");
	on_quota(t, "dir", 0);
	on_quota(t, "tree", 1000);
	on_tree(t, "tree", "tree3");
	on_quota(t, "tree3", 1000);
	on_quota(t, "dir", 1000);
	on_quota(t, "tree", 0);
	on_reserve(t, 50);
	call(t, soft_limit, "a soft limit");
	call(t, physical_limit, "a limit of what is held");
	simple(t, OP_CREATE, "tree3", "y");
	simple(t, OP_SYMLINK, "", "sym");
	to_name(t, OP_LINK, "new", "hard", 0);
	to_name(t, OP_RENAME, "hard", "harder", 0);
	to_name(t, OP_RENAME, "harder", "new.2", 0);
	call(t, fs_checkpoint, "checkpoint");
	on_volume(t, OP_SNAP, "third", NULL);
	on_volume(t, OP_VCLONE, "second", "vol");
	call(t, count_anew, "count anew");
	on_tree(t, "tree", "tree2");
	unlinked(t, "new.9");
	on_xattr(t, OP_XSET, "old", "another", 20000);
	on_xattr(t, OP_XREMOVE, "old", "large", 0);
	on_xattr(t, OP_XSET, "dir", "x", 3);
	on_range(t, "gold", 4096, "new.6", 0, 100 * 4096);
	on_range(t, "gold", 0, "new.7", 2 << 20, 4 << 20);
	on_range(t, "old", 8192, "old", 1 << 20, 40960);
	on_range(t, "new.7", 2 << 20, "new.8", 0, 0);
	on_range(t, "gold", 0, "new.6", 0, 0);
	on_file(t, OP_PUNCH, "gold", 5000, 200000, true);
	on_file(t, OP_PUNCH, "new.7", 3, 5 << 20, false);
	on_file(t, OP_SETATTR, "new.1", 100001, 0, false);
	on_file(t, OP_WRITE, "gold", 5000001000ULL, 5000, true);
	on_file(t, OP_ALLOCATE, "new.10", 600000, 100000, false);
	simple(t, OP_REMOVE, "", "new.3");
	simple(t, OP_REMOVE, "", "gold");
	simple(t, OP_REMOVE, "", "old.2");
	call(t, fs_reap_all, "reap");
	on_file(t, OP_READ, "old", 0, 700000, false);
	on_file(t, OP_WRITE, "new.4", 1ULL << 44, 70000, true);
	on_volume(t, OP_RESTORE, "third", NULL);
	on_volume(t, OP_UNSNAP, "first", NULL);
	on_volume(t, OP_UNSNAP, "third", NULL);
	on_volume(t, OP_VDESTROY, NULL, "vol");
	on_quota(t, "dir", 300);
	on_reserve(t, 100);
	simple(t, OP_MKDIR, "dir", "sub");
	simple(t, OP_RMDIR, "dir", "sub");
	on_quota(t, "tree3", 0);
	on_reserve(t, 0);
	call(t, fs_checkpoint, "checkpoint");
	on_file(t, OP_WRITE, "new.5", 12288, 4096, true);
	copies(t, "three", "four");
	call(t, dedup, "dedup");
	on_file(t, OP_READ, "four", 0, 200000, false);
	on_file(t, OP_WRITE, "four", 12288, 4096, true);
	t->last = fs_last_seq(t->fs);
}

/* ---- one run ------------------------------------------------------------------------------ */

static bool allowed(void *arg, int rc)
{
	return clean_error(arg, rc);
}

static void inject(struct test *t)
{
	if (t->what == DISK)
		dev_sim_fail_nth(t->dev, t->n, t->for_good);
	if (t->what == ALLOC)
		fault_alloc_set(t->n, t->for_good);
}

/* All that happens while the fault is in. */
static void faulty(struct test *t)
{
	struct fs_status st;
	char why[256];
	int rc;

	fault_alloc_arm(true);
	rc = fs_open(t->dev, &config, &t->fs, why, sizeof(why));
	fault_alloc_arm(false);
	if (rc) {
		sim_check(clean_error(t, rc), "open: %s: %s", sim_err(rc), why);
		t->unopened++;
		return;
	}
	t->opened = true;
	t->last = fs_last_seq(t->fs);
	fs_status(t->fs, &st);
	if (st.readonly && strstr(st.reason, "may have been stable")) {
		/* The end of its log can't be read: it says so, and shows what was before. */
		sim_check(t->what != ALLOC, "no memory, and so the log is taken for unreadable");
		t->readonly++;
		fs_close(t->fs);		/* -EROFS: nothing can be written */
		return;
	}
	sim_compare_tolerant(t->fs, t->m, allowed, t);	/* all that was on the disk, or errors */
	script(t);
	sim_compare_tolerant(t->fs, t->m, allowed, t);
	fs_status(t->fs, &st);
	sim_check(!st.readonly || t->what != ALLOC, "no memory, and so for good read-only: %s", st.reason);
	t->readonly += st.readonly;
	fault_alloc_arm(true);
	rc = fs_close(t->fs);
	fault_alloc_arm(false);
	sim_check(!rc || clean_error(t, rc), "close: %s", sim_err(rc));
	if (!rc && !st.readonly)
		t->acked = t->last;
}

static void check_image(struct test *t, struct dev_sim_image *image, const char *what)
{
	struct dev *d = sim_disk_open(0, t->n + 7, image);
	struct fs *fs = sim_open(d, &config);
	struct fs_status st;

	fs_status(fs, &st);
	sim_check(!st.readonly, "%s: opened read-only: %s", what, st.reason);
	history_identify(&t->h, fs, 0, t->acked, t->last, what);
	sim_ok(fs_close(fs));
	sim_fsck(d, what);
	dev_close(d);
}

static void one_run(void *arg)
{
	struct test *t = arg;
	struct dev_sim_image *image;
	struct dev_sim_stats st;

	t->dev = sim_disk_open(0, 3, t->base);
	t->m = model_clone(t->base_m);
	t->acked = t->last = 0;
	t->opened = false;
	t->step = 0;
	history_push(&t->h, t->m, 0);
	inject(t);
	faulty(t);
	dev_sim_stats(t->dev, &st);
	t->hit = t->what == ALLOC ? fault_alloc_hit() : st.total >= t->n;
	dev_sim_clear_faults(t->dev);
	fault_alloc_set(0, false);
	for (int mode = 0; mode < 3; mode++) {
		static const char *const names[] = { "nothing unflushed is there", "all is there",
						     "parts are there" };

		image = dev_sim_crash_image(t->dev, mode == 0 ? DEV_SIM_CUT_DROP : mode == 1 ?
					    DEV_SIM_CUT_KEEP : DEV_SIM_CUT_RANDOM, t->n, NULL);
		check_image(t, image, names[mode]);
		dev_sim_image_put(image);
	}
	dev_close(t->dev);
	model_free(t->m);
	history_done(&t->h);
	t->runs++;
}

static void make_base(void *arg)
{
	struct test *t = arg;
	struct op op = { .kind = OP_VCREATE };
	struct fs_volume_info v;
	struct fs_attr root;
	struct fs_req req;

	t->dev = sim_disk_new(8192, 3);
	sim_ok(fs_format(t->dev, &(struct fs_format_opts){ .uuid = { 1 } }));
	t->fs = sim_open(t->dev, &config);
	t->m = model_new();
	set_name(&op, "main");
	sim_exec(t->fs, &op, NULL);
	sim_ok(op.rc);
	fs_req_admin(&req, t->fs);
	sim_ok(fs_volume_find(t->fs, "main", &v));
	sim_ok(fs_getattr(&req, v.root, &root));
	model_add_volume(t->m, &v, &root);
	script_base(t);
	sim_ok(fs_checkpoint(t->fs));
	script_log(t);
	sim_ok(fs_wait_stable(t->fs, fs_last_seq(t->fs)));
	fs_abandon(t->fs);
	t->base = dev_sim_crash_image(t->dev, DEV_SIM_CUT_KEEP, 0, NULL);
	t->base_m = t->m;
	dev_close(t->dev);
	history_done(&t->h);
}

/* Formatting: a pool, or an error and no pool; and then it can be done again. */
static void format_run(void *arg)
{
	struct test *t = arg;
	struct fs_format_opts opts = { .uuid = { 1 } };
	struct dev_sim_stats st;
	char why[256] = "";
	struct fs *fs;
	int rc;

	t->dev = sim_disk_new(8192, 3);
	dev_sim_fail_nth(t->dev, t->n, t->for_good);
	rc = fs_format(t->dev, &opts);
	dev_sim_stats(t->dev, &st);
	t->hit = st.total >= t->n;
	sim_check(!rc || rc == -EIO, "format: %s", sim_err(rc));
	sim_check(!t->for_good || !t->hit || rc, "formatted a disk that fails");
	dev_sim_clear_faults(t->dev);
	if (rc && !fs_open(t->dev, &config, &fs, why, sizeof(why))) {
		sim_ok(fs_close(fs));
		strcpy(why, "opened");
	}
	sim_check(!rc || why[0], "not opened, and no reason given");
	if (rc)
		sim_ok(fs_format(t->dev, &opts));
	fs = sim_open(t->dev, &config);
	sim_ok(fs_close(fs));
	sim_fsck(t->dev, "after formatting");
	dev_close(t->dev);
	t->runs++;
	t->refused += rc != 0;
}

static void all_runs(struct test *t, enum what what, bool for_good)
{
	static const char *const names[] = { "disk", "alloc", "format" };

	t->what = what;
	t->for_good = for_good;
	t->runs = t->refused = t->readonly = t->unopened = 0;
	for (t->n = t->good_from; ; t->n += t->stride) {
		snprintf(sim_replay, sizeof(sim_replay), "fault_test %s --at %llu%s", names[what],
			 (unsigned long long)t->n, for_good ? ":GOOD" : "");
		sim_run(what == FORMAT ? format_run : one_run, t);
		if (!t->hit)
			break;
	}
	printf("%s, %s: %u runs, %u operations refused, %u times read-only, %u times not opened\n",
	       names[what], for_good ? "for good" : "once", t->runs, t->refused, t->readonly,
	       t->unopened);
}

static void one_at(struct test *t, enum what what, const char *at)
{
	char *end;

	t->what = what;
	t->n = strtoull(at, &end, 0);
	t->for_good = *end == ':';
	snprintf(sim_replay, sizeof(sim_replay), "fault_test --at %s", at);
	sim_run(what == FORMAT ? format_run : one_run, t);
	printf("run %s: %s, %u operations refused, read-only %u, not opened %u\n", at,
	       t->hit ? "hit" : "not hit", t->refused, t->readonly, t->unopened);
}

int main(int argc, char **argv)
{
	struct test t = { .good_from = 1, .stride = 1 };
	const char *at = NULL, *mode = "disk";

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--trace"))
			sim_trace = true;
		else if (!strcmp(argv[i], "--at") && i + 1 < argc)
			at = argv[++i];
		else if (!strcmp(argv[i], "--stride") && i + 1 < argc)
			t.stride = strtoull(argv[++i], NULL, 0);
		else
			mode = argv[i];
	}
	enum what what = !strcmp(mode, "disk") ? DISK : !strcmp(mode, "alloc") ? ALLOC :
			 !strcmp(mode, "format") ? FORMAT : 99;
	if (what > FORMAT || !t.stride) {
		fprintf(stderr, "usage: fault_test disk|alloc|format [--at N[:GOOD]] [--stride N]\n");
		return 2;
	}
	sim_zeros_vanish = true;
	sim_run(make_base, &t);
	if (at) {
		one_at(&t, what, at);
	} else {
		all_runs(&t, what, false);
		all_runs(&t, what, true);
	}
	model_free(t.base_m);
	dev_sim_image_put(t.base);
	sim_check(!dev_sim_live_pages(), "pages of disks are left over");
	return 0;
}
