/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quotas of volumes and of directories (docs/quotas.md).
 *
 *     inode ── project, project_dir ──> directory's inode ── dir_quota: project, limit, used
 *
 * Invariants: volume.mapped is the sum of mapped and xattr_blocks over all inodes, dir_quota.used the same
 * over those that count for it, and dir_quota.files their number; both change in the apply pass that
 * changes the sum, through quota_account() alone.  A directory that counts for a quota has nothing in it
 * that doesn't count for the same; a directory with a quota lies in none with another.
 */
#include "fs/fs_int.h"

#include <inttypes.h>
#include <stdlib.h>
#include "base/log.h"

/* ---- who counts for what ------------------------------------------------------------------------ */

int quota_dir_get(struct txn *t, const struct volume *vol, const struct inode *i, struct inode **ret)
{
	struct inode *dir;
	int err;

	*ret = NULL;
	if (i->project <= vol->void_projects || !vol->quota_dirs)
		return 0;
	err = inode_get(t, vol, i->project_dir, 0, &dir);
	if (err)
		return err == -ESTALE ? 0 : err;
	if (dir->type == FS_DIR && quota_in(dir)->project == i->project)
		*ret = dir;
	return 0;
}

void quota_inherit(struct inode *i, const struct inode *dir)
{
	i->project = dir->project;
	i->project_dir = dir->project_dir;
}

int quota_same(struct txn *t, const struct volume *vol, const struct inode *a, const struct inode *b)
{
	struct inode *of_a, *of_b;
	int err = quota_dir_get(t, vol, a, &of_a);

	if (!err)
		err = quota_dir_get(t, vol, b, &of_b);
	if (err)
		return err;
	return !of_a == !of_b && (!of_a || a->project == b->project) ? 0 : -EXDEV;
}

/* ---- asking ------------------------------------------------------------------------------------- */

static uint64_t left_of(uint64_t limit, uint64_t used)
{
	return !limit ? UINT64_MAX : limit > used ? limit - used : 0;
}

static int dir_check(struct txn *t, const struct volume *vol, const struct inode *i, uint64_t more_blocks)
{
	struct inode *dir;
	int err = quota_dir_get(t, vol, i, &dir);

	if (err || !dir)
		return err;
	return more_blocks > left_of(quota_in(dir)->limit, quota_in(dir)->used) ? -EDQUOT : 0;
}

int quota_check(struct txn *t, const struct volume *vol, const struct inode *i, uint64_t more_blocks)
{
	if (!more_blocks || t->replay)	/* what is replayed was asked the first time */
		return 0;
	if (more_blocks > left_of(vol->quota, vol->mapped))
		return -EDQUOT;
	return dir_check(t, vol, i, more_blocks);
}

int quota_left(struct txn *t, const struct volume *vol, const struct inode *i, uint64_t *ret)
{
	struct inode *dir;
	int err = quota_dir_get(t, vol, i, &dir);
	uint64_t left = left_of(vol->quota, vol->mapped), held = volume_physical_left(vol), of_dir;

	if (err)
		return err;
	of_dir = dir ? left_of(quota_in(dir)->limit, quota_in(dir)->used) : UINT64_MAX;
	*ret = of_dir < left ? of_dir : left;
	*ret = held < *ret ? held : *ret;
	return 0;
}

/* ---- accounting --------------------------------------------------------------------------------- */

/* Whether people are to be told that USED is above SOFT: once, until it was well below it again. */
static bool crossed(uint32_t *warned, uint64_t soft, uint64_t used)
{
	bool tell = soft && used > soft && !*warned;

	if (tell)
		*warned = 1;
	else if (!soft || used <= soft - soft / 16)
		*warned = 0;
	return tell;
}

void quota_warn(const struct txn *t, struct volume *vol)
{
	if (crossed(&vol->warned, vol->soft, vol->mapped) && !t->replay)
		log_warn("volume %s: its files map %" PRIu64 " bytes, more than its soft limit of %" PRIu64,
			 vol->name, vol->mapped * BLOCK_SIZE, vol->soft * BLOCK_SIZE);
}

static void warn_dir(const struct txn *t, const struct volume *vol, uint64_t ino, struct dir_quota *q)
{
	if (crossed(&q->warned, q->soft, q->used) && !t->replay)
		log_warn("volume %s: the directory with inode %" PRIu64 " holds %" PRIu64 " bytes, more than its "
			 "soft limit of %" PRIu64 "; 'pando quota list %s' shows which it is", vol->name, ino,
			 q->used * BLOCK_SIZE, q->soft * BLOCK_SIZE, vol->name);
}

/* The directory's part of it. */
static int dir_account(struct txn *t, struct volume *vol, const struct inode *i, int64_t blocks, int64_t files)
{
	uint64_t ino = i->project_dir;
	struct inode *dir;
	int err = quota_dir_get(t, vol, i, &dir);

	if (err || !dir || (t->apply && !blocks && !files))
		return err;
	err = inode_own(t, vol, ino, 0, &dir);
	if (err || !t->apply)
		return err;
	quota_in(dir)->used += blocks;
	quota_in(dir)->files += files;
	warn_dir(t, vol, ino, quota_in(dir));
	return 0;
}

int quota_account(struct txn *t, struct volume *vol, const struct inode *i, int64_t blocks, int64_t files)
{
	int err = dir_account(t, vol, i, blocks, files);

	if (err || !t->apply)
		return err;
	vol->mapped += blocks;
	quota_warn(t, vol);
	return 0;
}

int quota_move(struct txn *t, struct volume *vol, struct inode *i, const struct inode *dir, int64_t besides)
{
	int64_t blocks = i->mapped + i->xattr_blocks;
	int64_t more = blocks + besides;
	struct inode as = { .type = i->type };
	int err = quota_same(t, vol, i, dir);

	if (err != -EXDEV)
		return err;
	quota_inherit(&as, dir);
	err = t->apply || t->replay ? 0 : dir_check(t, vol, &as, more > 0 ? more : 0);
	if (!err)
		err = dir_account(t, vol, i, -blocks, -1);
	if (!err)
		err = dir_account(t, vol, &as, blocks, 1);
	if (!err && t->apply)
		quota_inherit(i, &as);
	return err;
}

/* ---- directories with quotas come and go -------------------------------------------------------- */

void quota_forget_all(struct volume *vol)
{
	vol->void_projects = vol->last_project;
	vol->quota_dir = vol->quota_dirs = 0;
}

void quota_take_over(struct volume *vol, const struct volume *from)
{
	vol->quota_dir = from->quota_dir;
	vol->quota_dirs = from->quota_dirs;
	vol->last_project = from->last_project;
	vol->void_projects = from->void_projects;
}

/* The neighbour INO in the list, if it is one; to change. */
static int neighbour(struct txn *t, struct volume *vol, uint32_t ino, struct inode **ret)
{
	int err = ino ? inode_own(t, vol, ino, 0, ret) : 0;

	if (err == -ESTALE || (!err && ino && ((*ret)->type != FS_DIR || !quota_in(*ret)->project)))
		return -EDAMAGED;
	return err;
}

int quota_dir_gone(struct txn *t, struct volume *vol, const struct inode *i)
{
	struct dir_quota q = *(const struct dir_quota *)(const void *)i->inline_data;
	struct inode *prev, *next;
	int err;

	if (i->type != FS_DIR || q.project <= vol->void_projects)
		return 0;
	err = neighbour(t, vol, q.prev, &prev);
	if (!err)
		err = neighbour(t, vol, q.next, &next);
	if (err || !t->apply)
		return err;
	if (q.prev)
		quota_in(prev)->next = q.next;
	else
		vol->quota_dir = q.next;
	if (q.next)
		quota_in(next)->prev = q.prev;
	vol->quota_dirs--;
	return 0;
}

int quota_dir_link(struct txn *t, struct volume *vol, struct inode *i, uint64_t ino)
{
	struct inode *next;
	int err = neighbour(t, vol, vol->quota_dir, &next);

	if (err || !t->apply)
		return err;
	if (vol->quota_dir)
		quota_in(next)->prev = ino;
	quota_in(i)->next = vol->quota_dir;
	quota_in(i)->prev = 0;
	vol->quota_dir = ino;
	vol->quota_dirs++;
	return 0;
}

/* ---- setting ------------------------------------------------------------------------------------ */

struct look { struct txn *t; const struct volume *vol; };

static int look_at(void *arg, const struct tree_item *item, const struct inode *i)
{
	struct look *l = arg;
	struct inode *dir;
	int err = quota_dir_get(l->t, l->vol, i, &dir);

	return err ? err : dir ? -EBUSY : 0;
}

/* All that is to count for the quota: owned, and told so. */
static int take_items(struct txn *t, struct quota_op *o, struct volume *vol)
{
	int pending = 0;

	for (uint32_t k = 0; k < o->list->n; k++) {
		const struct tree_item *item = &o->list->items[k];
		struct inode *i;
		int err = inode_own(t, vol, item->ino, item->generation, &i);

		if (err == -ERESTART_PASS) {
			pending = err;
			continue;
		}
		if (!err && !t->apply && i->type != FS_DIR && i->nlink > item->names)
			err = -EMLINK;
		if (err)
			return err == -ESTALE ? -EDAMAGED : err;
		if (t->apply) {
			i->project = vol->last_project;
			i->project_dir = o->id.ino;
		}
	}
	return pending;
}

static int begin_check(struct txn *t, struct quota_op *o, struct volume *vol)
{
	struct look l = { t, vol };

	if (o->id.ino == INO_ROOT)
		return -EINVAL;
	if (o->id.ino > UINT32_MAX)
		return -EFBIG;
	if (vol->quota_dirs >= FS_QUOTAS_MAX || vol->last_project == UINT32_MAX)
		return -ENFILE;
	return tree_list_walk(t, vol, o->id, o->list, look_at, &l);
}

/* It had none so far. */
static int begin(struct txn *t, struct quota_op *o, struct volume *vol, struct inode *i)
{
	int err = t->apply ? 0 : begin_check(t, o, vol);

	if (err)
		return err;
	if (t->apply) {
		vol->last_project++;
		memset(i->inline_data, 0, sizeof(i->inline_data));
	}
	err = take_items(t, o, vol);
	if (!err)
		err = quota_dir_link(t, vol, i, o->id.ino);
	if (err || !t->apply)
		return err;
	quota_in(i)->project = vol->last_project;
	quota_in(i)->used = o->list->mapped;
	quota_in(i)->files = o->list->n;
	return 0;
}

static void info_fill(struct fs_quota *info, const struct volume *vol, uint64_t ino, struct inode *i)
{
	const struct dir_quota *q = quota_in(i);

	*info = (struct fs_quota){ .dir = id_of(vol, ino, i), .limit_blocks = q->limit, .soft_blocks = q->soft,
				   .used_blocks = q->used, .files = q->files };
}

/* USED: what counts for it, now or in a moment. */
static int limits_check(const struct quota_op *o, const struct dir_quota *q, uint64_t used)
{
	uint64_t limit = o->limit >= 0 ? (uint64_t)o->limit : q->limit;
	uint64_t soft = o->soft >= 0 ? (uint64_t)o->soft : q->soft;

	if (o->limit > 0 && used > limit)
		return -EDQUOT;
	return limit && soft > limit ? -ERANGE : 0;
}

static int set_limits(struct txn *t, struct quota_op *o, struct volume *vol, struct inode *i, bool has)
{
	static const struct dir_quota none;
	int err = has ? 0 : begin(t, o, vol, i);

	if (!err && !t->apply)
		err = limits_check(o, has ? quota_in(i) : &none, has ? quota_in(i)->used : o->list->mapped);
	if (err || !t->apply)
		return err;
	if (o->limit >= 0)
		quota_in(i)->limit = o->limit;
	if (o->soft >= 0)
		quota_in(i)->soft = o->soft;
	warn_dir(t, vol, o->id.ino, quota_in(i));
	info_fill(&o->info, vol, o->id.ino, i);
	return 0;
}

static int clear(struct txn *t, struct quota_op *o, struct volume *vol, struct inode *i)
{
	int err = quota_dir_gone(t, vol, i);

	if (err || !t->apply)
		return err;
	info_fill(&o->info, vol, o->id.ino, i);
	memset(i->inline_data, 0, sizeof(i->inline_data));
	i->project = i->project_dir = 0;
	return 0;
}

int do_quota_set(struct txn *t, void *arg)
{
	struct quota_op *o = arg;
	struct inode *i, *dir;
	struct volume *vol;
	bool has;
	int err = object_own(t, o->id, &vol, &i);

	if (!err && i->type != FS_DIR)
		err = -ENOTDIR;
	if (!err)
		err = quota_dir_get(t, vol, i, &dir);
	if (err)
		return err;
	has = dir && i->project_dir == o->id.ino;
	if (dir && !has)
		return -EBUSY;		/* it is another's */
	if (o->clear && !has)
		return -ENODATA;
	if (!t->apply)
		record_quota(t, o);
	t->unlimited = true;		/* it writes down what there is */
	err = o->clear ? clear(t, o, vol, i) : set_limits(t, o, vol, i, has);
	if (!err && t->apply)
		record_quota(t, o);
	return err;
}

static int set(struct quota_op *o, enum txn_space space)
{
	int err = o->req->cred.admin ? 0 : -EPERM;

	if (err)
		return err;
	if (!o->clear)
		err = pool_require(o->req->fs->pool, POOL_QUOTAS);
	if (err)
		return err;
	o->now = fs_now();
	o->list = tree_list_new();
	err = o->list ? fs_run(o->req, space, true, true, do_quota_set, o) : -ENOMEM;
	tree_list_free(o->list);
	return err;
}

int fs_quota_set(struct fs_req *req, struct fs_id dir, int64_t limit_blocks, int64_t soft_blocks,
		 struct fs_quota *ret)
{
	struct quota_op o = { .req = req, .id = dir, .limit = limit_blocks, .soft = soft_blocks };
	int err = set(&o, SPACE_ORDINARY);

	if (!err && ret)
		*ret = o.info;
	return err;
}

int fs_quota_clear(struct fs_req *req, struct fs_id dir)
{
	struct quota_op o = { .req = req, .id = dir, .clear = true, .limit = -1, .soft = -1 };

	return set(&o, SPACE_DELETE);
}

/* ---- reading ------------------------------------------------------------------------------------ */

struct get_op { struct fs_id id; struct fs_quota *info; };

static int do_get(struct txn *t, void *arg)
{
	struct get_op *o = arg;
	struct inode *i, *dir;
	struct volume *vol;
	int err = object_get(t, o->id, &vol, &i);

	if (!err)
		err = quota_dir_get(t, vol, i, &dir);
	if (!err && dir)
		info_fill(o->info, vol, i->project_dir, dir);
	return err ? err : dir ? 0 : -ENODATA;
}

int fs_quota_get(struct fs_req *req, struct fs_id id, struct fs_quota *ret)
{
	struct get_op o = { id, ret };

	return fs_run(req, SPACE_ORDINARY, false, false, do_get, &o);
}

struct list_op { uint32_t volume, n, cap; struct fs_quota *q; };

static int do_list(struct txn *t, void *arg)
{
	struct list_op *o = arg;
	struct volume *vol;
	struct inode *i;
	int err = volume_get(t, o->volume, &vol);

	if (err)
		return err;
	o->n = 0;
	for (uint32_t ino = vol->quota_dir; ino; ino = quota_in(i)->next) {
		err = inode_get(t, vol, ino, 0, &i);
		if (err)
			return err == -ESTALE ? -EDAMAGED : err;
		if (i->type != FS_DIR || !quota_in(i)->project || o->n >= FS_QUOTAS_MAX)
			return -EDAMAGED;
		info_fill(&o->q[o->n++], vol, ino, i);
	}
	return 0;
}

int fs_quota_list(struct fs_req *req, uint32_t volume, struct fs_quota **ret, uint32_t *ret_n)
{
	struct list_op o = { .volume = volume, .q = calloc(FS_QUOTAS_MAX, sizeof(*o.q)) };
	int err = o.q ? fs_run(req, SPACE_ORDINARY, false, false, do_list, &o) : -ENOMEM;

	if (err) {
		free(o.q);
		return err;
	}
	*ret = o.q;
	*ret_n = o.n;
	return 0;
}
