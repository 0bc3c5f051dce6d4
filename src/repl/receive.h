/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receiving a stream (stream.h): it builds a hidden volume (fs/repl.h), which becomes visible in one step
 * when all has come and is right.
 *
 *     feed ──> BEGIN ──> records ──> MARK: all before it is stable, and a snapshot of the hidden volume
 *                          │           │    says how it was
 *                          │           └──> cut, crash: kept; the stream that goes on from there finds it
 *                          └──> cut before the first mark; or refused: nothing is left
 *              END, and nothing behind it ──> receive_finish() ──> there, with its snapshot; or the target
 *                                             is in the way: kept as at the last mark, to go on from
 *
 * All calls in fibers; they wait.  One receiver for each target volume at a time is the caller's to see to.
 */
#ifndef REPL_RECEIVE_H
#define REPL_RECEIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/fs.h"
#include "repl/stream.h"

struct receive;

/* FORCE: an incremental stream goes over what has changed in the volume since the base. */
int receive_open(struct fs *fs, const char *volume, bool force, struct receive **ret);

/*
 * The next LEN bytes of the stream, cut anywhere.  -EBADMSG: it isn't a stream, or was damaged on its way;
 * -EPROTO: it is whole, and makes no sense; -EEXIST, -ENOENT, -ENOTSYNC, -EBUSY: the target is not what it is
 * for; -ENOSPC, -EDQUOT, and others.  Then it is over, receive_why() says why, and receive_close() follows.
 */
int receive_feed(struct receive *r, const void *data, size_t len);
/* The stream is over: what it was becomes visible, and is stable.  -EPIPE: its END has not come. */
int receive_finish(struct receive *r);
const char *receive_why(const struct receive *r);
/* What was received, once it is finished. */
const struct fs_snapshot_info *receive_result(const struct receive *r);
uint64_t receive_bytes(const struct receive *r);	/* of data */

/*
 * Frees it.  What is not finished is kept, if it can go on from a mark: then true, and RET says from where.
 * Else nothing is left of it.
 */
bool receive_close(struct receive *r, struct stream_token *ret);
/* Frees it, and touches no pool any more: for tests, after a crash. */
void receive_forget(struct receive *r);

/* ---- what was interrupted ------------------------------------------------------------------ */

struct unfinished_info {
	char volume[FS_VOLUME_NAME_MAX + 1];	/* that it is to become */
	char source[FS_VOLUME_NAME_MAX + 1], snapshot[FS_VOLUME_NAME_MAX + 1], from[FS_VOLUME_NAME_MAX + 1];
	struct stream_token token;
};
/* Calls FN for each; its negative code ends it. */
int unfinished_each(struct fs *fs, int (*fn)(void *arg, const struct unfinished_info *u), void *arg);
/* That for VOLUME is dropped.  -ENOENT. */
int unfinished_forget(struct fs *fs, const char *volume);
/* Drops what can't go on, and the maps of snapshots that are gone; none is being received. */
int unfinished_sweep(struct fs *fs);

#endif
