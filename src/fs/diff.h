/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Differences of two files, and of two volumes or snapshots, at a cost that depends on what differs: where
 * both lead to the same block, nothing below it is looked at (tree/diff.h).  Part of the door into
 * storage: what fs.h says of its functions is true of these.
 *
 * Unless quick is asked for, blocks that are not the same are compared byte by byte, and equal ones are no
 * difference; a hole equals a block of zeros.  Quick reads no data: what is not the same block differs,
 * and so does a hole from a block of zeros.
 *
 * With count, only the bytes are wanted: quick then takes longer steps.
 *
 * Each call is one bounded step, which sees one instant; `next` leads to the next step.  What is written
 * meanwhile shows if it is behind `next`.  Who wants one instant for all of it compares snapshots.
 */
#ifndef FS_DIFF_H
#define FS_DIFF_H

#include "fs/fs.h"

/* B against A. */
enum fs_diff_kind {
	FS_DIFF_CHANGED,		/* both have data there */
	FS_DIFF_DATA,			/* a hole in A */
	FS_DIFF_HOLE,			/* a hole in B */
};
struct fs_diff_range { uint64_t offset, len; enum fs_diff_kind kind; };

#define FS_DIFF_RANGES 64		/* in one step */
struct fs_diff {
	struct fs_id a, b;
	bool quick, count;
	uint64_t next;			/* offset to go on at: in and out; UINT64_MAX: that was all */
	/* out: */
	struct fs_attr a_attr, b_attr;
	uint64_t bytes[3];		/* that differ, by kind; of this step */
	unsigned n;			/* 0 with count */
	struct fs_diff_range ranges[FS_DIFF_RANGES];	/* in order; none behind the end of both */
};
/* Of two regular files, or of one in two snapshots.  -EISDIR, -EINVAL: other files. */
int fs_diff(struct fs_req *req, struct fs_diff *d);

/*
 * Of volumes, of snapshots, or of one and the other.  A file is the same in both if inode number and
 * generation are: so they find each other in snapshots and clones of one volume, whatever their names.
 */
enum {
	FS_VDIFF_ADDED = 1,		/* not in A */
	FS_VDIFF_REMOVED = 2,		/* not in B */
	FS_VDIFF_CONTENT = 4,		/* its size, or the blocks that it leads to */
	FS_VDIFF_ATTRS = 8,		/* owner, mode, links (of no directory), extended attributes, and the like */
	FS_VDIFF_TIMES = 16,		/* it was touched: its times but that of access, or its change attribute */
};
struct fs_vdiff_entry { unsigned what; struct fs_attr a, b; };	/* all zero where it is not */

#define FS_VDIFF_ENTRIES 128		/* in one step */
struct fs_vdiff {
	struct fs_id a, b;		/* any file in each, as the root */
	uint64_t next;			/* inode to go on at: in and out; UINT64_MAX: that was all */
	/* out: */
	unsigned n;
	struct fs_vdiff_entry e[FS_VDIFF_ENTRIES];	/* by inode number */
};
/* Only for the management side: -EPERM. */
int fs_vdiff(struct fs_req *req, struct fs_vdiff *d);

#endif
