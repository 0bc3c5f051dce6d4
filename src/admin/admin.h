/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The management API: HTTP and JSON on a Unix socket, described in docs/management.md.
 *
 * The HTTP side has threads of its own, one a connection; the pool belongs to the loop's
 * thread.  Requests reach the pool as messages to the loop, where a fiber serves each.
 */
#ifndef ADMIN_ADMIN_H
#define ADMIN_ADMIN_H

#include <stddef.h>

struct admin;
struct fs;
struct nfs_server;

#define ADMIN_CONNECTIONS 128		/* at once; further ones are closed at once */

struct admin_config {
	struct fs *fs;
	struct nfs_server *nfs;		/* for its counters; NULL: none */
	const char *pool_path;		/* for people */
	const char *socket_path;
	const char *socket_group;	/* NULL: for the owner only (0600); else 0660 */
	unsigned upload_timeout_s;	/* an upload that is silent for longer is forgotten */
};

/* Listens and serves.  Called on the loop's thread, in a fiber or before the loop runs; the
 * config's strings must stay.  On failure WHY says what is wrong in one line. */
int admin_start(const struct admin_config *cfg, struct admin **ret_admin, char *why,
		size_t why_len);

/* Takes no more requests, lets those under way finish, forgets unfinished uploads, removes
 * the socket, frees all.  In a fiber of the loop; waits. */
void admin_stop(struct admin *a);

#endif
