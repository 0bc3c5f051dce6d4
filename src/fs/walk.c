/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the volume table down to an inode.  Every modifying walk starts at the table: counts
 * mean something only after every block above is owned.  The inode's block in memory is the
 * inode: there is no second copy.
 */
#include "fs/fs_int.h"

/* What load passes see where the apply pass will make a new block. */
static union { struct volume v; struct inode i; uint8_t bytes[BLOCK_SIZE]; } nothing;

/* ---- volume records ----------------------------------------------------------------------- */

static struct volume *volume_in(struct block *b, uint32_t id)
{
	return (struct volume *)b->data + (id - 1) % VOLUMES_PER_BLOCK;
}

int volume_record_get(struct txn *t, uint32_t id, struct volume **ret)
{
	struct block *b;
	uint64_t ptr;
	int err;

	if (!id)
		return -ESTALE;
	err = tree_lookup(t, pool_volumes(t->pool), (id - 1) / VOLUMES_PER_BLOCK, &ptr);
	if (err)
		return err;
	if (!ptr)
		return -ESTALE;
	err = txn_block_as(t, ptr, 0, TREE_VOLUMES, &b);
	if (err)
		return err;
	*ret = volume_in(b, id);
	return (*ret)->state != VOLUME_FREE && (*ret)->id != id ? -EDAMAGED : 0;
}

int volume_get(struct txn *t, uint32_t id, struct volume **ret)
{
	int err = volume_record_get(t, id, ret);

	if (err)
		return err;
	return (*ret)->state == VOLUME_LIVE || (*ret)->state == VOLUME_SYSTEM ? 0 : -ESTALE;
}

int snapshot_get(struct txn *t, uint32_t volume, uint32_t id, struct volume **ret)
{
	int err = volume_record_get(t, id, ret);

	if (err)
		return err;
	return (*ret)->state == VOLUME_SNAPSHOT && (*ret)->parent == volume ? 0 : -ESTALE;
}

struct own_arg { uint8_t kind; struct block *b; };

static int own_leaf(struct txn *t, uint64_t *slot, uint64_t index, void *arg)
{
	struct own_arg *o = arg;

	return txn_own(t, slot, 0, o->kind, &o->b);
}

int volume_slot_own(struct txn *t, uint32_t id, struct volume **ret)
{
	struct own_arg o = { .kind = TREE_VOLUMES };
	int err;

	t->uncounted = true;
	err = tree_modify(t, pool_volumes(t->pool), TREE_VOLUMES, (id - 1) / VOLUMES_PER_BLOCK, 1, own_leaf,
			  &o, NULL);
	t->uncounted = false;
	if (err)
		return err;
	*ret = o.b ? volume_in(o.b, id) : &nothing.v;
	return 0;
}

int volume_own(struct txn *t, uint32_t id, struct volume **ret)
{
	struct volume *v;
	int err = volume_get(t, id, &v);

	if (!err)
		t->owner = volume_payer(v);
	return err ? err : volume_slot_own(t, id, ret);
}

/* ---- inodes ------------------------------------------------------------------------------- */

static struct inode *inode_in(struct block *b, uint64_t ino)
{
	return (struct inode *)b->data + ino % INODES_PER_BLOCK;
}

int inode_get(struct txn *t, const struct volume *vol, uint64_t ino, uint64_t generation,
	      struct inode **ret)
{
	struct tree_root r = { vol->inodes_root, vol->inodes_depth };
	struct block *b;
	uint64_t ptr;
	int err = tree_lookup(t, &r, ino / INODES_PER_BLOCK, &ptr);

	if (err)
		return err;
	if (!ptr)
		return -ESTALE;
	err = txn_block_as(t, ptr, 0, TREE_INODES, &b);
	if (err)
		return err;
	*ret = inode_in(b, ino);
	if ((*ret)->type == FS_FREE || (generation && (*ret)->generation != generation))
		return -ESTALE;
	return 0;
}

int inode_slot_own(struct txn *t, struct volume *vol, uint64_t ino, struct inode **ret)
{
	struct own_arg o = { .kind = TREE_INODES };
	struct tree_root r = { vol->inodes_root, vol->inodes_depth };
	int err = tree_modify(t, &r, TREE_INODES, ino / INODES_PER_BLOCK, 1, own_leaf, &o, NULL);

	if (err)
		return err;
	if (t->apply) {
		vol->inodes_root = r.ptr;
		vol->inodes_depth = r.depth;
	}
	*ret = o.b ? inode_in(o.b, ino) : &nothing.i;
	return 0;
}

int inode_own(struct txn *t, struct volume *vol, uint64_t ino, uint64_t generation,
	      struct inode **ret)
{
	int err = inode_get(t, vol, ino, generation, ret);

	return err ? err : inode_slot_own(t, vol, ino, ret);
}

/* Never on a device: an inode that stands for a directory's FS_SNAPSHOT_DIR. */
#define INODE_SNAPDIR (1u << 31)

int snapdir_get(struct txn *t, const struct volume *vol, uint64_t ino, uint64_t generation,
		struct inode **ret)
{
	static struct inode snapdir;	/* one pass looks at one of them, and doesn't wait */
	struct inode *dir;
	int err = inode_get(t, vol, ino, generation, &dir);

	if (err)
		return err;
	if (dir->type != FS_DIR || vol->state != VOLUME_LIVE)
		return -ESTALE;
	snapdir = (struct inode){ .type = FS_DIR, .flags = INODE_SNAPDIR, .mode = dir->mode & 0555,
		.nlink = 2, .uid = dir->uid, .gid = dir->gid, .generation = dir->generation,
		.parent = ino, .btime = vol->created, .change = vol->snapshots_changed };
	snapdir.atime = snapdir.mtime = snapdir.ctime = vol->snapshots_time ? vol->snapshots_time :
							 vol->created;
	*ret = &snapdir;
	return 0;
}

int snapshot_dir(struct txn *t, const struct volume *snap, struct fs_id dir, struct inode **ret)
{
	/* Most of those that are missing are younger, which nothing has to be read for. */
	int err = dir.generation > snap->fsid ? -ESTALE : inode_get(t, snap, dir.ino, dir.generation, ret);

	return !err && (*ret)->type != FS_DIR ? -ESTALE : err;
}

int object_get(struct txn *t, struct fs_id id, struct volume **ret_vol, struct inode **ret)
{
	bool frozen = id.snapshot && id.snapshot != FS_SNAPDIR;
	int err = frozen ? snapshot_get(t, id.volume, id.snapshot, ret_vol) :
			   volume_get(t, id.volume, ret_vol);

	if (err)
		return err;
	if (id.snapshot == FS_SNAPDIR)
		return snapdir_get(t, *ret_vol, id.ino, id.generation, ret);
	return inode_get(t, *ret_vol, id.ino, id.generation, ret);
}

int object_own(struct txn *t, struct fs_id id, struct volume **ret_vol, struct inode **ret)
{
	int err = id.snapshot ? -EROFS : volume_own(t, id.volume, ret_vol);

	return err ? err : inode_own(t, *ret_vol, id.ino, id.generation, ret);
}

void ino_cursor_init(struct ino_cursor *c, const struct volume *vol)
{
	c->free = vol->free_ino;
	c->next = vol->next_ino;
	c->owned = 0;
	c->mark = c->lap = 0;
	c->power = 1;
}

/* The next one of the list of free inodes.  A list that leads back into itself is found out by
 * remembering one of it at ever greater distances (Brent). */
static int ino_next(struct ino_cursor *c, const struct volume *vol, const struct inode *i)
{
	uint64_t next = i->entries;

	if (i->type != FS_FREE || (next && (next < INO_FIRST || next >= vol->next_ino)))
		return -EDAMAGED;
	if (next && (next == c->mark || next == c->free))
		return -EDAMAGED;
	if (++c->lap == c->power) {
		c->mark = c->free;
		c->power *= 2;
		c->lap = 0;
	}
	c->free = next;
	return 0;
}

/* Load pass: inode INO as it is, in a block whose copying has been counted already. */
static int inode_peek(struct txn *t, struct volume *vol, uint64_t ino, struct inode **ret)
{
	int err = inode_get(t, vol, ino, 0, ret);

	if (err != -ESTALE)
		return err ? err : -EDAMAGED;	/* in use, and on the free list */
	if (ino >= vol->next_ino)
		*ret = &nothing.i;
	return 0;
}

int ino_take(struct txn *t, struct volume *vol, struct ino_cursor *c, uint64_t *ret_ino,
	     struct inode **ret)
{
	uint64_t ino = c->free ? c->free : c->next;
	bool counted = !t->apply && c->owned == ino / INODES_PER_BLOCK + 1;
	int err = counted ? inode_peek(t, vol, ino, ret) : inode_slot_own(t, vol, ino, ret);

	if (err)
		return err;
	c->owned = ino / INODES_PER_BLOCK + 1;
	if (c->free)
		err = ino_next(c, vol, *ret);
	else
		c->next++;
	if (err)
		return err;
	if (t->apply) {
		vol->free_ino = c->free;
		vol->next_ino = c->next;
		vol->files++;
		memset(*ret, 0, INODE_SIZE);
	}
	*ret_ino = ino;
	return 0;
}

int inode_release(struct txn *t, struct volume *vol, uint64_t ino, struct inode *i)
{
	int err = i->root ? tree_drop(t, i->root, i->depth, TREE_FILE) : 0;

	if (!err && i->xattr_root)
		err = tree_drop(t, i->xattr_root, i->xattr_depth, TREE_FILE);
	if (!err)
		err = quota_account(t, vol, i, -(int64_t)(i->mapped + i->xattr_blocks), -1);
	if (!err)
		err = quota_dir_gone(t, vol, i);
	if (err || !t->apply)
		return err;
	vol->files--;
	memset(i, 0, INODE_SIZE);
	i->entries = vol->free_ino;
	vol->free_ino = ino;
	return 0;
}

uint64_t file_hint(uint32_t volume, uint64_t ino)
{
	return (uint64_t)volume << 44 ^ ino;
}

struct dir dir_of(struct txn *t, const struct volume *vol, struct inode *i, uint64_t ino)
{
	return (struct dir){ .t = t, .inode = i, .hash_key = vol->hash_key,
			     .hint = file_hint(vol->id, ino) };
}

/* ---- permissions -------------------------------------------------------------------------- */

bool in_group(const struct fs_cred *c, uint32_t gid)
{
	if (c->gid == gid)
		return true;
	for (uint32_t i = 0; i < c->ngroups; i++)
		if (c->groups[i] == gid)
			return true;
	return false;
}

bool is_owner(const struct fs_cred *c, const struct inode *i)
{
	return c->admin || !c->uid || c->uid == i->uid;
}

bool may(const struct fs_cred *c, const struct inode *i, unsigned want)
{
	unsigned bits;

	if (c->admin)
		return true;
	if (!c->uid)	/* root: all but executing what nobody may execute */
		return !(want & MAY_EXEC) || i->type == FS_DIR || (i->mode & 0111);
	bits = c->uid == i->uid ? i->mode >> 6 : in_group(c, i->gid) ? i->mode >> 3 : i->mode;
	return (bits & want) == want;
}

bool sticky_forbids(const struct fs_cred *c, const struct inode *dir, const struct inode *i)
{
	return (dir->mode & 01000) && !is_owner(c, dir) && !is_owner(c, i);
}

/* ---- attributes --------------------------------------------------------------------------- */

static struct fs_time time_of(int64_t ns)
{
	int64_t sec = ns / 1000000000, rest = ns % 1000000000;

	if (rest < 0) {
		rest += 1000000000;
		sec--;
	}
	return (struct fs_time){ sec, rest };
}

struct fs_id id_of(const struct volume *vol, uint64_t ino, const struct inode *i)
{
	struct fs_id id = { .volume = vol->id, .ino = ino, .generation = i->generation };

	if (vol->state == VOLUME_SNAPSHOT) {
		id.volume = vol->parent;
		id.snapshot = vol->id;
	} else if (i->flags & INODE_SNAPDIR) {
		id.snapshot = FS_SNAPDIR;
	}
	return id;
}

/* A restore makes all files as they were, but what changes must never seem to go back. */
static uint64_t change_of(const struct volume *vol, const struct inode *i)
{
	return i->change > vol->restored ? i->change : vol->restored;
}

void attr_fill(struct fs_attr *a, const struct volume *vol, uint64_t ino, const struct inode *i)
{
	*a = (struct fs_attr){
		.id = id_of(vol, ino, i), .type = i->type, .mode = i->mode, .nlink = i->nlink,
		.uid = i->uid, .gid = i->gid, .rdev_major = i->rdev_major,
		.rdev_minor = i->rdev_minor, .size = i->size,
		.mapped_bytes = i->mapped * BLOCK_SIZE, .xattr_bytes = i->xattr_blocks * BLOCK_SIZE,
		.fsid = vol->fsid, .change = change_of(vol, i),
		.atime = time_of(i->atime), .mtime = time_of(i->mtime),
		.ctime = time_of(i->ctime), .btime = time_of(i->btime),
		.origin = { i->origin_volume, 0, i->origin_ino, i->origin_generation },
	};
}

void wcc_pre(struct fs_wcc *w, const struct volume *vol, uint64_t ino, const struct inode *i)
{
	w->pre_valid = true;
	w->pre_size = i->size;
	w->pre_change = change_of(vol, i);
	w->pre_mtime = time_of(i->mtime);
	w->pre_ctime = time_of(i->ctime);
	wcc_post(w, vol, ino, i);
}

void wcc_post(struct fs_wcc *w, const struct volume *vol, uint64_t ino, const struct inode *i)
{
	w->post_valid = true;
	attr_fill(&w->post, vol, ino, i);
}

void touch_meta(struct txn *t, struct inode *i, int64_t now)
{
	i->ctime = now;
	i->change = txn_event(t);
}

void touch_data(struct txn *t, struct inode *i, int64_t now)
{
	i->mtime = now;
	touch_meta(t, i, now);
}
