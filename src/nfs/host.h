/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs of other hosts, found by asking their port mapper (RFC 1833): by TCP where there is
 * that, by UDP else.
 */
#ifndef NFS_HOST_H
#define NFS_HOST_H

#include "rpc/client.h"

struct host_way {
	struct rpc_peer *tcp;		/* NULL: by UDP, or not at all */
	struct rpc_addr udp;		/* port 0: not by UDP */
};

/*
 * Looks for PROG at TO, to be called from the address FROM (whose port doesn't matter).  Waits for
 * TIMEOUT_MS at most, several times.  -ENOENT: it isn't there; else rpc_peer_call()'s errors.
 */
int host_find(struct rpc_server *s, const struct rpc_addr *to, const struct rpc_addr *from,
	      uint32_t prog, uint32_t vers, unsigned timeout_ms, struct host_way *ret_way);
static inline bool host_found(const struct host_way *w) { return w->tcp || w->udp.port; }
/* As rpc_peer_call(). */
int host_call(struct rpc_server *s, const struct host_way *w, const struct rpc_addr *from,
	      const struct rpc_request *q, void *buf, size_t cap, size_t *ret_len);
/* Nothing is called there any more, after the calls under way. */
void host_forget(struct host_way *w);

#endif
