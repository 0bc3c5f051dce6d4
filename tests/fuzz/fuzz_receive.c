/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream of 'pando send' that is not what it should be.  The input says what is done to the records of a
 * good one: left out, doubled, swapped, fields and lengths and kinds changed; then seq and chain are put
 * right, so that what lies behind them is reached, or a byte is changed after that.
 *
 * What must hold: no fault; an error that says something, or success; what was refused can't be seen, and what was
 * there before is as it was; the pool is sound.
 */
#include "fuzz.h"

#include "base/err.h"
#include "base/fiber.h"
#include "base/log.h"
#include "base/loop.h"
#include "dev/dev.h"
#include "dev/dev_sim.h"
#include "repl/receive.h"
#include "repl/send.h"

enum { INPUT_MAX = 512, RECORDS_MAX = 256, BODY_MAX = 70000, BLOCKS = 4096 };

#define must(expr) do { int rc_ = (expr); \
	fuzz_check(!rc_, "fuzz_receive.c:%d: %s: %d", __LINE__, #expr, rc_); } while (0)

struct bytes { uint8_t *data; size_t len; };
static struct bytes base[2];		/* all of a volume; what changed then */

struct rec { uint32_t type, len; uint8_t *body; };
struct recs { struct rec a[RECORDS_MAX]; unsigned n; };

static struct fs_name name(const char *s) { return (struct fs_name){ s, strlen(s) }; }

/* ---- the good ones ---------------------------------------------------------------------------- */

static struct dev *disk(void)
{
	struct dev_sim_opts o = { .nblocks = BLOCKS, .seed = 1 };
	struct fs_format_opts f = { .uuid = { 9 } };
	struct dev *d;

	must(dev_sim_new(&o, &d));
	must(fs_format(d, &f));
	return d;
}

static struct fs *open_on(struct dev *d)
{
	struct fs_config cfg = { .seed = 1, .no_background = true };
	struct fs *fs;

	must(fs_open(d, &cfg, &fs, NULL, 0));
	return fs;
}

static struct fs_id make(struct fs_req *req, struct fs_id dir, const char *s, enum fs_type type)
{
	struct fs_create how = { .type = type, .how = FS_CREATE_GUARDED, .target = "target" };
	struct fs_attr a;

	must(fs_create(req, dir, name(s), &how, &a, NULL));
	return a.id;
}

static void fill(struct fs_req *req, struct fs_id id, uint64_t offset, uint32_t len)
{
	static uint8_t buf[60000];
	struct iovec iov = { buf, len };

	for (uint32_t i = 0; i < len; i++)
		buf[i] = (uint8_t)((i * 40503u + offset + id.ino) >> 3 | 1);
	must(fs_write(req, id, offset, &iov, 1, len, false, NULL));
}

static int append(void *arg, const void *data, size_t len)
{
	struct bytes *b = arg;

	b->data = realloc(b->data, b->len + len);
	fuzz_check(b->data, "no memory");
	memcpy(b->data + b->len, data, len);
	b->len += len;
	return 0;
}

static void send_to(struct fs *fs, const char *snapshot, const char *from, struct bytes *b)
{
	struct send_opts o = { .volume = "v", .snapshot = snapshot, .from = from, .mark_bytes = 30000 };
	struct send_stats stats;
	char why[SEND_WHY];

	must(send_run(fs, &o, append, b, &stats, why));
}

static void content(struct fs_req *req, struct fs_id root)
{
	struct fs_id a = make(req, root, "a", FS_REG), dir = make(req, root, "dir", FS_DIR), b;
	struct fs_name n = name("clone");
	struct fs_attr attr;

	fill(req, a, 0, 50000);
	fill(req, a, 3 << 20, 5000);
	must(fs_clone(req, a, dir, &n, 1, NULL, &attr));
	fill(req, attr.id, 8192, 100);
	b = make(req, dir, "b", FS_REG);
	must(fs_clone_range(req, a, 4096, b, 8192, 16384, NULL));
	must(fs_link(req, b, root, name("b2"), false, NULL, NULL));
	make(req, dir, "link", FS_LNK);
	make(req, root, "fifo", FS_FIFO);
	must(fs_xattr_set(req, dir, name("x"), "value", 5, FS_XATTR_EITHER, NULL));
	must(fs_snapshot_create(req, "v", "s1", NULL));
	must(fs_rename(req, root, name("dir"), root, name("dir2"), NULL, NULL));
	must(fs_remove(req, root, name("a"), NULL));
	n = name("young");
	must(fs_clone(req, attr.id, root, &n, 1, NULL, &attr));
	must(fs_punch(req, attr.id, 4096, 8192, NULL));
	fill(req, b, 0, 40000);
	must(fs_snapshot_create(req, "v", "s2", NULL));
}

static void make_base(void)
{
	struct fs_volume_info v;
	struct dev *d = disk();
	struct fs *fs = open_on(d);
	struct fs_req req;

	fs_req_admin(&req, fs);
	must(fs_volume_create(&req, "v", &v));
	content(&req, v.root);
	send_to(fs, "s1", NULL, &base[0]);
	send_to(fs, "s2", "s1", &base[1]);
	must(fs_close(fs));
	dev_close(d);
}

/* ---- changing them ---------------------------------------------------------------------------- */

static void records_read(const struct bytes *b, struct recs *r)
{
	size_t at = sizeof(struct stream_magic);
	struct stream_head h;

	for (r->n = 0; at < b->len && r->n < RECORDS_MAX / 2; at += sizeof(h) + h.len) {
		memcpy(&h, b->data + at, sizeof(h));
		r->a[r->n] = (struct rec){ h.type, h.len, malloc(BODY_MAX) };
		memset(r->a[r->n].body, 0, BODY_MAX);
		memcpy(r->a[r->n++].body, b->data + at + sizeof(h), h.len);
	}
	fuzz_check(at == b->len, "the good stream has too many records");
}

static void insert_copy(struct recs *r, unsigned i, unsigned to)
{
	struct rec x = r->a[i];

	if (r->n == RECORDS_MAX)
		return;
	x.body = malloc(BODY_MAX);
	memcpy(x.body, r->a[i].body, BODY_MAX);
	memmove(&r->a[to + 1], &r->a[to], (r->n - to) * sizeof(x));
	r->a[to] = x;
	r->n++;
}

static void drop(struct recs *r, unsigned i)
{
	free(r->a[i].body);
	memmove(&r->a[i], &r->a[i + 1], (--r->n - i) * sizeof(r->a[0]));
}

static void edit_field(struct stream *s, struct rec *x)
{
	static const uint64_t values[] = { 0, 1, 2, 3, 4096, 4097, 1 << 20, 1ULL << 31, 1ULL << 60, UINT64_MAX };
	unsigned how = take8(s), width = 1 << how % 4;
	size_t at = take8(s) * (how & 4 ? 8 : 1);
	uint64_t v = how & 8 ? values[take8(s) % 10] : take8(s);

	if (at + width <= BODY_MAX)
		memcpy(x->body + at, &v, width);
}

static void edit(struct stream *s, struct recs *r)
{
	unsigned op = take8(s) % 6, i = take8(s) % r->n, k = take8(s) % r->n;
	struct rec x;

	switch (op) {
	case 0:
		if (r->n > 1)
			drop(r, i);
		return;
	case 1:
		insert_copy(r, i, k);
		return;
	case 2:
		x = r->a[i];
		r->a[i] = r->a[k];
		r->a[k] = x;
		return;
	case 3:
		r->a[i].type = k % (S_TYPES + 1);
		return;
	case 4:
		r->a[i].len = k & 1 ? r->a[i].len / 2 : r->a[i].len + k;
		if (r->a[i].len > BODY_MAX)
			r->a[i].len = BODY_MAX;
		return;
	}
	edit_field(s, &r->a[i]);
}

/* FIX: END and marks say what they would have to. */
static void assemble(struct recs *r, bool fix, struct bytes *out)
{
	struct stream_magic magic = { .magic = STREAM_MAGIC, .version = STREAM_VERSION };
	uint64_t chain = STREAM_CHAIN, data = 0, marks = 0;

	append(out, &magic, sizeof(magic));
	for (unsigned i = 0; i < r->n; i++) {
		struct rec *x = &r->a[i];
		struct stream_head h = { .type = x->type, .len = x->len, .seq = i };
		struct stream_end e = { .records = i ? i - 1 : 0, .data_bytes = data };

		if (x->type == S_DATA)
			data += ((const struct stream_range *)x->body)->len;
		marks += x->type == S_MARK;
		if (fix && x->type == S_MARK)
			((struct stream_mark *)x->body)->number = marks;
		if (fix && x->type == S_END)
			memcpy(x->body, &e, sizeof(e));
		h.chain = chain = stream_chain(chain, &h, x->body);
		append(out, &h, sizeof(h));
		append(out, x->body, x->len);
	}
}

/* ---- receiving -------------------------------------------------------------------------------- */

static int receive(struct fs *fs, const struct bytes *b, size_t piece, bool *ret_kept)
{
	struct stream_token token;
	struct receive *r;
	int rc = 0;

	must(receive_open(fs, "copy", false, &r));
	for (size_t at = 0, n; !rc && at < b->len; at += n) {
		n = b->len - at < piece ? b->len - at : piece;
		rc = receive_feed(r, b->data + at, n);
	}
	if (!rc)
		rc = receive_finish(r);
	fuzz_check(!rc == !receive_why(r)[0], "%d, and '%s'", rc, receive_why(r));
	fuzz_check(!rc || strcmp(err_text(rc), err_text(-99999)), "an error without a name: %d", rc);
	*ret_kept = receive_close(r, &token);
	return rc;
}

static void finding(void *arg, const char *line)
{
	fprintf(stderr, "check: %s\n", line);
}

/* The number of the youngest snapshot of the volume; 0: there is no such volume. */
static unsigned state_of(struct fs *fs)
{
	struct fs_volume_info v;
	struct fs_snapshot_info s = { 0 };

	if (fs_volume_find(fs, "copy", &v))
		return 0;
	while (!fs_snapshot_next(fs, v.id, s.id, &s))
		;
	return fs_snapshot_count(fs, v.id);
}

struct run { const uint8_t *data; size_t len; bool done; };

static void use(struct run *x)
{
	struct stream s = { x->data, x->data + x->len };
	struct recs *r = calloc(1, sizeof(*r));
	struct fs_check_stats stats;
	struct bytes bad = { 0 };
	struct dev *d = disk();
	struct fs *fs = open_on(d);
	unsigned how = take8(&s), before;
	bool kept;
	int rc;

	if (how & 1)
		must(receive(fs, &base[0], 65536, &kept));
	records_read(&base[how & 1], r);
	while (stream_left(&s) && r->n)
		edit(&s, r);
	assemble(r, how & 2, &bad);
	if (how & 4 && bad.len)
		bad.data[(how >> 4) * 977 % bad.len] ^= 1 << (how >> 5);
	before = state_of(fs);
	rc = receive(fs, &bad, how & 8 ? 65536 : 1000, &kept);
	fuzz_check(state_of(fs) == before + !rc, "%d, and state %u after %u", rc, state_of(fs), before);
	if (kept && how & 16)
		must(unfinished_forget(fs, "copy"));
	must(unfinished_sweep(fs));
	must(fs_close(fs));
	fuzz_check(!fs_check(d, finding, NULL, &stats), "the pool is not sound any more");
	dev_close(d);
	while (r->n)
		drop(r, r->n - 1);
	free(r);
	free(bad.data);
}

static void run(void *arg)
{
	struct run *x = arg;

	if (!base[0].data)
		make_base();
	use(x);
	x->done = true;
	loop_stop(loop_self());
}

static void hear(void *arg, enum log_level level, const char *text)
{
}

void fuzz_input(const uint8_t *data, size_t len)
{
	struct run x = { data, len < INPUT_MAX ? len : INPUT_MAX, false };
	struct loop *l;

	log_capture(hear, NULL);
	fuzz_check(!loop_new(LOOP_SIM, &l) && !fiber_spawn(run, &x, "main"), "no memory for a loop");
	loop_run(l);
	fuzz_check(x.done, "everybody waits for ever");
	loop_free(l);
}

void fuzz_seeds(void (*put)(const char *name, const uint8_t *data, size_t len))
{
	char text[32];

	for (unsigned i = 0; i < 60; i++) {
		uint8_t b[] = { i * 37, i, i * 3, i * 7, 5, i, 0, 8 + i % 8, i % 5, i % 11, i };

		snprintf(text, sizeof(text), "edit%02u", i);
		put(text, b, i % 2 ? sizeof(b) : 4);
	}
	put("whole", (const uint8_t *)"\0", 1);
	put("whole2", (const uint8_t *)"\1", 1);
}
