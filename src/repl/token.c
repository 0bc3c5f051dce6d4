/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens as text: the bytes and their CRC32C, in hexadecimal. */
#include "repl/stream.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "base/crc.h"

struct sealed { struct stream_token token; uint32_t crc; } __attribute__((packed));
_Static_assert(sizeof(struct sealed) == sizeof(struct stream_token) + 4, "sealed");

void stream_token_text(const struct stream_token *t, char text[TOKEN_TEXT])
{
	struct sealed s = { *t, crc32c(0, t, sizeof(*t)) };

	sodium_bin2hex(text, TOKEN_TEXT, (const unsigned char *)&s, sizeof(s));
}

int stream_token_parse(const char *text, struct stream_token *ret)
{
	struct sealed s;
	size_t len;

	if (strlen(text) != TOKEN_TEXT - 1 ||
	    sodium_hex2bin((unsigned char *)&s, sizeof(s), text, TOKEN_TEXT - 1, NULL, &len, NULL) ||
	    len != sizeof(s) || crc32c(0, &s.token, sizeof(s.token)) != s.crc)
		return -EINVAL;
	*ret = s.token;
	return 0;
}
