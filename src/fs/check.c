/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs_check(): the superblocks, the order of the passes, and how findings are said.
 * See check_int.h for what is where.
 */
#include "fs/check_int.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/crc.h"

/* ---- findings ------------------------------------------------------------------------- */

void finding(struct check *c, const char *fmt, ...)
{
	char line[1500];
	va_list ap;

	if (c->quiet)
		return;
	if (c->findings++ >= FINDINGS_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	c->report(c->arg, line);
}

const char *quoted(const char *s, size_t len)
{
	static char bufs[4][4 * 256 + 4];
	static unsigned turn;
	char *buf = bufs[turn++ % 4];
	size_t n = 0;

	buf[n++] = '\'';
	for (size_t i = 0; i < len && i < 256 && s[i]; i++) {
		unsigned char ch = s[i];

		if (ch < ' ' || ch == 0x7f || ch == '\\' || ch == '\'')
			n += snprintf(buf + n, 5, "\\x%02x", ch);
		else
			buf[n++] = ch;
	}
	buf[n++] = '\'';
	buf[n] = 0;
	return buf;
}

const char *volume_text(struct check *c, const struct check_volume *v)
{
	static char bufs[2][600];
	static unsigned turn;
	char *buf = bufs[turn++ % 2], both[2 * FS_VOLUME_NAME_MAX + 2];
	const struct check_volume *of = NULL;

	for (uint64_t i = 0; i < c->nvolumes && v->rec.parent; i++)
		if (c->volumes[i].place + 1 == v->rec.parent)
			of = &c->volumes[i];
	if (!of) {
		snprintf(buf, sizeof(bufs[0]), "volume %s", quoted(v->rec.name, FS_VOLUME_NAME_MAX));
		return buf;
	}
	snprintf(both, sizeof(both), "%.*s@%.*s", FS_VOLUME_NAME_MAX, of->rec.name, FS_VOLUME_NAME_MAX,
		 v->rec.name);
	snprintf(buf, sizeof(bufs[0]), "snapshot %s", quoted(both, sizeof(both)));
	return buf;
}

const char *where_text(struct check *c, const struct where *w)
{
	static char bufs[2][900];
	static unsigned turn;
	char *buf = bufs[turn++ % 2], path[600];
	struct check_volume *v;

	buf[0] = 0;
	if (c->quiet || c->findings >= FINDINGS_MAX)
		return buf;
	if (w->reap && w->entry) {
		snprintf(buf, sizeof(bufs[0]), "reap list, entry %" PRIu64, w->entry - 1);
		return buf;
	}
	if (!w->volume) {
		snprintf(buf, sizeof(bufs[0]), w->reap ? "reap list" : "volume table");
		return buf;
	}
	v = &c->volumes[w->volume - 1];
	if (!w->ino) {
		snprintf(buf, sizeof(bufs[0]), "%.600s, inode file", volume_text(c, v));
		return buf;
	}
	path_text(c, v, w->ino, path, sizeof(path));
	snprintf(buf, sizeof(bufs[0]), "%.260s, inode %" PRIu64 "%s%s", volume_text(c, v), w->ino, path,
		 w->xattr ? ", extended attributes" : "");
	return buf;
}

/* ---- memory --------------------------------------------------------------------------- */

bool grow(struct check *c, void *array, uint64_t n, uint64_t *cap, size_t size)
{
	void **p = array, *more;
	uint64_t want;

	if (n < *cap)
		return true;
	want = *cap ? *cap + *cap / 2 + 1 : 16;
	more = realloc(*p, want * size);
	if (!more) {
		c->err = -ENOMEM;
		return false;
	}
	*p = more;
	*cap = want;
	return true;
}

void *frame_push(struct check *c)
{
	assert(c->nframes < FRAMES);
	return c->frames + (size_t)c->nframes++ * BLOCK_SIZE;
}

void frame_pop(struct check *c)
{
	assert(c->nframes);
	c->nframes--;
}

/* ---- superblocks ------------------------------------------------------------------------ */

struct copy { uint64_t block; int slot; bool valid; struct superblock sb; };

static bool super_valid(const struct superblock *sb)
{
	return !memcmp(sb->magic, SUPER_MAGIC, sizeof(sb->magic)) &&
	       sb->crc == crc32c(0, sb, offsetof(struct superblock, crc));
}

static bool newer(const struct superblock *a, const struct superblock *b)
{
	return a->life != b->life ? a->life > b->life : a->generation > b->generation;
}

static bool same(const struct superblock *a, const struct superblock *b)
{
	return a->life == b->life && a->generation == b->generation;
}

static void copy_read(struct check *c, struct copy *k, uint64_t block, int slot)
{
	int err;
	const void *p = read_block(c, block, &err);

	k->block = block;
	k->slot = slot;
	k->valid = false;
	if (!p)
		return;
	memcpy(&k->sb, p, BLOCK_SIZE);
	k->valid = super_valid(&k->sb);
}

/* What the slot had before the newest generation: where a crash came between the writes of its two copies. */
static bool overtaken(const struct superblock *sb, const struct superblock *newest)
{
	return sb->generation + 2 == newest->generation && sb->life <= newest->life;
}

/*
 * Both copies of the newest generation must be there, or one and what it was to replace.  The older slot may hold anything: the
 * next checkpoint overwrites it, and a crash leaves it torn.
 */
static void supers_check(struct check *c, struct copy *k)
{
	int slot = -1;

	for (unsigned i = 0; i < 4; i++)
		copy_read(c, &k[i], i < 2 ? i : c->sb.nblocks - SUPER_END_BLOCKS + i - 2, i & 1);
	for (unsigned i = 0; i < 4; i++) {
		if (k[i].valid && same(&k[i].sb, &c->sb))
			slot = k[i].slot;
		if (k[i].valid && newer(&k[i].sb, &c->sb))
			finding(c,
				"superblock at block %" PRIu64
				": of a newer generation than the one "
				"that would be opened",
				k[i].block);
		if (!k[i].valid || !memcmp(k[i].sb.uuid, c->sb.uuid, sizeof(c->sb.uuid)))
			continue;
		finding(c, "superblock at block %" PRIu64 ": of another pool", k[i].block);
		fix_add(c, &(struct fix){ .kind = FIX_OPEN });
	}
	for (unsigned i = 0; i < 4; i++) {
		if (k[i].slot != slot)
			continue;
		if (!k[i].valid)
			finding(c,
				"superblock at block %" PRIu64
				": damaged; opening the pool rewrites it "
				"from the other copy",
				k[i].block);
		else if (!memcmp(&k[i].sb, &c->sb, BLOCK_SIZE) || overtaken(&k[i].sb, &c->sb))
			continue;
		else
			finding(c,
				"superblock at block %" PRIu64
				": differs from the other copy; opening "
				"the pool rewrites it",
				k[i].block);
		fix_add(c, &(struct fix){ .kind = FIX_OPEN });
	}
}

/* What the rest relies on: NULL, or why the pool can't be looked at. */
static const char *geometry_wrong(const struct superblock *sb)
{
	uint64_t zones = sb->nblocks / ZONE_BLOCKS + (sb->nblocks % ZONE_BLOCKS != 0);

	if (sb->block_size != BLOCK_SIZE)
		return "its blocks are not of 4096 bytes";
	if (sb->nblocks < FS_MIN_BLOCKS || zones > (uint64_t)DIRS_MAX * DIR_ZONES)
		return "its size is impossible";
	if (sb->ndirs != (zones + DIR_ZONES - 1) / DIR_ZONES)
		return "it has the wrong number of directory pages for its size";
	if (sb->log_block < ZONE_HEADER_BLOCKS || !sb->log_blocks || sb->log_blocks > ZONE_BLOCKS ||
	    sb->log_block > ZONE_BLOCKS || sb->log_block + sb->log_blocks > ZONE_BLOCKS ||
	    sb->log_block + sb->log_blocks > sb->nblocks - SUPER_END_BLOCKS)
		return "its log lies outside of the first zone";
	return NULL;
}

static int begin(struct check *c)
{
	char why[200] = "", line[700];
	const char *wrong = NULL;
	int err = super_read(c->dev, &c->sb, why, sizeof(why));

	if (!err) {
		wrong = geometry_wrong(&c->sb);
		if (!wrong && c->sb.nblocks > c->dev->nblocks)
			wrong = "the device is shorter than the pool: it was cut off";
		if (!wrong)
			return 0;
		err = -EFORMAT;
		snprintf(line, sizeof(line), "%s: %s; nothing can be checked", c->dev->name, wrong);
	} else {
		snprintf(line, sizeof(line), "%s", why[0] ? why : err_text(err));
	}
	c->report(c->arg, line);
	return err;
}

static void super_check(struct check *c)
{
	struct copy *k = calloc(4, sizeof(*k));

	if (!k) {
		c->err = -ENOMEM;
		return;
	}
	supers_check(c, k);
	free(k);
	if (c->sb.log_seq > c->sb.last_event + 1 && c->sb.log_seq >> EVENT_LIFE_SHIFT > c->sb.life)
		finding(c, "superblock: the log begins in life %" PRIu64 ", which is still to come",
			c->sb.log_seq >> EVENT_LIFE_SHIFT);
}

/* ---- all of it ------------------------------------------------------------------------ */

/* In this order.  Each goes on where the one before it has found damage. */
static void (*const passes[])(struct check *c) = {
	super_check, table_pass, volumes_pass, tree_pass, table_compare, counts_pass, bad_sort,
	owner_pass, bad_report, log_check,
};

static int prepare(struct check *c)
{
	int err = read_init(c);

	if (!err)
		err = counts_init(c);
	return err ? err : nodes_init(c);
}

void check_release(struct check *c)
{
	table_release(c);
	volumes_release(c);
	nodes_release(c);
	counts_release(c);
	read_release(c);
	free(c->bad);
	fixes_release(c);
}

static void report_rest(struct check *c)
{
	char line[80];

	if (c->findings <= FINDINGS_MAX)
		return;
	snprintf(line, sizeof(line), "%" PRIu64 " more findings", c->findings - FINDINGS_MAX);
	c->report(c->arg, line);
}

int check_begin(struct check *c)
{
	int err = begin(c);

	if (!err)
		err = read_init(c);
	if (!err)
		table_pass(c);
	return err ? err : c->err;
}

int64_t check_run(struct check *c)
{
	int64_t ret = begin(c);

	if (!ret)
		ret = prepare(c);
	if (ret) {
		if (ret == -ENOMEM)
			c->report(c->arg, "the check needs more memory than there is");
		return ret;
	}
	for (unsigned i = 0; i < sizeof(passes) / sizeof(*passes) && !c->err; i++)
		passes[i](c);
	report_rest(c);
	if (c->err)
		c->report(c->arg, "the check could not be finished: out of memory");
	return c->err ? c->err : (int64_t)c->findings;
}

static void report_nothing(void *arg, const char *line)
{
}

int64_t fs_check_with(struct dev *d, const struct fs_check_opts *o,
		      void (*report)(void *arg, const char *line), void *arg,
		      struct fs_check_stats *ret_stats)
{
	struct check *c;
	int64_t ret;

	if (!report)
		report = report_nothing;	/* only the number is wanted */
	if (o && o->repair)
		return check_and_mend(d, o, report, arg, ret_stats);
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->dev = d;
	c->report = report;
	c->arg = arg;
	c->memory = o && o->memory ? o->memory : FS_CHECK_MEMORY;
	ret = check_run(c);
	c->stats.findings = c->findings;
	if (ret_stats && ret >= 0)
		*ret_stats = c->stats;
	check_release(c);
	free(c);
	return ret;
}

int64_t fs_check(struct dev *d, void (*report)(void *arg, const char *line), void *arg,
		 struct fs_check_stats *ret_stats)
{
	return fs_check_with(d, NULL, report, arg, ret_stats);
}
