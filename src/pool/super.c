/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Labels: two superblock slots, written in turn, each at the front and at the end of the
 * device.  Ordered by (life, generation).  Both copies of a generation are written before one
 * flush, and nothing that it freed is used again before that flush has completed.
 */
#include "pool/pool_int.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/crc.h"
#include "base/err.h"
#include "base/rng.h"

#define LOG_MIN (1ULL << 20)
#define LOG_MAX (128ULL << 20)
#define FORMAT_CHUNK 1024

uint64_t super_zones(uint64_t nblocks)
{
	return (nblocks + ZONE_BLOCKS - 1) / ZONE_BLOCKS;
}

bool block_is_fixed(const struct superblock *sb, uint64_t b)
{
	return b % ZONE_BLOCKS < ZONE_HEADER_BLOCKS || b + SUPER_END_BLOCKS >= sb->nblocks ||
	       (b >= sb->log_block && b < sb->log_block + sb->log_blocks);
}

uint32_t page_usable(const struct superblock *sb, uint64_t page)
{
	uint64_t first = page * PAGE_ENTRIES, end = first + PAGE_ENTRIES;
	uint32_t n = 0;

	if (page % ZONE_PAGES > ZONE_HEADER_BLOCKS / PAGE_ENTRIES && end + SUPER_END_BLOCKS <= sb->nblocks &&
	    (first >= sb->log_block + sb->log_blocks || end <= sb->log_block))
		return PAGE_ENTRIES;
	for (uint64_t b = first; b < end && b < sb->nblocks; b++)
		n += !block_is_fixed(sb, b);
	return n;
}

static uint32_t zone_usable(const struct superblock *sb, uint64_t zone)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < ZONE_PAGES; i++)
		n += page_usable(sb, zone * ZONE_PAGES + i);
	return n;
}

/* ---- reading --------------------------------------------------------------------------- */

static bool sane(const struct superblock *sb)
{
	return !memcmp(sb->magic, SUPER_MAGIC, 8) && crc32c(0, sb, 4092) == sb->crc;
}

/* The places where a copy may lie; the end is the pool's, which may be a bit before the device's. */
static unsigned places(const struct dev *d, uint64_t ret[8])
{
	uint64_t rem = d->nblocks % ZONE_BLOCKS;
	unsigned n = 0;

	ret[n++] = 0;
	ret[n++] = 1;
	if (d->nblocks > ZONE_HEADER_BLOCKS) {
		ret[n++] = d->nblocks - 2;
		ret[n++] = d->nblocks - 1;
	}
	if (rem && d->nblocks > ZONE_BLOCKS) {
		ret[n++] = d->nblocks - rem - 2;
		ret[n++] = d->nblocks - rem - 1;
	}
	return n;
}

static int usable(const struct superblock *sb, const struct dev *d, char *why, size_t len)
{
	uint64_t unknown = sb->incompat & ~POOL_INCOMPAT;

	if (sb->version != SUPER_VERSION || unknown || sb->block_size != BLOCK_SIZE) {
		snprintf(why, len, "%s: a pool of a newer format (version %u, features %#llx); "
			 "open it with a newer pandod", d->name, sb->version,
			 (unsigned long long)unknown);
		return -EFORMAT;
	}
	if (sb->nblocks > d->nblocks) {
		snprintf(why, len, "%s: truncated: the pool has %llu bytes, the device only %llu; "
			 "restore its full length from a copy", d->name,
			 (unsigned long long)sb->nblocks * BLOCK_SIZE,
			 (unsigned long long)d->nblocks * BLOCK_SIZE);
		return -EFORMAT;
	}
	if (sb->ndirs != (super_zones(sb->nblocks) + DIR_ZONES - 1) / DIR_ZONES || sb->ndirs > DIRS_MAX ||
	    sb->log_blocks < 16 || sb->log_offset >= sb->log_blocks * BLOCK_SIZE) {
		snprintf(why, len, "%s: the superblock contradicts itself; run 'pando pool check'",
			 d->name);
		return -EFORMAT;
	}
	if (sb->log_blocks > sb->nblocks || sb->log_block > sb->nblocks - sb->log_blocks) {
		snprintf(why, len, "%s: the superblock contradicts itself: its log lies outside of the pool; "
			 "run 'pando pool check'", d->name);
		return -EFORMAT;
	}
	return 0;
}

int super_read(struct dev *d, struct superblock *ret, char *why, size_t why_len)
{
	struct superblock *sb, *best;
	uint64_t at[8];
	unsigned n = places(d, at);
	bool found = false;
	int err = 0, last = 0;

	if (posix_memalign((void **)&sb, BLOCK_SIZE, 2 * BLOCK_SIZE))
		return -ENOMEM;
	best = sb + 1;
	for (unsigned i = 0; i < n; i++) {
		if (at[i] >= d->nblocks)
			continue;
		err = dev_read(d, at[i], sb, 1);
		if (err) {
			last = err;
			continue;
		}
		if (!sane(sb))
			continue;
		if (!found || sb->life > best->life ||
		    (sb->life == best->life && sb->generation > best->generation))
			*best = *sb;
		found = true;
	}
	if (!found && last) {
		snprintf(why, why_len, "%s: %s", d->name, err_text(last));
		err = last;
	} else if (!found) {
		snprintf(why, why_len, "%s: not a pool (no superblock); make one with 'pando pool create'",
			 d->name);
		err = -EFORMAT;
	} else {
		err = usable(best, d, why, why_len);
		if (!err)
			*ret = *best;
	}
	free(sb);
	return err;
}

/* ---- writing --------------------------------------------------------------------------- */

/* SB is aligned. */
static int write_copies(struct dev *d, struct superblock *sb)
{
	unsigned slot = sb->generation & 1;
	int err;

	sb->crc = crc32c(0, sb, 4092);
	err = dev_write(d, slot, sb, 1);
	if (!err)
		err = dev_write(d, sb->nblocks - SUPER_END_BLOCKS + slot, sb, 1);
	return err;
}

/* A copy of the newest superblock that was torn, or can't be read, is written again; the good one is
 * left alone. */
int super_mend(struct pool *p)
{
	unsigned slot = p->sb.generation & 1;
	uint64_t at[2] = { slot, p->sb.nblocks - SUPER_END_BLOCKS + slot };
	struct superblock *buf;
	int err = 0;

	if (posix_memalign((void **)&buf, BLOCK_SIZE, BLOCK_SIZE))
		return -ENOMEM;
	for (int i = 0; i < 2 && !err; i++) {
		if (!dev_read(p->dev, at[i], buf, 1) && !memcmp(buf, &p->sb, sizeof(*buf)))
			continue;
		*buf = p->sb;
		err = dev_write(p->dev, at[i], buf, 1);
		if (!err)
			err = dev_flush(p->dev);
	}
	free(buf);
	return err;
}

int super_write(struct pool *p, struct superblock *sb)
{
	int err;

	for (unsigned tries = 1; ; tries++) {
		p->writes_begun++;
		err = write_copies(p->dev, sb);
		p->writes_ended++;
		if (!err || tries == WRITE_TRIES || p->dead || p->readonly)
			break;
		p->stat.io_errors++;
		loop_sleep_ns(WRITE_PAUSE_NS);
	}
	return err ? err : pool_flush(p);
}

/* ---- making a pool --------------------------------------------------------------------- */

static void random_bytes(void *buf, size_t len, uint64_t seed, uint8_t what)
{
	unsigned char key[randombytes_SEEDBYTES] = { what };

	if (!seed) {
		secure_random(buf, len);
		return;
	}
	memcpy(key + 1, &seed, 8);
	randombytes_buf_deterministic(buf, len, key);
}

static int write_zeros(struct dev *d, uint64_t block, uint64_t n)
{
	uint8_t *zero;
	int err = 0;

	if (posix_memalign((void **)&zero, BLOCK_SIZE, FORMAT_CHUNK * BLOCK_SIZE))
		return -ENOMEM;
	memset(zero, 0, FORMAT_CHUNK * BLOCK_SIZE);
	for (uint64_t i = 0; i < n && !err; i += FORMAT_CHUNK)
		err = dev_write(d, block + i, zero, n - i < FORMAT_CHUNK ? n - i : FORMAT_CHUNK);
	free(zero);
	return err;
}

/* Where a pool that was larger had its labels: they would be newer than this one's. */
static int wipe_others(struct dev *d, uint64_t nblocks)
{
	uint64_t at[8];
	unsigned n = places(d, at);
	int err = 0;

	for (unsigned i = 0; i < n && !err; i++)
		if (at[i] >= nblocks)
			err = write_zeros(d, at[i], 1);
	return err;
}

static int write_dirs(struct dev *d, struct superblock *sb)
{
	struct dir_entry *dir;
	int err = 0;

	if (posix_memalign((void **)&dir, BLOCK_SIZE, DIR_PAGE_BLOCKS * BLOCK_SIZE))
		return -ENOMEM;
	for (unsigned k = 0; k < sb->ndirs && !err; k++) {
		memset(dir, 0, DIR_PAGE_BLOCKS * BLOCK_SIZE);
		for (unsigned i = 0; i < DIR_ZONES; i++) {
			uint64_t zone = k * DIR_ZONES + i;

			dir[i].slot = SLOT_NONE;
			if (zone < super_zones(sb->nblocks))
				dir[i].free = zone_usable(sb, zone);
		}
		sb->dirs[k].crc = crc32c(0, dir, DIR_PAGE_BLOCKS * BLOCK_SIZE);
		sb->dirs[k].slot = 0;
		err = dev_write(d, (uint64_t)k * DIR_ZONES * ZONE_BLOCKS + ZONE_DIR, dir, DIR_PAGE_BLOCKS);
	}
	free(dir);
	return err;
}

static uint64_t log_size(uint64_t nblocks, uint64_t asked)
{
	uint64_t bytes = asked;

	if (!bytes) {
		bytes = nblocks * BLOCK_SIZE / 64;
		bytes = bytes < LOG_MIN ? LOG_MIN : bytes > LOG_MAX ? LOG_MAX : bytes;
	}
	return (bytes + BLOCK_SIZE - 1) / BLOCK_SIZE;
}

int pool_format(struct dev *d, const struct pool_format_opts *o)
{
	struct superblock *sb;
	static const uint8_t none[16];
	uint64_t n = o->nblocks ? o->nblocks : d->nblocks, rem;
	int err;

	if (posix_memalign((void **)&sb, BLOCK_SIZE, sizeof(*sb)))
		return -ENOMEM;
	memset(sb, 0, sizeof(*sb));
	rem = n % ZONE_BLOCKS;
	if (n > ZONE_BLOCKS && rem && rem < ZONE_HEADER_BLOCKS + 64)
		n -= rem;
	memcpy(sb->magic, SUPER_MAGIC, 8);
	sb->version = SUPER_VERSION;
	sb->block_size = BLOCK_SIZE;
	sb->nblocks = n;
	sb->log_block = ZONE_HEADER_BLOCKS;
	sb->log_blocks = log_size(n, o->log_bytes);
	sb->ndirs = (super_zones(n) + DIR_ZONES - 1) / DIR_ZONES;
	if (n > d->nblocks || n < 4096 || sb->log_blocks < 64 || sb->log_block + sb->log_blocks > n / 2 + ZONE_HEADER_BLOCKS ||
	    sb->log_blocks > ZONE_BLOCKS / 2 || sb->ndirs > DIRS_MAX) {
		free(sb);
		return n > d->nblocks || n < 4096 ? -ENOSPC : -EINVAL;
	}
	memcpy(sb->uuid, o->uuid, 16);
	if (!memcmp(o->uuid, none, 16))
		random_bytes(sb->uuid, 16, o->seed, 1);
	random_bytes(sb->secret, 16, o->seed, 2);
	sb->generation = 1;
	sb->life = 1;
	sb->log_life = 1;
	sb->log_seq = (1ULL << EVENT_LIFE_SHIFT) + 1;
	err = write_zeros(d, 0, ZONE_HEADER_BLOCKS);
	if (!err)
		err = write_zeros(d, n - SUPER_END_BLOCKS, SUPER_END_BLOCKS);
	if (!err)
		err = wipe_others(d, n);
	if (!err)
		err = write_zeros(d, sb->log_block, sb->log_blocks);
	if (!err)
		err = write_dirs(d, sb);
	if (!err)
		err = dev_flush(d);
	if (!err)
		err = write_copies(d, sb);
	if (!err)
		err = dev_flush(d);
	free(sb);
	return err;
}
