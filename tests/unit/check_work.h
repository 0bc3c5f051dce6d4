/* SPDX-License-Identifier: Apache-2.0 */
/* Repairs of pools, and pools that the store has written to be damaged.  Errors are asserts; in a fiber. */
#ifndef TESTS_CHECK_WORK_H
#define TESTS_CHECK_WORK_H

#include "dev/dev_sim.h"
#include "fs/fs.h"

/* Of the last repair; VERBOSE in the environment: they are said. */
extern unsigned nfound, nrepaired, nleft;
extern char last_left[400];
int64_t repair(struct dev *d, bool drop, struct fs_check_stats *st);
int64_t check(struct dev *d);

struct work { struct dev *d; struct fs *fs; struct fs_req req; struct fs_id root; };
/* A pool of 64 MiB with volume "v", open. */
void new_pool(struct work *w);
void open_fs(struct work *w);
struct fs_id make(struct work *w, struct fs_id dir, const char *name, enum fs_type type);
/* At most 256 KiB. */
void write_file(struct work *w, struct fs_id id, uint32_t len, uint8_t seed);
bool there(struct work *w, const char *path);
/* A hash of the first 4 MiB; 0: it can't be read. */
uint64_t content(struct fs *fs, struct fs_id id, uint64_t size);

#endif
