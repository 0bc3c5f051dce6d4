/* SPDX-License-Identifier: Apache-2.0 */
/* Where the management socket is: see sockpath.h. */
#include "admin/sockpath.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int socket_default_path(char *buf, size_t cap)
{
	const char *env = getenv("PANDO_SOCKET"), *xdg = getenv("XDG_RUNTIME_DIR");
	int n;

	if (env && *env)
		n = snprintf(buf, cap, "%s", env);
	else if (geteuid() == 0)
		n = snprintf(buf, cap, "/run/pando/pandod.sock");
	else if (xdg && *xdg == '/')
		n = snprintf(buf, cap, "%s/pando/pandod.sock", xdg);
	else
		n = snprintf(buf, cap, "/tmp/pando-%u/pandod.sock", (unsigned)geteuid());
	return n < 0 || (size_t)n >= cap ? -ENAMETOOLONG : 0;
}
