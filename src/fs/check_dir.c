/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories: the B+tree over the pages of a directory's file.  Every page is met exactly once,
 * in the tree or in the list of free pages; keys lie in the range that the parent page gives,
 * and are made of their names; every entry leads to a live inode of its generation and type.
 */
#include "fs/check_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fs/dir_int.h"
#include "fs/salvage.h"

struct dpage { uint64_t index, block; bool met; };

struct dir_scan {
	struct check *c;
	struct check_volume *v;
	struct info *dir;
	struct inode inode;
	struct where where;
	struct dpage *pages;		/* sorted by index */
	uint64_t npages, cap;
	uint64_t entries;
	bool incomplete;		/* a page could not be read: what follows proves nothing */
	bool misled;			/* pages were not met, so names may be missing */
	bool wrong;			/* the tree is: to be made anew */
};

static void add_page(struct check *c, uint64_t index, uint64_t block, const void *data, void *arg)
{
	struct dir_scan *s = arg;

	if (grow(c, &s->pages, s->npages, &s->cap, sizeof(*s->pages)))
		s->pages[s->npages++] = (struct dpage){ .index = index, .block = block };
}

static struct dpage *page_find(struct dir_scan *s, uint64_t index)
{
	uint64_t lo = 0, hi = s->npages;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (s->pages[mid].index < index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < s->npages && s->pages[lo].index == index ? &s->pages[lo] : NULL;
}

/* The page in a frame, verified; NULL if there is nothing to go on with.  frame_pop() it. */
static const struct dir_page *page_enter(struct dir_scan *s, uint64_t index)
{
	struct dpage *d = page_find(s, index);
	bool was = s->wrong;
	const char *why;
	struct dir_page *p;

	s->wrong = true;		/* until all is found right */
	if (!d) {
		finding(s->c, "%s: page %" PRIu64 " of the directory is missing",
			where_text(s->c, &s->where), index);
		s->incomplete = true;
		return NULL;
	}
	if (d->met) {
		finding(s->c, "%s: page %" PRIu64 " of the directory is led to twice",
			where_text(s->c, &s->where), index);
		s->misled = true;
		return NULL;
	}
	d->met = true;
	p = frame_push(s->c);
	if (!read_meta(s->c, d->block, p, &why)) {
		s->incomplete = true;	/* the block is reported with its owner */
		frame_pop(s->c);
		return NULL;
	}
	why = dir_page_verify(p);
	if (why) {
		finding(s->c, "%s: page %" PRIu64 " of the directory (block %" PRIu64 "): %s",
			where_text(s->c, &s->where), index, d->block, why);
		s->incomplete = true;
		frame_pop(s->c);
		return NULL;
	}
	s->wrong = was;
	return p;
}

/* ---- entries -------------------------------------------------------------------------- */

static void link_to(struct dir_scan *s, struct info *i)
{
	if (s->dir->ino == INO_ORPHANS) {
		i->orphan = true;
		return;
	}
	i->names++;
	i->parent = s->dir->ino;
	if (i->type == FS_DIR)
		s->dir->subdirs++;
}

static void item_finding(struct dir_scan *s, const struct dir_item *it, const char *what)
{
	finding(s->c, "%s: entry %s %s (inode %" PRIu64 ", generation 0x%" PRIx64 ", type %u)",
		where_text(s->c, &s->where), quoted(it->name, it->name_len), what, it->ino,
		it->generation, it->type);
}

static void item_fix(struct dir_scan *s, const struct dir_item *it, enum fix_kind kind, uint8_t type)
{
	fix_add(s->c, &(struct fix){ .kind = kind, .type = type, .volume = s->v->place + 1,
				     .ino = s->dir->ino, .value = it->ino,
				     .generation = it->generation, .name = (char *)it->name,
				     .name_len = it->name_len });
}

static void item_check(struct dir_scan *s, const struct dir_item *it)
{
	struct info *i = info_find(s->v, it->ino);

	s->entries++;
	if (!item_key_right(it, s->v->rec.hash_key)) {
		item_finding(s, it, "stands under a key that is not its name's");
		s->wrong = true;
	}
	if (!i && s->v->incomplete)
		return;
	if (s->c->drop && (!i || i->ino == INO_ROOT || i->ino == INO_ORPHANS ||
			   i->generation != it->generation))
		item_fix(s, it, FIX_DROP_NAME, 0);
	if (!i) {
		item_finding(s, it, "leads to an inode that is not in use");
	} else if (i->ino == INO_ROOT || i->ino == INO_ORPHANS) {
		item_finding(s, it, "leads to an inode that has no names");
	} else if (i->generation != it->generation) {
		item_finding(s, it, "leads to another generation of its inode");
	} else {
		if (i->type != it->type) {
			item_finding(s, it, "has another type than its inode");
			item_fix(s, it, FIX_ENTRY_TYPE, i->type);
		}
		link_to(s, i);
	}
}

static void leaf_check(struct dir_scan *s, const struct dir_page *p, uint64_t index, uint64_t lo,
		       uint64_t hi)
{
	uint32_t off = 0;
	bool told = false;

	while (off < p->free_start) {
		const struct dir_item *it = page_item(p, off);

		if ((it->key < lo || it->key >= hi) && !told) {
			told = s->wrong = true;
			finding(s->c,
				"%s: page %" PRIu64
				" of the directory: the key of entry %s is not in "
				"the page's range",
				where_text(s->c, &s->where), index, quoted(it->name, it->name_len));
		}
		item_check(s, it);
		off += item_size(it->name_len);
	}
	if (p->count || !index)
		return;
	finding(s->c, "%s: page %" PRIu64 " of the directory is empty", where_text(s->c, &s->where), index);
	s->wrong = true;
}

/* ---- the tree --------------------------------------------------------------------------- */

static void tree_check(struct dir_scan *s, uint64_t index, unsigned level, uint64_t lo,
		       uint64_t hi);

static void inner_check(struct dir_scan *s, const struct dir_page *p, uint64_t index, uint64_t lo,
			uint64_t hi)
{
	const struct dir_index *x = page_index(p);

	for (unsigned i = 0; i < p->count && !s->c->err; i++) {
		uint64_t from = i ? x[i].key : lo, to = i + 1 < p->count ? x[i + 1].key : hi;

		if (from < lo || from >= to || to > hi) {
			finding(s->c,
				"%s: page %" PRIu64 " of the directory: the range of its child %u "
				"is not in its own",
				where_text(s->c, &s->where), index, i);
			s->incomplete = s->wrong = true;
			return;
		}
		tree_check(s, x[i].page, p->level - 1, from, to);
	}
}

static void tree_check(struct dir_scan *s, uint64_t index, unsigned level, uint64_t lo, uint64_t hi)
{
	const struct dir_page *p = page_enter(s, index);

	if (!p)
		return;
	if (p->level != level) {
		finding(s->c,
			"%s: page %" PRIu64 " of the directory has level %u, but it should be %u",
			where_text(s->c, &s->where), index, p->level, level);
		s->incomplete = s->wrong = true;
	} else if (level) {
		inner_check(s, p, index, lo, hi);
	} else {
		leaf_check(s, p, index, lo, hi);
	}
	frame_pop(s->c);
}

static void free_pages_check(struct dir_scan *s)
{
	uint64_t next = s->inode.dir_free, n = 0;

	while (next && n++ <= s->npages && !s->incomplete) {
		const struct dir_page *p = page_enter(s, next - 1);

		if (!p)
			break;
		if (p->level != DIR_LEVEL_FREE) {
			finding(s->c,
				"%s: page %" PRIu64
				" of the directory is in the list of free pages, "
				"but it is not free",
				where_text(s->c, &s->where), next - 1);
			s->incomplete = s->wrong = true;
		}
		next = p->next_free;
		frame_pop(s->c);
	}
}

static void pages_check(struct dir_scan *s)
{
	uint64_t lost = 0;

	for (uint64_t i = 0; i < s->npages; i++)
		lost += !s->pages[i].met;
	if (lost)
		finding(s->c, "%s: pages of the directory that are neither in its tree nor free: %"
			PRIu64, where_text(s->c, &s->where), lost);
	s->misled |= lost;
	s->wrong |= s->misled;
	if (s->misled)
		return;
	if (s->npages != s->inode.dir_pages)
		fix_ino(s->c, &s->where, FIX_DIR_PAGES, s->npages);
	if (s->entries != s->inode.entries)
		fix_ino(s->c, &s->where, FIX_ENTRIES, s->entries);
	if (s->npages != s->inode.dir_pages)
		finding(s->c,
			"%s: says that the directory has %" PRIu64 " pages, and it has %" PRIu64,
			where_text(s->c, &s->where), s->inode.dir_pages, s->npages);
	if (s->entries != s->inode.entries)
		finding(s->c,
			"%s: says that the directory has %" PRIu64 " entries, and it has %" PRIu64,
			where_text(s->c, &s->where), s->inode.entries, s->entries);
}

static void scan(struct dir_scan *s)
{
	unsigned levels = s->inode.dir_levels;

	if (!levels || levels > DIR_LEVELS_MAX) {
		finding(s->c, "%s: a directory of %u levels", where_text(s->c, &s->where), levels);
		s->incomplete = s->wrong = true;
		return;
	}
	tree_check(s, 0, levels - 1, 0, DIR_KEY_END);
	free_pages_check(s);
	if (!s->incomplete && !s->c->err)
		pages_check(s);
}

static int count_item(void *arg, const struct dir_item *it)
{
	++*(uint64_t *)arg;
	return 0;
}

/* All entries that there ever were in its pages can be told.  WHOLE: all of its file could be read. */
static bool all_there(struct dir_scan *s, bool whole)
{
	bool all = whole && (s->inode.dir_pages <= s->npages || s->inode.dir_pages > DIR_PAGES_MAX), one;
	uint64_t n = 0;

	for (uint64_t i = 0; i < s->npages && !s->c->err; i++) {
		struct dir_page *p = frame_push(s->c);
		const char *why;

		one = read_meta(s->c, s->pages[i].block, p, &why);
		if (one)
			page_salvage(p, s->v->rec.hash_key, count_item, &n, &one);
		all &= one;
		frame_pop(s->c);
	}
	return all || n == s->inode.entries;
}

void dir_check(struct check *c, struct check_volume *v, struct info *dir)
{
	struct dir_scan s = { .c = c, .v = v, .dir = dir };
	bool whole;

	s.where = (struct where){ .volume = v - c->volumes + 1, .ino = dir->ino };
	if (!info_inode(c, dir, &s.inode)) {
		v->names_incomplete = true;
		return;
	}
	whole = each_leaf_ptr(c, &s.where, s.inode.root, s.inode.depth, add_page, &s);
	s.incomplete = !whole;
	if (!s.incomplete)
		scan(&s);
	if (s.incomplete || s.misled)
		v->names_incomplete = true;
	if ((s.wrong || !whole) && c->fix && !c->quiet && (c->drop || all_there(&s, whole)))
		fix_ino(c, &s.where, FIX_DIR, 0);
	free(s.pages);
}
