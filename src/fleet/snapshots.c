/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fleet's snapshots, as the manifest has them: which machines are in each, since when, and from which
 * version of the golden image their disks came:
 *
 *	{"before": {"desk-001": {"created": "2026-11-26T02:23:14Z", "version": 1}, ...}, ...}
 *
 * The disks themselves are in the fleet's folder, and none of this layer's business.
 */
#include <inttypes.h>
#include <string.h>

#include "admin/objname.h"
#include "fleet/fleet_int.h"

int tag_check(const char *tag, char why[FLEET_WHY])
{
	char shown[100];

	if (!snapshot_name_check(tag, why))
		return 0;
	text_printable(tag, strlen(tag), shown, sizeof(shown));
	return refuse(why, -EINVAL, "%s: not a snapshot's name; use letters, digits, '.', '_' and '-', no '.' or "
		      "'-' first, %d characters at most", shown, OBJNAME_VOLUME_MAX);
}

bool tag_has(const struct fleet *f, const char *tag, const char *machine, uint64_t *ret_version)
{
	const json_t *j = json_object_get(json_object_get(f->snapshots, tag), machine);

	if (j && ret_version)
		*ret_version = (uint64_t)json_integer_value(json_object_get(j, "version"));
	return j;
}

int tag_note(struct fleet *f, const char *tag, const struct machine *m, const char *created)
{
	json_t *machines;

	if (!f->snapshots)
		f->snapshots = json_object();
	machines = json_object_get(f->snapshots, tag);
	if (!machines) {
		machines = json_object();
		json_object_set_new(f->snapshots, tag, machines);
	}
	return json_object_set_new(machines, m->name, json_pack("{s:s,s:I}", "created", created, "version",
								(json_int_t)m->version)) ? -ENOMEM : 0;
}

void tag_forget(struct fleet *f, const char *tag, const char *machine)
{
	json_t *machines = json_object_get(f->snapshots, tag);

	json_object_del(machines, machine);
	if (machines && !json_object_size(machines))
		json_object_del(f->snapshots, tag);
}

void tags_text(const struct fleet *f, char *buf, size_t cap)
{
	const char *tag;
	json_t *machines;
	size_t n = 0;

	snprintf(buf, cap, "none");
	json_object_foreach(f->snapshots, tag, machines) {
		if (n >= cap)
			return;
		n += (size_t)snprintf(buf + n, cap - n, "%s%s", n ? ", " : "", tag);
	}
}

bool tags_need_version(const struct fleet *f, uint64_t version)
{
	const char *tag, *machine;
	json_t *machines, *j;

	json_object_foreach(f->snapshots, tag, machines)
		json_object_foreach(machines, machine, j)
			if ((uint64_t)json_integer_value(json_object_get(j, "version")) == version)
				return true;
	return false;
}

/* ---- from a manifest -------------------------------------------------------------------- */

static int one_check(const struct fleet *f, const json_t *names, const char *machine, const json_t *j,
		     char why[FLEET_WHY])
{
	const json_t *version = json_object_get(j, "version");
	const char *created = json_string_value(json_object_get(j, "created"));

	if (!json_object_get(names, machine))
		return refuse(why, -EINVAL, "%.80s is no machine of this fleet", machine);
	if (!created || !time_ok(created))
		return refuse(why, -EINVAL, "%s: created: must be a time, such as 2026-11-26T02:23:14Z", machine);
	if (!json_is_integer(version) || json_integer_value(version) < 1 ||
	    (uint64_t)json_integer_value(version) > f->version)
		return refuse(why, -EINVAL, "%s: version: must be a whole number, from 1 to %" PRIu64, machine,
			      f->version);
	return 0;
}

static int tag_take(const struct fleet *f, const json_t *names, const char *tag, const json_t *machines,
		    char why[FLEET_WHY])
{
	char what[FLEET_WHY];
	const char *machine;
	json_t *j;

	if (tag_check(tag, what))
		return refuse(why, -EINVAL, "snapshots: %.300s", what);
	if (!json_is_object(machines) || !json_object_size(machines))
		return refuse(why, -EINVAL, "snapshots: %s: must be an object that has machines", tag);
	json_object_foreach((json_t *)machines, machine, j)
		if (one_check(f, names, machine, j, what))
			return refuse(why, -EINVAL, "snapshots: %s: %.300s", tag, what);
	return 0;
}

int snapshots_take(json_t *j, struct fleet *f, char why[FLEET_WHY])
{
	json_t *names, *machines;
	const char *tag;
	int err = 0;

	if (!j)
		return 0;
	if (!json_is_object(j))
		return refuse(why, -EINVAL, "snapshots: must be an object");
	f->snapshots = json_incref(j);
	names = machine_names(f);
	json_object_foreach(j, tag, machines) {
		err = tag_take(f, names, tag, machines, why);
		if (err)
			break;
	}
	json_decref(names);
	return err;
}
