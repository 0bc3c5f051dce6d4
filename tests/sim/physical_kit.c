/* SPDX-License-Identifier: Apache-2.0 */
/* See physical_kit.h. */
#include "physical_kit.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/account.h"

struct fs_id make(struct rig *r, struct fs_id dir, const char *name, enum fs_type type)
{
	struct fs_create how = { .type = type, .how = type == FS_DIR ? FS_CREATE_GUARDED : FS_CREATE_UNCHECKED };
	struct fs_attr a;

	sim_ok(fs_create(&r->req, dir, name_of(name), &how, &a, NULL));
	return a.id;
}

struct fs_id volume(struct rig *r, const char *name)
{
	struct fs_volume_info *v = test_alloc(sizeof(*v));
	struct fs_id root;

	sim_ok(fs_volume_create(&r->req, name, v));
	root = v->root;
	free(v);
	return root;
}

struct fs_volume_info *info(struct rig *r, const char *name)
{
	static struct fs_volume_info v;

	sim_ok(fs_volume_find(r->fs, name, &v));
	return &v;
}

int set_limit(struct rig *r, const char *name, int64_t blocks)
{
	const struct fs_limits l = { -1, -1, -1, blocks };

	return fs_volume_limit(&r->req, name, &l, NULL);
}

int write_at(struct rig *r, struct fs_id id, uint64_t first, uint32_t count)
{
	struct iovec iov = { test_alloc(count * KIB4), count * KIB4 };
	int err;

	rig_pattern(first + count, first, iov.iov_base, iov.iov_len);
	err = fs_write(&r->req, id, first * KIB4, &iov, 1, iov.iov_len, false, NULL);
	free(iov.iov_base);
	return err;
}

/* Block by block until it is refused: how many. */
uint64_t fill(struct rig *r, struct fs_id id, uint64_t first, uint64_t max, int refusal)
{
	uint64_t n = 0;

	while (n < max) {
		int err = write_at(r, id, first + n, 1);

		if (err == refusal)
			break;
		sim_ok(err);
		n++;
	}
	return n;
}

/* By the account: what the volume and its snapshots have for themselves. */
uint64_t alone(struct rig *r, struct fs_id root)
{
	struct fs_account a = { .of = FS_ACCOUNT_VOLUME_ALL, .id = root, .exact = true };

	sim_ok(fs_reap_all(r->fs));
	sim_ok(fs_account(&r->req, &a));
	return a.exclusive.data + a.exclusive.meta - a.record_blocks;
}

void expect_exact(struct rig *r, const char *name, const char *when)
{
	struct fs_volume_info *v = info(r, name);
	uint64_t n = alone(r, v->root);

	v = info(r, name);
	sim_check(v->held_blocks == n && !v->held_stale, "%s: %u blocks are held%s, and the account finds %u", when,
		  (unsigned)v->held_blocks, v->held_stale ? " perhaps" : "", (unsigned)n);
}

void cut(struct rig *r, uint64_t seed)
{
	rig_stable(r);
	rig_power_cut(r, DEV_SIM_CUT_DROP, seed);
}

/* The clone "w" of volume "v": its file or directory NAME. */
struct fs_id share(struct rig *r, const char *name)
{
	struct fs_attr a;

	sim_ok(fs_volume_clone(&r->req, "v", NULL, "w", NULL));
	sim_ok(fs_lookup(&r->req, info(r, "w")->root, name_of(name), &a, NULL));
	return a.id;
}

struct fs_id clone_to(struct rig *r, struct fs_id src, struct fs_id dir, const char *name)
{
	struct fs_name n = name_of(name);
	struct fs_attr a;

	sim_ok(fs_clone(&r->req, src, dir, &n, 1, NULL, &a));
	return a.id;
}

void anything(struct rig *r, struct rng *rng, const char *volume, struct fs_id d, struct fs_id e,
		     uint32_t max_blocks)
{
	char n1[] = { 'f', '0' + rng_below(rng, 6), 0 }, n2[] = { 'f', '0' + rng_below(rng, 6), 0 };
	struct fs_create how = { .type = FS_REG, .how = FS_CREATE_UNCHECKED };
	struct fs_name name = name_of(n1), other = name_of(n2);
	struct fs_attr a;
	struct fs_id id;
	int err = fs_create(&r->req, d, name, &how, &a, NULL);

	if (err == -EDQUOT) {		/* removing is never refused */
		err = fs_remove(&r->req, d, other, NULL);
		sim_check(!err || err == -ENOENT, "remove: %s", sim_err(err));
		return;
	}
	sim_ok(err);
	id = a.id;
	switch (rng_below(rng, 12)) {
	case 0: err = fs_remove(&r->req, d, name, NULL); break;
	case 1: fs_rename(&r->req, d, name, e, other, NULL, NULL); break;
	case 2: fs_clone(&r->req, id, e, &other, 1, NULL, &a); break;
	case 3: err = fs_punch(&r->req, id, rng_below(rng, 100) * KIB4, 9 * KIB4, NULL); break;
	case 4: fs_clone_range(&r->req, id, 0, id, 64 * KIB4, 0, NULL); break;
	case 5: rig_truncate(r, id, rng_below(rng, 100) * KIB4); break;
	case 6: fs_xattr_set(&r->req, id, other, n1, rng_below(rng, 2), 0, NULL); break;
	case 7: if (rng_one_in(rng, 20)) fs_snapshot_create(&r->req, volume, n1, NULL); break;
	case 8: if (rng_one_in(rng, 10)) fs_snapshot_destroy(&r->req, volume, n1); break;
	case 9: if (rng_one_in(rng, 10)) fs_volume_restore(&r->req, volume, n1, true); break;
	default: err = write_at(r, id, rng_below(rng, 2 * max_blocks), 1 + rng_below(rng, max_blocks));
	}
	sim_check(!err || err == -EDQUOT, "%s", sim_err(err));
}

void destroy(struct rig *r, const char *name)
{
	struct fs_snapshot_info s;

	while (!fs_snapshot_next(r->fs, info(r, name)->id, 0, &s))
		sim_ok(fs_snapshot_destroy(&r->req, name, s.name));
	sim_ok(fs_volume_destroy(&r->req, name));
}
