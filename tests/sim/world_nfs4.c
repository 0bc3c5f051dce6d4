/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small NFSv4.2 client for the world: one session with one slot, whose calls are sent again until they
 * are answered, and that makes itself a new session when the server has forgotten it.
 *
 * What was under way when a session was lost is asked again in the next one: then, as with NFSv3
 * after a restart, it may have been done already.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "world_nfs4.h"

#define NFS 100003
#define GONE UINT32_MAX
#define MS 1000000ull
/* ---- compounds --------------------------------------------------------------------------- */

void comp_op(struct comp *k, uint32_t num)
{
	msg_u32(&k->m, num);
	k->n++;
}

void comp_putfh(struct comp *k, const uint8_t *fh, uint32_t len)
{
	comp_op(k, PUTFH);
	msg_opaque(&k->m, fh, len);
}

static void anonymous(struct comp *k)
{
	static const uint8_t zeros[16];

	msg_bytes(&k->m, zeros, 16);
}

/* Sends the operations in K, in a COMPOUND; the reply is at the first result. */
static uint32_t send_ops(struct client *c, const struct comp *k, struct reply *r)
{
	uint32_t status;
	struct msg m;

	call_begin(c, &m, NFS, 4, 1);
	msg_string(&m, "");
	msg_u32(&m, 2);
	msg_u32(&m, k->n);
	msg_bytes(&m, k->m.data, k->m.len);
	if (!call_send(c, &m, r))
		return GONE;
	sim_check(!r->refused, "client %u: a COMPOUND was refused", c->id);
	status = xdr_get_u32(&r->in);
	xdr_get_opaque(&r->in, 1024);
	xdr_get_u32(&r->in);
	return status;
}

uint32_t comp_result(struct client *c, struct reply *r, uint32_t num)
{
	uint32_t got = xdr_get_u32(&r->in);

	sim_check(got == num, "client %u: a result of operation %u, not %u", c->id, got, num);
	return xdr_get_u32(&r->in);
}

/* ---- sessions ---------------------------------------------------------------------------- */

static uint32_t exchange(struct client *c, uint32_t *ret_seq)
{
	struct comp k = { 0 };
	struct reply r;
	uint32_t status;
	char owner[32];

	snprintf(owner, sizeof(owner), "client %u", c->id);
	comp_op(&k, EXCHANGE_ID);
	msg_u64(&k.m, 77 + c->id);
	msg_string(&k.m, owner);
	msg_u32(&k.m, 0);
	msg_u32(&k.m, 0);
	msg_u32(&k.m, 0);
	status = send_ops(c, &k, &r);
	if (!status) {
		comp_result(c, &r, EXCHANGE_ID);
		c->clientid = xdr_get_u64(&r.in);
		*ret_seq = xdr_get_u32(&r.in);
	}
	reply_done(&r);
	msg_free(&k.m);
	return status;
}

static void channel(struct comp *k)
{
	static const uint32_t fore[] = { 0, 1 << 20, 1 << 20, 4096, 16, 1, 0 };

	for (int i = 0; i < 7; i++)
		msg_u32(&k->m, fore[i]);
}

static uint32_t create_session(struct client *c, uint32_t seq)
{
	struct comp k = { 0 };
	struct reply r;
	uint32_t status;

	comp_op(&k, CREATE_SESSION);
	msg_u64(&k.m, c->clientid);
	msg_u32(&k.m, seq);
	msg_u32(&k.m, 0);
	channel(&k);
	channel(&k);
	msg_u32(&k.m, 0x40000000);
	msg_u32(&k.m, 1);
	msg_u32(&k.m, 0);
	status = send_ops(c, &k, &r);
	if (!status) {
		const uint8_t *id;

		comp_result(c, &r, CREATE_SESSION);
		id = xdr_get_fixed(&r.in, 16);
		sim_check(id, "client %u: CREATE_SESSION's reply is short", c->id);
		memcpy(c->session, id, 16);
		c->slot_seq = 0;
	}
	reply_done(&r);
	msg_free(&k.m);
	return status;
}

static uint32_t reclaim_complete(struct client *c)
{
	struct comp k = { 0 };
	struct reply r;
	uint32_t status;

	comp_op(&k, RECLAIM_COMPLETE);
	msg_u32(&k.m, 0);
	while ((status = comp_once(c, &k, &r)) == DELAY) {	/* in this session: they are limited */
		reply_done(&r);
		loop_sleep_ns(200 * MS);
	}
	if ((!status || status == COMPLETE_ALREADY) && !r.restarted)
		c->complete = c->w->epoch;
	reply_done(&r);
	msg_free(&k.m);
	return status == COMPLETE_ALREADY ? 0 : status;
}

static void get_session(struct client *c)
{
	uint32_t seq = 0, status;

	c->have_session = false;
	while (!c->have_session) {
		status = exchange(c, &seq);
		if (!status)
			status = create_session(c, seq);
		if (!status)
			locks_reclaim(c);
		if (!status)
			status = reclaim_complete(c);
		if (status == GONE)
			return;
		c->have_session = !status;
		if (status)
			loop_sleep_ns(200 * MS);
	}
}

uint32_t comp_once(struct client *c, const struct comp *ops, struct reply *r)
{
	struct comp k = { 0 };
	uint64_t sent_ns;
	uint32_t status;

	comp_op(&k, SEQUENCE);
	msg_bytes(&k.m, c->session, 16);
	msg_u32(&k.m, ++c->slot_seq);
	msg_u32(&k.m, 0);
	msg_u32(&k.m, 0);
	msg_u32(&k.m, !ops->dont_cache);
	k.n += ops->n;
	msg_bytes(&k.m, ops->m.data, ops->m.len);
	sent_ns = loop_now_ns();
	status = send_ops(c, &k, r);
	if (status != GONE) {
		uint32_t seq_status = comp_result(c, r, SEQUENCE);

		if (seq_status)
			world_tell(c->w, "client %u: SEQUENCE answers %u", c->id, seq_status);
		if (seq_status)
			status = seq_status == DELAY ? DELAY : BADSESSION;
		else
			xdr_get_fixed(&r->in, 36);
		if (!seq_status)
			c->renewed_ns = sent_ns;
		if (seq_status == DELAY)
			c->slot_seq--;		/* the first sending of it is still running */
	}
	msg_free(&k.m);
	return status;
}

struct said comp_run(struct client *c, struct comp *k, struct reply *r)
{
	struct said v = { 0 };

	*r = (struct reply){ 0 };
	for (;;) {
		if (!c->have_session)
			get_session(c);
		v.status = c->have_session ? comp_once(c, k, r) : GONE;
		v.restarted |= r->restarted;
		if (v.status == DELAY || v.status == GRACE) {
			v.restarted |= c->w->lean;	/* an OPEN may have made its file, and found no
							 * memory to keep it open */
			loop_sleep_ns(200 * MS);
		} else if (v.status == RETRY_UNCACHED) {
			;			/* asked anew */
		} else if (v.status == BADSESSION) {
			c->have_session = false;
			v.restarted = true;
		} else {
			break;
		}
		reply_done(r);
	}
	msg_free(&k->m);
	return v;
}

static struct said finish(struct client *c, struct reply *r, struct said v)
{
	sim_check(v.status || !r->in.bad, "client %u: a reply is too short", c->id);
	reply_done(r);
	return v;
}

static struct said simple(struct client *c, struct comp *k)
{
	struct reply r;
	struct said v = comp_run(c, k, &r);

	return finish(c, &r, v);
}

/* ---- what the others do by NFSv3 ----------------------------------------------------------- */

static struct said v4_lookup(struct client *c, const uint8_t *dir, uint32_t dir_len, const char *name,
			   uint8_t *ret_fh, uint32_t *ret_len, uint64_t *ret_size)
{
	struct comp k = { 0 };
	struct xdr_bytes fh;
	struct reply r;
	struct said v;

	comp_putfh(&k, dir, dir_len);
	comp_op(&k, LOOKUP);
	msg_string(&k.m, name);
	comp_op(&k, GETFH);
	comp_op(&k, GETATTR);
	msg_u32(&k.m, 1);
	msg_u32(&k.m, 1 << 4);
	v = comp_run(c, &k, &r);
	if (!v.status) {
		comp_result(c, &r, PUTFH);
		comp_result(c, &r, LOOKUP);
		comp_result(c, &r, GETFH);
		fh = xdr_get_opaque(&r.in, 64);
		if (fh.s)
			memcpy(ret_fh, fh.s, fh.len);
		*ret_len = fh.len;
		comp_result(c, &r, GETATTR);
		xdr_get_fixed(&r.in, 12);
		*ret_size = xdr_get_u64(&r.in);
	}
	return finish(c, &r, v);
}

static void no_attrs(struct comp *k)
{
	msg_u32(&k->m, 0);
	msg_u32(&k->m, 0);
}

static uint32_t close_file(struct client *c, const uint8_t sid[16], const uint8_t *fh, uint32_t len)
{
	struct comp k = { 0 };

	comp_putfh(&k, fh, len);
	comp_op(&k, CLOSE);
	msg_u32(&k.m, 0);
	msg_bytes(&k.m, sid, 16);
	return simple(c, &k).status;
}

static struct said v4_create(struct client *c, const char *name)
{
	struct comp k = { 0 };
	struct reply r;
	struct said v;

	comp_putfh(&k, c->dir, c->dir_len);
	comp_op(&k, OPEN);
	msg_u32(&k.m, 0);
	msg_u32(&k.m, 3);
	msg_u32(&k.m, 0);
	msg_u64(&k.m, c->clientid);
	msg_string(&k.m, "owner");
	msg_u32(&k.m, 1);
	msg_u32(&k.m, 1);			/* guarded */
	no_attrs(&k);
	msg_u32(&k.m, 0);
	msg_string(&k.m, name);
	comp_op(&k, GETFH);
	v = comp_run(c, &k, &r);
	if (!v.status) {
		uint8_t sid[16], fh[64];
		const uint8_t *p;
		uint32_t len;

		comp_result(c, &r, PUTFH);
		comp_result(c, &r, OPEN);
		p = xdr_get_fixed(&r.in, 16);
		memcpy(sid, p, 16);
		p = r.data + (r.in.end - r.data) - 4 - HANDLE_BYTES;	/* GETFH's is the last */
		len = HANDLE_BYTES;
		memcpy(fh, p + 4, len);
		if (rng_below(&c->rng, 4))
			close_file(c, sid, fh, len);
	}
	return finish(c, &r, v);
}

static struct said v4_mkdir(struct client *c, const uint8_t *dir, uint32_t dir_len, const char *name)
{
	struct comp k = { 0 };

	comp_putfh(&k, dir, dir_len);
	comp_op(&k, CREATE);
	msg_u32(&k.m, 2);
	msg_string(&k.m, name);
	no_attrs(&k);
	return simple(c, &k);
}

static struct said v4_remove(struct client *c, const char *name, bool dir)
{
	struct comp k = { 0 };

	comp_putfh(&k, c->dir, c->dir_len);
	comp_op(&k, REMOVE);
	msg_string(&k.m, name);
	return simple(c, &k);
}

static struct said v4_rename(struct client *c, const char *from, const char *to)
{
	struct comp k = { 0 };

	comp_putfh(&k, c->dir, c->dir_len);
	comp_op(&k, SAVEFH);
	comp_op(&k, RENAME);
	msg_string(&k.m, from);
	msg_string(&k.m, to);
	return simple(c, &k);
}

static struct said v4_truncate(struct client *c, const struct file *f, uint64_t size)
{
	struct comp k = { 0 };

	comp_putfh(&k, f->fh, f->fh_len);
	comp_op(&k, SETATTR);
	anonymous(&k);
	msg_u32(&k.m, 1);
	msg_u32(&k.m, 1 << 4);
	msg_u32(&k.m, 8);
	msg_u64(&k.m, size);
	return simple(c, &k);
}

static struct said v4_write(struct client *c, const struct file *f, uint64_t offset, const void *data,
			  uint32_t len, uint32_t stable, uint32_t *ret_committed,
			  uint64_t *ret_verifier)
{
	struct comp k = { 0 };
	struct reply r;
	struct said v;

	comp_putfh(&k, f->fh, f->fh_len);
	comp_op(&k, WRITE);
	anonymous(&k);
	msg_u64(&k.m, offset);
	msg_u32(&k.m, stable);
	msg_opaque(&k.m, data, len);
	v = comp_run(c, &k, &r);
	if (!v.status) {
		comp_result(c, &r, PUTFH);
		comp_result(c, &r, WRITE);
		sim_check(xdr_get_u32(&r.in) == len, "client %u: a write was short", c->id);
		*ret_committed = xdr_get_u32(&r.in);
		*ret_verifier = xdr_get_u64(&r.in);
		sim_check(*ret_committed >= stable, "client %u: a write was less stable than asked",
			  c->id);
	}
	return finish(c, &r, v);
}

static struct said v4_read(struct client *c, const struct file *f, uint64_t offset, uint32_t len, void *buf,
			 uint32_t *ret_len)
{
	struct comp k = { .dont_cache = true };
	struct xdr_bytes data;
	struct reply r;
	struct said v;

	comp_putfh(&k, f->fh, f->fh_len);
	comp_op(&k, READ);
	anonymous(&k);
	msg_u64(&k.m, offset);
	msg_u32(&k.m, len);
	v = comp_run(c, &k, &r);
	if (!v.status) {
		comp_result(c, &r, PUTFH);
		comp_result(c, &r, READ);
		xdr_get_u32(&r.in);
		data = xdr_get_opaque(&r.in, len);
		if (data.s)
			memcpy(buf, data.s, data.len);
		*ret_len = data.len;
	}
	return finish(c, &r, v);
}

static struct said v4_commit(struct client *c, const struct file *f, uint64_t *ret_verifier)
{
	struct comp k = { 0 };
	struct reply r;
	struct said v;

	comp_putfh(&k, f->fh, f->fh_len);
	comp_op(&k, COMMIT);
	msg_u64(&k.m, 0);
	msg_u32(&k.m, 0);
	v = comp_run(c, &k, &r);
	if (!v.status) {
		comp_result(c, &r, PUTFH);
		comp_result(c, &r, COMMIT);
		*ret_verifier = xdr_get_u64(&r.in);
	}
	return finish(c, &r, v);
}

static struct said list_some(struct client *c, uint64_t *cookie, uint64_t *verf, bool *eof,
			   uint32_t *ret_names)
{
	struct comp k = { .dont_cache = true };
	struct reply r;
	struct said v;

	comp_putfh(&k, c->dir, c->dir_len);
	comp_op(&k, READDIR);
	msg_u64(&k.m, *cookie);
	msg_u64(&k.m, *verf);
	msg_u32(&k.m, 700);
	msg_u32(&k.m, 700);
	msg_u32(&k.m, 0);
	v = comp_run(c, &k, &r);
	if (!v.status) {
		comp_result(c, &r, PUTFH);
		comp_result(c, &r, READDIR);
		*verf = xdr_get_u64(&r.in);
		while (xdr_get_bool(&r.in)) {
			*cookie = xdr_get_u64(&r.in);
			xdr_get_opaque(&r.in, 255);
			for (uint32_t n = xdr_get_u32(&r.in); n && !r.in.bad; n--)
				xdr_get_u32(&r.in);
			xdr_get_opaque(&r.in, 4096);
			++*ret_names;
		}
		*eof = xdr_get_bool(&r.in);
	}
	return finish(c, &r, v);
}

static struct said v4_list(struct client *c, uint32_t *ret_names)
{
	uint64_t cookie = 0, verf = 0;
	bool eof = false;
	struct said v = { 0 };

	*ret_names = 2;				/* NFSv4 has no dots */
	while (!eof && !v.status)
		v = list_some(c, &cookie, &verf, &eof, ret_names);
	return v;
}

/* GOLDEN's whole content becomes that of F, which exists. */
struct said v4_clone(struct client *c, const struct file *golden, const struct file *f)
{
	struct comp k = { 0 };

	comp_putfh(&k, golden->fh, golden->fh_len);
	comp_op(&k, SAVEFH);
	comp_putfh(&k, f->fh, f->fh_len);
	comp_op(&k, CLONE);
	anonymous(&k);
	anonymous(&k);
	msg_u64(&k.m, 0);
	msg_u64(&k.m, 0);
	msg_u64(&k.m, 0);
	return simple(c, &k);
}

const struct protocol nfs4 = { v4_lookup, v4_create, v4_mkdir, v4_remove, v4_rename, v4_truncate,
			       v4_write, v4_read, v4_commit, v4_list };
