/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fleet create: from a golden image to machines.
 *
 *	look      everything that can be refused is refused before anything is made
 *	manifest  "making": from here on, the fleet is known, and can be completed or destroyed
 *	storage   the golden image's share, all disks in one call, the seeds
 *	domains   defined with libvirt, if the fleet has hypervisors (fleet_hosts.c)
 *	manifest  "ready"
 *	start     if told so
 *
 * Each step makes only what is missing.  So the command can be given again after any failure,
 * then with the fleet's name alone, and it goes on where it was.
 */
#include "pando/golden.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "admin/size.h"
#include "base/cleanup.h"

struct creation {
	struct cmd *c;
	struct fleet f;
	json_t *given;			/* settings that the command line has */
	bool exists;			/* the fleet is there: it is completed */
	struct fleet_files files;
	struct hosts hosts;
	uint64_t started_ns, disks, seeds, clone_us, domains, running;
	const char *taken;		/* see fleet_complete() */
	bool changed;			/* its settings: the manifest is written again, first */
};

/* ---- look ------------------------------------------------------------------------------- */

/* What is given again must be what the fleet was begun with. */
static int given_compare(struct creation *x)
{
	char why[FLEET_WHY];
	const char *key;
	json_t *value, *has;

	if (x->f.state == FLEET_DESTROYING)
		return fail("%s: is being destroyed; 'pando fleet destroy %s' finishes that", x->f.name,
			    x->f.name);
	json_object_foreach(x->given, key, value) {
		has = json_object_get(x->f.settings, key);
		if (!strcmp(key, "connect") && !json_equal(has, value)) {	/* hosts may come later, and more of them */
			if (fleet_hosts_set(&x->f, json_string_value(value), why))
				return fail("%s: --connect: %s", x->f.name, why);
			x->changed = true;
			continue;
		}
		if (!strcmp(key, "expires")) {
			if (fleet_expire_at(&x->f, time(NULL) + (time_t)json_integer_value(value)))
				return fail("out of memory");
			x->changed = true;
			continue;
		}
		if (!strcmp(key, "golden") && golden_is(setting_text(&x->f, key), json_string_value(value)))
			continue;
		if (!has && !strcmp(key, "spares") && !json_integer_value(value))
			continue;
		if (!has || !json_equal(has, value))
			return fail("%s: there is a fleet of this name, with another %s; give none to "
				    "complete it, or destroy it first", x->f.name, key);
	}
	return DONE;
}

static int uuid_get(struct cmd *c, const char *path, const char *name, char ret[FLEET_UUID])
{
	struct request r;
	json_t *j;
	int err;

	request_init(&r, "GET", path, name);
	err = client_call(c, &r, &j);
	if (err)
		return err;
	snprintf(ret, FLEET_UUID, "%s", json_text(j, "uuid"));
	json_decref(j);
	return DONE;
}

int disk_look(struct cmd *c, const char *object, uint64_t *ret_size)
{
	CLEANUP_BUF struct buf head = { .max = 4096 };
	enum image_format format;
	struct request r;
	json_t *j;
	int err;

	request_init(&r, "GET", "/v1/files", NULL);
	request_arg(&r, "path", object);
	err = client_call(c, &r, &j);
	if (err)
		return err;
	*ret_size = json_u64(j, "size");
	err = strcmp(json_text(j, "type"), "file") ? fail("%s: is not a file; name a disk image", object) : DONE;
	json_decref(j);
	if (err)
		return err;
	request_init(&r, "GET", "/v1/data", NULL);
	request_arg(&r, "path", object);
	request_arg_u64(&r, "length", 512);
	err = client_data(c, &r, &head);
	if (err)
		return err;
	format = image_format_of(buf_str(&head), head.len);
	return format == IMAGE_RAW ? DONE :
		fail("%s: is in the format %s; 'pando import' makes the raw disk that machines need of "
		     "it", object, image_format_name(format));
}

int golden_look(struct cmd *c, const struct fleet *f, const char *golden)
{
	uint64_t size;
	int err = disk_look(c, golden, &size);

	if (!err && !size)
		err = fail("%s: is empty; name a disk image", golden);
	return err ? err : format_check(f, golden, size);
}

void now_text(char buf[32])
{
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(buf, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* Its machines would look for their disks on themselves. */
static int server_look(struct creation *x)
{
	const char *list = setting_text(&x->f, "connect");
	char uri[FLEET_HOST];
	unsigned i = host_remote(list);

	return i == HOST_NONE || setting_text(&x->f, "server") || setting_text(&x->f, "path") ? DONE :
		usage(x->c, "%s: say with --server at which address it reaches pandod, or with --path where it has mounted the "
		      "volume", host_at(list, i, uri));
}

/* A fleet that isn't there yet, from what was given. */
static int fleet_begin(struct creation *x, const char *name)
{
	struct fleet *f = &x->f;
	CLEANUP_FREE char *image = NULL;
	char why[FLEET_WHY];
	struct objpath golden;
	int err;

	snprintf(f->name, sizeof(f->name), "%s", name);
	f->settings = json_incref(x->given);
	if (!setting_text(f, "golden") || !json_object_get(x->given, "count"))
		return usage(x->c, "%s: there is no such fleet yet; say --golden and --count", name);
	err = server_look(x);
	if (err)
		return err;
	settings_begin(f->settings);
	if (settings_complete(f->settings, name, why))
		return usage(x->c, "%s", why);
	err = golden_resolve(x->c, setting_text(f, "golden"), &image);
	if (err)
		return err;
	json_object_set_new(f->settings, "golden", json_string(image));
	fleet_golden_set(f, f->version, image);
	err = cmd_object(x->c, setting_text(f, "golden"), &golden);
	if (err)
		return err;
	snprintf(f->volume, sizeof(f->volume), "%.63s", golden.volume);
	now_text(f->created);
	err = uuid_get(x->c, "/v1/pool", NULL, f->pool_uuid);
	if (!err)
		err = uuid_get(x->c, "/v1/volumes/", f->volume, f->volume_uuid);
	if (!err && fleet_plan(f, why))
		err = usage(x->c, "%s", why);
	return err ? err : golden_look(x->c, f, setting_text(f, "golden"));
}

/* A mistake in a template is found before anything is made. */
static int templates_look(const struct fleet *f)
{
	CLEANUP_BUF struct buf image = { 0 }, xml = { 0 };
	const struct machine *m = &f->machines[f->n - 1];	/* the longest name */
	char why[FLEET_WHY];
	uint64_t offset, size;

	if (machine_check(f, m, why) || machine_seed(f, m, &image, &offset, &size, why) ||
	    machine_xml(f, m, "kvm", &xml, why))
		return fail("%s: %s", m->name, why);
	return DONE;
}

/* Each machine has a host then, and nobody else's domain is in the way. */
static int hosts_look(struct creation *x)
{
	char why[FLEET_WHY];
	unsigned unused;
	size_t i;
	int err = fleet_at_once(x->c, "start", cmd_option(x->c, "start"), &unused);

	if (!err)
		err = hosts_open(x->c, &x->f, &x->hosts);
	if (err)
		return err;
	if (!x->hosts.n)
		return cmd_option(x->c, "start") ?
			usage(x->c, "--start: there is no hypervisor; say which with --connect") : DONE;
	for (i = 0; i < x->f.n; i++) {
		x->f.machines[i].chosen = true;
		x->changed |= x->f.machines[i].host == HOST_NONE;	/* it will have one */
	}
	hosts_survey(&x->hosts, &x->f, why);
	err = machines_place(x->c, &x->f, &x->hosts, &x->changed);
	if (!err)
		err = fleet_no_foreign(&x->f);
	return !err && cmd_option(x->c, "start") ? fleet_memory_check(x->c, &x->hosts, &x->f) : err;
}

/* The fleet that is meant, as it is or as it is to be. */
static int fleet_look(struct creation *x)
{
	const char *name = x->c->argv[0];
	int err = fleet_options(x->c, x->given);

	if (!err)
		err = fleet_find(x->c, name, &x->f, &x->exists);
	if (!err)
		err = x->exists ? given_compare(x) : fleet_begin(x, name);
	return err;
}

/* What is in the folder of a fleet that isn't there is somebody's: its manifest may have been lost. */
static int nobodys_look(const struct creation *x)
{
	bool has_data = setting_number(&x->f, "data"), there = x->files.golden;
	size_t i;

	for (i = 0; i < x->f.n && !there; i++) {
		const struct machine *m = &x->f.machines[i];

		there = m->has_disk || m->has_seed || m->has_fresh || (has_data && m->has_data);
	}
	return !there ? DONE :
		fail("%s:/fleets/%s: holds machines' files, but no manifest that says whose they are; restore its "
		     "fleet.json from a snapshot, or move the folder away or remove it", x->f.volume, x->f.name);
}

static int things_look(struct creation *x)
{
	int err = templates_look(&x->f);

	if (!err)
		err = hosts_look(x);
	if (!err)
		err = fleet_survey(x->c, &x->f, &x->files);
	return err || x->exists ? err : nobodys_look(x);
}

/* ---- storage ---------------------------------------------------------------------------- */

static bool lacks_disk(const struct machine *m) { return !m->has_disk; }
static bool lacks_seed(const struct machine *m) { return !m->has_seed; }
static bool lacks_data(const struct machine *m) { return !m->has_data; }

static int cut_short(struct creation *x)
{
	return fail("%s: interrupted; 'pando fleet create %s' goes on, 'pando fleet show %s' tells what "
		    "is there", x->f.name, x->f.name, x->f.name);
}

static int storage_make(struct creation *x)
{
	int err = fleet_folders_make(x->c, &x->f);

	if (!err && !x->exists)
		err = fleet_lock(x->c, &x->f);
	if (!err && (!x->exists || x->changed))
		err = fleet_save(x->c, &x->f, !x->exists);
	if (!err && !x->files.golden)
		err = fleet_golden_shares(x->c, &x->f);
	if (!err && interrupted)
		err = cut_short(x);
	if (!err)
		err = fleet_disks_clone(x->c, &x->f, "", lacks_disk, &x->disks, &x->clone_us);
	if (!err && interrupted)
		err = cut_short(x);
	if (!err)
		err = fleet_data_put(x->c, &x->f, lacks_data);
	return err ? err : fleet_seeds_put(x->c, &x->f, lacks_seed, &x->seeds);
}

/* One that is elsewhere has one too many already. */
static bool lacks_domain(const struct machine *m)
{
	return m->domain == DOMAIN_NONE && m->elsewhere == HOST_NONE;
}

static int domains_define(struct creation *x)
{
	struct crew_work work = { .what = "defining domains", .want = lacks_domain, .fn = hv_define,
				  .at_once = 4, .keep_going = cmd_option(x->c, "keep-going") != NULL };

	return x->hosts.n ? crew_run(&x->hosts, &x->f, &work, &x->domains) : DONE;
}

static int ready(struct creation *x)
{
	if (x->f.state == FLEET_READY || x->hosts.left_out)
		return DONE;
	x->f.state = FLEET_READY;
	return fleet_save(x->c, &x->f, false);
}

/* ---- XML files -------------------------------------------------------------------------- */

static int xml_write(const struct fleet *f, const struct machine *m, const char *dir)
{
	CLEANUP_BUF struct buf xml = { 0 };
	CLEANUP_FREE char *path = NULL;
	CLEANUP_FILE FILE *out = NULL;
	char why[FLEET_WHY];

	if (machine_xml(f, m, "kvm", &xml, why))
		return fail("%s: %s", m->name, why);
	if (asprintf(&path, "%s/%s.xml", dir, m->name) < 0)
		return fail("out of memory");
	out = fopen(path, "we");
	if (!out || fwrite(xml.data, 1, xml.len, out) != xml.len || fflush(out))
		return fail("%s: cannot write it: %s", path, strerror(errno));
	return DONE;
}

static int xml_files(struct creation *x)
{
	const char *dir = cmd_option(x->c, "xml");
	int err = DONE;
	size_t i;

	for (i = 0; dir && i < x->f.n && !err; i++)
		err = xml_write(&x->f, &x->f.machines[i], dir);
	return err;
}

/* ---- telling ---------------------------------------------------------------------------- */

static uint64_t missing(const struct fleet *f, machine_want want)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < f->n; i++)
		n += want(&f->machines[i]);
	return n;
}

static const char *to_make_text(const struct creation *x, const struct machine *m, char buf[64])
{
	static const char *const kinds[] = { "", "spare: " };
	const bool lacks[] = { !m->has_disk, !m->has_seed, !m->has_data, x->hosts.n && lacks_domain(m) };
	static const char *const names[] = { "disk", "seed", "data", "domain" };
	size_t n = 0, i;

	for (i = 0; i < 4; i++)
		if (lacks[i])
			n += (size_t)snprintf(buf + n, 64 - n, "%s%s", n ? ", " : kinds[m->spare], names[i]);
	return n ? buf : "-";
}

static int dry_print(struct creation *x)
{
	char text[64], uri[FLEET_HOST];
	struct table t;
	json_t *j;
	size_t i;
	int err;

	if (x->c->json) {
		j = json_pack("{s:s,s:s,s:b,s:I,s:I,s:I,s:o*,s:O}", "fleet", x->f.name, "volume",
			      x->f.volume, "exists", x->exists, "disks",
			      (json_int_t)missing(&x->f, lacks_disk), "seeds",
			      (json_int_t)missing(&x->f, lacks_seed), "domains",
			      (json_int_t)missing(&x->f, lacks_domain), "hosts",
			      hosts_json(&x->hosts, &x->f), "settings", x->f.settings);
		err = print_json(j);
		json_decref(j);
		return err;
	}
	if (x->hosts.n > 1)
		table_init(&t, "llllll", "NAME", "ADDRESS", "MAC", "UUID", "TO MAKE", "HOST");
	else
		table_init(&t, "lllll", "NAME", "ADDRESS", "MAC", "UUID", "TO MAKE");
	for (i = 0; i < x->f.n; i++) {
		const struct machine *m = &x->f.machines[i];

		table_cell(&t, m->name);
		table_cell(&t, *m->address ? m->address : "-");
		table_cell(&t, m->mac);
		table_cell(&t, m->uuid);
		table_cell(&t, to_make_text(x, m, text));
		if (x->hosts.n > 1)
			table_cell(&t, host_at(x->hosts.list, m->host, uri));
	}
	return table_print(&t);
}

static int report_json(struct creation *x, double seconds)
{
	uint64_t count = fleet_count(&x->f);
	json_t *j = json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:s*}", "fleet", x->f.name, "volume",
			      x->f.volume, "machines", (json_int_t)count, "spares", (json_int_t)(x->f.n - count), "disks",
			      (json_int_t)x->disks, "seeds", (json_int_t)x->seeds, "domains",
			      (json_int_t)x->domains, "started", (json_int_t)x->running, "clone_us",
			      (json_int_t)x->clone_us, "seconds", seconds, "taken", x->taken);
	int err = print_json(j);

	json_decref(j);
	return err;
}

static int report(struct creation *x)
{
	double seconds = (double)(clock_ns() - x->started_ns) / 1e9;
	uint64_t count = fleet_count(&x->f);

	if (x->c->json)
		return report_json(x, seconds);
	if (x->taken)
		printf("%s: %s takes the place\n", x->f.name, x->taken);
	printf("%s: %llu machines", x->f.name, (unsigned long long)count);
	if (x->f.n > count)
		printf(" and %llu spares", (unsigned long long)(x->f.n - count));
	printf(" in %.2f s: %llu disks cloned in %.2f ms, %llu seeds", seconds, (unsigned long long)x->disks,
	       (double)x->clone_us / 1000, (unsigned long long)x->seeds);
	if (x->hosts.n)
		printf(", %llu domains defined, %llu started", (unsigned long long)x->domains,
		       (unsigned long long)x->running);
	putchar('\n');
	return print_done();
}

static int make(struct creation *x)
{
	int err = storage_make(x);

	if (!err)
		err = xml_files(x);
	if (!err)
		err = domains_define(x);
	if (!err)
		err = ready(x);
	if (!err && cmd_option(x->c, "start"))
		err = fleet_run(x->c, &x->hosts, &x->f, cmd_option(x->c, "start"), &x->running);
	if (!err)
		err = report(x);
	return !err && x->hosts.left_out ? FAILED : err;
}

static int look_and_make(struct creation *x)
{
	int err = things_look(x);

	if (!err)
		err = cmd_option(x->c, "dry-run") ? dry_print(x) : make(x);
	hosts_close(&x->hosts);
	return err;
}

/* What was read before it was locked may have changed. */
static int relook(struct creation *x)
{
	int err = fleet_lock(x->c, &x->f);

	if (err)
		return err;
	fleet_done(&x->f);
	x->exists = x->changed = false;
	return fleet_look(x);
}

int fleet_create(struct cmd *c)
{
	struct creation x = { .c = c, .given = json_object(), .started_ns = clock_ns() };
	int err;

	interrupt_catch();
	err = fleet_look(&x);
	if (!err && x.exists && !cmd_option(c, "dry-run"))
		err = relook(&x);
	if (!err)
		err = look_and_make(&x);
	fleet_done(&x.f);
	json_decref(x.given);
	return err;
}

int fleet_complete(struct cmd *c, struct fleet *f, bool changed, const char *taken)
{
	struct creation x = { .c = c, .f = *f, .exists = true, .changed = changed, .taken = taken,
			      .started_ns = clock_ns() };
	int err = look_and_make(&x);

	fleet_done(&x.f);
	fleet_init(f);
	return err;
}
