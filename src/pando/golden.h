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

/* TEXT as one, or BAD_USAGE. */
int golden_name_take(struct cmd *c, const char *text, struct golden_name *ret);

/* ---- what there is ---------------------------------------------------------------------- */

/* All versions of NAME (NULL: of all) in VOLUME, added to LIST, an object by path: golden, volume, name, version;
 * size and mapped if the image is there; known if there is a file of what is known of it. */
int golden_walk(struct cmd *c, const char *volume, const char *name, json_t *list);
/* The greatest version that is there, 0 for none; ANY: or was. */
uint64_t golden_newest(const json_t *list, bool any);

/* Adds what was written down of it to one of a list, or to all of which anything was. */
int golden_known_read(struct cmd *c, json_t *golden);
int golden_known_all(struct cmd *c, json_t *list);
/* Writes it down; GOLDEN: its path. */
int golden_known_write(struct cmd *c, const char *golden, const json_t *known);

/* The same for one that nothing is known of yet: only one of several who want the number gets it.  LOUD: tells why
 * it can't be had. */
bool golden_number_take(struct cmd *c, const char *golden, const json_t *known, bool loud);

/* ---- who uses it ------------------------------------------------------------------------ */

struct golden_users {
	const char *golden;
	json_t *list;			/* {fleet, machines}; the caller's */
	char unreadable[FLEET_WHY];	/* why a fleet's manifest doesn't tell; "": all do */
};
int golden_users_find(struct cmd *c, struct golden_users *u);
/* Sets users of all in LIST that are there. */
int golden_users_set(struct cmd *c, json_t *list);
/* "desk (3), lab (2)", or "-". */
void golden_users_text(const json_t *golden, char *buf, size_t cap);

#endif
