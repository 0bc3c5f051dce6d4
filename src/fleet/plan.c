/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From settings to machines: names by pattern, addresses in turn, and identities.
 *
 * A machine's UUID and MAC are cut from BLAKE2b of the fleet's name and the machine's number,
 * keyed with the pool's UUID: the same whenever they are made again, and nobody else's.  The
 * UUID says that it is of version 8 (RFC 9562), the MAC that it is locally administered.  Its
 * first byte is that of QEMU's addresses, and 40 bits are the hash: of 1,000 machines two
 * collide once in two million fleets, where the 24 bits of 52:54:00 would in one of 30.
 */
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "admin/objname.h"
#include "fleet/address.h"
#include "fleet/fleet_int.h"

#define MAC_FIRST 0x52
#define WINDOWS_NAME_MAX 15

void fleet_init(struct fleet *f)
{
	memset(f, 0, sizeof(*f));
	f->version = 1;
}

void fleet_done(struct fleet *f)
{
	json_decref(f->settings);
	json_decref(f->goldens);
	json_decref(f->snapshots);
	json_decref(f->attached);
	free(f->machines);
	fleet_init(f);
}

bool label_ok(const char *s, size_t max)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-");

	return n && !s[n] && n <= max && s[0] != '-' && s[n - 1] != '-';
}

int fleet_name_check(const char *name, char why[FLEET_WHY])
{
	char shown[100];

	if (label_ok(name, FLEET_NAME_MAX))
		return 0;
	text_printable(name, strlen(name), shown, sizeof(shown));
	return refuse(why, -EINVAL, "%s: not a fleet's name; use letters, digits and dashes, no "
		      "dash first or last, %d characters at most", shown, FLEET_NAME_MAX);
}

static void identity_make(const struct fleet *f, struct machine *m)
{
	unsigned char h[32], *u = h, *e = h + 16;
	char text[FLEET_NAME_MAX + 64];
	int n = snprintf(text, sizeof(text), "pando fleet 1 %s %" PRIu64, f->name, m->number);

	crypto_generichash(h, sizeof(h), (unsigned char *)text, (size_t)n,
			   (const unsigned char *)f->pool_uuid, strlen(f->pool_uuid));
	u[6] = (u[6] & 0x0f) | 0x80;
	u[8] = (u[8] & 0x3f) | 0x80;
	snprintf(m->uuid, sizeof(m->uuid), "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x"
		 "%02x%02x%02x", u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10],
		 u[11], u[12], u[13], u[14], u[15]);
	snprintf(m->mac, sizeof(m->mac), "%02x:%02x:%02x:%02x:%02x:%02x", MAC_FIRST, e[0], e[1], e[2],
		 e[3], e[4]);
}

static int name_make(const struct name_pattern *p, struct machine *m, char why[FLEET_WHY])
{
	char name[OBJNAME_NAME_MAX + 1];

	if (name_pattern_expand(p, m->number, name) || !label_ok(name, FLEET_LABEL_MAX))
		return refuse(why, -EINVAL, "names: machine %" PRIu64 " would be %s%0*" PRIu64 "%s, "
			      "which is no host name: letters, digits and dashes, %d characters at "
			      "most", m->number, p->before, (int)p->width, m->number, p->after, FLEET_LABEL_MAX);
	strcpy(m->name, name);
	return 0;
}

/* Windows Setup stops at a name that it doesn't take. */
static int windows_name_check(const char *name, char why[FLEET_WHY])
{
	return strlen(name) > WINDOWS_NAME_MAX || strspn(name, "0123456789") == strlen(name) ?
		refuse(why, -EINVAL, "names: %s is no name for Windows: %d characters at most, and not all of them digits; "
		       "give the fleet a shorter pattern with --names", name, WINDOWS_NAME_MAX) : 0;
}

int fleet_plan(struct fleet *f, char why[FLEET_WHY])
{
	uint64_t count = setting_number(f, "count"), n = count + setting_number(f, "spares");
	uint64_t first = setting_number(f, "first"), i;
	const char *addresses = setting_text(f, "addresses");
	struct address_range range;
	struct name_pattern pattern;
	struct machine *m;
	int err = 0;

	if (sodium_init() < 0)
		return refuse(why, -ENOMEM, "cannot start the cryptographic library");
	if (name_pattern_parse(setting_text(f, "names"), &pattern, why) ||
	    (addresses && address_range_parse(addresses, &range, why)))
		return -EINVAL;
	m = calloc(n, sizeof(*m));
	if (!m)
		return refuse(why, -ENOMEM, "out of memory");
	for (i = 0; i < n && !err; i++) {
		m[i].number = first + i;
		m[i].version = f->version;
		m[i].spare = i >= count;
		m[i].host = m[i].elsewhere = HOST_NONE;
		err = name_make(&pattern, &m[i], why);
		if (!err && setting_text(f, "unattend"))
			err = windows_name_check(m[i].name, why);
		identity_make(f, &m[i]);
		if (addresses)
			address_range_at(&range, i, m[i].address);
	}
	if (err) {
		free(m);
		return err;
	}
	free(f->machines);
	f->machines = m;
	f->n = n;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const struct machine *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

/* Of WANTED, machines whose numbers F doesn't have are added to F's, until they are as many; LACKING of them,
 * the first, are no spares. */
static int machines_merge(struct fleet *f, const struct fleet *wanted, uint64_t lacking, char why[FLEET_WHY])
{
	struct machine *all = malloc((f->n + wanted->n) * sizeof(*all));
	size_t n = f->n, i;

	if (!all)
		return refuse(why, -ENOMEM, "out of memory");
	memcpy(all, f->machines, f->n * sizeof(*all));
	for (i = 0; i < wanted->n && n < wanted->n; i++)
		if (!bsearch(&wanted->machines[i], f->machines, f->n, sizeof(*all), by_number)) {
			if (fleet_machine(f, wanted->machines[i].name))
				break;
			all[n] = wanted->machines[i];
			all[n].spare = n - f->n >= lacking;
			n++;
		}
	if (i < wanted->n && n < wanted->n) {
		free(all);
		return refuse(why, -EINVAL, "names: machine %" PRIu64 " would be %s, and there is one "
			      "of that name", wanted->machines[i].number, wanted->machines[i].name);
	}
	qsort(all, n, sizeof(*all), by_number);
	free(f->machines);
	f->machines = all;
	f->n = n;
	return 0;
}

uint64_t fleet_count(const struct fleet *f)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < f->n; i++)
		n += !f->machines[i].spare;
	return n;
}

void fleet_promote(struct fleet *f, uint64_t count)
{
	uint64_t n = fleet_count(f);
	size_t i;

	for (i = 0; i < f->n && n < count; i++) {
		n += f->machines[i].spare;
		f->machines[i].spare = false;
	}
}

uint64_t fleet_surplus(struct fleet *f, uint64_t count, uint64_t spares)
{
	uint64_t n = fleet_count(f), left[2] = { n, f->n - n }, most[2] = { count, spares }, going = 0;
	struct machine *m;
	size_t i;

	for (i = f->n; i-- > 0;) {
		m = &f->machines[i];
		m->chosen = left[m->spare] > most[m->spare];
		left[m->spare] -= m->chosen;
		going += m->chosen;
	}
	return going;
}

static void count_set(struct fleet *f, uint64_t count, uint64_t spares)
{
	json_object_set_new(f->settings, "count", json_integer((json_int_t)count));
	if (spares || json_object_get(f->settings, "spares"))
		json_object_set_new(f->settings, "spares", json_integer((json_int_t)spares));
}

int fleet_grow(struct fleet *f, uint64_t count, uint64_t spares, char why[FLEET_WHY])
{
	struct fleet wanted = *f;
	uint64_t n = fleet_count(f);
	int err;

	wanted.machines = NULL;
	wanted.goldens = NULL;
	wanted.snapshots = NULL;
	wanted.attached = NULL;
	wanted.settings = json_copy(f->settings);
	count_set(&wanted, count, spares);
	err = settings_complete(wanted.settings, f->name, why);
	if (!err)
		err = fleet_plan(&wanted, why);
	if (!err)
		err = machines_merge(f, &wanted, count > n ? count - n : 0, why);
	if (!err)
		count_set(f, count, spares);
	fleet_done(&wanted);
	return err;
}

void fleet_shrink(struct fleet *f)
{
	const char *tag;
	json_t *machines;
	void *next;
	size_t i, n = 0;

	for (i = 0; i < f->n; i++) {
		if (!f->machines[i].chosen) {
			f->machines[n++] = f->machines[i];
			continue;
		}
		json_object_foreach_safe(f->snapshots, next, tag, machines)
			tag_forget(f, tag, f->machines[i].name);
		attached_forget(f, f->machines[i].name);
	}
	f->n = n;
	count_set(f, fleet_count(f), f->n - fleet_count(f));
}

static const char *version_key(uint64_t version, char buf[24])
{
	snprintf(buf, 24, "%" PRIu64, version);
	return buf;
}

const char *fleet_golden(const struct fleet *f, uint64_t version)
{
	char key[24];
	const char *s = json_string_value(json_object_get(f->goldens, version_key(version, key)));

	return s ? s : "";
}

void fleet_golden_set(struct fleet *f, uint64_t version, const char *golden)
{
	char key[24];

	if (!f->goldens)
		f->goldens = json_object();
	if (golden)
		json_object_set_new(f->goldens, version_key(version, key), json_string(golden));
	else
		json_object_del(f->goldens, version_key(version, key));
}

struct machine *fleet_machine(const struct fleet *f, const char *name)
{
	size_t i;

	for (i = 0; i < f->n; i++)
		if (!strcmp(f->machines[i].name, name))
			return &f->machines[i];
	return NULL;
}

json_t *machine_names(const struct fleet *f)
{
	json_t *names = json_object();
	size_t i;

	for (i = 0; i < f->n; i++)
		json_object_set_new(names, f->machines[i].name, json_true());
	return names;
}

const char *disk_suffix(const struct fleet *f)
{
	return strcmp(setting_text(f, "format"), "vhd") ? ".raw" : ".vhd";
}

const char *seed_suffix(const struct fleet *f)
{
	return strcmp(setting_text(f, "seed"), "iso") ? ".img" : ".iso";
}

const char *data_suffix(const struct fleet *f)
{
	return setting_text(f, "data_format") ? ".vhd" : ".raw";
}

void machine_data_uuid(const struct machine *m, char ret[FLEET_UUID])
{
	memcpy(ret, m->uuid, FLEET_UUID);
	ret[0] = ret[0] == '0' ? '1' : '0';
}

void machine_disk_path(const struct fleet *f, const struct machine *m, char *buf, size_t cap)
{
	snprintf(buf, cap, "/fleets/%s/disks/%s%s", f->name, m->name, disk_suffix(f));
}

void golden_share_name(uint64_t version, char *buf, size_t cap)
{
	if (version == 1)
		snprintf(buf, cap, "golden.raw");
	else
		snprintf(buf, cap, "golden-%" PRIu64 ".raw", version);
}

void machine_data_path(const struct fleet *f, const struct machine *m, char *buf, size_t cap)
{
	snprintf(buf, cap, "/fleets/%s/data/%s%s", f->name, m->name, data_suffix(f));
}

void machine_seed_path(const struct fleet *f, const struct machine *m, char *buf, size_t cap)
{
	snprintf(buf, cap, "/fleets/%s/seeds/%s%s", f->name, m->name, seed_suffix(f));
}
