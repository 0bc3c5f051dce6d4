/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories, for src/fs/dir*.c alone: the layout of pages, and the path from the root to a leaf.
 *
 *   step[levels - 1]  root (page 0)     lo <= every key beneath < hi
 *   ...               inner pages       slot: which child the path follows
 *   step[0]           leaf              off: where in it the path stands
 *
 * Trust: a page may be hostile (right checksum, any content).  page_get() checks in constant
 * time what keeps memory safe and every walk finite: the header, the level (each step goes down
 * by one), and that the page's keys begin within the range that its parent gives it.  Ranges of
 * siblings are disjoint and only the root may be empty, so no page is ever met twice.  Items are
 * checked one by one as they are passed.  Load passes of changes verify the whole layout of each page
 * that they bring in for changing; the apply pass relies on that.
 */
#ifndef FS_DIR_INT_H
#define FS_DIR_INT_H

#include <stdbool.h>
#include "fs/dir.h"
#include "fs/file.h"

#define DIR_BODY (BLOCK_SIZE - 32)
#define DIR_ITEM_HEADER __builtin_offsetof(struct dir_item, name)
#define DIR_ITEM_MIN 32
#define DIR_ITEM_MAX 288
#define DIR_KEY_FIRST 3ULL
#define DIR_KEY_END (1ULL << 63)
#define DIR_NUMBERS 256			/* names of one hash */
#define DIR_PAGES_MAX (1ULL << 32)
/* What a page that came out of a split holds at least: see leaf_cut() and split_inner(). */
#define DIR_LEAF_MIN ((DIR_BODY + 8) / 2 - DIR_ITEM_MAX / 2)
#define DIR_INNER_MIN (DIR_FANOUT / 2)

struct dir_step {
	struct dir_page *page;		/* not for writing: see page_own() */
	uint64_t n;			/* its place in the directory's file */
	uint64_t lo, hi;
	uint32_t slot;
};

struct dir_path {
	unsigned levels;
	uint32_t off;
	struct dir_step step[DIR_LEVELS_MAX];
};

/* Tests only: fewer bits of hash, to force collisions. */
extern uint64_t dir_hash_mask;

/* The key of a name's hash, its lowest 8 bits 0. */
uint64_t dir_hash(const uint8_t *hash_key, struct fs_name name);

/* ---- inside of a page (dir_page.c) ------------------------------------------------------- */

static inline uint32_t item_size(uint32_t name_len)
{
	return (DIR_ITEM_HEADER + name_len + 7) & ~7u;
}

static inline struct dir_item *page_item(const struct dir_page *p, uint32_t off)
{
	return (struct dir_item *)(p->body + off);
}

static inline struct dir_index *page_index(const struct dir_page *p)
{
	return (struct dir_index *)p->body;
}

/* The item at OFF lies within the page's used part. */
static inline bool item_fits(const struct dir_page *p, uint32_t off)
{
	return off + DIR_ITEM_MIN <= p->free_start &&
		off + item_size(page_item(p, off)->name_len) <= p->free_start;
}

/* Header alone: constant time. */
const char *page_verify_header(const struct dir_page *p);
/* All that changing the page relies on: items, order of keys.  Not the names' bytes. */
const char *page_verify_layout(const struct dir_page *p);
/* The same; *ret_last is the greatest key. */
const char *page_verify_keys(const struct dir_page *p, uint64_t *ret_last);
void page_init(struct dir_page *p, uint8_t level);
/* Inner page: the child for KEY.  Always below count. */
uint32_t page_slot(const struct dir_page *p, uint64_t key);
/* Leaf: the first item with a key of at least KEY, or free_start.  -EDAMAGED. */
int page_seek(const struct dir_page *p, uint64_t key, uint32_t *ret_off);
void page_add_item(struct dir_page *p, uint32_t off, const struct dir_found *e, struct fs_name name);
void page_remove_item(struct dir_page *p, uint32_t off);
void page_add_child(struct dir_page *p, uint32_t slot, uint64_t key, uint64_t page);
void page_remove_child(struct dir_page *p, uint32_t slot);

/* ---- the walk (dir.c) ------------------------------------------------------------------- */

/* The page at step S of a path of LEVELS, checked as said above. */
int page_get(struct dir *d, struct dir_step *s, unsigned level);
/* Load pass: as page_get(), brought in for changing, its layout verified. */
int page_get_own(struct dir *d, struct dir_step *s, unsigned level);
/* The layout is right, and all of a leaf's keys are in its range. */
bool page_sound(const struct dir_step *s);
/* Apply pass: page N, which the load pass brought in, for writing. */
struct dir_page *page_own(struct dir *d, uint64_t n);

/* To the first item with a key of at least KEY; it may stand at the end of a leaf. */
int path_seek(struct dir *d, uint64_t key, struct dir_path *p);
/* The item the path stands at, going on to the next leaf where one ends; -ENOENT if its key is
 * greater than LAST (leaves that can only hold such keys aren't touched). */
int path_item(struct dir *d, struct dir_path *p, uint64_t last, struct dir_item **ret);
/* Fills in N, LO and HI of the step below LEVEL by its slot. */
void path_child(struct dir_path *p, unsigned level);
/* To the item of NAME. */
int path_find(struct dir *d, struct fs_name name, struct dir_path *p, struct dir_item **ret);

#endif
