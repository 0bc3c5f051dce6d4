/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a replication stream consists of: little-endian, fixed-width (docs/replication.md).
 *
 *   magic | BEGIN | UNLINK ... NEW ... LINK ... CLEAN | TRUNC, DATA, SHARE ..., SET ... | END
 *                                     with a MARK now and then, never before the first of them
 *
 * Every record's chain is the hash of the record before it and of the record itself: so no record can be
 * changed, lost, repeated or moved without the next one telling.  A resumed stream begins with a BEGIN of
 * its own and goes on with the record behind a mark, and with its chain.
 *
 * Inodes are named by their numbers in the source.
 */
#ifndef REPL_STREAM_H
#define REPL_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

#define STREAM_MAGIC "PANDOREP"
#define STREAM_VERSION 1
#define STREAM_DATA_MAX (1u << 20)	/* bytes in one DATA record */
#define STREAM_BODY_MAX (STREAM_DATA_MAX + 4096)
#define STREAM_CHAIN 0x50414e444f524550ULL	/* of the record before the first */

struct stream_magic {
	char magic[8];			/*  0  STREAM_MAGIC */
	uint32_t version;		/*  8 */
	uint32_t reserved;		/* 12  0 */
};
_Static_assert(sizeof(struct stream_magic) == 16, "stream_magic");

enum stream_type {
	S_BEGIN = 1, S_UNLINK = 2, S_NEW = 3, S_LINK = 4, S_CLEAN = 5, S_TRUNC = 6, S_DATA = 7,
	S_HOLE = 8, S_SHARE = 9, S_XCLEAR = 10, S_XATTR = 11, S_SET = 12, S_MARK = 13, S_END = 14,
	S_TYPES
};

struct stream_head {
	uint32_t type;			/*  0  enum stream_type */
	uint32_t len;			/*  4  bytes of the body, which follows */
	uint64_t seq;			/*  8  0 for BEGIN, then 1, 2, ... */
	uint64_t chain;			/* 16  see stream_chain() */
};
_Static_assert(sizeof(struct stream_head) == 24, "stream_head");

struct stream_begin {
	uint8_t pool[16], volume[16];	/*   0  UUIDs of the source */
	uint8_t snapshot[16];		/*  32  UUID of what is sent */
	uint8_t from[16];		/*  48  UUID of the snapshot that the target has; zeros: all is sent */
	uint64_t event;			/*  64  of the snapshot, on the source's clock */
	int64_t created_ns;		/*  72 */
	uint64_t mapped_blocks;		/*  80  of all files, before sharing */
	uint64_t seq;			/*  88  of the mark that this goes on from; 0: from the beginning */
	uint64_t chain;			/*  96  the mark's */
	char volume_name[64];		/* 104 */
	char snapshot_name[64];		/* 168 */
	char from_name[64];		/* 232 */
};
_Static_assert(sizeof(struct stream_begin) == 296, "stream_begin");

struct stream_name {			/* UNLINK, LINK: the name follows, to the body's end */
	uint64_t dir, ino;
};
struct stream_new {			/* NEW: a symbolic link's target follows */
	uint64_t ino;
	uint32_t type;			/* enum fs_type */
	uint32_t mode, uid, gid;
	uint32_t rdev_major, rdev_minor;
};
_Static_assert(sizeof(struct stream_new) == 32, "stream_new");
struct stream_ino {			/* TRUNC: to SIZE;  XCLEAR: all extended attributes go */
	uint64_t ino, size;
};
struct stream_range {			/* DATA: the bytes follow;  HOLE: OFFSET, LEN */
	uint64_t ino, offset, len;
};
struct stream_share {			/* SHARE: as OFFSET + LEN of another file, which is in the target already */
	uint64_t ino, offset;
	uint64_t src_ino, src_offset;
	uint64_t len;
	uint32_t from_base;		/* 1: as that file is in the snapshot FROM */
	uint32_t reserved;		/* 0 */
};
_Static_assert(sizeof(struct stream_share) == 48, "stream_share");
struct stream_xattr {			/* XATTR: name and value follow */
	uint64_t ino;
	uint32_t name_len, value_len;
};
struct stream_set {			/* SET: the last about an inode */
	uint64_t ino, size;		/* size: of regular files */
	uint32_t mode, uid, gid, reserved;
	int64_t atime, mtime, ctime, btime;	/* nanoseconds since 1970 */
	uint64_t origin;		/* inode that it was cloned from; 0: none, or it is gone */
};
_Static_assert(sizeof(struct stream_set) == 72, "stream_set");
struct stream_mark {			/* MARK: from behind it the stream can go on */
	uint64_t number;		/* 1, 2, ... */
	uint64_t skeleton;		/* hash of what was sent but for data: a sender that goes on compares it */
};
struct stream_end { uint64_t records, data_bytes; };	/* END: of the whole stream; records: before this one */

/* A record's chain; PREV is that of the record before it.  HEAD's own is not looked at. */
static inline uint64_t stream_chain(uint64_t prev, const struct stream_head *head, const void *body)
{
	struct stream_head h = *head;

	h.chain = prev;
	return hash64_two(&h, sizeof(h), body, h.len);
}

/* Where an interrupted transfer goes on; as text, TOKEN_TEXT - 1 hexadecimal digits. */
struct stream_token {
	uint8_t snapshot[16], from[16];
	uint64_t seq, chain, number, skeleton, data_bytes;
};
_Static_assert(sizeof(struct stream_token) == 72, "stream_token");
#define TOKEN_TEXT (2 * (sizeof(struct stream_token) + 4) + 1)
void stream_token_text(const struct stream_token *t, char text[TOKEN_TEXT]);
int stream_token_parse(const char *text, struct stream_token *ret);	/* -EINVAL */

#endif
