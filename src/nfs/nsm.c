/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NSM version 1 (X/Open XNFS, "Network Status Monitor"): hosts tell each other that they were
 * restarted.  What a lock manager asks of the monitor on its own machine (MON, UNMON) is of no use
 * here, since NLM and NSM are one: nobody else is monitored.
 */
#include <stdlib.h>
#include "base/loop.h"
#include "nfs/nlm.h"

enum { STAT_FAIL = 1 };
enum { NSM_PROC_NOTIFY = 6 };

struct name_args { struct xdr_bytes name; uint32_t state; };
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
	((struct name_args *)args)->state = xdr_get_u32(in);
}

static int null(struct rpc_call *c, void *args, void *res) { return 0; }

/* Of STAT, MON, UNMON: nobody is monitored for others. */
static int state(struct rpc_call *c, void *args, void *res)
{
	const struct nfs_server *s = rpc_ctx(c);

	*(struct stat_res *)res = (struct stat_res){ STAT_FAIL, s->nlm->nsm_state };
	return 0;
}

/* A machine that is its own client is told by itself; that is no word of the client's. */
static bool is_ours(const struct rpc_call *c, struct xdr_bytes name)
{
	char local[RPC_ADDR_TEXT];

	rpc_addr_text(&c->local, local);
	return name.len == strlen(local) && !memcmp(name.s, local, name.len);
}

static int notify(struct rpc_call *c, void *args, void *res)
{
	const struct name_args *a = args;
	const struct nfs_server *s = rpc_ctx(c);

	if (!is_ours(c, a->name))
		nlm_host_restarted(s->nlm, &c->peer, a->name, a->state);
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
	[NSM_PROC_NOTIFY] = { .name = "NOTIFY", .decode = dec_notify, .handle = notify,
		.args_bytes = sizeof(struct name_args), .flags = RPC_ANY_AUTH },
};

const struct rpc_program nsm1_program = {
	"nsm", NSM_PROGRAM, 1, procs, sizeof(procs) / sizeof(*procs)
};

/* ---- telling of our restart ---------------------------------------------------------- */

/*
 * As sm-notify does: each host is told until it has answered, or for a quarter of an hour.  By then
 * the grace period is long over, and its client learns at least that its locks are gone.
 */
#define SECOND 1000000000ull
#define CALL_MS 5000
#define TRIES 18			/* some 15 minutes, with the pauses between them */
#define PAUSE_MAX_S 60
#define SWEEP_NS (60 * SECOND)

static const struct rpc_cred root = { .flavor = RPC_AUTH_SYS };

static void queue(struct nlm_state *nlm, struct nsm_notice *n)
{
	struct list *e = nlm->notices.prev;

	while (e != &nlm->notices && container_of(e, struct nsm_notice, entry)->due_ns > n->due_ns)
		e = e->prev;
	list_add_head(e, &n->entry);
}

/* The results of a call that has none are not looked at. */
static bool told(struct nlm_state *nlm, const struct nsm_notice *n)
{
	uint8_t args[RPC_ADDR_TEXT + 8], reply[16];
	char name[RPC_ADDR_TEXT];
	struct host_way way = { 0 };
	struct xdr_out out;
	size_t len;
	int err;

	rpc_addr_text(&n->local, name);		/* the name by which it knows us */
	xdr_out_init(&out, args, sizeof(args));
	xdr_put_string(&out, name);
	xdr_put_u32(&out, nlm->nsm_state);
	const struct rpc_request q = { NSM_PROGRAM, 1, NSM_PROC_NOTIFY, &root, args,
				       xdr_out_len(&out), CALL_MS };

	err = nlm->call(nlm, &n->addr, &n->local, &way, &q, reply, sizeof(reply), &len);
	host_forget(&way);
	return !err;
}

static void tell(struct nlm_state *nlm, struct nsm_notice *n)
{
	uint64_t pause_s;

	list_del(&n->entry);
	if (told(nlm, n) || ++n->tries >= TRIES) {
		free(n);
		return;
	}
	pause_s = n->tries < 6 ? 1u << n->tries : PAUSE_MAX_S;
	n->due_ns = loop_now_ns() + pause_s * SECOND;
	queue(nlm, n);
}

static void teller(void *arg)
{
	struct nlm_state *nlm = arg;

	while (!nlm->stop && !list_empty(&nlm->notices)) {
		struct nsm_notice *n = container_of(nlm->notices.next, struct nsm_notice, entry);
		uint64_t now = loop_now_ns();

		if (n->due_ns <= now)
			tell(nlm, n);
		else
			waitq_wait_timeout(&nlm->work, n->due_ns - now);
	}
}

static void sweeper(void *arg)
{
	struct nlm_state *nlm = arg;

	while (!nlm->stop) {
		waitq_wait_timeout(&nlm->work, SWEEP_NS);
		nlm_sweep(nlm);
	}
}

int nsm_start(struct nlm_state *nlm)
{
	struct list *e;
	unsigned n = 0;
	int err = nfs4_spawn(nlm->st, sweeper, nlm, "nlm sweeper");

	list_each(e, &nlm->notices) {
		if (err || n++ == NSM_CALLERS_MAX)
			break;
		err = nfs4_spawn(nlm->st, teller, nlm, "nsm teller");
	}
	return err;
}

/* ---- who is on record ---------------------------------------------------------------- */

static bool is_known(const struct nlm_state *nlm, const struct rpc_addr *addr)
{
	struct list *e;

	list_each(e, &nlm->notices)
		if (!memcmp(container_of(e, struct nsm_notice, entry)->addr.ip, addr->ip, 16))
			return true;
	return false;
}

/* "ADDRESS LOCAL-ADDRESS" */
static bool parse_note(char *note, struct rpc_addr *ret_addr, struct rpc_addr *ret_local)
{
	char *space = strchr(note, ' ');

	if (!space)
		return false;
	*space = 0;
	return rpc_addr_parse(note, ret_addr) && rpc_addr_parse(space + 1, ret_local);
}

/* Hosts behind one address have one monitor there. */
static int add_notice(struct nlm_state *nlm, const struct nfs4_record *r)
{
	struct nsm_notice *n;
	struct rpc_addr addr, local;
	char note[NFS4_RECORD_NOTE_MAX + 1];

	if (nfs4_record_note(nlm->st->recovery.records, r, note) ||
	    !parse_note(note, &addr, &local) || is_known(nlm, &addr))
		return 0;
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->addr = addr;
	n->local = local;
	list_add_tail(&nlm->notices, &n->entry);
	return 0;
}

int nsm_init(struct nlm_state *nlm)
{
	const struct nfs4_records *rs = nlm->st->recovery.records;
	const struct nfs4_record *r;
	int err = 0;

	for (r = nfs4_records_next(rs, NULL); r && !err; r = nfs4_records_next(rs, r))
		if (r->kind == NFS4_RECORD_NLM)
			err = add_notice(nlm, r);
	return err;
}

void nsm_done(struct nlm_state *nlm)
{
	struct list *e;

	while ((e = list_pop(&nlm->notices)))
		free(container_of(e, struct nsm_notice, entry));
}
