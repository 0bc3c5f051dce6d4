/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts and CRCs of every block: table pages in the cache, found through summaries, found
 * through the zone directory, which is all in memory.
 *
 * A table page that changes while a checkpoint is writing it out is copied first: b->frozen
 * is then what the frozen generation sees, b->data what the present one does.  The memory is
 * swapped, not the content, so that a device write under way keeps its memory.
 */
#include "pool/pool_int.h"

#include "base/err.h"

uint64_t table_place(struct pool *p, uint64_t page, unsigned slot)
{
	return page / ZONE_PAGES * ZONE_BLOCKS + ZONE_TABLE + 2 * (page % ZONE_PAGES) + slot;
}

/* Where on the device the content of a block in the cache is read from. */
uint64_t key_place(struct pool *p, const struct block *b)
{
	if (b->key & KEY_TABLE) {
		uint64_t page = b->key & ~KEY_TABLE;
		struct block *s = cache_find(p, KEY_SUMMARY | page / ZONE_PAGES);
		const struct summary_entry *e = (const struct summary_entry *)s->data;

		return table_place(p, page, e[page % ZONE_PAGES].slot);
	}
	if (b->key & KEY_SUMMARY) {
		uint64_t zone = b->key & ~KEY_SUMMARY;

		return zone * ZONE_BLOCKS + ZONE_SUMMARY + p->dir[zone].slot;
	}
	return b->key;
}

bool pool_block_ok(const struct pool *p, uint64_t block)
{
	return block < p->sb.nblocks && !block_is_fixed(&p->sb, block);
}

/*
 * A table page or summary: in the cache, or being read from SLOT with CRC, or all zero.  Kept
 * pinned by the transaction.
 */
static int meta_block(struct txn *t, uint64_t key, unsigned slot, uint32_t crc, struct block **ret)
{
	struct pool *p = t->pool;
	struct block *b = cache_take(p);

	if (!b) {
		t->missing = true;	/* txn_wait_missing() waits for memory */
		return -ERESTART_PASS;
	}
	cache_insert(p, b, key);
	b->birth = 0;
	if (slot == SLOT_NONE) {
		memset(b->data, 0, BLOCK_SIZE);
		if (key & KEY_SUMMARY)
			for (unsigned i = 0; i < ZONE_PAGES; i++)
				((struct summary_entry *)b->data)[i].slot = SLOT_NONE;
		b->flags = B_VALID;
		b->sound_as = 1;
		cache_clean(p, b);
		txn_pin(t, b);
		*ret = b;
		return 0;
	}
	b->crc = crc;
	cache_queue_read(p, b);
	txn_wait_for(t, b);
	return -ERESTART_PASS;
}

/* A page that was read: can it be used? */
static int page_sound(struct pool *p, struct block *b)
{
	const char *why = b->key & KEY_TABLE ?
			  table_verify((const struct table_entry *)b->data, &p->sb, b->key & ~KEY_TABLE) :
			  summary_verify((const struct summary_entry *)b->data);

	if (why && p->mending)
		return 0;		/* verified again when that is over */
	if (why) {
		p->stat.checksum_errors++;
		return -EDAMAGED;
	}
	b->sound_as = 1;
	return 0;
}

static int cached(struct txn *t, uint64_t key, struct block **ret)
{
	struct block *b = t->pool->last_table;

	if (!b || b->key != key)
		b = cache_find(t->pool, key);
	if (!b)
		return -ENOENT;
	if (!(b->flags & B_VALID)) {
		txn_wait_for(t, b);
		return -ERESTART_PASS;
	}
	if (!b->sound_as && page_sound(t->pool, b))
		return -EDAMAGED;
	b->flags |= B_REF;
	if (key & KEY_TABLE)
		t->pool->last_table = b;
	if (!t->apply)
		txn_pin(t, b);
	*ret = b;
	return 0;
}

int summary_page(struct txn *t, uint64_t zone, struct block **ret)
{
	const struct dir_entry *d = &t->pool->dir[zone];
	int err = cached(t, KEY_SUMMARY | zone, ret);

	if (err != -ENOENT)
		return err;
	return meta_block(t, KEY_SUMMARY | zone, d->slot, d->crc, ret);
}

int table_page(struct txn *t, uint64_t page, struct block **ret)
{
	struct block *s;
	const struct summary_entry *e;
	int err = cached(t, KEY_TABLE | page, ret);

	if (err != -ENOENT)
		return err;
	insist(t->pool, !t->apply, "nothing led to it", page * PAGE_ENTRIES);
	err = summary_page(t, page / ZONE_PAGES, &s);
	if (err)
		return err;
	e = (const struct summary_entry *)s->data + page % ZONE_PAGES;
	block_pin(s);			/* the transaction has no memory for its pin, maybe */
	err = meta_block(t, KEY_TABLE | page, e->slot, e->crc, ret);
	block_unpin(t->pool, s);
	return err;
}

int table_entry(struct txn *t, uint64_t block, const struct table_entry **ret)
{
	struct block *b;
	int err = table_page(t, block / PAGE_ENTRIES, &b);

	if (err)
		return err;
	*ret = (const struct table_entry *)b->data + block % PAGE_ENTRIES;
	return 0;
}

/* The page of BLOCK's entry, which is in the cache. */
static struct block *page_now(struct pool *p, uint64_t block)
{
	uint64_t key = KEY_TABLE | block / PAGE_ENTRIES;
	struct block *b = p->last_table;

	if (b && b->key == key)
		return b;
	b = cache_find(p, key);
	insist(p, b && (b->flags & B_VALID), "nothing led to it", block);
	p->last_table = b;
	return b;
}

const struct table_entry *table_entry_now(struct pool *p, uint64_t block)
{
	struct block *b = page_now(p, block);

	return (const struct table_entry *)b->data + block % PAGE_ENTRIES;
}

struct table_entry *table_entry_write(struct pool *p, uint64_t block)
{
	struct block *b = page_now(p, block);

	if ((b->flags & B_FROZEN) && !b->frozen) {
		struct block *copy = cache_take(p);
		uint8_t *data;

		insist(p, copy, "there is no memory for its count", block);
		data = copy->data;
		memcpy(data, b->data, BLOCK_SIZE);
		copy->data = b->data;
		b->data = data;
		b->frozen = copy;
	}
	if (!(b->flags & B_DIRTY)) {
		if (b->flags & B_LRU) {
			list_del(&b->lru);
			b->flags &= ~B_LRU;
			p->nlru--;
		}
		b->flags |= B_DIRTY;
		list_add_tail(&p->tdirty, &b->dirty);
		p->ntdirty++;
	}
	return (struct table_entry *)b->data + block % PAGE_ENTRIES;
}

/* A checkpoint has computed the CRC of a frozen block: it goes into every version in memory. */
void table_fill_crc(struct pool *p, uint64_t block, uint32_t crc)
{
	struct block *b = page_now(p, block);
	unsigned i = block % PAGE_ENTRIES;

	assert(b->flags & B_FROZEN);
	if (b->frozen)
		((struct table_entry *)b->frozen->data)[i].crc = crc;
	((struct table_entry *)b->data)[i].crc = crc;
}
