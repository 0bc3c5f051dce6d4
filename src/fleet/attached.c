/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that machines have beside their own, as the manifest has them:
 *
 *	{"desk-001": [{"target": "vdd", "object": "vms:/tools.raw", "read_only": true}, ...], ...}
 *
 * One that is "leaving" is being detached.  The manifest says what a machine is to have; hypervisor_disks.c
 * sees to it that its domain does.  What is in these disks is none of the fleet's business: no refresh changes it, and no
 * snapshot of the fleet has it.
 */
#include <stdlib.h>
#include <string.h>

#include "admin/objname.h"
#include "fleet/fleet_int.h"

/* ---- which there are -------------------------------------------------------------------- */

static json_t *list_of(const struct fleet *f, const char *machine)
{
	return json_object_get(f->attached, machine);
}

static struct attached attached_of(const json_t *j)
{
	return (struct attached){
		.target = json_string_value(json_object_get(j, "target")),
		.object = json_string_value(json_object_get(j, "object")),
		.read_only = json_is_true(json_object_get(j, "read_only")),
		.leaving = json_is_true(json_object_get(j, "leaving")),
	};
}

bool attached_at(const struct fleet *f, const char *machine, size_t i, struct attached *ret)
{
	const json_t *j = json_array_get(list_of(f, machine), i);

	if (j)
		*ret = attached_of(j);
	return j;
}

static json_t *attached_find(const struct fleet *f, const char *machine, const char *object)
{
	json_t *j;
	size_t i;

	json_array_foreach(list_of(f, machine), i, j)
		if (!strcmp(attached_of(j).object, object))
			return j;
	return NULL;
}

bool attached_has(const struct fleet *f, const char *machine, const char *object)
{
	return attached_find(f, machine, object);
}

const char *attached_clash(const struct fleet *f, const char *object, bool read_only, const char *but)
{
	const char *machine;
	const json_t *j;
	json_t *list;

	json_object_foreach(f->attached, machine, list) {
		j = attached_find(f, machine, object);
		if (j && !(but && !strcmp(machine, but)) && !(read_only && attached_of(j).read_only))
			return machine;
	}
	return NULL;
}

/* ---- changing them ---------------------------------------------------------------------- */

static bool target_ok(const char *s)
{
	return strlen(s) == 3 && !strncmp(s, "vd", 2) && s[2] >= 'd' && s[2] <= 'z';
}

static bool target_taken(const json_t *list, const char *target)
{
	const json_t *j;
	size_t i;

	json_array_foreach((json_t *)list, i, j)
		if (!strcmp(attached_of(j).target, target))
			return true;
	return false;
}

static int target_choose(const json_t *list, const char *wanted, char target[4], char why[FLEET_WHY])
{
	if (wanted && !target_ok(wanted))
		return refuse(why, -EINVAL, "%.40s: not a place for a disk; it must be one of vdd to vdz", wanted);
	if (wanted && target_taken(list, wanted))
		return refuse(why, -EEXIST, "has another disk at %s", wanted);
	strcpy(target, wanted ? wanted : "vdd");
	while (!wanted && target[2] <= 'z' && target_taken(list, target))
		target[2]++;
	return target[2] <= 'z' ? 0 : refuse(why, -ENOSPC, "has as many disks attached as it can have");
}

int attached_note(struct fleet *f, const char *machine, const char *object, bool read_only, const char *wanted,
		  char why[FLEET_WHY])
{
	json_t *j = attached_find(f, machine, object), *list;
	char target[4];
	int err;

	if (j && attached_of(j).leaving)
		return refuse(why, -EBUSY, "is being detached from it; 'pando fleet detach' finishes that");
	if (j)
		return attached_of(j).read_only == read_only && (!wanted || !strcmp(wanted, attached_of(j).target)) ? 0 :
			refuse(why, -EEXIST, "has it already, otherwise; detach it first");
	if (!f->attached)
		f->attached = json_object();
	list = list_of(f, machine);
	err = target_choose(list, wanted, target, why);
	if (err)
		return err;
	if (!list) {
		list = json_array();
		json_object_set_new(f->attached, machine, list);
	}
	return json_array_append_new(list, json_pack("{s:s,s:s,s:b}", "target", target, "object", object, "read_only",
						     read_only)) ? refuse(why, -ENOMEM, "out of memory") : 0;
}

void attached_leave(struct fleet *f, const char *machine, const char *object)
{
	json_object_set_new(attached_find(f, machine, object), "leaving", json_true());
}

void attached_strike(struct fleet *f, const char *machine, const char *object)
{
	json_t *list = list_of(f, machine), *j;
	size_t i;

	json_array_foreach(list, i, j)
		if (!strcmp(attached_of(j).object, object)) {
			json_array_remove(list, i);
			break;
		}
	if (list && !json_array_size(list))
		json_object_del(f->attached, machine);
}

void attached_forget(struct fleet *f, const char *machine)
{
	json_object_del(f->attached, machine);
}

/* ---- from a manifest, or a command line ------------------------------------------------- */

int attached_check(const struct fleet *f, const char *object, bool read_only, char why[FLEET_WHY])
{
	struct objpath p;
	const char *s;

	if (objpath_parse(object, strlen(object), &p, why))
		return -EINVAL;
	/* one file has one name here: else two machines could have it, and nobody notice */
	if (strcmp(object + strlen(p.volume) + 1, p.path))
		return refuse(why, -EINVAL, "%.200s: write it as %s:%.150s", object, p.volume, p.path);
	for (s = object; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return refuse(why, -EINVAL, "its name has a character that XML cannot have; rename it");
	if (objpath_is_frozen(&p) || objpath_is_root(&p))
		return refuse(why, -EINVAL, "%.200s: must be a file, and not one in a snapshot: clone that first", object);
	if (!strncmp(p.path, "/fleets/", 8))
		return refuse(why, -EINVAL, "%.200s: is a fleet's own; clone it, and attach the clone", object);
	if (!strncmp(p.path, "/golden/", 8) && !read_only)
		return refuse(why, -EINVAL, "%.200s: is a golden image, which no machine may write to; attach it read-only, "
			      "or a clone of it", object);
	if (setting_text(f, "path") && strcmp(p.volume, f->volume))
		return refuse(why, -EINVAL, "%.200s: this fleet's hosts have the volume %s mounted, and no other", object,
			      f->volume);
	return 0;
}

static int one_check(const struct fleet *f, const json_t *list, size_t i, char why[FLEET_WHY])
{
	const json_t *j = json_array_get(list, i), *read_only = json_object_get(j, "read_only"),
		     *leaving = json_object_get(j, "leaving");
	struct attached a = attached_of(j), b;
	size_t k;

	if (!a.target || !target_ok(a.target))
		return refuse(why, -EINVAL, "target: must be one of vdd to vdz");
	if (!json_is_boolean(read_only) || (leaving && !json_is_boolean(leaving)))
		return refuse(why, -EINVAL, "read_only, leaving: must be true or false");
	if (!a.object)
		return refuse(why, -EINVAL, "object: must be text, such as vms:/tools.raw");
	for (k = 0; k < i; k++) {
		b = attached_of(json_array_get(list, k));
		if (!strcmp(a.target, b.target) || !strcmp(a.object, b.object))
			return refuse(why, -EINVAL, "%s: is there twice", a.target);
	}
	return attached_check(f, a.object, a.read_only, why);
}

int attached_take(json_t *j, struct fleet *f, char why[FLEET_WHY])
{
	char what[FLEET_WHY];
	const char *machine;
	json_t *list, *names;
	size_t i;
	int err = 0;

	if (!j)
		return 0;
	if (!json_is_object(j))
		return refuse(why, -EINVAL, "attached: must be an object");
	f->attached = json_incref(j);
	names = machine_names(f);
	json_object_foreach(j, machine, list) {
		if (!json_object_get(names, machine))
			err = refuse(why, -EINVAL, "attached: %.80s is no machine of this fleet", machine);
		else if (!json_is_array(list) || !json_array_size(list))
			err = refuse(why, -EINVAL, "attached: %s: must be a list of disks", machine);
		for (i = 0; !err && i < json_array_size(list); i++)
			if (one_check(f, list, i, what))
				err = refuse(why, -EINVAL, "attached: %s: number %zu in the list: %.300s", machine, i + 1, what);
		if (err)
			break;
	}
	json_decref(names);
	return err;
}
