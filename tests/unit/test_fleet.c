/* SPDX-License-Identifier: Apache-2.0 */
/* Fleets without storage: templates, addresses, plans, manifests, seeds, domains. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/endian.h"
#include "fleet/address.h"
#include "fleet/fleet.h"
#include "fleet/seed.h"
#include "fleet/template.h"

static char why[FLEET_WHY];

static void said(const char *words)
{
	if (!strstr(why, words))
		fail_msg("\"%s\" is not in \"%s\"", words, why);
}

/* ---- templates -------------------------------------------------------------------------- */

static const struct template_var vars[] = {
	{ "name", "desk-001", NULL }, { "mac", "52:00", NULL }, { "empty", "", NULL },
	{ "address", NULL, "there are none" }, { NULL, NULL, NULL },
};

static void render_is(const char *text, const char *want)
{
	struct buf b;

	buf_init(&b, 4096);
	assert_int_equal(template_render("t", text, vars, &b, why), 0);
	assert_string_equal(buf_str(&b), want);
	buf_release(&b);
}

static void templates_replace_what_they_know(void **state)
{
	render_is("", "");
	render_is("plain\n", "plain\n");
	render_is("{name}", "desk-001");
	render_is("a {name}{mac}{empty}b", "a desk-00152:00b");
	render_is("{{name}} is {name}", "{name} is desk-001");
	render_is("{{nonsense}}", "{nonsense}");
	render_is("echo ${name} $name $", "echo ${name} $name $");
	render_is("{% if x %}{{ ds.name }}{{v1.name}}", "{% if x %}{{ ds.name }}{{v1.name}}");
	render_is("a: {b: c, d: {}}\n{\"x\": {\"y\": 1}}", "a: {b: c, d: {}}\n{\"x\": {\"y\": 1}}");
	render_is("{", "{");
	render_is("{{", "{{");
	render_is("{name", "{name");
	render_is("{Name} {na me}", "{Name} {na me}");
}

static void render_fails(const char *text, size_t max, const char *words)
{
	struct buf b;

	buf_init(&b, max);
	assert_int_equal(template_render("user-data", text, vars, &b, why), -EINVAL);
	said(words);
	buf_release(&b);
}

static void mistakes_in_templates_have_a_line(void **state)
{
	render_fails("{nam}", 100, "user-data: line 1: {nam} is not known");
	render_fails("one\ntwo {name}\nthree {hostname}\n", 100, "line 3: {hostname}");
	render_fails("{nam}", 100, "there are {name}, {mac}");
	render_fails("\n{address}", 100, "line 2: {address} has no value: there are none");
	render_fails("{name}{name}", 15, "longer than 15 bytes");
	render_fails("{aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}", 100,
		     "is not known");
}

/* ---- addresses -------------------------------------------------------------------------- */

static void range_is(const char *text, uint64_t count, uint64_t at, const char *address)
{
	struct address_range r;
	char buf[FLEET_ADDRESS];

	if (address_range_parse(text, &r, why))
		fail_msg("%s", why);
	assert_int_equal(address_range_count(&r), count);
	address_range_at(&r, at, buf);
	assert_string_equal(buf, address);
}

static void addresses_count_on(void **state)
{
	range_is("10.0.0.10-10.0.0.200/24", 191, 0, "10.0.0.10");
	range_is("10.0.0.10-10.0.0.200/24", 191, 190, "10.0.0.200");
	range_is("10.0.0.250-10.0.2.5/16", 268, 6, "10.0.1.0");
	range_is("10.0.255.255-10.1.0.1/8", 3, 1, "10.1.0.0");
	range_is("192.168.0.0-192.168.0.1/31", 2, 1, "192.168.0.1");
	range_is("1.2.3.4-1.2.3.4/32", 1, 0, "1.2.3.4");
	range_is("fd00::ff-fd00::1:1/64", 65283, 1, "fd00::100");
	range_is("fd00::-fd00::ffff:ffff:ffff:ffff/64", UINT64_MAX, 1ull << 63, "fd00::8000:0:0:0");
	range_is("fd00::1-fdff::1/7", UINT64_MAX, 0, "fd00::1");
}

static void bad_addresses_are_refused(void **state)
{
	static const char *const bad[][2] = {
		{ "", "not a range" }, { "10.0.0.1", "not a range" }, { "10.0.0.1/24", "not a range" },
		{ "10.0.0.1-10.0.0.5", "not a range" }, { "10.0.0.1-10.0.0.5/", "not a range" },
		{ "10.0.0.1-10.0.0.5/x", "not a range" }, { "10.0.0.1-10.0.0.500/24", "not a range" },
		{ "10.0.0.1-fd00::1/24", "not a range" }, { "10.0.0.1 -10.0.0.5/24", "not a range" },
		{ "10.0.0.1/24-10.0.0.5", "not a range" },
		{ "10.0.0.1-10.0.0.5/33", "prefix" }, { "10.0.0.1-10.0.0.5/0", "prefix" },
		{ "224.0.0.1-224.0.0.9/24", "no addresses" }, { "127.0.0.1-127.0.0.9/8", "no addresses" },
		{ "0.0.0.1-0.0.0.9/8", "no addresses" }, { "255.0.0.1-255.0.0.9/24", "no addresses" },
		{ "ff02::1-ff02::9/64", "no addresses" }, { "::1-::9/64", "no addresses" },
		{ "fd00::1-fd00::5/129", "not a range" }, { "10.0.0.5-10.0.0.1/24", "exchange" },
		{ "10.0.0.5-10.0.1.1/24", "one network" }, { "10.0.0.0-10.0.0.9/24", "broadcast" },
		{ "10.0.0.1-10.0.0.255/24", "broadcast" },
	};
	struct address_range r = { .prefix = 77 };
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(address_range_parse(bad[i][0], &r, why), -EINVAL);
		said(bad[i][1]);
	}
	assert_int_equal(r.prefix, 77);
}

/* ---- plans ------------------------------------------------------------------------------ */

static void fleet_make(struct fleet *f, const char *name, const char *more)
{
	char text[2000];

	snprintf(text, sizeof(text), "{\"golden\": \"vms:/g.raw\"%s}", more);
	fleet_init(f);
	strcpy(f->name, name);
	strcpy(f->volume, "vms");
	strcpy(f->created, "2026-01-01T00:00:00Z");
	strcpy(f->pool_uuid, "5ce535e0-8071-4bea-b0aa-0398367b7c33");
	strcpy(f->volume_uuid, "0d1901c6-3c43-4b5c-9e16-4701b11f09f7");
	f->settings = json_loads(text, JSON_ALLOW_NUL, NULL);
	assert_non_null(f->settings);
}

static void fleet_planned(struct fleet *f, const char *name, const char *more)
{
	fleet_make(f, name, more);
	if (settings_complete(f->settings, name, why) || fleet_plan(f, why))
		fail_msg("%s", why);
}

static void plans_are_stable(void **state)
{
	struct fleet a, b, other;
	size_t i, j;

	fleet_planned(&a, "desk", ", \"count\": 300, \"addresses\": \"10.0.0.250-10.0.2.250/16\"");
	fleet_planned(&b, "desk", ", \"count\": 100, \"first\": 101, \"names\": \"pc%d\"");
	assert_int_equal(a.n, 300);
	assert_string_equal(a.machines[0].name, "desk-001");
	assert_string_equal(a.machines[299].name, "desk-300");
	assert_string_equal(a.machines[6].address, "10.0.1.0");
	assert_string_equal(b.machines[0].name, "pc101");
	assert_string_equal(b.machines[0].address, "");
	/* by their numbers, whatever else there is */
	for (i = 0; i < b.n; i++) {
		assert_string_equal(a.machines[i + 100].uuid, b.machines[i].uuid);
		assert_string_equal(a.machines[i + 100].mac, b.machines[i].mac);
	}
	for (i = 0; i < a.n; i++) {
		assert_int_equal(a.machines[i].uuid[14], '8');
		assert_non_null(strchr("89ab", a.machines[i].uuid[19]));
		assert_memory_equal(a.machines[i].mac, "52:", 3);
		for (j = 0; j < i; j++) {
			assert_string_not_equal(a.machines[i].uuid, a.machines[j].uuid);
			assert_string_not_equal(a.machines[i].mac, a.machines[j].mac);
		}
	}
	/* what they are today they must be for ever: a machine is known by them */
	assert_string_equal(a.machines[0].uuid, "c6017511-4182-8d88-9731-31572d92e923");
	assert_string_equal(a.machines[0].mac, "52:66:78:53:01:09");
	fleet_planned(&other, "desk2", ", \"count\": 1");
	assert_string_not_equal(a.machines[0].uuid, other.machines[0].uuid);
	strcpy(other.name, "desk");
	strcpy(other.pool_uuid, "6ce535e0-8071-4bea-b0aa-0398367b7c33");
	assert_int_equal(fleet_plan(&other, why), 0);
	assert_string_not_equal(a.machines[0].uuid, other.machines[0].uuid);
	assert_string_not_equal(a.machines[0].mac, other.machines[0].mac);
	assert_ptr_equal(fleet_machine(&a, "desk-007"), &a.machines[6]);
	assert_null(fleet_machine(&a, "desk-7"));
	fleet_done(&a);
	fleet_done(&b);
	fleet_done(&other);
}

static void fleets_grow_and_shrink(void **state)
{
	struct fleet a, b;

	fleet_planned(&a, "desk", ", \"count\": 10, \"addresses\": \"10.0.0.1-10.0.0.20/24\"");
	fleet_planned(&b, "desk", ", \"count\": 20, \"addresses\": \"10.0.0.1-10.0.0.20/24\"");
	strcpy(a.machines[4].name, "renamed");	/* the manifest's machines are the truth */
	assert_int_equal(fleet_grow(&a, 21, 0, why), -EINVAL);
	said("20 addresses for 21");
	assert_int_equal(a.n, 10);
	assert_int_equal(setting_number(&a, "count"), 10);
	assert_int_equal(fleet_grow(&a, 20, 0, why), 0);
	assert_int_equal(a.n, 20);
	assert_int_equal(setting_number(&a, "count"), 20);
	assert_string_equal(a.machines[4].name, "renamed");
	strcpy(a.machines[4].name, b.machines[4].name);
	assert_memory_equal(a.machines, b.machines, 20 * sizeof(*a.machines));
	assert_int_equal(fleet_surplus(&a, 3, 0), 17);
	fleet_shrink(&a);
	assert_int_equal(a.n, 3);
	assert_int_equal(setting_number(&a, "count"), 3);
	strcpy(a.machines[2].name, "desk-004");
	assert_int_equal(fleet_grow(&a, 4, 0, why), -EINVAL);
	said("machine 4 would be desk-004");
	/* one that is missing in the middle comes back */
	strcpy(a.machines[2].name, "desk-003");
	a.machines[1] = a.machines[2];
	a.n = 2;
	assert_int_equal(fleet_grow(&a, 4, 0, why), 0);
	assert_memory_equal(a.machines, b.machines, 4 * sizeof(*a.machines));
	fleet_done(&a);
	fleet_done(&b);
}

/* Its machines' numbers, spares in brackets. */
static const char *machines_of(const struct fleet *f)
{
	static char text[300];
	size_t i, n = 0;

	text[0] = 0;
	for (i = 0; i < f->n; i++)
		n += (size_t)sprintf(text + n, f->machines[i].spare ? "(%d)" : "%d ", (int)f->machines[i].number);
	return text;
}

static void spares_take_places(void **state)
{
	struct fleet a, b;
	struct buf text;

	fleet_planned(&a, "desk", ", \"count\": 3, \"spares\": 2, \"addresses\": \"10.0.0.1-10.0.0.8/24\"");
	assert_string_equal(machines_of(&a), "1 2 3 (4)(5)");
	assert_int_equal(fleet_encode(&a, &text), 0);
	assert_int_equal(fleet_decode(buf_str(&text), text.len, &b, why), 0);
	assert_memory_equal(a.machines, b.machines, 5 * sizeof(*a.machines));
	buf_release(&text);
	fleet_done(&b);
	/* two become machines, and of those that are made one is */
	fleet_promote(&a, 6);
	assert_int_equal(fleet_surplus(&a, 6, 2), 0);
	assert_int_equal(fleet_grow(&a, 6, 3, why), -EINVAL);
	said("8 addresses for 9");
	assert_int_equal(fleet_grow(&a, 6, 2, why), 0);
	assert_string_equal(machines_of(&a), "1 2 3 4 5 6 (7)(8)");
	assert_int_equal(fleet_count(&a), 6);
	/* spares stay when machines go */
	fleet_promote(&a, 4);
	assert_int_equal(fleet_surplus(&a, 4, 2), 2);
	assert_true(a.machines[4].chosen && a.machines[5].chosen);
	fleet_shrink(&a);
	assert_string_equal(machines_of(&a), "1 2 3 4 (7)(8)");
	assert_int_equal(setting_number(&a, "count"), 4);
	assert_int_equal(setting_number(&a, "spares"), 2);
	/* and numbers that are free are used again, by as many as are wanted */
	fleet_promote(&a, 5);
	assert_int_equal(fleet_surplus(&a, 5, 2), 0);
	assert_int_equal(fleet_grow(&a, 5, 2, why), 0);
	assert_string_equal(machines_of(&a), "1 2 3 4 (5)7 (8)");
	assert_int_equal(fleet_surplus(&a, 5, 0), 2);
	fleet_shrink(&a);
	assert_string_equal(machines_of(&a), "1 2 3 4 7 ");
	assert_int_equal(setting_number(&a, "spares"), 0);
	fleet_done(&a);
}

/* Where each machine is, as "ABAB"; '-': nowhere. */
static const char *hosts_of(const struct fleet *f)
{
	static char text[100];
	size_t i;

	for (i = 0; i < f->n; i++)
		text[i] = f->machines[i].host == HOST_NONE ? '-' : (char)('A' + f->machines[i].host);
	text[f->n] = 0;
	return text;
}

static void machines_go_where_memory_is_left(void **state)
{
	const int64_t gib = 1 << 30;
	int64_t left[] = { 2 * gib, 4 * gib, 2 * gib - 1 }, few[] = { 1, -gib };
	struct fleet f;

	fleet_planned(&f, "desk", ", \"count\": 8, \"connect\": \"a,b,c\"");
	assert_string_equal(hosts_of(&f), "--------");
	f.machines[1].host = 2;			/* these stay, and their memory is taken off already */
	assert_int_equal(fleet_place(&f, left, 3), 0);
	assert_string_equal(hosts_of(&f), "BCBABCAB");
	assert_int_equal(left[0], 0);
	assert_int_equal(left[2], gib - 1);
	assert_int_equal(fleet_place(&f, few, 2), 0);
	assert_int_equal(few[0], 1);		/* nobody was without a host */
	fleet_done(&f);
	fleet_planned(&f, "desk", ", \"count\": 3, \"connect\": \"a,b\"");
	assert_int_equal(fleet_place(&f, few, 2), 3);
	assert_string_equal(hosts_of(&f), "AAB");
	fleet_done(&f);
}

static void hosts_stay_known(void **state)
{
	struct fleet a, b;
	struct buf text;
	char uri[FLEET_HOST];

	assert_int_equal(hosts_count(NULL), 0);
	assert_int_equal(hosts_count("a"), 1);
	assert_int_equal(hosts_count("a,bb,c"), 3);
	assert_string_equal(host_at("a,bb,c", 1, uri), "bb");
	assert_string_equal(host_at("a,bb,c", 2, uri), "c");
	assert_string_equal(host_at("a,bb,c", 3, uri), "");
	assert_string_equal(host_at(NULL, 0, uri), "");
	assert_int_equal(host_find("a,bb,b", "b"), 2);
	assert_int_equal(host_find("a,bb", "b"), HOST_NONE);
	fleet_planned(&a, "desk", ", \"count\": 4, \"connect\": \"a,b\"");
	a.machines[0].host = a.machines[3].host = 1;
	a.machines[1].host = 0;
	assert_int_equal(fleet_encode(&a, &text), 0);
	if (fleet_decode(buf_str(&text), text.len, &b, why))
		fail_msg("%s", why);
	assert_string_equal(hosts_of(&b), "BA-B");
	/* another list, in another order */
	assert_int_equal(fleet_hosts_set(&b, "c,b,a", why), 0);
	assert_string_equal(hosts_of(&b), "BC-B");
	assert_int_equal(fleet_hosts_set(&b, "b,c", why), -EINVAL);
	said("desk-002 is on a, which is not in b,c");
	assert_int_equal(fleet_hosts_set(&b, "b,,a", why), -EINVAL);
	assert_string_equal(hosts_of(&b), "BC-B");
	assert_string_equal(setting_text(&b, "connect"), "c,b,a");
	buf_release(&text);
	fleet_done(&a);
	fleet_done(&b);
}

static void settings_that_make_no_sense(void **state)
{
	static const char *const bad[][2] = {
		{ "", "count" },
		{ ", \"count\": 0", "out of range" },
		{ ", \"count\": 100001", "out of range" },
		{ ", \"count\": -1", "out of range" },
		{ ", \"count\": \"5\"", "whole number" },
		{ ", \"count\": 5, \"colour\": 1", "colour: not a setting" },
		{ ", \"count\": 5, \"cpus\": 0", "cpus" },
		{ ", \"count\": 5, \"memory\": 1000", "memory" },
		{ ", \"count\": 5, \"names\": \"desk\"", "%d" },
		{ ", \"count\": 5, \"names\": 7", "names: must be text" },
		{ ", \"count\": 5, \"names\": \"a\\u0000%d\"", "without NUL" },
		{ ", \"count\": 5, \"names\": \"desk_%d\"", "no host name" },
		{ ", \"count\": 5, \"names\": \"-%d\"", "no host name" },
		{ ", \"count\": 5, \"names\": \"%d-\"", "no host name" },
		{ ", \"count\": 5, \"names\": \"a.%d\"", "no host name" },
		{ ", \"count\": 10, \"names\": \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa%d\"",
		  "machine 10 would be" },
		{ ", \"count\": 5, \"network\": \"a b\"", "network" },
		{ ", \"count\": 5, \"network\": \"bridge:\"", "network" },
		{ ", \"count\": 5, \"network\": \"'/>\"", "network" },
		{ ", \"count\": 5, \"format\": \"qcow2\"", "format" },
		{ ", \"count\": 5, \"connect\": \"a,\"", "connect" },
		{ ", \"count\": 5, \"connect\": \"a,b,a\"", "a is there twice" },
		{ ", \"count\": 5, \"connect\": \"none,a\"", "none stands alone" },
		{ ", \"count\": 5, \"path\": \"mnt\"", "path" },
		{ ", \"count\": 5, \"console\": \"log\"", "console" },
		{ ", \"count\": 5, \"domain\": \"<domain/>\"", "{name}" },
		{ ", \"count\": 5, \"domain\": \"{name}{uuid}\"", "{metadata}" },
		{ ", \"count\": 5, \"addresses\": \"10.0.0.1-10.0.0.4/24\"", "4 addresses for 5" },
		{ ", \"count\": 5, \"addresses\": \"x\"", "range" },
		{ ", \"count\": 3, \"spares\": 2, \"addresses\": \"10.0.0.1-10.0.0.4/24\"", "4 addresses for 5" },
		{ ", \"count\": 60000, \"spares\": 60000", "more than 100000" },
		{ ", \"count\": 3, \"spares\": -1", "spares" },
	};
	struct fleet f;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fleet_make(&f, "desk", bad[i][0]);
		if (!settings_complete(f.settings, "desk", why) && !fleet_plan(&f, why))
			fail_msg("taken: %s", bad[i][0]);
		said(bad[i][1]);
		assert_int_equal(f.n, 0);
		fleet_done(&f);
	}
	fleet_make(&f, "desk", ", \"count\": 1");
	json_object_set_new(f.settings, "golden", json_string("vms:/"));
	assert_int_equal(settings_complete(f.settings, "desk", why), -EINVAL);
	json_object_set_new(f.settings, "golden", json_string("vms@monday:/g"));
	assert_int_equal(settings_complete(f.settings, "desk", why), -EINVAL);
	json_object_del(f.settings, "golden");
	assert_int_equal(settings_complete(f.settings, "desk", why), -EINVAL);
	fleet_done(&f);
	assert_int_equal(fleet_name_check("", why), -EINVAL);
	assert_int_equal(fleet_name_check("a/b", why), -EINVAL);
	assert_int_equal(fleet_name_check("-a", why), -EINVAL);
	assert_int_equal(fleet_name_check("..", why), -EINVAL);
	assert_int_equal(fleet_name_check("12345678901234567890123456789012345678901", why), -EINVAL);
	assert_int_equal(fleet_name_check("1234567890123456789012345678901234567890", why), 0);
}

/* ---- manifests -------------------------------------------------------------------------- */

static void manifests_come_back(void **state)
{
	struct fleet a, b;
	struct buf text;

	fleet_planned(&a, "desk", ", \"count\": 20, \"addresses\": \"10.0.0.1-10.0.0.20/24\", "
				  "\"user_data\": \"#cloud-config\\n{name}\\n\"");
	a.state = FLEET_READY;
	assert_int_equal(fleet_encode(&a, &text), 0);
	if (fleet_decode(buf_str(&text), text.len, &b, why))
		fail_msg("%s", why);
	assert_string_equal(a.name, b.name);
	assert_string_equal(a.volume, b.volume);
	assert_string_equal(a.volume_uuid, b.volume_uuid);
	assert_string_equal(a.created, b.created);
	assert_int_equal(b.state, FLEET_READY);
	assert_true(json_equal(a.settings, b.settings));
	assert_int_equal(b.n, 20);
	assert_memory_equal(a.machines, b.machines, 20 * sizeof(*a.machines));
	buf_release(&text);
	fleet_done(&a);
	fleet_done(&b);
}

/* A manifest in which the text FROM has become TO. */
static void nonsense(const char *from, const char *to, const char *words)
{
	struct fleet a, b;
	struct buf text;
	char *copy, *at;

	fleet_planned(&a, "desk", ", \"count\": 3");
	assert_int_equal(fleet_encode(&a, &text), 0);
	at = strstr(buf_str(&text), from);
	if (!at)
		fail_msg("there is no %s in %s", from, buf_str(&text));
	if (asprintf(&copy, "%.*s%s%s", (int)(at - text.data), text.data, to, at + strlen(from)) < 0)
		fail();
	if (!fleet_decode(copy, strlen(copy), &b, why))
		fail_msg("%s for %s was taken", to, from);
	said(words);
	assert_null(b.settings);
	assert_null(b.machines);
	free(copy);
	buf_release(&text);
	fleet_done(&a);
}

static void manifests_edited_into_nonsense(void **state)
{
	struct fleet f;

	nonsense("{", "", "line 2");
	nonsense("\"format\": 1", "\"format\": 2", "knows 1");
	nonsense("\"format\": 1", "\"format\": \"1\"", "format");
	nonsense("\"fleet\": \"desk\"", "\"fleet\": \"../x\"", "not a fleet's name");
	nonsense("\"fleet\": \"desk\"", "\"fleet\": 1", "fleet");
	nonsense("\"fleet\": \"desk\",", "", "fleet");
	nonsense("\"state\": \"making\"", "\"state\": \"happy\"", "happy");
	nonsense("\"volume\": \"vms\"", "\"volume\": \"a/b\"", "volume");
	nonsense("\"pool_uuid\": \"5", "\"pool_uuid\": \"X", "UUID");
	nonsense("\"count\": 3", "\"count\": 0", "count");
	nonsense("\"count\": 3", "\"count\": 3, \"count\": 3", "duplicate");
	nonsense("\"settings\": {", "\"settings\": 5, \"x\": {", "settings");
	nonsense("\"machines\": [", "\"machines\": 5, \"x\": [", "machines");
	nonsense("\"machines\": [", "\"machines\": [], \"x\": [", "machines");
	nonsense("\"machines\": [", "\"machines\": [7,", "number 1 in the list");
	nonsense("\"version\": 1", "\"version\": 0", "version");
	nonsense("\"version\": 1", "\"version\": \"1\"", "version");
	nonsense("\"machines\": [\n  {\n   \"version\": 1", "\"machines\": [\n  {\n   \"version\": 2", "version");
	nonsense("\"number\": 2", "\"number\": -2", "number 2 in the list");
	nonsense("\"number\": 2", "\"number\": 3", "same number");
	nonsense("\"desk-002\"", "\"desk-003\"", "same name");
	nonsense("\"desk-002\"", "\"../../x\"", "host name");
	nonsense("\"desk-002\"", "\"\"", "host name");
	nonsense("\"desk-002\"", "\"a\\u0000b\"", "line");
	nonsense("\"uuid\": \"", "\"uuid\": \"0", "uuid");
	nonsense("\"uuid\": \"", "\"uuid\": \"\", \"x\": \"", "uuid");
	nonsense("\"mac\": \"52", "\"mac\": \"53", "mac");
	nonsense("\"mac\": \"52:", "\"mac\": \"52-", "mac");
	nonsense("\"mac\": \"", "\"host\": \"a\", \"mac\": \"", "host: a is not in");
	nonsense("\"mac\": \"", "\"spare\": 1, \"mac\": \"", "spare: must be");
	nonsense("\"mac\": \"", "\"host\": 0, \"mac\": \"", "host: must be text");
	nonsense("\"mac\": \"", "\"address\": \"10.0.0.300\", \"mac\": \"", "10.0.0.300");
	assert_int_equal(fleet_decode("", 0, &f, why), -EINVAL);
	assert_int_equal(fleet_decode("[]", 2, &f, why), -EINVAL);
	assert_int_equal(fleet_decode("{}", 2, &f, why), -EINVAL);
	assert_int_equal(fleet_decode("{\"a\0b\": 1}", 10, &f, why), -EINVAL);
}

/* ---- seeds ------------------------------------------------------------------------------ */

/* The bytes of the root's file NUMBER, by the chain of its clusters; *ret_len are in OUT. */
static void fat_read(const unsigned char *image, unsigned number, unsigned char *out, size_t *ret_len)
{
	unsigned fat_sectors = get_le16(image + 22), cluster, size, at = 0, n, pair;
	const unsigned char *fat = image + 512, *e = image + (1 + 2 * fat_sectors) * 512;
	const unsigned char *data = e + 512;

	for (;; e += 32)
		if (e[0] && e[11] == 0x20 && !number--)
			break;
	cluster = get_le16(e + 26);
	size = get_le32(e + 28);
	for (; at < size; at += n) {
		assert_true(cluster >= 2 && cluster < 0xff0);
		n = size - at < 512 ? size - at : 512;
		memcpy(out + at, data + (cluster - 2) * 512, n);
		pair = get_le16(fat + cluster * 3 / 2);
		cluster = cluster & 1 ? pair >> 4 : pair & 0xfff;
	}
	assert_true(!size || cluster == 0xfff);
	assert_memory_equal(fat, fat + fat_sectors * 512, fat_sectors * 512);
	*ret_len = size;
}

static void seed_holds(size_t a_len, size_t b_len)
{
	unsigned char *a = malloc(a_len + 1), *b = malloc(b_len + 1), *out = malloc(SEED_BYTES_MAX);
	struct seed_file files[2] = { { "meta-data", a, a_len }, { "network-config", b, b_len } };
	struct buf image;
	uint64_t size;
	size_t len;

	memset(a, 'a', a_len);
	memset(b, 'b', b_len);
	buf_init(&image, 4 * SEED_BYTES_MAX);
	assert_int_equal(seed_build(files, 2, 0x12345678, &image, &size), 0);
	assert_true(image.len <= size && size % 4096 == 0);
	assert_int_equal(size, get_le16(image.data + 19) * 512);
	fat_read((unsigned char *)image.data, 0, out, &len);
	assert_int_equal(len, a_len);
	assert_memory_equal(out, a, len);
	fat_read((unsigned char *)image.data, 1, out, &len);
	assert_int_equal(len, b_len);
	assert_memory_equal(out, b, len);
	buf_release(&image);
	free(a);
	free(b);
	free(out);
}

static void seeds_hold_their_files(void **state)
{
	static const size_t lengths[] = { 0, 1, 511, 512, 513, 26000, 100000, 500000 };
	struct seed_file big[2] = { { "user-data", NULL, SEED_BYTES_MAX }, { "x", NULL, 1 } };
	struct buf image;
	uint64_t size;
	size_t i, j;

	for (i = 0; i < 8; i++)
		for (j = 0; j < 8; j++)
			seed_holds(lengths[i], lengths[j]);
	buf_init(&image, 4 * SEED_BYTES_MAX);
	assert_int_equal(seed_build(big, 2, 1, &image, &size), -EFBIG);
	assert_int_equal(image.len, 0);
}

static void seeds_say_who_it_is(void **state)
{
	unsigned char out[8192];
	struct fleet f;
	struct buf image;
	uint64_t offset, size;
	size_t len;

	fleet_planned(&f, "desk", ", \"count\": 9, \"addresses\": \"10.0.0.1-10.0.0.9/24\"");
	assert_int_equal(machine_seed(&f, &f.machines[6], &image, &offset, &size, why), 0);
	fat_read((unsigned char *)image.data, 0, out, &len);
	out[len] = 0;
	assert_non_null(strstr((char *)out, "local-hostname: \"desk-007\"\n"));
	assert_non_null(strstr((char *)out, f.machines[6].uuid));
	fat_read((unsigned char *)image.data, 1, out, &len);
	assert_memory_equal(out, "#cloud-config\n", 14);
	fat_read((unsigned char *)image.data, 2, out, &len);
	out[len] = 0;
	assert_non_null(strstr((char *)out, f.machines[6].mac));
	assert_non_null(strstr((char *)out, "set-name: eth0\n    addresses: [\"10.0.0.7/24\"]\n"));
	buf_release(&image);
	fleet_done(&f);
}

/* ---- domains ---------------------------------------------------------------------------- */

static void domains_are_escaped(void **state)
{
	struct fleet f;
	struct buf xml;

	fleet_planned(&f, "desk", ", \"count\": 1, \"path\": \"/mnt/a'<&\\\">\", \"network\": \"bridge:br0\"");
	assert_int_equal(machine_xml(&f, &f.machines[0], "qemu", &xml, why), 0);
	assert_non_null(strstr(buf_str(&xml), "<domain type='qemu'>"));
	assert_non_null(strstr(buf_str(&xml),
			       "file='/mnt/a&apos;&lt;&amp;&quot;&gt;/fleets/desk/disks/desk-001.raw'"));
	assert_non_null(strstr(buf_str(&xml), "bridge='br0'"));
	assert_null(strstr(buf_str(&xml), "nfs"));
	buf_release(&xml);
	fleet_done(&f);
	fleet_planned(&f, "desk", ", \"count\": 1, \"domain\": \"{name} {uuid} {metadata} {meory}\"");
	assert_int_equal(machine_xml(&f, &f.machines[0], "qemu", &xml, why), -EINVAL);
	said("domain: line 1: {meory}");
	buf_release(&xml);
	fleet_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(templates_replace_what_they_know),
		cmocka_unit_test(mistakes_in_templates_have_a_line),
		cmocka_unit_test(addresses_count_on),
		cmocka_unit_test(bad_addresses_are_refused),
		cmocka_unit_test(plans_are_stable),
		cmocka_unit_test(fleets_grow_and_shrink),
		cmocka_unit_test(spares_take_places),
		cmocka_unit_test(machines_go_where_memory_is_left),
		cmocka_unit_test(hosts_stay_known),
		cmocka_unit_test(settings_that_make_no_sense),
		cmocka_unit_test(manifests_come_back),
		cmocka_unit_test(manifests_edited_into_nonsense),
		cmocka_unit_test(seeds_hold_their_files),
		cmocka_unit_test(seeds_say_who_it_is),
		cmocka_unit_test(domains_are_escaped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
