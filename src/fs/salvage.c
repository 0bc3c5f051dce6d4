/* SPDX-License-Identifier: Apache-2.0 */
/* See salvage.h. */
#include "fs/salvage.h"

#include <string.h>
#include "fs/dir_int.h"

struct items { uint32_t n, keyed, named; bool chained; };

static bool name_proper(const struct dir_item *it)
{
	uint32_t len = it->name_len;

	if (!len || memchr(it->name, '/', len) || memchr(it->name, 0, len))
		return false;
	return it->name[0] != '.' || (len > 1 && (len > 2 || it->name[1] != '.'));
}

bool item_key_right(const struct dir_item *it, const uint8_t *hash_key)
{
	uint64_t hash = dir_hash(hash_key, (struct fs_name){ it->name, it->name_len });

	/* The keys of a hash of 0 begin behind the reserved ones. */
	return it->key >= DIR_KEY_FIRST && (it->key & ~(uint64_t)(DIR_NUMBERS - 1)) == hash;
}

static uint32_t items_end(const struct dir_page *p)
{
	return p->free_start < DIR_BODY ? p->free_start : DIR_BODY;
}

/* The item at OFF; NULL: there is none that could be one. */
static const struct dir_item *item_at(const struct dir_page *p, uint32_t off)
{
	const struct dir_item *it = page_item(p, off);

	if (off + DIR_ITEM_MIN > items_end(p) || off + item_size(it->name_len) > items_end(p))
		return NULL;
	return it;
}

static struct items look(const struct dir_page *p, const uint8_t *hash_key)
{
	const struct dir_item *it;
	struct items all = { 0 };
	uint32_t off = 0;

	for (; (it = item_at(p, off)); off += item_size(it->name_len)) {
		bool named = name_proper(it) && it->ino;

		all.n++;
		all.named += named;
		all.keyed += named && item_key_right(it, hash_key);
	}
	all.chained = off == p->free_start && all.n == p->count;
	return all;
}

/* Neither has entries: an inner page, or one of the free list. */
static bool has_no_entries(const struct dir_page *p)
{
	return p->magic == DIR_MAGIC && p->level && !p->free_start &&
	       (p->level < DIR_LEVELS_MAX || p->level == DIR_LEVEL_FREE);
}

int page_salvage(const struct dir_page *p, const uint8_t *hash_key, salvage_fn fn, void *arg, bool *ret_all)
{
	struct items all = look(p, hash_key);
	bool leaf = p->magic == DIR_MAGIC && !p->level;
	const struct dir_item *it;
	int ret = 0;

	if (!leaf && !(all.chained && all.n && all.keyed == all.n)) {
		*ret_all = has_no_entries(p);
		return 0;
	}
	*ret_all = all.chained && all.named == all.n;
	for (uint32_t off = 0; !ret && (it = item_at(p, off)); off += item_size(it->name_len))
		if (name_proper(it) && it->ino)
			ret = fn(arg, it);
	return ret;
}
