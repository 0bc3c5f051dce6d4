/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which statuses each operation of NFSv4 may answer with: the tables of RFC 7530 section 13.2,
 * RFC 8881 section 15.2, RFC 7862 section 11.2 and RFC 8276 section 8.4.
 */
#ifndef TESTS_NFS_RFC_ERRORS_H
#define TESTS_NFS_RFC_ERRORS_H

#include <stdbool.h>
#include <stdint.h>

#define RFC_OPS 76			/* operations 3 to 75 */
#define RFC_OP_ILLEGAL 10044

/* "OPEN"; NULL: there is no such operation in MINOR. */
const char *rfc_op_name(uint32_t minor, uint32_t op);
/* "BAD_STATEID"; NULL: no status of NFSv4. */
const char *rfc_status_name(uint32_t status);
/* The other way round; 0: there is none of that name. */
uint32_t rfc_status_number(const char *name);
/* Status 0 too: some operations may never succeed. */
bool rfc_allows(uint32_t minor, uint32_t op, uint32_t status);

#endif
