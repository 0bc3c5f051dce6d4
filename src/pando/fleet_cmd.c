/* SPDX-License-Identifier: Apache-2.0 */
/* fleet list and show: which fleets there are, how their machines are, and what they have written. */
#include "pando/fleet_cmd.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "admin/size.h"

/* ---- list ------------------------------------------------------------------------------- */

/* NULL: never. */
static const char *expiry_text(const struct fleet *f, char buf[32])
{
	time_t over = fleet_expiry(f);
	struct tm tm;

	if (!over)
		return NULL;
	gmtime_r(&over, &tm);
	strftime(buf, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return buf;
}

static int list_add(void *arg, struct fleet *f, const char *why)
{
	char over[32];
	json_t *j;

	if (why)
		j = json_pack("{s:s,s:s,s:s,s:s}", "fleet", f->name, "volume", f->volume, "state",
			      "unreadable", "reason", why);
	else
		j = json_pack("{s:s,s:s,s:s,s:I,s:I,s:s,s:s,s:s*,s:s*}", "fleet", f->name, "volume", f->volume,
			      "state", fleet_state_name(f->state), "machines", (json_int_t)fleet_count(f),
			      "spares", (json_int_t)(f->n - fleet_count(f)),
			      "golden", setting_text(f, "golden"), "created", f->created, "connect",
			      setting_text(f, "connect"), "expires", expiry_text(f, over));
	return json_array_append_new(arg, j) ? fail("out of memory") : DONE;
}

static int list_print(const json_t *list)
{
	struct table t;
	const json_t *f;
	char machines[48];
	size_t i;

	table_init(&t, "llrllll", "FLEET", "VOLUME", "MACHINES", "STATE", "GOLDEN IMAGE", "HYPERVISOR",
		   "EXPIRES");
	json_array_foreach(list, i, f) {
		bool known = json_object_get(f, "machines") != NULL;

		snprintf(machines, sizeof(machines), json_u64(f, "spares") ? "%llu+%llu" : "%llu",
			 (unsigned long long)json_u64(f, "machines"), (unsigned long long)json_u64(f, "spares"));
		table_cell(&t, json_text(f, "fleet"));
		table_cell(&t, json_text(f, "volume"));
		table_cell(&t, known ? machines : "?");
		table_cell(&t, json_text(f, "state"));
		table_cell(&t, known ? json_text(f, "golden") : json_text(f, "reason"));
		table_cell(&t, *json_text(f, "connect") ? json_text(f, "connect") : "none");
		table_cell(&t, *json_text(f, "expires") ? json_text(f, "expires") : "never");
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

struct shown {
	struct fleet f;
	struct fleet_files files;
	struct hosts hosts;
	char hosts_why[FLEET_WHY];	/* why the first can't be asked that can't; "": all were */
	uint64_t incomplete, running;
	uint64_t changed;		/* bytes, of all machines that are shown */
};

/* A hypervisor that is away is no reason to show nothing. */
static int hosts_ask(struct cmd *c, struct shown *s)
{
	int err = hosts_open(c, &s->f, &s->hosts);
	unsigned i;

	if (err || !s->hosts.n)
		return err;
	hosts_survey(&s->hosts, &s->f, s->hosts_why);
	for (i = s->hosts.n; i-- > 0;)
		if (*s->hosts.at[i].why)
			memcpy(s->hosts_why, s->hosts.at[i].why, FLEET_WHY);
	return DONE;
}

static void machines_count(struct shown *s)
{
	const struct machine *m;
	size_t i;

	for (i = 0; i < s->f.n; i++) {
		m = &s->f.machines[i];
		s->incomplete += !m->has_disk || !m->has_seed || !m->has_data ||
				 m->domain == DOMAIN_NONE || m->domain == DOMAIN_FOREIGN;
		s->running += m->domain == DOMAIN_RUNNING;
		s->changed += m->changed;
	}
}

/* A clock that was put back makes it 0. */
static uint64_t up_seconds(const struct machine *m)
{
	uint64_t now = (uint64_t)time(NULL);

	return now > m->up_since ? now - m->up_since : 0;
}

static json_t *machine_json(const struct shown *s, const struct machine *m)
{
	const char *golden = fleet_golden(&s->f, m->version);
	json_t *changed = m->changed_known ? json_integer((json_int_t)m->changed) : NULL;
	json_t *up = m->up_since ? json_integer((json_int_t)up_seconds(m)) : NULL;
	char buf[DOMAIN_TEXT], uri[FLEET_HOST] = "";

	if (m->host != HOST_NONE)
		host_at(setting_text(&s->f, "connect"), m->host, uri);
	return json_pack("{s:I,s:I,s:s*,s:o*,s:o*,s:s*,s:s,s:s,s:s,s:s*,s:b,s:b,s:b,s:b,s:s*,s:s*,s:O*}", "number",
			 (json_int_t)m->number, "version", (json_int_t)m->version, "golden", *golden ? golden : NULL,
			 "changed", changed, "up_seconds", up, "domain_more", m->domain_more,
			 "name", m->name, "uuid", m->uuid, "mac", m->mac, "address",
			 *m->address ? m->address : NULL, "disk", m->has_disk, "seed", m->has_seed, "data", m->has_data,
			 "spare", m->spare, "host", *uri ? uri : NULL, "domain", s->hosts.n ? domain_text(&s->hosts, m, buf) : NULL, "attached",
			 json_object_get(s->f.attached, m->name));
}

static const char *tag_created(const json_t *machines)
{
	const char *machine;
	json_t *j;

	json_object_foreach((json_t *)machines, machine, j)
		return json_text(j, "created");
	return "";
}

static json_t *tags_json(const struct fleet *f)
{
	json_t *list = json_array(), *machines, *names, *j;
	const char *tag, *machine;

	json_object_foreach(f->snapshots, tag, machines) {
		names = json_array();
		json_object_foreach(machines, machine, j)
			json_array_append_new(names, json_string(machine));
		json_array_append_new(list, json_pack("{s:s,s:s,s:o}", "snapshot", tag, "created",
						      tag_created(machines), "machines", names));
	}
	return list;
}

static void tags_print(const struct shown *s)
{
	const char *tag;
	json_t *machines;

	json_object_foreach(s->f.snapshots, tag, machines)
		printf("%-15s %s, of %s, %zu of %zu machines\n", "snapshot", tag, tag_created(machines),
		       json_object_size(machines), s->f.n);
	if (*s->files.unfinished)
		printf("%-15s %s, which was cut short; 'pando fleet snapshot %s %s --remove' removes it\n",
		       "unfinished", s->files.unfinished, s->f.name, s->files.unfinished);
	if (*s->files.lost)
		named_print(15, "lost", "of snapshot %s", s->files.lost);
}

/* A line for each disk, with the machine that has it, or how many have. */
static void attached_print(const struct fleet *f)
{
	json_t *lines = json_object(), *names, *list;
	const char *machine, *line;
	struct attached a;
	char text[600];
	size_t i;

	json_object_foreach(f->attached, machine, list)
		for (i = 0; attached_at(f, machine, i, &a); i++) {
			snprintf(text, sizeof(text), "%.500s at %s%s%s", a.object, a.target, a.read_only ? ", read-only" : "",
				 a.leaving ? ", being detached" : "");
			names = json_object_get(lines, text);
			if (!names) {
				names = json_array();
				json_object_set_new(lines, text, names);
			}
			json_array_append_new(names, json_string(machine));
		}
	json_object_foreach(lines, line, names)
		if (json_array_size(names) == 1)
			named_print(15, "attached", "%s: %s", line, json_string_value(json_array_get(names, 0)));
		else
			named_print(15, "attached", "%s: %zu machines", line, json_array_size(names));
	json_decref(lines);
}

static int show_json(const struct shown *s)
{
	json_t *machines = json_array(), *j;
	size_t i;
	int err;

	for (i = 0; i < s->f.n; i++)
		if (s->f.machines[i].chosen)
			json_array_append_new(machines, machine_json(s, &s->f.machines[i]));
	j = json_pack("{s:s,s:s,s:s,s:s,s:O,s:b,s:I,s:I,s:I,s:s*,s:s*,s:o*,s:o,s:s*,s:s*,s:o}", "fleet", s->f.name, "volume",
		      s->f.volume, "state", fleet_state_name(s->f.state), "created", s->f.created,
		      "settings", s->f.settings, "golden_share", s->files.golden, "incomplete",
		      (json_int_t)s->incomplete, "running", (json_int_t)s->running, "changed", (json_int_t)s->changed, "foreign",
		      *s->files.foreign ? s->files.foreign : NULL, "hypervisor_error",
		      *s->hosts_why ? s->hosts_why : NULL, "hosts", hosts_json(&s->hosts, &s->f), "snapshots", tags_json(&s->f), "unfinished",
		      *s->files.unfinished ? s->files.unfinished : NULL, "lost",
		      *s->files.lost ? s->files.lost : NULL, "machines", machines);
	err = print_json(j);
	json_decref(j);
	return err;
}

static void settings_print(const struct fleet *f)
{
	char size[SIZE_TEXT];
	const char *key, *text;
	char over[32];
	unsigned i;

	for (i = 0; (key = setting_key(i)); i++) {
		text = setting_text(f, key);
		if (!json_object_get(f->settings, key))
			continue;
		if (!strcmp(key, "expires"))
			printf("%-15s %s\n", key, expiry_text(f, over) ? over : "never");
		else if (!strcmp(key, "memory") || !strcmp(key, "data"))
			printf("%-15s %s\n", key, size_text(setting_number(f, key), size));
		else if (setting_is_number(key))
			printf("%-15s %llu\n", key, (unsigned long long)setting_number(f, key));
		else if (text && (!strcmp(key, "user_data") || !strcmp(key, "network_config") ||
				  !strcmp(key, "domain") || !strcmp(key, "unattend")))
			printf("%-15s its own template, %zu bytes\n", key, strlen(text));
		else if (text)
			named_print(15, key, "%s", text);
	}
}

static const char *files_text(const struct machine *m)
{
	static const char *const texts[] = { "complete", "no seed", "no disk", "no disk, no seed",
		"no data", "no seed, no data", "no disk, no data", "nothing" };

	return texts[!m->has_seed + 2 * !m->has_disk + 4 * !m->has_data];
}

static void head_print(const struct shown *s)
{
	const struct fleet *f = &s->f;
	char size[SIZE_TEXT];

	printf("%-15s %s\n%-15s %s:/fleets/%s\n%-15s %s\n%-15s %s\n", "fleet", f->name, "folder",
	       f->volume, f->name, "state", fleet_state_name(f->state), "created", f->created);
	settings_print(f);
	hosts_print(&s->hosts, f);
	if (*s->hosts_why && s->hosts.n == 1)
		named_print(15, "hypervisor", "%s", s->hosts_why);
	else if (s->hosts.n)
		printf("%-15s %llu of %llu machines\n", "running", (unsigned long long)s->running,
		       (unsigned long long)fleet_count(f));
	printf("%-15s %s by the machines below\n", "changed", size_text(s->changed, size));
	if (*s->files.foreign)
		named_print(15, "foreign", "%s is in its folder and isn't its own", s->files.foreign);
	if (s->incomplete || !s->files.golden || f->state == FLEET_MAKING)
		printf("%-15s %llu machines%s; 'pando fleet create %s' completes it\n", "incomplete",
		       (unsigned long long)s->incomplete, s->files.golden ? "" : ", and the share of the golden image is missing",
		       f->name);
	tags_print(s);
	attached_print(f);
	putchar('\n');
}

/* "debian12@2" */
static const char *image_text(const struct fleet *f, const struct machine *m)
{
	const char *golden = fleet_golden(f, m->version), *slash = strrchr(golden, '/');

	return slash ? slash + 1 : "-";
}

/* "spare, stopped (shutdown)" */
static void domain_cell(const struct shown *s, const struct machine *m, char *buf, size_t cap)
{
	char text[DOMAIN_TEXT];

	if (!s->hosts.n)
		snprintf(buf, cap, "%s", m->spare ? "spare" : "-");
	else
		snprintf(buf, cap, m->domain_more ? "%s%s (%s)" : "%s%s", m->spare ? "spare, " : "",
			 domain_text(&s->hosts, m, text), m->domain_more);
}

static void row_print(const struct shown *s, const struct machine *m, struct table *t)
{
	char number[24], buf[FLEET_HOST], domain[DOMAIN_TEXT + 80];

	snprintf(number, sizeof(number), "%llu", (unsigned long long)m->number);
	domain_cell(s, m, domain, sizeof(domain));
	table_cell(t, number);
	table_cell(t, m->name);
	table_cell(t, *m->address ? m->address : "-");
	table_cell(t, m->mac);
	table_cell(t, m->uuid);
	table_cell(t, image_text(&s->f, m));
	if (m->changed_known)
		table_size(t, m->changed);
	else
		table_cell(t, "-");
	table_cell(t, files_text(m));
	table_cell(t, m->up_since ? duration_text(up_seconds(m), number, sizeof(number)) : "-");
	table_cell(t, domain);
	if (s->hosts.n > 1)
		table_cell(t, host_at(s->hosts.list, m->host, buf));
}

static int show_print(const struct shown *s)
{
	struct table t;
	size_t i;

	head_print(s);
	if (s->hosts.n > 1)
		table_init(&t, "rlllllrlrll", "NUMBER", "NAME", "ADDRESS", "MAC", "UUID", "IMAGE", "CHANGED", "FILES", "UP",
			   "DOMAIN", "HOST");
	else
		table_init(&t, "rlllllrlrl", "NUMBER", "NAME", "ADDRESS", "MAC", "UUID", "IMAGE", "CHANGED", "FILES", "UP",
			   "DOMAIN");
	for (i = 0; i < s->f.n; i++)
		if (s->f.machines[i].chosen)
			row_print(s, &s->f.machines[i], &t);
	return table_print(&t);
}

int fleet_show(struct cmd *c)
{
	struct shown s = { .incomplete = 0 };
	int err = fleet_load(c, c->argv[0], &s.f);

	if (!err)
		err = fleet_choose(c, &s.f);
	if (!err)
		err = fleet_survey(c, &s.f, &s.files);
	if (!err)
		err = hosts_ask(c, &s);
	if (!err) {
		fleet_changed(c, &s.f);
		machines_count(&s);
		err = c->json ? show_json(&s) : show_print(&s);
	}
	hosts_close(&s.hosts);
	fleet_done(&s.f);
	return err;
}
