/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pandod: serves one pool.
 *
 *   options -> device -> pool -> NFS -> management -> ready -> (SIGTERM) -> all of it backwards
 *
 * Everything happens in one fiber of one loop; what fails says so in one line and undoes what
 * was begun before.  A second signal ends the process at once: the pool is as after a crash,
 * which loses nothing that was acknowledged.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "admin/admin.h"
#include "admin/size.h"
#include "base/err.h"
#include "base/fiber.h"
#include "base/log.h"
#include "base/loop.h"
#include "dev/dev.h"
#include "fs/fs.h"
#include "nfs/server.h"
#include "pandod/config.h"
#include "pandod/notify.h"

#define WHY 400

struct daemon {
	struct config cfg;
	struct loop *loop;
	int signal_fd;
	int exit_code;
	struct dev *dev;
	struct fs *fs;
	struct nfs_server *nfs;
	struct admin *admin;
};

/* One line for people; always returns -1. */
static int fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int fail(const char *fmt, ...)
{
	char text[WHY * 2];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "pandod: %s\n", text);
	return -1;
}

/* ---- starting --------------------------------------------------------------------------- */

static int device_open(struct daemon *d)
{
	const char *path = d->cfg.pool;
	int err = dev_file_open(path, d->cfg.readonly ? DEV_FILE_RDONLY : 0, &d->dev);

	switch (err) {
	case 0:
		return 0;
	case -EBUSY:
		return fail("%s: the pool is open elsewhere; stop the pandod or pando that has it",
			    path);
	case -ENOENT:
		return fail("%s: no such file; 'pando pool create %s --size SIZE' makes a pool",
			    path,
			    path);
	case -EACCES: case -EPERM:
		return fail("%s: permission denied; run pandod as a user who may read and write it",
			    path);
	case -EISDIR:
		return fail("%s: is a directory; name a pool file or a block device", path);
	case -EROFS:
		return fail("%s: is on a read-only file system; --read-only serves it as it is",
			    path);
	default:
		return fail("%s: cannot open it: %s", path, err_text(err));
	}
}

static int pool_open(struct daemon *d)
{
	struct fs_config cfg = { .cache_bytes = d->cfg.cache_bytes,
				 .checkpoint_ms = d->cfg.checkpoint_ms,
				 .readonly = d->cfg.readonly, .keep_orphans = true };
	char why[WHY] = "";
	struct fs_status st;
	int err = fs_open(d->dev, &cfg, &d->fs, why, sizeof(why));

	if (err && *why)		/* names the pool itself */
		return fail("%s", why);
	if (err)
		return fail("%s: %s", d->cfg.pool, err_text(err));
	fs_status(d->fs, &st);
	if (st.readonly && !d->cfg.readonly)
		log_warn("%s: opened read-only: %s", d->cfg.pool, st.reason);
	if (st.replayed_records)
		log_info("%s: was not closed cleanly; %llu log records replayed", d->cfg.pool,
			 (unsigned long long)st.replayed_records);
	err = fs_scrub_resume(d->fs);
	if (err)
		log_warn("%s: the scrub that was interrupted does not go on: %s", d->cfg.pool,
			 err_text(err));
	err = fs_dedup_resume(d->fs);
	if (err)
		log_warn("%s: the dedup job that was interrupted does not go on: %s", d->cfg.pool,
			 err_text(err));
	return 0;
}

/* What --portmap means to the NFS server, in BUF where it has to be put together: who is served on
 * an address is answered there. */
static const char *portmap_address(const struct config *cfg, char *buf, size_t cap)
{
	const char *first = cfg->listen[0], *mode = cfg->portmap;

	if (!strcmp(mode, "off"))
		return "";
	if (!strcmp(mode, "auto") || !strcmp(mode, "on"))
		snprintf(buf, cap, "%.*s:111", (int)(strrchr(first, ':') - first), first);
	else
		snprintf(buf, cap, strchr(mode, ':') ? "[%s]:111" : "%s:111", mode);
	return buf;
}

/* Without the port mapper everybody can be served who can name a port: so only who has asked
 * for it by name gets an error. */
static int portmap_check(struct daemon *d)
{
	const char *why = "";

	switch (nfs_server_portmap(d->nfs, &why)) {
	case NFS_PORTMAP_FAILED:
		if (strcmp(d->cfg.portmap, "auto"))
			return fail("--portmap %s: %s", d->cfg.portmap, why);
		log_info("port 111 is not answered (%s): clients have to name the port", why);
		return 0;
	case NFS_PORTMAP_RPCBIND:
		log_info("registered with rpcbind");
		return 0;
	default:
		return 0;
	}
}

static int nfs_begin(struct daemon *d)
{
	char address[80], why[WHY] = "";
	struct nfs_config cfg = { .listen = (const char *const *)d->cfg.listen,
				  .nlisten = d->cfg.nlisten,
				  .lease_s = d->cfg.lease_s, .grace_s = d->cfg.grace_s };
	int err;

	fs_pool_secret(d->fs, cfg.handle_key);
	cfg.portmap = portmap_address(&d->cfg, address, sizeof(address));
	err = nfs_server_new(d->fs, &cfg, &d->nfs);
	if (err)
		return fail("cannot make the NFS server: %s", err_text(err));
	err = nfs_server_start(d->nfs, why, sizeof(why));
	if (err)
		return fail("%s%s", *why ? why : err_text(err),
			    err == -EADDRINUSE ? "; stop what is serving there, or choose another "
						 "address with --listen"
					       : "; choose another address with --listen");
	return portmap_check(d);
}

static int admin_begin(struct daemon *d)
{
	struct admin_config cfg = { .fs = d->fs, .nfs = d->nfs, .pool_path = d->cfg.pool,
				    .socket_path = d->cfg.socket,
				    .socket_group = d->cfg.socket_group,
				    .upload_timeout_s = d->cfg.upload_timeout_s };
	char why[WHY] = "";

	return admin_start(&cfg, &d->admin, why, sizeof(why)) ? fail("%s", why) : 0;
}

/* ---- stopping --------------------------------------------------------------------------- */

/* In the order opposite to starting: whoever could still ask goes before who would answer. */
static int stop(struct daemon *d)
{
	int err = 0;

	if (d->admin)
		admin_stop(d->admin);
	if (d->nfs) {
		nfs_server_stop(d->nfs);
		nfs_server_free(d->nfs);
	}
	if (d->fs)
		err = fs_close(d->fs);
	if (err == -EROFS && d->cfg.readonly)
		err = 0;	/* there is no last checkpoint, as was wished */
	if (d->dev)
		dev_close(d->dev);
	return err ? fail("%s: the last checkpoint failed: %s; the next start will replay the log",
			  d->cfg.pool, err_text(err)) : 0;
}

static void leave_now(int sig)
{
	_exit(128 + sig);
}

static int signal_wait(struct daemon *d)
{
	struct signalfd_siginfo info;
	struct loop_io io = { .done = NULL };
	sigset_t set;

	loop_poll(&io, d->signal_fd, POLLIN);
	loop_io_wait(&io);
	if (read(d->signal_fd, &info, sizeof(info)) != sizeof(info))
		return 0;
	signal(SIGTERM, leave_now);
	signal(SIGINT, leave_now);
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	return (int)info.ssi_signo;
}

static int signals_block(int *ret_fd)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	/* before any thread exists: they all inherit it */
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return fail("cannot block signals: %s", strerror(errno));
	*ret_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return *ret_fd < 0 ? fail("cannot wait for signals: %s", strerror(errno)) : 0;
}

/* ---- serving ---------------------------------------------------------------------------- */

/* "127.0.0.1:2049, [::1]:2049"; a port 0 is shown as what the kernel made of it. */
static void addresses_text(struct daemon *d, char *buf, size_t cap)
{
	const char *text, *colon;
	unsigned i;
	size_t n = 0;

	for (i = 0; i < d->cfg.nlisten && n < cap; i++) {
		text = d->cfg.listen[i];
		colon = strrchr(text, ':');
		n += (size_t)snprintf(buf + n, cap - n, "%s%.*s:%u", i ? ", " : "",
				      (int)(colon - text), text, nfs_server_port(d->nfs, i));
	}
}

static void ready(struct daemon *d)
{
	char line[WHY * 3], addresses[WHY] = "", size[SIZE_TEXT];
	struct fs_status st;

	addresses_text(d, addresses, sizeof(addresses));
	fs_status(d->fs, &st);
	snprintf(line, sizeof(line), "ready: pool %s (%s, opened in %.1f ms), NFS on %s, "
		 "management on %s", d->cfg.pool, size_text(st.size_blocks * DEV_BLOCK, size),
		 (double)st.open_ns / 1e6, addresses, d->cfg.socket);
	log_info("%s", line);
	if (d->cfg.ready_fd >= 0) {
		if (dprintf(d->cfg.ready_fd, "%s\n", line) < 0)
			log_warn("--ready-fd %d: %s", d->cfg.ready_fd, strerror(errno));
		close(d->cfg.ready_fd);
	}
	notify("READY=1");
}

static void serve(void *arg)
{
	struct daemon *d = arg;
	int sig;

	d->exit_code = 1;
	if (!device_open(d) && !pool_open(d) && !nfs_begin(d) && !admin_begin(d)) {
		ready(d);
		sig = signal_wait(d);
		notify("STOPPING=1");
		log_info("%s: finishing what is under way", strsignal(sig));
		d->exit_code = 0;
	}
	if (stop(d))
		d->exit_code = 1;
	loop_stop(d->loop);
}

static int run(struct daemon *d)
{
	int err;

	if (signals_block(&d->signal_fd))
		return 1;
	err = loop_new(LOOP_AUTO, &d->loop);
	if (err) {
		fail("cannot start the event loop: %s", err_text(err));
		return 1;
	}
	err = fiber_spawn(serve, d, "serve");
	if (!err)
		err = loop_run(d->loop);
	if (err) {
		fail("cannot run the event loop: %s", err_text(err));
		return 1;
	}
	loop_free(d->loop);
	close(d->signal_fd);
	return d->exit_code;
}

int main(int argc, char **argv)
{
	struct daemon d = { 0 };
	char why[CONFIG_WHY];
	int code;

	switch (config_read(argc, argv, &d.cfg, why)) {
	case CONFIG_EXIT:
		code = 0;
		break;
	case CONFIG_FAILED:
		fail("%s", *why ? why : "cannot write to standard output");
		code = 1;
		break;
	case CONFIG_USAGE:
		fail("%s", why);
		code = 2;
		break;
	default:
		log_set_level(d.cfg.log_level);
		code = run(&d);
	}
	config_done(&d.cfg);
	return code;
}
