/* SPDX-License-Identifier: Apache-2.0 */
/* See repl_kit.h. */
#include "repl_kit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "fs/repl.h"

/* ---- streams -------------------------------------------------------------------------------- */

static int take(void *arg, const void *data, size_t len)
{
	struct stream *s = arg;

	if (s->len + len > s->cap) {
		s->cap = 2 * (s->len + len);
		s->data = realloc(s->data, s->cap);
		sim_check(s->data != NULL, "no memory for a stream");
	}
	if (len)
		memcpy(s->data + s->len, data, len);
	s->len += len;
	return 0;
}

void stream_free(struct stream *s)
{
	free(s->data);
	*s = (struct stream){ 0 };
}

int repl_try_send(struct fs *fs, const struct send_opts *o, struct stream *ret, char why[SEND_WHY])
{
	*ret = (struct stream){ 0 };
	return send_run(fs, o, take, ret, &ret->stats, why);
}

void repl_send(struct fs *fs, const char *volume, const char *snapshot, const char *from,
	       const struct stream_token *token, uint64_t mark_bytes, struct stream *ret)
{
	struct send_opts o = { .volume = volume, .snapshot = snapshot, .from = from, .resume = token,
			       .mark_bytes = mark_bytes };
	char why[SEND_WHY];
	int rc = repl_try_send(fs, &o, ret, why);

	sim_check(!rc, "sending %s@%s: %s (%s)", volume, snapshot, sim_err(rc), why);
	sim_check(ret->stats.stream_bytes == ret->len, "the stream has %zu bytes, and says %llu", ret->len,
		  (unsigned long long)ret->stats.stream_bytes);
}

int repl_feed(struct receive *r, const void *data, size_t len, uint64_t seed)
{
	const uint8_t *p = data;
	struct rng rng;
	int rc = 0;

	rng_init(&rng, seed);
	while (!rc && len) {
		size_t n = 1 + rng_below(&rng, rng_one_in(&rng, 4) ? 40 : 100000);

		if (n > len)
			n = len;
		rc = receive_feed(r, p, n);
		p += n;
		len -= n;
	}
	return rc;
}

int repl_receive(struct fs *fs, const char *volume, const struct stream *s, bool force, bool *ret_kept,
		 struct stream_token *ret_token)
{
	struct stream_token token;
	struct receive *r;
	bool kept;
	int rc;

	sim_ok(receive_open(fs, volume, force, &r));
	rc = repl_feed(r, s->data, s->len, s->len);
	if (!rc)
		rc = receive_finish(r);
	sim_check(!rc == !receive_why(r)[0], "a failure that says nothing, or is none");
	kept = receive_close(r, &token);
	if (ret_kept) {
		*ret_kept = kept;
		*ret_token = token;
	}
	return rc;
}

size_t stream_record(const struct stream *s, unsigned i)
{
	size_t at = sizeof(struct stream_magic);
	struct stream_head h;

	while (i-- && at + sizeof(h) <= s->len) {
		memcpy(&h, s->data + at, sizeof(h));
		at += sizeof(h) + h.len;
	}
	return at < s->len ? at : s->len;
}

unsigned stream_records(const struct stream *s)
{
	size_t at = sizeof(struct stream_magic);
	struct stream_head h;
	unsigned n = 0;

	for (; at + sizeof(h) <= s->len; n++) {
		memcpy(&h, s->data + at, sizeof(h));
		at += sizeof(h) + h.len;
	}
	return n;
}

/* ---- targets -------------------------------------------------------------------------------- */

void target_open(struct rig *t, uint64_t nblocks, uint64_t seed)
{
	struct fs_format_opts f = { .uuid = { 2, 7 } };

	*t = (struct rig){ .cfg = { .seed = seed, .no_background = true } };
	t->dev = sim_disk_new(nblocks, seed);
	sim_ok(fs_format(t->dev, &f));
	rig_open(t);
}

void target_close(struct rig *t)
{
	sim_free_blocks(t->fs);
	sim_ok(fs_close(t->fs));
	sim_fsck(t->dev, "the target, at the end");
	dev_close(t->dev);
}

void target_open_image(struct rig *t, struct dev_sim_image *image, const struct fs_config *cfg, uint64_t seed)
{
	*t = (struct rig){ .cfg = *cfg };
	t->cfg.seed += seed;
	t->dev = sim_disk_open(0, seed, image);
	rig_open(t);
}

struct dev_sim_image *target_close_image(struct rig *t)
{
	struct dev_sim_image *image;

	sim_ok(fs_close(t->fs));
	image = dev_sim_crash_image(t->dev, DEV_SIM_CUT_KEEP, 0, NULL);
	dev_close(t->dev);
	return image;
}

void repl_expect_none_hidden(struct fs *fs, const char *volume)
{
	char hidden[FS_VOLUME_NAME_MAX + 1];
	struct fs_volume_info v;

	snprintf(hidden, sizeof(hidden), FS_HIDDEN_PREFIX "%016llx",
		 (unsigned long long)hash64(volume, strlen(volume)));
	sim_check(fs_hidden_find(fs, hidden, &v) == -ENOENT, "%s was left behind", hidden);
}

void repl_expect_nothing(struct fs *fs, const char *volume)
{
	struct fs_volume_info v;
	uint32_t after = 0;

	sim_check(fs_volume_find(fs, volume, &v) == -ENOENT, "%s is there", volume);
	while (!fs_volume_next(fs, after, &v)) {
		sim_check(v.name[0] != '.', "%s can be seen", v.name);
		after = v.id;
	}
	repl_expect_none_hidden(fs, volume);
}

/* ---- a mess --------------------------------------------------------------------------------- */

#define LIVE_MAX 200
struct mess {
	struct rig *r;
	struct rng *rng;
	struct { struct fs_id dir, id; char name[16]; enum fs_type type; } a[LIVE_MAX];
	unsigned n, made;
};

static void mess_read(struct mess *m, struct fs_id dir, unsigned depth)
{
	struct fs_dirlist list = { .buf = test_alloc(1 << 20), .cap = 1 << 20 };
	const struct fs_dirent *e;

	sim_ok(fs_readdir(&m->r->req, dir, 2, true, &list));
	e = list.buf;
	for (unsigned i = 0; i < list.n; i++, e = fs_dirent_next(e)) {
		if (m->n == LIVE_MAX || e->name_len > 15)
			continue;
		m->a[m->n].dir = dir;
		m->a[m->n].id = e->attr.id;
		m->a[m->n].type = e->attr.type;
		memcpy(m->a[m->n++].name, e->name, e->name_len + 1);
		if (e->attr.type == FS_DIR && depth < 6)
			mess_read(m, e->attr.id, depth + 1);
	}
	free(list.buf);
}

/* Something of TYPE, or -1. */
static int pick(struct mess *m, enum fs_type type)
{
	for (unsigned tries = 0; tries < 20 && m->n; tries++) {
		unsigned i = rng_below(m->rng, m->n);

		if (type == FS_FREE || m->a[i].type == type)
			return (int)i;
	}
	return -1;
}

static struct fs_id pick_dir(struct mess *m, struct fs_id root)
{
	int i = rng_one_in(m->rng, 3) ? -1 : pick(m, FS_DIR);

	return i < 0 ? root : m->a[i].id;
}

static uint64_t some_offset(struct mess *m)
{
	static const uint64_t far[] = { 0, 4096, 1 << 16, 2 << 20, (2 << 20) + 8192, 1 << 30, 3ULL << 40 };

	return far[rng_below(m->rng, rng_one_in(m->rng, 8) ? 7 : 4)] + rng_below(m->rng, 20000);
}

static void mess_make(struct mess *m, struct fs_id root)
{
	static const enum fs_type types[] = { FS_REG, FS_REG, FS_REG, FS_DIR, FS_LNK, FS_FIFO, FS_CHR, FS_SOCK };
	char target[200], name[16];
	struct fs_create how = { .type = types[rng_below(m->rng, 8)], .how = FS_CREATE_GUARDED,
		.target = target, .rdev_major = 4, .rdev_minor = 64, .set = {
		.mask = FS_SET_MODE | FS_SET_UID | FS_SET_GID | FS_SET_MTIME, .mode = rng_below(m->rng, 010000),
		.uid = rng_below(m->rng, 2000), .gid = rng_below(m->rng, 2000),
		.mtime = { rng_below(m->rng, 1u << 31), 123456789 } } };
	struct fs_attr a;

	memset(target, 'x', sizeof(target));
	target[rng_one_in(m->rng, 2) ? 10 : 150] = 0;
	snprintf(name, sizeof(name), "%u", (unsigned)rng_below(m->rng, 500));
	fs_create(&m->r->req, pick_dir(m, root), name_of(name), &how, &a, NULL);
}

static void mess_write(struct mess *m, struct fs_id id)
{
	struct fs_attr a;

	if (fs_getattr(&m->r->req, id, &a))
		return;			/* removed in this step */
	rig_write(m->r, id, some_offset(m), 1 + rng_below(m->rng, rng_one_in(m->rng, 4) ? 300000 : 9000),
		  rng_one_in(m->rng, 9) ? 0 : 1 + rng_below(m->rng, 1000));
}

static void mess_share(struct mess *m, struct fs_id id, struct fs_id other, struct fs_id root)
{
	uint64_t at = some_offset(m) / 4096 * 4096, to = some_offset(m) / 4096 * 4096;
	char name[16];
	struct fs_name n = { name, 0 };

	if (rng_one_in(m->rng, 2)) {
		n.len = snprintf(name, sizeof(name), "c%u", (unsigned)rng_below(m->rng, 300));
		fs_clone(&m->r->req, id, pick_dir(m, root), &n, 1, NULL, NULL);
	} else {
		fs_clone_range(&m->r->req, id, at, other, to, 4096 * rng_below(m->rng, 600), NULL);
	}
}

static void mess_attrs(struct mess *m, struct fs_id id)
{
	struct fs_setattr set = { .mask = rng_below(m->rng, 64) & ~FS_SET_SIZE, .mode = rng_below(m->rng, 010000),
				  .uid = rng_below(m->rng, 9), .gid = rng_below(m->rng, 9),
				  .atime = { 5, 6 }, .mtime = { -7, 8 } };
	char name[8], value[3000];

	fs_setattr(&m->r->req, id, &set, NULL);
	snprintf(name, sizeof(name), "x%u", (unsigned)rng_below(m->rng, 5));
	memset(value, name[1], sizeof(value));
	if (rng_one_in(m->rng, 3))
		fs_xattr_remove(&m->r->req, id, name_of(name), NULL);
	else
		fs_xattr_set(&m->r->req, id, name_of(name), value, rng_below(m->rng, sizeof(value)),
			     FS_XATTR_EITHER, NULL);
}

static void mess_names(struct mess *m, struct fs_id root, int i)
{
	struct fs_id to = pick_dir(m, root);
	char name[16];

	snprintf(name, sizeof(name), "%u", (unsigned)rng_below(m->rng, 500));
	switch (rng_below(m->rng, 4)) {
	case 0:
		fs_remove(&m->r->req, m->a[i].dir, name_of(m->a[i].name), NULL);
		break;
	case 1:
		fs_rmdir(&m->r->req, m->a[i].dir, name_of(m->a[i].name), NULL);
		break;
	case 2:
		fs_rename(&m->r->req, m->a[i].dir, name_of(m->a[i].name), to, name_of(name), NULL, NULL);
		break;
	case 3:
		fs_link(&m->r->req, m->a[i].id, to, name_of(name), false, NULL, NULL);
	}
}

static void mess_step(struct mess *m, struct fs_id root)
{
	int file = pick(m, FS_REG), other = pick(m, FS_REG), any = pick(m, FS_FREE);
	unsigned what = rng_below(m->rng, 10);
	struct fs_setattr size = { .mask = FS_SET_SIZE };

	if (what < 3 || file < 0 || other < 0 || any < 0) {
		mess_make(m, root);
	} else if (what < 5) {
		mess_write(m, m->a[file].id);
	} else if (what == 5) {
		mess_share(m, m->a[file].id, m->a[other].id, root);
	} else if (what == 6) {
		mess_attrs(m, m->a[any].id);
	} else if (what < 9) {
		mess_names(m, root, any);
	} else if (rng_one_in(m->rng, 2)) {
		size.size = some_offset(m);
		fs_setattr(&m->r->req, m->a[file].id, &size, NULL);
	} else {
		fs_punch(&m->r->req, m->a[file].id, some_offset(m), rng_below(m->rng, 3 << 20), NULL);
	}
}

void repl_mess(struct rig *r, struct fs_id root, struct rng *rng, unsigned n)
{
	struct mess *m = test_alloc(sizeof(*m));

	for (unsigned i = 0; i < n; i++) {
		*m = (struct mess){ .r = r, .rng = rng };
		mess_read(m, root, 0);
		for (unsigned k = 0; k < 4; k++)	/* some of it about what is gone by then */
			mess_step(m, root);
	}
	free(m);
}

/* ---- comparing ------------------------------------------------------------------------------ */

struct compare {
	struct fs_req a, b;
	struct { uint64_t a, b; struct fs_id a_origin, b_origin; } *seen;	/* inodes that are one */
	unsigned nseen, seen_cap;
	char path[2000];
};

static void differ(struct compare *c, const char *what)
{
	sim_fail("%s: %s differs", c->path[0] ? c->path : "/", what);
}

static bool same_time(struct fs_time a, struct fs_time b)
{
	return a.sec == b.sec && a.nsec == b.nsec;
}

static void same_attr(struct compare *c, const struct fs_attr *a, const struct fs_attr *b)
{
	if (a->type != b->type || a->mode != b->mode)
		differ(c, "type or mode");
	if (a->uid != b->uid || a->gid != b->gid)
		differ(c, "the owner");
	if (a->nlink != b->nlink || (a->type != FS_DIR && a->size != b->size))
		differ(c, "links or size");
	if (a->rdev_major != b->rdev_major || a->rdev_minor != b->rdev_minor)
		differ(c, "the device");
	if (!same_time(a->mtime, b->mtime) || !same_time(a->atime, b->atime))
		differ(c, "mtime or atime");
	if (!same_time(a->ctime, b->ctime) || !same_time(a->btime, b->btime))
		differ(c, "ctime or btime");
}

static void same_bytes(struct compare *c, struct fs_id a, struct fs_id b, uint64_t from, uint64_t end)
{
	struct fs_read *ra = test_alloc(sizeof(*ra)), *rb = test_alloc(sizeof(*rb));
	char *bytes = test_alloc(2 * 65536);

	while (from < end) {
		uint32_t n = end - from < 65536 ? end - from : 65536;
		size_t at = 0, to = 65536;

		sim_ok(fs_read(&c->a, a, from, n, ra));
		sim_ok(fs_read(&c->b, b, from, n, rb));
		if (ra->len != n || rb->len != n)
			differ(c, "the length");
		for (int i = 0; i < ra->niov; at += ra->iov[i++].iov_len)
			memcpy(bytes + at, ra->iov[i].iov_base, ra->iov[i].iov_len);
		for (int i = 0; i < rb->niov; to += rb->iov[i++].iov_len)
			memcpy(bytes + to, rb->iov[i].iov_base, rb->iov[i].iov_len);
		if (memcmp(bytes, bytes + 65536, n))
			differ(c, "the content");
		fs_read_done(c->a.fs, ra);
		fs_read_done(c->b.fs, rb);
		from += n;
	}
	free(ra);
	free(rb);
	free(bytes);
}

/* Data and holes; blocks of zeros may have become holes. */
static void same_data(struct compare *c, const struct fs_attr *a, const struct fs_attr *b)
{
	uint64_t start, end = 0, at;
	int rc;

	if (b->mapped_bytes > a->mapped_bytes)
		differ(c, "what is mapped");
	while (!(rc = fs_seek(&c->a, a->id, end, true, &start))) {
		rc = fs_seek(&c->b, b->id, end, true, &at);
		if (rc ? rc != -ENXIO : at < start)
			differ(c, "a hole");
		sim_ok(fs_seek(&c->a, a->id, start, false, &end));
		same_bytes(c, a->id, b->id, start, end);
	}
	sim_check(rc == -ENXIO, "%s: seeking: %s", c->path, sim_err(rc));
	if (fs_seek(&c->b, b->id, end, true, &at) != -ENXIO)
		differ(c, "what is behind the last data");
}

static void same_xattrs(struct compare *c, struct fs_id a, struct fs_id b)
{
	static char la[65536], lb[65536];
	char va[3000], vb[3000];
	struct fs_xattr_list xa = { .buf = la, .cap = sizeof(la) }, xb = { .buf = lb, .cap = sizeof(lb) };
	uint32_t na, nb;

	sim_ok(fs_xattr_list(&c->a, a, 0, &xa));
	sim_ok(fs_xattr_list(&c->b, b, 0, &xb));
	if (xa.n != xb.n || xa.len != xb.len || memcmp(la, lb, xa.len))
		differ(c, "the names of attributes");
	for (uint32_t at = 0; at < xa.len; at += strlen(la + at) + 1) {
		sim_ok(fs_xattr_get(&c->a, a, name_of(la + at), va, sizeof(va), &na));
		sim_ok(fs_xattr_get(&c->b, b, name_of(la + at), vb, sizeof(vb), &nb));
		if (na != nb || memcmp(va, vb, na))
			differ(c, "an attribute");
	}
}

static void same_object(struct compare *c, const struct fs_attr *a, const struct fs_attr *b);

/* All of a directory, in a buffer that is mostly small: to clear a large one takes longer than to compare. */
static void list_all(struct fs_req *req, struct fs_id dir, struct fs_dirlist *ret)
{
	for (uint32_t cap = 16384; ; cap *= 8) {
		*ret = (struct fs_dirlist){ .buf = test_alloc(cap), .cap = cap };
		sim_ok(fs_readdir(req, dir, 2, true, ret));
		if (ret->eof)
			return;
		sim_check(cap < 1 << 20, "a directory that is too large for this test");
		free(ret->buf);
	}
}

static void same_dir(struct compare *c, struct fs_id a, struct fs_id b)
{
	struct fs_dirlist la, lb;
	const struct fs_dirent *e;
	struct fs_attr other;
	size_t len = strlen(c->path);

	list_all(&c->a, a, &la);
	list_all(&c->b, b, &lb);
	if (la.n != lb.n)
		differ(c, "how many names there are");
	e = la.buf;
	for (unsigned i = 0; i < la.n; i++, e = fs_dirent_next(e)) {
		snprintf(c->path + len, sizeof(c->path) - len, "/%s", e->name);
		if (fs_lookup(&c->b, b, (struct fs_name){ e->name, e->name_len }, &other, NULL))
			differ(c, "whether it is there");
		same_object(c, &e->attr, &other);
	}
	c->path[len] = 0;
	free(la.buf);
	free(lb.buf);
}

static void more_seen(struct compare *c)
{
	unsigned cap = c->seen_cap ? 4 * c->seen_cap : 64;
	void *seen = test_alloc(cap * sizeof(*c->seen));

	if (c->nseen)
		memcpy(seen, c->seen, c->nseen * sizeof(*c->seen));
	free(c->seen);
	c->seen = seen;
	c->seen_cap = cap;
}

static void same_object(struct compare *c, const struct fs_attr *a, const struct fs_attr *b)
{
	char ta[FS_SYMLINK_MAX + 1], tb[FS_SYMLINK_MAX + 1];

	same_attr(c, a, b);
	for (unsigned i = 0; i < c->nseen; i++)
		if (c->seen[i].a == a->id.ino || c->seen[i].b == b->id.ino) {
			if (c->seen[i].a != a->id.ino || c->seen[i].b != b->id.ino)
				differ(c, "what is the same file");
			return;
		}
	if (c->nseen == c->seen_cap)
		more_seen(c);
	c->seen[c->nseen].a = a->id.ino;
	c->seen[c->nseen].a_origin = a->origin;
	c->seen[c->nseen].b_origin = b->origin;
	c->seen[c->nseen++].b = b->id.ino;
	if (a->type == FS_REG || a->type == FS_DIR)
		same_xattrs(c, a->id, b->id);
	if (a->type == FS_REG)
		same_data(c, a, b);
	if (a->type == FS_DIR)
		same_dir(c, a->id, b->id);
	if (a->type == FS_LNK) {
		sim_ok(fs_readlink(&c->a, a->id, ta, NULL));
		sim_ok(fs_readlink(&c->b, b->id, tb, NULL));
		if (strcmp(ta, tb))
			differ(c, "the target of a link");
	}
}

/* What has been cloned from what, as far as that is there and has a name. */
static void same_origins(struct compare *c, struct fs_id a, struct fs_id b)
{
	for (unsigned i = 0; i < c->nseen; i++) {
		struct fs_id from = c->seen[i].a_origin, to = c->seen[i].b_origin;
		struct fs_attr x;
		unsigned k;

		from.snapshot = a.snapshot;
		if (!from.ino || fs_getattr(&c->a, from, &x) || !x.nlink)
			continue;
		for (k = 0; k < c->nseen && c->seen[k].a != from.ino; k++)
			;
		sim_check(k < c->nseen, "inode %llu has a name that was not found", (unsigned long long)from.ino);
		sim_check(to.ino == c->seen[k].b && to.volume == b.volume,
			  "inode %llu comes from %llu, and its copy from %llu, not %llu", (unsigned long long)c->seen[i].a,
			  (unsigned long long)from.ino, (unsigned long long)to.ino, (unsigned long long)c->seen[k].b);
		to.snapshot = b.snapshot;
		sim_check(!fs_getattr(&c->b, to, &x), "its copy's is gone");
	}
}

void repl_same(struct fs *a, const char *a_name, struct fs *b, const char *b_name)
{
	struct compare *c = test_alloc(sizeof(*c));
	struct fs_attr ra, rb;

	fs_req_admin(&c->a, a);
	fs_req_admin(&c->b, b);
	sim_ok(fs_lookup_path(&c->a, a_name, "/", &ra));
	sim_ok(fs_lookup_path(&c->b, b_name, "/", &rb));
	same_object(c, &ra, &rb);
	same_origins(c, ra.id, rb.id);
	free(c->seen);
	free(c);
}
