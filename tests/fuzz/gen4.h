/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations of NFSv4 out of a stream of bytes: which one, and for each argument a choice of what
 * the server gave out before (file handles, stateids, sessions, client ids), of values at some
 * edge, or plain bytes.
 */
#ifndef TESTS_FUZZ_GEN4_H
#define TESTS_FUZZ_GEN4_H

#include "fuzz.h"
#include "../nfs/proto.h"

enum { GEN_CLIENTS = 4, GEN_SLOTS = 4, GEN_HANDLES = 16, GEN_SIDS = 32, GEN_OWNERS = 4 };

struct gen_sid { uint8_t bytes[16], owner; };
struct gen_client {
	unsigned nr;
	uint8_t id[8], verifier[8], session[16];
	uint32_t create_seq;		/* of the next CREATE_SESSION */
	uint32_t seq[GEN_SLOTS];	/* the last one of each slot */
	uint32_t owner_seq[GEN_OWNERS];	/* 4.0 */
};

struct gen {
	struct stream s;
	struct msg *m;			/* under construction */
	uint32_t nops;
	uint32_t minor;
	unsigned owner;			/* that is meant by the operation */
	struct gen_client *client;
	struct gen_client clients[GEN_CLIENTS];
	uint8_t handles[GEN_HANDLES][HANDLE_BYTES];
	unsigned nhandles;
	struct gen_sid sids[GEN_SIDS];
	unsigned nsids;
};

void gen_handle(struct gen *g, const uint8_t handle[HANDLE_BYTES]);
void gen_sid(struct gen *g, const uint8_t sid[16]);
/* One operation, with its arguments. */
void gen_op(struct gen *g);
void gen_num(struct gen *g, uint32_t num);		/* of this number */

#endif
