/* SPDX-License-Identifier: Apache-2.0 */
/* What clients do, a step at a time. */
#include "world.h"

enum { UNSTABLE, DATA_SYNC, FILE_SYNC };

static uint64_t below(struct client *c, uint64_t n)
{
	return rng_below(&c->rng, n);
}

/* Puts an image onto a disk: large writes in a row, one COMMIT at the end. */
static void install(struct client *c)
{
	struct file *f = client_make(c);
	uint32_t size = 8 + below(c, FILE_BLOCKS - 8);

	if (!f) {
		f = client_pick(c);
		if (f)
			client_remove(c, f);
		return;
	}
	for (uint32_t b = 0; b < size && f->exists && !c->w->closing; b += 16)
		client_write(c, f, b, size - b < 16 ? size - b : 16, UNSTABLE);
	if (f->exists)
		client_commit(c, f);
	if (f->exists && below(c, 3) == 0)
		client_verify(c, f);
}

/* Small writes that are durable when they return, all over one file. */
static void database(struct client *c)
{
	struct file *f = client_pick(c);

	if (!f)
		f = client_make(c);
	for (unsigned i = 0; f && f->exists && i < 8 && !c->w->closing; i++)
		client_write(c, f, below(c, FILE_BLOCKS - 4), 1 + below(c, 4),
			     below(c, 4) ? FILE_SYNC : DATA_SYNC);
	if (f && f->exists && below(c, 6) == 0)
		client_verify(c, f);
}

/* Clones of a golden image, used, compared and thrown away. */
static void clone(struct client *c)
{
	const struct file *golden = &c->w->golden[below(c, GOLDENS)];
	struct file *f;

	if (below(c, 3) == 0)
		client_clone(c, golden, 1 + below(c, 6));
	f = client_pick(c);
	if (!f)
		return;
	switch (below(c, 4)) {
	case 0:
		client_verify(c, f);
		break;
	case 1:
		client_remove(c, f);
		break;
	case 2:
		if (c->nfs == &nfs4) {
			client_clone_into(c, f, golden);
			break;
		}
		/* fall through */
	default:
		client_write(c, f, below(c, FILE_BLOCKS - 8), 1 + below(c, 8), below(c, 3));
	}
}

/* Never commits for long; overwrites what was not committed yet. */
static void careless(struct client *c)
{
	struct file *f = client_pick(c);

	if (!f || below(c, 20) == 0)
		f = client_make(c);
	if (!f)
		return;
	for (unsigned i = 0; f->exists && i < 6 && !c->w->closing; i++)
		client_write(c, f, below(c, 12), 1 + below(c, 16), UNSTABLE);
	if (f->exists && below(c, 12) == 0)
		client_commit(c, f);
}

static void shrink(struct client *c)
{
	struct file *f = client_pick(c);

	if (!f)
		f = client_make(c);
	if (!f)
		return;
	switch (below(c, 4)) {
	case 0:
		client_truncate(c, f, below(c, FILE_BLOCKS));
		break;
	case 1:
		client_remove(c, f);
		break;
	case 2:
		client_verify(c, f);
		break;
	default:
		client_write(c, f, below(c, FILE_BLOCKS - 16), 16, below(c, 2));
	}
}

/* Names come and go. */
static void churn(struct client *c)
{
	struct file *f = client_pick(c);

	switch (below(c, 5)) {
	case 0:
		if (f)
			client_remove(c, f);
		break;
	case 1:
		if (f)
			client_rename(c, f);
		break;
	case 2:
		client_list(c);
		break;
	default:
		client_make(c);
	}
}

/* Takes and gives back ranges of a file that others want, too. */
static void lock(struct client *c)
{
	if (c->nfs == &nfs4)
		client_lock(c);
	else
		database(c);
}

/* Snapshots of files that go on changing. */
static void photograph(struct client *c)
{
	switch (below(c, 4)) {
	case 0:
		client_snapshot(c);
		break;
	case 1:
		client_look_back(c);
		break;
	case 2:
		careless(c);
		break;
	default:
		shrink(c);
	}
}

/* Writes, names and sizes, in turn. */
static void work(struct client *c)
{
	static void (*const all[])(struct client *) = { database, careless, shrink, churn };

	all[below(c, 4)](c);
}

/* Clones its directory, and works in the one and the other. */
static void plant(struct client *c)
{
	if (below(c, 6) == 0)
		client_tree(c, c->dir, NULL, work);
	else
		work(c);
}

/* Has volumes of its own, and goes back in their time. */
static void travel(struct client *c)
{
	client_travel(c, work);
}

static void everything(struct client *c)
{
	static void (*const all[])(struct client *) = { install, database, clone, careless, shrink,
							churn, photograph, lock, plant };

	all[below(c, 9)](c);
}

#define HABIT(called, fn) { .name = called, .step = fn }
const struct habit habits[] = {
	HABIT("installer", install), HABIT("database", database), HABIT("cloner", clone),
	HABIT("careless", careless), HABIT("shrinker", shrink), HABIT("churner", churn),
	HABIT("locker", lock), HABIT("photographer", photograph), HABIT("planter", plant),
	{ .name = "traveller", .step = travel, .home = HOME_OWN },
	{ .name = "tenant", .step = client_share, .home = HOME_SHARED }, HABIT("everything", everything),
};
const unsigned nhabits = sizeof(habits) / sizeof(*habits);
const struct habit *const habit_traveller = &habits[9];
