/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream comes in, and at each point of that something happens.
 *
 *   receive_test cut|disk|alloc [--only whole|more|rest] [--at N[:MODE]] [--stride N] [--trace]
 *
 *   cut	the power goes, at every write and every flush; in some of the openings after that, once more
 *   disk	the n-th request of the disk fails: once, and it and all after it
 *   alloc	the n-th allocation fails, likewise
 *
 * What comes is a whole volume, or what has changed in it since another snapshot, or the rest of one that was
 * interrupted behind a mark.  Whatever happens: the target is as it was before, or has all that was sent; the
 * latter if the receiver was told so.  Nothing else is left behind, but what can be gone on with, if there was
 * a mark.  Then the stream, or what is missing of it, is received, and what comes after it, too; the pool
 * checks clean.  (Streams with a mark behind each few names are repl_fault_test's.)
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/loop.h"
#include "fault_alloc.h"
#include "fs/repl.h"
#include "repl_kit.h"

#define SOURCE_BLOCKS 8192
#define TARGET_BLOCKS 6000
#define MARK_BYTES 20000
#define MODES 3

static const struct fs_config quiet = { .cache_bytes = 16 << 20, .seed = 1, .no_background = true };
/* What comes in is in the middle of checkpoints now and then. */
static const struct fs_config busy = { .cache_bytes = 16 << 20, .seed = 2, .checkpoint_ms = 3 };

/* One way to come in. */
struct scene {
	const char *name;
	struct dev_sim_image *base;	/* the target as it is before */
	struct stream stream;
	const char *snapshot, *from;	/* FROM: what the target has */
	bool unfinished;		/* it has a part of it, too */
};
enum { WHOLE, MORE, REST, NSCENES };

struct test {
	struct rig source;
	struct scene scenes[NSCENES];
	struct scene *s;		/* that is tried */
	struct rig target;
	uint64_t stride;
	int64_t only_n, only_mode;
	const char *only;
	/* cuts: */
	struct cut { struct dev_sim_image *images[MODES]; bool told; } *cuts;
	uint32_t ncuts, cuts_cap;
	bool recording, told;		/* told: that all is there */
	bool ending;			/* all had come when it failed */
	bool found;			/* something to go on from */
	/* all: */
	unsigned runs, before, after, kept, refused, readonly, again;
};

/* ---- the source, and targets to begin with --------------------------------------------------- */

static void change(struct rig *r, const char *name, uint64_t offset, uint32_t len, uint64_t seed)
{
	rig_write(r, rig_find(r, name), offset, len, seed);
}

static void set_xattr(struct rig *r, const char *file, const char *name, uint32_t len)
{
	char *value = test_alloc(len);

	memset(value, name[5], len);
	sim_ok(fs_xattr_set(&r->req, rig_find(r, file), (struct fs_name){ name, strlen(name) }, value, len,
			    FS_XATTR_EITHER, NULL));
	free(value);
}

static void give(struct rig *r, const char *name, uint32_t user)
{
	struct fs_setattr set = { .mask = FS_SET_UID | FS_SET_MTIME, .uid = user, .mtime = { -user, 5 } };

	sim_ok(fs_setattr(&r->req, rig_find(r, name), &set, NULL));
}

static struct fs_id make_in(struct rig *r, struct fs_id dir, const char *name, enum fs_type type)
{
	struct fs_create how = { .type = type, .how = FS_CREATE_GUARDED, .target = "where it leads" };
	struct fs_attr a;

	sim_ok(fs_create(&r->req, dir, (struct fs_name){ name, strlen(name) }, &how, &a, NULL));
	return a.id;
}

static void make_first(struct rig *r)
{
	struct fs_id dir;

	rig_write(r, rig_create(r, "golden"), 0, 150000, 1);
	change(r, "golden", 3 << 20, 5000, 2);
	rig_clone(r, rig_find(r, "golden"), "vm");
	change(r, "vm", 8192, 9000, 3);
	dir = make_in(r, r->root, "dir", FS_DIR);
	rig_write(r, make_in(r, dir, "file", FS_REG), 100, 40000, 4);
	make_in(r, dir, "link", FS_LNK);
	make_in(r, make_in(r, dir, "sub", FS_DIR), "pipe", FS_FIFO);
	sim_ok(fs_link(&r->req, rig_find(r, "vm"), dir, (struct fs_name){ "hard", 4 }, false, NULL, NULL));
	set_xattr(r, "vm", "user.a", 100);
	set_xattr(r, "dir", "user.b", 2900);
	give(r, "vm", 7);
	rig_write(r, rig_create(r, "goes"), 0, 5000, 5);
	for (char name[] = "a"; *name < 'g'; ++*name)
		rig_write(r, rig_create(r, name), 0, 25000, *name);
}

static void change_it(struct rig *r)
{
	struct fs_id dir = rig_find(r, "dir");

	change(r, "vm", 12288, 50000, 6);
	rig_clone(r, rig_find(r, "vm"), "vm2");
	change(r, "vm2", 0, 4096, 7);
	rig_remove(r, "goes");
	rig_write(r, rig_create(r, "comes"), 0, 60000, 8);
	rig_truncate(r, rig_find(r, "golden"), 100000);
	for (char name[] = "a"; *name < 'd'; ++*name)
		change(r, name, 0, 22000, *name + 1);
	sim_ok(fs_rename(&r->req, dir, (struct fs_name){ "file", 4 }, r->root, (struct fs_name){ "moved", 5 },
			 NULL, NULL));
	give(r, "golden", 8);
	set_xattr(r, "vm", "user.c", 200);
	sim_ok(fs_xattr_remove(&r->req, dir, (struct fs_name){ "user.b", 6 }, NULL));
}

static void open_image(struct rig *r, struct dev_sim_image *image, const struct fs_config *cfg, uint64_t seed)
{
	*r = (struct rig){ .cfg = *cfg };
	r->cfg.seed += seed;
	r->dev = sim_disk_open(0, seed, image);
	rig_open(r);
}

static struct dev_sim_image *close_image(struct rig *r)
{
	struct dev_sim_image *image;

	sim_ok(fs_close(r->fs));
	image = dev_sim_crash_image(r->dev, DEV_SIM_CUT_KEEP, 0, NULL);
	dev_close(r->dev);
	return image;
}

/* A pool with something of its own. */
static struct dev_sim_image *empty_target(void)
{
	struct rig t = { .cfg = quiet };
	struct fs_volume_info v;

	t.dev = sim_disk_new(TARGET_BLOCKS, 5);
	sim_ok(fs_format(t.dev, &(struct fs_format_opts){ .uuid = { 2, 7 } }));
	rig_open(&t);
	sim_ok(fs_volume_create(&t.req, "main", &v));
	t.root = v.root;
	rig_write(&t, rig_create(&t, "own"), 0, 30000, 99);
	return close_image(&t);
}

static void make_scenes(struct test *t)
{
	struct scene *whole = &t->scenes[WHOLE], *more = &t->scenes[MORE], *rest = &t->scenes[REST];
	struct fs_volume_info v;
	struct stream_token token;
	struct stream part;
	struct rig x;
	bool kept;

	t->source.cfg = quiet;
	t->source.dev = sim_disk_new(SOURCE_BLOCKS, 1);
	sim_ok(fs_format(t->source.dev, &(struct fs_format_opts){ .uuid = { 1 } }));
	rig_open(&t->source);
	sim_ok(fs_volume_create(&t->source.req, "main", &v));
	t->source.root = v.root;
	make_first(&t->source);
	sim_ok(fs_snapshot_create(&t->source.req, "main", "s1", NULL));
	change_it(&t->source);
	sim_ok(fs_snapshot_create(&t->source.req, "main", "s2", NULL));

	*whole = (struct scene){ .name = "whole", .snapshot = "s1", .base = empty_target() };
	repl_send(t->source.fs, "main", "s1", NULL, NULL, MARK_BYTES, &whole->stream);
	open_image(&x, whole->base, &quiet, 1);
	sim_ok(repl_receive(x.fs, "copy", &whole->stream, false, &kept, &token));
	*more = (struct scene){ .name = "more", .snapshot = "s2", .from = "s1", .base = close_image(&x) };
	repl_send(t->source.fs, "main", "s2", "s1", NULL, MARK_BYTES, &more->stream);
	open_image(&x, more->base, &quiet, 1);
	part = more->stream;
	part.len = part.len * 3 / 4;
	sim_check(repl_receive(x.fs, "copy", &part, false, &kept, &token) == -EPIPE && kept, "no mark in what came");
	*rest = (struct scene){ .name = "rest", .snapshot = "s2", .from = "s1", .unfinished = true,
				.base = close_image(&x) };
	repl_send(t->source.fs, "main", "s2", "s1", &token, MARK_BYTES, &rest->stream);
}

/* ---- what is there --------------------------------------------------------------------------- */

struct found { unsigned unfinished; struct stream_token token; };

static int count_unfinished(void *arg, const struct unfinished_info *u)
{
	struct found *f = arg;

	sim_check(!strcmp(u->volume, "copy") && !f->unfinished, "'%s' is being received, too", u->volume);
	f->unfinished++;
	f->token = u->token;
	return 0;
}

static bool has_snapshot(struct fs *fs, const char *name)
{
	struct fs_snapshot_info s;
	int rc = fs_snapshot_find(fs, "copy", name, &s);

	sim_check(!rc || rc == -ENOENT, "looking for copy@%s: %s", name, sim_err(rc));
	return !rc;
}

/* Files in the receiver's own directory. */
static unsigned own_files(struct rig *r)
{
	struct fs_dirlist list = { .buf = test_alloc(65536), .cap = 65536 };
	struct fs_id dir;
	int rc = fs_system_find(&r->req, "receive", &dir);

	if (!rc)
		rc = fs_readdir(&r->req, dir, 2, false, &list);
	sim_check(!rc || rc == -ENOENT, "the receiver's directory: %s", sim_err(rc));
	free(list.buf);
	return list.n;
}

/* Nothing is there that nobody needs.  An unfinished one has a state, a map or two, and a hidden volume. */
static void expect_no_rest(struct test *t, struct rig *r, const char *when)
{
	unsigned maps = has_snapshot(r->fs, "s1") + has_snapshot(r->fs, "s2"), files = own_files(r);
	struct found f = { 0 };
	struct fs_volume_info v;
	char hidden[FS_VOLUME_NAME_MAX + 1];

	snprintf(hidden, sizeof(hidden), FS_HIDDEN_PREFIX "%016llx", (unsigned long long)hash64("copy", 4));
	sim_ok(unfinished_each(r->fs, count_unfinished, &f));
	sim_check(files == maps + 2 * f.unfinished || (f.unfinished && files == maps + 3), "%s: %u files of the receiver with %u snapshots%s", when, files,
		  maps, f.unfinished ? " and an unfinished one" : "");
	sim_check((fs_hidden_find(r->fs, hidden, &v) == 0) == f.unfinished, "%s: a hidden volume %s", when,
		  f.unfinished ? "is missing" : "was left behind");
}

/* As before (false), or all of it (true). */
static bool look(struct test *t, struct rig *r, const char *when)
{
	struct fs *source = t->source.fs;
	bool after = has_snapshot(r->fs, t->s->snapshot);
	struct fs_volume_info v;
	char there[32], sent[32];

	if (sim_trace)
		printf("%s: %s\n", when, after ? "all of it" : "as before");
	rig_expect(r, rig_find(r, "own"), 0, 30000, 99);
	if (t->s->from) {
		repl_same(source, "main@s1", r->fs, "copy@s1");
		snprintf(there, sizeof(there), "main@%s", t->s->from);
	} else if (!after) {
		sim_check(fs_volume_find(r->fs, "copy", &v) == -ENOENT, "%s: a volume without its snapshot", when);
		return false;
	}
	snprintf(sent, sizeof(sent), "main@%s", t->s->snapshot);
	repl_same(source, after ? sent : there, r->fs, "copy");
	return after;
}

/* Now it comes in: all of it, or what is missing. */
static void try_again(struct test *t, struct rig *r, const char *when)
{
	struct found f = { 0 };
	struct stream rest = { 0 };
	struct stream_token token;
	bool kept;
	int rc;

	sim_ok(unfinished_each(r->fs, count_unfinished, &f));
	repl_send(t->source.fs, "main", t->s->snapshot, t->s->from, f.unfinished ? &f.token : NULL,
		  f.unfinished ? MARK_BYTES : 0, &rest);
	rc = repl_receive(r->fs, "copy", &rest, false, &kept, &token);
	sim_check(!rc, "%s: once more, %s: %s", when, f.unfinished ? "from the mark on" : "from the beginning",
		  sim_err(rc));
	stream_free(&rest);
	sim_check(look(t, r, when), "%s: received once more, and not there", when);
	t->again++;
}

/* What it has got can be gone on from. */
static void go_on(struct test *t, struct rig *r, const char *when)
{
	struct scene *s = t->s;

	if (s != &t->scenes[WHOLE])
		return;
	t->s = &t->scenes[MORE];
	try_again(t, r, when);
	t->s = s;
}

/* A pool that has just been opened, after whatever happened. */
static bool settle(struct test *t, struct rig *r, uint64_t seed, const char *when)
{
	struct found f = { 0 };
	bool after;

	sim_ok(unfinished_sweep(r->fs));	/* as pandod does when it starts */
	after = look(t, r, when);
	expect_no_rest(t, r, when);
	sim_ok(unfinished_each(r->fs, count_unfinished, &f));
	t->kept += f.unfinished;
	t->found = f.unfinished;
	*(after ? &t->after : &t->before) += 1;
	if (seed % 4 == 0 && f.unfinished) {
		sim_ok(unfinished_forget(r->fs, "copy"));
		sim_check(!look(t, r, when), "%s: forgotten, and there", when);
	}
	if (seed % 4 < 2 && !after)
		try_again(t, r, when);
	if (seed % 4 < 2)
		go_on(t, r, when);
	return after;
}

/* ---- the power goes --------------------------------------------------------------------------- */

static struct dev_sim_image *cut_image(struct dev *d, unsigned mode, uint64_t seed)
{
	return dev_sim_crash_image(d, mode == 0 ? DEV_SIM_CUT_DROP : mode == 1 ? DEV_SIM_CUT_KEEP :
				   DEV_SIM_CUT_RANDOM, seed, NULL);
}

static void add_cut(struct test *t, struct dev *d)
{
	struct cut *c;

	if (t->ncuts == t->cuts_cap) {
		t->cuts_cap = t->cuts_cap ? 2 * t->cuts_cap : 256;
		t->cuts = realloc(t->cuts, t->cuts_cap * sizeof(*t->cuts));
		if (!t->cuts)
			abort();
	}
	c = &t->cuts[t->ncuts];
	*c = (struct cut){ .told = t->told };
	for (unsigned i = 0; i < MODES; i++)
		if (t->only_n < 0 ? t->ncuts % t->stride == 0 : t->only_n == t->ncuts)
			c->images[i] = cut_image(d, i, t->ncuts * 31 + i);
	t->ncuts++;
}

static void on_submit(void *arg, struct dev *d, const struct dev_io *io)
{
	struct test *t = arg;

	if (t->recording && io->op != DEV_READ)
		add_cut(t, d);
}

struct again { uint64_t at, n, seed; struct dev_sim_image *image; };

static void on_recovery(void *arg, struct dev *d, const struct dev_io *io)
{
	struct again *a = arg;

	if (a->n++ == a->at)
		a->image = cut_image(d, a->seed % MODES, a->seed);
}

static void try_image(struct test *t, struct dev_sim_image *image, bool told, uint64_t seed, const char *what,
		      unsigned depth)
{
	struct again again = { .at = UINT64_MAX, .seed = seed };
	struct rig r = { .cfg = busy };
	char text[200];
	struct rng rng;
	bool after;

	rng_init(&rng, seed);
	if (depth < 2 && rng_one_in(&rng, 3))
		again.at = rng_below(&rng, rng_one_in(&rng, 2) ? 10 : 80);
	r.cfg.seed = seed + 1;
	r.dev = sim_disk_open(0, seed, image);
	dev_sim_on_submit(r.dev, on_recovery, &again);
	rig_open(&r);
	after = settle(t, &r, again.at == UINT64_MAX ? seed : 3, what);
	sim_check(after || !told, "%s: it was told that all is there", what);
	sim_ok(fs_close(r.fs));
	dev_sim_on_submit(r.dev, NULL, NULL);
	sim_fsck(r.dev, what);
	dev_close(r.dev);
	t->runs++;
	if (!again.image)
		return;
	snprintf(text, sizeof(text), "%.150s, and again at request %llu", what, (unsigned long long)again.at);
	try_image(t, again.image, after, seed * 7 + 1, text, depth + 1);
	dev_sim_image_put(again.image);
}

static void try_cuts(struct test *t)
{
	char what[100];

	for (uint32_t i = 0; i < t->ncuts; i++) {
		for (unsigned k = 0; k < MODES; k++) {
			struct dev_sim_image *image = t->cuts[i].images[k];

			if (!image)
				continue;
			snprintf(what, sizeof(what), "cut %u mode %u of '%s'", i, k, t->s->name);
			snprintf(sim_replay, sizeof(sim_replay), "receive_test cut --only %s --at %u:%u", t->s->name,
				 i, k);
			if (t->only_mode < 0 || t->only_mode == k)
				try_image(t, image, t->cuts[i].told, i * 17 + k, what, 0);
			dev_sim_image_put(image);
		}
	}
	t->ncuts = 0;
}

static void cut_scene(struct test *t)
{
	struct stream_token token;
	bool kept;

	open_image(&t->target, t->s->base, &busy, 3);
	dev_sim_on_submit(t->target.dev, on_submit, t);
	t->recording = true;
	t->told = false;
	sim_ok(repl_receive(t->target.fs, "copy", &t->s->stream, false, &kept, &token));
	t->told = true;
	add_cut(t, t->target.dev);
	sim_ok(fs_close(t->target.fs));
	t->recording = false;
	dev_close(t->target.dev);
	printf("%s: %u cuts\n", t->s->name, t->ncuts);
	try_cuts(t);
}

/* ---- requests and allocations fail ------------------------------------------------------------ */

static bool clean_error(bool disk, int rc)
{
	return disk ? rc == -EIO || rc == -EROFS : rc == -ENOMEM;
}

/* The receiver, with the fault in; what it says.  *RET_TOKEN: from where it can go on, if it is kept. */
static int faulty(struct test *t, bool disk, uint64_t n, bool good, bool *ret_hit, bool *ret_kept,
		  struct stream_token *ret_token)
{
	struct receive *r = NULL;
	struct dev_sim_stats a, b;
	bool ending = false;
	int rc;

	dev_sim_stats(t->target.dev, &a);
	if (disk)
		dev_sim_fail_nth(t->target.dev, n, good);
	else
		fault_alloc_set(n, good);
	fault_alloc_arm(true);
	rc = receive_open(t->target.fs, "copy", false, &r);
	if (!rc)
		rc = repl_feed(r, t->s->stream.data, t->s->stream.len, 9);
	if (!rc) {
		ending = true;
		rc = receive_finish(r);
	}
	*ret_kept = r && receive_close(r, ret_token);
	fault_alloc_arm(false);
	dev_sim_stats(t->target.dev, &b);
	*ret_hit = disk ? b.total - a.total >= n : fault_alloc_hit();
	fault_alloc_set(0, false);
	dev_sim_clear_faults(t->target.dev);
	sim_check(!rc || clean_error(disk, rc), "receiving: %s", sim_err(rc));
	sim_check(!rc || *ret_hit, "it failed without a fault: %s", sim_err(rc));
	t->ending = ending;
	return rc;
}

/* The pool is opened anew, with what was flushed, or all, or parts of it. */
static void reopen_cut(struct test *t, uint64_t seed)
{
	struct dev_sim_image *image = cut_image(t->target.dev, seed % MODES, seed);

	fs_abandon(t->target.fs);
	dev_close(t->target.dev);
	open_image(&t->target, image, &quiet, seed);
	dev_sim_image_put(image);
}

static bool fault_run(struct test *t, bool disk, uint64_t n, bool good)
{
	struct found f = { 0 };
	struct stream_token token;
	struct fs_status st;
	bool hit, kept, after;
	int rc;

	open_image(&t->target, t->s->base, &quiet, 3);
	rc = faulty(t, disk, n, good, &hit, &kept, &token);
	t->refused += rc != 0;
	fs_status(t->target.fs, &st);
	sim_check(!st.readonly || disk, "no memory, and so for good read-only: %s", st.reason);
	t->readonly += st.readonly;
	if (!st.readonly && !good) {	/* it has cleaned up itself, and has said what it has */
		if (rc)
			expect_no_rest(t, &t->target, "after a fault");
		sim_ok(unfinished_each(t->target.fs, count_unfinished, &f));
		sim_check(!kept || (f.unfinished && !memcmp(&token, &f.token, sizeof(token))),
			  "it goes on from elsewhere than it says");
		sim_check(kept || !f.unfinished || t->s->unfinished, "there is something to go on from, and it "
			  "says nothing of it");
	}
	if (st.readonly || n % 2)
		reopen_cut(t, n + good);
	after = settle(t, &t->target, n, "after a fault");
	sim_check(!rc || t->ending || !t->s->unfinished || t->found, "what had come before is gone");
	sim_check(after || rc, "received, and not there");
	sim_check(!after || !rc || st.readonly, "it is there, and the receiver was told %s", sim_err(rc));
	sim_ok(fs_close(t->target.fs));
	sim_fsck(t->target.dev, "after a fault");
	dev_close(t->target.dev);
	t->runs++;
	return hit;
}

static void fault_scene(struct test *t, bool disk, bool good)
{
	uint64_t n = t->only_n > 0 ? t->only_n : 1;

	for (;; n += t->stride) {
		snprintf(sim_replay, sizeof(sim_replay), "receive_test %s --only %s --at %llu%s",
			 disk ? "disk" : "alloc", t->s->name, (unsigned long long)n, good ? ":1" : ":0");
		if (!fault_run(t, disk, n, good) || t->only_n > 0)
			break;
	}
}

/* ---- all --------------------------------------------------------------------------------------- */

struct job { struct test *t; const char *what; };

static void run_scene(struct test *t, const char *what)
{
	t->runs = t->before = t->after = t->kept = t->refused = t->readonly = t->again = 0;
	if (!strcmp(what, "cut"))
		cut_scene(t);
	for (int good = 0; good < 2 && strcmp(what, "cut"); good++)
		if (t->only_mode < 0 || t->only_mode == good)
			fault_scene(t, !strcmp(what, "disk"), good);
	printf("%s, %s: %u runs, %u refused, %u times read-only; %u as before (%u with a part of it), %u with all; "
	       "%u times received then\n", what, t->s->name, t->runs, t->refused, t->readonly, t->before, t->kept,
	       t->after, t->again);
}

static void run(void *arg)
{
	struct job *j = arg;
	struct test *t = j->t;

	make_scenes(t);
	for (unsigned i = 0; i < NSCENES; i++) {
		t->s = &t->scenes[i];
		if (!t->only || !strcmp(t->only, t->s->name))
			run_scene(t, j->what);
	}
	for (unsigned i = 0; i < NSCENES; i++) {
		dev_sim_image_put(t->scenes[i].base);
		stream_free(&t->scenes[i].stream);
	}
	sim_ok(fs_close(t->source.fs));
	dev_close(t->source.dev);
	free(t->cuts);
}

int main(int argc, char **argv)
{
	struct test t = { .stride = 1, .only_n = -1, .only_mode = -1 };
	struct job j = { &t, NULL };
	char *end;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--trace")) {
			sim_trace = true;
		} else if (!strcmp(argv[i], "--only") && i + 1 < argc) {
			t.only = argv[++i];
		} else if (!strcmp(argv[i], "--stride") && i + 1 < argc) {
			t.stride = strtoull(argv[++i], NULL, 0);
		} else if (!strcmp(argv[i], "--at") && i + 1 < argc) {
			t.only_n = strtoll(argv[++i], &end, 0);
			if (*end == ':')
				t.only_mode = strtoll(end + 1, NULL, 0);
		} else {
			j.what = argv[i];
		}
	}
	if (!j.what || (strcmp(j.what, "cut") && strcmp(j.what, "disk") && strcmp(j.what, "alloc")) || !t.stride) {
		fprintf(stderr, "usage: receive_test cut|disk|alloc [--only whole|more|rest] [--at N[:MODE]] "
			"[--stride N] [--trace]\n");
		return 2;
	}
	sim_run(run, &j);
	sim_check(!dev_sim_live_pages(), "pages of disks are left over");
	return 0;
}
