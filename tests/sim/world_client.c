/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client was promised.
 *
 * tags[] of a file is what its blocks hold if nothing is lost.  pending[] are the blocks of writes
 * that were not promised to be kept, in the order of the writes.  After a restart the files must hold
 * what they held after some write K: for each pending block, what it has tells the writes between
 * which K lies, and all of these must agree.  Writes after K the client sends again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/loop.h"
#include "nfs/handle.h"
#include "world.h"

#define MS 1000000ull
#define GONE UINT32_MAX
#define RESERVE_SLACK 60		/* blocks that an operation looks for, and may not take */
#define TRIES 40			/* of a call that a broken disk refuses */
enum { NOENT = 2, IO = 5, EXIST = 17, NOSPC = 28, ROFS = 30 };

/* ---- blocks ------------------------------------------------------------------------------ */

/* Most of the simulator's work is done here, so the compiler must be able to do it in wide registers. */
void block_fill(uint64_t tag, void *buf)
{
	uint64_t words[MBLOCK / 8];
	uint32_t low = tag * 0x9e3779b1u, high = (tag >> 20) * 0x85ebca6bu;

	if (!tag) {
		memset(buf, 0, MBLOCK);
		return;
	}
	for (uint32_t i = 0; i < MBLOCK / 8; i++)
		words[i] = (uint64_t)((i + 1) * low ^ high) << 32 | (i ^ low) * 0xc2b2ae35u;
	words[0] = tag;
	memcpy(buf, words, MBLOCK);
}

uint64_t block_tag(const void *buf)
{
	uint64_t tag, ret;
	uint8_t want[MBLOCK];

	memcpy(&tag, buf, 8);
	block_fill(tag, want);
	ret = memcmp(want, buf, MBLOCK) ? UINT64_MAX : tag;
	return ret;
}

/* ---- errors ------------------------------------------------------------------------------ */

/* May a call answer STATUS?  Then it counts as an error; else the test fails. */
void client_excuse(struct client *c, const char *what, uint32_t status)
{
	bool fine = status == GONE || (status == NOSPC && (world_space_is_short(c->w) || c->was_short)) ||
		    (c->w->tolerant && (status == IO || status == ROFS)) || (status == DQUOT && quota_applies(c));

	sim_check(fine, "client %u (%s): %s answers %u", c->id, c->habit->name, what, status);
	c->errors += status != DQUOT;		/* it is as if nobody had asked */
}

static bool no_room(uint32_t status)
{
	return status == NOSPC || status == DQUOT;
}

/* Worth asking again: the disk failed, and somebody will see to it. */
bool client_again(struct client *c, struct said v, unsigned tries)
{
	if (!c->w->tolerant || (v.status != IO && v.status != ROFS) || tries >= TRIES)
		return false;
	loop_sleep_ns(500 * MS);
	return true;
}

/* Nobody knows what it is like any more. */
void client_forget(struct client *c, struct file *f)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < c->npending; i++)
		if (c->pending[i].file != f)
			c->pending[n++] = c->pending[i];
	c->npending = n;
	f->exists = f->doubt = false;
}

/* ---- files as they are ------------------------------------------------------------------- */

/* The tag of each block, as read; UNREAD for what could not be read.  After a restart the
 * file may be shorter, as what made it longer was lost.  false: the world ends. */
bool client_read_tags(struct client *c, const struct file *f, uint64_t tags[FILE_BLOCKS])
{
	enum { CHUNK = 16 };
	uint8_t *buf = test_alloc(CHUNK * MBLOCK);
	struct said v = { 0 };
	bool existed = f->exists;

	for (uint32_t b = 0; b < f->nblocks && v.status != GONE; b += CHUNK) {
		uint32_t n = f->nblocks - b < CHUNK ? f->nblocks - b : CHUNK, got = 0;
		unsigned tries = TRIES - 3;	/* what rots does not get better */

		do
			v = c->nfs->read(c, f, (uint64_t)b * MBLOCK, n * MBLOCK, buf, &got);
		while (client_again(c, v, tries++));
		if (v.status)
			client_excuse(c, "READ", v.status);
		else
			sim_check(got == n * MBLOCK || c->checking || (existed && !f->exists),
				  "client %u: %s: read %u of %u blocks at %u", c->id, f->name, got / MBLOCK, n, b);
		for (uint32_t i = 0; i < n; i++)
			tags[b + i] = v.status ? UNREAD : i >= got / MBLOCK ? 0 :
				      block_tag(buf + i * MBLOCK);
	}
	free(buf);
	return v.status != GONE;
}

static void wrong(struct client *c, const struct file *f, uint32_t b, uint64_t got, const char *when)
{
	sim_fail("client %u (%s): %s block %u %s: tag %#llx, expected %#llx", c->id, c->habit->name,
		 f->name, b, when, (unsigned long long)got, (unsigned long long)f->tags[b]);
}

void client_verify(struct client *c, struct file *f)
{
	uint64_t tags[FILE_BLOCKS];
	bool existed = f->exists;

	/* Over a restart it may be forgotten: what was lost of it found no room when it was sent again. */
	if (!client_read_tags(c, f, tags) || (existed && !f->exists))
		return;
	for (uint32_t b = 0; b < f->nblocks; b++)
		if (tags[b] != f->tags[b] && tags[b] != UNREAD)
			wrong(c, f, b, tags[b], "while the server lives");
	c->w->checked_blocks += f->nblocks;
}

/* ---- after a restart --------------------------------------------------------------------- */

/* K, the last write that is there, is at least LO and below HI. */
struct bounds { uint32_t lo, hi; };

/* What the pending writes of one block say of K, given the tag that it has.  false: nobody wrote
 * that there. */
static bool narrow(struct client *c, const struct file *f, uint32_t b, uint64_t tag, struct bounds *k)
{
	bool pending = false, found = false;
	uint32_t lo = 0, hi = UINT32_MAX;

	for (uint32_t i = 0; i < c->npending; i++) {
		const struct pending *p = &c->pending[i];

		if (p->file != f || p->block != b)
			continue;
		found |= !pending && tag == p->before;
		pending = true;
		if (found && hi == UINT32_MAX)
			hi = p->op;
		if (tag == p->after) {
			found = true;
			lo = p->op;
			hi = UINT32_MAX;
		}
	}
	k->lo = lo > k->lo ? lo : k->lo;
	k->hi = hi < k->hi ? hi : k->hi;
	return pending ? found : tag == f->tags[b];
}

static bool is_pending(const struct client *c, const struct file *f, uint32_t b)
{
	for (uint32_t i = 0; i < c->npending; i++)
		if (c->pending[i].file == f && c->pending[i].block == b)
			return true;
	return false;
}

static void check_file(struct client *c, struct file *f, struct bounds *k)
{
	uint64_t tags[FILE_BLOCKS];
	bool unknown = false;

	if (!client_read_tags(c, f, tags) || c->again)
		return;
	for (uint32_t b = 0; b < f->nblocks; b++) {
		if (tags[b] == UNREAD) {
			unknown |= is_pending(c, f, b);
			continue;
		}
		if (!narrow(c, f, b, tags[b], k))
			wrong(c, f, b, tags[b], "after a restart");
		sim_check(k->lo < k->hi, "client %u (%s): %s block %u after a restart: write %u is "
			  "there, and write %u before it is not", c->id, c->habit->name, f->name, b,
			  k->lo, k->hi);
	}
	c->w->checked_blocks += f->nblocks;
	if (unknown)				/* which of its writes have to be sent again */
		client_forget(c, f);
}

/* A lost write is sent again, so that it stays. */
static void send_again(struct client *c, const struct pending *p)
{
	uint8_t *buf = test_alloc(MBLOCK);
	uint32_t committed;
	uint64_t verifier;
	struct said v;
	unsigned tries = 0;

	block_fill(p->after, buf);
	do
		v = c->nfs->write(c, p->file, (uint64_t)p->block * MBLOCK, buf, MBLOCK, 2, &committed,
			     &verifier);
	while (client_again(c, v, tries++));
	free(buf);
	if (v.status) {
		client_excuse(c, "WRITE once more", v.status);
		c->errors++;
		client_forget(c, p->file);
	}
}

/* What is there is durable; the rest is sent again, but for what is under way anyway. */
static void resend(struct client *c, uint32_t from_op)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < c->npending; i++) {
		struct pending p = c->pending[i];

		if (p.op >= from_op) {
			c->w->lost_writes++;
			c->pending[n++] = p;
		}
	}
	c->npending = n;
	while (c->npending && c->pending[0].op != c->flying && !c->again) {
		struct pending p = c->pending[0];

		send_again(c, &p);
		if (c->npending && c->pending[0].op == p.op && c->pending[0].after == p.after)
			memmove(c->pending, c->pending + 1, --c->npending * sizeof(p));
	}
}

static void check_once(struct client *c)
{
	struct bounds k = { 0, UINT32_MAX };

	c->again = false;
	for (unsigned i = 0; i < FILES_MAX && !c->again; i++)
		if (c->files[i].exists && !c->files[i].doubt)
			check_file(c, &c->files[i], &k);
	if (!c->again)
		resend(c, k.hi);
}

void client_restarted(struct client *c)
{
	c->checking = true;
	c->have_verifier = false;
	do
		check_once(c);
	while (c->again);
	c->checking = false;
	world_tell(c->w, "client %u has checked its files", c->id);
}

/* ---- data -------------------------------------------------------------------------------- */

static void saw_verifier(struct client *c, uint64_t verifier)
{
	sim_check(!c->have_verifier || c->verifier == verifier,
		  "client %u: the write verifier changed while the server lived", c->id);
	c->verifier = verifier;
	c->have_verifier = true;
}

/* What it writes there in place of TAG: a block of a golden image, where that can't be taken for an older
 * write. */
static uint64_t copied(const struct client *c, const struct file *f, uint32_t b, uint64_t tag)
{
	uint64_t golden = c->w->golden[c->op / 2 % GOLDENS].tags[b];

	if (!c->w->dedup || c->op % 2 || !golden || golden == f->tags[b] || is_pending(c, f, b))
		return tag;
	return golden;
}

static uint8_t *prepare(struct client *c, struct file *f, uint32_t block, uint32_t n)
{
	uint8_t *buf = test_alloc((size_t)n * MBLOCK);

	c->flying = ++c->op;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t tag = (uint64_t)(c->id + 1) << 48 | (uint64_t)c->op << 8 | i;

		tag = copied(c, f, block + i, tag);
		block_fill(tag, buf + (size_t)i * MBLOCK);
		c->pending[c->npending++] = (struct pending){ f, block + i, c->op, f->tags[block + i],
							      tag };
		f->tags[block + i] = tag;
	}
	if (block + n > f->nblocks)
		f->nblocks = block + n;
	return buf;
}

/* It did not happen. */
static void take_back(struct client *c, struct file *f, uint32_t nblocks)
{
	while (c->npending && c->pending[c->npending - 1].op == c->flying) {
		const struct pending *p = &c->pending[--c->npending];

		f->tags[p->block] = p->before;
	}
	f->nblocks = nblocks;
}

/* What is reserved can be had; but others who have their part in it may have taken it just then. */
static void kept_its_word(struct client *c, uint64_t left, uint32_t n)
{
	uint64_t now = reserve_left(c);

	if (c->w->cfg.max_refs)			/* where counts are at their limit, more is copied */
		return;
	sim_check(left == UINT64_MAX || now == UINT64_MAX || left < n + RESERVE_SLACK || now < n + RESERVE_SLACK,
		  "client %u: no room for %u blocks, with %llu reserved ones left, and %llu after that", c->id, n,
		  (unsigned long long)left, (unsigned long long)now);
}

void client_write(struct client *c, struct file *f, uint32_t block, uint32_t n, uint32_t stable)
{
	uint32_t committed = 0, nblocks = f->nblocks;
	uint64_t verifier = 0;
	struct quota_bounds q;
	uint64_t left;
	unsigned tries = 0;
	uint8_t *buf;
	struct said v;

	if (c->npending + n > PENDING_MAX)
		client_commit(c, f);
	if (!f->exists)
		return;
	quota_look(c, f, block, n, &q);
	left = reserve_left(c);
	buf = prepare(c, f, block, n);
	do
		v = c->nfs->write(c, f, (uint64_t)block * MBLOCK, buf, n * MBLOCK, stable, &committed,
			     &verifier);
	while (client_again(c, v, tries++));
	free(buf);
	c->ops++;
	world_tell(c->w, "client %u: write %#x of %s, blocks %u+%u, stable %u: status %u, committed %u", c->id,
		   c->op, f->name, block, n, stable, v.status, committed);
	quota_judge(c, &q, v.status);
	if (v.status == NOSPC && !v.restarted && c->epoch == q.epoch)
		kept_its_word(c, left, n);
	if (v.status) {
		client_excuse(c, "WRITE", v.status);
		/* By NFSv3, and in a new session, each sending is executed, and only the last one answered. */
		if (no_room(v.status) && !v.restarted && (c->launched == 1 || c->nfs == &nfs4)) {
			take_back(c, f, nblocks);
		} else {
			c->errors++;
			client_forget(c, f);
		}
	} else {
		saw_verifier(c, verifier);
		if (committed)
			c->npending = 0;	/* and with it all that came before */
	}
	c->flying = 0;
}

void client_commit(struct client *c, struct file *f)
{
	uint64_t verifier = 0;
	unsigned tries = 0;
	struct said v;

	do
		v = c->nfs->commit(c, f, &verifier);
	while (client_again(c, v, tries++));
	c->ops++;
	if (v.status) {
		client_excuse(c, "COMMIT", v.status);
		client_forget(c, f);
		return;
	}
	saw_verifier(c, verifier);
	c->npending = 0;
}

bool client_quiet(struct client *c)
{
	while (c->npending && !c->w->closing)
		client_commit(c, c->pending[0].file);
	return !c->npending;
}

void client_truncate(struct client *c, struct file *f, uint32_t nblocks)
{
	unsigned tries = 0;
	struct said v;

	client_commit(c, f);
	if (!f->exists)
		return;
	f->doubt = true;
	do
		v = c->nfs->truncate(c, f, (uint64_t)nblocks * MBLOCK);
	while (client_again(c, v, tries++));
	world_tell(c->w, "client %u: truncate %s to %u blocks: status %u", c->id, f->name, nblocks, v.status);
	c->ops++;
	f->doubt = false;
	if (v.status) {
		client_excuse(c, "SETATTR", v.status);
		if (!no_room(v.status))
			client_forget(c, f);
		return;
	}
	for (uint32_t b = nblocks; b < FILE_BLOCKS; b++)
		f->tags[b] = 0;
	f->nblocks = nblocks;
}

/* ---- names ------------------------------------------------------------------------------- */

struct file *client_pick(struct client *c)
{
	uint32_t at = rng_below(&c->rng, FILES_MAX);

	for (unsigned i = 0; i < FILES_MAX; i++) {
		struct file *f = &c->files[(at + i) % FILES_MAX];

		if (f->exists)
			return f;
	}
	return NULL;
}

static struct file *vacancy(struct client *c, unsigned n)
{
	for (unsigned i = 0; i < FILES_MAX; i++)
		if (!c->files[i].exists && !c->files[i].doubt && !n--)
			return &c->files[i];
	return NULL;
}

static void name_anew(struct client *c, struct file *f)
{
	*f = (struct file){ .doubt = true };
	snprintf(f->name, sizeof(f->name), "f%u", ++c->serial);
}

/* The handle of what must be there under its name. */
void client_adopt(struct client *c, struct file *f)
{
	uint64_t size = 0;
	unsigned tries = 0;
	struct said v;

	do
		v = c->nfs->lookup(c, c->dir, c->dir_len, f->name, f->fh, &f->fh_len, &size);
	while (client_again(c, v, tries++));
	f->exists = !v.status;
	f->doubt = false;
	if (v.status)
		client_excuse(c, "LOOKUP of what was made", v.status);
	else
		sim_check(size == (uint64_t)f->nblocks * MBLOCK, "client %u: %s has %llu bytes, not %u "
			  "blocks", c->id, f->name, (unsigned long long)size, f->nblocks);
}

/* The answer to a call that makes or takes away a name: OTHER is right after a restart.  After an
 * error it tells nothing: what it rests on may be gone with the next restart. */
static bool name_answer(struct client *c, const char *what, struct said v, uint32_t other, unsigned tries)
{
	c->ops++;
	if (!v.status || (v.status == other && v.restarted && tries == 1))
		return true;
	if (v.status != other || tries == 1)
		client_excuse(c, what, v.status);
	c->errors += v.status != DQUOT;
	return false;
}

struct file *client_make(struct client *c)
{
	struct file *f = vacancy(c, 0);
	unsigned tries = 0;
	struct said v;

	if (!f)
		return NULL;
	name_anew(c, f);
	do
		v = c->nfs->create(c, f->name);
	while (client_again(c, v, tries++));
	f->doubt = false;
	if (!name_answer(c, "CREATE", v, EXIST, tries))
		return NULL;
	client_adopt(c, f);
	return f->exists ? f : NULL;
}

void client_remove(struct client *c, struct file *f)
{
	unsigned tries = 0;
	struct said v;
	uint32_t n = 0;

	f->doubt = true;
	if (c->travels)
		travels_removed(c, f);
	for (uint32_t i = 0; i < c->npending; i++)
		if (c->pending[i].file != f)
			c->pending[n++] = c->pending[i];
	c->npending = n;
	do
		v = c->nfs->remove(c, f->name, false);
	while (client_again(c, v, tries++));
	name_answer(c, "REMOVE", v, NOENT, tries);
	client_forget(c, f);
}

void client_rename(struct client *c, struct file *f)
{
	unsigned tries = 0;
	char to[24];
	struct said v;

	snprintf(to, sizeof(to), "r%u", ++c->serial);
	do
		v = c->nfs->rename(c, f->name, to);
	while (client_again(c, v, tries++));
	if (!name_answer(c, "RENAME", v, NOENT, tries)) {
		if (v.status == DQUOT && !v.restarted)
			return;
		c->errors++;
		client_forget(c, f);
		return;
	}
	world_tell(c->w, "client %u: rename %s to %s%s", c->id, f->name, to, v.restarted ? ", over a restart" : "");
	memcpy(f->name, to, sizeof(to));
	client_adopt(c, f);
}

void client_list(struct client *c)
{
	uint32_t names = 0, want = 2;
	struct said v = c->nfs->list(c, &names);

	for (unsigned i = 0; i < FILES_MAX; i++)
		want += c->files[i].exists;
	if (v.status)
		client_excuse(c, "READDIR", v.status);
	else if (!v.restarted && !c->w->tolerant && !c->errors)
		sim_check(names == want, "client %u: %u names, not %u", c->id, names, want);
}

/* ---- clones by the management side ------------------------------------------------------- */

/* Runs in the client's fiber, as a call does in one of its own. */
static int clone_call(struct client *c, const struct file *golden, struct file **files, unsigned n)
{
	struct world *w = c->w;
	struct fs_name names[8];
	struct fs_id src, dir;
	struct fs_attr first;
	struct fs_req req;
	uint8_t key[16];
	uint32_t bad;
	int rc;

	w->in_flight++;
	fs_pool_secret(w->fs, key);
	sim_ok(handle_read(key, golden->fh, golden->fh_len, &src));
	sim_ok(handle_read(key, c->dir, c->dir_len, &dir));
	fs_req_admin(&req, w->fs);
	for (unsigned i = 0; i < n; i++)
		names[i] = (struct fs_name){ files[i]->name, strlen(files[i]->name) };
	rc = fs_clone(&req, src, dir, names, n, &bad, &first);
	if (!rc)
		rc = fs_wait_stable(w->fs, req.stable_seq);
	w->in_flight--;
	waitq_wake_all(&w->changed);
	return rc;
}

/* Nobody was told: but it was done for all or for none. */
static unsigned which_exist(struct client *c, struct file **files, unsigned n)
{
	uint8_t fh[64];
	uint32_t len;
	unsigned found = 0;
	uint64_t size;

	for (unsigned i = 0; i < n; i++) {
		struct said v = c->nfs->lookup(c, c->dir, c->dir_len, files[i]->name, fh, &len, &size);

		if (v.status && v.status != NOENT) {
			client_excuse(c, "LOOKUP of a clone", v.status);
			return 0;
		}
		found += !v.status;
	}
	sim_check(!found || found == n, "client %u: of %u clones in one call %u are there", c->id, n,
		  found);
	return found;
}

void client_clone(struct client *c, const struct file *golden, unsigned count)
{
	struct file *files[8];
	struct world *w = c->w;
	uint64_t epoch;
	int rc;

	if (!vacancy(c, count - 1) || !w->up || c->epoch != w->epoch)
		return;
	for (unsigned i = 0; i < count; i++) {
		files[i] = vacancy(c, 0);
		name_anew(c, files[i]);
	}
	epoch = w->epoch;
	c->was_short = false;
	rc = clone_call(c, golden, files, count);
	c->ops++;
	if (w->up && w->epoch == epoch && (rc == -ENOSPC || rc == -EDQUOT)) {
		client_excuse(c, "clone", rc == -EDQUOT ? DQUOT : NOSPC);
	} else if (w->up && w->epoch == epoch && rc) {
		client_excuse(c, "clone", IO);
		for (unsigned i = 0; i < count; i++)
			client_forget(c, files[i]);	/* they may be there until the next restart */
		return;
	}
	if ((w->up && w->epoch == epoch && !rc) || which_exist(c, files, count)) {
		for (unsigned i = 0; i < count; i++) {
			memcpy(files[i]->tags, golden->tags, sizeof(golden->tags));
			files[i]->nblocks = golden->nblocks;
			client_adopt(c, files[i]);
		}
		return;
	}
	for (unsigned i = 0; i < count; i++)
		files[i]->doubt = false;
}

void client_clone_into(struct client *c, struct file *f, const struct file *golden)
{
	unsigned tries = 0;
	struct said v;

	client_truncate(c, f, 0);		/* and with it all is stable that it held */
	if (!f->exists)
		return;
	f->doubt = true;
	do
		v = v4_clone(c, golden, f);
	while (client_again(c, v, tries++));
	world_tell(c->w, "client %u: clone %s, %u blocks, onto %s: status %u%s", c->id, golden->name,
		   golden->nblocks, f->name, v.status, v.restarted ? ", over a restart" : "");
	c->ops++;
	f->doubt = false;
	if (v.status) {
		client_excuse(c, "CLONE", v.status);
		if (!no_room(v.status) || v.restarted) {
			c->errors++;		/* it keeps its directory where it is */
			client_forget(c, f);
		}
		return;
	}
	memcpy(f->tags, golden->tags, sizeof(f->tags));
	f->nblocks = golden->nblocks;
}

/* ---- its life ---------------------------------------------------------------------------- */

static bool arrive(struct client *c)
{
	char name[24];
	unsigned tries = 0;
	uint64_t size;
	struct said v;

	snprintf(name, sizeof(name), "client%u", c->id);
	do
		v = c->nfs->mkdir(c, c->root, HANDLE_BYTES, name);
	while (client_again(c, v, tries++));
	if (!name_answer(c, "MKDIR", v, EXIST, tries))
		return false;
	tries = 0;
	do
		v = c->nfs->lookup(c, c->root, HANDLE_BYTES, name, c->dir, &c->dir_len, &size);
	while (client_again(c, v, tries++));
	if (v.status)
		client_excuse(c, "LOOKUP of its directory", v.status);
	return !v.status;
}

/* People do; some for longer than a lease lasts. */
static void rest(struct client *c)
{
	uint64_t ns = 30 * MS;

	if (c->w->leisure && rng_one_in(&c->rng, c->w->leisure))
		ns <<= rng_below(&c->rng, 14);
	ns = loop_now_ns() + rng_below(&c->rng, ns) + 1;
	while (loop_now_ns() < ns && !c->w->closing)
		loop_sleep_ns(ns - loop_now_ns() < 1000 * MS ? ns - loop_now_ns() : 1000 * MS);
}

void client_start(struct client *c)
{
	if (!c->tenancy && !arrive(c))
		return;
	while (!c->w->closing) {
		c->habit->step(c);
		client_quota(c);
		client_hog(c);
		client_count(c);
		if (c->w->dedup && rng_one_in(&c->rng, 20))
			client_dedup(c);
		rest(c);
	}
	if (c->tenancy) {
		tenancy_end(c);
		return;
	}
	for (unsigned i = 0; i < FILES_MAX; i++)
		if (c->files[i].exists)
			client_verify(c, &c->files[i]);
	client_list(c);
	quota_end(c);
	if (c->travels)
		travels_end(c);
}
