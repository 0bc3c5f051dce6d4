/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fleets for other hypervisors than QEMU.
 *
 * --format vhd: disks are /fleets/NAME/disks/MACHINE.vhd, a clone with a footer behind it, which is the
 * machine's own; data disks are VHDs too, and seeds are ISO images, for the DVD drive.
 *
 * --format vmware: disks are raw as ever, and beside them is for each machine a directory that ESXi can
 * register.  Its descriptors lead to them, so whatever takes a disk's place is found:
 *
 *	/fleets/NAME/vmware/MACHINE/MACHINE.vmx
 *	.../MACHINE.vmdk		../../disks/MACHINE.raw
 *	.../MACHINE-seed.vmdk		../../seeds/MACHINE.img; an .iso is named by the .vmx
 *	.../MACHINE-data.vmdk		../../data/MACHINE.raw
 */
#include "pando/fleet_cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define CLONES_BATCH 2000		/* in a call */

static int size_get(struct cmd *c, const char *path, uint64_t *ret)
{
	struct request r;
	json_t *j;
	int err;

	request_init(&r, "GET", "/v1/files", NULL);
	request_arg(&r, "path", path);
	err = client_call(c, &r, &j);
	if (!err)
		*ret = json_u64(j, "size");
	if (!err)
		json_decref(j);
	return err;
}

int format_check(const struct fleet *f, const char *golden, uint64_t size)
{
	const char *format = setting_text(f, "format");

	if (strcmp(format, "raw") && (size % 512 || !size))
		return fail("%s: has %llu bytes, and disks of the format %s have whole sectors of 512", golden,
			    (unsigned long long)size, format);
	if (!strcmp(format, "vhd") && size > VHD_MAX)
		return fail("%s: is larger than a VHD can be, 2040 GiB", golden);
	return DONE;
}

/* ---- VHD -------------------------------------------------------------------------------- */

int vhds_clone(struct cmd *c, const struct fleet *f, uint64_t version, const char *prefix, machine_want want,
	       uint64_t *count, uint64_t *elapsed_us)
{
	char golden[300], name[40] = "/";
	unsigned char footer[VHD_FOOTER];
	uint64_t size, started_ns = clock_ns();
	unsigned how = *prefix ? FILES_MAKE_ROOM : 0;
	json_t *files = json_array();
	size_t i;
	int err;

	golden_share_name(version, name + 1, sizeof(name) - 1);
	fleet_path(f, name, golden, sizeof(golden));
	err = size_get(c, golden, &size);
	for (i = 0; i < f->n && !err; i++) {
		const struct machine *m = &f->machines[i];

		if (!want(m) || m->version != version)
			continue;
		vhd_footer(size, m->uuid, footer);
		json_array_append_new(files, json_pack("{s:o,s:s,s:I,s:o}", "name",
						       json_sprintf("%s%s.vhd", prefix, m->name), "src", golden,
						       "offset", (json_int_t)size, "data",
						       json_base64(footer, sizeof(footer))));
		++*count;
		if (json_array_size(files) == CLONES_BATCH)
			err = fleet_files_send(c, f, "/disks", NULL, how, &files);
	}
	if (!err)
		err = fleet_files_send(c, f, "/disks", NULL, how, &files);
	json_decref(files);
	*elapsed_us += (clock_ns() - started_ns) / 1000;
	return err;
}

/* ---- VMware ----------------------------------------------------------------------------- */

static int descriptor_add(json_t *files, const struct machine *m, const char *rest, const char *extent, uint64_t size)
{
	CLEANUP_BUF struct buf text = { 0 };

	/* an id of its own for each disk, that is the same when it is made again */
	if (vmdk_descriptor(size, extent, (uint32_t)strtoul(m->uuid, NULL, 16) ^ (uint32_t)rest[0], &text))
		return fail("out of memory");
	json_array_append_new(files, json_pack("{s:o,s:o}", "name", json_sprintf("%s%s.vmdk", m->name, rest), "data",
					       json_base64(text.data, text.len)));
	return DONE;
}

/* FOLDER: "disks", with the file's suffix. */
static int disk_add(struct cmd *c, const struct fleet *f, const struct machine *m, json_t *files, const char *rest,
		    const char *folder, const char *suffix)
{
	char path[400], extent[220], at[200];
	uint64_t size = 0;
	int err;

	snprintf(at, sizeof(at), "/%s/%s%s", folder, m->name, suffix);
	snprintf(extent, sizeof(extent), "../..%s", at);
	fleet_path(f, at, path, sizeof(path));
	err = size_get(c, path, &size);
	return err ? err : descriptor_add(files, m, rest, extent, size);
}

static int vmware_put(struct cmd *c, const struct fleet *f, const struct machine *m)
{
	CLEANUP_BUF struct buf vmx = { 0 };
	json_t *files = json_array();
	char folder[100], path[400];
	struct request r;
	int err = machine_vmx(f, m, &vmx) ? fail("out of memory") : DONE;

	snprintf(folder, sizeof(folder), "/vmware/%s", m->name);
	fleet_path(f, folder, path, sizeof(path));
	if (!err) {
		request_init(&r, "POST", "/v1/directories", NULL);
		request_arg(&r, "path", path);
		request_arg(&r, "parents", "1");
		err = client_call(c, &r, NULL);
	}
	if (!err)
		err = disk_add(c, f, m, files, "", "disks", ".raw");
	if (!err && strcmp(seed_suffix(f), ".iso"))		/* which the .vmx names itself */
		err = disk_add(c, f, m, files, "-seed", "seeds", seed_suffix(f));
	if (!err && setting_number(f, "data"))
		err = disk_add(c, f, m, files, "-data", "data", ".raw");
	json_array_append_new(files, json_pack("{s:o,s:o}", "name", json_sprintf("%s.vmx", m->name), "data",
					       json_base64(vmx.data, vmx.len)));
	if (!err)
		err = fleet_files_send(c, f, folder, "0644", FILES_REPLACE, &files);	/* the .vmx is the last */
	json_decref(files);
	return err;
}

int fleet_vmware_put(struct cmd *c, const struct fleet *f, machine_want want)
{
	size_t i;
	int err = DONE;

	for (i = 0; i < f->n && !err && !strcmp(setting_text(f, "format"), "vmware"); i++)
		if (want(&f->machines[i]))
			err = vmware_put(c, f, &f->machines[i]);
	return err;
}

/* ---- what is there ---------------------------------------------------------------------- */

struct vmware_survey {
	struct cmd *c;
	struct fleet *f;
	const json_t *index;
	struct fleet_files *files;
	const struct machine *m;
	bool vmx;
	json_t *seen;			/* machines that are complete */
};

static void foreign_note(struct vmware_survey *s, const char *folder, const char *name)
{
	if (!*s->files->foreign)
		snprintf(s->files->foreign, sizeof(s->files->foreign), "vmware/%s%s%.200s", folder, *folder ? "/" : "",
			 name);
}

/* What VMware itself leaves in a machine's directory (logs, NVRAM, swap) is that machine's. */
static int vmware_file(void *arg, const json_t *entry)
{
	struct vmware_survey *s = arg;
	const char *name = json_text(entry, "name");
	size_t len = strlen(s->m->name);

	if (!strncmp(name, s->m->name, len) && !strcmp(name + len, ".vmx"))
		s->vmx = true;
	else if ((strncmp(name, s->m->name, len) || !strchr(".-", name[len])) && strncmp(name, "vmware", 6))
		foreign_note(s, s->m->name, name);
	return DONE;
}

static int vmware_folder(void *arg, const json_t *entry)
{
	struct vmware_survey *s = arg;
	const char *name = json_text(entry, "name");
	const json_t *at = json_object_get(s->index, name);
	char rest[100], path[400];
	int err;

	if (!at || strcmp(json_text(entry, "type"), "directory")) {
		foreign_note(s, "", name);
		return DONE;
	}
	s->m = &s->f->machines[json_integer_value(at)];
	s->vmx = false;
	snprintf(rest, sizeof(rest), "/vmware/%s", s->m->name);
	fleet_path(s->f, rest, path, sizeof(path));
	err = entries_each(s->c, path, vmware_file, s);
	if (s->vmx)
		json_object_set_new(s->seen, name, json_true());
	return err;
}

int vmware_survey(struct cmd *c, struct fleet *f, const json_t *index, struct fleet_files *files)
{
	struct vmware_survey s = { .c = c, .f = f, .index = index, .files = files };
	char path[300];
	size_t i;
	int err;

	if (strcmp(setting_text(f, "format"), "vmware"))
		return DONE;
	s.seen = json_object();
	fleet_path(f, "/vmware", path, sizeof(path));
	err = entries_each(c, path, vmware_folder, &s);
	for (i = 0; i < f->n; i++)
		f->machines[i].has_seed &= json_object_get(s.seen, f->machines[i].name) != NULL;
	json_decref(s.seen);
	return err;
}
