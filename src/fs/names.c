/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See names.h.  Depth first.  A level is a directory and the key of the last entry that was taken from it;
 * entries are read some at a time, and those behind a directory again when it is done with.
 */
#include "fs/names.h"
#include "fs/fs_int.h"

#include <stdlib.h>

#define BATCH 32
#define PATH_BYTES_MAX (1u << 20)
#define FULL 2

struct level { struct fs_id dir; uint64_t key; size_t path_len; };
struct entry { struct dir_found f; uint8_t len; char name[FS_NAME_MAX + 1]; };

struct each {
	struct fs_req *req;
	struct level *levels;
	unsigned n, cap;
	char *path;
	size_t path_cap;
	struct entry *batch;		/* BATCH of them */
	unsigned nbatch;
	bool end;			/* of the top directory */
};

static int push(struct each *e, struct fs_id dir, size_t path_len)
{
	if (e->n == e->cap) {
		unsigned cap = e->cap ? 2 * e->cap : 16;
		struct level *more = realloc(e->levels, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		e->levels = more;
		e->cap = cap;
	}
	e->levels[e->n++] = (struct level){ dir, 2, path_len };
	return 0;
}

static int take_entry(void *arg, const struct dir_found *f, struct fs_name name)
{
	struct each *e = arg;
	struct entry *b = &e->batch[e->nbatch];

	if (e->nbatch == BATCH)
		return FULL;
	b->f = *f;
	b->len = name.len;
	memcpy(b->name, name.s, name.len);
	b->name[name.len] = 0;
	e->nbatch++;
	return 0;
}

static int read_batch(struct txn *t, void *arg)
{
	struct each *e = arg;
	const struct level *l = &e->levels[e->n - 1];
	struct volume *vol;
	struct inode *i;
	struct dir d;
	int err = object_get(t, l->dir, &vol, &i);

	if (err)
		return err;
	if (i->type != FS_DIR)
		return -ENOTDIR;
	e->nbatch = 0;
	d = dir_of(t, vol, i, l->dir.ino);
	err = dir_iterate(&d, l->key, take_entry, e);
	e->end = !err;
	return err == FULL ? 0 : err;
}

static int path_add(struct each *e, size_t at, const struct entry *b)
{
	size_t need = at + b->len + 2;

	if (need > PATH_BYTES_MAX)
		return -E2BIG;
	if (need > e->path_cap) {
		char *more = realloc(e->path, 2 * need);

		if (!more)
			return -ENOMEM;
		e->path = more;
		e->path_cap = 2 * need;
	}
	e->path[at] = '/';
	memcpy(e->path + at + 1, b->name, b->len + 1u);
	return 0;
}

/* One batch of the top directory; at a directory in it, goes there first. */
static int some(struct each *e, fs_named_fn fn, void *arg)
{
	unsigned top = e->n - 1;
	int err = fs_run(e->req, SPACE_ORDINARY, false, false, read_batch, e);

	if (err == -ESTALE && top) {	/* it was removed meanwhile */
		e->n--;
		return 0;
	}
	for (unsigned k = 0; k < e->nbatch && !err; k++) {
		const struct entry *b = &e->batch[k];
		struct level *l = &e->levels[top];
		struct fs_named named = { .name = { b->name, b->len }, .parent = l->dir.ino, .type = b->f.type,
			.id = { l->dir.volume, l->dir.snapshot, b->f.ino, b->f.generation } };
		size_t len = l->path_len;

		err = path_add(e, len, b);
		l->key = b->f.key;
		named.path = e->path;
		if (!err)
			err = fn(arg, &named);
		if (!err && b->f.type == FS_DIR)
			return push(e, named.id, len + 1 + b->len);
	}
	if (!err && e->end)
		e->n--;
	return err;
}

int fs_names_each(struct fs_req *req, struct fs_id dir, const char *path, fs_named_fn fn, void *arg)
{
	size_t len = strcmp(path, "/") ? strlen(path) : 0;
	struct each e = { .req = req, .batch = malloc(BATCH * sizeof(*e.batch)), .path = malloc(len + 1),
			  .path_cap = len + 1 };
	int err = e.batch && e.path ? push(&e, dir, len) : -ENOMEM;

	if (e.path)
		memcpy(e.path, path, len);
	while (!err && e.n) {
		e.nbatch = 0;
		err = some(&e, fn, arg);
		fiber_yield();
	}
	free(e.levels);
	free(e.batch);
	free(e.path);
	return err;
}
