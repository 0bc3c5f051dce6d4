/* SPDX-License-Identifier: Apache-2.0 */
/* The model's inodes, names and volumes.  See model.h; the rules are in model_rules.c. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_int.h"

#define HASH_SIZE 8192

const char *const op_names[OP_KINDS] = {
	"create", "mkdir", "symlink", "mknod", "unnamed", "forget", "link", "write", "setattr",
	"clone", "remove", "rmdir", "rename", "vcreate", "vdestroy", "read", "range", "punch", "allocate",
	"xset", "xremove", "hold", "quota", "reserve", "snap", "unsnap", "restore", "vclone", "tree"
};

static void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		abort();
	return p;
}

static void *xgrow(void *p, uint32_t n, uint32_t *cap, size_t size)
{
	if (n < *cap)
		return p;
	*cap = *cap ? 2 * *cap : 8;
	p = realloc(p, *cap * size);
	if (!p)
		abort();
	return p;
}

void op_done(struct op *op)
{
	free(op->new_ids);
	free(op->data);
	free(op->target);
	free(op->snap);
	free(op->volume);
	op->snap = NULL;
	op->volume = NULL;
	op->new_ids = NULL;
	op->data = NULL;
	op->target = NULL;
}

void op_clone_name(const struct op *op, uint32_t i, char *buf)
{
	memcpy(buf, op->name, op->name_len + 1);
	if (i)
		snprintf(buf + op->name_len, OP_NAME_BUF - op->name_len, ".%u", i);
}

void op_print(const struct op *op, char *buf, size_t len)
{
	int n = snprintf(buf, len, "%s user %u id %u@%u:%llu dir %u@%u:%llu", op_names[op->kind],
			 op->user, op->id.volume, op->id.snapshot, (unsigned long long)op->id.ino,
			 op->dir.volume, op->dir.snapshot, (unsigned long long)op->dir.ino);

	if (op->name_len)
		n += snprintf(buf + n, len - n, " '%.40s'", op->name);
	if (op->kind >= OP_SNAP && op->kind <= OP_VCLONE)
		n += snprintf(buf + n, len - n, "@%.40s%s%.40s%s", op->name2, op->target ? " to " : "",
			      op->target ? op->target : "", op->force ? " by force" : "");
	if (op->kind == OP_RENAME)
		n += snprintf(buf + n, len - n, " to %u:%llu '%.40s'", op->dir2.volume,
			      (unsigned long long)op->dir2.ino, op->name2);
	if (op->kind == OP_WRITE || op->kind == OP_READ || op->kind == OP_XSET)
		n += snprintf(buf + n, len - n, " at %llu len %u seed %#llx%s",
			      (unsigned long long)op->offset, op->len,
			      (unsigned long long)op->seed, op->stable ? " stable" : "");
	if (op->kind == OP_RANGE)
		n += snprintf(buf + n, len - n, " from %u:%llu at %llu", op->src.volume,
			      (unsigned long long)op->src.ino, (unsigned long long)op->src_offset);
	if (op->kind == OP_QUOTA || op->kind == OP_RESERVE)
		n += snprintf(buf + n, len - n, op->replace ? " ends" : " %llu blocks", (unsigned long long)op->length);
	if (op->kind == OP_RANGE || op->kind == OP_PUNCH || op->kind == OP_ALLOCATE)
		n += snprintf(buf + n, len - n, " at %llu length %llu",
			      (unsigned long long)op->offset, (unsigned long long)op->length);
	if (op->set.mask)
		n += snprintf(buf + n, len - n, " set %#x mode %o size %llu", op->set.mask,
			      op->set.mode, (unsigned long long)op->set.size);
	if (op->kind == OP_CLONE)
		n += snprintf(buf + n, len - n, " count %u", op->count);
	snprintf(buf + n, len - n, " -> %d (%s) seq %#llx", op->rc,
		 op->rc ? err_text(op->rc) : "ok", (unsigned long long)op->seq);
}

/* ---- inodes ---------------------------------------------------------------------------- */

static uint32_t id_hash(struct fs_id id)
{
	return (id.ino * 2654435761u + id.volume * 40503u) % HASH_SIZE;
}

struct model *model_new(void)
{
	struct model *m = xcalloc(1, sizeof(*m));

	m->hash = xcalloc(HASH_SIZE, sizeof(*m->hash));
	return m;
}

void model_quota_like(struct mnode *n, const struct mnode *dir)
{
	n->quota = dir ? dir->quota : 0;
	n->quota_ino = dir ? dir->quota_ino : 0;
}

void model_quota_end(struct model *m, struct mnode *dir)
{
	uint64_t quota = dir->quota;

	for (uint32_t i = 0; dir->has_quota && i < m->nnodes; i++)
		if (m->nodes[i]->id.volume == dir->id.volume && m->nodes[i]->quota == quota)
			model_quota_like(m->nodes[i], NULL);
	dir->has_quota = false;
	dir->limit = 0;
}

void model_node_free(struct model *m, struct mnode *n)
{
	struct mnode **p = &m->hash[id_hash(n->id)];

	while (*p != n)
		p = &(*p)->hash_next;
	*p = n->hash_next;
	m->nodes[n->index] = m->nodes[--m->nnodes];
	m->nodes[n->index]->index = n->index;
	for (uint32_t i = 0; i < n->nents; i++)
		free(n->ents[i].name);
	free(n->ents);
	free(n->target);
	xattrs_put(n->xattrs);
	content_put(n->content);
	free(n);
}

void model_free(struct model *m)
{
	while (m->nnodes)
		model_node_free(m, m->nodes[m->nnodes - 1]);
	model_snaps_free(m);
	free(m->nodes);
	free(m->hash);
	free(m->volumes);
	free(m);
}

struct mnode *model_node_new(struct model *m, struct fs_id id, enum fs_type type)
{
	struct mnode *n = xcalloc(1, sizeof(*n)), **p = &m->hash[id_hash(id)];

	n->id = id;
	n->type = type;
	if (type == FS_REG)
		n->content = content_new();
	m->nodes = xgrow(m->nodes, m->nnodes, &m->nodes_cap, sizeof(*m->nodes));
	n->index = m->nnodes;
	m->nodes[m->nnodes++] = n;
	n->hash_next = *p;
	return *p = n;
}

struct mnode *model_node_copy(struct model *m, const struct mnode *n, struct fs_id id)
{
	struct mnode *c = model_node_new(m, id, n->type), keep = *c;

	content_put(c->content);
	*c = *n;
	c->id = id;
	c->index = keep.index;
	c->hash_next = keep.hash_next;
	c->ents = NULL;
	c->nents = c->ents_cap = 0;
	if (c->content)
		c->content->refs++;
	if (c->xattrs)
		c->xattrs->refs++;
	if (c->target)
		c->target = strdup(n->target);
	return c;
}

struct model *model_clone(const struct model *m)
{
	struct model *c = model_new();

	for (uint32_t i = 0; i < m->nnodes; i++)
		model_node_copy(c, m->nodes[i], m->nodes[i]->id);
	for (uint32_t i = 0; i < m->nnodes; i++) {
		const struct mnode *n = m->nodes[i];
		struct mnode *d = c->nodes[i];

		d->parent = n->parent ? c->nodes[n->parent->index] : NULL;
		d->nents = d->ents_cap = n->nents;
		d->ents = n->nents ? xcalloc(n->nents, sizeof(*d->ents)) : NULL;
		for (uint32_t j = 0; j < n->nents; j++) {
			d->ents[j] = n->ents[j];
			d->ents[j].name = xcalloc(1, n->ents[j].len + 1);
			memcpy(d->ents[j].name, n->ents[j].name, n->ents[j].len);
			d->ents[j].node = c->nodes[n->ents[j].node->index];
		}
	}
	model_snaps_share(c, m);
	memcpy(c->held, m->held, sizeof(c->held));
	c->nheld = m->nheld;
	c->keep_life = m->keep_life;
	c->nvolumes = m->nvolumes;
	c->volumes = xcalloc(m->nvolumes, sizeof(*c->volumes));
	for (uint32_t i = 0; i < m->nvolumes; i++) {
		c->volumes[i] = m->volumes[i];
		c->volumes[i].root = c->nodes[m->volumes[i].root->index];
	}
	return c;
}

struct mnode *model_find(struct model *m, struct fs_id id)
{
	for (struct mnode *n = m->hash[id_hash(id)]; n; n = n->hash_next)
		if (n->id.ino == id.ino && n->id.volume == id.volume &&
		    n->id.generation == id.generation && n->id.snapshot == id.snapshot)
			return n;
	return NULL;
}

static struct mdirent *dirent_find(struct mnode *dir, const char *name, uint32_t len)
{
	uint64_t h = text_hash(name, len);

	for (uint32_t i = 0; i < dir->nents; i++)
		if (dir->ents[i].hash == h && dir->ents[i].len == len &&
		    !memcmp(dir->ents[i].name, name, len))
			return &dir->ents[i];
	return NULL;
}

struct mnode *model_lookup(struct mnode *dir, const char *name, uint32_t len)
{
	struct mdirent *e = dirent_find(dir, name, len);

	return e ? e->node : NULL;
}

bool model_below(const struct mnode *n, const struct mnode *top)
{
	for (; n; n = n->parent)
		if (n == top)
			return true;
	return false;
}

void model_dirent_add(struct model *m, struct mnode *dir, const char *name, uint32_t len,
		       struct mnode *node)
{
	struct mdirent *e;

	dir->ents = xgrow(dir->ents, dir->nents, &dir->ents_cap, sizeof(*dir->ents));
	e = &dir->ents[dir->nents++];
	*e = (struct mdirent){ .hash = text_hash(name, len), .len = len, .node = node };
	e->name = xcalloc(1, len + 1);
	memcpy(e->name, name, len);
	if (m->on_dirent)
		m->on_dirent(m->arg, dir, name, len);
}

void model_dirent_del(struct model *m, struct mnode *dir, const char *name, uint32_t len)
{
	struct mdirent *e = dirent_find(dir, name, len);

	assert(e);
	free(e->name);
	*e = dir->ents[--dir->nents];
	if (m->on_dirent)
		m->on_dirent(m->arg, dir, name, len);
}

struct mvolume *model_volume(struct model *m, const char *name)
{
	for (uint32_t i = 0; i < m->nvolumes; i++)
		if (!strcmp(m->volumes[i].name, name))
			return &m->volumes[i];
	return NULL;
}

void model_add_volume(struct model *m, const struct fs_volume_info *info, const struct fs_attr *root)
{
	struct mvolume *v;
	struct mnode *n = model_node_new(m, info->root, FS_DIR);

	m->volumes = realloc(m->volumes, (m->nvolumes + 1) * sizeof(*m->volumes));
	if (!m->volumes)
		abort();
	v = &m->volumes[m->nvolumes++];
	*v = (struct mvolume){ .id = info->id, .fsid = info->fsid, .root = n };
	strcpy(v->name, info->name);
	n->mode = root->mode;
	n->uid = root->uid;
	n->gid = root->gid;
	n->nlink = root->nlink;
	n->mtime = root->mtime;
	n->ctime = root->ctime;
	n->change = root->change;
}

void model_volume_del(struct model *m, const char *name)
{
	struct mvolume *v = model_volume(m, name);
	uint32_t id = v->id;

	for (uint32_t i = m->nnodes; i-- > 0;)
		if (m->nodes[i]->id.volume == id)
			model_node_free(m, m->nodes[i]);
	*v = m->volumes[--m->nvolumes];
}

/* ---- without a name --------------------------------------------------------------------- */

#define LIFE(id) ((id).generation >> 44)

/* Of lives before LIFE; those that are held are to go later. */
static void drop_unheld(struct model *m, uint64_t life)
{
	for (uint32_t i = m->nnodes; i-- > 0;) {
		struct mnode *n = m->nodes[i];

		if (!n->unnamed || LIFE(n->id) >= life)
			continue;
		if (model_held(m, n->id))
			n->orphan = true;
		else
			model_node_free(m, n);
	}
}

void model_restart(struct model *m, uint64_t keep_life)
{
	m->nheld = 0;
	m->keep_life = keep_life;
	if (!keep_life)
		drop_unheld(m, UINT64_MAX);
	for (uint32_t i = 0; i < m->nnodes; i++)
		m->nodes[i]->orphan = false;	/* as long as nobody has looked */
}

bool model_held(const struct model *m, struct fs_id id)
{
	for (uint32_t k = 0; k < m->nheld; k++)
		if (!memcmp(&m->held[k], &id, sizeof(id)))
			return true;
	return LIFE(id) < m->keep_life;
}

bool model_unhold(struct model *m, uint32_t k)
{
	struct mnode *n = model_find(m, m->held[k]);

	m->held[k] = m->held[--m->nheld];
	if (!n || !n->orphan || model_held(m, n->id))
		return false;
	model_node_free(m, n);
	return true;
}

void model_drop_orphans(struct model *m)
{
	uint64_t life = m->keep_life;

	m->keep_life = 0;
	drop_unheld(m, life);
}

/* ---- permissions ----------------------------------------------------------------------- */

void model_cred(unsigned user, struct fs_cred *ret)
{
	*ret = (struct fs_cred){ .admin = !user };
	if (user < 2)
		return;
	ret->uid = ret->gid = 998 + user;
	ret->ngroups = 1;
	ret->groups[0] = 100;
}

bool model_in_group(const struct fs_cred *c, uint32_t gid)
{
	for (uint32_t i = 0; i < c->ngroups; i++)
		if (c->groups[i] == gid)
			return true;
	return c->gid == gid;
}

/* rwx: 4 read, 2 write, 1 execute. */
bool model_may(const struct mnode *n, unsigned user, unsigned rwx)
{
	struct fs_cred c;
	unsigned bits;

	model_cred(user, &c);
	if (user < 2)
		return !(rwx & 1) || n->type == FS_DIR || n->mode & 0111 || !user;
	bits = c.uid == n->uid ? n->mode >> 6 : model_in_group(&c, n->gid) ? n->mode >> 3 : n->mode;
	return (bits & rwx) == rwx;
}

bool model_is_owner(const struct mnode *n, unsigned user)
{
	struct fs_cred c;

	model_cred(user, &c);
	return user < 2 || c.uid == n->uid;
}

/* ---- comparing ------------------------------------------------------------------------- */

void model_noderec(const struct mnode *n, struct noderec *ret)
{
	*ret = (struct noderec){
		.volume = n->id.volume, .snapshot = n->id.snapshot, .ino = n->id.ino, .generation = n->id.generation,
		.type = n->type, .mode = n->mode, .uid = n->uid, .gid = n->gid, .nlink = n->nlink,
		.rdev = (uint64_t)n->rdev_major << 32 | n->rdev_minor, .change = n->change,
		.mtime_sec = n->mtime.sec, .mtime_nsec = n->mtime.nsec,
		.ctime_sec = n->ctime.sec, .ctime_nsec = n->ctime.nsec,
		.origin_ino = n->origin.ino, .origin_generation = n->origin.generation,
	};
	if (n->type == FS_REG || n->type == FS_LNK)
		ret->size = n->size;
	if (n->content) {
		ret->mapped = model_mapped(n);
		ret->content = n->content->sum;
	}
	if (n->target)
		ret->target = text_hash(n->target, strlen(n->target));
	for (uint32_t i = 0; n->xattrs && i < n->xattrs->n; i++) {
		const struct mxattr *x = &n->xattrs->x[i];

		ret->xattrs = xattr_hash(ret->xattrs, x->name, x->name_len, x->value);
	}
	if (n->id.snapshot)
		return;			/* nobody asks there */
	ret->quota_ino = n->quota_ino;
	ret->quota_limit = n->limit;
}

uint64_t model_hash(const struct model *m)
{
	struct noderec rec;
	uint64_t sum = 0;

	for (uint32_t i = 0; i < m->nnodes; i++) {
		const struct mnode *n = m->nodes[i];

		if (n->unnamed)
			continue;
		model_noderec(n, &rec);
		sum += noderec_hash(&rec);
		for (uint32_t j = 0; j < n->nents; j++)
			sum += dirent_hash(n->id, n->ents[j].name, n->ents[j].len,
					   n->ents[j].node->id.ino);
	}
	for (uint32_t i = 0; i < m->nvolumes; i++)
		sum += volume_hash(m->volumes[i].name, m->volumes[i].id, m->volumes[i].reserve);
	for (uint32_t i = 0; i < m->nsnaps; i++)
		sum += m->snaps[i]->hash;
	return sum;
}

uint64_t model_orphans_hash(const struct model *m)
{
	struct noderec rec;
	uint64_t sum = 0;

	for (uint32_t i = 0; i < m->nnodes; i++) {
		if (!m->nodes[i]->unnamed)
			continue;
		model_noderec(m->nodes[i], &rec);
		sum += noderec_hash(&rec);
	}
	return sum;
}
