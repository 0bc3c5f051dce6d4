/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random numbers.  struct rng is for tests and the simulator: the same seed gives the same
 * numbers on every machine (xoshiro256**, Blackman and Vigna 2018).  secure_random() is for
 * everything that a stranger must not guess.
 */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rng { uint64_t s[4]; };

void rng_init(struct rng *r, uint64_t seed);
uint64_t rng_u64(struct rng *r);
/* 0 .. limit-1, without bias; limit at least 1 */
uint64_t rng_below(struct rng *r, uint64_t limit);
/* lo .. hi, both included */
uint64_t rng_range(struct rng *r, uint64_t lo, uint64_t hi);
/* True once in N */
bool rng_one_in(struct rng *r, uint64_t n);
void rng_fill(struct rng *r, void *buf, size_t len);

/* The operating system's randomness, through libsodium. */
void secure_random(void *buf, size_t len);
uint64_t secure_random_u64(void);
/* Cheap ones, from a generator whose seed nobody can guess: for what must not be foreseen, but is no secret. */
uint64_t cheap_random_u64(void);
/* The simulator's: on this thread they come from R from now on, so that a seed gives the same run
 * again; NULL: from the system. */
void secure_random_from(struct rng *r);

#endif
