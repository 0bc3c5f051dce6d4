/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An editor of pools on a simulated disk, for tests of what finds damage: each change is made
 * with all checksums above it put right again, so that only the change itself is wrong.
 * Errors are asserts.
 */
#ifndef TESTS_CHECK_EDIT_H
#define TESTS_CHECK_EDIT_H

#include <stdint.h>
#include "dev/dev_sim.h"
#include "fs/format.h"

struct edit { struct dev *d; struct superblock sb; };

/* Takes up the newest superblock. */
void edit_open(struct edit *e, struct dev *d);
/* Writes e->sb to both copies of its slot. */
void edit_super(struct edit *e);

void edit_get(struct edit *e, uint64_t block, void *ret);
/* New content and its CRC; the count stays. */
void edit_put(struct edit *e, uint64_t block, const void *data);
void edit_set_refs(struct edit *e, uint64_t block, uint32_t refs);	/* and the free counts */
uint32_t edit_refs(struct edit *e, uint64_t block);

/* The pages themselves.  put: checksums above are put right, and nothing else. */
void edit_table_get(struct edit *e, uint64_t block, struct table_entry ret[PAGE_ENTRIES]);
void edit_table_put(struct edit *e, uint64_t block, const struct table_entry *page);
void edit_summary_get(struct edit *e, uint64_t zone, struct summary_entry ret[ZONE_PAGES]);
void edit_summary_put(struct edit *e, uint64_t zone, const struct summary_entry *page);
void edit_dir_get(struct edit *e, uint64_t zone, struct dir_entry *ret);
void edit_dir_put(struct edit *e, uint64_t zone, const struct dir_entry *entry);
/* Where on the device the slot that counts lies. */
uint64_t edit_table_place(struct edit *e, uint64_t block);
uint64_t edit_summary_place(struct edit *e, uint64_t zone);
uint64_t edit_dir_place(struct edit *e, uint64_t zone);

#endif
