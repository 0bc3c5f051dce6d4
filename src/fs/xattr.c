/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes.  All those of a file are one piece of memory (format.h) in the leaves of a tree
 * of their own, whose root clones share.  A change builds the whole anew and owns the leaves that
 * differ: with 68 KiB at most, nothing cleverer pays.
 *
 * Their leaves count for the volume's quota, but not for what the file itself has mapped.
 */
#include "fs/fs_int.h"

#include <stdlib.h>

struct xattr_buf {
	union {
		struct xattr_head head;
		uint8_t bytes[XATTR_BLOCKS_MAX * BLOCK_SIZE];
	};
};

/* ---- the format --------------------------------------------------------------------------------- */

static const struct xattr_entry *entry_at(const void *all, uint32_t at)
{
	return (const struct xattr_entry *)((const uint8_t *)all + at);
}

static uint32_t entry_size(uint32_t name_len, uint32_t value_len)
{
	return (sizeof(struct xattr_entry) + name_len + value_len + 7) & ~7u;
}

static uint32_t size_of(const struct xattr_entry *e)
{
	return entry_size(e->name_len, e->value_len);
}

static const uint8_t *value_of(const struct xattr_entry *e)
{
	return (const uint8_t *)e->name + e->name_len;
}

static bool zeros(const void *p, const void *end)
{
	const uint8_t *b = p;

	while (b < (const uint8_t *)end && !*b)
		b++;
	return b == end;
}

static const char *entry_wrong(const struct xattr_entry *e, size_t left, uint64_t after)
{
	if (left < sizeof(*e) || e->value_len > FS_XATTR_VALUE_MAX || size_of(e) > left)
		return "an extended attribute is cut off";
	if (!e->name_len || memchr(e->name, 0, e->name_len))
		return "an extended attribute has no proper name";
	if (e->cookie <= after)
		return "extended attributes are out of order";
	if (e->reserved[0] || e->reserved[1] || e->reserved[2] ||
	    !zeros(value_of(e) + e->value_len, (const uint8_t *)e + size_of(e)))
		return "an extended attribute has reserved bytes that are not zero";
	return NULL;
}

const char *xattr_verify(const void *all, size_t bytes)
{
	const struct xattr_head *h = all;
	uint32_t at = sizeof(*h), n = 0;
	uint64_t last = 0;

	if (h->magic != XATTR_MAGIC || h->reserved || h->bytes <= sizeof(*h) || h->bytes > bytes ||
	    h->bytes + BLOCK_SIZE <= bytes)
		return "not extended attributes";
	for (; at < h->bytes; n++) {
		const struct xattr_entry *e = entry_at(all, at);
		const char *why = entry_wrong(e, h->bytes - at, last);

		if (why)
			return why;
		last = e->cookie;
		at += size_of(e);
	}
	if (n != h->count)
		return "the number of extended attributes is wrong";
	return zeros((const uint8_t *)all + at, (const uint8_t *)all + bytes) ? NULL :
	       "what is behind the last extended attribute is not zero";
}

/* Its place; 0: there is none. */
static uint32_t find(const struct xattr_buf *b, struct fs_name name)
{
	for (uint32_t at = sizeof(b->head); at < b->head.bytes; at += size_of(entry_at(b, at))) {
		const struct xattr_entry *e = entry_at(b, at);

		if (e->name_len == name.len && !memcmp(e->name, name.s, name.len))
			return at;
	}
	return 0;
}

/* ---- reading ------------------------------------------------------------------------------------ */

static int load(struct txn *t, const struct inode *i, struct xattr_buf *ret)
{
	const struct inode tree = { .root = i->xattr_root, .depth = i->xattr_depth };
	const struct tree_root root = { i->xattr_root, i->xattr_depth };
	uint64_t behind;
	int pending = 0, err;

	ret->head.bytes = 0;
	if (i->xattr_blocks > XATTR_BLOCKS_MAX)
		return -EDAMAGED;
	for (unsigned k = 0; k < i->xattr_blocks; k++) {
		struct block *b;

		err = file_page(t, &tree, k, &b);
		if (err == -ERESTART_PASS)
			pending = err;
		else if (err)
			return err;
		else
			memcpy(ret->bytes + k * BLOCK_SIZE, b->data, BLOCK_SIZE);
	}
	if (pending || !i->xattr_blocks)
		return pending;
	err = tree_seek(t, &root, i->xattr_blocks, true, &behind);
	if (err)
		return err;
	if (behind != UINT64_MAX)
		return -EDAMAGED;
	return xattr_verify(ret, i->xattr_blocks * BLOCK_SIZE) ? -EDAMAGED : 0;
}

static int allowed(const struct fs_req *req, const struct inode *i, unsigned want)
{
	if (i->type != FS_REG && i->type != FS_DIR)
		return -EPERM;
	return may(&req->cred, i, want) ? 0 : -EACCES;
}

static int xattr_name_check(struct fs_name n)
{
	if (!n.len || memchr(n.s, 0, n.len))
		return -EINVAL;
	return n.len > FS_NAME_MAX ? -ENAMETOOLONG : 0;
}

struct xattr_read {
	struct fs_req *req;
	struct fs_id id;
	struct xattr_buf *all;
};

/* Load passes of those that only read. */
static int read_all(struct txn *t, struct xattr_read *r)
{
	struct volume *vol;
	struct inode *i;
	int err = object_get(t, r->id, &vol, &i);

	if (!err)
		err = allowed(r->req, i, MAY_READ);
	return err ? err : load(t, i, r->all);
}

static int do_read_all(struct txn *t, void *arg)
{
	return read_all(t, arg);
}

static int fetch(struct fs_req *req, struct fs_id id, struct xattr_buf **ret)
{
	struct xattr_read r = { req, id, malloc(sizeof(*r.all)) };
	int err = r.all ? fs_run(req, SPACE_ORDINARY, false, false, do_read_all, &r) : -ENOMEM;

	if (err)
		free(r.all);
	else
		*ret = r.all;
	return err;
}

int fs_xattr_get(struct fs_req *req, struct fs_id id, struct fs_name name, void *buf, uint32_t cap,
		 uint32_t *ret_len)
{
	struct xattr_buf *all;
	const struct xattr_entry *e;
	uint32_t at;
	int err = xattr_name_check(name);

	if (!err)
		err = fetch(req, id, &all);
	if (err)
		return err;
	at = find(all, name);
	e = entry_at(all, at);
	if (!at) {
		err = -ENODATA;
	} else if (cap && e->value_len > cap) {
		err = -ERANGE;
	} else {
		*ret_len = e->value_len;
		if (cap)
			memcpy(buf, value_of(e), e->value_len);
	}
	free(all);
	return err;
}

int fs_xattr_list(struct fs_req *req, struct fs_id id, uint64_t cookie, struct fs_xattr_list *list)
{
	struct xattr_buf *all;
	int err = fetch(req, id, &all);

	if (err)
		return err;
	list->n = list->len = 0;
	list->cookie = cookie;
	list->eof = true;
	for (uint32_t at = sizeof(all->head); at < all->head.bytes; at += size_of(entry_at(all, at))) {
		const struct xattr_entry *e = entry_at(all, at);

		if (e->cookie <= cookie)
			continue;
		if (e->name_len + 1u > list->cap - list->len) {
			list->eof = false;
			break;
		}
		memcpy(list->buf + list->len, e->name, e->name_len);
		list->buf[list->len + e->name_len] = 0;
		list->len += e->name_len + 1;
		list->cookie = e->cookie;
		list->n++;
	}
	free(all);
	return list->eof || list->n ? 0 : -ERANGE;
}

/* ---- changing ----------------------------------------------------------------------------------- */

static void append(struct xattr_buf *b, const void *p, uint32_t n)
{
	memcpy(b->bytes + b->head.bytes, p, n);
	b->head.bytes += n;
}

static void append_new(struct xattr_buf *b, const struct xattr_op *o, uint64_t cookie)
{
	const struct xattr_entry e = { .cookie = cookie, .value_len = o->len, .name_len = o->name.len };
	static const uint8_t pad[8];

	append(b, &e, sizeof(e));
	append(b, o->name.s, o->name.len);
	append(b, o->value, o->len);
	append(b, pad, entry_size(o->name.len, o->len) - sizeof(e) - o->name.len - o->len);
}

/* All attributes as they will be: o->then.  AT: where the one in question is now, 0 if it isn't. */
static int build(struct xattr_op *o, uint32_t at, uint64_t event)
{
	const struct xattr_buf *old = o->now_there;
	const struct xattr_entry *e = entry_at(old, at);
	uint32_t end = old->head.bytes ? old->head.bytes : sizeof(old->head), cut = at ? at : end;
	uint32_t behind = at ? at + size_of(e) : end;
	struct xattr_buf *b = o->then;

	if (cut + end - behind + (o->value ? entry_size(o->name.len, o->len) : 0) > sizeof(b->bytes))
		return -ENOSPC;
	b->head = (struct xattr_head){ .magic = XATTR_MAGIC, .bytes = sizeof(b->head),
		.count = (old->head.bytes ? old->head.count : 0) - (at != 0) + (o->value != NULL) };
	append(b, old->bytes + sizeof(b->head), cut - sizeof(b->head));
	if (o->value)
		append_new(b, o, at ? e->cookie : event);
	append(b, old->bytes + behind, end - behind);
	memset(b->bytes + b->head.bytes, 0, -b->head.bytes % BLOCK_SIZE);
	return 0;
}

struct leaves { const struct xattr_op *o; unsigned old; };

static int write_leaf(struct txn *t, uint64_t *slot, uint64_t index, void *arg)
{
	const struct leaves *l = arg;
	const uint8_t *data = l->o->then->bytes + index * BLOCK_SIZE;
	struct block *b;
	int err;

	if (index < l->old && !memcmp(data, l->o->now_there->bytes + index * BLOCK_SIZE, BLOCK_SIZE))
		return 0;
	err = txn_own(t, slot, 0, TREE_FILE, &b);
	if (!err && t->apply)
		memcpy(b->data, data, BLOCK_SIZE);
	return err;
}

/* Makes o->then of LEAVES leaves what the tree holds. */
static int store(struct txn *t, struct xattr_op *o, struct volume *vol, struct inode *i, unsigned leaves)
{
	struct tree_root r = { i->xattr_root, i->xattr_depth };
	struct leaves l = { o, i->xattr_blocks };
	uint64_t mapped = i->xattr_blocks;
	int err = leaves ? tree_modify(t, &r, TREE_FILE, 0, leaves, write_leaf, &l, &mapped) : 0;

	if (!err && leaves < l.old)
		err = tree_truncate(t, &r, TREE_FILE, leaves, &mapped);
	if (!err)
		err = quota_account(t, vol, i, (int64_t)leaves - l.old, 0);
	if (err || !t->apply)
		return err;
	if (mapped != leaves)
		return -EDAMAGED;
	i->xattr_root = r.ptr;
	i->xattr_depth = r.depth;
	i->xattr_blocks = leaves;
	return 0;
}

static int set_check(const struct xattr_op *o, uint32_t at)
{
	if (at)
		return o->how == FS_XATTR_CREATE ? -EEXIST : 0;
	return !o->value || o->how == FS_XATTR_REPLACE ? -ENODATA : 0;
}

int do_xattr_set(struct txn *t, void *arg)
{
	struct xattr_op *o = arg;
	struct volume *vol;
	struct inode *i;
	unsigned leaves;
	uint32_t at;
	int err = object_own(t, o->id, &vol, &i);

	if (err)
		return err;
	if (!t->apply)
		wcc_pre(&o->wcc, vol, o->id.ino, i);
	err = allowed(o->req, i, MAY_WRITE);
	if (!err)
		err = load(t, i, o->now_there);
	if (err)
		return err;
	at = find(o->now_there, o->name);
	err = set_check(o, at);
	if (!err)
		err = build(o, at, txn_event(t));
	if (err)
		return err;
	leaves = o->then->head.count ? (o->then->head.bytes + BLOCK_SIZE - 1) / BLOCK_SIZE : 0;
	if (!t->apply) {
		err = leaves > i->xattr_blocks ? quota_check(t, vol, i, leaves - i->xattr_blocks) : 0;
		if (!err)
			err = guard_ask(t, o->req, o->id, FS_USE_CHANGE);
		if (err)
			return err;
		record_xattr(t, o);
	}
	err = store(t, o, vol, i, leaves);
	if (err || !t->apply)
		return err;
	touch_meta(t, i, o->now);
	wcc_post(&o->wcc, vol, o->id.ino, i);
	record_xattr(t, o);
	return 0;
}

int xattr_prepare(struct xattr_op *o)
{
	o->now_there = malloc(2 * sizeof(*o->now_there));
	o->then = o->now_there + 1;
	return o->now_there ? 0 : -ENOMEM;
}

void xattr_release(struct xattr_op *o)
{
	free(o->now_there);
}

static int set(struct xattr_op *o, enum txn_space space, struct fs_wcc *ret_wcc)
{
	int err = xattr_name_check(o->name);

	if (!err)
		err = xattr_prepare(o);
	if (!err)
		err = fs_run(o->req, space, true, true, do_xattr_set, o);
	xattr_release(o);
	if (ret_wcc)
		*ret_wcc = o->wcc;
	return err;
}

int fs_xattr_set(struct fs_req *req, struct fs_id id, struct fs_name name, const void *value,
		 uint32_t len, enum fs_xattr_how how, struct fs_wcc *ret_wcc)
{
	struct xattr_op o = { .req = req, .id = id, .name = name, .value = len ? value : "",
			      .len = len, .how = how, .now = fs_now() };

	return len > FS_XATTR_VALUE_MAX ? -E2BIG : set(&o, space_for(req->fs, id), ret_wcc);
}

int fs_xattr_remove(struct fs_req *req, struct fs_id id, struct fs_name name, struct fs_wcc *ret_wcc)
{
	struct xattr_op o = { .req = req, .id = id, .name = name, .now = fs_now() };

	return set(&o, SPACE_DELETE, ret_wcc);
}
