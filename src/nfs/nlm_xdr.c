/* SPDX-License-Identifier: Apache-2.0 */
/* NLM version 4 on the wire. */
#include "nfs/nlm.h"

/* nlm4_lock */
static void get_lock(struct xdr_in *in, struct nlm_args *a)
{
	a->caller = xdr_get_opaque(in, NLM_STRING_MAX);
	a->fh = xdr_get_opaque(in, NLM_OBJECT_MAX);
	a->oh = xdr_get_opaque(in, NLM_OBJECT_MAX);
	a->svid = xdr_get_u32(in);
	a->offset = xdr_get_u64(in);
	a->length = xdr_get_u64(in);
}

static struct nlm_args *begin(struct xdr_in *in, void *args)
{
	struct nlm_args *a = args;

	*a = (struct nlm_args){ .cookie = xdr_get_opaque(in, NLM_OBJECT_MAX) };
	return a;
}

void nlm_dec_test(struct xdr_in *in, void *args)
{
	struct nlm_args *a = begin(in, args);

	a->exclusive = xdr_get_bool(in);
	get_lock(in, a);
}

void nlm_dec_lock(struct xdr_in *in, void *args)
{
	struct nlm_args *a = begin(in, args);

	a->block = xdr_get_bool(in);
	a->exclusive = xdr_get_bool(in);
	get_lock(in, a);
	a->reclaim = xdr_get_bool(in);
	a->state = xdr_get_u32(in);
}

void nlm_dec_cancel(struct xdr_in *in, void *args)
{
	struct nlm_args *a = begin(in, args);

	a->block = xdr_get_bool(in);
	a->exclusive = xdr_get_bool(in);
	get_lock(in, a);
}

void nlm_dec_unlock(struct xdr_in *in, void *args)
{
	get_lock(in, begin(in, args));
}

void nlm_dec_share(struct xdr_in *in, void *args)
{
	struct nlm_args *a = begin(in, args);

	a->caller = xdr_get_opaque(in, NLM_STRING_MAX);
	a->fh = xdr_get_opaque(in, NLM_OBJECT_MAX);
	a->oh = xdr_get_opaque(in, NLM_OBJECT_MAX);
	a->mode = xdr_get_enum(in, 3);
	a->access = xdr_get_enum(in, 3);
	a->reclaim = xdr_get_bool(in);
}

void nlm_put_res(struct xdr_out *out, const struct nlm_res *r, bool test)
{
	xdr_put_opaque(out, r->cookie.s, r->cookie.len);
	xdr_put_u32(out, r->stat);
	if (!test || r->stat != NLM_DENIED)
		return;
	xdr_put_bool(out, r->exclusive);
	xdr_put_u32(out, r->svid);
	xdr_put_opaque(out, r->oh.s, r->oh.len);
	xdr_put_u64(out, r->offset);
	xdr_put_u64(out, r->length);
}

void nlm_put_granted(struct xdr_out *out, const struct nlm_block *b, uint64_t cookie,
		     const char *name, const uint8_t *handle)
{
	xdr_put_u32(out, sizeof(cookie));
	xdr_put_u64(out, cookie);
	xdr_put_bool(out, b->wait.span.write);
	xdr_put_string(out, name);
	xdr_put_opaque(out, handle, HANDLE_BYTES);
	xdr_put_opaque(out, b->locker->oh, b->locker->oh_len);
	xdr_put_u32(out, b->locker->svid);
	xdr_put_u64(out, b->offset);
	xdr_put_u64(out, b->length);
}
