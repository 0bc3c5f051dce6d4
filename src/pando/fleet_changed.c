/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What machines have written: how many bytes of their disks are not the golden share's blocks any more.  One
 * call for each, whose cost is in what has changed; no data is read.
 */
#include "pando/fleet_cmd.h"

#include <string.h>

#include "base/cleanup.h"

/* Adds what one page tells.  NULL: it cannot be told. */
static json_t *page_get(struct cmd *c, const char *golden, const char *disk, uint64_t at)
{
	CLEANUP_BUF struct buf answer = { .max = 65536 };
	struct request r;

	request_init(&r, "GET", "/v1/diff", NULL);
	request_arg(&r, "a", golden);
	request_arg(&r, "b", disk);
	request_arg(&r, "quick", "1");
	request_arg(&r, "count", "1");
	request_arg_u64(&r, "offset", at);
	return client_try_data(c, &r, &answer) ? json_loadb(buf_str(&answer), answer.len, 0, NULL) : NULL;
}

/* A VHD's footer is nothing that the machine has written. */
static uint64_t footer_of(const struct fleet *f, uint64_t changed)
{
	uint64_t footer = strcmp(disk_suffix(f), ".vhd") ? 0 : VHD_FOOTER;

	return footer < changed ? footer : changed;
}

static void changed_of(struct cmd *c, const struct fleet *f, struct machine *m)
{
	char golden[300], disk[300], name[160] = "/";
	uint64_t at = 0, n = 0;
	const json_t *bytes;
	json_t *page;

	golden_share_name(m->version, name + 1, sizeof(name) - 1);
	fleet_path(f, name, golden, sizeof(golden));
	snprintf(name, sizeof(name), "/disks/%s%s", m->name, disk_suffix(f));
	fleet_path(f, name, disk, sizeof(disk));
	do {
		page = page_get(c, golden, disk, at);
		if (!page)
			return;
		bytes = json_object_get(page, "bytes");
		n += json_u64(bytes, "changed") + json_u64(bytes, "data") + json_u64(bytes, "hole");
		at = json_u64(page, "next");
		json_decref(page);
	} while (at && !interrupted);
	m->changed_known = true;
	m->changed = n - footer_of(f, n);
}

void fleet_changed(struct cmd *c, struct fleet *f)
{
	size_t i;

	for (i = 0; i < f->n && !interrupted; i++)
		if (f->machines[i].chosen && f->machines[i].has_disk)
			changed_of(c, f, &f->machines[i]);
}
