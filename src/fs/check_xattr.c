/* SPDX-License-Identifier: Apache-2.0 */
/* Extended attributes: the leaves of their tree, and what is in them. */
#include "fs/check_int.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct gather { uint8_t *bytes; uint64_t leaves; bool gap; };

static void take_leaf(struct check *c, uint64_t index, uint64_t block, const void *data, void *arg)
{
	struct gather *g = arg;

	if (index != g->leaves)
		g->gap = true;
	else if (index < XATTR_BLOCKS_MAX)
		memcpy(g->bytes + index * BLOCK_SIZE, data, BLOCK_SIZE);
	g->leaves++;
}

static int by_name(const void *a, const void *b)
{
	const struct xattr_entry *const *x = a, *const *y = b;

	if ((*x)->name_len != (*y)->name_len)
		return (*x)->name_len < (*y)->name_len ? -1 : 1;
	return memcmp((*x)->name, (*y)->name, (*x)->name_len);
}

/* Two of one name: false. */
static bool names_unique(struct check *c, const struct where *w, const uint8_t *all)
{
	const struct xattr_head *h = (const struct xattr_head *)all;
	const struct xattr_entry **sorted = malloc(h->count * sizeof(*sorted));
	uint32_t at = sizeof(*h);
	bool unique = true;

	if (!sorted) {
		c->err = -ENOMEM;
		return true;
	}
	for (uint32_t k = 0; k < h->count; k++) {
		sorted[k] = (const struct xattr_entry *)(all + at);
		at += (sizeof(**sorted) + sorted[k]->name_len + sorted[k]->value_len + 7) & ~7u;
	}
	qsort(sorted, h->count, sizeof(*sorted), by_name);
	for (uint32_t k = 1; k < h->count; k++) {
		if (by_name(&sorted[k - 1], &sorted[k]))
			continue;
		unique = false;
		finding(c, "%s: two extended attributes have the name %s", where_text(c, w),
			quoted(sorted[k]->name, sorted[k]->name_len));
	}
	free(sorted);
	return unique;
}

static const char *leaves_wrong(const struct gather *g, const struct inode *i)
{
	if (g->gap)
		return "the tree of its extended attributes has a hole";
	if (g->leaves > XATTR_BLOCKS_MAX)
		return "it has more extended attributes than a file can have";
	return g->leaves ? xattr_verify(g->bytes, g->leaves * BLOCK_SIZE) :
			   "the tree of its extended attributes is empty";
}

/* They can't be used as they are; without them all else can. */
static void unusable(struct check *c, const struct where *w)
{
	if (c->drop)
		fix_ino(c, w, FIX_XATTR, 0);
}

static void none_check(struct check *c, const struct where *w, const struct inode *i)
{
	if (!i->xattr_depth && !i->xattr_blocks)
		return;
	finding(c, "%s: has no extended attributes, but %u blocks of them", where_text(c, w), i->xattr_blocks);
	fix_ino(c, w, FIX_XATTR_BLOCKS, 0);
}

static void leaves_check(struct check *c, const struct where *w, const struct inode *i, const struct gather *g)
{
	const char *why = leaves_wrong(g, i);
	bool usable = !why;

	if (why)
		finding(c, "%s: %s", where_text(c, w), why);
	else
		usable = names_unique(c, w, g->bytes);
	if (g->leaves != i->xattr_blocks)
		finding(c, "%s: says that it has %u blocks of extended attributes, and it is %" PRIu64,
			where_text(c, w), i->xattr_blocks, g->leaves);
	if (!usable)
		unusable(c, w);
	else if (g->leaves != i->xattr_blocks)
		fix_ino(c, w, FIX_XATTR_BLOCKS, g->leaves);
}

void xattr_check(struct check *c, const struct where *w, const struct inode *i)
{
	struct gather g = { .bytes = NULL };

	if (!i->xattr_root) {
		none_check(c, w, i);
		return;
	}
	if (i->type != FS_REG && i->type != FS_DIR) {
		finding(c, "%s: has extended attributes, which nothing of its type has", where_text(c, w));
		unusable(c, w);
	}
	if (i->xattr_depth > 1) {	/* beyond the deepest of all trees: said by the walk */
		if (i->xattr_depth <= TREE_DEPTH_MAX)
			finding(c, "%s: the tree of its extended attributes is too deep", where_text(c, w));
		unusable(c, w);
		return;
	}
	g.bytes = malloc(XATTR_BLOCKS_MAX * BLOCK_SIZE);
	if (!g.bytes) {
		c->err = -ENOMEM;
		return;
	}
	if (each_leaf(c, w, i->xattr_root, i->xattr_depth, take_leaf, &g))
		leaves_check(c, w, i, &g);
	else
		unusable(c, w);
	free(g.bytes);
}
