/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets of blocks, for walks that look at each block once: a bitmap for each table page (512 blocks)
 * that has any of them.  Metadata lies densely in zones of its own, so a set of metadata blocks takes
 * little more than a bit for each: 144 to 288 bytes for 512 neighbours.
 */
#ifndef FS_SEEN_H
#define FS_SEEN_H

#include <stdbool.h>
#include <stdint.h>
#include "pool/format.h"

struct seen_page { uint64_t page; uint64_t bits[PAGE_ENTRIES / 64]; };	/* page: number + 1 */
struct seen { struct seen_page *pages; uint64_t n, cap; };	/* all zeros: empty */
/* Puts BLOCK in; 1: it was in; 0; or -ENOMEM. */
int seen_set(struct seen *s, uint64_t block);
bool seen_has(const struct seen *s, uint64_t block);
void seen_done(struct seen *s);

#endif
