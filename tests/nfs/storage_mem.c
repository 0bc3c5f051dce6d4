/* SPDX-License-Identifier: Apache-2.0 */
/* See storage.h. */
#include <assert.h>
#include "storage.h"

struct fs *storage_new(void) { return memfs_new(); }

void storage_free(struct fs *fs)
{
	assert(memfs_control(fs)->pins == 0);
	memfs_free(fs);
}

struct fs *storage_restart(struct fs *fs)
{
	memfs_restart(fs);
	return fs;
}

void storage_crash(struct fs *fs) { }	/* all is stable at once */

void storage_set_exports(struct fs *fs, uint32_t volume, const char *text)
{
	memfs_set_exports(fs, volume, text);
}

struct memfs_control *storage_control(struct fs *fs) { return memfs_control(fs); }
