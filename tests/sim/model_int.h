/* SPDX-License-Identifier: Apache-2.0 */
/* Between the model's files: content (model_data.c), inodes (model.c) and rules (model_rules.c). */
#ifndef SIM_MODEL_INT_H
#define SIM_MODEL_INT_H

#include "model.h"
#include "base/err.h"

struct mcontent *content_new(void);
void content_put(struct mcontent *c);
/* All make the content *PC's own first. */
void content_write(struct mcontent **pc, uint64_t offset, const unsigned char *data, uint32_t len);
bool content_has(const struct mcontent *c, uint64_t index);
void content_truncate(struct mcontent **pc, uint64_t size);
/* COUNT blocks of SRC from block FROM on become those of *PC from block TO on. */
void content_copy(struct mcontent **pc, struct mcontent *src, uint64_t from, uint64_t to, uint64_t count);
/* Zeros: whole blocks become holes; parts of a block leave it there. */
void content_punch(struct mcontent **pc, uint64_t offset, uint64_t end);

/* All take over OLD, and give the new set; NULL is the empty one. */
struct mxattrs *xattrs_set(struct mxattrs *old, const char *name, uint32_t name_len, uint32_t len,
			   uint64_t value);
struct mxattrs *xattrs_remove(struct mxattrs *old, const char *name, uint32_t name_len);
void xattrs_put(struct mxattrs *a);
const struct mxattr *xattrs_find(const struct mxattrs *a, const char *name, uint32_t name_len);
uint32_t xattrs_bytes(const struct mxattrs *a);	/* as the store counts */

/* A copy without its names and its parent. */
struct mnode *model_node_copy(struct model *m, const struct mnode *n, struct fs_id id);
void model_snaps_share(struct model *to, const struct model *from);
void model_snaps_free(struct model *m);
void model_snap_del(struct model *m, struct mfrozen *f);
void model_restore(struct model *m, struct mvolume *v, const struct mfrozen *f, uint64_t seq);

/* N counts for what DIR counts for. */
void model_quota_like(struct mnode *n, const struct mnode *dir);
/* The quota of DIR, if it has one, is no more. */
void model_quota_end(struct model *m, struct mnode *dir);
struct mnode *model_node_new(struct model *m, struct fs_id id, enum fs_type type);
void model_node_free(struct model *m, struct mnode *n);
void model_dirent_add(struct model *m, struct mnode *dir, const char *name, uint32_t len,
		      struct mnode *node);
void model_dirent_del(struct model *m, struct mnode *dir, const char *name, uint32_t len);
void model_volume_del(struct model *m, const char *name);	/* with all that is in it */
bool model_in_group(const struct fs_cred *c, uint32_t gid);
bool model_is_owner(const struct mnode *n, unsigned user);

#endif
