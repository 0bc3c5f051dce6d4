/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scrub: looks the whole pool over while it is in use.
 *
 * It goes through the pool's address space in windows.  For each:
 *
 *	hold       one pointer more to the volume table: what hangs below stays as it is (tree/hold.h);
 *	           from the same instant on, changes of counts in the window are noted
 *	checkpoint all that is held is on the device now
 *	count      walk all that is held, and count the pointers into the window
 *	verify     read every block of the window that is held, and compare it with its checksum
 *	compare    each count in the window is the pointers that were counted and the changes since
 *	let go
 *
 * While something is held, what was deleted is not taken apart, for the counts of what is half taken
 * apart nobody can tell.  When space runs short, the window is given up and begun again later.
 *
 * Where it stands is kept in the pool: after a restart it goes on with the window that it was at.
 */
#include "fs/scrub.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/fiber.h"
#include "base/log.h"
#include "base/loop.h"
#include "fs/job_state.h"

#define RETRY_NS 200000000ull
#define QUIET_NS 20000000000ull		/* so long it waits for the reaper before it says so */

/* ---- pace and findings ------------------------------------------------------------------- */

bool scrub_interrupted(const struct scrub *s)
{
	return s->stop || pool_reap_wanted(s->fs->pool);
}

static bool interrupted(const void *s)
{
	return scrub_interrupted(s);
}

void scrub_pace(struct scrub *s, uint64_t bytes)
{
	pace_by(&s->pace, s->st.rate, bytes, interrupted, s);
}

void scrub_finding(struct scrub *s, const char *fmt, ...)
{
	char text[FS_SCRUB_TEXT];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_error("scrub: %s", text);
	if (s->st.findings < FS_SCRUB_FINDINGS)
		memcpy(s->findings[s->st.findings], text, sizeof(text));
	s->st.findings++;
}

void scrub_add_bad(struct scrub *s, uint64_t block, enum verify_what what, uint32_t refs,
		   uint32_t pointers)
{
	static const char *const words[] = {
		[VERIFY_CONTENT] = "does not hold what its checksum says",
		[VERIFY_UNREADABLE] = "cannot be read",
	};

	for (uint32_t i = 0; i < s->nbad; i++)
		if (s->bad[i] == block)
			return;
	if (what == VERIFY_COUNT)
		scrub_finding(s, "block %" PRIu64 ": its count is %u, but %u pointers lead to it", block,
			      refs, pointers);
	else
		scrub_finding(s, "block %" PRIu64 ": %s", block, words[what]);
	if (s->nbad < SCRUB_BAD_MAX)
		s->bad[s->nbad++] = block;
}

static void on_bad(void *arg, uint64_t block, enum verify_what what, uint32_t refs, uint32_t pointers)
{
	scrub_add_bad(arg, block, what, refs, pointers);
}

/* ---- where it stands, in the pool -------------------------------------------------------- */

static void save(struct scrub *s)
{
	char text[JOB_STATE_BYTES] = "";

	snprintf(text, sizeof(text), "running %d\nnext %" PRIu64 "\nrate %" PRIu64 "\nstarted %" PRIu64
		 "\nfinished %" PRIu64 "\nverified %" PRIu64 "\nfindings %" PRIu64 "\nresult %d\n",
		 s->st.running, s->st.next_block, s->st.rate, s->st.started_ns, s->st.finished_ns,
		 s->st.verified_bytes, s->st.findings, s->st.result);
	job_state_save(s->fs, "scrub", text);
}

static void parse(struct fs_scrub_status *st, const char *text)
{
	int running = 0;

	if (sscanf(text, "running %d next %" SCNu64 " rate %" SCNu64 " started %" SCNu64 " finished %" SCNu64
		   " verified %" SCNu64 " findings %" SCNu64 " result %d", &running, &st->next_block,
		   &st->rate, &st->started_ns, &st->finished_ns, &st->verified_bytes, &st->findings,
		   &st->result) != 8)
		*st = (struct fs_scrub_status){ 0 };
	st->running = running && st->started_ns;
	if (st->findings > FS_SCRUB_FINDINGS)
		st->findings = FS_SCRUB_FINDINGS;
}

static uint64_t window_blocks(const struct scrub *s)
{
	return s->fs->cfg.scrub_window ? s->fs->cfg.scrub_window : SCRUB_WINDOW;
}

/* ---- a window ---------------------------------------------------------------------------- */

static int hold(struct scrub *s)
{
	struct pool *p = s->fs->pool;
	uint64_t told = loop_now_ns();
	int err;

	for (;;) {
		if (s->stop)
			return -EINTR;
		pool_reap_pause(p, true);
		err = tree_hold(p, &s->watch, &s->held);
		if (!err)		/* who counts may not look before it is over */
			s->fs->meters.regrouped = true;
		if (err != -EAGAIN && err != -ENOSPC)
			return err;
		pool_reap_pause(p, false);
		loop_sleep_ns(RETRY_NS / 10);
		if (loop_now_ns() - told > QUIET_NS) {
			log_info("scrub: waits until there is space, and what was deleted is taken apart");
			told = loop_now_ns();
		}
	}
}

static bool holds_anything(const uint64_t *bits)
{
	for (unsigned i = 0; i < PAGE_ENTRIES / 64; i++)
		if (bits[i])
			return true;
	return false;
}

static int verify_contents(struct scrub *s)
{
	int err = 0;

	for (uint64_t at = 0; at < s->watch.n && !err; at += PAGE_ENTRIES) {
		uint64_t bytes = 0;

		if (scrub_interrupted(s))
			return -EINTR;
		if (!holds_anything(s->reached + at / 64))
			continue;
		err = pool_verify_content(s->fs->pool, (s->watch.first + at) / PAGE_ENTRIES,
					  s->reached + at / 64, s->buf, on_bad, s, &bytes);
		s->st.verified_bytes += bytes;
		scrub_pace(s, bytes);
	}
	return err;
}

static int compare_counts(struct scrub *s)
{
	int err = 0;

	for (uint64_t at = 0; at < s->watch.n && !err; at += PAGE_ENTRIES) {
		uint64_t page = (s->watch.first + at) / PAGE_ENTRIES;

		if (s->stop)
			return -EINTR;
		err = pool_verify_counts(s->fs->pool, page, s->watch.expected + at, on_bad, s);
		if (err == -EIO || err == -EDAMAGED) {
			scrub_finding(s, "blocks %" PRIu64 " to %" PRIu64 ": their table page: %s",
				      page * PAGE_ENTRIES, (page + 1) * PAGE_ENTRIES - 1, err_text(err));
			err = 0;
		}
		if (at % (64 * PAGE_ENTRIES) == 0)
			fiber_yield();
	}
	return err;
}

static int look_over(struct scrub *s)
{
	int err = pool_checkpoint(s->fs->pool);

	if (!err)
		err = scrub_count(s);
	if (!err)
		err = verify_contents(s);
	if (!err && !s->incomplete)
		err = compare_counts(s);
	else if (!err)
		scrub_finding(s, "counts are not compared, since not all pointers could be read");
	return err ? err : scrub_name_bad(s);
}

/* -EINTR: it has to stop, or must be begun again. */
static int window(struct scrub *s, uint64_t first)
{
	uint64_t left = s->st.total_blocks - first, said = s->st.findings, verified = s->st.verified_bytes;
	int err, released;

	s->watch.first = first;
	s->watch.n = left < window_blocks(s) ? (left + PAGE_ENTRIES - 1) / PAGE_ENTRIES * PAGE_ENTRIES :
		     window_blocks(s);
	memset(s->watch.expected, 0, s->watch.n * sizeof(*s->watch.expected));
	memset(s->reached, 0, s->watch.n / 8);
	s->nbad = 0;
	s->incomplete = false;
	err = hold(s);
	s->incomplete = *pool_reap_stuck(s->fs->pool);	/* pointers that nobody comes to */
	if (!err)
		err = look_over(s);
	pool_reap_pause(s->fs->pool, false);	/* first: letting go may need space */
	released = tree_let_go(s->fs->pool);
	if (err == -EINTR) {			/* it is said again when it is looked at again */
		s->st.findings = said;
		s->st.verified_bytes = verified;
	}
	return err ? err : released;
}

/* ---- its life ---------------------------------------------------------------------------- */

static int prepare(struct scrub *s)
{
	uint64_t n = window_blocks(s);

	n = s->st.total_blocks < n ? s->st.total_blocks + PAGE_ENTRIES : n;
	s->watch.expected = malloc(n * sizeof(*s->watch.expected));
	s->reached = malloc(n / 8 + 64);
	s->bad = malloc(SCRUB_BAD_MAX * sizeof(*s->bad));
	if (posix_memalign(&s->buf, BLOCK_SIZE, PAGE_ENTRIES * BLOCK_SIZE))
		s->buf = NULL;
	return s->watch.expected && s->reached && s->bad && s->buf ? 0 : -ENOMEM;
}

static void clean_up(struct scrub *s)
{
	free(s->watch.expected);
	free(s->reached);
	free(s->bad);
	free(s->buf);
	s->watch.expected = NULL;
	s->reached = NULL;
	s->bad = NULL;
	s->buf = NULL;
}

static void scrub_main(void *arg)
{
	struct scrub *s = arg;
	int err = prepare(s);

	while (!err && s->st.next_block < s->st.total_blocks) {
		err = window(s, s->st.next_block);
		if (err == -EINTR && !s->stop) {
			err = 0;		/* somebody needed space */
			loop_sleep_ns(RETRY_NS);
			continue;
		}
		if (!err) {
			s->st.next_block += s->watch.n;
			save(s);
		}
	}
	clean_up(s);
	if (err != -EINTR) {
		s->st.running = false;
		s->st.result = err;
		s->st.finished_ns = fs_now();
		if (err)
			log_error("scrub: %s", err_text(err));
		else
			log_info("scrub: done, %" PRIu64 " findings", s->st.findings);
	}
	if (!pool_readonly(s->fs->pool))
		save(s);
	s->running = false;
	waitq_wake_all(&s->ended);
	pool_background(s->fs->pool, -1);
}

static int run(struct fs *fs)
{
	struct scrub *s = fs->scrub;
	int err;

	s->pace = (struct pace){ 0 };
	s->st.running = s->running = true;
	err = pool_spawn(fs->pool, scrub_main, s, "scrub");
	if (err)
		s->st.running = s->running = false;
	return err;
}

int scrub_init(struct fs *fs)
{
	struct scrub *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->findings = calloc(FS_SCRUB_FINDINGS, sizeof(*s->findings));
	if (!s->findings) {
		free(s);
		return -ENOMEM;
	}
	s->fs = fs;
	waitq_init(&s->ended);
	fs->scrub = s;
	return 0;
}

void scrub_done(struct fs *fs)
{
	if (!fs->scrub)
		return;
	free(fs->scrub->findings);
	free(fs->scrub);
}

void scrub_stop_soon(struct fs *fs)
{
	fs->scrub->stop = true;
}

void scrub_stop(struct fs *fs)
{
	scrub_stop_soon(fs);
	while (fs->scrub->running)
		waitq_wait(&fs->scrub->ended);
}

int fs_scrub_start(struct fs *fs, uint64_t rate)
{
	struct scrub *s = fs->scrub;

	if (s->running || s->stop)
		return -EBUSY;
	if (pool_readonly(fs->pool))
		return -EROFS;
	s->st = (struct fs_scrub_status){ .rate = rate, .started_ns = fs_now(),
					  .total_blocks = pool_super(fs->pool)->nblocks };
	return run(fs);
}

int fs_scrub_resume(struct fs *fs)
{
	char text[JOB_STATE_BYTES + 1] = "";
	struct fs_scrub_status st = { 0 };
	int err;

	if (fs->scrub->running || fs->scrub->stop)
		return 0;
	err = job_state_load(fs, "scrub", text);
	if (err)
		return err == -ENOENT || err == -EROFS ? 0 : err;
	parse(&st, text);
	if (st.running && pool_readonly(fs->pool)) {
		st.running = false;
		st.result = -EROFS;
	}
	st.total_blocks = pool_super(fs->pool)->nblocks;
	fs->scrub->st = st;
	return st.running ? run(fs) : 0;
}

int fs_scrub_stop(struct fs *fs)
{
	struct scrub *s = fs->scrub;

	if (!s->running || s->stop)
		return -ENOENT;
	scrub_stop(fs);
	s->st.running = false;
	s->st.result = -EINTR;
	s->st.finished_ns = fs_now();
	save(s);
	s->stop = false;		/* not before: the next one would be taken for this one */
	return 0;
}

void fs_scrub_status(struct fs *fs, struct fs_scrub_status *ret_st)
{
	*ret_st = fs->scrub->st;
}

const char *fs_scrub_finding(struct fs *fs, uint64_t i)
{
	return i < FS_SCRUB_FINDINGS && i < fs->scrub->st.findings ? fs->scrub->findings[i] : NULL;
}
