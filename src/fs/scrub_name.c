/* SPDX-License-Identifier: Apache-2.0 */
/* Inodes have no way back to their names: a volume's directories are searched for all at once. */
#include "fs/scrub.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PATH_MAX_TEXT 400		/* longer paths are cut off in front */
#define LIST_BYTES (32u << 10)

struct dir_todo { struct fs_id id; char *path; };
struct search {
	struct scrub *s;
	const struct scrub_owners *o;
	const char *name;		/* of the volume or snapshot */
	uint32_t id;			/* of its record */
	struct dir_todo *todo;
	size_t n, cap;
	bool *told;
};

static void tell(struct search *h, unsigned i, const char *dir, const char *name)
{
	h->told[i] = true;
	scrub_finding(h->s, "%s:%s%s%s: hit by what is said above", h->name, dir, name[0] ? "/" : "",
		      name);
}

static bool todo_room(struct search *h)
{
	size_t cap = h->cap ? 2 * h->cap : 64;
	struct dir_todo *more;

	if (h->n < h->cap)
		return true;
	more = realloc(h->todo, cap * sizeof(*more));
	if (!more)
		return false;
	h->todo = more;
	h->cap = cap;
	return true;
}

static void add_dir(struct search *h, struct fs_id id, const char *dir, const char *name)
{
	size_t len = strlen(dir) + strlen(name) + 2;
	char *path = len <= PATH_MAX_TEXT && todo_room(h) ? malloc(len) : NULL;

	if (!path)
		return;				/* found without a name, then */
	snprintf(path, len, "%s%s%s", dir, name[0] ? "/" : "", name);
	h->todo[h->n++] = (struct dir_todo){ id, path };
}

static void look_at_entry(struct search *h, const char *dir, const struct fs_dirent *e)
{
	if (e->cookie <= 2)
		return;
	for (unsigned i = 0; i < h->o->n; i++)
		if (h->o->at[i].volume == h->id && h->o->at[i].ino == e->ino)
			tell(h, i, dir, e->name);
	if (e->attr.type == FS_DIR)
		add_dir(h, e->attr.id, dir, e->name);
}

static void look_at_dir(struct search *h, struct fs_req *req, const struct dir_todo *d, void *buf)
{
	struct fs_dirlist list = { .buf = buf, .cap = LIST_BYTES };
	uint64_t cookie = 0;

	do {
		const struct fs_dirent *e = buf;

		list.n = 0;
		if (fs_readdir(req, d->id, cookie, true, &list))
			return;			/* damaged itself: it is among the findings */
		for (unsigned i = 0; i < list.n; i++, e = fs_dirent_next(e)) {
			look_at_entry(h, d->path, e);
			cookie = e->cookie;
		}
		scrub_pace(h->s, BLOCK_SIZE);
	} while (!list.eof && list.n && !scrub_interrupted(h->s));
}

static bool is_hit(const struct scrub_owners *o, uint32_t id)
{
	for (unsigned i = 0; i < o->n; i++)
		if (o->at[i].volume == id)
			return true;
	return false;
}

static void search_root(struct search *h, struct fs_id root, void *buf)
{
	struct fs_req req;

	fs_req_admin(&req, h->s->fs);
	add_dir(h, root, "", "");
	while (h->n && !scrub_interrupted(h->s)) {
		struct dir_todo d = h->todo[--h->n];

		look_at_dir(h, &req, &d, buf);
		free(d.path);
	}
	while (h->n)
		free(h->todo[--h->n].path);
	for (unsigned i = 0; i < h->o->n; i++)
		if (h->o->at[i].volume == h->id && !h->told[i] && h->o->at[i].ino == FS_ROOT_INO)
			tell(h, i, "/", "");
}

static void search_volume(struct search *h, const struct fs_volume_info *v, void *buf)
{
	char name[2 * FS_VOLUME_NAME_MAX + 2];
	struct fs_snapshot_info snap = { 0 };

	h->name = v->name;
	h->id = v->id;
	if (is_hit(h->o, v->id))
		search_root(h, v->root, buf);
	while (!fs_snapshot_next(h->s->fs, v->id, snap.id, &snap) && !scrub_interrupted(h->s)) {
		if (!is_hit(h->o, snap.id))
			continue;
		snprintf(name, sizeof(name), "%s@%s", v->name, snap.name);
		h->name = name;
		h->id = snap.id;
		search_root(h, snap.root, buf);
	}
}

void scrub_say_owners(struct scrub *s, const struct scrub_owners *o)
{
	struct fs_volume_info *v = calloc(1, sizeof(*v));
	bool told[SCRUB_OWNERS_MAX] = { false };
	struct search h = { .s = s, .o = o, .told = told };
	void *buf = NULL;

	if (v && !posix_memalign(&buf, 8, LIST_BYTES)) {
		for (uint32_t after = 0; !fs_volume_next(s->fs, after, v); after = v->id)
			search_volume(&h, v, buf);
		for (unsigned i = 0; i < o->n; i++)
			if (!told[i])
				scrub_finding(s, "inode %" PRIu64 " of volume number %u, which has no "
					      "name: hit by what is said above", o->at[i].ino,
					      o->at[i].volume);
	}
	if (o->more)
		scrub_finding(s, "more files than can be named are hit");
	if (!o->n && !o->more)
		scrub_finding(s, "no file leads to what is said above");
	free(h.todo);
	free(buf);
	free(v);
}
