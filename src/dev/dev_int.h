/* SPDX-License-Identifier: Apache-2.0 */
/* What the devices share. */
#ifndef DEV_DEV_INT_H
#define DEV_DEV_INT_H

#include "dev/dev.h"

/* Finishes IO at the end of this turn of the loop: done() must not run within submit. */
void dev_io_complete_later(struct dev_io *io, int result);

#endif
