/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of physical limits share: a volume "v", its clone "w", and what is held against what the account finds. */
#ifndef SIM_PHYSICAL_KIT_H
#define SIM_PHYSICAL_KIT_H

#include <string.h>

#include "rig.h"

#define KIB4 4096u
#define LIMIT 500

static inline struct fs_name name_of(const char *s)
{
	return (struct fs_name){ s, (uint32_t)strlen(s) };
}

struct fs_id make(struct rig *r, struct fs_id dir, const char *name, enum fs_type type);
struct fs_id volume(struct rig *r, const char *name);	/* a new one: its root */
struct fs_volume_info *info(struct rig *r, const char *name);	/* until the next call */
int set_limit(struct rig *r, const char *name, int64_t blocks);
int write_at(struct rig *r, struct fs_id id, uint64_t first, uint32_t count);
/* Block by block until it is refused: how many. */
uint64_t fill(struct rig *r, struct fs_id id, uint64_t first, uint64_t max, int refusal);
/* By the account: what the volume and its snapshots have for themselves. */
uint64_t alone(struct rig *r, struct fs_id root);
void expect_exact(struct rig *r, const char *name, const char *when);
void cut(struct rig *r, uint64_t seed);
/* The clone "w" of volume "v": its file or directory NAME. */
struct fs_id share(struct rig *r, const char *name);
struct fs_id clone_to(struct rig *r, struct fs_id src, struct fs_id dir, const char *name);
/* One operation on files in D, which lead to E: it succeeds, or is refused by a limit. */
void anything(struct rig *r, struct rng *rng, const char *volume, struct fs_id d, struct fs_id e, uint32_t max_blocks);
/* With its snapshots. */
void destroy(struct rig *r, const char *name);

#endif
