/* SPDX-License-Identifier: Apache-2.0 */
/* Resetting the identity of a system in a raw disk image, offline. */
#ifndef PANDO_PREPARE_H
#define PANDO_PREPARE_H

#include <stdio.h>

#include "pando/pando.h"

/* Changes the image at PATH, which is ours to change; NAME is told of in messages.  FIRST_BOOT: it gets what makes a
 * system without cloud-init its own machine by its seed.  DONE, or FAILED after one line.  *RET_REMOVED: how many files
 * were in the way. */
int image_prepare(const char *path, const char *name, bool first_boot, unsigned *ret_removed);

/* What debugfs is to do for that, added to SCRIPT; the files that it names are the caller's to remove, and free. */
#define FIRST_BOOT_TEMPS 2
int first_boot_script(FILE *script, const char *beside, char *temps[FIRST_BOOT_TEMPS]);

#endif
