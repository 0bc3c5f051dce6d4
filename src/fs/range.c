/* SPDX-License-Identifier: Apache-2.0 */
/* Clones of ranges, and holes. */
#include "fs/fs_int.h"

static bool aligned(uint64_t v) { return !(v % BLOCK_SIZE); }

/* The same in a snapshot is another tree. */
static bool same_file(const struct range_op *o)
{
	return o->src.ino == o->dst.ino && !o->src.snapshot;
}

/* What RFC 7862 section 15.13 and FICLONERANGE ask for. */
static int range_check(struct range_op *o, const struct inode *src, const struct inode *dst)
{
	const struct fs_cred *c = &o->req->cred;
	bool same = same_file(o);

	if (src->type != FS_REG || dst->type != FS_REG)
		return src->type == FS_DIR || dst->type == FS_DIR ? -EISDIR : -EINVAL;
	if (!is_owner(c, src) && !may(c, src, MAY_READ))
		return -EACCES;
	if (!is_owner(c, dst) && !may(c, dst, MAY_WRITE))
		return -EACCES;
	if (!aligned(o->src_offset) || !aligned(o->dst_offset) || o->src_offset > src->size ||
	    o->len > src->size - o->src_offset)
		return -EINVAL;
	if (o->dst_offset > FS_MAX_SIZE || o->len > FS_MAX_SIZE - o->dst_offset)
		return -EFBIG;
	if (!aligned(o->len) && (o->src_offset + o->len != src->size ||
				 o->dst_offset + o->len < dst->size))
		return -EINVAL;
	if (same && o->src_offset < o->dst_offset + o->len && o->dst_offset < o->src_offset + o->len)
		return -EINVAL;
	return 0;
}

/* The whole file: one more pointer to its root. */
static int share_all(struct txn *t, struct inode *dst, const struct inode *src)
{
	uint64_t root = src->root;
	int err = root ? txn_share(t, &root, src->depth, TREE_FILE) : 0;

	if (!err && dst->root)
		err = tree_drop(t, dst->root, dst->depth, TREE_FILE);
	if (err || !t->apply)
		return err;
	dst->root = root;
	dst->depth = src->depth;
	dst->mapped = src->mapped;
	return 0;
}

/* *MAPPED: how many blocks of DST will be mapped then. */
static int share_part(struct txn *t, struct range_op *o, struct inode *dst, const struct inode *src,
		      uint64_t *mapped)
{
	struct tree_root from = { src->root, src->depth }, to = { dst->root, dst->depth };
	struct tree_range range = { o->src_offset / BLOCK_SIZE, o->dst_offset / BLOCK_SIZE,
				    (o->len + BLOCK_SIZE - 1) / BLOCK_SIZE, FS_RANGE_PIECES };
	bool same = same_file(o);
	uint64_t done = 0;
	int err = tree_share_range(t, same ? &to : &from, &to, TREE_FILE, &range, mapped, &done);

	if (err)
		return err;
	o->done = done * BLOCK_SIZE < o->len ? done * BLOCK_SIZE : o->len;
	if (t->apply) {
		dst->root = to.ptr;
		dst->depth = to.depth;
		dst->mapped = *mapped;
	}
	return 0;
}

#define ASK_MAX (1ull << 26)		/* blocks: 256 GiB, 256 index blocks of each file */

/* Load pass of the first of several steps: is there room for all of them?  Of larger ranges that is seen when
 * it comes: one pass can't hold all that would have to be counted. */
static int ask_for_all(struct txn *t, const struct range_op *o, const struct volume *vol, const struct inode *dst,
		       const struct inode *src)
{
	struct tree_root from = { src->root, src->depth }, to = { dst->root, dst->depth };
	uint64_t n = (o->len + BLOCK_SIZE - 1) / BLOCK_SIZE, come = 0, go = 0;
	int err, err2;

	if (n > ASK_MAX)
		return 0;
	err = tree_count(t, &from, o->src_offset / BLOCK_SIZE, n, &come);
	err2 = tree_count(t, &to, o->dst_offset / BLOCK_SIZE, n, &go);
	if (err || err2)
		return err && err != -ERESTART_PASS ? err : err2 ? err2 : err;
	return come > go ? quota_check(t, vol, dst, come - go) : 0;
}

int do_clone_range(struct txn *t, void *arg)
{
	struct range_op *o = arg;
	struct volume *vol, *src_vol;
	struct inode *dst, *i, src;
	uint64_t mapped, before;
	int err;

	if (o->src.volume != o->dst.volume)
		return -EXDEV;
	err = object_own(t, o->dst, &vol, &dst);
	if (!err)
		err = object_get(t, o->src, &src_vol, &i);
	if (err)
		return err;
	src = *i;
	if (!t->apply) {
		wcc_pre(&o->wcc, vol, o->dst.ino, dst);
		err = range_check(o, &src, dst);
		if (err)
			return err;
		if (!o->len)
			return DONE;
		err = guard_ask(t, o->req, o->src, FS_USE_READ);
		if (!err)
			err = guard_ask(t, o->req, o->dst, FS_USE_CHANGE);
		if (err)
			return err;
		record_clone_range(t, o);
	}
	before = mapped = dst->mapped;
	o->done = o->len;
	if (!o->src_offset && !o->dst_offset && o->len == src.size && dst->size <= src.size) {
		err = share_all(t, dst, &src);
		mapped = src.mapped;
	} else {
		err = share_part(t, o, dst, &src, &mapped);
	}
	if (err)
		return err;
	if (!t->apply && mapped > before)
		err = quota_check(t, vol, dst, mapped - before);
	if (!err && !t->apply && !t->replay && o->done < o->len && !o->begun)
		err = ask_for_all(t, o, vol, dst, &src);
	if (!err)
		err = quota_account(t, vol, dst, mapped - before, 0);
	if (err || !t->apply)
		return err;
	if (o->dst_offset + o->done > dst->size)
		dst->size = o->dst_offset + o->done;
	if (o->drop_suid)
		dst->mode &= 01777;
	touch_data(t, dst, o->now);
	wcc_post(&o->wcc, vol, o->dst.ino, dst);
	record_clone_range(t, o);
	return 0;
}

int fs_clone_range(struct fs_req *req, struct fs_id src, uint64_t src_offset, struct fs_id dst,
		   uint64_t dst_offset, uint64_t len, struct fs_wcc *ret_dst_wcc)
{
	struct range_op o = { .req = req, .src = src, .dst = dst, .src_offset = src_offset,
			      .dst_offset = dst_offset, .len = len, .now = fs_now(),
			      .drop_suid = !req->cred.admin && req->cred.uid };
	struct fs_wcc wcc = { 0 };
	struct fs_attr a;
	int err = 0;

	if (!len) {
		err = fs_getattr(req, src, &a);
		if (!err && src_offset > a.size)
			err = -EINVAL;
		if (!err)
			o.len = a.size - src_offset;
	}
	while (!err) {
		err = fs_run(req, SPACE_ORDINARY, true, true, do_clone_range, &o);
		if (!wcc.pre_valid)
			wcc = o.wcc;
		wcc.post = o.wcc.post;
		wcc.post_valid = o.wcc.post_valid;
		if (err || o.done == o.len)
			break;
		o.begun = true;
		o.src_offset += o.done;
		o.dst_offset += o.done;
		o.len -= o.done;
	}
	if (ret_dst_wcc)
		*ret_dst_wcc = wcc;
	return err == DONE ? 0 : err;
}

/* ---- holes ------------------------------------------------------------------------------- */

struct zero_part { uint64_t hint; uint32_t from, to; };

static int zero_slot(struct txn *t, uint64_t *slot, uint64_t index, void *arg)
{
	struct zero_part *z = arg;
	struct block *b;
	int err;

	if (!(*slot & PTR_BLOCK_MASK))
		return 0;
	err = txn_own_data(t, slot, true, z->hint, index, false, &b);
	if (!err && t->apply)
		memset(b->data + z->from, 0, z->to - z->from);
	return err;
}

/* Part of one block; a hole is left one. */
static int zero_bytes(struct txn *t, struct tree_root *r, uint64_t at, uint32_t n, uint64_t hint,
		      uint64_t *mapped)
{
	struct zero_part z = { hint, at % BLOCK_SIZE, at % BLOCK_SIZE + n };
	uint64_t ptr;
	int err = tree_lookup(t, r, at / BLOCK_SIZE, &ptr);

	if (err || !ptr)
		return err;
	t->limited = true;		/* block by block, all that is shared could be copied */
	return tree_modify(t, r, TREE_FILE, at / BLOCK_SIZE, 1, zero_slot, &z, mapped);
}

static int punch_tree(struct txn *t, struct punch_op *o, struct tree_root *r, uint64_t end,
		      uint64_t *mapped)
{
	uint64_t hint = file_hint(o->id.volume, o->id.ino), at = o->offset;
	uint64_t first = (at + BLOCK_SIZE - 1) / BLOCK_SIZE, last = end / BLOCK_SIZE;
	int err = 0;

	if (at % BLOCK_SIZE) {
		uint64_t stop = first * BLOCK_SIZE < end ? first * BLOCK_SIZE : end;

		err = zero_bytes(t, r, at, stop - at, hint, mapped);
	}
	if (!err && end % BLOCK_SIZE && last >= first)
		err = zero_bytes(t, r, last * BLOCK_SIZE, end % BLOCK_SIZE, hint, mapped);
	if (!err && last > first)
		err = tree_punch(t, r, TREE_FILE, first, last - first, mapped);
	return err;
}

int do_punch(struct txn *t, void *arg)
{
	struct punch_op *o = arg;
	struct volume *vol;
	struct inode *i;
	struct tree_root r;
	uint64_t mapped, end;
	int err = object_own(t, o->id, &vol, &i);

	if (err)
		return err;
	if (!t->apply) {
		wcc_pre(&o->wcc, vol, o->id.ino, i);
		if (i->type != FS_REG)
			return i->type == FS_DIR ? -EISDIR : -EINVAL;
		if (!is_owner(&o->req->cred, i) && !may(&o->req->cred, i, MAY_WRITE))
			return -EACCES;
		if (o->offset >= i->size || !o->len)
			return DONE;
		err = guard_ask(t, o->req, o->id, FS_USE_CHANGE);
		if (err)
			return err;
		record_punch(t, o);
	}
	/* Behind the end there is nothing: the last block may go as a whole. */
	end = o->len < i->size - o->offset ? o->offset + o->len :
	      (i->size + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
	r = (struct tree_root){ i->root, i->depth };
	mapped = i->mapped;
	err = punch_tree(t, o, &r, end, &mapped);
	if (!err)
		err = quota_account(t, vol, i, mapped - i->mapped, 0);
	if (err || !t->apply)
		return err;
	i->root = r.ptr;
	i->depth = r.depth;
	i->mapped = mapped;
	if (o->drop_suid)
		i->mode &= 01777;
	touch_data(t, i, o->now);
	wcc_post(&o->wcc, vol, o->id.ino, i);
	record_punch(t, o);
	return 0;
}

int fs_punch(struct fs_req *req, struct fs_id id, uint64_t offset, uint64_t len,
	     struct fs_wcc *ret_wcc)
{
	struct punch_op o = { .req = req, .id = id, .offset = offset, .len = len, .now = fs_now(),
			      .drop_suid = !req->cred.admin && req->cred.uid };
	int err = fs_run(req, SPACE_DELETE, true, true, do_punch, &o);

	if (ret_wcc)
		*ret_wcc = o.wcc;
	return err == DONE ? 0 : err;
}
