/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that clients lock by NFSv4.  A client holds a range from the answer to its LOCK until it sends
 * LOCKU: two must never hold the same.  It keeps what it holds over a restart of the server, if it
 * comes back in time, and loses it when it was silent for longer than a lease.
 */
#include <string.h>

#include "base/loop.h"
#include "world_nfs4.h"

#define GONE UINT32_MAX
#define S 1000000000ull
#define RANGE 4096
enum { WRITE_LT = 2, NO_GRACE = 10033, RECLAIM_BAD = 10034, EXPIRED = 10011, STALE_STATEID = 10023,
       OLD_STATEID = 10024, BAD_STATEID = 10025, ADMIN_REVOKED = 10047, IO = 5, ROFS = 30, NOSPC = 28 };

static void drop_all(struct client *c)
{
	memset(&c->locks, 0, sizeof(c->locks));
}

static bool silent(const struct client *c)
{
	return loop_now_ns() - c->renewed_ns >= LEASE_S * S;
}

/* ---- who holds what ------------------------------------------------------------------------ */

/* Could the server have given away what C believes to hold? */
static bool may_have_lost(const struct client *c)
{
	const struct world *w = c->w;

	if (silent(c) || w->tolerant)
		return true;
	if (c->locks.epoch == w->epoch)
		return c->locks.clientid != c->clientid;	/* it came back as another */
	return c->locks.epoch + 1 != w->epoch || loop_now_ns() >= w->up_ns + GRACE_S * S;
}

static void granted(struct client *c, unsigned range, bool reclaimed)
{
	struct world *w = c->w;

	for (unsigned i = 0; i < w->nclients; i++) {
		const struct client *other = &w->clients[i];

		sim_check(other == c || !other->locks.held[range] || may_have_lost(other),
			  "clients %u and %u both hold range %u", c->id, other->id, range);
	}
	c->locks.held[range] = true;
	w->locks++;
	w->reclaimed += reclaimed;
	world_tell(w, "client %u: range %u is %s", c->id, range, reclaimed ? "its own again" : "its own");
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* A stateid, with 0 for its number: the newest is meant. */
static void take_id(struct client *c, struct reply *r, uint8_t id[16])
{
	const uint8_t *p = xdr_get_fixed(&r->in, 16);

	sim_check(p, "client %u: a reply without a stateid", c->id);
	memcpy(id, p, 16);
	memset(id, 0, 4);
}

static void put_open(struct client *c, struct comp *k, bool reclaim)
{
	if (reclaim)
		comp_putfh(k, c->w->locked.fh, c->w->locked.fh_len);
	else
		comp_putfh(k, c->w->root, c->w->root_len);
	comp_op(k, OPEN);
	msg_u32(&k->m, 0);
	msg_u32(&k->m, 3 | (reclaim ? 0 : 0x400));	/* no delegation */
	msg_u32(&k->m, 0);
	msg_u64(&k->m, c->clientid);
	msg_string(&k->m, "locker");
	msg_u32(&k->m, 0);
	msg_u32(&k->m, reclaim);
	if (reclaim)
		msg_u32(&k->m, 0);
	else
		msg_string(&k->m, "locked");
}

static void put_lock(struct client *c, struct comp *k, unsigned range, bool reclaim)
{
	comp_putfh(k, c->w->locked.fh, c->w->locked.fh_len);
	comp_op(k, LOCK);
	msg_u32(&k->m, WRITE_LT);
	msg_u32(&k->m, reclaim);
	msg_u64(&k->m, range * RANGE);
	msg_u64(&k->m, RANGE);
	msg_u32(&k->m, !c->locks.have_lock);
	if (!c->locks.have_lock)
		msg_u32(&k->m, 0);
	msg_bytes(&k->m, c->locks.have_lock ? c->locks.lock_id : c->locks.open_id, 16);
	msg_u32(&k->m, 0);
	if (!c->locks.have_lock) {
		msg_u64(&k->m, c->clientid);
		msg_string(&k->m, "locks");
	}
}

static void take_lock(struct client *c, struct reply *r, unsigned range, bool reclaim)
{
	comp_result(c, r, PUTFH);
	comp_result(c, r, LOCK);
	take_id(c, r, c->locks.lock_id);
	c->locks.have_lock = true;
	granted(c, range, reclaim);
}

/* ---- after a restart --------------------------------------------------------------------------- */

/* One call of reclaiming; it must go well if the client is in time. */
static bool again(struct client *c, struct comp *k, struct reply *r, bool must)
{
	uint32_t status;

	for (;;) {
		status = comp_once(c, k, r);
		if (status != DELAY)
			break;
		reply_done(r);
		loop_sleep_ns(S / 5);
	}
	msg_free(&k->m);
	must = must && loop_now_ns() < c->w->up_ns + GRACE_S * S && status != GONE &&
	       status != BADSESSION;
	sim_check(!must || !status, "client %u is in time, and can't reclaim: %u", c->id, status);
	return !status;
}

void locks_reclaim(struct client *c)
{
	bool held[LOCK_RANGES], must, ok;
	struct reply r;
	struct comp k = { 0 };

	if (!c->locks.open || c->locks.epoch == c->w->epoch)
		return;
	/* Who has begun to reclaim in a life, and not said in time that this was all, is off the record for the next. */
	must = !c->w->tolerant && c->locks.epoch + 1 == c->w->epoch &&
	       c->w->up_ns - c->renewed_ns < LEASE_S * S &&
	       (c->complete == c->locks.epoch || c->w->lived_ns < GRACE_S * S);
	memcpy(held, c->locks.held, sizeof(held));
	put_open(c, &k, true);
	ok = again(c, &k, &r, must);
	if (ok) {
		comp_result(c, &r, PUTFH);
		comp_result(c, &r, OPEN);
		take_id(c, &r, c->locks.open_id);
		c->locks.have_lock = false;
	}
	reply_done(&r);
	for (unsigned i = 0; ok && i < LOCK_RANGES; i++) {
		if (!held[i])
			continue;
		k = (struct comp){ 0 };
		put_lock(c, &k, i, true);
		ok = again(c, &k, &r, must);
		if (ok)
			take_lock(c, &r, i, true);
		reply_done(&r);
	}
	if (!ok) {
		drop_all(c);
		return;
	}
	c->locks.epoch = c->w->epoch;
	c->locks.clientid = c->clientid;
}

/* ---- in its life ------------------------------------------------------------------------------- */

/* The call failed.  Have its stateids gone, and was that right? */
static void failed(struct client *c, struct said v, bool was_silent)
{
	bool lost = v.status == BAD_STATEID || v.status == STALE_STATEID || v.status == EXPIRED ||
		    v.status == ADMIN_REVOKED;

	if (v.status == GONE || (lost && v.restarted))
		return;				/* those of before, which it sent, are no good any more */
	sim_check((lost && (was_silent || c->w->tolerant)) ||
		  (c->w->tolerant && (v.status == IO || v.status == ROFS)),
		  "client %u: LOCK, LOCKU or OPEN answers %u", c->id, v.status);
	drop_all(c);
}

static bool open_file(struct client *c)
{
	bool was_silent = silent(c);
	struct comp k = { 0 };
	struct reply r;
	struct said v;

	if (!c->have_session)			/* its number goes into the call */
		return false;
	put_open(c, &k, false);
	v = comp_run(c, &k, &r);
	if (!v.status && !v.restarted) {
		comp_result(c, &r, PUTFH);
		comp_result(c, &r, OPEN);
		take_id(c, &r, c->locks.open_id);
		c->locks.open = true;
		c->locks.epoch = c->w->epoch;
		c->locks.clientid = c->clientid;
	} else if (v.status && !v.restarted) {
		failed(c, v, was_silent);
	}
	reply_done(&r);
	return c->locks.open;
}

static void lock(struct client *c, unsigned range)
{
	bool was_silent = silent(c);
	struct comp k = { 0 };
	struct reply r;
	struct said v;

	put_lock(c, &k, range, false);
	v = comp_run(c, &k, &r);
	if (!v.status)
		take_lock(c, &r, range, false);
	else if (v.status != DENIED)
		failed(c, v, was_silent);
	reply_done(&r);
}

static void unlock(struct client *c, unsigned range)
{
	bool was_silent = silent(c);
	struct comp k = { 0 };
	struct reply r;
	struct said v;

	c->locks.held[range] = false;
	comp_putfh(&k, c->w->locked.fh, c->w->locked.fh_len);
	comp_op(&k, LOCKU);
	msg_u32(&k.m, WRITE_LT);
	msg_u32(&k.m, 0);
	msg_bytes(&k.m, c->locks.lock_id, 16);
	msg_u64(&k.m, range * RANGE);
	msg_u64(&k.m, RANGE);
	v = comp_run(c, &k, &r);
	if (v.status)
		failed(c, v, was_silent);
	reply_done(&r);
}

void client_lock(struct client *c)
{
	unsigned range = rng_below(&c->rng, LOCK_RANGES);

	if (c->locks.open && c->locks.epoch == c->w->epoch && c->locks.clientid != c->clientid)
		drop_all(c);			/* it was silent for too long, and came back */
	if (!c->locks.open && !open_file(c))
		return;
	if (c->locks.held[range])
		unlock(c, range);
	else
		lock(c, range);
}
