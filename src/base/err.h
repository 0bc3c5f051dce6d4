/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Error codes.  Functions return 0 or a negative code.  Ordinary failures use errno
 * values; what errno has no word for has a private code here, above every errno value.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <errno.h>

#define EDAMAGED   5001	/* a checksum or a structure on the device is wrong */
#define EBADHANDLE 5002	/* a file handle that this server never made */
#define EBADCOOKIE 5003	/* a directory cookie that cannot be continued from */
#define EFORMAT    5004	/* not a pool, or a pool of a newer format */
#define ENOTSYNC   5005	/* a guard (ctime) did not match */
#define ERESTART_PASS 5006	/* the load pass started a read: run it again (never leaves src/fs) */

/* A short text for either kind of code; CODE may be negative.  Static storage. */
const char *err_text(int code);

#endif
