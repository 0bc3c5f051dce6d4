/* SPDX-License-Identifier: Apache-2.0 */
/* Golden images in versions: VOLUME:/golden/NAME@N. */
#ifndef PANDO_GOLDEN_H
#define PANDO_GOLDEN_H

#include "base/cleanup.h"
#include "pando/fleet_cmd.h"

#define GOLDEN_NAME_MAX 100
#define GOLDEN_VERSIONS_MAX 1000000
#define GOLDEN_PATH 256

struct golden_name {
	char volume[OBJNAME_VOLUME_MAX + 1];
	char name[GOLDEN_NAME_MAX + 1];
	uint64_t version;		/* 0: none is named */
};

/* Whether P names one. */
bool golden_parse(const struct objpath *p, struct golden_name *ret);
void golden_path(const struct golden_name *g, char buf[GOLDEN_PATH]);
/* The image that TEXT means: its newest version if it names none, and no file either.  *RET is the
 * caller's. */
int golden_resolve(struct cmd *c, const char *text, char **ret);
/* Whether GOLDEN, VOLUME:/path, is one that is never changed. */
bool golden_has_version(const char *golden);
/* Whether GOLDEN is TEXT, or a version of it. */
bool golden_is(const char *golden, const char *text);

#endif
