/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of a file as blocks, for structures that live in files (directories). */
#ifndef FS_FILE_H
#define FS_FILE_H

#include "fs/format.h"
#include "pool/pool.h"

/* The page, pinned for the pass's transaction; -EDAMAGED if it is a hole. */
int file_page(struct txn *t, const struct inode *ino, uint64_t index, struct block **ret);
/* The page for changing.  Load pass: *ret is the page as it is, or NULL if it is a hole (it will be
 * a zeroed new block in the apply pass).  It is a metadata block. */
int file_page_own(struct txn *t, struct inode *ino, uint64_t index, struct block **ret);

/* What is wrong with all extended attributes of a file, BYTES being whole blocks; NULL: nothing. */
const char *xattr_verify(const void *all, size_t bytes);
/* Only a volume has a meter, and only with it what belongs to it. */
bool meter_possible(const struct volume *v);
/* Of a type of log record, as docs/format.md has it; NULL: it is none. */
const char *record_name(uint16_t type);

#endif
