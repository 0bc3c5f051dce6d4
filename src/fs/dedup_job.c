/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deduplication in the background: for each part of the range of CRCs, a walk over the volume that finds
 * candidates, and then, in the order of their files, each is compared with its leader and moved to it.
 * Where it stands is kept in the pool: after a restart it goes on with the part that it was at.
 */
#include "fs/dedup.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/log.h"
#include "base/loop.h"
#include "fs/job_state.h"

#define CRCS (1ull << 32)
#define WAIT_NS 200000000ull

bool dedup_interrupted(const void *job)
{
	return ((const struct dedup_job *)job)->stop;
}

int dedup_wait(struct dedup_job *j)
{
	loop_sleep_ns(WAIT_NS);
	return j->stop ? -EINTR : 0;
}

/* ---- candidates ------------------------------------------------------------------------------ */

static int run_op(struct dedup_job *j, struct dedup_op *o)
{
	struct fs_req req;
	int err;

	fs_req_admin(&req, j->fs);
	o->req = &req;
	do {
		o->compared = 0;
		o->why = DEDUP_NOTHING;
		err = fs_run(&req, SPACE_DELETE, true, false, do_dedup, o);
	} while (err == -EBUSY && !(err = dedup_wait(j)));
	o->req = NULL;
	j->st.compared_bytes += (o->src.ino ? 2ull : 1ull) * o->compared * BLOCK_SIZE;
	if (!err) {
		j->st.freed_bytes += (uint64_t)o->freed * BLOCK_SIZE;
		if (!o->src.ino)
			j->st.zero_bytes += (uint64_t)o->freed * BLOCK_SIZE;
		j->fs->dedup_counts.freed_blocks += o->freed;
		o->why = DEDUP_DONE;
	}
	return err == DONE ? 0 : err;
}

/* Candidate C and leader K; what came of it is in o->why. */
static int try(struct dedup_job *j, struct dedup_op *o, const struct dedup_candidate *c, uint32_t k)
{
	const struct dedup_leader *l = k == LEADER_NONE ? NULL : &j->leaders[k];
	int err;

	*o = (struct dedup_op){ .now = fs_now(), .max = DEDUP_RUN, .dst_at = c->index };
	o->dst = (struct fs_id){ .volume = j->st.volume_id, .ino = c->ino };
	if (l) {
		o->src = (struct fs_id){ .volume = j->st.volume_id, .ino = l->ino };
		o->src_at = l->index;
	}
	err = run_op(j, o);
	pace_by(&j->pace, j->st.rate, (2ull * o->compared + 1) * BLOCK_SIZE, dedup_interrupted, j);
	if (err == -EIO || err == -EDAMAGED) {
		if (pool_readonly(j->fs->pool))
			return -EROFS;
		j->st.unreadable++;
		o->why = DEDUP_NOTHING;
		err = 0;
	}
	return err;
}

static int candidate(struct dedup_job *j, struct dedup_op *o, const struct dedup_candidate *c)
{
	uint32_t k = c->leader;
	int err = try(j, o, c, k);

	while (!err && k != LEADER_NONE && (o->why == DEDUP_DIFFERS || o->why == DEDUP_FULL)) {
		j->st.differing += o->why == DEDUP_DIFFERS;
		k = dedup_next_leader(j, k);
		if (k == LEADER_NONE)
			dedup_lead_too(j, c);
		else
			err = try(j, o, c, k);
	}
	if (!err && (o->why == DEDUP_SHARED || o->why == DEDUP_FULL))
		j->st.kept_bytes += BLOCK_SIZE;
	return err;
}

int dedup_flush(struct dedup_job *j)
{
	struct dedup_op *o = calloc(1, sizeof(*o));
	int err = o ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < j->ncands && !err; i++) {
		const struct dedup_candidate *c = &j->cands[i];

		j->flushed = i;
		if (j->stop)
			err = -EINTR;
		else if (o->why != DEDUP_DONE || o->dst.ino != c->ino || c->index < o->dst_first ||
			 c->index >= o->dst_first + o->n)	/* else it was a neighbour of the last one */
			err = candidate(j, o, c);
	}
	j->ncands = j->flushed = 0;
	free(o);
	return err;
}

/* ---- where it stands, in the pool -------------------------------------------------------- */

static void save(struct dedup_job *j)
{
	const struct fs_dedup_status *st = &j->st;
	char text[JOB_STATE_BYTES] = "";

	if (pool_readonly(j->fs->pool))
		return;
	snprintf(text, sizeof(text), "running %d\nvolume %u %s\nnext %" PRIu64 "\nwidth %" PRIu64 "\nrate %"
		 PRIu64 "\nstarted %" PRIu64 "\nfinished %" PRIu64 "\ntotal %" PRIu64 "\npasses %" PRIu64
		 "\ncompared %" PRIu64 "\nfreed %" PRIu64 "\nzeros %" PRIu64 "\nkept %" PRIu64 "\ndiffering %"
		 PRIu64 "\nunreadable %" PRIu64 "\nresult %d\n", st->running, st->volume_id, st->volume, j->lo,
		 j->width, st->rate, st->started_ns, st->finished_ns, st->total_bytes, st->passes,
		 st->compared_bytes, st->freed_bytes, st->zero_bytes, st->kept_bytes, st->differing,
		 st->unreadable, st->result);
	job_state_save(j->fs, "dedup", text);
}

static bool parse(struct dedup_job *j, const char *text)
{
	struct fs_dedup_status st = { 0 };
	uint64_t next, width;
	int running = 0;

	if (sscanf(text, "running %d volume %" SCNu32 " %63s next %" SCNu64 " width %" SCNu64 " rate %" SCNu64
		   " started %" SCNu64 " finished %" SCNu64 " total %" SCNu64 " passes %" SCNu64 " compared %"
		   SCNu64 " freed %" SCNu64 " zeros %" SCNu64 " kept %" SCNu64 " differing %" SCNu64
		   " unreadable %" SCNu64 " result %d", &running, &st.volume_id, st.volume, &next, &width,
		   &st.rate, &st.started_ns, &st.finished_ns, &st.total_bytes, &st.passes,
		   &st.compared_bytes, &st.freed_bytes, &st.zero_bytes, &st.kept_bytes, &st.differing,
		   &st.unreadable, &st.result) != 17 || next > CRCS || !width || width > CRCS)
		return false;
	st.running = running;
	j->st = st;
	j->lo = next;
	j->width = width;
	return true;
}

/* ---- its life ---------------------------------------------------------------------------- */

static int pass(struct dedup_job *j)
{
	int err;

	j->hi = CRCS - j->lo < j->width ? CRCS : j->lo + j->width;
	err = dedup_walk(j);
	if (!err)
		err = dedup_flush(j);
	if (err)
		return err;
	j->lo = j->hi;
	j->st.passes++;
	if (j->nleaders < j->leaders_max / 2 && j->width < CRCS)
		j->width *= 2;
	j->walked = 0;
	save(j);
	return 0;
}

static void ended(struct dedup_job *j, int err)
{
	j->st.running = false;
	j->st.result = err;
	j->st.finished_ns = fs_now();
	if (err && err != -EINTR)
		log_error("dedup of %s: %s", j->st.volume, err_text(err));
	else if (!err)
		log_info("dedup of %s: done, %" PRIu64 " bytes freed", j->st.volume, j->st.freed_bytes);
}

static void job_main(void *arg)
{
	struct dedup_job *j = arg;
	int err = dedup_walk_init(j);

	if (!err) {			/* then all CRCs are known, and a crash begins with it again */
		save(j);
		err = pool_checkpoint(j->fs->pool);
	}
	while (!err && j->lo < CRCS)
		err = pass(j);
	dedup_walk_done(j);
	if (!err)			/* what was let go of is free */
		err = pool_checkpoint(j->fs->pool);
	if (err == -ESTALE)
		err = -ENOENT;
	if (err != -EINTR)
		ended(j, err);
	save(j);
	j->running = false;
	waitq_wake_all(&j->ended);
	pool_background(j->fs->pool, -1);
}

static int run(struct dedup_job *j)
{
	int err;

	j->pace = (struct pace){ 0 };
	j->walked = 0;
	j->st.running = j->running = true;
	err = pool_spawn(j->fs->pool, job_main, j, "dedup");
	if (err)
		j->st.running = j->running = false;
	return err;
}

int dedup_init(struct fs *fs)
{
	struct dedup_job *j = calloc(1, sizeof(*j));

	if (!j)
		return -ENOMEM;
	j->fs = fs;
	waitq_init(&j->ended);
	fs->dedup = j;
	return 0;
}

void dedup_done(struct fs *fs)
{
	free(fs->dedup);
	dedup_index_free(fs->dedup_index);
}

void dedup_stop_soon(struct fs *fs)
{
	fs->dedup->stop = true;
}

void dedup_stop(struct fs *fs)
{
	dedup_stop_soon(fs);
	while (fs->dedup->running)
		waitq_wait(&fs->dedup->ended);
}

int fs_dedup_start(struct fs *fs, const char *volume, uint64_t rate)
{
	struct dedup_job *j = fs->dedup;
	struct fs_volume_info *info = malloc(sizeof(*info));
	int err = info ? fs_volume_find(fs, volume, info) : -ENOMEM;

	if (!err && (j->running || j->stop))
		err = -EBUSY;
	if (!err && pool_readonly(fs->pool))
		err = -EROFS;
	if (!err) {
		j->st = (struct fs_dedup_status){ .volume_id = info->id, .rate = rate, .started_ns = fs_now(),
						  .total_bytes = info->mapped_blocks * BLOCK_SIZE };
		memcpy(j->st.volume, info->name, sizeof(j->st.volume));
		j->lo = 0;
		j->width = CRCS;
		err = run(j);
	}
	free(info);
	return err;
}

int fs_dedup_resume(struct fs *fs)
{
	struct dedup_job *j = fs->dedup;
	char text[JOB_STATE_BYTES + 1] = "";
	int err;

	if (j->running || j->stop)
		return 0;
	err = job_state_load(fs, "dedup", text);
	if (err)
		return err == -ENOENT || err == -EROFS ? 0 : err;
	if (!parse(j, text) || !j->st.running)
		return 0;
	if (!pool_readonly(fs->pool))
		return run(j);
	j->st.running = false;
	j->st.result = -EROFS;
	return 0;
}

int fs_dedup_stop(struct fs *fs)
{
	struct dedup_job *j = fs->dedup;

	if (!j->running || j->stop)
		return -ENOENT;
	dedup_stop(fs);
	if (j->st.running) {		/* it may just have come to its end */
		ended(j, -EINTR);
		save(j);
	}
	j->stop = false;		/* not before: the next one would be taken for this one */
	return 0;
}

void fs_dedup_status(struct fs *fs, struct fs_dedup_status *ret_st)
{
	const struct dedup_job *j = fs->dedup;
	uint64_t waiting = j->ncands - j->flushed;
	double part, passed = j->lo, total;

	*ret_st = j->st;
	total = j->st.total_bytes;
	part = total && j->walked > waiting ? (double)(j->walked - waiting) * BLOCK_SIZE / total : 0;
	if (j->running && j->hi > j->lo)
		passed += (part < 1 ? part : 1) * (j->hi - j->lo);
	ret_st->done_bytes = total * (passed / CRCS);
}
