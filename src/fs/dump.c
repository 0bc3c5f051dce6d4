/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs_dump(): finds the structure that is asked for, by the checker's ways of reading, and has it written
 * out by the functions beside its format (pool/dump.c, dump_text.c).
 */
#include "fs/dump.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/crc.h"
#include "fs/check_int.h"
#include "fs/fs_int.h"

struct request {
	struct check *c;
	struct dump out;
	const char *const *args;	/* after the word */
	unsigned nargs;
	char *why;
	size_t why_len;
	union { uint8_t raw[BLOCK_SIZE]; uint64_t slots[INDEX_SLOTS];
		struct inode inodes[INODES_PER_BLOCK]; struct volume volumes[VOLUMES_PER_BLOCK];
		struct dir_page page; struct reap_entry reap[BLOCK_SIZE / sizeof(struct reap_entry)];
		struct summary_entry summary[ZONE_PAGES]; struct superblock super;
		struct table_entry table[PAGE_ENTRIES];
		struct dir_entry zones[PAGE_ENTRIES / 2]; } u;
};

static int __attribute__((format(printf, 3, 4))) wrong(struct request *r, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->why, r->why_len, fmt, ap);
	va_end(ap);
	return err;
}

static int number(struct request *r, unsigned arg, uint64_t *ret)
{
	const char *s = r->args[arg];
	char *end;

	*ret = strtoull(s, &end, 0);
	return *s >= '0' && *s <= '9' && !*end ? 0 : wrong(r, -EINVAL, "'%s' is not a number", s);
}

/* Block N as it is on the device. */
static int read_raw(struct request *r, uint64_t n)
{
	int err = 0;
	const void *p = n < r->c->dev->nblocks ? read_block(r->c, n, &err) : NULL;

	if (!p && err)
		return wrong(r, err, "block %" PRIu64 ": the device cannot read it", n);
	if (!p)
		return wrong(r, -ENOENT, "block %" PRIu64 " lies behind the end of the device", n);
	memcpy(&r->u, p, BLOCK_SIZE);
	return 0;
}

/* ---- fixed structures ---------------------------------------------------------------------- */

static int do_superblock(struct request *r)
{
	dump_super(&r->out, &r->c->sb);
	return 0;
}

static int do_zone(struct request *r)
{
	uint64_t n;
	int err = number(r, 0, &n);

	if (err)
		return err;
	if (n >= r->c->nzones)
		return wrong(r, -ENOENT, "there is no zone %" PRIu64 "; the pool has %" PRIu64, n, r->c->nzones);
	dump_zone(&r->out, n, &r->c->zones[n].dir);
	if (r->c->zones[n].pages)
		dump_summary(&r->out, n, r->c->zones[n].pages);
	return 0;
}

static int do_table(struct request *r)
{
	const struct table_entry *t;
	uint64_t n, first;
	int err = number(r, 0, &n);

	if (err)
		return err;
	first = n / PAGE_ENTRIES * PAGE_ENTRIES;
	if (n >= r->c->sb.nblocks)
		return wrong(r, -ENOENT, "there is no block %" PRIu64 "; the pool has %" PRIu64, n,
			     r->c->sb.nblocks);
	t = table_entries(r->c, n);
	if (!t)
		return wrong(r, -EDAMAGED, "the table page of blocks %" PRIu64 " to %" PRIu64 " is damaged", first,
			     first + PAGE_ENTRIES - 1);
	memcpy(&r->u, t, BLOCK_SIZE);
	dump_line(&r->out, "table page of blocks %" PRIu64 " to %" PRIu64, first, first + PAGE_ENTRIES - 1);
	dump_table(&r->out, first, r->u.table);
	dump_verdict(&r->out, table_verify(r->u.table, &r->c->sb, n / PAGE_ENTRIES));
	return 0;
}

static int do_log(struct request *r)
{
	log_dump(r->c, &r->out);
	return r->c->err;
}

static void reap_leaf(struct check *c, uint64_t index, uint64_t block, const void *data, void *arg)
{
	struct request *r = arg;
	uint64_t n = BLOCK_SIZE / sizeof(struct reap_entry), left;

	if (index * n >= c->sb.reap_entries)
		return;
	left = c->sb.reap_entries - index * n;
	dump_reap(&r->out, index * n, data, left < n ? left : n);
}

static int do_reap(struct request *r)
{
	dump_line(&r->out, "entries: %" PRIu64, r->c->sb.reap_entries);
	if (!each_leaf(r->c, NULL, r->c->sb.reap.ptr, r->c->sb.reap.depth, reap_leaf, r))
		dump_line(&r->out, "! parts of the reap list are damaged");
	return 0;
}

/* ---- any block ----------------------------------------------------------------------------- */

/* What lies at a place that is fixed. */
static int dump_fixed(struct request *r, uint64_t n)
{
	const struct superblock *sb = &r->c->sb;
	uint64_t zone = n / ZONE_BLOCKS, at = n % ZONE_BLOCKS;

	if ((!zone && at < 2) || n >= sb->nblocks - SUPER_END_BLOCKS) {
		dump_line(&r->out, "block %" PRIu64 ": superblock, slot %u", n,
			  (unsigned)(n < 2 ? n : n - (sb->nblocks - SUPER_END_BLOCKS)));
		dump_super(&r->out, &r->u.super);
	} else if (at == ZONE_SUMMARY || at == ZONE_SUMMARY + 1) {
		dump_line(&r->out, "block %" PRIu64 ": summary of zone %" PRIu64 ", slot %u", n, zone,
			  (unsigned)(at - ZONE_SUMMARY));
		dump_summary(&r->out, zone, r->u.summary);
	} else if (at >= ZONE_DIR && at < ZONE_TABLE) {
		dump_line(&r->out, "block %" PRIu64 ": zone directory, slot %u", n,
			  (unsigned)((at - ZONE_DIR) / DIR_PAGE_BLOCKS));
		zone += (at - ZONE_DIR) % DIR_PAGE_BLOCKS * (DIR_ZONES / 2);
		for (unsigned i = 0; i < DIR_ZONES / 2 && zone + i < r->c->nzones; i++)
			dump_zone(&r->out, zone + i, &r->u.zones[i]);
	} else if (at >= ZONE_TABLE && at < ZONE_HEADER_BLOCKS) {
		uint64_t first = zone * ZONE_BLOCKS + (at - ZONE_TABLE) / 2 * PAGE_ENTRIES;

		dump_line(&r->out, "block %" PRIu64 ": table page of blocks %" PRIu64 " to %" PRIu64 ", slot %u", n,
			  first, first + PAGE_ENTRIES - 1, (unsigned)((at - ZONE_TABLE) % 2));
		dump_table(&r->out, first, r->u.table);
	} else {
		dump_line(&r->out, "block %" PRIu64 ": of the log, or unused", n);
		dump_bytes(&r->out, r->u.raw, BLOCK_SIZE);
	}
	return 0;
}

/* Every pointer leads to a block that is in use: nothing else looks so. */
static bool looks_like_index(struct request *r)
{
	bool any = false;

	for (unsigned i = 0; i < INDEX_SLOTS; i++) {
		uint64_t to = r->u.slots[i] & PTR_BLOCK_MASK;
		struct table_entry e = { 0, 0 };

		if (!r->u.slots[i])
			continue;
		if (block_refused(r->c, to) || !table_lookup(r->c, to, &e) || !e.refs)
			return false;
		any = true;
	}
	return any;
}

static bool all_zero(const uint8_t *p)
{
	return !p[0] && !memcmp(p, p + 1, BLOCK_SIZE - 1);
}

static const char *recognise(struct request *r)
{
	if (all_zero(r->u.raw))
		return "data";
	if (r->u.page.magic == DIR_MAGIC)
		return "dir";
	if (((const struct xattr_head *)r->u.raw)->magic == XATTR_MAGIC)
		return "xattr";
	if (looks_like_index(r))
		return "index";
	if (!inodes_verify(&r->u))
		return "inodes";
	if (!volumes_verify(&r->u))
		return "volumes";
	return "data";
}

static int dump_as(struct request *r, const char *as)
{
	if (!strcmp(as, "dir"))
		dump_dir_page(&r->out, &r->u.page);
	else if (!strcmp(as, "xattr"))
		dump_xattrs(&r->out, r->u.raw, BLOCK_SIZE);
	else if (!strcmp(as, "index"))
		dump_index(&r->out, r->u.slots, 0);
	else if (!strcmp(as, "inodes"))
		dump_inodes(&r->out, 0, r->u.inodes);
	else if (!strcmp(as, "reap"))
		dump_reap(&r->out, 0, r->u.reap, BLOCK_SIZE / sizeof(struct reap_entry));
	else if (!strcmp(as, "volumes"))
		for (unsigned k = 0; k < VOLUMES_PER_BLOCK; k++)
			dump_volume(&r->out, k, &r->u.volumes[k]);
	else if (!strcmp(as, "data"))
		dump_bytes(&r->out, r->u.raw, BLOCK_SIZE);
	else
		return wrong(r, -EINVAL, "'%s' is no kind of block; use index, inodes, volumes, dir, xattr, reap or "
			     "data", as);
	return 0;
}

static int do_block(struct request *r)
{
	struct table_entry e = { 0, 0 };
	const char *as = r->nargs > 1 ? r->args[1] : NULL;
	uint64_t n;
	int err = number(r, 0, &n);

	if (!err)
		err = read_raw(r, n);
	if (err)
		return err;
	if (n >= r->c->sb.nblocks)
		return wrong(r, -ENOENT, "there is no block %" PRIu64 "; the pool has %" PRIu64, n,
			     r->c->sb.nblocks);
	if (block_is_fixed(&r->c->sb, n) && !as)
		return dump_fixed(r, n);
	if (!as)
		as = recognise(r);
	if (block_is_fixed(&r->c->sb, n))
		dump_line(&r->out, "block %" PRIu64 ": a fixed structure, taken for %s", n, as);
	else if (!table_lookup(r->c, n, &e))
		dump_line(&r->out, "block %" PRIu64 ": its table page is damaged; taken for %s", n, as);
	else
		dump_line(&r->out, "block %" PRIu64 ": count %u, crc 0x%08x, which is %s; taken for %s", n, e.refs,
			  e.crc, crc32c(0, &r->u, BLOCK_SIZE) == e.crc ? "right" : "wrong", as);
	return dump_as(r, as);
}

/* ---- volumes and inodes -------------------------------------------------------------------- */

static void volume_leaf(struct check *c, uint64_t index, uint64_t block, const void *data, void *arg)
{
	const struct volume *v = data;
	struct request *r = arg;

	for (unsigned k = 0; k < VOLUMES_PER_BLOCK; k++)
		if (v[k].state != VOLUME_FREE)
			dump_volume(&r->out, index * VOLUMES_PER_BLOCK + k, &v[k]);
}

static int do_volumes(struct request *r)
{
	const struct disk_root *root = &r->c->sb.volumes;

	if (!each_leaf(r->c, NULL, root->ptr, root->depth, volume_leaf, r))
		dump_line(&r->out, "! parts of the volume table are damaged");
	return 0;
}

struct volume_search {
	const char *name;
	size_t len;
	uint32_t parent;		/* 0: a volume */
	struct volume found;		/* state FREE: not yet */
};

static void look_at_volumes(struct check *c, uint64_t index, uint64_t block, const void *data, void *arg)
{
	struct volume_search *s = arg;
	const struct volume *v = data;

	for (unsigned k = 0; k < VOLUMES_PER_BLOCK; k++)
		if (v[k].state != VOLUME_FREE && v[k].parent == s->parent &&
		    strnlen(v[k].name, sizeof(v[k].name)) == s->len && !memcmp(v[k].name, s->name, s->len))
			s->found = v[k];
}

/* NAME, or NAME@SNAPSHOT. */
static int find_volume(struct request *r, const char *text, struct volume *ret)
{
	const struct disk_root *root = &r->c->sb.volumes;
	const char *at = strchr(text, '@');
	struct volume_search *s = calloc(1, sizeof(*s));
	int err = 0;

	if (!s)
		return wrong(r, -ENOMEM, "out of memory");
	s->name = text;
	s->len = at ? (size_t)(at - text) : strlen(text);
	each_leaf(r->c, NULL, root->ptr, root->depth, look_at_volumes, s);
	if (at && s->found.state != VOLUME_FREE) {
		*s = (struct volume_search){ .name = at + 1, .len = strlen(at + 1), .parent = s->found.id };
		each_leaf(r->c, NULL, root->ptr, root->depth, look_at_volumes, s);
	}
	if (s->found.state == VOLUME_FREE)
		err = wrong(r, -ENOENT, "there is no %s '%s'", at ? "snapshot" : "volume", text);
	*ret = s->found;
	free(s);
	return err;
}

/* The leaf at INDEX of a tree, into r->u; *ret_block is its block. */
static int leaf_at(struct request *r, uint64_t root, unsigned depth, uint64_t index, uint64_t *ret_block)
{
	uint64_t block = root & PTR_BLOCK_MASK;
	const char *why;

	if (depth > TREE_DEPTH_MAX || (depth < TREE_DEPTH_MAX && index >> INDEX_BITS * depth))
		return wrong(r, -ENOENT, "it lies behind the end of its tree");
	for (unsigned level = depth; block; level--) {
		if (!read_meta(r->c, block, &r->u, &why))
			return wrong(r, -EDAMAGED, "block %" PRIu64 ", %s", block, why);
		*ret_block = block;
		if (!level)
			return 0;
		block = r->u.slots[index >> INDEX_BITS * (level - 1) & (INDEX_SLOTS - 1)] & PTR_BLOCK_MASK;
	}
	return wrong(r, -ENOENT, "there is a hole");
}

/* The arguments are a volume and the number of an inode. */
static int find_inode(struct request *r, uint64_t *ret_ino, struct inode *ret, uint64_t *ret_block)
{
	struct volume v = { 0 };
	int err = find_volume(r, r->args[0], &v);

	if (!err)
		err = number(r, 1, ret_ino);
	if (err)
		return err;
	err = leaf_at(r, v.inodes_root, v.inodes_depth, *ret_ino / INODES_PER_BLOCK, ret_block);
	if (err == -ENOENT)
		return wrong(r, err, "volume '%s' has no inode %" PRIu64, r->args[0], *ret_ino);
	if (!err)
		*ret = r->u.inodes[*ret_ino % INODES_PER_BLOCK];
	return err;
}

static int do_inode(struct request *r)
{
	struct inode i;
	uint64_t ino, block;
	int err = find_inode(r, &ino, &i, &block);

	if (err)
		return err;
	dump_line(&r->out, "block of inodes: %" PRIu64, block);
	dump_inode(&r->out, ino, &i);
	dump_verdict(&r->out, inodes_verify(&r->u));
	return 0;
}

static void page_leaf(struct check *c, uint64_t index, uint64_t block, const void *data, void *arg)
{
	struct request *r = arg;

	dump_line(&r->out, "page %" PRIu64 ", block %" PRIu64 ":", index, block);
	dump_dir_page(&r->out, data);
}

static void map_leaf(struct check *c, uint64_t index, uint64_t block, const void *data, void *arg)
{
	struct request *r = arg;

	dump_line(&r->out, "byte %" PRIu64 ": block %" PRIu64, index * BLOCK_SIZE, block);
}

static int do_dir(struct request *r)
{
	struct inode i;
	uint64_t ino, block;
	int err = find_inode(r, &ino, &i, &block);

	if (err)
		return err;
	if (i.type != FS_DIR)
		return wrong(r, -ENOTDIR, "inode %" PRIu64 " is not a directory", ino);
	if (!each_leaf(r->c, NULL, i.root, i.depth, page_leaf, r))
		dump_line(&r->out, "! parts of the directory are damaged");
	return 0;
}

static int do_map(struct request *r)
{
	struct inode i;
	uint64_t ino, block;
	int err = find_inode(r, &ino, &i, &block);

	if (!err && !each_leaf_ptr(r->c, NULL, i.root, i.depth, map_leaf, r))
		dump_line(&r->out, "! parts of its tree are damaged");
	return err;
}

struct pieces { uint8_t bytes[XATTR_BLOCKS_MAX * BLOCK_SIZE]; uint64_t n; };

static void xattr_leaf(struct check *c, uint64_t index, uint64_t block, const void *data, void *arg)
{
	struct pieces *p = arg;

	if (index < XATTR_BLOCKS_MAX)
		memcpy(p->bytes + index * BLOCK_SIZE, data, BLOCK_SIZE);
	if (index < XATTR_BLOCKS_MAX && index >= p->n)
		p->n = index + 1;
}

static int do_xattr(struct request *r)
{
	struct pieces *p;
	struct inode i;
	uint64_t ino, block;
	int err = find_inode(r, &ino, &i, &block);

	if (err)
		return err;
	p = calloc(1, sizeof(*p));
	if (!p)
		return wrong(r, -ENOMEM, "out of memory");
	if (!each_leaf(r->c, NULL, i.xattr_root, i.xattr_depth, xattr_leaf, p))
		dump_line(&r->out, "! parts of its tree are damaged");
	if (p->n)
		dump_xattrs(&r->out, p->bytes, p->n * BLOCK_SIZE);
	else
		dump_line(&r->out, "no extended attributes");
	free(p);
	return 0;
}

/* ---- the words ----------------------------------------------------------------------------- */

static const struct word { const char *word; unsigned min, max; int (*fn)(struct request *r); } words[] = {
	{ "superblock", 0, 0, do_superblock }, { "zone", 1, 1, do_zone }, { "table", 1, 1, do_table },
	{ "block", 1, 2, do_block }, { "volumes", 0, 0, do_volumes }, { "inode", 2, 2, do_inode },
	{ "dir", 2, 2, do_dir }, { "map", 2, 2, do_map }, { "xattr", 2, 2, do_xattr }, { "log", 0, 0, do_log },
	{ "reap", 0, 0, do_reap },
};

/* What is found damaged on the way. */
static void on_finding(void *arg, const char *line)
{
	struct request *r = arg;

	dump_line(&r->out, "! %s", line);
	snprintf(r->why, r->why_len, "%s", line);
}

static int run_word(struct request *r, struct dev *d, const struct word *w)
{
	struct check *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return wrong(r, -ENOMEM, "out of memory");
	*c = (struct check){ .dev = d, .report = on_finding, .arg = r, .memory = 16 << 20 };
	r->c = c;
	err = check_begin(c);
	if (!err)
		err = w->fn(r);
	check_release(c);
	free(c);
	return err;
}

int fs_dump(struct dev *d, const char *const *what, unsigned nargs,
	    void (*line)(void *arg, const char *line), void *arg, char *why, size_t why_len)
{
	struct request *r = aligned_alloc(64, (sizeof(*r) + 63) & ~(size_t)63);
	int err = -EINVAL;

	snprintf(why, why_len, "nothing is known of such a dump");
	if (!r)
		return -ENOMEM;
	*r = (struct request){ .out = { line, arg }, .args = what + 1, .nargs = nargs - 1, .why = why,
			       .why_len = why_len };
	for (unsigned i = 0; nargs && i < sizeof(words) / sizeof(*words); i++)
		if (!strcmp(words[i].word, what[0]) && r->nargs >= words[i].min && r->nargs <= words[i].max)
			err = run_word(r, d, &words[i]);
	free(r);
	return err;
}
