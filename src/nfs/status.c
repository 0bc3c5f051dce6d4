/* SPDX-License-Identifier: Apache-2.0 */
/* Codes to status words; see status.h. */
#include "base/err.h"
#include "nfs/status.h"

static const struct { int code; uint32_t status; } table[] = {
	{ 0, NFS3_OK },
	{ EPERM, NFS3ERR_PERM },
	{ ENOENT, NFS3ERR_NOENT },
	{ EIO, NFS3ERR_IO },
	{ EDAMAGED, NFS3ERR_IO },
	{ ENXIO, NFS3ERR_NXIO },
	{ EACCES, NFS3ERR_ACCES },
	{ EEXIST, NFS3ERR_EXIST },
	{ EXDEV, NFS3ERR_XDEV },
	{ ENODEV, NFS3ERR_NODEV },
	{ ENOTDIR, NFS3ERR_NOTDIR },
	{ EISDIR, NFS3ERR_ISDIR },
	{ EINVAL, NFS3ERR_INVAL },
	{ EFBIG, NFS3ERR_FBIG },
	{ ENOSPC, NFS3ERR_NOSPC },
	{ EROFS, NFS3ERR_ROFS },
	{ EMLINK, NFS3ERR_MLINK },
	{ ENAMETOOLONG, NFS3ERR_NAMETOOLONG },
	{ ENOTEMPTY, NFS3ERR_NOTEMPTY },
	{ EDQUOT, NFS3ERR_DQUOT },
	{ ESTALE, NFS3ERR_STALE },
	{ EBADHANDLE, NFS3ERR_BADHANDLE },
	{ ENOTSYNC, NFS3ERR_NOT_SYNC },
	{ EBADCOOKIE, NFS3ERR_BAD_COOKIE },
	{ EOPNOTSUPP, NFS3ERR_NOTSUPP },
	{ ETOOSMALL, NFS3ERR_TOOSMALL },
	{ EBADTYPE, NFS3ERR_BADTYPE },
	{ ENOMEM, NFS3ERR_JUKEBOX },	/* come back later */
	{ EAGAIN, NFS3ERR_JUKEBOX },
	{ EBUSY, NFS3ERR_JUKEBOX },
};

uint32_t nfs3_status(int code)
{
	for (unsigned i = 0; i < sizeof(table) / sizeof(*table); i++)
		if (table[i].code == -code)
			return table[i].status;
	return NFS3ERR_SERVERFAULT;
}

uint32_t mount3_status(int code)
{
	switch (nfs3_status(code)) {
	case NFS3_OK:
	case NFS3ERR_PERM:
	case NFS3ERR_NOENT:
	case NFS3ERR_IO:
	case NFS3ERR_ACCES:
	case NFS3ERR_NOTDIR:
	case NFS3ERR_INVAL:
	case NFS3ERR_NAMETOOLONG:
	case NFS3ERR_NOTSUPP:
		return nfs3_status(code);
	case NFS3ERR_STALE:
		return NFS3ERR_NOENT;
	default:
		return NFS3ERR_SERVERFAULT;
	}
}
