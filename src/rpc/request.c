/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that this server makes, as they are written, and their answers as they are read. */
#include <errno.h>
#include "rpc/server_int.h"

#define MACHINE "pando"

enum { MSG_CALL = 0, MSG_REPLY = 1, DENIED_AUTH = 1 };

static void put_cred(struct xdr_out *out, const struct rpc_cred *cred)
{
	xdr_put_u32(out, cred->flavor);
	if (cred->flavor == RPC_AUTH_SYS) {
		uint32_t name = sizeof(MACHINE) - 1;

		xdr_put_u32(out, 20 + name + xdr_pad(name) + 4 * cred->ngroups);
		xdr_put_u32(out, 0);			/* stamp */
		xdr_put_opaque(out, MACHINE, name);
		xdr_put_u32(out, cred->uid);
		xdr_put_u32(out, cred->gid);
		xdr_put_u32(out, cred->ngroups);
		for (uint32_t i = 0; i < cred->ngroups; i++)
			xdr_put_u32(out, cred->groups[i]);
	} else {
		xdr_put_u32(out, 0);
	}
	xdr_put_u64(out, 0);				/* verifier */
}

void put_request(struct xdr_out *out, uint32_t xid, const struct rpc_request *q)
{
	xdr_put_u32(out, xid);
	xdr_put_u32(out, MSG_CALL);
	xdr_put_u32(out, RPC_VERSION);
	xdr_put_u32(out, q->prog);
	xdr_put_u32(out, q->vers);
	xdr_put_u32(out, q->proc);
	put_cred(out, q->cred);
	if (q->args_len)
		memcpy(xdr_room(out, q->args_len), q->args, q->args_len);
}

static int why_denied(struct xdr_in *x)
{
	uint32_t why = xdr_get_u32(x);

	if (x->bad || why > DENIED_AUTH)
		return -EBADMSG;
	return why == DENIED_AUTH ? -EACCES : -EOPNOTSUPP;
}

int take_answer(struct xdr_in *x)
{
	if (xdr_get_enum(x, 1))
		return why_denied(x);
	xdr_get_u32(x);
	xdr_get_opaque(x, RPC_AUTH_MAX);
	switch (xdr_get_u32(x)) {
	case RPC_SUCCESS:
		return x->bad ? -EBADMSG : 0;
	case RPC_PROG_UNAVAIL:
	case RPC_PROG_MISMATCH:
	case RPC_PROC_UNAVAIL:
		return -EOPNOTSUPP;
	case RPC_GARBAGE_ARGS:
	case RPC_SYSTEM_ERR:
		return -EREMOTEIO;
	default:
		return -EBADMSG;
	}
}

bool is_answer(const void *record, size_t len)
{
	struct xdr_in x;

	xdr_in_init(&x, record, len);
	xdr_get_u32(&x);
	return xdr_get_u32(&x) == MSG_REPLY;
}

