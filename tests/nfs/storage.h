/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the protocol's tests run on: storage_mem.c is memfs, which can also be made to fail;
 * storage_sim.c is the real file system on a simulated disk.  All of it is called in a fiber.
 */
#ifndef TESTS_NFS_STORAGE_H
#define TESTS_NFS_STORAGE_H

#include "memfs.h"

struct fs *storage_new(void);		/* with the volumes "vol" (id 1) and "other" (id 2), empty */
void storage_free(struct fs *fs);
/* As after a restart: nothing is held, and files without a name are still there. */
struct fs *storage_restart(struct fs *fs);
/* The power goes: what is not stable now is lost at the next storage_restart(). */
void storage_crash(struct fs *fs);
void storage_set_exports(struct fs *fs, uint32_t volume, const char *text);
/* Of memfs; of the real one nobody sets or counts anything here. */
struct memfs_control *storage_control(struct fs *fs);

#endif
