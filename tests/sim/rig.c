/* SPDX-License-Identifier: Apache-2.0 */
/* See rig.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fiber.h"
#include "base/loop.h"
#include "rig.h"

static struct fs_name name_of(const char *s)
{
	return (struct fs_name){ s, strlen(s) };
}

void rig_open(struct rig *r)
{
	struct fs_volume_info *v = test_alloc(sizeof(*v));

	r->fs = sim_open(r->dev, &r->cfg);
	fs_req_admin(&r->req, r->fs);
	if (!fs_volume_find(r->fs, "main", v))
		r->root = v->root;
	free(v);
}

void rig_reopen(struct rig *r)
{
	sim_ok(fs_close(r->fs));
	sim_fsck(r->dev, "after closing");
	rig_open(r);
}

void rig_power_cut(struct rig *r, enum dev_sim_cut_mode mode, uint64_t seed)
{
	struct dev_sim_image *image;

	dev_sim_cut_now(r->dev);
	image = dev_sim_crash_image(r->dev, mode, seed, NULL);
	fs_abandon(r->fs);
	dev_close(r->dev);
	r->dev = sim_disk_open(0, seed, image);
	dev_sim_image_put(image);
	rig_open(r);
}

void rig_stable(struct rig *r)
{
	sim_ok(fs_wait_stable(r->fs, fs_last_seq(r->fs)));
}

struct call { void (*fn)(void *); void *arg; };

static void call_fn(void *arg)
{
	struct call *c = arg;

	c->fn(c->arg);
}

void rig_parallel(struct rig *r, void (*const fns[])(void *arg), unsigned n)
{
	struct call *calls = test_alloc(n * sizeof(*calls));

	for (unsigned i = 0; i < n; i++)
		calls[i] = (struct call){ fns[i], r };
	sim_parallel(call_fn, calls, sizeof(*calls), n);
	free(calls);
}

struct fs_id rig_create(struct rig *r, const char *name)
{
	struct fs_create how = { .type = FS_REG, .how = FS_CREATE_GUARDED };
	struct fs_attr a;

	sim_ok(fs_create(&r->req, r->root, name_of(name), &how, &a, NULL));
	return a.id;
}

struct fs_id rig_find(struct rig *r, const char *name)
{
	struct fs_attr a;
	int rc = fs_lookup(&r->req, r->root, name_of(name), &a, NULL);

	sim_check(!rc, "lookup %s: %s", name, sim_err(rc));
	return a.id;
}

int rig_try_clone(struct rig *r, struct fs_id src, const char *name, struct fs_id *ret_id)
{
	struct fs_name n = name_of(name);
	struct fs_attr a;
	uint32_t bad;
	int rc = fs_clone(&r->req, src, r->root, &n, 1, &bad, &a);

	if (!rc)
		*ret_id = a.id;
	return rc;
}

struct fs_id rig_clone(struct rig *r, struct fs_id src, const char *name)
{
	struct fs_id id = { 0 };
	int rc = rig_try_clone(r, src, name, &id);

	sim_check(!rc, "clone to %s: %s", name, sim_err(rc));
	return id;
}

void rig_pattern(uint64_t seed, uint64_t offset, void *buf, uint32_t len)
{
	if (seed)
		op_pattern(seed * 16 + 15, offset, buf, len);
	else
		memset(buf, 0, len);
}

void rig_write(struct rig *r, struct fs_id id, uint64_t offset, uint32_t len, uint64_t seed)
{
	struct iovec iov = { test_alloc(len), len };

	rig_pattern(seed, offset, iov.iov_base, len);
	sim_ok(fs_write(&r->req, id, offset, &iov, 1, len, true, NULL));
	free(iov.iov_base);
}

void rig_write_quiet(struct rig *r, struct fs_id id, uint64_t offset, uint32_t len, uint64_t seed)
{
	struct iovec iov = { test_alloc(len), len };

	rig_pattern(seed, offset, iov.iov_base, len);
	sim_ok(fs_write(&r->req, id, offset, &iov, 1, len, false, NULL));
	free(iov.iov_base);
}

void rig_write_big_unstable(struct rig *r, struct fs_id id)
{
	rig_write_quiet(r, id, 1 << 20, 262144, 99);
}

void rig_write_number(struct rig *r, struct fs_id id, uint64_t offset, uint64_t n)
{
	struct iovec iov = { &n, sizeof(n) };

	sim_ok(fs_write(&r->req, id, offset, &iov, 1, sizeof(n), true, NULL));
}

uint64_t rig_read_number(struct rig *r, struct fs_id id, uint64_t offset)
{
	struct fs_read *rd = test_alloc(sizeof(*rd));
	uint64_t n;

	sim_ok(fs_read(&r->req, id, offset, sizeof(n), rd));
	sim_check(rd->niov == 1 && rd->len == sizeof(n), "a short read");
	memcpy(&n, rd->iov[0].iov_base, sizeof(n));
	fs_read_done(r->fs, rd);
	free(rd);
	return n;
}

void rig_expect(struct rig *r, struct fs_id id, uint64_t offset, uint32_t len, uint64_t seed)
{
	struct fs_read *rd = test_alloc(sizeof(*rd));
	unsigned char *want = test_alloc(len);
	uint32_t at = 0;

	sim_ok(fs_read(&r->req, id, offset, len, rd));
	sim_check(rd->len == len, "read of %u at %llu gave %u", len, (unsigned long long)offset, rd->len);
	rig_pattern(seed, offset, want, len);
	for (int i = 0; i < rd->niov; at += rd->iov[i++].iov_len)
		for (uint32_t k = 0; k < rd->iov[i].iov_len; k++)
			sim_check(((unsigned char *)rd->iov[i].iov_base)[k] == want[at + k],
				  "ino %llu: byte %llu is %#x, not %#x of seed %llu",
				  (unsigned long long)id.ino, (unsigned long long)offset + at + k,
				  ((unsigned char *)rd->iov[i].iov_base)[k], want[at + k],
				  (unsigned long long)seed);
	fs_read_done(r->fs, rd);
	free(want);
	free(rd);
}

void rig_truncate(struct rig *r, struct fs_id id, uint64_t size)
{
	struct fs_setattr s = { .mask = FS_SET_SIZE, .size = size };

	sim_ok(fs_setattr(&r->req, id, &s, NULL));
}

void rig_remove(struct rig *r, const char *name)
{
	int rc = fs_remove(&r->req, r->root, name_of(name), NULL);

	sim_check(!rc, "remove %s: %s", name, sim_err(rc));
}

void rig_fill(struct rig *r, unsigned nfiles)
{
	char name[32];

	for (unsigned i = 0; i < nfiles; i++) {
		snprintf(name, sizeof(name), "fill%u", i);
		rig_write_quiet(r, rig_create(r, name), 0, 40960, 1000 + i);
	}
}

uint32_t rig_count(struct rig *r)
{
	struct fs_dirlist list = { .cap = 65536 };
	uint64_t cookie = 0;
	uint32_t n = 0;

	list.buf = test_alloc(list.cap);
	do {
		const struct fs_dirent *e = list.buf;

		sim_ok(fs_readdir(&r->req, r->root, cookie, false, &list));
		for (unsigned i = 0; i < list.n; i++, e = fs_dirent_next(e))
			cookie = e->cookie;
		n += list.n;
	} while (!list.eof);
	free(list.buf);
	return n - 2;
}

uint64_t rig_free(struct rig *r)
{
	return sim_free_blocks(r->fs);
}

static void run_one(void *arg)
{
	const struct rig_test *t = arg;
	struct rig *r = test_alloc(sizeof(*r));
	struct fs_volume_info *v = test_alloc(sizeof(*v));

	r->cfg = (struct fs_config){ .cache_bytes = 16 << 20, .seed = 1, .max_refs = t->max_refs,
				     .no_background = !t->background };
	r->dev = sim_disk_new(t->nblocks, 1);
	sim_ok(fs_format(r->dev, &(struct fs_format_opts){ .uuid = { 1 } }));
	rig_open(r);
	sim_ok(fs_volume_create(&r->req, "main", v));
	r->root = v->root;
	t->fn(r);
	sim_ok(fs_close(r->fs));
	sim_fsck(r->dev, "at the end");
	dev_close(r->dev);
	free(v);
	free(r);
}

int rig_main(const struct rig_test *tests, unsigned n, int argc, char **argv)
{
	unsigned done = 0;

	for (unsigned i = 0; i < n; i++) {
		if (argc > 1 && strcmp(argv[1], tests[i].name))
			continue;
		snprintf(sim_replay, sizeof(sim_replay), "%s %s", argv[0], tests[i].name);
		printf("%s\n", tests[i].name);
		fflush(stdout);
		sim_run(run_one, (void *)&tests[i]);
		sim_check(!dev_sim_live_pages(), "pages of disks are left over");
		done++;
	}
	if (!done)
		fprintf(stderr, "no such test: %s\n", argv[1]);
	return done ? 0 : 2;
}
