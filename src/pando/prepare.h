/* SPDX-License-Identifier: Apache-2.0 */
/* Resetting the identity of a system in a raw disk image, offline. */
#ifndef PANDO_PREPARE_H
#define PANDO_PREPARE_H

#include "pando/pando.h"

/* Changes the image at PATH, which is ours to change; NAME is told of in messages.  DONE, or FAILED after one
 * line.  *RET_REMOVED: how many files were in the way. */
int image_prepare(const char *path, const char *name, unsigned *ret_removed);

#endif
