/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import: a disk image into the pool.
 *
 * What is a hole or zero in the source is not sent.  pandod keeps the file without a name
 * until everything is there; so whatever goes wrong on the way, nothing is left behind.
 */
#include "pando/prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <linux/fs.h>
#include <unistd.h>

#include "admin/size.h"
#include "base/cleanup.h"

#define PIECE ((size_t)4 << 20)		/* read and sent at once */
#define BLOCK ((size_t)4096)
#define GAP (16 * BLOCK)		/* fewer zeros than that are sent along */

struct import {
	struct cmd *c;
	const char *name, *object;
	int fd;
	bool stream;			/* cannot seek: ends when it ends */
	uint64_t size, done, sent;
	char *buf;
	char id[64];			/* of the upload; empty: it has not begun */
	struct transfer alive;
	struct imported *what;
};

static int read_fail(struct import *m)
{
	return interrupted ? fail("%s: interrupted; nothing was left behind", m->object)
			   : fail("%s: cannot read it: %s", m->name, strerror(errno));
}

/* Reads LEN bytes, or up to the end; the count, or -1 after a message. */
static ssize_t piece_read(struct import *m, uint64_t offset, size_t len)
{
	size_t got = 0;
	ssize_t n = 1;

	while (got < len && n > 0) {
		if (m->stream)
			client_alive_wait(m->c, &m->alive, m->fd, POLLIN);
		if (interrupted) {
			read_fail(m);
			return -1;
		}
		n = m->stream ? read(m->fd, m->buf + got, len - got)
			      : pread(m->fd, m->buf + got, len - got, (off_t)(offset + got));
		if (n < 0) {
			read_fail(m);
			return -1;
		}
		got += (size_t)n;
	}
	return (ssize_t)got;
}

/* ---- sending ---------------------------------------------------------------------------- */

static int run_send(struct import *m, uint64_t offset, const char *data, size_t len)
{
	struct request r;

	request_init(&r, "PUT", "/v1/uploads/", m->id);
	request_arg_u64(&r, "offset", offset);
	r.data = data;
	r.data_len = len;
	m->sent += len;
	return client_call(m->c, &r, NULL);
}

/* Sends what is not zero of LEN bytes that belong to OFFSET, in as long runs as makes sense. */
static int piece_send(struct import *m, uint64_t offset, size_t len)
{
	size_t at, n, start = 0, end = 0;	/* of the run: all up to end is to be sent */
	bool in_run = false;
	int err;

	for (at = 0; at < len; at += n) {
		n = len - at < BLOCK ? len - at : BLOCK;
		if (is_zero(m->buf + at, n)) {
			if (in_run && at + n - end >= GAP) {
				err = run_send(m, offset + start, m->buf + start, end - start);
				if (err)
					return err;
				in_run = false;
			}
			continue;
		}
		if (!in_run)
			start = at;
		in_run = true;
		end = at + n;
	}
	return in_run ? run_send(m, offset + start, m->buf + start, end - start) : DONE;
}

/* The next run of data at or after AT: false at the end. */
static bool data_next(struct import *m, uint64_t at, uint64_t *ret_start, uint64_t *ret_end)
{
	off_t start, end;

	if (at >= m->size)
		return false;
	start = lseek(m->fd, (off_t)at, SEEK_DATA);
	if (start < 0 && errno == ENXIO)
		return false;
	if (start < 0)			/* no such thing here: all is data */
		start = (off_t)at;
	end = lseek(m->fd, start, SEEK_HOLE);
	*ret_start = (uint64_t)start;
	*ret_end = end <= start || (uint64_t)end > m->size ? m->size : (uint64_t)end;
	return true;
}

/* Calls FN for every piece of data, with its bytes in m->buf. */
static int each_piece(struct import *m, int (*fn)(struct import *m, uint64_t offset, size_t len))
{
	uint64_t start = 0, end = 0, at;
	size_t len;
	ssize_t n;
	int err;

	while (data_next(m, end, &start, &end)) {
		for (at = start; at < end; at += len) {
			len = PIECE - at % PIECE;
			if (len > end - at)
				len = (size_t)(end - at);
			n = piece_read(m, at, len);
			if (n < 0)
				return FAILED;
			if ((size_t)n < len)
				return fail("%s: became shorter while it was read; import it when "
					    "nobody changes it", m->name);
			err = fn(m, at, len);
			if (err)
				return err;
			if (m->id[0])
				client_alive(m->c, &m->alive);
			if (interrupted)
				return read_fail(m);
			m->done = at + len;
			progress(m->object, m->done, m->size);
		}
	}
	return DONE;
}

static int stream_send(struct import *m)
{
	ssize_t n;
	int err;

	do {
		n = piece_read(m, m->size, PIECE);
		if (n < 0)
			return FAILED;
		err = piece_send(m, m->size, (size_t)n);
		if (err)
			return err;
		m->size += (uint64_t)n;
		client_alive(m->c, &m->alive);
		progress(m->object, m->size, 0);
	} while (n == (ssize_t)PIECE);
	return DONE;
}

/* ---- before the first byte -------------------------------------------------------------- */

static int piece_count(struct import *m, uint64_t offset, size_t len)
{
	size_t at, n;

	for (at = 0; at < len; at += n) {
		n = len - at < BLOCK ? len - at : BLOCK;
		m->sent += is_zero(m->buf + at, n) ? 0 : BLOCK;
	}
	return DONE;
}

/* How many bytes of data there are at least: exact only where that matters, as it may take
 * reading everything. */
static int data_estimate(struct import *m, uint64_t *ret_bytes)
{
	uint64_t start = 0, end = 0, bytes = 0, room;
	struct request r;
	json_t *j;
	int err;

	*ret_bytes = 0;
	if (m->stream)
		return DONE;
	while (data_next(m, end, &start, &end))
		bytes += end - start;
	request_init(&r, "GET", "/v1/pool", NULL);
	err = client_call(m->c, &r, &j);
	if (err)
		return err;
	room = json_u64(j, "available_bytes");
	json_decref(j);
	if (bytes > room) {
		err = each_piece(m, piece_count);
		bytes = m->sent;
		m->sent = m->done = 0;
	}
	*ret_bytes = bytes;
	return err;
}

static int upload_begin(struct import *m)
{
	uint64_t data;
	struct request r;
	json_t *j;
	int err = data_estimate(m, &data);

	if (err)
		return err;
	request_init(&r, "POST", "/v1/uploads", NULL);
	request_arg(&r, "path", m->object);
	r.body = json_object();
	if (!m->stream)
		json_object_set_new(r.body, "size", json_integer((json_int_t)m->size));
	json_object_set_new(r.body, "data", json_integer((json_int_t)data));
	if (cmd_option(m->c, "replace"))
		json_object_set_new(r.body, "replace", json_true());
	err = owner_options(m->c, r.body);
	if (err) {
		request_done(&r);
		return err;
	}
	err = client_call(m->c, &r, &j);
	if (err)
		return err;
	snprintf(m->id, sizeof(m->id), "%s", json_text(j, "id"));
	json_decref(j);
	m->alive = (struct transfer){ "PUT", "/v1/uploads/", m->id, 0 };
	return DONE;
}

static int upload_end(struct import *m, int err, json_t **ret_file)
{
	struct request r;

	if (!err) {
		request_init(&r, "POST", "/v1/uploads/", m->id);
		request_arg_u64(&r, "size", m->size);
		return client_call(m->c, &r, ret_file);
	}
	/* the reason was told already: this answer is of no interest */
	request_init(&r, "DELETE", "/v1/uploads/", m->id);
	client_try(m->c, &r);
	return err;
}

static int import_fd(struct import *m, json_t **ret_file)
{
	int err = upload_begin(m);

	if (err)
		return err;
	err = m->stream ? stream_send(m) : each_piece(m, piece_send);
	return upload_end(m, err, ret_file);
}

/* ---- sources ---------------------------------------------------------------------------- */

static int source_open(struct import *m)
{
	struct stat st;

	if (!strcmp(m->name, "-")) {
		m->name = "standard input";
		m->fd = STDIN_FILENO;
		m->stream = true;
		return DONE;
	}
	m->fd = open(m->name, O_RDONLY | O_CLOEXEC);
	if (m->fd < 0 || fstat(m->fd, &st))
		return fail("%s: %s", m->name, strerror(errno));
	if (S_ISREG(st.st_mode))
		m->size = (uint64_t)st.st_size;
	else if (S_ISBLK(st.st_mode))
		return ioctl(m->fd, BLKGETSIZE64, &m->size) ? read_fail(m) : DONE;
	else if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))
		m->stream = true;
	else
		return fail("%s: is not a file; name a disk image", m->name);
	return DONE;
}

static int format_find(struct import *m, enum image_format *ret)
{
	const char *text = cmd_option(m->c, "format");
	char head[64];
	ssize_t n;

	*ret = IMAGE_RAW;
	if (text && image_format_parse(text, ret))
		return usage(m->c, "--format %s: not a format that is known here", text);
	if (!text && !m->stream) {
		n = pread(m->fd, head, sizeof(head), 0);
		if (n < 0)
			return read_fail(m);
		*ret = image_format_of(head, (size_t)n);
	}
	if (m->stream && m->what->prepare)
		return usage(m->c, "%s: only a file can be prepared", m->name);
	if (m->stream && *ret != IMAGE_RAW)
		return usage(m->c, "%s: only raw data can come from a pipe", m->name);
	return DONE;
}

/* Puts a raw copy in the place of the source. */
static int source_convert(struct import *m, enum image_format format)
{
	CLEANUP_FREE char *path = NULL;
	struct stat st;
	int fd, err = image_check_alone(m->name, format);

	if (!err)
		err = image_check_whole(m->name, format);
	if (!err)
		err = temp_make(m->name, false, &path, &fd);
	if (err)
		return err;
	err = image_convert(m->name, format, path, IMAGE_RAW);
	if (!err && m->what->prepare)
		err = image_prepare(path, m->name, m->what->first_boot, &m->what->removed);
	/* the name is not needed any more: so nothing is left, however this ends */
	close(m->fd);
	m->fd = -1;
	if (!err) {
		/* qemu-img may have replaced what stood there */
		m->fd = open(path, O_RDONLY | O_CLOEXEC);
		if (m->fd < 0 || fstat(m->fd, &st))
			err = fail("%s: %s", path, strerror(errno));
		else
			m->size = (uint64_t)st.st_size;
	}
	close(fd);
	unlink(path);
	return err;
}

static int import_run(struct import *m)
{
	int err;

	interrupt_catch();
	err = source_open(m);
	if (!err)
		err = format_find(m, &m->what->format);
	if (!err && (m->what->format != IMAGE_RAW || m->what->prepare))
		err = source_convert(m, m->what->format);
	if (!err)
		err = import_fd(m, &m->what->file);
	m->what->size = m->size;
	if (m->fd > STDIN_FILENO)
		close(m->fd);
	progress_end();
	return err;
}

int image_import_to(struct cmd *c, const char *file, const char *object, struct imported *ret)
{
	struct import m = { .c = c, .name = file, .object = object, .fd = -1, .what = ret };
	CLEANUP_FREE char *buf = aligned_alloc(4096, PIECE);
	struct objpath path;
	json_t *probe = json_object();
	int err = owner_options(c, probe);

	json_decref(probe);
	m.buf = buf;
	if (!err)
		err = buf ? cmd_object(c, object, &path) : fail("out of memory");
	return err ? err : import_run(&m);
}

int image_import(struct cmd *c)
{
	struct imported got = { .prepare = false };
	char size[SIZE_TEXT], mapped[SIZE_TEXT];
	int err = image_import_to(c, c->argv[0], c->argv[1], &got);

	if (!err && c->json) {
		err = print_json(got.file);
	} else if (!err) {
		printf("%s: %s imported, %s of it data\n", c->argv[1], size_text(got.size, size),
		       size_text(json_u64(got.file, "mapped"), mapped));
		err = print_done();
	}
	json_decref(got.file);
	return err;
}
