/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What replication (src/repl) needs of the store beyond fs.h: reading how two states of a volume differ
 * and what is shared in them; and building a volume that nobody sees, which then becomes a volume, or the
 * new state of one, in one instant.
 */
#ifndef FS_REPL_H
#define FS_REPL_H

#include "fs/fs.h"

/* ---- reading ----------------------------------------------------------------------------- */

/* An inode that isn't the same in both.  What has no name (nlink 0) counts as not there: type FS_FREE. */
struct fs_inode_change {
	uint64_t ino;
	struct fs_attr was, now;
	bool same_file;			/* one incarnation: was.id and now.id are of one file */
	bool data_differs, xattrs_differ, had_xattrs, has_xattrs;
};

/*
 * The inodes in which two states of a volume differ, by their numbers; time goes with what has changed.
 * One call looks at one block of inodes, which may have none of them: go on until end.  -ESTALE: one of the
 * states is gone.
 */
#define FS_CHANGES 16
struct fs_changes {
	struct fs_id base, now;		/* roots, of the volume or of snapshots; base.ino 0: all is new */
	uint64_t next;			/* begin with 0; where to go on */
	unsigned n;
	bool end;
	struct fs_inode_change c[FS_CHANGES];
};
int fs_changes(struct fs_req *req, struct fs_changes *c);

/*
 * What a file's blocks hang under, in order.  Where BASE is given, only what differs from it.
 *
 *   DATA    COUNT blocks with data from INDEX on
 *   SHARED  COUNT blocks (1, 512, ..., holes among them) begin at INDEX, under one block that has more
 *           pointers than this one; a level above 0 is followed by what it holds, for a leaf that is all
 *   KNOWN   the same, but known() has said that it knows what is there; nothing follows of it
 *   HOLE    no data, where BASE has some
 *
 * KEY names the block that they hang under, as long as the file can't change (in a snapshot).
 * known() never waits.
 */
enum fs_piece_kind { FS_PIECE_DATA, FS_PIECE_SHARED, FS_PIECE_KNOWN, FS_PIECE_HOLE };
struct fs_piece { uint64_t index, count, key; uint8_t level, kind; };
#define FS_PIECES 256
struct fs_pieces {
	struct fs_id id, base;		/* base.ino 0: there is none */
	uint64_t next;			/* block to begin with; out: to go on with; UINT64_MAX: that was all */
	bool (*known)(void *arg, uint64_t key, uint64_t index, uint8_t level);
	void *arg;
	unsigned n;
	struct fs_piece p[FS_PIECES];
};
int fs_pieces(struct fs_req *req, struct fs_pieces *p);

/* ---- building ---------------------------------------------------------------------------- */

/*
 * Hidden volumes: named FS_HIDDEN_PREFIX and 16 hexadecimal digits, in which all works as in others, by
 * fs_id; but the calls of fs.h that find volumes by name, by id or in order don't find them.  They outlive
 * a crash: who makes them cleans up.
 */
#define FS_HIDDEN_PREFIX ".receive-"
bool volume_name_hidden(const char *name);
int fs_hidden_create(struct fs_req *req, const char *name, struct fs_volume_info *ret_info);
/* fs_system_dir(), but what isn't there is not made: -ENOENT. */
int fs_system_find(struct fs_req *req, const char *name, struct fs_id *ret_dir);
/* Of a snapshot of a volume; its quota is the volume's and what the snapshot maps, which is to be replaced. */
int fs_hidden_clone(struct fs_req *req, const char *volume, const char *snapshot, const char *name,
		    struct fs_volume_info *ret_info);
int fs_hidden_find(struct fs *fs, const char *name, struct fs_volume_info *ret_info);
/* With its snapshots.  -ENOENT. */
int fs_hidden_destroy(struct fs_req *req, const char *name);

/*
 * The hidden volume becomes VOLUME, with a snapshot SNAPSHOT of what is in it: one atomic step.  It has no
 * snapshots itself any more (-ENOTEMPTY).
 * BASE 0: VOLUME is new (-EEXIST).  Else it is a snapshot's id that HIDDEN was cloned from, and what VOLUME
 * was until now goes, as with fs_volume_restore() (-EBUSY: somebody holds files of it); -ENOTSYNC: it has changed
 * since BASE.  FORCE: do it all the same.  -EEXIST: there is such a snapshot; -ENOENT: no such volume or base;
 * -EDQUOT: more than VOLUME's quota, and than VOLUME maps by now.
 */
struct fs_attach {
	const char *hidden, *volume, *snapshot;
	uint8_t uuid[16];		/* of the snapshot */
	uint32_t base;
	bool force;
};
/* Whether it would be refused now, but for the hidden volume's snapshots.  Nothing changes. */
int fs_attach_check(struct fs_req *req, const struct fs_attach *a);
int fs_attach(struct fs_req *req, const struct fs_attach *a, struct fs_snapshot_info *ret_info);

/* Sets what fs_setattr() doesn't: all four times, in nanoseconds, and the origin (ino 0: none); with mode and owner. */
struct fs_inode_set {
	uint32_t mode, uid, gid;
	int64_t atime, mtime, ctime, btime;
	struct fs_id origin;
};
int fs_inode_set(struct fs_req *req, struct fs_id id, const struct fs_inode_set *set);

#endif
