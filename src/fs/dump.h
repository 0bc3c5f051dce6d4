/* SPDX-License-Identifier: Apache-2.0 */
/* What src/fs puts into blocks, as text (see pool/dump.h). */
#ifndef FS_DUMP_H
#define FS_DUMP_H

#include "fs/format.h"
#include "pool/dump.h"

void dump_volume(const struct dump *d, uint64_t place, const struct volume *v);
void dump_inode(const struct dump *d, uint64_t ino, const struct inode *i);
void dump_inodes(const struct dump *d, uint64_t first, const struct inode *all);	/* those in use, a line each */
void dump_dir_page(const struct dump *d, const struct dir_page *p);
/* All extended attributes of an inode, BYTES of them. */
void dump_xattrs(const struct dump *d, const void *all, size_t bytes);

#endif
