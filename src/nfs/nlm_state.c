/* SPDX-License-Identifier: Apache-2.0 */
/* What is remembered of the clients of NLM; see nlm.h. */
#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include "base/hash.h"
#include "nfs/nfs4_deleg.h"
#include "nfs/nlm.h"

#define IDLE_NS (NLM_IDLE_S * 1000000000ull)
#define LATE_NS (NLM_LATE_S * 1000000000ull)

void *nlm_alloc(struct nlm_state *nlm, size_t bytes)
{
	void *p = nlm->bytes + bytes > NLM_BYTES_MAX ? NULL : calloc(1, bytes);

	if (p)
		nlm->bytes += bytes;
	return p;
}

void nlm_free(struct nlm_state *nlm, void *p, size_t bytes)
{
	nlm->bytes -= bytes;
	free(p);
}

/* ---- hosts --------------------------------------------------------------------------- */

static uint64_t host_hash(const struct rpc_addr *addr, struct xdr_bytes name)
{
	return hash64_two(addr->ip, sizeof(addr->ip), name.s, name.len);
}

static bool same_ip(const struct rpc_addr *a, const struct rpc_addr *b)
{
	return !memcmp(a->ip, b->ip, sizeof(a->ip));
}

struct nlm_host *nlm_host_find(struct nlm_state *nlm, const struct rpc_addr *addr,
			       struct xdr_bytes name)
{
	struct nfs4_link *l = nfs4_table_first(&nlm->hosts, host_hash(addr, name));

	for (; l; l = nfs4_table_next(l)) {
		struct nlm_host *h = container_of(l, struct nlm_host, link);

		if (same_ip(&h->addr, addr) && h->name_len == name.len &&
		    !memcmp(h->name, name.s, name.len))
			return h;
	}
	return NULL;
}

static bool is_idle(const struct nlm_host *h)
{
	return !h->active && list_empty(&h->lockers) && list_empty(&h->shares) &&
	       list_empty(&h->blocks) && list_empty(&h->answers);
}

static void host_free(struct nlm_state *nlm, struct nlm_host *h)
{
	assert(is_idle(h) && !h->calling);
	host_forget(&h->lockd);
	nfs4_table_del(&nlm->hosts, &h->link);
	list_del(&h->entry);
	list_del(&h->calls);
	nlm_free(nlm, h, sizeof(*h) + h->name_len);
}

/* What its record is found by: its address and its name. */
struct key { uint8_t bytes[16 + NLM_STRING_MAX]; };

static struct xdr_bytes key_of(const struct nlm_host *h, struct key *k)
{
	memcpy(k->bytes, h->addr.ip, 16);
	memcpy(k->bytes + 16, h->name, h->name_len);
	return (struct xdr_bytes){ k->bytes, 16 + h->name_len };
}

uint32_t nlm_host_record(struct nlm_state *nlm, struct nlm_host *h)
{
	char note[2 * RPC_ADDR_TEXT + 1], local[RPC_ADDR_TEXT];
	uint32_t status;
	struct key k;

	if (h->recorded)
		return NFS4_OK;
	rpc_addr_text(&h->addr, note);
	rpc_addr_text(&h->local, local);
	strcat(strcat(note, " "), local);
	h->active++;
	status = nfs4_recovery_record_host(nlm->st, key_of(h, &k), note);
	h->active--;
	h->recorded = !status;
	return status;
}

bool nlm_host_may_reclaim(const struct nlm_state *nlm, const struct nlm_host *h)
{
	struct key k;

	return nfs4_recovery_host_may_reclaim(nlm->st, key_of(h, &k));
}

static void host_forget_record(struct nlm_state *nlm, struct nlm_host *h)
{
	struct key k;

	if (h->recorded)
		nfs4_recovery_forget_host(nlm->st, key_of(h, &k));
	h->recorded = false;
}

/* Of the idle hosts those unused since BEFORE_NS, MOST at most, unused for longest first. */
static void drop_idle(struct nlm_state *nlm, uint64_t before_ns, unsigned most)
{
	struct list *e, *tmp;

	list_each_safe(e, tmp, &nlm->by_use) {
		struct nlm_host *h = container_of(e, struct nlm_host, entry);

		if (h->used_ns >= before_ns || !most)
			return;
		if (!is_idle(h))
			continue;
		host_forget_record(nlm, h);
		host_free(nlm, h);
		most--;
	}
}

void nlm_sweep(struct nlm_state *nlm)
{
	uint64_t now = nfs4_now_ns(nlm->st);

	if (now > IDLE_NS)
		drop_idle(nlm, now - IDLE_NS, UINT_MAX);
}

static struct nlm_host *host_new(struct nlm_state *nlm, const struct rpc_addr *addr,
				 struct xdr_bytes name)
{
	struct nlm_host *h;

	if (nlm->hosts.n >= NLM_HOSTS_MAX)
		drop_idle(nlm, UINT64_MAX, 1);
	if (nlm->hosts.n >= NLM_HOSTS_MAX || !nfs4_table_room(&nlm->hosts))
		return NULL;
	h = nlm_alloc(nlm, sizeof(*h) + name.len);
	if (!h)
		return NULL;
	h->nlm = nlm;
	h->addr = *addr;
	h->addr.port = 0;
	h->ranges = (struct lock_quota){ .max = NLM_RANGES_MAX, .all = &nlm->st->ranges };
	list_init(&h->lockers);
	list_init(&h->shares);
	list_init(&h->blocks);
	list_init(&h->answers);
	list_init(&h->calls);
	h->name_len = name.len;
	memcpy(h->name, name.s, name.len);
	nfs4_table_add(&nlm->hosts, &h->link, host_hash(addr, name));
	list_add_tail(&nlm->by_use, &h->entry);
	return h;
}

struct nlm_host *nlm_host_get(struct nlm_state *nlm, const struct rpc_addr *addr,
			      const struct rpc_addr *local, struct xdr_bytes name)
{
	struct nlm_host *h = nlm_host_find(nlm, addr, name);

	if (!h)
		h = host_new(nlm, addr, name);
	if (!h)
		return NULL;
	h->local = *local;
	h->used_ns = nfs4_now_ns(nlm->st);
	list_del(&h->entry);
	list_add_tail(&nlm->by_use, &h->entry);
	return h;
}

/* ---- lockers ------------------------------------------------------------------------- */

static uint64_t locker_hash(const struct nlm_host *h, int32_t svid, const struct nfs4_file *f)
{
	const uintptr_t key[] = { (uintptr_t)h, (uint32_t)svid, (uintptr_t)f };

	return hash64(key, sizeof(key));
}

struct nlm_locker *nlm_locker_find(const struct nlm_state *nlm, const struct nlm_host *h,
				   int32_t svid, const struct nfs4_file *f)
{
	struct nfs4_link *l = nfs4_table_first(&nlm->lockers, locker_hash(h, svid, f));

	for (; l; l = nfs4_table_next(l)) {
		struct nlm_locker *k = container_of(l, struct nlm_locker, link);

		if (k->host == h && k->svid == svid && k->file == f)
			return k;
	}
	return NULL;
}

static struct nlm_locker *locker_new(struct nlm_state *nlm, struct nlm_host *h, int32_t svid,
				     struct xdr_bytes oh, struct nfs4_file *f)
{
	struct nlm_locker *l;

	if (!nfs4_table_room(&nlm->lockers))
		return NULL;
	l = nlm_alloc(nlm, sizeof(*l) + oh.len);
	if (!l)
		return NULL;
	l->host = h;
	l->file = f;
	l->svid = svid;
	l->since_ns = nfs4_now_ns(nlm->st);
	l->oh_len = oh.len;
	memcpy(l->oh, oh.s, oh.len);
	lock_holder_init(&l->holder, &f->locks, &h->ranges, LOCK_NLM);
	list_add_tail(&h->lockers, &l->in_host);
	nfs4_table_add(&nlm->lockers, &l->link, locker_hash(h, svid, f));
	return l;
}

struct nlm_locker *nlm_locker_get(struct nlm_state *nlm, struct nlm_host *h, int32_t svid,
				  struct xdr_bytes oh, const struct fs_id *id)
{
	struct nfs4_file *f = nfs4_file_get(nlm->st, id);
	struct nlm_locker *l = f ? nlm_locker_find(nlm, h, svid, f) : NULL;

	if (!f || l)
		return l;
	l = locker_new(nlm, h, svid, oh, f);
	if (l)
		f->nlm++;
	else
		nfs4_file_put(nlm->st, f);
	return l;
}

void nlm_locker_put(struct nlm_state *nlm, struct nlm_locker *l)
{
	struct nfs4_file *f = l->file;

	if (l->holder.nranges || l->nblocks)
		return;
	nfs4_table_del(&nlm->lockers, &l->link);
	list_del(&l->in_host);
	nlm_free(nlm, l, sizeof(*l) + l->oh_len);
	f->nlm--;
	nfs4_file_put(nlm->st, f);
}

/* ---- blocks -------------------------------------------------------------------------- */

/* The lock is his from now on; if he won't have it, he says so when he is told. */
static void freed(struct lock_waiter *w)
{
	struct nlm_block *b = container_of(w, struct nlm_block, wait);
	struct nlm_locker *l = b->locker;
	struct nlm_host *h = l->host;

	/* without memory he waits on: he asks again now and then */
	if (lock_conflict(l->holder.set, &l->holder, w->span) || lock_take(&l->holder, w->span))
		return;
	lock_wait_end(w);
	b->granted = true;
	nlm_call_host(h->nlm, h);
}

struct nlm_block *nlm_block_find(const struct nlm_locker *l, struct lock_span span)
{
	struct list *e;

	if (!l->nblocks)
		return NULL;
	list_each(e, &l->host->blocks) {
		struct nlm_block *b = container_of(e, struct nlm_block, in_host);

		if (b->locker == l && !b->gone && b->wait.span.first == span.first &&
		    b->wait.span.last == span.last && b->wait.span.write == span.write)
			return b;
	}
	return NULL;
}

int nlm_block_new(struct nlm_state *nlm, struct nlm_locker *l, const struct nlm_args *a,
		  struct lock_span span)
{
	struct nlm_block *b;

	if (l->host->nblocks >= NLM_BLOCKS_MAX)
		return -ENOSPC;
	b = nlm_alloc(nlm, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->wait = (struct lock_waiter){ .span = span, .kind = LOCK_NLM, .freed = freed };
	b->locker = l;
	b->offset = a->offset;
	b->length = a->length;
	l->nblocks++;
	l->host->nblocks++;
	list_add_tail(&l->host->blocks, &b->in_host);
	lock_wait(l->holder.set, &b->wait);
	return 0;
}

void nlm_block_end(struct nlm_state *nlm, struct nlm_block *b)
{
	struct nlm_host *h = b->locker->host;

	if (b->telling) {
		b->gone = true;			/* whoever tells it ends it */
		return;
	}
	if (!b->granted)
		lock_wait_end(&b->wait);
	list_del(&b->in_host);
	b->locker->nblocks--;
	h->nblocks--;
	nlm_free(nlm, b, sizeof(*b));
}

void nlm_blocks_end(struct nlm_state *nlm, struct nlm_locker *l, struct lock_span span)
{
	struct list *e, *tmp;

	if (!l->nblocks)
		return;
	list_each_safe(e, tmp, &l->host->blocks) {
		struct nlm_block *b = container_of(e, struct nlm_block, in_host);

		if (b->locker == l && b->wait.span.first >= span.first &&
		    b->wait.span.last <= span.last)
			nlm_block_end(nlm, b);
	}
}

/* ---- shares -------------------------------------------------------------------------- */

static struct nlm_share *share_find(const struct nlm_host *h, struct xdr_bytes oh,
				    const struct nfs4_file *f)
{
	struct list *e;

	list_each(e, &f->shares) {
		struct nlm_share *s = container_of(e, struct nlm_share, in_file);

		if (s->host == h && s->oh_len == oh.len && !memcmp(s->oh, oh.s, oh.len))
			return s;
	}
	return NULL;
}

static struct nlm_share *share_new(struct nlm_state *nlm, struct nlm_host *h, struct xdr_bytes oh,
				   struct nfs4_file *f)
{
	struct nlm_share *s = nlm_alloc(nlm, sizeof(*s) + oh.len);

	if (!s)
		return NULL;
	s->host = h;
	s->file = f;
	s->oh_len = oh.len;
	memcpy(s->oh, oh.s, oh.len);
	list_add_tail(&h->shares, &s->in_host);
	list_add_tail(&f->shares, &s->in_file);
	f->nlm++;
	return s;
}

static void share_free(struct nlm_state *nlm, struct nlm_share *s)
{
	struct nfs4_file *f = s->file;

	list_del(&s->in_host);
	list_del(&s->in_file);
	nlm_free(nlm, s, sizeof(*s) + s->oh_len);
	f->nlm--;
	nfs4_file_put(nlm->st, f);
}

bool nlm_share_conflict(const struct nfs4_file *f, const struct nlm_share *self, uint32_t access,
			uint32_t deny)
{
	struct list *e;

	list_each(e, &f->shares) {
		const struct nlm_share *s = container_of(e, struct nlm_share, in_file);

		if (s != self && (s->deny & access || s->access & deny))
			return true;
	}
	return false;
}

enum nlm_stat nlm_share(struct nlm_state *nlm, struct nlm_host *h, const struct nlm_args *a,
			const struct fs_id *id)
{
	struct nfs4_file *f = nfs4_file_find(nlm->st, id);
	struct nlm_share *s;
	uint32_t status = nfs4_open_conflict(nlm->st, f, NULL, a->access, a->mode);

	if (status)
		return status == NFS4ERR_DELAY ? NLM_DENIED_GRACE_PERIOD : NLM_DENIED;
	if (nfs4_deleg_conflict(nlm->st, id, NULL, a->access & NFS4_OPEN_WRITE || a->mode))
		return NLM_DENIED_GRACE_PERIOD;
	f = nfs4_file_get(nlm->st, id);
	if (!f)
		return NLM_DENIED_NOLOCKS;
	s = share_find(h, a->oh, f);
	if (nlm_share_conflict(f, s, a->access, a->mode)) {
		nfs4_file_put(nlm->st, f);
		return NLM_DENIED;
	}
	if (!s)
		s = share_new(nlm, h, a->oh, f);
	if (!s) {
		nfs4_file_put(nlm->st, f);
		return NLM_DENIED_NOLOCKS;
	}
	s->access = a->access;
	s->deny = a->mode;
	return NLM_GRANTED;
}

void nlm_unshare(struct nlm_state *nlm, struct nlm_host *h, const struct nlm_args *a,
		 const struct fs_id *id)
{
	struct nfs4_file *f = nfs4_file_find(nlm->st, id);
	struct nlm_share *s = f ? share_find(h, a->oh, f) : NULL;

	if (s)
		share_free(nlm, s);
}

/* ---- restarts ------------------------------------------------------------------------ */

/* Taken after the restart that brought its host into STATE. */
static bool is_later(const struct nlm_locker *l, uint32_t state, uint64_t now_ns)
{
	return state && l->state == state && now_ns - l->since_ns < LATE_NS;
}

static void release_locker(struct nlm_state *nlm, struct nlm_locker *l)
{
	nlm_blocks_end(nlm, l, (struct lock_span){ 0, UINT64_MAX, true });
	lock_holder_done(&l->holder);
	nlm_locker_put(nlm, l);
}

static void release_host(struct nlm_state *nlm, struct nlm_host *h, uint32_t state)
{
	uint64_t now_ns = nfs4_now_ns(nlm->st);
	struct list *e, *tmp;

	list_each_safe(e, tmp, &h->lockers) {
		struct nlm_locker *l = container_of(e, struct nlm_locker, in_host);

		if (!is_later(l, state, now_ns))
			release_locker(nlm, l);
	}
	while (!list_empty(&h->shares))
		share_free(nlm, container_of(h->shares.next, struct nlm_share, in_host));
	host_forget(&h->lockd);
}

/* "client" and "client.example.org" are one. */
static bool same_name(const struct nlm_host *h, struct xdr_bytes name)
{
	const uint8_t *dot = memchr(h->name, '.', h->name_len);
	const uint8_t *other = name.len ? memchr(name.s, '.', name.len) : NULL;
	uint32_t len = dot && !other ? dot - h->name : h->name_len;
	uint32_t other_len = other && !dot ? other - name.s : name.len;

	return len && len == other_len && !strncasecmp((const char *)h->name,
						       (const char *)name.s, len);
}

void nlm_host_restarted(struct nlm_state *nlm, const struct rpc_addr *addr, struct xdr_bytes name,
			uint32_t state)
{
	struct nlm_host *only = NULL;
	unsigned here = 0, named = 0;
	struct list *e;

	list_each(e, &nlm->by_use) {
		struct nlm_host *h = container_of(e, struct nlm_host, entry);

		if (!same_ip(&h->addr, addr))
			continue;
		here++;
		only = h;
		if (same_name(h, name)) {
			named++;
			release_host(nlm, h, state);
		}
	}
	if (!named && here == 1)
		release_host(nlm, only, state);
}

/* ---- all of it ----------------------------------------------------------------------- */

int nlm_state_new(struct nfs_server *s, struct nlm_state **ret_nlm)
{
	struct nlm_state *nlm = calloc(1, sizeof(*nlm));
	struct fs_status status;

	if (!nlm)
		return -ENOMEM;
	fs_status(s->fs, &status);
	nlm->server = s;
	nlm->st = s->nfs4;
	nlm->nsm_state = ((uint32_t)status.life << 1 | 1) & INT32_MAX;
	list_init(&nlm->by_use);
	list_init(&nlm->to_call);
	list_init(&nlm->notices);
	waitq_init(&nlm->work);
	nlm->call = nlm_call_by_network;
	*ret_nlm = nlm;			/* which is freed with the server */
	return nsm_init(nlm);
}

void nlm_state_stop(struct nlm_state *nlm)
{
	nlm->stop = true;
	waitq_wake_all(&nlm->work);
}

void nlm_state_free(struct nlm_state *nlm)
{
	if (!nlm)
		return;
	nlm->stop = nlm->st->ending = true;	/* files stay held: clients come back to them */
	while (!list_empty(&nlm->by_use)) {
		struct nlm_host *h = container_of(nlm->by_use.next, struct nlm_host, entry);

		release_host(nlm, h, 0);
		nlm_answers_drop(nlm, h);
		host_free(nlm, h);
	}
	assert(!nlm->bytes && !nlm->lockers.n);
	nsm_done(nlm);
	free(nlm->hosts.buckets);
	free(nlm->lockers.buckets);
	free(nlm);
}
