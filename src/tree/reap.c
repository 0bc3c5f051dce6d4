/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reap list: what was removed and still has to be taken apart.  A stack of entries (block,
 * level, kind, next child) in a tree of its own under the superblock.  A step looks at the top:
 *
 *     count above 1       -1, pop
 *     damaged             changes its place with the lowest that isn't, and is left alone
 *     no children left    free it, pop
 *     else                move some children on: leaves without children lose a pointer each,
 *                         others get an entry of their own on top (so the stack stays shallow)
 *
 * Reaping touches the list and the table only; its progress is not logged: after a crash it
 * goes on from the last checkpoint, and replay puts there again what operations dropped.
 */
#include "tree/tree_int.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"

#define PER_PAGE (BLOCK_SIZE / sizeof(struct reap_entry))
#define CHILDREN_STEP 128		/* leaves that one step lets go of */

static uint64_t entry_block(uint64_t ptr, uint8_t level, uint8_t kind)
{
	return ptr_of(ptr) | (uint64_t)level << 48 | (uint64_t)kind << 56;
}

struct page_own { struct block *page; };

static int own_slot(struct txn *t, uint64_t *slot, uint64_t index, void *arg)
{
	struct page_own *o = arg;

	return txn_own(t, slot, 0, TREE_REAP, &o->page);
}

/* The list's page INDEX for changing. */
static int own_page(struct txn *t, uint64_t index, struct block **ret)
{
	struct page_own o = { NULL };
	int err;

	t->uncounted = true;
	err = tree_modify(t, pool_reap(t->pool), TREE_REAP, index, 1, own_slot, &o, NULL);
	t->uncounted = false;
	*ret = o.page;
	return err;
}

/* What is freed of it is given back to OWNER. */
static int push_for(struct txn *t, uint64_t block, uint32_t owner)
{
	uint64_t *n = pool_reap_entries(t->pool);
	struct block *b;
	int err;

	if (!t->apply) {
		/* The first of a pass brings the top in; pages beyond it are new (admission counts). */
		if (t->need_reap++)
			return 0;
		return own_page(t, *n / PER_PAGE, &b);
	}
	err = own_page(t, *n / PER_PAGE, &b);
	if (err)
		return err;
	((struct reap_entry *)b->data)[*n % PER_PAGE] = (struct reap_entry){ block, 0, owner };
	++*n;
	pool_reap_kick(t->pool);
	return 0;
}

static int push(struct txn *t, uint64_t block)
{
	return push_for(t, block, t->owner);
}

static bool leaf_kind(uint8_t level, uint8_t kind)
{
	return !level && (kind == TREE_FILE || kind == TREE_REAP);
}

int tree_drop(struct txn *t, uint64_t ptr, uint8_t level, uint8_t kind)
{
	uint32_t refs;
	int err = txn_refs(t, ptr, &refs);

	if (err)
		return err;
	if (refs > 1 || leaf_kind(level, kind)) {
		if (!t->apply && !leaf_kind(level, kind)) {
			/* By the time of the apply pass others in the same operation may have let go. */
			err = push(t, 0);
			if (err)
				return err;
		}
		return txn_unref(t, ptr);
	}
	if (!t->apply)
		t->need_tables++;
	return push(t, entry_block(ptr, level, kind));
}

struct step {
	struct child *children;		/* INDEX_SLOTS of them */
	uint64_t block;			/* of the top entry, as it stands there */
};

static int drop_empty_slot(struct txn *t, uint64_t *slot, uint64_t index, void *arg)
{
	int err = txn_unref(t, *slot);

	if (t->apply)
		*slot = 0;
	return err;
}

/* The top entry is done with; pages that hold none any more are given back. */
static int pop(struct txn *t, uint64_t n)
{
	uint64_t left = n - 1;
	int err;

	if (t->apply)
		*pool_reap_entries(t->pool) = left;
	if (left % PER_PAGE)
		return 0;
	t->uncounted = true;
	err = tree_modify(t, pool_reap(t->pool), TREE_REAP, left / PER_PAGE, 1, drop_empty_slot, NULL, NULL);
	t->uncounted = false;
	return err;
}

/* Lets go of children of B from *NEXT on.  Stops at the first that needs an entry of its own:
 * *ret_deeper. */
static int release_children(struct txn *t, const struct child *c, unsigned n, uint32_t *next,
			    const struct child **ret_deeper)
{
	unsigned left = CHILDREN_STEP;
	int ret = 0;

	*ret_deeper = NULL;
	while (*next < n && left--) {
		const struct child *k = &c[*next];
		uint32_t refs = 0;
		int err = txn_refs(t, k->ptr, &refs);

		if (!err && refs == 1 && !leaf_kind(k->level, k->kind)) {
			if (ret)
				break;
			++*next;
			*ret_deeper = k;
			return 0;
		}
		if (!err && !t->apply && !leaf_kind(k->level, k->kind))
			err = push(t, 0);	/* an equal child may be the last by then */
		if (!err)
			err = txn_unref(t, k->ptr);
		if (err && err != -ERESTART_PASS)
			return err;
		if (err)
			ret = err;
		++*next;
	}
	return ret;
}

static int step_entry(struct txn *t, struct block *page, uint64_t n, struct child *children)
{
	struct reap_entry *top = (struct reap_entry *)page->data + (n - 1) % PER_PAGE, e = *top;
	uint8_t level = e.block >> 48 & 0xff, kind = e.block >> 56;
	const struct child *deeper;
	struct block *b;
	uint32_t refs;
	unsigned count;
	int err = txn_refs(t, e.block, &refs);

	if (err)
		return err;
	t->owner = e.owner;
	if (refs > 1 || leaf_kind(level, kind)) {
		err = pop(t, n);
		return err ? err : txn_unref(t, e.block);
	}
	err = txn_block_as(t, e.block, level, kind, &b);
	if (err)
		return err;
	count = block_children(t->pool, b, level, kind, children);
	err = release_children(t, children, count, &e.next, &deeper);
	if (err)
		return err;
	if (!t->apply) {
		/* One of these three will happen; bring in what each needs. */
		err = deeper ? push(t, 0) : 0;
		if (!err && !deeper && e.next >= count) {
			err = pop(t, n);
			if (!err)
				err = txn_unref(t, e.block);
		}
		return err;
	}
	top->next = e.next;
	if (deeper)		/* a volume table that was held is nobody's: what hangs below it is */
		return push_for(t, entry_block(deeper->ptr, deeper->level, deeper->kind),
				deeper->owner ? deeper->owner : e.owner);
	if (e.next < count)
		return 0;
	err = pop(t, n);
	return err ? err : txn_unref(t, e.block);
}

static int step(struct txn *t, void *arg)
{
	struct step *s = arg;
	uint64_t n = *pool_reap_entries(t->pool);
	struct block *page;
	int err;

	if (n <= *pool_reap_stuck(t->pool))
		return t->apply ? 0 : -ENOENT;
	s->block = 0;
	err = own_page(t, (n - 1) / PER_PAGE, &page);
	if (!err && !page)
		err = -EDAMAGED;	/* a hole in the list */
	if (err)
		return err;
	s->block = ((struct reap_entry *)page->data)[(n - 1) % PER_PAGE].block;
	return step_entry(t, page, n, s->children);
}

/* The top entry can't be taken apart: it must not keep the others.  -ENOENT: it isn't the top any more. */
static int set_aside(struct txn *t, void *arg)
{
	const struct step *s = arg;
	uint64_t *stuck = pool_reap_stuck(t->pool), top = *pool_reap_entries(t->pool) - 1;
	struct block *page, *low;
	int err, err2;

	if (top < *stuck || top == UINT64_MAX)
		return -ENOENT;
	err = own_page(t, top / PER_PAGE, &page);
	err2 = own_page(t, *stuck / PER_PAGE, &low);
	if (err || err2)
		return err ? err : err2;
	if (!page || !low)
		return -EDAMAGED;
	if (((struct reap_entry *)page->data)[top % PER_PAGE].block != s->block)
		return -ENOENT;
	if (t->apply) {
		struct reap_entry *a = (struct reap_entry *)page->data + top % PER_PAGE;
		struct reap_entry *b = (struct reap_entry *)low->data + *stuck % PER_PAGE;
		struct reap_entry e = *a;

		*a = *b;
		*b = e;
		++*stuck;
	}
	return 0;
}

int reap_step(struct pool *p)
{
	struct step s = { .children = malloc(INDEX_SLOTS * sizeof(*s.children)) };
	struct txn t;
	int err;

	if (!s.children)
		return -ENOMEM;
	txn_begin(&t, p);
	t.space = SPACE_PRIVILEGED;
	err = txn_run(&t, true, step, &s);
	txn_end(&t);
	free(s.children);
	if ((err == -EDAMAGED || err == -EIO) && s.block) {
		txn_begin(&t, p);
		t.space = SPACE_PRIVILEGED;
		err = txn_run(&t, true, set_aside, &s);
		txn_end(&t);
		return err && err != -ENOENT ? err : 1;
	}
	if (err == -ENOENT)
		return 0;
	return err ? err : 1;
}
