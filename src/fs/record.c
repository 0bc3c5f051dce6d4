/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log records of the file system: payloads of fixed little-endian fields and strings, in the
 * order in which the put and get functions below name them; docs/format.md lists them.
 *
 * In a load pass a record_*() function adds up what the record will need; in the apply pass it
 * appends it.  record_replay() fills the operation's struct from the payload and runs the same
 * do_* function as the first time, with the rights of the management side.
 */
#include "fs/dedup.h"
#include "fs/repl.h"

#include <stdlib.h>
#include <sys/uio.h>
#include "base/log.h"

enum record_type {
	R_CREATE = 1, R_REMOVE = 2, R_LINK = 3, R_FORGET = 4, R_RENAME = 5, R_CLONE = 6,
	R_SETATTR = 7, R_WRITE = 8, R_WRITE_NAMED = 9, R_VOLUME_CREATE = 10,
	R_VOLUME_DESTROY = 11, R_VOLUME_SET = 12, R_CLONE_RANGE = 13, R_PUNCH = 14,
	R_XATTR_SET = 15, R_XATTR_REMOVE = 16, R_SNAPSHOT_CREATE = 17, R_SNAPSHOT_DESTROY = 18,
	R_VOLUME_RESTORE = 19, R_VOLUME_CLONE = 20, R_CLONE_TREE = 21,
	R_QUOTA_SET = 30, R_DEDUP = 32, R_WRITE_DUP = 33, R_WRITE_NAMED_DUP = 34,
	R_ATTACH = 40, R_INODE_SET = 41,
};
_Static_assert(R_ATTACH == RECORD_ATTACH && R_INODE_SET == RECORD_INODE_SET, "repl_build.c");

const char *record_name(uint16_t type)
{
	static const char *const names[] = {
		[R_CREATE] = "create", [R_REMOVE] = "remove", [R_LINK] = "link", [R_FORGET] = "forget",
		[R_RENAME] = "rename", [R_CLONE] = "clone", [R_SETATTR] = "setattr", [R_WRITE] = "write",
		[R_WRITE_NAMED] = "write, named", [R_VOLUME_CREATE] = "volume create",
		[R_VOLUME_DESTROY] = "volume destroy", [R_VOLUME_SET] = "volume set",
		[R_CLONE_RANGE] = "clone range", [R_PUNCH] = "punch", [R_XATTR_SET] = "xattr set",
		[R_XATTR_REMOVE] = "xattr remove", [R_SNAPSHOT_CREATE] = "snapshot create",
		[R_SNAPSHOT_DESTROY] = "snapshot destroy", [R_VOLUME_RESTORE] = "volume restore",
		[R_VOLUME_CLONE] = "volume clone", [R_CLONE_TREE] = "clone tree", [R_DEDUP] = "dedup",
		[R_WRITE_DUP] = "write with duplicates", [R_WRITE_NAMED_DUP] = "write with duplicates, named",
		[R_QUOTA_SET] = "quota set", [R_ATTACH] = "attach", [R_INODE_SET] = "set inode",
	};

	return type < sizeof(names) / sizeof(*names) ? names[type] : NULL;
}

enum { RECORD_KEEP = 2 };		/* R_REMOVE, R_LINK, R_RENAME: whose name goes becomes an orphan */

/* ---- payload cursors -------------------------------------------------------------------------- */

#define HEAD_MAX 4096
struct put { uint8_t buf[HEAD_MAX]; size_t n; };

static void put_bytes(struct put *p, const void *v, size_t n)
{
	assert(p->n + n <= sizeof(p->buf));
	memcpy(p->buf + p->n, v, n);
	p->n += n;
}
static void put16(struct put *p, uint16_t v) { put_bytes(p, &v, 2); }
static void put32(struct put *p, uint32_t v) { put_bytes(p, &v, 4); }
static void put64(struct put *p, uint64_t v) { put_bytes(p, &v, 8); }

static void put_id(struct put *p, struct fs_id id)
{
	put32(p, id.volume);
	put32(p, id.snapshot);
	put64(p, id.ino);
	put64(p, id.generation);
}

static void put_name(struct put *p, struct fs_name n)
{
	put32(p, n.len);
	put_bytes(p, n.s, n.len);
}

static void put_str(struct put *p, const char *s)
{
	put_name(p, (struct fs_name){ s ? s : "", s ? strlen(s) : 0 });
}

static void put_set(struct put *p, const struct fs_setattr *s)
{
	put32(p, s->mask);
	put32(p, s->mode);
	put32(p, s->uid);
	put32(p, s->gid);
	put64(p, s->size);
	put64(p, s->atime.sec);
	put32(p, s->atime.nsec);
	put64(p, s->mtime.sec);
	put32(p, s->mtime.nsec);
}

struct get { const uint8_t *p; size_t left; bool bad; };

static const void *get_bytes(struct get *g, size_t n)
{
	const void *ret = g->p;

	if (n > g->left) {
		g->bad = true;
		return NULL;
	}
	g->p += n;
	g->left -= n;
	return ret;
}

static uint16_t get16(struct get *g)
{
	uint16_t v = 0;
	const void *p = get_bytes(g, 2);

	if (p)
		memcpy(&v, p, 2);
	return v;
}

static uint32_t get32(struct get *g)
{
	uint32_t v = 0;
	const void *p = get_bytes(g, 4);

	if (p)
		memcpy(&v, p, 4);
	return v;
}

static uint64_t get64(struct get *g)
{
	uint64_t v = 0;
	const void *p = get_bytes(g, 8);

	if (p)
		memcpy(&v, p, 8);
	return v;
}

static struct fs_id get_id(struct get *g)
{
	struct fs_id id;

	id.volume = get32(g);
	id.snapshot = get32(g);
	id.ino = get64(g);
	id.generation = get64(g);
	return id;
}

static struct fs_name get_text(struct get *g, uint32_t max)
{
	uint32_t len = get32(g);
	const char *s = len <= max ? get_bytes(g, len) : NULL;

	g->bad |= !s;
	return (struct fs_name){ s ? s : "", s ? len : 0 };
}

static struct fs_name get_name(struct get *g)
{
	return get_text(g, FS_NAME_MAX);
}

static char *get_str(struct get *g, uint32_t max)
{
	struct fs_name n = get_text(g, max);

	return strndup(n.s, n.len);
}

static void get_set(struct get *g, struct fs_setattr *s)
{
	memset(s, 0, sizeof(*s));
	s->mask = get32(g);
	s->mode = get32(g);
	s->uid = get32(g);
	s->gid = get32(g);
	s->size = get64(g);
	s->atime.sec = get64(g);
	s->atime.nsec = get32(g);
	s->mtime.sec = get64(g);
	s->mtime.nsec = get32(g);
}

/* ---- appending -------------------------------------------------------------------------------- */

struct record {
	uint16_t type;
	const struct fs_req *req;
	uint64_t now;
	struct put head;
	const struct iovec *data;	/* after the head */
	int ndata;
	size_t data_len;
	const struct write_op *claims;
	bool more;			/* the request is not done with this: nobody's retry is to know it */
};

static void record_begin(struct record *r, uint16_t type, const struct fs_req *req, uint64_t now)
{
	r->type = type;
	r->req = req;
	r->now = now;
	r->head.n = 0;		/* its buffer isn't cleared: this runs twice for each operation */
	r->data = NULL;
	r->ndata = 0;
	r->data_len = 0;
	r->claims = NULL;
	r->more = false;
}

static void emit(struct txn *t, struct record *r)
{
	uint32_t nclaims = r->claims ? r->claims->nblocks : 0;
	struct txn_record rec;

	if (!t->apply) {
		t->need_log += txn_log_need(r->head.n + r->data_len, nclaims);
		return;
	}
	if (t->replay) {
		t->seq = t->replay_seq;
		return;
	}
	rec = (struct txn_record){ .type = r->type, .head = r->head.buf, .head_len = r->head.n,
		.payload = r->data, .npayload = r->ndata,
		.drc_client = r->more ? 0 : r->req->drc_client, .drc_xid = r->req->drc_xid,
		.drc_proc = r->req->drc_proc, .time_ns = r->now };
	if (r->claims) {
		rec.claim_blocks = r->claims->claim_blocks;
		rec.claim_crcs = r->claims->claim_crcs;
		rec.nclaims = r->claims->nclaims;
	}
	txn_log(t, &rec);
}

void record_create(struct txn *t, const struct create_op *o)
{
	struct record r;

	record_begin(&r, R_CREATE, o->req, o->now);
	put_id(&r.head, o->dir);
	put_name(&r.head, o->unnamed ? (struct fs_name){ "", 0 } : o->name);
	put32(&r.head, o->how.type);
	put32(&r.head, o->how.how);
	put64(&r.head, o->how.verifier);
	put32(&r.head, o->how.rdev_major);
	put32(&r.head, o->how.rdev_minor);
	put32(&r.head, o->uid);
	put32(&r.head, o->gid);
	put_set(&r.head, &o->how.set);
	put_str(&r.head, o->how.target);
	emit(t, &r);
}

void record_remove(struct txn *t, const struct remove_op *o)
{
	struct record r;

	record_begin(&r, R_REMOVE, o->req, o->now);
	put_id(&r.head, o->dir);
	put_name(&r.head, o->name);
	put32(&r.head, o->want_dir | (o->keep ? RECORD_KEEP : 0));
	emit(t, &r);
}

void record_link(struct txn *t, const struct link_op *o, bool forget)
{
	struct record r;

	record_begin(&r, forget ? R_FORGET : R_LINK, o->req, o->now);
	put_id(&r.head, o->file);
	if (!forget) {
		put_id(&r.head, o->dir);
		put_name(&r.head, o->name);
		put32(&r.head, o->replace | (o->keep ? RECORD_KEEP : 0));
	}
	emit(t, &r);
}

void record_rename(struct txn *t, const struct rename_op *o)
{
	struct record r;

	record_begin(&r, R_RENAME, o->req, o->now);
	put_id(&r.head, o->from_dir);
	put_name(&r.head, o->from);
	put_id(&r.head, o->to_dir);
	put_name(&r.head, o->to);
	put32(&r.head, o->keep ? RECORD_KEEP : 0);
	emit(t, &r);
}

/* Names come after the head, each with its length in two bytes before it. */
int record_clone(struct txn *t, const struct clone_op *o)
{
	struct iovec data = { o->packed, o->packed_len };
	struct record r;

	record_begin(&r, R_CLONE, o->req, o->now);
	if (o->packed_len > pool_record_max(t->pool))
		return -E2BIG;
	put_id(&r.head, o->src);
	put_id(&r.head, o->dir);
	put32(&r.head, o->uid);
	put32(&r.head, o->gid);
	put32(&r.head, o->count);
	r.data_len = o->packed_len;
	r.data = &data;
	r.ndata = 1;
	emit(t, &r);
	return 0;
}

int clone_pack_names(struct clone_op *o)
{
	uint8_t *at;

	o->packed_len = 0;
	for (uint32_t k = 0; k < o->count; k++)
		o->packed_len += 2 + o->names[k].len;
	o->packed = at = malloc(o->packed_len);
	if (!at)
		return -ENOMEM;
	for (uint32_t k = 0; k < o->count; k++) {
		uint16_t n = o->names[k].len;

		memcpy(at, &n, 2);
		memcpy(at + 2, o->names[k].s, n);
		at += 2 + n;
	}
	return 0;
}

void record_clone_tree(struct txn *t, const struct clone_tree_op *o)
{
	struct record r;

	record_begin(&r, R_CLONE_TREE, o->req, o->now);
	put_id(&r.head, o->src);
	put_id(&r.head, o->dir);
	put_name(&r.head, o->name);
	emit(t, &r);
}

void record_clone_range(struct txn *t, const struct range_op *o)
{
	struct record r;

	record_begin(&r, R_CLONE_RANGE, o->req, o->now);
	put_id(&r.head, o->src);
	put_id(&r.head, o->dst);
	put64(&r.head, o->src_offset);
	put64(&r.head, o->dst_offset);
	put64(&r.head, o->len);
	put32(&r.head, o->drop_suid);
	r.more = o->done < o->len;
	emit(t, &r);
}

void record_punch(struct txn *t, const struct punch_op *o)
{
	struct record r;

	record_begin(&r, R_PUNCH, o->req, o->now);
	put_id(&r.head, o->id);
	put64(&r.head, o->offset);
	put64(&r.head, o->len);
	put32(&r.head, o->drop_suid);
	emit(t, &r);
}

void record_xattr(struct txn *t, const struct xattr_op *o)
{
	struct iovec data = { (void *)o->value, o->len };
	struct record r;

	record_begin(&r, o->value ? R_XATTR_SET : R_XATTR_REMOVE, o->req, o->now);
	put_id(&r.head, o->id);
	put_name(&r.head, o->name);
	if (o->value) {
		put32(&r.head, o->len);
		r.data = &data;
		r.ndata = 1;
		r.data_len = o->len;
	}
	emit(t, &r);
}

void record_setattr(struct txn *t, const struct setattr_op *o)
{
	struct record r;

	record_begin(&r, R_SETATTR, o->req, o->now);
	put_id(&r.head, o->id);
	put_set(&r.head, &o->set);
	put32(&r.head, o->drop_suid);
	emit(t, &r);
}

void record_dedup(struct txn *t, const struct dedup_op *o)
{
	struct record r;

	record_begin(&r, R_DEDUP, o->req, o->now);
	put_id(&r.head, o->dst);
	put_id(&r.head, o->src);
	put64(&r.head, o->dst_first);
	put64(&r.head, o->src_first);
	put32(&r.head, o->n);
	emit(t, &r);
}

static void put_dups(struct put *p, const struct write_dups *d)
{
	put32(p, d->nruns);
	for (unsigned i = 0; i < d->nruns; i++) {
		put_id(p, d->runs[i].src);
		put64(p, d->runs[i].from);
		put16(p, d->runs[i].at);
		put16(p, d->runs[i].n);
	}
}
_Static_assert(DUP_RUNS * 36 + 128 < HEAD_MAX, "the duplicates of a write fit into a head");

void record_write(struct txn *t, const struct write_op *o)
{
	struct record r;

	bool dups = o->dups && o->dups->nruns;

	if (dups)
		record_begin(&r, o->named ? R_WRITE_NAMED_DUP : R_WRITE_DUP, o->req, o->now);
	else
		record_begin(&r, o->named ? R_WRITE_NAMED : R_WRITE, o->req, o->now);
	put_id(&r.head, o->id);
	put64(&r.head, o->offset);
	put32(&r.head, o->len);
	put32(&r.head, o->drop_suid);
	if (o->named) {
		put_bytes(&r.head, o->zero, sizeof(o->zero));
		r.claims = o;
	}
	if (dups)
		put_dups(&r.head, o->dups);
	if (!o->named) {
		r.data = o->iov;
		r.ndata = o->niov;
		r.data_len = o->len;
	}
	emit(t, &r);
}

void record_volume_create(struct txn *t, const struct volume_op *o)
{
	struct record r;

	record_begin(&r, R_VOLUME_CREATE, o->req, o->now);
	put_str(&r.head, o->name);
	put_bytes(&r.head, o->uuid, 16);
	put_bytes(&r.head, o->hash_key, 16);
	emit(t, &r);
}

void record_volume_destroy(struct txn *t, const struct volume_op *o)
{
	struct record r;

	record_begin(&r, R_VOLUME_DESTROY, o->req, o->now);
	put_str(&r.head, o->name);
	emit(t, &r);
}

void record_volume_set(struct txn *t, const struct volume_op *o)
{
	struct record r;

	record_begin(&r, R_VOLUME_SET, o->req, o->now);
	put_str(&r.head, o->name);
	put32(&r.head, o->exports != NULL);
	put_str(&r.head, o->exports);
	put64(&r.head, o->quota);
	put32(&r.head, o->schedule != NULL);
	put_str(&r.head, o->schedule);
	put32(&r.head, o->dedup);
	put64(&r.head, o->soft);
	put64(&r.head, o->reserve);
	put32(&r.head, o->meter);
	put64(&r.head, o->physical);
	put64(&r.head, o->moved);
	emit(t, &r);
}

void record_quota(struct txn *t, const struct quota_op *o)
{
	struct record r;

	record_begin(&r, R_QUOTA_SET, o->req, o->now);
	put_id(&r.head, o->id);
	put64(&r.head, o->limit);
	put64(&r.head, o->soft);
	put32(&r.head, o->clear);
	emit(t, &r);
}

/* In the order of enum snapshot_act. */
void record_snapshot(struct txn *t, const struct snapshot_op *o)
{
	struct record r;

	record_begin(&r, R_SNAPSHOT_CREATE + o->act, o->req, o->now);
	put_str(&r.head, o->volume);
	put_str(&r.head, o->snapshot);
	put_str(&r.head, o->name);
	put_bytes(&r.head, o->uuid, 16);
	emit(t, &r);
}

/* ---- replay ----------------------------------------------------------------------------------- */

struct replay {
	struct fs *fs;
	struct fs_req req;
	const struct log_record *rec;
	struct get g;
	const uint64_t *claim_blocks;
	const uint32_t *claim_crcs;
	uint32_t nclaims;
	struct fs_id result;
};

static int run(struct replay *r, int (*fn)(struct txn *, void *), void *op)
{
	struct txn t;
	int err;

	if (r->g.bad)
		return -EDAMAGED;
	txn_begin(&t, r->fs->pool);
	t.space = SPACE_PRIVILEGED;
	t.replay = true;
	t.replay_seq = r->rec->seq;
	t.replay_time_ns = r->rec->time_ns;
	err = txn_run(&t, true, fn, op);
	txn_end(&t);
	return err;
}

static int replay_create(struct replay *r)
{
	struct create_op o = { .req = &r->req, .now = r->rec->time_ns };
	char *target;
	int err;

	o.dir = get_id(&r->g);
	o.name = get_name(&r->g);
	o.unnamed = !o.name.len;
	o.how.type = get32(&r->g);
	o.how.how = get32(&r->g);
	o.how.verifier = get64(&r->g);
	o.how.rdev_major = get32(&r->g);
	o.how.rdev_minor = get32(&r->g);
	o.uid = get32(&r->g);
	o.gid = get32(&r->g);
	get_set(&r->g, &o.how.set);
	o.how.target = target = get_str(&r->g, FS_SYMLINK_MAX);
	if (!target)
		return -ENOMEM;
	err = create_check(&r->req, &o.how) ? -EDAMAGED : run(r, do_create, &o);
	free(target);
	r->result = o.attr.id;
	return err;
}

static int replay_remove(struct replay *r)
{
	struct remove_op o = { .req = &r->req, .now = r->rec->time_ns };
	uint32_t flags;

	o.dir = get_id(&r->g);
	o.name = get_name(&r->g);
	flags = get32(&r->g);
	o.want_dir = flags & 1;
	o.keep = flags & RECORD_KEEP;
	return run(r, do_remove, &o);
}

static int replay_link(struct replay *r)
{
	struct link_op o = { .req = &r->req, .now = r->rec->time_ns };
	uint32_t flags;

	o.file = r->result = get_id(&r->g);
	if (r->rec->type == R_FORGET)
		return run(r, do_forget, &o);
	o.dir = get_id(&r->g);
	o.name = get_name(&r->g);
	flags = get32(&r->g);
	o.replace = flags & 1;
	o.keep = flags & RECORD_KEEP;
	return run(r, do_link, &o);
}

static int replay_rename(struct replay *r)
{
	struct rename_op o = { .req = &r->req, .now = r->rec->time_ns };

	o.from_dir = get_id(&r->g);
	o.from = get_name(&r->g);
	o.to_dir = get_id(&r->g);
	o.to = get_name(&r->g);
	o.keep = get32(&r->g) & RECORD_KEEP;
	return run(r, do_rename, &o);
}

static int replay_clone(struct replay *r)
{
	struct clone_op o = { .req = &r->req, .now = r->rec->time_ns };
	struct fs_name *names;
	int err;

	o.src = get_id(&r->g);
	o.dir = get_id(&r->g);
	o.uid = get32(&r->g);
	o.gid = get32(&r->g);
	o.count = get32(&r->g);
	if (!o.count || o.count > FS_CLONES_MAX)
		return -EDAMAGED;
	names = calloc(o.count + 1, sizeof(*names));
	if (!names)
		return -ENOMEM;
	for (uint32_t k = 0; k < o.count && !r->g.bad; k++) {
		const uint8_t *len = get_bytes(&r->g, 2);
		uint16_t n = 0;

		if (len)
			memcpy(&n, len, 2);
		names[k] = (struct fs_name){ get_bytes(&r->g, n), n };
		r->g.bad |= !n || n > FS_NAME_MAX;
	}
	o.names = names;
	err = run(r, do_clone, &o);
	free(names);
	r->result = o.first.id;
	return err;
}

static int replay_clone_tree(struct replay *r)
{
	struct clone_tree_op o = { .req = &r->req, .now = r->rec->time_ns, .list = tree_list_new() };
	int err = o.list ? 0 : -ENOMEM;

	o.src = get_id(&r->g);
	o.dir = get_id(&r->g);
	o.name = get_name(&r->g);
	if (!err && !r->g.bad && name_check(o.name))
		err = -EDAMAGED;
	if (!err)
		err = run(r, do_clone_tree, &o);
	tree_list_free(o.list);
	r->result = o.attr.id;
	return err;
}

static int replay_clone_range(struct replay *r)
{
	struct range_op o = { .req = &r->req, .now = r->rec->time_ns };

	o.src = get_id(&r->g);
	o.dst = r->result = get_id(&r->g);
	o.src_offset = get64(&r->g);
	o.dst_offset = get64(&r->g);
	o.len = get64(&r->g);
	o.drop_suid = get32(&r->g);
	return run(r, do_clone_range, &o);
}

static int replay_punch(struct replay *r)
{
	struct punch_op o = { .req = &r->req, .now = r->rec->time_ns };

	o.id = r->result = get_id(&r->g);
	o.offset = get64(&r->g);
	o.len = get64(&r->g);
	o.drop_suid = get32(&r->g);
	return run(r, do_punch, &o);
}

static int replay_xattr(struct replay *r)
{
	struct xattr_op o = { .req = &r->req, .now = r->rec->time_ns };
	int err;

	o.id = r->result = get_id(&r->g);
	o.name = get_name(&r->g);
	if (r->rec->type == R_XATTR_SET) {
		o.len = get32(&r->g);
		o.value = get_bytes(&r->g, o.len);
		if (o.name.len > FS_NAME_MAX || o.len > FS_XATTR_VALUE_MAX)
			return -EDAMAGED;
	}
	err = r->g.bad ? -EDAMAGED : xattr_prepare(&o);
	if (!err)
		err = run(r, do_xattr_set, &o);
	xattr_release(&o);
	return err;
}

static int replay_setattr(struct replay *r)
{
	struct setattr_op o = { .req = &r->req, .now = r->rec->time_ns };

	o.id = r->result = get_id(&r->g);
	get_set(&r->g, &o.set);
	o.drop_suid = get32(&r->g);
	return run(r, do_setattr, &o);
}

static int replay_dedup(struct replay *r)
{
	struct dedup_op o = { .req = &r->req, .now = r->rec->time_ns };

	o.dst = r->result = get_id(&r->g);
	o.src = get_id(&r->g);
	o.dst_first = get64(&r->g);
	o.src_first = get64(&r->g);
	o.n = get32(&r->g);
	if (!o.n || o.n > DEDUP_RUN || o.dst_first > FS_MAX_SIZE / BLOCK_SIZE ||
	    o.src_first > FS_MAX_SIZE / BLOCK_SIZE)
		return -EDAMAGED;
	return run(r, do_dedup, &o);
}

/* Runs of whole blocks of the write, each after the one before it. */
static int get_dups(struct replay *r, struct write_op *o)
{
	uint32_t n = get32(&r->g), end = 0;
	struct write_dups *d;

	if (n > DUP_RUNS)
		return -EDAMAGED;
	d = o->dups = dups_new((o->offset + o->len + BLOCK_SIZE - 1) / BLOCK_SIZE - o->offset / BLOCK_SIZE);
	if (!d)
		return -ENOMEM;
	for (d->nruns = 0; d->nruns < n; d->nruns++) {
		struct dup_run *u = &d->runs[d->nruns];

		u->src = get_id(&r->g);
		u->from = get64(&r->g);
		u->at = get16(&r->g);
		u->n = get16(&r->g);
		if (u->at < end || !u->n || u->at + u->n > d->nblocks || u->from > FS_MAX_SIZE / BLOCK_SIZE)
			return -EDAMAGED;
		end = u->at + u->n;
	}
	/* The first and the last block may not be whole. */
	if (n && ((!d->runs[0].at && o->offset % BLOCK_SIZE) ||
		  (end == d->nblocks && (o->offset + o->len) % BLOCK_SIZE)))
		return -EDAMAGED;
	return 0;
}

/* A block of zeros is none of them. */
static bool dups_are_data(const struct write_op *o)
{
	const struct write_dups *d = o->dups;

	for (unsigned i = 0; d && i < d->nruns; i++)
		for (unsigned k = d->runs[i].at; k < d->runs[i].at + d->runs[i].n; k++)
			if (o->zero[k / 8] >> k % 8 & 1)
				return false;
	return true;
}

static int replay_write(struct replay *r)
{
	struct write_op o = { .req = &r->req, .now = r->rec->time_ns };
	bool dups = r->rec->type == R_WRITE_DUP || r->rec->type == R_WRITE_NAMED_DUP;
	struct iovec data;
	const void *p;
	int err = 0;

	o.id = r->result = get_id(&r->g);
	o.offset = get64(&r->g);
	o.len = get32(&r->g);
	o.drop_suid = get32(&r->g);
	if (r->g.bad || !o.len || o.len > FS_IO_MAX || o.offset > (uint64_t)FS_MAX_SIZE - o.len)
		return -EDAMAGED;
	o.named = r->rec->type == R_WRITE_NAMED || r->rec->type == R_WRITE_NAMED_DUP;
	if (o.named) {
		p = get_bytes(&r->g, sizeof(o.zero));
		if (p)
			memcpy(o.zero, p, sizeof(o.zero));
		o.claim_blocks = (uint64_t *)r->claim_blocks;
		o.claim_crcs = (uint32_t *)r->claim_crcs;
		o.nclaims = r->nclaims;
	}
	if (dups)
		err = get_dups(r, &o);
	if (!err && !o.named) {
		data = (struct iovec){ (void *)get_bytes(&r->g, o.len), o.len };
		err = r->g.bad ? -EDAMAGED : 0;
		o.iov = &data;
		o.niov = 1;
	}
	if (!err) {
		write_replay_prepare(&o);
		err = dups_are_data(&o) ? run(r, do_write, &o) : -EDAMAGED;
	}
	dups_free(o.dups);
	return err;
}

static int replay_volume(struct replay *r)
{
	struct volume_op o = { .req = &r->req, .now = r->rec->time_ns, .quota = -1, .soft = -1, .reserve = -1 };
	char *name = get_str(&r->g, FS_VOLUME_NAME_MAX), *exports = NULL, *schedule = NULL;
	int err = name ? 0 : -ENOMEM;

	if (name && strcmp(name, VOLUME_SYSTEM_NAME) && volume_name_legal(name) && !volume_name_hidden(name))
		err = -EDAMAGED;
	o.name = name;
	if (!err && r->rec->type == R_VOLUME_CREATE) {
		const void *uuid = get_bytes(&r->g, 16), *key = get_bytes(&r->g, 16);

		if (key) {
			memcpy(o.uuid, uuid, 16);
			memcpy(o.hash_key, key, 16);
		}
		err = run(r, do_volume_create, &o);
	} else if (!err && r->rec->type == R_VOLUME_DESTROY) {
		err = run(r, do_volume_destroy, &o);
	} else if (!err) {
		bool set = get32(&r->g);

		exports = get_str(&r->g, FS_EXPORTS_MAX);
		o.exports = set ? exports : NULL;
		o.quota = get64(&r->g);
		if (r->g.left) {	/* records of before there were schedules end here */
			set = get32(&r->g);
			schedule = get_str(&r->g, FS_SCHEDULE_MAX);
			o.schedule = set ? schedule : NULL;
		}
		if (r->g.left)		/* and those of before deduplication here */
			o.dedup = get32(&r->g);
		if (r->g.left) {	/* and these before there were reservations */
			o.soft = get64(&r->g);
			o.reserve = get64(&r->g);
		}
		if (r->g.left) {	/* and these before there were limits of what is held */
			o.meter = get32(&r->g);
			o.physical = get64(&r->g);
			o.moved = get64(&r->g);
		}
		err = run(r, do_volume_set, &o);
	}
	free(schedule);
	free(name);
	free(exports);
	return err;
}

static int replay_snapshot(struct replay *r)
{
	struct snapshot_op o = { .req = &r->req, .now = r->rec->time_ns,
				 .act = r->rec->type - R_SNAPSHOT_CREATE };
	char *volume = get_str(&r->g, FS_VOLUME_NAME_MAX), *snapshot = get_str(&r->g, FS_VOLUME_NAME_MAX);
	char *name = get_str(&r->g, FS_VOLUME_NAME_MAX);
	const void *uuid = get_bytes(&r->g, 16);
	int err = volume && snapshot && name ? 0 : -ENOMEM;

	if (uuid)
		memcpy(o.uuid, uuid, 16);
	o.volume = volume;
	o.snapshot = snapshot;
	o.name = name;
	/* A clone has a name, and may be of a volume as it is; all else is about a snapshot. */
	if (!err && o.act == SNAPSHOT_CLONE && volume_name_legal(name) && !volume_name_hidden(name))
		err = -EDAMAGED;
	if (!err && (o.act != SNAPSHOT_CLONE || snapshot[0]) && volume_name_legal(snapshot))
		err = -EDAMAGED;
	if (!err)
		err = run(r, do_snapshot, &o);
	free(volume);
	free(snapshot);
	free(name);
	return err;
}

static int replay_quota(struct replay *r)
{
	struct quota_op o = { .req = &r->req, .now = r->rec->time_ns, .list = tree_list_new() };
	int err = o.list ? 0 : -ENOMEM;

	o.id = r->result = get_id(&r->g);
	o.limit = get64(&r->g);
	o.soft = get64(&r->g);
	o.clear = get32(&r->g);
	if (!err)
		err = run(r, do_quota_set, &o);
	tree_list_free(o.list);
	return err;
}

static int dispatch(struct replay *r)
{
	switch (r->rec->type) {
	case R_CREATE: return replay_create(r);
	case R_REMOVE: return replay_remove(r);
	case R_LINK: case R_FORGET: return replay_link(r);
	case R_RENAME: return replay_rename(r);
	case R_CLONE: return replay_clone(r);
	case R_CLONE_TREE: return replay_clone_tree(r);
	case R_CLONE_RANGE: return replay_clone_range(r);
	case R_PUNCH: return replay_punch(r);
	case R_XATTR_SET: case R_XATTR_REMOVE: return replay_xattr(r);
	case R_SETATTR: return replay_setattr(r);
	case R_DEDUP: return replay_dedup(r);
	case R_WRITE: case R_WRITE_NAMED: case R_WRITE_DUP: case R_WRITE_NAMED_DUP: return replay_write(r);
	case R_VOLUME_CREATE: case R_VOLUME_DESTROY: case R_VOLUME_SET: return replay_volume(r);
	case R_SNAPSHOT_CREATE: case R_SNAPSHOT_DESTROY: case R_VOLUME_RESTORE: case R_VOLUME_CLONE:
		return replay_snapshot(r);
	case R_QUOTA_SET: return replay_quota(r);
	case R_ATTACH: return replay_attach(&r->req, r->rec, r->g.p, r->g.left);
	case R_INODE_SET: return replay_inode_set(&r->req, r->rec, r->g.p, r->g.left);
	}
	return -EDAMAGED;
}

static void remember(struct replay *r)
{
	struct fs *fs = r->fs;

	if (!r->rec->drc_client)
		return;
	if (!fs->replayed)
		fs->replayed = calloc(REPLAYED_MAX, sizeof(*fs->replayed));
	if (!fs->replayed)
		return;			/* a retransmission may then get another answer */
	fs->replayed[fs->nreplayed++ % REPLAYED_MAX] = (struct fs_replayed){
		r->rec->drc_client, r->rec->drc_xid, r->rec->drc_proc, r->result };
}

int record_replay(void *arg, const struct log_record *rec, const void *payload,
		  const uint64_t *claim_blocks, const uint32_t *claim_crcs, uint32_t nclaims)
{
	struct replay r = { .fs = arg, .rec = rec, .g = { payload, rec->payload_len, false },
			    .claim_blocks = claim_blocks, .claim_crcs = claim_crcs, .nclaims = nclaims };
	int err;

	fs_req_admin(&r.req, arg);
	err = dispatch(&r);
	if (err > 0 || err == -EEXIST || err == -ENOENT || err == -ESTALE || err == -ENODATA)
		err = -EDAMAGED;	/* it went well the first time */
	if (!err)
		remember(&r);
	return err;
}
