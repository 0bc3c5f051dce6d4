/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a fuzz target is: bytes in, and an abort if anything is wrong.  fuzz_main.c makes a
 * program of it, for libFuzzer, for AFL++, or to run files once.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The target's: runs one input. */
void fuzz_input(const uint8_t *data, size_t len);
/* Calls PUT for each input to begin with. */
void fuzz_seeds(void (*put)(const char *name, const uint8_t *data, size_t len));

#define fuzz_check(cond, ...) do { if (!(cond)) { \
	fprintf(stderr, __VA_ARGS__); fputc('\n', stderr); abort(); } } while (0)

/* The input as a stream; when it is over, it is all zeros. */
struct stream { const uint8_t *p, *end; };

static inline size_t stream_left(const struct stream *s) { return s->end - s->p; }
static inline uint8_t take8(struct stream *s) { return s->p < s->end ? *s->p++ : 0; }
static inline uint32_t take16(struct stream *s)
{
	uint32_t high = take8(s);

	return high << 8 | take8(s);
}
static inline uint32_t take32(struct stream *s)
{
	uint32_t high = take16(s);

	return high << 16 | take16(s);
}
static inline uint64_t take64(struct stream *s)
{
	uint64_t high = take32(s);

	return high << 32 | take32(s);
}
static inline void take(struct stream *s, void *buf, size_t len)
{
	size_t n = stream_left(s) < len ? stream_left(s) : len;

	memset(buf, 0, len);
	if (n)
		memcpy(buf, s->p, n);
	s->p += n;
}

#endif
