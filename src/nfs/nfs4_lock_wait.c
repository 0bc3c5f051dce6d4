/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who was refused a lock that he would wait for (READW_LT, WRITEW_LT; RFC 8881 section 18.10.3
 * and 20.11), so that he can be told when it gets free.
 *
 * Being told is a hint: nothing is kept for who waits, he asks again as anybody else does.  All
 * whose lock could be had are told, those first who asked first.  Asking again keeps the place;
 * who neither asks again within a lease's time nor is told is forgotten, as is the one who asked
 * longest ago when a client waits for too much.
 */
#include <stdlib.h>
#include <string.h>
#include "nfs/nfs4_state.h"

void nfs4_waiter_free(struct nfs4_waiter *w)
{
	lock_wait_end(&w->wait);
	list_del(&w->in_client);
	w->client->nwaiters--;
	nfs4_state_give(w->st, w->client, sizeof(*w) + w->owner_len);
	free(w);
}

static bool is_of(const struct nfs4_waiter *w, struct xdr_bytes owner, const struct nfs4_file *f)
{
	return w->file == f && w->owner_len == owner.len &&
	       !memcmp(w->owner, owner.s, owner.len);
}

/* One that has waited too long is only found when it would have been told. */
static void freed(struct lock_waiter *lw)
{
	struct nfs4_waiter *w = container_of(lw, struct nfs4_waiter, wait);
	const struct xdr_bytes owner = { w->owner, w->owner_len };
	const struct nfs4_lock *l = nfs4_lock_find(w->st, w->client, owner, w->file);

	if (lock_conflict(&w->file->locks, l ? &l->holder : NULL, lw->span))
		return;
	if (w->st->notify_lock && nfs4_now_ns(w->st) - w->asked_ns <= w->st->lease_ns)
		w->st->notify_lock(w->st, w->client, &w->file->id, owner);
	nfs4_waiter_free(w);
}

/* Makes room for one more among what C waits for. */
static void drop_old(struct nfs4_state *st, struct nfs4_client *c)
{
	while (!list_empty(&c->waiters)) {
		struct nfs4_waiter *w = container_of(c->waiters.next, struct nfs4_waiter,
						     in_client);

		if (c->nwaiters < NFS4_WAITERS_MAX &&
		    nfs4_now_ns(st) - w->asked_ns <= st->lease_ns)
			break;
		nfs4_waiter_free(w);
	}
}

static struct nfs4_waiter *find(struct nfs4_client *c, struct xdr_bytes owner,
				const struct nfs4_file *f, struct lock_span s)
{
	struct list *e;

	list_each(e, &c->waiters) {
		struct nfs4_waiter *w = container_of(e, struct nfs4_waiter, in_client);

		if (is_of(w, owner, f) && w->wait.span.first == s.first &&
		    w->wait.span.last == s.last && w->wait.span.write == s.write)
			return w;
	}
	return NULL;
}

void nfs4_lock_wait(struct nfs4_state *st, struct nfs4_client *c, struct xdr_bytes owner,
		    struct nfs4_file *f, struct lock_span span)
{
	struct nfs4_waiter *w = st->notify_lock ? find(c, owner, f, span) : NULL;

	if (!st->notify_lock)
		return;
	if (w) {
		list_del(&w->in_client);
	} else {
		drop_old(st, c);
		if (!nfs4_state_take(st, c, sizeof(*w) + owner.len))
			return;		/* he asks again in any case */
		w = calloc(1, sizeof(*w) + owner.len);
		if (!w) {
			nfs4_state_give(st, c, sizeof(*w) + owner.len);
			return;
		}
		*w = (struct nfs4_waiter){
			.wait = { .span = span, .kind = LOCK_NFS4, .freed = freed },
			.st = st, .client = c, .file = f, .owner_len = owner.len,
		};
		memcpy(w->owner, owner.s, owner.len);
		lock_wait(&f->locks, &w->wait);
		c->nwaiters++;
	}
	w->asked_ns = nfs4_now_ns(st);
	list_add_tail(&c->waiters, &w->in_client);
}

void nfs4_lock_wait_end(struct nfs4_client *c, struct xdr_bytes owner, const struct nfs4_file *f,
			struct lock_span s)
{
	struct list *e, *tmp;

	list_each_safe(e, tmp, &c->waiters) {
		struct nfs4_waiter *w = container_of(e, struct nfs4_waiter, in_client);

		if (is_of(w, owner, f) && w->wait.span.first <= s.last &&
		    w->wait.span.last >= s.first)
			nfs4_waiter_free(w);
	}
}
