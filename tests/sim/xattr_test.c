/* SPDX-License-Identifier: Apache-2.0 */
/* Extended attributes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "rig.h"

static struct fs_name nm(const char *s)
{
	return (struct fs_name){ s, strlen(s) };
}

static int try_set(struct rig *r, struct fs_id id, const char *name, uint32_t len, uint64_t seed,
		   enum fs_xattr_how how)
{
	unsigned char *value = test_alloc(len + 1);
	int rc;

	rig_pattern(seed, 0, value, len);
	rc = fs_xattr_set(&r->req, id, nm(name), value, len, how, NULL);
	free(value);
	return rc;
}

static void set(struct rig *r, struct fs_id id, const char *name, uint32_t len, uint64_t seed)
{
	int rc = try_set(r, id, name, len, seed, FS_XATTR_EITHER);

	sim_check(!rc, "set %s to %u bytes: %s", name, len, sim_err(rc));
}

static void expect(struct rig *r, struct fs_id id, const char *name, uint32_t len, uint64_t seed)
{
	unsigned char *want = test_alloc(len + 1), *got = test_alloc(FS_XATTR_VALUE_MAX);
	uint32_t n = 0;
	int rc = fs_xattr_get(&r->req, id, nm(name), got, FS_XATTR_VALUE_MAX, &n);

	rig_pattern(seed, 0, want, len);
	sim_check(!rc, "get %s: %s", name, sim_err(rc));
	sim_check(n == len && !memcmp(got, want, len), "%s has another value of %u bytes", name, n);
	sim_ok(fs_xattr_get(&r->req, id, nm(name), NULL, 0, &n));
	sim_check(n == len, "%s is said to have %u bytes", name, n);
	free(want);
	free(got);
}

static void expect_none(struct rig *r, struct fs_id id, const char *name)
{
	char buf[8];
	uint32_t n;

	sim_check(fs_xattr_get(&r->req, id, nm(name), buf, sizeof(buf), &n) == -ENODATA,
		  "%s is there", name);
}

/* The names, with a blank after each. */
static void expect_names(struct rig *r, struct fs_id id, const char *want)
{
	char buf[4096];
	struct fs_xattr_list l = { .buf = buf, .cap = sizeof(buf) };

	sim_ok(fs_xattr_list(&r->req, id, 0, &l));
	sim_check(l.eof, "not all names");
	for (uint32_t i = 0; i < l.len; i++)
		if (!buf[i])
			buf[i] = ' ';
	sim_check(l.len == strlen(want) && !memcmp(buf, want, l.len), "the names are '%.*s', not '%s'",
		  (int)l.len, buf, want);
}

static void drop(struct rig *r, struct fs_id id, const char *name)
{
	int rc = fs_xattr_remove(&r->req, id, nm(name), NULL);

	sim_check(!rc, "remove %s: %s", name, sim_err(rc));
}

static uint64_t mapped(struct rig *r)
{
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	uint64_t n;

	sim_ok(fs_volume_get(r->fs, r->root.volume, v));
	n = v->mapped_blocks;
	free(v);
	return n;
}

static void basics(struct rig *r)
{
	static const uint32_t sizes[] = { 0, 1, 7, 8, 100, 4000, 4096, 5000, 20000, 65536 };
	struct fs_id id = rig_create(r, "a");
	struct fs_attr before, after;
	uint64_t start = mapped(r);
	struct fs_wcc w = { 0 };
	char buf[8];
	uint32_t n = 77;

	expect_names(r, id, "");
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		set(r, id, "size", sizes[i], i + 1);
		expect(r, id, "size", sizes[i], i + 1);
		rig_reopen(r);
		expect(r, id, "size", sizes[i], i + 1);
	}
	sim_check(mapped(r) == start + 17, "the volume has %d blocks more", (int)(mapped(r) - start));
	for (unsigned i = 10; i-- > 0;) {
		set(r, id, "size", sizes[i], i + 1);
		expect(r, id, "size", sizes[i], i + 1);
	}
	sim_check(mapped(r) == start + 1, "the volume has %d blocks more", (int)(mapped(r) - start));
	set(r, id, "b", 100, 3);
	set(r, id, "c", 9, 4);
	set(r, id, "size", 3, 5);
	expect_names(r, id, "size b c ");
	drop(r, id, "b");
	expect_names(r, id, "size c ");
	set(r, id, "b", 1, 6);
	expect_names(r, id, "size c b ");
	expect(r, id, "size", 3, 5);
	expect(r, id, "c", 9, 4);
	expect(r, id, "b", 1, 6);
	sim_check(fs_xattr_get(&r->req, id, nm("c"), buf, 8, &n) == -ERANGE && n == 77, "9 bytes in 8");

	sim_ok(fs_getattr(&r->req, id, &before));
	sim_ok(fs_xattr_set(&r->req, id, nm("d"), "x", 1, FS_XATTR_EITHER, &w));
	sim_ok(fs_getattr(&r->req, id, &after));
	sim_check(w.pre_valid && w.pre_change == before.change && w.post_valid &&
		  w.post.change == after.change && after.change > before.change,
		  "the change attribute doesn't move");
	sim_check(after.mtime.nsec == before.mtime.nsec && after.mtime.sec == before.mtime.sec &&
		  after.size == before.size && after.mapped_bytes == before.mapped_bytes,
		  "more than attributes changed");
	sim_check(fs_used_bytes(&after) - after.mapped_bytes == (mapped(r) - start) * MBLOCK && after.xattr_bytes,
		  "%u bytes of attributes do not count", (unsigned)after.xattr_bytes);
	for (unsigned i = 0; i < 4; i++)
		drop(r, id, (const char *[]){ "c", "d", "size", "b" }[i]);
	expect_names(r, id, "");
	sim_check(mapped(r) == start, "the volume has %d blocks more", (int)(mapped(r) - start));
}

static void refused(struct rig *r)
{
	struct fs_create fifo = { .type = FS_FIFO, .how = FS_CREATE_GUARDED };
	struct fs_id id = rig_create(r, "a"), stale = id;
	struct fs_setattr mode = { .mask = FS_SET_MODE, .mode = 0640 };
	struct fs_xattr_list l = { 0 };
	char name[FS_NAME_MAX + 2], buf[8];
	struct fs_req admin = r->req;
	struct fs_attr a;
	uint32_t n;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	sim_check(try_set(r, id, name, 1, 1, 0) == -ENAMETOOLONG, "256 bytes of name");
	set(r, id, name + 1, 1, 1);
	expect(r, id, name + 1, 1, 1);
	drop(r, id, name + 1);
	sim_check(try_set(r, id, "", 1, 1, 0) == -EINVAL, "no name");
	sim_check(fs_xattr_set(&r->req, id, (struct fs_name){ "a\0b", 3 }, "x", 1, 0, NULL) == -EINVAL,
		  "a NUL in a name");
	sim_check(try_set(r, id, "a", FS_XATTR_VALUE_MAX + 1, 1, 0) == -E2BIG, "too large");
	sim_check(try_set(r, id, "a", 1, 1, FS_XATTR_REPLACE) == -ENODATA, "replaced nothing");
	sim_check(fs_xattr_remove(&r->req, id, nm("a"), NULL) == -ENODATA, "removed nothing");
	sim_ok(try_set(r, id, "a", 1, 1, FS_XATTR_CREATE));
	sim_check(try_set(r, id, "a", 1, 1, FS_XATTR_CREATE) == -EEXIST, "made twice");
	sim_ok(try_set(r, id, "a", 2, 2, FS_XATTR_REPLACE));
	stale.generation++;
	sim_check(try_set(r, stale, "a", 1, 1, 0) == -ESTALE, "a stale handle");
	sim_ok(fs_create(&r->req, r->root, nm("fifo"), &fifo, &a, NULL));
	sim_check(try_set(r, a.id, "a", 1, 1, 0) == -EPERM, "an attribute of a FIFO");
	sim_check(fs_xattr_list(&r->req, a.id, 0, &l) == -EPERM, "attributes of a FIFO");

	sim_ok(fs_setattr(&r->req, id, &mode, NULL));
	sim_req(&r->req, r->fs, 2);		/* others */
	sim_check(try_set(r, id, "a", 1, 1, 0) == -EACCES, "written without the right to");
	sim_check(fs_xattr_remove(&r->req, id, nm("a"), NULL) == -EACCES, "removed");
	sim_check(fs_xattr_get(&r->req, id, nm("a"), buf, 8, &n) == -EACCES, "read");
	sim_check(fs_xattr_list(&r->req, id, 0, &l) == -EACCES, "listed");
	mode.mode = 0644;
	sim_ok(fs_setattr(&admin, id, &mode, NULL));
	expect(r, id, "a", 2, 2);
	sim_check(try_set(r, id, "a", 1, 1, 0) == -EACCES, "written without the right to");
	mode.mode = 0666;
	sim_ok(fs_setattr(&admin, id, &mode, NULL));
	set(r, id, "a", 3, 3);
	r->req = admin;
}

/* Until nothing fits any more; then in steps of small buffers, while some go and others come. */
static void many(struct rig *r)
{
	struct fs_id id = rig_create(r, "a");
	char buf[64], name[16];
	struct fs_xattr_list l = { .buf = buf, .cap = sizeof(buf) };
	unsigned n = 0, seen = 0;
	int rc;

	do {
		snprintf(name, sizeof(name), "n%u", n);
		rc = try_set(r, id, name, 8, n, FS_XATTR_CREATE);
	} while (!rc && ++n);
	sim_check(rc == -ENOSPC && n > 2000, "%u attributes, then %s", n, sim_err(rc));
	sim_check(try_set(r, id, "large", 65536, 1, 0) == -ENOSPC, "65 KiB more");
	rig_reopen(r);
	do {
		const char *s = buf;

		sim_ok(fs_xattr_list(&r->req, id, l.cookie, &l));
		for (uint32_t i = 0; i < l.n; i++, s += strlen(s) + 1, seen++)
			sim_check(*s == 'n' && strtoul(s + 1, NULL, 10) == seen, "%s after n%u", s, seen);
		if (seen > 10 && seen < n) {
			snprintf(name, sizeof(name), "n%u", seen - 1);
			drop(r, id, name);	/* the very one whose cookie we have */
			snprintf(name, sizeof(name), "n%u", 5 - seen % 3);
			set(r, id, name, seen % 8, 1);
		}
	} while (!l.eof);
	sim_check(seen == n, "%u of %u names", seen, n);
	l = (struct fs_xattr_list){ .buf = buf, .cap = 2 };
	sim_check(fs_xattr_list(&r->req, id, 0, &l) == -ERANGE, "three bytes in two");
	rig_remove(r, "a");
}

/* Clones share until one side changes: nothing is copied before. */
static void clones(struct rig *r)
{
	struct fs_id id = rig_create(r, "a"), c[4];
	uint64_t free_blocks = rig_free(r), before;
	char name[8];

	set(r, id, "large", 60000, 1);
	set(r, id, "small", 10, 2);
	before = rig_free(r);
	for (unsigned i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "c%u", i);
		c[i] = rig_clone(r, id, name);
		expect(r, c[i], "large", 60000, 1);
	}
	if (!r->cfg.max_refs)
		sim_check(before - rig_free(r) < 4, "clones copied %d blocks", (int)(before - rig_free(r)));
	set(r, c[0], "small", 10, 3);
	set(r, c[1], "large", 60000, 4);
	drop(r, c[2], "large");
	rig_reopen(r);
	expect(r, id, "large", 60000, 1);
	expect(r, id, "small", 10, 2);
	rig_remove(r, "a");
	sim_ok(fs_reap_all(r->fs));
	expect(r, c[0], "large", 60000, 1);
	expect(r, c[0], "small", 10, 3);
	expect(r, c[1], "large", 60000, 4);
	expect(r, c[1], "small", 10, 2);
	expect_none(r, c[2], "large");
	expect(r, c[2], "small", 10, 2);
	expect(r, c[3], "large", 60000, 1);
	expect(r, c[3], "small", 10, 2);
	for (unsigned i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "c%u", i);
		rig_remove(r, name);
	}
	rig_create(r, "a");
	sim_check(rig_free(r) == free_blocks, "%d blocks are lost", (int)(free_blocks - rig_free(r)));
}

static void directories(struct rig *r)
{
	struct fs_create how = { .type = FS_DIR, .how = FS_CREATE_GUARDED };
	uint64_t free_blocks, start = mapped(r);
	struct fs_attr a;

	sim_ok(fs_create(&r->req, r->root, nm("first"), &how, &a, NULL));
	free_blocks = rig_free(r);
	start = mapped(r);
	sim_ok(fs_create(&r->req, r->root, nm("d"), &how, &a, NULL));
	set(r, a.id, "x", 30000, 1);
	set(r, r->root, "root", 5, 2);
	rig_reopen(r);
	expect(r, a.id, "x", 30000, 1);
	expect(r, r->root, "root", 5, 2);
	drop(r, r->root, "root");
	sim_ok(fs_rmdir(&r->req, r->root, nm("d"), NULL));
	sim_check(rig_free(r) == free_blocks && mapped(r) == start, "blocks are lost");
}

static void limits(struct rig *r)
{
	struct fs_id id = rig_create(r, "a"), large = rig_create(r, "large");
	struct iovec iov = { test_alloc(65536), 65536 };
	uint64_t at = 0;
	int rc = 0;

	set(r, id, "x", 5000, 1);
	sim_ok(fs_volume_set(&r->req, "main", NULL, mapped(r) + 3));
	sim_check(try_set(r, id, "y", 20000, 2, 0) == -EDQUOT, "more than the quota");
	set(r, id, "y", 8192, 2);
	sim_ok(fs_volume_set(&r->req, "main", NULL, mapped(r)));
	set(r, id, "y", 8191, 3);		/* no more blocks than it has */
	rc = rig_try_clone(r, id, "clone", &large);
	sim_check(rc == -EDQUOT, "a clone of %llu blocks beyond the quota: %s", 4ull, sim_err(rc));
	sim_ok(fs_volume_set(&r->req, "main", NULL, 0));
	memset(iov.iov_base, 1, 65536);
	for (rc = 0; !rc; at += iov.iov_len) {
		rc = fs_write(&r->req, large, at, &iov, 1, iov.iov_len, false, NULL);
		if (rc == -ENOSPC && iov.iov_len > 4096) {
			iov.iov_len = 4096;
			at -= 4096;
			rc = 0;
		}
	}
	sim_check(rc == -ENOSPC, "the pool does not fill up: %s", sim_err(rc));
	sim_check(try_set(r, id, "z", 40000, 4, 0) == -ENOSPC, "set on a full pool");
	expect(r, id, "x", 5000, 1);
	drop(r, id, "x");			/* but removing works */
	expect(r, id, "y", 8191, 3);
	expect_none(r, id, "x");
	free(iov.iov_base);
}

static void replayed(struct rig *r)
{
	struct fs_id id = rig_create(r, "a"), c;
	struct fs_attr before, after;

	set(r, id, "x", 5000, 1);
	sim_ok(fs_checkpoint(r->fs));
	set(r, id, "x", 65536, 2);
	set(r, id, "y", 0, 3);
	c = rig_clone(r, id, "c");
	set(r, id, "x", 3, 4);
	drop(r, c, "x");
	sim_ok(fs_getattr(&r->req, id, &before));
	rig_stable(r);
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
	sim_ok(fs_getattr(&r->req, id, &after));
	sim_check(before.change == after.change && before.ctime.sec == after.ctime.sec &&
		  before.ctime.nsec == after.ctime.nsec, "another change or time after replay");
	expect(r, id, "x", 3, 4);
	expect(r, id, "y", 0, 3);
	expect_names(r, id, "x y ");
	expect_names(r, c, "y ");
}

static const struct rig_test tests[] = {
	{ "basics", basics, 20000, 0, false },
	{ "refused", refused, 20000, 0, false },
	{ "many", many, 20000, 0, true },
	{ "clones", clones, 20000, 0, false },
	{ "clones_few_refs", clones, 20000, 2, false },
	{ "directories", directories, 20000, 0, false },
	{ "limits", limits, 6000, 0, true },
	{ "replayed", replayed, 20000, 0, false },
};

int main(int argc, char **argv)
{
	alarm(100);
	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
