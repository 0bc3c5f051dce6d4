/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#define HASH_NAME(x) hash_plain_##x
#include "base/hash_impl.h"

#ifdef HASH_AVX2
uint64_t hash_avx2_one(const void *data, size_t len);
uint64_t hash_avx2_two(const void *a, size_t a_len, const void *b, size_t b_len);

static int has_avx2(void)
{
	static int known;		/* 0: not asked yet; 1: no; 2: yes */

	if (!known)
		known = 1 + !!__builtin_cpu_supports("avx2");
	return known == 2;
}
#endif

uint64_t hash64(const void *data, size_t len)
{
#ifdef HASH_AVX2
	if (has_avx2())
		return hash_avx2_one(data, len);
#endif
	return hash_plain_one(data, len);
}

uint64_t hash64_two(const void *a, size_t a_len, const void *b, size_t b_len)
{
#ifdef HASH_AVX2
	if (has_avx2())
		return hash_avx2_two(a, a_len, b, b_len);
#endif
	return hash_plain_two(a, a_len, b, b_len);
}
