/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is sent to NLM's clients: that they have got a lock which they waited for (GRANTED), and
 * the results of the *_MSG procedures.
 *
 * A lock is taken for who waits before he is told.  He may say that he doesn't want it any more:
 * then it is let go.  If he can't be reached it is let go too, after some tries, unless he may have
 * heard of it: two can't have it.  In all these cases he finds out by asking again, as clients do.
 */
#include <stdlib.h>
#include <unistd.h>
#include "base/loop.h"
#include "nfs/nlm.h"

#define SECOND 1000000000ull
#define CALL_MS 5000			/* for each of finding the host's program and calling it */
#define TRIES 5				/* when nobody can have heard of it */
#define TRIES_HEARD 12
#define ARGS_BYTES 3072
#define NAME_MAX_BYTES 64

static const struct rpc_cred root = { .flavor = RPC_AUTH_SYS };

/* ---- one call ------------------------------------------------------------------------ */

/* On the way that worked the last time. */
int nlm_call_by_network(struct nlm_state *nlm, const struct rpc_addr *to,
			const struct rpc_addr *from, struct host_way *way,
			const struct rpc_request *q, void *buf, size_t cap, size_t *ret_len)
{
	struct rpc_server *rpc = nlm->server->rpc;
	struct host_way found;
	int err;

	if (!host_found(way)) {
		err = host_find(rpc, to, from, q->prog, q->vers, q->timeout_ms, &found);
		if (err)		/* nothing has left for the program itself */
			return err == -ESHUTDOWN ? err : -EHOSTUNREACH;
		host_forget(way);	/* another may have been found meanwhile */
		*way = found;
	}
	found = *way;				/* which may be forgotten while we call */
	if (found.tcp)
		rpc_peer_get(found.tcp);
	err = host_call(rpc, &found, from, q, buf, cap, ret_len);
	if (err)
		host_forget(way);
	rpc_peer_put(found.tcp);
	return err;
}

/* The host has certainly not got the call. */
static bool never_heard(int err)
{
	switch (err) {
	case -ENOENT: case -ECONNREFUSED: case -EHOSTUNREACH: case -ENETUNREACH: case -EBUSY:
	case -ENOMEM: case -EACCES: case -EOPNOTSUPP: case -EREMOTEIO: case -EMFILE:
		return true;
	default:
		return false;
	}
}

static int call(struct nlm_state *nlm, struct nlm_host *h, uint32_t proc, const void *args,
		size_t len, void *buf, size_t cap, size_t *ret_len)
{
	const struct rpc_request q = { NLM_PROGRAM, 4, proc, &root, args, len, CALL_MS };

	return nlm->call(nlm, &h->addr, &h->local, &h->lockd, &q, buf, cap, ret_len);
}

/* ---- GRANTED ------------------------------------------------------------------------- */

/* 0 and what he says to it. */
static int call_granted(struct nlm_state *nlm, struct nlm_block *b, uint32_t *ret_stat)
{
	const struct nlm_locker *l = b->locker;
	uint8_t args[ARGS_BYTES], reply[NLM_OBJECT_MAX + 16], handle[HANDLE_BYTES];
	char name[NAME_MAX_BYTES] = "";
	struct xdr_out out;
	struct xdr_in in;
	size_t len;
	int err;

	gethostname(name, sizeof(name) - 1);
	handle_make(nlm->server->cfg.handle_key, &l->file->id, handle);
	xdr_out_init(&out, args, sizeof(args));
	nlm_put_granted(&out, b, nlm->cookie++, name, handle);
	err = call(nlm, l->host, NLM_PROC_GRANTED, args, xdr_out_len(&out), reply, sizeof(reply),
		   &len);
	if (err)
		return err;
	xdr_in_init(&in, reply, len);
	xdr_get_opaque(&in, NLM_OBJECT_MAX);
	*ret_stat = xdr_get_u32(&in);
	return in.bad ? -EBADMSG : 0;
}

static void finish(struct nlm_state *nlm, struct nlm_block *b, bool keep)
{
	struct nlm_locker *l = b->locker;
	const struct lock_span span = b->wait.span;

	nlm_block_end(nlm, b);
	if (!keep)
		lock_release(&l->holder, span);
	nlm_locker_put(nlm, l);
}

static void again(struct nlm_state *nlm, struct nlm_block *b)
{
	if (++b->tries >= (b->maybe_told ? TRIES_HEARD : TRIES))
		finish(nlm, b, b->maybe_told);
	else
		b->due_ns = loop_now_ns() + (SECOND << (b->tries < 5 ? b->tries : 5));
}

static void tell(struct nlm_state *nlm, struct nlm_block *b)
{
	uint32_t stat = NLM_GRANTED;
	int err;

	b->telling = true;
	err = call_granted(nlm, b, &stat);
	b->telling = false;
	if (b->gone) {
		finish(nlm, b, true);		/* whoever ended it saw to the lock */
		return;
	}
	b->maybe_told |= err && !never_heard(err);
	if (err || stat == NLM_DENIED_GRACE_PERIOD)
		again(nlm, b);
	else
		finish(nlm, b, stat == NLM_GRANTED || b->maybe_told);
}

/* ---- answers to *_MSG ---------------------------------------------------------------- */

void nlm_answer_later(struct nlm_state *nlm, struct nlm_host *h, uint32_t proc,
		      const struct nlm_res *r)
{
	uint8_t args[ARGS_BYTES];
	struct nlm_answer *a;
	struct xdr_out out;
	size_t bytes;

	xdr_out_init(&out, args, sizeof(args));
	nlm_put_res(&out, r, proc == NLM_PROC_TEST_RES);
	bytes = sizeof(*a) + xdr_out_len(&out);
	if (h->nanswers >= NLM_ANSWERS_MAX || !(a = nlm_alloc(nlm, bytes)))
		return;				/* he asks again */
	a->proc = proc;
	a->len = xdr_out_len(&out);
	memcpy(a->args, args, a->len);
	list_add_tail(&h->answers, &a->entry);
	h->nanswers++;
	nlm_call_host(nlm, h);
}

static void answer_free(struct nlm_state *nlm, struct nlm_host *h, struct nlm_answer *a)
{
	list_del(&a->entry);
	h->nanswers--;
	nlm_free(nlm, a, sizeof(*a) + a->len);
}

void nlm_answers_drop(struct nlm_state *nlm, struct nlm_host *h)
{
	while (!list_empty(&h->answers))
		answer_free(nlm, h, container_of(h->answers.next, struct nlm_answer, entry));
}

/* Once: who didn't get it asks again. */
static void send_answer(struct nlm_state *nlm, struct nlm_host *h)
{
	struct nlm_answer *a = container_of(h->answers.next, struct nlm_answer, entry);
	uint8_t args[ARGS_BYTES], reply[16];
	uint32_t proc = a->proc, len = a->len;
	size_t reply_len;

	memcpy(args, a->args, len);
	answer_free(nlm, h, a);
	call(nlm, h, proc, args, len, reply, sizeof(reply), &reply_len);
}

/* ---- the fibers ---------------------------------------------------------------------- */

/* The block that is to be told first; NULL: nobody is. */
static struct nlm_block *next_block(struct nlm_host *h)
{
	struct nlm_block *first = NULL;
	struct list *e;

	list_each(e, &h->blocks) {
		struct nlm_block *b = container_of(e, struct nlm_block, in_host);

		if (b->granted && (!first || b->due_ns < first->due_ns))
			first = b;
	}
	return first;
}

static void serve_host(struct nlm_state *nlm, struct nlm_host *h)
{
	while (!nlm->stop) {
		struct nlm_block *b = next_block(h);
		uint64_t now = loop_now_ns();

		if (!list_empty(&h->answers))
			send_answer(nlm, h);
		else if (!b)
			return;
		else if (b->due_ns <= now)
			tell(nlm, b);
		else
			waitq_wait_timeout(&nlm->work, b->due_ns - now);
	}
}

static void caller(void *arg)
{
	struct nlm_state *nlm = arg;
	struct list *e;

	while (!nlm->stop && (e = list_pop(&nlm->to_call))) {
		struct nlm_host *h = container_of(e, struct nlm_host, calls);

		h->calling = true;
		h->active++;
		serve_host(nlm, h);
		h->active--;
		h->calling = false;
	}
	nlm->ncallers--;
}

void nlm_call_host(struct nlm_state *nlm, struct nlm_host *h)
{
	if (nlm->stop)
		return;
	if (h->calling) {
		waitq_wake_all(&nlm->work);
		return;
	}
	if (list_empty(&h->calls))
		list_add_tail(&nlm->to_call, &h->calls);
	if (nlm->ncallers < NLM_CALLERS_MAX && !nfs4_spawn(nlm->st, caller, nlm, "nlm caller"))
		nlm->ncallers++;
}
