/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the sender.
 *
 *     send.c        records, marks, resuming, the order of all
 *     send_names.c  directories
 *     send_file.c   what is in files
 *     seen.c        what was sent where
 */
#ifndef REPL_SEND_INT_H
#define REPL_SEND_INT_H

#include <stdbool.h>

#include "fs/repl.h"
#include "repl/seen.h"
#include "repl/send.h"

struct sender {
	struct fs *fs;
	struct fs_req req;
	const struct send_opts *o;
	send_out out;
	void *arg;
	char *why;
	struct fs_snapshot_info now, base;	/* base.id 0: none */
	struct seen_blocks seen;
	uint64_t seq, chain, skeleton, marks;
	uint64_t since_mark, mark_bytes;	/* of stream */
	uint64_t skip_to;			/* records up to this one are not given out */
	struct send_stats stats;
	uint8_t *body;				/* STREAM_BODY_MAX bytes: of the record to be */
	struct fs_read read;
};

/* A record whose body is FIXED and TAIL bytes behind it in s->body already. */
int send_record(struct sender *s, unsigned type, const void *fixed, size_t fixed_len, size_t tail_len);
static inline void *send_tail(struct sender *s, size_t fixed_len) { return s->body + fixed_len; }
static inline bool send_skips(const struct sender *s) { return s->seq < s->skip_to; }

/* Lets others run, and asks whether it is still wanted. */
int send_yield(struct sender *s);

/* FN for each inode that differs. */
typedef int (*change_fn)(struct sender *s, const struct fs_inode_change *x);
int send_each(struct sender *s, change_fn fn);

/* The same inode in the snapshot that is sent, or in the base. */
static inline struct fs_id send_id(const struct sender *s, uint64_t ino, uint64_t generation)
{
	return (struct fs_id){ s->now.volume, s->now.id, ino, generation };
}
static inline struct fs_id base_id(const struct sender *s, uint64_t ino, uint64_t generation)
{
	return (struct fs_id){ s->base.volume, s->base.id, ino, generation };
}

int send_names(struct sender *s);	/* send_names.c: up to CLEAN */
int send_contents(struct sender *s);	/* send_file.c: from CLEAN on */

#endif
