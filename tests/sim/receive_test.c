/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream comes in, and at each point of that something happens.
 *
 *   receive_test cut|disk|alloc|sweep|send [--only whole|more|rest|names] [--at N[:MODE]] [--stride N] [--trace]
 *
 *   cut	the power goes, at every write and every flush; in some of the openings after that, once more
 *   disk	the n-th request of the disk fails: once, and it and all after it
 *   alloc	the n-th allocation fails, likewise
 *   sweep	the n-th allocation fails while a part of it is looked for, as pandod does when it starts
 *   send	the n-th allocation of the sender fails
 *
 * What comes is a whole volume, or what has changed in it since another snapshot, in its data or in its names
 * (with a mark behind each few of them), or the rest of a stream that was interrupted behind a mark.  Whatever
 * happens: the target is as it was before, or has all that was sent; the latter if the receiver was told so.
 * Nothing else is left behind, but what can be gone on with, if there was a mark.  Then the stream, or what is
 * missing of it, is received, and what comes after it, too; the pool checks clean.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/loop.h"
#include "fault_alloc.h"
#include "fs/repl.h"
#include "receive_scenes.h"

#define MODES 3

static const struct fs_config quiet = { .cache_bytes = 16 << 20, .seed = 1, .no_background = true };
/* What comes in is in the middle of checkpoints now and then. */
static const struct fs_config busy = { .cache_bytes = 16 << 20, .seed = 2, .checkpoint_ms = 3 };

struct test {
	struct scenes scenes;
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
	sim_check(files == maps + 2 * f.unfinished || (f.unfinished && files == maps + 3),
		  "%s: %u files of the receiver with %u snapshots%s", when, files, maps,
		  f.unfinished ? " and an unfinished one" : "");
	sim_check((fs_hidden_find(r->fs, hidden, &v) == 0) == f.unfinished, "%s: a hidden volume %s", when,
		  f.unfinished ? "is missing" : "was left behind");
}

/* The source's volume at SNAPSHOT is what the target has as HAS. */
static void same(struct test *t, struct rig *r, const char *snapshot, const char *has)
{
	char sent[32];

	snprintf(sent, sizeof(sent), "%s@%s", t->s->volume, snapshot);
	repl_same(t->scenes.source.fs, sent, r->fs, has);
}

/* As before (false), or all of it (true). */
static bool look(struct test *t, struct rig *r, const char *when)
{
	bool after = has_snapshot(r->fs, t->s->snapshot);
	struct fs_volume_info v;
	char there[32];

	if (sim_trace)
		printf("%s: %s\n", when, after ? "all of it" : "as before");
	rig_expect(r, rig_find(r, "own"), 0, 30000, 99);
	if (t->s->from) {
		same(t, r, t->s->from, "copy@s1");
	} else if (!after) {
		sim_check(fs_volume_find(r->fs, "copy", &v) == -ENOENT, "%s: a volume without its snapshot", when);
		return false;
	}
	same(t, r, after ? t->s->snapshot : t->s->from, "copy");
	if (after) {
		snprintf(there, sizeof(there), "copy@%s", t->s->snapshot);
		same(t, r, t->s->snapshot, there);
	}
	return after;
}

/* Now it comes in: all of it, or what is missing. */
static void try_again(struct test *t, struct rig *r, const char *when)
{
	struct found f = { 0 };
	struct stream rest;
	int rc;

	sim_ok(unfinished_each(r->fs, count_unfinished, &f));
	scene_send(&t->scenes, t->s, f.unfinished ? &f.token : NULL, &rest);
	rc = repl_receive(r->fs, "copy", &rest, false, NULL, NULL);
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

	if (s != &t->scenes.a[WHOLE])
		return;
	t->s = &t->scenes.a[MORE];
	try_again(t, r, when);
	t->s = s;
}

/* A pool that has just been opened, after whatever happened.  ON: it is received once more. */
static bool settle(struct test *t, struct rig *r, uint64_t seed, bool on, const char *when)
{
	struct found f = { 0 };
	bool after;

	sim_ok(unfinished_sweep(r->fs));	/* as pandod does when it starts */
	after = look(t, r, when);
	expect_no_rest(t, r, when);
	sim_ok(unfinished_each(r->fs, count_unfinished, &f));
	sim_check(!after || !f.unfinished, "%s: all of it is there, and can go on", when);
	t->kept += f.unfinished;
	t->found = f.unfinished;
	*(after ? &t->after : &t->before) += 1;
	if (on && seed % 4 == 0 && f.unfinished) {
		sim_ok(unfinished_forget(r->fs, "copy"));
		sim_check(!look(t, r, when), "%s: forgotten, and there", when);
	}
	if (on && !after)
		try_again(t, r, when);
	if (on && seed % 4 < 2)
		go_on(t, r, when);
	return after;
}

/* ---- the power goes --------------------------------------------------------------------------- */

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
			c->images[i] = sim_cut_image(d, i, t->ncuts * 31 + i);
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
		a->image = sim_cut_image(d, a->seed % MODES, a->seed);
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
	after = settle(t, &r, seed, again.at == UINT64_MAX, what);
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
	target_open_image(&t->target, t->s->base, &busy, 3);
	dev_sim_on_submit(t->target.dev, on_submit, t);
	t->recording = true;
	t->told = false;
	sim_ok(repl_receive(t->target.fs, "copy", &t->s->stream, false, NULL, NULL));
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

struct fault { bool disk, good; uint64_t n, total; };

static void fault_begin(struct test *t, struct fault *f)
{
	struct dev_sim_stats st;

	dev_sim_stats(t->target.dev, &st);
	f->total = st.total;
	if (f->disk)
		dev_sim_fail_nth(t->target.dev, f->n, f->good);
	else
		fault_alloc_set(f->n, f->good);
	fault_alloc_arm(true);
}

/* Whether it came to it. */
static bool fault_end(struct test *t, const struct fault *f)
{
	struct dev_sim_stats st;
	bool hit;

	fault_alloc_arm(false);
	dev_sim_stats(t->target.dev, &st);
	hit = f->disk ? st.total - f->total >= f->n : fault_alloc_hit();
	fault_alloc_set(0, false);
	dev_sim_clear_faults(t->target.dev);
	return hit;
}

/* The receiver, with the fault in; what it says.  *RET_TOKEN: from where it can go on, if it is kept. */
static int faulty(struct test *t, struct fault *f, bool *ret_hit, bool *ret_kept, struct stream_token *ret_token)
{
	struct receive *r = NULL;
	int rc;

	t->ending = false;
	fault_begin(t, f);
	rc = receive_open(t->target.fs, "copy", false, &r);
	if (!rc)
		rc = repl_feed(r, t->s->stream.data, t->s->stream.len, 9);
	if (!rc) {
		t->ending = true;
		rc = receive_finish(r);
	}
	sim_check(!r || !rc == !receive_why(r)[0], "a failure that says nothing, or is none: %s", sim_err(rc));
	*ret_kept = r && receive_close(r, ret_token);
	*ret_hit = fault_end(t, f);
	sim_check(!rc || clean_error(f->disk, rc), "receiving: %s", sim_err(rc));
	sim_check(!rc || *ret_hit, "it failed without a fault: %s", sim_err(rc));
	return rc;
}

/* The pool is opened anew, with what was flushed, or all, or parts of it. */
static void reopen_cut(struct test *t, uint64_t seed)
{
	struct dev_sim_image *image = sim_cut_image(t->target.dev, seed % MODES, seed);

	fs_abandon(t->target.fs);
	dev_close(t->target.dev);
	target_open_image(&t->target, image, &quiet, seed);
	dev_sim_image_put(image);
}

static bool fault_run(struct test *t, bool disk, uint64_t n, bool good)
{
	struct fault fault = { .disk = disk, .good = good, .n = n };
	struct found f = { 0 };
	struct stream_token token;
	struct fs_status st;
	bool hit, kept, after;
	int rc;

	target_open_image(&t->target, t->s->base, &quiet, 3);
	rc = faulty(t, &fault, &hit, &kept, &token);
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
	after = settle(t, &t->target, n, true, "after a fault");
	sim_check(!kept || t->found, "it was kept, and is not there");
	sim_check(!rc || t->ending || !t->s->unfinished || t->found, "what had come before is gone");
	sim_check(after || rc, "received, and not there");
	sim_check(!after || !rc || st.readonly, "it is there, and the receiver was told %s", sim_err(rc));
	sim_ok(fs_close(t->target.fs));
	sim_fsck(t->target.dev, "after a fault");
	dev_close(t->target.dev);
	t->runs++;
	return hit;
}

static void fault_each(struct test *t, bool disk, bool good)
{
	uint64_t n = t->only_n > 0 ? t->only_n : 1;

	for (;; n += t->stride) {
		snprintf(sim_replay, sizeof(sim_replay), "receive_test %s --only %s --at %llu%s",
			 disk ? "disk" : "alloc", t->s->name, (unsigned long long)n, good ? ":1" : ":0");
		if (!fault_run(t, disk, n, good) || t->only_n > 0)
			break;
	}
}

static void fault_scene(struct test *t, bool disk)
{
	for (int good = 0; good < 2; good++)
		if (t->only_mode < 0 || t->only_mode == good)
			fault_each(t, disk, good);
}

static void disk_scene(struct test *t) { fault_scene(t, true); }
static void alloc_scene(struct test *t) { fault_scene(t, false); }

/* Looking for what was interrupted loses nothing of it. */
static bool sweep_run(struct test *t, struct dev_sim_image *half, uint64_t n)
{
	struct fault fault = { .n = n };
	bool hit;
	int rc;

	target_open_image(&t->target, half, &quiet, 3);
	fault_begin(t, &fault);
	rc = unfinished_sweep(t->target.fs);
	hit = fault_end(t, &fault);
	sim_check(!rc || clean_error(false, rc), "sweeping: %s", sim_err(rc));
	t->refused += rc != 0;
	if (n % 2)
		reopen_cut(t, n);
	sim_check(!settle(t, &t->target, 1, true, "after a sweep") && t->found, "what had come before is gone");
	target_close(&t->target);
	t->runs++;
	return hit;
}

static void sweep_scene(struct test *t)
{
	struct stream_token token;
	struct dev_sim_image *half = scene_part(t->s, 50, &token);
	uint64_t n = t->only_n > 0 ? t->only_n : 1;

	for (;; n += t->stride) {
		snprintf(sim_replay, sizeof(sim_replay), "receive_test sweep --only %s --at %llu", t->s->name,
			 (unsigned long long)n);
		if (!sweep_run(t, half, n) || t->only_n > 0)
			break;
	}
	dev_sim_image_put(half);
}

/* ---- the sender's fail ------------------------------------------------------------------------- */

static int take(void *arg, const void *data, size_t len)
{
	uint64_t *sum = arg;

	if (len)
		*sum = hash64_two(sum, 8, data, len);
	return 0;
}

/* The sender fails and says why, or sends *SUM; *SUM 0: that becomes what it sends. */
static bool send_once(struct test *t, uint64_t n, uint64_t *sum)
{
	const struct scene *s = t->s;
	struct send_opts o = { .volume = s->volume, .snapshot = s->snapshot, .from = s->from,
			       .resume = s->unfinished ? &s->token : NULL, .mark_bytes = s->mark_bytes };
	uint64_t sent = 0;
	struct send_stats stats;
	char why[SEND_WHY];
	bool hit;
	int rc;

	fault_alloc_set(n, false);
	fault_alloc_arm(true);
	rc = send_run(t->scenes.source.fs, &o, take, &sent, &stats, why);
	fault_alloc_arm(false);
	hit = fault_alloc_hit();
	fault_alloc_set(0, false);
	sim_check(!rc || (clean_error(false, rc) && why[0]), "sending: %s", sim_err(rc));
	sim_check(!rc || hit, "it failed without a fault: %s", sim_err(rc));
	sim_check(rc || !*sum || sent == *sum, "something else was sent");
	if (!*sum)
		*sum = sent;
	t->refused += rc != 0;
	t->runs++;
	return hit;
}

static void send_scene(struct test *t)
{
	uint64_t sum = 0, n = t->only_n > 0 ? t->only_n : 1;
	bool hit;

	send_once(t, 0, &sum);
	do {
		snprintf(sim_replay, sizeof(sim_replay), "receive_test send --only %s --at %llu", t->s->name,
			 (unsigned long long)n);
		hit = send_once(t, n, &sum);
		n += t->stride;
	} while (hit && t->only_n <= 0);
	sim_check(t->only_n >= 0 || t->runs > 5, "only %u allocations", t->runs);
}

/* ---- all --------------------------------------------------------------------------------------- */

static const struct what { const char *name; void (*fn)(struct test *t); bool receives; } whats[] = {
	{ "cut", cut_scene, true }, { "disk", disk_scene, true }, { "alloc", alloc_scene, true },
	{ "sweep", sweep_scene, false }, { "send", send_scene, false },
};
struct job { struct test *t; const struct what *what; };

static void run_scene(struct test *t, const struct what *what)
{
	t->runs = t->before = t->after = t->kept = t->refused = t->readonly = t->again = 0;
	what->fn(t);
	printf("%s, %s: %u runs, %u refused, %u times read-only; %u as before (%u with a part of it), %u with all; "
	       "%u times received then\n", what->name, t->s->name, t->runs, t->refused, t->readonly, t->before,
	       t->kept, t->after, t->again);
	sim_check(!what->receives || t->only_n >= 0 || (t->before && t->kept && t->after),
		  "%s, %s: not all that can happen did", what->name, t->s->name);
}

static void run(void *arg)
{
	struct job *j = arg;
	struct test *t = j->t;

	scenes_make(&t->scenes);
	for (unsigned i = 0; i < NSCENES; i++) {
		t->s = &t->scenes.a[i];
		if (!t->only || !strcmp(t->only, t->s->name))
			run_scene(t, j->what);
	}
	scenes_done(&t->scenes);
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
			for (unsigned k = 0; k < sizeof(whats) / sizeof(*whats); k++)
				if (!strcmp(argv[i], whats[k].name))
					j.what = &whats[k];
		}
	}
	if (!j.what || !t.stride) {
		fprintf(stderr, "usage: receive_test cut|disk|alloc|sweep|send [--only whole|more|rest|names] "
			"[--at N[:MODE]] [--stride N] [--trace]\n");
		return 2;
	}
	sim_run(run, &j);
	sim_check(!dev_sim_live_pages(), "pages of disks are left over");
	return 0;
}
