/* SPDX-License-Identifier: Apache-2.0 */
/*
 * export: a file out of the pool.  It is written beside its place and renamed when it is
 * complete and on the disk, so FILE is whole or not there.
 *
 * What is read is a clone with a hidden name beside the object, for as long as it takes: the
 * object may be in use, and FILE is one point in time.  Where no clone can be made (a full or
 * read-only pool), the object itself is read, and FILE is given up if it was changed meanwhile.
 */
#include "pando/pando.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "admin/size.h"
#include "base/cleanup.h"

#define PIECE ((uint64_t)1 << 20)	/* what pandod gives at once */
#define BLOCK ((size_t)4096)

struct export {
	struct cmd *c;
	const char *object, *file;
	const char *from;		/* what is read: the clone, or the object */
	char *clone;			/* NULL: none was made */
	const char *mark;		/* of a qcow2; NULL: none */
	char changed[40];		/* when the object was, last */
	int fd;
	uint64_t size, inode, generation, data_bytes;
	struct buf buf;
};

static void same_file(struct export *x, struct request *r)
{
	request_arg(r, "path", x->from);
	request_arg_u64(r, "inode", x->inode);
	request_arg_u64(r, "generation", x->generation);
}

static int write_fail(struct export *x)
{
	return fail("%s: cannot write it: %s", x->file, strerror(errno));
}

/* Writes what is in the buffer, but for its blocks of zeros. */
static int piece_write(struct export *x, uint64_t offset)
{
	size_t at, n;
	ssize_t done;

	for (at = 0; at < x->buf.len; at += n) {
		n = x->buf.len - at < BLOCK ? x->buf.len - at : BLOCK;
		if (is_zero(x->buf.data + at, n))
			continue;
		while (at + n < x->buf.len && x->buf.len - at - n >= BLOCK &&
		       !is_zero(x->buf.data + at + n, BLOCK))
			n += BLOCK;
		done = pwrite(x->fd, x->buf.data + at, n, (off_t)(offset + at));
		if (done < 0)
			return write_fail(x);
		if (!done)
			return fail("%s: cannot write it", x->file);
		n = (size_t)done;
		x->data_bytes += n;
	}
	return DONE;
}

static int extent_copy(struct export *x, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length, n;
	struct request r;
	int err;

	for (; offset < end; offset += n) {
		n = PIECE - offset % PIECE;
		if (n > end - offset)
			n = end - offset;
		request_init(&r, "GET", "/v1/data", NULL);
		same_file(x, &r);
		request_arg_u64(&r, "offset", offset);
		request_arg_u64(&r, "length", n);
		err = client_data(x->c, &r, &x->buf);
		if (!err && x->buf.len > n)
			err = fail("%s: pandod sent more than was asked for", x->object);
		if (!err)
			err = piece_write(x, offset);
		if (err)
			return err;
		if (interrupted)
			return fail("%s: interrupted; nothing was left behind", x->file);
		progress(x->file, offset + n, x->size);
	}
	return DONE;
}

/* All data, page by page of the file's map. */
static int data_copy(struct export *x)
{
	const json_t *extent;
	uint64_t at = 0;
	struct request r;
	bool end = false;
	json_t *page;
	size_t i;
	int err;

	while (!end) {
		request_init(&r, "GET", "/v1/extents", NULL);
		same_file(x, &r);
		request_arg_u64(&r, "offset", at);
		err = client_call(x->c, &r, &page);
		if (err)
			return err;
		json_array_foreach(json_object_get(page, "extents"), i, extent) {
			at = json_u64(extent, "offset") + json_u64(extent, "length");
			err = extent_copy(x, json_u64(extent, "offset"),
					  json_u64(extent, "length"));
			if (err)
				break;
		}
		end = json_is_true(json_object_get(page, "end"));
		json_decref(page);
		if (err)
			return err;
	}
	return ftruncate(x->fd, (off_t)x->size) ? write_fail(x) : DONE;
}

/* ---- the place -------------------------------------------------------------------------- */

static int place_check(struct export *x)
{
	struct stat st;

	if (stat(x->file, &st))
		return errno == ENOENT ? DONE : fail("%s: %s", x->file, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail("%s: is not a regular file; choose another name", x->file);
	if (!cmd_option(x->c, "replace"))
		return fail("%s: exists already; choose another name, or use --replace", x->file);
	return DONE;
}

static int place_take(struct export *x, const char *temp)
{
	mode_t mask = umask(0);
	int flags = cmd_option(x->c, "replace") ? 0 : RENAME_NOREPLACE;

	umask(mask);
	if (chmod(temp, 0666 & ~mask))
		return write_fail(x);
	if (!renameat2(AT_FDCWD, temp, AT_FDCWD, x->file, (unsigned)flags))
		return DONE;
	if (errno == EINVAL && flags && !link(temp, x->file) && !unlink(temp))
		return DONE;		/* a file system without RENAME_NOREPLACE */
	if (errno == EEXIST)
		return fail("%s: exists already; choose another name, or use --replace", x->file);
	return fail("%s: cannot give the file its name: %s", x->file, strerror(errno));
}

/* TEMP holds the raw image; another takes its place in the format that is wanted. */
static int place_convert(struct export *x, char **temp, enum image_format format)
{
	char *out;
	int fd, err = temp_make(x->file, true, &out, &fd);

	if (err)
		return err;
	err = image_convert(*temp, IMAGE_RAW, out, format);
	close(fd);
	unlink(*temp);
	free(*temp);
	*temp = out;
	if (err)
		return err;
	close(x->fd);
	x->fd = open(out, O_RDWR | O_CLOEXEC);
	return x->fd < 0 ? write_fail(x) : DONE;
}

/* ---- the source --------------------------------------------------------------------------- */

static int source_stat(struct export *x)
{
	struct request r;
	json_t *j;
	int err;

	request_init(&r, "GET", "/v1/files", NULL);
	request_arg(&r, "path", x->from);
	err = client_call(x->c, &r, &j);
	if (err)
		return err;
	if (strcmp(json_text(j, "type"), "file"))
		err = fail("%s: is a %s; only files can be exported", x->object,
			   json_text(j, "type"));
	x->size = json_u64(j, "size");
	x->inode = json_u64(j, "inode");
	x->generation = json_u64(j, "generation");
	snprintf(x->changed, sizeof(x->changed), "%s", json_text(j, "changed"));
	json_decref(j);
	return err;
}

static void clone_remove(struct export *x)
{
	struct request r;

	if (!x->clone)
		return;
	request_init(&r, "DELETE", "/v1/files", NULL);
	request_arg(&r, "path", x->clone);
	if (!client_try(x->c, &r))
		fprintf(stderr, "pando: %s: this clone was made for the export, and could not be "
			"removed; remove it with 'pando rm'\n", x->clone);
	free(x->clone);
	x->clone = NULL;
}

/* Makes the clone that is read instead of the object. */
static int source_hold(struct export *x)
{
	size_t dir = (size_t)(strrchr(x->object, '/') + 1 - x->object), cap = dir + 64;
	struct timespec now;
	struct request r;

	clock_gettime(CLOCK_REALTIME, &now);
	x->clone = malloc(cap);
	if (!x->clone)
		return fail("out of memory");
	snprintf(x->clone, cap, "%.*s.pando-export-%d-%llx", (int)dir, x->object, (int)getpid(),
		 (unsigned long long)now.tv_sec * 1000000000 + (unsigned long long)now.tv_nsec);
	request_init(&r, "POST", "/v1/clones", NULL);
	request_arg(&r, "src", x->object);
	request_arg(&r, "dst", x->clone);
	if (!client_try(x->c, &r)) {
		free(x->clone);
		x->clone = NULL;
		return DONE;
	}
	x->from = x->clone;
	return source_stat(x);
}

/* Nobody may have written to what was read. */
static int source_unchanged(struct export *x)
{
	char before[sizeof(x->changed)];
	int err;

	if (x->clone)
		return DONE;
	memcpy(before, x->changed, sizeof(before));
	err = source_stat(x);
	if (!err && strcmp(before, x->changed))
		err = fail("%s: was written to while it was exported, and the pool has no room to "
			   "clone it first; try again, or make room", x->object);
	return err;
}

static int export_run(struct export *x, enum image_format format)
{
	char *temp = NULL;
	int err = source_stat(x);

	if (!err)
		err = place_check(x);
	if (!err)
		err = temp_make(x->file, true, &temp, &x->fd);
	if (err)
		return err;
	err = source_hold(x);
	if (!err)
		err = data_copy(x);
	if (!err)
		err = source_unchanged(x);
	clone_remove(x);
	if (!err && format != IMAGE_RAW)
		err = place_convert(x, &temp, format);
	if (!err && x->mark)
		err = image_bitmap_add(temp, x->mark);
	if (!err && fsync(x->fd))
		err = write_fail(x);
	if (!err)
		err = place_take(x, temp);
	if (err)
		unlink(temp);
	else
		err = name_sync(x->file);
	if (x->fd >= 0)
		close(x->fd);
	free(temp);
	return err;
}

int image_export(struct cmd *c)
{
	enum image_format format = IMAGE_RAW;
	struct objpath path;
	int err = cmd_object(c, c->argv[0], &path);

	if (err)
		return err;
	if (cmd_option(c, "format") && image_format_parse(cmd_option(c, "format"), &format))
		return usage(c, "--format %s: not a format that is known here",
			     cmd_option(c, "format"));
	return image_export_as(c, c->argv[0], c->argv[1], format, NULL);
}

int image_export_as(struct cmd *c, const char *object, const char *file, enum image_format format,
		    const char *mark)
{
	struct export x = { .c = c, .object = object, .from = object, .file = file, .mark = mark, .fd = -1 };
	char size[SIZE_TEXT], data[SIZE_TEXT];
	int err;

	interrupt_catch();
	buf_init(&x.buf, PIECE + 1);
	err = export_run(&x, format);
	buf_release(&x.buf);
	if (err)
		return err;
	progress_end();
	printf("%s: %s exported, %s of it data\n", x.file, size_text(x.size, size),
	       size_text(x.data_bytes, data));
	return print_done();
}
