/* SPDX-License-Identifier: Apache-2.0 */
/* Which partitions a raw disk image has, and what is in each. */
#ifndef PANDO_PARTITION_H
#define PANDO_PARTITION_H

#include <stdbool.h>
#include <stdint.h>

#define PARTITIONS_MAX 128

struct partition {
	unsigned number;		/* 0: the whole disk, which has none */
	uint64_t start, len;		/* bytes, inside the image */
	const char *kind;		/* "ext4", "XFS", ... or "unknown" */
};

struct partitions {
	uint64_t disk_bytes;
	unsigned n;
	struct partition list[PARTITIONS_MAX];
};

/* Reads FD, an image of so many bytes. */
void partitions_find(int fd, uint64_t disk_bytes, struct partitions *ret);

#endif
