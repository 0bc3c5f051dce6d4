/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the receiver.
 *
 *     receive.c     the stream: framing, chain, beginning, marks, end
 *     apply.c       what each record does to the hidden volume
 *     inomap.c      which inode of the target is which of the source's
 *     token.c       the token that says where to go on, as text
 *     unfinished.c  what is kept of it in the directory "receive" of the volume .system:
 *                       KEY.state                 what is being received, and the last mark
 *                       KEY.map0, KEY.map1        its inode map, as at the last mark and at the one before;
 *                                                 KEY.map0 also as it began
 *                       UUID-VOLUME.map           of a received snapshot of a volume
 *                   KEY: 16 hexadecimal digits made of the target's name, as in the hidden volume's
 */
#ifndef REPL_RECEIVE_INT_H
#define REPL_RECEIVE_INT_H

#include "fs/repl.h"
#include "repl/inomap.h"
#include "repl/receive.h"

#define RECEIVE_DIR "receive"
#define BASE_SNAPSHOT "base"		/* of the hidden volume: as it began */
#define RECEIVE_WHY 400
#define KEY_LEN 16
#define FILE_NAME_MAX 80

/* KEY.state, one block, changed by one write. */
struct unfinished {
	uint64_t magic;
	uint32_t version, crc;		/* crc: of all with 0 in its place */
	char volume[64];
	struct stream_begin begin;
	struct stream_token token;	/* number 0: there was no mark yet */
	uint32_t base, reserved;	/* id of VOLUME's snapshot that it goes on from; 0: none */
};

struct receive {
	struct fs *fs;
	struct fs_req req;
	bool force;
	char why[RECEIVE_WHY];
	int err;			/* it is over */
	uint8_t *in;			/* what is not a whole record yet; aligned for its structs */
	size_t in_len;
	bool magic_seen, begun, cleaned, ended, done;
	bool keep;			/* what has come up to the last mark is good */
	bool in_the_way;		/* at the end: something that can be put out of the way */
	bool hidden_made;
	uint64_t seq, chain, data_bytes;
	struct unfinished u;
	char key[KEY_LEN + 1], hidden[FS_VOLUME_NAME_MAX + 1];
	struct fs_volume_info vol;	/* the hidden one */
	uint32_t target;		/* id of the volume that it becomes */
	uint32_t base_snapshot;		/* BASE_SNAPSHOT's id */
	struct fs_id staging;		/* directory for what has no name for now, in parts: */
	struct fs_id part_dir;		/* the last that was used */
	uint64_t part;
	char staging_name[40];
	struct inomap map;
	struct fs_snapshot_info result;
};

/* Why it ends: R->why, unless it is known already; returns ERR. */
int receive_fail(struct receive *r, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* ---- apply.c -------------------------------------------------------------------------------- */

/* A record of any type but BEGIN, MARK and END. */
int apply_record(struct receive *r, const struct stream_head *h, const uint8_t *body);
static inline struct fs_id hidden_id(const struct receive *r, uint64_t ino)
{
	return (struct fs_id){ r->vol.id, 0, ino, 0 };
}

/* ---- unfinished.c --------------------------------------------------------------------------- */

void unfinished_key(const char *volume, char key[KEY_LEN + 1]);
void unfinished_hidden(const char *key, char hidden[FS_VOLUME_NAME_MAX + 1]);
/* -ENOENT; -EDAMAGED: it isn't one. */
int unfinished_read(struct fs_req *req, const char *key, struct unfinished *ret);
/* Stable when it returns. */
int unfinished_write(struct fs_req *req, const char *key, struct unfinished *u);
/* All that KEY stands for. */
int unfinished_drop(struct fs *fs, const char *key);
/* File NAME of the directory; CREATE: an empty one in any case. */
int receive_file(struct fs_req *req, const char *name, bool create, struct fs_id *ret);
/* The inode map as it is at mark MARK, until there is a second one after it. */
void map_name(const char *key, uint64_t mark, char name[FILE_NAME_MAX]);
void kept_map_name(const uint8_t uuid[16], uint32_t volume, char name[FILE_NAME_MAX]);
/* A clone; what was called TO goes. */
int receive_clone(struct fs_req *req, const char *from, const char *to, struct fs_id *ret);
int receive_rename(struct fs_req *req, const char *from, const char *to);
int receive_remove(struct fs_req *req, const char *name);

#endif
