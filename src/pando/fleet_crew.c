/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same for many machines, a few at once: libvirt's calls wait, so each of a few threads
 * takes one machine after the other.  The main thread tells how far it is, and of failures.
 *
 *	next: the first machine that nobody has taken	done: how many are over
 *
 * The first failure ends it (what is under way is finished), unless told to go on.
 */
#include "pando/fleet_cmd.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CREW_MAX 64

struct crew {
	struct hosts *hosts;
	struct fleet *f;
	const struct crew_work *work;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t next, done, total, failures;
	bool stop;
	unsigned working;
	char (*why)[FLEET_WHY];			/* by machine; "" for none */
	size_t *failed;				/* machines to be told of, in order */
};

/* The next machine to be worked on; NULL: there is no more. */
static struct machine *crew_take(struct crew *w)
{
	while (!w->stop && !interrupted && w->next < w->f->n) {
		struct machine *m = &w->f->machines[w->next++];

		if (w->work->want(m))
			return m;
	}
	return NULL;
}

static int machine_work(struct crew *w, const struct machine *m, char why[FLEET_WHY])
{
	struct hv *hv = m->host < w->hosts->n ? w->hosts->at[m->host].hv : NULL;

	if (hv)
		return w->work->fn(hv, w->f, m, why);
	snprintf(why, FLEET_WHY, "has no host yet; 'pando fleet create %s' gives it one", w->f->name);
	return -ENOENT;
}

static void *crew_member(void *arg)
{
	struct crew *w = arg;
	struct machine *m;
	char why[FLEET_WHY];
	int err;

	pthread_mutex_lock(&w->lock);
	while ((m = crew_take(w))) {
		pthread_mutex_unlock(&w->lock);
		err = machine_work(w, m, why);
		pthread_mutex_lock(&w->lock);
		w->done += !err;
		if (err) {
			memcpy(w->why[w->failures], why, FLEET_WHY);
			w->failed[w->failures++] = (size_t)(m - w->f->machines);
			w->stop |= !w->work->keep_going && !w->work->to_the_end;
		}
		pthread_cond_signal(&w->changed);
	}
	w->working--;
	pthread_cond_signal(&w->changed);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* Until all have left; failures are told as they come, of those that end it only the first. */
static void crew_watch(struct crew *w)
{
	uint64_t started_ns = clock_ns();
	size_t told = 0;
	struct timespec t;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		for (; told < w->failures; told++)
			if (w->work->keep_going || !told)
				fail("%s: %s", w->f->machines[w->failed[told]].name, w->why[told]);
		progress_count(w->work->what, w->done, w->total, started_ns);
		if (!w->working)
			break;
		clock_gettime(CLOCK_REALTIME, &t);
		t.tv_sec++;
		pthread_cond_timedwait(&w->changed, &w->lock, &t);
	}
	pthread_mutex_unlock(&w->lock);
	progress_end();
}

static void crew_work(struct crew *w)
{
	pthread_t threads[CREW_MAX];
	unsigned n = 0, i, at_once = w->work->at_once;

	if (at_once > CREW_MAX)
		at_once = CREW_MAX;
	if (at_once > w->total)
		at_once = (unsigned)w->total;
	pthread_mutex_lock(&w->lock);
	for (; n < at_once; n++)
		if (pthread_create(&threads[n], NULL, crew_member, w))
			break;
	w->working = n;
	pthread_mutex_unlock(&w->lock);
	crew_watch(w);
	for (i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

int crew_run(struct hosts *h, struct fleet *f, const struct crew_work *work, uint64_t *ret_done)
{
	struct crew w = { .hosts = h, .f = f, .work = work, .lock = PTHREAD_MUTEX_INITIALIZER,
			  .changed = PTHREAD_COND_INITIALIZER };
	size_t i;

	for (i = 0; i < f->n; i++)
		w.total += work->want(&f->machines[i]);
	*ret_done = 0;
	if (!w.total)
		return DONE;
	w.why = calloc(w.total, sizeof(*w.why));
	w.failed = calloc(w.total, sizeof(*w.failed));
	if (w.why && w.failed)
		crew_work(&w);
	free(w.why);
	free(w.failed);
	*ret_done = w.done;
	if (w.done == w.total)
		return DONE;
	if (w.failures)
		return FAILED;
	return interrupted ? fail("%s: interrupted after %zu of %zu machines (%s)", f->name, w.done,
				  w.total, work->what) : fail("%s: cannot start a thread", f->name);
}
