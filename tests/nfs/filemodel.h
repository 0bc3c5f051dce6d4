/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file as it has to be, in memory, and random changes to it: what programs compare with that
 * write to real files at random (nfs/fsx.c over libnfs, guest/fsx-mount.c on a mounted volume).
 *
 * The same dice make the same changes.
 */
#ifndef TESTS_NFS_FILEMODEL_H
#define TESTS_NFS_FILEMODEL_H

#include <stdbool.h>
#include <stdint.h>

#define FILEMODEL_BLOCK 4096u

struct dice { uint64_t state; };	/* begin with any number */

/* 0 to N - 1; N is not 0. */
uint32_t dice_below(struct dice *d, uint32_t n);

/* Bytes behind SIZE are zeros, always; DATA has MAX of them. */
struct filemodel { uint8_t *data; uint32_t size, max; };

/* An empty file; false: no memory. */
bool filemodel_init(struct filemodel *m, uint32_t max);

enum fileop_kind {
	FILEOP_WRITE,
	FILEOP_RESIZE,			/* to LEN */
	FILEOP_PUNCH,			/* zeros; the size stays */
	FILEOP_RESERVE,			/* no byte changes, the size may grow */
	FILEOP_COPY,			/* a clone, too: from another file, or from elsewhere in it */
};

struct fileop {
	enum fileop_kind kind;
	uint32_t off, len;
	uint64_t seed;			/* WRITE: what its bytes are made of; 0: zeros */
	const struct filemodel *from;	/* COPY */
	uint32_t from_off;
};

/* The LEN bytes of a WRITE. */
void fileop_fill(uint8_t *to, const struct fileop *o);
void filemodel_apply(struct filemodel *m, const struct fileop *o);

/* A write of 1 byte to MOST_LEN, one in two of whole blocks, in a file of MAX bytes at most. */
struct fileop fileop_random_write(struct dice *d, uint32_t max, uint32_t most_len);
/* To any size, or one in three times to a smaller one. */
struct fileop fileop_random_resize(struct dice *d, const struct filemodel *m);

/* Where LEN bytes that should stand at OFF differ first; -1: nowhere. */
int64_t filemodel_differs(const struct filemodel *m, uint32_t off, const void *bytes, uint32_t len);
bool filemodel_all_zeros(const struct filemodel *m, uint32_t off, uint32_t len);
/* Blocks that hold a byte that isn't zero. */
uint32_t filemodel_blocks(const struct filemodel *m);

#endif
