/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MOUNT version 3 (RFC 1813 appendix I): from a path "/VOLUME/DIR/..." to a file handle.
 *
 * What DUMP answers is a memory of who mounted what; nothing depends on it, and its oldest
 * entries go first.  EXPORT shows the volumes that the one who asks may mount.
 */
#include <stdio.h>
#include <stdlib.h>
#include "nfs/server_int.h"

#define PATH_WIRE_MAX 1024		/* MNTPATHLEN */
#define LIST_BYTES_MAX (256u << 10)	/* of DUMP's and EXPORT's answers */

struct path_args { struct xdr_bytes path; };
struct mnt_res { struct fs_id id; bool sys, none; };

/* A list as it is sent, built by the handler; from malloc. */
struct list_res { uint8_t *data; uint32_t len; };

static void dec_path(struct xdr_in *in, void *args)
{
	struct path_args *a = args;

	a->path = xdr_get_opaque(in, PATH_WIRE_MAX);
}

static int null(struct rpc_call *c, void *args, void *res)
{
	return 0;
}

/* ---- who mounted what ---------------------------------------------------------------- */

static void forget(struct nfs_server *s, struct nfs_mount *m)
{
	list_del(&m->entry);
	s->nmounts--;
	free(m);
}

/* PATH NULL: all of that client's. */
static void forget_mounts(struct nfs_server *s, const struct rpc_addr *addr, const char *path)
{
	struct list *e, *tmp;

	list_each_safe(e, tmp, &s->mounts) {
		struct nfs_mount *m = container_of(e, struct nfs_mount, entry);

		if (!memcmp(m->addr.ip, addr->ip, 16) && (!path || !strcmp(m->path, path)))
			forget(s, m);
	}
}

void mounts_forget(struct nfs_server *s)
{
	while (!list_empty(&s->mounts))
		forget(s, container_of(s->mounts.next, struct nfs_mount, entry));
}

static void remember(struct nfs_server *s, const struct rpc_addr *addr, const char *path)
{
	struct nfs_mount *m = malloc(sizeof(*m) + strlen(path) + 1);

	if (!m)
		return;
	forget_mounts(s, addr, path);
	if (s->nmounts >= MOUNTS_MAX)
		forget(s, container_of(s->mounts.next, struct nfs_mount, entry));
	m->addr = *addr;
	strcpy(m->path, path);
	list_add_tail(&s->mounts, &m->entry);
	s->nmounts++;
}

/* ---- MNT, UMNT ----------------------------------------------------------------------- */

/* "/volume/a/b" into "volume" and "/a/b", without doubled and trailing slashes. */
static int split_path(struct xdr_bytes in, char volume[FS_VOLUME_NAME_MAX + 1],
		      char rest[PATH_WIRE_MAX + 2])
{
	char path[PATH_WIRE_MAX + 1], *p = path, *slash;
	size_t n = 0;

	if (!in.len || in.s[0] != '/' || memchr(in.s, 0, in.len))
		return -EINVAL;
	for (uint32_t i = 0; i < in.len; i++)
		if (in.s[i] != '/' || i + 1 == in.len || in.s[i + 1] != '/')
			path[n++] = in.s[i];
	while (n && path[n - 1] == '/')
		n--;
	path[n] = 0;
	if (!n)
		return -ENOENT;			/* "/" is not a volume */
	slash = strchr(++p, '/');
	n = slash ? (size_t)(slash - p) : strlen(p);
	if (n > FS_VOLUME_NAME_MAX)
		return -ENOENT;
	memcpy(volume, p, n);
	volume[n] = 0;
	strcpy(rest, slash ? slash : "/");
	return 0;
}

static int mnt(struct rpc_call *c, void *args, void *res)
{
	const struct path_args *a = args;
	struct nfs_server *s = rpc_ctx(c);
	struct mnt_res *r = res;
	char volume[FS_VOLUME_NAME_MAX + 1], rest[PATH_WIRE_MAX + 2];
	char whole[FS_VOLUME_NAME_MAX + PATH_WIRE_MAX + 4];
	struct fs_volume_info info;
	struct fs_attr attr = { 0 };
	struct export_rule rule;
	struct fs_req req;
	int err = split_path(a->path, volume, rest);

	if (!err)
		err = fs_volume_find(s->fs, volume, &info);
	if (!err)
		err = export_find(c, info.id, &rule);
	if (err)
		return err;
	/* Anybody who may use the volume may stand anywhere in it: it is his handles' rights
	 * that are checked later. */
	fs_req_admin(&req, s->fs);
	err = fs_lookup_path(&req, volume, rest, &attr);
	if (err)
		return err;
	if (attr.type != FS_DIR)
		return -ENOTDIR;
	r->id = attr.id;
	r->sys = rule.sec_sys;
	r->none = rule.sec_none;
	snprintf(whole, sizeof(whole), "/%s%s", volume, rest[1] ? rest : "");
	remember(s, &c->peer, whole);
	return 0;
}

static void enc_mnt(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const struct mnt_res *r = res;
	struct nfs_server *s = rpc_ctx(c);
	uint8_t *p;

	xdr_put_u32(out, mount3_status(c->status));
	if (c->status)
		return;
	xdr_put_u32(out, HANDLE_BYTES);
	p = xdr_room(out, HANDLE_BYTES);
	if (p)
		handle_make(s->cfg.handle_key, &r->id, p);
	xdr_put_u32(out, r->sys + r->none);
	if (r->sys)
		xdr_put_u32(out, RPC_AUTH_SYS);
	if (r->none)
		xdr_put_u32(out, RPC_AUTH_NONE);
}

static int umnt(struct rpc_call *c, void *args, void *res)
{
	const struct path_args *a = args;
	char path[PATH_WIRE_MAX + 1];

	memcpy(path, a->path.s, a->path.len);
	path[a->path.len] = 0;
	forget_mounts(rpc_ctx(c), &c->peer, path);
	return 0;
}

static int umntall(struct rpc_call *c, void *args, void *res)
{
	forget_mounts(rpc_ctx(c), &c->peer, NULL);
	return 0;
}

/* ---- lists --------------------------------------------------------------------------- */

static void enc_list(struct rpc_call *c, struct xdr_out *out, const void *res)
{
	const struct list_res *r = res;
	const struct iovec iov = { r->data, r->len };

	xdr_splice(out, &iov, 1);
	xdr_put_bool(out, false);
}

static void release_list(struct rpc_call *c, void *res)
{
	struct list_res *r = res;

	free(r->data);
	r->data = NULL;
}

static int begin_list(struct list_res *r, struct xdr_out *out)
{
	r->data = malloc(LIST_BYTES_MAX);
	if (!r->data)
		return -ENOMEM;
	xdr_out_init(out, r->data, LIST_BYTES_MAX);
	return 0;
}

static int dump(struct rpc_call *c, void *args, void *res)
{
	struct nfs_server *s = rpc_ctx(c);
	struct list_res *r = res;
	struct xdr_out out;
	struct list *e;
	int err = begin_list(r, &out);

	if (err)
		return err;
	list_each(e, &s->mounts) {
		const struct nfs_mount *m = container_of(e, struct nfs_mount, entry);
		char addr[RPC_ADDR_TEXT];

		rpc_addr_text(&m->addr, addr);
		xdr_put_bool(&out, true);
		xdr_put_string(&out, addr);
		xdr_put_string(&out, m->path);
		if (out.full)
			break;			/* what is whole is told */
		r->len = xdr_out_len(&out);
	}
	return 0;
}

static void put_groups(struct xdr_out *out, const struct fs_volume_info *info)
{
	struct exports e;

	if (!exports_parse(info->exports, &e, NULL, 0)) {
		for (unsigned i = 0; i < e.nnets; i++) {
			char net[EXPORT_NET_TEXT];

			export_net_text(&e.nets[i], net);
			xdr_put_bool(out, true);
			xdr_put_string(out, net);
		}
	}
	xdr_put_bool(out, false);
}

static int export(struct rpc_call *c, void *args, void *res)
{
	struct nfs_server *s = rpc_ctx(c);
	struct fs_volume_info info = { 0 };
	struct list_res *r = res;
	struct xdr_out out;
	int err = begin_list(r, &out);

	while (!err && !out.full) {
		char path[FS_VOLUME_NAME_MAX + 2];
		struct export_rule rule;

		r->len = xdr_out_len(&out);
		err = fs_volume_next(s->fs, info.id, &info);
		if (err || export_find(c, info.id, &rule))
			continue;
		snprintf(path, sizeof(path), "/%s", info.name);
		xdr_put_bool(&out, true);
		xdr_put_string(&out, path);
		put_groups(&out, &info);
	}
	return err == -ENOENT ? 0 : err;
}

static const struct rpc_proc procs[] = {
	[0] = { .name = "NULL", .handle = null, .flags = RPC_ANY_AUTH },
	[1] = { .name = "MNT", .decode = dec_path, .handle = mnt, .encode = enc_mnt,
		.args_bytes = sizeof(struct path_args), .res_bytes = sizeof(struct mnt_res),
		.flags = RPC_ANY_AUTH },
	[2] = { .name = "DUMP", .handle = dump, .encode = enc_list, .release = release_list,
		.res_bytes = sizeof(struct list_res), .flags = RPC_ANY_AUTH },
	[3] = { .name = "UMNT", .decode = dec_path, .handle = umnt,
		.args_bytes = sizeof(struct path_args), .flags = RPC_ANY_AUTH },
	[4] = { .name = "UMNTALL", .handle = umntall, .flags = RPC_ANY_AUTH },
	[5] = { .name = "EXPORT", .handle = export, .encode = enc_list, .release = release_list,
		.res_bytes = sizeof(struct list_res), .flags = RPC_ANY_AUTH },
};

const struct rpc_program mount3_program = {
	"mount", MOUNT_PROGRAM, 3, procs, sizeof(procs) / sizeof(*procs)
};
