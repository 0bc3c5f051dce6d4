/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every short sequence of operations, with the power cut wherever it could matter.
 *
 *   small_test [--length N] [--shard I/N] [--sample N] [--only A,B,C[:wait]] [--trace] [--list]
 *
 * Most crash bugs of file systems show with two or three operations on a handful of files
 * (Mohan and others, "Finding Crash-Consistency Bugs with Bounded Black-Box Testing", 2018).
 * So all sequences of up to N (3) steps are tried, each both ways: nobody waits for anything to
 * be stable, or everybody does, as NFS would.  At each write and flush that a sequence submits,
 * and at its end, the power goes, with every subset of the last LAST unflushed writes there,
 * once with all older ones and once with none, and twice with random parts of them torn.  Each disk
 * that differs is opened and must hold a prefix of the sequence with all that was acknowledged.
 * Only cuts from the last step on are tried: those before it are the shorter sequence's.
 *
 * --sample N runs one sequence in N, chosen by --seed (or the time of day, with --fresh).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/loop.h"
#include "batch.h"
#include "history.h"
#include "sim_disk.h"

#define LENGTH_MAX 4
#define LAST 4				/* unflushed writes of which every subset is tried */
#define IMAGES (2 * (1 << LAST) + 2)
#define NBLOCKS 4096

struct test {
	struct dev_sim_image *base[2];	/* of the pool that all begin with; with dedup on */
	struct model *base_model[2];
	struct dev *dev;
	struct fs *fs;
	struct model *m;
	struct batch *batch;
	struct history h;
	struct cut { struct dev_sim_image *images[IMAGES]; unsigned n; uint64_t acked, last; } *cuts;
	uint32_t ncuts, cuts_cap;
	uint64_t acked;
	bool recording, wait, dedup;
	uint64_t wrote;			/* seed of the last write to "a" at its beginning */
	uint32_t wrote_len;
	unsigned length, shard, shards, sample;
	const char *only;
	struct rng rng;
	uint64_t sequences, points, opened, same;
	char text[200];
};

/* ---- the steps --------------------------------------------------------------------------- */

static struct mnode *named(struct test *t, const char *name)
{
	struct mnode *root = model_volume(t->m, "main")->root;

	return model_lookup(root, name, strlen(name));
}

static void set_name(char *buf, uint32_t *ret_len, const char *name)
{
	memset(buf, 0, OP_NAME_BUF);
	strcpy(buf, name);
	*ret_len = strlen(name);
}

/* The next operation, on the root; the caller fills in the rest. */
static struct op *add(struct test *t, enum op_kind kind, const char *name)
{
	struct op *op = &t->batch->ops[t->batch->n++];

	memset(op, 0, sizeof(*op));
	op->kind = kind;
	op->dir = op->dir2 = model_volume(t->m, "main")->root->id;
	if (name)
		set_name(op->name, &op->name_len, name);
	return op;
}

/* Each of these returns whether there is anything to do in the present state. */

static bool make(struct test *t, enum op_kind kind, const char *name)
{
	struct op *op;

	if (named(t, name))
		return false;
	op = add(t, kind, name);
	op->how = FS_CREATE_GUARDED;
	return true;
}

static bool write_to(struct test *t, const char *name, uint64_t offset, uint32_t len)
{
	struct mnode *n = named(t, name);
	struct op *op;

	if (!n)
		return false;
	op = add(t, OP_WRITE, NULL);
	op->id = n->id;
	op->offset = offset;
	op->len = len;
	op->seed = 0x1000 + t->h.n * 64 + 7;	/* different each time, without holes */
	if (*name == 'a' && !offset) {
		t->wrote = op->seed;
		t->wrote_len = len;
	}
	return true;
}

/* What "a" has got since the pool was opened: a volume with dedup on knows it. */
static bool write_same(struct test *t, const char *name, uint32_t len)
{
	if (!t->wrote || t->wrote_len < len || !write_to(t, name, 0, len))
		return false;
	t->batch->ops[t->batch->n - 1].seed = t->wrote;
	return true;
}

/* Equal blocks, if there are any, become one. */
static bool dedup_job(struct test *t)
{
	if (t->h.n < 2)
		return false;
	sim_dedup(t->fs, t->m, "main");
	return true;
}

static bool set_size(struct test *t, const char *name, uint64_t size)
{
	struct mnode *n = named(t, name);
	struct op *op;

	if (!n || n->size == size)
		return false;
	op = add(t, OP_SETATTR, NULL);
	op->id = n->id;
	op->set = (struct fs_setattr){ .mask = FS_SET_SIZE, .size = size };
	return true;
}

static bool clone_to(struct test *t, const char *from, const char *to, uint32_t count)
{
	struct mnode *n = named(t, from);
	struct op *op;

	if (!n || named(t, to))
		return false;
	op = add(t, OP_CLONE, to);
	op->id = n->id;
	op->count = count;
	return true;
}

static bool range(struct test *t, const char *from, const char *to, uint64_t src, uint64_t dst,
		  uint64_t len)
{
	struct mnode *a = named(t, from), *b = named(t, to);
	struct op *op;

	if (!a || !b || a == b || a->size < src + len)
		return false;
	op = add(t, OP_RANGE, NULL);
	op->src = a->id;
	op->id = b->id;
	op->src_offset = src;
	op->offset = dst;
	op->length = len;
	return true;
}

static bool punch(struct test *t, const char *name, uint64_t offset, uint64_t len)
{
	struct mnode *n = named(t, name);
	struct op *op;

	if (!n || n->size <= offset)
		return false;
	op = add(t, OP_PUNCH, NULL);
	op->id = n->id;
	op->offset = offset;
	op->length = len;
	return true;
}

static bool set_xattr(struct test *t, const char *name, const char *attr, uint32_t len)
{
	struct mnode *n = named(t, name);
	struct op *op;

	if (!n)
		return false;
	op = add(t, OP_XSET, attr);
	op->id = n->id;
	op->len = len;
	op->seed = 0x1000 + t->h.n * 64 + 7;
	return true;
}

static bool drop_xattr(struct test *t, const char *name, const char *attr)
{
	struct mnode *n = named(t, name);

	if (!n || !n->xattrs)
		return false;
	add(t, OP_XREMOVE, attr)->id = n->id;
	return true;
}

static bool hold(struct test *t, const char *name)
{
	struct mnode *n = named(t, name);

	if (!n || t->m->nheld)
		return false;
	add(t, OP_HOLD, NULL)->id = n->id;
	return true;
}

/* To what is held, whether it has a name or not. */
static bool write_held(struct test *t)
{
	struct op *op;

	if (!t->m->nheld)
		return false;
	op = add(t, OP_WRITE, NULL);
	op->id = t->m->held[0];
	op->len = 40960;
	op->stable = true;
	op->seed = 0x1000 + t->h.n * 64 + 7;
	return true;
}

static bool unhold(struct test *t)
{
	if (!t->m->nheld)
		return false;
	fs_unhold(t->fs, t->m->held[0]);
	if (!model_unhold(t->m, 0))
		return false;
	sim_ok(fs_reap_all(t->fs));
	history_push(&t->h, t->m, fs_last_seq(t->fs));
	return true;
}

static bool rename_to(struct test *t, const char *from, const char *to, const char *dir)
{
	struct mnode *d = dir ? named(t, dir) : NULL;
	struct op *op;

	if (!named(t, from) || (dir && !d))
		return false;
	op = add(t, OP_RENAME, from);
	set_name(op->name2, &op->name2_len, to);
	if (d)
		op->dir2 = d->id;
	return true;
}

static bool link_to(struct test *t, const char *from, const char *to)
{
	struct mnode *n = named(t, from);
	struct op *op;

	if (!n || named(t, to))
		return false;
	op = add(t, OP_LINK, to);
	op->id = n->id;
	return true;
}

static bool clone_dir(struct test *t, const char *from, const char *to)
{
	struct mnode *n = named(t, from);

	if (!n || named(t, to))
		return false;
	add(t, OP_TREE, to)->id = n->id;
	return true;
}

#define QUOTA 8				/* blocks: less than some steps want */

/* A quota comes, or goes. */
static bool quota(struct test *t, const char *name)
{
	struct mnode *n = named(t, name);
	struct op *op;

	if (!n)
		return false;
	op = add(t, OP_QUOTA, NULL);
	op->id = n->id;
	op->length = QUOTA;
	op->replace = n->has_quota;
	return true;
}

/* The same of space for the volume. */
static bool reserve(struct test *t, uint64_t blocks)
{
	add(t, OP_RESERVE, "main")->length = model_volume(t->m, "main")->reserve ? 0 : blocks;
	return true;
}

static bool clone_into(struct test *t, const char *from, const char *dir, const char *to)
{
	struct mnode *n = named(t, from), *d = named(t, dir);
	struct op *op;

	if (!n || !d || model_lookup(d, to, strlen(to)))
		return false;
	op = add(t, OP_CLONE, to);
	op->dir = d->id;
	op->id = n->id;
	op->count = 1;
	return true;
}

/* To the file NAME in DIR. */
static bool write_in(struct test *t, const char *dir, const char *name, uint32_t len)
{
	struct mnode *d = named(t, dir), *n = d ? model_lookup(d, name, strlen(name)) : NULL;
	struct op *op;

	if (!n)
		return false;
	op = add(t, OP_WRITE, NULL);
	op->id = n->id;
	op->len = len;
	op->seed = 0x1000 + t->h.n * 64 + 7;
	sim_quota_left(t->fs, op);
	return true;
}

static bool drop(struct test *t, enum op_kind kind, const char *name)
{
	if (!named(t, name))
		return false;
	add(t, kind, name);
	return true;
}

static bool snapshot(struct test *t, enum op_kind kind)
{
	bool there = model_snap(t->m, model_volume(t->m, "main")->id, "s");
	struct op *op;

	if (there == (kind == OP_SNAP))
		return false;
	/* What has no name would go in the background, after what is acknowledged. */
	for (uint32_t i = 0; i < t->m->nnodes; i++)
		if (t->m->nodes[i]->unnamed)
			return false;
	op = add(t, kind, "main");
	set_name(op->name2, &op->name2_len, "s");
	op->force = true;
	if (kind == OP_VCLONE)
		op->target = strdup("c");
	return true;
}

static bool clone_volume(struct test *t)
{
	return !model_volume(t->m, "c") && snapshot(t, OP_VCLONE);
}

static bool destroy_clone(struct test *t)
{
	if (!model_volume(t->m, "c"))
		return false;
	add(t, OP_VDESTROY, "c");
	return true;
}

static bool sync_all(struct test *t)
{
	uint64_t seq = fs_last_seq(t->fs);

	if (t->h.n < 2 || t->wait)
		return false;			/* nothing that is not stable yet */
	sim_ok(fs_wait_stable(t->fs, seq));
	t->acked = seq;
	return true;
}

static bool checkpoint(struct test *t)
{
	if (t->h.n < 2)
		return false;
	sim_ok(fs_checkpoint(t->fs));
	return true;
}

static bool reap(struct test *t)
{
	if (t->h.n < 2)
		return false;
	sim_ok(fs_reap_all(t->fs));
	return true;
}

#define STEP(name, call) static bool step_##name(struct test *t) { return call; }
STEP(create_c, make(t, OP_CREATE, "c"))
STEP(mkdir_e, make(t, OP_MKDIR, "e"))
STEP(rmdir_d, drop(t, OP_RMDIR, "d"))
STEP(write_a_bytes, write_to(t, "a", 4000, 200))
STEP(write_a_large, write_to(t, "a", 0, 40960))
STEP(append_b, write_to(t, "b", 5000, 9000))
STEP(write_c, write_to(t, "c", 0, 4096))
STEP(write_b_same, write_same(t, "b", 40960))
STEP(write_c_same, write_same(t, "c", 8192))
STEP(dedup, dedup_job(t))
STEP(shorten_a, set_size(t, "a", 5000))
STEP(lengthen_a, set_size(t, "a", 3 << 20))
STEP(clone_a_c, clone_to(t, "a", "c", 1))
STEP(clone_b_e, clone_to(t, "b", "f", 3))
STEP(range_a_b, range(t, "a", "b", 0, 4096, 8192))
STEP(range_c_a, range(t, "c", "a", 0, 0, 4096))
STEP(punch_a, punch(t, "a", 0, 4096))
STEP(punch_b, punch(t, "b", 100, 5000))
STEP(rename_a_b, rename_to(t, "a", "b", NULL))
STEP(rename_b_into, rename_to(t, "b", "x", "d"))
STEP(rename_c_a, rename_to(t, "c", "a", NULL))
STEP(link_a_c, link_to(t, "a", "c"))
STEP(remove_a, drop(t, OP_REMOVE, "a"))
STEP(remove_b, drop(t, OP_REMOVE, "b"))
STEP(xattr_a, set_xattr(t, "a", "x", 10))
STEP(xattr_a_large, set_xattr(t, "a", "y", 30000))
STEP(xattr_d, set_xattr(t, "d", "x", 100))
STEP(drop_xattr_a, drop_xattr(t, "a", "x"))
STEP(hold_b, hold(t, "b"))
STEP(write_held, write_held(t))
STEP(unhold, unhold(t))
STEP(snapshot, snapshot(t, OP_SNAP))
STEP(unsnapshot, snapshot(t, OP_UNSNAP))
STEP(restore, snapshot(t, OP_RESTORE))
STEP(vclone, clone_volume(t))
STEP(destroy_clone, destroy_clone(t))
STEP(tree_d, clone_dir(t, "d", "t"))
STEP(quota_d, quota(t, "d"))
STEP(clone_a_dy, clone_into(t, "a", "d", "y"))
STEP(write_dy, write_in(t, "d", "y", 10 * MBLOCK))
STEP(reserve, reserve(t, 300))
STEP(fsync, sync_all(t))
STEP(checkpoint, checkpoint(t))
STEP(reap, reap(t))

#define ROW(name) { #name, step_##name }
static const struct step { const char *name; bool (*fn)(struct test *t); } steps[] = {
	ROW(create_c), ROW(mkdir_e), ROW(rmdir_d), ROW(write_a_bytes), ROW(write_a_large),
	ROW(append_b), ROW(write_c), ROW(write_b_same), ROW(write_c_same), ROW(dedup), ROW(shorten_a), ROW(lengthen_a), ROW(clone_a_c), ROW(clone_b_e),
	ROW(range_a_b), ROW(range_c_a), ROW(punch_a), ROW(punch_b), ROW(rename_a_b),
	ROW(rename_b_into), ROW(rename_c_a), ROW(link_a_c), ROW(remove_a), ROW(remove_b),
	ROW(xattr_a), ROW(xattr_a_large), ROW(xattr_d), ROW(drop_xattr_a), ROW(hold_b), ROW(write_held),
	ROW(unhold), ROW(snapshot), ROW(unsnapshot), ROW(restore), ROW(vclone), ROW(destroy_clone), ROW(tree_d),
	ROW(quota_d), ROW(clone_a_dy), ROW(write_dy), ROW(reserve), ROW(fsync), ROW(checkpoint), ROW(reap),
};
#define NSTEPS (sizeof(steps) / sizeof(*steps))

/* ---- the power goes ---------------------------------------------------------------------- */

/* Keeps IMAGE unless the same disk is in C already. */
static void keep(struct test *t, struct cut *c, struct dev_sim_image *image)
{
	for (unsigned i = 0; i < c->n; i++) {
		if (dev_sim_image_equal(c->images[i], image)) {
			dev_sim_image_put(image);
			t->same++;
			return;
		}
	}
	c->images[c->n++] = image;
}

/* Every subset of the last writes, with OLDER (0 or 1) for those before them. */
static void subsets(struct test *t, struct cut *c, struct dev *d, uint64_t unflushed, bool older)
{
	unsigned last = unflushed < LAST ? unflushed : LAST;
	size_t bytes = unflushed / 8 + 1;
	uint8_t *bits = test_alloc(bytes);

	for (unsigned set = 0; set < 1u << last; set++) {
		memset(bits, older ? 0xff : 0, bytes);
		for (unsigned i = 0; i < last; i++) {
			uint64_t at = unflushed - last + i;

			bits[at / 8] = (bits[at / 8] & ~(1 << at % 8)) | (set >> i & 1) << at % 8;
		}
		keep(t, c, dev_sim_crash_image(d, DEV_SIM_CUT_SUBSET, 0, bits));
	}
	free(bits);
}

static void add_cut(struct test *t, struct dev *d)
{
	struct dev_sim_stats st;
	struct cut *c;

	if (t->ncuts == t->cuts_cap) {
		t->cuts_cap = t->cuts_cap ? 2 * t->cuts_cap : 64;
		t->cuts = realloc(t->cuts, t->cuts_cap * sizeof(*t->cuts));
		if (!t->cuts)
			abort();
	}
	c = &t->cuts[t->ncuts++];
	*c = (struct cut){ .acked = t->acked, .last = fs_last_seq(t->fs) };
	dev_sim_stats(d, &st);
	subsets(t, c, d, st.unflushed, false);
	if (st.unflushed > LAST)
		subsets(t, c, d, st.unflushed, true);
	for (unsigned i = 0; i < 2 && st.unflushed; i++)
		keep(t, c, dev_sim_crash_image(d, DEV_SIM_CUT_RANDOM, t->sequences * 64 + t->ncuts * 2 + i,
					       NULL));
	t->points++;
}

static void on_submit(void *arg, struct dev *d, const struct dev_io *io)
{
	struct test *t = arg;

	if (t->recording && io->op != DEV_READ)
		add_cut(t, d);
}

static void on_acked(void *arg, uint64_t seq)
{
	struct test *t = arg;

	if (t->acked < seq)
		t->acked = seq;
}

static void on_applied(void *arg, struct op *op)
{
	struct test *t = arg;

	history_push(&t->h, t->m, op->seq);
}

static const struct fs_config config = { .cache_bytes = 16 << 20, .no_background = true, .seed = 1 };

static void try_image(struct test *t, struct dev_sim_image *image, const struct cut *c)
{
	struct dev *d = sim_disk_open(0, t->opened, image);
	char what[300];
	struct fs_status st;
	struct fs *fs;

	snprintf(what, sizeof(what), "%s, cut %u", t->text, (unsigned)(c - t->cuts));
	fs = sim_open(d, &config);
	fs_status(fs, &st);
	sim_check(!st.readonly, "%s: opened read-only: %s", what, st.reason);
	history_identify(&t->h, fs, 0, c->acked, c->last, what);
	sim_ok(fs_close(fs));
	sim_fsck(d, what);
	dev_close(d);
	t->opened++;
}

static void try_cuts(struct test *t)
{
	for (uint32_t i = 0; i < t->ncuts; i++) {
		struct cut *c = &t->cuts[i];

		for (unsigned k = 0; k < c->n; k++) {
			try_image(t, c->images[k], c);
			dev_sim_image_put(c->images[k]);
		}
	}
	t->ncuts = 0;
}

/* ---- a sequence -------------------------------------------------------------------------- */

/* With DEDUP, the volume looks for what is written. */
static void take_base(struct test *t, bool dedup)
{
	static const struct { const char *name; uint32_t len, hole; } files[] = {
		{ "a", 3 * MBLOCK, 0 }, { "b", 5000, 0 },
	};
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct op op = { .kind = OP_VCREATE };
	struct fs_attr root;
	struct expect e;
	struct fs_req req;

	t->dev = sim_disk_new(NBLOCKS, 1);
	sim_ok(fs_format(t->dev, &(struct fs_format_opts){ .uuid = { 1 } }));
	t->batch->fs = t->fs = sim_open(t->dev, &config);
	t->batch->m = t->m = model_new();
	set_name(op.name, &op.name_len, "main");
	sim_exec(t->fs, &op, NULL);
	model_run(t->m, &op, true, &e);
	fs_req_admin(&req, t->fs);
	sim_ok(fs_volume_find(t->fs, "main", v));
	sim_ok(fs_getattr(&req, v->root, &root));
	model_add_volume(t->m, v, &root);
	if (dedup)
		sim_ok(fs_volume_set_dedup(&req, "main", true));
	for (unsigned i = 0; i < sizeof(files) / sizeof(*files); i++) {
		make(t, OP_CREATE, files[i].name);
		batch_run(t->batch);
		write_to(t, files[i].name, 0, files[i].len);
		batch_run(t->batch);
	}
	punch(t, "a", MBLOCK, MBLOCK);
	batch_run(t->batch);
	make(t, OP_MKDIR, "d");
	batch_run(t->batch);
	sim_ok(fs_close(t->fs));
	t->base[dedup] = dev_sim_crash_image(t->dev, DEV_SIM_CUT_KEEP, 0, NULL);
	dev_close(t->dev);
	t->base_model[dedup] = t->m;
	history_done(&t->h);
	free(v);
}

/* False: some step had nothing to do, so a shorter sequence is the same. */
static bool run_steps(struct test *t, const unsigned *which, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		t->batch->n = 0;
		t->batch->wait = t->wait;
		t->recording = i + 1 == n;
		if (!steps[which[i]].fn(t))
			return false;
		if (t->batch->n)
			batch_run(t->batch);
	}
	return true;
}

static void drop_cuts(struct test *t)
{
	while (t->ncuts) {
		struct cut *c = &t->cuts[--t->ncuts];

		while (c->n)
			dev_sim_image_put(c->images[--c->n]);
	}
}

static void run_sequence(struct test *t, const unsigned *which, unsigned n, bool wait)
{
	int len = 0;
	bool whole;

	for (unsigned i = 0; i < n; i++)
		len += snprintf(t->text + len, sizeof(t->text) - len, "%s%s", i ? "," : "",
				steps[which[i]].name);
	snprintf(t->text + len, sizeof(t->text) - len, "%s", wait ? ":wait" : "");
	snprintf(sim_replay, sizeof(sim_replay), "small_test --only %s --trace", t->text);
	if (sim_trace)
		printf("%s\n", t->text);
	t->wait = wait;
	t->wrote = 0;
	t->dedup = sim_zeros_vanish = false;
	for (unsigned i = 0; i < n; i++) {
		t->dedup |= strstr(steps[which[i]].name, "_same") != NULL;
		sim_zeros_vanish |= !strcmp(steps[which[i]].name, "dedup");
	}
	t->dedup &= !sim_zeros_vanish;		/* the job shall have something to do */
	t->dev = sim_disk_open(0, 7, t->base[t->dedup]);
	dev_sim_on_submit(t->dev, on_submit, t);
	t->batch->fs = t->fs = sim_open(t->dev, &config);
	t->batch->m = t->m = model_clone(t->base_model[t->dedup]);
	t->acked = fs_last_seq(t->fs);
	history_push(&t->h, t->m, t->acked);
	whole = run_steps(t, which, n);
	if (whole) {
		add_cut(t, t->dev);		/* then it ends cleanly, which is cut too */
		sim_ok(fs_close(t->fs));
	} else {
		fs_abandon(t->fs);
	}
	t->recording = false;
	dev_sim_on_submit(t->dev, NULL, NULL);
	if (whole) {
		t->sequences++;
		try_cuts(t);
	}
	drop_cuts(t);
	dev_close(t->dev);
	history_done(&t->h);
	model_free(t->m);
}

static void all_of_length(struct test *t, unsigned n)
{
	unsigned which[LENGTH_MAX] = { 0 }, at;
	uint64_t number = 0;

	do {
		if (number++ % t->shards == t->shard && (t->sample < 2 || rng_one_in(&t->rng, t->sample)))
			for (int wait = 0; wait < 2; wait++)
				run_sequence(t, which, n, wait);
		for (at = n; at && ++which[at - 1] == NSTEPS; at--)
			which[at - 1] = 0;
	} while (at);
}

static void run_only(struct test *t)
{
	unsigned which[LENGTH_MAX], n = 0;
	char text[200], *s = text, *name, *wait;

	snprintf(text, sizeof(text), "%s", t->only);
	wait = strchr(text, ':');
	if (wait)
		*wait = 0;
	while ((name = strsep(&s, ","))) {
		unsigned i = 0;

		while (i < NSTEPS && strcmp(steps[i].name, name))
			i++;
		if (i == NSTEPS || n == LENGTH_MAX) {
			fprintf(stderr, "small_test: '%s' is no step, or there are too many\n", name);
			exit(2);
		}
		which[n++] = i;
	}
	run_sequence(t, which, n, wait);
}

static void run(void *arg)
{
	struct test *t = arg;

	take_base(t, false);
	take_base(t, true);
	if (t->only)
		run_only(t);
	for (unsigned n = 1; !t->only && n <= t->length; n++)
		all_of_length(t, n);
	for (int i = 0; i < 2; i++) {
		dev_sim_image_put(t->base[i]);
		model_free(t->base_model[i]);
	}
	free(t->cuts);
	free(t->batch);
}

static void usage(void)
{
	fprintf(stderr, "usage: small_test [--length N] [--shard I/N] [--sample N] [--seed N | --fresh] "
		"[--only A,B,C[:wait]] [--trace] [--list]\n");
	exit(2);
}

static bool parse_flag(struct test *t, const char *s, uint64_t *seed)
{
	if (!strcmp(s, "--trace"))
		sim_trace = true;
	else if (!strcmp(s, "--fresh"))
		*seed = time(NULL);
	else
		return false;
	return true;
}

static void parse_value(struct test *t, const char *s, const char *v, uint64_t *seed)
{
	if (!strcmp(s, "--length"))
		t->length = strtoul(v, NULL, 0);
	else if (!strcmp(s, "--sample"))
		t->sample = strtoul(v, NULL, 0);
	else if (!strcmp(s, "--seed"))
		*seed = strtoull(v, NULL, 0);
	else if (!strcmp(s, "--only"))
		t->only = v;
	else if (strcmp(s, "--shard") || sscanf(v, "%u/%u", &t->shard, &t->shards) != 2)
		usage();
}

int main(int argc, char **argv)
{
	struct test t = { .length = 3, .shards = 1 };
	uint64_t seed = 1;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--list")) {
			for (unsigned k = 0; k < NSTEPS; k++)
				printf("%s\n", steps[k].name);
			return 0;
		}
		if (parse_flag(&t, argv[i], &seed))
			continue;
		if (i + 1 == argc)
			usage();
		parse_value(&t, argv[i], argv[i + 1], &seed);
		i++;
	}
	if (!t.length || t.length > LENGTH_MAX || t.shard >= t.shards)
		usage();
	rng_init(&t.rng, seed);
	t.batch = test_alloc(sizeof(*t.batch));
	t.batch->acked = on_acked;
	t.batch->applied = on_applied;
	t.batch->arg = &t;
	sim_run(run, &t);
	printf("%llu sequences, %llu crash points, %llu disks opened (%llu more were equal to one of "
	       "these)%s\n", (unsigned long long)t.sequences, (unsigned long long)t.points,
	       (unsigned long long)t.opened, (unsigned long long)t.same,
	       t.sample > 1 ? ", of a sample" : "");
	sim_check(!dev_sim_live_pages(), "pages of disks are left over");
	return 0;
}
