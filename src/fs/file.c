/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contents of files: pages for directories, reading, writing, changing the size.
 *
 * Invariants: what lies behind a file's size reads as zeros (the tail of its last block is
 * zeroed when the size shrinks); whole blocks of zeros are holes; inode.mapped counts leaves.
 */
#include "fs/dedup.h"

#include <stdlib.h>
#include "base/loop.h"

#define NAMED_MIN (32 << 10)		/* smaller writes travel in the log record */
#define SEQUENTIAL_MIN (64 << 10)

/* ---- pages --------------------------------------------------------------------------------- */

int file_page(struct txn *t, const struct inode *ino, uint64_t index, struct block **ret)
{
	struct tree_root r = { ino->root, ino->depth };
	uint64_t ptr;
	int err = tree_lookup(t, &r, index, &ptr);

	if (err)
		return err;
	return ptr ? txn_block(t, ptr, ret) : -EDAMAGED;
}

static int own_page(struct txn *t, uint64_t *slot, uint64_t index, void *arg)
{
	return txn_own(t, slot, 0, TREE_FILE, arg);
}

int file_page_own(struct txn *t, struct inode *ino, uint64_t index, struct block **ret)
{
	struct tree_root r = { ino->root, ino->depth };
	uint64_t mapped = ino->mapped;
	int err = tree_modify(t, &r, TREE_FILE, index, 1, own_page, ret, &mapped);

	if (!err && t->apply) {
		ino->root = r.ptr;
		ino->depth = r.depth;
		ino->mapped = mapped;
	}
	return err;
}

/* ---- size ---------------------------------------------------------------------------------- */

struct zero_tail { struct volume *vol; uint64_t hint; uint32_t from; };

static int zero_tail(struct txn *t, uint64_t *slot, uint64_t index, void *arg)
{
	struct zero_tail *z = arg;
	struct block *b;
	int err;

	if (!(*slot & PTR_BLOCK_MASK))
		return 0;
	err = txn_own_data(t, slot, true, z->hint, index, false, &b);
	if (!err && t->apply)
		memset(b->data + z->from, 0, BLOCK_SIZE - z->from);
	return err;
}

int file_resize(struct txn *t, struct volume *vol, uint64_t ino, struct inode *i, uint64_t size)
{
	struct tree_root r = { i->root, i->depth };
	uint64_t mapped = i->mapped, leaves = (size + BLOCK_SIZE - 1) / BLOCK_SIZE, at;
	struct zero_tail z = { vol, file_hint(vol->id, ino), size % BLOCK_SIZE };
	int err = 0;

	if (size < i->size && r.ptr) {
		if (z.from) {
			err = tree_lookup(t, &r, leaves - 1, &at);
			if (!err && at)
				err = tree_modify(t, &r, TREE_FILE, leaves - 1, 1, zero_tail, &z, &mapped);
		}
		if (!err)
			err = tree_truncate(t, &r, TREE_FILE, leaves, &mapped);
	}
	if (!err)
		err = quota_account(t, vol, i, mapped - i->mapped, 0);
	if (err || !t->apply)
		return err;
	i->root = r.ptr;
	i->depth = r.depth;
	i->mapped = mapped;
	i->size = size;
	return 0;
}

/* ---- symlinks ------------------------------------------------------------------------------ */

int symlink_write(struct txn *t, struct inode *i, const char *target)
{
	size_t len = strlen(target);
	struct inode empty = { 0 };
	struct block *b;
	int err;

	if (len <= INODE_INLINE) {
		if (t->apply) {
			memcpy(i->inline_data, target, len);
			i->size = len;
		}
		return 0;
	}
	err = file_page_own(t, t->apply ? i : &empty, 0, &b);
	if (err || !t->apply)
		return err;
	memcpy(b->data, target, len);
	i->size = len;
	return 0;
}

struct readlink_op { struct fs_req *req; struct fs_id id; char *target; struct fs_attr *attr; };

static int do_readlink(struct txn *t, void *arg)
{
	struct readlink_op *o = arg;
	struct volume *vol;
	struct inode *i;
	struct block *b;
	int err = object_get(t, o->id, &vol, &i);

	if (err)
		return err;
	if (o->attr)
		attr_fill(o->attr, vol, o->id.ino, i);
	if (i->type != FS_LNK)
		return -EINVAL;
	if (i->size > FS_SYMLINK_MAX)
		return -EDAMAGED;
	if (i->size <= INODE_INLINE) {
		memcpy(o->target, i->inline_data, i->size);
	} else {
		err = file_page(t, i, 0, &b);
		if (err)
			return err;
		memcpy(o->target, b->data, i->size);
	}
	o->target[i->size] = 0;
	return 0;
}

int fs_readlink(struct fs_req *req, struct fs_id id, char ret_target[FS_SYMLINK_MAX + 1],
		struct fs_attr *ret_attr)
{
	struct readlink_op o = { req, id, ret_target, ret_attr };

	return fs_run(req, SPACE_ORDINARY, false, false, do_readlink, &o);
}

/* ---- reading ------------------------------------------------------------------------------- */

struct read_op {
	struct fs_req *req;
	struct fs_id id;
	uint64_t offset;
	uint32_t len;
	struct fs_read *r;
};

static void read_block(struct fs *fs, struct fs_read *r, struct block *b, uint32_t from, uint32_t n)
{
	r->iov[r->niov++] = (struct iovec){ (b ? b->data : fs->zeros) + from, n };
	if (b) {
		block_pin(b);
		r->pins[r->npins++] = b;
	}
}

static int read_blocks(struct txn *t, struct read_op *o, const struct inode *i, uint32_t len)
{
	struct tree_root root = { i->root, i->depth };
	uint64_t first = o->offset / BLOCK_SIZE, last = (o->offset + len - 1) / BLOCK_SIZE;
	uint64_t ptrs[FS_READ_IOV];
	uint32_t n = last - first + 1, at = o->offset % BLOCK_SIZE, left = len;
	int pending = 0, err;

	err = tree_lookup_range(t, &root, first, n, ptrs);
	if (err)
		return err;
	o->r->niov = o->r->npins = 0;
	blocks_prefetch(t->pool, ptrs, n);
	for (uint32_t k = 0; k < n; k++) {
		struct block *b = NULL;

		err = ptrs[k] ? txn_block(t, ptrs[k], &b) : 0;
		if (err == -ERESTART_PASS)
			pending = err;
		else if (err)
			return err;
	}
	if (pending)
		return pending;
	for (uint32_t k = 0; k < n; k++) {
		uint32_t take = BLOCK_SIZE - at < left ? BLOCK_SIZE - at : left;
		struct block *b = NULL;

		if (ptrs[k])
			txn_block(t, ptrs[k], &b);
		read_block(o->req->fs, o->r, b, at, take);
		left -= take;
		at = 0;
	}
	return 0;
}

static int do_read(struct txn *t, void *arg)
{
	struct read_op *o = arg;
	struct volume *vol;
	struct inode *i;
	uint32_t len = o->len;
	int err = object_get(t, o->id, &vol, &i);

	if (err)
		return err;
	attr_fill(&o->r->attr, vol, o->id.ino, i);
	if (i->type != FS_REG)
		return i->type == FS_DIR ? -EISDIR : -EINVAL;
	/* The owner may read his file; executing it over NFS means reading it (RFC 1813 4.4). */
	if (!is_owner(&o->req->cred, i) && !may(&o->req->cred, i, MAY_READ) &&
	    !may(&o->req->cred, i, MAY_EXEC))
		return -EACCES;
	err = guard_ask(t, o->req, o->id, FS_USE_READ);
	if (err)
		return err;
	o->r->len = 0;
	o->r->niov = o->r->npins = 0;
	o->r->eof = o->offset >= i->size || len >= i->size - o->offset;
	if (o->offset >= i->size || !len)
		return 0;
	if (len > i->size - o->offset)
		len = i->size - o->offset;
	err = read_blocks(t, o, i, len);
	if (!err)
		o->r->len = len;
	return err;
}

int fs_read(struct fs_req *req, struct fs_id id, uint64_t offset, uint32_t len, struct fs_read *ret)
{
	struct read_op o = { req, id, offset, len > FS_IO_MAX ? FS_IO_MAX : len, ret };

	ret->len = 0;
	ret->niov = ret->npins = 0;
	ret->zeros = req->fs->zeros;
	return fs_run(req, SPACE_ORDINARY, false, false, do_read, &o);
}

void fs_read_done(struct fs *fs, struct fs_read *r)
{
	for (int i = 0; i < r->npins; i++)
		block_unpin(fs->pool, r->pins[i]);
	r->npins = r->niov = 0;
}

struct seek_op { struct fs_req *req; struct fs_id id; uint64_t offset; bool data; uint64_t found; };

static int do_seek(struct txn *t, void *arg)
{
	struct seek_op *o = arg;
	struct volume *vol;
	struct inode *i;
	struct tree_root r;
	uint64_t index;
	int err = object_get(t, o->id, &vol, &i);

	if (err)
		return err;
	if (i->type != FS_REG)
		return i->type == FS_DIR ? -EISDIR : -EINVAL;
	if (!is_owner(&o->req->cred, i) && !may(&o->req->cred, i, MAY_READ))
		return -EACCES;
	err = guard_ask(t, o->req, o->id, FS_USE_READ);
	if (err)
		return err;
	if (o->offset >= i->size)
		return -ENXIO;
	r = (struct tree_root){ i->root, i->depth };
	err = tree_seek(t, &r, o->offset / BLOCK_SIZE, o->data, &index);
	if (err)
		return err;
	if (index == UINT64_MAX || index * BLOCK_SIZE >= i->size) {
		if (o->data)
			return -ENXIO;
		o->found = i->size;
		return 0;
	}
	o->found = index * BLOCK_SIZE < o->offset ? o->offset : index * BLOCK_SIZE;
	return 0;
}

int fs_seek(struct fs_req *req, struct fs_id id, uint64_t offset, bool data, uint64_t *ret_offset)
{
	struct seek_op o = { req, id, offset, data, 0 };
	int err = fs_run(req, SPACE_ORDINARY, false, false, do_seek, &o);

	if (!err)
		*ret_offset = o.found;
	return err;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* Walks an iovec array. */
struct cursor { const struct iovec *iov; int niov; size_t at; };

static void cursor_copy(struct cursor *c, uint8_t *to, size_t n)
{
	while (n) {
		size_t take = c->iov->iov_len - c->at;

		if (take > n)
			take = n;
		if (to) {
			memcpy(to, (const uint8_t *)c->iov->iov_base + c->at, take);
			to += take;
		}
		c->at += take;
		n -= take;
		if (c->at == c->iov->iov_len && c->niov > 1) {
			c->iov++;
			c->niov--;
			c->at = 0;
		}
	}
}

static bool is_zero(const uint8_t *p, size_t n)
{
	return !n || (!p[0] && !memcmp(p, p + 1, n - 1));
}

static bool cursor_zero(struct cursor *c, size_t n)
{
	bool zero = true;

	while (n) {
		size_t take = c->iov->iov_len - c->at;

		if (take > n)
			take = n;
		zero = zero && is_zero((const uint8_t *)c->iov->iov_base + c->at, take);
		c->at += take;
		n -= take;
		if (c->at == c->iov->iov_len && c->niov > 1) {
			c->iov++;
			c->niov--;
			c->at = 0;
		}
	}
	return zero;
}

static bool zero_bit(const struct write_op *o, uint32_t k) { return o->zero[k / 8] >> (k % 8) & 1; }

/* Which whole blocks are all zeros: known before the first pass, the same in replay. */
static void find_zeros(struct write_op *o)
{
	struct cursor c = { o->iov, o->niov, 0 };
	uint32_t done = 0;

	memset(o->zero, 0, sizeof(o->zero));
	for (uint32_t k = 0; k < o->nblocks; k++) {
		uint32_t at = (o->offset + done) % BLOCK_SIZE;
		uint32_t n = BLOCK_SIZE - at < o->len - done ? BLOCK_SIZE - at : o->len - done;

		if (cursor_zero(&c, n) && n == BLOCK_SIZE)
			o->zero[k / 8] |= 1 << (k % 8);
		done += n;
	}
}

struct write_walk {
	struct write_op *o;
	uint64_t first, hint;
	struct cursor c;
	uint32_t done;
};

static int punch_slot(struct txn *t, uint64_t *slot)
{
	int err;

	if (!(*slot & PTR_BLOCK_MASK))
		return 0;
	err = txn_unref(t, *slot);
	if (t->apply)
		*slot = 0;
	return err;
}

static int claim_slot(struct txn *t, uint64_t *slot, struct write_op *o)
{
	uint32_t k = o->claim_at++;

	if (k >= o->nclaims)
		return -EDAMAGED;
	return txn_claim(t, slot, o->claim_blocks[k], o->claim_crcs[k]);
}

/* The block is there already: one more pointer to it was taken. */
static int dup_slot(struct txn *t, uint64_t *slot, uint64_t ptr)
{
	uint64_t old = *slot & PTR_BLOCK_MASK;

	if (t->apply)
		*slot = ptr | PTR_DUP;
	return old ? txn_unref(t, old) : 0;
}

static int write_slot(struct txn *t, uint64_t *slot, uint64_t index, void *arg)
{
	struct write_walk *w = arg;
	struct write_op *o = w->o;
	uint32_t at = (o->offset + w->done) % BLOCK_SIZE;
	uint32_t n = BLOCK_SIZE - at < o->len - w->done ? BLOCK_SIZE - at : o->len - w->done;
	uint64_t dup = dups_ptr(o, index - w->first);
	struct block *b;
	int err;

	w->done += n;
	if (zero_bit(o, index - w->first)) {
		if (t->apply && o->iov)
			cursor_copy(&w->c, NULL, n);
		return punch_slot(t, slot);
	}
	if (!t->apply && !(*slot & PTR_BLOCK_MASK))
		o->new_blocks++;
	if (dup) {
		if (t->apply && o->iov)
			cursor_copy(&w->c, NULL, n);
		return dup_slot(t, slot, dup);
	}
	if (o->named && t->replay)
		return claim_slot(t, slot, o);
	err = txn_own_data(t, slot, n != BLOCK_SIZE, w->hint, index, o->sequential, &b);
	if (err || !t->apply)
		return err;
	cursor_copy(&w->c, b->data + at, n);
	if (o->named) {
		o->claim_blocks[o->nclaims] = b->key;
		o->claim_crcs[o->nclaims++] = txn_name_data(t, b);
	}
	return 0;
}

/* A large write looks up every block that it replaces. */
static void write_prefetch(struct txn *t, const struct tree_root *r, const struct write_walk *w)
{
	uint64_t ptrs[FS_READ_IOV];

	if (w->o->nblocks >= 16 && w->o->nblocks <= FS_READ_IOV &&
	    !tree_lookup_range(t, r, w->first, w->o->nblocks, ptrs))
		blocks_prefetch(t->pool, ptrs, w->o->nblocks);
}

int do_write(struct txn *t, void *arg)
{
	struct write_op *o = arg;
	struct write_walk w = { .o = o, .first = o->offset / BLOCK_SIZE, .c = { o->iov, o->niov, 0 } };
	struct volume *vol;
	struct inode *i;
	struct tree_root r;
	uint64_t mapped;
	int err = object_own(t, o->id, &vol, &i);

	if (err)
		return err;
	wcc_pre(&o->wcc, vol, o->id.ino, i);
	if (i->type != FS_REG)
		return i->type == FS_DIR ? -EISDIR : -EINVAL;
	if (!is_owner(&o->req->cred, i) && !may(&o->req->cred, i, MAY_WRITE))
		return -EACCES;
	if (!o->len)
		return DONE;
	err = guard_ask(t, o->req, o->id, FS_USE_CHANGE);
	if (!err && (vol->dedup || o->dups))
		err = dups_take(t, o);
	if (err)
		return err;
	w.hint = file_hint(o->id.volume, o->id.ino);
	r = (struct tree_root){ i->root, i->depth };
	mapped = i->mapped;
	o->new_blocks = 0;
	if (!t->replay)
		o->nclaims = 0;
	o->claim_at = 0;
	if (!t->apply)
		write_prefetch(t, &r, &w);
	err = tree_modify(t, &r, TREE_FILE, w.first, o->nblocks, write_slot, &w, &mapped);
	if (err)
		return err;
	if (!t->apply) {
		record_write(t, o);
		err = quota_check(t, vol, i, o->new_blocks);
	}
	if (!err)
		err = quota_account(t, vol, i, mapped - i->mapped, 0);
	if (err || !t->apply)
		return err;
	i->root = r.ptr;
	i->depth = r.depth;
	i->mapped = mapped;
	if (o->offset + o->len > i->size)
		i->size = o->offset + o->len;
	if (o->drop_suid)
		i->mode &= 01777;
	touch_data(t, i, o->now);
	wcc_post(&o->wcc, vol, o->id.ino, i);
	record_write(t, o);
	if (o->dups)
		dups_learn(o);
	return 0;
}

void write_replay_prepare(struct write_op *o)
{
	o->nblocks = (o->offset + o->len + BLOCK_SIZE - 1) / BLOCK_SIZE - o->offset / BLOCK_SIZE;
	if (!o->named)
		find_zeros(o);
}

/* Whether the write goes on where the last one to this file ended. */
static bool looks_sequential(struct fs *fs, uint64_t hint, uint64_t first, uint32_t nblocks)
{
	unsigned k = (hint * 0x9e3779b97f4a7c15ULL) >> 56;
	bool ret = fs->seq[k].hint == hint &&
		   (fs->seq[k].next == first || fs->seq[k].next == first + 1);

	fs->seq[k].hint = hint;
	fs->seq[k].next = first + nblocks;
	return ret;
}

static int write_prepare(struct write_op *o)
{
	uint64_t end = o->offset + o->len;

	o->nblocks = (end + BLOCK_SIZE - 1) / BLOCK_SIZE - o->offset / BLOCK_SIZE;
	find_zeros(o);
	o->sequential = looks_sequential(o->req->fs, file_hint(o->id.volume, o->id.ino),
					 o->offset / BLOCK_SIZE, o->nblocks) ||
			o->len >= SEQUENTIAL_MIN;
	/* Misaligned ones too (their edge blocks are copied whole): the record must fit any log. */
	o->named = o->len >= NAMED_MIN;
	if (!o->named)
		return 0;
	o->claim_blocks = malloc(o->nblocks * (sizeof(uint64_t) + sizeof(uint32_t)));
	if (!o->claim_blocks)
		return -ENOMEM;
	o->claim_crcs = (uint32_t *)(o->claim_blocks + o->nblocks);
	return 0;
}

/* Errors that may be those of blocks that were only looked at, to see if they are equal. */
static bool may_be_dups(int err)
{
	return err == -EIO || err == -EDAMAGED || err == -E2BIG || err == -ENOMEM;
}

int fs_write(struct fs_req *req, struct fs_id id, uint64_t offset, const struct iovec *iov, int niov,
	     uint32_t len, bool stable, struct fs_wcc *ret_wcc)
{
	struct write_op o = { .req = req, .id = id, .offset = offset, .iov = iov, .niov = niov,
			      .len = len, .now = fs_now(),
			      .drop_suid = !req->cred.admin && req->cred.uid };
	int err;

	if (len > FS_IO_MAX)
		return -EINVAL;
	if (offset > FS_MAX_SIZE || len > FS_MAX_SIZE - offset)
		return -EFBIG;
	err = len ? write_prepare(&o) : 0;
	if (!err)
		err = fs_run(req, space_for(req->fs, id), true, stable, do_write, &o);
	if (err < 0 && o.dups && may_be_dups(err)) {
		dups_give_up(&o);
		err = fs_run(req, space_for(req->fs, id), true, stable, do_write, &o);
	}
	dups_free(o.dups);
	free(o.claim_blocks);
	if (ret_wcc)
		*ret_wcc = o.wcc;
	return err == DONE ? 0 : err;
}
