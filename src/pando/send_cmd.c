/* SPDX-License-Identifier: Apache-2.0 */
/* send: a snapshot as a stream, to standard output or to a file that is whole or not there. */
#include "pando/pando.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

struct sender {
	struct cmd *c;
	const char *object, *file;	/* file NULL: standard output */
	int fd;
	bool waits;			/* a write may: for whoever reads the other end */
	char id[40];
	struct transfer alive;
	uint64_t sent;
};

static int out_write(struct sender *s, const char *data, size_t len)
{
	ssize_t n;

	while (len) {
		if (s->waits)
			client_alive_wait(s->c, &s->alive, s->fd, POLLOUT);
		n = interrupted ? -1 : write(s->fd, data, s->waits && len > PIPE_BUF ? PIPE_BUF : len);
		if (n < 0 && errno == EINTR && !interrupted)
			continue;
		if (n < 0)
			return fail("%s: cannot write it: %s", s->file ? s->file : "standard output",
				    interrupted ? "interrupted" : strerror(errno));
		data += n;
		len -= (size_t)n;
		s->sent += (size_t)n;
	}
	return DONE;
}

/* --from NAME, or VOLUME@NAME. */
static int from_add(struct sender *s, json_t *body)
{
	const char *from = cmd_option(s->c, "from"), *at = strchr(s->object, '@');
	CLEANUP_FREE char *full = NULL;

	if (!from)
		return DONE;
	if (!strchr(from, '@') && asprintf(&full, "%.*s@%s", (int)(at - s->object), s->object, from) < 0)
		return fail("out of memory");
	json_object_set_new(body, "from", json_string(full ? full : from));
	return DONE;
}

static int begin(struct sender *s)
{
	struct request r;
	json_t *j;
	int err;

	request_init(&r, "POST", "/v1/sends", NULL);
	r.body = json_pack("{s:s}", "snapshot", s->object);
	if (cmd_option(s->c, "resume"))
		json_object_set_new(r.body, "resume", json_string(cmd_option(s->c, "resume")));
	err = from_add(s, r.body);
	if (err) {
		request_done(&r);
		return err;
	}
	err = client_call(s->c, &r, &j);
	if (err)
		return err;
	snprintf(s->id, sizeof(s->id), "%s", json_text(j, "id"));
	json_decref(j);
	s->alive = (struct transfer){ "POST", "/v1/sends/", s->id, 0 };
	return DONE;
}

static int pieces(struct sender *s)
{
	struct request r;
	struct buf data;
	int err;

	buf_init(&data, (size_t)64 << 20);
	do {
		request_init(&r, "GET", "/v1/sends/", s->id);
		err = client_data(s->c, &r, &data);
		if (!err)
			err = out_write(s, data.data, data.len);
		if (!err && interrupted)
			err = fail("%s: interrupted", s->object);
		if (!err && s->file)
			progress(s->object, s->sent, 0);
	} while (!err && data.len);
	buf_release(&data);
	return err;
}

static int send_all(struct sender *s)
{
	struct request r;
	int err = begin(s);

	if (err)
		return err;
	err = pieces(s);
	if (err) {
		request_init(&r, "DELETE", "/v1/sends/", s->id);
		client_try(s->c, &r);
	}
	return err;
}

/* What is there is replaced, if it is a file: a pipe, or a device, would be gone. */
static int place_check(const char *file)
{
	struct stat st;

	if (stat(file, &st))
		return errno == ENOENT ? DONE : fail("%s: %s", file, strerror(errno));
	return S_ISREG(st.st_mode) ? DONE : fail("%s: is not a regular file; let the shell send the stream there, with "
						 "'> %s'", file, file);
}

static int send_file(struct sender *s)
{
	CLEANUP_FREE char *path = NULL;
	int err = place_check(s->file);

	if (!err)
		err = temp_make(s->file, true, &path, &s->fd);
	if (err)
		return err;
	err = send_all(s);
	if (!err && fsync(s->fd))
		err = fail("%s: cannot write it: %s", s->file, strerror(errno));
	if (!err && rename(path, s->file))
		err = fail("%s: cannot put it there: %s", s->file, strerror(errno));
	close(s->fd);
	if (err)
		unlink(path);
	else
		err = name_sync(s->file);
	progress_end();
	return err;
}

int cmd_send(struct cmd *c)
{
	struct sender s = { .c = c, .object = c->argv[0], .file = cmd_option(c, "output"), .fd = STDOUT_FILENO };
	char why[OBJNAME_WHY];
	struct objsnap at;
	struct stat st;
	int err = objsnap_parse(s.object, strlen(s.object), false, &at, why);

	if (err)
		return err == -ENAMETOOLONG ? fail("%s", why) : usage(c, "%s", why);
	if (!s.file && isatty(STDOUT_FILENO))
		return usage(c, "a stream is nothing for a terminal; send it to a pipe, or to a file with --output");
	s.waits = !s.file && !(!fstat(s.fd, &st) && S_ISREG(st.st_mode));
	interrupt_catch();
	signal(SIGPIPE, SIG_IGN);	/* a write then says so */
	return s.file ? send_file(&s) : send_all(&s);
}
