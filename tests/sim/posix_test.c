/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What POSIX and RFC 1813 say of names, modes, owners and times, asked of the file system
 * itself: error codes that clients hide, and rules that only other users meet.
 *
 *   posix_test [NAME]
 *
 * Users: root, alice (1000, group 1000, also 2000), bob (1001, group 1001).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/loop.h"
#include "rig.h"

/* ---- short words ------------------------------------------------------------------------- */

static struct fs_req as(struct rig *r, uint32_t uid)
{
	struct fs_req q = { .fs = r->fs, .cred = { .uid = uid, .gid = uid } };

	if (uid == 1000) {
		q.cred.ngroups = 1;
		q.cred.groups[0] = 2000;
	}
	return q;
}

static struct fs_name nm(const char *s)
{
	return (struct fs_name){ s, strlen(s) };
}

static void want(int got, int expected, const char *what)
{
	sim_check(got == expected, "%s: %s, not %s", what, err_text(got), err_text(expected));
}
#define WANT(call, expected) want(call, expected, #call)

static int make(struct fs_req q, struct fs_id dir, const char *name, enum fs_type type,
		uint32_t mode, struct fs_attr *ret)
{
	struct fs_create how = { .type = type, .how = FS_CREATE_GUARDED,
				 .set = { .mask = FS_SET_MODE, .mode = mode }, .target = "x" };
	struct fs_attr a;

	return fs_create(&q, dir, nm(name), &how, ret ? ret : &a, NULL);
}

static struct fs_id made(struct fs_req q, struct fs_id dir, const char *name, enum fs_type type,
			 uint32_t mode)
{
	struct fs_attr a;

	sim_ok(make(q, dir, name, type, mode, &a));
	return a.id;
}

static struct fs_attr attr(struct rig *r, struct fs_id id)
{
	struct fs_attr a;

	sim_ok(fs_getattr(&r->req, id, &a));
	return a;
}

static int set_mode(struct fs_req q, struct fs_id id, uint32_t mode)
{
	struct fs_setattr s = { .mask = FS_SET_MODE, .mode = mode };

	return fs_setattr(&q, id, &s, NULL);
}

static int set_owner(struct fs_req q, struct fs_id id, int64_t uid, int64_t gid)
{
	struct fs_setattr s = { .mask = (uid >= 0 ? FS_SET_UID : 0) | (gid >= 0 ? FS_SET_GID : 0),
				.uid = uid, .gid = gid };

	return fs_setattr(&q, id, &s, NULL);
}

static int set_size(struct fs_req q, struct fs_id id, uint64_t size)
{
	struct fs_setattr s = { .mask = FS_SET_SIZE, .size = size };

	return fs_setattr(&q, id, &s, NULL);
}

static int put(struct fs_req q, struct fs_id id, const char *text)
{
	struct iovec iov = { (void *)text, strlen(text) };

	return fs_write(&q, id, 0, &iov, 1, iov.iov_len, false, NULL);
}

static int get(struct fs_req q, struct fs_id id)
{
	struct fs_read *rd = malloc(sizeof(*rd));
	int err = fs_read(&q, id, 0, 10, rd);

	if (!err)
		fs_read_done(q.fs, rd);
	free(rd);
	return err;
}

static int rename_to(struct fs_req q, struct fs_id from, const char *a, struct fs_id to,
		     const char *b)
{
	return fs_rename(&q, from, nm(a), to, nm(b), NULL, NULL);
}

static int unlink_(struct fs_req q, struct fs_id dir, const char *name)
{
	return fs_remove(&q, dir, nm(name), NULL);
}

static int rmdir_(struct fs_req q, struct fs_id dir, const char *name)
{
	return fs_rmdir(&q, dir, nm(name), NULL);
}

static int link_(struct fs_req q, struct fs_id file, struct fs_id dir, const char *name)
{
	return fs_link(&q, file, dir, nm(name), false, NULL, NULL);
}

static int find(struct fs_req q, struct fs_id dir, const char *name, struct fs_attr *ret)
{
	struct fs_attr a;

	return fs_lookup(&q, dir, nm(name), ret ? ret : &a, NULL);
}

static void mode_is(struct rig *r, struct fs_id id, uint32_t mode, const char *when)
{
	uint32_t got = attr(r, id).mode;

	sim_check(got == mode, "%s: mode %o, not %o", when, got, mode);
}

static void links_are(struct rig *r, struct fs_id id, uint32_t n)
{
	uint32_t got = attr(r, id).nlink;

	sim_check(got == n, "%u links, not %u", got, n);
}

/* ---- names ------------------------------------------------------------------------------- */

static void test_names(struct rig *r)
{
	struct fs_req root = as(r, 0);
	char n255[256], n256[257];
	struct fs_id f, d;

	memset(n255, 'n', 255);
	n255[255] = 0;
	memset(n256, 'n', 256);
	n256[256] = 0;
	f = made(root, r->root, "f", FS_REG, 0644);
	d = made(root, r->root, "d", FS_DIR, 0755);
	WANT(make(root, r->root, n255, FS_REG, 0644, NULL), 0);
	WANT(make(root, r->root, n256, FS_REG, 0644, NULL), -ENAMETOOLONG);
	WANT(find(root, r->root, n256, NULL), -ENAMETOOLONG);
	WANT(make(root, r->root, ".", FS_DIR, 0755, NULL), -EEXIST);
	WANT(make(root, r->root, "..", FS_REG, 0755, NULL), -EEXIST);
	WANT(make(root, r->root, "", FS_REG, 0755, NULL), -EINVAL);
	WANT(make(root, r->root, "a/b", FS_REG, 0755, NULL), -EINVAL);
	WANT(make(root, f, "x", FS_REG, 0644, NULL), -ENOTDIR);
	WANT(find(root, f, "x", NULL), -ENOTDIR);
	WANT(find(root, f, ".", NULL), -ENOTDIR);
	WANT(find(root, d, "x", NULL), -ENOENT);
	WANT(unlink_(root, f, "x"), -ENOTDIR);
	WANT(unlink_(root, d, "x"), -ENOENT);
	WANT(unlink_(root, r->root, "d"), -EISDIR);
	WANT(rmdir_(root, r->root, "f"), -ENOTDIR);
	WANT(rmdir_(root, d, "."), -EINVAL);
	WANT(rmdir_(root, d, ".."), -ENOTEMPTY);
	made(root, d, "in", FS_REG, 0644);
	WANT(rmdir_(root, r->root, "d"), -ENOTEMPTY);
	WANT(unlink_(root, d, "in"), 0);
	WANT(rmdir_(root, r->root, "d"), 0);
	WANT(make(root, d, "late", FS_REG, 0644, NULL), -ESTALE);
	WANT(link_(root, f, d, "late"), -ESTALE);
	WANT(get(root, d), -ESTALE);
	WANT(unlink_(root, r->root, n255), 0);
}

static void test_rename(struct rig *r)
{
	struct fs_req root = as(r, 0);
	struct fs_id f = made(root, r->root, "f", FS_REG, 0644), d, e, s, other;
	struct fs_volume_info v;
	struct fs_attr a;

	d = made(root, r->root, "d", FS_DIR, 0755);
	e = made(root, r->root, "e", FS_DIR, 0755);
	s = made(root, d, "s", FS_DIR, 0755);
	WANT(rename_to(root, r->root, "f", r->root, "f"), 0);
	WANT(rename_to(root, r->root, "d", r->root, "d"), 0);
	WANT(link_(root, f, r->root, "g"), 0);
	WANT(rename_to(root, r->root, "f", r->root, "g"), 0);	/* two names of one */
	links_are(r, f, 2);
	WANT(rename_to(root, r->root, "none", r->root, "x"), -ENOENT);
	WANT(rename_to(root, r->root, "d", s, "x"), -EINVAL);
	WANT(rename_to(root, r->root, "d", d, "x"), -EINVAL);
	WANT(rename_to(root, d, "s", r->root, "d"), -ENOTEMPTY);
	WANT(rename_to(root, r->root, "f", r->root, "e"), -EISDIR);
	WANT(rename_to(root, r->root, "e", r->root, "f"), -ENOTDIR);
	WANT(rename_to(root, r->root, "e", r->root, "d"), -ENOTEMPTY);
	WANT(rename_to(root, r->root, ".", r->root, "x"), -EINVAL);
	WANT(rename_to(root, r->root, "f", r->root, ".."), -EINVAL);
	WANT(rename_to(root, f, "x", r->root, "x"), -ENOTDIR);
	links_are(r, d, 3);
	links_are(r, r->root, 4);
	WANT(rename_to(root, d, "s", e, "s"), 0);
	links_are(r, d, 2);
	links_are(r, e, 3);
	WANT(find(root, s, "..", &a), 0);
	sim_check(a.id.ino == e.ino, ".. was left behind");
	WANT(rename_to(root, e, "s", r->root, "d"), 0);		/* over an empty directory */
	links_are(r, e, 2);
	links_are(r, r->root, 4);
	WANT(fs_getattr(&root, d, &a), -ESTALE);
	WANT(rename_to(root, r->root, "g", e, "g"), 0);
	made(root, r->root, "h", FS_REG, 0644);
	WANT(rename_to(root, r->root, "h", r->root, "f"), 0);	/* over one of two names */
	links_are(r, f, 1);
	sim_ok(fs_volume_create(&r->req, "other", &v));
	other = v.root;
	WANT(rename_to(root, e, "g", other, "g"), -EXDEV);
	WANT(link_(root, f, other, "g"), -EXDEV);
}

static void test_links(struct rig *r)
{
	struct fs_req root = as(r, 0), bob = as(r, 1001);
	struct fs_id f = made(root, r->root, "f", FS_REG, 0644);
	struct fs_id d = made(root, r->root, "d", FS_DIR, 0755);
	struct fs_time before;

	WANT(link_(root, d, r->root, "x"), -EISDIR);
	WANT(link_(root, f, r->root, "f"), -EEXIST);
	WANT(link_(root, f, r->root, "d"), -EEXIST);
	WANT(link_(root, f, r->root, "."), -EEXIST);
	WANT(link_(root, f, f, "x"), -ENOTDIR);
	WANT(link_(bob, f, d, "x"), -EACCES);
	before = attr(r, f).ctime;
	loop_sleep_ns(1000000);
	WANT(link_(root, f, d, "x"), 0);
	links_are(r, f, 2);
	sim_check(attr(r, f).ctime.nsec != before.nsec, "link left ctime");
	before = attr(r, f).ctime;
	loop_sleep_ns(1000000);
	WANT(unlink_(root, d, "x"), 0);
	sim_check(attr(r, f).ctime.nsec != before.nsec, "unlink of one of two left ctime");
	links_are(r, f, 1);
}

/* ---- permissions ------------------------------------------------------------------------- */

static void test_sticky(struct rig *r)
{
	struct fs_req root = as(r, 0), alice = as(r, 1000), bob = as(r, 1001);
	struct fs_id t = made(root, r->root, "tmp", FS_DIR, 01777), plain;

	plain = made(root, r->root, "plain", FS_DIR, 0777);
	made(alice, t, "hers", FS_REG, 0666);
	made(alice, t, "dir", FS_DIR, 0777);
	made(bob, t, "his", FS_REG, 0666);
	made(bob, plain, "his", FS_REG, 0666);
	WANT(unlink_(bob, t, "hers"), -EACCES);
	WANT(rmdir_(bob, t, "dir"), -EACCES);
	WANT(rename_to(bob, t, "hers", t, "x"), -EACCES);
	WANT(rename_to(bob, t, "hers", plain, "x"), -EACCES);
	WANT(rename_to(bob, t, "his", t, "hers"), -EACCES);
	WANT(rename_to(bob, plain, "his", t, "hers"), -EACCES);
	WANT(rename_to(bob, t, "his", t, "x"), 0);
	WANT(unlink_(alice, plain, "his"), 0);
	sim_ok(set_owner(root, t, 1001, -1));
	WANT(unlink_(bob, t, "hers"), 0);		/* the directory is his now */
}

static void test_directories(struct rig *r)
{
	struct fs_req root = as(r, 0), alice = as(r, 1000), bob = as(r, 1001);
	struct fs_id d = made(root, r->root, "x", FS_DIR, 0755), f;
	struct fs_dirlist list = { .cap = 4096 };
	uint64_t buf[512];
	struct fs_create open_ = { .type = FS_REG, .how = FS_CREATE_UNCHECKED };
	struct fs_attr a;

	list.buf = buf;
	sim_ok(set_owner(root, d, 1000, 1000));
	f = made(alice, d, "f", FS_REG, 0666);
	WANT(make(bob, d, "g", FS_REG, 0644, NULL), -EACCES);
	WANT(unlink_(bob, d, "f"), -EACCES);
	WANT(rename_to(bob, d, "f", d, "g"), -EACCES);
	WANT(fs_create(&bob, d, nm("f"), &open_, &a, NULL), 0);	/* opens what is there */
	sim_ok(set_mode(alice, d, 0711));
	WANT(fs_readdir(&bob, d, 0, false, &list), -EACCES);
	WANT(find(bob, d, "f", NULL), 0);
	WANT(put(bob, f, "x"), 0);
	sim_ok(set_mode(alice, d, 0744));
	WANT(fs_readdir(&bob, d, 0, false, &list), 0);
	WANT(find(bob, d, "f", NULL), -EACCES);
	WANT(fs_create(&bob, d, nm("f"), &open_, &a, NULL), -EACCES);
	WANT(find(root, d, "f", NULL), 0);
	sim_ok(set_mode(alice, d, 0000));
	WANT(find(alice, d, "f", NULL), -EACCES);
	WANT(make(root, d, "g", FS_REG, 0644, NULL), 0);
}

static void test_data(struct rig *r)
{
	struct fs_req root = as(r, 0), alice = as(r, 1000), bob = as(r, 1001);
	struct fs_id f, g;
	uint32_t allowed;

	sim_ok(set_mode(root, r->root, 0777));
	f = made(alice, r->root, "f", FS_REG, 0000);
	WANT(put(alice, f, "x"), 0);		/* the owner's open descriptor */
	WANT(get(alice, f), 0);
	WANT(put(bob, f, "x"), -EACCES);
	WANT(get(bob, f), -EACCES);
	WANT(set_size(bob, f, 0), -EACCES);
	WANT(set_size(alice, f, 1), 0);
	WANT(put(root, f, "x"), 0);
	WANT(fs_access(&alice, f, 63, &allowed, NULL), 0);
	sim_check(allowed == 0, "the owner is told %x of mode 000", allowed);
	WANT(fs_access(&root, f, 63, &allowed, NULL), 0);
	sim_check(allowed == (FS_ACCESS_READ | FS_ACCESS_MODIFY | FS_ACCESS_EXTEND),
		  "root is told %x of mode 000", allowed);
	sim_ok(set_mode(alice, f, 0711));
	WANT(get(bob, f), 0);			/* executing is reading */
	WANT(fs_access(&bob, f, 63, &allowed, NULL), 0);
	sim_check(allowed == FS_ACCESS_EXECUTE, "bob is told %x of 0711", allowed);
	/* The first class that fits decides: the group's bits do not help its owner. */
	g = made(root, r->root, "g", FS_REG, 0604);
	sim_ok(set_owner(root, g, 0, 2000));
	WANT(get(alice, g), -EACCES);
	WANT(get(bob, g), 0);
}

static int touch(struct fs_req q, struct fs_id id, uint32_t mask)
{
	struct fs_setattr s = { .mask = mask, .atime = { 1000, 1 }, .mtime = { 1000, 1 } };

	return fs_setattr(&q, id, &s, NULL);
}

static void test_owners(struct rig *r)
{
	struct fs_req root = as(r, 0), alice = as(r, 1000), bob = as(r, 1001);
	struct fs_id f;

	sim_ok(set_mode(root, r->root, 0777));
	f = made(alice, r->root, "f", FS_REG, 0666);
	WANT(set_mode(bob, f, 0777), -EPERM);
	WANT(set_owner(alice, f, 1001, -1), -EPERM);
	WANT(set_owner(alice, f, 1000, -1), 0);
	WANT(set_owner(alice, f, -1, 2000), 0);
	WANT(set_owner(alice, f, -1, 1001), -EPERM);
	WANT(set_owner(bob, f, -1, 1001), -EPERM);
	WANT(touch(bob, f, FS_SET_MTIME), -EPERM);
	WANT(touch(bob, f, FS_SET_MTIME_NOW | FS_SET_ATIME_NOW), 0);
	sim_ok(set_mode(alice, f, 0644));
	WANT(touch(bob, f, FS_SET_MTIME_NOW | FS_SET_ATIME_NOW), -EACCES);
	WANT(touch(alice, f, FS_SET_MTIME | FS_SET_ATIME), 0);
	sim_check(attr(r, f).mtime.sec == 1000, "mtime was not set");
	WANT(make(alice, r->root, "dev", FS_CHR, 0644, NULL), -EPERM);
	WANT(make(root, r->root, "dev", FS_CHR, 0644, NULL), 0);
	WANT(make(alice, r->root, "fifo", FS_FIFO, 0644, NULL), 0);
}

/* ---- setuid, setgid ---------------------------------------------------------------------- */

static void test_suid(struct rig *r)
{
	struct fs_req root = as(r, 0), alice = as(r, 1000), bob = as(r, 1001);
	struct fs_id f, d;

	sim_ok(set_mode(root, r->root, 0777));
	f = made(alice, r->root, "f", FS_REG, 06777);
	mode_is(r, f, 06777, "created");
	WANT(put(bob, f, "x"), 0);
	mode_is(r, f, 0777, "written by another");
	sim_ok(set_mode(alice, f, 06777));
	WANT(set_size(bob, f, 0), 0);
	mode_is(r, f, 0777, "truncated by another");
	sim_ok(set_mode(alice, f, 06777));
	WANT(set_owner(alice, f, -1, 2000), 0);
	mode_is(r, f, 0777, "given to another group");
	sim_ok(set_mode(alice, f, 06777));
	WANT(set_owner(root, f, 1001, -1), 0);
	mode_is(r, f, 0777, "given away by root");
	/* Who is not in the file's group cannot make it setgid. */
	sim_ok(set_owner(root, f, 1001, 2000));
	WANT(set_mode(bob, f, 02755), 0);
	mode_is(r, f, 0755, "setgid by a stranger to the group");
	WANT(set_mode(root, f, 02755), 0);
	mode_is(r, f, 02755, "setgid by root");
	/* A directory keeps its bit. */
	d = made(alice, r->root, "d", FS_DIR, 0775);
	sim_ok(set_mode(alice, d, 02775));
	WANT(set_owner(alice, d, -1, 2000), 0);
	mode_is(r, d, 02775, "a directory given to another group");
}

static void test_setgid_directory(struct rig *r)
{
	struct fs_req root = as(r, 0), alice = as(r, 1000), bob = as(r, 1001);
	struct fs_id d = made(root, r->root, "team", FS_DIR, 0777), sub, f;
	struct fs_attr a;

	sim_ok(set_owner(root, d, 0, 2000));
	sim_ok(set_mode(root, d, 02777));
	f = made(bob, d, "f", FS_REG, 0644);
	sim_check(attr(r, f).gid == 2000, "a file has group %u", attr(r, f).gid);
	sub = made(bob, d, "sub", FS_DIR, 0755);
	a = attr(r, sub);
	sim_check(a.gid == 2000 && a.mode == 02755, "a directory has group %u, mode %o",
		  a.gid, a.mode);
	/* A way to a setgid program of a foreign group. */
	f = made(bob, d, "prog", FS_REG, 02755);
	mode_is(r, f, 0755, "setgid made by a stranger to the group");
	f = made(alice, d, "prog2", FS_REG, 02755);
	mode_is(r, f, 02755, "setgid made by a member");
	rig_reopen(r);
	mode_is(r, rig_find(r, "team"), 02777, "after reopening");
}

/* The same through the log: what was decided for the caller holds in replay, too. */
static void test_replay(struct rig *r)
{
	struct fs_req root = as(r, 0), bob = as(r, 1001);
	struct fs_id d = made(root, r->root, "team", FS_DIR, 02777), f, g;
	struct fs_attr a;

	sim_ok(set_owner(root, d, 0, 2000));
	f = made(bob, d, "prog", FS_REG, 02755);
	g = made(bob, d, "prog2", FS_REG, 0755);
	sim_ok(set_mode(bob, g, 02711));
	rig_stable(r);
	rig_power_cut(r, 0, 5);
	mode_is(r, f, 0755, "a program replayed");
	mode_is(r, g, 0711, "a chmod replayed");
	sim_ok(fs_getattr(&r->req, d, &a));
	sim_check(a.mode == 02777 && a.gid == 2000, "the directory has mode %o, group %u",
		  a.mode, a.gid);
}

/* ---- exclusive create -------------------------------------------------------------------- */

static int exclusive(struct fs_req q, struct fs_id dir, const char *name, uint64_t verifier,
		     struct fs_id *ret)
{
	struct fs_create how = { .type = FS_REG, .how = FS_CREATE_EXCLUSIVE, .verifier = verifier };
	struct fs_attr a;
	int err = fs_create(&q, dir, nm(name), &how, &a, NULL);

	if (!err && ret)
		*ret = a.id;
	return err;
}

static void test_exclusive(struct rig *r)
{
	struct fs_req root = as(r, 0);
	struct fs_id a, b;

	WANT(exclusive(root, r->root, "e", 77, &a), 0);
	WANT(exclusive(root, r->root, "e", 77, &b), 0);
	sim_check(a.ino == b.ino && a.generation == b.generation, "a retry made another file");
	WANT(exclusive(root, r->root, "e", 78, NULL), -EEXIST);
	made(root, r->root, "plain", FS_REG, 0644);
	WANT(exclusive(root, r->root, "plain", 0, NULL), -EEXIST);
	WANT(exclusive(root, r->root, "zero", 0, NULL), 0);
	WANT(exclusive(root, r->root, "zero", 0, NULL), 0);
	made(root, r->root, "dir", FS_DIR, 0755);
	WANT(exclusive(root, r->root, "dir", 77, NULL), -EEXIST);
	rig_stable(r);
	rig_power_cut(r, 0, 3);
	WANT(exclusive(as(r, 0), r->root, "e", 77, &b), 0);
	WANT(exclusive(as(r, 0), r->root, "e", 78, NULL), -EEXIST);
	WANT(exclusive(as(r, 0), r->root, "zero", 0, NULL), 0);
}

/* ---- sizes and times --------------------------------------------------------------------- */

static void test_sizes(struct rig *r)
{
	struct fs_req root = as(r, 0);
	struct fs_id f = made(root, r->root, "f", FS_REG, 0644), d, s;
	struct iovec iov = { "x", 1 };
	char target[FS_SYMLINK_MAX + 2], got[FS_SYMLINK_MAX + 1];
	struct fs_create how = { .type = FS_LNK, .how = FS_CREATE_GUARDED, .target = target };
	struct fs_attr a;

	d = made(root, r->root, "d", FS_DIR, 0755);
	WANT(set_size(root, f, FS_MAX_SIZE), 0);
	WANT(set_size(root, f, (uint64_t)FS_MAX_SIZE + 1), -EFBIG);
	WANT(set_size(root, f, UINT64_MAX), -EFBIG);
	WANT(fs_write(&root, f, FS_MAX_SIZE, &iov, 1, 1, false, NULL), -EFBIG);
	WANT(fs_write(&root, f, UINT64_MAX, &iov, 1, 1, false, NULL), -EFBIG);
	WANT(fs_write(&root, f, FS_MAX_SIZE - 1, &iov, 1, 1, false, NULL), 0);
	sim_check(attr(r, f).size == (uint64_t)FS_MAX_SIZE, "not the largest size");
	WANT(set_size(root, f, 0), 0);
	sim_check(attr(r, f).mapped_bytes == 0, "blocks are left");
	WANT(set_size(root, d, 0), -EISDIR);
	WANT(get(root, d), -EISDIR);
	WANT(put(root, d, "x"), -EISDIR);
	memset(target, 't', sizeof(target));
	target[FS_SYMLINK_MAX + 1] = 0;
	WANT(fs_create(&root, r->root, nm("s"), &how, &a, NULL), -ENAMETOOLONG);
	target[FS_SYMLINK_MAX] = 0;
	WANT(fs_create(&root, r->root, nm("s"), &how, &a, NULL), 0);
	s = a.id;
	WANT(fs_readlink(&root, s, got, &a), 0);
	sim_check(!strcmp(got, target) && a.size == FS_SYMLINK_MAX, "a long target changed");
	WANT(fs_readlink(&root, f, got, &a), -EINVAL);
	WANT(set_size(root, s, 0), -EINVAL);
	WANT(put(root, s, "x"), -EINVAL);
}

enum { A = 1, M = 2, C = 4 };
static bool later(struct fs_time a, struct fs_time b)
{
	return a.sec != b.sec ? a.sec > b.sec : a.nsec > b.nsec;
}

/* Which of the times moved on since BEFORE. */
static void moved(struct rig *r, struct fs_id id, struct fs_attr *before, int expected,
		  const char *what)
{
	struct fs_attr a = attr(r, id);
	int got = (later(a.atime, before->atime) ? A : 0) |
		  (later(a.mtime, before->mtime) ? M : 0) |
		  (later(a.ctime, before->ctime) ? C : 0);

	sim_check(got == expected, "%s: times %x moved, not %x", what, got, expected);
	sim_check(!expected == (a.change == before->change), "%s: change attribute", what);
	*before = a;
	loop_sleep_ns(1000000);
}

static void test_times(struct rig *r)
{
	struct fs_req root = as(r, 0);
	struct fs_id d = made(root, r->root, "d", FS_DIR, 0755), e, f;
	struct fs_attr da, fa, ea;

	e = made(root, r->root, "e", FS_DIR, 0755);
	da = attr(r, d);
	ea = attr(r, e);
	loop_sleep_ns(1000000);
	f = made(root, d, "f", FS_REG, 0644);
	moved(r, d, &da, M | C, "create, of its directory");
	fa = attr(r, f);
	WANT(put(root, f, "text"), 0);
	moved(r, f, &fa, M | C, "write");
	moved(r, d, &da, 0, "write, of its directory");
	WANT(get(root, f), 0);
	moved(r, f, &fa, 0, "read");
	WANT(set_mode(root, f, 0600), 0);
	moved(r, f, &fa, C, "chmod");
	WANT(set_owner(root, f, 5, 5), 0);
	moved(r, f, &fa, C, "chown");
	WANT(set_size(root, f, 2), 0);
	moved(r, f, &fa, M | C, "truncate");
	WANT(touch(root, f, FS_SET_ATIME_NOW), 0);
	moved(r, f, &fa, A | C, "atime");
	WANT(rename_to(root, d, "f", e, "g"), 0);
	moved(r, f, &fa, C, "rename");
	moved(r, d, &da, M | C, "rename, of the old directory");
	moved(r, e, &ea, M | C, "rename, of the new directory");
	WANT(rename_to(root, e, "g", e, "g"), 0);
	moved(r, e, &ea, 0, "rename to itself");
	WANT(unlink_(root, e, "none"), -ENOENT);
	moved(r, e, &ea, 0, "a failed remove");
	WANT(unlink_(root, e, "g"), 0);
	moved(r, e, &ea, M | C, "remove");
}

/* ---- listing ----------------------------------------------------------------------------- */

/* One entry at a time, while half of the names go and others come: all that stay are seen once. */
static void test_listing(struct rig *r)
{
	struct fs_req root = as(r, 0);
	uint64_t buf[128], cookie = 0;
	struct fs_dirlist list = { .buf = buf, .cap = sizeof(buf), .max_entries = 1 };
	unsigned seen[200] = { 0 }, n = 0;
	char name[16];

	for (unsigned i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "f%03u", i);
		made(root, r->root, name, FS_REG, 0644);
	}
	do {
		const struct fs_dirent *e = list.buf;

		WANT(fs_readdir(&root, r->root, cookie, n & 1, &list), 0);
		if (!list.n)
			break;
		cookie = e->cookie;
		if (e->name[0] == 'f')
			seen[atoi(e->name + 1)]++;
		if (n < 100) {			/* the odd ones go */
			snprintf(name, sizeof(name), "f%03u", 2 * n + 1);
			unlink_(root, r->root, name);
			snprintf(name, sizeof(name), "new%u", n);
			made(root, r->root, name, FS_REG, 0644);
		}
		n++;
	} while (!list.eof);
	for (unsigned i = 0; i < 200; i++)
		sim_check(seen[i] == 1 || (i % 2 && !seen[i]), "f%03u was listed %u times", i,
			  seen[i]);
	list.cap = 16;
	WANT(fs_readdir(&root, r->root, 0, false, &list), -EINVAL);
}

/* ---- all --------------------------------------------------------------------------------- */

static const struct rig_test tests[] = {
	{ .name = "names", .fn = test_names, .nblocks = 8192 },
	{ .name = "rename", .fn = test_rename, .nblocks = 8192 },
	{ .name = "links", .fn = test_links, .nblocks = 8192 },
	{ .name = "sticky", .fn = test_sticky, .nblocks = 8192 },
	{ .name = "directories", .fn = test_directories, .nblocks = 8192 },
	{ .name = "data", .fn = test_data, .nblocks = 8192 },
	{ .name = "owners", .fn = test_owners, .nblocks = 8192 },
	{ .name = "suid", .fn = test_suid, .nblocks = 8192 },
	{ .name = "setgid_directory", .fn = test_setgid_directory, .nblocks = 8192 },
	{ .name = "replay", .fn = test_replay, .nblocks = 8192 },
	{ .name = "exclusive", .fn = test_exclusive, .nblocks = 8192 },
	{ .name = "sizes", .fn = test_sizes, .nblocks = 8192 },
	{ .name = "times", .fn = test_times, .nblocks = 8192 },
	{ .name = "listing", .fn = test_listing, .nblocks = 8192 },
};

int main(int argc, char **argv)
{
	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
