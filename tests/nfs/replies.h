/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the programs that test the protocols in process: a fixture P, the call under
 * construction M, and its reply R, taken apart piece by piece.  One program, one copy.
 */
#ifndef TESTS_NFS_REPLIES_H
#define TESTS_NFS_REPLIES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/err.h"
#include "proto.h"

static struct proto P;
static struct msg M;
static uint8_t *reply;
static size_t reply_len;
static struct xdr_in R;			/* what is left of the reply */

static __attribute__((unused)) int setup(void **state)
{
	proto_begin(&P);
	return 0;
}

static __attribute__((unused)) int teardown(void **state)
{
	proto_end(&P);
	msg_free(&M);
	free(reply);
	reply = NULL;
	return 0;
}

/* Serves M; R is at the results afterwards.  Returns accept_stat, or 100 + auth_stat. */
static __attribute__((unused)) uint32_t serve(void)
{
	uint32_t stat;

	free(reply);
	reply = proto_serve(&P, &M, &reply_len);
	assert_non_null(reply);
	assert_int_equal(reply_len % 4, 0);
	xdr_in_init(&R, reply, reply_len);
	assert_int_equal(xdr_get_u32(&R), get32(M.data));
	assert_int_equal(xdr_get_u32(&R), 1);
	if (xdr_get_u32(&R) == 1) {
		stat = xdr_get_u32(&R) == 0 ? 200 : 100 + xdr_get_u32(&R);
	} else {
		xdr_get_u64(&R);
		stat = xdr_get_u32(&R);
	}
	assert_false(R.bad);
	return stat;
}

/* Serves M, which must be accepted; returns NFS's status. */
static __attribute__((unused)) uint32_t nfs(void)
{
	assert_int_equal(serve(), RPC_SUCCESS);
	return xdr_get_u32(&R);
}

static __attribute__((unused)) uint32_t nfs_proc(uint32_t proc)
{
	proto_call(&P, proc, &M);
	return nfs();
}

static __attribute__((unused)) void end_of_reply(void)
{
	assert_false(R.bad);
	assert_int_equal(xdr_left(&R), 0);
}

struct attr {
	uint32_t type, mode, nlink, uid, gid;
	uint64_t size, used, fsid, ino;
	uint32_t time[6];
};

static __attribute__((unused)) struct attr get_attr(void)
{
	struct attr a = { 0 };

	a.type = xdr_get_u32(&R);
	a.mode = xdr_get_u32(&R);
	a.nlink = xdr_get_u32(&R);
	a.uid = xdr_get_u32(&R);
	a.gid = xdr_get_u32(&R);
	a.size = xdr_get_u64(&R);
	a.used = xdr_get_u64(&R);
	xdr_get_u64(&R);
	a.fsid = xdr_get_u64(&R);
	a.ino = xdr_get_u64(&R);
	for (int i = 0; i < 6; i++)
		a.time[i] = xdr_get_u32(&R);
	return a;
}

static __attribute__((unused)) struct attr get_post_op(void)
{
	struct attr none = { 0 };

	return xdr_get_bool(&R) ? get_attr() : none;
}

/* Attributes afterwards; *ret_pre_size is UINT64_MAX when there are none from before. */
static __attribute__((unused)) struct attr get_wcc(uint64_t *ret_pre_size)
{
	*ret_pre_size = UINT64_MAX;
	if (xdr_get_bool(&R)) {
		*ret_pre_size = xdr_get_u64(&R);
		xdr_get_u64(&R);
		xdr_get_u64(&R);
	}
	return get_post_op();
}

static __attribute__((unused)) void get_fh(uint8_t ret_fh[HANDLE_BYTES])
{
	struct xdr_bytes b = xdr_get_opaque(&R, 64);

	assert_int_equal(b.len, HANDLE_BYTES);
	memcpy(ret_fh, b.s, HANDLE_BYTES);
}

static __attribute__((unused)) uint32_t create(const char *name, uint32_t how, uint64_t verf)
{
	proto_head(&P, NFS_PROGRAM, 3, 8, &M);
	put_fh(&M, P.root);
	msg_string(&M, name);
	msg_u32(&M, how);
	if (how == 2)
		msg_u64(&M, verf);
	else
		put_sattr(&M, 0600, -1);
	return nfs();
}

static __attribute__((unused)) struct attr made(uint8_t ret_fh[HANDLE_BYTES])
{
	uint64_t pre;
	struct attr a, dir;

	assert_true(xdr_get_bool(&R));
	get_fh(ret_fh);
	a = get_post_op();
	dir = get_wcc(&pre);
	end_of_reply();
	assert_int_equal(dir.type, 2);
	return a;
}

static __attribute__((unused)) uint32_t getattr(const uint8_t fh[HANDLE_BYTES])
{
	proto_head(&P, NFS_PROGRAM, 3, 1, &M);
	put_fh(&M, fh);
	return nfs();
}

#define T(x) cmocka_unit_test_setup_teardown(x, setup, teardown)

#endif
