/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which inode of the target an inode of the source is.  In memory while a stream comes in, in pages of
 * 4 KiB, and in a file of the hidden volume .system, where the next incremental stream finds it.
 */
#ifndef REPL_INOMAP_H
#define REPL_INOMAP_H

#include "base/hash.h"
#include "fs/fs.h"

#define INOMAP_INO_MAX ((uint64_t)2000000000)	/* a multiple of a page's */
#define INOMAP_PAGES_MAX (1u << 16)		/* 256 MiB: 33 million inodes */

/* An entry: the target's number, and where it is for now. */
#define INOMAP_NEW (1ULL << 62)			/* made, and has no name yet */
#define INOMAP_OLD (1ULL << 63)			/* has lost a name */
#define INOMAP_FLAGS (INOMAP_NEW | INOMAP_OLD)

/* In the place of inode 0, which nothing has: the volume whose numbers these are. */
#define INOMAP_SOURCE 0
static inline uint64_t inomap_source(const uint8_t volume_uuid[16])
{
	return hash64(volume_uuid, 16) >> 2 | 1;
}

struct inomap {
	uint64_t **pages;
	uint8_t *dirty;				/* a byte each */
	uint32_t cap, used;
};
void inomap_release(struct inomap *m);
uint64_t inomap_get(const struct inomap *m, uint64_t ino);	/* 0: there is none */
/* -ENOMEM; -EFBIG: more than INOMAP_PAGES_MAX, or a number that is too large. */
int inomap_set(struct inomap *m, uint64_t ino, uint64_t entry);
/* What FILE says becomes what M says. */
int inomap_load(struct inomap *m, struct fs_req *req, struct fs_id file);
/* What has changed since that, or since the last time, to FILE; not stable yet. */
int inomap_save(struct inomap *m, struct fs_req *req, struct fs_id file);

#endif
