/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block trees.  tree_pass() starts at the superblock and follows every pointer: it tells check_count.c,
 * and walks what it leads to if it was not walked before; what it found there is remembered
 * (check_node.c), so that ten thousand clones of a file cost one walk.  tree_recount() goes the same
 * ways once more, to count pointers one by one, and owner_pass(), to say whose the blocks are that
 * were found bad since.
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

static void walk_ptr(struct check *c, const struct where *w, uint64_t ptr, uint8_t level,
		     uint8_t kind, struct sub *ret);

/* ---- one block ------------------------------------------------------------------------ */

/* The flag bits that a pointer at LEVEL of its tree may have, and what they must say. */
static void flags_check(struct check *c, const struct where *w, uint64_t block, unsigned slot,
			uint64_t ptr, uint8_t level, uint8_t kind, const struct sub *child)
{
	uint64_t allowed = level == 2 ? PTR_MAPPED_MASK : level == 1 && kind == TREE_FILE ? PTR_DUP : 0;
	uint64_t mapped = (ptr & PTR_MAPPED_MASK) >> PTR_MAPPED_SHIFT;

	if (ptr & ~PTR_BLOCK_MASK & ~allowed)
		finding(c, "%s: index block %" PRIu64 ", slot %u: unknown flag bits 0x%x",
			where_text(c, w), block, slot,
			(unsigned)((ptr & ~allowed) >> PTR_FLAGS_SHIFT));
	if (level != 2 || !child->whole || mapped == child->mapped)
		return;
	finding(c,
		"%s: index block %" PRIu64 ", slot %u: says that %" PRIu64
		" blocks are mapped "
		"below it, and it is %" PRIu64,
		where_text(c, w), block, slot, mapped, child->mapped);
	fix_index(c, w, FIX_SLOT, kind, block, w->base + slot * tree_span(1));
	mark(c, &c->nodes.miscounted, block);
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
		below.base = w->base + i * tree_span(level - 1);
		walk_ptr(c, &below, slots[i] & PTR_BLOCK_MASK, level - 1, kind, &child);
		flags_check(c, w, block, i, slots[i], level, kind, &child);
		if (child.mapped) {
			ret->mapped += child.mapped;
			ret->last = i * tree_span(level - 1) + child.last;
		}
		ret->whole &= child.whole;
	}
	if (!used)
		finding(c, "%s: %s, block %" PRIu64 ", is empty", where_text(c, w), node_text(level, kind),
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
		inode_check_tree(c, &at, ino, &sum);
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
		finding(c, "%s: progress %u is beyond the last child", where_text(c, w),
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
		struct where at = { .reap = true, .entry = w->base * n + i + 1,
				    .head = e[i].block & PTR_BLOCK_MASK };
		uint64_t before = c->findings;

		if (!e[i].block) {	/* so are those after it */
			finding(c, "%s: empty", where_text(c, &at));
			c->counts_incomplete = true;
			return;
		}
		walk_reap_entry(c, &at, &e[i]);
		if (c->findings != before)	/* whatever it is: nobody needs what is there */
			fix_add(c, &(struct fix){ .kind = FIX_REAP, .ino = at.head });
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

/* Reads and walks a block for the first time. */
static void walk_new(struct check *c, const struct where *w, uint64_t block, uint8_t level,
		     uint8_t kind, unsigned first, struct sub *ret)
{
	const char *why;
	uint32_t refs;
	void *data;
	bool ok;

	node_add(c, block, level, kind);
	if (first)
		mark(c, &c->nodes.partial, block);
	data = frame_push(c);
	ok = read_meta_refs(c, block, data, &why, &refs);
	if (ok)
		walk_block(c, w, data, block, level, kind, first, ret);
	frame_pop(c);
	if (ok) {
		node_remember(c, block, level, refs, ret);
		return;
	}
	mark(c, &c->nodes.bad, block);
	c->counts_incomplete = true;
	finding(c, "%s: %s, block %" PRIu64 ", %s", where_text(c, w), node_text(level, kind), block,
		why);
}

/* Another pointer to what was walked, or is being walked. */
static void walk_again(struct check *c, const struct where *w, uint64_t block, uint8_t level,
		       uint8_t kind, struct sub *ret)
{
	uint8_t is_level, is_kind;
	char as[80];

	if (node_is(c, block, level, kind)) {
		if (seen_has(&c->nodes.partial, block)) {
			finding(c, "%s: leads to block %" PRIu64 ", which is being reaped",
				where_text(c, w), block);
			fix_add(c, &(struct fix){ .kind = FIX_REAP, .ino = block });
		}
		if (seen_has(&c->nodes.miscounted, block))
			fix_index(c, w, FIX_RELINK, kind, block, w->base);
		node_recall(c, block, level, kind, ret);
		return;
	}
	node_type(c, block, &is_level, &is_kind);
	snprintf(as, sizeof(as), "%s", node_text(is_level, is_kind));
	finding(c, "%s: leads to block %" PRIu64 " as to %s, but it is in use as %s",
		where_text(c, w), block, node_text(level, kind), as);
	c->counts_incomplete = true;
}

static void walk_first(struct check *c, const struct where *w, uint64_t block, uint8_t level,
		       uint8_t kind, struct sub *ret)
{
	bool walked = node_walked(c, block);

	if (walked)
		walk_again(c, w, block, level, kind, ret);
	else
		walk_new(c, w, block, level, kind, 0, ret);
	counts_pointer(c, block, !walked || node_is(c, block, level, kind));
}

/* Later walks: goes into what the first one went into, once. */
static void enter_again(struct check *c, const struct where *w, uint64_t block, uint8_t level,
			uint8_t kind, unsigned first)
{
	struct where at = *w;
	const char *why;
	struct sub sum;
	uint32_t refs;
	void *data;

	if (!node_is(c, block, level, kind) || seen_has(&c->nodes.bad, block) ||
	    !mark_first(c, &c->nodes.again, block))
		return;
	data = frame_push(c);
	if (read_meta_refs(c, block, data, &why, &refs)) {
		at.shared |= refs > 1;
		walk_block(c, &at, data, block, level, kind, first, &sum);
	}
	frame_pop(c);
}

/* Owner pass: is this one of the bad blocks? */
static void name_ptr(struct check *c, const struct where *w, uint64_t block, uint8_t level,
		     uint8_t kind)
{
	struct bad_block *b = bad_find(c, block);

	if (b && b->has_owner) {
		b->more++;
	} else if (b) {
		b->has_owner = true;
		b->leaf = level == 0 && kind == TREE_FILE;
		b->owner = *w;
	}
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
	bool data = level == 0 && kind == TREE_FILE;

	*ret = (struct sub){ 0 };
	if (!ptr_usable(c, w, block))
		return;
	if (data)
		*ret = (struct sub){ .mapped = 1, .whole = true };
	if (c->walk == WALK_OWNERS)
		name_ptr(c, w, block, level, kind);
	else if (data || c->walk == WALK_COUNT)
		counts_pointer(c, block, !data && node_is(c, block, level, kind));
	if (data)
		return;
	if (c->walk == WALK_FIRST)
		walk_first(c, w, block, level, kind, ret);
	else
		enter_again(c, w, block, level, kind, 0);
}

/* A block with progress has this one pointer, or the children done with would be missed. */
static void walk_partial(struct check *c, const struct where *w, uint64_t block, uint8_t level,
			 uint8_t kind, uint64_t first)
{
	bool walked = node_walked(c, block);
	struct sub sum;

	if (!ptr_usable(c, w, block))
		return;
	if (c->walk == WALK_OWNERS)
		name_ptr(c, w, block, level, kind);
	else
		counts_pointer(c, block, !walked || node_is(c, block, level, kind));
	if (c->walk != WALK_FIRST)
		enter_again(c, w, block, level, kind, first);
	else if (walked)
		finding(c, "%s: block %" PRIu64 " is being reaped, but another pointer leads to it",
			where_text(c, w), block);
	else
		walk_new(c, w, block, level, kind, first, &sum);
}

static void walk_all(struct check *c)
{
	struct where reap = { .reap = true }, none = { 0 };
	uint64_t n = BLOCK_SIZE / sizeof(struct reap_entry);
	uint64_t want = c->sb.reap_entries / n + (c->sb.reap_entries % n != 0), before = c->findings;
	struct sub sum;

	/* First, so that another pointer to a block with progress is noticed. */
	walk_root(c, &reap, c->sb.reap.ptr, c->sb.reap.depth, TREE_REAP, &sum);
	if (sum.whole && sum.mapped != want)
		finding(c,
			"reap list: its %" PRIu64 " entries take %" PRIu64
			" blocks, and it has %" PRIu64,
			c->sb.reap_entries, want, sum.mapped);
	if (c->findings != before)
		fix_add(c, &(struct fix){ .kind = FIX_REAP });
	walk_root(c, &none, c->sb.volumes.ptr, c->sb.volumes.depth, TREE_VOLUMES, &sum);
	if (c->sb.held.ptr)
		walk_root(c, &none, c->sb.held.ptr, c->sb.held.depth, TREE_VOLUMES, &sum);
}

void tree_pass(struct check *c)
{
	c->walk = WALK_FIRST;
	walk_all(c);
	c->stats.walks++;
}

static void walk_quietly(struct check *c, enum walk_for why)
{
	c->walk = why;
	c->quiet = true;
	walk_all(c);
	c->quiet = false;
	seen_done(&c->nodes.again);
}

void tree_recount(struct check *c)
{
	walk_quietly(c, WALK_COUNT);
	c->stats.walks++;
}

void owner_pass(struct check *c)
{
	if (c->nbad)
		walk_quietly(c, WALK_OWNERS);
}
