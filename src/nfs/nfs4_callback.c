/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways to clients, and the fiber that sends callbacks; see nfs4_callback.h.
 *
 * Slot 0 of a back channel:  seq     the last request's number
 *                            unsure  no answer to it came: was it seen?
 *
 * The request that had no answer is sent again as it was.  When it has been given up, the next
 * one takes the next number: a client that did see the last one takes it; another one says
 * SEQ_MISORDERED, and then the number of the last one is still to be had.
 */
#include <assert.h>
#include <stdlib.h>
#include "base/loop.h"
#include "nfs/nfs4_state.h"

#define CB_VERSION 1			/* of 4.0, 4.1 and 4.2 */
#define MS 1000000ull
#define CALL_MS_MIN 1000
#define CALL_MS_MAX 10000
#define PAUSE_FIRST_MS 100
#define PAUSE_MAX_MS 2000
#define HEAD_BYTES 160			/* RPC's, at most */
#define ANSWER_BYTES 1024

enum { CB_NULL = 0, CB_COMPOUND = 1 };
enum { PATH_DOWN = 1, PATH_DOWN_SESSION = 0x200, BACKCHANNEL_FAULT = 0x400 };	/* SEQ4_STATUS_* */

struct way {
	struct nfs4_session *session;	/* NULL: 4.0 */
	struct rpc_peer *peer;
	uint32_t prog;
	struct rpc_cred cred;
};

/* A callback on its way. */
struct sending {
	struct nfs4_state *st;
	struct nfs4_client *client;
	struct nfs4_cb *cb;			/* may be gone, when it is not cbs.now */
	const struct nfs4_cb_kind *kind;
	uint8_t session[NFS4_SESSION_ID];	/* tried there in vain, with this number */
	uint32_t seq;
	uint32_t args_len;
	uint8_t args[NFS4_CB_BYTES_MAX];
	uint8_t answer[ANSWER_BYTES];
	struct xdr_in in;
	uint32_t status;
};

static void sender_start(struct nfs4_state *st, struct nfs4_client *c);

void nfs4_cbs_init(struct nfs4_cbs *q, struct nfs4_state *st)
{
	q->st = st;
	list_init(&q->queue);
	waitq_init(&q->changed);
}

/* ---- back channels ------------------------------------------------------------------- */

void nfs4_back_limit(struct nfs4_channel *back)
{
	back->header_pad = 0;
	back->max_cached = 0;
	back->max_slots = 1;
	if (back->max_request > HEAD_BYTES + NFS4_CB_BYTES_MAX)
		back->max_request = HEAD_BYTES + NFS4_CB_BYTES_MAX;
	if (back->max_response > HEAD_BYTES + ANSWER_BYTES)
		back->max_response = HEAD_BYTES + ANSWER_BYTES;
}

void nfs4_back_set(struct nfs4_session *s, uint32_t prog, const struct nfs4_cb_sec *sec)
{
	struct nfs4_back *b = &s->back;

	if (b->prog != prog)
		b->up = false;
	b->prog = prog;
	b->allowed = sec->allowed;
	b->cred = sec->cred;
	if (b->nconns)
		sender_start(s->client->cbs.st, s->client);
}

static void unbind(struct nfs4_back *b, unsigned i)
{
	rpc_peer_put(b->conns[i]);
	b->nconns--;
	memmove(b->conns + i, b->conns + i + 1, (b->nconns - i) * sizeof(b->conns[0]));
	if (!i)
		b->up = false;
}

static void unbind_peer(struct nfs4_back *b, const struct rpc_peer *p)
{
	for (unsigned i = 0; i < b->nconns; i++)
		if (b->conns[i] == p) {
			unbind(b, i);
			return;
		}
}

/* Whether there is a connection, those aside that have ended. */
static bool connected(struct nfs4_back *b)
{
	while (b->nconns && !rpc_peer_alive(b->conns[0]))
		unbind(b, 0);
	return b->nconns && b->allowed && !b->fault;
}

bool nfs4_back_bind(struct nfs4_state *st, struct nfs4_session *s, struct rpc_call *call)
{
	struct nfs4_back *b = &s->back;
	struct rpc_peer *p;

	if (!b->allowed || b->fault)
		return false;
	p = rpc_call_peer(call);
	if (!p)
		return false;
	for (unsigned i = b->nconns; i > 0; i--)
		if (b->conns[i - 1] == p || !rpc_peer_alive(b->conns[i - 1]))
			unbind(b, i - 1);
	if (b->nconns == NFS4_BACK_CONNS_MAX)
		unbind(b, 0);
	b->conns[b->nconns++] = p;
	b->had = true;
	sender_start(st, s->client);
	return true;
}

void nfs4_back_done(struct nfs4_back *b)
{
	while (b->nconns)
		unbind(b, b->nconns - 1);
}

/* Some session of C can be called back on. */
static bool any_connected(const struct nfs4_client *c)
{
	struct list *e;

	list_each(e, &c->sessions)
		if (connected(&container_of(e, struct nfs4_session, entry)->back))
			return true;
	return false;
}

uint32_t nfs4_back_flags(struct nfs4_session *s)
{
	uint32_t flags = s->back.fault ? BACKCHANNEL_FAULT : 0;

	if (connected(&s->back)) {
		if (!s->back.up)		/* the one before it has ended */
			sender_start(s->client->cbs.st, s->client);
		return flags;
	}
	if (!s->back.had)
		return flags;
	return flags | PATH_DOWN_SESSION | (any_connected(s->client) ? 0 : PATH_DOWN);
}

/* ---- 4.0's address ------------------------------------------------------------------- */

void nfs4_cb_address(struct nfs4_state *st, struct nfs4_client *c, const struct rpc_addr *addr,
		     uint32_t prog, uint32_t ident)
{
	struct nfs4_cb_path *path = &c->cbs.path;

	rpc_peer_put(path->peer);
	*path = (struct nfs4_cb_path){ .prog = prog, .ident = ident };
	if (addr && rpc_peer_dial(st->server->rpc, addr, &path->peer))
		path->peer = NULL;
	if (path->peer)
		sender_start(st, c);
}

bool nfs4_cb_path_down(const struct nfs4_client *c)
{
	return c->cbs.path.down;
}

bool nfs4_cb_may_work(const struct nfs4_client *c)
{
	return c->cbs.path.peer ? !c->cbs.path.down : any_connected(c);
}

bool nfs4_cb_works(const struct nfs4_client *c)
{
	struct list *e;

	if (c->cbs.path.peer)
		return c->cbs.path.up;
	list_each(e, &c->sessions) {
		struct nfs4_back *b = &container_of(e, struct nfs4_session, entry)->back;

		if (connected(b) && b->up)
			return true;
	}
	return false;
}

/* ---- one call ------------------------------------------------------------------------ */

static bool over(const struct nfs4_state *st, const struct nfs4_client *c)
{
	return c->dead || st->stopping;
}

static unsigned call_ms(const struct nfs4_state *st)
{
	uint64_t ms = st->lease_ns / 10 / MS;

	return ms < CALL_MS_MIN ? CALL_MS_MIN : ms > CALL_MS_MAX ? CALL_MS_MAX : ms;
}

static struct way way_of(struct nfs4_client *c, struct nfs4_session *s)
{
	struct way w = { .session = s };

	if (s) {
		w.peer = rpc_peer_get(s->back.conns[0]);
		w.prog = s->back.prog;
		w.cred = s->back.cred;
		s->calls++;
	} else {
		w.peer = rpc_peer_get(c->cbs.path.peer);
		w.prog = c->cbs.path.prog;
		w.cred.flavor = RPC_AUTH_SYS;
	}
	return w;
}

static void way_done(struct nfs4_state *st, struct way *w)
{
	rpc_peer_put(w->peer);
	if (w->session)
		nfs4_session_called(st, w->session);
}

/* The call was not made, for a reason that says nothing of the way. */
static bool not_made(int err)
{
	return err == -EBUSY || err == -ENOMEM || err == -ESHUTDOWN;
}

/* What a call's failure says of the way. */
static void way_failed(struct nfs4_client *c, const struct way *w, int err)
{
	if (not_made(err))
		return;
	if (w->session) {
		unbind_peer(&w->session->back, w->peer);
	} else if (c->cbs.path.peer == w->peer) {
		c->cbs.path.up = false;
		c->cbs.path.down = true;
	}
}

static int call(struct nfs4_state *st, struct nfs4_client *c, const struct way *w, uint32_t proc,
		const struct xdr_out *args, uint8_t answer[ANSWER_BYTES], size_t *ret_len)
{
	const struct rpc_request q = {
		.prog = w->prog, .vers = CB_VERSION, .proc = proc, .cred = &w->cred,
		.args = args ? args->seg : NULL, .args_len = args ? xdr_out_len(args) : 0,
		.timeout_ms = call_ms(st),
	};
	int err = rpc_peer_call(w->peer, &q, answer, ANSWER_BYTES, ret_len);

	if (err)
		way_failed(c, w, err);
	return err;
}

/* ---- is a way one? ------------------------------------------------------------------- */

/* False: not now; that is known at once, so whoever tries again waits first. */
static bool probe(struct nfs4_state *st, struct nfs4_client *c, struct nfs4_session *s)
{
	struct way w = way_of(c, s);
	uint8_t answer[ANSWER_BYTES];
	size_t len;
	int err = call(st, c, &w, CB_NULL, NULL, answer, &len);

	if (!err && s && s->back.nconns && s->back.conns[0] == w.peer && s->back.prog == w.prog)
		s->back.up = true;
	if (!err && !s && c->cbs.path.peer == w.peer)
		c->cbs.path.up = true;
	way_done(st, &w);
	c->cbs.untried = not_made(err);
	return !not_made(err);
}

/* Tries one that was not tried yet; false: there is none, or it has to wait (untried). */
static bool probe_next(struct nfs4_state *st, struct nfs4_client *c)
{
	const struct nfs4_cb_path *path = &c->cbs.path;
	struct list *e;

	c->cbs.untried = false;
	if (over(st, c))
		return false;
	if (path->peer && !path->up && !path->down)
		return probe(st, c, NULL);
	list_each(e, &c->sessions) {
		struct nfs4_session *s = container_of(e, struct nfs4_session, entry);

		if (connected(&s->back) && !s->back.up)
			return probe(st, c, s);
	}
	return false;
}

/* ---- one callback, one attempt ------------------------------------------------------- */

static void put_session_call(struct xdr_out *out, const struct sending *q,
			     const struct nfs4_session *s, uint32_t seq)
{
	xdr_put_u32(out, 0);			/* tag */
	xdr_put_u32(out, s->minor);
	xdr_put_u32(out, 0);			/* 4.0's ident */
	xdr_put_u32(out, 2);
	xdr_put_u32(out, NFS4_CB_SEQUENCE);
	xdr_put_fixed(out, s->id, NFS4_SESSION_ID);
	xdr_put_u32(out, seq);
	xdr_put_u32(out, 0);			/* slot, and the highest */
	xdr_put_u32(out, 0);
	xdr_put_bool(out, false);		/* needn't be kept */
	xdr_put_u32(out, 0);			/* no referring calls */
	xdr_put_u32(out, q->kind->num);
	xdr_put_fixed(out, q->args, q->args_len);
}

static void put_v40_call(struct xdr_out *out, const struct sending *q, uint32_t ident)
{
	xdr_put_u32(out, 0);
	xdr_put_u32(out, 0);
	xdr_put_u32(out, ident);
	xdr_put_u32(out, 1);
	xdr_put_u32(out, q->kind->num);
	xdr_put_fixed(out, q->args, q->args_len);
}

/* The operation's own result; Q->status and Q->in.  NUM is its number. */
static int take_result(struct sending *q, uint32_t num)
{
	if (xdr_get_u32(&q->in) != num)
		return -EBADMSG;
	q->status = xdr_get_u32(&q->in);
	if (q->status == NFS4ERR_RETRY_UNCACHED_REP)	/* the first try got there */
		q->status = NFS4_OK;
	return q->in.bad ? -EBADMSG : 0;
}

/* CB_SEQUENCE was refused. */
static int sequence_refused(struct sending *q, struct nfs4_back *b, uint32_t seq, uint32_t status)
{
	q->status = status;
	switch (status) {
	case NFS4ERR_DELAY:
		return 0;
	case NFS4ERR_RETRY_UNCACHED_REP:
		b->seq = seq;
		b->unsure = false;
		q->status = NFS4_OK;
		q->in.p = q->in.end;
		return 0;
	case NFS4ERR_SEQ_MISORDERED:
		if (b->unsure && seq == b->seq + 1) {
			b->seq--;
			b->unsure = false;
			return -EAGAIN;
		}
		break;
	}
	b->fault = true;
	return -EAGAIN;				/* in another session, if there is one */
}

static int take_session_answer(struct sending *q, struct nfs4_session *s, uint32_t seq)
{
	const uint8_t *id;
	uint32_t n, status;

	q->status = xdr_get_u32(&q->in);
	xdr_get_opaque(&q->in, NFS4_OPAQUE_MAX);
	n = xdr_get_u32(&q->in);
	if (q->in.bad)
		return -EBADMSG;
	if (!n)
		return q->status ? 0 : -EBADMSG;
	if (xdr_get_u32(&q->in) != NFS4_CB_SEQUENCE)
		return -EBADMSG;
	status = xdr_get_u32(&q->in);
	if (status)
		return q->in.bad ? -EBADMSG : sequence_refused(q, &s->back, seq, status);
	id = xdr_get_fixed(&q->in, NFS4_SESSION_ID);
	if (!id || memcmp(id, s->id, NFS4_SESSION_ID) || xdr_get_u32(&q->in) != seq ||
	    xdr_get_u32(&q->in) != 0)
		return -EBADMSG;
	xdr_get_u64(&q->in);
	s->back.seq = seq;
	s->back.unsure = false;
	return take_result(q, q->kind->num);
}

/* The number for this attempt: that of the last one, if it is the same request again. */
static uint32_t number(const struct sending *q, const struct nfs4_session *s)
{
	const struct nfs4_back *b = &s->back;
	bool again = b->unsure && q->seq == b->seq && !memcmp(q->session, s->id, NFS4_SESSION_ID);

	return again ? b->seq : b->seq + 1;
}

static int try_session(struct sending *q, struct nfs4_session *s)
{
	uint8_t buf[NFS4_CB_BYTES_MAX + 128];
	struct way w = way_of(q->client, s);
	uint32_t seq = number(q, s);
	struct xdr_out out;
	size_t len;
	int err;

	xdr_out_init(&out, buf, sizeof(buf));
	put_session_call(&out, q, s, seq);
	err = xdr_out_len(&out) + HEAD_BYTES > s->back.attrs.max_request ? -EMSGSIZE :
	      call(q->st, q->client, &w, CB_COMPOUND, &out, q->answer, &len);
	if (!err) {
		xdr_in_init(&q->in, q->answer, len);
		err = take_session_answer(q, s, seq);
		if (err == -EBADMSG)
			way_failed(q->client, &w, err);
	}
	if (err == -ETIMEDOUT || err == -ECONNRESET || err == -EBADMSG) {
		memcpy(q->session, s->id, NFS4_SESSION_ID);
		q->seq = s->back.seq = seq;
		s->back.unsure = true;
	}
	way_done(q->st, &w);
	return err;
}

static int try_v40(struct sending *q)
{
	uint8_t buf[NFS4_CB_BYTES_MAX + 64];
	struct nfs4_cb_path *path = &q->client->cbs.path;
	struct way w = way_of(q->client, NULL);
	struct xdr_out out;
	size_t len;
	int err;

	xdr_out_init(&out, buf, sizeof(buf));
	put_v40_call(&out, q, path->ident);
	err = call(q->st, q->client, &w, CB_COMPOUND, &out, q->answer, &len);
	if (!err && path->peer == w.peer) {
		path->up = true;
		path->down = false;
	}
	way_done(q->st, &w);
	if (err)
		return err;
	xdr_in_init(&q->in, q->answer, len);
	q->status = xdr_get_u32(&q->in);
	xdr_get_opaque(&q->in, NFS4_OPAQUE_MAX);
	if (!xdr_get_u32(&q->in))
		return q->status && !q->in.bad ? 0 : -EBADMSG;
	return take_result(q, q->kind->num);
}

static int try(struct sending *q)
{
	struct list *e;

	if (q->client->cbs.path.peer)
		return q->kind->minor ? -EOPNOTSUPP : try_v40(q);
	list_each(e, &q->client->sessions) {
		struct nfs4_session *s = container_of(e, struct nfs4_session, entry);

		if (connected(&s->back) && s->back.up && s->minor >= q->kind->minor)
			return try_session(q, s);
	}
	return -ENOTCONN;
}

/* ---- one callback -------------------------------------------------------------------- */

static bool for_now(const struct sending *q, int err)
{
	if (err)
		return err != -EOPNOTSUPP && err != -EMSGSIZE;
	return q->status == NFS4ERR_DELAY ||
	       (q->kind->for_now && q->kind->for_now(q->status));
}

/* Until it may be worth another try. */
static void pause_for(struct sending *q, int err, uint64_t *pause_ns)
{
	struct nfs4_cbs *cbs = &q->client->cbs;
	uint64_t now = loop_now_ns(), ns = *pause_ns;

	if (err == -EAGAIN)
		return;
	if ((err == -ENOTCONN && !cbs->untried) || now + ns > q->cb->until_ns)
		ns = q->cb->until_ns - now;
	waitq_wait_timeout(&cbs->changed, ns);
	*pause_ns = *pause_ns * 2 > PAUSE_MAX_MS * MS ? PAUSE_MAX_MS * MS : *pause_ns * 2;
}

static void begin_sending(struct sending *q, struct nfs4_state *st, struct nfs4_client *c)
{
	struct xdr_out out;

	q->st = st;
	q->client = c;
	q->cb = container_of(list_pop(&c->cbs.queue), struct nfs4_cb, entry);
	q->kind = q->cb->kind;
	q->seq = 0;
	memset(q->session, 0, sizeof(q->session));
	c->cbs.queued--;
	c->cbs.now = q->cb;
	xdr_out_init(&out, q->args, sizeof(q->args));
	q->kind->encode(st, q->cb, &out);
	assert(!out.full);
	q->args_len = xdr_out_len(&out);
}

/* Takes the first of the queue and is done with it. */
static void send_first(struct nfs4_state *st, struct nfs4_client *c)
{
	uint64_t pause_ns = PAUSE_FIRST_MS * MS;
	struct sending q;
	int err;

	begin_sending(&q, st, c);
	for (;;) {
		err = try(&q);
		if (c->cbs.now != q.cb)
			return;				/* it was cancelled */
		if (!for_now(&q, err) || loop_now_ns() >= q.cb->until_ns || over(st, c))
			break;
		pause_for(&q, err, &pause_ns);
		while (c->cbs.now == q.cb && probe_next(st, c))
			;
		if (c->cbs.now != q.cb)
			return;
	}
	c->cbs.now = NULL;
	q.cb->client = NULL;
	q.kind->done(st, q.cb, err, q.status, &q.in);
}

static void sender(void *arg)
{
	struct nfs4_client *c = arg;
	struct nfs4_state *st = c->cbs.st;

	while (!over(st, c)) {
		if (probe_next(st, c))
			continue;
		if (!list_empty(&c->cbs.queue))
			send_first(st, c);
		else if (c->cbs.untried)
			waitq_wait_timeout(&c->cbs.changed, PAUSE_FIRST_MS * MS);
		else
			break;
	}
	c->cbs.running = false;
	st->nsenders--;
	waitq_wake_all(&st->senders_gone);
	nfs4_client_idle(c);
}

/* There is something to do for C. */
static void sender_start(struct nfs4_state *st, struct nfs4_client *c)
{
	waitq_wake_all(&c->cbs.changed);
	if (c->cbs.running || over(st, c))
		return;
	if (fiber_spawn(sender, c, "callback"))
		return;				/* no memory: the next one tries again */
	c->cbs.running = true;
	st->nsenders++;
}

/* ---- the queue ----------------------------------------------------------------------- */

void nfs4_cb_send(struct nfs4_state *st, struct nfs4_client *c, struct nfs4_cb *cb,
		  const struct nfs4_cb_kind *kind, uint64_t timeout_ns, bool urgent)
{
	assert(!cb->client);
	cb->client = c;
	cb->kind = kind;
	cb->until_ns = loop_now_ns() + timeout_ns;
	if (urgent)
		list_add_head(&c->cbs.queue, &cb->entry);
	else
		list_add_tail(&c->cbs.queue, &cb->entry);
	c->cbs.queued++;
	sender_start(st, c);
}

void nfs4_cb_cancel(struct nfs4_cb *cb)
{
	struct nfs4_client *c = cb->client;

	if (!c)
		return;
	cb->client = NULL;
	if (c->cbs.now == cb) {
		c->cbs.now = NULL;
		waitq_wake_all(&c->cbs.changed);
	} else {
		list_del(&cb->entry);
		c->cbs.queued--;
	}
}

void nfs4_cbs_drop(struct nfs4_state *st, struct nfs4_client *c)
{
	struct nfs4_cbs *q = &c->cbs;

	while (q->now || !list_empty(&q->queue)) {
		struct nfs4_cb *cb = q->now ? q->now :
				     container_of(q->queue.next, struct nfs4_cb, entry);
		struct xdr_in none = { 0 };

		nfs4_cb_cancel(cb);
		cb->kind->done(st, cb, -ECONNRESET, 0, &none);
	}
	rpc_peer_put(q->path.peer);
	q->path = (struct nfs4_cb_path){ 0 };
	waitq_wake_all(&q->changed);
}

void nfs4_callbacks_stop(struct nfs4_state *st)
{
	struct list *e;

	list_each(e, &st->by_renewal)
		waitq_wake_all(&container_of(e, struct nfs4_client, entry)->cbs.changed);
	while (st->nsenders)
		waitq_wait(&st->senders_gone);
}
