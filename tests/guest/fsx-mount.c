/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random operations on files of a mounted file system, against copies of them in memory.
 *
 *	fsx-mount [OPTION]... DIR
 *
 *	--seed N	from the clock if none is given; it is printed
 *	--processes N	at once (2), each on --files N files of its own (3)
 *	--ops N		of each process (1000), or --seconds N
 *	--max BYTES	of a file (2 MiB)
 *	--need LIST	words of the table in fsx-ops.c, or "all": failing if DIR can't do one
 *	--without LIST	leave these out
 *	--caches	drop the kernel's caches now and then (root)
 *	--keep		leave the files, as pP-fF: p0-f0, ...
 *	--trace P	print each operation of process P
 *
 * The same seed, processes, files, max, and abilities of DIR give the same operations.  What DIR
 * can't do is found out first and told; so it works on any file system, and NFS of any version.
 * The server may be killed and started again under it as often as one likes: nothing may be lost
 * as long as this machine lives.  When something differs, it is said where, after which
 * operations, and the exit code is 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fsx-mount.h"

struct fsx x;
uint8_t *buf;

static unsigned weight_of(unsigned i)
{
	return x.abilities & 1u << does[i].ability && !(x.without & 1u << i) ? does[i].weight : 0;
}

static void step(void)
{
	unsigned all = 0, at, i = 0;

	for (unsigned k = 0; k < NDOES; k++)
		all += weight_of(k);
	for (at = below(all); at >= weight_of(i); i++)
		at -= weight_of(i);
	if (does[i].run(&x.file[below(x.nfiles)]))
		x.done[x.process * NDOES + i]++;
	else
		note("%s: not now", does[i].word);
}

/* ---- a process ------------------------------------------------------------------------- */

static void begin_file(unsigned i)
{
	struct file *f = &x.file[i];

	snprintf(f->name, sizeof(f->name), "p%u-f%u", x.process, i);
	if (!filemodel_init(&f->m, x.max))
		die("no memory");
	f->fd = open_file(f->name, O_RDWR | O_CREAT | O_TRUNC);
}

static void end_file(unsigned i)
{
	struct file *f = &x.file[i];
	char name[sizeof(f->name)];

	if (fsync(f->fd))
		die("fsync of %s: %s", f->name, strerror(errno));
	posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
	do_reopen(f);
	check_all(f);
	snprintf(name, sizeof(name), "p%u-f%u", x.process, i);
	if (x.keep && strcmp(name, f->name))
		rename_file(f->name, name);
	close_file(f->fd);
	if (!x.keep && unlink(f->name))
		die("unlink of %s: %s", f->name, strerror(errno));
}

static void process(unsigned number, uint64_t end_s)
{
	x.process = number;
	x.dice.state = x.seed + number * 1000003ull;
	setlinebuf(stdout);
	for (unsigned i = 0; i < x.nfiles; i++)
		begin_file(i);
	for (x.step = 0; end_s ? (uint64_t)time(NULL) < end_s : x.step < x.ops; x.step++)
		step();
	note("the end");
	for (unsigned i = 0; i < x.nfiles; i++)
		end_file(i);
	exit(0);
}

static pid_t start(unsigned number, uint64_t end_s)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	process(number, end_s);
	exit(1);
}

/* True: all came to a good end. */
static bool run_processes(void)
{
	uint64_t end_s = x.seconds ? time(NULL) + x.seconds : 0;
	unsigned left = x.processes;
	pid_t pids[PROCESSES_MAX], pid;
	int status;

	for (unsigned i = 0; i < x.processes; i++)
		pids[i] = start(i, end_s);
	for (; left; left--) {
		pid = wait(&status);
		if (pid > 0 && WIFEXITED(status) && !WEXITSTATUS(status))
			continue;
		if (pid > 0 && WIFSIGNALED(status))
			printf("# a process was killed: %s\n", strsignal(WTERMSIG(status)));
		for (unsigned i = 0; i < x.processes; i++)
			if (pids[i] != pid)
				kill(pids[i], SIGKILL);
		return false;
	}
	return true;
}

static void tell(void)
{
	unsigned all = 0, n[NDOES] = { 0 };

	for (unsigned i = 0; i < NDOES * x.processes; i++) {
		all += x.done[i];
		n[i % NDOES] += x.done[i];
	}
	printf("# %u operations of %u processes:", all, x.processes);
	for (unsigned i = 0; i < NDOES; i++)
		if (n[i])
			printf(" %u %s", n[i], does[i].word);
	printf("\n");
}

/* ---- what DIR can do ------------------------------------------------------------------- */

static bool can(unsigned ability, const char *name, int a, int b)
{
	struct flock l = { .l_type = F_WRLCK };
	off_t from = 0, to = 0;
	int fd;

	switch (ability) {
	case DIRECT:
		fd = open(name, O_RDWR | O_DIRECT);
		return fd >= 0 && pwrite(fd, buf, BLOCK, 0) == BLOCK && !close(fd);
	case PUNCH:
		return !fallocate(a, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BLOCK);
	case RESERVE: return !fallocate(a, 0, 0, BLOCK);
	case CLONE: return !ioctl(b, FICLONE, a);
	case COPY: return copy_file_range(a, &from, b, &to, BLOCK, 0) == BLOCK;
	case SEEK: return lseek(a, 0, SEEK_HOLE) >= 0;
	case LOCK: return !fcntl(a, F_OFD_SETLK, &l);
	default: return true;
	}
}

static void find_abilities(void)
{
	struct statfs fs;
	int a = open_file("fsx-a", O_RDWR | O_CREAT), b = open_file("fsx-b", O_RDWR | O_CREAT);

	if (pwrite(a, buf, BLOCK, 0) != BLOCK || fsync(a) || fstatfs(a, &fs))
		die("a first write: %s", strerror(errno));
	x.direct_unit = fs.f_type == NFS_SUPER_MAGIC ? 1 : BLOCK;
	for (unsigned i = 0; i < ABILITIES; i++)
		x.abilities |= (unsigned)can(i, "fsx-a", a, b) << i;
	close(a);
	close(b);
	unlink("fsx-a");
	unlink("fsx-b");
	for (unsigned i = 0; i < NDOES; i++) {
		if (x.abilities & 1u << does[i].ability)
			continue;
		printf("# this file system has no %s\n", does[i].word);
		if (x.need & 1u << i)
			exit(1);
	}
}

/* ---- options ---------------------------------------------------------------------------- */

static void usage(void)
{
	fprintf(stderr, "usage: fsx-mount [--seed N] [--processes N] [--files N] [--ops N | "
		"--seconds N] [--max BYTES]\n"
		"                 [--need LIST] [--without LIST] [--caches] [--keep] [--trace P] "
		"DIR\n");
	exit(2);
}

static unsigned words(char *list)
{
	unsigned set = 0, i;

	if (!strcmp(list, "all"))
		return ~0u;
	for (char *w = strtok(list, ","); w; w = strtok(NULL, ",")) {
		for (i = 0; i < NDOES && strcmp(w, does[i].word); i++)
			;
		if (i == NDOES)
			usage();
		set |= 1u << i;
	}
	return set;
}

static unsigned number(const char *text, unsigned max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 0);

	if (*end || !n || n > max)
		usage();
	return n;
}

static void options(int argc, char **argv)
{
	static const struct option names[] = {
		{ "seed", 1, NULL, 's' }, { "processes", 1, NULL, 'p' }, { "files", 1, NULL, 'f' },
		{ "ops", 1, NULL, 'o' }, { "seconds", 1, NULL, 't' }, { "max", 1, NULL, 'm' },
		{ "need", 1, NULL, 'n' }, { "without", 1, NULL, 'w' }, { "caches", 0, NULL, 'c' },
		{ "keep", 0, NULL, 'k' }, { "trace", 1, NULL, 'v' }, { NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (c) {
		case 's': x.seed = strtoull(optarg, NULL, 0); break;
		case 'p': x.processes = number(optarg, PROCESSES_MAX); break;
		case 'f': x.nfiles = number(optarg, FILES_MAX); break;
		case 'o': x.ops = number(optarg, UINT32_MAX); break;
		case 't': x.seconds = number(optarg, 7 * 86400); break;
		case 'm': x.max = number(optarg, 1u << 30); break;
		case 'n': x.need = words(optarg); break;
		case 'w': x.without = words(optarg); break;
		case 'c': x.caches = true; break;
		case 'k': x.keep = true; break;
		case 'v': x.traced = atoi(optarg); break;
		default: usage();
		}
	}
	if (optind != argc - 1 || x.max < 2 * BLOCK)
		usage();
}

int main(int argc, char **argv)
{
	bool good;

	x.seed = time(NULL);
	x.processes = 2;
	x.nfiles = 3;
	x.ops = 1000;
	x.max = 2u << 20;
	x.traced = -1;
	options(argc, argv);
	buf = aligned_alloc(BLOCK, IO_MAX + BLOCK);
	x.done = mmap(NULL, sizeof(*x.done) * NDOES * x.processes, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!buf || x.done == MAP_FAILED)
		die("no memory");
	memset(buf, 1, BLOCK);
	printf("# seed %llu\n", (unsigned long long)x.seed);
	if (chdir(argv[optind]))
		die("%s: %s", argv[optind], strerror(errno));
	find_abilities();
	fflush(stdout);
	good = run_processes();
	tell();
	return !good;
}
