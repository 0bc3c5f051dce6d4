/* SPDX-License-Identifier: Apache-2.0 */
/* Where the management socket is, for the daemon and for those who look for it. */
#ifndef ADMIN_SOCKPATH_H
#define ADMIN_SOCKPATH_H

#include <stddef.h>

/*
 * Unless something else is said: $PANDO_SOCKET, else for root /run/pando/pandod.sock, else
 * $XDG_RUNTIME_DIR/pando/pandod.sock, else /tmp/pando-UID/pandod.sock.  -ENAMETOOLONG.
 */
int socket_default_path(char *buf, size_t cap);

#endif
