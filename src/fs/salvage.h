/* SPDX-License-Identifier: Apache-2.0 */
/* What can be told of a directory page that may not be sound: by the checker, and by repairs. */
#ifndef FS_SALVAGE_H
#define FS_SALVAGE_H

#include <stdbool.h>
#include "fs/format.h"

/* IT stands under a key of its name. */
bool item_key_right(const struct dir_item *it, const uint8_t *hash_key);
/* An entry with a proper name and an inode number; its key and its type may be wrong.  Other than 0 ends it. */
typedef int (*salvage_fn)(void *arg, const struct dir_item *it);
/*
 * Calls FN for each entry that the page holds, if it is a leaf or was one.  *RET_ALL: these
 * are surely all that it ever held.  HASH_KEY: the volume's; a page is known by the keys of its names
 * where nothing else tells what it is.
 */
int page_salvage(const struct dir_page *p, const uint8_t *hash_key, salvage_fn fn, void *arg, bool *ret_all);

#endif
