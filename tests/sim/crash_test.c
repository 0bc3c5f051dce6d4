/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The power goes at every write and every flush.
 *
 *   crash_test [--seed N] [--seeds K] [--steps N] [--modes N] [--fresh] [--at CUT[:MODE]]
 *
 * A history is run once, several operations at a time.  At each request that it submits, what
 * could lie on the medium now is kept (nothing unflushed, all of it, random parts of it, torn),
 * with what had been acknowledged as stable by then.  Afterwards each of these disks is opened,
 * and must hold what the model held after some number of operations: at least all that were
 * acknowledged, at most all that were executed.  It must work on, close, and check clean.  In
 * some of these openings the power goes again, at a random request of the recovery.
 *
 * The history itself is killed now and then (the daemon dies, the disk's cache lives on), and
 * goes on from what is found then.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/loop.h"
#include "batch.h"
#include "history.h"
#include "sim_disk.h"

#define MODES_MAX 16

struct cut {
	struct dev_sim_image *images[MODES_MAX];
	uint64_t acked, last;		/* bounds of what may be found, as event numbers */
	uint64_t request;
};

struct test {
	uint64_t seed;
	unsigned steps, modes, step;
	int64_t only_cut, only_mode;
	struct rng rng;
	struct gen gen;
	struct fs_config cfg;
	uint64_t nblocks;
	struct dev *dev;
	struct fs *fs;
	struct model *m;
	struct batch *batch;
	struct history h;
	struct cut *cuts;
	uint32_t ncuts, cuts_cap;
	uint64_t acked, requests;
	bool record;
	bool dedup_job, dedup_writes;
	unsigned opened, second, kills, replayed, lost;
};

/* ---- the history -------------------------------------------------------------------------- */

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
	*c = (struct cut){ .acked = t->acked, .request = t->requests++ };
	c->last = t->fs ? fs_last_seq(t->fs) : UINT64_MAX;
	for (unsigned i = 0; i < t->modes; i++)
		if (t->only_cut < 0 || t->only_cut == t->ncuts)
			c->images[i] = sim_cut_image(d, i, t->seed * 1000003 + t->ncuts * 31 + i);
	t->ncuts++;
}

static void on_submit(void *arg, struct dev *d, const struct dev_io *io)
{
	struct test *t = arg;

	if (t->record && io->op != DEV_READ)
		add_cut(t, d);
}

static void run_batch(struct test *t, unsigned n)
{
	t->batch->wait = rng_below(&t->rng, 3);
	batch_gen(t->batch, &t->gen, n);
	batch_run(t->batch);
}

struct side { struct test *t; bool operations; unsigned n; };

static void side_fn(void *arg)
{
	struct side *s = arg;

	if (s->operations) {
		while (s->n--)
			run_batch(s->t, rng_range(&s->t->rng, 1, 6));
		return;
	}
	if (rng_one_in(&s->t->rng, 3))
		sim_ok(fs_reap_all(s->t->fs));
	sim_ok(fs_checkpoint(s->t->fs));
}

/* Operations while a checkpoint is under way: what it freed must not be used yet. */
static void beside_checkpoint(struct test *t)
{
	struct side s[2] = { { t, false, 0 }, { t, true, rng_range(&t->rng, 1, 4) } };

	sim_parallel(side_fn, s, sizeof(s[0]), 2);
}

/* SNAPSHOT and TARGET may be NULL. */
static void volume_op(struct test *t, enum op_kind kind, const char *name, const char *snapshot,
		      const char *target)
{
	struct op op = { .kind = kind, .force = true, .target = target ? strdup(target) : NULL };
	struct answer *a = test_alloc(sizeof(*a));
	struct expect e;

	strcpy(op.name, name);
	op.name_len = strlen(name);
	if (snapshot)
		strcpy(op.name2, snapshot);
	op.name2_len = strlen(op.name2);
	sim_exec(t->fs, &op, a);
	model_run(t->m, &op, !op.rc, &e);
	sim_check(expect_allows(&e, op.rc) || op.rc == -ENOSPC, "%s %s: %s", op_names[kind], name,
		  sim_err(op.rc));
	if (!op.rc) {
		sim_learn(t->fs, t->m, &op);
		history_push(&t->h, t->m, op.seq);
		sim_ok(fs_wait_stable(t->fs, a->stable_seq));
		on_acked(t, a->stable_seq);
	}
	op_done(&op);
	free(a);
}

/* Files without a name would go one by one after a restore or a clone: it isn't known what there is in
 * between. */
static bool all_named(const struct model *m)
{
	for (uint32_t i = 0; i < m->nnodes; i++)
		if (m->nodes[i]->unnamed)
			return false;
	for (uint32_t i = 0; i < m->nsnaps; i++)
		if (!all_named(m->snaps[i]->m))
			return false;
	return true;
}

/* A directory with all that is in it, beside itself. */
static void clone_tree(struct test *t)
{
	struct op op = { .kind = OP_TREE };
	struct answer *a = test_alloc(sizeof(*a));
	struct mnode *src = gen_node(&t->gen, t->m, FS_DIR), *dir = gen_node(&t->gen, t->m, FS_DIR);
	struct expect e;

	op.id = src->id;
	op.dir = dir->id;
	op.name_len = snprintf(op.name, OP_NAME_BUF, "t%u", t->gen.serial++);
	sim_exec(t->fs, &op, a);
	model_run(t->m, &op, !op.rc, &e);
	sim_check(expect_allows(&e, op.rc) || op.rc == -ENOSPC, "tree: %s", sim_err(op.rc));
	if (!op.rc) {
		sim_learn(t->fs, t->m, &op);
		history_push(&t->h, t->m, op.seq);
	}
	free(a);
}

static void reserve(struct test *t)
{
	struct op op = { .kind = OP_RESERVE };
	struct mvolume *main = model_volume(t->m, "main");
	struct answer *a = test_alloc(sizeof(*a));
	struct expect e;

	strcpy(op.name, "main");
	op.length = main->reserve ? 0 : rng_range(&t->rng, 1, 200);
	sim_exec(t->fs, &op, a);
	model_run(t->m, &op, !op.rc, &e);
	sim_check(expect_allows(&e, op.rc) || op.rc == -ENOSPC, "reserve: %s", sim_err(op.rc));
	if (!op.rc)
		history_push(&t->h, t->m, op.seq);
	free(a);
}

static void change_volumes(struct test *t)
{
	static const char *const snaps[] = { "s0", "s1", "s2" };
	const char *snap = snaps[rng_below(&t->rng, 3)];
	struct mvolume *main = model_volume(t->m, "main");
	char name[32];

	snprintf(name, sizeof(name), "vol%u", (unsigned)rng_below(&t->rng, 2));
	/* With few references a pool as small as this has no room for what sharing a volume copies. */
	switch (t->cfg.max_refs ? 0 : rng_below(&t->rng, 7)) {
	case 0:
		volume_op(t, model_volume(t->m, name) ? OP_VDESTROY : OP_VCREATE, name, NULL, NULL);
		break;
	case 5:
		if (t->m->nnodes < 150)
			clone_tree(t);
		break;
	case 6:
		reserve(t);
		break;
	case 1: case 2:
		volume_op(t, model_snap(t->m, main->id, snap) ? OP_UNSNAP : OP_SNAP, "main", snap, NULL);
		break;
	case 3:
		if (all_named(t->m) && model_snap(t->m, main->id, snap))
			volume_op(t, OP_RESTORE, "main", snap, NULL);
		break;
	default:
		if (all_named(t->m) && !model_volume(t->m, name))
			volume_op(t, OP_VCLONE, "main", model_snap(t->m, main->id, snap) ? snap : NULL,
				  name);
	}
}

/* Nobody holds it any more: that is an event, if it has no name. */
static void unhold(struct test *t)
{
	uint32_t k = t->m->nheld ? rng_below(&t->rng, t->m->nheld) : 0;

	if (!t->m->nheld)
		return;
	fs_unhold(t->fs, t->m->held[k]);
	if (!model_unhold(t->m, k))
		return;
	sim_ok(fs_reap_all(t->fs));
	history_push(&t->h, t->m, fs_last_seq(t->fs));
}

/* All come back: or several files would go at once, and it would not be known what there is in between. */
static void come_back(struct test *t)
{
	for (uint32_t i = 0; i < t->m->nnodes; i++) {
		struct op op = { .kind = OP_HOLD, .id = t->m->nodes[i]->id };
		struct expect e;

		if (!t->m->nodes[i]->unnamed)
			continue;
		sim_check(t->m->nheld < MHELD_MAX, "more files without a name than can be held");
		sim_exec(t->fs, &op, NULL);
		sim_ok(op.rc);
		model_run(t->m, &op, true, &e);
	}
	fs_drop_orphans(t->fs);
	sim_ok(fs_reap_all(t->fs));
	model_drop_orphans(t->m);
}

/* The daemon dies, the disk's cache lives on.  The history goes on from what is found. */
static void kill_and_open(struct test *t)
{
	uint64_t last = fs_last_seq(t->fs);
	struct fs_status st;
	uint32_t k, died;

	/* In the middle of a checkpoint, if one is due. */
	loop_sleep_ns(rng_below(&t->rng, t->cfg.checkpoint_ms * 1000000ULL + 4000000));
	died = t->ncuts;
	fs_abandon(t->fs);
	t->fs = NULL;
	t->fs = sim_open(t->dev, &t->cfg);
	k = history_identify(&t->h, t->fs, died, t->acked, last, "after the daemon was killed");
	t->lost += history_lose(&t->h, k, died);
	model_free(t->m);
	t->m = model_clone(t->h.states[k].m);
	fs_status(t->fs, &st);
	model_restart(t->m, t->h.keep ? st.life : 0);
	t->batch->m = t->m;
	t->batch->fs = t->fs;
	t->kills++;
}

static void step(struct test *t)
{
	unsigned what = rng_below(&t->rng, 100);

	if (t->dedup_job && what >= 90) {
		sim_dedup(t->fs, t->m, "main");
	} else if (what < 8) {
		sim_ok(fs_checkpoint(t->fs));
	} else if (what < 12) {
		sim_ok(fs_reap_all(t->fs));
	} else if (what < 16) {
		uint64_t seq = fs_last_seq(t->fs);

		sim_ok(fs_wait_stable(t->fs, seq));
		on_acked(t, seq);
	} else if (what < 21) {
		change_volumes(t);
	} else if (what < 26) {
		kill_and_open(t);
	} else if (what < 28) {
		loop_sleep_ns(rng_below(&t->rng, 50000000));
	} else if (what < 45) {
		beside_checkpoint(t);
	} else if (what < 48 && t->m->keep_life) {
		come_back(t);
	} else if (what < 50) {
		unhold(t);
	} else {
		run_batch(t, rng_one_in(&t->rng, 2) ? 1 : rng_range(&t->rng, 2, 8));
	}
}

static void choose(struct test *t)
{
	static const uint64_t sizes[] = { 4096, 5000, 8192 };

	t->nblocks = sizes[rng_below(&t->rng, 3)];
	t->cfg = (struct fs_config){ .cache_bytes = 16 << 20, .seed = t->seed + 1 };
	t->cfg.checkpoint_ms = rng_range(&t->rng, 2, 40);
	t->cfg.no_background = rng_one_in(&t->rng, 3);
	t->cfg.max_refs = rng_one_in(&t->rng, 3) ? rng_range(&t->rng, 2, 9) : 0;
	t->cfg.checkpoint_writes = rng_one_in(&t->rng, 2) ? rng_range(&t->rng, 1, 4) : 0;
	t->cfg.keep_orphans = t->h.keep = rng_one_in(&t->rng, 2);
	gen_init(&t->gen, rng_u64(&t->rng));
	t->gen.users = 1;
	t->gen.odd = false;
	t->gen.names = 12;
	t->gen.max_write = 150000;
	t->gen.max_clones = 40;
	t->gen.weights[OP_READ] = 0;
	t->gen.weights[OP_CLONE] = 14;
	t->gen.weights[OP_REMOVE] = 16;
	t->gen.weights[OP_HOLD] = 10;
	/* By the seed's own digits: what it does otherwise stays the same. */
	t->dedup_job = t->seed % 3 == 1;
	t->dedup_writes = t->seed % 4 == 2 || t->seed % 12 == 1;
	t->gen.equal = t->dedup_job || t->dedup_writes;
	t->cfg.dedup_leaders = 64;
	t->cfg.dedup_index = 4096;
	sim_zeros_vanish = t->dedup_job;
}

static void history(void *arg)
{
	struct test *t = arg;
	uint64_t last;

	t->dev = sim_disk_new(t->nblocks, t->seed);
	dev_sim_on_submit(t->dev, on_submit, t);
	sim_ok(fs_format(t->dev, &(struct fs_format_opts){ .uuid = { 1 } }));
	t->fs = sim_open(t->dev, &t->cfg);
	t->batch->fs = t->fs;
	t->batch->m = t->m = model_new();
	history_push(&t->h, t->m, 0);
	volume_op(t, OP_VCREATE, "main", NULL, NULL);
	if (t->dedup_writes) {
		struct fs_req req;

		fs_req_admin(&req, t->fs);
		sim_ok(fs_volume_set_dedup(&req, "main", true));
	}
	for (int i = 0; i < 10; i++)
		run_batch(t, 1);
	sim_ok(fs_checkpoint(t->fs));
	on_acked(t, fs_last_seq(t->fs));
	t->record = true;
	for (t->step = 0; t->step < t->steps; t->step++)
		step(t);
	sim_compare(t->fs, t->m, "at the end of the history");
	last = fs_last_seq(t->fs);
	sim_ok(fs_close(t->fs));
	t->fs = NULL;
	on_acked(t, last);
	add_cut(t, t->dev);
	t->record = false;
	sim_fsck(t->dev, "after the history");
	dev_close(t->dev);
}

/* ---- the cuts ----------------------------------------------------------------------------- */

struct again { uint64_t at, n; struct dev_sim_image *image; uint64_t seed; };

static void on_recovery(void *arg, struct dev *d, const struct dev_io *io)
{
	struct again *a = arg;

	if (a->n++ == a->at)
		a->image = sim_cut_image(d, a->seed % 4, a->seed);
}

/* What recovery left behind must bear work: counts that are too small show themselves here. */
static void work_on(struct fs *fs, uint64_t seed)
{
	struct op op = { .kind = OP_WRITE };
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct fs_create how = { .type = FS_REG, .how = FS_CREATE_UNCHECKED };
	struct fs_req req;
	struct fs_attr a;

	fs_req_admin(&req, fs);
	if (!fs_volume_find(fs, "main", v)) {
		sim_ok(fs_create(&req, v->root, (struct fs_name){ "after", 5 }, &how, &a, NULL));
		op.id = a.id;
		op.len = 20 * MBLOCK;
		op.seed = seed | 15;
		sim_exec(fs, &op, NULL);
		sim_check(!op.rc || op.rc == -ENOSPC, "a write after recovery: %s", sim_err(op.rc));
		sim_ok(fs_remove(&req, v->root, (struct fs_name){ "after", 5 }, NULL));
	}
	free(v);
}

/* What was found once is found again. */
static void again_same(struct test *t, struct fs **fs, struct dev *d, const struct fs_config *cfg,
		       uint32_t k, struct rng *rng)
{
	struct rng ask;
	struct model *m;

	if (!rng_one_in(rng, 8))
		return;
	rng_init(&ask, k);
	sim_ok(fs_close(*fs));
	*fs = sim_open(d, cfg);
	m = model_clone(t->h.states[k].m);
	model_restart(m, t->h.keep);	/* keeps everything, whatever its life */
	sim_compare(*fs, m, "after recovery, a clean end and another opening");
	for (unsigned i = 0; i < 4; i++)
		sim_ask_diff(*fs, m, &ask);
	sim_ask_vdiff(*fs, m, &ask);
	model_free(m);
}

static void try_image(struct test *t, struct dev_sim_image *image, const struct cut *c, uint64_t seed,
		      const char *what, unsigned depth)
{
	struct dev *d = sim_disk_open(0, seed, image);
	struct rng rng;
	struct again again = { .at = UINT64_MAX, .seed = seed };
	struct fs_config cfg = t->cfg;
	struct fs_status st;
	struct fs *fs;
	char text[300];
	uint32_t k;

	rng_init(&rng, seed);
	if (depth < 3 && rng_one_in(&rng, 4))
		again.at = rng_below(&rng, rng_one_in(&rng, 2) ? 8 : 60);
	cfg.seed = seed | 1;
	dev_sim_on_submit(d, on_recovery, &again);
	if (rng_one_in(&rng, 8))
		sim_fsck_cut(d, what);
	fs = sim_open(d, &cfg);
	fs_status(fs, &st);
	sim_check(!st.readonly, "%s: opened read-only: %s", what, st.reason);
	t->replayed += st.replayed_records;
	k = history_identify(&t->h, fs, c - t->cuts, c->acked, c->last, what);
	if (again.at == UINT64_MAX && rng_one_in(&rng, 3))
		work_on(fs, seed);
	else
		again_same(t, &fs, d, &cfg, k, &rng);
	sim_ok(fs_close(fs));
	dev_sim_on_submit(d, NULL, NULL);
	sim_fsck(d, what);
	dev_close(d);
	t->opened++;
	if (!again.image)
		return;
	t->second++;
	snprintf(text, sizeof(text), "%.200s, and again at request %llu", what,
		 (unsigned long long)again.at);
	try_image(t, again.image, c, seed * 7 + 1, text, depth + 1);
	dev_sim_image_put(again.image);
}

static void try_cuts(void *arg)
{
	struct test *t = arg;
	char what[120];

	for (uint32_t i = 0; i < t->ncuts; i++) {
		struct cut *c = &t->cuts[i];

		for (unsigned k = 0; k < t->modes; k++) {
			if (c->images[k] && (t->only_mode < 0 || t->only_mode == k)) {
				snprintf(what, sizeof(what), "cut %u mode %u of seed %llu", i, k,
					 (unsigned long long)t->seed);
				try_image(t, c->images[k], c, t->seed + i * 17 + k, what, 0);
			}
			if (c->images[k])
				dev_sim_image_put(c->images[k]);
		}
	}
}

static void run_seed(struct test *t)
{
	rng_init(&t->rng, t->seed);
	choose(t);
	t->batch = test_alloc(sizeof(*t->batch));
	t->batch->acked = on_acked;
	t->batch->applied = on_applied;
	t->batch->arg = t;
	sim_run(history, t);
	sim_run(try_cuts, t);
	printf("seed %llu: %u states, %u cuts, %u killed (%u operations lost), %u opened, %u cut again, "
	       "%u records replayed\n", (unsigned long long)t->seed, t->h.n, t->ncuts, t->kills,
	       t->lost, t->opened, t->second, t->replayed);
	history_done(&t->h);
	model_free(t->m);
	free(t->cuts);
	free(t->batch);
	sim_check(!dev_sim_live_pages(), "%llu pages of disks are left over",
		  (unsigned long long)dev_sim_live_pages());
}

static void usage(void)
{
	fprintf(stderr, "usage: crash_test [--seed N] [--seeds K] [--steps N] [--modes N] [--fresh] "
		"[--trace] [--at CUT[:MODE]]\n");
	exit(2);
}

static void parse_at(struct test *t, const char *s)
{
	char *end;

	t->only_cut = strtoll(s, &end, 0);
	if (*end == ':')
		t->only_mode = strtoll(end + 1, NULL, 0);
}

int main(int argc, char **argv)
{
	struct test base = { .steps = 60, .modes = 4, .only_cut = -1, .only_mode = -1 };
	uint64_t seed = 1, seeds = 1;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--trace"))
			sim_trace = true;
		else if (!strcmp(argv[i], "--fresh"))
			seed = (uint64_t)time(NULL) << 16;
		else if (i + 1 == argc)
			usage();
		else if (!strcmp(argv[i], "--seed"))
			seed = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--seeds"))
			seeds = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--steps"))
			base.steps = strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--modes"))
			base.modes = strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--at"))
			parse_at(&base, argv[++i]);
		else
			usage();
	}
	if (!base.modes || base.modes > MODES_MAX)
		usage();
	for (uint64_t s = seed; s < seed + seeds; s++) {
		struct test t = base;

		t.seed = s;
		snprintf(sim_replay, sizeof(sim_replay), "%s --seed %llu --steps %u --modes %u", argv[0],
			 (unsigned long long)s, t.steps, t.modes);
		run_seed(&t);
	}
	return 0;
}
