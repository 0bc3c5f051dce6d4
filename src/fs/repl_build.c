/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hidden volumes, and how one becomes a volume that everybody sees: see repl.h.
 *
 *     hidden record ──> inode file            VOLUME record ──> inode file <── SNAPSHOT record
 *                                    ──>      (new: the same record, with the name; else VOLUME's own,
 *                                              which lets go of what it led to, and HIDDEN's is no more)
 */
#include "fs/fs_int.h"
#include "fs/repl.h"

#include <sodium.h>
#include <stdio.h>
#include "base/rng.h"

#define LIVE (1u << VOLUME_LIVE)

bool volume_name_hidden(const char *s)
{
	size_t n = sizeof(FS_HIDDEN_PREFIX) - 1;

	return !strncmp(s, FS_HIDDEN_PREFIX, n) && strlen(s) == n + 16 &&
	       strspn(s + n, "0123456789abcdef") == 16;
}

/* ---- hidden volumes ---------------------------------------------------------------------------- */

/* UUIDs and keys for what is new, the same in each run with one seed. */
static void random_fill(struct fs *fs, uint64_t salt, void *p, size_t n)
{
	uint64_t seed[4] = { fs->cfg.seed, pool_last_seq(fs->pool), salt, 0 };

	if (seed[0])
		randombytes_buf_deterministic(p, n, (unsigned char *)seed);
	else
		secure_random(p, n);
}

int fs_hidden_create(struct fs_req *req, const char *name, struct fs_volume_info *ret_info)
{
	struct volume_op o = { .req = req, .name = name, .now = fs_now() };
	int err;

	assert(volume_name_hidden(name));
	random_fill(req->fs, 3, o.uuid, 16);
	random_fill(req->fs, 4, o.hash_key, 16);
	err = fs_run(req, SPACE_ORDINARY, true, true, do_volume_create, &o);
	if (!err && ret_info)
		*ret_info = o.info;
	return err;
}

int fs_hidden_clone(struct fs_req *req, const char *volume, const char *snapshot, const char *name,
		    struct fs_volume_info *ret_info)
{
	struct snapshot_op o = { .req = req, .act = SNAPSHOT_CLONE, .volume = volume, .snapshot = snapshot,
				 .name = name, .now = fs_now() };
	int err;

	assert(volume_name_hidden(name));
	random_fill(req->fs, 5, o.uuid, 16);
	err = fs_run(req, SPACE_ORDINARY, true, true, do_snapshot, &o);
	if (err)
		return err;
	sweep_volume_later(req->fs, o.id);
	if (ret_info)
		*ret_info = o.vinfo;
	return 0;
}

int fs_hidden_find(struct fs *fs, const char *name, struct fs_volume_info *ret_info)
{
	uint32_t id;
	int err = volume_name_hidden(name) ? catalog_find(fs, 0, name, &id) : -ENOENT;

	return err ? err : volume_get_any(fs, id, ret_info);
}

int fs_system_find(struct fs_req *req, const char *name, struct fs_id *ret_dir)
{
	struct fs_name n = { name, (uint32_t)strlen(name) };
	struct fs_volume_info v = { 0 };
	struct fs_attr a;
	int err;

	do {
		err = volume_next_any(req->fs, v.id, &v);
	} while (!err && strcmp(v.name, VOLUME_SYSTEM_NAME));
	if (!err)
		err = fs_lookup(req, v.root, n, &a, NULL);
	if (!err)
		*ret_dir = a.id;
	return err;
}

int fs_hidden_destroy(struct fs_req *req, const char *name)
{
	struct volume_op o = { .req = req, .name = name, .now = fs_now() };
	struct fs_snapshot_info s;
	uint32_t id;
	int err = volume_name_hidden(name) ? catalog_find(req->fs, 0, name, &id) : -ENOENT;

	while (!err) {
		err = fs_snapshot_next(req->fs, id, 0, &s);
		if (!err)
			err = fs_snapshot_destroy(req, name, s.name);
	}
	return err == -ENOENT ? fs_run(req, SPACE_PRIVILEGED, true, true, do_volume_destroy, &o) : err;
}

/* ---- log records ------------------------------------------------------------------------------- */

/* As they lie in the log (docs/format.md). */
struct attach_payload {
	char hidden[64], volume[64], snapshot[64];
	uint8_t uuid[16];
	uint32_t base, force;
};
_Static_assert(sizeof(struct attach_payload) == 216, "attach_payload");

struct set_payload {
	uint32_t volume, snapshot;
	uint64_t ino, generation;
	uint32_t mode, uid, gid, origin_volume;
	int64_t atime, mtime, ctime, btime;
	uint64_t origin_ino, origin_generation;
};
_Static_assert(sizeof(struct set_payload) == 88, "set_payload");

static void log_payload(struct txn *t, unsigned type, const void *payload, size_t len, uint64_t now)
{
	struct txn_record rec = { .type = type, .head = payload, .head_len = len, .time_ns = now };

	if (!t->apply)
		t->need_log += txn_log_need(len, 0);
	else if (t->replay)
		t->seq = t->replay_seq;
	else
		txn_log(t, &rec);
}

/* ---- attaching --------------------------------------------------------------------------------- */

struct attach_op {
	struct fs_req *req;
	struct attach_payload p;
	uint64_t now;
	uint32_t hidden, volume, id;	/* id: the new snapshot's */
	struct fs_snapshot_info info;
};

struct in_use { struct txn *t; struct attach_op *o; };

/* With force, what was promised to others is asked back first. */
static int ask_back(void *arg, struct fs_id id)
{
	struct in_use *u = arg;

	return u->o->p.force ? guard_ask(u->t, u->o->req, id, FS_USE_CHANGE) : -EBUSY;
}

/* A new volume is the hidden one. */
static int find_target(struct txn *t, struct attach_op *o)
{
	struct in_use in_use = { t, o };
	struct fs *fs = o->req->fs;
	uint32_t id;
	int err;

	o->volume = o->hidden;
	if (!o->p.base) {
		err = catalog_find(fs, 0, o->p.volume, &id);
		return !err ? -EEXIST : err == -ENOENT ? 0 : err;
	}
	err = catalog_find(fs, 0, o->p.volume, &o->volume);
	if (!err) {
		err = catalog_find(fs, o->volume, o->p.snapshot, &id);
		err = !err ? -EEXIST : err == -ENOENT ? 0 : err;
	}
	if (!err && !t->replay)
		err = holds_each(fs, o->volume, ask_back, &in_use);
	return err;
}

/* Load pass: who is who. */
static int find_both(struct txn *t, struct attach_op *o)
{
	struct fs *fs = o->req->fs;
	int err = catalog_find(fs, 0, o->p.hidden, &o->hidden);

	if (!err && catalog_count(fs, o->hidden))
		return -ENOTEMPTY;
	return err ? err : find_target(t, o);
}

static int base_check(struct txn *t, const struct attach_op *o, const struct volume *v)
{
	struct volume *b;
	int err = snapshot_get(t, o->volume, o->p.base, &b);

	if (err)
		return err == -ESTALE ? -ENOENT : err;
	return o->p.force || b->inodes_root == v->inodes_root ? 0 : -ENOTSYNC;
}

/* What was above the quota already may stay so, and become less. */
static int quota_fits(const struct txn *t, const struct volume *v, const struct volume *h)
{
	return !t->replay && v->quota && h->mapped > v->quota && h->mapped > v->mapped ? -EDQUOT : 0;
}

/* V takes over what H leads to. */
static int take_over(struct txn *t, struct attach_op *o, struct volume *v, const struct volume *h)
{
	int err;

	t->owner = volume_payer(v);
	err = tree_drop(t, v->inodes_root, v->inodes_depth, TREE_INODES);

	if (t->apply) {
		if (v->meter)		/* what it gets was taken by another */
			v->meter |= METER_STALE;
		meter_shared(o->req->fs, v->id, METER_ALL);
		v->inodes_root = h->inodes_root;
		v->inodes_depth = h->inodes_depth;
		v->next_ino = h->next_ino;
		v->free_ino = h->free_ino;
		v->files = h->files;
		v->mapped = h->mapped;
		quota_take_over(v, h);
		quota_warn(t, v);
		v->restored = txn_event(t);
	}
	return err ? err : volume_forget(t, o->req->fs, o->hidden, o->id);
}

static void fill(struct txn *t, struct attach_op *o, struct volume *v, struct volume *s, uint64_t root)
{
	v->snapshots_changed = txn_event(t);
	v->snapshots_time = o->now;
	*s = *v;
	s->state = VOLUME_SNAPSHOT;
	s->id = o->id;
	s->parent = v->id;
	memcpy(s->uuid, o->p.uuid, 16);
	s->fsid = txn_event(t);
	s->created = o->now;
	s->inodes_root = root;
	s->snapshots_changed = s->snapshots_time = 0;
	s->quota = s->soft = s->reserve = s->charged = s->warned = 0;
	s->physical = s->held = s->meter = 0;
	memset(s->exports, 0, sizeof(s->exports));
	memset(s->schedule, 0, sizeof(s->schedule));
	memset(s->name, 0, sizeof(s->name));
	memcpy(s->name, o->p.snapshot, strlen(o->p.snapshot));
	catalog_add(o->req->fs, s);
}

static int do_attach(struct txn *t, void *arg)
{
	struct attach_op *o = arg;
	struct fs *fs = o->req->fs;
	struct volume *v, *h, *s, from;
	struct inode *i;
	uint64_t root;
	int err = t->apply ? 0 : find_both(t, o);

	if (!err && !t->apply)
		err = volume_new_id(t, fs, &o->id);
	if (!err)
		err = volume_slot_own(t, o->volume, &v);
	if (!err)
		err = volume_slot_own(t, o->hidden, &h);
	if (!err)
		err = volume_new(t, o->id, &s);
	if (!err && o->p.base)
		err = base_check(t, o, v);
	if (!err && o->p.base)
		err = quota_fits(t, v, h);
	if (!err)
		err = inode_get(t, h, INO_ROOT, 0, &i);
	if (err)
		return err;
	from = *h;
	root = from.inodes_root;
	err = txn_share(t, &root, from.inodes_depth, TREE_INODES);
	if (!err && o->p.base)
		err = take_over(t, o, v, &from);
	if (err)
		return err;
	if (!t->apply) {
		log_payload(t, RECORD_ATTACH, &o->p, sizeof(o->p), o->now);
		return 0;
	}
	if (!o->p.base) {
		catalog_rename(fs, v, o->p.volume);
		memset(v->name, 0, sizeof(v->name));
		memcpy(v->name, o->p.volume, strlen(o->p.volume));
	}
	fill(t, o, v, s, root);
	snapshot_info_fill(&o->info, s, i->generation);
	log_payload(t, RECORD_ATTACH, &o->p, sizeof(o->p), o->now);
	return 0;
}

static int do_attach_check(struct txn *t, void *arg)
{
	struct attach_op *o = arg;
	struct volume *v;
	int err = catalog_find(o->req->fs, 0, o->p.hidden, &o->hidden);

	if (!err)
		err = find_target(t, o);
	if (err || !o->p.base)
		return err;
	err = volume_get(t, o->volume, &v);
	return err ? err : base_check(t, o, v);
}

static int attach_prepare(struct attach_op *o, const struct fs_attach *a)
{
	int err = volume_name_legal(a->volume);

	if (!err)
		err = volume_name_legal(a->snapshot);
	if (!err && !volume_name_hidden(a->hidden))
		err = -EINVAL;
	if (err)
		return err;
	snprintf(o->p.hidden, sizeof(o->p.hidden), "%s", a->hidden);
	snprintf(o->p.volume, sizeof(o->p.volume), "%s", a->volume);
	snprintf(o->p.snapshot, sizeof(o->p.snapshot), "%s", a->snapshot);
	memcpy(o->p.uuid, a->uuid, 16);
	o->p.base = a->base;
	o->p.force = a->force;
	return 0;
}

int fs_attach_check(struct fs_req *req, const struct fs_attach *a)
{
	struct attach_op o = { .req = req };
	int err = attach_prepare(&o, a);

	return err ? err : fs_run(req, SPACE_ORDINARY, false, false, do_attach_check, &o);
}

int fs_attach(struct fs_req *req, const struct fs_attach *a, struct fs_snapshot_info *ret_info)
{
	struct attach_op o = { .req = req, .now = fs_now() };
	int err = attach_prepare(&o, a);

	if (!err)
		err = fs_run(req, SPACE_DELETE, true, true, do_attach, &o);
	if (err)
		return err;
	req->fs->volume_epoch++;
	*ret_info = o.info;
	return 0;
}

/* ---- attributes -------------------------------------------------------------------------------- */

struct set_op {
	struct fs_req *req;
	struct set_payload p;
	uint64_t now;
};

static int do_inode_set(struct txn *t, void *arg)
{
	struct set_op *o = arg;
	const struct set_payload *p = &o->p;
	struct volume *vol;
	struct inode *i;
	int err = object_own(t, (struct fs_id){ p->volume, p->snapshot, p->ino, p->generation }, &vol, &i);

	if (err)
		return err;
	if (!t->apply) {
		log_payload(t, RECORD_INODE_SET, p, sizeof(*p), o->now);
		return 0;
	}
	i->mode = p->mode & 07777;
	i->uid = p->uid;
	i->gid = p->gid;
	i->atime = p->atime;
	i->mtime = p->mtime;
	i->ctime = p->ctime;
	i->btime = p->btime;
	i->origin_volume = p->origin_volume;
	i->origin_ino = p->origin_ino;
	i->origin_generation = p->origin_generation;
	i->change = txn_event(t);
	log_payload(t, RECORD_INODE_SET, p, sizeof(*p), o->now);	/* its event is over then */
	return 0;
}

int fs_inode_set(struct fs_req *req, struct fs_id id, const struct fs_inode_set *set)
{
	struct set_op o = { .req = req, .now = fs_now(), .p = {
		.volume = id.volume, .snapshot = id.snapshot, .ino = id.ino, .generation = id.generation,
		.mode = set->mode, .uid = set->uid, .gid = set->gid,
		.atime = set->atime, .mtime = set->mtime, .ctime = set->ctime, .btime = set->btime,
		.origin_volume = set->origin.volume, .origin_ino = set->origin.ino,
		.origin_generation = set->origin.generation } };

	return fs_run(req, SPACE_ORDINARY, true, true, do_inode_set, &o);
}

/* ---- replay ------------------------------------------------------------------------------------ */

static int run_replay(struct fs_req *req, const struct log_record *rec,
		      int (*fn)(struct txn *, void *), void *arg)
{
	struct txn t;
	int err;

	txn_begin(&t, req->fs->pool);
	t.replay = true;
	t.replay_seq = rec->seq;
	t.replay_time_ns = rec->time_ns;
	t.space = SPACE_PRIVILEGED;
	err = txn_run(&t, true, fn, arg);
	txn_end(&t);
	return err;
}

int replay_attach(struct fs_req *req, const struct log_record *rec, const void *payload, size_t len)
{
	struct attach_op o = { .req = req, .now = rec->time_ns };

	if (len != sizeof(o.p))
		return -EDAMAGED;
	memcpy(&o.p, payload, sizeof(o.p));
	if (o.p.hidden[63] || o.p.volume[63] || o.p.snapshot[63] || !volume_name_hidden(o.p.hidden) ||
	    volume_name_legal(o.p.volume) || volume_name_legal(o.p.snapshot))
		return -EDAMAGED;
	return run_replay(req, rec, do_attach, &o);
}

int replay_inode_set(struct fs_req *req, const struct log_record *rec, const void *payload, size_t len)
{
	struct set_op o = { .req = req, .now = rec->time_ns };

	if (len != sizeof(o.p))
		return -EDAMAGED;
	memcpy(&o.p, payload, sizeof(o.p));
	return run_replay(req, rec, do_inode_set, &o);
}
