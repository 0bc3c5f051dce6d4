/* SPDX-License-Identifier: Apache-2.0 */
/* The body of hash.h, once for each instruction set: HASH_NAME(x) names its functions. */
#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t HASH_NAME(one)(const void *data, size_t len);
uint64_t HASH_NAME(two)(const void *a, size_t a_len, const void *b, size_t b_len);

uint64_t HASH_NAME(one)(const void *data, size_t len)
{
	return XXH3_64bits(data, len);
}

uint64_t HASH_NAME(two)(const void *a, size_t a_len, const void *b, size_t b_len)
{
	XXH3_state_t st;

	XXH3_INITSTATE(&st);
	XXH3_64bits_reset(&st);
	XXH3_64bits_update(&st, a, a_len);
	XXH3_64bits_update(&st, b, b_len);
	return XXH3_64bits_digest(&st);
}
