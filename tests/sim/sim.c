/* SPDX-License-Identifier: Apache-2.0 */
/* Running, executing, comparing: see sim.h. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fiber.h"
#include "base/log.h"
#include "base/loop.h"
#include "sim.h"

char sim_replay[256];
bool sim_trace;

/* The store's log: only the last line is worth seeing, and only if a test fails. */
static char last_log[300];

static void keep_log(void *arg, enum log_level level, const char *text)
{
	snprintf(last_log, sizeof(last_log), "%s", text);
	if (sim_trace)
		printf("log: %s\n", text);
}

void sim_fail(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	if (last_log[0])
		fprintf(stderr, "last line of the log: %s\n", last_log);
	fprintf(stderr, "FAILED: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nreplay: %s\n", sim_replay);
	if (getenv("SIM_ABORT"))
		abort();
	_exit(1);
}

const char *sim_err(int rc)
{
	static char text[2][64];
	static unsigned turn;
	char *s = text[turn++ % 2];

	snprintf(s, sizeof(text[0]), "%d %s", rc, rc ? err_text(rc) : "ok");
	return s;
}

/* Where allocations fail on purpose (fault_alloc.h), those of the tests don't. */
void fault_alloc_enter(void) __attribute__((weak));
void fault_alloc_leave(void) __attribute__((weak));

void *test_alloc(size_t n)
{
	void *p;

	if (fault_alloc_enter)
		fault_alloc_enter();
	p = calloc(1, n);
	if (fault_alloc_leave)
		fault_alloc_leave();
	if (!p)
		abort();
	return p;
}

/* ---- running ---------------------------------------------------------------------------- */

struct main_fiber { void (*fn)(void *); void *arg; bool done; };

static void main_fiber_fn(void *p)
{
	struct main_fiber *f = p;

	f->fn(f->arg);
	f->done = true;
	loop_stop(loop_self());
}

void sim_run(void (*fn)(void *arg), void *arg)
{
	struct main_fiber f = { fn, arg, false };
	struct loop *l;
	int rc;

	log_capture(keep_log, NULL);
	sim_ok(loop_new(LOOP_SIM, &l));
	sim_ok(fiber_spawn(main_fiber_fn, &f, "main"));
	rc = loop_run(l);
	sim_check(f.done, "everybody waits for ever: the main fiber never ended (loop: %s)",
		  sim_err(rc));
	sim_check(!fiber_count(), "%u fibers are left over", fiber_count());
	loop_free(l);
}

struct parallel { struct waitq q; unsigned left; };
struct parallel_one { struct parallel *p; void (*fn)(void *); void *arg; };

static void parallel_fiber(void *v)
{
	struct parallel_one *o = v;

	o->fn(o->arg);
	if (!--o->p->left)
		waitq_wake_all(&o->p->q);
}

void sim_parallel(void (*fn)(void *arg), void *args, size_t arg_size, unsigned n)
{
	struct parallel p = { .left = n };
	struct parallel_one *o = test_alloc(n * sizeof(*o));

	waitq_init(&p.q);
	for (unsigned i = 0; i < n; i++) {
		o[i] = (struct parallel_one){ &p, fn, (char *)args + i * arg_size };
		sim_ok(fiber_spawn(parallel_fiber, &o[i], "parallel"));
	}
	while (p.left)
		waitq_wait(&p.q);
	free(o);
}

/* ---- the store -------------------------------------------------------------------------- */

void sim_req(struct fs_req *req, struct fs *fs, unsigned user)
{
	fs_req_admin(req, fs);
	if (user)
		model_cred(user, &req->cred);
}

bool sim_few_refs, sim_zeros_vanish;

void sim_learn_zeros(struct fs *fs, struct mnode *n)
{
	struct fs_req req;
	uint64_t at = 0, hole, data;

	fs_req_admin(&req, fs);
	while ((at = model_zero_block(n, at)) != UINT64_MAX) {
		int rc = fs_seek(&req, n->id, at, true, &data);

		sim_check(!rc || rc == -ENXIO, "seek: %s", sim_err(rc));
		hole = rc ? n->size : data;
		if (hole > at)
			model_forget_zeros(n, at);
		at += MBLOCK;
	}
}

void sim_dedup(struct fs *fs, struct model *m, const char *volume)
{
	struct mvolume *v = model_volume(m, volume);
	struct fs_dedup_status st;

	sim_ok(fs_dedup_start(fs, volume, 0));
	do {
		loop_sleep_ns(1000000);
		fs_dedup_status(fs, &st);
	} while (st.running);
	sim_check(!st.result || st.result == -ENOSPC, "the job ended with %s", sim_err(st.result));
	for (uint32_t i = 0; i < m->nnodes; i++)
		if (m->nodes[i]->type == FS_REG && m->nodes[i]->id.volume == v->id)
			sim_learn_zeros(fs, m->nodes[i]);
}

struct fs *sim_open(struct dev *d, const struct fs_config *cfg)
{
	char why[256] = "";
	struct fs *fs;
	int rc = fs_open(d, cfg, &fs, why, sizeof(why));

	sim_few_refs = cfg->max_refs;
	sim_check(!rc, "the pool does not open: %s: %s", sim_err(rc), why);
	return fs;
}

uint64_t sim_free_blocks(struct fs *fs)
{
	struct fs_status st;

	for (int i = 0; i < 2; i++) {
		sim_ok(fs_reap_all(fs));
		sim_ok(fs_checkpoint(fs));
	}
	fs_status(fs, &st);
	for (int i = 0; i < 60 && st.pending_free_blocks; i++) {
		loop_sleep_ns(1000000000);	/* it is being discarded */
		fs_status(fs, &st);
	}
	sim_check(!st.pending_free_blocks, "%llu blocks stay pending",
		  (unsigned long long)st.pending_free_blocks);
	sim_check(!st.reap_entries, "the reap list is not empty");
	return st.free_blocks;
}

static void fsck_report(void *arg, const char *line)
{
	unsigned *harmless = arg;

	/* Between the two copies of a superblock: no fault of a disk that was cut off there. */
	if (harmless && strstr(line, "opening the pool rewrites it"))
		++*harmless;
	else
		fprintf(stderr, "check: %s\n", line);
}

void sim_fsck(struct dev *d, const char *when)
{
	struct fs_check_stats st;
	int64_t n = fs_check(d, fsck_report, NULL, &st);

	sim_check(n == 0, "fs_check %s: %lld findings", when, (long long)n);
}

void sim_fsck_cut(struct dev *d, const char *when)
{
	struct fs_check_stats st;
	unsigned harmless = 0;
	int64_t n = fs_check(d, fsck_report, &harmless, &st);

	sim_check(n == harmless, "fs_check %s: %lld findings", when, (long long)n);
}

static void learn(struct op *op, const struct fs_attr *a)
{
	op->seq = a->change;
	op->time = a->ctime;
}

static void learn_id(struct op *op, struct fs_id id)
{
	op->new_ids = test_alloc(sizeof(*op->new_ids));
	op->new_ids[0] = id;
}

static void learn_wcc(struct op *op, const struct fs_wcc *w)
{
	sim_check(w->post_valid, "%s succeeded without attributes after it", op_names[op->kind]);
	learn(op, &w->post);
}

static void exec_create(struct fs_req *req, struct op *op, struct answer *a)
{
	static const enum fs_type types[] = { [OP_CREATE] = FS_REG, [OP_MKDIR] = FS_DIR,
					      [OP_SYMLINK] = FS_LNK };
	struct fs_create how = {
		.type = op->kind == OP_MKNOD ? op->type : types[op->kind], .how = op->how,
		.set = op->set, .verifier = op->verifier, .rdev_major = op->rdev_major,
		.rdev_minor = op->rdev_minor, .target = op->target,
	};

	op->rc = fs_create(req, op->dir, (struct fs_name){ op->name, op->name_len }, &how, &a->attr,
			   &a->wcc);
	if (op->rc)
		return;
	learn(op, &a->attr);
	learn_id(op, a->attr.id);
}

static void exec_write(struct fs_req *req, struct op *op, struct answer *a)
{
	unsigned char *buf = test_alloc(op->len + 1);
	struct iovec iov[3];
	uint32_t cut1 = op->len / 3, cut2 = op->len / 2;
	int n = op->seed & 8 ? 3 : 1;

	op_pattern(op->seed, op->offset, buf, op->len);
	iov[0] = (struct iovec){ buf, n == 1 ? op->len : cut1 };
	iov[1] = (struct iovec){ buf + cut1, cut2 - cut1 };
	iov[2] = (struct iovec){ buf + cut2, op->len - cut2 };
	op->rc = fs_write(req, op->id, op->offset, iov, n, op->len, op->stable, &a->wcc);
	if (!op->rc)
		learn_wcc(op, &a->wcc);
	free(buf);
}

static void exec_clone(struct fs_req *req, struct op *op, struct answer *a)
{
	struct fs_name *names = test_alloc((op->count + 1) * sizeof(*names));
	char *text = test_alloc((size_t)(op->count + 1) * OP_NAME_BUF);
	struct fs_req admin;

	for (uint32_t i = 0; i < op->count; i++) {
		char *s = text + (size_t)i * OP_NAME_BUF;

		op_clone_name(op, i, s);
		names[i] = (struct fs_name){ s, i ? strlen(s) : op->name_len };
	}
	op->bad = UINT32_MAX;
	op->rc = fs_clone(req, op->id, op->dir, names, op->count, &op->bad, &a->attr);
	if (!op->rc) {
		learn(op, &a->attr);
		op->new_ids = test_alloc((op->count + 1) * sizeof(*op->new_ids));
		fs_req_admin(&admin, req->fs);
		for (uint32_t i = 0; i < op->count; i++) {
			struct fs_attr attr;

			sim_ok(fs_lookup(&admin, op->dir, names[i], &attr, NULL));
			op->new_ids[i] = attr.id;
		}
	}
	free(text);
	free(names);
}

static void exec_read(struct fs_req *req, struct op *op)
{
	struct fs_read *r = test_alloc(sizeof(*r));
	uint32_t done = 0;

	op->rc = fs_read(req, op->id, op->offset, op->len, r);
	if (!op->rc) {
		op->seq = r->attr.change;
		op->got = r->len;
		op->eof = r->eof;
		op->data = test_alloc(r->len + 1);
		for (int i = 0; i < r->niov; i++) {
			sim_check(done + r->iov[i].iov_len <= r->len, "read: iovecs exceed len");
			memcpy(op->data + done, r->iov[i].iov_base, r->iov[i].iov_len);
			done += r->iov[i].iov_len;
		}
		sim_check(done == r->len, "read: len %u, but %u in the iovecs", r->len, done);
		fs_read_done(req->fs, r);
	}
	free(r);
}

static void exec_range(struct fs_req *req, struct op *op, struct answer *a)
{
	if (op->kind == OP_RANGE)
		op->rc = fs_clone_range(req, op->src, op->src_offset, op->id, op->offset, op->length,
					&a->wcc);
	else
		op->rc = fs_punch(req, op->id, op->offset, op->length, &a->wcc);
	if (!op->rc)
		learn_wcc(op, &a->wcc);
}

static void exec_allocate(struct fs_req *req, struct op *op, struct answer *a)
{
	op->rc = fs_allocate(req, op->id, op->offset, op->length, &a->wcc);
	if (!op->rc)
		learn_wcc(op, &a->wcc);
}

static void exec_xattr(struct fs_req *req, struct op *op, struct answer *a)
{
	struct fs_name name = { op->name, op->name_len };
	unsigned char *value = test_alloc(op->len + 1);

	op_pattern(op->seed, 0, value, op->len);
	if (op->kind == OP_XSET)
		op->rc = fs_xattr_set(req, op->id, name, value, op->len, op->xattr_how, &a->wcc);
	else
		op->rc = fs_xattr_remove(req, op->id, name, &a->wcc);
	if (!op->rc)
		learn_wcc(op, &a->wcc);
	free(value);
}

static void exec_volume(struct fs_req *req, struct op *op)
{
	struct fs_volume_info info;

	if (op->kind == OP_VCREATE)
		op->rc = fs_volume_create(req, op->name, &info);
	else
		op->rc = fs_volume_destroy(req, op->name);
	op->seq = req->stable_seq;
}

static void exec_snapshot(struct fs_req *req, struct op *op)
{
	op->snap = test_alloc(sizeof(*op->snap));
	op->volume = test_alloc(sizeof(*op->volume));
	switch (op->kind) {
	case OP_SNAP:
		op->rc = fs_snapshot_create(req, op->name, op->name2, op->snap);
		break;
	case OP_UNSNAP:
		op->rc = fs_snapshot_destroy(req, op->name, op->name2);
		break;
	case OP_RESTORE:
		op->rc = fs_volume_restore(req, op->name, op->name2, op->force);
		break;
	default:
		op->rc = fs_volume_clone(req, op->name, op->name2_len ? op->name2 : NULL, op->target,
					 op->volume);
	}
	op->seq = req->stable_seq;
}

static struct fs_id find_entry(void *arg, struct fs_id dir, const char *name, uint32_t len)
{
	struct fs_req req;
	struct fs_attr a;

	fs_req_admin(&req, arg);
	sim_ok(fs_lookup(&req, dir, (struct fs_name){ name, len }, &a, NULL));
	return a.id;
}

static void exec_tree(struct fs_req *req, struct op *op, struct answer *a)
{
	uint32_t n;

	op->rc = fs_clone_tree(req, op->id, op->dir, (struct fs_name){ op->name, op->name_len }, &a->attr, &n);
	if (!op->rc)
		learn(op, &a->attr);
}

void sim_learn(struct fs *fs, struct model *m, const struct op *op)
{
	struct fs_volume_info *v;
	struct fs_attr root;
	struct fs_req req;

	if (op->kind == OP_VCREATE) {
		v = test_alloc(sizeof(*v));
		fs_req_admin(&req, fs);
		sim_ok(fs_volume_find(fs, op->name, v));
		sim_ok(fs_getattr(&req, v->root, &root));
		sim_check(root.type == FS_DIR && root.nlink == 2, "a new volume's root");
		model_add_volume(m, v, &root);
		free(v);
	} else if (op->kind == OP_SNAP) {
		sim_check(op->snap->fsid == op->seq, "a snapshot of another event");
		model_snap_add(m, op->snap);
	} else if (op->kind == OP_TREE) {
		model_tree_copy(m, op, find_entry, fs);
	} else if (op->kind == OP_VCLONE) {
		struct mvolume *src = model_volume(m, op->name);

		sim_check(op->volume->fsid == op->seq, "a clone of another event");
		model_volume_copy(m, src->id, op->name2_len ? model_snap(m, src->id, op->name2) : NULL,
				  op->volume);
	}
}

static void exec_names(struct fs_req *req, struct op *op, struct answer *a)
{
	struct fs_name name = { op->name, op->name_len }, name2 = { op->name2, op->name2_len };

	switch (op->kind) {
	case OP_LINK:
		op->rc = fs_link(req, op->id, op->dir, name, op->replace, &a->attr, &a->wcc);
		break;
	case OP_REMOVE:
		op->rc = fs_remove(req, op->dir, name, &a->wcc);
		break;
	case OP_RMDIR:
		op->rc = fs_rmdir(req, op->dir, name, &a->wcc);
		break;
	default:
		op->rc = fs_rename(req, op->dir, name, op->dir2, name2, &a->wcc2, &a->wcc);
	}
	if (!op->rc)
		learn_wcc(op, &a->wcc);
}

static void exec_unnamed(struct fs_req *req, struct op *op, struct answer *a)
{
	if (op->kind == OP_FORGET) {
		op->rc = fs_forget(req, op->id);
		op->seq = req->stable_seq;
		return;
	}
	op->rc = fs_create_unnamed(req, op->id.volume, op->set.mode, &a->attr);
	if (op->rc)
		return;
	learn(op, &a->attr);
	learn_id(op, a->attr.id);
}

static void exec_one(struct fs_req *req, struct op *op, struct answer *a)
{
	switch (op->kind) {
	case OP_CREATE: case OP_MKDIR: case OP_SYMLINK: case OP_MKNOD:
		exec_create(req, op, a);
		break;
	case OP_UNNAMED: case OP_FORGET:
		exec_unnamed(req, op, a);
		break;
	case OP_LINK: case OP_REMOVE: case OP_RMDIR: case OP_RENAME:
		exec_names(req, op, a);
		break;
	case OP_WRITE:
		exec_write(req, op, a);
		break;
	case OP_SETATTR:
		op->rc = fs_setattr(req, op->id, &op->set, &a->wcc);
		if (!op->rc)
			learn_wcc(op, &a->wcc);
		break;
	case OP_CLONE:
		exec_clone(req, op, a);
		break;
	case OP_READ:
		exec_read(req, op);
		break;
	case OP_RANGE: case OP_PUNCH:
		exec_range(req, op, a);
		break;
	case OP_ALLOCATE:
		exec_allocate(req, op, a);
		break;
	case OP_XSET: case OP_XREMOVE:
		exec_xattr(req, op, a);
		break;
	case OP_HOLD:
		op->rc = fs_hold(req->fs, op->id);
		op->seq = fs_last_seq(req->fs);
		break;
	case OP_QUOTA:
		op->rc = op->replace ? fs_quota_clear(req, op->id) : fs_quota_set(req, op->id, op->length, -1, NULL);
		op->seq = req->stable_seq;
		break;
	case OP_RESERVE:
		op->rc = fs_volume_set_space(req, op->name, -1, -1, op->length);
		op->seq = req->stable_seq;
		break;
	case OP_VCREATE: case OP_VDESTROY:
		exec_volume(req, op);
		break;
	case OP_SNAP: case OP_UNSNAP: case OP_RESTORE: case OP_VCLONE:
		exec_snapshot(req, op);
		break;
	case OP_TREE:
		exec_tree(req, op, a);
		break;
	case OP_KINDS:
		abort();
	}
}

void sim_exec(struct fs *fs, struct op *op, struct answer *a)
{
	struct answer *own = a ? NULL : test_alloc(sizeof(*own));
	struct fs_req req;
	char text[512];

	if (!a)
		a = own;
	memset(a, 0, sizeof(*a));
	sim_req(&req, fs, op->user);
	exec_one(&req, op, a);
	a->stable_seq = req.stable_seq;
	if (sim_trace) {
		op_print(op, text, sizeof(text));
		printf("%s\n", text);
	}
	free(own);
}

void sim_quota_left(struct fs *fs, struct op *op)
{
	struct fs_quota q;
	struct fs_req req;

	if (op->kind != OP_WRITE || op->id.snapshot)
		return;
	fs_req_admin(&req, fs);
	op->left_known = true;
	op->left = UINT64_MAX;
	if (!fs_quota_get(&req, op->id, &q) && q.limit_blocks)
		op->left = q.limit_blocks > q.used_blocks ? q.limit_blocks - q.used_blocks : 0;
}

/* Where counts are at their limit, a clone's root is copied, and then what that points to, ... */
static uint64_t copied_by_clone(struct fs *fs, struct fs_id src)
{
	struct fs_req req;
	struct fs_attr a;

	fs_req_admin(&req, fs);
	if (!sim_few_refs || fs_getattr(&req, src, &a))
		return 0;
	return a.mapped_bytes / MBLOCK + 18;
}

bool sim_space_short(struct fs *fs, const struct op *op)
{
	struct fs_status st;
	uint64_t need = 400 + 4 * (op->len / MBLOCK);

	fs_status(fs, &st);
	if (op->kind == OP_CLONE)
		need += op->count * (1 + copied_by_clone(fs, op->id));
	if (op->kind == OP_ALLOCATE)
		need += op->length / MBLOCK + op->length / MBLOCK / 512;
	if (op->kind == OP_RANGE || sim_few_refs)	/* index blocks; and copies, where counts are at their limit */
		need += 1200;
	if (op->kind == OP_RESERVE)
		need += op->length;
	return st.free_blocks + st.pending_free_blocks < st.reserved_blocks + st.held_blocks + need;
}
