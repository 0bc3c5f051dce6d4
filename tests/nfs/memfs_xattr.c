/* SPDX-License-Identifier: Apache-2.0 */
/* Extended attributes of memfs. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "memfs_int.h"

static void drop_xattr(struct xattr **p)
{
	struct xattr *x = *p;

	*p = x->next;
	free(x->value);
	free(x);
}

void memfs_drop_xattrs(struct inode *n)
{
	while (n->xattrs)
		drop_xattr(&n->xattrs);
}

#define XATTR_BYTES (17 * 4096 - 16)

static int enter_xattr(struct fs_req *req, struct fs_id id, uint32_t bits, struct inode **ret)
{
	int err = memfs_enter(req, id, 0, ret);

	if (err)
		return err;
	if ((*ret)->attr.type != FS_REG && (*ret)->attr.type != FS_DIR)
		return -EPERM;
	return memfs_enter(req, id, bits, ret);
}

static struct xattr **find_xattr(struct inode *n, struct fs_name name)
{
	struct xattr **p = &n->xattrs;

	while (*p && ((*p)->name_len != name.len || memcmp((*p)->name, name.s, name.len)))
		p = &(*p)->next;
	return p;
}

static size_t xattr_bytes(const struct inode *n)
{
	size_t sum = 0;

	for (const struct xattr *x = n->xattrs; x; x = x->next)
		sum += (16 + x->name_len + x->len + 7) & ~7u;
	return sum;
}

int fs_xattr_get(struct fs_req *req, struct fs_id id, struct fs_name name, void *buf, uint32_t cap,
		 uint32_t *ret_len)
{
	struct inode *n;
	struct xattr *x;
	int err = enter_xattr(req, id, 4, &n);

	if (err)
		return err;
	x = *find_xattr(n, name);
	if (!x)
		return -ENODATA;
	if (cap && x->len > cap)
		return -ERANGE;
	*ret_len = x->len;
	if (cap)
		memcpy(buf, x->value, x->len);
	return 0;
}

int fs_xattr_set(struct fs_req *req, struct fs_id id, struct fs_name name, const void *value,
		 uint32_t len, enum fs_xattr_how how, struct fs_wcc *w)
{
	struct xattr **p, *x;
	struct inode *n;
	int err = len > FS_XATTR_VALUE_MAX ? -E2BIG : name.len > FS_NAME_MAX ? -ENAMETOOLONG :
		  !name.len ? -EINVAL : enter_xattr(req, id, 2, &n);

	if (err)
		return err;
	memfs_before(req->fs, n, w);
	p = find_xattr(n, name);
	if (*p ? how == FS_XATTR_CREATE : how == FS_XATTR_REPLACE)
		return *p ? -EEXIST : -ENODATA;
	if (xattr_bytes(n) - (*p ? (16 + name.len + (*p)->len + 7) & ~7u : 0) +
	    ((16 + name.len + len + 7) & ~7u) > XATTR_BYTES)
		return -ENOSPC;
	err = memfs_ask(req, n, FS_USE_CHANGE);
	if (err)
		return err;
	x = *p;
	if (!x) {
		x = *p = calloc(1, sizeof(*x));
		assert(x);
		x->name_len = name.len;
		memcpy(x->name, name.s, name.len);
		x->cookie = req->fs->seq + 1;
	}
	free(x->value);
	x->value = malloc(len + 1);
	assert(x->value);
	memcpy(x->value, len ? value : "", len);
	x->len = len;
	memfs_changed(req, n, w);
	return 0;
}

int fs_xattr_remove(struct fs_req *req, struct fs_id id, struct fs_name name, struct fs_wcc *w)
{
	struct xattr **p;
	struct inode *n;
	int err = enter_xattr(req, id, 2, &n);

	if (err)
		return err;
	memfs_before(req->fs, n, w);
	p = find_xattr(n, name);
	if (!*p)
		return -ENODATA;
	err = memfs_ask(req, n, FS_USE_CHANGE);
	if (err)
		return err;
	drop_xattr(p);
	memfs_changed(req, n, w);
	return 0;
}

int fs_xattr_list(struct fs_req *req, struct fs_id id, uint64_t cookie, struct fs_xattr_list *l)
{
	struct inode *n;
	int err = enter_xattr(req, id, 4, &n);

	if (err)
		return err;
	l->n = l->len = 0;
	l->cookie = cookie;
	l->eof = true;
	for (struct xattr *x = n->xattrs; x && l->eof; x = x->next) {
		if (x->cookie <= cookie)
			continue;
		l->eof = x->name_len + 1 <= l->cap - l->len;
		if (!l->eof)
			break;
		memcpy(l->buf + l->len, x->name, x->name_len);
		l->buf[l->len + x->name_len] = 0;
		l->len += x->name_len + 1;
		l->cookie = x->cookie;
		l->n++;
	}
	return l->eof || l->n ? 0 : -ERANGE;
}
