/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes: file systems inside a pool. */
#include "fs/fs_int.h"
#include "fs/repl.h"

#include <sodium.h>
#include <stdio.h>
#include "base/rng.h"

/* Which volumes are meant, by the state of their records. */
#define USERS (1u << VOLUME_LIVE)
#define HIDDEN (1u << VOLUME_SYSTEM)

int volume_id(struct fs *fs, const char *name, uint32_t *ret_id)
{
	/* The hidden one has a name that no other may have. */
	return strcmp(name, VOLUME_SYSTEM_NAME) ? catalog_find(fs, 0, name, ret_id) : -ENOENT;
}

void volume_info_fill(struct fs_volume_info *info, const struct volume *v, uint64_t root_generation)
{
	memset(info, 0, sizeof(*info));
	info->id = v->id;
	snprintf(info->name, sizeof(info->name), "%.*s", FS_VOLUME_NAME_MAX, v->name);
	memcpy(info->uuid, v->uuid, 16);
	info->fsid = v->fsid;
	info->created_ns = v->created;
	info->files = v->files;
	info->mapped_blocks = v->mapped;
	info->quota_blocks = v->quota;
	info->dedup = v->dedup;
	info->soft_blocks = v->soft;
	info->reserve_blocks = v->reserve;
	info->reserve_left_blocks = volume_reserve_left(v);
	info->physical_blocks = v->physical;
	info->held_blocks = v->physical ? volume_held(v) : 0;
	info->held_stale = v->physical && v->meter & METER_STALE;
	info->quota_dirs = v->quota_dirs;
	snprintf(info->exports, sizeof(info->exports), "%.*s", FS_EXPORTS_MAX, v->exports);
	snprintf(info->schedule, sizeof(info->schedule), "%.*s", FS_SCHEDULE_MAX, v->schedule);
	info->root = (struct fs_id){ v->id, 0, FS_ROOT_INO, root_generation };
}

/* ---- finding ---------------------------------------------------------------------------------- */

struct find_op {
	uint32_t id;
	unsigned states;
	struct fs_volume_info *info;
};

static int do_find(struct txn *t, void *arg)
{
	struct find_op *o = arg;
	struct volume *v;
	struct inode *root;
	int err = volume_get(t, o->id, &v);

	if (!err && (!(o->states >> v->state & 1) ||
		     (o->states == USERS && volume_name_hidden(v->name))))
		err = -ENOENT;
	if (err)
		return err;
	err = inode_get(t, v, INO_ROOT, 0, &root);
	if (err && err != -ESTALE && err != -EDAMAGED && err != -EIO)
		return err;
	/* A volume whose root is damaged is there all the same: it hides none of those after it. */
	volume_info_fill(o->info, v, err ? 0 : root->generation);
	return 0;
}

static int get(struct fs *fs, uint32_t id, unsigned states, struct fs_volume_info *ret_info)
{
	struct find_op o = { id, states, ret_info };
	struct fs_req req;
	int err;

	fs_req_admin(&req, fs);
	err = fs_run(&req, SPACE_ORDINARY, false, false, do_find, &o);
	return err == -ESTALE ? -ENOENT : err;
}

static int next(struct fs *fs, uint32_t after, unsigned states, struct fs_volume_info *ret_info)
{
	uint32_t id = after;
	int err;

	do {				/* one may go while its record is read */
		err = catalog_next(fs, 0, id, states, &id);
		if (err)
			return err;
		err = get(fs, id, states, ret_info);
	} while (err == -ENOENT);
	return err;
}

int fs_volume_find(struct fs *fs, const char *name, struct fs_volume_info *ret_info)
{
	uint32_t id;
	int err = volume_id(fs, name, &id);

	return err ? err : get(fs, id, USERS, ret_info);
}

int fs_volume_get(struct fs *fs, uint32_t id, struct fs_volume_info *ret_info)
{
	return get(fs, id, USERS, ret_info);
}

int fs_volume_next(struct fs *fs, uint32_t after, struct fs_volume_info *ret_info)
{
	return next(fs, after, USERS, ret_info);
}

int volume_get_any(struct fs *fs, uint32_t id, struct fs_volume_info *ret_info)
{
	return get(fs, id, USERS | HIDDEN, ret_info);
}

int volume_next_any(struct fs *fs, uint32_t after, struct fs_volume_info *ret_info)
{
	return next(fs, after, USERS | HIDDEN, ret_info);
}

/* ---- records that come and go ------------------------------------------------------------------ */

int volume_new_id(struct txn *t, struct fs *fs, uint32_t *ret_id)
{
	if (fs->catalog.last_id >= UINT32_MAX / 2)
		return -ENOSPC;
	*ret_id = fs->catalog.last_id + 1;
	return catalog_reserve(fs);
}

static uint64_t leaf_of(uint32_t id) { return (id - 1) / VOLUMES_PER_BLOCK; }

/* The leaf of record ID goes, which holds nothing else; but never the last of the table.  It was taken for
 * nobody: nobody gets it back, in the background either. */
static int drop_leaf(struct txn *t, uint32_t id)
{
	uint64_t any = UINT64_MAX;	/* how many leaves there are in all is nobody's business */
	uint32_t owner = t->owner;
	int err;

	t->uncounted = true;
	t->owner = 0;
	err = tree_punch(t, pool_volumes(t->pool), TREE_VOLUMES, leaf_of(id), 1, &any);
	t->owner = owner;
	t->uncounted = false;
	return err;
}

static bool unused(const struct volume *v)
{
	return v->state == VOLUME_FREE;
}

/* The records of the last leaf may be free by now; it isn't the last any more. */
static int leave_last(struct txn *t, uint32_t new_id)
{
	struct volume *a, *b;
	int err;

	if (new_id <= VOLUMES_PER_BLOCK || leaf_of(new_id) == leaf_of(new_id - 1))
		return 0;
	err = volume_record_get(t, new_id - 1, &a);
	if (!err)
		err = volume_record_get(t, new_id - 2, &b);
	if (err)
		return err == -ESTALE ? 0 : err;
	return unused(a) && unused(b) ? drop_leaf(t, new_id - 1) : 0;
}

int volume_new(struct txn *t, uint32_t id, struct volume **ret)
{
	int err = volume_slot_own(t, id, ret);

	return err ? err : leave_last(t, id);
}

int volume_forget(struct txn *t, struct fs *fs, uint32_t id, uint32_t last_id)
{
	uint32_t sibling = ((id - 1) ^ 1) + 1;
	struct volume *v, *other;
	int err = volume_slot_own(t, id, &v);

	if (!err)
		err = volume_record_get(t, sibling, &other);
	if (err)
		return err;
	if (t->apply) {
		catalog_remove(fs, v);
		memset(v, 0, sizeof(*v));
		v->id = id;
	}
	return unused(other) && leaf_of(id) != leaf_of(last_id) ? drop_leaf(t, id) : 0;
}

/* ---- creating ------------------------------------------------------------------------------- */

/* A name is also a path component of mounts, and "VOLUME:/path" and "VOLUME@SNAP" are written. */
int volume_name_legal(const char *s)
{
	size_t n = strlen(s);

	if (!n || n > FS_VOLUME_NAME_MAX)
		return n ? -ENAMETOOLONG : -EINVAL;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = s[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
		    !(i && (c == '-' || c == '_' || c == '.')))
			return -EINVAL;
	}
	return 0;
}

/* A directory of a new volume. */
static int make_dir(struct txn *t, struct volume *v, uint64_t ino, uint32_t mode, uint64_t now)
{
	struct inode *i, fresh = { .type = FS_DIR };
	struct dir d;
	int err = inode_slot_own(t, v, ino, &i);

	if (err)
		return err;
	if (t->apply) {
		memset(i, 0, sizeof(*i));
		i->type = FS_DIR;
		i->mode = mode;
		i->nlink = 2;
		i->atime = i->mtime = i->ctime = i->btime = now;
		i->generation = i->change = txn_event(t);
		i->parent = FS_ROOT_INO;
	}
	d = dir_of(t, v, t->apply ? i : &fresh, ino);
	err = dir_init(&d);
	if (!err && t->apply)
		v->mapped += i->mapped;
	return err;
}

int do_volume_create(struct txn *t, void *arg)
{
	struct volume_op *o = arg;
	struct volume *v, fresh;
	struct fs *fs = o->req->fs;
	uint32_t id;
	int err;

	if (!t->apply) {
		err = catalog_find(fs, 0, o->name, &id);
		if (err != -ENOENT)
			return err ? err : -EEXIST;
		err = volume_new_id(t, fs, &o->id);
		if (err)
			return err;
		record_volume_create(t, o);
	}
	err = volume_new(t, o->id, &v);
	if (err)
		return err;
	if (!t->apply) {
		memset(&fresh, 0, sizeof(fresh));
		err = make_dir(t, &fresh, INO_ROOT, 0755, o->now);
		return err ? err : make_dir(t, &fresh, INO_ORPHANS, 0700, o->now);
	}
	memset(v, 0, sizeof(*v));
	v->state = strcmp(o->name, VOLUME_SYSTEM_NAME) ? VOLUME_LIVE : VOLUME_SYSTEM;
	v->id = o->id;
	memcpy(v->uuid, o->uuid, 16);
	memcpy(v->hash_key, o->hash_key, 16);
	v->fsid = txn_event(t);
	v->created = o->now;
	v->next_ino = INO_FIRST;
	v->files = 2;
	memcpy(v->name, o->name, strlen(o->name) + 1);
	make_dir(t, v, INO_ROOT, 0755, o->now);
	make_dir(t, v, INO_ORPHANS, 0700, o->now);
	catalog_add(fs, v);
	volume_info_fill(&o->info, v, txn_event(t));
	record_volume_create(t, o);
	return 0;
}

static int create(struct fs_req *req, const char *name, enum txn_space space,
		  struct fs_volume_info *ret_info)
{
	struct volume_op o = { .req = req, .name = name, .now = fs_now() };
	uint64_t seed[4] = { req->fs->cfg.seed, pool_last_seq(req->fs->pool), 0, 0 };
	int err;

	if (seed[0]) {
		randombytes_buf_deterministic(o.uuid, 16, (unsigned char *)seed);
		seed[2] = 1;
		randombytes_buf_deterministic(o.hash_key, 16, (unsigned char *)seed);
	} else {
		secure_random(o.uuid, 16);
		secure_random(o.hash_key, 16);
	}
	err = fs_run(req, space, true, true, do_volume_create, &o);
	if (!err && ret_info)
		*ret_info = o.info;
	return err;
}

int fs_volume_create(struct fs_req *req, const char *name, struct fs_volume_info *ret_info)
{
	int err = volume_name_legal(name);

	if (!err)
		err = create(req, name, SPACE_ORDINARY, ret_info);
	if (!err)
		req->fs->volume_epoch++;
	return err;
}

/* ---- the hidden volume ------------------------------------------------------------------------ */

static int system_volume(struct fs_req *req, struct fs_volume_info *info)
{
	int err = next(req->fs, 0, HIDDEN, info);

	if (err == -ENOENT) {
		err = create(req, VOLUME_SYSTEM_NAME, SPACE_DELETE, info);
		if (err == -EEXIST)		/* somebody else did, meanwhile */
			err = next(req->fs, 0, HIDDEN, info);
	}
	if (!err)
		req->fs->system_volume = info->id;
	return err;
}

static int system_dir(struct fs_req *req, struct fs_name name, struct fs_attr *ret_attr)
{
	struct fs_create how = { .type = FS_DIR, .how = FS_CREATE_GUARDED,
				 .set = { .mask = FS_SET_MODE, .mode = 0700 } };
	struct fs_volume_info info;
	int err = system_volume(req, &info);

	if (!err)
		err = fs_lookup(req, info.root, name, ret_attr, NULL);
	if (err != -ENOENT)
		return err;
	err = fs_create(req, info.root, name, &how, ret_attr, NULL);
	return err == -EEXIST ? fs_lookup(req, info.root, name, ret_attr, NULL) : err;
}

int fs_system_dir(struct fs_req *req, const char *name, struct fs_id *ret_dir)
{
	struct fs_req admin;
	struct fs_attr a;
	int err;

	fs_req_admin(&admin, req->fs);
	err = system_dir(&admin, (struct fs_name){ name, strlen(name) }, &a);
	if (err)
		return err;
	if (admin.stable_seq > req->stable_seq)
		req->stable_seq = admin.stable_seq;
	if (a.type != FS_DIR)
		return -ENOTDIR;
	*ret_dir = a.id;
	return 0;
}

/* ---- changing and destroying ------------------------------------------------------------------ */

int do_volume_destroy(struct txn *t, void *arg)
{
	struct volume_op *o = arg;
	struct volume *v;
	uint32_t id = o->id;		/* as the load pass has found it */
	int err = t->apply ? 0 : volume_id(o->req->fs, o->name, &id);

	o->id = id;
	if (!err && catalog_count(o->req->fs, id))
		err = -ENOTEMPTY;
	if (!err)
		err = volume_get(t, id, &v);
	if (!err && v->inodes_root)
		err = tree_drop(t, v->inodes_root, v->inodes_depth, TREE_INODES);
	if (!err)
		err = volume_forget(t, o->req->fs, id, o->req->fs->catalog.last_id);
	if (err)
		return err;
	if (t->apply)
		pool_unhold(t->pool, id);
	record_volume_destroy(t, o);
	return 0;
}

int fs_volume_destroy(struct fs_req *req, const char *name)
{
	struct volume_op o = { .req = req, .name = name, .now = fs_now() };
	int err = fs_run(req, SPACE_PRIVILEGED, true, true, do_volume_destroy, &o);

	if (!err)
		req->fs->volume_epoch++;
	return err;
}

/* Load pass: is there room for what is to be reserved, and does the use fit what is to be allowed? */
static int space_check(struct txn *t, struct volume_op *o, const struct volume *v)
{
	uint64_t quota = o->quota >= 0 ? (uint64_t)o->quota : v->quota;
	uint64_t soft = o->soft >= 0 ? (uint64_t)o->soft : v->soft, left = volume_reserve_left(v);

	if ((o->quota > 0 || o->soft > 0) && quota && soft > quota)
		return -ERANGE;
	if (o->strict && o->quota > 0 && v->mapped > quota)
		return -EDQUOT;
	if (o->reserve > 0 && !pool_hold_room(t->pool, v->id))
		return -ENFILE;
	if (o->reserve > 0 && !t->replay)
		t->hold = (uint64_t)o->reserve + (v->reserve ? 0 : HOLD_SLACK) - (v->reserve ? left : 0);
	if ((int64_t)t->hold < 0)
		t->hold = 0;		/* less than it has */
	if (o->reserve >= 0 && v->reserve && (uint64_t)o->reserve <= left && !t->replay)
		t->space = SPACE_DELETE;	/* it makes room */
	return meter_load(t, o, v);
}

static void reserve_set(struct txn *t, struct volume *v, uint64_t reserve)
{
	v->reserve = reserve;
	v->charged = 0;
	if (reserve)
		pool_hold(t->pool, v->id, reserve);
	else
		pool_unhold(t->pool, v->id);
}

int do_volume_set(struct txn *t, void *arg)
{
	struct volume_op *o = arg;
	struct volume *v;
	uint32_t id;
	int err = volume_id(o->req->fs, o->name, &id);

	if (!err)
		err = volume_slot_own(t, id, &v);
	if (!err && !t->apply)
		err = space_check(t, o, v);
	if (err)
		return err;
	record_volume_set(t, o);
	if (!t->apply)
		return 0;
	if (o->soft >= 0) {
		v->soft = o->soft;
		quota_warn(t, v);
	}
	if (o->reserve >= 0)
		reserve_set(t, v, o->reserve);
	meter_apply(o, v);
	if (o->exports) {
		memset(v->exports, 0, sizeof(v->exports));
		memcpy(v->exports, o->exports, strlen(o->exports));
	}
	if (o->quota >= 0)
		v->quota = o->quota;
	if (o->dedup)
		v->dedup = !!(o->dedup & VOLUME_DEDUP_ON);
	if (o->schedule) {
		memset(v->schedule, 0, sizeof(v->schedule));
		memcpy(v->schedule, o->schedule, strlen(o->schedule));
	}
	return 0;
}

int fs_volume_limit(struct fs_req *req, const char *name, const struct fs_limits *l, const bool *stop)
{
	struct volume_op o = { .req = req, .name = name, .quota = l->quota_blocks, .soft = l->soft_blocks,
			       .reserve = l->reserve_blocks, .limit_given = l->physical_blocks >= 0,
			       .limit = l->physical_blocks, .strict = true, .now = fs_now() };
	int err = o.reserve > 0 || o.soft > 0 ? pool_require(req->fs->pool, POOL_QUOTAS) : 0;

	if (!err && l->physical_blocks > 0)
		err = meter_limit(&o, stop);
	else if (!err)
		err = fs_run(req, SPACE_ORDINARY, true, true, do_volume_set, &o);
	if (!err)
		req->fs->volume_epoch++;
	return err;
}

int fs_volume_set_space(struct fs_req *req, const char *name, int64_t quota_blocks, int64_t soft_blocks,
			int64_t reserve_blocks)
{
	const struct fs_limits l = { quota_blocks, soft_blocks, reserve_blocks, -1 };

	return fs_volume_limit(req, name, &l, NULL);
}

int fs_volume_set_schedule(struct fs_req *req, const char *name, const char *schedule)
{
	struct volume_op o = { .req = req, .name = name, .schedule = schedule, .quota = -1, .soft = -1,
			       .reserve = -1, .now = fs_now() };

	return strlen(schedule) > FS_SCHEDULE_MAX ? -ENAMETOOLONG :
	       fs_run(req, SPACE_ORDINARY, true, true, do_volume_set, &o);
}

int fs_volume_set_dedup(struct fs_req *req, const char *name, bool on)
{
	struct volume_op o = { .req = req, .name = name, .quota = -1, .soft = -1, .reserve = -1, .now = fs_now(),
			       .dedup = VOLUME_DEDUP_SET | (on ? VOLUME_DEDUP_ON : 0) };

	return fs_run(req, SPACE_ORDINARY, true, true, do_volume_set, &o);
}

int fs_volume_set(struct fs_req *req, const char *name, const char *exports, int64_t quota_blocks)
{
	struct volume_op o = { .req = req, .name = name, .exports = exports, .quota = quota_blocks, .soft = -1,
			       .reserve = -1, .now = fs_now() };
	int err;

	if (exports && strlen(exports) > FS_EXPORTS_MAX)
		return -ENAMETOOLONG;
	err = fs_run(req, SPACE_ORDINARY, true, true, do_volume_set, &o);
	if (!err)
		req->fs->volume_epoch++;
	return err;
}
