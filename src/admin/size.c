/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes as people write and read them: see size.h. */
#include "admin/size.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char suffixes[] = "KMGTPE";

int number_parse(const char *text, uint64_t *ret_number)
{
	uint64_t n = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		if (!isdigit((unsigned char)*text))
			return -EINVAL;
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*text - '0'), &n))
			return -ERANGE;
	}
	*ret_number = n;
	return 0;
}

/* What follows the digits: "", "B", "K", "KB" is refused (it means 1000 elsewhere), "KiB". */
static int suffix_parse(const char *s, unsigned *ret_shift)
{
	const char *p;

	if (!*s || !strcasecmp(s, "b")) {
		*ret_shift = 0;
		return 0;
	}
	p = strchr(suffixes, toupper((unsigned char)*s));
	if (!p || (s[1] && strcasecmp(s + 1, "ib")))
		return -EINVAL;
	*ret_shift = 10 * (unsigned)(p - suffixes + 1);
	return 0;
}

int size_parse(const char *text, uint64_t *ret_bytes)
{
	unsigned __int128 value = 0, scale = 1;
	unsigned shift, digits = 0;
	const char *s = text;

	for (; isdigit((unsigned char)*s); s++) {
		if (++digits > 19)
			return -ERANGE;
		value = value * 10 + (unsigned)(*s - '0');
	}
	if (!digits)
		return -EINVAL;
	if (*s == '.') {
		for (s++, digits = 0; isdigit((unsigned char)*s); s++) {
			if (++digits > 6)
				return -EINVAL;
			value = value * 10 + (unsigned)(*s - '0');
			scale *= 10;
		}
		if (!digits)
			return -EINVAL;
	}
	if (suffix_parse(s, &shift))
		return -EINVAL;
	if (value >> (127 - shift))
		return -ERANGE;
	value <<= shift;
	if (value % scale)
		return -EINVAL;
	value /= scale;
	if (value > INT64_MAX)
		return -ERANGE;
	*ret_bytes = (uint64_t)value;
	return 0;
}

const char *size_text(uint64_t bytes, char buf[SIZE_TEXT])
{
	double v = (double)bytes;
	int unit = -1;

	/* 1023.5 would be printed as 1024 of the smaller unit */
	for (; v >= 1023.5 && unit < (int)sizeof(suffixes) - 2; unit++)
		v /= 1024;
	if (unit < 0)
		snprintf(buf, SIZE_TEXT, "%llu B", (unsigned long long)bytes);
	else
		snprintf(buf, SIZE_TEXT, "%.*f %ciB", v < 9.95 ? 2 : v < 99.5 ? 1 : 0, v,
			 suffixes[unit]);
	return buf;
}
