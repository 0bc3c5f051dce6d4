/* SPDX-License-Identifier: Apache-2.0 */
/* Steps: which snapshot goes where, what becomes of it on its way.  See model_repl.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "model_repl_int.h"
#include "repl_kit.h"

#define SNAPS_FULL 9

/* ---- on its way --------------------------------------------------------------------------------- */

static int try_send(struct mrepl *r, const struct transfer *x, const struct stream_token *token, struct stream *ret)
{
	struct send_opts o = { .volume = x->volume, .snapshot = x->now->name, .from = x->from ? x->from->name : NULL,
			       .resume = token, .mark_bytes = x->mark_bytes };
	char why[SEND_WHY];
	int rc = repl_try_send(*r->host.fs, &o, ret, why);

	sim_check(!rc == !why[0], "sending fails and says nothing, or says something and does not");
	if (rc)
		stream_free(ret);
	return rc;
}

/* LEN bytes of it. */
static int try_receive(struct mrepl *r, struct transfer *x, const struct stream *s, size_t len, bool *ret_kept,
		       struct stream_token *ret_token)
{
	struct receive *in;
	int rc;

	sim_ok(receive_open(*r->host.fs, x->target, x->force, &in));
	rc = repl_feed(in, s->data, len, rng_u64(&r->rng));
	if (!rc)
		rc = receive_finish(in);
	sim_check(!rc == !receive_why(in)[0], "receiving fails and says nothing, or is none");
	if (sim_trace)
		printf("receive %s@%s since %s into %s%s, %zu of %zu bytes -> %s %s\n", x->volume, x->now->name,
		       x->from ? x->from->name : "-", x->target, x->force ? " by force" : "", len, s->len, sim_err(rc),
		       receive_why(in));
	x->info = *receive_result(in);
	*ret_kept = receive_close(in, ret_token);
	return rc;
}

/* At most, and with all that is needed meanwhile. */
static bool is_short(const struct mrepl *r, const struct transfer *x)
{
	uint64_t need = 2000 + 20 * x->now->m->nnodes;
	struct fs_status st;

	for (uint32_t i = 0; i < x->now->m->nnodes; i++)
		if (x->now->m->nodes[i]->type == FS_REG)
			need += 2 * x->now->m->nodes[i]->content->n;
	if (sim_few_refs)
		need += 3000;
	fs_status(*r->host.fs, &st);
	return st.free_blocks + st.pending_free_blocks < st.reserved_blocks + st.held_blocks + need;
}

static void unexpected(const struct transfer *x, const struct expect *early, const struct expect *late, int rc)
{
	for (int i = 0; i < early->nmust; i++)
		fprintf(stderr, "expected %s\n", sim_err(early->must[i]));
	for (int i = 0; i < late->nmust; i++)
		fprintf(stderr, "expected %s\n", sim_err(late->must[i]));
	sim_fail("receiving %s@%s since %s into %s%s: %s", x->volume, x->now->name, x->from ? x->from->name : "-",
		 x->target, x->force ? " by force" : "", sim_err(rc));
}

enum part { WHOLE, CUT, REST };

/* What comes of a part.  Where it goes on, nothing is looked for at the beginning. */
static bool is_right(const struct expect *early, const struct expect *late, int rc, enum part part)
{
	if (rc == -EPIPE)
		return part == CUT && !early->nmust;
	if (!rc)
		return part != CUT && !early->nmust && !late->nmust;
	if (expect_allows(early, rc))
		return true;
	return expect_allows(late, rc) && (part == REST || (part == WHOLE && !early->nmust));
}

/* RC is among what may be; an error has changed nothing. */
static void check_answer(struct mrepl *r, const struct transfer *x, int rc, enum part part)
{
	struct expect early, late;

	mrepl_predict(r, x, &early, &late);
	if (rc == -ENOSPC) {		/* before something else is found in the way, too */
		sim_check(is_short(r, x), "receiving: ENOSPC, but there is room");
		r->counts.full++;
		r->host.full(r->host.arg);
	} else if ((rc == -E2BIG || rc == -EPROTO) && sim_few_refs) {
		r->counts.refused++;
	} else {
		if (!is_right(&early, &late, rc, part))
			unexpected(x, &early, &late, rc);
		r->counts.refused += rc && rc != -EPIPE;
	}
	if (rc && rng_one_in(&r->rng, 3))
		sim_compare(*r->host.fs, r->host.m, "after a stream that was not received");
}

static void arrived(struct mrepl *r, const struct transfer *x)
{
	mrepl_learn(r, x);
	sim_compare(*r->host.fs, r->host.m, "after receiving");
	*(x->from ? &r->counts.changes : &r->counts.whole) += 1;
	r->counts.forced += x->from && x->force;
}

static uint64_t below(struct mrepl *r, uint64_t n) { return rng_below(&r->rng, n); }

static void run(struct mrepl *r, enum op_kind kind, const char *volume, const char *snapshot)
{
	struct op op = { .kind = kind, .force = true };

	op.name_len = snprintf(op.name, sizeof(op.name), "%s", volume);
	op.name2_len = snprintf(op.name2, sizeof(op.name2), "%s", snapshot);
	r->host.run(r->host.arg, &op);
	op_done(&op);
}

/* ---- interrupted -------------------------------------------------------------------------------- */

/* How many marks are in the first LEN bytes as a whole. */
static unsigned marks_in(const struct stream *s, size_t len)
{
	unsigned n = 0, last = stream_records(s);

	for (unsigned i = 0; i < last && stream_record(s, i + 1) <= len; i++) {
		struct stream_head h;

		memcpy(&h, s->data + stream_record(s, i), sizeof(h));
		n += h.type == S_MARK;
	}
	return n;
}

static void give_up(struct mrepl *r, const struct transfer *x)
{
	sim_ok(unfinished_forget(*r->host.fs, x->target));
	repl_expect_none_hidden(*r->host.fs, x->target);
}

/* From TOKEN on; true: it is kept again.  Where deduplication is at work, blocks may be shared otherwise by now. */
static bool go_on(struct mrepl *r, struct transfer *x, struct stream_token *token)
{
	struct stream s;
	bool kept;
	int rc = try_send(r, x, token, &s);

	if (rc) {
		sim_check(rc == -EINVAL && r->host.dedup, "sending what is missing: %s", sim_err(rc));
		give_up(r, x);
		return false;
	}
	rc = try_receive(r, x, &s, s.len, &kept, token);
	stream_free(&s);
	check_answer(r, x, rc, REST);
	if (rc && !kept)
		repl_expect_none_hidden(*r->host.fs, x->target);
	if (!rc) {
		sim_check(!kept, "received, and kept to go on from");
		r->counts.resumed++;
		arrived(r, x);
	}
	return kept;
}

/* Meanwhile the target is changed, or comes into being. */
static void get_in_the_way(struct mrepl *r, const struct transfer *x)
{
	struct mvolume *v = model_volume(r->host.m, x->target);
	struct op op = { .kind = OP_MKDIR, .how = FS_CREATE_GUARDED };

	if (!v) {
		run(r, OP_VCREATE, x->target, "");
		return;
	}
	op.dir = v->root->id;
	op.name_len = snprintf(op.name, sizeof(op.name), "way%u", (unsigned)below(r, 1000));
	r->host.run(r->host.arg, &op);
	op_done(&op);
}

/* What came up to a mark is kept: it goes on, after a while, or is dropped. */
static void interrupted(struct mrepl *r, struct transfer *x, struct stream_token *token)
{
	bool kept = true;

	if (rng_one_in(&r->rng, 4))
		r->host.reopen(r->host.arg);
	if (rng_one_in(&r->rng, 3))
		mrepl_sweep(*r->host.fs);
	if (rng_one_in(&r->rng, 2))
		get_in_the_way(r, x);
	while (kept && !rng_one_in(&r->rng, 5)) {
		kept = go_on(r, x, token);
		if (kept && x->from)
			x->force = true;
		else if (kept && model_volume(r->host.m, x->target))
			run(r, OP_VDESTROY, x->target, "");
	}
	if (kept)
		give_up(r, x);
}

static void deliver(struct mrepl *r, struct transfer *x, const struct stream *s)
{
	size_t len = x->cut ? rng_below(&r->rng, s->len) : s->len;
	struct stream_token token;
	bool kept, marked = marks_in(s, len) > 0;
	int rc = try_receive(r, x, s, len, &kept, &token);

	if (len < stream_record(s, 1)) {
		sim_check(rc == -EPIPE && !kept, "a stream that had not begun: %s", sim_err(rc));
		return;
	}
	check_answer(r, x, rc, x->cut ? CUT : WHOLE);
	r->counts.cut += rc == -EPIPE;
	if (rc == -EPIPE)
		sim_check(kept == marked, "a stream with%s a mark is %skept", marked ? "" : "out", kept ? "" : "not ");
	if (kept)
		interrupted(r, x, &token);
	else
		repl_expect_none_hidden(*r->host.fs, x->target);
	if (!rc)
		arrived(r, x);
}

static void transfer(struct mrepl *r, struct transfer *x)
{
	struct fs_snapshot_info info;
	struct stream s;
	int rc;

	sim_ok(fs_snapshot_find(*r->host.fs, x->volume, x->now->name, &info));
	memcpy(x->uuid, info.uuid, 16);
	rc = try_send(r, x, NULL, &s);
	if (x->from && x->from->id >= x->now->id) {
		sim_check(rc == -EINVAL, "sending %s@%s since %s, which is not older: %s", x->volume, x->now->name,
			  x->from->name, sim_err(rc));
		r->counts.refused++;
		return;
	}
	sim_check(!rc, "sending %s@%s: %s", x->volume, x->now->name, sim_err(rc));
	deliver(r, x, &s);
	stream_free(&s);
}

/* ---- choosing ----------------------------------------------------------------------------------- */

static void unsnap(struct mrepl *r, const struct mfrozen *f)
{
	char volume[FS_VOLUME_NAME_MAX + 1], name[FS_VOLUME_NAME_MAX + 1];

	strcpy(volume, mrepl_volume(r->host.m, f->volume)->name);
	strcpy(name, f->name);
	run(r, OP_UNSNAP, volume, name);
}

/* Snapshots, and a volume, when there are many. */
static void make_room(struct mrepl *r)
{
	struct model *m = r->host.m;

	while (m->nsnaps >= SNAPS_FULL)
		unsnap(r, m->snaps[below(r, m->nsnaps)]);
	mrepl_forget_old(r);
}

static void destroy_one(struct mrepl *r)
{
	struct model *m = r->host.m;
	struct mvolume *v = &m->volumes[below(r, m->nvolumes)];
	char name[FS_VOLUME_NAME_MAX + 1];

	if (m->nvolumes < r->host.max_volumes || !strcmp(v->name, "main"))
		return;
	strcpy(name, v->name);
	for (uint32_t i = m->nsnaps; i-- > 0;)
		if (m->snaps[i]->volume == v->id)
			unsnap(r, m->snaps[i]);
	run(r, OP_VDESTROY, name, "");
	mrepl_forget_old(r);
}

static const struct mfrozen *some_snapshot(struct mrepl *r, uint32_t volume)
{
	const struct model *m = r->host.m;
	uint32_t at = m->nsnaps ? below(r, m->nsnaps) : 0;

	for (uint32_t i = 0; i < m->nsnaps; i++)
		if (m->snaps[(at + i) % m->nsnaps]->volume == volume)
			return m->snaps[(at + i) % m->nsnaps];
	return NULL;
}

/* A volume that has received a snapshot of another, which that still has; or one that has the same from elsewhere. */
static bool follow(struct mrepl *r, struct transfer *x)
{
	struct model *m = r->host.m;
	unsigned at = r->nknown ? below(r, r->nknown) : 0;

	for (unsigned i = 0; i < r->nknown; i++) {
		const struct known *k = &r->known[(at + i) % r->nknown];
		const struct mfrozen *copy = mrepl_snapshot(m, k->snapshot);
		bool relative = rng_one_in(&r->rng, 4);

		for (uint32_t j = 0; j < m->nsnaps; j++)
			if ((relative || m->snaps[j]->volume == k->source) && m->snaps[j] != copy &&
			    mrepl_first(r, m->snaps[j]->id) == k->first) {
				x->source = m->snaps[j]->volume;
				x->from = m->snaps[j];
				strcpy(x->target, mrepl_volume(m, copy->volume)->name);
				return true;
			}
	}
	return false;
}

static void any_name(struct mrepl *r, char *name)
{
	if (rng_one_in(&r->rng, 6))
		strcpy(name, "main");
	else
		sprintf(name, "vol%u", (unsigned)below(r, 4));
}

/* Mostly one that there is none of yet. */
static void new_name(struct mrepl *r, char *name)
{
	any_name(r, name);
	for (int i = 0; i < 20 && model_volume(r->host.m, name) && !rng_one_in(&r->rng, 12); i++)
		any_name(r, name);
}

/* Nobody has files of VOLUME open any more. */
static void let_go(struct mrepl *r, uint32_t volume)
{
	struct model *m = r->host.m;

	for (uint32_t k = m->nheld; k-- > 0;)
		if (m->held[k].volume == volume && !m->held[k].snapshot) {
			fs_unhold(*r->host.fs, m->held[k]);
			model_unhold(m, k);
		}
	sim_ok(fs_reap_all(*r->host.fs));
	mrepl_touch(r, volume);
}

static void choose_target(struct mrepl *r, struct transfer *x)
{
	struct mvolume *v = x->from ? model_volume(r->host.m, x->target) : NULL;

	if (v && !rng_one_in(&r->rng, 4))
		let_go(r, v->id);
	if (x->from && rng_one_in(&r->rng, 8)) {
		any_name(r, x->target);
	} else if (x->from && rng_one_in(&r->rng, 2)) {	/* as the refusal says */
		run(r, OP_RESTORE, x->target, mrepl_same_snapshot(r, v->id, x->from)->name);
	} else if (!x->from && rng_one_in(&r->rng, 4)) {
		x->from = some_snapshot(r, x->source);
		any_name(r, x->target);
	} else if (!x->from) {
		new_name(r, x->target);
	}
}

static void choose_snapshot(struct mrepl *r, struct transfer *x)
{
	struct model *m = r->host.m;
	char name[16];

	snprintf(name, sizeof(name), "r%u", (unsigned)below(r, 20));
	strcpy(x->volume, mrepl_volume(m, x->source)->name);
	if (!rng_one_in(&r->rng, 4))
		run(r, OP_SNAP, x->volume, name);
	x->now = model_snap(m, x->source, name);
	if (!x->now)
		x->now = some_snapshot(r, x->source);
}

/* Marks, if any, a few. */
static uint64_t choose_marks(struct mrepl *r, const struct transfer *x)
{
	uint64_t blocks = 0;

	for (uint32_t i = 0; i < x->now->m->nnodes; i++)
		if (x->now->m->nodes[i]->type == FS_REG)
			blocks += x->now->m->nodes[i]->content->n;
	return x->cut || rng_one_in(&r->rng, 4) ? 2000 + below(r, blocks * MBLOCK / 10 + 1) : 0;
}

static bool choose(struct mrepl *r, struct transfer *x)
{
	struct model *m = r->host.m;

	if (rng_one_in(&r->rng, 4) || !follow(r, x)) {
		destroy_one(r);
		x->source = m->volumes[below(r, m->nvolumes)].id;
	}
	choose_snapshot(r, x);
	if (!x->now)
		return false;
	choose_target(r, x);
	x->force = rng_one_in(&r->rng, 4);
	x->cut = rng_one_in(&r->rng, 3);
	x->mark_bytes = choose_marks(r, x);
	return x->from || m->nnodes < r->host.max_nodes || model_volume(m, x->target);
}

void mrepl_step(struct mrepl *r)
{
	struct transfer x = { 0 };

	make_room(r);
	if (choose(r, &x))
		transfer(r, &x);
}
