/* SPDX-License-Identifier: Apache-2.0 */
/* Grace periods, and the going of clients whose lease ran out; see nfs4_recovery.h. */
#include <assert.h>
#include "base/log.h"
#include "base/loop.h"
#include "nfs/nfs4_state.h"

#define SECOND_NS 1000000000ull
#define IDLE_NS (3600 * SECOND_NS)

static enum nfs4_record_kind kind_of(const struct nfs4_client *c)
{
	return c->v40 ? NFS4_RECORD_40 : NFS4_RECORD_41;
}

static struct nfs4_record *record_of(const struct nfs4_state *st, const struct nfs4_client *c)
{
	return nfs4_record_find(st->recovery.records, kind_of(c),
				(struct xdr_bytes){ c->owner, c->owner_len });
}

static void kick(struct nfs4_recovery *rec)
{
	rec->pending = true;
	waitq_wake_one(&rec->work);
}

/* ---- clients ------------------------------------------------------------------------- */

bool nfs4_in_grace(const struct nfs4_state *st)
{
	return st->recovery.grace;
}

uint32_t nfs4_may_reclaim(const struct nfs4_state *st, const struct nfs4_client *c)
{
	const struct nfs4_record *r;

	if (!st->recovery.grace || (c->reclaimed && !c->v40))
		return NFS4ERR_NO_GRACE;
	r = record_of(st, c);
	if (!r || !r->earlier || r->state != NFS4_RECORD_KEPT)
		return NFS4ERR_NO_GRACE;
	/* another run of the same client has reclaimed all that there was */
	return r->kind == NFS4_RECORD_41 && r->current ? NFS4ERR_NO_GRACE : NFS4_OK;
}

uint32_t nfs4_check_grace(const struct nfs4_compound *cp, bool reclaim)
{
	if (reclaim)
		return nfs4_may_reclaim(cp->st, cp->client);
	/* RFC 8881 section 18.51.3: first the client says that it is done with reclaiming */
	return cp->st->recovery.grace || !cp->client->reclaimed ? NFS4ERR_GRACE : NFS4_OK;
}

void nfs4_reclaimed(struct nfs4_state *st)
{
	st->recovery.reclaimed = true;
}

static uint32_t record(struct nfs4_state *st, enum nfs4_record_kind kind, struct xdr_bytes owner,
		       const char *note)
{
	static struct log_limit limit = { .burst = 5, .interval_ns = 10 * SECOND_NS };
	int err = nfs4_record_add(st->recovery.records, kind, owner, note);

	if (err == -EAGAIN)
		return NFS4ERR_DELAY;
	if (err && err != -EROFS && log_limit_ok(&limit, NULL))
		log_warn("a client can't be put on record (%s): it will lose its locks when the "
			 "server restarts", err_text(err));
	if (st->recovery.grace)
		kick(&st->recovery);		/* it may have been the last */
	return NFS4_OK;
}

uint32_t nfs4_recovery_record(struct nfs4_state *st, struct nfs4_client *c)
{
	return record(st, kind_of(c), (struct xdr_bytes){ c->owner, c->owner_len }, NULL);
}

uint32_t nfs4_recovery_record_host(struct nfs4_state *st, struct xdr_bytes key, const char *note)
{
	return record(st, NFS4_RECORD_NLM, key, note);
}

static bool forget(struct nfs4_state *st, struct nfs4_record *r)
{
	if (!r || r->state == NFS4_RECORD_ADDING)
		return false;			/* nothing was given on its strength yet */
	nfs4_record_doom(st->recovery.records, r);
	kick(&st->recovery);
	return true;
}

bool nfs4_recovery_forget(struct nfs4_state *st, struct nfs4_client *c)
{
	return forget(st, record_of(st, c));
}

void nfs4_recovery_forget_host(struct nfs4_state *st, struct xdr_bytes key)
{
	forget(st, nfs4_record_find(st->recovery.records, NFS4_RECORD_NLM, key));
}

bool nfs4_recovery_host_may_reclaim(const struct nfs4_state *st, struct xdr_bytes key)
{
	const struct nfs4_record *r = nfs4_record_find(st->recovery.records, NFS4_RECORD_NLM, key);

	return st->recovery.grace && r && r->earlier && r->state == NFS4_RECORD_KEPT;
}

bool nfs4_client_expire(struct nfs4_state *st, struct nfs4_client *c)
{
	if (c->dead)
		return false;
	if (!c->confirmed || !nfs4_recovery_forget(st, c)) {
		nfs4_client_drop(st, c);
		return true;
	}
	nfs4_client_leave(st, c);
	list_add_tail(&st->recovery.leaving, &c->entry);
	st->recovery.nleaving++;
	return false;
}

static void release(struct nfs4_state *st, struct nfs4_client *c)
{
	list_del(&c->entry);
	st->recovery.nleaving--;
	nfs4_client_release(st, c);
}

/* What those had who are off the record is free.  While records were removed, more may have come
 * whose turn is next. */
static void release_clients(struct nfs4_state *st)
{
	struct list *e, *tmp;

	list_each_safe(e, tmp, &st->recovery.leaving) {
		struct nfs4_client *c = container_of(e, struct nfs4_client, entry);
		const struct nfs4_record *r = record_of(st, c);

		if (!r || r->state != NFS4_RECORD_DOOMED)
			release(st, c);
	}
}

static bool purge(struct nfs4_state *st)
{
	st->recovery.failed = nfs4_records_purge(st->recovery.records) != 0;
	return !st->recovery.failed;
}

/* ---- the grace period ---------------------------------------------------------------- */

static bool all_are_back(const struct nfs4_records *rs)
{
	const struct nfs4_record *r;

	for (r = nfs4_records_next(rs, NULL); r; r = nfs4_records_next(rs, r))
		if (r->earlier && (!r->current || r->kind != NFS4_RECORD_41))
			return false;
	return true;
}

static bool time_is_over(struct nfs4_state *st)
{
	struct nfs4_recovery *rec = &st->recovery;

	if (rec->ending)
		return true;
	if (nfs4_now_ns(st) < rec->end_ns)
		return false;
	if (!rec->reclaimed || rec->end_ns + SECOND_NS > rec->last_end_ns)
		return true;
	rec->reclaimed = false;
	rec->end_ns += SECOND_NS;
	return nfs4_now_ns(st) >= rec->end_ns;
}

static void doom_absent(struct nfs4_records *rs)
{
	struct nfs4_record *r;

	for (r = nfs4_records_next(rs, NULL); r; r = nfs4_records_next(rs, r))
		if (r->earlier && !r->current)
			nfs4_record_doom(rs, r);
}

static void reclaims_are_over(struct nfs4_state *st)
{
	st->recovery.grace = st->recovery.ending = false;
	fs_drop_orphans(st->server->fs);	/* nobody who had them open comes back to them */
}

static void look_at_grace(struct nfs4_state *st)
{
	struct nfs4_recovery *rec = &st->recovery;

	if (!rec->grace)
		return;
	if (!all_are_back(rec->records)) {
		if (!time_is_over(st))
			return;
		rec->ending = true;
		doom_absent(rec->records);
		if (!purge(st))
			return;			/* the next round tries again */
	}
	reclaims_are_over(st);
	log_info("the grace period is over; clients on record: %u",
		 nfs4_records_count(rec->records));
}

static void begin_grace(struct nfs4_state *st)
{
	uint64_t grace_ns = st->server->cfg.grace_s * SECOND_NS;
	struct nfs4_recovery *rec = &st->recovery;
	unsigned n = nfs4_records_count(rec->records);

	if (!n) {
		reclaims_are_over(st);
		return;
	}
	rec->grace = true;
	rec->end_ns = nfs4_now_ns(st) + grace_ns;
	rec->last_end_ns = rec->end_ns + grace_ns;
	log_info("for %u s clients may reclaim their locks; on record: %u",
		 st->server->cfg.grace_s, n);
}

/* ---- in the background --------------------------------------------------------------- */

void nfs4_recovery_run(struct nfs4_state *st)
{
	purge(st);
	release_clients(st);
	look_at_grace(st);
}

/* How long there is nothing to do, unless somebody kicks. */
static uint64_t idle_ns(const struct nfs4_state *st)
{
	const struct nfs4_recovery *rec = &st->recovery;
	uint64_t now = nfs4_now_ns(st);

	if (rec->failed)
		return SECOND_NS;
	if (!rec->grace)
		return IDLE_NS;
	return rec->end_ns > now ? rec->end_ns - now : 1;
}

static void work(void *arg)
{
	struct nfs4_state *st = arg;
	struct nfs4_recovery *rec = &st->recovery;

	while (!rec->stop) {
		if (!rec->pending)
			waitq_wait_timeout(&rec->work, idle_ns(st));
		rec->pending = false;
		nfs4_recovery_run(st);
	}
	rec->running = false;
	waitq_wake_all(&rec->ended);
}

int nfs4_recovery_start(struct nfs4_state *st)
{
	int err = fiber_spawn(work, st, "nfs4 recovery");

	if (!err)
		st->recovery.running = st->recovery.pending = true;
	return err;
}

void nfs4_recovery_stop(struct nfs4_state *st)
{
	struct nfs4_recovery *rec = &st->recovery;

	rec->stop = true;
	kick(rec);
	while (rec->running)
		waitq_wait(&rec->ended);
}

int nfs4_recovery_init(struct nfs4_state *st)
{
	struct nfs4_recovery *rec = &st->recovery;
	int err;

	list_init(&rec->leaving);
	waitq_init(&rec->work);
	waitq_init(&rec->ended);
	err = nfs4_records_open(st->server->fs, &rec->records);
	if (!err)
		begin_grace(st);
	return err;
}

void nfs4_recovery_done(struct nfs4_state *st)
{
	assert(!st->recovery.running);
	while (!list_empty(&st->recovery.leaving))
		release(st, container_of(st->recovery.leaving.next, struct nfs4_client, entry));
	nfs4_records_close(st->recovery.records);
}
