/* SPDX-License-Identifier: Apache-2.0 */
/* See dump.h. */
#include "fs/dump.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "fs/dir_int.h"
#include "fs/file.h"
#include "fs/fs_int.h"

static const char *const types[] = { "free", "file", "directory", "block device", "character device",
				     "symbolic link", "socket", "fifo" };
static const char *const states[] = { "free", "live", "snapshot", "system" };

static const char *type_text(uint8_t type)
{
	return type <= FS_FIFO ? types[type] : "unknown";
}

/* A name without control characters; a static buffer. */
static const char *name_text(const char *s, size_t len)
{
	static char buf[4 * 256 + 1];
	size_t n = 0;

	for (size_t i = 0; i < len && i < 256; i++) {
		unsigned char ch = s[i];

		if (ch < ' ' || ch == 0x7f || ch == '\\' || ch == '\'')
			n += snprintf(buf + n, 5, "\\x%02x", ch);
		else
			buf[n++] = ch;
	}
	buf[n] = 0;
	return buf;
}

void dump_volume(const struct dump *d, uint64_t place, const struct volume *v)
{
	dump_line(d, "volume record %" PRIu64 ": '%s', state %u (%s), id %u", place,
		  name_text(v->name, strnlen(v->name, sizeof(v->name))), v->state,
		  v->state <= VOLUME_SYSTEM ? states[v->state] : "unknown", v->id);
	dump_line(d, "  inode file: block %" PRIu64 ", depth %u", dump_ptr(v->inodes_root),
		  v->inodes_depth);
	dump_line(d, "  fsid 0x%" PRIx64 ", created %" PRId64 ", of volume %u, cloned from fsid 0x%" PRIx64,
		  v->fsid, v->created, v->parent, v->origin_fsid);
	dump_line(d, "  restored 0x%" PRIx64 ", snapshots changed 0x%" PRIx64 " at %" PRId64, v->restored,
		  v->snapshots_changed, v->snapshots_time);
	dump_line(d, "  inodes in use %" PRIu64 ", first unused %" PRIu64 ", first free %" PRIu64, v->files,
		  v->next_ino, v->free_ino);
	dump_line(d, "  mapped %" PRIu64 " blocks, quota %" PRIu64 ", soft %" PRIu64 ", warned %u", v->mapped, v->quota,
		  v->soft, v->warned);
	dump_line(d, "  reserved %" PRIu64 " blocks, of them charged %" PRIu64, v->reserve, v->charged);
	dump_line(d, "  holds %" PRId64 " blocks, limit %" PRIu64 ", meter %u", v->held, v->physical, v->meter);
	dump_line(d, "  directories with quotas: %u, the first inode %u; last project %u, void up to %u", v->quota_dirs,
		  v->quota_dir, v->last_project, v->void_projects);
	dump_line(d, "  exports '%s'", name_text(v->exports, strnlen(v->exports, sizeof(v->exports))));
}

static void dump_quota(const struct dump *d, const struct dir_quota *q)
{
	if (q->project)
		dump_line(d, "quota of project %u: limit %" PRIu64 ", soft %" PRIu64 ", used %" PRIu64 " blocks, %" PRIu64
			  " inodes; warned %u; in the list between inodes %u and %u", q->project, q->limit, q->soft,
			  q->used, q->files, q->warned, q->prev, q->next);
}

static void dump_dir_fields(const struct dump *d, const struct inode *i)
{
	dump_line(d, "directory: parent %" PRIu64 ", %" PRIu64 " entries, %" PRIu64 " pages, %u levels", i->parent,
		  i->entries, i->dir_pages, i->dir_levels);
	if (i->dir_free)
		dump_line(d, "first free page: %" PRIu64, i->dir_free - 1);
	dump_quota(d, (const struct dir_quota *)(const void *)i->inline_data);
}

void dump_inode(const struct dump *d, uint64_t ino, const struct inode *i)
{
	dump_line(d, "inode %" PRIu64 ": type %u (%s), mode 0%o, links %u, uid %u, gid %u, project %u of inode %u", ino,
		  i->type, type_text(i->type), i->mode, i->nlink, i->uid, i->gid, i->project, i->project_dir);
	if (i->type == FS_FREE) {
		dump_line(d, "next free inode: %" PRIu64, i->entries);
		return;
	}
	dump_line(d, "generation: 0x%" PRIx64, i->generation);
	dump_line(d, "change: 0x%" PRIx64, i->change);
	dump_line(d, "size: %" PRIu64, i->size);
	dump_line(d, "mapped: %" PRIu64, i->mapped);
	dump_line(d, "content: block %" PRIu64 ", depth %u", dump_ptr(i->root), i->depth);
	dump_line(d, "extended attributes: block %" PRIu64 ", depth %u, %u blocks",
		  dump_ptr(i->xattr_root), i->xattr_depth, i->xattr_blocks);
	dump_line(d, "times: read %" PRId64 ", written %" PRId64 ", changed %" PRId64 ", created %" PRId64, i->atime,
		  i->mtime, i->ctime, i->btime);
	dump_line(d, "cloned from: volume %u, inode %" PRIu64 ", generation 0x%" PRIx64, i->origin_volume,
		  i->origin_ino, i->origin_generation);
	dump_line(d, "device: %u:%u", i->rdev_major, i->rdev_minor);
	if (i->verifier)
		dump_line(d, "verifier: 0x%" PRIx64, i->verifier);
	if (i->type == FS_DIR)
		dump_dir_fields(d, i);
	if (i->type == FS_LNK && i->size <= INODE_INLINE)
		dump_line(d, "target: '%s'", name_text((const char *)i->inline_data, i->size));
}

void dump_inodes(const struct dump *d, uint64_t first, const struct inode *all)
{
	for (unsigned k = 0; k < INODES_PER_BLOCK; k++)
		if (all[k].type != FS_FREE)
			dump_line(d, "inode %" PRIu64 ": %s, mode 0%o, links %u, size %" PRIu64 ", mapped %" PRIu64
				  ", content block %" PRIu64 ", depth %u", first + k, type_text(all[k].type),
				  all[k].mode, all[k].nlink, all[k].size, all[k].mapped,
				  dump_ptr(all[k].root), all[k].depth);
	dump_verdict(d, inodes_verify(all));
}

/* ---- directories ---------------------------------------------------------------------------- */

static void dump_items(const struct dump *d, const struct dir_page *p)
{
	for (uint32_t off = 0; off < p->free_start && item_fits(p, off);
	     off += item_size(page_item(p, off)->name_len)) {
		const struct dir_item *it = page_item(p, off);

		dump_line(d, "  key 0x%016" PRIx64 ": inode %" PRIu64 ", generation 0x%" PRIx64 ", %s, '%s'", it->key,
			  it->ino, it->generation, type_text(it->type), name_text(it->name, it->name_len));
	}
}

void dump_dir_page(const struct dump *d, const struct dir_page *p)
{
	const char *why = dir_page_verify(p);

	if (p->level == DIR_LEVEL_FREE)
		dump_line(d, "free page");
	else
		dump_line(d, "page of level %u, %u %s", p->level, p->count, p->level ? "children" : "entries");
	if (p->next_free)
		dump_line(d, "  next free page: %" PRIu64, p->next_free - 1);
	if (!p->level && p->free_start <= DIR_BODY)
		dump_items(d, p);
	for (unsigned i = 0; p->level && p->level != DIR_LEVEL_FREE && i < p->count && i < DIR_FANOUT; i++)
		dump_line(d, "  from key 0x%016" PRIx64 " on: page %" PRIu64, page_index(p)[i].key,
			  page_index(p)[i].page);
	dump_verdict(d, why);
}

/* ---- extended attributes ---------------------------------------------------------------------- */

void dump_xattrs(const struct dump *d, const void *all, size_t bytes)
{
	const struct xattr_head *h = all;
	size_t at = sizeof(*h), end;

	if (bytes < sizeof(*h))
		return;
	end = h->bytes < bytes ? h->bytes : bytes;
	dump_line(d, "%u extended attributes, %u bytes", h->count, h->bytes);
	while (at + sizeof(struct xattr_entry) <= end) {
		const struct xattr_entry *e = (const struct xattr_entry *)((const uint8_t *)all + at);
		uint64_t size = sizeof(*e) + e->name_len + (uint64_t)e->value_len;

		if (size > end - at)
			break;
		dump_line(d, "'%s': %u bytes, cookie 0x%" PRIx64, name_text(e->name, e->name_len), e->value_len,
			  e->cookie);
		dump_bytes(d, e->name + e->name_len, e->value_len < 256 ? e->value_len : 256);
		at += (size + 7) & ~7ULL;
	}
	dump_verdict(d, xattr_verify(all, bytes));
}
