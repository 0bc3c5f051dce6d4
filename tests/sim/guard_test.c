/* SPDX-License-Identifier: Apache-2.0 */
/* Who is asked before a file is used: see fs_set_guard(). */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/loop.h"
#include "rig.h"

#define LEN 40960

static struct fs_name nm(const char *s)
{
	return (struct fs_name){ s, strlen(s) };
}

/* ---- a guard ------------------------------------------------------------------------- */

static struct {
	struct fs_id a, b;		/* the files of these names */
	char uses[16];			/* "ra": a to be read; "Ca", "Cb": to be changed */
	const void *by;
	unsigned refuse;		/* so many times, */
	char whom;			/* and only for this file; 0: for any */
} guard;

static bool same(struct fs_id a, struct fs_id b)
{
	return a.volume == b.volume && a.ino == b.ino && a.generation == b.generation;
}

/* Each question once, however often: there are several passes. */
static void note(char use, char name)
{
	const char said[] = { use, name, 0 };

	if (!strstr(guard.uses, said))
		strcat(guard.uses, said);
}

static int ask(void *arg, const struct fs_req *req, struct fs_id id, enum fs_use use)
{
	char name = same(id, guard.a) ? 'a' : same(id, guard.b) ? 'b' : '?';

	sim_check(arg == &guard, "not the guard's argument");
	guard.by = req->by;
	note(use == FS_USE_READ ? 'r' : 'C', name);
	if (!guard.refuse || (guard.whom && guard.whom != name))
		return 0;
	guard.refuse--;
	return -EAGAIN;
}

static const struct fs_guard the_guard = { ask, &guard };

static void begin(struct rig *r)
{
	memset(&guard, 0, sizeof(guard));
	guard.a = rig_create(r, "a");
	guard.b = rig_create(r, "b");
	rig_write(r, guard.a, 0, LEN, 1);
	rig_write(r, guard.b, 0, LEN, 2);
	fs_set_guard(r->fs, &the_guard);
}

static void end(struct rig *r)
{
	static const char *const names[] = { "a", "b", "c" };
	struct fs_attr attr;

	fs_set_guard(r->fs, NULL);
	for (int i = 0; i < 3; i++)
		if (!fs_lookup(&r->req, r->root, nm(names[i]), &attr, NULL))
			rig_remove(r, names[i]);
}

/* ---- every way to use a file --------------------------------------------------------- */

static int use_read(struct rig *r, struct fs_req *q)
{
	struct fs_read *rd = test_alloc(sizeof(*rd));
	int err = fs_read(q, guard.a, 0, 100, rd);

	if (!err)
		fs_read_done(r->fs, rd);
	free(rd);
	return err;
}

static int use_seek(struct rig *r, struct fs_req *q)
{
	uint64_t at;

	return fs_seek(q, guard.a, 0, false, &at);
}

static int use_write(struct rig *r, struct fs_req *q)
{
	struct iovec v = { "hello", 5 };

	return fs_write(q, guard.a, 0, &v, 1, 5, true, NULL);
}

static int set(struct fs_req *q, uint32_t mask)
{
	const struct fs_setattr s = { .mask = mask, .size = 5, .mode = 0600 };

	return fs_setattr(q, guard.a, &s, NULL);
}

static int use_chmod(struct rig *r, struct fs_req *q) { return set(q, FS_SET_MODE); }
static int use_truncate(struct rig *r, struct fs_req *q) { return set(q, FS_SET_SIZE); }
static int use_touch(struct rig *r, struct fs_req *q) { return set(q, FS_SET_MTIME_NOW); }
static int use_punch(struct rig *r, struct fs_req *q) { return fs_punch(q, guard.a, 0, 9, NULL); }

static int use_range(struct rig *r, struct fs_req *q)
{
	return fs_clone_range(q, guard.a, 0, guard.b, 4096, 8192, NULL);
}

static int use_whole(struct rig *r, struct fs_req *q)
{
	return fs_clone_range(q, guard.a, 0, guard.b, 0, 0, NULL);
}

static int use_clone(struct rig *r, struct fs_req *q)
{
	const struct fs_name n = nm("c");

	return fs_clone(q, guard.a, r->root, &n, 1, NULL, NULL);
}

static int use_remove(struct rig *r, struct fs_req *q)
{
	return fs_remove(q, r->root, nm("a"), NULL);
}

static int use_rename(struct rig *r, struct fs_req *q)
{
	return fs_rename(q, r->root, nm("a"), r->root, nm("c"), NULL, NULL);
}

static int use_replace(struct rig *r, struct fs_req *q)
{
	return fs_rename(q, r->root, nm("a"), r->root, nm("b"), NULL, NULL);
}

static int use_link(struct rig *r, struct fs_req *q)
{
	return fs_link(q, guard.a, r->root, nm("c"), false, NULL, NULL);
}

static int use_link_over(struct rig *r, struct fs_req *q)
{
	return fs_link(q, guard.a, r->root, nm("b"), true, NULL, NULL);
}

static int use_xattr(struct rig *r, struct fs_req *q)
{
	return fs_xattr_set(q, guard.a, nm("x"), "y", 1, FS_XATTR_EITHER, NULL);
}

static int use_create(struct rig *r, struct fs_req *q)
{
	const struct fs_create how = { .type = FS_REG, .how = FS_CREATE_UNCHECKED };
	struct fs_attr attr;

	return fs_create(q, r->root, nm("a"), &how, &attr, NULL);
}

static int use_stat(struct rig *r, struct fs_req *q)
{
	struct fs_attr attr;

	return fs_getattr(q, guard.a, &attr);
}

static const struct {
	int (*use)(struct rig *r, struct fs_req *q);
	const char *asked;
} uses[] = {
	{ use_read, "ra" }, { use_seek, "ra" }, { use_write, "Ca" }, { use_chmod, "Ca" },
	{ use_truncate, "Ca" }, { use_touch, "Ca" }, { use_punch, "Ca" }, { use_range, "raCb" },
	{ use_whole, "raCb" }, { use_clone, "ra" }, { use_remove, "Ca" }, { use_rename, "Ca" },
	{ use_replace, "CaCb" }, { use_link, "Ca" }, { use_link_over, "Cb" }, { use_xattr, "Ca" },
	{ use_create, "" },
	{ use_stat, "" },
};
enum { USES = sizeof(uses) / sizeof(*uses) };

static struct fs_req request(struct rig *r, uint32_t uid)
{
	return (struct fs_req){ .fs = r->fs, .cred = { .uid = uid, .gid = uid }, .by = &uses };
}

/* Each asks for what it uses, and only if the rest is right. */
static void asked(struct rig *r)
{
	for (unsigned i = 0; i < USES; i++) {
		struct fs_req q = request(r, 0), nobody = request(r, 7);
		int err;

		begin(r);
		sim_ok(uses[i].use(r, &q));
		sim_check(!strcmp(guard.uses, uses[i].asked), "use %u asked '%s'", i, guard.uses);
		sim_check(!*guard.uses || guard.by == &uses, "use %u: by whom?", i);
		end(r);
		begin(r);
		err = set(&q, FS_SET_MODE);
		sim_ok(err);
		memset(guard.uses, 0, sizeof(guard.uses));
		err = uses[i].use(r, &nobody);
		sim_check(err == -EACCES || err == -EPERM || !*uses[i].asked,
			  "use %u by nobody: %s", i, sim_err(err));
		sim_check(!*guard.uses, "use %u by nobody asked '%s'", i, guard.uses);
		end(r);
	}
}

/* Who is refused has changed nothing. */
static void refused(struct rig *r)
{
	for (unsigned i = 0; i < USES; i++) {
		struct fs_req q = request(r, 0);
		unsigned n = strlen(uses[i].asked) / 2;

		for (unsigned k = 0; k < n; k++) {
			struct fs_attr a, b, c, root, after;
			int err;

			begin(r);
			sim_ok(fs_getattr(&r->req, guard.a, &a));
			sim_ok(fs_getattr(&r->req, guard.b, &b));
			sim_ok(fs_getattr(&r->req, r->root, &root));
			guard.refuse = 1;
			guard.whom = uses[i].asked[2 * k + 1];
			err = uses[i].use(r, &q);
			sim_check(err == -EAGAIN, "use %u: %s", i, sim_err(err));
			sim_ok(fs_getattr(&r->req, guard.a, &after));
			sim_check(after.change == a.change, "use %u changed a", i);
			sim_ok(fs_getattr(&r->req, guard.b, &after));
			sim_check(after.change == b.change, "use %u changed b", i);
			sim_ok(fs_getattr(&r->req, r->root, &after));
			sim_check(after.change == root.change, "use %u changed the root", i);
			sim_check(fs_lookup(&r->req, r->root, nm("c"), &c, NULL) == -ENOENT,
				  "use %u made c", i);
			sim_ok(uses[i].use(r, &q));
			end(r);
		}
	}
}

/* The management side waits. */
static void management(struct rig *r)
{
	for (unsigned i = 0; i < USES; i++) {
		uint64_t begun = loop_now_ns();

		if (!*uses[i].asked)
			continue;
		begin(r);
		guard.refuse = 10;
		sim_ok(uses[i].use(r, &r->req));
		sim_check(!guard.refuse, "use %u didn't ask again", i);
		sim_check(loop_now_ns() - begun > 100000000, "use %u asked too often", i);
		end(r);
	}
}

static const struct rig_test tests[] = {
	{ "asked", asked, 20000, 0, false },
	{ "refused", refused, 20000, 0, false },
	{ "management", management, 20000, 0, false },
};

int main(int argc, char **argv)
{
	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
