/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All names below a directory, with their paths.  Inodes have no way back to their names: who wants the
 * names of some looks through all of them, once for all that he wants.  Part of the door into storage, as
 * fs.h.
 */
#ifndef FS_NAMES_H
#define FS_NAMES_H

#include "fs/fs.h"

struct fs_named {
	const char *path;		/* "/a/b"; until FN returns */
	struct fs_name name;		/* the last of it */
	uint64_t parent;		/* the directory's inode */
	struct fs_id id;
	enum fs_type type;
};
typedef int (*fs_named_fn)(void *arg, const struct fs_named *e);

/*
 * Calls FN for each entry below DIR (in a snapshot, or not), a directory before what is in it; until FN
 * returns other than 0, which is returned.  FN may wait.  PATH is DIR's, "/" for a root.  An entry that is
 * there all the time is met once; of what is made, renamed or removed meanwhile nothing is said.  Memory
 * goes with the depth alone.  -ENOTDIR, -ESTALE: DIR.
 */
int fs_names_each(struct fs_req *req, struct fs_id dir, const char *path, fs_named_fn fn, void *arg);

#endif
