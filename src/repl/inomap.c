/* SPDX-License-Identifier: Apache-2.0 */
/* See inomap.h. */
#include "repl/inomap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define PAGE 4096
#define PER_PAGE (PAGE / 8)

void inomap_release(struct inomap *m)
{
	for (uint32_t i = 0; i < m->cap; i++)
		free(m->pages[i]);
	free(m->pages);
	free(m->dirty);
	*m = (struct inomap){ 0 };
}

static int grow(struct inomap *m, uint64_t page)
{
	uint32_t cap = m->cap ? m->cap : 64;
	uint64_t **pages;
	uint8_t *dirty;

	while (cap <= page)
		cap *= 2;
	pages = calloc(cap, sizeof(*pages));
	dirty = calloc(cap, 1);
	if (!pages || !dirty) {
		free(pages);
		free(dirty);
		return -ENOMEM;
	}
	if (m->cap) {
		memcpy(pages, m->pages, m->cap * sizeof(*pages));
		memcpy(dirty, m->dirty, m->cap);
	}
	free(m->pages);
	free(m->dirty);
	m->pages = pages;
	m->dirty = dirty;
	m->cap = cap;
	return 0;
}

static int page_of(struct inomap *m, uint64_t page, uint64_t **ret)
{
	int err = page < m->cap ? 0 : grow(m, page);

	if (!err && !m->pages[page]) {
		if (m->used == INOMAP_PAGES_MAX)
			return -EFBIG;
		m->pages[page] = calloc(1, PAGE);
		err = m->pages[page] ? 0 : -ENOMEM;
		m->used += !err;
	}
	if (!err)
		*ret = m->pages[page];
	return err;
}

uint64_t inomap_get(const struct inomap *m, uint64_t ino)
{
	uint64_t page = ino / PER_PAGE;

	return page < m->cap && m->pages[page] ? m->pages[page][ino % PER_PAGE] : 0;
}

int inomap_set(struct inomap *m, uint64_t ino, uint64_t entry)
{
	uint64_t *p;
	int err = ino < INOMAP_INO_MAX ? page_of(m, ino / PER_PAGE, &p) : -EFBIG;

	if (err)
		return err;
	p[ino % PER_PAGE] = entry;
	m->dirty[ino / PER_PAGE] = 1;
	return 0;
}

static int load_page(struct inomap *m, struct fs_req *req, struct fs_id file, uint64_t page)
{
	struct fs_read *r = malloc(sizeof(*r));
	uint64_t *p;
	uint32_t at = 0;
	int err = r ? page_of(m, page, &p) : -ENOMEM;

	if (!err)
		err = fs_read(req, file, page * PAGE, PAGE, r);
	if (!err) {
		for (int i = 0; i < r->niov; i++) {
			memcpy((char *)p + at, r->iov[i].iov_base, r->iov[i].iov_len);
			at += r->iov[i].iov_len;
		}
		fs_read_done(req->fs, r);
	}
	free(r);
	return err;
}

int inomap_load(struct inomap *m, struct fs_req *req, struct fs_id file)
{
	uint64_t at = 0, end;
	int err;

	inomap_release(m);
	for (;;) {
		err = fs_seek(req, file, at, true, &at);
		if (!err)
			err = fs_seek(req, file, at, false, &end);
		if (err)
			return err == -ENXIO ? 0 : err;
		for (; at < end; at += PAGE) {
			if (at / PAGE >= INOMAP_INO_MAX / PER_PAGE)
				return -EDAMAGED;
			err = load_page(m, req, file, at / PAGE);
			if (err)
				return err;
		}
	}
}

int inomap_save(struct inomap *m, struct fs_req *req, struct fs_id file)
{
	struct iovec iov = { .iov_len = PAGE };
	int err;

	for (uint32_t i = 0; i < m->cap; i++) {
		if (!m->pages[i] || !m->dirty[i])
			continue;
		iov.iov_base = m->pages[i];
		err = fs_write(req, file, (uint64_t)i * PAGE, &iov, 1, PAGE, false, NULL);
		if (err)
			return err;
		m->dirty[i] = 0;
	}
	return 0;
}
