/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are held when they lose their last name: see fs_hold(). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/loop.h"
#include "rig.h"

#define LEN 40960

static struct fs_name nm(const char *s)
{
	return (struct fs_name){ s, strlen(s) };
}

static struct fs_attr attr(struct rig *r, struct fs_id id)
{
	struct fs_attr a = { 0 };

	sim_ok(fs_getattr(&r->req, id, &a));
	return a;
}

static void expect_gone(struct rig *r, struct fs_id id)
{
	struct fs_attr a;

	sim_ok(fs_reap_all(r->fs));
	sim_check(fs_getattr(&r->req, id, &a) == -ESTALE, "ino %llu is still there",
		  (unsigned long long)id.ino);
}

/* An orphan with what was written to it, which bears more. */
static void expect_orphan(struct rig *r, struct fs_id id, uint64_t seed)
{
	struct fs_attr a = attr(r, id);

	sim_check(!a.nlink, "nlink %u", a.nlink);
	rig_expect(r, id, 0, LEN, seed);
	rig_write(r, id, LEN, 4096, seed);
	rig_expect(r, id, LEN, 4096, seed);
	rig_truncate(r, id, LEN);
}

static struct fs_id make(struct rig *r, const char *name, uint64_t seed)
{
	struct fs_id id = rig_create(r, name);

	rig_write(r, id, 0, LEN, seed);
	return id;
}

static struct fs_id make_held(struct rig *r, const char *name, uint64_t seed)
{
	struct fs_id id = make(r, name, seed);

	sim_ok(fs_hold(r->fs, id));
	return id;
}

static void expect_name(struct rig *r, const char *name, int want)
{
	struct fs_attr a;
	int rc = fs_lookup(&r->req, r->root, nm(name), &a, NULL);

	sim_check(rc == want, "lookup %s: %s", name, sim_err(rc));
}

/* The three ways to lose the last name. */
static void removed(struct rig *r)
{
	struct fs_attr before, after;
	struct fs_id id;
	uint64_t free_blocks;

	make(r, "others", 9);
	id = make_held(r, "a", 1);	/* the orphan directory has a page now, and keeps it */
	rig_remove(r, "a");
	fs_unhold(r->fs, id);
	expect_gone(r, id);
	free_blocks = rig_free(r);
	id = make_held(r, "a", 1);
	before = attr(r, id);
	rig_remove(r, "a");
	after = attr(r, id);
	sim_check(after.change > before.change && after.ctime.sec * 1000000000 + after.ctime.nsec >=
		  before.ctime.sec * 1000000000 + before.ctime.nsec, "no change is to be seen");
	expect_name(r, "a", -ENOENT);
	expect_orphan(r, id, 1);
	make(r, "a", 2);		/* the name is free for another */
	rig_expect(r, id, 0, LEN, 1);
	fs_unhold(r->fs, id);
	expect_gone(r, id);
	rig_expect(r, rig_find(r, "a"), 0, LEN, 2);
	rig_remove(r, "a");
	sim_check(rig_free(r) == free_blocks, "blocks are lost");
}

static void replaced(struct rig *r)
{
	struct fs_id a = make_held(r, "a", 1), b = make_held(r, "b", 2), c;
	struct fs_attr import;

	sim_ok(fs_rename(&r->req, r->root, nm("a"), r->root, nm("b"), NULL, NULL));
	expect_orphan(r, b, 2);
	sim_check(attr(r, a).nlink == 1, "the wrong one lost its name");
	/* A file without a name leaves the orphan directory while another enters it. */
	sim_ok(fs_create_unnamed(&r->req, r->root.volume, 0600, &import));
	rig_write(r, import.id, 0, LEN, 3);
	sim_ok(fs_link(&r->req, import.id, r->root, nm("b"), true, NULL, NULL));
	expect_orphan(r, a, 1);
	expect_orphan(r, b, 2);
	c = rig_find(r, "b");
	sim_check(c.ino == import.id.ino && attr(r, c).nlink == 1, "the name leads to another");
	rig_expect(r, c, 0, LEN, 3);
	fs_unhold(r->fs, a);
	fs_unhold(r->fs, b);
	expect_gone(r, a);
	expect_gone(r, b);
	rig_expect(r, c, 0, LEN, 3);
}

static void names(struct rig *r)
{
	struct fs_id id = make_held(r, "a", 1), dir;
	struct fs_create how = { .type = FS_DIR, .how = FS_CREATE_GUARDED };
	struct fs_attr a;

	sim_ok(fs_link(&r->req, id, r->root, nm("b"), false, NULL, NULL));
	sim_ok(fs_hold(r->fs, id));	/* holds nest */
	rig_remove(r, "a");
	sim_check(attr(r, id).nlink == 1, "nlink %u", attr(r, id).nlink);
	rig_remove(r, "b");
	expect_orphan(r, id, 1);
	fs_unhold(r->fs, id);
	sim_ok(fs_reap_all(r->fs));
	expect_orphan(r, id, 1);
	fs_unhold(r->fs, id);
	sim_ok(fs_hold(r->fs, id));	/* before anything was removed */
	sim_ok(fs_reap_all(r->fs));
	expect_orphan(r, id, 1);
	fs_unhold(r->fs, id);
	expect_gone(r, id);

	id = make_held(r, "a", 1);
	fs_unhold(r->fs, id);
	expect_name(r, "a", 0);
	rig_remove(r, "a");
	expect_gone(r, id);

	sim_ok(fs_create(&r->req, r->root, nm("d"), &how, &a, NULL));
	dir = a.id;
	sim_ok(fs_hold(r->fs, dir));
	sim_ok(fs_rmdir(&r->req, r->root, nm("d"), NULL));
	sim_check(fs_getattr(&r->req, dir, &a) == -ESTALE, "a directory stays though it was removed");
	fs_unhold(r->fs, dir);
}

/* As linkat() of a file whose last name went; but imports get theirs. */
static void linked_back(struct rig *r)
{
	struct fs_id id = make_held(r, "a", 1);
	struct fs_req user;

	rig_remove(r, "a");
	sim_req(&user, r->fs, 1);
	sim_check(fs_link(&user, id, r->root, nm("b"), false, NULL, NULL) == -ENOENT, "a name again");
	expect_orphan(r, id, 1);
	sim_ok(fs_link(&r->req, id, r->root, nm("b"), false, NULL, NULL));
	fs_unhold(r->fs, id);
	sim_ok(fs_reap_all(r->fs));
	sim_check(attr(r, id).nlink == 1, "nlink %u", attr(r, id).nlink);
	rig_expect(r, rig_find(r, "b"), 0, LEN, 1);
	rig_remove(r, "b");
	expect_gone(r, id);
}

static void forgotten(struct rig *r)
{
	struct fs_attr a;

	sim_ok(fs_create_unnamed(&r->req, r->root.volume, 0600, &a));
	rig_write(r, a.id, 0, LEN, 1);
	sim_ok(fs_hold(r->fs, a.id));
	sim_ok(fs_forget(&r->req, a.id));
	expect_orphan(r, a.id, 1);
	fs_unhold(r->fs, a.id);
	expect_gone(r, a.id);
}

/* ---- restarts ---------------------------------------------------------------------------------- */

static void crashed(struct rig *r)
{
	struct fs_id id;

	make(r, "others", 9);
	for (int checkpointed = 0; checkpointed < 2; checkpointed++) {
		id = make_held(r, "a", 1);
		rig_remove(r, "a");
		rig_stable(r);
		if (checkpointed)
			sim_ok(fs_checkpoint(r->fs));
		rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
		expect_name(r, "a", -ENOENT);
		expect_gone(r, id);
	}
}

/* Who comes back in time has his file, through a crash and a clean restart. */
static void kept(struct rig *r)
{
	struct fs_id a = make_held(r, "a", 1), b = make_held(r, "b", 2), c = make_held(r, "c", 3);
	struct fs_attr import;

	r->cfg.keep_orphans = true;
	rig_remove(r, "a");
	sim_ok(fs_rename(&r->req, r->root, nm("c"), r->root, nm("b"), NULL, NULL));
	rig_write(r, a, 4096, 4096, 1);
	rig_stable(r);
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
	expect_orphan(r, a, 1);
	expect_orphan(r, b, 2);
	rig_reopen(r);
	expect_orphan(r, a, 1);
	expect_orphan(r, b, 2);
	sim_ok(fs_hold(r->fs, a));
	sim_ok(fs_create_unnamed(&r->req, r->root.volume, 0600, &import));
	fs_drop_orphans(r->fs);
	expect_gone(r, b);
	expect_orphan(r, a, 1);
	rig_expect(r, rig_find(r, "b"), 0, LEN, 3);
	sim_check(!attr(r, import.id).nlink, "an import under way is gone");
	sim_ok(fs_forget(&r->req, import.id));
	fs_unhold(r->fs, a);
	expect_gone(r, a);
	sim_check(attr(r, c).nlink == 1, "nlink %u", attr(r, c).nlink);
}

/* What is removed before anybody had the time to come back is kept for him; but not what is new. */
static void removed_early(struct rig *r)
{
	struct fs_id a = make(r, "a", 1), b = make(r, "b", 2), c = make(r, "c", 3), d;

	r->cfg.keep_orphans = true;
	rig_reopen(r);
	d = make(r, "d", 4);
	rig_remove(r, "a");
	sim_ok(fs_rename(&r->req, r->root, nm("c"), r->root, nm("b"), NULL, NULL));
	rig_remove(r, "d");
	expect_orphan(r, a, 1);
	expect_orphan(r, b, 2);
	expect_gone(r, d);
	sim_ok(fs_hold(r->fs, a));
	fs_unhold(r->fs, a);
	expect_orphan(r, a, 1);
	sim_ok(fs_hold(r->fs, b));
	fs_drop_orphans(r->fs);
	expect_gone(r, a);
	expect_orphan(r, b, 2);
	rig_remove(r, "b");
	expect_gone(r, c);
	fs_unhold(r->fs, b);
	expect_gone(r, b);
}

/* Closed at once after the last of many has gone: what is left is the next opening's. */
static void closed(struct rig *r)
{
	struct fs_id ids[60];
	char name[8];

	for (int keep = 0; keep < 2; keep++) {
		r->cfg.keep_orphans = keep;
		rig_reopen(r);
		for (int i = 0; i < 60; i++) {
			snprintf(name, sizeof(name), "f%d", i);
			ids[i] = make_held(r, name, i + 1);
			rig_remove(r, name);
		}
		for (int i = 0; i < 60; i++)
			fs_unhold(r->fs, ids[i]);
		rig_reopen(r);
		if (keep)
			fs_drop_orphans(r->fs);
		for (int i = 0; i < 60; i++)
			expect_gone(r, ids[i]);
	}
}

/* ---- limits ------------------------------------------------------------------------------------- */

static int fill(struct rig *r, struct fs_id id)
{
	struct iovec iov = { test_alloc(65536), 65536 };
	int rc = 0;

	memset(iov.iov_base, 1, 65536);
	for (uint64_t at = 0; !rc; at += iov.iov_len) {
		rc = fs_write(&r->req, id, at, &iov, 1, iov.iov_len, false, NULL);
		if (rc == -ENOSPC && iov.iov_len > 4096) {
			iov.iov_len = 4096;
			at -= 4096;
			rc = 0;
		}
	}
	free(iov.iov_base);
	return rc;
}

/* Deletes work on a full pool, though nothing comes of them yet. */
static void full(struct rig *r)
{
	struct fs_id ids[200], large;
	char name[8];

	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		ids[i] = rig_create(r, name);
		rig_write(r, ids[i], 0, 4096, i + 1);
		sim_ok(fs_hold(r->fs, ids[i]));
	}
	large = rig_create(r, "large");
	sim_check(fill(r, large) == -ENOSPC, "the pool does not fill up");
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		rig_remove(r, name);
		rig_expect(r, ids[i], 0, 4096, i + 1);
	}
	/* What nobody holds any more is there for others at once. */
	sim_ok(fs_hold(r->fs, large));
	rig_remove(r, "large");
	fs_unhold(r->fs, large);
	rig_write(r, rig_create(r, "new"), 0, 1 << 20, 7);
	for (int i = 0; i < 200; i++) {
		rig_expect(r, ids[i], 0, 4096, i + 1);
		fs_unhold(r->fs, ids[i]);
	}
	rig_expect(r, rig_find(r, "new"), 0, 1 << 20, 7);
}

static void many(struct rig *r)
{
	struct fs_id id = { .volume = 7, .generation = 1 }, last;

	for (id.ino = 1; id.ino <= FS_HOLDS_MAX; id.ino++)
		sim_ok(fs_hold(r->fs, id));
	sim_check(fs_hold(r->fs, id) == -ENFILE, "more than the limit");
	last = (struct fs_id){ .volume = 7, .generation = 1, .ino = 5 };
	sim_ok(fs_hold(r->fs, last));	/* what is held can be held again */
	fs_unhold(r->fs, last);
	fs_unhold(r->fs, last);
	sim_ok(fs_hold(r->fs, id));
	last = make(r, "a", 1);
	sim_check(fs_hold(r->fs, last) == -ENFILE, "more than the limit");
	rig_remove(r, "a");
	expect_gone(r, last);
	for (uint64_t i = 1; i <= id.ino; i++)
		if (i != 5)
			fs_unhold(r->fs, (struct fs_id){ .volume = 7, .generation = 1, .ino = i });
}

/* ---- others are at it, too ------------------------------------------------------------------------ */

static void volume_destroyed(struct rig *r)
{
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct fs_id root = r->root, a, b;

	sim_ok(fs_volume_create(&r->req, "other", v));
	r->root = v->root;
	a = make_held(r, "a", 1);
	b = make_held(r, "b", 2);
	rig_remove(r, "a");
	sim_ok(fs_volume_destroy(&r->req, "other"));
	sim_ok(fs_volume_create(&r->req, "other", v));
	r->root = v->root;
	sim_check(v->id != a.volume, "a number that handles know was given out again");
	make(r, "c", 3);
	fs_unhold(r->fs, a);
	expect_gone(r, a);
	fs_unhold(r->fs, b);
	expect_gone(r, b);
	rig_expect(r, rig_find(r, "c"), 0, LEN, 3);
	r->root = root;
	free(v);
}

static struct { struct rig *r; struct fs_id id; unsigned ns; } race;

static void race_remove(void *arg)
{
	rig_remove(race.r, "a");
}

static void race_hold(void *arg)
{
	loop_sleep_ns(race.ns);
	sim_ok(fs_hold(race.r->fs, race.id));
}

/* However a hold and a removal meet: the file is whole, or gone. */
static void at_once(struct rig *r)
{
	static void (*const fns[])(void *) = { race_remove, race_hold };
	unsigned there = 0;

	make(r, "others", 9);
	for (unsigned i = 0; i < 60; i++) {
		struct fs_attr a;
		int rc;

		race.r = r;
		race.id = make(r, "a", 1);
		rig_reopen(r);		/* nothing is cached: the removal has to wait */
		race.ns = i * 20000;
		rig_parallel(r, fns, 2);
		rc = fs_getattr(&r->req, race.id, &a);
		sim_check(!rc || rc == -ESTALE, "getattr: %s", sim_err(rc));
		if (!rc) {
			there++;
			expect_orphan(r, race.id, 1);
		}
		fs_unhold(r->fs, race.id);
		expect_gone(r, race.id);
	}
	sim_check(there > 5 && there < 55, "the race had one outcome: %u of 60", there);
}

static const struct rig_test tests[] = {
	{ "removed", removed, 20000, 0, false },
	{ "replaced", replaced, 20000, 0, true },
	{ "names", names, 20000, 0, false },
	{ "linked_back", linked_back, 20000, 0, false },
	{ "forgotten", forgotten, 20000, 0, false },
	{ "crashed", crashed, 20000, 0, false },
	{ "kept", kept, 20000, 2, true },
	{ "removed early", removed_early, 20000, 0, true },
	{ "closed", closed, 20000, 0, true },
	{ "full", full, 6000, 0, true },
	{ "many", many, 20000, 0, false },
	{ "volume_destroyed", volume_destroyed, 20000, 0, true },
	{ "at_once", at_once, 20000, 0, false },
};

int main(int argc, char **argv)
{
	alarm(100);
	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
