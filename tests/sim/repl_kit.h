/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of replication share: volumes that random operations make, streams in memory, comparing. */
#ifndef SIM_REPL_KIT_H
#define SIM_REPL_KIT_H

#include <string.h>

#include "repl/receive.h"
#include "repl/send.h"
#include "rig.h"

static inline struct fs_name name_of(const char *s)
{
	return (struct fs_name){ s, (uint32_t)strlen(s) };
}

struct stream { uint8_t *data; size_t len, cap; struct send_stats stats; };
void stream_free(struct stream *s);

/* Must succeed.  FROM, TOKEN: NULL for none; MARK_BYTES 0: as usual. */
void repl_send(struct fs *fs, const char *volume, const char *snapshot, const char *from,
	       const struct stream_token *token, uint64_t mark_bytes, struct stream *ret);
/* The same, and says why not. */
int repl_try_send(struct fs *fs, const struct send_opts *o, struct stream *ret, char why[SEND_WHY]);
/* Feeds LEN bytes in pieces of random length; ends at the first error, which it returns. */
int repl_feed(struct receive *r, const void *data, size_t len, uint64_t seed);
/* All of it, and closes; the error, or 0.  *RET_KEPT (may be NULL): it can go on from *RET_TOKEN. */
int repl_receive(struct fs *fs, const char *volume, const struct stream *s, bool force, bool *ret_kept,
		 struct stream_token *ret_token);
/* Where record I begins; the offset behind the last one for an I that is too large.  Record 0 is BEGIN. */
size_t stream_record(const struct stream *s, unsigned i);
unsigned stream_records(const struct stream *s);

/* A pool that things are sent to. */
void target_open(struct rig *t, uint64_t nblocks, uint64_t seed);
void target_close(struct rig *t);
/* Such a pool from a disk's image, and back to one. */
void target_open_image(struct rig *t, struct dev_sim_image *image, const struct fs_config *cfg, uint64_t seed);
struct dev_sim_image *target_close_image(struct rig *t);

/* N random changes of the volume with the root ROOT. */
void repl_mess(struct rig *r, struct fs_id root, struct rng *rng, unsigned n);
/* "VOLUME" or "VOLUME@SNAPSHOT" of two pools: all but inode numbers and change attributes must be equal. */
void repl_same(struct fs *a, const char *a_name, struct fs *b, const char *b_name);
/* Volumes that users can see, and nothing else that was left by replication. */
void repl_expect_nothing(struct fs *fs, const char *volume);
/* Nothing that was to become VOLUME. */
void repl_expect_none_hidden(struct fs *fs, const char *volume);

#endif
