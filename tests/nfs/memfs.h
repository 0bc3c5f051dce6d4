/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The functions of fs/fs.h that the protocols call, on plain memory: for tests of the protocol
 * layer, and to make it see what a real store seldom does (errors, delays, replayed requests).
 */
#ifndef TESTS_NFS_MEMFS_H
#define TESTS_NFS_MEMFS_H

#include "fs/fs.h"

/* With the volumes "vol" (id 1) and "other" (id 2), and the hidden one (id 3). */
struct fs *memfs_new(void);
void memfs_free(struct fs *fs);
void memfs_restart(struct fs *fs);	/* nothing is held any more; orphans stay */
void memfs_set_exports(struct fs *fs, uint32_t volume, const char *text);

struct memfs_control {
	bool real;			/* there is no memfs: nothing below is looked at or counted */
	int fail;			/* the next operation fails with this code */
	int fail_stable;		/* waits for stability fail with this code, until cleared */
	bool readonly;			/* the pool has become so: attributes can't be set, nothing
					   gets stable */
	unsigned delay_ms;		/* every change waits so long before it happens */
	unsigned stable_waits;		/* counted */
	unsigned changes;		/* counted */
	int pins;			/* reads that were not given back */
	int fail_hold;			/* no file can be held, until cleared */
	int holds;			/* holds that were not given back */
	const char *damaged;		/* a name that is listed without attributes */
	unsigned drops;			/* calls of fs_drop_orphans() */
	struct fs_cred last_cred;	/* of the last operation */
	uint64_t drc_client;		/* of the last change */
	uint32_t drc_xid, drc_proc;
	struct fs_replayed replayed;	/* if drc_client is not 0 */
};
struct memfs_control *memfs_control(struct fs *fs);

#endif
