/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a text is XML, or YAML, at all; what it says there is for others to judge. */
#ifndef FLEET_SYNTAX_H
#define FLEET_SYNTAX_H

#include "fleet/fleet.h"

/* WHAT and the line are named in WHY. */
int xml_check(const char *what, const struct buf *text, char why[FLEET_WHY]);
/* One document, whose root is a mapping; or only comments. */
int yaml_check(const char *what, const struct buf *text, char why[FLEET_WHY]);

#endif
