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
static const char default_conf[] =
	"NAME={name}\n"
	"NUMBER={number}\n"
	"FLEET={fleet}\n"
	"UUID={uuid}\n"
	"MAC={mac}\n";

static const char *conf_template(const struct fleet *f, const struct machine *m, struct buf *b)
{
	const char *gateway = setting_text(f, "gateway"), *dns = setting_text(f, "dns");

	buf_append_str(b, default_conf);
	if (*m->address)
		buf_append_str(b, "ADDRESS={address}/{prefix}\n");
	if (gateway)
		buf_printf(b, "GATEWAY=%s\n", gateway);
	if (dns)
		buf_printf(b, "DNS=%s\n", dns);
	return buf_str(b);
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

enum { META_DATA, USER_DATA, NETWORK, CONF, UNATTEND, PARTS };

/* What is in a seed. */
struct seed_parts {
	struct buf text[PARTS];
	struct seed_file files[PARTS + 1];
	unsigned n;			/* of files */
};

static void parts_done(struct seed_parts *p)
{
	for (unsigned i = 0; i < PARTS; i++)
		buf_release(&p->text[i]);
}

/* No value has a character that XML or YAML would take for its own: names are host names, the rest are numbers
 * and addresses.  P is the caller's to be done with, also after a failure. */
static int parts_render(const struct fleet *f, const struct machine *m, struct seed_parts *p, char why[FLEET_WHY])
{
	static const char *const names[PARTS] = { "meta-data", "user-data", "network-config", "pando.conf", "Unattend.xml" };
	const char *user_data = setting_text(f, "user_data"), *network = setting_text(f, "network_config");
	CLEANUP_BUF struct buf built_in = { .max = 4096 }, conf = { .max = 4096 };
	const char *templates[PARTS] = { meta_data, user_data ? user_data : default_user_data, network,
					 conf_template(f, m, &conf), setting_text(f, "unattend") };
	struct values v;
	unsigned i;
	int err = 0;

	p->n = 0;
	for (i = 0; i < PARTS; i++)
		buf_init(&p->text[i], FLEET_TEMPLATE_MAX);
	if (!network && *m->address)
		templates[NETWORK] = network_template(f, &built_in, why);
	values_make(f, m, &v);
	for (i = 0; i < PARTS && !err; i++) {
		if (!templates[i])
			continue;
		err = template_render(i == UNATTEND ? "unattend" : names[i], templates[i], v.vars, &p->text[i], why);
		p->files[p->n++] = (struct seed_file){ names[i], buf_str(&p->text[i]), p->text[i].len };
	}
	/* Setup looks for one name when it installs, and for the other at the first boot of an image. */
	if (templates[UNATTEND]) {
		p->files[p->n] = p->files[p->n - 1];
		p->files[p->n++].name = "Autounattend.xml";
	}
	return err;
}

int machine_seed(const struct fleet *f, const struct machine *m, struct buf *ret_image, uint64_t *ret_offset,
		 uint64_t *ret_size, char why[FLEET_WHY])
{
	bool iso = !strcmp(setting_text(f, "seed"), "iso");
	struct seed_parts p;
	int err = parts_render(f, m, &p, why);

	buf_init(ret_image, 4 * SEED_BYTES_MAX);
	*ret_offset = iso ? SEED_ISO_OFFSET : 0;
	if (!err && (iso ? seed_iso_build(p.files, p.n, ret_image, ret_size) :
			   seed_build(p.files, p.n, serial_of(m), ret_image, ret_size)))
		err = refuse(why, -ENOMEM, "out of memory");
	parts_done(&p);
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
struct domain_parts { struct buf disks, interface, console; };

static int domain_parts_make(struct domain_parts *p, const struct fleet *f, const struct machine *m)
{
	buf_init(&p->disks, FLEET_TEMPLATE_MAX);
	buf_init(&p->interface, 4096);
	buf_init(&p->console, 16384);
	xml_disks(&p->disks, f, m);
	xml_interface(&p->interface, f, m);
	xml_console(&p->console, f, m);
	return p->disks.failed || p->interface.failed || p->console.failed ? -ENOMEM : 0;
}

static void domain_parts_done(struct domain_parts *p)
{
	buf_release(&p->disks);
	buf_release(&p->interface);
	buf_release(&p->console);
}

static int domain_render(const struct fleet *f, const struct machine *m, const char *type,
			 const struct domain_parts *p, struct buf *ret_xml, char why[FLEET_WHY])
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
	struct domain_parts none = { 0 };
	int err = domain_render(f, m, "kvm", &none, &xml, why);

	return err ? err : xml_check("domain", &xml, why);
}

/* Shell scripts and others are cloud-init's, as they are. */
static int parts_check(const struct seed_parts *p, char why[FLEET_WHY])
{
	static const char cloud_config[] = "#cloud-config";
	const struct buf *user_data = &p->text[USER_DATA];
	int err = 0;

	if (user_data->len && !strncmp(buf_str(user_data), cloud_config, strlen(cloud_config)))
		err = yaml_check("user-data", user_data, why);
	if (!err && p->text[NETWORK].len)
		err = yaml_check("network-config", &p->text[NETWORK], why);
	return !err && p->text[UNATTEND].len ? xml_check("unattend", &p->text[UNATTEND], why) : err;
}

int machine_check(const struct fleet *f, const struct machine *m, char why[FLEET_WHY])
{
	struct seed_parts p;
	int err = parts_render(f, m, &p, why);

	if (!err)
		err = parts_check(&p, why);
	parts_done(&p);
	return err ? err : domain_check(f, m, why);
}

int machine_xml(const struct fleet *f, const struct machine *m, const char *type,
		struct buf *ret_xml, char why[FLEET_WHY])
{
	struct domain_parts p;
	int err;

	buf_init(ret_xml, 2 * FLEET_TEMPLATE_MAX);
	err = domain_parts_make(&p, f, m) ? refuse(why, -ENOMEM, "out of memory") :
	      domain_render(f, m, type, &p, ret_xml, why);
	domain_parts_done(&p);
	return err;
}
