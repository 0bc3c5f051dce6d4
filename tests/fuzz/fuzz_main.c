/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See fuzz.h.
 *
 *	TARGET DIR...		with libFuzzer (or AFL++, which brings the same entry): fuzzes
 *	TARGET FILE...		runs each once; without libFuzzer, all that is in a DIR too
 *	TARGET --random N [--seed S] DIR...	then, without libFuzzer, N changed ones of them
 *	TARGET --seeds DIR	writes inputs to begin with
 */
#include <dirent.h>
#include "base/log.h"
#include "base/rng.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* The same input is the same run: what a stranger must not guess (handles are signed with a fixed
 * key) comes from a seed. */
static struct rng rng;

void __wrap_secure_random(void *buf, size_t len);
uint64_t __wrap_secure_random_u64(void);

void __wrap_secure_random(void *buf, size_t len) { rng_fill(&rng, buf, len); }
uint64_t __wrap_secure_random_u64(void) { return rng_u64(&rng); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	rng_init(&rng, 1);
	log_set_level(LOG_ERROR);
	fuzz_input(data, len);
	return 0;
}

static const char *seeds_dir;

static void put_seed(const char *name, const uint8_t *data, size_t len)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", seeds_dir, name);
	f = fopen(path, "wb");
	if (!f || fwrite(data, 1, len, f) != len || fclose(f)) {
		perror(path);
		exit(1);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	rng_init(&rng, 1);
	if (*argc == 3 && !strcmp((*argv)[1], "--seeds")) {
		seeds_dir = (*argv)[2];
		fuzz_seeds(put_seed);
		exit(0);
	}
	return 0;
}

#ifndef HAVE_LIBFUZZER
enum { KEPT_MAX = 4096, RANDOM_MAX = 600 };

static unsigned ran, nkept;
static struct kept { uint8_t *data; size_t len; } kept[KEPT_MAX];	/* what was run, for --random */

static void run_bytes(const uint8_t *data, size_t len)
{
	uint8_t *exact = malloc(len ? len : 1);

	memcpy(exact, data, len);
	LLVMFuzzerTestOneInput(exact, len);
	ran++;
	if (nkept < KEPT_MAX)
		kept[nkept++] = (struct kept){ exact, len };
	else
		free(exact);
}

static void run_file(FILE *f)
{
	static uint8_t data[1 << 20];

	run_bytes(data, fread(data, 1, sizeof(data), f));
}

/* One of the inputs with some bytes changed, behind the beginning of another. */
static size_t change_some(struct rng *r, unsigned n, uint8_t *out)
{
	const struct kept *a = &kept[rng_below(r, n)], *b = &kept[rng_below(r, n)];
	size_t head = a->len && rng_one_in(r, 2) ? rng_below(r, a->len) : 0, tail = b->len;

	head = head < RANDOM_MAX / 2 ? head : RANDOM_MAX / 2;
	tail = tail < RANDOM_MAX / 2 ? tail : RANDOM_MAX / 2;
	memcpy(out, a->data, head);
	memcpy(out + head, b->data, tail);
	for (unsigned i = rng_below(r, 8); i && head + tail; i--)
		out[rng_below(r, head + tail)] = rng_one_in(r, 3) ? rng_below(r, 16) : rng_u64(r);
	return head + tail;
}

static void run_random(unsigned count, uint64_t seed)
{
	static uint8_t out[RANDOM_MAX];
	unsigned n = nkept;
	struct rng r;

	rng_init(&r, seed);
	for (unsigned i = 0; i < count && n; i++) {
		size_t len = change_some(&r, n, out);

		if (getenv("FUZZ_VERBOSE"))
			fprintf(stderr, "random %u of %zu bytes\n", i, len);
		run_bytes(out, len);
	}
}

static void run_path(const char *path)
{
	DIR *d = opendir(path);
	FILE *f = d ? NULL : fopen(path, "rb");
	struct dirent *e;
	char sub[4096];

	if (!d && !f) {
		perror(path);
		exit(1);
	}
	while (d && (e = readdir(d))) {
		snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name);
		if (e->d_name[0] != '.')
			run_path(sub);
	}
	if (d)
		closedir(d);
	if (!f)
		return;
	if (getenv("FUZZ_VERBOSE"))
		fprintf(stderr, "%s\n", path);
	run_file(f);
	fclose(f);
}

int main(int argc, char **argv)
{
	unsigned random = 0, seed = 7;

	LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--random") && i + 1 < argc)
			random = atoi(argv[++i]);
		else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
			seed = atoi(argv[++i]);
		else
			run_path(argv[i]);
	}
	run_random(random, seed);
	for (unsigned i = 0; i < nkept; i++)
		free(kept[i].data);
	printf("%u inputs\n", ran);
	return 0;
}
#endif
