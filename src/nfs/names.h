/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Users and groups by name, as this machine knows them (passwd, or whatever nsswitch.conf says).
 *
 * Asking may take long (LDAP), so a thread does it while the fiber waits; on a simulated loop, or
 * without one, the caller does.  Answers are kept for some minutes, the last NAMES_KEPT of them.
 */
#ifndef NFS_NAMES_H
#define NFS_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#define NAMES_KEPT 256
#define NAMES_WAITING_MAX 64
#define NAMES_LEN_MAX 64		/* longer ones are nobody's */

struct names;

int names_new(struct names **ret_names);
/* Nobody may be waiting any more. */
void names_free(struct names *n);

/*
 * The number of the user or GROUP of this name; of "name@domain" the domain is not looked at.  A
 * number in decimal is its own.  -ENOENT: there is none; -EAGAIN: too many wait already, or this
 * machine can't say now.  May wait.
 */
int names_find(struct names *n, bool group, const uint8_t *name, uint32_t len, uint32_t *ret_id);

#endif
