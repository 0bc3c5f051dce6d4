/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated disk: what it promises about durability, and each way in which it fails. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fiber.h"
#include "base/loop.h"
#include "base/rng.h"
#include "dev/dev_sim.h"

#define NBLOCKS 1024

static struct loop *loop;
static void (*body_fn)(void);

static int setup(void **state)
{
	return loop_new(LOOP_SIM, &loop);
}

static int teardown(void **state)
{
	loop_free(loop);
	assert_int_equal(dev_sim_live_pages(), 0);
	return 0;
}

static void body_fiber(void *arg)
{
	body_fn();
}

static void in_fiber(void (*fn)(void))
{
	body_fn = fn;
	assert_int_equal(fiber_spawn(body_fiber, NULL, "test"), 0);
	assert_int_equal(loop_run(loop), 0);
}

static struct dev *disk(uint64_t seed)
{
	struct dev_sim_opts opts = {
		.nblocks = NBLOCKS, .seed = seed, .latency_min_ns = 1000,
		.latency_max_ns = 1000000, .check_stable = true, .check_overlap = true,
	};
	struct dev *d;

	assert_int_equal(dev_sim_new(&opts, &d), 0);
	return d;
}

/* One block filled with C; of the caller until the next call with the same slot. */
static void *filled(int c)
{
	static _Alignas(DEV_BLOCK) char blocks[8][DEV_BLOCK];
	static int next;
	char *p = blocks[next++ % 8];

	memset(p, c, DEV_BLOCK);
	return p;
}

static int first_byte(struct dev *d, uint64_t block)
{
	unsigned char data[DEV_BLOCK];

	dev_sim_peek(d, block, data);
	return data[0];
}

static int image_byte(const struct dev_sim_image *image, uint64_t block)
{
	unsigned char data[DEV_BLOCK];

	dev_sim_image_read(image, block, data);
	return data[0];
}

static int crash_byte(struct dev *d, enum dev_sim_cut_mode mode, uint64_t block)
{
	struct dev_sim_image *image = dev_sim_crash_image(d, mode, 1, NULL);
	int c = image_byte(image, block);

	dev_sim_image_put(image);
	return c;
}

static void write_block(struct dev *d, uint64_t block, int c)
{
	assert_int_equal(dev_write(d, block, filled(c), 1), 0);
}

/* ---- durability ---- */

static void durability(void)
{
	struct dev *d = disk(1);
	char *in = filled(0);

	assert_int_equal(dev_read(d, 7, in, 1), 0);
	assert_int_equal(in[0] | in[DEV_BLOCK - 1], 0);
	write_block(d, 7, 'a');
	assert_int_equal(dev_read(d, 7, in, 1), 0);
	assert_memory_equal(in, filled('a'), DEV_BLOCK);
	/* completed, but not flushed */
	assert_int_equal(crash_byte(d, DEV_SIM_CUT_DROP, 7), 0);
	assert_int_equal(crash_byte(d, DEV_SIM_CUT_KEEP, 7), 'a');
	assert_int_equal(dev_flush(d), 0);
	assert_int_equal(crash_byte(d, DEV_SIM_CUT_DROP, 7), 'a');
	/* dsync makes itself durable, and nothing else */
	write_block(d, 8, 'b');
	assert_int_equal(dev_write_dsync(d, 9, filled('c'), 1), 0);
	assert_int_equal(crash_byte(d, DEV_SIM_CUT_DROP, 8), 0);
	assert_int_equal(crash_byte(d, DEV_SIM_CUT_DROP, 9), 'c');
	/* an older version in the cache never comes back over a durable one */
	write_block(d, 10, 'd');
	assert_int_equal(dev_write_dsync(d, 10, filled('e'), 1), 0);
	assert_int_equal(crash_byte(d, DEV_SIM_CUT_KEEP, 10), 'e');
	assert_int_equal(dev_flush(d), 0);
	assert_int_equal(crash_byte(d, DEV_SIM_CUT_DROP, 10), 'e');
	/* discards are cached too */
	assert_int_equal(dev_discard(d, 7, 2), 0);
	assert_int_equal(first_byte(d, 7), 0);
	assert_int_equal(crash_byte(d, DEV_SIM_CUT_DROP, 7), 'a');
	assert_int_equal(dev_flush(d), 0);
	assert_int_equal(crash_byte(d, DEV_SIM_CUT_DROP, 7), 0);
	assert_int_equal(dev_read(d, NBLOCKS, in, 1), -ERANGE);
	assert_int_equal(dev_read(d, UINT64_MAX, in, 1), -ERANGE);
	dev_close(d);
}

static void test_durability(void **state) { in_fiber(durability); }

static int order[2], norder;

static void note_order(struct dev_io *io)
{
	assert_int_equal(io->result, 0);
	order[norder++] = (int)(intptr_t)io->arg;
}

/* A flush covers what had completed when it was submitted, whatever completes before it. */
static void flush_coverage(void)
{
	int write_first = 0, flush_first = 0;

	for (uint64_t seed = 0; seed < 64; seed++) {
		struct dev *d = disk(seed);
		struct iovec iov = { filled('x'), DEV_BLOCK };
		struct dev_io w = { .op = DEV_WRITE, .block = 3, .nblocks = 1, .iov = &iov,
				    .niov = 1, .done = note_order, .arg = (void *)1 };
		struct dev_io f = { .op = DEV_FLUSH, .done = note_order, .arg = (void *)2 };

		norder = 0;
		dev_submit(d, &w);
		dev_submit(d, &f);
		loop_sleep_ns(2000000);
		assert_int_equal(norder, 2);
		*(order[0] == 1 ? &write_first : &flush_first) += 1;
		assert_int_equal(crash_byte(d, DEV_SIM_CUT_DROP, 3), 0);
		assert_int_equal(dev_flush(d), 0);
		assert_int_equal(crash_byte(d, DEV_SIM_CUT_DROP, 3), 'x');
		dev_close(d);
	}
	/* requests do complete out of order */
	assert_true(write_first > 8 && flush_first > 8);
}

static void test_flush_coverage(void **state) { in_fiber(flush_coverage); }

/* ---- crashes ---- */

static void subsets(void)
{
	struct dev *d = disk(2);
	struct dev_sim_stats st;
	int seen[256] = { 0 };

	/* two versions of block 1 and one of block 2: all eight outcomes */
	write_block(d, 1, 'o');
	write_block(d, 2, 'o');
	assert_int_equal(dev_flush(d), 0);
	write_block(d, 1, 'a');
	write_block(d, 2, 'b');
	write_block(d, 1, 'c');
	dev_sim_stats(d, &st);
	assert_int_equal(st.unflushed, 3);
	for (uint8_t bits = 0; bits < 8; bits++) {
		struct dev_sim_image *image =
			dev_sim_crash_image(d, DEV_SIM_CUT_SUBSET, 0, &bits);
		int one = image_byte(image, 1), two = image_byte(image, 2);

		assert_int_equal(one, bits & 4 ? 'c' : bits & 1 ? 'a' : 'o');
		assert_int_equal(two, bits & 2 ? 'b' : 'o');
		seen[one]++;
		dev_sim_image_put(image);
	}
	assert_int_equal(seen['c'], 4);
	assert_int_equal(seen['a'], 2);
	assert_int_equal(seen['o'], 2);
	dev_close(d);
}

static void test_subsets(void **state) { in_fiber(subsets); }

static void random_cuts(void)
{
	struct dev *d = disk(3);
	int lost = 0, kept = 0, torn = 0, older = 0;

	write_block(d, 1, 'o');
	assert_int_equal(dev_flush(d), 0);
	write_block(d, 1, 'a');
	write_block(d, 1, 'b');
	for (uint64_t seed = 0; seed < 400; seed++) {
		struct dev_sim_image *image = dev_sim_crash_image(d, DEV_SIM_CUT_RANDOM, seed, NULL);
		struct dev_sim_image *again = dev_sim_crash_image(d, DEV_SIM_CUT_RANDOM, seed, NULL);
		char data[DEV_BLOCK];
		bool whole = true;

		assert_true(dev_sim_image_equal(image, again));
		dev_sim_image_read(image, 1, data);
		for (int i = 0; i < DEV_BLOCK; i++) {
			assert_true(data[i] == 'o' || data[i] == 'a' || data[i] == 'b');
			/* torn between sectors, never within */
			assert_int_equal(data[i], data[i / 512 * 512]);
			whole &= data[i] == data[0];
		}
		*(!whole ? &torn : data[0] == 'o' ? &lost : data[0] == 'a' ? &older : &kept) += 1;
		dev_sim_image_put(image);
		dev_sim_image_put(again);
	}
	assert_true(lost > 20 && kept > 20 && torn > 20 && older > 10);
	dev_close(d);
}

static void test_random_cuts(void **state) { in_fiber(random_cuts); }

static int told;
static void cut_told(void *arg, struct dev *d) { told++; }

static void cut_at(void)
{
	struct dev *d = disk(4);
	struct dev_sim_image *image;
	struct dev *after;
	struct dev_sim_opts opts = { .seed = 9 };

	told = 0;
	write_block(d, 1, 'a');
	dev_sim_cut_at(d, 3, cut_told, NULL);
	write_block(d, 2, 'b');
	assert_int_equal(dev_flush(d), 0);
	assert_int_equal(told, 0);
	assert_int_equal(dev_write_dsync(d, 3, filled('c'), 1), -EIO);
	assert_int_equal(told, 1);
	assert_int_equal(dev_flush(d), -EIO);
	assert_int_equal(dev_read(d, 1, filled(0), 1), -EIO);
	image = dev_sim_crash_image(d, DEV_SIM_CUT_KEEP, 0, NULL);
	dev_close(d);

	assert_int_equal(dev_sim_new_from(&opts, image, &after), 0);
	dev_sim_image_put(image);
	assert_int_equal(after->nblocks, NBLOCKS);
	assert_int_equal(first_byte(after, 1), 'a');
	assert_int_equal(first_byte(after, 2), 'b');
	assert_int_equal(first_byte(after, 3), 0);
	write_block(after, 3, 'z');
	assert_int_equal(first_byte(after, 3), 'z');
	dev_sim_power_cut(after, DEV_SIM_CUT_DROP, 0);
	assert_int_equal(first_byte(after, 3), 0);
	assert_int_equal(first_byte(after, 2), 'b');
	dev_close(after);
}

static void test_cut_at(void **state) { in_fiber(cut_at); }

static struct dev *hung;

static void hang_body(void)
{
	dev_sim_cut_at(hung, 2, NULL, NULL);
	write_block(hung, 1, 'a');
	dev_flush(hung);
	fail();
}

/* With hang_after_cut nothing completes any more, and the simulation comes to an end. */
static void test_hang(void **state)
{
	struct dev_sim_opts opts = { .nblocks = 16, .hang_after_cut = true };

	assert_int_equal(dev_sim_new(&opts, &hung), 0);
	body_fn = hang_body;
	assert_int_equal(fiber_spawn(body_fiber, NULL, "hangs"), 0);
	assert_int_equal(loop_run(loop), -EDEADLK);
	assert_int_equal(crash_byte(hung, DEV_SIM_CUT_DROP, 1), 0);
	assert_int_equal(crash_byte(hung, DEV_SIM_CUT_KEEP, 1), 'a');
	dev_close(hung);
	fiber_abandon_all();
}

/* An image at each request: later writes don't reach into it. */
static struct dev_sim_image *images[64];
static int nimages;

static void take_image(void *arg, struct dev *d, const struct dev_io *io)
{
	images[nimages++] = dev_sim_crash_image(d, DEV_SIM_CUT_DROP, 0, NULL);
}

static void many_images(void)
{
	struct dev *d = disk(5);

	nimages = 0;
	dev_sim_on_submit(d, take_image, NULL);
	for (int i = 0; i < 64; i++)
		assert_int_equal(dev_write_dsync(d, i % 8, filled(i + 1), 1), 0);
	dev_close(d);
	for (int i = 0; i < 64; i++) {
		for (int b = 0; b < 8; b++) {
			int last = i - 1 - ((i - 1 - b) % 8 + 8) % 8;	/* last write before i */

			assert_int_equal(image_byte(images[i], b), last >= 0 ? last + 1 : 0);
		}
		dev_sim_image_put(images[i]);
	}
}

static void test_many_images(void **state) { in_fiber(many_images); }

/* ---- faults ---- */

static void faults(void)
{
	struct dev *d = disk(6);
	char *in = filled(0);

	dev_sim_fail_nth(d, 2, false);
	write_block(d, 1, 'a');
	assert_int_equal(dev_flush(d), -EIO);
	assert_int_equal(dev_flush(d), 0);

	dev_sim_fail_nth(d, 1, true);
	for (int i = 0; i < 3; i++)
		assert_int_equal(dev_read(d, 1, in, 1), -EIO);
	dev_sim_clear_faults(d);
	assert_int_equal(dev_read(d, 1, in, 1), 0);

	/* only the second write to blocks 20 to 29 */
	assert_int_equal(dev_sim_inject(d, &(struct dev_sim_fault){
		.kind = DEV_SIM_FAIL, .ops = DEV_SIM_OP(DEV_WRITE), .nth = 2,
		.first_block = 20, .nblocks = 10 }), 0);
	write_block(d, 19, 'a');
	write_block(d, 20, 'a');
	write_block(d, 30, 'a');
	assert_int_equal(dev_write(d, 29, filled('a'), 1), -EIO);
	write_block(d, 29, 'a');

	assert_int_equal(dev_sim_inject(d, &(struct dev_sim_fault){ .kind = DEV_SIM_LOSE_WRITE }), 0);
	write_block(d, 40, 'l');
	assert_int_equal(first_byte(d, 40), 0);

	assert_int_equal(dev_sim_inject(d, &(struct dev_sim_fault){
		.kind = DEV_SIM_MISDIRECT, .target = 51 }), 0);
	write_block(d, 50, 'm');
	assert_int_equal(first_byte(d, 50), 0);
	assert_int_equal(first_byte(d, 51), 'm');

	assert_int_equal(dev_sim_inject(d, &(struct dev_sim_fault){ .kind = DEV_SIM_FLIP_READ }), 0);
	assert_int_equal(dev_read(d, 51, in, 1), 0);
	assert_true(memcmp(in, filled('m'), DEV_BLOCK));
	assert_int_equal(dev_read(d, 51, in, 1), 0);
	assert_memory_equal(in, filled('m'), DEV_BLOCK);

	dev_sim_flip_bit(d, 51, 0);
	assert_int_equal(first_byte(d, 51), 'm' ^ 1);
	dev_sim_corrupt(d, 51, 77);
	assert_int_equal(dev_read(d, 51, in, 1), 0);
	assert_true(memcmp(in, filled('m'), DEV_BLOCK));
	for (int i = 0; i < DEV_SIM_MAX_FAULTS; i++)
		assert_int_equal(dev_sim_inject(d, &(struct dev_sim_fault){ 0 }), 0);
	assert_int_equal(dev_sim_inject(d, &(struct dev_sim_fault){ 0 }), -ENOSPC);
	dev_close(d);
}

static void test_faults(void **state) { in_fiber(faults); }

/* What a failed flush has lost, no later flush brings back. */
static void failed_flush(void)
{
	int lost = 0;

	for (uint64_t seed = 0; seed < 32; seed++) {
		struct dev *d = disk(seed);

		write_block(d, 1, 'a');
		dev_sim_fail_nth(d, 1, false);
		assert_int_equal(dev_flush(d), -EIO);
		assert_int_equal(dev_flush(d), 0);
		lost += crash_byte(d, DEV_SIM_CUT_KEEP, 1) != 'a';
		dev_close(d);
	}
	assert_true(lost > 4 && lost < 28);
}

static void test_failed_flush(void **state) { in_fiber(failed_flush); }

/* ---- bugs of the writer ---- */

static void change_under_way(void)
{
	struct dev *d = disk(7);
	struct iovec iov = { filled('a'), DEV_BLOCK };
	struct dev_io w = { .op = DEV_WRITE, .block = 1, .nblocks = 1, .iov = &iov, .niov = 1 };

	dev_submit(d, &w);
	((char *)iov.iov_base)[100] = 'b';
	dev_io_wait(&w);
}

static void overlap(void)
{
	struct dev *d = disk(8);
	struct iovec iov = { filled('a'), DEV_BLOCK };
	struct dev_io w = { .op = DEV_WRITE, .block = 1, .nblocks = 1, .iov = &iov, .niov = 1 };
	struct dev_io r = { .op = DEV_READ, .block = 1, .nblocks = 1, .iov = &iov, .niov = 1 };

	dev_submit(d, &w);
	dev_submit(d, &r);
}

static void misaligned(void)
{
	struct dev *d = disk(8);

	dev_write(d, 1, (char *)filled('a') + 8, 1);
}

/* FN must end its process by abort(). */
static void must_abort(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		body_fn = fn;
		fiber_spawn(body_fiber, NULL, "aborts");
		loop_run(loop);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void test_writer_bugs(void **state)
{
	must_abort(change_under_way);
	must_abort(overlap);
	must_abort(misaligned);
}

/* ---- repeatability ---- */

static uint64_t run_hash;

static void hash_done(struct dev_io *io)
{
	run_hash = (run_hash ^ (uintptr_t)io->arg ^ loop_now_ns()) * 0x100000001b3ull;
}

static void seeded_run(void)
{
	enum { N = 200 };
	static struct dev_io ios[N];
	static struct iovec iov;
	struct dev *d = disk(run_hash);

	iov = (struct iovec){ filled('r'), DEV_BLOCK };
	for (int i = 0; i < N; i++) {
		ios[i] = (struct dev_io){ .op = i % 10 == 9 ? DEV_FLUSH : DEV_WRITE, .block = i,
			.nblocks = 1, .iov = &iov, .niov = 1, .done = hash_done,
			.arg = (void *)(intptr_t)i };
		dev_submit(d, &ios[i]);
		if (i % 7 == 0)
			loop_sleep_ns(100000);
	}
	loop_sleep_ns(2000000);
	dev_close(d);
}

static uint64_t hash_of_run(uint64_t seed)
{
	assert_int_equal(loop_new(LOOP_SIM, &loop), 0);
	run_hash = seed;
	in_fiber(seeded_run);
	loop_free(loop);
	return run_hash;
}

static void test_repeatable(void **state)
{
	uint64_t a = hash_of_run(1), b = hash_of_run(2);

	assert_true(a != b);
	assert_true(a == hash_of_run(1));
	assert_true(b == hash_of_run(2));
}

/* A model: random requests, and after each power cut every block holds the flushed content
 * or one of the versions since. */
enum { MODEL_BLOCKS = 16, MODEL_VERSIONS = 64 };
struct model_block { unsigned char could[MODEL_VERSIONS]; int n; };

static void model(void)
{
	static struct model_block m[MODEL_BLOCKS];
	struct dev *d = disk(11);
	struct rng rng;
	int version = 0;

	memset(m, 0, sizeof(m));
	rng_init(&rng, 99);
	for (int i = 0; i < MODEL_BLOCKS; i++)
		m[i].n = 1;
	for (int step = 0; step < 4000; step++) {
		struct model_block *b = &m[rng_below(&rng, MODEL_BLOCKS)];
		unsigned what = rng_below(&rng, 20);

		if (what < 15 && b->n < MODEL_VERSIONS) {
			version = version % 255 + 1;
			if (what < 3) {
				assert_int_equal(dev_write_dsync(d, b - m, filled(version), 1), 0);
				b->n = 0;
			} else {
				write_block(d, b - m, version);
			}
			b->could[b->n++] = version;
			assert_int_equal(first_byte(d, b - m), version);
		} else if (what < 19) {
			assert_int_equal(dev_flush(d), 0);
			for (int i = 0; i < MODEL_BLOCKS; i++) {
				m[i].could[0] = m[i].could[m[i].n - 1];
				m[i].n = 1;
			}
		} else {
			dev_sim_power_cut(d, DEV_SIM_CUT_RANDOM, step);
			for (int i = 0; i < MODEL_BLOCKS; i++) {
				unsigned char data[DEV_BLOCK];

				dev_sim_peek(d, i, data);
				for (int s = 0; s < 8; s++)
					assert_non_null(memchr(m[i].could, data[s * 512], m[i].n));
				/* go on from something whole */
				version = version % 255 + 1;
				memset(data, version, DEV_BLOCK);
				dev_sim_poke(d, i, data);
				m[i].could[0] = version;
				m[i].n = 1;
			}
		}
	}
	dev_close(d);
}

static void test_model(void **state) { in_fiber(model); }

static void image_file(void)
{
	char path[] = "/tmp/pando-unit-XXXXXX";
	int fd = mkstemp(path);
	struct dev *d = disk(12);
	struct dev_sim_image *image;
	char data[DEV_BLOCK];

	assert_true(fd >= 0);
	write_block(d, 5, 'q');
	image = dev_sim_crash_image(d, DEV_SIM_CUT_KEEP, 0, NULL);
	assert_int_equal(dev_sim_image_save(image, path), 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), NBLOCKS * DEV_BLOCK);
	assert_int_equal(pread(fd, data, DEV_BLOCK, 5 * DEV_BLOCK), DEV_BLOCK);
	assert_memory_equal(data, filled('q'), DEV_BLOCK);
	dev_sim_image_put(image);
	dev_close(d);
	close(fd);
	unlink(path);
}

static void test_image_file(void **state) { in_fiber(image_file); }

static void test_bad_opts(void **state)
{
	struct dev *d = NULL;

	assert_int_equal(dev_sim_new(&(struct dev_sim_opts){ .nblocks = 0 }, &d), -EINVAL);
	assert_int_equal(dev_sim_new(&(struct dev_sim_opts){ .nblocks = 1ull << 37 }, &d), -EINVAL);
	assert_int_equal(dev_sim_new(&(struct dev_sim_opts){ .nblocks = 1, .latency_min_ns = 2 },
				     &d), -EINVAL);
	assert_null(d);
}

#define ON_LOOP(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_LOOP(test_durability), ON_LOOP(test_flush_coverage), ON_LOOP(test_subsets),
		ON_LOOP(test_random_cuts), ON_LOOP(test_cut_at), ON_LOOP(test_hang),
		ON_LOOP(test_many_images), ON_LOOP(test_faults), ON_LOOP(test_failed_flush),
		ON_LOOP(test_writer_bugs), ON_LOOP(test_model), ON_LOOP(test_image_file),
		cmocka_unit_test(test_repeatable), ON_LOOP(test_bad_opts),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
