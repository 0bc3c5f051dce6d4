/* SPDX-License-Identifier: Apache-2.0 */
/* receive: a stream of 'pando send' becomes a volume; and what is kept of interrupted ones. */
#include "pando/pando.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/size.h"
#include "base/cleanup.h"

#define PIECE ((size_t)4 << 20)		/* what pandod gets at once */

struct receiver {
	struct cmd *c;
	const char *volume, *file;	/* file NULL: standard input */
	int fd;
	char id[40];
	struct transfer alive;
	char *buf;
	uint64_t bytes;
};

static int volume_check(struct cmd *c, const char *name)
{
	char why[OBJNAME_WHY];
	int err = volume_name_check(name, why);

	return !err ? DONE : err == -ENAMETOOLONG ? fail("%s", why) : usage(c, "%s", why);
}

/* ---- receiving ------------------------------------------------------------------------------ */

static int begin(struct receiver *x)
{
	struct request r;
	json_t *j;
	int err;

	request_init(&r, "POST", "/v1/receives", NULL);
	r.body = json_pack("{s:s,s:b}", "volume", x->volume, "force", cmd_option(x->c, "force") != NULL);
	err = client_call(x->c, &r, &j);
	if (err)
		return err;
	snprintf(x->id, sizeof(x->id), "%s", json_text(j, "id"));
	json_decref(j);
	x->alive = (struct transfer){ "PUT", "/v1/receives/", x->id, 0 };
	return DONE;
}

/* A full piece, but for the last; -1 after saying why. */
static ssize_t piece_read(struct receiver *x)
{
	size_t got = 0;
	ssize_t n;

	while (got < PIECE && !interrupted) {
		client_alive_wait(x->c, &x->alive, x->fd, POLLIN);
		if (interrupted)
			break;
		n = read(x->fd, x->buf + got, PIECE - got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			fail("%s: cannot read it: %s", x->file ? x->file : "standard input", strerror(errno));
			return -1;
		}
		if (!n)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

static int pieces(struct receiver *x, bool *ret_refused)
{
	struct request r;
	ssize_t n;
	int err;

	do {
		n = piece_read(x);
		if (n < 0)
			return FAILED;
		if (interrupted)
			return fail("%s: interrupted", x->volume);
		if (!n)
			break;
		request_init(&r, "PUT", "/v1/receives/", x->id);
		r.data = x->buf;
		r.data_len = (size_t)n;
		err = client_call(x->c, &r, NULL);
		*ret_refused = err;
		if (err)
			return err;
		x->bytes += (size_t)n;
		progress(x->volume, x->bytes, 0);
	} while ((size_t)n == PIECE);
	return DONE;
}

/* Something on this side went wrong: what has come is kept if it can be, and it is told how to go on. */
static void give_up(struct receiver *x)
{
	struct request r;
	json_t *j = NULL;

	request_init(&r, "DELETE", "/v1/receives/", x->id);
	if (client_call(x->c, &r, &j))
		return;
	if (json_is_true(json_object_get(j, "kept")))
		fprintf(stderr, "pando: %s: what had come is kept, and 'pando send --resume %s' goes on\n",
			x->volume, json_text(j, "token"));
	json_decref(j);
}

static int end(struct receiver *x)
{
	char received[SIZE_TEXT];
	struct request r;
	json_t *j;
	int err;

	request_init(&r, "POST", "/v1/receives/", x->id);
	err = client_call(x->c, &r, &j);
	progress_end();
	if (err)
		return err;
	if (x->c->json) {
		err = print_json(j);
	} else {
		printf("%s@%s: received, %s of data\n", json_text(j, "volume"), json_text(j, "snapshot"),
		       size_text(json_u64(j, "received"), received));
		err = print_done();
	}
	json_decref(j);
	return err;
}

static int receive(struct receiver *x)
{
	bool refused = false;
	int err = begin(x);

	if (err)
		return err;
	err = pieces(x, &refused);
	if (!err)
		return end(x);
	progress_end();
	if (!refused)
		give_up(x);
	return err;
}

/* ---- what was interrupted ------------------------------------------------------------------- */

static int list(struct cmd *c)
{
	const json_t *all, *u;
	struct request r;
	struct table t;
	json_t *j;
	size_t i;
	int err;

	request_init(&r, "GET", "/v1/receives", NULL);
	err = client_call(c, &r, &j);
	if (err)
		return err;
	all = json_object_get(j, "receives");
	if (c->json) {
		err = print_json(all);
	} else {
		table_init(&t, "llrl", "VOLUME", "OF", "RECEIVED", "TOKEN");
		json_array_foreach(all, i, u) {
			char of[160];

			snprintf(of, sizeof(of), "%s@%s", json_text(u, "source"), json_text(u, "snapshot"));
			table_cell(&t, json_text(u, "volume"));
			table_cell(&t, of);
			table_size(&t, json_u64(u, "received"));
			table_cell(&t, json_text(u, "token"));
		}
		err = table_print(&t);
	}
	json_decref(j);
	return err;
}

static int forget(struct cmd *c, const char *volume)
{
	struct request r;

	request_init(&r, "DELETE", "/v1/receives", NULL);
	request_arg(&r, "volume", volume);
	return client_call(c, &r, NULL);
}

int cmd_receive(struct cmd *c)
{
	struct receiver x = { .c = c, .volume = c->argv[0], .file = c->argc > 1 ? c->argv[1] : NULL,
			      .fd = STDIN_FILENO };
	CLEANUP_FREE char *buf = NULL;
	int err;

	if (cmd_option(c, "list"))
		return c->argc ? usage(c, "--list takes no volume") : list(c);
	if (!c->argc)
		return usage(c, "name the volume that it is to become");
	err = volume_check(c, x.volume);
	if (err)
		return err;
	if (cmd_option(c, "forget"))
		return x.file ? usage(c, "--forget takes no file") : forget(c, x.volume);
	if (!x.file && isatty(STDIN_FILENO))
		return usage(c, "a stream does not come from a terminal; name a file, or receive from a pipe");
	if (x.file)
		x.fd = open(x.file, O_RDONLY | O_CLOEXEC);
	if (x.fd < 0)
		return fail("%s: %s", x.file, strerror(errno));
	x.buf = buf = malloc(PIECE);
	interrupt_catch();
	err = buf ? receive(&x) : fail("out of memory");
	if (x.file)
		close(x.fd);
	return err;
}
