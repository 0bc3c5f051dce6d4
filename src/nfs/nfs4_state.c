/* SPDX-License-Identifier: Apache-2.0 */
/* Clients and sessions in memory; see nfs4_state.h. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "base/loop.h"
#include "base/rng.h"
#include "nfs/nfs4_copy.h"
#include "nfs/nfs4_deleg.h"
#include "nfs/nfs4_notify.h"
#include "nfs/nfs4_v40.h"

#define TABLE_FIRST 64
#define SLOT_BYTES 256			/* of a slot beside its reply; short replies are kept anyway */

/* ---- tables -------------------------------------------------------------------------- */

static bool grow(struct nfs4_table *t)
{
	unsigned size = t->size ? t->size * 2 : TABLE_FIRST;
	struct nfs4_link **b = calloc(size, sizeof(*b));

	if (!b)
		return false;
	for (unsigned i = 0; i < t->size; i++) {
		struct nfs4_link *l;

		while ((l = t->buckets[i])) {
			t->buckets[i] = l->next;
			l->next = b[l->hash % size];
			b[l->hash % size] = l;
		}
	}
	free(t->buckets);
	t->buckets = b;
	t->size = size;
	return true;
}

bool nfs4_table_room(struct nfs4_table *t)
{
	return t->n < t->size || grow(t) || t->size;
}

void nfs4_table_add(struct nfs4_table *t, struct nfs4_link *l, uint64_t hash)
{
	assert(t->size);
	l->hash = hash;
	l->next = t->buckets[hash % t->size];
	t->buckets[hash % t->size] = l;
	t->n++;
}

void nfs4_table_del(struct nfs4_table *t, struct nfs4_link *l)
{
	struct nfs4_link **p = &t->buckets[l->hash % t->size];

	while (*p != l)
		p = &(*p)->next;
	*p = l->next;
	t->n--;
}

static struct nfs4_link *same_hash(struct nfs4_link *l, uint64_t hash)
{
	while (l && l->hash != hash)
		l = l->next;
	return l;
}

struct nfs4_link *nfs4_table_first(const struct nfs4_table *t, uint64_t hash)
{
	return t->size ? same_hash(t->buckets[hash % t->size], hash) : NULL;
}

struct nfs4_link *nfs4_table_next(const struct nfs4_link *l)
{
	return same_hash(l->next, l->hash);
}

/* ---- clients ------------------------------------------------------------------------- */

uint64_t nfs4_now_ns(const struct nfs4_state *st)
{
	return loop_now_ns() + st->skew_ns;
}

struct nfs4_client *nfs4_client_find(const struct nfs4_state *st, uint64_t id)
{
	struct nfs4_link *l;

	for (l = nfs4_table_first(&st->clients, id); l; l = nfs4_table_next(l)) {
		struct nfs4_client *c = container_of(l, struct nfs4_client, by_id);

		if (c->id == id)
			return c;
	}
	return NULL;
}

struct nfs4_principal nfs4_principal_of(const struct nfs4_compound *cp)
{
	const struct rpc_cred *c = &cp->call->cred;

	return (struct nfs4_principal){ c->flavor, c->flavor == RPC_AUTH_SYS ? c->uid : 0 };
}

bool nfs4_same_principal(struct nfs4_principal a, struct nfs4_principal b)
{
	return a.flavor == b.flavor && a.uid == b.uid;
}

struct nfs4_client *nfs4_client_by_owner(const struct nfs4_state *st, uint32_t minor,
					 struct xdr_bytes owner, bool confirmed)
{
	struct nfs4_link *l = nfs4_table_first(&st->owners_of_clients, hash64(owner.s, owner.len));

	for (; l; l = nfs4_table_next(l)) {
		struct nfs4_client *c = container_of(l, struct nfs4_client, by_owner);

		if (c->confirmed == confirmed && !c->v40 == !!minor && c->owner_len == owner.len &&
		    !memcmp(c->owner, owner.s, owner.len))
			return c;
	}
	return NULL;
}

static bool is_late(const struct nfs4_state *st, const struct nfs4_client *c)
{
	return nfs4_now_ns(st) - c->renewed_ns > st->lease_ns;
}

bool nfs4_client_expired(const struct nfs4_state *st, const struct nfs4_client *c)
{
	return !c->active && is_late(st, c);
}

void nfs4_client_renew(struct nfs4_state *st, struct nfs4_client *c)
{
	c->renewed_ns = nfs4_now_ns(st);
	if (c->dead || st->by_renewal.prev == &c->entry)
		return;
	list_del(&c->entry);
	list_add_tail(&st->by_renewal, &c->entry);
}

bool nfs4_client_has_state(const struct nfs4_client *c)
{
	return c->nopens || c->nlocks || c->ndelegs > c->nrevoked;
}

/* Drops those that never came back after EXCHANGE_ID. */
static void drop_unconfirmed(struct nfs4_state *st)
{
	struct list *e, *tmp;

	list_each_safe(e, tmp, &st->by_renewal) {
		struct nfs4_client *c = container_of(e, struct nfs4_client, entry);

		if (!is_late(st, c))
			break;
		if (!c->confirmed)
			nfs4_client_drop(st, c);
	}
}

/* The client whose lease ran out first makes room; false: of all it runs still. */
static bool drop_oldest(struct nfs4_state *st)
{
	struct list *e;

	if (st->recovery.nleaving >= NFS4_CLIENTS_MAX)
		return false;
	list_each(e, &st->by_renewal) {
		struct nfs4_client *c = container_of(e, struct nfs4_client, entry);

		if (!is_late(st, c))
			break;
		if (!c->active) {
			nfs4_client_expire(st, c);
			return true;
		}
	}
	return false;
}

bool nfs4_state_take(struct nfs4_state *st, struct nfs4_client *c, size_t bytes)
{
	/* When others have used up all, who has little still gets a little more. */
	bool little = c->bytes + bytes <= NFS4_STATE_LITTLE(st->bytes_max);
	size_t max = st->bytes_max + (little ? NFS4_STATE_RESERVE(st->bytes_max) : 0);

	if (st->bytes + bytes > max || c->bytes + bytes > st->bytes_max / 2)
		return false;
	st->bytes += bytes;
	c->bytes += bytes;
	return true;
}

void nfs4_state_give(struct nfs4_state *st, struct nfs4_client *c, size_t bytes)
{
	assert(bytes <= c->bytes && c->bytes <= st->bytes);
	st->bytes -= bytes;
	c->bytes -= bytes;
}

void nfs4_state_make_room(struct nfs4_state *st, size_t bytes)
{
	while (st->bytes + bytes > st->bytes_max && !st->recovery.nleaving && drop_oldest(st))
		;				/* one that leaves in its own time is waited for */
}

/* Of this run, and nobody's. */
static uint64_t new_id(struct nfs4_state *st)
{
	uint64_t id;

	do
		id = (uint64_t)st->boot << 32 | ++st->next_client;
	while (nfs4_client_find(st, id));
	return id;
}

static void free_client(struct nfs4_client *c)
{
	free(c->v40);
	free(c);
}

struct nfs4_client *nfs4_client_new(struct nfs4_state *st, struct nfs4_v40 *v40,
				    struct xdr_bytes owner, uint64_t verifier,
				    struct nfs4_principal p)
{
	struct nfs4_client *c;

	drop_unconfirmed(st);
	if ((st->clients.n >= NFS4_CLIENTS_MAX && !drop_oldest(st)) ||
	    !nfs4_table_room(&st->clients) || !nfs4_table_room(&st->owners_of_clients))
		return NULL;
	c = calloc(1, sizeof(*c) + owner.len);
	if (!c)
		return NULL;
	c->id = new_id(st);
	c->v40 = v40;
	c->verifier = verifier;
	c->principal = p;
	c->owner_len = owner.len;
	memcpy(c->owner, owner.s, owner.len);
	c->created.status = NFS4ERR_SEQ_MISORDERED;
	list_init(&c->sessions);
	list_init(&c->opens);
	list_init(&c->offloads);
	list_init(&c->waiters);
	nfs4_cbs_init(&c->cbs, st);
	c->ranges = (struct lock_quota){ .max = NFS4_LOCKS_MAX, .all = &st->ranges };
	list_init(&c->delegs);
	list_add_tail(&st->by_renewal, &c->entry);
	nfs4_table_add(&st->clients, &c->by_id, c->id);
	nfs4_table_add(&st->owners_of_clients, &c->by_owner, hash64(owner.s, owner.len));
	c->renewed_ns = nfs4_now_ns(st);
	return c;
}

void nfs4_client_leave(struct nfs4_state *st, struct nfs4_client *c)
{
	c->dead = true;
	nfs4_offloads_drop(st, c);
	while (!list_empty(&c->waiters))
		nfs4_waiter_free(container_of(c->waiters.next, struct nfs4_waiter, in_client));
	nfs4_cbs_drop(st, c);
	nfs4_owners_drop(st, c);
	while (!list_empty(&c->sessions))
		nfs4_session_drop(st, container_of(c->sessions.next, struct nfs4_session, entry));
	nfs4_table_del(&st->clients, &c->by_id);
	nfs4_table_del(&st->owners_of_clients, &c->by_owner);
	list_del(&c->entry);
}

void nfs4_client_idle(struct nfs4_client *c)
{
	if (c->released && !c->active && !c->cbs.running)
		free_client(c);
}

void nfs4_client_release(struct nfs4_state *st, struct nfs4_client *c)
{
	while (!list_empty(&c->opens))
		nfs4_open_free(st, container_of(c->opens.next, struct nfs4_open, in_client));
	nfs4_delegs_drop(st, c);
	c->released = true;
	nfs4_client_idle(c);
}

void nfs4_client_drop(struct nfs4_state *st, struct nfs4_client *c)
{
	if (c->dead)
		return;
	nfs4_client_leave(st, c);
	nfs4_client_release(st, c);
}

void nfs4_client_get(struct nfs4_client *c)
{
	c->active++;
}

void nfs4_client_put(struct nfs4_state *st, struct nfs4_client *c)
{
	assert(c->active);
	c->active--;
	nfs4_client_idle(c);
}

/* ---- sessions ------------------------------------------------------------------------ */

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static size_t session_bytes(const struct nfs4_channel *ch)
{
	return (size_t)ch->max_slots * (ch->max_cached + SLOT_BYTES);
}

/* What the client asked for, brought down to what it can have: no session takes more than a
 * sixteenth of what is left for cached replies. */
static bool limit_channel(struct nfs4_state *st, struct nfs4_channel *ch)
{
	size_t left = NFS4_CACHED_ALL - st->cached_bytes;

	ch->header_pad = 0;
	ch->max_request = least(ch->max_request, NFS4_MESSAGE_MAX);
	ch->max_response = least(ch->max_response, NFS4_MESSAGE_MAX);
	ch->max_cached = least(least(ch->max_cached, NFS4_CACHED_MAX), ch->max_response);
	ch->max_ops = least(ch->max_ops, NFS4_OPS_MAX);
	ch->max_slots = least(ch->max_slots, NFS4_SLOTS_MAX);
	while (ch->max_slots > 1 && session_bytes(ch) > left / 16)
		ch->max_slots /= 2;
	return session_bytes(ch) <= left;
}

uint32_t nfs4_session_new(struct nfs4_state *st, struct nfs4_client *c, struct nfs4_channel *fore,
			  struct nfs4_session **ret_session)
{
	struct nfs4_session *s;
	uint64_t hash;

	if (c->nsessions >= NFS4_SESSIONS_MAX)
		return NFS4ERR_NOSPC;
	while (!limit_channel(st, fore))
		if (!drop_oldest(st))
			return NFS4ERR_DELAY;
	if (!nfs4_table_room(&st->sessions))
		return NFS4ERR_DELAY;
	s = calloc(1, sizeof(*s) + fore->max_slots * sizeof(s->slots[0]));
	if (!s)
		return NFS4ERR_DELAY;
	s->client = c;
	s->fore = *fore;
	memcpy(s->id, &c->id, 8);		/* unique, and not to be guessed */
	secure_random(s->id + 8, 8);
	memcpy(&hash, s->id + 8, 8);
	nfs4_table_add(&st->sessions, &s->link, hash);
	list_add_tail(&c->sessions, &s->entry);
	c->nsessions++;
	st->cached_bytes += session_bytes(fore);
	*ret_session = s;
	return NFS4_OK;
}

struct nfs4_session *nfs4_session_find(const struct nfs4_state *st, const uint8_t *id)
{
	struct nfs4_link *l;
	uint64_t hash;

	memcpy(&hash, id + 8, 8);
	for (l = nfs4_table_first(&st->sessions, hash); l; l = nfs4_table_next(l)) {
		struct nfs4_session *s = container_of(l, struct nfs4_session, link);

		if (!memcmp(s->id, id, NFS4_SESSION_ID))
			return s;
	}
	return NULL;
}

static void free_if_done(struct nfs4_session *s)
{
	if (!s->dead || s->active || s->calls)
		return;
	for (uint32_t i = 0; i < s->fore.max_slots; i++)
		free(s->slots[i].reply);
	free(s);
}

void nfs4_session_drop(struct nfs4_state *st, struct nfs4_session *s)
{
	nfs4_table_del(&st->sessions, &s->link);
	list_del(&s->entry);
	s->client->nsessions--;
	st->cached_bytes -= session_bytes(&s->fore);
	s->dead = true;
	nfs4_back_done(&s->back);
	free_if_done(s);
}

void nfs4_session_put(struct nfs4_state *st, struct nfs4_session *s)
{
	assert(s->active);
	s->active--;
	free_if_done(s);
}

void nfs4_session_called(struct nfs4_state *st, struct nfs4_session *s)
{
	assert(s->calls);
	s->calls--;
	free_if_done(s);
}

/* ---- work in the background ---------------------------------------------------------- */

struct spawned { struct nfs4_state *st; void (*fn)(void *arg); void *arg; };

static void run_spawned(void *arg)
{
	struct spawned *s = arg;
	struct nfs4_state *st = s->st;

	s->fn(s->arg);
	free(s);
	st->spawned--;
	waitq_wake_all(&st->spawned_end);
}

int nfs4_spawn(struct nfs4_state *st, void (*fn)(void *arg), void *arg, const char *name)
{
	struct spawned *s;
	int err;

	if (st->stopping || st->spawned >= NFS4_SPAWNED_MAX || !loop_self())
		return -EAGAIN;
	s = malloc(sizeof(*s));
	if (!s)
		return -EAGAIN;
	*s = (struct spawned){ st, fn, arg };
	err = fiber_spawn(run_spawned, s, name);
	if (err) {
		free(s);
		return -EAGAIN;
	}
	st->spawned++;
	return 0;
}

void nfs4_state_stop(struct nfs4_state *st)
{
	st->stopping = true;
	nfs4_callbacks_stop(st);
	while (st->spawned)
		waitq_wait(&st->spawned_end);
}

/* ---- all of it ----------------------------------------------------------------------- */

int nfs4_state_new(struct nfs_server *s, struct nfs4_state **ret_state)
{
	struct nfs4_state *st = calloc(1, sizeof(*st));
	int err;

	if (!st)
		return -ENOMEM;
	st->server = s;
	st->lease_ns = s->cfg.lease_s * 1000000000ull;
	st->started_ns = loop_realtime_ns();
	do
		secure_random(&st->boot, sizeof(st->boot));
	while (!st->boot || st->boot == UINT32_MAX);	/* the special stateids' */
	st->notify_lock = nfs4_notify_lock;
	st->ranges.max = NFS4_RANGES_ALL;
	st->bytes_max = NFS4_STATE_BYTES;
	list_init(&st->by_renewal);
	waitq_init(&st->spawned_end);
	waitq_init(&st->senders_gone);
	waitq_init(&st->delegs_changed);
	list_init(&st->idle_owners);
	err = nfs4_recovery_init(st);
	if (err) {
		free(st);
		return err;
	}
	*ret_state = st;
	return 0;
}

void nfs4_state_free(struct nfs4_state *st)
{
	if (!st)
		return;
	st->ending = true;
	nfs4_recovery_done(st);
	while (!list_empty(&st->by_renewal))
		nfs4_client_drop(st, container_of(st->by_renewal.next, struct nfs4_client, entry));
	assert(!st->sids.n && !st->files.n && !st->owners.n && !st->sessions.n);
	free(st->clients.buckets);
	free(st->owners_of_clients.buckets);
	free(st->sessions.buckets);
	free(st->sids.buckets);
	free(st->pairs.buckets);
	free(st->owners.buckets);
	free(st->files.buckets);
	free(st);
}
