/* SPDX-License-Identifier: Apache-2.0 */
/* Texts for error codes: errno's own, and ours. */
#include "base/err.h"

#include <limits.h>
#include <string.h>

const char *err_text(int code)
{
	const char *text;

	if (code == INT_MIN)	/* has no positive counterpart */
		return "unknown error";
	if (code < 0)
		code = -code;
	switch (code) {
	case 0: return "success";
	case EDAMAGED: return "damaged data (a checksum or a structure is wrong)";
	case EBADHANDLE: return "not a file handle of this server";
	case EBADCOOKIE: return "directory cookie cannot be continued from";
	case EFORMAT: return "not a pool, or a pool of a newer format";
	case E2BIG: return "too large for one operation with this cache; do it in smaller pieces, or "
			   "give pandod a larger cache";
	case ENOTSYNC: return "the guard did not match";
	case ERESTART_PASS: return "the load pass must run again";
	}
	text = strerrordesc_np(code);
	return text ? text : "unknown error";
}
