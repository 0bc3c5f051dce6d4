/* SPDX-License-Identifier: Apache-2.0 */
/* The NFS server's life: its programs, its sockets, port mapping, numbers. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/log.h"
#include "nfs/names.h"
#include "nfs/nfs4_recovery.h"
#include "nfs/nlm.h"

#define DRC_ENTRIES 32768		/* some seconds of creating and removing at full speed */
#define DRC_BYTES (12u << 20)
#define BULK_DRC_ENTRIES 2048
#define BULK_DRC_BYTES (1u << 20)
#define REPLY_BYTES_MIN (4u << 20)
#define REPLY_BYTES_MAX (32u << 20)
#define STOP_GRACE_MS 5000
#define LEASE_S 90

static const struct rpc_program *const main_programs[] = {
	&nfs3_program, &nfs4_program, &mount3_program, &nlm4_program, &nsm1_program
};
enum { UDP_FIRST = 3, UDP_PROGRAMS = 2 };	/* of these */
static const struct rpc_program *const portmap_programs[] = {
	&portmap2_program, &portmap3_program, &portmap4_program
};

/* ---- making and freeing -------------------------------------------------------------- */

static void free_service(struct rpc_service *sv)
{
	for (unsigned i = 0; i < sv->nbindings; i++)
		free(sv->bindings[i].stats);
}

static int make_service(struct nfs_server *s, struct rpc_service *sv, struct rpc_binding *bindings,
			const struct rpc_program *const *programs, unsigned n)
{
	sv->bindings = bindings;
	sv->nbindings = n;
	for (unsigned i = 0; i < n; i++) {
		bindings[i].program = programs[i];
		bindings[i].ctx = s;
		bindings[i].stats = calloc(programs[i]->nprocs, sizeof(*bindings[i].stats));
		if (!bindings[i].stats)
			return -ENOMEM;
	}
	rpc_service_check(sv);
	return 0;
}

static int copy_config(struct nfs_server *s, const struct nfs_config *cfg)
{
	static const char *const default_listen[] = { "127.0.0.1:2049" };
	const char *const *listen = cfg->nlisten ? cfg->listen : default_listen;
	unsigned n = cfg->nlisten ? cfg->nlisten : 1;
	const char **copy = calloc(n, sizeof(*copy));

	s->cfg = *cfg;
	s->cfg.lease_s = cfg->lease_s ? cfg->lease_s : LEASE_S;
	s->cfg.grace_s = cfg->grace_s ? cfg->grace_s : s->cfg.lease_s;
	s->cfg.portmap = strdup(cfg->portmap ? cfg->portmap : "127.0.0.1:111");
	s->cfg.listen = copy;
	s->cfg.nlisten = copy ? n : 0;
	s->ports = calloc(n, sizeof(*s->ports));
	if (!s->ports)
		return -ENOMEM;
	for (unsigned i = 0; copy && i < n; i++) {
		copy[i] = strdup(listen[i]);
		if (!copy[i])
			return -ENOMEM;
	}
	return copy && s->cfg.portmap ? 0 : -ENOMEM;
}

/* Replies pin blocks of the cache until they have left: at most a quarter of it. */
static void limit_replies(struct nfs_server *s)
{
	struct fs_status st;
	size_t max;

	if (s->cfg.limits.reply_bytes_max)
		return;
	fs_status(s->fs, &st);
	max = st.cache_bytes / 4;
	max = max > REPLY_BYTES_MAX ? REPLY_BYTES_MAX : max;
	s->cfg.limits.reply_bytes_max = max < REPLY_BYTES_MIN ? REPLY_BYTES_MIN : max;
}

static void add_replayed(void *arg, const struct fs_replayed *r)
{
	struct nfs_server *s = arg;
	const struct drc_key key = { r->drc_client, r->drc_xid, r->drc_proc };

	_Static_assert(sizeof(r->result) <= DRC_OBJECT_BYTES, "a replayed object fits");
	drc_add_replayed(s->drc, &key, &r->result, sizeof(r->result));
}

int nfs_server_new(struct fs *fs, const struct nfs_config *cfg, struct nfs_server **ret_server)
{
	struct nfs_server *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	s->fs = fs;
	list_init(&s->mounts);
	err = copy_config(s, cfg);
	limit_replies(s);
	if (!err)
		err = make_service(s, &s->service, s->bindings, main_programs, 5);
	if (!err)
		err = make_service(s, &s->portmap_service, s->portmap_bindings, portmap_programs,
				   3);
	if (!err)
		err = nfs4_state_new(s, &s->nfs4);
	if (!err)
		err = names_new(&s->names);
	if (!err)
		err = nlm_state_new(s, &s->nlm);
	if (!err)
		err = drc_new(DRC_ENTRIES, DRC_BYTES, &s->drc);
	if (!err)
		err = drc_new(BULK_DRC_ENTRIES, BULK_DRC_BYTES, &s->bulk_drc);
	if (!err)
		err = rpc_server_new(&s->cfg.limits, &s->rpc);
	if (err) {
		nfs_server_free(s);
		return err;
	}
	s->service.drc = s->drc;
	s->service.bulk_drc = s->bulk_drc;
	s->udp_service = (struct rpc_service){ s->bindings + UDP_FIRST, UDP_PROGRAMS, s->drc, NULL };
	fs_take_replayed(fs, add_replayed, s);
	*ret_server = s;
	return 0;
}

void nfs_server_free(struct nfs_server *s)
{
	if (!s)
		return;
	rpc_server_free(s->rpc);
	drc_free(s->drc);
	drc_free(s->bulk_drc);
	free_service(&s->service);
	free_service(&s->portmap_service);
	nlm_state_free(s->nlm);
	nfs4_state_free(s->nfs4);
	names_free(s->names);
	exports_forget(s);
	mounts_forget(s);
	for (unsigned i = 0; i < s->cfg.nlisten; i++)
		free((char *)s->cfg.listen[i]);
	free((void *)s->cfg.listen);
	free(s->ports);
	free((char *)s->cfg.portmap);
	free(s);
}

/* ---- listening ----------------------------------------------------------------------- */

static bool is_wildcard(const char *text)
{
	struct rpc_addr a;
	char why[200];

	if (rpc_parse_listen(text, &a, why, sizeof(why)))
		return false;
	for (int i = rpc_addr_is_v4(&a) ? 12 : 0; i < 16; i++)
		if (a.ip[i])
			return false;
	return true;
}

/* The small programs by UDP: who can't ask by that asks by TCP, so it's no failure. */
static bool listen_udp(struct nfs_server *s, const char *text, uint16_t port,
		       const struct rpc_service *service)
{
	struct rpc_addr a;
	char why[200];
	int err = rpc_parse_listen(text, &a, why, sizeof(why));

	a.port = port;
	if (!err)
		err = rpc_server_listen_udp(s->rpc, &a, service);
	if (err)
		log_warn("cannot listen on port %u of UDP: %s", port, err_text(err));
	return !err;
}

/* QEMU's and other clients ask port 111 and nobody else. */
static void start_portmap(struct nfs_server *s)
{
	struct rpc_addr a;
	uint16_t port;
	int err;

	s->portmap_state = NFS_PORTMAP_OFF;
	if (!s->cfg.portmap[0])
		return;
	err = rpc_server_listen(s->rpc, s->cfg.portmap, &s->portmap_service, &port, s->portmap_why,
				sizeof(s->portmap_why));
	if (!err) {
		s->portmap_state = NFS_PORTMAP_OWN;
		listen_udp(s, s->cfg.portmap, port, &s->portmap_service);
		return;
	}
	s->portmap_state = NFS_PORTMAP_FAILED;
	if (err == -EADDRINUSE && !rpc_parse_listen(s->cfg.portmap, &a, s->portmap_why,
						    sizeof(s->portmap_why)) && a.port == 111 &&
	    !rpcbind_register(s->ports[0], s->listening_all, s->udp, s->portmap_why,
			      sizeof(s->portmap_why)))
		s->portmap_state = NFS_PORTMAP_RPCBIND;
}

int nfs_server_start(struct nfs_server *s, char *why, size_t why_len)
{
	int err = nfs4_recovery_start(s->nfs4);

	for (unsigned i = 0; !err && i < s->cfg.nlisten; i++) {
		err = rpc_server_listen(s->rpc, s->cfg.listen[i], &s->service, &s->ports[i],
					why, why_len);
		if (err)
			break;
		s->listening_all |= is_wildcard(s->cfg.listen[i]);
		s->udp |= listen_udp(s, s->cfg.listen[i], s->ports[i], &s->udp_service) && !i;
	}
	if (err)
		return err;
	start_portmap(s);
	return nsm_start(s->nlm);
}

uint16_t nfs_server_port(const struct nfs_server *s, unsigned i)
{
	return s->ports[i];
}

enum nfs_portmap nfs_server_portmap(const struct nfs_server *s, const char **ret_why)
{
	*ret_why = s->portmap_why;
	return s->portmap_state;
}

void nfs_server_stop(struct nfs_server *s)
{
	if (s->portmap_state == NFS_PORTMAP_RPCBIND)
		rpcbind_unregister();
	nlm_state_stop(s->nlm);
	rpc_server_stop(s->rpc, STOP_GRACE_MS);
	nfs4_recovery_stop(s->nfs4);
	nfs4_state_stop(s->nfs4);
}

/* ---- looking ------------------------------------------------------------------------- */

const struct rpc_service *nfs_server_service(struct nfs_server *s)
{
	return &s->service;
}

struct rpc_server *nfs_server_rpc(struct nfs_server *s)
{
	return s->rpc;
}

static void tell_procs(const struct rpc_service *sv,
		       void (*fn)(void *arg, const struct nfs_proc_info *i), void *arg)
{
	for (unsigned i = 0; i < sv->nbindings; i++) {
		const struct rpc_program *g = sv->bindings[i].program;

		for (unsigned k = 0; k < g->nprocs; k++) {
			const struct rpc_proc_stats *st = &sv->bindings[i].stats[k];
			const struct nfs_proc_info info = {
				.program = g->name, .version = g->vers, .proc = g->procs[k].name,
				.calls = st->calls, .errors = st->errors, .total_ns = st->total_ns,
			};

			if (g->procs[k].handle)
				fn(arg, &info);
		}
	}
}

void nfs_server_procs(const struct nfs_server *s,
		      void (*fn)(void *arg, const struct nfs_proc_info *i), void *arg)
{
	tell_procs(&s->service, fn, arg);
	nfs4_tell_ops(s->nfs4, fn, arg);
	tell_procs(&s->portmap_service, fn, arg);
}

void nfs_server_stats(const struct nfs_server *s, struct nfs_server_stats *ret_stats)
{
	struct drc_stats d, bulk;

	drc_stats(s->drc, &d);
	drc_stats(s->bulk_drc, &bulk);
	*ret_stats = (struct nfs_server_stats){
		.bytes_read = s->bytes_read, .bytes_written = s->bytes_written,
		.drc_entries = d.entries + bulk.entries, .drc_hits = d.hits + bulk.hits,
	};
}
