/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots and clones of volumes, one question at a time.  Random operations on them are in the model.
 *
 *   snapshot_test [NAME]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fiber.h"
#include "fs/family.h"
#include "rig.h"

static struct fs_name name_of(const char *s)
{
	return (struct fs_name){ s, strlen(s) };
}

static struct fs_attr attr_of(struct rig *r, struct fs_id id)
{
	struct fs_attr a;

	sim_ok(fs_getattr(&r->req, id, &a));
	return a;
}

static struct fs_id look(struct rig *r, struct fs_id dir, const char *name)
{
	struct fs_attr a;

	sim_ok(fs_lookup(&r->req, dir, name_of(name), &a, NULL));
	return a.id;
}

static void absent(struct rig *r, struct fs_id dir, const char *name)
{
	struct fs_attr a;
	int rc = fs_lookup(&r->req, dir, name_of(name), &a, NULL);

	sim_check(rc == -ENOENT, "'%s' is there: %s", name, sim_err(rc));
}

static void same_id(struct fs_id a, struct fs_id b, const char *what)
{
	sim_check(!memcmp(&a, &b, sizeof(a)), "%s: %u@%u:%llu, not %u@%u:%llu", what, a.volume, a.snapshot,
		  (unsigned long long)a.ino, b.volume, b.snapshot, (unsigned long long)b.ino);
}

static struct fs_id make(struct rig *r, struct fs_id dir, const char *name, enum fs_type type)
{
	struct fs_create how = { .type = type, .how = FS_CREATE_GUARDED, .target = "somewhere" };
	struct fs_attr a;

	sim_ok(fs_create(&r->req, dir, name_of(name), &how, &a, NULL));
	return a.id;
}

static struct fs_snapshot_info snap(struct rig *r, const char *name)
{
	struct fs_snapshot_info s;

	sim_ok(fs_snapshot_create(&r->req, "main", name, &s));
	return s;
}

static struct fs_id path(struct rig *r, const char *volume, const char *p)
{
	struct fs_attr a;

	sim_ok(fs_lookup_path(&r->req, volume, p, &a));
	return a.id;
}

static void stale(struct rig *r, struct fs_id id, const char *what)
{
	struct fs_attr a;
	int rc = fs_getattr(&r->req, id, &a);

	sim_check(rc == -ESTALE, "%s: %s", what, sim_err(rc));
}

/* ---- frozen -------------------------------------------------------------------------------------- */

/* a (100000 bytes), dir/b, dir/sub, l -> somewhere; then a snapshot, then all of it becomes other. */
static struct fs_snapshot_info freeze(struct rig *r, struct fs_id *dir, struct fs_id *a)
{
	struct fs_snapshot_info s;
	struct fs_id b;

	*a = rig_create(r, "a");
	rig_write(r, *a, 0, 100000, 1);
	*dir = make(r, r->root, "dir", FS_DIR);
	b = make(r, *dir, "b", FS_REG);
	rig_write(r, b, 5000, 5000, 2);
	make(r, *dir, "sub", FS_DIR);
	make(r, r->root, "l", FS_LNK);
	sim_ok(fs_xattr_set(&r->req, *a, name_of("x"), "old", 3, FS_XATTR_EITHER, NULL));
	s = snap(r, "s1");
	rig_write(r, *a, 4096, 10000, 3);
	rig_truncate(r, *a, 50000);
	sim_ok(fs_xattr_set(&r->req, *a, name_of("x"), "newer", 5, FS_XATTR_EITHER, NULL));
	sim_ok(fs_remove(&r->req, *dir, name_of("b"), NULL));
	sim_ok(fs_rmdir(&r->req, *dir, name_of("sub"), NULL));
	sim_ok(fs_rename(&r->req, r->root, name_of("l"), *dir, name_of("m"), NULL, NULL));
	make(r, *dir, "young", FS_DIR);
	return s;
}

static void frozen_is_right(struct rig *r, const struct fs_snapshot_info *s)
{
	struct fs_id a = path(r, "main@s1", "/a"), b = path(r, "main@s1", "dir/b");
	char target[FS_SYMLINK_MAX + 1], value[16];
	uint32_t len;

	same_id(path(r, "main@s1", "/"), s->root, "the snapshot's root");
	sim_check(attr_of(r, a).size == 100000 && attr_of(r, a).fsid == s->fsid, "another a");
	rig_expect(r, a, 0, 100000, 1);
	sim_check(attr_of(r, b).size == 10000, "another b");
	rig_expect(r, b, 5000, 5000, 2);
	sim_check(attr_of(r, path(r, "main@s1", "/dir/sub")).type == FS_DIR, "another sub");
	sim_ok(fs_readlink(&r->req, path(r, "main@s1", "/l"), target, NULL));
	sim_check(!strcmp(target, "somewhere"), "another target");
	sim_ok(fs_xattr_get(&r->req, a, name_of("x"), value, sizeof(value), &len));
	sim_check(len == 3 && !memcmp(value, "old", 3), "another attribute");
	absent(r, s->root, "m");
	absent(r, path(r, "main@s1", "/dir"), "young");
}

static void test_frozen(struct rig *r)
{
	struct fs_id dir, a;
	struct fs_snapshot_info s = freeze(r, &dir, &a), found;

	frozen_is_right(r, &s);
	rig_expect(r, a, 4096, 10000, 3);
	sim_check(attr_of(r, a).size == 50000, "the live file");
	absent(r, dir, "b");
	look(r, dir, "m");
	rig_stable(r);
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);	/* by the log's records */
	frozen_is_right(r, &s);
	rig_reopen(r);
	frozen_is_right(r, &s);
	sim_ok(fs_snapshot_find(r->fs, "main", "s1", &found));
	sim_check(!memcmp(&s, &found, sizeof(s)), "it was found as another");
	sim_check(fs_snapshot_find(r->fs, "main", "s2", &found) == -ENOENT, "found what is not there");
	sim_check(fs_snapshot_find(r->fs, "none", "s1", &found) == -ENOENT, "found in no volume");
}

/* Every operation that changes something, on what is in a snapshot and on the directory of snapshots. */
static void all_refused(struct rig *r, struct fs_id dir, struct fs_id file, struct fs_id live)
{
	struct fs_create how = { .type = FS_REG };
	struct fs_setattr set = { .mask = FS_SET_MODE };
	struct fs_req *q = &r->req;
	struct iovec iov = { "x", 1 };
	struct fs_name n = name_of("new");
	struct fs_attr a;
	const int rcs[] = {
		fs_create(q, dir, n, &how, &a, NULL), fs_setattr(q, file, &set, NULL),
		fs_setattr(q, dir, &set, NULL), fs_write(q, file, 0, &iov, 1, 1, true, NULL),
		fs_remove(q, dir, name_of("b"), NULL), fs_rmdir(q, dir, name_of("sub"), NULL),
		fs_rename(q, dir, name_of("b"), r->root, n, NULL, NULL),
		fs_rename(q, r->root, name_of("a"), dir, n, NULL, NULL),
		fs_link(q, live, dir, n, false, &a, NULL), fs_link(q, file, r->root, n, false, &a, NULL),
		fs_clone(q, live, dir, &n, 1, NULL, NULL), fs_punch(q, file, 0, 1, NULL),
		fs_clone_range(q, live, 0, file, 0, 4096, NULL),
		fs_xattr_set(q, file, name_of("x"), "y", 1, FS_XATTR_EITHER, NULL),
		fs_xattr_remove(q, file, name_of("x"), NULL), fs_forget(q, file),
	};

	for (unsigned i = 0; i < sizeof(rcs) / sizeof(*rcs); i++)
		sim_check(rcs[i] == -EROFS, "change number %u: %s", i, sim_err(rcs[i]));
}

static void test_read_only(struct rig *r)
{
	struct fs_id dir, a;
	struct fs_snapshot_info s = freeze(r, &dir, &a);
	uint64_t seq = fs_last_seq(r->fs);

	all_refused(r, path(r, "main@s1", "/dir"), path(r, "main@s1", "/a"), a);
	all_refused(r, look(r, dir, FS_SNAPSHOT_DIR), look(r, r->root, FS_SNAPSHOT_DIR), a);
	sim_check(fs_allocate(&r->req, path(r, "main@s1", "/a"), 0, 1 << 20, NULL) == -EROFS, "allocate");
	sim_check(fs_last_seq(r->fs) == seq, "something was logged");
	frozen_is_right(r, &s);
}

/* ---- the directory of snapshots --------------------------------------------------------------------- */

static void test_directory(struct rig *r)
{
	struct fs_id dir, a, list, then, young;
	struct fs_snapshot_info s = freeze(r, &dir, &a);
	struct fs_attr before, after;
	struct fs_read *read = test_alloc(sizeof(*read));

	list = look(r, dir, FS_SNAPSHOT_DIR);
	same_id(list, look(r, dir, FS_SNAPSHOT_DIR), "the same again");
	before = attr_of(r, list);
	sim_check(before.type == FS_DIR && fs_fileid(list) != fs_fileid(dir) && !(before.mode & 0222) &&
		  before.fsid == attr_of(r, dir).fsid, "the directory of snapshots");
	same_id(look(r, list, "."), list, "itself");
	same_id(look(r, list, ".."), dir, "up");
	then = look(r, list, "s1");
	same_id(then, path(r, "main@s1", "/dir"), "the directory as it was");
	same_id(look(r, then, ".."), s.root, "up within the snapshot");
	same_id(look(r, s.root, ".."), look(r, r->root, FS_SNAPSHOT_DIR), "up from the snapshot's root");
	absent(r, then, FS_SNAPSHOT_DIR);
	absent(r, list, "s2");
	absent(r, list, FS_SNAPSHOT_DIR);
	young = look(r, dir, "young");
	absent(r, look(r, young, FS_SNAPSHOT_DIR), "s1");
	sim_check(fs_read(&r->req, list, 0, 10, read) == -EISDIR, "read a directory");
	snap(r, "s2");
	after = attr_of(r, list);
	sim_check(after.change > before.change, "no change seen of a new snapshot");
	look(r, list, "s2");
	look(r, look(r, young, FS_SNAPSHOT_DIR), "s2");
	rig_reopen(r);
	same_id(look(r, list, "s1"), then, "after reopening");
	sim_ok(fs_rmdir(&r->req, dir, name_of("young"), NULL));
	stale(r, (struct fs_id){ young.volume, FS_SNAPDIR, young.ino, young.generation }, "of a directory "
	      "that is gone");
	free(read);
}

static void test_name_taken(struct rig *r)
{
	struct fs_id a = rig_create(r, "a");
	struct fs_name n = name_of(FS_SNAPSHOT_DIR);
	struct fs_create file = { .type = FS_REG }, dir = { .type = FS_DIR, .how = FS_CREATE_GUARDED };
	struct fs_req *q = &r->req;
	struct fs_attr at;

	sim_check(fs_create(q, r->root, n, &file, &at, NULL) == -EISDIR, "created");
	sim_check(fs_create(q, r->root, n, &dir, &at, NULL) == -EEXIST, "made");
	sim_check(fs_link(q, a, r->root, n, true, &at, NULL) == -EEXIST, "linked");
	sim_check(fs_rename(q, r->root, name_of("a"), r->root, n, NULL, NULL) == -EEXIST, "renamed to");
	sim_check(fs_rename(q, r->root, n, r->root, name_of("b"), NULL, NULL) == -EACCES, "renamed");
	sim_check(fs_clone(q, a, r->root, &n, 1, NULL, NULL) == -EEXIST, "cloned");
	sim_check(fs_remove(q, r->root, n, NULL) == -EACCES, "removed");
	sim_check(fs_rmdir(q, r->root, n, NULL) == -EACCES, "removed");
	sim_check(rig_count(r) == 1, "%u names", rig_count(r));
}

/* One entry at a time; between two of them a snapshot comes, and the last seen and the next one go. */
static void test_listing(struct rig *r)
{
	struct fs_id list = look(r, r->root, FS_SNAPSHOT_DIR);
	struct fs_dirlist l = { .cap = 4096, .max_entries = 1 };
	char seen[200] = "", name[8];
	uint64_t cookie = 0;

	for (int i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		snap(r, name);
	}
	l.buf = test_alloc(l.cap);
	do {
		const struct fs_dirent *e = l.buf;

		sim_ok(fs_readdir(&r->req, list, cookie, true, &l));
		if (!l.n)
			break;
		sim_check(e->cookie > cookie, "cookies don't ascend");
		cookie = e->cookie;
		strcat(strcat(seen, e->name), " ");
		if (cookie > 2)
			sim_check(e->attr.id.ino == r->root.ino && e->attr.id.snapshot &&
				  e->ino == fs_mounted_fileid(e->attr.id), "an entry of another");
		if (!strcmp(e->name, "s2")) {
			sim_ok(fs_snapshot_destroy(&r->req, "main", "s2"));
			sim_ok(fs_snapshot_destroy(&r->req, "main", "s3"));
			snap(r, "a-late-one");
		}
	} while (!l.eof);
	sim_check(!strcmp(seen, ". .. s0 s1 s2 s4 s5 a-late-one "), "listed: %s", seen);
	free(l.buf);
}

/* ---- names, and what is refused ---------------------------------------------------------------------- */

static void test_names(struct rig *r)
{
	static const char *const bad[] = { "", ".", "..", "-a", "a b", "a/b", "a@b", "a:b", "\xc3\xa4", ".x" };
	struct fs_snapshot_info s;
	char longest[FS_VOLUME_NAME_MAX + 2];

	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		sim_check(fs_snapshot_create(&r->req, "main", bad[i], NULL) == -EINVAL, "'%s'", bad[i]);
		sim_check(fs_volume_clone(&r->req, "main", NULL, bad[i], NULL) == -EINVAL, "'%s'", bad[i]);
	}
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	sim_check(fs_snapshot_create(&r->req, "main", longest, NULL) == -ENAMETOOLONG, "too long");
	sim_check(fs_volume_clone(&r->req, "main", NULL, longest, NULL) == -ENAMETOOLONG, "too long");
	longest[FS_VOLUME_NAME_MAX] = 0;
	s = snap(r, longest);
	sim_check(!strcmp(s.name, longest), "cut off");
	snap(r, "Daily-2026.11_1");
	snap(r, "main");			/* as a volume, or as another volume's snapshot */
	sim_check(fs_snapshot_create(&r->req, "main", "main", NULL) == -EEXIST, "twice");
	sim_check(fs_snapshot_create(&r->req, "none", "x", NULL) == -ENOENT, "of no volume");
	sim_check(fs_snapshot_create(&r->req, ".system", "x", NULL) == -ENOENT, "of the hidden volume");
	sim_check(fs_snapshot_destroy(&r->req, "main", "x") == -ENOENT, "destroyed what is not there");
	sim_check(fs_volume_restore(&r->req, "main", "x", false) == -ENOENT, "restored");
	sim_check(fs_volume_clone(&r->req, "main", "x", "c", NULL) == -ENOENT, "cloned");
	sim_check(fs_volume_clone(&r->req, "main", "main", "main", NULL) == -EEXIST, "cloned onto itself");
	sim_ok(fs_volume_clone(&r->req, "main", "main", "other", NULL));
	sim_ok(fs_snapshot_create(&r->req, "other", "main", NULL));
	sim_check(fs_volume_destroy(&r->req, "main") == -ENOTEMPTY, "destroyed with its snapshots");
	sim_check(fs_snapshot_count(r->fs, r->root.volume) == 3, "counted");
	rig_reopen(r);
	sim_check(fs_volume_destroy(&r->req, "other") == -ENOTEMPTY, "destroyed with its snapshot");
	sim_ok(fs_snapshot_destroy(&r->req, "other", "main"));
	sim_ok(fs_volume_destroy(&r->req, "other"));
	sim_check(fs_snapshot_find(r->fs, "other", "main", &s) == -ENOENT, "it is still there");
}

/* ---- many -------------------------------------------------------------------------------------------- */

#define MANY 1500

static unsigned list_all(struct rig *r)
{
	struct fs_snapshot_info s = { 0 };
	unsigned n = 0;
	int rc;

	while (!(rc = fs_snapshot_next(r->fs, r->root.volume, s.id, &s)))
		n++;
	sim_check(rc == -ENOENT, "%s", sim_err(rc));
	return n;
}

/* One block is other in each.  They go in no order, and give back all that they had. */
static void test_many(struct rig *r)
{
	struct fs_id f = rig_create(r, "f"), first;
	uint64_t before, after;
	struct rng rng;
	char name[16];
	bool gone[MANY] = { false };

	rig_write(r, f, 0, 400000, 1);
	before = rig_free(r);
	first = snap(r, "n0").root;
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		if (i)
			snap(r, name);
		rig_write_number(r, f, i % 90 * 4096, i + 1);
		if (i % 400 == 399)
			rig_reopen(r);
	}
	sim_check(list_all(r) == MANY && fs_snapshot_count(r->fs, r->root.volume) == MANY, "listed");
	rng_init(&rng, 5);
	for (unsigned left = MANY; left; left--) {
		unsigned i = rng_below(&rng, MANY);

		while (gone[i])
			i = (i + 1) % MANY;
		gone[i] = true;
		snprintf(name, sizeof(name), "main@n%u", i);
		if (i)
			sim_check(rig_read_number(r, path(r, name, "f"), (i - 1) % 90 * 4096) == i,
				  "snapshot %u has another's block", i);
		sim_ok(fs_snapshot_destroy(&r->req, "main", name + 5));
		if (left % 400 == 0)
			rig_reopen(r);
	}
	sim_check(!list_all(r), "some are left");
	after = rig_free(r);
	/* The table's last leaf, and the index blocks that it and the first one need. */
	sim_check(after + 4 == before, "%llu blocks were free, %llu are now", (unsigned long long)before,
		  (unsigned long long)after);
	stale(r, first, "a handle into a snapshot that is gone");
	snap(r, "n0");
	stale(r, first, "a handle into one that has its name");
}

/* ---- restoring ---------------------------------------------------------------------------------------- */

static void test_restore(struct rig *r)
{
	struct fs_id dir, a, young, mine;
	struct fs_snapshot_info s = freeze(r, &dir, &a);
	uint64_t changed = attr_of(r, a).change, dir_changed = attr_of(r, dir).change;

	young = look(r, dir, "young");
	snap(r, "later");
	sim_ok(fs_volume_restore(&r->req, "main", "s1", false));
	same_id(look(r, r->root, "a"), a, "the same file");
	sim_check(attr_of(r, a).size == 100000, "not restored");
	rig_expect(r, a, 0, 100000, 1);
	sim_check(attr_of(r, a).change > changed && attr_of(r, dir).change > dir_changed,
		  "changes run back");
	stale(r, young, "of after the snapshot");
	absent(r, dir, "young");
	changed = attr_of(r, a).change;
	rig_write(r, a, 0, 100, 9);
	sim_check(attr_of(r, a).change > changed, "a change that isn't seen");
	frozen_is_right(r, &s);
	mine = make(r, dir, "young", FS_DIR);
	sim_check(mine.generation > young.generation, "an event ran back");
	stale(r, young, "of another that has its name");
	look(r, path(r, "main@later", "/dir"), "young");
	rig_stable(r);
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
	rig_expect(r, a, 100, 99900, 1);
	frozen_is_right(r, &s);
	sim_ok(fs_volume_restore(&r->req, "main", "later", false));
	sim_check(attr_of(r, a).size == 50000, "not restored to the later one");
	same_id(look(r, dir, "young"), young, "it is there again");
	frozen_is_right(r, &s);
}

static int ask(void *arg, const struct fs_req *req, struct fs_id id, enum fs_use use)
{
	unsigned *asked = arg;

	return use == FS_USE_CHANGE && ++*asked < 3 ? -EAGAIN : 0;
}

static void test_restore_busy(struct rig *r)
{
	struct fs_id dir, a, frozen_a, gone;
	unsigned asked = 0;
	const struct fs_guard guard = { ask, &asked };

	freeze(r, &dir, &a);
	frozen_a = path(r, "main@s1", "/a");
	gone = rig_create(r, "gone");
	sim_ok(fs_hold(r->fs, frozen_a));
	sim_ok(fs_volume_restore(&r->req, "main", "s1", false));	/* nobody holds a live file */
	stale(r, gone, "of after the snapshot");
	rig_truncate(r, a, 5);
	gone = rig_create(r, "gone");
	sim_ok(fs_hold(r->fs, a));
	sim_ok(fs_hold(r->fs, gone));
	sim_check(fs_volume_restore(&r->req, "main", "s1", false) == -EBUSY, "under their hands");
	sim_check(attr_of(r, a).size == 5, "it was restored all the same");
	fs_set_guard(r->fs, &guard);
	sim_ok(fs_volume_restore(&r->req, "main", "s1", true));
	fs_set_guard(r->fs, NULL);
	sim_check(asked >= 3, "nobody was asked");
	sim_check(attr_of(r, a).size == 100000, "not restored");
	stale(r, gone, "of after the snapshot");
	fs_unhold(r->fs, gone);
	sim_ok(fs_remove(&r->req, r->root, name_of("a"), NULL));
	sim_check(attr_of(r, a).nlink == 0, "it is held");
	fs_unhold(r->fs, a);
	fs_unhold(r->fs, frozen_a);
	sim_ok(fs_reap_all(r->fs));
	stale(r, a, "nobody holds it");
	rig_expect(r, frozen_a, 0, 100000, 1);
}

/* ---- clones ------------------------------------------------------------------------------------------- */

static void test_clone(struct rig *r)
{
	struct fs_volume_info *v = test_alloc(3 * sizeof(*v)), *w = v + 1, *u = v + 2;
	struct fs_id dir, a, c;
	struct fs_snapshot_info s;
	uint64_t free_before = rig_free(r);

	sim_ok(fs_volume_set(&r->req, "main", "10.0.0.0/8 ro", 100000));
	s = freeze(r, &dir, &a);
	sim_ok(fs_volume_clone(&r->req, "main", "s1", "then", v));
	sim_ok(fs_volume_clone(&r->req, "main", NULL, "now", w));
	sim_check(v->quota_blocks == 100000 && !strcmp(v->exports, "10.0.0.0/8 ro") && v->id != w->id &&
		  v->fsid != w->fsid && v->fsid != s.fsid, "a clone's record");
	c = path(r, "then", "/a");
	sim_check(c.volume == v->id && !c.snapshot && c.ino == a.ino, "a clone's handles");
	rig_expect(r, c, 0, 100000, 1);
	sim_check(attr_of(r, path(r, "now", "/a")).size == 50000, "a clone of now");
	rig_write(r, c, 0, 100000, 7);
	sim_ok(fs_remove(&r->req, path(r, "now", "/"), name_of("a"), NULL));
	frozen_is_right(r, &s);
	rig_expect(r, a, 4096, 10000, 3);
	sim_ok(fs_snapshot_create(&r->req, "then", "s1", NULL));
	sim_ok(fs_volume_clone(&r->req, "then", "s1", "third", u));
	rig_stable(r);
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
	sim_ok(fs_snapshot_destroy(&r->req, "main", "s1"));
	sim_ok(fs_volume_destroy(&r->req, "main"));
	sim_ok(fs_reap_all(r->fs));
	rig_expect(r, c, 0, 100000, 7);
	sim_ok(fs_snapshot_destroy(&r->req, "then", "s1"));
	sim_ok(fs_volume_destroy(&r->req, "then"));
	sim_ok(fs_reap_all(r->fs));
	stale(r, c, "of a volume that is gone");
	rig_expect(r, path(r, "third", "/a"), 0, 100000, 7);
	rig_expect(r, path(r, "third", "/dir/b"), 5000, 5000, 2);
	sim_check(attr_of(r, path(r, "now", "/dir/m")).type == FS_LNK, "a clone of now");
	sim_ok(fs_volume_destroy(&r->req, "now"));
	sim_ok(fs_volume_destroy(&r->req, "third"));
	sim_ok(fs_volume_create(&r->req, "main", v));
	/* The table's only leaf isn't its first any more: an index block. */
	sim_check(rig_free(r) + 1 == free_before, "%llu blocks are lost",
		  (unsigned long long)(free_before - rig_free(r)));
	stale(r, (struct fs_id){ v->id, 0, c.ino, c.generation }, "a handle in another volume");
	free(v);
}

/* Files without a name stay with who holds them. */
static void test_orphans(struct rig *r)
{
	struct fs_id f = rig_create(r, "f"), import;
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct fs_attr a;
	uint64_t files;

	rig_write(r, f, 0, 40000, 1);
	sim_ok(fs_hold(r->fs, f));
	rig_remove(r, "f");
	sim_ok(fs_create_unnamed(&r->req, r->root.volume, 0600, &a));
	import = a.id;
	snap(r, "s");
	sim_ok(fs_volume_clone(&r->req, "main", "s", "c", NULL));
	sim_ok(fs_reap_all(r->fs));
	sim_ok(fs_volume_find(r->fs, "c", v));
	sim_check(v->files == 2 && v->mapped_blocks == 2, "%llu files in the clone",
		  (unsigned long long)v->files);
	sim_ok(fs_volume_find(r->fs, "main", v));
	files = v->files;
	sim_check(files == 4, "%llu files", (unsigned long long)files);
	sim_ok(fs_create_unnamed(&r->req, r->root.volume, 0600, &a));
	rig_write(r, f, 0, 4096, 2);
	sim_ok(fs_volume_restore(&r->req, "main", "s", true));
	sim_ok(fs_reap_all(r->fs));
	stale(r, import, "an import of before");
	stale(r, a.id, "an import of after");
	rig_expect(r, f, 0, 40000, 1);		/* it is held */
	fs_unhold(r->fs, f);
	sim_ok(fs_reap_all(r->fs));
	stale(r, f, "nobody holds it");
	sim_ok(fs_volume_find(r->fs, "main", v));
	sim_check(v->files == 2, "%llu files are left", (unsigned long long)v->files);
	free(v);
}

/* One file out of a snapshot, whole and in parts, back to its own name and beside it. */
static void test_file_out(struct rig *r)
{
	struct fs_id dir, a, old, out;
	struct fs_snapshot_info s = freeze(r, &dir, &a);
	struct fs_name n = name_of("out");
	struct fs_attr at;

	old = path(r, "main@s1", "/a");
	sim_ok(fs_clone(&r->req, old, r->root, &n, 1, NULL, &at));
	out = at.id;
	rig_expect(r, out, 0, 100000, 1);
	rig_write(r, out, 50000, 1000, 8);
	sim_ok(fs_clone_range(&r->req, old, 0, a, 0, 0, NULL));
	rig_expect(r, a, 0, 100000, 1);
	rig_write(r, a, 4096, 8192, 9);
	sim_ok(fs_clone_range(&r->req, old, 4096, a, 4096, 4096, NULL));
	rig_expect(r, a, 0, 8192, 1);
	rig_expect(r, a, 8192, 4096, 9);
	sim_ok(fs_clone_range(&r->req, old, 0, a, 40960, 40960, NULL));	/* within "itself", overlapping */
	frozen_is_right(r, &s);
	sim_ok(fs_snapshot_destroy(&r->req, "main", "s1"));
	sim_ok(fs_reap_all(r->fs));
	rig_expect(r, out, 0, 50000, 1);
	rig_expect(r, out, 50000, 1000, 8);
	sim_check(fs_clone(&r->req, old, r->root, &n, 1, NULL, NULL) == -ESTALE, "out of nothing");
	sim_ok(fs_volume_clone(&r->req, "main", NULL, "c", NULL));
	sim_check(fs_clone(&r->req, path(r, "c", "/a"), r->root, &n, 1, NULL, NULL) == -EXDEV, "across");
}

/* ---- clones of directories ----------------------------------------------------------------------------- */

/* B has what A has, under the same names: other inodes, and as many. */
static unsigned same_tree(struct rig *r, struct fs_id a, struct fs_id b)
{
	struct fs_dirlist l = { .cap = 1 << 16 };
	const struct fs_dirent *e;
	uint64_t cookie = 2;
	unsigned n = 1;

	l.buf = test_alloc(l.cap);
	do {
		e = l.buf;
		sim_ok(fs_readdir(&r->req, a, cookie, true, &l));
		for (unsigned i = 0; i < l.n; i++, e = fs_dirent_next(e)) {
			struct fs_attr x;

			cookie = e->cookie;
			sim_ok(fs_lookup(&r->req, b, (struct fs_name){ e->name, e->name_len }, &x, NULL));
			sim_check(x.type == e->attr.type && x.mode == e->attr.mode && x.uid == e->attr.uid &&
				  x.size == e->attr.size && x.nlink == e->attr.nlink &&
				  x.mapped_bytes == e->attr.mapped_bytes && x.id.ino != e->attr.id.ino,
				  "'%s' is another", e->name);
			n += x.type == FS_DIR ? same_tree(r, e->attr.id, x.id) : 1;
		}
	} while (!l.eof);
	free(l.buf);
	return n;
}

static struct fs_id make_tree(struct rig *r)
{
	struct fs_id top = make(r, r->root, "top", FS_DIR), sub = make(r, top, "sub", FS_DIR), f;
	struct fs_attr a;
	char name[40];

	f = make(r, sub, "f", FS_REG);
	rig_write(r, f, 0, 100000, 1);
	sim_ok(fs_xattr_set(&r->req, f, name_of("x"), "y", 1, FS_XATTR_EITHER, NULL));
	sim_ok(fs_xattr_set(&r->req, sub, name_of("x"), "z", 1, FS_XATTR_EITHER, NULL));
	sim_ok(fs_link(&r->req, f, top, name_of("g"), false, &a, NULL));
	make(r, sub, "l", FS_LNK);
	make(r, sub, "empty", FS_DIR);
	for (unsigned i = 0; i < 700; i++) {	/* several pages */
		snprintf(name, sizeof(name), "a-rather-long-name-of-a-file-%u", i);
		make(r, sub, name, FS_REG);
	}
	for (unsigned i = 0; i < 700; i += 3) {
		snprintf(name, sizeof(name), "a-rather-long-name-of-a-file-%u", i);
		sim_ok(fs_remove(&r->req, sub, name_of(name), NULL));
	}
	return top;
}

static struct fs_id clone_tree(struct rig *r, struct fs_id src, const char *name)
{
	struct fs_attr a;
	uint32_t n;

	sim_ok(fs_clone_tree(&r->req, src, r->root, name_of(name), &a, &n));
	sim_check(n == 471, "%u inodes", n);
	return a.id;
}

static void test_tree(struct rig *r)
{
	struct fs_id top = make_tree(r), copy, old;
	struct fs_name n = name_of("x");
	struct fs_req user;
	struct fs_attr a;
	uint32_t count;
	char buf[4];

	snap(r, "s");
	copy = clone_tree(r, top, "copy");
	sim_check(same_tree(r, top, copy) == 472, "other files");
	same_id(look(r, copy, "g"), look(r, look(r, copy, "sub"), "f"), "both names of one file");
	same_id(look(r, look(r, copy, "sub"), ".."), copy, "up");
	rig_expect(r, look(r, copy, "g"), 0, 100000, 1);
	sim_ok(fs_xattr_get(&r->req, look(r, copy, "sub"), n, buf, 4, &count));
	rig_stable(r);
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
	same_tree(r, top, copy);
	rig_write(r, look(r, copy, "g"), 0, 4096, 2);
	make(r, look(r, copy, "sub"), "more", FS_REG);
	sim_ok(fs_remove(&r->req, look(r, top, "sub"), name_of("l"), NULL));
	rig_expect(r, look(r, top, "g"), 0, 100000, 1);
	look(r, look(r, copy, "sub"), "l");
	old = clone_tree(r, path(r, "main@s", "/top"), "old");
	same_tree(r, path(r, "main@s", "/top"), old);
	rig_reopen(r);
	same_tree(r, path(r, "main@s", "/top"), old);
	sim_check(fs_clone_tree(&r->req, top, top, n, &a, &count) == -EINVAL, "into itself");
	sim_check(fs_clone_tree(&r->req, top, look(r, top, "sub"), n, &a, &count) == -EINVAL, "into itself");
	sim_check(fs_clone_tree(&r->req, top, r->root, name_of("old"), &a, &count) == -EEXIST, "over another");
	sim_check(fs_clone_tree(&r->req, look(r, top, "g"), r->root, n, &a, &count) == -ENOTDIR, "of a file");
	sim_check(fs_clone_tree(&r->req, top, old, n, &a, &count) == 0, "beside it");
	sim_check(fs_clone_tree(&r->req, top, path(r, "main@s", "/top"), n, &a, &count) == -EROFS, "in the past");
	sim_req(&user, r->fs, 2);
	sim_check(fs_clone_tree(&user, top, r->root, n, &a, &count) == -EPERM, "by anybody");
}

#define CLONES 100u

static struct turns { struct rig *r; struct fs_id file; bool done; uint64_t longest; } turns;

static void family_side(void *arg)
{
	struct fs_family f;

	sim_ok(fs_family(&turns.r->req, turns.file, &f));
	sim_check(f.n == 1 + CLONES, "a family of %u", f.n);
	for (unsigned i = 1; i < f.n; i++)
		sim_check(f.r[i].by_volume && !f.r[i].parent, "number %u descends from another", i);
	fs_family_done(&f);
	turns.done = true;
}

/* How much is looked at between two turns, in blocks of the cache. */
static void others_side(void *arg)
{
	struct fs_status st;
	uint64_t before = 0;

	while (!turns.done) {
		fs_status(turns.r->fs, &st);
		if (before && st.cache_hits - before > turns.longest)
			turns.longest = st.cache_hits - before;
		before = st.cache_hits;
		fiber_yield();
	}
}

/* A family is looked for over many volumes and snapshots, and others have their turn. */
static void test_family_turns(struct rig *r)
{
	void (*const fns[])(void *) = { others_side, family_side };

	turns = (struct turns){ .r = r, .file = rig_create(r, "f") };
	for (unsigned i = 0; i < CLONES; i++) {
		char snapshot[16], volume[16];

		snprintf(snapshot, sizeof(snapshot), "s%u", i);
		snprintf(volume, sizeof(volume), "c%u", i);
		snap(r, snapshot);
		sim_ok(fs_volume_clone(&r->req, "main", snapshot, volume, NULL));
	}
	rig_parallel(r, fns, 2);
	sim_check(turns.longest < 2000, "%llu blocks without a turn of others", (unsigned long long)turns.longest);
}

int main(int argc, char **argv)
{
	static const struct rig_test tests[] = {
		{ "frozen", test_frozen, 8192, 0, false },
		{ "read-only", test_read_only, 8192, 0, false },
		{ "directory", test_directory, 8192, 0, false },
		{ "name-taken", test_name_taken, 8192, 0, false },
		{ "listing", test_listing, 8192, 0, false },
		{ "names", test_names, 8192, 0, false },
		{ "many", test_many, 60000, 0, false },
		{ "many-few-refs", test_many, 60000, 3, false },
		{ "restore", test_restore, 8192, 0, false },
		{ "restore-few-refs", test_restore, 8192, 2, false },
		{ "restore-busy", test_restore_busy, 8192, 0, false },
		{ "clone", test_clone, 8192, 0, false },
		{ "clone-few-refs", test_clone, 8192, 2, false },
		{ "clone-background", test_clone, 8192, 0, true },
		{ "orphans", test_orphans, 8192, 0, false },
		{ "file-out", test_file_out, 8192, 0, false },
		{ "file-out-few-refs", test_file_out, 8192, 2, false },
		{ "tree", test_tree, 16384, 0, false },
		{ "family-turns", test_family_turns, 16384, 0, false },
	};

	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
