/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the blocks that may be met again were sent: a hash table of bounded memory.  What finds no room is
 * forgotten, and travels again when it is met again; leaves leave a quarter to what holds many.
 */
#ifndef REPL_SEEN_H
#define REPL_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct seen_place { uint64_t key, ino, index; };	/* key 0: nothing */
struct seen_blocks { struct seen_place *a; uint64_t n, cap, max; };	/* cap: a power of 2 */

void seen_init(struct seen_blocks *s, size_t max_bytes);
void seen_release(struct seen_blocks *s);
/* The first place stays. */
void seen_put(struct seen_blocks *s, uint64_t key, uint64_t ino, uint64_t index, uint8_t level);
const struct seen_place *seen_find(const struct seen_blocks *s, uint64_t key);

#endif
