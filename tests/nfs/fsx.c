/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random operations on one file over NFSv3, by libnfs, against a copy in memory; and the server
 * is killed in the middle of them.
 *
 *   fsx EXPORT NAME SEED STEPS KILLS
 *
 * Who starts it serves the daemon: one line "PID PORT" on standard input at the beginning, and
 * another after each line "killed" on standard output.  With "-" for KILLS others do the killing, at
 * any time but between such a line "PID PORT" and the line "ready" that answers it.
 *
 * The rule: what a client was told to be stable is there after a kill, and with it some of what
 * came after, in order: the file is what it was at the last stable answer plus the first K of
 * the operations since, for some K.  Handles outlive the server, and no two lives of it give the
 * same write verifier.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw.h>
#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>

#include "filemodel.h"

#define FILE_MAX (3u << 20)
#define OPS_MAX 4096		/* since the last stable answer */
#define LIVES_MAX 1024

static struct {
	struct rpc_context *rpc;
	int pid, port;
	bool dead;			/* the connection broke: a kill */
	char fh[NFS3_FHSIZE], root[NFS3_FHSIZE];
	uint32_t fh_len, root_len;
	struct filemodel now, base;	/* the copy; as it was at the last stable answer */
	struct fileop ops[OPS_MAX];
	unsigned nops, kills;
	char verf[LIVES_MAX][NFS3_WRITEVERFSIZE];
	bool verf_known;
	unsigned life;
	struct dice dice;
	unsigned step;
	bool others;			/* kill the server */
	uint64_t verified;		/* bytes */
} x;
static volatile sig_atomic_t victim;

static void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "step %u, life %u: ", x.step, x.life);
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	exit(1);
}

static uint32_t below(uint32_t n)
{
	return dice_below(&x.dice, n);
}

/* ---- the copy ---------------------------------------------------------------------------- */

static void remember(const struct fileop *o)
{
	if (x.nops == OPS_MAX)
		die("too many operations without a commit");
	x.ops[x.nops++] = *o;
	filemodel_apply(&x.now, o);
}

static void is_stable(void)
{
	memcpy(x.base.data, x.now.data, FILE_MAX);
	x.base.size = x.now.size;
	x.nops = 0;
}

/* ---- calls ------------------------------------------------------------------------------- */

struct answer {
	bool done, broken;
	int status;
	void *arg;
	void (*take)(struct answer *a, void *res);
};

static void on_answer(struct rpc_context *rpc, int status, void *data, void *private_data)
{
	struct answer *a = private_data;

	a->done = true;
	a->broken = status != RPC_STATUS_SUCCESS;
	if (!a->broken && a->take)
		a->take(a, data);
}

/* False: the server is gone. */
static bool wait_for(struct answer *a)
{
	while (!a->done) {
		struct pollfd p = { .fd = rpc_get_fd(x.rpc), .events = rpc_which_events(x.rpc) };
		int n = poll(&p, 1, 1000);

		if (n < 0 && errno != EINTR)
			die("poll: %s", strerror(errno));
		if (n > 0 && rpc_service(x.rpc, p.revents) < 0)
			break;
		if (n == 0 && victim == 0)
			break;			/* killed before it could answer */
	}
	x.dead = !a->done || a->broken;
	if (x.dead && victim > 0 && !x.others)
		die("the connection broke, and nobody killed the server: %s", rpc_get_error(x.rpc));
	if (x.dead) {			/* while A is there to be told so */
		rpc_destroy_context(x.rpc);
		x.rpc = NULL;
	}
	return !x.dead;
}

static void connect_to(int program, int version)
{
	struct answer a = { 0 };

	if (x.rpc)
		rpc_destroy_context(x.rpc);
	x.rpc = rpc_init_context();
	if (!x.rpc || rpc_connect_port_async(x.rpc, "127.0.0.1", x.port, program, version,
					     on_answer, &a))
		die("cannot connect");
	if (!wait_for(&a))
		die("cannot connect to port %d", x.port);
}

static void take_mount(struct answer *a, void *res)
{
	mountres3 *m = res;

	a->status = m->fhs_status;
	if (a->status)
		return;
	x.root_len = m->mountres3_u.mountinfo.fhandle.fhandle3_len;
	memcpy(x.root, m->mountres3_u.mountinfo.fhandle.fhandle3_val, x.root_len);
}

static void mount_root(char *path)
{
	struct answer a = { .take = take_mount };

	connect_to(MOUNT_PROGRAM, 3);
	if (rpc_mount3_mnt_async(x.rpc, on_answer, path, &a) || !wait_for(&a) || a.status)
		die("cannot mount %s: %d", path, a.status);
}

static void take_create(struct answer *a, void *res)
{
	CREATE3res *c = res;

	a->status = c->status;
	if (a->status)
		return;
	x.fh_len = c->CREATE3res_u.resok.obj.post_op_fh3_u.handle.data.data_len;
	memcpy(x.fh, c->CREATE3res_u.resok.obj.post_op_fh3_u.handle.data.data_val, x.fh_len);
}

static void create_file(char *name)
{
	struct answer a = { .take = take_create };
	CREATE3args args = { .where = { .dir = { .data = { x.root_len, x.root } }, .name = name } };

	args.how.mode = GUARDED;
	if (rpc_nfs3_create_async(x.rpc, on_answer, &args, &a) || !wait_for(&a) || a.status)
		die("cannot create %s: %d", name, a.status);
}

static void check_verf(const char *verf)
{
	if (!x.verf_known)
		memcpy(x.verf[x.life], verf, NFS3_WRITEVERFSIZE);
	x.verf_known = true;
	if (memcmp(x.verf[x.life], verf, NFS3_WRITEVERFSIZE))
		die("the write verifier changed within a life");
	for (unsigned i = 0; i < x.life; i++)
		if (!memcmp(x.verf[i], verf, NFS3_WRITEVERFSIZE))
			die("the write verifier is that of life %u", i);
}

static void take_write(struct answer *a, void *res)
{
	WRITE3res *w = res;
	const struct fileop *o = a->arg;

	a->status = w->status;
	if (a->status)
		return;
	check_verf(w->WRITE3res_u.resok.verf);
	if (w->WRITE3res_u.resok.count != o->len)
		die("%u of %u bytes written", w->WRITE3res_u.resok.count, o->len);
	a->status = -(int)w->WRITE3res_u.resok.committed;
}

static void do_write(void)
{
	static uint8_t buf[1 << 20];
	struct fileop o = fileop_random_write(&x.dice, FILE_MAX, sizeof(buf));
	struct answer a = { .take = take_write, .arg = &o };
	enum stable_how how = below(4) ? UNSTABLE : FILE_SYNC;
	WRITE3args args = { .file = { .data = { x.fh_len, x.fh } } };

	fileop_fill(buf, &o);
	args.offset = o.off;
	args.count = o.len;
	args.stable = how;
	args.data.data_len = o.len;
	args.data.data_val = (char *)buf;
	remember(&o);
	if (rpc_nfs3_write_async(x.rpc, on_answer, &args, &a))
		die("cannot send");
	if (!wait_for(&a))
		return;
	if (a.status > 0)
		die("WRITE: status %d", a.status);
	if (-a.status < (int)how)
		die("written less stable than was asked for");
	if (-a.status != UNSTABLE)
		is_stable();
}

static void take_status(struct answer *a, void *res)
{
	a->status = *(nfsstat3 *)res;	/* every result begins with it */
}

static void do_resize(void)
{
	struct fileop o = fileop_random_resize(&x.dice, &x.now);
	struct answer a = { .take = take_status };
	SETATTR3args args = { .object = { .data = { x.fh_len, x.fh } } };

	args.new_attributes.size.set_it = 1;
	args.new_attributes.size.set_size3_u.size = o.len;
	remember(&o);
	if (rpc_nfs3_setattr_async(x.rpc, on_answer, &args, &a))
		die("cannot send");
	if (!wait_for(&a))
		return;
	if (a.status)
		die("SETATTR: status %d", a.status);
	is_stable();
}

static void take_commit(struct answer *a, void *res)
{
	COMMIT3res *c = res;

	a->status = c->status;
	if (!a->status)
		check_verf(c->COMMIT3res_u.resok.verf);
}

static void do_commit(void)
{
	struct answer a = { .take = take_commit };
	COMMIT3args args = { .file = { .data = { x.fh_len, x.fh } } };

	if (rpc_nfs3_commit_async(x.rpc, on_answer, &args, &a))
		die("cannot send");
	if (!wait_for(&a))
		return;
	if (a.status)
		die("COMMIT: status %d", a.status);
	is_stable();
}

/* ---- looking ----------------------------------------------------------------------------- */

struct piece { uint32_t off, len; uint8_t *to; uint32_t got; bool eof; };

static void take_read(struct answer *a, void *res)
{
	READ3res *r = res;
	struct piece *p = a->arg;

	a->status = r->status;
	if (a->status)
		return;
	p->got = r->READ3res_u.resok.data.data_len;
	p->eof = r->READ3res_u.resok.eof;
	if (p->got > p->len || p->got != r->READ3res_u.resok.count)
		die("READ of %u answered %u", p->len, p->got);
	memcpy(p->to, r->READ3res_u.resok.data.data_val, p->got);
}

static bool read_piece(struct piece *p)
{
	struct answer a = { .take = take_read, .arg = p };
	READ3args args = { .file = { .data = { x.fh_len, x.fh } }, .offset = p->off,
			   .count = p->len };

	if (rpc_nfs3_read_async(x.rpc, on_answer, &args, &a))
		die("cannot send");
	if (!wait_for(&a))
		return false;
	if (a.status)
		die("READ: status %d", a.status);
	return true;
}

static void do_read(void)
{
	static uint8_t buf[1 << 20];
	uint32_t most = below(2) ? 10000 : 1 << 20;
	struct piece p = { .off = below(FILE_MAX), .len = 1 + below(most), .to = buf };
	uint32_t left = p.off < x.now.size ? x.now.size - p.off : 0;
	uint32_t want = p.len < left ? p.len : left;
	int64_t bad;

	if (!read_piece(&p))
		return;
	if (p.got != want || p.eof != (p.len >= left))
		die("READ of %u at %u of %u bytes: %u came, eof %d", p.len, p.off, x.now.size,
		    p.got, p.eof);
	bad = filemodel_differs(&x.now, p.off, buf, want);
	if (bad >= 0)
		die("byte %lld of %u is %02x, not %02x", (long long)bad, x.now.size,
		    buf[bad - p.off], x.now.data[bad]);
	x.verified += want;
}

static void take_attr(struct answer *a, void *res)
{
	GETATTR3res *g = res;
	uint64_t *size = a->arg;

	a->status = g->status;
	if (!a->status) {
		size[0] = g->GETATTR3res_u.resok.obj_attributes.size;
		size[1] = g->GETATTR3res_u.resok.obj_attributes.used;
	}
}

static bool get_size(uint64_t size[2])
{
	struct answer a = { .take = take_attr, .arg = size };
	GETATTR3args args = { .object = { .data = { x.fh_len, x.fh } } };

	if (rpc_nfs3_getattr_async(x.rpc, on_answer, &args, &a))
		die("cannot send");
	if (!wait_for(&a))
		return false;
	if (a.status)
		die("GETATTR: status %d", a.status);
	return true;
}

static void do_getattr(void)
{
	uint64_t size[2];
	unsigned blocks = filemodel_blocks(&x.now);

	if (!get_size(size))
		return;
	if (size[0] != x.now.size)
		die("the size is %llu, not %u", (unsigned long long)size[0], x.now.size);
	if (size[1] < (uint64_t)blocks * FILEMODEL_BLOCK)
		die("%llu bytes are used for %u blocks", (unsigned long long)size[1], blocks);
}

/* ---- after a kill ------------------------------------------------------------------------ */

static bool read_all(uint8_t *to, uint64_t *size)
{
	uint64_t attr[2];

	if (!get_size(attr))
		return false;
	if (attr[0] > FILE_MAX)
		die("a size of %llu", (unsigned long long)attr[0]);
	memset(to, 0, FILE_MAX);
	for (uint32_t at = 0; at < attr[0]; ) {
		struct piece p = { .off = at, .len = 1 << 20, .to = to + at };

		if (p.len > attr[0] - at)
			p.len = attr[0] - at;
		if (!read_piece(&p))
			return false;
		if (!p.got)
			die("cannot read all of the file");
		at += p.got;
	}
	*size = attr[0];
	x.verified += attr[0];
	return true;
}

/* Which of the states that may be, is?  False: the server is gone. */
static bool find_state(void)
{
	static uint8_t got[FILE_MAX];
	uint64_t size;
	unsigned k = 0;

	if (!read_all(got, &size))
		return false;
	for (;; k++) {
		if (size == x.base.size && !memcmp(got, x.base.data, FILE_MAX))
			break;
		if (k == x.nops)
			die("the file is no state that it was in since the last stable answer "
			    "(%u operations since)", x.nops);
		filemodel_apply(&x.base, &x.ops[k]);
	}
	fprintf(stderr, "life %u: %u of %u operations are there\n", x.life, k, x.nops);
	memcpy(x.now.data, x.base.data, FILE_MAX);
	x.now.size = x.base.size;
	x.nops = 0;
	return true;
}

static void on_alarm(int sig)
{
	kill(victim, SIGKILL);
	victim = 0;
}

static void next_life(void)
{
	char line[100];
	struct itimerval t = { 0 };

	if (!fgets(line, sizeof(line), stdin) ||
	    sscanf(line, "%d %d", &x.pid, &x.port) != 2 || x.pid <= 1)
		die("no PID and PORT on standard input");
	victim = x.pid;
	if (x.kills) {
		x.kills--;
		t.it_value.tv_usec = 20000 + below(400000);
		setitimer(ITIMER_REAL, &t, NULL);
	}
}

static void ready(void)
{
	if (!x.others)
		return;
	printf("ready\n");
	fflush(stdout);
}

static void go_on(void)
{
	sigset_t set;

	printf("killed\n");
	fflush(stdout);
	if (++x.life == LIVES_MAX)
		die("too many lives");
	x.verf_known = false;
	next_life();
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_BLOCK, &set, NULL);	/* no kill while the state is found out */
	connect_to(NFS_PROGRAM, 3);
	if (!find_state())
		die("the server is gone again");
	ready();
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int main(int argc, char **argv)
{
	static void (*const does[])(void) = { do_write, do_write, do_write, do_write, do_write,
					      do_read, do_read, do_read, do_getattr, do_resize,
					      do_commit };
	unsigned steps;

	if (argc != 6) {
		fprintf(stderr, "usage: fsx EXPORT NAME SEED STEPS KILLS\n");
		return 2;
	}
	signal(SIGALRM, on_alarm);
	signal(SIGPIPE, SIG_IGN);
	x.dice.state = strtoull(argv[3], NULL, 0);
	steps = strtoul(argv[4], NULL, 0);
	x.others = !strcmp(argv[5], "-");
	if (!filemodel_init(&x.now, FILE_MAX) || !filemodel_init(&x.base, FILE_MAX))
		die("no memory");
	next_life();
	mount_root(argv[1]);
	connect_to(NFS_PROGRAM, 3);
	create_file(argv[2]);
	ready();
	x.kills = strtoul(argv[5], NULL, 0);
	if (x.kills) {
		struct itimerval t = { .it_value = { .tv_usec = 200000 } };

		x.kills--;
		setitimer(ITIMER_REAL, &t, NULL);
	}
	for (x.step = 0; x.step < steps || x.kills; x.step++) {
		does[below(sizeof(does) / sizeof(*does))]();
		if (x.dead)
			go_on();
	}
	setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
	for (do_commit(); x.dead || !find_state(); do_commit())
		go_on();
	rpc_destroy_context(x.rpc);
	fprintf(stderr, "seed %s: %u steps in %u lives, %llu bytes verified\n", argv[3], x.step, x.life + 1,
		(unsigned long long)x.verified);
	return 0;
}
