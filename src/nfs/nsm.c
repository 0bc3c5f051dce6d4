/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NSM version 1 (X/Open XNFS, "Network Status Monitor"): hosts tell each other that they were
 * restarted.  What a lock manager asks of the monitor on its own machine (MON, UNMON) is of no use
 * here, since NLM and NSM are one: nobody else is monitored.
 */
#include "nfs/nlm.h"

enum { STAT_SUCC = 0, STAT_FAIL = 1 };

struct name_args { struct xdr_bytes name; };
struct stat_res { uint32_t stat, state; };

static void dec_name(struct xdr_in *in, void *args)
{
	((struct name_args *)args)->name = xdr_get_opaque(in, NLM_STRING_MAX);
}

/* my_id: a name, program, version and procedure */
static void get_my_id(struct xdr_in *in)
{
	xdr_get_opaque(in, NLM_STRING_MAX);
	xdr_get_u32(in);
	xdr_get_u64(in);
}

static void dec_mon(struct xdr_in *in, void *args)
{
	dec_name(in, args);
	get_my_id(in);
	xdr_get_fixed(in, 16);			/* what the caller wants to be told */
}

static void dec_unmon(struct xdr_in *in, void *args)
{
	dec_name(in, args);
	get_my_id(in);
}

static void dec_unmon_all(struct xdr_in *in, void *args)
{
	get_my_id(in);
}

static void dec_notify(struct xdr_in *in, void *args)
{
	dec_name(in, args);
	xdr_get_u32(in);			/* state */
}

static int null(struct rpc_call *c, void *args, void *res) { return 0; }

/* Of STAT, MON, UNMON: nobody is monitored for others. */
static int state(struct rpc_call *c, void *args, void *res)
{
	const struct nfs_server *s = rpc_ctx(c);

	*(struct stat_res *)res = (struct stat_res){ STAT_FAIL, s->nlm->nsm_state };
	return 0;
}

static int notify(struct rpc_call *c, void *args, void *res)
{
	const struct name_args *a = args;
	const struct nfs_server *s = rpc_ctx(c);

	nlm_host_restarted(s->nlm, &c->peer, a->name);
	return 0;
}

static void enc_stat_res(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const struct stat_res *r = res;

	xdr_put_u32(out, r->stat);
	xdr_put_u32(out, r->state);
}

static void enc_state(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	xdr_put_u32(out, ((const struct stat_res *)res)->state);
}

#define ROW(NAME, dec, enc) { .name = NAME, .decode = dec, .handle = state, .encode = enc, \
	.args_bytes = sizeof(struct name_args), .res_bytes = sizeof(struct stat_res), \
	.flags = RPC_ANY_AUTH }

static const struct rpc_proc procs[] = {
	[0] = { .name = "NULL", .handle = null, .flags = RPC_ANY_AUTH },
	[1] = ROW("STAT", dec_name, enc_stat_res),
	[2] = ROW("MON", dec_mon, enc_stat_res),
	[3] = ROW("UNMON", dec_unmon, enc_state),
	[4] = ROW("UNMON_ALL", dec_unmon_all, enc_state),
	[5] = { .name = "SIMU_CRASH", .handle = null, .flags = RPC_ANY_AUTH },
	[6] = { .name = "NOTIFY", .decode = dec_notify, .handle = notify,
		.args_bytes = sizeof(struct name_args), .flags = RPC_ANY_AUTH },
};

const struct rpc_program nsm1_program = {
	"nsm", NSM_PROGRAM, 1, procs, sizeof(procs) / sizeof(*procs)
};

/* ---- in the background --------------------------------------------------------------- */

#define SWEEP_NS (60 * 1000000000ull)

static void background(void *arg)
{
	struct nlm_state *nlm = arg;

	while (!nlm->stop) {
		waitq_wait_timeout(&nlm->work, SWEEP_NS);
		nlm_sweep(nlm);
	}
}

int nsm_start(struct nlm_state *nlm)
{
	return nfs4_spawn(nlm->st, background, nlm, "nsm");
}
