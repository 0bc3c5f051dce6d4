/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block trees.  tree_pass() starts at the superblock and follows every pointer: it counts it,
 * and walks what it leads to if it was not walked before; what it found there is remembered in
 * a node, so that ten thousand clones of a file cost one walk.  owner_pass() goes the same
 * ways once more, to say whose the blocks are that were found bad since.
 *
 *     volume table -> volume record -> inode file -> inode -> file -> data
 *     reap list -> any of these, from some child on
 *
 * With every step the level of the tree falls, or the kind of the tree moves one to the right
 * in this picture; so a walk ends, whatever the pointers are.
 */
#include "fs/check_int.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[TREE_KINDS] = { "file", "inode file", "volume table",
						    "reap list" };

struct sub {				/* what a subtree holds */
	uint64_t mapped, last;		/* last: counted from the subtree's first leaf */
	bool whole;
};

static void walk_ptr(struct check *c, const struct where *w, uint64_t ptr, uint8_t level,
		     uint8_t kind, struct sub *ret);

/* ---- nodes ---------------------------------------------------------------------------- */

static uint64_t bucket_of(uint64_t block, uint64_t cap)
{
	return (block * 0x9e3779b97f4a7c15ULL >> 20) & (cap - 1);
}

static struct node *node_slot(struct node *nodes, uint64_t cap, uint64_t block)
{
	uint64_t i = bucket_of(block, cap);

	while (nodes[i].block && nodes[i].block != block)
		i = (i + 1) & (cap - 1);
	return &nodes[i];
}

struct node *node_find(struct check *c, uint64_t block)
{
	struct node *n;

	if (!c->nodes_cap)
		return NULL;
	n = node_slot(c->nodes, c->nodes_cap, block);
	return n->block ? n : NULL;
}

static bool nodes_grow(struct check *c)
{
	uint64_t cap = c->nodes_cap ? c->nodes_cap * 2 : 1024;
	struct node *nodes = calloc(cap, sizeof(*nodes));

	if (!nodes) {
		c->err = -ENOMEM;
		return false;
	}
	for (uint64_t i = 0; i < c->nodes_cap; i++)
		if (c->nodes[i].block)
			*node_slot(nodes, cap, c->nodes[i].block) = c->nodes[i];
	free(c->nodes);
	c->nodes = nodes;
	c->nodes_cap = cap;
	return true;
}

/* A new node; valid until the next one is added. */
static struct node *node_add(struct check *c, uint64_t block, uint8_t level, uint8_t kind)
{
	struct node *n;

	if (c->nodes_used * 10 >= c->nodes_cap * 7 && !nodes_grow(c))
		return NULL;
	n = node_slot(c->nodes, c->nodes_cap, block);
	*n = (struct node){ .block = block, .level = level, .kind = kind };
	c->nodes_used++;
	return n;
}

/* ---- one block ------------------------------------------------------------------------ */

static const char *what_text(uint8_t level, uint8_t kind)
{
	static char buf[80];

	if (level)
		snprintf(buf, sizeof(buf), "index block of a %s, level %u", kind_names[kind],
			 level);
	else
		snprintf(buf, sizeof(buf), "block of %s %s", kind == TREE_INODES ? "an" : "a",
			 kind_names[kind]);
	return buf;
}

static uint64_t span(uint8_t level) { return 1ULL << (INDEX_BITS * level); }

/* The flag bits that a pointer at LEVEL of its tree may have, and what they must say. */
static void flags_check(struct check *c, const struct where *w, uint64_t block, unsigned slot,
			uint64_t ptr, uint8_t level, const struct sub *child)
{
	uint64_t allowed = level == 2 ? PTR_MAPPED_MASK : 0;
	uint64_t mapped = (ptr & PTR_MAPPED_MASK) >> PTR_MAPPED_SHIFT;

	if (ptr & ~PTR_BLOCK_MASK & ~allowed)
		finding(c, "%s: index block %" PRIu64 ", slot %u: unknown flag bits 0x%x",
			where_text(c, w), block, slot,
			(unsigned)((ptr & ~allowed) >> PTR_FLAGS_SHIFT));
	if (level == 2 && child->whole && mapped != child->mapped)
		finding(c,
			"%s: index block %" PRIu64 ", slot %u: says that %" PRIu64
			" blocks are mapped "
			"below it, and it is %" PRIu64,
			where_text(c, w), block, slot, mapped, child->mapped);
}

/* FIRST: so many pointers have been let go of by the reaper and don't count. */
static void walk_index(struct check *c, const struct where *w, const uint64_t *slots,
		       uint64_t block, uint8_t level, uint8_t kind, unsigned first, struct sub *ret)
{
	unsigned used = 0;

	for (unsigned i = 0; i < INDEX_SLOTS && !c->err; i++) {
		struct where below = *w;
		struct sub child = { .whole = true };

		if (!slots[i])
			continue;
		if (used++ < first)
			continue;
		below.base = w->base + i * span(level - 1);
		walk_ptr(c, &below, slots[i] & PTR_BLOCK_MASK, level - 1, kind, &child);
		flags_check(c, w, block, i, slots[i], level, &child);
		if (child.mapped) {
			ret->mapped += child.mapped;
			ret->last = i * span(level - 1) + child.last;
		}
		ret->whole &= child.whole;
	}
	if (!used)
		finding(c, "%s: %s %" PRIu64 " is empty", where_text(c, w), what_text(level, kind),
			block);
	if (!c->quiet)
		c->stats.index_blocks++;
}

/* A tree whose root stands in a leaf of another, or in the superblock. */
static void walk_root(struct check *c, const struct where *w, uint64_t ptr, unsigned depth,
		      uint8_t kind, struct sub *ret)
{
	*ret = (struct sub){ .whole = true };
	if (depth > TREE_DEPTH_MAX) {
		finding(c, "%s: depth %u of its tree is more than %u", where_text(c, w), depth,
			TREE_DEPTH_MAX);
		ret->whole = false;
		c->counts_incomplete = true;
		return;
	}
	if (ptr & ~PTR_BLOCK_MASK)
		finding(c, "%s: flag bits in the pointer to its tree", where_text(c, w));
	if (ptr & PTR_BLOCK_MASK)
		walk_ptr(c, w, ptr & PTR_BLOCK_MASK, depth, kind, ret);
	else if (depth)
		finding(c, "%s: an empty tree of depth %u", where_text(c, w), depth);
}

static void walk_inode(struct check *c, const struct where *w, const struct inode *ino)
{
	struct where at = *w;
	struct sub sum, xattr;

	at.base = 0;
	walk_root(c, &at, ino->root, ino->depth, TREE_FILE, &sum);
	at.xattr = true;
	walk_root(c, &at, ino->xattr_root, ino->xattr_depth, TREE_FILE, &xattr);
	at.xattr = false;
	if (sum.whole && ino->type != FS_FREE)
		inode_check_tree(c, &at, ino,
				 &(struct node){ .mapped = sum.mapped, .last = sum.last });
}

static void walk_inodes(struct check *c, const struct where *w, const struct inode *inodes,
			unsigned first)
{
	unsigned child = 0;

	for (unsigned i = 0; i < INODES_PER_BLOCK && !c->err; i++) {
		struct inode ino = inodes[i];
		struct where at = *w;

		/* In the order in which the reaper lets go of them. */
		if (ino.root && child++ < first)
			ino.root = 0;
		if (ino.xattr_root && child++ < first)
			ino.xattr_root = 0;
		at.ino = w->base * INODES_PER_BLOCK + i;
		if (!first)
			walk_inode(c, &at, &inodes[i]);
		else if (ino.root || ino.xattr_root) {
			struct sub sum;

			walk_root(c, &at, ino.root, ino.root ? ino.depth : 0, TREE_FILE, &sum);
			walk_root(c, &at, ino.xattr_root, ino.xattr_root ? ino.xattr_depth : 0,
				  TREE_FILE, &sum);
		}
	}
}

/* Index + 1 of the volume at PLACE of the table; 0: it was not found readable. */
static uint32_t volume_at(const struct check *c, uint64_t place)
{
	uint64_t lo = 0, hi = c->nvolumes;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (c->volumes[mid].place < place)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < c->nvolumes && c->volumes[lo].place == place ? lo + 1 : 0;
}

static void walk_volumes(struct check *c, const struct where *w, const struct volume *vols,
			 unsigned first)
{
	unsigned child = 0;

	for (unsigned i = 0; i < VOLUMES_PER_BLOCK && !c->err; i++) {
		struct where at = { 0 };
		struct sub sum;

		if (vols[i].state == VOLUME_FREE && !vols[i].inodes_root)
			continue;
		if (vols[i].inodes_root && child++ < first)
			continue;	/* the reaper has let go of it */
		if (!w->reap)
			at.volume = volume_at(c, w->base * VOLUMES_PER_BLOCK + i);
		walk_root(c, &at, vols[i].inodes_root, vols[i].inodes_depth, TREE_INODES, &sum);
	}
}

static void walk_partial(struct check *c, const struct where *w, uint64_t block, uint8_t level,
			 uint8_t kind, uint64_t first);

/* An entry of the reap list: a pointer to a block, of which some children may be done with. */
static void walk_reap_entry(struct check *c, const struct where *w, const struct reap_entry *e)
{
	uint64_t block = e->block & PTR_BLOCK_MASK;
	unsigned level = e->block >> 48 & 0xff, kind = e->block >> 56;
	struct sub sum;

	if (kind >= TREE_REAP || level > TREE_DEPTH_MAX) {
		finding(c, "%s: level %u and kind %u are none", where_text(c, w), level, kind);
		c->counts_incomplete = true;
	} else if (e->next > INDEX_SLOTS) {
		finding(c, "%s: progress %" PRIu64 " is beyond the last child", where_text(c, w),
			e->next);
		c->counts_incomplete = true;
	} else if (e->next) {
		walk_partial(c, w, block, level, kind, e->next);
	} else {
		walk_ptr(c, w, block, level, kind, &sum);
	}
}

static void walk_reap(struct check *c, const struct where *w, const struct reap_entry *e)
{
	unsigned n = BLOCK_SIZE / sizeof(*e);

	for (unsigned i = 0; i < n && w->base * n + i < c->sb.reap_entries && !c->err; i++) {
		struct where at = { .reap = true, .entry = w->base * n + i + 1 };

		if (!e[i].block) {	/* so are those after it */
			finding(c, "%s: empty", where_text(c, &at));
			c->counts_incomplete = true;
			return;
		}
		walk_reap_entry(c, &at, &e[i]);
	}
}

/* ---- walking -------------------------------------------------------------------------- */

static void walk_block(struct check *c, const struct where *w, const void *data, uint64_t block,
		       uint8_t level, uint8_t kind, unsigned first, struct sub *ret)
{
	*ret = (struct sub){ .whole = true };
	if (level) {
		walk_index(c, w, data, block, level, kind, first, ret);
		return;
	}
	ret->mapped = 1;
	if (kind == TREE_INODES)
		walk_inodes(c, w, data, first);
	else if (kind == TREE_VOLUMES)
		walk_volumes(c, w, data, first);
	else if (kind == TREE_REAP)
		walk_reap(c, w, data);
}

/* Reads and walks a new node. */
static void walk_new(struct check *c, const struct where *w, uint64_t block, uint8_t level,
		     uint8_t kind, unsigned first, struct sub *ret)
{
	struct node *n = node_add(c, block, level, kind);
	const char *why;
	void *data;
	bool ok;

	if (!n)
		return;
	n->refs = 1;
	n->partial = first > 0;
	data = frame_push(c);
	ok = read_meta(c, block, data, &why);
	if (ok)
		walk_block(c, w, data, block, level, kind, first, ret);
	frame_pop(c);
	n = node_find(c, block);
	if (ok) {
		n->mapped = ret->mapped;
		n->last = ret->last;
		n->whole = ret->whole;
		return;
	}
	n->bad = 1;
	c->counts_incomplete = true;
	finding(c, "%s: %s, block %" PRIu64 ", %s", where_text(c, w), what_text(level, kind), block,
		why);
}

/* Another pointer to a node that was walked, or is being walked. */
static void walk_again(struct check *c, const struct where *w, struct node *n, uint8_t level,
		       uint8_t kind, struct sub *ret)
{
	if (n->level != level || n->kind != kind) {
		char as[80];

		snprintf(as, sizeof(as), "%s", what_text(n->level, n->kind));
		finding(c, "%s: leads to block %" PRIu64 " as to %s, but it is in use as %s",
			where_text(c, w), n->block, what_text(level, kind), as);
		c->counts_incomplete = true;
		return;
	}
	n->refs++;
	if (n->partial)
		finding(c, "%s: leads to block %" PRIu64 ", which is being reaped",
			where_text(c, w), n->block);
	*ret = (struct sub){ .mapped = n->mapped, .last = n->last, .whole = n->whole };
}

/* Owner pass: is this one of the bad blocks; and was this one followed before? */
static void name_ptr(struct check *c, const struct where *w, uint64_t block, uint8_t level,
		     uint8_t kind, unsigned first)
{
	struct bad_block *b = table_bad(c, block);
	struct node *n = node_find(c, block);
	struct where at = *w;
	struct sub sum;
	void *data;
	const char *why;

	if (b && b->has_owner) {
		b->more++;
	} else if (b) {
		b->has_owner = true;
		b->leaf = level == 0 && kind == TREE_FILE;
		b->owner = *w;
	}
	if (!n || n->named || n->bad || n->level != level || n->kind != kind ||
	    (level == 0 && kind == TREE_FILE))
		return;
	n->named = 1;
	at.shared |= n->refs > 1;
	data = frame_push(c);
	if (read_meta(c, block, data, &why))
		walk_block(c, &at, data, block, level, kind, first, &sum);
	frame_pop(c);
}

static bool ptr_usable(struct check *c, const struct where *w, uint64_t block)
{
	const char *why = block_refused(c, block);

	if (!why)
		return true;
	finding(c, "%s: a pointer leads to block %" PRIu64 ", %s", where_text(c, w), block, why);
	c->counts_incomplete = true;
	return false;
}

static void walk_ptr(struct check *c, const struct where *w, uint64_t block, uint8_t level,
		     uint8_t kind, struct sub *ret)
{
	struct node *n;

	*ret = (struct sub){ 0 };
	if (!ptr_usable(c, w, block))
		return;
	if (c->quiet) {
		name_ptr(c, w, block, level, kind, 0);
		return;
	}
	table_count(c, block);
	if (level == 0 && kind == TREE_FILE) {
		*ret = (struct sub){ .mapped = 1, .whole = true };
		return;
	}
	n = node_find(c, block);
	if (n)
		walk_again(c, w, n, level, kind, ret);
	else
		walk_new(c, w, block, level, kind, 0, ret);
}

/* A block with progress has this one pointer, or the children done with would be missed. */
static void walk_partial(struct check *c, const struct where *w, uint64_t block, uint8_t level,
			 uint8_t kind, uint64_t first)
{
	struct sub sum;

	if (!ptr_usable(c, w, block))
		return;
	if (c->quiet) {
		name_ptr(c, w, block, level, kind, first);
		return;
	}
	table_count(c, block);
	if (node_find(c, block))
		finding(c, "%s: block %" PRIu64 " is being reaped, but another pointer leads to it",
			where_text(c, w), block);
	else
		walk_new(c, w, block, level, kind, first, &sum);
}

/* A block that is walked as what it is, and also pointed to as data. */
static void nodes_check(struct check *c)
{
	for (uint64_t i = 0; i < c->nodes_cap; i++) {
		const struct node *n = &c->nodes[i];
		const uint32_t *counts;

		if (!n->block)
			continue;
		counts = c->zones[n->block / ZONE_BLOCKS].counts;
		if (counts && counts[n->block % ZONE_BLOCKS] > n->refs)
			finding(c,
				"block %" PRIu64
				": in use as %s (pointers: %u), and as something else "
				"(pointers: %u)",
				n->block, what_text(n->level, n->kind), n->refs,
				counts[n->block % ZONE_BLOCKS] - n->refs);
	}
}

static void walk_all(struct check *c)
{
	struct where reap = { .reap = true }, none = { 0 };
	uint64_t n = BLOCK_SIZE / sizeof(struct reap_entry);
	uint64_t want = c->sb.reap_entries / n + (c->sb.reap_entries % n != 0);
	struct sub sum;

	/* First, so that another pointer to a block with progress is noticed. */
	walk_root(c, &reap, c->sb.reap.ptr, c->sb.reap.depth, TREE_REAP, &sum);
	if (sum.whole && sum.mapped != want)
		finding(c,
			"reap list: its %" PRIu64 " entries take %" PRIu64
			" blocks, and it has %" PRIu64,
			c->sb.reap_entries, want, sum.mapped);
	walk_root(c, &none, c->sb.volumes.ptr, c->sb.volumes.depth, TREE_VOLUMES, &sum);
	if (c->sb.held.ptr)
		walk_root(c, &none, c->sb.held.ptr, c->sb.held.depth, TREE_VOLUMES, &sum);
}

void tree_release(struct check *c)
{
	free(c->nodes);
}

void tree_pass(struct check *c)
{
	walk_all(c);
	if (!c->err)
		nodes_check(c);
}

void owner_pass(struct check *c)
{
	if (!c->nbad)
		return;
	c->quiet = true;
	walk_all(c);
	c->quiet = false;
}

/* ---- enumerating ---------------------------------------------------------------------- */

struct each {
	struct check *c;
	const struct where *where;	/* NULL: say nothing */
	leaf_fn fn;
	void *arg;
	bool read, whole;
	uint64_t *seen, nseen, cap;	/* hash set of the blocks that were entered */
};

static bool seen_grow(struct each *e)
{
	uint64_t cap = e->cap ? e->cap * 2 : 64, *seen = calloc(cap, sizeof(*seen));

	if (!seen) {
		e->c->err = -ENOMEM;
		return false;
	}
	for (uint64_t i = 0; i < e->cap; i++) {
		uint64_t j = bucket_of(e->seen[i], cap);

		if (!e->seen[i])
			continue;
		while (seen[j])
			j = (j + 1) & (cap - 1);
		seen[j] = e->seen[i];
	}
	free(e->seen);
	e->seen = seen;
	e->cap = cap;
	return true;
}

/* True the first time.  What is met twice is part of a loop, or of a tree that unfolds to more
 * leaves than there are blocks. */
static bool seen_first(struct each *e, uint64_t block)
{
	uint64_t i;

	if (e->nseen * 10 >= e->cap * 7 && !seen_grow(e))
		return false;
	i = bucket_of(block, e->cap);
	while (e->seen[i] && e->seen[i] != block)
		i = (i + 1) & (e->cap - 1);
	if (e->seen[i])
		return false;
	e->seen[i] = block;
	e->nseen++;
	return true;
}

static void each_block(struct each *e, uint64_t block, unsigned level, uint64_t index)
{
	const char *why;
	uint64_t *data;
	bool read = level || e->read;

	if (!read) {
		if (block_refused(e->c, block))
			e->whole = false;
		else
			e->fn(e->c, index, block, NULL, e->arg);
		return;
	}
	if (!seen_first(e, block)) {
		e->whole = false;
		if (e->where && !e->c->err)
			finding(e->c, "%s: block %" PRIu64 " occurs twice",
				where_text(e->c, e->where), block);
		return;
	}
	data = frame_push(e->c);
	if (!read_meta(e->c, block, data, &why))
		e->whole = false;
	else if (!level)
		e->fn(e->c, index, block, data, e->arg);
	else
		for (unsigned i = 0; i < INDEX_SLOTS && !e->c->err; i++)
			if (data[i])
				each_block(e, data[i] & PTR_BLOCK_MASK, level - 1,
					   index + i * span(level - 1));
	frame_pop(e->c);
}

static bool each_run(struct each *e, uint64_t root, unsigned depth)
{
	if (depth > TREE_DEPTH_MAX)
		return false;
	if (root & PTR_BLOCK_MASK)
		each_block(e, root & PTR_BLOCK_MASK, depth, 0);
	free(e->seen);
	return e->whole && !e->c->err;
}

bool each_leaf(struct check *c, const struct where *w, uint64_t root, unsigned depth, leaf_fn fn,
	       void *arg)
{
	struct each e = { .c = c, .where = w, .fn = fn, .arg = arg, .read = true, .whole = true };

	return each_run(&e, root, depth);
}

bool each_leaf_ptr(struct check *c, const struct where *w, uint64_t root, unsigned depth,
		   leaf_fn fn, void *arg)
{
	struct each e = { .c = c, .where = w, .fn = fn, .arg = arg, .whole = true };

	return each_run(&e, root, depth);
}
