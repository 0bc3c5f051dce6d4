/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quotas of directories and volumes, and reservations.  Each test ends with a check of the pool, which sums
 * up anew what counts for each quota.
 *
 *   quota_test [NAME]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "fs/account.h"
#include "fs/fs_int.h"
#include "fs/names.h"
#include "fs/repl.h"
#include "rig.h"
#include "tree/hold.h"

#define KIB4 4096u
#define MIB (1u << 20)

static struct fs_name name_of(const char *s) { return (struct fs_name){ s, strlen(s) }; }

static struct fs_id make(struct rig *r, struct fs_id dir, const char *name, enum fs_type type)
{
	struct fs_create how = { .type = type, .how = FS_CREATE_GUARDED };
	struct fs_attr a;

	sim_ok(fs_create(&r->req, dir, name_of(name), &how, &a, NULL));
	return a.id;
}

static struct fs_id find(struct rig *r, struct fs_id dir, const char *name)
{
	struct fs_attr a;

	sim_ok(fs_lookup(&r->req, dir, name_of(name), &a, NULL));
	return a.id;
}

static int write_at(struct rig *r, struct fs_id id, uint64_t offset, uint32_t len)
{
	unsigned char *buf = test_alloc(len);
	struct iovec iov = { buf, len };
	int err;

	rig_pattern(offset + len, offset, buf, len);
	err = fs_write(&r->req, id, offset, &iov, 1, len, false, NULL);
	free(buf);
	return err;
}

static struct fs_quota quota(struct rig *r, struct fs_id id)
{
	struct fs_quota q = { 0 };

	sim_ok(fs_quota_get(&r->req, id, &q));
	return q;
}

static struct fs_id quota_dir(struct rig *r, struct fs_id up, const char *name, int64_t limit)
{
	struct fs_id dir = make(r, up, name, FS_DIR);

	sim_ok(fs_quota_set(&r->req, dir, limit, -1, NULL));
	return dir;
}

static void cut(struct rig *r, uint64_t seed)
{
	rig_stable(r);
	rig_power_cut(r, DEV_SIM_CUT_DROP, seed);
}

static uint64_t mapped(struct rig *r)
{
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	uint64_t n;

	sim_ok(fs_volume_find(r->fs, "main", v));
	n = v->mapped_blocks;
	free(v);
	return n;
}

/* What names lead to, summed up: without attributes, each inode once for each of its names. */
static int add_up(void *arg, const struct fs_named *e)
{
	struct { struct rig *r; uint64_t blocks, files; } *s = arg;
	struct fs_attr a;

	sim_ok(fs_getattr(&s->r->req, e->id, &a));
	s->blocks += a.mapped_bytes / KIB4;
	s->files++;
	return 0;
}

static void recount(struct rig *r, struct fs_id dir)
{
	struct { struct rig *r; uint64_t blocks, files; } s = { r, 0, 1 };
	struct fs_quota q = quota(r, dir);
	struct fs_attr a;

	sim_ok(fs_getattr(&r->req, dir, &a));
	s.blocks = a.mapped_bytes / KIB4;
	sim_ok(fs_names_each(&r->req, dir, "/", add_up, &s));
	sim_check(q.used_blocks == s.blocks && q.files == s.files, "%llu blocks of %llu inodes, and it is %llu of %llu",
		  (unsigned long long)q.used_blocks, (unsigned long long)q.files, (unsigned long long)s.blocks,
		  (unsigned long long)s.files);
}

/* ---- directories -------------------------------------------------------------------------------- */

static void limit(struct rig *r)
{
	struct fs_id d = quota_dir(r, r->root, "d", 100), f = make(r, d, "f", FS_REG), sub = make(r, d, "sub", FS_DIR);
	struct fs_id g = make(r, sub, "g", FS_REG), other = rig_create(r, "other");
	struct fs_quota q = quota(r, g);
	struct fs_fsstat st;
	struct fs_attr a;
	uint64_t before;
	char deep[1025];

	sim_check(q.dir.ino == d.ino && q.limit_blocks == 100 && q.used_blocks == 2 && q.files == 4, "a fresh one");
	sim_check(fs_quota_get(&r->req, other, &q) == -ENODATA, "outside");
	sim_ok(write_at(r, f, 0, 90 * KIB4));
	sim_ok(write_at(r, other, 0, 200 * KIB4));
	before = mapped(r);
	sim_check(write_at(r, g, 0, 9 * KIB4) == -EDQUOT, "9 blocks of 8");
	sim_ok(fs_getattr(&r->req, g, &a));
	sim_check(!a.size && !a.mapped_bytes && mapped(r) == before && quota(r, g).used_blocks == 92, "it was changed");
	sim_ok(write_at(r, g, 0, 8 * KIB4));
	sim_ok(write_at(r, f, 0, 90 * KIB4));			/* what is there already */
	sim_check(write_at(r, g, 8 * KIB4, 1) == -EDQUOT, "one block more");
	sim_check(fs_allocate(&r->req, g, 0, 9 * KIB4, NULL) == -EDQUOT, "room for 9");
	sim_ok(fs_fsstat(&r->req, g, &st, NULL));
	sim_check(st.total_bytes == 100 * KIB4 && !st.avail_bytes, "fsstat inside");
	sim_ok(fs_fsstat(&r->req, other, &st, NULL));
	sim_check(st.total_bytes > 1000 * KIB4 && st.avail_bytes > 1000 * KIB4, "fsstat outside");
	memset(deep, 'x', sizeof(deep));
	sim_check(fs_xattr_set(&r->req, f, name_of("user.x"), deep, 100, 0, NULL) == -EDQUOT, "an attribute");
	sim_ok(fs_punch(&r->req, f, 0, 10 * KIB4, NULL));
	sim_check(quota(r, f).used_blocks == 90, "a hole");
	sim_ok(fs_xattr_set(&r->req, f, name_of("user.x"), deep, 100, 0, NULL));
	sim_check(quota(r, f).used_blocks == 91, "an attribute counts");
	sim_ok(fs_xattr_remove(&r->req, f, name_of("user.x"), NULL));
	rig_truncate(r, f, KIB4);
	recount(r, d);
	sim_check(fs_clone_range(&r->req, other, 0, g, 0, 100 * KIB4, NULL) == -EDQUOT, "a range");
	sim_ok(fs_clone_range(&r->req, other, 0, g, 0, 50 * KIB4, NULL));
	recount(r, d);
	cut(r, 1);
	recount(r, d);
	sim_ok(fs_remove(&r->req, sub, name_of("g"), NULL));
	sim_ok(fs_rmdir(&r->req, d, name_of("sub"), NULL));
	recount(r, d);
	sim_check(quota(r, d).used_blocks == 1, "what is left");
}

/* Ways in and out. */
static void borders(struct rig *r)
{
	struct fs_id d = quota_dir(r, r->root, "d", 100), e = quota_dir(r, r->root, "e", 50), u = rig_create(r, "u");
	struct fs_id f = make(r, d, "f", FS_REG), sub = make(r, d, "sub", FS_DIR);
	struct fs_name twice[2] = { name_of("c1"), name_of("c2") };
	struct fs_attr a;
	uint32_t n;

	sim_ok(write_at(r, u, 0, 20 * KIB4));
	sim_ok(write_at(r, f, 0, 20 * KIB4));
	sim_check(fs_rename(&r->req, r->root, name_of("u"), d, name_of("u"), NULL, NULL) == -EXDEV, "moved in");
	sim_check(fs_rename(&r->req, d, name_of("f"), r->root, name_of("f"), NULL, NULL) == -EXDEV, "moved out");
	sim_check(fs_rename(&r->req, d, name_of("f"), e, name_of("f"), NULL, NULL) == -EXDEV, "moved across");
	sim_check(fs_rename(&r->req, d, name_of("f"), r->root, name_of("u"), NULL, NULL) == -EXDEV, "replaced");
	sim_check(fs_rename(&r->req, r->root, name_of("e"), d, name_of("e"), NULL, NULL) == -EXDEV, "nested");
	sim_check(fs_link(&r->req, f, r->root, name_of("l"), false, NULL, NULL) == -EXDEV, "linked out");
	sim_check(fs_link(&r->req, u, d, name_of("l"), false, NULL, NULL) == -EXDEV, "linked in");
	sim_ok(fs_rename(&r->req, d, name_of("f"), sub, name_of("f"), NULL, NULL));
	sim_ok(fs_link(&r->req, f, d, name_of("l"), false, NULL, NULL));
	sim_ok(fs_remove(&r->req, d, name_of("l"), NULL));
	sim_ok(fs_rename(&r->req, r->root, name_of("e"), r->root, name_of("e2"), NULL, NULL));
	sim_check(fs_clone(&r->req, u, d, twice, 2, NULL, NULL) == 0, "clones in");
	recount(r, d);
	sim_check(fs_clone(&r->req, u, e, twice, 2, NULL, NULL) == 0, "clones in, once more");
	sim_check(fs_clone(&r->req, u, e, (struct fs_name[]){ name_of("c3") }, 1, NULL, NULL) == -EDQUOT, "one too many");
	recount(r, e);
	sim_check(fs_clone_tree(&r->req, d, e, name_of("t"), &a, &n) == -EDQUOT, "a tree too many");
	sim_ok(fs_clone_tree(&r->req, d, r->root, name_of("t"), &a, &n));
	sim_check(fs_quota_get(&r->req, a.id, &(struct fs_quota){ 0 }) == -ENODATA, "a clone with a quota");
	sim_ok(fs_quota_set(&r->req, e, 500, -1, NULL));
	sim_ok(fs_clone_tree(&r->req, d, e, name_of("t"), &a, &n));
	recount(r, e);
	/* A file without a name counts where it gets one. */
	sim_ok(fs_create_unnamed(&r->req, r->root.volume, 0600, &a));
	sim_ok(write_at(r, a.id, 0, 60 * KIB4));
	sim_check(fs_link(&r->req, a.id, d, name_of("new"), false, NULL, NULL) == -EDQUOT, "an import too large");
	recount(r, d);
	rig_truncate(r, a.id, 10 * KIB4);
	sim_ok(fs_link(&r->req, a.id, d, name_of("new"), false, NULL, NULL));
	recount(r, d);
	/* What it replaces makes room for it, unless that stays. */
	sim_ok(fs_quota_set(&r->req, d, quota(r, d).used_blocks + 2, -1, NULL));
	sim_ok(fs_create_unnamed(&r->req, r->root.volume, 0600, &a));
	sim_ok(write_at(r, a.id, 0, 12 * KIB4));
	sim_check(fs_link(&r->req, a.id, d, name_of("other"), true, NULL, NULL) == -EDQUOT, "no room beside it");
	sim_ok(fs_hold(r->fs, find(r, d, "new")));
	sim_check(fs_link(&r->req, a.id, d, name_of("new"), true, NULL, NULL) == -EDQUOT, "no room beside what is held");
	fs_unhold(r->fs, find(r, d, "new"));
	sim_ok(fs_link(&r->req, a.id, d, name_of("new"), true, NULL, NULL));
	recount(r, d);
	recount(r, e);
	cut(r, 2);
	recount(r, d);
	recount(r, e);
}

/* Setting it where files are already. */
static void existing(struct rig *r)
{
	struct fs_id d = make(r, r->root, "d", FS_DIR), sub = make(r, d, "sub", FS_DIR), f = make(r, sub, "f", FS_REG);
	struct fs_req user;
	struct fs_quota q, *all;
	uint32_t n;

	sim_ok(write_at(r, f, 0, 30 * KIB4));
	sim_ok(fs_link(&r->req, f, r->root, name_of("l"), false, NULL, NULL));
	sim_check(fs_quota_set(&r->req, d, 100, -1, NULL) == -EMLINK, "a name elsewhere");
	sim_ok(fs_remove(&r->req, r->root, name_of("l"), NULL));
	sim_ok(fs_link(&r->req, f, d, name_of("l"), false, NULL, NULL));
	sim_check(fs_quota_set(&r->req, d, 31, -1, NULL) == -EDQUOT, "below what is there");
	sim_check(fs_quota_get(&r->req, d, &q) == -ENODATA, "refused, and there");
	sim_check(fs_quota_set(&r->req, d, 100, 101, NULL) == -ERANGE, "soft above hard");
	sim_check(fs_quota_set(&r->req, f, 100, -1, NULL) == -ENOTDIR, "of a file");
	sim_check(fs_quota_set(&r->req, r->root, 100, -1, NULL) == -EINVAL, "of the root");
	sim_check(fs_quota_clear(&r->req, d) == -ENODATA, "cleared, and there is none");
	sim_req(&user, r->fs, 1);
	sim_check(fs_quota_set(&user, d, 100, -1, NULL) == -EPERM, "by anybody");
	sim_ok(fs_quota_set(&r->req, d, 100, 50, &q));
	sim_check(q.used_blocks == 32 && q.files == 3 && q.soft_blocks == 50, "%u blocks", (unsigned)q.used_blocks);
	sim_check(fs_quota_set(&r->req, sub, 100, -1, NULL) == -EBUSY, "inside");
	sim_check(fs_quota_clear(&r->req, sub) == -EBUSY, "cleared inside");
	sim_check(fs_quota_set(&r->req, d, 31, -1, NULL) == -EDQUOT, "below what counts");
	sim_ok(fs_quota_set(&r->req, d, 32, 0, NULL));
	sim_check(write_at(r, f, 30 * KIB4, 1) == -EDQUOT, "beyond the new limit");
	sim_ok(fs_quota_set(&r->req, d, 0, -1, NULL));
	sim_ok(write_at(r, f, 30 * KIB4, 1));
	sim_ok(fs_quota_list(&r->req, r->root.volume, &all, &n));
	sim_check(n == 1 && all[0].dir.ino == d.ino && all[0].used_blocks == 33, "the list");
	free(all);
	cut(r, 3);
	/* Whatever was in it counts for nothing any more, and then for another. */
	sim_ok(fs_quota_clear(&r->req, d));
	sim_check(fs_quota_get(&r->req, f, &q) == -ENODATA, "cleared");
	sim_ok(write_at(r, f, 0, 50 * KIB4));
	sim_ok(fs_quota_set(&r->req, sub, 60, -1, NULL) == -EMLINK ? 0 : -1);
	sim_ok(fs_remove(&r->req, d, name_of("l"), NULL));
	sim_ok(fs_quota_set(&r->req, sub, 60, -1, NULL));
	recount(r, sub);
	sim_check(fs_quota_set(&r->req, d, 100, -1, NULL) == -EBUSY, "around");
	sim_ok(fs_remove(&r->req, sub, name_of("f"), NULL));
	sim_ok(fs_rmdir(&r->req, d, name_of("sub"), NULL));
	sim_ok(fs_quota_list(&r->req, r->root.volume, &all, &n));
	sim_check(!n, "a quota of what is removed");
	free(all);
	/* What takes its inode is another. */
	sub = make(r, d, "sub", FS_DIR);
	sim_check(fs_quota_get(&r->req, sub, &q) == -ENODATA, "a heritage");
}

/* Many at a time, in the order in which they come and go. */
static void many(struct rig *r)
{
	struct fs_id dirs[40];
	struct fs_quota *all;
	char name[16];
	uint32_t n;

	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		dirs[i] = quota_dir(r, r->root, name, 50 + i);
		sim_ok(write_at(r, make(r, dirs[i], "f", FS_REG), 0, (i + 1) * KIB4));
	}
	for (unsigned i = 0; i < 40; i += 3)
		sim_ok(fs_quota_clear(&r->req, dirs[i]));
	cut(r, 4);
	sim_ok(fs_quota_list(&r->req, r->root.volume, &all, &n));
	sim_check(n == 26, "%u in the list", n);
	free(all);
	for (unsigned i = 0; i < 40; i++)
		if (i % 3)
			recount(r, dirs[i]);
	for (unsigned i = 39; i < 40; i--)
		if (i % 3)
			sim_ok(fs_quota_clear(&r->req, dirs[i]));
	sim_ok(fs_quota_list(&r->req, r->root.volume, &all, &n));
	sim_check(!n, "some are left");
	free(all);
}

/* A tree that is too large is refused, and says so. */
static void large(struct rig *r)
{
	struct fs_id d = make(r, r->root, "d", FS_DIR), f = make(r, d, "f", FS_REG);
	struct fs_name *names = test_alloc(FS_TREE_MAX * sizeof(*names));
	char (*text)[16] = test_alloc(FS_TREE_MAX * sizeof(*text));

	for (unsigned i = 0; i < FS_TREE_MAX; i++) {
		snprintf(text[i], sizeof(text[i]), "c%u", i);
		names[i] = name_of(text[i]);
	}
	sim_ok(fs_clone(&r->req, f, d, names, FS_TREE_MAX - 1, NULL, NULL));
	sim_check(fs_quota_set(&r->req, d, 10000, -1, NULL) == -E2BIG, "too many");
	sim_ok(fs_remove(&r->req, d, name_of("f"), NULL));
	sim_ok(fs_quota_set(&r->req, d, 10000, -1, NULL));
	recount(r, d);
	free(text);
	free(names);
}

/* Snapshots and clones of volumes have the quotas of their time. */
static void snapshots(struct rig *r)
{
	struct fs_id d = quota_dir(r, r->root, "d", 100), f = make(r, d, "f", FS_REG), e, in_clone;
	struct fs_quota *all;
	struct fs_attr a;
	uint32_t n;

	sim_ok(write_at(r, f, 0, 20 * KIB4));
	sim_ok(fs_snapshot_create(&r->req, "main", "s", NULL));
	sim_ok(write_at(r, f, 20 * KIB4, 50 * KIB4));
	e = quota_dir(r, r->root, "e", 10);
	sim_ok(write_at(r, make(r, e, "f", FS_REG), 0, 5 * KIB4));
	sim_ok(fs_volume_clone(&r->req, "main", "s", "copy", NULL));
	sim_ok(fs_lookup_path(&r->req, "copy", "/d/f", &a));
	in_clone = a.id;
	sim_check(quota(r, in_clone).used_blocks == 21, "the clone's");
	sim_check(write_at(r, in_clone, 20 * KIB4, 80 * KIB4) == -EDQUOT, "more than the clone may");
	sim_ok(write_at(r, in_clone, 20 * KIB4, 79 * KIB4));
	sim_check(quota(r, f).used_blocks == 71, "not the clone's affair");
	sim_ok(fs_lookup_path(&r->req, "main@s", "/d/f", &a));
	sim_check(quota(r, a.id).used_blocks == 21, "the snapshot's");
	sim_ok(fs_volume_restore(&r->req, "main", "s", true));
	recount(r, find(r, r->root, "d"));
	sim_ok(fs_quota_list(&r->req, r->root.volume, &all, &n));
	sim_check(n == 1 && all[0].used_blocks == 21, "the restored");
	free(all);
	e = quota_dir(r, r->root, "e", 10);
	cut(r, 5);
	recount(r, e);
	recount(r, d);
}

/* What is held counts though it has no name any more; and what a directory that is no more had, for none. */
static void held(struct rig *r)
{
	struct fs_id d = quota_dir(r, r->root, "d", 100), f = make(r, d, "f", FS_REG);

	sim_ok(write_at(r, f, 0, 20 * KIB4));
	sim_ok(fs_hold(r->fs, f));
	sim_ok(fs_remove(&r->req, d, name_of("f"), NULL));
	sim_check(quota(r, d).used_blocks == 21 && quota(r, d).files == 2, "held");
	sim_check(write_at(r, f, 20 * KIB4, 80 * KIB4) == -EDQUOT, "held, and without a limit");
	fs_unhold(r->fs, f);
	sim_ok(fs_reap_all(r->fs));
	recount(r, d);
	f = make(r, d, "f", FS_REG);
	sim_ok(write_at(r, f, 0, 20 * KIB4));
	sim_ok(fs_hold(r->fs, f));
	sim_ok(fs_remove(&r->req, d, name_of("f"), NULL));
	sim_ok(fs_rmdir(&r->req, r->root, name_of("d"), NULL));
	d = quota_dir(r, r->root, "d", 100);
	sim_ok(write_at(r, f, 20 * KIB4, 200 * KIB4));
	fs_unhold(r->fs, f);
	sim_ok(fs_reap_all(r->fs));
	recount(r, d);
}

static unsigned warnings;

static void count_warning(void *arg, enum log_level level, const char *text)
{
	warnings += level == LOG_WARN && strstr(text, "soft limit");
}

static void soft(struct rig *r)
{
	struct fs_id d = quota_dir(r, r->root, "d", 100), f = make(r, d, "f", FS_REG);

	log_capture(count_warning, NULL);
	sim_ok(fs_quota_set(&r->req, d, -1, 50, NULL));
	sim_ok(write_at(r, f, 0, 49 * KIB4));
	sim_check(!warnings, "a warning below");
	sim_ok(write_at(r, f, 49 * KIB4, KIB4));
	sim_check(warnings == 1, "no warning, but above");
	for (unsigned i = 0; i < 10; i++) {
		rig_truncate(r, f, 49 * KIB4);
		sim_ok(write_at(r, f, 49 * KIB4, 10 * KIB4));
	}
	sim_check(warnings == 1, "%u warnings", warnings);
	rig_truncate(r, f, 10 * KIB4);
	sim_ok(write_at(r, f, 10 * KIB4, 60 * KIB4));
	sim_check(warnings == 2, "once for each time");
	sim_ok(fs_volume_set_space(&r->req, "main", 1000, 100, -1));
	sim_check(fs_volume_set_space(&r->req, "main", 10, 5, -1) == -EDQUOT, "below what is used");
	sim_check(fs_volume_set_space(&r->req, "main", -1, 1001, -1) == -ERANGE, "soft above hard");
	sim_ok(write_at(r, rig_create(r, "u"), 0, 100 * KIB4));
	sim_check(warnings == 3, "none for the volume");
	/* It is above a limit at once, too, or has come to be by a restore. */
	sim_ok(fs_snapshot_create(&r->req, "main", "s", NULL));
	sim_ok(fs_volume_set_space(&r->req, "main", -1, 0, -1));
	sim_ok(fs_volume_set_space(&r->req, "main", -1, 90, -1));
	sim_check(warnings == 4, "none for a limit that is below what is used");
	sim_ok(fs_volume_set_space(&r->req, "main", -1, 80, -1));
	sim_check(warnings == 4, "%u warnings", warnings);
	rig_remove(r, "u");
	sim_ok(fs_volume_restore(&r->req, "main", "s", true));
	sim_check(warnings == 5, "none for what a restore has brought back");
	log_capture(NULL, NULL);
}

/* What is imported into a directory with a quota is in the volume before and after: it rises above nothing. */
static void soft_import(struct rig *r)
{
	struct fs_id d = quota_dir(r, r->root, "d", 0);
	struct fs_attr a;

	sim_ok(fs_create_unnamed(&r->req, r->root.volume, 0600, &a));
	sim_ok(write_at(r, a.id, 0, 100 * KIB4));
	warnings = 0;
	log_capture(count_warning, NULL);
	sim_ok(fs_volume_set_space(&r->req, "main", -1, 50, -1));
	sim_ok(write_at(r, a.id, 0, 101 * KIB4));
	sim_check(warnings == 1, "%u warnings", warnings);
	sim_ok(fs_link(&r->req, a.id, d, name_of("new"), false, NULL, NULL));
	log_capture(NULL, NULL);
	sim_check(warnings == 1, "%u warnings after the import", warnings);
	recount(r, d);
}

/* What is being received, or rebuilt, warns of nothing under its hidden name. */
static void soft_hidden(struct rig *r)
{
	const char *name = FS_HIDDEN_PREFIX "0123456789abcdef";
	struct fs_volume_info *v = test_alloc(sizeof(*v));

	sim_ok(write_at(r, rig_create(r, "f"), 0, 100 * KIB4));
	sim_ok(fs_snapshot_create(&r->req, "main", "s", NULL));
	sim_ok(fs_volume_set_space(&r->req, "main", 0, 50, -1));
	warnings = 0;
	log_capture(count_warning, NULL);
	sim_ok(fs_hidden_clone(&r->req, "main", "s", name, v));
	sim_ok(write_at(r, find(r, v->root, "f"), 0, 101 * KIB4));
	log_capture(NULL, NULL);
	sim_check(!warnings, "%u warnings", warnings);
	sim_ok(fs_hidden_destroy(&r->req, name));
	free(v);
}

/* What comes to so many pieces that it takes steps is refused before the first, too. */
static void many_pieces(struct rig *r)
{
	struct fs_id d = quota_dir(r, r->root, "d", 4000), f = make(r, d, "f", FS_REG), src = rig_create(r, "src");
	struct fs_attr a;

	for (unsigned i = 0; i < 20; i++)
		sim_ok(write_at(r, src, i * MIB, MIB));
	sim_check(fs_clone_range(&r->req, src, 0, f, KIB4, 20 * MIB, NULL) == -EDQUOT, "5120 blocks of 3999");
	sim_ok(fs_getattr(&r->req, f, &a));
	sim_check(!a.size && !a.mapped_bytes, "%llu bytes are mapped", (unsigned long long)a.mapped_bytes);
	sim_ok(fs_clone_range(&r->req, src, 0, f, KIB4, 15 * MIB, NULL));
	sim_ok(fs_clone_range(&r->req, src, 5 * MIB, f, KIB4, 15 * MIB, NULL));	/* over what is there */
	recount(r, d);
	rig_truncate(r, src, 1ull << 42);	/* more than is asked for at once, but holes */
	sim_ok(fs_clone_range(&r->req, src, 8 * MIB, f, MIB + KIB4, (1ull << 42) - 8 * MIB, NULL));
	recount(r, d);
}

/* Pages that a directory gets by its names count before it gets them; and where it gets none, nothing is needed. */
static void names(struct rig *r)
{
	struct fs_id d = quota_dir(r, r->root, "d", 60), f = make(r, d, "f", FS_REG);
	struct fs_name *n = test_alloc(1000 * sizeof(*n));
	char (*text)[256] = test_alloc(1000 * sizeof(*text));
	struct fs_create how = { .type = FS_DIR, .how = FS_CREATE_GUARDED };
	struct fs_attr a;

	for (unsigned i = 0; i < 1000; i++) {
		snprintf(text[i], sizeof(text[i]), "%0250u", i);
		n[i] = name_of(text[i]);
	}
	sim_check(fs_clone(&r->req, f, d, n, 1000, NULL, NULL) == -EDQUOT, "1000 long names");
	sim_check(quota(r, d).files == 2, "some of it was done");
	sim_ok(fs_clone(&r->req, f, d, n, 300, NULL, NULL));
	sim_ok(fs_quota_set(&r->req, d, quota(r, d).used_blocks, -1, NULL));
	sim_check(fs_create(&r->req, d, name_of("sub"), &how, &a, NULL) == -EDQUOT, "a directory in no block");
	for (unsigned i = 0, full = 0; !full; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%u", i);
		how.type = FS_REG;
		full = fs_create(&r->req, d, name_of(name), &how, &a, NULL) == -EDQUOT;
		sim_check(full || quota(r, d).used_blocks <= quota(r, d).limit_blocks, "above the limit");
		sim_check(i || !full, "a file without a block");
	}
	recount(r, d);
	free(text);
	free(n);
}

/* Whatever is done, in whatever order, the sums are right; over power cuts too. */
static void random_ops(struct rig *r)
{
	struct fs_id dirs[4];
	struct rng rng;

	rng_init(&rng, 77);
	for (unsigned i = 0; i < 4; i++)
		dirs[i] = i < 3 ? quota_dir(r, r->root, (char[]){ 'a' + i, 0 }, 300) : make(r, r->root, "x", FS_DIR);
	rig_stable(r);
	for (unsigned step = 0; step < 4000; step++) {
		struct fs_id d = dirs[rng_below(&rng, 4)], e = dirs[rng_below(&rng, 4)];
		char n1[] = { 'f', '0' + rng_below(&rng, 8), 0 }, n2[] = { 'f', '0' + rng_below(&rng, 8), 0 };
		struct fs_create how = { .type = FS_REG, .how = FS_CREATE_GUARDED };
		struct fs_name name = name_of(n2);
		struct fs_attr a;
		uint32_t n;
		int err = fs_lookup(&r->req, d, name_of(n1), &a, NULL);

		switch (rng_below(&rng, 12)) {
		case 0: fs_create(&r->req, d, name_of(n1), &how, &a, NULL); break;
		case 1: fs_remove(&r->req, d, name_of(n1), NULL); break;
		case 2: fs_rename(&r->req, d, name_of(n1), e, name, NULL, NULL); break;
		case 3: if (!err) fs_clone(&r->req, a.id, e, &name, 1, NULL, &a); break;
		case 4: if (!err) fs_punch(&r->req, a.id, rng_below(&rng, 100) * KIB4, 9 * KIB4, NULL); break;
		case 5: if (!err) fs_link(&r->req, a.id, e, name, rng_below(&rng, 2), NULL, NULL); break;
		case 6: if (!err) fs_clone_range(&r->req, a.id, 0, find(r, d, n1), 64 * KIB4, 0, NULL); break;
		case 7: if (rng_one_in(&rng, 8)) fs_clone_tree(&r->req, d, e, name_of("t"), &a, &n); break;
		case 8: if (rng_one_in(&rng, 20)) fs_quota_clear(&r->req, d); break;
		case 9: if (rng_one_in(&rng, 4)) fs_quota_set(&r->req, d, 200 + rng_below(&rng, 200), -1, NULL); break;
		case 10: if (!err) fs_xattr_set(&r->req, a.id, name, n1, rng_below(&rng, 2), 0, NULL); break;
		default: if (!err) write_at(r, a.id, rng_below(&rng, 90) * KIB4, 1 + rng_below(&rng, 20 * KIB4));
		}
		if (rng_one_in(&rng, 500)) {
			if (rng_one_in(&rng, 2))
				rig_stable(r);
			rig_power_cut(r, DEV_SIM_CUT_RANDOM, step);
			rig_reopen(r);
		}
	}
}

/* ---- damage ------------------------------------------------------------------------------------- */

enum harm { HARM_USED, HARM_FILES, HARM_PROJECT, HARM_OUTSIDE, HARM_HEAD, HARM_COUNT, HARM_NEXT, HARMS };
struct harming { enum harm what; struct fs_id id; };

static int do_harm(struct txn *t, void *arg)
{
	struct harming *h = arg;
	struct volume *vol;
	struct inode *i;
	int err = object_own(t, h->id, &vol, &i);

	if (err || !t->apply)
		return err;
	switch (h->what) {
	case HARM_USED: quota_in(i)->used += 5; break;
	case HARM_FILES: quota_in(i)->files--; break;
	case HARM_PROJECT: i->project = 0; break;
	case HARM_OUTSIDE: i->project = vol->last_project; i->project_dir = vol->quota_dir; break;
	case HARM_HEAD: vol->quota_dir = 0; break;
	case HARM_COUNT: vol->quota_dirs++; break;
	default: quota_in(i)->next = 0;
	}
	return 0;
}

static void count_line(void *arg, const char *line)
{
	++*(unsigned *)arg;
}

/* What is wrong is found, and set right. */
static void harm(struct rig *r, enum harm what)
{
	struct fs_check_opts o = { .repair = true };
	struct fs_id d[3], in = { 0 }, out = rig_create(r, "out");
	struct harming h = { .what = what };
	struct fs_check_stats st;
	struct fs_quota *all;
	unsigned said = 0;
	struct txn t;
	uint32_t n;

	for (unsigned i = 0; i < 3; i++) {
		d[i] = quota_dir(r, r->root, (char[]){ 'a' + i, 0 }, 100);
		in = make(r, d[i], "f", FS_REG);
		sim_ok(write_at(r, in, 0, 7 * KIB4));
	}
	h.id = what == HARM_PROJECT ? in : what == HARM_OUTSIDE ? out : d[1];
	txn_begin(&t, r->fs->pool);
	sim_ok(txn_run(&t, true, do_harm, &h));
	txn_end(&t);
	sim_ok(fs_checkpoint(r->fs));
	sim_ok(fs_close(r->fs));
	sim_check(fs_check(r->dev, count_line, &said, &st) > 0 && said, "harm %d isn't found", what);
	sim_check(fs_check_with(r->dev, &o, count_line, &said, &st) == 0, "harm %d isn't set right", what);
	rig_open(r);
	for (unsigned i = 0; i < 3; i++)
		recount(r, d[i]);
	sim_ok(fs_quota_list(&r->req, r->root.volume, &all, &n));
	sim_check(n == 3, "%u in the list", n);
	free(all);
	for (unsigned i = 0; i < 3; i++) {
		sim_ok(fs_remove(&r->req, d[i], name_of("f"), NULL));
		sim_ok(fs_rmdir(&r->req, r->root, name_of((char[]){ 'a' + i, 0 }), NULL));
	}
	rig_remove(r, "out");
}

static void damages(struct rig *r)
{
	for (enum harm what = 0; what < HARMS; what++)
		harm(r, what);
}

/* ---- reservations ------------------------------------------------------------------------------- */

static int reserve(struct rig *r, const char *volume, int64_t blocks)
{
	return fs_volume_set_space(&r->req, volume, -1, -1, blocks);
}

static struct fs_id volume(struct rig *r, const char *name)
{
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct fs_id root;

	sim_ok(fs_volume_create(&r->req, name, v));
	root = v->root;
	free(v);
	return root;
}

static uint64_t left(struct rig *r, const char *name)
{
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	uint64_t n;

	sim_ok(fs_volume_find(r->fs, name, v));
	n = v->reserve_left_blocks;
	free(v);
	return n;
}

/* Writes COUNT blocks from block FIRST on, or what there is room for: how many. */
static uint64_t fill(struct rig *r, struct fs_id f, uint64_t first, uint64_t count)
{
	uint64_t n = 0;

	for (uint32_t step = 64; step; step = step > 1 ? step / 8 : 0)
		while (n + step <= count) {
			int err = write_at(r, f, (first + n) * KIB4, step * KIB4);

			if (err == -ENOSPC)
				break;
			sim_ok(err);
			n += step;
		}
	return n;
}

static uint64_t avail(struct rig *r, struct fs_id id)
{
	struct fs_fsstat st;

	sim_ok(fs_reap_all(r->fs));
	sim_ok(fs_checkpoint(r->fs));
	sim_ok(fs_fsstat(&r->req, id, &st, NULL));
	return st.avail_bytes / KIB4;
}

#define RESERVE 3000ull
#define INDEX 40			/* blocks that come along with so many */

/* Others fill the pool; then the volume still writes all that is its own. */
static void kept(struct rig *r)
{
	struct fs_id v = volume(r, "v"), f = make(r, v, "f", FS_REG), hog = rig_create(r, "hog");
	uint64_t before = avail(r, r->root), n;

	sim_ok(write_at(r, f, 0, 100 * KIB4));
	sim_check(reserve(r, "v", before) == -ENOSPC, "more than there is");
	sim_check(avail(r, r->root) + 110 > before, "refused, and yet held");
	sim_ok(reserve(r, "v", RESERVE));
	sim_check(avail(r, r->root) + RESERVE + 110 < before, "others see it");
	sim_check(avail(r, v) + 110 > before, "it doesn't see its own");
	fill(r, hog, 0, UINT32_MAX);
	cut(r, 1);
	hog = rig_find(r, "hog");
	sim_check(!fill(r, hog, 1 << 20, 1), "after an opening, there is room");
	sim_check(left(r, "v") == RESERVE, "%u are left", (unsigned)left(r, "v"));
	n = fill(r, f, 100, RESERVE / 2);
	sim_check(n == RESERVE / 2, "%u blocks of the half", (unsigned)n);
	sim_check(left(r, "v") + n <= RESERVE && left(r, "v") + n + INDEX >= RESERVE, "%u are left of it",
		  (unsigned)left(r, "v"));
	sim_check(!fill(r, hog, 1 << 20, 1), "there is room for others");
	/* Over and over itself it takes nothing. */
	n = left(r, "v");
	for (unsigned k = 0; k < 5; k++)
		fill(r, f, 100, 1000);
	sim_check(left(r, "v") == n, "%u are left after overwriting", (unsigned)left(r, "v"));
	cut(r, 2);
	sim_check(left(r, "v") == n, "%u are left after replay", (unsigned)left(r, "v"));
	/* What is shared is not its alone. */
	sim_ok(fs_snapshot_create(&r->req, "v", "s", NULL));
	sim_ok(fs_volume_clone(&r->req, "v", NULL, "w", NULL));
	n = fill(r, f, 0, 1000);
	sim_check(n == 1000, "%u blocks of what is shared", (unsigned)n);
	n = left(r, "v");
	sim_check(n + 1000 + RESERVE / 2 <= RESERVE, "they cost nothing");
	sim_check(fill(r, f, 1 << 20, n - INDEX) == n - INDEX, "not to its end");
	sim_check(!fill(r, hog, 1 << 20, 1), "there is room for others, at its end");
	/* What it frees is its own again; what the clone holds is not free. */
	n = left(r, "v");
	rig_truncate(r, f, (1ull << 20) * KIB4);
	sim_ok(fs_reap_all(r->fs));
	sim_check(left(r, "v") > n + 300, "%u are left, of %u", (unsigned)left(r, "v"), (unsigned)n);
	sim_check(!fill(r, hog, 1 << 20, 1), "others got it");
}

/* Two of them, and what becomes of it when they go. */
static void two(struct rig *r)
{
	struct fs_id v = volume(r, "v"), w = volume(r, "w"), f = make(r, v, "f", FS_REG), g = make(r, w, "g", FS_REG);
	struct fs_id hog = rig_create(r, "hog");
	uint64_t before = avail(r, r->root);

	sim_ok(reserve(r, "v", RESERVE));
	sim_ok(reserve(r, "w", 2 * RESERVE));
	sim_check(reserve(r, "v", before) == -ENOSPC, "more than there is");
	sim_check(left(r, "v") == RESERVE, "refused, and changed");
	fill(r, hog, 0, UINT32_MAX);
	sim_check(fill(r, f, 0, RESERVE - INDEX) == RESERVE - INDEX, "the first");
	sim_check(fill(r, f, 1 << 20, 1000) < 2 * INDEX + 300, "the first took the second's");
	sim_check(fill(r, g, 0, 2 * RESERVE - INDEX) == 2 * RESERVE - INDEX, "the second");
	/* Removing gives it back to who had it, in the background. */
	sim_ok(fs_remove(&r->req, w, name_of("g"), NULL));
	sim_ok(fs_reap_all(r->fs));
	sim_check(left(r, "w") == 2 * RESERVE, "%u are left", (unsigned)left(r, "w"));
	sim_check(!fill(r, hog, 1 << 20, 1), "others got it");
	sim_ok(fs_volume_destroy(&r->req, "w"));
	sim_check(fill(r, hog, 1 << 20, 1000) == 1000, "it is still held");
	sim_ok(reserve(r, "v", 0));
	sim_check(avail(r, r->root) == avail(r, v), "something is held");
}

/* Blocks that a volume and its snapshots lead to. */
static uint64_t taken(struct rig *r, struct fs_id root)
{
	struct fs_account a = { .of = FS_ACCOUNT_VOLUME_ALL, .id = root, .exact = true };

	sim_ok(fs_reap_all(r->fs));
	sim_ok(fs_account(&r->req, &a));
	return a.stored.data + a.stored.meta;
}

/* While a scrub holds everything, what is overwritten is freed when it lets go: then it is given back. */
static void scrubbed(struct rig *r)
{
	struct fs_id v = volume(r, "v"), f = make(r, v, "f", FS_REG);
	struct pool *p = r->fs->pool;
	struct count_watch w = { 0 };
	struct tree_root held;
	uint64_t n;

	sim_ok(write_at(r, f, 0, 250 * KIB4));
	sim_ok(reserve(r, "v", RESERVE));
	for (unsigned round = 0; round < 4; round++) {
		n = left(r, "v");
		pool_reap_pause(p, true);
		sim_ok(tree_hold(p, &w, &held));
		sim_ok(write_at(r, f, 0, 200 * KIB4));
		if (round / 2)
			sim_ok(fs_checkpoint(r->fs));
		if (round / 2)
			sim_ok(write_at(r, f, 100 * KIB4, 150 * KIB4));
		if (round % 2) {
			cut(r, round);
			p = r->fs->pool;
		} else {
			sim_ok(tree_let_go(p));
			pool_reap_pause(p, false);
		}
		sim_ok(fs_reap_all(r->fs));
		sim_check(left(r, "v") == n, "%u are left after a scrub, of %u",
			  (unsigned)left(r, "v"), (unsigned)n);
	}
}

/* Something in the volume V, whose directory D has a file N1, or will have. */
static void anything(struct rig *r, struct rng *rng, struct fs_id d, struct fs_id e, const char *n1, const char *n2)
{
	struct fs_name name = name_of(n1), other = name_of(n2);
	struct fs_create how = { .type = FS_REG, .how = FS_CREATE_UNCHECKED };
	struct fs_id id;
	struct fs_attr a;

	sim_ok(fs_create(&r->req, d, name, &how, &a, NULL));
	id = a.id;
	switch (rng_below(rng, 12)) {
	case 0: fs_remove(&r->req, d, name, NULL); break;
	case 1: fs_rename(&r->req, d, name, e, other, NULL, NULL); break;
	case 2: fs_clone(&r->req, id, e, &other, 1, NULL, &a); break;
	case 3: fs_punch(&r->req, id, rng_below(rng, 100) * KIB4, 9 * KIB4, NULL); break;
	case 4: fs_clone_range(&r->req, id, 0, id, 64 * KIB4, 0, NULL); break;
	case 5: rig_truncate(r, id, rng_below(rng, 100) * KIB4); break;
	case 6: fs_xattr_set(&r->req, id, other, n1, rng_below(rng, 2), 0, NULL); break;
	case 7: if (rng_one_in(rng, 20)) fs_snapshot_create(&r->req, "v", n1, NULL); break;
	case 8: if (rng_one_in(rng, 10)) fs_snapshot_destroy(&r->req, "v", n1); break;
	case 9: if (rng_one_in(rng, 10)) fs_volume_restore(&r->req, "v", n1, true); break;
	default: write_at(r, id, rng_below(rng, 90) * KIB4, 1 + rng_below(rng, 80 * KIB4));
	}
}

/* What is left of a reservation is what it was, less all that was taken since: with snapshots, a scrub, and
 * duplicates; over power cuts. */
static void exact(struct rig *r)
{
	struct fs_id v = volume(r, "v"), dirs[3];
	uint64_t before, now;
	struct count_watch w = { 0 };
	struct tree_root held;
	bool holds = false;
	struct rng rng;

	sim_ok(fs_volume_set_dedup(&r->req, "v", true));
	for (unsigned i = 0; i < 3; i++)
		dirs[i] = make(r, v, (char[]){ 'a' + i, 0 }, FS_DIR);
	before = taken(r, v);
	sim_ok(reserve(r, "v", 3 * RESERVE));
	rig_stable(r);
	rng_init(&rng, 5);
	for (unsigned step = 1; step <= 4000; step++) {
		char n1[] = { 'f', '0' + rng_below(&rng, 6), 0 }, n2[] = { 'f', '0' + rng_below(&rng, 6), 0 };

		anything(r, &rng, dirs[rng_below(&rng, 3)], dirs[rng_below(&rng, 3)], n1, n2);
		if (step % 400 == 0)
			sim_ok(fs_reap_all(r->fs));
		if (step % 400 == 0)
			sim_ok(tree_hold(r->fs->pool, &w, &held));
		holds |= step % 400 == 0;
		if (step % 1000 == 0) {
			rig_power_cut(r, DEV_SIM_CUT_RANDOM, step);
			holds = false;
		}
		if (step % 400 == 100 && holds) {
			sim_ok(tree_let_go(r->fs->pool));
			holds = false;
		}
		now = holds ? 0 : taken(r, v);
		sim_check(holds || now + left(r, "v") == before + 3 * RESERVE, "step %u: %llu blocks, %llu at first; %llu are left",
			  step, (unsigned long long)now, (unsigned long long)before, (unsigned long long)left(r, "v"));
	}
}

/* A pool in which there is room for deletes alone is helped by giving up a reservation. */
static void given_up(struct rig *r)
{
	struct fs_id v = volume(r, "v"), hog;
	struct fs_status st;
	char name[16];

	make(r, v, "f", FS_REG);
	sim_ok(reserve(r, "v", RESERVE));
	for (unsigned i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		rig_create(r, name);
	}
	sim_ok(fs_snapshot_create(&r->req, "main", "s", NULL));
	hog = rig_create(r, "hog");
	fill(r, hog, 0, UINT32_MAX);
	for (unsigned i = 0; i < 400; i += 16) {	/* each copies a block of inodes that the snapshot holds */
		snprintf(name, sizeof(name), "f%u", i);
		rig_remove(r, name);
	}
	sim_ok(fs_checkpoint(r->fs));
	fs_status(r->fs, &st);
	sim_check(st.free_blocks < st.reserved_blocks + st.held_blocks, "the deletes took nothing");
	sim_check(!fill(r, hog, 1u << 20, 1), "there is room");
	sim_check(reserve(r, "v", 2 * RESERVE) == -ENOSPC, "there is room for more");
	sim_ok(reserve(r, "v", 100));
	sim_ok(reserve(r, "v", 0));
	sim_check(fill(r, hog, 1u << 20, 1000) == 1000, "it is still held");
}

/* What others, or the volume, do in a pool that is full most of the time.  The error. */
static int whatever(struct rig *r, struct rng *rng, struct fs_id dir, const char *volume, uint32_t max_blocks)
{
	char n1[] = { 'f', '0' + rng_below(rng, 30), 0 }, n2[] = { 'f', '0' + rng_below(rng, 30), 0 };
	struct fs_create how = { .type = FS_REG, .how = FS_CREATE_UNCHECKED };
	struct fs_setattr empty = { .mask = FS_SET_SIZE };
	struct fs_name name = name_of(n1), other = name_of(n2);
	struct fs_attr a;
	int err = fs_create(&r->req, dir, name, &how, &a, NULL);

	if (err)
		return err;
	switch (rng_below(rng, 13)) {
	case 0: sim_ok(fs_remove(&r->req, dir, name, NULL)); return 0;
	case 1: fs_rename(&r->req, dir, name, dir, other, NULL, NULL); return 0;
	case 2: fs_clone(&r->req, a.id, dir, &other, 1, NULL, &a); return 0;
	case 3: fs_punch(&r->req, a.id, rng_below(rng, 100) * KIB4, 9 * KIB4, NULL); return 0;
	case 4: if (rng_one_in(rng, 20)) fs_snapshot_create(&r->req, volume, n1, NULL); return 0;
	case 5: if (rng_one_in(rng, 10)) fs_snapshot_destroy(&r->req, volume, n1); return 0;
	case 6: if (rng_one_in(rng, 30)) fs_volume_restore(&r->req, volume, n1, true); return 0;
	case 7: if (rng_one_in(rng, 10)) fs_setattr(&r->req, a.id, &empty, NULL); return 0;
	case 8: if (rng_one_in(rng, 100)) fs_scrub_start(r->fs, 0); return 0;
	}
	return write_at(r, a.id, rng_below(rng, 3 * max_blocks) * KIB4, 1 + rng_below(rng, max_blocks * KIB4));
}

/* The volume gets what is left of its reservation, whatever others do. */
static void guaranteed(struct rig *r)
{
	struct fs_id v = volume(r, "v"), w = volume(r, "w");
	struct fs_status st;
	unsigned full = 0;
	struct rng rng;

	sim_ok(reserve(r, "v", RESERVE));
	sim_ok(fs_volume_set_dedup(&r->req, "main", true));
	rig_stable(r);
	rng_init(&rng, 3);
	for (unsigned step = 1; step <= 4000; step++) {
		bool mine = rng_one_in(&rng, 4), ws = rng_one_in(&rng, 3);
		uint64_t n = left(r, "v");
		int err = mine ? whatever(r, &rng, v, "v", 20) :
				 whatever(r, &rng, ws ? w : r->root, ws ? "w" : "main", 200);

		sim_check(!err || err == -ENOSPC, "step %u: %s", step, sim_err(err));
		sim_check(!err || !mine || n < 100, "step %u: no space, and %u blocks are left", step, (unsigned)n);
		full += err != 0;
		if (step % 500 == 0) {
			fs_scrub_stop(r->fs);
			rig_stable(r);
			rig_power_cut(r, DEV_SIM_CUT_RANDOM, step);
		}
		n = left(r, "v");
		fs_status(r->fs, &st);
		sim_check(st.held_blocks == n + HOLD_SLACK, "step %u: %u blocks are held, and %u left", step,
			  (unsigned)st.held_blocks, (unsigned)n);
	}
	fs_scrub_stop(r->fs);
	sim_check(full > 100, "it was full %u times only", full);
}

/* Who has used up what was reserved, and all that he can have beside it, leaves others room to delete. */
static void used_up(struct rig *r)
{
	struct fs_id v = volume(r, "v"), f = make(r, v, "f", FS_REG), hog = rig_create(r, "hog"), dir;
	char name[16];

	for (unsigned i = 0; i < 30; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		sim_ok(write_at(r, rig_create(r, name), 0, KIB4));
	}
	sim_ok(reserve(r, "v", 500));
	fill(r, hog, 0, UINT32_MAX);
	fill(r, f, 0, UINT32_MAX);
	sim_check(!left(r, "v"), "%u are left", (unsigned)left(r, "v"));
	sim_ok(fs_checkpoint(r->fs));
	sim_ok(fs_system_dir(&r->req, "d", &dir));
	for (unsigned i = 0; i < 30; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		rig_remove(r, name);
	}
}

static const struct rig_test tests[] = {
	{ "limit", limit, 20000, 0, false },
	{ "borders", borders, 20000, 0, false },
	{ "existing", existing, 20000, 0, false },
	{ "many", many, 20000, 0, false },
	{ "large", large, 40000, 0, false },
	{ "snapshots", snapshots, 20000, 0, false },
	{ "held", held, 20000, 0, false },
	{ "soft", soft, 20000, 0, false },
	{ "soft_import", soft_import, 20000, 0, false },
	{ "soft_hidden", soft_hidden, 20000, 0, false },
	{ "names", names, 40000, 0, false },
	{ "many_pieces", many_pieces, 40000, 0, false },
	{ "random", random_ops, 20000, 0, false },
	{ "damages", damages, 20000, 0, false },
	{ "kept", kept, 20000, 0, false },
	{ "kept_background", kept, 20000, 0, true },
	{ "scrubbed", scrubbed, 20000, 0, false },
	{ "exact", exact, 60000, 0, false },
	{ "given_up", given_up, 20000, 0, false },
	{ "guaranteed", guaranteed, 16000, 0, true },
	{ "used_up", used_up, 5000, 0, false },
	{ "two", two, 30000, 0, false },
	{ "two_background", two, 30000, 0, true },
};

int main(int argc, char **argv)
{
	alarm(100);
	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
