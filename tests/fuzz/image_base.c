/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool that is damaged: volumes, directories of several levels, trees of each depth, clones of
 * files and of ranges, holes, attributes, links, files without a name; a reap list; and a log with a
 * record of each type.  4096 blocks, so that one zone, and one block of the table's summary, hold all.
 */
#include "image.h"

#include "base/loop.h"
#include "pool/pool_int.h"

static struct image base;

#define must(expr) do { int rc_ = (expr); \
	fuzz_check(!rc_, "image_base.c:%d: %s: %d", __LINE__, #expr, rc_); } while (0)

/* ---- its content ------------------------------------------------------------------------------ */

struct maker { struct fs *fs; struct fs_req req; struct fs_volume_info a, b; struct dev *d; };

static struct fs_name name(const char *s) { return (struct fs_name){ s, strlen(s) }; }

static struct fs_id make(struct maker *m, struct fs_id dir, const char *s, enum fs_type type)
{
	struct fs_create how = { .type = type, .how = FS_CREATE_GUARDED, .target = s };
	struct fs_attr a;

	must(fs_create(&m->req, dir, name(s), &how, &a, NULL));
	return a.id;
}

static void fill_with(struct maker *m, struct fs_id id, uint64_t offset, uint32_t len, uint64_t seed)
{
	static uint8_t buf[256 << 10];
	struct iovec iov = { buf, len };

	for (uint32_t i = 0; i < len; i++)
		buf[i] = (i * 40503u + seed) >> 3 | 1;
	must(fs_write(&m->req, id, offset, &iov, 1, len, true, NULL));
}

static void fill(struct maker *m, struct fs_id id, uint64_t offset, uint32_t len)
{
	fill_with(m, id, offset, len, offset + id.ino);
}

static void xattr(struct maker *m, struct fs_id id, const char *s, uint32_t len)
{
	static uint8_t value[FS_XATTR_VALUE_MAX];

	memset(value, 'v', len);
	must(fs_xattr_set(&m->req, id, name(s), value, len, FS_XATTR_EITHER, NULL));
}

static void clone_as(struct maker *m, struct fs_id src, struct fs_id dir, const char *s)
{
	struct fs_name n = name(s);
	struct fs_attr a;

	must(fs_clone(&m->req, src, dir, &n, 1, NULL, &a));
}

/* Two levels of pages, some of them free again; and free inodes. */
static void make_wide(struct maker *m, struct fs_id root, struct fs_id src)
{
	enum { N = 60 };
	static char buf[N][FS_NAME_MAX + 1];
	struct fs_id dir = make(m, root, "wide", FS_DIR);
	struct fs_name names[N];

	for (int i = 0; i < N; i++) {
		memset(buf[i], 'n', 250);
		snprintf(buf[i] + 250, 5, "%03d", i);
		names[i] = name(buf[i]);
	}
	must(fs_clone(&m->req, src, dir, names, N, NULL, NULL));
	for (int i = 0; i < N; i++)
		if (i % 7)
			must(fs_remove(&m->req, dir, names[i], NULL));
}

static void make_sparse(struct maker *m, struct fs_id root)
{
	static const uint64_t ends[] = { 0, 5 << 20, 3ULL << 30, 1ULL << 40, 1ULL << 50,
					 FS_MAX_SIZE - 8192 };
	static const char *const names[] = { "d0", "d1", "d2", "d3", "d4", "d5" };
	struct fs_id id;

	for (int i = 0; i < 6; i++) {
		id = make(m, root, names[i], FS_REG);
		for (int k = 0; k <= i; k++)
			fill(m, id, ends[k], 5000);
	}
	clone_as(m, id, root, "copy");
	fill(m, id, ends[2], 100);
	id = make(m, root, "ranges", FS_REG);
	fill(m, id, 0, 60000);
	must(fs_clone_range(&m->req, id, 0, id, 8 << 20, 40960, NULL));
	must(fs_clone_range(&m->req, id, 0, id, 2 << 20, 8192, NULL));
}

static void make_others(struct maker *m, struct fs_id root)
{
	struct fs_create link = { .type = FS_LNK, .how = FS_CREATE_GUARDED };
	struct fs_id dir = root, id;
	char target[300];
	struct fs_attr a;

	for (int i = 0; i < 5; i++)
		dir = make(m, dir, "sub", FS_DIR);
	id = make(m, dir, "file", FS_REG);
	fill(m, id, 0, 3000);
	xattr(m, id, "user", 20);
	xattr(m, id, "other", 9);
	xattr(m, dir, "large", 60000);
	must(fs_link(&m->req, id, root, name("linked"), false, NULL, NULL));
	make(m, root, "fifo", FS_FIFO);
	make(m, root, "short", FS_LNK);
	memset(target, 't', 299);
	target[299] = 0;
	link.target = target;
	must(fs_create(&m->req, root, name("long"), &link, &a, NULL));
	must(fs_create_unnamed(&m->req, m->a.id, 0600, &a));
	fill(m, a.id, 0, 5000);
	must(fs_create_unnamed(&m->req, m->a.id, 0600, &a));
	must(fs_system_dir(&m->req, "clients", &id));
}

/* What is on the reap list: a file, a file with shared blocks, a volume. */
static void make_garbage(struct maker *m, struct fs_id root)
{
	struct fs_volume_info v;
	struct fs_id id = make(m, root, "gone", FS_REG);

	fill(m, id, 0, 100000);
	fill(m, id, 4ULL << 30, 4096);
	clone_as(m, id, root, "kept");
	must(fs_checkpoint(m->fs));
	fill(m, id, 8192, 4096);
	must(fs_volume_create(&m->req, "lost", &v));
	make(m, v.root, "x", FS_DIR);
	must(fs_checkpoint(m->fs));
	must(fs_remove(&m->req, root, name("gone"), NULL));
	must(fs_volume_destroy(&m->req, "lost"));
}

/* A job that is in the middle when all ends: its records are in the log. */
static void start_job(struct maker *m, struct fs_id root)
{
	struct fs_dedup_status st;

	fill_with(m, make(m, root, "equal", FS_REG), 1 << 20, 20000, 1);
	fill_with(m, make(m, root, "equal too", FS_REG), 1 << 20, 20000, 1);
	must(fs_dedup_start(m->fs, "a", 20000));
	do {
		loop_sleep_ns(1000000);
		fs_dedup_status(m->fs, &st);
	} while (!st.freed_bytes && st.running);
}

/* Once in the record, once named by it. */
static void write_equal(struct maker *m, struct fs_id root)
{
	must(fs_volume_set_dedup(&m->req, "a", true));
	fill_with(m, make(m, root, "known", FS_REG), 0, 81920, 2);
	fill_with(m, make(m, root, "known too", FS_REG), 0, 81920, 2);
	fill_with(m, make(m, root, "known also", FS_REG), 4096, 9000, 2);
	must(fs_volume_set_dedup(&m->req, "a", false));
}

/* A record of each type; what they do is not in the checkpoint. */
static void make_log(struct maker *m, struct fs_id root)
{
	struct fs_setattr set = { .mask = FS_SET_MODE | FS_SET_SIZE, .mode = 0600, .size = 70000 };
	struct fs_id dir = make(m, root, "new", FS_DIR), id = make(m, dir, "f", FS_REG);
	struct fs_volume_info v;
	struct fs_attr a;

	fill(m, id, 100, 2000);
	fill(m, id, 1 << 20, 70000);
	must(fs_setattr(&m->req, id, &set, NULL));
	must(fs_punch(&m->req, id, 0, 9000, NULL));
	xattr(m, id, "in the log", 5000);
	must(fs_xattr_remove(&m->req, id, name("in the log"), NULL));
	clone_as(m, id, dir, "g");
	must(fs_clone_range(&m->req, id, 0, id, 1 << 20, 8192, NULL));
	must(fs_rename(&m->req, dir, name("g"), root, name("moved"), NULL, NULL));
	must(fs_link(&m->req, id, dir, name("h"), false, NULL, NULL));
	must(fs_remove(&m->req, dir, name("f"), NULL));
	must(fs_create_unnamed(&m->req, m->a.id, 0600, &a));
	must(fs_forget(&m->req, a.id));
	must(fs_volume_create(&m->req, "late", &v));
	must(fs_volume_set(&m->req, "late", "* ro", 100));
	must(fs_volume_destroy(&m->req, "late"));
	must(fs_snapshot_create(&m->req, "b", "snap", NULL));
	must(fs_volume_clone(&m->req, "b", "snap", "b2", NULL));
	must(fs_volume_restore(&m->req, "b", "snap", true));
	must(fs_snapshot_destroy(&m->req, "b", "snap"));
	write_equal(m, root);
	make(m, root, "last", FS_REG);
	must(fs_wait_stable(m->fs, fs_last_seq(m->fs)));
}

static void make_content(struct maker *m)
{
	struct fs_dedup_status st;
	struct fs_id root, id;

	must(fs_volume_create(&m->req, "a", &m->a));
	must(fs_volume_create(&m->req, "b", &m->b));
	root = m->a.root;
	id = make(m, root, "golden", FS_REG);
	fill(m, id, 0, 30000);
	xattr(m, id, "shared", 5000);
	make_wide(m, root, id);
	make_sparse(m, root);
	make_others(m, root);
	clone_as(m, make(m, m->b.root, "f", FS_REG), m->b.root, "g");
	must(fs_snapshot_create(&m->req, "a", "old", NULL));
	must(fs_volume_clone(&m->req, "b", NULL, "copy", NULL));
	make_garbage(m, root);
	must(fs_checkpoint(m->fs));
	start_job(m, root);
	make_log(m, root);
	fs_dedup_status(m->fs, &st);
	fuzz_check(st.running, "the job is over, and its records are no longer in the log");
}

/* ---- which block is what -------------------------------------------------------------------------- */

static void get(uint64_t block, void *buf) { dev_sim_image_read(base.disk, block, buf); }

static bool known(enum image_class c, uint64_t block)
{
	for (unsigned i = 0; i < base.n[c]; i++)
		if (base.at[c][i] == block)
			return true;
	return false;
}

/* False: it was known, or there are too many. */
static bool add(enum image_class c, uint64_t block)
{
	if (base.n[c] == IMAGE_CLASS_MAX || known(c, block))
		return false;
	base.at[c][base.n[c]++] = block;
	return true;
}

static void walk(uint64_t ptr, unsigned level, enum image_class leaf);

static void walk_leaf(uint64_t block, enum image_class c)
{
	union { struct inode inodes[INODES_PER_BLOCK]; struct volume volumes[VOLUMES_PER_BLOCK];
		struct reap_entry reap[1]; uint8_t bytes[BLOCK_SIZE]; } *u;

	if (!add(c, block) || (c != IM_INODES && c != IM_VOLUMES))
		return;
	u = malloc(sizeof(*u));
	get(block, u);
	for (unsigned i = 0; c == IM_INODES && i < INODES_PER_BLOCK; i++) {
		const struct inode *in = &u->inodes[i];

		walk(in->root, in->depth, in->type == FS_DIR ? IM_DIR : IM_DATA);
		walk(in->xattr_root, in->xattr_depth, IM_XATTR);
	}
	for (unsigned i = 0; c == IM_VOLUMES && i < VOLUMES_PER_BLOCK; i++)
		walk(u->volumes[i].inodes_root, u->volumes[i].inodes_depth, IM_INODES);
	free(u);
}

static void walk(uint64_t ptr, unsigned level, enum image_class leaf)
{
	uint64_t *slots, block = ptr & PTR_BLOCK_MASK;

	if (!block)
		return;
	if (!level) {
		walk_leaf(block, leaf);
		return;
	}
	if (!add(IM_INDEX, block))
		return;
	slots = malloc(BLOCK_SIZE);
	get(block, slots);
	for (unsigned i = 0; i < INDEX_SLOTS; i++)
		walk(slots[i], level - 1, leaf);
	free(slots);
}

uint64_t image_table_of(const struct image *im, uint64_t block)
{
	uint64_t page = block / PAGE_ENTRIES;

	return im->pages[page].slot > 1 ? 0 : ZONE_TABLE + 2 * page + im->pages[page].slot;
}

static void map_tables(void)
{
	struct dir_entry *dir = malloc(BLOCK_SIZE);

	base.zones = ZONE_DIR + DIR_PAGE_BLOCKS * base.sb.dirs[0].slot;
	get(base.zones, dir);
	base.summary = ZONE_SUMMARY + dir[0].slot;
	free(dir);
	get(base.summary, base.pages);
	add(IM_SUPER, base.sb.generation & 1);
	add(IM_ZONES, base.zones);
	add(IM_SUMMARY, base.summary);
	for (uint64_t b = 0; b < IMAGE_BLOCKS; b += PAGE_ENTRIES)
		if (image_table_of(&base, b))
			add(IM_TABLE, image_table_of(&base, b));
}

static void map_log(void)
{
	uint64_t first = base.sb.log_offset / BLOCK_SIZE, pos = base.sb.log_offset % BLOCK_SIZE;
	uint64_t seq = base.sb.log_seq;

	base.log_bytes = IMAGE_LOG_MAX;
	fuzz_check(first + IMAGE_LOG_MAX / BLOCK_SIZE <= base.sb.log_blocks, "the base's log is too short");
	base.log = malloc(IMAGE_LOG_MAX);
	for (uint64_t i = 0; i < IMAGE_LOG_MAX / BLOCK_SIZE; i++)
		get(base.sb.log_block + first + i, base.log + i * BLOCK_SIZE);
	while (pos < IMAGE_LOG_MAX) {
		const struct log_record *r = (const struct log_record *)(base.log + pos);

		if (r->magic == LOG_MAGIC && r->seq == seq && base.n[IM_LOG] < IMAGE_RECORDS) {
			base.records[base.n[IM_LOG]++] = pos;
			pos += r->len;
			base.log_end = pos;
			seq++;
		} else {
			pos = (pos / BLOCK_SIZE + 1) * BLOCK_SIZE;
		}
	}
}

/* ---- making it -------------------------------------------------------------------------------------- */

static void newest_super(struct superblock *ret)
{
	struct superblock *sb = malloc(sizeof(*sb));

	get(0, ret);
	get(1, sb);
	if (sb->life > ret->life || (sb->life == ret->life && sb->generation > ret->generation))
		*ret = *sb;
	free(sb);
}

const struct image *image_base(void)
{
	struct dev_sim_opts disk = { .nblocks = IMAGE_BLOCKS, .seed = 1 };
	struct fs_config cfg = { .cache_bytes = 16 << 20, .no_background = true, .seed = 1 };
	struct fs_format_opts format = { .uuid = "a pool to damage", .log_bytes = 2 << 20 };
	struct maker *m;

	if (base.disk)
		return &base;
	m = calloc(1, sizeof(*m));
	must(dev_sim_new(&disk, &m->d));
	must(fs_format(m->d, &format));
	must(fs_open(m->d, &cfg, &m->fs, NULL, 0));
	fs_req_admin(&m->req, m->fs);
	make_content(m);
	base.disk = dev_sim_crash_image(m->d, DEV_SIM_CUT_KEEP, 1, NULL);
	fs_abandon(m->fs);
	fuzz_check(!fs_check(m->d, NULL, NULL, NULL), "the base is not sound");
	dev_close(m->d);
	free(m);
	newest_super(&base.sb);
	map_tables();
	map_log();
	walk(base.sb.volumes.ptr, base.sb.volumes.depth, IM_VOLUMES);
	walk(base.sb.reap.ptr, base.sb.reap.depth, IM_REAP);
	for (unsigned c = 0; c < IM_CLASSES; c++)
		fuzz_check(base.n[c], "the base has nothing of class %u", c);
	return &base;
}
