/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File handles: what a client keeps to name a file.  They survive restarts, and cannot be
 * made up: a keyed MAC covers them.
 *
 *   offset  0  u8   version, 1
 *           1  u8   zero [3]
 *           4  u32  volume          (all little-endian)
 *           8  u32  snapshot
 *          12  u32  zero, reserved
 *          16  u64  inode
 *          24  u64  generation of the inode
 *          32  u8   SipHash-2-4 of bytes 0 to 31, by the pool's key [8]
 *
 * A handle that the server didn't make is BADHANDLE; one whose file is gone is STALE, which
 * the storage finds out by the generation.
 */
#ifndef NFS_HANDLE_H
#define NFS_HANDLE_H

#include <stdint.h>
#include "fs/fs.h"

#define HANDLE_BYTES 40
#define HANDLE_KEY_BYTES 16

void handle_make(const uint8_t key[HANDLE_KEY_BYTES], const struct fs_id *id,
		 uint8_t ret_handle[HANDLE_BYTES]);
/* -EBADHANDLE */
int handle_read(const uint8_t key[HANDLE_KEY_BYTES], const uint8_t *handle, uint32_t len,
		struct fs_id *ret_id);

#endif
