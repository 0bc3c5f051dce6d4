/* SPDX-License-Identifier: Apache-2.0 */
/* See lister.h. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "lister.h"

static struct lister_name *lister_find(struct lister *l, const char *name, uint32_t len)
{
	uint64_t h = text_hash(name, len);

	for (uint32_t i = 0; i < l->n; i++)
		if (l->names[i].hash == h)
			return &l->names[i];
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 32;
		l->names = realloc(l->names, l->cap * sizeof(*l->names));
		if (!l->names)
			abort();
	}
	l->names[l->n] = (struct lister_name){ .hash = h };
	return &l->names[l->n++];
}

void lister_stop(struct lister *l)
{
	free(l->names);
	*l = (struct lister){ 0 };
}

void lister_start(struct lister *l, const struct mnode *dir)
{
	lister_stop(l);
	l->active = true;
	l->dir = dir->id;
	lister_find(l, ".", 1)->start = true;
	lister_find(l, "..", 2)->start = true;
	for (uint32_t i = 0; i < dir->nents; i++)
		lister_find(l, dir->ents[i].name, dir->ents[i].len)->start = true;
}

void lister_touch(struct lister *l, const struct mnode *dir, const char *name, uint32_t len)
{
	if (l->active && dir->id.ino == l->dir.ino && dir->id.volume == l->dir.volume)
		lister_find(l, name, len)->touched = true;
}

static void lister_end(struct lister *l)
{
	for (uint32_t i = 0; i < l->n; i++) {
		const struct lister_name *x = &l->names[i];

		sim_check(x->touched || !x->start || x->seen == 1,
			  "readdir of %llu over several calls: a name that was there all the time was "
			  "seen %u times", (unsigned long long)l->dir.ino, x->seen);
	}
	lister_stop(l);
}

void lister_step(struct lister *l, struct fs *fs, struct model *m, size_t cap, unsigned max,
		 bool plus)
{
	struct fs_dirlist list = { .cap = cap, .max_entries = max };
	const struct fs_dirent *e;
	struct fs_req req;
	int rc;

	list.buf = test_alloc(cap);
	e = list.buf;
	fs_req_admin(&req, fs);
	rc = fs_readdir(&req, l->dir, l->cookie, plus, &list);
	if (!model_find(m, l->dir)) {
		sim_check(rc == -ESTALE, "readdir of a removed directory: %s", sim_err(rc));
		lister_stop(l);
	} else if (rc == -EINVAL) {
		sim_check(cap < sizeof(*e) + 264, "readdir: buffer of %zu refused", cap);
	} else {
		sim_check(!rc, "readdir: %s", sim_err(rc));
		sim_check(!max || list.n <= max, "readdir gave %u of at most %u", list.n, max);
		for (unsigned i = 0; i < list.n; i++, e = fs_dirent_next(e)) {
			struct lister_name *x = lister_find(l, e->name, e->name_len);

			sim_check((char *)e + e->size <= (char *)list.buf + cap, "readdir: overflow");
			sim_check(e->cookie > l->cookie, "readdir: cookies don't ascend");
			l->cookie = e->cookie;
			sim_check(x->start || x->touched, "readdir: '%s' was never there", e->name);
			x->seen++;
		}
		if (list.eof)
			lister_end(l);
		else
			sim_check(list.n, "readdir gave nothing, and no end");
	}
	free(list.buf);
}
