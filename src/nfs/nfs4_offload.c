/* SPDX-License-Identifier: Apache-2.0 */
/* Copies that go on in the background; see nfs4_copy.h. */
#include <assert.h>
#include <stdlib.h>
#include "base/loop.h"
#include "nfs/nfs4_copy.h"
#include "nfs/nfs4_notify.h"

#define AGAIN_NS 100000000ull

struct offload {
	struct nfs4_state *st;
	struct nfs4_client *client;	/* NULL: gone, or it cancelled this; then not in the list */
	struct list entry;		/* client's */
	unsigned refs;			/* the list's, the fiber's, the callback's */
	uint64_t id;
	struct nfs4_copy copy;
	bool running;
	struct waitq end;
	uint32_t status;
	struct fs_read *read;		/* this and BUF: while it runs */
	uint8_t *buf;
};

/* What is over may be kept for long. */
static void free_tools(struct offload *o)
{
	free(o->read);
	free(o->buf);
	o->read = NULL;
	o->buf = NULL;
}

static void put(struct offload *o, unsigned refs)
{
	o->refs -= refs;
	if (o->refs)
		return;
	free_tools(o);
	free(o);
}

/* It is the client's no longer.  Returns how many references the caller has to put for that. */
static unsigned leave(struct offload *o)
{
	if (!o->client)
		return 0;
	o->client->noffloads--;
	o->client = NULL;
	list_del(&o->entry);
	return 1;
}

/* ---- at work ------------------------------------------------------------------------- */

static void told(void *arg, bool was)
{
	struct offload *o = arg;

	put(o, 1 + (was ? leave(o) : 0));
}

static struct nfs4_stateid id_of(const struct offload *o)
{
	return (struct nfs4_stateid){ 1, o->st->boot, o->id };
}

/* Returns how many references the caller has to put. */
static unsigned tell(struct offload *o)
{
	const struct nfs4_offload news = {
		.dst = o->copy.dst, .id = id_of(o), .status = o->status, .bytes = o->copy.done,
		.committed = NFS4_FILE_SYNC, .verifier = fs_verifier(o->copy.to.fs), .done = told,
		.arg = o,
	};

	if (!o->client || o->st->stopping)
		return 1;
	o->refs++;
	return nfs4_tell_offload(o->st, o->client, &news) ? 1 : 2;
}

/* Until all is done, the client goes, or something is wrong.  Whoever has a delegation of one of the
 * files is given the time to return it. */
static int work_steps(struct offload *o)
{
	uint64_t waited_ns = 0;
	int err = 0;

	while (!err && o->copy.left && o->client && !o->st->stopping) {
		err = nfs4_copy_step(&o->copy, o->read, o->buf);
		if (!err) {
			waited_ns = 0;
			fiber_yield();
		} else if (err == -EAGAIN && waited_ns < 2 * o->st->lease_ns) {
			waited_ns += AGAIN_NS;
			loop_sleep_ns(AGAIN_NS);
			err = 0;
		}
	}
	return err;
}

static void work(void *arg)
{
	struct offload *o = arg;
	struct nfs4_copy *c = &o->copy;
	int err = work_steps(o);

	if (!err)
		err = fs_wait_stable(c->to.fs, c->to.stable_seq);
	fs_unhold(c->to.fs, c->src);
	fs_unhold(c->to.fs, c->dst);
	free_tools(o);
	o->status = nfs4_status(err);
	o->running = false;
	o->st->copies--;
	waitq_wake_all(&o->end);
	put(o, tell(o));
}

/* ---- beginning ----------------------------------------------------------------------- */

/* Room for one more: of those that are over, whose end the client hasn't heard of, the oldest goes. */
static bool make_room(struct nfs4_client *c)
{
	struct list *e;

	if (c->noffloads < NFS4_OFFLOADS_MAX)
		return true;
	list_each(e, &c->offloads) {
		struct offload *o = container_of(e, struct offload, entry);

		if (!o->running) {
			put(o, leave(o));
			return true;
		}
	}
	return false;
}

static int hold(struct nfs4_copy *c)
{
	int err = fs_hold(c->to.fs, c->src);

	if (err)
		return err;
	err = fs_hold(c->to.fs, c->dst);
	if (err)
		fs_unhold(c->to.fs, c->src);
	return err;
}

static struct offload *new_offload(struct nfs4_state *st, struct nfs4_client *c,
				   const struct nfs4_copy *copy)
{
	struct offload *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->read = malloc(sizeof(*o->read));
	o->buf = malloc(NFS4_COPY_PIECE);
	if (!o->read || !o->buf) {
		free_tools(o);
		free(o);
		return NULL;
	}
	o->st = st;
	o->client = c;
	o->id = nfs4_sid_number(st, c);
	o->copy = *copy;
	o->running = true;
	o->refs = 2;
	waitq_init(&o->end);
	list_add_tail(&c->offloads, &o->entry);
	c->noffloads++;
	st->copies++;
	return o;
}

bool nfs4_offload(struct nfs4_compound *cp, const struct nfs4_copy *copy,
		  struct nfs4_stateid *ret_id)
{
	struct nfs4_state *st = cp->st;
	struct offload *o;

	if (st->copies >= NFS4_COPIES_MAX || cp->client->dead || !make_room(cp->client))
		return false;
	o = new_offload(st, cp->client, copy);
	if (!o)
		return false;
	if (!hold(&o->copy)) {
		if (!nfs4_spawn(st, work, o, "copy")) {
			*ret_id = id_of(o);
			return true;
		}
		fs_unhold(st->server->fs, copy->src);
		fs_unhold(st->server->fs, copy->dst);
	}
	st->copies--;
	put(o, 1 + leave(o));
	return false;
}

void nfs4_offloads_drop(struct nfs4_state *st, struct nfs4_client *c)
{
	while (!list_empty(&c->offloads)) {
		struct offload *o = container_of(c->offloads.next, struct offload, entry);

		/* a step may go on for a while, when another has got the client's memory */
		o->copy.from.by = o->copy.to.by = NULL;
		put(o, leave(o));
	}
	assert(!c->noffloads);
}

/* ---- OFFLOAD_STATUS, OFFLOAD_CANCEL -------------------------------------------------- */

static struct offload *find(const struct nfs4_compound *cp, const struct nfs4_stateid *id)
{
	struct list *e;

	list_each(e, &cp->client->offloads) {
		struct offload *o = container_of(e, struct offload, entry);

		if (id->boot == cp->st->boot && id->id == o->id)
			return o;
	}
	return NULL;
}

uint32_t nfs4_offload_status(struct nfs4_compound *cp, struct nfs4_op *op)
{
	const struct offload *o = find(cp, &op->offload.id);

	if (!o)
		return NFS4ERR_BAD_STATEID;
	op->offload.count = o->copy.done;
	op->offload.complete = !o->running;
	op->offload.status = o->status;
	return NFS4_OK;
}

/* Nothing is written after it was answered. */
uint32_t nfs4_offload_cancel(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct offload *o = find(cp, &op->offload.id);

	if (!o)
		return NFS4ERR_BAD_STATEID;
	leave(o);				/* its reference is ours now */
	while (o->running)
		waitq_wait(&o->end);
	put(o, 1);
	return NFS4_OK;
}
