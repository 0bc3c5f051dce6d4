/* SPDX-License-Identifier: Apache-2.0 */
/* The page store of dir_store.h: file_page() and friends as the strictest file would have them. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "tree/tree.h"
#include "dir_store.h"

/* ---- the page store ---------------------------------------------------------------------- */

struct store S;

static const uint8_t hash_key[16] = "0123456789abcdef";

void *need(void *p)
{
	if (!p || p == MAP_FAILED) {
		perror("test_dir");
		abort();
	}
	return p;
}

void store_new(uint32_t nframes, bool guard, uint64_t seed)
{
	int fd = memfd_create("pages", 0);
	size_t len;

	S = (struct store){ .nframes = nframes, .npages = nframes,
			    .stride = guard ? 2 * BLOCK_SIZE : BLOCK_SIZE };
	len = S.stride * nframes;
	assert(fd >= 0 && !ftruncate(fd, len));
	S.rw = need(mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	S.ro = need(mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0));
	close(fd);
	for (uint32_t i = 0; guard && i < nframes; i++) {
		mprotect(frame_rw(i) + BLOCK_SIZE, BLOCK_SIZE, PROT_NONE);
		mprotect(frame_ro(i) + BLOCK_SIZE, BLOCK_SIZE, PROT_NONE);
	}
	S.free = need(calloc(nframes, sizeof(*S.free)));
	S.old = need(calloc(nframes, sizeof(*S.old)));
	S.ro_blocks = need(calloc(nframes, sizeof(struct block)));
	S.rw_blocks = need(calloc(nframes, sizeof(struct block)));
	S.pages = need(calloc(S.npages, sizeof(*S.pages)));
	S.span_owned = need(calloc(S.npages / INDEX_SLOTS + 1, sizeof(uint32_t)));
	S.span_made = need(calloc(S.npages / INDEX_SLOTS + 1, sizeof(uint32_t)));
	S.span_birth = need(calloc(S.npages / INDEX_SLOTS + 1, sizeof(uint32_t)));
	S.generation = 1;
	for (uint32_t i = nframes - 1; i >= 1; i--)
		S.free[S.nfree++] = i;
	for (uint32_t i = 0; i < nframes; i++) {
		S.ro_blocks[i].data = frame_ro(i);
		S.rw_blocks[i].data = frame_rw(i);
	}
	rng_init(&S.rng, seed);
	S.d = (struct dir){ .t = &S.t, .hash_key = hash_key };
}

void store_free(void)
{
	munmap(S.rw, S.stride * S.nframes);
	munmap(S.ro, S.stride * S.nframes);
	free(S.free);
	free(S.old);
	free(S.ro_blocks);
	free(S.rw_blocks);
	free(S.pages);
	free(S.span_owned);
	free(S.span_made);
	free(S.span_birth);
}

uint32_t frame_take(void)
{
	assert(S.nfree);
	return S.free[--S.nfree];
}

static void page_drop(struct page *p)
{
	S.old[S.nold++] = p->frame;
	p->frame = 0;
}

static bool is_missing(struct page *p)
{
	if (S.t.apply || !p->missing)
		return false;
	p->missing = false;
	S.t.missing = true;
	return true;
}

int file_page(struct txn *t, const struct inode *ino, uint64_t n, struct block **ret)
{
	struct page *p;

	if (n >= S.npages || !S.pages[n].frame) {
		assert(!t->apply);
		return -EDAMAGED;
	}
	p = &S.pages[n];
	if (is_missing(p))
		return -ERESTART_PASS;
	if (t->apply)
		assert(p->read == S.pass || p->owned == S.pass || p->made == S.pass);
	else
		p->read = S.pass;
	*ret = &S.ro_blocks[p->frame];
	return 0;
}

/*
 * As the block tree would: one index block for each 512 pages.  What was born in this generation
 * is changed in place and costs nothing; its frame is changed all the same.
 */
static struct block *own_now(struct page *p, uint64_t n)
{
	uint64_t span = n / INDEX_SLOTS;
	uint32_t f;

	assert(p->owned == S.pass || S.span_owned[span] == S.pass);
	S.used += S.span_birth[span] != S.generation;
	S.span_birth[span] = S.generation;
	if (p->frame && (p->made == S.pass || S.bench))
		return &S.rw_blocks[p->frame];
	S.used += !p->frame || p->birth != S.generation;
	p->birth = S.generation;
	f = frame_take();
	if (p->frame) {
		assert(p->owned == S.pass);
		memcpy(frame_rw(f), frame_rw(p->frame), BLOCK_SIZE);
		page_drop(p);
	} else {
		memset(frame_rw(f), 0, BLOCK_SIZE);
	}
	p->frame = f;
	p->made = S.pass;
	inode_rw()->root = 1;
	return &S.rw_blocks[f];
}

/* No page here shares a block with another. */
void txn_abandon(struct txn *t, const char *what)
{
	fprintf(stderr, "an apply pass was abandoned: %s\n", what);
	abort();
}

int file_page_own(struct txn *t, struct inode *ino, uint64_t n, struct block **ret)
{
	struct page *p;

	if (n >= S.npages) {		/* the inode is hostile: more pages than there are */
		assert(!t->apply);
		return -EDAMAGED;
	}
	p = &S.pages[n];
	if (t->apply) {
		*ret = own_now(p, n);
		return 0;
	}
	if (ino->root && is_missing(p))
		return -ERESTART_PASS;
	p->owned = S.span_owned[n / INDEX_SLOTS] = S.pass;
	if (!ino->root) {
		t->need_meta += 2;
		*ret = NULL;
		return 0;
	}
	t->need_meta += S.span_birth[n / INDEX_SLOTS] != S.generation;
	t->need_meta += !p->frame || p->birth != S.generation;
	*ret = p->frame ? &S.ro_blocks[p->frame] : NULL;
	return 0;
}

int tree_lookup_range(struct txn *t, const struct tree_root *r, uint64_t first, uint32_t count,
		      uint64_t *ret_ptrs)
{
	for (uint32_t i = 0; i < count; i++)
		ret_ptrs[i] = first + i < S.npages ? S.pages[first + i].frame : 0;
	return 0;
}

int tree_truncate(struct txn *t, struct tree_root *r, uint8_t kind, uint64_t first, uint64_t *mapped)
{
	assert(kind == TREE_FILE && !first);
	if (!t->apply) {
		S.truncated = S.pass;
		return 0;
	}
	assert(S.truncated == S.pass);
	for (uint64_t n = 0; n < S.npages; n++)
		if (S.pages[n].frame) {
			page_drop(&S.pages[n]);
			S.pages[n].made = 0;
			S.span_birth[n / INDEX_SLOTS] = 0;
		}
	*r = (struct tree_root){ 0 };
	*mapped = 0;
	return 0;
}

/* ---- transactions ------------------------------------------------------------------------ */

int run(bool modify, op_fn fn, void *arg)
{
	int err;

	for (unsigned passes = 0; ; passes++) {
		assert(passes < 100000);
		S.pass++;
		S.used = S.t.need_meta = 0;
		S.t.missing = false;
		S.d.inode = (struct inode *)inode();
		err = fn(&S.d, arg);
		assert((err == -ERESTART_PASS) <= S.t.missing);
		if (!S.t.missing)
			break;
	}
	if (err || !modify)
		return err;
	S.t.apply = true;
	S.d.inode = inode_rw();
	err = fn(&S.d, arg);
	S.t.apply = false;
	assert(!err);
	assert(S.bench || S.used <= S.t.need_meta);
	S.generation += rng_one_in(&S.rng, 8);
	while (S.nold) {
		uint32_t f = S.old[--S.nold];

		memset(frame_rw(f), 0xdb, BLOCK_SIZE);
		S.free[S.nfree++] = f;
	}
	return 0;
}

void evict(unsigned one_in)
{
	for (uint64_t n = 0; n < inode()->dir_pages; n++)
		if (rng_one_in(&S.rng, one_in))
			S.pages[n].missing = true;
}
