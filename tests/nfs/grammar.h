/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a reply to a COMPOUND is one: that it is XDR to its last byte, padding included, with
 * the results that the RFCs define, and that every operation answers what it may.
 */
#ifndef TESTS_NFS_GRAMMAR_H
#define TESTS_NFS_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Is told of each piece of a result: the operation, the piece's letter (grammar.c) and place in
 * the result, and its bytes; of 's' without the count. */
struct grammar_visit {
	void (*piece)(void *arg, uint32_t op, unsigned place, char letter, const uint8_t *s,
		      uint32_t len);
	void *arg;
};

/* CALL and REPLY are whole RPC messages.  True when all is well, or when the call isn't one of
 * COMPOUND that was accepted; else WHY gets one line.  VISIT may be NULL. */
bool grammar_check(const void *call, size_t call_len, const void *reply, size_t reply_len,
		   const struct grammar_visit *visit, char *why, size_t why_len);

#endif
