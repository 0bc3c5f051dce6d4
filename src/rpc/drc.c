/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Duplicate request cache; see drc.h.
 *
 * Invariants: every entry is in its bucket; entries that may go (kept or replayed, nobody
 * waiting on them) are in the lru list, least recent first, and no others are; bytes counts
 * all entries with their answers.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/fiber.h"
#include "base/list.h"
#include "rpc/drc.h"

enum state { RUNNING, KEPT, REPLAYED };

struct drc_entry {
	struct drc_entry *next;		/* in the bucket */
	struct list lru;		/* linked unless RUNNING or waited for */
	struct drc_key key;
	enum state state;
	unsigned waiters;
	struct waitq done;
	uint8_t object[DRC_OBJECT_BYTES];
	uint8_t *answer;
	uint32_t len;
};

struct drc {
	unsigned max_entries, mask;
	size_t max_bytes;
	struct list lru;
	struct drc_stats st;
	struct drc_entry *buckets[];
};

int drc_new(unsigned max_entries, size_t max_bytes, struct drc **ret_drc)
{
	unsigned n = 64;
	struct drc *d;

	while (n < max_entries && n < 1u << 20)
		n *= 2;
	d = calloc(1, sizeof(*d) + n * sizeof(d->buckets[0]));
	if (!d)
		return -ENOMEM;
	d->max_entries = max_entries;
	d->max_bytes = max_bytes;
	d->mask = n - 1;
	list_init(&d->lru);
	*ret_drc = d;
	return 0;
}

static struct drc_entry **find(struct drc *d, const struct drc_key *k)
{
	struct drc_entry **p = &d->buckets[(k->digest ^ k->xid) & d->mask];

	while (*p && ((*p)->key.digest != k->digest || (*p)->key.xid != k->xid ||
		      (*p)->key.proc != k->proc))
		p = &(*p)->next;
	return p;
}

static void drop(struct drc *d, struct drc_entry *e)
{
	struct drc_entry **p = find(d, &e->key);

	assert(*p == e && !e->waiters);
	*p = e->next;
	list_del(&e->lru);
	d->st.entries--;
	d->st.bytes -= sizeof(*e) + e->len;
	free(e->answer);
	free(e);
}

/* Makes room for BYTES and, if NEW_ENTRY, for one more; false when it can't. */
static bool make_room(struct drc *d, size_t bytes, bool new_entry)
{
	while (d->st.bytes + bytes > d->max_bytes ||
	       (new_entry && d->st.entries >= d->max_entries)) {
		if (list_empty(&d->lru))
			return false;
		drop(d, container_of(d->lru.next, struct drc_entry, lru));
		d->st.evicted++;
	}
	return true;
}

static struct drc_entry *add(struct drc *d, const struct drc_key *k, enum state state)
{
	struct drc_entry *e, **p;

	if (!make_room(d, sizeof(*e), true))
		return NULL;
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->key = *k;
	e->state = state;
	list_init(&e->lru);
	waitq_init(&e->done);
	p = find(d, k);
	e->next = *p;
	*p = e;
	d->st.entries++;
	d->st.bytes += sizeof(*e);
	return e;
}

void drc_free(struct drc *d)
{
	if (!d)
		return;
	while (!list_empty(&d->lru))
		drop(d, container_of(d->lru.next, struct drc_entry, lru));
	assert(!d->st.entries);
	free(d);
}

static void wait_for(struct drc *d, struct drc_entry *e)
{
	e->waiters++;
	d->st.waits++;
	waitq_wait(&e->done);
	e->waiters--;
	if (e->waiters || e->state == RUNNING)
		return;
	list_add_tail(&d->lru, &e->lru);
	if (e->state == KEPT && !e->answer)	/* was to be forgotten; we were the last */
		drop(d, e);
}

enum drc_answer drc_enter(struct drc *d, const struct drc_key *k, struct drc_entry **ret_entry,
			  const void **ret_object, struct iovec *ret_answer)
{
	struct drc_entry *e;

	*ret_object = NULL;
	for (;;) {
		e = *find(d, k);
		if (!e) {
			*ret_entry = add(d, k, RUNNING);
			return DRC_RUN;
		}
		if (e->state != RUNNING)
			break;
		wait_for(d, e);
	}
	d->st.hits++;
	list_del(&e->lru);
	if (e->state == KEPT && e->answer) {
		if (!e->waiters)
			list_add_tail(&d->lru, &e->lru);
		*ret_answer = (struct iovec){ e->answer, e->len };
		return DRC_KNOWN;
	}
	if (e->state == REPLAYED)
		*ret_object = e->object;
	e->state = RUNNING;
	*ret_entry = e;
	return DRC_RUN;
}

static bool keep(struct drc *d, struct drc_entry *e, const struct iovec *iov, unsigned niov)
{
	size_t len = 0, at = 0;

	for (unsigned i = 0; i < niov; i++)
		len += iov[i].iov_len;
	if (!len || len > d->max_bytes / 8 || !make_room(d, len, false))
		return false;
	e->answer = malloc(len);
	if (!e->answer)
		return false;
	for (unsigned i = 0; i < niov; i++) {
		memcpy(e->answer + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	e->len = len;
	d->st.bytes += len;
	return true;
}

void drc_leave(struct drc *d, struct drc_entry *e, const struct iovec *iov, unsigned niov)
{
	bool kept;

	if (!e)
		return;
	assert(e->state == RUNNING);
	kept = keep(d, e, iov, niov);
	e->state = KEPT;
	waitq_wake_all(&e->done);
	if (e->waiters)
		return;			/* the last of them puts it into the list, or drops it */
	list_add_tail(&d->lru, &e->lru);
	if (!kept)
		drop(d, e);
}

void drc_add_replayed(struct drc *d, const struct drc_key *k, const void *object, size_t len)
{
	struct drc_entry *e = *find(d, k);

	assert(len <= DRC_OBJECT_BYTES);
	if (e)
		return;
	e = add(d, k, REPLAYED);
	if (!e)
		return;
	memcpy(e->object, object, len);
	list_add_tail(&d->lru, &e->lru);
}

void drc_stats(const struct drc *d, struct drc_stats *ret_stats)
{
	*ret_stats = d->st;
}
