/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as calls to the NFS server, on a file system in memory.  The input is a series of
 * calls, each with its length in two bytes before it; a length of zero means the rest.  What
 * comes back must be a reply, and no read may stay pinned.
 *
 *   fuzz_rpc CORPUS_DIR		with clang, which brings libFuzzer
 *   fuzz_rpc FILE...		otherwise: runs each file once
 *   fuzz_rpc --seeds DIR	writes valid calls of each procedure, to begin with
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void one_call(struct proto *p, const uint8_t *data, size_t len)
{
	struct msg m = { .data = (uint8_t *)data, .len = len };
	size_t reply_len;
	uint8_t *reply = proto_serve(p, &m, &reply_len);

	if (!reply)
		return;
	assert(reply_len >= 16 && reply_len % 4 == 0);
	assert(!memcmp(reply, data, 4));		/* the xid */
	assert(get32(reply + 4) == 1);
	free(reply);
	assert(p->ctl->pins == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct proto p;

	log_set_level(LOG_ERROR);
	proto_begin(&p);
	while (len >= 2) {
		size_t n = data[0] << 8 | data[1];

		data += 2;
		len -= 2;
		n = n && n < len ? n : len;
		one_call(&p, data, n);
		data += n;
		len -= n;
	}
	proto_end(&p);
	return 0;
}

static void write_seed(const char *dir, const char *name, const struct msg *m)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "wb");
	if (!f || putc(m->len >> 8, f) < 0 || putc(m->len & 255, f) < 0 ||
	    fwrite(m->data, 1, m->len, f) != m->len || fclose(f)) {
		perror(path);
		exit(1);
	}
}

static void write_seeds(const char *dir)
{
	struct msg m = { 0 };
	struct proto p;

	proto_begin(&p);
	for (uint32_t proc = 0; proc < NFS3_PROCS; proc++) {
		char name[32];

		proto_call(&p, proc, &m);
		snprintf(name, sizeof(name), "nfs3-%u", proc);
		write_seed(dir, name, &m);
	}
	for (uint32_t proc = 0; proc < 6; proc++) {
		char name[32];

		proto_head(&p, MOUNT_PROGRAM, 3, proc, &m);
		if (proc == 1 || proc == 3)
			msg_string(&m, "/vol/d");
		snprintf(name, sizeof(name), "mount3-%u", proc);
		write_seed(dir, name, &m);
	}
	msg_free(&m);
	proto_end(&p);
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
