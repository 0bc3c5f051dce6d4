/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking blocks over while the pool lives: counts against the pointers that were found, content on the
 * device against checksums.  What wants to be found out of all of this is the caller's (fs/scrub.c).
 */
#include "pool/pool_int.h"

#include "base/crc.h"
#include "base/err.h"

void pool_watch(struct pool *p, struct count_watch *w)
{
	p->watch = w;
}

/* ---- counts ------------------------------------------------------------------------------ */

struct counts { uint64_t page; const uint32_t *expected; verify_fn *fn; void *arg; };

/* Without a wait from the look at the table to the end. */
static int compare_counts(struct txn *t, void *arg)
{
	const struct counts *c = arg;
	const struct table_entry *e;
	struct block *b;
	int err = table_page(t, c->page, &b);

	if (err)
		return err;
	e = (const struct table_entry *)b->data;
	for (unsigned i = 0; i < PAGE_ENTRIES; i++) {
		uint64_t block = c->page * PAGE_ENTRIES + i;

		if (e[i].refs != c->expected[i] && pool_block_ok(t->pool, block))
			c->fn(c->arg, block, VERIFY_COUNT, e[i].refs, c->expected[i]);
	}
	return 0;
}

int pool_verify_counts(struct pool *p, uint64_t page, const uint32_t *expected, verify_fn *fn, void *arg)
{
	struct counts c = { page, expected, fn, arg };
	struct txn t;
	int err;

	txn_begin(&t, p);
	err = txn_run(&t, false, compare_counts, &c);
	txn_end(&t);
	return err;
}

/* ---- content ----------------------------------------------------------------------------- */

struct checksums { uint64_t page; uint32_t crc[PAGE_ENTRIES]; };

static int get_checksums(struct txn *t, void *arg)
{
	struct checksums *c = arg;
	struct block *b;
	int err = table_page(t, c->page, &b);

	for (unsigned i = 0; !err && i < PAGE_ENTRIES; i++)
		c->crc[i] = ((const struct table_entry *)b->data)[i].crc;
	return err;
}

static bool matches(const uint8_t *data, uint32_t crc)
{
	return crc32c(0, data, BLOCK_SIZE) == crc;
}

/* Read by itself: is it the block or its neighbour, and is it so each time? */
static void verify_alone(struct pool *p, uint64_t block, uint32_t crc, void *buf, verify_fn *fn, void *arg)
{
	int err = dev_read(p->dev, block, buf, 1);

	if (err)
		fn(arg, block, VERIFY_UNREADABLE, 0, 0);
	else if (!matches(buf, crc))
		fn(arg, block, VERIFY_CONTENT, 0, 0);
}

static bool bit(const uint64_t *bits, unsigned i)
{
	return bits[i / 64] >> i % 64 & 1;
}

int pool_verify_content(struct pool *p, uint64_t page, const uint64_t bits[PAGE_ENTRIES / 64], void *buf,
			verify_fn *fn, void *arg, uint64_t *bytes)
{
	struct checksums c = { .page = page };
	struct txn t;
	int err;

	txn_begin(&t, p);
	err = txn_run(&t, false, get_checksums, &c);
	txn_end(&t);
	for (unsigned i = 0; !err && i < PAGE_ENTRIES; i++) {
		uint64_t block = page * PAGE_ENTRIES + i;
		unsigned n = 0;
		int failed;

		while (i + n < PAGE_ENTRIES && bit(bits, i + n))
			n++;
		if (!n)
			continue;
		failed = dev_read(p->dev, block, buf, n);
		for (unsigned k = 0; k < n; k++)
			if (failed || !matches((uint8_t *)buf + k * BLOCK_SIZE, c.crc[i + k]))
				verify_alone(p, block + k, c.crc[i + k],
					     (uint8_t *)buf + k * BLOCK_SIZE, fn, arg);
		*bytes += (uint64_t)n * BLOCK_SIZE;
		i += n;
	}
	return err;
}
