/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated disk.
 *
 *   submit          completion             flush completes
 *   ------> in flight -------> `cache`, oldest first -------> `medium`
 *              |                  (also in `current`)            ^
 *              +------------------ dsync ------------------------+
 *
 * - `current` is what reads see: every completed write.  `medium` is what survives for
 *   certain.  The versions in `cache`, and those of the requests in flight, are what a power
 *   cut decides about.
 * - `cache` is in the order of completion, so what a flush covers is always its front.
 * - A write is copied when it is submitted.
 */
#include "dev/dev_sim.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "base/rng.h"
#include "dev/dev_int.h"
#include "dev/sim_tree.h"

#define SECTOR 512
#define SECTORS (DEV_BLOCK / SECTOR)

struct dev_sim_image {
	uint64_t refs, nblocks;
	struct sim_tree tree;
};

/* One block as one request would leave it. */
struct version {
	struct list entry;	/* the request's, then the cache's */
	uint64_t block, completed;
	struct sim_page *page;	/* NULL: zeros */
};

struct fault {
	struct dev_sim_fault f;
	uint64_t seen;
	bool armed;
};

struct sim {
	struct dev dev;
	struct dev_sim_opts opts;
	struct rng rng;
	struct sim_tree medium, current;
	struct list cache;		/* versions */
	struct list in_flight;		/* dev_io, in order of submission */
	uint64_t completed;		/* writes so far */
	struct dev_sim_stats stats;
	struct fault faults[DEV_SIM_MAX_FAULTS];
	uint64_t cut_in;		/* the power goes at this many-th request; 0: never */
	void (*cut_fn)(void *arg, struct dev *d);
	void *cut_arg;
	void (*submit_fn)(void *arg, struct dev *d, const struct dev_io *io);
	void *submit_arg;
};

/* Lives in dev_io.private_. */
struct sim_io {
	struct timer timer;
	struct sim *sim;
	struct list versions;
	uint64_t flush_covers;		/* sim->completed when the flush was submitted */
	bool fail, lose, flip;
};

_Static_assert(sizeof(struct sim_io) <= sizeof(((struct dev_io *)0)->private_),
	       "a simulated request fits into a request's private part");

static struct sim *to_sim(const struct dev *d)
{
	return (struct sim *)((char *)d - offsetof(struct sim, dev));
}

static struct sim_io *private_of(struct dev_io *io)
{
	return (struct sim_io *)io->private_;
}

static struct dev_io *to_dev_io(struct sim_io *s)
{
	return (struct dev_io *)((char *)s - offsetof(struct dev_io, private_));
}

static void __attribute__((noreturn, format(printf, 2, 3)))
die(const struct sim *s, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "simulated disk, seed %llu, request %llu: ",
		(unsigned long long)s->opts.seed, (unsigned long long)s->stats.total);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

/* ---- versions ---- */

static void version_add(struct sim *s, struct list *l, uint64_t block, struct sim_page *page)
{
	struct version *v = sim_alloc(sizeof(*v));

	v->block = block;
	v->page = page;
	list_add_tail(l, &v->entry);
	s->stats.unflushed++;
}

static void version_free(struct sim *s, struct version *v)
{
	list_del(&v->entry);
	sim_page_put(v->page);
	sim_free(v);
	s->stats.unflushed--;
}

static void versions_free(struct sim *s, struct list *l)
{
	while (!list_empty(l))
		version_free(s, container_of(l->next, struct version, entry));
}

/* A page whose sectors come from either; MASK's bits choose those of NEWER. */
static struct sim_page *torn_page(const struct sim_page *older, const struct sim_page *newer,
				  unsigned mask)
{
	struct sim_page *p = sim_page_new(NULL);
	uint8_t other[DEV_BLOCK];

	sim_page_read(older, p->data);
	sim_page_read(newer, other);
	for (int i = 0; i < SECTORS; i++) {
		if (mask & 1u << i)
			memcpy(p->data + i * SECTOR, other + i * SECTOR, SECTOR);
	}
	return p;
}

/* A version that is on the medium leaves nothing for older ones of its block to do. */
static void drop_older(struct sim *s, uint64_t block)
{
	struct list *e, *tmp;

	list_each_safe(e, tmp, &s->cache) {
		struct version *v = container_of(e, struct version, entry);

		if (v->block == block)
			version_free(s, v);
	}
}

static void to_cache(struct sim *s, struct list *versions)
{
	struct list *e;

	s->completed++;
	list_each(e, versions) {
		struct version *v = container_of(e, struct version, entry);

		v->completed = s->completed;
		sim_tree_set(&s->current, v->block, sim_page_get(v->page));
	}
	list_splice_tail(&s->cache, versions);
}

static void to_medium(struct sim *s, struct list *versions)
{
	struct list *e;

	list_each(e, versions) {
		struct version *v = container_of(e, struct version, entry);

		sim_tree_set(&s->current, v->block, sim_page_get(v->page));
		sim_tree_set(&s->medium, v->block, sim_page_get(v->page));
		drop_older(s, v->block);
	}
	versions_free(s, versions);
}

/* ---- completion ---- */

static void check_stable(struct sim *s, const struct dev_io *io, const struct list *versions)
{
	const struct list *e = versions->next;

	for (int i = 0; i < io->niov; i++) {
		const char *p = io->iov[i].iov_base;
		uint64_t n = io->iov[i].iov_len / DEV_BLOCK;

		for (uint64_t j = 0; j < n; j++, e = e->next, p += DEV_BLOCK) {
			const struct version *v = container_of(e, struct version, entry);

			if (memcmp(p, v->page->data, DEV_BLOCK))
				die(s, "the memory of a write to block %llu changed under way",
				    (unsigned long long)v->block);
		}
	}
}

/* Half of the failed writes leave torn blocks, the others nothing. */
static void write_failed(struct sim *s, struct list *versions)
{
	struct list *e;

	if (rng_one_in(&s->rng, 2)) {
		versions_free(s, versions);
		return;
	}
	list_each(e, versions) {
		struct version *v = container_of(e, struct version, entry);
		struct sim_page *torn = torn_page(sim_tree_find(&s->current, v->block), v->page,
						  rng_u64(&s->rng));

		sim_page_put(v->page);
		v->page = torn;
	}
	to_cache(s, versions);
}

static int complete_write(struct sim *s, struct dev_io *io)
{
	struct sim_io *p = private_of(io);

	if (s->opts.check_stable && io->op == DEV_WRITE && !p->lose)
		check_stable(s, io, &p->versions);
	if (p->fail) {
		write_failed(s, &p->versions);
		return -EIO;
	}
	if (p->lose)
		versions_free(s, &p->versions);
	else if (io->dsync)
		to_medium(s, &p->versions);
	else
		to_cache(s, &p->versions);
	return 0;
}

static int complete_read(struct sim *s, struct dev_io *io)
{
	uint64_t block = io->block;

	if (private_of(io)->fail)
		return -EIO;
	for (int i = 0; i < io->niov; i++) {
		char *p = io->iov[i].iov_base;

		for (uint64_t n = io->iov[i].iov_len / DEV_BLOCK; n; n--, block++, p += DEV_BLOCK)
			sim_page_read(sim_tree_find(&s->current, block), p);
	}
	if (private_of(io)->flip) {
		uint64_t bit = rng_below(&s->rng, io->iov[0].iov_len * 8);

		((uint8_t *)io->iov[0].iov_base)[bit / 8] ^= 1 << bit % 8;
	}
	return 0;
}

static int complete_flush(struct sim *s, struct dev_io *io)
{
	struct sim_io *p = private_of(io);

	while (!list_empty(&s->cache)) {
		struct version *v = container_of(s->cache.next, struct version, entry);

		if (v->completed > p->flush_covers)
			break;
		/* what a failed flush loses, no later flush brings back */
		if (!p->fail || rng_one_in(&s->rng, 2))
			sim_tree_set(&s->medium, v->block, sim_page_get(v->page));
		version_free(s, v);
	}
	return p->fail ? -EIO : 0;
}

static void finish(struct sim *s, struct dev_io *io, int result)
{
	list_del(&io->entry);
	s->stats.in_flight--;
	versions_free(s, &private_of(io)->versions);
	dev_io_complete(io, result);
}

static void request_due(struct timer *t)
{
	struct sim_io *p = container_of(t, struct sim_io, timer);
	struct dev_io *io = to_dev_io(p);
	struct sim *s = p->sim;
	int err;

	if (s->stats.cut) {
		/* What was in flight at the cut stays for crash images to decide about, even
		 * though its owner is told now that it failed. */
		list_del(&io->entry);
		s->stats.in_flight--;
		list_splice_tail(&s->cache, &p->versions);
		dev_io_complete(io, -EIO);
		return;
	}
	switch (io->op) {
	case DEV_READ:
		err = complete_read(s, io);
		break;
	case DEV_FLUSH:
		err = complete_flush(s, io);
		break;
	default:
		err = complete_write(s, io);
		break;
	}
	finish(s, io, err);
}

/* ---- submission ---- */

static bool touches(const struct dev_io *io, uint64_t first, uint64_t n)
{
	return io->op != DEV_FLUSH && io->block < first + n && first < io->block + io->nblocks;
}

static void check_overlap(struct sim *s, const struct dev_io *io)
{
	struct list *e;

	if (io->op == DEV_FLUSH)
		return;
	list_each(e, &s->in_flight) {
		const struct dev_io *other = container_of(e, struct dev_io, entry);

		if ((io->op == DEV_READ && other->op == DEV_READ) ||
		    !touches(other, io->block, io->nblocks))
			continue;
		die(s, "%s of blocks %llu+%llu overlaps one under way, of %llu+%llu",
		    io->op == DEV_READ ? "a read" : "a write", (unsigned long long)io->block,
		    (unsigned long long)io->nblocks, (unsigned long long)other->block,
		    (unsigned long long)other->nblocks);
	}
}

static unsigned ops_of_kind(enum dev_sim_fault_kind kind)
{
	switch (kind) {
	case DEV_SIM_LOSE_WRITE:
	case DEV_SIM_MISDIRECT:
		return DEV_SIM_OP(DEV_WRITE) | DEV_SIM_OP(DEV_DISCARD);
	case DEV_SIM_FLIP_READ:
		return DEV_SIM_OP(DEV_READ);
	default:
		return DEV_SIM_ALL_OPS;
	}
}

static bool fault_hits(struct fault *f, const struct dev_io *io)
{
	unsigned ops = ops_of_kind(f->f.kind) & (f->f.ops ? f->f.ops : DEV_SIM_ALL_OPS);

	if (!f->armed || !(ops & DEV_SIM_OP(io->op)))
		return false;
	if (f->f.nblocks && !touches(io, f->f.first_block, f->f.nblocks))
		return false;
	if (++f->seen < f->f.nth)
		return false;
	if (!f->f.for_good)
		f->armed = false;
	return true;
}

/* Where the request's blocks really go, and how much later than usual. */
static uint64_t apply_faults(struct sim *s, struct dev_io *io, uint64_t *delay_ns)
{
	struct sim_io *p = private_of(io);
	uint64_t block = io->block;

	for (int i = 0; i < DEV_SIM_MAX_FAULTS; i++) {
		struct fault *f = &s->faults[i];

		if (!fault_hits(f, io))
			continue;
		switch (f->f.kind) {
		case DEV_SIM_FAIL:
			p->fail = true;
			break;
		case DEV_SIM_LOSE_WRITE:
			p->lose = true;
			break;
		case DEV_SIM_MISDIRECT:
			block = f->f.target;
			if (block > s->dev.nblocks - io->nblocks)
				block = s->dev.nblocks - io->nblocks;
			break;
		case DEV_SIM_FLIP_READ:
			p->flip = true;
			break;
		case DEV_SIM_DELAY:
			*delay_ns += f->f.delay_ns;
			break;
		}
	}
	return block;
}

static void copy_write(struct sim *s, struct dev_io *io, uint64_t block)
{
	struct list *l = &private_of(io)->versions;

	for (int i = 0; i < io->niov; i++) {
		const char *p = io->iov[i].iov_base;

		for (uint64_t n = io->iov[i].iov_len / DEV_BLOCK; n; n--, block++, p += DEV_BLOCK)
			version_add(s, l, block, sim_page_new(p));
	}
}

static void copy_discard(struct sim *s, struct dev_io *io, uint64_t block)
{
	for (uint64_t n = io->nblocks; n; n--, block++) {
		/* zeros over zeros need no version */
		if (sim_tree_find(&s->current, block) || sim_tree_find(&s->medium, block))
			version_add(s, &private_of(io)->versions, block, NULL);
	}
}

static void count(struct sim *s, const struct dev_io *io)
{
	s->stats.requests[io->op]++;
	s->stats.blocks[io->op] += io->op == DEV_FLUSH ? 0 : io->nblocks;
	s->stats.total++;
	if (s->cut_in && !--s->cut_in)
		dev_sim_cut_now(&s->dev);
}

static void sim_submit(struct dev *d, struct dev_io *io)
{
	struct sim *s = to_sim(d);
	struct sim_io *p = private_of(io);
	uint64_t block, delay_ns = 0;

	if (s->submit_fn)
		s->submit_fn(s->submit_arg, d, io);
	if (s->opts.check_overlap && !s->stats.cut)
		check_overlap(s, io);
	memset(p, 0, sizeof(*p));
	p->sim = s;
	list_init(&p->versions);
	timer_init(&p->timer, request_due);
	count(s, io);
	list_add_tail(&s->in_flight, &io->entry);
	s->stats.in_flight++;
	if (!s->stats.cut) {
		block = apply_faults(s, io, &delay_ns);
		p->flush_covers = s->completed;
		if (io->op == DEV_WRITE)
			copy_write(s, io, block);
		else if (io->op == DEV_DISCARD)
			copy_discard(s, io, block);
	} else if (s->opts.hang_after_cut) {
		return;
	}
	timer_set(&p->timer, delay_ns +
		  rng_range(&s->rng, s->opts.latency_min_ns, s->opts.latency_max_ns));
}

/* ---- power cuts ---- */

void dev_sim_cut_now(struct dev *d)
{
	struct sim *s = to_sim(d);
	struct list *e;

	if (s->stats.cut)
		return;
	s->stats.cut = true;
	s->cut_in = 0;
	if (s->opts.hang_after_cut) {
		list_each(e, &s->in_flight)
			timer_cancel(&private_of(container_of(e, struct dev_io, entry))->timer);
	}
	if (s->cut_fn)
		s->cut_fn(s->cut_arg, d);
}

void dev_sim_cut_at(struct dev *d, uint64_t nth, void (*fn)(void *arg, struct dev *d), void *arg)
{
	struct sim *s = to_sim(d);

	s->cut_in = nth;
	s->cut_fn = fn;
	s->cut_arg = arg;
}

struct resolver {
	enum dev_sim_cut_mode mode;
	struct rng rng;
	const uint8_t *bitmap;
	uint64_t index;
	unsigned keep_percent;
	struct sim_tree *tree;
};

static void resolve_random(struct resolver *r, const struct version *v)
{
	unsigned mask;

	if (rng_below(&r->rng, 100) >= r->keep_percent)
		return;
	if (!rng_one_in(&r->rng, 4)) {
		sim_tree_set(r->tree, v->block, sim_page_get(v->page));
		return;
	}
	mask = rng_u64(&r->rng);
	sim_tree_set(r->tree, v->block,
		     torn_page(sim_tree_find(r->tree, v->block), v->page, mask));
}

static void resolve(struct resolver *r, const struct list *versions)
{
	const struct list *e;

	list_each(e, versions) {
		const struct version *v = container_of(e, struct version, entry);
		uint64_t i = r->index++;

		if (r->mode == DEV_SIM_CUT_RANDOM)
			resolve_random(r, v);
		else if (r->mode == DEV_SIM_CUT_KEEP ||
			 (r->mode == DEV_SIM_CUT_SUBSET && (r->bitmap[i / 8] & 1u << i % 8)))
			sim_tree_set(r->tree, v->block, sim_page_get(v->page));
	}
}

struct dev_sim_image *dev_sim_crash_image(struct dev *d, enum dev_sim_cut_mode mode, uint64_t seed,
					  const uint8_t *bitmap)
{
	/* mostly lost, even, mostly kept: one hole among many blocks finds other bugs than
	 * one block among many holes */
	static const unsigned keep[] = { 5, 50, 50, 95 };
	struct sim *s = to_sim(d);
	struct dev_sim_image *image = sim_alloc(sizeof(*image));
	struct resolver r = { .mode = mode, .bitmap = bitmap, .tree = &image->tree };
	struct list *e;

	assert(mode != DEV_SIM_CUT_SUBSET || bitmap);
	image->refs = 1;
	image->nblocks = d->nblocks;
	sim_tree_share(&image->tree, &s->medium);
	rng_init(&r.rng, seed);
	r.keep_percent = keep[rng_below(&r.rng, 4)];
	if (mode == DEV_SIM_CUT_DROP)
		return image;
	resolve(&r, &s->cache);
	list_each(e, &s->in_flight)
		resolve(&r, &private_of(container_of(e, struct dev_io, entry))->versions);
	return image;
}

/* Ends every request: with -EIO at the end of this turn, or, if they hang, never. */
static void drop_in_flight(struct sim *s, bool hang)
{
	struct list *e;

	while ((e = list_pop(&s->in_flight))) {
		struct dev_io *io = container_of(e, struct dev_io, entry);

		versions_free(s, &private_of(io)->versions);
		timer_cancel(&private_of(io)->timer);
		s->stats.in_flight--;
		if (!hang)
			dev_io_complete_later(io, -EIO);
	}
}

static void install(struct sim *s, const struct dev_sim_image *image)
{
	versions_free(s, &s->cache);
	sim_tree_release(&s->medium);
	sim_tree_release(&s->current);
	sim_tree_share(&s->medium, &image->tree);
	sim_tree_share(&s->current, &image->tree);
}

void dev_sim_power_cut(struct dev *d, enum dev_sim_cut_mode mode, uint64_t seed)
{
	struct sim *s = to_sim(d);
	struct dev_sim_image *image;

	assert(mode != DEV_SIM_CUT_SUBSET);
	image = dev_sim_crash_image(d, mode, seed, NULL);
	drop_in_flight(s, s->opts.hang_after_cut);
	install(s, image);
	dev_sim_image_put(image);
	s->stats.cut = false;
	s->cut_in = 0;
}

/* ---- making, faults, a look inside ---- */

static void sim_close(struct dev *d)
{
	struct sim *s = to_sim(d);

	drop_in_flight(s, true);
	versions_free(s, &s->cache);
	sim_tree_release(&s->medium);
	sim_tree_release(&s->current);
	munmap(s, sizeof(*s));
}

static const struct dev_ops sim_ops = {
	.submit = sim_submit,
	.close = sim_close,
};

int dev_sim_new_from(const struct dev_sim_opts *opts, struct dev_sim_image *image,
		     struct dev **ret_dev)
{
	uint64_t nblocks = opts->nblocks || !image ? opts->nblocks : image->nblocks;
	struct sim *s;

	if (!nblocks || nblocks > SIM_TREE_MAX_BLOCKS || (image && nblocks < image->nblocks) ||
	    opts->latency_min_ns > opts->latency_max_ns)
		return -EINVAL;
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		return -ENOMEM;
	s->opts = *opts;
	s->opts.nblocks = nblocks;
	rng_init(&s->rng, opts->seed);
	list_init(&s->cache);
	list_init(&s->in_flight);
	if (image)
		install(s, image);
	s->dev.ops = &sim_ops;
	s->dev.nblocks = nblocks;
	s->dev.can_discard = true;
	snprintf(s->dev.name, sizeof(s->dev.name), "simulated disk");
	*ret_dev = &s->dev;
	return 0;
}

int dev_sim_new(const struct dev_sim_opts *opts, struct dev **ret_dev)
{
	return dev_sim_new_from(opts, NULL, ret_dev);
}

void dev_sim_stats(const struct dev *d, struct dev_sim_stats *ret_stats)
{
	*ret_stats = to_sim(d)->stats;
}

void dev_sim_on_submit(struct dev *d, void (*fn)(void *arg, struct dev *d, const struct dev_io *io),
		       void *arg)
{
	struct sim *s = to_sim(d);

	s->submit_fn = fn;
	s->submit_arg = arg;
}

int dev_sim_inject(struct dev *d, const struct dev_sim_fault *fault)
{
	struct sim *s = to_sim(d);

	for (int i = 0; i < DEV_SIM_MAX_FAULTS; i++) {
		if (!s->faults[i].armed) {
			s->faults[i] = (struct fault){ .f = *fault, .armed = true };
			return 0;
		}
	}
	return -ENOSPC;
}

void dev_sim_clear_faults(struct dev *d)
{
	struct sim *s = to_sim(d);

	memset(s->faults, 0, sizeof(s->faults));
}

void dev_sim_fail_nth(struct dev *d, uint64_t nth, bool for_good)
{
	struct dev_sim_fault f = { .kind = DEV_SIM_FAIL, .nth = nth, .for_good = for_good };

	if (dev_sim_inject(d, &f))
		die(to_sim(d), "more than %d faults injected", DEV_SIM_MAX_FAULTS);
}

void dev_sim_peek(struct dev *d, uint64_t block, void *ret_data)
{
	sim_page_read(sim_tree_find(&to_sim(d)->current, block), ret_data);
}

void dev_sim_poke(struct dev *d, uint64_t block, const void *data)
{
	struct sim *s = to_sim(d);
	struct sim_page *p = sim_page_new(data);

	assert(block < d->nblocks);
	drop_older(s, block);
	sim_tree_set(&s->current, block, sim_page_get(p));
	sim_tree_set(&s->medium, block, p);
}

void dev_sim_corrupt(struct dev *d, uint64_t block, uint64_t seed)
{
	uint8_t data[DEV_BLOCK];
	struct rng rng;

	rng_init(&rng, seed);
	rng_fill(&rng, data, sizeof(data));
	dev_sim_poke(d, block, data);
}

void dev_sim_flip_bit(struct dev *d, uint64_t block, unsigned bit)
{
	uint8_t data[DEV_BLOCK];

	assert(bit < DEV_BLOCK * 8);
	dev_sim_peek(d, block, data);
	data[bit / 8] ^= 1 << bit % 8;
	dev_sim_poke(d, block, data);
}

/* ---- images ---- */

struct dev_sim_image *dev_sim_image_get(struct dev_sim_image *image)
{
	image->refs++;
	return image;
}

void dev_sim_image_put(struct dev_sim_image *image)
{
	if (!image || --image->refs)
		return;
	sim_tree_release(&image->tree);
	sim_free(image);
}

uint64_t dev_sim_image_nblocks(const struct dev_sim_image *image)
{
	return image->nblocks;
}

void dev_sim_image_read(const struct dev_sim_image *image, uint64_t block, void *ret_data)
{
	sim_page_read(sim_tree_find(&image->tree, block), ret_data);
}

bool dev_sim_image_equal(const struct dev_sim_image *a, const struct dev_sim_image *b)
{
	return a->nblocks == b->nblocks && sim_tree_equal(&a->tree, &b->tree);
}

static int save_page(void *arg, uint64_t block, const struct sim_page *page)
{
	ssize_t n = pwrite(*(int *)arg, page->data, DEV_BLOCK, block * DEV_BLOCK);

	return n == DEV_BLOCK ? 0 : n < 0 ? -errno : -EIO;
}

int dev_sim_image_save(const struct dev_sim_image *image, const char *path)
{
	CLEANUP_FD int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, image->nblocks * DEV_BLOCK))
		return -errno;
	return sim_tree_each(&image->tree, save_page, &fd);
}

uint64_t dev_sim_live_pages(void)
{
	return sim_live_pages();
}
