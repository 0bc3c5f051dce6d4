/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending a snapshot as a stream (stream.h), whole or what has changed since an older one.
 *
 * The stream depends on nothing but the snapshots and the options: sent again it has the same records.
 * That is how an interrupted one goes on: it is made again, and what the target has is not given out; no
 * data is read for that.
 */
#ifndef REPL_SEND_H
#define REPL_SEND_H

#include <stddef.h>
#include <stdint.h>

#include "repl/stream.h"

struct fs;

#define SEND_MARK_BYTES ((uint64_t)64 << 20)	/* of stream between two marks */
#define SEND_MEMORY ((size_t)96 << 20)		/* for what may be met again */
#define SEND_WHY 400

struct send_opts {
	const char *volume, *snapshot;
	const char *from;			/* the older snapshot of the volume; NULL: all is sent */
	const struct stream_token *resume;	/* NULL: from the beginning */
	uint64_t mark_bytes;			/* 0: SEND_MARK_BYTES */
	size_t memory;				/* 0: SEND_MEMORY */
};
struct send_stats { uint64_t records, data_bytes, stream_bytes; };

/*
 * Takes the stream, LEN bytes of it; may wait.  A negative code ends it.  LEN is 0 now and then where nothing
 * is given out for long, so that it can be ended there too.
 */
typedef int (*send_out)(void *arg, const void *data, size_t len);

/*
 * In a fiber; waits.  The snapshots aren't held: where one is destroyed meanwhile, -ESTALE.  On failure WHY
 * says what is wrong in one line, beginning with the object: -ENOENT, -EINVAL (the token is of something
 * else), -EIO, -EDAMAGED, what OUT returned.
 */
int send_run(struct fs *fs, const struct send_opts *o, send_out out, void *arg, struct send_stats *ret_stats,
	     char why[SEND_WHY]);

#endif
