/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door into storage: everything above (NFS, management, the simulator, fuzzers) calls
 * these functions and no others.  (account.h, diff.h, family.h and names.h belong to it.)
 *
 * All run on the loop's thread that opened the pool, in a fiber, and may wait unless said
 * otherwise.  All return 0 or a negative code (base/err.h); results through ret_ parameters
 * are untouched on failure, but attributes and wcc data are filled in as far as known.
 *
 * Each operation is atomic, in memory and over a crash.  It is stable (survives a crash) once
 * fs_wait_stable() has returned 0 for a number at least that of the request; operations raise
 * req->stable_seq to what their caller has to wait for before it acknowledges.  Unstable
 * writes and the times that reads leave behind don't raise it.
 *
 * Permissions are checked here, against the request's credentials, as POSIX and RFC 1813
 * section 4.4 want it (the owner may always read and write the data of his file).
 */
#ifndef FS_FS_H
#define FS_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct dev;
struct fs;
struct fiber;

#define FS_NAME_MAX 255			/* bytes in a name */
#define FS_VOLUME_NAME_MAX 63
#define FS_SYMLINK_MAX 1024
#define FS_LINK_MAX 65000
#define FS_MAX_SIZE ((int64_t)1 << 60)	/* largest file, bytes */
#define FS_IO_MAX (1 << 20)		/* most bytes in one read or write */
#define FS_XATTR_VALUE_MAX 65536		/* bytes of one extended attribute's value */
#define FS_GROUPS_MAX 64
#define FS_ROOT_INO 1			/* of every volume */
#define FS_CLONES_MAX 100000		/* in one atomic call */
#define FS_EXPORTS_MAX 1023
#define FS_SCHEDULE_MAX 127
#define FS_SNAPSHOT_DIR ".snapshot"	/* in every directory, to look up: no other file's name */

/* ---- opening ------------------------------------------------------------------------- */

struct fs_format_opts {
	uint64_t nblocks;		/* 0: the whole device */
	uint64_t log_bytes;		/* 0: by size */
	uint8_t uuid[16];		/* all zero: random */
};

struct fs_config {
	size_t cache_bytes;		/* block cache; at least 16 MiB, 32 for pools over 4 GiB */
	unsigned checkpoint_ms;		/* 0: 5000 */
	bool readonly;
	bool keep_orphans;		/* what has no name stays until fs_drop_orphans() */
	/* Test hooks: 0 is the ordinary value. */
	uint32_t max_refs;		/* overflow of a block's count */
	bool no_background;		/* no timer checkpoints and no reaper: the test calls them */
	uint64_t seed;			/* of hash keys and UUIDs, when not 0 */
	unsigned checkpoint_writes;	/* at most so many at once; few make checkpoints long */
	uint32_t scrub_window;		/* blocks; a multiple of 512 */
	uint32_t dedup_leaders;		/* CRCs that a pass of the job remembers */
	uint32_t dedup_index;		/* blocks that are known to what is written */
};

/* Writes an empty pool onto D.  -ENOSPC when the device is too small (FS_MIN_BLOCKS). */
#define FS_MIN_BLOCKS 4096
int fs_format(struct dev *d, const struct fs_format_opts *opts);

/*
 * Opens the pool on D: chooses the superblock, replays the log, takes a checkpoint.  On
 * failure WHY (if not NULL) gets one line for people.  D stays the caller's, to close after
 * fs_close().  A pool that is found damaged is opened read-only, and fs_status() says why.
 */
int fs_open(struct dev *d, const struct fs_config *cfg, struct fs **ret_fs, char *why,
	    size_t why_len);
/* Ends background work, takes a last checkpoint, frees all.  No operation may be under way.  What is
 * still held may be; if it has no name, the next opening finds it. */
int fs_close(struct fs *fs);
/* The same without writing anything: what a crash leaves.  For tests. */
void fs_abandon(struct fs *fs);

/* A secret of this pool (16 bytes, kept in its label): keys file handles, so that they survive
 * restarts and can't be guessed. */
void fs_pool_secret(struct fs *fs, uint8_t ret_key[16]);

/* Of deduplication, since opening. */
struct fs_dedup_counts {
	uint64_t written_blocks;	/* whole blocks that were looked for, while writing */
	uint64_t found_blocks;		/* of these, that were there already */
	uint64_t freed_blocks;		/* by jobs in the background */
};

struct fs_status {
	uint8_t uuid[16];
	uint64_t size_blocks, free_blocks, reserved_blocks;	/* reserved: not for ordinary use */
	uint64_t meta_blocks;		/* fixed: labels, tables, log */
	uint64_t held_blocks;		/* for volumes with reservations */
	uint64_t pending_free_blocks;	/* free after the next checkpoint */
	uint64_t life, generation, log_seq;
	uint64_t log_bytes, log_used_bytes;
	uint64_t cache_bytes, cache_used_bytes, dirty_bytes;
	uint64_t cache_hits, cache_misses;
	uint64_t checkpoints, last_checkpoint_ns;
	uint64_t reap_entries;
	uint64_t ops, flushes, blocks_written, blocks_read;
	uint64_t replayed_records;	/* at open */
	uint64_t open_ns;		/* how long opening took */
	uint64_t checksum_errors, io_errors;
	struct fs_dedup_counts dedup;
	bool readonly;
	char reason[200];		/* why readonly; empty else */
};
void fs_status(struct fs *fs, struct fs_status *ret_st);	/* never waits */

/* A checkpoint now; returns when it is durable. */
int fs_checkpoint(struct fs *fs);
/* Runs the reaper until nothing is left (tests, and ENOSPC); first removes what fs_unhold() left. */
int fs_reap_all(struct fs *fs);

/*
 * Verifies a pool that nobody has open: recounts every reference, verifies every checksum,
 * every structure.  Calls REPORT for each finding, one line each.  Replays nothing: it looks
 * at the last checkpoint.  Returns the number of findings, or a negative code when it cannot
 * even begin.
 */
struct fs_check_stats {
	uint64_t blocks, index_blocks, inodes, directories, files, volumes, log_records;
	uint64_t walks;			/* over all metadata, to count pointers */
	uint64_t findings;		/* of the first check, where there were several */
	uint64_t repairs;		/* things that were set right */
};
int64_t fs_check(struct dev *d, void (*report)(void *arg, const char *line), void *arg,
		 struct fs_check_stats *ret_stats);
#define FS_CHECK_MEMORY (256ull << 20)
struct fs_check_opts {
	uint64_t memory;		/* bytes that it works in, about (docs/store.md); 0: FS_CHECK_MEMORY */
	/*
	 * Set right what can be known to be right, then check again until nothing more can be; D must be
	 * writable, and nothing that is acknowledged is lost.  DROP_DAMAGED: also what loses something,
	 * that is, names that lead nowhere or can't be read go, and so do all attributes of a file where some
	 * are damaged; a damaged log ends where the damage is.
	 * REPORT gets what the first check found, REPAIRED what was done, LEFT what the last check found, whose
	 * number is returned.  A crash in between leaves a pool that is no worse than it was.
	 */
	bool repair, drop_damaged;
	void (*repaired)(void *arg, const char *line);	/* may be NULL; likewise: */
	void (*left)(void *arg, const char *line);
};
/* O may be NULL. */
int64_t fs_check_with(struct dev *d, const struct fs_check_opts *o,
		      void (*report)(void *arg, const char *line), void *arg,
		      struct fs_check_stats *ret_stats);

/*
 * What lies on a pool that nobody has open, as text: calls LINE for each line.  WHAT is one of FS_DUMPS,
 * with its arguments, NARGS of them in all.  Verifies no more than each structure in itself, so that what
 * is damaged can be looked at.  -EINVAL: there is no such thing to ask for; -ENOENT, -EFORMAT, -EIO,
 * -EDAMAGED: with one line in WHY.
 */
#define FS_DUMPS "superblock | zone N | table BLOCK | block N [AS] | volumes | inode VOLUME N | " \
	"dir VOLUME N | map VOLUME N | xattr VOLUME N | log | reap"
int fs_dump(struct dev *d, const char *const *what, unsigned nargs,
	    void (*line)(void *arg, const char *line), void *arg, char *why, size_t why_len);

/*
 * The scrub: verifies every block in use against its checksum, and every count against the pointers
 * that lead to it, while the pool is in use; at RATE bytes a second (0: as fast as it can).  Where it
 * stands is kept in the pool: fs_scrub_resume(), called once after opening, goes on with one that a
 * restart has interrupted.  -EBUSY: one runs; -EROFS.
 */
#define FS_SCRUB_FINDINGS 200		/* that are kept, the first; all of them are logged */
#define FS_SCRUB_TEXT 512
#define FS_SCRUB_RATE (100u << 20)	/* what is asked for when nobody says: bytes a second */
struct fs_scrub_status {
	bool running;
	uint64_t next_block, total_blocks;	/* looked over up to here */
	uint64_t rate, started_ns, finished_ns;	/* started 0: there never was one */
	uint64_t verified_bytes, findings;
	int result;			/* of one that has ended: 0, or why; -EINTR: it was stopped */
};
int fs_scrub_start(struct fs *fs, uint64_t rate);
int fs_scrub_resume(struct fs *fs);
int fs_scrub_stop(struct fs *fs);	/* waits; -ENOENT: none runs */
void fs_scrub_status(struct fs *fs, struct fs_scrub_status *ret_st);	/* never waits */
/* Finding number I of the last one; NULL: not kept, or there is none. */
const char *fs_scrub_finding(struct fs *fs, uint64_t i);

/*
 * Deduplication in the background: files of VOLUME whose blocks are equal share them, and blocks of zeros
 * become holes; at RATE bytes read a second (0: as fast as it can).  What clones and snapshots share is left
 * as it is, and others come to share it (docs/store.md).  Where it stands is kept in the pool:
 * fs_dedup_resume(), called once after opening, goes on with one that a restart has interrupted.  -EBUSY:
 * one runs; -ENOENT: no such volume; -EROFS.
 */
#define FS_DEDUP_RATE (200u << 20)	/* what is asked for when nobody says */
struct fs_dedup_status {
	bool running;
	char volume[FS_VOLUME_NAME_MAX + 1];	/* empty: there never was one */
	uint32_t volume_id;
	uint64_t rate, started_ns, finished_ns;
	uint64_t done_bytes, total_bytes;	/* of the volume's data */
	uint64_t passes;			/* over it */
	uint64_t compared_bytes;	/* data read to be compared */
	uint64_t freed_bytes;		/* what was saved: blocks not in use any more */
	uint64_t zero_bytes;		/* of these, such as became holes */
	uint64_t kept_bytes;		/* equal, but shared by clones or snapshots, or at the limit of counts */
	uint64_t differing;		/* blocks that had equal CRCs only */
	uint64_t unreadable;		/* blocks that could not be read */
	int result;			/* of one that has ended: 0, or why; -EINTR: it was stopped */
};
int fs_dedup_start(struct fs *fs, const char *volume, uint64_t rate);
int fs_dedup_resume(struct fs *fs);
int fs_dedup_stop(struct fs *fs);	/* waits; -ENOENT: none runs */
void fs_dedup_status(struct fs *fs, struct fs_dedup_status *ret_st);	/* never waits */

/* ---- requests ------------------------------------------------------------------------ */

struct fs_cred {
	uint32_t uid, gid;
	uint32_t ngroups;
	uint32_t groups[FS_GROUPS_MAX];
	bool admin;			/* the management side: no permission checks */
};

struct fs_req {
	struct fs *fs;
	struct fs_cred cred;
	uint64_t stable_seq;		/* out: wait for this before acknowledging; starts at 0 */
	uint64_t drc_client;		/* 0, or who asks, with xid: goes into the log record */
	uint32_t drc_xid, drc_proc;
	const void *by;			/* who asks, as the guard knows him (fs_guard); NULL: nobody */
	bool makes_room;		/* leads to deletes: may use what is kept for them */
};
/* A zeroed request with the management side's credentials. */
void fs_req_admin(struct fs_req *req, struct fs *fs);

/* Waits until everything up to SEQ is on stable storage.  -EROFS/-EIO if that cannot be. */
int fs_wait_stable(struct fs *fs, uint64_t seq);
/* The number of the last operation executed: waiting for it is a COMMIT of everything. */
uint64_t fs_last_seq(struct fs *fs);
/* Differs at every opening of the pool: the write verifier. */
uint64_t fs_verifier(struct fs *fs);

/*
 * Logged (drc_client, drc_xid) of requests that were replayed from the log at opening, so that
 * their retransmission can get its first answer.  RESULT is the object that was made, if any.
 */
struct fs_id {			/* names one incarnation of one file; all of it is in a file handle */
	uint32_t volume;
	uint32_t snapshot;	/* 0: the live volume; else a snapshot's id */
	uint64_t ino;
	uint64_t generation;
};
/* In place of a snapshot's id: the directory FS_SNAPSHOT_DIR in directory INO of the live volume. */
#define FS_SNAPDIR UINT32_MAX
/* The inode number for clients: unique among what has the same fsid. */
static inline uint64_t fs_fileid(struct fs_id id)
{
	return id.snapshot == FS_SNAPDIR ? id.ino | 1ULL << 62 : id.ino;
}
/* That of the place where a snapshot's directory is met: among what has the live volume's fsid. */
static inline uint64_t fs_mounted_fileid(struct fs_id id)
{
	return !id.snapshot || id.snapshot == FS_SNAPDIR ? fs_fileid(id) :
	       1ULL << 63 | (uint64_t)(id.snapshot & 0x7fffff) << 40 | (id.ino & ((1ULL << 40) - 1));
}
struct fs_replayed { uint64_t drc_client; uint32_t drc_xid, drc_proc; struct fs_id result; };
/* Calls FN for each, oldest first, and forgets them. */
void fs_take_replayed(struct fs *fs, void (*fn)(void *arg, const struct fs_replayed *r), void *arg);

/*
 * Who has promised his clients that nobody else reads or changes a file (NFSv4's delegations) is
 * asked before a file is read, and before its data, its attributes or its names are changed, once
 * all else is known to be right; his answer holds until it has happened.
 *
 * ASK returns 0, or -EAGAIN: not yet; it never waits.  The management side waits then and asks
 * again until it may.  Others get -EAGAIN.
 */
enum fs_use { FS_USE_READ, FS_USE_CHANGE };
struct fs_guard {
	int (*ask)(void *arg, const struct fs_req *req, struct fs_id id, enum fs_use use);
	void *arg;
};
/* G stays the caller's; NULL: nobody has promised anything. */
void fs_set_guard(struct fs *fs, const struct fs_guard *g);

/* ---- volumes ------------------------------------------------------------------------- */

struct fs_volume_info {
	uint32_t id;
	char name[FS_VOLUME_NAME_MAX + 1];
	uint8_t uuid[16];
	uint64_t fsid;			/* never used for another volume of this pool */
	uint64_t created_ns;
	uint64_t files;			/* inodes in use */
	uint64_t mapped_blocks;		/* sum over all files, before sharing */
	uint64_t quota_blocks;		/* limit of mapped_blocks; 0: none */
	bool dedup;			/* what is written is looked for among what there is */
	uint64_t soft_blocks;		/* above so many mapped_blocks the log warns, once; 0: none */
	uint64_t reserve_blocks;	/* of the pool, for nobody else; 0: none */
	uint64_t reserve_left_blocks;	/* what it hasn't taken of them */
	uint64_t physical_blocks;	/* limit of held_blocks; 0: none, and those aren't known */
	uint64_t held_blocks;		/* of the pool: what it and its snapshots have, and nobody else */
	bool held_stale;		/* that isn't quite right, and is to be counted */
	uint32_t quota_dirs;		/* directories with quotas */
	char exports[FS_EXPORTS_MAX + 1]; /* text, the NFS layer's (nfs/exports.h); empty: its default */
	char schedule[FS_SCHEDULE_MAX + 1]; /* of snapshots: text, the management layer's; empty: none */
	struct fs_id root;
};
int fs_volume_create(struct fs_req *req, const char *name, struct fs_volume_info *ret_info);
int fs_volume_find(struct fs *fs, const char *name, struct fs_volume_info *ret_info);
int fs_volume_get(struct fs *fs, uint32_t id, struct fs_volume_info *ret_info);
/* The first volume with an id greater than AFTER; -ENOENT at the end. */
int fs_volume_next(struct fs *fs, uint32_t after, struct fs_volume_info *ret_info);
/* -ENOTEMPTY: it has snapshots. */
int fs_volume_destroy(struct fs_req *req, const char *name);
/* NULL/ -1: leave as it is. */
int fs_volume_set(struct fs_req *req, const char *name, const char *exports, int64_t quota_blocks);
int fs_volume_set_dedup(struct fs_req *req, const char *name, bool on);
/*
 * -1: leave as it is.  -EDQUOT: the quota is below what the files map (fs_volume_set() takes that: then they
 * can't grow); -ERANGE: the soft limit is above the quota.  Reserved space is space that the pool has when it
 * is set (-ENOSPC) and that no other volume, snapshot or clone can take: docs/quotas.md.  What of it the volume
 * has used when it is set anew is its own, and not part of the new number.  -ENFILE: FS_RESERVES_MAX volumes
 * have some.
 */
#define FS_RESERVES_MAX 1000
int fs_volume_set_space(struct fs_req *req, const char *name, int64_t quota_blocks, int64_t soft_blocks,
			int64_t reserve_blocks);
/*
 * The same, and the limit of what the volume holds of the pool, with its snapshots (docs/quotas.md).  Setting that for
 * the first time counts it: takes as long as an exact account of the volume; STOP, which may be NULL, ends that with
 * -EINTR.  -EOVERFLOW: it holds more.  -EBUSY: a scrub holds the pool, -E2BIG: it doesn't fit in memory what must be
 * counted (fs/account.h).  0 takes the limit away.
 */
struct fs_limits { int64_t quota_blocks, soft_blocks, reserve_blocks, physical_blocks; };	/* -1: leave as it is */
int fs_volume_limit(struct fs_req *req, const char *name, const struct fs_limits *l, const bool *stop);
/*
 * Counts what the volume holds, if it has a limit: so what others did to blocks that were shared comes to be known.
 * STOP, -EBUSY and -E2BIG as above.  The same happens in the background when
 * the limit refuses something, but not before FS_RECOUNT_NS have passed since the last time.
 */
#define FS_RECOUNT_NS (300 * 1000000000ull)
int fs_volume_recount(struct fs_req *req, uint32_t volume, const bool *stop);
int fs_volume_set_schedule(struct fs_req *req, const char *name, const char *schedule);
/*
 * The directory NAME of the pool's one hidden volume, both made when missing: where the server keeps
 * what it has to know after a restart, in files like any others.  The calls above don't know that
 * volume, nor does anybody who has no fs_id in it.  Its files may use the space that is kept for
 * deletes, so keep them small.
 */
int fs_system_dir(struct fs_req *req, const char *name, struct fs_id *ret_dir);
/* Raised whenever a volume is created, destroyed or set: a cache of export rules compares it. */
uint64_t fs_volume_epoch(struct fs *fs);

/* ---- quotas of directories ------------------------------------------------------------ */

/*
 * A limit for a directory and all that is below it: what their inodes map, before sharing, attributes
 * included, as with a volume's quota, which holds as well.  Refused (-EDQUOT) before anything has changed.
 * No file moves or is linked into such a directory from elsewhere, nor out of it: -EXDEV; clones, and
 * files without a name, may.  What is removed and still held counts until it is gone.
 */
#define FS_QUOTAS_MAX 4096		/* in a volume */
struct fs_quota {
	struct fs_id dir;		/* the directory that has it */
	uint64_t limit_blocks, soft_blocks;	/* 0: none; above soft the log warns, once */
	uint64_t used_blocks;
	uint64_t files;			/* inodes that count for it, with the directory's own */
};
/*
 * For the management side alone (-EPERM).  -1: leave as it is, or none where there is no quota yet.  What
 * is in the directory already counts, in one atomic step: -E2BIG beyond FS_TREE_MAX inodes; -EMLINK: a
 * file there has names elsewhere; -EBUSY: it lies in, or holds, a directory with a quota.  -EDQUOT: the
 * limit is below what is used; -ERANGE: the soft limit is above the limit.  -EINVAL: a volume's root.
 * -ENOTDIR, -ENFILE; -EFBIG: an inode number beyond 32 bits.
 */
int fs_quota_set(struct fs_req *req, struct fs_id dir, int64_t limit_blocks, int64_t soft_blocks,
		 struct fs_quota *ret);
/* O(1), however much is in it.  -ENODATA: it has none. */
int fs_quota_clear(struct fs_req *req, struct fs_id dir);
/* The quota that ID counts for; -ENODATA: none. */
int fs_quota_get(struct fs_req *req, struct fs_id id, struct fs_quota *ret);
/* All of VOLUME at one instant, into *RET, to be freed. */
int fs_quota_list(struct fs_req *req, uint32_t volume, struct fs_quota **ret, uint32_t *ret_n);

/* ---- snapshots and clones of volumes -------------------------------------------------- */

/*
 * A snapshot is a volume as it was at one instant: one more pointer to the root of its inode file, O(1)
 * to make whatever is in it.  It can only be read (-EROFS), and does not count for the volume's quota.
 * Its files have the live ones' inode numbers and generations, an fsid of their own, and the snapshot's
 * id in their fs_id.  Every directory of a live volume has a hidden one named FS_SNAPSHOT_DIR, which
 * fs_lookup() finds and fs_readdir() doesn't show: in it, under each snapshot's name, is the same
 * directory as it was then, if it was there.
 *
 * Names are as those of volumes: -EINVAL, -ENAMETOOLONG.
 */
struct fs_snapshot_info {
	uint32_t id;			/* never used for another snapshot or volume of this pool */
	uint32_t volume;
	char name[FS_VOLUME_NAME_MAX + 1];
	uint64_t fsid;
	uint64_t created_ns;
	uint64_t files;
	uint64_t mapped_blocks;		/* sum over all files, before sharing */
	uint8_t uuid[16];		/* the same in each pool that received it (fs/repl.h) */
	struct fs_id root;
};
/* -EEXIST; -ENOENT: no such volume. */
int fs_snapshot_create(struct fs_req *req, const char *volume, const char *name,
		       struct fs_snapshot_info *ret_info);
int fs_snapshot_find(struct fs *fs, const char *volume, const char *name,
		     struct fs_snapshot_info *ret_info);
/* The oldest of VOLUME with an id greater than AFTER; -ENOENT at the end. */
int fs_snapshot_next(struct fs *fs, uint32_t volume, uint32_t after, struct fs_snapshot_info *ret_info);
uint32_t fs_snapshot_count(struct fs *fs, uint32_t volume);	/* never waits */
/* What it alone holds is freed in the background. */
int fs_snapshot_destroy(struct fs_req *req, const char *volume, const char *name);
/*
 * VOLUME becomes what it was, in one instant; what it was until now is freed in the background, unless
 * snapshots have it.  Its snapshots, quota and exports stay.  Files of after the snapshot are gone
 * (-ESTALE), all others have a change attribute that is greater than before.  Files without a name are
 * dropped unless somebody holds them.  -EBUSY: somebody holds files of the volume; with FORCE, what was
 * promised to others (fs_set_guard()) is asked back first, and then it is done under their hands.
 */
int fs_volume_restore(struct fs_req *req, const char *volume, const char *snapshot, bool force);
/*
 * A new volume NAME with all that is in SRC now, or was in its SNAPSHOT (NULL: none): O(1), writable,
 * and independent of both from then on.  It begins with SRC's quotas, exports and dedup, and neither
 * schedule nor reservation.  -EEXIST.
 */
int fs_volume_clone(struct fs_req *req, const char *src, const char *snapshot, const char *name,
		    struct fs_volume_info *ret_info);

/* ---- attributes ---------------------------------------------------------------------- */

enum fs_type { FS_FREE = 0, FS_REG = 1, FS_DIR = 2, FS_BLK = 3, FS_CHR = 4, FS_LNK = 5,
	       FS_SOCK = 6, FS_FIFO = 7 };	/* numbered as ftype3, RFC 1813 */

struct fs_time { int64_t sec; uint32_t nsec; };

struct fs_attr {
	struct fs_id id;
	enum fs_type type;
	uint32_t mode;			/* 07777 */
	uint32_t nlink, uid, gid;
	uint32_t rdev_major, rdev_minor;
	uint64_t size;
	uint64_t mapped_bytes;		/* blocks that hold data, in bytes */
	uint64_t xattr_bytes;		/* likewise, extended attributes */
	uint64_t fsid;
	uint64_t change;		/* NFSv4 change attribute: the event that last changed it */
	struct fs_time atime, mtime, ctime, btime;
	struct fs_id origin;		/* what it was cloned from; ino 0: nothing */
};

/* What it counts for, for quotas and in all accounts; what du shows. */
static inline uint64_t fs_used_bytes(const struct fs_attr *a)
{
	return a->mapped_bytes + a->xattr_bytes;
}

enum { FS_SET_MODE = 1, FS_SET_UID = 2, FS_SET_GID = 4, FS_SET_SIZE = 8,
       FS_SET_ATIME = 16, FS_SET_MTIME = 32,		/* to the given time */
       FS_SET_ATIME_NOW = 64, FS_SET_MTIME_NOW = 128 };
struct fs_setattr {
	uint32_t mask;
	uint32_t mode, uid, gid;
	uint64_t size;
	struct fs_time atime, mtime;
	bool guard;			/* fail with -ENOTSYNC unless ctime equals guard_ctime */
	struct fs_time guard_ctime;
};

/* Weak cache consistency: attributes before and after, from the same instant as the change. */
struct fs_wcc {
	bool pre_valid, post_valid;
	uint64_t pre_size, pre_change;
	struct fs_time pre_mtime, pre_ctime;
	struct fs_attr post;
};

int fs_getattr(struct fs_req *req, struct fs_id id, struct fs_attr *ret_attr);
/* ret_wcc may be NULL, here and below. */
int fs_setattr(struct fs_req *req, struct fs_id id, const struct fs_setattr *set,
	       struct fs_wcc *ret_wcc);
enum { FS_ACCESS_READ = 1, FS_ACCESS_LOOKUP = 2, FS_ACCESS_MODIFY = 4, FS_ACCESS_EXTEND = 8,
       FS_ACCESS_DELETE = 16, FS_ACCESS_EXECUTE = 32 };	/* as ACCESS3_*, RFC 1813 */
int fs_access(struct fs_req *req, struct fs_id id, uint32_t want, uint32_t *ret_allowed,
	      struct fs_attr *ret_attr);

struct fs_fsstat {
	uint64_t total_bytes, free_bytes, avail_bytes, total_files, free_files;	/* as quotas leave them */
	uint64_t soft_avail_bytes;	/* the same up to soft limits */
	uint64_t used_bytes;		/* of the quota that ID counts for: its directory's, or the volume's */
};
int fs_fsstat(struct fs_req *req, struct fs_id id, struct fs_fsstat *ret_st, struct fs_attr *ret_attr);

/* ---- files --------------------------------------------------------------------------- */

/*
 * Reads up to FS_IO_MAX bytes without copying: iov[] leads to pinned cache blocks (holes to
 * one page of zeros) until fs_read_done(), which must follow every success, and which may
 * come from outside of a fiber.  Reads at or past the end give len 0 and eof.
 */
#define FS_READ_IOV (FS_IO_MAX / 4096 + 1)
struct fs_read {
	uint32_t len;
	bool eof;
	int niov;
	struct fs_attr attr;
	struct iovec iov[FS_READ_IOV];
	void *pins[FS_READ_IOV];
	int npins;
	const void *zeros;		/* where holes lead */
};
static inline bool fs_read_is_hole(const struct fs_read *r, int piece)
{
	return (uintptr_t)r->iov[piece].iov_base - (uintptr_t)r->zeros < 4096;
}
int fs_read(struct fs_req *req, struct fs_id id, uint64_t offset, uint32_t len, struct fs_read *ret);
void fs_read_done(struct fs *fs, struct fs_read *r);

/* Writes all of it or nothing.  stable: raises req->stable_seq. */
int fs_write(struct fs_req *req, struct fs_id id, uint64_t offset, const struct iovec *iov, int niov,
	     uint32_t len, bool stable, struct fs_wcc *ret_wcc);
/* Raises req->stable_seq to the last change of any file: wait for it and all is stable. */
int fs_commit(struct fs_req *req, struct fs_id id, struct fs_wcc *ret_wcc);
int fs_readlink(struct fs_req *req, struct fs_id id, char ret_target[FS_SYMLINK_MAX + 1],
		struct fs_attr *ret_attr);

/* Next data or hole at or after OFFSET, as lseek: -ENXIO past the end.  The end is a hole. */
int fs_seek(struct fs_req *req, struct fs_id id, uint64_t offset, bool data, uint64_t *ret_offset);

/* ---- names --------------------------------------------------------------------------- */

/* Names are bytes without '/' and NUL, 1 to FS_NAME_MAX of them; "." and ".." are understood
 * by fs_lookup and refused (-EEXIST, -EINVAL, -ENOTEMPTY as the call has it) elsewhere. */
struct fs_name { const char *s; uint32_t len; };

int fs_lookup(struct fs_req *req, struct fs_id dir, struct fs_name name, struct fs_attr *ret_attr,
	      struct fs_attr *ret_dir_attr);
/* Follows PATH ("/a/b", no symlinks) from the root of a volume, or of a snapshot: "VOLUME@SNAPSHOT". */
int fs_lookup_path(struct fs_req *req, const char *volume, const char *path, struct fs_attr *ret_attr);

enum fs_create_how { FS_CREATE_UNCHECKED, FS_CREATE_GUARDED, FS_CREATE_EXCLUSIVE };
struct fs_create {
	enum fs_type type;		/* FS_REG, FS_DIR, FS_LNK, FS_FIFO, FS_SOCK, FS_BLK, FS_CHR */
	enum fs_create_how how;		/* only FS_REG may be other than GUARDED */
	struct fs_setattr set;		/* mode (without it 0644/0755), owner if allowed, size 0, times */
	uint64_t verifier;		/* EXCLUSIVE: a second create with the same one succeeds */
	uint32_t rdev_major, rdev_minor;
	const char *target;		/* FS_LNK: NUL-terminated */
};
int fs_create(struct fs_req *req, struct fs_id dir, struct fs_name name, const struct fs_create *how,
	      struct fs_attr *ret_attr, struct fs_wcc *ret_dir_wcc);
/* A regular file with no name yet; it vanishes at a crash or when fs_forget() is called before
 * fs_link() gave it one.  For imports: write first, then appear whole. */
int fs_create_unnamed(struct fs_req *req, uint32_t volume, uint32_t mode, struct fs_attr *ret_attr);
/* At once, or when nobody holds it any more.  -EEXIST: it has got a name. */
int fs_forget(struct fs_req *req, struct fs_id id);
/* replace: an existing regular file of that name is replaced in the same instant.  A file that has no
 * name gets one from the management side alone: -ENOENT. */
int fs_link(struct fs_req *req, struct fs_id file, struct fs_id dir, struct fs_name name, bool replace,
	    struct fs_attr *ret_attr, struct fs_wcc *ret_dir_wcc);
int fs_remove(struct fs_req *req, struct fs_id dir, struct fs_name name, struct fs_wcc *ret_dir_wcc);
/* Only if NAME is still ONLY's: else -ESTALE, and nothing has happened. */
int fs_remove_only(struct fs_req *req, struct fs_id dir, struct fs_name name, struct fs_id only);
int fs_rmdir(struct fs_req *req, struct fs_id dir, struct fs_name name, struct fs_wcc *ret_dir_wcc);
int fs_rename(struct fs_req *req, struct fs_id from_dir, struct fs_name from, struct fs_id to_dir,
	      struct fs_name to, struct fs_wcc *ret_from_wcc, struct fs_wcc *ret_to_wcc);

/*
 * Open files.  While ID is held, losing its last name (fs_remove, fs_rename, fs_link) doesn't remove it:
 * it becomes an orphan, with nlink 0, that is used through its fs_id as before.  The last fs_unhold()
 * has it removed in the background.  Holds nest.  They are in memory: an orphan is found by the next
 * opening, which removes it, unless fs_config.keep_orphans has it wait until whoever comes back has had
 * the time to hold it again, and fs_drop_orphans() ends that; what loses its last name meanwhile, and
 * was there before, becomes an orphan too.  Directories are removed though held.
 *
 * None of these waits.  fs_hold() doesn't ask whether ID is there, which is known without a wait after
 * an operation that has returned its attributes.  -ENOMEM, -ENFILE: FS_HOLDS_MAX files are held.
 */
#define FS_HOLDS_MAX (1u << 20)
int fs_hold(struct fs *fs, struct fs_id id);
void fs_unhold(struct fs *fs, struct fs_id id);
/* Has the orphans of before this opening removed, in the background, as far as nobody holds them; and
 * from now on they come from holds alone. */
void fs_drop_orphans(struct fs *fs);

/*
 * Entries after COOKIE (0: from the start), packed into BUF in cookie order; "." and ".."
 * come first (cookies 1 and 2).  A cookie stays valid while entries come and go.  With PLUS
 * each has its attributes; attr.type FS_FREE: they can't be read.  -EINVAL if BUF cannot hold even one.
 */
struct fs_dirent {
	uint64_t cookie;		/* of this entry: continue with it to get the next */
	uint64_t ino;
	struct fs_attr attr;		/* with PLUS; all zero if it can't be read */
	uint16_t size;			/* of this packed entry, to the next */
	uint16_t name_len;
	char name[];			/* name_len bytes and a NUL */
};
struct fs_dirlist {
	void *buf;			/* the caller's, 8-byte aligned */
	size_t cap;
	unsigned max_entries;		/* 0: as many as fit */
	/* out: */
	unsigned n;
	bool eof;
	struct fs_attr dir_attr;
};
static inline const struct fs_dirent *fs_dirent_next(const struct fs_dirent *e)
{
	return (const struct fs_dirent *)((const char *)e + e->size);
}
int fs_readdir(struct fs_req *req, struct fs_id dir, uint64_t cookie, bool plus, struct fs_dirlist *list);

/* ---- extended attributes ---------------------------------------------------------------- */

/*
 * Of files and directories (-EPERM: others have none), in the namespace of users; names are 1 to
 * FS_NAME_MAX bytes without NUL.  Reading, listing included, asks for the right to read the file,
 * changing for that to write.  All attributes of a file together have 68 KiB: each takes 16 bytes,
 * its name and its value, rounded up to 8.  Clones have those of what they were cloned from.
 */

/* -ENODATA: there is none of that name.  -ERANGE: more than CAP bytes; CAP 0 asks for the length. */
int fs_xattr_get(struct fs_req *req, struct fs_id id, struct fs_name name, void *buf, uint32_t cap,
		 uint32_t *ret_len);
/* -EEXIST, -ENODATA: as HOW says.  -E2BIG: the value is too large, also for the pool's log.  -ENOSPC:
 * no room in the file or in the pool. */
enum fs_xattr_how { FS_XATTR_EITHER, FS_XATTR_CREATE, FS_XATTR_REPLACE };
int fs_xattr_set(struct fs_req *req, struct fs_id id, struct fs_name name, const void *value,
		 uint32_t len, enum fs_xattr_how how, struct fs_wcc *ret_wcc);
int fs_xattr_remove(struct fs_req *req, struct fs_id id, struct fs_name name, struct fs_wcc *ret_wcc);
/*
 * The names behind COOKIE (0: from the start), each with a NUL after it, as many as fit.  Cookies
 * stay valid while attributes come and go.  -ERANGE if not even one fits.
 */
struct fs_xattr_list {
	char *buf;			/* the caller's */
	uint32_t cap;
	/* out: */
	uint32_t n, len;		/* names, bytes */
	uint64_t cookie;		/* of the last: continue with it */
	bool eof;
};
int fs_xattr_list(struct fs_req *req, struct fs_id id, uint64_t cookie, struct fs_xattr_list *list);

/* ---- clones -------------------------------------------------------------------------- */

/*
 * COUNT clones of the regular file SRC appear in DIR (of the same volume; SRC may be in a snapshot of
 * it) under NAMES, all in
 * one instant, each with SRC's content, mode and the caller's ownership rules of cp: owner is
 * the caller, or SRC's owner for the management side.  O(1) in the size of SRC, whatever its
 * state.  -EEXIST names the first name that exists through ret_bad (its index).
 */
int fs_clone(struct fs_req *req, struct fs_id src, struct fs_id dir, const struct fs_name *names,
	     uint32_t count, uint32_t *ret_bad, struct fs_attr *ret_first);

/*
 * A clone of directory SRC (which may be in a snapshot of the volume) with all that is below it appears in
 * DIR under NAME, in one instant: files as fs_clone() makes them, directories, links and all else with the
 * owners and modes that they have.  What has several names in it has them in the clone too.  For the
 * management side alone (-EPERM).  *RET_COUNT: inodes that were made.  -E2BIG: more than FS_TREE_MAX, or more
 * than the cache has memory for at once; -EINVAL: into itself; -EXDEV, -EEXIST, -ENOTDIR.
 */
#define FS_TREE_MAX 10000
int fs_clone_tree(struct fs_req *req, struct fs_id src, struct fs_id dir, struct fs_name name,
		  struct fs_attr *ret_attr, uint32_t *ret_count);

/*
 * LEN bytes of SRC from SRC_OFFSET on (0: to its end) become those of DST from DST_OFFSET on,
 * shared with it: the largest subtrees that fit where both offsets are congruent (2 MiB, 1 GiB),
 * else block by block.  Offsets are multiples of 4096, and so is LEN unless it ends at the end of
 * SRC and at or behind that of DST; both are regular files of one volume (SRC may be in a snapshot); ranges
 * of one file don't overlap: else -EINVAL, -EXDEV.  A whole file onto one that is not longer is O(1).  All or
 * nothing, except that a range of more than FS_RANGE_PIECES pieces is done in several steps; up to 256 GiB,
 * quotas are asked for all of it before the first.
 */
#define FS_RANGE_PIECES 1024
int fs_clone_range(struct fs_req *req, struct fs_id src, uint64_t src_offset, struct fs_id dst,
		   uint64_t dst_offset, uint64_t len, struct fs_wcc *ret_dst_wcc);

/* Blocks that may still be written to VOLUME, as far as the pool goes: of what is being freed, too, but of nothing
 * that is kept for others. */
uint64_t fs_space_left(struct fs *fs, uint32_t volume);

/*
 * The size becomes at least OFFSET + LEN; first, it is asked whether there is room for what is a hole in
 * that range, in the pool and in the volume's quota: -ENOSPC, -EDQUOT, and nothing has changed.  Room is
 * not set aside: others may take it, and so may writes to blocks of the range that are shared with clones.
 */
int fs_allocate(struct fs_req *req, struct fs_id id, uint64_t offset, uint64_t len,
		struct fs_wcc *ret_wcc);

/* LEN bytes from OFFSET on become zeros, and holes where they are whole blocks.  The size stays. */
int fs_punch(struct fs_req *req, struct fs_id id, uint64_t offset, uint64_t len,
	     struct fs_wcc *ret_wcc);

#endif
