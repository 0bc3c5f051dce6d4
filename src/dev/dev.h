/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where blocks live: one address space of 4 KiB blocks with a volatile cache in front.
 * A write is durable after a flush that was submitted when the write had completed; or when
 * it completes, if it was submitted with dsync.
 *
 * Several requests may be under way at once, in any order.  What overlaps is the caller's
 * to avoid.  Memory given to a device is aligned to DEV_BLOCK, and each iovec a multiple of it.
 */
#ifndef DEV_DEV_H
#define DEV_DEV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "base/list.h"

#define DEV_BLOCK 4096

enum dev_op { DEV_READ, DEV_WRITE, DEV_FLUSH, DEV_DISCARD };

/* A request: the caller owns it, its iovecs and their memory until done(). */
struct dev_io {
	enum dev_op op;
	bool dsync;		/* DEV_WRITE: durable when done */
	uint64_t block;		/* first block */
	uint64_t nblocks;	/* equals the iovecs' length, for READ and WRITE */
	const struct iovec *iov;
	int niov;		/* at most DEV_MAX_IOV */
	/* Called once, on the loop, outside of fibers: must not wait.  NULL: dev_io_wait(). */
	void (*done)(struct dev_io *io);
	void *arg;
	int result;		/* 0 or -errno; a short transfer is -EIO */
	/* the device's own: */
	bool completed;
	struct fiber *waiter;
	uint64_t private_[24];
	struct list entry;
};
#define DEV_MAX_IOV 512

struct dev;
struct dev_ops {
	void (*submit)(struct dev *d, struct dev_io *io);
	void (*close)(struct dev *d);	/* nothing is under way; frees d */
};
struct dev {
	const struct dev_ops *ops;
	uint64_t nblocks;		/* size; grows only while nobody has it open */
	bool readonly;
	bool can_discard;
	char name[256];			/* for messages */
};

void dev_submit(struct dev *d, struct dev_io *io);
void dev_io_complete(struct dev_io *io, int result);	/* for devices: finishes a request */
int dev_io_wait(struct dev_io *io);			/* the calling fiber waits */
void dev_close(struct dev *d);

/* The calling fiber waits until all is done. */
int dev_read(struct dev *d, uint64_t block, void *buf, uint64_t nblocks);
int dev_write(struct dev *d, uint64_t block, const void *buf, uint64_t nblocks);
int dev_write_dsync(struct dev *d, uint64_t block, const void *buf, uint64_t nblocks);
int dev_flush(struct dev *d);
int dev_discard(struct dev *d, uint64_t block, uint64_t nblocks);

/*
 * A regular file or a block device, through O_DIRECT and the calling thread's loop.  Takes
 * an exclusive lock on the very descriptor that the requests go through, so a second opener
 * gets -EBUSY even while a killed daemon's last requests are still in the kernel; it is given
 * them, blocking, for two seconds.
 */
enum { DEV_FILE_RDONLY = 1 };
int dev_file_open(const char *path, int flags, struct dev **ret_dev);
/* Makes a new sparse file of SIZE_BYTES; -EEXIST if there is one. */
int dev_file_create(const char *path, uint64_t size_bytes);

#endif
