/* SPDX-License-Identifier: Apache-2.0 */
/* hash.h for processors with AVX2; compiled with -mavx2, called by hash.c only there. */
#include <stddef.h>
#include <stdint.h>

#define HASH_NAME(x) hash_avx2_##x
#include "base/hash_impl.h"
