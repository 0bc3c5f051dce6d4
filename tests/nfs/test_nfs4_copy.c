/* SPDX-License-Identifier: Apache-2.0 */
/* COPY: what it copies, beside a model; how far at once; and what goes on in the background. */
#include <malloc.h>
#include "called.h"
#include "nfs/nfs4_copy.h"

#define FILE_BYTES 300000
#define MIB (1ull << 20)

static struct called A;
static struct sess SA;
static uint8_t source[FILE_BYTES], dest[2 * FILE_BYTES], got[2 * FILE_BYTES];
static uint8_t src[HANDLE_BYTES], dst[HANDLE_BYTES], other_root[HANDLE_BYTES];

/* ---- files --------------------------------------------------------------------------- */

static void root_of(const char *volume, uint8_t fh[HANDLE_BYTES])
{
	begin(2);
	seq(&S);
	op(OP_PUTROOTFH);
	name_op(OP_LOOKUP, volume);
	op(OP_GETFH);
	assert_int_equal(run(), NFS4_OK);
	ok_seq();
	ok(OP_PUTROOTFH);
	ok(OP_LOOKUP);
	ok(OP_GETFH);
	get_fh(fh);
}

static void new_file(const uint8_t *dir, const char *name, uint64_t size, uint8_t fh[HANDLE_BYTES])
{
	on(dir);
	op(OP_OPEN);
	msg_u32(&M, 0);
	msg_u32(&M, 3);
	msg_u32(&M, 0);
	put_owner("o");
	msg_u32(&M, 1);
	msg_u32(&M, NFS4_CREATE_UNCHECKED);
	msg_u32(&M, 1);
	msg_u32(&M, 16);
	msg_u32(&M, 8);
	msg_u64(&M, size);
	msg_u32(&M, 0);
	msg_string(&M, name);
	op(OP_GETFH);
	assert_int_equal(run_on(), NFS4_OK);
	ok(OP_OPEN);
	get_open();
	ok(OP_GETFH);
	get_fh(fh);
}

static void write_at(const uint8_t *fh, uint64_t offset, const uint8_t *data, uint32_t len)
{
	on(fh);
	op(OP_WRITE);
	put_sid(&anonymous);
	msg_u64(&M, offset);
	msg_u32(&M, NFS4_UNSTABLE);
	msg_opaque(&M, data, len);
	assert_int_equal(run_on(), NFS4_OK);
}

static uint32_t read_at(const uint8_t *fh, uint64_t offset, uint8_t *ret, uint32_t len)
{
	struct xdr_bytes b;

	on(fh);
	op(OP_READ);
	put_sid(&anonymous);
	msg_u64(&M, offset);
	msg_u32(&M, len);
	assert_int_equal(run_on(), NFS4_OK);
	ok(OP_READ);
	xdr_get_u32(&R);
	b = xdr_get_opaque(&R, len);
	memcpy(ret, b.s, b.len);
	return b.len;
}

static void fill(uint8_t *p, uint32_t len)
{
	for (uint32_t at = 0; at < len; at += 4096)	/* every third block is a hole */
		for (uint32_t i = at; i < at + 4096 && i < len; i++)
			p[i] = at / 4096 % 3 == 1 ? 0 : rand() | 1;
}

/* ---- calls --------------------------------------------------------------------------- */

struct answer { bool offloaded; struct sid id; uint64_t count; uint32_t committed; bool sync; };

static uint32_t copy(const uint8_t *from, const uint8_t *to, uint64_t src_offset,
		     uint64_t dst_offset, uint64_t count, bool sync, struct answer *ret)
{
	uint32_t status;

	begin(2);
	seq(&S);
	putfh(from);
	op(OP_SAVEFH);
	putfh(to);
	op(OP_COPY);
	put_sid(&anonymous);
	put_sid(&anonymous);
	put_range(src_offset, dst_offset);
	msg_u64(&M, count);
	msg_u32(&M, 1);
	msg_u32(&M, sync);
	msg_u32(&M, 0);
	run();
	ok_seq();
	ok(OP_PUTFH);
	ok(OP_SAVEFH);
	ok(OP_PUTFH);
	status = res(OP_COPY);
	if (!status) {
		*ret = (struct answer){ .offloaded = xdr_get_u32(&R) };
		if (ret->offloaded)
			ret->id = get_sid();
		ret->count = xdr_get_u64(&R);
		ret->committed = xdr_get_u32(&R);
		xdr_get_u64(&R);
		assert_int_equal(xdr_get_u32(&R), 1);
		ret->sync = xdr_get_u32(&R);
		assert_int_equal(ret->sync, !ret->offloaded);
	}
	end_of_reply();
	return status;
}

static uint32_t offload_op(uint32_t num, const struct sid *id, uint64_t *count, uint32_t *complete)
{
	uint32_t status;

	begin(2);
	seq(&S);
	op(num);
	put_sid(id);
	run();
	ok_seq();
	status = res(num);
	if (!status && num == OP_OFFLOAD_STATUS) {
		*count = xdr_get_u64(&R);
		*complete = xdr_get_u32(&R) ? xdr_get_u32(&R) : UINT32_MAX;
	}
	end_of_reply();
	return status;
}

/* ---- what is copied ------------------------------------------------------------------ */

static void check_copy(const uint8_t *from, const uint8_t *to, uint64_t *size)
{
	bool same = !memcmp(from, to, HANDLE_BYTES);
	uint32_t unit = rand() % 2 ? 4096 : 1;
	uint64_t a = rand() % FILE_BYTES / unit * unit, b = rand() % FILE_BYTES / unit * unit;
	uint64_t n = rand() % (FILE_BYTES - a + 1), all = n ? n : FILE_BYTES - a;
	bool overlap = same && a < b + all && b < a + all;
	struct answer r;
	uint32_t status;

	if (same && b + all > FILE_BYTES)		/* the source keeps its size */
		return;
	status = copy(from, to, a, b, n, rand() % 2, &r);
	assert_int_equal(status, overlap ? E(INVAL) : NFS4_OK);
	if (overlap)
		return;
	assert_true(!r.offloaded && r.count == all && r.committed == NFS4_FILE_SYNC);
	if (same) {
		memmove(source + b, source + a, all);
		return;
	}
	memcpy(dest + b, source + a, all);
	*size = *size > b + all ? *size : b + all;
}

static void run_model(const uint8_t *dir)
{
	uint64_t size = 0;

	fill(source, FILE_BYTES);
	memset(dest, 0, sizeof(dest));
	new_file(P.root, "src", 0, src);
	write_at(src, 0, source, FILE_BYTES);
	new_file(dir, "dst", 0, dst);
	for (int round = 0; round < 100; round++) {
		check_copy(src, rand() % 4 ? dst : src, &size);
		assert_int_equal(read_at(src, 0, got, FILE_BYTES), FILE_BYTES);
		assert_memory_equal(got, source, FILE_BYTES);
		assert_int_equal(read_at(dst, 0, got, sizeof(got)), size);
		assert_memory_equal(got, dest, size);
		assert_int_equal(P.ctl->pins, 0);
	}
}

static void test_model(void **state)
{
	srand(11);
	run_model(P.root);
}

static void test_other_volume(void **state)
{
	srand(12);
	root_of("other", other_root);
	run_model(other_root);
	proto_set_exports(&P, 1, "10.0.0.0/8 rw");	/* where it is read from */
	assert_int_equal(copy(src, dst, 0, 0, 1, true, &(struct answer){ 0 }), E(ACCESS));
	proto_set_exports(&P, 1, "* ro");
	assert_int_equal(copy(src, dst, 0, 0, 1, true, &(struct answer){ 0 }), NFS4_OK);
	assert_int_equal(copy(dst, src, 0, 0, 1, true, &(struct answer){ 0 }), E(ROFS));
}

static void test_limits(void **state)
{
	struct answer r;

	new_file(P.root, "src", 10000, src);
	new_file(P.root, "dst", 0, dst);
	assert_int_equal(copy(src, dst, 10001, 0, 0, true, &r), E(INVAL));
	assert_int_equal(copy(src, dst, 1, 0, 10000, true, &r), E(INVAL));
	assert_int_equal(copy(src, dst, 0, UINT64_MAX - 1, 5, true, &r), E(INVAL));
	assert_int_equal(copy(src, dst, 0, FS_MAX_SIZE, 5, true, &r), E(FBIG));
	assert_int_equal(copy(src, dst, 0, FS_MAX_SIZE - 5, 0, true, &r), E(FBIG));
	assert_int_equal(copy(src, P.dir, 0, 0, 0, true, &r), E(WRONG_TYPE));
	assert_int_equal(copy(P.link, dst, 0, 0, 0, true, &r), E(WRONG_TYPE));
	assert_int_equal(copy(src, dst, 10000, 0, 0, true, &r), NFS4_OK);
	assert_int_equal(r.count, 0);
	state_now()->copies = NFS4_COPIES_MAX;
	assert_int_equal(copy(src, dst, 0, 0, 0, true, &r), E(DELAY));
	state_now()->copies = 0;
}

/* What takes long is done in parts: the client is told how far it came. */
static void test_parts(void **state)
{
	const uint64_t size = 150 * MIB + 77;
	struct answer r;
	uint64_t at = 0;
	int calls = 0;

	root_of("other", other_root);
	new_file(P.root, "src", size, src);
	write_at(src, size - 10, (const uint8_t *)"0123456789", 10);
	new_file(other_root, "dst", 0, dst);
	for (; at < size; at += r.count, calls++) {
		assert_int_equal(copy(src, dst, at, at, size - at, calls % 2, &r), NFS4_OK);
		assert_true(!r.offloaded && r.count && r.count <= 65 * MIB);
	}
	assert_int_equal(calls, 3);
	assert_int_equal(read_at(dst, size - 10, got, 20), 10);
	assert_memory_equal(got, "0123456789", 10);
}

/* ---- in the background --------------------------------------------------------------- */

static int setup_called(void **state)
{
	setup(state);
	called_init(&A);
	SA = new_called_client("called", 2, &A);
	S = SA;
	root_of("other", other_root);
	new_file(P.root, "big", 20 * MIB + 5, src);
	write_at(src, 20 * MIB, (const uint8_t *)"12345", 5);
	new_file(other_root, "copy", 0, dst);
	P.ctl->delay_ms = 1;			/* as the real one takes its time */
	return 0;
}

static int teardown_called(void **state)
{
	teardown(state);
	called_done(&A);
	return 0;
}
#define TC(x) cmocka_unit_test_setup_teardown(x, setup_called, teardown_called)

static struct answer offload(void)
{
	struct answer r;

	assert_int_equal(copy(src, dst, 0, 0, 0, false, &r), NFS4_OK);
	assert_true(r.offloaded && !r.count && r.committed == NFS4_UNSTABLE);
	return r;
}

/* CB_OFFLOAD's arguments */
static void expect_told(const struct answer *r, uint32_t status, uint64_t bytes)
{
	struct xdr_in in;

	assert_int_equal(A.op, NFS4_CB_OFFLOAD);
	xdr_in_init(&in, A.args, A.args_len);
	assert_int_equal(xdr_get_u32(&in), HANDLE_BYTES);
	assert_memory_equal(xdr_get_fixed(&in, HANDLE_BYTES), dst, HANDLE_BYTES);
	assert_int_equal(xdr_get_u32(&in), r->id.seqid);
	assert_memory_equal(xdr_get_fixed(&in, 12), r->id.other, 12);
	assert_int_equal(xdr_get_u32(&in), status);
	if (!status)
		assert_int_equal(xdr_get_u32(&in), 0);
	assert_int_equal(xdr_get_u64(&in), bytes);
	if (!status)
		assert_int_equal(xdr_get_u32(&in), NFS4_FILE_SYNC);
}

static void test_offload(void **state)
{
	struct answer r = offload();
	uint32_t complete;
	uint64_t count;

	assert_int_equal(A.calls, 0);
	assert_int_equal(offload_op(OP_OFFLOAD_STATUS, &r.id, &count, &complete), NFS4_OK);
	assert_true(count >= 4 * MIB && count < 20 * MIB && complete == UINT32_MAX);
	proto_sleep(SEC);
	assert_int_equal(A.calls, 1);
	expect_told(&r, NFS4_OK, 20 * MIB + 5);
	assert_int_equal(read_at(dst, 20 * MIB, got, 100), 5);
	assert_memory_equal(got, "12345", 5);
	/* it was told, so it is over */
	assert_int_equal(offload_op(OP_OFFLOAD_STATUS, &r.id, &count, &complete),
			 E(BAD_STATEID));
	assert_int_equal(offload_op(OP_OFFLOAD_CANCEL, &r.id, NULL, NULL), E(BAD_STATEID));
	assert_int_equal(state_now()->copies, 0);
	/* who wants to wait is answered how far it came */
	assert_int_equal(copy(src, dst, 0, 0, 0, true, &r), NFS4_OK);
	assert_true(!r.offloaded && r.count == 20 * MIB + 5);
	/* and what is little is not worth it */
	assert_int_equal(copy(src, dst, 0, 0, MIB, false, &r), NFS4_OK);
	assert_true(!r.offloaded && r.count == MIB);
}

static void test_cancel(void **state)
{
	struct answer r = offload();
	uint64_t size;

	assert_int_equal(offload_op(OP_OFFLOAD_CANCEL, &r.id, NULL, NULL), NFS4_OK);
	size = size_of(dst);
	assert_true(size >= 4 * MIB && size < 20 * MIB);
	proto_sleep(SEC);
	assert_int_equal(size_of(dst), size);
	assert_int_equal(A.calls, 0);
	assert_int_equal(offload_op(OP_OFFLOAD_CANCEL, &r.id, NULL, NULL), E(BAD_STATEID));
	assert_int_equal(state_now()->copies, 0);
}

static size_t heap(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

/* A client that wasn't reached may ask; until so many are over that the first ones' place is needed. */
static void test_not_told(void **state)
{
	struct answer r[NFS4_OFFLOADS_MAX + 1];
	uint32_t complete;
	uint64_t count;
	size_t used = 0;

	A.status = E(DELAY);
	for (int i = 0; i <= NFS4_OFFLOADS_MAX; i++) {
		r[i] = offload();
		proto_sleep(SEC);
		assert_int_equal(state_now()->copies, 0);
		used = i ? used : heap();
	}
	assert_true(heap() < used + NFS4_OFFLOADS_MAX * 4096);	/* what they worked with is gone */
	assert_int_equal(offload_op(OP_OFFLOAD_STATUS, &r[0].id, &count, &complete),
			 E(BAD_STATEID));
	for (int i = 1; i <= NFS4_OFFLOADS_MAX; i++) {
		assert_int_equal(offload_op(OP_OFFLOAD_STATUS, &r[i].id, &count, &complete),
				 NFS4_OK);
		assert_true(count == 20 * MIB + 5 && complete == NFS4_OK);
	}
	assert_int_equal(offload_op(OP_OFFLOAD_CANCEL, &r[1].id, NULL, NULL), NFS4_OK);
	A.status = NFS4_OK;
	proto_sleep(100 * SEC);
	for (int i = 0; i <= NFS4_OFFLOADS_MAX; i++)
		assert_int_equal(offload_op(OP_OFFLOAD_STATUS, &r[i].id, &count, &complete),
				 E(BAD_STATEID));
}

/* All places are taken by copies at work, or there is no way to tell: done while the client waits. */
static void test_no_place(void **state)
{
	struct nfs4_client *c = client_of(&S);
	struct answer r;

	offload();
	c->noffloads += NFS4_OFFLOADS_MAX - 1;
	assert_int_equal(copy(src, dst, 0, 0, 0, false, &r), NFS4_OK);
	assert_true(!r.offloaded && r.count >= 4 * MIB && r.count < 20 * MIB);
	c->noffloads -= NFS4_OFFLOADS_MAX - 1;
	proto_sleep(SEC);
	A.err = -ETIMEDOUT;
	offload();
	proto_sleep(10 * SEC);
	assert_int_equal(copy(src, dst, 0, 0, 0, false, &r), NFS4_OK);
	assert_true(!r.offloaded && r.count == 20 * MIB + 5);
}

/* What goes wrong half-way is told, and how far it came; files that lose their names don't mind. */
static void test_half_way(void **state)
{
	struct answer r = offload();
	bool fails;

	P.ctl->fail = -EAGAIN;			/* it will be possible later */
	proto_sleep(SEC);
	P.ctl->fail = 0;
	expect_told(&r, NFS4_OK, 20 * MIB + 5);
	r = offload();
	P.ctl->fail = -ENOSPC;			/* memfs only */
	proto_sleep(SEC);
	fails = !P.ctl->fail;
	P.ctl->fail = 0;
	assert_int_equal(A.calls, 2);
	if (fails)
		expect_told(&r, E(NOSPC), 4 * MIB);
	r = offload();
	on(P.root);
	name_op(OP_REMOVE, "big");
	assert_int_equal(run_on(), NFS4_OK);
	on(other_root);
	name_op(OP_REMOVE, "copy");
	assert_int_equal(run_on(), NFS4_OK);
	proto_sleep(SEC);
	expect_told(&r, NFS4_OK, 20 * MIB + 5);
}

/* The client comes anew, and the server ends, while copies run. */
static void test_client_goes(void **state)
{
	struct sess again = { 0 };
	struct chan got_chan;
	uint32_t flags;

	offload();
	offload();
	assert_int_equal(exchange("called", 2, 0, &again, &flags), NFS4_OK);
	assert_int_equal(create_session(&again, (struct chan){ 1 << 20, 4096, 16, 8 }, &got_chan),
			 NFS4_OK);
	proto_sleep(SEC);
	assert_int_equal(A.calls, 0);
	assert_int_equal(state_now()->copies, 0);
}

static void test_server_ends(void **state)
{
	offload();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T4(test_model), T4(test_other_volume), T4(test_limits), T4(test_parts),
		TC(test_offload), TC(test_cancel), TC(test_not_told), TC(test_no_place),
		TC(test_half_way), TC(test_client_goes), TC(test_server_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
