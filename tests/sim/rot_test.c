/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies on the disk goes bad: one bit of a block; a block of zeros, or of what lies
 * elsewhere; writes that were reported and never happened, or that hit another place.
 *
 *   rot_test [--seed N] [--fresh] [--at BLOCK:KIND]
 *
 * Whatever it is, what is read is right, or an error; the checker finds it, unless nothing that
 * counts was hit; nothing crashes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "batch.h"
#include "sim_disk.h"

enum kind { BIT, ZEROS, ELSEWHERE, KINDS };
static const char *const kinds[KINDS] = { "a bit", "zeros", "another block" };

struct test {
	uint64_t seed, block;
	enum kind kind;
	struct dev_sim_image *base;
	struct model *m;
	struct gen gen;
	unsigned runs, found, unopened, readonly, errors, harmless;
};

static const struct fs_config config = { .cache_bytes = 16 << 20, .no_background = true, .seed = 1 };

static bool allowed(void *arg, int rc)
{
	return rc == -EDAMAGED || rc == -EIO;
}

static void make_base(void *arg)
{
	struct test *t = arg;
	struct batch *b = test_alloc(sizeof(*b));
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct dev *d = sim_disk_new(5000, t->seed);
	struct fs_attr root;
	struct fs_req req;

	sim_ok(fs_format(d, &(struct fs_format_opts){ .uuid = { 1 } }));
	b->fs = sim_open(d, &config);
	b->m = t->m = model_new();
	fs_req_admin(&req, b->fs);
	sim_ok(fs_volume_create(&req, "main", v));
	sim_ok(fs_getattr(&req, v->root, &root));
	model_add_volume(t->m, v, &root);
	gen_init(&t->gen, t->seed);
	t->gen.users = 1;
	t->gen.odd = false;
	t->gen.max_write = 60000;
	t->gen.weights[OP_UNNAMED] = t->gen.weights[OP_HOLD] = 0;
	for (int i = 0; i < 60; i++) {
		batch_gen(b, &t->gen, 4);
		batch_run(b);
		if (i == 50)
			sim_ok(fs_checkpoint(b->fs));
	}
	sim_compare(b->fs, t->m, "before anything went bad");
	sim_ok(fs_close(b->fs));
	t->base = dev_sim_crash_image(d, DEV_SIM_CUT_KEEP, 0, NULL);
	dev_close(d);
	free(v);
	free(b);
}

static int64_t count_findings(struct dev *d)
{
	struct fs_check_stats st;

	return fs_check(d, NULL, NULL, &st);
}

static void damage(struct test *t, struct dev *d)
{
	unsigned char *page = test_alloc(MBLOCK);

	if (t->kind == BIT)
		dev_sim_flip_bit(d, t->block, (t->block * 2654435761u + t->seed) % (8 * MBLOCK));
	if (t->kind == ELSEWHERE)
		dev_sim_peek(d, (t->block * 7 + 11) % d->nblocks, page);
	if (t->kind != BIT)
		dev_sim_poke(d, t->block, page);
	free(page);
}

static void one_block(void *arg)
{
	struct test *t = arg;
	struct dev *d = sim_disk_open(0, 1, t->base);
	int64_t findings;
	struct fs_status st;
	unsigned errors = 0;
	char why[256] = "";
	struct fs *fs;
	int rc;

	damage(t, d);
	findings = count_findings(d);
	rc = fs_open(d, &config, &fs, why, sizeof(why));
	if (rc) {
		sim_check(why[0], "not opened: %s, and no reason given", sim_err(rc));
		t->unopened++;
	} else {
		fs_status(fs, &st);
		t->readonly += st.readonly;
		errors = sim_compare_tolerant(fs, t->m, allowed, t);
		sim_check(!errors || findings, "errors, but the checker found nothing");
		fs_close(fs);
	}
	sim_check(!rc || findings, "not opened (%s), but the checker found nothing", why);
	t->found += findings != 0;
	t->harmless += !findings;
	t->errors += errors;
	t->runs++;
	dev_close(d);
}

static void all_blocks(struct test *t)
{
	unsigned char *page = test_alloc(MBLOCK);

	for (uint64_t b = 0; b < dev_sim_image_nblocks(t->base); b++) {
		dev_sim_image_read(t->base, b, page);
		if (block_is_zero(page))
			continue;
		t->block = b;
		for (t->kind = 0; t->kind < KINDS; t->kind++) {
			if (t->kind != BIT && (b + t->seed + t->kind) % 3)
				continue;
			snprintf(sim_replay, sizeof(sim_replay), "rot_test --seed %llu --at %llu:%d",
				 (unsigned long long)t->seed, (unsigned long long)b, t->kind);
			sim_run(one_block, t);
		}
	}
	free(page);
	printf("%u blocks made bad: %u found by the checker, %u harmless; %u times not opened, "
	       "%u read-only, %u reads refused\n", t->runs, t->found, t->harmless, t->unopened,
	       t->readonly, t->errors);
	sim_check(t->found > t->runs / 4, "hardly anything was found");
}

/* ---- writes that lie -------------------------------------------------------------------------- */

struct lie { struct test *t; enum dev_sim_fault_kind kind; uint64_t n; bool hit; };

/* Some operations on a disk that lies once, then a restart. */
static void one_lie(void *arg)
{
	struct lie *l = arg;
	struct dev *d = sim_disk_open(0, 1, l->t->base);
	struct dev_sim_fault f = { .kind = l->kind, .ops = DEV_SIM_OP(DEV_WRITE), .nth = l->n,
				   .target = (l->n * 131) % 5000 };
	struct op op = { .kind = OP_WRITE, .len = 30000, .seed = 15 };
	struct model *m = model_clone(l->t->m);
	struct dev_sim_stats st;
	struct expect e;
	char why[256] = "";
	struct fs *fs;
	int rc, closed;

	sim_ok(dev_sim_inject(d, &f));
	fs = sim_open(d, &config);
	for (uint32_t i = 0; i < m->nnodes; i++) {
		if (m->nodes[i]->type != FS_REG || m->nodes[i]->size > 1 << 20)
			continue;
		op.id = m->nodes[i]->id;
		sim_exec(fs, &op, NULL);
		sim_check(!op.rc || allowed(NULL, op.rc) || op.rc == -EROFS || op.rc == -ENOSPC ||
			  op.rc == -EDQUOT, "write: %s",
			  sim_err(op.rc));
		if (!op.rc)
			model_run(m, &op, true, &e);
	}
	closed = fs_close(fs);
	dev_sim_stats(d, &st);
	l->hit = st.requests[DEV_WRITE] >= l->n;
	dev_sim_clear_faults(d);
	rc = fs_open(d, &config, &fs, why, sizeof(why));
	sim_check(!rc || why[0], "not opened, and no reason given");
	if (!rc) {
		/* One lie is always found: both superblocks would have to be lost. */
		if (!closed)
			l->t->errors += sim_compare_tolerant(fs, m, allowed, l->t);
		fs_close(fs);
	}
	model_free(m);
	dev_close(d);
	l->t->runs++;
}

static void all_lies(struct test *t, enum dev_sim_fault_kind kind, const char *name)
{
	struct lie l = { .t = t, .kind = kind };

	t->runs = t->errors = 0;
	for (l.n = 1; ; l.n++) {
		snprintf(sim_replay, sizeof(sim_replay), "rot_test --seed %llu (%s, write %llu)",
			 (unsigned long long)t->seed, name, (unsigned long long)l.n);
		sim_run(one_lie, &l);
		if (!l.hit)
			break;
	}
	printf("%u writes %s: %u reads refused\n", t->runs, name, t->errors);
}

int main(int argc, char **argv)
{
	struct test t = { .seed = 1 };
	const char *at = NULL;
	char *end;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--fresh"))
			t.seed = time(NULL);
		else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
			t.seed = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--at") && i + 1 < argc)
			at = argv[++i];
		else
			return fprintf(stderr, "usage: rot_test [--seed N] [--fresh] [--at BLOCK:KIND]\n"), 2;
	}
	sim_run(make_base, &t);
	if (at) {
		t.block = strtoull(at, &end, 0);
		t.kind = *end ? strtoul(end + 1, NULL, 0) % KINDS : BIT;
		printf("%s in block %llu\n", kinds[t.kind], (unsigned long long)t.block);
		sim_run(one_block, &t);
	} else {
		all_blocks(&t);
		all_lies(&t, DEV_SIM_LOSE_WRITE, "lost");
		all_lies(&t, DEV_SIM_MISDIRECT, "misdirected");
	}
	dev_sim_image_put(t.base);
	model_free(t.m);
	return 0;
}
