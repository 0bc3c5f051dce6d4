/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See names.h.  The loop's thread owns the kept answers; the lock guards only the queue towards
 * the thread that asks, which posts each answer back to the loop.
 */
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/err.h"
#include "base/fiber.h"
#include "base/list.h"
#include "base/loop.h"
#include "nfs/names.h"

#define KNOWN_S 600			/* how long an answer is believed */
#define UNKNOWN_S 30			/* that there is none: somebody may be adding him */
#define ENTRY_BYTES_MAX (1u << 20)	/* of a group with many members */

struct kept {
	bool group;
	char name[NAMES_LEN_MAX + 1];	/* empty: nothing is kept here */
	int result;			/* 0 or -ENOENT */
	uint32_t id;
	uint64_t until_s;
};

struct question {
	struct loop_msg msg;
	struct list entry;
	struct loop *loop;
	struct fiber *fiber;
	bool group, done;
	char name[NAMES_LEN_MAX + 1];
	int result;
	uint32_t id;
};

struct names {
	struct kept kept[NAMES_KEPT];
	unsigned next, waiting;
	bool started, quit;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct list queue;
};

int names_new(struct names **ret_names)
{
	struct names *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	list_init(&n->queue);
	if (pthread_mutex_init(&n->lock, NULL)) {
		free(n);
		return -ENOMEM;
	}
	if (pthread_cond_init(&n->work, NULL)) {
		pthread_mutex_destroy(&n->lock);
		free(n);
		return -ENOMEM;
	}
	*ret_names = n;
	return 0;
}

void names_free(struct names *n)
{
	if (!n)
		return;
	if (n->started) {
		pthread_mutex_lock(&n->lock);
		n->quit = true;
		pthread_cond_signal(&n->work);
		pthread_mutex_unlock(&n->lock);
		pthread_join(n->thread, NULL);
	}
	pthread_cond_destroy(&n->work);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

/* ---- asking -------------------------------------------------------------------------- */

static int ask_once(bool group, const char *name, char *buf, size_t len, uint32_t *ret_id)
{
	struct passwd pw, *found_pw = NULL;
	struct group gr, *found_gr = NULL;
	int err;

	if (group)
		err = getgrnam_r(name, &gr, buf, len, &found_gr);
	else
		err = getpwnam_r(name, &pw, buf, len, &found_pw);
	if (found_gr)
		*ret_id = gr.gr_gid;
	if (found_pw)
		*ret_id = pw.pw_uid;
	if (found_gr || found_pw)
		return 0;
	switch (err) {
	case ERANGE:
		return -ERANGE;
	case EIO: case EINTR: case EMFILE: case ENFILE: case ENOMEM: case EAGAIN:
		return -EAGAIN;
	default:			/* nobody, and it can be said in many ways */
		return -ENOENT;
	}
}

static int ask(bool group, const char *name, uint32_t *ret_id)
{
	int err = -ERANGE;

	for (size_t len = 4096; err == -ERANGE && len <= ENTRY_BYTES_MAX; len *= 4) {
		char *buf = malloc(len);

		err = buf ? ask_once(group, name, buf, len, ret_id) : -EAGAIN;
		free(buf);
	}
	return err == -ERANGE ? -ENOENT : err;
}

static void answered(struct loop_msg *m)
{
	struct question *q = container_of(m, struct question, msg);

	q->done = true;
	fiber_wake(q->fiber);
}

static void *asker(void *arg)
{
	struct names *n = arg;

	pthread_mutex_lock(&n->lock);
	while (!n->quit) {
		struct list *e = list_pop(&n->queue);
		struct question *q;

		if (!e) {
			pthread_cond_wait(&n->work, &n->lock);
			continue;
		}
		pthread_mutex_unlock(&n->lock);
		q = container_of(e, struct question, entry);
		q->result = ask(q->group, q->name, &q->id);
		loop_post(q->loop, &q->msg);
		pthread_mutex_lock(&n->lock);
	}
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

static int start(struct names *n)
{
	sigset_t all, old;
	int err;

	if (n->started)
		return 0;
	sigfillset(&all);		/* signals belong to the program's own threads */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&n->thread, NULL, asker, n);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	n->started = !err;
	return err ? -EAGAIN : 0;
}

static int ask_in_thread(struct names *n, struct question *q)
{
	if (n->waiting >= NAMES_WAITING_MAX || start(n))
		return -EAGAIN;
	q->loop = loop_self();
	q->fiber = fiber_self();
	q->msg.fn = answered;
	n->waiting++;
	pthread_mutex_lock(&n->lock);
	list_add_tail(&n->queue, &q->entry);
	pthread_cond_signal(&n->work);
	pthread_mutex_unlock(&n->lock);
	while (!q->done)
		fiber_park();
	n->waiting--;
	return q->result;
}

/* ---- what is kept -------------------------------------------------------------------- */

static uint64_t now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return ts.tv_sec;
}

static struct kept *find_kept(struct names *n, bool group, const char *name)
{
	for (int i = 0; i < NAMES_KEPT; i++) {
		struct kept *k = &n->kept[i];

		if (k->group == group && !strcmp(k->name, name))
			return k;
	}
	return NULL;
}

static void keep(struct names *n, const struct question *q)
{
	struct kept *k = find_kept(n, q->group, q->name);

	if (q->result && q->result != -ENOENT)
		return;
	if (!k)
		k = &n->kept[n->next++ % NAMES_KEPT];
	*k = (struct kept){ .group = q->group, .result = q->result, .id = q->id,
			    .until_s = now_s() + (q->result ? UNKNOWN_S : KNOWN_S) };
	memcpy(k->name, q->name, sizeof(k->name));
}

static bool number(const uint8_t *s, uint32_t len, uint32_t *ret_id)
{
	uint64_t v = 0;

	if (!len || len > 10)
		return false;
	for (uint32_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (s[i] - '0');
	}
	if (v <= UINT32_MAX)
		*ret_id = v;
	return v <= UINT32_MAX;
}

int names_find(struct names *n, bool group, const uint8_t *name, uint32_t len, uint32_t *ret_id)
{
	struct question q = { .group = group };
	const uint8_t *at = memchr(name, '@', len);
	const struct kept *k;
	bool waits = fiber_self() && loop_kind(loop_self()) != LOOP_SIM;

	if (number(name, len, ret_id))
		return 0;
	len = at ? at - name : len;
	if (!len || len > NAMES_LEN_MAX || memchr(name, 0, len))
		return -ENOENT;
	memcpy(q.name, name, len);
	k = find_kept(n, group, q.name);
	if (!k || k->until_s < now_s()) {
		q.result = waits ? ask_in_thread(n, &q) : ask(group, q.name, &q.id);
		keep(n, &q);
	} else {
		q.result = k->result;
		q.id = k->id;
	}
	if (!q.result)
		*ret_id = q.id;
	return q.result;
}
