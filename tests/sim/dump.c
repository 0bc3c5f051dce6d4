/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a whole pool back through its door and compares it with the model.  See sim.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "sim.h"

#define LIST_BUF 8192

static void *grow(void *p, uint32_t n, uint32_t *cap, size_t size)
{
	if (n < *cap)
		return p;
	*cap = *cap ? 2 * *cap : 64;
	p = realloc(p, *cap * size);
	if (!p)
		abort();
	return p;
}

/* Adds the blocks of one extent that the store calls data.  Returns how many are zeros. */
static uint64_t dump_extent(struct fs_req *req, struct fs_id id, uint64_t from, uint64_t to, uint64_t *sum)
{
	struct fs_read *r = test_alloc(sizeof(*r));
	uint64_t zeros = 0;
	unsigned char page[MBLOCK];

	while (from < to) {
		uint32_t want = to - from < FS_IO_MAX ? to - from : FS_IO_MAX, at = 0;

		sim_ok(fs_read(req, id, from, want, r));
		sim_check(r->len == want, "ino %llu: read of %u at %llu gave %u",
			  (unsigned long long)id.ino, want, (unsigned long long)from, r->len);
		memset(page, 0, MBLOCK);
		for (int i = 0; i < r->niov; i++) {
			const unsigned char *p = r->iov[i].iov_base;
			size_t left = r->iov[i].iov_len;

			while (left) {
				uint32_t k = MBLOCK - at % MBLOCK;

				if (k > left)
					k = left;
				memcpy(page + at % MBLOCK, p, k);
				p += k;
				left -= k;
				at += k;
				if (at % MBLOCK && at < want)
					continue;
				if (!block_is_zero(page))
					*sum += block_hash((from + at - 1) / MBLOCK, page);
				else
					zeros++;
				memset(page, 0, MBLOCK);
			}
		}
		fs_read_done(req->fs, r);
		from += want;
	}
	free(r);
	return zeros;
}

static uint64_t dump_content(struct fs_req *req, const struct fs_attr *a, uint64_t *ret_mapped)
{
	uint64_t data, hole = 0, sum = 0, mapped = 0, zeros = 0;
	int rc;

	while (hole < a->size) {
		rc = fs_seek(req, a->id, hole, true, &data);
		if (rc == -ENXIO)
			break;
		sim_ok(rc);
		sim_check(data >= hole && data < a->size, "seek for data went back or past the end");
		sim_ok(fs_seek(req, a->id, data, false, &hole));
		sim_check(hole > data && hole <= a->size, "ino %llu: no end to the data at %llu: %llu",
			  (unsigned long long)a->id.ino, (unsigned long long)data,
			  (unsigned long long)hole);
		mapped += (hole - data + MBLOCK - 1) / MBLOCK * MBLOCK;
		zeros += dump_extent(req, a->id, data, hole, &sum);
	}
	sim_check(mapped == a->mapped_bytes, "ino %llu: mapped_bytes %llu, but seek finds %llu",
		  (unsigned long long)a->id.ino, (unsigned long long)a->mapped_bytes,
		  (unsigned long long)mapped);
	if (a->size > 0 && a->size <= 65536) {	/* holes too, where it costs little */
		uint64_t again = 0;

		dump_extent(req, a->id, 0, a->size, &again);
		sim_check(again == sum, "ino %llu: holes are not zeros", (unsigned long long)a->id.ino);
	}
	*ret_mapped = mapped - (sim_zeros_vanish ? zeros * MBLOCK : 0);
	return sum;
}

uint64_t sim_xattrs(struct fs_req *req, struct fs_id id, int *ret_rc)
{
	unsigned char *value = test_alloc(FS_XATTR_VALUE_MAX);
	struct fs_xattr_list l = { .buf = test_alloc(FS_NAME_MAX + 1), .cap = FS_NAME_MAX + 1 };
	uint64_t sum = 0;
	uint32_t len;

	do {
		const char *s = l.buf;

		*ret_rc = fs_xattr_list(req, id, l.cookie, &l);
		for (uint32_t i = 0; !*ret_rc && i < l.n; i++, s += strlen(s) + 1) {
			*ret_rc = fs_xattr_get(req, id, (struct fs_name){ s, strlen(s) }, value,
					       FS_XATTR_VALUE_MAX, &len);
			if (!*ret_rc)
				sum = xattr_hash(sum, s, strlen(s), text_hash((char *)value, len));
		}
	} while (!*ret_rc && !l.eof);
	free(l.buf);
	free(value);
	return sum;
}

static void dump_quota(struct fs_req *req, const struct fs_attr *a, struct noderec *r)
{
	struct fs_quota q;
	int rc = fs_quota_get(req, a->id, &q);

	if (rc == -ENODATA)
		return;
	sim_ok(rc);
	r->quota_ino = q.dir.ino;
	r->quota_limit = q.dir.ino == a->id.ino ? q.limit_blocks : 0;
}

static void dump_inode(struct fs_req *req, struct dump *d, const struct fs_attr *a)
{
	int rc = 0;
	struct noderec *r;
	char *target;

	d->recs = grow(d->recs, d->nrecs, &d->recs_cap, sizeof(*d->recs));
	r = &d->recs[d->nrecs++];
	*r = (struct noderec){
		.volume = a->id.volume, .snapshot = a->id.snapshot, .ino = a->id.ino, .generation = a->id.generation,
		.type = a->type, .mode = a->mode, .uid = a->uid, .gid = a->gid, .nlink = a->nlink,
		.rdev = (uint64_t)a->rdev_major << 32 | a->rdev_minor, .change = a->change,
		.mtime_sec = a->mtime.sec, .mtime_nsec = a->mtime.nsec,
		.ctime_sec = a->ctime.sec, .ctime_nsec = a->ctime.nsec,
		.origin_ino = a->origin.ino, .origin_generation = a->origin.generation,
	};
	if (a->type == FS_REG || a->type == FS_LNK)
		r->size = a->size;
	if (a->type == FS_REG) {
		r->content = dump_content(req, a, &r->mapped);
	}
	if (a->type == FS_LNK) {
		target = test_alloc(FS_SYMLINK_MAX + 1);
		sim_ok(fs_readlink(req, a->id, target, NULL));
		r->target = text_hash(target, strlen(target));
		free(target);
	}
	if (a->type == FS_REG || a->type == FS_DIR)
		r->xattrs = sim_xattrs(req, a->id, &rc);
	sim_ok(rc);
	if (d->quotas && !a->id.snapshot)
		dump_quota(req, a, r);
	d->hash += noderec_hash(r);
}

static bool dumped(const struct dump *d, struct fs_id id, uint32_t from)
{
	for (uint32_t i = from; i < d->nrecs; i++)
		if (d->recs[i].ino == id.ino)
			return true;
	return false;
}

static void dump_entry(struct fs_req *req, struct dump *d, struct fs_id dir,
		       const struct fs_dirent *e, uint32_t first)
{
	struct dump_dirent *x;

	sim_check(e->attr.id.ino == e->ino, "readdir: the entry's inode is not its attributes'");
	d->ents = grow(d->ents, d->nents, &d->ents_cap, sizeof(*d->ents));
	x = &d->ents[d->nents++];
	*x = (struct dump_dirent){ dir, test_alloc(e->name_len + 1), e->name_len, e->ino };
	memcpy(x->name, e->name, e->name_len);
	d->hash += dirent_hash(dir, e->name, e->name_len, e->ino);
	if (e->attr.nlink == 1 || e->attr.type == FS_DIR || !dumped(d, e->attr.id, first))
		dump_inode(req, d, &e->attr);
}

static void dump_dots(const struct fs_dirent *e, struct fs_id dir)
{
	sim_check(e->name_len == e->cookie && !memcmp(e->name, "..", e->name_len),
		  "readdir: cookie %llu is not a dot", (unsigned long long)e->cookie);
	sim_check(e->cookie != 1 || e->ino == dir.ino, "readdir: '.' is another inode");
}

static void dump_dir(struct fs_req *req, struct dump *d, struct fs_id dir, uint32_t first)
{
	struct fs_dirlist list = { .cap = LIST_BUF };
	uint64_t cookie = 0;

	list.buf = test_alloc(LIST_BUF);
	do {
		const struct fs_dirent *e = list.buf;

		sim_ok(fs_readdir(req, dir, cookie, true, &list));
		sim_check(list.n || list.eof, "readdir gave nothing, and no end");
		for (unsigned i = 0; i < list.n; i++, e = fs_dirent_next(e)) {
			sim_check(e->cookie > cookie, "readdir: cookies don't ascend");
			cookie = e->cookie;
			if (cookie <= 2)
				dump_dots(e, dir);
			else
				dump_entry(req, d, dir, e, first);
		}
	} while (!list.eof);
	free(list.buf);
}

/* The hidden directory of a volume's files without a name. */
static void dump_orphans(struct fs_req *req, struct dump *d, uint32_t volume)
{
	struct fs_id dir = { .volume = volume, .ino = 2 };
	struct fs_dirlist list = { .cap = LIST_BUF };
	struct dump orphans = { .quotas = d->quotas };
	uint64_t cookie = 2;

	list.buf = test_alloc(LIST_BUF);
	do {
		const struct fs_dirent *e = list.buf;

		sim_ok(fs_readdir(req, dir, cookie, true, &list));
		for (unsigned i = 0; i < list.n; i++, e = fs_dirent_next(e)) {
			cookie = e->cookie;
			dump_inode(req, &orphans, &e->attr);
		}
	} while (!list.eof);
	free(list.buf);
	d->orphans_hash += orphans.hash;
	d->norphans += orphans.nrecs;
	dump_done(&orphans);
}

/* D grows as directories are found: a walk without recursion. */
static void dump_root(struct fs_req *req, struct dump *d, struct fs_id id)
{
	uint32_t first = d->nrecs;
	struct fs_attr root;

	sim_ok(fs_getattr(req, id, &root));
	dump_inode(req, d, &root);
	for (uint32_t i = first; i < d->nrecs; i++) {
		struct noderec *r = &d->recs[i];

		if (r->type == FS_DIR)
			dump_dir(req, d, (struct fs_id){ r->volume, r->snapshot, r->ino, r->generation },
				 first);
	}
}

static void dump_snapshots(struct fs_req *req, struct dump *d, uint32_t volume)
{
	struct fs_snapshot_info s = { 0 };
	int rc;

	while (!(rc = fs_snapshot_next(req->fs, volume, s.id, &s))) {
		d->hash += text_hash(s.name, strlen(s.name)) * (s.id + 1);
		dump_root(req, d, s.root);
	}
	sim_check(rc == -ENOENT, "fs_snapshot_next: %s", sim_err(rc));
}

void dump_take(struct fs *fs, struct dump *d)
{
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct fs_req req;
	uint32_t after = 0;
	int rc;

	*d = (struct dump){ 0 };
	fs_req_admin(&req, fs);
	while (!(rc = fs_volume_next(fs, after, v))) {
		after = v->id;
		d->hash += volume_hash(v->name, v->id, v->reserve_blocks);
		d->quotas = v->quota_dirs;
		dump_root(&req, d, v->root);
		dump_orphans(&req, d, v->id);
		dump_snapshots(&req, d, v->id);
	}
	sim_check(rc == -ENOENT, "fs_volume_next: %s", sim_err(rc));
	free(v);
}

void dump_done(struct dump *d)
{
	for (uint32_t i = 0; i < d->nents; i++)
		free(d->ents[i].name);
	free(d->ents);
	free(d->recs);
}

/* ---- finding the difference -------------------------------------------------------------- */

static unsigned named_nodes(const struct model *m)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < m->nnodes; i++)
		n += !m->nodes[i]->unnamed;
	for (uint32_t i = 0; i < m->nsnaps; i++)
		n += named_nodes(m->snaps[i]->m);
	return n;
}

static unsigned all_names(const struct model *m)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < m->nnodes; i++)
		n += m->nodes[i]->nents;
	for (uint32_t i = 0; i < m->nsnaps; i++)
		n += all_names(m->snaps[i]->m);
	return n;
}

static unsigned diff_recs(const struct dump *d, struct model *m)
{
	unsigned lines = 0, named = 0;
	char text[700];

	for (uint32_t i = 0; i < d->nrecs; i++) {
		const struct noderec *r = &d->recs[i];
		struct mnode *n = model_find_any(m, (struct fs_id){ r->volume, r->snapshot, r->ino,
								    r->generation });
		struct noderec want;

		if (n)
			model_noderec(n, &want);
		if (n && !memcmp(r, &want, sizeof(want)))
			continue;
		noderec_print(r, text, sizeof(text));
		fprintf(stderr, "store: %s\n", text);
		if (n)
			noderec_print(&want, text, sizeof(text));
		fprintf(stderr, "model: %s\n", n ? text : "has no such inode");
		if (++lines > 10)
			break;
	}
	named = named_nodes(m);
	if (named != d->nrecs) {
		fprintf(stderr, "store has %u inodes, model %u\n", d->nrecs, named);
		lines++;
	}
	return lines;
}

static unsigned diff_ents(const struct dump *d, struct model *m)
{
	unsigned lines = 0, n = 0;

	for (uint32_t i = 0; i < d->nents && lines < 20; i++) {
		const struct dump_dirent *e = &d->ents[i];
		struct mnode *dir = model_find_any(m, e->dir), *x;

		x = dir ? model_lookup(dir, e->name, e->len) : NULL;
		if (x && x->id.ino == e->ino)
			continue;
		fprintf(stderr, "store: dir %llu has '%s' -> %llu, model -> %llu\n",
			(unsigned long long)e->dir.ino, e->name, (unsigned long long)e->ino,
			x ? (unsigned long long)x->id.ino : 0);
		lines++;
	}
	n = all_names(m);
	if (n == d->nents)
		return lines;
	fprintf(stderr, "store has %u names, model %u\n", d->nents, n);
	for (uint32_t i = 0; i < m->nnodes && lines < 20; i++) {
		for (uint32_t j = 0; j < m->nodes[i]->nents; j++) {
			const struct mdirent *e = &m->nodes[i]->ents[j];
			uint32_t k;

			for (k = 0; k < d->nents; k++)
				if (d->ents[k].len == e->len && !memcmp(d->ents[k].name, e->name, e->len) &&
				    d->ents[k].dir.ino == m->nodes[i]->id.ino &&
				    d->ents[k].dir.volume == m->nodes[i]->id.volume)
					break;
			if (k == d->nents)
				fprintf(stderr, "model only: dir %llu '%s'\n",
					(unsigned long long)m->nodes[i]->id.ino, e->name), lines++;
		}
	}
	return lines + 1;
}

unsigned dump_diff(const struct dump *d, struct model *m)
{
	unsigned lines = diff_recs(d, m) + diff_ents(d, m);

	if (!lines && d->hash != model_hash(m)) {
		fprintf(stderr, "the volumes differ\n");
		lines++;
	}
	return lines;
}

void sim_compare(struct fs *fs, struct model *m, const char *when)
{
	struct dump d;

	dump_take(fs, &d);
	if (d.hash != model_hash(m)) {
		dump_diff(&d, m);
		sim_fail("store and model differ %s", when);
	}
	sim_check(d.orphans_hash == model_orphans_hash(m), "files without a name differ %s (%u)", when,
		  d.norphans);
	dump_done(&d);
}

/* ---- where faults are about ---------------------------------------------------------------- */

struct tolerant { struct fs *fs; bool (*allowed)(void *arg, int rc); void *arg; unsigned errors; };

static bool failed(struct tolerant *t, int rc, const char *what)
{
	sim_check(!rc || t->allowed(t->arg, rc), "%s: %s", what, sim_err(rc));
	t->errors += rc != 0;
	return rc;
}

static void tolerant_data(struct tolerant *t, const struct mnode *n, uint64_t offset)
{
	struct op op = { .kind = OP_READ, .id = n->id, .offset = offset, .len = FS_IO_MAX };
	unsigned char *want = test_alloc(op.len);
	uint64_t hole, want_hole;
	struct fs_req req;

	fs_req_admin(&req, t->fs);
	sim_exec(t->fs, &op, NULL);
	if (!failed(t, op.rc, "read"))
		sim_check(op.got == model_read(n, offset, op.len, want) &&
			  !memcmp(want, op.data, op.got), "ino %llu: wrong data at %llu, and no error",
			  (unsigned long long)n->id.ino, (unsigned long long)offset);
	if (offset < n->size && !failed(t, fs_seek(&req, n->id, offset, false, &hole), "seek"))
		sim_check(!model_seek(n, offset, false, &want_hole) && hole == want_hole,
			  "ino %llu: a hole at %llu, not %llu", (unsigned long long)n->id.ino,
			  (unsigned long long)hole, (unsigned long long)want_hole);
	op_done(&op);
	free(want);
}

static void tolerant_xattrs(struct tolerant *t, struct mnode *n)
{
	struct noderec want;
	struct fs_req req;
	uint64_t sum;
	int rc;

	fs_req_admin(&req, t->fs);
	model_noderec(n, &want);
	sum = sim_xattrs(&req, n->id, &rc);
	if (!failed(t, rc, "attributes"))
		sim_check(sum == want.xattrs, "ino %llu: wrong extended attributes, and no error",
			  (unsigned long long)n->id.ino);
}

static void tolerant_node(struct tolerant *t, struct mnode *n)
{
	struct fs_attr a;
	struct fs_req req;

	fs_req_admin(&req, t->fs);
	if (!failed(t, fs_getattr(&req, n->id, &a), "getattr"))
		sim_check(a.change == n->change && a.nlink == n->nlink && a.mode == n->mode &&
			  (n->type != FS_REG || (a.size == n->size && (sim_zeros_vanish || a.mapped_bytes ==
						 (uint64_t)n->content->n * MBLOCK))),
			  "ino %llu: wrong attributes, and no error", (unsigned long long)n->id.ino);
	if (n->type == FS_REG || n->type == FS_DIR)
		tolerant_xattrs(t, n);
	for (uint32_t i = 0; i < n->nents; i++) {
		struct mdirent *e = &n->ents[i];

		if (!failed(t, fs_lookup(&req, n->id, (struct fs_name){ e->name, e->len }, &a, NULL),
			    "lookup"))
			sim_check(a.id.ino == e->node->id.ino, "'%s' leads to another", e->name);
	}
	if (n->type != FS_REG)
		return;
	tolerant_data(t, n, 0);
	if (n->content->n)
		tolerant_data(t, n, n->content->e[n->content->n - 1].index * MBLOCK);
}

unsigned sim_compare_tolerant(struct fs *fs, struct model *m, bool (*allowed)(void *arg, int rc),
			      void *arg)
{
	struct tolerant t = { fs, allowed, arg, 0 };

	for (uint32_t i = 0; i < m->nnodes; i++)
		tolerant_node(&t, m->nodes[i]);
	for (uint32_t i = 0; i < m->nsnaps; i++)
		for (uint32_t k = 0; k < m->snaps[i]->m->nnodes; k++)
			tolerant_node(&t, m->snaps[i]->m->nodes[k]);
	return t.errors;
}
