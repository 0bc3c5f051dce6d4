/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uses a pool as clients would: everything is read, some of it changed, all of it removed; it is
 * scrubbed, reaped and written back, and opened again.  Whatever lies in it, each call returns, with an
 * error that has a name, and the work is bounded by what the disk can hold.
 */
#include "image.h"

#include "base/err.h"
#include "base/fiber.h"
#include "base/loop.h"

enum { OBJECTS_MAX = 600, DEPTH_MAX = 14, CHANGED_MAX = 8, LIST = 16384, PIECE = 65536 };

struct user {
	struct fs *fs;
	struct fs_req req;
	struct fs_read *read;
	unsigned objects, changed;
	bool readonly;
};

/* Results: no error that is private to the store may come out, and no success that isn't 0. */
static bool fine(int rc)
{
	fuzz_check(rc <= 0 && rc != -ERESTART_PASS, "a call returned %d", rc);
	fuzz_check(strcmp(err_text(rc), "unknown error"), "a call returned %d, an error without a name", rc);
	return !rc;
}

static struct fs_name name(const char *s) { return (struct fs_name){ s, strlen(s) }; }

/* ---- reading ------------------------------------------------------------------------------------------ */

static void read_xattrs(struct user *u, struct fs_id id)
{
	char buf[4096];
	struct fs_xattr_list l = { .buf = buf, .cap = sizeof(buf) };
	uint8_t *value = malloc(FS_XATTR_VALUE_MAX);
	uint32_t len;

	if (fine(fs_xattr_list(&u->req, id, 0, &l)))
		for (uint32_t at = 0, n = 0; at < l.len && n < 8; n++) {
			fine(fs_xattr_get(&u->req, id, name(buf + at), value, FS_XATTR_VALUE_MAX, &len));
			at += strlen(buf + at) + 1;
		}
	free(value);
}

static void read_at(struct user *u, struct fs_id id, uint64_t offset)
{
	volatile uint8_t sum = 0;

	if (!fine(fs_read(&u->req, id, offset, PIECE, u->read)))
		return;
	for (int i = 0; i < u->read->niov; i++)
		for (size_t k = 0; k < u->read->iov[i].iov_len; k += 512)
			sum += ((uint8_t *)u->read->iov[i].iov_base)[k];
	fs_read_done(u->fs, u->read);
}

static void read_file(struct user *u, struct fs_id id)
{
	uint64_t at = 0;

	read_at(u, id, 0);
	for (int i = 0; i < 12; i++) {
		if (!fine(fs_seek(&u->req, id, at, true, &at)))
			break;
		read_at(u, id, at);
		if (!fine(fs_seek(&u->req, id, at, false, &at)))
			break;
	}
	fine(fs_seek(&u->req, id, 0, false, &at));
	read_at(u, id, (uint64_t)FS_MAX_SIZE - PIECE);
}

static void read_object(struct user *u, const struct fs_attr *a)
{
	char target[FS_SYMLINK_MAX + 1];
	struct fs_attr b;

	fine(fs_getattr(&u->req, a->id, &b));
	if (a->type == FS_LNK)
		fine(fs_readlink(&u->req, a->id, target, &b));
	if (a->type == FS_REG)
		read_file(u, a->id);
	read_xattrs(u, a->id);
}

/* ---- changing ----------------------------------------------------------------------------------------- */

static void write_some(struct user *u, struct fs_id id, uint64_t offset, uint32_t len)
{
	static uint8_t buf[PIECE];
	struct iovec iov = { buf, len };

	memset(buf, 0x5a, sizeof(buf));
	fine(fs_write(&u->req, id, offset, &iov, 1, len, true, NULL));
}

static void change_file(struct user *u, struct fs_id dir, struct fs_id id)
{
	struct fs_setattr set = { .mask = FS_SET_SIZE, .size = 6000 };
	struct fs_name copies[2] = { name("copy 1"), name("copy 2") };
	struct fs_attr a;

	if (fine(fs_clone(&u->req, id, dir, copies, 2, NULL, &a)))
		write_some(u, a.id, 4096, 5000);
	write_some(u, id, 100, 200);
	write_some(u, id, 3 << 20, PIECE);
	fine(fs_clone_range(&u->req, id, 0, id, 4 << 20, 8192, NULL));
	if (fine(fs_lookup(&u->req, dir, copies[1], &a, NULL)))
		fine(fs_clone_range(&u->req, id, 0, a.id, 0, 1 << 20, NULL));
	fine(fs_allocate(&u->req, id, 0, 2 << 20, NULL));
	fine(fs_punch(&u->req, id, 5000, 1 << 20, NULL));
	fine(fs_setattr(&u->req, id, &set, NULL));
}

static void change_object(struct user *u, struct fs_id dir, const struct fs_attr *a, struct fs_name n)
{
	uint8_t value[5000] = { 1 };

	if (a->type == FS_REG)
		change_file(u, dir, a->id);
	fine(fs_xattr_set(&u->req, a->id, name("user"), value, 5000, FS_XATTR_EITHER, NULL));
	fine(fs_xattr_set(&u->req, a->id, name("new"), value, 5, FS_XATTR_EITHER, NULL));
	fine(fs_xattr_remove(&u->req, a->id, name("user"), NULL));
	if (a->type != FS_DIR) {
		fine(fs_link(&u->req, a->id, dir, name("second"), true, NULL, NULL));
		fine(fs_rename(&u->req, dir, name("second"), dir, name("third"), NULL, NULL));
	}
	fine(fs_rename(&u->req, dir, n, dir, name("moved"), NULL, NULL));
	fine(fs_rename(&u->req, dir, name("moved"), dir, n, NULL, NULL));
}

static void add_names(struct user *u, struct fs_id dir)
{
	struct fs_create how = { .type = FS_REG, .how = FS_CREATE_UNCHECKED };
	char buf[FS_NAME_MAX + 1];

	memset(buf, 'x', 240);
	for (int i = 0; i < 20; i++) {
		snprintf(buf + 240, 4, "%02d", i);
		how.type = i % 5 ? FS_REG : FS_DIR;
		how.how = i % 5 ? FS_CREATE_UNCHECKED : FS_CREATE_GUARDED;
		if (!fine(fs_create(&u->req, dir, name(buf), &how, NULL, NULL)))
			break;
	}
}

/* ---- walking ------------------------------------------------------------------------------------------ */

enum what { READ, CHANGE, REMOVE };
static void walk(struct user *u, struct fs_id dir, unsigned depth, enum what what);

static void at_entry(struct user *u, struct fs_id dir, const struct fs_dirent *e, unsigned depth,
		     enum what what)
{
	struct fs_name n = { e->name, e->name_len };
	struct fs_attr a;

	if (!fine(fs_lookup(&u->req, dir, n, &a, NULL)) && what != REMOVE)
		return;
	if (e->attr.type == FS_DIR)
		walk(u, e->attr.id, depth + 1, what);
	if (what == READ)
		read_object(u, &e->attr);
	else if (what == REMOVE && e->attr.type == FS_DIR)
		fine(fs_rmdir(&u->req, dir, n, NULL));
	else if (what == REMOVE)
		fine(fs_remove(&u->req, dir, n, NULL));
	else if (u->changed++ < CHANGED_MAX)
		change_object(u, dir, &a, n);
}

static void walk(struct user *u, struct fs_id dir, unsigned depth, enum what what)
{
	struct fs_dirlist l = { .cap = LIST };
	uint64_t cookie = 2;

	if (depth > DEPTH_MAX)
		return;
	l.buf = malloc(LIST);
	for (unsigned round = 0; round < 40 && u->objects < OBJECTS_MAX; round++) {
		const struct fs_dirent *e = l.buf;

		if (!fine(fs_readdir(&u->req, dir, cookie, true, &l)))
			break;
		for (unsigned i = 0; i < l.n && u->objects++ < OBJECTS_MAX; i++, e = fs_dirent_next(e)) {
			fuzz_check(e->cookie > cookie, "cookies of a directory don't rise");
			cookie = e->cookie;
			at_entry(u, dir, e, depth, what);
		}
		if (l.eof)
			break;
	}
	free(l.buf);
	if (what == CHANGE && depth < 2)
		add_names(u, dir);
}

static void all_snapshots(struct user *u, uint32_t volume)
{
	struct fs_snapshot_info s = { 0 };
	uint32_t id = 0;

	for (int i = 0; i < 10 && fine(fs_snapshot_next(u->fs, volume, id, &s)); i++) {
		fuzz_check(s.id > id, "ids of snapshots don't rise");
		id = s.id;
		u->objects = 0;
		walk(u, s.root, 0, READ);
	}
}

static void all_volumes(struct user *u, enum what what)
{
	struct fs_volume_info v = { 0 };
	uint32_t id = 0;

	u->changed = 0;
	for (int i = 0; i < 10 && fine(fs_volume_next(u->fs, id, &v)); i++) {
		fuzz_check(v.id > id, "ids of volumes don't rise");
		id = v.id;
		u->objects = 0;
		walk(u, v.root, 0, what);
		if (what == READ)
			all_snapshots(u, id);
	}
}

/* ---- all of it ---------------------------------------------------------------------------------------- */

static void scrub(struct user *u)
{
	struct fs_scrub_status st = { .running = true };

	if (!fine(fs_scrub_start(u->fs, 0)))
		return;
	for (int i = 0; i < 50 && st.running; i++) {
		loop_sleep_ns(100000000);
		fs_scrub_status(u->fs, &st);
	}
	/* It may wait for the reaper, which can't go on. */
	if (st.running)
		fine(fs_scrub_stop(u->fs));
	fs_scrub_status(u->fs, &st);
	fuzz_check(!st.running, "a scrub doesn't end");
}

static void dedup(struct user *u)
{
	struct fs_dedup_status st = { .running = true };

	if (!fine(fs_dedup_start(u->fs, "a", 0)))
		return;
	for (int i = 0; i < 50 && st.running; i++) {
		loop_sleep_ns(100000000);
		fs_dedup_status(u->fs, &st);
	}
	if (st.running)
		fine(fs_dedup_stop(u->fs));
	fs_dedup_status(u->fs, &st);
	fuzz_check(!st.running, "a dedup job doesn't end");
}

static void remove_volumes(struct user *u)
{
	struct fs_volume_info v = { 0 };

	struct fs_snapshot_info s = { 0 };

	for (int i = 0; i < 10 && fine(fs_volume_next(u->fs, 0, &v)); i++) {
		for (int k = 0; k < 10 && fine(fs_snapshot_next(u->fs, v.id, 0, &s)); k++)
			if (!fine(fs_snapshot_destroy(&u->req, v.name, s.name)))
				break;
		if (!fine(fs_volume_destroy(&u->req, v.name)))
			break;
	}
}

static void change_all(struct user *u)
{
	struct fs_volume_info v;
	struct fs_id id;

	fine(fs_volume_create(&u->req, "new", &v));
	fine(fs_volume_set(&u->req, "a", "* rw", 1 << 20));
	fine(fs_system_dir(&u->req, "clients", &id));
	dedup(u);
	fine(fs_volume_set_dedup(&u->req, "a", true));
	fine(fs_snapshot_create(&u->req, "a", "new", NULL));
	all_volumes(u, CHANGE);
	fine(fs_volume_clone(&u->req, "a", "new", "second", NULL));
	fine(fs_volume_restore(&u->req, "a", "old", true));
	fine(fs_checkpoint(u->fs));
	scrub(u);
	fine(fs_reap_all(u->fs));
	scrub(u);
	fine(fs_wait_stable(u->fs, fs_last_seq(u->fs)));
}

static void empty(struct user *u)
{
	all_volumes(u, REMOVE);
	remove_volumes(u);
	fine(fs_reap_all(u->fs));
	fine(fs_checkpoint(u->fs));
}

enum { ALTER = 1, EMPTY = 2 };		/* after reading it */

static void use(struct dev *d, const struct fs_config *cfg, unsigned what, bool sound)
{
	struct user u = { .readonly = cfg->readonly };
	struct fs_status st;
	char why[300] = "";

	if (!fine(fs_open(d, cfg, &u.fs, why, sizeof(why)))) {
		fuzz_check(why[0], "refused without a reason");
		return;
	}
	fs_req_admin(&u.req, u.fs);
	u.read = malloc(sizeof(*u.read));
	fs_status(u.fs, &st);
	sound &= !st.readonly;
	all_volumes(&u, READ);
	if (what & ALTER)
		change_all(&u);
	if (what & EMPTY)
		empty(&u);
	if (what && cfg->keep_orphans)
		fs_drop_orphans(u.fs);
	free(u.read);
	fs_status(u.fs, &st);
	fuzz_check(!sound || !st.readonly, "the check has found nothing, but: %s", st.reason);
	fine(fs_close(u.fs));
	if (sound)
		fuzz_check(!image_check(d, 0), "nothing was wrong before it was used, but now");
}

static void line(void *arg, const char *text)
{
	fuzz_check(text[0], "an empty finding");
	if (getenv("FUZZ_VERBOSE"))
		fprintf(stderr, "check: %s\n", text);
}

int64_t image_check(struct dev *d, uint8_t how)
{
	const struct fs_check_opts o = { .repair = how & IMAGE_REPAIR, .drop_damaged = how & IMAGE_DROP,
					 .repaired = line, .left = line };

	return fs_check_with(d, &o, line, NULL, NULL);
}

static void heard(void *arg, const char *text) { *(uint64_t *)arg += text[0] != 0; }

void image_dump(struct dev *d)
{
	static const char *const words[][3] = { { "superblock" }, { "zone", "0" }, { "table", "3000" },
		{ "volumes" }, { "inode", "a", "1" }, { "dir", "a", "1" }, { "map", "a", "4" },
		{ "xattr", "a", "4" }, { "log" }, { "reap" } };
	uint64_t lines = 0;
	char why[300];

	for (unsigned i = 0; i < sizeof(words) / sizeof(*words); i++)
		fs_dump(d, words[i], words[i][2] ? 3 : words[i][1] ? 2 : 1, heard, &lines, why, sizeof(why));
	for (unsigned b = 1000; b < IMAGE_BLOCKS; b += 29) {
		char number[16];
		const char *const block[] = { "block", number };

		snprintf(number, sizeof(number), "%u", b);
		fs_dump(d, block, 2, heard, &lines, why, sizeof(why));
	}
}

void image_use(struct dev *d, uint8_t how, bool sound)
{
	struct fs_config cfg = { .seed = 1, .readonly = true };

	cfg.no_background = !(how & IMAGE_BACKGROUND);
	cfg.max_refs = how & IMAGE_FEW_REFS ? 2 : 0;
	cfg.readonly = how & IMAGE_READ_ONLY;
	if (cfg.readonly)
		use(d, &cfg, 0, false);
	cfg.readonly = false;
	cfg.keep_orphans = how & IMAGE_KEEP_ORPHANS;
	use(d, &cfg, sound ? ALTER : ALTER | EMPTY, sound);
	if (!sound && !(how & IMAGE_TWICE))
		return;
	use(d, &cfg, EMPTY, sound);
	image_check(d, 0);
}
