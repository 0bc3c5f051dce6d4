/* SPDX-License-Identifier: Apache-2.0 */
/* See check_pool.h. */
#include "check_pool.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/crc.h"
#include "fs/dir_int.h"
#include "fs/fs.h"
#include "pool/pool.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define EVENT(n) ((1ULL << EVENT_LIFE_SHIFT) + (n))

struct maker { struct edit e; struct made *m; };
static const uint8_t hash_key[16] = "0123456789abcde";

static uint64_t put_at(struct maker *k, uint64_t block, const void *data)
{
	edit_set_refs(&k->e, block, 1);
	edit_put(&k->e, block, data);
	return block;
}

static uint64_t put(struct maker *k, const void *data)
{
	return put_at(k, k->m->next++, data);
}

static uint64_t put_data(struct maker *k, unsigned seed)
{
	uint8_t buf[BLOCK_SIZE];

	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (seed * 2654435761u + i * 40503u) >> 7;
	return put(k, buf);
}

static uint64_t put_index(struct maker *k, const uint64_t *ptrs, unsigned n)
{
	uint64_t slots[INDEX_SLOTS] = { 0 };

	memcpy(slots, ptrs, n * sizeof(*ptrs));
	return put(k, slots);
}

/* ---- directories ------------------------------------------------------------------------ */

struct name { const char *name; uint64_t ino; uint8_t type; };

static uint64_t key_of(const struct name *n)
{
	return dir_hash(hash_key, (struct fs_name){ n->name, strlen(n->name) });
}

static int by_key(const void *a, const void *b)
{
	uint64_t x = key_of(a), y = key_of(b);

	return x < y ? -1 : x > y;
}

/* A leaf of names; its entries' generations are EVENT(inode number). */
static void leaf(struct dir_page *p, struct name *names, unsigned n)
{
	qsort(names, n, sizeof(*names), by_key);
	page_init(p, 0);
	for (unsigned i = 0; i < n; i++) {
		struct dir_found f = { .key = key_of(&names[i]), .ino = names[i].ino,
				       .generation = EVENT(names[i].ino), .type = names[i].type };

		page_add_item(p, p->free_start, &f, (struct fs_name){ names[i].name,
								      strlen(names[i].name) });
	}
}

static void make_sub(struct maker *k)
{
	struct name n[6] = { { "c0", INO_C, FS_REG }, { "c1", INO_C, FS_REG },
			     { "c2", INO_C, FS_REG }, { "c3", INO_C, FS_REG },
			     { "c4", INO_C, FS_REG }, { "c5", INO_C, FS_REG } };
	static struct dir_page p;

	qsort(n, 6, sizeof(*n), by_key);
	page_init(&p, 1);
	page_add_child(&p, 0, 0, 1);
	page_add_child(&p, 1, key_of(&n[3]), 2);
	k->m->sub_pages[0] = put(k, &p);
	leaf(&p, n, 3);
	k->m->sub_pages[1] = put(k, &p);
	leaf(&p, n + 3, 3);
	k->m->sub_pages[2] = put(k, &p);
	page_init(&p, DIR_LEVEL_FREE);
	k->m->sub_pages[3] = put(k, &p);
	k->m->sub_index = put_index(k, k->m->sub_pages, 4);
}

static void make_dirs(struct maker *k)
{
	struct name root[] = { { "a", INO_A, FS_REG }, { "b", INO_B, FS_REG },
			       { "c", INO_C, FS_REG }, { "sub", INO_SUB, FS_DIR },
			       { "s", INO_S, FS_LNK }, { "l", INO_L, FS_LNK } };
	struct name orphans[] = { { "000000000000000a", INO_ORPHAN, FS_REG } };
	static struct dir_page p;

	leaf(&p, root, 6);
	k->m->root_page = put(k, &p);
	leaf(&p, orphans, 1);
	k->m->orphans_page = put(k, &p);
	make_sub(k);
}

/* ---- extended attributes ---------------------------------------------------------------- */

static void add_xattr(uint8_t *all, const char *name, uint32_t value_len)
{
	struct xattr_head *h = (struct xattr_head *)all;
	struct xattr_entry *e;

	if (!h->bytes)
		*h = (struct xattr_head){ .magic = XATTR_MAGIC, .bytes = sizeof(*h) };
	e = (struct xattr_entry *)(all + h->bytes);
	e->cookie = EVENT(++h->count);
	e->value_len = value_len;
	e->name_len = strlen(name);
	memcpy(e->name, name, e->name_len);
	memset(e->name + e->name_len, 'v', value_len);
	h->bytes += (sizeof(*e) + e->name_len + value_len + 7) & ~7u;
}

static void make_xattrs(struct maker *k)
{
	static uint8_t all[2 * BLOCK_SIZE];
	struct made *m = k->m;

	memset(all, 0, sizeof(all));
	add_xattr(all, "large", 5000);
	m->xattr_leaves[0] = put(k, all);
	m->xattr_leaves[1] = put(k, all + BLOCK_SIZE);
	m->xattr_index = put_index(k, m->xattr_leaves, 2);
	edit_set_refs(&k->e, m->xattr_index, 2);
	memset(all, 0, sizeof(all));
	add_xattr(all, "one", 10);
	add_xattr(all, "two", 0);
	add_xattr(all, "three", 20);
	m->sub_xattrs = put(k, all);
}

static void ino_xattrs(struct inode *i, uint64_t root, uint8_t depth, uint8_t blocks)
{
	i->xattr_root = root;
	i->xattr_depth = depth;
	i->xattr_blocks = blocks;
}

/* ---- inodes ----------------------------------------------------------------------------- */

static struct inode *ino_set(struct inode *all, uint64_t ino, uint8_t type, uint32_t nlink)
{
	struct inode *i = &all[ino];

	i->type = type;
	i->mode = type == FS_DIR ? 0755 : 0644;
	i->nlink = nlink;
	i->generation = i->change = EVENT(ino);
	return i;
}

static void ino_tree(struct inode *i, uint64_t root, uint8_t depth, uint64_t mapped, uint64_t size)
{
	i->root = root;
	i->depth = depth;
	i->mapped = mapped;
	i->size = size;
}

static void ino_dir(struct inode *all, uint64_t ino, uint32_t nlink, uint64_t root,
		    uint64_t entries)
{
	struct inode *i = ino_set(all, ino, FS_DIR, nlink);

	ino_tree(i, root, 0, 1, BLOCK_SIZE);
	i->parent = INO_ROOT;
	i->entries = entries;
	i->dir_pages = i->dir_levels = 1;
}

static void make_files(struct maker *k, struct inode *all)
{
	struct made *m = k->m;
	static uint64_t top[2], low[INDEX_SLOTS];
	static uint8_t target[BLOCK_SIZE];

	for (unsigned i = 0; i < 3; i++)
		m->a_data[i] = put_data(k, i);
	m->a_index = put_index(k, m->a_data, 3);
	edit_set_refs(&k->e, m->a_index, 2);
	ino_tree(ino_set(all, INO_A, FS_REG, 1), m->a_index, 1, 3, 3 * BLOCK_SIZE - 100);
	ino_tree(ino_set(all, INO_B, FS_REG, 1), m->a_index, 1, 3, 3 * BLOCK_SIZE - 100);

	for (unsigned i = 0; i < 3; i++) {
		uint8_t data[BLOCK_SIZE];

		memset(data, 'x' + i, sizeof(data));
		m->c_data[i] = put_at(k, ZONE_BLOCKS + ZONE_HEADER_BLOCKS + 700 * i, data);
	}
	low[5] = m->c_data[0];
	m->c_low[0] = put(k, low);
	m->c_low[1] = put_index(k, m->c_data + 1, 2);
	top[0] = m->c_low[0] | 1ULL << PTR_MAPPED_SHIFT;
	top[1] = m->c_low[1] | 2ULL << PTR_MAPPED_SHIFT;
	m->c_top = put_index(k, top, 2);
	ino_tree(ino_set(all, INO_C, FS_REG, 7), m->c_top, 2, 3, 514 * BLOCK_SIZE);

	memset(target, 't', 200);
	m->link = put(k, target);
	ino_tree(ino_set(all, INO_L, FS_LNK, 1), m->link, 0, 1, 200);
	ino_tree(ino_set(all, INO_S, FS_LNK, 1), 0, 0, 0, 1);
	all[INO_S].inline_data[0] = 'a';
	m->orphan_data = put_data(k, 50);
	ino_tree(ino_set(all, INO_ORPHAN, FS_REG, 0), m->orphan_data, 0, 1, 10);
}

static void make_inodes(struct maker *k)
{
	static struct inode all[INODES_PER_BLOCK];
	struct made *m = k->m;

	memset(all, 0, sizeof(all));
	make_files(k, all);
	make_dirs(k);
	make_xattrs(k);
	ino_xattrs(&all[INO_A], m->xattr_index, 1, 2);
	ino_xattrs(&all[INO_B], m->xattr_index, 1, 2);
	ino_dir(all, INO_ROOT, 3, m->root_page, 6);
	ino_dir(all, INO_ORPHANS, 2, m->orphans_page, 1);
	ino_dir(all, INO_SUB, 2, m->sub_index, 6);
	all[INO_SUB].depth = 1;
	all[INO_SUB].mapped = all[INO_SUB].dir_pages = 4;
	all[INO_SUB].size = 4 * BLOCK_SIZE;
	all[INO_SUB].dir_levels = 2;
	all[INO_SUB].dir_free = 4;
	ino_xattrs(&all[INO_SUB], m->sub_xattrs, 0, 1);
	all[INO_FREE1].entries = INO_FREE2;
	m->inodes = put(k, all);
	m->inode_index = put_index(k, &m->inodes, 1);
}

static void make_two(struct maker *k)
{
	static struct inode all[INODES_PER_BLOCK];
	static struct dir_page p;

	memset(all, 0, sizeof(all));
	page_init(&p, 0);
	ino_dir(all, INO_ROOT, 2, put(k, &p), 0);
	ino_dir(all, INO_ORPHANS, 2, put(k, &p), 0);
	k->m->two_inodes = put(k, all);
}

static void make_volumes(struct maker *k)
{
	static struct volume v[VOLUMES_PER_BLOCK];

	memset(v, 0, sizeof(v));
	for (unsigned i = 0; i < 2; i++) {
		v[i].state = VOLUME_LIVE;
		v[i].id = i + 1;
		v[i].fsid = EVENT(1 + i);
		memcpy(v[i].hash_key, hash_key, 16);
	}
	strcpy(v[0].name, "vol");
	v[0].inodes_root = k->m->inode_index;
	v[0].inodes_depth = 1;
	v[0].next_ino = INO_END;
	v[0].free_ino = INO_FREE1;
	v[0].files = 9;
	v[0].mapped = 3 + 3 + 3 + 1 + 1 + 1 + 1 + 4 + 2 + 2 + 1;
	strcpy(v[1].name, "two");
	v[1].inodes_root = k->m->two_inodes;
	v[1].next_ino = INO_FIRST;
	v[1].files = 2;
	v[1].mapped = 2;
	k->m->volumes = put(k, v);
}

/* ---- reap list and log ------------------------------------------------------------------ */

static void make_reap(struct maker *k)
{
	static uint64_t slots[INDEX_SLOTS];
	static struct inode all[INODES_PER_BLOCK];
	static struct reap_entry list[BLOCK_SIZE / sizeof(struct reap_entry)];
	struct made *m = k->m;

	slots[2] = m->next + 100;		/* let go of: free now */
	slots[4] = m->reap_data[0] = put_data(k, 60);
	slots[9] = m->reap_data[1] = put_data(k, 61);
	m->reap_index = put(k, slots);
	memset(all, 0, sizeof(all));
	m->reap_file = put_data(k, 62);
	ino_tree(ino_set(all, 4, FS_REG, 1), m->reap_file, 0, 1, BLOCK_SIZE);
	m->reap_inodes = put(k, all);
	list[0] = (struct reap_entry){ m->reap_index | 1ULL << 48 | (uint64_t)TREE_FILE << 56, 1, 0 };
	list[1] = (struct reap_entry){ m->reap_inodes | (uint64_t)TREE_INODES << 56, 0, 0 };
	m->reap = put(k, list);
}

static void make_log(struct maker *k)
{
	static uint8_t buf[2 * BLOCK_SIZE];
	uint64_t chain = 0x1234;

	for (unsigned i = 0; i < 2; i++) {
		struct log_record *r = (struct log_record *)(buf + i * BLOCK_SIZE);

		*r = (struct log_record){ .magic = LOG_MAGIC, .len = sizeof(*r) + 24, .life = 1,
					  .seq = MADE_EVENT + 1 + i, .flushed_to = MADE_EVENT + i,
					  .prev = chain, .payload_len = 20 };
		r->hash = XXH3_64bits(r, r->len);
		chain = r->hash;
		dev_sim_poke(k->e.d, k->e.sb.log_block + i, r);
	}
	k->e.sb.log_chain = 0x1234;
	k->e.sb.log_seq = MADE_EVENT + 1;
	k->e.sb.log_offset = 0;
	k->e.sb.log_life = 1;
}

void made_build(struct dev *d, struct made *m)
{
	struct pool_format_opts opts = { .log_bytes = 1 << 20, .seed = 7 };
	struct maker k = { .m = m };
	int err = pool_format(d, &opts);

	assert(!err);
	edit_open(&k.e, d);
	m->next = k.e.sb.log_block + k.e.sb.log_blocks;
	make_inodes(&k);
	make_two(&k);
	make_volumes(&k);
	make_reap(&k);
	make_log(&k);
	k.e.sb.volumes = (struct disk_root){ .ptr = m->volumes };
	k.e.sb.reap = (struct disk_root){ .ptr = m->reap };
	k.e.sb.reap_entries = 2;
	k.e.sb.last_event = MADE_EVENT;
	k.e.sb.generation = 5;
	edit_super(&k.e);
}
