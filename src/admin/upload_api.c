/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uploads: a file comes in piece by piece without a name, and appears whole.
 *
 *   POST /v1/uploads ---> open --- PUT ---> open --- POST .../ID ---> named, durable, gone
 *                           |                                          from this table
 *                           +--- DELETE, silence, SIGTERM, crash ---> nothing is left
 *
 * The table belongs to the loop's thread.  An upload with users > 0 is being worked on by a
 * fiber that may wait, so nobody else ends it.
 */
#include "admin/admin_int.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "admin/size.h"
#include "base/fiber.h"

struct upload {
	char id[UPLOAD_ID_LEN + 1];
	struct fs_id file;
	struct objpath dst;
	bool replace, makes_room;
	unsigned users;
	uint64_t last_ns;
};

static uint64_t idle_ns(const struct admin *a)
{
	return a->cfg.upload_timeout_s * 1000000000ull;
}

/* Looks for silent uploads often enough to be late by a tenth at most. */
static void sweep_later(struct admin *a)
{
	timer_set(&a->upload_timer, idle_ns(a) / 10);
}

static struct upload **upload_slot(struct admin *a, const char *id)
{
	unsigned i;

	for (i = 0; i < UPLOADS_MAX; i++)
		if (id ? a->uploads[i] && !strcmp(a->uploads[i]->id, id) : !a->uploads[i])
			return &a->uploads[i];
	return NULL;
}

/* Takes it out of the table; its file goes with it. */
static void upload_forget(struct admin *a, struct upload **slot)
{
	struct upload *u = steal_ptr(*slot);
	struct fs_req req;

	fs_req_admin(&req, a->cfg.fs);
	fs_forget(&req, u->file);
	free(u);
}

/* ---- the silent ones -------------------------------------------------------------------- */

static void sweep_fiber(void *arg)
{
	struct admin *a = arg;
	bool left = false;
	unsigned i;

	for (i = 0; i < UPLOADS_MAX; i++) {
		struct upload *u = a->uploads[i];

		if (u && !u->users && loop_now_ns() - u->last_ns > idle_ns(a))
			upload_forget(a, &a->uploads[i]);
		left |= a->uploads[i] != NULL;
	}
	a->upload_sweeping = false;
	if (left)
		sweep_later(a);
}

static void sweep_due(struct timer *t)
{
	struct admin *a = container_of(t, struct admin, upload_timer);

	a->upload_sweeping = true;
	if (fiber_spawn(sweep_fiber, a, "uploads")) {
		a->upload_sweeping = false;
		sweep_later(a);
	}
}

void uploads_init(struct admin *a)
{
	timer_init(&a->upload_timer, sweep_due);
}

void uploads_stop(struct admin *a)
{
	unsigned i;

	while (a->upload_sweeping)
		loop_sleep_ns(1000 * 1000);
	timer_cancel(&a->upload_timer);
	for (i = 0; i < UPLOADS_MAX; i++)
		if (a->uploads[i])
			upload_forget(a, &a->uploads[i]);
}

/* ---- begin ------------------------------------------------------------------------------ */

struct upload_args {
	struct objpath dst, like;
	bool has_like, like_failed;
	bool replace, makes_room;
	uint64_t size, data;
	struct fs_setattr set;
	char id[UPLOAD_ID_LEN + 1];
	uint64_t avail;			/* out, with -EDOM: it cannot fit */
	const char *bad_id;
	bool has_size;
	struct fs_attr attr;
};

/* Whether the name can be given at the end.  It is looked at again then. */
static int dst_check(struct call *c, const struct objpath *dst, bool replace,
		     struct fs_attr *ret_dir)
{
	struct fs_attr old;
	int err = path_lookup_parent(&c->req, dst, ret_dir);

	if (err)
		return err;
	err = fs_lookup(&c->req, ret_dir->id, path_leaf_name(dst), &old, NULL);
	if (!err)
		return old.type == FS_DIR ? -EISDIR : replace ? 0 : -EEXIST;
	return err == -ENOENT ? 0 : err;
}

/* Its blocks count for the volume as they come, for a directory's quota when it gets its name. */
static int room_check(struct call *c, struct upload_args *u, const struct fs_attr *dir)
{
	struct fs_attr old;
	struct fs_quota q;
	int err = fs_quota_get(&c->req, dir->id, &q);

	if (err && err != -ENODATA)
		return err;
	if (!err && q.limit_blocks && q.used_blocks + u->data / 4096 > q.limit_blocks) {
		/* What it replaces makes room. */
		err = fs_lookup(&c->req, dir->id, path_leaf_name(&u->dst), &old, NULL);
		if (err || q.used_blocks + u->data / 4096 > q.limit_blocks + fs_used_bytes(&old) / 4096)
			return -EDQUOT;
	}
	u->avail = fs_space_left(c->req.fs, dir->id.volume) * 4096;
	return u->data > u->avail ? -EDOM : 0;
}

static int upload_make(struct call *c, const struct upload_args *a, const struct fs_attr *dir,
		       const struct fs_attr *like, struct upload *u)
{
	uint32_t mode = a->set.mask & FS_SET_MODE ? a->set.mode : 0644;
	struct fs_setattr set = a->set;
	struct fs_attr attr;
	uint8_t random[UPLOAD_ID_LEN / 2];
	unsigned i;
	int err;

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	for (i = 0; i < sizeof(random); i++)
		sprintf(u->id + 2 * i, "%02x", random[i]);
	err = fs_create_unnamed(&c->req, dir->id.volume, mode, &attr);
	if (err)
		return err;
	u->file = attr.id;
	if (a->has_like)
		err = fs_clone_range(&c->req, like->id, 0, u->file, 0, 0, NULL);
	set.mask &= FS_SET_UID | FS_SET_GID;
	set.mask |= a->has_size ? FS_SET_SIZE : 0;
	set.size = a->size;
	if (!err && set.mask)
		err = fs_setattr(&c->req, u->file, &set, NULL);
	if (err)
		fs_forget(&c->req, u->file);
	return err;
}

static int begin_run(struct call *c, void *arg)
{
	struct upload_args *a = arg;
	struct upload **slot, *u;
	struct fs_attr dir, like;
	int err = dst_check(c, &a->dst, a->replace, &dir);

	c->req.makes_room = a->makes_room;
	if (!err && a->has_like) {
		err = path_lookup(&c->req, &a->like, &like);
		a->like_failed = err;
	}
	if (!err)
		err = room_check(c, a, &dir);
	if (err)
		return err;
	u = calloc(1, sizeof(*u));
	err = u ? upload_make(c, a, &dir, &like, u) : -ENOMEM;
	slot = upload_slot(c->admin, NULL);
	if (!err && !slot) {
		fs_forget(&c->req, u->file);
		err = -EUSERS;
	}
	if (err) {
		free(u);
		return err;
	}
	u->dst = a->dst;
	u->replace = a->replace;
	u->makes_room = a->makes_room;
	u->last_ns = loop_now_ns();
	*slot = u;
	memcpy(a->id, u->id, sizeof(a->id));
	sweep_later(c->admin);
	return 0;
}

static void upload_fail(struct call *c, struct upload_args *u, int err)
{
	char need[SIZE_TEXT], have[SIZE_TEXT];

	if (u->like_failed)
		call_fail_err(c, err, "%s:%s", u->like.volume, u->like.path);
	else if (err == -ENOMEDIUM)
		call_fail_err(c, err, "%s", u->dst.volume);
	else if (err == -EDOM)
		call_fail(c, 507, "no_space", "%s:%s: needs %s, and the pool has %s left; remove "
			  "something first, or use a larger pool", u->dst.volume, u->dst.path,
			  size_text(u->data, need), size_text(u->avail, have));
	else if (err == -EUSERS)
		call_fail(c, 503, "busy", "%s:%s: %d uploads are under way already; try again "
			  "later",
			  u->dst.volume, u->dst.path, UPLOADS_MAX);
	else if (err == -ENOKEY)
		call_fail(c, 404, "no_upload", "%s: no such upload; it is finished, or was silent "
			  "for over %u seconds", c->name, c->admin->cfg.upload_timeout_s);
	else if (u->dst.volume[0])
		call_fail_err(c, err, "%s:%s", u->dst.volume, u->dst.path);
	else
		call_fail_err(c, err, "upload %s", c->name);
}

void post_uploads(struct call *c)
{
	struct upload_args *a = calloc(1, sizeof(*a));
	int err;

	c->state = a;
	if (!a) {
		call_fail_err(c, -ENOMEM, "upload");
		return;
	}
	a->has_size = arg_given(c, "size");
	a->has_like = arg_given(c, "like");
	if (a->has_like && !arg_path(c, "like", &a->like))
		return;
	if (!arg_live_path(c, "path", &a->dst) || !arg_bool(c, "replace", &a->replace) ||
	    !arg_bool(c, "makes_room", &a->makes_room) ||
	    !arg_number(c, "size", FS_MAX_SIZE, &a->size) ||
	    !arg_number(c, "data", INT64_MAX, &a->data) || !arg_owner(c, &a->set))
		return;
	if (objpath_is_root(&a->dst)) {
		upload_fail(c, a, -EISDIR);
		return;
	}
	err = call_run(c, begin_run, a);
	if (err)
		upload_fail(c, a, err);
	else
		call_reply(c, 201, json_pack("{s:s}", "id", a->id));
}

/* ---- data ------------------------------------------------------------------------------- */

struct put_args {
	struct upload_args base;	/* first: what upload_fail() names */
	uint64_t offset;		/* of what stands in c->body */
	uint64_t written;
};

static int write_run(struct call *c, void *arg)
{
	struct put_args *p = arg;
	struct upload **slot = upload_slot(c->admin, c->name), *u;
	struct iovec iov = { c->body, c->body_len };
	int err;

	if (!slot)
		return -ENOKEY;
	u = *slot;
	p->base.dst = u->dst;
	c->req.makes_room = u->makes_room;
	u->users++;
	err = c->body_len ? fs_write(&c->req, u->file, p->offset, &iov, 1, (uint32_t)c->body_len, false, NULL) : 0;
	u->users--;
	u->last_ns = loop_now_ns();
	return err;
}

static void put_flush(struct call *c, struct put_args *p)
{
	/* One without a body says that it goes on. */
	int err = c->body_len || !p->written ? call_run(c, write_run, p) : 0;

	if (err) {
		upload_fail(c, &p->base, err);
		return;
	}
	p->offset += c->body_len;
	p->written += c->body_len;
	c->body_len = 0;
}

static struct put_args *put_begin(struct call *c)
{
	struct put_args *p = calloc(1, sizeof(*p));

	c->state = p;
	if (p && atomic_fetch_add(&c->admin->body_bytes, UPLOAD_CHUNK) + UPLOAD_CHUNK <=
		 BODY_MEMORY_MAX)
		c->body = aligned_alloc(4096, UPLOAD_CHUNK);
	c->body_cap = p ? UPLOAD_CHUNK : 0;
	if (!c->body) {
		call_fail_err(c, -ENOMEM, "upload %s", c->name);
		return NULL;
	}
	/* With the offset of the whole body, not one piece of it ends past FS_MAX_SIZE. */
	return arg_number(c, "offset", FS_MAX_SIZE - UPLOAD_PUT_MAX, &p->offset) ? p : NULL;
}

void put_upload_data(struct call *c, const char *data, size_t len)
{
	struct put_args *p = c->state ? c->state : put_begin(c);
	size_t room, n;

	if (!p)
		return;
	if (!len)
		put_flush(c, p);
	while (len && !c->status) {
		/* up to the next multiple of the chunk: whole blocks, written once */
		room = UPLOAD_CHUNK - (p->offset + c->body_len) % UPLOAD_CHUNK;
		n = len < room ? len : room;
		if (p->written + c->body_len + n > UPLOAD_PUT_MAX) {
			call_fail(c, 413, "too_large", "upload %s: more than %llu bytes in one PUT",
				  c->name, (unsigned long long)UPLOAD_PUT_MAX);
			return;
		}
		memcpy(c->body + c->body_len, data, n);
		c->body_len += n;
		data += n;
		len -= n;
		if (n == room)
			put_flush(c, p);
	}
}

void put_upload(struct call *c)
{
	struct put_args *p = c->state;
	json_t *j = json_object();

	if (j)
		json_set_u64(j, "written", p->written);
	call_reply(c, 200, j);
}

/* ---- the end ---------------------------------------------------------------------------- */

static int finish_name(struct call *c, struct upload_args *a, struct upload *u)
{
	struct fs_setattr set = { .mask = FS_SET_SIZE, .size = a->size };
	struct fs_attr dir;
	int err = dst_check(c, &u->dst, u->replace, &dir);

	if (!err && a->has_size)
		err = fs_setattr(&c->req, u->file, &set, NULL);
	if (!err)
		err = fs_link(&c->req, u->file, dir.id, path_leaf_name(&u->dst), u->replace,
			      &a->attr, NULL);
	return err;
}

static int finish_run(struct call *c, void *arg)
{
	struct upload_args *a = arg;
	struct upload **slot = upload_slot(c->admin, c->name), *u;
	int err;

	if (!slot)
		return -ENOKEY;
	u = *slot;
	a->dst = u->dst;
	if (u->users)
		return -EBUSY;
	u->users++;
	c->req.makes_room = u->makes_room;
	err = finish_name(c, a, u);
	/* whatever happens now, the upload is over; waits may have moved nothing: only the
	 * owner of users > 0 empties a slot */
	u->users--;
	if (err) {
		upload_forget(c->admin, slot);
		return err;
	}
	*slot = NULL;
	free(u);
	fs_commit(&c->req, a->attr.id, NULL);
	err = fs_wait_stable(c->req.fs, c->req.stable_seq);
	return err ? err : fs_getattr(&c->req, a->attr.id, &a->attr);
}

void post_upload(struct call *c)
{
	struct upload_args *a = calloc(1, sizeof(*a));
	const char *leaf;
	int err;

	c->state = a;
	if (!a) {
		call_fail_err(c, -ENOMEM, "upload");
		return;
	}
	a->has_size = arg_given(c, "size");
	if (!arg_number(c, "size", FS_MAX_SIZE, &a->size))
		return;
	err = call_run(c, finish_run, a);
	if (err) {
		upload_fail(c, a, err);
		return;
	}
	leaf = objpath_leaf(&a->dst);
	call_reply(c, 201, json_file(leaf, strlen(leaf), &a->attr));
}

static int abandon_run(struct call *c, void *arg)
{
	struct upload **slot = upload_slot(c->admin, c->name);

	if (!slot)
		return -ENOKEY;
	if ((*slot)->users)
		return -EBUSY;
	upload_forget(c->admin, slot);
	return 0;
}

void delete_upload(struct call *c)
{
	struct upload_args a = { 0 };
	int err = call_run(c, abandon_run, NULL);

	if (err)
		upload_fail(c, &a, err);
	else
		call_reply(c, 200, json_pack("{s:s}", "forgotten", c->name));
}
