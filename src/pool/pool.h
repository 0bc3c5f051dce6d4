/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool: blocks with counts, generations, the intent log, checkpoints.
 *
 * The one idea: a block has a count of the pointers to it, and a block that more than one
 * pointer leads to, or that an earlier generation has made durable, is never changed.
 *
 * Everything happens inside of transactions.  A transaction is a function that is run in two
 * kinds of passes over the same code:
 *
 *   load pass   t->apply is false.  The function walks as it will later, changes nothing,
 *               brings in what it needs (txn_block() and friends start reads and return
 *               -ERESTART_PASS), and adds up what it will need (t->need_*).  Passes are
 *               repeated until one has found everything without waiting.
 *   apply pass  t->apply is true.  Follows such a load pass without any wait in between, so
 *               it sees exactly the same state.  It never waits and never fails.
 *
 * So an operation is atomic without undo, and the freeze of a generation is a plain call
 * between two applies.  Pointers into blocks are valid until the pass ends; a pointer got in
 * a load pass must not be written through.
 */
#ifndef POOL_POOL_H
#define POOL_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/list.h"
#include "pool/format.h"

struct dev;
struct pool;
struct txn;

/* What a tree's leaves hold.  Kept in reap entries on the device: don't renumber. */
enum tree_kind { TREE_FILE = 0, TREE_INODES = 1, TREE_VOLUMES = 2, TREE_REAP = 3, TREE_KINDS };

/* A pointer that a block holds to another: level 0 is a leaf of its tree.  OFFSET: its byte in
 * the block that holds it.  OWNER: whose hold gets back what is freed of it; 0: that of the block. */
struct child { uint64_t ptr; uint8_t level, kind; uint16_t offset; uint32_t owner; };
#define LEAF_CHILDREN_MAX 32
/* Lists the pointers in a leaf of its kind; returns how many (at most LEAF_CHILDREN_MAX). */
typedef unsigned (*leaf_children_fn)(const void *leaf, struct child *ret);
/* Says what is wrong with a leaf of its kind; NULL: it can be used. */
typedef const char *(*leaf_verify_fn)(const void *leaf);

/* ---- blocks --------------------------------------------------------------------------- */

struct block {
	uint64_t key;			/* block number; or a table page or summary (pool_int.h) */
	uint64_t birth;			/* generation it was dirtied in; 0: durable or unknown */
	uint64_t counted;		/* the load pass that has counted the cost of copying it */
	uint8_t *data;			/* BLOCK_SIZE bytes */
	uint32_t pins;
	uint32_t flags;
	uint32_t crc;			/* what a read expects, or what was written */
	int error;			/* of the last read */
	uint8_t sound_as;		/* what it was verified as (sound.c); 0: nothing yet */
	struct block *hash_next;
	struct block *frozen;		/* table pages: what the frozen generation looked like */
	struct list lru;		/* or free list */
	struct list dirty;		/* of its generation, or of the named data */
	struct waiter *waiters;
};

/* Takes and drops a pin from outside of a transaction; never waits.  While pinned, the memory
 * stays, whatever becomes of the block. */
void block_pin(struct block *b);
void block_unpin(struct pool *p, struct block *b);

/* ---- transactions --------------------------------------------------------------------- */

/* Who may use the last blocks of a pool. */
enum txn_space {
	SPACE_ORDINARY,			/* stops at the first reserve */
	SPACE_DELETE,			/* deletes, truncates: at the second */
	SPACE_PRIVILEGED,		/* destroying, reaping, replay: may use all */
};

struct tally;

#define TXN_PINS_INLINE 48
struct txn {
	struct pool *pool;
	bool apply;
	bool modify;			/* will have an apply pass */
	bool missing;			/* this load pass has started reads */
	bool replay;			/* a record from the log: nothing is logged again */
	enum txn_space space;
	uint64_t replay_seq, replay_time_ns; /* event and time of the record being replayed */
	/* worst cases, added up by load passes: */
	uint32_t need_meta;		/* metadata blocks to allocate */
	uint32_t need_data;		/* data blocks */
	uint32_t need_tables;		/* table pages to change */
	uint32_t need_reap;		/* entries for the reap list (tree/reap.c) */
	uint64_t more, copied;		/* of these blocks, what its owner has more of in the end: what is new, and
					 * copies of what others have too */
	uint64_t need_log;		/* bytes of log */
	uint64_t hold;			/* blocks that are to be free, and held, beside these */
	uint32_t owner;			/* of the hold that pays for what it takes (pool_hold()); 0: none */
	bool uncounted;			/* what is taken and freed now is nobody's: the pool's own lists */
	bool limited, unlimited;	/* load pass: its owner's limit holds even for a delete; not at all */
	int64_t net;			/* apply pass: blocks taken, less those freed */
	bool regrouped;			/* apply pass: more pointers, or fewer, lead to a block that stays */
	bool recount;			/* from pool_opts.charge: what its owner holds is to be counted anew */
	uint64_t pass;			/* number of this load pass */
	struct tally *tally;		/* what this load pass will do to counts (txn.c) */
	uint32_t ntally, tally_cap;
	/* out, of the apply pass: */
	uint64_t seq;			/* of the record that was appended */
	/* the pool's: */
	struct block **pins, *pins_inline[TXN_PINS_INLINE];
	uint32_t npins, pins_cap;
	struct block *wait_for[8];
	uint32_t nwait;
	unsigned passes;
	unsigned starved;		/* times that the cache had no memory for it */
	bool unpinned;			/* something could not be pinned: no apply pass may follow */
};

/*
 * Runs FN as described above.  modify false: load passes only (a read).  Returns what FN
 * returned, or an error from admission: -ENOSPC (after waiting for what could still be
 * freed), -EROFS, -ENOMEM, -EIO, -EDAMAGED.
 * txn_begin/txn_end bracket one or several runs: pins are kept until txn_end().
 */
void txn_begin(struct txn *t, struct pool *p);
int txn_run(struct txn *t, bool modify, int (*fn)(struct txn *t, void *arg), void *arg);
void txn_end(struct txn *t);

/*
 * The block that PTR (flags are masked off) leads to, pinned until txn_end().
 * -ERESTART_PASS: a read was started; the function may ask for more blocks and must then
 * return -ERESTART_PASS.  In an apply pass it is there.
 */
int txn_block(struct txn *t, uint64_t ptr, struct block **ret);

/* Load pass: starts to read those of N blocks that aren't in the cache, for whoever comes next.  Neither waits
 * nor fails: what needs more than a block's own read, or memory that is in use, is left out. */
void txn_read_ahead(struct txn *t, const uint64_t *ptrs, uint32_t n);
/* Load pass: as txn_block_as(), but what isn't in the cache, or not sound, is NULL. */
struct block *txn_peek(struct txn *t, uint64_t ptr, uint8_t level, uint8_t kind);

/* The same, for a block of LEVEL (0: a leaf) of a tree of KIND: also -EDAMAGED when it is none that can
 * be used as such.  KIND matters for leaves only. */
int txn_block_as(struct txn *t, uint64_t ptr, uint8_t level, uint8_t kind, struct block **ret);

/*
 * An apply pass has met what can't be in a sound pool: a count of 0 where a pointer leads, two ways to a
 * block that has a count of 1.  No checksum, and no look at a block by itself, tells that beforehand.
 * Doesn't return: the pass ends here, half done, but only in memory, for the pool is read-only from now
 * on and nothing of this generation is written any more; txn_run() returns -EDAMAGED.  Nothing that an
 * apply pass calls may hold what only it could release.
 */
void txn_abandon(struct txn *t, const char *what) __attribute__((noreturn));

/*
 * The block that *PTR leads to, for changing.  Load pass: brings it and what copying it needs
 * in; *ret is the block as it is (never write to it), NULL if *PTR is 0.  Apply pass: *ret may
 * be written to, and *PTR (its block number part) is the new place if it was copied or made (a
 * new block is zeroed).  LEVEL and KIND say what it is: copying a shared block adds 1 to each
 * of its children.  The caller owns the block that holds PTR.
 */
int txn_own(struct txn *t, uint64_t *ptr, uint8_t level, uint8_t kind, struct block **ret);

/*
 * Data blocks: a new place for data of the file HINT at block index INDEX (the allocator lays
 * a file's blocks in runs).  txn_own_data: as txn_own for a leaf of TREE_FILE, but the old
 * content is only carried over when KEEP (else the caller overwrites all of it).
 */
int txn_own_data(struct txn *t, uint64_t *ptr, bool keep, uint64_t hint, uint64_t index,
		 bool sequential, struct block **ret);

/*
 * The last write to a whole data block in an apply pass whose content will be named by the
 * log record instead of being in it: computes its CRC and queues it for the device.  Returns
 * the CRC.  The block won't be changed in place again.
 */
uint32_t txn_name_data(struct txn *t, struct block *b);

/*
 * One more pointer to *PTR: count + 1; where the count is at its limit, *PTR becomes a copy.
 */
int txn_share(struct txn *t, uint64_t *ptr, uint8_t level, uint8_t kind);

/* One pointer less: count - 1; at zero the block is freed, and what it points to is the
 * caller's to drop (before).  Inner blocks are dropped by tree_drop(). */
int txn_unref(struct txn *t, uint64_t ptr);

/* The pointers in a block of this level and kind that are not holes. */
unsigned block_children(struct pool *p, const struct block *b, uint8_t level, uint8_t kind,
			struct child ret[INDEX_SLOTS]);

/* B was made or copied in the present generation: nobody read it from the device. */
bool block_is_new(const struct txn *t, const struct block *b);

/* The count of a block (0 in a load pass that returned -ERESTART_PASS). */
int txn_refs(struct txn *t, uint64_t ptr, uint32_t *ret);

/* What the table says of a block. */
struct block_facts {
	uint32_t refs;			/* as txn_refs() */
	uint32_t crc;			/* 0: not known yet, since it has not been written */
	bool full;			/* no further pointer to it: its count is at the limit */
};
int txn_look(struct txn *t, uint64_t ptr, struct block_facts *ret);

/* Replay only: take over a block that the log record names, instead of allocating. */
int txn_claim(struct txn *t, uint64_t *ptr, uint64_t block, uint32_t crc);

/* Many blocks are about to be asked for: lets the processor's cache misses overlap. */
void blocks_prefetch(struct pool *p, const uint64_t *ptrs, uint32_t n);

/* ---- the log -------------------------------------------------------------------------- */

struct txn_claim_run { uint64_t block; uint32_t count; };	/* as many CRCs follow in crcs[] */
struct txn_record {
	uint16_t type;
	const void *head;		/* the payload: this, then the iovecs */
	size_t head_len;
	const struct iovec *payload;
	int npayload;
	uint64_t drc_client;
	uint32_t drc_xid, drc_proc;
	uint64_t time_ns;
	const uint64_t *claim_blocks;	/* nclaims of each: what txn_name_data() was called for */
	const uint32_t *claim_crcs;
	uint32_t nclaims;
};
/* The number that the next record will get: what "now" is on the event clock. In replay, the
 * record's own. */
uint64_t txn_event(struct txn *t);
/* Apply pass: appends; sets t->seq.  Does nothing in replay. */
void txn_log(struct txn *t, const struct txn_record *r);
/* Bytes to add to need_log for a record. */
uint64_t txn_log_need(uint64_t payload_len, uint32_t nclaims);
uint64_t pool_record_max(struct pool *p);	/* the largest payload */

int pool_wait_stable(struct pool *p, uint64_t seq);
uint64_t pool_last_seq(struct pool *p);

/* ---- the pool's roots ----------------------------------------------------------------- */

struct tree_root { uint64_t ptr; uint8_t depth; };
/* Starts FN(ARG) in a fiber that pool_close() waits for: it must end soon when that has begun (or
 * operations fail).  The last that it does is pool_background(p, -1). */
int pool_spawn(struct pool *p, void (*fn)(void *arg), void *arg, const char *name);
void pool_background(struct pool *p, int delta);

/*
 * What is expected of the counts of some blocks, while a pool is looked over (tree/hold.h): whoever
 * finds a pointer adds 1, and every change of a count is added as it happens.
 */
struct count_watch { uint64_t first, n; uint32_t *expected; };
void pool_watch(struct pool *p, struct count_watch *w);	/* NULL: nothing any more; never waits */

/* While paused, the reaper lies still.  Who needs its space asks for an end of that. */
void pool_reap_pause(struct pool *p, bool pause);
bool pool_reap_wanted(const struct pool *p);
/* Somebody holds blocks and watches (tree/hold.h): asks for an end of that, and waits a little.  False:
 * nobody does. */
bool pool_ask_holder(struct pool *p);

/* What verifying finds wrong with a block. */
enum verify_what {
	VERIFY_COUNT,			/* its count is REFS, and POINTERS lead to it */
	VERIFY_CONTENT,			/* not what its checksum says */
	VERIFY_UNREADABLE,
};
typedef void verify_fn(void *arg, uint64_t block, enum verify_what what, uint32_t refs, uint32_t pointers);
/* Compares the counts of table page PAGE with EXPECTED (PAGE_ENTRIES of them), at one instant. */
int pool_verify_counts(struct pool *p, uint64_t page, const uint32_t *expected, verify_fn *fn, void *arg);
/* Reads from the device, past the cache, the blocks of PAGE whose bits are set, which must be durable
 * and stay allocated meanwhile.  BUF: PAGE_ENTRIES blocks, aligned.  Adds to *BYTES what it read. */
int pool_verify_content(struct pool *p, uint64_t page, const uint64_t bits[PAGE_ENTRIES / 64], void *buf,
			verify_fn *fn, void *arg, uint64_t *bytes);

/*
 * Repairs.  Sets the counts of blocks of table page PAGE, whatever they were, and has the free counts of
 * page and zone counted anew.  -EIO, -EDAMAGED: the page can't be read; -EROFS, -ENOMEM.
 */
struct count_fix { uint64_t block; uint32_t refs; };
int pool_fix_counts(struct pool *p, uint64_t page, const struct count_fix *fixes, unsigned n);
/* Also what else is wrong with ZONE's directory entry. */
int pool_fix_zone(struct pool *p, uint64_t zone);

/*
 * Holds: blocks that only transactions of their owner may take, as far as others leave them.  LEFT: so many,
 * and HOLD_SLACK more for what a transaction takes before it frees.  Never wait.
 */
#define HOLDS_MAX 1000
#define HOLD_SLACK 300
bool pool_hold_room(const struct pool *p, uint32_t owner);	/* for one more, if OWNER has none */
void pool_hold(struct pool *p, uint32_t owner, uint64_t left);
void pool_unhold(struct pool *p, uint32_t owner);
/* What all have, but OWNER; without the slack: from deletes, which give back more than they take. */
uint64_t pool_held_from(const struct pool *p, uint32_t owner);
uint64_t pool_left_from(const struct pool *p, uint32_t owner);
/* The pool is to be opened by none that doesn't know these features; returns when that is durable. */
int pool_require(struct pool *p, uint64_t incompat);

void pool_reap_kick(struct pool *p);		/* there is something to reap */
struct tree_root *pool_volumes(struct pool *p);	/* changed in apply passes only */
struct tree_root *pool_reap(struct pool *p);
struct tree_root *pool_held(struct pool *p);
uint64_t *pool_reap_entries(struct pool *p);
/* So many of them, the lowest, can't be taken apart for damage, and are left alone until the pool is
 * opened again. */
uint64_t *pool_reap_stuck(struct pool *p);

/* ---- opening, closing ----------------------------------------------------------------- */

struct pool_opts {
	size_t cache_bytes;
	unsigned checkpoint_ms;
	bool readonly;
	uint32_t max_refs;
	unsigned checkpoint_writes;	/* at once; 0: as many as is good */
	bool no_background;
	uint64_t seed;
	leaf_children_fn children[TREE_KINDS];
	leaf_verify_fn verify[TREE_KINDS];
	/* Replays one record (in order) through the same functions as the first time; payload and
	 * claims lie behind it.  Called in a fiber; may wait. */
	int (*replay)(void *arg, const struct log_record *rec, const void *payload,
		      const uint64_t *claim_blocks, const uint32_t *claim_crcs, uint32_t nclaims);
	/* At the end of each pass that has an owner, successful so far: accounts t->net. */
	int (*charge)(void *arg, struct txn *t);
	/* Frees something that is on the reap list: a bounded step.  Returns 1 if it did something,
	 * 0 if the list is empty, or a negative code. */
	int (*reap_step)(void *arg);
	/* Before anything is replayed or given out: sets right what the last checkpoint left.  NULL: nothing. */
	int (*mend)(void *arg, struct pool *p);
	bool cut_log;			/* where the log is damaged, it ends: what follows is given up */
	void *arg;
};
struct pool_format_opts {
	uint64_t nblocks, log_bytes;
	uint8_t uuid[16];
	uint64_t seed;
};
int pool_format(struct dev *d, const struct pool_format_opts *o);
int pool_new(struct dev *d, const struct pool_opts *o, struct pool **ret, char *why, size_t why_len);
/* Second half of opening: replays the log and checkpoints (o->replay is called here). */
int pool_recover(struct pool *p, char *why, size_t why_len);
/* Third: starts the checkpoint timer and the reaper. */
int pool_start(struct pool *p);
int pool_close(struct pool *p, bool checkpoint);

int pool_checkpoint(struct pool *p);		/* waits until durable */
int pool_reap_all(struct pool *p);
bool pool_readonly(struct pool *p);
/* Makes the pool read-only for good (until it is opened again), saying why; logs it. */
void pool_fail(struct pool *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

const struct superblock *pool_super(struct pool *p);
uint64_t pool_life(struct pool *p);
uint64_t pool_now_ns(void);

struct pool_status {
	uint64_t free_blocks, pending_blocks, reserved_blocks, held_blocks, fixed_blocks, nblocks;
	uint64_t life, generation, seq;
	uint64_t log_bytes, log_used;
	uint64_t cache_bytes, cache_used, dirty_bytes, hits, misses;
	uint64_t checkpoints, checkpoint_ns, flushes, written, read, checksum_errors, io_errors;
	uint64_t replayed;
	bool readonly;
	char reason[200];
};
void pool_status(struct pool *p, struct pool_status *ret);

/* ---- verifiers of single blocks (sound.c): what is wrong, or NULL --------------------------- */

const char *root_verify(uint64_t ptr, unsigned depth);
const char *index_verify(const void *block, unsigned level, uint64_t nblocks);
const char *reap_verify(const void *block);
const char *zones_verify(const struct dir_entry *e, uint64_t n);
const char *summary_verify(const struct summary_entry e[ZONE_PAGES]);
const char *table_verify(const struct table_entry e[PAGE_ENTRIES], const struct superblock *sb, uint64_t page);
/* Magic, version and checksum are right. */
const char *super_verify(const struct superblock *sb);
/* The header alone, then all r->len bytes. */
const char *record_verify_head(const struct log_record *r, uint64_t ring_bytes);
const char *record_verify(const struct log_record *r, uint64_t ring_bytes);

/* ---- read-only look at a pool's label, for checkers -------------------------------------- */

/* Reads the newest valid superblock.  EFORMAT with WHY if there is none or it can't be used. */
int super_read(struct dev *d, struct superblock *ret, char *why, size_t why_len);
/* The first block that may be given out in the zone of block B; true if B is a fixed block. */
bool block_is_fixed(const struct superblock *sb, uint64_t b);

#endif
