/* SPDX-License-Identifier: Apache-2.0 */
/* Fixed-width integers in memory of any alignment, in a fixed byte order. */
#ifndef BASE_ENDIAN_H
#define BASE_ENDIAN_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ENDIAN_LE_(bits, x) (x)
#define ENDIAN_BE_(bits, x) __builtin_bswap##bits(x)
#else
#define ENDIAN_LE_(bits, x) __builtin_bswap##bits(x)
#define ENDIAN_BE_(bits, x) (x)
#endif

#define ENDIAN_DEFINE_(bits) \
	static inline uint##bits##_t get_le##bits(const void *p) \
	{ uint##bits##_t x; memcpy(&x, p, sizeof(x)); return ENDIAN_LE_(bits, x); } \
	static inline void put_le##bits(void *p, uint##bits##_t x) \
	{ x = ENDIAN_LE_(bits, x); memcpy(p, &x, sizeof(x)); } \
	static inline uint##bits##_t get_be##bits(const void *p) \
	{ uint##bits##_t x; memcpy(&x, p, sizeof(x)); return ENDIAN_BE_(bits, x); } \
	static inline void put_be##bits(void *p, uint##bits##_t x) \
	{ x = ENDIAN_BE_(bits, x); memcpy(p, &x, sizeof(x)); }

/* get_le16(p), put_le16(p, x), get_be16(p), put_be16(p, x), and so on */
ENDIAN_DEFINE_(16)
ENDIAN_DEFINE_(32)
ENDIAN_DEFINE_(64)

#endif
