/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the file systems of a disk image are: the whole of it, or the partitions of its MBR (extended ones
 * too) or GPT.  All of it is untrusted: what leads outside the image is left out.
 *
 *	MBR	446: 4 entries of 16 bytes: type at 4, first sector at 8, sectors at 12; 510: 55 AA
 *	GPT	sector 1: "EFI PART", entries' sector at 72, how many at 80, bytes of each at 84;
 *		entry: type GUID at 0, first sector at 32, last at 40
 */
#include "pando/partition.h"

#include <string.h>
#include <unistd.h>

#include "base/endian.h"

#define LOGICAL_MAX 60

static bool read_at(int fd, uint64_t offset, void *buf, size_t len)
{
	return pread(fd, buf, len, (off_t)offset) == (ssize_t)len;
}

/* The first sectors of a file system tell of it. */
static const char *kind_of(int fd, uint64_t start, uint64_t len)
{
	static const struct { unsigned at, len; const char *magic, *kind; } rows[] = {
		{ 0, 4, "XFSB", "XFS" }, { 0, 6, "LUKS\xba\xbe", "LUKS" }, { 512, 8, "LABELONE", "LVM" },
		{ 3, 8, "NTFS    ", "NTFS" }, { 4086, 10, "SWAPSPACE2", "swap" },
		{ 65600, 8, "_BHRfS_M", "Btrfs" }, { 54, 3, "FAT", "FAT" }, { 82, 3, "FAT", "FAT" },
	};
	unsigned char b[1100] = { 0 };
	size_t i;

	if (len >= 8192 && read_at(fd, start + 1024, b, 1024) && get_le16(b + 56) == 0xef53)
		return get_le32(b + 96) & 0x40 ? "ext4" : "ext2 or ext3";	/* extents */
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].at + rows[i].len <= len && read_at(fd, start + rows[i].at, b, rows[i].len) &&
		    !memcmp(b, rows[i].magic, rows[i].len))
			return rows[i].kind;
	return "unknown";
}

static void add(struct partitions *p, int fd, unsigned number, uint64_t start, uint64_t len)
{
	if (!len || start >= p->disk_bytes || len > p->disk_bytes - start || p->n == PARTITIONS_MAX)
		return;
	p->list[p->n++] = (struct partition){ number, start, len, kind_of(fd, start, len) };
}

/* ---- GPT -------------------------------------------------------------------------------- */

static bool gpt_find(int fd, unsigned sector, struct partitions *p)
{
	static const unsigned char unused[16];
	unsigned char head[92], e[128];
	uint64_t at, first, last;
	uint32_t n, size, i;

	if (!read_at(fd, sector, head, sizeof(head)) || memcmp(head, "EFI PART", 8))
		return false;
	at = get_le64(head + 72);
	n = get_le32(head + 80);
	size = get_le32(head + 84);
	if (size < 128 || size > 4096 || at >= p->disk_bytes / sector)
		return true;
	for (i = 0; i < n && i < 128; i++) {
		if (!read_at(fd, at * sector + (uint64_t)i * size, e, sizeof(e)))
			break;
		first = get_le64(e + 32);
		last = get_le64(e + 40);
		if (memcmp(e, unused, 16) && last >= first && last < p->disk_bytes / sector)
			add(p, fd, i + 1, first * sector, (last - first + 1) * sector);
	}
	return true;
}

/* ---- MBR -------------------------------------------------------------------------------- */

static bool is_extended(unsigned char type)
{
	return type == 0x05 || type == 0x0f || type == 0x85;
}

/* A chain of tables with one partition each, which could be a ring. */
static void logical_find(int fd, uint64_t base, struct partitions *p)
{
	unsigned char b[512];
	uint64_t at = base;
	unsigned number;

	for (number = 5; number < 5 + LOGICAL_MAX; number++) {
		if (!read_at(fd, at * 512, b, sizeof(b)) || b[510] != 0x55 || b[511] != 0xaa)
			return;
		add(p, fd, number, (at + get_le32(b + 446 + 8)) * 512, (uint64_t)get_le32(b + 446 + 12) * 512);
		if (!is_extended(b[462 + 4]) || !get_le32(b + 462 + 8))
			return;
		at = base + get_le32(b + 462 + 8);
	}
}

static void mbr_find(int fd, struct partitions *p)
{
	unsigned char b[512];
	unsigned i;

	if (!read_at(fd, 0, b, sizeof(b)) || b[510] != 0x55 || b[511] != 0xaa)
		return;
	for (i = 0; i < 4; i++) {
		const unsigned char *e = b + 446 + 16 * i;
		uint64_t start = get_le32(e + 8);

		if (is_extended(e[4]) && start)
			logical_find(fd, start, p);
		else if (e[4] && start)
			add(p, fd, i + 1, start * 512, (uint64_t)get_le32(e + 12) * 512);
	}
}

void partitions_find(int fd, uint64_t disk_bytes, struct partitions *ret)
{
	const char *kind = kind_of(fd, 0, disk_bytes);

	memset(ret, 0, sizeof(*ret));
	ret->disk_bytes = disk_bytes;
	if (!strncmp(kind, "ext", 3)) {		/* a file system without partitions */
		add(ret, fd, 0, 0, disk_bytes);
		return;
	}
	if (!gpt_find(fd, 512, ret) && !gpt_find(fd, 4096, ret))
		mbr_find(fd, ret);
	if (!ret->n)
		add(ret, fd, 0, 0, disk_bytes);
}
