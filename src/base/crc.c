/* SPDX-License-Identifier: Apache-2.0 */
/* ISA-L's crc32_iscsi() works on the bare register: it inverts neither what goes in nor what
 * comes out, and its length is an int.  This wrapper adds both. */
#include "base/crc.h"

#include <isa-l/crc.h>

#define CHUNK_BYTES (1u << 30)

uint32_t crc32c(uint32_t seed, const void *data, size_t len)
{
	unsigned char *p = (unsigned char *)data;	/* ISA-L's prototype lacks a const */
	uint32_t reg = ~seed;

	while (len) {
		size_t n = len < CHUNK_BYTES ? len : CHUNK_BYTES;

		reg = crc32_iscsi(p, n, reg);
		p += n;
		len -= n;
	}
	return ~reg;
}
