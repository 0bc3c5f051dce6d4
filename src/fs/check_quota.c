/* SPDX-License-Identifier: Apache-2.0 */
/* Quotas of directories: what counts for them, summed up anew; their list; and that names lead across none. */
#include "fs/check_int.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct where at_dir(struct check *c, const struct check_volume *v, uint64_t ino)
{
	return (struct where){ .volume = v - c->volumes + 1, .ino = ino };
}

/* The place of the first sum that isn't before it. */
static uint64_t sum_place(const struct check_volume *v, uint32_t project, uint32_t dir)
{
	uint64_t key = (uint64_t)project << 32 | dir, lo = 0, hi = v->nsums;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (((uint64_t)v->sums[mid].project << 32 | v->sums[mid].project_dir) < key)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static const struct quota_sum *sum_find(const struct check_volume *v, uint32_t project, uint32_t dir)
{
	uint64_t at = sum_place(v, project, dir);

	return at < v->nsums && v->sums[at].project == project && v->sums[at].project_dir == dir ? &v->sums[at] :
												  NULL;
}

static struct quota_sum *sum_get(struct check *c, struct check_volume *v, uint32_t project, uint32_t dir)
{
	uint64_t at = sum_place(v, project, dir);

	if (sum_find(v, project, dir))
		return &v->sums[at];
	if (!grow(c, &v->sums, v->nsums, &v->sums_cap, sizeof(*v->sums)))
		return NULL;
	memmove(&v->sums[at + 1], &v->sums[at], (v->nsums++ - at) * sizeof(*v->sums));
	v->sums[at] = (struct quota_sum){ project, dir, 0, 0 };
	return &v->sums[at];
}

void quota_note(struct check *c, struct check_volume *v, uint64_t ino, const struct inode *i)
{
	const struct dir_quota *q = (const struct dir_quota *)(const void *)i->inline_data;
	struct quota_sum *s;

	if (i->type == FS_DIR && q->project > v->rec.void_projects &&
	    grow(c, &v->quotas, v->nquotas, &v->quotas_cap, sizeof(*v->quotas)))
		v->quotas[v->nquotas++] = (struct quota_dir){ ino, i->project, i->project_dir, *q };
	if (i->project <= v->rec.void_projects)
		return;
	s = sum_get(c, v, i->project, i->project_dir);
	if (!s)
		return;
	s->used += i->mapped + i->xattr_blocks;
	s->files++;
}

static const struct quota_dir *quota_find(const struct check_volume *v, uint64_t ino)
{
	uint64_t lo = 0, hi = v->nquotas;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (v->quotas[mid].ino < ino)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < v->nquotas && v->quotas[lo].ino == ino ? &v->quotas[lo] : NULL;
}

/* The project that I counts for; 0: none, or one that is no more. */
static uint32_t counts_for(const struct check_volume *v, const struct info *i)
{
	const struct quota_dir *d = quota_find(v, i->project_dir);

	return d && i->project > v->rec.void_projects && d->q.project == i->project ? i->project : 0;
}

void quota_name_check(struct check *c, struct check_volume *v, const struct info *i)
{
	struct where w = at_dir(c, v, i->ino);
	const struct info *dir = i->parent ? info_find(v, i->parent) : NULL;
	uint32_t of_dir = dir ? counts_for(v, dir) : 0;
	bool has = quota_find(v, i->ino);

	if (!dir || (has ? !of_dir : counts_for(v, i) == of_dir))
		return;
	if (has) {
		finding(c, "%s: has a quota, and lies in a directory that has one", where_text(c, &w));
		return;
	}
	finding(c, "%s: counts for the quota of project %u, and the directory that it is in for %u",
		where_text(c, &w), counts_for(v, i), of_dir);
	fix_add(c, &(struct fix){ .kind = FIX_PROJECT, .volume = v->place + 1, .ino = i->ino,
				  .value = of_dir ? dir->project : 0, .generation = of_dir ? dir->project_dir : 0 });
}

static void quota_check_one(struct check *c, struct check_volume *v, const struct quota_dir *d)
{
	const struct quota_sum *s = sum_find(v, d->q.project, d->ino);
	struct where w = at_dir(c, v, d->ino);
	uint64_t used = s ? s->used : 0, files = s ? s->files : 0;

	if (d->q.project > v->rec.last_project)
		finding(c, "%s: its quota is that of project %u, which was never given out", where_text(c, &w),
			d->q.project);
	if (d->project != d->q.project || d->project_dir != d->ino) {
		finding(c, "%s: has a quota, and doesn't count for it", where_text(c, &w));
		fix_add(c, &(struct fix){ .kind = FIX_PROJECT, .volume = v->place + 1, .ino = d->ino,
					  .value = d->q.project, .generation = d->ino });
	}
	if (used == d->q.used && files == d->q.files)
		return;
	finding(c, "%s: its quota says that %" PRIu64 " blocks and %" PRIu64 " inodes count for it, and it is %" PRIu64
		" and %" PRIu64, where_text(c, &w), d->q.used, d->q.files, used, files);
	fix_add(c, &(struct fix){ .kind = FIX_QUOTA, .volume = v->place + 1, .ino = d->ino, .value = used,
				  .generation = files });
}

/* Each is on the list, once. */
static bool list_right(const struct check_volume *v)
{
	uint32_t ino = v->rec.quota_dir, prev = 0;
	uint64_t n = 0;

	for (; ino && n < v->nquotas; n++) {
		const struct quota_dir *d = quota_find(v, ino);

		if (!d || d->q.prev != prev)
			return false;
		prev = ino;
		ino = d->q.next;
	}
	return !ino && n == v->nquotas && n == v->rec.quota_dirs;
}

void quotas_check(struct check *c, struct check_volume *v)
{
	for (uint64_t k = 0; k < v->nquotas; k++)
		quota_check_one(c, v, &v->quotas[k]);
	if (list_right(v))
		return;
	finding(c, "%s: its list of directories with quotas is not that of those that have one", volume_text(c, v));
	fix_volume(c, v, FIX_QUOTA_LIST, 0);
	for (uint64_t k = 0; k < v->nquotas; k++)
		fix_add(c, &(struct fix){ .kind = FIX_QUOTA_LINK, .volume = v->place + 1, .ino = v->quotas[k].ino });
}
