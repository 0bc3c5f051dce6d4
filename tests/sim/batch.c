/* SPDX-License-Identifier: Apache-2.0 */
/* See batch.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "batch.h"

struct one { struct batch *b; struct op *op; };

static void one_fn(void *arg)
{
	struct one *o = arg;
	struct answer *a = test_alloc(sizeof(*a));

	sim_exec(o->b->fs, o->op, a);
	if (!o->op->rc && o->b->wait && a->stable_seq) {
		sim_ok(fs_wait_stable(o->b->fs, a->stable_seq));
		if (o->b->acked)
			o->b->acked(o->b->arg, a->stable_seq);
	}
	free(a);
}

/*
 * Two names of one file: renaming one to the other, and linking the file to the other in place of what is
 * there, each leaves nothing to do for the other one, and come out differently.  Nobody could tell from the
 * answers which was the event.
 */
static void keep_apart(struct batch *b)
{
	bool renames = false;

	for (unsigned i = 0; i < b->n; i++)
		renames |= b->ops[i].kind == OP_RENAME;
	for (unsigned i = 0; i < b->n; i++)
		if (b->ops[i].kind == OP_LINK && renames)
			b->ops[i].replace = false;
}

/* Creations that may or may not find the file would get their creator's number: see settle. */
void batch_gen(struct batch *b, struct gen *g, unsigned n)
{
	b->n = n;
	for (unsigned i = 0; i < n; i++) {
		struct op *op = &b->ops[i];

		do {
			op_done(op);
			gen_op(g, b->m, op);
		} while (op->kind == OP_FORGET || op->kind == OP_VCREATE || op->kind == OP_VDESTROY ||
			 op->kind >= OP_SNAP);
		if (op->kind == OP_CREATE) {
			op->how = FS_CREATE_GUARDED;
			op->set.mask &= ~FS_SET_SIZE;
		}
		/* "To the end" asks where that is before the operation. */
		if (op->kind == OP_RANGE && !op->length) {
			struct mnode *src = model_find_any(b->m, op->src);

			op->length = src && src->size > op->src_offset ? src->size - op->src_offset :
				     MBLOCK;
		}
	}
	keep_apart(b);
}

static bool read_matches(struct batch *b, const struct op *op)
{
	struct mnode *n = model_find_any(b->m, op->id);
	unsigned char *buf;
	uint32_t len;
	bool same;

	if (!n || n->change != op->seq)
		return false;
	buf = test_alloc(op->len + 1);
	len = model_read(n, op->offset, op->len, buf);
	same = len == op->got && !memcmp(buf, op->data, len) &&
	       op->eof == (op->offset + len >= n->size);
	free(buf);
	return same;
}

/* Takes off the list what is right in the present state. */
static void settle_here(struct batch *b, bool *pending, uint64_t last)
{
	struct expect e;

	for (unsigned i = 0; i < b->n; i++) {
		struct op *op = &b->ops[i];

		if (!pending[i] || op->kind == OP_HOLD ||
		    (!op->rc && op->seq > last && op->kind != OP_READ))
			continue;
		model_run(b->m, op, false, &e);
		if (!expect_allows(&e, op->rc) || (!op->rc && !e.noop))
			continue;
		if (!op->rc && op->kind == OP_READ && !read_matches(b, op))
			continue;
		pending[i] = false;
	}
}

/* Whether A leaves nothing to do for B: of the same number, A is the event then. */
static bool makes_noop(struct batch *b, const struct op *a, const struct op *other)
{
	struct model *m = model_clone(b->m);
	struct expect e;

	model_run(m, a, true, &e);
	model_run(m, other, false, &e);
	model_free(m);
	return e.noop;
}

/* The change with the smallest number; of equal ones, the one that was the event. */
static struct op *settle_next(struct batch *b, bool *pending, uint64_t last)
{
	struct op *best = NULL;
	bool best_noop = false;
	struct expect e;

	for (unsigned i = 0; i < b->n; i++) {
		struct op *op = &b->ops[i];

		if (!pending[i] || op->rc || op->kind == OP_READ || op->kind == OP_HOLD ||
		    op->seq <= last)
			continue;
		model_run(b->m, op, false, &e);
		if (!best || op->seq < best->seq ||
		    (op->seq == best->seq && (best_noop || (!e.noop && makes_noop(b, op, best))))) {
			best = op;
			best_noop = e.noop;
		}
	}
	return best;
}

static void settle_fail(struct batch *b, const struct op *bad, const char *why)
{
	char text[512];

	for (unsigned i = 0; i < b->n; i++) {
		op_print(&b->ops[i], text, sizeof(text));
		fprintf(stderr, "%s %s\n", &b->ops[i] == bad ? "->" : "  ", text);
	}
	sim_fail("a batch of %u: %s", b->n, why);
}

/* Holds are no events, but it is known behind which one they came. */
static void settle_holds(struct batch *b, bool *pending, uint64_t last)
{
	struct expect e;

	for (unsigned i = 0; i < b->n; i++) {
		if (!pending[i] || b->ops[i].kind != OP_HOLD || b->ops[i].rc || b->ops[i].seq > last)
			continue;
		model_run(b->m, &b->ops[i], true, &e);
		pending[i] = false;
	}
}

static void settle(struct batch *b, uint64_t last)
{
	bool pending[BATCH_MAX];
	struct expect e;
	struct op *op;

	for (unsigned i = 0; i < b->n; i++)
		pending[i] = true;
	settle_here(b, pending, last);
	while ((op = settle_next(b, pending, last))) {
		settle_holds(b, pending, op->seq - 1);
		model_run(b->m, op, true, &e);
		if (e.nmust || e.noop)
			settle_fail(b, op, e.noop ? "nothing to do, yet an event" :
				    "succeeded against the rules");
		sim_learn(b->fs, b->m, op);
		last = op->seq;
		pending[op - b->ops] = false;
		if (b->applied)
			b->applied(b->arg, op);
		settle_here(b, pending, last);
	}
	settle_holds(b, pending, UINT64_MAX);
	for (unsigned i = 0; i < b->n; i++) {
		if (!pending[i])
			continue;
		if (b->ops[i].rc == -ENOSPC && sim_space_short(b->fs, &b->ops[i]))
			b->nospace += b->ops[i].kind != OP_ALLOCATE;
		else if (b->ops[i].rc != -E2BIG || !sim_few_refs)
			settle_fail(b, &b->ops[i], "right at no point of the order");
	}
}

void batch_run(struct batch *b)
{
	struct one ones[BATCH_MAX];
	uint64_t last = fs_last_seq(b->fs);

	b->nospace = 0;
	for (unsigned i = 0; i < b->n; i++)
		ones[i] = (struct one){ b, &b->ops[i] };
	sim_parallel(one_fn, ones, sizeof(ones[0]), b->n);
	settle(b, last);
	for (unsigned i = 0; i < b->n; i++)
		op_done(&b->ops[i]);
	b->n = 0;
}
