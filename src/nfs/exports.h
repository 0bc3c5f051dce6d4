/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Export rules: who may use a volume, and as whom.
 *
 * A volume's rules are a text.  Each line (or part between semicolons) is a rule; '#' begins a
 * comment.  A rule names networks, then options:
 *
 *	NETWORK[,NETWORK...] [OPTION...]
 *
 *	NETWORK   address, address/prefix length, or * for everybody
 *	ro | rw                     read-only (the default), or not
 *	root_squash                 uid 0 and gid 0 become anonymous (the default)
 *	no_root_squash              they don't
 *	all_squash                  everybody becomes anonymous
 *	anonuid=N, anongid=N        who that is; 65534
 *	sec=sys | none | sys:none   credentials that will do; sys is the default
 *	secure | insecure           only from ports below 1024, or from any (the default)
 *	sync | async                answer every write when it is durable, or when the client asked
 *	                            for that (the default).  For clients that don't repeat what a
 *	                            crash of the server lost, as QEMU's own nfs driver
 *
 * The first rule with a network that holds the client's address decides; with none, the volume
 * is not exported to it.  The empty text means "127.0.0.0/8,::1 rw no_root_squash"; a text with
 * nothing but a comment exports to nobody.
 */
#ifndef NFS_EXPORTS_H
#define NFS_EXPORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "rpc/rpc.h"

#define EXPORT_NETS_MAX 64

struct export_rule {
	bool rw, root_squash, all_squash, sec_sys, sec_none, secure, sync;
	uint32_t anonuid, anongid;
};

struct export_net {
	uint8_t ip[16];			/* IPv4 in its mapped form */
	uint8_t prefix;			/* 0 to 128 */
	uint8_t rule;
};

struct exports {
	unsigned nnets, nrules;
	struct export_net nets[EXPORT_NETS_MAX];
	struct export_rule rules[EXPORT_NETS_MAX];
};

/* -EINVAL, with one line in WHY (may be NULL) that says where and what. */
int exports_parse(const char *text, struct exports *ret_exports, char *why, size_t why_len);
/* The same, only to know whether it is well-formed. */
int exports_check(const char *text, char *why, size_t why_len);
/* The rule for ADDR, or NULL. */
const struct export_rule *exports_match(const struct exports *e, const struct rpc_addr *addr);
/* "10.0.0.0/8" */
#define EXPORT_NET_TEXT (RPC_ADDR_TEXT + 8)
void export_net_text(const struct export_net *n, char ret_text[EXPORT_NET_TEXT]);

#endif
