/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See account.h.  What is asked about is a set of trees: the content and the attributes of files, or the
 * inode files of volumes and snapshots.  All of its pointers are walked along, for each question as often
 * as memory wants it: what they lead to (stored), and what would go if they went (freed).
 *
 * A block has its own count even where something above it is shared: then what is below belongs to others
 * too, whatever the counts say.  Of volumes and snapshots that needs no thought, since the walk doesn't go
 * into what is shared.  Of a file it is asked whether everything from the volume's root down to its inode
 * has one pointer; if not, a snapshot or a clone of the volume has the same inode, and deleting the file
 * would free nothing.
 */
#include "fs/account_int.h"

#include <stdlib.h>
#include "fs/names.h"
#include "fs/pace.h"

enum mode { LOGICAL, STORED, FREED };
enum root { ROOT_TABLE, ROOT_RECORD, ROOT_CONTENT, ROOT_XATTRS };

struct account {
	struct fs_req *req;
	struct fs_account *a;
	enum mode mode;
	struct freed freed, links;	/* links: names of inodes that have several */
	struct stored stored;
	struct seen once;		/* the same inodes: the first name counts */
	enum root root;			/* of the present walk */
	struct fs_id id;
	uint64_t next;			/* sizes: leaf of the inode file to go on at */
	struct pace *pace;		/* NULL: as fast as it goes */
};
#define RATE (64ull << 20)		/* with a pace: bytes a second; */
#define STEP_BYTES (256u << 10)		/* what a step of a walk reads, at most */

/* ---- walks ------------------------------------------------------------------------------ */

static int record_get(struct txn *t, struct fs_id id, struct volume **ret)
{
	return id.snapshot ? snapshot_get(t, id.volume, id.snapshot, ret) : volume_get(t, id.volume, ret);
}

/* A file's root, if it goes with the file. */
static int file_root(struct txn *t, struct account *x, struct child *ret)
{
	struct tree_root inodes;
	struct volume *v;
	struct inode *i;
	bool alone = true;
	int err = object_get(t, x->id, &v, &i);

	if (err)
		return err;
	inodes = (struct tree_root){ v->inodes_root, v->inodes_depth };
	if (x->mode == FREED)
		err = tree_alone(t, &inodes, x->id.ino / INODES_PER_BLOCK, &alone);
	if (err || !alone)
		return err;
	*ret = x->root == ROOT_CONTENT ? (struct child){ i->root, i->depth, TREE_FILE, 0, 0 } :
					 (struct child){ i->xattr_root, i->xattr_depth, TREE_FILE, 0, 0 };
	return 0;
}

static int find_root(struct txn *t, void *arg, struct child *ret)
{
	struct account *x = arg;
	const struct tree_root *table = pool_volumes(t->pool);
	struct volume *v;
	int err;

	/* One more pointer leads to all there is: counts don't tell whose it is. */
	if (x->mode == FREED && pool_held(t->pool)->ptr)
		return -EBUSY;
	switch (x->root) {
	case ROOT_TABLE:
		*ret = (struct child){ table->ptr, table->depth, TREE_VOLUMES, 0, 0 };
		return 0;
	case ROOT_RECORD:
		err = record_get(t, x->id, &v);
		if (!err)
			*ret = (struct child){ v->inodes_root, v->inodes_depth, TREE_INODES, 0, 0 };
		return err;
	default:
		return file_root(t, x, ret);
	}
}

static int visit(void *arg, const struct child *c, uint32_t refs)
{
	struct account *x = arg;

	return x->mode == STORED ? stored_visit(&x->stored, c) : freed_visit(&x->freed, c, refs);
}

static bool stopped(const void *arg)
{
	const struct account *x = arg;

	return x->a->stop && *x->a->stop;
}

static int walk(struct account *x, enum root root, struct fs_id id)
{
	struct tree_scan s;
	int err;

	x->root = root;
	x->id = id;
	tree_scan_init(&s, find_root, visit, x);
	do {
		err = stopped(x) ? -EINTR : tree_scan_step(x->req->fs->pool, &s);
		if (x->pace)
			pace_by(x->pace, RATE, STEP_BYTES, stopped, x);
		else
			fiber_yield();
	} while (err > 0);
	tree_scan_done(&s);
	return err;
}

/* ---- what is in it ---------------------------------------------------------------------- */

struct look { struct fs_id id; struct inode i; uint64_t files, mapped; };

static int do_look(struct txn *t, void *arg)
{
	struct look *o = arg;
	struct volume *v;
	struct inode *i;
	int err = object_get(t, o->id, &v, &i);

	if (!err)
		o->i = *i;
	return err;
}

static int do_look_record(struct txn *t, void *arg)
{
	struct look *o = arg;
	struct volume *v;
	int err = record_get(t, o->id, &v);

	if (!err) {
		o->files = v->files;
		o->mapped = v->mapped;
	}
	return err;
}

static int run(struct account *x, int (*fn)(struct txn *t, void *arg), void *arg)
{
	return fs_run(x->req, SPACE_ORDINARY, false, false, fn, arg);
}

static void add_inode(struct fs_account *a, const struct inode *i)
{
	a->files++;
	a->mapped_blocks += i->mapped + i->xattr_blocks;
	if (i->type == FS_REG) {
		a->size_bytes += i->size;
		a->size_blocks += (i->size + BLOCK_SIZE - 1) / BLOCK_SIZE;
		a->file_blocks += i->mapped;
	}
}

static struct child name_of(const struct fs_id *id) { return (struct child){ .ptr = id->ino, .level = 1 }; }

/* Whether this name of an inode is the one that it counts with: of what is freed, the last. */
static int counts_now(struct account *x, const struct look *o)
{
	struct child c = name_of(&o->id);
	int was;

	if (o->i.type == FS_DIR || o->i.nlink < 2 || x->a->of == FS_ACCOUNT_FILE)
		return 1;
	if (x->mode == FREED)
		return freed_visit(&x->links, &c, o->i.nlink);
	was = seen_set(&x->once, o->id.ino);
	return was < 0 ? was : !was;
}

static int one_file(struct account *x, struct fs_id id)
{
	struct look o = { .id = id };
	int err = run(x, do_look, &o);

	if (err)
		return err;
	err = counts_now(x, &o);
	if (err <= 0)
		return err;
	if (x->mode == LOGICAL) {
		add_inode(x->a, &o.i);
		return 0;
	}
	err = o.i.root ? walk(x, ROOT_CONTENT, id) : 0;
	return !err && o.i.xattr_root ? walk(x, ROOT_XATTRS, id) : err;
}

static int one_name(void *arg, const struct fs_named *n)
{
	struct account *x = arg;
	int err = stopped(x) ? -EINTR : one_file(x, n->id);

	return err == -ESTALE ? 0 : err;	/* it was removed meanwhile */
}

/* The records of a set of volumes and snapshots: ids in ascending order. */
static int next_record(const struct account *x, struct fs_id *id)
{
	bool first = !id->volume;
	uint32_t after = id->snapshot;
	int err;

	*id = (struct fs_id){ .volume = x->a->id.volume, .snapshot = x->a->id.snapshot };
	if (first)
		return 0;
	if (x->a->of != FS_ACCOUNT_VOLUME_ALL)
		return -ENOENT;
	err = catalog_next(x->req->fs, id->volume, after, 1u << VOLUME_SNAPSHOT, &after);
	id->snapshot = after;
	return err;
}

static int each_record(struct account *x, int (*fn)(struct account *x, struct fs_id id))
{
	struct fs_id id = { 0 };
	int err = next_record(x, &id);

	while (!err) {
		err = fn(x, id);
		if (err == -ESTALE && id.snapshot && x->a->of == FS_ACCOUNT_VOLUME_ALL)
			err = 0;		/* destroyed meanwhile */
		if (!err)
			err = next_record(x, &id);
	}
	return err == -ENOENT ? 0 : err;
}

static int record_numbers(struct account *x, struct fs_id id)
{
	struct look o = { .id = id };
	int err = run(x, do_look_record, &o);

	if (err)
		return err;
	x->a->files += o.files;
	x->a->mapped_blocks += o.mapped;
	x->a->snapshots += id.snapshot != 0;
	return 0;
}

static int record_walk(struct account *x, struct fs_id id)
{
	return walk(x, ROOT_RECORD, id);
}

/* Of all volumes and snapshots, the hidden one included. */
static int pool_numbers(struct account *x)
{
	struct fs_volume_info *v = malloc(sizeof(*v));
	struct fs_snapshot_info s = { 0 };
	uint32_t after = 0;
	int err = v ? 0 : -ENOMEM;

	while (!err && !(err = volume_next_any(x->req->fs, after, v))) {
		after = v->id;
		x->a->files += v->files;
		x->a->mapped_blocks += v->mapped_blocks;
		for (s.id = 0; !fs_snapshot_next(x->req->fs, after, s.id, &s); x->a->snapshots++) {
			x->a->files += s.files;
			x->a->mapped_blocks += s.mapped_blocks;
		}
	}
	free(v);
	return err == -ENOENT ? 0 : err;
}

static int whole_set(struct account *x)
{
	int err;

	switch (x->a->of) {
	case FS_ACCOUNT_POOL:
		return x->mode == LOGICAL ? pool_numbers(x) : walk(x, ROOT_TABLE, x->a->id);
	case FS_ACCOUNT_TREE:
		err = one_file(x, x->a->id);
		return err ? err : fs_names_each(x->req, x->a->id, "/", one_name, x);
	case FS_ACCOUNT_FILE:
		return one_file(x, x->a->id);
	default:
		return each_record(x, x->mode == LOGICAL ? record_numbers : record_walk);
	}
}

/* ---- sizes of a volume's files ----------------------------------------------------------- */

#define SIZES_LEAVES 64

static int do_sizes(struct txn *t, void *arg)
{
	struct account *x = arg;
	struct fs_account sum = { 0 };
	struct volume *v;
	uint64_t next = x->next;
	int err = record_get(t, x->id, &v);

	for (unsigned n = 0; n < SIZES_LEAVES && next != UINT64_MAX && !err; n++) {
		struct tree_root r = { v->inodes_root, v->inodes_depth };
		struct block *b;
		uint64_t ptr;

		err = tree_seek(t, &r, next, true, &next);
		if (err || next == UINT64_MAX)
			break;
		err = tree_lookup(t, &r, next++, &ptr);
		if (!err)
			err = txn_block_as(t, ptr, 0, TREE_INODES, &b);
		for (unsigned k = 0; k < INODES_PER_BLOCK && !err; k++)
			if (((struct inode *)b->data)[k].type == FS_REG)
				add_inode(&sum, (struct inode *)b->data + k);
	}
	if (err)
		return err;
	x->a->size_bytes += sum.size_bytes;
	x->a->size_blocks += sum.size_blocks;
	x->a->file_blocks += sum.file_blocks;
	x->next = next;
	return 0;
}

static int record_sizes(struct account *x, struct fs_id id)
{
	int err = 0;

	x->id = id;
	for (x->next = 0; x->next != UINT64_MAX && !err;) {
		err = stopped(x) ? -EINTR : run(x, do_sizes, x);
		fiber_yield();
	}
	return err;
}

/* ---- blocks of the volume table ---------------------------------------------------------- */

static bool in_set(const struct account *x, uint32_t id)
{
	struct fs_id at = { 0 };

	while (!next_record(x, &at))
		if ((at.snapshot ? at.snapshot : at.volume) == id)
			return true;
	return false;
}

static int do_record_block(struct txn *t, void *arg)
{
	struct account *x = arg;
	uint32_t id = x->id.snapshot ? x->id.snapshot : x->id.volume, other = ((id - 1) ^ 1) + 1;
	struct volume *v;
	int err;

	x->next = 0;
	if ((id - 1) / VOLUMES_PER_BLOCK == (x->req->fs->catalog.last_id - 1) / VOLUMES_PER_BLOCK)
		return 0;		/* the last of the table stays */
	err = volume_record_get(t, other, &v);
	if (err)
		return err == -ESTALE ? 0 : err;
	/* Of two that both go, it goes with the second. */
	x->next = v->state == VOLUME_FREE || (other < id && in_set(x, other));
	return 0;
}

static int record_block(struct account *x, struct fs_id id)
{
	int err;

	x->id = id;
	err = run(x, do_record_block, x);
	x->a->record_blocks += err ? 0 : x->next;
	return err;
}

/* ---- the account -------------------------------------------------------------------------- */

static int count_stored(struct account *x)
{
	struct stored *s = &x->stored;
	int err = stored_init(s, pool_super(x->req->fs->pool)->nblocks, x->a->memory);

	for (; !err && s->first < s->end; s->first += s->window) {
		stored_pass(s);
		seen_done(&x->once);
		err = whole_set(x);
		x->a->passes++;
	}
	x->a->stored = s->sum;
	x->a->dedup_blocks = s->dedup;
	stored_done(s);
	return err;
}

static int freed_in_parts(struct account *x)
{
	int err = 0;

	for (x->freed.part = 0; !err && x->freed.part < x->freed.parts; x->freed.part++) {
		freed_pass(&x->freed);
		freed_pass(&x->links);
		err = whole_set(x);
		x->a->passes++;
	}
	return err;
}

static int count_freed(struct account *x)
{
	int err;

	freed_init(&x->freed, x->a->memory);
	freed_init(&x->links, x->a->memory);
	do {
		err = freed_in_parts(x);
		x->freed.parts *= 2;
	} while (err == -ENOBUFS);
	x->a->exclusive = x->freed.sum;
	freed_done(&x->freed);
	freed_done(&x->links);
	return err;
}

int account_exclusive(struct fs_req *req, uint32_t volume, const bool *stop, struct pace *pace, uint64_t *ret)
{
	struct fs_account a = { .of = FS_ACCOUNT_VOLUME_ALL, .id = { .volume = volume }, .stop = stop,
				.memory = FS_ACCOUNT_MEMORY };
	struct account x = { .req = req, .a = &a, .mode = FREED, .pace = pace };
	int err = count_freed(&x);

	*ret = a.exclusive.data + a.exclusive.meta;
	return err == -ENOBUFS ? -E2BIG : err;
}

static bool has_records(const struct fs_account *a)
{
	return a->of == FS_ACCOUNT_VOLUME || a->of == FS_ACCOUNT_VOLUME_ALL || a->of == FS_ACCOUNT_SNAPSHOT;
}

static int exact(struct account *x)
{
	struct fs_account *a = x->a;
	int err = has_records(a) ? each_record(x, record_sizes) : 0;

	x->mode = STORED;
	if (!err)
		err = count_stored(x);
	x->mode = FREED;
	if (!err && a->of == FS_ACCOUNT_POOL)
		a->exclusive = a->stored;
	else if (!err)
		err = count_freed(x);
	if (!err && has_records(a))
		err = each_record(x, record_block);
	a->exclusive.meta += a->record_blocks;
	return err == -ENOBUFS ? -E2BIG : err;
}

int fs_account(struct fs_req *req, struct fs_account *a)
{
	struct account x = { .req = req, .mode = LOGICAL };
	struct fs_account sum = { .of = a->of, .id = a->id, .exact = a->exact, .stop = a->stop,
				  .memory = a->memory ? a->memory : FS_ACCOUNT_MEMORY, .when_ns = fs_now() };
	uint64_t seq = pool_last_seq(req->fs->pool);
	int err = req->cred.admin ? 0 : -EPERM;

	x.a = &sum;
	sum.reaping = reaping(req->fs);
	if (!err)
		err = whole_set(&x);
	if (!err && a->exact)
		err = exact(&x);
	seen_done(&x.once);
	sum.moved = seq != pool_last_seq(req->fs->pool);
	if (!err)
		*a = sum;
	return err;
}
