/* SPDX-License-Identifier: Apache-2.0 */
/* Calls over a network that loses, cuts off and repeats; and a small NFSv3 client on top. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "nfs/nfs3.h"
#include "world.h"

#define NFS 100003
#define GONE UINT32_MAX
#define MS 1000000ull

/* ---- one call ---------------------------------------------------------------------------- */

/* A call in the server: it outlives the client's interest in it. */
struct flight {
	struct world *w;
	uint8_t *call, *reply;
	size_t len, reply_len;
	int err;
	unsigned refs;
	bool done;
	struct client *client;
	struct rpc_addr from;
};

static void flight_put(struct flight *f)
{
	if (--f->refs)
		return;
	free(f->call);
	free(f->reply);
	free(f);
}

static void serve(void *arg)
{
	struct flight *f = arg;
	struct world *w = f->w;

	f->err = rpc_serve(nfs_server_service(w->server), &f->from, f->call, f->len, &f->reply,
			   &f->reply_len);
	f->done = true;
	/* Not when the answer arrives: it may be lost, and be given again much later. */
	f->client->was_short |= world_space_is_short(w);
	w->in_flight--;
	w->calls++;
	waitq_wake_all(&w->changed);
	flight_put(f);
}

static struct flight *launch(struct client *c, const struct msg *m)
{
	struct flight *f = test_alloc(sizeof(*f));

	*f = (struct flight){ .w = c->w, .client = c, .len = m->len, .refs = 2 };
	f->from = (struct rpc_addr){ .ip = { [10] = 0xff, 0xff, 127, 0, 0, 2 + c->id }, .port = 900 };
	f->call = test_alloc(m->len);
	memcpy(f->call, m->data, m->len);
	c->w->in_flight++;
	c->launched++;
	sim_ok(fiber_spawn(serve, f, "call"));
	return f;
}

static void pause_ns(struct client *c, uint64_t most)
{
	loop_sleep_ns(rng_below(&c->w->net, most) + 1);
}

/* Waits until the server is there; true if it is another one than before. */
static bool wait_up(struct client *c)
{
	struct world *w = c->w;

	while (!w->up && !w->closing)
		waitq_wait(&w->changed);
	if (c->epoch == w->epoch)
		return false;
	c->epoch = w->epoch;
	return true;
}

/* The reply, or NULL when it never comes: the server died, or the network took it. */
static struct flight *deliver(struct client *c, const struct msg *m)
{
	struct world *w = c->w;
	unsigned fate = w->rudeness ? rng_below(&w->net, w->rudeness) : UINT32_MAX;
	uint64_t epoch = w->epoch;
	struct flight *f;

	if (fate == 0) {
		world_counted(w, WF_LOST_CALL);
		pause_ns(c, 2000 * MS);
		return NULL;
	}
	f = launch(c, m);
	if (fate == 1) {			/* the network repeats it */
		world_counted(w, WF_TWICE);
		pause_ns(c, MS);
		if (w->up && w->epoch == epoch)
			flight_put(launch(c, m));
	}
	while (!f->done && w->up && w->epoch == epoch)
		waitq_wait(&w->changed);
	if (f->done && f->err == -ENOMEM && w->lean) {
		flight_put(f);			/* as over a connection that is cut */
		pause_ns(c, 100 * MS);
		return NULL;
	}
	if (f->done && w->up && w->epoch == epoch && fate != 2) {
		pause_ns(c, MS / 5);
		return f;
	}
	if (fate == 2) {
		world_counted(w, WF_LOST_REPLY);
		pause_ns(c, 1000 * MS);
	}
	flight_put(f);
	return NULL;
}

void call_begin(struct client *c, struct msg *m, uint32_t prog, uint32_t vers, uint32_t proc)
{
	*m = (struct msg){ 0 };
	msg_call(m, ++c->xid, prog, vers, proc, 0);
}

static void take_reply(struct reply *r, struct flight *f)
{
	uint32_t accepted;

	sim_check(!f->err, "a well-formed call was not taken for one: %s", sim_err(f->err));
	r->data = f->reply;
	f->reply = NULL;
	xdr_in_init(&r->in, r->data, f->reply_len);
	xdr_get_u64(&r->in);
	accepted = xdr_get_u32(&r->in);
	xdr_get_u32(&r->in);
	xdr_get_opaque(&r->in, 400);
	r->refused = accepted || xdr_get_u32(&r->in);
	flight_put(f);
}

bool call_send(struct client *c, struct msg *m, struct reply *ret)
{
	bool sent = false;

	*ret = (struct reply){ 0 };
	c->was_short = false;
	c->launched = 0;
	for (;;) {
		struct flight *f;

		if (wait_up(c)) {
			ret->restarted |= sent;
			if (c->checking)
				c->again = true;	/* what was read belongs to another life */
			else
				client_restarted(c);
		}
		if (c->w->closing && !c->w->up)
			break;
		pause_ns(c, MS / 5);
		if (!c->w->up)
			continue;
		sent = true;
		f = deliver(c, m);
		if (!f) {
			/* without memory the server may not know it again */
			ret->restarted |= c->w->lean;
			continue;
		}
		take_reply(ret, f);
		msg_free(m);
		return true;
	}
	msg_free(m);
	return false;
}

void reply_done(struct reply *r)
{
	free(r->data);
	r->data = NULL;
}

/* ---- NFSv3 ------------------------------------------------------------------------------- */

enum { LOOKUP = 3, READ = 6, WRITE = 7, CREATE = 8, MKDIR = 9, REMOVE = 12, RMDIR = 13, RENAME = 14,
       READDIR = 16, COMMIT = 21, SETATTR = 2, JUKEBOX = 10008 };

static void head(struct client *c, struct msg *m, uint32_t proc, const uint8_t *fh, uint32_t len)
{
	call_begin(c, m, NFS, 3, proc);
	msg_opaque(m, fh, len);
}

/* Sends M and reads the status; JUKEBOX is asked again, with a new number as clients do. */
static struct said ask(struct client *c, struct msg *m, struct reply *r)
{
	struct said v = { 0 };

	for (;;) {
		struct msg copy = { 0 };

		msg_bytes(&copy, m->data, m->len);
		if (!call_send(c, &copy, r)) {
			v.status = GONE;
			break;
		}
		v.restarted |= r->restarted;
		sim_check(!r->refused, "client %u: a call was refused", c->id);
		v.status = xdr_get_u32(&r->in);
		if (v.status != JUKEBOX)
			break;
		reply_done(r);
		loop_sleep_ns(100 * MS);
		c->xid++;
		memcpy(m->data, &(uint32_t){ htobe32(c->xid) }, 4);
	}
	msg_free(m);
	return v;
}

static void skip_attr(struct xdr_in *in, uint64_t *ret_size)
{
	const uint8_t *p;

	if (!xdr_get_bool(in))
		return;
	p = xdr_get_fixed(in, 84);
	if (p && ret_size) {
		struct xdr_in a;

		xdr_in_init(&a, p + 20, 8);
		*ret_size = xdr_get_u64(&a);
	}
}

static void skip_wcc(struct xdr_in *in)
{
	if (xdr_get_bool(in))
		xdr_get_fixed(in, 24);
	skip_attr(in, NULL);
}

static struct said finish(struct client *c, struct reply *r, struct said v)
{
	sim_check(v.status == GONE || !r->in.bad, "client %u: a reply is too short", c->id);
	reply_done(r);
	return v;
}

static struct said v3_lookup(struct client *c, const uint8_t *dir, uint32_t dir_len, const char *name,
		    uint8_t *ret_fh, uint32_t *ret_len, uint64_t *ret_size)
{
	struct xdr_bytes fh;
	struct reply r;
	struct msg m;
	struct said v;

	head(c, &m, LOOKUP, dir, dir_len);
	msg_string(&m, name);
	v = ask(c, &m, &r);
	if (!v.status) {
		fh = xdr_get_opaque(&r.in, 64);
		skip_attr(&r.in, ret_size);
		if (fh.s)
			memcpy(ret_fh, fh.s, fh.len);
		*ret_len = fh.len;
	}
	return finish(c, &r, v);
}

static void no_sattr(struct msg *m)
{
	for (int i = 0; i < 6; i++)
		msg_u32(m, 0);
}

static struct said simple(struct client *c, struct msg *m)
{
	struct reply r;
	struct said v = ask(c, m, &r);

	return finish(c, &r, v);
}

static struct said v3_create(struct client *c, const char *name)
{
	struct msg m;

	head(c, &m, CREATE, c->dir, c->dir_len);
	msg_string(&m, name);
	msg_u32(&m, 1);
	no_sattr(&m);
	return simple(c, &m);
}

static struct said v3_mkdir(struct client *c, const uint8_t *dir, uint32_t dir_len, const char *name)
{
	struct msg m;

	head(c, &m, MKDIR, dir, dir_len);
	msg_string(&m, name);
	no_sattr(&m);
	return simple(c, &m);
}

static struct said v3_remove(struct client *c, const char *name, bool dir)
{
	struct msg m;

	head(c, &m, dir ? RMDIR : REMOVE, c->dir, c->dir_len);
	msg_string(&m, name);
	return simple(c, &m);
}

static struct said v3_rename(struct client *c, const char *from, const char *to)
{
	struct msg m;

	head(c, &m, RENAME, c->dir, c->dir_len);
	msg_string(&m, from);
	msg_opaque(&m, c->dir, c->dir_len);
	msg_string(&m, to);
	return simple(c, &m);
}

static struct said v3_truncate(struct client *c, const struct file *f, uint64_t size)
{
	struct msg m;

	head(c, &m, SETATTR, f->fh, f->fh_len);
	msg_u32(&m, 0);
	msg_u32(&m, 0);
	msg_u32(&m, 0);
	msg_u32(&m, 1);
	msg_u64(&m, size);
	msg_u32(&m, 0);
	msg_u32(&m, 0);
	msg_u32(&m, 0);
	return simple(c, &m);
}

static uint64_t get_verifier(struct xdr_in *in)
{
	return xdr_get_u64(in);
}

static struct said v3_write(struct client *c, const struct file *f, uint64_t offset, const void *data,
		   uint32_t len, uint32_t stable, uint32_t *ret_committed, uint64_t *ret_verifier)
{
	struct reply r;
	struct msg m;
	struct said v;

	head(c, &m, WRITE, f->fh, f->fh_len);
	msg_u64(&m, offset);
	msg_u32(&m, len);
	msg_u32(&m, stable);
	msg_opaque(&m, data, len);
	v = ask(c, &m, &r);
	if (!v.status) {
		skip_wcc(&r.in);
		sim_check(xdr_get_u32(&r.in) == len, "client %u: a write was short", c->id);
		*ret_committed = xdr_get_u32(&r.in);
		*ret_verifier = get_verifier(&r.in);
		sim_check(*ret_committed >= stable, "client %u: a write was less stable than asked",
			  c->id);
	}
	return finish(c, &r, v);
}

static struct said v3_read(struct client *c, const struct file *f, uint64_t offset, uint32_t len, void *buf,
		  uint32_t *ret_len)
{
	struct xdr_bytes data;
	struct reply r;
	struct msg m;
	struct said v;

	head(c, &m, READ, f->fh, f->fh_len);
	msg_u64(&m, offset);
	msg_u32(&m, len);
	v = ask(c, &m, &r);
	if (!v.status) {
		skip_attr(&r.in, NULL);
		xdr_get_u64(&r.in);
		data = xdr_get_opaque(&r.in, len);
		if (data.s)
			memcpy(buf, data.s, data.len);
		*ret_len = data.len;
	}
	return finish(c, &r, v);
}

static struct said v3_commit(struct client *c, const struct file *f, uint64_t *ret_verifier)
{
	struct reply r;
	struct msg m;
	struct said v;

	head(c, &m, COMMIT, f->fh, f->fh_len);
	msg_u64(&m, 0);
	msg_u32(&m, 0);
	v = ask(c, &m, &r);
	if (!v.status) {
		skip_wcc(&r.in);
		*ret_verifier = get_verifier(&r.in);
	}
	return finish(c, &r, v);
}

/* One page of the listing; adds to the count. */
static struct said list_some(struct client *c, uint64_t *cookie, uint64_t *verf, bool *eof,
			   uint32_t *ret_names)
{
	struct reply r;
	struct msg m;
	struct said v;

	head(c, &m, READDIR, c->dir, c->dir_len);
	msg_u64(&m, *cookie);
	msg_u64(&m, *verf);
	msg_u32(&m, 700);
	v = ask(c, &m, &r);
	if (!v.status) {
		skip_attr(&r.in, NULL);
		*verf = xdr_get_u64(&r.in);
		while (xdr_get_bool(&r.in)) {
			xdr_get_u64(&r.in);
			xdr_get_opaque(&r.in, 255);
			*cookie = xdr_get_u64(&r.in);
			++*ret_names;
		}
		*eof = xdr_get_bool(&r.in);
	}
	return finish(c, &r, v);
}

static struct said v3_list(struct client *c, uint32_t *ret_names)
{
	uint64_t cookie = 0, verf = 0;
	bool eof = false;
	struct said v = { 0 };

	*ret_names = 0;
	while (!eof && !v.status)
		v = list_some(c, &cookie, &verf, &eof, ret_names);
	return v;
}

const struct protocol nfs3 = { v3_lookup, v3_create, v3_mkdir, v3_remove, v3_rename, v3_truncate,
			       v3_write, v3_read, v3_commit, v3_list };
