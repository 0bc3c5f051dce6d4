/* SPDX-License-Identifier: Apache-2.0 */
/* CRC32C (Castagnoli, RFC 3720 section B.4), by ISA-L: about 0.1 us for 4 KiB. */
#ifndef BASE_CRC_H
#define BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

/* The standard CRC of DATA; SEED is 0, or the CRC of what came before. */
uint32_t crc32c(uint32_t seed, const void *data, size_t len);

#endif
