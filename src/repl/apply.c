/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What records do to the hidden volume: ordinary operations, so whatever comes, it stays a sound volume.
 * A stream that is not consistent in itself, or with the base, is refused (-EPROTO) where it is found out.
 */
#include "repl/receive_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define LIST_BYTES 65536

static struct fs_name name_of(const char *s) { return (struct fs_name){ s, (uint32_t)strlen(s) }; }

static int nonsense(struct receive *r, uint64_t ino, const char *what)
{
	return receive_fail(r, -EPROTO, "the stream makes no sense at record %llu (inode %llu): %s",
			    (unsigned long long)r->seq, (unsigned long long)ino, what);
}

/* What the file system says to something that a right stream would not ask for. */
static int refused(struct receive *r, uint64_t ino, int err)
{
	switch (err) {
	case 0: case -ENOSPC: case -EDQUOT: case -ENOMEM: case -EIO: case -EROFS: case -EDAMAGED:
		return err;
	}
	return nonsense(r, ino, err_text(err));
}

/* The target's inode. */
static int find(struct receive *r, uint64_t ino, uint64_t *ret_entry, struct fs_id *ret)
{
	uint64_t e = ino == INOMAP_SOURCE ? 0 : inomap_get(&r->map, ino);

	if (!e)
		return nonsense(r, ino, "it was never sent");
	*ret_entry = e;
	*ret = hidden_id(r, e & ~INOMAP_FLAGS);
	return 0;
}

/*
 * Where an inode without a name is for now: all of them are more than one directory may hold, so those of
 * STAGED_INODES numbers each are in one below the staging directory.
 */
#define STAGED_INODES 32000
#define STAGED_NAME 32
_Static_assert(2 * STAGED_INODES + 2 <= FS_LINK_MAX, "an old and a new one of each number");
_Static_assert(INOMAP_INO_MAX / STAGED_INODES + 2 <= FS_LINK_MAX, "all of them");

static int staged_dir(struct receive *r, uint64_t ino)
{
	struct fs_create how = { .type = FS_DIR, .how = FS_CREATE_GUARDED,
				 .set = { .mask = FS_SET_MODE, .mode = 0700 } };
	uint64_t part = ino / STAGED_INODES;
	char name[STAGED_NAME];
	struct fs_attr a;
	int err;

	if (r->part_dir.ino && r->part == part)
		return 0;
	snprintf(name, sizeof(name), "%llu", (unsigned long long)part);
	err = fs_lookup(&r->req, r->staging, name_of(name), &a, NULL);
	if (err == -ENOENT)
		err = fs_create(&r->req, r->staging, name_of(name), &how, &a, NULL);
	if (!err) {
		r->part = part;
		r->part_dir = a.id;
	}
	return err;
}

/* r->part_dir is the directory then. */
static int staged(struct receive *r, uint64_t entry, uint64_t ino, char name[STAGED_NAME])
{
	snprintf(name, STAGED_NAME, "%c%llu", entry & INOMAP_NEW ? 'n' : 'o', (unsigned long long)ino);
	return staged_dir(r, ino);
}

static int map_set(struct receive *r, uint64_t ino, uint64_t entry)
{
	int err = inomap_set(&r->map, ino, entry);

	return err == -EFBIG ? receive_fail(r, err, "inode %llu: more inodes than can be received",
					    (unsigned long long)ino) : err;
}

/* ---- names ---------------------------------------------------------------------------------- */

struct entry {
	uint64_t ino, e;
	struct fs_id dir, id;
	struct fs_name name;
};

static int entry_find(struct receive *r, const uint8_t *body, size_t len, struct entry *ret)
{
	const struct stream_name *n = (const void *)body;
	uint64_t dir_entry;
	int err;

	if (r->cleaned)
		return nonsense(r, n->ino, "a name behind all names");
	ret->ino = n->ino;
	ret->name = (struct fs_name){ (const char *)body + sizeof(*n), (uint32_t)(len - sizeof(*n)) };
	err = find(r, n->dir, &dir_entry, &ret->dir);
	return err ? err : find(r, n->ino, &ret->e, &ret->id);
}

static int apply_unlink(struct receive *r, const uint8_t *body, size_t len)
{
	struct fs_attr a;
	struct entry x;
	char to[STAGED_NAME];
	int err = entry_find(r, body, len, &x);

	if (err)
		return err;
	err = fs_lookup(&r->req, x.dir, x.name, &a, NULL);
	if (!err && (a.id.ino != x.id.ino || a.id.ino == FS_ROOT_INO))
		return nonsense(r, x.ino, "the base has something else under a name that goes");
	if (!err && x.e & INOMAP_FLAGS)
		return refused(r, x.ino, fs_remove(&r->req, x.dir, x.name, NULL));
	if (!err)
		err = staged(r, INOMAP_OLD, x.ino, to);
	if (!err)
		err = fs_rename(&r->req, x.dir, x.name, r->part_dir, name_of(to), NULL, NULL);
	return err ? refused(r, x.ino, err) : map_set(r, x.ino, x.e | INOMAP_OLD);
}

static int apply_link(struct receive *r, const uint8_t *body, size_t len)
{
	struct fs_attr a;
	struct entry x;
	char from[STAGED_NAME];
	int err = entry_find(r, body, len, &x);

	if (err)
		return err;
	err = fs_lookup(&r->req, x.dir, x.name, &a, NULL);
	if (err != -ENOENT)
		return err ? refused(r, x.ino, err) : nonsense(r, x.ino, "a name that is there already");
	if (!(x.e & INOMAP_FLAGS))
		return refused(r, x.ino, fs_link(&r->req, x.id, x.dir, x.name, false, NULL, NULL));
	err = staged(r, x.e, x.ino, from);
	if (!err)
		err = fs_rename(&r->req, r->part_dir, name_of(from), x.dir, x.name, NULL, NULL);
	return err ? refused(r, x.ino, err) : map_set(r, x.ino, x.e & ~INOMAP_FLAGS);
}

static int apply_new(struct receive *r, const uint8_t *body, size_t len)
{
	const struct stream_new *n = (const void *)body;
	struct fs_create how = { .type = n->type, .how = FS_CREATE_GUARDED, .rdev_major = n->rdev_major,
				 .rdev_minor = n->rdev_minor, .set = {
		.mask = FS_SET_MODE | FS_SET_UID | FS_SET_GID, .mode = n->mode & 07777, .uid = n->uid,
		.gid = n->gid } };
	size_t target_len = len - sizeof(*n);
	char target[FS_SYMLINK_MAX + 1] = "", name[STAGED_NAME];
	struct fs_attr a;
	int err;

	if (r->cleaned || n->ino <= FS_ROOT_INO || n->type < FS_REG || n->type > FS_FIFO)
		return nonsense(r, n->ino, "no such inode can be made");
	if ((n->type == FS_LNK) != (target_len > 0) || target_len > FS_SYMLINK_MAX ||
	    memchr(body + sizeof(*n), 0, target_len))
		return nonsense(r, n->ino, "a symbolic link that leads nowhere");
	memcpy(target, body + sizeof(*n), target_len);
	how.target = n->type == FS_LNK ? target : NULL;
	err = staged(r, INOMAP_NEW, n->ino, name);
	if (!err)
		err = fs_create(&r->req, r->part_dir, name_of(name), &how, &a, NULL);
	return err ? refused(r, n->ino, err) : map_set(r, n->ino, a.id.ino | INOMAP_NEW);
}

/* It may have other names; and what is gone can be shared with as it was in the base. */
static int staged_gone(struct receive *r, const struct fs_dirent *e)
{
	uint64_t ino = strtoull(e->name + 1, NULL, 10), entry = inomap_get(&r->map, ino);

	if ((entry & ~INOMAP_FLAGS) != e->attr.id.ino)
		return 0;		/* another has that number by now */
	return map_set(r, ino, entry & ~INOMAP_FLAGS);
}

/* All that the look at DIR has found goes. */
static int listed_remove(struct receive *r, struct fs_id dir, const struct fs_dirlist *list)
{
	const struct fs_dirent *e = list->buf;
	int err = 0;

	for (unsigned i = 0; !err && i < list->n; i++, e = fs_dirent_next(e)) {
		struct fs_name name = { e->name, e->name_len };

		err = e->attr.type == FS_DIR ? fs_rmdir(&r->req, dir, name, NULL) :
					       fs_remove(&r->req, dir, name, NULL);
		if (!err)
			err = staged_gone(r, e);
	}
	return err;
}

/* The first directory in the staging directory goes, with all that is in it. */
static int part_remove(struct receive *r, struct fs_dirlist *list, bool *ret_any)
{
	const struct fs_dirent *e = list->buf;
	char name[STAGED_NAME];
	struct fs_id dir;
	int err = fs_readdir(&r->req, r->staging, 2, true, list);

	*ret_any = !err && list->n;
	if (err || !list->n)
		return err;
	dir = e->attr.id;
	snprintf(name, sizeof(name), "%s", e->name);
	do {
		err = fs_readdir(&r->req, dir, 2, true, list);
		if (!err)
			err = listed_remove(r, dir, list);
	} while (!err && list->n);
	return err ? err : fs_rmdir(&r->req, r->staging, name_of(name), NULL);
}

/* The root is as it was, but for what the staging directory did to its times. */
static int root_restore(struct receive *r)
{
	struct fs_id base = { r->vol.id, r->base_snapshot, FS_ROOT_INO, 0 };
	struct fs_inode_set set;
	struct fs_attr a;
	int err;

	if (!r->base_snapshot)
		return 0;
	err = fs_getattr(&r->req, base, &a);
	if (err)
		return err;
	set = (struct fs_inode_set){ .mode = a.mode, .uid = a.uid, .gid = a.gid,
		.atime = a.atime.sec * 1000000000 + a.atime.nsec,
		.mtime = a.mtime.sec * 1000000000 + a.mtime.nsec,
		.ctime = a.ctime.sec * 1000000000 + a.ctime.nsec,
		.btime = a.btime.sec * 1000000000 + a.btime.nsec };
	return fs_inode_set(&r->req, hidden_id(r, FS_ROOT_INO), &set);
}

static int apply_clean(struct receive *r, const uint8_t *body, size_t len)
{
	struct fs_dirlist list = { .buf = malloc(LIST_BYTES), .cap = LIST_BYTES };
	bool any = true;
	int err = list.buf ? 0 : -ENOMEM;

	if (r->cleaned)
		err = nonsense(r, 0, "all names came before");
	while (!err && any)
		err = part_remove(r, &list, &any);
	free(list.buf);
	if (!err)
		err = fs_rmdir(&r->req, hidden_id(r, FS_ROOT_INO), name_of(r->staging_name), NULL);
	if (!err)
		err = root_restore(r);
	r->cleaned = !err;
	return refused(r, 0, err);
}

/* ---- contents ------------------------------------------------------------------------------- */

static int file_find(struct receive *r, uint64_t ino, struct fs_id *ret)
{
	uint64_t e = 0;
	int err = find(r, ino, &e, ret);

	if (!err && (!r->cleaned || e & INOMAP_FLAGS))
		return nonsense(r, ino, "content before all names have come");
	return err;
}

static int apply_trunc(struct receive *r, const uint8_t *body, size_t len)
{
	const struct stream_ino *x = (const void *)body;
	struct fs_setattr set = { .mask = FS_SET_SIZE, .size = x->size };
	struct fs_id id;
	int err = file_find(r, x->ino, &id);

	return err ? err : refused(r, x->ino, fs_setattr(&r->req, id, &set, NULL));
}

static int apply_data(struct receive *r, const uint8_t *body, size_t len)
{
	const struct stream_range *x = (const void *)body;
	struct iovec iov = { (void *)(body + sizeof(*x)), len - sizeof(*x) };
	struct fs_id id;
	int err = file_find(r, x->ino, &id);

	if (!err && (x->len != iov.iov_len || !x->len || x->len > STREAM_DATA_MAX))
		return nonsense(r, x->ino, "data of another length than it says");
	if (!err)
		err = refused(r, x->ino, fs_write(&r->req, id, x->offset, &iov, 1, (uint32_t)x->len, false,
						  NULL));
	r->data_bytes += x->len;
	return err;
}

static int apply_hole(struct receive *r, const uint8_t *body, size_t len)
{
	const struct stream_range *x = (const void *)body;
	struct fs_id id;
	int err = file_find(r, x->ino, &id);

	return err ? err : refused(r, x->ino, fs_punch(&r->req, id, x->offset, x->len, NULL));
}

static int apply_share(struct receive *r, const uint8_t *body, size_t len)
{
	const struct stream_share *x = (const void *)body;
	struct fs_id id, src;
	uint64_t e;
	int err = file_find(r, x->ino, &id);

	if (!err)
		err = find(r, x->src_ino, &e, &src);
	if (!err && (!x->len || (x->from_base && !r->base_snapshot)))
		return nonsense(r, x->ino, "nothing to share with");
	if (x->from_base)
		src.snapshot = r->base_snapshot;
	return err ? err : refused(r, x->ino, fs_clone_range(&r->req, src, x->src_offset, id, x->offset,
							     x->len, NULL));
}

static int apply_xclear(struct receive *r, const uint8_t *body, size_t len)
{
	const struct stream_ino *x = (const void *)body;
	struct fs_xattr_list list = { .cap = 4096 };
	char buf[4096];
	struct fs_id id;
	int err = file_find(r, x->ino, &id);

	list.buf = buf;
	while (!err && !list.eof) {
		err = fs_xattr_list(&r->req, id, list.cookie, &list);
		for (uint32_t i = 0, at = 0; !err && i < list.n; i++) {
			err = fs_xattr_remove(&r->req, id, name_of(buf + at), NULL);
			at += strlen(buf + at) + 1;
		}
	}
	return refused(r, x->ino, err);
}

static int apply_xattr(struct receive *r, const uint8_t *body, size_t len)
{
	const struct stream_xattr *x = (const void *)body;
	const char *name = (const char *)body + sizeof(*x);
	struct fs_id id;
	int err = file_find(r, x->ino, &id);

	if (!err && (uint64_t)x->name_len + x->value_len != len - sizeof(*x))
		return nonsense(r, x->ino, "an attribute of another length than it says");
	return err ? err : refused(r, x->ino, fs_xattr_set(&r->req, id, (struct fs_name){ name, x->name_len },
							   name + x->name_len, x->value_len,
							   FS_XATTR_EITHER, NULL));
}

static int origin_find(struct receive *r, uint64_t ino, struct fs_id *ret)
{
	uint64_t e = ino ? inomap_get(&r->map, ino) : 0;
	struct fs_attr a;
	int err;

	*ret = (struct fs_id){ 0 };
	if (!e)
		return 0;
	err = fs_getattr(&r->req, hidden_id(r, e & ~INOMAP_FLAGS), &a);
	if (!err)
		*ret = (struct fs_id){ r->target, 0, a.id.ino, a.id.generation };
	return err == -ESTALE ? 0 : err;
}

static int apply_set(struct receive *r, const uint8_t *body, size_t len)
{
	const struct stream_set *x = (const void *)body;
	struct fs_inode_set set = { .mode = x->mode, .uid = x->uid, .gid = x->gid, .atime = x->atime,
				    .mtime = x->mtime, .ctime = x->ctime, .btime = x->btime };
	struct fs_setattr size = { .mask = FS_SET_SIZE, .size = x->size };
	struct fs_attr a;
	struct fs_id id;
	int err = file_find(r, x->ino, &id);

	if (!err)
		err = fs_getattr(&r->req, id, &a);
	if (!err && a.type == FS_REG && a.size != x->size)
		err = fs_setattr(&r->req, id, &size, NULL);
	if (!err)
		err = origin_find(r, x->origin, &set.origin);
	if (!err)
		err = fs_inode_set(&r->req, id, &set);
	return refused(r, x->ino, err);
}

/* ---- all of them ---------------------------------------------------------------------------- */

static const struct apply_row {
	size_t least, most;		/* bytes of the body */
	int (*fn)(struct receive *r, const uint8_t *body, size_t len);
} rows[S_TYPES] = {
	[S_UNLINK] = { sizeof(struct stream_name) + 1, sizeof(struct stream_name) + FS_NAME_MAX, apply_unlink },
	[S_NEW] = { sizeof(struct stream_new), sizeof(struct stream_new) + FS_SYMLINK_MAX, apply_new },
	[S_LINK] = { sizeof(struct stream_name) + 1, sizeof(struct stream_name) + FS_NAME_MAX, apply_link },
	[S_CLEAN] = { 0, 0, apply_clean },
	[S_TRUNC] = { sizeof(struct stream_ino), sizeof(struct stream_ino), apply_trunc },
	[S_DATA] = { sizeof(struct stream_range) + 1, sizeof(struct stream_range) + STREAM_DATA_MAX,
		     apply_data },
	[S_HOLE] = { sizeof(struct stream_range), sizeof(struct stream_range), apply_hole },
	[S_SHARE] = { sizeof(struct stream_share), sizeof(struct stream_share), apply_share },
	[S_XCLEAR] = { sizeof(struct stream_ino), sizeof(struct stream_ino), apply_xclear },
	[S_XATTR] = { sizeof(struct stream_xattr) + 1, sizeof(struct stream_xattr) + FS_NAME_MAX +
		      FS_XATTR_VALUE_MAX, apply_xattr },
	[S_SET] = { sizeof(struct stream_set), sizeof(struct stream_set), apply_set },
};

int apply_record(struct receive *r, const struct stream_head *h, const uint8_t *body)
{
	const struct apply_row *row = h->type < S_TYPES ? &rows[h->type] : NULL;

	if (!row || !row->fn || h->len < row->least || h->len > row->most)
		return nonsense(r, 0, "a record of unknown kind, or of the wrong length");
	return row->fn(r, body, h->len);
}
