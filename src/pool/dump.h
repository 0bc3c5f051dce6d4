/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is on the device as text, for people: one function for each structure of format.h, as it stands
 * there, sound or not.  They take whatever is in it, and read nothing else.
 */
#ifndef POOL_DUMP_H
#define POOL_DUMP_H

#include <stddef.h>
#include "pool/format.h"

/* Where lines go, without a newline. */
struct dump { void (*line)(void *arg, const char *line); void *arg; };
void dump_line(const struct dump *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static inline uint64_t dump_ptr(uint64_t ptr) { return ptr & PTR_BLOCK_MASK; }
/* "sound", or what a verifier says. */
void dump_verdict(const struct dump *d, const char *why);
/* 16 bytes a line; lines that repeat the one before are one "*".  Trailing zeros are left out. */
void dump_bytes(const struct dump *d, const void *bytes, size_t n);

void dump_super(const struct dump *d, const struct superblock *sb);
void dump_zone(const struct dump *d, uint64_t zone, const struct dir_entry *e);
void dump_summary(const struct dump *d, uint64_t zone, const struct summary_entry e[ZONE_PAGES]);
/* Entries with a count; FIRST is the block of the first. */
void dump_table(const struct dump *d, uint64_t first, const struct table_entry e[PAGE_ENTRIES]);
/* LEVEL 0: not known, mapped counts are shown where there are any. */
void dump_index(const struct dump *d, const uint64_t slots[INDEX_SLOTS], unsigned level);
void dump_reap(const struct dump *d, uint64_t first, const struct reap_entry *e, unsigned n);
/* NAME: of its type.  R lies in a buffer of r->len bytes. */
void dump_record(const struct dump *d, const struct log_record *r, const char *name);

#endif
