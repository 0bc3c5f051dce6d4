/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of memfs: memfs.c, and memfs_xattr.c. */
#ifndef TESTS_NFS_MEMFS_INT_H
#define TESTS_NFS_MEMFS_INT_H

#include "memfs.h"

#define INODES_MAX 12000

struct entry { char name[FS_NAME_MAX + 1]; uint32_t ino; uint64_t cookie; struct entry *next; };

struct xattr {
	struct xattr *next;
	char name[FS_NAME_MAX];
	uint32_t name_len, len;
	uint64_t cookie;
	uint8_t *value;
};

struct inode {
	struct fs_attr attr;
	uint32_t parent;
	uint64_t verifier, next_cookie;
	struct entry *entries;
	char *target;
	uint8_t **pages;
	uint64_t npages;
	unsigned holds;
	struct xattr *xattrs;		/* oldest first */
};

struct fs {
	struct memfs_control ctl;
	struct inode inodes[INODES_MAX];	/* of all volumes; index is the inode number */
	uint32_t roots[4];			/* 3: the hidden volume's */
	char exports[3][FS_EXPORTS_MAX + 1];
	uint64_t seq, epoch, clock;
	const struct fs_guard *guard;
	bool keeping;				/* what loses its last name stays for now */
};

/* Begins an operation that wants BITS (4 read, 2 write, 1 execute) of the caller's rights. */
int memfs_enter(struct fs_req *req, struct fs_id id, uint32_t bits, struct inode **ret);
/* May it be used so?  What the guard says. */
int memfs_ask(const struct fs_req *req, const struct inode *n, enum fs_use use);
void memfs_before(struct fs *fs, struct inode *n, struct fs_wcc *w);
void memfs_changed(struct fs_req *req, struct inode *n, struct fs_wcc *w);
void memfs_drop_xattrs(struct inode *n);

#endif
