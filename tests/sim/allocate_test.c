/* SPDX-License-Identifier: Apache-2.0 */
/* Asking for room: fs_allocate(). */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "rig.h"

#define MIB (1u << 20)
#define GIB (1ull << 30)

static int allocate(struct rig *r, struct fs_id id, uint64_t offset, uint64_t len)
{
	return fs_allocate(&r->req, id, offset, len, NULL);
}

static struct fs_attr attr(struct rig *r, struct fs_id id)
{
	struct fs_attr a = { 0 };

	sim_ok(fs_getattr(&r->req, id, &a));
	return a;
}

static uint64_t room(struct rig *r)
{
	struct fs_fsstat st;
	struct fs_attr a;

	rig_free(r);			/* nothing is still to be freed */
	sim_ok(fs_fsstat(&r->req, r->root, &st, &a));
	return st.avail_bytes;
}

static void sizes(struct rig *r)
{
	struct fs_id id = rig_create(r, "a"), dir = r->root;
	struct fs_attr before, after;
	struct fs_wcc w = { 0 };
	struct fs_req user;

	rig_write(r, id, 0, 10000, 1);
	before = attr(r, id);
	sim_ok(fs_allocate(&r->req, id, 5000, 5000, &w));
	after = attr(r, id);
	sim_check(before.change == after.change && w.post_valid && w.post.change == after.change,
		  "a change, though nothing changed");
	sim_ok(fs_allocate(&r->req, id, 5000, 50001, &w));
	after = attr(r, id);
	sim_check(after.size == 55001 && after.mapped_bytes == before.mapped_bytes &&
		  after.change > before.change && w.post.size == 55001 && w.pre_size == 10000,
		  "the size is %llu", (unsigned long long)after.size);
	rig_expect(r, id, 0, 10000, 1);
	rig_expect(r, id, 12288, 42713, 0);
	rig_stable(r);
	rig_power_cut(r, DEV_SIM_CUT_DROP, 1);
	sim_check(attr(r, id).size == 55001 && attr(r, id).change == after.change,
		  "another size after replay");
	sim_check(allocate(r, id, 0, 0) == -EINVAL, "no bytes");
	sim_check(allocate(r, id, FS_MAX_SIZE, 1) == -EFBIG, "beyond the largest file");
	sim_check(allocate(r, id, 1, UINT64_MAX) == -EFBIG, "beyond the largest number");
	sim_check(allocate(r, dir, 0, 1) == -EISDIR, "a directory");
	sim_req(&user, r->fs, 2);
	sim_check(fs_allocate(&user, id, 0, 1, NULL) == -EACCES, "without the right to write");
	id.generation++;
	sim_check(allocate(r, id, 0, 1) == -ESTALE, "a stale handle");
}

/* What is there already needs no room; what is not there does, wherever it is. */
static void space(struct rig *r)
{
	struct fs_id id = rig_create(r, "a");
	uint64_t left, change;

	for (unsigned i = 0; i < 8; i++)
		rig_write(r, id, i * 4ull * MIB, MIB, i + 1);
	rig_write(r, id, 5 * GIB, MIB, 9);
	rig_write(r, id, 5 * GIB + MIB, MIB, 9);
	left = room(r);
	change = attr(r, id).change;
	sim_check(allocate(r, id, 0, left + 8 * MIB) == -ENOSPC, "all that is left, and a bit more");
	sim_check(allocate(r, id, 0, 100 * GIB) == -ENOSPC, "100 GiB");
	sim_check(allocate(r, id, 0, FS_MAX_SIZE) == -ENOSPC, "the largest file");
	sim_check(attr(r, id).change == change && attr(r, id).size == 5 * GIB + 2 * MIB,
		  "refused, and yet it changed something");
	/* 8 of the first 32 MiB are there, and two behind 5 GiB. */
	sim_ok(allocate(r, id, 0, left + 6 * MIB));
	sim_ok(allocate(r, id, 4 * GIB, left / 2));
	sim_ok(allocate(r, id, 5 * GIB - left + 2 * MIB, left));
	sim_check(allocate(r, id, 5 * GIB - left, left) == -ENOSPC, "more than is left before 5 GiB");
	/* Blocks that others freed, but are still on their way. */
	rig_write(r, rig_create(r, "b"), 0, MIB, 1);
	for (unsigned i = 1; i < 20; i++)
		rig_write_quiet(r, rig_find(r, "b"), i * MIB, MIB, 1);
	sim_check(allocate(r, id, 0, left + 6 * MIB) == -ENOSPC, "what another file has");
	rig_remove(r, "b");
	sim_ok(allocate(r, id, 0, left + 5 * MIB));
	sim_check(attr(r, id).mapped_bytes == 10 * MIB, "it wrote something");
}

static void quota(struct rig *r)
{
	struct fs_id id = rig_create(r, "a");
	struct fs_volume_info *v = test_alloc(sizeof(*v));

	rig_write(r, id, 0, MIB, 1);
	rig_write(r, id, 10 * MIB, MIB, 1);
	sim_ok(fs_volume_get(r->fs, id.volume, v));
	sim_ok(fs_volume_set(&r->req, "main", NULL, v->mapped_blocks + 256));
	sim_ok(allocate(r, id, 0, 2 * MIB));
	sim_check(allocate(r, id, 0, 2 * MIB + 1) == -EDQUOT, "a block beyond the quota");
	sim_ok(allocate(r, id, 9 * MIB, 2 * MIB));
	sim_check(allocate(r, id, 20 * MIB, 9 * MIB) == -EDQUOT, "9 MiB of one");
	sim_check(allocate(r, id, 0, FS_MAX_SIZE) == -EDQUOT, "the largest file");
	sim_ok(fs_volume_set(&r->req, "main", NULL, 10));
	sim_ok(allocate(r, id, 0, MIB));
	sim_check(allocate(r, id, MIB, 1) == -EDQUOT, "the quota is exceeded");
	free(v);
}

static const struct rig_test tests[] = {
	{ "sizes", sizes, 20000, 0, false },
	{ "space", space, 20000, 0, true },
	{ "space_still", space, 20000, 0, false },
	{ "quota", quota, 20000, 0, false },
};

int main(int argc, char **argv)
{
	alarm(100);
	return rig_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}
