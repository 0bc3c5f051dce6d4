/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the pool.  One thread, no locks: code between two waits is atomic.
 *
 *     pool.c        opening, closing, the background fibers, the failed state
 *     txn.c         passes, admission, owning, sharing, dropping
 *     alloc.c       which blocks are free, runs, the freed of each generation
 *     table.c       counts and CRCs: table pages, summaries, the zone directory
 *     log.c         the intent log: appending, writing, flushing
 *     log_read.c    the intent log: reading it back, replay
 *     verify.c      counts and content, for a scrub
 *     sound.c       verifiers of single blocks
 *     fix.c         sets counts right, for a repair
 *     checkpoint.c  freeze, write, flush, superblock, flush, release
 *     cache.c       block memory, look-up, eviction, reads
 *     discard.c     telling the device what is free
 *     super.c       labels
 *     dump.c        what is on the device, as text (dump.h)
 */
#ifndef POOL_INT_H
#define POOL_INT_H

#include <assert.h>
#include <string.h>
#include "base/fiber.h"
#include "base/loop.h"
#include "dev/dev.h"
#include "pool/pool.h"

#define REFS_MAX 0x7fffffffu		/* the greatest count */
#define LIFE_MAX ((1ULL << (64 - EVENT_LIFE_SHIFT)) - 1)	/* the last that fits an event number */

/* Keys of what isn't a block of the pool's address space. */
#define KEY_TABLE (1ULL << 62)		/* | number of the table page (zone * 512 + page) */
#define KEY_SUMMARY (1ULL << 61)	/* | zone */

enum {
	B_VALID = 1,		/* content is there */
	B_READING = 2,
	B_DIRTY = 4,		/* changed in this generation; not on the LRU */
	B_FROZEN = 8,		/* changed in the generation that a checkpoint is writing */
	B_WRITING = 16,		/* memory is under a device write */
	B_NAMED = 32,		/* its address and CRC are in a log record */
	B_UNWRITTEN = 64,	/* named, and the device hasn't completed it */
	B_DEAD = 128,		/* freed: drop it as soon as nothing needs it */
	B_DETACHED = 256,	/* not in the hash: goes back to the free list with its last pin */
	B_REF = 512,		/* used since the clock's hand passed */
	B_LRU = 1024,		/* on the LRU */
	B_WINDOW = 2048,	/* table page: an allocation window looks at it */
	B_EPOCH = 4096,		/* named in the odd epoch of log flushes */
};

struct waiter { struct fiber *fiber; struct waiter *next; };

/* One device request over neighbouring blocks. */
#define RUN_BLOCKS 128
struct run_io {
	struct dev_io io;
	struct pool *pool;
	struct block *blocks[RUN_BLOCKS];
	struct iovec iov[RUN_BLOCKS];
	unsigned n, tries;
	uint64_t place;			/* reads: of the first block; */
	unsigned at;			/* the one that is read again, by itself */
	struct run_io *next;
	void (*done)(struct run_io *r);
	void *arg;
};

/* The blocks of a table page that a generation freed. */
struct pend_page {
	uint64_t page;
	uint64_t bits[PAGE_ENTRIES / 64];
	struct pend_page *next;
};
#define PEND_BUCKETS 4096
#define DISCARD_PAGES 64		/* told to the device at a time: up to 128 MiB */
struct pend {
	struct pend_page *bucket[PEND_BUCKETS];
	uint64_t count;			/* blocks */
};

/* A table page from which blocks are being given out. */
struct window {
	struct block *table;		/* pinned */
	uint64_t page;
	uint64_t bits[PAGE_ENTRIES / 64]; /* free blocks */
	uint16_t nfree;
	uint8_t class;
	uint64_t hint, run;		/* a file's run: hint and index / 512 */
	bool is_run;
	struct list entry;
};
enum alloc_class { CLASS_META, CLASS_DATA, CLASSES };
#define RUNS_MAX 64
#define DAMAGED_MAX 64

struct batch {				/* of log records, being built or waiting to be written */
	uint8_t *buf;
	size_t len, cap;
	uint64_t first_seq, last_seq;
	uint64_t offset;		/* block of the ring, once sealed */
	bool names;			/* a record names data addresses */
	struct list entry;
};
#define BATCH_TARGET (1 << 20)		/* written early from here on */
#define STAGED_MAX (8 << 20)		/* appenders wait from here on */

struct checkpoint {
	bool running;
	uint64_t generation;
	struct list dirty;		/* blocks, through ->dirty */
	struct list tables;		/* table pages, through ->lru */
	uint64_t ntables, ndirty;
	struct pend *pend;
	struct tree_root volumes, reap, held;
	uint64_t reap_entries, last_event;
	uint64_t log_seq, log_offset, log_chain, log_life;
	/* Memory for all of it, so that a checkpoint never fails for want of some: */
	struct superblock *sb;		/* the next one, aligned */
	struct block **order;		/* as many as the cache has: the tables, then the blocks */
	uint64_t *zones;		/* those whose summaries change, and these, pinned: */
	struct block **summaries;
	uint64_t nzones;
	unsigned inflight;
	int error;
	struct fiber *fiber;
};

struct pool {
	struct dev *dev;
	struct pool_opts o;
	struct superblock sb;		/* the durable one */
	struct dir_entry *dir;		/* all zones; as written by the last checkpoint, but types */
	struct dir_entry *dir_out;	/* what a checkpoint is writing of it */
	uint64_t nzones;
	uint64_t life, gen;		/* gen: the one being changed */
	uint32_t max_refs;

	struct tree_root volumes, reap, held;
	uint64_t reap_entries, reap_stuck;
	struct count_watch *watch;

	/* cache.c */
	uint8_t *arena;
	size_t arena_bytes;
	struct block *blocks;
	uint32_t nblocks, nfree, hash_mask;
	struct block **hash;
	struct list free_list, lru;
	uint32_t nlru;
	struct block **readq;
	unsigned nreadq;
	struct run_io *run_pool;
	unsigned reads_inflight, writes_inflight;

	/* table.c */
	struct block *last_table;	/* the table page that was looked up last, or NULL */
	struct list tdirty;		/* table pages changed in this generation */
	uint32_t ntdirty;

	uint64_t passes;		/* load passes begun: names each */
	struct apply *apply;		/* the apply pass under way, or NULL (txn.c) */

	/* dirty blocks of this generation */
	struct list dirty;
	uint32_t ndirty;
	struct list named;		/* B_UNWRITTEN, in order, not being written */
	uint32_t nnamed, named_inflight, named_left[2]; /* left: by parity of the generation */
	uint32_t epoch_left[2];		/* by parity of epoch: what a log flush waits for */
	unsigned epoch;
	bool names_unflushed;
	struct waitq named_wait;
	struct waitq memory_wait;

	/* alloc.c */
	struct pend *pend, *pend_spare;
	struct pend_page *pend_free;
	unsigned npend_free;
	struct list windows[CLASSES], runs;
	unsigned nruns;
	uint64_t avail[CLASSES], avail_runs;
	uint64_t cursor[CLASSES];	/* table page to look at next */
	uint64_t free_now;		/* may be allocated */
	uint64_t damaged[DAMAGED_MAX];	/* keys of table pages and summaries that can't be read: left
					 * alone until the pool is opened again */
	unsigned ndamaged;
	struct pend *discard;		/* durably freed, the device doesn't know yet: not free yet */
	struct pend_page *discarding[DISCARD_PAGES];
	unsigned ndiscarding;
	struct fiber *discard_fiber;
	struct pend *claims;		/* at recovery: named by records still to be replayed */
	uint64_t fixed_blocks, reserve[2];
	struct { uint32_t owner; uint64_t left; } holds[HOLDS_MAX];
	unsigned nholds;
	uint64_t held_blocks;		/* by all of them, with their slack */

	/* log.c */
	uint64_t seq;			/* of the last record appended */
	uint64_t chain;
	uint64_t ring_blocks, ring_head, ring_used; /* blocks */
	struct list batches;		/* sealed, to be written */
	struct batch *cur;
	struct batch *batch_spare;
	size_t staged;
	uint64_t stable, want_stable, written, flushed_to;
	bool unflushed;			/* log was written and not flushed since */
	struct waitq stable_wait, log_space_wait;
	struct fiber *log_fiber;
	bool log_kicked, log_busy;
	struct log_tail *log_tail;	/* recovery: what was read and not replayed */

	/* checkpoint.c */
	struct checkpoint ck;
	struct fiber *ck_fiber;
	bool ck_kicked;
	uint64_t ck_wanted;		/* number of checkpoints asked to have begun */
	uint64_t ck_begun, ck_done;
	struct waitq ck_wait;
	struct timer ck_timer;
	struct fiber *reap_fiber;
	struct waitq reap_wait;
	bool reap_kicked, reaping, reap_paused, reap_wanted;
	unsigned background;		/* fibers alive */
	struct waitq background_wait;
	bool stopping, dead, started, recovering, mending;
	uint64_t replay_seq, replay_chain; /* the record being replayed; hash of the one before */

	/* Writes without DSYNC: begun, ended, and so many of them a flush has made durable. */
	uint64_t writes_begun, writes_ended, writes_flushed;
	unsigned flushing;		/* the log's, the checkpoint's */
	uint64_t flushes_ended;
	bool flush_failed;
	struct waitq flush_wait;

	bool readonly;
	char reason[200];

	struct { uint64_t hits, misses, flushes, written, read, checksum_errors, io_errors,
		 checkpoints, checkpoint_ns, replayed, discarded; } stat;
};

/* cache.c */
int cache_init(struct pool *p);
void cache_done(struct pool *p);
struct block *cache_find(struct pool *p, uint64_t key);
/* A buffer that belongs to nobody, evicting clean blocks if need be; NULL: all is in use. */
struct block *cache_take(struct pool *p);
bool cache_ensure(struct pool *p, uint32_t n);	/* that cache_take() works n times */
void cache_insert(struct pool *p, struct block *b, uint64_t key);
void cache_release(struct pool *p, struct block *b);	/* a buffer from cache_take, or detached */
void cache_drop(struct pool *p, struct block *b);	/* out of the hash; freed, or with its last pin */
void cache_clean(struct pool *p, struct block *b);	/* nothing left to write: to the LRU */
/* Queues a read of B (in the hash, B_READING); sent by cache_send_reads(). */
int cache_queue_read(struct pool *p, struct block *b);
void cache_send_reads(struct pool *p);
int block_wait_read(struct pool *p, struct block *b);	/* pinned by the caller */
uint64_t key_place(struct pool *p, const struct block *b);	/* device block of a read */
struct run_io *run_get(struct pool *p);
void run_put(struct pool *p, struct run_io *r);
void run_submit(struct run_io *r, enum dev_op op, uint64_t block);	/* all of it, at BLOCK */

/* table.c: load passes */
int table_page(struct txn *t, uint64_t page, struct block **ret);
int table_entry(struct txn *t, uint64_t block, const struct table_entry **ret);
int summary_page(struct txn *t, uint64_t zone, struct block **ret);
/* apply passes: the page is there */
struct table_entry *table_entry_write(struct pool *p, uint64_t block);
const struct table_entry *table_entry_now(struct pool *p, uint64_t block);
void table_fill_crc(struct pool *p, uint64_t block, uint32_t crc);
uint64_t table_place(struct pool *p, uint64_t page, unsigned slot);
bool pool_block_ok(const struct pool *p, uint64_t block);

/* alloc.c */
int alloc_init(struct pool *p);
void alloc_done(struct pool *p);
uint64_t alloc_meta(struct pool *p);
uint64_t alloc_data(struct pool *p, uint64_t hint, uint64_t index, bool sequential);
/* Makes sure that so many can be had without waiting: 0, 1 if it waited, -ENOSPC. */
int alloc_prepare(struct txn *t, uint32_t meta, uint32_t data);
void alloc_free(struct pool *p, uint64_t block);	/* freed in this generation */
void alloc_take(struct pool *p, uint64_t block);	/* BLOCK isn't free, as it turns out */
bool alloc_pend_reserve(struct pool *p, uint32_t n);
void alloc_freeze(struct pool *p);
void alloc_release(struct pool *p, struct pend *d);	/* all of D may be given out from now on */
void alloc_release_page(struct pool *p, const struct pend_page *e);
bool pend_test(const struct pend *d, uint64_t block);
void pend_set(struct pool *p, struct pend *d, uint64_t block);
bool pend_clear(struct pend *d, uint64_t block);
void pend_reset(struct pool *p, struct pend *d);

/* discard.c */
void discard_queue(struct pool *p, struct pend *d);	/* what a durable generation freed */
bool discard_holds(const struct pool *p, uint64_t block);
uint64_t discard_under_way(const struct pool *p);	/* blocks */
void discard_skip(struct pool *p);
void discard_fiber_main(void *arg);

/* log.c */
int log_init(struct pool *p);
void log_done(struct pool *p);
void log_kick(struct pool *p);
void log_fiber_main(void *arg);
void log_seal(struct pool *p);
bool log_has_room(struct pool *p, uint64_t bytes);
uint64_t log_used_blocks(const struct pool *p);
void named_kick(struct pool *p);
void named_start(struct pool *p, uint32_t keep);
int named_wait_gen(struct pool *p, unsigned parity);
uint64_t log_hash(const struct log_record *r);
void log_trim(struct pool *p, uint64_t offset, uint64_t seq);

/* log_read.c */
int log_recover(struct pool *p, char *why, size_t why_len);
void log_tail_free(struct pool *p);
/* Where the log starts for a checkpoint that is taken now. */
void log_position(struct pool *p, struct checkpoint *ck);

/* checkpoint.c */
int ck_init(struct pool *p);
void ck_done(struct pool *p);
void ck_kick(struct pool *p);
void ck_fiber_main(void *arg);
int ck_wait_next(struct pool *p);	/* kicks; waits for one that begins from now on */
int ck_wait_any(struct pool *p);	/* waits for the one under way, or kicks one */

/* super.c */
uint64_t super_zones(uint64_t nblocks);
uint32_t page_usable(const struct superblock *sb, uint64_t page); /* blocks that may be given out */
int super_write(struct pool *p, struct superblock *sb);	/* aligned */
int super_mend(struct pool *p);

/* sound.c */
/* Is B, which is in memory, usable as a block of LEVEL of a tree of KIND?  0 or -EDAMAGED. */
int block_sound(struct pool *p, struct block *b, unsigned level, unsigned kind);

/* txn.c */
/* See txn_abandon(). */
void apply_abandon(struct pool *p, const char *what, uint64_t block) __attribute__((noreturn));
/* In an apply pass: what the load pass has made sure of, if the pool is sound. */
#define insist(p, cond, what, block) do { if (!(cond)) apply_abandon(p, what, block); } while (0)
void block_freed(struct pool *p, uint64_t addr);	/* its count has come to zero */
int txn_wait_missing(struct txn *t);
void txn_pin(struct txn *t, struct block *b);
void txn_wait_for(struct txn *t, struct block *b);

/* pool.c */
void reap_kick(struct pool *p);
int pool_flush(struct pool *p);
bool pool_all_flushed(const struct pool *p);	/* nothing lies in the device's cache only */
#define WRITE_TRIES 4			/* in place, before the pool is given up */
#define WRITE_PAUSE_NS 10000000
const char *way_out(int err);		/* what people can do about a failed write */

/* The count of BLOCK has changed by DELTA. */
static inline void watch_count(struct pool *p, uint64_t block, int delta)
{
	if (p->watch && block - p->watch->first < p->watch->n)
		p->watch->expected[block - p->watch->first] += delta;
}

static inline uint64_t ptr_block(uint64_t ptr) { return ptr & PTR_BLOCK_MASK; }

#endif
