/* SPDX-License-Identifier: Apache-2.0 */
/* The one table from negative codes to the status words of RFC 1813. */
#ifndef NFS_STATUS_H
#define NFS_STATUS_H

#include <stdint.h>

enum nfsstat3 {
	NFS3_OK = 0, NFS3ERR_PERM = 1, NFS3ERR_NOENT = 2, NFS3ERR_IO = 5, NFS3ERR_NXIO = 6,
	NFS3ERR_ACCES = 13, NFS3ERR_EXIST = 17, NFS3ERR_XDEV = 18, NFS3ERR_NODEV = 19,
	NFS3ERR_NOTDIR = 20, NFS3ERR_ISDIR = 21, NFS3ERR_INVAL = 22, NFS3ERR_FBIG = 27,
	NFS3ERR_NOSPC = 28, NFS3ERR_ROFS = 30, NFS3ERR_MLINK = 31, NFS3ERR_NAMETOOLONG = 63,
	NFS3ERR_NOTEMPTY = 66, NFS3ERR_DQUOT = 69, NFS3ERR_STALE = 70, NFS3ERR_BADHANDLE = 10001,
	NFS3ERR_NOT_SYNC = 10002, NFS3ERR_BAD_COOKIE = 10003, NFS3ERR_NOTSUPP = 10004,
	NFS3ERR_TOOSMALL = 10005, NFS3ERR_SERVERFAULT = 10006, NFS3ERR_BADTYPE = 10007,
	NFS3ERR_JUKEBOX = 10008,
};

/* Codes of this layer alone, beside those of base/err.h. */
#define ETOOSMALL 5101		/* the client's buffer holds not even one entry */
#define EBADTYPE 5102		/* MKNOD of what is none */

uint32_t nfs3_status(int code);
/* The same in the words of MOUNT, which knows fewer. */
uint32_t mount3_status(int code);

#endif
