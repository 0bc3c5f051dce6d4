/* SPDX-License-Identifier: Apache-2.0 */
/* Between the model's files: content (model_data.c) and rules (model.c). */
#ifndef SIM_MODEL_INT_H
#define SIM_MODEL_INT_H

#include "model.h"
#include "base/err.h"

struct mcontent *content_new(void);
void content_put(struct mcontent *c);
/* Both make the content *PC's own first. */
void content_write(struct mcontent **pc, uint64_t offset, const unsigned char *data, uint32_t len);
void content_truncate(struct mcontent **pc, uint64_t size);

#endif
