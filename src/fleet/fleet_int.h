/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of src/fleet: small things that its rooms share. */
#ifndef FLEET_FLEET_INT_H
#define FLEET_FLEET_INT_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "fleet/fleet.h"

/* Says WHY and passes ERR on. */
static inline int refuse(char why[FLEET_WHY], int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static inline int refuse(char why[FLEET_WHY], int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, FLEET_WHY, fmt, ap);
	va_end(ap);
	return err;
}

/* A host name's label (RFC 1123): letters, digits, dashes inside; MAX characters. */
bool label_ok(const char *s, size_t max);

bool time_ok(const char *s);

/* An image's name as it is kept, whatever way it was written: else nobody would find that it is used.  NULL: it is none. */
json_t *golden_text(const char *text);

/* An object that has them as keys. */
json_t *machine_names(const struct fleet *f);

/* F's snapshots from its manifest, whose machines are known already.  J: NULL for none. */
int snapshots_take(json_t *j, struct fleet *f, char why[FLEET_WHY]);
/* The same of attached disks. */
int attached_take(json_t *j, struct fleet *f, char why[FLEET_WHY]);

#endif
