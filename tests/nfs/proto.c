/* SPDX-License-Identifier: Apache-2.0 */
/* See proto.h. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/fiber.h"
#include "base/loop.h"
#include "nfs/nfs4_recovery.h"
#include "proto.h"
#include "storage.h"

static struct loop *loop;
static unsigned users;			/* of the loop */

/* ---- in a fiber ---------------------------------------------------------------------- */

struct job { void (*fn)(void *arg); void *arg; bool done; };

static void job_main(void *arg)
{
	struct job *j = arg;

	j->fn(j->arg);
	j->done = true;
	loop_stop(loop);
}

void proto_run(void (*fn)(void *arg), void *arg)
{
	struct job j = { fn, arg, false };
	int err = fiber_spawn(job_main, &j, "proto");

	assert(!err);
	loop_run(loop);
	assert(j.done);			/* else it waits for what will never be */
}

static void sleep_fiber(void *arg)
{
	loop_sleep_ns(*(uint64_t *)arg);
}

void proto_sleep(uint64_t ns)
{
	proto_run(sleep_fiber, &ns);
}

/* ---- the server ---------------------------------------------------------------------- */

static void new_server(struct proto *p)
{
	struct nfs_config cfg = { .handle_key = "0123456789abcde", .portmap = "",
				  .lease_s = p->lease_s, .grace_s = p->grace_s };
	int err = nfs_server_new(p->fs, &cfg, &p->server);

	assert(!err);
}

static void make(struct proto *p, const char *name, enum fs_type type, uint8_t ret_fh[HANDLE_BYTES])
{
	const struct fs_create how = { .type = type, .how = FS_CREATE_GUARDED,
				       .target = "to/where" };
	struct fs_attr root, attr;
	struct fs_req req;
	int err;

	fs_req_admin(&req, p->fs);
	err = fs_lookup_path(&req, "vol", "/", &root);
	assert(!err);
	err = fs_create(&req, root.id, (struct fs_name){ name, strlen(name) }, &how, &attr, NULL);
	assert(!err);
	handle_make((const uint8_t *)"0123456789abcde", &root.id, p->root);
	handle_make((const uint8_t *)"0123456789abcde", &attr.id, ret_fh);
	if (type == FS_REG) {
		uint8_t data[10000];

		for (int i = 0; i < 10000; i++)
			data[i] = i * 31 + (i >> 8);
		err = fs_write(&req, attr.id, 0, &(struct iovec){ data, 10000 }, 1, 10000, false,
			       NULL);
		assert(!err);
	}
}

/* What a callback is answered by default. */
static int silent(void *arg, const struct rpc_request *q, void *buf, size_t cap, size_t *ret_len)
{
	*ret_len = 0;
	return q->proc ? -ETIMEDOUT : 0;
}

static void begin_fiber(void *arg)
{
	struct proto *p = arg;

	p->via = rpc_peer_local(silent, NULL);
	p->fs = storage_new();
	p->ctl = storage_control(p->fs);
	new_server(p);
	make(p, "f", FS_REG, p->file);
	make(p, "d", FS_DIR, p->dir);
	make(p, "l", FS_LNK, p->link);
	p->ctl->changes = p->ctl->stable_waits = 0;
}

void proto_begin(struct proto *p)
{
	int err = users++ ? 0 : loop_new(LOOP_SIM, &loop);

	assert(!err);
	*p = (struct proto){ .xid = 1000 };
	p->peer = (struct rpc_addr){ .ip = { [10] = 0xff, 0xff, 127, 0, 0, 1 }, .port = 5000 };
	proto_run(begin_fiber, p);
}

static void restart_fiber(void *arg)
{
	struct proto *p = arg;

	nfs_server_stop(p->server);
	nfs_server_free(p->server);
	p->fs = storage_restart(p->fs);
	new_server(p);
}

void proto_restart(struct proto *p)
{
	proto_run(restart_fiber, p);
}

static void crash_fiber(void *arg)
{
	struct proto *p = arg;

	storage_crash(p->fs);
	restart_fiber(p);
}

void proto_crash(struct proto *p)
{
	proto_run(crash_fiber, p);
}

static void end_fiber(void *arg)
{
	struct proto *p = arg;

	nfs_server_stop(p->server);
	nfs_server_free(p->server);
	rpc_peer_put(p->via);
	storage_free(p->fs);
}

void proto_end(struct proto *p)
{
	proto_run(end_fiber, p);
	if (!--users)
		loop_free(loop);
}

struct exports_job { struct proto *p; uint32_t volume; const char *text; };

static void exports_fiber(void *arg)
{
	struct exports_job *j = arg;

	storage_set_exports(j->p->fs, j->volume, j->text);
}

void proto_set_exports(struct proto *p, uint32_t volume, const char *text)
{
	proto_run(exports_fiber, &(struct exports_job){ p, volume, text });
}

struct nfs4_state *proto_nfs4(struct proto *p) { return p->server->nfs4; }

struct serve_job {
	struct proto *p;
	uint8_t *call, *reply;
	size_t len, reply_len;
	int err;
	unsigned *left;
};

static void serve_fiber(void *arg)
{
	struct serve_job *j = arg;

	j->err = rpc_serve_via(nfs_server_service(j->p->server), &j->p->peer, j->p->via, j->call,
			       j->len, &j->reply, &j->reply_len);
	if (!--*j->left)
		loop_stop(loop);
}

static void behind_calls(void *arg)
{
	nfs4_recovery_run(proto_nfs4(arg));
}

static void check_reply(struct proto *p, const struct msg *m, const struct serve_job *j)
{
	char why[200];

	if (grammar_check(m->data, m->len, j->reply, j->reply_len, p->visit, why, sizeof(why)))
		return;
	fprintf(stderr, "not a reply: %s\n", why);
	abort();
}

void proto_serve_all(struct proto *p, const struct msg *m, unsigned n, uint8_t **ret_replies,
		     size_t *ret_lens)
{
	struct serve_job jobs[PROTO_CALLS_MAX];
	unsigned left = n;

	assert(n && n <= PROTO_CALLS_MAX);
	for (unsigned i = 0; i < n; i++) {
		jobs[i] = (struct serve_job){ .p = p, .len = m[i].len, .left = &left };
		/* in a block of just its size, so that a sanitizer sees every byte too far */
		jobs[i].call = malloc(m[i].len ? m[i].len : 1);
		memcpy(jobs[i].call, m[i].data, m[i].len);
		if (fiber_spawn(serve_fiber, &jobs[i], "call"))
			abort();
	}
	loop_run(loop);
	assert(!left);			/* else they wait for what will never be */
	if (!p->foreground)
		proto_run(behind_calls, p);
	for (unsigned i = 0; i < n; i++) {
		free(jobs[i].call);
		ret_replies[i] = jobs[i].err ? NULL : jobs[i].reply;
		ret_lens[i] = jobs[i].reply_len;
		if (!jobs[i].err)
			check_reply(p, &m[i], &jobs[i]);
	}
}

uint8_t *proto_serve(struct proto *p, const struct msg *m, size_t *ret_len)
{
	uint8_t *reply;

	proto_serve_all(p, m, 1, &reply, ret_len);
	return reply;
}

void proto_head(struct proto *p, uint32_t prog, uint32_t vers, uint32_t proc, struct msg *m)
{
	msg_call(m, p->xid++, prog, vers, proc, p->uid);
}

void put_fh(struct msg *m, const uint8_t fh[HANDLE_BYTES])
{
	msg_opaque(m, fh, HANDLE_BYTES);
}

void put_sattr(struct msg *m, int mode, int64_t size)
{
	msg_u32(m, mode >= 0);
	if (mode >= 0)
		msg_u32(m, mode);
	msg_u32(m, 0);
	msg_u32(m, 0);
	msg_u32(m, size >= 0);
	if (size >= 0)
		msg_u64(m, size);
	msg_u32(m, 1);			/* atime: now */
	msg_u32(m, 2);			/* mtime: this one */
	msg_u32(m, 77777);
	msg_u32(m, 999999999);
}

static void put_dirop(struct msg *m, const uint8_t fh[HANDLE_BYTES], const char *name)
{
	put_fh(m, fh);
	msg_string(m, name);
}

static void put_args(struct proto *p, uint32_t proc, struct msg *m)
{
	switch (proc) {
	case 1: case 18: case 19: case 20:
		put_fh(m, p->file);
		break;
	case 2:
		put_fh(m, p->file);
		put_sattr(m, 0600, 5);
		msg_u32(m, 0);
		break;
	case 3:
		put_dirop(m, p->root, "f");
		break;
	case 4:
		put_fh(m, p->file);
		msg_u32(m, 0x3f);
		break;
	case 5:
		put_fh(m, p->link);
		break;
	case 6:
		put_fh(m, p->file);
		msg_u64(m, 4000);
		msg_u32(m, 5001);
		break;
	case 7:
		put_fh(m, p->file);
		msg_u64(m, 3);
		msg_u32(m, 5);
		msg_u32(m, NFS3_FILE_SYNC);
		msg_string(m, "hello");
		break;
	case 8:
		put_dirop(m, p->root, "new");
		msg_u32(m, 1);
		put_sattr(m, 0640, 0);
		break;
	case 9:
		put_dirop(m, p->root, "newdir");
		put_sattr(m, 0750, -1);
		break;
	case 10:
		put_dirop(m, p->root, "newlink");
		put_sattr(m, -1, -1);
		msg_string(m, "some/where");
		break;
	case 11:
		put_dirop(m, p->root, "newdev");
		msg_u32(m, FS_BLK);
		put_sattr(m, 0660, -1);
		msg_u32(m, 8);
		msg_u32(m, 1);
		break;
	case 12:
		put_dirop(m, p->root, "l");
		break;
	case 13:
		put_dirop(m, p->root, "d");
		break;
	case 14:
		put_dirop(m, p->root, "f");
		put_dirop(m, p->dir, "g");
		break;
	case 15:
		put_fh(m, p->file);
		put_dirop(m, p->dir, "hard");
		break;
	case 16:
		put_fh(m, p->root);
		msg_u64(m, 0);
		msg_u64(m, 0);
		msg_u32(m, 4096);
		break;
	case 17:
		put_fh(m, p->root);
		msg_u64(m, 0);
		msg_u64(m, 0);
		msg_u32(m, 1024);
		msg_u32(m, 4096);
		break;
	case 21:
		put_fh(m, p->file);
		msg_u64(m, 0);
		msg_u32(m, 0);
	}
}

void proto_call(struct proto *p, uint32_t proc, struct msg *m)
{
	proto_head(p, NFS_PROGRAM, 3, proc, m);
	put_args(p, proc, m);
}
