/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the scrub (fs_scrub_start() of fs.h).
 *
 *     scrub.c        its life: windows, pace, progress that survives restarts
 *     scrub_walk.c   walks over all that is held; whose blocks are bad
 *     scrub_name.c   the paths of those files
 */
#ifndef FS_SCRUB_H
#define FS_SCRUB_H

#include "fs/fs_int.h"
#include "fs/pace.h"
#include "fs/seen.h"
#include "tree/hold.h"

#define SCRUB_WINDOW (32u << 20)	/* blocks whose pointers are counted at a time: 128 MiB of memory */
#define SCRUB_BAD_MAX 1000		/* blocks of a window that are remembered as bad */

struct scrub {
	struct fs *fs;
	struct fs_scrub_status st;
	bool stop, running;
	struct waitq ended;
	char (*findings)[FS_SCRUB_TEXT];
	/* of the present window */
	struct tree_root held;
	struct count_watch watch;
	uint64_t *reached;		/* bitmap: pointers lead to it in what is held */
	uint64_t *bad;			/* blocks that something is wrong with */
	uint32_t nbad;
	bool incomplete;		/* some metadata can't be read: counts tell nothing */
	void *buf;			/* PAGE_ENTRIES blocks */
	struct pace pace;
};

/* Has it to stop, or to make way for whoever needs space? */
bool scrub_interrupted(const struct scrub *s);
/* BYTES were read: sleeps as long as the rate wants. */
void scrub_pace(struct scrub *s, uint64_t bytes);
void scrub_add_bad(struct scrub *s, uint64_t block, enum verify_what what, uint32_t refs,
		   uint32_t pointers);
void scrub_finding(struct scrub *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Files that bad blocks belong to. */
#define SCRUB_OWNERS_MAX 64		/* of one window */
struct scrub_owners {
	struct { uint32_t volume; uint64_t ino; } at[SCRUB_OWNERS_MAX];
	unsigned n;
	bool more;			/* than these */
};
/* One finding for each, with its path where it has one. */
void scrub_say_owners(struct scrub *s, const struct scrub_owners *o);

/* Counts the pointers into the window.  -EINTR, -ENOMEM. */
int scrub_count(struct scrub *s);
/* Says of each bad block whose it is. */
int scrub_name_bad(struct scrub *s);

#endif
