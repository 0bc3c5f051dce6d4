/* SPDX-License-Identifier: Apache-2.0 */
/* Codes to status words; see nfs4_status.h.  Most words are NFSv3's. */
#include "base/err.h"
#include "nfs/nfs4_status.h"
#include "nfs/status.h"

uint32_t nfs4_status(int code)
{
	switch (-code) {
	case 0:
		return NFS4_OK;
	case ENOTSYNC:				/* nothing of NFSv4 asks for it */
	case ENODEV:
		return NFS4ERR_IO;
	default:
		return nfs3_status(code);
	}
}
