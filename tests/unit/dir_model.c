/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on a directory and on the model beside it (dir_model.h). */
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

static int op_init(struct dir *d, void *arg) { return dir_init(d); }
int op_lookup(struct dir *d, void *arg)
{
	struct op *o = arg;

	return dir_lookup(d, o->name, &o->found);
}
int op_insert(struct dir *d, void *arg)
{
	struct op *o = arg;

	return dir_insert(d, o->name, o->ino, o->ino * 7, FS_REG);
}
int op_replace(struct dir *d, void *arg)
{
	struct op *o = arg;

	return dir_replace(d, o->name, o->ino, o->ino * 7, FS_DIR);
}
int op_remove(struct dir *d, void *arg)
{
	struct op *o = arg;

	return dir_remove(d, o->name);
}
int op_rename(struct dir *d, void *arg)
{
	struct op *o = arg;
	int err = dir_insert(d, o->name, o->ino, o->ino * 7, FS_REG);

	return err ? err : dir_remove(d, o->old);
}
int op_bulk(struct dir *d, void *arg)
{
	struct op *o = arg;
	int err = dir_insert_prepare(d, o->names, o->n, &o->bad);

	for (uint32_t i = 0; !err && d->t->apply && i < o->n; i++)
		err = dir_insert(d, o->names[i], o->ino + i, (o->ino + i) * 7, FS_REG);
	return err;
}

int make(uint32_t nframes, bool guard, uint64_t seed)
{
	store_new(nframes, guard, seed);
	return run(true, op_init, NULL);
}

/* ---- the model ---------------------------------------------------------------------------- */

struct entry *M;
uint32_t M_n, M_present;
unsigned M_pad;

/* The name of an id: the same for ever. */
struct fs_name name_of(uint32_t id, char buf[256])
{
	struct rng r;
	unsigned len = sprintf(buf, "vm-%06u", id), want;

	rng_init(&r, id);
	for (want = M_pad ? rng_below(&r, M_pad) : 0; len < want; len++)
		buf[len] = 'a' + len % 26;
	return (struct fs_name){ .s = buf, .len = len };
}

void model_new(uint32_t n, unsigned pad)
{
	free(M);
	M = need(calloc(n, sizeof(*M)));
	M_n = n;
	M_pad = pad;
	M_present = 0;
}

void model_free(void)
{
	free(M);
	M = NULL;
	M_n = 0;
}

/* The lowest key that a new name of this id must get; 0: all taken. */
uint64_t key_expected(uint32_t id, char *buf)
{
	uint64_t hash = dir_hash(S.d.hash_key, name_of(id, buf));
	bool used[DIR_NUMBERS] = { false };

	if (dir_hash_mask == UINT64_MAX)	/* no two of them collide */
		return hash;
	for (uint32_t i = 0; i < M_n; i++)
		if (M[i].ino && (M[i].key & ~255ULL) == hash)
			used[M[i].key & 255] = true;
	for (unsigned i = hash ? 0 : 3; i < DIR_NUMBERS; i++)
		if (!used[i])
			return hash | i;
	return 0;
}

void lookup_check(uint32_t id)
{
	char buf[256];
	struct op o = { .name = name_of(id, buf) };
	int err = run(false, op_lookup, &o);

	assert_int_equal(err, M[id].ino ? 0 : -ENOENT);
	if (err)
		return;
	assert_int_equal(o.found.key, M[id].key);
	assert_int_equal(o.found.ino, M[id].ino);
	assert_int_equal(o.found.generation, M[id].ino * 7);
	assert_int_equal(o.found.type, M[id].type);
}

void do_insert(uint32_t id, uint64_t ino)
{
	char buf[256];
	uint64_t key = M[id].ino ? 0 : key_expected(id, buf);
	struct op o = { .name = name_of(id, buf), .ino = ino };
	int err = run(true, op_insert, &o);

	assert_int_equal(err, M[id].ino ? -EEXIST : key ? 0 : -ENOSPC);
	if (err)
		return;
	M[id] = (struct entry){ .ino = ino, .key = key, .type = FS_REG };
	M_present++;
}

void do_remove(uint32_t id)
{
	char buf[256];
	struct op o = { .name = name_of(id, buf) };

	assert_int_equal(run(true, op_remove, &o), M[id].ino ? 0 : -ENOENT);
	M_present -= M[id].ino != 0;
	M[id].ino = 0;
}

void do_replace(uint32_t id, uint64_t ino)
{
	char buf[256];
	struct op o = { .name = name_of(id, buf), .ino = ino };

	assert_int_equal(run(true, op_replace, &o), M[id].ino ? 0 : -ENOENT);
	if (M[id].ino)
		M[id] = (struct entry){ .ino = ino, .key = M[id].key, .type = FS_DIR };
}

void do_rename(uint32_t from, uint32_t to, uint64_t ino)
{
	char buf[256], buf2[256];
	uint64_t key = M[to].ino ? 0 : key_expected(to, buf);
	struct op o = { .name = name_of(to, buf), .old = name_of(from, buf2), .ino = ino };
	int err = run(true, op_rename, &o);

	assert_int_equal(err, M[to].ino ? -EEXIST : !key ? -ENOSPC : M[from].ino ? 0 : -ENOENT);
	if (err)
		return;
	M[from].ino = 0;
	M[to] = (struct entry){ .ino = ino, .key = key, .type = FS_REG };
}

/* ---- checks of the whole ------------------------------------------------------------------ */

static void walk_page(struct walk *w, uint64_t n, unsigned level, uint64_t lo, uint64_t hi)
{
	const struct dir_page *p;
	const struct dir_index *x;

	assert_true(n < inode()->dir_pages && !w->seen[n]++);
	p = raw(n);
	assert_null(dir_page_verify(p));
	assert_int_equal(p->level, level);
	assert_true(p->count >= (n ? 1 : level ? 2 : 0));
	w->pages++;
	if (!level) {
		w->leaves++;
		for (uint32_t off = 0; off < p->free_start; ) {
			const struct dir_item *it = page_item(p, off);
			struct fs_name name = { .s = it->name, .len = it->name_len };

			assert_true(it->key >= lo && it->key < hi);
			assert_int_equal(it->key & ~255ULL, dir_hash(S.d.hash_key, name));
			off += item_size(it->name_len);
			w->entries++;
		}
		return;
	}
	x = page_index(p);
	for (uint32_t i = 0; i < p->count; i++) {
		uint64_t from = i ? x[i].key : lo, to = i + 1 < p->count ? x[i + 1].key : hi;

		assert_true(from >= lo && from < to && to <= hi);
		walk_page(w, x[i].page, level - 1, from, to);
	}
}

struct walk check_tree(void)
{
	struct walk w = { .seen = need(calloc(inode()->dir_pages, 1)) };

	assert_int_equal(inode()->size, inode()->dir_pages * BLOCK_SIZE);
	walk_page(&w, 0, inode()->dir_levels - 1, 0, DIR_KEY_END);
	for (uint64_t n = inode()->dir_free; n; n = raw(n - 1)->next_free) {
		assert_true(n <= inode()->dir_pages && !w.seen[n - 1]++);
		assert_null(dir_page_verify(raw(n - 1)));
		assert_int_equal(raw(n - 1)->level, DIR_LEVEL_FREE);
		w.pages++;
	}
	assert_int_equal(w.pages, inode()->dir_pages);
	assert_int_equal(w.entries, inode()->entries);
	assert_int_equal(w.entries, M_present);
	free(w.seen);
	return w;
}

uint32_t *sorted;

static int by_key(const void *a, const void *b)
{
	uint64_t x = M[*(const uint32_t *)a].key, y = M[*(const uint32_t *)b].key;

	return x < y ? -1 : x > y;
}

uint32_t sort_model(void)
{
	uint32_t n = 0;

	free(sorted);
	sorted = need(calloc(M_present + 1, sizeof(*sorted)));
	for (uint32_t i = 0; i < M_n; i++)
		if (M[i].ino)
			sorted[n++] = i;
	qsort(sorted, n, sizeof(*sorted), by_key);
	return n;
}

struct list_op { uint64_t after; uint32_t at, start, max; };

static int list_fn(void *arg, const struct dir_found *e, struct fs_name name)
{
	struct list_op *l = arg;
	char buf[256];
	uint32_t id = sorted[l->at];
	struct fs_name expect = name_of(id, buf);

	assert_true(l->at < M_present);
	assert_int_equal(e->key, M[id].key);
	assert_int_equal(e->ino, M[id].ino);
	assert_int_equal(e->type, M[id].type);
	assert_true(expect.len == name.len && !memcmp(expect.s, name.s, name.len));
	l->at++;
	return l->at - l->start == l->max ? 1 : 0;
}

static int op_list(struct dir *d, void *arg)
{
	struct list_op *l = arg;

	l->at = l->start;
	return dir_iterate(d, l->after, list_fn, l);
}

/* The list from everywhere is what the model says. */
static void check_lists(void)
{
	uint32_t n = sort_model();
	struct list_op l = { .max = UINT32_MAX };
	int err;

	assert_int_equal(n, M_present);
	assert_int_equal(run(false, op_list, &l), 0);
	assert_int_equal(l.at, n);
	for (int i = 0; i < 50; i++) {
		uint32_t at = rng_below(&S.rng, n + 1);

		if (i % 10 == 9)
			evict(1 + i % 3);
		l = (struct list_op){ .start = at, .max = 1 + rng_below(&S.rng, 40) };
		l.after = at ? M[sorted[at - 1]].key : 0;
		if (at < n && rng_one_in(&S.rng, 2) && M[sorted[at]].key - 1 > l.after)
			l.after = M[sorted[at]].key - 1;	/* a cookie of nobody */
		err = run(false, op_list, &l);
		assert_int_equal(err, l.at - l.start == l.max ? 1 : 0);
		assert_int_equal(l.at - at, l.max < n - at ? l.max : n - at);
	}
	l = (struct list_op){ .start = n, .max = 1, .after = UINT64_MAX };
	assert_int_equal(run(false, op_list, &l), 0);
	l.after = DIR_KEY_END - 1;
	assert_int_equal(run(false, op_list, &l), 0);
}

void check_all(void)
{
	check_tree();
	check_lists();
	evict(2);
	check_lists();
	for (uint32_t i = 0; i < M_n; i += 1 + rng_below(&S.rng, 1 + M_n / 500))
		lookup_check(i);
}

struct fs_name *bulk_names;
char (*bulk_bufs)[256];

void bulk_alloc(uint32_t n)
{
	bulk_names = need(calloc(n, sizeof(*bulk_names)));
	bulk_bufs = need(calloc(n, 256));
}

void bulk_release(void)
{
	free(bulk_names);
	free(bulk_bufs);
}
