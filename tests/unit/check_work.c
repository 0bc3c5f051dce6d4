/* SPDX-License-Identifier: Apache-2.0 */
/* See check_work.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "check_work.h"
#include "in_fiber.h"

/* ---- repairing ---------------------------------------------------------------------------- */

unsigned nfound, nrepaired, nleft;
char last_left[400];

static void found(void *arg, const char *line)
{
	nfound++;
	if (getenv("VERBOSE"))
		print_message("    %s\n", line);
}

static void repaired(void *arg, const char *line)
{
	nrepaired++;
	if (getenv("VERBOSE"))
		print_message("    repaired: %s\n", line);
}

static void left(void *arg, const char *line)
{
	nleft++;
	snprintf(last_left, sizeof(last_left), "%s", line);
	if (getenv("VERBOSE"))
		print_message("    left: %s\n", line);
}

int64_t repair(struct dev *d, bool drop, struct fs_check_stats *st)
{
	struct fs_check_opts o = { .repair = true, .drop_damaged = drop, .repaired = repaired,
				   .left = left };

	nfound = nrepaired = nleft = 0;
	return fs_check_with(d, &o, found, NULL, st);
}

int64_t check(struct dev *d)
{
	return fs_check(d, NULL, NULL, NULL);
}

/* ---- pools that the store has written -------------------------------------------------------- */

uint64_t content(struct fs *fs, struct fs_id id, uint64_t size)
{
	static struct fs_read r;
	uint64_t sum = 14695981039346656037ull;
	struct fs_req req;

	fs_req_admin(&req, fs);
	for (uint64_t at = 0; at < size && at < 4 << 20; at += r.len) {
		int err = fs_read(&req, id, at, 65536, &r);

		if (err)
			return 0;	/* damaged */
		for (int i = 0; i < r.niov; i++)
			for (size_t k = 0; k < r.iov[i].iov_len; k++)
				sum = (sum ^ ((uint8_t *)r.iov[i].iov_base)[k]) * 1099511628211ull;
		fs_read_done(fs, &r);
		if (!r.len)
			break;
	}
	return sum;
}

void open_fs(struct work *w)
{
	struct fs_config cfg = { .cache_bytes = 16 << 20, .no_background = true, .seed = 5 };
	struct fs_volume_info v;

	REQUIRE(!fs_open(w->d, &cfg, &w->fs, NULL, 0));
	fs_req_admin(&w->req, w->fs);
	if (fs_volume_find(w->fs, "v", &v))
		REQUIRE(!fs_volume_create(&w->req, "v", &v));
	w->root = v.root;
}

struct fs_id make(struct work *w, struct fs_id dir, const char *name, enum fs_type type)
{
	struct fs_create how = { .type = type, .how = FS_CREATE_GUARDED };
	struct fs_attr a;

	REQUIRE(!fs_create(&w->req, dir, (struct fs_name){ name, strlen(name) }, &how, &a, NULL));
	return a.id;
}

void write_file(struct work *w, struct fs_id id, uint32_t len, uint8_t seed)
{
	static _Alignas(4096) uint8_t buf[256 << 10];
	struct iovec iov = { buf, len };

	for (uint32_t i = 0; i < len; i++)
		buf[i] = seed + i * 7 + i / 4096;
	REQUIRE(!fs_write(&w->req, id, 0, &iov, 1, len, true, NULL));
}

bool there(struct work *w, const char *path)
{
	struct fs_attr a;

	return !fs_lookup_path(&w->req, "v", path, &a);
}

void new_pool(struct work *w)
{
	struct dev_sim_opts opts = { .nblocks = 16384, .seed = 1, .check_stable = true,
				     .check_overlap = true };
	struct fs_format_opts format = { .log_bytes = 1 << 20, .uuid = { 1 } };

	REQUIRE(!dev_sim_new(&opts, &w->d) && !fs_format(w->d, &format));
	open_fs(w);
}
