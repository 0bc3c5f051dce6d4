/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What other hypervisors want beside a raw disk.
 *
 * A fixed VHD is the raw disk and a footer of 512 bytes behind it, big-endian ("Virtual Hard Disk Image
 * Format Specification", 1.0):
 *
 *	0 "conectix"	8 features	12 version	16 data offset: none	24 time
 *	28 creator, its version, its host	40 size, as made and as it is	56 geometry
 *	60 type: fixed	64 checksum	68 UUID
 *
 * A VMDK descriptor is text that names a raw file as the disk's extent; a .vmx is a machine in words.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "fleet/fleet_int.h"

#define SECTOR 512

/* ---- VHD -------------------------------------------------------------------------------- */

struct geometry { uint32_t cylinders, heads, sectors; };

/* The specification's own way to make one up, in its appendix. */
static struct geometry geometry_of(uint64_t sectors)
{
	struct geometry g = { 0, 16, 255 };
	uint32_t tracks;

	if (sectors > 65535ull * 16 * 255)
		sectors = 65535ull * 16 * 255;
	if (sectors >= 65535ull * 16 * 63) {
		tracks = (uint32_t)(sectors / 255);
	} else {
		g.sectors = 17;
		tracks = (uint32_t)(sectors / 17);
		g.heads = (tracks + 1023) / 1024;
		if (g.heads < 4)
			g.heads = 4;
		if (tracks >= g.heads * 1024 || g.heads > 16) {
			g.sectors = 31;
			g.heads = 16;
			tracks = (uint32_t)(sectors / 31);
		}
		if (tracks >= g.heads * 1024) {
			g.sectors = 63;
			g.heads = 16;
			tracks = (uint32_t)(sectors / 63);
		}
	}
	g.cylinders = tracks / g.heads;
	return g;
}

static void uuid_bytes(const char *text, unsigned char ret[16])
{
	char two[3] = "";
	size_t n = 0;

	for (; *text && n < 16; text++) {
		if (*text == '-')
			continue;
		two[0] = text[0];
		two[1] = text[1];
		ret[n++] = (unsigned char)strtoul(two, NULL, 16);
		text++;
	}
}

void vhd_footer(uint64_t disk_bytes, const char *uuid, unsigned char ret[VHD_FOOTER])
{
	struct geometry g = geometry_of(disk_bytes / SECTOR);
	uint32_t sum = 0;
	size_t i;

	memset(ret, 0, VHD_FOOTER);
	memcpy(ret, "conectix", 8);
	put_be32(ret + 8, 2);			/* reserved, always set */
	put_be32(ret + 12, 0x10000);
	put_be64(ret + 16, UINT64_MAX);
	memcpy(ret + 28, "win \0\x0a\0\0Wi2k", 12);	/* whose sizes count, not the geometry */
	put_be64(ret + 40, disk_bytes);
	put_be64(ret + 48, disk_bytes);
	put_be16(ret + 56, (uint16_t)g.cylinders);
	ret[58] = (unsigned char)g.heads;
	ret[59] = (unsigned char)g.sectors;
	put_be32(ret + 60, 2);
	uuid_bytes(uuid, ret + 68);
	for (i = 0; i < VHD_FOOTER; i++)
		sum += ret[i];
	put_be32(ret + 64, ~sum);
}

/* ---- VMware ----------------------------------------------------------------------------- */

int vmdk_descriptor(uint64_t disk_bytes, const char *extent, uint32_t id, struct buf *ret)
{
	uint64_t sectors = disk_bytes / SECTOR, cylinders = sectors / (255 * 63);

	buf_init(ret, 4096);
	return buf_printf(ret, "# Disk DescriptorFile\nversion=1\nCID=%08" PRIx32 "\nparentCID=ffffffff\n"
			  "createType=\"vmfs\"\n\n# Extent description\nRW %" PRIu64 " VMFS \"%s\"\n\n"
			  "# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"13\"\n"
			  "ddb.geometry.cylinders = \"%" PRIu64 "\"\nddb.geometry.heads = \"255\"\n"
			  "ddb.geometry.sectors = \"63\"\nddb.adapterType = \"lsilogic\"\n",
			  id, sectors, extent, cylinders);
}

/* "56 4d ... -...", as VMware writes them. */
static void vmx_uuid(const char *key, const char *uuid, struct buf *b)
{
	unsigned char u[16] = { 0 };
	size_t i;

	uuid_bytes(uuid, u);
	buf_printf(b, "%s = \"", key);
	for (i = 0; i < 16; i++)
		buf_printf(b, "%02x%s", u[i], i == 7 ? "-" : i == 15 ? "\"\n" : " ");
}

static void vmx_disk(unsigned unit, const char *machine, const char *rest, struct buf *b)
{
	buf_printf(b, "scsi0:%u.present = \"TRUE\"\nscsi0:%u.deviceType = \"scsi-hardDisk\"\n"
		   "scsi0:%u.fileName = \"%s%s.vmdk\"\n", unit, unit, unit, machine, rest);
}

static void vmx_network(const struct fleet *f, const struct machine *m, struct buf *b)
{
	const char *text = setting_text(f, "network"), *colon = strchr(text, ':');
	bool nat = !strcmp(text, "user");

	if (!strcmp(text, "none"))
		return;
	buf_printf(b, "ethernet0.present = \"TRUE\"\nethernet0.virtualDev = \"vmxnet3\"\n"
		   "ethernet0.connectionType = \"%s\"\nethernet0.addressType = \"static\"\n"
		   "ethernet0.address = \"%s\"\nethernet0.checkMACAddress = \"FALSE\"\n",
		   nat ? "nat" : "bridged", m->mac);
	if (!nat)
		buf_printf(b, "ethernet0.networkName = \"%s\"\n", colon ? colon + 1 : text);
}

int machine_vmx(const struct fleet *f, const struct machine *m, struct buf *ret)
{
	uint64_t memory = (setting_number(f, "memory") + (4 << 20) - 1) >> 22 << 2;	/* in steps of 4 MiB */

	buf_init(ret, 16384);
	buf_printf(ret, ".encoding = \"UTF-8\"\nconfig.version = \"8\"\nvirtualHW.version = \"13\"\n"
		   "displayName = \"%s\"\nguestOS = \"other-64\"\nmemSize = \"%" PRIu64 "\"\nnumvcpus = \"%" PRIu64
		   "\"\nuuid.action = \"keep\"\n", m->name, memory, setting_number(f, "cpus"));
	vmx_uuid("uuid.bios", m->uuid, ret);
	vmx_uuid("uuid.location", m->uuid, ret);
	buf_append_str(ret, "scsi0.present = \"TRUE\"\nscsi0.virtualDev = \"lsilogic\"\n");
	vmx_disk(0, m->name, "", ret);
	if (strcmp(seed_suffix(f), ".iso"))
		vmx_disk(1, m->name, "-seed", ret);
	else
		buf_printf(ret, "ide1:0.present = \"TRUE\"\nide1:0.deviceType = \"cdrom-image\"\n"
			   "ide1:0.fileName = \"../../seeds/%s.iso\"\n", m->name);
	if (setting_number(f, "data"))
		vmx_disk(2, m->name, "-data", ret);
	vmx_network(f, m, ret);
	return ret->failed ? -ENOMEM : 0;
}
