/* SPDX-License-Identifier: Apache-2.0 */
/* What makes a machine its own: its seed, and its domain in libvirt's XML. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "admin/objname.h"
#include "base/cleanup.h"
#include "fleet/address.h"
#include "fleet/fleet_int.h"
#include "fleet/seed.h"
#include "fleet/syntax.h"
#include "fleet/template.h"

/* Quoted, as YAML takes 007 for a number. */
static const char meta_data[] =
	"instance-id: {uuid}\n"
	"local-hostname: \"{name}\"\n";

static const char default_user_data[] =
	"#cloud-config\n"
	"hostname: \"{name}\"\n"
	"manage_etc_hosts: true\n";

/*
 * Networking version 2; without addresses there is no such file, and cloud-init asks DHCP.
 *
 * netplan finds the interface by its MAC.  What cloud-init writes for ifupdown and systemd-networkd goes by the name,
 * and that would be "machine" where the kernel hasn't found the interface yet: cloud-init waits for one only if it is
 * to name it.
 */
static const char default_network_config[] =
	"version: 2\n"
	"ethernets:\n"
	"  machine:\n"
	"    match:\n"
	"      macaddress: \"{mac}\"\n"
	"    set-name: eth0\n"
	"    addresses: [\"{address}/{prefix}\"]\n";

/* For first-boot.sh (src/pando), which a shell reads. */
static void pando_conf(const struct fleet *f, const struct machine *m, struct buf *b)
{
	const char *addresses = setting_text(f, "addresses"), *gateway = setting_text(f, "gateway"), *dns = setting_text(f, "dns");

	buf_printf(b, "NAME=%s\nNUMBER=%" PRIu64 "\nFLEET=%s\nUUID=%s\nMAC=%s\n", m->name, m->number, f->name, m->uuid,
		   m->mac);
	if (addresses && *m->address)
		buf_printf(b, "ADDRESS=%s/%.3s\n", m->address, strchr(addresses, '/') + 1);
	if (gateway)
		buf_printf(b, "GATEWAY=%s\n", gateway);
	if (dns)
		buf_printf(b, "DNS=%s\n", dns);
}

static void network_dns(void *arg, const char *address)
{
	buf_printf(arg, "      - \"%s\"\n", address);
}

/* The template that is built in, with what else the fleet has. */
static const char *network_template(const struct fleet *f, struct buf *b, char why[FLEET_WHY])
{
	const char *gateway = setting_text(f, "gateway"), *dns = setting_text(f, "dns");

	buf_append_str(b, default_network_config);
	if (gateway)
		buf_printf(b, "    routes:\n    - to: \"%s\"\n      via: \"%s\"\n", strchr(gateway, ':') ? "::/0" : "0.0.0.0/0",
			   gateway);
	if (dns) {
		buf_append_str(b, "    nameservers:\n      addresses:\n");
		address_list_each("dns", dns, network_dns, b, why);
	}
	return buf_str(b);
}

/* ---- the seed --------------------------------------------------------------------------- */

struct values { char number[24], prefix[8]; struct template_var vars[8]; };

static void values_make(const struct fleet *f, const struct machine *m, struct values *v)
{
	static const char no_address[] = "this fleet has no addresses; --addresses gives it some";
	const char *addresses = setting_text(f, "addresses"), *address = NULL, *prefix = NULL;

	snprintf(v->number, sizeof(v->number), "%" PRIu64, m->number);
	if (addresses && *m->address) {
		snprintf(v->prefix, sizeof(v->prefix), "%.3s", strchr(addresses, '/') + 1);
		address = m->address;
		prefix = v->prefix;
	}
	v->vars[0] = (struct template_var){ "name", m->name, NULL };
	v->vars[1] = (struct template_var){ "number", v->number, NULL };
	v->vars[2] = (struct template_var){ "address", address, no_address };
	v->vars[3] = (struct template_var){ "prefix", prefix, no_address };
	v->vars[4] = (struct template_var){ "mac", m->mac, NULL };
	v->vars[5] = (struct template_var){ "uuid", m->uuid, NULL };
	v->vars[6] = (struct template_var){ "fleet", f->name, NULL };
	v->vars[7] = (struct template_var){ NULL, NULL, NULL };
}

/* The first bytes of the UUID: seeds of one host are told apart by their number, too. */
static uint32_t serial_of(const struct machine *m)
{
	return (uint32_t)strtoul(m->uuid, NULL, 16);
}

#define USER_DATA 1
#define NETWORK 2
#define CONF 3
#define UNATTEND 4
#define PARTS 5

/* No value has a character that XML or YAML would take for its own: names are host names, the rest are numbers
 * and addresses. */
static int parts_render(const struct fleet *f, const struct machine *m, struct buf text[PARTS],
			struct seed_file *files, unsigned *ret_n, char why[FLEET_WHY])
{
	static const char *const names[PARTS] = { "meta-data", "user-data", "network-config", "pando.conf", "Unattend.xml" };
	const char *user_data = setting_text(f, "user_data"), *network = setting_text(f, "network_config");
	const char *templates[PARTS] = { meta_data, user_data ? user_data : default_user_data, network, NULL,
					 setting_text(f, "unattend") };
	CLEANUP_BUF struct buf built_in = { .max = 4096 };
	struct values v;
	unsigned i;
	int err = 0;

	if (!network && *m->address)
		templates[NETWORK] = network_template(f, &built_in, why);
	values_make(f, m, &v);
	for (i = 0; i < PARTS && !err; i++) {
		if (i == CONF)
			pando_conf(f, m, &text[i]);
		else if (!templates[i])
			continue;
		else
			err = template_render(i == UNATTEND ? "unattend" : names[i], templates[i], v.vars, &text[i], why);
		files[(*ret_n)++] = (struct seed_file){ names[i], buf_str(&text[i]), text[i].len };
	}
	/* Setup looks for one name when it installs, and for the other at the first boot of an image. */
	if (templates[UNATTEND]) {
		files[*ret_n] = files[*ret_n - 1];
		files[(*ret_n)++].name = "Autounattend.xml";
	}
	return err;
}

int machine_seed(const struct fleet *f, const struct machine *m, struct buf *ret_image, uint64_t *ret_offset,
		 uint64_t *ret_size, char why[FLEET_WHY])
{
	bool iso = !strcmp(setting_text(f, "seed"), "iso");
	struct seed_file files[PARTS + 1];
	struct buf text[PARTS];
	unsigned i, n = 0;
	int err;

	for (i = 0; i < PARTS; i++)
		buf_init(&text[i], FLEET_TEMPLATE_MAX);
	err = parts_render(f, m, text, files, &n, why);
	buf_init(ret_image, 4 * SEED_BYTES_MAX);
	*ret_offset = iso ? SEED_ISO_OFFSET : 0;
	if (!err && (iso ? seed_iso_build(files, n, ret_image, ret_size) :
			   seed_build(files, n, serial_of(m), ret_image, ret_size)))
		err = refuse(why, -ENOMEM, "out of memory");
	for (i = 0; i < PARTS; i++)
		buf_release(&text[i]);
	return err;
}

/* ---- the domain ------------------------------------------------------------------------- */

static const char default_domain[] =
	"<domain type='{type}'>\n"
	"  <name>{name}</name>\n"
	"  <uuid>{uuid}</uuid>\n"
	"  <metadata>\n    {metadata}\n  </metadata>\n"
	"  <memory unit='KiB'>{memory_kib}</memory>\n"
	"  <vcpu>{cpus}</vcpu>\n"
	"  <os><type>hvm</type></os>\n"
	"  <features><acpi/></features>\n"
	"{cpu}"
	"  <clock offset='utc'/>\n"
	"  <devices>\n"
	"{disks}{interface}{console}"
	"    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>\n"
	"  </devices>\n"
	"</domain>\n";

static void xml_escape(struct buf *b, const char *s)
{
	static const struct { char c; const char *text; } rows[] = {
		{ '&', "&amp;" }, { '<', "&lt;" }, { '>', "&gt;" }, { '\'', "&apos;" }, { '"', "&quot;" },
	};
	size_t i;

	for (; *s; s++) {
		for (i = 0; i < 5 && rows[i].c != *s; i++)
			;
		if (i < 5)
			buf_append_str(b, rows[i].text);
		else
			buf_append_byte(b, *s);
	}
}

/* PATH in VOLUME: as QEMU reaches it over NFS, or as the host has mounted it. */
static void xml_disk_of(struct buf *b, const struct fleet *f, const char *volume, const char *path, const char *target,
			const char *format, const char *more)
{
	const char *mounted = setting_text(f, "path");
	bool dvd = !strncmp(target, "sd", 2);

	buf_printf(b, "    <disk type='%s' device='%s'>\n      <driver name='qemu' type='%s'/>\n",
		   mounted ? "file" : "network", dvd ? "cdrom" : "disk", format);
	if (mounted) {
		buf_append_str(b, "      <source file='");
		xml_escape(b, mounted);
		xml_escape(b, path);
		buf_append_str(b, "'/>\n");
	} else {
		buf_printf(b, "      <source protocol='nfs' name='/%s", volume);
		xml_escape(b, path);
		buf_append_str(b, "'>\n        <host name='");
		xml_escape(b, setting_text(f, "server"));
		buf_append_str(b, "'/>\n        <identity user='+0' group='+0'/>\n      </source>\n");
	}
	buf_printf(b, "      <target dev='%s' bus='%s'/>\n%s    </disk>\n", target, dvd ? "sata" : "virtio", more);
}

static void xml_disk(struct buf *b, const struct fleet *f, const char *path, const char *target,
		     const char *format, const char *more)
{
	xml_disk_of(b, f, f->volume, path, target, format, more);
}

#define READ_ONLY "      <readonly/>\n"

static void xml_attached(struct buf *b, const struct fleet *f, const struct attached *a)
{
	struct objpath p;
	char why[OBJNAME_WHY];

	if (!objpath_parse(a->object, strlen(a->object), &p, why))
		xml_disk_of(b, f, p.volume, p.path, a->target, "raw", a->read_only ? READ_ONLY : "");
}

static void xml_disks(struct buf *b, const struct fleet *f, const struct machine *m)
{
	struct attached a;
	char path[200];
	size_t i;

	machine_disk_path(f, m, path, sizeof(path));
	xml_disk(b, f, path, "vda", strcmp(disk_suffix(f), ".vhd") ? "raw" : "vpc", "");
	machine_seed_path(f, m, path, sizeof(path));
	xml_disk(b, f, path, strcmp(seed_suffix(f), ".iso") ? "vdb" : "sda", "raw", READ_ONLY);
	machine_data_path(f, m, path, sizeof(path));
	if (setting_number(f, "data"))
		xml_disk(b, f, path, "vdc", strcmp(data_suffix(f), ".vhd") ? "raw" : "vpc", "");
	for (i = 0; attached_at(f, m->name, i, &a); i++)
		if (!a.leaving)
			xml_attached(b, f, &a);
}

int attached_xml(const struct fleet *f, const struct attached *a, struct buf *ret_xml, char why[FLEET_WHY])
{
	buf_init(ret_xml, 65536);
	xml_attached(ret_xml, f, a);
	return ret_xml->failed ? refuse(why, -ENOMEM, "out of memory") : 0;
}

/* The network's name needs no escapes: settings.c allows no such letters. */
static void xml_interface(struct buf *b, const struct fleet *f, const struct machine *m)
{
	const char *text = setting_text(f, "network"), *colon = strchr(text, ':');
	const char *name = colon ? colon + 1 : text;

	if (!strcmp(text, "none"))
		return;
	if (!strcmp(text, "user"))
		buf_append_str(b, "    <interface type='user'>\n");
	else if (!strncmp(text, "bridge:", 7))
		buf_printf(b, "    <interface type='bridge'>\n      <source bridge='%s'/>\n", name);
	else
		buf_printf(b, "    <interface type='network'>\n      <source network='%s'/>\n", name);
	buf_printf(b, "      <mac address='%s'/>\n      <model type='virtio'/>\n    </interface>\n",
		   m->mac);
}

static void xml_console(struct buf *b, const struct fleet *f, const struct machine *m)
{
	const char *dir = setting_text(f, "console");

	buf_append_str(b, "    <serial type='pty'>\n");
	if (dir) {
		buf_append_str(b, "      <log file='");
		xml_escape(b, dir);
		buf_printf(b, "/%s.log' append='on'/>\n", m->name);
	}
	buf_append_str(b, "    </serial>\n");
}

/* The parts of a domain that are more than a word. */
struct parts { struct buf disks, interface, console; };

static int parts_make(struct parts *p, const struct fleet *f, const struct machine *m)
{
	buf_init(&p->disks, FLEET_TEMPLATE_MAX);
	buf_init(&p->interface, 4096);
	buf_init(&p->console, 16384);
	xml_disks(&p->disks, f, m);
	xml_interface(&p->interface, f, m);
	xml_console(&p->console, f, m);
	return p->disks.failed || p->interface.failed || p->console.failed ? -ENOMEM : 0;
}

static void parts_done(struct parts *p)
{
	buf_release(&p->disks);
	buf_release(&p->interface);
	buf_release(&p->console);
}

static int domain_render(const struct fleet *f, const struct machine *m, const char *type,
			 const struct parts *p, struct buf *ret_xml, char why[FLEET_WHY])
{
	const char *domain = setting_text(f, "domain");
	char metadata[400], number[24], memory[24], cpus[24];
	const struct template_var vars[] = {
		{ "type", type, NULL }, { "name", m->name, NULL }, { "uuid", m->uuid, NULL },
		{ "metadata", metadata, NULL }, { "memory_kib", memory, NULL },
		{ "cpus", cpus, NULL }, { "disks", buf_str(&p->disks), NULL },
		{ "interface", buf_str(&p->interface), NULL },
		{ "console", buf_str(&p->console), NULL },
		{ "cpu", strcmp(type, "kvm") ? "" : "  <cpu mode='host-model'/>\n", NULL },
		{ "mac", m->mac, NULL }, { "number", number, NULL }, { "fleet", f->name, NULL },
		{ NULL, NULL, NULL },
	};

	snprintf(number, sizeof(number), "%" PRIu64, m->number);
	snprintf(memory, sizeof(memory), "%" PRIu64, setting_number(f, "memory") >> 10);
	snprintf(cpus, sizeof(cpus), "%" PRIu64, setting_number(f, "cpus"));
	snprintf(metadata, sizeof(metadata), "<pando:machine xmlns:pando='" FLEET_XMLNS "' pool='%s' "
		 "volume='%s' fleet='%s' number='%s'/>", f->pool_uuid, f->volume, f->name, number);
	return template_render("domain", domain ? domain : default_domain, vars, ret_xml, why);
}

/* With nothing in it that takes more than a line: so its lines are the template's. */
static int domain_check(const struct fleet *f, const struct machine *m, char why[FLEET_WHY])
{
	CLEANUP_BUF struct buf xml = { .max = FLEET_TEMPLATE_MAX };
	struct parts none = { 0 };
	int err = domain_render(f, m, "kvm", &none, &xml, why);

	return err ? err : xml_check("domain", &xml, why);
}

/* Shell scripts and others are cloud-init's, as they are. */
static int parts_check(const struct buf text[PARTS], char why[FLEET_WHY])
{
	static const char cloud_config[] = "#cloud-config";
	int err = 0;

	if (text[USER_DATA].len && !strncmp(buf_str(&text[USER_DATA]), cloud_config, strlen(cloud_config)))
		err = yaml_check("user-data", &text[USER_DATA], why);
	if (!err && text[NETWORK].len)
		err = yaml_check("network-config", &text[NETWORK], why);
	return !err && text[UNATTEND].len ? xml_check("unattend", &text[UNATTEND], why) : err;
}

int machine_check(const struct fleet *f, const struct machine *m, char why[FLEET_WHY])
{
	struct seed_file files[PARTS + 1];
	struct buf text[PARTS];
	unsigned i, n = 0;
	int err;

	for (i = 0; i < PARTS; i++)
		buf_init(&text[i], FLEET_TEMPLATE_MAX);
	err = parts_render(f, m, text, files, &n, why);
	if (!err)
		err = parts_check(text, why);
	for (i = 0; i < PARTS; i++)
		buf_release(&text[i]);
	return err ? err : domain_check(f, m, why);
}

int machine_xml(const struct fleet *f, const struct machine *m, const char *type,
		struct buf *ret_xml, char why[FLEET_WHY])
{
	struct parts p;
	int err;

	buf_init(ret_xml, 2 * FLEET_TEMPLATE_MAX);
	err = parts_make(&p, f, m) ? refuse(why, -ENOMEM, "out of memory")
				   : domain_render(f, m, type, &p, ret_xml, why);
	parts_done(&p);
	return err;
}
