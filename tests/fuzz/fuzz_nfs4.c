/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as operations of NFSv4, in a session, on a file system in memory.  The input is a
 * series of COMPOUNDs, each with its length in two bytes before it: one byte for the minor
 * version, one for the number of operations, then what follows SEQUENCE and PUTFH of a file, a
 * directory or a symlink.  What comes back must be a reply, and no read may stay pinned.
 *
 *	fuzz_nfs4 CORPUS_DIR		with clang, which brings libFuzzer
 *	fuzz_nfs4 FILE...		otherwise: runs each file once
 *	fuzz_nfs4 --seeds DIR		writes some that are valid, to begin with
 */
#include <assert.h>
#include "base/log.h"
#include "../nfs/compound.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void one_compound(const uint8_t *data, size_t len)
{
	const uint8_t *fhs[] = { P.file, P.root, P.link };
	uint32_t n;

	if (len < 2)
		return;
	begin(data[0] & 1 ? 2 : 1);
	seq(&S);
	if (data[0] & 8) {
		putfh(P.file);
		op(OP_SAVEFH);
	}
	putfh(fhs[(data[0] >> 1 & 3) % 3]);
	n = htobe32(nops + data[1]);
	memcpy(M.data + nops_at, &n, 4);
	msg_bytes(&M, data + 2, len - 2);
	free(reply);
	reply = proto_serve(&P, &M, &reply_len);
	assert(reply && reply_len >= 24 && reply_len % 4 == 0);
	assert(P.ctl->pins == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	log_set_level(LOG_ERROR);
	setup4(NULL);
	while (len >= 2) {
		size_t n = data[0] << 8 | data[1];

		data += 2;
		len -= 2;
		n = n && n < len ? n : len;
		one_compound(data, n);
		data += n;
		len -= n;
	}
	teardown(NULL);
	return 0;
}

/* ---- seeds --------------------------------------------------------------------------- */

static void seed_data(void)
{
	put_open(3, 0, "o", "f");
	op(OP_WRITE);
	put_sid(&current);
	msg_u64(&M, 5);
	msg_u32(&M, 2);
	msg_string(&M, "data");
	op(OP_READ);
	put_sid(&current);
	msg_u64(&M, 0);
	msg_u32(&M, 100);
	op(OP_CLOSE);
	msg_u32(&M, 0);
	put_sid(&current);
}

static void seed_lock(void)
{
	put_open(3, 1, "o", "f");
	op(OP_LOCK);
	msg_u32(&M, 2);
	msg_u32(&M, 0);
	put_range(10, 20);
	msg_u32(&M, 1);
	msg_u32(&M, 0);
	put_sid(&current);
	msg_u32(&M, 0);
	put_owner("l");
	op(OP_LOCKU);
	msg_u32(&M, 2);
	msg_u32(&M, 0);
	put_sid(&current);
	put_range(15, 5);
	op(OP_FREE_STATEID);
	put_sid(&current);
}

static void seed_clone(void)
{
	for (uint32_t num = OP_COPY; num <= OP_CLONE; num += OP_CLONE - OP_COPY) {
		op(num);
		put_sid(&anonymous);
		put_sid(&anonymous);
		put_range(0, 8192);
		msg_u64(&M, 4096);
		if (num == OP_COPY) {
			msg_u64(&M, 1);
			msg_u32(&M, 0);
		}
	}
	op(OP_SEEK);
	put_sid(&anonymous);
	msg_u64(&M, 0);
	msg_u32(&M, 1);
	op(OP_DEALLOCATE);
	put_sid(&anonymous);
	put_range(4000, 5000);
}

static void seed_names(void)
{
	name_op(OP_LOOKUP, "d");
	op(OP_CREATE);
	msg_u32(&M, FS_LNK);
	msg_string(&M, "to/where");
	msg_string(&M, "s");
	put_mode(0777);
	op(OP_LOOKUPP);
	op(OP_SAVEFH);
	op(OP_RENAME);
	msg_string(&M, "l");
	msg_string(&M, "m");
	name_op(OP_REMOVE, "m");
}

static void seed_attributes(void)
{
	op(OP_GETATTR);
	msg_u32(&M, 3);
	msg_u32(&M, UINT32_MAX);
	msg_u32(&M, ~(1u << 16 | 1u << 22));
	msg_u32(&M, ~(1u << 17));
	op(OP_READDIR);
	put_range(0, 0);
	msg_u32(&M, 4096);
	msg_u32(&M, 4096);
	msg_u32(&M, 1);
	msg_u32(&M, 0x180000);
	op(OP_SETATTR);
	put_sid(&anonymous);
	put_mode(0600);
	op(OP_PUTROOTFH);
	op(OP_READDIR);
	put_range(0, 0);
	msg_u32(&M, 4096);
	msg_u32(&M, 4096);
	msg_u32(&M, 0);
}

static void write_seeds(const char *dir)
{
	static const struct { const char *name; uint8_t how; void (*put)(void); } seeds[] = {
		{ "data", 1 | 2, seed_data }, { "lock", 1 | 2, seed_lock },
		{ "clone", 1 | 8, seed_clone }, { "names", 1 | 2, seed_names },
		{ "attributes", 1 | 2, seed_attributes },
	};

	for (size_t i = 0; i < sizeof(seeds) / sizeof(*seeds); i++) {
		char path[4096];
		size_t at;
		FILE *f;

		begin(2);
		at = M.len;
		seeds[i].put();
		snprintf(path, sizeof(path), "%s/nfs4-%s", dir, seeds[i].name);
		f = fopen(path, "wb");
		if (!f || putc(0, f) < 0 || putc(0, f) < 0 || putc(seeds[i].how, f) < 0 ||
		    putc(nops, f) < 0 || fwrite(M.data + at, 1, M.len - at, f) != M.len - at ||
		    fclose(f)) {
			perror(path);
			exit(1);
		}
	}
}

#ifndef HAVE_LIBFUZZER
static void run_file(const char *path)
{
	static uint8_t data[1 << 20];
	FILE *f = fopen(path, "rb");
	size_t len = f ? fread(data, 1, sizeof(data), f) : 0;

	if (!f) {
		perror(path);
		exit(1);
	}
	fclose(f);
	LLVMFuzzerTestOneInput(data, len);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--seeds")) {
		write_seeds(argv[2]);
		return 0;
	}
	for (int i = 1; i < argc; i++)
		run_file(argv[i]);
	return 0;
}
#else
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	if (*argc == 3 && !strcmp((*argv)[1], "--seeds")) {
		write_seeds((*argv)[2]);
		exit(0);
	}
	return 0;
}
#endif
