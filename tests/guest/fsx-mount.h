/* SPDX-License-Identifier: Apache-2.0 */
/* fsx-mount: what its operations (fsx-ops.c) and its processes (fsx-mount.c) share. */
#ifndef TESTS_GUEST_FSX_MOUNT_H
#define TESTS_GUEST_FSX_MOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "../nfs/filemodel.h"

#define FILES_MAX 16
#define PROCESSES_MAX 32
#define RECENT 48			/* operations that are told when something is wrong */
#define BLOCK FILEMODEL_BLOCK
#define IO_MAX (1u << 20)

struct file {
	char name[40];
	int fd;
	bool mapped;			/* written by a map since O_DIRECT */
	struct filemodel m;
};

struct fsx {
	/* options */
	uint64_t seed;
	unsigned processes, nfiles, ops, seconds, max;
	unsigned need, without;		/* bits of rows of does[] */
	unsigned abilities;
	bool caches, keep;
	int traced;
	/* this process */
	unsigned process, step;
	struct dice dice;
	struct file file[FILES_MAX];
	uint32_t direct_unit;		/* what O_DIRECT is aligned to; 1: nothing */
	char recent[RECENT][96];
	unsigned *done;			/* by process and row of does[]; shared with the parent */
};
extern struct fsx x;
extern uint8_t *buf;			/* IO_MAX bytes and a block, page-aligned */

/* Says why, and what was done last; ends the process. */
void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
/* What is being done now. */
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
uint32_t below(uint32_t n);

int open_file(const char *name, int flags);
void close_file(int fd);
void rename_file(const char *from, const char *to);
bool do_reopen(struct file *f);
void check_all(const struct file *f);

/* What a file system may have or not. */
enum { ALWAYS, DIRECT, PUNCH, RESERVE, CLONE, COPY, SEEK, LOCK, ABILITIES };

struct does {
	const char *word;
	bool (*run)(struct file *f);	/* false: it doesn't fit now */
	unsigned weight, ability;
};
#define NDOES 22
extern const struct does does[NDOES];

#endif
