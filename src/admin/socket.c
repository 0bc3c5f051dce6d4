/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Unix socket of the management API.
 *
 * Who may connect is decided by the socket's file mode, which is right from the moment the
 * file exists.  A lock file beside it (PATH.lock, never removed) is held by a living daemon:
 * so a socket that a killed daemon left behind can be told from one in use, and two daemons
 * that start together cannot take each other's.
 */
#include "admin/admin_int.h"

#include <fcntl.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct why { char *text; size_t len; };

static int refuse(struct why *why, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int refuse(struct why *why, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->text, why->len, fmt, ap);
	va_end(ap);
	return err;
}

/* Makes the last directory of PATH if it is missing; in /tmp somebody else may have been
 * faster, so one that is found must be ours or root's, and closed to writers. */
static int directory_prepare(const char *path, struct why *why)
{
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path)];
	const char *slash = strrchr(path, '/');
	struct stat st;

	if (!slash || slash == path)
		return 0;
	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
	if (mkdir(dir, geteuid() ? 0700 : 0755) && errno != EEXIST)
		return refuse(why, -errno, "%s: cannot make the socket's directory: %s; make it, "
			      "or choose another with --socket", dir, strerror(errno));
	if (stat(dir, &st))
		return refuse(why, -errno, "%s: %s", dir, strerror(errno));
	if (!strncmp(dir, "/tmp/pando-", 11) && st.st_uid != geteuid())
		return refuse(why, -EPERM, "%s: belongs to somebody else; choose another place "
			      "with --socket", dir);
	return 0;
}

static int lock_take(const char *path, int *ret_lock, struct why *why)
{
	char name[128];
	int fd, err;

	snprintf(name, sizeof(name), "%s.lock", path);
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return refuse(why, -errno, "%s: %s; choose another place with --socket", name,
			      strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		err = errno;
		close(fd);
		if (err != EWOULDBLOCK)
			return refuse(why, -err, "%s: %s", name, strerror(err));
		return refuse(why, -EADDRINUSE, "%s: another pandod is serving this socket; stop "
			      "it, or choose another with --socket", path);
	}
	*ret_lock = fd;
	return 0;
}

/* With the lock in hand: what stands at PATH is a dead daemon's, unless it answers. */
static int stale_remove(const struct sockaddr_un *addr, struct why *why)
{
	const char *path = addr->sun_path;
	struct stat st;
	int fd, live;

	if (lstat(path, &st))
		return errno == ENOENT ? 0 : refuse(why, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return refuse(why, -EEXIST, "%s: exists and is not a socket; remove it, or choose "
			      "another place with --socket", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return refuse(why, -errno, "%s: %s", path, strerror(errno));
	live = !connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) || errno == EAGAIN;
	close(fd);
	if (live)
		return refuse(why, -EADDRINUSE, "%s: another program is serving this socket; "
			      "choose another with --socket", path);
	if (unlink(path))
		return refuse(why, -errno, "%s: a socket left by a dead daemon, and it cannot be "
			      "removed: %s", path, strerror(errno));
	return 0;
}

static int socket_bind(const struct sockaddr_un *addr, const char *group, int *ret_fd,
		       struct why *why)
{
	const char *path = addr->sun_path;
	struct group *gr = group ? getgrnam(group) : NULL;
	mode_t mask;
	int fd, err;

	if (group && !gr)
		return refuse(why, -EINVAL, "%s: no such group; --socket-group takes the name of "
			      "one", group);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return refuse(why, -errno, "%s: %s", path, strerror(errno));
	mask = umask(0177);
	err = bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) ? errno : 0;
	umask(mask);
	if (err) {
		close(fd);
		return refuse(why, -err, "%s: cannot make the socket: %s; choose another place "
			      "with --socket", path, strerror(err));
	}
	if ((gr && (chown(path, (uid_t)-1, gr->gr_gid) || chmod(path, 0660))) || listen(fd, 128)) {
		err = errno;
		unlink(path);
		close(fd);
		return refuse(why, -err, "%s: %s", path, strerror(err));
	}
	*ret_fd = fd;
	return 0;
}

int socket_listen(const char *path, const char *group, int *ret_fd, int *ret_lock, char *why_text,
		  size_t why_len)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct why why = { why_text, why_len };
	int err, lock = -1;

	if (strlen(path) >= sizeof(addr.sun_path))
		return refuse(&why, -ENAMETOOLONG, "%s: a socket's path has at most %zu bytes; "
			      "choose a shorter one with --socket", path,
			  sizeof(addr.sun_path) - 1);
	strcpy(addr.sun_path, path);
	err = directory_prepare(path, &why);
	if (!err)
		err = lock_take(path, &lock, &why);
	if (!err)
		err = stale_remove(&addr, &why);
	if (!err)
		err = socket_bind(&addr, group, ret_fd, &why);
	if (err && lock >= 0)
		close(lock);
	if (!err)
		*ret_lock = lock;
	return err;
}

void socket_close(const char *path, int fd, int lock_fd)
{
	unlink(path);
	close(fd);
	close(lock_fd);
}
