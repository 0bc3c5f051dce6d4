/* SPDX-License-Identifier: Apache-2.0 */
/* See memfs.h.  Small and slow; permissions are checked as far as tests look at them. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/fiber.h"
#include "base/loop.h"
#include "memfs_int.h"

#define PAGE 4096

static uint8_t zero_page[PAGE];

struct memfs_control *memfs_control(struct fs *fs) { return &fs->ctl; }

static struct fs_time now(struct fs *fs)
{
	fs->clock++;
	return (struct fs_time){ 1000000 + fs->clock / 1000, fs->clock % 1000 };
}

static struct inode *new_inode(struct fs *fs, uint32_t volume, enum fs_type type, uint32_t mode)
{
	struct inode *n = NULL;

	for (uint32_t i = 1; i < INODES_MAX && !n; i++) {
		if (fs->inodes[i].attr.type)
			continue;
		n = &fs->inodes[i];
		n->attr = (struct fs_attr){ .id = { volume, 0, i, ++fs->seq }, .type = type,
					    .mode = mode, .nlink = type == FS_DIR ? 2 : 1,
					    .fsid = volume };
		n->attr.atime = n->attr.mtime = n->attr.ctime = now(fs);
		n->next_cookie = 3;
	}
	return n;
}

struct fs *memfs_new(void)
{
	struct fs *fs = calloc(1, sizeof(*fs));

	assert(fs);
	for (uint32_t v = 1; v <= 3; v++) {
		struct inode *n = new_inode(fs, v, FS_DIR, 0755);

		n->parent = n->attr.id.ino;
		fs->roots[v] = n->attr.id.ino;
	}
	return fs;
}

static void free_content(struct inode *n)
{
	for (uint64_t i = 0; i < n->npages; i++)
		free(n->pages[i]);
	free(n->pages);
	free(n->target);
	memfs_drop_xattrs(n);
	while (n->entries) {
		struct entry *e = n->entries;

		n->entries = e->next;
		free(e);
	}
	*n = (struct inode){ 0 };
}

void memfs_free(struct fs *fs)
{
	for (int i = 0; i < INODES_MAX; i++)
		if (fs->inodes[i].attr.type)
			free_content(&fs->inodes[i]);
	free(fs);
}

void memfs_restart(struct fs *fs)
{
	for (int i = 0; i < INODES_MAX; i++)
		fs->inodes[i].holds = 0;
	fs->ctl.holds = 0;
	fs->keeping = true;
}

void memfs_set_exports(struct fs *fs, uint32_t volume, const char *text)
{
	strcpy(fs->exports[volume], text);
	fs->epoch++;
}

/* Begins every operation: the fault that was asked for, and the inode. */
static int enter(struct fs_req *req, struct fs_id id, struct inode **ret)
{
	struct fs *fs = req->fs;
	int fail = fs->ctl.fail;

	fs->ctl.last_cred = req->cred;
	fs->ctl.fail = 0;
	if (fail)
		return fail;
	if (!id.ino || id.ino >= INODES_MAX || !fs->inodes[id.ino].attr.type ||
	    fs->inodes[id.ino].attr.id.generation != id.generation ||
	    fs->inodes[id.ino].attr.id.volume != id.volume)
		return -ESTALE;
	*ret = &fs->inodes[id.ino];
	return 0;
}

void fs_set_guard(struct fs *fs, const struct fs_guard *g) { fs->guard = g; }

/* The management side doesn't wait here. */
int memfs_ask(const struct fs_req *req, const struct inode *n, enum fs_use use)
{
	const struct fs_guard *g = req->fs->guard;

	return g ? g->ask(g->arg, req, n->attr.id, use) : 0;
}

static bool allowed(const struct fs_cred *c, const struct inode *n, uint32_t bits)
{
	uint32_t mode = n->attr.mode;

	if (c->admin || c->uid == 0)
		return true;
	if (c->uid == n->attr.uid)
		mode >>= 6;
	else if (c->gid == n->attr.gid)
		mode >>= 3;
	else
		for (uint32_t i = 0; i < c->ngroups; i++)
			if (c->groups[i] == n->attr.gid) {
				mode >>= 3;
				break;
			}
	return (mode & bits) == bits;
}

static void before(struct fs *fs, struct inode *n, struct fs_wcc *w)
{
	if (!w)
		return;
	w->pre_valid = true;
	w->pre_change = n->attr.change;
	w->pre_size = n->attr.size;
	w->pre_mtime = n->attr.mtime;
	w->pre_ctime = n->attr.ctime;
	w->post_valid = true;
	w->post = n->attr;
}

static void changed(struct fs_req *req, struct inode *n, struct fs_wcc *w)
{
	struct fs *fs = req->fs;

	n->attr.mtime = n->attr.ctime = now(fs);
	n->attr.change = req->stable_seq = ++fs->seq;
	fs->ctl.changes++;
	fs->ctl.drc_client = req->drc_client;
	fs->ctl.drc_xid = req->drc_xid;
	fs->ctl.drc_proc = req->drc_proc;
	if (w)
		w->post = n->attr;
}

/* ---- requests, volumes --------------------------------------------------------------- */

void fs_req_admin(struct fs_req *req, struct fs *fs)
{
	*req = (struct fs_req){ .fs = fs, .cred.admin = true };
}

int fs_wait_stable(struct fs *fs, uint64_t seq)
{
	fs->ctl.stable_waits++;
	if (fiber_self())
		loop_sleep_ns(1000);
	return fs->ctl.readonly ? -EIO : fs->ctl.fail_stable;
}

void fs_status(struct fs *fs, struct fs_status *ret_st)
{
	*ret_st = (struct fs_status){ .cache_bytes = 256 << 20, .readonly = fs->ctl.readonly };
}

uint64_t fs_verifier(struct fs *fs) { return 0x1234567890abcdef; }

void fs_take_replayed(struct fs *fs, void (*fn)(void *arg, const struct fs_replayed *r), void *arg)
{
	if (fs->ctl.replayed.drc_client)
		fn(arg, &fs->ctl.replayed);
	fs->ctl.replayed.drc_client = 0;
}

uint64_t fs_volume_epoch(struct fs *fs) { return fs->epoch; }

int fs_volume_get(struct fs *fs, uint32_t id, struct fs_volume_info *ret_info)
{
	if (id != 1 && id != 2)
		return -ENOENT;
	if (fiber_self())
		loop_sleep_ns(1000);
	*ret_info = (struct fs_volume_info){ .id = id, .fsid = id, .mapped_blocks = 7 };
	strcpy(ret_info->name, id == 1 ? "vol" : "other");
	strcpy(ret_info->exports, fs->exports[id]);
	ret_info->root = fs->inodes[fs->roots[id]].attr.id;
	return 0;
}

int fs_volume_find(struct fs *fs, const char *name, struct fs_volume_info *ret_info)
{
	return fs_volume_get(fs, !strcmp(name, "vol") ? 1 : !strcmp(name, "other") ? 2 : 0,
			     ret_info);
}

int fs_volume_next(struct fs *fs, uint32_t after, struct fs_volume_info *ret_info)
{
	return fs_volume_get(fs, after + 1, ret_info);
}

/* ---- attributes ---------------------------------------------------------------------- */

int fs_getattr(struct fs_req *req, struct fs_id id, struct fs_attr *ret_attr)
{
	struct inode *n;
	int err = enter(req, id, &n);

	if (!err)
		*ret_attr = n->attr;
	return err;
}

static void resize(struct inode *n, uint64_t size)
{
	uint64_t first = (size + PAGE - 1) / PAGE;

	for (uint64_t i = first; i < n->npages; i++) {
		free(n->pages[i]);
		n->pages[i] = NULL;
	}
	if (size % PAGE && size / PAGE < n->npages && n->pages[size / PAGE])
		memset(n->pages[size / PAGE] + size % PAGE, 0, PAGE - size % PAGE);
	n->attr.size = size;
}

int fs_setattr(struct fs_req *req, struct fs_id id, const struct fs_setattr *s, struct fs_wcc *w)
{
	struct inode *n;
	int err = enter(req, id, &n);

	if (err)
		return err;
	before(req->fs, n, w);
	if (s->guard && (s->guard_ctime.sec != n->attr.ctime.sec ||
			 s->guard_ctime.nsec != n->attr.ctime.nsec))
		return -ENOTSYNC;
	err = memfs_ask(req, n, FS_USE_CHANGE);
	if (!err && req->fs->ctl.readonly)
		err = -EROFS;
	if (err)
		return err;
	if (s->mask & FS_SET_MODE)
		n->attr.mode = s->mode;
	if (s->mask & FS_SET_UID)
		n->attr.uid = s->uid;
	if (s->mask & FS_SET_GID)
		n->attr.gid = s->gid;
	if (s->mask & FS_SET_SIZE)
		resize(n, s->size);
	changed(req, n, NULL);
	if (s->mask & FS_SET_ATIME)
		n->attr.atime = s->atime;
	if (s->mask & FS_SET_MTIME)
		n->attr.mtime = s->mtime;
	if (w)
		w->post = n->attr;
	return 0;
}

int fs_access(struct fs_req *req, struct fs_id id, uint32_t want, uint32_t *ret_allowed,
	      struct fs_attr *ret_attr)
{
	struct inode *n;
	int err = enter(req, id, &n);

	if (err)
		return err;
	*ret_attr = n->attr;
	*ret_allowed = 0;
	if (allowed(&req->cred, n, 4))
		*ret_allowed |= want & FS_ACCESS_READ;
	if (allowed(&req->cred, n, 2))
		*ret_allowed |= want & (FS_ACCESS_MODIFY | FS_ACCESS_EXTEND | FS_ACCESS_DELETE);
	if (allowed(&req->cred, n, 1))
		*ret_allowed |= want & (FS_ACCESS_LOOKUP | FS_ACCESS_EXECUTE);
	return 0;
}

int fs_fsstat(struct fs_req *req, struct fs_id id, struct fs_fsstat *ret_st,
	      struct fs_attr *ret_attr)
{
	struct inode *n;
	int err = enter(req, id, &n);

	if (err)
		return err;
	*ret_st = (struct fs_fsstat){ 1000, 600, 500, 100, 50, 500, 400 };
	*ret_attr = n->attr;
	return 0;
}

/* ---- files --------------------------------------------------------------------------- */

int fs_read(struct fs_req *req, struct fs_id id, uint64_t offset, uint32_t len, struct fs_read *r)
{
	struct inode *n;
	int err = enter(req, id, &n);

	if (err)
		return err;
	r->attr = n->attr;
	r->zeros = zero_page;
	if (n->attr.type != FS_REG)
		return n->attr.type == FS_DIR ? -EISDIR : -EINVAL;
	if (!allowed(&req->cred, n, 4))
		return -EACCES;
	err = memfs_ask(req, n, FS_USE_READ);
	if (err)
		return err;
	if (offset >= n->attr.size)
		len = 0;
	else if (len > n->attr.size - offset)
		len = n->attr.size - offset;
	r->len = len;
	r->eof = offset + len >= n->attr.size;
	r->niov = 0;
	while (len) {
		uint64_t page = offset / PAGE;
		uint32_t at = offset % PAGE, k = len < PAGE - at ? len : PAGE - at;
		uint8_t *p = page < n->npages && n->pages[page] ? n->pages[page] : zero_page;

		r->iov[r->niov++] = (struct iovec){ p + at, k };
		offset += k;
		len -= k;
	}
	req->fs->ctl.pins++;
	return 0;
}

void fs_read_done(struct fs *fs, struct fs_read *r)
{
	fs->ctl.pins--;
}

static void put_byte_range(struct inode *n, uint64_t offset, const uint8_t *s, uint64_t len)
{
	uint64_t need = (offset + len + PAGE - 1) / PAGE;

	if (need > n->npages) {
		n->pages = realloc(n->pages, need * sizeof(*n->pages));
		assert(n->pages);
		memset(n->pages + n->npages, 0, (need - n->npages) * sizeof(*n->pages));
		n->npages = need;
	}
	while (len) {
		uint64_t at = offset % PAGE, k = len < PAGE - at ? len : PAGE - at;
		uint8_t **p = &n->pages[offset / PAGE];

		if (!*p)
			*p = calloc(1, PAGE);
		assert(*p);
		memcpy(*p + at, s, k);
		offset += k;
		s += k;
		len -= k;
	}
}

int fs_write(struct fs_req *req, struct fs_id id, uint64_t offset, const struct iovec *iov,
	     int niov, uint32_t len, bool stable, struct fs_wcc *w)
{
	uint64_t before_seq = req->stable_seq;
	struct inode *n;
	int err;

	if (req->fs->ctl.delay_ms && fiber_self())
		loop_sleep_ns(req->fs->ctl.delay_ms * 1000000ull);
	err = enter(req, id, &n);
	if (err)
		return err;
	before(req->fs, n, w);
	if (n->attr.type != FS_REG)
		return n->attr.type == FS_DIR ? -EISDIR : -EINVAL;
	if (!allowed(&req->cred, n, 2))
		return -EACCES;
	if (offset + len > 1 << 30)
		return -ENOSPC;
	err = memfs_ask(req, n, FS_USE_CHANGE);
	if (err)
		return err;
	assert(niov == 1 && iov->iov_len == len);
	put_byte_range(n, offset, iov->iov_base, len);
	if (offset + len > n->attr.size)
		n->attr.size = offset + len;
	changed(req, n, w);
	if (!stable)
		req->stable_seq = before_seq;
	return 0;
}

int fs_commit(struct fs_req *req, struct fs_id id, struct fs_wcc *w)
{
	struct inode *n;
	int err = enter(req, id, &n);

	if (err)
		return err;
	before(req->fs, n, w);
	req->stable_seq = req->fs->seq;
	return 0;
}

int fs_readlink(struct fs_req *req, struct fs_id id, char ret_target[FS_SYMLINK_MAX + 1],
		struct fs_attr *ret_attr)
{
	struct inode *n;
	int err = enter(req, id, &n);

	if (err)
		return err;
	*ret_attr = n->attr;
	if (n->attr.type != FS_LNK)
		return -EINVAL;
	strcpy(ret_target, n->target);
	return 0;
}

/* A page that was never written is a hole. */
int fs_seek(struct fs_req *req, struct fs_id id, uint64_t offset, bool data, uint64_t *ret_offset)
{
	struct inode *n;
	int err = enter(req, id, &n);

	if (err)
		return err;
	if (n->attr.type != FS_REG)
		return n->attr.type == FS_DIR ? -EISDIR : -EINVAL;
	err = memfs_ask(req, n, FS_USE_READ);
	if (err)
		return err;
	if (offset >= n->attr.size)
		return -ENXIO;
	while (offset < n->attr.size && offset / PAGE < n->npages &&
	       data == !n->pages[offset / PAGE])
		offset = (offset / PAGE + 1) * PAGE;
	if (offset > n->attr.size)
		offset = n->attr.size;
	if (data && (offset == n->attr.size || offset / PAGE >= n->npages))
		return -ENXIO;
	*ret_offset = offset;
	return 0;
}

int fs_punch(struct fs_req *req, struct fs_id id, uint64_t offset, uint64_t len, struct fs_wcc *w)
{
	struct inode *n;
	int err = enter(req, id, &n);

	if (err)
		return err;
	before(req->fs, n, w);
	if (n->attr.type != FS_REG)
		return -EINVAL;
	if (!allowed(&req->cred, n, 2))
		return -EACCES;
	err = memfs_ask(req, n, FS_USE_CHANGE);
	if (err)
		return err;
	while (len && offset < n->npages * PAGE) {
		uint64_t at = offset % PAGE, k = len < PAGE - at ? len : PAGE - at;
		uint8_t **p = &n->pages[offset / PAGE];

		if (*p)
			memset(*p + at, 0, k);
		if (k == PAGE) {
			free(*p);
			*p = NULL;
		}
		offset += k;
		len -= k;
	}
	changed(req, n, w);
	return 0;
}

int fs_allocate(struct fs_req *req, struct fs_id id, uint64_t offset, uint64_t len,
		struct fs_wcc *w)
{
	struct inode *n;
	int err = !len ? -EINVAL : offset > FS_MAX_SIZE || len > FS_MAX_SIZE - offset ? -EFBIG :
		  enter(req, id, &n);

	if (err)
		return err;
	before(req->fs, n, w);
	if (n->attr.type != FS_REG)
		return n->attr.type == FS_DIR ? -EISDIR : -EINVAL;
	if (!allowed(&req->cred, n, 2))
		return -EACCES;
	if (offset + len > 1 << 30)
		return -ENOSPC;
	if (offset + len <= n->attr.size)
		return 0;
	n->attr.size = offset + len;
	changed(req, n, w);
	return 0;
}

int fs_clone_range(struct fs_req *req, struct fs_id src, uint64_t src_offset, struct fs_id dst,
		   uint64_t dst_offset, uint64_t len, struct fs_wcc *w)
{
	struct inode *from, *to;
	int err = enter(req, src, &from);

	if (!err)
		err = enter(req, dst, &to);
	if (err)
		return err;
	before(req->fs, to, w);
	if (from->attr.type != FS_REG || to->attr.type != FS_REG || src_offset % PAGE ||
	    dst_offset % PAGE || src_offset > from->attr.size)
		return -EINVAL;
	if (!len)
		len = from->attr.size - src_offset;
	if (len > from->attr.size - src_offset ||
	    (len % PAGE && (src_offset + len != from->attr.size ||
			    dst_offset + len < to->attr.size)))
		return -EINVAL;
	if (from == to && src_offset < dst_offset + len && dst_offset < src_offset + len)
		return -EINVAL;
	if (len > 1 << 30 || dst_offset > 1 << 30)
		return -ENOSPC;
	err = memfs_ask(req, from, FS_USE_READ);
	if (!err)
		err = memfs_ask(req, to, FS_USE_CHANGE);
	if (err)
		return err;
	for (uint64_t at = 0; at < len; at += PAGE) {
		uint64_t page = (src_offset + at) / PAGE, k = len - at < PAGE ? len - at : PAGE;
		uint8_t *p = page < from->npages ? from->pages[page] : NULL;

		put_byte_range(to, dst_offset + at, p ? p : zero_page, k);
	}
	if (dst_offset + len > to->attr.size)
		to->attr.size = dst_offset + len;
	changed(req, to, w);
	return 0;
}

/* ---- for the other rooms --------------------------------------------------------------- */

int memfs_enter(struct fs_req *req, struct fs_id id, uint32_t bits, struct inode **ret)
{
	int err = enter(req, id, ret);

	return err ? err : allowed(&req->cred, *ret, bits) ? 0 : -EACCES;
}

void memfs_before(struct fs *fs, struct inode *n, struct fs_wcc *w) { before(fs, n, w); }
void memfs_changed(struct fs_req *req, struct inode *n, struct fs_wcc *w) { changed(req, n, w); }

/* ---- names --------------------------------------------------------------------------- */

static struct entry **find(struct inode *d, struct fs_name name)
{
	struct entry **p = &d->entries;

	while (*p && (strlen((*p)->name) != name.len || memcmp((*p)->name, name.s, name.len)))
		p = &(*p)->next;
	return p;
}

static bool is_dots(struct fs_name n)
{
	return (n.len == 1 && n.s[0] == '.') || (n.len == 2 && n.s[0] == '.' && n.s[1] == '.');
}

static void add_entry(struct inode *d, struct fs_name name, uint32_t ino)
{
	struct entry *e = calloc(1, sizeof(*e)), **p = &d->entries;

	assert(e);
	while (*p)
		p = &(*p)->next;
	memcpy(e->name, name.s, name.len);
	e->ino = ino;
	e->cookie = d->next_cookie++;
	*p = e;
}

static int enter_dir(struct fs_req *req, struct fs_id dir, struct inode **ret)
{
	int err = enter(req, dir, ret);

	return err ? err : (*ret)->attr.type == FS_DIR ? 0 : -ENOTDIR;
}

int fs_lookup(struct fs_req *req, struct fs_id dir, struct fs_name name, struct fs_attr *ret_attr,
	      struct fs_attr *ret_dir_attr)
{
	struct entry *e;
	struct inode *d;
	int err = enter_dir(req, dir, &d);

	if (err)
		return err;
	*ret_dir_attr = d->attr;
	if (!allowed(&req->cred, d, 1))
		return -EACCES;
	if (is_dots(name)) {
		*ret_attr = req->fs->inodes[name.len == 1 ? d->attr.id.ino : d->parent].attr;
		return 0;
	}
	e = *find(d, name);
	if (!e)
		return -ENOENT;
	*ret_attr = req->fs->inodes[e->ino].attr;
	return 0;
}

int fs_lookup_path(struct fs_req *req, const char *volume, const char *path,
		   struct fs_attr *ret_attr)
{
	struct fs_volume_info info;
	struct fs_attr dir_attr;
	int err = fs_volume_find(req->fs, volume, &info);

	if (err)
		return err;
	err = fs_getattr(req, info.root, ret_attr);
	while (!err && *path) {
		size_t len = strcspn(path, "/");

		if (len)
			err = fs_lookup(req, ret_attr->id, (struct fs_name){ path, len }, ret_attr,
					&dir_attr);
		path += len + (path[len] == '/');
	}
	return err;
}

int fs_create(struct fs_req *req, struct fs_id dir, struct fs_name name,
	      const struct fs_create *how, struct fs_attr *ret_attr, struct fs_wcc *w)
{
	struct inode *d, *n;
	struct entry *e;
	int err;

	if (req->fs->ctl.delay_ms && fiber_self())
		loop_sleep_ns(req->fs->ctl.delay_ms * 1000000ull);
	err = enter_dir(req, dir, &d);
	if (err)
		return err;
	before(req->fs, d, w);
	if (!allowed(&req->cred, d, 3))
		return -EACCES;
	if (is_dots(name))
		return -EEXIST;
	e = *find(d, name);
	if (e) {
		n = &req->fs->inodes[e->ino];
		if (n->attr.type != FS_REG || how->how == FS_CREATE_GUARDED ||
		    (how->how == FS_CREATE_EXCLUSIVE && n->verifier != how->verifier))
			return -EEXIST;
		if (how->set.mask & FS_SET_SIZE)
			resize(n, how->set.size);
		*ret_attr = n->attr;
		return 0;
	}
	n = new_inode(req->fs, dir.volume, how->type, how->type == FS_DIR ? 0755 : 0644);
	if (!n)
		return -ENOSPC;
	if (how->set.mask & FS_SET_MODE)
		n->attr.mode = how->set.mode;
	n->attr.uid = req->cred.uid;
	n->attr.gid = req->cred.gid;
	n->attr.rdev_major = how->rdev_major;
	n->attr.rdev_minor = how->rdev_minor;
	if (how->type == FS_REG && how->set.mask & FS_SET_SIZE)
		resize(n, how->set.size);
	n->verifier = how->verifier;
	n->parent = d->attr.id.ino;
	if (how->type == FS_LNK) {
		n->target = strdup(how->target);
		n->attr.size = strlen(how->target);
	}
	add_entry(d, name, n->attr.id.ino);
	d->attr.nlink += how->type == FS_DIR;
	changed(req, d, w);
	*ret_attr = n->attr;
	return 0;
}

int fs_link(struct fs_req *req, struct fs_id file, struct fs_id dir, struct fs_name name,
	    bool replace, struct fs_attr *ret_attr, struct fs_wcc *w)
{
	struct inode *d, *n;
	int err = enter(req, file, &n);

	if (!err)
		err = enter_dir(req, dir, &d);
	if (err)
		return err;
	before(req->fs, d, w);
	*ret_attr = n->attr;
	if (n->attr.type == FS_DIR)
		return -EISDIR;
	if (!n->attr.nlink)
		return -ENOENT;
	if (*find(d, name))
		return -EEXIST;
	err = memfs_ask(req, n, FS_USE_CHANGE);
	if (err)
		return err;
	n->attr.nlink++;
	add_entry(d, name, file.ino);
	changed(req, d, w);
	*ret_attr = n->attr;
	return 0;
}

int fs_system_dir(struct fs_req *req, const char *name, struct fs_id *ret_dir)
{
	struct inode *root = &req->fs->inodes[req->fs->roots[3]], *d;
	struct fs_name n = { name, strlen(name) };
	struct entry *e = *find(root, n);

	if (!e) {
		d = new_inode(req->fs, 3, FS_DIR, 0700);
		if (!d)
			return -ENOSPC;
		d->parent = root->attr.id.ino;
		add_entry(root, n, d->attr.id.ino);
		changed(req, root, NULL);
	} else {
		d = &req->fs->inodes[e->ino];
	}
	*ret_dir = d->attr.id;
	return 0;
}

static void unlink_entry(struct fs *fs, struct entry **p)
{
	struct entry *e = *p;
	struct inode *n = &fs->inodes[e->ino];

	*p = e->next;
	free(e);
	if (n->attr.type == FS_DIR || (!--n->attr.nlink && !n->holds && !fs->keeping))
		free_content(n);
}

int fs_hold(struct fs *fs, struct fs_id id)
{
	struct inode *n = &fs->inodes[id.ino];

	assert(id.ino < INODES_MAX);
	if (fs->ctl.fail_hold)
		return fs->ctl.fail_hold;
	fs->ctl.holds++;
	if (n->attr.id.generation == id.generation)
		n->holds++;
	return 0;
}

void fs_unhold(struct fs *fs, struct fs_id id)
{
	struct inode *n = &fs->inodes[id.ino];

	fs->ctl.holds--;
	if (n->attr.id.generation == id.generation && !--n->holds && !n->attr.nlink &&
	    !fs->keeping)
		free_content(n);
}

void fs_drop_orphans(struct fs *fs)
{
	fs->ctl.drops++;
	fs->keeping = false;
	for (int i = 0; i < INODES_MAX; i++)
		if (fs->inodes[i].attr.type && !fs->inodes[i].attr.nlink && !fs->inodes[i].holds)
			free_content(&fs->inodes[i]);
}

static int take_away(struct fs_req *req, struct fs_id dir, struct fs_name name, bool is_dir,
		     struct fs_wcc *w)
{
	struct inode *d, *n;
	struct entry **p;
	int err = enter_dir(req, dir, &d);

	if (err)
		return err;
	before(req->fs, d, w);
	if (!allowed(&req->cred, d, 3))
		return -EACCES;
	p = find(d, name);
	if (!*p)
		return -ENOENT;
	n = &req->fs->inodes[(*p)->ino];
	if (is_dir && n->attr.type != FS_DIR)
		return -ENOTDIR;
	if (!is_dir && n->attr.type == FS_DIR)
		return -EISDIR;
	if (is_dir && n->entries)
		return -ENOTEMPTY;
	err = memfs_ask(req, n, FS_USE_CHANGE);
	if (err)
		return err;
	d->attr.nlink -= is_dir;
	unlink_entry(req->fs, p);
	changed(req, d, w);
	return 0;
}

int fs_remove(struct fs_req *req, struct fs_id dir, struct fs_name name, struct fs_wcc *w)
{
	return take_away(req, dir, name, false, w);
}

int fs_rmdir(struct fs_req *req, struct fs_id dir, struct fs_name name, struct fs_wcc *w)
{
	return take_away(req, dir, name, true, w);
}

int fs_rename(struct fs_req *req, struct fs_id from_dir, struct fs_name from, struct fs_id to_dir,
	      struct fs_name to, struct fs_wcc *from_w, struct fs_wcc *to_w)
{
	struct inode *a, *b;
	struct entry **p, **q;
	uint32_t ino;
	int err = enter_dir(req, from_dir, &a);

	if (!err)
		err = enter_dir(req, to_dir, &b);
	if (err)
		return err;
	before(req->fs, a, from_w);
	before(req->fs, b, to_w);
	p = find(a, from);
	if (!*p)
		return -ENOENT;
	ino = (*p)->ino;
	q = find(b, to);
	err = memfs_ask(req, &req->fs->inodes[ino], FS_USE_CHANGE);
	if (!err && *q)
		err = memfs_ask(req, &req->fs->inodes[(*q)->ino], FS_USE_CHANGE);
	if (err)
		return err;
	if (*q)
		unlink_entry(req->fs, q);
	p = find(a, from);
	q = p;
	struct entry *e = *q;
	*q = e->next;
	free(e);
	add_entry(b, to, ino);
	changed(req, a, from_w);
	changed(req, b, to_w);
	return 0;
}

static bool pack(struct fs *fs, struct fs_dirlist *l, size_t *at, const char *name, uint64_t cookie,
		 const struct fs_attr *attr)
{
	size_t len = strlen(name), size = (sizeof(struct fs_dirent) + len + 1 + 7) & ~7ul;
	struct fs_dirent *e = (struct fs_dirent *)((char *)l->buf + *at);

	if (*at + size > l->cap || (l->max_entries && l->n >= l->max_entries))
		return false;
	memset(e, 0, sizeof(*e));
	e->cookie = cookie;
	e->ino = attr->id.ino;
	if (!fs->ctl.damaged || strcmp(name, fs->ctl.damaged))
		e->attr = *attr;
	e->size = size;
	e->name_len = len;
	memcpy(e->name, name, len + 1);
	*at += size;
	l->n++;
	return true;
}

int fs_readdir(struct fs_req *req, struct fs_id dir, uint64_t cookie, bool plus,
	       struct fs_dirlist *l)
{
	struct fs *fs = req->fs;
	struct inode *d;
	size_t at = 0;
	int err = enter_dir(req, dir, &d);

	l->n = 0;
	if (err)
		return err;
	l->dir_attr = d->attr;
	l->eof = false;
	if (!allowed(&req->cred, d, 4))
		return -EACCES;
	if (cookie < 1 && !pack(fs, l, &at, ".", 1, &d->attr))
		return 0;
	if (cookie < 2 && !pack(fs, l, &at, "..", 2, &fs->inodes[d->parent].attr))
		return 0;
	for (struct entry *e = d->entries; e; e = e->next)
		if (e->cookie > cookie && !pack(fs, l, &at, e->name, e->cookie,
						&fs->inodes[e->ino].attr))
			return 0;
	l->eof = true;
	return 0;
}
