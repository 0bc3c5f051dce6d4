/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories: names are added.
 *
 * The load pass (dir_insert_prepare) looks at all names at once, so that what they need is
 * counted once:
 *  1. each name gets the key that it will have, and must not exist;
 *  2. one walk over the part of the tree where those keys go owns each leaf once, and works out
 *     from the bytes that each will get how many pages it may be split into at most; so on up;
 *  3. that many pages are taken from the free list and after the end of the file.
 *
 * The bound: a page is split only when it is full, into halves of at least DIR_LEAF_MIN bytes
 * (DIR_INNER_MIN children), and halves only grow.  So a leaf whose items come to T bytes in the
 * end, more than fit into one, becomes at most T / DIR_LEAF_MIN leaves.  For one name that is exact.
 *
 * The apply pass inserts name by name.  Splits work from the top down: the parent gets room
 * first, so that a page never has to wait for its place in its parent.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "fs/dir_int.h"
#include "tree/tree.h"

/* ---- load: which keys -------------------------------------------------------------------- */

struct want {
	uint64_t key;			/* first its hash alone */
	uint32_t index, size;		/* in NAMES; of the item */
};

struct prepare {
	struct dir *d;
	const struct fs_name *names;
	struct want *w;
	uint32_t n;
	struct dir_path path;		/* of the last name; moved: its hash's names cross a border */
	bool moved;
	uint32_t bad;			/* lowest index of a name that exists; n: none */
	uint64_t pages;			/* new ones */
	bool restart;			/* something was missing: look at the rest, ask for all at once */
};

static int name_check(struct fs_name name)
{
	if (!name.len)
		return -EINVAL;
	if (name.len > FS_NAME_MAX)
		return -ENAMETOOLONG;
	if (memchr(name.s, '/', name.len) || memchr(name.s, 0, name.len))
		return -EINVAL;
	if (name.s[0] == '.' && (name.len == 1 || (name.len == 2 && name.s[1] == '.')))
		return -EINVAL;
	return 0;
}

static int want_compare(const void *a, const void *b)
{
	const struct want *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

static int wants_fill(struct prepare *p)
{
	for (uint32_t i = 0; i < p->n; i++) {
		int err = name_check(p->names[i]);

		if (err) {
			p->bad = i;
			return err;
		}
		p->w[i] = (struct want){ .key = dir_hash(p->d->hash_key, p->names[i]),
					 .index = i, .size = item_size(p->names[i].len) };
	}
	if (p->n > 1)
		qsort(p->w, p->n, sizeof(*p->w), want_compare);
	return 0;
}

static void exists(struct prepare *p, uint32_t index)
{
	if (index < p->bad)
		p->bad = index;
}

/* Names given twice.  More than DIR_NUMBERS of one hash fail anyway: no need to compare all. */
static void find_twins(struct prepare *p, const struct want *w, uint32_t n)
{
	if (n > DIR_NUMBERS + 1)
		n = DIR_NUMBERS + 1;
	for (uint32_t i = 1; i < n; i++) {
		struct fs_name a = p->names[w[i].index];

		for (uint32_t k = 0; k < i; k++) {
			struct fs_name b = p->names[w[k].index];

			if (a.len == b.len && !memcmp(a.s, b.s, a.len))
				exists(p, w[i].index);
		}
	}
}

/* The first number that a name of this hash may have. */
static unsigned first_number(uint64_t hash)
{
	return hash ? 0 : DIR_KEY_FIRST;
}

/* Marks the numbers of HASH that are in use, and which of the N names exist. */
static int scan_hash(struct prepare *p, uint64_t hash, const struct want *w, uint32_t n,
		     bool used[DIR_NUMBERS])
{
	uint64_t last = hash | (DIR_NUMBERS - 1), first;
	struct dir_path *path = &p->path;
	struct dir_item *it;
	int err = path_seek(p->d, hash, path);

	if (err)
		return err;
	first = path->step[0].n;
	p->moved = false;
	for (;;) {
		/* A leaf that holds all of the hash is verified when it is owned. */
		if ((p->moved || path->step[0].hi <= last) && !page_sound(&path->step[0]))
			return -EDAMAGED;
		err = path_item(p->d, path, last, &it);
		p->moved = path->step[0].n != first;
		if (err)
			return err == -ENOENT ? 0 : err;
		used[it->key & (DIR_NUMBERS - 1)] = true;
		for (uint32_t i = 0; i < n && i < DIR_NUMBERS; i++) {
			struct fs_name name = p->names[w[i].index];

			if (name.len == it->name_len && !memcmp(name.s, it->name, name.len))
				exists(p, w[i].index);
		}
		path->off += item_size(it->name_len);
	}
}

/* Keys for N names of one hash: the lowest that aren't used, in the order of the names. */
static int assign_keys(struct prepare *p, struct want *w, uint32_t n)
{
	uint64_t hash = w->key;
	bool used[DIR_NUMBERS] = { false };
	unsigned number = first_number(hash);
	int err;

	find_twins(p, w, n);
	err = scan_hash(p, hash, w, n, used);
	if (err)
		return err;
	for (uint32_t i = 0; i < n; i++, number++) {
		while (number < DIR_NUMBERS && used[number])
			number++;
		if (number >= DIR_NUMBERS)
			return p->bad < p->n ? 0 : -ENOSPC;
		w[i].key = hash | number;
	}
	return 0;
}

static int wants_assign(struct prepare *p)
{
	int full = 0;

	for (uint32_t i = 0, n; i < p->n; i += n) {
		int err;

		for (n = 1; i + n < p->n && p->w[i + n].key == p->w[i].key; n++)
			;
		err = assign_keys(p, p->w + i, n);
		if (err == -ERESTART_PASS)
			p->restart = true;
		else if (err == -ENOSPC)
			full = err;
		else if (err)
			return err;
	}
	if (p->restart)
		return -ERESTART_PASS;
	return p->bad < p->n ? -EEXIST : full;
}

/* ---- load: which pages ------------------------------------------------------------------- */

static int prepare_leaf(struct prepare *p, struct dir_step *s, const struct want *w, uint32_t n,
			uint64_t *ret_extra)
{
	uint64_t total;
	int err = page_get_own(p->d, s, 0);

	if (err)
		return err;
	total = s->page->free_start;
	for (uint32_t i = 0; i < n; i++)
		total += w[i].size;
	*ret_extra = total > DIR_BODY ? total / DIR_LEAF_MIN - 1 : 0;
	p->pages += *ret_extra;
	return 0;
}

/*
 * The page at LEVEL of PATH and what is beneath it, for N keys that all fall into its range.
 * *ret_extra: how many pages it may become besides itself.
 */
static int prepare_page(struct prepare *p, struct dir_path *path, unsigned level,
			const struct want *w, uint32_t n, uint64_t *ret_extra)
{
	struct dir_step *s = &path->step[level];
	uint64_t total, grown = 0, extra;
	int err;

	if (!level)
		return prepare_leaf(p, s, w, n, ret_extra);
	err = page_get(p->d, s, level);
	if (err)
		return err;
	if (n > 1 && !page_sound(s))	/* one key takes the same way again */
		return -EDAMAGED;
	for (uint32_t i = 0, k; i < n; i += k) {
		s->slot = page_slot(s->page, w[i].key);
		path_child(path, level);
		for (k = 1; i + k < n && w[i + k].key < path->step[level - 1].hi; k++)
			;
		err = prepare_page(p, path, level - 1, w + i, k, &extra);
		if (err == -ERESTART_PASS)
			p->restart = true;
		else if (err)
			return err;
		else
			grown += extra;
	}
	*ret_extra = 0;
	if (!grown)
		return 0;
	total = s->page->count + grown;
	if (total > DIR_FANOUT)
		*ret_extra = total / DIR_INNER_MIN - 1;
	p->pages += *ret_extra;
	return page_get_own(p->d, s, level);
}

/* The root's content moves to a new page whenever it becomes more than one page. */
static int prepare_growth(struct prepare *p, uint64_t extra)
{
	unsigned levels = p->d->inode->dir_levels;

	while (extra) {
		uint64_t children = extra + 1;

		if (++levels > DIR_LEVELS_MAX)
			return -EFBIG;
		extra = children > DIR_FANOUT ? children / DIR_INNER_MIN - 1 : 0;
		p->pages += 1 + extra;
	}
	return 0;
}

/* Brings in page N of the free list, for changing. */
static int own_free_page(struct dir *d, uint64_t n, uint64_t *ret_next)
{
	const struct dir_page *page;
	struct block *b;
	int err;

	if (!n || n >= d->inode->dir_pages)
		return -EDAMAGED;
	err = file_page_own(d->t, d->inode, n, &b);
	if (err)
		return err;
	if (!b)
		return -EDAMAGED;
	page = (const struct dir_page *)b->data;
	if (page_verify_header(page) || page->level != DIR_LEVEL_FREE)
		return -EDAMAGED;
	*ret_next = page->next_free;
	return 0;
}

/* The first COUNT of the free list, or all; a list that leads back into itself is found out by
 * remembering one page of it at ever greater distances (Brent). */
static int own_free_pages(struct dir *d, uint64_t count, uint64_t *ret_n)
{
	uint64_t next = d->inode->dir_free, mark = 0, power = 1, lap = 0, i;

	for (i = 0; i < count && next; i++) {
		uint64_t n = next;
		int err = own_free_page(d, n - 1, &next);

		if (err)
			return err;
		if (n == mark)
			return -EDAMAGED;
		if (++lap == power) {
			mark = n;
			power *= 2;
			lap = 0;
		}
	}
	*ret_n = i;
	return 0;
}

/* COUNT pages after the end.  Those under one index block need it only once. */
static int own_fresh_pages(struct dir *d, uint64_t count)
{
	struct tree_root root = { .ptr = d->inode->root, .depth = d->inode->depth };
	uint64_t n = d->inode->dir_pages, end = n + count, ptrs[INDEX_SLOTS];
	struct block *b;
	uint32_t rest;
	int err;

	if (end > DIR_PAGES_MAX)
		return -EFBIG;
	for (; n < end; n += rest + 1) {
		rest = INDEX_SLOTS - 1 - n % INDEX_SLOTS;
		if (rest > end - n - 1)
			rest = end - n - 1;
		err = file_page_own(d->t, d->inode, n, &b);
		if (err)
			return err;
		if (b)
			return -EDAMAGED;
		if (!rest)
			continue;
		err = tree_lookup_range(d->t, &root, n + 1, rest, ptrs);
		if (err)
			return err;
		for (uint32_t i = 0; i < rest; i++)
			if (ptrs[i])
				return -EDAMAGED;
		d->t->need_meta += rest;
		d->t->more += rest;
	}
	return 0;
}

static int own_new_pages(struct dir *d, uint64_t count)
{
	uint64_t n = 0;
	int err = own_free_pages(d, count, &n);

	d->fresh = count - n;
	return err || n == count ? err : own_fresh_pages(d, count - n);
}

/* The path of the only name is known already; mostly there is room. */
static bool fits_in_place(const struct prepare *p)
{
	const struct dir_step *s = &p->path.step[0];

	return p->n == 1 && !p->moved && s->hi > (p->w->key | (DIR_NUMBERS - 1)) &&
		s->page->free_start + p->w->size <= DIR_BODY;
}

static int prepare_tree(struct prepare *p)
{
	struct dir_path *path = &p->path;
	struct dir *d = p->d;
	uint64_t extra = 0;
	int err;

	if (fits_in_place(p))
		return page_get_own(d, &path->step[0], 0);
	path->levels = d->inode->dir_levels;	/* wants_assign() has found it possible */
	path->step[path->levels - 1] = (struct dir_step){ .n = 0, .lo = 0, .hi = DIR_KEY_END };
	err = prepare_page(p, path, path->levels - 1, p->w, p->n, &extra);
	if (err || p->restart)
		return err ? err : -ERESTART_PASS;
	err = prepare_growth(p, extra);
	return err ? err : own_new_pages(d, p->pages);
}

int dir_insert_prepare(struct dir *d, const struct fs_name *names, uint32_t n, uint32_t *ret_bad)
{
	struct want one;
	struct prepare p = { .d = d, .names = names, .n = n, .bad = n, .w = &one };
	int err;

	if (d->t->apply || !n)
		return 0;
	if (n > 1)
		p.w = malloc(n * sizeof(*p.w));
	if (!p.w)
		return -ENOMEM;
	err = wants_fill(&p);
	if (!err)
		err = wants_assign(&p);
	if (!err)
		err = prepare_tree(&p);
	if (n > 1)
		free(p.w);
	if (err && p.bad < n && ret_bad)
		*ret_bad = p.bad;
	return err;
}

/* ---- apply ------------------------------------------------------------------------------- */

static struct dir_page *new_page(struct dir *d, uint8_t level, uint64_t *ret_n)
{
	struct inode *ino = d->inode;
	struct dir_page *p;

	if (ino->dir_free) {
		*ret_n = ino->dir_free - 1;
		p = page_own(d, *ret_n);
		if (p->level != DIR_LEVEL_FREE)
			txn_abandon(d->t, "pages of a directory share a block");
		ino->dir_free = p->next_free;
	} else {
		*ret_n = ino->dir_pages++;
		ino->size = ino->dir_pages * BLOCK_SIZE;
		p = page_own(d, *ret_n);
	}
	page_init(p, level);
	return p;
}

/* The root's content moves to a page of its own, the root's only child. */
static void grow_root(struct dir *d, struct dir_path *path)
{
	struct dir_step *top = &path->step[path->levels - 1], *root = top + 1;
	struct dir_page *moved;

	assert(path->levels < DIR_LEVELS_MAX && !top->n);
	*root = *top;
	root->slot = 0;
	root->page = page_own(d, 0);
	moved = new_page(d, root->page->level, &top->n);
	memcpy(moved, root->page, sizeof(*moved));
	top->page = moved;
	page_init(root->page, path->levels);
	page_add_child(root->page, 0, 0, top->n);
	d->inode->dir_levels = ++path->levels;
}

/* Makes room for one more child in the page at LEVEL, which afterwards is the half that the
 * path's child is in. */
static void make_room(struct dir *d, struct dir_path *path, unsigned level)
{
	struct dir_step *s = &path->step[level];
	struct dir_page *left, *right;
	uint64_t n, sep;

	if (s->page->count < DIR_FANOUT)
		return;
	if (level + 1 == path->levels)
		grow_root(d, path);
	make_room(d, path, level + 1);
	left = page_own(d, s->n);
	right = new_page(d, level, &n);
	right->count = left->count - DIR_INNER_MIN;
	memcpy(right->body, page_index(left) + DIR_INNER_MIN, right->count * sizeof(struct dir_index));
	left->count = DIR_INNER_MIN;
	memset(page_index(left) + DIR_INNER_MIN, 0, right->count * sizeof(struct dir_index));
	sep = page_index(right)->key;
	page_index(right)->key = 0;
	s[1].page = page_own(d, s[1].n);
	page_add_child(s[1].page, s[1].slot + 1, sep, n);
	s->page = left;
	if (s->slot >= DIR_INNER_MIN) {
		s->page = right;
		s->n = n;
		s->slot -= DIR_INNER_MIN;
	}
}

/*
 * Where to cut a leaf into which an item of SIZE bytes will come at AT: the boundary nearest to
 * the middle of the whole, as an offset in the leaf without it.  Both sides get at least
 * DIR_LEAF_MIN bytes.  *ret_left: the new item comes to the left side.
 */
static uint32_t leaf_cut(const struct dir_page *leaf, uint32_t at, uint32_t size, bool *ret_left)
{
	uint32_t total = leaf->free_start + size, off = 0, sum = 0, best = 0, best_gap = total;
	bool in = false;

	*ret_left = false;
	while (sum < total) {
		uint32_t gap;

		if (off == at && !in) {
			in = true;
			sum += size;
		} else {
			uint32_t step = item_size(page_item(leaf, off)->name_len);

			off += step;
			sum += step;
		}
		gap = sum > total / 2 ? sum - total / 2 : total / 2 - sum;
		if (gap >= best_gap)
			break;
		best_gap = gap;
		best = off;
		*ret_left = in;
	}
	return best;
}

/* Inserts into a leaf that is too full for it. */
static void split_leaf(struct dir *d, struct dir_path *path, const struct dir_found *e,
		       struct fs_name name)
{
	struct dir_step *s = &path->step[0];
	struct dir_page *left, *right;
	uint32_t cut;
	uint64_t n;
	bool to_left;

	if (path->levels == 1)
		grow_root(d, path);
	make_room(d, path, 1);
	left = page_own(d, s->n);
	right = new_page(d, 0, &n);
	cut = leaf_cut(left, path->off, item_size(name.len), &to_left);
	right->free_start = left->free_start - cut;
	memcpy(right->body, left->body + cut, right->free_start);
	memset(left->body + cut, 0, right->free_start);
	left->free_start = cut;
	for (uint32_t off = 0; off < right->free_start; right->count++)
		off += item_size(page_item(right, off)->name_len);
	left->count -= right->count;
	if (to_left)
		page_add_item(left, path->off, e, name);
	else
		page_add_item(right, path->off - cut, e, name);
	assert(left->free_start >= DIR_LEAF_MIN && right->free_start >= DIR_LEAF_MIN);
	page_add_child(page_own(d, s[1].n), s[1].slot + 1, page_item(right, 0)->key, n);
}

/* The key for one more name of HASH, and the path to its place. */
static int place_for(struct dir *d, uint64_t hash, struct dir_path *path, uint64_t *ret_key)
{
	uint64_t key = hash | first_number(hash), first;
	struct dir_item *it;
	int err = path_seek(d, key, path);

	if (err)
		return err;
	first = path->step[0].n;
	while (!(err = path_item(d, path, hash | (DIR_NUMBERS - 1), &it)) && it->key == key) {
		key++;
		path->off += item_size(it->name_len);
	}
	if (err && err != -ENOENT)
		return err;
	if (key > (hash | (DIR_NUMBERS - 1)))
		return -EDAMAGED;
	*ret_key = key;
	return path->step[0].n == first ? 0 : path_seek(d, key, path);
}

int dir_insert(struct dir *d, struct fs_name name, uint64_t ino, uint64_t generation, uint8_t type)
{
	struct dir_found e = { .ino = ino, .generation = generation, .type = type };
	struct dir_path path;
	int err;

	if (!d->t->apply)
		return dir_insert_prepare(d, &name, 1, NULL);
	assert(ino && type >= FS_REG && type <= FS_FIFO);
	err = place_for(d, dir_hash(d->hash_key, name), &path, &e.key);
	if (err)
		return err;
	if (path.step[0].page->free_start + item_size(name.len) <= DIR_BODY)
		page_add_item(page_own(d, path.step[0].n), path.off, &e, name);
	else
		split_leaf(d, &path, &e, name);
	d->inode->entries++;
	return 0;
}

int dir_init(struct dir *d)
{
	struct inode *ino = d->inode;
	struct block *b;

	if (!d->t->apply)
		return file_page_own(d->t, ino, 0, &b);
	ino->dir_pages = 1;
	ino->dir_free = 0;
	ino->dir_levels = 1;
	ino->entries = 0;
	ino->size = BLOCK_SIZE;
	page_init(page_own(d, 0), 0);
	return 0;
}
