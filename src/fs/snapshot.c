/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots, and volumes made of them: each a record of the volume table, and one more pointer to the
 * root of an inode file.
 *
 *     volume record ──> inode file <── snapshot record        create: a record, +1
 *           │                ^                                destroy: -1, the record goes
 *           │                └───────── volume record         clone: a record that can be written, +1
 *           └── restore: -1 here, +1 there
 *
 * Nothing below the root is touched: the counts there are those of one owner until somebody writes, and
 * the walk down from the table copies what is shared on its way.
 */
#include "fs/fs_int.h"
#include "fs/repl.h"

#include <sodium.h>
#include <stdio.h>
#include "base/rng.h"

#define SNAPSHOTS (1u << VOLUME_SNAPSHOT)

void snapshot_info_fill(struct fs_snapshot_info *info, const struct volume *s,
			uint64_t root_generation)
{
	memset(info, 0, sizeof(*info));
	info->id = s->id;
	info->volume = s->parent;
	memcpy(info->uuid, s->uuid, 16);
	snprintf(info->name, sizeof(info->name), "%.*s", FS_VOLUME_NAME_MAX, s->name);
	info->fsid = s->fsid;
	info->created_ns = s->created;
	info->files = s->files;
	info->mapped_blocks = s->mapped;
	info->root = (struct fs_id){ s->parent, s->id, FS_ROOT_INO, root_generation };
}

/* ---- finding ------------------------------------------------------------------------------------ */

struct look { uint32_t volume, id; struct fs_snapshot_info *info; };

static int do_look(struct txn *t, void *arg)
{
	struct look *o = arg;
	struct volume *s;
	struct inode *root;
	int err = snapshot_get(t, o->volume, o->id, &s);

	if (!err)
		err = inode_get(t, s, INO_ROOT, 0, &root);
	if (!err)
		snapshot_info_fill(o->info, s, root->generation);
	return err;
}

static int look(struct fs *fs, uint32_t volume, uint32_t id, struct fs_snapshot_info *ret_info)
{
	struct look o = { volume, id, ret_info };
	struct fs_req req;
	int err;

	fs_req_admin(&req, fs);
	err = fs_run(&req, SPACE_ORDINARY, false, false, do_look, &o);
	return err == -ESTALE ? -ENOENT : err;
}

static int find_ids(struct fs *fs, const char *volume, const char *name, uint32_t *ret_volume,
		    uint32_t *ret_id)
{
	int err = volume_id(fs, volume, ret_volume);

	return err ? err : catalog_find(fs, *ret_volume, name, ret_id);
}

int fs_snapshot_find(struct fs *fs, const char *volume, const char *name,
		     struct fs_snapshot_info *ret_info)
{
	uint32_t vol, id;
	int err = find_ids(fs, volume, name, &vol, &id);

	return err ? err : look(fs, vol, id, ret_info);
}

int fs_snapshot_next(struct fs *fs, uint32_t volume, uint32_t after, struct fs_snapshot_info *ret_info)
{
	int err;

	do {				/* one may go while its record is read */
		err = catalog_next(fs, volume, after, SNAPSHOTS, &after);
		if (err)
			return err;
		err = look(fs, volume, after, ret_info);
	} while (err == -ENOENT);
	return err;
}

uint32_t fs_snapshot_count(struct fs *fs, uint32_t volume)
{
	return catalog_count(fs, volume);
}

/* ---- creating ----------------------------------------------------------------------------------- */

/* The list of V's snapshots is another. */
static void list_changed(struct txn *t, struct volume *v, uint64_t now)
{
	v->snapshots_changed = txn_event(t);
	v->snapshots_time = now;
}

static int root_generation(struct txn *t, const struct volume *v, uint64_t *ret)
{
	struct inode *i;
	int err = inode_get(t, v, INO_ROOT, 0, &i);

	if (!err)
		*ret = i->generation;
	return err;
}

/* A record that begins as SRC, with ROOT. */
static void record_init(struct txn *t, struct snapshot_op *o, struct volume *n, const struct volume *src,
			const char *name, uint64_t root)
{
	*n = *src;
	n->id = o->id;
	memcpy(n->uuid, o->uuid, 16);
	n->fsid = txn_event(t);
	n->created = o->now;
	n->inodes_root = root;
	n->snapshots_changed = n->snapshots_time = 0;
	n->soft = n->reserve = n->charged = n->warned = 0;
	n->physical = n->held = n->meter = 0;
	memset(n->schedule, 0, sizeof(n->schedule));
	memset(n->name, 0, sizeof(n->name));
	memcpy(n->name, name, strlen(name));
}

static int create(struct txn *t, struct snapshot_op *o)
{
	struct fs *fs = o->req->fs;
	struct volume *v, *n;
	uint64_t root, generation;
	uint32_t vol, id;
	int err = volume_id(fs, o->volume, &vol);

	if (!err && !t->apply) {
		err = catalog_find(fs, vol, o->snapshot, &id);
		err = !err ? -EEXIST : err == -ENOENT ? volume_new_id(t, fs, &o->id) : err;
	}
	if (!err)
		err = volume_slot_own(t, vol, &v);
	if (!err)
		err = volume_new(t, o->id, &n);
	if (!err)
		err = root_generation(t, v, &generation);
	if (err)
		return err;
	root = v->inodes_root;
	err = txn_share(t, &root, v->inodes_depth, TREE_INODES);
	if (err)
		return err;
	if (!t->apply) {
		record_snapshot(t, o);
		return 0;
	}
	list_changed(t, v, o->now);
	record_init(t, o, n, v, o->snapshot, root);
	n->state = VOLUME_SNAPSHOT;
	n->parent = vol;
	n->quota = 0;			/* it has none, and no exports, of its own */
	n->dedup = 0;
	memset(n->exports, 0, sizeof(n->exports));
	catalog_add(fs, n);
	snapshot_info_fill(&o->info, n, generation);
	record_snapshot(t, o);
	return 0;
}

/* ---- destroying --------------------------------------------------------------------------------- */

static int destroy(struct txn *t, struct snapshot_op *o)
{
	struct volume *v, *s;
	uint32_t vol;
	int err = t->apply ? volume_id(o->req->fs, o->volume, &vol) :
			     find_ids(o->req->fs, o->volume, o->snapshot, &vol, &o->id);

	if (!err)
		err = volume_slot_own(t, vol, &v);
	if (!err)
		err = snapshot_get(t, vol, o->id, &s);
	if (!err)
		t->owner = volume_payer(v);
	if (!err)
		err = tree_drop(t, s->inodes_root, s->inodes_depth, TREE_INODES);
	if (err)
		return err == -ESTALE ? -EDAMAGED : err;
	if (t->apply)
		list_changed(t, v, o->now);
	err = volume_forget(t, o->req->fs, o->id, o->req->fs->catalog.last_id);
	if (!err)
		record_snapshot(t, o);
	return err;
}

/* ---- restoring ---------------------------------------------------------------------------------- */

struct in_use { struct txn *t; struct snapshot_op *o; };

static int ask_back(void *arg, struct fs_id id)
{
	struct in_use *u = arg;

	if (!u->o->force)
		return -EBUSY;
	return guard_ask(u->t, u->o->req, id, FS_USE_CHANGE);
}

static int restore(struct txn *t, struct snapshot_op *o)
{
	struct fs *fs = o->req->fs;
	struct in_use in_use = { t, o };
	struct volume *v, *s;
	uint64_t root;
	uint32_t vol, id;
	int err = find_ids(fs, o->volume, o->snapshot, &vol, &id);

	if (!err && !t->apply && !t->replay)
		err = holds_each(fs, vol, ask_back, &in_use);
	if (!err)
		err = volume_slot_own(t, vol, &v);
	if (!err)
		err = snapshot_get(t, vol, id, &s);
	if (err)
		return err == -ESTALE ? -EDAMAGED : err;
	root = s->inodes_root;
	t->owner = volume_payer(v);
	err = txn_share(t, &root, s->inodes_depth, TREE_INODES);
	if (!err)
		err = tree_drop(t, v->inodes_root, v->inodes_depth, TREE_INODES);
	if (err)
		return err;
	if (!t->apply) {
		record_snapshot(t, o);
		return 0;
	}
	o->id = vol;
	v->inodes_root = root;
	v->inodes_depth = s->inodes_depth;
	v->next_ino = s->next_ino;
	v->free_ino = s->free_ino;
	v->files = s->files;
	v->mapped = s->mapped;
	quota_take_over(v, s);
	quota_warn(t, v);
	v->restored = txn_event(t);
	record_snapshot(t, o);
	return 0;
}

/* ---- cloning ------------------------------------------------------------------------------------ */

static int clone(struct txn *t, struct snapshot_op *o)
{
	struct fs *fs = o->req->fs;
	struct volume *v, *src, *n;
	uint64_t root, generation;
	uint32_t vol, snap = 0, id;
	int err = o->snapshot[0] ? find_ids(fs, o->volume, o->snapshot, &vol, &snap) :
				   volume_id(fs, o->volume, &vol);

	if (!err && !t->apply) {
		err = catalog_find(fs, 0, o->name, &id);
		err = !err ? -EEXIST : err == -ENOENT ? volume_new_id(t, fs, &o->id) : err;
	}
	/* The new record may be in a block that they are in: it moves first. */
	if (!err)
		err = volume_new(t, o->id, &n);
	if (!err)
		err = volume_get(t, vol, &v);
	src = v;
	if (!err && snap)
		err = snapshot_get(t, vol, snap, &src);
	if (!err)
		err = root_generation(t, src, &generation);
	if (err)
		return err == -ESTALE ? -EDAMAGED : err;
	root = src->inodes_root;
	err = txn_share(t, &root, src->inodes_depth, TREE_INODES);
	if (err)
		return err;
	if (!t->apply) {
		record_snapshot(t, o);
		return 0;
	}
	record_init(t, o, n, src, o->name, root);
	n->state = VOLUME_LIVE;
	n->parent = 0;
	n->origin_fsid = src->fsid;
	n->restored = txn_event(t);
	n->quota = v->quota;
	n->dedup = v->dedup;
	n->soft = v->soft;
	meter_shared(fs, vol, METER_ALL);
	if (volume_name_hidden(o->name)) {
		n->soft = 0;		/* nobody is told of what is being received */
		n->quota += v->quota ? src->mapped : 0;	/* what it was and what it becomes are both there for a while */
		quota_forget_all(n);	/* which may lie elsewhere */
	}
	memcpy(n->exports, v->exports, sizeof(n->exports));
	catalog_add(fs, n);
	volume_info_fill(&o->vinfo, n, generation);
	record_snapshot(t, o);
	return 0;
}

/* ---- all of them -------------------------------------------------------------------------------- */

int do_snapshot(struct txn *t, void *arg)
{
	static int (*const acts[])(struct txn *, struct snapshot_op *) = {
		[SNAPSHOT_CREATE] = create, [SNAPSHOT_DESTROY] = destroy,
		[SNAPSHOT_RESTORE] = restore, [SNAPSHOT_CLONE] = clone,
	};
	struct snapshot_op *o = arg;

	return acts[o->act](t, o);
}

static int run(struct snapshot_op *o, enum txn_space space)
{
	uint64_t seed[4] = { o->req->fs->cfg.seed, pool_last_seq(o->req->fs->pool), 2, 0 };

	o->now = fs_now();
	if (seed[0])
		randombytes_buf_deterministic(o->uuid, 16, (unsigned char *)seed);
	else
		secure_random(o->uuid, 16);
	return fs_run(o->req, space, true, true, do_snapshot, o);
}

int fs_snapshot_create(struct fs_req *req, const char *volume, const char *name,
		       struct fs_snapshot_info *ret_info)
{
	struct snapshot_op o = { .req = req, .act = SNAPSHOT_CREATE, .volume = volume, .snapshot = name };
	int err = volume_name_legal(name);

	if (!err)
		err = run(&o, SPACE_ORDINARY);
	if (!err && ret_info)
		*ret_info = o.info;
	return err;
}

int fs_snapshot_destroy(struct fs_req *req, const char *volume, const char *name)
{
	struct snapshot_op o = { .req = req, .act = SNAPSHOT_DESTROY, .volume = volume,
				 .snapshot = name };

	return run(&o, SPACE_PRIVILEGED);
}

int fs_volume_restore(struct fs_req *req, const char *volume, const char *snapshot, bool force)
{
	struct snapshot_op o = { .req = req, .act = SNAPSHOT_RESTORE, .volume = volume,
				 .snapshot = snapshot, .force = force };
	int err = run(&o, SPACE_DELETE);

	if (!err)
		sweep_volume_later(req->fs, o.id);
	return err;
}

int fs_volume_clone(struct fs_req *req, const char *src, const char *snapshot, const char *name,
		    struct fs_volume_info *ret_info)
{
	struct snapshot_op o = { .req = req, .act = SNAPSHOT_CLONE, .volume = src,
				 .snapshot = snapshot ? snapshot : "", .name = name };
	int err = volume_name_legal(name);

	if (!err)
		err = run(&o, SPACE_ORDINARY);
	if (err)
		return err;
	req->fs->volume_epoch++;
	sweep_volume_later(req->fs, o.id);
	if (ret_info)
		*ret_info = o.vinfo;
	return 0;
}
