/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is there room for a range of a file?  A copy-on-write store has nothing to put aside for it: each
 * block gets its place when it is written.  So this is a question, and a change of the size.
 *
 * How many holes there are is only counted where it matters: not when the whole range would fit,
 * nor when not even the blocks would that cannot be there yet.
 */
#include "fs/fs_int.h"

#define GIB_BLOCKS ((uint64_t)INDEX_SLOTS * INDEX_SLOTS)

struct look {
	struct fs_req *req;
	struct fs_id id;
	uint64_t first, count;		/* blocks; do_count() goes on behind what it has counted */
	uint64_t holes;			/* there may be so many */
	uint64_t mapped;		/* by the whole file */
	uint64_t quota_left;
	bool held;			/* that is what the limit of what the volume holds leaves */
};

static int do_look(struct txn *t, void *arg)
{
	struct look *l = arg;
	struct volume *vol;
	struct inode *i;
	int err = l->id.snapshot ? -EROFS : object_get(t, l->id, &vol, &i);

	if (err)
		return err;
	if (i->type != FS_REG)
		return i->type == FS_DIR ? -EISDIR : -EINVAL;
	if (!is_owner(&l->req->cred, i) && !may(&l->req->cred, i, MAY_WRITE))
		return -EACCES;
	l->mapped = i->mapped;
	err = quota_left(t, vol, i, &l->quota_left);
	if (!err)
		l->held = l->quota_left == volume_physical_left(vol);
	return err;
}

/* One step: from the next block that is there on, to the next GiB. */
static int do_count(struct txn *t, void *arg)
{
	struct look *l = arg, next = *l;
	uint64_t end = l->first + l->count, at, stop, mapped;
	struct tree_root r;
	struct volume *vol;
	struct inode *i;
	int err = object_get(t, l->id, &vol, &i);

	if (err)
		return err;
	r = (struct tree_root){ i->root, i->depth };
	err = tree_seek(t, &r, l->first, true, &at);
	if (err)
		return err;
	at = at < end ? at : end;
	stop = (at / GIB_BLOCKS + 1) * GIB_BLOCKS;
	stop = stop < end ? stop : end;
	mapped = 0;
	if (at < end)
		err = tree_count(t, &r, at, stop - at, &mapped);
	if (err)
		return err;
	next.first = stop;
	next.count = end - stop;
	next.holes -= mapped;
	*l = next;
	return 0;
}

uint64_t fs_space_left(struct fs *fs, uint32_t volume)
{
	struct pool_status p;

	pool_status(fs->pool, &p);
	p.free_blocks += p.pending_blocks;
	p.reserved_blocks += pool_held_from(fs->pool, volume);
	return p.free_blocks > p.reserved_blocks ? p.free_blocks - p.reserved_blocks : 0;
}

/* Index blocks come along with the data. */
static bool fits(uint64_t blocks, uint64_t left)
{
	return blocks + blocks / INDEX_SLOTS + TREE_DEPTH_MAX <= left;
}

/* Whatever can be freed without anybody's doing is freed first. */
static int space_check(struct fs *fs, uint32_t volume, uint64_t blocks)
{
	int err;

	if (fits(blocks, fs_space_left(fs, volume)))
		return 0;
	while (pool_ask_holder(fs->pool))
		;
	err = fs_reap_all(fs);
	if (!err)
		err = fs_checkpoint(fs);
	if (err)
		return err;
	return fits(blocks, fs_space_left(fs, volume)) ? 0 : -ENOSPC;
}

static int room_for(struct fs_req *req, struct look *l)
{
	uint64_t least = l->count > l->mapped ? l->count - l->mapped : 0;
	int err = 0;

	if (least > l->quota_left)
		return -EDQUOT;
	if (l->count <= l->quota_left && fits(l->count, fs_space_left(req->fs, l->id.volume)))
		return 0;
	err = space_check(req->fs, l->id.volume, least);
	while (!err && l->count)
		err = fs_run(req, SPACE_ORDINARY, false, false, do_count, l);
	if (err)
		return err;
	return l->holes > l->quota_left ? -EDQUOT : space_check(req->fs, l->id.volume, l->holes);
}

/* What is being freed, or is others' as well by now, makes room. */
static int look_for_room(struct fs_req *req, const struct look *what)
{
	uint64_t until_ns = 0;
	struct look l;
	int err;

	do {
		l = *what;
		err = fs_run(req, SPACE_ORDINARY, false, false, do_look, &l);
		if (!err)
			err = room_for(req, &l);
	} while (err == -EDQUOT && l.held && meter_make_room(req->fs, &until_ns));
	if (err == -EDQUOT && l.held)
		meter_want(req->fs, l.id.volume);
	return err;
}

int fs_allocate(struct fs_req *req, struct fs_id id, uint64_t offset, uint64_t len,
		struct fs_wcc *ret_wcc)
{
	struct look l = { .req = req, .id = id, .first = offset / BLOCK_SIZE };
	struct setattr_op o = { .req = req, .id = id, .grow_only = true, .now = fs_now(),
				.set = { .mask = FS_SET_SIZE, .size = offset + len } };
	int err;

	if (!len)
		return -EINVAL;
	if (offset > FS_MAX_SIZE || len > FS_MAX_SIZE - offset)
		return -EFBIG;
	l.holes = l.count = (offset + len + BLOCK_SIZE - 1) / BLOCK_SIZE - l.first;
	err = look_for_room(req, &l);
	if (!err)
		err = fs_run(req, space_for(req->fs, id), true, true, do_setattr, &o);
	if (ret_wcc)
		*ret_wcc = o.wcc;
	return err == DONE ? 0 : err;
}
