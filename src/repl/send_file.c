/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in files.  A file is sent as what differs from what the target can have of it already:
 *
 *   what it was in the base; for a new file, what it was cloned from, once that has been sent, or as it is
 *   in the base; else nothing.
 *
 * Of that, blocks that were sent before, alone or as whole subtrees, are named and not sent again.
 */
#include "repl/send_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define BLOCK 4096ULL
#define DATA_BLOCKS (STREAM_DATA_MAX / BLOCK)

struct run { uint64_t index, count, src_ino, src_index; };	/* src_ino 0: data */

struct file {
	struct sender *s;
	uint64_t ino, generation, size;
	uint64_t there;			/* the target's size now */
	struct fs_pieces *pieces;
	struct run run;			/* not sent yet; count 0: none */
	uint64_t src_ino, src_size;	/* of the last source that was asked for */
};

static uint64_t min(uint64_t a, uint64_t b) { return a < b ? a : b; }
static uint64_t blocks_of(uint64_t size) { return (size + BLOCK - 1) / BLOCK; }

/* ---- records about ranges ------------------------------------------------------------------- */

static void grown(struct file *f, uint64_t size)
{
	if (f->there < size)
		f->there = size;
}

/* LEN bytes from OFFSET on, into s->body; in a stream that only catches up they are not looked at. */
static int read_data(struct file *f, uint64_t offset, uint64_t len)
{
	struct sender *s = f->s;
	uint8_t *to = send_tail(s, sizeof(struct stream_range));
	uint64_t got = 0;
	int err = 0;

	if (s->seq + 1 <= s->skip_to)
		return 0;
	while (!err && got < len) {
		err = fs_read(&s->req, send_id(s, f->ino, f->generation), offset + got, (uint32_t)(len - got),
			      &s->read);
		if (err)
			break;
		for (int i = 0; i < s->read.niov; i++) {
			memcpy(to + got, s->read.iov[i].iov_base, s->read.iov[i].iov_len);
			got += s->read.iov[i].iov_len;
		}
		err = s->read.len ? 0 : -EDAMAGED;
		fs_read_done(s->fs, &s->read);
	}
	return err;
}

static int send_data(struct file *f, uint64_t index, uint64_t count)
{
	struct sender *s = f->s;
	struct stream_range r = { .ino = f->ino };
	uint64_t end = min((index + count) * BLOCK, f->size);
	int err = 0;

	for (r.offset = index * BLOCK; !err && r.offset < end; r.offset += r.len) {
		r.len = min(STREAM_DATA_MAX - r.offset % STREAM_DATA_MAX, end - r.offset);
		err = read_data(f, r.offset, r.len);
		s->stats.data_bytes += r.len;
		grown(f, r.offset + r.len);
		if (!err)
			err = send_record(s, S_DATA, &r, sizeof(r), r.len);
	}
	return err;
}

static int send_hole(struct file *f, uint64_t offset, uint64_t end)
{
	struct stream_range r = { .ino = f->ino, .offset = offset };

	if (end > f->there)
		end = f->there;		/* there is nothing behind */
	if (offset >= end)
		return 0;
	r.len = end - offset;
	return send_record(f->s, S_HOLE, &r, sizeof(r), 0);
}

static int send_share(struct file *f, uint64_t offset, uint64_t src_ino, uint64_t src_offset, uint64_t len,
		      bool from_base)
{
	struct stream_share r = { .ino = f->ino, .offset = offset, .src_ino = src_ino,
				  .src_offset = src_offset, .len = len, .from_base = from_base };

	grown(f, offset + len);
	return send_record(f->s, S_SHARE, &r, sizeof(r), 0);
}

/* How long file INO of the snapshot is in the target by now. */
static int source_size(struct file *f, uint64_t ino, uint64_t *ret)
{
	struct fs_attr a;
	int err;

	if (ino == f->ino) {
		*ret = f->there;
		return 0;
	}
	if (ino != f->src_ino) {
		err = fs_getattr(&f->s->req, send_id(f->s, ino, 0), &a);
		if (err)
			return err;
		f->src_ino = ino;
		f->src_size = a.size;
	}
	*ret = f->src_size;
	return 0;
}

/* What lies behind the source's end are zeros, which it is not shared for.  A last block that is not whole
 * can be shared only as the last of its target (fs_clone_range()). */
static int send_shared_run(struct file *f, const struct run *r)
{
	uint64_t offset = r->index * BLOCK, from = r->src_index * BLOCK, size = 0, len, end;
	int err = source_size(f, r->src_ino, &size);

	if (err)
		return err;
	end = min(r->index + r->count, blocks_of(f->size)) * BLOCK;
	len = size > from ? min(end - offset, size - from) : 0;
	if (len % BLOCK && offset + len < f->there)
		len -= len % BLOCK;
	if (len % BLOCK && offset + len > f->size)
		len -= len % BLOCK;
	if (len)
		err = send_share(f, offset, r->src_ino, from, len, false);
	if (!err && len % BLOCK)
		len += BLOCK - len % BLOCK;
	if (!err && offset + len < end && size > from && len < blocks_of(size - from) * BLOCK) {
		err = send_data(f, offset / BLOCK + len / BLOCK, 1);
		len += BLOCK;
	}
	return err || offset + len >= end ? err : send_hole(f, offset + len, end);
}

/* ---- runs ----------------------------------------------------------------------------------- */

static int run_flush(struct file *f)
{
	struct run r = f->run;

	f->run.count = 0;
	if (!r.count)
		return 0;
	return r.src_ino ? send_shared_run(f, &r) : send_data(f, r.index, r.count);
}

static int run_add(struct file *f, struct run r)
{
	struct run *last = &f->run;
	int err = 0;

	if (last->count && last->index + last->count == r.index && last->src_ino == r.src_ino &&
	    (!r.src_ino || last->src_index + last->count == r.src_index) &&
	    (r.src_ino || last->count < DATA_BLOCKS) &&
	    (r.src_ino != f->ino || r.src_index + r.count <= last->index)) {
		last->count += r.count;
		return 0;
	}
	err = run_flush(f);
	f->run = r;
	return err;
}

/* ---- pieces --------------------------------------------------------------------------------- */

static bool known(void *arg, uint64_t key, uint64_t index, uint8_t level)
{
	struct file *f = arg;
	const struct seen_place *p = seen_find(&f->s->seen, key);

	/* A walk that was cut short in the middle of a subtree comes to it again. */
	return p && (p->ino != f->ino || p->index != index);
}

static int piece(struct file *f, const struct fs_piece *p)
{
	const struct seen_place *at;
	int err;

	switch (p->kind) {
	case FS_PIECE_DATA:
		return run_add(f, (struct run){ p->index, p->count, 0, 0 });
	case FS_PIECE_SHARED:
		seen_put(&f->s->seen, p->key, f->ino, p->index, p->level);
		return p->level ? 0 : run_add(f, (struct run){ p->index, 1, 0, 0 });
	case FS_PIECE_KNOWN:
		at = seen_find(&f->s->seen, p->key);
		return run_add(f, (struct run){ p->index, p->count, at->ino, at->index });
	}
	err = run_flush(f);
	/* A root of level 6 leads to more than 2^64 bytes. */
	return err ? err : send_hole(f, p->index * BLOCK, min(p->index + p->count, blocks_of(f->there)) * BLOCK);
}

/* All pieces of one look, or up to one that an earlier one of them has made known. */
static int pieces(struct file *f)
{
	struct fs_pieces *p = f->pieces;
	int err = 0;

	for (unsigned i = 0; !err && i < p->n; i++) {
		const struct fs_piece *x = &p->p[i];

		if (x->index >= blocks_of(f->size)) {
			p->next = UINT64_MAX;
			break;
		}
		if (x->kind == FS_PIECE_SHARED && known(f, x->key, x->index, x->level)) {
			p->next = x->index;
			break;
		}
		err = piece(f, x);
	}
	return err;
}

static int send_pieces(struct file *f, struct fs_id base)
{
	struct sender *s = f->s;
	struct fs_pieces *p = f->pieces;
	int err = 0;

	p->id = send_id(s, f->ino, f->generation);
	p->base = base;
	p->next = 0;
	p->known = known;
	p->arg = f;
	while (!err && p->next != UINT64_MAX) {
		err = fs_pieces(&f->s->req, p);
		if (!err)
			err = pieces(f);
		if (!err)
			err = send_yield(s);
	}
	return err ? err : run_flush(f);
}

/* ---- what to compare with ------------------------------------------------------------------- */

/* Another file has the number by now: a record that names it would mean that one. */
static bool number_taken(struct sender *s, struct fs_id id)
{
	struct fs_attr a;

	return !fs_getattr(&s->req, send_id(s, id.ino, 0), &a) && a.id.generation != id.generation;
}

/* What it was cloned from, if all of that can be shared: RET is that, ino 0: there is none. */
static int origin_of(struct file *f, struct fs_id origin, struct fs_id *ret)
{
	struct sender *s = f->s;
	struct fs_id at[2] = { { 0 }, { 0 } };
	struct fs_attr a;
	int err;

	*ret = (struct fs_id){ 0 };
	if (!origin.ino || origin.ino == f->ino)
		return 0;
	/* Inodes are sent in the order of their numbers; what is as it was in the base is there anyway. */
	if (origin.ino < f->ino)
		at[0] = send_id(s, origin.ino, origin.generation);
	if (s->base.id)
		at[1] = base_id(s, origin.ino, origin.generation);
	for (unsigned i = 0; i < 2; i++) {
		if (!at[i].ino)
			continue;
		err = fs_getattr(&s->req, at[i], &a);
		if (err == -ESTALE)
			continue;
		if (err)
			return err;
		if (a.type != FS_REG || !a.nlink || !a.size || (f->size < a.size && f->size % BLOCK))
			continue;
		if (i && number_taken(s, origin))
			continue;
		*ret = at[i];
		return send_share(f, 0, origin.ino, 0, min(a.size, f->size), i == 1);
	}
	return 0;
}

static int regular(struct sender *s, const struct fs_inode_change *x, struct file *f)
{
	struct stream_ino trunc = { .ino = x->ino, .size = x->now.size };
	struct fs_id base = { 0 };
	int err = 0;

	f->ino = x->ino;
	f->generation = x->now.id.generation;
	f->size = x->now.size;
	if (x->same_file) {
		base = base_id(s, x->ino, x->was.id.generation);
		f->there = min(x->was.size, f->size);
		if (f->size < x->was.size)
			err = send_record(s, S_TRUNC, &trunc, sizeof(trunc), 0);
	} else if (f->size) {
		err = origin_of(f, x->now.origin, &base);
	}
	return err ? err : send_pieces(f, base);
}

static int send_regular(struct sender *s, const struct fs_inode_change *x)
{
	struct file *f = calloc(1, sizeof(*f));
	int err = -ENOMEM;

	if (f) {
		f->s = s;
		f->pieces = calloc(1, sizeof(*f->pieces));
		err = f->pieces ? regular(s, x, f) : -ENOMEM;
		free(f->pieces);
	}
	free(f);
	return err;
}

/* ---- attributes ----------------------------------------------------------------------------- */

static int send_xattr(struct sender *s, const struct fs_inode_change *x, const char *name)
{
	struct stream_xattr r = { .ino = x->ino, .name_len = (uint32_t)strlen(name) };
	char *to = send_tail(s, sizeof(r));
	int err;

	memcpy(to, name, r.name_len);
	err = fs_xattr_get(&s->req, send_id(s, x->ino, x->now.id.generation),
			   (struct fs_name){ name, r.name_len }, to + r.name_len, FS_XATTR_VALUE_MAX,
			   &r.value_len);
	return err ? err : send_record(s, S_XATTR, &r, sizeof(r), r.name_len + r.value_len);
}

static int send_xattrs(struct sender *s, const struct fs_inode_change *x)
{
	struct stream_ino clear = { .ino = x->ino };
	struct fs_xattr_list list = { .cap = 4096 };
	int err = 0;

	if (!x->xattrs_differ)
		return 0;
	if (x->same_file && x->had_xattrs)
		err = send_record(s, S_XCLEAR, &clear, sizeof(clear), 0);
	if (!x->has_xattrs || err)
		return err;
	list.buf = malloc(list.cap);
	err = list.buf ? 0 : -ENOMEM;
	while (!err && !list.eof) {
		err = fs_xattr_list(&s->req, send_id(s, x->ino, x->now.id.generation), list.cookie, &list);
		for (uint32_t i = 0, at = 0; !err && i < list.n; i++) {
			err = send_xattr(s, x, list.buf + at);
			at += strlen(list.buf + at) + 1;
		}
	}
	free(list.buf);
	return err;
}

static int64_t ns_of(struct fs_time t) { return t.sec * 1000000000 + t.nsec; }

static int send_set(struct sender *s, const struct fs_inode_change *x)
{
	const struct fs_attr *a = &x->now;
	struct stream_set r = { .ino = x->ino, .size = a->type == FS_REG ? a->size : 0, .mode = a->mode,
				.uid = a->uid, .gid = a->gid, .atime = ns_of(a->atime),
				.mtime = ns_of(a->mtime), .ctime = ns_of(a->ctime), .btime = ns_of(a->btime) };
	struct fs_attr origin;
	int err = 0;

	if (a->origin.ino)
		err = fs_getattr(&s->req, send_id(s, a->origin.ino, a->origin.generation), &origin);
	if (err && err != -ESTALE)
		return err;
	if (a->origin.ino && !err && origin.nlink)
		r.origin = a->origin.ino;
	return send_record(s, S_SET, &r, sizeof(r), 0);
}

static int file(struct sender *s, const struct fs_inode_change *x)
{
	int err = 0;

	if (x->now.type == FS_FREE || x->now.type == FS_DIR)
		return 0;
	if (x->now.type == FS_REG && x->data_differs)
		err = send_regular(s, x);
	if (!err)
		err = send_xattrs(s, x);
	return err ? err : send_set(s, x);
}

static int directory(struct sender *s, const struct fs_inode_change *x)
{
	int err = x->now.type == FS_DIR ? send_xattrs(s, x) : 0;

	return err || x->now.type != FS_DIR ? err : send_set(s, x);
}

int send_contents(struct sender *s)
{
	int err = send_each(s, file);

	return err ? err : send_each(s, directory);
}
