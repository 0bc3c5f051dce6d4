/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories: which names go, which inodes are new, which names come.  First all that goes, then all that
 * is new, then all that comes: so the target never has two things under one name, nor a directory
 * below itself, whatever was renamed to where.
 *
 * A directory lists its names in the order of their keys, which a name keeps: so the two states of one are
 * compared in one pass over both.
 */
#include "repl/send_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define LIST_BYTES 65536
#define COOKIE_FIRST 2			/* "." and ".." come before */

struct cursor {
	struct fs_id dir;		/* ino 0: nothing there */
	struct fs_dirlist list;
	const struct fs_dirent *at;
	unsigned left;
	uint64_t cookie;
};

static int cursor_next(struct sender *s, struct cursor *c)
{
	int err;

	if (!c->dir.ino) {
		c->at = NULL;
		return 0;
	}
	if (c->left > 1) {
		c->left--;
		c->at = fs_dirent_next(c->at);
	} else {
		if (c->at && c->list.eof) {
			c->at = NULL;
			return 0;
		}
		err = fs_readdir(&s->req, c->dir, c->cookie, true, &c->list);
		if (err)
			return err;
		c->left = c->list.n;
		c->at = c->left ? c->list.buf : NULL;
	}
	if (!c->at)
		return 0;
	c->cookie = c->at->cookie;
	return c->at->attr.type == FS_FREE ? -EDAMAGED : 0;
}

static int cursor_init(struct sender *s, struct cursor *c, struct fs_id dir)
{
	*c = (struct cursor){ .dir = dir, .cookie = COOKIE_FIRST };
	c->list.cap = LIST_BYTES;
	c->list.buf = malloc(LIST_BYTES);
	return c->list.buf ? cursor_next(s, c) : -ENOMEM;
}

static bool same_entry(const struct fs_dirent *a, const struct fs_dirent *b)
{
	return a->name_len == b->name_len && !memcmp(a->name, b->name, a->name_len) &&
	       a->attr.id.ino == b->attr.id.ino && a->attr.id.generation == b->attr.id.generation;
}

static int name_record(struct sender *s, unsigned type, uint64_t dir, const struct fs_dirent *e)
{
	struct stream_name n = { .dir = dir, .ino = e->attr.id.ino };

	memcpy(send_tail(s, sizeof(n)), e->name, e->name_len);
	return send_record(s, type, &n, sizeof(n), e->name_len);
}

/* TYPE S_UNLINK: what A has and B hasn't; S_LINK: the other way round. */
static int merge(struct sender *s, unsigned type, uint64_t ino, struct cursor *a, struct cursor *b)
{
	int err = 0;

	while (!err && (a->at || b->at)) {
		bool first = a->at && (!b->at || a->at->cookie <= b->at->cookie);
		bool second = b->at && (!a->at || b->at->cookie <= a->at->cookie);
		bool same = first && second && same_entry(a->at, b->at);

		if (!same && type == S_UNLINK && first)
			err = name_record(s, type, ino, a->at);
		if (!same && type == S_LINK && second)
			err = name_record(s, type, ino, b->at);
		if (!err && first)
			err = cursor_next(s, a);
		if (!err && second)
			err = cursor_next(s, b);
	}
	return err;
}

static int directory(struct sender *s, unsigned type, const struct fs_inode_change *x)
{
	bool was = x->was.type == FS_DIR, now = x->now.type == FS_DIR;
	struct fs_id none = { 0 };
	struct cursor a, b = { 0 };
	int err;

	if ((!was && !now) || (x->same_file && !x->data_differs))
		return 0;
	/* Of two directories that had one number after each other, nothing is the same. */
	if (was && now && !x->same_file) {
		was = type == S_UNLINK;
		now = !was;
	}
	err = cursor_init(s, &a, was ? base_id(s, x->ino, x->was.id.generation) : none);
	if (!err)
		err = cursor_init(s, &b, now ? send_id(s, x->ino, x->now.id.generation) : none);
	if (!err)
		err = merge(s, type, x->ino, &a, &b);
	free(a.list.buf);
	free(b.list.buf);
	return err;
}

static int unlinks(struct sender *s, const struct fs_inode_change *x)
{
	return directory(s, S_UNLINK, x);
}

static int links(struct sender *s, const struct fs_inode_change *x)
{
	return directory(s, S_LINK, x);
}

static int news(struct sender *s, const struct fs_inode_change *x)
{
	const struct fs_attr *a = &x->now;
	struct stream_new n = { .ino = x->ino, .type = a->type, .mode = a->mode, .uid = a->uid, .gid = a->gid,
				.rdev_major = a->rdev_major, .rdev_minor = a->rdev_minor };
	char *target = send_tail(s, sizeof(n));
	struct fs_attr attr;
	int err;

	if (a->type == FS_FREE || x->same_file || x->ino == FS_ROOT_INO)
		return 0;
	if (a->type != FS_LNK)
		return send_record(s, S_NEW, &n, sizeof(n), 0);
	err = fs_readlink(&s->req, send_id(s, x->ino, a->id.generation), target, &attr);
	return err ? err : send_record(s, S_NEW, &n, sizeof(n), strlen(target));
}

int send_names(struct sender *s)
{
	int err = s->base.id ? send_each(s, unlinks) : 0;

	if (!err)
		err = send_each(s, news);
	if (!err)
		err = send_each(s, links);
	return err ? err : send_record(s, S_CLEAN, "", 0, 0);
}
