/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile directory pages: right checksums, any content.  Whatever is in them, no operation reads
 * or writes outside of a page (an unmapped page follows each), runs for ever, or fails in its apply
 * pass.  DIR_FUZZ_ROUNDS=N for longer runs.
 */
#include <assert.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "dir_model.h"

/* ---- the verifier ------------------------------------------------------------------------- */

/* Each rule of the verifier, broken once. */
static void test_verify(void **state)
{
	static const struct { const char *why; uint32_t at; uint8_t value; } c[] = {
		{ "not a directory page", 0, 1 }, { "impossible level", 4, 9 },
		{ "reserved field is not zero", 5, 1 }, { "impossible use of space", 6, 200 },
		{ "wrong number of entries", 6, 2 }, { "impossible use of space", 8, 97 },
		{ "impossible use of space", 8, 88 },
		{ "entry past the end", 32 + 64 + 25, 60 },
		{ "reserved field is not zero", 10, 1 },
		{ "page in use with a place in the free list", 16, 1 },
		{ "reserved field is not zero", 24, 1 }, { "entries out of order", 32 + 32 + 7, 0 },
		{ "entries out of order", 32 + 64 + 7, 0xff }, { "entry without an inode", 32 + 8, 0 },
		{ "entry of no known type", 32 + 24, 0 }, { "entry of no known type", 32 + 24, 8 },
		{ "entry past the end", 32 + 25, 0 }, { "name is . or ..", 32 + 25, 1 },
		{ "name with a slash or NUL", 32 + 27, '/' }, { "name with a slash or NUL", 32 + 27, 0 },
		{ "padding is not zero", 32 + 31, 1 }, { "unused space is not zero", 4095, 1 },
		{ "free page with entries", 4, 0xff }, { "children out of order", 4, 1 },
	};
	struct dir_found e = { .ino = 1, .type = FS_REG };
	struct dir_page good, p;

	page_init(&good, 0);
	for (int i = 2; i >= 0; i--) {
		e.key = (i + 1ull) << 56;
		page_add_item(&good, 0, &e, (struct fs_name){ .s = ".ab", .len = 3 });
	}
	assert_null(dir_page_verify(&good));
	for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		p = good;
		((uint8_t *)&p)[c[i].at] = c[i].value;
		assert_non_null(dir_page_verify(&p));
		assert_string_equal(dir_page_verify(&p), c[i].why);
	}
	page_init(&p, 1);
	assert_string_equal(dir_page_verify(&p), "impossible number of children");
	page_add_child(&p, 0, 0, 4);
	page_add_child(&p, 1, 500, 5);
	assert_null(dir_page_verify(&p));
	page_index(&p)[1].page = 0;
	assert_string_equal(dir_page_verify(&p), "impossible child");
	page_index(&p)[1] = (struct dir_index){ .key = 0, .page = 5 };
	assert_string_equal(dir_page_verify(&p), "children out of order");
}

/* ---- one damage each ---------------------------------------------------------------------- */

static int count_fn(void *arg, const struct dir_found *e, struct fs_name name)
{
	volatile char sum = 0;
	uint64_t *n = arg;

	for (uint32_t i = 0; i < name.len; i++)
		sum += name.s[i];
	assert_true(++*n < 10000000);
	return 0;
}

static int op_count(struct dir *d, void *arg)
{
	*(uint64_t *)arg = 0;
	return dir_iterate(d, 0, count_fn, arg);
}

static struct dir_item *last_item(struct dir_page *p)
{
	uint32_t off = 0, next;

	while ((next = off + item_size(page_item(p, off)->name_len)) < p->free_start)
		off = next;
	return page_item(p, off);
}

/* The id whose name is the first or last of the leaf at SLOT of the root. */
static uint32_t id_in(unsigned slot, bool last)
{
	struct dir_page *leaf = raw(page_index(raw(0))[slot].page);
	struct dir_item *it = last ? last_item(leaf) : page_item(leaf, 0);

	return strtoul(it->name + 3, NULL, 10);
}

static int try(op_fn fn, uint32_t id)
{
	char buf[256];
	struct op o = { .name = name_of(id, buf), .ino = 9 };
	int err = run(fn != op_lookup, fn, &o);

	assert_int_equal(inode()->entries, M_present);	/* else it wasn't refused */
	return err;
}

static uint32_t absent_in(unsigned slot)
{
	char buf[256];

	for (uint32_t id = M_n; ; id++)
		if (page_slot(raw(0), dir_hash(S.d.hash_key, name_of(id, buf))) == slot)
			return id;
}

/* A root and some leaves, and a free list. */
static void two_levels(void)
{
	assert_int_equal(make(2048, true, 21), 0);
	model_new(1500, 256);
	for (uint32_t i = 0; i < 1500; i++)
		do_insert(i, i + 1);
	for (uint32_t i = 0; i < 1500; i++)
		if (i % 9)
			do_remove(i);
	check_all();
	assert_int_equal(inode()->dir_levels, 2);
	assert_true(raw(0)->count > 6);
	assert_true(inode()->dir_free && raw(inode()->dir_free - 1)->next_free);
	assert_true(raw(raw(inode()->dir_free - 1)->next_free - 1)->next_free);
}

static void damage_links(void)
{
	struct dir_index *x;
	uint64_t n;

	two_levels();
	x = page_index(raw(0));
	n = x[3].page;
	x[3].page = x[2].page;			/* one leaf, two places */
	assert_int_equal(try(op_lookup, id_in(2, false)), 0);
	assert_int_equal(try(op_lookup, absent_in(3)), -EDAMAGED);
	assert_int_equal(try(op_insert, absent_in(3)), -EDAMAGED);
	assert_int_equal(run(false, op_count, &n), -EDAMAGED);
	store_free();

	two_levels();
	inode_rw()->dir_pages = 1;		/* the leaves lie behind the end */
	assert_int_equal(try(op_lookup, 0), -EDAMAGED);
	assert_int_equal(try(op_remove, 0), -EDAMAGED);
	store_free();

	two_levels();
	page_init(raw(page_index(raw(0))[1].page), 0);	/* an empty leaf */
	assert_int_equal(try(op_lookup, absent_in(1)), -EDAMAGED);
	assert_int_equal(try(op_insert, absent_in(1)), -EDAMAGED);
	store_free();

	two_levels();
	inode_rw()->dir_levels = 0;
	assert_int_equal(try(op_lookup, 0), -EDAMAGED);
	inode_rw()->dir_levels = 9;
	assert_int_equal(try(op_lookup, 0), -EDAMAGED);
	inode_rw()->dir_levels = 1;
	assert_int_equal(try(op_lookup, 0), -EDAMAGED);
	store_free();
}

static void damage_leaves(void)
{
	struct dir_page *p;
	uint64_t n;

	two_levels();
	p = raw(page_index(raw(0))[1].page);
	last_item(p)->key = page_index(raw(0))[2].key + 5;	/* belongs into the next leaf */
	assert_int_equal(try(op_insert, absent_in(1)), -EDAMAGED);
	assert_int_equal(try(op_remove, id_in(1, false)), -EDAMAGED);
	assert_int_equal(run(false, op_count, &n), -EDAMAGED);
	store_free();

	two_levels();
	p = raw(page_index(raw(0))[1].page);
	p->count++;
	assert_int_equal(try(op_insert, absent_in(1)), -EDAMAGED);
	store_free();

	two_levels();
	inode_rw()->entries = M_present = 0;
	assert_int_equal(try(op_remove, 0), -EDAMAGED);
	store_free();

	dir_hash_mask = 0;			/* the second of a hash goes past the end */
	assert_int_equal(make(64, true, 22), 0);
	model_new(2, 0);
	do_insert(0, 1);
	do_insert(1, 2);
	assert_int_equal(try(op_lookup, 1), 0);
	raw(0)->free_start -= 8;
	assert_int_equal(try(op_lookup, 1), -EDAMAGED);
	assert_int_equal(try(op_insert, 2), -EDAMAGED);
	dir_hash_mask = UINT64_MAX;
	store_free();
}

/* Enough names for more new pages than the free list has. */
static int insert_many(void)
{
	struct op o = { .names = bulk_names, .n = 2000, .ino = 1 };

	for (uint32_t i = 0; i < o.n; i++)
		bulk_names[i] = name_of(5000 + i, bulk_bufs[i]);
	return run(true, op_bulk, &o);
}

static void damage_free_list(void)
{
	uint64_t first, second;

	two_levels();
	first = inode()->dir_free;
	second = raw(first - 1)->next_free;
	raw(raw(second - 1)->next_free - 1)->next_free = second;	/* a loop */
	assert_int_equal(insert_many(), -EDAMAGED);
	raw(second - 1)->next_free = inode()->dir_pages + 1;		/* behind the end */
	assert_int_equal(insert_many(), -EDAMAGED);
	raw(second - 1)->next_free = 1;					/* the root */
	assert_int_equal(insert_many(), -EDAMAGED);
	raw(second - 1)->next_free = page_index(raw(0))[1].page + 1;	/* a leaf */
	assert_int_equal(insert_many(), -EDAMAGED);
	raw(second - 1)->next_free = 0;		/* this only loses pages */
	assert_int_equal(inode()->entries, M_present);
	assert_int_equal(insert_many(), 0);
	store_free();

	two_levels();
	inode_rw()->dir_free = 0;
	inode_rw()->dir_pages--;		/* there is something behind the end */
	assert_int_equal(insert_many(), -EDAMAGED);
	inode_rw()->dir_pages--;
	S.pages[inode()->dir_pages].frame = 0;	/* not at once */
	assert_int_equal(insert_many(), -EDAMAGED);
	store_free();
}

static void test_damage(void **state)
{
	bulk_alloc(2000);
	damage_links();
	damage_leaves();
	damage_free_list();
	bulk_release();
}

/* ---- many damages, at random -------------------------------------------------------------- */

struct image { uint8_t (*pages)[BLOCK_SIZE]; struct inode inode; uint64_t n; };

static void image_take(struct image *im)
{
	im->n = inode()->dir_pages;
	im->inode = *inode();
	im->pages = need(calloc(im->n, BLOCK_SIZE));
	for (uint64_t n = 0; n < im->n; n++)
		memcpy(im->pages[n], raw(n), BLOCK_SIZE);
}

static void image_restore(const struct image *im)
{
	for (uint64_t n = 0; n < S.npages; n++)
		if (S.pages[n].frame && n >= im->n) {
			S.free[S.nfree++] = S.pages[n].frame;
			S.pages[n].frame = 0;
		}
	for (uint64_t n = 0; n < im->n; n++) {
		if (!S.pages[n].frame)
			S.pages[n].frame = frame_take();
		memcpy(raw(n), im->pages[n], BLOCK_SIZE);
	}
	*inode_rw() = im->inode;
}

static void damage_inode(void)
{
	struct inode *ino = inode_rw();
	uint64_t v = rng_one_in(&S.rng, 4) ? rng_u64(&S.rng) : rng_below(&S.rng, ino->dir_pages + 3);

	switch (rng_below(&S.rng, 4)) {
	case 0: ino->dir_levels = rng_below(&S.rng, rng_one_in(&S.rng, 2) ? 5 : 256); break;
	case 1: ino->dir_pages = v; break;
	case 2: ino->dir_free = v; break;
	case 3: ino->entries = v; break;
	}
}

/* Small changes that keep a page looking right get further than noise does. */
static void damage_page(struct dir_page *p, uint64_t pages)
{
	struct dir_index *x = page_index(p);
	uint32_t i = rng_below(&S.rng, p->count + 1), k = rng_below(&S.rng, p->count + 1);

	switch (rng_below(&S.rng, 8)) {
	case 0: ((uint8_t *)p)[rng_below(&S.rng, BLOCK_SIZE)] = rng_u64(&S.rng); break;
	case 1: ((uint8_t *)p)[rng_below(&S.rng, 32)] = rng_u64(&S.rng); break;
	case 2: p->body[rng_below(&S.rng, 64)] ^= 1 << rng_below(&S.rng, 8); break;
	case 3: p->count = rng_below(&S.rng, 300); break;
	case 4: p->free_start = rng_below(&S.rng, 520) * 8; break;
	case 5: p->level = rng_below(&S.rng, 4); break;
	case 6:
		if (p->level && p->level < 8 && i < DIR_FANOUT && k < DIR_FANOUT)
			x[i].page = rng_one_in(&S.rng, 2) ? x[k].page : rng_below(&S.rng, pages);
		else
			p->next_free = rng_below(&S.rng, pages + 2);
		break;
	case 7:
		if (p->level && p->level < 8 && i < DIR_FANOUT && k < DIR_FANOUT)
			x[i].key = rng_one_in(&S.rng, 2) ? x[k].key + 1 : rng_u64(&S.rng) >> 1;
		else
			page_item(p, 0)->key = rng_u64(&S.rng) >> 1;
		break;
	}
}

static void known(int err)
{
	static const int ok[] = { 0, -EDAMAGED, -ENOENT, -EEXIST, -ENOSPC, -EFBIG };

	for (unsigned i = 0; i < sizeof(ok) / sizeof(ok[0]); i++)
		if (err == ok[i])
			return;
	fail_msg("unexpected error %d", err);
}

static unsigned went_well;

static void hostile_ops(uint32_t ids)
{
	for (int i = 0; i < 12; i++) {
		char buf[256], buf2[256];
		struct op o = { .name = name_of(rng_below(&S.rng, ids), buf), .ino = 5,
				.old = name_of(rng_below(&S.rng, ids), buf2),
				.names = bulk_names, .n = 1 + rng_below(&S.rng, 60) };
		uint64_t n;
		int err;

		for (uint32_t k = 0; k < o.n; k++)
			bulk_names[k] = name_of(ids + rng_below(&S.rng, 1u << 20), bulk_bufs[k]);
		switch (rng_below(&S.rng, 7)) {
		case 0: err = run(false, op_lookup, &o); break;
		case 1: err = run(true, op_insert, &o); break;
		case 2: err = run(true, op_remove, &o); break;
		case 3: err = run(true, op_replace, &o); break;
		case 4: err = run(true, op_rename, &o); break;
		case 5: err = run(true, op_bulk, &o); break;
		default: err = run(false, op_count, &n); break;
		}
		known(err);
		went_well += !err;
	}
}

static void hostile(uint64_t seed, uint32_t ids, unsigned pad, unsigned keep_one_in, uint64_t mask,
		    unsigned rounds)
{
	struct image im;

	assert_int_equal(make(2048, true, seed), 0);
	model_new(ids, pad);
	dir_hash_mask = mask;
	for (uint32_t i = 0; i < ids; i++)
		do_insert(i, i + 1);
	for (uint32_t i = 0; i < ids; i++)
		if (M[i].ino && !rng_one_in(&S.rng, keep_one_in))
			do_remove(i);
	check_all();
	image_take(&im);
	for (unsigned i = 0; i < rounds; i++) {
		unsigned n = 1 + rng_below(&S.rng, 6);

		for (unsigned k = 0; k < n; k++) {
			/* pages near the root matter most */
			uint64_t at = rng_one_in(&S.rng, 3) ? 0 : rng_below(&S.rng, im.n);

			if (rng_one_in(&S.rng, 6))
				damage_inode();
			else
				damage_page(raw(at), im.n);
			dir_page_verify((const void *)raw(at));
		}
		hostile_ops(ids);
		image_restore(&im);
	}
	dir_hash_mask = UINT64_MAX;
	free(im.pages);
	store_free();
}

static void test_hostile(void **state)
{
	const char *env = getenv("DIR_FUZZ_ROUNDS");
	unsigned rounds = env ? atoi(env) : 1500;

	bulk_alloc(64);
	hostile(1, 5, 256, 1, UINT64_MAX, rounds);
	hostile(2, 60, 256, 1, UINT64_MAX, rounds);
	hostile(3, 60, 256, 4, UINT64_MAX, rounds);
	hostile(4, 200, 256, 1, 0, rounds);
	hostile(5, 4500, 256, 12, UINT64_MAX, rounds / 4);
	hostile(6, 4500, 256, 200, UINT64_MAX, rounds);
	assert_true(went_well > rounds);		/* it isn't all refused at the door */
	bulk_release();
}

static int all_end(void **state)
{
	model_free();
	free(sorted);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verify),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, all_end);
}
