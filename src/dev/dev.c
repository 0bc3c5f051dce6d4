/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block devices: what is the same for all of them.
 *
 * dev_submit() checks every request before a device sees it: within the device, iovecs that
 * add up, aligned memory.  A range outside the device can come from a damaged block pointer,
 * and is an error (-ERANGE); iovecs that don't fit are our bug, and an assert.
 */
#include "dev/dev.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

#include "base/fiber.h"
#include "base/loop.h"
#include "dev/dev_int.h"

void dev_io_complete(struct dev_io *io, int result)
{
	io->result = result;
	io->completed = true;
	if (io->done)
		io->done(io);	/* IO may be gone now */
	else if (io->waiter)
		fiber_wake(io->waiter);
}

_Static_assert(sizeof(struct deferred) <= sizeof(((struct dev_io *)0)->private_),
	       "a deferred call fits into a request's private part");

static void complete_deferred(struct deferred *d)
{
	struct dev_io *io = (struct dev_io *)((char *)d - offsetof(struct dev_io, private_));

	dev_io_complete(io, io->result);
}

void dev_io_complete_later(struct dev_io *io, int result)
{
	struct deferred *d = (struct deferred *)io->private_;

	io->result = result;
	deferred_init(d, complete_deferred);
	loop_defer(d);
}

int dev_io_wait(struct dev_io *io)
{
	io->waiter = fiber_self();
	while (!io->completed)
		fiber_park();
	return io->result;
}

static void check_iov(const struct dev_io *io)
{
	uint64_t bytes = 0;

	assert(io->niov >= 1 && io->niov <= DEV_MAX_IOV);
	for (int i = 0; i < io->niov; i++) {
		assert((uintptr_t)io->iov[i].iov_base % DEV_BLOCK == 0);
		assert(io->iov[i].iov_len % DEV_BLOCK == 0);
		bytes += io->iov[i].iov_len;
	}
	assert(bytes / DEV_BLOCK == io->nblocks);
}

static int check(const struct dev *d, const struct dev_io *io)
{
	if (io->op == DEV_READ || io->op == DEV_WRITE)
		check_iov(io);
	if (io->op != DEV_FLUSH && (io->block > d->nblocks || io->nblocks > d->nblocks - io->block))
		return -ERANGE;
	/* a flush is for readers too: what a dead writer left may still be in a volatile cache */
	if ((io->op == DEV_WRITE || io->op == DEV_DISCARD) && d->readonly)
		return -EROFS;
	if (io->op == DEV_DISCARD && !d->can_discard)
		return -EOPNOTSUPP;
	return 0;
}

void dev_submit(struct dev *d, struct dev_io *io)
{
	int err = check(d, io);

	io->result = 0;
	io->completed = false;
	io->waiter = NULL;
	if (err)
		dev_io_complete_later(io, err);
	else if (io->op != DEV_FLUSH && !io->nblocks)
		dev_io_complete_later(io, 0);
	else
		d->ops->submit(d, io);
}

void dev_close(struct dev *d)
{
	d->ops->close(d);
}

/* ---- for fibers ---- */

static int run(struct dev *d, struct dev_io *io)
{
	dev_submit(d, io);
	return dev_io_wait(io);
}

static int transfer(struct dev *d, enum dev_op op, bool dsync, uint64_t block, void *buf,
		    uint64_t nblocks)
{
	struct iovec iov = { .iov_base = buf, .iov_len = nblocks * DEV_BLOCK };
	struct dev_io io = {
		.op = op, .dsync = dsync, .block = block, .nblocks = nblocks, .iov = &iov, .niov = 1,
	};

	return run(d, &io);
}

int dev_read(struct dev *d, uint64_t block, void *buf, uint64_t nblocks)
{
	return transfer(d, DEV_READ, false, block, buf, nblocks);
}

int dev_write(struct dev *d, uint64_t block, const void *buf, uint64_t nblocks)
{
	return transfer(d, DEV_WRITE, false, block, (void *)buf, nblocks);
}

int dev_write_dsync(struct dev *d, uint64_t block, const void *buf, uint64_t nblocks)
{
	return transfer(d, DEV_WRITE, true, block, (void *)buf, nblocks);
}

int dev_flush(struct dev *d)
{
	struct dev_io io = { .op = DEV_FLUSH };

	return run(d, &io);
}

int dev_discard(struct dev *d, uint64_t block, uint64_t nblocks)
{
	struct dev_io io = { .op = DEV_DISCARD, .block = block, .nblocks = nblocks };

	return run(d, &io);
}
