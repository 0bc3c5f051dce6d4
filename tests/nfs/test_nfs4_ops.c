/* SPDX-License-Identifier: Apache-2.0 */
/* NFSv4's operations in process: ranges, listings, attributes.  What each says to whom it can't
 * serve stands in table.h. */
#include "compound.h"
#include "nfs/nfs4_state.h"

enum object { DIR, FILE_, LINK, PSEUDO };

static void put_object(enum object o)
{
	switch (o) {
	case DIR: putfh(P.root); break;
	case FILE_: putfh(P.file); break;
	case LINK: putfh(P.link); break;
	case PSEUDO: op(OP_PUTROOTFH); break;
	}
}

/* NUM with arguments that are valid on the right kind of object; its first time. */
static void put_valid(uint32_t num)
{
	op(num);
	switch (num) {
	case OP_CREATE: msg_u32(&M, FS_DIR); msg_string(&M, "newdir"); put_mode(0755); break;
	case OP_REMOVE: msg_string(&M, "l"); break;
	case OP_SETATTR:
		put_sid(&anonymous);
		msg_u32(&M, 1);
		msg_u32(&M, 16);
		msg_u32(&M, 8);
		msg_u64(&M, 5);
		break;
	case OP_WRITE:
		put_sid(&anonymous);
		msg_u64(&M, 0);
		msg_u32(&M, NFS4_FILE_SYNC);
		msg_string(&M, "hello");
		break;
	case OP_DEALLOCATE: put_sid(&anonymous); put_range(0, 4096);
	}
}

/* What could not be made stable is taken back, and nothing after it is told. */
static void test_not_stable(void **state)
{
	static const uint8_t changes[] = { OP_CREATE, OP_REMOVE, OP_SETATTR, OP_WRITE };

	for (size_t i = 0; i < sizeof(changes); i++) {
		P.ctl->fail_stable = -EIO;
		on(changes[i] == OP_WRITE || changes[i] == OP_SETATTR ? P.file : P.root);
		put_valid(changes[i]);
		op(OP_GETFH);
		op(OP_GETFH);
		assert_int_equal(run_on(), E(IO));
		assert_int_equal(results, 3);
		assert_int_equal(res(changes[i]), E(IO));
		if (changes[i] == OP_SETATTR)
			xdr_get_u32(&R);
		end_of_reply();
	}
	P.ctl->fail_stable = 0;
	P.ctl->stable_waits = 0;
	on(P.file);
	put_valid(OP_WRITE);
	put_valid(OP_SETATTR);
	put_valid(OP_WRITE);
	assert_int_equal(run_on(), NFS4_OK);
	assert_int_equal(P.ctl->stable_waits, 1);	/* once for all */
}

/* Only bits that mean something for the type are supported, and no others are allowed. */
static void test_access(void **state)
{
	static const struct { enum object o; uint32_t bits; } t[] = {
		{ DIR, 0x1f }, { FILE_, 0x2d }, { LINK, 0x2d }, { PSEUDO, 0x1f },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++)
		for (uint32_t want = 0; want < 0x80; want++) {
			uint32_t status, supported, allowed;

			begin(1);
			seq(&S);
			put_object(t[i].o);
			op(OP_ACCESS);
			msg_u32(&M, want);
			run();
			ok_seq();
			res(t[i].o == PSEUDO ? OP_PUTROOTFH : OP_PUTFH);
			status = res(OP_ACCESS);
			assert_int_equal(status, want > 0x3f ? E(INVAL) : NFS4_OK);
			if (status)
				continue;
			supported = xdr_get_u32(&R);
			allowed = xdr_get_u32(&R);
			assert_int_equal(supported, want & t[i].bits);
			assert_int_equal(allowed & ~supported, 0);
			end_of_reply();
		}
	on(P.file);
	op(OP_ACCESS);
	msg_u32(&M, 0x200);
	assert_int_equal(run_on(), E(INVAL));
}

/* ---- 4.2 ----------------------------------------------------------------------------- */

static uint32_t clone_or_copy(uint32_t num, const uint8_t *src, const uint8_t *dst, uint64_t from,
			      uint64_t to, uint64_t len)
{
	begin(2);
	seq(&S);
	putfh(src);
	op(OP_SAVEFH);
	putfh(dst);
	op(num);
	put_sid(&anonymous);
	put_sid(&anonymous);
	put_range(from, to);
	msg_u64(&M, len);
	if (num == OP_COPY) {
		msg_u64(&M, 0);
		msg_u32(&M, 0);
	}
	run();
	ok_seq();
	ok(OP_PUTFH);
	ok(OP_SAVEFH);
	ok(OP_PUTFH);
	return res(num);
}

static void file_handle(const char *name, uint8_t fh[HANDLE_BYTES])
{
	struct sid sid;

	assert_int_equal(create4(NFS4_CREATE_UNCHECKED, 0, name, -1, &sid), NFS4_OK);
	on(P.root);
	name_op(OP_LOOKUP, name);
	op(OP_GETFH);
	assert_int_equal(run_on(), NFS4_OK);
	ok(OP_LOOKUP);
	ok(OP_GETFH);
	get_fh(fh);
}

static void read_all(const uint8_t *fh, uint64_t off, uint32_t len, uint8_t *ret)
{
	struct xdr_bytes b;

	on(fh);
	op(OP_READ);
	put_sid(&anonymous);
	msg_u64(&M, off);
	msg_u32(&M, len);
	assert_int_equal(run_on(), NFS4_OK);
	ok(OP_READ);
	xdr_get_u32(&R);
	b = xdr_get_opaque(&R, len);
	assert_int_equal(b.len, len);
	memcpy(ret, b.s, len);
}

static void test_clone(void **state)
{
	static const struct { uint64_t from, to, len; uint32_t status; } t[] = {
		{ 0, 0, 0, 0 }, { 0, 0, 10000, 0 }, { 4096, 0, 4096, 0 }, { 8192, 12288, 1808, 0 },
		{ 8192, 4096, 1808, E(INVAL) },
		{ 1, 0, 4096, E(INVAL) }, { 0, 1, 4096, E(INVAL) }, { 0, 0, 10001, E(INVAL) },
		{ 20000, 0, 0, E(INVAL) }, { UINT64_MAX, 0, 2, E(INVAL) },
		{ 0, UINT64_MAX - 4095, 8192, E(INVAL) },
		{ 0, (uint64_t)FS_MAX_SIZE, 4096, E(FBIG) },
	};
	static uint8_t a[10000], b[10000];
	uint8_t fh[HANDLE_BYTES], other[HANDLE_BYTES];
	struct fs_volume_info info;

	file_handle("clone", fh);
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		uint32_t status = clone_or_copy(OP_CLONE, P.file, fh, t[i].from, t[i].to, t[i].len);

		if (status != t[i].status)
			print_error("clone %zu\n", i);
		assert_int_equal(status, t[i].status);
		if (i == 1) {
			read_all(P.file, 0, 10000, a);
			read_all(fh, 0, 10000, b);
			assert_memory_equal(a, b, 10000);
		}
	}
	assert_int_equal(fs_volume_get(P.fs, 2, &info), 0);
	handle_make((const uint8_t *)"0123456789abcde", &info.root, other);
	assert_int_equal(clone_or_copy(OP_CLONE, other, fh, 0, 0, 0), E(XDEV));
	file_handle("empty", fh);
	P.ctl->fail_stable = -EIO;
	assert_int_equal(clone_or_copy(OP_CLONE, P.file, fh, 0, 0, 0), E(IO));
	P.ctl->fail_stable = 0;
}

static void test_copy(void **state)
{
	static const struct { uint64_t from, to, len, done; } t[] = {
		{ 0, 0, 10000, 10000 }, { 100, 50, 4000, 4000 }, { 0, 0, 0, 10000 },
		{ 4096, 4096, 4096, 4096 }, { 4096, 8192, 5000, 5000 }, { 9999, 3, 1, 1 },
		{ 10000, 0, 0, 0 },
	};
	static uint8_t a[10000], b[10000];
	uint8_t fh[HANDLE_BYTES];

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		char name[8];

		snprintf(name, sizeof(name), "c%zu", i);
		file_handle(name, fh);
		/* something behind it, so that a crooked end can't be shared */
		on(fh);
		put_valid(OP_SETATTR);
		M.len -= 8;
		msg_u64(&M, 40000);
		assert_int_equal(run_on(), NFS4_OK);
		assert_int_equal(clone_or_copy(OP_COPY, P.file, fh, t[i].from, t[i].to,
					       t[i].len), 0);
		assert_int_equal(xdr_get_u32(&R), 0);
		uint64_t done = xdr_get_u64(&R);

		assert_true(done == t[i].done || (done && done < t[i].done));
		assert_int_equal(xdr_get_u32(&R), NFS4_FILE_SYNC);
		xdr_get_u64(&R);
		assert_int_equal(xdr_get_u32(&R), 1);
		assert_int_equal(xdr_get_u32(&R), 1);
		end_of_reply();
		read_all(P.file, t[i].from, done, a);
		read_all(fh, t[i].to, done, b);
		assert_memory_equal(a, b, done);
	}
	assert_int_equal(clone_or_copy(OP_COPY, P.file, fh, 0, 0, 10001), E(INVAL));
	assert_int_equal(clone_or_copy(OP_COPY, P.file, fh, 10001, 0, 0), E(INVAL));
}

static uint32_t seek_(uint64_t off, uint32_t what, bool *eof, uint64_t *at)
{
	uint32_t status;

	on(P.file);
	op(OP_SEEK);
	put_sid(&anonymous);
	msg_u64(&M, off);
	msg_u32(&M, what);
	status = run_on();
	assert_int_equal(res(OP_SEEK), status);
	if (!status) {
		*eof = xdr_get_u32(&R);
		*at = xdr_get_u64(&R);
		end_of_reply();
	}
	return status;
}

static void test_holes(void **state)
{
	uint64_t at;
	bool eof;

	on(P.file);
	put_valid(OP_DEALLOCATE);
	assert_int_equal(run_on(), NFS4_OK);
	assert_int_equal(size_of(P.file), 10000);
	assert_int_equal(seek_(0, 0, &eof, &at), 0);
	assert_true(at == 4096 && !eof);
	assert_int_equal(seek_(0, 1, &eof, &at), 0);
	assert_true(at == 0 && !eof);
	assert_int_equal(seek_(5000, 1, &eof, &at), 0);
	assert_true(at == 10000 && eof);
	assert_int_equal(seek_(10000, 0, &eof, &at), E(NXIO));
	on(P.file);
	op(OP_DEALLOCATE);
	put_sid(&anonymous);
	put_range(4096, UINT64_MAX - 4096);
	assert_int_equal(run_on(), NFS4_OK);
	assert_int_equal(seek_(0, 0, &eof, &at), 0);
	assert_true(eof || at >= 8192);				/* the last, whole or not */
	on(P.file);
	op(OP_DEALLOCATE);
	put_sid(&anonymous);
	put_range(4096, UINT64_MAX);
	assert_int_equal(run_on(), E(INVAL));
}

/* ---- directories, attributes --------------------------------------------------------- */

static uint32_t list(const uint8_t *fh, uint64_t cookie, uint64_t verf, uint32_t max)
{
	begin(2);
	seq(&S);
	if (fh)
		putfh(fh);
	else
		op(OP_PUTROOTFH);
	op(OP_READDIR);
	put_range(cookie, verf);
	msg_u32(&M, 100);
	msg_u32(&M, max);
	msg_u32(&M, 2);
	msg_u32(&M, 1 << 20 | 1 << 8 | 1 << 1);		/* fileid, fsid, type */
	msg_u32(&M, 1 << (55 - 32));
	run();
	ok_seq();
	ok(fh ? OP_PUTFH : OP_PUTROOTFH);
	return res(OP_READDIR);
}

static unsigned entries(uint8_t *seen, uint64_t *cookie, uint64_t *verf, bool *eof)
{
	unsigned n = 0;

	*verf = xdr_get_u64(&R);
	while (xdr_get_bool(&R)) {
		struct xdr_bytes name;
		char text[256];
		unsigned k;

		*cookie = xdr_get_u64(&R);
		name = xdr_get_opaque(&R, 255);
		memcpy(text, name.s, name.len);
		text[name.len] = 0;
		assert_string_not_equal(text, ".");
		if (seen && sscanf(text, "e%u", &k) == 1)
			seen[k]++;
		assert_int_equal(xdr_get_u32(&R), 2);
		xdr_get_u64(&R);
		assert_int_equal(xdr_get_u32(&R), 4 + 16 + 8 + 8);
		xdr_get_fixed(&R, 36);
		n++;
	}
	*eof = xdr_get_bool(&R);
	end_of_reply();
	return n;
}

static void test_readdir(void **state)
{
	enum { N = 200 };
	uint8_t seen[N];

	for (unsigned i = 0; i < N; i++) {
		char name[64];

		snprintf(name, sizeof(name), "e%u%.*s", i, i % 30,
			 "______________________________");
		on(P.root);
		op(OP_CREATE);
		msg_u32(&M, FS_FIFO);
		msg_string(&M, name);
		put_mode(0600);
		assert_int_equal(run_on(), NFS4_OK);
	}
	for (uint32_t max = 100; max < 9000; max = max * 5 / 4 + 7) {
		uint64_t cookie = 0, verf = 0;
		unsigned total = 0;
		bool eof = false;

		memset(seen, 0, sizeof(seen));
		while (!eof) {
			uint32_t status = list(P.root, cookie, verf, max);

			if (status == E(TOOSMALL))
				break;
			assert_int_equal(status, NFS4_OK);
			assert_true(xdr_left(&R) <= max);
			total += entries(seen, &cookie, &verf, &eof);
		}
		if (!eof) {
			assert_true(max < 200);
			continue;
		}
		assert_int_equal(total, N + 3);
		for (int i = 0; i < N; i++)
			assert_int_equal(seen[i], 1);
	}
	assert_int_equal(list(P.root, 1, 0, 1000), E(BAD_COOKIE));
	assert_int_equal(list(P.root, 2, 0, 1000), E(BAD_COOKIE));
	assert_int_equal(list(P.root, 9, 12345, 1000), E(NOT_SAME));
	assert_int_equal(list(P.root, 9, 0, 1000), NFS4_OK);
	assert_int_equal(list(P.root, 0, 0, 0), E(TOOSMALL));
	assert_int_equal(list(P.root, 0, 0, UINT32_MAX), NFS4_OK);
}

/* What is damaged has an error for its attributes, if the client can be told so. */
static void test_readdir_damaged(void **state)
{
	unsigned n = 0;

	P.ctl->damaged = "f";
	assert_int_equal(list(P.root, 0, 0, 4096), NFS4ERR_IO);
	on(P.root);
	op(OP_READDIR);
	put_range(0, 0);
	msg_u32(&M, 100);
	msg_u32(&M, 4096);
	msg_u32(&M, 1);
	msg_u32(&M, 1 << 20 | 1 << 11);			/* fileid, rdattr_error */
	assert_int_equal(run_on(), NFS4_OK);
	ok(OP_READDIR);
	xdr_get_u64(&R);
	for (; xdr_get_bool(&R); n++) {
		struct xdr_bytes name;
		bool damaged;

		xdr_get_u64(&R);
		name = xdr_get_opaque(&R, 255);
		damaged = name.len == 1 && *name.s == 'f';
		assert_int_equal(xdr_get_u32(&R), 1);
		assert_int_equal(xdr_get_u32(&R), damaged ? 1 << 11 : 1 << 20 | 1 << 11);
		assert_int_equal(xdr_get_u32(&R), damaged ? 4 : 12);
		assert_int_equal(xdr_get_u32(&R), damaged ? NFS4ERR_IO : NFS4_OK);
		if (!damaged)
			xdr_get_u64(&R);
	}
	assert_true(xdr_get_bool(&R));
	end_of_reply();
	assert_int_equal(n, 3);
}

static void test_pseudo_root(void **state)
{
	uint64_t cookie, verf;
	bool eof;

	assert_int_equal(list(NULL, 0, 0, 4096), NFS4_OK);
	assert_int_equal(entries(NULL, &cookie, &verf, &eof), 2);
	assert_true(eof);
	memfs_set_exports(P.fs, 2, "10.0.0.0/8 rw");		/* not for us: not seen */
	assert_int_equal(list(NULL, 0, 0, 4096), NFS4_OK);
	assert_int_equal(entries(NULL, &cookie, &verf, &eof), 1);
	assert_int_equal(list(NULL, cookie, verf, 4096), NFS4_OK);
	assert_int_equal(entries(NULL, &cookie, &verf, &eof), 0);
	for (int i = 0; i < 3; i++) {
		static const char *const names[] = { "vol", "other", "nowhere" };

		begin(1);
		seq(&S);
		op(OP_PUTROOTFH);
		name_op(OP_LOOKUP, names[i]);
		op(OP_GETFH);
		assert_int_equal(run(), i ? E(NOENT) : NFS4_OK);
	}
	ok_seq();
	/* down and up again */
	begin(1);
	seq(&S);
	op(OP_PUTROOTFH);
	op(OP_GETFH);
	name_op(OP_LOOKUP, "vol");
	op(OP_LOOKUPP);
	op(OP_GETFH);
	assert_int_equal(run(), NFS4_OK);
	ok_seq();
	ok(OP_PUTROOTFH);
	ok(OP_GETFH);
	struct xdr_bytes first = xdr_get_opaque(&R, 128);

	ok(OP_LOOKUP);
	ok(OP_LOOKUPP);
	ok(OP_GETFH);
	struct xdr_bytes again = xdr_get_opaque(&R, 128);

	assert_int_equal(first.len, again.len);
	assert_memory_equal(first.s, again.s, first.len);
}

/* All that is said to be supported can be asked for, on anything, and compares equal. */
static void test_attributes(void **state)
{
	for (uint32_t minor = 1; minor <= 2; minor++)
		for (enum object o = DIR; o <= PSEUDO; o++) {
			uint32_t w[3] = { 0 }, n;
			struct xdr_bytes values;

			begin(minor);
			seq(&S);
			put_object(o);
			op(OP_GETATTR);
			msg_u32(&M, 1);
			msg_u32(&M, 1);
			assert_int_equal(run(), NFS4_OK);
			ok_seq();
			res(o == PSEUDO ? OP_PUTROOTFH : OP_PUTFH);
			ok(OP_GETATTR);
			xdr_get_u64(&R);
			xdr_get_u32(&R);
			n = xdr_get_u32(&R);
			assert_int_equal(n, 3);
			for (uint32_t i = 0; i < n; i++)
				w[i] = xdr_get_u32(&R);
			end_of_reply();
			assert_int_equal(!!(w[2] & 1 << (77 - 64)), minor == 2);
			w[0] &= ~(1u << 11);				/* rdattr_error */
			w[1] &= ~(1u << 16 | 1u << 22);			/* only to be set */
			w[2] &= ~(1u << 10 | 1u << 17);
			begin(minor);
			seq(&S);
			put_object(o);
			op(OP_GETATTR);
			msg_u32(&M, 4);
			for (int i = 0; i < 3; i++)
				msg_u32(&M, w[i]);
			msg_u32(&M, 0);
			assert_int_equal(run(), NFS4_OK);
			ok_seq();
			res(o == PSEUDO ? OP_PUTROOTFH : OP_PUTFH);
			ok(OP_GETATTR);
			assert_int_equal(xdr_get_u32(&R), 3);
			for (int i = 0; i < 3; i++)
				assert_int_equal(xdr_get_u32(&R), w[i]);
			values = xdr_get_opaque(&R, 2000);
			assert_true(values.len > 200);
			end_of_reply();
			uint8_t *kept = malloc(values.len);

			memcpy(kept, values.s, values.len);
			for (int wrong = 0; wrong < 2; wrong++) {
				begin(minor);
				seq(&S);
				put_object(o);
				op(OP_VERIFY);
				msg_u32(&M, 3);
				for (int i = 0; i < 3; i++)
					msg_u32(&M, w[i]);
				kept[values.len / 2] ^= wrong;
				msg_opaque(&M, kept, values.len);
				assert_int_equal(run(), wrong ? E(NOT_SAME) : NFS4_OK);
			}
			free(kept);
		}
}

static void test_setattr(void **state)
{
	static const struct { uint32_t w[3]; const char *value; uint32_t len, status; } t[] = {
		{ { 0, 2, 0 }, "\0\0\1\244", 4, 0 },				/* mode 0644 */
		{ { 0, 2, 0 }, "\0\1\0\0", 4, E(INVAL) },
		{ { 0, 16, 0 }, "\0\0\0\0041000", 8, 0 },			/* owner */
		{ { 0, 32, 0 }, "\0\0\0\0041000", 8, 0 },
		{ { 0, 16, 0 }, "\0\0\0\004root", 8, 0 },
		{ { 0, 16, 0 }, "\0\0\0\0", 4, E(BADOWNER) },
		{ { 0, 16, 0 }, "\0\0\0\01299999999999\0\0", 16, E(BADOWNER) },
		{ { 0, 1 << 16, 0 }, "\0\0\0\0", 4, 0 },			/* atime: now */
		{ { 0, 1 << 22, 0 }, "\0\0\0\1\0\0\0\0\0\0\0\7\0\0\0\5", 16, 0 },
		{ { 0, 1 << 22, 0 }, "\0\0\0\1\0\0\0\0\0\0\0\7\100\0\0\0", 16, E(INVAL) },
		{ { 0, 1 << 22, 0 }, "\0\0\0\2", 4, E(BADXDR) },
		{ { 2, 0, 0 }, "\0\0\0\1", 4, E(INVAL) },			/* type */
		{ { 1 << 12, 0, 0 }, "\0\0\0\0", 4, 0 },			/* acl */
		{ { 0, 0, 1 << 17 }, "\0\0\1\377\0\0\0\0", 8, E(INVAL) },	/* mode_umask */
		{ { 0, 0, 1u << 31 }, "", 0, E(ATTRNOTSUPP) },
		{ { 0, 2, 0 }, "\0\0\1\244\0\0\0\0", 8, E(BADXDR) },		/* too much */
		{ { 16, 0, 0 }, "\20\0\0\0\0\0\0\1", 8, E(FBIG) },		/* size */
		{ { 0, 0, 0 }, "", 0, 0 },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		on(P.file);
		op(OP_SETATTR);
		put_sid(&anonymous);
		msg_u32(&M, 3);
		for (int k = 0; k < 3; k++)
			msg_u32(&M, t[i].w[k]);
		msg_opaque(&M, t[i].value, t[i].len);
		uint32_t status = run_on();

		if (status != t[i].status)
			print_error("setattr %zu\n", i);
		assert_int_equal(status, t[i].status);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T4(test_not_stable), T4(test_access), T4(test_clone), T4(test_copy), T4(test_holes),
		T4(test_readdir), T4(test_readdir_damaged), T4(test_pseudo_root), T4(test_attributes), T4(test_setattr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
