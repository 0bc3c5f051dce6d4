/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Templates: text with {placeholders}, of letters a to z and underscores.
 *
 *	{name}		its value; one that is not known is an error, with its line
 *	{{name}}	the text {name}
 *	${name}		left as it is: a shell's variable
 *
 * Every other brace is text, so that YAML, JSON, shell and Jinja ({{ with a blank }}) survive.
 */
#ifndef FLEET_TEMPLATE_H
#define FLEET_TEMPLATE_H

#include "fleet/fleet.h"

/* A list of them ends with a NULL name.  A NULL value: known, but there is none here; MISSING
 * says why, "this fleet has no addresses". */
struct template_var { const char *name, *value, *missing; };

/* Appends TEXT with its placeholders replaced.  WHAT is named in WHY: "user-data". */
int template_render(const char *what, const char *text, const struct template_var *vars,
		    struct buf *ret, char why[FLEET_WHY]);

#endif
