/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clonebench: makes disk images and clones them by FICLONE, on a file system that can.
 *
 *   clonebench image DIR SIZE plain|fragmented
 *       DIR/base is written from one end to the other.  Plain: it is the golden image itself.
 *       Fragmented: DIR/golden is a clone of it in which every 64 KiB has 4 KiB overwritten,
 *       which is what a golden image looks like that was cloned and then lived for a while.
 *   clonebench clone GOLDEN DIR COUNT nosync|fsync LIMIT_S
 *       COUNT clones, or as many as begin within LIMIT_S; with fsync each is made durable
 *       before the next; without, one syncfs follows that is timed apart.
 *
 * What it reports is JSON on standard output; space is what statvfs says, after a syncfs.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define MIB (1u << 20)
#define STRIDE (64u << 10)
#define OVERWRITE 4096u

static void die(const char *what, const char *path)
{
	fprintf(stderr, "clonebench: %s %s: %s\n", what, path, strerror(errno));
	exit(1);
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		die("cannot open", path);
	return fd;
}

/* Noise, so that nothing compresses it or finds it equal to something else. */
static void noise(void *buf, size_t len, uint64_t seed)
{
	uint64_t *p = buf, x = seed * 0x9e3779b97f4a7c15u + 1;

	for (size_t i = 0; i < len / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = x;
	}
}

/* Through the page cache: the file system then sees long runs and makes long extents. */
static void write_base(const char *path, uint64_t size)
{
	int fd = open_or_die(path, O_WRONLY | O_CREAT | O_TRUNC);
	static char buf[MIB];

	noise(buf, MIB, 1);
	for (uint64_t off = 0; off < size; off += MIB) {
		memcpy(buf, &off, sizeof(off));
		if (pwrite(fd, buf, MIB, (off_t)off) != MIB)
			die("cannot write", path);
	}
	if (fsync(fd) < 0)
		die("cannot fsync", path);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
}

static void overwrite(const char *path, uint64_t size)
{
	int fd = open_or_die(path, O_WRONLY);
	static char buf[OVERWRITE];

	for (uint64_t off = 0; off < size; off += STRIDE) {
		noise(buf, sizeof(buf), off + 2);
		if (pwrite(fd, buf, sizeof(buf), (off_t)off) != (ssize_t)sizeof(buf))
			die("cannot write", path);
	}
	if (fsync(fd) < 0)
		die("cannot fsync", path);
	close(fd);
}

static uint32_t count_extents(const char *path)
{
	struct fiemap map = { .fm_length = FIEMAP_MAX_OFFSET };
	int fd = open_or_die(path, O_RDONLY);

	if (ioctl(fd, FS_IOC_FIEMAP, &map) < 0)
		map.fm_mapped_extents = 0;
	close(fd);
	return map.fm_mapped_extents;
}

static void clone_file(int src, const char *dst, bool sync)
{
	int fd = open_or_die(dst, O_WRONLY | O_CREAT | O_EXCL);

	if (ioctl(fd, FICLONE, src) < 0)
		die("cannot clone onto", dst);
	if (sync && fsync(fd) < 0)
		die("cannot fsync", dst);
	close(fd);
}

static int cmd_image(char **arg)
{
	uint64_t size = strtoull(arg[1], NULL, 10);
	bool fragmented = !strcmp(arg[2], "fragmented");
	char base[4096], golden[4096];

	if (!size || size % MIB) {
		fprintf(stderr, "clonebench: the size has to be whole MiB, in bytes\n");
		return 2;
	}
	snprintf(base, sizeof(base), "%s/base", arg[0]);
	snprintf(golden, sizeof(golden), "%s/golden", arg[0]);
	write_base(base, size);
	int src = open_or_die(base, O_RDONLY);

	clone_file(src, golden, true);
	close(src);
	if (fragmented)
		overwrite(golden, size);
	printf("{\"extents\": %u}\n", count_extents(golden));
	return 0;
}

static uint64_t used_bytes(int dir)
{
	struct statvfs s;

	if (syncfs(dir) < 0 || fstatvfs(dir, &s) < 0)
		die("cannot ask for space in", "the directory");
	return (uint64_t)(s.f_blocks - s.f_bfree) * s.f_frsize;
}

static int cmd_clone(char **arg)
{
	int src = open_or_die(arg[0], O_RDONLY), dir = open_or_die(arg[1], O_RDONLY | O_DIRECTORY);
	unsigned count = (unsigned)strtoul(arg[2], NULL, 10), done = 0;
	bool sync = !strcmp(arg[3], "fsync");
	uint64_t limit = strtoull(arg[4], NULL, 10) * 1000000, min = UINT64_MAX, max = 0;
	uint64_t before = used_bytes(dir), start = now_us(), t0, t1 = start;

	while (done < count && t1 - start < limit) {
		char dst[4096];

		snprintf(dst, sizeof(dst), "%s/clone-%05u", arg[1], done);
		t0 = now_us();
		clone_file(src, dst, sync);
		t1 = now_us();
		min = t1 - t0 < min ? t1 - t0 : min;
		max = t1 - t0 > max ? t1 - t0 : max;
		done++;
	}
	uint64_t after = used_bytes(dir);

	printf("{\"clones\": %u, \"elapsed_us\": %" PRIu64 ", \"min_us\": %" PRIu64
	       ", \"max_us\": %" PRIu64 ", \"syncfs_us\": %" PRIu64 ", \"space_bytes\": %" PRId64
	       "}\n", done, t1 - start, min, max, now_us() - t1, (int64_t)(after - before));
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "image"))
		return cmd_image(argv + 2);
	if (argc == 7 && !strcmp(argv[1], "clone"))
		return cmd_clone(argv + 2);
	fputs("usage: clonebench image DIR SIZE plain|fragmented\n"
	      "       clonebench clone GOLDEN DIR COUNT nosync|fsync LIMIT_S\n", stderr);
	return 2;
}
