/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A damaged pool: the first byte says how it is used, the rest how it is damaged (image_edit.c).  It is
 * dumped, checked, repaired, opened read-only and read, opened and changed, emptied, checked again.
 *
 * What must hold: no crash; nothing waits for ever; each call returns an error that has a name; and
 * where the check finds nothing, or nothing any more after a repair, nothing is found by using it.
 */
#include "image.h"

#include "base/fiber.h"
#include "base/log.h"
#include "base/loop.h"

enum { INPUT_MAX = 1024 };

/* The store has much to say about such pools. */
static void hear(void *arg, enum log_level level, const char *text)
{
	if (getenv("FUZZ_VERBOSE"))
		fprintf(stderr, "%s\n", text);
}

struct run { const uint8_t *data; size_t len; bool done; };

static void run(void *arg)
{
	struct run *r = arg;
	struct stream s = { r->data, r->data + r->len };
	uint8_t how = take8(&s);
	struct dev *d = image_damaged(image_base(), &s);

	int64_t left, found;

	if (how & IMAGE_REPAIR)
		image_dump(d);
	left = image_check(d, how);
	found = image_check(d, 0);
	fuzz_check(left < 0 || left == found, "%lld findings are left, but there are %lld", (long long)left,
		   (long long)found);
	image_use(d, how, !left);
	dev_close(d);
	r->done = true;
	loop_stop(loop_self());
}

void fuzz_input(const uint8_t *data, size_t len)
{
	struct run r = { data, len < INPUT_MAX ? len : INPUT_MAX, false };
	struct loop *l;

	log_capture(hear, NULL);
	fuzz_check(!loop_new(LOOP_SIM, &l) && !fiber_spawn(run, &r, "main"), "no memory for a loop");
	loop_run(l);
	fuzz_check(r.done, "everybody waits for ever");
	fuzz_check(!fiber_count(), "%u fibers are left over", fiber_count());
	loop_free(l);
}

/* Each class of blocks, each field of some of its records, some values. */
void fuzz_seeds(void (*put)(const char *name, const uint8_t *data, size_t len))
{
	static const struct { uint8_t len, bytes[4]; } values[] = {
		{ 1, { 0 } }, { 1, { 1 | 3 << 3 } }, { 1, { 1 | 7 << 3 } }, { 4, { 2, IM_INODES, 0, 1 } },
		{ 1, { 3 } }, { 4, { 2, IM_INDEX, 0, 2 } }, { 2, { 4, 1 } }, { 4, { 15, IM_DIR, 0, 0 } },
	};

	for (unsigned c = 0; c < IM_CLASSES; c++)
		for (unsigned f = 0; f < 24; f++) {
			uint8_t b[64] = { c * 24 + f };
			char name[32];
			size_t n = 1;

			for (unsigned i = 0; i < 2; i++) {
				b[n++] = c;
				b[n++] = 0;
				b[n++] = f * 5 + i;
				b[n++] = f % 6 == 5 ? 7 : 1 + f % 4;	/* a count, or a field */
				if (f % 6 != 5) {
					b[n++] = f + i;
					b[n++] = f;
				}
				memcpy(b + n, values[(f + i) % 8].bytes, values[(f + i) % 8].len);
				n += values[(f + i) % 8].len;
			}
			snprintf(name, sizeof(name), "class%02u-%02u", c, f);
			put(name, b, n);
		}
	put("sound", (const uint8_t *)"", 0);
}
