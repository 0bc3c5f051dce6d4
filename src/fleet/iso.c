/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ISO image of a seed: see seed.h.  ISO 9660 (ECMA-119) with Joliet names, in sectors of 2048 bytes:
 *
 *	0	16 sectors of zeros, for systems that start from it
 *	16	what it is: primary, Joliet, and the end of these
 *	19	path tables: of each, little-endian and big-endian
 *	23	the root's directory, primary and Joliet
 *	25	the files
 *
 * Numbers are in both orders, "both-endian".  Two files with the same data are one in the image.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "fleet/seed.h"

#define SECTOR 2048
enum { PRIMARY = 16, JOLIET, END, TABLES, ROOTS = TABLES + 4, FILES = ROOTS + 2 };
#define FILES_MAX 8
#define LABEL "CIDATA"

/* One of both trees. */
struct tree { bool joliet; unsigned root, tables; };

struct entry { const struct seed_file *file; unsigned sector; unsigned char name[64]; size_t len; };

/* What is in memory begins with the first descriptor. */
static unsigned char *sector_of(char *image, unsigned sector)
{
	return (unsigned char *)image + (sector - PRIMARY) * (size_t)SECTOR;
}

static void put_both16(unsigned char *p, uint16_t v)
{
	put_le16(p, v);
	put_be16(p + 2, v);
}

static void put_both32(unsigned char *p, uint32_t v)
{
	put_le32(p, v);
	put_be32(p + 4, v);
}

/* UCS-2 of ASCII, big-endian; SPACES fill it up. */
static void put_wide(unsigned char *p, const char *s, size_t cap)
{
	size_t i;

	for (i = 0; i + 1 < cap; i += 2)
		put_be16(p + i, *s ? (unsigned char)*s++ : ' ');
}

/* "META_DATA.;1", or as it is in Joliet: then Linux and Windows see no other. */
static void name_make(const struct tree *t, const char *name, struct entry *e)
{
	size_t n = strlen(name), i;

	for (i = 0; i < n && !t->joliet; i++)
		e->name[i] = isalnum((unsigned char)name[i]) || name[i] == '.' ?
			(unsigned char)toupper((unsigned char)name[i]) : '_';
	e->len = n;
	if (t->joliet) {
		put_wide(e->name, name, 2 * n);
		put_wide(e->name + 2 * n, ";1", 4);
		e->len = 2 * n + 4;
		return;
	}
	if (!strchr(name, '.'))
		e->name[e->len++] = '.';
	memcpy(e->name + e->len, ";1", 2);
	e->len += 2;
}

/* A directory's record at P; its length. */
static size_t record_put(unsigned char *p, unsigned sector, uint32_t bytes, bool dir, const void *name, size_t len)
{
	static const unsigned char date[7] = { 2020 - 1900, 1, 1, 0, 0, 0, 0 };	/* the same seed at any time */
	size_t n = (33 + len + 1) & ~(size_t)1;

	p[0] = (unsigned char)n;
	put_both32(p + 2, sector);
	put_both32(p + 10, bytes);
	memcpy(p + 18, date, 7);
	p[25] = dir ? 2 : 0;
	put_both16(p + 28, 1);
	p[32] = (unsigned char)len;
	memcpy(p + 33, name, len);
	return n;
}

static int by_name(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int r = memcmp(x->name, y->name, x->len < y->len ? x->len : y->len);

	return r ? r : x->len < y->len ? -1 : x->len > y->len;
}

/* SECTORS: where each file's data begins. */
static void root_put(unsigned char *root, const struct tree *t, const struct seed_file *files, unsigned n,
		     const unsigned *sectors)
{
	struct entry e[FILES_MAX] = { 0 };
	unsigned i;

	for (i = 0; i < n; i++) {
		e[i].file = &files[i];
		e[i].sector = sectors[i];
		name_make(t, files[i].name, &e[i]);
	}
	qsort(e, n, sizeof(e[0]), by_name);
	root += record_put(root, t->root, SECTOR, true, "\0", 1);	/* itself, and its parent */
	root += record_put(root, t->root, SECTOR, true, "\1", 1);
	for (i = 0; i < n; i++)
		root += record_put(root, e[i].sector, (uint32_t)e[i].file->len, false, e[i].name, e[i].len);
}

static void descriptor_put(unsigned char *d, const struct tree *t, unsigned sectors)
{
	d[0] = t->joliet ? 2 : 1;
	memcpy(d + 1, "CD001\1", 6);
	if (t->joliet) {
		memset(d + 8, 0, 32);
		put_wide(d + 8, "", 32);
		put_wide(d + 40, LABEL, 32);
		memcpy(d + 88, "%/E", 3);		/* UCS-2, level 3 */
		put_wide(d + 190, "", 623);
	} else {
		memset(d + 8, ' ', 64);
		memcpy(d + 40, LABEL, sizeof(LABEL) - 1);
		memset(d + 190, ' ', 623);
	}
	put_both32(d + 80, sectors);
	put_both16(d + 120, 1);
	put_both16(d + 124, 1);
	put_both16(d + 128, SECTOR);
	put_both32(d + 132, 10);
	put_le32(d + 140, t->tables);
	put_be32(d + 148, t->tables + 1);
	record_put(d + 156, t->root, SECTOR, true, "\0", 1);
	memcpy(d + 813, "2020010100000000", 17);	/* made, and changed; in UTC */
	memcpy(d + 830, "2020010100000000", 17);
	memset(d + 847, '0', 16);			/* never over */
	memset(d + 864, '0', 16);
	d[881] = 1;
}

/* The root alone. */
static void tables_put(unsigned char *p, const struct tree *t)
{
	p[0] = p[SECTOR] = 1;
	put_le32(p + 2, t->root);
	put_be32(p + SECTOR + 2, t->root);
	put_le16(p + 6, 1);
	put_be16(p + SECTOR + 6, 1);
}

/* Where the data of each begins; the sector behind all. */
static unsigned places_find(const struct seed_file *files, unsigned n, unsigned *ret)
{
	unsigned i, k, at = FILES;

	for (i = 0; i < n; i++) {
		for (k = 0; k < i && (files[k].data != files[i].data || files[k].len != files[i].len); k++)
			;
		ret[i] = k < i ? ret[k] : at;
		if (k == i)
			at += (unsigned)((files[i].len + SECTOR - 1) / SECTOR);
	}
	return at;
}

int seed_iso_build(const struct seed_file *files, unsigned n, struct buf *ret_image, uint64_t *ret_size)
{
	const struct tree trees[2] = { { false, ROOTS, TABLES }, { true, ROOTS + 1, TABLES + 2 } };
	unsigned places[FILES_MAX], end, i;
	size_t bytes;
	char *image;
	int err;

	for (i = 0; i < n && i < FILES_MAX; i++)
		if (files[i].len > SEED_BYTES_MAX)
			return -EFBIG;
	if (n > FILES_MAX)
		return -EFBIG;
	end = places_find(files, n, places);
	bytes = (end - PRIMARY) * (size_t)SECTOR;
	err = buf_reserve(ret_image, bytes, &image);
	if (err)
		return err;
	memset(image, 0, bytes);
	for (i = 0; i < 2; i++) {
		descriptor_put(sector_of(image, PRIMARY + i), &trees[i], end);
		tables_put(sector_of(image, trees[i].tables), &trees[i]);
		root_put(sector_of(image, trees[i].root), &trees[i], files, n, places);
	}
	memcpy(sector_of(image, END), "\377CD001\1", 7);
	for (i = 0; i < n; i++)
		memcpy(sector_of(image, places[i]), files[i].data, files[i].len);
	buf_commit(ret_image, bytes);
	*ret_size = end * (uint64_t)SECTOR;
	return 0;
}
