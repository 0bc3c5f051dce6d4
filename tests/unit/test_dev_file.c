/* SPDX-License-Identifier: Apache-2.0 */
/* The file device, on io_uring and on epoll. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fiber.h"
#include "base/loop.h"
#include "base/rng.h"
#include "dev/dev.h"

#define MIB (1ull << 20)

static struct loop *loop;
static enum loop_kind kind;
static char dir[64], path[80];
static void (*body_fn)(void);

static int setup(void **state)
{
	strcpy(dir, "/tmp/pando-unit-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/pool", dir);
	return loop_new(kind, &loop);
}

static int teardown(void **state)
{
	loop_free(loop);
	unlink(path);
	return rmdir(dir);
}

static void body_fiber(void *arg)
{
	body_fn();
	loop_stop(loop);
}

static void in_fiber(void (*fn)(void))
{
	body_fn = fn;
	assert_int_equal(fiber_spawn(body_fiber, NULL, "test"), 0);
	assert_int_equal(loop_run(loop), 0);
}

static struct dev *create_and_open(uint64_t bytes)
{
	struct dev *d;

	assert_int_equal(dev_file_create(path, bytes), 0);
	assert_int_equal(dev_file_open(path, 0, &d), 0);
	return d;
}

static char *aligned(size_t bytes)
{
	char *p = aligned_alloc(DEV_BLOCK, bytes);

	assert_non_null(p);
	return p;
}

static void read_write(void)
{
	struct dev *d = create_and_open(64 * MIB);
	char *out = aligned(MIB), *in = aligned(MIB);
	struct rng rng;

	assert_int_equal(d->nblocks, 64 * MIB / DEV_BLOCK);
	assert_false(d->readonly);
	assert_non_null(strstr(d->name, "/pool"));
	rng_init(&rng, 1);
	rng_fill(&rng, out, MIB);
	assert_int_equal(dev_write(d, 100, out, MIB / DEV_BLOCK), 0);
	assert_int_equal(dev_write_dsync(d, d->nblocks - 1, out + DEV_BLOCK, 1), 0);
	assert_int_equal(dev_flush(d), 0);
	assert_int_equal(dev_read(d, 100, in, MIB / DEV_BLOCK), 0);
	assert_memory_equal(in, out, MIB);
	assert_int_equal(dev_read(d, d->nblocks - 1, in, 1), 0);
	assert_memory_equal(in, out + DEV_BLOCK, DEV_BLOCK);
	assert_int_equal(dev_read(d, d->nblocks, in, 1), -ERANGE);
	assert_int_equal(dev_write(d, d->nblocks - 1, out, 2), -ERANGE);
	if (dev_discard(d, 100, 10) == 0) {
		assert_int_equal(dev_read(d, 99, in, 12), 0);
		for (int i = 0; i < 11 * DEV_BLOCK; i++)
			assert_int_equal(in[i], 0);
		assert_memory_equal(in + 11 * DEV_BLOCK, out + 10 * DEV_BLOCK, DEV_BLOCK);
	} else {
		assert_false(d->can_discard);
		assert_int_equal(dev_discard(d, 100, 10), -EOPNOTSUPP);
	}
	dev_close(d);
	free(out);
	free(in);
}

static void test_read_write(void **state) { in_fiber(read_write); }

static void many_iovecs(void)
{
	enum { N = DEV_MAX_IOV };
	struct dev *d = create_and_open(64 * MIB);
	struct iovec iov[N];
	char *out = aligned(N * 2 * DEV_BLOCK), *in = aligned(N * DEV_BLOCK);
	struct dev_io io = { .op = DEV_WRITE, .block = 3, .nblocks = N, .iov = iov, .niov = N };

	for (int i = 0; i < N; i++) {
		/* every other block of the memory, backwards */
		iov[i] = (struct iovec){ out + (N - 1 - i) * 2 * DEV_BLOCK, DEV_BLOCK };
		memset(iov[i].iov_base, i, DEV_BLOCK);
	}
	dev_submit(d, &io);
	assert_false(io.completed);
	assert_int_equal(dev_io_wait(&io), 0);
	assert_int_equal(dev_read(d, 3, in, N), 0);
	for (int i = 0; i < N; i++) {
		assert_int_equal((unsigned char)in[i * DEV_BLOCK], i & 255);
		assert_int_equal((unsigned char)in[(i + 1) * DEV_BLOCK - 1], i & 255);
	}
	dev_close(d);
	free(out);
	free(in);
}

static void test_many_iovecs(void **state) { in_fiber(many_iovecs); }

/* The file ends in the middle of a transfer: an error, not short data. */
static void truncated(void)
{
	struct dev *d = create_and_open(1 * MIB);
	char *in = aligned(MIB);

	assert_int_equal(truncate(path, 8 * DEV_BLOCK), 0);
	assert_int_equal(dev_read(d, 0, in, 8), 0);
	assert_int_equal(dev_read(d, 4, in, 8), -EIO);
	assert_int_equal(dev_read(d, 8, in, 1), -EIO);
	dev_close(d);
	free(in);
}

static void test_truncated(void **state) { in_fiber(truncated); }

/* The kernel cuts a write at the file size limit: the rest is tried and fails, and what came
 * before is there. */
static void cut_short(void)
{
	struct dev *d = create_and_open(1 * MIB);
	struct rlimit old, limit;
	char *out = aligned(4 * DEV_BLOCK), *in = aligned(4 * DEV_BLOCK);
	struct iovec iov[2] = { { out, DEV_BLOCK }, { out + DEV_BLOCK, 3 * DEV_BLOCK } };
	struct dev_io io = { .op = DEV_WRITE, .block = 8, .nblocks = 4, .iov = iov, .niov = 2 };

	memset(out, 'w', 4 * DEV_BLOCK);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	limit = old;
	limit.rlim_cur = 10 * DEV_BLOCK;
	setrlimit(RLIMIT_FSIZE, &limit);
	dev_submit(d, &io);
	dev_io_wait(&io);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(io.result, -EIO);	/* whatever the kernel calls it */
	assert_int_equal(dev_read(d, 8, in, 4), 0);
	assert_memory_equal(in, out, 2 * DEV_BLOCK);
	assert_int_equal(in[2 * DEV_BLOCK], 0);
	dev_close(d);
	free(out);
	free(in);
}

static void test_cut_short(void **state) { in_fiber(cut_short); }

static void locking(void)
{
	struct dev *d = create_and_open(1 * MIB), *second = NULL, *third = NULL;
	char *block = aligned(DEV_BLOCK);

	assert_int_equal(dev_file_open(path, 0, &second), -EBUSY);
	assert_int_equal(dev_file_open(path, DEV_FILE_RDONLY, &second), -EBUSY);
	assert_null(second);
	dev_close(d);
	assert_int_equal(dev_file_open(path, DEV_FILE_RDONLY, &d), 0);
	assert_true(d->readonly);
	assert_int_equal(dev_write(d, 0, block, 1), -EROFS);
	assert_int_equal(dev_flush(d), 0);
	assert_int_equal(dev_discard(d, 0, 1), -EROFS);
	assert_int_equal(dev_read(d, 0, block, 1), 0);
	/* readers share */
	assert_int_equal(dev_file_open(path, DEV_FILE_RDONLY, &second), 0);
	assert_int_equal(dev_file_open(path, 0, &third), -EBUSY);
	dev_close(second);
	dev_close(d);
	assert_int_equal(dev_file_open(path, 0, &d), 0);
	dev_close(d);
	free(block);
}

static void test_locking(void **state) { in_fiber(locking); }

static void test_open_errors(void **state)
{
	struct dev *d = NULL;

	assert_int_equal(dev_file_open(path, 0, &d), -ENOENT);
	assert_int_equal(dev_file_open(dir, 0, &d), -EISDIR);
	assert_int_equal(dev_file_open("/dev/null", 0, &d), -ENOTBLK);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(dev_file_open(path, 0, &d), -ENOTBLK);
	assert_null(d);
	unlink(path);
	assert_int_equal(dev_file_create(path, 1000), -EINVAL);
	assert_int_equal(dev_file_create("/nonexistent/x", MIB), -ENOENT);
	assert_int_equal(dev_file_create(path, UINT64_MAX & ~4095ull), -EINVAL);
	/* larger than the file system can have: nothing is left behind */
	assert_int_equal(dev_file_create(path, INT64_MAX & ~4095ull), -EFBIG);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(dev_file_create(path, MIB), 0);
	assert_int_equal(dev_file_create(path, MIB), -EEXIST);
}

/* A second process gets in only after the first is dead. */
static void test_lock_outlives_nobody(void **state)
{
	struct dev *d;
	int p[2], status;
	pid_t pid;

	assert_int_equal(dev_file_create(path, MIB), 0);
	assert_int_equal(pipe(p), 0);
	pid = fork();
	if (!pid) {
		int err = dev_file_open(path, 0, &d);

		if (write(p[1], err ? "n" : "y", 1) == 1)
			pause();
		_exit(1);
	}
	assert_int_equal(read(p[0], &(char){ 0 }, 1), 1);
	assert_int_equal(dev_file_open(path, 0, &d), -EBUSY);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(dev_file_open(path, 0, &d), 0);
	dev_close(d);
	close(p[0]);
	close(p[1]);
}

static int parallel_done;

static void parallel_fn(struct dev_io *io)
{
	assert_int_equal(io->result, 0);
	assert_null(fiber_self());
	parallel_done++;
}

static void parallel(void)
{
	enum { N = 256 };
	struct dev *d = create_and_open(16 * MIB);
	char *out = aligned(N * DEV_BLOCK), *in = aligned(N * DEV_BLOCK);
	struct dev_io *io = calloc(N, sizeof(*io));
	struct iovec iov[N];
	struct rng rng;

	rng_init(&rng, 3);
	rng_fill(&rng, out, N * DEV_BLOCK);
	for (int round = 0; round < 2; round++) {
		parallel_done = 0;
		for (int i = 0; i < N; i++) {
			iov[i] = (struct iovec){ (round ? in : out) + i * DEV_BLOCK, DEV_BLOCK };
			io[i] = (struct dev_io){ .op = round ? DEV_READ : DEV_WRITE,
				.dsync = i % 16 == 0, .block = i * 7 % 1024, .nblocks = 1,
				.iov = &iov[i], .niov = 1, .done = parallel_fn };
			dev_submit(d, &io[i]);
			assert_int_equal(parallel_done, 0);	/* never from within submit */
		}
		while (parallel_done < N)
			loop_sleep_ns(1000000);
	}
	assert_memory_equal(in, out, N * DEV_BLOCK);
	dev_close(d);
	free(io);
	free(out);
	free(in);
}

static void test_parallel(void **state) { in_fiber(parallel); }

#define ON_LOOP(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_LOOP(test_read_write), ON_LOOP(test_many_iovecs), ON_LOOP(test_truncated),
		ON_LOOP(test_cut_short), ON_LOOP(test_locking), ON_LOOP(test_open_errors),
		ON_LOOP(test_lock_outlives_nobody), ON_LOOP(test_parallel),
	};
	int failed = 0;

	alarm(120);
	kind = LOOP_AUTO;
	failed += cmocka_run_group_tests_name("auto", tests, NULL, NULL);
	kind = LOOP_EPOLL;
	failed += cmocka_run_group_tests_name("epoll", tests, NULL, NULL);
	return failed != 0;
}
