/* SPDX-License-Identifier: Apache-2.0 */
/* The server's life, and what the world does to it. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/loop.h"
#include "nfs/handle.h"
#include "nfs/nfs4_recovery.h"
#include "nfs/server_int.h"
#include "fault_alloc.h"
#include "world.h"

#define MS 1000000ull
#define STUCK_NS (40000 * MS)		/* so long a slow request takes at most */
#define HANG_NS (120000 * MS)		/* longer than this nothing may take */

const char *const world_fault_names[WF_KINDS] = {
	"power cuts", "kills", "cuts in recovery", "requests failed", "disks failed", "blocks rotten",
	"writes lost", "writes misdirected", "slow disks", "calls lost", "replies lost",
	"calls repeated", "garbage", "restarts", "clocks set", "times without memory",
};

void world_tell(struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (!sim_trace)
		return;
	printf("%10.3f ", (loop_now_ns() - 1000 * MS) / 1e9);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

bool world_space_is_short(struct world *w)
{
	struct fs_status st;

	if (!w->up)
		return true;
	fs_status(w->fs, &st);
	return st.free_blocks < st.reserved_blocks + st.held_blocks + 2000;
}

void world_counted(struct world *w, enum world_fault f)
{
	w->faults[f]++;
}

/* ---- up and down ------------------------------------------------------------------------- */

static void start_server(struct world *w)
{
	struct nfs_config cfg = { .portmap = "", .grace_s = GRACE_S, .lease_s = LEASE_S };
	struct fs_status st;

	fs_pool_secret(w->fs, cfg.handle_key);
	sim_ok(nfs_server_new(w->fs, &cfg, &w->server));
	sim_ok(nfs4_recovery_start(w->server->nfs4));
	fs_status(w->fs, &st);
	if (!st.readonly)
		world_sweep(w);
	w->replayed += st.replayed_records;
	w->epoch++;
	w->up_ns = loop_now_ns();
	w->up = true;
	world_tell(w, "the server is up, life %llu: %llu records replayed%s%s",
		   (unsigned long long)w->epoch, (unsigned long long)st.replayed_records,
		   st.readonly ? ", read-only: " : "", st.reason);
	sim_check(!st.readonly || w->tolerant, "the pool opened read-only: %s", st.reason);
	waitq_wake_all(&w->changed);
}

/* Whatever is in the server comes to an end, well or not. */
static void drain(struct world *w)
{
	uint64_t end = loop_now_ns() + HANG_NS;

	w->up = w->ambushed = false;
	dev_sim_cut_at(w->dev, 0, NULL, NULL);
	waitq_wake_all(&w->changed);
	while (w->in_flight) {
		sim_check(waitq_wait_timeout(&w->changed, HANG_NS) && loop_now_ns() < end,
			  "%u calls hang in a server whose disk has gone", w->in_flight);
	}
	w->lived_ns = loop_now_ns() - w->up_ns;
	nfs_server_stop(w->server);
	nfs_server_free(w->server);
	w->server = NULL;
}

static void cut_recovery(void *arg, struct dev *d)
{
	world_counted(arg, WF_CUT_RECOVERY);
}

/* It shows what was before something that its log holds, and can't be read; it says so. */
static bool lacks_its_end(struct world *w)
{
	struct fs_status st;

	fs_status(w->fs, &st);
	return st.readonly && strstr(st.reason, "the intent log");
}

/* Opening may be cut off, again and again; or fail, where the disk does. */
static void come_back(struct world *w)
{
	char why[256];
	int err;

	for (unsigned tries = 0;; tries++) {
		bool cut = tries < 3 && rng_one_in(&w->rng, 4);

		if (cut)
			dev_sim_cut_at(w->dev, rng_range(&w->rng, 1, 60), cut_recovery, w);
		err = fs_open(w->dev, &w->cfg, &w->fs, why, sizeof(why));
		if (!err && !cut && !lacks_its_end(w))
			break;
		if (!err && !cut)
			snprintf(why, sizeof(why), "not all that it holds is there");
		if (!err)
			fs_abandon(w->fs);
		if (!cut) {			/* whoever starts it tries again, at last on another disk */
			sim_check(w->tolerant && tries < 8, "the pool does not open: %s: %s",
				  sim_err(err), why);
			world_tell(w, "the pool does not open: %s", why);
			fault_alloc_set(0, false);
			if (tries > 4)
				dev_sim_clear_faults(w->dev);
			continue;
		}
		world_tell(w, "the power goes in recovery");
		dev_sim_power_cut(w->dev, rng_below(&w->rng, 3), rng_u64(&w->rng));
	}
	dev_sim_cut_at(w->dev, 0, NULL, NULL);
	start_server(w);
	if (w->dedup && fs_dedup_resume(w->fs))
		world_tell(w, "the dedup job does not go on");
}

static void look_at_disk(struct world *w, const char *when)
{
	struct dev_sim_image *image;
	struct dev *copy;

	if (!rng_one_in(&w->rng, 6) || w->tolerant)
		return;
	image = dev_sim_crash_image(w->dev, DEV_SIM_CUT_KEEP, 0, NULL);
	copy = sim_disk_open(0, 1, image);
	dev_sim_image_put(image);
	sim_fsck_cut(copy, when);
	dev_close(copy);
}

/* Power lost: what was not flushed may be gone.  Killed: the disk's cache lives on. */
static void die(struct world *w, bool power)
{
	struct fs_dedup_status job;

	world_counted(w, power ? WF_CUT : WF_KILL);
	world_tell(w, power ? "the power goes, %u calls under way" :
		   "the daemon is killed, %u calls under way", w->in_flight);
	fs_dedup_status(w->fs, &job);
	w->jobs_cut += job.running;
	dev_sim_cut_now(w->dev);
	drain(w);
	fs_abandon(w->fs);
	dev_sim_power_cut(w->dev, power ? rng_below(&w->rng, 3) : DEV_SIM_CUT_KEEP,
			  rng_u64(&w->rng));
	look_at_disk(w, power ? "after a power cut" : "after a kill");
	w->restarts++;
	loop_sleep_ns(rng_below(&w->rng, 3000 * MS));
	come_back(w);
}

/* For the clients it is as if the server were gone. */
static void ambush(void *arg, struct dev *d)
{
	struct world *w = arg;

	w->ambushed = true;
	w->up = false;
	waitq_wake_all(&w->ambush);
	waitq_wake_all(&w->changed);
}

static void restart(struct world *w)
{
	int err;

	world_counted(w, WF_RESTART);
	world_tell(w, "a clean restart");
	drain(w);
	err = fs_close(w->fs);
	sim_check(!err || w->tolerant, "fs_close: %s", sim_err(err));
	dev_sim_clear_faults(w->dev);
	if (err)
		dev_sim_power_cut(w->dev, DEV_SIM_CUT_KEEP, 0);
	else
		look_at_disk(w, "after a clean end");
	w->restarts++;
	come_back(w);
}

/* Somebody looks after the server: read-only, it is started anew, on a disk that works. */
static void administrate(struct world *w)
{
	struct fs_status st;

	fs_status(w->fs, &st);
	if (!st.readonly)
		return;
	sim_check(w->tolerant, "the pool went read-only: %s", st.reason);
	world_tell(w, "read-only: %s", st.reason);
	drain(w);
	fs_close(w->fs);
	dev_sim_clear_faults(w->dev);
	dev_sim_power_cut(w->dev, DEV_SIM_CUT_KEEP, 0);
	w->restarts++;
	come_back(w);
}

/* ---- faults ------------------------------------------------------------------------------ */

/* A block that holds somebody's data, as the disk has it now; 0: none was hit upon. */
static uint64_t some_data_block(struct world *w)
{
	uint8_t *buf = test_alloc(MBLOCK);
	uint64_t found = 0;

	for (int i = 0; i < 300 && !found; i++) {
		uint64_t b = rng_below(&w->rng, w->nblocks);

		dev_sim_peek(w->dev, b, buf);
		if (block_tag(buf) != UINT64_MAX && block_tag(buf))
			found = b;
	}
	free(buf);
	return found;
}

static void inject(struct world *w, enum world_fault kind)
{
	static const unsigned ops[] = { DEV_SIM_OP(DEV_READ), DEV_SIM_OP(DEV_WRITE),
					DEV_SIM_OP(DEV_FLUSH), DEV_SIM_ALL_OPS };
	struct dev_sim_fault f = { .kind = DEV_SIM_FAIL, .nth = rng_range(&w->rng, 1, 40) };

	f.ops = ops[rng_below(&w->rng, 4)];
	if (kind == WF_IO_GOOD)
		f.for_good = true;
	if (kind == WF_LOST_WRITE || kind == WF_MISDIRECT)
		f.ops = 0;
	if (kind == WF_LOST_WRITE)
		f.kind = DEV_SIM_LOSE_WRITE;
	if (kind == WF_SLOW) {
		f.kind = DEV_SIM_DELAY;
		f.for_good = rng_one_in(&w->rng, 4);
		f.delay_ns = rng_below(&w->rng, f.for_good ? 20 * MS : STUCK_NS);
	}
	if (kind == WF_MISDIRECT) {
		f.kind = DEV_SIM_MISDIRECT;
		f.target = some_data_block(w);
		if (!f.target)
			return;
	}
	if (!dev_sim_inject(w->dev, &f))
		world_counted(w, kind);
	world_tell(w, "fault: %s, request %llu from now", world_fault_names[kind],
		   (unsigned long long)f.nth);
}

static void rot(struct world *w)
{
	uint64_t b = some_data_block(w);

	if (!b)
		return;
	world_counted(w, WF_CORRUPT);
	world_tell(w, "block %llu rots", (unsigned long long)b);
	dev_sim_flip_bit(w->dev, b, rng_below(&w->rng, MBLOCK * 8));
}

/* Somebody sets the clock, by up to ten years. */
static void set_clock(struct world *w)
{
	int64_t ns = rng_below(&w->rng, 1ull << rng_range(&w->rng, 20, 58));

	if (rng_one_in(&w->rng, 2))
		ns = -ns;
	world_counted(w, WF_CLOCK);
	world_tell(w, "the clock is set by %.3f s", ns / 1e9);
	loop_sim_jump(ns);
}

/* The server's fibers get none, once or for a while. */
static void memory_runs_out(struct world *w)
{
	uint64_t n = rng_range(&w->rng, 1, 400);
	bool more = rng_one_in(&w->rng, 4);

	world_counted(w, WF_MEMORY);
	world_tell(w, "fault: allocation %llu from now%s", (unsigned long long)n, more ? ", and many more" : "");
	fault_alloc_set(n, more);
}

static bool is_of_test(const struct fiber *f)
{
	return !strcmp(fiber_name(f), "main") || !strcmp(fiber_name(f), "client");
}

/* Bytes that are no call, or one cut short, or of nobody's protocol. */
static void garbage(struct world *w)
{
	struct rpc_addr from = { .ip = { [10] = 0xff, 0xff, 127, 0, 0, 99 } };
	struct msg m = { 0 };
	uint8_t *reply = NULL, noise[400];
	size_t len;

	msg_call(&m, rng_u64(&w->rng), 100003, rng_range(&w->rng, 2, 5), rng_below(&w->rng, 24), 0);
	rng_fill(&w->rng, noise, sizeof(noise));
	msg_bytes(&m, noise, rng_below(&w->rng, sizeof(noise)));
	if (rng_one_in(&w->rng, 3))
		rng_fill(&w->rng, m.data, m.len < 60 ? m.len : 60);
	world_counted(w, WF_GARBAGE);
	w->in_flight++;
	if (!rpc_serve(nfs_server_service(w->server), &from, m.data, m.len, &reply, &len))
		free(reply);
	w->in_flight--;
	waitq_wake_all(&w->changed);
	msg_free(&m);
}

/* What may happen in this kind of world, as often as the number says. */
struct weather { const char *name; bool tolerant, full, lean; uint16_t chance[WF_KINDS]; };
static const struct weather weathers[] = {
	{ "power cuts", .chance = { [WF_CUT] = 6, [WF_KILL] = 4, [WF_RESTART] = 1, [WF_CLOCK] = 1 } },
	{ "a full pool", .full = true, .chance = { [WF_CUT] = 4, [WF_KILL] = 2, [WF_RESTART] = 1 } },
	{ "failing requests", .tolerant = true,
	  .chance = { [WF_CUT] = 2, [WF_KILL] = 2, [WF_IO_ONCE] = 10, [WF_IO_GOOD] = 1 } },
	{ "rot", .tolerant = true, .chance = { [WF_CORRUPT] = 10, [WF_RESTART] = 1 } },
	{ "a slow disk", .chance = { [WF_SLOW] = 10, [WF_CUT] = 2, [WF_KILL] = 2, [WF_CLOCK] = 1 } },
	{ "little memory", .tolerant = true, .lean = true,
	  .chance = { [WF_MEMORY] = 12, [WF_CUT] = 1, [WF_KILL] = 2 } },
	{ "a lying disk", .tolerant = true, .chance = { [WF_LOST_WRITE] = 6, [WF_MISDIRECT] = 4 } },
};

enum { NWEATHERS = sizeof(weathers) / sizeof(*weathers) };

static const struct weather *weather(const struct world *w)
{
	return &weathers[w->seed % 2 ? 0 : w->seed / 2 % NWEATHERS];
}

static void strike(struct world *w)
{
	const struct weather *we = weather(w);
	unsigned sum = 0, at, kind = 0;

	for (unsigned i = 0; i < WF_KINDS; i++)
		sum += we->chance[i];
	if (rng_one_in(&w->rng, 5))
		garbage(w);
	if (w->ambushed)
		return;
	for (at = rng_below(&w->rng, sum); at >= we->chance[kind]; kind++)
		at -= we->chance[kind];
	switch (kind) {
	case WF_CUT:
	case WF_KILL:
		die(w, kind == WF_CUT);
		break;
	case WF_RESTART:
		restart(w);
		break;
	case WF_CORRUPT:
		rot(w);
		break;
	case WF_CLOCK:
		set_clock(w);
		break;
	case WF_MEMORY:
		memory_runs_out(w);
		break;
	default:
		inject(w, kind);
	}
}

void world_ambush(struct world *w, uint64_t n)
{
	if (weather(w)->chance[WF_CUT] && w->up && !w->closing)
		dev_sim_cut_at(w->dev, n, ambush, w);
}

/* It sleeps until it is time for the next fault, and strikes; unless somebody has lain in wait. */
static void pass_time(struct world *w)
{
	uint64_t end = loop_now_ns() + rng_below(&w->rng, 2 * w->fault_every_ns);

	while (loop_now_ns() < end && !w->ambushed)
		waitq_wait_timeout(&w->ambush, end - loop_now_ns());
	if (!w->ambushed) {
		administrate(w);
		strike(w);
	}
	if (w->ambushed)
		die(w, rng_one_in(&w->rng, 2));
}

static void on_submit(void *arg, struct dev *d, const struct dev_io *io)
{
	struct world *w = arg;
	uint64_t h = (w->requests << 1 | w->requests >> 63) ^ (io->block * 8 + io->op);

	for (int i = 0; io->op == DEV_WRITE && i < io->niov; i++)
		h = h * 31 + text_hash(io->iov[i].iov_base, io->iov[i].iov_len);
	w->requests = h;
}

/* ---- the world --------------------------------------------------------------------------- */

static void choose(struct world *w)
{
	static const uint64_t sizes[] = { 8192, 12288, 20480 };
	const struct weather *we = weather(w);

	w->nblocks = we->full ? 5120 : sizes[rng_below(&w->rng, 3)];
	w->tolerant = we->tolerant;
	w->full = we->full;
	w->lean = we->lean;
	w->cfg = (struct fs_config){ .cache_bytes = 16 << 20, .seed = w->seed | 1 };
	w->cfg.checkpoint_writes = rng_one_in(&w->rng, 2) ? 0 : rng_range(&w->rng, 1, 8);
	w->cfg.checkpoint_ms = rng_range(&w->rng, 5, 3000);
	if (rng_one_in(&w->rng, 3))
		w->cfg.max_refs = rng_range(&w->rng, 2, 9);
	w->rudeness = rng_one_in(&w->rng, 3) ? 0 : rng_range(&w->rng, 15, 200);
	w->leisure = rng_one_in(&w->rng, 2) ? 0 : rng_range(&w->rng, 2, 60);
	w->fault_every_ns = rng_range(&w->rng, 100, 4000) * MS * (w->leisure ? 4 : 1);
	w->nclients = rng_range(&w->rng, 2, CLIENTS_MAX);
	w->end_ns = loop_now_ns() + w->fault_every_ns * 25;
	w->ships = w->seed % 3 == 1;
	w->dedup = w->seed % 5 == 2;		/* by its own digits: other worlds stay what they were */
	w->limits = w->seed % 7 == 3;
	w->reserve = w->limits ? w->nblocks / 8 : w->full && w->seed / 14 % 2 ? 1000 : 0;
	w->metered = w->seed / 7 % 3 == 1;
}

static void make_locked(struct world *w, struct fs_req *req, struct fs_id root)
{
	const struct fs_create how = { .type = FS_REG, .how = FS_CREATE_GUARDED,
				       .set = { .mask = FS_SET_MODE, .mode = 0666 } };
	struct fs_attr a;
	uint8_t key[16];

	sim_ok(fs_create(req, root, (struct fs_name){ "locked", 6 }, &how, &a, NULL));
	fs_pool_secret(w->fs, key);
	handle_make(key, &a.id, w->locked.fh);
	w->locked.fh_len = HANDLE_BYTES;
}

static void make_golden(struct world *w, unsigned i, struct fs_req *req, struct fs_id root)
{
	const struct fs_create how = { .type = FS_REG, .how = FS_CREATE_GUARDED };
	struct file *f = &w->golden[i];
	uint8_t *buf = test_alloc(MBLOCK), key[16];
	struct fs_attr a;

	snprintf(f->name, sizeof(f->name), "golden%u", i);
	f->exists = true;
	sim_ok(fs_create(req, root, (struct fs_name){ f->name, strlen(f->name) }, &how, &a, NULL));
	f->nblocks = 1 + rng_below(&w->rng, FILE_BLOCKS);
	for (uint32_t b = 0; b < f->nblocks; b++) {
		struct iovec iov = { buf, MBLOCK };

		if (rng_one_in(&w->rng, 8) && b + 1 < f->nblocks)
			continue;		/* a hole */
		f->tags[b] = 1000ull << 40 | i << 20 | (b + 1);
		block_fill(f->tags[b], buf);
		sim_ok(fs_write(req, a.id, (uint64_t)b * MBLOCK, &iov, 1, MBLOCK, true, NULL));
	}
	fs_pool_secret(w->fs, key);
	handle_make(key, &a.id, f->fh);
	f->fh_len = HANDLE_BYTES;
	free(buf);
}

static void make_world(struct world *w)
{
	struct fs_volume_info *v = test_alloc(sizeof(*v)), hog;
	struct fs_req req;
	uint8_t key[16];

	w->dev = sim_disk_new(w->nblocks, w->seed);
	dev_sim_on_submit(w->dev, on_submit, w);
	sim_ok(fs_format(w->dev, &(struct fs_format_opts){ .uuid = { 1 } }));
	w->fs = sim_open(w->dev, &w->cfg);
	fs_req_admin(&req, w->fs);
	sim_ok(fs_volume_create(&req, "main", v));
	sim_ok(fs_volume_set(&req, "main", "* rw no_root_squash", -1));
	if (w->reserve) {
		sim_ok(fs_volume_create(&req, "hog", &hog));
		sim_ok(fs_volume_set_space(&req, "main", 0, 200, w->reserve));
	}
	if (w->metered)
		sim_ok(fs_volume_limit(&req, "main", &(struct fs_limits){ -1, -1, -1, 4 * w->nblocks }, NULL));
	if (w->dedup)
		sim_ok(fs_volume_set_dedup(&req, "main", w->seed % 2));
	for (unsigned i = 0; i < GOLDENS; i++)
		make_golden(w, i, &req, v->root);
	make_locked(w, &req, v->root);
	fs_pool_secret(w->fs, key);
	handle_make(key, &v->root, w->root);
	w->root_len = HANDLE_BYTES;
	sim_ok(fs_wait_stable(w->fs, fs_last_seq(w->fs)));
	free(v);
}

static void client_fiber(void *arg)
{
	struct client *c = arg;

	client_start(c);
	c->w->running--;
	waitq_wake_all(&c->w->changed);
}

static void populate(struct world *w)
{
	for (unsigned i = 0; i < w->nclients; i++) {
		struct client *c = &w->clients[i];

		c->w = w;
		c->id = i;
		c->xid = i << 24;
		c->epoch = w->epoch;
		c->pending = test_alloc(PENDING_MAX * sizeof(*c->pending));
		rng_init(&c->rng, w->seed * 100 + i);
		c->habit = &habits[rng_below(&w->rng, nhabits)];
		c->nfs = rng_one_in(&w->rng, 2) ? &nfs4 : &nfs3;
		if (w->ships && !i)
			c->habit = habit_traveller;
		memcpy(c->root, w->root, sizeof(c->root));
		if (c->habit->home == HOME_OWN)
			travels_start(c);
		if (c->habit->home == HOME_SHARED)
			tenancy_start(c);
	}
	/* Not before all are at home: they set traps for each other. */
	for (unsigned i = 0; i < w->nclients; i++) {
		w->running++;
		sim_ok(fiber_spawn(client_fiber, &w->clients[i], "client"));
	}
}

/* In the end all that clients were promised is there, and the pool is sound. */
static void the_end(struct world *w)
{
	uint64_t end = loop_now_ns() + 20 * HANG_NS;

	dev_sim_clear_faults(w->dev);
	fault_alloc_arm(false);
	administrate(w);
	w->closing = true;
	waitq_wake_all(&w->changed);
	while (w->running) {
		sim_check(loop_now_ns() < end, "%u clients do not come to an end", w->running);
		waitq_wait_timeout(&w->changed, 1000 * MS);
		administrate(w);
	}
	w->virtual_ns = loop_now_ns() - 1000 * MS;
	drain(w);
	if (w->metered && !w->tolerant)
		meter_end(w);
	if (fs_close(w->fs) || w->tolerant)
		sim_check(w->tolerant, "the pool does not close");
	else
		sim_fsck(w->dev, "at the end");
	dev_close(w->dev);
	for (unsigned i = 0; i < w->nclients; i++) {
		free(w->clients[i].pending);
		free(w->clients[i].travels);
		tenancy_free(&w->clients[i]);
	}
}

void world_run(struct world *w)
{
	rng_init(&w->rng, w->seed);
	rng_init(&w->net, w->seed ^ 0x5eed);
	rng_init(&w->secure, w->seed ^ 0x5ec);
	secure_random_from(&w->secure);
	waitq_init(&w->changed);
	waitq_init(&w->ambush);
	choose(w);
	world_tell(w, "seed %llu: %s, %u clients, %llu blocks", (unsigned long long)w->seed,
		   weather(w)->name, w->nclients, (unsigned long long)w->nblocks);
	make_world(w);
	start_server(w);
	populate(w);
	fault_alloc_set(0, false);	/* what the world before this didn't come to */
	fault_alloc_spare(is_of_test);
	fault_alloc_arm(w->lean);
	while (loop_now_ns() < w->end_ns)
		pass_time(w);
	dev_sim_cut_at(w->dev, 0, NULL, NULL);
	the_end(w);
	secure_random_from(NULL);
}
