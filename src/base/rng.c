/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers: seeded ones for tests, secure ones for keys and identifiers. */
#include "base/rng.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

void rng_init(struct rng *r, uint64_t seed)
{
	/* splitmix64, as its authors advise: seeds that differ in one bit are far apart */
	for (int i = 0; i < 4; i++) {
		uint64_t z = (seed += 0x9e3779b97f4a7c15ull);

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
		r->s[i] = z ^ (z >> 31);
	}
}

uint64_t rng_u64(struct rng *r)
{
	uint64_t *s = r->s, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return result;
}

uint64_t rng_below(struct rng *r, uint64_t limit)
{
	uint64_t skip, x;

	assert(limit);
	/* the first 2^64 mod limit values would make small results likelier */
	skip = -limit % limit;
	do
		x = rng_u64(r);
	while (x < skip);
	return x % limit;
}

uint64_t rng_range(struct rng *r, uint64_t lo, uint64_t hi)
{
	assert(lo <= hi);
	if (hi - lo == UINT64_MAX)
		return rng_u64(r);
	return lo + rng_below(r, hi - lo + 1);
}

bool rng_one_in(struct rng *r, uint64_t n)
{
	return rng_below(r, n) == 0;
}

void rng_fill(struct rng *r, void *buf, size_t len)
{
	unsigned char *p = buf;

	while (len) {
		uint64_t x = rng_u64(r);
		size_t n = len < 8 ? len : 8;

		/* byte by byte, so that big-endian machines get the same */
		for (size_t i = 0; i < n; i++)
			p[i] = x >> (8 * i);
		p += n;
		len -= n;
	}
}

static __thread struct rng *simulated;

void secure_random_from(struct rng *r)
{
	simulated = r;
}

void secure_random(void *buf, size_t len)
{
	if (simulated) {
		rng_fill(simulated, buf, len);
		return;
	}
	/* returns 1 when it was done before; cheap then, and safe from any thread */
	if (sodium_init() < 0) {
		fprintf(stderr, "the system gives no secure random numbers\n");
		abort();
	}
	randombytes_buf(buf, len);
}

uint64_t secure_random_u64(void)
{
	uint64_t x;

	secure_random(&x, sizeof(x));
	return x;
}

uint64_t cheap_random_u64(void)
{
	static __thread struct rng rng;

	if (simulated)
		return rng_u64(simulated);
	if (!rng.s[0])
		rng_init(&rng, secure_random_u64());
	return rng_u64(&rng);
}
