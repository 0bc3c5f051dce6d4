/* SPDX-License-Identifier: Apache-2.0 */
/* See check_damage.h. */
#include "check_damage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc.h"
#include "fs/dir_int.h"
#include "fs/fs.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

struct made made;
struct edit edit;

void flip(uint64_t block, unsigned bit)
{
	dev_sim_flip_bit(edit.d, block, bit);
}

void set_slot(uint64_t block, unsigned slot, uint64_t ptr)
{
	uint64_t slots[INDEX_SLOTS];

	edit_get(&edit, block, slots);
	slots[slot] = ptr;
	edit_put(&edit, block, slots);
}

union damage_block u;

struct inode *ino_begin(uint64_t ino)
{
	edit_get(&edit, made.inodes, &u);
	return &u.all[ino];
}

void ino_end(void)
{
	edit_put(&edit, made.inodes, &u);
}

static struct dir_item *item(struct dir_page *p, const char *name)
{
	for (uint32_t off = 0; off < p->free_start; off += item_size(page_item(p, off)->name_len))
		if (page_item(p, off)->name_len == strlen(name) &&
		    !memcmp(page_item(p, off)->name, name, strlen(name)))
			return page_item(p, off);
	fprintf(stderr, "no entry %s\n", name);
	abort();
}

static void zone_change(uint64_t zone, int free_change, uint8_t type)
{
	struct dir_entry d;

	edit_dir_get(&edit, zone, &d);
	d.free += free_change;
	d.type = type;
	edit_dir_put(&edit, zone, &d);
}

/* Content and counts. */
static void flip_data(void) { flip(made.a_data[1], 100); }
static void flip_far_data(void) { flip(made.c_data[2], 32767); }
static void flip_index(void) { flip(made.c_low[1], 3); }
static void flip_inodes(void) { flip(made.inodes, 4000); }
static void flip_volumes(void) { flip(made.volumes, 4000); }
static void flip_dir(void) { flip(made.sub_pages[1], 500); }
void count_high(void) { edit_set_refs(&edit, made.a_data[0], 3); }
static void count_low(void) { edit_set_refs(&edit, made.a_index, 1); }
void count_zero(void) { edit_set_refs(&edit, made.c_data[0], 0); }
static void count_fixed(void)
{
	struct table_entry t[PAGE_ENTRIES];

	edit_table_get(&edit, ZONE_BLOCKS + 1024, t);
	t[5].refs = 1;
	edit_table_put(&edit, ZONE_BLOCKS + 1024, t);
}
static void lost(void)
{
	edit_put(&edit, made.next + 7, u.raw);
	edit_set_refs(&edit, made.next + 7, 1);
}
static void doubled(void) { set_slot(made.a_index, 1, made.a_data[0]); }

/* Tables. */
static void flip_table(void) { flip(edit_table_place(&edit, ZONE_BLOCKS + 1500), 9); }
static void flip_summary(void) { flip(edit_summary_place(&edit, 1), 9); }
static void flip_directory(void) { flip(edit_dir_place(&edit, 0) + 1, 9); }
static void page_free(void)
{
	struct summary_entry s[ZONE_PAGES];

	edit_summary_get(&edit, 1, s);
	s[2].free--;
	edit_summary_put(&edit, 1, s);
}
static void page_slot_bad(void)
{
	struct summary_entry s[ZONE_PAGES];

	edit_summary_get(&edit, 1, s);
	s[2].slot = 2;
	edit_summary_put(&edit, 1, s);
}
static void page_slot_stale(void)
{
	struct summary_entry s[ZONE_PAGES];

	edit_summary_get(&edit, 1, s);
	s[2].slot ^= 1;
	edit_summary_put(&edit, 1, s);
}
static void zone_free(void) { zone_change(1, 5, 0); }
static void zone_type(void) { zone_change(1, 0, 7); }
static void dir_slot(void) { SUPER(s->dirs[0].slot = 3); }
static void zone_change_entry(uint16_t slot, uint8_t reserved)
{
	struct dir_entry d;

	edit_dir_get(&edit, 1, &d);
	d.slot = slot;
	d.reserved = reserved;
	edit_dir_put(&edit, 1, &d);
}
static void zone_slot(void) { zone_change_entry(5, 0); }
static void zone_reserved(void)
{
	struct dir_entry d;

	edit_dir_get(&edit, 1, &d);
	zone_change_entry(d.slot, 1);
}
static void count_behind(void)
{
	struct table_entry t[PAGE_ENTRIES] = { { 0 } };

	t[9].refs = 2;
	edit_table_put(&edit, MADE_BLOCKS, t);
}

/* Trees. */
static void slot_flags(void) { set_slot(made.a_index, 2, made.a_data[2] | 1ULL << 60); }
static void slot_far(void) { set_slot(made.c_low[1], 7, MADE_BLOCKS + 5); }
static void slot_fixed(void) { set_slot(made.c_low[1], 7, ZONE_BLOCKS + 3); }
static void slot_mapped(void) { set_slot(made.c_top, 1, made.c_low[1] | 5ULL << PTR_MAPPED_SHIFT); }
static void slot_mapped_none(void) { set_slot(made.c_top, 1, made.c_low[1]); }
static void slot_mapped_many(void)
{
	set_slot(made.c_top, 0, made.c_low[0] | 1000ULL << PTR_MAPPED_SHIFT);
	set_slot(made.c_top, 1, made.c_low[1] | 1023ULL << PTR_MAPPED_SHIFT);
}
/* Both /c and /b lead to it; a file has counts of its own. */
static void slot_mapped_shared(void)
{
	slot_mapped_many();
	edit_set_refs(&edit, made.c_top, 2);
	edit_set_refs(&edit, made.a_index, 1);
	INO(INO_B, i->root = i[INO_C - INO_B].root; i->depth = 2; i->mapped = 3; i->size = i[INO_C - INO_B].size);
}
static void slot_level(void) { set_slot(made.c_low[1], 3, made.a_index); }
static void self_loop(void) { set_slot(made.c_top, 3, made.c_top | 1ULL << PTR_MAPPED_SHIFT); }
static void root_flags(void) { INO(INO_C, i->root |= 1ULL << 50); }
static void root_none(void)
{
	INO(INO_ORPHAN, i->root = 0; i->depth = 1; i->mapped = 0);
	edit_set_refs(&edit, made.orphan_data, 0);
	VOL(0, v->mapped--);
}
static void empty_index(void)
{
	uint64_t slots[INDEX_SLOTS] = { 0 };

	edit_put(&edit, made.next, slots);
	edit_set_refs(&edit, made.next, 1);
	set_slot(made.c_top, 2, made.next);
}
static void inodes_twice(void)
{
	set_slot(made.inode_index, 1, made.inodes);
	edit_set_refs(&edit, made.inodes, 2);
}

/* Inodes. */
static void ino_mapped(void) { INO(INO_A, i->mapped = 4); VOL(0, v->mapped++); }
static void ino_size(void) { INO(INO_C, i->size = 100); }
static void ino_mode(void) { INO(INO_A, i->mode = 0100644); }
static void ino_type(void) { INO(INO_S, i->type = 9); }
static void ino_generation(void) { INO(INO_ORPHAN, i->generation = 0); }
static void ino_change(void) { INO(INO_A, i->change = MADE_EVENT + 1); }
static void ino_reserved(void) { INO(INO_A, i->reserved2[2] = 1); }
static void ino_depth(void) { INO(INO_A, i->depth = 7); }
static void ino_nlink(void) { INO(INO_C, i->nlink = 6); }
static void ino_dir_nlink(void) { INO(INO_ROOT, i->nlink = 2); }
static void ino_parent(void) { INO(INO_SUB, i->parent = 2); }
static void ino_nul(void) { INO(INO_S, i->inline_data[0] = 0); }
static void ino_target(void) { INO(INO_L, i->size = FS_SYMLINK_MAX + 1); }
static void ino_inline(void) { INO(INO_S, i->depth = 1); }
static void ino_two_blocks(void)
{
	memset(&u, 0, sizeof(u));
	edit_put(&edit, made.link, &u);
	set_slot(made.link, 0, made.next);
	edit_set_refs(&edit, made.next, 1);
	memset(&u, 1, sizeof(u));
	edit_put(&edit, made.next, &u);
	INO(INO_L, i->depth = 1);
}
static void ino_large(void) { INO(INO_A, i->size = FS_MAX_SIZE + 1); }
static void ino_special(void)
{
	INO(INO_S, i->type = FS_FIFO);
	PAGE(made.root_page, item(p, "s")->type = FS_FIFO);
}
static void ino_zero(void) { INO(0, i->type = FS_FIFO); }
static void ino_no_root(void) { INO(INO_ROOT, i->type = FS_FIFO; i->size = 0); }
static void ino_nameless(void)
{
	INO(INO_FREE1, i->type = FS_FIFO; i->generation = 9; i->nlink = 1; i->entries = 0);
	VOL(0, v->files++; v->free_ino = INO_FREE2);
}
static void ino_free_tree(void)
{
	INO(INO_FREE2, i->root = made.a_data[0]);
	edit_set_refs(&edit, made.a_data[0], 2);
}

/* Directories. */
static void dir_magic(void) { PAGE(made.sub_pages[2], p->magic++); }
static void dir_order(void) { PAGE(made.sub_pages[2], page_item(p, 0)->key += 1ULL << 62); }
static void dir_key(void) { PAGE(made.root_page, page_item(p, 0)->key = 3); }
static void dir_range(void) { PAGE(made.sub_pages[0], page_index(p)[1].key += 1ULL << 8); }
static void dir_child(void) { PAGE(made.sub_pages[0], page_index(p)[1].page = 1); }
static void dir_missing(void) { PAGE(made.sub_pages[0], page_index(p)[1].page = 9); }
static void dir_dead(void) { PAGE(made.root_page, item(p, "s")->ino = INO_FREE1); }
static void dir_generation(void) { PAGE(made.root_page, item(p, "s")->generation++); }
static void dir_type(void) { PAGE(made.root_page, item(p, "s")->type = FS_REG); }
static void dir_entries(void) { INO(INO_SUB, i->entries = 5); }
static void dir_pages(void) { INO(INO_SUB, i->dir_pages = 5); }
static void dir_levels(void) { INO(INO_SUB, i->dir_levels = 1); }
static void dir_free_lost(void) { INO(INO_SUB, i->dir_free = 0); }
static void dir_free_used(void) { INO(INO_SUB, i->dir_free = 3); }
static void dir_free_loop(void) { PAGE(made.sub_pages[3], p->next_free = 4); }
static void dir_free_live(void)
{
	INO(INO_SUB, i->dir_free = 3);
	PAGE(made.sub_pages[0], p->count = 1; memset(page_index(p) + 1, 0, sizeof(struct dir_index)));
	INO(INO_SUB, i->entries = 3);
	INO(INO_C, i->nlink = 4);
}
static void dir_no_levels(void) { INO(INO_SUB, i->dir_levels = 0); }
static void dir_empty_page(void)
{
	PAGE(made.sub_pages[1], page_init(p, 0));
	INO(INO_SUB, i->entries = 3);
	INO(INO_C, i->nlink = 4);
}
static void dir_level(void) { PAGE(made.sub_pages[1], p->level = 1); }
static void dir_inner_magic(void) { PAGE(made.sub_pages[0], p->magic = 7); }
static void dir_none_free(void) { INO(INO_SUB, i->dir_free = 99); }
static void dir_no_pages(void) { INO(INO_SUB, i->dir_pages = 0); }
static void dir_type_none(void) { PAGE(made.root_page, item(p, "s")->type = 99); }
static void dir_cut(void) { PAGE(made.sub_pages[1], p->free_start -= 8); }
static void dir_name(void) { PAGE(made.sub_pages[1], page_item(p, 0)->name[1] = '/'); }
static void dir_no_ino(void) { PAGE(made.root_page, item(p, "s")->ino = 0); }
static void dir_twin(void)
{
	PAGE(made.root_page, memcpy(item(p, "a")->name, "b", 1));
}
static void dir_hole(void)
{
	set_slot(made.sub_index, 2, 0);
	edit_set_refs(&edit, made.sub_pages[2], 0);
	INO(INO_SUB, i->mapped = 3);
	VOL(0, v->mapped--);
}
static void dir_flip_inner(void) { flip(made.sub_pages[0], 99); }
static void dir_flip_index(void) { flip(made.sub_index, 99); }
static void dir_flip_root(void) { flip(made.root_page, 99); }
static void dir_flip_orphans(void) { flip(made.orphans_page, 99); }
static void dir_to_root(void) { PAGE(made.root_page, item(p, "s")->ino = INO_ROOT); }
/* A second name for /sub, in /sub: no directory has two. */
static void dir_two_names(void)
{
	PAGE(made.sub_pages[1], page_item(p, 0)->ino = INO_SUB; page_item(p, 0)->generation++;
	     page_item(p, 0)->type = FS_DIR);
	INO(INO_SUB, i->nlink = 3);
	INO(INO_C, i->nlink = 6);
}
static void dir_orphan_named(void)
{
	PAGE(made.root_page, item(p, "a")->ino = INO_ORPHAN;
	     item(p, "a")->generation += INO_ORPHAN - INO_A);
}
/* /sub leaves the root and names itself: a directory that lies within itself. */
static void dir_cycle(void)
{
	PAGE(made.root_page, item(p, "sub")->ino = INO_C;
	     item(p, "sub")->generation += INO_C - INO_SUB; item(p, "sub")->type = FS_REG);
	PAGE(made.sub_pages[1], page_item(p, 0)->ino = INO_SUB; page_item(p, 0)->generation++;
	     page_item(p, 0)->type = FS_DIR);
	INO(INO_ROOT, i->nlink = 2);
	INO(INO_SUB, i->nlink = 3; i->parent = INO_SUB);
}

/* Extended attributes: of /sub, and those that /a and /b share. */
#define XATTRS(block, change) \
	do { \
		struct xattr_head *h = (struct xattr_head *)u.raw; \
		struct xattr_entry *e = (struct xattr_entry *)(h + 1); \
		edit_get(&edit, block, &u); \
		change; \
		edit_put(&edit, block, &u); \
	} while (0)
#define NEXT(e) ((struct xattr_entry *)((uint8_t *)(e) + ((16 + e->name_len + e->value_len + 7) & ~7u)))
static void xattr_flip(void) { flip(made.sub_xattrs, 200); }
static void xattr_flip_shared(void) { flip(made.xattr_leaves[1], 200); }
static void xattr_flip_index(void) { flip(made.xattr_index, 200); }
static void xattr_many_blocks(void) { INO(INO_SUB, i->xattr_blocks = 99); VOL(0, v->mapped += 98); }
static void xattr_no_blocks(void) { INO(INO_SUB, i->xattr_blocks = 0); VOL(0, v->mapped--); }
static void xattr_out(void)
{
	INO(INO_SUB, i->xattr_root = MADE_BLOCKS + 3);
	edit_set_refs(&edit, made.sub_xattrs, 0);
}
static void xattr_magic(void) { XATTRS(made.sub_xattrs, h->magic++; (void)e); }
static void xattr_bytes(void) { XATTRS(made.sub_xattrs, h->bytes = BLOCK_SIZE + 8; (void)e); }
static void xattr_few(void) { XATTRS(made.xattr_leaves[0], h->bytes = BLOCK_SIZE; (void)e); }
static void xattr_none(void) { XATTRS(made.sub_xattrs, h->bytes = sizeof(*h); h->count = 0; (void)e); }
static void xattr_count(void) { XATTRS(made.sub_xattrs, h->count = 2; (void)e); }
static void xattr_cut(void) { XATTRS(made.sub_xattrs, e->value_len = 4000); }
static void xattr_large(void) { XATTRS(made.sub_xattrs, e->value_len = UINT32_MAX - 20); }
static void xattr_unnamed(void) { XATTRS(made.sub_xattrs, e->name_len = 0; e->value_len = 13); }
static void xattr_nul(void) { XATTRS(made.sub_xattrs, e->name[1] = 0); }
static void xattr_order(void) { XATTRS(made.sub_xattrs, NEXT(e)->cookie = e->cookie); }
static void xattr_reserved(void) { XATTRS(made.sub_xattrs, e->reserved[1] = 1); }
static void xattr_padding(void) { XATTRS(made.sub_xattrs, e->name[e->name_len + e->value_len] = 1); }
static void xattr_behind(void) { XATTRS(made.sub_xattrs, u.raw[4000] = 1; (void)h; (void)e); }
static void xattr_twice(void) { XATTRS(made.sub_xattrs, memcpy(NEXT(e)->name, "one", 3)); }
static void xattr_blocks(void) { INO(INO_SUB, i->xattr_blocks = 3); VOL(0, v->mapped += 2); }
static void xattr_no_root(void)
{
	INO(INO_SUB, i->xattr_root = 0);
	edit_set_refs(&edit, made.sub_xattrs, 0);
}
static void xattr_hole(void)
{
	set_slot(made.xattr_index, 0, 0);
	edit_set_refs(&edit, made.xattr_leaves[0], 0);
}
static void xattr_empty(void)
{
	uint64_t slots[INDEX_SLOTS] = { 0 };

	edit_put(&edit, made.xattr_index, slots);
	edit_set_refs(&edit, made.xattr_leaves[0], 0);
	edit_set_refs(&edit, made.xattr_leaves[1], 0);
	INO(INO_A, i->xattr_blocks = 0);
	INO(INO_B, i->xattr_blocks = 0);
	VOL(0, v->mapped -= 4);
}
static void xattr_deep(void)
{
	uint64_t slots[INDEX_SLOTS] = { made.xattr_index | 2ULL << PTR_MAPPED_SHIFT };

	edit_set_refs(&edit, made.next, 1);
	edit_put(&edit, made.next, slots);
	INO(INO_A, i->xattr_root = made.next; i->xattr_depth = 2);
}
static void xattr_deeper(void) { INO(INO_SUB, i->xattr_depth = 7); }
static void xattr_many(void)
{
	uint64_t slots[INDEX_SLOTS];

	edit_get(&edit, made.xattr_index, slots);
	for (unsigned k = 2; k < 18; k++) {
		slots[k] = made.next + k;
		edit_set_refs(&edit, slots[k], 1);
		edit_put(&edit, slots[k], u.raw);
	}
	edit_put(&edit, made.xattr_index, slots);
	INO(INO_A, i->xattr_blocks = 18);
	INO(INO_B, i->xattr_blocks = 18);
	VOL(0, v->mapped += 32);
}
static void xattr_type(void)
{
	INO(INO_L, i->xattr_root = made.sub_xattrs; i->xattr_blocks = 1);
	INO(INO_SUB, i->xattr_root = 0; i->xattr_blocks = 0);
}

/* Volumes. */
static void vol_name(void) { VOL(1, strcpy(v->name, "vol")); }
static void vol_name_bad(void) { VOL(1, strcpy(v->name, "a/b")); }
static void vol_id(void) { VOL(1, v->id = 7); }
static void vol_fsid(void) { VOL(1, v->fsid = u.vol[0].fsid); }
static void vol_files(void) { VOL(0, v->files = 10); }
static void vol_mapped(void) { VOL(0, v->mapped = 1); }
static void vol_next_ino(void)
{
	VOL(0, v->next_ino = INO_ORPHAN);
	INO(INO_FREE1, i->entries = 0);
}
static void vol_free_loop(void) { INO(INO_FREE2, i->entries = INO_FREE1); }
static void vol_free_live(void) { INO(INO_FREE1, i->entries = INO_C); }
static void vol_free_lost(void) { VOL(0, v->free_ino = INO_FREE2); }
static void vol_hidden(void) { VOL(1, v->state = VOLUME_SYSTEM); }
static void vol_hidden_name(void) { VOL(1, strcpy(v->name, VOLUME_SYSTEM_NAME)); }
static void vol_hidden_twice(void)
{
	VOL(0, strcpy(v->name, VOLUME_SYSTEM_NAME); v->state = VOLUME_SYSTEM);
	VOL(1, strcpy(v->name, VOLUME_SYSTEM_NAME); v->state = VOLUME_SYSTEM);
}
static void vol_state(void) { VOL(1, v->state = VOLUME_FREE); }

static void vol_restored(void) { VOL(1, v->restored = UINT64_MAX); }
static void vol_snapshots_changed(void) { VOL(1, v->snapshots_changed = UINT64_MAX); }
static void vol_limit(void) { VOL(1, v->physical = 1000); }
static void vol_held(void) { VOL(1, v->meter = METER_ON; v->held = METER_MAX + 1); }
static void vol_parent(void) { VOL(1, v->parent = 1); }
static void snap_no_parent(void) { VOL(1, v->state = VOLUME_SNAPSHOT); }
static void snap_itself(void) { VOL(1, v->state = VOLUME_SNAPSHOT; v->parent = 2); }
static void snap_nowhere(void) { VOL(1, v->state = VOLUME_SNAPSHOT; v->parent = 77); }
static void snap_twice(void)
{
	VOL(0, v->state = VOLUME_SNAPSHOT; v->parent = 9; strcpy(v->name, "two"));
	VOL(1, v->state = VOLUME_SNAPSHOT; v->parent = 9; strcpy(v->name, "two"));
}
static void vol_state_unknown(void) { VOL(1, v->state = 9); }
static void vol_exports(void) { VOL(1, memset(v->exports, 'x', sizeof(v->exports))); }
static void vol_schedule(void) { VOL(1, memset(v->schedule, 'x', sizeof(v->schedule))); }
static void vol_fsid_none(void) { VOL(1, v->fsid = 0); }
static void vol_reserved(void) { VOL(1, v->reserved4[383] = 1); }

/* Reap list. */
static void reap_kind(void) { REAP(r[1].block |= 9ULL << 56); }
static void reap_next(void) { REAP(r[0].next = 0); }
static void reap_short(void) { SUPER(s->reap_entries = 1000); }
static void reap_shared(void)
{
	REAP(r[2] = r[0]; r[2].next = 0);
	edit_set_refs(&edit, made.reap_index, 2);
	SUPER(s->reap_entries = 3);
}

static void reap_far(void) { REAP(r[0].next = 513); }
static void reap_flip(void) { flip(made.reap, 99); }
static void reap_flip_index(void) { flip(made.reap_index, 8 * 33); }
static void reap_flip_inodes(void) { flip(made.reap_inodes, 99); }
static void reap_flip_data(void) { flip(made.reap_file, 99); }
static void reap_out(void) { REAP(r[1].block = MADE_BLOCKS + 7); }
static void reap_live(void)
{
	set_slot(made.c_top, 5, made.reap_index | 2ULL << PTR_MAPPED_SHIFT);
	edit_set_refs(&edit, made.reap_index, 2);
	INO(INO_C, i->mapped = 5; i->size = 6 * 512 * BLOCK_SIZE);
	VOL(0, v->mapped += 2);
}
static void reap_again(void)
{
	REAP(r[2] = r[0]);
	edit_set_refs(&edit, made.reap_index, 2);
	SUPER(s->reap_entries = 3);
}

/* Superblock and log. */
static void super_front(void) { flip(1, 8 * 700); }
static void super_end(void) { flip(MADE_BLOCKS - 1, 8 * 700); }
static void super_stale(void)
{
	dev_sim_peek(edit.d, 1, &u);
	SUPER(s->generation += 4);
	dev_sim_poke(edit.d, MADE_BLOCKS - 1, &u);
}
static void super_stranger(void)
{
	struct superblock sb;

	dev_sim_peek(edit.d, 1, &sb);
	sb.generation--;
	sb.uuid[3] ^= 1;
	sb.crc = crc32c(0, &sb, 4092);
	dev_sim_poke(edit.d, 0, &sb);
}
static void log_damage(void) { flip(edit.sb.log_block, 8 * 85); }
static void log_future(void)
{
	SUPER(s->log_seq = 3ULL << EVENT_LIFE_SHIFT; s->log_life = 3);
}
static void log_claims(uint64_t first, uint64_t count)
{
	struct log_record *r = (struct log_record *)u.raw;
	uint64_t head = first | count << PTR_FLAGS_SHIFT;

	dev_sim_peek(edit.d, edit.sb.log_block + 1, r);
	r->nruns = 1;
	memcpy(u.raw + sizeof(*r) + 24, &head, 8);
	r->len += 16;
	r->hash = 0;
	r->hash = XXH3_64bits(r, r->len);
	dev_sim_poke(edit.d, edit.sb.log_block + 1, r);
}
static void log_names_fixed(void) { log_claims(ZONE_BLOCKS - 1, 2); }
static void log_names_cut(void) { log_claims(made.next, 40); }

#define D(fn, ...) { #fn, fn, { __VA_ARGS__ }, STAYS }
#define R(fn, ...) { #fn, fn, { __VA_ARGS__ }, REPAIRED }
#define DROP(fn, ...) { #fn, fn, { __VA_ARGS__ }, DROPPED }
const struct damage damages[] = {
	D(flip_data, "its content does not match its checksum (volume 'vol', inode 3 (/a), at byte "
		     "4096, and shared by other files)"),
	D(flip_far_data, "its content does not match its checksum (volume 'vol', inode 5 (/"),
	D(flip_index, "index block of a file, level 1, block",
	  "blocks with a greater count than pointers"),
	D(flip_inodes, "volume 'vol', inode file: block of an inode file, block",
	  "blocks with a greater count"),
	D(flip_volumes, "volume table: block of a volume table, block",
	  "blocks with a greater count"),
	DROP(flip_dir,
	  "its content does not match its checksum (volume 'vol', inode 6 (/sub), at byte 4096)"),
	R(count_high,
	  "wrong count: the table says 3, but 1 pointer leads to it (volume 'vol', inode 3 (/a)"),
	R(count_low,
	  "wrong count: the table says 1, but 2 pointers lead to it (volume 'vol', inode 3"),
	R(count_zero,
	  "free according to the table, but 1 pointer leads to it (volume 'vol', inode 5"),
	R(count_fixed,
	  "block 263173: is one of the pool's fixed structures, but the table gives it count 1"),
	R(lost, "lost: the table gives it count 1, but no pointer leads to it"),
	R(doubled, "wrong count: the table says 1, but 2 pointers lead to it", "lost: "),

	D(flip_table, "table page of blocks 263168 to 263679 (block 262156): does not match"),
	D(flip_summary,
	  "summary of zone 1 (block 262147): does not match the checksum in the zone dir"),
	D(flip_directory,
	  "directory page 0 (block 4): does not match the checksum in the superblock",
	  "whose table page is damaged", "whose table page is damaged"),
	R(page_free, "table page of blocks 263168 to 263679: the summary says that "),
	D(page_slot_bad, "the summary says that it is in a slot that there is none of"),
	D(page_slot_stale, "table page of blocks 263168 to 263679 (block 262157): does not match"),
	R(zone_free, "zone 1: the zone directory says that"),
	R(zone_type, "zone 1: type 7 in the zone directory is unknown"),
	D(dir_slot, "directory page 0 is said to be in slot 3", "whose table page is damaged",
	  "whose table page is damaged"),

	D(zone_slot, "zone 1: its summary is said to be in slot 5, and there is none"),
	R(zone_reserved, "zone 1: reserved fields of its directory entry"),
	R(count_behind, "block 266249: lies behind the end of the pool, but the table gives it count 2"),

	D(root_flags, "inode 5 (/sub/c0): flag bits in the pointer to its tree"),
	D(root_none, "inode 10: an empty tree of depth 1"),
	D(slot_flags, "slot 2: unknown flag bits 0x1000"),
	D(slot_far, "a pointer leads to block 266245, which is outside of the pool"),
	D(slot_fixed,
	  "a pointer leads to block 262147, which belongs to the pool's fixed structures"),
	R(slot_mapped, "slot 1: says that 5 blocks are mapped below it, and it is 2"),
	R(slot_mapped_none, "slot 1: says that 0 blocks are mapped below it, and it is 2"),
	R(slot_mapped_many, "slot 0: says that 1000 blocks are mapped below it, and it is 1",
	  "slot 1: says that 1023 blocks are mapped below it, and it is 2"),
	R(slot_mapped_shared, "slot 0: says that 1000 blocks are mapped below it, and it is 1",
	  "slot 1: says that 1023 blocks are mapped below it, and it is 2"),
	D(slot_level,
	  "in use as index block of a file, level 1 (pointers: 2), and as something else "
	  "(pointers: 1)",
	  "wrong count", "slot 1: says that 2 blocks are mapped below it, and it is 3",
	  "says that 3 blocks are mapped, and it is 4", "beyond"),
	D(self_loop,
	  "as to index block of a file, level 1, but it is in use as index block of a file, level "
	  "2",
	  "in use as index block of a file, level 2 (pointers: 1), and as something else "
	  "(pointers: 1)",
	  "wrong count"),
	D(empty_index, "is empty"),
	D(inodes_twice, "volume 'vol', inode file: block 1308 occurs twice"),

	R(ino_mapped, "inode 3 (/a): says that 4 blocks are mapped, and it is 3"),
	D(ino_size, "inode 5 (/sub/c0): a block is mapped at byte 2101248, beyond its size of 100"),
	D(ino_mode, "inode 3: impossible mode 0100644"),
	D(ino_type, "inode 7: unknown type 9", "entry 's' has another type than its inode",
	  "inode 7: a special file with content"),
	D(ino_generation, "inode 10: generation 0x0 is not an event of the past",
	  "leads to another generation of its inode", "inode 10: in use, but no name leads to it"),
	D(ino_change, "inode 3: change 0x100000000065 is not an event of the past"),
	D(ino_reserved, "inode 3: reserved fields are not zero"),
	D(ino_depth, "inode 3 (/a): depth 7 of its tree is more than 6",
	  "blocks with a greater count than pointers were found: 1 "),
	R(ino_nlink, "inode 5 (/sub/c0): link count 6, but it should be 7"),
	R(ino_dir_nlink, "inode 1 (/): link count 2, but it should be 3"),
	R(ino_parent, "inode 6 (/sub): its parent is inode 2, but its name is in inode 1"),
	D(ino_nul, "inode 7: a symbolic link with a NUL in its target"),
	D(ino_target, "inode 8: a symbolic link whose target has an impossible length"),
	D(ino_inline, "inode 7: a symbolic link with its target inline and a block as well",
	  "inode 7 (/s): an empty tree of depth 1"),
	D(ino_two_blocks, "inode 8: a symbolic link whose target is not in one block"),
	D(ino_large, "inode 3: it is larger than a file can be"),
	D(ino_special, "inode 7: a special file with content"),
	D(ino_zero, "volume 'vol': inode 0 is in use"),
	D(ino_no_root, "volume 'vol': the root directory is not a directory",
	  "inode 1 (/): a special file with content", "inode 1 (/): a block is mapped at byte 0, beyond"),
	R(ino_nameless, "inode 9: in use, but no name leads to it"),
	D(ino_free_tree, "inode 11: free, but it has content"),

	R(dir_magic, "inode 6 (/sub): page 2 of the directory (block 1301): not a directory page"),
	R(dir_order, "inode 6 (/sub): page 2 of the directory (block 1301): entries out of order"),
	R(dir_key, "stands under a key that is not its name's"),
	R(dir_range, "is not in the page's range"),
	R(dir_child, "inode 6 (/sub): page 1 of the directory is led to twice",
	  "pages of the directory that are neither in its tree nor free: 1"),
	R(dir_missing, "inode 6 (/sub): page 9 of the directory is missing"),
	DROP(dir_dead, "entry 's' leads to an inode that is not in use",
	  "inode 7: in use, but no name"),
	DROP(dir_generation, "entry 's' leads to another generation", "inode 7: in use, but no name"),
	R(dir_type, "entry 's' has another type than its inode"),
	R(dir_entries, "says that the directory has 5 entries, and it has 6"),
	R(dir_pages, "says that the directory has 5 pages, and it has 4"),
	R(dir_levels, "page 0 of the directory has level 1, but it should be 0"),
	R(dir_free_lost, "pages of the directory that are neither in its tree nor free: 1"),
	R(dir_free_used, "page 2 of the directory is led to twice", "neither in its tree nor free"),
	R(dir_free_loop, "page 3 of the directory is led to twice"),
	R(dir_free_live, "page 2 of the directory is in the list of free pages, but it is not free"),
	R(dir_no_levels, "inode 6 (/sub): a directory of 0 levels"),
	R(dir_empty_page, "inode 6 (/sub): page 1 of the directory is empty"),
	R(dir_level, "page 1 of the directory (block 1300): "),
	R(dir_inner_magic, "page 0 of the directory (block 1299): not a directory page"),
	R(dir_none_free, "page 98 of the directory is missing"),
	R(dir_no_pages, "says that the directory has 0 pages, and it has 4"),
	R(dir_type_none, "page 0 of the directory (block 1297): entry of no known type"),
	DROP(dir_cut, "page 1 of the directory (block 1300): impossible use of space"),
	DROP(dir_name, "page 1 of the directory (block 1300): name with a slash or NUL"),
	DROP(dir_no_ino, "page 0 of the directory (block 1297): entry without an inode"),
	DROP(dir_twin, "entry 'b' stands under a key that is not its name's"),
	DROP(dir_hole, "page 2 of the directory is missing"),
	R(dir_flip_inner, "does not match its checksum (volume 'vol', inode 6 (/sub), at byte 0)"),
	DROP(dir_flip_index, "inode 6 (/sub): index block of a file, level 1, block",
	  "blocks with a greater count than pointers"),
	DROP(dir_flip_root, "does not match its checksum (volume 'vol', inode 1 (/), at byte 0)"),
	DROP(dir_flip_orphans, "does not match its checksum (volume 'vol', inode 2, at byte 0)"),
	DROP(dir_to_root, "entry 's' leads to an inode that has no names", "inode 7: in use, but no name"),
	D(dir_two_names, "inode 6: a directory with 2 names",
	  "inode 6: a directory that lies within itself"),
	R(dir_orphan_named, "inode 10 (/a): an orphan, but 1 name leads to it",
	  "inode 3: in use, but no name leads to it"),
	D(dir_cycle, "inode 6: a directory that lies within itself"),

	DROP(xattr_flip, "match its checksum (volume 'vol', inode 6 (/sub), extended attributes, at byte 0)"),
	DROP(xattr_flip_shared, "match its checksum (volume 'vol', inode 3 (/a), extended attributes, at "
			     "byte 4096, and shared by other files)"),
	DROP(xattr_flip_index, "inode 3 (/a), extended attributes: index block of a file, level 1",
	     "greater count than pointers"),
	R(xattr_many_blocks, "inode 6: says that it has 99 blocks of extended attributes, and it is 1"),
	R(xattr_no_blocks, "inode 6: says that it has 0 blocks of extended attributes, and it is 1"),
	DROP(xattr_out, "inode 6 (/sub), extended attributes: a pointer leads to block 266243, which is"),
	DROP(xattr_magic, "inode 6: not extended attributes"),
	DROP(xattr_bytes, "inode 6: not extended attributes"),
	DROP(xattr_few, "inode 3: not extended attributes", "inode 4: not extended attributes"),
	DROP(xattr_none, "inode 6: not extended attributes"),
	DROP(xattr_count, "inode 6: the number of extended attributes is wrong"),
	DROP(xattr_cut, "inode 6: an extended attribute is cut off"),
	DROP(xattr_large, "inode 6: an extended attribute is cut off"),
	DROP(xattr_unnamed, "inode 6: an extended attribute has no proper name"),
	DROP(xattr_nul, "inode 6: an extended attribute has no proper name"),
	DROP(xattr_order, "inode 6: extended attributes are out of order"),
	DROP(xattr_reserved, "inode 6: an extended attribute has reserved bytes that are not zero"),
	DROP(xattr_padding, "inode 6: an extended attribute has reserved bytes that are not zero"),
	DROP(xattr_behind, "inode 6: what is behind the last extended attribute is not zero"),
	DROP(xattr_twice, "inode 6: two extended attributes have the name 'one'"),
	R(xattr_blocks, "inode 6: says that it has 3 blocks of extended attributes, and it is 1"),
	R(xattr_no_root, "inode 6: has no extended attributes, but 1 blocks of them"),
	DROP(xattr_hole, "inode 3: the tree of its extended attributes has a hole",
	  "inode 3: says that it has 2 blocks of extended attributes, and it is 1",
	  "inode 4: the tree of its extended attributes has a hole",
	  "inode 4: says that it has 2 blocks of extended attributes, and it is 1"),
	DROP(xattr_empty, "inode 3: the tree of its extended attributes is empty",
	  "inode 4: the tree of its extended attributes is empty", "level 1, block 1306, is empty"),
	DROP(xattr_deep, "inode 3: the tree of its extended attributes is too deep"),
	DROP(xattr_deeper, "inode 6 (/sub), extended attributes: depth 7 of its tree is more than 6",
	  "blocks with a greater count than pointers were found: 1 "),
	DROP(xattr_many, "inode 3: it has more extended attributes than a file can have",
	  "inode 4: it has more extended attributes than a file can have"),
	DROP(xattr_type, "inode 8: has extended attributes, which nothing of its type has"),

	D(vol_name, "two volumes have the name 'vol'"),
	D(vol_name_bad, "'a/b' is no name of a volume"),
	D(vol_id, "volume record 1 ('two'): its id is 7"),
	D(vol_fsid, "have one fsid"),
	R(vol_files, "volume 'vol': says that 10 inodes are in use, and it is 9"),
	R(vol_mapped, "volume 'vol': says that 1 blocks are mapped, and it is 22"),
	R(vol_next_ino, "inode 10: in use, but the volume has only used inodes below 10"),
	R(vol_free_loop, "volume 'vol': its list of free inodes is a loop"),
	R(vol_free_live,
	  "volume 'vol': its list of free inodes leads to inode 5, which is not free"),
	R(vol_free_lost, "volume 'vol': free inodes that are not on its list of free inodes: 1"),
	D(vol_hidden, "'two' is no name of a volume"),
	D(vol_hidden_name, "'.system' is no name of a volume"),
	D(vol_hidden_twice, "two volumes have the name '.system'"),
	D(vol_state, "volume record 1: free, but it has inodes"),

	D(vol_restored, "volume 'two': it was restored, or has got snapshots, in the future"),
	D(vol_snapshots_changed, "volume 'two': it was restored, or has got snapshots, in the future"),
	D(vol_limit, "volume 'two': its limit, or what it holds, cannot be"),
	D(vol_held, "volume 'two': its limit, or what it holds, cannot be"),
	D(vol_parent, "volume record 1 ('two'): only a snapshot is of another volume"),
	D(snap_no_parent, "volume record 1 ('two'): only a snapshot is of another volume"),
	D(snap_itself, "snapshot 'two' is of volume number 2, which is none"),
	D(snap_nowhere, "snapshot 'two' is of volume number 77, which is none"),
	D(snap_twice, "two snapshots of a volume have the name 'two'",
	  "snapshot 'two' is of volume number 9, which is none",
	  "snapshot 'two' is of volume number 9, which is none"),
	D(vol_state_unknown, "volume record 1: unknown state 9"),
	D(vol_exports, "volume 'two': its export rules don't end"),
	D(vol_schedule, "volume 'two': its schedule doesn't end"),
	D(vol_fsid_none, "volume 'two': fsid 0x0 is not an event of the past"),
	D(vol_reserved, "volume 'two': reserved fields are not zero"),

	R(reap_far, "reap list, entry 0: progress 513 is beyond the last child",
	  "greater count than pointers were found: 3"),
	R(reap_again, "is being reaped, but another pointer leads to it"),
	R(reap_flip, "reap list: block of a reap list, block 1319, whose content does not match",
	  "blocks with a greater count than pointers were found: 5"),
	R(reap_flip_index, "reap list, entry 0: index block of a file, level 1, block",
	  "blocks with a greater count than pointers"),
	R(reap_flip_inodes, "reap list, entry 1: block of an inode file, block",
	  "blocks with a greater count than pointers"),
	R(reap_flip_data, "its content does not match its checksum (reap list, entry 1, at byte 0)"),
	R(reap_out, "reap list, entry 1: a pointer leads to block",
	  "blocks with a greater count than pointers"),
	D(reap_live, "inode 5 (/sub/c0): leads to block 1316, which is being reaped"),	/* and partly gone */
	R(reap_kind, "reap list, entry 1: level 0 and kind",
	  "blocks with a greater count than pointers"),
	R(reap_next, "free according to the table, but 1 pointer leads to it (reap list, entry 0"),
	R(reap_short, "reap list: its 1000 entries take 4 blocks, and it has 1",
	  "reap list, entry 2: empty"),
	R(reap_shared, "is being reaped"),

	R(super_front, "superblock at block 1: damaged"),
	R(super_end, "superblock at block 266239: damaged"),
	R(super_stale, "superblock at block 266239: differs from the other copy"),
	R(super_stranger, "superblock at block 0: of another pool"),
	D(log_future, "superblock: the log begins in life 3, which is still to come"),
	D(log_names_fixed, "log record 0x100000000066: names 2 blocks from 262143 on, which can't"),
	D(log_names_cut, "log record 0x100000000066: its list of blocks is cut off"),
	D(log_damage, "log: record 0x100000000065 is damaged, and it was stable"),
};
const unsigned ndamages = sizeof(damages) / sizeof(*damages);

/* ---- at random ---------------------------------------------------------------------------- */

/* Every block with pointers or structure in it. */
static uint64_t some_meta(struct rng *r)
{
	const uint64_t all[] = { made.volumes, made.inode_index, made.inodes, made.two_inodes,
		made.a_index, made.c_top, made.c_low[0], made.c_low[1], made.root_page,
		made.orphans_page, made.sub_index, made.sub_pages[0], made.sub_pages[1],
		made.sub_pages[2], made.sub_pages[3], made.xattr_index, made.xattr_leaves[0],
		made.xattr_leaves[1], made.sub_xattrs, made.link, made.reap, made.reap_index,
		made.reap_inodes };

	return all[rng_below(r, sizeof(all) / sizeof(*all))];
}

static uint64_t random_value(struct rng *r)
{
	switch (rng_below(r, 5)) {
	case 0: return rng_below(r, 16);
	case 1: return made.volumes - rng_below(r, 40);
	case 2: return rng_u64(r);
	case 3: return UINT64_MAX - rng_below(r, 4);
	default: return some_meta(r) | rng_below(r, 8) << 48;
	}
}

void damage_at_random(struct rng *r)
{
	uint64_t block = some_meta(r), v = random_value(r);
	unsigned size = 1u << rng_below(r, 4), range = rng_one_in(r, 2) ? 256 : BLOCK_SIZE;

	edit_get(&edit, block, u.raw);
	memcpy(u.raw + rng_below(r, range / size) * size, &v, size);
	edit_put(&edit, block, u.raw);
}
