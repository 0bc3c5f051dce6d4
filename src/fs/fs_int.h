/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the file system layer.
 *
 *     fs.c        opening, closing, status, requests
 *     walk.c      volume records, inodes, permissions, attributes
 *     volume.c    volumes: create, list, set, destroy;  catalog.c  which ones there are, in memory
 *     snapshot.c  snapshots; restoring and cloning volumes
 *     inode_ops.c getattr, setattr, access, fsstat
 *     file.c      pages of files, reading, writing, truncating
 *     quota.c     what volumes and directories with quotas may map, and map
 *     charge.c    what transactions take, and who pays;  meter.c  what volumes with a limit hold of the pool
 *     lookup.c    lookup, readdir;  name.c  create, remove, link;  rename.c
 *     orphan.c    files without a name;  hold.c  files that must stay when they lose theirs
 *     clone.c     clones; clone_tree.c  of whole directories
 *     range.c     clones of ranges, holes;  allocate.c  room for what will be written
 *     xattr.c     extended attributes
 *     dedup*.c    deduplication;  scrub*.c  the scrub;  pace.c, job_state.c  of both
 *     account.c   where the space went; account_count.c  what of it is stored, what would be freed
 *     family.c    what a file was cloned from, and all clones of that
 *     diff.c      what differs between two files, two volumes;  names.c  all names below a directory
 *     record.c    log records: what goes in, and replay
 *     repl_read.c what replication reads; repl_build.c  hidden volumes, and how they are attached (repl.h)
 *     sound.c     verifiers of inode blocks and volume records
 *     dir*.c      directories as B+trees
 *     check*.c    the offline checker;  mend*.c  its repairs;  salvage.c  damaged pages of directories, for both
 *     seen.c      sets of blocks, for walks that look at each once;  dump*.c  what is on the device, as text
 *
 * Every operation is a struct *_op with all its arguments and a do_* function that is run in
 * passes (pool/pool.h); what isn't deterministic (time, keys) is in the struct, and so in the
 * log record.  Replay fills the same struct and runs the same function.
 */
#ifndef FS_INT_H
#define FS_INT_H

#include <assert.h>
#include <string.h>
#include "base/err.h"
#include "base/fiber.h"
#include "base/list.h"
#include "fs/dir.h"
#include "fs/file.h"
#include "fs/format.h"
#include "fs/fs.h"
#include "pool/pool.h"
#include "tree/tree.h"

#define SEQ_HINTS 256

/* Who is held (hold.c), and the fiber that removes orphans. */
struct hold;
struct holds {
	struct hold **buckets;
	uint32_t size, n;
	struct list doomed;		/* orphans that nobody holds any more */
	bool running, stopping;		/* the fiber */
	bool sweep;			/* it shall look for orphans of earlier lives */
	uint32_t sweep_volume;		/* and for those that this one came with */
	bool keeping;			/* files of earlier lives may be held again: none is removed */
	uint64_t removed;
	struct waitq idle;		/* the fiber has ended */
};

/* What volumes with a limit hold (meter.c). */
struct meter_due { uint32_t volume; bool wanted; uint64_t next_ns; };
struct meters {
	uint32_t counting;		/* the volume that is being counted; 0: none */
	bool regrouped;			/* since then: what it did changed what is shared */
	uint64_t moved;			/* and so many blocks came or went */
	struct meter_due *due;		/* those that were to be counted anew, and when they may be the next time */
	uint32_t n, cap;
	bool running, stopping;		/* the fiber */
	bool give_way;			/* it is to end its count: somebody waits for one */
	struct waitq counted;		/* nobody counts any more; the fiber has ended */
};

struct meter_count;
struct scrub;
struct dedup_job;
struct dedup_index;
struct write_dups;

/* Which volumes and snapshots there are (catalog.c). */
struct cat_entry;
struct catalog {
	struct cat_entry **by_id, **by_name;	/* both sorted, under their parent */
	uint32_t n, cap;
	uint32_t last_id;		/* the greatest that was ever given out */
	struct cat_entry *spare;	/* for the next apply pass */
	int damage;			/* a part of the table can't be read: why */
};

/* What a repair does before the log is replayed (pool_opts.mend). */
struct fs_mend {
	int (*fn)(void *arg, struct pool *p);
	void *arg;
	bool cut_log;
};

struct fs {
	struct pool *pool;
	struct fs_config cfg;
	uint64_t verifier, volume_epoch, ops, open_ns;
	uint32_t system_volume;		/* its id; 0: not looked for yet */
	struct { uint64_t hint, next; } seq[SEQ_HINTS];	/* where the last write of a file ended */
	struct fs_replayed *replayed;
	uint32_t nreplayed, replayed_cap;
	uint8_t *zeros;			/* a block of zeros, for holes */
	struct scrub *scrub;
	struct dedup_job *dedup;
	struct dedup_index *dedup_index;	/* NULL: nothing was written that goes in */
	struct fs_dedup_counts dedup_counts;
	struct catalog catalog;
	struct holds holds;
	struct meters meters;
	const struct fs_guard *guard;	/* NULL: none */
	const struct fs_mend *mend;	/* while it is opened; NULL: nothing to mend */
};
#define REPLAYED_MAX 4096

/* Runs a do_* function for a request; raises req->stable_seq after an apply pass. */
int fs_run(struct fs_req *req, enum txn_space space, bool modify, bool stable,
	   int (*fn)(struct txn *, void *), void *arg);
/* What a do_* function returns in a load pass when there is nothing to change: done. */
#define DONE 1

uint64_t fs_now(void);
int fs_open_mended(struct dev *d, const struct fs_config *cfg, const struct fs_mend *mend,
		   struct fs **ret_fs, char *why, size_t why_len);

/* dedup_job.c: as those of the scrub */
int dedup_init(struct fs *fs);
void dedup_done(struct fs *fs);
void dedup_stop_soon(struct fs *fs);
void dedup_stop(struct fs *fs);

/* scrub.c */
int scrub_init(struct fs *fs);
void scrub_done(struct fs *fs);
void scrub_stop_soon(struct fs *fs);
void scrub_stop(struct fs *fs);		/* waits; it goes on after the next opening */

/* meter.c: as those of the scrub */
void meters_init(struct fs *fs);
void meters_done(struct fs *fs);
void meters_stop_soon(struct fs *fs);
void meters_stop(struct fs *fs);

/* The last thing to ask in a load pass: may the request use file ID so? */
static inline int guard_ask(const struct txn *t, const struct fs_req *req, struct fs_id id,
			    enum fs_use use)
{
	const struct fs_guard *g = req->fs->guard;

	return g && !t->apply ? g->ask(g->arg, req, id, use) : 0;
}

/* What the server itself writes down about its clients must find room where they do not. */
static inline enum txn_space space_for(const struct fs *fs, struct fs_id id)
{
	return fs->system_volume && id.volume == fs->system_volume ? SPACE_DELETE : SPACE_ORDINARY;
}

/* ---- sound.c ----------------------------------------------------------------------------- */

/* What is wrong with a block; NULL: it can be used. */
const char *inodes_verify(const void *block);
const char *volumes_verify(const void *block);

/* ---- walk.c ------------------------------------------------------------------------------ */

/* The volume's record, to read; -ESTALE if there is none. */
int volume_get(struct txn *t, uint32_t id, struct volume **ret);
int volume_own(struct txn *t, uint32_t id, struct volume **ret);
/* Record ID to read, whatever it is of; -ESTALE where the table has no block. */
int volume_record_get(struct txn *t, uint32_t id, struct volume **ret);
/* The record of snapshot ID of VOLUME, to read; -ESTALE. */
int snapshot_get(struct txn *t, uint32_t volume, uint32_t id, struct volume **ret);
/* The FS_SNAPSHOT_DIR of directory INO, made up until the pass ends; VOL is live. */
int snapdir_get(struct txn *t, const struct volume *vol, uint64_t ino, uint64_t generation,
		struct inode **ret);
/* Directory DIR of the live volume as it is in snapshot SNAP; -ESTALE: it is not in it. */
int snapshot_dir(struct txn *t, const struct volume *snap, struct fs_id dir, struct inode **ret);
/* Record number ID whatever its state; in a load pass of a new block an all-zero one. */
int volume_slot_own(struct txn *t, uint32_t id, struct volume **ret);
/* In VOL, which volume_get() or volume_own() gave.  -ESTALE unless it is in use and of that
 * generation (0: any). */
int inode_get(struct txn *t, const struct volume *vol, uint64_t ino, uint64_t generation,
	      struct inode **ret);
int inode_own(struct txn *t, struct volume *vol, uint64_t ino, uint64_t generation,
	      struct inode **ret);
int inode_slot_own(struct txn *t, struct volume *vol, uint64_t ino, struct inode **ret);

static inline uint64_t volume_reserve_left(const struct volume *v)
{
	return v->reserve > v->charged ? v->reserve - v->charged : 0;
}
/* Who pays for what is done in V, and gets back what is freed (txn.owner). */
static inline uint32_t volume_payer(const struct volume *v)
{
	return v->reserve || v->meter ? v->id : 0;
}

/* Both in one: the usual beginning of an operation on ID. */
int object_get(struct txn *t, struct fs_id id, struct volume **ret_vol, struct inode **ret);
int object_own(struct txn *t, struct fs_id id, struct volume **ret_vol, struct inode **ret);

/* Inodes to give out.  The cursor makes load passes see what the apply pass will take. */
struct ino_cursor {
	uint64_t free, next;
	uint64_t owned;			/* the block that the last one was in, + 1 */
	uint64_t mark, power, lap;	/* of the list of free inodes: to notice a loop */
};
void ino_cursor_init(struct ino_cursor *c, const struct volume *vol);
int ino_take(struct txn *t, struct volume *vol, struct ino_cursor *c, uint64_t *ret_ino,
	     struct inode **ret);
/* Its last link is gone: its blocks go to the reaper, the inode to the free list. */
int inode_release(struct txn *t, struct volume *vol, uint64_t ino, struct inode *i);

struct dir dir_of(struct txn *t, const struct volume *vol, struct inode *i, uint64_t ino);
uint64_t file_hint(uint32_t volume, uint64_t ino);

enum { MAY_EXEC = 1, MAY_WRITE = 2, MAY_READ = 4 };
bool may(const struct fs_cred *c, const struct inode *i, unsigned want);
bool is_owner(const struct fs_cred *c, const struct inode *i);
bool in_group(const struct fs_cred *c, uint32_t gid);
/* Whether the sticky bit of DIR keeps the caller from removing I. */
bool sticky_forbids(const struct fs_cred *c, const struct inode *dir, const struct inode *i);

struct fs_id id_of(const struct volume *vol, uint64_t ino, const struct inode *i);
void attr_fill(struct fs_attr *a, const struct volume *vol, uint64_t ino, const struct inode *i);
void wcc_pre(struct fs_wcc *w, const struct volume *vol, uint64_t ino, const struct inode *i);
void wcc_post(struct fs_wcc *w, const struct volume *vol, uint64_t ino, const struct inode *i);
/* Apply pass: the inode's data or attributes have changed. */
void touch_data(struct txn *t, struct inode *i, int64_t now);	/* mtime, ctime, change */
void touch_meta(struct txn *t, struct inode *i, int64_t now);	/* ctime, change */

/* ---- file.c ------------------------------------------------------------------------------ */

/* Changes the size; drops what lies behind it.  VOL and I are owned. */
int file_resize(struct txn *t, struct volume *vol, uint64_t ino, struct inode *i, uint64_t size);
int symlink_write(struct txn *t, struct inode *i, const char *target);

/* ---- quota.c ----------------------------------------------------------------------------- */

static inline struct dir_quota *quota_in(struct inode *dir)
{
	return (struct dir_quota *)(void *)dir->inline_data;
}

/* The directory whose quota I counts for, to read; NULL: there is none. */
int quota_dir_get(struct txn *t, const struct volume *vol, const struct inode *i, struct inode **ret);
/* What new files in directory DIR begin with. */
void quota_inherit(struct inode *i, const struct inode *dir);
/* -EXDEV: what is in directory A counts for another quota than what is in B. */
int quota_same(struct txn *t, const struct volume *vol, const struct inode *a, const struct inode *b);
/* Load pass: may I and others of its quota map so many blocks more?  -EDQUOT. */
int quota_check(struct txn *t, const struct volume *vol, const struct inode *i, uint64_t more_blocks);
/* The volume, and what I counts for, will have (load) or have (apply) so many blocks and inodes more: the
 * volume's files are its own affair.  Load passes call it even for 0 and don't look at the numbers. */
int quota_account(struct txn *t, struct volume *vol, const struct inode *i, int64_t blocks, int64_t files);
/* Apply pass: what VOL maps, or its soft limit, is another, not by quota_account(). */
void quota_warn(const struct txn *t, struct volume *vol);
/* Directory I, owned, with a quota, is in the volume's list from now on. */
int quota_dir_link(struct txn *t, struct volume *vol, struct inode *i, uint64_t ino);
/* Directory I, which may have a quota, is no more. */
int quota_dir_gone(struct txn *t, struct volume *vol, const struct inode *i);
/* Blocks that I and others of its quota may still map. */
int quota_left(struct txn *t, const struct volume *vol, const struct inode *i, uint64_t *ret);
/* The file without a name counts for DIR's quota from now on.  BESIDES: blocks that come along with it, or, below
 * 0, go for it. */
int quota_move(struct txn *t, struct volume *vol, struct inode *i, const struct inode *dir, int64_t besides);
/* A volume's record begins a life in which the directories' quotas of before mean nothing. */
void quota_forget_all(struct volume *vol);
/* VOL gets the inodes of FROM, and so its directories with quotas. */
void quota_take_over(struct volume *vol, const struct volume *from);

/* ---- meter.c ----------------------------------------------------------------------------- */

static inline uint64_t volume_held(const struct volume *v)
{
	return v->held > 0 ? v->held : 0;
}

static inline uint64_t volume_physical_left(const struct volume *v)
{
	return !v->physical ? UINT64_MAX : v->physical > volume_held(v) ? v->physical - volume_held(v) : 0;
}

/* What the reaper has to take apart, and can: entries. */
static inline uint64_t reaping(const struct fs *fs)
{
	return *pool_reap_entries(fs->pool) - *pool_reap_stuck(fs->pool);
}

/* pool_opts.charge: the volume T's owner pays what T takes, and is asked whether it may. */
int volume_charge(void *fs, struct txn *t);
/* VOLUME is to be counted anew, in the background, if that wasn't done lately. */
void meter_want(struct fs *fs, uint32_t volume);
/* The reaper's work may make room: does some of it.  False: that is in vain.  *UNTIL_NS: 0 at first. */
bool meter_make_room(struct fs *fs, uint64_t *until_ns);
/* Apply pass: others come to share so many blocks of VOLUME's, or who knows how many. */
void meter_shared(struct fs *fs, uint32_t volume, uint64_t blocks);
#define METER_ALL UINT64_MAX
struct volume_op;
/* do_volume_set() with a limit, or a count: load pass, what will be set; apply pass. */
int meter_load(struct txn *t, struct volume_op *o, const struct volume *v);
void meter_apply(const struct volume_op *o, struct volume *v);
/* Runs O, which sets a limit other than 0: counts first if need be, until STOP, which may be NULL: -EINTR. */
int meter_limit(struct volume_op *o, const bool *stop);

struct quota_op {
	struct fs_req *req;
	struct fs_id id;
	int64_t limit, soft;		/* blocks; -1: leave */
	bool clear;
	uint64_t now;
	struct tree_list *list;		/* what counts for it from now on */
	struct fs_quota info;		/* out */
};
int do_quota_set(struct txn *t, void *arg);

/* ---- names -------------------------------------------------------------------------------- */

int name_check(struct fs_name n);
bool is_dot(struct fs_name n);
bool is_dotdot(struct fs_name n);
bool is_snapshot_dir(struct fs_name n);
/* What F is about can be in directory DIR: not DIR itself, nor what no name leads to.  Or -EDAMAGED. */
int child_check(struct fs_id dir, const struct dir_found *f);
int create_check(const struct fs_req *req, const struct fs_create *how);

struct create_op {
	struct fs_req *req;
	struct fs_id dir;
	struct fs_name name;
	struct fs_create how;
	uint64_t now;
	uint32_t uid, gid;		/* of the new inode; gid may give way to a setgid directory */
	bool unnamed;			/* in the orphan directory */
	bool existed;			/* out */
	struct fs_attr attr;		/* out */
	struct fs_wcc wcc;
};
int do_create(struct txn *t, void *arg);

struct remove_op {
	struct fs_req *req;
	struct fs_id dir;
	struct fs_name name;
	struct fs_id only;		/* ino 0: whatever has that name */
	bool want_dir;
	bool keep;			/* as an orphan: it is held */
	uint64_t now;
	struct fs_wcc wcc;
};
int do_remove(struct txn *t, void *arg);

struct link_op {
	struct fs_req *req;
	struct fs_id file, dir;
	struct fs_name name;
	bool replace;
	bool keep;			/* what is replaced */
	uint64_t now;
	struct fs_attr attr;
	struct fs_wcc wcc;
};
int do_link(struct txn *t, void *arg);

struct rename_op {
	struct fs_req *req;
	struct fs_id from_dir, to_dir;
	struct fs_name from, to;
	bool keep;			/* what is replaced */
	uint64_t now;
	struct fs_wcc from_wcc, to_wcc;
};
int do_rename(struct txn *t, void *arg);
/* An owned inode loses one name (apply) or will (load).  With its last one it goes, or becomes an
 * orphan: *keep says which, a load pass finds it out, and the record tells it to replay. */
int unlink_inode(struct txn *t, struct fs *fs, struct volume *vol, uint64_t ino, uint64_t now,
		 bool *keep);

/* ---- orphan.c ------------------------------------------------------------------------------ */

void orphan_name(char buf[17], uint64_t ino, struct fs_name *ret);
int join_orphans(struct txn *t, struct fs *fs, struct volume *vol, uint64_t ino, uint64_t now);
int leave_orphans(struct txn *t, struct volume *vol, uint64_t ino);
int do_forget(struct txn *t, void *arg);	/* struct link_op: file */
/* The orphans that VOLUME came with from elsewhere are removed in the background. */
void sweep_volume_later(struct fs *fs, uint32_t volume);
/* Removes all orphans that VOLUME had when it was cloned or restored, and of earlier lives. */
int sweep_volume(struct fs *fs, uint32_t volume, const bool *stop);
/* Removes an orphan unless it is held.  0 too when there is nothing to remove any more. */
int forget_orphan(struct fs *fs, struct fs_id id);
/* Removes all orphans of earlier lives of the pool that nobody holds; ends early when *STOP is set. */
int sweep_orphans(struct fs *fs, const bool *stop);

/* ---- hold.c -------------------------------------------------------------------------------- */

void holds_init(struct fs *fs);
void holds_stop(struct fs *fs);		/* waits for the fiber */
void holds_done(struct fs *fs);
bool is_held(struct fs *fs, struct fs_id id);
/* Calls FN for each file of the live VOLUME that is held, until it returns other than 0. */
int holds_each(struct fs *fs, uint32_t volume, int (*fn)(void *arg, struct fs_id id), void *arg);
/* ID has no name any more: the last who holds it shall remove it. */
void hold_orphaned(struct fs *fs, struct fs_id id);
/* Waits for orphans that are to be removed; whether any was. */
bool holds_drain(struct fs *fs);

struct clone_op {
	struct fs_req *req;
	struct fs_id src, dir;
	const struct fs_name *names;
	uint32_t count, bad;
	uint64_t now;
	uint8_t *packed;		/* the names as they go into the record; NULL in replay */
	size_t packed_len;
	uint32_t uid, gid;		/* of the clones; CLONE_OWNER_SRC in uid: as the source */
	struct fs_attr first;
};
#define CLONE_OWNER_SRC UINT32_MAX
int do_clone(struct txn *t, void *arg);

/* What is in a directory (clone_tree.c). */
struct tree_item {
	uint64_t ino, generation;	/* of the source */
	uint64_t new_ino;
	uint32_t parent;		/* directories: the item that they are in */
	uint32_t names;
	uint8_t type;
};
struct tree_list {
	struct tree_item *items;
	uint32_t n, cap;
	uint32_t *slots;		/* by inode: item + 1 */
	uint32_t nslots;
	uint64_t mapped;
};
struct clone_tree_op {
	struct fs_req *req;
	struct fs_id src, dir;
	struct fs_name name;
	uint64_t now;
	struct tree_list *list;
	struct inode project;		/* as all that is made counts for a quota */
	struct fs_attr attr;		/* out */
};
int do_clone_tree(struct txn *t, void *arg);
struct tree_list *tree_list_new(void);
void tree_list_free(struct tree_list *l);
/* Load pass: directory TOP, and all below it; an inode once, however many names it has.  LOOK, which may be NULL,
 * is called for each.  -E2BIG: more than FS_TREE_MAX. */
int tree_list_walk(struct txn *t, const struct volume *vol, struct fs_id top, struct tree_list *l,
		   int (*look)(void *arg, const struct tree_item *item, const struct inode *i), void *arg);

struct range_op {
	struct fs_req *req;
	struct fs_id src, dst;
	uint64_t src_offset, dst_offset, len;	/* len: of what is still to do */
	uint64_t now;
	bool drop_suid;
	bool begun;			/* a part of it is done */
	uint64_t done;			/* out: bytes */
	struct fs_wcc wcc;
};
int do_clone_range(struct txn *t, void *arg);

struct punch_op {
	struct fs_req *req;
	struct fs_id id;
	uint64_t offset, len;
	uint64_t now;
	bool drop_suid;
	struct fs_wcc wcc;
};
int do_punch(struct txn *t, void *arg);

struct xattr_op {
	struct fs_req *req;
	struct fs_id id;
	struct fs_name name;
	const void *value;		/* of LEN bytes; NULL: the attribute is removed */
	uint32_t len;
	enum fs_xattr_how how;
	uint64_t now;
	struct xattr_buf *now_there, *then;	/* all attributes, before and after */
	struct fs_wcc wcc;
};
int do_xattr_set(struct txn *t, void *arg);
int xattr_prepare(struct xattr_op *o);	/* its buffers */
void xattr_release(struct xattr_op *o);

/* ---- other operations --------------------------------------------------------------------- */

struct setattr_op {
	struct fs_req *req;
	struct fs_id id;
	struct fs_setattr set;
	bool grow_only;			/* a size that is as large stays; nothing to do then */
	bool drop_suid;
	uint64_t now;
	struct fs_wcc wcc;
};
int do_setattr(struct txn *t, void *arg);

struct write_op {
	struct fs_req *req;
	struct fs_id id;
	uint64_t offset;
	const struct iovec *iov;
	int niov;
	uint32_t len;
	uint64_t now;
	bool named;			/* data goes to blocks that the record names */
	bool sequential;
	bool drop_suid;			/* as POSIX: a write by others than root drops setuid, setgid */
	uint32_t nblocks;
	uint8_t zero[(FS_IO_MAX / BLOCK_SIZE + 2 + 7) / 8]; /* whole blocks of zeros: holes */
	uint64_t *claim_blocks;		/* named; in replay: what the record names */
	uint32_t *claim_crcs;
	uint32_t nclaims, claim_at;
	uint64_t new_blocks;		/* load pass: mapped blocks more than now, at most */
	struct write_dups *dups;	/* NULL: none are looked for */
	bool no_dups;			/* not to be looked for */
	struct fs_wcc wcc;
};
int do_write(struct txn *t, void *arg);
void write_replay_prepare(struct write_op *o);	/* what follows from a record's fields */

struct volume_op {
	struct fs_req *req;
	const char *schedule;		/* NULL: leave */
	const char *name, *exports;	/* VOLUME_SYSTEM_NAME: the hidden one */
	uint32_t id;
	uint8_t uuid[16], hash_key[16];
	int64_t quota, soft, reserve;	/* -1: leave */
	bool strict;			/* no quota below what is used */
	uint32_t dedup;			/* 0: leave; else VOLUME_DEDUP_SET, with _ON */
	bool limit_given;
	uint64_t limit;			/* with that */
	bool meter_begins, meter_ends;
	struct meter_count *count;	/* what was counted; NULL: nothing */
	/* by the load pass, and in the record: */
	uint32_t meter;			/* 0: leave; else VOLUME_METER_SET, with the record's */
	uint64_t physical;
	int64_t moved;			/* with that: to add to HELD */
	uint64_t now;
	struct fs_volume_info info;
};
enum { VOLUME_DEDUP_SET = 1, VOLUME_DEDUP_ON = 2 };
#define VOLUME_METER_SET 0x100
int do_volume_create(struct txn *t, void *arg);
int do_volume_destroy(struct txn *t, void *arg);
int do_volume_set(struct txn *t, void *arg);
/* fs_volume_get() and fs_volume_next() that find the hidden volume, too. */
int volume_get_any(struct fs *fs, uint32_t id, struct fs_volume_info *ret_info);
int volume_next_any(struct fs *fs, uint32_t after, struct fs_volume_info *ret_info);

int volume_name_legal(const char *name);
void volume_info_fill(struct fs_volume_info *info, const struct volume *v, uint64_t root_generation);
void snapshot_info_fill(struct fs_snapshot_info *info, const struct volume *s, uint64_t root_generation);
/* A user's volume by its name: its id.  -ENOENT. */
int volume_id(struct fs *fs, const char *name, uint32_t *ret_id);
/* Record ID, whose tree was dropped, is no more.  LAST_ID: the last that there will be. */
int volume_forget(struct txn *t, struct fs *fs, uint32_t id, uint32_t last_id);
/* Load pass: the id for a new record, with what the apply pass needs to add it to the catalog. */
int volume_new_id(struct txn *t, struct fs *fs, uint32_t *ret_id);
/* Record ID, new, to be filled in and given to catalog_add(). */
int volume_new(struct txn *t, uint32_t id, struct volume **ret);

enum snapshot_act { SNAPSHOT_CREATE, SNAPSHOT_DESTROY, SNAPSHOT_RESTORE, SNAPSHOT_CLONE };
struct snapshot_op {
	struct fs_req *req;
	enum snapshot_act act;
	const char *volume, *snapshot;	/* names; SNAPSHOT_CLONE: NULL or "" for none */
	const char *name;		/* SNAPSHOT_CLONE: of the new volume */
	uint8_t uuid[16];
	bool force;
	uint64_t now;
	uint32_t id;			/* of what is new */
	struct fs_snapshot_info info;
	struct fs_volume_info vinfo;
};
int do_snapshot(struct txn *t, void *arg);

/* ---- catalog.c ---------------------------------------------------------------------------- */

/*
 * Volumes and snapshots by name and in order, without looking through the table.  Snapshots have the
 * id of their volume as PARENT, volumes 0.
 */
int catalog_load(struct fs *fs);	/* once, when nothing has changed the table yet; may wait */
void catalog_done(struct fs *fs);
int catalog_find(const struct fs *fs, uint32_t parent, const char *name, uint32_t *ret_id);
/* The first id greater than AFTER, with a state in STATES (bits).  -ENOENT, or what damage there is. */
int catalog_next(const struct fs *fs, uint32_t parent, uint32_t after, unsigned states, uint32_t *ret_id);
uint32_t catalog_count(const struct fs *fs, uint32_t parent);
/* Load pass: makes sure of what the next catalog_add() needs. */
int catalog_reserve(struct fs *fs);
void catalog_add(struct fs *fs, const struct volume *v);
void catalog_remove(struct fs *fs, const struct volume *v);
void catalog_rename(struct fs *fs, const struct volume *v, const char *name);

/* ---- repl_build.c -------------------------------------------------------------------------- */

#define RECORD_ATTACH 40
#define RECORD_INODE_SET 41
int replay_attach(struct fs_req *req, const struct log_record *rec, const void *payload, size_t len);
int replay_inode_set(struct fs_req *req, const struct log_record *rec, const void *payload, size_t len);

/* ---- record.c ----------------------------------------------------------------------------- */

/* Each adds to the needs in a load pass and appends in the apply pass. */
void record_create(struct txn *t, const struct create_op *o);
void record_remove(struct txn *t, const struct remove_op *o);
void record_link(struct txn *t, const struct link_op *o, bool forget);
void record_rename(struct txn *t, const struct rename_op *o);
int record_clone(struct txn *t, const struct clone_op *o);
void record_clone_tree(struct txn *t, const struct clone_tree_op *o);
void record_clone_range(struct txn *t, const struct range_op *o);
void record_punch(struct txn *t, const struct punch_op *o);
int clone_pack_names(struct clone_op *o);	/* o->packed is the caller's to free */
void record_xattr(struct txn *t, const struct xattr_op *o);
void record_setattr(struct txn *t, const struct setattr_op *o);
void record_write(struct txn *t, const struct write_op *o);
void record_volume_create(struct txn *t, const struct volume_op *o);
void record_volume_destroy(struct txn *t, const struct volume_op *o);
void record_volume_set(struct txn *t, const struct volume_op *o);
void record_snapshot(struct txn *t, const struct snapshot_op *o);
void record_quota(struct txn *t, const struct quota_op *o);
int record_replay(void *fs, const struct log_record *rec, const void *payload,
		  const uint64_t *claim_blocks, const uint32_t *claim_crcs, uint32_t nclaims);

#endif
