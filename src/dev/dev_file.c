/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A regular file or a block device, through O_DIRECT and the calling thread's loop.
 *
 * The lock (flock) belongs to the open file that every request goes through.  The kernel
 * holds on to that while a request is under way, even when the process is dead: so whoever
 * gets the lock next comes after the last of them.
 *
 * A transfer that the kernel cuts short is continued where it stopped: first the rest of the
 * iovec that it stopped in, then the iovecs after it.  Only a transfer that moves nothing
 * (end of a file that somebody truncated) is an error.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/loop.h"
#include "dev/dev.h"
#include "dev/dev_int.h"

#define BUSY_PAUSE_MS 10
#define BUSY_WAIT_MS 2000

struct file_dev {
	struct dev dev;
	int fd;
};

/* Lives in dev_io.private_. */
struct file_io {
	struct loop_io io;
	struct file_dev *file;
	uint64_t offset;	/* where the transfer under way begins */
	uint32_t index;		/* the first iovec that is not wholly done */
	bool partial;		/* `rest` is under way, not iov[index] and on */
	struct iovec rest;	/* what is left of iov[index] */
};

_Static_assert(sizeof(struct file_io) <= sizeof(((struct dev_io *)0)->private_),
	       "a file request fits into a request's private part");

static struct file_dev *to_file(struct dev *d)
{
	return container_of(d, struct file_dev, dev);
}

static struct dev_io *to_dev_io(struct file_io *f)
{
	return (struct dev_io *)((char *)f - offsetof(struct dev_io, private_));
}

static void transfer(struct file_io *f)
{
	struct dev_io *io = to_dev_io(f);
	const struct iovec *iov = f->partial ? &f->rest : io->iov + f->index;
	int niov = f->partial ? 1 : io->niov - (int)f->index;

	if (io->op == DEV_READ)
		loop_preadv(&f->io, f->file->fd, iov, niov, f->offset);
	else
		loop_pwritev(&f->io, f->file->fd, iov, niov, f->offset, io->dsync);
}

/* Takes N bytes off what is left. */
static void advance(struct file_io *f, uint64_t n)
{
	const struct dev_io *io = to_dev_io(f);

	f->offset += n;
	if (f->partial) {
		if (n < f->rest.iov_len) {
			f->rest.iov_base = (char *)f->rest.iov_base + n;
			f->rest.iov_len -= n;
			return;
		}
		n -= f->rest.iov_len;
		f->partial = false;
		f->index++;
	}
	while (f->index < io->niov && n >= io->iov[f->index].iov_len)
		n -= io->iov[f->index++].iov_len;
	if (!n)
		return;
	assert(f->index < io->niov);
	f->rest = io->iov[f->index];
	f->rest.iov_base = (char *)f->rest.iov_base + n;
	f->rest.iov_len -= n;
	f->partial = true;
}

/*
 * The kernel has a code for each way in which a device fails (ENODATA for a bad sector, ETIMEDOUT,
 * ENOLINK, EREMOTEIO, EILSEQ, ...).  Above, that is one thing, and some of them would mean another.
 */
static int device_error(int64_t result)
{
	switch (result) {
	case -ENOMEM:
	case -ENOSPC:
		return result;
	case -EDQUOT:
		return -ENOSPC;
	}
	return -EIO;
}

static void transfer_done(struct loop_io *lio)
{
	struct file_io *f = container_of(lio, struct file_io, io);
	struct dev_io *io = to_dev_io(f);

	if (lio->result == -EAGAIN || lio->result == -EINTR) {
		transfer(f);
		return;
	}
	if (lio->result <= 0) {
		dev_io_complete(io, device_error(lio->result));
		return;
	}
	advance(f, lio->result);
	if (f->index < io->niov)
		transfer(f);
	else
		dev_io_complete(io, 0);
}

static void plain_done(struct loop_io *lio)
{
	struct file_io *f = container_of(lio, struct file_io, io);
	struct dev_io *io = to_dev_io(f);
	int err = lio->result < 0 ? device_error(lio->result) : 0;

	if (io->op == DEV_DISCARD && lio->result == -EOPNOTSUPP) {
		f->file->dev.can_discard = false;	/* not asked again */
		err = -EOPNOTSUPP;
	}
	dev_io_complete(io, err);
}

static void file_submit(struct dev *d, struct dev_io *io)
{
	struct file_io *f = (struct file_io *)io->private_;

	memset(f, 0, sizeof(*f));
	f->file = to_file(d);
	f->offset = io->block * DEV_BLOCK;
	switch (io->op) {
	case DEV_READ:
	case DEV_WRITE:
		f->io.done = transfer_done;
		transfer(f);
		break;
	case DEV_FLUSH:
		f->io.done = plain_done;
		loop_fdatasync(&f->io, f->file->fd);
		break;
	case DEV_DISCARD:
		f->io.done = plain_done;
		loop_fallocate(&f->io, f->file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       f->offset, io->nblocks * DEV_BLOCK);
		break;
	}
}

static void file_close(struct dev *d)
{
	struct file_dev *file = to_file(d);

	close(file->fd);
	free(file);
}

static const struct dev_ops file_ops = {
	.submit = file_submit,
	.close = file_close,
};

/* ---- opening ---- */

static int open_direct(const char *path, int oflags, int *ret_fd)
{
	int fd = open(path, oflags | O_DIRECT);

	if (fd < 0 && errno == EINVAL) {
		fd = open(path, oflags);
		if (fd >= 0)
			log_warn("%s: its file system has no O_DIRECT: "
				 "going through the page cache, which is slower", path);
	}
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

static int size_of(int fd, const struct stat *st, uint64_t *ret_bytes)
{
	if (S_ISREG(st->st_mode)) {
		*ret_bytes = st->st_size;
		return 0;
	}
	return ioctl(fd, BLKGETSIZE64, ret_bytes) ? -errno : 0;
}

static int lock(int fd, bool readonly)
{
	/* Readers may share; who writes is alone. */
	if (!flock(fd, (readonly ? LOCK_SH : LOCK_EX) | LOCK_NB))
		return 0;
	return errno == EWOULDBLOCK ? -EBUSY : -errno;
}

static int open_once(const char *path, int flags, struct dev **ret_dev)
{
	bool readonly = flags & DEV_FILE_RDONLY;
	/* O_NONBLOCK: opening a FIFO by mistake must not hang */
	int err, oflags = (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK;
	CLEANUP_FD int fd = -1;
	CLEANUP_FREE struct file_dev *file = NULL;
	struct stat st;
	uint64_t bytes;

	if (stat(path, &st))
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return -ENOTBLK;
	if (S_ISBLK(st.st_mode))
		oflags |= O_EXCL;	/* -EBUSY if it is mounted or otherwise claimed */
	err = open_direct(path, oflags, &fd);
	if (err)
		return err;
	if (fstat(fd, &st))
		return -errno;
	err = lock(fd, readonly);
	if (err)
		return err;
	err = size_of(fd, &st, &bytes);
	if (err)
		return err;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);

	file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	file->dev.ops = &file_ops;
	file->dev.nblocks = bytes / DEV_BLOCK;
	file->dev.readonly = readonly;
	file->dev.can_discard = !readonly;
	snprintf(file->dev.name, sizeof(file->dev.name), "%s", path);
	file->fd = steal_fd(&fd);
	*ret_dev = &steal_ptr(file)->dev;
	return 0;
}

/* A killed process is gone a moment before the last requests of its io_uring are, and they hold
 * the lock: who starts it again at once must not be told that it still runs. */
int dev_file_open(const char *path, int flags, struct dev **ret_dev)
{
	const struct timespec pause = { .tv_nsec = BUSY_PAUSE_MS * 1000000 };
	int err = open_once(path, flags, ret_dev);

	for (unsigned ms = 0; err == -EBUSY && ms < BUSY_WAIT_MS; ms += BUSY_PAUSE_MS) {
		nanosleep(&pause, NULL);
		err = open_once(path, flags, ret_dev);
	}
	return err;
}

/* The new name is durable only when its directory is. */
static int sync_parent(const char *path)
{
	CLEANUP_FREE char *copy = strdup(path);
	CLEANUP_FD int fd = -1;
	char *slash;

	if (!copy)
		return -ENOMEM;
	slash = strrchr(copy, '/');
	if (slash)
		slash[slash == copy] = 0;
	fd = open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) ? -errno : 0;
}

int dev_file_create(const char *path, uint64_t size_bytes)
{
	CLEANUP_FD int fd = -1;
	int err;

	if (size_bytes % DEV_BLOCK || size_bytes > INT64_MAX)
		return -EINVAL;
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	err = ftruncate(fd, size_bytes) || fsync(fd) ? -errno : sync_parent(path);
	if (err)
		unlink(path);
	return err;
}
