/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manifest: a fleet as JSON.  People may read it, and edit it if they must; what comes back
 * is checked as if a stranger had written it.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "admin/objname.h"
#include "fleet/fleet_int.h"

#define FORMAT 1
#define VERSIONS_MAX 1000000

static const char *const states[] = {
	[FLEET_MAKING] = "making", [FLEET_READY] = "ready", [FLEET_DESTROYING] = "destroying",
};

const char *fleet_state_name(enum fleet_state s)
{
	return states[s];
}

/* ---- writing ---------------------------------------------------------------------------- */

static json_t *machine_json(const struct fleet *f, const struct machine *m)
{
	char host[FLEET_HOST] = "";

	if (m->host != HOST_NONE)
		host_at(setting_text(f, "connect"), m->host, host);
	return json_pack("{s:I,s:I,s:s,s:s,s:s,s:s*,s:s*,s:o*}", "version", (json_int_t)m->version, "number",
			 (json_int_t)m->number, "name", m->name, "uuid", m->uuid, "mac", m->mac, "address",
			 *m->address ? m->address : NULL, "host", *host ? host : NULL, "spare", m->spare ? json_true() : NULL);
}

static int buf_take(const char *data, size_t len, void *arg)
{
	return buf_append(arg, data, len) ? -1 : 0;
}

int fleet_encode(const struct fleet *f, struct buf *ret_text)
{
	json_t *list = json_array(), *j;
	int failed = !list;
	size_t i;

	for (i = 0; i < f->n && !failed; i++)
		failed = json_array_append_new(list, machine_json(f, &f->machines[i]));
	j = json_pack("{s:i,s:I,s:s,s:s,s:s,s:s,s:s,s:s,s:O,s:O*,s:O*,s:O*,s:o}", "format", FORMAT, "version",
		      (json_int_t)f->version, "fleet", f->name,
		      "state", states[f->state], "created", f->created, "volume", f->volume,
		      "volume_uuid", f->volume_uuid, "pool_uuid", f->pool_uuid, "settings",
		      f->settings, "goldens", f->goldens, "snapshots", f->snapshots, "attached",
		      f->attached, "machines", list);
	buf_init(ret_text, (size_t)256 << 20);
	failed |= !j || json_dump_callback(j, buf_take, ret_text, JSON_INDENT(1));
	json_decref(j);
	buf_append_byte(ret_text, '\n');
	if (!failed && !ret_text->failed)
		return 0;
	buf_release(ret_text);
	return -ENOMEM;
}

/* ---- reading ---------------------------------------------------------------------------- */

/* A text of J into BUF, which it must fit. */
static int take(const json_t *j, const char *key, char *buf, size_t cap, char why[FLEET_WHY])
{
	const json_t *v = json_object_get(j, key);
	const char *s = json_string_value(v);

	if (!s || json_string_length(v) != strlen(s) || strlen(s) >= cap)
		return refuse(why, -EINVAL, "%s: must be text, shorter than %zu characters", key, cap);
	strcpy(buf, s);
	return 0;
}

static bool uuid_ok(const char *s)
{
	size_t i;

	for (i = 0; i < 36; i++)
		if (i == 8 || i == 13 || i == 18 || i == 23 ? s[i] != '-'
							    : !s[i] || !strchr("0123456789abcdef", s[i]))
			return false;
	return !s[36];
}

/* Six bytes in lower case, and not a group's address. */
static bool mac_ok(const char *s)
{
	size_t i;

	for (i = 0; i < 17; i++)
		if (i % 3 == 2 ? s[i] != ':' : !s[i] || !strchr("0123456789abcdef", s[i]))
			return false;
	return !s[17] && strchr("02468ace", s[1]);
}

static bool address_ok(const char *s)
{
	unsigned char a[16];

	return !*s || inet_pton(AF_INET, s, a) == 1 || inet_pton(AF_INET6, s, a) == 1;
}

/* As now_text() writes it: a time that means another would end a fleet too early, or never. */
bool time_ok(const char *s)
{
	struct tm tm = { 0 }, back;
	char text[32];
	time_t t;

	if (!strptime(s, "%Y-%m-%dT%H:%M:%SZ", &tm))
		return false;
	t = timegm(&tm);
	return t > 0 && gmtime_r(&t, &back) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &back) &&
	       !strcmp(s, text);
}

static int version_take(const json_t *j, uint64_t max, uint64_t *ret, char why[FLEET_WHY])
{
	const json_t *v = json_object_get(j, "version");

	if (!json_is_integer(v) || json_integer_value(v) < 1 || (uint64_t)json_integer_value(v) > max)
		return refuse(why, -EINVAL, "version: must be a whole number, from 1 to %" PRIu64, max);
	*ret = (uint64_t)json_integer_value(v);
	return 0;
}

/* Older ones have none: then there is only one that it can be. */
static int host_take(const json_t *j, const struct fleet *f, struct machine *m, char why[FLEET_WHY])
{
	const char *list = setting_text(f, "connect");
	char uri[FLEET_HOST];

	m->elsewhere = HOST_NONE;
	m->host = hosts_count(list) == 1 ? 0 : HOST_NONE;
	if (!json_object_get(j, "host"))
		return 0;
	if (take(j, "host", uri, sizeof(uri), why))
		return -EINVAL;
	m->host = host_find(list, uri);
	return m->host != HOST_NONE ? 0 :
		refuse(why, -EINVAL, "host: %.300s is not in the setting connect", uri);
}

static int machine_take(const json_t *j, const struct fleet *f, struct machine *m, char why[FLEET_WHY])
{
	const json_t *number = json_object_get(j, "number"), *spare = json_object_get(j, "spare");

	if (version_take(j, f->version, &m->version, why) || host_take(j, f, m, why))
		return -EINVAL;
	if (!json_is_integer(number) || json_integer_value(number) < 0)
		return refuse(why, -EINVAL, "number: must be a whole number");
	m->number = (uint64_t)json_integer_value(number);
	if (spare && !json_is_boolean(spare))
		return refuse(why, -EINVAL, "spare: must be true or false");
	m->spare = json_is_true(spare);
	if (take(j, "name", m->name, sizeof(m->name), why) ||
	    take(j, "uuid", m->uuid, sizeof(m->uuid), why) ||
	    take(j, "mac", m->mac, sizeof(m->mac), why) ||
	    (json_object_get(j, "address") &&
	     take(j, "address", m->address, sizeof(m->address), why)))
		return -EINVAL;
	if (!label_ok(m->name, FLEET_LABEL_MAX))
		return refuse(why, -EINVAL, "name: %s is no host name", m->name);
	if (!uuid_ok(m->uuid))
		return refuse(why, -EINVAL, "uuid: %s is none", m->uuid);
	if (!mac_ok(m->mac))
		return refuse(why, -EINVAL, "mac: %s is no machine's MAC address", m->mac);
	if (!address_ok(m->address))
		return refuse(why, -EINVAL, "address: %s is none", m->address);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct machine *)a)->name, ((const struct machine *)b)->name);
}

static int by_uuid(const void *a, const void *b)
{
	return strcmp(((const struct machine *)a)->uuid, ((const struct machine *)b)->uuid);
}

/* Those that have none, in any order. */
static int by_address(const void *a, const void *b)
{
	const struct machine *x = a, *y = b;
	int r = strcmp(x->address, y->address);

	return r || *x->address ? r : strcmp(x->name, y->name);
}

static int by_number(const void *a, const void *b)
{
	const struct machine *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

/* No two of them share what must be one's own; they end in the order of their numbers. */
static int machines_distinct(struct fleet *f, char why[FLEET_WHY])
{
	static int (*const orders[])(const void *a, const void *b) = { by_name, by_uuid, by_address, by_number };
	static const char *const what[] = { "name", "uuid", "address", "number" };
	struct machine *m = f->machines;
	size_t i, o;

	for (o = 0; o < 4; o++) {
		qsort(m, f->n, sizeof(*m), orders[o]);
		for (i = 1; i < f->n; i++)
			if (!orders[o](&m[i - 1], &m[i]))
				return refuse(why, -EINVAL, "machines: %s and %s have the same %s", m[i - 1].name, m[i].name,
					      what[o]);
	}
	return 0;
}

static int machines_take(const json_t *list, struct fleet *f, char why[FLEET_WHY])
{
	char what[FLEET_WHY];
	const json_t *j;
	size_t i;

	if (!json_is_array(list) || !json_array_size(list) ||
	    json_array_size(list) > FLEET_MACHINES_MAX)
		return refuse(why, -EINVAL, "machines: must be a list of 1 to %d",
			      FLEET_MACHINES_MAX);
	f->n = json_array_size(list);
	f->machines = calloc(f->n, sizeof(*f->machines));
	if (!f->machines)
		return refuse(why, -ENOMEM, "out of memory");
	json_array_foreach(list, i, j)
		if (machine_take(j, f, &f->machines[i], what))
			return refuse(why, -EINVAL, "machines: number %zu in the list: %.300s", i + 1,
				      what);
	return machines_distinct(f, why);
}

static int state_take(const json_t *j, struct fleet *f, char why[FLEET_WHY])
{
	char text[32];
	unsigned i;

	if (take(j, "state", text, sizeof(text), why))
		return -EINVAL;
	for (i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (!strcmp(text, states[i])) {
			f->state = (enum fleet_state)i;
			return 0;
		}
	return refuse(why, -EINVAL, "state: %s is none that is known", text);
}

static int head_take(const json_t *j, struct fleet *f, char why[FLEET_WHY])
{
	const json_t *format = json_object_get(j, "format");

	if (!json_is_integer(format))
		return refuse(why, -EINVAL, "format: must be a whole number");
	if (json_integer_value(format) != FORMAT)
		return refuse(why, -EINVAL, "format: is %" JSON_INTEGER_FORMAT ", and this program "
			      "knows %d; use the pando that wrote it", json_integer_value(format),
			      FORMAT);
	if (version_take(j, VERSIONS_MAX, &f->version, why) ||
	    take(j, "fleet", f->name, sizeof(f->name), why) || fleet_name_check(f->name, why) ||
	    take(j, "volume", f->volume, sizeof(f->volume), why) ||
	    volume_name_check(f->volume, why) ||
	    take(j, "created", f->created, sizeof(f->created), why) ||
	    take(j, "pool_uuid", f->pool_uuid, sizeof(f->pool_uuid), why) ||
	    take(j, "volume_uuid", f->volume_uuid, sizeof(f->volume_uuid), why))
		return -EINVAL;
	if (!time_ok(f->created))
		return refuse(why, -EINVAL, "created: %s is no time, such as 2026-11-26T02:23:14Z", f->created);
	if (!uuid_ok(f->pool_uuid) || !uuid_ok(f->volume_uuid))
		return refuse(why, -EINVAL, "pool_uuid, volume_uuid: must be UUIDs");
	return state_take(j, f, why);
}

/* Older ones know of the newest only. */
static int goldens_take(json_t *j, struct fleet *f, char why[FLEET_WHY])
{
	const char *key;
	json_t *v;

	if (j && !json_is_object(j))
		return refuse(why, -EINVAL, "goldens: must be an object");
	json_object_foreach(j, key, v)
		if (json_object_set_new(j, key, golden_text(json_string_value(v))))
			return refuse(why, -EINVAL, "goldens: %.40s: must be text, such as vms:/golden/debian12@1", key);
	f->goldens = json_incref(j);
	if (!*fleet_golden(f, f->version))
		fleet_golden_set(f, f->version, setting_text(f, "golden"));
	return 0;
}

int fleet_decode(const char *text, size_t len, struct fleet *f, char why[FLEET_WHY])
{
	json_error_t error;
	json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	int err;

	fleet_init(f);
	if (!json_is_object(j)) {
		json_decref(j);
		return refuse(why, -EINVAL, "line %d: %s", j ? 1 : error.line,
			      j ? "must be an object" : error.text);
	}
	err = head_take(j, f, why);
	f->settings = json_incref(json_object_get(j, "settings"));
	if (!err)
		err = settings_complete(f->settings, f->name, why);
	if (!err)
		err = machines_take(json_object_get(j, "machines"), f, why);
	if (!err)
		err = goldens_take(json_object_get(j, "goldens"), f, why);
	if (!err)
		err = snapshots_take(json_object_get(j, "snapshots"), f, why);
	if (!err)
		err = attached_take(json_object_get(j, "attached"), f, why);
	json_decref(j);
	if (err)
		fleet_done(f);
	return err;
}
