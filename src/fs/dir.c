/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories: the walk from the root to a leaf, and what only looks.  Changes are in
 * dir_insert.c and dir_remove.c, the inside of a page in dir_page.c; dir_int.h says what is
 * checked where.
 */
#include <assert.h>
#include <string.h>
#include <sodium.h>
#include "base/endian.h"
#include "base/err.h"
#include "fs/dir_int.h"

_Static_assert(crypto_shorthash_KEYBYTES == 16, "hash key");

uint64_t dir_hash_mask = UINT64_MAX;

/* How many leaves ahead of a missing one are asked for at once when a directory is listed. */
#define READ_AHEAD 7

uint64_t dir_hash(const uint8_t *hash_key, struct fs_name name)
{
	uint8_t h[crypto_shorthash_BYTES];

	crypto_shorthash(h, (const unsigned char *)name.s, name.len, hash_key);
	return ((get_le64(h) >> 9) & dir_hash_mask) << 8;
}

static bool in_range(const struct dir_page *p, const struct dir_step *s)
{
	const struct dir_index *x = page_index(p);

	if (p->level)
		return p->count < 2 || (x[1].key > s->lo && x[p->count - 1].key < s->hi);
	return !p->count || (page_item(p, 0)->key >= s->lo && page_item(p, 0)->key < s->hi);
}

static bool page_fits(const struct dir *d, const struct dir_page *p, const struct dir_step *s,
		      unsigned level)
{
	bool root = level + 1 == d->inode->dir_levels;

	if (page_verify_header(p) || p->level != level)
		return false;
	if (p->count < (root ? (level ? 2 : 0) : 1))
		return false;
	return s->lo < s->hi && in_range(p, s);
}

bool page_sound(const struct dir_step *s)
{
	uint64_t last;

	return !page_verify_keys(s->page, &last) && last < s->hi;
}

static bool step_possible(const struct dir *d, const struct dir_step *s, unsigned level)
{
	return (s->n == 0) == (level + 1 == d->inode->dir_levels) && s->n < d->inode->dir_pages;
}

int page_get(struct dir *d, struct dir_step *s, unsigned level)
{
	struct block *b;
	int err;

	if (!step_possible(d, s, level))
		return -EDAMAGED;
	err = file_page(d->t, d->inode, s->n, &b);
	if (err)
		return err;
	s->page = (struct dir_page *)b->data;
	return page_fits(d, s->page, s, level) ? 0 : -EDAMAGED;
}

int page_get_own(struct dir *d, struct dir_step *s, unsigned level)
{
	struct block *b;
	int err;

	assert(!d->t->apply);
	if (!step_possible(d, s, level))
		return -EDAMAGED;
	err = file_page_own(d->t, d->inode, s->n, &b);
	if (err)
		return err;
	if (!b)
		return -EDAMAGED;
	s->page = (struct dir_page *)b->data;
	return page_fits(d, s->page, s, level) && page_sound(s) ? 0 : -EDAMAGED;
}

struct dir_page *page_own(struct dir *d, uint64_t n)
{
	struct block *b = NULL;
	int err;

	assert(d->t->apply);
	err = file_page_own(d->t, d->inode, n, &b);
	if (err || !b)
		txn_abandon(d->t, "pages of a directory share a block");
	return (struct dir_page *)b->data;
}

void path_child(struct dir_path *p, unsigned level)
{
	struct dir_step *s = &p->step[level], *c = s - 1;
	const struct dir_index *x = page_index(s->page);

	assert(level && s->slot < s->page->count);
	c->n = x[s->slot].page;
	c->lo = s->slot ? x[s->slot].key : s->lo;
	c->hi = s->slot + 1 < s->page->count ? x[s->slot + 1].key : s->hi;
}

/* From the step at LEVEL, whose place and range are known, down to KEY. */
static int path_descend(struct dir *d, struct dir_path *p, unsigned level, uint64_t key)
{
	for (;; level--) {
		struct dir_step *s = &p->step[level];
		int err = page_get(d, s, level);

		if (err)
			return err;
		if (!level)
			return page_seek(s->page, key, &p->off);
		s->slot = page_slot(s->page, key);
		path_child(p, level);
	}
}

int path_seek(struct dir *d, uint64_t key, struct dir_path *p)
{
	p->levels = d->inode->dir_levels;
	if (!p->levels || p->levels > DIR_LEVELS_MAX)
		return -EDAMAGED;
	p->step[p->levels - 1] = (struct dir_step){ .n = 0, .lo = 0, .hi = DIR_KEY_END };
	return path_descend(d, p, p->levels - 1, key);
}

/* To the first item of the next leaf; -ENOENT after the last. */
static int path_next(struct dir *d, struct dir_path *p)
{
	for (unsigned l = 1; l < p->levels; l++) {
		struct dir_step *s = &p->step[l];

		if (s->slot + 1 >= s->page->count)
			continue;
		s->slot++;
		path_child(p, l);
		return path_descend(d, p, l - 1, 0);
	}
	return -ENOENT;
}

int path_item(struct dir *d, struct dir_path *p, uint64_t last, struct dir_item **ret)
{
	struct dir_item *it;
	int err;

	while (p->off >= p->step[0].page->free_start) {
		if (p->step[0].hi > last)
			return -ENOENT;
		err = path_next(d, p);
		if (err)
			return err;
	}
	if (!item_fits(p->step[0].page, p->off))
		return -EDAMAGED;
	it = page_item(p->step[0].page, p->off);
	if (it->key > last)
		return -ENOENT;
	*ret = it;
	return 0;
}

static bool name_is(const struct dir_item *it, struct fs_name name)
{
	return it->name_len == name.len && !memcmp(it->name, name.s, name.len);
}

int path_find(struct dir *d, struct fs_name name, struct dir_path *p, struct dir_item **ret)
{
	uint64_t hash = dir_hash(d->hash_key, name);
	struct dir_item *it;
	int err = path_seek(d, hash, p);

	while (!err) {
		err = path_item(d, p, hash | (DIR_NUMBERS - 1), &it);
		if (!err && name_is(it, name)) {
			*ret = it;
			return 0;
		}
		if (!err)
			p->off += item_size(it->name_len);
	}
	return err;
}

static struct dir_found found(const struct dir_item *it)
{
	return (struct dir_found){ .key = it->key, .ino = it->ino,
				   .generation = it->generation, .type = it->type };
}

int dir_lookup(struct dir *d, struct fs_name name, struct dir_found *ret)
{
	struct dir_path p;
	struct dir_item *it;
	int err = path_find(d, name, &p, &it);

	if (!err)
		*ret = found(it);
	return err;
}

int dir_replace(struct dir *d, struct fs_name name, uint64_t ino, uint64_t generation, uint8_t type)
{
	struct dir_path p;
	struct dir_item *it;
	int err = path_find(d, name, &p, &it);

	if (err)
		return err;
	if (!d->t->apply)
		return page_get_own(d, &p.step[0], 0);
	it = page_item(page_own(d, p.step[0].n), p.off);
	it->ino = ino;
	it->generation = generation;
	it->type = type;
	return 0;
}

/* After a leaf was found missing: asks for its next siblings too, so that one wait serves all. */
static void read_ahead(struct dir *d, struct dir_path *p)
{
	struct block *b;

	if (p->levels < 2 || !p->step[1].page)
		return;
	for (uint32_t i = 1; i <= READ_AHEAD && p->step[1].slot + i < p->step[1].page->count; i++) {
		uint64_t n = page_index(p->step[1].page)[p->step[1].slot + i].page;

		if (n >= d->inode->dir_pages || file_page(d->t, d->inode, n, &b) != -ERESTART_PASS)
			return;
	}
}

static int iterate_leaf(struct dir_path *p, dir_fn fn, void *arg)
{
	const struct dir_page *leaf = p->step[0].page;

	if (dir_page_verify(leaf))
		return -EDAMAGED;
	while (p->off < leaf->free_start) {
		const struct dir_item *it = page_item(leaf, p->off);
		struct dir_found e = found(it);
		int err;

		if (e.key >= p->step[0].hi)
			return -EDAMAGED;
		err = fn(arg, &e, (struct fs_name){ .s = it->name, .len = it->name_len });
		if (err)
			return err;
		p->off += item_size(it->name_len);
	}
	return 0;
}

int dir_iterate(struct dir *d, uint64_t after, dir_fn fn, void *arg)
{
	struct dir_path p;
	int err;

	if (after >= DIR_KEY_END)
		return 0;
	p.step[0].page = p.step[1].page = NULL;
	err = path_seek(d, after + 1, &p);
	while (!err) {
		err = iterate_leaf(&p, fn, arg);
		if (err)
			return err;
		p.step[0].page = NULL;
		err = path_next(d, &p);
		if (err == -ENOENT)
			return 0;
	}
	if (err == -ERESTART_PASS && p.levels > 1 && !p.step[0].page)
		read_ahead(d, &p);
	return err;
}
