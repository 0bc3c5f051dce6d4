/* SPDX-License-Identifier: Apache-2.0 */
/* Between the model's files: content (model_data.c) and rules (model.c). */
#ifndef SIM_MODEL_INT_H
#define SIM_MODEL_INT_H

#include "model.h"
#include "base/err.h"

struct mcontent *content_new(void);
void content_put(struct mcontent *c);
/* All make the content *PC's own first. */
void content_write(struct mcontent **pc, uint64_t offset, const unsigned char *data, uint32_t len);
void content_truncate(struct mcontent **pc, uint64_t size);
/* COUNT blocks of SRC from block FROM on become those of *PC from block TO on. */
void content_copy(struct mcontent **pc, struct mcontent *src, uint64_t from, uint64_t to, uint64_t count);
/* Zeros: whole blocks become holes; parts of a block leave it there. */
void content_punch(struct mcontent **pc, uint64_t offset, uint64_t end);

#endif
