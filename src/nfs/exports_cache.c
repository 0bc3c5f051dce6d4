/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a caller is on a volume: its export rules, parsed once and kept until a volume is
 * changed, and the caller's credentials as the rule turns them.  Asked for every request, not
 * only at mount: a handle alone opens nothing.
 */
#include <stdlib.h>
#include "base/log.h"
#include "nfs/server_int.h"

void exports_forget(struct nfs_server *s)
{
	for (unsigned i = 0; i < EXPORT_BUCKETS; i++) {
		struct export_cached *e;

		while ((e = s->exports[i])) {
			s->exports[i] = e->next;
			free(e);
		}
	}
	s->nexports = 0;
}

static const struct exports *cached(struct nfs_server *s, uint32_t volume)
{
	struct export_cached *e;

	if (s->exports_epoch != fs_volume_epoch(s->fs)) {
		exports_forget(s);
		s->exports_epoch = fs_volume_epoch(s->fs);
		return NULL;
	}
	for (e = s->exports[volume % EXPORT_BUCKETS]; e; e = e->next)
		if (e->volume == volume)
			return &e->exports;
	return NULL;
}

static struct export_cached *parse_volume(const struct fs_volume_info *info)
{
	struct export_cached *e = calloc(1, sizeof(*e));
	char why[200];
	int err;

	if (!e)
		return NULL;
	e->volume = info->id;
	err = exports_parse(info->exports, &e->exports, why, sizeof(why));
	if (err == -ENOMEM) {
		free(e);
		return NULL;
	}
	if (err)		/* no rule at all: nobody gets in until it is set right */
		log_error("volume %s is exported to nobody: %s", info->name, why);
	return e;
}

/* May wait; what it returns is valid until the next wait. */
static int find_exports(struct nfs_server *s, uint32_t volume, const struct exports **ret)
{
	struct fs_volume_info info;
	struct export_cached *e;
	uint64_t epoch;
	int err;

	*ret = cached(s, volume);
	if (*ret)
		return 0;
	do {
		epoch = fs_volume_epoch(s->fs);
		err = fs_volume_get(s->fs, volume, &info);
		if (err)
			return err == -ENOENT ? -ESTALE : err;
	} while (epoch != fs_volume_epoch(s->fs));
	*ret = cached(s, volume);		/* another fiber may have been faster */
	if (*ret)
		return 0;
	if (s->nexports >= EXPORTS_CACHED_MAX)
		exports_forget(s);
	e = parse_volume(&info);
	if (!e)
		return -ENOMEM;
	e->next = s->exports[volume % EXPORT_BUCKETS];
	s->exports[volume % EXPORT_BUCKETS] = e;
	s->nexports++;
	*ret = &e->exports;
	return 0;
}

static void squash_all(struct fs_cred *cred, const struct export_rule *r)
{
	cred->uid = r->anonuid;
	cred->gid = r->anongid;
	cred->ngroups = 0;
}

static void squash(struct fs_cred *cred, const struct rpc_cred *from, const struct export_rule *r)
{
	cred->admin = false;
	if (from->flavor == RPC_AUTH_NONE || r->all_squash) {
		squash_all(cred, r);
		return;
	}
	cred->uid = from->uid;
	cred->gid = from->gid;
	cred->ngroups = from->ngroups;
	for (uint32_t i = 0; i < from->ngroups; i++)
		cred->groups[i] = from->groups[i];
	if (!r->root_squash)
		return;
	if (cred->uid == 0) {
		squash_all(cred, r);
		return;
	}
	if (cred->gid == 0)
		cred->gid = r->anongid;
	for (uint32_t i = 0; i < cred->ngroups; i++)
		if (cred->groups[i] == 0)
			cred->groups[i] = r->anongid;
}

int export_find(struct rpc_call *c, uint32_t volume, struct export_rule *ret_rule)
{
	const struct exports *e;
	const struct export_rule *r;
	int err = find_exports(rpc_ctx(c), volume, &e);

	if (err)
		return err;
	r = exports_match(e, &c->peer);
	if (!r || (r->secure && c->peer.port >= 1024))
		return -EACCES;
	*ret_rule = *r;
	return 0;
}

int export_enter(struct rpc_call *c, uint32_t volume, struct nfs_op *op)
{
	struct export_rule r;
	int err = export_find(c, volume, &r);

	if (err)
		return err;
	if (c->cred.flavor == RPC_AUTH_NONE ? !r.sec_none : !r.sec_sys) {
		c->auth_stat = RPC_AUTH_TOOWEAK;
		return -EACCES;
	}
	squash(&op->req.cred, &c->cred, &r);
	op->rw = r.rw;
	op->sync = r.sync;
	return 0;
}
