/* SPDX-License-Identifier: Apache-2.0 */
/* File handles; see handle.h. */
#include <endian.h>
#include <sodium.h>
#include <string.h>
#include "base/err.h"
#include "nfs/handle.h"

#define VERSION 1
#define MAC_AT 32

struct wire {
	uint8_t version, zero[3];
	uint32_t volume, snapshot, reserved;
	uint64_t ino, generation;
	uint8_t mac[8];
};
_Static_assert(sizeof(struct wire) == HANDLE_BYTES, "handle layout");
_Static_assert(offsetof(struct wire, mac) == MAC_AT, "handle layout");
_Static_assert(crypto_shorthash_KEYBYTES == HANDLE_KEY_BYTES, "key size");
_Static_assert(crypto_shorthash_BYTES == 8, "MAC size");

void handle_make(const uint8_t key[HANDLE_KEY_BYTES], const struct fs_id *id,
		 uint8_t ret_handle[HANDLE_BYTES])
{
	struct wire w = {
		.version = VERSION,
		.volume = htole32(id->volume),
		.snapshot = htole32(id->snapshot),
		.ino = htole64(id->ino),
		.generation = htole64(id->generation),
	};

	crypto_shorthash(w.mac, (const uint8_t *)&w, MAC_AT, key);
	memcpy(ret_handle, &w, sizeof(w));
}

int handle_read(const uint8_t key[HANDLE_KEY_BYTES], const uint8_t *handle, uint32_t len,
		struct fs_id *ret_id)
{
	uint8_t mac[8];
	struct wire w;

	if (len != sizeof(w))
		return -EBADHANDLE;
	memcpy(&w, handle, sizeof(w));
	crypto_shorthash(mac, handle, MAC_AT, key);
	if (sodium_memcmp(mac, w.mac, sizeof(mac)) || w.version != VERSION || w.reserved)
		return -EBADHANDLE;
	*ret_id = (struct fs_id){
		.volume = le32toh(w.volume),
		.snapshot = le32toh(w.snapshot),
		.ino = le64toh(w.ino),
		.generation = le64toh(w.generation),
	};
	return 0;
}
