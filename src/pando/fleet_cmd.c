/* SPDX-License-Identifier: Apache-2.0 */
/* fleet list and show: which fleets there are, and how their machines are. */
#include "pando/fleet_cmd.h"

#include <stdio.h>
#include <string.h>

#include "admin/size.h"

/* ---- list ------------------------------------------------------------------------------- */

static int list_add(void *arg, struct fleet *f, const char *why)
{
	json_t *j;

	if (why)
		j = json_pack("{s:s,s:s,s:s,s:s}", "fleet", f->name, "volume", f->volume, "state",
			      "unreadable", "reason", why);
	else
		j = json_pack("{s:s,s:s,s:s,s:I,s:s,s:s,s:s*}", "fleet", f->name, "volume", f->volume,
			      "state", fleet_state_name(f->state), "machines", (json_int_t)f->n,
			      "golden", setting_text(f, "golden"), "created", f->created, "connect",
			      setting_text(f, "connect"));
	return json_array_append_new(arg, j) ? fail("out of memory") : DONE;
}

static int list_print(const json_t *list)
{
	struct table t;
	const json_t *f;
	char machines[24];
	size_t i;

	table_init(&t, "llrlll", "FLEET", "VOLUME", "MACHINES", "STATE", "GOLDEN IMAGE", "HYPERVISOR");
	json_array_foreach(list, i, f) {
		bool known = json_object_get(f, "machines") != NULL;

		snprintf(machines, sizeof(machines), "%llu", (unsigned long long)json_u64(f, "machines"));
		table_cell(&t, json_text(f, "fleet"));
		table_cell(&t, json_text(f, "volume"));
		table_cell(&t, known ? machines : "?");
		table_cell(&t, json_text(f, "state"));
		table_cell(&t, known ? json_text(f, "golden") : json_text(f, "reason"));
		table_cell(&t, *json_text(f, "connect") ? json_text(f, "connect") : "none");
	}
	return table_print(&t);
}

int fleet_list(struct cmd *c)
{
	json_t *list = json_array();
	int err = fleet_each(c, list_add, list);

	if (!err)
		err = c->json ? print_json(list) : list_print(list);
	json_decref(list);
	return err;
}

/* ---- show ------------------------------------------------------------------------------- */

static json_t *machine_json(const struct machine *m)
{
	return json_pack("{s:I,s:s,s:s,s:s,s:s*,s:b,s:b}", "number", (json_int_t)m->number, "name",
			 m->name, "uuid", m->uuid, "mac", m->mac, "address",
			 *m->address ? m->address : NULL, "disk", m->has_disk, "seed", m->has_seed);
}

static json_t *show_json(const struct fleet *f, const struct fleet_files *files)
{
	json_t *machines = json_array();
	uint64_t incomplete = 0;
	size_t i;

	for (i = 0; i < f->n; i++) {
		json_array_append_new(machines, machine_json(&f->machines[i]));
		incomplete += !f->machines[i].has_disk || !f->machines[i].has_seed;
	}
	return json_pack("{s:s,s:s,s:s,s:s,s:O,s:b,s:I,s:s*,s:o}", "fleet", f->name, "volume", f->volume,
			 "state", fleet_state_name(f->state), "created", f->created, "settings",
			 f->settings, "golden_share", files->golden, "incomplete",
			 (json_int_t)incomplete, "foreign", *files->foreign ? files->foreign : NULL,
			 "machines", machines);
}

static void settings_print(const struct fleet *f)
{
	char size[SIZE_TEXT];
	const char *key, *text;
	unsigned i;

	for (i = 0; (key = setting_key(i)); i++) {
		text = setting_text(f, key);
		if (!strcmp(key, "memory"))
			printf("%-15s %s\n", key, size_text(setting_number(f, key), size));
		else if (setting_is_number(key))
			printf("%-15s %llu\n", key, (unsigned long long)setting_number(f, key));
		else if (text && (!strcmp(key, "user_data") || !strcmp(key, "network_config") ||
				  !strcmp(key, "domain")))
			printf("%-15s its own template, %zu bytes\n", key, strlen(text));
		else if (text)
			printf("%-15s %s\n", key, text);
	}
}

static const char *files_text(const struct machine *m)
{
	return m->has_disk ? m->has_seed ? "complete" : "no seed" : m->has_seed ? "no disk"
										: "no disk, no seed";
}

static int show_print(const struct fleet *f, const struct fleet_files *files, uint64_t incomplete)
{
	struct table t;
	char number[24];
	size_t i;

	printf("%-15s %s\n%-15s %s:/fleets/%s\n%-15s %s\n%-15s %s\n", "fleet", f->name, "folder",
	       f->volume, f->name, "state", fleet_state_name(f->state), "created", f->created);
	settings_print(f);
	if (*files->foreign)
		printf("%-15s %s is in its folder and isn't its own\n", "foreign", files->foreign);
	if (incomplete || !files->golden || f->state == FLEET_MAKING)
		printf("%-15s %llu machines; 'pando fleet create %s' completes it\n", "incomplete",
		       (unsigned long long)incomplete, f->name);
	putchar('\n');
	table_init(&t, "rlllll", "NUMBER", "NAME", "ADDRESS", "MAC", "UUID", "FILES");
	for (i = 0; i < f->n; i++) {
		const struct machine *m = &f->machines[i];

		snprintf(number, sizeof(number), "%llu", (unsigned long long)m->number);
		table_cell(&t, number);
		table_cell(&t, m->name);
		table_cell(&t, *m->address ? m->address : "-");
		table_cell(&t, m->mac);
		table_cell(&t, m->uuid);
		table_cell(&t, files_text(m));
	}
	return table_print(&t);
}

int fleet_show(struct cmd *c)
{
	struct fleet_files files;
	struct fleet f;
	json_t *j;
	int err = fleet_load(c, c->argv[0], &f);

	if (!err)
		err = fleet_survey(c, &f, &files);
	if (!err) {
		j = show_json(&f, &files);
		err = c->json ? print_json(j) : show_print(&f, &files, json_u64(j, "incomplete"));
		json_decref(j);
	}
	fleet_done(&f);
	return err;
}
