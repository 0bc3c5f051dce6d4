/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages and trees of the simulated disk.  All trees have the same height, so that a disk of
 * any size can start from any image.
 *
 * Invariant: a node or page with refs > 1, or below such a node, is never changed.
 */
#include "dev/sim_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BITS 6
#define FANOUT (1 << BITS)
#define LEVELS 6	/* 2^36 blocks */

struct node {
	uint64_t refs;
	void *slot[FANOUT];	/* nodes; pages on the lowest level */
};

_Static_assert(sizeof(struct node) <= SIM_ALLOC_MAX, "a node is a small thing");

/* ---- memory ---- */

struct free_item { struct free_item *next; };

/* Items of one size, cut from chunks that are never given back to the system. */
struct item_class {
	size_t bytes;
	struct free_item *free;
	char *chunk;
	size_t left;
	uint64_t live;
};

#define CHUNK_BYTES (1 << 20)

static __thread struct item_class small = { .bytes = SIM_ALLOC_MAX };
static __thread struct item_class pages = { .bytes = sizeof(struct sim_page) };

static void *item_alloc(struct item_class *c)
{
	struct free_item *item = c->free;

	c->live++;
	if (item) {
		c->free = item->next;
		return item;
	}
	if (c->left < c->bytes) {
		c->chunk = mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (c->chunk == MAP_FAILED) {
			fprintf(stderr, "simulated disk: out of memory\n");
			abort();
		}
		c->left = CHUNK_BYTES;
	}
	item = (struct free_item *)c->chunk;
	c->chunk += c->bytes;
	c->left -= c->bytes;
	return item;
}

static void item_free(struct item_class *c, void *p)
{
	struct free_item *item = p;

	item->next = c->free;
	c->free = item;
	c->live--;
}

void *sim_alloc(size_t bytes)
{
	if (bytes > SIM_ALLOC_MAX)
		abort();
	return memset(item_alloc(&small), 0, bytes);
}

void sim_free(void *p)
{
	item_free(&small, p);
}

uint64_t sim_live_pages(void)
{
	return pages.live;
}

/* ---- pages ---- */

struct sim_page *sim_page_new(const void *data)
{
	struct sim_page *p = item_alloc(&pages);

	p->refs = 1;
	if (data)
		memcpy(p->data, data, DEV_BLOCK);
	return p;
}

struct sim_page *sim_page_get(struct sim_page *p)
{
	if (p)
		p->refs++;
	return p;
}

void sim_page_put(struct sim_page *p)
{
	if (p && !--p->refs)
		item_free(&pages, p);
}

void sim_page_read(const struct sim_page *p, void *ret_data)
{
	if (p)
		memcpy(ret_data, p->data, DEV_BLOCK);
	else
		memset(ret_data, 0, DEV_BLOCK);
}

/* ---- trees ---- */

static void put_level(void *p, int level)
{
	struct node *n = p;

	if (!p)
		return;
	if (!level) {
		sim_page_put(p);
		return;
	}
	if (--n->refs)
		return;
	for (int i = 0; i < FANOUT; i++)
		put_level(n->slot[i], level - 1);
	sim_free(n);
}

void sim_tree_share(struct sim_tree *dst, const struct sim_tree *src)
{
	dst->root = src->root;
	if (dst->root)
		((struct node *)dst->root)->refs++;
}

void sim_tree_release(struct sim_tree *t)
{
	put_level(t->root, LEVELS);
	t->root = NULL;
}

static unsigned slot_of(uint64_t block, int level)
{
	return block >> (BITS * (level - 1)) & (FANOUT - 1);
}

struct sim_page *sim_tree_find(const struct sim_tree *t, uint64_t block)
{
	void *p = t->root;

	for (int level = LEVELS; level && p; level--)
		p = ((struct node *)p)->slot[slot_of(block, level)];
	return p;
}

/* A node at *WHERE that is this tree's own, and may be changed. */
static struct node *own(void **where, int level)
{
	struct node *n = *where, *copy;

	if (n && n->refs == 1)
		return n;
	copy = sim_alloc(sizeof(*copy));
	copy->refs = 1;
	if (n) {
		for (int i = 0; i < FANOUT; i++) {
			copy->slot[i] = n->slot[i];
			/* both kinds have their count first */
			if (copy->slot[i])
				++*(uint64_t *)copy->slot[i];
		}
		n->refs--;
	}
	*where = copy;
	return copy;
}

void sim_tree_set(struct sim_tree *t, uint64_t block, struct sim_page *page)
{
	void **where = &t->root;

	if (!page && !sim_tree_find(t, block))
		return;
	for (int level = LEVELS; level; level--)
		where = &own(where, level)->slot[slot_of(block, level)];
	sim_page_put(*where);
	*where = page;
}

struct each {
	int (*fn)(void *arg, uint64_t block, const struct sim_page *page);
	void *arg;
};

static int each_level(const struct each *e, const void *p, int level, uint64_t block)
{
	const struct node *n = p;
	int err = 0;

	if (!p)
		return 0;
	if (!level)
		return e->fn(e->arg, block, p);
	for (int i = 0; i < FANOUT && !err; i++)
		err = each_level(e, n->slot[i], level - 1, block << BITS | i);
	return err;
}

int sim_tree_each(const struct sim_tree *t,
		  int (*fn)(void *arg, uint64_t block, const struct sim_page *page), void *arg)
{
	struct each e = { fn, arg };

	return each_level(&e, t->root, LEVELS, 0);
}

static bool pages_equal(const struct sim_page *a, const struct sim_page *b)
{
	static const struct sim_page zeros;	/* equals no page */

	return !memcmp((a ? a : &zeros)->data, (b ? b : &zeros)->data, DEV_BLOCK);
}

static bool equal_level(const void *a, const void *b, int level)
{
	static const struct node none;
	const struct node *na = a ? a : &none, *nb = b ? b : &none;

	if (a == b)
		return true;
	if (!level)
		return pages_equal(a, b);
	for (int i = 0; i < FANOUT; i++)
		if (!equal_level(na->slot[i], nb->slot[i], level - 1))
			return false;
	return true;
}

bool sim_tree_equal(const struct sim_tree *a, const struct sim_tree *b)
{
	return equal_level(a->root, b->root, LEVELS);
}
