/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The paths of inodes, for findings.  A path is looked up by way of the infos of its volume, which
 * know the directory of each inode's name; the names themselves are looked for in the directories.
 *
 * Infos of all volumes together may be more than there is memory for: those of a volume are then given
 * back when it has been checked, and found again when somebody asks for a path in it.
 */
#include "fs/check_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fs/dir_int.h"

/* ---- infos ------------------------------------------------------------------------------ */

static uint64_t infos_room(const struct check *c)
{
	return c->memory / 4 / sizeof(struct info);
}

static void infos_drop(struct check_volume *v)
{
	free(v->infos);
	v->infos = NULL;
	v->ninfos = v->infos_cap = 0;
	v->infos_kept = false;
}

void infos_checked(struct check *c, struct check_volume *v)
{
	free(v->free);
	v->free = NULL;
	v->nfree = v->free_cap = 0;
	c->infos_kept += v->ninfos;
	v->infos_kept = c->infos_kept <= infos_room(c);
	if (v->infos_kept)
		return;
	c->infos_kept -= v->ninfos;
	infos_drop(v);
}

static void take_inodes(struct check *c, uint64_t index, uint64_t block, const void *data, void *arg)
{
	const struct inode *inodes = data;

	for (unsigned k = 0; k < INODES_PER_BLOCK && !c->err; k++)
		if (inodes[k].type != FS_FREE && (index || k))
			info_add(c, arg, index * INODES_PER_BLOCK + k, block, &inodes[k]);
}

/* Everything was said when they were found first. */
static bool infos_again(struct check *c, struct check_volume *v)
{
	bool quiet = c->quiet;

	if (c->infos_again)
		infos_drop(&c->volumes[c->infos_again - 1]);
	c->infos_again = v - c->volumes + 1;
	c->quiet = true;
	each_leaf(c, NULL, v->rec.inodes_root, v->rec.inodes_depth, take_inodes, v);
	for (uint64_t k = 0; k < v->ninfos && !c->err; k++)
		if (v->infos[k].type == FS_DIR)
			dir_check(c, v, &v->infos[k]);
	c->quiet = quiet;
	v->infos_kept = true;
	return !c->err;
}

/* ---- names ------------------------------------------------------------------------------ */

struct name_search { uint64_t ino; char *buf; size_t len; bool found; };

static void search_page(struct check *c, uint64_t index, uint64_t block, const void *data,
			void *arg)
{
	struct name_search *n = arg;
	const struct dir_page *p = data;
	uint32_t off = 0;

	if (n->found || page_verify_layout(p) || p->level)
		return;
	while (off < p->free_start && !n->found) {
		const struct dir_item *it = page_item(p, off);

		if (it->ino == n->ino) {
			snprintf(n->buf, n->len, "%.*s", it->name_len, it->name);
			n->found = true;
		}
		off += item_size(it->name_len);
	}
}

static bool name_of(struct check *c, struct check_volume *v, uint64_t dir, uint64_t ino, char *buf,
		    size_t len)
{
	struct name_search n = { .ino = ino, .buf = buf, .len = len };
	struct info *i = info_find(v, dir);
	struct inode inode;

	if (!i || i->type != FS_DIR || !info_inode(c, i, &inode))
		return false;
	each_leaf(c, NULL, inode.root, inode.depth, search_page, &n);
	return n.found;
}

/* The path of an inode as far as names were found; empty if there is none. */
void path_text(struct check *c, struct check_volume *v, uint64_t ino, char *ret, size_t len)
{
	char path[512], name[FS_NAME_MAX + 1];
	size_t at = sizeof(path) - 1;
	uint64_t start = ino;

	ret[0] = 0;
	path[at] = 0;
	if (!v->infos_kept && !infos_again(c, v))
		return;
	for (unsigned depth = 0; ino != INO_ROOT; depth++) {
		struct info *i = info_find(v, ino);
		size_t n;

		if (!i || !i->parent || i->parent == start ||
		    !name_of(c, v, i->parent, ino, name, sizeof(name)))
			return;
		n = strlen(name);
		if (depth > 64 || n + 1 > at) {
			snprintf(ret, len, " (...%s)", path + at);
			return;
		}
		at -= n;
		memcpy(path + at, name, n);
		path[--at] = '/';
		ino = i->parent;
	}
	for (char *p = path + at; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	snprintf(ret, len, " (%s)", path[at] ? path + at : "/");
}
