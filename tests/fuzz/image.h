/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small sound pool with something of everything in it, and an editor that damages it: whatever is
 * changed, the checksums above are put right again, so that what lies behind them is reached.
 *
 *     image_base.c   the pool, and which of its blocks is what
 *     image_edit.c   changes, and the checksums after them
 *     image_use.c    what is done with a pool, damaged or not
 */
#ifndef TESTS_FUZZ_IMAGE_H
#define TESTS_FUZZ_IMAGE_H

#include "dev/dev_sim.h"
#include "fs/format.h"
#include "fs/fs.h"
#include "fuzz.h"

enum image_class {
	IM_SUPER, IM_ZONES, IM_SUMMARY, IM_TABLE, IM_LOG, IM_VOLUMES, IM_INODES, IM_INDEX, IM_DIR,
	IM_XATTR, IM_REAP, IM_DATA, IM_CLASSES,
};
#define IMAGE_BLOCKS 4096
#define IMAGE_CLASS_MAX 400		/* blocks of one class that are known */
#define IMAGE_LOG_MAX (192 * BLOCK_SIZE)
#define IMAGE_RECORDS 128

struct image {
	struct dev_sim_image *disk;
	struct superblock sb;
	struct summary_entry pages[ZONE_PAGES];
	uint64_t summary, zones;	/* blocks: the slots that count */
	uint64_t at[IM_CLASSES][IMAGE_CLASS_MAX];
	unsigned n[IM_CLASSES];		/* of IM_LOG: records */
	uint8_t *log;			/* the ring from the superblock's record on; not wrapped */
	uint64_t log_bytes, log_end;	/* whole blocks; behind the last record */
	uint32_t records[IMAGE_RECORDS];
};

/* Made once, and the same each time.  In a fiber. */
const struct image *image_base(void);
/* The block of the table page that BLOCK's entry is in; 0: it has none, and no pointer leads to BLOCK. */
uint64_t image_table_of(const struct image *im, uint64_t block);

/* A disk with the base's content, changed as the rest of S says. */
struct dev *image_damaged(const struct image *im, struct stream *s);

/* Everything that can be done with a pool.  HOW: IMAGE_* below. */
enum { IMAGE_BACKGROUND = 1, IMAGE_FEW_REFS = 2, IMAGE_KEEP_ORPHANS = 4, IMAGE_READ_ONLY = 8,
       IMAGE_TWICE = 16, IMAGE_REPAIR = 32, IMAGE_DROP = 64 };
/* SOUND: nothing was found wrong with it, so it can be used as if nothing were, and is sound afterwards. */
void image_use(struct dev *d, uint8_t how, bool sound);
/* Checks it, and repairs it if HOW says so; returns how many findings are left, or a negative code. */
int64_t image_check(struct dev *d, uint8_t how);
/* Looks at it by dumps. */
void image_dump(struct dev *d);

#endif
