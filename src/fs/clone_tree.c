/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clones of directories: a whole tree in one operation.
 *
 * Files are new inodes with the same roots, as in clone.c.  A directory's pages are copied: they hold the
 * inode numbers, which are others now, but keys and places stay.  The source is walked in the load
 * passes; what was found (struct tree_item) is what the apply pass makes, in the same order.
 */
#include "fs/fs_int.h"

#include <stdlib.h>
#include "fs/dir_int.h"

/* ---- what there is ------------------------------------------------------------------------------ */

static uint32_t *slot_of(const struct tree_list *l, uint64_t ino)
{
	uint32_t mask = l->nslots - 1, i = (uint32_t)((ino * 0x9e3779b97f4a7c15ULL) >> 32) & mask;

	while (l->slots[i] && l->items[l->slots[i] - 1].ino != ino)
		i = (i + 1) & mask;
	return &l->slots[i];
}

static struct tree_item *item_of(const struct tree_list *l, uint64_t ino)
{
	uint32_t k = *slot_of(l, ino);

	return k ? &l->items[k - 1] : NULL;
}

static int list_grow(struct tree_list *l)
{
	uint32_t cap = l->cap ? 2 * l->cap : 64;
	struct tree_item *items = realloc(l->items, cap * sizeof(*items));
	uint32_t *slots;

	if (!items)
		return -ENOMEM;
	l->items = items;
	slots = calloc(4 * (size_t)cap, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	free(l->slots);
	l->slots = slots;
	l->nslots = 4 * cap;
	l->cap = cap;
	for (uint32_t k = 0; k < l->n; k++)
		*slot_of(l, l->items[k].ino) = k + 1;
	return 0;
}

static int add_item(struct tree_list *l, uint64_t ino, uint64_t generation, uint8_t type, uint32_t parent)
{
	struct tree_item *i = l->cap ? item_of(l, ino) : NULL;
	int err;

	if (i) {
		i->names++;
		return 0;
	}
	if (l->n >= FS_TREE_MAX)
		return -E2BIG;
	err = l->n == l->cap ? list_grow(l) : 0;
	if (err)
		return err;
	l->items[l->n++] = (struct tree_item){ ino, generation, 0, parent, 1, type };
	*slot_of(l, ino) = l->n;
	return 0;
}

struct walk { struct tree_list *list; uint32_t dir; };

static int walk_entry(void *arg, const struct dir_found *e, struct fs_name name)
{
	struct walk *w = arg;

	return add_item(w->list, e->ino, e->generation, e->type, w->dir);
}

typedef int (*look_fn)(void *arg, const struct tree_item *item, const struct inode *i);

/* Item K: its inode, and, of a directory, its entries. */
static int walk_item(struct txn *t, const struct volume *vol, struct tree_list *l, uint32_t k, look_fn look,
		     void *arg)
{
	struct tree_item item = l->items[k];
	struct walk w = { l, k };
	struct inode *i;
	struct dir d;
	int err = inode_get(t, vol, item.ino, item.generation, &i);

	if (err)
		return err == -ESTALE ? -EDAMAGED : err;
	l->mapped += i->mapped + i->xattr_blocks;
	err = look(arg, &item, i);
	if (err || item.type != FS_DIR)
		return err;
	d = dir_of(t, vol, i, item.ino);
	return dir_iterate(&d, 2, walk_entry, &w);
}

int tree_list_walk(struct txn *t, const struct volume *vol, struct fs_id top, struct tree_list *l, look_fn look,
		   void *arg)
{
	int pending = 0, err;

	l->n = 0;
	l->mapped = 0;
	if (l->slots)
		memset(l->slots, 0, l->nslots * sizeof(*l->slots));
	err = add_item(l, top.ino, top.generation, FS_DIR, 0);
	for (uint32_t k = 0; k < l->n && !err; k++) {
		err = walk_item(t, vol, l, k, look, arg);
		if (err == -ERESTART_PASS) {	/* go on, so that other reads start too */
			pending = err;
			err = 0;
		}
	}
	return err ? err : pending;
}

struct read { struct txn *t; const struct clone_tree_op *o; const struct volume *vol; };

static int may_read(void *arg, const struct tree_item *item, const struct inode *i)
{
	const struct read *r = arg;

	return item->type == FS_DIR ? 0 : guard_ask(r->t, r->o->req, id_of(r->vol, item->ino, i), FS_USE_READ);
}

/* ---- making ------------------------------------------------------------------------------------- */

static int share(struct txn *t, uint64_t *root, uint8_t depth)
{
	return *root ? txn_share(t, root, depth, TREE_FILE) : 0;
}

static void item_init(struct txn *t, struct clone_tree_op *o, struct inode *n, const struct inode *src,
		      const struct tree_item *item)
{
	const struct tree_item *up = &o->list->items[item->parent];

	*n = *src;
	n->atime = n->mtime = n->ctime = n->btime = o->now;
	n->generation = n->change = txn_event(t);
	n->verifier = 0;
	if (src->type == FS_DIR) {
		n->parent = item == o->list->items ? o->dir.ino : up->new_ino;
		memset(n->inline_data, 0, sizeof(n->inline_data));	/* no quota of its own */
	} else {
		n->nlink = item->names;
	}
	n->project = o->project.project;
	n->project_dir = o->project.project_dir;
	n->origin_ino = item->ino;
	n->origin_generation = item->generation;
	n->origin_volume = o->src.volume;
}

/* The new inode with the source's roots. */
static int make_item(struct txn *t, struct clone_tree_op *o, struct volume *vol, const struct volume *src_vol,
		     struct ino_cursor *c, struct tree_item *item)
{
	struct inode *n, *i, src;
	uint64_t ino;
	int err = inode_get(t, src_vol, item->ino, item->generation, &i), err2;

	if (err)
		return err;
	src = *i;			/* its block may move */
	err = ino_take(t, vol, c, &ino, &n);
	if (err)
		return err;
	err = share(t, &src.root, src.depth);
	err2 = share(t, &src.xattr_root, src.xattr_depth);
	if (err || err2)
		return err && err != -ERESTART_PASS ? err : err2 ? err2 : err;
	if (t->apply) {
		item->new_ino = ino;
		item_init(t, o, n, &src, item);
	}
	return 0;
}

static void patch_page(struct txn *t, const struct tree_list *l, struct dir_page *p)
{
	if (p->level)
		return;
	for (uint32_t off = 0; off < p->free_start;) {
		struct dir_item *e = (struct dir_item *)(p->body + off);
		const struct tree_item *item = item_of(l, e->ino);

		assert(item);
		e->ino = item->new_ino;
		e->generation = txn_event(t);
		off += item_size(e->name_len);
	}
}

/* The pages of a new directory, which are the source's still. */
static int make_pages(struct txn *t, struct clone_tree_op *o, struct volume *vol,
		      const struct volume *src_vol, const struct tree_item *item)
{
	struct inode *n, copy;
	int pending = 0, err = t->apply ? inode_own(t, vol, item->new_ino, 0, &n) :
					  inode_get(t, src_vol, item->ino, item->generation, &n);

	if (err)
		return err;
	copy = *n;
	for (uint64_t k = 0; k < copy.dir_pages; k++) {
		struct block *b;

		err = file_page_own(t, t->apply ? n : &copy, k, &b);
		if (err == -ERESTART_PASS)
			pending = err;
		else if (err)
			return err;
		else if (t->apply)
			patch_page(t, o->list, (struct dir_page *)b->data);
	}
	return pending;
}

/* All of it but its name. */
static int make_tree(struct txn *t, struct clone_tree_op *o, struct volume *vol, const struct volume *src_vol)
{
	struct tree_list *l = o->list;
	struct ino_cursor c;
	int pending = 0;

	ino_cursor_init(&c, vol);
	for (uint32_t k = 0; k < l->n; k++) {
		int err = make_item(t, o, vol, src_vol, &c, &l->items[k]);

		if (err == -ERESTART_PASS)
			pending = err;
		/* Each link of the list of free inodes is in the inode before. */
		if (err && (err != -ERESTART_PASS || c.free))
			return err;
	}
	for (uint32_t k = 0; k < l->n; k++) {
		int err = l->items[k].type == FS_DIR ? make_pages(t, o, vol, src_vol, &l->items[k]) : 0;

		if (err == -ERESTART_PASS)
			pending = err;
		else if (err)
			return err;
	}
	return pending;
}

/* ---- the operation ------------------------------------------------------------------------------ */

static int prepare(struct txn *t, struct clone_tree_op *o, struct volume *vol, struct inode *dir,
		   const struct volume *src_vol, const struct inode *src)
{
	struct read read = { t, o, src_vol };
	struct dir_found f;
	struct dir d = dir_of(t, vol, dir, o->dir.ino);
	int err;

	if (dir->type != FS_DIR || src->type != FS_DIR)
		return -ENOTDIR;
	if (dir->nlink >= FS_LINK_MAX)
		return -EMLINK;
	err = dir_lookup(&d, o->name, &f);
	if (err != -ENOENT)
		return err ? err : -EEXIST;
	err = tree_list_walk(t, src_vol, o->src, o->list, may_read, &read);
	if (err)
		return err;
	if (!o->src.snapshot && item_of(o->list, o->dir.ino))
		return -EINVAL;		/* into itself */
	record_clone_tree(t, o);
	return 0;
}

static int insert_tree(struct txn *t, struct clone_tree_op *o, struct volume *vol)
{
	struct inode *dir, *top;
	uint64_t mapped;
	struct dir d;
	int err = inode_own(t, vol, o->dir.ino, 0, &dir);

	if (err)
		return err;
	d = dir_of(t, vol, dir, o->dir.ino);
	mapped = dir->mapped;
	err = dir_insert(&d, o->name, o->list->items[0].new_ino, t->apply ? txn_event(t) : 0, FS_DIR);
	if (!err && !t->apply)
		err = quota_check(t, vol, dir, o->list->mapped + d.fresh);
	if (!err)
		err = quota_account(t, vol, dir, dir->mapped - mapped + o->list->mapped, o->list->n);
	if (err || !t->apply)
		return err;
	dir->nlink++;
	touch_data(t, dir, o->now);
	err = inode_get(t, vol, o->list->items[0].new_ino, 0, &top);
	assert(!err);
	attr_fill(&o->attr, vol, o->list->items[0].new_ino, top);
	record_clone_tree(t, o);
	return 0;
}

int do_clone_tree(struct txn *t, void *arg)
{
	struct clone_tree_op *o = arg;
	struct volume *vol, *src_vol;
	struct inode *dir, *src;
	int err;

	if (o->src.volume != o->dir.volume)
		return -EXDEV;
	err = object_own(t, o->dir, &vol, &dir);
	if (!err)
		err = object_get(t, o->src, &src_vol, &src);
	if (!err && !t->apply)
		err = prepare(t, o, vol, dir, src_vol, src);
	if (!err)
		quota_inherit(&o->project, dir);
	if (!err)
		err = make_tree(t, o, vol, src_vol);
	return err ? err : insert_tree(t, o, vol);
}

struct tree_list *tree_list_new(void)
{
	return calloc(1, sizeof(struct tree_list));
}

void tree_list_free(struct tree_list *l)
{
	if (l) {
		free(l->items);
		free(l->slots);
	}
	free(l);
}

int fs_clone_tree(struct fs_req *req, struct fs_id src, struct fs_id dir, struct fs_name name,
		  struct fs_attr *ret_attr, uint32_t *ret_count)
{
	struct clone_tree_op o = { .req = req, .src = src, .dir = dir, .name = name, .now = fs_now() };
	int err = req->cred.admin ? name_check(name) : -EPERM;

	if (!err && (is_dot(name) || is_dotdot(name) || is_snapshot_dir(name)))
		err = -EEXIST;
	if (!err && src.snapshot == FS_SNAPDIR)
		err = -EINVAL;
	if (err)
		return err;
	o.list = tree_list_new();
	err = o.list ? fs_run(req, SPACE_ORDINARY, true, true, do_clone_tree, &o) : -ENOMEM;
	if (!err) {
		*ret_attr = o.attr;
		*ret_count = o.list->n;
	}
	tree_list_free(o.list);
	return err;
}
