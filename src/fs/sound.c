/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verifiers of inode blocks and volume records (pool/sound.c says when they are run): whatever passes
 * them can be used without a fault, though it may still be wrong.  Directory pages: dir_page.c;
 * extended attributes: xattr.c.
 */
#include "fs/fs_int.h"
#include "fs/dir_int.h"

static bool all_zero(const void *p, size_t n)
{
	const uint8_t *b = p;

	return !n || (!b[0] && !memcmp(b, b + 1, n - 1));
}

/* ---- inodes ------------------------------------------------------------------------------------- */

static const char *directory_wrong(const struct inode *i)
{
	if (!i->dir_levels || i->dir_levels > DIR_LEVELS_MAX)
		return "a directory with an impossible number of levels";
	if (!i->dir_pages || i->dir_pages > DIR_PAGES_MAX || i->dir_free > i->dir_pages)
		return "a directory with an impossible number of pages";
	return NULL;
}

static const char *inode_wrong(const struct inode *i)
{
	const char *why = root_verify(i->root, i->depth);

	if (!why)
		why = root_verify(i->xattr_root, i->xattr_depth);
	if (why)
		return why;
	if (i->type > FS_FIFO)
		return "an inode of unknown type";
	if (!i->xattr_blocks != !i->xattr_root || i->xattr_blocks > XATTR_BLOCKS_MAX)
		return "an inode whose extended attributes have an impossible size";
	if (i->flags || !all_zero(i->reserved, sizeof(i->reserved)) ||
	    !all_zero(i->reserved2, sizeof(i->reserved2)))
		return "an inode with reserved fields that are not zero";
	if (i->type == FS_FREE)
		return i->root || i->xattr_root ? "a free inode with content" : NULL;
	if (i->size > (uint64_t)(i->type == FS_LNK ? FS_SYMLINK_MAX : FS_MAX_SIZE))
		return "an inode that is larger than it can be";
	return i->type == FS_DIR ? directory_wrong(i) : NULL;
}

const char *inodes_verify(const void *block)
{
	const struct inode *i = block;
	const char *why = NULL;

	for (unsigned k = 0; k < INODES_PER_BLOCK && !why; k++)
		why = inode_wrong(&i[k]);
	return why;
}

/* ---- volume records ------------------------------------------------------------------------------ */

bool meter_possible(const struct volume *v)
{
	if (v->meter & METER_ON)
		return v->state == VOLUME_LIVE && v->meter <= (METER_ON | METER_STALE) && v->held <= METER_MAX &&
		       v->held >= -METER_MAX;
	return !v->meter && !v->physical && !v->held;
}

static const char *volume_wrong(const struct volume *v, unsigned k)
{
	if (v->id && (v->id - 1) % VOLUMES_PER_BLOCK != k)
		return "a volume record at the wrong place";
	if (v->state == VOLUME_FREE)
		return v->inodes_root ? "a free volume record with inodes" : NULL;
	if (v->state > VOLUME_SYSTEM || !v->id)
		return "a volume record in an unknown state";
	if (!v->parent != (v->state != VOLUME_SNAPSHOT))
		return "a volume record that is and isn't a snapshot";
	if (!v->name[0] || v->name[FS_VOLUME_NAME_MAX] || memchr(v->exports, 0, sizeof(v->exports)) == NULL)
		return "a volume record with a name or rules that don't end";
	if (v->next_ino < INO_FIRST || v->free_ino >= v->next_ino)
		return "a volume record with impossible inodes";
	if (!all_zero(v->reserved, sizeof(v->reserved)) || v->reserved2 ||
	    !all_zero(v->reserved3, sizeof(v->reserved3)) || !all_zero(v->reserved4, sizeof(v->reserved4)))
		return "a volume record with reserved fields that are not zero";
	if (v->dedup > 1 || !meter_possible(v))
		return "a volume record with an impossible setting";
	return root_verify(v->inodes_root, v->inodes_depth);
}

const char *volumes_verify(const void *block)
{
	const struct volume *v = block;
	const char *why = NULL;

	for (unsigned k = 0; k < VOLUMES_PER_BLOCK && !why; k++)
		why = volume_wrong(&v[k], k);
	return why;
}
