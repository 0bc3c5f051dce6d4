/* SPDX-License-Identifier: Apache-2.0 */
/* What can be asked for of a fleet: the keys, their defaults, and what each of them may be. */
#include <inttypes.h>
#include <string.h>

#include "admin/objname.h"
#include "fleet/address.h"
#include "fleet/fleet_int.h"

enum kind { TEXT, NUMBER };

static const struct setting {
	const char *key;
	enum kind kind;
	uint64_t min, max;		/* of a number; of a text, max is its longest */
	const char *text;		/* defaults; NULL: none */
	uint64_t number;
} rows[] = {
	{ "golden", TEXT, 1, OBJNAME_PATH_MAX, NULL, 0 },
	{ "count", NUMBER, 1, FLEET_MACHINES_MAX, NULL, 0 },
	{ "spares", NUMBER, 0, FLEET_MACHINES_MAX, NULL, 0 },
	{ "first", NUMBER, 0, 1000000000, NULL, 1 },
	{ "names", TEXT, 1, 200, NULL, 0 },	/* default: by the fleet's name */
	{ "cpus", NUMBER, 1, 1024, NULL, 1 },
	{ "memory", NUMBER, 1 << 20, (uint64_t)1 << 46, NULL, 1 << 30 },
	{ "data", NUMBER, 1 << 20, (uint64_t)1 << 46, NULL, 0 },	/* default: none */
	{ "expires", NUMBER, 60, 10ull * EXPIRES_MAX, NULL, 0 },	/* seconds from "created"; default: never */
	{ "network", TEXT, 1, 100, "default", 0 },
	{ "addresses", TEXT, 1, 120, NULL, 0 },
	{ "gateway", TEXT, 1, FLEET_ADDRESS - 1, NULL, 0 },
	{ "dns", TEXT, 1, 200, NULL, 0 },
	{ "format", TEXT, 1, 8, "raw", 0 },
	{ "server", TEXT, 1, 255, "127.0.0.1", 0 },
	{ "path", TEXT, 1, 1024, NULL, 0 },
	{ "console", TEXT, 1, 1024, NULL, 0 },
	{ "connect", TEXT, 1, 8192, NULL, 0 },
	{ "user_data", TEXT, 0, FLEET_TEMPLATE_MAX, NULL, 0 },
	{ "network_config", TEXT, 0, FLEET_TEMPLATE_MAX, NULL, 0 },
	{ "unattend", TEXT, 1, FLEET_TEMPLATE_MAX, NULL, 0 },
	{ "seed", TEXT, 1, 8, NULL, 0 },	/* default: fat, and iso with an answer file */
	{ "data_format", TEXT, 1, 8, NULL, 0 },	/* default: raw */
	{ "domain", TEXT, 1, FLEET_TEMPLATE_MAX, NULL, 0 },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static const struct setting *row_find(const char *key)
{
	size_t i;

	for (i = 0; i < ROWS; i++)
		if (!strcmp(rows[i].key, key))
			return &rows[i];
	return NULL;
}

const char *setting_key(unsigned i)
{
	return i < ROWS ? rows[i].key : NULL;
}

bool setting_is_number(const char *key)
{
	return row_find(key)->kind == NUMBER;
}

const char *setting_text(const struct fleet *f, const char *key)
{
	return json_string_value(json_object_get(f->settings, key));
}

uint64_t setting_number(const struct fleet *f, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(f->settings, key));
}

static time_t created_at(const struct fleet *f)
{
	struct tm tm = { 0 };

	if (sscanf(f->created, "%d-%d-%dT%d:%d:%dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
		   &tm.tm_sec) != 6)
		return 0;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	return timegm(&tm);
}

time_t fleet_expiry(const struct fleet *f)
{
	return setting_number(f, "expires") ? created_at(f) + (time_t)setting_number(f, "expires") : 0;
}

int fleet_expire_at(struct fleet *f, time_t over)
{
	time_t created = created_at(f);

	/* a clock that was put back */
	return json_object_set_new(f->settings, "expires", json_integer(over < created + 60 ? 60 : over - created)) ? -ENOMEM : 0;
}

/* ---- one by one ------------------------------------------------------------------------- */

static int number_check(const struct setting *row, const json_t *value, char why[FLEET_WHY])
{
	json_int_t v = json_integer_value(value);

	if (!json_is_integer(value))
		return refuse(why, -EINVAL, "%s: must be a whole number", row->key);
	if (v < 0 || (uint64_t)v < row->min || (uint64_t)v > row->max)
		return refuse(why, -EINVAL, "%s: %" JSON_INTEGER_FORMAT " is out of range; it is from %"
			      PRIu64 " to %" PRIu64, row->key, v, row->min, row->max);
	return 0;
}

static int text_check(const struct setting *row, const json_t *value, char why[FLEET_WHY])
{
	const char *s = json_string_value(value);
	size_t len = json_string_length(value);

	if (!s || strlen(s) != len)
		return refuse(why, -EINVAL, "%s: must be text, without NUL", row->key);
	if (len < row->min || len > row->max)
		return refuse(why, -EINVAL, "%s: has %zu bytes; it takes from %" PRIu64 " to %"
			      PRIu64, row->key, len, row->min, row->max);
	return 0;
}

static int each_check(json_t *settings, char why[FLEET_WHY])
{
	const struct setting *row;
	const char *key;
	json_t *value;
	int err = 0;

	json_object_foreach(settings, key, value) {
		row = row_find(key);
		if (!row)
			return refuse(why, -EINVAL, "%.60s: not a setting that is known here", key);
		err = row->kind == NUMBER ? number_check(row, value, why)
					  : text_check(row, value, why);
		if (err)
			return err;
	}
	return 0;
}

static int defaults_set(json_t *settings, const char *fleet)
{
	char names[FLEET_NAME_MAX + 8];
	const struct setting *row;
	int failed = 0;
	size_t i;

	snprintf(names, sizeof(names), "%s-%%03d", fleet);
	for (i = 0; i < ROWS; i++) {
		row = &rows[i];
		if (json_object_get(settings, row->key))
			continue;
		if (row->kind == NUMBER && row->number)
			failed |= json_object_set_new(settings, row->key,
						      json_integer((json_int_t)row->number));
		else if (row->text)
			failed |= json_object_set_new(settings, row->key, json_string(row->text));
		else if (!strcmp(row->key, "names"))
			failed |= json_object_set_new(settings, row->key, json_string(names));
	}
	if (!json_object_get(settings, "seed"))
		failed |= json_object_set_new(settings, "seed", json_string(json_object_get(settings, "unattend") ? "iso" : "fat"));
	return failed ? -ENOMEM : 0;
}

void settings_begin(json_t *settings)
{
	const char *format = json_string_value(json_object_get(settings, "format"));

	if (!format || strcmp(format, "vhd"))
		return;
	if (!json_object_get(settings, "seed"))
		json_object_set_new(settings, "seed", json_string("iso"));
	if (json_object_get(settings, "data"))
		json_object_set_new(settings, "data_format", json_string("vhd"));
}

/* ---- what they mean --------------------------------------------------------------------- */

json_t *golden_text(const char *text)
{
	char why[OBJNAME_WHY];
	struct objpath p;

	return text && !objpath_parse(text, strlen(text), &p, why) ? json_sprintf("%s:%s", p.volume, p.path) : NULL;
}

static int golden_check(json_t *settings, char why[FLEET_WHY])
{
	const char *text = json_string_value(json_object_get(settings, "golden"));
	struct objpath p;
	int err;

	if (!text)
		return refuse(why, -EINVAL, "golden: say which image the machines are made of");
	err = objpath_parse(text, strlen(text), &p, why);
	if (!err && objpath_is_root(&p))
		err = refuse(why, -EINVAL, "%s: is a volume's root; name an image", text);
	if (!err && strchr(p.volume, '@'))
		err = refuse(why, -EINVAL, "%s: is in a snapshot; name an image in a volume, whose "
			     "clones can be written to", text);
	if (err)
		return -EINVAL;
	return json_object_set_new(settings, "golden", golden_text(text)) ? refuse(why, -ENOMEM, "out of memory") : 0;
}

#define NETWORK_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

/* VMware's own first network is named "VM Network". */
static int network_check(const char *text, bool vmware, char why[FLEET_WHY])
{
	const char *name = text;

	if (!strncmp(name, "bridge:", 7))
		name += 7;
	else if (!strncmp(name, "network:", 8))
		name += 8;
	if (!*name || strspn(name, vmware ? NETWORK_CHARS " ()" : NETWORK_CHARS) != strlen(name))
		return refuse(why, -EINVAL, "network: %s: write none, user, the name of one of %s", text, vmware ?
			      "VMware's networks, of letters, digits, and ._-() and blanks" : "libvirt's networks, or bridge:NAME");
	return 0;
}

static int addresses_check(const struct fleet *f, char why[FLEET_WHY])
{
	const char *text = setting_text(f, "addresses"), *gateway = setting_text(f, "gateway"), *dns = setting_text(f, "dns");
	uint64_t there, count = setting_number(f, "count") + setting_number(f, "spares");
	struct address_range r;
	int err;

	if (!text && (gateway || dns))
		return refuse(why, -EINVAL, "%s: goes with addresses of the machines; without them, DHCP says it",
			      gateway ? "gateway" : "dns");
	if (!text)
		return 0;
	err = address_range_parse(text, &r, why);
	if (!err && gateway)
		err = address_beside(&r, "gateway", gateway, why);
	if (!err && dns)
		err = address_list_each("dns", dns, NULL, NULL, why);
	if (err)
		return err;
	there = address_range_count(&r);
	if (there < count)
		return refuse(why, -EINVAL, "%s: has %" PRIu64 " addresses for %" PRIu64 " machines; "
			      "give it more, or make fewer machines", text, there, count);
	return 0;
}

static int place_check(const char *key, const char *text, char why[FLEET_WHY])
{
	return text && *text != '/' ? refuse(why, -EINVAL, "%s: %s: must begin with a slash", key,
					     text) : 0;
}

static int format_check(const char *text, char why[FLEET_WHY])
{
	return strcmp(text, "raw") && strcmp(text, "vhd") && strcmp(text, "vmware") ?
		refuse(why, -EINVAL, "format: %s: is none that is known here; write raw, vhd or vmware", text) : 0;
}

static int seed_check(const struct fleet *f, char why[FLEET_WHY])
{
	const char *seed = setting_text(f, "seed"), *data = setting_text(f, "data_format");

	if (strcmp(seed, "fat") && strcmp(seed, "iso"))
		return refuse(why, -EINVAL, "seed: %s: is none that is known here; write fat or iso", seed);
	if (setting_text(f, "unattend") && strcmp(seed, "iso"))
		return refuse(why, -EINVAL, "unattend: Windows looks for answer files on removable disks alone; leave the seed "
			      "an iso");
	if (data && (strcmp(data, "vhd") || strcmp(setting_text(f, "format"), "vhd")))
		return refuse(why, -EINVAL, "data_format: %s: must be vhd, and the format too", data);
	return data && (setting_number(f, "data") % 512 || setting_number(f, "data") > VHD_MAX) ?
		refuse(why, -EINVAL, "data: a VHD has whole sectors of 512 bytes, and 2040 GiB at most") : 0;
}

/* A domain without these could not be told from others', or would be the same for all. */
static int domain_check(const char *text, char why[FLEET_WHY])
{
	static const char *const must[] = { "{name}", "{uuid}", "{metadata}" };
	size_t i;

	for (i = 0; text && i < 3; i++)
		if (!strstr(text, must[i]))
			return refuse(why, -EINVAL, "domain: the template has no %s; put it where "
				      "libvirt's format has that element", must[i]);
	return 0;
}

int settings_complete(json_t *settings, const char *fleet, char why[FLEET_WHY])
{
	struct fleet f = { .settings = settings };
	struct name_pattern pattern;
	int err;

	if (!json_is_object(settings))
		return refuse(why, -EINVAL, "settings: must be an object");
	err = each_check(settings, why);
	if (!err && defaults_set(settings, fleet))
		err = refuse(why, -ENOMEM, "out of memory");
	if (!err)
		err = golden_check(settings, why);
	if (!err && !json_object_get(settings, "count"))
		err = refuse(why, -EINVAL, "count: say how many machines there are to be");
	if (!err && name_pattern_parse(setting_text(&f, "names"), &pattern, why))
		err = -EINVAL;
	if (!err)
		err = network_check(setting_text(&f, "network"), !strcmp(setting_text(&f, "format"), "vmware"), why);
	if (!err && setting_number(&f, "count") + setting_number(&f, "spares") > FLEET_MACHINES_MAX)
		err = refuse(why, -EINVAL, "count, spares: are more than %d together", FLEET_MACHINES_MAX);
	if (!err)
		err = addresses_check(&f, why);
	if (!err)
		err = format_check(setting_text(&f, "format"), why);
	if (!err)
		err = hosts_check(setting_text(&f, "connect"), why);
	if (!err)
		err = seed_check(&f, why);
	if (!err)
		err = place_check("path", setting_text(&f, "path"), why);
	if (!err)
		err = place_check("console", setting_text(&f, "console"), why);
	return err ? err : domain_check(setting_text(&f, "domain"), why);
}
