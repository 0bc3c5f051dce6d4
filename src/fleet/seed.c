/* SPDX-License-Identifier: Apache-2.0 */
/* The FAT12 image of a seed: see seed.h. */
#include "fleet/seed.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/endian.h"

#define ROOT_ENTRIES 16
#define ENTRY 32
#define TRACK 32		/* sectors; some tools want whole tracks */
#define HEADS 2
#define LONG_CHARS 13		/* of a long name in one entry */
#define DATE ((2020 - 1980) << 9 | 1 << 5 | 1)	/* the same seed at any time */

struct layout {
	unsigned fat_sectors, root_sector, data_sector, clusters, sectors;
};

static unsigned sectors_of(size_t bytes)
{
	return (unsigned)((bytes + SEED_SECTOR - 1) / SEED_SECTOR);
}

static unsigned round_up(unsigned n, unsigned to)
{
	return (n + to - 1) / to * to;
}

/* Whole cylinders; the FAT is as large as clusters on all of them need. */
static void layout_make(unsigned data_sectors, struct layout *l)
{
	l->fat_sectors = 1;
	for (;;) {
		l->root_sector = 1 + 2 * l->fat_sectors;
		l->data_sector = l->root_sector + 1;
		l->sectors = round_up(l->data_sector + data_sectors, TRACK * HEADS);
		l->clusters = l->sectors - l->data_sector;
		if (sectors_of(((size_t)l->clusters + 2) * 3 / 2 + 1) <= l->fat_sectors)
			return;
		l->fat_sectors++;
	}
}

static void boot_sector(unsigned char *b, const struct layout *l, uint32_t serial)
{
	memcpy(b, "\xeb\x3c\x90PANDO   ", 11);
	put_le16(b + 11, SEED_SECTOR);
	b[13] = 1;			/* sectors in a cluster */
	put_le16(b + 14, 1);		/* reserved */
	b[16] = 2;			/* FATs */
	put_le16(b + 17, ROOT_ENTRIES);
	put_le16(b + 19, (uint16_t)l->sectors);
	b[21] = 0xf8;			/* a fixed disk */
	put_le16(b + 22, (uint16_t)l->fat_sectors);
	put_le16(b + 24, TRACK);
	put_le16(b + 26, HEADS);
	b[36] = 0x80;			/* the drive's number */
	b[38] = 0x29;			/* the three that follow are there */
	put_le32(b + 39, serial);
	memcpy(b + 43, "CIDATA     FAT12   ", 19);
	b[510] = 0x55;
	b[511] = 0xaa;
}

/* Two entries of 12 bits share three bytes. */
static void fat_set(unsigned char *fat, unsigned cluster, unsigned value)
{
	unsigned char *p = fat + cluster + cluster / 2;

	if (cluster & 1) {
		p[0] = (unsigned char)((p[0] & 0x0f) | value << 4);
		p[1] = (unsigned char)(value >> 4);
	} else {
		p[0] = (unsigned char)value;
		p[1] = (unsigned char)((p[1] & 0xf0) | value >> 8);
	}
}

/* "NETWOR~1", "PANDO~1.CON": the first is enough, as the names of a seed differ in their first six letters. */
static void short_name(const char *name, unsigned char out[11])
{
	const char *dot = strchr(name, '.');
	unsigned i;

	memset(out, ' ', 11);
	for (i = 0; i < 6 && name[i] && name[i] != '.'; i++)
		out[i] = (unsigned char)toupper((unsigned char)name[i]);
	memcpy(out + i, "~1", 2);
	for (i = 0; dot && i < 3 && dot[1 + i]; i++)
		out[8 + i] = (unsigned char)toupper((unsigned char)dot[1 + i]);
}

static unsigned char short_sum(const unsigned char s[11])
{
	unsigned char sum = 0;
	int i;

	for (i = 0; i < 11; i++)
		sum = (unsigned char)((sum >> 1 | sum << 7) + s[i]);
	return sum;
}

/* Part SEQ (from 1) of a long name: 13 characters of UTF-16, a zero after the last. */
static void long_entry(unsigned char *e, const char *name, unsigned seq, bool last, uint8_t sum)
{
	static const unsigned char at[LONG_CHARS] = { 1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30 };
	size_t len = strlen(name), i, from = (seq - 1) * LONG_CHARS;

	e[0] = (unsigned char)(seq | (last ? 0x40 : 0));
	e[11] = 0x0f;
	e[13] = sum;
	for (i = 0; i < LONG_CHARS; i++)
		put_le16(e + at[i], from + i < len ? (unsigned char)name[from + i]
				    : from + i == len ? 0 : 0xffff);
}

static unsigned name_entries(const char *name)
{
	return (unsigned)((strlen(name) + LONG_CHARS - 1) / LONG_CHARS) + 1;
}

/* The entries of one file at E; how many they are. */
static unsigned file_entries(unsigned char *e, const struct seed_file *f, unsigned cluster)
{
	unsigned parts = name_entries(f->name) - 1, i;
	unsigned char s[11];

	short_name(f->name, s);
	for (i = parts; i > 0; i--, e += ENTRY)
		long_entry(e, f->name, i, i == parts, short_sum(s));
	memcpy(e, s, 11);
	e[11] = 0x20;			/* archive */
	put_le16(e + 16, DATE);
	put_le16(e + 18, DATE);
	put_le16(e + 24, DATE);
	put_le16(e + 26, f->len ? (uint16_t)cluster : 0);
	put_le32(e + 28, (uint32_t)f->len);
	return parts + 1;
}

static int image_fill(unsigned char *image, const struct layout *l, const struct seed_file *files,
		      unsigned n)
{
	unsigned char *fat = image + SEED_SECTOR, *root = image + l->root_sector * SEED_SECTOR;
	unsigned i, j, clusters, cluster = 2, entry = 1;

	fat_set(fat, 0, 0xff8);
	fat_set(fat, 1, 0xfff);
	memcpy(root, "CIDATA     \x08", 12);
	put_le16(root + 24, DATE);
	for (i = 0; i < n; i++) {
		if (entry + name_entries(files[i].name) > ROOT_ENTRIES)
			return -EFBIG;
		entry += file_entries(root + entry * ENTRY, &files[i], cluster);
		clusters = sectors_of(files[i].len);
		for (j = 0; j < clusters; j++)
			fat_set(fat, cluster + j, j + 1 < clusters ? cluster + j + 1 : 0xfff);
		if (files[i].len)
			memcpy(image + (l->data_sector + cluster - 2) * (size_t)SEED_SECTOR,
			       files[i].data, files[i].len);
		cluster += clusters;
	}
	memcpy(fat + l->fat_sectors * SEED_SECTOR, fat, l->fat_sectors * SEED_SECTOR);
	return 0;
}

int seed_build(const struct seed_file *files, unsigned n, uint32_t serial, struct buf *ret_image,
	       uint64_t *ret_size)
{
	unsigned i, data_sectors = 0;
	struct layout l;
	size_t bytes;
	char *image;
	int err;

	for (i = 0; i < n; i++) {
		if (files[i].len > SEED_BYTES_MAX)
			return -EFBIG;
		data_sectors += sectors_of(files[i].len);
	}
	if (data_sectors > SEED_BYTES_MAX / SEED_SECTOR)
		return -EFBIG;
	layout_make(data_sectors, &l);
	bytes = (l.data_sector + data_sectors) * (size_t)SEED_SECTOR;
	err = buf_reserve(ret_image, bytes, &image);
	if (err)
		return err;
	memset(image, 0, bytes);
	boot_sector((unsigned char *)image, &l, serial);
	err = image_fill((unsigned char *)image, &l, files, n);
	if (err)
		return err;
	buf_commit(ret_image, bytes);
	*ret_size = l.sectors * (uint64_t)SEED_SECTOR;
	return 0;
}
