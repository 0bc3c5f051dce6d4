/* SPDX-License-Identifier: Apache-2.0 */
/* Where a background job (the scrub, deduplication) stands, kept in the pool as a text: it goes on after a restart. */
#ifndef FS_JOB_STATE_H
#define FS_JOB_STATE_H

#include "fs/fs.h"

#define JOB_STATE_BYTES 4096

/* JOB names its directory of the hidden volume.  In a fiber; both wait.  What can't be written is said in the log. */
void job_state_save(struct fs *fs, const char *job, char text[JOB_STATE_BYTES]);
/* TEXT is zeroed before, so that it ends.  -ENOENT: nothing was ever saved. */
int job_state_load(struct fs *fs, const char *job, char text[JOB_STATE_BYTES + 1]);

#endif
