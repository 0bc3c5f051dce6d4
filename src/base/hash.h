/* SPDX-License-Identifier: Apache-2.0 */
/* XXH3, 64 bits, compiled in: with AVX2 where the processor has it. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash64(const void *data, size_t len);
/* The hash of A followed by B. */
uint64_t hash64_two(const void *a, size_t a_len, const void *b, size_t b_len);

#endif
