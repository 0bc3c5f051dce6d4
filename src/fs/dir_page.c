/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One page of a directory: what is sound, and how entries come and go.
 *
 * Invariants of a page, all checked by dir_page_verify():
 *  - leaf: items follow each other without gaps from 0 to free_start, keys strictly ascending;
 *    each is padded with zeros to 8 bytes, and what follows free_start is zero;
 *  - inner: keys strictly ascending, the first is stored as 0 and stands for the lower bound
 *    that the parent gives; unused index entries are zero; no child is page 0, the root;
 *  - free (level DIR_LEVEL_FREE): nothing but next_free.
 */
#include <assert.h>
#include <string.h>
#include "base/err.h"
#include "fs/dir_int.h"

const char *page_verify_header(const struct dir_page *p)
{
	if (p->magic != DIR_MAGIC)
		return "not a directory page";
	if (p->level == DIR_LEVEL_FREE)
		return p->count || p->free_start ? "free page with entries" : NULL;
	if (p->level >= DIR_LEVELS_MAX)
		return "impossible level";
	if (p->level)
		return !p->count || p->count > DIR_FANOUT ? "impossible number of children" : NULL;
	if (p->free_start > DIR_BODY || p->free_start % 8 ||
	    p->free_start < p->count * DIR_ITEM_MIN || p->free_start > p->count * DIR_ITEM_MAX)
		return "impossible use of space";
	return NULL;
}

static const char *verify_items(const struct dir_page *p, uint64_t *ret_last)
{
	uint64_t last = DIR_KEY_FIRST - 1;
	uint32_t off, n = 0;

	for (off = 0; off < p->free_start; n++) {
		const struct dir_item *it = page_item(p, off);

		if (!item_fits(p, off) || !it->name_len)
			return "entry past the end";
		if (it->key <= last || it->key >= DIR_KEY_END)
			return "entries out of order";
		last = it->key;
		off += item_size(it->name_len);
	}
	*ret_last = last;
	return n == p->count ? NULL : "wrong number of entries";
}

static const char *verify_index(const struct dir_page *p, uint64_t *ret_last)
{
	const struct dir_index *x = page_index(p);

	for (uint32_t i = 0; i < p->count; i++) {
		if (i ? x[i].key <= x[i - 1].key || x[i].key >= DIR_KEY_END : x[i].key != 0)
			return "children out of order";
		if (!x[i].page || x[i].page >= DIR_PAGES_MAX)
			return "impossible child";
	}
	*ret_last = x[p->count - 1].key;
	return NULL;
}

const char *page_verify_keys(const struct dir_page *p, uint64_t *ret_last)
{
	const char *why = page_verify_header(p);

	*ret_last = 0;
	if (why || p->level == DIR_LEVEL_FREE)
		return why;
	return p->level ? verify_index(p, ret_last) : verify_items(p, ret_last);
}

const char *page_verify_layout(const struct dir_page *p)
{
	uint64_t last;

	return page_verify_keys(p, &last);
}

static bool all_zero(const uint8_t *p, uint32_t len)
{
	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

static const char *verify_names(const struct dir_page *p)
{
	uint32_t off, size;

	for (off = 0; off < p->free_start; off += size) {
		const struct dir_item *it = page_item(p, off);
		uint32_t len = it->name_len;

		size = item_size(len);
		if (memchr(it->name, '/', len) || memchr(it->name, 0, len))
			return "name with a slash or NUL";
		if (it->name[0] == '.' && (len == 1 || (len == 2 && it->name[1] == '.')))
			return "name is . or ..";
		if (it->type < FS_REG || it->type > FS_FIFO)
			return "entry of no known type";
		if (!it->ino)
			return "entry without an inode";
		if (!all_zero((const uint8_t *)it->name + len, size - DIR_ITEM_HEADER - len))
			return "padding is not zero";
	}
	return NULL;
}

const char *dir_page_verify(const void *page)
{
	const struct dir_page *p = page;
	const char *why = page_verify_layout(p);
	uint32_t used = p->free_start;

	if (why)
		return why;
	if (p->reserved || p->reserved2[0] || p->reserved2[1] || p->reserved2[2] || p->reserved3)
		return "reserved field is not zero";
	if (p->next_free && p->level != DIR_LEVEL_FREE)
		return "page in use with a place in the free list";
	if (p->level && p->level != DIR_LEVEL_FREE) {
		if (p->free_start)
			return "impossible use of space";
		used = p->count * sizeof(struct dir_index);
	}
	if (!all_zero(p->body + used, DIR_BODY - used))
		return "unused space is not zero";
	return p->level ? NULL : verify_names(p);
}

void page_init(struct dir_page *p, uint8_t level)
{
	memset(p, 0, sizeof(*p));
	p->magic = DIR_MAGIC;
	p->level = level;
}

uint32_t page_slot(const struct dir_page *p, uint64_t key)
{
	const struct dir_index *x = page_index(p);
	uint32_t base = 0, n = p->count;

	while (n > 1) {		/* invariant: the answer is in base .. base + n - 1 */
		uint32_t half = n / 2;

		base += x[base + half].key <= key ? half : 0;
		n -= half;
	}
	return base;
}

int page_seek(const struct dir_page *p, uint64_t key, uint32_t *ret_off)
{
	uint32_t off = 0;

	/* The scan goes from length to length, too slowly for the processor to look ahead. */
	for (uint32_t i = 64; i < p->free_start; i += 64)
		__builtin_prefetch(p->body + i);
	while (off < p->free_start) {
		if (!item_fits(p, off))
			return -EDAMAGED;
		if (page_item(p, off)->key >= key)
			break;
		off += item_size(page_item(p, off)->name_len);
	}
	*ret_off = off;
	return 0;
}

void page_add_item(struct dir_page *p, uint32_t off, const struct dir_found *e, struct fs_name name)
{
	uint32_t size = item_size(name.len);
	struct dir_item *it = page_item(p, off);

	assert(off <= p->free_start && p->free_start + size <= DIR_BODY);
	memmove(p->body + off + size, p->body + off, p->free_start - off);
	memset(it, 0, size);
	it->key = e->key;
	it->ino = e->ino;
	it->generation = e->generation;
	it->type = e->type;
	it->name_len = name.len;
	memcpy(p->body + off + DIR_ITEM_HEADER, name.s, name.len);
	p->free_start += size;
	p->count++;
}

void page_remove_item(struct dir_page *p, uint32_t off)
{
	uint32_t size = item_size(page_item(p, off)->name_len);

	assert(p->count && off + size <= p->free_start);
	p->free_start -= size;
	memmove(p->body + off, p->body + off + size, p->free_start - off);
	memset(p->body + p->free_start, 0, size);
	p->count--;
}

void page_add_child(struct dir_page *p, uint32_t slot, uint64_t key, uint64_t page)
{
	struct dir_index *x = page_index(p);

	assert(slot <= p->count && p->count < DIR_FANOUT);
	memmove(x + slot + 1, x + slot, (p->count - slot) * sizeof(*x));
	x[slot] = (struct dir_index){ .key = key, .page = page };
	p->count++;
}

/* The range of the child that goes falls to its left neighbour, or to the right one of the first. */
void page_remove_child(struct dir_page *p, uint32_t slot)
{
	struct dir_index *x = page_index(p);

	assert(slot < p->count);
	p->count--;
	memmove(x + slot, x + slot + 1, (p->count - slot) * sizeof(*x));
	x[p->count] = (struct dir_index){ 0 };
	if (p->count)
		x[0].key = 0;
}
