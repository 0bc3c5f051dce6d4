/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls that busybox has no command for, for scripts in the guest.  Exit code 0: done;
 * otherwise the name of the error is printed.
 *
 *	rangetool clone SRC DST				FICLONE
 *	rangetool clonerange SRC OFF LEN DST OFF	FICLONERANGE
 *	rangetool copy SRC OFF LEN DST OFF		copy_file_range, the number of bytes printed
 *	rangetool punch FILE OFF LEN			a hole; the size stays
 *	rangetool allocate FILE OFF LEN
 *	rangetool setx|createx|replacex FILE NAME VALUE	an extended attribute
 *	rangetool getx FILE NAME, removex FILE NAME	the value is printed
 *	rangetool listx FILE				the names, one a line
 *	rangetool data|hole FILE OFF			lseek, the offset printed
 *	rangetool lock FILE r|w OFF LEN COMMAND...	runs COMMAND while the lock is held
 *	rangetool flock FILE r|w COMMAND...
 *	rangetool lockw ..., flockw ...			the same, waiting for the lock
 *	rangetool count FILE N				N times: waits for the lock of FILE, and adds
 *							one to the number in it
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static int failed(const char *what)
{
	const char *name = strerrorname_np(errno);

	printf("%s: %s\n", what, name ? name : "?");
	return 1;
}

static int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags, 0644);

	if (fd < 0)
		exit(failed(path));
	return fd;
}

static int run(char **argv)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		execvp(argv[0], argv);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) ?
	       WEXITSTATUS(status) : failed("fork");
}

static int clone_range(char **a)
{
	struct file_clone_range r = { .src_fd = open_or_die(a[0], O_RDONLY),
				      .src_offset = atoll(a[1]), .src_length = atoll(a[2]),
				      .dest_offset = atoll(a[4]) };

	return ioctl(open_or_die(a[3], O_WRONLY | O_CREAT), FICLONERANGE, &r) ?
	       failed("clonerange") : 0;
}

static int copy(char **a)
{
	off_t from = atoll(a[1]), to = atoll(a[4]);
	ssize_t n = copy_file_range(open_or_die(a[0], O_RDONLY), &from,
				    open_or_die(a[3], O_WRONLY | O_CREAT), &to, atoll(a[2]), 0);

	if (n < 0)
		return failed("copy");
	printf("%zd\n", n);
	return 0;
}

static bool set_lock(int fd, char type, off_t off, off_t len, bool waits)
{
	struct flock l = { .l_type = type == 'w' ? F_WRLCK : type == 'r' ? F_RDLCK : F_UNLCK,
			   .l_whence = SEEK_SET, .l_start = off, .l_len = len };

	return !fcntl(fd, waits ? F_OFD_SETLKW : F_OFD_SETLK, &l);
}

static int lock(char **a, bool waits)
{
	int fd = open_or_die(a[0], O_RDWR), code;

	if (!set_lock(fd, *a[1], atoll(a[2]), atoll(a[3]), waits))
		return failed("lock");
	code = run(a + 4);
	return set_lock(fd, 'u', atoll(a[2]), atoll(a[3]), false) ? code : failed("unlock");
}

static int whole_lock(char **a, bool waits)
{
	int fd = open_or_die(a[0], O_RDWR), code;

	if (flock(fd, (*a[1] == 'w' ? LOCK_EX : LOCK_SH) | (waits ? 0 : LOCK_NB)))
		return failed("flock");
	code = run(a + 2);
	return flock(fd, LOCK_UN) ? failed("unlock") : code;
}

static int count(char **a)
{
	int fd = open_or_die(a[0], O_RDWR | O_CREAT);
	char text[24];
	ssize_t n;

	for (int left = atoi(a[1]); left; left--) {
		if (!set_lock(fd, 'w', 0, 0, true))
			return failed("lock");
		n = pread(fd, text, sizeof(text) - 1, 0);
		if (n < 0)
			return failed("read");
		text[n] = 0;
		n = sprintf(text, "%d\n", atoi(text) + 1);
		if (pwrite(fd, text, n, 0) != n)
			return failed("write");
		if (!set_lock(fd, 'u', 0, 0, false))
			return failed("unlock");
	}
	return 0;
}

static int punch(char **a)
{
	return fallocate(open_or_die(a[0], O_RDWR), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 atoll(a[1]), atoll(a[2])) ? failed("punch") : 0;
}

/* ---- extended attributes ------------------------------------------------------------- */

static int setx(char **a, int flags)
{
	return setxattr(a[0], a[1], a[2], strlen(a[2]), flags) ? failed("setxattr") : 0;
}

static int getx(char **a)
{
	static char value[65536];
	ssize_t n = getxattr(a[0], a[1], value, sizeof(value));

	if (n < 0)
		return failed("getxattr");
	printf("%.*s\n", (int)n, value);
	return 0;
}

static int listx(const char *path)
{
	static char names[65536];
	ssize_t n = listxattr(path, names, sizeof(names));

	if (n < 0)
		return failed("listxattr");
	for (const char *p = names; p < names + n; p += strlen(p) + 1)
		if (!strncmp(p, "user.", 5))
			puts(p);
	return 0;
}

static int xattr(const char *what, int argc, char **a)
{
	if (!strcmp(what, "setx") && argc == 5)
		return setx(a, 0);
	if (!strcmp(what, "createx") && argc == 5)
		return setx(a, XATTR_CREATE);
	if (!strcmp(what, "replacex") && argc == 5)
		return setx(a, XATTR_REPLACE);
	if (!strcmp(what, "getx") && argc == 4)
		return getx(a);
	if (!strcmp(what, "removex") && argc == 4)
		return removexattr(a[0], a[1]) ? failed("removexattr") : 0;
	if (!strcmp(what, "listx") && argc == 3)
		return listx(a[0]);
	fprintf(stderr, "rangetool: bad usage\n");
	return 2;
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";
	char **a = argv + 2;
	off_t at;

	if (!strcmp(what, "clone") && argc == 4)
		return ioctl(open_or_die(a[1], O_WRONLY | O_CREAT), FICLONE,
			     open_or_die(a[0], O_RDONLY)) ? failed("clone") : 0;
	if (!strcmp(what, "clonerange") && argc == 7)
		return clone_range(a);
	if (!strcmp(what, "copy") && argc == 7)
		return copy(a);
	if (!strcmp(what, "punch") && argc == 5)
		return punch(a);
	if (!strcmp(what, "allocate") && argc == 5)
		return fallocate(open_or_die(a[0], O_RDWR | O_CREAT), 0, atoll(a[1]), atoll(a[2])) ?
		       failed("fallocate") : 0;
	if ((!strcmp(what, "data") || !strcmp(what, "hole")) && argc == 4) {
		at = lseek(open_or_die(a[0], O_RDONLY), atoll(a[1]),
			   *what == 'd' ? SEEK_DATA : SEEK_HOLE);
		if (at < 0)
			return failed(what);
		printf("%lld\n", (long long)at);
		return 0;
	}
	if ((!strcmp(what, "lock") || !strcmp(what, "lockw")) && argc > 6)
		return lock(a, what[4]);
	if ((!strcmp(what, "flock") || !strcmp(what, "flockw")) && argc > 4)
		return whole_lock(a, what[5]);
	if (!strcmp(what, "count") && argc == 4)
		return count(a);
	return xattr(what, argc, a);
}
