/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool as plain memory: what src/fs must look like from above, without blocks that are
 * shared, generations, logs or caches.  The tests run every operation on both and compare.
 *
 *   struct op      one operation: its arguments, and what the store answered
 *   model_run()    what may the store answer?  and, on success: make it so
 *   struct noderec one inode as both sides see it; the sum of their hashes, and of those of
 *                  the directory entries, is the state's hash, independent of any order
 *
 * What only the store can know (inode numbers, generations, times, change numbers) is learned
 * from its answers, and must then stay as it was, over reopening and crashes too.
 *
 * A file's content is a sorted array of counted 4 KiB blocks.  A whole block of zeros makes a hole,
 * and holes are not in the array: so its length is what the store must report as mapped.  Clones share the array until one of them writes.
 *
 * A file that is held outlives its last name: it is an orphan then, without a name but otherwise as
 * before.  What is held is not part of the state: it is gone after a restart.
 *
 * Where several errors apply, any of them will do: the order of the checks is the store's.
 */
#ifndef SIM_MODEL_H
#define SIM_MODEL_H

#include "fs/fs.h"

#define MHELD_MAX 64
#define MBLOCK 4096
#define MUSERS 4			/* 0: management; 1: uid 0; 2, 3: ordinary */

enum op_kind {
	OP_CREATE, OP_MKDIR, OP_SYMLINK, OP_MKNOD, OP_UNNAMED, OP_FORGET, OP_LINK, OP_WRITE,
	OP_SETATTR, OP_CLONE, OP_REMOVE, OP_RMDIR, OP_RENAME, OP_VCREATE, OP_VDESTROY, OP_READ,
	OP_RANGE, OP_PUNCH, OP_ALLOCATE, OP_XSET, OP_XREMOVE, OP_HOLD, OP_QUOTA, OP_RESERVE, OP_SNAP, OP_UNSNAP, OP_RESTORE,
	OP_VCLONE, OP_TREE, OP_KINDS
};
extern const char *const op_names[OP_KINDS];

#define OP_NAME_BUF 272			/* room for a name that is too long */

/* Arguments, then what came back.  new_ids and data are the op's: op_done() frees them. */
struct op {
	enum op_kind kind;
	unsigned user;
	struct fs_id id;		/* file: of write, setattr, link, clone (source), read, punch,
					 * range (target), attributes (NAME; LEN and SEED of the value) */
	struct fs_id src;		/* OP_RANGE: from where */
	struct fs_id dir, dir2;		/* dir2: where rename goes */
	/* OP_SNAP and the like: the volume, and the snapshot; OP_VCLONE makes volume TARGET of them. */
	char name[OP_NAME_BUF], name2[OP_NAME_BUF];
	uint32_t name_len, name2_len;
	uint64_t offset;
	uint32_t len;
	uint64_t src_offset, length;	/* OP_RANGE; OP_PUNCH, OP_ALLOCATE: the length; OP_QUOTA: the limit, in
					 * blocks, 0: none; OP_RESERVE: so many blocks for volume NAME */
	enum fs_xattr_how xattr_how;
	uint64_t seed;			/* of the pattern that is written */
	bool stable, replace;		/* OP_QUOTA: replace takes it away */
	enum fs_create_how how;
	enum fs_type type;		/* OP_MKNOD */
	uint64_t verifier;
	uint32_t rdev_major, rdev_minor;
	struct fs_setattr set;
	char *target;			/* OP_SYMLINK, OP_VCLONE */
	bool force;			/* OP_RESTORE */
	uint32_t count;			/* OP_CLONE: NAME, NAME.1, NAME.2 ... */
	bool left_known;		/* OP_WRITE: the blocks that the quota leaves, */
	uint64_t left;			/* before it: sim_quota_left() */

	int rc;
	uint64_t seq;			/* the event that it was, or the one before it */
	struct fs_time time;
	struct fs_id *new_ids;		/* OP_CLONE: count of them, else at most one */
	uint32_t bad;			/* OP_CLONE: which name was there */
	struct fs_snapshot_info *snap;	/* OP_SNAP: what was made; OP_VCLONE: volume */
	struct fs_volume_info *volume;
	unsigned char *data;		/* OP_READ */
	uint32_t got;
	bool eof;
	struct fs_time new_mtime, new_atime;	/* OP_CREATE */
};
void op_done(struct op *op);
void op_clone_name(const struct op *op, uint32_t i, char *buf);	/* OP_NAME_BUF */
/* The bytes that a write of SEED writes: noise, with blocks of zeros among it for some seeds. */
void op_pattern(uint64_t seed, uint64_t offset, unsigned char *buf, uint32_t len);
void op_print(const struct op *op, char *buf, size_t len);

/* Errors that apply (then success is wrong), and some that may come as well. */
struct expect {
	int must[16], nmust;
	int may[8], nmay;
	bool noop;			/* success that changes nothing */
};
bool expect_allows(const struct expect *e, int rc);

struct mblk { uint32_t refs; uint64_t hash; unsigned char data[MBLOCK]; };
struct mext { uint64_t index; struct mblk *blk; };
struct mcontent { uint32_t refs, n, cap; uint64_t sum; struct mext *e; };

/* In the order in which they came about. */
struct mxattr { char name[FS_NAME_MAX + 1]; uint32_t name_len, len; uint64_t value; /* its hash */ };
struct mxattrs { uint32_t refs, n; struct mxattr x[]; };

struct mnode;
struct mdirent { uint64_t hash; char *name; uint32_t len; struct mnode *node; };
struct mnode {
	struct fs_id id;
	enum fs_type type;
	uint32_t mode, uid, gid, nlink, rdev_major, rdev_minor;
	uint64_t size, change, verifier;
	struct fs_time mtime, ctime;
	struct fs_id origin;
	bool unnamed;
	bool orphan;			/* and to be removed when nobody holds it any more */
	struct mcontent *content;	/* FS_REG */
	struct mxattrs *xattrs;		/* NULL: none */
	char *target;			/* FS_LNK */
	struct mdirent *ents;		/* FS_DIR */
	uint32_t nents, ents_cap;
	struct mnode *parent;		/* FS_DIR */
	uint64_t quota;			/* that it counts for: the event that made it; 0: none */
	uint64_t quota_ino;		/* the directory's */
	bool has_quota;			/* FS_DIR: its own, */
	uint64_t limit;			/* of so many blocks; 0: none */
	uint32_t seen;			/* names, while a directory is looked through */
	uint32_t index;			/* in model.nodes */
	struct mnode *hash_next;
};

struct mvolume {
	uint32_t id;
	char name[FS_VOLUME_NAME_MAX + 1];
	uint64_t fsid, reserve;
	struct mnode *root;
};

/* A snapshot: its inodes have its id. */
struct mfrozen {
	uint32_t refs, id, volume;
	uint64_t fsid, hash;
	char name[FS_VOLUME_NAME_MAX + 1];
	struct model *m;
};

struct model {
	struct mnode **nodes;
	uint32_t nnodes, nodes_cap;
	struct mnode **hash;
	struct mvolume *volumes;
	uint32_t nvolumes;
	struct mfrozen **snaps;
	uint32_t nsnaps;
	struct fs_id held[MHELD_MAX];	/* as often as it is held, whatever became of it */
	uint32_t nheld;
	uint64_t keep_life;
	/* Called for every entry that is added or taken away. */
	void (*on_dirent)(void *arg, struct mnode *dir, const char *name, uint32_t len);
	void *arg;
};

struct model *model_new(void);
void model_free(struct model *m);
/* The same state again, without on_dirent; contents are shared. */
struct model *model_clone(const struct model *m);
void model_cred(unsigned user, struct fs_cred *ret);
/* Volumes are learned: the store's answer is taken over. */
void model_add_volume(struct model *m, const struct fs_volume_info *info, const struct fs_attr *root);
struct mvolume *model_volume(struct model *m, const char *name);
/* So are snapshots, and clones of volumes (of snapshot F, or of now). */
void model_snap_add(struct model *m, const struct fs_snapshot_info *s);
void model_volume_copy(struct model *m, uint32_t volume, const struct mfrozen *f,
		       const struct fs_volume_info *info);
struct mfrozen *model_snap(struct model *m, uint32_t volume, const char *name);
/* N, a copy of directory SRC in DIR with the id that FIND says each entry of it has: with all below it. */
typedef struct fs_id model_find_fn(void *arg, struct fs_id dir, const char *name, uint32_t len);
void model_tree_copy(struct model *m, const struct op *op, model_find_fn *find, void *arg);

/*
 * What OP may answer in this state.  With apply, and if success is allowed, the change is made,
 * with what OP learned from the store.
 */
void model_run(struct model *m, const struct op *op, bool apply, struct expect *ret);
/* What a crash or a clean restart does: nothing is held any more, and unnamed files vanish.  With
 * KEEP_LIFE not 0 (fs_config.keep_orphans, in that life of the pool), all files of before are as good as
 * held until model_drop_orphans(). */
void model_restart(struct model *m, uint64_t keep_life);
bool model_held(const struct model *m, struct fs_id id);
/* The hold number K ends; true if that makes an orphan vanish. */
bool model_unhold(struct model *m, uint32_t k);
/* fs_drop_orphans(), and what comes of it. */
void model_drop_orphans(struct model *m);

struct mnode *model_find(struct model *m, struct fs_id id);
struct mnode *model_find_any(struct model *m, struct fs_id id);	/* in a snapshot, too */
struct mnode *model_lookup(struct mnode *dir, const char *name, uint32_t len);
bool model_may(const struct mnode *n, unsigned user, unsigned rwx);
bool model_below(const struct mnode *n, const struct mnode *top);
uint32_t model_read(const struct mnode *n, uint64_t offset, uint32_t len, unsigned char *buf);
/* As lseek: -ENXIO or 0. */
int model_seek(const struct mnode *n, uint64_t offset, bool data, uint64_t *ret);

/* Padding-free, zeroed before it is filled; fields that no one can predict stay 0. */
struct noderec {
	uint64_t volume, snapshot, ino, generation, type, mode, uid, gid, nlink, rdev, size, mapped;
	uint64_t content, target, change, mtime_sec, mtime_nsec, ctime_sec, ctime_nsec;
	uint64_t origin_ino, origin_generation, xattrs;
	uint64_t quota_ino, quota_limit;	/* what it counts for; of the directory itself */
};
uint64_t noderec_hash(const struct noderec *r);
void noderec_print(const struct noderec *r, char *buf, size_t len);
uint64_t block_hash(uint64_t index, const void *data);	/* one block's part of content */
bool block_is_zero(const void *data);
uint64_t volume_hash(const char *name, uint32_t id, uint64_t reserve);
uint64_t dirent_hash(struct fs_id dir, const char *name, uint32_t len, uint64_t ino);
uint64_t text_hash(const char *s, size_t len);
/* Of all attributes up to one, from that of those before it (0 of none). */
uint64_t xattr_hash(uint64_t before, const char *name, uint32_t name_len, uint64_t value);

/* The first block of zeros of N that is mapped, from byte OFFSET on; UINT64_MAX. */
uint64_t model_zero_block(const struct mnode *n, uint64_t offset);
void model_forget_zeros(struct mnode *n, uint64_t offset);	/* it is a hole by now */
uint64_t model_mapped(const struct mnode *n);	/* bytes, as they are compared (sim_zeros_vanish) */
void model_noderec(const struct mnode *n, struct noderec *ret);
uint64_t model_hash(const struct model *m);	/* without what has no name */
uint64_t model_orphans_hash(const struct model *m);

#endif
