/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes: their records, their inodes one by one, then the names that lead to them.
 *
 * An inode in use is remembered in 64 bytes (struct info), a free one in 16, until its names were
 * counted; and after that, as long as there is memory, so that later findings can say paths.
 */
#include "fs/check_int.h"
#include "fs/repl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct where at_inode(struct check *c, const struct check_volume *v, uint64_t ino)
{
	return (struct where){ .volume = v - c->volumes + 1, .ino = ino };
}

static bool all_zero(const void *p, size_t len)
{
	const uint8_t *b = p;

	while (len && !*b)
		b++, len--;
	return !len;
}

/* ---- inodes --------------------------------------------------------------------------- */

static bool has_tree(const struct inode *i)
{
	return i->root || i->depth;
}

static const char *symlink_wrong(struct check *c, const struct inode *i, uint8_t *buf)
{
	const uint8_t *target = i->inline_data;
	const char *why;

	if (!i->size || i->size > FS_SYMLINK_MAX)
		return "a symbolic link whose target has an impossible length";
	if (i->size <= INODE_INLINE) {
		if (has_tree(i))
			return "a symbolic link with its target inline and a block as well";
	} else {
		if (!i->root || i->depth)
			return "a symbolic link whose target is not in one block";
		if (!read_meta(c, i->root & PTR_BLOCK_MASK, buf, &why))
			return NULL;	/* said elsewhere */
		target = buf;
	}
	return memchr(target, 0, i->size) ? "a symbolic link with a NUL in its target" : NULL;
}

static const char *content_wrong(struct check *c, const struct inode *i, uint8_t *buf)
{
	if (i->depth > TREE_DEPTH_MAX || i->xattr_depth > TREE_DEPTH_MAX)
		return NULL;		/* said by the walk */
	switch (i->type) {
	case FS_REG:
	case FS_DIR:
		return i->size > FS_MAX_SIZE ? "it is larger than a file can be" : NULL;
	case FS_LNK:
		return symlink_wrong(c, i, buf);
	default:
		return i->size || has_tree(i) ? "a special file with content" : NULL;
	}
}

static void inode_check(struct check *c, struct check_volume *v, uint64_t ino,
			const struct inode *i)
{
	struct where w = at_inode(c, v, ino);
	const char *why;

	if (i->type > FS_FIFO)
		finding(c, "%s: unknown type %u", where_text(c, &w), i->type);
	if (i->mode & ~07777)
		finding(c, "%s: impossible mode 0%o", where_text(c, &w), i->mode);
	if (!i->generation || i->generation > c->sb.last_event)
		finding(c, "%s: generation 0x%" PRIx64 " is not an event of the past",
			where_text(c, &w), i->generation);
	if (i->change > c->sb.last_event)
		finding(c, "%s: change 0x%" PRIx64 " is not an event of the past",
			where_text(c, &w), i->change);
	if (i->flags || !all_zero(i->reserved, sizeof(i->reserved)) ||
	    !all_zero(i->reserved2, sizeof(i->reserved2)))
		finding(c, "%s: reserved fields are not zero", where_text(c, &w));
	if (ino >= v->rec.next_ino)
		fix_volume(c, v, FIX_NEXT_INO, ino + 1);
	if (ino >= v->rec.next_ino)
		finding(c, "%s: in use, but the volume has only used inodes below %" PRIu64,
			where_text(c, &w), v->rec.next_ino);
	why = content_wrong(c, i, frame_push(c));
	frame_pop(c);
	if (why)
		finding(c, "%s: %s", where_text(c, &w), why);
	xattr_check(c, &w, i);
}

void inode_check_tree(struct check *c, const struct where *w, const struct inode *i,
		      const struct sub *sum)
{
	uint64_t blocks = i->size / BLOCK_SIZE + (i->size % BLOCK_SIZE != 0);

	if (sum->mapped != i->mapped)
		fix_ino(c, w, FIX_MAPPED, sum->mapped);
	if (sum->mapped != i->mapped)
		finding(c, "%s: says that %" PRIu64 " blocks are mapped, and it is %" PRIu64,
			where_text(c, w), i->mapped, sum->mapped);
	if (sum->mapped && sum->last >= blocks)
		finding(c, "%s: a block is mapped at byte %" PRIu64 ", beyond its size of %" PRIu64,
			where_text(c, w), sum->last * BLOCK_SIZE, i->size);
}

static void inode_free(struct check *c, struct check_volume *v, uint64_t ino, const struct inode *i)
{
	struct where w = at_inode(c, v, ino);

	if (i->root || i->xattr_root)
		finding(c, "%s: free, but it has content", where_text(c, &w));
	if (!ino || ino >= v->rec.next_ino)
		return;
	if (grow(c, &v->free, v->nfree, &v->free_cap, sizeof(*v->free)))
		v->free[v->nfree++] = (struct free_ino){ .ino = ino, .next = i->entries };
}

void info_add(struct check *c, struct check_volume *v, uint64_t ino, uint64_t block,
	      const struct inode *i)
{
	if (grow(c, &v->infos, v->ninfos, &v->infos_cap, sizeof(*v->infos)))
		v->infos[v->ninfos++] =
			(struct info){ .ino = ino, .generation = i->generation, .block = block,
				       .nlink = i->nlink, .type = i->type, .dotdot = i->parent,
				       .project = i->project, .project_dir = i->project_dir };
}

static void inode_used(struct check *c, struct check_volume *v, uint64_t ino, uint64_t block,
		       const struct inode *i)
{
	c->stats.inodes++;
	if (i->type == FS_DIR)
		c->stats.directories++;
	else
		c->stats.files++;
	v->mapped += i->mapped + i->xattr_blocks;
	info_add(c, v, ino, block, i);
	quota_note(c, v, ino, i);
	inode_check(c, v, ino, i);
}

static void inode_leaf(struct check *c, uint64_t index, uint64_t block, const void *data, void *arg)
{
	struct check_volume *v = arg;
	const struct inode *inodes = data;

	for (unsigned k = 0; k < INODES_PER_BLOCK && !c->err; k++) {
		uint64_t ino = index * INODES_PER_BLOCK + k;

		if (inodes[k].type == FS_FREE)
			inode_free(c, v, ino, &inodes[k]);
		else if (!ino)
			finding(c, "%s: inode 0 is in use",
				volume_text(c, v));
		else
			inode_used(c, v, ino, block, &inodes[k]);
	}
}

struct info *info_find(struct check_volume *v, uint64_t ino)
{
	uint64_t lo = 0, hi = v->ninfos;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (v->infos[mid].ino < ino)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < v->ninfos && v->infos[lo].ino == ino ? &v->infos[lo] : NULL;
}

bool info_inode(struct check *c, const struct info *i, struct inode *ret)
{
	struct inode *inodes = frame_push(c);
	const char *why;
	bool ok = read_meta(c, i->block, inodes, &why);

	if (ok)
		*ret = inodes[i->ino % INODES_PER_BLOCK];
	frame_pop(c);
	return ok && ret->type != FS_FREE;
}

/* ---- the list of free inodes ------------------------------------------------------------ */

static struct free_ino *free_find(struct check_volume *v, uint64_t ino)
{
	uint64_t lo = 0, hi = v->nfree;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (v->free[mid].ino < ino)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < v->nfree && v->free[lo].ino == ino ? &v->free[lo] : NULL;
}

static void free_list_wrong(struct check *c, struct check_volume *v)
{
	const char *name = volume_text(c, v);
	uint64_t ino = v->rec.free_ino, n = 0;

	while (ino) {
		struct free_ino *f = free_find(v, ino);

		if (!f) {
			finding(c,
				"%s: its list of free inodes leads to inode %" PRIu64
				", which is not free",
				name, ino);
			return;
		}
		if (n++ >= v->nfree) {
			finding(c, "%s: its list of free inodes is a loop", name);
			return;
		}
		ino = f->next;
	}
	if (n < v->nfree)
		finding(c,
			"%s: free inodes that are not on its list of free inodes: %" PRIu64,
			name, v->nfree - n);
}

static void free_list_check(struct check *c, struct check_volume *v)
{
	uint64_t before = c->findings;

	free_list_wrong(c, v);
	if (c->findings != before)
		fix_volume(c, v, FIX_FREE_LIST, 0);
}

/* ---- links and reachability ------------------------------------------------------------- */

/* Goes up from I until something known: everything on the way then is the same. */
static void reach(struct check *c, struct check_volume *v, struct info *start)
{
	struct info *i = start, *next;
	uint8_t found = REACH_NO;

	while (i) {
		if (i->reach != REACH_UNKNOWN) {
			if (i->reach == REACH_WALKING) {
				struct where w = at_inode(c, v, i->ino);

				finding(c, "%s: a directory that lies within itself",
					where_text(c, &w));
			} else {
				found = i->reach;
			}
			break;
		}
		i->reach = REACH_WALKING;
		i = i->parent ? info_find(v, i->parent) : NULL;
	}
	for (i = start; i && i->reach == REACH_WALKING; i = next) {
		i->reach = found;
		next = i->parent ? info_find(v, i->parent) : NULL;
	}
}

static void links_check(struct check *c, struct check_volume *v, struct info *i)
{
	struct where w = at_inode(c, v, i->ino);
	uint32_t want = i->type == FS_DIR ? 2 + i->subdirs : i->names;

	if (i->ino == INO_ORPHANS)
		return;
	if (i->orphan && i->names) {
		finding(c, "%s: an orphan, but %u name%s to it", where_text(c, &w), i->names,
			i->names == 1 ? " leads" : "s lead");
		if (i->type != FS_DIR)
			fix_ino(c, &w, FIX_ORPHAN_NAMED, i->names);
		return;
	}
	if (!i->orphan && !i->names && i->ino != INO_ROOT) {
		finding(c, "%s: in use, but no name leads to it", where_text(c, &w));
		fix_add(c, &(struct fix){ .kind = FIX_LOST, .type = i->type, .volume = v->place + 1,
					  .ino = i->ino, .generation = i->generation });
		return;
	}
	if (i->type == FS_DIR && i->names > 1)
		finding(c, "%s: a directory with %u names", where_text(c, &w), i->names);
	if (i->nlink != want && !(i->orphan && i->type == FS_DIR))
		fix_ino(c, &w, FIX_NLINK, want);
	if (i->nlink != want && !(i->orphan && i->type == FS_DIR))
		finding(c, "%s: link count %u, but it should be %u", where_text(c, &w), i->nlink,
			want);
	if (!i->orphan && i->ino != INO_ROOT)
		quota_name_check(c, v, i);
	if (i->type != FS_DIR || i->orphan)
		return;
	if (i->ino != INO_ROOT && i->names == 1 && i->dotdot != i->parent)
		fix_ino(c, &w, FIX_PARENT, i->parent);
	if (i->ino != INO_ROOT && i->names == 1 && i->dotdot != i->parent)
		finding(c, "%s: its parent is inode %" PRIu64 ", but its name is in inode %" PRIu64,
			where_text(c, &w), i->dotdot, i->parent);
	reach(c, v, i);
}

static void reserved_inode_check(struct check *c, struct check_volume *v, uint64_t ino,
				 const char *what)
{
	struct info *i = info_find(v, ino);

	if (!i && !v->incomplete)
		finding(c, "%s: %s is missing", volume_text(c, v),
			what);
	else if (i && i->type != FS_DIR)
		finding(c, "%s: %s is not a directory",
			volume_text(c, v), what);
	if (!i || i->type != FS_DIR)
		v->names_incomplete = true;
	else
		i->reach = REACH_YES;
}

static void names_check(struct check *c, struct check_volume *v)
{
	reserved_inode_check(c, v, INO_ROOT, "the root directory");
	reserved_inode_check(c, v, INO_ORPHANS, "the directory of orphans");
	for (uint64_t k = 0; k < v->ninfos && !c->err; k++)
		if (v->infos[k].type == FS_DIR)
			dir_check(c, v, &v->infos[k]);
	for (uint64_t k = 0; k < v->ninfos && !c->err && !v->names_incomplete; k++)
		links_check(c, v, &v->infos[k]);
}

/* ---- volume records --------------------------------------------------------------------- */

static bool name_valid(const char name[256])
{
	size_t len = strnlen(name, 256);

	if (!len || len > FS_VOLUME_NAME_MAX || !all_zero(name + len, 256 - len))
		return false;
	for (size_t i = 0; i < len; i++) {
		bool alnum = (name[i] >= 'a' && name[i] <= 'z') ||
			     (name[i] >= 'A' && name[i] <= 'Z') ||
			     (name[i] >= '0' && name[i] <= '9');

		if (!alnum && (!i || !strchr("-_.", name[i])))
			return false;
	}
	return true;
}

/* The hidden volume has a name that no other may have. */
static bool record_name_valid(const struct volume *r)
{
	char hidden[256] = VOLUME_SYSTEM_NAME;

	return r->state == VOLUME_SYSTEM ? !memcmp(r->name, hidden, sizeof(hidden)) :
					   name_valid(r->name) || volume_name_hidden(r->name);
}

static void record_check(struct check *c, uint64_t place, const struct volume *r)
{
	const char *name = quoted(r->name, sizeof(r->name));

	if (r->state > VOLUME_SYSTEM)
		finding(c, "volume record %" PRIu64 ": unknown state %u", place, r->state);
	if (r->id != place + 1)
		finding(c, "volume record %" PRIu64 " (%s): its id is %u", place, name, r->id);
	if (!record_name_valid(r))
		finding(c, "volume record %" PRIu64 ": %s is no name of a volume", place, name);
	if (!memchr(r->exports, 0, sizeof(r->exports)))
		finding(c, "volume %s: its export rules don't end", name);
	if (!memchr(r->schedule, 0, sizeof(r->schedule)))
		finding(c, "volume %s: its schedule doesn't end", name);
	if (!r->fsid || r->fsid > c->sb.last_event)
		finding(c, "volume %s: fsid 0x%" PRIx64 " is not an event of the past", name,
			r->fsid);
	if (r->restored > c->sb.last_event || r->snapshots_changed > c->sb.last_event)
		finding(c, "volume %s: it was restored, or has got snapshots, in the future", name);
	if ((r->state == VOLUME_SNAPSHOT) != (r->parent != 0))
		finding(c, "volume record %" PRIu64 " (%s): only a snapshot is of another volume", place,
			name);
	if (!meter_possible(r))
		finding(c, "volume %s: its limit, or what it holds, cannot be", name);
	if (!all_zero(r->reserved, sizeof(r->reserved)) || r->reserved2 ||
	    !all_zero(r->reserved3, sizeof(r->reserved3)) ||
	    !all_zero(r->reserved4, sizeof(r->reserved4)))
		finding(c, "volume %s: reserved fields are not zero", name);
}

static void record_leaf(struct check *c, uint64_t index, uint64_t block, const void *data,
			void *arg)
{
	const struct volume *r = data;

	for (unsigned k = 0; k < VOLUMES_PER_BLOCK; k++) {
		uint64_t place = index * VOLUMES_PER_BLOCK + k;

		if (r[k].state == VOLUME_FREE) {
			if (r[k].inodes_root)
				finding(c, "volume record %" PRIu64 ": free, but it has inodes",
					place);
			continue;
		}
		record_check(c, place, &r[k]);
		c->stats.volumes += r[k].state == VOLUME_LIVE;
		if (!grow(c, &c->volumes, c->nvolumes, &c->volumes_cap, sizeof(*c->volumes)))
			return;
		c->volumes[c->nvolumes++] = (struct check_volume){ .rec = r[k], .place = place };
	}
}

static int by_name(const void *a, const void *b)
{
	const struct volume *const *x = a, *const *y = b;

	if ((*x)->parent != (*y)->parent)
		return (*x)->parent < (*y)->parent ? -1 : 1;
	return memcmp((*x)->name, (*y)->name, sizeof((*x)->name));
}

static int by_fsid(const void *a, const void *b)
{
	const struct volume *const *x = a, *const *y = b;

	return (*x)->fsid < (*y)->fsid ? -1 : (*x)->fsid > (*y)->fsid;
}

/* No two live volumes have one name, no two volumes one fsid. */
static void volumes_unique(struct check *c)
{
	const struct volume **sorted = calloc(c->nvolumes + 1, sizeof(struct volume *));

	if (!sorted) {
		c->err = -ENOMEM;
		return;
	}
	for (uint64_t i = 0; i < c->nvolumes; i++)
		sorted[i] = &c->volumes[i].rec;
	qsort(sorted, c->nvolumes, sizeof(*sorted), by_name);
	for (uint64_t i = 1; i < c->nvolumes; i++)
		if (!by_name(&sorted[i - 1], &sorted[i]))
			finding(c, "two %s have the name %s",
				sorted[i]->parent ? "snapshots of a volume" : "volumes",
				quoted(sorted[i]->name, sizeof(sorted[i]->name)));
	qsort(sorted, c->nvolumes, sizeof(*sorted), by_fsid);
	for (uint64_t i = 1; i < c->nvolumes; i++)
		if (sorted[i - 1]->fsid == sorted[i]->fsid)
			finding(c, "volumes %s and %s have one fsid",
				quoted(sorted[i - 1]->name, sizeof(sorted[i]->name)),
				quoted(sorted[i]->name, sizeof(sorted[i]->name)));
	free(sorted);
}

static int by_place(const void *key, const void *element)
{
	const uint64_t *place = key;
	const struct check_volume *v = element;

	return *place < v->place ? -1 : *place > v->place;
}

/* Snapshots are of volumes that there are. */
static void parents_check(struct check *c)
{
	for (uint64_t i = 0; i < c->nvolumes; i++) {
		const struct volume *s = &c->volumes[i].rec;
		uint64_t place = s->parent - 1;
		const struct check_volume *v;

		if (s->state != VOLUME_SNAPSHOT || !s->parent)
			continue;
		v = bsearch(&place, c->volumes, c->nvolumes, sizeof(*v), by_place);
		if (!v || v->rec.state != VOLUME_LIVE)
			finding(c, "snapshot %s is of volume number %u, which is none",
				quoted(s->name, sizeof(s->name)), s->parent);
	}
}

static void volume_check(struct check *c, struct check_volume *v)
{
	struct where w = at_inode(c, v, 0);
	const char *name;

	v->incomplete = !each_leaf(c, &w, v->rec.inodes_root, v->rec.inodes_depth, inode_leaf, v);
	if (v->incomplete)
		v->names_incomplete = true;
	if (c->err)
		return;
	names_check(c, v);
	name = volume_text(c, v);
	if (v->incomplete)
		return;
	if (v->ninfos != v->rec.files)
		fix_volume(c, v, FIX_FILES, v->ninfos);
	if (v->mapped != v->rec.mapped)
		fix_volume(c, v, FIX_VOLUME_MAPPED, v->mapped);
	if (v->ninfos != v->rec.files)
		finding(c, "%s: says that %" PRIu64 " inodes are in use, and it is %" PRIu64,
			name, v->rec.files, v->ninfos);
	if (v->mapped != v->rec.mapped)
		finding(c, "%s: says that %" PRIu64 " blocks are mapped, and it is %" PRIu64,
			name, v->rec.mapped, v->mapped);
	/* Each that was ever used lies in some block, as one in use or free; so did number 0. */
	if (v->ninfos + v->nfree + 1 < v->rec.next_ino)
		finding(c, "%s: of the %" PRIu64 " inodes that it has used, %" PRIu64 " lie in no block", name,
			v->rec.next_ino - 1, v->rec.next_ino - 1 - v->ninfos - v->nfree);
	free_list_check(c, v);
	quotas_check(c, v);
}

void volumes_pass(struct check *c)
{
	struct where w = { 0 };
	bool whole = each_leaf(c, &w, c->sb.volumes.ptr, c->sb.volumes.depth, record_leaf, NULL);

	if (c->err)
		return;
	volumes_unique(c);
	if (!c->err && whole)
		parents_check(c);
	for (uint64_t i = 0; i < c->nvolumes && !c->err; i++) {
		c->volumes[i].infos_kept = true;
		volume_check(c, &c->volumes[i]);
		infos_checked(c, &c->volumes[i]);
	}
}

void volumes_release(struct check *c)
{
	for (uint64_t i = 0; i < c->nvolumes; i++) {
		free(c->volumes[i].infos);
		free(c->volumes[i].free);
		free(c->volumes[i].sums);
		free(c->volumes[i].quotas);
	}
	free(c->volumes);
}
