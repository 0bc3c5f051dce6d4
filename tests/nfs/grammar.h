/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a reply to a COMPOUND is one: that it is XDR to its last byte, padding included, with
 * the results that the RFCs define, and that every operation answers what it may.
 */
#ifndef TESTS_NFS_GRAMMAR_H
#define TESTS_NFS_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>

/* CALL and REPLY are whole RPC messages.  True when all is well, or when the call isn't one of
 * COMPOUND that was accepted; else WHY gets one line. */
bool grammar_check(const void *call, size_t call_len, const void *reply, size_t reply_len,
		   char *why, size_t why_len);

#endif
