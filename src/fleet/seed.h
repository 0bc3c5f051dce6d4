/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seeds: the small disk from which cloud-init's NoCloud source, cloudbase-init or Windows Setup read, at the
 * first boot, who this machine is.  It is a FAT12 file system with the label CIDATA and a few files in its
 * root, made here in one piece of memory: no program is run, and a thousand of them take
 * milliseconds.
 *
 *	sector 0	boot sector
 *	1 .. f		the file allocation table (FAT), of as many sectors as it takes
 *	.. 2f		and once more
 *	2f + 1		the root directory: 16 entries, with long names (VFAT)
 *	then		the files, in whole clusters of one sector
 *
 * As in Microsoft's "FAT: General Overview of On-Disk Format" (1.03).
 */
#ifndef FLEET_SEED_H
#define FLEET_SEED_H

#include "fleet/fleet.h"

#define SEED_SECTOR 512
#define SEED_BYTES_MAX ((size_t)1 << 20)	/* of all files */

struct seed_file { const char *name; const void *data; size_t len; };	/* ASCII, 26 letters */

/* Appends the image up to its last byte that isn't zero or a file's; *ret_size is its full size.
 * -EFBIG: more than SEED_BYTES_MAX, or files than the root takes; -ENOMEM. */
int seed_build(const struct seed_file *files, unsigned n, uint32_t serial, struct buf *ret_image,
	       uint64_t *ret_size);

/* The same as an ISO 9660 image with Joliet names: a DVD.  What is appended begins at SEED_ISO_OFFSET of the
 * image, before which there are zeros; files with the same data pointer share it. */
#define SEED_ISO_OFFSET 32768
int seed_iso_build(const struct seed_file *files, unsigned n, struct buf *ret_image, uint64_t *ret_size);

#endif
