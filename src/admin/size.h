/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes as people write and read them.  Suffixes are binary: 1K = 1 KiB = 1024 bytes.
 * Used by the daemon, the command line and their tests; depends on nothing.
 */
#ifndef ADMIN_SIZE_H
#define ADMIN_SIZE_H

#include <stdint.h>

/* "4096", "64K", "64KiB", "1.5G", "16T" (any case).  A fraction must come out at whole bytes.
 * -EINVAL: not a size; -ERANGE: more than 2^63-1. */
int size_parse(const char *text, uint64_t *ret_bytes);

/* A whole number in decimal, nothing around it.  -EINVAL, -ERANGE. */
int number_parse(const char *text, uint64_t *ret_number);

/* "0 B", "12 KiB", "1.5 GiB": three significant digits.  Returns BUF. */
#define SIZE_TEXT 24
const char *size_text(uint64_t bytes, char buf[SIZE_TEXT]);

#endif
