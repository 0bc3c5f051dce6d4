/* SPDX-License-Identifier: Apache-2.0 */
/* Every kind of damage, made in the pool of check_pool.h, with the findings that must come of it. */
#ifndef TESTS_CHECK_DAMAGE_H
#define TESTS_CHECK_DAMAGE_H

#include "base/rng.h"
#include "check_pool.h"
#include "fs/format.h"

extern struct made made;		/* the pool, as it was made */
extern struct edit edit;		/* open on the disk that is damaged */
/* What was read last, to be changed and written back. */
extern union damage_block {
	struct inode all[INODES_PER_BLOCK];
	struct volume vol[2];
	struct dir_page page;
	struct reap_entry reap[256];
	uint8_t raw[BLOCK_SIZE];
} u;

/* What --repair makes of it: sound again; only with --drop-damaged; or it stays damaged. */
enum repair { STAYS, REPAIRED, DROPPED };
struct damage {
	const char *name;
	void (*fn)(void);
	const char *want[8];		/* parts of the findings */
	enum repair repair;
};
extern const struct damage damages[];
extern const unsigned ndamages;

/* Changes some bytes of a block with pointers or structure in it, to something plausible or not. */
void damage_at_random(struct rng *r);

void flip(uint64_t block, unsigned bit);
void set_slot(uint64_t block, unsigned slot, uint64_t ptr);
void count_high(void);
void count_zero(void);

/* CHANGE is done to a structure, and all checksums above it put right. */
struct inode *ino_begin(uint64_t ino);
void ino_end(void);
#define INO(ino, change) do { struct inode *i = ino_begin(ino); change; ino_end(); } while (0)
#define VOL(n, change) \
	do { \
		struct volume *v = u.vol + (n); \
		edit_get(&edit, made.volumes, &u); \
		change; \
		edit_put(&edit, made.volumes, &u); \
	} while (0)
#define PAGE(block, change) \
	do { \
		struct dir_page *p = &u.page; \
		edit_get(&edit, block, p); \
		change; \
		edit_put(&edit, block, p); \
	} while (0)
#define REAP(change) \
	do { \
		struct reap_entry *r = u.reap; \
		edit_get(&edit, made.reap, r); \
		change; \
		edit_put(&edit, made.reap, r); \
	} while (0)
#define SUPER(change) do { struct superblock *s = &edit.sb; change; edit_super(&edit); } while (0)

#endif
