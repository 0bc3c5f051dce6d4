/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random operations on the store and on the model, compared after each one.
 *
 *   model_test [--seed N] [--seeds K] [--steps N] [--fresh] [--trace] [--twice]
 *
 * The seed also chooses the pool: small ones that fill up, small caches, a low limit of
 * references, with and without background work.  At intervals and at the end everything is
 * read back, closed, checked, opened and read back again; at the very end everything is
 * deleted, and every block must be free again.  With most seeds snapshots are sent, and received into
 * other volumes (model_repl.h).  --twice runs each seed twice and compares what
 * reached the disk: the same seed must give the same run, or no failure could be replayed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/fiber.h"
#include "base/loop.h"
#include "batch.h"
#include "fs/account.h"
#include "lister.h"
#include "model_repl.h"
#include "sim_disk.h"

#define LISTERS 3

struct test {
	uint64_t seed;
	unsigned steps, step;
	struct rng rng, ask_rng;	/* ask_rng: of questions that leave the seed's operations as they are */
	struct gen gen;
	struct fs_config cfg;
	uint64_t nblocks, max_nodes;
	bool share_volumes;
	bool dedup_job, dedup_writes, metered;
	struct fs_dedup_counts dedup;	/* in all its lives */
	struct dev *dev;
	struct fs *fs;
	struct model *m;
	struct batch *batch;
	struct answer *answer;
	struct lister listers[LISTERS];
	struct mrepl *repl;		/* NULL: nothing is sent */
	struct rng repl_rng;
	struct mrepl_counts repl_counts;
	unsigned purge;			/* so many steps more, only deleting */
	uint64_t initial_free, verifier;
	unsigned nospace, done[OP_KINDS], failed;
	uint64_t requests;		/* hash of all that the disk was asked */
};

static void on_submit(void *arg, struct dev *d, const struct dev_io *io)
{
	struct test *t = arg;
	uint64_t h = (t->requests << 1 | t->requests >> 63) ^ (io->block * 8 + io->op);

	/* Superblocks hold a secret that nobody may foresee. */
	bool super = io->block < 2 || io->block >= d->nblocks - 2;

	for (int i = 0; io->op == DEV_WRITE && !super && i < io->niov; i++)
		h = h * 31 + text_hash(io->iov[i].iov_base, io->iov[i].iov_len);
	t->requests = h;
}

static void on_dirent(void *arg, struct mnode *dir, const char *name, uint32_t len)
{
	struct test *t = arg;

	for (unsigned i = 0; i < LISTERS; i++)
		lister_touch(&t->listers[i], dir, name, len);
}

/* ---- checks of one operation ------------------------------------------------------------- */

static void check_node(struct test *t, struct fs_id id)
{
	struct mnode *n = model_find_any(t->m, id);
	struct fs_attr a;
	struct fs_req req;
	int rc;

	fs_req_admin(&req, t->fs);
	rc = fs_getattr(&req, id, &a);
	if (!n) {
		sim_check(rc == -ESTALE, "step %u: getattr of ino %llu, which is gone: %s", t->step,
			  (unsigned long long)id.ino, sim_err(rc));
		return;
	}
	sim_check(!rc, "step %u: getattr: %s", t->step, sim_err(rc));
	sim_check(a.change == n->change && a.nlink == n->nlink && a.mode == n->mode &&
		  a.uid == n->uid && a.gid == n->gid && a.type == n->type &&
		  a.mtime.sec == n->mtime.sec && a.mtime.nsec == n->mtime.nsec &&
		  a.ctime.sec == n->ctime.sec && a.ctime.nsec == n->ctime.nsec,
		  "step %u: ino %llu: change %#llx/%#llx nlink %u/%u mode %o/%o owner %u:%u/%u:%u "
		  "mtime %lld.%u/%lld.%u ctime %lld.%u/%lld.%u (store/model)", t->step,
		  (unsigned long long)id.ino, (unsigned long long)a.change,
		  (unsigned long long)n->change, a.nlink, n->nlink, a.mode, n->mode, a.uid, a.gid,
		  n->uid, n->gid, (long long)a.mtime.sec, a.mtime.nsec, (long long)n->mtime.sec,
		  n->mtime.nsec, (long long)a.ctime.sec, a.ctime.nsec, (long long)n->ctime.sec,
		  n->ctime.nsec);
	if (n->type == FS_REG)
		sim_check(a.size == n->size && a.mapped_bytes == (uint64_t)n->content->n * MBLOCK,
			  "step %u: ino %llu: size %llu/%llu mapped %llu/%llu (store/model)", t->step,
			  (unsigned long long)id.ino, (unsigned long long)a.size,
			  (unsigned long long)n->size, (unsigned long long)a.mapped_bytes,
			  (unsigned long long)n->content->n * MBLOCK);
}

/* What it counts for, and how many others do. */
static void check_quota(struct test *t, struct fs_id id)
{
	struct mnode *n = model_find(t->m, id);
	struct fs_quota q = { 0 };
	struct fs_req req;
	uint64_t files = 0;
	int rc;

	if (!n)
		return;
	fs_req_admin(&req, t->fs);
	rc = fs_quota_get(&req, id, &q);
	sim_check(rc == (n->quota ? 0 : -ENODATA), "step %u: ino %llu: its quota: %s", t->step,
		  (unsigned long long)id.ino, sim_err(rc));
	for (uint32_t i = 0; n->quota && i < t->m->nnodes; i++)
		files += t->m->nodes[i]->id.volume == id.volume && t->m->nodes[i]->quota == n->quota;
	sim_check(q.files == files, "step %u: %llu inodes count for the quota of ino %llu, and it is %llu", t->step,
		  (unsigned long long)q.files, (unsigned long long)q.dir.ino, (unsigned long long)files);
}

static void check_read(struct test *t, const struct op *op)
{
	struct mnode *n = model_find_any(t->m, op->id);
	unsigned char *buf = test_alloc(op->len + 1);
	uint32_t len = model_read(n, op->offset, op->len, buf), i = 0;

	sim_check(len == op->got, "step %u: read %u bytes, %u expected", t->step, op->got, len);
	sim_check(op->eof == (op->offset >= n->size || op->offset + len == n->size),
		  "step %u: read: eof %d", t->step, op->eof);
	while (i < len && buf[i] == op->data[i])
		i++;
	sim_check(i == len, "step %u: ino %llu: byte %llu is %#x, not %#x", t->step,
		  (unsigned long long)op->id.ino, (unsigned long long)op->offset + i, op->data[i],
		  buf[i]);
	free(buf);
}

/* What the wcc says of before must be what the model knew; PRE was taken before the operation. */
static void check_wcc(struct test *t, const struct fs_wcc *w, const struct mnode *pre)
{
	if (!w->pre_valid)
		return;
	sim_check(w->pre_change == pre->change && w->pre_mtime.nsec == pre->mtime.nsec &&
		  w->pre_ctime.nsec == pre->ctime.nsec &&
		  (pre->type != FS_REG || w->pre_size == pre->size),
		  "step %u: attributes before the change: change %#llx, expected %#llx", t->step,
		  (unsigned long long)w->pre_change, (unsigned long long)pre->change);
}

static void check_after(struct test *t, struct op *op)
{
	if (op->kind == OP_READ) {
		check_read(t, op);
		return;
	}
	if (op->kind == OP_HOLD)	/* of whatever it was */
		return;
	check_quota(t, op->dir.ino ? op->dir : op->id);
	if (op->id.ino)
		check_node(t, op->id);
	if (op->src.ino)
		check_node(t, op->src);
	if (op->dir.ino)
		check_node(t, op->dir);
	if (op->dir2.ino)
		check_node(t, op->dir2);
	for (uint32_t i = 0; op->new_ids && i < (op->kind == OP_CLONE ? op->count : 1); i++)
		check_node(t, op->new_ids[i]);
}

static void check_nospace(struct test *t, const struct op *op)
{
	sim_check(sim_space_short(t->fs, op), "step %u: ENOSPC, but there is room", t->step);
	sim_check(op->kind != OP_REMOVE && op->kind != OP_RMDIR && op->kind != OP_VDESTROY &&
		  op->kind != OP_UNSNAP,
		  "step %u: ENOSPC from %s", t->step, op_names[op->kind]);
	t->nospace++;
	if (op->kind == OP_ALLOCATE)	/* that may ask for anything */
		return;
	sim_compare(t->fs, t->m, "after ENOSPC");
	if (!rng_one_in(&t->rng, 4))
		t->purge = rng_range(&t->rng, 1, 60);
}

static void switch_dedup(struct test *t, const char *volume)
{
	struct fs_req req;

	fs_req_admin(&req, t->fs);
	if (t->dedup_writes)
		sim_ok(fs_volume_set_dedup(&req, volume, true));
}

/* What it holds is known from now on, but for what others do with what they share. */
static void set_limit(struct test *t, const char *volume)
{
	const struct fs_limits l = { -1, -1, -1, 1ll << 50 };	/* nobody comes near */
	struct fs_req req;
	int rc;

	if (!t->metered)
		return;
	fs_req_admin(&req, t->fs);
	rc = fs_volume_limit(&req, volume, &l, NULL);
	sim_check(!rc || rc == -ENOSPC, "%s: a limit: %s", volume, sim_err(rc));
}

/* Counted anew, it is what the account finds. */
static void check_held(struct test *t)
{
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct fs_req req;

	fs_req_admin(&req, t->fs);
	sim_ok(fs_reap_all(t->fs));
	for (unsigned i = 0; t->metered && i < t->m->nvolumes; i++) {
		struct fs_account a = { .of = FS_ACCOUNT_VOLUME_ALL, .exact = true };
		int rc;

		sim_ok(fs_volume_find(t->fs, t->m->volumes[i].name, v));
		rc = fs_volume_recount(&req, v->id, NULL);
		sim_check(!rc || rc == -ENOSPC, "%s: a count: %s", v->name, sim_err(rc));
		a.id = v->root;
		sim_ok(fs_account(&req, &a));
		sim_ok(fs_volume_find(t->fs, t->m->volumes[i].name, v));
		sim_check(rc || !v->physical_blocks || v->held_blocks == a.exclusive.data + a.exclusive.meta - a.record_blocks,
			  "%s: %llu blocks are held, and the account finds %llu", v->name, (unsigned long long)v->held_blocks,
			  (unsigned long long)(a.exclusive.data + a.exclusive.meta - a.record_blocks));
	}
	free(v);
}

/* What came with a clone or a restore and has no name goes in the background. */
static void volumes_changed(struct test *t, const struct op *op)
{
	sim_learn(t->fs, t->m, op);
	if (op->kind == OP_VCREATE) {
		switch_dedup(t, op->name);
		set_limit(t, op->name);
	}
	if (op->kind == OP_RESTORE)
		for (unsigned i = 0; i < LISTERS; i++)
			lister_stop(&t->listers[i]);
	if (op->kind == OP_RESTORE || op->kind == OP_VCLONE)
		sim_ok(fs_reap_all(t->fs));
	if (rng_one_in(&t->rng, 3))
		sim_compare(t->fs, t->m, "after a change of volumes or snapshots");
}

/* Which volumes are not what a snapshot of theirs is any more, as far as this alone can tell. */
static void note_change(struct test *t, const struct op *op)
{
	const struct mvolume *v;

	switch (op->kind) {
	case OP_READ: case OP_HOLD: case OP_RESERVE: case OP_VCREATE: case OP_VDESTROY: case OP_SNAP: case OP_UNSNAP:
	case OP_VCLONE:
		break;
	case OP_RESTORE:
		v = model_volume(t->m, op->name);
		if (v && op->rc)
			mrepl_touch(t->repl, v->id);
		else if (v)
			mrepl_restored(t->repl, v->id, model_snap(t->m, v->id, op->name2));
		break;
	default:
		mrepl_touch(t->repl, op->id.volume);
		mrepl_touch(t->repl, op->dir.volume);
		mrepl_touch(t->repl, op->dir2.volume);
	}
}

static void run_op(struct test *t, struct op *op)
{
	struct mnode *obj, pre = { 0 };
	struct expect e;
	char text[512];

	obj = model_find(t->m, op->kind == OP_WRITE || op->kind == OP_SETATTR || op->kind == OP_RANGE ||
			 op->kind == OP_PUNCH || op->kind == OP_ALLOCATE || op->kind == OP_XSET ||
			 op->kind == OP_XREMOVE ? op->id : op->kind == OP_RENAME ? op->dir2 : op->dir);
	if (obj)
		pre = *obj;
	if (t->cfg.no_background)	/* else the reaper might give some back just then */
		sim_quota_left(t->fs, op);
	sim_exec(t->fs, op, t->answer);
	model_run(t->m, op, !op->rc, &e);
	if (t->repl)
		note_change(t, op);
	op_print(op, text, sizeof(text));
	if (op->rc == -ENOSPC && !e.nmust) {
		check_nospace(t, op);
		return;
	}
	if (op->rc == -E2BIG && sim_few_refs)	/* before other reasons are looked for, too */
		return;
	if (!expect_allows(&e, op->rc)) {
		for (int i = 0; i < e.nmust; i++)
			fprintf(stderr, "expected %s\n", sim_err(e.must[i]));
		sim_fail("step %u: %s%s", t->step, text, e.nmust ? "" : ": expected success");
	}
	t->done[op->kind] += !op->rc;
	t->failed += op->rc != 0;
	if (obj && t->answer->wcc.pre_valid)
		check_wcc(t, &t->answer->wcc, &pre);
	if (op->rc)
		return;
	if (op->kind >= OP_RESERVE || op->kind == OP_VCREATE || op->kind == OP_VDESTROY)
		volumes_changed(t, op);
	else
		check_after(t, op);
}

/* ---- questions --------------------------------------------------------------------------- */

static void ask_seek(struct test *t)
{
	struct mnode *n = gen_node(&t->gen, t->m, FS_REG);
	uint64_t at, got = 0, want = 0;
	struct fs_req req;
	bool data;
	int rc, expected;

	if (!n)
		return;
	at = gen_offset(&t->gen, n);
	data = rng_one_in(&t->rng, 2);
	fs_req_admin(&req, t->fs);
	rc = fs_seek(&req, n->id, at, data, &got);
	expected = model_seek(n, at, data, &want);
	sim_check(rc == expected && got == want, "step %u: ino %llu: seek %s from %llu: %s, %llu; "
		  "expected %s, %llu", t->step, (unsigned long long)n->id.ino, data ? "data" : "hole",
		  (unsigned long long)at, sim_err(rc), (unsigned long long)got, sim_err(expected),
		  (unsigned long long)want);
}

static void ask_lookup(struct test *t)
{
	struct mnode *dir = gen_node(&t->gen, t->m, FS_DIR), *n;
	unsigned user = rng_below(&t->rng, t->gen.users);
	char name[OP_NAME_BUF];
	struct fs_attr a, da;
	struct fs_req req;
	uint32_t len;
	int rc, want;

	gen_name(&t->gen, name, &len);
	if (dir->nents && rng_one_in(&t->rng, 2)) {
		struct mdirent *e = &dir->ents[rng_below(&t->rng, dir->nents)];

		memcpy(name, e->name, e->len + 1);
		len = e->len;
	}
	n = model_lookup(dir, name, len);
	if (!strcmp(name, "."))
		n = dir;
	if (!strcmp(name, ".."))
		n = dir->parent ? dir->parent : dir;
	sim_req(&req, t->fs, user);
	rc = fs_lookup(&req, dir->id, (struct fs_name){ name, len }, &a, &da);
	want = n ? 0 : len > FS_NAME_MAX ? -ENAMETOOLONG : -ENOENT;
	if (!model_may(dir, user, 1))
		want = -EACCES;
	if (rc != want && rc && want && (!len || memchr(name, '/', len) || len > FS_NAME_MAX))
		return;			/* which of the errors is nobody's business */
	sim_check(rc == want, "step %u: lookup '%s' in %llu by user %u: %s, expected %s", t->step, name,
		  (unsigned long long)dir->id.ino, user, sim_err(rc), sim_err(want));
	sim_check(rc || (a.id.ino == n->id.ino && a.id.generation == n->id.generation &&
			 a.change == n->change), "step %u: lookup of '%s' found another", t->step, name);
}

static void ask_access(struct test *t)
{
	struct mnode *n = gen_node(&t->gen, t->m, FS_FREE);
	unsigned user = rng_below(&t->rng, t->gen.users);
	uint32_t got = 0, all = 63, sure = 0, never = 0;
	struct fs_attr a;
	struct fs_req req;

	sim_req(&req, t->fs, user);
	sim_ok(fs_access(&req, n->id, all, &got, &a));
	*(model_may(n, user, 4) ? &sure : &never) |= FS_ACCESS_READ;
	*(model_may(n, user, 2) ? &sure : &never) |= FS_ACCESS_MODIFY | FS_ACCESS_EXTEND;
	*(model_may(n, user, 1) ? &sure : &never) |= n->type == FS_DIR ? FS_ACCESS_LOOKUP :
						     FS_ACCESS_EXECUTE;
	if (n->type == FS_DIR && !model_may(n, user, 3))	/* deleting needs search too */
		sure &= ~(FS_ACCESS_MODIFY | FS_ACCESS_EXTEND);
	sim_check((got & sure) == sure && !(got & never),
		  "step %u: access of user %u to ino %llu (type %d, mode %o, owner %u:%u): %#x, "
		  "must have %#x and not %#x", t->step, user, (unsigned long long)n->id.ino, n->type,
		  n->mode, n->uid, n->gid, got, sure, never);
}

static void ask_list(struct test *t)
{
	struct lister *l = &t->listers[rng_below(&t->rng, LISTERS)];

	if (!l->active)
		lister_start(l, gen_node(&t->gen, t->m, FS_DIR));
	for (unsigned i = rng_range(&t->rng, 1, 4); i && l->active; i--)
		lister_step(l, t->fs, t->m, rng_range(&t->rng, 32, 300) * 8,
			    rng_one_in(&t->rng, 2) ? rng_range(&t->rng, 1, 5) : 0,
			    rng_one_in(&t->rng, 2));
}

static void ask_stale(struct test *t)
{
	struct fs_id id = gen_stale(&t->gen, t->m);
	struct fs_req req;
	struct fs_attr a;

	fs_req_admin(&req, t->fs);
	sim_check(fs_getattr(&req, id, &a) == -ESTALE, "step %u: a stale handle is alive", t->step);
}

static void ask_xattr(struct test *t)
{
	struct mnode *n = gen_node(&t->gen, t->m, rng_one_in(&t->rng, 4) ? FS_DIR : FS_REG);
	unsigned user = rng_below(&t->rng, t->gen.users);
	struct noderec want;
	struct fs_req req;
	uint64_t sum;
	uint32_t len;
	int rc;

	if (!n)
		return;
	sim_req(&req, t->fs, user);
	model_noderec(n, &want);
	sum = sim_xattrs(&req, n->id, &rc);
	sim_check(rc == (model_may(n, user, 4) ? 0 : -EACCES), "step %u: attributes of ino %llu: %s",
		  t->step, (unsigned long long)n->id.ino, sim_err(rc));
	sim_check(rc || sum == want.xattrs, "step %u: ino %llu: other attributes", t->step,
		  (unsigned long long)n->id.ino);
	if (!rc)
		sim_check(fs_xattr_get(&req, n->id, (struct fs_name){ "none", 4 }, NULL, 0, &len) ==
			  -ENODATA, "step %u: an attribute that was never set", t->step);
}

static void ask_stat(struct test *t)
{
	struct fs_fsstat st;
	struct fs_status s;
	struct fs_req req;
	struct fs_attr a;

	fs_req_admin(&req, t->fs);
	sim_ok(fs_fsstat(&req, gen_node(&t->gen, t->m, FS_DIR)->id, &st, &a));
	sim_check(st.avail_bytes <= st.free_bytes && st.free_bytes <= st.total_bytes &&
		  st.free_files <= st.total_files, "step %u: fsstat", t->step);
	fs_status(t->fs, &s);
	sim_check(!s.readonly && !s.checksum_errors && !s.io_errors, "step %u: %s", t->step, s.reason);
	sim_check(s.free_blocks <= s.size_blocks && s.log_used_bytes <= s.log_bytes,
		  "step %u: status", t->step);
}

/* ---- the pool as a whole ----------------------------------------------------------------- */

/* Who had files open and is not back by now comes too late. */
static void no_more_come_back(struct test *t)
{
	fs_drop_orphans(t->fs);
	sim_ok(fs_reap_all(t->fs));
	model_drop_orphans(t->m);
	sim_compare(t->fs, t->m, "after some came back, and others did not");
}

/* Some files that had no name when the pool was left are held again. */
static void come_back(struct test *t)
{
	for (uint32_t i = 0; i < t->m->nnodes; i++) {
		struct mnode *n = t->m->nodes[i];

		if (!n->unnamed || t->m->nheld > MHELD_MAX / 2 || rng_one_in(&t->rng, 2))
			continue;
		sim_ok(fs_hold(t->fs, n->id));
		t->m->held[t->m->nheld++] = n->id;
	}
}

static void reopen(struct test *t)
{
	struct fs_status before, after;
	bool keep = rng_one_in(&t->rng, 2);

	fs_status(t->fs, &before);
	t->dedup.written_blocks += before.dedup.written_blocks;
	t->dedup.found_blocks += before.dedup.found_blocks;
	t->dedup.freed_blocks += before.dedup.freed_blocks;
	sim_ok(fs_close(t->fs));
	sim_fsck(t->dev, "after closing");
	memset(&before, 0, sizeof(before));
	t->cfg.keep_orphans = keep;
	t->fs = sim_open(t->dev, &t->cfg);
	fs_status(t->fs, &after);
	sim_check(!after.replayed_records, "%llu records replayed after a clean end",
		  (unsigned long long)after.replayed_records);
	sim_check(fs_verifier(t->fs) != t->verifier, "the write verifier did not change");
	t->verifier = fs_verifier(t->fs);
	model_restart(t->m, keep ? after.life : 0);
	sim_compare(t->fs, t->m, "after reopening");
	if (keep)
		come_back(t);
}

static void volume_op(struct test *t, enum op_kind kind, const char *name)
{
	struct op op = { .kind = kind };

	strcpy(op.name, name);
	op.name_len = strlen(name);
	run_op(t, &op);
	sim_check(!op.rc, "%s %s: %s", op_names[kind], name, sim_err(op.rc));
}

#define SNAPS_MAX 4

static void maybe_volume(struct test *t)
{
	struct op op;

	memset(t->gen.weights, 0, sizeof(t->gen.weights));
	t->gen.weights[OP_VCREATE] = 1;
	t->gen.weights[OP_RESERVE] = t->m->nvolumes ? 2 : 0;
	t->gen.weights[OP_VDESTROY] = 2;
	t->gen.weights[OP_SNAP] = t->share_volumes && t->m->nsnaps < SNAPS_MAX ? 6 : 0;
	t->gen.weights[OP_UNSNAP] = 2 + 3 * t->m->nsnaps;
	t->gen.weights[OP_RESTORE] = 3;
	t->gen.weights[OP_TREE] = t->share_volumes && t->m->nnodes < t->max_nodes ? 8 : 0;
	t->gen.weights[OP_VCLONE] = t->share_volumes && t->m->nnodes < t->max_nodes && t->m->nvolumes < 3 ? 2 : 0;
	gen_op(&t->gen, t->m, &op);
	run_op(t, &op);
	op_done(&op);
}

static void destroy_snapshots(struct test *t)
{
	while (t->m->nsnaps) {
		const struct mfrozen *f = t->m->snaps[rng_below(&t->rng, t->m->nsnaps)];
		struct op op = { .kind = OP_UNSNAP };

		for (uint32_t i = 0; i < t->m->nvolumes; i++)
			if (t->m->volumes[i].id == f->volume)
				strcpy(op.name, t->m->volumes[i].name);
		strcpy(op.name2, f->name);
		op.name_len = strlen(op.name);
		op.name2_len = strlen(op.name2);
		run_op(t, &op);
		sim_check(!op.rc, "destroying a snapshot: %s", sim_err(op.rc));
		op_done(&op);
	}
}

static void set_weights(struct test *t)
{
	struct gen g;

	gen_init(&g, 0);
	memcpy(t->gen.weights, g.weights, sizeof(g.weights));
	if (t->purge && t->m->nsnaps && rng_one_in(&t->rng, 10))
		destroy_snapshots(t);	/* or nothing that is removed gives its space back */
	if (t->purge || (t->m->nnodes > t->max_nodes && rng_one_in(&t->rng, 2))) {
		memset(t->gen.weights, 0, sizeof(t->gen.weights));
		t->gen.weights[OP_REMOVE] = 8;
		t->gen.weights[OP_RMDIR] = 4;
		t->gen.weights[OP_FORGET] = 1;
	}
	if (t->purge)
		t->purge--;
}

static void background(void *arg)
{
	struct test *t = arg;

	if (rng_one_in(&t->rng, 3))
		sim_ok(fs_reap_all(t->fs));
	else
		sim_ok(fs_checkpoint(t->fs));
}

struct side { struct test *t; bool batch; };
static void side_fn(void *arg)
{
	struct side *s = arg;

	if (s->batch)
		batch_run(s->t->batch);
	else
		background(s->t);
}

static void touch_all(struct test *t)
{
	if (t->repl)
		mrepl_touch_all(t->repl);
}

static void do_batch(struct test *t)
{
	struct side s[2] = { { t, true }, { t, false } };

	touch_all(t);
	t->batch->fs = t->fs;
	t->batch->m = t->m;
	t->batch->wait = rng_one_in(&t->rng, 2);
	batch_gen(t->batch, &t->gen, rng_range(&t->rng, 2, 12));
	sim_parallel(side_fn, s, sizeof(s[0]), rng_one_in(&t->rng, 3) ? 2 : 1);
	if (t->batch->nospace)
		t->purge = 30;
}

/* Whatever goes then is on its way while others are at work. */
static void do_unhold(struct test *t)
{
	struct fs_id gone[MHELD_MAX];
	unsigned n = 0;

	touch_all(t);
	for (unsigned i = rng_range(&t->rng, 1, 4); i && t->m->nheld; i--) {
		uint32_t k = rng_below(&t->rng, t->m->nheld);
		struct fs_id id = t->m->held[k];

		fs_unhold(t->fs, id);
		if (model_unhold(t->m, k))
			gone[n++] = id;
	}
	if (rng_one_in(&t->rng, 2))
		do_batch(t);
	if (!n)
		return;
	sim_ok(fs_reap_all(t->fs));
	while (n)
		check_node(t, gone[--n]);
}

static void do_sync(struct test *t)
{
	struct mnode *n = gen_node(&t->gen, t->m, FS_REG);
	struct fs_req req;

	if (!n)
		return;
	fs_req_admin(&req, t->fs);
	sim_ok(fs_commit(&req, n->id, &t->answer->wcc));
	sim_ok(fs_wait_stable(t->fs, req.stable_seq));
}

/* ---- send and receive -------------------------------------------------------------------- */

static void repl_run(void *arg, struct op *op) { run_op(arg, op); }

static void repl_reopen(void *arg)
{
	struct test *t = arg;

	reopen(t);
	if (t->m->keep_life)
		no_more_come_back(t);
}

static void repl_full(void *arg)
{
	struct test *t = arg;

	sim_compare(t->fs, t->m, "after a stream that found no room");
	t->purge = 40;
}

static void repl_received(void *arg, const char *volume, bool taken_over)
{
	struct test *t = arg;

	if (!taken_over)
		switch_dedup(t, volume);
	for (unsigned i = 0; taken_over && i < LISTERS; i++)
		lister_stop(&t->listers[i]);
}

static void step(struct test *t)
{
	unsigned what = rng_below(&t->rng, 1000);
	struct op op;

	set_weights(t);
	/* Or what a stream removes would be an orphan, as files of earlier lives count as held. */
	if (t->repl && !t->m->keep_life && rng_one_in(&t->repl_rng, 70))
		mrepl_step(t->repl);
	if (what >= 994 && t->dedup_job) {
		touch_all(t);
		sim_dedup(t->fs, t->m, t->m->volumes[rng_below(&t->rng, t->m->nvolumes)].name);
	} else if (what < 70) {
		do_batch(t);
	} else if (what < 230) {
		static void (*const ask[])(struct test *) = { ask_seek, ask_seek, ask_lookup,
			ask_lookup, ask_access, ask_list, ask_list, ask_list, ask_stale, ask_stat,
			ask_xattr };

		ask[rng_below(&t->rng, 11)](t);
	} else if (what < 250) {
		do_sync(t);
	} else if (what < 265) {
		background(t);
	} else if (what < 267) {
		reopen(t);
	} else if (what < 277) {
		maybe_volume(t);
	} else if (what < 280) {
		loop_sleep_ns(rng_below(&t->rng, 2000000000));
	} else if (what < 305 && t->m->keep_life) {
		no_more_come_back(t);
	} else if (what < 300) {
		do_unhold(t);
	} else {
		gen_op(&t->gen, t->m, &op);
		run_op(t, &op);
		op_done(&op);
	}
}

/* Removes names, leaves first, by the store's own operations, then the volumes. */
static void delete_all(struct test *t)
{
	destroy_snapshots(t);
	while (t->m->nvolumes) {
		struct mvolume *v = &t->m->volumes[t->m->nvolumes - 1];
		struct mnode *dir = v->root;
		struct op op = { .kind = OP_REMOVE };
		char name[FS_VOLUME_NAME_MAX + 1];

		while (dir->nents && dir->ents[0].node->type == FS_DIR && dir->ents[0].node->nents)
			dir = dir->ents[0].node;
		if (!dir->nents) {
			strcpy(name, v->name);
			volume_op(t, OP_VDESTROY, name);
			continue;
		}
		op.dir = dir->id;
		memcpy(op.name, dir->ents[0].name, dir->ents[0].len);
		op.name_len = dir->ents[0].len;
		if (dir->ents[0].node->type == FS_DIR)
			op.kind = OP_RMDIR;
		run_op(t, &op);
		sim_check(!op.rc, "deleting all: %s", sim_err(op.rc));
	}
}

static void finish(struct test *t)
{
	uint64_t left;

	for (unsigned i = 0; i < LISTERS; i++)
		lister_stop(&t->listers[i]);
	sim_compare(t->fs, t->m, "at the end");
	check_held(t);
	reopen(t);
	check_held(t);
	if (t->m->keep_life)
		no_more_come_back(t);
	while (t->m->nheld)
		do_unhold(t);
	delete_all(t);
	if (t->repl)
		mrepl_finish(t->fs);
	left = sim_free_blocks(t->fs);
	sim_check(left == t->initial_free, "a leak: %llu blocks were free at first, %llu now",
		  (unsigned long long)t->initial_free, (unsigned long long)left);
	sim_ok(fs_close(t->fs));
	sim_fsck(t->dev, "of the empty pool");
}

static void choose(struct test *t)
{
	static const uint64_t sizes[] = { 4096, 6000, 12000, 40000, 300000 };

	t->nblocks = sizes[rng_below(&t->rng, 5)];
	t->cfg.cache_bytes = (size_t)(rng_one_in(&t->rng, 3) ? 64 : 16) << 20;
	t->cfg.no_background = rng_one_in(&t->rng, 3);
	t->cfg.checkpoint_ms = rng_one_in(&t->rng, 2) ? 0 : rng_range(&t->rng, 2, 200);
	t->cfg.max_refs = rng_one_in(&t->rng, 3) ? rng_range(&t->rng, 2, 9) : 0;
	t->cfg.checkpoint_writes = rng_one_in(&t->rng, 2) ? rng_range(&t->rng, 1, 4) : 0;
	t->cfg.seed = t->seed + 1;
	gen_init(&t->gen, rng_u64(&t->rng));
	t->gen.names = rng_one_in(&t->rng, 4) ? 600 : 30;
	t->gen.users = rng_one_in(&t->rng, 3) ? 1 : MUSERS;
	t->max_nodes = rng_one_in(&t->rng, 4) ? 1500 : 400;
	if (t->nblocks < 10000)
		t->gen.max_write = 200000;
	/* Where counts are at their limit, a write after a snapshot copies all that there is, and in a full
	 * pool not even a removal finds the room for that. */
	t->share_volumes = !t->cfg.max_refs || t->nblocks > 30000;
	/* By the seed's own digits: what it does otherwise stays the same. */
	t->dedup_job = t->seed % 3 == 1;
	t->dedup_writes = t->seed % 4 == 2 || t->seed % 12 == 1;
	t->metered = t->seed % 7 == 3 || t->seed % 5 == 1;
	t->gen.equal = t->dedup_job || t->dedup_writes;
	t->cfg.dedup_leaders = t->seed % 2 ? 64 : 0;
	t->cfg.dedup_index = t->seed % 8 == 2 ? 64 : 4096;
}

/* As large as the random volumes will make it: it does not shrink. */
static void grow_volume_table(struct test *t)
{
	char name[8];

	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "grow%d", i);
		volume_op(t, OP_VCREATE, name);
		if (i == 4 && t->repl)
			mrepl_grow(t->fs, name);
		if (!i && t->dedup_job)	/* where it stands has a file of its own from now on */
			sim_dedup(t->fs, t->m, name);
	}
	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "grow%d", i);
		volume_op(t, OP_VDESTROY, name);
	}
}

/* With two of three seeds, where volumes may be shared; by random numbers of its own. */
static void choose_repl(struct test *t)
{
	struct mrepl_host host = { .fs = &t->fs, .m = t->m, .max_nodes = t->max_nodes, .max_volumes = 4,
				   .dedup = t->dedup_job || t->dedup_writes, .run = repl_run, .reopen = repl_reopen,
				   .full = repl_full, .received = repl_received, .arg = t };

	if (t->seed % 3 == 2 || !t->share_volumes)
		return;
	rng_init(&t->repl_rng, t->seed ^ 0x7265706c);
	t->repl = mrepl_new(t->seed ^ 0x73656e64, &host);
}

static void run_seed(void *arg)
{
	struct test *t = arg;

	rng_init(&t->rng, t->seed);
	rng_init(&t->ask_rng, ~t->seed);
	choose(t);
	t->dev = sim_disk_new(t->nblocks, t->seed);
	dev_sim_on_submit(t->dev, on_submit, t);
	t->batch = test_alloc(sizeof(*t->batch));
	t->answer = test_alloc(sizeof(*t->answer));
	t->m = model_new();
	t->m->on_dirent = on_dirent;
	t->m->arg = t;
	choose_repl(t);
	sim_ok(fs_format(t->dev, &(struct fs_format_opts){ .uuid = { 1 } }));
	t->fs = sim_open(t->dev, &t->cfg);
	grow_volume_table(t);
	t->initial_free = sim_free_blocks(t->fs);
	volume_op(t, OP_VCREATE, "main");
	for (t->step = 0; t->step < t->steps; t->step++) {
		step(t);
		if (t->step % 20 == 7)
			sim_ask_diff(t->fs, t->m, &t->ask_rng);
		if (t->step % 100 == 37)
			sim_ask_vdiff(t->fs, t->m, &t->ask_rng);
		if (t->step % 1000 == 999)
			sim_compare(t->fs, t->m, "in between");
	}
	finish(t);
	if (t->repl) {
		t->repl_counts = *mrepl_counts(t->repl);
		mrepl_free(t->repl);
	}
	model_free(t->m);
	dev_close(t->dev);
	free(t->batch);
	free(t->answer);
}

static void usage(void)
{
	fprintf(stderr, "usage: model_test [--seed N] [--seeds K] [--steps N] [--fresh] [--trace] "
		"[--twice]\n");
	exit(2);
}

int main(int argc, char **argv)
{
	uint64_t seed = 1, seeds = 1, steps = 10000;
	bool twice = false;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--trace"))
			sim_trace = true;
		else if (!strcmp(argv[i], "--twice"))
			twice = true;
		else if (!strcmp(argv[i], "--fresh"))
			seed = (uint64_t)time(NULL) << 16;
		else if (i + 1 == argc)
			usage();
		else if (!strcmp(argv[i], "--seed"))
			seed = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--seeds"))
			seeds = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--steps"))
			steps = strtoull(argv[++i], NULL, 0);
		else
			usage();
	}
	for (uint64_t s = seed; s < seed + seeds; s++) {
		struct test t = { .seed = s, .steps = steps }, again = t;

		snprintf(sim_replay, sizeof(sim_replay), "%s --seed %llu --steps %llu", argv[0],
			 (unsigned long long)s, (unsigned long long)steps);
		sim_run(run_seed, &t);
		if (twice) {
			sim_run(run_seed, &again);
			sim_check(again.requests == t.requests, "the same seed gave another run");
		}
		printf("seed %llu: %llu blocks, cache %zu MiB, max_refs %u:", (unsigned long long)s,
		       (unsigned long long)t.nblocks, t.cfg.cache_bytes >> 20, t.cfg.max_refs);
		for (unsigned k = 0; k < OP_KINDS; k++)
			printf(" %s %u", op_names[k], t.done[k]);
		printf(", received %u and %u changes, %u by force, %u resumed of %u cut, %u refused, %u full",
		       t.repl_counts.whole, t.repl_counts.changes, t.repl_counts.forced, t.repl_counts.resumed,
		       t.repl_counts.cut, t.repl_counts.refused, t.repl_counts.full);
		printf(", refused %u, full %u, dedup %llu of %llu written, %llu freed\n", t.failed, t.nospace,
		       (unsigned long long)t.dedup.found_blocks,
		       (unsigned long long)t.dedup.written_blocks, (unsigned long long)t.dedup.freed_blocks);
	}
	return 0;
}
