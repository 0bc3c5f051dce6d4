/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The account, against what really becomes free: after random operations, clones of all kinds and
 * snapshots, it is asked what a file, a directory, a snapshot or a volume holds alone; then that is
 * deleted, and just so many blocks must have become free.
 *
 *   account_test [--seed N] [--seeds K] [--rounds N] [--fresh]
 *
 * Deleting a name in a volume that has snapshots also copies what they share on the way to it.  So that
 * the comparison is exact, the way is written to before the account is asked.  Or a snapshot is taken just
 * then: nothing may be free by deleting.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "fs/account.h"
#include "fs/family.h"
#include "sim.h"
#include "sim_disk.h"

struct test {
	uint64_t seed;
	unsigned rounds, serial;
	struct rng rng;
	struct gen gen;
	struct fs_config cfg;
	struct dev *dev;
	struct fs *fs;
	struct model *m;
	uint64_t asked[8], freed[8];	/* by kind: how often, and how many blocks in all */
	uint64_t relatives;
	unsigned parts;			/* accounts that took more passes than two */
};

/* ---- operations -------------------------------------------------------------------------- */

static int do_op(struct test *t, struct op *op)
{
	struct expect e;
	int rc;

	sim_exec(t->fs, op, NULL);
	model_run(t->m, op, !op->rc, &e);
	/* With few references, one operation may be too much for a small cache. */
	sim_check(expect_allows(&e, op->rc) || op->rc == -ENOSPC || (op->rc == -E2BIG && t->cfg.max_refs), "%s: %s",
		  op_names[op->kind], sim_err(op->rc));
	if (!op->rc)
		sim_learn(t->fs, t->m, op);
	rc = op->rc;
	op_done(op);
	return rc;
}

static struct op named_op(enum op_kind kind, struct fs_id dir, const char *name)
{
	struct op op = { .kind = kind, .dir = dir };

	op.name_len = snprintf(op.name, OP_NAME_BUF, "%s", name);
	return op;
}

static void volume_op(struct test *t, enum op_kind kind, const char *name, const char *snapshot, const char *target)
{
	struct op op = named_op(kind, (struct fs_id){ 0 }, name);

	op.force = true;
	op.target = target ? strdup(target) : NULL;
	op.name2_len = snprintf(op.name2, OP_NAME_BUF, "%s", snapshot ? snapshot : "");
	do_op(t, &op);
}

static void clone_tree(struct test *t)
{
	struct mnode *src = gen_node(&t->gen, t->m, FS_DIR), *dir = gen_node(&t->gen, t->m, FS_DIR);
	char name[32];
	struct op op;

	snprintf(name, sizeof(name), "t%u", t->serial++);
	op = named_op(OP_TREE, dir->id, name);
	op.id = src->id;
	do_op(t, &op);
}

static void change_volumes(struct test *t)
{
	static const char *const snaps[] = { "s0", "s1", "s2", "s3" };
	const char *snap = snaps[rng_below(&t->rng, 4)];
	struct mvolume *v = &t->m->volumes[rng_below(&t->rng, t->m->nvolumes)];
	char name[64], clone[32];

	snprintf(name, sizeof(name), "%s", v->name);
	snprintf(clone, sizeof(clone), "vol%u", (unsigned)rng_below(&t->rng, 3));
	switch (rng_below(&t->rng, 8)) {
	case 0:
		if (t->m->nnodes < 300)
			clone_tree(t);
		break;
	case 1:
		if (model_snap(t->m, v->id, snap))
			volume_op(t, OP_RESTORE, name, snap, NULL);
		break;
	case 2: case 3:
		if (t->m->nnodes < 300 && !model_volume(t->m, clone))
			volume_op(t, OP_VCLONE, name, model_snap(t->m, v->id, snap) ? snap : NULL, clone);
		break;
	default:
		if (!model_snap(t->m, v->id, snap))
			volume_op(t, OP_SNAP, name, snap, NULL);
		else if (rng_one_in(&t->rng, 3))
			volume_op(t, OP_UNSNAP, name, snap, NULL);
	}
}

static void some_operations(struct test *t)
{
	for (unsigned n = rng_range(&t->rng, 10, 60); n; n--) {
		struct op op;

		if (rng_one_in(&t->rng, 12)) {
			change_volumes(t);
			continue;
		}
		gen_op(&t->gen, t->m, &op);
		do_op(t, &op);
	}
}

/* ---- asking ------------------------------------------------------------------------------ */

static uint64_t sum(struct fs_account_blocks b) { return b.data + b.meta; }

static struct fs_account ask(struct test *t, enum fs_account_of of, struct fs_id id)
{
	struct fs_account a = { .of = of, .id = id, .exact = true }, b;
	struct fs_req req;

	fs_req_admin(&req, t->fs);
	b = a;
	sim_ok(fs_account(&req, &a));
	sim_check(!a.moved && !a.reaping, "nothing was done meanwhile, and it says so");
	sim_check(sum(a.exclusive) - a.record_blocks <= sum(a.stored) && a.stored.data <= a.mapped_blocks + 0,
		  "%llu blocks are its own, %llu are stored, %llu of data for %llu mapped",
		  (unsigned long long)sum(a.exclusive), (unsigned long long)sum(a.stored),
		  (unsigned long long)a.stored.data, (unsigned long long)a.mapped_blocks);
	/* However little memory there is, it is the same. */
	b.memory = 1;
	sim_ok(fs_account(&req, &b));
	sim_check(sum(a.exclusive) == sum(b.exclusive) && sum(a.stored) == sum(b.stored),
		  "in little memory, %llu and %llu blocks become %llu and %llu",
		  (unsigned long long)sum(a.exclusive), (unsigned long long)sum(a.stored),
		  (unsigned long long)sum(b.exclusive), (unsigned long long)sum(b.stored));
	t->parts += b.passes > a.passes;
	return a;
}

/* All that the pool stores is in its account, and FSSTAT says the same. */
static void ask_pool(struct test *t)
{
	struct fs_account a = ask(t, FS_ACCOUNT_POOL, (struct fs_id){ 0 });
	struct fs_status st;
	struct fs_fsstat f;
	struct fs_req req;

	fs_req_admin(&req, t->fs);
	fs_status(t->fs, &st);
	sim_check(sum(a.stored) == st.size_blocks - st.meta_blocks - st.free_blocks,
		  "%llu blocks are stored, of %llu without fixed ones %llu are free", (unsigned long long)sum(a.stored),
		  (unsigned long long)(st.size_blocks - st.meta_blocks), (unsigned long long)st.free_blocks);
	sim_ok(fs_fsstat(&req, t->m->volumes[0].root->id, &f, NULL));
	sim_check((f.total_bytes - f.free_bytes) / 4096 == sum(a.stored), "FSSTAT says otherwise");
}

/* A volume's files are those that are in it: as du counts them. */
static void ask_du(struct test *t)
{
	const struct mvolume *v = &t->m->volumes[rng_below(&t->rng, t->m->nvolumes)];
	struct fs_account a = ask(t, FS_ACCOUNT_VOLUME, v->root->id), b = ask(t, FS_ACCOUNT_TREE, v->root->id);
	uint64_t size = 0, n = 0;

	for (uint32_t i = 0; i < t->m->nnodes; i++)
		if (t->m->nodes[i]->id.volume == v->id) {
			n++;
			size += t->m->nodes[i]->type == FS_REG ? t->m->nodes[i]->size : 0;
		}
	sim_check(a.file_blocks == b.file_blocks && a.file_blocks <= a.size_blocks, "blocks behind the end");
	sim_check(a.size_bytes == size && b.size_bytes == size, "%llu and %llu bytes in files of %llu",
		  (unsigned long long)a.size_bytes, (unsigned long long)b.size_bytes, (unsigned long long)size);
	sim_check(b.files == n && a.files == n + 1, "%llu and %llu files, of %llu", (unsigned long long)a.files,
		  (unsigned long long)b.files, (unsigned long long)n);
	/* The hidden directory has a page, or none. */
	sim_check(a.mapped_blocks - b.mapped_blocks <= 1, "%llu blocks of the volume, %llu of its files",
		  (unsigned long long)a.mapped_blocks, (unsigned long long)b.mapped_blocks);
}

/* While others are at work it is of no one instant; but it ends, and breaks nothing. */
struct side { struct test *t; bool account; };

static void side_fn(void *arg)
{
	struct side *s = arg;
	struct test *t = s->t;
	const struct mvolume *v = &t->m->volumes[rng_below(&t->rng, t->m->nvolumes)];
	struct mnode *n = gen_node(&t->gen, t->m, FS_REG);
	struct fs_account a = { .of = rng_below(&t->rng, 6), .id = v->root->id, .exact = true,
				.memory = rng_below(&t->rng, 2) };
	struct fs_req req;
	int rc;

	if (!s->account) {
		some_operations(t);
		return;
	}
	if (a.of == FS_ACCOUNT_FILE && n)
		a.id = n->id;
	if (a.of == FS_ACCOUNT_SNAPSHOT)
		a.id.snapshot = t->m->nsnaps ? t->m->snaps[0]->id : 1;
	fs_req_admin(&req, t->fs);
	rc = fs_account(&req, &a);
	sim_check(!rc || rc == -ESTALE, "an account beside others: %s", sim_err(rc));
	sim_check(rc || sum(a.exclusive) + sum(a.stored) < 400000, "more than there is");
}

static void ask_beside(struct test *t)
{
	struct side s[3] = { { t, true }, { t, false }, { t, true } };

	sim_parallel(side_fn, s, sizeof(s[0]), 3);
}

/* Every relative is there; all clones of the file beside it are among them. */
static void ask_family(struct test *t)
{
	struct mnode *n = gen_node(&t->gen, t->m, FS_REG);
	struct fs_family f;
	struct fs_req req;
	unsigned clones = 0, found = 0;

	if (!n)
		return;
	fs_req_admin(&req, t->fs);
	sim_ok(fs_family(&req, n->id, &f));
	for (uint32_t i = 0; i < f.n; i++) {
		const struct mnode *r = model_find(t->m, f.r[i].id), *up;

		sim_check(r && r->size == f.r[i].size && f.r[i].path, "a relative that is not there");
		up = i ? model_find(t->m, f.r[f.r[i].parent].id) : NULL;
		sim_check(!up || f.r[i].by_volume || (r->origin.ino == up->id.ino &&
						      r->origin.generation == up->id.generation),
			  "it was cloned from another");
		found += up == n && !f.r[i].by_volume && r->id.volume == n->id.volume;
	}
	for (uint32_t i = 0; i < t->m->nnodes; i++) {
		const struct mnode *c = t->m->nodes[i];

		clones += c->type == FS_REG && c->id.volume == n->id.volume && c->origin.ino == n->id.ino &&
			  c->origin.generation == n->id.generation;
	}
	sim_check(found == clones, "%u clones of it, %u were found", clones, found);
	t->relatives += f.n;
	fs_family_done(&f);
}

/* ---- deleting ---------------------------------------------------------------------------- */

static void touch(struct test *t, const struct mnode *n)
{
	struct op op = { .kind = OP_SETATTR, .id = n->id };

	op.set.mask = FS_SET_MODE;
	op.set.mode = n->mode;
	sim_check(!do_op(t, &op), "touching");
}

/* Writes to the way down to the names in DIR; false: it is too large for one name to stand for all. */
static bool own_dir(struct test *t, struct mnode *dir)
{
	struct fs_req req;
	struct fs_attr a;
	struct op op;

	touch(t, dir);
	if (!model_lookup(dir, "keep", 4)) {
		op = named_op(OP_CREATE, dir->id, "keep");
		op.how = FS_CREATE_GUARDED;
		if (do_op(t, &op))
			return false;
	}
	op = named_op(OP_CREATE, dir->id, "own");
	op.how = FS_CREATE_GUARDED;
	if (do_op(t, &op))
		return false;
	op = named_op(OP_REMOVE, dir->id, "own");
	do_op(t, &op);
	fs_req_admin(&req, t->fs);
	sim_ok(fs_getattr(&req, dir->id, &a));
	return a.mapped_bytes <= 4096;
}

static bool own_below(struct test *t, struct mnode *n)
{
	touch(t, n);
	for (uint32_t i = 0; i < n->nents; i++)
		own_below(t, n->ents[i].node);
	return true;
}

static void remove_entry(struct test *t, struct mnode *dir, const struct mdirent *e)
{
	struct op op = named_op(e->node->type == FS_DIR ? OP_RMDIR : OP_REMOVE, dir->id, "");
	struct mnode *n = e->node;

	memcpy(op.name, e->name, e->len);
	op.name_len = e->len;
	while (n->type == FS_DIR && n->nents)
		remove_entry(t, n, &n->ents[n->nents - 1]);
	sim_check(!do_op(t, &op), "removing");
}

/* The K-th name of N, and the directory that it is in. */
static struct mdirent *name_of(struct test *t, const struct mnode *n, struct mnode **ret_dir)
{
	for (uint32_t i = 0; i < t->m->nnodes; i++)
		for (uint32_t k = 0; k < t->m->nodes[i]->nents; k++)
			if (t->m->nodes[i]->ents[k].node == n) {
				*ret_dir = t->m->nodes[i];
				return &(*ret_dir)->ents[k];
			}
	return NULL;
}

/* COPIES: what deleting may have copied of what was shared on its way, at most. */
static void check_freed(struct test *t, const struct fs_account *a, uint64_t before, unsigned copies, const char *what)
{
	int64_t freed = (int64_t)(sim_free_blocks(t->fs) - before), said = (int64_t)sum(a->exclusive);

	sim_check(freed <= said && freed + copies >= said,
		  "deleting %s freed %lld blocks, and was to free %lld, or %u less", what, (long long)freed,
		  (long long)said, copies);
	t->asked[a->of]++;
	t->freed[a->of] += sum(a->exclusive);
}

static bool own_names(struct test *t, const struct mnode *n)
{
	for (uint32_t i = 0; i < t->m->nnodes; i++) {
		struct mnode *dir = t->m->nodes[i];
		bool in = false;

		for (uint32_t k = 0; k < dir->nents; k++)
			in |= dir->ents[k].node == n;
		if (in && !own_dir(t, dir))
			return false;
	}
	return true;
}

/* The ways to an inode, and to a name in a directory of any size. */
#define COPIES 8

static unsigned count_below(const struct mnode *n)
{
	unsigned k = 1;

	for (uint32_t i = 0; i < n->nents; i++)
		k += count_below(n->ents[i].node);
	return k;
}

static const char *volume_name(const struct test *t, uint32_t id)
{
	for (uint32_t i = 0; i < t->m->nvolumes; i++)
		if (t->m->volumes[i].id == id)
			return t->m->volumes[i].name;
	return NULL;
}

/* All of a volume is shared from then on, whatever counts its blocks have. */
static void freeze(struct test *t, struct fs_id id, enum op_kind kind)
{
	char name[64];

	snprintf(name, sizeof(name), "%s", volume_name(t, id.volume));
	volume_op(t, kind, name, "now", NULL);
}

static void delete_file(struct test *t)
{
	struct mnode *n = gen_node(&t->gen, t->m, FS_REG), *dir;
	struct fs_account a;
	struct mdirent *e;
	uint64_t before;
	struct fs_id id;
	unsigned copies = !t->cfg.max_refs && rng_one_in(&t->rng, 3) && n ? COPIES * (n->nlink + 1) : 0;

	if (!n || (!copies && !own_names(t, n)))
		return;
	id = n->id;
	if (!copies)
		touch(t, n);
	if (copies)
		freeze(t, id, OP_SNAP);
	before = sim_free_blocks(t->fs);
	a = ask(t, FS_ACCOUNT_FILE, id);
	sim_check(!copies || !sum(a.exclusive), "a snapshot has all of it");
	for (uint32_t left = n->nlink; left; left--) {
		e = name_of(t, n, &dir);
		remove_entry(t, dir, e);
	}
	check_freed(t, &a, before, copies, "a file");
	if (copies)
		freeze(t, id, OP_UNSNAP);
}

static void delete_tree(struct test *t)
{
	struct mnode *n = gen_node(&t->gen, t->m, FS_DIR), *dir;
	struct fs_account a;
	struct mdirent *e;
	uint64_t before;
	struct fs_id id;
	unsigned copies = !t->cfg.max_refs && rng_one_in(&t->rng, 3) ? COPIES * (1 + count_below(n)) : 0;

	if (!n->parent || (!copies && !own_names(t, n)))
		return;
	id = n->id;
	if (!copies)
		own_below(t, n);
	if (copies)
		freeze(t, id, OP_SNAP);
	before = sim_free_blocks(t->fs);
	a = ask(t, FS_ACCOUNT_TREE, id);
	sim_check(!copies || !sum(a.exclusive), "a snapshot has all of it");
	e = name_of(t, n, &dir);
	remove_entry(t, dir, e);
	check_freed(t, &a, before, copies, "a directory");
	if (copies)
		freeze(t, id, OP_UNSNAP);
}

static void delete_snapshot(struct test *t)
{
	const struct mfrozen *f = t->m->nsnaps ? t->m->snaps[rng_below(&t->rng, t->m->nsnaps)] : NULL;
	char name[64], snap[64];
	struct fs_account a;
	uint64_t before;

	if (!f)
		return;
	snprintf(name, sizeof(name), "%s", volume_name(t, f->volume));
	snprintf(snap, sizeof(snap), "%s", f->name);
	before = sim_free_blocks(t->fs);
	a = ask(t, FS_ACCOUNT_SNAPSHOT, (struct fs_id){ .volume = f->volume, .snapshot = f->id });
	volume_op(t, OP_UNSNAP, name, snap, NULL);
	check_freed(t, &a, before, 0, "a snapshot");
}

static void delete_volume(struct test *t)
{
	const struct mvolume *v = &t->m->volumes[rng_below(&t->rng, t->m->nvolumes)];
	uint64_t before = sim_free_blocks(t->fs);
	struct fs_account a;
	uint32_t id = v->id;
	char name[64], snap[64];

	if (t->m->nvolumes < 2)
		return;
	snprintf(name, sizeof(name), "%s", v->name);
	a = ask(t, FS_ACCOUNT_VOLUME_ALL, v->root->id);
	for (uint32_t i = 0; i < t->m->nsnaps;) {
		if (t->m->snaps[i]->volume != id) {
			i++;
			continue;
		}
		snprintf(snap, sizeof(snap), "%s", t->m->snaps[i]->name);
		volume_op(t, OP_UNSNAP, name, snap, NULL);
		i = 0;
	}
	volume_op(t, OP_VDESTROY, name, NULL, NULL);
	check_freed(t, &a, before, 0, "a volume with its snapshots");
}

/* ---- a seed ------------------------------------------------------------------------------- */

static void one_round(struct test *t)
{
	some_operations(t);
	if (rng_one_in(&t->rng, 3))
		ask_beside(t);
	sim_free_blocks(t->fs);
	if (rng_one_in(&t->rng, 3))
		ask_pool(t);
	if (rng_one_in(&t->rng, 4))
		ask_du(t);
	if (rng_one_in(&t->rng, 2))
		ask_family(t);
	switch (rng_below(&t->rng, 8)) {
	case 0: case 1: case 2:
		delete_file(t);
		break;
	case 3: case 4:
		delete_tree(t);
		break;
	case 5: case 6:
		delete_snapshot(t);
		break;
	default:
		delete_volume(t);
	}
}

static void choose(struct test *t)
{
	static const enum op_kind without[] = { OP_HOLD, OP_UNNAMED, OP_FORGET, OP_READ, OP_VCREATE, OP_VDESTROY,
		OP_SNAP, OP_UNSNAP, OP_RESTORE, OP_VCLONE, OP_TREE };

	t->cfg = (struct fs_config){ .cache_bytes = (rng_one_in(&t->rng, 2) ? 64u : 16u) << 20, .seed = t->seed + 1,
				     .no_background = true };
	t->cfg.max_refs = rng_one_in(&t->rng, 4) ? rng_range(&t->rng, 3, 9) : 0;
	gen_init(&t->gen, rng_u64(&t->rng));
	t->gen.users = 1;
	t->gen.odd = false;
	t->gen.far = rng_one_in(&t->rng, 2);
	t->gen.names = 12;
	t->gen.max_clones = 5;
	for (unsigned i = 0; i < sizeof(without) / sizeof(*without); i++)
		t->gen.weights[without[i]] = 0;
	t->gen.weights[OP_RANGE] *= 2;
}

static void run_seed(void *arg)
{
	struct test *t = arg;

	rng_init(&t->rng, t->seed);
	choose(t);
	t->dev = sim_disk_new(200000, t->seed);
	t->m = model_new();
	sim_ok(fs_format(t->dev, &(struct fs_format_opts){ .uuid = { 1 } }));
	t->fs = sim_open(t->dev, &t->cfg);
	volume_op(t, OP_VCREATE, "main", NULL, NULL);
	volume_op(t, OP_VCREATE, "other", NULL, NULL);
	for (unsigned i = 0; i < t->rounds; i++)
		one_round(t);
	sim_compare(t->fs, t->m, "at the end");
	sim_ok(fs_close(t->fs));
	sim_fsck(t->dev, "at the end");
	model_free(t->m);
	dev_close(t->dev);
}

int main(int argc, char **argv)
{
	uint64_t seed = 1, seeds = 1, rounds = 60;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--fresh"))
			seed = (uint64_t)time(NULL) << 16;
		else if (i + 1 < argc && !strcmp(argv[i], "--seed"))
			seed = strtoull(argv[++i], NULL, 0);
		else if (i + 1 < argc && !strcmp(argv[i], "--seeds"))
			seeds = strtoull(argv[++i], NULL, 0);
		else if (i + 1 < argc && !strcmp(argv[i], "--rounds"))
			rounds = strtoull(argv[++i], NULL, 0);
		else {
			fprintf(stderr, "usage: account_test [--seed N] [--seeds K] [--rounds N] [--fresh]\n");
			return 2;
		}
	}
	for (uint64_t s = seed; s < seed + seeds; s++) {
		struct test t = { .seed = s, .rounds = rounds };

		snprintf(sim_replay, sizeof(sim_replay), "%s --seed %llu --rounds %llu", argv[0],
			 (unsigned long long)s, (unsigned long long)rounds);
		sim_run(run_seed, &t);
		printf("seed %llu: max_refs %u, freed as said: files %llu (%llu blocks), directories %llu (%llu), snapshots "
		       "%llu (%llu), volumes %llu (%llu); %u in parts, %llu relatives\n", (unsigned long long)s, t.cfg.max_refs,
		       (unsigned long long)t.asked[FS_ACCOUNT_FILE], (unsigned long long)t.freed[FS_ACCOUNT_FILE],
		       (unsigned long long)t.asked[FS_ACCOUNT_TREE], (unsigned long long)t.freed[FS_ACCOUNT_TREE],
		       (unsigned long long)t.asked[FS_ACCOUNT_SNAPSHOT],
		       (unsigned long long)t.freed[FS_ACCOUNT_SNAPSHOT],
		       (unsigned long long)t.asked[FS_ACCOUNT_VOLUME_ALL],
		       (unsigned long long)t.freed[FS_ACCOUNT_VOLUME_ALL], t.parts,
		       (unsigned long long)t.relatives);
	}
	return 0;
}
