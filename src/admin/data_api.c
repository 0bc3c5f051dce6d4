/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content of a file, for exports: where it has data, and the data.
 *
 * A caller that reads a file in many requests names the inode and generation that it saw
 * first; so it never gets half of one file and half of another that took its name.
 */
#include "admin/admin_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/fiber.h"

#define READ_PIECE (256u * 1024)	/* copied in one turn of the loop */

struct extent { uint64_t offset, length; };

struct data_args {
	struct objpath path;
	uint64_t inode, generation, offset, length, limit;
	struct fs_attr attr;
	char *data;
	size_t got;
	struct fs_read read;
	unsigned n;
	bool eof;
	struct extent extents[EXTENTS_MAX];
};

static struct data_args *data_args_take(struct call *c)
{
	struct data_args *a = calloc(1, sizeof(*a));

	c->state = a;
	if (!a) {
		call_fail_err(c, -ENOMEM, "path");
		return NULL;
	}
	if (!arg_path(c, "path", &a->path) || !arg_number(c, "inode", INT64_MAX, &a->inode) ||
	    !arg_number(c, "generation", INT64_MAX, &a->generation) ||
	    !arg_number(c, "offset", INT64_MAX, &a->offset))
		return NULL;
	return a;
}

static int data_lookup(struct call *c, struct data_args *a)
{
	int err = path_lookup(&c->req, &a->path, &a->attr);

	if (err)
		return err;
	if ((a->inode && a->attr.id.ino != a->inode) ||
	    (a->generation && a->attr.id.generation != a->generation))
		return -ESTALE;
	return a->attr.type == FS_DIR ? -EISDIR : a->attr.type != FS_REG ? -EINVAL : 0;
}

static void data_fail(struct call *c, struct data_args *a, int err)
{
	if (err == -ENOMEDIUM || err == -ESRCH)
		call_fail_err(c, err, "%s", a->path.volume);
	else if (err == -EINVAL)
		call_fail(c, 400, "invalid", "%s:%s: is not a regular file", a->path.volume,
			  a->path.path);
	else
		call_fail_err(c, err, "%s:%s", a->path.volume, a->path.path);
}

/* ---- where there is data ---------------------------------------------------------------- */

static int extents_run(struct call *c, void *arg)
{
	struct data_args *a = arg;
	uint64_t start, end, at = a->offset;
	int err = data_lookup(c, a);

	while (!err && a->n < a->limit) {
		err = fs_seek(&c->req, a->attr.id, at, true, &start);
		if (!err)
			err = fs_seek(&c->req, a->attr.id, start, false, &end);
		if (err)
			break;
		a->extents[a->n++] = (struct extent){ start, end - start };
		at = end;
		if (a->n % 16 == 0)
			fiber_yield();
	}
	a->eof = err == -ENXIO;
	return a->eof ? 0 : err;
}

void get_extents(struct call *c)
{
	struct data_args *a = data_args_take(c);
	json_t *list, *j;
	unsigned i;
	int err;

	if (!a)
		return;
	a->limit = EXTENTS_MAX;
	if (!arg_number(c, "limit", EXTENTS_MAX, &a->limit))
		return;
	err = call_run(c, extents_run, a);
	if (err) {
		data_fail(c, a, err);
		return;
	}
	list = json_array();
	for (i = 0; i < a->n; i++)
		json_array_append_new(list, json_pack("{s:I,s:I}", "offset",
						      (json_int_t)a->extents[i].offset, "length",
						      (json_int_t)a->extents[i].length));
	j = json_pack("{s:o?,s:b}", "extents", list, "end", a->eof);
	if (j && json_array_size(list) != a->n) {
		json_decref(j);
		j = NULL;
	}
	if (j) {
		json_set_u64(j, "size", a->attr.size);
		json_set_u64(j, "inode", a->attr.id.ino);
		json_set_u64(j, "generation", a->attr.id.generation);
	}
	call_reply(c, 200, j);
}

/* ---- the data --------------------------------------------------------------------------- */

static int data_piece(struct call *c, struct data_args *a)
{
	uint64_t left = a->length - a->got;
	int i, err;

	err = fs_read(&c->req, a->attr.id, a->offset + a->got,
		      left < READ_PIECE ? (uint32_t)left : READ_PIECE, &a->read);
	if (err)
		return err;
	for (i = 0; i < a->read.niov; i++) {
		memcpy(a->data + a->got, a->read.iov[i].iov_base, a->read.iov[i].iov_len);
		a->got += a->read.iov[i].iov_len;
	}
	a->eof = a->read.eof || !a->read.len;
	fs_read_done(c->req.fs, &a->read);
	return 0;
}

static int data_run(struct call *c, void *arg)
{
	struct data_args *a = arg;
	int err = data_lookup(c, a);

	while (!err && !a->eof && a->got < a->length) {
		err = data_piece(c, a);
		fiber_yield();
	}
	return err;
}

void get_data(struct call *c)
{
	struct data_args *a = data_args_take(c);
	int err;

	if (!a)
		return;
	a->length = DATA_MAX;
	if (!arg_number(c, "length", DATA_MAX, &a->length))
		return;
	a->data = malloc(DATA_MAX);
	err = a->data ? call_run(c, data_run, a) : -ENOMEM;
	if (err) {
		free(a->data);
		data_fail(c, a, err);
		return;
	}
	call_reply_raw(c, a->data, a->got, "application/octet-stream");
}
