/* SPDX-License-Identifier: Apache-2.0 */
/* fleet destroy: what becomes of a fleet after it was made. */
#include "pando/fleet_cmd.h"

#include <stdio.h>
#include <string.h>

/* ---- destroy ---------------------------------------------------------------------------- */

/* "destroying" is written down first: who finds a part of it later knows what it is. */
static int destroy(struct cmd *c, struct fleet *f)
{
	struct fleet_files files;
	int err = fleet_survey(c, f, &files);

	if (err)
		return err;
	if (*files.foreign)
		return fail("%s:/fleets/%s: holds %s, which is not of this fleet; move it away, or remove "
			    "it, and destroy the fleet then", f->volume, f->name, files.foreign);
	f->state = FLEET_DESTROYING;
	err = fleet_save(c, f, false);
	return err ? err : fleet_files_remove(c, f);
}

int fleet_destroy(struct cmd *c)
{
	struct fleet f;
	int err = fleet_load(c, c->argv[0], &f);

	if (!err)
		err = destroy(c, &f);
	fleet_done(&f);
	return err;
}
