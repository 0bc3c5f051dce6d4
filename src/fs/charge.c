/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who pays: what a transaction took and freed in the end is charged to the volume that owns it, in its reservation
 * and in what it holds; and what would be more than that may hold is refused in the load pass.
 */
#include "fs/fs_int.h"

#include "base/fiber.h"
#include "base/loop.h"

#define ROOM_NS 2000000000ull		/* then it is of others, what the reaper takes apart */
#define ROOM_STEPS 64

static void charge_reserve(struct txn *t, struct volume *v)
{
	/* Below 0 it was taken before there was a reservation. */
	if (t->net < 0 && v->charged < (uint64_t)-t->net)
		v->charged = 0;
	else
		v->charged += t->net;
	pool_hold(t->pool, v->id, volume_reserve_left(v));
}

static void charge_meter(struct fs *fs, struct txn *t, struct volume *v)
{
	struct meters *m = &fs->meters;

	v->held += t->net;
	/* Below 0 others had left it something. */
	t->recount = v->physical && (v->held < 0 || v->meter & METER_STALE);
	if (m->counting == v->id) {
		m->moved += t->net < 0 ? -t->net : t->net;
		m->regrouped |= t->regrouped;
	}
}

/* Load pass: what it has more of in the end must fit; but for deletes, which may have to copy first, and for copies
 * of what a scrub holds, which goes again. */
static int limit_check(struct txn *t, const struct volume *v)
{
	uint64_t more = t->more + (pool_held(t->pool)->ptr ? 0 : t->copied);

	if (!v->physical || more <= volume_physical_left(v) || t->replay || t->unlimited ||
	    (t->space != SPACE_ORDINARY && !t->limited))
		return 0;
	t->recount = true;
	return -EDQUOT;
}

int volume_charge(void *arg, struct txn *t)
{
	struct fs *fs = arg;
	struct volume *v;
	int err = volume_get(t, t->owner, &v);

	if (err || !volume_payer(v))
		return err == -ESTALE ? 0 : err;	/* it is gone: what it has is freed for all */
	if (!t->apply && !fs->mend)
		err = limit_check(t, v);
	if (!err)
		err = volume_slot_own(t, t->owner, &v);
	if (err || !t->apply)
		return err;
	if (v->reserve)
		charge_reserve(t, v);
	if (v->meter)
		charge_meter(fs, t, v);
	return 0;
}

/* Some steps of the reaper go first, if there is anything that it could free. */
bool meter_make_room(struct fs *fs, uint64_t *until_ns)
{
	bool any = false;

	if (!*until_ns)
		*until_ns = loop_now_ns() + ROOM_NS;
	for (unsigned i = 0; i < ROOM_STEPS && reaping(fs) && loop_now_ns() < *until_ns; i++) {
		if (pool_held(fs->pool)->ptr || reap_step(fs->pool) <= 0)
			break;
		any = true;
		fiber_yield();
	}
	return any;
}
