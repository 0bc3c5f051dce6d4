/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memd: the NFS server on a file system in memory, as a program: for clients that need a real
 * socket, and to measure what the protocol layers cost without a store behind them.
 *
 *   memd LISTEN [PORTMAP]	prints the port; serves /vol and /other until SIGTERM
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/fiber.h"
#include "base/loop.h"
#include "memfs.h"
#include "nfs/server.h"

static struct loop *loop;
static struct fs *fs;
static struct nfs_server *server;
static struct nfs_config cfg = { .handle_key = "0123456789abcde" };
static volatile sig_atomic_t stop;
static int status;

static void on_signal(int sig) { stop = 1; }

static void serve(void *arg)
{
	char why[200];
	const char *map_why;
	int err = nfs_server_new(fs, &cfg, &server);

	if (!err)
		err = nfs_server_start(server, why, sizeof(why));
	if (err) {
		fprintf(stderr, "memd: %s\n", why);
		exit(1);
	}
	printf("%u %d\n", nfs_server_port(server, 0), nfs_server_portmap(server, &map_why));
	fflush(stdout);
	while (!stop)
		loop_sleep_ns(20000000);
	nfs_server_stop(server);
	nfs_server_free(server);
	if (memfs_control(fs)->pins) {
		fprintf(stderr, "memd: %d reads were not given back\n", memfs_control(fs)->pins);
		status = 1;
	}
	loop_stop(loop);
}

int main(int argc, char **argv)
{
	const char *listen = argc > 1 ? argv[1] : "127.0.0.1:0";

	cfg.listen = &listen;
	cfg.nlisten = 1;
	cfg.portmap = argc > 2 ? argv[2] : "";
	signal(SIGTERM, on_signal);
	signal(SIGPIPE, SIG_IGN);
	fs = memfs_new();
	memfs_set_exports(fs, 1, "* rw no_root_squash");
	if (loop_new(LOOP_AUTO, &loop) || fiber_spawn(serve, NULL, "memd"))
		return 1;
	loop_run(loop);
	loop_free(loop);
	memfs_free(fs);
	return status;
}
