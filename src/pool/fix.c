/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Setting right what a check has found wrong in the table (fs/check_fix.c): counts, and what is
 * derived of them.  These are ordinary changes of table pages, so that the next checkpoint makes them
 * durable in one step, to slots that the durable generation doesn't use.
 */
#include "pool/pool_int.h"

#include "base/err.h"

struct fix_page { uint64_t page; const struct count_fix *fixes; unsigned n; };

static void fix_count(struct pool *p, const struct count_fix *f)
{
	struct table_entry *e;
	uint32_t old;

	if (pend_test(p->claims, f->block))
		return;			/* a log record names it: what it is, replay decides */
	e = table_entry_write(p, f->block);
	old = e->refs;
	e->refs = f->refs;
	if (!pool_block_ok(p, f->block))
		return;			/* never given out */
	if (!old && f->refs)
		alloc_take(p, f->block);
	if (old && !f->refs)
		block_freed(p, f->block);
}

static int do_fix(struct txn *t, void *arg)
{
	struct fix_page *f = arg;
	struct block *b;
	int err = table_page(t, f->page, &b);

	if (err)
		return err;
	t->need_tables++;
	if (!t->apply)
		return 0;
	/* Written again, its free count and those above it are counted anew. */
	table_entry_write(t->pool, f->page * PAGE_ENTRIES);
	for (unsigned i = 0; i < f->n; i++)
		fix_count(t->pool, &f->fixes[i]);
	return 0;
}

int pool_fix_counts(struct pool *p, uint64_t page, const struct count_fix *fixes, unsigned n)
{
	struct fix_page f = { page, fixes, n };
	struct txn t;
	int err;

	txn_begin(&t, p);
	t.space = SPACE_PRIVILEGED;
	err = txn_run(&t, true, do_fix, &f);
	txn_end(&t);
	return err;
}

int pool_fix_zone(struct pool *p, uint64_t zone)
{
	struct dir_entry *d = &p->dir[zone];

	if (d->type > ZONE_MIXED)
		d->type = ZONE_MIXED;	/* what fits both */
	d->device = d->reserved = d->reserved2 = 0;
	return pool_fix_counts(p, zone * ZONE_PAGES, NULL, 0);
}
