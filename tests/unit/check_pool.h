/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small pool, written block by block without the code that writes pools: what the tests of
 * the checker damage.  It has one of everything that the format has:
 *
 *   volume "vol"   /a and its clone /b (one index block, count 2; extended attributes, likewise), /c (two index levels, data in
 *                  zone 1; also /sub/c0 .. c5), /s and /l (short and long symbolic links),
 *                  /sub (two leaf pages, one free page; three attributes in one block), an orphan,
 *                  two free inodes
 *   volume "two"   empty
 *   reap list      an index block with one of three pointers gone, a block of inodes
 *   log            two records that were not replayed
 */
#ifndef TESTS_CHECK_POOL_H
#define TESTS_CHECK_POOL_H

#include "check_edit.h"

#define MADE_BLOCKS (ZONE_BLOCKS + 4096)
#define MADE_EVENT ((1ULL << EVENT_LIFE_SHIFT) + 100)	/* the last one in the checkpoint */

enum { INO_A = 3, INO_B, INO_C, INO_SUB, INO_S, INO_L, INO_FREE1, INO_ORPHAN, INO_FREE2, INO_END };

struct made {			/* block numbers */
	uint64_t volumes, inode_index, inodes, two_inodes;
	uint64_t a_index, a_data[3];
	uint64_t c_top, c_low[2], c_data[3];
	uint64_t root_page, orphans_page, sub_index, sub_pages[4];
	uint64_t link, orphan_data;
	uint64_t xattr_index, xattr_leaves[2], sub_xattrs;
	uint64_t reap, reap_index, reap_data[2], reap_inodes, reap_file;
	uint64_t next;		/* free from here on, to the end of zone 0 */
};

/* Formats D and fills it.  In a fiber. */
void made_build(struct dev *d, struct made *m);

#endif
