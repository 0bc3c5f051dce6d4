/* SPDX-License-Identifier: Apache-2.0 */
/* Growable byte buffers.  Invariant: data is NULL, or cap > len and data[len] is 0. */
#include "base/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *b, size_t max_bytes)
{
	*b = (struct buf){ .max = max_bytes };
}

void buf_release(struct buf *b)
{
	free(b->data);
	buf_init(b, b->max);
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	b->failed = 0;
	if (b->data)
		b->data[0] = 0;
}

static int fail(struct buf *b, int err)
{
	if (!b->failed)
		b->failed = err;
	return err;
}

int buf_reserve(struct buf *b, size_t len, char **ret_room)
{
	size_t need, cap;
	char *data;

	if (len > b->max || b->len > b->max - len)
		return fail(b, -EMSGSIZE);
	need = b->len + len + 1;
	if (need > b->cap) {
		cap = b->cap ? b->cap : 64;
		while (cap < need)
			cap *= 2;
		if (cap > b->max + 1)
			cap = b->max + 1;
		data = realloc(b->data, cap);
		if (!data)
			return fail(b, -ENOMEM);
		b->data = data;
		b->cap = cap;
		b->data[b->len] = 0;
	}
	*ret_room = b->data + b->len;
	return 0;
}

void buf_commit(struct buf *b, size_t len)
{
	assert(len < b->cap - b->len);
	b->len += len;
	b->data[b->len] = 0;
}

int buf_append(struct buf *b, const void *data, size_t len)
{
	char *room;
	int err;

	if (!len)
		return 0;
	err = buf_reserve(b, len, &room);
	if (err)
		return err;
	memcpy(room, data, len);
	buf_commit(b, len);
	return 0;
}

int buf_append_byte(struct buf *b, char c)
{
	return buf_append(b, &c, 1);
}

int buf_append_str(struct buf *b, const char *s)
{
	return buf_append(b, s, strlen(s));
}

int buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	char *room;
	int len, err;

	va_copy(again, ap);
	len = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (len < 0)
		return fail(b, -EINVAL);
	err = buf_reserve(b, len, &room);
	if (err)
		return err;
	vsnprintf(room, (size_t)len + 1, fmt, ap);
	buf_commit(b, len);
	return 0;
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int err;

	va_start(ap, fmt);
	err = buf_vprintf(b, fmt, ap);
	va_end(ap);
	return err;
}

void buf_consume(struct buf *b, size_t len)
{
	assert(len <= b->len);
	if (!len)
		return;
	memmove(b->data, b->data + len, b->len - len + 1);
	b->len -= len;
}

const char *buf_str(const struct buf *b)
{
	return b->data ? b->data : "";
}
