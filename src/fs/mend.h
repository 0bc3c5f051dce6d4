/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of repairs: mend.c has the rounds and the counts, mend_fs.c what stands in volumes. */
#ifndef FS_MEND_H
#define FS_MEND_H

#include "fs/check_int.h"
#include "fs/fs_int.h"

#define LOST_FOUND "lost+found"

struct mend {
	struct dev *dev;
	const struct fs_check_opts *o;
	void *arg;
	struct check *c;		/* of this round */
	struct fs *fs;			/* while it is open */
	uint64_t done, failed;		/* in this round */
	uint64_t repairs, findings;	/* in all; of the first check */
	bool cut;			/* the log was cut off */
	bool unlogged;			/* something was changed that no checkpoint has */
	bool verified;			/* all content was, and only these blocks were bad: */
	uint64_t *bad, nbad, bad_cap;	/* and these counts were raised */
	bool opened;			/* the pool, in this round: it may be another now */
	char note[400];			/* why it can't be opened for writing; empty: it can */
	char **lines;			/* what the last check but the first found */
	uint64_t nlines, lines_cap;
};

/* Sets F right in the opened pool.  -ENOENT, -ESTALE, -EEXIST, ...: that can't be done. */
int mend_one(struct mend *m, struct fix *f);

#endif
